import json
from dataclasses import replace

import numpy as np
import pytest

from blurgate.errors import DatasetError
from blurgate.judging.explainers import to_estimate
from blurgate.learning.calibration import calibrate
from blurgate.learning.evaluation import CUTOFFS, evaluate
from blurgate.learning.report import render_report
from blurgate.learning.table import build_table


def test_a_whole_evaluation(model, table):
    numbers = evaluate(model, table).numbers
    needed = (
        "n n_blurred n_errors n_undecided roc_auc average_precision brier ece threshold accuracy precision recall f1"
    )
    assert set(needed.split()) | {"confusion_matrix", "by_tier", "by_kind"} <= set(numbers)
    assert sum(map(sum, numbers["confusion_matrix"])) == numbers["n"] == len(table)
    assert [entry["threshold"] for entry in numbers["cutoffs"]] == list(CUTOFFS)
    recalls = [entry["recall"] for entry in numbers["cutoffs"]]
    assert recalls == sorted(recalls, reverse=True)
    assert set(numbers["by_kind"]) == {"defocus", "motion", "gaussian"}
    assert sum(entry["n"] for entry in numbers["recall_by_strength"]) == numbers["n_blurred"]
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_mistakes_are_wrong_and_the_most_confident_come_first(model, table):
    numbers = evaluate(model, table.take(np.arange(len(table))[::-1])).numbers
    _, (missed, _) = numbers["confusion_matrix"]
    false_alarms = numbers["confusion_matrix"][0][1]
    assert len(numbers["mistakes"]) == min(20, missed + false_alarms)
    assert all(entry["label"] != entry["decision"] for entry in numbers["mistakes"])
    odds = [np.log(p / (1 - p)) for p in (numbers["threshold"], *(m["probability"] for m in numbers["mistakes"]))]
    distances = [abs(each - odds[0]) for each in odds[1:]]
    assert distances == sorted(distances, reverse=True)


def test_the_gain_over_the_laplacian_is_paired(model, table):
    other = evaluate(model, table).numbers["variance_of_laplacian"]
    low, high = other["gain_interval"]
    assert low < high
    itself = replace(table, variance_of_laplacian=-model.predict_features(table.features).probability)
    assert evaluate(model, itself).numbers["variance_of_laplacian"]["gain_interval"] == [0.0, 0.0]


@pytest.mark.parametrize(("value", "rate", "other"), [(0, "false_alarm", "miss"), (1, "miss", "false_alarm")])
def test_one_class_is_evaluated_by_its_error_rate(model, table, value, rate, other):
    whole = evaluate(model, table).numbers
    numbers = evaluate(model, table.take(np.flatnonzero(table.labels == value))).numbers
    wrong = whole["confusion_matrix"][value][1 - value] / sum(whole["confusion_matrix"][value])
    assert numbers[f"{rate}_rate"] == whole[f"{rate}_rate"] == pytest.approx(wrong)
    low, high = numbers[f"{rate}_interval"]
    assert 0 <= low <= wrong <= high < 1
    assert high > 0
    for name in ("roc_auc", "roc_auc_interval", "average_precision", "precision", "f1", "curves", f"{other}_rate"):
        assert numbers[name] is None
    assert numbers["variance_of_laplacian"]["roc_auc"] is None
    assert (numbers["recall"] is None) == (value == 0)
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_what_the_model_labelled_is_left_out_and_counted(model, table):
    photos = tuple(replace(p, labelled_by="model", label="sharp") if n % 3 else p for n, p in enumerate(table.photos))
    numbers = evaluate(model, replace(table, photos=photos)).numbers
    by_persons = evaluate(model, table.take(np.arange(0, len(table), 3))).numbers
    assert numbers == by_persons | {"n_by_model": len(table) - by_persons["n"]}
    with pytest.raises(DatasetError, match="expected photos that a person labelled, but the model labelled all"):
        evaluate(model, replace(table, photos=photos).take(np.array([1, 2])))


@pytest.fixture(scope="module")
def read(made_folder, explaining_model):
    """A table of the small explaining model, with readings made up from the truth: motion is told from the rest."""
    card = explaining_model.card
    readers = {"net": explaining_model.net, "explainer": explaining_model.explainer}
    table = build_table(made_folder, feature_set=card.feature_set, **readers)
    readings = np.zeros_like(table.readings)
    readings[:, 0], readings[:, 1] = 3, 6 * (table.families == "motion")
    readings[:, 3], readings[:, 4] = np.log2(np.nan_to_num(table.strengths) * 1.1 + 0.5), -2
    return replace(table, readings=readings)


@pytest.fixture(scope="module")
def lenient(explaining_model):
    """The small explaining model with a threshold that every photo reaches."""
    return explaining_model.with_threshold(0.0)


