"""Judges the models on sources that they have not learnt from: trains without them, predicts, weighs, measures."""

import json
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from blurgate import BlurModel, FeatureTable, build_table, load_model
from blurgate.judging.model import to_probability
from blurgate.judging.nets import Net
from blurgate.learning.boosters import predict_left_out
from blurgate.learning.calibration import choose_threshold, fit_calibration
from blurgate.learning.metrics import score_calibration
from blurgate.learning.splits import Split
from blurgate.learning.table import join_tables
from blurgate.measuring.features import DEFAULT_FEATURE_SET, FEATURE_SETS
from blurgate.photos.images import read_gray
from blurgate.threads import run_in_order
from models.pictures import SOURCES
from models.sources import build_tables, find_crops, find_exposed, find_made
from models.workers import open_workers

Results = dict[str, Any]  # JSON holds it
FOLDS: dict[str, tuple[str, ...]] = {  # what is left out
    "real": ("bsds500", "defocus_maps", "defocus_patches", "defocus_maps_exposed", "defocus_patches_exposed"),
    "made": ("unsplash", "sun_hays80"),
    "all": (),
}
JUDGED = tuple(source for sources in FOLDS.values() for source in sources)
CALIBRATED_ON = tuple(source for source in JUDGED if not source.endswith("_exposed"))  # pictures as they were taken
MAX_PIXELS = FEATURE_SETS[DEFAULT_FEATURE_SET].max_pixels
Margins = NDArray[Any]  # floats
Said = Mapping[str, Margins]  # of each table's rows


def open_judges(data: Path, work: Path) -> dict[str, FeatureTable]:
    """Measure what judges: each source's pictures, by the first of its cameras, and the sets of ``bench``."""
    train = data / "train"
    folders = {name: find_made(train / "sharp" / name, work, 0) for name in ("bsds500", "unsplash", "sun_hays80")}
    for real in (train / "defocus_patches", find_crops(train, work)):
        folders |= {folder.name: folder for folder in (real, find_exposed(real, work))}
    folders |= {"phone": data / "bench" / "phone", "receipts": data / "bench" / "receipts"}
    folders |= {"bench maps": data / "bench" / "defocus_maps" / "images"}
    folders |= {name: data / "probe" / name for name in ("grocery", "microscopy")}
    return {name: build_table(folder).without_flat() for name, folder in folders.items()}


def train_kind(
    kind: str, fold: str, seed: int, *, shards: Sequence[Path], steps: int, work: Path, dark: bool = False
) -> Path:
    """Train a kind without a fold's sources; -> its ONNX file; beside it the seconds that it took, and its weights."""
    import torch

    from models.net_training import Shard, export_net, train_net

    torch.set_num_threads(1)
    name = work / f"{kind}-{fold}-{seed}"
    onnx, spent = name.with_suffix(".onnx"), name.with_suffix(".json")
    if not (onnx.exists() and spent.exists()):
        sources = [source for source in SOURCES if source not in FOLDS[fold]]
        read = lru_cache(maxsize=2)(lambda number: Shard.read(shards[number], sources))
        net, cost = train_net(
            kind,
            lambda number: read(number % len(shards)),
            steps,
            seed=seed,
            dark=dark,
            checkpoint=name.with_suffix(".pt"),
        )
        export_net(net, onnx)
        spent.write_text(json.dumps(cost))
    return onnx


def train_all(
    chosen: Sequence[tuple[str, str, int]], *, shards: Sequence[Path], steps: int, work: Path, dark: bool = False
) -> dict[tuple[str, str, int], Path]:
    """Train kinds, each without a fold's sources, from a seed, on a core of its own; -> their ONNX files."""
    train = partial(train_kind, shards=shards, steps=steps, work=work, dark=dark)
    with open_workers() as pool:
        return dict(zip(chosen, pool.map(train, *zip(*chosen, strict=True)), strict=True))


def ask_net(onnx: Path, tables: Mapping[str, FeatureTable], names: Sequence[str]) -> dict[str, Margins]:
    """Ask a net about the pictures of some tables; what it said is kept beside it."""
    kept = onnx.with_suffix(".npz")
    if not kept.exists():
        net = Net(onnx.read_bytes())
        said: dict[str, Any] = {}
        for name in names:
            table = tables[name]
            photos = [table.picture(row) for row in range(len(table))]
            said[name] = np.stack(
                list(run_in_order(lambda path: net.predict(read_gray(path, max_pixels=MAX_PIXELS)), photos))
            )
        np.savez(kept, **said)
    with np.load(kept) as content:
        return {name: content[name] for name in content.files}


def ask_folds(onnx: Mapping[str, Path], tables: Mapping[str, FeatureTable]) -> dict[str, Margins]:
    """Ask the net of each fold about what it has not seen, and the one of all sources about the rest; -> log-odds."""
    said: dict[str, Margins] = {}
    for fold, file in onnx.items():
        left_out = FOLDS[fold]
        answers = ask_net(file, tables, left_out or [name for name in tables if name not in JUDGED])
        said |= {name: answer[:, 0].astype(np.float64) for name, answer in answers.items()}
    return said


