"""Leave each source out with a part of the features taken away; print the ROC AUC on each as JSON.

    python benchmarks/ablation.py ../shared/data/train --work work > ablation.json

A part stays in `dct108` only if the sources left out miss it. The trees have the settings of the model that
ships. Pictures are kept in ``--work`` and made again where they are missing.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from blurgate import FeatureTable, load_model
from blurgate.evaluation import Numbers, measure_ranking
from blurgate.features import FEATURE_SETS, FeatureSet
from blurgate.search import predict_left_out
from blurgate.splits import leave_sources_out
from default_model import build_tables

PERCENTILES = FEATURE_SETS["dct90"].groups[0]


def name_sets() -> dict[str, FeatureSet]:
    """Name the feature sets to try: groups alone, and the one that ships without a part of its percentiles."""
    whole = FEATURE_SETS["dct108"]
    classic = whole.groups[0]
    sets = {"dct108": whole, "dct18 alone": replace(whole, groups=(classic,)), "dct90 alone": FEATURE_SETS["dct90"]}
    parts: list[tuple[str, str, tuple[str, ...]]] = [
        ("bands", "directions", ("horizontal", "vertical")),
        ("scales", "the smallest scale", ("1/4",)),
        ("scales", "the two smaller scales", ("1/2", "1/4")),
        ("pools", "the low percentiles", ("p25", "p50")),
        ("pools", "the high percentiles", ("p97", "p99.5")),
    ]
    for field, name, gone in parts:
        kept = tuple(word for word in getattr(PERCENTILES, field) if word not in gone)
        sets[f"dct108 without {name}"] = replace(whole, groups=(classic, replace(PERCENTILES, **{field: kept})))
    return sets


def rank(table: FeatureTable, chosen: FeatureSet, parameters: dict[str, Any]) -> Numbers:
    """Rank each source by trees of the others."""
    places = [table.columns.index(column) for column in chosen.columns]
    reduced = replace(table, features=table.features[:, places], feature_set="tried")
    FEATURE_SETS["tried"] = chosen
    margins = predict_left_out(reduced, leave_sources_out(table), parameters, seed=0)
    found = {}
    for source in sorted(set(table.sources)):
        rows = table.sources == source
        found[str(source)] = measure_ranking(table.labels[rows], margins[rows])["roc_auc"]
    return {**found, "mean": float(np.mean(list(found.values())))}


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    parameters = dict(load_model().card.parameters)
    table = build_tables(options.data, options.work).without_flat()
    results = {}
    for name, chosen in name_sets().items():
        print(name, file=sys.stderr, flush=True)
        results[name] = rank(table, chosen, parameters)
        print(results[name], file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
