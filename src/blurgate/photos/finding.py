"""Find the photos in and below given paths."""

from __future__ import annotations

import mimetypes
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from blurgate.errors import PhotoError, find_machine_error, raise_machine_error, require_several
from blurgate.files import is_filed, open_regular
from blurgate.outputs import is_content_ours, read_head
from blurgate.photos.addresses import ARCHIVES, Place, Status, find_archive, hide, is_address, is_flat, join
from blurgate.photos.images import is_picture
from blurgate.photos.limits import MAX_MEGAPIXELS

if TYPE_CHECKING:
    from blurgate.photos.archive_bytes import Member
    from blurgate.photos.stores import Entry

AnyPath: TypeAlias = "str | os.PathLike[str]"

SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx",
    ".mpo", ".png", ".tif", ".tiff", ".webp",
))  # fmt: skip
RAW_SUFFIXES = frozenset((  # raw sensor data, of which the camera's own preview is judged
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".kdc", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf",
    ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))  # fmt: skip
UNKNOWN = ""  # stands for the suffix of a file in a store that is none of a photo
SYSTEM_FOLDERS = frozenset(
    ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found")
)


_ASKED = 16  # roots in stores that are asked for before a scan; the others when their turn comes


@dataclass(frozen=True, slots=True)
class Found:
    """A photo that was found, or a folder that could not be searched.

    Parameters
    ----------
    path : str
        Path or address of the photo or the folder, without what an address may hold of credentials.
    problem : str
        Why the folder could not be searched, or the photo cannot be read; empty for a photo.
    address : str
        Of a photo in a store, where it differs from `path`.
    status : Status or None
        Of a photo in a store or an archive: tells whether it has changed.
    content : bytes or None
        Of a photo in an archive that has been read already.
    broken : bool
        True if the problem is that of an archive, or of a root in a store: not all of its photos have been found.
    """

    path: str
    problem: str = ""
    address: str = ""
    status: Status | None = None
    content: bytes | None = None
    broken: bool = False


