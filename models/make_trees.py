"""Make the shipped trees; print their results on each source left out of training, as JSON.

    python models/make_trees.py ../shared/data/train --output src/blurgate/judging/shipped/trees.blurgate

The argument is a folder with ``sharp/bsds500``, ``sharp/sun_hays80``, ``sharp/unsplash``, ``defocus_patches``,
``defocus_maps`` and ``eyes``; `models.sources` describes what is made of them. The same photos make the same file, byte
for byte. ``--work`` keeps the pictures, so that an interrupted run can resume.

``eyes`` is not trained on, because half of its originals are soft themselves. It is evaluated like a source left out.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from blurgate import BlurModel, train
from blurgate.learning.metrics import score_ranking
from models.sources import LIMITS, TERMS, build_tables, make_table


def evaluate_eyes(model: BlurModel, data: Path, work: Path) -> dict[str, Any]:
    """Rank pictures made of photos that are often soft themselves.

    Parameters
    ----------
    model : BlurModel
    data : Path
        Folder with ``eyes``.
    work : Path
        Folder for the pictures.

    Returns
    -------
    dict
    """
    table = make_table(data / "eyes", work, cameras=1).without_flat()
    probabilities = model.predict_features(table.features).probability
    return {"n": len(table), **score_ranking(table.labels, probabilities)}


def main() -> None:
    """Write the model; print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--work", type=Path, help="a folder that keeps the pictures; by default a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        table = build_tables(options.data, work)
        print(f"training on {len(table)} pictures", file=sys.stderr)
        model, evaluation = train(table, validate="leave-source-out", trials=options.trials)
        model = BlurModel(replace(model.card, terms=TERMS, limits=LIMITS), model.boosters)
        model.save(options.output)
        numbers = evaluation.numbers
        results = {
            "sources_left_out": numbers["sources"],
            "eyes": evaluate_eyes(model, options.data, work),
            **{name: numbers[name] for name in ("n", "roc_auc", "accuracy", "ece", "kind", "strength")},
            "at_threshold": model.card.at_threshold,
            "threshold": model.card.threshold,
            "kinds": model.card.kinds,
            "parameters": model.card.parameters,
            "bytes": options.output.stat().st_size,
        }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
