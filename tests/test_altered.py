"""The alterations of benchmarks/altered.py, in short: each changes the picture, and only as it states."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.altered import ALTERATIONS, blur_around, count_flips, to_markdown
from blurgate.measuring.laplacian import variance_of_laplacian


@pytest.fixture(scope="module")
def photo(photographs):
    return Image.fromarray(photographs["coffee"][100:292, 150:406])


def test_there_are_enough():
    assert len(ALTERATIONS) > 40


@pytest.mark.parametrize("name", sorted(set(ALTERATIONS) - {"none"}))
def test_each_changes_the_picture_and_can_be_repeated(photo, name):
    if name.startswith("AVIF") and ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow writes no AVIF")
    first, second = (ALTERATIONS[name](photo, np.random.default_rng(3)) for _ in range(2))
    assert first.mode == "RGB"
    assert first.tobytes() == second.tobytes()
    assert (first.size, first.tobytes()) != (photo.size, photo.tobytes())


def test_a_frame_leaves_the_photo_alone(photo):
    framed = ALTERATIONS["black frame 8 px"](photo, np.random.default_rng(0))
    assert framed.crop((8, 8, photo.width + 8, photo.height + 8)).tobytes() == photo.tobytes()
    assert np.asarray(framed)[:8].max() == 0


def test_around_a_disc_a_photo_is_blurred(photographs):
    rgb = photographs["coffee"]
    blurred = blur_around(rgb, 0.2, np.random.default_rng(0))
    same = (blurred == rgb).all(axis=2).mean()
    assert 0.05 < same < 0.2
    assert variance_of_laplacian(blurred[..., 1]) < 0.6 * variance_of_laplacian(rgb[..., 1])


def test_flips_are_counted_both_ways(labelled):
    flips = count_flips(labelled, ["rotated 90", "noise 20"])
    assert set(flips) == {"default", "trees", "net", "both"}
    for counts in flips.values():
        assert counts["none"]["to_sharp"] == counts["none"]["to_blurred"] == 0
        assert all(0 <= row["to_sharp"] <= row["n_blurred"] for row in counts.values())
    table = to_markdown({"flips": flips, "discs": {name: {} for name in flips}})
    assert "| noise 20 | " in table
    assert json.loads(json.dumps(flips)) == flips
