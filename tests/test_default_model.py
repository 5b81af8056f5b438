"""The model that ships: what it weighs, what it says of itself, and that it judges photographs it has not seen."""

import numpy as np
import pytest
from PIL import Image

from blurgate.blurs import BLURS, KernelBlur
from blurgate.model import DEFAULT_MODEL, load_model

NAMES = ("astronaut", "chelsea", "china", "coffee", "motorcycle_left")


@pytest.fixture(scope="module")
def default():
    return load_model()


def test_it_is_small():
    assert DEFAULT_MODEL.stat().st_size < 2_000_000


def test_its_card_says_what_it_is_made_of_and_what_it_costs(default):
    card = default.card
    assert set(card.terms) == set(card.trained_on["sources"])
    assert len(card.limits) >= 3
    assert card.base_rate == 0.5
    assert card.at_threshold["measured_on"] == "sources left out of training"
    assert 0 < card.at_threshold["false_alarm_rate"] < 0.15
    assert card.results["roc_auc"] > 0.95


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_a_photograph_from_its_blurred_copies(default, photographs, name):
    rgb = photographs[name]
    sharp = default.predict(rgb)
    assert sharp.decision == "sharp"
    for kind, blur in BLURS.items():
        if isinstance(blur, KernelBlur):
            blurred = default.predict(blur.apply(rgb, blur.draw(np.random.default_rng(1), 5.0)))
            assert blurred.decision == "blurred", kind
            assert blurred.strength_px > 2 * sharp.strength_px


@pytest.mark.parametrize("name", NAMES)
def test_it_says_the_same_of_a_photograph_and_its_smaller_copy(default, photographs, name):
    picture = Image.fromarray(photographs[name])
    smaller = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS)
    assert default.predict(picture).decision == default.predict(smaller).decision


def test_more_blur_is_more_probable_and_stronger(default, photographs):
    blurs = [BLURS["defocus"].apply(photographs["coffee"], {"radius_px": radius}) for radius in (0.5, 2, 4, 8, 12)]
    verdicts = [default.predict(rgb) for rgb in blurs]
    strengths = [verdict.strength_px for verdict in verdicts]
    assert strengths == sorted(strengths)
    assert verdicts[0].probability < 0.2
    assert verdicts[2].probability > 0.8
