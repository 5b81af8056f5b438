import csv
import json

import numpy as np
import pytest
from PIL import Image

from blurgate.making import recipes
from blurgate.making.dataset import make_dataset
from blurgate.making.recipes import MAX_STRENGTH, MIN_STRENGTH


def read_manifest(folder):
    with (folder / "manifest.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_strengths_are_log_uniform_up_to_an_eighth_of_the_side(sharp_folder, tmp_path):
    make_dataset(sharp_folder, tmp_path / "many", per_photo=6)
    positions = []
    for row in read_manifest(tmp_path / "many"):
        if row["label"] == "blurred":
            camera = json.loads(row["parameters"])["camera"]
            highest = min(MAX_STRENGTH, camera["scale"] * 128 / 8)  # every photo is 128 px
            positions.append(np.log(float(row["strength_px"]) / MIN_STRENGTH) / np.log(highest / MIN_STRENGTH))
    shares = np.histogram(positions, [-0.05, 0.25, 0.5, 0.75, 1.05])[0] / len(positions)
    assert shares.sum() == pytest.approx(1, abs=0.01)
    assert (np.abs(shares - 0.25) < 0.09).all()


def test_some_sharp_pictures_are_in_focus_in_one_place_only(made_folder):
    blurred_around = {"sharp": [], "blurred": []}
    for row in read_manifest(made_folder):
        blurred_around[row["label"]].append("around" in json.loads(row["parameters"]))
    assert 0.15 < np.mean(blurred_around["sharp"]) < 0.45
    assert 0.1 < np.mean(blurred_around["blurred"]) < 0.4


def test_the_focus_mask_is_1_inside_and_0_outside():
    mask = recipes._soft_ellipse(np.zeros((100, 200, 3), np.uint8), x=0.25, y=0.5, half_width=0.2, half_height=0.4)
    assert mask.shape == (100, 200, 1)
    assert mask[50, 50, 0] == pytest.approx(1, abs=1e-3)
    assert mask[50, 90, 0] == pytest.approx(0.5, abs=0.02)
    assert mask[:, 150:].max() < 1e-3


def test_classic_draws_from_the_original_lists(sharp_folder, tmp_path):
    pytest.importorskip("blurgenerator", reason="needs the extra blurgenerator", exc_type=ImportError)
    make_dataset(sharp_folder, tmp_path / "classic", recipe="classic")
    drawn = {}
    for row in read_manifest(tmp_path / "classic"):
        for name, value in json.loads(row["parameters"])["blur"].items():
            drawn.setdefault(f"{row['kind']} {name}", set()).add(value)
    angles = drawn.pop("bg-motion angle")
    assert angles < set(range(0, 360, 10))
    assert drawn == {
        "bg-motion size": {3, 5},
        "bg-gaussian kernel": {3, 5},
        "bg-gaussian sigma": {1, 3, 5, 7},
        "bg-lens radius": {3, 5},
        "bg-lens components": {1, 2, 3, 4, 5},
        "bg-lens exposure_gamma": {2, 3, 4, 5, 6},
    }
    with Image.open(tmp_path / "classic" / read_manifest(tmp_path / "classic")[0]["path"]) as picture:
        assert picture.size == (512, 512)


def test_a_large_photo_is_cropped_to_its_middle(photographs, tmp_path):
    (tmp_path / "sharp").mkdir()
    wide = np.tile(photographs["astronaut"], (1, 6, 1))
    Image.fromarray(wide).save(tmp_path / "sharp" / "wide.png")
    made = make_dataset(tmp_path / "sharp", tmp_path / "out", per_photo=1)
    with Image.open(tmp_path / "out" / made.rows[0].path) as picture:
        assert picture.width <= 1536
