"""A tar, compressed or not -> its photos, one by one, with their content."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

from blurgate.errors import PhotoError
from blurgate.photos.addresses import Place, hide, is_address, stamp
from blurgate.photos.archive_bytes import HEAD, SMALL, ArchiveBytes, Filter, Member, describe_size, open_archive
from blurgate.photos.limits import check_bytes

_BLOCK = 512
_MOST_NAMES = 2**20  # bytes of an extended header
_FILES = (b"0", b"\0", b"7")  # kinds of members that are files
_CUT = "is cut short: its end is missing"
_GZIP, _GZIP_HEAD = 31, b"\x1f\x8b"
_FOLDER, _SPARSE = b"5", b"S"
_NAMING = (b"x", b"g", b"L", b"K")  # kinds that say more of the next member


class Stream:
    """What is read of a tar from its start to its end, compressed or not.

    Parameters
    ----------
    data : ArchiveBytes
    """

    def __init__(self, data: ArchiveBytes) -> None:
        self._data, self._offset, self.place = data, 0, 0
        self.packed = is_packed(data)
        self._gunzip: Any = zlib.decompressobj(_GZIP) if self.packed else None
        self._held = b""

    def read(self, length: int) -> bytes:
        """Read on; fewer bytes at the end."""
        if self._gunzip is None:
            content = self._data.read_at(self._offset, length)
            self._offset += len(content)
        else:
            content = self._inflate(length, self._gunzip)
        self.place += len(content)
        return content

    def skip(self, length: int) -> None:
        """Go on by so many bytes.

        Raises
        ------
        TarError
            If there are fewer.
        """
        if self._gunzip is None:
            self._offset += length
            self.place += length
            if self._offset > self._data.size:
                raise TarError(_CUT)
            return
        while length > 0:
            part = self.read(min(length, 2**20))
            if not part:
                raise TarError(_CUT)
            length -= len(part)

    def _inflate(self, length: int, gunzip: Any) -> bytes:
        parts = [self._held[:length]]
        self._held = self._held[length:]
        missing = length - len(parts[0])
        while missing > 0:
            before = gunzip
            packed = gunzip.unconsumed_tail
            if gunzip.eof:  # several may follow each other
                packed = gunzip.unused_data
                gunzip = self._gunzip = zlib.decompressobj(_GZIP)
            packed = packed or self._more()
            if not packed or (gunzip is not before and not packed.startswith(_GZIP_HEAD)):
                break
            part = gunzip.decompress(packed, max(missing, 2**16))
            parts.append(part[:missing])
            self._held = part[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _more(self) -> bytes:
        packed = self._data.read_at(self._offset, 2**18)
        self._offset += len(packed)
        return packed


class TarError(Exception):
    """A tar is damaged from here on."""


class _Entry(NamedTuple):
    name: str
    size: int
    kind: bytes
    place: int  # of its content


def _read_headers(stream: Stream) -> Iterator[_Entry]:
    """Read the headers of a tar; the caller reads or skips the content between them.

    Raises
    ------
    TarError
        The end of a sentence.
    """
    said: dict[str, str] = {}
    while True:
        header = stream.read(_BLOCK)
        if len(header) < _BLOCK:
            raise TarError(_CUT)
        if not header.strip(b"\0"):
            return
        if not _is_header(header):
            raise TarError("is damaged: a header was needed, but something else came")
        kind, size = header[156:157], _read_number(header[124:136])
        if kind in _NAMING:
            said |= _read_more(stream, kind, size)
            continue
        if kind == _SPARSE:  # its map may go on in blocks of its own
            more = header[482:483]
            while more == b"\1":
                more = stream.read(_BLOCK)[504:505]
        if said.get("size", "").isdigit():
            size = int(said["size"])
        yield _Entry(
            said.get("path") or _read_name(header), size if kind in (*_FILES, _SPARSE) else 0, kind, stream.place
        )
        said = {}


def _read_more(stream: Stream, kind: bytes, size: int) -> dict[str, str]:
    """Read a header that says more of the next member: its path, its size."""
    if size > _MOST_NAMES:
        raise TarError("is damaged: the header of a member is too long")
    content = stream.read(size + -size % _BLOCK)
    if len(content) < size:
        raise TarError(_CUT)
    if kind == b"L":
        return {"path": _decode(content[:size])}
    return _read_pax(content[:size]) if kind == b"x" else {}


def _read_name(header: bytes) -> str:
    name, prefix = _decode(header[:100]), _decode(header[345:500])
    is_posix = header[257:262] == b"ustar" and header[257:265] != b"ustar  \0"
    return f"{prefix}/{name}" if is_posix and prefix else name


def _decode(text: bytes) -> str:
    return text.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _is_header(header: bytes) -> bool:
    try:
        stated = _read_number(header[148:156])
    except TarError:
        return False
    return stated == sum(header[:148]) + sum(header[156:]) + 8 * 32


def _read_number(text: bytes) -> int:
    if text[:1] == b"\x80":  # more than octal digits can say
        return int.from_bytes(text[1:], "big")
    digits = text.strip(b" \0") or b"0"
    if not re.fullmatch(b"[0-7]+", digits):
        raise TarError("is damaged: a number was needed in a header")
    return int(digits, 8)


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


class Tar:
    """Where the members of a tar lie, as far as it has been walked.

    Parameters
    ----------
    archive : str
        Its path or address.
    """

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self.places: dict[str, tuple[int, int] | None] = {}
        self.complete = False

    @cached_property
    def _data(self) -> ArchiveBytes:
        return open_archive(self._archive)

    def forget(self) -> None:
        """Forget where all members lie, before the tar is walked anew."""
        self.places.clear()
        self.complete = False

    def note(self, entry: _Entry) -> None:
        """Remember where a member lies; of two with one name, none can be found again."""
        self.places[entry.name] = None if entry.name in self.places else (entry.place, entry.size)

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
            If there is none, or several of that name, or if finding it would take too long.
        LimitError
            If it is too long for a photo of so many megapixels.
        """
        where = f"tar://{name}::{hide(self._archive)}"
        if not self.complete and name not in self.places:
            self._walk(where)
        if name not in self.places:
            raise PhotoError(f"{where} does not exist: the archive has no such member")
        place = self.places[name]
        if place is None:
            raise PhotoError(f"{where} cannot be read: the archive has several members of that name")
        check_bytes(place[1], "JPEG", max_megapixels)
        content = self._data.read_at(*place)
        if len(content) < place[1]:
            raise PhotoError(f"{where} cannot be read: the archive is cut short")
        return content

    def _walk(self, where: str) -> None:
        stream = Stream(self._data)
        if stream.packed or (is_address(self._archive) and self._data.size > SMALL):
            raise PhotoError(f"{where} cannot be found again: the archive would have to be read from its start")
        self.forget()
        with suppress(TarError, zlib.error):
            for entry in _read_headers(stream):
                if entry.kind in _FILES:
                    self.note(entry)
                stream.skip(entry.size + -entry.size % _BLOCK)
        self.complete = True


