"""Picture files -> arrays, and back: the only room that opens pictures."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageStat, UnidentifiedImageError

from blurgate.errors import PhotoError, SmallPhotoError

Gray: TypeAlias = NDArray[np.uint8]  # (height, width)
RGB: TypeAlias = NDArray[np.uint8]  # (height, width, 3)
Photo: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | NDArray[Any] | Image.Image"

_JPEG_SIDE = 65_500  # pixels: libjpeg's limit

MIN_SIDE = 64  # pixels: eight blocks; below that the statistics of one photo are mostly chance

MAX_MEGAPIXELS = 200.0  # of a picture file: about a gigabyte while it is decoded

_FORMATS = ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000", "HEIF")  # as Pillow says
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes: what follows "BM" in any text may be anything else

_TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = tuple(turn for orientation, turn in _TURNS.items() if orientation > 4)
_NO_PICTURE = "it is no picture in a known format"
_WEBP_SIDE = 16_383  # pixels: the format's limit
_DEPTHS = (8, 10, 12, 14, 16)  # bits that samples come in, whatever holds them
_ROWS = 256  # of wide samples at a time: as float they take eight times the room


@dataclass(frozen=True)
class Plane:
    """A photo as it is looked at.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
        BT.601 luma, 0 to 255.
    width, height : int
        Of the photo itself, in pixels; `gray` may be a half, a quarter and so on of it.
    """

    gray: Gray
    width: int
    height: int


@dataclass(frozen=True)
class SkippedPhoto:
    """A photo that no figure includes.

    Parameters
    ----------
    path : str
    error : str
        Why it was skipped.
    undecided : bool
        True if it can be read but shows too little to judge, False if it cannot be read.
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
    """Read a photo's luma.

    A JPEG is decoded to its own Y plane, without the detour over RGB. The EXIF orientation is applied, an alpha channel
    is laid on the picture's own mean. Samples of more than 8 bits are scaled by the depth that the largest of them
    needs (10, 12, 14 or 16 bits), float samples by the range 0 to 1, 255, 65535 or their own that they fit. Of several
    pictures in a file the first is read. What a file is, its content says, not its name.

    Parameters
    ----------
    photo : path, bytes, ndarray or PIL image
        A picture file, its content, an array of shape (height, width), (height, width, 3) or (height, width, 4), or an
        open picture.
    min_side : int
        The shorter side that is needed, in pixels.
    max_pixels : int, optional
        A larger photo is halved, by the mean of each 2x2 pixels, until it has no more; see `count_halvings`.
    max_megapixels : float
        A picture file that says it has more is refused before it is decoded. Pillow's own limit,
        ``PIL.Image.MAX_IMAGE_PIXELS``, holds as well.

    Returns
    -------
    ndarray of shape (height, width), uint8
        BT.601 luma, 0 to 255.

    Raises
    ------
    PhotoError
        If the file is missing, is no picture, is cut short, or is too large.
    SmallPhotoError
        If the shorter side is below `min_side`.

    Examples
    --------
    >>> read_gray(np.full((64, 96, 3), 128, np.uint8)).shape
    (64, 96)
    """
    return read_plane(photo, min_side=min_side, max_pixels=max_pixels, max_megapixels=max_megapixels).gray


def read_plane(
    photo: Photo,
    *,
    min_side: int = MIN_SIDE,
    max_pixels: int | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Plane:
    """Read a photo's luma and its own size; as `read_gray`."""
    picture, (width, height) = _read(photo, "L", min_side, max_pixels, max_megapixels)
    return Plane(np.asarray(picture), width, height)


def read_rgb(photo: Photo, *, min_side: int = MIN_SIDE) -> RGB:
    """Read a photo's colours; as `read_gray`, but of shape (height, width, 3)."""
    return np.asarray(_read(photo, "RGB", min_side, None, MAX_MEGAPIXELS)[0])


def path_of(photo: Photo) -> str:
    """Path of a photo as text; empty for a picture in memory."""
    return os.fsdecode(photo) if isinstance(photo, str | os.PathLike) else ""


def count_halvings(width: int, height: int, max_pixels: int | None) -> int:
    """Count how often a picture is halved: until it has `max_pixels`, but never to a side below `MIN_SIDE`.

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
    r"""Say by the first 32 bytes of a file whether it is a picture of a kind that is read.

    Examples
    --------
    >>> is_picture(b"\xff\xd8\xff\xe0"), is_picture(b"BM, he said")
    (True, False)
    """
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"\xff\x4f\xff\x51")):
        return True
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return True
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in (*_HEIF_BRANDS, b"avif", b"avis")
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def disable_pillow_size_limit() -> None:
    """Switch off Pillow's own limit of a picture's size, and its warnings, in a process that is ours alone."""
    Image.MAX_IMAGE_PIXELS = None


def encode_jpeg(rgb: RGB, *, quality: int) -> bytes:
    """Encode a picture as JPEG, with nothing in it but the picture.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), or (height, width, 1) for gray, uint8
        The picture.
    quality : int
        libjpeg's quality, 1 to 95.

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


