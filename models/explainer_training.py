"""The training of the net that explains, from scratch, on the CPU; it resumes from a checkpoint; it ends as ONNX.

Batches of small pictures, of which the blur is known, and of wide ones, of which a map is known, take turns. Scenes
whose number is a multiple of `HELD_OUT` are not trained on: `models.make_explainer` measures the net on them.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from blurgate.files import atomic_file
from blurgate.judging.inputs import STRENGTH_OFFSET
from models.explainer_net import MULTIPLE, Explainer
from models.net_training import take_in_the_dark
from models.pictures import SOURCES

HELD_OUT = 10
SMALL_BATCH, WIDE_BATCH = 36, 12
RATE, WEIGHT_DECAY, WARM_UP = 3e-3, 0.02, 0.08
KIND_WEIGHT, STRENGTH_WEIGHT, DIRECTION_WEIGHT, MAP_WEIGHT, WIDE_WEIGHT = 1.0, 0.5, 2.0, 0.3, 1.5
KIND_BALANCE = (1.0, 1.0, 2.0)  # weights of the kinds: the recipe draws half as many of the last
DARK_SHARE = 0.5  # of the batches: some pictures as phones take them in the dark
SURE_STRENGTH = 3.0  # pixels: from here on a blur's kind and direction weigh fully
EVERY = 300
_NAMES = ("gray", "label", "strength_px", "blurred", "kind", "moments")


@dataclass(frozen=True)
class Pictures:
    """Drawn pictures as arrays; see `models.pictures.Picture`. ``kind`` is a position in `models.pictures.KINDS`."""

    gray: NDArray[np.uint8]
    label: NDArray[np.int8]
    strength_px: NDArray[np.float32]
    blurred: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    moments: NDArray[np.float32]

    @classmethod
    def read(cls, files: Sequence[Path], sources: Sequence[str], *, held_out: bool) -> "Pictures":
        """Read the pictures of some sources, of scenes that are held out or of all others.

        Parameters
        ----------
        files : sequence of Path
            Shards, written by `models.pictures.draw_shard`.
        sources : sequence of str
            Names out of `models.pictures.SOURCES`.
        held_out : bool

        Returns
        -------
        Pictures
        """
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _NAMES}
        for path in files:
            with np.load(path) as content:
                rows = np.isin(content["source"], [SOURCES.index(source) for source in sources])
                rows &= (content["scene"] % HELD_OUT == 0) == held_out
                for name, part in parts.items():
                    part.append(content[name][rows])
        return cls(**{name: np.concatenate(part) for name, part in parts.items()})

    def __len__(self) -> int:
        return len(self.label)

    def batches(self, size: int, seed: int, start: int) -> Iterator[dict[str, Tensor]]:
        """Draw batches without end, each rotated by a multiple of 90° and mirrored at random.

        Parameters
        ----------
        size : int
            Pictures in a batch.
        seed : int
        start : int
            Number of the first batch.

        Yields
        ------
        dict of str to Tensor
            ``gray`` (size, 1, height, width), ``strength_px`` (size,), ``blurred`` (size, rows, columns), 0 to 1,
            ``kind`` (size,), ``moments`` (size, 3).
        """
        number, per_round = start, len(self) // size
        while True:
            order = np.random.default_rng([seed, number // per_round]).permutation(len(self))
            rows = order[number % per_round * size :][:size]
            turn, mirrored = np.random.default_rng([seed, number, 1]).integers(0, (4, 2))
            dice = torch.Generator().manual_seed(1_000_003 * seed + number)
            gray, blurred = (_turn(plane[rows], turn, mirrored) for plane in (self.gray, self.blurred))
            taken = torch.from_numpy(gray)[:, None].float()
            yield {
                "gray": take_in_the_dark(taken, dice) if number % round(1 / DARK_SHARE) == 0 else taken,
                "strength_px": torch.from_numpy(self.strength_px[rows]),
                "blurred": torch.from_numpy(blurred).float() / 100,
                "kind": torch.from_numpy(self.kind[rows]).long(),
                "moments": torch.from_numpy(turn_moments(self.moments[rows], turn, mirrored)),
            }
            number += 1


def turn_moments(moments: NDArray[np.float32], turn: int, mirrored: int) -> NDArray[np.float32]:
    """Rotate the second moments of pictures counter-clockwise by multiples of 90°, then mirror them left to right.

    Parameters
    ----------
    moments : ndarray of shape (n, 3), float32
    turn : int
        Multiple of 90°.
    mirrored : int
        1 or 0.

    Returns
    -------
    ndarray of shape (n, 3), float32
    """
    across, both, down = moments.T
    if turn % 2:
        across, both, down = down, -both, across
    return np.stack([across, -both if mirrored else both, down], axis=1)


def find_direction(moments: Tensor) -> Tensor:
    """Compute the direction of blurs as vectors, of twice the angle, whose length is 0 for round ones and 1 for lines.

    Parameters
    ----------
    moments : Tensor of shape (n, 3)

    Returns
    -------
    Tensor of shape (n, 2)
        Twice the angle is counted counter-clockwise from the right; rows of a picture grow downwards.
    """
    across, both, down = moments.unbind(dim=1)
    return torch.stack([across - down, -2 * both], dim=1) / (across + down).clamp(min=1e-6)[:, None]


def train_explainer(
    small: Pictures, wide: Pictures, steps: int, *, seed: int = 0, checkpoint: Path | None = None
) -> Explainer:
    """Train an explainer.

    Parameters
    ----------
    small, wide : Pictures
    steps : int
        Number of batches of both sorts.
    seed : int
    checkpoint : Path, optional
        File to resume from and to save to.

    Returns
    -------
    Explainer
    """
    torch.manual_seed(seed)
    net = Explainer()
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=WARM_UP)
    parts = {"net": net, "optimizer": optimizer, "schedule": schedule}
    start = 0
    if checkpoint and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        start = saved["step"]
    net.train().to(memory_format=torch.channels_last)
    sorts = [each.batches(size, seed, start // 2) for each, size in ((small, SMALL_BATCH), (wide, WIDE_BATCH))]
    losses: list[dict[str, float]] = []
    began = time.monotonic()
    for step in range(start, steps):
        is_wide = step % 2
        found = _losses(net, next(sorts[is_wide]), map_weight=WIDE_WEIGHT if is_wide else MAP_WEIGHT)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append({f"{'wide ' if is_wide else ''}{name}": float(loss.detach()) for name, loss in found.items()})
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            recent = losses[-EVERY:]
            means = {
                name: np.mean([each[name] for each in recent if name in each]) for name in {**recent[0], **recent[-1]}
            }
            said = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
            print(f"{step + 1} of {steps}: {said}; {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            if checkpoint:
                state = {name: part.state_dict() for name, part in parts.items()}
                with atomic_file(checkpoint) as partial:
                    torch.save({**state, "step": step + 1}, partial)
    net.eval()
    return net


def _losses(net: Explainer, batch: dict[str, Tensor], *, map_weight: float) -> dict[str, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        reading, places = net(batch["gray"].to(memory_format=torch.channels_last))
    reading, strength, kind = reading.float(), batch["strength_px"], batch["kind"]
    losses = {"map": map_weight * functional.binary_cross_entropy_with_logits(places.float(), batch["blurred"])}
    measured = torch.isfinite(strength)
    if measured.any():
        target = torch.log2(strength[measured] + STRENGTH_OFFSET)
        spread = reading[measured, 4].clamp(-5, 3)
        losses["strength"] = (
            STRENGTH_WEIGHT * ((reading[measured, 3] - target).abs() * torch.exp(-spread) + spread).mean()
        )
    weight = (strength / SURE_STRENGTH).clamp(max=1).nan_to_num(0)
    if (kind > 0).any():
        known = weight * (kind > 0) * torch.tensor([0.0, *KIND_BALANCE])[kind]
        entropy = functional.cross_entropy(reading[:, :3], (kind - 1).clamp(min=0), reduction="none")
        losses["kind"] = KIND_WEIGHT * (entropy * known).sum() / known.sum()
        miss = (reading[:, 5:] - find_direction(batch["moments"]).nan_to_num(0)).square().sum(dim=1)
        losses["direction"] = DIRECTION_WEIGHT * (miss * weight * (kind > 0)).sum() / (weight * (kind > 0)).sum()
    return losses


def export_explainer(net: Explainer, path: Path) -> None:
    """Write a net as ONNX, for one photo of any size whose sides are multiples of `MULTIPLE`.

    Parameters
    ----------
    net : Explainer
    path : Path
    """
    net = net.to(memory_format=torch.contiguous_format).eval()
    with atomic_file(path) as partial:
        torch.onnx.export(
            net,
            (torch.zeros(1, 1, 4 * MULTIPLE, 3 * MULTIPLE),),
            str(partial),
            input_names=["gray"],
            output_names=["reading", "map"],
            dynamic_axes={"gray": {2: "height", 3: "width"}, "map": {1: "rows", 2: "columns"}},
            opset_version=17,
            dynamo=False,
        )


def _turn(planes: NDArray[np.uint8], turn: int, mirrored: int) -> NDArray[np.uint8]:
    turned = np.rot90(planes, turn, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned)
