import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from blurgate.measuring import features
from blurgate.measuring.features import FEATURE_SETS, BandGroup, EdgeGroup, FeatureSet
from blurgate.photos.finding import find_photos
from blurgate.photos.images import read_gray

kernel = pytest.importorskip("blurgate.measuring.kernel", reason="needs the extra fast", exc_type=ImportError)

NAMES = ("astronaut", "chelsea", "page", "rocket", "hubble_deep_field", "coffee")


def assert_equal_features(gray, feature_set):
    found = kernel.extract_features(gray, feature_set)
    wanted = features.extract_features(gray, feature_set)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)
    edges = ["rise" in column for column in FEATURE_SETS[feature_set].columns]
    np.testing.assert_array_equal(found[edges], wanted[edges])  # integers, exact in both


@pytest.mark.parametrize("feature_set", FEATURE_SETS)
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_reference_on_photographs(photographs, name, feature_set):
    assert_equal_features(read_gray(photographs[name]), feature_set)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=32, max_side=80)))
@settings(max_examples=40)
def test_equals_the_reference_on_random_pixels(gray):
    for feature_set in FEATURE_SETS:
        assert_equal_features(gray, feature_set)


@pytest.mark.parametrize("width", [32, 39, 40, 255, 256, 257, 263, 264, 519])  # 32 lanes cover 256 pixels
@pytest.mark.parametrize("height", [32, 47])
def test_widths_around_multiples_of_the_lanes(height, width):
    rng = np.random.default_rng(width)
    assert_equal_features(rng.integers(0, 256, (height, width), dtype=np.uint8), "block99")
    assert_equal_features(rng.integers(90, 94, (height, width), dtype=np.uint8), "dct18")


@pytest.mark.parametrize("content", ["flat", "one pixel", "ramp", "stripes", "checks"])
def test_bands_with_only_rounding_errors(content):
    row, column = np.mgrid[:64, :300]
    gray = {
        "flat": np.full_like(row, 200),
        "one pixel": 200 + ((row == 9) & (column == 17)),
        "ramp": column // 2,
        "stripes": column // 2 % 2 * 255,
        "checks": (row + column) % 2 * 255,
    }[content].astype(np.uint8)
    for feature_set in FEATURE_SETS:
        assert_equal_features(gray, feature_set)


def test_every_statistic_of_every_block(photographs):
    gray = read_gray(photographs["chelsea"])
    log_energies, edges = features.block_statistics(gray, *FEATURE_SETS["block99"].groups)
    energies, histograms = kernel._Plane(gray).measured
    np.testing.assert_allclose(np.log1p(energies), log_energies, rtol=1e-5, atol=1e-5)
    wanted = np.zeros_like(histograms)
    for row, column in enumerate(edges):
        np.add.at(wanted[row], column >> 16, column & 0xFFFF)
    np.testing.assert_array_equal(histograms, wanted)


def test_large_photos_are_halved_like_the_reference(photographs):
    gray = np.tile(read_gray(photographs["astronaut"]), (3, 3))
    np.testing.assert_array_equal(kernel.halve(gray), features.halve(gray))
    assert_equal_features(gray, "block99")


def test_other_groups_of_features(photographs, monkeypatch):
    other = FeatureSet(
        (
            BandGroup(("1/2",), ("high", "low"), ("energy", "mean"), ("mean",)),
            BandGroup(("1",), ("mid",), ("entropy", "log_energy"), ("p90", "mean")),
            EdgeGroup(("1", "1/2"), ("vertical",), ("half_rise", "rise"), (10, 90)),
        ),
        texture="1/2__low__energy__mean",
        least_texture=0,
    )
    monkeypatch.setitem(FEATURE_SETS, "other", other)
    assert_equal_features(read_gray(photographs["page"]), "other")


def test_planes_that_are_views(photographs):
    gray = read_gray(photographs["coffee"])
    for view in (gray[:, ::-1], gray.T, gray[3:-5, 7:]):
        np.testing.assert_array_equal(kernel.extract_features(view), kernel.extract_features(np.array(view)))


def test_errors():
    with pytest.raises(ValueError, match=r"gray must be uint8 of shape \(height, width\), got float64 of shape"):
        kernel.extract_features(np.zeros((64, 64)))
    with pytest.raises(ValueError, match="at least one block of 8x8 pixels"):
        kernel.extract_features(np.zeros((64, 20), np.uint8), "block99")
    with pytest.raises(ValueError, match="feature set must be one of"):
        kernel.extract_features(np.zeros((64, 64), np.uint8), "dct19")


def test_equals_the_reference_on_shared_photos(shared):
    for path in find_photos([shared / "train" / "sharp" / "bsds500"])[:20]:
        for feature_set in FEATURE_SETS:
            assert_equal_features(read_gray(path), feature_set)


def test_no_writable_cache_for_compiled_code(monkeypatch):
    calls = []

    def njit(**options):
        calls.append(options.get("cache"))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(kernel.numba, "njit", njit)
    assert kernel._compiled(len) is len
    assert calls == [True, None]


def test_code_is_prepared_for_decoded_photos_which_cannot_be_written_and_for_parts_of_them(monkeypatch):
    prepared = []
    monkeypatch.setattr(kernel, "extract_features", lambda gray, _: prepared.append(gray.flags.writeable))
    kernel.prepare()
    assert set(prepared) == {True, False}


def test_compiling_is_announced_once_and_cached_code_is_not(monkeypatch, caplog):
    kernel.prepare()
    caplog.clear()
    kernel.prepare()
    assert not caplog.messages

    def compile_two(*_):
        kernel.numba.njit(lambda x: x + 1)(1)
        kernel.numba.njit(lambda x: x + 2)(1)

    monkeypatch.setattr(kernel, "extract_features", compile_two)
    kernel.prepare()
    assert caplog.messages == ["compiling the measuring code; this happens once"]
    caplog.clear()
    monkeypatch.setattr(kernel, "_measure_blocks", kernel.numba.njit(lambda x: x))
    kernel.prepare()
    assert caplog.messages == [
        "compiling the measuring code; this happens on every run, as no cache folder can be written"
    ]
