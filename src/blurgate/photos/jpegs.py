"""JPEG bytes -> what their header says, checked without decoding them.

A JPEG of a few kilobytes can ask for hours: its decoder decodes any number of scans over all of its pixels, and makes
up a missing rest.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from blurgate.photos.directories import is_bomb

_MOST_SEGMENTS = 4096  # before the pixels: 256 MiB of metadata
_MOST_EXIF = 64  # segments: 4 MiB
_MOST_JUNK = 2**16  # bytes between segments, which Pillow skips one by one

# Components that all scans decode together: one pass each. Encoders write up to 24. The worst pass costs 0.92 ns a
# pixel, or 2.6 ns where there are bytes for it, which `blurgate.photos.limits.COSTS` limits too: 40 passes over 200
# megapixels take 7.4 s (python benchmarks/robustness.py hostile).
_MOST_PASSES = 40

_END = b"\xff\xd9"
_START_OF_SCAN, _EXIF = 0xDA, 0xE1
_MARKER = re.compile(rb"\xff([^\x00\xff])")
# there, 00 and D0 to D7 belong to the data, and 01 is a marker without a segment that decoders skip
_MARKER_IN_PIXELS = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a segment
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # of photos; others are lossless, as raw data are, or read by nobody
_PROGRESSIVE = (0xC2, 0xCA)
_PLAIN_FRAMES = (0xC0, 0xC1, 0xC2)
_QUANTISING, _HUFFMAN, _RESTARTS, _COMMENT = 0xDB, 0xC4, 0xDD, 0xFE
_HARMLESS = (_HUFFMAN, _RESTARTS, _COMMENT, *range(0xE3, 0xED), 0xEF)  # of segments that Pillow does not look into
_LEAST = {0xE0: 12, _EXIF: 0, 0xE2: 14, 0xED: 0, 0xEE: 12}  # bytes of JFIF, any, a profile of colours, any, Adobe's
_STRANGE = (b"MPF\0", b"Photoshop")  # a list of several pictures; blocks in blocks
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


class Frame(NamedTuple):
    """What the header of a JPEG says.

    Parameters
    ----------
    width, height : int
        Pixels.
    samples : float
        Samples a pixel, of all components: 3 without subsampling, 1.5 if the colours are halved both ways.
    scans : bool
        True if it may have several scans, whose coefficients are kept until the last.
    start : int
        Position of the first scan, in bytes.
    exif, xmp : bytes
        Its blocks of EXIF and XMP; empty if there are none.
    plain : bool
        True if all of it is as in most photos: gray or three colours of 8 bits, and no segment that Pillow could refuse
        or take for something else, so that its decoder can be asked at once.
    """

    width: int
    height: int
    samples: float
    scans: bool
    start: int
    exif: bytes
    xmp: bytes = b""
    plain: bool = False


def check_jpeg(content: bytes) -> Frame:
    """Check that a JPEG has an end, and asks for no more work than a photo needs.

    Parameters
    ----------
    content : bytes
        All of the file.

    Returns
    -------
    Frame

    Raises
    ------
    ValueError
        If it is cut short, or has too many scans, too much metadata, or EXIF that claims too much.
    """
    frame = read_frame(content)
    if frame.exif and is_bomb(frame.exif):
        raise ValueError("its metadata is damaged: its EXIF claims more than it holds")
    if frame.scans:
        _count_passes(content, frame.start)
    if not content.endswith(_END) and content.find(_END, frame.start) < 0:
        raise ValueError("it is cut short")
    return frame


def read_frame(content: bytes) -> Frame:
    """Read the header of a JPEG, up to its first scan.

    Raises
    ------
    ValueError
        If it is cut short there, or has too much metadata.
    """
    position, junk, shape, plain, xmp = 2, 0, None, True, b""
    exif: list[bytes] = []
    for _ in range(_MOST_SEGMENTS):
        start = _find_marker(content, position)
        junk += start - 2 - position
        marker, end = content[start - 1], start + _length(content, start)
        segment = content[start + 2 : end]
        if junk > _MOST_JUNK:
            raise ValueError("it is damaged: it has far more fill than a picture needs")
        if marker in _FRAMES:
            plain = plain and not shape and _is_plain_frame(marker, segment)
            shape = marker, segment
        elif marker == _EXIF and segment.startswith(b"Exif\0\0"):
            _add_exif(exif, segment)
        elif marker == _START_OF_SCAN:
            return _describe(shape, segment, start, b"".join(exif), xmp, plain=plain and not junk)
        elif marker == _EXIF and segment.startswith(_XMP):
            xmp = segment[len(_XMP) :]
        elif marker not in _HARMLESS:
            plain = plain and _is_plain(marker, segment)
        if marker in _ALONE:
            position, plain = start, False
        else:
            position, plain = end, plain and len(segment) == end - start - 2
    raise ValueError("it is damaged: it has far more segments than a picture needs")


def _find_marker(content: bytes, position: int) -> int:
    """Find where the next marker ends."""
    here = content[position : position + 2]
    if len(here) == 2 and here[0] == 0xFF and 0 < here[1] < 0xFF:  # as nearly everywhere
        return position + 2
    found = _MARKER.search(content, position)
    if not found:
        raise ValueError("it is cut short")
    return found.end()


def _add_exif(exif: list[bytes], segment: bytes) -> None:
    exif.append(segment[6:] if exif else segment)  # Pillow joins them, each time anew
    if len(exif) > _MOST_EXIF:
        raise ValueError("it is damaged: it has far more EXIF than a picture needs")


def _is_plain_frame(marker: int, segment: bytes) -> bool:
    """Check for a picture with pixels, of 8 bits and one or three components, whose bits are in Huffman's code."""
    known = marker in _PLAIN_FRAMES and len(segment) in (9, 15) and segment[0] == 8
    return known and len(segment) == 6 + 3 * segment[5] and any(segment[1:3]) and any(segment[3:5])


