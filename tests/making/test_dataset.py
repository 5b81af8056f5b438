import csv
import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from blurgate.errors import DatasetError
from blurgate.learning.table import build_table, read_table, write_table
from blurgate.making import dataset
from blurgate.making.blurs import BLURS
from blurgate.making.dataset import MANIFEST_COLUMNS, make_dataset, picture_seed
from blurgate.making.recipes import MIN_STRENGTH


def read_manifest(folder):
    with (folder / "manifest.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def few(sharp_folder, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(sharp_folder.iterdir())[:4]:
        shutil.copy(path, folder)
    return folder


def test_manifest_records_every_picture(made_folder):
    rows = read_manifest(made_folder)
    assert tuple(rows[0]) == MANIFEST_COLUMNS
    assert {row["path"] for row in rows} == set(content(made_folder)) - {"manifest.csv"}
    for row in rows:
        parameters, strength = json.loads(row["parameters"]), float(row["strength_px"])
        if row["label"] == "sharp":
            assert (row["kind"], parameters["blur"]) == ("", {})
            assert strength <= 0.5
        else:
            assert row["kind"] in ("defocus", "motion", "gaussian")
            assert strength >= MIN_STRENGTH
            own = BLURS[row["kind"]].strength_px(parameters["blur"]) * parameters["camera"]["scale"]
            assert strength >= own * 0.99
        assert int(row["seed"]) >= 0


def test_each_scene_has_one_sharp_and_two_blurred_pictures(made_folder):
    scenes = {}
    for row in read_manifest(made_folder):
        scenes.setdefault(row["scene"], []).append(row["label"])
    assert set(map(tuple, scenes.values())) == {("sharp", "blurred", "blurred")}
    assert {row["kind"] for row in read_manifest(made_folder)} == {"", "defocus", "motion", "gaussian"}


def test_the_same_seed_makes_the_same_bytes_on_any_number_of_cores(few, tmp_path):
    for name, options in (("a", {"jobs": 1}), ("b", {"jobs": 3}), ("c", {"seed": 7})):
        make_dataset(few, tmp_path / name, **options)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "a") != content(tmp_path / "c")


def test_a_removed_photo_leaves_the_others_as_they_are(few, tmp_path):
    make_dataset(few, tmp_path / "all")
    next(few.iterdir()).unlink()
    make_dataset(few, tmp_path / "fewer")
    fewer, everything = content(tmp_path / "fewer"), content(tmp_path / "all")
    assert len(everything) == len(fewer) + 3
    assert all(everything[name] == fewer[name] for name in fewer if name != "manifest.csv")
    assert picture_seed(0, "a", 0) != picture_seed(0, "a", 1) != picture_seed(1, "a", 1)


def single_clues(folder):
    """Properties of each picture that must not distinguish the classes."""
    clues = {name: [] for name in ("brightness", "red", "blue", "width", "height", "quality", "header", "metadata")}
    labels = []
    for row in read_manifest(folder):
        content = (folder / row["path"]).read_bytes()
        picture = Image.open(io.BytesIO(content))
        red, green, blue = np.asarray(picture.convert("RGB"), dtype=float).mean(axis=(0, 1))
        clues["brightness"].append(red + green + blue)
        clues["red"].append(red - green)
        clues["blue"].append(blue - green)
        clues["width"].append(picture.width)
        clues["height"].append(picture.height)
        clues["quality"].append(sum(map(sum, picture.quantization.values())))
        clues["header"].append(content.index(b"\xff\xda"))  # bytes before the picture itself
        clues["metadata"].append(len(repr(sorted(picture.info))) + len(picture.getexif()))
        labels.append(row["label"] == "blurred")
    return np.asarray(labels), {name: np.asarray(values) for name, values in clues.items()}


@pytest.mark.parametrize("recipe", ["camera", "classic"])
def test_only_blur_distinguishes_the_classes(recipe, made_folder, sharp_folder, tmp_path):
    folder = made_folder
    if recipe == "classic":
        pytest.importorskip("blurgenerator", reason="needs the extra blurgenerator", exc_type=ImportError)
        folder = tmp_path / "classic"
        make_dataset(sharp_folder, folder, recipe="classic")
    labels, clues = single_clues(folder)
    aucs = {name: roc_auc_score(labels, values) for name, values in clues.items()}
    assert {name: auc for name, auc in aucs.items() if abs(auc - 0.5) > 0.05} == {}


def test_sharp_and_blurred_pictures_share_their_scenes_camera(made_folder):
    cameras = {}
    for row in read_manifest(made_folder):
        cameras.setdefault(row["scene"], set()).add(json.dumps(json.loads(row["parameters"])["camera"]))
    assert {len(found) for found in cameras.values()} == {1}
    assert len(set.union(*cameras.values())) == len(cameras)


