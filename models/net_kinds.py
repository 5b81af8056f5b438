"""The nets that were tried, as torch modules: gray -> log-odds of blurred, strength, and a map of log-odds.

All take brightness and contrast out, as they are around each block, and end with the same head, so that what differs
is how each looks at a photo. ``KINDS`` at the end has each by its name.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy import fft
from torch import Tensor, nn
from torch.nn import functional

from blurgate.measuring.blocks import BLOCK

WINDOW = 5  # blocks on a side of the window that brightness and contrast are taken from
LEAST_CONTRAST = 1.5  # grey levels: less than that is noise of the last bit
LEAST_COEFFICIENT = 0.03  # of one whose gain is applied: about a grey level


class Surroundings(nn.Module):
    """Measure brightness and contrast around each block, so that a net can be kept from leaning on them."""

    def forward(self, gray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Measure a photo.

        Parameters
        ----------
        gray : Tensor of shape (n, 1, height, width)
            0 to 255, sides multiples of 8.

        Returns
        -------
        offset, gain, contrast : Tensor of shape (n, 1, height / 8, width / 8)
            Mean grey level and one over its deviation, around each block; and the log of the block's own deviation
            against that of the photo's most contrasting one.
        """
        mean, square = (functional.avg_pool2d(plane, BLOCK) for plane in (gray, gray * gray))
        around = {"kernel_size": WINDOW, "stride": 1, "padding": WINDOW // 2, "count_include_pad": False}
        wide, wide_square = (functional.avg_pool2d(plane, **around) for plane in (mean, square))
        spread = torch.sqrt(torch.relu(wide_square - wide * wide) + LEAST_CONTRAST**2)
        contrast = torch.log(torch.relu(square - mean * mean) + LEAST_CONTRAST**2) / 2
        return wide, 1 / spread, contrast - contrast.amax(dim=(2, 3), keepdim=True)


class Head(nn.Module):
    """Weigh the places of a photo by what they show, and say what they come to."""

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.place = nn.Conv2d(channels, 1, 1)
        self.weight = nn.Conv2d(channels + 1, 1, 1)
        self.say = nn.Sequential(nn.Linear(2 * channels, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, seen: Tensor, contrast: Tensor) -> tuple[Tensor, Tensor]:
        """Features of shape (n, channels, h, w) -> answers (n, 2), map (n, h, w)."""
        contrast = functional.interpolate(contrast, size=seen.shape[2:], mode="nearest")
        weight = self.weight(torch.cat([seen, contrast.to(seen.dtype)], dim=1)).flatten(2)
        flat = seen.flatten(2)
        weighed = (flat * torch.softmax(weight.float(), dim=2).to(flat.dtype)).sum(dim=2)
        return self.say(torch.cat([weighed, flat.mean(dim=2)], dim=1)), self.place(seen)[:, 0]


class Net(nn.Module):
    """Measure the surroundings, look, and say."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.surroundings, self.body, self.head = Surroundings(), body, Head(channels)

    def forward(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Gray (n, 1, height, width), 0 to 255 -> answers (n, 2), log-odds and log2 of strength; map (n, h, w)."""
        offset, gain, contrast = self.surroundings(gray)
        answers: tuple[Tensor, Tensor] = self.head(self.body(gray, offset, gain), contrast)
        return answers


class OfPixels(nn.Module):
    """Convolutions over a photo's pixels, brightness and contrast evened out."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, gray: Tensor, offset: Tensor, gain: Tensor) -> Tensor:
        """Even out, and look."""
        offset, gain = (functional.interpolate(plane, scale_factor=BLOCK, mode="bilinear") for plane in (offset, gain))
        seen: Tensor = self.layers((gray - offset) * gain)
        return seen


class Depthwise(nn.Conv2d):
    """A convolution of each channel by itself, in float32: a CPU has no fast bfloat16 for it."""

    def forward(self, seen: Tensor) -> Tensor:
        """Convolve."""
        with torch.autocast(seen.device.type, enabled=False):
            return super().forward(seen.float()).to(seen.dtype)


def conv(channels: int, out: int, *, stride: int = 1, size: int = 3) -> nn.Module:
    """Make a convolution with its normalisation over the batch and its ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, out, size, stride, size // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """A depthwise and a pointwise convolution beside a short cut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            Depthwise(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            conv(channels, channels, size=1),
        )

    def forward(self, seen: Tensor) -> Tensor:
        """Add what is found to what was seen."""
        added: Tensor = seen + self.path(seen)
        return added


class Coefficients(nn.Module):
    """The 64 DCT coefficients of each block as channels: the logs of their magnitudes; the first says nothing."""

    def __init__(self) -> None:
        super().__init__()
        basis = torch.as_tensor(fft.dct(np.eye(BLOCK), norm="ortho", axis=0), dtype=torch.float32)
        kernels = torch.einsum("ur,vc->uvrc", basis, basis).reshape(BLOCK * BLOCK, 1, BLOCK, BLOCK)
        kernels[0] = 0
        self.register_buffer("kernels", kernels)

    def forward(self, gray: Tensor, gain: Tensor) -> Tensor:
        """Photo (n, 1, height, width) and one gain a block -> (n, 64, height / 8, width / 8)."""
        with torch.autocast(gray.device.type, enabled=False):  # in bfloat16 brightness leaks into all of them
            found = functional.conv2d(gray, self.kernels, stride=BLOCK)
        return torch.log(torch.abs(found) * gain + LEAST_COEFFICIENT)


class OfCoefficients(nn.Module):
    """Convolutions over the DCT coefficients of the photo's blocks, and of its half's."""

    def __init__(self, width: int = 48, deep: int = 128) -> None:
        super().__init__()
        self.coefficients = Coefficients()
        self.first = nn.Sequential(conv(64, width, size=1), *(Residual(width) for _ in range(2)))
        self.then = nn.Sequential(conv(2 * width + 64, deep, size=1), *(Residual(deep) for _ in range(3)))

    def forward(self, gray: Tensor, _: Tensor, gain: Tensor) -> Tensor:
        """See the photo at two scales; the finer one is brought to the coarser one's size."""
        fine = self.first(self.coefficients(gray, gain))
        coarse = self.coefficients(*_halve(gray, gain))
        fine = fine[:, :, : 2 * coarse.shape[2], : 2 * coarse.shape[3]]
        pooled = torch.cat([functional.avg_pool2d(fine, 2), functional.max_pool2d(fine, 2), coarse], dim=1)
        seen: Tensor = self.then(pooled)
        return seen


class OfBlocks(nn.Module):
    """One network for every block by itself, at three scales: no block knows its neighbours."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.coefficients = Coefficients()
        self.scales = nn.ModuleList(
            nn.Sequential(conv(64, width, size=1), conv(width, width, size=1), conv(width, width, size=1))
            for _ in range(3)
        )

    def forward(self, gray: Tensor, _: Tensor, gain: Tensor) -> Tensor:
        """Look at each scale; each coarser block stands beside the finer ones that it covers."""
        found = []
        for look in self.scales:
            found.append(look(self.coefficients(gray, gain)))
            gray, gain = _halve(gray, gain)
        size = found[0].shape[2:]
        return torch.cat([functional.interpolate(one, size=size, mode="nearest") for one in found], dim=1)


def _halve(gray: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Halve a photo to whole blocks, and the gains of its blocks with it."""
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
    """Make a net that reads each block by itself; which ones matter is learnt, their order is not."""
    return Net(OfBlocks(), 3 * 96)


def partial() -> Net:
    """Make a net for partial blur: that of DCT coefficients, trained on the masks too, so that its map says where."""
    return dct()


class _OfTimm(nn.Module):
    def __init__(self, name: str, **settings: object) -> None:
        super().__init__()
        # timm imports torchvision, and there is a build of that for CUDA's torch only: none of its operators is used
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import timm

        self.model = timm.create_model(name, in_chans=1, num_classes=0, **settings)

    def forward(self, normal: Tensor) -> Tensor:
        """Give the last feature map."""
        seen: Tensor = self.model.forward_features(normal)
        return seen


def mobilenet() -> Net:
    """Make timm's smallest MobileNetV4."""
    return Net(OfPixels(_OfTimm("mobilenetv4_conv_small_035")), 336)


def convnext() -> Net:
    """Make a ConvNeXt V2 of timm's, narrower than its smallest."""
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
PRECISE = ("mobilenet", "convnext")  # trained in float32: bfloat16 is slow on a CPU where channels are by themselves
