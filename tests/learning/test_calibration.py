from dataclasses import replace

import numpy as np
import pytest

from blurgate.errors import DatasetError
from blurgate.judging.model import load_model, to_probability
from blurgate.learning.calibration import calibrate, choose_threshold, fit_calibration, pick_threshold
from blurgate.learning.evaluation import evaluate
from blurgate.learning.splits import split_scenes


def wrong_line(model, slope=1.0, shift=5.0):
    """A model whose probabilities are far off, though it ranks as well."""
    card = model.card
    return replace(model, card=replace(card, slope=slope * card.slope, intercept=slope * card.intercept + shift))


@pytest.fixture(scope="module")
def own(table):
    split = split_scenes(table, folds=3, seed=5)
    return table.take(split.test), table.take(split.train)


def test_calibration_mends_what_is_off():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 5000)
    labels = (rng.uniform(size=5000) < to_probability(truth)).astype(np.int8)
    slope, intercept = fit_calibration(labels, 3 * truth + 1)
    assert slope == pytest.approx(1 / 3, rel=0.1)
    assert intercept == pytest.approx(-1 / 3, abs=0.1)


def test_calibration_stays_finite_where_classes_are_apart():
    slope, intercept = fit_calibration(np.array([0, 0, 1, 1], np.int8), np.array([-5.0, -4.0, 4.0, 5.0]))
    assert 0 < slope < 10
    assert abs(intercept) < 1


def test_weights_set_the_odds():
    margins, labels = np.zeros(40), np.repeat([0, 1], [10, 30]).astype(np.int8)
    weights = np.repeat([3.0, 1.0], [10, 30])
    _, intercept = fit_calibration(labels, margins, weights)
    assert to_probability(np.asarray([intercept]))[0] == pytest.approx(0.5, abs=0.03)
    assert to_probability(np.asarray([fit_calibration(labels, margins)[1]]))[0] == pytest.approx(0.75, abs=0.03)


def test_a_calibrated_model_means_what_it_says_on_other_scenes(model, own):
    mine, others = own
    off = wrong_line(model)
    fitted = calibrate(off, mine)
    before, after = (evaluate(one, others).numbers for one in (off, fitted.model))
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
    told = table.features.copy()
    told[:, 7] = np.where(table.labels == 1, 0.0, 9.0)  # something about these photos that the model never saw
    mine = replace(table, features=told)
    fitted = calibrate(model, mine)
    assert fitted.numbers["refitted"]
    assert fitted.model.boosters.keys() - model.boosters.keys() == {"own"}
    assert fitted.numbers["after"]["accuracy"] > 0.94
    with pytest.raises(DatasetError, match="this one was refitted to somebody's photos: start from that one"):
        calibrate(fitted.model, mine)


def test_a_refitted_model_keeps_in_its_file(model, table, tmp_path):
    told = table.features.copy()
    told[:, 7] = np.where(table.labels == 1, 0.0, 9.0)
    fitted = calibrate(model, replace(table, features=told)).model
    fitted.save(tmp_path / "own.blurgate")
    loaded = load_model(tmp_path / "own.blurgate")
    assert loaded == fitted
    np.testing.assert_array_equal(loaded.log_odds(told), fitted.log_odds(told))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_promises_are_kept_on_the_photos_they_were_made_on(share):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200).astype(np.int8)
    probabilities = to_probability(rng.normal(2.0 * labels - 1, 1.5))
    cautious = pick_threshold(labels, probabilities, share, None)
    assert (probabilities[labels == 0] >= cautious).mean() <= share
    eager = pick_threshold(labels, probabilities, None, share)
    assert (probabilities[labels == 1] >= eager).mean() >= share
    assert pick_threshold(labels, probabilities, None, None) == 0.5


def test_a_promise_costs_as_little_as_it_can(model, table):
    cautious = calibrate(model, table, max_false_alarms=0.02).numbers["after"]
    eager = calibrate(model, table, min_recall=0.98).numbers["after"]
    (sharp, alarms), _ = cautious["confusion_matrix"]
    assert alarms / (sharp + alarms) <= 0.02
    assert eager["recall"] >= 0.98
    assert cautious["threshold"] >= 0.5 >= eager["threshold"]


def test_the_card_tells_what_it_was_calibrated_on(model, own):
    mine, others = own
    card = calibrate(model, mine).model.card
    assert card.calibrated_on["n"] == len(mine)
    assert len(card.calibrated_on["digests"]) == len(mine)
    assert set(card.at_threshold) == {"false_alarm_rate", "miss_rate", "measured_on"}
    assert evaluate(calibrate(model, mine).model, others).numbers["n"] == len(others)


def test_photos_that_it_was_calibrated_on_do_not_judge_it(model, own, table):
    fitted = calibrate(model, own[0]).model
    with pytest.raises(
        DatasetError, match=rf"of {len(table)} it was on {len(own[0])}, the very same pictures: \w+/.* more"
    ):
        evaluate(fitted, table)


def test_what_cannot_work_is_refused(model, table):
    few = np.concatenate([np.flatnonzero(table.labels == value)[:count] for value, count in ((0, 5), (1, 10))])
    with pytest.raises(
        DatasetError, match=r"at least 20 labelled photos .* got 5 sharp and 10 blurred ones: label more"
    ):
        calibrate(model, table.take(few))
    with pytest.raises(DatasetError, match="sharp and blurred photos were needed, but all 96 are blurred"):
        calibrate(model, table.take(np.flatnonzero(table.labels == 1)))
    swapped = tuple(replace(p, label="sharp" if p.label == "blurred" else "blurred") for p in table.photos)
    with pytest.raises(DatasetError, match="its ROC AUC on them is 0.0.: see whether sharp and blurred are swapped"):
        calibrate(model, replace(table, photos=swapped))
    alone = tuple(replace(photo, scene="one") for photo in table.photos)
    with pytest.raises(DatasetError, match="photos of two scenes or more were needed in each class"):
        calibrate(model, replace(table, photos=alone))
    with pytest.raises(DatasetError, match="not calibrated on were needed"):
        calibrate(calibrate(model, table.take(np.arange(60))).model, table)
    other = replace(table, features=table.features[:, :18], feature_set="dct18")
    with pytest.raises(
        DatasetError, match="a table of the feature set block99 was needed, which the model was trained"
    ):
        calibrate(model, other)
    with pytest.raises(DatasetError, match="this is one of dct18: make it with --feature-set block99"):
        evaluate(model, other)
    with pytest.raises(ValueError, match="min_recall must be between 0 and 1, got 95"):
        calibrate(model, table, min_recall=95)
    with pytest.raises(ValueError, match="got both"):
        calibrate(model, table, min_recall=0.9, max_false_alarms=0.1)


def test_threshold_parts_what_can_be_parted_in_the_middle():
    assert choose_threshold(np.array([0, 0, 1, 1], np.int8), np.array([0.1, 0.2, 0.8, 0.9])) == pytest.approx(0.5)


def test_threshold_does_not_follow_the_share_of_blurred_photos():
    rng = np.random.default_rng(0)
    sharp, blurred = rng.normal(0.3, 0.1, 400), rng.normal(0.7, 0.1, 400)
    scores, labels = np.concatenate([sharp, blurred]), np.repeat([0, 1], 400).astype(np.int8)
    even = choose_threshold(labels, scores)
    rare = choose_threshold(np.concatenate([labels, np.zeros(4000, np.int8)]), np.concatenate([scores, *[sharp] * 10]))
    assert even == pytest.approx(0.5, abs=0.04)
    assert rare == pytest.approx(even, abs=0.04)
