from dataclasses import replace

import numpy as np
import optuna
import pytest

from blurgate import training as room
from blurgate.blurs import BLURS
from blurgate.errors import DatasetError, StudyFileError
from blurgate.model import calibrate
from blurgate.report import to_json
from blurgate.training import (
    DEFAULT_PARAMETERS,
    choose_threshold,
    cut_folds,
    fit_boosters,
    fit_calibration,
    load_sources,
    search_parameters,
    split_scenes,
    train,
)


def test_no_scene_crosses_a_split(table):
    split = split_scenes(table, folds=3, seed=0)
    training = table.take(split.train)
    everywhere = [(table, split), *((training, fold) for fold in cut_folds(training, folds=3, seed=0))]
    for whole, cut in everywhere:
        scenes = whole.column("scene")
        assert not set(scenes[cut.train]) & set(scenes[cut.test])
        assert sorted([*cut.train, *cut.test]) == list(range(len(whole)))
        assert len(set(whole.labels[cut.test])) == 2


def test_one_scene_in_five_is_set_aside_by_the_seed(table):
    scenes = table.column("scene")
    tests = [set(scenes[split_scenes(table, folds=3, seed=seed).test]) for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]
    assert len(tests[0]) == round(len(set(scenes)) / 5)


def test_every_source_is_in_the_test_in_proportion(table):
    halves = np.where(np.arange(len(table)) < 60, "first", "second")
    split = split_scenes(replace(table, sources=halves), folds=3, seed=0)
    assert np.mean(halves[split.test] == "first") == pytest.approx(60 / len(table), abs=0.08)


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


def search(table, path, trials, **options):
    folds = cut_folds(table, folds=3, seed=0)
    return search_parameters(table, folds, trials=trials, study=path, **options)


def test_an_interrupted_search_goes_on_and_finds_the_same(table, tmp_path, monkeypatch):
    whole = search(table, None, 14)
    path, fit, calls = tmp_path / "study.db", room._fit_fold, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(room, "_fit_fold", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(table, path, 14, jobs=1)
    monkeypatch.undo()
    kept = len(optuna.load_study(study_name="blurgate", storage=f"sqlite:///{path}").trials)
    assert kept > 1
    assert search(table, path, 14) == whole
    assert search(table, path, 14) == whole  # nothing left to do


def test_more_trials_extend_a_finished_search(table, tmp_path):
    path = tmp_path / "study.db"
    few = search(table, path, 2)
    more = search(table, path, 4)
    assert more.numbers["trials"][:2] == few.numbers["trials"]
    assert len(more.numbers["trials"]) == 4
    assert more.numbers["best"] >= few.numbers["best"]


def test_the_first_trial_is_the_default(table):
    assert search(table, None, 1).parameters == DEFAULT_PARAMETERS


def test_a_timeout_ends_the_search_after_at_least_one_trial(table):
    assert len(search(table, None, 50, timeout=0).numbers["trials"]) == 1


def test_hopeless_trials_are_ended_early(table):
    found = search(table, None, 25).numbers
    assert any(trial["pruned"] for trial in found["trials"])
    assert set(found["importances"]) == set(DEFAULT_PARAMETERS)
    assert sum(found["importances"].values()) == pytest.approx(1)


def test_a_foreign_or_damaged_study_is_refused_and_kept(table, tmp_path):
    path = tmp_path / "study.db"
    search(table, path, 1)
    with pytest.raises(
        StudyFileError, match="study.db belongs to another search .other photos, features, folds or seed"
    ):
        search(table.take(np.arange(100)), path, 1)
    (tmp_path / "notes.txt").write_text("dear diary, " * 100)
    with pytest.raises(StudyFileError, match=r"notes.txt cannot be read as one: name a file that does not exist yet"):
        search(table, tmp_path / "notes.txt", 1)
    assert (tmp_path / "notes.txt").read_text().startswith("dear diary")


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
