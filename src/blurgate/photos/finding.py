"""Paths -> the photos in and below them."""

from __future__ import annotations

import mimetypes
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from blurgate.errors import PhotoError
from blurgate.photos.images import is_picture

AnyPath: TypeAlias = "str | os.PathLike[str]"

SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx",
    ".mpo", ".png", ".tif", ".tiff", ".webp",
))  # fmt: skip
RAW_SUFFIXES = frozenset((  # a camera's sensor data: what opens as a TIFF in some of them is a thumbnail
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf",
    ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))  # fmt: skip
SYSTEM_FOLDERS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)


@dataclass(frozen=True, slots=True)
class Found:
    """A path that there is something to say of.

    Parameters
    ----------
    path : str
        Of a photo, or of what keeps photos from being found.
    problem : str
        Why it cannot be looked into; empty for a photo.
    """

    path: str
    problem: str = ""


def walk_photos(
    paths: Iterable[AnyPath],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Iterable[AnyPath] = (),
) -> Iterator[Found]:
    """Find the photos in and below some paths, one by one.

    Parameters
    ----------
    paths : iterable of path
        Files are taken as they are, whatever they are called. Folders are searched at every depth, but links to
        folders in them are not followed. A file in them is a photo by its suffix (`SUFFIXES`, in any case), or else by
        its first bytes; hidden files and folders, `SYSTEM_FOLDERS` and cameras' raw files are left out.
    include, exclude : sequence of str
        Patterns as of a shell, without regard to case: of a name, or, with a ``/`` in them, of a path below the folder
        named. Only photos that match one of `include`, if there are any, and no file or folder that matches one of
        `exclude`.
    leave_out : iterable of path
        Folders that are not searched.

    Yields
    ------
    Found
        In the order of `paths`, sorted by name within each folder; a folder that cannot be listed has its own.
    """
    keep = _Patterns(include, exclude, frozenset(os.path.realpath(path) for path in leave_out))
    for path in map(os.fsdecode, paths):
        if not os.path.isdir(path):
            if keep.file(os.path.basename(path)):
                yield Found(path)
        else:
            yield from _walk(path, "", keep)


def find_photos(paths: Iterable[AnyPath]) -> list[Path]:
    """List the photos below some paths; see `walk_photos`.

    Raises
    ------
    PhotoError
        If one of the paths does not exist, or a folder cannot be listed.
    """
    paths = list(paths)
    refuse_missing(paths)
    found = []
    for photo in walk_photos(paths):
        if photo.problem:
            raise PhotoError(f"{photo.path} {photo.problem}")
        found.append(Path(photo.path))
    return found


def refuse_missing(paths: Iterable[AnyPath]) -> None:
    """Raise a PhotoError if one of the paths does not exist."""
    for path in paths:
        if not os.path.lexists(path):
            raise PhotoError(f"a file or folder was needed, but {os.fsdecode(path)} does not exist: check the path")


@dataclass(frozen=True)
class _Patterns:
    include: Sequence[str]
    exclude: Sequence[str]
    leave_out: frozenset[str]

    def file(self, below: str) -> bool:
        """Say whether a file, by its path below the folder named, is wanted."""
        return (not self.include or self._match(self.include, below)) and not self._match(self.exclude, below)

    def folder(self, path: str, below: str) -> bool:
        """Say whether a folder is to be searched."""
        left_out = bool(self.leave_out) and os.path.realpath(path) in self.leave_out
        return not (left_out or self._match(self.exclude, below))

    @staticmethod
    def _match(patterns: Sequence[str], below: str) -> bool:
        below = below.lower()
        name = below.rsplit("/", 1)[-1]
        return any(fnmatchcase(below if "/" in pattern else name, pattern.lower()) for pattern in patterns)


def _walk(folder: str, below: str, keep: _Patterns) -> Iterator[Found]:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not _is_hidden(entry.name)
            )
    except OSError as error:
        yield Found(folder, f"cannot be searched for photos: {error.strerror or error}")
        return
    for name, is_folder in listed:
        path, place = os.path.join(folder, name), f"{below}{name}"
        if not is_folder:
            if keep.file(place) and _is_photo(path):
                yield Found(path)
        elif keep.folder(path, place):
            empty = True
            for found in _walk(path, f"{place}/", keep):
                empty = False
                yield found
            if empty and _suffix(name) in SUFFIXES and keep.file(place):
                yield Found(path)  # it is called a photo, and is none


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
    except OSError:  # nothing says that it is one
        return False
