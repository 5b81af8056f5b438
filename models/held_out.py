"""Evaluates models on sources left out of their training: trains without them, predicts, weighs and measures."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from blurgate import FeatureTable, build_table
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
from models.sources import find_altered, find_crops, find_exposed, find_made
from models.workers import open_workers

Results = dict[str, Any]  # printed as JSON
CUHK = ("defocus_maps", "defocus_patches", "defocus_maps_exposed", "defocus_patches_exposed")
MADE = ("bsds500", "sun_hays80", "brackets", "unsplash", "print")
OPEN = ("unsplash", "print")  # sources whose terms allow commercial use
TEST_SOURCES = (*MADE, *CUHK)
ALTERED = tuple(f"{source}_altered" for source in (*MADE, "defocus_maps", "defocus_patches"))
LEFT_OUT_SOURCES = (*TEST_SOURCES, *ALTERED)  # tables; each is predicted by models that have not seen its source
# pictures as they were taken, neither altered nor as other cameras would have exposed them
CALIBRATED_ON = (*MADE, "defocus_maps", "defocus_patches")


@dataclass(frozen=True)
class Plan:
    """What a model is trained on, and how it is judged on sources that it has not seen.

    Parameters
    ----------
    sources : tuple of str
        Trained on, in the end.
    folds : mapping of str to tuple of str
        Name of a training -> the sources that it leaves out. It predicts those that no fold before it leaves out.
    """

    sources: tuple[str, ...]
    folds: Mapping[str, tuple[str, ...]]

    def trained_on(self, fold: str) -> tuple[str, ...]:
        """Name the sources of a fold, or of the final model, ``all``."""
        return tuple(source for source in self.sources if source not in self.folds.get(fold, ()))

    def left_out(self, fold: str) -> tuple[str, ...]:
        """Name the tables that the model of a fold predicts."""
        names = list(self.folds)
        before = {source for name in names[: names.index(fold)] for source in self.folds[name]}
        sources = set(self.folds[fold]) - before
        return tuple(name for name in LEFT_OUT_SOURCES if name.removesuffix("_altered") in sources)


NOT_OPEN = tuple(source for source in TEST_SOURCES if source not in OPEN)
PLANS = {
    "research": Plan(TEST_SOURCES, {"open": OPEN, "others": NOT_OPEN}),
    "open": Plan(OPEN, {"others": NOT_OPEN}),
}
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
    folders = {source: find_made(source, train, work, 0) for source in MADE}
    for real in (train / "defocus_patches", find_crops(train, work)):
        folders |= {real.name: real, f"{real.name}_exposed": find_exposed(real, work)}
    folders |= {name: find_altered(folders[name.removesuffix("_altered")], work) for name in ALTERED}
    folders |= {"exposures": data / "bench" / "exposures" / "images"}
    folders |= {"phone": data / "bench" / "phone", "receipts": data / "bench" / "receipts"}
    folders |= {"bench maps": data / "bench" / "defocus_maps" / "images"}
    folders |= {name: data / "probe" / name for name in ("grocery", "microscopy")}
    return {name: build_table(folder).without_flat() for name, folder in folders.items()}


def train_kind(
    kind: str, name: str, sources: Sequence[str], seed: int, *, shards: Sequence[Path], steps: int, work: Path
) -> Path:
    """Train a kind of net on some sources, unless its ONNX file exists.

    The training time and the number of weights are saved beside the ONNX file, as JSON.

    Parameters
    ----------
    kind : str
        A name out of `models.net_kinds.KINDS`.
    name : str
        Names the files.
    sources : sequence of str
        Names out of `models.pictures.SOURCES`; others are ignored.
    seed : int
    shards : sequence of Path
        Drawn pictures; see `models.pictures`.
    steps : int
        Number of batches.
    work : Path
        Folder for the files, checkpoint included.

    Returns
    -------
    Path
        The ONNX file.
    """
    stem = work / f"{kind}-{name}-{seed}"
    onnx, spent = stem.with_suffix(".onnx"), stem.with_suffix(".json")
    if not (onnx.exists() and spent.exists()):
        import torch

        from models.net_training import Shard, export_net, train_net

        torch.set_num_threads(1)
        chosen = [source for source in SOURCES if source in sources]
        read = lru_cache(maxsize=2)(lambda number: Shard.read(shards[number], chosen))
        net, cost = train_net(
            kind, lambda number: read(number % len(shards)), steps, seed=seed, checkpoint=stem.with_suffix(".pt")
        )
        export_net(net, onnx)
        spent.write_text(json.dumps(cost))
    return onnx


def train_folds(
    plan: Plan, kind: str, *, shards: Sequence[Path], steps: int, work: Path, seed: int = 0
) -> dict[str, Path]:
    """Train a kind of net on each fold of a plan and on all of its sources, in parallel, one per core.

    Parameters
    ----------
    plan : Plan
    kind : str
        A name out of `models.net_kinds.KINDS`.
    shards : sequence of Path
    steps : int
    work : Path
        Folder for the files; see `train_kind`.
    seed : int

    Returns
    -------
    dict of str to Path
        Fold, or ``all`` -> ONNX file. A fold that has the sources of another training has its file.
    """
    folder = work / f"{kind}-{len(shards)}-{steps}"
    folder.mkdir(parents=True, exist_ok=True)
    trained_on = {fold: plan.trained_on(fold) for fold in (*plan.folds, "all")}
    names = {sources: "-".join(find_initials(sources)) for sources in trained_on.values()}
    train = partial(train_kind, kind, seed=seed, shards=shards, steps=steps, work=folder)
    with open_workers() as pool:
        files = {sources: pool.submit(train, name, sources) for sources, name in names.items()}
        return {fold: files[sources].result() for fold, sources in trained_on.items()}


def find_initials(sources: Sequence[str]) -> list[str]:
    """Abbreviate sources to two letters each, in the order of `models.pictures.SOURCES`; name only what nets see."""
    return [source[:2] for source in SOURCES if source in sources]


def predict_net(onnx: Path, tables: Mapping[str, FeatureTable], names: Sequence[str]) -> dict[str, Margins]:
    """Predict the pictures of some tables with a net; load predictions that were saved beside it.

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
    net = Net(onnx.read_bytes())
    outputs = {}
    for name in names:
        saved = onnx.with_name(f"{net.name} {name}.npy")
        if not (saved.exists() and len(np.load(saved)) == len(tables[name])):
            photos = [tables[name].picture(row) for row in range(len(tables[name]))]
            np.save(saved, np.stack(list(run_in_order(partial(_predict_file, net), photos))))
        outputs[name] = np.load(saved)
    return outputs


