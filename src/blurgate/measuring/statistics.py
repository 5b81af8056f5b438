"""Statistics of a band: (n_coefficients, n_blocks) -> (n_blocks,).

The code uses the Python array API standard. Skewness and kurtosis are 0 for a band with equal coefficients, as in a
flat block; entropy is 0 for a band of zeros. No statistic is ever NaN.
"""

from __future__ import annotations

from blurgate.measuring.arrays import Array, array_namespace


def mean(band: Array) -> Array:
    """Compute the mean of the coefficients, in gray levels."""
    return array_namespace(band).mean(band, axis=0)


def std(band: Array) -> Array:
    """Compute the population standard deviation of the coefficients, in gray levels."""
    return array_namespace(band).std(band, axis=0)


def skewness(band: Array) -> Array:
    """Compute the third standardised moment, like ``scipy.stats.skew``.

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
    """Compute the fourth standardised moment minus 3, like ``scipy.stats.kurtosis``."""
    xp = array_namespace(band)
    deviation = _scaled_deviation(band)
    squared = deviation * deviation
    variance = xp.mean(squared, axis=0)
    excess = xp.mean(squared * squared, axis=0) / _or_one(variance) ** 2 - 3.0
    return xp.where(variance > 0, excess, xp.zeros_like(excess))


def entropy(band: Array) -> Array:
    """Compute the Shannon entropy of the normalised absolute coefficients, in nats: 0 to log(n_coefficients).

    Examples
    --------
    >>> import numpy as np
    >>> entropy(np.asarray([[-2.0, 2.0], [7.0, 0.0]]).T)
    array([0.69314718, 0.        ])
    """
    xp = array_namespace(band)
    magnitude = xp.abs(band)
    normalised = magnitude / _or_one(xp.sum(magnitude, axis=0, keepdims=True))
    return xp.abs(xp.sum(normalised * xp.log(_or_one(normalised)), axis=0))


def energy(band: Array) -> Array:
    """Sum the squared coefficients, in squared gray levels."""
    return array_namespace(band).sum(band * band, axis=0)


def log_energy(band: Array) -> Array:
    """Compute the natural logarithm of 1 + energy: a change of exposure or contrast only shifts it.

    The 1 is in squared gray levels, about the energy that rounding to 8 bits leaves in a flat block.
    """
    xp = array_namespace(band)
    return xp.log1p(xp.sum(band * band, axis=0))


def _scaled_deviation(band: Array) -> Array:
    """Divide deviations from the mean by the largest of them, so that powers neither overflow nor underflow.

    They are zero in bands where the largest is only rounding error.
    """
    xp = array_namespace(band)
    deviation = band - xp.mean(band, axis=0, keepdims=True)
    largest = xp.max(xp.abs(deviation), axis=0, keepdims=True)
    significant = largest > 1e-6 * xp.max(xp.abs(band), axis=0, keepdims=True)
    return xp.where(significant, deviation / _or_one(largest), xp.zeros_like(deviation))


def _or_one(divisor: Array) -> Array:
    """Replace zeros by ones before a division or a logarithm."""
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
