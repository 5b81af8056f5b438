"""The size at which a photo is looked at, if its user chooses it, and gray -> the same, smaller."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Gray: TypeAlias = NDArray[np.uint8]  # (height, width)
At: TypeAlias = int | Literal["full"] | None

FULL = "full"
MIN_SIDE = 64  # pixels, eight blocks: the statistics of a smaller photo are mostly chance
_STRIP = 256  # rows that are averaged at once


def check_at(at: object) -> None:
    """Check the size at which photos are to be looked at.

    Parameters
    ----------
    at : int, 'full' or None
        The longer side, in pixels; the photo's own size; or None for the analysed size that a feature set has.

    Raises
    ------
    ValueError
        If it is something else, or less than `MIN_SIDE`.

    Examples
    --------
    >>> check_at("full")
    >>> check_at(2000)
    """
    is_side = isinstance(at, int) and not isinstance(at, bool) and at >= MIN_SIDE
    if at is not None and at != FULL and not is_side:
        raise ValueError(f"at must be full, or a longer side of at least {MIN_SIDE} pixels, got {at!r}")


def fit_side(width: int, height: int, side: int) -> tuple[int, int]:
    """Find the size of a picture that is shrunk until its longer side has `side` pixels, the shorter one `MIN_SIDE`.

    Parameters
    ----------
    width, height : int
        Of the picture, in pixels.
    side : int
        A picture whose longer side is no longer keeps its size.

    Returns
    -------
    width, height : int

    Examples
    --------
    >>> fit_side(4000, 3000, 1000), fit_side(640, 480, 1000), fit_side(20_000, 100, 1000)
    ((1000, 750), (640, 480), (12800, 64))
    """
    share = max(side / max(width, height), MIN_SIDE / min(width, height))
    return (width, height) if share >= 1 else (round(width * share), round(height * share))


def find_least_side(width: int, height: int) -> int:
    """Find the longer side that `fit_side` leaves a picture at least.

    Parameters
    ----------
    width, height : int
        Size of the picture, in pixels.

    Returns
    -------
    int

    Examples
    --------
    >>> find_least_side(4000, 3000), find_least_side(48, 40)
    (86, 48)
    """
    longer, shorter = max(width, height), min(width, height)
    return min(longer, -(-longer * MIN_SIDE // shorter))


def count_halvings_to(side: int, wanted: int) -> int:
    """Count the halvings of a longer side, half a pixel counted as one, that leave it at least as long as wanted.

    Parameters
    ----------
    side, wanted : int
        In pixels.

    Returns
    -------
    int

    Examples
    --------
    >>> count_halvings_to(4001, 1001), count_halvings_to(4000, 1001), count_halvings_to(640, 1000)
    (2, 1, 0)
    """
    halvings = 0
    while wanted <= -(-side >> (halvings + 1)) < side:
        halvings += 1
    return halvings


def shrink(gray: Gray, size: tuple[int, int]) -> Gray:
    """Shrink a plane, each pixel to the mean of the area that it covers.

    It is halved as long as that leaves it large enough, so that a half or a quarter is what a photo is halved to.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
    size : (int, int)
        New width and height, at least 1 and no larger than the plane.

    Returns
    -------
    ndarray of shape (new height, new width), uint8

    Examples
    --------
    >>> shrink(np.asarray([[0, 60, 120, 180]], np.uint8), (3, 1))
    array([[ 15,  90, 165]], dtype=uint8)
    """
    halvings = count_halvings_to(max(gray.shape), max(size))
    if halvings:
        gray = np.asarray(Image.fromarray(gray).reduce(2**halvings))
    if max(gray.shape) == max(size):  # and the other side too, but for how half a pixel is rounded
        return gray
    shrunk = np.empty((size[1], size[0]), np.uint8)
    rows, shares = _spread(gray.shape[0], size[1])
    for start in range(0, size[1], _STRIP):
        strip = slice(start, start + _STRIP)
        mean = _average(gray, rows[:, strip], shares[:, strip])
        across = _average(np.ascontiguousarray(mean.T), *_spread(gray.shape[1], size[0]))
        shrunk[strip] = np.rint(across.T)
    return shrunk


def _average(lines: NDArray[np.generic], taken: NDArray[np.intp], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average up to three neighbouring lines for each new one."""
    mean = np.zeros((taken.shape[1], lines.shape[1]), np.float32)
    for each, share in zip(taken, shares, strict=True):
        mean += lines[each] * share[:, np.newaxis]
    return mean


def _spread(length: int, shorter: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Spread lines over fewer, of which each covers less than two: -> lines that each covers, and their shares."""
    edges = np.arange(shorter + 1) * (length / shorter)
    first = np.floor(edges[:-1]).astype(np.intp)
    taken = first + np.arange(3)[:, np.newaxis]
    covered = np.minimum(edges[1:], taken + 1) - np.maximum(edges[:-1], taken)
    shares = np.clip(covered, 0, None) * (shorter / length)
    return np.minimum(taken, length - 1), shares.astype(np.float32)
