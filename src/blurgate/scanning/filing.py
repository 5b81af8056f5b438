"""Verdicts -> the photos themselves, copied, moved or linked into sharp/, blurred/ and undecided/."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blurgate.errors import OutputError
from blurgate.judging.verdicts import DECISIONS, Verdict


@dataclass
class Filing:
    """Sorts photos into folders by their verdicts.

    Parameters
    ----------
    action : {'copy', 'move', 'link'}
        A name out of `ACTIONS`.
    folder : Path
        Gets a subfolder for each decision. Photos keep their path relative to the scanned folder; if several folders
        were scanned, that folder's name precedes it.
    roots : sequence of Path
        The scanned files and folders.
    dry_run : bool
        Report the targets without touching any file.
    """

    action: str
    folder: Path
    roots: Sequence[Path]
    dry_run: bool = False
    _made: set[Path] = field(default_factory=set, repr=False)

    @property
    def targets(self) -> list[Path]:
        """The folders that receive photos; a scan must not search them."""
        return [self.folder / decision for decision in DECISIONS]

    def file(self, verdict: Verdict) -> Path | None:
        """File one photo; never replace another file.

        Returns
        -------
        Path or None
            The photo's new path, in a dry run too. None if the photo has no decision, was filed before, or no longer
            exists.

        Raises
        ------
        OutputError
            If the photo cannot be filed. It then remains where it was.
        """
        if verdict.decision not in DECISIONS or not verdict.path:
            return None
        source = Path(verdict.path)
        target = self._choose_target(source, verdict.decision)
        if target is None:
            return None
        if not self.dry_run:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                ACTIONS[self.action](source, target)
            except OSError as error:
                if not source.exists():  # another process moved or deleted it, such as a second scan
                    return None
                raise OutputError(
                    f"cannot {self.action} {source} to {target} ({error.strerror or error}): {_suggest_remedy(error)}, "
                    "then run the command again"
                ) from error
        self._made.add(target)
        return target

    def __str__(self) -> str:
        done = {"copy": "copied", "move": "moved", "link": "linked"}[self.action]
        count = f"{len(self._made):,} photo{'' if len(self._made) == 1 else 's'}"
        return f"would have {done} {count}" if self.dry_run else f"{done} {count} to {self.folder}"

    def _choose_target(self, source: Path, decision: str) -> Path | None:
        """Choose a free path, numbered if need be; None if an earlier run already put the photo there."""
        preferred = self.folder / decision / self._relative_path(source)
        target, number = preferred, 1
        while os.path.lexists(target) or (self.dry_run and target in self._made):
            if self.action != "move" and target not in self._made and _is_same(source, target):
                return None
            number += 1
            target = preferred.with_name(f"{preferred.stem} ({number}){preferred.suffix}")
        return target

    def _relative_path(self, source: Path) -> Path:
        folders = [root for root in self.roots if root.is_dir()]
        for root in sorted(folders, key=lambda root: -len(root.parts)):
            if source.is_relative_to(root):
                relative = source.relative_to(root)
                return relative if len(folders) == 1 else Path(root.resolve().name) / relative
        return Path(source.name)


def _suggest_remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "check that you may write to both folders"
    return "free disk space or choose another folder"


def _is_same(source: Path, target: Path) -> bool:
    if target.is_symlink():
        return target.readlink() == source.resolve()
    try:
        ours, theirs = source.stat(), target.stat()
    except OSError:
        return False
    return target.is_file() and (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")  # hidden, and short enough for any file system
    try:
        shutil.copy2(source, partial)
        _rename(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    try:
        if not source.is_symlink():  # the scan read a link's target, so copy that and drop the link
            _rename(source, target)
            return
    except FileExistsError:
        raise
    except OSError:  # the target is on another disk
        pass
    _copy(source, target)
    _remove(source, target)


def _remove(source: Path, target: Path) -> None:
    """Remove the source of a finished move; if that fails, remove the target so that the photo exists only once."""
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise


def _link(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def _rename(source: Path, target: Path) -> None:
    """Rename a file without replacing another, which a plain rename would do."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links, or the target is on another disk
        if os.path.lexists(target):
            raise FileExistsError(f"{target} was created in the meantime") from None
        source.rename(target)
    else:
        _remove(source, target)


ACTIONS: dict[str, Callable[[Path, Path], None]] = {"copy": _copy, "move": _move, "link": _link}
