"""Leave each source out, with part of the features removed; print the ROC AUC on each source as JSON.

    python benchmarks/ablation.py ../shared/data/train --work work > ablation.json

A part stays in the default feature set only if the results on the sources left out are worse without it. The trees have
the settings of the shipped model. Pictures are kept in ``--work``; missing ones are made again.
"""

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from blurgate import FeatureTable, load_model
from blurgate.learning.boosters import predict_left_out
from blurgate.learning.splits import leave_sources_out
from blurgate.measuring.features import DEFAULT_FEATURE_SET, FEATURE_SETS
from models.sources import build_tables

WHOLE = FEATURE_SETS[DEFAULT_FEATURE_SET]
PARTS = {
    "the energies": "__log_energy__",
    "the edges": "rise__",
    "rise": "__rise__",
    "half rise": "__half_rise__",
    "directions": "__(horizontal|vertical)__",
    "the smallest scale": "^1/4__",
    "the two smaller scales": "^1/[24]__",
    "the low percentiles of the energies": "__(p50|p75)$",
    "the high percentiles of the energies": "__(p97|p99.5)$",
    "the median of the edges": "__w50$",
    "the 99th percentile of the edges": "__w99$",
}
"""Part of the features -> a pattern of its columns."""


def rank(table: FeatureTable, columns: list[str], parameters: dict[str, Any]) -> dict[str, float]:
    """Rank each source with trees of the other sources, fitted to some columns only.

    Parameters
    ----------
    table : FeatureTable
    columns : list of str
        The columns to use.
    parameters : dict
        Of the trees.

    Returns
    -------
    dict of str to float
        ROC AUC by source, and their ``mean``.
    """
    places = [table.columns.index(column) for column in columns]
    reduced = replace(table, features=table.features[:, places])
    margins = predict_left_out(reduced, leave_sources_out(table), parameters, seed=0)
    ranks = {}
    for source in sorted(set(table.sources)):
        rows = table.sources == source
        ranks[str(source)] = float(roc_auc_score(table.labels[rows], margins[rows]))
    return {**ranks, "mean": float(np.mean(list(ranks.values())))}


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    parameters = dict(load_model("trees").card.parameters)
    table = build_tables(options.data, options.work).without_flat()
    column_sets = {DEFAULT_FEATURE_SET: list(WHOLE.columns)}
    for name, removed in PARTS.items():
        column_sets[f"without {name}"] = [column for column in WHOLE.columns if not re.search(removed, column)]
    results = {}
    for name, columns in column_sets.items():
        results[name] = {"columns": len(columns), **rank(table, columns, parameters)}
        print(name, results[name], file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
