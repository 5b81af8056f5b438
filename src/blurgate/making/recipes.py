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
from blurgate.photos.images import RGB, encode_jpeg, resize
from blurgate.photos.shrinking import MIN_SIDE

with needs_extra("train", "Making blurred photos"):
    from scipy import ndimage

MIN_STRENGTH, MAX_STRENGTH = 1.5, 40.0  # pixels; people disagree whether 0.5 to 1.5 is blurred, so none is drawn
MAX_SIDE = 1024  # pixels; the recipe camera crops larger photos to it
WINDOW_SHARE = 0.6  # of the scenes are a window of a photo
MIN_WINDOW = 0.3  # smallest side of a window, as a share of the photo's side
BOKEH_SHARE = 0.3  # of the sharp pictures are sharp in one place only
DEPTH_SHARE = 0.25  # of the blurred pictures are blurred more in one place than in another
KIND_SHARES = {"defocus": 0.4, "motion": 0.4, "gaussian": 0.2}


@dataclass(frozen=True)
class MadePicture:
    """A picture made by a recipe.

    Parameters
    ----------
    jpeg : bytes
        Content of a JPEG file.
    kind : str
        A name in `BLURS`; empty for sharp.
    parameters : mapping
        ``blur`` holds the kind's keyword parameters, ``camera`` the settings of the camera. Where the focus is in one
        place, ``focus`` holds the place and ``around`` the blur around it.
    strength_px : float
        Second-moment radius of all blur in the picture, in pixels of the picture.
    """

    jpeg: bytes
    kind: str
    parameters: Mapping[str, Any]
    strength_px: float


Recipe = Callable[[RGB, Sequence[int]], Iterator[MadePicture]]  # sharp photo, seeds -> its pictures, sharp first


def make_camera(rgb: RGB, seeds: Sequence[int]) -> Iterator[MadePicture]:
    """Blur in linear light with our own kinds, then take each picture with the scene's camera.

    Strengths are log-uniform between `MIN_STRENGTH` and `MAX_STRENGTH` in the finished picture, and at most an eighth
    of its shorter side. Some sharp pictures have a blurred background: they count as sharp because their subject is in
    focus. Some blurred pictures are blurred more in one place than in another.

    A photo with a side longer than `MAX_SIDE` is cropped to its middle, not resized, which bounds memory and time.
    Often the scene is a window of the photo: the sharpest of four random ones, since even a sharp photo has blurred
    places.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The sharp photo.
    seeds : sequence of int
        One seed per picture. The first also draws the scene and its camera.

    Yields
    ------
    MadePicture
        The sharp picture, then the blurred ones.
    """
    scene_rng = np.random.default_rng(seeds[0])
    rgb = _draw_window(_cut_middle(rgb), scene_rng)
    camera = draw_camera(scene_rng).fit_to(rgb)
    light = camera.recover_light(rgb)
    for version, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, 1])
        drawn = draw_blur(rgb, light, camera, rng, blurred=bool(version))
        yield MadePicture(
            jpeg=camera.take_picture(drawn.light, rng),
            kind=drawn.kind,
            parameters={"blur": drawn.parameters, "camera": asdict(camera), **drawn.focus},
            strength_px=math.hypot(drawn.strength_px, camera.softness_px),
        )


@dataclass(frozen=True)
class DrawnBlur:
    """The light of a scene after random blur, or without blur.

    Parameters
    ----------
    light : ndarray of shape (height, width, channels), float32
    kind : str
        A name in `BLURS`; empty for sharp.
    parameters : mapping
        The kind's keyword parameters.
    strength_px : float
        In pixels of the finished picture; if the focus is in one place, the strength there.
    focus : mapping
        The place of the focus and the blur around it; empty if the whole picture has the same blur.
    mask : ndarray of shape (height, width, 1), float32, or None
        1 in the focus, 0 around it; None if the whole picture has the same blur.
    """

    light: Linear
    kind: str
    parameters: Mapping[str, Any]
    strength_px: float
    focus: Mapping[str, Any]
    mask: Linear | None


