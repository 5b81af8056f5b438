"""Compare trees that learn from all sources with trees that learn from open ones, on each source left out; print JSON.

    python benchmarks/open_terms.py ../shared/data --work work > open_terms.json
    python benchmarks/open_terms.py --table open_terms.json          # as Markdown, for docs/models.md

Open are the sources whose terms allow commercial use. Each source is left out with all that shares its scenes, and
predicted by trees of the others, with the settings of the shipped model: once of all others, once of the open ones.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from blurgate import FeatureTable
from models.held_out import ALTERED, CUHK, MADE, OPEN, TEST_SOURCES, Plan, build_test_tables, predict_trees
from models.make_default import TREES
from models.sources import build_tables

LEFT_OUT = (*((source,) for source in MADE), CUHK)


def rank_sources(training: FeatureTable, tables: Mapping[str, FeatureTable]) -> dict[str, Any]:
    """Rank the pictures of each source by trees that have not seen it.

    Parameters
    ----------
    training : FeatureTable
        Of all sources.
    tables : mapping of str to FeatureTable
        The pictures to rank, by source.

    Returns
    -------
    dict
        ``all`` and ``open`` -> table -> ROC AUC, 0 to 1.
    """
    aucs: dict[str, Any] = {"all": {}, "open": {}}
    for word, sources in (("all", TEST_SOURCES), ("open", OPEN)):
        for left_out in LEFT_OUT:
            names = [name for name in (*TEST_SOURCES, *ALTERED) if name.removesuffix("_altered") in left_out]
            plan = Plan(sources, {"one": left_out})
            chosen = {name: tables[name] for name in names}
            margins = predict_trees(plan, training, chosen, TREES, folds=("one",))
            aucs[word] |= {name: float(roc_auc_score(tables[name].labels, margins[name])) for name in names}
    return aucs


def to_markdown(results: Mapping[str, Any]) -> str:
    """Format the results as Markdown."""
    lines = ["| left out | all other sources | the open ones of them | difference |", "|---" * 4 + "|"]
    rows = {name: (results["all"][name], results["open"][name]) for name in results["all"]}
    plain = [rows[name] for name in TEST_SOURCES]
    rows |= {
        "mean, without altered ones": tuple(np.mean(plain, axis=0)),
        "worst, without altered ones": tuple(np.min(plain, axis=0)),
    }
    lines += [f"| {name} | {every:.3f} | {few:.3f} | {few - every:+.3f} |" for name, (every, few) in rows.items()]
    return "\n".join(lines)


def main() -> None:
    """Print the JSON, or the Markdown of an earlier JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(json.loads(options.table.read_text())))
        return
    training = build_tables(options.data / "train", options.work).without_flat()
    tables = build_test_tables(options.data, options.work)
    print(json.dumps(rank_sources(training, tables), indent=1))


if __name__ == "__main__":
    main()