def _predict_file(net: Net, path: Path) -> NDArray[np.float32]:
    return net.predict(read_plane(path, min_side=1, max_pixels=MAX_PIXELS).gray)


def predict_folds(plan: Plan, onnx: Mapping[str, Path], tables: Mapping[str, FeatureTable]) -> dict[str, Margins]:
    """Predict each source with the net of the fold that leaves it out, and ``bench`` and ``probe`` with the net of all.

    Parameters
    ----------
    plan : Plan
    onnx : mapping of str to Path
        Fold, or ``all`` -> ONNX file.
    tables : mapping of str to FeatureTable

    Returns
    -------
    dict of str to ndarray of shape (n_photos,), float64
        Log-odds of blurred.
    """
    margins: dict[str, Margins] = {}
    for fold, file in onnx.items():
        outputs = predict_net(file, tables, _predicted_by(plan, fold, tables))
        margins |= {name: output[:, 0].astype(np.float64) for name, output in outputs.items()}
    return margins


def _predicted_by(plan: Plan, fold: str, tables: Mapping[str, FeatureTable]) -> tuple[str, ...]:
    """Name the tables that a fold predicts; the model trained on all predicts what is no source."""
    if fold in plan.folds:
        return plan.left_out(fold)
    return tuple(name for name in tables if name not in LEFT_OUT_SOURCES)


def predict_trees(
    plan: Plan,
    training: FeatureTable,
    tables: Mapping[str, FeatureTable],
    parameters: Mapping[str, Any],
    folds: Sequence[str] = (),
) -> dict[str, Margins]:
    """Predict each source with trees of the fold that leaves it out, and ``bench`` and ``probe`` with those of all.

    Parameters
    ----------
    plan : Plan
    training : FeatureTable
        Of the plan's sources; see `models.sources.build_tables`.
    tables : mapping of str to FeatureTable
    parameters : mapping of str to object
        XGBoost parameters, including ``n_estimators``.
    folds : sequence of str, optional
        By default all of the plan, and ``all``.

    Returns
    -------
    dict of str to ndarray of shape (n_photos,), float64
        Margins of the tables that these folds predict.
    """
    training = add_turned(training)
    table = join_tables([training, *map(_label_all, tables.values())])
    ends = np.cumsum([len(training), *map(len, tables.values())])
    rows = {name: np.arange(*ends[place : place + 2]) for place, name in enumerate(tables)}
    splits = [
        Split(
            np.flatnonzero(np.isin(training.sources, plan.trained_on(fold))),
            np.concatenate([rows[name] for name in _predicted_by(plan, fold, tables)]),
        )
        for fold in folds or (*plan.folds, "all")
    ]
    margins = predict_left_out(table, splits, parameters, seed=0)
    return {name: margins[rows[name]] for name in rows if np.isfinite(margins[rows[name]]).all()}