def walk_tar(
    place: Place, data: ArchiveBytes, index: Tar | None, chosen: Filter, max_megapixels: float
) -> Iterator[Member]:
    """List the photos of a tar with their content; see `blurgate.photos.archives.walk_archive`.

    Parameters
    ----------
    place : Place
    data : ArchiveBytes
    index : Tar or None
        Learns where the members lie.
    chosen : Filter
    max_megapixels : float

    Yields
    ------
    Member

    Raises
    ------
    PhotoError
        If it is no tar.
    """
    stream = Stream(data)
    began = False
    try:
        for entry in _read_headers(stream):
            began = True
            name = entry.name.removeprefix("./")
            left = entry.size + -entry.size % _BLOCK
            is_folder = entry.kind == _FOLDER or (name.endswith("/") and not entry.size)  # the latter in old tars
            if not is_folder and name and chosen.takes(name):
                member = _read_member(stream, entry, place, data, max_megapixels)
                left -= len(member.content or member.head or b"")
                if index and member.content is not None:
                    index.note(entry)
                yield member
            stream.skip(left)
    except (TarError, zlib.error) as error:
        if not began:
            raise PhotoError(f"{hide(place.archive)} {_describe_no_tar(data, error)}") from error
        problem = str(error) if isinstance(error, TarError) else "is damaged: it cannot be decompressed to its end"
        yield Member("", place.archive, problem=f"{problem}; what comes before was judged: fetch it again")


def is_packed(data: ArchiveBytes) -> bool:
    """Tell whether a tar is compressed, by its first bytes."""
    return data.read_at(0, 2) == _GZIP_HEAD


def check_tar(place: Place, data: ArchiveBytes) -> None:
    """Check that an archive begins like a tar.

    Parameters
    ----------
    place : Place
    data : ArchiveBytes

    Raises
    ------
    PhotoError
    """
    try:
        next(_read_headers(Stream(data)), None)
    except (TarError, zlib.error) as error:
        raise PhotoError(f"{hide(place.archive)} {_describe_no_tar(data, error)}") from error


def _read_member(stream: Stream, entry: _Entry, place: Place, data: ArchiveBytes, max_megapixels: float) -> Member:
    name, address = entry.name.removeprefix("./"), f"tar://{entry.name}::{place.archive}"
    if entry.kind not in _FILES:
        return Member(name, address, head=b"", problem=_describe_kind(entry.kind))
    problem = _describe_name(name) or describe_size(entry.size, max_megapixels)
    if problem:
        return Member(name, address, head=stream.read(min(HEAD, entry.size)), problem=problem)
    content = stream.read(entry.size)
    if len(content) < entry.size:
        return Member(name, address, problem="cannot be read: the archive ends inside it")
    return Member(name, address, stamp(entry.size, data.status, entry.place), content[:HEAD], content)


def _describe_name(name: str) -> str:
    if name.endswith("/"):
        return "cannot be read: it is a file whose name ends in a slash"
    return "is not read: it would lie outside of the archive" if ".." in name.split("/") else ""


def _describe_no_tar(data: ArchiveBytes, error: Exception) -> str:
    if not data.size:
        return "cannot be read: it is empty"
    return f"cannot be read: it {error}" if "cut short" in str(error) else "cannot be read: it is no tar, or damaged"


def _describe_kind(kind: bytes) -> str:
    words = {b"1": "a link", b"2": "a link", b"S": "a sparse file", b"6": "a pipe", b"3": "a device", b"4": "a device"}
    return f"is not read: it is {words.get(kind, 'no regular file')} in an archive"
