"""A map -> a small picture with transparency, to lay over a photo on a page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blurgate.judging.explaining import TINT
from blurgate.photos.images import encode_palette

_SIDE = 64  # cells on the longer side
_TINTS = 14  # of what is blurred; with what is in focus and what is undecided, four bits for each cell
_BLURRED, _UNDECIDED = (*TINT, 153), (128, 128, 128, 128)  # red, green, blue, opacity; as `Explanation.draw_over`
_PALETTE = np.asarray(
    [
        (0, 0, 0, 0),
        *((*_BLURRED[:3], round(_BLURRED[3] * (0.5 + 0.5 * tint / (_TINTS - 1)))) for tint in range(_TINTS)),
        _UNDECIDED,
    ],
    np.uint8,
)


def draw_overlay(drawn: NDArray[np.float32]) -> bytes:
    """Draw a map as a small PNG to lay over a photo.

    What is in focus is clear, what is blurred is tinted, the more the surer it is, and the rest is gray.

    Parameters
    ----------
    drawn : ndarray of shape (height, width), float32
        See `blurgate.judging.explaining.Explanation`.

    Returns
    -------
    bytes
        At most 64 cells on a side, in about 2 kB or less; empty if nothing in the map is decided.
    """
    decided = ~np.isnan(drawn)
    if not decided.any():
        return b""
    counts = _sum_cells(decided.astype(np.float32))
    means = _sum_cells(np.where(decided, drawn, 0)) / np.maximum(counts, 1)
    codes = np.where(means < 0.5, 0, 1 + np.rint((2 * means - 1) * (_TINTS - 1)))
    codes[2 * counts < _sum_cells(np.ones_like(drawn))] = _TINTS + 1  # mostly undecided
    return encode_palette(codes.astype(np.uint8), _PALETTE)


def _sum_cells(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum a plane over nearly square cells, at most `_SIDE` on a side."""
    longer = max(plane.shape)
    for axis, length in enumerate(plane.shape):
        count = min(length, max(1, round(_SIDE * length / longer)))
        plane = np.add.reduceat(plane, np.arange(count) * length // count, axis=axis)
    return plane
