"""A zip -> its photos, one by one; a directory that lies is refused."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from blurgate.errors import PhotoError, escape_unprintable
from blurgate.photos.addresses import Place, Status, hide, stamp
from blurgate.photos.archive_bytes import (
    BOMB_BYTES,
    BOMB_RATIO,
    HEAD,
    ArchiveBytes,
    Filter,
    Member,
    describe_size,
    open_archive,
)
from blurgate.photos.limits import check_bytes

_MOST_DIRECTORY = 2**28  # bytes of a directory: two million members
_MOST_MEMBERS = 2_000_000


class _Entry(NamedTuple):
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


class Zip:
    """A zip whose directory has been read and checked.

    Parameters
    ----------
    archive : str
        Its path or address.

    Raises
    ------
    PhotoError
        If it is no zip, is damaged, or is one that no honest program makes.
    """

    def __init__(self, archive: str) -> None:
        self._archive, self._data = archive, open_archive(archive)
        try:
            self.entries = _read_directory(self._data)
        except (struct.error, IndexError) as error:
            raise PhotoError(f"{hide(archive)} cannot be read: it is no zip, or cut short") from error
        except ValueError as error:
            raise PhotoError(f"{hide(archive)} {error}") from error
        self._by_name = {entry.name: entry for entry in self.entries}  # of two with one name, the later

    @property
    def status(self) -> Status | None:
        """Status of the archive."""
        return self._data.status

    def lists(self, entry: _Entry) -> bool:
        """Return False for an entry that a later one of the same name replaces."""
        return self._by_name[entry.name] is entry

    def read(self, name: str, max_megapixels: float) -> bytes:
        """Read a member.

        Parameters
        ----------
        name : str
        max_megapixels : float

        Returns
        -------
        bytes

        Raises
        ------
        PhotoError
            If there is none, or it is damaged, encrypted, or compressed by a rare method.
        LimitError
            If it is too long for a photo of so many megapixels.
        """
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
        """Read the first bytes of a member; none of one that cannot be read."""
        entry = self._by_name.get(name)
        if entry is None or _describe_entry(entry):
            return b""
        return self._unpack(entry._replace(packed=min(entry.packed, 1024)), HEAD, name)

    def _unpack(self, entry: _Entry, most: int, where: str) -> bytes:
        head = self._data.read_at(entry.offset, 30)
        if len(head) < 30 or not head.startswith(b"PK\3\4"):
            raise PhotoError(f"{where} cannot be read: the archive is damaged where it should be")
        lengths = struct.unpack_from("<HH", head, 26)
        packed = self._data.read_at(entry.offset + 30 + sum(lengths), entry.packed)
        if entry.method == _STORED:
            return packed[:most]
        try:
            return zlib.decompressobj(-15).decompress(packed, most)
        except zlib.error as error:
            raise PhotoError(f"{where} cannot be read: it is damaged") from error


def _describe_entry(entry: _Entry) -> str:
    if entry.name.endswith("/"):
        return "cannot be read: it is a file whose name ends in a slash"
    if entry.flags & _ENCRYPTED:
        return "cannot be read: it is encrypted"
    if entry.method not in (_STORED, _DEFLATED):
        return f"cannot be read: it is compressed by method {entry.method}, but only deflate is read"
    return ""


def _read_directory(data: ArchiveBytes) -> list[_Entry]:
    """Read the directory of a zip.

    Raises
    ------
    ValueError
        The end of a sentence.
    """
    tail_start = max(0, data.size - 2**16 - 22)
    tail = data.read_at(tail_start, 2**16 + 22)
    place = tail.rfind(_END)
    while place >= 0 and place + 22 + struct.unpack_from("<H", tail, place + 20)[0] > len(tail):
        place = tail.rfind(_END, 0, place)
    if place < 0:
        raise ValueError("cannot be read: it is no zip, or cut short")
    count, length, offset = struct.unpack_from("<HII", tail, place + 10)
    end = tail_start + place
    if 0xFFFF in (count,) or 0xFFFFFFFF in (length, offset):
        locator = data.read_at(end - 20, 20)
        if locator.startswith(_LOCATOR64):
            record = data.read_at(struct.unpack_from("<Q", locator, 8)[0], 56)
            if not record.startswith(_END64):
                raise ValueError("cannot be read: its directory is damaged")
            count, length, offset = struct.unpack_from("<QQQ", record, 32)
            end -= 20 + 56
    if length > _MOST_DIRECTORY or count > _MOST_MEMBERS:
        raise ValueError(f"is not read: it claims {count:,} members, at most {_MOST_MEMBERS:,} are read: split it")
    shift = max(0, end - length - offset)  # of what precedes the zip, such as a program that unpacks it
    content = data.read_at(offset + shift, length)
    if len(content) < length:
        raise ValueError("cannot be read: it is no zip, or cut short")
    entries = list(_parse_directory(content, count, shift))
    _check_entries(entries, offset + shift, data.size)
    return entries


def _parse_directory(content: bytes, count: int, shift: int) -> Iterator[_Entry]:
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
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437", "surrogateescape")
        yield _Entry(name, offset + shift, packed, size, crc, method, flags)


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


def _check_entries(entries: Sequence[_Entry], directory: int, size: int) -> None:
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
    if claimed > BOMB_BYTES and claimed > BOMB_RATIO * size:
        raise ValueError(
            f"is not read: {size / 1e6:,.1f} MB claim to hold {claimed / 1e6:,.0f} MB, more than photos can shrink: "
            "it seems made to fill memory"
        )


def _is_outside(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or name.startswith(("/", "\\")) or "\0" in name or bool(re.match(r"[A-Za-z]:[/\\]", name))


def walk_zip(archive: Zip, place: Place, chosen: Filter, max_megapixels: float) -> Iterator[Member]:
    """List the photos of a zip, in the order of its directory; see `blurgate.photos.archives.walk_archive`.

    Parameters
    ----------
    archive : Zip
    place : Place
    chosen : Filter
    max_megapixels : float

    Yields
    ------
    Member
    """
    for entry in archive.entries:
        is_folder = entry.name.endswith("/") and not entry.size
        if is_folder or not archive.lists(entry) or not chosen.takes(entry.name):
            continue
        address = f"zip://{entry.name}::{place.archive}"
        problem, head = _describe_entry(entry), None
        if not problem and (problem := describe_size(max(entry.size, entry.packed), max_megapixels)):
            head = _read_head(archive, entry.name)
        status = stamp(entry.size, archive.status, entry.offset, entry.crc)
        yield Member(entry.name, address, status, head, problem=problem)


def _read_head(archive: Zip, name: str) -> bytes | None:
    with suppress(PhotoError):
        return archive.read_head(name)
    return None