def _is_plain(marker: int, segment: bytes) -> bool:
    """Check that a segment is one that Pillow reads without complaint, and that changes nothing for the pixels."""
    if marker == _QUANTISING:
        return bool(segment) and len(segment) % 65 == 0 and max(segment[::65]) < 16
    if segment.startswith(_STRANGE):
        return False
    return marker in _LEAST and len(segment) >= _LEAST[marker]


def _length(content: bytes, start: int) -> int:
    """Length of a segment with its two bytes of length; these at least, so that a walk goes on."""
    return max(2, int.from_bytes(content[start : start + 2], "big"))


def _describe(
    shape: tuple[int, bytes] | None, scan: bytes, start: int, exif: bytes, xmp: bytes, *, plain: bool
) -> Frame:
    if shape is None or len(shape[1]) < 6 or not scan:
        raise ValueError("its header is damaged, or of a kind that is not read")
    marker, segment = shape
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    sampling = [(code >> 4) * (code & 15) for code in segment[7::3]]
    samples = sum(sampling) / max(*sampling, 1) if sampling else 1.0
    scans = marker in _PROGRESSIVE or scan[0] < segment[5]
    return Frame(width, height, samples, scans, start, exif, xmp, plain)


def _count_passes(content: bytes, start: int) -> None:
    """Walk over all scans up to the end marker."""
    passes, position = 0, start - 2
    while found := _MARKER_IN_PIXELS.search(content, position):
        marker, position = found[1][0], found.end()
        if marker == _END[1]:
            return
        if marker == _START_OF_SCAN:
            passes += content[position + 2] if position + 2 < len(content) else 0
            if passes > _MOST_PASSES:
                raise ValueError(f"it is damaged: it has far more scans than a picture needs, over {_MOST_PASSES}")
        position += _length(content, position)
