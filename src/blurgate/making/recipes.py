"""Sharp photo -> its sharp and blurred pictures, by recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from blurgate.errors import needs_extra
from blurgate.making.blurs import BLURS, Kernel, KernelBlur, LibraryBlur, Linear, convolve, kernel_strength
from blurgate.making.camera import Camera, draw_camera
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.images import MIN_SIDE, RGB, encode_jpeg, resize

with needs_extra("train", "Making blurred photos"):
    from scipy import ndimage

MIN_STRENGTH, MAX_STRENGTH = 1.5, 40.0  # pixels; between 0.5 and 1.5 people disagree, so nothing is drawn there
MAX_SIDE = 1024  # pixels of a photo that the recipe camera works on
WINDOW_SHARE, MIN_WINDOW = (
    0.6,
    0.3,
)  # of the scenes that are a window of a photo; its sides' smallest share of its sides
BOKEH_SHARE = 0.3  # of the sharp pictures that are so in one place only
DEPTH_SHARE = 0.25  # of the blurred pictures that are so more in one place than in another
KIND_SHARES = {"defocus": 0.4, "motion": 0.4, "gaussian": 0.2}


@dataclass(frozen=True)
class MadePicture:
    """A picture as a recipe hands it over."""

    jpeg: bytes
    kind: str
    parameters: Mapping[str, Any]
    strength_px: float


Recipe = Callable[[RGB, Sequence[int]], Iterator[MadePicture]]


def make_camera(rgb: RGB, seeds: Sequence[int]) -> Iterator[MadePicture]:
    """Blur in linear light with our own kinds, then take each picture with the scene's camera.

    Strengths are log-uniform between `MIN_STRENGTH` and `MAX_STRENGTH` in the finished picture. A part of the sharp
    pictures has a blurred background: what is in focus is sharp all the same. A part of the blurred ones is blurred
    more in one place than in another.

    Of a photo longer or higher than `MAX_SIDE` the middle is taken, at its own pixels: a large photo's memory and time
    are bounded. Often a window of it is the scene: the sharpest out of four drawn, since a sharp photo has places that
    are not.
    """
    scene_rng = np.random.default_rng(seeds[0])
    rgb = _draw_window(_cut_middle(rgb), scene_rng)
    camera = draw_camera(scene_rng).fitted(rgb)
    light = camera.see(rgb)
    for version, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, 1])
        drawn = draw_blur(rgb, light, camera, rng, blurred=bool(version))
        yield MadePicture(
            jpeg=camera.take(drawn.light, rng),
            kind=drawn.kind,
            parameters={"blur": drawn.parameters, "camera": asdict(camera), **drawn.focus},
            strength_px=math.hypot(drawn.strength_px, camera.softness_px),
        )


@dataclass(frozen=True)
class DrawnBlur:
    """The light of a scene after a blur that was drawn, or none.

    Parameters
    ----------
    light : ndarray of shape (height, width, 3), float32
    kind : str
        A name out of `BLURS`; empty for sharp.
    parameters : mapping
        The kind's keyword parameters.
    strength_px : float
        In pixels of the finished picture; of what is in focus, where something is.
    focus : mapping
        Where the focus is and what blur is around it; empty where all of the picture is alike.
    mask : ndarray of shape (height, width, 1), float32, or None
        1 in the focus, 0 around it.
    """

    light: Linear
    kind: str
    parameters: Mapping[str, Any]
    strength_px: float
    focus: Mapping[str, Any]
    mask: Linear | None


def draw_blur(rgb: RGB, light: Linear, camera: Camera, rng: np.random.Generator, *, blurred: bool) -> DrawnBlur:
    """Draw what happens to the light of a scene before the camera takes it: see `make_camera`.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), or (height, width, 1) for gray, uint8
        The sharp scene.
    light : ndarray of the same shape, float32
        What ``camera.see`` gives of it.
    camera : Camera
    rng : numpy.random.Generator
    blurred : bool
        Draw a blurred picture, else a sharp one, maybe with a blurred background.
    """
    kind, strength, taken = "", 0.0, light
    parameters: dict[str, Any] = {}
    if blurred:
        kind, parameters, kernel = _draw_kernel(rng, rgb, camera, MIN_STRENGTH)
        strength = kernel_strength(kernel) * camera.scale
        taken = convolve(light, kernel)
    if rng.random() >= (DEPTH_SHARE if blurred else BOKEH_SHARE):
        return DrawnBlur(taken, kind, parameters, strength, {}, None)
    # around the focus it is blurred by another, stronger kernel
    focus = _draw_focus(rgb, rng)
    other, other_parameters, kernel = _draw_kernel(rng, rgb, camera, max(2.0, strength))
    mask = _soft_ellipse(rgb, **focus)
    taken = mask * taken + (1 - mask) * convolve(light, kernel)
    around = {"focus": focus, "around": {"kind": other, "blur": other_parameters}}
    return DrawnBlur(taken, kind, parameters, strength, around, mask)


def make_classic(rgb: RGB, seeds: Sequence[int]) -> Iterator[MadePicture]:
    """Do what the original experiment did: 512x512 pixels, Blur-Generator's kinds, the original's parameter lists.

    Two of its faults are mended: sharp and blurred pictures pass through the same encoder, and what the lens kind does
    to the brightness is undone.
    """
    square = resize(rgb, (512, 512), resample=Image.Resampling.LANCZOS)
    kinds = [kind for kind, blur in BLURS.items() if isinstance(blur, LibraryBlur)]
    for version, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        kind, parameters, picture, strength = "", {}, square, 0.0
        if version:
            kind = str(rng.choice(kinds))
            blur = BLURS[kind]
            assert isinstance(blur, LibraryBlur)  # noqa: S101 by the choice of kinds
            parameters = blur.draw(rng)
            picture = blur.apply(square, parameters)
            strength = blur.strength_px(parameters)
        yield MadePicture(
            jpeg=encode_jpeg(picture, quality=95),
            kind=kind,
            parameters={"blur": parameters, "camera": {"quality": 95}},
            strength_px=strength,
        )


def _cut_middle(rgb: RGB) -> RGB:
    top, left = (max(0, (side - MAX_SIDE) // 2) for side in rgb.shape[:2])
    return rgb[top : top + MAX_SIDE, left : left + MAX_SIDE]


def _draw_window(rgb: RGB, rng: np.random.Generator) -> RGB:
    """Keep the photo, or the sharpest of four windows of one size."""
    height, width = rgb.shape[:2]
    share = math.exp(rng.uniform(math.log(MIN_WINDOW), 0))
    if rng.random() < 1 - WINDOW_SHARE or min(height, width) < 2 * MIN_SIDE:
        return rgb
    rows, columns = (max(2 * MIN_SIDE, int(side * share)) for side in (height, width))
    corners = rng.integers(0, (height - rows + 1, width - columns + 1), size=(4, 2))
    windows = [rgb[top : top + rows, left : left + columns] for top, left in corners]
    return max(windows, key=lambda window: variance_of_laplacian(window[..., 1]))


def _draw_kernel(
    rng: np.random.Generator, rgb: RGB, camera: Camera, weakest: float
) -> tuple[str, dict[str, Any], Kernel]:
    """Draw a kind, its parameters and their kernel, as strong as the picture's size allows."""
    kind = str(rng.choice(list(KIND_SHARES), p=list(KIND_SHARES.values())))
    blur = BLURS[kind]
    assert isinstance(blur, KernelBlur)  # noqa: S101 by the choice of kinds
    strongest = max(weakest, min(MAX_STRENGTH, camera.scale * min(rgb.shape[:2]) / 8))
    strength = math.exp(rng.uniform(math.log(weakest), math.log(strongest)))
    parameters = blur.draw(rng, strength / camera.scale)
    return kind, parameters, blur.kernel(**parameters)


