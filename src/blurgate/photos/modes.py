"""A decoded picture of any mode -> gray or RGB of 8 bits, a few rows at a time to save memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageStat

_DEPTHS = (8, 10, 12, 14, 16)  # bits per sample, whatever type holds them
_ROWS = 256  # converted at a time: as float, wide samples take eight times the memory
_OUTLIERS = 100_000  # one sample in so many, but four in any picture, may lie outside the range: hot and dead pixels


def convert(picture: Image.Image, mode: str) -> Image.Image:
    """Convert a picture of any mode.

    Parameters
    ----------
    picture : PIL.Image.Image
        Decoded. A transparent one is composited on its own mean colour; samples wider than 8 bits are scaled by the
        range that they use.
    mode : {'L', 'RGB'}

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    ValueError
        If it has samples that are not numbers.
    """
    if picture.mode in ("I", "F", "I;16", "I;16B", "I;16L", "I;16N"):
        picture = _to_eight_bits(picture)
    if picture.has_transparency_data:
        return _composite_on_mean(picture, mode)
    if picture.mode == mode:
        return picture
    if mode == "L" and picture.mode != "RGB":
        converted = Image.new(mode, picture.size)
        for top, strip in _cut_strips(picture):  # in between, colours take as much memory again
            converted.paste(strip.convert("RGB").convert(mode), (0, top))
        return converted
    return picture.convert(mode)


def _cut_strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield a few rows at a time, and where they are."""
    for top in range(0, picture.height, _ROWS):
        yield top, picture.crop((0, top, picture.width, min(top + _ROWS, picture.height)))


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Scale wide samples by the range that holds all but a few of them: one hot pixel would darken the others."""
    low, high = _find_range(picture)
    depths = [2.0**depth - 1 for depth in _DEPTHS]
    ranges = [1.0, depths[0], depths[-1], high] if picture.mode == "F" else [*depths, high]
    scale = 255.0 / (next(full for full in ranges if full >= high) - low or 1.0)
    gray = Image.new("L", picture.size)
    for top, strip in _cut_strips(picture):
        rows = (np.asarray(strip) - low) * scale
        gray.paste(Image.fromarray(np.clip(np.rint(rows), 0, 255).astype(np.uint8)), (0, top))
    return gray


def _find_range(picture: Image.Image) -> tuple[float, float]:
    """Find the lowest sample below 0, or else 0, and the highest sample, both without the outliers."""
    count = max(4, picture.width * picture.height // _OUTLIERS) + 1
    below, above = np.empty(0), np.empty(0)
    for _, strip in _cut_strips(picture):
        samples = np.asarray(strip).ravel()
        if samples.dtype.kind == "f" and not np.isfinite(samples).all():
            raise ValueError("it has samples that are not numbers")
        below = _keep_largest(below, -samples[samples < 0].astype(np.float64), count)
        above = _keep_largest(above, samples, count)
    return -float(below.min()) if len(below) == count else 0.0, float(above.min())


def _keep_largest(kept: NDArray[Any], samples: NDArray[Any], count: int) -> NDArray[Any]:
    """Keep the largest `count` of the samples kept so far and new ones."""
    if len(kept) == count:
        samples = samples[samples > kept.min()]
    joined = np.concatenate([kept, samples])
    return np.partition(joined, len(joined) - count)[-count:] if len(joined) > count else joined


def _composite_on_mean(picture: Image.Image, mode: str) -> Image.Image:
    """Composite a transparent picture on its own mean colour, a few rows at a time to save memory."""

    def strips() -> Iterator[tuple[int, Image.Image]]:
        return ((top, strip.convert("RGBA")) for top, strip in _cut_strips(picture))

    sums = np.sum([ImageStat.Stat(strip.convert("RGBa")).sum for _, strip in strips()], axis=0)  # colours times alpha
    mean = np.rint(sums[:3] * 255 / sums[3]).astype(int).tolist() if sums[3] else [128] * 3
    opaque = Image.new(mode, picture.size)
    for top, strip in strips():
        background = Image.new("RGBA", strip.size, (*mean, 255))
        background.alpha_composite(strip)
        opaque.paste(background.convert("RGB").convert(mode), (0, top))
    return opaque
