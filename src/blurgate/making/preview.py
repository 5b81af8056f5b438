"""Photo -> contact sheet of every blur kind over its parameter range."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from blurgate.errors import MissingExtraError, needs_extra
from blurgate.files import atomic_file
from blurgate.making.blurs import BLURS, KernelBlur, LibraryBlur, Parameters, find_blur
from blurgate.photos.images import RGB, Photo, read_rgb

with needs_extra("train", "Making blurred photos"):
    from scipy import ndimage

_TILE = 176  # pixels
_GAP = 12
_MARGIN = 64  # pixels around it that are blurred too: more than half the widest kernel
_LABEL = 90  # height of the text below a tile
_TITLE = 34  # height of a row's title
_PAPER, _INK, _FAINT = (250, 250, 248), (24, 26, 30), (104, 108, 116)


def draw_preview(photo: Photo, *, kinds: Sequence[str] = tuple(BLURS)) -> Image.Image:
    """Draw a contact sheet: a row for each blur kind, a tile for each of eight parameters from weak to strong.

    Every tile is the photo's most detailed square at its own pixels, labelled with its parameters and with the strength
    that they amount to. Each row begins with that square as it is.

    Parameters
    ----------
    photo : path, bytes, ndarray or PIL image
    kinds : sequence of str
        Names out of `BLURS`. Kinds whose extra is not installed are named on the sheet instead of shown.

    Raises
    ------
    PhotoError
        If the photo cannot be read.
    ValueError
        If there is no such kind.
    """
    rgb = read_rgb(photo)
    tile = min(_TILE, *rgb.shape[:2])
    rgb, window = _most_detailed(rgb, tile)
    rows: list[tuple[str, KernelBlur | LibraryBlur, list[Parameters]]] = []
    missing: dict[str, list[str]] = {}
    for kind in kinds:
        blur = find_blur(kind)
        try:
            rows.append((kind, blur, blur.examples()))
        except MissingExtraError as error:
            missing.setdefault(error.extra, []).append(kind)
    columns = 1 + max((len(examples) for _, _, examples in rows), default=0)
    row_height = _TITLE + tile + _LABEL
    size = (columns * (tile + _GAP) + _GAP, len(rows) * row_height + len(missing) * _TITLE + 2 * _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    for index, (kind, blur, examples) in enumerate(rows):
        top = _GAP + index * row_height
        _write(sheet, (_GAP, top), kind, size=18, colour=_INK)
        _place_tile(sheet, (0, top + _TITLE), rgb[window], "as it is", [])
        for column, parameters in enumerate(examples, start=1):
            blurred = blur.apply(rgb, parameters)[window]
            strength = f"{blur.strength_px(parameters):.2f} px"
            lines = [f"{name} {value:.3g}" for name, value in parameters.items() if name != "path_seed"]
            _place_tile(sheet, (column, top + _TITLE), blurred, strength, lines)
    for index, (extra, names) in enumerate(missing.items()):
        line = f"{', '.join(names)}: not shown, they need the extra '{extra}'"
        _write(sheet, (_GAP, _GAP + len(rows) * row_height + index * _TITLE), line, size=13, colour=_FAINT)
    return sheet


def write_preview(photo: Photo, output: Path, *, kinds: Sequence[str] = tuple(BLURS)) -> None:
    """Draw a contact sheet and write it as PNG; see `draw_preview`."""
    sheet = draw_preview(photo, kinds=kinds)
    with atomic_file(output) as partial:
        sheet.save(partial, "PNG")


def _most_detailed(rgb: RGB, side: int) -> tuple[RGB, tuple[slice, slice]]:
    """Cut out the square of that side with the most detail, with a margin, and say where it is in the cut."""
    gray = rgb.mean(axis=2)
    detail = np.abs(ndimage.laplace(gray))
    sums = np.pad(detail, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = map(int, np.unravel_index(int(inside.argmax()), inside.shape))
    above, before = min(top, _MARGIN), min(left, _MARGIN)
    cut = rgb[top - above : top + side + _MARGIN, left - before : left + side + _MARGIN]
    return cut, (slice(above, above + side), slice(before, before + side))


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