def _draw_focus(rgb: RGB, rng: np.random.Generator) -> dict[str, float]:
    """Draw an ellipse about a place with detail, in shares of the sides."""
    height, width = rgb.shape[:2]
    detail = ndimage.gaussian_filter(
        ndimage.laplace(rgb[..., rgb.shape[2] // 2].astype(np.float32)) ** 2, min(height, width) / 12
    )
    chance = detail.ravel().astype(np.float64) ** 2
    chance = chance / chance.sum() if chance.sum() else np.full(chance.size, 1 / chance.size)
    row, column = divmod(int(rng.choice(chance.size, p=chance)), width)
    half_width, half_height = rng.uniform(0.2, 0.45, size=2)
    return {
        "x": round(column / width, 3),
        "y": round(row / height, 3),
        "half_width": round(half_width, 3),
        "half_height": round(half_height, 3),
    }


def _soft_ellipse(rgb: RGB, *, x: float, y: float, half_width: float, half_height: float) -> Linear:
    """1 inside, 0 outside, shape (height, width, 1)."""
    height, width = rgb.shape[:2]
    row, column = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot((row / height - y) / half_height, (column / width - x) / half_width)
    return np.asarray(0.5 - 0.5 * np.tanh(6 * (distance - 1)), dtype=np.float32)[..., np.newaxis]


RECIPES: dict[str, Recipe] = {"camera": make_camera, "classic": make_classic}
