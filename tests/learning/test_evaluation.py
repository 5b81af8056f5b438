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
