from dataclasses import replace

import numpy as np
import pytest

from blurgate.errors import DatasetError
from blurgate.judging.model import load_model, to_probability
from blurgate.learning.calibration import calibrate, choose_threshold, constrain_threshold, fit_calibration
from blurgate.learning.evaluation import evaluate
from blurgate.learning.splits import split_scenes


def miscalibrate(model, slope=1.0, shift=5.0):
    """A model with badly calibrated probabilities and an unchanged ranking."""
    card = model.card
    return replace(model, card=replace(card, slope=slope * card.slope, intercept=slope * card.intercept + shift))


@pytest.fixture(scope="module")
def own(table):
    split = split_scenes(table, folds=3, seed=5)
    return table.take(split.test), table.take(split.train)


def test_calibration_corrects_slope_and_intercept():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 5000)
    labels = (rng.uniform(size=5000) < to_probability(truth)).astype(np.int8)
    slope, intercept = fit_calibration(labels, 3 * truth + 1)
    assert slope == pytest.approx(1 / 3, rel=0.1)
    assert intercept == pytest.approx(-1 / 3, abs=0.1)


def test_calibration_stays_finite_if_classes_are_separable():
    slope, intercept = fit_calibration(np.array([0, 0, 1, 1], np.int8), np.array([-5.0, -4.0, 4.0, 5.0]))
    assert 0 < slope < 10
    assert abs(intercept) < 1


def test_weights_set_the_odds():
    margins, labels = np.zeros(40), np.repeat([0, 1], [10, 30]).astype(np.int8)
    weights = np.repeat([3.0, 1.0], [10, 30])
    _, intercept = fit_calibration(labels, margins, weights)
    assert to_probability(np.asarray([intercept]))[0] == pytest.approx(0.5, abs=0.03)
    assert to_probability(np.asarray([fit_calibration(labels, margins)[1]]))[0] == pytest.approx(0.75, abs=0.03)


def test_a_calibrated_model_has_better_probabilities_on_other_scenes(model, own):
    mine, others = own
    off = miscalibrate(model)
    fitted = calibrate(off, mine)
    before, after = (evaluate(each, others).numbers for each in (off, fitted.model))
    assert after["brier"] < before["brier"]
    assert after["roc_auc"] == pytest.approx(before["roc_auc"])
    assert fitted.model.card.base_rate == pytest.approx(mine.labels.mean())
    assert fitted.numbers["after"]["log_loss"] < fitted.numbers["before"]["log_loss"]
    assert not fitted.numbers["refitted"]


def test_twenty_photos_do_not_overrule_the_model(model, table):
    few = table.take(np.arange(21))
    fitted = calibrate(model, few).model.card
    assert 0.3 < fitted.slope / model.card.slope < 3


def test_trees_are_added_where_they_help(model, table):
    features = table.features.copy()
    features[:, 7] = np.where(table.labels == 1, 0.0, 9.0)  # a property of these photos that the model never saw
    mine = replace(table, features=features)
    fitted = calibrate(model, mine)
    assert fitted.numbers["refitted"]
    assert fitted.model.boosters.keys() - model.boosters.keys() == {"own"}
    assert fitted.numbers["after"]["accuracy"] > 0.94
    with pytest.raises(DatasetError, match="already has trees fitted to a user's photos: start from the original"):
        calibrate(fitted.model, mine)


def test_a_refitted_model_is_saved_and_loaded_completely(model, table, tmp_path):
    features = table.features.copy()
    features[:, 7] = np.where(table.labels == 1, 0.0, 9.0)
    fitted = calibrate(model, replace(table, features=features)).model
    fitted.save(tmp_path / "own.blurgate")
    loaded = load_model(tmp_path / "own.blurgate")
    assert loaded == fitted
    np.testing.assert_array_equal(loaded.log_odds(features), fitted.log_odds(features))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_limits_are_met_on_the_photos_that_chose_the_threshold(share):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200).astype(np.int8)
    probabilities = to_probability(rng.normal(2.0 * labels - 1, 1.5))
    cautious = constrain_threshold(labels, probabilities, share, None)
    assert (probabilities[labels == 0] >= cautious).mean() <= share
    eager = constrain_threshold(labels, probabilities, None, share)
    assert (probabilities[labels == 1] >= eager).mean() >= share
    assert constrain_threshold(labels, probabilities, None, None) == 0.5


