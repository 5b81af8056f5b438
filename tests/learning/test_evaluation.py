import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurgate.errors import DatasetError
from blurgate.learning.evaluation import CUTOFFS, evaluate
from blurgate.learning.metrics import (
    bootstrap_roc_auc,
    recall_by_strength,
    score_calibration,
    score_decisions,
    score_groups,
    score_ranking,
)

LABELS = np.array([0, 0, 0, 1, 1, 1], np.int8)
PROBABILITIES = np.array([0.1, 0.2, 0.7, 0.3, 0.8, 0.9])


def test_decisions_by_hand():
    found = score_decisions(LABELS, PROBABILITIES, 0.5)
    assert found["confusion_matrix"] == [[2, 1], [1, 2]]
    assert found["accuracy"] == found["precision"] == found["recall"] == found["f1"] == pytest.approx(2 / 3)


def test_a_photo_at_the_threshold_is_blurred():
    assert score_decisions(LABELS, PROBABILITIES, 0.3)["confusion_matrix"] == [[2, 1], [0, 3]]


def test_nothing_called_blurred():
    found = score_decisions(LABELS, PROBABILITIES, 0.99)
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)


def test_ranking_by_hand():
    pairs = [(p > n) + 0.5 * (p == n) for p in PROBABILITIES[LABELS == 1] for n in PROBABILITIES[LABELS == 0]]
    assert score_ranking(LABELS, PROBABILITIES)["roc_auc"] == pytest.approx(np.mean(pairs))


@given(st.integers(0, 2**32))
def test_calibration_of_honest_probabilities_is_good_and_of_boasting_ones_bad(seed):
    rng = np.random.default_rng(seed)
    honest = rng.uniform(0, 1, 4000)
    labels = (rng.uniform(0, 1, 4000) < honest).astype(np.int8)
    assert score_calibration(labels, honest)["ece"] < 0.06
    assert score_calibration(labels, np.round(honest))["ece"] > 0.2


def test_calibration_by_hand():
    found = score_calibration(np.array([0, 1], np.int8), np.array([0.25, 0.75]))
    assert found["ece"] == pytest.approx(0.25)
    assert found["brier"] == pytest.approx(0.0625)
    assert [entry["n"] for entry in found["calibration"]] == [1, 1]


def test_the_interval_holds_the_figure_and_widens_with_dependence():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 200).astype(np.int8)
    scores = labels + rng.normal(0, 1, 400)
    auc = score_ranking(labels, scores)["roc_auc"]
    independent = bootstrap_roc_auc(labels, scores, np.arange(400), seed=0)
    assert independent[0] < auc < independent[1]
    twins = bootstrap_roc_auc(np.repeat(labels, 4), np.repeat(scores, 4), np.repeat(np.arange(400), 4), seed=0)
    assert np.ptp(twins) == pytest.approx(np.ptp(independent), rel=0.3)  # copies of a photo bring no certainty
    assert bootstrap_roc_auc(labels, scores, np.arange(400), seed=0) == independent


@given(st.integers(0, 2**32))
def test_the_interval_is_of_the_same_figure_as_the_ranking(seed):
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 1, rng.integers(0, 2, 30)].astype(np.int8)
    scores = rng.integers(0, 8, 32) / 8  # with ties
    one_scene = bootstrap_roc_auc(
        labels, scores, np.zeros(32), seed=0, draws=2
    )  # so every draw is the photos as they are
    assert one_scene == pytest.approx([score_ranking(labels, scores)["roc_auc"]] * 2)


def test_no_interval_without_both_classes_in_any_draw():
    assert bootstrap_roc_auc(np.array([1, 1], np.int8), np.array([0.1, 0.2]), np.array(["a", "b"]), seed=0) is None


def test_groups_by_hand():
    found = score_groups(LABELS, PROBABILITIES, 0.5, np.array(["day", "day", "", "day", "night", "night"]))
    assert set(found) == {"day", "night"}
    assert found["day"] == {
        "n": 3,
        "n_blurred": 1,
        "accuracy": pytest.approx(2 / 3),
        "recall": 0.0,
        "false_alarm_rate": 0.0,
        "roc_auc": 1.0,
    }
    assert found["night"]["false_alarm_rate"] is None
    assert found["night"]["roc_auc"] is None


def test_recall_by_strength_counts_blurred_photos_of_known_strength_only():
    strengths = np.array([1.5, np.nan, 0.1, 1.5, 9.0, np.nan])
    found = recall_by_strength(LABELS, PROBABILITIES, 0.5, strengths)
    assert found == [
        {"from_px": 1.2, "to_px": 2.0, "n": 1, "recall": 0.0},
        {"from_px": 8.0, "to_px": None, "n": 1, "recall": 1.0},
    ]


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


def test_mistakes_are_wrong_and_the_surest_come_first(model, table):
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


def test_one_class_cannot_be_evaluated(model, table):
    with pytest.raises(DatasetError, match="sharp and blurred photos were needed, but all"):
        evaluate(model, table.take(np.flatnonzero(table.labels == 1)))
