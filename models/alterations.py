"""Alters a finished picture in ways that leave its focus as it is: sharp and blurred pictures alike.

What is printed over a photo is not the photo: dates, logos, watermarks, subtitles, interfaces, stickers, frames of
texture. Noise is not sharpness, and soft pixels are not blur: enlarged, sharpened, recompressed, reduced to few tones.
``OVERLAYS`` at the end lists what can be printed over.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from blurgate.making.camera import smooth_noise
from blurgate.photos.images import Gray, encode_jpeg, read_gray

ZOOM_SHARE = 0.25  # of the pictures: enlarged
ZOOM = (1.1, 2.0)  # times
UNEVENNESS = 1.3  # at most: zoom along one side divided by that along the other
OVERLAY_SHARE = 0.4  # of the pictures: printed over
SMEAR_SHARE = 0.2  # of the pictures: strongly denoised
SMEARING = (3.0, 20.0)  # codes: see `blurgate.making.camera.smooth_noise`
USUAL_CONTRAST = 50.0  # codes: standard deviation of a picture; flatter ones are smeared less
NOISE_SHARE = 0.25
NOISE = (2.0, 20.0)  # codes: standard deviation
COARSE_SHARE = 0.5  # of the noise: of several pixels
SHARPEN_SHARE = 0.1
POSTER_SHARE = 0.08
TONES = (8, 40)
INVERT_SHARE = 0.05
JPEG_SHARE = 0.6
QUALITIES = (30, 96)
MOIRE_SHARE = 0.04  # of the pictures: photographed from a screen
MAX_SHIFT = 8  # pixels cut off at the top and the left: the grid of the last JPEG is at every offset
RESAMPLING = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.HAMMING,
)
WORDS = (
    *(
        "Ag",
        "sharp",
        "2024-05-17",
        "12:41",
        "© photo",
        "EDIT",
        "Share",
        "news",
        "31.7",
        "Kaffee",
        "100%",
        "live",
        "Off",
    ),
    *("www.blur.org", "then", "he", "THE", "minimum", "ill", "WOW", "0xFF", "& Sons", "Größe", "#7"),
)


@dataclass(frozen=True)
class Zoom:
    """An enlargement.

    Parameters
    ----------
    down, across : float
        Times as high and as wide.
    resample : PIL.Image.Resampling
    """

    down: float
    across: float
    resample: Image.Resampling

    def source_size(self, side: int) -> tuple[int, int]:
        """Compute the height and width, in pixels, of what becomes a square of a side."""
        return math.ceil(side / self.down), math.ceil(side / self.across)

    def apply(self, gray: Gray, size: tuple[int, int]) -> Gray:
        """Enlarge a picture.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8
        size : tuple of int
            New height and width, in pixels.

        Returns
        -------
        ndarray of shape `size`, uint8
        """
        if gray.shape == size:
            return gray
        return np.asarray(Image.fromarray(gray).resize(size[::-1], self.resample))


def draw_zoom(rng: np.random.Generator) -> Zoom:
    """Draw an enlargement; most pictures are not enlarged, and some unevenly."""
    resample = RESAMPLING[rng.integers(len(RESAMPLING))]
    if rng.random() >= ZOOM_SHARE:
        return Zoom(1.0, 1.0, resample)
    zoom = _log_uniform(rng, ZOOM)
    uneven = UNEVENNESS ** rng.uniform(-0.5, 0.5) if rng.random() < 0.4 else 1.0
    return Zoom(max(1.0, zoom * uneven), max(1.0, zoom / uneven), resample)


def alter(gray: Gray, rng: np.random.Generator) -> Gray:
    """Alter a picture in none, one or several ways; up to `MAX_SHIFT` - 1 pixels are cut off at the top and the left.

    Parameters
    ----------
    gray : ndarray of shape (height, width), uint8
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (at least height - MAX_SHIFT, at least width - MAX_SHIFT), uint8
    """
    picture = Image.fromarray(gray)
    if rng.random() < SHARPEN_SHARE:
        percent = int(rng.integers(40, 160))
        picture = picture.filter(ImageFilter.UnsharpMask(float(rng.uniform(0.7, 2.0)), percent, 0))
    if rng.random() < MOIRE_SHARE:
        picture = _show_on_screen(picture, rng)
    if rng.random() < SMEAR_SHARE:
        picture = _smear(picture, rng)
    if rng.random() < NOISE_SHARE:
        picture = _add_noise(picture, rng)
    if rng.random() < OVERLAY_SHARE:
        picture = _print_over(picture, rng)
    if rng.random() < POSTER_SHARE:
        picture = _reduce_tones(picture, int(_log_uniform(rng, TONES)))
    if rng.random() < INVERT_SHARE:
        picture = picture.point([255 - code for code in range(256)])
    altered = np.asarray(picture)
    if rng.random() < JPEG_SHARE:
        altered = read_gray(encode_jpeg(altered[..., np.newaxis], quality=int(rng.integers(*QUALITIES))), min_side=1)
    top, left = rng.integers(0, MAX_SHIFT, 2)
    return altered[top:, left:]


def _print_over(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Print one or two things over a picture."""
    names = rng.choice(list(OVERLAYS), size=int(rng.integers(1, 3)))
    for name in names:
        layer = Image.new("L", picture.size, 0)
        mask = Image.new("L", picture.size, 0)
        OVERLAYS[name](Layer(layer, mask, min(picture.size), rng))
        picture = Image.composite(layer, picture, mask)
    return picture


