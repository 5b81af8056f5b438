"""How fast a block's pixels rise from dark to bright: (8, 8, n_blocks) pixels -> (n_blocks,).

A sharp edge rises within a pixel or two, a blurred one over as many as the blur is wide. Each statistic is a ratio of
two differences of gray, so that neither exposure nor contrast changes it. All are whole numbers, and exact.

Written on the Python array API standard, like `blurgate.measuring.blocks`.

References
----------
.. [1] M. Delbracio, I. Garcia-Dorado, S. Choi, D. Kelly, P. Milanfar, "Polyblur: Removing Mild Blur by Polynomial
       Reblurring", IEEE Trans. Computational Imaging 7 (2021). :doi:`10.1109/TCI.2021.3100998` (blur from the largest
       gradient, once the range is normalised)
"""

from __future__ import annotations

from blurgate.measuring.arrays import Array, array_namespace

DIRECTIONS = ("any", "horizontal", "vertical")

WHOLE = 255  # a rise of all of the range
SAME = 128  # a rise over two pixels that is as large as the one over four

LEAST = 2  # gray levels: less than that is rounding, and its ratios would be loud


def contrast(pixels: Array) -> Array:
    """Take each block's range, in gray levels: 0 to 255.

    Parameters
    ----------
    pixels : array of shape (8, 8, n_blocks), int16

    Returns
    -------
    array of shape (n_blocks,), int16
    """
    xp = array_namespace(pixels)
    return xp.max(pixels, axis=(0, 1)) - xp.min(pixels, axis=(0, 1))


def rise(pixels: Array, direction: str) -> Array:
    """Take the largest difference of neighbours as a share of the block's range, in 255ths.

    255 where a pixel's step is the whole edge; about 55 for an edge that a gaussian of 2 px has blurred.

    Parameters
    ----------
    pixels : array of shape (8, 8, n_blocks), int16
    direction : {'any', 'horizontal', 'vertical'}
        In which the neighbours lie.

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
    return _share(_step(pixels, direction, 1), contrast(pixels), WHOLE)


def half_rise(pixels: Array, direction: str) -> Array:
    """Take the largest difference over two pixels as a share of the largest one over four, in 128ths.

    128 where two pixels are enough for the whole edge, half of it on a ramp, more where there is texture finer than
    four pixels.

    Parameters
    ----------
    pixels : array of shape (8, 8, n_blocks), int16
    direction : {'any', 'horizontal', 'vertical'}

    Returns
    -------
    array of shape (n_blocks,), int32, 0 to 255
    """
    return _share(_step(pixels, direction, 2), _step(pixels, direction, 4), SAME)


def _step(pixels: Array, direction: str, distance: int) -> Array:
    xp = array_namespace(pixels)
    if direction == "any":
        return xp.maximum(_step(pixels, "horizontal", distance), _step(pixels, "vertical", distance))
    if direction == "horizontal":
        return xp.max(xp.abs(pixels[:, distance:, :] - pixels[:, :-distance, :]), axis=(0, 1))
    return xp.max(xp.abs(pixels[distance:, :, :] - pixels[:-distance, :, :]), axis=(0, 1))


def _share(part: Array, whole: Array, unit: int) -> Array:
    xp = array_namespace(part)
    share = xp.astype(part, xp.int32) * unit // xp.astype(xp.clip(whole, min=LEAST), xp.int32)
    return xp.clip(share, max=255)


EDGES = {"rise": rise, "half_rise": half_rise}
