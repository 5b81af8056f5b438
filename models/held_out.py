"""Evaluates models on sources left out of their training: trains without them, predicts, weighs and measures."""

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
from blurgate.photos.images import read_gray, read_plane
from blurgate.threads import run_in_order
from models.pictures import SOURCES
from models.sources import build_tables, find_crops, find_exposed, find_made
from models.workers import open_workers

Results = dict[str, Any]  # printed as JSON
FOLDS: dict[str, tuple[str, ...]] = {  # fold -> sources left out
    "real": ("bsds500", "defocus_maps", "defocus_patches", "defocus_maps_exposed", "defocus_patches_exposed"),
    "made": ("unsplash", "sun_hays80"),
    "all": (),
}
LEFT_OUT_SOURCES = tuple(source for sources in FOLDS.values() for source in sources)
# pictures as they were taken, not as other cameras would have exposed them
CALIBRATED_ON = tuple(source for source in LEFT_OUT_SOURCES if not source.endswith("_exposed"))
MAX_PIXELS = FEATURE_SETS[DEFAULT_FEATURE_SET].max_pixels
Margins = NDArray[Any]  # floats
MarginsByTable = Mapping[str, Margins]  # name of a table -> a margin per row


def build_test_tables(data: Path, work: Path) -> dict[str, FeatureTable]:
    """Measure the test sets: the pictures of each source, by the first of its cameras, and ``bench`` and ``probe``.

    Parameters
    ----------
    data : Path
        Folder with ``train``, ``bench`` and ``probe``.
    work : Path
        Folder for pictures; missing ones are made.

    Returns
    -------
    dict of str to FeatureTable
        Without photos that show too little texture.
    """
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
    """Train a kind of net without the sources of a fold, unless its ONNX file exists.

    The training time and the number of weights are saved beside the ONNX file, as JSON.

    Parameters
    ----------
    kind : str
        A name out of `models.net_kinds.KINDS`.
    fold : str
        A name out of `FOLDS`.
    seed : int
    shards : sequence of Path
        Drawn pictures; see `models.pictures`.
    steps : int
        Number of batches.
    work : Path
        Folder for the files, checkpoint included.
    dark : bool
        See `models.net_training.train_net`.

    Returns
    -------
    Path
        The ONNX file.
    """
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
    """Train several nets in parallel, one per core; see `train_kind`.

    Parameters
    ----------
    chosen : sequence of (str, str, int)
        Kind, fold and seed of each net.
    shards : sequence of Path
    steps : int
    work : Path
    dark : bool

    Returns
    -------
    dict of (str, str, int) to Path
        The ONNX file of each net.
    """
    train = partial(train_kind, shards=shards, steps=steps, work=work, dark=dark)
    with open_workers() as pool:
        return dict(zip(chosen, pool.map(train, *zip(*chosen, strict=True)), strict=True))


def predict_net(onnx: Path, tables: Mapping[str, FeatureTable], names: Sequence[str]) -> dict[str, Margins]:
    """Predict the pictures of some tables with a net; load the predictions if they were saved beside it.

    Parameters
    ----------
    onnx : Path
    tables : mapping of str to FeatureTable
    names : sequence of str
        Tables to predict.

    Returns
    -------
    dict of str to ndarray of shape (n_photos, 2), float32
        `blurgate.judging.inputs.NET_OUTPUTS` of each row.
    """
    saved = onnx.with_suffix(".npz")
    if not saved.exists():
        net = Net(onnx.read_bytes())
        outputs: dict[str, Any] = {}
        for name in names:
            table = tables[name]
            photos = [table.picture(row) for row in range(len(table))]
            outputs[name] = np.stack(
                list(run_in_order(lambda path: net.predict(read_plane(path, max_pixels=MAX_PIXELS).gray), photos))
            )
        np.savez(saved, **outputs)
    with np.load(saved) as content:
        return {name: content[name] for name in content.files}


