"""Gray -> features, compiled: what `blurgate.measuring.features` gives, but for rounding, and several times as fast.

Blocks, DCT and statistics are one pass over the plane. Thirty-two blocks lie side by side in the innermost loops: that
is what the compiler turns into vector instructions. Nothing of the photo's size is allocated but the energies of its
blocks and the next smaller scale, and the interpreter's lock is not held. The compiled code is kept on disk; compiling
it takes some seconds once.
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
from blurgate.measuring.edges import DIRECTIONS, EDGES, LEAST, SAME, WHOLE
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


def _fit_log2(degree: int = 6) -> tuple[np.float32, ...]:
    """Fit a polynomial in t to log2(1 + t) / t from 0 to 1, at Chebyshev's points: right to about 1e-6."""
    t = (1 - np.cos((np.arange(48) + 0.5) * np.pi / 48)) / 2
    return tuple(map(np.float32, np.polynomial.polynomial.polyfit(t, np.log2(1 + t) / t, degree)))


_LANES = 32

_S, _P = 64, 72  # rows of sums, or steps, and of scratch, after those of the 64 pixels or coefficients: in one array,
_PIXEL_ROWS, _WORK_ROWS = 72, 75  # since the compiler need not ask whether it overlaps another

Lanes: TypeAlias = NDArray[Any]  # (n, _LANES): a row holds the same of 32 blocks
_ORDER = np.asarray(list(BANDS.values()))  # (3, 21): which coefficients are in each band
_PER_BAND = _ORDER.shape[1]
_CLASSIC = ("mean", "std", "skewness", "kurtosis", "entropy", "energy")  # the order of `_add_blocks`
_SHARES = list(product(DIRECTIONS, EDGES))  # the order of `_divide_steps`
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(math.cos(math.pi * k / 16) / 2) for k in range(1, 8))
_ZERO, _ONE, _THREE, _ROUNDING = np.float32(0), np.float32(1), np.float32(3), np.float32(NOISE_FLOOR)
_LN2 = np.float32(math.log(2))
_TINY = np.float32(1e-18)  # in place of zero, to divide by
_ALIKE = np.float32(1e-11)  # share of the squares below which coefficients differ by no more than rounding
_SHARE = np.float32(1 / _PER_BAND)
_A, _B, _C, _D, _E, _F, _G = _fit_log2()

_OPTIONS = {"fastmath": {"contract", "nsz"}, "error_model": "numpy"}
_inlined: Any = numba.njit(inline="always", **_OPTIONS)  # so that the shapes of arrays are known in it


def _compiled(function: Callable[..., None]) -> Any:
    """Have a function compiled when it is first called, and kept on disk, if there is a place that can be written."""
    try:
        return numba.njit(nogil=True, cache=True, **_OPTIONS)(function)
    except RuntimeError:
        return numba.njit(nogil=True, **_OPTIONS)(function)


