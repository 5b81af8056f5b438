"""Gray -> features: one vector per photo.

The code uses the Python array API standard, like `blurgate.measuring.blocks` and `blurgate.measuring.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blurgate.measuring.arrays import Array, array_namespace
from blurgate.measuring.blocks import BANDS, BLOCK, split_blocks, take_band, transform_blocks
from blurgate.measuring.edges import DIRECTIONS, EDGES, contrast
from blurgate.measuring.statistics import STATISTICS
from blurgate.photos.images import count_halvings

DEFAULT_FEATURE_SET = "block99"

# Blocks per chunk. CPU: few enough to fit the cache, but enough that threads do not get in each other's way. GPU: as
# many as several photos have, since each step has a fixed launch cost.
_CPU_CHUNK, _GPU_CHUNK = 2**12, 2**18


@dataclass(frozen=True)
class BandGroup:
    """Columns from frequency bands: all combinations of scales, bands, statistics and pools.

    Parameters
    ----------
    scales, bands, statistics, pools : tuple of str
        Names from `SCALES`, `BANDS`, `STATISTICS` and `POOLS`.
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
        """Compute the statistics of every block.

        Parameters
        ----------
        blocks : array of shape (n_blocks, 8, 8), uint8
        coefficients : array of shape (n_blocks, 8, 8), float32
            The DCT coefficients of `blocks`.

        Returns
        -------
        array of shape (n_bands * n_statistics, n_blocks), float32
            The statistics of the first band, then those of the next.
        """
        bands = [take_band(coefficients, band) for band in self.bands]
        columns = [STATISTICS[statistic](band) for band in bands for statistic in self.statistics]
        return array_namespace(blocks).stack(columns)

    def pool(self, measured: Array) -> Array:
        """Pool the result of `compute`, of one photo or several, into the columns of one scale.

        (..., n_statistics, n_blocks) -> (..., n_columns), float32.
        """
        xp = array_namespace(measured)
        ordered = xp.sort(measured, axis=-1)
        pooled = xp.stack([POOLS[pool](ordered) for pool in self.pools], axis=-1)
        return xp.reshape(pooled, (*pooled.shape[:-2], -1))


@dataclass(frozen=True)
class EdgeGroup:
    """Columns from edges: weighted percentiles of all combinations of scales, directions and statistics.

    The weight of a block is its squared contrast, because the strongest edges of a photo show how sharp it is. The
    percentiles are the same for a dark photo as for a bright one.

    Parameters
    ----------
    scales, directions, statistics : tuple of str
        Names from `SCALES`, `DIRECTIONS` and `EDGES`.
    percents : tuple of int
        A percentile is the lowest value such that blocks at or below it hold this percentage of the total weight.
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
        """Compute the edge statistics and the weight of every block.

        Parameters
        ----------
        blocks : array of shape (n_blocks, 8, 8), uint8
        coefficients : array of shape (n_blocks, 8, 8), float32
            Ignored.

        Returns
        -------
        array of shape (n_directions * n_statistics, n_blocks), int32
            The statistics of the first direction, then those of the next. Each number holds the statistic in its upper
            16 bits and the weight in its lower 16 bits, so that one sort orders both.
        """
        xp = array_namespace(blocks)
        flat = xp.reshape(xp.astype(blocks, xp.int16), (-1, BLOCK * BLOCK))
        planes = xp.stack([flat[:, i] for i in range(BLOCK * BLOCK)])  # the block index varies fastest in memory
        pixels = xp.reshape(planes, (BLOCK, BLOCK, -1))
        weight = xp.astype(contrast(pixels), xp.int32) ** 2
        columns = [
            EDGES[statistic](pixels, direction) for direction, statistic in product(self.directions, self.statistics)
        ]
        return xp.stack([column * 2**16 + weight for column in columns])

    def pool(self, measured: Array) -> Array:
        """Pool the result of `compute`, of one photo or several, into the columns of one scale.

        (..., n_statistics, n_blocks) -> (..., n_columns), float32.
        """
        xp = array_namespace(measured)
        ordered = xp.sort(measured, axis=-1)
        values, cumulative = ordered // 2**16, xp.cumulative_sum(xp.astype(ordered % 2**16, xp.int64), axis=-1)
        largest = xp.full_like(values, 255)
        percentiles = [
            xp.min(xp.where(cumulative * 100 >= cumulative[..., -1:] * percent, values, largest), axis=-1)
            for percent in self.percents
        ]
        pooled = xp.astype(xp.stack(percentiles, axis=-1), xp.float32)
        return xp.reshape(pooled, (*pooled.shape[:-2], -1))


FeatureGroup: TypeAlias = BandGroup | EdgeGroup


@dataclass(frozen=True)
class FeatureSet:
    """Definition of the features of a photo.

    Parameters
    ----------
    groups : tuple of BandGroup and EdgeGroup
        In the order of their columns.
    texture : str
        The column that shows whether a photo has enough texture to be judged.
    least_texture : float
        Photos with a lower value in that column have too little.
    max_pixels : int, optional
        A larger photo is halved until it has at most this many pixels; by default photos keep their size.
    """

    groups: tuple[FeatureGroup, ...]
    texture: str
    least_texture: float
    max_pixels: int | None = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Column names of all groups, in order."""
        return tuple(column for group in self.groups for column in group.columns)


