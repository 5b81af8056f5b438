"""Messages between the server and the processes that judge: a JSON head and bytes, each with its length before it."""

from __future__ import annotations

import asyncio
import json
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
    return (json.loads(head), content) if len(content) == n_content else None


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
