"""What is around a photo is found whatever its width, colour and place; an ordinary photo stays whole."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from blurgate.photos.frames import REACH, Box, find_part
from blurgate.photos.images import MIN_SIDE, read_gray

COLOURS = {"black": 0, "white": 255, "gray": 128, "red": 82, "other": 190}
MARGIN = 2 * REACH + 4  # pixels of the photo that may go with a frame


@pytest.fixture(scope="module")
def sharp(photographs):
    return read_gray(photographs["coffee"])[40:300, 100:420]


@pytest.fixture(scope="module")
def blurred(sharp):
    return np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(4)))


def find(gray):
    return find_part(gray, min_side=MIN_SIDE)


def whole(gray):
    return Box(0, 0, gray.shape[1], gray.shape[0])


def recompress(gray, kind="JPEG", quality=60):
    stream = io.BytesIO()
    Image.fromarray(gray).save(stream, kind, quality=quality)
    return np.asarray(Image.open(stream).convert("L"))


def surround(gray, widths, colour):
    left, top, right, bottom = widths
    return np.pad(gray, ((top, bottom), (left, right)), constant_values=colour)


def assert_found(framed, widths, margin=MARGIN):
    """The frame is gone, and little of the photo with it."""
    part, (height, width) = find(framed), framed.shape
    cut = np.asarray([part.left, part.top, width - part.right, height - part.bottom])
    assert (cut >= widths).all(), (cut, widths)
    assert (cut <= np.where(np.asarray(widths) > 0, np.asarray(widths) + margin, 0)).all(), (cut, widths)


@pytest.mark.parametrize("colour", COLOURS.values(), ids=COLOURS)
@pytest.mark.parametrize("px", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 20, 33, 51, 60])
def test_a_frame_around_a_blurred_photo_is_left_out(blurred, px, colour):
    assert_found(surround(blurred, [px] * 4, colour), [px] * 4)


@pytest.mark.parametrize("quality", [30, 60, 90])
@pytest.mark.parametrize("px", range(1, 18))
def test_compression_does_not_hide_a_frame(blurred, px, quality):
    assert_found(recompress(surround(blurred, [px] * 4, 0), quality=quality), [px] * 4)


@pytest.mark.parametrize("widths", [(9, 0, 0, 0), (0, 40, 0, 0), (0, 60, 0, 60), (3, 5, 0, 0), (31, 7, 90, 0)])
def test_bars_may_be_on_any_side_and_of_any_width(blurred, widths):
    assert_found(surround(blurred, widths, 255), widths)


def test_an_ordinary_photo_stays_whole(photographs):
    for name in ("astronaut", "chelsea", "china", "coffee", "gravel", "motorcycle_left"):
        gray = read_gray(photographs[name], max_pixels=2**20)
        assert find(gray) == whole(gray), name


@given(
    widths=st.tuples(*[st.integers(0, 40)] * 4),
    colour=st.integers(0, 255),
    turns=st.integers(0, 3),
    mirror=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(max_examples=60)
def test_a_turned_picture_has_the_turned_part(widths, colour, turns, mirror, seed):
    noise = np.random.default_rng(seed).integers(60, 200, (16, 20)).astype(np.uint8)
    gray = np.asarray(Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC))
    framed = surround(gray, widths, colour)
    inside = np.zeros(framed.shape, bool)
    part = find(framed)
    inside[part.top : part.bottom, part.left : part.right] = True
    turned, wanted = (np.rot90(each[:, ::-1] if mirror else each, turns) for each in (framed, inside))
    part = find(np.ascontiguousarray(turned))
    assert wanted[part.top : part.bottom, part.left : part.right].all()
    assert (part.bottom - part.top) * (part.right - part.left) == wanted.sum()


@pytest.mark.parametrize("shape", [(64, 64), (65, 1000), (1, 1), (20, 900), (300, 3000)])
def test_any_shape_is_accepted_and_keeps_its_least_side(shape):
    for gray in (np.zeros(shape, np.uint8), np.indices(shape).sum(0).astype(np.uint8) % 2 * 255):
        assert find(gray) == whole(gray)
