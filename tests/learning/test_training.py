from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from blurgate.errors import DatasetError
from blurgate.learning.boosters import fit_boosters
from blurgate.learning.calibration import calibrate
from blurgate.learning.report import to_json
from blurgate.learning.search import DEFAULT_PARAMETERS
from blurgate.learning.splits import cut_folds, plan_validation, split_scenes
from blurgate.learning.table import build_table, join_tables, read_table, write_table
from blurgate.learning.training import load_sources, train
from blurgate.making.blurs import BLURS


def test_the_test_scenes_do_not_affect_the_model(table):
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


def test_the_model_is_better_than_chance(trained):
    numbers = trained[1].numbers
    assert numbers["roc_auc"] > 0.8
    assert numbers["n_scenes"] == 10
    assert numbers["training"]["n_scenes"] == 38
    assert trained[0].card.results["roc_auc"] == numbers["roc_auc"]


def test_kinds_are_predicted_only_if_the_features_distinguish_them(table):
    folds = cut_folds(table, folds=3, seed=0)
    boosters, kinds, _ = fit_boosters(table, folds, DEFAULT_PARAMETERS, seed=0)
    assert set(boosters) == {"blurred", "strength"}
    assert kinds == ()
    features = table.features.copy()
    families = [BLURS[kind].family if kind else "" for kind in table.column("kind")]
    features[:, 4] = [len(family) for family in families]
    boosters, kinds, _ = fit_boosters(replace(table, features=features), folds, DEFAULT_PARAMETERS, seed=0)
    assert set(boosters) == {"blurred", "kind", "strength"}
    assert kinds == ("defocus", "gaussian", "motion")


def test_sources_of_every_sort_are_joined(sharp_folder, made_folder, table, tmp_path):
    from blurgate.learning.table import write_table

    write_table(table, tmp_path / "t.csv")
    joined = load_sources([sharp_folder, made_folder, tmp_path / "t.csv"], tmp_path, per_photo=1)
    assert set(joined.sources) == {"sharp", "dataset", "t.csv"}
    assert len(joined) == 2 * 48 + 2 * len(table)
    assert len(set(joined.column("scene"))) == 48


@pytest.fixture(scope="module")
def two_sources(table):
    """The table with its scenes divided into two sources."""
    scenes = sorted(set(table.column("scene")))
    first = np.isin(table.column("scene"), scenes[::2])
    return replace(table, sources=np.where(first, "first", "second"))


def test_each_source_is_predicted_by_trees_of_the_others(two_sources):
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


def test_a_source_has_no_part_in_its_own_predictions(two_sources):
    spoilt = two_sources.features.copy()
    first = two_sources.sources == "first"
    spoilt[first] = 9
    numbers = train(replace(two_sources, features=spoilt), trials=1)[1].numbers["sources"]
    assert numbers["first"]["roc_auc"] == 0.5  # its own features are constant
    assert numbers["second"]["roc_auc"] == 0.5  # the features it learns from are constant
    assert numbers["second"]["roc_auc_within"] > 0.7


def test_scenes_shared_by_two_sources_are_not_trained_on(two_sources):
    photos = tuple(replace(photo, scene=photo.scene.split("_")[0]) for photo in two_sources.photos)
    with pytest.raises(DatasetError, match="two sources of different scenes, each with sharp and blurred photos"):
        train(replace(two_sources, photos=photos), trials=1, validate="leave-source-out")


def test_a_source_with_one_class_is_not_left_out(two_sources):
    lonely = np.where((two_sources.sources == "first") & (two_sources.labels == 0), "lonely", two_sources.sources)
    mixed = replace(two_sources, sources=lonely)
    assert train(mixed, trials=1, folds=3)[1].numbers["training"]["validate"] == "scenes"
    with pytest.raises(DatasetError, match="got 1: add a source, or validate by scenes"):
        train(mixed, trials=1, validate="leave-source-out")


def test_validation_by_scenes_can_be_chosen(two_sources):
    numbers = train(two_sources, trials=1, folds=3, validate="scenes")[1].numbers
    assert numbers["training"]["validate"] == "scenes"
    assert "sources" not in numbers
    with pytest.raises(ValueError, match="validate must be one of leave-source-out, scenes, got 'loo'"):
        train(two_sources, trials=1, validate="loo")


def test_photos_without_texture_are_dropped_and_counted(table):
    flat = table.features.copy()
    flat[:6] = 0
    numbers = train(replace(table, features=flat), trials=1, folds=3)[1].numbers
    assert numbers["n_undecided"] == 6
    assert numbers["n"] + numbers["training"]["n"] == len(table) - 6


