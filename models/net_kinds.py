"""The nets that were tried, as torch modules: gray -> log-odds of blurred, strength, and a map of log-odds.

All of them remove the brightness and contrast around each block and end with the same head, so that they differ only in
how they analyse a photo. ``KINDS`` at the end maps names to nets.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import fft
from torch import Tensor, nn
from torch.nn import functional

from blurgate.measuring.blocks import BLOCK

WINDOW = 5  # blocks: side of the window that brightness and contrast are measured in
LEAST_CONTRAST = 1.5  # grey levels: less is noise of the last bit
LEAST_COEFFICIENT = 0.03  # after the gain: about a grey level


class Surroundings(nn.Module):
    """Brightness and contrast around each block, which a net removes so as not to depend on them."""

    def forward(self, gray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Measure a photo.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
            0 to 255, sides multiples of 8.

        Returns
        -------
        offset, gain, contrast : Tensor of shape (n, 1, height / 8, width / 8)
            Mean grey level and inverse standard deviation around each block; and the log of the block's own standard
            deviation relative to that of the block with the most contrast.
        """
        mean, square = (functional.avg_pool2d(plane, BLOCK) for plane in (gray, gray * gray))
        around = {"kernel_size": WINDOW, "stride": 1, "padding": WINDOW // 2, "count_include_pad": False}
        wide, wide_square = (functional.avg_pool2d(plane, **around) for plane in (mean, square))
        spread = torch.sqrt(torch.relu(wide_square - wide * wide) + LEAST_CONTRAST**2)
        contrast = torch.log(torch.relu(square - mean * mean) + LEAST_CONTRAST**2) / 2
        return wide, 1 / spread, contrast - contrast.amax(dim=(2, 3), keepdim=True)


class Head(nn.Module):
    """Attention over the places of a photo, and outputs from their weighted and plain means."""

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.place = nn.Conv2d(channels, 1, 1)
        self.weight = nn.Conv2d(channels + 1, 1, 1)
        self.say = nn.Sequential(  # saved checkpoints have this name
            nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )

    def forward(self, seen: Tensor, contrast: Tensor) -> tuple[Tensor, Tensor]:
        """Predict a photo and each of its places.

        Parameters
        ----------
        seen : Tensor of shape (n, channels, rows, columns)
            Features.
        contrast : Tensor of shape (n, 1, height / 8, width / 8)
            See `Surroundings.forward`.

        Returns
        -------
        answers : Tensor of shape (n, 2)
        map : Tensor of shape (n, rows, columns)
        """
        contrast = functional.interpolate(contrast, size=seen.shape[2:], mode="nearest")
        weight = self.weight(torch.cat([seen, contrast.to(seen.dtype)], dim=1)).flatten(2)
        flat = seen.flatten(2)
        weighed = (flat * torch.softmax(weight.float(), dim=2).to(flat.dtype)).sum(dim=2)
        return self.say(torch.cat([weighed, flat.mean(dim=2)], dim=1)), self.place(seen)[:, 0]


class Net(nn.Module):
    """Surroundings, a body that computes features, and a head."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.surroundings, self.body, self.head = Surroundings(), body, Head(channels)

    def forward(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Predict photos.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
            0 to 255, sides multiples of 8.

        Returns
        -------
        answers : Tensor of shape (n, 2)
            Log-odds of blurred and log2 of the strength.
        map : Tensor of shape (n, rows, columns)
            Log-odds of blurred of each place.
        """
        offset, gain, contrast = self.surroundings(gray)
        answers: tuple[Tensor, Tensor] = self.head(self.body(gray, offset, gain), contrast)
        return answers


class OfPixels(nn.Module):
    """Convolutions over the pixels of a photo, with brightness and contrast normalised."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, gray: Tensor, offset: Tensor, gain: Tensor) -> Tensor:
        """Normalise the photo and compute its features.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
        offset, gain : Tensor of shape (n, 1, height / 8, width / 8)
            See `Surroundings.forward`.

        Returns
        -------
        Tensor of shape (n, channels, rows, columns)
        """
        offset, gain = (functional.interpolate(plane, scale_factor=BLOCK, mode="bilinear") for plane in (offset, gain))
        seen: Tensor = self.layers((gray - offset) * gain)
        return seen


class Depthwise(nn.Conv2d):
    """A depthwise convolution in float32: CPUs have no fast bfloat16 for it."""

    def forward(self, seen: Tensor) -> Tensor:
        """Convolve."""
        with torch.autocast(seen.device.type, enabled=False):
            return super().forward(seen.float()).to(seen.dtype)


def conv(channels: int, out: int, *, stride: int = 1, size: int = 3) -> nn.Module:
    """Make a convolution followed by batch normalisation and ReLU.

    Parameters
    ----------
    channels, out : int
        Channels in and out.
    stride : int
    size : int
        Side of the kernel, odd.

    Returns
    -------
    nn.Module
    """
    return nn.Sequential(
        nn.Conv2d(channels, out, size, stride, size // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """A depthwise and a pointwise convolution with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            Depthwise(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            conv(channels, channels, size=1),
        )

    def forward(self, seen: Tensor) -> Tensor:
        """Add the output of the convolutions to the input."""
        added: Tensor = seen + self.path(seen)
        return added


class Coefficients(nn.Module):
    """The log magnitudes of the 64 DCT coefficients of each block, as channels; the first, DC, is constant."""

    def __init__(self) -> None:
        super().__init__()
        basis = torch.as_tensor(fft.dct(np.eye(BLOCK), norm="ortho", axis=0), dtype=torch.float32)
        kernels = torch.einsum("ur,vc->uvrc", basis, basis).reshape(BLOCK * BLOCK, 1, BLOCK, BLOCK)
        kernels[0] = 0
        self.register_buffer("kernels", kernels)

    def forward(self, gray: Tensor, gain: Tensor) -> Tensor:
        """Compute log magnitudes.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
        gain : Tensor of shape (n, 1, height / 8, width / 8)
            Multiplies the magnitudes.

        Returns
        -------
        Tensor of shape (n, 64, height / 8, width / 8)
        """
        with torch.autocast(gray.device.type, enabled=False):  # in bfloat16 brightness leaks into all of them
            found = functional.conv2d(gray, self.kernels, stride=BLOCK)
        return torch.log(torch.abs(found) * gain + LEAST_COEFFICIENT)


class OfCoefficients(nn.Module):
    """Convolutions over the DCT coefficients of a photo and of its half."""

    def __init__(self, width: int = 48, deep: int = 128) -> None:
        super().__init__()
        self.coefficients = Coefficients()
        self.first = nn.Sequential(conv(64, width, size=1), *(Residual(width) for _ in range(2)))
        self.then = nn.Sequential(conv(2 * width + 64, deep, size=1), *(Residual(deep) for _ in range(3)))

    def forward(self, gray: Tensor, _: Tensor, gain: Tensor) -> Tensor:
        """Compute features at two scales; those of the finer one are pooled to the size of the coarser one.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
        _ : Tensor
            Not used.
        gain : Tensor of shape (n, 1, height / 8, width / 8)
            See `Surroundings.forward`.

        Returns
        -------
        Tensor of shape (n, channels, rows, columns)
        """
        fine = self.first(self.coefficients(gray, gain))
        coarse = self.coefficients(*_halve(gray, gain))
        fine = fine[:, :, : 2 * coarse.shape[2], : 2 * coarse.shape[3]]
        pooled = torch.cat([functional.avg_pool2d(fine, 2), functional.max_pool2d(fine, 2), coarse], dim=1)
        seen: Tensor = self.then(pooled)
        return seen


class OfBlocks(nn.Module):
    """One network that reads each block by itself, at three scales: no block sees its neighbours."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.coefficients = Coefficients()
        self.scales = nn.ModuleList(
            nn.Sequential(conv(64, width, size=1), conv(width, width, size=1), conv(width, width, size=1))
            for _ in range(3)
        )

    def forward(self, gray: Tensor, _: Tensor, gain: Tensor) -> Tensor:
        """Compute features at each scale; those of a coarser block are repeated for the finer ones that it covers.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
        _ : Tensor
            Not used.
        gain : Tensor of shape (n, 1, height / 8, width / 8)
            See `Surroundings.forward`.

        Returns
        -------
        Tensor of shape (n, channels, height / 8, width / 8)
        """
        found = []
        for look in self.scales:
            found.append(look(self.coefficients(gray, gain)))
            gray, gain = _halve(gray, gain)
        size = found[0].shape[2:]
        return torch.cat([functional.interpolate(one, size=size, mode="nearest") for one in found], dim=1)


def _halve(gray: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Halve a photo and the gains of its blocks; drop pixels beyond the last whole block."""
    gray, gain = functional.avg_pool2d(gray, 2), functional.avg_pool2d(gain, 2)
    return gray[:, :, : BLOCK * gain.shape[2], : BLOCK * gain.shape[3]], gain


def plain() -> Net:
    """Make a plain convolutional net."""
    steps = [(16, 48, 1), (48, 96, 2), (96, 128, 2), (128, 128, 1)]
    return Net(OfPixels(nn.PixelUnshuffle(4), *(conv(wide, out, stride=stride) for wide, out, stride in steps)), 128)


def dct() -> Net:
    """Make a net that reads DCT coefficients."""
    return Net(OfCoefficients(), 128)


def blocks() -> Net:
    """Make a net that reads each block by itself; it learns which blocks matter, not how they are arranged."""
    return Net(OfBlocks(), 3 * 96)


def partial() -> Net:
    """Make a net for partial blur: `dct`, trained on the masks too, so that its map locates the blur."""
    return dct()


class _OfTimm(nn.Module):
    def __init__(self, name: str, **settings: object) -> None:
        super().__init__()
        # timm imports torchvision, whose only build needs CUDA's torch: dummies replace its operators, all unused
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import timm

        self.model = timm.create_model(name, in_chans=1, num_classes=0, **settings)

    def forward(self, normal: Tensor) -> Tensor:
        """Compute the last feature map."""
        seen: Tensor = self.model.forward_features(normal)
        return seen


def mobilenet() -> Net:
    """Make timm's smallest MobileNetV4."""
    return Net(OfPixels(_OfTimm("mobilenetv4_conv_small_035")), 336)


def convnext() -> Net:
    """Make timm's ConvNeXt V2, narrower than its smallest."""
    return Net(OfPixels(_OfTimm("convnextv2_atto", depths=(1, 1, 2, 1), dims=(16, 32, 64, 128))), 128)


KINDS: dict[str, Callable[[], Net]] = {
    "plain": plain,
    "mobilenet": mobilenet,
    "convnext": convnext,
    "dct": dct,
    "blocks": blocks,
    "partial": partial,
}
MAPPED = ("partial",)  # also trained on the masks
PRECISE = ("mobilenet", "convnext")  # trained in float32: depthwise convolutions in bfloat16 are slow on a CPU
