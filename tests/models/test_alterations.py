"""Alterations of the pictures that models learn from: they leave the focus as it is."""

import numpy as np
import pytest
from PIL import Image

from blurgate.measuring.laplacian import variance_of_laplacian
from models import alterations
from models.alterations import MAX_SHIFT, OVERLAYS, Layer, alter, draw_zoom


@pytest.fixture
def gray(photographs):
    return np.asarray(Image.fromarray(photographs["coffee"]).convert("L"))[:200, :240]


def test_the_same_seed_alters_alike_and_cuts_off_a_few_pixels(gray):
    for seed in range(40):
        first, second = (alter(gray, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert first.dtype == np.uint8
        assert all(0 <= side - cut < MAX_SHIFT for side, cut in zip(gray.shape, first.shape, strict=True))


def test_all_offsets_to_the_grid_are_drawn(gray):
    heights = {alter(gray, np.random.default_rng(seed)).shape[0] for seed in range(120)}
    assert len(heights) == MAX_SHIFT


@pytest.mark.parametrize("name", list(OVERLAYS))
def test_an_overlay_covers_a_part_and_leaves_the_rest_alone(gray, name):
    picture = Image.fromarray(gray)
    changed = []
    for seed in range(12):
        layer, mask = Image.new("L", picture.size), Image.new("L", picture.size)
        OVERLAYS[name](Layer(layer, mask, 200, np.random.default_rng(seed)))
        altered = np.asarray(Image.composite(layer, picture, mask))
        np.testing.assert_array_equal(altered[np.asarray(mask) == 0], gray[np.asarray(mask) == 0])
        changed.append(float((altered != gray).mean()))
    assert 0.001 < np.median(changed) < 0.8


def test_most_pictures_keep_their_size_and_some_are_enlarged():
    zooms = [draw_zoom(np.random.default_rng(seed)) for seed in range(400)]
    enlarged = [zoom for zoom in zooms if zoom.down * zoom.across > 1]
    assert 0.15 < len(enlarged) / len(zooms) < 0.35
    assert all(zoom.down >= 1 and zoom.across >= 1 for zoom in zooms)
    assert any(abs(zoom.down - zoom.across) > 0.05 for zoom in enlarged)


def test_what_becomes_a_square_when_enlarged_is_no_larger_than_it():
    for seed in range(60):
        zoom = draw_zoom(np.random.default_rng(seed))
        rows, columns = zoom.source_size(200)
        source = np.random.default_rng(seed).integers(0, 256, (rows, columns), np.uint8)
        assert max(rows, columns) <= 200
        assert zoom.apply(source, (200, 200)).shape == (200, 200)


def test_a_smeared_picture_has_less_texture_and_the_same_contrast(gray):
    smeared = np.asarray(alterations._smear(Image.fromarray(gray), np.random.default_rng(1)))
    assert variance_of_laplacian(smeared) < variance_of_laplacian(gray)
    assert abs(float(smeared.std()) - float(gray.std())) < 0.1 * gray.std()
