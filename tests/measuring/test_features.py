import array_api_strict
import numpy as np
import pytest
import scipy.fft
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from blurgate.making.blurs import BLURS, KernelBlur
from blurgate.measuring.blocks import BANDS
from blurgate.measuring.features import (
    FEATURE_SETS,
    block_statistics,
    extract_features,
    find_feature_set,
    has_texture,
)
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.finding import find_photos
from blurgate.photos.images import read_gray

COLUMNS = FEATURE_SETS["dct18"].columns
(CLASSIC,) = FEATURE_SETS["dct18"].groups
SIX, THREE = CLASSIC.statistics, CLASSIC.bands


def plain_dct18(gray):
    """Compute dct18 by the plain formula: a loop over blocks, with scipy."""
    rows = []
    for top in range(0, gray.shape[0] - 7, 8):
        for left in range(0, gray.shape[1] - 7, 8):
            block = gray[top : top + 8, left : left + 8].astype(float)
            coefficients = scipy.fft.dctn(block, norm="ortho").ravel()
            coefficients[np.abs(coefficients) < 1e-3] = 0
            row = []
            for band in THREE:
                x = coefficients[BANDS[band]]
                spread = x.max() > x.min()
                row += [x.mean(), x.std()]
                row += [scipy.stats.skew(x), scipy.stats.kurtosis(x)] if spread else [0, 0]
                row += [scipy.stats.entropy(np.abs(x)) if np.abs(x).sum() else 0, (x**2).sum()]
            rows.append(row)
    return np.mean(rows, axis=0)


def assert_equal_features(found, wanted, tolerance=2e-4):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_column_names_split_into_their_parts():
    assert len(COLUMNS) == 18
    parts = [column.split("__") for column in COLUMNS]
    assert {scale for scale, *_ in parts} == {"1"}
    assert [band for _, band, *_ in parts[::6]] == list(THREE)
    assert [statistic for *_, statistic, _ in parts[:6]] == list(SIX)
    assert {pool for *_, pool in parts} == {"mean"}


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=8, max_side=34)))
@settings(max_examples=40)
def test_dct18_equals_a_plain_loop_on_random_pixels(gray):
    assert_equal_features(extract_features(gray, "dct18"), plain_dct18(gray))


@pytest.mark.parametrize("name", ["astronaut", "page", "rocket", "hubble_deep_field"])
def test_dct18_equals_a_plain_loop_on_photographs(photographs, name):
    gray = read_gray(photographs[name][:125, :131])
    assert_equal_features(extract_features(gray, "dct18"), plain_dct18(gray))


@given(level=st.integers(0, 255), step=st.sampled_from([-1, 0, 1]), row=st.integers(0, 63), column=st.integers(0, 63))
@settings(max_examples=60)
def test_nearly_flat_photos_have_finite_correct_features(level, step, row, column):
    gray = np.full((64, 64), level, np.uint8)
    gray[row, column] = np.clip(level + step, 0, 255)
    found = extract_features(gray, "dct18")
    assert np.isfinite(found).all()
    assert_equal_features(found, plain_dct18(gray), tolerance=1e-5)


@pytest.mark.parametrize("content", ["ramp across", "ramp down", "stripes", "checks"])
def test_bands_with_only_rounding_errors(content):
    row, column = np.mgrid[:64, :64]
    gray = {
        "ramp across": column * 4,
        "ramp down": row * 4,
        "stripes": column // 2 % 2 * 255,
        "checks": (row + column) % 2 * 255,
    }[content].astype(np.uint8)
    assert_equal_features(extract_features(gray, "dct18"), plain_dct18(gray))


@pytest.mark.parametrize("feature_set", FEATURE_SETS)
def test_any_array_library_gives_the_same_features(astronaut, feature_set):
    gray = read_gray(astronaut[:90, :130])
    found = extract_features(array_api_strict.asarray(gray), feature_set)
    np.testing.assert_allclose(np.asarray(found), extract_features(gray, feature_set), rtol=1e-5)


