"""Alter photos in ways that must not change the decision, and count the decisions that flip; print JSON.

    python benchmarks/altered.py ../shared/data/bench/phone > altered.json
    python benchmarks/altered.py --table altered.json          # as Markdown

The argument is a labelled folder. Each photo is altered in every way of `ALTERATIONS` and judged again, by each shipped
model. A decision flips if it differs from that on the photo itself, re-encoded as PNG; ``to_sharp`` and ``to_blurred``
count the flips of the photos that the model called blurred and sharp, ``to_undecided`` those of both. ``discs`` is a
test of its own: sharp photos with one sharp disc, the rest blurred, which should stay sharp.

What is altered is drawn from the photo's place in the folder, so a run can be repeated.
"""

import argparse
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from blurgate import load_model, scan
from blurgate.learning.labels import list_photos
from blurgate.making.blurs import BLURS
from blurgate.photos.images import read_rgb
from blurgate.threads import run_in_order

Alteration: TypeAlias = Callable[[Image.Image, np.random.Generator], Image.Image]
Results = dict[str, Any]  # JSON holds it

MODELS = ("default", "trees", "net", "both")
BLACK, WHITE, GRAY, RED = (0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 30, 40)
DISC_RADII = (0.12, 0.2, 0.3)  # of the shorter side
DISC_PHOTOS, DISC_BLUR_PX = 60, 8.0


def recompress(picture: Image.Image, _: np.random.Generator, *, kind: str, quality: int) -> Image.Image:
    """Encode a picture and decode it again.

    Parameters
    ----------
    picture : PIL image
    kind : {'JPEG', 'WEBP', 'AVIF'}
    quality : int
        1 to 95.

    Returns
    -------
    PIL image
    """
    stream = io.BytesIO()
    picture.save(stream, kind, quality=quality)
    return Image.open(stream).convert("RGB")


def rotate(picture: Image.Image, _: np.random.Generator, *, degrees: int) -> Image.Image:
    """Rotate a picture counter-clockwise.

    Parameters
    ----------
    picture : PIL image
    degrees : {90, 180, 270}

    Returns
    -------
    PIL image
    """
    return picture.rotate(degrees, expand=True)


def enhance(picture: Image.Image, _: np.random.Generator, *, quality: Any, factor: float) -> Image.Image:
    """Change the brightness or the contrast of a picture.

    Parameters
    ----------
    picture : PIL image
    quality : class
        Out of `PIL.ImageEnhance`.
    factor : float
        1 for no change.

    Returns
    -------
    PIL image
    """
    changed: Image.Image = quality(picture).enhance(factor)
    return changed