def block_statistics(gray: Array, *groups: FeatureGroup) -> list[Array]:
    """Compute the statistics of every block for several groups, transforming each block only once.

    Parameters
    ----------
    gray : array of shape (height, width), uint8
        A plane at the scale to measure.
    groups : BandGroup or EdgeGroup

    Returns
    -------
    list of arrays of shape (n_statistics, n_blocks)
        The result of ``compute`` for each group.

    Raises
    ------
    ValueError
        If `gray` is not 2-D or is smaller than one block.
    """
    return _compute_blocks(split_blocks(gray), groups)


def extract_features(gray: Array, feature_set: str = DEFAULT_FEATURE_SET) -> Array:
    """Compute the feature vector of a photo.

    Parameters
    ----------
    gray : array of shape (height, width), uint8
        Luma; a NumPy array or a torch tensor on any device.
    feature_set : str
        A key of `FEATURE_SETS`.

    Returns
    -------
    array of shape (n_features,), float32
        In the same library and on the same device as `gray`; ``FEATURE_SETS[feature_set].columns`` names the entries.

    Raises
    ------
    ValueError
        If `gray` is not 2-D or is smaller than one block at the smallest scale, or if `feature_set` is unknown.

    Examples
    --------
    >>> gray = np.zeros((64, 64), np.uint8)
    >>> dict(zip(FEATURE_SETS["dct18"].columns, extract_features(gray, "dct18")))["1__low__energy__mean"]
    np.float32(0.0)
    """
    return extract_many([gray], feature_set)[0]


