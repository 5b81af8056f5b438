import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blurgate.measuring.statistics import STATISTICS

BANDS = arrays(np.float32, (21, 4), elements=st.floats(-2000, 2000, width=32, allow_subnormal=False))


def entropy(band):
    magnitude = np.abs(band)
    return scipy.stats.entropy(magnitude) if magnitude.sum() else 0.0


REFERENCES = {
    "mean": np.mean,
    "std": np.std,
    "skewness": scipy.stats.skew,
    "kurtosis": scipy.stats.kurtosis,
    "entropy": entropy,
    "energy": lambda band: np.sum(band**2),
    "log_energy": lambda band: np.log(1 + np.sum(band**2)),
}


def test_every_statistic_has_a_reference():
    assert list(REFERENCES) == list(STATISTICS)


@pytest.mark.parametrize("name", STATISTICS)
def test_equals_its_reference_on_noise(name):
    band = np.random.default_rng(0).laplace(0, 30, (21, 500))
    wanted = [REFERENCES[name](column) for column in band.T]
    np.testing.assert_allclose(STATISTICS[name](band.astype(np.float32)), wanted, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", STATISTICS)
@given(band=BANDS)
def test_values_are_finite_and_in_range_for_random_bands(name, band):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = STATISTICS[name](band)
    assert np.isfinite(found).all()
    low, high = {
        "mean": (-2000, 2000),
        "std": (0, 2001),
        "skewness": (-4.4, 4.4),  # at most (n - 2) / sqrt(n - 1)
        "kurtosis": (-2.01, 16.1),
        "entropy": (0, np.log(21) + 1e-4),
        "energy": (0, 21 * 2000**2 * 1.001),
        "log_energy": (0, 18.3),
    }[name]
    assert (found >= low).all()
    assert (found <= high).all()


@pytest.mark.parametrize("level", [0.0, 1e-3, 7.0])
def test_a_band_of_equal_coefficients(level):
    band = np.full((21, 1), level, np.float32)
    found = {name: float(statistic(band)[0]) for name, statistic in STATISTICS.items()}
    assert found["skewness"] == found["kurtosis"] == 0
    assert found["entropy"] == pytest.approx(np.log(21) if level else 0.0)
    assert found["std"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("factor", [1e-18, 1e-3, 1.0, 1e12])
def test_shape_statistics_do_not_depend_on_scale(factor):
    band = np.random.default_rng(1).normal(size=(21, 50))
    for name in ("skewness", "kurtosis", "entropy"):
        found = STATISTICS[name]((band * factor).astype(np.float32))
        np.testing.assert_allclose(found, STATISTICS[name](band), rtol=1e-4, atol=1e-5)
