"""Draw the pictures that nets are trained on: small, gray, each blurred at random, with a map of its blurred areas.

    python models/pictures.py ../shared/data/train --work work --shards 24

A shard is an ``.npz`` of `SHARD` pictures. Each picture has its own seed, so shards can be drawn in any order, by any
number of processes, and an interrupted run resumes with the missing shards. A made picture is a window of a sharp
photo, blurred or not, taken by its own camera, as the recipe camera does with whole photos. A real one is a crop of a
partly focused photo, as it is or as another camera would have exposed it. Both are enlarged, printed over, made noisy
and so on at random, whatever their blur: see `models.alterations`.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.files import atomic_file
from blurgate.making.blurs import BLURS, KernelBlur, kernel_moments, to_linear, to_rgb
from blurgate.making.camera import Camera, draw_camera
from blurgate.making.recipes import MAX_SIDE, MIN_STRENGTH, DrawnBlur, draw_blur
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.finding import find_photos
from blurgate.photos.images import RGB, Gray, read_gray
from models.alterations import MAX_SHIFT, UNEVENNESS, Zoom, alter, draw_zoom
from models.sources import find_sharp
from models.workers import open_workers

SIDE = 192  # pixels
CELL = 8  # pixels: side of a cell of the map
SHARD = 2048
UNKNOWN = 255  # in a map
SHARES = {"unsplash": 0.26, "sun_hays80": 0.1, "bsds500": 0.16, "defocus_maps": 0.22, "brackets": 0.12, "print": 0.14}
SOURCES = tuple(SHARES)
DRAWN = SIDE + MAX_SHIFT  # pixels: side before the shift of the grid

SURELY_SHARP = 0.9  # pixels: strength up to which weak blur counts as none in a map; from MIN_STRENGTH on, as all
ALTERED_SHARE = 0.5  # of the pictures for the explainer: printed over, made noisy and so on
GRADED_SIDE, GRADED_SHARD = 256, 1536  # pixels, pictures
GRADED_SHARE = 0.8  # of the pictures for the explainer: blurred
WEAKEST = 0.5  # pixels: strength of the weakest blur in such pictures
WIDE = 448  # pixels: side of the pictures that maps are learnt from
WIDE_ZOOM = (0.8, 1.6)  # of partly focused photos
WIDE_SHARES = {"defocus_maps": 0.62, "unsplash": 0.22, "brackets": 0.1, "sun_hays80": 0.06}
WIDE_SHARD = 512  # pictures
KINDS = ("", "defocus", "motion", "gaussian")  # position = number in a shard
FOCUSED_SHARE = 0.2  # of a real picture: sharp from here on
BLURRED_SHARE = 0.995  # of a real picture: blurred from here on
LUMA_NOISE = 0.669  # luma noise per unit of independent noise in red, green, blue: root of the sum of squared weights
EXPOSED_SHARE = 0.6  # of the real pictures: exposed by another camera
NIGHT_SHARE = 0.12  # of the pictures: taken too dark and then brightened, as a phone's night mode does
NIGHT_STOPS = (1.0, 4.0)
LEAST_NIGHT_WELL = 400  # electrons at the white of the brightened picture
DARK_LUMA = 60  # codes: mean of a bracket that is often brightened before anything else
BRIGHT = 200  # codes: no more than a twentieth of the pixels are brightened beyond


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
    kind : str
        Of the blur; empty if there is none, it is unknown, or there are several.
    moments : (float, float, float)
        Of the blur in focus, in square pixels: variance across, covariance of across and down, variance down; NaN if
        unknown.
    """

    gray: NDArray[np.uint8]
    label: int
    strength_px: float
    blurred: NDArray[np.uint8]
    kind: str = ""
    moments: tuple[float, float, float] = (math.nan, math.nan, math.nan)


