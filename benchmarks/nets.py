"""Compare nets of several kinds, and trees, with equal data, budget and test sets; print JSON.

    pip install torch timm onnx onnxruntime
    python benchmarks/nets.py ../shared/data --work work > nets.json
    python benchmarks/nets.py --table nets.json          # as Markdown, for docs/nets.md

The argument is a folder with ``train``, ``bench`` and ``probe``. Each kind is trained three times from scratch, on the
same drawn pictures in the same order: without the sources of the fold ``real`` (BSDS500 and the CUHK set), without
those of ``made`` (Unsplash and Sun-Hays80), and on all. The first two predict the sources left out, and only these
results may decide which kind to choose; the last predicts ``bench`` and ``probe``, which choose nothing. Trees of
`block99` are trained on the same sources, with the settings of the shipped model. ``--work`` keeps all intermediate
files, so that an interrupted run can resume.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from models.held_out import (
    FOLDS,
    LEFT_OUT_SOURCES,
    Results,
    build_test_tables,
    combine,
    evaluate_margins,
    predict_folds,
    predict_trees,
    time_net,
    train_all,
)
from models.pictures import draw_pictures


def to_markdown(results: Results) -> str:
    """Format the results as Markdown."""
    columns = [
        "weights",
        "training, s",
        "MP/s a core",
        *LEFT_OUT_SOURCES,
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
        cells += [found["left out"][source]["roc_auc"] for source in LEFT_OUT_SOURCES]
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
    parser.add_argument("--kinds", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", nargs="+", choices=FOLDS, default=list(FOLDS), help="real and made rank kinds")
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(json.loads(options.table.read_text())))
        return
    nets = options.work / "nets"
    nets.mkdir(parents=True, exist_ok=True)
    shards = draw_pictures(options.data / "train", options.work / "pictures", options.shards)
    tables = build_test_tables(options.data, options.work)
    trees = predict_trees(options.data, options.work, tables)
    results: Results = {"trees": evaluate_margins(trees, tables)}
    from models.net_kinds import KINDS

    runs = [(kind, seed) for kind in options.kinds or KINDS for seed in options.seeds]
    chosen = [(kind, fold, seed) for fold in options.folds for kind, seed in runs]
    onnx = train_all(chosen, shards=shards, steps=options.steps, work=nets)
    for kind, seed in runs:
        files = {fold: onnx[kind, fold, seed] for fold in options.folds}
        margins = predict_folds(files, tables)
        name = f"{kind} {seed}" if len(options.seeds) > 1 else kind
        last = files[options.folds[-1]]
        results[name] = evaluate_margins(margins, tables) | json.loads(last.with_suffix(".json").read_text())
        results[name]["mp_s"] = time_net(last)
        results[f"{name} and trees"] = evaluate_margins(combine(trees, margins, tables), tables)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
