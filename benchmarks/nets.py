"""Compare nets of several kinds, and trees, with equal data, budget and test sets; print JSON.

    pip install torch timm onnx onnxruntime
    python benchmarks/nets.py ../shared/data --work work > nets.json
    python benchmarks/nets.py --table nets.json          # as Markdown, for docs/nets.md

The argument is a folder with ``train``, ``bench`` and ``probe``. Each kind is trained from scratch, on the
same drawn pictures in the same order, without the sources of each fold of the plan ``research``, and on all. The folds
predict the sources left out, and only these results may decide which kind to choose; the last predicts ``bench`` and
``probe``, which choose nothing. Trees of `block99` are trained on the same sources, with the settings of the shipped
model. ``--work`` keeps all intermediate files, so that an interrupted run can resume.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from models.held_out import (
    PLANS,
    TEST_SOURCES,
    Results,
    build_test_tables,
    evaluate_margins,
    predict_folds,
    predict_trees,
    time_net,
    train_folds,
)
from models.make_default import TREES, Opinion
from models.net_kinds import KINDS
from models.pictures import draw_pictures
from models.sources import build_tables


def to_markdown(results: Results) -> str:
    """Format the results as Markdown."""
    columns = [
        "weights",
        "training, s",
        "MP/s a core",
        *TEST_SOURCES,
        "mean",
        "ECE left out",
        "phone",
        "hard",
        "accuracy",
        "ECE",
    ]
    columns += ["receipts", "bench maps flagged", "microscopy flagged"]
    rows: dict[str, list[Any]] = {}
    for name, found in results.items():
        cells: list[Any] = [found.get("weights"), found.get("seconds"), found.get("mp_s")]
        cells += [found["left out"][source]["roc_auc"] for source in TEST_SOURCES]
        cells += [found["mean"], float(np.mean([source["ece"] for source in found["left out"].values()]))]
        phone = found.get("phone", {})
        cells += [phone.get(measure) for measure in ("roc_auc", "roc_auc of hard_exposure", "accuracy", "ece")]
        cells.append(found.get("receipts", {}).get("roc_auc"))
        cells += [found.get(name, {}).get("flagged") for name in ("bench maps", "microscopy")]
        rows[name] = cells
    filled = [place for place in range(len(columns)) if any(cells[place] is not None for cells in [*rows.values()][1:])]
    lines = ["| | " + " | ".join(columns[place] for place in filled) + " |", "|---" * (len(filled) + 1) + "|"]
    for name, cells in rows.items():
        lines.append(f"| {name} | " + " | ".join(_cell(cells[place]) for place in filled) + " |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if value <= 1 else f"{value:.0f}"


def main() -> None:
    """Print the JSON, or the Markdown of an earlier JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(json.loads(options.table.read_text())))
        return
    plan, train = PLANS["research"], options.data / "train"
    shards = draw_pictures(train, options.work, options.shards)
    tables = build_test_tables(options.data, options.work)
    trees = predict_trees(plan, build_tables(train, options.work).without_flat(), tables, TREES)
    results: Results = {"trees": evaluate_margins(trees, tables)}
    for kind in options.kinds:
        for seed in options.seeds:
            files = train_folds(plan, kind, shards=shards, steps=options.steps, work=options.work, seed=seed)
            margins = predict_folds(plan, files, tables)
            name = f"{kind} {seed}" if len(options.seeds) > 1 else kind
            results[name] = evaluate_margins(margins, tables) | json.loads(
                files["all"].with_suffix(".json").read_text()
            )
            results[name]["mp_s"] = time_net(files["all"])
            both = Opinion.weigh([trees, margins], tables).all_log_odds()
            results[f"{name} and trees"] = evaluate_margins(both, tables)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
