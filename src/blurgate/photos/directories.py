"""TIFF directories -> their entries: of a TIFF file, of a camera's raw file, of EXIF.

Pillow reads every value of a directory at once, and the entries of a stranger's directory may claim a value of
megabytes each, thousands of times the same one. Here a value is read only when it is asked for.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

_HEADERS = {  # first bytes of TIFF, and of raw files that differ from it only there -> byte order, BigTIFF or not
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
    b"IIRO": ("<", False),  # Olympus
    b"IIRS": ("<", False),
    b"MMOR": (">", False),
    b"IIU\0": ("<", False),  # Panasonic
}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip  # type -> bytes of a value
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # type -> code of struct
_MOST_INTEGERS = 64  # of one entry: previews and orientation need fewer
_MOST_ENTRIES = 4096  # of one directory: cameras write below a hundred
_MOST_CLAIMED = 2**22  # bytes that the values of a directory of EXIF may take: sixty times what a JPEG's block holds
_MOST_HEADERS = 64  # in one file: EXIF, and those that makers put into it

ORIENTATION = 274
_INNER = (34665, 34853)  # directories in the first one that Pillow may read too: EXIF, GPS


class Entry(NamedTuple):
    """One entry of a directory: `number` values of a type, at a place in bytes from the start of the stream."""

    kind: int
    number: int
    place: int


@dataclass(frozen=True)
class Directory:
    """The entries of a directory, and where the next one is.

    Parameters
    ----------
    stream : binary file
        It is read again when a value is asked for.
    start : int
        Position of the header in the stream, in bytes: offsets count from there.
    order : {'<', '>'}
        Byte order, as in `struct`.
    big : bool
        True in a BigTIFF, which has 8 bytes for an offset.
    entries : dict of int to Entry
        By tag.
    following : int
        Offset of the next directory; 0 if this is the last.
    claims : tuple of int
        Bytes that the value of each entry takes.
    """

    stream: BinaryIO
    start: int
    order: str
    big: bool
    entries: dict[int, Entry]
    following: int
    claims: tuple[int, ...]

    def integers(self, tag: int) -> tuple[int, ...]:
        """Read the first values of an entry; empty if there is none, it is cut short, or its values are no integers."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _INTEGERS:
            return ()
        form = f"{self.order}{min(entry.number, _MOST_INTEGERS)}{_INTEGERS[entry.kind]}"
        self.stream.seek(entry.place)
        content = self.stream.read(struct.calcsize(form))
        return struct.unpack(form, content) if len(content) == struct.calcsize(form) else ()

    def integer(self, tag: int, default: int = 0) -> int:
        """Read the first value of an entry.

        Parameters
        ----------
        tag : int
        default : int

        Returns
        -------
        int
            The default if there is no such entry, or no value.
        """
        return next(iter(self.integers(tag)), default)


def first_directory(stream: BinaryIO, start: int = 0) -> Directory | None:
    r"""Read the first directory behind a TIFF header.

    Parameters
    ----------
    stream : binary file
    start : int
        Position of the header, in bytes.

    Returns
    -------
    Directory or None
        None if there is no header, or the directory is cut short.

    Examples
    --------
    >>> exif = b"II*\0" + struct.pack("<IHHHIII", 8, 1, ORIENTATION, 3, 1, 6, 0)
    >>> first_directory(io.BytesIO(exif)).integer(ORIENTATION)
    6
    """
    stream.seek(start)
    head = stream.read(16)
    order, big = _HEADERS.get(head[:4], ("", False))
    if not order or len(head) < (16 if big else 8):
        return None
    offset = struct.unpack_from(f"{order}Q" if big else f"{order}I", head, 8 if big else 4)[0]
    return read_directory(stream, start, order, offset, big=big)


def read_directory(stream: BinaryIO, start: int, order: str, offset: int, *, big: bool = False) -> Directory | None:
    """Read the directory at an offset.

    Parameters
    ----------
    stream : binary file
    start : int
        Position of the header, in bytes: the offset counts from there.
    order : {'<', '>'}
        Byte order.
    offset : int
    big : bool
        True in a BigTIFF.

    Returns
    -------
    Directory or None
        None if it is cut short.

    Raises
    ------
    ValueError
        If it has more entries than any camera or program writes.
    """
    counter, entry, pointer = (f"{order}{form}" for form in (("Q", "HHQQ", "Q") if big else ("H", "HHII", "I")))
    stream.seek(start + offset)
    head = stream.read(struct.calcsize(counter))
    count = struct.unpack(counter, head)[0] if len(head) == struct.calcsize(counter) else 0
    length, inside = struct.calcsize(entry), struct.calcsize(pointer)
    content = stream.read(length * min(count, _MOST_ENTRIES) + inside)
    if not count or len(content) < length * min(count, _MOST_ENTRIES):
        return None
    if count > _MOST_ENTRIES:
        raise ValueError(f"its metadata is damaged: a directory of {count:,} entries")
    entries, claims = {}, []
    for position in range(0, length * count, length):
        tag, kind, number, value = struct.unpack_from(entry, content, position)
        size = _SIZES.get(kind, 0) * number
        own = offset + len(head) + position + length - inside
        entries[tag] = Entry(kind, number, start + (own if size <= inside else value))
        claims.append(size)
    rest = content[length * count :]
    following = struct.unpack(pointer, rest)[0] if len(rest) == inside else 0
    return Directory(stream, start, order, big, entries, following, tuple(claims))


def is_bomb(exif: bytes) -> bool:
    """Return whether the directories of an EXIF block claim the same bytes so often that reading them takes long.

    A claim of more than there is, as damage leaves it, is not read.

    Parameters
    ----------
    exif : bytes
        With or without its ``Exif`` prefix.
    """
    return _is_bomb(io.BytesIO(exif.removeprefix(b"Exif\0\0")), 0, len(exif))


def holds_bomb(content: bytes) -> bool:
    """Return whether a file holds such a block anywhere: Pillow parses an AVIF's EXIF while it opens the file."""
    stream, found = io.BytesIO(content), 0
    for header in (b"II*\0", b"MM\0*"):
        start = content.find(header)
        while start >= 0:
            found += 1
            if found > _MOST_HEADERS or _is_bomb(stream, start, len(content)):
                return True
            start = content.find(header, start + 1)
    return False


def _is_bomb(stream: BinaryIO, start: int, length: int) -> bool:
    try:
        directory = first_directory(stream, start)
        if directory is None:
            return False
        inner = (
            read_directory(stream, start, directory.order, directory.integer(tag), big=directory.big)
            for tag in _INNER
            if tag in directory.entries
        )
        found = [directory, *filter(None, inner)]
        return any(sum(claim for claim in each.claims if claim <= length) > _MOST_CLAIMED for each in found)
    except ValueError:
        return True
