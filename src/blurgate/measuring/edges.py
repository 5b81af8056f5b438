"""Edge statistics, the steepness of a block's edges: (8, 8, n_blocks) pixels -> (n_blocks,).

A sharp edge rises within a pixel or two, a blurred edge over the width of the blur. Each statistic is a ratio of two
gray-level differences, which makes it independent of exposure and contrast. All values are exact integers.

The code uses the Python array API standard, like `blurgate.measuring.blocks`.

References
----------
.. [1] M. Delbracio, I. Garcia-Dorado, S. Choi, D. Kelly, P. Milanfar, "Polyblur: Removing Mild Blur by Polynomial
       Reblurring", IEEE Trans. Computational Imaging 7 (2021). :doi:`10.1109/TCI.2021.3100998` (estimates blur from the
       largest gradient after normalising the range)
"""

from __future__ import annotations

from blurgate.measuring.arrays import Array, array_namespace

DIRECTIONS = ("any", "horizontal", "vertical")

FULL_CONTRAST = 255  # value of `rise` if one step between neighbours spans the whole contrast
EQUAL_DIFFERENCES = 128  # value of `half_rise` if the differences over two and over four pixels are equal

MIN_DIVISOR = 2  # gray levels: smaller differences are rounding error, and ratios of them would be noise


def contrast(pixels: Array) -> Array:
    """Compute the contrast of each block: its brightest pixel minus its darkest.

    Parameters
    ----------
    pixels : array of shape (8, 8, n_blocks), int16

    Returns
    -------
    array of shape (n_blocks,), int16
        Gray levels, 0 to 255.
    """
    xp = array_namespace(pixels)
    return xp.max(pixels, axis=(0, 1)) - xp.min(pixels, axis=(0, 1))


def rise(pixels: Array, direction: str) -> Array:
    """Compute the largest difference between neighbouring pixels as a fraction of the block's contrast, in 255ths.

    255 if the edge rises within one pixel; about 55 for an edge blurred by a gaussian with a sigma of 2 px.

    Parameters
    ----------
    pixels : array of shape (8, 8, n_blocks), int16
    direction : {'any', 'horizontal', 'vertical'}
        Direction from a pixel to its neighbour.

    Returns
    -------
    array of shape (n_blocks,), int32, 0 to 255

    Examples
    --------
    >>> import numpy as np
    >>> step, ramp = np.repeat([10, 110], 4), np.arange(8) * 10
    >>> rise(np.stack([np.tile(step, (8, 1)), np.tile(ramp, (8, 1))], axis=2).astype(np.int16), "horizontal")
    array([255,  36], dtype=int32)
    """
    return _scaled_ratio(_largest_difference(pixels, direction, 1), contrast(pixels), FULL_CONTRAST)


def half_rise(pixels: Array, direction: str) -> Array:
    """Compute the largest difference over two pixels as a fraction of the largest over four pixels, in 128ths.

    128 if the edge rises within two pixels, 64 on a ramp, more than 128 for texture finer than four pixels.

    Parameters
    ----------
    pixels : array of shape (8, 8, n_blocks), int16
    direction : {'any', 'horizontal', 'vertical'}
        Direction from a pixel to the one it is compared with.

    Returns
    -------
    array of shape (n_blocks,), int32, 0 to 255
    """
    over_two, over_four = _largest_difference(pixels, direction, 2), _largest_difference(pixels, direction, 4)
    return _scaled_ratio(over_two, over_four, EQUAL_DIFFERENCES)


def _largest_difference(pixels: Array, direction: str, distance: int) -> Array:
    xp = array_namespace(pixels)
    if direction == "any":
        return xp.maximum(
            _largest_difference(pixels, "horizontal", distance), _largest_difference(pixels, "vertical", distance)
        )
    if direction == "horizontal":
        return xp.max(xp.abs(pixels[:, distance:, :] - pixels[:, :-distance, :]), axis=(0, 1))
    return xp.max(xp.abs(pixels[distance:, :, :] - pixels[:-distance, :, :]), axis=(0, 1))


def _scaled_ratio(dividend: Array, divisor: Array, scale: int) -> Array:
    xp = array_namespace(dividend)
    ratio = xp.astype(dividend, xp.int32) * scale // xp.astype(xp.clip(divisor, min=MIN_DIVISOR), xp.int32)
    return xp.clip(ratio, max=255)


EDGES = {"rise": rise, "half_rise": half_rise}
