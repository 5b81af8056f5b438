from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurgate import scan
from blurgate.judging.doubts import (
    COARSE_GRAIN,
    DARK,
    DARK_LUMA,
    DISAGREEMENT,
    GRAIN_SIGMA,
    LITTLE_TEXTURE,
    disagree,
    estimate_noise,
    find_doubts,
    has_coarse_grain,
    is_dark,
)
from blurgate.photos.images import read_gray

NO_DOUBT = {"texture_to_spare": 9.0, "grain": True, "opinions": (1.0, 2.0)}


def add_noise(gray, sigma):
    noise = np.random.default_rng(0).normal(0, sigma, gray.shape)
    return np.clip(gray + noise, 0, 255).round().astype(np.uint8)


def test_more_noise_is_estimated_as_more(astronaut):
    gray = read_gray(astronaut)
    estimates = [estimate_noise(add_noise(gray, sigma)) for sigma in (0, 3, 6, 12, 24)]
    assert estimates == sorted(estimates)
    assert estimates[0] < GRAIN_SIGMA < estimates[2]


@pytest.mark.parametrize("sigma", [4, 8, 16])
@pytest.mark.parametrize("shape", [(64, 64), (300, 1000)])
def test_the_noise_of_a_gradient_is_its_noise(sigma, shape):
    ramp = np.broadcast_to(np.linspace(70, 180, shape[1]), shape)
    assert estimate_noise(add_noise(ramp, sigma)) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("shape", [(64, 64), (64, 3000), (3000, 64), (1200, 900)])
def test_grain_and_darkness_are_found_in_photos_of_any_shape(shape):
    gray = np.full(shape, 20, np.uint8)
    assert is_dark(gray)
    assert not has_coarse_grain(gray)
    assert has_coarse_grain(add_noise(gray + 100, 12))


def test_each_doubt_has_its_words(astronaut):
    gray = read_gray(astronaut)
    assert find_doubts(gray, **NO_DOUBT) == ()
    assert find_doubts(gray // 8, **NO_DOUBT) == (DARK,)
    assert find_doubts(add_noise(gray, 20), **NO_DOUBT) == (COARSE_GRAIN,)
    assert find_doubts(add_noise(gray, 20), **(NO_DOUBT | {"grain": False})) == ()
    assert find_doubts(gray, **(NO_DOUBT | {"texture_to_spare": 0.1})) == (LITTLE_TEXTURE,)
    assert find_doubts(gray, **(NO_DOUBT | {"opinions": (-1.0, 2.0)})) == (DISAGREEMENT,)
    assert find_doubts(gray, **(NO_DOUBT | {"opinions": None})) == ()
    worst = {"texture_to_spare": 0.0, "grain": True, "opinions": (1.0, -1.0)}
    assert find_doubts(add_noise(gray // 16, 12), **worst) == (DARK, COARSE_GRAIN, LITTLE_TEXTURE, DISAGREEMENT)


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_disagreeing_is_mutual(trees, net):
    assert disagree(trees, net) == disagree(net, trees)
    assert not disagree(trees, trees)


def test_the_reason_of_an_undecided_photo_is_its_doubts(cascade, model, astronaut):
    dark = astronaut // 8
    assert read_gray(dark).mean() < DARK_LUMA
    (verdict,) = scan([dark], model=cascade, review=(0.0, 1.0))
    assert verdict.reason.startswith("in doubt: dark")
    (verdict,) = scan([dark], model=model, review=(0.0, 1.0))  # without a net, as far as trees can tell
    assert verdict.reason.startswith("in doubt: dark")
    assert [verdict.reason for verdict in scan([dark], model=cascade, threshold=1.0)] == [""]


def test_trees_and_net_disagree_by_their_own_calibration(cascade, astronaut):
    def reason_with(intercept):
        alone = {**cascade.card.alone, "net": {"net_slope": 0.0, "intercept": intercept}}
        judge = replace(cascade, card=replace(cascade.card, alone=alone))
        return next(scan([astronaut], model=judge, review=(0.0, 1.0))).reason

    assert "trees and net disagree" in reason_with(1.0)
    assert "trees and net disagree" not in reason_with(-1.0)


def test_only_photos_that_are_asked_about_get_doubts(cascade, astronaut):
    never = replace(cascade, card=replace(cascade.card, ask_from=1e9, threshold=1.0))
    assert never.measure(astronaut // 8).evidence.doubts == ()
    always = replace(cascade, card=replace(cascade.card, ask_from=-1e9))
    assert always.measure(astronaut // 8).evidence.doubts[0] == DARK
