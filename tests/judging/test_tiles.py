"""`join_sharpest`: the tiles of a large plane that decide."""

import numpy as np
from PIL import Image, ImageFilter

from blurgate.judging.tiles import join_sharpest, rate_sharpness


def soften(gray, sigma):
    return np.asarray(Image.fromarray(gray).filter(ImageFilter.GaussianBlur(sigma)))


def test_a_mosaic_holds_the_sharpest_tiles(astronaut):
    gray = astronaut.mean(axis=2).astype(np.uint8)
    large = soften(np.tile(gray, (3, 4)), 4).copy()
    large[512:1024, 1024:1536] = gray
    mosaic = join_sharpest(large, 2**20)
    assert mosaic.shape == (1024, 1024)
    tiles = [mosaic[top : top + 256, left : left + 256] for top in range(0, 1024, 256) for left in range(0, 1024, 256)]
    for top, left in ((0, 0), (0, 256), (256, 0), (256, 256)):
        wanted = gray[top : top + 256, left : left + 256]
        assert any(np.array_equal(tile, wanted) for tile in tiles)


def test_a_plane_that_is_small_enough_stays_as_it_is():
    gray = np.zeros((1024, 1024), np.uint8)
    assert join_sharpest(gray, 2**20) is gray


def test_a_mosaic_of_a_long_plane_is_no_larger_than_it_may_be():
    rng = np.random.default_rng(0)
    for shape in ((64, 20_000), (20_000, 100), (800, 2000), (300, 3600)):
        mosaic = join_sharpest(rng.integers(0, 256, shape, np.uint8), 2**20)
        assert 2**19 < mosaic.size <= 2**20
        assert mosaic.shape[0] % 32 == mosaic.shape[1] % 32 == 0
    assert join_sharpest(np.zeros((1100, 1100), np.uint8), 2**20).shape == (1024, 1024)


def test_noise_is_not_sharp(astronaut):
    gray = astronaut[:256, 128:384].mean(axis=2)
    rng = np.random.default_rng(1)
    sharp, soft, flat = gray, soften(gray.astype(np.uint8), 3), np.full_like(gray, 60)
    noisy = [np.clip(each + rng.normal(0, 8, gray.shape), 0, 255).astype(np.uint8) for each in (sharp, soft, flat)]
    ratings = [rate_sharpness(tile, 8.0) for tile in noisy]
    assert ratings[0] > 2 * ratings[1] > 0
    assert ratings[2] < 0.02
