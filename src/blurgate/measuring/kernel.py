"""Gray -> features, compiled: equal to `blurgate.measuring.features` up to rounding, and several times as fast.

One pass over the plane computes blocks, DCT and statistics. The innermost loops run over 32 blocks side by side, which
lets the compiler vectorise them. Only the block energies and the next smaller scale take memory in proportion to the
photo's size. The code releases the GIL. Compiling takes some seconds once; the result is cached on disk.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import needs_extra
from blurgate.measuring.blocks import BANDS, BLOCK, NOISE_FLOOR
from blurgate.measuring.edges import DIRECTIONS, EDGES, EQUAL_DIFFERENCES, FULL_CONTRAST, MIN_DIVISOR
from blurgate.measuring.features import (
    DEFAULT_FEATURE_SET,
    POOLS,
    BandGroup,
    EdgeGroup,
    FeatureGroup,
    Percentile,
    block_statistics,
    find_feature_set,
    pool_scales,
)
from blurgate.photos.images import Gray

with needs_extra("fast", "Compiled code"):
    import numba
    from numba.core import event


def _fit_log2_polynomial(degree: int = 6) -> tuple[np.float32, ...]:
    """Fit a polynomial in t to log2(1 + t) / t on [0, 1], at Chebyshev points; the error is about 1e-6."""
    t = (1 - np.cos((np.arange(48) + 0.5) * np.pi / 48)) / 2
    return tuple(map(np.float32, np.polynomial.polynomial.polyfit(t, np.log2(1 + t) / t, degree)))


_LANES = 32

# Rows 0 to 63 of an array hold pixels or coefficients; sums (or differences) and scratch follow. They share one array
# so that the compiler need not check whether several arrays overlap.
_SUMS, _SCRATCH = 64, 72  # first row of each
_PIXEL_ROWS, _WORK_ROWS = 72, 75

Lanes: TypeAlias = NDArray[Any]  # (n, _LANES): each row holds one quantity of 32 blocks
_BAND_ROWS = np.asarray(list(BANDS.values()))  # (3, 21): rows of each band's coefficients
_BAND_SIZE = _BAND_ROWS.shape[1]
_CLASSIC_STATISTICS = ("mean", "std", "skewness", "kurtosis", "entropy", "energy")  # in the order of `_add_statistics`
_EDGE_STATISTICS = list(product(DIRECTIONS, EDGES))  # in the order of `_compute_ratios`
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(math.cos(math.pi * k / 16) / 2) for k in range(1, 8))
_ZERO, _ONE, _THREE, _NOISE_FLOOR = np.float32(0), np.float32(1), np.float32(3), np.float32(NOISE_FLOOR)
_LN2 = np.float32(math.log(2))
_TINY = np.float32(1e-18)  # replaces zero divisors
# squared deviations below this fraction of the squared coefficients are rounding error: the coefficients are equal
_MIN_RELATIVE_SPREAD = np.float32(1e-11)
_INV_BAND_SIZE = np.float32(1 / _BAND_SIZE)
_A, _B, _C, _D, _E, _F, _G = _fit_log2_polynomial()

_OPTIONS = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
_inlined: Any = numba.njit(inline="always", **_OPTIONS)  # so that the compiler knows the shapes of its arrays


def _compiled(function: Callable[..., None]) -> Any:
    """Compile a function on its first call; cache the result on disk if a cache folder is writable."""
    try:
        return numba.njit(nogil=True, cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return numba.njit(nogil=True, **_OPTIONS)(function)


class _Plane:
    """One scale of a photo, measured once, on first access."""

    def __init__(self, gray: Gray) -> None:
        self.gray = gray
        self.count = (gray.shape[0] // BLOCK) * (gray.shape[1] // BLOCK)
        if not self.count:
            raise ValueError(f"gray must hold at least one block of 8x8 pixels, got shape {gray.shape}")

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """The six classic statistics of each band, averaged over blocks: shape (3, 6)."""
        totals = np.zeros((len(_BAND_ROWS), len(_CLASSIC_STATISTICS)))
        _sum_statistics(self.gray, totals)
        totals /= self.count
        return totals

    @cached_property
    def measured(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Energies of each band and block, and histograms of the edge statistics, weighted by squared contrast.

        The energies have the shape (3, n_blocks), the histograms (6, 256) with rows in the order of `_EDGE_STATISTICS`.
        """
        energies = np.empty((len(_BAND_ROWS), self.count), np.float32)
        histograms = np.zeros((len(_EDGE_STATISTICS), 256), np.int64)
        _measure_blocks(self.gray, energies, histograms)
        return energies, histograms