def test_kinds_and_strengths_are_what_the_explainer_read(lenient, read):
    numbers = evaluate(lenient, read).numbers
    confusion = numbers["kind"]["confusion"]
    assert numbers["model"]["explainer"] == lenient.explainer.name
    assert confusion["motion"]["motion"] == (read.families == "motion").sum() == sum(confusion["motion"].values())
    assert confusion["defocus"]["defocus"] == (read.families == "defocus").sum()
    assert confusion["gaussian"] == {
        "defocus": (read.families == "gaussian").sum(),
        "motion": 0,
        "gaussian": 0,
        "mixed": 0,
    }
    assert numbers["kind"]["balanced_accuracy"] == pytest.approx(2 / 3)
    assert sum(entry["n"] for entry in numbers["kind"]["by_strength"]) == numbers["kind"]["n"] == read.labels.sum()
    assert numbers["strength"]["median_relative_error"] == pytest.approx(0.1, abs=1e-3)
    assert numbers["strength"]["spearman"] == pytest.approx(1)
    assert numbers["strength"]["share_in_interval"] == 1
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_what_is_missed_has_no_kind_and_is_counted(explaining_model, read):
    strict = explaining_model.with_threshold(
        float(np.median(explaining_model.predict_features(read.features).probability[read.labels == 1]))
    )
    numbers = evaluate(strict, read).numbers
    missed = numbers["confusion_matrix"][1][0]
    assert missed == numbers["kind"]["n_missed"] == numbers["strength"]["n_missed"] > 0
    assert numbers["kind"]["n"] == numbers["n_blurred"] - missed


def test_kinds_of_blur_generator_belong_to_a_family(lenient, read):
    kinds = {"motion": "bg-motion", "defocus": "bg-lens", "gaussian": "bg-gaussian", "": ""}
    photos = tuple(replace(photo, kind=kinds[family]) for photo, family in zip(read.photos, read.families, strict=True))
    renamed, numbers = evaluate(lenient, replace(read, photos=photos)).numbers, evaluate(lenient, read).numbers
    assert (renamed["kind"], set(renamed["by_kind"])) == (numbers["kind"], set(kinds.values()) - {""})


def test_without_readings_there_is_what_the_model_says_without_them(lenient, read):
    numbers = evaluate(lenient, replace(read, explainer="", readings=None)).numbers
    assert numbers["kind"] is None
    assert numbers["strength"]["share_in_interval"] is None  # the net predicts a strength without bounds
    assert evaluate(lenient, replace(read, readings=np.full_like(read.readings, np.nan))).numbers["kind"] is None


def test_readings_of_another_explainer_are_refused(lenient, read):
    with pytest.raises(DatasetError, match="readings of the model's explainer-.*has those of explainer-00000000: give"):
        evaluate(lenient, replace(read, explainer="explainer-00000000"))


def test_a_table_predicts_what_a_photo_gets(explaining_model, made_folder):
    model = explaining_model.with_threshold(0.0)
    readers = {"net": model.net, "explainer": model.explainer}
    table = build_table(made_folder, feature_set=model.card.feature_set, **readers).take(np.arange(5))
    predictions = model.predict_features(table.features, table.readings)
    for row in range(5):
        verdict = model.predict(table.picture(row))
        estimate = to_estimate(table.readings[row].astype(float), 2.0)
        assert verdict.kind == predictions.kind[row] == estimate.kind
        assert verdict.strength_px == pytest.approx(predictions.strength_px[row], abs=2e-3)
        assert verdict.strength_low_px == pytest.approx(predictions.interval_px[row, 0], abs=2e-3)


def test_calibrating_keeps_the_explainer(explaining_model, read):
    calibrated = calibrate(explaining_model, read).model
    assert calibrated.explainer == explaining_model.explainer
    assert calibrated.card.explainer == explaining_model.card.explainer


def test_the_report_shows_which_kind_was_taken_for_which(lenient, read):
    evaluation = evaluate(lenient, read)
    page = render_report(evaluation, title="x")
    assert page.count('<table class="kinds">') == 1 + len(evaluation.numbers["kind"]["by_strength"])
    assert "names the right kind for 66.7 % of" in page
    assert "<th>mixed</th>" not in page
    unsure = replace(read, readings=np.concatenate([np.zeros_like(read.readings[:, :3]), read.readings[:, 3:]], axis=1))
    assert "<th>mixed</th>" in render_report(evaluate(lenient, unsure), title="x")
    page = render_report(evaluate(lenient, replace(read, explainer="", readings=None)), title="x")
    assert '<table class="kinds">' not in page
    assert "the table does not hold what it read" in page
    photos = tuple(replace(photo, kind="", strength_px=float("nan")) for photo in read.photos)
    assert "Kind and strength" not in render_report(evaluate(lenient, replace(read, photos=photos)), title="x")
