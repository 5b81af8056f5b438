from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread, local

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from blurgate.measuring import features, kernel, machine_code
from blurgate.measuring.features import FEATURE_SETS, BandGroup, EdgeGroup, FeatureSet
from blurgate.photos.finding import find_photos
from blurgate.photos.images import read_gray

pytest.importorskip("llvmlite", reason="needs the extra fast")

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
    energies, histograms = kernel.measure_blocks(gray)
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


CONTENTS = {
    "noise": lambda rng, shape: rng.integers(0, 256, shape),
    "flat": lambda rng, shape: np.full(shape, rng.integers(0, 256)),
    "white": lambda rng, shape: np.full(shape, 255),
    "extremes": lambda rng, shape: rng.integers(0, 2, shape) * 255,
    "one pixel": lambda rng, shape: np.arange(shape[0] * shape[1]).reshape(shape) == shape[0] * shape[1] // 2,
    "few values": lambda rng, shape: np.repeat(np.repeat(rng.integers(0, 3, (40, 160)), 8, 0), 8, 1)[
        : shape[0], : shape[1]
    ],
    "half blank": lambda rng, shape: rng.integers(0, 256, shape) * (np.arange(shape[1]) > shape[1] // 2),
}


@pytest.mark.parametrize(
    "shape", [(32, 32), (33, 39), (64, 64), (32, 1024), (255, 33), (129, 263), (47, 1031), (240, 320)]
)
@pytest.mark.parametrize("content", CONTENTS)
def test_ties_few_blocks_and_extremes(content, shape):
    gray = CONTENTS[content](np.random.default_rng(shape[1]), shape).astype(np.uint8)
    assert_equal_features(gray, "block99")
    assert_equal_features(gray, "texture1")


@given(st.lists(st.sampled_from([0, 1, 7, 30, 255]), min_size=16, max_size=80), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_percentiles_are_those_of_sorted_blocks(contrasts, seed):
    """Blocks with few different energies: ties at every rank, and gaps between ranks."""
    rng = np.random.default_rng(seed)
    row = np.concatenate([rng.integers(0, contrast + 1, (8, 8)) for contrast in contrasts], axis=1)
    gray = np.tile(row, (4, 1)).astype(np.uint8)
    energies, _ = kernel.measure_blocks(gray)
    pools = [features.POOLS[pool] for pool in ("p50", "p75", "p90", "p97", "p99.5")]
    ordered = np.log1p(np.sort(energies, axis=1))
    wanted = np.stack([pool(ordered) for pool in pools], axis=1).ravel()
    np.testing.assert_array_equal(kernel.extract_features(gray, "block99")[:15], wanted)


def test_lanes_of_another_width_measure_the_same(photographs, monkeypatch):
    import llvmlite.binding as llvm

    gray = read_gray(photographs["chelsea"])
    wanted = [kernel.extract_features(gray, feature_set) for feature_set in FEATURE_SETS]  # which initialises LLVM
    processor, described = machine_code._choose_processor(llvm)
    one, other = (machine_code._make_target(llvm, llvm.get_process_triple(), processor, described) for _ in range(2))
    width = 8 if "+avx512f" in described else 16
    code = machine_code._link(llvm, one, machine_code._make_object(llvm, other, width))
    monkeypatch.setattr(kernel, "prepare", lambda: code)
    monkeypatch.setattr(kernel, "_memory", local())
    for feature_set, each in zip(FEATURE_SETS, wanted, strict=True):
        np.testing.assert_array_equal(kernel.extract_features(gray, feature_set), each)


def test_threads_measure_at_once(photographs):
    grays = [read_gray(photographs[name]) for name in NAMES]
    wanted = [kernel.extract_features(gray) for gray in grays]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(kernel.extract_features, grays * 20))
    for index, each in enumerate(found):
        np.testing.assert_array_equal(each, wanted[index % len(grays)])


def test_the_interpreter_runs_on_while_a_photo_is_measured():
    gray = np.random.default_rng(0).integers(0, 256, (4000, 64 * 64), dtype=np.uint8)
    started, turns = Event(), []

    def measure():
        started.set()
        kernel.measure_blocks(gray)
        turns.append(None)

    thread = Thread(target=measure)
    thread.start()
    started.wait()
    count = 0
    while not turns:
        count += 1
    thread.join()
    assert count > 100  # a call that holds the lock lets this thread run at its start and end alone


def test_memory_for_a_large_plane_is_not_kept():
    kernel.measure_blocks(np.zeros((2048, 2048), np.uint8))
    kernel.extract_features(np.zeros((64, 64), np.uint8))
    assert len(kernel._memory.work[0]) <= kernel._KEPT
