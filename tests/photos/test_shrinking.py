"""`shrink`: a plane at a size that the user names."""

import numpy as np
import pytest
from PIL import Image

from blurgate.photos.images import read_plane
from blurgate.photos.shrinking import check_at, fit_side, shrink


@pytest.fixture(scope="module")
def gray():
    return np.random.default_rng(0).integers(0, 256, (1203, 1601), dtype=np.uint8)


def test_a_half_is_what_a_photo_is_halved_to(gray):
    halved = read_plane(gray, max_pixels=2**20)
    named = read_plane(gray, at=801)
    np.testing.assert_array_equal(named.gray, halved.gray)
    assert (named.width, named.height, named.part, named.scale) == (1601, 1203, None, halved.scale)


def test_shrinking_keeps_the_mean_and_every_pixel_counts_alike(gray):
    small = shrink(gray, (1000, 751))
    assert small.shape == (751, 1000)
    assert small.mean() == pytest.approx(gray.mean(), abs=0.1)
    light = np.zeros((60, 100), np.uint8)
    light[30, 50] = 200
    assert shrink(light, (70, 42)).sum() == pytest.approx(200 * 0.7**2, abs=2)


def test_no_side_is_enlarged_or_too_short(gray):
    assert read_plane(gray, at=5000).gray.shape == gray.shape
    assert read_plane(gray, at="full").gray.shape == gray.shape
    assert fit_side(20_000, 800, 100) == (1600, 64)


def test_a_part_is_known_in_pixels_of_the_photo(gray):
    framed = np.pad(gray, 100, constant_values=255)
    part = read_plane(framed, at=1000).part
    wanted = np.asarray([100, 100, 1701, 1303])
    assert np.abs(np.asarray(part) - wanted).max() <= 20  # ten lines of the shrunk picture
    assert part.left >= 100
    assert part.right <= 1701


def test_files_are_shrunk_as_arrays_are(gray, tmp_path):
    smooth = np.asarray(Image.fromarray(gray[::8, ::8]).resize((1601, 1203)))
    Image.fromarray(smooth).save(tmp_path / "photo.jpg", quality=95)
    for side in (1601, 900, 300):
        difference = read_plane(tmp_path / "photo.jpg", at=side).gray.astype(int) - read_plane(smooth, at=side).gray
        assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("at", [63, True, "half", 800.0, -1])
def test_what_is_no_size_is_refused(at):
    with pytest.raises(ValueError, match="at must be full, or a longer side of at least 64 pixels, got"):
        check_at(at)