@dataclass(frozen=True)
class Layer:
    """What is printed over a picture.

    Parameters
    ----------
    ink, mask : PIL image of mode L
        Gray levels, and their opacity.
    side : int
        Shorter side of the picture, in pixels.
    rng : numpy.random.Generator
    """

    ink: Image.Image
    mask: Image.Image
    side: int
    rng: np.random.Generator

    def draw(self, shape: str, place: object, code: int, opacity: int = 255, **options: float) -> None:
        """Call a method of `PIL.ImageDraw` for the ink and for the mask.

        Parameters
        ----------
        shape : str
            Name of the method.
        place : object
            Its first argument.
        code, opacity : int
            0 to 255.
        **options : float
            Its other arguments.
        """
        getattr(ImageDraw.Draw(self.ink), shape)(place, fill=code, **options)
        getattr(ImageDraw.Draw(self.mask), shape)(place, fill=opacity, **options)

    def write(self, place: tuple[float, float], words: str, height: float, code: int, opacity: int = 255) -> None:
        """Write a line.

        Parameters
        ----------
        place : tuple of float
            Left and top, in pixels.
        words : str
        height : float
            In pixels.
        code, opacity : int
            0 to 255.
        """
        font = _font(max(8, round(height)))
        for plane, fill in ((self.ink, code), (self.mask, opacity)):
            ImageDraw.Draw(plane).text(place, words, fill=fill, font=font)

    def cover(self, box: tuple[int, int, int, int], texture: NDArray[np.uint8]) -> None:
        """Cover a box with a texture.

        Parameters
        ----------
        box : tuple of int
            Left, top, right and bottom, in pixels.
        texture : ndarray of shape (height, width), uint8
            Of the size of the box.
        """
        self.ink.paste(Image.fromarray(texture), box[:2])
        self.mask.paste(255, box)

    def place(self) -> tuple[float, float]:
        """Draw a place, in pixels."""
        width, height = self.ink.size
        return float(self.rng.uniform(-0.05, 0.8)) * width, float(self.rng.uniform(0, 0.95)) * height

    def code(self) -> int:
        """Draw a gray level, often black or white."""
        return int(self.rng.choice([0, 255, 255, int(self.rng.integers(256))]))

    def words(self, most: int) -> str:
        """Draw some words."""
        return " ".join(self.rng.choice(WORDS, size=int(self.rng.integers(1, most + 1))).tolist())


def _write_line(layer: Layer) -> None:
    height = _log_uniform(layer.rng, (0.03, 0.2)) * layer.side
    layer.write(layer.place(), layer.words(4), height, layer.code(), int(layer.rng.integers(120, 256)))


def _write_paragraph(layer: Layer) -> None:
    left, top = layer.place()
    height, code = _log_uniform(layer.rng, (0.03, 0.08)) * layer.side, layer.code()
    for line in range(int(layer.rng.integers(2, 6))):
        layer.write((left, top + 1.3 * height * line), layer.words(5), height, code)


def _tile(layer: Layer) -> None:
    """Print a watermark all over, half transparent, often tilted."""
    height = _log_uniform(layer.rng, (0.04, 0.12)) * layer.side
    code, opacity, words = layer.code(), int(layer.rng.integers(50, 200)), layer.words(2)
    width, tall = layer.ink.size
    step = height * float(layer.rng.uniform(2, 5))
    for row in range(-1, int(tall / step) + 2):
        for column in range(-1, int(width / (3 * step)) + 2):
            layer.write((3 * step * (column + 0.5 * (row % 2)), step * row), words, height, code, opacity)
    angle = float(layer.rng.choice([0, 30, -30, layer.rng.uniform(-45, 45)]))
    if angle:
        for plane in (layer.ink, layer.mask):
            plane.paste(plane.rotate(angle, Image.Resampling.BICUBIC))
    layer.ink.paste(code, (0, 0, width, tall))


