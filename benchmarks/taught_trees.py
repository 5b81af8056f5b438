"""Teach trees by a net, and see how much of what the net adds they learn; print JSON.

    python models/make_net.py ../shared/data --work work --output net.blurgate     # else the nets are trained now
    python benchmarks/taught_trees.py ../shared/data --work work

The nets of each fold say of drawn pictures, of sources that they were trained on, how probably these are blurred; the
trees learn that, beside the labelled pictures of the same sources that they learn anyway. What judges them are sources
that neither has seen. Beside them are trees that learn the drawn pictures' own labels, so that one can tell what the
teacher adds from what more pictures add, and twice as many trees, taught and not. Shares are of the gap in mean ROC
AUC between trees and the two together.
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
from models.held_out import FOLDS, JUDGED, Margins, Said, ask_folds, ask_trees, combine, open_judges
from models.make_net import KIND, SHARDS, STEPS, train_folds
from models.pictures import SOURCES, draw_pictures
from models.sources import build_tables

Results = dict[str, Any]  # JSON holds it
TAUGHT_WEIGHTS = (1.0, 2.0, 4.0)  # of all drawn pictures together, against that of all labelled ones


def measure_shards(shards: Sequence[Path], work: Path) -> dict[str, NDArray[np.float32]]:
    """Measure drawn pictures; -> their features, labels and sources."""
    kept = work / f"drawn-{len(shards)}.npz"
    if not kept.exists():
        parts = []
        for path in shards:
            with np.load(path) as content:
                features = np.stack(list(run_in_order(extract_features, list(content["gray"]))))
                parts.append({"features": features, "label": content["label"], "source": content["source"]})
        whole: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        np.savez(kept, **whole)
    with np.load(kept) as found:
        return {name: found[name] for name in found.files}


def ask_teacher(onnx: Path, shards: Sequence[Path], sources: Sequence[str]) -> Margins:
    """Ask a net about the drawn pictures of its sources; not a number for the others. What it said is kept."""
    kept = onnx.with_suffix(f".taught-{len(shards)}.npy")
    if not kept.exists():
        net, parts = Net(onnx.read_bytes()), []
        for path in shards:
            with np.load(path) as content:
                known = np.isin(content["source"], [SOURCES.index(source) for source in sources])
                said = np.full(len(known), np.nan)
                said[known] = [answer[0] for answer in run_in_order(net.predict, list(content["gray"][known]))]
                parts.append(said)
        np.save(kept, np.concatenate(parts))
    answers: Margins = np.load(kept)
    return answers


def teach(
    table: FeatureTable, drawn: NDArray[np.float32], said: Margins, share: float, times: int = 1
) -> xgboost.Booster:
    """Train trees on labelled pictures and on drawn ones with soft labels; so many `times` as many as ship."""
    parameters = dict(load_model().card.parameters)
    weights = table.weights
    weights = np.concatenate([weights, np.full(len(said), share * weights.sum() / max(1, len(said)))])
    data = xgboost.QuantileDMatrix(
        np.concatenate([table.features, drawn]), np.concatenate([table.labels, said]), weight=weights
    )
    return xgboost.train(tree_settings(parameters, 0) | {"nthread": 0}, data, times * parameters["n_estimators"])


def measure(said: Said, tables: Mapping[str, FeatureTable]) -> Results:
    """Rank each source left out; and their mean."""
    ranks = {name: float(roc_auc_score(tables[name].labels, said[name])) for name in JUDGED}
    return ranks | {"mean": float(np.mean(list(ranks.values())))}


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    options = parser.parse_args()
    shards = draw_pictures(options.data / "train", options.work / "pictures", SHARDS)
    nets = train_folds(KIND, shards, STEPS, options.work)
    tables = open_judges(options.data, options.work)
    trees = ask_trees(options.data, options.work, tables)
    net = ask_folds(nets, tables)
    training = build_tables(options.data / "train", options.work).without_flat()
    drawn = measure_shards(shards, options.work)
    textured, labelled = has_texture(drawn["features"], DEFAULT_FEATURE_SET), drawn["label"] >= 0
    said: dict[str, dict[str, Margins]] = {}
    for fold, left_out in FOLDS.items():
        if not left_out:
            continue
        answers = ask_teacher(nets[fold], shards, [source for source in SOURCES if source not in left_out])
        known = np.isfinite(answers) & textured
        rows = training.take(np.flatnonzero(~np.isin(training.sources, left_out)))
        soft, hard = to_probability(answers[known]), drawn["label"][known & labelled].astype(float)
        lessons = {f"taught, weight {share}": (known, soft, share, 1) for share in TAUGHT_WEIGHTS}
        lessons["taught, weight 4.0, twice as many trees"] = (known, soft, 4.0, 2)
        lessons["their own labels, weight 1.0"] = (known & labelled, hard, 1.0, 1)
        lessons["not taught, twice as many trees"] = (np.zeros_like(known), hard[:0], 0.0, 2)
        for name, (chosen, labels, share, times) in lessons.items():
            booster = teach(rows, drawn["features"][chosen], labels, share, times)
            for source in left_out:
                margins = booster.predict(xgboost.DMatrix(tables[source].features), output_margin=True)
                said.setdefault(name, {})[source] = margins.astype(np.float64)
    both = combine(trees, net, tables)
    results: Results = {name: measure(one, tables) for name, one in (("trees", trees), ("net", net), ("both", both))}
    for name, margins in said.items():
        results[name] = measure(margins, tables)
        gap = results["both"]["mean"] - results["trees"]["mean"]
        results[name]["share of the gap"] = (results[name]["mean"] - results["trees"]["mean"]) / gap
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
