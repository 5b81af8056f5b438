"""The pictures that nets learn from, drawn from photographs that come with a dependency."""

import numpy as np
import pytest
from PIL import Image

from blurgate.measuring.laplacian import variance_of_laplacian
from models import pictures
from models.pictures import (
    CELL,
    SERIES,
    SIDE,
    WEAKEST,
    WIDE,
    _brighten_bracket,
    draw_made,
    draw_real,
    draw_shard,
    draw_wide,
)


@pytest.fixture
def gray(photographs):
    rgb = photographs["motorcycle_left"]
    return np.asarray(Image.fromarray(rgb).convert("L"))[..., np.newaxis]


def test_a_made_picture_matches_its_label(gray, monkeypatch):
    monkeypatch.setattr(pictures, "alter", lambda picture, _: picture)  # its noise and letters are no detail
    made = [draw_made(gray, np.random.default_rng(seed)) for seed in range(24)]
    for picture in made:
        assert picture.gray.shape == (SIDE, SIDE)
        assert picture.gray.dtype == np.uint8
        assert picture.blurred.shape == (SIDE // CELL, SIDE // CELL)
        assert picture.blurred.max() <= 100
        if picture.label:
            assert picture.strength_px >= 1.4
            assert (picture.blurred == 100).all()
        else:
            assert picture.strength_px < 1  # 0.45 px, enlarged at most twice
            assert (picture.blurred < 50).any()
    detail = [[variance_of_laplacian(picture.gray) for picture in made if picture.label == label] for label in (0, 1)]
    assert min(map(len, detail)) >= 6
    assert np.median(detail[0]) > 2 * np.median(detail[1])


def test_the_moments_of_a_made_picture_are_those_of_its_strength(gray):
    made = [draw_made(gray, np.random.default_rng(seed), weakest=WEAKEST, blurred_share=0.9) for seed in range(24)]
    assert {picture.kind for picture in made} == {"", "defocus", "motion", "gaussian"}
    for picture in made:
        across, both, down = picture.moments
        assert np.hypot(*np.sqrt([across, down])) == pytest.approx(picture.strength_px, rel=0.2)  # enlarged unevenly
        assert both**2 <= across * down * 1.0001
        if picture.kind == "defocus":
            assert abs(both) < 0.05 * (across + down)
        if not picture.label:
            assert picture.kind == ""


def test_weak_blur_counts_in_part(gray):
    made = [draw_made(gray, np.random.default_rng(seed), weakest=WEAKEST, blurred_share=1) for seed in range(40)]
    whole = [picture for picture in made if picture.kind]  # blurred in one way all over
    assert all((picture.blurred == 0).all() for picture in whole if picture.strength_px < 0.85)
    assert all((picture.blurred == 100).all() for picture in whole if picture.strength_px > 1.55)
    assert any(0 < picture.blurred.min() < 100 for picture in whole)


def test_a_wide_picture_shows_most_of_a_photo_and_its_mask(gray):
    mask = np.zeros(gray.shape[:2], bool)
    mask[:, : mask.shape[1] // 2] = True
    for seed in range(4):
        picture = draw_wide(gray, mask, np.random.default_rng(seed))
        assert picture.gray.shape == (WIDE, WIDE)
        assert picture.blurred.shape == (WIDE // CELL, WIDE // CELL)
        assert picture.label == -1
        assert np.all(np.diff(picture.blurred.astype(int), axis=1) <= 0)  # the blurred half is on the left


def test_the_shares_of_a_series_add_up():
    assert all(sum(series.shares.values()) == pytest.approx(1) for series in SERIES.values())


def test_the_same_seed_draws_the_same_picture(gray):
    first, second = (draw_made(gray, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.gray, second.gray)
    assert (first.label, first.strength_px) == (second.label, second.strength_px)


@pytest.mark.parametrize(("share", "labels"), [(1.0, {1}), (0.0, {0}), (0.9, {-1})])
def test_a_real_picture_has_its_masks_label(gray, share, labels):
    mask = np.zeros(gray.shape[:2], bool)
    mask[:] = np.arange(len(mask))[:, np.newaxis] % 10 < 10 * share
    drawn = [draw_real(gray, mask, np.random.default_rng(seed)) for seed in range(6)]
    assert {picture.label for picture in drawn} == labels
    assert all(np.isnan(picture.strength_px) for picture in drawn)
    assert all(abs(picture.blurred.mean() / 100 - share) < 0.05 for picture in drawn)


def test_a_dark_bracket_is_often_brightened_and_a_bright_one_never(gray):
    dark = np.asarray(gray // 8)
    means = [_brighten_bracket(dark, np.random.default_rng(seed)).mean() for seed in range(30)]
    assert np.median(means) > 2 * dark.mean()
    assert min(means) == dark.mean()
    assert max(means) < 250
    np.testing.assert_array_equal(_brighten_bracket(gray, np.random.default_rng(0)), gray)


def test_an_existing_shard_is_not_drawn_again(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "00000.npz").touch()
    draw_shard(tmp_path / "nowhere", tmp_path, 0, seed=0)
    assert (tmp_path / "pictures" / "00000.npz").stat().st_size == 0