def extract_features(gray: Gray, feature_set: str = DEFAULT_FEATURE_SET) -> NDArray[np.float32]:
    """Compute the feature vector of a photo, like `blurgate.measuring.features.extract_features`.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
    feature_set : str
        A key of `blurgate.measuring.features.FEATURE_SETS`.

    Returns
    -------
    ndarray of shape (n_features,), float32

    Raises
    ------
    ValueError
        If `gray` is not a 2-D array of uint8 or is smaller than one block at the smallest scale, or if `feature_set` is
        unknown.
    """
    if gray.ndim != 2 or gray.dtype != np.uint8:
        raise ValueError(f"gray must be uint8 of shape (height, width), got {gray.dtype} of shape {gray.shape}")
    chosen = find_feature_set(feature_set)
    (parts,) = pool_scales([np.ascontiguousarray(gray)], chosen, halve=halve, pool_groups=_pool_groups)
    return np.concatenate(parts)


def prepare(feature_set: str = DEFAULT_FEATURE_SET) -> None:
    """Load the compiled code for a feature set, compiling it if needed.

    Logs one warning before compiling because that takes some seconds.
    """
    with event.install_listener("numba:compile", _CompileListener()):
        gray = np.zeros((64, 64), np.uint8)
        extract_features(gray, feature_set)
        gray.flags.writeable = False  # as decoded photos are: numba compiles for them apart
        extract_features(gray, feature_set)


class _CompileListener(event.Listener):  # type: ignore[misc]
    """Logs one warning when compiling starts; numba sends an event for each function that is not cached on disk."""

    warned = False

    def on_start(self, _: Any) -> None:
        if not self.warned:
            self.warned = True
            when = "once" if _measure_blocks.stats.cache_path else "on every run, as no cache folder can be written"
            logging.getLogger(__name__).warning("compiling the measuring code; this happens %s", when)

    def on_end(self, _: Any) -> None:
        pass