def test_a_folder_can_be_a_scene(astronaut, tmp_path):
    for name in ("one/a", "one/b", "two/a"):
        (tmp_path / "sharp" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(astronaut[:96, :96]).save(tmp_path / "sharp" / f"{name}.png")
    make_dataset(tmp_path / "sharp", tmp_path / "out", scenes="folder")
    assert [row["scene"] for row in read_manifest(tmp_path / "out")] == ["one"] * 6 + ["two"] * 3


def test_photos_that_differ_by_suffix_only_do_not_collide(astronaut, tmp_path):
    (tmp_path / "sharp").mkdir()
    for suffix, left in (("png", 0), ("jpg", 100)):
        Image.fromarray(astronaut[:96, left : left + 96]).save(tmp_path / "sharp" / f"a.{suffix}")
    made = make_dataset(tmp_path / "sharp", tmp_path / "out")
    assert {row.scene for row in made.rows} == {"a.png", "a.jpg"}
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 6


def test_photos_that_cannot_be_used_are_skipped_and_listed(few, tmp_path):
    (few / "text.jpg").write_text("hello")
    Image.new("RGB", (63, 90)).save(few / "tiny.png")
    made = make_dataset(few, tmp_path / "out")
    assert len(made.rows) == 12
    assert dict(made.skipped)["tiny.png"].endswith("63 x 90 px, at least 64 on each side are needed")
    with (tmp_path / "out" / "skipped.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["path"], row["undecided"]) for row in rows] == [("text.jpg", ""), ("tiny.png", "true")]


def test_an_existing_folder_is_refused_or_replaced(few, tmp_path):
    make_dataset(few, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(DatasetError, match="out exists already: choose another folder, or replace it with --overwrite"):
        make_dataset(few, tmp_path / "out", seed=9)
    assert content(tmp_path / "out") == before
    make_dataset(few, tmp_path / "out", seed=9, overwrite=True)
    assert content(tmp_path / "out") != before
    manifest = tmp_path / "out" / "manifest.csv"
    header, rest = manifest.read_text().split("\n", 1)
    manifest.write_text(f"{header.removesuffix(',phash')}\n{rest}")  # as an earlier version wrote it
    make_dataset(few, tmp_path / "out", overwrite=True)
    assert content(tmp_path / "out") == before


def test_overwrite_never_takes_a_folder_that_is_no_dataset(few, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "dear.jpg").touch()
    with pytest.raises(DatasetError, match="holiday is not a dataset made by blurgate and is not replaced"):
        make_dataset(few, tmp_path / "holiday", overwrite=True)
    assert (tmp_path / "holiday" / "dear.jpg").exists()
    make_dataset(few, tmp_path / "out")
    (tmp_path / "out" / "diary.txt").touch()
    with pytest.raises(DatasetError, match="out is not a dataset made by blurgate and is not replaced"):
        make_dataset(few, tmp_path / "out", overwrite=True)
    (tmp_path / "holiday" / "dear.jpg").rename(tmp_path / "holiday" / "manifest.csv")
    with pytest.raises(DatasetError, match="holiday is not a dataset made by blurgate"):
        make_dataset(few, tmp_path / "holiday", overwrite=True)


@pytest.mark.parametrize("name", ["Blurred", "blurry", "2024/Unscharf-blur"])
def test_blurred_photos_are_not_taken_for_sharp_ones(few, tmp_path, name):
    (few / name).mkdir(parents=True)
    shutil.copy(min(few.glob("*.png")), few / name)
    with pytest.raises(
        DatasetError, match="expected only sharp photos, but .*few contains a folder named .*lur.*: move it"
    ):
        make_dataset(few, tmp_path / "out")


@pytest.mark.parametrize("name", ["unblurred", "Not blurry", "no-blur", "deblurred", "non_blurred"])
def test_a_folder_of_sharp_photos_may_say_that_they_are_not_blurred(few, tmp_path, name):
    few.rename(tmp_path / "photos")
    (tmp_path / "photos" / name).mkdir()
    shutil.copy(min((tmp_path / "photos").glob("*.png")), tmp_path / "photos" / name)
    assert make_dataset(tmp_path / "photos", tmp_path / "out", per_photo=1).rows


def test_names_of_any_bytes(few, tmp_path):
    photo = min(few.iterdir())
    photo.rename(os.fsdecode(os.fsencode(few) + b"/latin\xff.png"))
    make_dataset(few, tmp_path / "out")
    table = build_table(tmp_path / "out")
    assert len(table) == 12
    for name in ("t.csv", "t.parquet"):
        if name == "t.parquet":
            pytest.importorskip("pyarrow", reason="needs the extra parquet")
        write_table(table, tmp_path / name)
        assert len(read_table(tmp_path / name)) == 12


@pytest.mark.parametrize("out", [".", "inside", ".."])
def test_sharp_and_made_folders_must_not_overlap(few, out):
    with pytest.raises(DatasetError, match="expected an output folder apart from the sharp photos, but .* overlap"):
        make_dataset(few, few / out, overwrite=True)
    assert len(list(few.iterdir())) == 4


def test_a_failure_leaves_nothing_behind(few, tmp_path, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "_write_csv", fail)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(few, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


def test_errors(few, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="expected a folder of sharp photos, but .*empty contains no photos"):
        make_dataset(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DatasetError, match="expected a folder of sharp photos, but .*nowhere is not a folder"):
        make_dataset(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty" / "a.jpg").write_text("no")
    with pytest.raises(
        DatasetError, match="none of the 1 in .* can be used; the first failed because .*a.jpg cannot be read"
    ):
        make_dataset(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(ValueError, match="recipe must be one of camera, classic, got 'film'"):
        make_dataset(few, tmp_path / "out", recipe="film")
    with pytest.raises(ValueError, match="per_photo must be at least 1, got 0"):
        make_dataset(few, tmp_path / "out", per_photo=0)
    with pytest.raises(ValueError, match="scenes must be photo or folder, got 'day'"):
        make_dataset(few, tmp_path / "out", scenes="day")
    assert not (tmp_path / "out").exists()


def test_photos_of_others_in_a_dataset_are_not_replaced(made_folder, sharp_folder, tmp_path):
    shutil.copytree(made_folder, tmp_path / "made")
    (tmp_path / "made" / "sharp" / "mine").mkdir()
    (tmp_path / "made" / "sharp" / "mine" / "precious.jpg").touch()
    with pytest.raises(DatasetError, match="is not a dataset made by blurgate and is not replaced"):
        make_dataset(sharp_folder, tmp_path / "made", overwrite=True)
    assert (tmp_path / "made" / "sharp" / "mine" / "precious.jpg").exists()
