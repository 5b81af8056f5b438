import io

import numpy as np
import pytest
from PIL import Image

from blurgate.photos import copies
from blurgate.photos.copies import find_copies, hash_picture
from blurgate.photos.images import read_gray


def again(gray, scale, quality):
    """The same picture at another size and JPEG quality."""
    height, width = gray.shape
    stream = io.BytesIO()
    small = Image.fromarray(gray).resize((round(width * scale), round(height * scale)))
    small.save(stream, "JPEG", quality=quality)
    return read_gray(stream.getvalue(), min_side=1)


def groups(pairs, count):
    """The copies of each photo, as sets of positions."""
    sets = [{position} for position in range(count)]
    for one, other in pairs:
        joined = sets[one] | sets[other]
        for position in joined:
            sets[position] = joined
    return sorted({tuple(sorted(each)) for each in sets})


def test_copies_in_other_sizes_and_qualities_are_found_and_nothing_else_is(photographs):
    grays = [np.ascontiguousarray(rgb[..., 1]) for rgb in photographs.values()]
    variants = ((1.0, 30), (0.5, 75), (0.25, 80), (1.6, 90))
    hashes = [hash_picture(gray) for gray in grays]
    hashes += [hash_picture(again(gray, *variant)) for variant in variants for gray in grays]
    expected = [tuple(range(number, len(hashes), len(grays))) for number in range(len(grays))]
    assert groups(find_copies(hashes), len(hashes)) == expected


def test_flat_pictures_gradients_and_noise_are_copies_of_nothing():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:240, 0:320]
    flat = [np.full(rows.shape, 0), np.full(rows.shape, 0), np.full(rows.shape, 90), rows, 255 - rows, columns / 2]
    noise = [rng.normal(90, 4, rows.shape) for _ in range(4)]
    hashes = [hash_picture(picture.astype(np.uint8)) for picture in flat + noise]
    assert len(find_copies(hashes)) == 0


def test_many_hashes_are_compared_in_strips(monkeypatch):
    rng = np.random.default_rng(1)
    monkeypatch.setattr(copies, "_ROWS", 7)
    bits = rng.integers(0, 2, (60, 256), dtype=np.uint8)
    bits[40:50] = bits[:10]
    for row, changed in ((40, 16), (41, 17), (42, 1)):
        bits[row, :changed] ^= 1
    bits[55] = 1 - bits[0]  # all 256 bits differ
    hashes = [row.tobytes().hex() for row in np.packbits(bits, axis=1)]
    linked = [group for group in groups(find_copies(hashes), 60) if len(group) > 1]
    assert linked == [(number, number + 40) for number in range(10) if number != 1]


def test_pictures_without_a_hash_are_no_copies(monkeypatch):
    monkeypatch.setattr(copies, "_find_phash", lambda: None)
    assert hash_picture(np.zeros((64, 64), np.uint8)) == ""
    assert find_copies(["", "", ""]).shape == find_copies([]).shape == (0, 2)


@pytest.mark.parametrize("shape", [(64, 64), (1, 500), (3, 3)])
def test_every_shape_has_a_hash(shape):
    assert len(hash_picture(np.zeros(shape, np.uint8))) == copies.DIGITS
