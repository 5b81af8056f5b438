"""Train the net that explains and put it into a model file; print what it does on scenes that are held out, as JSON.

    pip install torch onnx
    python models/make_explainer.py ../shared/data/train --work work \
        --into src/blurgate/judging/shipped/default.blurgate > explainer.json
    python models/make_explainer.py ../shared/data/train --work work --plan open --steps 3000 \
        --into src/blurgate/judging/shipped/open.blurgate > open_explainer.json

``--work`` keeps the pictures, a checkpoint and the ONNX file, so that an interrupted run can resume. A held-out scene
is one whose number is a multiple of `models.explainer_training.HELD_OUT`; on them it is measured how wide the intervals
of strengths must be. Nothing else in the model file changes.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from blurgate.judging.explainers import Explainer
from blurgate.judging.inputs import STRENGTH_OFFSET
from blurgate.judging.model import read_model
from blurgate.measuring.blocks import BLOCK
from blurgate.photos.images import Gray, read_gray
from models.explainer_net import MULTIPLE
from models.explainer_net import Explainer as ExplainerNet
from models.explainer_training import HELD_OUT, Pictures, export_explainer, train_explainer
from models.held_out import PLANS
from models.pictures import KINDS, SOURCES, draw_pictures, list_photos
from models.sources import TERMS

GRADED_SHARDS, WIDE_SHARDS = 14, 14
STEPS = 7000
SEED = 19
MASKED = "defocus_maps"  # the source whose photos have masks
INSIDE = 0.9  # of the blurred pictures held out: inside their intervals


def main() -> None:
    """Write the model; print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--into", type=Path, required=True, help="model file that gets the explainer")
    parser.add_argument("--plan", choices=PLANS, default="research")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    sources = [source for source in SOURCES if source in PLANS[options.plan].sources]
    print(json.dumps(make(options.data, options.work, options.into, sources, options.steps), indent=1))


def make(data: Path, work: Path, into: Path, sources: Sequence[str], steps: int) -> dict[str, Any]:
    """Train an explainer, put it into a model file and measure it.

    Parameters
    ----------
    data : Path
        Folder with the sources.
    work : Path
        Folder for what is kept.
    into : Path
        A model file, which is replaced.
    sources : sequence of str
        Names out of `models.pictures.SOURCES`.
    steps : int
        Of the training.

    Returns
    -------
    dict
        What the model's card says of the explainer.
    """
    series = {
        name: draw_pictures(data, work, shards, seed=SEED, series=name)
        for name, shards in (("graded", GRADED_SHARDS), ("wide", WIDE_SHARDS))
    }
    small, wide = (Pictures.read(files, sources, held_out=False) for files in series.values())
    stem = work / f"explainer-{'-'.join(source[:2] for source in sources)}-{steps}"
    net = train_explainer(small, wide, steps, checkpoint=stem.with_suffix(".pt"))
    line = calibrate_map(net, read_masked(data, work)) if MASKED in sources else None
    export_explainer(net, stem.with_suffix(".onnx"))
    held_out = [Pictures.read(files, sources, held_out=True) for files in series.values()]
    results = measure(net, *held_out)
    used = [source for source in SOURCES if source in sources]
    described = {
        "name": Explainer(stem.with_suffix(".onnx").read_bytes()).name,
        "spread": round(results.pop("spread"), 3),
        "trained_on": {"n": len(small) + len(wide), "sources": used, "steps": steps},
        "terms": {source: TERMS[source] for source in used},
        "results": {"on": "pictures of scenes held out", **results},
        **({"map_line": [round(each, 3) for each in line]} if line else {}),
    }
    model = read_model(into)
    explainer = Explainer(stem.with_suffix(".onnx").read_bytes())
    replace(model, explainer=explainer, card=replace(model.card, explainer=described)).save(into)
    return described


def read_masked(data: Path, work: Path) -> list[tuple[Gray, NDArray[np.bool_]]]:
    """Read the whole photos with masks that are held out.

    Parameters
    ----------
    data, work : Path
        See `make`.

    Returns
    -------
    list of (ndarray of shape (height, width), uint8; ndarray of the same shape, bool)
        Photos, and their masks, true where out of focus.
    """
    paths = list_photos(data, work, MASKED)[::HELD_OUT]
    return [(read_gray(path), read_gray(path.parents[1] / "masks" / f"{path.stem}.png") > 127) for path in paths]


