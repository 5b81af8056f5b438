"""JPEG 2000 -> what its codestream says, checked before its decoder prepares what the header asks for.

Decoding takes ten times as long as that of other formats, but each level of the wavelets holds the picture at half the
size, so a large picture is decoded at a smaller one. The decoder allocates some hundred bytes for each block of
coefficients, and a header may ask for blocks of one pixel.
"""

from __future__ import annotations

import math
import os
import struct
from itertools import islice
from typing import BinaryIO, NamedTuple

from blurgate.photos.boxes import walk_boxes

_MOST_BOXES, _MOST_MARKERS = 256, 256
_MOST_COMPONENTS = 4
_MOST_LEVELS = 32
_LEAST_BLOCK = 512  # pixels, on average: encoders write 4096 and 1024
_MOST_SMALL = 1000  # blocks in any picture
_START, _SIZE, _STYLE, _OTHER_STYLE, _TILE = 0xFF4F, 0xFF51, 0xFF52, 0xFF53, 0xFF90


class Codestream(NamedTuple):
    """What the codestream says of its picture.

    Parameters
    ----------
    width, height : int
        Pixels.
    depth : int
        Bits of a sample, 1 to 38.
    levels : int
        How often its size can be halved; 0 if not known of all components.
    """

    width: int
    height: int
    depth: int
    levels: int

    def reduced(self, halvings: int) -> Codestream:
        """Keep the levels by which to halve it while it is decoded; Pillow must round the size as its decoder does."""
        for times in range(min(self.levels, halvings), 0, -1):
            if all(-(-side // 2**times) == (side + 2**times // 2) // 2**times for side in (self.width, self.height)):
                return self._replace(levels=times)
        return self._replace(levels=0)


def read_codestream(stream: BinaryIO) -> Codestream:
    """Read the header of the codestream, alone or in the boxes of a JP2.

    Raises
    ------
    ValueError
        If it is damaged, or asks for more blocks than a picture needs.
    """
    start = 0
    stream.seek(0)
    if stream.read(4) != b"\xff\x4f\xff\x51":
        boxes = islice(walk_boxes(stream, 0, stream.seek(0, os.SEEK_END)), _MOST_BOXES)
        start = next((box.start for box in boxes if box.kind == b"jp2c"), 0)
    shape, levels = None, None
    for marker, content in _walk_markers(stream, start):
        if marker == _SIZE:
            shape = _read_size(content)
        elif marker == _STYLE and shape:
            levels = _read_style(content[:1], content[5:], *shape[:2])
        elif marker == _OTHER_STYLE and shape:  # of one component
            _read_style(content[1:2], content[2:], *shape[:2])
            levels = 0
    if shape is None or levels is None:
        raise ValueError("its header is damaged, or of a kind that is not read")
    return Codestream(*shape, levels)


def _walk_markers(stream: BinaryIO, start: int) -> list[tuple[int, bytes]]:
    """List the segments of the main header."""
    found: list[tuple[int, bytes]] = []
    position = start + 2
    while len(found) < _MOST_MARKERS:
        stream.seek(position)
        head = stream.read(4)
        marker, length = struct.unpack(">HH", head.ljust(4, b"\0"))
        if marker == _TILE or marker < 0xFF00 or length < 2:
            break
        found.append((marker, stream.read(length - 2)))
        position += 2 + length
    return found


def _read_size(content: bytes) -> tuple[int, int, int]:
    right, bottom, left, top, components = struct.unpack(">2x4I16xH", content[:36].ljust(36, b"\0"))
    depth = max(((code & 0x7F) + 1 for code in content[36::3]), default=1)
    if not 0 < components <= _MOST_COMPONENTS or right <= left or bottom <= top:
        raise ValueError("its header is damaged, or of a kind that is not read")
    return right - left, bottom - top, depth


def _read_style(flags: bytes, content: bytes, width: int, height: int) -> int:
    """Read the number of levels, and check that of blocks; precincts cut them to their own size, halved in bands."""
    if len(content) < 5 or content[0] > _MOST_LEVELS:
        raise ValueError("its header is damaged, or of a kind that is not read")
    levels, across, down = content[0], content[1] + 2, content[2] + 2
    precincts = content[5 : 6 + levels] if flags[0] & 1 else b""
    blocks = 0
    for level, code in enumerate(precincts.ljust(levels + 1, b"\xff")):
        inner = 1 if level else 0
        sides = (min(across, (code & 15) - inner), min(down, (code >> 4) - inner))
        blocks += math.prod(
            -(-side // 2 ** (levels - level + max(log, 0))) for side, log in zip((width, height), sides, strict=True)
        )
    if blocks > width * height / _LEAST_BLOCK + _MOST_SMALL:
        raise ValueError("it is damaged: it has far more blocks than a picture needs")
    return levels
