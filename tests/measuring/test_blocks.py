import numpy as np
import pytest
import scipy.fft
from hypothesis import given
from hypothesis.extra.numpy import arrays

from blurgate.measuring.blocks import BANDS, split_blocks, take_band, transform_blocks

BLOCKS = arrays(np.uint8, (3, 8, 8))


def test_blocks_are_in_row_major_order_and_leftover_pixels_are_dropped():
    gray = np.arange(17 * 26, dtype=np.uint16).reshape(17, 26).astype(np.uint8)
    blocks = split_blocks(gray)
    np.testing.assert_array_equal(blocks[1], gray[:8, 8:16])
    np.testing.assert_array_equal(blocks[3], gray[8:16, :8])
    assert blocks.shape == (6, 8, 8)


@given(BLOCKS)
def test_coefficients_are_the_orthonormal_dct(blocks):
    wanted = scipy.fft.dctn(blocks.astype(float), axes=(1, 2), norm="ortho")
    np.testing.assert_allclose(transform_blocks(blocks), wanted, atol=2e-3)


@given(BLOCKS)
def test_the_transform_preserves_energy(blocks):
    energy = (transform_blocks(blocks).astype(float) ** 2).sum(axis=(1, 2))
    np.testing.assert_allclose(energy, (blocks.astype(float) ** 2).sum(axis=(1, 2)), rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
def test_a_flat_block_has_only_dc(level):
    coefficients = transform_blocks(np.full((1, 8, 8), level, np.uint8))[0]
    assert coefficients[0, 0] == 8 * level
    assert np.count_nonzero(coefficients) == (level > 0)


def test_a_nearly_flat_bright_block_keeps_full_precision():
    block = np.full((1, 8, 8), 255, np.uint8)
    block[0, 3, 4] = 254
    wanted = scipy.fft.dctn(block[0].astype(float), norm="ortho")
    np.testing.assert_allclose(transform_blocks(block)[0], wanted, atol=1e-6, rtol=1e-6)


def test_bands_partition_the_63_ac_terms():
    indices = [index for band in BANDS for index in BANDS[band]]
    assert sorted(indices) == list(range(1, 64))
    assert [len(BANDS[band]) for band in BANDS] == [21, 21, 21]


def test_bands_are_in_zigzag_order():
    assert BANDS["low"][:9] == [1, 8, 16, 9, 2, 3, 10, 17, 24]  # the order of JPEG, ITU-T T.81 figure 5
    assert BANDS["high"][-3:] == [55, 62, 63]
    diagonals = [index // 8 + index % 8 for band in BANDS for index in BANDS[band]]
    assert diagonals == sorted(diagonals)


def test_take_band_selects_coefficients():
    coefficients = np.arange(128, dtype=np.float32).reshape(2, 8, 8)
    assert take_band(coefficients, "low")[:, 1].tolist() == [64 + index for index in BANDS["low"]]


def test_errors():
    with pytest.raises(ValueError, match=r"gray must be 2-D \(height, width\), got shape \(8, 8, 3\)"):
        split_blocks(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"at least one block of 8x8 pixels, got shape \(7, 90\)"):
        split_blocks(np.zeros((7, 90), np.uint8))
    with pytest.raises(ValueError, match="band must be one of low, mid, high, got 'top'"):
        take_band(np.zeros((1, 8, 8), np.float32), "top")
