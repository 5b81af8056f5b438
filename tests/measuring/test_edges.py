import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from blurgate.measuring.edges import DIRECTIONS, EDGES, contrast, half_rise, rise

PIXELS = arrays(np.int16, (8, 8, 5), elements={"min_value": 0, "max_value": 255})


def draw_edge(sigma, low=20.0, high=220.0):
    """One block with a vertical edge in its middle, blurred by a gaussian."""
    row = np.repeat([low, high], 40)
    blurred = ndimage.gaussian_filter1d(row, sigma) if sigma else row
    return np.tile(np.rint(blurred[36:44]), (8, 1)).astype(np.int16)[:, :, np.newaxis]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("statistic", EDGES.values())
@given(pixels=PIXELS)
def test_is_a_share_on_anything(statistic, direction, pixels):
    found = statistic(pixels, direction)
    assert found.shape == (5,)
    assert (found >= 0).all()
    assert (found <= 255).all()


@pytest.mark.parametrize("statistic", EDGES.values())
@given(pixels=PIXELS)
def test_turning_the_block_turns_the_direction(statistic, pixels):
    turned = pixels.transpose(1, 0, 2)
    np.testing.assert_array_equal(statistic(pixels, "horizontal"), statistic(turned, "vertical"))
    np.testing.assert_array_equal(statistic(pixels, "any"), statistic(turned, "any"))


@given(pixels=PIXELS)
def test_light_and_contrast_change_nothing(pixels):
    dark = pixels // 4 * 2
    for statistic in EDGES.values():
        for direction in DIRECTIONS:
            np.testing.assert_array_equal(statistic(dark * 2 + 1, direction), statistic(dark, direction))


def test_a_step_rises_at_once_and_a_blurred_edge_does_not():
    edges = [draw_edge(sigma) for sigma in (0, 0.7, 1.2, 2, 4)]
    rises = [int(rise(edge, "horizontal")[0]) for edge in edges]
    halves = [int(half_rise(edge, "horizontal")[0]) for edge in edges]
    assert rises[0] == 255
    assert halves[0] == 128
    assert rises == sorted(rises, reverse=True)
    assert halves == sorted(halves, reverse=True)
    assert rises[-1] < 60
    assert halves[-1] < 75


def test_along_an_edge_nothing_rises():
    assert rise(draw_edge(0), "vertical")[0] == half_rise(draw_edge(0), "vertical")[0] == 0


def test_flat_blocks_rise_nowhere():
    flat = np.full((8, 8, 3), 77, np.int16)
    assert contrast(flat).tolist() == [0, 0, 0]
    assert all(not statistic(flat, direction).any() for statistic in EDGES.values() for direction in DIRECTIONS)
