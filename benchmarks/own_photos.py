"""See from how many labelled photos on it pays to calibrate, and to add trees; print JSON.

    python benchmarks/own_photos.py ../shared/data/train --work work > own_photos.json

Each source is left out of training in turn and plays the user: photos of half its scenes are labelled, the other half
judges. For each number of photos it gives the mean accuracy and log loss of some draws: of the model as it was, with
the line fitted, and with trees added. The trees have the settings of the model that ships.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import log_loss

from accuracy import fit_like_the_default
from blurgate import FeatureTable, load_model
from blurgate.calibration import fit_own
from blurgate.evaluation import Numbers
from blurgate.model import BlurModel
from default_model import build_tables

COUNTS = (20, 50, 100, 200, 400)
DRAWS = 8


def judge(model: BlurModel, table: FeatureTable) -> tuple[float, float]:
    """Measure accuracy at even odds and log loss."""
    said = model.predict_features(table.features).probability
    return float(((said >= 0.5) == table.labels).mean()), float(log_loss(table.labels, said, labels=[0, 1]))


def play_user(model: BlurModel, table: FeatureTable) -> dict[str, Numbers]:
    """Calibrate with more and more of one source's photos."""
    scenes = table.column("scene")
    results = {}
    for count in COUNTS:
        measured = []
        for draw in range(DRAWS):
            rng = np.random.default_rng(draw)
            names = rng.permutation(np.unique(scenes))
            mine = np.isin(scenes, names[: len(names) // 2])
            if mine.sum() < count:
                continue
            own = table.take(rng.choice(np.flatnonzero(mine), count, replace=False))
            others = table.take(np.flatnonzero(~mine))
            models = [model, fit_own(model, own, seed=0, refit=False), fit_own(model, own, seed=0, refit=True)]
            measured.append([judge(one, others) for one in models])
        if measured:
            mean = np.mean(measured, axis=0)
            results[str(count)] = {
                name: {"accuracy": round(float(row[0]), 4), "log_loss": round(float(row[1]), 4)}
                for name, row in zip(("as it was", "line fitted", "trees added"), mean, strict=True)
            }
    return results


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    table, default = build_tables(options.data, options.work).without_flat(), load_model()
    results = {}
    for source in sorted(set(table.sources)):
        print(source, file=sys.stderr, flush=True)
        out = table.sources == source
        shared = np.isin(table.column("scene"), table.column("scene")[out])
        model = fit_like_the_default(table.take(np.flatnonzero(~shared)), default)
        results[str(source)] = play_user(model, table.take(np.flatnonzero(out)))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
