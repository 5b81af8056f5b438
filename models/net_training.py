"""Train a net on drawn pictures, from scratch, on the CPU or a GPU; resume from a checkpoint; write ONNX.

Used by ``nets.py``, which compares kinds, and by ``make_default.py``, which makes the shipped model.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from blurgate.files import atomic_file
from blurgate.judging.inputs import STRENGTH_OFFSET
from models.alterations import SMEARING, USUAL_CONTRAST
from models.net_kinds import KINDS, MAPPED, PRECISE, Net
from models.pictures import SOURCES

BATCH = 64
RATE, WEIGHT_DECAY, WARM_UP = 3e-3, 0.02, 0.1
STRENGTH_WEIGHT, MAP_WEIGHT = 0.1, 0.5  # of their losses, relative to that of the label
EVERY = 200  # steps between checkpoints
SMEARED_SHARE, GRAINY_SHARE = 0.3, 0.3  # of the pictures
SMEARING_WINDOW = 7  # pixels
GRAIN, GRAIN_PX = (2.0, 16.0), (0.8, 4.0)  # codes: standard deviation of the grain; pixels: distance between grains


@dataclass(frozen=True)
class Shard:
    """Drawn pictures as arrays; see `models.pictures.Picture`."""

    gray: NDArray[np.uint8]
    label: NDArray[np.int8]
    strength_px: NDArray[np.float32]
    blurred: NDArray[np.uint8]

    @classmethod
    def read(cls, path: Path, sources: Sequence[str]) -> "Shard":
        """Read the pictures of some sources.

        Parameters
        ----------
        path : Path
            Written by `models.pictures.draw_shard`.
        sources : sequence of str
            Names out of `models.pictures.SOURCES`.

        Returns
        -------
        Shard
        """
        with np.load(path) as content:
            rows = np.isin(content["source"], [SOURCES.index(source) for source in sources])
            return cls(**{name: content[name][rows] for name in ("gray", "label", "strength_px", "blurred")})


def batches(shards: Callable[[int], Shard], seed: int, start: int) -> Iterator[tuple[Tensor, ...]]:
    """Draw batches without end, each rotated by a multiple of 90° and mirrored at random.

    Parameters
    ----------
    shards : callable
        Number -> shard.
    seed : int
    start : int
        Number of batches to skip.

    Yields
    ------
    gray : Tensor of shape (BATCH, 1, height, width), float32
    label : Tensor of shape (BATCH,), float32
    strength_px : Tensor of shape (BATCH,), float32
    blurred : Tensor of shape (BATCH, rows, columns), float32
        Blurred share of each cell, 0 to 1.
    """
    step, number = 0, 0
    while True:
        shard = shards(number)
        order = np.random.default_rng([seed, number]).permutation(len(shard.label))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            step += 1
            if step <= start:
                continue
            rows = order[first : first + BATCH]
            turn, mirrored = np.random.default_rng([seed, step]).integers(0, (4, 2))
            gray, blurred = (_turn(plane[rows], turn, mirrored) for plane in (shard.gray, shard.blurred))
            dice = torch.Generator().manual_seed(1_000_003 * seed + step)
            yield (
                take_in_the_dark(torch.from_numpy(gray)[:, None].float(), dice),
                torch.from_numpy(shard.label[rows]).float(),
                torch.from_numpy(shard.strength_px[rows]),
                torch.from_numpy(blurred).float() / 100,
            )
        number += 1


def take_in_the_dark(gray: Tensor, dice: torch.Generator) -> Tensor:
    """Smear some pictures and add coarse grain to some, as phones do in the dark; sharp and blurred ones alike.

    Parameters
    ----------
    gray : Tensor of shape (n, 1, height, width), float32
        Codes, 0 to 255.
    dice : torch.Generator

    Returns
    -------
    Tensor of the shape of `gray`, float32
    """
    smeared, grainy = (torch.rand(len(gray), generator=dice) < share for share in (SMEARED_SHARE, GRAINY_SHARE))
    brightness, square = (planes.mean(dim=(1, 2, 3), keepdim=True) for planes in (gray, gray * gray))
    contrast = ((square - brightness**2).clamp(min=0).sqrt() / USUAL_CONTRAST).clamp(0.1, 1)
    taken = gray.clone()
    taken[smeared] = _smear(gray[smeared], contrast[smeared] * _draw(SMEARING, int(smeared.sum()), dice))
    taken[grainy] += contrast[grainy] * _draw_grain(int(grainy.sum()), gray.shape[2:], dice)
    return taken.clamp(0, 255).round()


def _draw(ends: tuple[float, float], n: int, dice: torch.Generator) -> Tensor:
    low, high = map(math.log, ends)
    return torch.exp(low + (high - low) * torch.rand((n, 1, 1, 1), generator=dice))


def _draw_grain(n: int, shape: Sequence[int], dice: torch.Generator) -> Tensor:
    """Draw noise on a coarse grid and interpolate between its points; their distance is the same for all `n`."""
    apart = float(_draw(GRAIN_PX, 1, dice))
    coarse = torch.randn((n, 1, *(round(side / apart) + 1 for side in shape)), generator=dice)
    grain = functional.interpolate(coarse, size=tuple(shape), mode="bilinear")
    return grain / grain.std() * _draw(GRAIN, n, dice)


def _smear(gray: Tensor, sigma: Tensor) -> Tensor:
    """Apply the denoising filter of `blurgate.making.camera`."""
    mean, square = _mean(gray), _mean(gray * gray)
    variance = (square - mean * mean).clamp(min=0)
    gain = variance / (variance + sigma**2)
    return _mean(gain) * gray + _mean(mean * (1 - gain))


def _mean(planes: Tensor) -> Tensor:
    margin = SMEARING_WINDOW // 2
    padded = functional.pad(planes, (margin,) * 4, mode="reflect")
    rows = sum(padded[:, :, place : place + planes.shape[2]] for place in range(SMEARING_WINDOW))
    both = sum(rows[..., place : place + planes.shape[3]] for place in range(SMEARING_WINDOW))
    return both / SMEARING_WINDOW**2


def train_net(
    kind: str,
    shards: Callable[[int], Shard],
    steps: int,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> tuple[Net, dict[str, float]]:
    """Train a net.

    Parameters
    ----------
    kind : str
        A name out of `KINDS`.
    shards : callable
        Number -> shard.
    steps : int
        Number of batches.
    seed : int
        Of the initial weights and the order of pictures.
    checkpoint : Path, optional
        File to resume from and to save to.

    Returns
    -------
    net : Net
    cost : dict
        ``seconds`` of training and number of trained ``weights``.
    """
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = KINDS[kind]().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=WARM_UP)
    parts = {"net": net, "optimizer": optimizer, "schedule": schedule}
    start, spent = 0, 0.0
    if checkpoint and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        start, spent = saved["step"], saved["seconds"]
    net.train().to(memory_format=torch.channels_last)
    began, losses = time.monotonic() - spent, []
    for step, batch in zip(range(start + 1, steps + 1), batches(shards, seed, start), strict=False):
        loss = _loss(net, *(part.to(device) for part in batch), mapped=kind in MAPPED, precise=kind in PRECISE)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % EVERY == 0 or step == steps:
            spent = time.monotonic() - began
            print(f"{kind} {step} of {steps}, loss {np.mean(losses[-EVERY:]):.3f}, {spent:.0f} s", file=sys.stderr)
            if checkpoint:
                state = {name: part.state_dict() for name, part in parts.items()}
                with atomic_file(checkpoint) as partial:
                    torch.save({**state, "step": step, "seconds": spent}, partial)
    return net.eval(), {"seconds": spent, "weights": sum(weight.numel() for weight in optimizer.state)}


def export_net(net: Net, path: Path) -> None:
    """Write a net as ONNX, for one photo of any size whose sides are multiples of 8.

    Parameters
    ----------
    net : Net
    path : Path
    """
    net = net.to("cpu", memory_format=torch.contiguous_format).eval()
    with atomic_file(path) as partial:
        torch.onnx.export(
            net,
            (torch.zeros(1, 1, 256, 192),),
            str(partial),
            input_names=["gray"],
            output_names=["answers", "map"],
            dynamic_axes={"gray": {2: "height", 3: "width"}, "map": {1: "rows", 2: "columns"}},
            opset_version=17,
            dynamo=False,
        )


def _loss(
    net: Net, gray: Tensor, label: Tensor, strength: Tensor, blurred: Tensor, *, mapped: bool, precise: bool
) -> Tensor:
    with torch.autocast(gray.device.type, torch.bfloat16, enabled=not precise or gray.is_cuda):
        answers, places = net(gray.to(memory_format=torch.channels_last))
    answers, known = answers.float(), label >= 0
    loss = functional.binary_cross_entropy_with_logits(answers[known, 0], label[known])
    measured = torch.isfinite(strength)
    target = torch.log2(strength[measured] + STRENGTH_OFFSET)
    loss = loss + STRENGTH_WEIGHT * functional.smooth_l1_loss(answers[measured, 1], target)
    if mapped:
        small = functional.adaptive_avg_pool2d(blurred[:, None], places.shape[1:])[:, 0]
        loss = loss + MAP_WEIGHT * functional.binary_cross_entropy_with_logits(places.float(), small)
    return loss


def _turn(planes: NDArray[np.uint8], turn: int, mirrored: int) -> NDArray[np.uint8]:
    turned = np.rot90(planes, turn, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned)
