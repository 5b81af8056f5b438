"""Draw sharp scenes of printed matter, as a photograph of them looks before blur, noise and JPEG are added.

    python models/print_scenes.py --output prints --count 300 --seed 0

A sheet (page, form, label, plan, screen, sign) is drawn flat, at `DOTS` dots per pixel, laid into the frame in
perspective, reduced to pixels, and lit. Its edges are as steep as a good lens gives. Words and numbers are random;
barcodes are correct ones of random numbers.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from blurgate.files import atomic_file
from blurgate.photos.images import RGB
from models.barcodes import CODE39_LETTERS, code39, ean13, ean_check_digit, random_matrix
from models.words import Words, find_mono, font_of

T = TypeVar("T")
Plane: TypeAlias = NDArray[np.float32]  # (height, width) or (height, width, 3)
Points: TypeAlias = NDArray[np.float64]  # (4, 2): x and y
Shape: TypeAlias = tuple[int, ...]  # height, width
Colour: TypeAlias = tuple[int, int, int]
Box: TypeAlias = tuple[float, float, float, float]  # dots: left, top, right, bottom

DOTS = 2  # per pixel, along a side
LONG_SIDES = (640, 960)  # pixels
ASPECTS = (4 / 3, 3 / 4, 1.0, 3 / 2, 16 / 9)  # width / height
SHEET_ASPECTS = (0.71, 1.41, 1.0, 1.6, 0.55)
FILLING_SHARE = 0.5  # of the scenes: the sheet covers the whole frame
TURNED_SHARE = 0.15  # of the scenes: turned by 90 or 270 degrees
MAX_TILT_DEG = 15
BLEED = 6  # dots around a sheet, so that its edge has no fringe

GLARE_SHARE = 0.15
GROUND_COLOURS = ((1, 1, 1), (1, 0.82, 0.62), (0.8, 0.6, 0.45), (0.7, 0.85, 1), (0.5, 0.5, 0.52))

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
INKS: tuple[Colour, ...] = (BLACK, BLACK, BLACK, (25, 25, 25), (20, 40, 110), (120, 20, 20))
VIVID: tuple[Colour, ...] = ((178, 24, 32), (20, 70, 150), (16, 110, 60), (240, 190, 20), (230, 110, 20), (90, 40, 120))
PALE: tuple[Colour, ...] = (WHITE, (250, 244, 228), (232, 239, 246), (240, 246, 234), (250, 236, 234), (215, 215, 215))


def draw_scene(rng: np.random.Generator) -> RGB:
    """Draw one sharp scene.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        Sides of 360 to 960 pixels.
    """
    width, height = _draw_size(rng)
    filling = bool(rng.random() < FILLING_SHARE)
    quad = _lay_sheet(width, height, rng, filling=filling)
    across, down = (round(DOTS * float(np.linalg.norm(quad[end] - quad[0]))) for end in (1, 3))
    name = _pick(tuple(SHEETS), rng)
    laid = _project(SHEETS[name](across, down, rng), quad, width, height)
    codes = _shine_codes(laid, rng) if name == "screen" else _print_codes(laid, rng)
    if not filling:
        codes = _lay_on_ground(codes, _cover(quad, width, height), rng)
    return _light(codes, rng)


def draw_scenes(folder: Path, count: int, seed: int) -> Path:
    """Write scenes as PNG files, each from its own seed; existing files stay.

    Parameters
    ----------
    folder : Path
        Gets ``00000.png`` and so on.
    count : int
        Number of scenes.
    seed : int
        Of all scenes.

    Returns
    -------
    Path
        The folder.
    """
    for number in range(count):
        path = folder / f"{number:05}.png"
        if path.exists():
            continue
        with atomic_file(path) as partial:
            scene = Image.fromarray(draw_scene(np.random.default_rng([seed, number])))
            scene.save(partial, format="PNG", compress_level=1)
    return folder


# Sheets: each draws one of a size in dots


def draw_page(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw running text: headings and paragraphs in one to three columns, or few words on an empty page.

    Parameters
    ----------
    width, height : int
        Of the sheet, in dots; at least 300.
    rng : numpy.random.Generator

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    sheet, draw, words = _start_sheet(width, height, rng)
    size = _draw_size_of_text(rng, 15, 75)
    columns = int(rng.integers(1, 4)) if width > 60 * size else 1
    margin, gap = rng.uniform(0.02, 0.1) * width, 1.5 * size
    column = (width - 2 * margin + gap) / columns
    end = height * (rng.uniform(0.1, 0.5) if rng.random() < 0.25 else 1.0)
    ink = _pick(INKS, rng)
    for left in (margin + column * np.arange(columns)).tolist():
        _write_column(draw, words, (left, margin, left + column - gap, end - margin / 2), size, rng, ink=ink)
    return sheet


def draw_form(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw a title, fields to fill in, and a table of numbers.

    Parameters
    ----------
    width, height : int
        Of the sheet, in dots; at least 300.
    rng : numpy.random.Generator

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    sheet, draw, words = _start_sheet(width, height, rng)
    size = _draw_size_of_text(rng, 15, 50)
    margin = rng.uniform(0.03, 0.08) * width
    ink = _pick(INKS, rng)
    font, box = words.font(size), (margin, margin + 3 * size, width - margin, height - margin)
    draw.text((margin, margin), words.line(words.font(1.8 * size), box[2] - margin), ink, words.font(1.8 * size))
    top = box[1]
    for _ in range(int(rng.integers(0, 6))):
        draw.text((margin, top), words.word() + ":", ink, font)
        draw.line((margin + 8 * size, top + 1.2 * size, box[2], top + 1.2 * size), ink, max(1, size // 16))
        draw.text((margin + 9 * size, top), words.number(), ink, font)
        top += 2 * size
    _draw_table(draw, words, (box[0], top, box[2], box[3]), size, rng, ink=ink)
    return sheet


def draw_product(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw the label of a product: a big name, shapes, small print, perhaps a barcode.

    Parameters
    ----------
    width, height : int
        Of the sheet, in dots; at least 300.
    rng : numpy.random.Generator

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    ground, ink, accent = _pick_colours(rng)
    sheet, draw = _blank(width, height, ground)
    words = Words(rng)
    middle = rng.uniform(0.15, 0.45) * height
    _draw_logo(draw, (rng.uniform(0, 0.6) * width, 0.02 * height, 0.3 * min(width, height)), accent, rng)
    if rng.random() < 0.6:
        draw.rectangle((0, middle, width, middle + 0.22 * height), fill=accent)
    _write_big(draw, words, (0.06 * width, middle, 0.94 * width, middle + 0.22 * height), ink)
    size = _draw_size_of_text(rng, 15, 45)
    print_box = (0.06 * width, middle + 0.27 * height, rng.uniform(0.45, 0.95) * width, 0.97 * height)
    _write_column(draw, words, print_box, size, rng, ink=ink)
    if rng.random() < 0.6:
        digits = words.digits(12)
        box = (0.6 * width, 0.78 * height, 0.96 * width, 0.97 * height)
        _paste_barcode(sheet, ean13(digits), digits + ean_check_digit(digits), box)
    return sheet


def draw_parcel(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw a parcel or shelf label: an address, Code 39, EAN-13 and a matrix, in a frame.

    Parameters
    ----------
    width, height : int
        Of the sheet, in dots; at least 300.
    rng : numpy.random.Generator

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    sheet, draw = _blank(width, height, _pick((WHITE,) * 12 + PALE, rng))
    words, size = Words(rng), _draw_size_of_text(rng, 16, 50)
    left, right, line = 0.04 * width, 0.96 * width, max(2, round(size / 8))
    draw.rectangle((left / 2, left / 2, width - left / 2, height - left / 2), outline=BLACK, width=line)
    _write_column(draw, words, (left, left, 0.62 * width, 0.3 * height), size, rng, ink=BLACK)
    _paste_matrix(sheet, (0.68 * width, left), 0.26 * min(width, height), rng)
    text = f"{words.digits(int(rng.integers(4, 9)))}-{_pick(tuple(CODE39_LETTERS[10:36]), rng)}"
    _paste_barcode(sheet, code39(text), text, (left, 0.36 * height, right, 0.62 * height))
    for share in (0.34, 0.64):
        draw.line((left / 2, share * height, width - left / 2, share * height), BLACK, line)
    digits = words.digits(12)
    box = (left, 0.68 * height, 0.5 * width, 0.96 * height)
    _paste_barcode(sheet, ean13(digits), digits + ean_check_digit(digits), box)
    _write_big(draw, words, (0.54 * width, 0.68 * height, right, 0.82 * height), BLACK)
    _write_column(draw, words, (0.54 * width, 0.83 * height, right, 0.95 * height), size, rng, ink=BLACK)
    return sheet


def draw_plan(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw a technical plan: rooms, circles with axes, hatching, dimensions, a title block.

    Parameters
    ----------
    width, height : int
        Of the sheet, in dots; at least 300.
    rng : numpy.random.Generator

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    sheet, draw = _blank(width, height, _pick(PALE[:3], rng))
    ink, words, size = _pick(INKS, rng), Words(rng), _draw_size_of_text(rng, 15, 32)
    thin = int(rng.integers(1, 4))
    for _ in range(int(rng.integers(4, 14))):
        left, top = rng.uniform(0, 0.8) * width, rng.uniform(0, 0.8) * height
        box = (left, top, left + rng.uniform(0.08, 0.4) * width, top + rng.uniform(0.08, 0.4) * height)
        _pick((_draw_room, _draw_circle, _draw_hatching), rng)(draw, box, ink, thin)
        _draw_dimension(draw, words, (box[0], box[2], box[3] + 2 * size), size, ink)
    block = (0.62 * width, height - 5.5 * size, 0.97 * width, height - size)
    draw.rectangle(block, fill=WHITE, outline=ink, width=2 * thin)
    _write_column(draw, words, (block[0] + size, block[1] + size / 2, block[2] - size, block[3]), size, rng, ink=ink)
    return sheet


def draw_screen(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw a screen: title, menu, lines of text, buttons, bars; perhaps with the grid of its pixels.

    Parameters
    ----------
    width, height : int
        Of the sheet, in dots; at least 300.
    rng : numpy.random.Generator

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    dark = bool(rng.random() < 0.5)
    ground, ink = ((24, 27, 33), (225, 228, 232)) if dark else ((246, 247, 249), (40, 44, 52))
    accent, edge = _pick(VIVID, rng), (70, 75, 85) if dark else (205, 208, 214)
    sheet, draw = _blank(width, height, ground)
    words, size = Words(rng), _draw_size_of_text(rng, 16, 50)
    side = rng.uniform(0.15, 0.3) * width
    draw.rectangle((0, 0, width, 2.4 * size), fill=accent)
    draw.text((size, 0.5 * size), words.line(words.font(1.1 * size), width / 2), WHITE, words.font(1.1 * size))
    draw.rectangle((0, 2.4 * size, side, height), fill=edge)
    for row in np.arange(3.5 * size, height, 2 * size).tolist():
        draw.text((size, row), words.line(words.font(size), side - 2 * size), ink, words.font(size))
    left, right = side + size, width - size
    _write_column(draw, words, (left, 3.5 * size, right, 0.5 * height), size, rng, ink=ink)
    _draw_buttons(draw, words, (left, 0.52 * height, right, 0.52 * height + 2 * size), size, accent)
    _draw_bars(draw, (left, 0.55 * height + 3 * size, right, height - size), accent, edge, rng)
    return _draw_lcd_grid(sheet, rng) if rng.random() < 0.5 else sheet


def draw_sign(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """Draw a price tag or a sign: few big letters on a plain colour.

    Parameters
    ----------
    width, height : int
        Of the sheet, in dots; at least 300.
    rng : numpy.random.Generator

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    ground, ink, accent = _pick_colours(rng)
    sheet, draw = _blank(width, height, ground)
    words, margin = Words(rng), 0.06 * min(width, height)
    if rng.random() < 0.5:
        draw.rectangle(
            (margin / 2, margin / 2, width - margin / 2, height - margin / 2), outline=accent, width=int(margin / 4)
        )
    lines = int(rng.integers(1, 4))
    tops = np.linspace(margin, height - margin, lines + 1)
    for top, bottom in itertools.pairwise(tops.tolist()):
        _write_big(draw, words, (1.5 * margin, top, width - 1.5 * margin, bottom - margin), ink)
    if rng.random() < 0.4:
        size = _draw_size_of_text(rng, 15, 40)
        draw.text(
            (margin, height - margin - size), words.line(words.font(size), width - 2 * margin), ink, words.font(size)
        )
    return sheet


