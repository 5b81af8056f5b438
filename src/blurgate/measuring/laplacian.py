"""Gray -> variance of the Laplacian: the customary sharpness measure, for comparison."""

from __future__ import annotations

import numpy as np

from blurgate.photos.images import Gray

CUSTOMARY_CUTOFF = 100.0  # the value that most projects copy: photos below it count as blurred


def variance_of_laplacian(gray: Gray) -> float:
    """Compute the variance of the Laplacian, equal to OpenCV's ``Laplacian(gray, CV_64F).var()``.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8

    Returns
    -------
    float
        At least 0; higher is sharper.

    References
    ----------
    .. [1] J. L. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study",
           ICPR 2000. :doi:`10.1109/ICPR.2000.903548`
    """
    padded = np.pad(gray, 1, mode="reflect").astype(np.int16)
    neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return float(np.var(neighbours - 4 * padded[1:-1, 1:-1], dtype=np.float64))