def walk_photos(
    paths: Iterable[AnyPath],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Iterable[AnyPath] = (),
    note_left_out: Callable[[str], None] | None = None,
    raws: Counter[str] | None = None,
    column: str | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Iterator[Found]:
    """Find the photos in and below the given paths and addresses, one by one.

    Parameters
    ----------
    paths : iterable of path
        A file is yielded whatever its name. A folder is searched recursively, without following links to folders
        inside it. A file in a folder counts as a photo by its suffix (`SUFFIXES`, in any case) or, failing that, by its
        first bytes. Hidden files and folders and `SYSTEM_FOLDERS` are skipped, and so are cameras' raw files, which
        mostly lie beside the same photo as a JPEG, unless a pattern of `include` ends in their suffix, as ``*.nef``
        does. A named archive (`blurgate.photos.addresses.ARCHIVES`) is searched like a folder, in its own order.
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
        Counts, by their suffix, the raw files and archives in folders that were skipped, and, as those with the suffix
        `UNKNOWN`, files in stores whose names do not tell what they are. A pattern of `include` chooses these.
    column : str, optional
        Of the pictures in Parquet tables; see `blurgate.photos.archives.walk_archive`.
    max_megapixels : float
        Photos in archives that are too long for so many are not read.

    Yields
    ------
    Found
        In the order of `paths`, sorted by name within each folder. A folder that cannot be listed yields one `Found`
        with its `problem`.

    Raises
    ------
    MachineError
        If a store does not answer.
    """
    for name, value in (("paths", paths), ("include", include), ("exclude", exclude), ("leave_out", leave_out)):
        require_several(name, value)
    left_out = frozenset(os.path.realpath(path) for path in leave_out)
    patterns = _Patterns(include, exclude, left_out, note_left_out)
    for path in map(os.fsdecode, paths):
        if is_afar(path):
            yield from _walk_afar(path, patterns, raws, column, max_megapixels)
        elif not os.path.isdir(path):
            if patterns.wants_file(os.path.basename(path)):
                yield Found(path)
        else:
            yield from _walk(path, patterns, raws)


def find_photos(paths: Iterable[AnyPath]) -> list[Path]:
    """List the photos in and below the given paths; see `walk_photos`.

    Raises
    ------
    PhotoError
        If one of the paths does not exist or is not on a disk, or a folder cannot be listed.
    """
    require_several("paths", paths)
    paths = list(paths)
    require_disk(paths)
    require_paths(paths)
    photos = []
    for found in walk_photos(paths):
        if found.problem:
            raise PhotoError(f"{found.path} {found.problem}")
        photos.append(Path(found.path))
    return photos


def describe_raws(raws: Mapping[str, int]) -> str:
    """Say which raw files, archives and files of stores without a suffix of a photo were left out, and what to do.

    Parameters
    ----------
    raws : mapping of str to int
        Suffix -> number of files; see `walk_photos`.

    Returns
    -------
    str
        The end of a sentence.

    Examples
    --------
    >>> describe_raws({".nef": 11, ".cr3": 1})
    "12 raw files (.cr3, .nef), which are left out: develop them, name them, or include '*.nef' to judge their previews"
    """
    kinds = {suffix: count for suffix, count in raws.items() if suffix in RAW_SUFFIXES}
    packed = sum(count for suffix, count in raws.items() if suffix in ARCHIVES)
    parts = [_describe_raws(kinds)] if kinds else []
    if packed:
        archives, are, them = ("archive or table", "is", "it") if packed == 1 else ("archives or tables", "are", "them")
        parts.append(f"{packed:,} {archives}, which {are} left out: name {them} to judge the photos in {them}")
    if raws.get(UNKNOWN):
        parts.append(describe_unknown(raws[UNKNOWN]))
    return "; and ".join(parts)


def describe_unknown(count: int) -> str:
    """Say how many files of stores were left out since their names have no suffix of a photo.

    Parameters
    ----------
    count : int

    Returns
    -------
    str
        The end of a sentence.
    """
    files, are, them = ("file", "is", "it") if count == 1 else ("files", "are", "them")
    return (
        f"{count:,} {files} in stores without a suffix of a photo, which {are} left out: "
        f"name {them}, or include '*' to judge {them}, or exclude {them}"
    )


def _describe_raws(raws: Mapping[str, int]) -> str:
    suffixes = sorted(raws)
    count = sum(raws.values())
    files, are, them = ("raw file", "is", "it") if count == 1 else ("raw files", "are", "them")
    most = max(suffixes, key=lambda suffix: raws[suffix])
    previews = "its preview" if count == 1 else "their previews"
    return (
        f"{count:,} {files} ({', '.join(suffixes)}), which {are} left out: "
        f"develop {them}, name {them}, or include '*{most}' to judge {previews}"
    )


def require_paths(paths: Iterable[AnyPath], *, column: str | None = None) -> None:
    """Check that every path exists, that archives are sound, and that stores answer, as far as a few requests tell.

    Parameters
    ----------
    paths : iterable of path
    column : str, optional
        See `walk_photos`.

    Raises
    ------
    PhotoError
        If one of the paths does not exist, where a broken link counts as existing; or if a folder of a store cannot be
        opened, or an archive that is the only path: what is wrong with one among others is found by `walk_photos`.
    MachineError
        If a store does not answer.
    """
    asked = 0
    named = list(map(os.fsdecode, paths))
    for path in named:
        afar = is_address(path)
        if afar or _find_local_archive(path):
            asked += afar
            try:
                if asked <= _ASKED:
                    _require_afar(path, column)
            except PhotoError as error:
                if len(named) == 1 or not find_archive(path) or isinstance(error.__cause__, FileNotFoundError):
                    raise
        elif not os.path.lexists(path):
            raise PhotoError(f"a file or folder was needed, but {os.fsdecode(path)} does not exist: check the path")


def describe_empty(path: str) -> str:
    """Say that an archive or an address gave no photos.

    Parameters
    ----------
    path : str

    Returns
    -------
    str

    Examples
    --------
    >>> describe_empty("s3://bucket/photos")
    's3://bucket/photos has no photos: check the address'
    """
    place = find_archive(path)
    if place is None:
        return f"{hide(path)} has no photos: check the address"
    if place.inner:
        return f"{hide(path)} has no photos: nothing in the archive is named so"
    what = {"parquet": "it is a table without rows", "zip": "it is a zip without any"}
    return f"{hide(path)} has no photos: {what.get(place.kind, 'it is a tar without any')}"


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

    def skips(self, below: str) -> bool:
        """Return whether a pattern of `exclude` matches a folder."""
        return self._match(self.exclude, below)

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


def is_afar(path: str) -> bool:
    """Tell whether a path names what is no file or folder of a disk: an address, or an archive.

    Examples
    --------
    >>> is_afar("s3://bucket/photos"), is_afar("photos")
    (True, False)
    """
    return is_address(path) or _find_local_archive(path) is not None


def require_disk(paths: Iterable[AnyPath]) -> None:
    """Check that paths are those of files and folders on a disk, for work that reads nothing else.

    Parameters
    ----------
    paths : iterable of path

    Raises
    ------
    PhotoError
        If one is an address or an archive.
    """
    for path in filter(is_afar, map(os.fsdecode, paths)):
        raise PhotoError(
            f"a file or folder on a disk was needed, but {hide(path)} is in a store or an archive, where only scan "
            "looks: fetch the photos first"
        )


def _require_afar(path: str, column: str | None) -> None:
    from blurgate.photos.archives import check_archive
    from blurgate.photos.stores import contact, expand, list_folder

    try:
        path = expand(path)[0] if is_address(path) else path
        if place := find_archive(path):
            check_archive(place, column)
        elif _is_photo_address(path):
            contact(path)
        else:
            next(list_folder(path), None)
    except PhotoError as error:
        _raise_cause(error)
        raise


def _raise_cause(error: Exception) -> None:
    """Raise that a store does not answer, whatever was asked of it."""
    if problem := find_machine_error(error):
        raise problem from error


def _find_local_archive(path: str) -> Place | None:
    """Tell whether a path names an archive on the disk, and no folder or picture that is named like one."""
    if not path.lower().endswith(ARCHIVES) or not os.path.isfile(path):
        return None
    try:
        with open_regular(path) as stream:
            return None if is_picture(stream.read(32)) else find_archive(path)
    except OSError:
        return None


def _is_photo_address(address: str) -> bool:
    """Tell by its name whether an address is that of a photo, and not of a folder."""
    name = address.split("?", maxsplit=1)[0] if is_flat(address) else address
    if is_flat(address):
        return not name.endswith("/")
    return _suffix(name) in SUFFIXES | RAW_SUFFIXES


def _walk_afar(
    root: str, patterns: _Patterns, raws: Counter[str] | None, column: str | None, max_megapixels: float
) -> Iterator[Found]:
    """Find the photos in an archive or a store; what is wrong with it is one of them."""
    from blurgate.photos.stores import expand

    where = root
    try:
        for where in expand(root) if is_address(root) else [root]:
            if place := find_archive(where):
                yield from _walk_members(place, patterns, raws, column, max_megapixels)
            elif not _is_photo_address(where):
                yield from _walk_store(where, patterns, raws)
            elif patterns.wants_file(_name_of(where)):
                yield _to_found(where)
    except (PhotoError, ValueError) as error:  # ValueError: of a table without the column
        _raise_cause(error)
        where = hide(where)
        yield Found(where, str(error).removeprefix(f"{where} "), broken=True)


def _name_of(address: str) -> str:
    name = address.split("?", maxsplit=1)[0] if is_flat(address) else address
    return name.rstrip("/").rsplit("/", 1)[-1]


def _to_found(address: str, entry: Entry | None = None) -> Found:
    hidden = hide(address)
    return Found(hidden, address="" if hidden == address else address, status=entry.status if entry else None)


def _walk_members(
    place: Place, patterns: _Patterns, raws: Counter[str] | None, column: str | None, max_megapixels: float
) -> Iterator[Found]:
    from blurgate.photos.archive_bytes import clean
    from blurgate.photos.archives import walk_archive

    def wants(name: str) -> bool:
        name = clean(name)
        if patterns.wants_file(name) and name.lower().endswith(ARCHIVES) and not _is_hidden(name.rsplit("/", 1)[-1]):
            _count_archive(name, raws)
        folders = name.split("/")
        below = ["/".join(folders[:count]) for count in range(1, len(folders))]
        return (
            not any(map(_is_hidden, folders))
            and patterns.wants_file(name)
            and not any(map(patterns.skips, below))
            and not _is_other(_suffix(name))
        )

    is_table = place.kind == "parquet"
    for member in walk_archive(place, wants, column=column, max_megapixels=max_megapixels):
        hidden = hide(member.address)
        address = "" if hidden == member.address else member.address
        if not member.name:
            yield Found(hidden, member.problem, broken=True)
        elif patterns.wants_file(clean(member.name)) if is_table else _is_photo_name(member, patterns, raws):
            yield Found(hidden, member.problem, address, member.status, member.content)


def _is_photo_name(member: Member, patterns: _Patterns, raws: Counter[str] | None) -> bool:
    """Tell as `_is_photo` does whether a member of an archive is a photo."""
    from blurgate.photos.archives import read_head

    suffix = _suffix(member.name.rstrip("/"))
    if suffix in SUFFIXES:
        return True
    if suffix in RAW_SUFFIXES:
        return _wants_raw(suffix, member.name, patterns, raws)
    if _is_other(suffix):
        return False
    unknown = bool(member.problem) and member.head is None  # as of what is encrypted: it may be a photo
    return unknown or is_picture(read_head(member))


def _walk_store(root: str, patterns: _Patterns, raws: Counter[str] | None) -> Iterator[Found]:
    """Walk a folder of a store as `_walk` walks one of the disk; names alone tell what is a photo."""
    from blurgate.photos.stores import NAMELESS, list_folder

    levels: list[tuple[str, str, Iterator[Entry]]] = [(root, "", list_folder(root))]
    while levels:
        folder, above, entries = levels[-1]
        try:
            for entry in entries:
                below = f"{above}{entry.name}"
                address = join(folder, entry.name) if entry.name else folder
                if entry.name in (NAMELESS, ".", ".."):
                    if problem := _describe_unreachable(entry, above, patterns):
                        yield Found(hide(folder), problem, broken=True)
                    continue
                if _is_hidden(entry.name):
                    continue
                if entry.is_folder and entry.name and not patterns.skips(below):
                    levels.append((address, f"{below}/", list_folder(address)))
                    break
                if not entry.is_folder and _is_photo_in_store(address, entry, below, patterns, raws):
                    yield _to_found(address, entry)
            else:
                levels.pop()
        except PhotoError as error:
            _raise_cause(error)
            if len(levels) == 1:
                raise
            levels.pop()
            where = hide(folder)
            yield Found(where, f"cannot be searched for photos: {str(error).removeprefix(f'{where} ')}")


def _describe_unreachable(entry: Entry, above: str, patterns: _Patterns) -> str:
    """Say what lies under a name by which nothing can be asked for; empty if it is not wanted."""
    from blurgate.photos.stores import NAMELESS

    if entry.name == NAMELESS:
        if entry.is_folder:
            return "has photos in a folder without a name, which cannot be searched: rename it"
        return (
            "is a file whose name ends in a slash, which cannot be read: rename it"
            if patterns.wants_file(above[:-1])
            else ""
        )
    kind = "folder" if entry.is_folder else "file"
    return f"has a {kind} named {entry.name}, which cannot be read: rename it"


def _is_photo_in_store(address: str, entry: Entry, below: str, patterns: _Patterns, raws: Counter[str] | None) -> bool:
    if not below:  # the root itself, which was named
        return patterns.wants_file(_name_of(address))
    below = below.split("?", maxsplit=1)[0] if is_flat(address) else below
    if not below or not patterns.wants_file(below):
        return False
    suffix = _suffix(below)
    if suffix in RAW_SUFFIXES:
        return _wants_raw(suffix, below, patterns, raws)
    if suffix in SUFFIXES:
        return True
    if _count_archive(below, raws) or _is_other(suffix) or entry.size == 0:
        return False
    if not patterns.include and raws is not None:
        raws[UNKNOWN] += 1
    return bool(patterns.include)


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
        return _wants_raw(suffix, below, patterns, raws)
    if _is_other(suffix):
        _count_archive(path, raws)
        return False
    try:
        with open_regular(path) as stream:
            if is_picture(stream.read(32)):
                return True
            if suffix != ".parquet" or not _is_ours(stream):
                _count_archive(path, raws)
            return False
    except OSError as error:  # unreadable, with nothing in its name to suggest a photo
        raise_machine_error(error)
        return False


def _wants_raw(suffix: str, below: str, patterns: _Patterns, raws: Counter[str] | None) -> bool:
    if patterns.names_suffix(below, suffix):
        return True
    if raws is not None:
        raws[suffix] += 1
    return False


def _count_archive(name: str, raws: Counter[str] | None) -> bool:
    """Tell whether a file is named like an archive, and count it as one that is left out."""
    suffix = next((each for each in ARCHIVES if name.lower().endswith(each)), "")
    if suffix and raws is not None:
        raws[suffix] += 1
    return bool(suffix)


def _is_ours(stream: BinaryIO) -> bool:
    """Tell whether a table is one of verdicts, which has no pictures."""

    def read_at(offset: int, length: int) -> bytes:
        stream.seek(offset)
        return stream.read(length)

    return is_content_ours(read_head(read_at, os.fstat(stream.fileno()).st_size), "verdicts")


def _is_other(suffix: str) -> bool:
    """Tell by its suffix that a file is something else than a photo."""
    return suffix in mimetypes.types_map and not mimetypes.types_map[suffix].startswith("image/")
