"""Sharp RGB -> blurred RGB, by kind, and the strength of each blur.

Our own kinds convolve in linear light, as a lens and a moving hand do. Kinds named ``bg-`` call the functions of the
Blur-Generator library unchanged, on gamma-coded 8-bit values.

The strength of a blur is the second-moment radius of its kernel, ``sqrt(var_x + var_y)`` in pixels: a disk of radius R
has ``R / sqrt(2)``, a line of length L ``L / sqrt(12)``, a gaussian of sigma s ``s sqrt(2)``. The squares of the
strengths of successive blurs add up.
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
Parameters: TypeAlias = dict[str, Any]  # keyword arguments of a blur, JSON-serialisable

_OVERSAMPLING = 8  # subpixels along a pixel's side when a kernel is rendered
_PATH_STEPS = 400  # points along a camera-shake path


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
    """Blur each channel with a kernel; the picture is mirrored at its border.

    Parameters
    ----------
    linear : ndarray of shape (height, width, channels), float32
    kernel : ndarray of shape (rows, columns), both odd, float64
        Its sum is 1.

    Returns
    -------
    ndarray of the shape of `linear`, float32

    Raises
    ------
    MissingExtraError
        If scipy is not installed.
    """
    with needs_extra("train", "Making blurred photos"):
        from scipy import signal

    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(linear, ((rows, rows), (columns, columns), (0, 0)), mode="symmetric")
    weights = kernel.astype(np.float32)[:, :, np.newaxis]
    return np.asarray(signal.oaconvolve(padded, weights, mode="valid", axes=(0, 1)), dtype=np.float32)


def kernel_strength(kernel: Kernel) -> float:
    """Compute the second-moment radius of a kernel about its centroid, in pixels.

    Examples
    --------
    >>> kernel_strength(np.full((1, 3), 1 / 3))  # pixels at -1, 0 and 1
    0.816496580927726
    """
    total = kernel.sum()
    return math.sqrt(sum(_variance(kernel.sum(axis=axis) / total) for axis in (0, 1)))


def kernel_moments(kernel: Kernel) -> tuple[float, float, float]:
    """Compute the second moments of a kernel about its centroid; the first and the last add up to its strength squared.

    Parameters
    ----------
    kernel : ndarray of shape (rows, columns), float64

    Returns
    -------
    across, both, down : float
        Variance across (to the right), covariance of across and down, variance down (rows grow downwards), in square
        pixels.

    Examples
    --------
    >>> kernel_moments(np.eye(3) / 3)  # a line from the top left to the bottom right
    (0.6666666666666666, 0.6666666666666666, 0.6666666666666666)
    """
    weights = kernel / kernel.sum()
    down, across = (np.arange(side) for side in kernel.shape)
    down, across = down - weights.sum(axis=1) @ down, across - weights.sum(axis=0) @ across
    return (
        float(weights.sum(axis=0) @ across**2),
        float(down @ weights @ across),
        float(weights.sum(axis=1) @ down**2),
    )


def defocus_kernel(*, radius_px: float, n_blades: int = 0, rotation_deg: float = 0.0) -> Kernel:
    """Render the kernel of a defocused lens: the shape of its aperture.

    Parameters
    ----------
    radius_px : float
        Radius of the disk, or of the circle through the corners of the polygon; above 0.
    n_blades : int
        Aperture blades: 0 for a disk, 3 or more for a regular polygon.
    rotation_deg : float
        Rotation of the polygon.

    Returns
    -------
    ndarray of shape (side, side), side odd, float64

    Raises
    ------
    ValueError
        If `radius_px` is not positive, or `n_blades` is 1, 2 or negative.
    """
    _require_positive(radius_px=radius_px)
    if n_blades < 0 or n_blades in (1, 2):
        raise ValueError(f"n_blades must be 0 (a disk) or at least 3, got {n_blades}")
    subpixels = _subpixel_centres(math.ceil(radius_px + 0.5))
    x, y = subpixels[np.newaxis, :], subpixels[:, np.newaxis]
    distance = np.hypot(x, y)
    if n_blades:
        sector = 2 * math.pi / n_blades
        off_axis = np.mod(np.arctan2(y, x) - math.radians(rotation_deg), sector) - sector / 2
        distance = distance * np.cos(off_axis) / math.cos(sector / 2)
    return _average_subpixels(distance <= radius_px)


def gaussian_kernel(*, sigma_px: float, aspect: float = 1.0, angle_deg: float = 0.0) -> Kernel:
    """Render an anisotropic gaussian kernel, cut off at four sigma.

    Parameters
    ----------
    sigma_px : float
        Standard deviation along the longer axis, above 0.
    aspect : float
        Standard deviation along the shorter axis divided by `sigma_px`, above 0 and at most 1.
    angle_deg : float
        Direction of the longer axis, counter-clockwise from the right.

    Returns
    -------
    ndarray of shape (side, side), side odd, float64

    Raises
    ------
    ValueError
        If `sigma_px` or `aspect` is out of range.
    """
    _require_positive(sigma_px=sigma_px, aspect=aspect)
    if aspect > 1:
        raise ValueError(f"aspect must be at most 1, got {aspect}")
    subpixels = _subpixel_centres(math.ceil(4 * sigma_px))
    x, y = subpixels[np.newaxis, :], -subpixels[:, np.newaxis]
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    along, across = (x * cosine + y * sine) / sigma_px, (y * cosine - x * sine) / (sigma_px * aspect)
    return _average_subpixels(np.exp(-0.5 * (along**2 + across**2)))


def motion_kernel(*, length_px: float, angle_deg: float = 0.0, shake: float = 0.0, path_seed: int = 0) -> Kernel:
    """Render the kernel of a moving camera: the path of a point while the shutter is open.

    Parameters
    ----------
    length_px : float
        Length of the path, above 0.
    angle_deg : float
        Initial direction of the path, counter-clockwise from the right.
    shake : float
        0 to 1. 0 is a straight line; the closer to 1, the more the hand trembles, turns back and jerks.
    path_seed : int
        Selects one of the random paths with this much shake.

    Returns
    -------
    ndarray of shape (side, side), side odd, float64

    Raises
    ------
    ValueError
        If `length_px` or `shake` is out of range.

    References
    ----------
    .. [1] G. Boracchi, A. Foi, "Modeling the performance of image restoration from motion blur",
           IEEE Trans. Image Processing 21 (2012) 3502-3517. :doi:`10.1109/TIP.2012.2192126`
    """
    _require_positive(length_px=length_px)
    if not 0 <= shake <= 1:
        raise ValueError(f"shake must be between 0 and 1, got {shake}")
    path = _unit_path(shake, path_seed) * length_px * np.exp(1j * math.radians(angle_deg))
    return _rasterise(path - path.mean())


@dataclass(frozen=True)
class KernelBlur:
    """One of our own kinds: a convolution in linear light.

    Parameters
    ----------
    family : {'defocus', 'motion', 'gaussian'}
        The kind as verdicts report it.
    kernel : callable
        Keyword parameters -> kernel.
    draw : callable
        (random generator, strength in px) -> random parameters of that strength. Rendering on the pixel grid adds up
        to 0.2 px to weak blurs.
    """

    family: str
    kernel: Callable[..., Kernel]
    draw: Callable[[np.random.Generator, float], Parameters]

    def apply(self, rgb: RGB, parameters: Parameters) -> RGB:
        """Blur a picture.

        Parameters
        ----------
        rgb : ndarray of shape (height, width, 3), uint8
        parameters : dict
            Keyword arguments of `kernel`.

        Returns
        -------
        ndarray of the shape of `rgb`, uint8
        """
        return to_rgb(convolve(to_linear(rgb), self.kernel(**parameters)))

    def strength_px(self, parameters: Parameters) -> float:
        """Measure the strength of the kernel, in pixels."""
        return kernel_strength(self.kernel(**parameters))

    def examples(self) -> list[Parameters]:
        """Draw eight sets of parameters that span the useful range, from weak to strong."""
        rng = np.random.default_rng(0)
        return [self.draw(rng, strength) for strength in np.geomspace(0.6, 12.0, 8)]


@dataclass(frozen=True)
class LibraryBlur:
    """A kind of the Blur-Generator library, with the parameter lists of the original experiment.

    Parameters
    ----------
    family : {'defocus', 'motion', 'gaussian'}
        The kind as verdicts report it.
    function : str
        Name of the library's function.
    choices : mapping of str to tuple of int
        Keyword parameter -> values to choose from.
    keeps_brightness : bool
        False if the function brightens or darkens the picture; each channel's mean is then restored.
    """

    family: str
    function: str
    choices: Mapping[str, tuple[int, ...]]
    keeps_brightness: bool = True

    def draw(self, rng: np.random.Generator) -> Parameters:
        """Draw each parameter from its list."""
        return {name: int(rng.choice(values)) for name, values in self.choices.items()}

    def apply(self, rgb: RGB, parameters: Parameters) -> RGB:
        """Blur a picture.

        Parameters
        ----------
        rgb : ndarray of shape (height, width, 3), uint8
        parameters : dict
            Keyword arguments of the library's function.

        Returns
        -------
        ndarray of the shape of `rgb`, uint8

        Raises
        ------
        MissingExtraError
            If Blur-Generator is not installed.
        """
        blurred = _call_library(self.function, rgb, parameters)
        return blurred if self.keeps_brightness else _match_means(blurred, rgb)

    def strength_px(self, parameters: Parameters) -> float:
        """Measure the strength, in pixels, on edges blurred by the library.

        The derivative of a blurred edge is the kernel's profile across that edge. A vertical and a horizontal edge
        therefore give both variances, for any kernel and whatever the function does to it.
        """
        return _edge_strength(self.function, tuple(parameters.items()))

    def examples(self) -> list[Parameters]:
        """Select eight sets of parameters spread over the lists, from weak to strong."""
        names = list(self.choices)
        grid = np.stack(np.meshgrid(*self.choices.values(), indexing="ij"), axis=-1).reshape(-1, len(names))
        spread = grid[np.linspace(0, len(grid) - 1, 8).round().astype(int)]
        rows: list[Parameters] = [dict(zip(names, map(int, row), strict=True)) for row in spread]
        return sorted(rows, key=self.strength_px)


def find_blur(kind: str) -> KernelBlur | LibraryBlur:
    """Look up a blur kind by its name in `BLURS`.

    Raises
    ------
    ValueError
        If there is no such kind; the message lists the known ones.
    """
    if kind not in BLURS:
        raise ValueError(f"blur kind must be one of {', '.join(BLURS)}, got {kind!r}")
    return BLURS[kind]


def _draw_defocus(rng: np.random.Generator, strength_px: float) -> Parameters:
    n_blades = int(rng.choice([0, 5, 6, 7, 8]))
    # second moment of a regular polygon of circumradius R, divided by its area: R^2 (1/2 - sin^2(pi/n) / 3)
    unit_strength = math.sqrt(0.5 - math.sin(math.pi / n_blades) ** 2 / 3) if n_blades else math.sqrt(0.5)
    return {
        "radius_px": round(float(strength_px / unit_strength), 3),
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
    """Simulate a hand's path of length 1: it drifts, trembles, is pulled back, and sometimes jerks."""
    if shake == 0:
        return np.linspace(-0.5, 0.5, _PATH_STEPS).astype(np.complex128)
    rng = np.random.default_rng(path_seed)
    tremble = shake * 0.12 * (rng.standard_normal(_PATH_STEPS) + 1j * rng.standard_normal(_PATH_STEPS))
    jerks = rng.random(_PATH_STEPS) < 0.012 * shake
    turns = np.exp(1j * rng.normal(math.pi, 0.6, _PATH_STEPS))
    position, velocity = 0j, 1 + 0j
    path = np.empty(_PATH_STEPS, np.complex128)
    for step in range(_PATH_STEPS):
        path[step] = position
        pull = 0.7 * shake * position / _PATH_STEPS
        velocity = velocity + tremble[step] - pull
        if jerks[step]:
            velocity = velocity + shake * turns[step] * abs(velocity)
        velocity /= abs(velocity)
        position += velocity
    return np.asarray(path / np.abs(np.diff(path)).sum())