def draw_made(
    rgb: RGB,
    rng: np.random.Generator,
    *,
    weakest: float = MIN_STRENGTH,
    blurred_share: float = 0.5,
    side: int = SIDE,
    altered_share: float = 1.0,
) -> Picture:
    """Draw a gray window of a sharp photo, blurred or not, as a camera takes it.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 1), uint8
        Gray only: nets read nothing else, and it is a third of the work. Noise is scaled to that of the luma of three
        channels.
    rng : numpy.random.Generator
    weakest : float
        Strength of the weakest blur, in pixels before the picture is enlarged. Weaker blur than `MIN_STRENGTH` counts
        in part, see `SURELY_SHARP`.
    blurred_share : float
        How many pictures are blurred, 0 to 1.
    side : int
        Of the picture, in pixels, a multiple of `CELL`.
    altered_share : float
        How many pictures are printed over, made noisy and so on, 0 to 1.

    Returns
    -------
    Picture
    """
    zoom, camera, night = draw_zoom(rng), _of_luma(draw_camera(rng)), rng.random() < NIGHT_SHARE
    rgb = _brighten_bracket(rgb, rng)
    size = zoom.source_size(side + MAX_SHIFT)
    camera = replace(camera, scale=max(camera.scale, (max(size) + 1) / min(*rgb.shape[:2], MAX_SIDE)))
    if night:
        stops = float(rng.uniform(*NIGHT_STOPS))
        camera = replace(camera, exposure_stops=-stops, full_well=max(camera.full_well, LEAST_NIGHT_WELL * 2**stops))
    sides = [min(most, round(side / camera.scale) + 1) for side, most in zip(size, rgb.shape[:2], strict=True)]
    window = _draw_window(rgb, sides, rng)
    blurred = bool(rng.random() < blurred_share)
    drawn = draw_blur(window, camera.recover_light(window), camera, rng, blurred=blurred, weakest=weakest)
    gray = read_gray(camera.take_picture(drawn.light, rng))[: size[0], : size[1]]
    if night:
        gray = _gain(gray, 2**-camera.exposure_stops)
    focus = np.ones(size) if drawn.mask is None else _shrink(drawn.mask[..., 0], size)
    strength = float(np.hypot(drawn.strength_px, camera.softness_px)) * np.sqrt(zoom.down * zoom.across)
    inside = float(np.clip((strength - SURELY_SHARP) / (MIN_STRENGTH - SURELY_SHARP), 0, 1))
    inside = float(blurred) if weakest >= MIN_STRENGTH else inside * blurred
    share = inside + (1 - inside) * (1 - focus)
    altered = altered_share == 1 or rng.random() < altered_share
    picture = _finish(gray, share, zoom, rng, label=int(blurred), strength_px=strength, side=side, altered=altered)
    kind = drawn.kind if drawn.mask is None else ""
    return replace(picture, kind=kind, moments=_measure_moments(drawn, camera, zoom))


def _measure_moments(drawn: DrawnBlur, camera: Camera, zoom: Zoom) -> tuple[float, float, float]:
    """Compute the second moments of the blur in focus, in pixels of the finished picture."""
    across, both, down = 0.0, 0.0, 0.0
    if drawn.kind:
        blur = BLURS[drawn.kind]
        assert isinstance(blur, KernelBlur)
        across, both, down = (camera.scale**2 * moment for moment in kernel_moments(blur.kernel(**drawn.parameters)))
    soft = camera.softness_px**2 / 2
    return (across + soft) * zoom.across**2, both * zoom.across * zoom.down, (down + soft) * zoom.down**2


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
    zoom, wanted = draw_zoom(rng), rng.random() < 0.5
    rows, columns = zoom.source_size(DRAWN)
    for _ in range(12):
        top, left = rng.integers(0, (mask.shape[0] - rows + 1, mask.shape[1] - columns + 1))
        part = mask[top : top + rows, left : left + columns]
        if (part.mean() >= BLURRED_SHARE) == wanted:
            break
    gray = rgb[top : top + rows, left : left + columns]
    gray = _expose_again(gray, rng)
    share = float(part.mean())
    label = 1 if share >= BLURRED_SHARE else 0 if 1 - share >= FOCUSED_SHARE else -1
    return _finish(gray[..., 0], part.astype(np.float64), zoom, rng, label=label, strength_px=float("nan"))


