"""What a camera does to every picture, sharp or blurred: exposure, noise, sharpening or denoising, resize, JPEG.

A camera is drawn once for a scene and used for its sharp picture and its blurred ones alike, so that nothing but the
blur tells the two classes apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from blurgate.blurs import Linear, to_rgb
from blurgate.images import MIN_SIDE, RGB, encode_jpeg, resize

MAX_SOFTNESS = 0.45  # pixels: what a good lens's own softness may amount to, well below the 0.5 that is still sharp


@dataclass(frozen=True)
class Camera:
    """One camera's settings.

    Parameters
    ----------
    softness_px : float
        Strength of the lens's own gaussian softness, in pixels of the finished picture.
    exposure_stops : float
        Light is multiplied by two to this power, and clipped at white.
    full_well : float
        Electrons at white: shot noise is the square root of the electrons.
    read_noise : float
        Standard deviation in electrons.
    sharpening : float
        Amount of the unsharp mask, 0 for none.
    denoising : float
        Standard deviation of the noise that is smoothed away, in gray levels; 0 for none.
    scale : float
        The finished picture's side over the photo's.
    quality : int
        Of the JPEG.
    """

    softness_px: float
    exposure_stops: float
    full_well: float
    read_noise: float
    sharpening: float
    denoising: float
    scale: float
    quality: int

    def take(self, linear: Linear, rng: np.random.Generator) -> bytes:
        """Take the picture.

        Parameters
        ----------
        linear : ndarray of shape (height, width, 3), float32
            The scene's light, blurred or not, 1.0 = white.
        rng : numpy.random.Generator
            Draws the noise.

        Returns
        -------
        bytes
            A JPEG file's content.
        """
        light = self._expose(self._soften(linear))
        rgb = self._process(to_rgb(self._add_noise(light, rng)))
        return encode_jpeg(resize(rgb, self.finished_size(rgb)), quality=self.quality)

    def finished_size(self, rgb: RGB | Linear) -> tuple[int, int]:
        """Width and height of the finished picture."""
        height, width = rgb.shape[:2]
        return round(width * self.scale), round(height * self.scale)

    def fitted(self, rgb: RGB | Linear) -> Camera:
        """Shrink less where a side of this picture would become shorter than `MIN_SIDE`."""
        smallest = MIN_SIDE / min(rgb.shape[:2])
        return replace(self, scale=round(min(1.0, max(self.scale, smallest)), 4))

    def _soften(self, linear: Linear) -> Linear:
        sigma = self.softness_px / self.scale / math.sqrt(2)
        if not sigma:
            return linear
        softened: Linear = ndimage.gaussian_filter(linear, (sigma, sigma, 0), mode="reflect")
        return softened

    def _expose(self, light: Linear) -> Linear:
        return np.asarray(np.clip(light * np.float32(2**self.exposure_stops), 0, 1))

    def _add_noise(self, light: Linear, rng: np.random.Generator) -> Linear:
        electrons = light * np.float32(self.full_well)
        noise = rng.standard_normal(light.shape, dtype=np.float32)
        spread = np.sqrt(electrons + np.float32(self.read_noise**2))
        return np.asarray((electrons + noise * spread) / np.float32(self.full_well))

    def _process(self, rgb: RGB) -> RGB:
        if not (self.sharpening or self.denoising):
            return rgb
        code = rgb.astype(np.float32)
        if self.denoising:
            code = _guided_filter(code, self.denoising)
        if self.sharpening:
            code = code + np.float32(self.sharpening) * (code - ndimage.gaussian_filter(code, (1.0, 1.0, 0)))
        return np.asarray(np.clip(np.rint(code), 0, 255), dtype=np.uint8)


def draw_camera(rng: np.random.Generator) -> Camera:
    """Draw a camera between a good one by day and a poor one by night.

    Sharpening, denoising and neither are equally likely; noise, scale and softness are spread over their ranges by
    their logarithm or evenly.
    """
    treatment = rng.integers(3)
    return Camera(
        softness_px=round(rng.uniform(0, MAX_SOFTNESS), 3),
        exposure_stops=round(float(np.clip(rng.normal(0, 0.6), -2, 1.5)), 3),
        full_well=round(_log_uniform(rng, 300, 20_000), 1),
        read_noise=round(_log_uniform(rng, 1, 8), 2),
        sharpening=round(rng.uniform(0.2, 1.2), 2) if treatment == 1 else 0.0,
        denoising=round(rng.uniform(2, 10), 2) if treatment == 2 else 0.0,
        scale=round(_log_uniform(rng, 0.5, 1), 3),
        quality=int(rng.integers(50, 96)),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _guided_filter(code: Linear, sigma: float, *, size: int = 5) -> Linear:
    """Smooth noise of standard deviation `sigma`, and leave edges that are stronger.

    References
    ----------
    .. [1] K. He, J. Sun, X. Tang, "Guided Image Filtering", ECCV 2010. :doi:`10.1007/978-3-642-15549-9_1`
    """
    window = (size, size, 1)
    mean = ndimage.uniform_filter(code, window)
    variance = np.maximum(ndimage.uniform_filter(code * code, window) - mean * mean, 0)
    gain = variance / (variance + np.float32(sigma**2))
    offset = mean * (1 - gain)
    return np.asarray(ndimage.uniform_filter(gain, window) * code + ndimage.uniform_filter(offset, window))
