"""Gray -> 8x8 blocks -> 2-D DCT coefficients -> frequency bands.

The code uses the Python array API standard, so that the same lines run on NumPy arrays and torch tensors, on the CPU
and on a GPU.

References
----------
.. [1] N. Ahmed, T. Natarajan, K. R. Rao, "Discrete Cosine Transform", IEEE Trans. Computers C-23 (1974) 90-93.
       :doi:`10.1109/T-C.1974.223784`
.. [2] Gueraichi, "Comparative study of classifiers for blurred images", SAI Computing Conference 2020.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from blurgate.measuring.arrays import Array, array_namespace

BLOCK = 8  # pixels on each side

NOISE_FLOOR = 1e-3  # gray levels: a smaller float32 coefficient is rounding error, not picture content


def split_blocks(gray: Array) -> Array:
    """Split a gray plane into blocks.

    Parameters
    ----------
    gray : array of shape (height, width), uint8
        Luma. Rows and columns left over at the bottom and the right are dropped.

    Returns
    -------
    array of shape (n_blocks, 8, 8), uint8
        In row-major order from the top left.

    Raises
    ------
    ValueError
        If `gray` is not 2-D or is smaller than one block.

    Examples
    --------
    >>> split_blocks(np.zeros((17, 26), np.uint8)).shape
    (6, 8, 8)
    """
    if gray.ndim != 2:
        raise ValueError(f"gray must be 2-D (height, width), got shape {tuple(gray.shape)}")
    rows, columns = gray.shape[0] // BLOCK, gray.shape[1] // BLOCK
    if rows == 0 or columns == 0:
        raise ValueError(f"gray must hold at least one block of 8x8 pixels, got shape {tuple(gray.shape)}")
    xp = array_namespace(gray)
    tiles = xp.reshape(gray[: rows * BLOCK, : columns * BLOCK], (rows, BLOCK, columns, BLOCK))
    return xp.reshape(xp.permute_dims(tiles, (0, 2, 1, 3)), (rows * columns, BLOCK, BLOCK))


def transform_blocks(blocks: Array) -> Array:
    """Compute the orthonormal 2-D DCT-II of each block.

    With ``D[k, n] = c(k) cos(pi (2n + 1) k / 16)``, ``c(0) = sqrt(1/8)`` and ``c(k) = sqrt(2/8)`` otherwise, the
    coefficients of a block ``X`` are ``D X D'``: one matrix product with ``kron(D, D)`` for all blocks. The first pixel
    of each block is subtracted before and added back to the DC term after, so that nearly flat bright blocks keep full
    precision; coefficients still below `NOISE_FLOOR` are set to zero.

    Parameters
    ----------
    blocks : array of shape (n_blocks, 8, 8), uint8

    Returns
    -------
    array of shape (n_blocks, 8, 8), float32
        Vertical frequency first; [0, 0] is DC, eight times the mean. The block index varies fastest in memory, so that
        a sum over coefficients runs over many blocks at once.

    Examples
    --------
    >>> transform_blocks(np.full((1, 8, 8), 100, np.uint8))[0, 0, 0]
    np.float32(800.0)
    """
    xp = array_namespace(blocks)
    pixels = xp.astype(xp.reshape(blocks, (-1, BLOCK * BLOCK)), xp.float32)
    first = pixels[:, :1]
    matrix, of_ones = _send_constants(xp, blocks.device)
    coefficients = matrix @ (pixels - first).T + of_ones * first.T
    significant = xp.abs(coefficients) >= NOISE_FLOOR
    coefficients = xp.where(significant, coefficients, xp.zeros_like(coefficients))
    return xp.permute_dims(xp.reshape(coefficients, (BLOCK, BLOCK, -1)), (2, 0, 1))


def take_band(coefficients: Array, band: str) -> Array:
    """Select the coefficients of one band.

    Parameters
    ----------
    coefficients : array of shape (n_blocks, 8, 8), float32
    band : {'low', 'mid', 'high'}

    Returns
    -------
    array of shape (21, n_blocks), float32
        Coefficients in zig-zag order.

    Raises
    ------
    ValueError
        If `band` is unknown.
    """
    if band not in BANDS:
        raise ValueError(f"band must be one of {', '.join(BANDS)}, got {band!r}")
    xp = array_namespace(coefficients)
    flat = xp.reshape(xp.permute_dims(coefficients, (1, 2, 0)), (BLOCK * BLOCK, -1))
    return xp.take(flat, _send_band(xp, coefficients.device, band), axis=0)


@cache
def _send_constants(xp: Any, device: Any) -> tuple[Array, Array]:
    """Put the constants of the DCT on a device, once: a GPU would wait for each copy."""
    return xp.asarray(_TRANSFORM, device=device), xp.asarray(_DCT_OF_ONES, device=device)


@cache
def _send_band(xp: Any, device: Any, band: str) -> Array:
    return xp.asarray(BANDS[band], device=device)


def _dct_matrix() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    k, n = np.mgrid[:BLOCK, :BLOCK]
    matrix = np.cos(math.pi * (2 * n + 1) * k / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return np.asarray(matrix)


def _zigzag_order() -> list[int]:
    """List the flat indices of an 8x8 block in JPEG's zig-zag order."""
    cells = [(row, column) for row in range(BLOCK) for column in range(BLOCK)]

    def zigzag_key(cell: tuple[int, int]) -> tuple[int, int]:
        row, column = cell
        diagonal = row + column
        return diagonal, row if diagonal % 2 else column

    return [row * BLOCK + column for row, column in sorted(cells, key=zigzag_key)]


_TRANSFORM = np.kron(_dct_matrix(), _dct_matrix()).astype(np.float32)
_DCT_OF_ONES = np.eye(BLOCK * BLOCK, 1, dtype=np.float32) * BLOCK

_AC = _zigzag_order()[1:]
BANDS = {"low": _AC[:21], "mid": _AC[21:42], "high": _AC[42:]}
