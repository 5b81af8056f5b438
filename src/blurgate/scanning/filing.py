"""Verdicts -> the photos themselves, copied, moved or linked into sharp/, blurred/ and undecided/."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from blurgate.errors import OutputError
from blurgate.files import is_empty, locate, mark_filed, open_regular
from blurgate.judging.verdicts import DECISIONS, Verdict
from blurgate.scanning.items import Item
from blurgate.scanning.progress import count_photos
from blurgate.scanning.records import Move, Records

_CHUNK = 2**20  # bytes copied at a time


class Origins:
    """Says where photos lie below the scanned folders.

    Parameters
    ----------
    roots : sequence of Path
        The scanned files and folders.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        real = [Path(os.path.realpath(root)) for root in roots if root.is_dir()]
        self._folders = [  # without links on the way, the deepest first, each with what precedes paths below it
            (folder, Path() if len(real) == 1 else Path(folder.name))
            for folder in sorted(real, key=lambda folder: -len(folder.parts))
        ]

    def find_below(self, source: Path) -> Path:
        """Find the path below the scanned folder that a photo really lies in, whatever its own path says.

        If several folders were scanned, that folder's name precedes it. Of a photo in none of them it is the name.
        """
        place = Path(locate(str(source)))
        for folder, name in self._folders:
            if place.is_relative_to(folder):
                return name / place.relative_to(folder)
        return Path(place.name)


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
    records : Records, optional
        Learn of each move before it happens, so that an interrupted scan loses no photo and no row.
    """

    action: str
    folder: Path
    roots: Sequence[Path]
    dry_run: bool = False
    records: Records | None = None
    _made: set[Path] = field(default_factory=set, repr=False)
    _there: int = field(default=0, repr=False)
    _found: int = field(default=0, repr=False)  # photos that earlier scans moved

    @property
    def targets(self) -> list[Path]:
        """The folders that receive photos; a scan must not search them."""
        return [self.folder / decision for decision in DECISIONS]

    def check(self) -> None:
        """Check that no folder that receives photos lies elsewhere by way of a link.

        Raises
        ------
        OutputError
        """
        for target in self.targets:
            self._require_inside(target / "a photo")

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
            If the photo cannot be filed, or a link would lead it out of the folder. It then remains where it was.
        """
        if verdict.decision == "error" or not verdict.path:
            return None
        source = Path(verdict.path)
        target = self._choose_target(source, verdict.decision)
        if target is None:
            self._there += 1
            return None
        if not self.dry_run and not self._carry_out(source, target):
            return None
        self._made.add(target)
        return target

    def find_moved(self, root: str, judge: str) -> Iterator[Item]:
        """List what earlier, interrupted scans moved away from a named path and what still lies where they moved it.

        Parameters
        ----------
        root : str
            As named: a file or a folder, which may be gone.
        judge : str
            See `Records`.

        Returns
        -------
        iterator of Item
            In the order of an undisturbed scan, with the paths that the photos had.

        Raises
        ------
        OutputError
            If the records are damaged.
        """
        if not self.records:
            return iter(())
        last = self.records.find_last(root)
        if last and not self.dry_run and not self._end_move(_name_source(root, last), last):
            self.records.forget_last()
        return self._list_moved(self.records, root, judge)

    def count_moved(self) -> None:
        """Count a photo that an earlier scan moved."""
        self._found += 1

    def count_missing(self) -> int:
        """Count the photos that earlier scans moved, less those of `count_moved`."""
        return self.records.moved_before - self._found if self.records and self.action == "move" else 0

    def __str__(self) -> str:
        done = {"copy": "copied", "move": "moved", "link": "linked"}[self.action]
        count = count_photos(len(self._made))
        number = self._there + self._found
        there = f"; {number:,} {'was' if number == 1 else 'were'} there already" if number else ""
        return (f"would have {done} {count}" if self.dry_run else f"{done} {count} to {self.folder}") + there

    @cached_property
    def _origins(self) -> Origins:
        return Origins(self.roots)

    def _choose_target(self, source: Path, decision: str) -> Path | None:
        """Choose a free path, numbered if need be; None if the photo is there already.

        A move that was interrupted between its two steps, when no records knew of it, is to be ended where it began.
        """
        if decision not in DECISIONS:
            raise ValueError(f"decision must be one of {', '.join(DECISIONS)}, got {decision!r}")
        preferred = self.folder / decision / self._origins.find_below(source)
        self._require_inside(preferred)
        target, number = preferred, 1
        while os.path.lexists(target) or (self.dry_run and target in self._made):
            if _is_one_entry(source, target):
                return None
            if target not in self._made and self.action == "move" and _is_linked(source, target):
                return target
            if target not in self._made and self.action != "move" and _is_same(source, target):
                return None
            number += 1
            target = preferred.with_name(f"{preferred.stem} ({number}){preferred.suffix}")
        return target

    def _require_inside(self, target: Path) -> Path:
        """Return the path without links on the way."""
        real = Path(locate(str(target)))
        if not real.is_relative_to(os.path.realpath(self.folder)):
            raise OutputError(
                f"cannot {self.action} photos to {target.parent}: a link leads from there to {real.parent}, outside "
                f"{self.folder}: remove the link, or choose another folder"
            )
        return real

    def _carry_out(self, source: Path, target: Path) -> bool:
        """Copy, move or link a photo; False if it no longer exists."""
        intended = False
        try:
            self._make_folder(target.parent)
            real = self._require_inside(target)  # again, as the folders exist only now
            if self.records and self.action == "move":
                self.records.intend(str(source), str(real))
                intended = True
            ACTIONS[self.action](source, real)
        except OSError as error:
            if intended and self.records:
                self.records.forget_last()
            if not source.is_file():  # another process moved, deleted or replaced it
                return False
            raise OutputError(
                f"cannot {self.action} {source} to {target} ({error.strerror or error}): {_suggest_remedy(error)}, "
                "then run the command again"
            ) from error
        return True

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and mark the uppermost that receives photos alone, for a later scan of what is around it.

        A folder that was made beforehand is marked too if it is one of `targets` and holds nothing yet.
        """
        target = self.folder / folder.relative_to(self.folder).parts[0]
        ours = self.folder if not self.folder.exists() else target if is_empty(target) else None
        folder.mkdir(parents=True, exist_ok=True)
        if ours:
            mark_filed(ours)

    def _list_moved(self, records: Records, root: str, judge: str) -> Iterator[Item]:
        for move in records.list_moves(root, judge):
            source, target = _name_source(root, move), self._find_target(move)
            if target is None or (self.dry_run and os.path.lexists(source) and move.number == records.moved_before):
                continue
            if move.evidence and move.fits(target.stat()):
                yield Item(evidence=replace(move.evidence, path=source), filed=str(target), known=True)
            else:
                yield Item(str(target), path=source, filed=str(target))

    def _find_target(self, move: Move) -> Path | None:
        """Find a moved photo in the folder; None if it is not there, or never was to be."""
        real = Path(move.target)
        folder = Path(os.path.realpath(self.folder))
        if locate(move.target) != move.target or not real.is_relative_to(folder):
            return None
        try:
            is_there = stat.S_ISREG(real.lstat().st_mode)
        except OSError:
            return None
        return self.folder / real.relative_to(folder) if is_there else None

    def _end_move(self, source: str, move: Move) -> bool:
        """End a move that may have been interrupted; False if it did not take place."""
        target = self._find_target(move)
        if self._require_inside(Path(move.target)) != Path(move.target):
            return False
        _name_partial(Path(source), Path(move.target), (move.size, move.modified_ns)).unlink(missing_ok=True)
        if target is None:
            return False
        if not os.path.lexists(source) or _is_one_entry(Path(source), target):  # its folder may now be a link
            return True
        if Path(source).is_file() and filecmp.cmp(source, target, shallow=False):  # linked or copied, but not removed
            Path(source).unlink()
            return True
        return move.fits(target.stat())  # the source is a newer photo


def _name_source(root: str, move: Move) -> str:
    return os.path.join(root, move.below) if move.below else root


def _suggest_remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "check that you may write to both folders"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a file is in the way: move it away or choose another folder"
    return "free disk space or choose another folder"


def _is_same(source: Path, target: Path) -> bool:
    if target.is_symlink():
        return target.readlink() == source.resolve()
    try:
        ours, theirs = source.stat(), target.stat()
    except OSError:
        return False
    return target.is_file() and (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _is_one_entry(source: Path, target: Path) -> bool:
    """Return True if both paths name one entry of one folder, so that removing either removes the photo.

    A folder may have several paths, by links and mounts, and a file several names, where case does not count.
    """
    if locate(str(source)) == locate(str(target)):
        return True
    try:
        same_folder = os.path.samestat(source.parent.stat(), target.parent.stat())
    except OSError:
        return False
    return same_folder and source.name.casefold() == target.name.casefold() and _is_linked(source, target)


def _is_linked(source: Path, target: Path) -> bool:
    """Return True if both are names of one file: two links to it, or one."""
    try:
        return os.path.samestat(source.lstat(), target.lstat())
    except OSError:
        return False


def _copy(source: Path, target: Path) -> None:
    status = source.stat()
    partial = _name_partial(source, target, (status.st_size, status.st_mtime_ns))
    try:
        partial.unlink(missing_ok=True)
        with open_regular(source) as content, partial.open("xb") as copy:  # never by way of a link that lies there
            shutil.copyfileobj(content, copy, _CHUNK)
        shutil.copystat(source, partial)
        _rename(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _name_partial(source: Path, target: Path, what: tuple[int, int]) -> Path:
    """Name an incomplete copy so that the next run finds it: hidden, and short enough for any file system."""
    name = hashlib.blake2b(repr((locate(str(source)), what)).encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return target.with_name(f".{name}.partial")


def _move(source: Path, target: Path) -> None:
    if _is_linked(source, target) and not _is_one_entry(source, target):
        source.unlink(missing_ok=True)
        return
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
    """Remove the source of a finished move; if it stays, remove the target so that the photo exists only once."""
    try:
        source.unlink(missing_ok=True)  # if it is gone, the target is the last of the photo
    except OSError:
        if os.path.lexists(source):
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
