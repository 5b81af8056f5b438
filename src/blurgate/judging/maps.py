"""Log-odds of blocks and gray -> where a photo is blurred, pixel by pixel, and where its sharp part lies.

Flat blocks tell nothing, so they take the state of the nearest ones that have texture; far from any, a block is
undecided. A guided filter then moves the borders from the grid of blocks to the edges of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blurgate.measuring.blocks import BLOCK
from blurgate.photos.images import Gray, stretch

FOCUS_SHARE = 0.02  # of what is decided: a sharp photo has at least so much in focus, a blurred one at most
REACH = 64  # pixels from a block with texture to blocks without any that take its state
LEAST_CONTRAST = 2.0  # codes: standard deviation of the means of 4x4 pixels around a block; what `has_texture` asks
_FLAT = 0.5  # codes: a block with less contrast tells nothing itself
LEAST_PIECE = 0.01  # of the picture: smaller pieces of a sharp part do not count
_CELL = 4  # pixels: the guided filter finds its coefficients on cells
_RADIUS = 5  # cells on each side of one that the guided filter looks at
_SMOOTHNESS = 0.002  # variance of gray, of 0 to 1, below which the guided filter takes a region for flat
_AROUND = 1  # blocks on each side of one in which its texture is measured
_MOST_ODDS = 8.0  # log-odds beyond are taken for these
_BESIDE = 0.02  # log-odds: what is nearer to 0 may change sides when a map is enlarged and rounded to 8 bits


@dataclass(frozen=True)
class Focus:
    """The part of a picture that is in focus.

    Parameters
    ----------
    share : float or None
        Of what is decided, 0 to 1; None if nothing is.
    pieces : int
        Number of connected pieces, without those below `LEAST_PIECE` of the picture.
    box : (int, int, int, int) or None
        Left, top, right and bottom of the largest piece, in pixels, right and bottom outside it; None without a piece.
    middle : (int, int) or None
        Its centre of mass, x and y in pixels.
    decided : float
        Share of the picture that is decided, 0 to 1.
    """

    share: float | None = None
    pieces: int = 0
    box: tuple[int, int, int, int] | None = None
    middle: tuple[int, int] | None = None
    decided: float = 0.0


def draw_map(places: NDArray[np.float32], gray: Gray, decision: str) -> NDArray[np.float32]:
    """Draw where a picture is blurred, in agreement with the decision on it.

    If the decision is ``sharp``, at least `FOCUS_SHARE` of the decided pixels are below 0.5; if it is ``blurred``, at
    most that share is. Where the blocks say otherwise, the log-odds of all pixels are shifted by as little as brings
    about agreement, so their order stays. Any other decision changes nothing.

    Parameters
    ----------
    places : ndarray of shape (ceil(height / 8), ceil(width / 8)), float32
        Log-odds of blurred of each block, as an explainer predicts them.
    gray : ndarray of shape (height, width), uint8
    decision : str
        One of `blurgate.judging.verdicts.DECISIONS`.

    Returns
    -------
    ndarray of shape (height, width), float32
        0 where the picture is surely sharp to 1 where it is surely blurred; NaN where nothing can be told: farther than
        `REACH` from any block with texture.

    Raises
    ------
    ValueError
        If `places` does not have a value for each block.

    References
    ----------
    .. [1] K. He, J. Sun and X. Tang, "Guided image filtering", ECCV 2010, doi:10.1007/978-3-642-15549-9_1.
    .. [2] K. He and J. Sun, "Fast guided filter", arXiv:1505.00996, 2015.

    Examples
    --------
    >>> draw_map(np.zeros((8, 8), np.float32), np.full((64, 64), 200, np.uint8), "sharp")[0, 0]
    np.float32(nan)
    """
    expected = tuple(-(-side // BLOCK) for side in gray.shape)
    if places.shape != expected:
        raise ValueError(f"places must have a value for each block, shape {expected}, got shape {places.shape}")
    cells = _shrink(gray)
    contrast = _measure_contrast(cells)
    filled, known = _fill(np.clip(places, -_MOST_ODDS, _MOST_ODDS), contrast)
    if not known.any():
        return np.full(gray.shape, np.nan, np.float32)
    odds = _guide(filled, cells, gray)
    decided = np.ones(gray.shape, bool) if known.all() else _enlarge_mask(known, gray.shape)
    odds += _find_shift(odds[decided], decision)
    drawn: NDArray[np.float32] = np.float32(1) / (np.float32(1) + np.exp(-odds))
    drawn[~decided] = np.nan
    return drawn


def find_focus(drawn: NDArray[np.float32]) -> Focus:
    """Find the part of a picture that is in focus, by its map.

    Parameters
    ----------
    drawn : ndarray of shape (height, width), float32
        As `draw_map` returns it: in focus is what is below 0.5.

    Returns
    -------
    Focus

    Examples
    --------
    >>> drawn = np.ones((64, 80), np.float32)
    >>> drawn[16:32, 8:40] = 0
    >>> find_focus(drawn)
    Focus(share=0.1, pieces=1, box=(8, 16, 40, 32), middle=(24, 24), decided=1.0)
    """
    decided, focused = ~np.isnan(drawn), drawn < 0.5
    total = int(decided.sum())
    if not total:
        return Focus()
    share, height, width = int(focused.sum()) / total, *drawn.shape
    blocks = 2 * _count_in_blocks(focused) > _count_in_blocks(decided)
    pieces = [piece for piece in _find_pieces(blocks) if len(piece) >= LEAST_PIECE * blocks.size]
    focus = Focus(round(share, 4), len(pieces), decided=round(total / drawn.size, 4))
    if not pieces:
        return focus
    rows, columns = max(pieces, key=len).T
    left, top = int(columns.min()) * BLOCK, int(rows.min()) * BLOCK
    right, bottom = min((int(columns.max()) + 1) * BLOCK, width), min((int(rows.max()) + 1) * BLOCK, height)
    x, y = (int((float(each.mean()) + 0.5) * BLOCK) for each in (columns, rows))
    return Focus(
        share=focus.share,
        pieces=focus.pieces,
        box=(left, top, right, bottom),
        middle=(min(x, width - 1), min(y, height - 1)),
        decided=focus.decided,
    )


def _shrink(gray: Gray) -> NDArray[np.float32]:
    """Compute the means of cells, at most 255, of whole blocks: the last pixels are repeated where one is not full."""
    missing = [(0, -side % BLOCK) for side in gray.shape]
    if any(count for _, count in missing):
        gray = np.pad(gray, missing, mode="edge")
    rows = gray.reshape(-1, _CELL, gray.shape[1]).sum(axis=1, dtype=np.uint16)
    total = sum((rows[:, place::_CELL] for place in range(1, _CELL)), start=rows[:, ::_CELL])
    return np.asarray(total / np.float32(_CELL**2), np.float32)


def _measure_contrast(cells: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure the standard deviation of the cells in and around each block."""
    planes = [cells.astype(np.float64), cells.astype(np.float64) ** 2]
    mean, square = (
        _average((each[::2, ::2] + each[1::2, ::2] + each[::2, 1::2] + each[1::2, 1::2]) / 4, _AROUND)
        for each in planes
    )
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0.0)))


