"""Archives of photos (zip, tar, Parquet tables), on a disk or in a store -> their photos, one by one, never extracted.

An archive may be a stranger's: nothing that it says of sizes, names or places is believed.
"""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from blurgate.errors import PhotoError, escape_unprintable, needs_extra
from blurgate.files import open_regular
from blurgate.photos.limits import MAX_MEGAPIXELS, LimitError, check_bytes
from blurgate.photos.stores import Ranges, Status, hide, is_address, read, reveal, split_row, split_scheme, stamp

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".parquet")
COLUMNS = ("path", "file", "image", "photo", "bytes")  # names of a table's photo column, by priority

_HEAD = 32  # bytes that show what a member is
_MOST_BYTES = 2**29  # of a photo, whatever the limits say: it is held in memory
_MOST_DIRECTORY = 2**28  # bytes of a zip's directory: two million members
_MOST_MEMBERS = 2_000_000
_MOST_NAMES = 2**20  # bytes of the extended headers before one member of a tar
_BOMB_RATIO, _BOMB_BYTES = 200, 2**30  # of what an archive claims to hold: photos hardly shrink
_KEPT = 3  # archives whose places of members are remembered
_SMALL = 2**26  # bytes of an archive in a store, or a row group, that is read for one of its photos
_ROWS_BYTES = 2**24  # of a table's rows read at a time
_TAR_BLOCK = 512


class Member(NamedTuple):
    """A photo in an archive, or what is there in its place.

    Parameters
    ----------
    name : str
        Its name in the archive; empty for the archive itself.
    address : str
        By which `read_member` finds it again.
    status : Status or None
        Tells whether it has changed.
    head : bytes or None
        Its first bytes; None if they are not known yet, see `read_head`.
    content : bytes or None
        All of it; None if it is to be read by its address.
    problem : str
        Why it cannot be read: the end of a sentence that begins with the address. Empty if it can be.
    """

    name: str
    address: str
    status: Status | None = None
    head: bytes | None = None
    content: bytes | None = None
    problem: str = ""