def ask_trees(data: Path, work: Path, tables: Mapping[str, FeatureTable]) -> dict[str, Margins]:
    """Train trees on each fold, and ask them about what it leaves out; the model that ships about the rest."""
    kept = work / "nets" / "trees.npz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        default = load_model()
        training = build_tables(data / "train", work).without_flat()
        table = join_tables([training, *(tables[name] for name in JUDGED)])
        ends = np.cumsum([len(training), *(len(tables[name]) for name in JUDGED)])
        rows = {name: np.arange(*ends[place : place + 2]) for place, name in enumerate(JUDGED)}
        folds = [
            Split(
                np.flatnonzero(~np.isin(training.sources, left_out)), np.concatenate([rows[name] for name in left_out])
            )
            for left_out in FOLDS.values()
            if left_out
        ]
        margins = predict_left_out(table, folds, dict(default.card.parameters), seed=0)
        said: dict[str, Any] = {name: margins[rows[name]] for name in JUDGED}
        said |= {name: _margins(default, tables[name]) for name in tables if name not in JUDGED}
        np.savez(kept, **said)
    with np.load(kept) as content:
        return {name: content[name] for name in content.files}


def _margins(model: BlurModel, table: FeatureTable) -> Margins:
    """Undo the calibration of trees."""
    return (model.log_odds(table.features) - model.card.intercept) / model.card.slope


def judge(said: Said, tables: Mapping[str, FeatureTable]) -> Results:
    """Measure margins: on the sources left out as they are, on ``bench`` and ``probe`` as those calibrate them."""
    left_out = join_tables([tables[name] for name in CALIBRATED_ON])
    margins = np.concatenate([said[name] for name in CALIBRATED_ON])
    weights = left_out.even_weights
    families = np.asarray([source.split("_")[0] for source in left_out.sources])  # all of the CUHK set share scenes
    slope, intercept = fit_calibration(left_out.labels, margins, weights)
    threshold = choose_threshold(left_out.labels, to_probability(slope * margins + intercept), weights)
    numbers: Results = {"left out": {}, "slope": slope, "intercept": intercept, "threshold": threshold}
    for name in JUDGED:
        there = families != name.split("_")[0]
        line = fit_calibration(left_out.labels[there], margins[there], weights[there])
        probabilities = to_probability(line[0] * said[name] + line[1])
        numbers["left out"][name] = {
            "roc_auc": float(roc_auc_score(tables[name].labels, said[name])),
            "ece": score_calibration(tables[name].labels, probabilities)["ece"],
        }
    numbers["mean"] = float(np.mean([one["roc_auc"] for one in numbers["left out"].values()]))
    whole = np.asarray([photo.path.endswith("_whole.png") for photo in tables["defocus_maps"].photos])
    maps, patches = tables["defocus_maps"], to_probability(slope * said["defocus_maps"] + intercept)
    numbers["left out"]["defocus_maps"]["crops"] = float(
        roc_auc_score(maps.labels[~whole], said["defocus_maps"][~whole])
    )
    numbers["left out"]["defocus_maps"]["whole flagged"] = float((patches[whole] >= threshold).mean())
    return numbers | (_judge_bench(said, tables, slope, intercept, threshold) if "phone" in said else {})


def _judge_bench(
    said: Said, tables: Mapping[str, FeatureTable], slope: float, intercept: float, threshold: float
) -> Results:
    numbers: Results = {}
    for name in ("phone", "receipts"):
        table, probabilities = tables[name], to_probability(slope * said[name] + intercept)
        labels, tiers = table.labels, table.column("tier")
        found = {
            "roc_auc": float(roc_auc_score(labels, said[name])),
            "accuracy": float(((probabilities >= threshold) == labels).mean()),
            "ece": score_calibration(labels, probabilities)["ece"],
        }
        hard = (labels == 1) | (tiers == "hard_exposure")
        if (tiers == "hard_exposure").any():
            found["roc_auc of hard_exposure"] = float(roc_auc_score(labels[hard], said[name][hard]))
        numbers[name] = found
    for name in ("bench maps", "grocery", "microscopy"):
        probabilities = to_probability(slope * said[name] + intercept)
        numbers[name] = {"flagged": int((probabilities >= threshold).sum()), "n": len(probabilities)}
    return numbers


def weigh(margins: Sequence[Said], tables: Mapping[str, FeatureTable]) -> tuple[list[float], float]:
    """Weigh margins as logistic regression on the sources left out does; -> a slope for each, and the intercept."""
    left_out = join_tables([tables[name] for name in CALIBRATED_ON])
    columns = np.stack([np.concatenate([said[name] for name in CALIBRATED_ON]) for said in margins], axis=1)
    weights = left_out.even_weights
    if columns.shape[1] == 1:
        slope, intercept = fit_calibration(left_out.labels, columns[:, 0], weights)
        return [slope], intercept
    line = LogisticRegression(C=1e6).fit(columns, left_out.labels, sample_weight=weights)
    return [float(slope) for slope in line.coef_[0]], float(line.intercept_[0])


def combine(first: Said, second: Said, tables: Mapping[str, FeatureTable]) -> dict[str, Margins]:
    """Add two margins up, each weighed; see `weigh`."""
    (slope, other), _ = weigh([first, second], tables)
    return {name: slope * first[name] + other * second[name] for name in first if name in second}


def time_net(onnx: Path, *, rounds: int = 7) -> float:
    """Megapixels a second on one core, of a 1080p photo that is in memory; it is looked at halved."""
    net, gray = Net(onnx.read_bytes()), np.random.default_rng(0).integers(0, 256, (1080, 1920), dtype=np.uint8)
    net.check()
    laps = []
    for _ in range(rounds):
        began = time.perf_counter()
        net.predict(read_gray(gray, max_pixels=MAX_PIXELS))
        laps.append(time.perf_counter() - began)
    return gray.size / 1e6 / float(np.median(laps))
