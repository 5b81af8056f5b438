import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from blurgate.measuring.edges import DIRECTIONS, EDGES, contrast, half_rise, rise

PIXELS = arrays(np.int16, (8, 8, 5), elements={"min_value": 0, "max_value": 255})


def draw_edge(sigma, low=20.0, high=220.0):
    """Draw one block with a vertical edge in the middle, blurred by a gaussian."""
    row = np.repeat([low, high], 40)
    blurred = ndimage.gaussian_filter1d(row, sigma) if sigma else row
    return np.tile(np.rint(blurred[36:44]), (8, 1)).astype(np.int16)[:, :, np.newaxis]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("statistic", EDGES.values())
@given(pixels=PIXELS)
def test_values_are_in_range_for_random_pixels(statistic, direction, pixels):
    found = statistic(pixels, direction)
    assert found.shape == (5,)
    assert (found >= 0).all()
    assert (found <= 255).all()


@pytest.mark.parametrize("statistic", EDGES.values())
@given(pixels=PIXELS)
def test_transposing_the_block_swaps_the_directions(statistic, pixels):
    transposed = pixels.transpose(1, 0, 2)
    np.testing.assert_array_equal(statistic(pixels, "horizontal"), statistic(transposed, "vertical"))
    np.testing.assert_array_equal(statistic(pixels, "any"), statistic(transposed, "any"))


@given(pixels=PIXELS)
def test_exposure_and_contrast_change_nothing(pixels):
    dark = pixels // 4 * 2
    for statistic in EDGES.values():
        for direction in DIRECTIONS:
            np.testing.assert_array_equal(statistic(dark * 2 + 1, direction), statistic(dark, direction))


def test_a_blurred_edge_rises_more_slowly_than_a_step():
    edges = [draw_edge(sigma) for sigma in (0, 0.7, 1.2, 2, 4)]
    rises = [int(rise(edge, "horizontal")[0]) for edge in edges]
    halves = [int(half_rise(edge, "horizontal")[0]) for edge in edges]
    assert rises[0] == 255
    assert halves[0] == 128
    assert rises == sorted(rises, reverse=True)
    assert halves == sorted(halves, reverse=True)
    assert rises[-1] < 60
    assert halves[-1] < 75


def test_an_edge_does_not_rise_along_its_direction():
    assert rise(draw_edge(0), "vertical")[0] == half_rise(draw_edge(0), "vertical")[0] == 0


def test_flat_blocks_do_not_rise():
    flat = np.full((8, 8, 3), 77, np.int16)
    assert contrast(flat).tolist() == [0, 0, 0]
    assert all(not statistic(flat, direction).any() for statistic in EDGES.values() for direction in DIRECTIONS)
