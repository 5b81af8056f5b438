"""The shipped models: their size, their cards, and their verdicts on photographs that they were not trained on."""

from functools import cache

import numpy as np
import pytest
from PIL import Image

from blurgate import build_table, calibrate, evaluate, scan
from blurgate.judging.model import SHIPPED, load_model
from blurgate.making.blurs import BLURS, KernelBlur

MODELS = ("default", "trees", "net", "both", "open")
NAMES = ("astronaut", "chelsea", "china", "coffee", "motorcycle_left")


@pytest.fixture(scope="module", params=MODELS)
def shipped(request):
    return load_model(request.param)


def test_the_file_is_small():
    assert all((SHIPPED / f"{name}.blurgate").stat().st_size < 4_000_000 for name in ("default", "open"))


def test_the_open_model_learnt_from_nothing_under_research_terms():
    card = load_model("open").card
    assert set(card.terms) == {"print", "unsplash"}
    assert {*card.trained_on["trees"]["sources"], *card.trained_on["net"]["sources"]} == {"print", "unsplash"}


@pytest.mark.parametrize("name", ["trees", "net"])
def test_the_card_gives_the_terms_of_each_training_source(name):
    card = load_model(name).card
    assert set(card.terms) == set(card.trained_on["sources"])


def test_the_cards_give_limits_and_costs(shipped):
    card = shipped.card
    assert len(card.limits) >= 3
    assert card.base_rate == 0.5
    assert card.at_threshold["measured_on"] == "sources left out of training"
    assert 0 < card.at_threshold["false_alarm_rate"] < 0.15
    assert card.results["roc_auc"] > 0.95


def test_both_together_are_better_than_the_net_on_sources_left_out():
    net, both = load_model("net").card, load_model("both").card
    assert set(both.trained_on) == {"trees", "net"}
    assert both.results["roc_auc"] > net.results["roc_auc"]


@pytest.fixture(scope="module")
def blurred_copies(photographs):
    """Name of a photograph -> kind -> its blurred copy."""
    kernels = {kind: blur for kind, blur in BLURS.items() if isinstance(blur, KernelBlur)}

    @cache
    def make(name):
        return {
            kind: blur.apply(photographs[name], blur.draw(np.random.default_rng(1), 5.0))
            for kind, blur in kernels.items()
        }

    return make


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_is_sharp_and_its_blurred_copies_are_not(shipped, photographs, blurred_copies, name):
    sharp = shipped.predict(photographs[name])
    assert sharp.decision == "sharp"
    for kind, copy in blurred_copies(name).items():
        blurred = shipped.predict(copy)
        assert blurred.decision == "blurred", kind
        assert blurred.strength_px > 2 * sharp.strength_px


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_and_its_smaller_copy_get_the_same_decision(shipped, photographs, name):
    picture = Image.fromarray(photographs[name])
    smaller = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS)
    assert shipped.predict(picture).decision == shipped.predict(smaller).decision


def test_more_blur_is_more_probable_and_stronger(shipped, photographs):
    blurs = [BLURS["defocus"].apply(photographs["coffee"], {"radius_px": radius}) for radius in (0.5, 2, 4, 8, 12)]
    verdicts = [shipped.predict(rgb) for rgb in blurs]
    strengths = [verdict.strength_px for verdict in verdicts]
    assert strengths == sorted(strengths)
    assert verdicts[0].probability < 0.2
    assert verdicts[2].probability > 0.8


def test_shipped_models_can_be_scanned_with_evaluated_and_calibrated(shipped, made_folder):
    table = build_table(made_folder, feature_set=shipped.card.feature_set, net=shipped.net)
    rows = np.arange(len(table))
    photos = [table.picture(row) for row in rows[::3]]
    probabilities = [verdict.probability for verdict in scan(photos, model=shipped, engine="numpy")]
    np.testing.assert_allclose(probabilities, shipped.predict_features(table.features[::3]).probability, atol=1e-5)
    assert evaluate(shipped, table).numbers["roc_auc"] > 0.9
    calibrated = calibrate(shipped, table.take(rows[::2])).model
    assert calibrated.card.feature_set == shipped.card.feature_set
    assert evaluate(calibrated, table.take(rows[1::2])).numbers["ece"] < 0.15


def test_a_model_has_a_short_repr(shipped):
    assert "threshold=" in repr(shipped)
    assert len(repr(shipped)) < 330
