"""The boxes of MP4, HEIC, CR3 and JP2: a length, a kind and content, one behind the other, some inside others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple


class Box(NamedTuple):
    """A box of a kind, its content from `start` to `stop`, in bytes from the start of the stream."""

    kind: bytes
    start: int
    stop: int


def walk_boxes(stream: BinaryIO, start: int, stop: int) -> Iterator[Box]:
    r"""Yield the boxes one behind the other, up to the first that is damaged.

    Parameters
    ----------
    stream : binary file
    start, stop : int
        Where they lie in it, in bytes.

    Yields
    ------
    Box

    Examples
    --------
    >>> import io
    >>> list(walk_boxes(io.BytesIO(b"\0\0\0\x0afreeab"), 0, 10))
    [Box(kind=b'free', start=8, stop=10)]
    """
    while start + 8 <= stop:
        stream.seek(start)
        head = stream.read(16)
        size, kind, inside = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if size == 1:  # its length follows, in eight bytes
            size, inside = int.from_bytes(head[8:16], "big"), start + 16
        end = min(start + size, stop) if size else stop
        if end < inside:
            return
        yield Box(kind, inside, end)
        start = end
