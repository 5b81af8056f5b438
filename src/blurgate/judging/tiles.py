"""A plane of too many pixels to be judged at once -> a smaller one of its sharpest tiles.

A photo is blurred when nothing in it that matters is in focus, so the sharpest tiles decide. The sides of tiles are
multiples of `STEP`, so that no block of any scale has pixels of two tiles.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from blurgate.judging.doubts import estimate_noise
from blurgate.measuring.blocks import BLOCK
from blurgate.photos.images import Gray

T = TypeVar("T", bound=np.generic)

TILE = 256  # pixels: longest side of a tile
STEP = 4 * BLOCK  # pixels: a block at a quarter of the size
ACROSS = 4  # tiles in a row of a mosaic

_COUNTED = 4  # the sharpest of so many blocks count: what matters may be small
_FULL_CONTRAST = 40.0  # gray levels, of means of 2x2 pixels, from which on a block counts in full
_NOISE_SIDE = 128  # pixels: side of the middle of a tile in which noise is measured
_NOISE_SHARE = 0.3  # of the tiles with less noise than what counts as the photo's: fine texture looks like noise
_STEP_NOISE, _CONTRAST_NOISE = 3.0, 2.5  # of a block, as multiples of the noise: they show no structure


def join_sharpest(gray: Gray, max_pixels: int) -> Gray:
    """Join the sharpest tiles of a plane, in the order in which they lie in it.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
        Sides of at least `STEP`.
    max_pixels : int
        At least the pixels of four tiles; a plane of no more stays as it is.

    Returns
    -------
    ndarray of shape (new height, new width), uint8
        At most `max_pixels`.
    """
    if gray.size <= max_pixels:
        return gray
    tall, wide = (min(TILE, side // STEP * STEP) for side in gray.shape)
    places = [(top, left) for top in _spread(gray.shape[0], tall) for left in _spread(gray.shape[1], wide)]
    tiles = [gray[top : top + tall, left : left + wide] for top, left in places]
    noise = _measure_noise(tiles)
    sharpness = np.asarray([rate_sharpness(tile, noise) for tile in tiles])
    down = min(max_pixels // (ACROSS * tall * wide), len(tiles) // ACROSS)
    chosen = np.sort(np.argsort(-sharpness, kind="stable")[: down * ACROSS])
    rows = [np.hstack([tiles[place] for place in row]) for row in chosen.reshape(down, ACROSS)]
    return np.vstack(rows)


def rate_sharpness(tile: Gray, noise: float) -> float:
    """Rate how steep the edges of a tile are where it shows most, 0 to 1.

    Parameters
    ----------
    tile : ndarray of shape (height, width), uint8
        Sides that are multiples of `BLOCK`.
    noise : float
        Standard deviation of the noise of the photo, in gray levels.

    Returns
    -------
    float
    """
    lowest, highest = _pool(tile, np.minimum, BLOCK), _pool(tile, np.maximum, BLOCK)
    down = np.maximum(tile[1:], tile[:-1]) - np.minimum(tile[1:], tile[:-1])
    across = np.maximum(tile[:, 1:], tile[:, :-1]) - np.minimum(tile[:, 1:], tile[:, :-1])
    down, across = np.pad(down, ((0, 1), (0, 0))), np.pad(across, ((0, 0), (0, 1)))
    step = _pool(np.maximum(down, across), np.maximum, BLOCK).astype(np.float32)
    wide = tile.astype(np.uint16)
    small = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]  # noise fades in it, structure stays
    ends = _pool(small, np.maximum, BLOCK // 2) - _pool(small, np.minimum, BLOCK // 2)
    contrast = np.maximum((highest - lowest).astype(np.float32), 1)
    steepness = np.clip((step - _STEP_NOISE * noise) / contrast, 0, 1)
    shown = np.clip((ends / np.float32(4) - _CONTRAST_NOISE * noise) / _FULL_CONTRAST, 0, 1)
    rated = np.sort((steepness * shown).ravel())
    return float(rated[-max(1, rated.size // _COUNTED) :].mean())


def _measure_noise(tiles: list[Gray]) -> float:
    """Measure the noise that most tiles have, leaving out tiles of one colour."""
    found = [estimate_noise(_cut_middle(tile)) for tile in tiles]
    return float(np.quantile([each for each in found if each > 0] or [0.0], _NOISE_SHARE))


def _cut_middle(tile: Gray) -> Gray:
    top, left = (max(0, (side - _NOISE_SIDE) // 2) for side in tile.shape)
    return tile[top : top + _NOISE_SIDE, left : left + _NOISE_SIDE]


def _pool(plane: NDArray[T], pick: np.ufunc, side: int) -> NDArray[T]:
    """Reduce each square of pixels to one."""
    height, width = plane.shape
    rows = pick.reduce(plane.reshape(height // side, side, width), axis=1)
    pooled: NDArray[T] = pick.reduce(rows.reshape(height // side, width // side, side), axis=2)
    return pooled


def _spread(length: int, side: int) -> list[int]:
    """Spread tiles over a side of a plane: -> where each begins, a multiple of `STEP`."""
    count = max(1, round(length / side))
    spare = length - side
    starts = [spare // 2] if count == 1 else [spare * number // (count - 1) for number in range(count)]
    return [start // STEP * STEP for start in starts]
