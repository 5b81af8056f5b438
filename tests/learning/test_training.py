from dataclasses import replace

import numpy as np
import pytest

from blurgate.errors import DatasetError
from blurgate.learning.boosters import fit_boosters
from blurgate.learning.report import to_json
from blurgate.learning.search import DEFAULT_PARAMETERS
from blurgate.learning.splits import cut_folds, split_scenes
from blurgate.learning.training import load_sources, train
from blurgate.making.blurs import BLURS


def test_the_test_scenes_have_no_part_in_the_model(table):
    table = table.without_flat()
    split = split_scenes(table, folds=3, seed=0)
    spoilt = table.features.copy()
    spoilt[split.test] = np.random.default_rng(0).normal(9, 1, size=(len(split.test), table.features.shape[1]))
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
    assert numbers["roc_auc"] > 0.8
    assert numbers["n_scenes"] == 10
    assert numbers["training"]["n_scenes"] == 38
    assert trained[0].card.results["roc_auc"] == numbers["roc_auc"]


def test_kinds_are_named_only_where_the_features_tell_them(table):
    folds = cut_folds(table, folds=3, seed=0)
    boosters, kinds, _ = fit_boosters(table, folds, DEFAULT_PARAMETERS, seed=0)
    assert set(boosters) == {"blurred", "strength"}
    assert kinds == ()
    told = table.features.copy()
    families = [BLURS[kind].family if kind else "" for kind in table.column("kind")]
    told[:, 4] = [len(family) for family in families]
    boosters, kinds, _ = fit_boosters(replace(table, features=told), folds, DEFAULT_PARAMETERS, seed=0)
    assert set(boosters) == {"blurred", "kind", "strength"}
    assert kinds == ("defocus", "gaussian", "motion")


def test_sources_of_every_sort_go_together(sharp_folder, made_folder, table, tmp_path):
    from blurgate.learning.table import write_table

    write_table(table, tmp_path / "t.csv")
    joined = load_sources([sharp_folder, made_folder, tmp_path / "t.csv"], tmp_path, per_photo=1)
    assert set(joined.sources) == {"sharp", "dataset", "t.csv"}
    assert len(joined) == 2 * 48 + 2 * len(table)
    assert len(set(joined.column("scene"))) == 48


@pytest.fixture(scope="module")
def two_sources(table):
    """The scenes of the table in two sources."""
    scenes = sorted(set(table.column("scene")))
    first = np.isin(table.column("scene"), scenes[::2])
    return replace(table, sources=np.where(first, "first", "second"))


def test_each_source_is_judged_by_the_others(two_sources):
    model, evaluation = train(two_sources, trials=1)
    numbers = evaluation.numbers
    assert numbers["training"]["validate"] == "leave-source-out"
    assert list(numbers["sources"]) == ["first", "second"]
    assert numbers["n"] == len(two_sources) == numbers["training"]["n"]
    for source in numbers["sources"].values():
        assert source["roc_auc"] > 0.8
        assert 0.5 < source["roc_auc_within"] <= 1
        assert 0 <= source["ece"] <= 1
    assert model.card.at_threshold["measured_on"] == "sources left out of training"
    assert train(two_sources, trials=1)[0] == model


def test_what_a_source_says_is_learnt_from_the_others_only(two_sources):
    spoilt = two_sources.features.copy()
    first = two_sources.sources == "first"
    spoilt[first] = 9
    numbers = train(replace(two_sources, features=spoilt), trials=1)[1].numbers["sources"]
    assert numbers["first"]["roc_auc"] == 0.5  # nothing to see in it
    assert numbers["second"]["roc_auc"] == 0.5  # nothing to learn from the other
    assert numbers["second"]["roc_auc_within"] > 0.7


def test_a_scene_in_two_sources_teaches_neither_about_the_other(two_sources):
    photos = tuple(replace(photo, scene=photo.scene.split("_")[0]) for photo in two_sources.photos)
    with pytest.raises(DatasetError, match="two sources with sharp and blurred photos each, of different scenes"):
        train(replace(two_sources, photos=photos), trials=1, validate="leave-source-out")


def test_a_source_of_one_class_is_trained_on_and_not_judged(two_sources):
    lonely = np.where((two_sources.sources == "first") & (two_sources.labels == 0), "lonely", two_sources.sources)
    mixed = replace(two_sources, sources=lonely)
    assert train(mixed, trials=1, folds=3)[1].numbers["training"]["validate"] == "scenes"
    with pytest.raises(DatasetError, match="got 1: add a source, or validate by scenes"):
        train(mixed, trials=1, validate="leave-source-out")


def test_scenes_can_be_asked_for(two_sources):
    numbers = train(two_sources, trials=1, folds=3, validate="scenes")[1].numbers
    assert numbers["training"]["validate"] == "scenes"
    assert "sources" not in numbers
    with pytest.raises(ValueError, match="validate must be one of leave-source-out, scenes, got 'loo'"):
        train(two_sources, trials=1, validate="loo")


def test_photos_without_texture_are_left_out_and_counted(table):
    flat = table.features.copy()
    flat[:6] = 0
    numbers = train(replace(table, features=flat), trials=1, folds=3)[1].numbers
    assert numbers["n_undecided"] == 6
    assert numbers["n"] + numbers["training"]["n"] == len(table) - 6


def test_even_odds_weigh_the_classes_of_each_source_alike(two_sources):
    weights = two_sources.even_weights
    for source in ("first", "second"):
        rows = two_sources.sources == source
        sharp, blurred = (weights[rows & (two_sources.labels == value)].sum() for value in (0, 1))
        assert sharp == pytest.approx(blurred, rel=1e-5)
    assert weights.mean() == pytest.approx(1)


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
