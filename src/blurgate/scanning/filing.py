"""Verdicts -> the photos themselves, copied, moved or linked into sharp/, blurred/ and undecided/."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blurgate.errors import OutputError
from blurgate.judging.verdicts import LABELS, Verdict


@dataclass
class Filing:
    """Files photos by their verdicts.

    Parameters
    ----------
    action : {'copy', 'move', 'link'}
        What is done with them; see `ACTIONS`.
    folder : Path
        Gets a folder for each decision. A photo keeps its place below the folder that was searched; where several were,
        below that folder's name.
    roots : sequence of Path
        What was searched.
    dry_run : bool
        Say where they would go, and touch nothing.
    """

    action: str
    folder: Path
    roots: Sequence[Path]
    dry_run: bool = False
    _made: set[Path] = field(default_factory=set, repr=False)

    @property
    def targets(self) -> list[Path]:
        """The folders that photos are brought to: they are not searched for more."""
        return [self.folder / decision for decision in (*LABELS, "undecided")]

    def file(self, verdict: Verdict) -> Path | None:
        """File one photo; never in the place of another file.

        Returns
        -------
        Path or None
            Where it now is, or would be; None for a photo that could not be judged, or has been brought there before.

        Raises
        ------
        OutputError
            If it cannot be brought there. It then is where it was.
        """
        if not verdict.decision or not verdict.path:
            return None
        source, act = Path(verdict.path), ACTIONS[self.action]
        wanted = self.folder / verdict.decision / self._place(source)
        target, number = wanted, 1
        while os.path.lexists(target) or (self.dry_run and target in self._made):
            if self.action != "move" and target not in self._made and _is_same(source, target):
                return None
            number += 1
            target = wanted.with_name(f"{wanted.stem} ({number}){wanted.suffix}")
        if not self.dry_run:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                act(source, target)
            except OSError as error:
                if not source.exists():  # gone in the meantime, as by another command like this one
                    return None
                raise OutputError(
                    f"{source} cannot be brought to {target} ({error.strerror or error}): make room, or choose another "
                    "folder, and run the command again"
                ) from error
        self._made.add(target)
        return target

    def __str__(self) -> str:
        done = {"copy": "copied", "move": "moved", "link": "linked"}[self.action]
        what = f"{len(self._made):,} photo{'' if len(self._made) == 1 else 's'}"
        return f"would have {done} {what}" if self.dry_run else f"{done} {what} to {self.folder}"

    def _place(self, source: Path) -> Path:
        folders = [root for root in self.roots if root.is_dir()]
        for root in sorted(folders, key=lambda root: -len(root.parts)):
            if source.is_relative_to(root):
                below = source.relative_to(root)
                return below if len(folders) == 1 else Path(root.resolve().name) / below
        return Path(source.name)


def _is_same(source: Path, target: Path) -> bool:
    if target.is_symlink():
        return target.readlink() == source.resolve()
    try:
        ours, theirs = source.stat(), target.stat()
    except OSError:
        return False
    return target.is_file() and (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _copy(source: Path, target: Path) -> None:
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")  # hidden, and as short as names may have to be
    try:
        shutil.copy2(source, partial)
        _rename(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    try:
        if not source.is_symlink():  # of a link, what it leads to is what was judged
            _rename(source, target)
            return
    except FileExistsError:
        raise
    except OSError:  # another disk
        pass
    _copy(source, target)
    _remove(source, target)


def _remove(source: Path, target: Path) -> None:
    """Remove a file that is elsewhere now; where that is forbidden, it is to be where it was, and nowhere else."""
    try:
        source.unlink()
    except OSError:
        target.unlink()
        raise


def _link(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def _rename(source: Path, target: Path) -> None:
    """Rename a file, but never in the place of another: what renaming alone would do."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # a disk without such links, or another one
        if os.path.lexists(target):
            raise FileExistsError(f"{target} has appeared in the meantime") from None
        source.rename(target)
    else:
        _remove(source, target)


ACTIONS: dict[str, Callable[[Path, Path], None]] = {"copy": _copy, "move": _move, "link": _link}
