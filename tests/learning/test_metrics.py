import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurgate.learning.metrics import (
    bootstrap_roc_auc,
    recall_by_strength,
    score_calibration,
    score_decisions,
    score_groups,
    score_kinds,
    score_ranking,
    score_strengths,
)

LABELS = np.array([0, 0, 0, 1, 1, 1], np.int8)
PROBABILITIES = np.array([0.1, 0.2, 0.7, 0.3, 0.8, 0.9])


def test_decisions_by_hand():
    found = score_decisions(LABELS, PROBABILITIES, 0.5)
    assert found["confusion_matrix"] == [[2, 1], [1, 2]]
    assert found["accuracy"] == found["precision"] == found["recall"] == found["f1"] == pytest.approx(2 / 3)


def test_a_photo_at_the_threshold_is_blurred():
    assert score_decisions(LABELS, PROBABILITIES, 0.3)["confusion_matrix"] == [[2, 1], [0, 3]]


def test_nothing_classified_as_blurred():
    found = score_decisions(LABELS, PROBABILITIES, 0.99)
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)


def test_ranking_by_hand():
    pairs = [(p > n) + 0.5 * (p == n) for p in PROBABILITIES[LABELS == 1] for n in PROBABILITIES[LABELS == 0]]
    assert score_ranking(LABELS, PROBABILITIES)["roc_auc"] == pytest.approx(np.mean(pairs))


@given(st.integers(0, 2**32))
def test_the_calibration_error_of_overconfident_probabilities_is_larger(seed):
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


def test_the_interval_contains_the_auc_and_is_no_narrower_for_copies():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 200).astype(np.int8)
    scores = labels + rng.normal(0, 1, 400)
    auc = score_ranking(labels, scores)["roc_auc"]
    independent = bootstrap_roc_auc(labels, scores, np.arange(400), seed=0)
    assert independent[0] < auc < independent[1]
    twins = bootstrap_roc_auc(np.repeat(labels, 4), np.repeat(scores, 4), np.repeat(np.arange(400), 4), seed=0)
    assert np.ptp(twins) == pytest.approx(np.ptp(independent), rel=0.3)  # copies add no information
    assert bootstrap_roc_auc(labels, scores, np.arange(400), seed=0) == independent


@given(st.integers(0, 2**32))
def test_the_bootstrap_computes_the_same_auc_as_the_ranking(seed):
    rng = np.random.default_rng(seed)
    labels = np.r_[0, 1, rng.integers(0, 2, 30)].astype(np.int8)
    scores = rng.integers(0, 8, 32) / 8  # with ties
    # with a single scene, every draw is the original photos
    one_scene = bootstrap_roc_auc(labels, scores, np.zeros(32), seed=0, draws=2)
    assert one_scene == pytest.approx([score_ranking(labels, scores)["roc_auc"]] * 2)


def test_no_interval_if_no_draw_has_both_classes():
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


def test_kinds_by_hand():
    labels = np.array([1, 1, 1, 1, 1, 1, 0, 1], np.int8)
    judged = np.array([1, 1, 1, 1, 1, 0, 1, 1], bool)
    families = np.array(["motion", "motion", "motion", "defocus", "defocus", "motion", "", ""])
    predicted = np.array(["motion", "defocus", "mixed", "defocus", "defocus", "motion", "motion", "motion"])
    strengths = np.array([1.0, 2.0, 9.0, 2.5, np.nan, 3.0, np.nan, 2.0])
    found = score_kinds(judged, labels, families, strengths, predicted)
    named = {"defocus": 0, "motion": 0, "gaussian": 0, "mixed": 0}
    confusion = {"defocus": named | {"defocus": 2}, "motion": named | {"motion": 1, "defocus": 1, "mixed": 1}}
    assert found.pop("by_strength") == [
        {
            "from_px": 0.0,
            "to_px": 2.0,
            "n": 1,
            "n_missed": 0,
            "balanced_accuracy": 1.0,
            "confusion": {"motion": named | {"motion": 1}},
        },
        {
            "from_px": 2.0,
            "to_px": 4.0,
            "n": 2,
            "n_missed": 1,
            "balanced_accuracy": 0.5,
            "confusion": {"defocus": named | {"defocus": 1}, "motion": named | {"defocus": 1}},
        },
        {
            "from_px": 8.0,
            "to_px": None,
            "n": 1,
            "n_missed": 0,
            "balanced_accuracy": 0.0,
            "confusion": {"motion": named | {"mixed": 1}},
        },
    ]
    assert found == {
        "n": 5,
        "n_missed": 1,
        "accuracy": 0.6,
        "accuracy_of_guessing": 0.6,
        "balanced_accuracy": pytest.approx(2 / 3),
        "confusion": confusion,
    }


def test_a_range_whose_photos_were_all_missed_has_no_accuracy():
    labels, kinds = np.ones(2, np.int8), np.array(["motion", "motion"])
    found = score_kinds(np.array([True, False]), labels, kinds, np.array([1.0, 3.0]), kinds)["by_strength"][1]
    assert (found["n"], found["n_missed"], found["balanced_accuracy"], found["confusion"]) == (0, 1, None, {})
    assert score_kinds(np.zeros(2, bool), labels, kinds, np.array([1.0, 3.0]), kinds) is None
    assert score_kinds(np.ones(2, bool), labels, kinds, np.array([1.0, 3.0]), None) is None


def test_strengths_by_hand():
    labels = np.array([1, 1, 1, 1, 1, 0], np.int8)
    judged = np.array([1, 1, 1, 1, 0, 1], bool)
    true = np.array([2.0, 4.0, 8.0, 5.0, 3.0, np.nan])
    predicted = np.array([2.2, 5.0, 4.0, np.nan, 3.0, 1.0])
    bounds = np.stack([predicted - 1, predicted + 1], axis=1)
    assert score_strengths(judged, labels, true, predicted, bounds) == {
        "n": 3,
        "n_missed": 1,
        "n_untold": 1,
        "median_relative_error": pytest.approx(0.25),
        "spearman": pytest.approx(0.5),
        "share_in_interval": pytest.approx(2 / 3),
    }
    alike = score_strengths(judged, labels, true, np.full(6, 3.0))
    assert (alike["n"], alike["spearman"], alike["share_in_interval"]) == (4, None, None)
    assert score_strengths(judged, labels, true, np.full(6, np.nan)) is None
