"""Distil a net into trees, and measure how much of what the net adds they learn; print JSON.

    python models/make_net.py ../shared/data --work work --output net.blurgate     # optional: trains the nets
    python benchmarks/taught_trees.py ../shared/data --work work

The net of each fold predicts drawn pictures of the sources that it was trained on. Trees learn its probabilities, in
addition to the labelled pictures of the same sources. Both are evaluated on sources that neither has seen. For
comparison, trees also learn the drawn pictures' own labels, which separates the effect of the teacher from that of more
pictures, and there are runs with twice as many trees, taught and not. Shares are of the gap in mean ROC AUC between
trees and trees with net.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from blurgate import FeatureTable, load_model
from blurgate.judging.model import to_probability
from blurgate.judging.nets import Net
from blurgate.learning.boosters import tree_settings
from blurgate.measuring.features import DEFAULT_FEATURE_SET, has_texture
from blurgate.measuring.kernel import extract_features
from blurgate.threads import run_in_order
from models.held_out import (
    FOLDS,
    LEFT_OUT_SOURCES,
    Margins,
    MarginsByTable,
    Results,
    build_test_tables,
    combine,
    predict_folds,
    predict_trees,
)
from models.make_net import KIND, SHARDS, STEPS, train_folds
from models.pictures import SOURCES, draw_pictures
from models.sources import build_tables

TAUGHT_WEIGHTS = (1.0, 2.0, 4.0)  # of all drawn pictures together, relative to all labelled ones


def measure_shards(shards: Sequence[Path], work: Path) -> dict[str, NDArray[np.float32]]:
    """Measure drawn pictures, or load their saved features.

    Parameters
    ----------
    shards : sequence of Path
        See `models.pictures`.
    work : Path
        Folder for the features.

    Returns
    -------
    dict of str to ndarray
        ``features`` of shape (n_pictures, n_columns), ``label`` and ``source`` of shape (n_pictures,).
    """
    saved = work / f"drawn-{len(shards)}.npz"
    if not saved.exists():
        parts = []
        for path in shards:
            with np.load(path) as content:
                features = np.stack(list(run_in_order(extract_features, list(content["gray"]))))
                parts.append({"features": features, "label": content["label"], "source": content["source"]})
        whole: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        np.savez(saved, **whole)
    with np.load(saved) as content:
        return {name: content[name] for name in content.files}


def predict_drawn(onnx: Path, shards: Sequence[Path], sources: Sequence[str]) -> Margins:
    """Predict the drawn pictures of some sources with a net, or load the saved predictions.

    Parameters
    ----------
    onnx : Path
        The net; predictions are saved beside it.
    shards : sequence of Path
        See `models.pictures`.
    sources : sequence of str
        Names out of `models.pictures.SOURCES`.

    Returns
    -------
    ndarray of shape (n_pictures,), float64
        Log-odds of blurred; NaN for other sources.
    """
    saved = onnx.with_suffix(f".taught-{len(shards)}.npy")
    if not saved.exists():
        net, parts = Net(onnx.read_bytes()), []
        for path in shards:
            with np.load(path) as content:
                known = np.isin(content["source"], [SOURCES.index(source) for source in sources])
                log_odds = np.full(len(known), np.nan)
                log_odds[known] = [output[0] for output in run_in_order(net.predict, list(content["gray"][known]))]
                parts.append(log_odds)
        np.save(saved, np.concatenate(parts))
    margins: Margins = np.load(saved)
    return margins


def fit_trees(
    table: FeatureTable, drawn: NDArray[np.float32], targets: Margins, share: float, times: int = 1
) -> xgboost.Booster:
    """Fit trees to labelled pictures and to drawn ones.

    Parameters
    ----------
    table : FeatureTable
        Labelled pictures.
    drawn : ndarray of shape (n_drawn, n_columns), float32
        Features of drawn pictures.
    targets : ndarray of shape (n_drawn,)
        Their labels or probabilities, 0 to 1.
    share : float
        Weight of all drawn pictures together, relative to all labelled ones.
    times : int
        Number of trees, as a multiple of the shipped model's.

    Returns
    -------
    xgboost.Booster
    """
    parameters = dict(load_model("trees").card.parameters)
    weights = table.weights
    weights = np.concatenate([weights, np.full(len(targets), share * weights.sum() / max(1, len(targets)))])
    data = xgboost.QuantileDMatrix(
        np.concatenate([table.features, drawn]), np.concatenate([table.labels, targets]), weight=weights
    )
    return xgboost.train(tree_settings(parameters, 0) | {"nthread": 0}, data, times * parameters["n_estimators"])


def rank_sources(margins: MarginsByTable, tables: Mapping[str, FeatureTable]) -> Results:
    """Rank each source left out.

    Parameters
    ----------
    margins : mapping of str to ndarray of shape (n_photos,)
    tables : mapping of str to FeatureTable

    Returns
    -------
    dict of str to float
        ROC AUC by source, and their ``mean``.
    """
    ranks = {name: float(roc_auc_score(tables[name].labels, margins[name])) for name in LEFT_OUT_SOURCES}
    return ranks | {"mean": float(np.mean(list(ranks.values())))}


def distil(
    nets: Mapping[str, Path],
    shards: Sequence[Path],
    training: FeatureTable,
    drawn: Mapping[str, NDArray[Any]],
    tables: Mapping[str, FeatureTable],
) -> dict[str, dict[str, Margins]]:
    """Fit trees in several ways without each fold's sources, and predict these.

    Parameters
    ----------
    nets : mapping of str to Path
        Fold -> ONNX file.
    shards : sequence of Path
        See `models.pictures`.
    training : FeatureTable
        Labelled pictures of all sources.
    drawn : mapping of str to ndarray
        See `measure_shards`.
    tables : mapping of str to FeatureTable
        Pictures of the sources left out.

    Returns
    -------
    dict of str to dict of str to ndarray of shape (n_photos,), float64
        Way of fitting -> source -> margins.
    """
    textured, labelled = has_texture(drawn["features"], DEFAULT_FEATURE_SET), drawn["label"] >= 0
    margins: dict[str, dict[str, Margins]] = {}
    for fold, left_out in FOLDS.items():
        if not left_out:
            continue
        log_odds = predict_drawn(nets[fold], shards, [source for source in SOURCES if source not in left_out])
        known = np.isfinite(log_odds) & textured
        rows = training.take(np.flatnonzero(~np.isin(training.sources, left_out)))
        soft, hard = to_probability(log_odds[known]), drawn["label"][known & labelled].astype(float)
        ways = {f"taught, weight {share}": (known, soft, share, 1) for share in TAUGHT_WEIGHTS}
        ways["taught, weight 4.0, twice as many trees"] = (known, soft, 4.0, 2)
        ways["their own labels, weight 1.0"] = (known & labelled, hard, 1.0, 1)
        ways["not taught, twice as many trees"] = (np.zeros_like(known), hard[:0], 0.0, 2)
        for name, (chosen, targets, share, times) in ways.items():
            booster = fit_trees(rows, drawn["features"][chosen], targets, share, times)
            for source in left_out:
                predicted = booster.predict(xgboost.DMatrix(tables[source].features), output_margin=True)
                margins.setdefault(name, {})[source] = predicted.astype(np.float64)
    return margins


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    options = parser.parse_args()
    shards = draw_pictures(options.data / "train", options.work / "pictures", SHARDS)
    nets = train_folds(KIND, shards, STEPS, options.work)
    tables = build_test_tables(options.data, options.work)
    trees = predict_trees(options.data, options.work, tables)
    net = predict_folds(nets, tables)
    training = build_tables(options.data / "train", options.work).without_flat()
    distilled = distil(nets, shards, training, measure_shards(shards, options.work), tables)
    models = {"trees": trees, "net": net, "both": combine(trees, net, tables)}
    results: Results = {name: rank_sources(margins, tables) for name, margins in models.items()}
    gap = results["both"]["mean"] - results["trees"]["mean"]
    for name, margins in distilled.items():
        results[name] = rank_sources(margins, tables)
        results[name]["share of the gap"] = (results[name]["mean"] - results["trees"]["mean"]) / gap
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