class Source(Protocol):
    """The bytes of an archive, on the disk or in a store."""

    size: int
    status: Status | None

    def read_at(self, offset: int, length: int) -> bytes:
        """Read bytes from an offset on; fewer at the end."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class Place(NamedTuple):
    """What a path or an address names: an archive, and a part of it.

    Parameters
    ----------
    kind : str
        ``zip``, ``tar`` or ``parquet``.
    archive : str
        Path or address of the archive.
    inner : str
        A member, a folder in the archive that ends with a slash, or a pattern; empty for all of it.
    """

    kind: str
    archive: str
    inner: str = ""


def find_archive(path: str) -> Place | None:
    """Tell whether a path or an address names an archive, or a part of one.

    Parameters
    ----------
    path : str

    Returns
    -------
    Place or None

    Examples
    --------
    >>> find_archive("zip://cats/::s3://bucket/photos.zip")
    Place(kind='zip', archive='s3://bucket/photos.zip', inner='cats/')
    >>> find_archive("https://host/shard-000.tar?id=1").kind, find_archive("cat.jpg")
    ('tar', None)
    """
    scheme = split_scheme(path)
    if scheme in ("zip", "tar") and is_address(path):
        inner, mark, archive = path[len(scheme) + 3 :].rpartition("::")
        if not mark:
            return Place(scheme, inner or archive)
        return Place(scheme, archive, inner.lstrip("/"))
    if (row := split_row(path)) and is_address(path):
        return Place("parquet", row[0], str(row[1]))
    name = path.split("?", maxsplit=1)[0] if scheme in ("http", "https") else path
    suffix = next((each for each in SUFFIXES if name.lower().endswith(each)), "")
    if not suffix:
        return None
    return Place({".zip": "zip", ".parquet": "parquet"}.get(suffix, "tar"), path)


def walk_archive(
    place: Place,
    wants: Callable[[str], bool],
    *,
    column: str | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Iterator[Member]:
    """List the photos of an archive in its own order; those of a tar or a table with their content.

    Parameters
    ----------
    place : Place
    wants : callable
        Takes a name in the archive, and returns False for members that need not be read.
    column : str, optional
        Of a table: by default the first one with pictures of ``path``, ``file``, ``image``, ``photo`` and ``bytes``, or
        the only one.
    max_megapixels : float
        Members that are too long for a photo of so many have a `problem`.

    Yields
    ------
    Member
        If the archive ends early or is damaged from some place on, the last one is the archive itself, with a
        `problem`.

    Raises
    ------
    PhotoError
        If the archive cannot be opened, or is one that no honest program makes.
    MachineError
        If the store of the archive does not answer.
    MissingExtraError
        If a library is missing.
    ValueError
        If a table has no such column.
    """
    chosen = _Filter(place.inner, wants)
    if place.kind == "zip":
        yield from _walk_zip(place, chosen, max_megapixels)
        return
    source = _open_source(place.archive)
    try:
        if place.kind == "tar":
            yield from _walk_tar(place, source, chosen, max_megapixels)
        else:
            yield from _walk_table(place, source, column, max_megapixels)
    finally:
        source.close()


def check_archive(place: Place, column: str | None = None) -> None:
    """Check before a scan that an archive can be opened, and is one that honest programs make.

    Parameters
    ----------
    place : Place
    column : str, optional

    Raises
    ------
    PhotoError, MachineError, MissingExtraError, ValueError
        See `walk_archive`.
    """
    if place.kind == "zip":
        _find_index(place)
        return
    source = _open_source(place.archive)
    try:
        if place.kind == "parquet":
            _choose_column(place, _open_table(place, source).schema_arrow, column)
        else:
            try:
                next(_read_headers(_Stream(source)), None)
            except (_TarError, zlib.error) as error:
                raise PhotoError(f"{hide(place.archive)} {_describe_no_tar(source, error)}") from error
    finally:
        source.close()


def read_member(address: str, *, size: int | None = None, max_megapixels: float = MAX_MEGAPIXELS) -> bytes:
    """Read one photo of an archive, or one that a store has.

    Parameters
    ----------
    address : str
    size : int, optional
        Of one that a store has: its bytes, where a listing has said how many.
    max_megapixels : float
        A file of more bytes than a JPEG of so many pixels may have is refused.

    Returns
    -------
    bytes

    Raises
    ------
    PhotoError
        If it does not exist, may not be read, is damaged or too long; or if finding it again would take too long.
    MissingExtraError
        If a library is missing.
    """
    address = reveal(address)
    place = find_archive(address)
    try:
        if place and place.inner:
            if place.kind == "parquet":
                return _read_row(place, max_megapixels)
            index = _find_index(place)
            return index.read(place.inner, max_megapixels)
        content = read(address, size=size, most=min(_MOST_BYTES, _find_most(max_megapixels)))
        check_bytes(len(content), "JPEG", max_megapixels)
    except LimitError as error:
        raise PhotoError(f"{hide(address)} cannot be read: {error}") from error
    return content


def read_head(member: Member) -> bytes:
    """Read the first bytes of a member that has a place; empty if they cannot be read."""
    if member.head is not None:
        return member.head
    place = find_archive(member.address)
    try:
        return _find_index(place).read_head(place.inner) if place and place.kind == "zip" else b""
    except PhotoError:
        return b""


def _find_most(max_megapixels: float) -> int:
    """Find how many bytes a file may have so that `check_bytes` lets it pass, roughly."""
    from blurgate.photos.limits import COSTS

    return int(1e6 * max(max_megapixels, MAX_MEGAPIXELS) / COSTS["JPEG"].byte) + 1


@dataclass(frozen=True)
class _Filter:
    """Chooses members by what the address names, and by the patterns of the scan."""

    inner: str
    wants: Callable[[str], bool]

    def takes(self, name: str) -> bool:
        return self._is_inside(name) and self.wants(name)

    def _is_inside(self, name: str) -> bool:
        inner = self.inner
        if not inner or name == inner or name.startswith(inner.rstrip("/") + "/"):
            return True
        if any(mark in inner for mark in "*?["):
            from fnmatch import fnmatchcase

            return fnmatchcase(name, inner)
        return False


# ------------------------------------------------------------------------------------------------------------ sources


class _File:
    """An archive on the disk."""

    def __init__(self, path: str) -> None:
        try:
            self._handle = open_regular(path)
        except FileNotFoundError:
            raise PhotoError(f"{path} does not exist: check the path") from None
        except PermissionError:
            raise PhotoError(f"{path} cannot be opened: you have no permission to read it") from None
        found = os.fstat(self._handle.fileno())
        self.size = found.st_size
        self.status: Status | None = Status(found.st_size, found.st_mtime_ns)
        self._lock = threading.Lock()

    def read_at(self, offset: int, length: int) -> bytes:
        with self._lock:  # os.pread is not everywhere
            self._handle.seek(offset)
            return self._handle.read(length)

    def close(self) -> None:
        self._handle.close()


class _Reader(io.RawIOBase):
    """A source as a file that can be read and can seek."""

    def __init__(self, source: Source) -> None:
        self._source, self._offset = source, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._source.size}[whence]
        self._offset = base + offset
        return self._offset

    def tell(self) -> int:
        return self._offset

    def readinto(self, target: Any) -> int:
        content = self._source.read_at(self._offset, len(target))
        target[: len(content)] = content
        self._offset += len(content)
        return len(content)


def _open_source(archive: str) -> Source:
    if is_address(archive):
        if "::" in archive:
            raise PhotoError(f"{hide(archive)} is an archive in an archive, which is not read: unpack the outer one")
        return Ranges(archive)
    return _File(archive)


# ---------------------------------------------------------------------------------------------------------------- zip


class _ZipEntry(NamedTuple):
    name: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int


_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_END, _END64, _LOCATOR64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"


class _Zip:
    """A zip whose directory has been read and checked."""

    def __init__(self, archive: str) -> None:
        self._archive, self._source = archive, _open_source(archive)
        try:
            self.entries = _read_directory(self._source)
        except (struct.error, IndexError) as error:
            raise PhotoError(f"{hide(archive)} cannot be read: it is no zip, or cut short") from error
        except ValueError as error:
            raise PhotoError(f"{hide(archive)} {error}") from error
        self._by_name = {entry.name: entry for entry in self.entries}  # of two with one name, the later

    @property
    def status(self) -> Status | None:
        return self._source.status

    def lists(self, entry: _ZipEntry) -> bool:
        return self._by_name[entry.name] is entry

    def read(self, name: str, max_megapixels: float) -> bytes:
        entry = self._by_name.get(name)
        where = f"zip://{name}::{hide(self._archive)}"
        if entry is None:
            raise PhotoError(f"{where} does not exist: the archive has no such member")
        check_bytes(max(entry.size, entry.packed), "JPEG", max_megapixels)
        if problem := _describe_entry(entry):
            raise PhotoError(f"{where} {problem}")
        content = self._unpack(entry, entry.size + 1, where)
        if len(content) != entry.size or zlib.crc32(content) != entry.crc:
            raise PhotoError(f"{where} cannot be read: it is damaged, or not of the size that the archive states")
        return content

    def read_head(self, name: str) -> bytes:
        entry = self._by_name.get(name)
        if entry is None or _describe_entry(entry):
            return b""
        return self._unpack(entry._replace(packed=min(entry.packed, 1024)), _HEAD, name)

    def _unpack(self, entry: _ZipEntry, most: int, where: str) -> bytes:
        head = self._source.read_at(entry.offset, 30)
        if len(head) < 30 or not head.startswith(b"PK\3\4"):
            raise PhotoError(f"{where} cannot be read: the archive is damaged where it should be")
        lengths = struct.unpack_from("<HH", head, 26)
        packed = self._source.read_at(entry.offset + 30 + sum(lengths), entry.packed)
        if entry.method == _STORED:
            return packed[:most]
        try:
            return zlib.decompressobj(-15).decompress(packed, most)
        except zlib.error as error:
            raise PhotoError(f"{where} cannot be read: it is damaged") from error


def _describe_entry(entry: _ZipEntry) -> str:
    if entry.flags & _ENCRYPTED:
        return "cannot be read: it is encrypted"
    if entry.method not in (_STORED, _DEFLATED):
        return f"cannot be read: it is compressed by method {entry.method}, but only deflate is read"
    return ""


def _read_directory(source: Source) -> list[_ZipEntry]:
    """Read the directory of a zip.

    Raises
    ------
    ValueError
        The end of a sentence.
    """
    tail_start = max(0, source.size - 2**16 - 22)
    tail = source.read_at(tail_start, 2**16 + 22)
    place = tail.rfind(_END)
    while place >= 0 and place + 22 + struct.unpack_from("<H", tail, place + 20)[0] > len(tail):
        place = tail.rfind(_END, 0, place)
    if place < 0:
        raise ValueError("cannot be read: it is no zip, or cut short")
    count, length, offset = struct.unpack_from("<HII", tail, place + 10)
    end = tail_start + place
    if 0xFFFF in (count,) or 0xFFFFFFFF in (length, offset):
        locator = source.read_at(end - 20, 20)
        if locator.startswith(_LOCATOR64):
            record = source.read_at(struct.unpack_from("<Q", locator, 8)[0], 56)
            if not record.startswith(_END64):
                raise ValueError("cannot be read: its directory is damaged")
            count, length, offset = struct.unpack_from("<QQQ", record, 32)
            end -= 20 + 56
    if length > _MOST_DIRECTORY or count > _MOST_MEMBERS:
        raise ValueError(f"is not read: it claims {count:,} members, at most {_MOST_MEMBERS:,} are read: split it")
    shift = max(0, end - length - offset)  # of what precedes the zip, such as a program that unpacks it
    content = source.read_at(offset + shift, length)
    if len(content) < length:
        raise ValueError("cannot be read: it is no zip, or cut short")
    entries = list(_parse_directory(content, count, shift))
    _check_entries(entries, offset + shift, source.size)
    return entries


def _parse_directory(content: bytes, count: int, shift: int) -> Iterator[_ZipEntry]:
    place = 0
    for _ in range(count):
        if content[place : place + 4] != b"PK\1\2":
            raise ValueError("cannot be read: its directory is damaged")
        flags, method = struct.unpack_from("<HH", content, place + 8)
        crc, packed, size, named, extra, comment = struct.unpack_from("<IIIHHH", content, place + 16)
        (offset,) = struct.unpack_from("<I", content, place + 42)
        raw = content[place + 46 : place + 46 + named]
        more = content[place + 46 + named : place + 46 + named + extra]
        place += 46 + named + extra + comment
        if 0xFFFFFFFF in (size, packed, offset):
            size, packed, offset = _read_large(more, size, packed, offset)
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        yield _ZipEntry(name, offset + shift, packed, size, crc, method, flags)


def _read_large(extra: bytes, *numbers: int) -> list[int]:
    """Replace sizes and offsets of 32 bits that are full by those of 64 in the extra field."""
    place = 0
    while place + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, place)
        if tag == 1:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, place + 4))
            return [next(values, number) if number == 0xFFFFFFFF else number for number in numbers]
        place += 4 + length
    return list(numbers)


def _check_entries(entries: Sequence[_ZipEntry], directory: int, size: int) -> None:
    """Refuse a zip that no honest program makes.

    Raises
    ------
    ValueError
        The end of a sentence.
    """
    for entry in entries:
        if _is_outside(entry.name):
            raise ValueError(
                f"is not read: its member {escape_unprintable(entry.name[:200])} would lie outside of it, which no "
                "honest program makes: pack the photos anew"
            )
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset < end or entry.offset + 30 + entry.packed > directory:
            raise ValueError(
                "is not read: its members overlap, or lie where none can be: it is damaged, or made to fill memory"
            )
        end = entry.offset + 30 + entry.packed
    claimed = sum(entry.size for entry in entries)
    if claimed > _BOMB_BYTES and claimed > _BOMB_RATIO * size:
        raise ValueError(
            f"is not read: {size / 1e6:,.1f} MB claim to hold {claimed / 1e6:,.0f} MB, more than photos can shrink: "
            "it seems made to fill memory"
        )


def _is_outside(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or name.startswith(("/", "\\")) or "\0" in name or bool(re.match(r"[A-Za-z]:[/\\]", name))


def _walk_zip(place: Place, chosen: _Filter, max_megapixels: float) -> Iterator[Member]:
    archive = _find_index(place)
    assert isinstance(archive, _Zip)  # for mypy
    for entry in archive.entries:
        if entry.name.endswith("/") or not archive.lists(entry) or not chosen.takes(entry.name):
            continue
        address = f"zip://{entry.name}::{place.archive}"
        problem = _describe_entry(entry) or _describe_size(max(entry.size, entry.packed), max_megapixels)
        status = stamp(entry.size, archive.status, entry.offset, entry.crc)
        yield Member(entry.name, address, status, problem=problem)


def _describe_size(size: int, max_megapixels: float) -> str:
    try:
        check_bytes(size, "JPEG", max_megapixels)
    except LimitError as error:
        return f"cannot be read: {error}"
    return "" if size <= _MOST_BYTES else f"cannot be read: it has {size / 1e6:,.0f} MB, which no photo has"


# ---------------------------------------------------------------------------------------------------------------- tar


class _Stream:
    """What is read of a tar from its start to its end, compressed or not."""

    def __init__(self, source: Source) -> None:
        self._source, self._offset, self.place = source, 0, 0
        self.packed = source.read_at(0, 2) == b"\x1f\x8b"
        self._gunzip = zlib.decompressobj(31) if self.packed else None
        self._held = b""

    def read(self, length: int) -> bytes:
        """Read on; fewer bytes at the end."""
        if self._gunzip is None:
            content = self._source.read_at(self._offset, length)
            self._offset += len(content)
        else:
            content = self._inflate(length)
        self.place += len(content)
        return content

    def skip(self, length: int) -> bool:
        """Go on by so many bytes; False if there are fewer."""
        if self._gunzip is None:
            self._offset += length
            self.place += length
            return self._offset <= self._source.size
        while length > 0:
            part = self.read(min(length, 2**20))
            if not part:
                return False
            length -= len(part)
        return True

    def _inflate(self, length: int) -> bytes:
        parts = [self._held[:length]]
        self._held = self._held[length:]
        missing = length - len(parts[0])
        while missing > 0:
            gunzip = self._gunzip
            assert gunzip is not None  # for mypy
            packed = gunzip.unconsumed_tail
            if gunzip.eof:
                rest = gunzip.unused_data or self._more()
                if not rest.startswith(b"\x1f\x8b"):
                    break
                gunzip = self._gunzip = zlib.decompressobj(31)
                packed = rest
            packed = packed or self._more()
            if not packed:
                break
            part = gunzip.decompress(packed, max(missing, 2**16))
            parts.append(part[:missing])
            self._held = part[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _more(self) -> bytes:
        packed = self._source.read_at(self._offset, 2**18)
        self._offset += len(packed)
        return packed


class _TarError(Exception):
    """A tar is damaged from here on."""


class _TarEntry(NamedTuple):
    name: str
    size: int
    kind: bytes
    place: int  # of its content


def _read_headers(stream: _Stream) -> Iterator[_TarEntry]:
    """Read the headers of a tar; the caller reads or skips the content between them.

    Raises
    ------
    _TarError
        The end of a sentence.
    """
    name, size = "", None
    while True:
        header = stream.read(_TAR_BLOCK)
        if len(header) < _TAR_BLOCK:
            raise _TarError("is cut short: its end is missing")
        if not header.strip(b"\0"):
            return
        if not _is_header(header):
            raise _TarError("is damaged: a header was needed, but something else came")
        kind = header[156:157]
        length = _read_number(header[124:136])
        if kind in b"xgLK" and kind:
            if length > _MOST_NAMES:
                raise _TarError("is damaged: the header of a member is too long")
            padded = -(-length // _TAR_BLOCK) * _TAR_BLOCK
            content = stream.read(padded)
            if len(content) < padded:
                raise _TarError("is cut short: its end is missing")
            if kind == b"L":
                name = content[:length].split(b"\0")[0].decode("utf-8", "surrogateescape")
            elif kind == b"x":
                found = _read_pax(content[:length])
                name = found.get("path", name)
                with suppress(ValueError):
                    size = int(found["size"]) if "size" in found else size
            continue
        if not name:
            name = header[:100].split(b"\0")[0].decode("utf-8", "surrogateescape")
            prefix = header[345:500].split(b"\0")[0].decode("utf-8", "surrogateescape")
            if header[257:262] == b"ustar" and header[257:265] != b"ustar  \0" and prefix:
                name = f"{prefix}/{name}"
        if kind == b"S":  # its map may go on in blocks of its own
            more = header[482:483]
            while more == b"\1":
                more = stream.read(_TAR_BLOCK)[504:505]
        held = length if size is None else size
        held = held if kind in b"\x000S7" or kind == b"" else 0
        if held < 0:
            raise _TarError("is damaged: a member has no length")
        yield _TarEntry(name, held, kind, stream.place)
        name, size = "", None


def _is_header(header: bytes) -> bool:
    try:
        stated = _read_number(header[148:156])
    except _TarError:
        return False
    return stated == sum(header[:148]) + sum(header[156:]) + 8 * 32


def _read_number(text: bytes) -> int:
    if text[:1] == b"\x80":
        return int.from_bytes(text[1:], "big")
    try:
        return int(text.strip(b" \0") or b"0", 8)
    except ValueError:
        raise _TarError("is damaged: a number was needed in a header") from None


def _read_pax(content: bytes) -> dict[str, str]:
    """Read the records of an extended header: each its length, a space, key=value, a line break."""
    found = {}
    place = 0
    while place < len(content):
        mark = content.find(b" ", place, place + 20)
        try:
            length = int(content[place:mark])
        except ValueError:
            break
        if mark < 0 or length <= mark - place:
            break
        key, _, value = content[mark + 1 : place + length - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        place += length
    return found


class _Tar:
    """Where the members of a tar lie, as far as it has been walked."""

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self.places: dict[str, tuple[int, int] | None] = {}
        self.complete = False

    @cached_property
    def _source(self) -> Source:
        return _open_source(self._archive)

    def note(self, entry: _TarEntry) -> None:
        """Remember where a member lies; of two with one name, none can be found again."""
        self.places[entry.name] = None if entry.name in self.places else (entry.place, entry.size)

    def read(self, name: str, max_megapixels: float) -> bytes:
        where = f"tar://{name}::{hide(self._archive)}"
        if not self.complete and name not in self.places:
            self._walk(where)
        if name not in self.places:
            raise PhotoError(f"{where} does not exist: the archive has no such member")
        place = self.places[name]
        if place is None:
            raise PhotoError(f"{where} cannot be read: the archive has several members of that name")
        check_bytes(place[1], "JPEG", max_megapixels)
        content = self._source.read_at(*place)
        if len(content) < place[1]:
            raise PhotoError(f"{where} cannot be read: the archive is cut short")
        return content

    def read_head(self, _: str) -> bytes:
        return b""

    def _walk(self, where: str) -> None:
        stream = _Stream(self._source)
        if stream.packed or (is_address(self._archive) and self._source.size > _SMALL):
            raise PhotoError(f"{where} cannot be found again: the archive would have to be read from its start")
        self.places.clear()
        with suppress(_TarError, zlib.error):
            for entry in _read_headers(stream):
                if entry.kind in (b"0", b"\0", b"7", b""):
                    self.note(entry)
                stream.skip(-(-entry.size // _TAR_BLOCK) * _TAR_BLOCK)
        self.complete = True


def _walk_tar(place: Place, source: Source, chosen: _Filter, max_megapixels: float) -> Iterator[Member]:
    stream = _Stream(source)
    index = None if stream.packed else _find_index(place)
    if isinstance(index, _Tar):
        index.places.clear()
    began = False
    try:
        for entry in _read_headers(stream):
            began = True
            padding = -entry.size % _TAR_BLOCK
            name = entry.name.removeprefix("./")
            is_file = entry.kind in (b"0", b"\0", b"7", b"")
            if entry.kind == b"5" or not name or name.endswith("/") or not chosen.takes(name):
                _skip(stream, entry.size + padding)
                continue
            address = f"tar://{entry.name}::{place.archive}"
            problem = _describe_kind(entry.kind) if not is_file else _describe_size(entry.size, max_megapixels)
            if problem:
                yield Member(name, address, None, problem=problem)
                _skip(stream, entry.size + padding)
                continue
            content = stream.read(entry.size)
            if len(content) < entry.size:
                yield Member(name, address, None, problem="cannot be read: the archive ends inside it")
                raise _TarError("is cut short: its end is missing")
            if isinstance(index, _Tar):
                index.note(entry)
            status = stamp(entry.size, source.status, entry.place)
            yield Member(name, address, status, head=content[:_HEAD], content=content)
            _skip(stream, padding)
        if isinstance(index, _Tar):
            index.complete = not chosen.inner
    except (_TarError, zlib.error) as error:
        problem = str(error) if isinstance(error, _TarError) else "is damaged: it cannot be decompressed to its end"
        if not began:
            raise PhotoError(f"{hide(place.archive)} {_describe_no_tar(source, error)}") from error
        yield Member("", place.archive, None, problem=f"{problem}: what comes before was judged: fetch it again")


def _describe_no_tar(source: Source, error: Exception) -> str:
    if not source.size:
        return "cannot be read: it is empty"
    return f"cannot be read: it {error}" if "cut short" in str(error) else "cannot be read: it is no tar, or damaged"


def _skip(stream: _Stream, length: int) -> None:
    if length and not stream.skip(length):
        raise _TarError("is cut short: its end is missing")


def _describe_kind(kind: bytes) -> str:
    words = {b"1": "a link", b"2": "a link", b"S": "a sparse file", b"6": "a pipe", b"3": "a device", b"4": "a device"}
    return f"is not read: it is {words.get(kind, 'no regular file')} in an archive"


# -------------------------------------------------------------------------------------------------------------- index

_INDEXES: OrderedDict[tuple[Any, ...], _Zip | _Tar] = OrderedDict()
_LOCK = threading.Lock()


def _find_index(place: Place) -> _Zip | _Tar:
    """Find out where the members of an archive lie; a few archives are remembered, each with a source of its own."""
    key = (os.getpid(), place.kind, place.archive, _stamp_file(place.archive))
    with _LOCK:
        if key in _INDEXES:
            _INDEXES.move_to_end(key)
            return _INDEXES[key]
    index: _Zip | _Tar = _Zip(place.archive) if place.kind == "zip" else _Tar(place.archive)
    with _LOCK:
        index = _INDEXES.setdefault(key, index)
        while len(_INDEXES) > _KEPT:
            _INDEXES.popitem(last=False)
    return index


def _stamp_file(archive: str) -> tuple[int, int] | None:
    if is_address(archive):
        return None
    try:
        found = os.stat(archive)  # noqa: PTH116 faster than Path, which matters for a million members
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


# -------------------------------------------------------------------------------------------------------------- table


def _open_table(place: Place, source: Source) -> Any:
    with needs_extra("remote", "Reading photos in Parquet tables"):
        import pyarrow
        import pyarrow.parquet
    try:
        return pyarrow.parquet.ParquetFile(io.BufferedReader(_Reader(source), 2**16), pre_buffer=False)
    except PhotoError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise PhotoError(f"{hide(place.archive)} cannot be read: it is no Parquet table, or cut short") from error


def _choose_column(place: Place, schema: Any, column: str | None) -> tuple[str, bool]:
    """Choose the column of pictures; also say if its cells are structs with ``bytes`` and ``path``."""
    kinds = {field.name: _is_picture_type(field.type) for field in schema}
    pictures = [name for name, kind in kinds.items() if kind is not None]
    if column is None:
        column = next((name for name in COLUMNS if name in pictures), pictures[0] if len(pictures) == 1 else None)
    if column is None or column not in kinds:
        wanted = f"named {column}" if column else "of pictures"
        raise ValueError(
            f"column must be one that the table has: expected one {wanted}, but {hide(place.archive)} has "
            f"{', '.join(map(escape_unprintable, kinds)) or 'none'}: name one"
        )
    if kinds[column] is None:
        raise ValueError(
            f"column must be one of pictures, but {column} of {hide(place.archive)} holds no bytes: name another"
        )
    return column, bool(kinds[column])


def _is_picture_type(kind: Any) -> bool | None:
    """Return False for bytes, True for a struct that has them, None for anything else."""
    import pyarrow

    types = pyarrow.types
    if types.is_struct(kind):
        inner = [kind.field(number) for number in range(kind.num_fields)]
        return True if any(each.name == "bytes" and _is_picture_type(each.type) is False for each in inner) else None
    return False if types.is_binary(kind) or types.is_large_binary(kind) else None


def _walk_table(place: Place, source: Source, column: str | None, max_megapixels: float) -> Iterator[Member]:
    if place.inner:
        address = f"{place.archive}#{place.inner}"
        yield Member(place.inner, address, content=_read_row(place, max_megapixels, column))
        return
    table = _open_table(place, source)
    name, is_struct = _choose_column(place, table.schema_arrow, column)
    _remember_column(place, name)
    rows, size = table.metadata.num_rows, max(1, source.size)
    _check_groups(place, table, name)
    step = max(1, min(1000, _ROWS_BYTES * max(1, rows) // size))
    number = 0
    import pyarrow

    try:
        for batch in table.iter_batches(step, columns=[name]):
            for cell in batch.column(0):
                address = f"{place.archive}#{number}"
                yield _to_member(cell.as_py(), address, number, source.status, max_megapixels, is_struct=is_struct)
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error.__cause__, PhotoError):
            raise error.__cause__ from error
        problem = f"is damaged or cut short after row {number:,}: what comes before was judged: fetch it again"
        yield Member("", place.archive, None, problem=problem)


def _check_groups(place: Place, table: Any, name: str) -> None:
    """Refuse a table whose pages claim to hold far more than pictures can shrink."""
    meta = table.metadata
    for group in range(meta.num_row_groups):
        for each in range(meta.num_columns):
            chunk = meta.row_group(group).column(each)
            if chunk.path_in_schema.split(".")[0] != name:
                continue
            claimed, packed = chunk.total_uncompressed_size, max(1, chunk.total_compressed_size)
            if claimed > _BOMB_BYTES and claimed > _BOMB_RATIO * packed:
                raise PhotoError(
                    f"{hide(place.archive)} is not read: {packed / 1e6:,.1f} MB claim to hold {claimed / 1e6:,.0f} MB, "
                    "more than photos can shrink: it seems made to fill memory"
                )


def _to_member(
    cell: Any, address: str, number: int, archive: Status | None, max_megapixels: float, *, is_struct: bool
) -> Member:
    name, content = str(number), cell
    if is_struct:
        cell = cell or {}
        name, content = str(cell.get("path") or number), cell.get("bytes")
    if not content:
        return Member(name, address, problem="has no photo: its cell is empty")
    if problem := _describe_size(len(content), max_megapixels):
        return Member(name, address, problem=problem)
    return Member(name, address, stamp(len(content), archive, number), content[:_HEAD], content)


_COLUMN_OF: OrderedDict[str, str] = OrderedDict()


def _remember_column(place: Place, column: str) -> None:
    with _LOCK:
        _COLUMN_OF[place.archive] = column
        while len(_COLUMN_OF) > 1000:
            _COLUMN_OF.popitem(last=False)


def _read_row(place: Place, max_megapixels: float, column: str | None = None) -> bytes:
    source = _open_source(place.archive)
    where = f"{hide(place.archive)}#{place.inner}"
    try:
        table = _open_table(place, source)
        chosen, is_struct = _choose_column(place, table.schema_arrow, column or _COLUMN_OF.get(place.archive))
        _check_groups(place, table, chosen)
        number = int(place.inner)
        for group in range(table.metadata.num_row_groups):
            meta = table.metadata.row_group(group)
            if number < meta.num_rows:
                if meta.total_byte_size > _SMALL:
                    raise PhotoError(f"{where} cannot be found again: its row group is too large to be read for it")
                cell = table.read_row_group(group, columns=[chosen]).column(0)[number].as_py()
                member = _to_member(cell, where, number, None, max_megapixels, is_struct=is_struct)
                if member.content is None:
                    raise PhotoError(f"{where} {member.problem}")
                return member.content
            number -= meta.num_rows
        raise PhotoError(f"{where} does not exist: the table has {table.metadata.num_rows:,} rows")
    finally:
        source.close()
