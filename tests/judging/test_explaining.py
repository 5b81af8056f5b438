"""`explain`: a verdict with its map, its words and its picture, whatever the photo."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

import blurgate
from blurgate.judging import explaining
from blurgate.judging.explaining import explain_verdict
from blurgate.judging.maps import FOCUS_SHARE, find_focus
from blurgate.photos.images import resize


@pytest.fixture(scope="module")
def half_sharp(photographs):
    """A photo whose right half is blurred."""
    rgb = photographs["astronaut"].copy()
    rgb[:, 256:] = np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(6)))[:, 256:]
    return rgb


@pytest.fixture(scope="module")
def explained(half_sharp, explaining_model):
    return blurgate.explain(half_sharp, model=explaining_model, threshold=0.99)


def agrees(found):
    below, decided = (found.map < 0.5).sum(), (~np.isnan(found.map)).sum()
    if found.verdict.decision == "sharp":
        return below >= FOCUS_SHARE * decided
    return found.verdict.decision != "blurred" or below <= FOCUS_SHARE * decided


def test_a_map_tells_the_sharp_half_from_the_blurred_one(explained):
    assert explained.map.shape == (512, 512)
    assert np.nanmean(explained.map[:, :240]) < np.nanmean(explained.map[:, 272:]) - 0.2
    assert explained.focus.middle[0] < 256
    assert "in focus" in explained.sentence


def test_the_verdict_is_that_of_predict(half_sharp, explaining_model, tmp_path):
    Image.fromarray(half_sharp).save(tmp_path / "half.png")
    for options in ({}, {"threshold": 0}, {"threshold": 1}, {"review": (0, 1)}):
        found = blurgate.explain(tmp_path / "half.png", model=explaining_model, **options)
        assert found.verdict == explaining_model.predict(tmp_path / "half.png", **options)
        assert agrees(found)


def test_a_model_can_be_given_by_its_file(half_sharp, explaining_model, explained, tmp_path):
    explaining_model.save(tmp_path / "m.blurgate")
    found = blurgate.explain(half_sharp, model=tmp_path / "m.blurgate", threshold=0.99)
    assert (found.verdict, found.sentence) == (explained.verdict, explained.sentence)
    np.testing.assert_array_equal(found.map, explained.map)


def test_the_explainer_of_a_cascade_is_asked_about_every_photo(cascade, explainer, half_sharp):
    from dataclasses import replace

    card = replace(cascade.card, explainer={"spread": 2.0}, ask_from=1e6, threshold=1.0)
    model = replace(cascade, explainer=explainer, card=card)
    assert model.predict(half_sharp).strength_low_px is None
    found = blurgate.explain(half_sharp, model=model)
    assert found.verdict.decision == "sharp"
    assert found.verdict.strength_low_px is not None
    assert not np.isnan(found.map).all()


def test_a_model_without_explainer_is_refused(half_sharp, net_model):
    with pytest.raises(
        ValueError, match="needs a model with an explainer, got one without: use default, net, both or open"
    ):
        blurgate.explain(half_sharp, model=net_model)


def test_the_gray_map_is_of_the_photo_s_own_size_and_agrees(explaining_model, half_sharp):
    large = np.tile(half_sharp, (1, 2, 1)).repeat(2, axis=0).repeat(2, axis=1)[:1023, :2047]
    found = blurgate.explain(large, model=explaining_model, threshold=0.99)
    gray = found.to_gray()
    assert gray.shape == (1023, 2047)
    assert gray.dtype == np.uint8
    assert found.map.shape == (512, 1024)
    assert (gray < 128).mean() == pytest.approx((found.map < 0.5).mean(), abs=0.01)
    of_half = find_focus(found.map)
    np.testing.assert_allclose(found.focus.box, 2 * np.asarray(of_half.box), atol=2)
    np.testing.assert_allclose(found.focus.middle, 2 * np.asarray(of_half.middle), atol=2)


def test_what_lies_around_the_photo_is_undecided(explaining_model, half_sharp):
    framed = np.zeros((512, 812, 3), np.uint8)
    framed[:, 150:662] = half_sharp
    found = blurgate.explain(framed, model=explaining_model, threshold=0.99)
    left, _, right, _ = found.verdict.part
    assert (left, right) == (150, 662)
    gray = found.to_gray()
    assert (gray[:, :150] == 128).all()
    assert (gray[:, 662:] == 128).all()
    assert found.focus.box[0] >= 150
    assert found.focus.middle[0] > 150
    over = found.draw_over(framed)
    assert over.shape == framed.shape
    assert (over[:, :100] != 0).any()  # hatched


def test_over_the_photo_what_is_in_focus_stays_as_it_is(explained, half_sharp):
    over = explained.draw_over(half_sharp)
    assert over.shape == half_sharp.shape
    assert over.dtype == np.uint8
    inside = explained.to_gray() < 128
    assert (over[inside] == half_sharp[inside]).all()
    outside = over[~inside].astype(int) - half_sharp[~inside]
    assert (np.abs(outside).max(axis=1) > 0).mean() > 0.99


def test_over_a_large_photo_the_picture_is_smaller(explaining_model, half_sharp):
    stream = io.BytesIO()
    Image.fromarray(resize(half_sharp, (1501, 1300))).save(stream, "PNG")
    found = blurgate.explain(stream, model=explaining_model)
    assert found.draw_over(stream).shape == (650, 751, 3)


def test_another_photo_is_not_drawn_over(explained, half_sharp):
    with pytest.raises(
        ValueError, match="must be the one that was explained, of 512 x 512 px, got one of 512 x 500 px"
    ):
        explained.draw_over(half_sharp[:500])


@pytest.mark.parametrize(
    ("photo", "sentence"),
    [
        (np.zeros((16, 16), np.uint8), "Too small: at least 64 px on each side are needed."),
        (np.zeros((40, 3000, 3), np.uint8), "Too small: at least 64 px on each side are needed."),
        (np.full((300, 400), 128, np.uint8), "Too little texture: nothing in it shows whether it is sharp."),
    ],
)
def test_a_photo_that_shows_nothing_is_undecided_everywhere_and_says_why(explaining_model, photo, sentence):
    found = blurgate.explain(photo, model=explaining_model)
    assert found.verdict.decision == "undecided"
    assert found.sentence == sentence
    assert np.isnan(found.map).all()
    assert (found.focus.share, found.focus.box) == (None, None)
    assert found.to_gray().shape == photo.shape[:2]
    assert (found.to_gray() == 128).all()
    assert found.draw_over(photo).shape == (*photo.shape[:2], 3)


def test_a_very_long_photo(explaining_model, photographs):
    long = np.tile(photographs["coffee"], (2, 34, 1))[:800, :20_000]
    found = blurgate.explain(long, model=explaining_model)
    assert agrees(found)
    assert found.to_gray().shape == (800, 20_000)
    assert max(found.draw_over(long).shape) <= 20_000


def test_holes_of_an_alpha_channel(explaining_model, half_sharp):
    holes = np.dstack([half_sharp, np.full((512, 512), 255, np.uint8)])
    holes[150:400, 150:400, 3] = 0
    found = blurgate.explain(holes, model=explaining_model, threshold=0.99)
    assert agrees(found)
    assert np.isnan(found.map[270, 270])  # nothing shows through, and no edge is near
    assert found.draw_over(holes).shape == (512, 512, 3)


def test_text_on_white_is_undecided_far_from_the_text(explaining_model):
    page = Image.new("L", (800, 1000), 255)
    pen = ImageDraw.Draw(page)
    for line in range(12):
        pen.text((40, 40 + 24 * line), "The quick brown fox jumps over the lazy dog. " * 2, fill=0)
    found = blurgate.explain(np.asarray(page), model=explaining_model)
    assert agrees(found)
    assert (found.to_gray()[600:] == 128).all()
    left, top, _, _ = found.verdict.part or (0, 0, 800, 1000)
    rows, columns = np.nonzero(np.asarray(page)[top:, left:] < 128)
    text = found.map[rows.min() : rows.max(), columns.min() : columns.max()]
    assert not np.isnan(text).any()


def test_an_unreadable_photo_is_an_error(explaining_model, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    with pytest.raises(blurgate.PhotoError, match=r"torn.jpg cannot be read"):
        blurgate.explain(tmp_path / "torn.jpg", model=explaining_model)


def test_a_map_has_the_size_at_which_the_photo_is_judged(explaining_model):
    gray = np.random.default_rng(5).integers(0, 256, (1100, 1300), dtype=np.uint8)
    sizes = {at: blurgate.explain(gray, model=explaining_model, at=at) for at in (None, "full", 400)}
    assert {at: each.verdict.judged_at_px for at, each in sizes.items()} == {None: 650, "full": 1300, 400: 400}
    assert {at: max(each.map.shape) for at, each in sizes.items()} == {None: 650, "full": 1300, 400: 400}
    for at, explanation in sizes.items():
        assert explanation.to_gray().shape == (1100, 1300)
        again = explain_verdict(explanation.verdict, gray, model=explaining_model, at=at)
        np.testing.assert_array_equal(again.map, explanation.map)
        assert again.focus == explanation.focus


def test_the_map_of_a_huge_photo_is_smaller_than_it(explaining_model, half_sharp, monkeypatch):
    whole = blurgate.explain(half_sharp, model=explaining_model, threshold=0.99, at="full")
    monkeypatch.setattr(explaining, "_MOST_DRAWN", whole.map.size // 3)
    small = blurgate.explain(half_sharp, model=explaining_model, threshold=0.99, at="full")
    assert small.map.shape == tuple(-(-side // 2) for side in whole.map.shape)
    assert small.to_gray().shape == whole.to_gray().shape
    assert small.focus.share == pytest.approx(whole.focus.share, abs=0.08)
    np.testing.assert_allclose(small.focus.box, whole.focus.box, atol=33)