def resize(rgb: RGB, size: tuple[int, int], *, resample: Image.Resampling = Image.Resampling.BICUBIC) -> RGB:
    """Resize a picture to (width, height), with the antialiasing that shrinking needs."""
    return np.asarray(_to_picture(rgb).resize(size, resample)).reshape(size[1], size[0], -1)


def _to_picture(rgb: RGB) -> Image.Image:
    return Image.fromarray(rgb[..., 0] if rgb.shape[2] == 1 else rgb)


def thumbnail(path: str | os.PathLike[str], *, side: int = 240, quality: int = 80) -> bytes | None:
    """Encode a small JPEG of a picture, at most `side` pixels long; None where it cannot be read."""
    try:
        with _opened(path, MAX_MEGAPIXELS) as picture:
            picture.draft("RGB", (2 * side, 2 * side))
            picture.load()
            turn = _orientation(picture)
            small = _to_mode(picture, "RGB")
    except Exception:  # as in _read
        return None
    small.thumbnail((side, side))
    return encode_jpeg(np.asarray(small if turn is None else small.transpose(turn)), quality=quality)


def _read(
    photo: Photo, mode: str, min_side: int, max_pixels: int | None, max_megapixels: float
) -> tuple[Image.Image, tuple[int, int]]:
    """Read a picture, and the size that it has as it stands."""
    _check_type(photo)
    name = path_of(photo) or "the picture"
    try:
        with _opened(photo, max_megapixels) as opened:
            size = opened.size
            factor = 2 ** count_halvings(*size, max_pixels)
            # a JPEG's decoder halves too, a little more sharply than the mean: the last halving is the mean for all
            opened.draft(mode, (max(1, size[0] * 2 // factor), max(1, size[1] * 2 // factor)) if factor > 2 else size)
            remaining = factor // round(size[0] / opened.size[0])
            opened.load()  # before anything else: what asks a PNG for its metadata decodes it, and hides that it failed
            turn = _orientation(opened)
            picture = _to_mode(opened, mode)
        if turn is not None:
            picture = picture.transpose(turn)
        if remaining > 1:
            picture = picture.reduce(remaining)
    except PhotoError:
        raise
    except Exception as error:  # of a damaged file, whatever its decoder runs into
        raise PhotoError(f"{name} cannot be read as a picture: {_reason(error)}") from error
    width, height = size[::-1] if turn in _SIDEWAYS else size
    if min(width, height) < min_side:
        raise SmallPhotoError(
            f"{name} is too small: {width} x {height} px, at least {min_side} on each side are needed"
        )
    return picture, (width, height)


def _check_type(photo: Photo) -> None:
    if isinstance(photo, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return
    if not isinstance(photo, np.ndarray):
        raise TypeError(f"a photo must be a path, bytes, an array or a PIL image, got {type(photo).__name__}")
    if photo.dtype != np.uint8 or photo.ndim not in (2, 3) or (photo.ndim == 3 and photo.shape[2] not in (3, 4)):
        raise TypeError(
            "a photo array must be uint8 of shape (height, width), (height, width, 3) or (height, width, 4), "
            f"got {photo.dtype} of shape {photo.shape}"
        )


@contextmanager
def _opened(photo: Photo, max_megapixels: float) -> Iterator[Image.Image]:
    """Open a picture; of a file, no more than its header is decoded before the block does so."""
    if isinstance(photo, Image.Image):
        yield photo.copy()
        return
    if isinstance(photo, np.ndarray):
        if not photo.size:
            raise ValueError(f"it has no pixels: its shape is {photo.shape}")
        yield Image.fromarray(photo)
        return
    with io.BytesIO(photo) if isinstance(photo, bytes | bytearray | memoryview) else _open_file(photo) as stream:
        head = stream.read(32)
        content: BinaryIO = stream
        if head.startswith(b"\xff\xd8"):  # what a decoder makes up for the missing rest is no photo
            whole = head + stream.read()
            if not _has_end(whole):
                raise ValueError("it is cut short")
            content = io.BytesIO(whole)
        elif head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
            _register_heif()
        content.seek(0)
        try:
            picture = Image.open(content, formats=_known_formats())
        except UnidentifiedImageError:
            known = "its header is damaged, or of a kind that is not read" if is_picture(head) else _NO_PICTURE
            raise ValueError(known) from None
        if picture.format == "WEBP" and max(picture.size) > _WEBP_SIDE:
            raise ValueError("its header is damaged: no WebP is so large")
        if picture.width * picture.height > max_megapixels * 1e6:
            raise ValueError(
                f"it has {picture.width} x {picture.height} px, but at most {max_megapixels:g} megapixels are read: "
                "raise that limit if you trust it"
            )
        yield picture


def _open_file(path: str | os.PathLike[str]) -> BinaryIO:
    path = Path(os.fsdecode(path))
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise PhotoError(f"{path} is a folder, but a picture file was needed: name a file in it")
        if not stat.S_ISREG(mode):  # to open a pipe would be to wait for whoever writes to it
            raise PhotoError(f"{path} is a pipe, a socket or a device, but a picture file was needed")
        return path.open("rb")
    except FileNotFoundError:
        what = "is a link to a file that does not exist" if path.is_symlink() else "does not exist: check the path"
        raise PhotoError(f"{path} {what}") from None
    except PermissionError:
        raise PhotoError(f"{path} cannot be opened: you have no permission to read it") from None


def _has_end(content: bytes) -> bool:
    """Say whether a JPEG has the mark of its end after its picture begins."""
    if content.endswith(b"\xff\xd9"):
        return True
    place = 2
    while content[place : place + 1] == b"\xff":
        mark = content[place + 1 : place + 2]
        if mark == b"\xda":  # the picture itself, in which the mark of the end cannot occur by chance
            return content.find(b"\xff\xd9", place) >= 0
        place += 1 if mark == b"\xff" else 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return False


@cache
def _known_formats() -> tuple[str, ...]:
    """Name the formats that this Pillow reads; what else it could open, as PostScript, is no photo."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError:
        raise ValueError("it is a HEIC picture, which needs the extra: pip install 'blurgate[heif]'") from None
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener()
        _known_formats.cache_clear()


def _orientation(picture: Image.Image) -> Image.Transpose | None:
    """Look up how a picture is to be turned; metadata that cannot be read says nothing."""
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever a damaged block brings its reader to
        return None


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode in ("I", "F", "I;16", "I;16B", "I;16L", "I;16N"):
        picture = _to_eight_bits(picture)
    if picture.has_transparency_data:
        return _lay_on_mean(picture, mode)
    if mode == "L" and picture.mode not in ("L", "RGB"):
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    samples = np.asarray(picture)
    lowest, highest = float(samples.min()), float(samples.max())
    if not np.isfinite(samples.sum(dtype=np.float64)):
        raise ValueError("it has samples that are not numbers")
    depths = [2.0**depth - 1 for depth in _DEPTHS]
    ranges = [1.0, depths[0], depths[-1], highest] if picture.mode == "F" else [*depths, highest]
    low = min(0.0, lowest)
    scale = 255.0 / (next(full for full in ranges if full >= highest) - low or 1.0)
    gray = np.empty(samples.shape, np.uint8)
    for top in range(0, len(samples), _ROWS):
        some = (samples[top : top + _ROWS] - low) * scale
        gray[top : top + _ROWS] = np.clip(np.rint(some), 0, 255)
    return Image.fromarray(gray)


def _lay_on_mean(picture: Image.Image, mode: str) -> Image.Image:
    """Lay a picture that can be seen through on its own mean colour, some rows at a time."""

    def strips() -> Iterator[tuple[int, Image.Image]]:
        for top in range(0, picture.height, _ROWS):
            box = (0, top, picture.width, min(top + _ROWS, picture.height))
            yield top, picture.crop(box).convert("RGBA")

    sums = np.sum([ImageStat.Stat(strip.convert("RGBa")).sum for _, strip in strips()], axis=0)  # colours times alpha
    mean = np.rint(sums[:3] * 255 / sums[3]).astype(int).tolist() if sums[3] else [128] * 3
    laid = Image.new(mode, picture.size)
    for top, strip in strips():
        below = Image.new("RGBA", strip.size, (*mean, 255))
        below.alpha_composite(strip)
        laid.paste(below.convert("RGB").convert(mode), (0, top))
    return laid


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
