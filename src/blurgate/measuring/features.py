"""Gray -> features: one vector for each photo.

Written on the Python array API standard, like `blurgate.measuring.blocks` and `blurgate.measuring.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blurgate.measuring.arrays import Array, array_namespace
from blurgate.measuring.blocks import BANDS, BLOCK, split_blocks, take_band, transform_blocks
from blurgate.measuring.edges import DIRECTIONS, EDGES, contrast
from blurgate.measuring.statistics import STATISTICS
from blurgate.photos.images import count_halvings

DEFAULT_FEATURE_SET = "block99"

# blocks at a time: on a CPU few enough to stay in the cache, many enough to keep threads out of each other's way; on a
# GPU as many as several photos have, since each step costs its start
_CHUNK, _CHUNK_OF_A_GPU = 2**12, 2**17


@dataclass(frozen=True)
class BandGroup:
    """Columns from frequency bands: every statistic of every band at every scale, pooled in every way.

    Parameters
    ----------
    scales, bands, statistics, pools : tuple of str
        Names out of `SCALES`, `BANDS`, `STATISTICS` and `POOLS`.
    """

    scales: tuple[str, ...]
    bands: tuple[str, ...]
    statistics: tuple[str, ...]
    pools: tuple[str, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Column names, each of the form ``scale__band__statistic__pool``."""
        return tuple("__".join(parts) for parts in product(self.scales, self.bands, self.statistics, self.pools))

    def compute(self, blocks: Array, coefficients: Array) -> Array:
        """Measure blocks: -> (n_blocks, n_bands * n_statistics), float32; statistics in the inner order."""
        bands = [take_band(coefficients, band) for band in self.bands]
        columns = [STATISTICS[statistic](band) for band in bands for statistic in self.statistics]
        return array_namespace(blocks).stack(columns, axis=1)

    def pool(self, measured: Array) -> Array:
        """Sum up what `compute` gave: -> (n_columns,) of one scale, float32."""
        xp = array_namespace(measured)
        ordered = xp.sort(measured, axis=0)
        return xp.reshape(xp.stack([POOLS[pool](ordered) for pool in self.pools], axis=1), (-1,))


