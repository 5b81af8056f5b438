from dataclasses import replace

import numpy as np
import pytest

from blurgate.errors import DatasetError
from blurgate.learning.splits import cut_folds, plan_validation, split_scenes


def test_no_scene_crosses_a_split(table):
    split = split_scenes(table, folds=3, seed=0)
    training = table.take(split.train)
    everywhere = [(table, split), *((training, fold) for fold in cut_folds(training, folds=3, seed=0))]
    for whole, cut in everywhere:
        scenes = whole.column("scene")
        assert not set(scenes[cut.train]) & set(scenes[cut.test])
        assert sorted([*cut.train, *cut.test]) == list(range(len(whole)))
        assert len(set(whole.labels[cut.test])) == 2


def test_the_seed_determines_which_scene_in_five_is_set_aside(table):
    scenes = table.column("scene")
    tests = [set(scenes[split_scenes(table, folds=3, seed=seed).test]) for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]
    assert len(tests[0]) == round(len(set(scenes)) / 5)


def test_every_source_is_in_the_test_in_proportion(table):
    halves = np.where(np.arange(len(table)) < 60, "first", "second")
    split = split_scenes(replace(table, sources=halves), folds=3, seed=0)
    assert np.mean(halves[split.test] == "first") == pytest.approx(60 / len(table), abs=0.08)


def test_both_classes_are_in_the_test_even_if_sources_are_small(table):
    rows = np.flatnonzero(np.arange(len(table)) % 3 < 2)[:90]  # a sharp and a blurred picture of each scene
    sources = np.asarray([f"source {row // 10}" for row in range(90)])
    scenes = [replace(table.photos[row], scene=f"{row}") for row in rows]  # every picture is its own scene
    many = replace(table.take(rows), photos=tuple(scenes), sources=sources)
    for seed in range(5):
        assert set(many.labels[split_scenes(many, folds=3, seed=seed).test]) == {0, 1}


def test_each_fold_needs_both_classes(table):
    scenes = table.column("scene")
    blurred_in_one = np.flatnonzero((table.labels == 0) | (scenes == scenes[0]))
    with pytest.raises(DatasetError, match="cannot cut 48 scenes into 3 folds that keep scenes whole .*: add photos"):
        cut_folds(table.take(blurred_in_one), folds=3, seed=0)


@pytest.fixture(scope="module")
def two_sources(table):
    first = np.isin(table.scenes, sorted(set(table.scenes))[::2])
    return replace(table, sources=np.where(first, "first", "second"))


def test_a_plan_by_source_trains_and_tests_on_all_photos(two_sources):
    plan = plan_validation(two_sources, None, folds=3, seed=0)
    assert plan.by_source
    assert len(plan.training) == len(plan.test) == len(two_sources)
    assert [set(two_sources.sources[fold.test]) for fold in plan.folds] == [{"first"}, {"second"}]
    for source, folds in plan.within.items():
        assert len(folds) == 3
        assert all(set(two_sources.sources[rows]) == {source} for fold in folds for rows in (fold.train, fold.test))
        assert all(not set(two_sources.scenes[fold.train]) & set(two_sources.scenes[fold.test]) for fold in folds)


def test_a_plan_by_scene_does_not_train_on_its_test_scenes(two_sources):
    plan = plan_validation(two_sources, "scenes", folds=3, seed=0)
    assert not plan.by_source
    assert not set(plan.training.scenes) & set(plan.test.scenes)
    assert len(plan.training) + len(plan.test) == len(two_sources)
    assert sorted(np.concatenate([fold.test for fold in plan.folds])) == list(range(len(plan.training)))


def test_unknown_plans_are_refused(table):
    with pytest.raises(ValueError, match="validate must be one of leave-source-out, scenes, got 'loo'"):
        plan_validation(table, "loo", folds=3, seed=0)