def draw_blur(
    rgb: RGB,
    light: Linear,
    camera: Camera,
    rng: np.random.Generator,
    *,
    blurred: bool,
    weakest: float = MIN_STRENGTH,
) -> DrawnBlur:
    """Draw the blur of a picture and apply it to the light of its scene; see `make_camera`.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), or (height, width, 1) for gray, uint8
        The sharp scene.
    light : ndarray of the same shape, float32
        The result of `Camera.recover_light` for `rgb`.
    camera : Camera
    rng : numpy.random.Generator
    blurred : bool
        Draw a blurred picture; otherwise a sharp one, possibly with a blurred background.
    weakest : float
        Strength of the weakest blur, in pixels of the finished picture.

    Returns
    -------
    DrawnBlur
    """
    kind, strength, inner = "", 0.0, light
    parameters: dict[str, Any] = {}
    if blurred:
        kind, parameters, kernel = _draw_kernel(rng, rgb, camera, weakest)
        strength = kernel_strength(kernel) * camera.scale
        inner = convolve(light, kernel)
    if rng.random() >= (DEPTH_SHARE if blurred else BOKEH_SHARE):
        return DrawnBlur(inner, kind, parameters, strength, {}, None)
    # a different, stronger kernel blurs the surroundings of the focus
    focus = _draw_focus(rgb, rng)
    outer_kind, outer_parameters, outer_kernel = _draw_kernel(rng, rgb, camera, max(2.0, strength))
    mask = _soft_ellipse(rgb, **focus)
    outer = convolve(light, outer_kernel)
    places = {"focus": focus, "around": {"kind": outer_kind, "blur": outer_parameters}}
    return DrawnBlur(mask * inner + (1 - mask) * outer, kind, parameters, strength, places, mask)


def make_classic(rgb: RGB, seeds: Sequence[int]) -> Iterator[MadePicture]:
    """Repeat the original experiment: 512x512 pixels, Blur-Generator's kinds, the original parameter lists.

    Two of its faults are fixed: sharp and blurred pictures pass through the same encoder, and the lens kind no longer
    changes the brightness.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        The sharp photo.
    seeds : sequence of int
        One seed per picture.

    Yields
    ------
    MadePicture
        The sharp picture, then the blurred ones.

    Raises
    ------
    MissingExtraError
        If Blur-Generator is not installed.
    """
    square = resize(rgb, (512, 512), resample=Image.Resampling.LANCZOS)
    kinds = [kind for kind, blur in BLURS.items() if isinstance(blur, LibraryBlur)]
    for version, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        kind, parameters, picture, strength = "", {}, square, 0.0
        if version:
            kind = str(rng.choice(kinds))
            blur = BLURS[kind]
            assert isinstance(blur, LibraryBlur)  # noqa: S101 guaranteed by the choice of kinds
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
    """Return the whole photo, or the sharpest of four random windows of the same size."""
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
    """Draw a kind, its parameters and their kernel, at most as strong as the picture's size allows."""
    kind = str(rng.choice(list(KIND_SHARES), p=list(KIND_SHARES.values())))
    blur = BLURS[kind]
    assert isinstance(blur, KernelBlur)  # noqa: S101 guaranteed by the choice of kinds
    strongest = max(weakest, min(MAX_STRENGTH, camera.scale * min(rgb.shape[:2]) / 8))
    strength = math.exp(rng.uniform(math.log(weakest), math.log(strongest)))
    parameters = blur.draw(rng, strength / camera.scale)
    return kind, parameters, blur.kernel(**parameters)


def _draw_focus(rgb: RGB, rng: np.random.Generator) -> dict[str, float]:
    """Draw an ellipse around a detailed place; all values are shares of the picture's sides."""
    height, width = rgb.shape[:2]
    detail = ndimage.gaussian_filter(
        ndimage.laplace(rgb[..., rgb.shape[2] // 2].astype(np.float32)) ** 2, min(height, width) / 12
    )
    weight = detail.ravel().astype(np.float64) ** 2
    chance = weight / weight.sum() if weight.sum() else np.full(weight.size, 1 / weight.size)
    row, column = divmod(int(rng.choice(chance.size, p=chance)), width)
    half_width, half_height = rng.uniform(0.12, 0.45, size=2)
    return {
        "x": round(column / width, 3),
        "y": round(row / height, 3),
        "half_width": round(half_width, 3),
        "half_height": round(half_height, 3),
    }


def _soft_ellipse(rgb: RGB, *, x: float, y: float, half_width: float, half_height: float) -> Linear:
    """Render an ellipse with a soft edge: 1 inside, 0 outside, shape (height, width, 1)."""
    height, width = rgb.shape[:2]
    row, column = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot((row / height - y) / half_height, (column / width - x) / half_width)
    return np.asarray(0.5 - 0.5 * np.tanh(6 * (distance - 1)), dtype=np.float32)[..., np.newaxis]


RECIPES: dict[str, Recipe] = {"camera": make_camera, "classic": make_classic}
