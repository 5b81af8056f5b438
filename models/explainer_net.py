"""The net that explains a photo: gray -> kind, strength and direction of its blur, and a map of where it is blurred.

It reads local spectra: a blur multiplies the spectrum of what it blurs by its own, whose slope tells the strength,
whose zeros the kind, and whose shape the direction. It does not judge: `models.net_kinds` has the nets that do.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from blurgate.measuring.blocks import BLOCK
from models.net_kinds import Residual, Surroundings, conv

WINDOW = 2 * BLOCK  # pixels: side of the window of a spectrum, centred on a block
RADII = (1.0, 1.6, 2.3, 3.0, 3.8, 4.7, 5.8, 7.0)  # frequencies, in periods per window
DIRECTIONS = 8  # of frequencies, over half a turn
LEAST_AMPLITUDE = 0.01  # after the gain
SCALES = 3
MULTIPLE = 64  # pixels: sides of a photo are multiples of this, so that every grid fits
READING = 7  # log-odds of three kinds; log2 of the strength; log of its uncertainty; direction, as a vector of two


class Spectrum(nn.Module):
    """Log amplitudes of the frequencies around each block, as channels."""

    def __init__(self) -> None:
        super().__init__()
        place = np.arange(WINDOW) - (WINDOW - 1) / 2
        fade = np.outer(*[np.cos(np.pi * place / WINDOW) ** 2] * 2)
        angles = np.pi * np.arange(DIRECTIONS) / DIRECTIONS
        waves = [
            2 * np.pi * radius / WINDOW * (math.cos(angle) * place[None, :] + math.sin(angle) * place[:, None])
            for radius in RADII
            for angle in angles
        ]
        kernels = [fade * turn(wave) for turn in (np.cos, np.sin) for wave in waves]
        kernels = [kernel - fade * kernel.sum() / fade.sum() for kernel in kernels]
        kernels = [kernel / np.sqrt((kernel**2).sum()) for kernel in kernels]
        self.register_buffer("kernels", torch.as_tensor(np.stack(kernels)[:, None], dtype=torch.float32))

    def forward(self, gray: Tensor, gain: Tensor) -> Tensor:
        """Compute log amplitudes.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
        gain : Tensor of shape (n, 1, height / 8, width / 8)
            Multiplies the amplitudes.

        Returns
        -------
        Tensor of shape (n, 64, height / 8, width / 8)
        """
        with torch.autocast(gray.device.type, enabled=False):
            found = functional.conv2d(_extend(gray), self.kernels, stride=BLOCK)
            half = len(RADII) * DIRECTIONS
            real, imaginary = found[:, :half], found[:, half:]
            power = (real * real + imaginary * imaginary) * (gain * gain)
            return torch.log(power + LEAST_AMPLITUDE**2) / 2


class Explainer(nn.Module):
    """Spectra at three scales, one trunk over cells of 16 pixels, and two heads.

    Parameters
    ----------
    width, deep : int
        Channels of each scale, and of the trunk.
    """

    def __init__(self, width: int = 64, deep: int = 128, looks: int = 4) -> None:
        super().__init__()
        n_frequencies = len(RADII) * DIRECTIONS
        self.surroundings, self.spectrum = Surroundings(), Spectrum()
        self.scales = nn.ModuleList(
            nn.Sequential(conv(n_frequencies + 1, width, size=1), Residual(width)) for _ in range(SCALES)
        )
        self.trunk = nn.Sequential(conv(4 * width, deep, size=1), *(Residual(deep) for _ in range(4)))
        self.look = nn.Conv2d(deep + 1, looks, 1)
        self.read = nn.Sequential(nn.Linear((looks + 1) * deep, deep), nn.ReLU(), nn.Linear(deep, READING))
        self.wider = nn.ModuleList(nn.Sequential(conv(2 * deep, deep, size=1), Residual(deep)) for _ in range(2))
        self.back = nn.ModuleList(nn.Sequential(conv(2 * deep, deep, size=1), Residual(deep)) for _ in range(2))
        self.fine = nn.Sequential(conv(deep + width, width, size=1), Residual(width), nn.Conv2d(width, 1, 1))

    def forward(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Explain photos.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
            0 to 255, sides multiples of `MULTIPLE`.

        Returns
        -------
        reading : Tensor of shape (n, READING)
            Of the sharpest part that matters.
        map : Tensor of shape (n, height / 8, width / 8)
            Log-odds of blurred of each block.
        """
        _, gain, contrast = self.surroundings(gray)
        found = []
        for scale in self.scales:
            found.append(scale(torch.cat([self.spectrum(gray, gain), torch.log(gain)], dim=1)))
            gray, gain = functional.avg_pool2d(gray, 2), functional.avg_pool2d(gain, 2)
        first, second, third = found
        pooled = [functional.avg_pool2d(first, 2), functional.max_pool2d(first, 2), second, _double(third)]
        seen = self.trunk(torch.cat(pooled, dim=1))
        return self._read(seen, functional.max_pool2d(contrast, 2)), self._map(seen, first)

    def _read(self, seen: Tensor, contrast: Tensor) -> Tensor:
        weight = self.look(torch.cat([seen, contrast.to(seen.dtype)], dim=1)).flatten(2).softmax(dim=2)
        flat = seen.flatten(2)
        looks = [(flat * weight[:, look : look + 1]).sum(dim=2) for look in range(weight.shape[1])]
        reading: Tensor = self.read(torch.cat([*looks, flat.mean(dim=2)], dim=1))
        return reading

    def _map(self, seen: Tensor, first: Tensor) -> Tensor:
        levels = [seen]
        for step in self.wider:
            last = levels[-1]
            levels.append(step(torch.cat([functional.avg_pool2d(last, 2), functional.max_pool2d(last, 2)], dim=1)))
        around = levels.pop()
        around = around + around.mean(dim=(2, 3), keepdim=True)
        for step in self.back:
            around = step(torch.cat([_double(around), levels.pop()], dim=1))
        places: Tensor = self.fine(torch.cat([_double(around), first], dim=1))
        return places[:, 0]


def _double(planes: Tensor) -> Tensor:
    return functional.interpolate(planes, scale_factor=2.0, mode="nearest")


def _extend(gray: Tensor) -> Tensor:
    """Mirror the border, half a block wide."""
    for dimension in (2, 3):
        ends = (
            gray.narrow(dimension, 0, BLOCK // 2),
            gray[:, :, -BLOCK // 2 :] if dimension == 2 else gray[..., -BLOCK // 2 :],
        )
        first, last = ([end.narrow(dimension, place, 1) for place in reversed(range(BLOCK // 2))] for end in ends)
        gray = torch.cat([*first, gray, *last], dim=dimension)
    return gray
