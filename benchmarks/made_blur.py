"""Train on each folder of sharp photos with each recipe, as ``blurgate train`` does; print the results as JSON.

    python benchmarks/made_blur.py ../shared/data/train > made_blur.json

The argument is a folder with ``sharp/bsds500`` and ``eyes``. The results include the ROC AUC for each third of the test
scenes, from the softest originals to the sharpest (by the variance of the Laplacian of the original file): the label
``sharp`` means little if the original is soft itself.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from blurgate import BlurModel, FeatureTable, load_sources, read_gray, train
from blurgate.learning.metrics import score_ranking
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.finding import find_photos

RUNS = [("sharp/bsds500", "classic"), ("sharp/bsds500", "camera"), ("eyes", "classic"), ("eyes", "camera")]
KEPT = ("n", "n_scenes", "roc_auc", "roc_auc_interval", "accuracy", "recall", "precision", "ece", "confusion_matrix")


def measure_by_softness(model: BlurModel, test: FeatureTable, photos: Path) -> list[dict[str, Any]]:
    """Rank each third of the test scenes separately, the softest originals first.

    Parameters
    ----------
    model : BlurModel
    test : FeatureTable
        Pictures of the test scenes.
    photos : Path
        Folder of the originals.

    Returns
    -------
    list of dict
    """
    files = {path.relative_to(photos).with_suffix("").as_posix(): path for path in find_photos([photos])}
    scenes = test.column("scene")
    sharpness = {scene: variance_of_laplacian(read_gray(files[scene])) for scene in sorted(set(scenes))}
    probabilities = model.predict_features(test.features).probability
    thirds = []
    for part in np.array_split(sorted(sharpness, key=lambda scene: sharpness[scene]), 3):
        rows = np.isin(scenes, part)
        figures: dict[str, Any] = {
            "variance_of_laplacian_of_originals": [round(sharpness[part[0]], 1), round(sharpness[part[-1]], 1)],
            "n_scenes": len(part),
            "roc_auc": score_ranking(test.labels[rows], probabilities[rows])["roc_auc"],
        }
        thirds.append(figures)
    return thirds


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--trials", type=int, default=50)
    options = parser.parse_args()
    results = {}
    for folder, recipe in RUNS:
        print(f"{folder} {recipe}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as work:
            table = load_sources([options.data / folder], Path(work), recipe=recipe)
            model, evaluation = train(table, trials=options.trials)
            numbers, figures = evaluation.numbers, dict[str, Any](evaluation.numbers)
            results[f"{folder} {recipe}"] = {
                **{name: figures[name] for name in KEPT},
                "out_of_fold_roc_auc": numbers["training"]["out_of_fold_roc_auc"],
                "variance_of_laplacian": {
                    name: value for name, value in numbers["variance_of_laplacian"].items() if name != "curves"
                },
                "kind": numbers["kind"],
                "strength": numbers["strength"],
                "skipped": len(table.skipped),
                "by_softness_of_the_original": measure_by_softness(model, evaluation.table, options.data / folder),
            }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