class _Plane:
    """One scale of a photo, measured when it is first asked for, and once."""

    def __init__(self, gray: Gray) -> None:
        self.gray = gray
        self.count = (gray.shape[0] // BLOCK) * (gray.shape[1] // BLOCK)
        if not self.count:
            raise ValueError(f"gray must hold at least one block of 8x8 pixels, got shape {gray.shape}")

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """The six classic statistics of each band, averaged over the blocks: (3, 6)."""
        totals = np.zeros((len(_ORDER), len(_CLASSIC)))
        _sum_statistics(self.gray, totals)
        totals /= self.count
        return totals

    @cached_property
    def measured(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Each block's energy in each band, and the squared contrast that lies on each share of each edge statistic.

        They are of shape (3, n_blocks) and (6, 256); the rows of the latter are in the order of `_SHARES`.
        """
        energies = np.empty((len(_ORDER), self.count), np.float32)
        weights = np.zeros((len(_SHARES), 256), np.int64)
        _compute_blocks(self.gray, energies, weights)
        return energies, weights


def extract_features(gray: Gray, feature_set: str = DEFAULT_FEATURE_SET) -> NDArray[np.float32]:
    """Sum up a photo; see `blurgate.measuring.features.extract_features`.

    Raises
    ------
    ValueError
        If `gray` is no 2-D array of uint8 or holds no whole block at the smallest scale, or there is no such feature
        set.
    """
    if gray.ndim != 2 or gray.dtype != np.uint8:
        raise ValueError(f"gray must be uint8 of shape (height, width), got {gray.dtype} of shape {gray.shape}")
    chosen = find_feature_set(feature_set)
    (parts,) = pool_scales([np.ascontiguousarray(gray)], chosen, halve=halve, pool_groups=_pool_groups)
    return np.concatenate(parts)


def prepare(feature_set: str = DEFAULT_FEATURE_SET) -> None:
    """Have ready what a feature set needs: from disk, or else compiled, which is said once since it takes a while."""
    with event.install_listener("numba:compile", _Announcer()):
        extract_features(np.zeros((64, 64), np.uint8), feature_set)


class _Announcer(event.Listener):  # type: ignore[misc]
    """Says that compiling has begun: numba tells of each function that it finds nowhere on disk."""

    begun = False

    def on_start(self, _: Any) -> None:
        if not self.begun:
            self.begun = True
            logging.getLogger(__name__).warning("compiling what measures the photos; it is kept for the next time")

    def on_end(self, _: Any) -> None:
        pass


def halve(gray: Gray) -> Gray:
    """Halve a plane's sides; see `blurgate.measuring.features.halve`."""
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
    if set(group.statistics) <= set(_CLASSIC) and group.pools == ("mean",):
        columns = [_CLASSIC.index(statistic) for statistic in group.statistics]
        return (
            plane.means[np.ix_([list(BANDS).index(band) for band in group.bands], columns)].ravel().astype(np.float32)
        )
    (measured,) = block_statistics(plane.gray, group)  # nothing is compiled for it
    return np.asarray(group.pool(measured))


def _pool_energies(group: BandGroup, energies: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take percentiles of log energies: of energies, that is, and the logarithm of those that are asked for."""
    percentiles = [pool for pool in map(POOLS.get, group.pools) if isinstance(pool, Percentile)]
    places = [percentile.place(energies.shape[1]) for percentile in percentiles]
    wanted = sorted({place for below, above, _ in places for place in (below, above)})
    rows = energies[[list(BANDS).index(band) for band in group.bands]]
    found = np.log1p(np.sort(rows, axis=1)[:, wanted])  # NumPy sorts with vector instructions, and partitions without
    logs = {place: found[:, number] for number, place in enumerate(wanted)}
    pooled = [logs[below] + (logs[above] - logs[below]) * share for below, above, share in places]
    return np.asarray(np.stack(pooled, axis=1).ravel(), dtype=np.float32)


def _pool_edges(group: EdgeGroup, weights: NDArray[np.int64]) -> NDArray[np.float32]:
    rows = [_SHARES.index(pair) for pair in product(group.directions, group.statistics)]
    reached = np.cumsum(weights[rows], axis=1)
    found = [np.argmax(reached * 100 >= reached[:, -1:] * percent, axis=1) for percent in group.percents]
    return np.stack(found, axis=1).ravel().astype(np.float32)


@_compiled
def _sum_statistics(gray: Lanes, totals: Lanes) -> None:
    pixels = np.empty((_PIXEL_ROWS, _LANES), np.int16)
    work = np.empty((_WORK_ROWS, _LANES), np.float32)
    by_lane = np.zeros((18, _LANES), np.float64)
    columns = gray.shape[1] // 8
    for row in range(gray.shape[0] // 8):
        for first in range(0, columns, _LANES):
            count = min(_LANES, columns - first)
            _load(gray, row, first, count, pixels)
            _transform(pixels, work)
            for band in range(3):
                _sum_powers(work, band)
                _sum_logs(work, band)
                _add_blocks(work, band, by_lane)
    for band in range(3):
        for statistic in range(6):
            for lane in range(_LANES):
                totals[band, statistic] += by_lane[6 * band + statistic, lane]


@_compiled
def _compute_blocks(gray: Lanes, energies: Lanes, weights: Lanes) -> None:
    pixels = np.empty((_PIXEL_ROWS, _LANES), np.int16)
    work = np.empty((_WORK_ROWS, _LANES), np.float32)
    shares = np.empty((6, _LANES), np.int32)
    columns = gray.shape[1] // 8
    for row in range(gray.shape[0] // 8):
        for first in range(0, columns, _LANES):
            count = min(_LANES, columns - first)
            _load(gray, row, first, count, pixels)
            _transform(pixels, work)
            _sum_squares(work)
            _find_steps(pixels)
            _divide_steps(pixels, shares)
            for lane in range(count):
                block = row * columns + first + lane
                for band in range(3):
                    energies[band, block] = work[_S + band, lane]
                contrast = np.int64(pixels[_S + 6, lane] - pixels[_S + 7, lane])
                for share in range(6):
                    weights[share, shares[share, lane]] += contrast * contrast


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
def _load(gray: Lanes, row: int, first: int, count: int, pixels: Lanes) -> None:
    """Lay the pixels of up to 32 blocks of a row side by side; lanes without a block are black."""
    if count < _LANES:
        pixels[:] = 0
    for y in range(8):
        for lane in range(count):
            for x in range(8):
                pixels[8 * y + x, lane] = gray[8 * row + y, 8 * (first + lane) + x]


@_inlined
def _transform(pixels: Lanes, work: Lanes) -> None:
    """Take each block's 2-D DCT, its first pixel taken off before; what is rounding becomes zero."""
    floats, whole = work.ravel(), pixels.ravel()
    for i in range(64 * _LANES):  # loops over one row alone the compiler unrolls and then leaves as they are
        floats[i] = whole[i]
    for k in range(_LANES):
        work[_S, k] = work[0, k]
    for y in range(0, 64, 8):
        for k in range(_LANES):
            first = work[_S, k]
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
        floats[i] = floats[i] if abs(floats[i]) >= _ROUNDING else _ZERO


@_inlined
def _transform_lines(work: Lanes, line: int, n: int) -> None:
    """Take the orthonormal DCT-II of eight lines that begin `line` apart; n lies between a line's numbers.

    The even and the odd coefficients come from the sums and the differences of what lies opposite.
    """
    for number in range(8):
        i = number * line
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
    for band in range(3):
        for k in range(_LANES):
            work[_S + band, k] = 0
        for j in range(_PER_BAND):
            i = _ORDER[band, j]
            for k in range(_LANES):
                work[_S + band, k] += work[i, k] * work[i, k]


@_inlined
def _sum_powers(work: Lanes, band: int) -> None:
    """Sum x, its mean, (x - mean)^2, ^3, ^4 and x^2 over a band's coefficients, in this order."""
    for row in range(6):
        for k in range(_LANES):
            work[_S + row, k] = 0
    for j in range(_PER_BAND):
        i = _ORDER[band, j]
        for k in range(_LANES):
            work[_S + 0, k] += work[i, k]
    for k in range(_LANES):
        work[_S + 1, k] = work[_S + 0, k] * _SHARE
    for j in range(_PER_BAND):
        i = _ORDER[band, j]
        for k in range(_LANES):
            x = work[i, k]
            deviation = x - work[_S + 1, k]
            squared = deviation * deviation
            work[_S + 2, k] += squared
            work[_S + 3, k] += squared * deviation
            work[_S + 4, k] += squared * squared
            work[_S + 5, k] += x * x


@_inlined
def _sum_logs(work: Lanes, band: int) -> None:
    """Sum |x| and |x| log2 |x| over a band's coefficients, after the six sums of `_sum_powers`."""
    for row in range(6, 8):
        for k in range(_LANES):
            work[_S + row, k] = 0
    for j in range(_PER_BAND):
        _take_log2(work, _ORDER[band, j])
        for k in range(_LANES):
            work[_S + 6, k] += work[_P + 0, k]
            work[_S + 7, k] += work[_P + 0, k] * work[_P + 1, k]


@_inlined
def _take_log2(work: Lanes, i: int) -> None:
    """Write |x| and log2 |x| of a row into the two first rows of scratch."""
    bits = work.view(np.int32)
    for k in range(_LANES):  # |x| = 2^exponent (1 + t)
        size = bits[i, k] & 0x7FFFFFFF
        bits[_P + 0, k] = size
        bits[_P + 1, k] = (size & 0x7FFFFF) | 0x3F800000
        work[_P + 2, k] = np.float32((size >> 23) - 127)
    for k in range(_LANES):
        t = work[_P + 1, k] - _ONE
        log2 = work[_P + 2, k] + t * (_A + t * (_B + t * (_C + t * (_D + t * (_E + t * (_F + t * _G))))))
        work[_P + 1, k] = log2


@_inlined
def _add_blocks(work: Lanes, band: int, totals: Lanes) -> None:
    """Turn sums into statistics, and add them up; all of them are zero in a lane without a block."""
    _take_log2(work, _S + 6)
    for k in range(_LANES):
        entropy = _LN2 * (work[_P + 1, k] - work[_S + 7, k] / max(work[_S + 6, k], _TINY))
        work[_P + 0, k] = entropy if work[_S + 6, k] > _ZERO else _ZERO
    for k in range(_LANES):
        squares, summed = work[_S + 5, k], work[_S + 2, k]
        variance = max(summed * _SHARE, _TINY)
        deviation = np.sqrt(summed * _SHARE)
        cubed = work[_S + 3, k] * _SHARE / (variance * np.sqrt(variance))
        fourth = work[_S + 4, k] * _SHARE / (variance * variance) - _THREE
        differ = summed > _ALIKE * squares
        work[_S + 2, k] = cubed if differ else _ZERO
        work[_S + 3, k] = fourth if differ else _ZERO
        work[_S + 0, k] = work[_S + 1, k]
        work[_S + 1, k] = deviation
        work[_S + 4, k] = work[_P + 0, k]
    for statistic in range(6):
        for k in range(_LANES):
            totals[6 * band + statistic, k] += work[_S + statistic, k]


@_inlined
def _find_steps(pixels: Lanes) -> None:
    """Find the largest differences over 1, 2, 4 pixels in rows, then in columns, then the brightest and the darkest."""
    for row in range(6):
        for k in range(_LANES):
            pixels[_S + row, k] = 0
    for k in range(_LANES):
        pixels[_S + 6, k] = pixels[0, k]
        pixels[_S + 7, k] = pixels[0, k]
    for i in range(64):
        for k in range(_LANES):
            pixels[_S + 6, k] = max(pixels[_S + 6, k], pixels[i, k])
            pixels[_S + 7, k] = min(pixels[_S + 7, k], pixels[i, k])
    for power in range(3):
        distance = 1 << power
        for line in range(8):
            for place in range(8 - distance):
                across, down = 8 * line + place, 8 * place + line
                for k in range(_LANES):
                    step = np.int16(abs(pixels[across + distance, k] - pixels[across, k]))
                    pixels[_S + power, k] = max(pixels[_S + power, k], step)
                    step = np.int16(abs(pixels[down + 8 * distance, k] - pixels[down, k]))
                    pixels[_S + 3 + power, k] = max(pixels[_S + 3 + power, k], step)


@_inlined
def _divide_steps(pixels: Lanes, shares: Lanes) -> None:
    """Take rise and half_rise in any, horizontal and vertical direction.

    In float32 these quotients are rounded down rightly: they are at least 1/255 away from the next whole number.
    """
    for k in range(_LANES):
        across, whole = np.float32(max(pixels[_S + 6, k] - pixels[_S + 7, k], LEAST)), np.float32(WHOLE)
        shares[0, k] = np.int32(whole * np.float32(max(pixels[_S + 0, k], pixels[_S + 3, k])) / across)
        shares[2, k] = np.int32(whole * np.float32(pixels[_S + 0, k]) / across)
        shares[4, k] = np.int32(whole * np.float32(pixels[_S + 3, k]) / across)
    for k in range(_LANES):
        same, most = np.float32(SAME), np.float32(255)
        half, full = max(pixels[_S + 1, k], pixels[_S + 4, k]), max(pixels[_S + 2, k], pixels[_S + 5, k])
        shares[1, k] = np.int32(min(same * np.float32(half) / np.float32(max(full, LEAST)), most))
        shares[3, k] = np.int32(
            min(same * np.float32(pixels[_S + 1, k]) / np.float32(max(pixels[_S + 2, k], LEAST)), most)
        )
        shares[5, k] = np.int32(
            min(same * np.float32(pixels[_S + 4, k]) / np.float32(max(pixels[_S + 5, k], LEAST)), most)
        )