def halve(gray: Gray) -> Gray:
    """Halve the height and width of a plane, like `blurgate.measuring.features.halve`."""
    half = np.empty((gray.shape[0] // 2, gray.shape[1] // 2), np.uint8)
    _halve(gray, half)
    return half


def _pool_groups(grays: Sequence[Gray], groups: Sequence[FeatureGroup]) -> list[list[NDArray[np.float32]]]:
    planes = [_Plane(gray) for gray in grays]
    return [[_pool(group, plane) for plane in planes] for group in groups]


def _pool(group: FeatureGroup, plane: _Plane) -> NDArray[np.float32]:
    if isinstance(group, EdgeGroup):
        return _pool_edges(group, plane.measured[1])
    if group.statistics == ("log_energy",) and all(isinstance(POOLS[pool], Percentile) for pool in group.pools):
        return _pool_energies(group, plane.measured[0])
    if set(group.statistics) <= set(_CLASSIC_STATISTICS) and group.pools == ("mean",):
        columns = [_CLASSIC_STATISTICS.index(statistic) for statistic in group.statistics]
        return (
            plane.means[np.ix_([list(BANDS).index(band) for band in group.bands], columns)].ravel().astype(np.float32)
        )
    (measured,) = block_statistics(plane.gray, group)  # there is no compiled code for it
    return np.asarray(group.pool(measured))


def _pool_energies(group: BandGroup, energies: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute percentiles of log energies, taking the logarithm only of the energies that the percentiles use."""
    percentiles = [pool for pool in map(POOLS.get, group.pools) if isinstance(pool, Percentile)]
    positions = [percentile.place(energies.shape[1]) for percentile in percentiles]
    ranks = sorted({rank for below, above, _ in positions for rank in (below, above)})
    rows = energies[[list(BANDS).index(band) for band in group.bands]]
    log_energies = np.log1p(np.sort(rows, axis=1)[:, ranks])  # NumPy vectorises sort, but not partition
    logs = {rank: log_energies[:, column] for column, rank in enumerate(ranks)}
    pooled = [logs[below] + (logs[above] - logs[below]) * fraction for below, above, fraction in positions]
    return np.asarray(np.stack(pooled, axis=1).ravel(), dtype=np.float32)


def _pool_edges(group: EdgeGroup, histograms: NDArray[np.int64]) -> NDArray[np.float32]:
    rows = [_EDGE_STATISTICS.index(pair) for pair in product(group.directions, group.statistics)]
    cumulative = np.cumsum(histograms[rows], axis=1)
    percentiles = [np.argmax(cumulative * 100 >= cumulative[:, -1:] * percent, axis=1) for percent in group.percents]
    return np.stack(percentiles, axis=1).ravel().astype(np.float32)


@_compiled
def _sum_statistics(gray: Lanes, totals: Lanes) -> None:
    """Add the classic statistics of all blocks to `totals`, of shape (3, 6)."""
    pixels = np.empty((_PIXEL_ROWS, _LANES), np.int16)
    work = np.empty((_WORK_ROWS, _LANES), np.float32)
    by_lane = np.zeros((18, _LANES), np.float64)
    columns = gray.shape[1] // 8
    for row in range(gray.shape[0] // 8):
        for first in range(0, columns, _LANES):
            count = min(_LANES, columns - first)
            _load_blocks(gray, row, first, count, pixels)
            _transform_blocks(pixels, work)
            for band in range(3):
                _sum_powers(work, band)
                _sum_logs(work, band)
                _add_statistics(work, band, by_lane)
    for band in range(3):
        for statistic in range(6):
            for lane in range(_LANES):
                totals[band, statistic] += by_lane[6 * band + statistic, lane]


@_compiled
def _measure_blocks(gray: Lanes, energies: Lanes, histograms: Lanes) -> None:
    """Fill in the arrays that `_Plane.measured` returns."""
    pixels = np.empty((_PIXEL_ROWS, _LANES), np.int16)
    work = np.empty((_WORK_ROWS, _LANES), np.float32)
    ratios = np.empty((6, _LANES), np.int32)
    columns = gray.shape[1] // 8
    for row in range(gray.shape[0] // 8):
        for first in range(0, columns, _LANES):
            count = min(_LANES, columns - first)
            _load_blocks(gray, row, first, count, pixels)
            _transform_blocks(pixels, work)
            _sum_squares(work)
            _find_differences(pixels)
            _compute_ratios(pixels, ratios)
            for lane in range(count):
                block = row * columns + first + lane
                for band in range(3):
                    energies[band, block] = work[_SUMS + band, lane]
                contrast = np.int64(pixels[_SUMS + 6, lane] - pixels[_SUMS + 7, lane])
                for statistic in range(6):
                    histograms[statistic, ratios[statistic, lane]] += contrast * contrast


@_compiled
def _halve(gray: Lanes, half: Lanes) -> None:
    for y in range(half.shape[0]):
        for x in range(half.shape[1]):
            total = (
                np.uint16(gray[2 * y, 2 * x])
                + np.uint16(gray[2 * y, 2 * x + 1])
                + np.uint16(gray[2 * y + 1, 2 * x])
                + np.uint16(gray[2 * y + 1, 2 * x + 1])
            )
            half[y, x] = np.uint8((total + 2) >> 2)


@_inlined
def _load_blocks(gray: Lanes, row: int, first: int, count: int, pixels: Lanes) -> None:
    """Copy the pixels of up to 32 blocks of one row into lanes; lanes without a block are black."""
    if count < _LANES:
        pixels[:] = 0
    for y in range(8):
        for lane in range(count):
            for x in range(8):
                pixels[8 * y + x, lane] = gray[8 * row + y, 8 * (first + lane) + x]


@_inlined
def _transform_blocks(pixels: Lanes, work: Lanes) -> None:
    """Compute the 2-D DCT of each block after subtracting its first pixel; zero coefficients below the noise floor."""
    floats, integers = work.ravel(), pixels.ravel()
    for i in range(64 * _LANES):  # the compiler unrolls a loop over a single row and then does not vectorise it
        floats[i] = integers[i]
    for k in range(_LANES):
        work[_SUMS, k] = work[0, k]
    for y in range(0, 64, 8):
        for k in range(_LANES):
            first = work[_SUMS, k]
            work[y, k] -= first
            work[y + 1, k] -= first
            work[y + 2, k] -= first
            work[y + 3, k] -= first
            work[y + 4, k] -= first
            work[y + 5, k] -= first
            work[y + 6, k] -= first
            work[y + 7, k] -= first
    _transform_lines(work, 8, 1)
    _transform_lines(work, 1, 8)
    for i in range(64 * _LANES):
        floats[i] = floats[i] if abs(floats[i]) >= _NOISE_FLOOR else _ZERO


@_inlined
def _transform_lines(work: Lanes, line: int, n: int) -> None:
    """Compute the orthonormal DCT-II of eight lines, whose starts are `line` rows apart and whose elements `n` rows.

    Even coefficients come from sums of opposite elements (first and last, and so on), odd ones from their differences.
    """
    for index in range(8):
        i = index * line
        for k in range(_LANES):
            s0, d0 = work[i, k] + work[i + 7 * n, k], work[i, k] - work[i + 7 * n, k]
            s1, d1 = work[i + n, k] + work[i + 6 * n, k], work[i + n, k] - work[i + 6 * n, k]
            s2, d2 = work[i + 2 * n, k] + work[i + 5 * n, k], work[i + 2 * n, k] - work[i + 5 * n, k]
            s3, d3 = work[i + 3 * n, k] + work[i + 4 * n, k], work[i + 3 * n, k] - work[i + 4 * n, k]
            e0, e1, e2, e3 = s0 + s3, s1 + s2, s0 - s3, s1 - s2
            work[i, k] = _C4 * (e0 + e1)
            work[i + n, k] = _C1 * d0 + _C3 * d1 + _C5 * d2 + _C7 * d3
            work[i + 2 * n, k] = _C2 * e2 + _C6 * e3
            work[i + 3 * n, k] = _C3 * d0 - _C7 * d1 - _C1 * d2 - _C5 * d3
            work[i + 4 * n, k] = _C4 * (e0 - e1)
            work[i + 5 * n, k] = _C5 * d0 - _C1 * d1 + _C7 * d2 + _C3 * d3
            work[i + 6 * n, k] = _C6 * e2 - _C2 * e3
            work[i + 7 * n, k] = _C7 * d0 - _C5 * d1 + _C3 * d2 - _C1 * d3


@_inlined
def _sum_squares(work: Lanes) -> None:
    """Compute the energy of each band."""
    for band in range(3):
        for k in range(_LANES):
            work[_SUMS + band, k] = 0
        for j in range(_BAND_SIZE):
            i = _BAND_ROWS[band, j]
            for k in range(_LANES):
                work[_SUMS + band, k] += work[i, k] * work[i, k]


@_inlined
def _sum_powers(work: Lanes, band: int) -> None:
    """Compute, for a band's coefficients x: sum, mean, and sums of (x - mean)^2, (x - mean)^3, (x - mean)^4, x^2."""
    for row in range(6):
        for k in range(_LANES):
            work[_SUMS + row, k] = 0
    for j in range(_BAND_SIZE):
        i = _BAND_ROWS[band, j]
        for k in range(_LANES):
            work[_SUMS + 0, k] += work[i, k]
    for k in range(_LANES):
        work[_SUMS + 1, k] = work[_SUMS + 0, k] * _INV_BAND_SIZE
    for j in range(_BAND_SIZE):
        i = _BAND_ROWS[band, j]
        for k in range(_LANES):
            x = work[i, k]
            deviation = x - work[_SUMS + 1, k]
            squared = deviation * deviation
            work[_SUMS + 2, k] += squared
            work[_SUMS + 3, k] += squared * deviation
            work[_SUMS + 4, k] += squared * squared
            work[_SUMS + 5, k] += x * x


@_inlined
def _sum_logs(work: Lanes, band: int) -> None:
    """Sum |x| and |x| log2 |x| over a band's coefficients, after the six sums of `_sum_powers`."""
    for row in range(6, 8):
        for k in range(_LANES):
            work[_SUMS + row, k] = 0
    for j in range(_BAND_SIZE):
        _compute_log2(work, _BAND_ROWS[band, j])
        for k in range(_LANES):
            work[_SUMS + 6, k] += work[_SCRATCH + 0, k]
            work[_SUMS + 7, k] += work[_SCRATCH + 0, k] * work[_SCRATCH + 1, k]


@_inlined
def _compute_log2(work: Lanes, i: int) -> None:
    """Write |x| and log2 |x| of a row to the first two rows of scratch."""
    bits = work.view(np.int32)
    for k in range(_LANES):  # |x| = 2^exponent (1 + t)
        magnitude = bits[i, k] & 0x7FFFFFFF
        bits[_SCRATCH + 0, k] = magnitude
        bits[_SCRATCH + 1, k] = (magnitude & 0x7FFFFF) | 0x3F800000
        work[_SCRATCH + 2, k] = np.float32((magnitude >> 23) - 127)
    for k in range(_LANES):
        t = work[_SCRATCH + 1, k] - _ONE
        log2 = work[_SCRATCH + 2, k] + t * (_A + t * (_B + t * (_C + t * (_D + t * (_E + t * (_F + t * _G))))))
        work[_SCRATCH + 1, k] = log2


@_inlined
def _add_statistics(work: Lanes, band: int, totals: Lanes) -> None:
    """Compute statistics from sums and add them to the totals; all are zero in lanes without a block."""
    _compute_log2(work, _SUMS + 6)
    for k in range(_LANES):
        entropy = _LN2 * (work[_SCRATCH + 1, k] - work[_SUMS + 7, k] / max(work[_SUMS + 6, k], _TINY))
        work[_SCRATCH + 0, k] = entropy if work[_SUMS + 6, k] > _ZERO else _ZERO
    for k in range(_LANES):
        sum_of_squares, squared_deviations = work[_SUMS + 5, k], work[_SUMS + 2, k]
        variance = max(squared_deviations * _INV_BAND_SIZE, _TINY)
        std = np.sqrt(squared_deviations * _INV_BAND_SIZE)
        skewness = work[_SUMS + 3, k] * _INV_BAND_SIZE / (variance * np.sqrt(variance))
        kurtosis = work[_SUMS + 4, k] * _INV_BAND_SIZE / (variance * variance) - _THREE
        has_spread = squared_deviations > _MIN_RELATIVE_SPREAD * sum_of_squares
        work[_SUMS + 2, k] = skewness if has_spread else _ZERO
        work[_SUMS + 3, k] = kurtosis if has_spread else _ZERO
        work[_SUMS + 0, k] = work[_SUMS + 1, k]
        work[_SUMS + 1, k] = std
        work[_SUMS + 4, k] = work[_SCRATCH + 0, k]
    for statistic in range(6):
        for k in range(_LANES):
            totals[6 * band + statistic, k] += work[_SUMS + statistic, k]


@_inlined
def _find_differences(pixels: Lanes) -> None:
    """Find the largest differences over 1, 2 and 4 pixels in rows, then in columns; then maximum and minimum."""
    for row in range(6):
        for k in range(_LANES):
            pixels[_SUMS + row, k] = 0
    for k in range(_LANES):
        pixels[_SUMS + 6, k] = pixels[0, k]
        pixels[_SUMS + 7, k] = pixels[0, k]
    for i in range(64):
        for k in range(_LANES):
            pixels[_SUMS + 6, k] = max(pixels[_SUMS + 6, k], pixels[i, k])
            pixels[_SUMS + 7, k] = min(pixels[_SUMS + 7, k], pixels[i, k])
    for power in range(3):
        distance = 1 << power
        for line in range(8):
            for start in range(8 - distance):
                across, down = 8 * line + start, 8 * start + line
                for k in range(_LANES):
                    difference = np.int16(abs(pixels[across + distance, k] - pixels[across, k]))
                    pixels[_SUMS + power, k] = max(pixels[_SUMS + power, k], difference)
                    difference = np.int16(abs(pixels[down + 8 * distance, k] - pixels[down, k]))
                    pixels[_SUMS + 3 + power, k] = max(pixels[_SUMS + 3 + power, k], difference)


@_inlined
def _compute_ratios(pixels: Lanes, ratios: Lanes) -> None:
    """Compute rise and half_rise in any, horizontal and vertical direction.

    Float32 quotients round down correctly: each is an integer or at least 1/255 below the next one.
    """
    for k in range(_LANES):
        scale = np.float32(FULL_CONTRAST)
        contrast = np.float32(max(pixels[_SUMS + 6, k] - pixels[_SUMS + 7, k], MIN_DIVISOR))
        ratios[0, k] = np.int32(scale * np.float32(max(pixels[_SUMS + 0, k], pixels[_SUMS + 3, k])) / contrast)
        ratios[2, k] = np.int32(scale * np.float32(pixels[_SUMS + 0, k]) / contrast)
        ratios[4, k] = np.int32(scale * np.float32(pixels[_SUMS + 3, k]) / contrast)
    for k in range(_LANES):
        scale, maximum = np.float32(EQUAL_DIFFERENCES), np.float32(255)
        over_two = max(pixels[_SUMS + 1, k], pixels[_SUMS + 4, k])
        over_four = max(pixels[_SUMS + 2, k], pixels[_SUMS + 5, k])
        ratios[1, k] = np.int32(min(scale * np.float32(over_two) / np.float32(max(over_four, MIN_DIVISOR)), maximum))
        ratios[3, k] = np.int32(
            min(scale * np.float32(pixels[_SUMS + 1, k]) / np.float32(max(pixels[_SUMS + 2, k], MIN_DIVISOR)), maximum)
        )
        ratios[5, k] = np.int32(
            min(scale * np.float32(pixels[_SUMS + 4, k]) / np.float32(max(pixels[_SUMS + 5, k], MIN_DIVISOR)), maximum)
        )