def _draw_logo(layer: Layer) -> None:
    side = _log_uniform(layer.rng, (0.08, 0.4)) * layer.side
    width, height = layer.ink.size
    if layer.rng.random() < 0.7:  # in a corner
        margin = 0.03 * layer.side
        left = float(layer.rng.choice([margin, width - side - margin]))
        top = float(layer.rng.choice([margin, height - side - margin]))
    else:
        left, top = layer.place()
    outer, inner, opacity = layer.code(), layer.code(), int(layer.rng.choice([255, 255, 160]))
    shape = str(layer.rng.choice(["ellipse", "rectangle", "rounded_rectangle"]))
    layer.draw(shape, (left, top, left + side, top + side), outer, opacity)
    rim = side * float(layer.rng.uniform(0.04, 0.15))
    layer.draw(shape, (left + rim, top + rim, left + side - rim, top + side - rim), inner, opacity)
    layer.write((left + 0.2 * side, top + 0.22 * side), layer.words(1)[:3], side * 0.45, 255 - inner, opacity)


def _draw_sticker(layer: Layer) -> None:
    left, top = layer.place()
    width, height = (_log_uniform(layer.rng, (0.1, 0.5)) * layer.side for _ in range(2))
    code = layer.code()
    shape = str(layer.rng.choice(["rectangle", "rounded_rectangle", "ellipse"]))
    box = (left, top, left + width, top + height)
    if shape == "rounded_rectangle":
        layer.draw(shape, box, code, radius=0.2 * min(width, height))
    else:
        layer.draw(shape, box, code)
    layer.write((left + 0.1 * width, top + 0.2 * height), layer.words(2), 0.4 * height, 255 - code)


def _draw_interface(layer: Layer) -> None:
    """Draw bars with words at the top and the bottom, and buttons."""
    width, height = layer.ink.size
    bar = max(10, round(float(layer.rng.uniform(0.05, 0.16)) * height))
    dark, opacity = int(layer.rng.choice([16, 22, 240, 250])), int(layer.rng.choice([255, 255, 150]))
    tops = [[0], [height - bar], [0, height - bar]][layer.rng.integers(3)]
    for top in tops:
        layer.draw("rectangle", (0, top, width, top + bar), dark, opacity)
        for place in np.sort(layer.rng.uniform(0, 0.9, int(layer.rng.integers(1, 4)))).tolist():
            layer.write((place * width, top + 0.25 * bar), layer.words(2), 0.5 * bar, 255 - dark)


def _write_subtitle(layer: Layer) -> None:
    width, height = layer.ink.size
    size = float(layer.rng.uniform(0.05, 0.1)) * layer.side
    place = (float(layer.rng.uniform(-0.1, 0.3)) * width, height - size * float(layer.rng.uniform(1.3, 3)))
    words = layer.words(6)
    if layer.rng.random() < 0.5:
        layer.write((place[0] + 1, place[1] + 1), words, size, 0)
    layer.write(place, words, size, 255)


def _write_date(layer: Layer) -> None:
    width, height = layer.ink.size
    size = float(layer.rng.uniform(0.03, 0.08)) * layer.side
    day, minute = layer.rng.integers(1, 29), layer.rng.integers(24 * 60)
    place = (float(layer.rng.choice([0.03, 0.5])) * width, float(layer.rng.choice([0.02, 0.9])) * height)
    layer.write(place, f"2024-05-{day:02} {minute // 60:02}:{minute % 60:02}", size, int(layer.rng.integers(150, 256)))


def _draw_frame(layer: Layer) -> None:
    """Cover a margin at one to four sides with a texture."""
    width, height = layer.ink.size
    share = float(layer.rng.choice([layer.rng.uniform(0.004, 0.03), layer.rng.uniform(0.03, 0.2)]))
    margin = max(1, round(share * layer.side))
    boxes = [
        (0, 0, width, margin),
        (0, height - margin, width, height),
        (0, 0, margin, height),
        (width - margin, 0, width, height),
    ]
    first, last = [(0, 4), (0, 2), (2, 4), (1, 2), (0, 1)][layer.rng.integers(5)]
    draw = _TEXTURES[layer.rng.integers(len(_TEXTURES))]
    for box in boxes[first:last]:
        layer.cover(box, draw((box[3] - box[1], box[2] - box[0]), layer.rng))