def _rasterise(path: NDArray[np.complex128]) -> Kernel:
    """Distribute each point of a centred path over the four nearest pixels, by bilinear weights."""
    half = math.ceil(max(np.abs(path.real).max(), np.abs(path.imag).max())) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    column, row = half + path.real, half - path.imag
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right_weight, lower_weight = column - left, row - top
    for down, row_weight in ((0, 1 - lower_weight), (1, lower_weight)):
        for right, column_weight in ((0, 1 - right_weight), (1, right_weight)):
            np.add.at(kernel, (top + down, left + right), row_weight * column_weight)
    return np.asarray(kernel / kernel.sum())


def _subpixel_centres(half: int) -> NDArray[np.float64]:
    """Centres of the subpixels along a side of 2 * half + 1 pixels, in pixels from its middle."""
    return (np.arange((2 * half + 1) * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - half - 0.5


def _average_subpixels(subpixels: NDArray[Any]) -> Kernel:
    """Average the subpixels of each pixel, and normalise the kernel's sum to 1."""
    side = subpixels.shape[0] // _OVERSAMPLING
    kernel = subpixels.reshape(side, _OVERSAMPLING, side, _OVERSAMPLING).mean(axis=(1, 3), dtype=np.float64)
    return np.asarray(kernel / kernel.sum())


def _call_library(function: str, rgb: RGB, parameters: Parameters) -> RGB:
    with needs_extra("blurgenerator", f"Blur-Generator's {function}"):
        import blurgenerator
    blurred: RGB = getattr(blurgenerator, function)(np.ascontiguousarray(rgb), **parameters)
    return blurred


@lru_cache(maxsize=1024)
def _edge_strength(function: str, parameters: tuple[tuple[str, Any], ...]) -> float:
    side = 64
    vertical = np.full((side, side, 3), 32, np.uint8)
    vertical[:, side // 2 :] = 224
    variance = 0.0
    for edge in (vertical, vertical.transpose(1, 0, 2)):
        blurred = _call_library(function, edge, dict(parameters)).astype(np.float64)
        across = blurred[side // 2, :, 1] if edge is vertical else blurred[:, side // 2, 1]
        profile = np.diff(across[8:-8])
        variance += max(0.0, _variance(profile / profile.sum()))
    return math.sqrt(variance)


def _variance(profile: NDArray[np.float64]) -> float:
    """Compute the variance of the index, in square pixels; `profile` holds the weights and sums to 1."""
    index = np.arange(profile.size)
    centre = float(profile @ index)
    return float(profile @ (index - centre) ** 2)


def _match_means(blurred: RGB, original: RGB) -> RGB:
    """Scale each channel to the mean that it has in the original."""
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