def draw_wide(rgb: RGB, mask: NDArray[np.bool_], rng: np.random.Generator) -> Picture:
    """Draw most of a partly focused photo, to learn a map from what is around.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 1), uint8
    mask : ndarray of shape (height, width), bool
        True where out of focus.
    rng : numpy.random.Generator

    Returns
    -------
    Picture
        Of the side `WIDE`; only its map is known.
    """
    most = min(mask.shape)
    rows = min(most, round((WIDE + MAX_SHIFT) / rng.uniform(*WIDE_ZOOM)))
    columns = min(most, round(rows * UNEVENNESS ** rng.uniform(-0.5, 0.5)))
    zoom = Zoom((WIDE + MAX_SHIFT) / rows, (WIDE + MAX_SHIFT) / columns, draw_zoom(rng).resample)
    top, left = rng.integers(0, (mask.shape[0] - rows + 1, mask.shape[1] - columns + 1))
    gray, part = rgb[top : top + rows, left : left + columns], mask[top : top + rows, left : left + columns]
    gray = _expose_again(gray, rng)
    share, altered = part.astype(np.float64), bool(rng.random() < ALTERED_SHARE)
    return _finish(gray[..., 0], share, zoom, rng, label=-1, strength_px=math.nan, side=WIDE, altered=altered)


def _finish(
    gray: Gray,
    share: NDArray[np.float64],
    zoom: Zoom,
    rng: np.random.Generator,
    *,
    label: int,
    strength_px: float,
    side: int = SIDE,
    altered: bool = True,
) -> Picture:
    """Enlarge and alter a picture; enlarge the map of its blurred share as well."""
    gray = zoom.apply(gray, (side + MAX_SHIFT, side + MAX_SHIFT))
    gray = alter(gray, rng) if altered else gray
    return Picture(gray[:side, :side], label, strength_px, _cells(_shrink(share, (side, side))))


def _draw_window(rgb: RGB, size: Sequence[int], rng: np.random.Generator) -> RGB:
    """Cut the sharpest of three random windows of a height and width."""
    corners = rng.integers(0, (rgb.shape[0] - size[0] + 1, rgb.shape[1] - size[1] + 1), size=(3, 2))
    windows = [rgb[top : top + size[0], left : left + size[1]] for top, left in corners]
    return max(windows, key=lambda candidate: variance_of_laplacian(candidate[..., 0]))


def _brighten_bracket(rgb: RGB, rng: np.random.Generator) -> RGB:
    """Brighten a dark photo 2 to 16 times, if it can bear that: its noise and its steps of gray become visible."""
    gain = 2 ** rng.uniform(*NIGHT_STOPS)
    if rgb.mean() >= DARK_LUMA or rng.random() < 0.25:
        return rgb
    bearable = float(to_linear(np.asarray(BRIGHT, np.uint8))) / max(float(np.quantile(to_linear(rgb), 0.95)), 1e-4)
    return _gain(rgb, max(1.0, min(gain, bearable)))


def _gain(codes: NDArray[np.uint8], gain: float) -> NDArray[np.uint8]:
    """Multiply linear light."""
    return to_rgb(to_linear(codes) * np.float32(gain))


@dataclass(frozen=True)
class Series:
    """Shards of pictures of one sort.

    Parameters
    ----------
    shares : mapping of str to float
        Source -> its share of the pictures.
    size : int
        Pictures in a shard.
    made : mapping
        Options of `draw_made`.
    draw_real : callable
        Draws from a partly focused photo: `draw_real` or `draw_wide`.
    """

    shares: Mapping[str, float]
    size: int = SHARD
    made: Mapping[str, Any] = field(default_factory=dict)
    draw_real: Callable[[RGB, NDArray[np.bool_], np.random.Generator], Picture] = draw_real


def draw_shard(data: Path, work: Path, number: int, seed: int, *, series: str = "pictures") -> None:
    """Write one shard, unless it exists.

    Parameters
    ----------
    data : Path
        Folder with the sources.
    work : Path
        Folder with the sources that are drawn, and with a folder for the shards of each series.
    number : int
        Names the shard and, with `seed`, seeds its pictures.
    seed : int
    series : str
        A name out of `SERIES`.
    """
    path, how = _shard(work, number, series), SERIES[series]
    if path.exists():
        return
    chances = list(how.shares.values())
    sources, scenes, pictures = [], [], []
    for place in range(how.size):
        rng = np.random.default_rng([seed, number, place])
        source = str(rng.choice(list(how.shares), p=chances))
        photos = list_photos(data, work, source)
        scene = int(rng.integers(len(photos)))
        rgb = _read(photos[scene])
        pictures.append(
            how.draw_real(rgb, _read_mask(photos[scene]), rng)
            if source == "defocus_maps"
            else draw_made(rgb, rng, **how.made)
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
            kind=np.asarray([KINDS.index(picture.kind) for picture in pictures], np.uint8),
            moments=np.asarray([picture.moments for picture in pictures], np.float32),
            source=np.asarray(sources, np.uint8),
            scene=np.asarray(scenes, np.uint16),
        )