@dataclass(frozen=True)
class EdgeGroup:
    """Columns from edges: percentiles of every statistic in every direction at every scale, weighted by contrast.

    A block weighs as the square of its range: the strongest edges of a photo say how sharp it is, and what they say is
    the same in a dark photo as in a bright one.

    Parameters
    ----------
    scales, directions, statistics : tuple of str
        Names out of `SCALES`, `DIRECTIONS` and `EDGES`.
    percents : tuple of int
        The first value with so many percent of the weight on blocks that have it or less.
    """

    scales: tuple[str, ...]
    directions: tuple[str, ...]
    statistics: tuple[str, ...]
    percents: tuple[int, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Column names, each of the form ``scale__direction__statistic__pool``."""
        pools = [f"w{percent}" for percent in self.percents]
        return tuple("__".join(parts) for parts in product(self.scales, self.directions, self.statistics, pools))

    def compute(self, blocks: Array, coefficients: Array) -> Array:  # noqa: ARG002 as in BandGroup
        """Measure blocks: -> (n_blocks, n_directions * n_statistics), int32.

        Each holds the statistic in its upper bits and the block's weight in its lower sixteen, so that one sort brings
        both in order.
        """
        xp = array_namespace(blocks)
        flat = xp.reshape(xp.astype(blocks, xp.int16), (-1, BLOCK * BLOCK))
        planes = xp.stack([flat[:, place] for place in range(BLOCK * BLOCK)])  # in memory the blocks run fastest
        pixels = xp.reshape(planes, (BLOCK, BLOCK, -1))
        weight = xp.astype(contrast(pixels), xp.int32) ** 2
        shares = [
            EDGES[statistic](pixels, direction) for direction, statistic in product(self.directions, self.statistics)
        ]
        return xp.stack([share * 2**16 + weight for share in shares], axis=1)

    def pool(self, measured: Array) -> Array:
        """Sum up what `compute` gave: -> (n_columns,) of one scale, float32."""
        xp = array_namespace(measured)
        ordered = xp.sort(measured, axis=0)
        share, reached = ordered // 2**16, xp.cumulative_sum(xp.astype(ordered % 2**16, xp.int64), axis=0)
        largest = xp.full_like(share, 255)
        found = [
            xp.min(xp.where(reached * 100 >= reached[-1:, :] * percent, share, largest), axis=0)
            for percent in self.percents
        ]
        return xp.astype(xp.reshape(xp.stack(found, axis=1), (-1,)), xp.float32)


FeatureGroup: TypeAlias = BandGroup | EdgeGroup


@dataclass(frozen=True)
class FeatureSet:
    """What is measured on a photo, in the order of its columns.

    Parameters
    ----------
    groups : tuple of BandGroup and EdgeGroup
    texture : str
        The column that says whether there is anything to judge in the photo.
    least_texture : float
        Below it there is too little.
    max_pixels : int, optional
        A larger photo is halved until it has no more before it is looked at; by default it is looked at as it is.
    """

    groups: tuple[FeatureGroup, ...]
    texture: str
    least_texture: float
    max_pixels: int | None = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Column names, group by group."""
        return tuple(column for group in self.groups for column in group.columns)


def block_statistics(gray: Array, *groups: FeatureGroup) -> list[Array]:
    """Measure every block for several groups at once: each block is transformed once.

    Parameters
    ----------
    gray : array of shape (height, width), uint8
        At the scale that is to be measured.
    groups : BandGroup or EdgeGroup

    Returns
    -------
    list of arrays of shape (n_blocks, n)
        One for each group: what its ``compute`` gives.
    """
    return _compute_blocks(split_blocks(gray), groups)


def extract_features(gray: Array, feature_set: str = DEFAULT_FEATURE_SET) -> Array:
    """Sum up a photo.

    Parameters
    ----------
    gray : array of shape (height, width), uint8
        Luma; a NumPy array or a torch tensor on any device.
    feature_set : str
        A name out of `FEATURE_SETS`.

    Returns
    -------
    array of shape (n_features,), float32
        Of the same library and device as `gray`; ``FEATURE_SETS[feature_set].columns`` names its entries.

    Raises
    ------
    ValueError
        If `gray` is not 2-D or holds no whole block at the smallest scale, or there is no such feature set.

    Examples
    --------
    >>> gray = np.zeros((64, 64), np.uint8)
    >>> dict(zip(FEATURE_SETS["dct18"].columns, extract_features(gray, "dct18")))["1__low__energy__mean"]
    np.float32(0.0)
    """
    return extract_many([gray], feature_set)[0]


def extract_many(planes: Sequence[Array], feature_set: str = DEFAULT_FEATURE_SET) -> list[Array]:
    """Sum up photos that lie on one device: their blocks go through each step together.

    Worth it where a step costs more to begin than to do, as on a GPU.

    Parameters
    ----------
    planes : sequence of arrays of shape (height, width), uint8
        Of one library and device; they may differ in size.
    feature_set : str
        A name out of `FEATURE_SETS`.

    Returns
    -------
    list of arrays of shape (n_features,), float32
        What `extract_features` gives for each.

    Raises
    ------
    ValueError
        As `extract_features`.
    """
    chosen = find_feature_set(feature_set)
    for gray in planes:
        if gray.ndim != 2:
            raise ValueError(f"gray must be 2-D (height, width), got shape {tuple(gray.shape)}")
    pooled = pool_scales(planes, chosen, halve=halve, pool_groups=_pool_groups)
    return [array_namespace(parts[0]).concat(parts) for parts in pooled]


def pool_scales(
    planes: Sequence[Array],
    chosen: FeatureSet,
    *,
    halve: Callable[[Array], Array],
    pool_groups: Callable[[Sequence[Array], Sequence[FeatureGroup]], Sequence[Sequence[Array]]],
) -> list[list[Array]]:
    """Look at photos at one scale after the other; of each, give each group's columns at each of its scales, in order.

    Parameters
    ----------
    planes : sequence of arrays of shape (height, width), uint8
    chosen : FeatureSet
    halve : callable
        Halves a plane's sides.
    pool_groups : callable
        Planes at one scale and groups -> for each group, its columns for each plane.
    """
    for place, gray in enumerate(planes := list(planes)):
        for _ in range(count_halvings(gray.shape[1], gray.shape[0], chosen.max_pixels)):
            planes[place] = halve(planes[place])
    pooled: dict[tuple[int, str], Sequence[Array]] = {}
    for scale in SCALES[: 1 + max(SCALES.index(scale) for group in chosen.groups for scale in group.scales)]:
        planes = planes if scale == SCALES[0] else [halve(gray) for gray in planes]
        here = [number for number, group in enumerate(chosen.groups) if scale in group.scales]
        found = pool_groups(planes, [chosen.groups[number] for number in here]) if here else []
        pooled.update({(number, scale): columns for number, columns in zip(here, found, strict=True)})
    parts = [pooled[number, scale] for number, group in enumerate(chosen.groups) for scale in group.scales]
    return [[part[place] for part in parts] for place in range(len(planes))]


def _pool_groups(planes: Sequence[Array], groups: Sequence[FeatureGroup]) -> list[list[Array]]:
    xp = array_namespace(planes[0])
    blocks = [split_blocks(gray) for gray in planes]
    ends = list(accumulate((some.shape[0] for some in blocks), initial=0))
    measured = _compute_blocks(blocks[0] if len(blocks) == 1 else xp.concat(blocks), groups)
    return [
        [group.pool(columns[start:end, :]) for start, end in pairwise(ends)]
        for group, columns in zip(groups, measured, strict=True)
    ]


def _compute_blocks(blocks: Array, groups: Sequence[FeatureGroup]) -> list[Array]:
    """Measure blocks for several groups; each is transformed once, and few at a time."""
    xp = array_namespace(blocks)
    count, step = blocks.shape[0], _CHUNK if "cpu" in str(blocks.device).lower() else _CHUNK_OF_A_GPU
    chunks = []
    for start in range(0, count, step):
        some = blocks[start : min(start + step, count), :, :]
        coefficients = transform_blocks(some)
        chunks.append([group.compute(some, coefficients) for group in groups])
    return [xp.concat(list(parts), axis=0) for parts in zip(*chunks, strict=True)]


def has_texture(features: NDArray[np.float32], feature_set: str) -> NDArray[np.bool_]:
    """Say of each row of features whether there is anything to judge in its photo.

    Parameters
    ----------
    features : ndarray of shape (n_photos, n_columns), float32
        The columns of the feature set; others may follow.
    feature_set : str
        A name out of `FEATURE_SETS`.

    Returns
    -------
    ndarray of shape (n_photos,), bool
    """
    chosen = find_feature_set(feature_set)
    return np.asarray(features[:, chosen.columns.index(chosen.texture)] >= chosen.least_texture)


def halve(gray: Array) -> Array:
    """Halve a plane's sides: the mean of each 2x2 pixels, halves rounded up; an odd row or column is dropped.

    Examples
    --------
    >>> halve(np.asarray([[1, 2, 9], [3, 4, 9]], np.uint8))
    array([[3]], dtype=uint8)
    """
    xp = array_namespace(gray)
    wide = xp.astype(gray[: gray.shape[0] // 2 * 2, : gray.shape[1] // 2 * 2], xp.int16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return xp.astype((total + 2) // 4, xp.uint8)


def find_feature_set(name: str) -> FeatureSet:
    """Look up a feature set.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists them.
    """
    if name not in FEATURE_SETS:
        raise ValueError(f"feature set must be one of {', '.join(FEATURE_SETS)}, got {name!r}")
    return FEATURE_SETS[name]


def mean_over_blocks(ordered: Array) -> Array:
    """Average over blocks: (n_blocks, n) -> (n,), summed in float64."""
    xp = array_namespace(ordered)
    return xp.astype(xp.mean(xp.astype(ordered, xp.float64), axis=0), xp.float32)


@dataclass(frozen=True)
class Percentile:
    """What so many percent of the blocks are below: (n_blocks, n), each column in ascending order, -> (n,).

    Between two blocks it is interpolated linearly, as ``numpy.percentile`` does.
    """

    percent: float

    def __call__(self, ordered: Array) -> Array:
        """Pool; see the class."""
        below, above, share = self.place(ordered.shape[0])
        return ordered[below, :] + (ordered[above, :] - ordered[below, :]) * share

    def place(self, count: int) -> tuple[int, int, float]:
        """Say between which two of so many blocks it lies, and how far from the first to the second."""
        place = (count - 1) * self.percent / 100
        return int(place), min(int(place) + 1, count - 1), place - int(place)


SCALES = ("1", "1/2", "1/4")  # sides, as shares of those of the photo as it is looked at

POOLS: dict[str, Callable[[Array], Array]] = {  # of columns in ascending order
    "mean": mean_over_blocks,
    "p50": Percentile(50),
    "p75": Percentile(75),
    "p90": Percentile(90),
    "p97": Percentile(97),
    "p99.5": Percentile(99.5),
}

_CLASSIC = BandGroup(
    scales=("1",),
    bands=tuple(BANDS),
    statistics=("mean", "std", "skewness", "kurtosis", "entropy", "energy"),
    pools=("mean",),
)
_ENERGIES = BandGroup(
    scales=SCALES,
    bands=tuple(BANDS),
    statistics=("log_energy",),
    pools=("p50", "p75", "p90", "p97", "p99.5"),
)
_EDGES = EdgeGroup(scales=SCALES, directions=DIRECTIONS, statistics=("rise", "half_rise"), percents=(50, 90, 99))
_TEXTURE = BandGroup(scales=("1/4",), bands=("low",), statistics=("log_energy",), pools=("p97",))

FEATURE_SETS = {
    "dct18": FeatureSet((_CLASSIC,), texture="1__low__std__mean", least_texture=0.25),
    "block99": FeatureSet((_ENERGIES, _EDGES), texture=_TEXTURE.columns[0], least_texture=5.5, max_pixels=2**20),
    "texture1": FeatureSet((_TEXTURE,), texture=_TEXTURE.columns[0], least_texture=5.5, max_pixels=2**20),  # for nets
}