def extract_many(planes: Sequence[Array], feature_set: str = DEFAULT_FEATURE_SET) -> list[Array]:
    """Compute the feature vectors of several photos on one device, processing their blocks together.

    This is faster where starting a step takes longer than the step itself, as on a GPU.

    Parameters
    ----------
    planes : sequence of arrays of shape (height, width), uint8
        All in one library and on one device; sizes may differ.
    feature_set : str
        A key of `FEATURE_SETS`.

    Returns
    -------
    list of arrays of shape (n_features,), float32
        One per photo, as `extract_features` computes it.

    Raises
    ------
    ValueError
        Under the same conditions as in `extract_features`.
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
    """Measure photos at one scale after the other.

    Parameters
    ----------
    planes : sequence of arrays of shape (height, width), uint8
    chosen : FeatureSet
    halve : callable
        Halves the height and width of a plane.
    pool_groups : callable
        Takes planes at one scale and groups; returns, for each group, the columns of each plane.

    Returns
    -------
    list of lists of arrays
        For each photo, the columns of each group at each of its scales, in the order of ``chosen.columns``.
    """
    planes = [_shrink(gray, chosen.max_pixels, halve) for gray in planes]
    pooled: dict[tuple[int, str], Sequence[Array]] = {}
    for scale in SCALES[: 1 + max(SCALES.index(scale) for group in chosen.groups for scale in group.scales)]:
        planes = planes if scale == SCALES[0] else [halve(gray) for gray in planes]
        indices = [index for index, group in enumerate(chosen.groups) if scale in group.scales]
        columns = pool_groups(planes, [chosen.groups[index] for index in indices]) if indices else []
        pooled.update({(index, scale): each for index, each in zip(indices, columns, strict=True)})
    parts = [pooled[index, scale] for index, group in enumerate(chosen.groups) for scale in group.scales]
    return [[part[photo] for part in parts] for photo in range(len(planes))]


def _shrink(gray: Array, max_pixels: int | None, halve: Callable[[Array], Array]) -> Array:
    for _ in range(count_halvings(gray.shape[1], gray.shape[0], max_pixels)):
        gray = halve(gray)
    return gray


def _pool_groups(planes: Sequence[Array], groups: Sequence[FeatureGroup]) -> list[list[Array]]:
    xp = array_namespace(planes[0])
    blocks = [split_blocks(gray) for gray in planes]
    counts = [each.shape[0] for each in blocks]
    measured = _compute_blocks(blocks[0] if len(blocks) == 1 else xp.concat(blocks), groups)
    return [_pool_photos(group, columns, counts) for group, columns in zip(groups, measured, strict=True)]


def _pool_photos(group: FeatureGroup, measured: Array, counts: Sequence[int]) -> list[Array]:
    """Pool the blocks of each photo; photos in a row that have equally many are pooled side by side."""
    xp, pooled, start = array_namespace(measured), list[Array](), 0
    for count, alike in groupby(counts):
        n_photos = len(list(alike))
        end = start + n_photos * count
        side_by_side = xp.reshape(measured[:, start:end], (-1, n_photos, count))
        columns = group.pool(xp.permute_dims(side_by_side, (1, 0, 2)))
        pooled += [columns[photo, :] for photo in range(n_photos)]
        start = end
    return pooled


def _compute_blocks(blocks: Array, groups: Sequence[FeatureGroup]) -> list[Array]:
    """Compute the statistics of blocks for several groups, chunk by chunk."""
    xp = array_namespace(blocks)
    count, step = blocks.shape[0], _CPU_CHUNK if "cpu" in str(blocks.device).lower() else _GPU_CHUNK
    measured = []
    for start in range(0, count, step):
        chunk = blocks[start : min(start + step, count), :, :]
        coefficients = transform_blocks(chunk)
        measured.append([group.compute(chunk, coefficients) for group in groups])
    return [xp.concat(list(parts), axis=1) for parts in zip(*measured, strict=True)]


def has_texture(features: NDArray[np.float32], feature_set: str) -> NDArray[np.bool_]:
    """Check for each row of features whether the photo has enough texture to be judged.

    Parameters
    ----------
    features : ndarray of shape (n_photos, n_columns), float32
        The columns of the feature set; others may follow.
    feature_set : str
        A key of `FEATURE_SETS`.

    Returns
    -------
    ndarray of shape (n_photos,), bool

    Raises
    ------
    ValueError
        If `feature_set` is unknown.
    """
    return texture_to_spare(features, feature_set) >= 0


def texture_to_spare(features: NDArray[np.float32], feature_set: str) -> NDArray[np.float32]:
    """Measure by how much the texture of each photo exceeds the least that can be judged; see `has_texture`.

    Parameters
    ----------
    features : ndarray of shape (n_photos, n_columns), float32
    feature_set : str

    Returns
    -------
    ndarray of shape (n_photos,), float32
        In the unit of the feature set's texture column: log energy, or for ``dct18`` a standard deviation.
    """
    chosen = find_feature_set(feature_set)
    return np.asarray(features[:, chosen.columns.index(chosen.texture)] - np.float32(chosen.least_texture))


def halve(gray: Array) -> Array:
    """Halve the height and width of a plane.

    Each pixel is the mean of 2x2 pixels, with halves rounded up; an odd last row or column is dropped.

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
        If the name is unknown; the message lists the known ones.
    """
    if name not in FEATURE_SETS:
        raise ValueError(f"feature set must be one of {', '.join(FEATURE_SETS)}, got {name!r}")
    return FEATURE_SETS[name]


def mean_over_blocks(ordered: Array) -> Array:
    """Compute the mean over blocks, summed in float64: (..., n_blocks) -> (...)."""
    xp = array_namespace(ordered)
    return xp.astype(xp.mean(xp.astype(ordered, xp.float64), axis=-1), xp.float32)


@dataclass(frozen=True)
class Percentile:
    """Percentile over blocks: (..., n_blocks) with ascending rows -> (...).

    It interpolates linearly between two blocks, like ``numpy.percentile``.

    Parameters
    ----------
    percent : float
        0 to 100.
    """

    percent: float

    def __call__(self, ordered: Array) -> Array:
        """Compute the percentile of each row."""
        below, above, fraction = self.place(ordered.shape[-1])
        return ordered[..., below] + (ordered[..., above] - ordered[..., below]) * fraction

    def place(self, count: int) -> tuple[int, int, float]:
        """Locate the percentile among sorted blocks.

        Parameters
        ----------
        count : int
            Number of blocks.

        Returns
        -------
        below, above : int
            Ranks of the two blocks that it lies between.
        fraction : float
            Its distance from `below` as a fraction of the way to `above`.
        """
        position = (count - 1) * self.percent / 100
        return int(position), min(int(position) + 1, count - 1), position - int(position)


SCALES = ("1", "1/2", "1/4")  # relative to the height and width of the analysed photo

POOLS: dict[str, Callable[[Array], Array]] = {  # each takes rows in ascending order
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