def _expose_again(gray: RGB, rng: np.random.Generator) -> RGB:
    """Take most crops of a real photo as another camera would have exposed them; their focus stays the same."""
    if rng.random() >= EXPOSED_SHARE:
        return gray
    camera = replace(_of_luma(draw_camera(rng)), softness_px=0.0, scale=1.0)
    return read_gray(camera.take_picture(camera.recover_light(gray), rng))[..., np.newaxis]


def _of_luma(camera: Camera) -> Camera:
    """Make gray pictures as noisy as the luma of a camera's colour ones; print no date on them."""
    well, noise = camera.full_well / LUMA_NOISE**2, camera.read_noise / LUMA_NOISE
    return replace(camera, full_well=well, read_noise=noise, stamp="")


@lru_cache
def list_photos(data: Path, work: Path, source: str) -> list[Path]:
    """List the photos of a source that are large enough; their places are the numbers of scenes.

    Parameters
    ----------
    data : Path
        Folder with the sources.
    work : Path
        Folder with the sources that are drawn.
    source : str

    Returns
    -------
    list of Path
    """
    found = [Path(path) for path in find_photos([find_sharp(data, work, source)])]
    return [path for path in found if min(_read(path).shape[:2]) > DRAWN]


@lru_cache(maxsize=2000)
def _read(path: Path) -> RGB:
    return read_gray(path)[..., np.newaxis]


@lru_cache(maxsize=500)
def _read_mask(path: Path) -> NDArray[np.bool_]:
    return read_gray(path.parents[1] / "masks" / f"{path.stem}.png") > 127


def _shrink(plane: NDArray[np.floating], size: Sequence[int]) -> NDArray[np.float64]:
    """Resize a plane by its nearest pixels; the map is coarse anyway."""
    rows, columns = (np.arange(side) * length // side for side, length in zip(size, plane.shape, strict=True))
    return plane[np.ix_(rows, columns)].astype(np.float64)


def _cells(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    rows, columns = (side // CELL for side in share.shape)
    cells = share.reshape(rows, CELL, columns, CELL).mean(axis=(1, 3))
    return np.asarray(np.rint(100 * cells), np.uint8)


def draw_pictures(data: Path, work: Path, shards: int, *, seed: int = 0, series: str = "pictures") -> list[Path]:
    """Write the missing ones of a number of shards, on all cores.

    Parameters
    ----------
    data : Path
        Folder with the sources.
    work : Path
        Folder for the shards, in one named as the series.
    shards : int
        How many.
    seed : int
        Of all pictures.
    series : str
        A name out of `SERIES`.

    Returns
    -------
    list of Path
        Files of all shards, in order.
    """
    files = [_shard(work, number, series) for number in range(shards)]
    files[0].parent.mkdir(parents=True, exist_ok=True)
    for source in SERIES[series].shares:
        find_sharp(data, work, source)  # before the workers, which would all draw the same
    with open_workers() as pool:
        for done in [pool.submit(draw_shard, data, work, number, seed, series=series) for number in range(shards)]:
            done.result()
            print(".", end="", file=sys.stderr, flush=True)
    return files


def _shard(work: Path, number: int, series: str) -> Path:
    return work / series / f"{number:05}.npz"


_MADE_ONLY = {source: share / (1 - SHARES["defocus_maps"]) for source, share in SHARES.items()}
_MADE_ONLY.pop("defocus_maps")
_EXPLAINED = {"weakest": WEAKEST, "altered_share": ALTERED_SHARE}
SERIES = {
    "pictures": Series(SHARES),  # for nets that judge
    "graded": Series(  # for kinds, strengths and directions: blur of all strengths
        _MADE_ONLY, GRADED_SHARD, {**_EXPLAINED, "blurred_share": GRADED_SHARE, "side": GRADED_SIDE}
    ),
    "wide": Series(WIDE_SHARES, WIDE_SHARD, {**_EXPLAINED, "side": WIDE}, draw_real=draw_wide),  # for maps
}


def main() -> None:
    """Write the shards; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--shards", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--series", choices=SERIES, default="pictures")
    options = parser.parse_args()
    draw_pictures(options.data, options.work, options.shards, seed=options.seed, series=options.series)


if __name__ == "__main__":
    main()
