"""Find the photos in and below given paths."""

from __future__ import annotations

import mimetypes
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

from blurgate.errors import PhotoError, raise_machine_error, require_several
from blurgate.files import is_filed, open_regular
from blurgate.photos.images import is_picture

AnyPath: TypeAlias = "str | os.PathLike[str]"

SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx",
    ".mpo", ".png", ".tif", ".tiff", ".webp",
))  # fmt: skip
RAW_SUFFIXES = frozenset((  # raw sensor data, of which the camera's own preview is judged
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
    raws: Counter[str] | None = None,
) -> Iterator[Found]:
    """Find the photos in and below the given paths, one by one.

    Parameters
    ----------
    paths : iterable of path
        A file is yielded whatever its name. A folder is searched recursively, without following links to folders
        inside it. A file in a folder counts as a photo by its suffix (`SUFFIXES`, in any case) or, failing that, by its
        first bytes. Hidden files and folders and `SYSTEM_FOLDERS` are skipped, and so are cameras' raw files, which
        mostly lie beside the same photo as a JPEG, unless a pattern of `include` ends in their suffix, as ``*.nef``
        does.
    include, exclude : sequence of str
        Case-insensitive shell patterns. A pattern with a ``/`` is matched against the path below the folder in `paths`,
        any other against the name. If `include` is given, only photos that match one of its patterns are yielded.
        Files and folders that match a pattern of `exclude` are skipped.
    leave_out : iterable of path
        Folders that are not searched.
    note_left_out : callable, optional
        If given, folders in which scans have filed photos are not searched either, unless they are named in `paths`; it
        is called with each folder that is left out.
    raws : Counter, optional
        Counts the raw files that were skipped, by their suffix.

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
            yield from _walk(path, patterns, raws)


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


def describe_raws(raws: Mapping[str, int]) -> str:
    """Say which raw files were left out, and what to do about it.

    Parameters
    ----------
    raws : mapping of str to int
        Suffix -> number of files.

    Returns
    -------
    str
        The end of a sentence.

    Examples
    --------
    >>> describe_raws({".nef": 11, ".cr3": 1})
    "12 raw files (.cr3, .nef), which are left out: develop them, name them, or include '*.nef' to judge their previews"
    """
    suffixes = sorted(raws)
    count = sum(raws.values())
    files, are, them = ("raw file", "is", "it") if count == 1 else ("raw files", "are", "them")
    most = max(suffixes, key=lambda suffix: raws[suffix])
    previews = "its preview" if count == 1 else "their previews"
    return (
        f"{count:,} {files} ({', '.join(suffixes)}), which {are} left out: "
        f"develop {them}, name {them}, or include '*{most}' to judge {previews}"
    )


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

    def names_suffix(self, below: str, suffix: str) -> bool:
        """Return whether a pattern of `include` that matches a file ends in its suffix."""
        return self._match([pattern for pattern in self.include if pattern.lower().endswith(suffix)], below)

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


def _walk(folder: str, patterns: _Patterns, raws: Counter[str] | None) -> Iterator[Found]:
    """Walk depth first without recursion: folders may be nested deeper than calls may be."""
    levels = [_Level(folder, "", _list(folder), "")]
    while levels:
        level = levels[-1]
        if isinstance(level.entries, str):
            level.yielded = True
            yield Found(level.folder, f"cannot be searched for photos: {level.entries}")
            level.entries = iter(())
        for name, is_folder in level.entries:
            path, below = os.path.join(level.folder, name), f"{level.below}{name}"
            if is_folder:
                if patterns.wants_folder(path, below):
                    levels.append(_Level(path, f"{below}/", _list(path), name))
                    break
            elif patterns.wants_file(below) and _is_photo(path, below, patterns, raws):
                level.yielded = True
                yield Found(path)
        else:
            levels.pop()
            if level.yielded and levels:
                levels[-1].yielded = True
            elif levels and _suffix(level.name) in SUFFIXES and patterns.wants_file(level.below[:-1]):
                levels[-1].yielded = True
                yield Found(level.folder)  # named like a photo: reading it reports that it is a folder


@dataclass(slots=True)
class _Level:
    """A folder that is being searched: the entries that are left, or why it cannot be listed."""

    folder: str
    below: str
    entries: Iterator[tuple[str, bool]] | str
    name: str
    yielded: bool = False


def _list(folder: str) -> Iterator[tuple[str, bool]] | str:
    try:
        with os.scandir(folder) as entries:
            return iter(
                sorted(
                    (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not _is_hidden(entry.name)
                )
            )
    except OSError as error:
        raise_machine_error(error)
        return error.strerror or str(error)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_photo(path: str, below: str, patterns: _Patterns, raws: Counter[str] | None) -> bool:
    suffix = _suffix(path)
    if suffix in SUFFIXES:
        return True
    if suffix in RAW_SUFFIXES:
        if patterns.names_suffix(below, suffix):
            return True
        if raws is not None:
            raws[suffix] += 1
        return False
    if suffix in mimetypes.types_map and not mimetypes.types_map[suffix].startswith("image/"):
        return False
    try:
        with open_regular(path) as stream:
            return is_picture(stream.read(32))
    except OSError as error:  # unreadable, with nothing in its name to suggest a photo
        raise_machine_error(error)
        return False
