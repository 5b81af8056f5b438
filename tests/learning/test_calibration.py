from dataclasses import replace

import numpy as np
import pytest

from blurgate.errors import DatasetError
from blurgate.judging.model import load_model, to_probability
from blurgate.learning.calibration import (
    CONCLUSIONS,
    calibrate,
    choose_threshold,
    constrain_threshold,
    fit_calibration,
    weigh_photos,
)
from blurgate.learning.evaluation import evaluate
from blurgate.learning.splits import split_scenes
from blurgate.learning.table import join_tables


def miscalibrate(model, slope=1.0, shift=5.0):
    """A model with badly calibrated probabilities and an unchanged ranking."""
    card = model.card
    return replace(model, card=replace(card, slope=slope * card.slope, intercept=slope * card.intercept + shift))


def mark(table, **changes):
    """The same photos, labelled or chosen by somebody else."""
    return replace(table, photos=tuple(replace(photo, **changes) for photo in table.photos))


def find_mistakes(model, table, threshold):
    return np.flatnonzero((model.predict_features(table.features).probability >= threshold) != table.labels)


def predict(model, table):
    return model.predict_features(table.features).probability


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


@pytest.mark.parametrize("count", [1, 2, 6, 20])
def test_a_few_photos_are_taken_and_do_not_overrule_the_model(model, table, count):
    fitted = calibrate(model, table.take(np.random.default_rng(count).permutation(len(table))[:count]))
    assert 0.5 < fitted.model.card.slope / model.card.slope < 2
    assert fitted.model.card.threshold == fitted.numbers["threshold"] == model.card.threshold  # it does not jump
    assert fitted.numbers["conclusion"] in CONCLUSIONS
    assert len(fitted.model.card.calibrated_on["digests"]) == count
    if fitted.numbers["conclusion"] != "better":
        np.testing.assert_array_equal(predict(fitted.model, table), predict(model, table))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_marked_mistakes_alone_change_nothing_wherever_the_slider_was(model, table, threshold):
    off = miscalibrate(model, shift=1.0)
    marked = mark(table.take(find_mistakes(off, table, threshold)), chosen_by="person")
    for rows in (np.arange(1), np.arange(6), np.arange(len(marked)), np.flatnonzero(marked.labels == marked.labels[0])):
        fitted = calibrate(off, marked.take(rows))
        np.testing.assert_array_equal(predict(fitted.model, table), predict(off, table))
        assert fitted.numbers["conclusion"] in {"too few", "one class"}
        assert fitted.numbers["n_chosen"] == len(rows)
        assert fitted.numbers["after"] is None  # figures of chosen photos would mean nothing


def test_a_list_of_mistakes_that_does_not_say_so_counts_little(model, table):
    off = miscalibrate(model, shift=1.0)
    mistakes = table.take(find_mistakes(off, table, off.card.threshold))
    assert weigh_photos(off, mistakes).sum() == pytest.approx(1)
    right = table.take(np.setdiff1d(np.arange(len(table)), find_mistakes(off, table, off.card.threshold)))
    assert weigh_photos(off, right).sum() == len(right)
    assert weigh_photos(off, mark(mistakes, chosen_by="model")).sum() == len(mistakes)


def test_photos_that_the_model_proposed_count_in_full(model, own):
    mine, others = own
    off = miscalibrate(model, shift=2.0)
    doubtful = np.argsort(np.abs(off.log_odds(mine.features)))[:20]
    fitted = calibrate(off, mark(mine.take(doubtful), chosen_by="model"))
    assert fitted.numbers["conclusion"] == "better"
    before, after = (evaluate(each, others).numbers for each in (off, fitted.model))
    assert after["brier"] < before["brier"]
    assert after["accuracy"] > before["accuracy"]


def test_what_the_model_labelled_is_no_truth(model, own):
    mine, others = own
    swapped = tuple(
        replace(photo, label="sharp" if photo.label == "blurred" else "blurred", labelled_by="model")
        for photo in others.photos
    )
    both = join_tables([mine, replace(others, photos=swapped)])
    alone, fitted = calibrate(miscalibrate(model), mine), calibrate(miscalibrate(model), both)
    assert fitted.model == alone.model
    assert fitted.numbers == alone.numbers | {"n_by_model": len(others)}
    with pytest.raises(DatasetError, match=f"the model labelled all {len(others)}: label some yourself"):
        calibrate(model, mark(others, labelled_by="model"))


def test_labels_of_one_class_cannot_tell(model, table):
    sharp = table.take(np.flatnonzero(table.labels == 0))
    fitted = calibrate(miscalibrate(model), sharp)
    assert fitted.numbers["conclusion"] == "one class"
    np.testing.assert_array_equal(predict(fitted.model, table), predict(miscalibrate(model), table))