def add_turned(table: FeatureTable) -> FeatureTable:
    """Add each picture turned by 90°, which swaps its horizontal and vertical columns.

    A band keeps its columns: nearly as many of its coefficients lie on one side of the diagonal as on the other.

    Parameters
    ----------
    table : FeatureTable
        Measured columns only.

    Returns
    -------
    FeatureTable
        Twice as long.
    """
    other = {"horizontal": "vertical", "vertical": "horizontal"}
    swapped = ["__".join(other.get(part, part) for part in column.split("__")) for column in table.columns]
    order = [table.columns.index(column) for column in swapped]
    return join_tables([table, replace(table, features=table.features[:, order])])


def _label_all(table: FeatureTable) -> FeatureTable:
    """Label the photos without a label, whose predictions need none, as sharp."""
    return replace(table, photos=tuple(replace(photo, label=photo.label or "sharp") for photo in table.photos))


def calibrated_on(*margins: MarginsByTable) -> list[str]:
    """Name the tables that calibration uses, of those that all of the models predicted without having seen them."""
    return [name for name in CALIBRATED_ON if all(name in each for each in margins)]


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
    families = np.concatenate([np.full(len(tables[name]), _family(name)) for name in calibrated_on(margins)])
    for name in (name for name in LEFT_OUT_SOURCES if name in margins):
        labels, others = tables[name].labels, families != _family(name)
        line = fit_calibration(left_out.labels[others], stacked[others], weights[others])
        probabilities = to_probability(line[0] * margins[name] + line[1])
        results["left out"][name] = {
            "n": len(labels),
            "roc_auc": float(roc_auc_score(labels, margins[name])),
            "laplacian": float(roc_auc_score(labels, -tables[name].variance_of_laplacian)),
            "ece": score_calibration(labels, probabilities)["ece"],
            "accuracy": float(((probabilities >= threshold) == labels).mean()),
        }
    aucs = {name: figures["roc_auc"] for name, figures in results["left out"].items()}
    results["mean"] = float(np.mean([aucs[name] for name in TEST_SOURCES if name in aucs]))
    results["worst"] = min(aucs[name] for name in TEST_SOURCES if name in aucs)
    results["mean of altered"] = float(np.mean([aucs[name] for name in ALTERED if name in aucs]))
    results["darkest quarter of brackets"] = _evaluate_dark(margins["brackets"], tables["brackets"])
    maps, map_margins = tables["defocus_maps"], margins["defocus_maps"]
    whole = np.asarray([photo.path.endswith("_whole.png") for photo in maps.photos])
    probabilities = to_probability(slope * map_margins + intercept)
    results["left out"]["defocus_maps"]["crops"] = float(roc_auc_score(maps.labels[~whole], map_margins[~whole]))
    results["left out"]["defocus_maps"]["whole flagged"] = float((probabilities[whole] >= threshold).mean())
    return results | (_evaluate_bench(margins, tables, slope, intercept, threshold) if "phone" in margins else {})


def _evaluate_dark(margins: Margins, table: FeatureTable) -> float:
    """Rank the darkest quarter of the pictures, by their mean luma."""
    luma = np.asarray([read_gray(table.picture(row), min_side=1).mean() for row in range(len(table))])
    dark = luma <= np.quantile(luma, 0.25)
    return float(roc_auc_score(table.labels[dark], margins[dark]))


def _join_left_out(margins: MarginsByTable, tables: Mapping[str, FeatureTable]) -> tuple[FeatureTable, Margins]:
    """Join the tables that calibration uses, and their margins."""
    names = calibrated_on(margins)
    return join_tables([tables[name] for name in names]), np.concatenate([margins[name] for name in names])


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
    for name in ("bench maps", "exposures", "grocery", "microscopy"):
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
    names = calibrated_on(*margins)
    left_out = join_tables([tables[name] for name in names])
    columns = np.stack([np.concatenate([model[name] for name in names]) for model in margins], axis=1)
    weights = left_out.even_weights
    if columns.shape[1] == 1:
        slope, intercept = fit_calibration(left_out.labels, columns[:, 0], weights)
        return [slope], intercept
    line = LogisticRegression(C=1e6).fit(columns, left_out.labels, sample_weight=weights)
    return [float(slope) for slope in line.coef_[0]], float(line.intercept_[0])


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