def resize(picture: Image.Image, _: np.random.Generator, *, factor: float) -> Image.Image:
    """Resize a picture by a factor, above 0, with Lanczos.

    Parameters
    ----------
    picture : PIL image
    factor : float

    Returns
    -------
    PIL image
    """
    width, height = (max(64, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def crop(picture: Image.Image, _: np.random.Generator, *, px: int) -> Image.Image:
    """Crop pixels from the left and the top.

    Parameters
    ----------
    picture : PIL image
    px : int
        At least 1.

    Returns
    -------
    PIL image
    """
    return picture.crop((px, px, *picture.size))


def frame(
    picture: Image.Image,
    _: np.random.Generator,
    *,
    px: int | tuple[int, int],
    colour: tuple[int, int, int] = BLACK,
) -> Image.Image:
    """Lay a frame around a picture, or bars at two of its sides.

    Parameters
    ----------
    picture : PIL image
    px : int or (int, int)
        Width of the frame; of two, the first is that at the left and right, the second that above and below.
    colour : tuple of int
        RGB, 0 to 255.

    Returns
    -------
    PIL image
    """
    return ImageOps.expand(picture, px, colour)


def cut_shape(picture: Image.Image, _: np.random.Generator, *, radius: float) -> Image.Image:
    """Round the corners of a picture on white; a disc remains if the radius is 0.5.

    Parameters
    ----------
    picture : PIL image
    radius : float
        Of the corners, in shorter sides: 0 to 0.5.

    Returns
    -------
    PIL image
    """
    mask = Image.new("L", (4 * picture.width, 4 * picture.height), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *mask.size), round(4 * radius * min(picture.size)), fill=255)
    return Image.composite(picture, Image.new("RGB", picture.size, WHITE), mask.resize(picture.size))


def add_logo(picture: Image.Image, rng: np.random.Generator, *, share: float) -> Image.Image:
    """Draw a logo into a corner: a ring and two letters.

    Parameters
    ----------
    picture : PIL image
    rng : numpy.random.Generator
        Draws the corner and the colour.
    share : float
        Side of the logo, in shorter sides.

    Returns
    -------
    PIL image
    """
    side = max(16, round(share * min(picture.size)))
    right, low = rng.integers(0, 2, 2)
    left, top = 6 + right * (picture.width - side - 12), 6 + low * (picture.height - side - 12)
    colour = tuple(rng.integers(0, 256, 3).tolist())
    drawn = picture.copy()
    draw = ImageDraw.Draw(drawn)
    draw.ellipse((left, top, left + side, top + side), fill=WHITE, outline=colour, width=max(2, side // 12))
    font = ImageFont.load_default(side // 2)
    draw.text((left + side / 2, top + side / 2), "ab", fill=colour, font=font, anchor="mm")
    return drawn


def add_text(
    picture: Image.Image,
    _: np.random.Generator,
    *,
    text: str,
    height: float,
    place: tuple[float, float],
    opacity: float = 1.0,
    colour: tuple[int, int, int] = WHITE,
) -> Image.Image:
    """Print a line over a picture.

    Parameters
    ----------
    picture : PIL image
    text : str
    height : float
        Of the letters, in shorter sides.
    place : tuple of float
        Left and top, in sides.
    opacity : float
        0 to 1.
    colour : tuple of int
        RGB, 0 to 255.

    Returns
    -------
    PIL image
    """
    layer = Image.new("RGBA", picture.size, (*colour, 0))
    font = ImageFont.load_default(max(9, round(height * min(picture.size))))
    at = (place[0] * picture.width, place[1] * picture.height)
    ImageDraw.Draw(layer).text(at, text, fill=(*colour, round(255 * opacity)), font=font)
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def tile_watermark(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Print a watermark all over a picture, half transparent.

    Parameters
    ----------
    picture : PIL image
    rng : numpy.random.Generator

    Returns
    -------
    PIL image
    """
    step = max(40, min(picture.size) // 5)
    for top in range(step // 3, picture.height, step):
        for left in range(-step // 2 * (top // step % 2), picture.width, 2 * step):
            place = left / picture.width, top / picture.height
            picture = add_text(picture, rng, text="© photo", height=0.05, place=place, opacity=0.5)
    return picture


def add_interface(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Draw what a phone's screen shows over a photo: a status line, a title and buttons.

    Parameters
    ----------
    picture : PIL image
    rng : numpy.random.Generator

    Returns
    -------
    PIL image
    """
    bar, words = round(0.09 * picture.height), ("Edit", "Share", "Delete")
    drawn = picture.copy()
    draw = ImageDraw.Draw(drawn)
    draw.rectangle((0, 0, picture.width, bar), fill=(20, 20, 22))
    draw.rectangle((0, picture.height - bar, picture.width, picture.height), fill=(20, 20, 22))
    drawn = add_text(drawn, rng, text="12:41   Photo 7 of 31", height=0.045, place=(0.03, 0.02))
    for number, word in enumerate(words):
        place = (0.06 + 0.33 * number, 1 - 0.07)
        drawn = add_text(drawn, rng, text=word, height=0.045, place=place, colour=(120, 180, 255))
    return drawn


def change_gamma(picture: Image.Image, _: np.random.Generator, *, gamma: float) -> Image.Image:
    """Raise each channel, 0 to 1, to a power.

    Parameters
    ----------
    picture : PIL image
    gamma : float
        Above 0.

    Returns
    -------
    PIL image
    """
    return picture.point([round(255 * (code / 255) ** gamma) for code in range(256)] * 3)


def add_noise(picture: Image.Image, rng: np.random.Generator, *, sigma: float, gray: bool = False) -> Image.Image:
    """Add gaussian noise.

    Parameters
    ----------
    picture : PIL image
    rng : numpy.random.Generator
    sigma : float
        In codes, 0 to 255.
    gray : bool
        The same in all channels.

    Returns
    -------
    PIL image
    """
    rgb = np.asarray(picture, np.float64)
    noise = rng.normal(0, sigma, (*rgb.shape[:2], 1 if gray else 3))
    return Image.fromarray(np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8))


def blur_around(rgb: NDArray[np.uint8], radius: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur a photo but for a disc.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
    radius : float
        Of the disc, in shorter sides.
    rng : numpy.random.Generator
        Draws where the disc is, within the photo.

    Returns
    -------
    ndarray of the same shape, uint8
    """
    height, width = rgb.shape[:2]
    reach = radius * min(height, width)
    y, x = (rng.uniform(reach, side - reach) if side > 2 * reach else side / 2 for side in (height, width))
    blurred = BLURS["defocus"].apply(rgb, {"radius_px": DISC_BLUR_PX * np.sqrt(2)})
    row, column = np.mgrid[:height, :width]
    inside = np.clip(reach - np.hypot(row - y, column - x) + 0.5, 0, 1)[..., np.newaxis]
    return np.asarray(np.rint(inside * rgb + (1 - inside) * blurred), np.uint8)


def count_flips(folder: Path, names: list[str], chosen: Sequence[str] = MODELS) -> Results:
    """Count the flips of each alteration, for each model.

    Parameters
    ----------
    folder : Path
        Labelled.
    names : list of str
        Out of `ALTERATIONS`.
    chosen : sequence of str
        Models, see `blurgate.load_model`.

    Returns
    -------
    dict
        Model -> alteration -> ``n_blurred``, ``n_sharp``, ``to_sharp``, ``to_blurred``, ``to_undecided``.
    """
    photos = list_photos(folder)
    models = {name: load_model(name) for name in chosen}
    results: Results = {name: {} for name in models}
    originals: dict[str, list[str]] = {}
    for alteration in ("none", *names):
        pictures = list(run_in_order(partial(_alter, folder=folder, alteration=alteration), list(enumerate(photos))))
        for name, model in models.items():
            decisions = [verdict.decision for verdict in scan(pictures, model=model)]
            before = originals.setdefault(name, decisions)
            results[name][alteration] = _compare(before, decisions)
        print(alteration, {name: results[name][alteration] for name in models}, file=sys.stderr, flush=True)
    return results


def _alter(numbered: tuple[int, Any], *, folder: Path, alteration: str) -> NDArray[np.uint8]:
    number, photo = numbered
    picture = Image.fromarray(read_rgb(folder / photo.path))
    return np.asarray(ALTERATIONS[alteration](picture, np.random.default_rng([0, number])).convert("RGB"))


def _compare(before: list[str], after: list[str]) -> Results:
    pairs = list(zip(before, after, strict=True))
    return {
        "n_blurred": before.count("blurred"),
        "n_sharp": before.count("sharp"),
        "to_sharp": pairs.count(("blurred", "sharp")),
        "to_blurred": pairs.count(("sharp", "blurred")),
        "to_undecided": sum(old != "undecided" and new == "undecided" for old, new in pairs),
    }


def count_discs(folder: Path, names: Sequence[str] = MODELS) -> Results:
    """Count the sharp photos that are called blurred when only a disc of them is left sharp.

    Parameters
    ----------
    folder : Path
        Labelled.
    names : sequence of str
        Models, see `blurgate.load_model`.

    Returns
    -------
    dict
        Model -> radius -> ``n`` and ``called_blurred``.
    """
    sharp = [photo for photo in list_photos(folder) if photo.label == "sharp" and photo.tier != "hard_exposure"]
    chosen = sharp[:: max(1, len(sharp) // DISC_PHOTOS)][:DISC_PHOTOS]
    models = {name: load_model(name) for name in names}
    results: Results = {name: {} for name in models}
    for radius in DISC_RADII:
        pictures = [
            blur_around(read_rgb(folder / photo.path), radius, np.random.default_rng([1, number]))
            for number, photo in enumerate(chosen)
        ]
        for name, model in models.items():
            decisions = [verdict.decision for verdict in scan(pictures, model=model)]
            results[name][str(radius)] = {"n": len(pictures), "called_blurred": decisions.count("blurred")}
    return results


def to_markdown(results: Results) -> str:
    """Format the results as Markdown: flips as shares of the photos that could flip so."""
    flips: Mapping[str, Any] = results["flips"]
    lines = ["| alteration | " + " | ".join(f"{name}: to sharp | to blurred" for name in flips) + " |"]
    lines.append("|---" * (1 + 2 * len(flips)) + "|")
    for alteration in next(iter(flips.values())):
        cells = [
            f"{row[way] / max(1, row[of]):.1%}".replace("%", " %")
            for row in (flips[name][alteration] for name in flips)
            for way, of in (("to_sharp", "n_blurred"), ("to_blurred", "n_sharp"))
        ]
        lines.append(f"| {alteration} | " + " | ".join(cells) + " |")
    lines += ["", "| sharp disc, of the side | " + " | ".join(flips) + " |", "|---" * (1 + len(flips)) + "|"]
    for radius in next(iter(results["discs"].values())):
        found = [results["discs"][name][radius] for name in flips]
        lines.append(f"| {radius} | " + " | ".join(f"{one['called_blurred']} of {one['n']}" for one in found) + " |")
    return "\n".join(lines)


def _plain(change: Callable[[Image.Image], Image.Image]) -> Alteration:
    """Make an alteration of a function that draws nothing."""
    return lambda picture, _: change(picture)


ALTERATIONS: dict[str, Alteration] = {
    "none": _plain(lambda picture: picture),
    **{f"rotated {degrees}": partial(rotate, degrees=degrees) for degrees in (90, 180, 270)},
    "mirrored": _plain(ImageOps.mirror),
    "upside down": _plain(ImageOps.flip),
    **{f"JPEG {q}": partial(recompress, kind="JPEG", quality=q) for q in (95, 80, 60, 45, 30)},
    **{f"{kind} {q}": partial(recompress, kind=kind, quality=q) for kind in ("WEBP", "AVIF") for q in (80, 50)},
    **{f"resized {factor}": partial(resize, factor=factor) for factor in (0.5, 0.75, 0.9, 1.1, 1.25, 1.5)},
    **{f"cropped {px} px": partial(crop, px=px) for px in (1, 2, 3, 4, 5, 6, 7)},
    **{
        f"{name} frame {px} px": partial(frame, px=px, colour=colour)
        for name, colour, widths in (
            ("black", BLACK, (1, 2, 4, 8, 16, 51)),
            ("white", WHITE, (1, 4, 8, 20, 51)),
            ("gray", GRAY, (1, 8, 33)),
            ("red", RED, (3, 24)),
        )
        for px in widths
    },
    **{f"bars {px} px": partial(frame, px=(0, px)) for px in (20, 60, 64)},
    "upright bars 60 px": partial(frame, px=(60, 0)),
    "white bars 60 px": partial(frame, px=(0, 60), colour=WHITE),
    "rounded corners": partial(cut_shape, radius=0.08),
    "disc": partial(cut_shape, radius=0.5),
    "logo": partial(add_logo, share=0.16),
    "large logo": partial(add_logo, share=0.3),
    "date": partial(add_text, text="2024-05-17 12:41", height=0.05, place=(0.03, 0.92), colour=(255, 200, 80)),
    "watermark": partial(add_text, text="© photo", height=0.12, place=(0.25, 0.45), opacity=0.5),
    "tiled watermark": tile_watermark,
    "subtitle": partial(add_text, text="and then she said nothing", height=0.06, place=(0.12, 0.86)),
    "interface": add_interface,
    **{
        f"brightness {factor}": partial(enhance, quality=ImageEnhance.Brightness, factor=factor)
        for factor in (0.6, 1.4)
    },
    **{f"contrast {factor}": partial(enhance, quality=ImageEnhance.Contrast, factor=factor) for factor in (0.6, 1.5)},
    **{f"gamma {gamma}": partial(change_gamma, gamma=gamma) for gamma in (0.6, 1.6)},
    "gray": _plain(lambda picture: picture.convert("L").convert("RGB")),
    "inverted": _plain(ImageOps.invert),
    **{f"noise {sigma}": partial(add_noise, sigma=sigma) for sigma in (5, 10, 20)},
    "gray noise 10": partial(add_noise, sigma=10, gray=True),
    "16 colours": _plain(lambda picture: picture.quantize(16).convert("RGB")),
    "sharpened": _plain(lambda picture: picture.filter(ImageFilter.UnsharpMask(1.5, 120, 0))),
}


def main() -> None:
    """Print the JSON, or the table of an earlier one; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="a labelled folder")
    parser.add_argument(
        "--only", nargs="+", choices=ALTERATIONS, metavar="NAME", help="these alterations instead of all"
    )
    parser.add_argument("--models", nargs="+", default=MODELS, help="shipped models or model files")
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(json.loads(options.table.read_text())))
        return
    names = options.only or [name for name in ALTERATIONS if name != "none"]
    flips = count_flips(options.folder, names, options.models)
    print(json.dumps({"flips": flips, "discs": count_discs(options.folder, options.models)}, indent=1))


if __name__ == "__main__":
    main()
