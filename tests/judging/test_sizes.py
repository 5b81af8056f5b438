"""`sharp_to_px`, and judging at a size that the user names."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from blurgate.judging.model import load_model
from blurgate.judging.sizes import find_sharp_side


@pytest.mark.parametrize("strength_px", [1.2, 2.0, 5.0])
@pytest.mark.parametrize("error", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("rise", [3, 5, 9])
def test_the_search_ends_just_below_the_size_that_turns_sharp(strength_px, error, rise):
    turns, judged = 1000 * 0.95 / strength_px, []

    def judge(side):
        judged.append(side)
        return rise * math.log(side / turns)

    found = find_sharp_side(1000, 85, strength_px * error, judge)
    assert 0.8 * turns < found <= turns
    assert found in judged
    assert len(judged) <= 4


def test_a_photo_that_is_sharp_at_no_size_has_zero():
    judged = []
    assert find_sharp_side(1000, 85, 30.0, lambda side: judged.append(side) or 3.0) == 0
    assert judged == [85]
    assert find_sharp_side(1000, 85, 3.0, lambda side: judged.append(side) or 3.0) == 0
    assert judged[-1] == 85
    assert len(judged) <= 5


def test_where_nothing_tells_there_is_no_size():
    assert find_sharp_side(1000, 85, 3.0, lambda _: None) is None
    assert find_sharp_side(1000, 85, 3.0, lambda side: -2.0 if side < 200 else None) in range(85, 200)


@pytest.fixture(scope="module")
def gray(astronaut):
    return np.asarray(Image.fromarray(astronaut).convert("L"))


def soften(gray, sigma):
    return np.asarray(Image.fromarray(gray).filter(ImageFilter.GaussianBlur(sigma)))


def enlarge(gray, factor):
    """As a camera does that has more pixels than its lens: with a little noise, and as a JPEG."""
    height, width = gray.shape
    large = np.asarray(Image.fromarray(gray).resize((width * factor, height * factor), Image.Resampling.BICUBIC))
    noisy = large + np.random.default_rng(0).normal(0, 2, large.shape)
    stream = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def test_a_photo_that_is_soft_at_full_size_alone(gray):
    model, photo = load_model(), enlarge(gray, 4)
    assert model.predict(photo).decision == "sharp"
    verdict = model.predict(photo, at="full")
    assert (verdict.decision, verdict.judged_at_px) == ("blurred", 2048)
    assert model.predict(photo, at=512).decision == "sharp"


def test_a_large_sharp_photo_is_sharp_at_full_size(gray):
    verdict = load_model().predict(np.tile(gray, (3, 4)), at="full")
    assert (verdict.decision, verdict.judged_at_px, verdict.sharp_to_px) == ("sharp", 2048, 2048)


def test_one_sharp_subject_off_the_middle_is_enough_at_full_size(gray):
    large = soften(np.tile(gray, (3, 4)), 8).copy()
    assert load_model().predict(large, at="full").decision == "blurred"
    large[100:612, 300:812] = gray
    assert load_model().predict(large, at="full").decision == "sharp"


@pytest.fixture
def shipped(explainer):
    model = load_model()
    return replace(model, explainer=explainer, card=replace(model.card, explainer={"spread": 2.0}))


def test_a_sharp_photo_is_sharp_as_far_as_it_was_looked_at(shipped, gray):
    verdict = shipped.predict(gray)
    assert verdict.probability < 0.5
    assert verdict.sharp_to_px == verdict.judged_at_px == 512
    without = replace(shipped, explainer=None, card=replace(shipped.card, explainer={}))
    assert without.predict(gray).sharp_to_px == 512


def test_sharp_to_px_is_checked_against_the_verdict_and_scales(shipped, gray):
    soft = soften(gray, 3)
    verdict = shipped.predict(soft)
    assert verdict.probability >= 0.5
    assert verdict.strength_px is not None
    assert 64 <= verdict.sharp_to_px < 512
    assert shipped.predict(soft, at=verdict.sharp_to_px).probability < 0.5
    assert shipped.predict(soft, threshold=0.01).sharp_to_px == verdict.sharp_to_px
    large = np.asarray(Image.fromarray(soft).resize((1024, 1024), Image.Resampling.BICUBIC))
    assert shipped.predict(large).sharp_to_px == pytest.approx(verdict.sharp_to_px, rel=0.2)


def test_without_an_explainer_nobody_knows_how_far_a_blurred_photo_is_sharp(net_model, gray):
    verdict = net_model.predict(soften(gray, 3))
    assert verdict.probability >= 0.5
    assert verdict.sharp_to_px is None


def test_a_size_that_is_none_is_refused(net_model, gray):
    with pytest.raises(ValueError, match="at must be full"):
        net_model.predict(gray, at="half")