def test_calibrate_meets_the_limits(model, table):
    cautious = calibrate(model, table, max_false_alarms=0.02).numbers["after"]
    eager = calibrate(model, table, min_recall=0.98).numbers["after"]
    (sharp, alarms), _ = cautious["confusion_matrix"]
    assert alarms / (sharp + alarms) <= 0.02
    assert eager["recall"] >= 0.98
    assert cautious["threshold"] >= 0.5 >= eager["threshold"]


def test_the_card_records_what_it_was_calibrated_on(model, own):
    mine, others = own
    card = calibrate(model, mine).model.card
    assert card.calibrated_on["n"] == len(mine)
    assert len(card.calibrated_on["digests"]) == len(mine)
    assert set(card.at_threshold) == {"false_alarm_rate", "miss_rate", "measured_on"}
    assert evaluate(calibrate(model, mine).model, others).numbers["n"] == len(others)


def test_a_model_is_not_evaluated_on_photos_that_it_was_calibrated_on(model, own, table):
    fitted = calibrate(model, own[0]).model
    with pytest.raises(
        DatasetError, match=rf"it was calibrated on {len(own[0])} of these {len(table)}: \w+/.* more; remove them"
    ):
        evaluate(fitted, table)


def test_errors(model, table):
    few = np.concatenate([np.flatnonzero(table.labels == value)[:count] for value, count in ((0, 5), (1, 10))])
    with pytest.raises(DatasetError, match=r"at least 20 labelled photos .* got 5 sharp and 10 blurred: label more"):
        calibrate(model, table.take(few))
    with pytest.raises(DatasetError, match="expected sharp and blurred photos, but all 96 are blurred"):
        calibrate(model, table.take(np.flatnonzero(table.labels == 1)))
    swapped = tuple(replace(p, label="sharp" if p.label == "blurred" else "blurred") for p in table.photos)
    with pytest.raises(DatasetError, match="its ROC AUC on them is 0.0.: check whether sharp and blurred are swapped"):
        calibrate(model, replace(table, photos=swapped))
    alone = tuple(replace(photo, scene="same") for photo in table.photos)
    with pytest.raises(
        DatasetError, match="two scenes or more in each class, to leave some out, but a class has only one"
    ):
        calibrate(model, replace(table, photos=alone))
    with pytest.raises(DatasetError, match="expected photos that the model was not calibrated on"):
        calibrate(calibrate(model, table.take(np.arange(60))).model, table)
    other = replace(table, features=table.features[:, :18], feature_set="dct18")
    with pytest.raises(DatasetError, match="needs a table of the feature set block99, which it was trained on"):
        calibrate(model, other)
    with pytest.raises(DatasetError, match="this is one of dct18: make it with --feature-set block99"):
        evaluate(model, other)
    with pytest.raises(ValueError, match="min_recall must be between 0 and 1, got 95"):
        calibrate(model, table, min_recall=95)
    with pytest.raises(ValueError, match="give either max_false_alarms or min_recall, not both"):
        calibrate(model, table, min_recall=0.9, max_false_alarms=0.1)


def test_threshold_of_separable_classes_is_in_the_middle():
    assert choose_threshold(np.array([0, 0, 1, 1], np.int8), np.array([0.1, 0.2, 0.8, 0.9])) == pytest.approx(0.5)


def test_threshold_does_not_depend_on_the_share_of_blurred_photos():
    rng = np.random.default_rng(0)
    sharp, blurred = rng.normal(0.3, 0.1, 400), rng.normal(0.7, 0.1, 400)
    scores, labels = np.concatenate([sharp, blurred]), np.repeat([0, 1], 400).astype(np.int8)
    even = choose_threshold(labels, scores)
    rare = choose_threshold(np.concatenate([labels, np.zeros(4000, np.int8)]), np.concatenate([scores, *[sharp] * 10]))
    assert even == pytest.approx(0.5, abs=0.04)
    assert rare == pytest.approx(even, abs=0.04)