def _draw_marks(layer: Layer) -> None:
    """Draw thin lines, boxes or circles, as of an editor, a map or a detector."""
    for _ in range(int(layer.rng.integers(1, 7))):
        (left, top), size = layer.place(), _log_uniform(layer.rng, (0.05, 0.7)) * layer.side
        box, wide, code = (left, top, left + size, top + size), int(layer.rng.integers(1, 4)), layer.code()
        shape = str(layer.rng.choice(["line", "rectangle", "ellipse"]))
        if shape == "line":
            layer.draw("line", box, code, width=wide)
            continue
        for plane, fill in ((layer.ink, code), (layer.mask, 255)):
            getattr(ImageDraw.Draw(plane), shape)(box, outline=fill, width=wide)


def _plain(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.full(shape, rng.integers(256), np.uint8)


def _grain(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.clip(rng.normal(rng.integers(40, 216), rng.uniform(3, 40), shape), 0, 255).astype(np.uint8)


def _stripes(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    row, column = np.mgrid[: shape[0], : shape[1]]
    angle, period = rng.uniform(0, math.pi), rng.uniform(2, 24)
    wave = np.sin((row * math.sin(angle) + column * math.cos(angle)) * 2 * math.pi / period)
    wave = np.sign(wave) if rng.random() < 0.5 else wave
    return np.asarray(128 + rng.uniform(10, 120) * wave, np.uint8)


def _slope(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    row, column = np.mgrid[: shape[0], : shape[1]]
    share = row / shape[0] if rng.random() < 0.5 else column / shape[1]
    first, last = rng.integers(0, 256, 2)
    return np.asarray(first + (last - first) * share, np.uint8)


def _wood(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    fine = rng.normal(0, 1, (shape[0], max(1, shape[1] // 12) + 2))
    grain = np.asarray(Image.fromarray(fine.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR))
    return np.clip(rng.integers(60, 200) + rng.uniform(8, 35) * grain, 0, 255).astype(np.uint8)


def _smear(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    code = np.asarray(picture, np.float32)[..., np.newaxis]
    contrast = float(np.clip(code.std() / USUAL_CONTRAST, 0.1, 1))
    smooth = smooth_noise(code, contrast * _log_uniform(rng, SMEARING), size=int(rng.choice([5, 7])))
    return Image.fromarray(np.clip(np.rint(smooth[..., 0]), 0, 255).astype(np.uint8))


def _add_noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Add white noise, or grains of several pixels."""
    width, height = picture.size
    sigma = _log_uniform(rng, NOISE)
    apart = float(rng.uniform(1.2, 4)) if rng.random() < COARSE_SHARE else 1.0
    noise = rng.standard_normal((math.ceil(height / apart) + 1, math.ceil(width / apart) + 1), dtype=np.float32)
    if apart > 1:
        noise = np.asarray(Image.fromarray(noise).resize(picture.size, Image.Resampling.BICUBIC))
        noise = noise / max(float(noise.std()), 1e-6)
    noisy = np.asarray(picture, np.float32) + np.float32(sigma) * noise[:height, :width]
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def _show_on_screen(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Multiply a picture by the grid of a screen's pixels, as a camera samples it."""
    row, column = np.mgrid[: picture.height, : picture.width].astype(np.float32)
    angle, period = rng.uniform(-0.2, 0.2), rng.uniform(1.7, 5)
    along, across = column * math.cos(angle) + row * math.sin(angle), row * math.cos(angle) - column * math.sin(angle)
    depth = rng.uniform(0.03, 0.2)
    grid = 1 + depth * np.cos(2 * math.pi * along / period) * (1 + 0.5 * np.cos(2 * math.pi * across / period))
    return Image.fromarray(np.clip(np.asarray(picture) * grid, 0, 255).astype(np.uint8))


def _reduce_tones(picture: Image.Image, tones: int) -> Image.Image:
    """Reduce a picture to few gray levels."""
    step = 255 / (tones - 1)
    return picture.point([round(round(code / step) * step) for code in range(256)])


def _log_uniform(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))


_font = lru_cache(partial(ImageFont.load_default))
_TEXTURES = (_plain, _grain, _stripes, _slope, _wood)

OVERLAYS: dict[str, Callable[[Layer], None]] = {
    "line": _write_line,
    "paragraph": _write_paragraph,
    "watermark": _tile,
    "logo": _draw_logo,
    "sticker": _draw_sticker,
    "interface": _draw_interface,
    "subtitle": _write_subtitle,
    "date": _write_date,
    "frame": _draw_frame,
    "marks": _draw_marks,
}
