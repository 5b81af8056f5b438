"""Gray -> the part of it that is the photo, without frames, bars, page margins and rounded corners around it.

The edge of a frame is sharp however blurred the photo is, so it must go before anything is measured. Three tests
repeat on what remains until none finds more: lines at the border that have one colour, as bars and margins have; an
edge along the border that the photo beside it has no equal to, which finds frames that are too thin or too damaged by
compression to have one colour; and corners of one colour outside an arc.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Gray: TypeAlias = NDArray[np.uint8]  # (height, width)

TOLERANCE = 6  # codes from the colour of a line: dithering, a little noise
BAR_SHARE = 0.95  # of the pixels of a line that have its colour, if it is one of a bar
CLEAN_SHARE = 0.995  # the same where things in the photo, not an edge, end the colour: they stay whole
STEP_SHARE = 0.5  # of the pixels beside a bar that have another colour, if it ends at an edge; of text it is less
STRAIGHT = 0.8  # of the pixels further inside that have another colour: beside an edge there are nearly as many
EDGE_SHARE = 0.5  # of the pixels along an edge that stand out
WEAK_SHARE = 0.2  # the same beside a line of one colour, or if two other sides have an edge
EDGE_RATIO = 2  # a step stands out if it is so many times the largest of the steps further inside
EDGE_STEP = 6  # codes more than that
REACH = 8  # lines: a JPEG's block, which an edge damages as a whole
MARGIN = REACH + 2  # lines: a damaged edge, resized too
CRISP = 0.75  # of what the second line beside a bar differs from it, the first does too if nothing damaged the edge
CORNER_TOLERANCE = 20  # codes: blocks with an arc in them are damaged
CORNER_SHARE = 0.9  # of the pixels outside an arc that have the colour of the corner
ARC_SHARE = 0.6  # of the pixels just inside an arc that have another colour
ARC_BLUR = 1.5  # pixels on both sides of an arc that belong to neither
ARC_WIDTH = 4  # pixels: the strip just inside an arc
ARC_MARGIN = 2  # pixels: only the corners of what remains touch the arcs
MIN_DIAGONAL = 2  # pixels of a corner's colour along its diagonal
ROUNDS = 32  # frames in frames, at most

_SAMPLES = 64  # pixels per line that the first look takes
_LINES = 2 * REACH + 1  # per side that the first look takes
_FIRST_CHUNK, _CHUNK = 8, 64  # lines that are compared with a colour at a time: most bars end early
Bar: TypeAlias = tuple[int, int | None]  # lines of a bar; lines of its margin, None if it does not end at an edge

_DIAGONAL = 1 - np.sqrt(0.5)  # of the radius: from the corner of a square to the circle in it, along each side


class Box(NamedTuple):
    """A part of a picture, in pixels, as PIL counts: the right column and the bottom row are outside it."""

    left: int
    top: int
    right: int
    bottom: int


_NOTHING = Box(0, 0, 0, 0)  # to cut


def find_part(gray: Gray, *, min_side: int) -> Box:
    """Find the part of a picture that is the photo.

    A mirrored or rotated picture has the mirrored or rotated part.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
        BT.601 luma, 0 to 255.
    min_side : int
        At least so many pixels remain on each side; a side is left whole if what is around the photo leaves fewer.

    Returns
    -------
    Box
        The whole picture if there is nothing around the photo.

    Examples
    --------
    >>> photo = np.random.default_rng(0).integers(0, 256, (100, 120), np.uint8)
    >>> find_part(photo, min_side=64)
    Box(left=0, top=0, right=120, bottom=100)
    >>> find_part(np.pad(photo, ((0, 0), (40, 0))), min_side=64)
    Box(left=40, top=0, right=160, bottom=100)
    """
    box = Box(0, 0, gray.shape[1], gray.shape[0])
    for _ in range(ROUNDS):
        if max(gray.shape) <= min_side or min(gray.shape) < _LINES:
            break
        cut, again = _look_around(gray, min_side)
        if cut == _NOTHING:
            break
        box = Box(box.left + cut.left, box.top + cut.top, box.right - cut.right, box.bottom - cut.bottom)
        gray = _trim(gray, cut)
        if not again:
            break
    return box


def _look_around(gray: Gray, min_side: int) -> tuple[Box, bool]:
    """Find the lines to cut from each side, and whether an edge was cut, so that there may be more behind it."""
    first = _look_first(gray)
    uniform = _have_one_colour(first[0])
    bars: list[Bar] = [(0, None)] * 4
    inside = gray
    if any(uniform):
        sides = (gray.T, gray, gray.T[::-1], gray[::-1])  # left, top, right, bottom: the outermost line first
        bars = [_measure_bar(side) if one else (0, None) for side, one in zip(sides, uniform, strict=True)]
        inside = _trim(gray, _fit([lines for lines, _ in bars], [0] * 4, gray.shape, min_side))
    corner = _find_corner(inside)
    if corner:
        across, down = corner
        lines = [bar + reach for (bar, _), reach in zip(bars, (across, down) * 2, strict=True)]
        return Box(*_fit(lines, [ARC_MARGIN] * 4, gray.shape, min_side)), True
    edges = _find_edges(first, EDGE_SHARE)
    if inside is gray and not any(edges):
        return _NOTHING, False
    found = _find_frame(bars, edges, first)
    cut = _fit([lines for lines, _ in found], [margin or 0 for _, margin in found], gray.shape, min_side)
    return Box(*cut), any(margin is not None for _, margin in found)


def _find_frame(bars: Sequence[Bar], edges: Sequence[int], first: Gray) -> list[Bar]:
    """Add edges to sides without a bar, and to bars that do not end at one; a frame has an edge at most sides."""
    found = _add_edges(bars, edges)
    n_edges = sum(margin is not None for _, margin in found)
    if n_edges >= 2:
        found = _add_edges(found, _find_edges(first, WEAK_SHARE))
    if n_edges:
        found = [(lines, MARGIN if lines and margin is None else margin) for lines, margin in found]
    return found


def _add_edges(bars: Sequence[Bar], edges: Sequence[int]) -> list[Bar]:
    return [bar if bar[0] or not edge else (edge, MARGIN) for bar, edge in zip(bars, edges, strict=True)]


@lru_cache
def _spread(length: int) -> NDArray[np.intp]:
    """Positions spread over a line, the same from either end; a short line has some of them twice."""
    first = (2 * np.arange(_SAMPLES // 2) + 1) * length // (2 * _SAMPLES)
    return np.concatenate([first, length - 1 - first[::-1]])


def _look_first(gray: Gray) -> Gray:
    """Take some pixels of the outermost lines of each side: left, top, right, bottom; -> (`_LINES`, 4, `_SAMPLES`)."""
    if gray.flags.c_contiguous:
        return gray.reshape(-1).take(_places(*gray.shape))
    sides = (gray.T, gray, gray.T[::-1], gray[::-1])
    return np.stack([side[:_LINES, _spread(side.shape[1])] for side in sides], axis=1)


@lru_cache(maxsize=32)
def _places(height: int, width: int) -> NDArray[np.intp]:
    """Places of those pixels in the rows of a plane, one after the other: photos of one size share them."""
    line = np.arange(_LINES)[:, np.newaxis]
    rows, columns = _spread(height) * width, _spread(width)
    right, bottom = width - 1 - line, (height - 1 - line) * width
    return np.stack([rows + line, line * width + columns, rows + right, bottom + columns], axis=1)


def _have_one_colour(lines: Gray) -> list[bool]:
    """Check each line, one per row."""
    length, codes = lines.shape[1], lines.tobytes()
    rest = round(length * (1 - BAR_SHARE) / 2)

    def has_one(line: bytes) -> bool:
        ordered = sorted(line)
        return bool(ordered[-1 - rest] - ordered[rest] <= 2 * TOLERANCE)

    lines_of_codes = (codes[start : start + length] for start in range(0, len(codes), length))
    return [has_one(line[:: _SAMPLES // 16]) and has_one(line) for line in lines_of_codes]  # if a few differ, all do


def _measure_bar(side: Gray) -> Bar:
    """Count the lines that have the colour of the outermost one, and the lines that the edge behind them damages."""
    colour = _median(side[0])
    bar = _count_lines(side, colour, BAR_SHARE)
    if bar == len(side):
        return bar, None
    beside, further = (_share_of_others(side, bar + lines, colour) for lines in (REACH, 3 * REACH))
    if beside >= max(STEP_SHARE, STRAIGHT * further):
        return bar, _measure_margin(side, bar, colour)
    start = max(bar - 1, 0)
    first = side[start : start + _LINES, _spread(side.shape[1])]
    edge = _find_edges(first[:, np.newaxis], WEAK_SHARE)[0] if len(first) == _LINES else 0
    if edge:
        return start + edge, _measure_margin(side, start + edge, colour)
    bar = _count_lines(side, colour, CLEAN_SHARE)
    return (bar if bar >= REACH else 0), None


def _measure_margin(side: Gray, bar: int, colour: int) -> int:
    """Count the lines that an edge damages: none if it is as it was drawn, neither compressed nor resized."""
    if not bar or np.mean(_is_near(side[bar - 1], colour, 1)) < CLEAN_SHARE:
        return MARGIN
    beside = np.abs(side[bar : bar + REACH].astype(np.int16) - colour).mean(axis=1)
    crisp = len(beside) > 1 and beside[0] >= CRISP * beside[1] and beside[0] >= beside.max() / 2
    return 0 if crisp else MARGIN


def _count_lines(side: Gray, colour: int, share: float) -> int:
    start, chunk, least = 0, _FIRST_CHUNK, share * side.shape[1]
    while start < len(side):
        near = _is_near(side[start : start + chunk], colour, TOLERANCE)
        ends = np.flatnonzero(np.add.reduce(near.view(np.uint8), axis=1, dtype=np.uint32) < least)
        if len(ends):
            return start + int(ends[0])
        start, chunk = start + chunk, _CHUNK
    return len(side)


def _share_of_others(side: Gray, line: int, colour: int) -> float:
    near = _is_near(side[min(line, len(side) - 1)], colour, 2 * TOLERANCE)
    return 1 - np.count_nonzero(near) / len(near)


def _median(line: Gray) -> int:
    """Mean of the two middle codes, rounded down."""
    ordered = np.sort(line)
    return (int(ordered[(len(line) - 1) // 2]) + int(ordered[len(line) // 2])) // 2


def _is_near(codes: Gray, colour: int, tolerance: int) -> NDArray[np.bool_]:
    least, most = max(colour - tolerance, 0), min(colour + tolerance, 255)
    near: NDArray[np.bool_] = codes - np.uint8(least) <= most - least  # a darker code wraps around to a large one
    return near


def _find_edges(first: Gray, share: float) -> list[int]:
    """Count the lines outside the innermost edge that stands out, of each side; 0 if none does."""
    steps = np.maximum(first[1:], first[:-1])
    steps -= np.minimum(first[1:], first[:-1])
    inner = steps[2:]  # the step beside an edge may be a part of it
    largest = np.maximum(inner[:-1], inner[1:])
    largest = np.maximum(largest[:-2], largest[2:])
    largest = np.maximum(largest[:REACH], largest[3 : 3 + REACH])
    # in whole numbers, a step > EDGE_RATIO * largest + EDGE_STEP; what follows needs no wider type than theirs
    beyond = np.maximum(steps[:REACH], EDGE_STEP + 1 - EDGE_RATIO)
    beyond -= EDGE_STEP + 1 - EDGE_RATIO
    beyond //= EDGE_RATIO
    counts = np.add.reduce((beyond > largest).view(np.uint8), axis=2, dtype=np.uint8)
    least = share * first.shape[2]
    if counts.max() < least:
        return [0] * first.shape[1]
    return [int(np.flatnonzero(side)[-1]) + 1 if side.any() else 0 for side in (counts >= least).T]


def _find_corner(gray: Gray) -> tuple[int, int] | None:
    """Find how far to cut until rounded corners are gone: pixels from left and right, and from above and below."""
    colours = [gray.item(place) for place in ((0, 0), (0, -1), (-1, 0), (-1, -1))]
    if max(colours) - min(colours) > CORNER_TOLERANCE:
        return None
    colour = sum(colours) // 4
    corners = (gray, gray[:, ::-1], gray[::-1], gray[::-1, ::-1])
    diagonal = sorted(_count_diagonal(corner, colour) for corner in corners)[1]  # one may go on in the photo
    if diagonal < MIN_DIAGONAL:
        return None
    height, width = gray.shape
    radius = min((diagonal + 0.5) / _DIAGONAL, height / 2, width / 2)
    for across, down in ((radius, radius), (width / 2, height / 2)):
        if _has_arcs(corners, colour, across, down):
            return int(np.ceil(across * _DIAGONAL)), int(np.ceil(down * _DIAGONAL))
    return None


def _count_diagonal(corner: Gray, colour: int) -> int:
    near = _is_near(np.diagonal(corner), colour, CORNER_TOLERANCE)
    return int(near.argmin()) if not near.all() else len(near)


def _has_arcs(corners: Sequence[Gray], colour: int, across: float, down: float) -> bool:
    """Check that the corners have the colour outside the quarter of an ellipse, and another one inside it."""
    row, column = np.ogrid[: int(down), : int(across)]
    radius = np.hypot((column + 0.5) / across - 1, (row + 0.5) / down - 1)
    depth = (1 - radius) * min(across, down)  # pixels inside the arc, about
    outside, inside = depth < -ARC_BLUR, (depth > ARC_BLUR) & (depth < ARC_BLUR + ARC_WIDTH)
    if not (outside.any() and inside.any()):
        return False
    near = [_is_near(corner[: int(down), : int(across)], colour, CORNER_TOLERANCE) for corner in corners]
    clean = all(corner[outside].mean() >= CORNER_SHARE for corner in near)
    return clean and float(np.mean([corner[inside].mean() for corner in near])) <= 1 - ARC_SHARE


def _trim(gray: Gray, lines: Sequence[int]) -> Gray:
    left, top, right, bottom = lines
    return gray[top : gray.shape[0] - bottom, left : gray.shape[1] - right]


def _fit(lines: Sequence[int], margins: Sequence[int], shape: tuple[int, ...], min_side: int) -> list[int]:
    """Add the margins to the lines as far as the size allows; cut nothing across which it does not allow the lines."""
    cut = [0] * 4
    for near, far, length in ((0, 2, shape[1]), (1, 3, shape[0])):
        spare = length - min_side - lines[near] - lines[far]
        if spare < 0:
            continue
        share = spare // 2 if margins[near] and margins[far] else spare
        for side in (near, far):
            cut[side] = lines[side] + min(margins[side], share)
    return cut
