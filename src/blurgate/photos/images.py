"""Read pictures into arrays and encode arrays as JPEG or PNG; the only module that opens pictures."""

from __future__ import annotations

import errno
import io
import logging
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from blurgate.errors import MissingExtraError, PhotoError, SmallPhotoError, needs_extra
from blurgate.files import open_regular
from blurgate.photos.addresses import hide, is_address
from blurgate.photos.directories import ORIENTATION, first_directory, holds_bomb
from blurgate.photos.exif import SIDEWAYS, describe_shot, find_turn
from blurgate.photos.frames import Box, find_part
from blurgate.photos.jpeg2000 import Codestream, read_codestream
from blurgate.photos.jpegs import Frame, check_jpeg
from blurgate.photos.limits import MAX_MEGAPIXELS, Metered, check_bytes, check_cost, check_tiff
from blurgate.photos.modes import convert
from blurgate.photos.raws import Preview, find_preview
from blurgate.photos.shrinking import FULL, MIN_SIDE, At, check_at, count_halvings_to, fit_side, shrink

Gray: TypeAlias = NDArray[np.uint8]  # (height, width)
RGB: TypeAlias = NDArray[np.uint8]  # (height, width, 3)
Photo: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any] | Image.Image"

_JPEG_SIDE = 65_500  # pixels: libjpeg's limit
_PNG_LEVEL = 3  # of zlib, 1 to 9: higher ones take several times as long for a tenth less

_FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000", "HEIF")  # Pillow's names
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # of raw files, too
_JPEG2000_HEADS = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")
_RAF_HEAD, _CR3_BRAND = b"FUJIFILMCCD-RAW ", b"crx "
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # valid sizes in bytes: text may begin with "BM" too

_NO_PICTURE = "it is not a picture in any known format"
_EMPTY = "it is empty"
_FIRST_READ = 2**18  # bytes
_BYTES = (bytes, bytearray, memoryview)
_FILES = (str, os.PathLike, *_BYTES, Image.Image)
_WEBP_SIDE = 16_383  # pixels: the format's limit
_SAYING, _SAID = threading.Lock(), set[str]()  # warnings for the whole process, whichever thread meets the cause


