"""Scenes of printed matter: drawn sharp, different each time, with correct barcodes."""

import doctest

import numpy as np
import pytest
from PIL import Image, ImageFilter

from blurgate.measuring.laplacian import variance_of_laplacian
from models import barcodes
from models.barcodes import code39, ean13, ean_check_digit, random_matrix
from models.print_scenes import SHEETS, draw_scene, draw_scenes

LITTLE_TEXTURE = 20  # variance of the Laplacian


def measure(image):
    return variance_of_laplacian(np.asarray(image.convert("L")))


def test_the_same_seed_draws_the_same_scene_and_another_seed_another():
    first, again, other = (draw_scene(np.random.default_rng([0, seed])) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


@pytest.mark.parametrize("seed", range(12))
def test_scenes_are_sharp(seed):
    scene = draw_scene(np.random.default_rng([1, seed]))
    assert scene.dtype == np.uint8
    assert scene.shape[2] == 3
    assert 360 <= min(scene.shape[:2]) <= max(scene.shape[:2]) <= 960
    image = Image.fromarray(scene)
    assert measure(image) > LITTLE_TEXTURE
    assert measure(image.filter(ImageFilter.GaussianBlur(1.5))) < measure(image) / 2


@pytest.mark.parametrize("name", SHEETS)
@pytest.mark.parametrize("size", [(1600, 1200), (400, 900), (1500, 300)])
def test_every_sheet_is_drawn_in_any_shape(name, size):
    sheet = SHEETS[name](*size, np.random.default_rng(5))
    assert (sheet.size, sheet.mode) == (size, "RGB")
    assert measure(sheet) > 5 * LITTLE_TEXTURE


def test_files_are_numbered_by_seed_and_existing_ones_stay(tmp_path):
    folder = draw_scenes(tmp_path / "prints", 2, 9)
    first, second = sorted(folder.iterdir())
    assert (first.name, second.name) == ("00000.png", "00001.png")
    np.testing.assert_array_equal(np.asarray(Image.open(second)), draw_scene(np.random.default_rng([9, 1])))
    first.write_bytes(b"mine")
    draw_scenes(folder, 2, 9)
    assert first.read_bytes() == b"mine"


def test_ean13_of_a_known_number():
    assert ean_check_digit("590123412345") == "7"
    assert ean13("590123412345") == (
        "10100010110100111011001100100110111101001110101010110011011011001000010101110010011101000100101"
    )


def test_code39_of_a_known_letter():
    star, letter = "1000101110111010", "111010100010111"  # A: wide bar, then n n n n w n n w
    assert code39("A") == f"{star}{letter}0{star[:-1]}"


@pytest.mark.parametrize("seed", range(6))
def test_a_matrix_has_a_solid_edge_and_random_modules(seed):
    modules = random_matrix(24, np.random.default_rng(seed))
    assert modules.shape == (24, 24)
    assert modules[:7, 0].all()
    assert 0.3 < modules.mean() < 0.7


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(barcodes).failed == 0
