"""Picture files -> arrays, and back: the only room that opens pictures."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from blurgate.errors import PhotoError, SmallPhotoError

Gray: TypeAlias = NDArray[np.uint8]  # (height, width)
RGB: TypeAlias = NDArray[np.uint8]  # (height, width, 3)
Photo: TypeAlias = "str | PathLike[str] | bytes | NDArray[Any] | Image.Image"

_JPEG_SIDE = 65_500  # pixels: libjpeg's limit

MIN_SIDE = 64  # pixels: eight blocks; below that the statistics of one photo are mostly chance

SUFFIXES = frozenset(
    (
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    )
)


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


def read_gray(photo: Photo, *, min_side: int = MIN_SIDE, max_pixels: int | None = None) -> Gray:
    """Read a photo's luma.

    A JPEG is decoded to its own Y plane, without the detour over RGB. The EXIF orientation is applied, an alpha channel
    is laid on the picture's own mean, 16-bit and float samples are scaled to 8 bits.

    Parameters
    ----------
    photo : path, bytes, ndarray or PIL image
        A picture file, its content, an array of shape (height, width), (height, width, 3) or (height, width, 4), or an
        open picture.
    min_side : int
        The shorter side that is needed, in pixels.
    max_pixels : int, optional
        A larger photo is halved, by the mean of each 2x2 pixels, until it has no more; see `count_halvings`.

    Returns
    -------
    ndarray of shape (height, width), uint8
        BT.601 luma, 0 to 255.

    Raises
    ------
    PhotoError
        If the file is missing, is no picture, or is cut short.
    SmallPhotoError
        If the shorter side is below `min_side`.

    Examples
    --------
    >>> read_gray(np.full((64, 96, 3), 128, np.uint8)).shape
    (64, 96)
    """
    return read_plane(photo, min_side=min_side, max_pixels=max_pixels).gray


def read_plane(photo: Photo, *, min_side: int = MIN_SIDE, max_pixels: int | None = None) -> Plane:
    """Read a photo's luma and its own size; as `read_gray`."""
    picture, (width, height) = _read(photo, "L", min_side, max_pixels)
    return Plane(np.asarray(picture), width, height)


def read_rgb(photo: Photo, *, min_side: int = MIN_SIDE) -> RGB:
    """Read a photo's colours; as `read_gray`, but of shape (height, width, 3)."""
    return np.asarray(_read(photo, "RGB", min_side)[0])


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


def find_photos(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    """List the pictures below some paths.

    Parameters
    ----------
    paths : iterable of path
        Files are taken as they are, whatever their suffix; folders are searched at every depth for the suffixes of
        `SUFFIXES` in any case. Hidden files and folders are left out.

    Returns
    -------
    list of Path
        In the order of `paths`, sorted within each folder.

    Raises
    ------
    PhotoError
        If one of the paths does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found.extend(sorted(entry for entry in path.rglob("*") if _is_photo(entry, below=path)))
        elif path.exists():
            found.append(path)
        else:
            raise PhotoError(f"a file or folder was needed, but {path} does not exist: check the path")
    return found


def encode_jpeg(rgb: RGB, *, quality: int) -> bytes:
    """Encode a picture as JPEG, with nothing in it but the picture.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
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
    Image.fromarray(rgb).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def resize(rgb: RGB, size: tuple[int, int], *, resample: Image.Resampling = Image.Resampling.BICUBIC) -> RGB:
    """Resize a picture to (width, height), with the antialiasing that shrinking needs."""
    return np.asarray(Image.fromarray(rgb).resize(size, resample))


def thumbnail(path: Path, *, side: int = 240) -> bytes | None:
    """Encode a small JPEG of a picture, at most `side` pixels long; None where it cannot be read."""
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * side, 2 * side))
            small = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, ValueError):
        return None
    small.thumbnail((side, side))
    return encode_jpeg(np.asarray(small), quality=80)


def _is_photo(path: Path, *, below: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(below).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _read(photo: Photo, mode: str, min_side: int, max_pixels: int | None = None) -> tuple[Image.Image, tuple[int, int]]:
    """Read a picture, and the size that it has as it stands."""
    name = fspath(photo) if isinstance(photo, str | PathLike) else "the picture"
    try:
        picture = _open(photo)
        size = picture.size
        factor = 2 ** count_halvings(*size, max_pixels)
        # a JPEG's decoder halves too, a little more sharply than the mean: the last halving is the mean for all formats
        picture.draft(mode, (max(1, size[0] * 2 // factor), max(1, size[1] * 2 // factor)) if factor > 2 else size)
        remaining = factor // round(size[0] / picture.size[0])
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        turned = orientation > 4
        picture.load()
        picture = _to_mode(picture if orientation == 1 else ImageOps.exif_transpose(picture), mode)
        if remaining > 1:
            picture = picture.reduce(remaining)
    except FileNotFoundError:
        raise PhotoError(f"{name} does not exist: check the path") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        # PIL's plugins raise all of these on damaged files
        raise PhotoError(f"{name} cannot be read as a picture: {_reason(error)}") from error
    width, height = size[::-1] if turned else size
    if min(width, height) < min_side:
        raise SmallPhotoError(
            f"{name} is too small: {width} x {height} px, at least {min_side} on each side are needed"
        )
    return picture, (width, height)


def _open(photo: Photo) -> Image.Image:
    if isinstance(photo, Image.Image):
        return photo.copy()
    if isinstance(photo, bytes):
        return Image.open(io.BytesIO(photo))
    if isinstance(photo, str | PathLike):
        return Image.open(io.BytesIO(Path(photo).read_bytes()))
    if not isinstance(photo, np.ndarray):
        raise TypeError(f"a photo must be a path, bytes, an array or a PIL image, got {type(photo).__name__}")
    if photo.dtype != np.uint8 or photo.ndim not in (2, 3) or (photo.ndim == 3 and photo.shape[2] not in (3, 4)):
        raise TypeError(
            "a photo array must be uint8 of shape (height, width), (height, width, 3) or (height, width, 4), "
            f"got {photo.dtype} of shape {photo.shape}"
        )
    if not photo.size:
        raise ValueError(f"it has no pixels: its shape is {photo.shape}")
    return Image.fromarray(photo)


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode in ("I", "F", "I;16", "I;16B", "I;16L"):
        picture = _to_eight_bits(picture)
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        picture = Image.new("RGBA", opaque.size, _mean_colour(opaque))
        picture.alpha_composite(opaque)
    if mode == "L" and picture.mode not in ("L", "RGB"):
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    samples = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(samples).all():
        raise ValueError("it has samples that are not numbers")
    full = 65535.0
    if picture.mode == "F":
        full = 1.0 if samples.max() <= 1.0 else max(255.0, float(samples.max()))
    return Image.fromarray(np.clip(np.rint(samples * (255.0 / full)), 0, 255).astype(np.uint8))


def _mean_colour(rgba: Image.Image) -> tuple[int, ...]:
    pixels = np.asarray(rgba, dtype=np.float64).reshape(-1, 4)
    weight = pixels[:, 3].sum()
    mean: Sequence[float] = (pixels[:, :3] * pixels[:, 3:]).sum(axis=0) / weight if weight else (128.0,) * 3
    return (*(round(float(value)) for value in mean), 255)


def _reason(error: Exception) -> str:
    text = str(error)
    return "it is no picture in a known format" if "cannot identify image file" in text else text