@dataclass(frozen=True)
class Plane:
    """What is measured of a photo: its luma at its analysed size, without what is around the photo.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
        BT.601 luma, 0 to 255.
    width, height : int
        Size of the whole picture, upright, in pixels; `gray` may be half as wide and high, a quarter, and so on.
    part : Box or None
        The part of the whole picture that `gray` shows, in pixels at its own size; None if it shows all of it.
    scale : float
        Pixels of the whole picture for each of `gray`, along a side; at least 1.
    """

    gray: Gray
    width: int
    height: int
    part: Box | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class _PlainJpeg:
    """A checked JPEG with a header as most have, whose luma is decoded at once, without the picture that Pillow makes.

    Names are those of Pillow's pictures where other code reads them.
    """

    content: bytes
    frame: Frame

    format: ClassVar[str] = "JPEG"
    tile: ClassVar[tuple[()]] = ()

    @property
    def width(self) -> int:
        return self.frame.width

    @property
    def height(self) -> int:
        return self.frame.height

    @property
    def size(self) -> tuple[int, int]:
        return self.frame.width, self.frame.height

    @property
    def info(self) -> dict[str, bytes]:
        return {name: block for name, block in (("exif", self.frame.exif), ("xmp", self.frame.xmp)) if block}

    def open(self) -> Image.Image:
        """Open it as Pillow does."""
        return _open_known(io.BytesIO(self.content), self.content)

    def decode(self, size: tuple[int, int]) -> Gray | None:
        """Decode the luma at this size or at most twice, four or eight times it; None for a JPEG that is damaged.

        The decoder is Pillow's, with what `PIL.JpegImagePlugin.JpegImageFile.draft` would ask of it. But it gets all of
        the file in one call, and writes to where the pixels are to stay.
        """
        width, height = self.size
        most = min(width // size[0], height // size[1])
        factor = next(each for each in (8, 4, 2, 1) if each <= most)
        width, height = -(-width // factor), -(-height // factor)
        try:
            gray = np.empty((height, width), np.uint8)
            plane = Image.core.map_buffer(gray, (width, height), "raw", 0, ("L", 0, 1))  # type: ignore[attr-defined]
            decoder = Image._getdecoder("L", "jpeg", ("L", ""), (factor, 0))
            try:
                decoder.setimage(plane, (0, 0, width, height))
                left, problem = decoder.decode(self.content)
            finally:
                decoder.cleanup()
        except Exception:  # these functions are not public: another Pillow may lack them
            return None
        return gray if left < 0 and problem == 0 else None


class _Wanted(NamedTuple):
    """The size at which a picture is wanted: halved to so many pixels, or shrunk to a longer side; None for its own."""

    max_pixels: int | None = None
    side: int | None = None

    def count_halvings(self, width: int, height: int) -> int:
        """Count the halvings that come first."""
        if self.side is None:
            return count_halvings(width, height, self.max_pixels)
        return count_halvings_to(max(width, height), max(fit_side(width, height, self.side)))

    def shrink(self, pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
        """Shrink the halved picture, which has this size without halving, to the longer side."""
        if self.side is None:
            return pixels
        size = fit_side(width, height, self.side)
        return pixels if max(pixels.shape[:2]) <= max(size) else shrink(pixels, size)


@dataclass(frozen=True)
class SkippedPhoto:
    """A photo that was skipped: no figure includes it.

    Parameters
    ----------
    path : str
    error : str
        Why it was skipped.
    undecided : bool
        True if the photo can be read but shows too little to judge, False if it cannot be read.
    """

    path: str
    error: str
    undecided: bool = False


def read_gray(
    photo: Photo,
    *,
    min_side: int = MIN_SIDE,
    max_pixels: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Gray:
    """Read a photo's luma, all of it; `read_plane` leaves out what is around the photo, as every verdict does.

    A JPEG is decoded straight to its Y plane, without a conversion to RGB. The EXIF orientation is applied, and a
    picture with an alpha channel is composited on its own mean colour. Samples of more than 8 bits are scaled by the
    depth that they need (8, 10, 12, 14 or 16 bits), float samples by the first range that holds them: 0 to 1, 0 to 255,
    0 to 65535 or their own; a few hot pixels do not count. Only the first picture of a file is read, and of a camera's
    raw file the largest JPEG preview in it. Formats are recognised by content, not by name.

    Parameters
    ----------
    photo : path, bytes, binary file, ndarray or PIL image
        A picture file, its content, an open file or stream, an array of shape (height, width), (height, width, 3) or
        (height, width, 4), or an open picture. A stream is read as Pillow reads it: from its start if it can seek, else
        from where it is. It stays open, at its end.
    min_side : int
        Minimum length of the shorter side, in pixels.
    max_pixels : int, optional
        A larger photo is halved, each 2x2 pixels to their mean, until it has at most this many; see `count_halvings`.
    max_megapixels : float
        A picture file with more, by its header, is rejected before it is decoded, and so is one that would take as long
        or as much memory as no photo of 200 megapixels does. Pillow's own limit, ``PIL.Image.MAX_IMAGE_PIXELS``,
        applies too.

    Returns
    -------
    ndarray of shape (height, width), uint8
        BT.601 luma, 0 to 255.

    Raises
    ------
    PhotoError
        If the file is missing, not a picture, cut short, too large, or a raw file without a preview to judge.
    SmallPhotoError
        If the shorter side is below `min_side`.
    TypeError
        If `photo` is of another type, or an array of another shape or dtype.

    Examples
    --------
    >>> read_gray(np.full((64, 96, 3), 128, np.uint8)).shape
    (64, 96)
    """
    return _read(photo, "L", min_side, _Wanted(max_pixels), max_megapixels)[0]


def read_plane(
    photo: Photo,
    *,
    min_side: int = MIN_SIDE,
    max_pixels: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    at: At = None,
) -> Plane:
    """Read what is measured of a photo: its luma without frames, bars, page margins and rounded corners around it.

    Parameters
    ----------
    photo : path, bytes, binary file, ndarray or PIL image
    min_side : int
    max_pixels : int, optional
    max_megapixels : float
        All as in `read_gray`.
    at : int or 'full', optional
        In place of `max_pixels`: the longer side in pixels to which a larger photo is shrunk, each pixel to the mean of
        the area that it covers, but no side below `MIN_SIDE`; or the photo's own size.

    Returns
    -------
    Plane

    Raises
    ------
    PhotoError, SmallPhotoError, TypeError
        As in `read_gray`.
    """
    check_at(at)
    wanted = _Wanted(max_pixels) if at is None else _Wanted(side=None if at == FULL else int(at))
    gray, (width, height) = _read(photo, "L", min_side, wanted, max_megapixels)
    box = find_part(gray, min_side=MIN_SIDE)
    scale = max(width, height) / max(gray.shape)
    if box == (0, 0, gray.shape[1], gray.shape[0]):
        return Plane(gray, width, height, scale=scale)
    part = np.ascontiguousarray(gray[box.top : box.bottom, box.left : box.right])
    return Plane(part, width, height, _enlarge(box, gray.shape, width, height), scale)


def _enlarge(box: Box, shape: tuple[int, ...], width: int, height: int) -> Box:
    """Turn pixels of a shrunk picture into those of the picture itself."""
    across, down = _divide(width, shape[1]), _divide(height, shape[0])
    left, top = int(box.left * across), int(box.top * down)
    right, bottom = math.ceil(box.right * across), math.ceil(box.bottom * down)
    return Box(left, top, min(right, width), min(bottom, height))


def _divide(side: int, shrunk: int) -> float:
    """Find how many pixels of a side became one; of a halved picture, the last may be a part of a pixel."""
    factor = round(side / shrunk)
    return factor if -(-side // factor) == shrunk else side / shrunk


def read_rgb(
    photo: Photo,
    *,
    min_side: int = MIN_SIDE,
    max_pixels: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> RGB:
    """Read a photo's colours, by default at full size.

    Parameters
    ----------
    photo : path, bytes, binary file, ndarray or PIL image
    min_side : int
    max_pixels : int, optional
    max_megapixels : float
        All as in `read_gray`.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB, 0 to 255.

    Raises
    ------
    PhotoError, SmallPhotoError, TypeError
        As in `read_gray`.
    """
    return _read(photo, "RGB", min_side, _Wanted(max_pixels), max_megapixels)[0]


def read_file(photo: Photo, *, max_megapixels: float = MAX_MEGAPIXELS) -> bytes:
    """Read the file of a photo, to be judged elsewhere, without looking into it.

    Parameters
    ----------
    photo : path, bytes, binary file, ndarray or PIL image
        Of a picture in memory, the luma is encoded without loss, as a gray PNG: nothing else is judged.
    max_megapixels : float
        A file of more bytes than a JPEG of so many pixels may have is refused.

    Returns
    -------
    bytes

    Raises
    ------
    PhotoError
        If the file is missing, no regular file, empty or too long, or cannot be read.
    TypeError
        If `photo` is of another type, or an array of another shape or dtype.

    Examples
    --------
    >>> read_file(np.full((64, 96, 3), 128, np.uint8))[1:4]
    b'PNG'
    """
    _check_type(photo)
    if isinstance(photo, np.ndarray | Image.Image):
        stream = io.BytesIO()
        gray = read_gray(photo, min_side=1, max_megapixels=max_megapixels)
        Image.fromarray(gray).save(stream, "PNG", compress_level=1)
        return stream.getvalue()
    if is_stream(photo):
        photo = read_stream(photo, max_megapixels)
    name = path_of(photo) or "the picture"
    try:
        with _open_content(photo, max_megapixels) as opened:
            check_bytes(opened.seek(0, os.SEEK_END), "JPEG", max_megapixels)
            opened.seek(0)
            content = opened.read()
    except PhotoError:
        raise
    except Exception as error:  # a path with a zero byte, or a disk that is gone
        raise PhotoError(f"{name} cannot be read: {_reason(error)}") from error
    if not content:
        raise PhotoError(f"{name} cannot be read: {_EMPTY}")
    return content


def path_of(photo: Photo) -> str:
    """Return the path of a photo as text; empty for a picture in memory."""
    return hide(os.fsdecode(photo)) if isinstance(photo, str | os.PathLike) else ""


def count_halvings(width: int, height: int, max_pixels: int | None) -> int:
    """Count the halvings after which a picture has at most `max_pixels`; no side is halved below `MIN_SIDE`.

    Parameters
    ----------
    width, height : int
        Size of the picture, in pixels.
    max_pixels : int or None
        None never halves.

    Returns
    -------
    int

    Examples
    --------
    >>> count_halvings(4000, 3000, 2**20), count_halvings(1024, 768, 2**20), count_halvings(60_000, 200, 2**20)
    (2, 0, 1)
    """
    halvings = 0
    while max_pixels and width * height > max_pixels and min(width, height) >= 2 * MIN_SIDE:
        width, height, halvings = (width + 1) // 2, (height + 1) // 2, halvings + 1
    return halvings


def is_picture(head: bytes) -> bool:
    r"""Recognise a picture in a supported format by the first 32 bytes of its file.

    Examples
    --------
    >>> is_picture(b"\xff\xd8\xff\xe0"), is_picture(b"BM is short for bitmap")
    (True, False)
    """
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", *_JPEG2000_HEADS)):
        return True
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return True
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in (*_HEIF_BRANDS, b"avif", b"avis")
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def disable_pillow_size_limit() -> None:
    """Disable Pillow's own limit on picture size, with its warnings; for a process that runs only blurgate."""
    Image.MAX_IMAGE_PIXELS = None


def encode_jpeg(rgb: RGB, *, quality: int) -> bytes:
    """Encode a picture as a JPEG without metadata.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), or (height, width, 1) for gray, uint8
    quality : int
        libjpeg's quality, 1 to 95.

    Returns
    -------
    bytes

    Raises
    ------
    PhotoError
        If a side is longer than JPEG allows.
    """
    if max(rgb.shape[:2]) > _JPEG_SIDE:
        raise PhotoError(
            f"it is too long for a JPEG: {rgb.shape[1]} x {rgb.shape[0]} px, at most {_JPEG_SIDE} are allowed"
        )
    stream = io.BytesIO()
    _to_picture(rgb).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def encode_png(pixels: NDArray[np.uint8], *, holds: str, note: str = "") -> bytes:
    """Encode a picture as a PNG that says what it is, by which a later run knows that it may replace it.

    Parameters
    ----------
    pixels : ndarray of shape (height, width), or (height, width, 3), uint8
    holds : str
        What blurgate made, in a word; see `blurgate.outputs.KINDS`.
    note : str
        More about it, in ASCII, at the beginning of the file too.

    Returns
    -------
    bytes
    """
    texts, stream = PngInfo(), io.BytesIO()
    texts.add_text("Software", f"blurgate {holds}")
    if note:
        texts.add_text("Source", note)
    Image.fromarray(pixels).save(stream, "PNG", pnginfo=texts, compress_level=_PNG_LEVEL)
    return stream.getvalue()


def encode_palette(codes: Gray, palette: NDArray[np.uint8]) -> bytes:
    """Encode a picture of few colours as a PNG.

    Parameters
    ----------
    codes : ndarray of shape (height, width), uint8
        Places in the palette.
    palette : ndarray of shape (n_colours, 4), uint8
        Red, green, blue and opacity.

    Returns
    -------
    bytes

    Examples
    --------
    >>> palette = np.asarray([[255, 255, 255, 0], [200, 0, 0, 128]], np.uint8)
    >>> len(encode_palette(np.eye(8, dtype=np.uint8), palette)) < 200
    True
    """
    picture = Image.fromarray(codes).convert("P")
    picture.putpalette(palette[:, :3].tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG", transparency=palette[:, 3].tobytes(), optimize=True)
    return stream.getvalue()


def resize(rgb: RGB, size: tuple[int, int], *, resample: Image.Resampling = Image.Resampling.BICUBIC) -> RGB:
    """Resize a picture, with antialiasing where it shrinks.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), or (height, width, 1) for gray, uint8
    size : tuple of int
        New width and height, in pixels.
    resample : PIL.Image.Resampling

    Returns
    -------
    ndarray of shape (new height, new width, 3), or (new height, new width, 1) for gray, uint8
    """
    return np.asarray(_to_picture(rgb).resize(size, resample)).reshape(size[1], size[0], -1)


def stretch(plane: NDArray[np.float32], size: tuple[int, int], *, step: int) -> NDArray[np.float32]:
    """Enlarge a plane of numbers, each of which stands for a square of pixels, to these pixels.

    The numbers hold at the middles of the squares, and between them is interpolated linearly.

    Parameters
    ----------
    plane : ndarray of shape (rows, columns), float32
    size : tuple of int
        New width and height, in pixels; squares at the right and at the bottom may reach beyond.
    step : int
        Side of a square, in pixels.

    Returns
    -------
    ndarray of shape (new height, new width), float32

    Examples
    --------
    >>> stretch(np.asarray([[0, 4]], np.float32), (8, 1), step=4)
    array([[0. , 0. , 0.5, 1.5, 2.5, 3.5, 4. , 4. ]], dtype=float32)
    """
    box = (0.0, 0.0, size[0] / step, size[1] / step)
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR, box))


def _to_picture(rgb: RGB) -> Image.Image:
    return Image.fromarray(rgb[..., 0] if rgb.shape[2] == 1 else rgb)


def thumbnail(photo: str | os.PathLike[str] | bytes, *, side: int = 240, quality: int = 80) -> bytes | None:
    """Encode a small JPEG of a picture file.

    Parameters
    ----------
    photo : path or bytes
    side : int
        Maximum length of the longer side, in pixels.
    quality : int
        libjpeg's quality, 1 to 95.

    Returns
    -------
    bytes or None
        None if the picture cannot be read.
    """
    try:
        with _opened(photo, _Wanted((2 * side) ** 2), MAX_MEGAPIXELS) as picture:
            picture.draft("RGB", (2 * side, 2 * side))
            picture.load()
            turn = find_turn(picture)
            small = convert(picture, "RGB")
    except Exception:  # a damaged file can raise anything
        return None
    small.thumbnail((side, side))
    return encode_jpeg(np.asarray(small if turn is None else small.transpose(turn)), quality=quality)


def read_shot(photo: str | os.PathLike[str] | bytes) -> dict[str, str]:
    """Read from a photo's EXIF how it was taken, in words; never where.

    Parameters
    ----------
    photo : path or bytes

    Returns
    -------
    dict of str to str
        ``taken`` (local time), ``camera`` and ``exposure`` (time, aperture and ISO), each only if the file has it;
        nothing if the file or its metadata cannot be read. Values may hold any character.

    Examples
    --------
    >>> read_shot("no such photo.jpg")
    {}
    """
    try:
        with _opened(photo, _Wanted(), MAX_MEGAPIXELS) as picture:
            if picture.format == "PNG" and "exif" not in picture.info:  # looking for it would decode the picture
                return {}
            return describe_shot(picture)
    except Exception:  # damaged metadata can raise anything
        return {}


def _read(
    photo: Photo, mode: str, min_side: int, wanted: _Wanted, max_megapixels: float
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Read a picture at the wanted size; also return its own (width, height), upright."""
    _check_type(photo)
    if is_stream(photo):
        photo = read_stream(photo, max_megapixels)
    name = path_of(photo) or "the picture"
    try:
        with _opened(photo, wanted, max_megapixels, plain=mode == "L") as opened:
            size = opened.size
            pixels, turn = _decode(opened, mode, wanted.count_halvings(*size))
    except PhotoError:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise PhotoError(f"{name} cannot be read: {_reason(error)}") from error
    width, height = size[::-1] if turn in SIDEWAYS else size
    pixels = wanted.shrink(pixels, width, height)
    if min(width, height) < min_side:
        raise SmallPhotoError(
            f"{name} is too small: {width} x {height} px, at least {min_side} on each side are needed"
        )
    return pixels, (width, height)


def _decode(
    opened: Image.Image | _PlainJpeg, mode: str, halvings: int
) -> tuple[NDArray[np.uint8], Image.Transpose | None]:
    """Decode an opened picture, turn it upright and halve it; also return the transpose that was applied."""
    width, height = opened.size
    factor = 2**halvings
    # the decoders of JPEG and JPEG 2000 can halve too, but a little more sharply than the mean of 2x2 pixels; the last
    # halving is by the mean in every format
    size = (max(1, width * 2 // factor), max(1, height * 2 // factor)) if factor > 2 else (width, height)
    if isinstance(opened, _PlainJpeg):
        turn = find_turn(opened) if opened.frame.exif or opened.frame.xmp else None
        gray = opened.decode(size)
        if gray is not None and turn is None and factor == 1:
            return gray, None
        picture = opened.open() if gray is None else Image.fromarray(gray)
    else:
        gray, picture = None, opened
    if gray is None:
        picture.draft(mode, size)
        picture.load()  # before the metadata: reading a PNG's decodes it, and hides that decoding failed
        turn = find_turn(picture)
    remaining = factor // round(width / picture.width)
    picture = convert(picture, mode)
    if turn is not None:
        picture = picture.transpose(turn)
    return np.asarray(picture.reduce(remaining) if remaining > 1 else picture), turn


def _check_type(photo: Photo) -> None:
    if isinstance(photo, _FILES) or is_stream(photo):
        return
    if not isinstance(photo, np.ndarray):
        raise TypeError(
            f"a photo must be a path, bytes, a binary file, an array or a PIL image, got {type(photo).__name__}"
        )
    if photo.dtype != np.uint8 or photo.ndim not in (2, 3) or (photo.ndim == 3 and photo.shape[2] not in (3, 4)):
        raise TypeError(
            "a photo array must be uint8 of shape (height, width), (height, width, 3) or (height, width, 4), "
            f"got {photo.dtype} of shape {photo.shape}"
        )


@contextmanager
def _opened(photo: Photo, wanted: _Wanted, max_megapixels: float, *, plain: bool = False) -> Iterator[Any]:
    """Open a picture, or, if `plain`, a plain JPEG; of a file, only the header is decoded until the block loads it."""
    if isinstance(photo, Image.Image):
        yield photo.copy()
        return
    if isinstance(photo, np.ndarray):
        if not photo.size:
            raise ValueError(f"it has no pixels: its shape is {photo.shape}")
        yield Image.fromarray(photo)
        return
    with _open_content(photo, max_megapixels) as stream:
        yield _identify(stream, wanted, max_megapixels, plain=plain)


def is_stream(photo: Any) -> TypeGuard[BinaryIO]:
    """Return whether a photo is an open file or another stream to read it from."""
    return hasattr(photo, "read") and not isinstance(photo, Image.Image)


def read_stream(stream: BinaryIO, max_megapixels: float = MAX_MEGAPIXELS) -> bytes:
    """Read a photo's file from an open one, from its start if it can seek, and leave it open.

    Parameters
    ----------
    stream : binary file
    max_megapixels : float
        See `read_gray`.

    Returns
    -------
    bytes

    Raises
    ------
    TypeError
        If the stream is of text.
    PhotoError
        If it cannot be read, is closed, or has more bytes than a photo.
    """
    problem = "a photo must be read from a binary stream, got one of text: open it with mode 'rb'"
    if isinstance(stream, io.TextIOBase):
        raise TypeError(problem)
    parts, size = [], 0
    try:
        with suppress(AttributeError, io.UnsupportedOperation):  # as a member of an archive, or what comes by network
            stream.seek(0)
        while (part := stream.read(2**20)) and isinstance(part, bytes | bytearray | memoryview):
            parts.append(part)
            size += len(part)
            check_bytes(size, "JPEG", max_megapixels)
    except Exception as error:  # it is closed, or a damaged archive or a network, which can raise anything
        raise PhotoError(f"the picture cannot be read from its stream: {_reason(error)}") from error
    if part:
        raise TypeError(problem if isinstance(part, str) else f"a stream must read bytes, got {type(part).__name__}")
    return b"".join(parts)


def _identify(stream: BinaryIO, wanted: _Wanted, max_megapixels: float, *, plain: bool = False) -> Any:
    """Open a picture file by its content, not its name, without decoding its pixels."""
    start = stream.read(_FIRST_READ)  # of a small photo, all of it
    whole = len(start) < _FIRST_READ
    size = len(start) if whole else stream.seek(0, os.SEEK_END)
    if start.startswith(b"\xff\xd8"):
        check_bytes(size, "JPEG", max_megapixels)
        if not whole:
            stream.seek(0)
        return _open_jpeg(start if whole else stream.read(), max_megapixels, plain=plain)
    head = start[:32]
    if head.startswith((*_TIFF_HEADS, _RAF_HEAD)) or head[4:12] == b"ftyp" + _CR3_BRAND:
        if preview := find_preview(stream):
            return _open_preview(preview, wanted, max_megapixels)
        if directory := first_directory(stream):
            check_tiff(directory, max_megapixels)
    return _open_picture(stream, head, size, wanted, max_megapixels)


def _open_jpeg(content: bytes, max_megapixels: float, *, plain: bool) -> Any:
    """Open a JPEG, all of which is checked; if `plain`, one that has nothing unusual in its header stays as it is."""
    frame = check_jpeg(content)
    limit = Image.MAX_IMAGE_PIXELS  # beyond it, Pillow warns or refuses
    if plain and frame.plain and (limit is None or frame.width * frame.height <= limit):
        picture: Any = _PlainJpeg(content, frame)
    else:
        picture = _open_known(io.BytesIO(content), content)
    check_cost(picture, len(content), frame, max_megapixels)
    return picture


def _open_picture(stream: BinaryIO, head: bytes, size: int, wanted: _Wanted, max_megapixels: float) -> Image.Image:
    header: Codestream | None = None
    if head.startswith(b"RIFF"):
        check_bytes(size, "WEBP", max_megapixels)
    elif head[4:8] == b"ftyp":
        _prepare_boxes(stream, head, size, max_megapixels)
    elif head.startswith(_JPEG2000_HEADS):
        header = read_codestream(stream)
    metered = Metered(stream, size)
    picture = _open_known(metered, head)
    if header:
        if picture.size != (header.width, header.height):
            raise ValueError("its header is damaged: it states two sizes")
        header = header.reduced(wanted.count_halvings(*picture.size) - 1)
        if header.levels:
            picture.reduce = header.levels  # type: ignore[assignment, method-assign]
    check_cost(picture, size, header, max_megapixels)
    metered.allow_pixels()
    return picture


def _open_preview(preview: Preview, wanted: _Wanted, max_megapixels: float) -> Image.Image:
    """Open the JPEG of a raw file, with the orientation that the raw file has."""
    picture: Image.Image = _identify(io.BytesIO(preview.content), wanted, max_megapixels)
    if preview.orientation:
        exif = Image.Exif()
        exif[ORIENTATION] = preview.orientation
        picture.info["exif"] = exif.tobytes()
    return picture


def _prepare_boxes(stream: BinaryIO, head: bytes, size: int, max_megapixels: float) -> None:
    """Check an AVIF or a HEIC, and load what reads a HEIC."""
    check_bytes(size, "AVIF", max_megapixels)
    if head[8:12] in _HEIF_BRANDS:
        _register_heif()
    stream.seek(0)
    if holds_bomb(stream.read()):
        raise ValueError("its metadata is damaged: its EXIF claims more than it holds")


def _open_known(stream: BinaryIO | Metered, head: bytes) -> Image.Image:
    stream.seek(0)
    try:
        picture: Image.Image = Image.open(stream, formats=_known_formats())
    except UnidentifiedImageError:
        problem = "its header is damaged, or of a kind that is not read" if is_picture(head) else _NO_PICTURE
        problem = problem if head else _EMPTY
        raise ValueError(problem) from None
    if picture.format == "WEBP" and max(picture.size) > _WEBP_SIDE:
        raise ValueError("its header is damaged: no WebP is so large")
    return picture


def _open_content(photo: Any, max_megapixels: float) -> BinaryIO:
    if isinstance(photo, _BYTES):
        return io.BytesIO(photo)
    if is_address(os.fsdecode(photo)):
        from blurgate.photos.archives import read_member  # a scan of a disk needs neither this nor what it imports

        return io.BytesIO(read_member(os.fsdecode(photo), max_megapixels=max_megapixels))
    return _open_file(photo)


def _open_file(photo: Any) -> BinaryIO:
    path = os.fsdecode(photo)
    try:
        return open_regular(path)
    except FileNotFoundError:
        problem = (
            "is a link to a file that does not exist" if Path(path).is_symlink() else "does not exist: check the path"
        )
    except PermissionError:
        problem = "cannot be opened: you have no permission to read it"
    except IsADirectoryError:
        problem = "is a folder, but a picture file was needed: name a file in it"
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        problem = "is a pipe, a socket or a device, but a picture file was needed"
    raise PhotoError(f"{Path(path)} {problem}")


@cache
def _known_formats() -> tuple[str, ...]:
    """List the photo formats that this Pillow reads; it could open others, such as PostScript."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _register_heif() -> None:
    if "HEIF" in Image.OPEN:
        return
    try:
        with needs_extra("heif", "Reading HEIC photos"):
            import pillow_heif
    except MissingExtraError as error:
        _say_once(str(error))
        raise
    pillow_heif.register_heif_opener()
    _known_formats.cache_clear()


def _say_once(warning: str) -> None:
    with _SAYING:
        if warning not in _SAID:
            _SAID.add(warning)
            logging.getLogger(__name__).warning("%s", warning)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # without the path, which the sentence has already
        return error.strerror
    return str(error) or type(error).__name__
