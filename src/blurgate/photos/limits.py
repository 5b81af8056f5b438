"""What reading one photo may cost, checked in its header or while its file is read.

A stranger's file of a few kilobytes can ask for hours of work and terabytes of memory. At the defaults no file may take
more than about ten seconds on a core, or 1.5 GiB: `python benchmarks/robustness.py hostile` measures the worst.
"""

from __future__ import annotations

import math
from typing import Any, BinaryIO, NamedTuple, NoReturn

from blurgate.photos.directories import Directory
from blurgate.photos.jpeg2000 import Codestream
from blurgate.photos.jpegs import Frame

MAX_MEGAPIXELS = 200.0  # of a picture file: decoding so many takes up to ten seconds and more than a gigabyte

_HEADER_READS = 2**14  # calls, before the pixels
_READS = 1_000_000  # calls in all: a PNG of 200 megapixels needs a third
_STRIP_BYTES = 640_000_000  # of a strip or tile of a TIFF, which is decompressed as a whole beside the picture
_STRIPS = 2**18  # of a TIFF: Pillow makes a decoder for each


class LimitError(ValueError):
    """A photo costs more than is allowed.

    Parameters
    ----------
    problem : str
        Also an attribute, for those who cannot change the limit.
    remedy : str
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem


class Cost(NamedTuple):
    """What a pixel and a byte of a file cost: 200 million of cost 1 take ten seconds on a core, or 1.4 GiB."""

    pixel: float
    byte: float


# From time and memory of real and of noisy pictures. Nanoseconds a pixel, nanoseconds a byte, bytes of memory a pixel:
# PNG, TIFF, GIF, BMP 35, 3, 6; JPEG 3, 8, 1; WebP 15, 90, 16; AVIF 15, 100, 14; HEIC 60, 110, 8; JPEG 2000 30, 280, 20.
COSTS = {
    "PNG": Cost(0.5, 0.06),
    "TIFF": Cost(0.5, 0.06),
    "GIF": Cost(0.5, 0.06),
    "BMP": Cost(0.5, 0.06),
    "JPEG": Cost(0.1, 0.7),
    "MPO": Cost(0.1, 0.7),
    "WEBP": Cost(2.2, 1.8),
    "AVIF": Cost(2.0, 2.0),
    "HEIF": Cost(1.2, 2.2),
    "JPEG2000": Cost(2.6, 5.6),
}
_REDUCED = 10.0  # a pixel of a JPEG 2000 that is left after its reduction, for each 8 bits of depth: 450 ns
_RUNS = Cost(8.0, 0.06)  # of a BMP in runs, which Pillow decodes in Python: 150 ns a pixel
_KEPT = 0.25  # of a sample of a JPEG of several scans: its coefficients take two bytes


class Metered:
    """A file that refuses to be read too often or too far, for readers that loop over what a stranger wrote.

    Parameters
    ----------
    stream : binary file
        One that can seek.
    size : int
        Its length, in bytes.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._reads_left = _HEADER_READS
        self._bytes_left = 3 * size + 2**20  # readers take a file's bytes once, its header a few times
        self.seek, self.tell = stream.seek, stream.tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # such as fileno, for readers in C

    def read(self, size: int | None = -1) -> bytes:
        """Read as a file does.

        Raises
        ------
        ValueError
            After too many reads, or too many bytes.
        """
        most = self._bytes_left + 1
        content = self._stream.read(most if size is None or size < 0 else min(size, most))
        self._reads_left -= 1
        self._bytes_left -= len(content)
        if self._reads_left < 0 or self._bytes_left < 0:
            raise ValueError("it is damaged: it has far more parts than a picture needs")
        return content

    def allow_pixels(self) -> None:
        """Allow as many reads as pixels need; until then, only those of a header."""
        self._reads_left = _READS


def check_bytes(size: int, kind: str, max_megapixels: float) -> None:
    """Refuse a file that would be read whole if it is too long for that.

    Parameters
    ----------
    size : int
        Bytes.
    kind : str
        A key of `COSTS`.
    max_megapixels : float

    Raises
    ------
    ValueError
    """
    spent = COSTS[kind].byte * size
    if _is_above(spent, max_megapixels):
        _refuse(spent, f"it has {size / 1e6:,.0f} MB")


def check_cost(picture: Any, size: int, header: Frame | Codestream | None, max_megapixels: float) -> None:
    """Refuse an opened picture that has too many pixels, or would take too much time or memory in its format.

    Parameters
    ----------
    picture : PIL image
        Its pixels not decoded yet.
    size : int
        Bytes of its file.
    header : Frame, Codestream or None
        Of a JPEG, or of a JPEG 2000 that is reduced by all of its levels.
    max_megapixels : float
        A higher limit than `MAX_MEGAPIXELS` allows more time and memory, too.

    Raises
    ------
    LimitError
        A ValueError.
    """
    pixels = picture.width * picture.height
    if pixels > max_megapixels * 1e6:
        raise LimitError(
            f"it has {picture.width} x {picture.height} px, but at most {max_megapixels:g} megapixels are read",
            "raise max_megapixels if you trust the file",
        )
    cost = _find_cost(picture, header)
    spent = cost.pixel * pixels + cost.byte * size
    if _is_above(spent, max_megapixels):
        _refuse(spent, f"it has {picture.width} x {picture.height} px in {size / 1e6:,.1f} MB of {picture.format}")


def _find_cost(picture: Any, header: Frame | Codestream | None) -> Cost:
    cost = COSTS[picture.format]
    if isinstance(header, Frame) and header.scans:
        return Cost(_KEPT * header.samples, cost.byte)
    if isinstance(header, Codestream) and header.levels:
        return Cost(_REDUCED * -(-header.depth // 8) / 4**header.levels, COSTS["TIFF"].byte)
    return _RUNS if picture.tile and picture.tile[0][0] == "bmp_rle" else cost


def check_tiff(directory: Directory, max_megapixels: float) -> None:
    """Refuse a TIFF of too many strips or tiles, or of one that is too large, before Pillow lists them.

    Parameters
    ----------
    directory : Directory
        The first one.
    max_megapixels : float

    Raises
    ------
    ValueError
    """
    if len(directory.claims) > len(directory.entries):  # which of the two counts depends on the reader
        raise ValueError("its header is damaged: it has an entry twice")
    offsets = [directory.entries[tag].number for tag in (273, 324) if tag in directory.entries]
    if max(offsets, default=0) > _STRIPS:
        raise ValueError(f"its header is damaged: it has {max(offsets):,} strips")
    if directory.integer(259, 1) == 1:  # not compressed
        return
    width, height = directory.integer(256), directory.integer(257)
    strip = (
        (directory.integer(322), directory.integer(323))
        if 322 in directory.entries
        else (width, min(directory.integer(278, height), height))
    )
    samples = 1 if directory.integer(284, 1) == 2 else directory.integer(277, 1)
    share = strip[0] * strip[1] * samples * directory.integer(258, 1) / 8 / _STRIP_BYTES
    spent = share * 1e6 * MAX_MEGAPIXELS
    if _is_above(spent, max_megapixels):
        _refuse(spent, "it has too large a strip")


def _is_above(spent: float, max_megapixels: float) -> bool:
    return spent > 1e6 * max(max_megapixels, MAX_MEGAPIXELS)  # a lower limit is on pixels alone


def _refuse(spent: float, what: str) -> NoReturn:
    raise LimitError(
        f"{what}, which would take too long or too much memory",
        f"raise max_megapixels to {math.ceil(spent / 1e6):,} if you trust the file",
    )