# What sheets are drawn of


def _pick(things: Sequence[T], rng: np.random.Generator) -> T:
    return things[int(rng.integers(len(things)))]


def _pick_colours(rng: np.random.Generator) -> tuple[Colour, Colour, Colour]:
    """Pick a ground, an ink that can be read on it, and another colour."""
    vivid = _pick(VIVID, rng)
    if rng.random() < 0.5:
        return _pick(PALE, rng), _pick(INKS, rng), vivid
    light = sum(vivid) > 380
    return vivid, BLACK if light else WHITE, (250, 220, 80) if light else (90, 90, 90)


def _draw_size_of_text(rng: np.random.Generator, least: int, most: int) -> int:
    return round(math.exp(rng.uniform(math.log(least), math.log(most))))


def _blank(width: int, height: int, colour: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (width, height), colour)
    return sheet, ImageDraw.Draw(sheet)


def _start_sheet(width: int, height: int, rng: np.random.Generator) -> tuple[Image.Image, ImageDraw.ImageDraw, Words]:
    return *_blank(width, height, _pick((WHITE,) * 12 + PALE, rng)), Words(rng)


def _write_column(
    draw: ImageDraw.ImageDraw, words: Words, box: Box, size: int, rng: np.random.Generator, *, ink: Colour
) -> None:
    """Write headings and paragraphs into a box."""
    left, top, right, bottom = box
    leading = size * rng.uniform(1.15, 1.6)
    while top + size < bottom:
        scale = _pick((1, 1, 1, 1.6), rng)
        lines = 1 if scale > 1 else int(rng.integers(2, 12))
        font = words.font(scale * size)
        for line in range(lines):
            if top + scale * size > bottom:
                return
            width = (right - left) * (rng.uniform(0.3, 0.9) if line == lines - 1 else 1)
            draw.text((left, top), words.line(font, width), ink, font)
            top += scale * leading
        top += leading * rng.uniform(0.2, 0.9)


