"""Gray -> features: one vector for each photo.

Written on the Python array API standard, like `blurgate.blocks` and `blurgate.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from array_api_compat import array_namespace

from blurgate.blocks import BANDS, Array, split_blocks, take_band, transform_blocks
from blurgate.images import Gray
from blurgate.statistics import STATISTICS

_CHUNK = 4096  # blocks at a time: few enough to stay in the cache, many enough to keep threads out of each other's way


@dataclass(frozen=True)
class FeatureSet:
    """What is measured on a photo, in the order of its columns.

    Parameters
    ----------
    bands, statistics, pools : tuple of str
        Names out of `BANDS`, `STATISTICS` and `POOLS`.
    scale : str
        Name of the size at which the photo is looked at; ``1`` is its own.
    """

    bands: tuple[str, ...]
    statistics: tuple[str, ...]
    pools: tuple[str, ...]
    scale: str = "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names, each of the form ``scale__band__statistic__pool``."""
        return tuple("__".join(parts) for parts in product([self.scale], self.bands, self.statistics, self.pools))


def block_statistics(gray: Array, feature_set: FeatureSet) -> Array:
    """Measure every block.

    Parameters
    ----------
    gray : array of shape (height, width), uint8
    feature_set : FeatureSet

    Returns
    -------
    array of shape (n_blocks, n_bands * n_statistics), float32
        Bands in the outer order, statistics in the inner one.
    """
    xp = array_namespace(gray)
    blocks = split_blocks(gray)
    count = blocks.shape[0]
    chunks = [
        _measure(transform_blocks(blocks[start : min(start + _CHUNK, count), :, :]), feature_set)
        for start in range(0, count, _CHUNK)
    ]
    return xp.concat(chunks, axis=0)


def extract_features(gray: Array, feature_set: str = "dct18") -> Array:
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
        If `gray` is not 2-D or holds no whole block, or there is no such feature set.

    Examples
    --------
    >>> gray = np.zeros((64, 64), np.uint8)
    >>> dict(zip(FEATURE_SETS["dct18"].columns, extract_features(gray)))["1__low__energy__mean"]
    np.float32(0.0)
    """
    chosen = find_feature_set(feature_set)
    xp = array_namespace(gray)
    measured = block_statistics(gray, chosen)
    pooled = xp.stack([POOLS[pool](measured) for pool in chosen.pools], axis=1)
    return xp.reshape(pooled, (-1,))


def find_feature_set(name: str) -> FeatureSet:
    """Look up a feature set; a ValueError that lists them if there is none of that name."""
    if name not in FEATURE_SETS:
        raise ValueError(f"feature set must be one of {', '.join(FEATURE_SETS)}, got {name!r}")
    return FEATURE_SETS[name]


def variance_of_laplacian(gray: Gray) -> float:
    """Take the measure that most projects copy, to compare with; what OpenCV's ``Laplacian(gray, CV_64F).var()`` gives.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8

    References
    ----------
    .. [1] J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study",
           ICPR 2000. :doi:`10.1109/ICPR.2000.903548`
    """
    padded = np.pad(gray, 1, mode="reflect").astype(np.int16)
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return float(np.var(around - 4 * padded[1:-1, 1:-1], dtype=np.float64))


def mean_over_blocks(measured: Array) -> Array:
    """Average over blocks: (n_blocks, n) -> (n,), summed in float64."""
    xp = array_namespace(measured)
    return xp.astype(xp.mean(xp.astype(measured, xp.float64), axis=0), xp.float32)


def _measure(coefficients: Array, feature_set: FeatureSet) -> Array:
    bands = [take_band(coefficients, band) for band in feature_set.bands]
    columns = [STATISTICS[statistic](band) for band in bands for statistic in feature_set.statistics]
    return array_namespace(coefficients).stack(columns, axis=1)


POOLS: dict[str, Callable[[Array], Array]] = {"mean": mean_over_blocks}

FEATURE_SETS = {"dct18": FeatureSet(bands=tuple(BANDS), statistics=tuple(STATISTICS), pools=("mean",))}