def test_even_weights_balance_the_classes_of_each_source(two_sources):
    weights = two_sources.even_weights
    for source in ("first", "second"):
        rows = two_sources.sources == source
        sharp, blurred = (weights[rows & (two_sources.labels == value)].sum() for value in (0, 1))
        assert sharp == pytest.approx(blurred, rel=1e-5)
    assert weights.mean() == pytest.approx(1)


def test_errors(table, tmp_path):
    with pytest.raises(
        DatasetError, match="expected at least 5 scenes with sharp photos, for a test and 3 folds, got 4: add"
    ):
        train(table.take(np.arange(12)), folds=3)
    with pytest.raises(DatasetError, match="expected sharp and blurred photos, but all 96 are blurred"):
        train(table.take(np.flatnonzero(table.labels == 1)), folds=3)
    with pytest.raises(ValueError, match="trials must be at least 1 and folds at least 2, got 0 and 5"):
        train(table, trials=0)
    with pytest.raises(DatasetError, match="expected at least one source of photos"):
        load_sources([], tmp_path)
    with pytest.raises(DatasetError, match="nowhere is neither"):
        load_sources([tmp_path / "nowhere"], tmp_path)


def test_every_source_is_checked_before_the_first_is_measured(sharp_folder, labelled, tmp_path):
    (tmp_path / "photo.jpg").touch()
    done = []
    for wrong in (tmp_path / "photo.jpg", tmp_path / "nowhere", sharp_folder):
        with pytest.raises(DatasetError):
            load_sources([sharp_folder, wrong], tmp_path, track=lambda items, **_: done.append(1) or items)
    assert not done


def test_photos_that_must_be_labelled_are_not_measured_without_labels(sharp_folder):
    with pytest.raises(
        DatasetError, match=r"expected labelled photos, but .* have no label, first .*\.(png|jpg): give"
    ):
        build_table(sharp_folder, labelled=True, track=lambda *_, **__: pytest.fail("measured"))


def again(path, copy, *, scale=0.75, quality=80):
    with Image.open(path) as picture:
        size = round(picture.width * scale), round(picture.height * scale)
        picture.resize(size).convert("RGB").save(copy, quality=quality)


def test_copies_of_a_photo_are_one_scene_however_they_are_named(sharp_folder, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, rows in ((first, slice(0, 20)), (second, slice(24, 44))):
        folder.mkdir()
        for path in sorted(sharp_folder.iterdir())[rows]:
            again(path, folder / f"{path.stem}.jpg", scale=1)
    photos = sorted(first.iterdir())
    again(photos[0], first / "a copy.jpg")
    (first / "exact.jpg").write_bytes(photos[1].read_bytes())
    again(photos[2], second / "in another source.jpg")
    table = load_sources([first, second], tmp_path, per_photo=1)
    table = table.prepare_training()
    merged = table.merge_copies()
    assert len(set(table.scenes)) == 43
    assert len(set(merged.scenes)) == 40
    of = dict(zip(table.scenes, merged.scenes, strict=True))
    assert of["a copy"] == of[photos[0].stem] == "a copy"
    assert of["exact"] == of[photos[1].stem]
    assert of["in another source"] == of[photos[2].stem]
    plan = plan_validation(merged, "leave-source-out", folds=2, seed=0)
    for fold in plan.folds:
        assert not set(merged.scenes[fold.train]) & set(merged.scenes[fold.test])
    numbers = train(table, validate="scenes", trials=1, folds=2)[1].numbers
    assert (numbers["training"]["n_copies"], numbers["training"]["n_without_hash"]) == (3, 0)


def test_copies_are_found_in_tables_and_not_looked_for_without_hashes(model, table, tmp_path):
    rows = np.flatnonzero(table.scenes == table.scenes[0])
    photos = tuple(replace(table.photos[row], scene="copy", path=f"copy/{row}") for row in rows)
    copies = replace(table.take(rows), photos=photos, sources=np.full(len(rows), "copies"))
    joined = join_tables([table, copies])
    write_table(joined, tmp_path / "features.csv")
    read = read_table(tmp_path / "features.csv")
    assert len(set(read.scenes)) == len(set(read.merge_copies().scenes)) + 1
    assert calibrate(model, read).numbers["n_scenes"] == table.counts["n_scenes"]
    bare = replace(read, photos=tuple(replace(photo, phash="") for photo in read.photos))
    assert list(bare.merge_copies().scenes) == list(bare.scenes)
    numbers = train(bare, trials=1, folds=2)[1].numbers["training"]
    assert (numbers["n_copies"], numbers["n_without_hash"]) == (0, len(bare))
