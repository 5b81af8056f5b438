"""Leave each source out with a part of the features taken away; print the ROC AUC on each as JSON.

    python benchmarks/ablation.py ../shared/data/train --work work > ablation.json

A group of columns stays in `dct90` only if the sources left out miss it. The trees have the settings of the model that
ships. Pictures are kept in ``--work`` and made again where they are missing.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from blurgate import FeatureTable, load_model
from blurgate.evaluation import Numbers, measure_ranking
from blurgate.features import FEATURE_SETS, has_texture
from blurgate.search import predict_left_out
from blurgate.splits import leave_sources_out
from default_model import build_tables

COLUMNS = FEATURE_SETS["dct90"].columns


def name_groups() -> dict[str, list[int]]:
    """Name the columns to keep in each run."""
    parts = [column.split("__") for column in COLUMNS]
    groups = {"dct90": list(range(len(COLUMNS)))}
    for place, words in ((0, ("1", "1/2", "1/4")), (1, ("low", "mid", "high")), (3, FEATURE_SETS["dct90"].pools)):
        for word in words:
            groups[f"without {word}"] = [index for index, part in enumerate(parts) if part[place] != word]
    directions = ("horizontal", "vertical")
    groups["without directions"] = [index for index, part in enumerate(parts) if part[1] not in directions]
    return groups


def rank(table: FeatureTable, parameters: dict[str, object], features: np.ndarray) -> Numbers:
    """Rank each source by trees of the others."""
    reduced = replace(table, features=features)
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
    table = build_tables(options.data, options.work)
    plain = build_tables(options.data, options.work, feature_set="dct18")
    textured = has_texture(table.features, table.feature_set)
    judged, plain_features = table.take(np.flatnonzero(textured)), plain.features[textured]
    results = {"dct18": rank(judged, parameters, plain_features)}
    results["dct18 and dct90"] = rank(judged, parameters, np.hstack([plain_features, judged.features]))
    for name, columns in name_groups().items():
        print(name, file=sys.stderr, flush=True)
        results[name] = rank(judged, parameters, judged.features[:, columns])
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