@pytest.mark.parametrize("feature_set", FEATURE_SETS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_torch_gives_the_same_features(astronaut, device, feature_set):
    torch = pytest.importorskip("torch", reason="needs the extra gpu")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    gray = read_gray(astronaut)
    found = extract_features(torch.asarray(np.array(gray), device=device), feature_set)
    assert found.device.type == device
    np.testing.assert_allclose(found.cpu().numpy(), extract_features(gray, feature_set), rtol=1e-4)


def plain_scales(gray):
    """Yield the blocks of a photo at three scales; means that end in .5 are rounded up."""
    for scale in range(3):
        if scale:
            rows, width = gray.shape[0] // 2, gray.shape[1] // 2
            quads = gray[: 2 * rows, : 2 * width].reshape(rows, 2, width, 2).astype(float)
            gray = np.floor(quads.sum(axis=(1, 3)) / 4 + 0.5)
        yield [
            gray[top : top + 8, left : left + 8].astype(float)
            for top in range(0, gray.shape[0] - 7, 8)
            for left in range(0, gray.shape[1] - 7, 8)
        ]


def plain_edges(block):
    """Yield rise and half_rise in any, horizontal and vertical direction."""

    def largest_difference(block, distance):
        return np.abs(block[:, distance:] - block[:, :-distance]).max()

    differences = {}
    for distance in (1, 2, 4):
        horizontal, vertical = largest_difference(block, distance), largest_difference(block.T, distance)
        differences[distance] = (max(horizontal, vertical), horizontal, vertical)
    contrast = max(np.ptp(block), 2)
    for direction in range(3):
        yield 255 * differences[1][direction] // contrast
        yield min(255, 128 * differences[2][direction] // max(differences[4][direction], 2))


def plain_block99(gray):
    """Compute block99 by plain loops: percentiles of log energies, then contrast-weighted percentiles of edges."""
    energies, edges = [], []
    for blocks in plain_scales(gray):
        squares = np.stack([scipy.fft.dctn(block, norm="ortho").ravel() ** 2 for block in blocks])
        for band in BANDS.values():
            energies += np.percentile(np.log1p(squares[:, band].sum(axis=1)), [50, 75, 90, 97, 99.5]).tolist()
        weights = np.array([np.ptp(block) ** 2 for block in blocks])
        for values in zip(*map(plain_edges, blocks), strict=True):
            order = np.argsort(values, kind="stable")
            cumulative = np.cumsum(weights[order])
            ranks = [np.argmax(cumulative * 100 >= cumulative[-1] * percent) for percent in (50, 90, 99)]
            edges += [values[order[rank]] for rank in ranks]
    return energies + edges


@pytest.mark.parametrize("name", ["astronaut", "page", "rocket"])
def test_block99_equals_a_plain_loop_on_photographs(photographs, name):
    gray = read_gray(photographs[name][:125, :131])
    assert_equal_features(extract_features(gray), plain_block99(gray))


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=32, max_side=70)))
@settings(max_examples=20)
def test_block99_equals_a_plain_loop_on_random_pixels(gray):
    assert_equal_features(extract_features(gray), plain_block99(gray))


def test_edge_statistics_do_not_depend_on_exposure(photographs):
    gray = read_gray(photographs["coffee"])
    columns = FEATURE_SETS["block99"].columns
    edges = [index for index, column in enumerate(columns) if "rise" in column]
    energies = [index for index, column in enumerate(columns) if "energy" in column]
    change = np.abs(extract_features(gray) - extract_features(gray // 4))
    assert change[edges].max() <= 0.08 * 255
    assert change[energies].max() > 2


def test_a_large_photo_is_analysed_like_its_half():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (700, 900), dtype=np.uint8)
    large = small.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(extract_features(large), extract_features(small))


def test_has_texture_detects_an_empty_photo():
    empty, noisy = np.zeros((96, 96), np.uint8), np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    for name in FEATURE_SETS:
        rows = np.stack([extract_features(gray, name) for gray in (empty, noisy)])
        assert has_texture(rows, name).tolist() == [False, True]


def test_chunk_boundaries_do_not_change_statistics(photographs):
    gray = read_gray(photographs["hubble_deep_field"])
    (whole,) = block_statistics(gray, CLASSIC)
    assert whole.shape == (18, (gray.shape[0] // 8) * (gray.shape[1] // 8))
    (last,) = block_statistics(gray[-(gray.shape[0] % 8 + 8) :], CLASSIC)
    np.testing.assert_allclose(whole[:, -last.shape[1] :], last, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind, blur in BLURS.items() if isinstance(blur, KernelBlur)])
def test_more_blur_leaves_less_high_band_energy(astronaut, kind):
    column = COLUMNS.index("1__high__energy__mean")
    energies = [extract_features(read_gray(astronaut), "dct18")[column]]
    for strength in (0.8, 1.6, 3.2):
        parameters = BLURS[kind].draw(np.random.default_rng(0), strength)
        energies.append(extract_features(read_gray(BLURS[kind].apply(astronaut, parameters)), "dct18")[column])
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < energies[0] / 10


def test_variance_of_laplacian_equals_opencv(astronaut):
    cv2 = pytest.importorskip("cv2", reason="needs the extra blurgenerator")
    gray = read_gray(astronaut)
    assert variance_of_laplacian(gray) == pytest.approx(cv2.Laplacian(gray, cv2.CV_64F).var())


def test_unknown_feature_set_lists_the_known_ones():
    with pytest.raises(ValueError, match="feature set must be one of dct18, block99, texture1, got 'dct19'"):
        find_feature_set("dct19")


def test_dct18_equals_a_plain_loop_on_shared_photos(shared):
    for path in find_photos([shared / "train" / "sharp" / "bsds500"])[:3]:
        gray = read_gray(path)[:120, :160]  # plain loops are slow
        assert_equal_features(extract_features(gray, "dct18"), plain_dct18(gray))
