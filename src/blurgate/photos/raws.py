"""A camera's raw file -> the largest JPEG preview in it.

Developing raw data takes a library as large as all others here together, and the camera has done it: it wrote what it
would have saved as a JPEG, or a smaller one, into the raw file. Most raw files are TIFFs (NEF, CR2, ARW, DNG, PEF, SRW,
ORF, RW2), whose directories say where; Fujifilm's RAF says it in its header, Canon's CR3 in the boxes of an MP4.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import BinaryIO, NamedTuple

from blurgate.photos.boxes import Box, walk_boxes
from blurgate.photos.directories import ORIENTATION, Directory, first_directory, read_directory
from blurgate.photos.jpegs import read_frame

MIN_SIDE = 512  # pixels: the longer side of a preview that can be judged
_MIN_SHARE = 0.25  # of the longer side of the sensor, unless the preview has a megapixel
_ENOUGH = 2**20  # pixels: what is measured of a larger photo, too

_MOST_DIRECTORIES = 32
_MOST_BOXES = 512
_MOST_BYTES = 2**26  # of a preview
_HEADER_BYTES = 2**18  # of a preview: enough for its metadata

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAKE, _WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _INNER = 271, 256, 257, 259, 262, 330
_PLACES = ((513, 514), (273, 279))  # tags of offset and length: of a JPEG, of a strip that is one
_PANASONIC_JPEG, _DNG_VERSION = 46, 50706
_SENSOR_DATA = (32803, 34892)  # photometric: colour filter array, linear raw
_RAF, _CR3 = b"FUJIFILMCCD-RAW ", b"crx "
_FOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"uuid")  # boxes that hold boxes
_PREVIEW_ID = bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16")  # of the box around PRVW


class Preview(NamedTuple):
    """A JPEG in a raw file.

    Parameters
    ----------
    content : bytes
    orientation : int
        EXIF orientation as the raw file has it; 0 if it does not say.
    """

    content: bytes
    orientation: int


class _Place(NamedTuple):
    start: int
    length: int


def find_preview(stream: BinaryIO) -> Preview | None:
    """Find the largest JPEG preview in a raw file.

    Parameters
    ----------
    stream : binary file
        One that can seek.

    Returns
    -------
    Preview or None
        None if the file is not a camera's raw file.

    Raises
    ------
    ValueError
        If it has no preview that is large enough to judge.
    """
    stream.seek(0)
    head = stream.read(32)
    if head.startswith(_RAF):
        stream.seek(84)
        place = stream.read(8)
        return _take_largest(stream, [_Place(int.from_bytes(place[:4], "big"), int.from_bytes(place[4:], "big"))], 0, 0)
    if head[4:12] == b"ftyp" + _CR3:
        return _search_boxes(stream)
    directories = list(islice(_walk(stream), _MOST_DIRECTORIES))
    if not _is_raw(head, directories):
        return None
    sensor = max(max(each.integer(_WIDTH), each.integer(_HEIGHT)) for each in directories)
    places = chain.from_iterable(map(_list_places, directories))
    return _take_largest(stream, places, directories[0].integer(ORIENTATION), sensor)


def _is_raw(head: bytes, directories: Sequence[Directory]) -> bool:
    """Tell a raw file from a picture in a TIFF: by its header, or by a directory of sensor data."""
    if not directories:
        return False
    if head[8:10] == b"CR" or head[:4] not in _TIFF:
        return True
    return any(_DNG_VERSION in each.entries or each.integer(_PHOTOMETRIC) in _SENSOR_DATA for each in directories)


def _walk(stream: BinaryIO) -> Iterator[Directory]:
    """Yield the directories of a TIFF and those inside them, each once."""
    first = first_directory(stream)
    waiting, seen = deque([first] if first else []), {0}
    while waiting:
        directory = waiting.popleft()
        yield directory
        if not first or _MAKE not in first.entries:  # as every camera's has
            return
        for offset in (*directory.integers(_INNER), directory.following):
            with suppress(ValueError):  # what a damaged offset points to
                found = None if offset in seen else read_directory(stream, 0, first.order, offset, big=first.big)
                waiting.extend([found] if found else [])
            seen.add(offset)


def _list_places(directory: Directory) -> Iterator[_Place]:
    for start, length in _PLACES:
        if start == 273 and directory.integer(_COMPRESSION) not in (6, 7):
            continue
        starts, lengths = directory.integers(start), directory.integers(length)
        if len(starts) == len(lengths) == 1:  # several strips are parts of one picture
            yield _Place(starts[0], lengths[0])
    if entry := directory.entries.get(_PANASONIC_JPEG):
        yield _Place(entry.place, entry.number)


def _search_boxes(stream: BinaryIO) -> Preview:
    """Search a CR3: for its preview, for the track of a single JPEG of full size, and for its EXIF."""
    places, orientation, length = [], 0, 0
    for box in islice(_walk_inside(stream, 0, stream.seek(0, os.SEEK_END)), _MOST_BOXES):
        stream.seek(box.start)
        content = stream.read(16).ljust(16, b"\0")
        if box.kind == b"PRVW":
            places.append(_Place(box.start + 16, int.from_bytes(content[12:], "big")))
        elif box.kind == b"CMT1" and (directory := first_directory(stream, box.start)):
            orientation = directory.integer(ORIENTATION)
        elif box.kind == b"stsz":  # one length for all samples, or one for each
            length = int.from_bytes(content[4:8], "big") or int.from_bytes(content[12:], "big")
        elif box.kind == b"co64":
            places.append(_Place(int.from_bytes(content[8:], "big"), length))
    return _take_largest(stream, places, orientation, 0)


def _walk_inside(stream: BinaryIO, start: int, stop: int, depth: int = 0) -> Iterator[Box]:
    """Yield boxes, and those inside them."""
    for box in walk_boxes(stream, start, stop):
        yield box
        if box.kind not in _FOLDERS or depth == len(_FOLDERS):
            continue
        stream.seek(box.start)
        skipped = 0 if box.kind != b"uuid" else 24 if stream.read(16) == _PREVIEW_ID else 16
        yield from _walk_inside(stream, box.start + skipped, box.stop, depth + 1)


def _take_largest(stream: BinaryIO, places: Iterable[_Place], orientation: int, sensor: int) -> Preview:
    """Take the longest JPEG: the length of a preview grows with its size, and raw data are told by their header."""
    largest = (0, 0)
    for place in sorted(places, key=lambda place: -place.length):
        width, height = largest = _measure(stream, place)
        side, pixels = max(width, height), width * height
        if side >= MIN_SIDE and (side >= _MIN_SHARE * sensor or pixels >= _ENOUGH):
            stream.seek(place.start)
            return Preview(stream.read(place.length), orientation)
        if side:
            break
    found = (
        f"the largest preview in it has {largest[0]} x {largest[1]} px" if any(largest) else "it has no JPEG preview"
    )
    raise ValueError(f"it is a raw file, of which the preview is judged, but {found}: develop it and judge the result")


def _measure(stream: BinaryIO, place: _Place) -> tuple[int, int]:
    """Width and height of a JPEG in the file; 0 if there is none that shows a picture."""
    if not 0 < place.length <= _MOST_BYTES:
        return 0, 0
    stream.seek(place.start)
    content = stream.read(min(place.length, _HEADER_BYTES))
    if not content.startswith(b"\xff\xd8"):
        return 0, 0
    try:
        frame = read_frame(content)
    except ValueError:
        return 0, 0
    return frame.width, frame.height
