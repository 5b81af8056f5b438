"""Messages between the server and the processes that judge: a JSON head and bytes, each with its length before it.

A pipe takes 64 kB at a time. Where the system has files that live in memory alone, photos go by one of these.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("!II")  # bytes of head and content


def pack(head: dict[str, Any], content: bytes | bytearray = b"") -> list[bytes | bytearray]:
    """Pack a message into buffers that are sent one after another; the content is not copied.

    Parameters
    ----------
    head : dict
        Anything that JSON can hold.
    content : bytes or bytearray
        Less than 4 GiB.

    Returns
    -------
    list of bytes or bytearray
    """
    encoded = json.dumps(head).encode()
    return [_LENGTHS.pack(len(encoded), len(content)) + encoded, content]


def read(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """Read a message.

    Parameters
    ----------
    stream : binary file

    Returns
    -------
    (dict, bytes) or None
        Head and content; None at the end of the stream, also within a message.
    """
    lengths = stream.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    n_head, n_content = _LENGTHS.unpack(lengths)
    head, content = stream.read(n_head), stream.read(n_content)
    return (json.loads(head), content) if (len(head), len(content)) == (n_head, n_content) else None


async def receive(stream: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """Read a message on an event loop.

    Parameters
    ----------
    stream : asyncio.StreamReader

    Returns
    -------
    (dict, bytes)
        Head and content.

    Raises
    ------
    EOFError
        If the other side has closed the stream; `asyncio.IncompleteReadError` is one.
    """
    n_head, n_content = _LENGTHS.unpack(await stream.readexactly(_LENGTHS.size))
    return json.loads(await stream.readexactly(n_head)), await stream.readexactly(n_content)


class SharedFile:
    """A file in memory that both sides have open; nothing of it is ever on a disk.

    Parameters
    ----------
    number : int, optional
        Of the open file, if the other side has made it; by default, a new one is made.
    """

    def __init__(self, number: int | None = None) -> None:
        self.number = os.memfd_create("blurgate photo") if number is None else number

    @staticmethod
    def exists() -> bool:
        """Check whether the system has such files: Linux does."""
        return hasattr(os, "memfd_create")

    def write(self, content: bytes | bytearray) -> None:
        """Replace the content."""
        view, place = memoryview(content), 0
        while place < len(view):
            place += os.pwrite(self.number, view[place:], place)

    def read(self, size: int) -> bytes:
        """Read the content."""
        parts: list[bytes] = []
        while size and (part := os.pread(self.number, size, sum(map(len, parts)))):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def clear(self) -> None:
        """Give the memory back."""
        os.ftruncate(self.number, 0)

    def close(self) -> None:
        """Close the file on this side."""
        os.close(self.number)
