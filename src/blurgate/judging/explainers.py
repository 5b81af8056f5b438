"""Gray -> kind, strength and direction of its blur, and where it is blurred: a net that explains, not judges."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import NetError
from blurgate.judging.inputs import STRENGTH_OFFSET
from blurgate.judging.nets import OnnxFile, require_plane
from blurgate.judging.verdicts import KINDS, MIXED
from blurgate.measuring.blocks import BLOCK
from blurgate.photos.images import Gray

MULTIPLE = 64  # pixels: an explainer reads sides that are multiples of this
TRAINED_SIDE = 192  # pixels; shorter sides are extended by their mirror image
WINDOW = 384  # pixels: side of the window whose blur is estimated
SURE_KIND = 0.5  # probability from which on the most probable kind is named
WIDEST = 6.0  # upper bound of a strength divided by the lower one, plus a pixel each: beyond, there is no strength
_CELL = 32  # pixels: steps between windows
_PIECE, _MARGIN = 1536, 128  # pixels of a side that are mapped at once, and of these, too near the end to be kept
_MOST_READING = 1e6  # in size
READINGS = (*KINDS, "strength", "error", "cosine", "sine")  # see `Explainer`
EXPLAINER_ENDS = {"reading": (1, len(READINGS)), "map": (1, None, None)}


@dataclass(frozen=True)
class BlurEstimate:
    """The blur of a photo as its sharpest part shows it.

    Parameters
    ----------
    kinds : tuple of float
        Probability of each of `blurgate.judging.verdicts.KINDS`; they add up to 1.
    strength_px : float or None
        Second-moment radius of the blur, in pixels of the plane that was read; None if no edge tells it.
    interval_px : (float, float) or None
        Bounds between which it lies in nine of ten photos; None if there is no strength.
    angle_deg : float
        Direction in which the blur is longest, 0 to 180, counter-clockwise from the right.
    elongation : float
        Difference of the variances along and across that direction, divided by their sum: 0 for a round blur, 1 for a
        line.
    """

    kinds: tuple[float, ...]
    strength_px: float | None
    interval_px: tuple[float, float] | None
    angle_deg: float
    elongation: float

    @property
    def kind(self) -> str:
        """The most probable kind, or ``mixed`` if its probability is below `SURE_KIND`."""
        best = int(np.argmax(self.kinds))
        return KINDS[best] if self.kinds[best] >= SURE_KIND else MIXED

    @property
    def length_px(self) -> float | None:
        """Length of a straight motion with the variance along the blur, in pixels; None if there is no strength."""
        if self.strength_px is None:
            return None
        return self.strength_px * math.sqrt(6 * (1 + self.elongation))


@dataclass(frozen=True)
class Explainer(OnnxFile):
    """A net that explains photos of any size.

    Parameters
    ----------
    onnx : bytes
        Content of the ONNX file. Input: ``gray`` of shape (1, 1, height, width), 0 to 255, float32, sides multiples of
        64. Outputs: ``reading`` of shape (1, 7), the log-odds of `blurgate.judging.verdicts.KINDS`, log2 of the
        strength in pixels plus an offset, the log of its scale of error, and the direction as a vector of twice its
        angle; and ``map`` of shape (1, height / 8, width / 8), the log-odds of blurred of each block.
    """

    kind: ClassVar[str] = "explainer"
    remedy: ClassVar[str] = "copy the model again"

    def estimate(self, gray: Gray, *, spread: float) -> BlurEstimate:
        """Estimate the blur of a photo from the window of it that shows most detail.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8
        spread : float
            Scales of error from the estimate to the bounds of its interval.

        Returns
        -------
        BlurEstimate

        Raises
        ------
        NetError
            If ONNX Runtime is missing or broken, or the explainer is damaged or answers with other than finite numbers.
        ValueError
            If `gray` is not 2-D.
        """
        return to_estimate(self.read(gray), spread)

    def read(self, gray: Gray) -> NDArray[np.float64]:
        """Read the blur of a photo from the window of it that shows most detail; see `to_estimate`.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8

        Returns
        -------
        ndarray of shape (7,), float64
            In the order of `READINGS`.

        Raises
        ------
        NetError, ValueError
            As in `estimate`.
        """
        require_plane(gray)
        planes, _ = _fit(cut_window(gray, WINDOW))
        reading = np.asarray(self.run("reading", planes), dtype=np.float64)
        if reading.shape != EXPLAINER_ENDS["reading"] or not (np.abs(reading) <= _MOST_READING).all():  # NaN is not
            raise NetError(f"{self.name} must answer with finite numbers, got {reading.tolist()}: {self.remedy}")
        return np.asarray(reading[0])

    def predict_map(self, gray: Gray) -> NDArray[np.float32]:
        """Predict the log-odds of blurred of each block of a photo; a long side is read in several pieces.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8

        Returns
        -------
        ndarray of shape (ceil(height / 8), ceil(width / 8)), float32

        Raises
        ------
        NetError, ValueError
            As in `estimate`.
        """
        require_plane(gray)
        found = np.empty([-(-side // BLOCK) for side in gray.shape], np.float32)
        for rows in _cut_side(gray.shape[0]):
            for columns in _cut_side(gray.shape[1]):
                planes, (height, width) = _fit(gray[rows.read, columns.read])
                places = np.asarray(self.run("map", planes)[0], dtype=np.float32)
                if places.shape != (planes.shape[2] // BLOCK, planes.shape[3] // BLOCK):
                    raise NetError(
                        f"{self.name} must answer for each block, got a map of {places.shape}: {self.remedy}"
                    )
                places = places[:height, :width]
                found[rows.kept, columns.kept] = places[rows.of_answer, columns.of_answer]
        if not (np.abs(found) <= _MOST_READING).all():
            raise NetError(f"{self.name} must answer with finite numbers: {self.remedy}")
        return found


def name_readings(explainer: str) -> tuple[str, ...]:
    """Name the columns of a table that hold what an explainer reads; none if its name is empty.

    Examples
    --------
    >>> name_readings("explainer-1a2b3c4d")[:2]
    ('explainer-1a2b3c4d__defocus', 'explainer-1a2b3c4d__motion')
    """
    return tuple(f"{explainer}__{reading}" for reading in READINGS if explainer)


def cut_window(gray: Gray, side: int) -> Gray:
    """Cut the square window of a photo that shows most detail; a photo no larger than it stays whole.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
    side : int
        Of the window, in pixels, a multiple of 32.

    Returns
    -------
    ndarray of shape (min(height, side), min(width, side)), uint8
    """
    if max(gray.shape) <= side or min(gray.shape) < _CELL:
        return gray[:side, :side]
    cells = [length // _CELL for length in gray.shape]
    blocks = gray[: cells[0] * _CELL, : cells[1] * _CELL].reshape(cells[0], _CELL, cells[1], _CELL)[:, ::2, :, ::2]
    detail = np.sqrt(blocks.var(axis=(1, 3), dtype=np.float32))  # one strong edge is not all
    sums = np.pad(detail.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    down, across = (min(side // _CELL, count) for count in cells)
    windows = sums[down:, across:] - sums[:-down, across:] - sums[down:, :-across] + sums[:-down, :-across]
    top, left = (int(place) * _CELL for place in np.unravel_index(windows.argmax(), windows.shape))
    height, width = (min(side, length) for length in gray.shape)
    return gray[top : top + height, left : left + width]


class _Piece(NamedTuple):
    """A part of a side that is read at once, and the part of its answer that is kept: its edges lack surroundings."""

    read: slice  # pixels
    kept: slice  # blocks of the whole map
    of_answer: slice  # blocks of the answer


def _cut_side(length: int) -> Iterator[_Piece]:
    """Cut a side into pieces that overlap by twice `_MARGIN`; most photos are one piece."""
    step = _PIECE - 2 * _MARGIN
    count = 1 if length <= _PIECE else -(-(length - 2 * _MARGIN) // step)
    for number in range(count):
        start, end = number * step, length if number == count - 1 else number * step + _PIECE
        first = start + _MARGIN if number else 0
        last = end if number == count - 1 else end - _MARGIN
        kept = slice(first // BLOCK, -(-last // BLOCK))
        yield _Piece(slice(start, end), kept, slice(kept.start - start // BLOCK, kept.stop - start // BLOCK))


def to_estimate(reading: NDArray[np.float64], spread: float) -> BlurEstimate:
    """Turn what an explainer reads into an estimate.

    Parameters
    ----------
    reading : ndarray of shape (7,), float64
        In the order of `READINGS`.
    spread : float
        Scales of error from the estimate to the bounds of its interval.

    Returns
    -------
    BlurEstimate
    """
    odds = np.exp(reading[:3] - reading[:3].max())
    level, error = float(reading[3]), spread * math.exp(min(max(float(reading[4]), -5.0), 3.0))
    strength, low, high = (
        round(max(0.0, 2.0 ** min(each, 16.0) - STRENGTH_OFFSET), 3) for each in (level, level - error, level + error)
    )
    known = high + 1 <= WIDEST * (low + 1) and strength <= WINDOW  # more than it saw, nobody can tell
    return BlurEstimate(
        kinds=tuple(round(float(each), 4) for each in odds / odds.sum()),
        strength_px=strength if known else None,
        interval_px=(low, high) if known else None,
        angle_deg=round(math.degrees(math.atan2(reading[6], reading[5])) / 2 % 180, 1) % 180,
        elongation=min(1.0, math.hypot(reading[5], reading[6])),
    )


def _fit(gray: Gray) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Extend a plane by its mirror image to sides that an explainer reads; also return its size in blocks."""
    sides = [max(TRAINED_SIDE, -(-side // MULTIPLE) * MULTIPLE) for side in gray.shape]
    missing = [wanted - side for wanted, side in zip(sides, gray.shape, strict=True)]
    if any(missing):
        gray = np.pad(gray, [(0, count) for count in missing], mode="symmetric")
    rows, columns = (-(-(wanted - count) // BLOCK) for wanted, count in zip(sides, missing, strict=True))
    return gray[np.newaxis, np.newaxis].astype(np.float32), (rows, columns)
