"""What a camera does to every picture, sharp or blurred: exposure, noise, denoising, sharpening, resize, JPEG.

One camera is drawn per scene and takes both its sharp and its blurred pictures, so that only the blur distinguishes the
two classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from blurgate.errors import needs_extra
from blurgate.making.blurs import Linear, to_linear, to_rgb
from blurgate.photos.images import RGB, encode_jpeg, read_rgb, resize
from blurgate.photos.shrinking import MIN_SIDE

with needs_extra("train", "Making blurred photos"):
    from scipy import ndimage

MAX_SOFTNESS = 0.45  # pixels: the softness of a good lens, well below the 0.5 that still counts as sharp

_LAST_SHARPENING_PX = 0.8
_STAMP_COLOUR = (255, 200, 80)


@dataclass(frozen=True)
class Camera:
    """The settings of one camera.

    Parameters
    ----------
    highlights : float
        Brightness of the scene's brightest lights above white, in multiples of white. A photo clips such lights, but
        they stay bright when they are blurred.
    softness_px : float
        Strength of the lens's own gaussian softness, in pixels of the finished picture.
    exposure_stops : float
        The light is multiplied by two to this power, and clipped at white.
    fog : float
        Share of the light that is fog, or stray light in the lens; 0 for none.
    full_well : float
        Electrons at white. The standard deviation of shot noise is the square root of the electrons.
    read_noise : float
        Standard deviation of the read noise, in electrons.
    grain_px : float
        Standard deviation, in pixels, of the gaussian that correlates the noise of neighbouring pixels; 0 for none.
    contrast : float
        Exponent of the tone curve.
    denoising : float
        Amplitude that is smoothed away, in standard deviations of the noise; 0 for none.
    sharpening : float
        Amount of the unsharp mask; 0 for none.
    sharpening_px : float
        Sigma of the unsharp mask, in pixels.
    first_quality : int
        Quality of the JPEG that the camera stores before the picture is resized; 0 for none.
    scale : float
        Side of the finished picture divided by the side of the photo.
    last_sharpening : float
        Amount of an unsharp mask after the resize; 0 for none.
    stamp : str
        Date or name that is printed sharply into a corner; empty for none.
    quality : int
        Quality of the finished JPEG.
    """

    highlights: float
    softness_px: float
    exposure_stops: float
    fog: float
    full_well: float
    read_noise: float
    grain_px: float
    contrast: float
    denoising: float
    sharpening: float
    sharpening_px: float
    first_quality: int
    scale: float
    last_sharpening: float
    stamp: str
    quality: int

    def recover_light(self, rgb: RGB) -> Linear:
        """Recover the light of a scene from a sharp photo of it; blur is applied to this light.

        Returns
        -------
        ndarray of the shape of `rgb`, float32
            Linear light, 1.0 = the photo's white; lights exceed it.
        """
        linear = to_linear(rgb)
        if not self.highlights:
            return linear
        nearly_white = np.clip((linear.max(axis=2, keepdims=True) - 0.8) / 0.2, 0, 1)
        return np.asarray(linear * (1 + np.float32(self.highlights) * nearly_white**2))

    def take_picture(self, linear: Linear, rng: np.random.Generator) -> bytes:
        """Take a picture of the light of a scene.

        Parameters
        ----------
        linear : ndarray of shape (height, width, channels), float32
            Linear light, blurred or not, 1.0 = white; 3 channels, or 1 for gray.
        rng : numpy.random.Generator
            Draws the noise.

        Returns
        -------
        bytes
            Content of a JPEG file.
        """
        light = self._expose(self._soften(linear))
        noisy = self._add_noise(light, rng)
        rgb = self._process(to_rgb(noisy), clean=to_rgb(light))
        if self.first_quality:
            rgb = read_rgb(encode_jpeg(rgb, quality=self.first_quality), min_side=1)
        finished = resize(rgb, self.finished_size(rgb)).astype(np.float32)
        finished = _sharpen(finished, self.last_sharpening, _LAST_SHARPENING_PX)
        return encode_jpeg(_print_stamp(_to_codes(finished), self.stamp), quality=self.quality)

    def finished_size(self, rgb: RGB | Linear) -> tuple[int, int]:
        """Compute the width and height of the finished picture, in pixels."""
        height, width = rgb.shape[:2]
        return round(width * self.scale), round(height * self.scale)

    def fit_to(self, rgb: RGB | Linear) -> Camera:
        """Return a camera that does not shrink a side of this picture below `MIN_SIDE`."""
        smallest = min(1.0, MIN_SIDE / min(rgb.shape[:2]))
        return replace(self, scale=round(max(self.scale, smallest), 4))

    def _soften(self, linear: Linear) -> Linear:
        sigma = self.softness_px / self.scale / math.sqrt(2)
        if not sigma:
            return linear
        softened: Linear = ndimage.gaussian_filter(linear, (sigma, sigma, 0), mode="reflect")
        return softened

    def _expose(self, light: Linear) -> Linear:
        gain = np.float32(2**self.exposure_stops)
        exposed = np.clip(light * gain, 0, 1)
        veil = np.float32(self.fog) * np.minimum(np.float32(0.5), np.float32(0.3) * gain)
        return np.asarray(exposed * np.float32(1 - self.fog) + veil)

    def _add_noise(self, light: Linear, rng: np.random.Generator) -> Linear:
        electrons = light * np.float32(self.full_well)
        noise = rng.standard_normal(light.shape, dtype=np.float32)
        if self.grain_px:
            noise = ndimage.gaussian_filter(noise, (self.grain_px, self.grain_px, 0))
            noise /= noise.std()
        deviation = np.sqrt(electrons + np.float32(self.read_noise**2))
        return np.asarray((electrons + noise * deviation) / np.float32(self.full_well))

    def _process(self, rgb: RGB, *, clean: RGB) -> RGB:
        if self.contrast == 1 and not (self.sharpening or self.denoising):
            return rgb
        code = rgb.astype(np.float32)
        noise = float((code - clean).std())
        if self.denoising and noise:
            code = smooth_noise(code, self.denoising * noise)
        code = np.float32(255) * (np.clip(code, 0, 255) / np.float32(255)) ** np.float32(self.contrast)
        return _to_codes(_sharpen(code, self.sharpening, self.sharpening_px))


def draw_camera(rng: np.random.Generator) -> Camera:
    """Draw a camera, from a good one by day to a poor one by night, and the later editing of its pictures.

    The ranges are wide on purpose: a model trained on made blur generalises to other people's photos only as far as
    the made pictures vary in everything else.
    """

    def maybe(chance: float, value: float) -> float:
        return round(value, 3) if rng.random() < chance else 0.0

    day, minute = rng.integers(1, 29), rng.integers(24 * 60)
    stamp = f"2024-05-{day:02} {minute // 60:02}:{minute % 60:02}"
    return Camera(
        highlights=maybe(0.35, _log_uniform(rng, 0.5, 8)),
        softness_px=round(rng.uniform(0, MAX_SOFTNESS), 3),
        exposure_stops=round(float(np.clip(rng.normal(-0.5, 1.8), -5, 2.5)), 3),
        fog=maybe(0.15, rng.uniform(0.1, 0.8)),
        full_well=round(_log_uniform(rng, 120, 30_000), 1),
        read_noise=round(_log_uniform(rng, 1, 8), 2),
        grain_px=maybe(0.3, rng.uniform(0.3, 1.2)),
        contrast=round(_log_uniform(rng, 0.6, 1.8), 3),
        denoising=maybe(0.5, rng.uniform(0.5, 4)),
        sharpening=maybe(0.5, rng.uniform(0.2, 1.6)),
        sharpening_px=round(_log_uniform(rng, 0.6, 2), 2),
        first_quality=int(maybe(0.4, float(rng.integers(40, 97)))),
        scale=round(_log_uniform(rng, 0.35, 1.6), 3),
        last_sharpening=maybe(0.3, rng.uniform(0.1, 0.8)),
        stamp=stamp if rng.random() < 0.25 else "",
        quality=int(rng.integers(40, 97)),
    )


def smooth_noise(code: Linear, sigma: float, *, size: int = 5) -> Linear:
    """Smooth noise and preserve stronger edges: a guided filter.

    Parameters
    ----------
    code : ndarray of shape (height, width, channels), float32
    sigma : float
        Standard deviation of the noise; texture of this standard deviation is smoothed by half.
    size : int
        Side of the window, in pixels, odd.

    Returns
    -------
    ndarray of the shape of `code`, float32

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


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _sharpen(code: Linear, amount: float, sigma: float) -> Linear:
    if not amount:
        return code
    return np.asarray(code + np.float32(amount) * (code - ndimage.gaussian_filter(code, (sigma, sigma, 0))))


def _print_stamp(rgb: RGB, stamp: str) -> RGB:
    """Print a date into the lower left corner, in letters a twentieth of the shorter side high."""
    if not stamp:
        return rgb
    picture = Image.fromarray(rgb)
    size = max(8, min(picture.size) // 20)
    position = (size // 2, picture.height - 2 * size)
    ImageDraw.Draw(picture).text(position, stamp, fill=_STAMP_COLOUR, font=ImageFont.load_default(size))
    return np.asarray(picture)


def _to_codes(code: Linear) -> RGB:
    return np.asarray(np.clip(np.rint(code), 0, 255), dtype=np.uint8)