def _fill(places: NDArray[np.float32], contrast: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Give flat blocks the mean of the nearest with texture; also return which blocks are decided.

    Those that are not get the mean of the others, so that they do not matter to the filter.
    """
    known = contrast >= LEAST_CONTRAST
    weights = known.astype(np.float64)
    filled, flat = places.astype(np.float64), contrast < _FLAT
    for radius in (1, 2, 4, REACH // BLOCK):
        weight = _average(weights, radius)
        near = ~known & (weight > 0.5 / (2 * radius + 1) ** 2)  # at least one block, whatever rounding does
        filled[near & flat] = _average(weights * places, radius)[near & flat] / weight[near & flat]
        known |= near
    filled[~known] = filled[known].mean() if known.any() else 0.0
    return filled, known


def _average(plane: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Compute the mean over the square of places around each place, as far as it lies in the plane."""
    for axis in (0, 1):
        length = plane.shape[axis]
        sums = np.insert(plane.cumsum(axis=axis), 0, 0.0, axis=axis)
        ends = np.minimum(np.arange(length) + radius + 1, length)
        starts = np.maximum(np.arange(length) - radius, 0)
        counts = (ends - starts).reshape((-1, 1) if axis == 0 else (1, -1))
        plane = (sums.take(ends, axis=axis) - sums.take(starts, axis=axis)) / counts
    return plane


def _guide(odds: NDArray[np.float64], cells: NDArray[np.float32], gray: Gray) -> NDArray[np.float32]:
    """Smooth the log-odds of blocks along the edges of the picture: -> those of pixels."""
    guide = cells.astype(np.float64) / 255
    values = stretch(odds.astype(np.float32), cells.shape[::-1], step=BLOCK // _CELL).astype(np.float64)
    mean, value = _average(guide, _RADIUS), _average(values, _RADIUS)
    variance = np.maximum(_average(guide**2, _RADIUS) - mean**2, 0.0)
    slope = (_average(guide * values, _RADIUS) - mean * value) / (variance + _SMOOTHNESS)
    offset = value - slope * mean
    size = gray.shape[::-1]
    slopes, offsets = (
        stretch(_average(each, _RADIUS).astype(np.float32), size, step=_CELL) for each in (slope / 255, offset)
    )
    drawn = slopes * gray
    drawn += offsets
    return drawn


def _find_shift(odds: NDArray[np.float32], decision: str) -> np.float32:
    """Find what to add to all log-odds so that they agree with the decision: 0 if they do, else no more than needed."""
    if decision not in ("sharp", "blurred"):
        return np.float32(0)
    wanted = FOCUS_SHARE * odds.size
    in_focus = int((odds < (-_BESIDE if decision == "sharp" else 0)).sum())
    if in_focus >= wanted if decision == "sharp" else in_focus <= wanted:
        return np.float32(0)
    rank = math.ceil(wanted) - 1 if decision == "sharp" else math.floor(wanted)
    aim = -2 * _BESIDE if decision == "sharp" else 2 * _BESIDE
    return np.float32(aim - float(np.partition(odds, rank)[rank]))


def _enlarge_mask(known: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return known.repeat(BLOCK, axis=0)[: shape[0]].repeat(BLOCK, axis=1)[:, : shape[1]]


def _count_in_blocks(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    rows, columns = (np.arange(0, side, BLOCK) for side in mask.shape)
    return np.asarray(np.add.reduceat(np.add.reduceat(mask, rows, axis=0, dtype=np.int64), columns, axis=1))


def _find_pieces(mask: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Find the connected pieces of a mask, by corners too: -> (row, column) of their places, in the order of rows.

    Each place takes the least number of its neighbours until none changes, and jumps to that number's own in between.
    """
    height, width = mask.shape
    numbers = np.full((height + 2, width + 2), mask.size, np.int64)  # a border, and all outside the mask: no number
    inner = numbers[1:-1, 1:-1]
    inner[mask] = np.flatnonzero(mask)
    while True:
        least = inner.copy()
        for down in range(3):
            for across in range(3):
                np.minimum(least, numbers[down : down + height, across : across + width], out=least)
        roots = np.append(np.where(mask, least, mask.size).ravel(), mask.size)
        jumped = roots[roots[roots]][:-1].reshape(mask.shape)
        if (jumped == inner).all():
            break
        inner[...] = jumped
    places, found = np.argwhere(mask), inner[mask]
    order = np.argsort(found, kind="stable")
    cuts = np.flatnonzero(np.diff(found[order])) + 1
    return np.split(places[order], cuts) if len(places) else []