def test_a_model_that_fits_already_is_kept(model, table):
    rng, probabilities = np.random.default_rng(0), predict(model, table)
    labels = np.asarray(["sharp", "blurred"])[(rng.uniform(size=len(table)) < probabilities).astype(int)]
    fits = replace(
        table, photos=tuple(replace(p, label=str(label)) for p, label in zip(table.photos, labels, strict=True))
    )
    fitted = calibrate(model, fits)
    assert fitted.numbers["conclusion"] == "no different"
    assert fitted.numbers["before"] == fitted.numbers["after"]
    assert not fitted.numbers["refitted"]


def test_scenes_can_be_held_out(model, table):
    fitted = calibrate(miscalibrate(model), table, holdout=0.3)
    held_out = fitted.numbers["n_held_out"]
    assert fitted.numbers["n"] + held_out == len(table)
    assert fitted.numbers["conclusion"] == "better"
    assert fitted.numbers["after"]["log_loss"] < fitted.numbers["before"]["log_loss"]
    assert sum(map(sum, fitted.numbers["after"]["confusion_matrix"])) == held_out
    assert len(fitted.model.card.calibrated_on["digests"]) == len(table) - held_out
    with pytest.raises(DatasetError, match="holding out 90% of 1 scenes leaves none to calibrate on"):
        calibrate(model, mark(table, scene="same"), holdout=0.9)


def test_a_calibration_that_photos_held_out_contradict_is_not_kept(model, table):
    scenes = np.random.default_rng(0).permutation(np.unique(table.scenes))
    held_out = set(scenes[: int(np.ceil(0.3 * len(scenes)))])
    off = miscalibrate(model)
    decided = (predict(off, table) >= off.card.threshold).astype(int)
    photos = tuple(
        replace(photo, label=("sharp", "blurred")[decision]) if photo.scene in held_out else photo
        for photo, decision in zip(table.photos, decided, strict=True)
    )
    fitted = calibrate(off, replace(table, photos=photos), holdout=0.3)
    assert fitted.numbers["conclusion"] == "worse"
    assert fitted.numbers["before"] == fitted.numbers["after"]
    np.testing.assert_array_equal(predict(fitted.model, table), predict(off, table))


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
    assert constrain_threshold(labels, probabilities, None, None, start=0.3) == 0.3


def test_calibrate_meets_the_limits(model, table):
    cautious = calibrate(model, table, max_false_alarms=0.02).numbers["after"]
    eager = calibrate(model, table, min_recall=0.98).numbers["after"]
    (sharp, alarms), _ = cautious["confusion_matrix"]
    assert alarms / (sharp + alarms) <= 0.02
    assert eager["recall"] >= 0.98
    assert cautious["threshold"] >= model.card.threshold >= eager["threshold"]


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
    with pytest.raises(DatasetError, match="calibrating needs a labelled photo that can be judged, got none"):
        calibrate(model, table.take(np.arange(0)))
    swapped = tuple(replace(p, label="sharp" if p.label == "blurred" else "blurred") for p in table.photos)
    with pytest.raises(DatasetError, match="its ROC AUC on them is 0.0.: check whether sharp and blurred are swapped"):
        calibrate(model, replace(table, photos=swapped))
    assert calibrate(model, mark(table, scene="same")).numbers["conclusion"] == "too few"  # no scene to leave out
    with pytest.raises(DatasetError, match="expected photos that the model was not calibrated on"):
        calibrate(calibrate(model, table.take(np.arange(60))).model, table)
    other = replace(table, features=table.features[:, :18], feature_set="dct18")
    with pytest.raises(DatasetError, match="needs a table of the feature set block99, which it was trained on"):
        calibrate(model, other)
    with pytest.raises(DatasetError, match="this is one of dct18: make it with --feature-set block99"):
        evaluate(model, other)
    with pytest.raises(ValueError, match="min_recall must be between 0 and 1, got 95"):
        calibrate(model, table, min_recall=95)
    with pytest.raises(ValueError, match="holdout must be from 0 up to 1, but not 1, got 1"):
        calibrate(model, table, holdout=1)
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


def test_copies_of_a_file_weigh_as_one_photo(model, table):
    rows = [0, 0, 0, 1]
    photos = tuple(replace(table.photos[row], path=f"{number}.jpg") for number, row in enumerate(rows))
    copied = replace(table.take(np.array(rows)), photos=tuple(replace(photo, chosen_by="model") for photo in photos))
    np.testing.assert_allclose(weigh_photos(model, copied), [1 / 3, 1 / 3, 1 / 3, 1])
