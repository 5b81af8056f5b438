"""Find the photos in and below given paths."""

from __future__ import annotations

import mimetypes
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from blurgate.errors import PhotoError, raise_machine_error, require_several
from blurgate.files import is_filed
from blurgate.photos.images import is_picture

AnyPath: TypeAlias = "str | os.PathLike[str]"

SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx",
    ".mpo", ".png", ".tif", ".tiff", ".webp",
))  # fmt: skip
RAW_SUFFIXES = frozenset((  # raw sensor data: some open as a TIFF, but only as its thumbnail
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf",
    ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))  # fmt: skip
SYSTEM_FOLDERS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)


@dataclass(frozen=True, slots=True)
class Found:
    """A photo that was found, or a folder that could not be searched.

    Parameters
    ----------
    path : str
        Path of the photo or the folder.
    problem : str
        Why the folder could not be searched; empty for a photo.
    """

    path: str
    problem: str = ""


def walk_photos(
    paths: Iterable[AnyPath],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Iterable[AnyPath] = (),
    note_left_out: Callable[[str], None] | None = None,
) -> Iterator[Found]:
    """Find the photos in and below the given paths, one by one.

    Parameters
    ----------
    paths : iterable of path
        A file is yielded whatever its name. A folder is searched recursively, without following links to folders
        inside it. A file in a folder counts as a photo by its suffix (`SUFFIXES`, in any case) or, failing that, by its
        first bytes. Hidden files and folders, `SYSTEM_FOLDERS` and cameras' raw files are skipped.
    include, exclude : sequence of str
        Case-insensitive shell patterns. A pattern with a ``/`` is matched against the path below the folder in `paths`,
        any other against the name. If `include` is given, only photos that match one of its patterns are yielded.
        Files and folders that match a pattern of `exclude` are skipped.
    leave_out : iterable of path
        Folders that are not searched.
    note_left_out : callable, optional
        If given, folders in which scans have filed photos are not searched either, unless they are named in `paths`; it
        is called with each folder that is left out.

    Yields
    ------
    Found
        In the order of `paths`, sorted by name within each folder. A folder that cannot be listed yields one `Found`
        with its `problem`.
    """
    for name, value in (("paths", paths), ("include", include), ("exclude", exclude), ("leave_out", leave_out)):
        require_several(name, value)
    left_out = frozenset(os.path.realpath(path) for path in leave_out)
    patterns = _Patterns(include, exclude, left_out, note_left_out)
    for path in map(os.fsdecode, paths):
        if not os.path.isdir(path):
            if patterns.wants_file(os.path.basename(path)):
                yield Found(path)
        else:
            yield from _walk(path, "", patterns)


def find_photos(paths: Iterable[AnyPath]) -> list[Path]:
    """List the photos in and below the given paths; see `walk_photos`.

    Raises
    ------
    PhotoError
        If one of the paths does not exist, or a folder cannot be listed.
    """
    require_several("paths", paths)
    paths = list(paths)
    require_paths(paths)
    photos = []
    for found in walk_photos(paths):
        if found.problem:
            raise PhotoError(f"{found.path} {found.problem}")
        photos.append(Path(found.path))
    return photos


def require_paths(paths: Iterable[AnyPath]) -> None:
    """Check that every path exists.

    Raises
    ------
    PhotoError
        If one of the paths does not exist. A broken link counts as existing.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise PhotoError(f"a file or folder was needed, but {os.fsdecode(path)} does not exist: check the path")


@dataclass(frozen=True)
class _Patterns:
    include: Sequence[str]
    exclude: Sequence[str]
    leave_out: frozenset[str]
    note_left_out: Callable[[str], None] | None

    def wants_file(self, below: str) -> bool:
        """Return whether to yield a file, given its path below the searched folder."""
        return (not self.include or self._match(self.include, below)) and not self._match(self.exclude, below)

    def wants_folder(self, path: str, below: str) -> bool:
        """Return whether to search a folder, given its path and its path below the searched folder."""
        if self._match(self.exclude, below):
            return False
        left_out = bool(self.leave_out) and os.path.realpath(path) in self.leave_out
        if self.note_left_out and (left_out := left_out or is_filed(path)):
            self.note_left_out(path)
        return not left_out

    @staticmethod
    def _match(patterns: Sequence[str], below: str) -> bool:
        below = below.lower()
        name = below.rsplit("/", 1)[-1]
        return any(fnmatchcase(below if "/" in pattern else name, pattern.lower()) for pattern in patterns)


def _walk(folder: str, below: str, patterns: _Patterns) -> Iterator[Found]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not _is_hidden(entry.name)
            )
    except OSError as error:
        raise_machine_error(error)
        yield Found(folder, f"cannot be searched for photos: {error.strerror or error}")
        return
    for name, is_folder in listed:
        path, path_below = os.path.join(folder, name), f"{below}{name}"
        if not is_folder:
            if patterns.wants_file(path_below) and _is_photo(path):
                yield Found(path)
        elif patterns.wants_folder(path, path_below):
            empty = True
            for found in _walk(path, f"{path_below}/", patterns):
                empty = False
                yield found
            if empty and _suffix(name) in SUFFIXES and patterns.wants_file(path_below):
                yield Found(path)  # named like a photo: reading it reports that it is a folder


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_photo(path: str) -> bool:
    suffix = _suffix(path)
    if suffix in SUFFIXES:
        return True
    if suffix in RAW_SUFFIXES or (
        suffix in mimetypes.types_map and not mimetypes.types_map[suffix].startswith("image/")
    ):
        return False
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as stream:
            return is_picture(stream.read(32))
    except OSError as error:  # unreadable, with nothing in its name to suggest a photo
        raise_machine_error(error)
        return False
