"""The statistics of a band: (n_coefficients, n_blocks) -> (n_blocks,).

Written on the Python array API standard. In a band whose coefficients are all alike, as in a flat block, skewness and
kurtosis are 0; in a band of zeros the entropy is 0. No statistic is ever NaN.
"""

from __future__ import annotations

from blurgate.measuring.arrays import Array, array_namespace


def mean(band: Array) -> Array:
    """Average the coefficients, in gray levels."""
    return array_namespace(band).mean(band, axis=0)


def std(band: Array) -> Array:
    """Take the population standard deviation of the coefficients, in gray levels."""
    return array_namespace(band).std(band, axis=0)


def skewness(band: Array) -> Array:
    """Take the third standardised moment; what ``scipy.stats.skew`` gives.

    Examples
    --------
    >>> import numpy as np
    >>> skewness(np.asarray([[0.0, 0.0, 0.0, 4.0], [5.0, 5.0, 5.0, 5.0]]).T)
    array([1.15470054, 0.        ])
    """
    xp = array_namespace(band)
    deviation = _scaled_deviation(band)
    variance = xp.mean(deviation * deviation, axis=0)
    return xp.mean(deviation * deviation * deviation, axis=0) / _or_one(variance) ** 1.5


def kurtosis(band: Array) -> Array:
    """Take the fourth standardised moment minus 3; what ``scipy.stats.kurtosis`` gives."""
    xp = array_namespace(band)
    deviation = _scaled_deviation(band)
    squared = deviation * deviation
    variance = xp.mean(squared, axis=0)
    excess = xp.mean(squared * squared, axis=0) / _or_one(variance) ** 2 - 3.0
    return xp.where(variance > 0, excess, xp.zeros_like(excess))


def entropy(band: Array) -> Array:
    """Take the Shannon entropy of the absolute coefficients as shares of their sum, in nats: 0 to log(n_coefficients).

    Examples
    --------
    >>> import numpy as np
    >>> entropy(np.asarray([[-2.0, 2.0], [7.0, 0.0]]).T)
    array([0.69314718, 0.        ])
    """
    xp = array_namespace(band)
    size = xp.abs(band)
    share = size / _or_one(xp.sum(size, axis=0, keepdims=True))
    return xp.abs(xp.sum(share * xp.log(_or_one(share)), axis=0))


def energy(band: Array) -> Array:
    """Sum the squared coefficients, in squared gray levels."""
    return array_namespace(band).sum(band * band, axis=0)


def log_energy(band: Array) -> Array:
    """Take the natural logarithm of 1 + energy: exposure and contrast only shift it.

    The 1 is in squared gray levels, about what rounding to 8 bits leaves in a flat block.
    """
    xp = array_namespace(band)
    return xp.log1p(xp.sum(band * band, axis=0))


def _scaled_deviation(band: Array) -> Array:
    """Deviation from the mean as a share of the largest: powers of it neither overflow nor vanish.

    It is zero where it is no more than rounding.
    """
    xp = array_namespace(band)
    deviation = band - xp.mean(band, axis=0, keepdims=True)
    largest = xp.max(xp.abs(deviation), axis=0, keepdims=True)
    real = largest > 1e-6 * xp.max(xp.abs(band), axis=0, keepdims=True)
    return xp.where(real, deviation / _or_one(largest), xp.zeros_like(deviation))


def _or_one(divisor: Array) -> Array:
    xp = array_namespace(divisor)
    return xp.where(divisor > 0, divisor, xp.ones_like(divisor))


STATISTICS = {  # order = column order
    "mean": mean,
    "std": std,
    "skewness": skewness,
    "kurtosis": kurtosis,
    "entropy": entropy,
    "energy": energy,
    "log_energy": log_energy,
}
