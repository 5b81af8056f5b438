"""Gray -> features, compiled: equal to `blurgate.measuring.features` up to rounding, and many times as fast.

One call measures all scales of a photo: blocks, DCT, energies, edges, percentiles. It releases the interpreter's lock,
and its memory belongs to the thread and is used again. `blurgate.measuring.machine_code` brings the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from threading import local
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from blurgate.measuring.blocks import BANDS, BLOCK
from blurgate.measuring.features import (
    DEFAULT_FEATURE_SET,
    POOLS,
    SCALES,
    BandGroup,
    EdgeGroup,
    FeatureGroup,
    FeatureSet,
    Percentile,
    block_statistics,
    find_feature_set,
    pool_scales,
)
from blurgate.measuring.machine_code import address_of, prepare
from blurgate.measuring.routines import (
    BYTES_PER_BLOCK,
    CLASSIC_STATISTICS,
    EDGE_STATISTICS,
    ENERGIES_AT,
    GROUP,
    HISTOGRAM_STEP,
    MARGIN,
    MAX_BLOCKS,
    N_VALUES,
)
from blurgate.photos.images import Gray, count_halvings

_KEPT = 2**21  # bytes of memory that a thread keeps: enough for photos of the size at which they are judged


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
    for _ in range(count_halvings(gray.shape[1], gray.shape[0], chosen.max_pixels)):
        gray = halve(gray)
    plan = _find_plan(feature_set, chosen)
    if plan is None or (gray.shape[0] // BLOCK) * (gray.shape[1] // BLOCK) > MAX_BLOCKS:
        (parts,) = pool_scales([np.ascontiguousarray(gray)], chosen, halve=halve, pool_groups=_pool_groups)
        return np.concatenate(parts)
    return plan.measure(gray)


def halve(gray: Gray) -> Gray:
    """Halve the height and width of a plane, like `blurgate.measuring.features.halve`."""
    half = np.empty((gray.shape[0] // 2, gray.shape[1] // 2), np.uint8)
    if half.size:
        gray = _with_whole_rows(gray)
        prepare().halve(address_of(gray), *gray.shape, gray.strides[0], address_of(half))
    return half


def measure_blocks(gray: Gray) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Measure the blocks of a plane without pooling them.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8

    Returns
    -------
    energies : ndarray of shape (3, n_blocks), float32
        Of each band and block.
    histograms : ndarray of shape (6, 256), int64
        Of the edge statistics, weighted by squared contrast, in the order of `EDGE_STATISTICS`.
    """
    count = (gray.shape[0] // BLOCK) * (gray.shape[1] // BLOCK)
    padded = -(-count // GROUP) * GROUP
    work = _Call(_BLOCKS).measure(gray)
    energies = work[ENERGIES_AT : ENERGIES_AT + 4 * len(BANDS) * padded].view(np.float32).reshape(len(BANDS), padded)
    histograms = work[: 8 * len(EDGE_STATISTICS) * HISTOGRAM_STEP].view(np.int64).reshape(-1, HISTOGRAM_STEP)
    return energies[:, :count].copy(), histograms[:, :N_VALUES].copy()


@dataclass(frozen=True, eq=False)
class _Plan:
    """How one call measures a feature set.

    Parameters
    ----------
    chosen : FeatureSet or None
    scales : int
        A bit for each scale that is measured.
    percents : ndarray, float64
        Percentiles of energies, ascending.
    shares : ndarray, int64
        Weighted percentiles of edge statistics.
    order : ndarray or None
        Which of the columns that are measured the feature set has; None for all, as they are.
    """

    chosen: FeatureSet | None
    scales: int
    percents: NDArray[np.float64]
    shares: NDArray[np.int64]
    order: NDArray[np.intp] | None

    @classmethod
    def make(cls, chosen: FeatureSet) -> _Plan | None:
        """Make the plan for a feature set, or None if it has other groups than percentiles of energies and of edges."""
        energies = [group for group in chosen.groups if _is_of_energies(group)]
        edges = [group for group in chosen.groups if isinstance(group, EdgeGroup)]
        if len(energies) + len(edges) < len(chosen.groups):
            return None
        names = sorted({pool for group in energies for pool in group.pools}, key=_percent_of)
        shares = sorted({percent for group in edges for percent in group.percents})
        measured = list(product(SCALES, BANDS, ("log_energy",), names))
        measured += [(scale, *pair, f"w{share}") for scale in SCALES for pair in EDGE_STATISTICS for share in shares]
        places = {"__".join(parts): place for place, parts in enumerate(measured)}
        order = np.asarray([places[column] for column in chosen.columns])
        return cls(
            chosen,
            sum(1 << SCALES.index(scale) for scale in {scale for group in chosen.groups for scale in group.scales}),
            np.asarray([_percent_of(name) for name in names], np.float64),
            np.asarray(shares, np.int64),
            None if np.array_equal(order, np.arange(len(measured))) else order,
        )

    def measure(self, gray: Gray) -> NDArray[np.float32]:
        """Measure a photo."""
        calls = _memory.__dict__.setdefault("calls", {})
        call = calls.get(self)
        if call is None:
            call = calls[self] = _Call(self)
        call.measure(gray)
        low, high = np.log1p(call.between[:2])
        low += (high - low) * call.between[2]
        columns = np.concatenate((low, call.edges))
        return columns if self.order is None else columns[self.order]


class _Call:
    """The arguments of a call that stay the same, on one thread."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        self.between = np.zeros((3, len(SCALES) * len(BANDS) * len(plan.percents)), np.float32)
        self.edges = np.zeros(len(SCALES) * len(EDGE_STATISTICS) * len(plan.shares), np.float32)
        self._code = prepare()
        self._before = (
            plan.scales,
            address_of(plan.percents),
            len(plan.percents),
            address_of(plan.shares),
            len(plan.shares),
        )
        self._after = (address_of(self.between), address_of(self.edges))

    def measure(self, gray: Gray) -> NDArray[np.uint8]:
        """Measure a plane; -> the memory of the routine, which the next call on this thread overwrites."""
        height, width = gray.shape
        smallest = self.plan.scales.bit_length() - 1
        if height >> smallest < BLOCK or width >> smallest < BLOCK:
            shape = (height >> smallest, width >> smallest)
            raise ValueError(f"gray must hold at least one block of 8x8 pixels, got shape {shape}")
        gray = _with_whole_rows(gray)
        work, address = _take_memory(height, width)
        self._code.measure(address_of(gray), height, width, gray.strides[0], *self._before, address, *self._after)
        return work


def _take_memory(height: int, width: int) -> tuple[NDArray[np.uint8], int]:
    """Take the memory of this thread, or more for a larger plane; -> it and its address."""
    size = ENERGIES_AT + ((height // BLOCK) * (width // BLOCK) + GROUP) * BYTES_PER_BLOCK
    size += (height // 2) * (width // 2) + (height // 4) * (width // 4) + 4 * MARGIN
    kept: tuple[NDArray[np.uint8], int] | None = getattr(_memory, "work", None)
    if kept is None or len(kept[0]) < size:
        work = np.empty(size, np.uint8)
        kept = (work, address_of(work))
        if size <= _KEPT:
            _memory.work = kept
    return kept


def _with_whole_rows(gray: Gray) -> Gray:
    """Copy a plane unless each of its rows is contiguous and follows the one before."""
    return gray if gray.strides[1] == 1 and gray.strides[0] >= gray.shape[1] else np.ascontiguousarray(gray)


def _is_of_energies(group: FeatureGroup) -> TypeGuard[BandGroup]:
    return (
        isinstance(group, BandGroup)
        and group.statistics == ("log_energy",)
        and all(isinstance(POOLS[pool], Percentile) for pool in group.pools)
    )


def _is_classic(group: FeatureGroup) -> TypeGuard[BandGroup]:
    return (
        isinstance(group, BandGroup) and set(group.statistics) <= set(CLASSIC_STATISTICS) and group.pools == ("mean",)
    )


def _percent_of(pool: str) -> float:
    percentile = POOLS[pool]
    return percentile.percent if isinstance(percentile, Percentile) else np.nan


def _find_plan(name: str, chosen: FeatureSet) -> _Plan | None:
    plan = _plans.get(name)
    if plan is None or plan.chosen is not chosen:
        plan = _plans[name] = _Plan.make(chosen)
    return plan


def _pool_groups(grays: Sequence[Gray], groups: Sequence[FeatureGroup]) -> list[list[NDArray[np.float32]]]:
    """Pool groups that no single call can measure, most of them as the reference does."""
    return [[_pool(group, gray) for gray in grays] for group in groups]


def _pool(group: FeatureGroup, gray: Gray) -> NDArray[np.float32]:
    if not _is_classic(group):
        return np.asarray(group.pool(block_statistics(gray, group)[0]))
    count = (gray.shape[0] // BLOCK) * (gray.shape[1] // BLOCK)
    if not count:
        raise ValueError(f"gray must hold at least one block of 8x8 pixels, got shape {gray.shape}")
    totals = np.empty((len(BANDS), len(CLASSIC_STATISTICS)))
    gray = _with_whole_rows(gray)
    prepare().sum_statistics(address_of(gray), *gray.shape, gray.strides[0], address_of(totals))
    columns = [CLASSIC_STATISTICS.index(statistic) for statistic in group.statistics]
    means = totals[np.ix_([list(BANDS).index(band) for band in group.bands], columns)] / count
    return np.asarray(means.ravel(), np.float32)


_memory = local()
_plans: dict[str, _Plan | None] = {}
_BLOCKS = _Plan(None, 1, np.asarray([50.0]), np.asarray([50], np.int64), None)