def _write_big(draw: ImageDraw.ImageDraw, words: Words, box: Box, ink: Colour) -> None:
    """Write a word or a number as large as a box allows."""
    left, top, right, bottom = box
    text = words.word() if words.coin() else words.number()
    size = min(100 * (right - left) / words.font(100).getlength(text), 0.85 * (bottom - top))
    draw.text(((left + right) / 2, (top + bottom) / 2), text, ink, words.font(size), anchor="mm")


def _draw_table(
    draw: ImageDraw.ImageDraw, words: Words, box: Box, size: int, rng: np.random.Generator, *, ink: Colour
) -> None:
    left, top, right, bottom = box
    columns = max(2, int((right - left) / (size * rng.uniform(6, 10))))
    tops = np.arange(top, bottom, size * rng.uniform(1.5, 2.2)).tolist()
    if len(tops) < 2:
        return
    edges = np.linspace(left, right, columns + 1).tolist()
    draw.rectangle((left, tops[0], right, tops[1]), fill=_pick(PALE[1:], rng))
    line = max(1, size // 14)
    for row in tops:
        draw.line((left, row, right, row), ink, line)
    for edge in edges:
        draw.line((edge, tops[0], edge, tops[-1]), ink, line)
    for (row, _), (edge, end) in itertools.product(itertools.pairwise(tops), itertools.pairwise(edges)):
        text = words.number() if words.coin() else words.line(words.font(size), end - edge - size)
        draw.text((edge + size / 3, row + size / 4), text, ink, words.font(size))


def _draw_logo(
    draw: ImageDraw.ImageDraw, place: tuple[float, float, float], colour: Colour, rng: np.random.Generator
) -> None:
    """Draw a star, a polygon or rings at a place: left, top and side."""
    left, top, side = place
    corners = int(rng.integers(3, 12))
    angles = np.arange(2 * corners) * math.pi / corners
    radii = np.where(np.arange(2 * corners) % 2, side / 2, side / 2 * rng.uniform(0.4, 1))
    points = np.stack([left + side / 2 + radii * np.sin(angles), top + side / 2 - radii * np.cos(angles)], axis=1)
    draw.polygon([tuple(point) for point in points.tolist()], fill=colour)
    inner = (left + 0.3 * side, top + 0.3 * side, left + 0.7 * side, top + 0.7 * side)
    draw.ellipse(inner, fill=_pick(PALE, rng), outline=BLACK, width=int(rng.integers(0, 9)))


def _draw_room(draw: ImageDraw.ImageDraw, box: Box, ink: Colour, thin: int) -> None:
    draw.rectangle(box, outline=ink, width=4 * thin)
    middle = (box[0] + box[2]) / 2
    draw.line((middle, box[1], middle, box[3]), ink, 2 * thin)
    draw.arc((middle - 80, box[1] - 80, middle + 80, box[1] + 80), 0, 90, ink, thin)


def _draw_circle(draw: ImageDraw.ImageDraw, box: Box, ink: Colour, thin: int) -> None:
    x, y, radius = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, min(box[2] - box[0], box[3] - box[1]) / 2
    for share in (1.0, 0.6):
        draw.circle((x, y), share * radius, outline=ink, width=2 * thin)
    draw.line((x - 1.2 * radius, y, x + 1.2 * radius, y), ink, thin)
    draw.line((x, y - 1.2 * radius, x, y + 1.2 * radius), ink, thin)


def _draw_hatching(draw: ImageDraw.ImageDraw, box: Box, ink: Colour, thin: int) -> None:
    left, top, right, bottom = box
    rise = bottom - top
    for start in np.arange(left - rise, right, 10 + 4 * thin).tolist():  # cut at both sides
        lowest, highest = max(start, left), min(start + rise, right)
        draw.line((lowest, bottom - (lowest - start), highest, bottom - (highest - start)), ink, thin)
    draw.rectangle(box, outline=ink, width=3 * thin)


def _draw_dimension(
    draw: ImageDraw.ImageDraw, words: Words, place: tuple[float, float, float], size: int, ink: Colour
) -> None:
    """Draw a line with two arrows and a number above: left, right and height."""
    left, right, y = place
    draw.line((left, y, right, y), ink, 2)
    for tip, inside in ((left, 14), (right, -14)):
        draw.polygon([(tip, y), (tip + inside, y - 4), (tip + inside, y + 4)], fill=ink)
        draw.line((tip, y - size, tip, y + 6), ink, 2)
    draw.text(((left + right) / 2, y - 2), words.digits(4), ink, words.font(size), anchor="mb")


def _draw_buttons(draw: ImageDraw.ImageDraw, words: Words, box: Box, size: int, colour: Colour) -> None:
    left, top, right, bottom = box
    while left + 6 * size < right:
        text = words.word()
        end = left + words.font(size).getlength(text) + 2 * size
        draw.rounded_rectangle((left, top, end, bottom), size / 2, fill=colour)
        draw.text((left + size, top + size / 2.5), text, WHITE, words.font(size))
        left = end + size


def _draw_bars(draw: ImageDraw.ImageDraw, box: Box, colour: Colour, edge: Colour, rng: np.random.Generator) -> None:
    left, top, right, bottom = box
    if bottom - top < 20 or right - left < 20:
        return
    for y in np.linspace(top, bottom, 5).tolist():
        draw.line((left, y, right, y), edge, 2)
    starts = np.linspace(left, right, int(rng.integers(5, 25)))
    for start, end in itertools.pairwise(starts.tolist()):
        draw.rectangle(
            (start, bottom - rng.random() * (bottom - top), start + 0.7 * (end - start), bottom), fill=colour
        )


def _draw_lcd_grid(sheet: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Darken the gaps between the pixels of a screen."""
    period = int(rng.integers(5, 9))
    cell = np.full((period, period), 255, np.uint8)
    cell[0] = cell[:, 0] = rng.integers(150, 235)
    repeats = (sheet.height // period + 1, sheet.width // period + 1)
    grid = Image.fromarray(np.tile(cell, repeats)[: sheet.height, : sheet.width])
    return ImageChops.multiply(sheet, grid.convert("RGB"))


def _paste_matrix(sheet: Image.Image, place: tuple[float, float], side: float, rng: np.random.Generator) -> None:
    modules = random_matrix(2 * int(rng.integers(8, 18)), rng)
    length = max(1, int(side / len(modules))) * len(modules)
    _paste_modules(sheet, modules, *place, (length, length))


def _paste_modules(
    sheet: Image.Image, modules: NDArray[np.bool_], left: float, top: float, size: tuple[int, int]
) -> None:
    stamp = Image.fromarray(np.where(modules, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    sheet.paste(stamp.convert("RGB"), (round(left), round(top)))


def _paste_barcode(sheet: Image.Image, bars: str, text: str, box: Box) -> None:
    """Draw bars into a box, on a white ground, with the text below."""
    left, top, right, bottom = box
    module = max(1, int((right - left) / (len(bars) + 14)))
    size = min(round((bottom - top) * 0.2), 11 * module)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + module * (len(bars) + 14), bottom), fill=WHITE)
    modules = np.array([[bar == "1" for bar in bars]])
    start = left + 7 * module
    _paste_modules(sheet, modules, start, top + 4, (module * len(bars), max(8, round(bottom - top - 1.4 * size))))
    draw.text((start, bottom - 1.3 * size), text, BLACK, font_of(find_mono(), max(size, 8)))


# From a sheet to a picture of it


def _draw_size(rng: np.random.Generator) -> tuple[int, int]:
    """Draw the width and the height of a picture, in pixels."""
    aspect, long_side = _pick(ASPECTS, rng), int(rng.integers(*LONG_SIDES))
    return round(long_side * min(1, aspect)), round(long_side * min(1, 1 / aspect))


def _lay_sheet(width: int, height: int, rng: np.random.Generator, *, filling: bool) -> Points:
    """Draw where the corners of a sheet lie, in pixels; those of its top left, top right, bottom right, bottom left."""
    tilt = math.radians(float(np.clip(rng.normal(0, 5), -MAX_TILT_DEG, MAX_TILT_DEG)))
    cos, sin = math.cos(tilt), math.sin(tilt)
    if filling:
        spans = np.array([width * cos + height * abs(sin), height * cos + width * abs(sin)]) * rng.uniform(1.0, 1.25)
        stretch, centre = rng.uniform(1.0, 1.1, (4, 1)), np.array([width, height]) / 2
    else:
        spans = _fit(_pick(SHEET_ASPECTS, rng), width, height) * rng.uniform(0.75, 1.15)
        stretch = rng.uniform(0.92, 1.0, (4, 1))
        centre = np.array([width, height]) * (0.5 + rng.normal(0, 0.06, 2))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * spans * stretch
    quad = corners @ np.array([[cos, sin], [-sin, cos]]) + centre
    return np.roll(quad, _pick((1, 3), rng) if rng.random() < TURNED_SHARE else 0, axis=0)


def _fit(aspect: float, width: int, height: int) -> NDArray[np.float64]:
    return np.array([aspect, 1.0]) * min(width / aspect, height)


def _project(sheet: Image.Image, quad: Points, width: int, height: int) -> Image.Image:
    """Photograph a sheet: put its corners where they lie, in dots, and reduce dots to pixels."""
    right, bottom = sheet.width - BLEED, sheet.height - BLEED
    source = np.array([[BLEED, BLEED], [right, BLEED], [right, bottom], [BLEED, bottom]])
    coefficients = _solve_perspective(DOTS * quad, source)
    dots = (DOTS * width, DOTS * height)
    laid = sheet.transform(dots, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    return laid.reduce(DOTS)


def _solve_perspective(target: Points, source: Points) -> tuple[float, ...]:
    """Solve for the eight coefficients of Pillow's transform, which maps target points to source points."""
    rows = []
    for (x, y), (u, v) in zip(target.tolist(), source.tolist(), strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return tuple(np.linalg.solve(np.array(rows), source.ravel()).tolist())


def _cover(quad: Points, width: int, height: int) -> Plane:
    """Compute how much of each pixel a sheet covers, 0 to 1."""
    fine = 2 * DOTS
    mask = Image.new("L", (fine * width, fine * height))
    ImageDraw.Draw(mask).polygon([tuple(point) for point in (fine * quad).tolist()], fill=255)
    return np.asarray(mask.reduce(fine), np.float32) / np.float32(255)


def _print_codes(sheet: Image.Image, rng: np.random.Generator) -> Plane:
    """Turn the colours of a sheet into those of worn ink on paper with fibres; codes from 0 to 255."""
    paper = rng.uniform(220, 250) * np.array([rng.uniform(0.97, 1), rng.uniform(0.96, 1), rng.uniform(0.88, 1)])
    contrast = (paper - rng.uniform(10, 60)) / 255
    codes = np.asarray(sheet, np.float32)
    shape = (sheet.height, sheet.width)
    speckle = rng.uniform(0, 0.12) * _noise(shape, (rng.uniform(1.2, 3),) * 2, rng)
    fibres = rng.uniform(0.3, 2.5) * _noise(shape, (1.3, 1.3), rng)
    ink = (codes - 255) * contrast.astype(np.float32)
    ink *= (1 - np.abs(speckle))[..., np.newaxis]
    return np.asarray(ink + (fibres[..., np.newaxis] + paper.astype(np.float32)), np.float32)


def _shine_codes(sheet: Image.Image, rng: np.random.Generator) -> Plane:
    """Turn the colours of a sheet into those of a screen, whose black is not quite dark."""
    return np.asarray(rng.uniform(5, 25) + rng.uniform(0.8, 0.95) * np.asarray(sheet, np.float32), np.float32)


def _lay_on_ground(codes: Plane, cover: Plane, rng: np.random.Generator) -> Plane:
    """Put a sheet on a ground that it shades softly."""
    ground = _pick(GROUNDS, rng)(cover.shape, rng)[..., np.newaxis] * np.array(_pick(GROUND_COLOURS, rng), np.float32)
    top, left = rng.integers(0, 3, 2).tolist()  # eighths of the cover: where the light comes from
    soft = _soften(cover)
    shade = _enlarge(np.pad(soft, 1, mode="edge")[top:, left:][: soft.shape[0], : soft.shape[1]], cover.shape)
    ground *= 1 - rng.uniform(0.1, 0.6) * shade[..., np.newaxis]
    return np.asarray(ground + (codes - ground) * cover[..., np.newaxis], np.float32)


def _soften(cover: Plane) -> Plane:
    """Reduce to eighths and blur: the shadow around a sheet."""
    small = Image.fromarray((255 * cover).astype(np.uint8)).reduce(8).filter(ImageFilter.GaussianBlur(1.2))
    return np.asarray(small, np.float32) / np.float32(255)


def _wood(shape: Shape, rng: np.random.Generator) -> Plane:
    grain = _noise(shape, (rng.uniform(1.5, 4), rng.uniform(60, 200)), rng)
    planks = _noise(shape, (rng.uniform(20, 60), 400), rng)
    return 150 + 14 * grain + 20 * planks + 4 * _noise(shape, (1.2, 8), rng)


def _cloth(shape: Shape, rng: np.random.Generator) -> Plane:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    pitch = rng.uniform(2.8, 7)
    weave = np.sin(2 * math.pi * rows / pitch) + np.sin(2 * math.pi * columns / pitch)
    return np.asarray(
        140 + 11 * weave * (1 + 0.5 * _noise(shape, (2, 2), rng)) + 5 * _noise(shape, (80, 80), rng), np.float32
    )


def _plain(shape: Shape, rng: np.random.Generator) -> Plane:
    return (
        rng.uniform(60, 200) + rng.uniform(1.5, 6) * _noise(shape, (1.5, 1.5), rng) + 2 * _noise(shape, (90, 90), rng)
    )


def _stone(shape: Shape, rng: np.random.Generator) -> Plane:
    layers = [_noise(shape, (cell, cell), rng) for cell in (1.3, 2.5, 6)]
    return np.asarray(rng.uniform(100, 180) + 8 * np.sum(layers, axis=0), np.float32)


def _noise(shape: Shape, cell: tuple[float, float], rng: np.random.Generator) -> Plane:
    """Draw smooth noise of unit size with cells of a height and a width in pixels."""
    size = [max(2, math.ceil(length / step)) for length, step in zip(shape[:2], cell, strict=True)]
    return _enlarge(rng.standard_normal(size, np.float32), shape)


def _enlarge(plane: Plane, shape: Shape) -> Plane:
    return np.asarray(Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _light(codes: Plane, rng: np.random.Generator) -> RGB:
    """Expose codes under uneven light, a soft shadow and perhaps glare."""
    height, width = codes.shape[:2]
    y, x = np.mgrid[-1 : 1 : (height // 8) * 1j, -1 : 1 : (width // 8) * 1j].astype(np.float32)
    gain = (1 - rng.uniform(0, 0.12) * (x**2 + y**2)) * (
        1 + rng.uniform(-0.12, 0.12) * x + rng.uniform(-0.12, 0.12) * y
    )
    if rng.random() < 0.4:
        gain *= 1 - _draw_shadow(x, y, rng)
    tint = rng.uniform(0.78, 1.12) * rng.uniform(0.94, 1.0, 3)
    lit = codes * tint.astype(np.float32)
    lit *= _enlarge(gain.astype(np.float32), codes.shape)[..., np.newaxis]
    if rng.random() < GLARE_SHARE:
        glare = _enlarge(_draw_glare(x, y, rng), codes.shape)[..., np.newaxis]
        lit += (255 - lit) * glare
    return np.asarray(np.clip(lit + 0.5, 0, 255), np.uint8)


def _draw_shadow(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Draw the soft shadow of something straight; 1 would be black."""
    angle, edge, softness = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.5), rng.uniform(0.06, 0.3)
    depth = (x * math.cos(angle) + y * math.sin(angle) - edge) / softness
    return np.asarray(rng.uniform(0.1, 0.4) / (1 + np.exp(-depth)), np.float32)


def _draw_glare(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    centre, spread = rng.uniform(-0.9, 0.9, 2), rng.uniform(0.15, 0.6, 2)
    distance = ((x - centre[0]) / spread[0]) ** 2 + ((y - centre[1]) / spread[1]) ** 2
    return np.asarray(rng.uniform(0.1, 0.6) * np.exp(-distance), np.float32)


def main() -> None:
    """Write scenes into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(draw_scenes(options.output, options.count, options.seed))


GROUNDS: tuple[Callable[[Shape, np.random.Generator], Plane], ...] = (_wood, _cloth, _plain, _plain, _stone)

SHEETS: dict[str, Callable[[int, int, np.random.Generator], Image.Image]] = {  # width and height in dots
    "page": draw_page,
    "form": draw_form,
    "product": draw_product,
    "parcel": draw_parcel,
    "plan": draw_plan,
    "screen": draw_screen,
    "sign": draw_sign,
}

if __name__ == "__main__":
    main()
