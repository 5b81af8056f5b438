from dataclasses import replace

import numpy as np
import pytest

from blurgate.blurs import BLURS
from blurgate.errors import DatasetError
from blurgate.model import calibrate
from blurgate.report import to_json
from blurgate.search import DEFAULT_PARAMETERS
from blurgate.splits import cut_folds, split_scenes
from blurgate.training import (
    choose_threshold,
    fit_boosters,
    fit_calibration,
    load_sources,
    train,
)


def test_the_test_scenes_have_no_part_in_the_model(table):
    split = split_scenes(table, folds=3, seed=0)
    spoilt = table.features.copy()
    spoilt[split.test] = np.random.default_rng(0).normal(size=(len(split.test), 18))
    honest, _ = train(table, trials=2, folds=3)
    other, evaluation = train(replace(table, features=spoilt), trials=2, folds=3)
    assert honest.boosters == other.boosters
    assert (honest.card.slope, honest.card.threshold) == (other.card.slope, other.card.threshold)
    assert evaluation.numbers["roc_auc"] < 0.75


def test_the_same_seed_gives_the_same_model_and_figures_on_any_number_of_cores(table, trained):
    model, evaluation = train(table, trials=3, folds=3, jobs=1)
    assert model == trained[0]
    assert to_json(evaluation.numbers) == to_json(trained[1].numbers)
    assert train(table, trials=3, folds=3, seed=1)[0].boosters != model.boosters


def test_the_model_knows_more_than_chance(trained):
    numbers = trained[1].numbers
    assert numbers["roc_auc"] > 0.85
    assert numbers["n_scenes"] == 10
    assert numbers["training"]["n_scenes"] == 38
    assert trained[0].card.results["roc_auc"] == numbers["roc_auc"]


def test_calibration_mends_what_is_off():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 5000)
    labels = (rng.uniform(size=5000) < calibrate(truth, 1.0, 0.0)).astype(np.int8)
    slope, intercept = fit_calibration(labels, 3 * truth + 1)
    assert slope == pytest.approx(1 / 3, rel=0.1)
    assert intercept == pytest.approx(-1 / 3, abs=0.1)


def test_calibration_stays_finite_where_classes_are_apart():
    slope, intercept = fit_calibration(np.array([0, 0, 1, 1], np.int8), np.array([-5.0, -4.0, 4.0, 5.0]))
    assert 0 < slope < 10
    assert abs(intercept) < 1


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


def test_kinds_are_named_only_where_the_features_tell_them(table):
    folds = cut_folds(table, folds=3, seed=0)
    boosters, kinds = fit_boosters(table, folds, DEFAULT_PARAMETERS, seed=0)
    assert set(boosters) == {"blurred", "strength"}
    assert kinds == ()
    told = table.features.copy()
    families = [BLURS[kind].family if kind else "" for kind in table.column("kind")]
    told[:, 4] = [len(family) for family in families]
    boosters, kinds = fit_boosters(replace(table, features=told), folds, DEFAULT_PARAMETERS, seed=0)
    assert set(boosters) == {"blurred", "kind", "strength"}
    assert kinds == ("defocus", "gaussian", "motion")


def test_sources_of_every_sort_go_together(sharp_folder, made_folder, table, tmp_path):
    from blurgate.table import write_table

    write_table(table, tmp_path / "t.csv")
    joined = load_sources([sharp_folder, made_folder, tmp_path / "t.csv"], tmp_path, per_photo=1)
    assert set(joined.sources) == {"sharp", "dataset", "t.csv"}
    assert len(joined) == 2 * 48 + 2 * len(table)
    assert len(set(joined.column("scene"))) == 48


def test_errors(table, tmp_path):
    with pytest.raises(DatasetError, match="5 scenes with sharp photos were needed for a test and 3 folds, got 4: add"):
        train(table.take(np.arange(12)), folds=3)
    with pytest.raises(DatasetError, match="sharp and blurred photos were needed, but all 96 are blurred"):
        train(table.take(np.flatnonzero(table.labels == 1)), folds=3)
    with pytest.raises(ValueError, match="at least 1 trial and 2 folds were needed, got 0 and 5"):
        train(table, trials=0)
    with pytest.raises(DatasetError, match="at least one source of photos was needed"):
        load_sources([], tmp_path)
    with pytest.raises(DatasetError, match="nowhere is neither"):
        load_sources([tmp_path / "nowhere"], tmp_path)
