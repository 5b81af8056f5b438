"""An archive on a disk or in a store -> its bytes, from any place in it; what all kinds of archives share."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, Protocol

from blurgate.errors import PhotoError
from blurgate.files import open_regular
from blurgate.photos.addresses import Status, hide, is_address
from blurgate.photos.limits import COSTS, MAX_MEGAPIXELS, LimitError, check_bytes
from blurgate.photos.stores import Ranges

HEAD = 32  # bytes that show what a member is
SMALL = 2**26  # bytes of an archive in a store, or of rows, that are read for one photo
BOMB_RATIO, BOMB_BYTES = 200, 2**30  # of what an archive claims to hold: photos hardly shrink
_MOST_BYTES = 2**29  # of a photo, whatever the limits say: it is held in memory


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


def clean(name: str) -> str:
    """Take out of a member's name what names no folder, and what leads out of the archive.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Examples
    --------
    >>> clean("./a//b/../cat.jpg")
    'a/b/cat.jpg'
    """
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


class ArchiveBytes(Protocol):
    """The bytes of an archive, on the disk or in a store."""

    size: int
    status: Status | None

    def read_at(self, offset: int, length: int) -> bytes:
        """Read bytes from an offset on; fewer at the end.

        Parameters
        ----------
        offset, length : int

        Returns
        -------
        bytes
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass(frozen=True)
class Filter:
    """Chooses members by what the address names, and by the patterns of the scan.

    Parameters
    ----------
    inner : str
        See `Place`.
    wants : callable
        Takes the name of a member.
    """

    inner: str
    wants: Callable[[str], bool]

    def takes(self, name: str) -> bool:
        """Return whether to list a member."""
        return (self._is_inside(name) or self._is_inside(clean(name))) and self.wants(name)

    def _is_inside(self, name: str) -> bool:
        inner = self.inner
        if not inner or name == inner or name.startswith(inner.rstrip("/") + "/"):
            return True
        return any(mark in inner for mark in "*?[") and fnmatchcase(name, inner)


class DiskBytes:
    """An archive on the disk.

    Parameters
    ----------
    path : str

    Raises
    ------
    PhotoError
        If it does not exist or may not be read.
    """

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
        """Read bytes from an offset on; fewer at the end.

        Parameters
        ----------
        offset, length : int

        Returns
        -------
        bytes
        """
        with self._lock:  # os.pread is not everywhere
            self._handle.seek(offset)
            return self._handle.read(length)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __del__(self) -> None:  # of an archive that is no longer remembered
        with suppress(AttributeError):  # it could not be opened
            self._handle.close()


class BytesFile(io.RawIOBase):
    """The bytes of an archive as a file that can be read and can seek.

    Parameters
    ----------
    data : ArchiveBytes
    """

    def __init__(self, data: ArchiveBytes) -> None:
        self._data, self._offset = data, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place.

        Parameters
        ----------
        offset, whence : int

        Returns
        -------
        int
        """
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._data.size}[whence]
        self._offset = base + offset
        return self._offset

    def tell(self) -> int:
        """Return the place."""
        return self._offset

    def readinto(self, target: Any) -> int:
        """Read on into a buffer."""
        content = self._data.read_at(self._offset, len(target))
        target[: len(content)] = content
        self._offset += len(content)
        return len(content)


def open_archive(archive: str) -> ArchiveBytes:
    """Open an archive.

    Parameters
    ----------
    archive : str
        Its path or address.

    Returns
    -------
    ArchiveBytes

    Raises
    ------
    PhotoError
        If it does not exist or may not be read, or if it is in an archive itself.
    """
    if is_address(archive):
        if "::" in archive:
            raise PhotoError(f"{hide(archive)} is an archive in an archive, which is not read: unpack the outer one")
        return Ranges(archive)
    return DiskBytes(archive)


def find_most(max_megapixels: float) -> int:
    """Find how many bytes a file may have so that `check_bytes` lets it pass, roughly."""
    return min(_MOST_BYTES, int(1e6 * max(max_megapixels, MAX_MEGAPIXELS) / COSTS["JPEG"].byte) + 1)


def describe_size(size: int, max_megapixels: float) -> str:
    """Say that a member is too long for a photo of so many megapixels.

    Parameters
    ----------
    size : int
    max_megapixels : float

    Returns
    -------
    str
        The end of a sentence; empty if it is not too long.
    """
    try:
        check_bytes(size, "JPEG", max_megapixels)
    except LimitError as error:
        return f"cannot be read: {error}"
    return "" if size <= _MOST_BYTES else f"cannot be read: it has {size / 1e6:,.0f} MB, which no photo has"


def stamp_archive(archive: str) -> tuple[int, int] | None:
    """Return what tells whether an archive on the disk has changed; None of one in a store."""
    if is_address(archive):
        return None
    try:
        found = os.stat(archive)  # noqa: PTH116 faster than Path, which matters for a million members
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
