"""`draw_map` and `find_focus`: where a picture is blurred, in agreement with its verdict."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blurgate.judging.maps import FOCUS_SHARE, LEAST_CONTRAST, REACH, draw_map, find_focus


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8).repeat(4, 0).repeat(4, 1)


def random_places(shape, seed=0, middle=0.0):
    return np.random.default_rng(seed).normal(middle, 2, [-(-side // 8) for side in shape]).astype(np.float32)


def share_in_focus(drawn):
    return (drawn < 0.5).sum() / (~np.isnan(drawn)).sum()


@pytest.fixture(scope="module")
def gray():
    return noise(40, 60)  # 160 x 240 pixels


def test_a_map_has_a_value_per_pixel_from_sharp_to_blurred(gray):
    for height, width in ((160, 240), (16, 16), (1, 9), (77, 203), (8, 2000)):
        picture = np.resize(gray, (height, width))
        drawn = draw_map(random_places(picture.shape), picture, "undecided")
        assert drawn.shape == picture.shape
        assert drawn.dtype == np.float32
        decided = drawn[~np.isnan(drawn)]
        assert ((decided >= 0) & (decided <= 1)).all()


def test_a_map_is_the_same_each_time(gray):
    places = random_places(gray.shape)
    np.testing.assert_array_equal(draw_map(places, gray, "sharp"), draw_map(places.copy(), gray.copy(), "sharp"))


def test_what_is_the_same_everywhere_stays_so(gray):
    drawn = draw_map(np.full((20, 30), 1.5, np.float32), gray, "undecided")
    np.testing.assert_allclose(drawn, 1 / (1 + np.exp(-1.5)), atol=1e-5)


def test_values_lie_at_the_middles_of_blocks(gray):
    places = np.full((20, 30), 4, np.float32)
    places[:, :15] = -4
    drawn = draw_map(places, gray, "undecided")
    assert (drawn[:, :90] < 0.5).all()
    assert (drawn[:, 150:] > 0.5).all()
    np.testing.assert_allclose(drawn.mean(axis=0)[110:130], 1 - drawn.mean(axis=0)[110:130][::-1], atol=0.05)


def test_a_border_follows_the_edge_of_the_picture():
    picture = np.where(np.arange(200)[:, np.newaxis] + np.arange(200) < 200, 30, 220).astype(np.uint8)
    middles = np.arange(25) * 8 + 4
    places = np.where(middles[:, np.newaxis] + middles < 194, -4.0, 4.0).astype(np.float32)  # 4 pixels beside the edge
    drawn = draw_map(places, picture, "undecided")
    near = np.abs(np.arange(200)[:, np.newaxis] + np.arange(200) - 199) < 16
    near &= np.abs(np.arange(200)[:, np.newaxis] - np.arange(200)) < 100
    right = (drawn < 0.5) == (picture < 100)
    by_blocks = (places < 0).repeat(8, 0).repeat(8, 1) == (picture < 100)
    assert right[near].mean() > 0.95 > by_blocks[near].mean()


@pytest.mark.parametrize("decision", ["sharp", "blurred", "undecided"])
@pytest.mark.parametrize("level", [0, 7, 128, 255])
def test_a_flat_picture_is_undecided_everywhere(level, decision):
    with np.errstate(all="raise"):
        assert np.isnan(draw_map(random_places((90, 130)), np.full((90, 130), level, np.uint8), decision)).all()


def test_noise_of_the_last_bit_is_no_texture():
    bits = np.random.default_rng(1).integers(100, 102, (128, 160), dtype=np.uint8)
    assert np.isnan(draw_map(random_places(bits.shape), bits, "sharp")).all()
    grain = np.random.default_rng(1).normal(100, 4, (128, 160)).astype(np.uint8)  # means of 4x4 pixels: half as much
    assert LEAST_CONTRAST > 4 / 4
    assert np.isnan(draw_map(random_places(bits.shape), grain, "sharp")).all()


def test_what_is_flat_takes_the_state_of_what_is_beside_it_and_is_undecided_beyond_reach():
    picture = np.full((96, 400), 200, np.uint8)
    picture[:, :96] = noise(24, 24)
    places = np.full((12, 50), 5, np.float32)
    places[:, :13] = -3  # the flat part is said to be blurred, by nothing
    with np.errstate(all="raise"):
        drawn = draw_map(places, picture, "sharp")
    assert (drawn[:, : 96 + REACH - 16] < 0.5).all()
    assert np.isnan(drawn[:, 96 + REACH + 16 :]).all()
    assert find_focus(drawn).share == 1


def test_a_map_and_its_verdict_agree():
    """Of what is decided, a sharp photo has at least 2 % in focus, and a blurred one at most."""
    for seed in range(6):
        picture = noise(40, 60, seed)
        for middle in (-9, -2, 0, 2, 9):
            places = random_places(picture.shape, seed, middle)
            assert share_in_focus(draw_map(places, picture, "sharp")) >= FOCUS_SHARE
            assert share_in_focus(draw_map(places, picture, "blurred")) <= FOCUS_SHARE


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    spread=st.sampled_from([0, 1e-6, 1, 30, 1e6]),
    middle=st.sampled_from([-1e6, -7.0, 0.0, 0.1, 1e6]),
    flat=st.integers(0, 90),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_they_agree_for_any_picture_and_places(height, width, spread, middle, flat, seed):
    picture = np.resize(noise(23, 23, seed), (height, width))
    picture[:flat] = 255
    places = (middle + spread * random_places(picture.shape, seed)).astype(np.float32)
    for decision in ("sharp", "blurred"):
        with np.errstate(all="raise", under="ignore"):
            drawn = draw_map(places, picture, decision)
        decided = drawn[~np.isnan(drawn)]
        below = (decided < 0.5).sum()
        assert ((decided >= 0) & (decided <= 1)).all()
        if len(decided):
            assert below >= FOCUS_SHARE * len(decided) if decision == "sharp" else below <= FOCUS_SHARE * len(decided)


def test_agreement_changes_no_more_than_is_needed(gray):
    places = random_places(gray.shape, middle=6)
    free, sharp = draw_map(places, gray, "undecided"), draw_map(places, gray, "sharp")
    assert share_in_focus(free) < FOCUS_SHARE
    assert share_in_focus(sharp) == pytest.approx(FOCUS_SHARE, abs=0.01)
    places = random_places(gray.shape)
    np.testing.assert_array_equal(draw_map(places, gray, "sharp"), draw_map(places, gray, "undecided"))


def test_places_that_do_not_fit_the_picture_are_refused(gray):
    with pytest.raises(
        ValueError, match=r"places must have a value for each block, shape \(20, 30\), got .*\(20, 31\)"
    ):
        draw_map(np.zeros((20, 31), np.float32), gray, "sharp")


def test_focus_of_nothing():
    focus = find_focus(np.full((64, 64), np.nan, np.float32))
    assert (focus.share, focus.pieces, focus.box, focus.middle, focus.decided) == (None, 0, None, None, 0)
    focus = find_focus(np.ones((64, 64), np.float32))
    assert (focus.share, focus.pieces, focus.box, focus.middle, focus.decided) == (0, 0, None, None, 1)


def test_focus_counts_pieces_and_finds_the_largest():
    drawn = np.ones((203, 400), np.float32)
    drawn[:, 320:] = np.nan
    drawn[16:56, 40:80] = 0.2  # linked by a corner
    drawn[56:96, 80:120] = 0.2
    drawn[168:, 200:240] = 0.4  # to the edge, which cuts its blocks
    drawn[8:16, 200:208] = 0  # too small
    focus = find_focus(drawn)
    assert (focus.pieces, focus.box, focus.middle) == (2, (40, 16, 120, 96), (80, 56))
    assert focus.share == pytest.approx((2 * 1600 + 35 * 40 + 64) / (203 * 320), abs=1e-4)
    assert focus.decided == 0.8
    drawn[16:96] = 1
    assert find_focus(drawn).box == (200, 168, 240, 203)


def test_a_winding_piece_is_one():
    drawn = np.ones((400, 400), np.float32)
    drawn[::32] = drawn[:, ::32] = 1
    for row in range(0, 400, 16):
        drawn[row : row + 8] = 0
        drawn[row : row + 16, (392 if row % 32 else 0) : (400 if row % 32 else 8)] = 0
    assert find_focus(drawn).pieces == 1
