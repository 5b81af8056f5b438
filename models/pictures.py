"""Draw the pictures that nets are trained on: small, gray, each blurred at random, with a map of its blurred areas.

    python models/pictures.py ../shared/data/train --output pictures --shards 24

A shard is an ``.npz`` of `SHARD` pictures. Each picture has its own seed, so shards can be drawn in any order, by any
number of processes, and an interrupted run resumes with the missing shards. A made picture is a window of a sharp
photo, blurred or not, taken by its own camera, as the recipe camera does with whole photos. A real one is a crop of a
partly focused photo, as it is or as another camera would have exposed it.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blurgate.files import atomic_file
from blurgate.making.camera import Camera, draw_camera
from blurgate.making.recipes import MAX_SIDE, draw_blur
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.finding import find_photos
from blurgate.photos.images import RGB, encode_jpeg, read_gray
from models.workers import open_workers

SIDE = 192  # pixels
CELL = 8  # pixels: side of a cell of the map
SHARD = 2048
UNKNOWN = 255  # in a map
SHARES = {"unsplash": 0.36, "sun_hays80": 0.14, "bsds500": 0.25, "defocus_maps": 0.25}
SOURCES = tuple(SHARES)

FOCUSED_SHARE = 0.2  # of a real picture: sharp from here on
BLURRED_SHARE = 0.995  # of a real picture: blurred from here on
TEXT_SHARE = 0.25  # of the pictures: printed over with text
TEXT_SIDES = (8, 32)  # pixels: height of the text
LUMA_NOISE = 0.669  # luma noise per unit of independent noise in red, green, blue: root of the sum of squared weights
EXPOSED_SHARE = 0.6  # of the real pictures: exposed by another camera


@dataclass(frozen=True)
class Picture:
    """One picture to train on.

    Parameters
    ----------
    gray : ndarray of shape (SIDE, SIDE), uint8
    label : int
        0 sharp, 1 blurred, -1 if only the map is known.
    strength_px : float
        Of the part in focus; NaN if unknown.
    blurred : ndarray of shape (SIDE / CELL, SIDE / CELL), uint8
        Blurred share of each cell, in percent.
    """

    gray: NDArray[np.uint8]
    label: int
    strength_px: float
    blurred: NDArray[np.uint8]


def draw_made(rgb: RGB, rng: np.random.Generator) -> Picture:
    """Draw a gray window of a sharp photo, blurred or not, as a camera takes it.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 1), uint8
        Gray only: nets read nothing else, and it is a third of the work. Noise is scaled to that of the luma of three
        channels.
    rng : numpy.random.Generator

    Returns
    -------
    Picture
    """
    camera = _of_luma(draw_camera(rng))
    camera = replace(camera, scale=max(camera.scale, (SIDE + 1) / min(*rgb.shape[:2], MAX_SIDE)))
    side = min(*rgb.shape[:2], round(SIDE / camera.scale) + 1)
    corners = rng.integers(0, (rgb.shape[0] - side + 1, rgb.shape[1] - side + 1), size=(3, 2))
    windows = [rgb[top : top + side, left : left + side] for top, left in corners]
    window = max(windows, key=lambda candidate: variance_of_laplacian(candidate[..., 0]))
    blurred = bool(rng.random() < 0.5)
    drawn = draw_blur(window, camera.recover_light(window), camera, rng, blurred=blurred)
    gray = _print_text(read_gray(camera.take_picture(drawn.light, rng))[:SIDE, :SIDE], camera.quality, rng)
    focus = np.ones((SIDE, SIDE)) if drawn.mask is None else _shrink(drawn.mask[..., 0], SIDE)
    share = np.ones((SIDE, SIDE)) if blurred else 1 - focus
    return Picture(gray, int(blurred), float(np.hypot(drawn.strength_px, camera.softness_px)), _cells(share))


def draw_real(rgb: RGB, mask: NDArray[np.bool_], rng: np.random.Generator) -> Picture:
    """Draw a crop of a partly focused photo; every second one is entirely out of focus, if there is such a crop.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 1), uint8
    mask : ndarray of shape (height, width), bool
        True where out of focus.
    rng : numpy.random.Generator

    Returns
    -------
    Picture
    """
    height, width = mask.shape
    wanted = rng.random() < 0.5
    for _ in range(12):
        top, left = rng.integers(0, height - SIDE + 1), rng.integers(0, width - SIDE + 1)
        part = mask[top : top + SIDE, left : left + SIDE]
        if (part.mean() >= BLURRED_SHARE) == wanted:
            break
    crop = rgb[top : top + SIDE, left : left + SIDE]
    if rng.random() < EXPOSED_SHARE:
        camera = replace(_of_luma(draw_camera(rng)), softness_px=0.0, scale=1.0)
        gray = _print_text(read_gray(camera.take_picture(camera.recover_light(crop), rng)), camera.quality, rng)
    else:
        gray = crop[..., 0]
    share = float(part.mean())
    label = 1 if share >= BLURRED_SHARE else 0 if 1 - share >= FOCUSED_SHARE else -1
    return Picture(gray, label, float("nan"), _cells(part.astype(np.float64)))


def draw_shard(data: Path, output: Path, number: int, seed: int) -> None:
    """Write one shard, unless it exists.

    Parameters
    ----------
    data : Path
        Folder with ``sharp`` and ``defocus_maps``.
    output : Path
        Folder for shards.
    number : int
        Names the shard and, with `seed`, seeds its pictures.
    seed : int
    """
    path = output / f"{number:05}.npz"
    if path.exists():
        return
    sources, scenes, pictures = [], [], []
    for place in range(SHARD):
        rng = np.random.default_rng([seed, number, place])
        source = str(rng.choice(SOURCES, p=list(SHARES.values())))
        photos = _photos(data, source)
        scene = int(rng.integers(len(photos)))
        rgb = _read(photos[scene])
        pictures.append(
            draw_made(rgb, rng) if source != "defocus_maps" else draw_real(rgb, _read_mask(photos[scene]), rng)
        )
        sources.append(SOURCES.index(source))
        scenes.append(scene)
    with atomic_file(path) as partial, partial.open("wb") as stream:
        np.savez(
            stream,
            gray=np.stack([picture.gray for picture in pictures]),
            label=np.asarray([picture.label for picture in pictures], np.int8),
            strength_px=np.asarray([picture.strength_px for picture in pictures], np.float32),
            blurred=np.stack([picture.blurred for picture in pictures]),
            source=np.asarray(sources, np.uint8),
            scene=np.asarray(scenes, np.uint16),
        )


def _print_text(gray: NDArray[np.uint8], quality: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Print sharp text over some pictures, blurred or not, like a date or a watermark."""
    size = int(np.exp(rng.uniform(*np.log(TEXT_SIDES))))
    top, left, shade = (int(rng.integers(end)) for end in (SIDE - 2 * size, SIDE // 2, 256))
    text = "".join(rng.choice(list("0123456789-:/. ABCDEFghijk"), rng.integers(3, 17)))
    if rng.random() >= TEXT_SHARE:
        return gray
    picture = Image.fromarray(gray)
    ImageDraw.Draw(picture).text((left, top), text, fill=shade, font=ImageFont.load_default(size))
    return read_gray(encode_jpeg(np.asarray(picture)[..., np.newaxis], quality=quality))


def _of_luma(camera: Camera) -> Camera:
    """Make gray pictures as noisy as the luma of a camera's colour ones; print no date on them."""
    well, noise = camera.full_well / LUMA_NOISE**2, camera.read_noise / LUMA_NOISE
    return replace(camera, full_well=well, read_noise=noise, stamp="")


@lru_cache
def _photos(data: Path, source: str) -> list[Path]:
    folder = data / source / "images" if source == "defocus_maps" else data / "sharp" / source
    found = [Path(path) for path in find_photos([folder])]
    return [path for path in found if min(_read(path).shape[:2]) > SIDE]


@lru_cache(maxsize=2000)
def _read(path: Path) -> RGB:
    return read_gray(path)[..., np.newaxis]


@lru_cache(maxsize=500)
def _read_mask(path: Path) -> NDArray[np.bool_]:
    return read_gray(path.parents[1] / "masks" / f"{path.stem}.png") > 127


def _shrink(plane: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """Resize a plane to a square by its nearest pixels; the map is coarse anyway."""
    rows, columns = (np.arange(side) * length // side for length in plane.shape)
    return plane[np.ix_(rows, columns)].astype(np.float64)


def _cells(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    cells = share.reshape(SIDE // CELL, CELL, SIDE // CELL, CELL).mean(axis=(1, 3))
    return np.asarray(np.rint(100 * cells), np.uint8)


def draw_pictures(data: Path, output: Path, shards: int, *, seed: int = 0, first: int = 0) -> list[Path]:
    """Write the missing ones of a number of shards, on all cores.

    Parameters
    ----------
    data : Path
        Folder with ``sharp`` and ``defocus_maps``.
    output : Path
        Folder for shards.
    shards : int
        How many.
    seed : int
        Of all pictures.
    first : int
        Number of the first shard.

    Returns
    -------
    list of Path
        Files of all shards, in order.
    """
    output.mkdir(parents=True, exist_ok=True)
    numbers = range(first, first + shards)
    missing = [number for number in numbers if not (output / f"{number:05}.npz").exists()]
    with open_workers() as pool:
        for done in [pool.submit(draw_shard, data, output, number, seed) for number in missing]:
            done.result()
            print(".", end="", file=sys.stderr, flush=True)
    return [output / f"{number:05}.npz" for number in numbers]


def main() -> None:
    """Write the shards; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw_pictures(options.data, options.output, options.shards, seed=options.seed)


if __name__ == "__main__":
    main()
