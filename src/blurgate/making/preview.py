"""Photo -> contact sheet of every blur kind over its parameter range."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from blurgate.errors import MissingExtraError, needs_extra, require_several
from blurgate.files import atomic_file
from blurgate.making.blurs import BLURS, KernelBlur, LibraryBlur, Parameters, find_blur
from blurgate.photos.images import RGB, Photo, read_rgb

with needs_extra("train", "Making blurred photos"):
    from scipy import ndimage

_TILE = 176  # pixels
_GAP = 12
_MARGIN = 64  # pixels around a tile that are blurred with it: more than half the widest kernel
_LABEL = 90  # height of the text below a tile
_TITLE = 34  # height of a row's title
_PAPER, _INK, _FAINT = (250, 250, 248), (24, 26, 30), (104, 108, 116)

_Row: TypeAlias = tuple[str, KernelBlur | LibraryBlur, list[Parameters]]  # kind, its blur, example parameters


def draw_preview(photo: Photo, *, kinds: Sequence[str] = tuple(BLURS)) -> Image.Image:
    """Draw a contact sheet with a row for each blur kind and a tile for each of eight parameters, from weak to strong.

    Every tile shows the most detailed square of the photo at full resolution, labelled with its parameters and their
    strength. Each row begins with the square without blur.

    Parameters
    ----------
    photo : path, bytes, ndarray or PIL image
    kinds : sequence of str
        Names in `BLURS`. Kinds whose extra is not installed are listed on the sheet instead of shown.

    Returns
    -------
    PIL.Image.Image

    Raises
    ------
    PhotoError
        If the photo cannot be read.
    ValueError
        If there is no such kind.
    """
    require_several("kinds", kinds)
    rgb = read_rgb(photo)
    side = min(_TILE, *rgb.shape[:2])
    rgb, window = _most_detailed(rgb, side)
    rows, missing = _find_examples(kinds)
    columns = 1 + max((len(examples) for _, _, examples in rows), default=0)
    row_height = _TITLE + side + _LABEL
    size = (columns * (side + _GAP) + _GAP, len(rows) * row_height + len(missing) * _TITLE + 2 * _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    for index, row in enumerate(rows):
        _draw_row(sheet, _GAP + index * row_height, row, rgb, window)
    for index, (extra, names) in enumerate(missing.items()):
        line = f"{', '.join(names)}: not shown, they need the extra '{extra}'"
        _write(sheet, (_GAP, _GAP + len(rows) * row_height + index * _TITLE), line, size=13, colour=_FAINT)
    return sheet


def write_preview(photo: Photo, output: Path, *, kinds: Sequence[str] = tuple(BLURS)) -> None:
    """Draw a contact sheet and write it as PNG; see `draw_preview`.

    Parameters
    ----------
    photo : path, bytes, ndarray or PIL image
    output : Path
        The PNG file to write.
    kinds : sequence of str
        Names in `BLURS`.

    Raises
    ------
    PhotoError
        If the photo cannot be read.
    ValueError
        If there is no such kind.
    """
    sheet = draw_preview(photo, kinds=kinds)
    made_by = PngInfo()
    made_by.add_text("Software", "blurgate")  # by which a later preview knows that it may replace the file
    with atomic_file(output) as partial:
        sheet.save(partial, "PNG", pnginfo=made_by)


def _find_examples(kinds: Sequence[str]) -> tuple[list[_Row], dict[str, list[str]]]:
    """Find the rows of the kinds that can be shown; list the other kinds by the extra that they need."""
    rows: list[_Row] = []
    missing: dict[str, list[str]] = {}
    for kind in kinds:
        blur = find_blur(kind)
        try:
            rows.append((kind, blur, blur.examples()))
        except MissingExtraError as error:
            missing.setdefault(error.extra, []).append(kind)
    return rows, missing


def _most_detailed(rgb: RGB, side: int) -> tuple[RGB, tuple[slice, slice]]:
    """Cut out the square with the most detail and a margin around it; return the cut and the square's place in it."""
    gray = rgb.mean(axis=2)
    detail = np.abs(ndimage.laplace(gray))
    sums = np.pad(detail, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = map(int, np.unravel_index(int(inside.argmax()), inside.shape))
    rows_above, columns_before = min(top, _MARGIN), min(left, _MARGIN)
    cut = rgb[top - rows_above : top + side + _MARGIN, left - columns_before : left + side + _MARGIN]
    return cut, (slice(rows_above, rows_above + side), slice(columns_before, columns_before + side))


def _draw_row(sheet: Image.Image, top: int, row: _Row, rgb: RGB, window: tuple[slice, slice]) -> None:
    kind, blur, examples = row
    _write(sheet, (_GAP, top), kind, size=18, colour=_INK)
    _place_tile(sheet, (0, top + _TITLE), rgb[window], "as it is", [])
    for column, parameters in enumerate(examples, start=1):
        blurred = blur.apply(rgb, parameters)[window]
        strength = f"{blur.strength_px(parameters):.2f} px"
        lines = [f"{name} {value:.3g}" for name, value in parameters.items() if name != "path_seed"]
        _place_tile(sheet, (column, top + _TITLE), blurred, strength, lines)


def _place_tile(sheet: Image.Image, place: tuple[int, int], tile: RGB, headline: str, lines: Sequence[str]) -> None:
    column, top = place
    left = _GAP + column * (tile.shape[1] + _GAP)
    sheet.paste(Image.fromarray(tile), (left, top))
    below = top + tile.shape[0] + 4
    _write(sheet, (left, below), headline, size=15, colour=_INK)
    for index, line in enumerate(lines):
        _write(sheet, (left, below + 20 + 15 * index), line, size=12, colour=_FAINT)


def _write(sheet: Image.Image, place: tuple[int, int], text: str, *, size: int, colour: tuple[int, int, int]) -> None:
    ImageDraw.Draw(sheet).text(place, text, fill=colour, font=ImageFont.load_default(size))
