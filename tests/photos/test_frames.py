"""What is around a photo is found whatever its width, colour and place; an ordinary photo stays whole."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

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


def cut_out(gray, shape, colour=255, radius=0.0):
    """Lay a shape's outside over a photo in one colour, antialiased."""
    mask = Image.new("L", (4 * gray.shape[1], 4 * gray.shape[0]), 0)
    draw = ImageDraw.Draw(mask)
    box = (0, 0, mask.size[0] - 1, mask.size[1] - 1)
    if shape == "ellipse":
        draw.ellipse(box, fill=255)
    else:
        draw.rounded_rectangle(box, round(radius * min(mask.size)), fill=255)
    mask = mask.resize(gray.shape[::-1])
    background = Image.new("L", gray.shape[::-1], colour)
    return np.asarray(Image.composite(Image.fromarray(gray), background, mask)), np.asarray(mask)


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("quality", [None, 60, 90])
@pytest.mark.parametrize("radius", [0.05, 0.08, 0.15, 0.3, 0.4, 0.5])
def test_rounded_corners_are_left_out(blurred, radius, quality, colour):
    gray, mask = cut_out(blurred, "rounded", colour, radius)
    part = find(gray if quality is None else recompress(gray, quality=quality))
    assert (mask[part.top : part.bottom, part.left : part.right] == 255).all()
    assert (part.bottom - part.top) * (part.right - part.left) > 0.4 * gray.size


@pytest.mark.parametrize("widths", [(0, 0, 0, 0), (30, 10, 20, 40)])
def test_what_is_left_of_an_ellipse_is_the_rectangle_in_it(blurred, widths):
    gray, mask = cut_out(blurred, "ellipse")
    part = find(surround(gray, widths, 255))
    inside = surround(mask, widths, 0)[part.top : part.bottom, part.left : part.right]
    assert (inside == 255).all()
    assert inside.size > 0.35 * gray.size


@pytest.mark.parametrize(
    "change",
    [
        lambda gray, rng: gray + rng.integers(-2, 3, gray.shape),
        lambda gray, rng: gray + rng.normal(0, 2, gray.shape),
        lambda gray, rng: recompress(gray, "WEBP", 50),
        lambda gray, rng: Image.fromarray(gray).resize((300, 250), Image.Resampling.LANCZOS),
        lambda gray, rng: Image.fromarray(gray).resize((600, 500), Image.Resampling.BICUBIC),
    ],
    ids=["dithered", "noisy", "WebP", "smaller", "larger"],
)
@pytest.mark.parametrize("px", [3, 12, 40])
def test_a_frame_is_found_however_the_picture_was_changed(blurred, px, change):
    framed = surround(blurred, [px] * 4, 24)
    changed = np.asarray(change(framed, np.random.default_rng(0))).clip(0, 255).astype(np.uint8)
    scale = np.asarray(changed.shape) / framed.shape
    part = find(changed)
    wanted = [px * scale[1], px * scale[0]] * 2
    cut = [part.left, part.top, changed.shape[1] - part.right, changed.shape[0] - part.bottom]
    assert (np.asarray(cut) >= np.floor(wanted)).all()
    assert (np.asarray(cut) <= np.asarray(wanted) + MARGIN).all()


@pytest.mark.parametrize("halvings", [1, 2])
def test_a_frame_of_less_than_a_pixel_is_found(photographs, halvings):
    large = Image.fromarray(read_gray(photographs["coffee"])).resize((2400, 1600), Image.Resampling.BICUBIC)
    framed = surround(np.asarray(large.filter(ImageFilter.GaussianBlur(12))), [1] * 4, 0)
    halved = np.asarray(Image.fromarray(framed).reduce(2**halvings))
    assert min(find(halved)[:2]) >= 1


def test_frames_in_frames_are_left_out(blurred):
    widths = np.asarray([21, 9, 30, 12])
    gray = surround(surround(surround(blurred, [3] * 4, 255), widths, 0), [5] * 4, 200)
    assert_found(gray, widths + 8, margin=MARGIN)
    pillars = surround(surround(blurred, [40, 0, 40, 0], 0), [0, 30, 0, 30], 0)
    assert find(pillars) == Box(40, 30, 360, 290)


def test_a_crisp_edge_costs_none_of_the_photo(blurred):
    assert find(surround(blurred, [17, 3, 5, 60], 0)) == Box(17, 3, 337, 263)


def test_the_photo_on_a_page_stays_whole_and_so_does_its_text(blurred):
    page = Image.new("L", (600, 500), 250)
    draw = ImageDraw.Draw(page)
    for row in range(14):
        draw.text((90, 60 + 26 * row), "It was a dark and stormy night; the rain fell in torrents", 20, font_size=16)
    part = find(np.asarray(page))
    ink = np.argwhere(np.asarray(page) < 128)
    assert part.left <= ink[:, 1].min() < ink[:, 1].max() < part.right
    assert part.top <= ink[:, 0].min() < ink[:, 0].max() < part.bottom
    assert part != whole(np.asarray(page))


def test_too_little_inside_a_frame_leaves_the_picture_whole(blurred):
    for gray in (surround(blurred[:10, :10], [90] * 4, 0), surround(blurred[:63, :63], [8] * 4, 255)):
        assert find(gray) == whole(gray)
    assert find(surround(blurred[:70, :70], [20] * 4, 0)) == Box(20, 20, 90, 90)
    strip = surround(blurred[:64, :], [0, 1, 0, 1], 0)  # 66 pixels high: just the frame can go
    assert find(strip) == Box(0, 1, 320, 65)


def test_one_white_pixel_is_no_photo():
    gray = np.zeros((200, 300), np.uint8)
    gray[90, 120] = 255
    assert find(gray) == whole(gray)