def predict_folds(onnx: Mapping[str, Path], tables: Mapping[str, FeatureTable]) -> dict[str, Margins]:
    """Predict each source with the net of the fold that leaves it out, and all other tables with the net of all.

    Parameters
    ----------
    onnx : mapping of str to Path
        Fold -> ONNX file.
    tables : mapping of str to FeatureTable

    Returns
    -------
    dict of str to ndarray of shape (n_photos,), float64
        Log-odds of blurred.
    """
    margins: dict[str, Margins] = {}
    for fold, file in onnx.items():
        left_out = FOLDS[fold]
        outputs = predict_net(file, tables, left_out or [name for name in tables if name not in LEFT_OUT_SOURCES])
        margins |= {name: output[:, 0].astype(np.float64) for name, output in outputs.items()}
    return margins


def predict_trees(data: Path, work: Path, tables: Mapping[str, FeatureTable]) -> dict[str, Margins]:
    """Predict each source with trees trained without it, and all other tables with the shipped trees.

    Parameters
    ----------
    data : Path
        Folder with ``train``.
    work : Path
        Folder for pictures and predictions; saved predictions are loaded.
    tables : mapping of str to FeatureTable

    Returns
    -------
    dict of str to ndarray of shape (n_photos,), float64
        Margins.
    """
    saved = work / "nets" / "trees.npz"
    if not saved.exists():
        saved.parent.mkdir(parents=True, exist_ok=True)
        default = load_model()
        margins: dict[str, Any] = _predict_left_out(build_tables(data / "train", work).without_flat(), default, tables)
        margins |= {name: _margins(default, tables[name]) for name in tables if name not in LEFT_OUT_SOURCES}
        np.savez(saved, **margins)
    with np.load(saved) as content:
        return {name: content[name] for name in content.files}


def _predict_left_out(
    training: FeatureTable, default: BlurModel, tables: Mapping[str, FeatureTable]
) -> dict[str, Margins]:
    """Predict the sources left out with trees that have the settings of the shipped ones."""
    table = join_tables([training, *(tables[name] for name in LEFT_OUT_SOURCES)])
    ends = np.cumsum([len(training), *(len(tables[name]) for name in LEFT_OUT_SOURCES)])
    rows = {name: np.arange(*ends[place : place + 2]) for place, name in enumerate(LEFT_OUT_SOURCES)}
    folds = [
        Split(np.flatnonzero(~np.isin(training.sources, left_out)), np.concatenate([rows[name] for name in left_out]))
        for left_out in FOLDS.values()
        if left_out
    ]
    margins = predict_left_out(table, folds, dict(default.card.parameters), seed=0)
    return {name: margins[rows[name]] for name in LEFT_OUT_SOURCES}


def _margins(model: BlurModel, table: FeatureTable) -> Margins:
    """Undo the calibration of trees."""
    return (model.log_odds(table.features) - model.card.intercept) / model.card.slope


def evaluate_margins(margins: MarginsByTable, tables: Mapping[str, FeatureTable]) -> Results:
    """Calibrate margins on the sources left out, and measure them on these and on ``bench`` and ``probe``.

    The calibration error of a source left out is that of a calibration on the other sources.

    Parameters
    ----------
    margins : mapping of str to ndarray of shape (n_photos,)
        Without the sets of ``bench``, these and ``probe`` are not measured.
    tables : mapping of str to FeatureTable

    Returns
    -------
    dict
    """
    left_out, stacked = _join_left_out(margins, tables)
    weights = left_out.even_weights
    slope, intercept = fit_calibration(left_out.labels, stacked, weights)
    threshold = choose_threshold(left_out.labels, to_probability(slope * stacked + intercept), weights)
    results: Results = {"left out": {}, "slope": slope, "intercept": intercept, "threshold": threshold}
    families = np.asarray([_family(source) for source in left_out.sources])
    for name in LEFT_OUT_SOURCES:
        others = families != _family(name)
        line = fit_calibration(left_out.labels[others], stacked[others], weights[others])
        probabilities = to_probability(line[0] * margins[name] + line[1])
        results["left out"][name] = {
            "roc_auc": float(roc_auc_score(tables[name].labels, margins[name])),
            "ece": score_calibration(tables[name].labels, probabilities)["ece"],
        }
    results["mean"] = float(np.mean([figures["roc_auc"] for figures in results["left out"].values()]))
    maps, map_margins = tables["defocus_maps"], margins["defocus_maps"]
    whole = np.asarray([photo.path.endswith("_whole.png") for photo in maps.photos])
    probabilities = to_probability(slope * map_margins + intercept)
    results["left out"]["defocus_maps"]["crops"] = float(roc_auc_score(maps.labels[~whole], map_margins[~whole]))
    results["left out"]["defocus_maps"]["whole flagged"] = float((probabilities[whole] >= threshold).mean())
    return results | (_evaluate_bench(margins, tables, slope, intercept, threshold) if "phone" in margins else {})


