"""Gray -> 8x8 blocks -> 2-D DCT coefficients -> frequency bands.

Written on the Python array API standard, so that the same lines run on NumPy arrays and on torch tensors, on the CPU
and on a GPU.

References
----------
.. [1] N. Ahmed, T. Natarajan, K. R. Rao, "Discrete Cosine Transform", IEEE Trans. Computers C-23 (1974) 90-93.
       :doi:`10.1109/T-C.1974.223784`
.. [2] Gueraichi, "Comparative study of classifiers for blurred images", SAI Computing Conference 2020.
"""

from __future__ import annotations

import math

import numpy as np

from blurgate.measuring.arrays import Array, array_namespace

BLOCK = 8  # pixels on each side

NOISE_FLOOR = 1e-3  # gray levels: below it a float32 coefficient is rounding, not picture


def split_blocks(gray: Array) -> Array:
    """Cut a gray plane into its blocks.

    Parameters
    ----------
    gray : array of shape (height, width), uint8
        Luma. Rows and columns left over at the bottom and the right are dropped.

    Returns
    -------
    array of shape (n_blocks, 8, 8), uint8
        Row by row from the top left.

    Raises
    ------
    ValueError
        If `gray` is not 2-D, or holds no whole block.

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
    """Take each block's orthonormal 2-D DCT-II.

    With ``D[k, n] = c(k) cos(pi (2n + 1) k / 16)``, ``c(0) = sqrt(1/8)`` and ``c(k) = sqrt(2/8)`` otherwise, the
    coefficients of a block ``X`` are ``D X D'``: one matrix product for all blocks, by ``kron(D, D)``. The first pixel
    of each block is taken off before and put back into the DC term after, so that nearly flat bright blocks keep all
    their digits; what is still below `NOISE_FLOOR` is set to zero.

    Parameters
    ----------
    blocks : array of shape (n_blocks, 8, 8), uint8

    Returns
    -------
    array of shape (n_blocks, 8, 8), float32
        Vertical frequency first; [0, 0] is DC, eight times the mean. In memory the blocks run fastest: what is summed
        over coefficients is summed for many blocks at once.

    Examples
    --------
    >>> transform_blocks(np.full((1, 8, 8), 100, np.uint8))[0, 0, 0]
    np.float32(800.0)
    """
    xp = array_namespace(blocks)
    pixels = xp.astype(xp.reshape(blocks, (-1, BLOCK * BLOCK)), xp.float32)
    first = pixels[:, :1]
    matrix = xp.asarray(_TRANSFORM, device=blocks.device)
    coefficients = matrix @ (pixels - first).T + xp.asarray(_CONSTANT, device=blocks.device) * first.T
    kept = xp.abs(coefficients) >= NOISE_FLOOR
    coefficients = xp.where(kept, coefficients, xp.zeros_like(coefficients))
    return xp.permute_dims(xp.reshape(coefficients, (BLOCK, BLOCK, -1)), (2, 0, 1))


def take_band(coefficients: Array, band: str) -> Array:
    """Pick one band's coefficients.

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
        If there is no such band.
    """
    if band not in BANDS:
        raise ValueError(f"band must be one of {', '.join(BANDS)}, got {band!r}")
    xp = array_namespace(coefficients)
    flat = xp.reshape(xp.permute_dims(coefficients, (1, 2, 0)), (BLOCK * BLOCK, -1))
    return xp.take(flat, xp.asarray(BANDS[band], device=coefficients.device), axis=0)


def _dct_matrix() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    k, n = np.mgrid[:BLOCK, :BLOCK]
    matrix = np.cos(math.pi * (2 * n + 1) * k / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return np.asarray(matrix)


def _zigzag() -> list[int]:
    """List the flat indices of an 8x8 block in JPEG's zig-zag order."""
    cells = [(row, column) for row in range(BLOCK) for column in range(BLOCK)]

    def place(cell: tuple[int, int]) -> tuple[int, int]:
        row, column = cell
        diagonal = row + column
        return diagonal, row if diagonal % 2 else column

    return [row * BLOCK + column for row, column in sorted(cells, key=place)]


_TRANSFORM = np.kron(_dct_matrix(), _dct_matrix()).astype(np.float32)
_CONSTANT = np.eye(BLOCK * BLOCK, 1, dtype=np.float32) * BLOCK  # the DCT of a block of ones

_AC = _zigzag()[1:]
BANDS = {"low": _AC[:21], "mid": _AC[21:42], "high": _AC[42:]}
