import json
from dataclasses import replace

import numpy as np
import pytest

from blurgate.errors import DatasetError
from blurgate.learning.evaluation import CUTOFFS, evaluate


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


def test_one_class_cannot_be_evaluated(model, table):
    with pytest.raises(DatasetError, match="expected sharp and blurred photos, but all"):
        evaluate(model, table.take(np.flatnonzero(table.labels == 1)))
