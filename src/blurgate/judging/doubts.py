"""What makes a photo doubtful: gray, features and the opinions of trees and net -> plain words.

Each doubt is one function and one line in `find_doubts`.
"""

from __future__ import annotations

import numpy as np

from blurgate.photos.images import Gray

DARK, COARSE_GRAIN, LITTLE_TEXTURE, DISAGREEMENT = "dark", "coarse grain", "little texture", "trees and net disagree"

# chosen on the sharp photos to train on: of Unsplash, BSDS500 and defocus_maps about one in twenty is beyond each
DARK_LUMA = 50.0  # mean gray level, 0 to 255, below which a photo is dark
GRAIN_SIGMA = 4.0  # standard deviation of the noise, in gray levels, from which grain is coarse
LITTLE_TEXTURE_TO_SPARE = 5.0  # log energy above the least texture that can be judged, below which there is little
_STEP = 8  # pixels between those that the mean is taken of: a photo's brightness needs no more
_GRAIN_SIDE = 512  # pixels: side of the middle in which grain is measured
_SIGMA_OF_MEDIAN = 1.4826  # standard deviation of normal noise by the median of its absolute values


def find_doubts(
    gray: Gray, *, texture_to_spare: float, grain: bool, opinions: tuple[float, float] | None
) -> tuple[str, ...]:
    """List what makes a photo doubtful.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
        The analysed plane, at least 3 pixels on each side.
    texture_to_spare : float
        Log energy above the least texture that can be judged.
    grain : bool
        True to look for grain, which takes longer than the rest.
    opinions : (float, float) or None
        Calibrated log-odds of the trees alone and of the net alone; None if one of them has no say.

    Returns
    -------
    tuple of str
        Out of `DARK`, `COARSE_GRAIN`, `LITTLE_TEXTURE` and `DISAGREEMENT`; empty if there is no doubt.
    """
    found = {
        DARK: is_dark(gray),
        COARSE_GRAIN: grain and has_coarse_grain(gray),
        LITTLE_TEXTURE: texture_to_spare < LITTLE_TEXTURE_TO_SPARE,
        DISAGREEMENT: opinions is not None and disagree(*opinions),
    }
    return tuple(doubt for doubt, applies in found.items() if applies)


def is_dark(gray: Gray) -> bool:
    """Return True if the mean gray level is below `DARK_LUMA`."""
    return bool(gray[::_STEP, ::_STEP].mean() < DARK_LUMA)


def has_coarse_grain(gray: Gray) -> bool:
    """Return True if the noise in the middle of a photo is at least `GRAIN_SIGMA`."""
    return estimate_noise(_cut_middle(gray)) >= GRAIN_SIGMA


def disagree(trees: float, net: float) -> bool:
    """Check whether one opinion is blurred and the other sharp.

    Parameters
    ----------
    trees, net : float
        Log-odds of the trees alone and of the net alone.

    Returns
    -------
    bool
    """
    return (trees > 0) != (net > 0)


def estimate_noise(gray: Gray) -> float:
    """Estimate the noise of a photo by a filter that edges and gradients pass with little effect.

    The filter is Immerkaer's, the difference of two Laplacians. The median of its absolute values takes the place of
    their mean, since edges and texture raise a mean.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
        At least 3 pixels on each side.

    Returns
    -------
    float
        Standard deviation in gray levels.

    References
    ----------
    .. [1] J. Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64 (2), 1996,
           doi:10.1006/cviu.1996.0060.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(128, 10, (256, 256))
    >>> round(estimate_noise(noise.astype(np.uint8)))
    10
    """
    plane = gray.astype(np.int16)
    bent = plane[:-2] - 2 * plane[1:-1] + plane[2:]
    response = np.abs(bent[:, :-2] - 2 * bent[:, 1:-1] + bent[:, 2:])
    middle = np.searchsorted(np.cumsum(np.bincount(response.ravel())), response.size / 2)
    return float(_SIGMA_OF_MEDIAN * middle / 6)  # 6: the norm of the filter's weights


def _cut_middle(gray: Gray) -> Gray:
    top, left = (max(0, (side - _GRAIN_SIDE) // 2) for side in gray.shape)
    return gray[top : top + _GRAIN_SIDE, left : left + _GRAIN_SIDE]
