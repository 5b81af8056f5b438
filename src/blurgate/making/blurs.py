"""Sharp RGB -> blurred RGB, by kind, with the strength that the parameters amount to.

Our own kinds are convolutions in linear light, which is where a lens and a moving hand work. Those named ``bg-`` are
the functions of the Blur-Generator library, called as it offers them, on gamma-coded 8-bit values.

The strength of a blur is the second-moment radius of its kernel, ``sqrt(var_x + var_y)`` in pixels: a disk of radius R
has ``R / sqrt(2)``, a line of length L ``L / sqrt(12)``, a gaussian of sigma s ``s sqrt(2)``. Strengths of blurs in a
row add up as squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import needs_extra
from blurgate.photos.images import RGB

Kernel: TypeAlias = NDArray[np.float64]  # odd sides, sum 1
Linear: TypeAlias = NDArray[np.float32]  # (height, width, 3), linear light, 1.0 = white
Parameters: TypeAlias = dict[str, Any]  # keyword arguments of a blur; JSON holds them

_OVERSAMPLING = 8  # subpixels on a pixel's side when a shape is drawn
_PATH_STEPS = 400  # points of a camera-shake path


def to_linear(rgb: RGB) -> Linear:
    """Undo the sRGB gamma (IEC 61966-2-1).

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8

    Returns
    -------
    ndarray of the same shape, float32
        Linear light, 0 to 1.
    """
    return _LINEAR_OF_CODE[rgb]


def to_rgb(linear: Linear) -> RGB:
    """Apply the sRGB gamma, clip and round to 8 bits; the inverse of `to_linear`."""
    light = np.clip(linear, 0.0, 1.0)
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(code * 255.0), dtype=np.uint8)


def convolve(linear: Linear, kernel: Kernel) -> Linear:
    """Blur each channel with a kernel; beyond its border the picture is its own mirror image.

    Parameters
    ----------
    linear : ndarray of shape (height, width, 3), float32
    kernel : ndarray of shape (rows, columns), both odd

    Returns
    -------
    ndarray of the shape of `linear`, float32
    """
    with needs_extra("train", "Making blurred photos"):
        from scipy import signal

    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(linear, ((rows, rows), (columns, columns), (0, 0)), mode="symmetric")
    weights = kernel.astype(np.float32)[:, :, np.newaxis]
    return np.asarray(signal.oaconvolve(padded, weights, mode="valid", axes=(0, 1)), dtype=np.float32)


def kernel_strength(kernel: Kernel) -> float:
    """Second-moment radius of a kernel about its centroid, in pixels.

    Examples
    --------
    >>> kernel_strength(np.full((1, 3), 1 / 3))  # pixels at -1, 0 and 1
    0.816496580927726
    """
    total = kernel.sum()
    variance = 0.0
    for axis in (0, 1):
        profile = kernel.sum(axis=axis) / total
        place = np.arange(profile.size)
        centre = float(profile @ place)
        variance += float(profile @ (place - centre) ** 2)
    return math.sqrt(variance)


def defocus_kernel(*, radius_px: float, n_blades: int = 0, rotation_deg: float = 0.0) -> Kernel:
    """Draw the image of a point out of focus: the lens's aperture.

    Parameters
    ----------
    radius_px : float
        Radius of the disk, or of the circle through the corners of the polygon.
    n_blades : int
        Aperture blades: 0 for a disk, 3 or more for a regular polygon.
    rotation_deg : float
        Turns the polygon.

    Raises
    ------
    ValueError
        If `radius_px` is not positive, or `n_blades` is 1 or 2.
    """
    _require_positive(radius_px=radius_px)
    if n_blades < 0 or n_blades in (1, 2):
        raise ValueError(f"n_blades must be 0 (a disk) or at least 3, got {n_blades}")
    half = math.ceil(radius_px + 0.5)
    fine = (np.arange((2 * half + 1) * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - half - 0.5
    x, y = fine[np.newaxis, :], fine[:, np.newaxis]
    reach = np.hypot(x, y)
    if n_blades:
        sector = 2 * math.pi / n_blades
        off_axis = np.mod(np.arctan2(y, x) - math.radians(rotation_deg), sector) - sector / 2
        reach = reach * np.cos(off_axis) / math.cos(sector / 2)
    return _shrink(reach <= radius_px)


def gaussian_kernel(*, sigma_px: float, aspect: float = 1.0, angle_deg: float = 0.0) -> Kernel:
    """Draw an anisotropic gaussian, cut off at four sigma.

    Parameters
    ----------
    sigma_px : float
        Standard deviation along the longer axis.
    aspect : float
        Share of it along the shorter axis, above 0 and at most 1.
    angle_deg : float
        Direction of the longer axis, counter-clockwise from the right.
    """
    _require_positive(sigma_px=sigma_px, aspect=aspect)
    if aspect > 1:
        raise ValueError(f"aspect must be at most 1, got {aspect}")
    half = math.ceil(4 * sigma_px)
    fine = (np.arange((2 * half + 1) * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - half - 0.5
    x, y = fine[np.newaxis, :], -fine[:, np.newaxis]
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    along, across = (x * cosine + y * sine) / sigma_px, (y * cosine - x * sine) / (sigma_px * aspect)
    return _shrink(np.exp(-0.5 * (along**2 + across**2)))


def motion_kernel(*, length_px: float, angle_deg: float = 0.0, shake: float = 0.0, path_seed: int = 0) -> Kernel:
    """Draw the path of a point while the shutter is open.

    Parameters
    ----------
    length_px : float
        Length of the path.
    angle_deg : float
        Direction at its start, counter-clockwise from the right.
    shake : float
        0 for a straight line; towards 1 the hand trembles, turns back and jerks more and more.
    path_seed : int
        Picks one path out of all that tremble so much.

    References
    ----------
    .. [1] G. Boracchi, A. Foi, "Modeling the performance of image restoration from motion blur",
           IEEE Trans. Image Processing 21 (2012) 3502-3517. :doi:`10.1109/TIP.2012.2192126`
    """
    _require_positive(length_px=length_px)
    if not 0 <= shake <= 1:
        raise ValueError(f"shake must be between 0 and 1, got {shake}")
    path = _unit_path(shake, path_seed) * length_px * np.exp(1j * math.radians(angle_deg))
    path -= path.mean()
    half = math.ceil(max(np.abs(path.real).max(), np.abs(path.imag).max())) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    column, row = half + path.real, half - path.imag
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right_share, low_share = column - left, row - top
    for down, row_share in ((0, 1 - low_share), (1, low_share)):
        for aside, column_share in ((0, 1 - right_share), (1, right_share)):
            np.add.at(kernel, (top + down, left + aside), row_share * column_share)
    return np.asarray(kernel / kernel.sum())


@dataclass(frozen=True)
class KernelBlur:
    """A kind of our own: a convolution in linear light.

    Parameters
    ----------
    family : str
        What a verdict calls it: ``defocus``, ``motion`` or ``gaussian``.
    kernel : callable
        Keyword parameters -> kernel.
    draw : callable
        (random generator, strength in px) -> parameters that amount to that strength, up to a fifth of a pixel that
        drawing on a grid of pixels adds to weak ones.
    """

    family: str
    kernel: Callable[..., Kernel]
    draw: Callable[[np.random.Generator, float], Parameters]

    def apply(self, rgb: RGB, parameters: Parameters) -> RGB:
        """Blur a picture of shape (height, width, 3), uint8."""
        return to_rgb(convolve(to_linear(rgb), self.kernel(**parameters)))

    def strength_px(self, parameters: Parameters) -> float:
        """Measure the strength on the kernel."""
        return kernel_strength(self.kernel(**parameters))

    def examples(self) -> list[Parameters]:
        """Parameters over the range that is worth seeing, from weak to strong."""
        rng = np.random.default_rng(0)
        return [self.draw(rng, strength) for strength in np.geomspace(0.6, 12.0, 8)]


@dataclass(frozen=True)
class LibraryBlur:
    """A kind of the Blur-Generator library, with the lists that the original experiment drew from.

    Parameters
    ----------
    family : str
        What a verdict calls it: ``defocus``, ``motion`` or ``gaussian``.
    function : str
        Name of the library's function.
    choices : mapping of str to tuple
        Values of each keyword parameter.
    keeps_brightness : bool
        False where the function brightens or darkens; then each channel's mean is put back.
    """

    family: str
    function: str
    choices: Mapping[str, tuple[int, ...]]
    keeps_brightness: bool = True

    def draw(self, rng: np.random.Generator) -> Parameters:
        """Draw each parameter from its list."""
        return {name: int(rng.choice(values)) for name, values in self.choices.items()}

    def apply(self, rgb: RGB, parameters: Parameters) -> RGB:
        """Blur a picture of shape (height, width, 3), uint8."""
        blurred = _call_library(self.function, rgb, parameters)
        return blurred if self.keeps_brightness else _match_means(blurred, rgb)

    def strength_px(self, parameters: Parameters) -> float:
        """Measure the strength on the edges that the library itself blurs.

        The derivative of a blurred edge is the kernel's profile across that edge, so an upright and a level edge
        together give both variances, for any kernel and whatever the function does to it.
        """
        return _edge_strength(self.function, tuple(parameters.items()))

    def examples(self) -> list[Parameters]:
        """Eight parameters spread over the lists, from weak to strong."""
        names = list(self.choices)
        grid = np.stack(np.meshgrid(*self.choices.values(), indexing="ij"), axis=-1).reshape(-1, len(names))
        spread = grid[np.linspace(0, len(grid) - 1, 8).round().astype(int)]
        rows: list[Parameters] = [dict(zip(names, map(int, row), strict=True)) for row in spread]
        return sorted(rows, key=self.strength_px)


def find_blur(kind: str) -> KernelBlur | LibraryBlur:
    """Look up a blur kind; a ValueError that lists them if there is none of that name."""
    if kind not in BLURS:
        raise ValueError(f"blur kind must be one of {', '.join(BLURS)}, got {kind!r}")
    return BLURS[kind]


def _draw_defocus(rng: np.random.Generator, strength_px: float) -> Parameters:
    n_blades = int(rng.choice([0, 5, 6, 7, 8]))
    # second moment of a regular polygon of circumradius R, by its area: R^2 (1/2 - sin^2(pi/n) / 3)
    share = math.sqrt(0.5 - math.sin(math.pi / n_blades) ** 2 / 3) if n_blades else math.sqrt(0.5)
    return {
        "radius_px": round(float(strength_px / share), 3),
        "n_blades": n_blades,
        "rotation_deg": round(rng.uniform(0, 360), 1) if n_blades else 0.0,
    }


def _draw_motion(rng: np.random.Generator, strength_px: float) -> Parameters:
    shake = round(rng.uniform(0.1, 1.0), 2) if rng.random() < 0.6 else 0.0
    path_seed = int(rng.integers(2**31)) if shake else 0
    unit_strength = math.sqrt(float(np.var(_unit_path(shake, path_seed))))
    return {
        "length_px": round(float(strength_px / unit_strength), 3),
        "angle_deg": round(rng.uniform(0, 180), 1),
        "shake": shake,
        "path_seed": path_seed,
    }


def _draw_gaussian(rng: np.random.Generator, strength_px: float) -> Parameters:
    aspect = round(rng.uniform(0.4, 1.0), 2)
    return {
        "sigma_px": round(float(strength_px / math.sqrt(1 + aspect**2)), 3),
        "aspect": aspect,
        "angle_deg": round(rng.uniform(0, 180), 1),
    }


def _unit_path(shake: float, path_seed: int) -> NDArray[np.complex128]:
    """Walk a path of length 1: a hand that drifts, trembles, is pulled back, and now and then jerks."""
    if shake == 0:
        return np.linspace(-0.5, 0.5, _PATH_STEPS).astype(np.complex128)
    rng = np.random.default_rng(path_seed)
    tremble = shake * 0.12 * (rng.standard_normal(_PATH_STEPS) + 1j * rng.standard_normal(_PATH_STEPS))
    jerks = rng.random(_PATH_STEPS) < 0.012 * shake
    turns = np.exp(1j * rng.normal(math.pi, 0.6, _PATH_STEPS))
    place, velocity = 0j, 1 + 0j
    path = np.empty(_PATH_STEPS, np.complex128)
    for step in range(_PATH_STEPS):
        path[step] = place
        pull = 0.7 * shake * place / _PATH_STEPS
        velocity = velocity + tremble[step] - pull
        if jerks[step]:
            velocity = velocity + shake * turns[step] * abs(velocity)
        velocity /= abs(velocity)
        place += velocity
    return np.asarray(path / np.abs(np.diff(path)).sum())


def _shrink(fine: NDArray[Any]) -> Kernel:
    """Average the subpixels of each pixel."""
    side = fine.shape[0] // _OVERSAMPLING
    kernel = fine.reshape(side, _OVERSAMPLING, side, _OVERSAMPLING).mean(axis=(1, 3), dtype=np.float64)
    return np.asarray(kernel / kernel.sum())


def _call_library(function: str, rgb: RGB, parameters: Parameters) -> RGB:
    with needs_extra("blurgenerator", f"Blur-Generator's {function}"):
        import blurgenerator
    blurred: RGB = getattr(blurgenerator, function)(np.ascontiguousarray(rgb), **parameters)
    return blurred


@lru_cache(maxsize=1024)
def _edge_strength(function: str, parameters: tuple[tuple[str, Any], ...]) -> float:
    side = 64
    upright = np.full((side, side, 3), 32, np.uint8)
    upright[:, side // 2 :] = 224
    variance = 0.0
    for edge in (upright, upright.transpose(1, 0, 2)):
        blurred = _call_library(function, edge, dict(parameters)).astype(np.float64)
        line = blurred[side // 2, :, 1] if edge is upright else blurred[:, side // 2, 1]
        profile = np.diff(line[8:-8])
        place = np.arange(profile.size)
        weight = profile / profile.sum()
        centre = float(weight @ place)
        variance += max(0.0, float(weight @ (place - centre) ** 2))
    return math.sqrt(variance)


def _match_means(blurred: RGB, original: RGB) -> RGB:
    """Scale each channel so that its mean is the original's."""
    before = original.mean(axis=(0, 1))
    after = np.maximum(blurred.mean(axis=(0, 1)), 1e-6)
    return np.asarray(np.clip(np.rint(blurred * (before / after)), 0, 255), dtype=np.uint8)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")


_CODES = np.arange(256) / 255.0
_LINEAR_OF_CODE = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)

BLURS: dict[str, KernelBlur | LibraryBlur] = {
    "defocus": KernelBlur("defocus", defocus_kernel, _draw_defocus),
    "motion": KernelBlur("motion", motion_kernel, _draw_motion),
    "gaussian": KernelBlur("gaussian", gaussian_kernel, _draw_gaussian),
    "bg-motion": LibraryBlur("motion", "motion_blur", {"size": (3, 5), "angle": tuple(range(0, 360, 10))}),
    "bg-lens": LibraryBlur(
        "defocus",
        "lens_blur",
        {"radius": (3, 5), "components": (1, 2, 3, 4, 5), "exposure_gamma": (2, 3, 4, 5, 6)},
        keeps_brightness=False,
    ),
    "bg-gaussian": LibraryBlur("gaussian", "gaussian_blur", {"kernel": (3, 5), "sigma": (1, 3, 5, 7)}),
}