def _join_left_out(margins: MarginsByTable, tables: Mapping[str, FeatureTable]) -> tuple[FeatureTable, Margins]:
    """Join the tables that calibration uses, and their margins."""
    left_out = join_tables([tables[name] for name in CALIBRATED_ON])
    return left_out, np.concatenate([margins[name] for name in CALIBRATED_ON])


def _family(source: str) -> str:
    """Name the group of a source; sources of a group share scenes, as all of the CUHK set do."""
    return source.split("_", maxsplit=1)[0]


def _evaluate_bench(
    margins: MarginsByTable, tables: Mapping[str, FeatureTable], slope: float, intercept: float, threshold: float
) -> Results:
    results: Results = {}
    for name in ("phone", "receipts"):
        table, probabilities = tables[name], to_probability(slope * margins[name] + intercept)
        labels, tiers = table.labels, table.column("tier")
        figures = {
            "roc_auc": float(roc_auc_score(labels, margins[name])),
            "accuracy": float(((probabilities >= threshold) == labels).mean()),
            "ece": score_calibration(labels, probabilities)["ece"],
        }
        hard = (labels == 1) | (tiers == "hard_exposure")
        if (tiers == "hard_exposure").any():
            figures["roc_auc of hard_exposure"] = float(roc_auc_score(labels[hard], margins[name][hard]))
        results[name] = figures
    for name in ("bench maps", "grocery", "microscopy"):
        probabilities = to_probability(slope * margins[name] + intercept)
        results[name] = {"flagged": int((probabilities >= threshold).sum()), "n": len(probabilities)}
    return results


def weigh(margins: Sequence[MarginsByTable], tables: Mapping[str, FeatureTable]) -> tuple[list[float], float]:
    """Weigh the margins of one or more models by logistic regression on the sources left out.

    Parameters
    ----------
    margins : sequence of mapping of str to ndarray of shape (n_photos,)
        One mapping per model.
    tables : mapping of str to FeatureTable

    Returns
    -------
    slopes : list of float
        One per model.
    intercept : float
    """
    left_out = join_tables([tables[name] for name in CALIBRATED_ON])
    columns = np.stack([np.concatenate([model[name] for name in CALIBRATED_ON]) for model in margins], axis=1)
    weights = left_out.even_weights
    if columns.shape[1] == 1:
        slope, intercept = fit_calibration(left_out.labels, columns[:, 0], weights)
        return [slope], intercept
    line = LogisticRegression(C=1e6).fit(columns, left_out.labels, sample_weight=weights)
    return [float(slope) for slope in line.coef_[0]], float(line.intercept_[0])


def combine(first: MarginsByTable, second: MarginsByTable, tables: Mapping[str, FeatureTable]) -> dict[str, Margins]:
    """Add the margins of two models, each weighed; see `weigh`.

    Parameters
    ----------
    first, second : mapping of str to ndarray of shape (n_photos,)
    tables : mapping of str to FeatureTable

    Returns
    -------
    dict of str to ndarray of shape (n_photos,)
        Of the tables that are in both.
    """
    (first_slope, second_slope), _ = weigh([first, second], tables)
    return {name: first_slope * first[name] + second_slope * second[name] for name in first if name in second}


def time_net(onnx: Path, *, rounds: int = 7) -> float:
    """Time a net on a 1080p photo in memory, which it reads halved.

    Parameters
    ----------
    onnx : Path
    rounds : int
        At least 1; the median counts.

    Returns
    -------
    float
        Megapixels per second on one core.
    """
    net, gray = Net(onnx.read_bytes()), np.random.default_rng(0).integers(0, 256, (1080, 1920), dtype=np.uint8)
    net.check()
    laps = []
    for _ in range(rounds):
        began = time.perf_counter()
        net.predict(read_gray(gray, max_pixels=MAX_PIXELS))
        laps.append(time.perf_counter() - began)
    return gray.size / 1e6 / float(np.median(laps))