def calibrate_map(net: ExplainerNet, masked: Sequence[tuple[Gray, NDArray[np.bool_]]]) -> tuple[float, float]:
    """Calibrate the map on whole photos as they were taken: half of the pictures that it learnt from are altered.

    Each photo weighs the same. The line is folded into the last layer of the net, which is changed.

    Parameters
    ----------
    net : models.explainer_net.Explainer
    masked : sequence of (ndarray of shape (height, width), uint8; ndarray of the same shape, bool)
        Photos and masks.

    Returns
    -------
    slope, intercept : float
        Of the log-odds.
    """
    odds, shares, weights = [], [], []
    for gray, mask in masked:
        height, width = (side // MULTIPLE * MULTIPLE for side in gray.shape)
        with torch.inference_mode():
            _, places = net(torch.from_numpy(gray[:height, :width].copy())[None, None].float())
        blocks = mask[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean(axis=(1, 3))
        odds.append(places[0].numpy().ravel())
        shares.append(blocks.ravel())
        weights.append(np.full(blocks.size, 1 / blocks.size))
    rows, share, weight = np.concatenate(odds)[:, np.newaxis], np.concatenate(shares), np.concatenate(weights)
    labels = np.repeat([1, 0], len(rows))
    line = LogisticRegression(C=np.inf).fit(
        np.concatenate([rows, rows]), labels, np.concatenate([share * weight, (1 - share) * weight])
    )
    slope, intercept = float(line.coef_[0, 0]), float(line.intercept_[0])
    last = net.fine[-1]
    with torch.no_grad():
        last.weight.mul_(slope)
        last.bias.mul_(slope).add_(intercept)
    return slope, intercept


def measure(net: ExplainerNet, small: Pictures, wide: Pictures) -> dict[str, Any]:
    """Measure a net on pictures that it was not trained on.

    Parameters
    ----------
    net : models.explainer_net.Explainer
    small, wide : Pictures

    Returns
    -------
    dict
        Figures of kinds, angles, strengths, their intervals and maps.
    """
    reading = _run(net, small.gray)[0]
    sure = (small.kind > 0) & (small.strength_px >= 2)
    guess = reading[:, :3].argmax(axis=1) + 1
    recalls = {KINDS[kind]: float((guess == kind)[sure & (small.kind == kind)].mean()) for kind in (1, 2, 3)}
    strength = np.maximum(2 ** reading[:, 3] - STRENGTH_OFFSET, 0)
    graded = (small.strength_px >= 1) & (small.strength_px <= 10) & (small.label == 1)
    off = np.abs(reading[:, 3] - np.log2(small.strength_px + STRENGTH_OFFSET)) / np.exp(np.clip(reading[:, 4], -5, 3))
    moving = sure & (small.kind == 2)
    angle = np.degrees(np.arctan2(reading[moving, 6], reading[moving, 5])) / 2
    across, both, down = small.moments[moving].T
    true = np.degrees(np.arctan2(-2 * both, across - down)) / 2
    miss = np.abs((angle - true + 90) % 180 - 90)
    line = np.hypot(across - down, 2 * both) / (across + down)
    places = _run(net, wide.gray)[1]
    real = wide.label < 0
    answers, truth = places[real].ravel(), (wide.blurred[real] > 50).ravel()
    aucs = [
        roc_auc_score(wide.blurred[row].ravel() > 50, places[row].ravel())
        for row in np.flatnonzero(real)
        if 0 < (wide.blurred[row] > 50).mean() < 1
    ]
    maps = {
        "map_auc": float(np.mean(aucs or [0.5])),
        "map_accuracy": float(((answers > 0) == truth).sum() / max(1, truth.size)),
        "map_iou": float(((answers > 0) & truth).sum() / max(1, ((answers > 0) | truth).sum())),
    }
    return {
        "n": len(small),
        "kind": recalls,
        "balanced_accuracy": float(np.mean(list(recalls.values()))),
        "angle": float(np.median(miss)),
        "angle of lines": float(np.median(miss[line > 0.6])),
        "spearman": float(stats.spearmanr(strength[graded], small.strength_px[graded]).statistic),
        "relative_error": float(np.median(np.abs(strength / small.strength_px - 1)[graded])),
        "spread": float(np.quantile(off[small.label == 1], INSIDE)),
        **({} if not aucs else maps),
    }


def _run(net: ExplainerNet, gray: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    readings, maps = [], []
    with torch.inference_mode():
        for first in range(0, len(gray), 32):
            reading, places = net(torch.from_numpy(gray[first : first + 32])[:, None].float())
            readings.append(reading.numpy())
            maps.append(places.numpy())
    return np.concatenate(readings), np.concatenate(maps)


if __name__ == "__main__":
    main()
