"""Make the shipped model: trees, a net, and when the net is asked; print results on sources left out, as JSON.

    pip install torch onnx
    python models/make_default.py ../shared/data --work work \
        --output src/blurgate/judging/shipped/default.blurgate > default.json
    python models/make_default.py --table default.json          # as Markdown, for docs/models.md

The argument is a folder with ``train``, ``bench`` and ``probe``; the last two only test, and choose nothing.
`models.sources` says what the trees learn from, `models.pictures` what the net does. Both are trained on each fold of a
plan as well: without some of the sources, which they then predict. Calibration, weights, threshold, the bound from
which the net is asked, and the bounds of a review rest on these predictions alone.

``--plan open`` trains on the sources whose terms allow commercial use, and leaves out all others at once. ``--work``
keeps the pictures, a checkpoint of each training and the predictions, so that an interrupted run can resume.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blurgate import BlurModel, FeatureTable, __version__
from blurgate.judging.cards import Card
from blurgate.judging.inputs import Inputs
from blurgate.judging.model import to_probability
from blurgate.judging.nets import Net
from blurgate.learning.boosters import fit_boosters
from blurgate.learning.calibration import choose_threshold
from blurgate.learning.metrics import error_rates, score_calibration, score_decisions, score_ranking
from blurgate.learning.table import join_tables
from blurgate.measuring.features import DEFAULT_FEATURE_SET
from models.held_out import (
    LEFT_OUT_SOURCES,
    PLANS,
    Margins,
    MarginsByTable,
    Plan,
    Results,
    add_turned,
    build_test_tables,
    calibrated_on,
    evaluate_margins,
    predict_folds,
    predict_trees,
    time_net,
    train_folds,
    weigh,
)
from models.pictures import SHARD, SOURCES, draw_pictures
from models.sources import LIMITS, TERMS, build_tables

KIND = "partial"  # of net, out of `models.net_kinds.KINDS`
SHARDS, STEPS = 30, 4500
TREES = {  # found by `blurgate train` with leave-source-out and 8 trials, for the trees of release 0.1
    "n_estimators": 500,
    "learning_rate": 0.05,
    "max_depth": 6,
    "min_child_weight": 0.6,
    "subsample": 0.55,
    "colsample_bytree": 0.7,
    "reg_lambda": 0.56,
    "gamma": 0.024,
}
DIFFERENT = 0.001  # of the pictures left out: decided otherwise than by trees and net together
RIGHT = 0.985  # of what is decided outside the bounds of a review


@dataclass(frozen=True)
class Opinion:
    """The calibrated log-odds of a model: a weighted sum of margins.

    Parameters
    ----------
    slopes : tuple of float
        One for each of `margins`.
    intercept : float
    margins : tuple of mapping of str to ndarray of shape (n_photos,)
        Of models that have not seen the sources that they predict.
    """

    slopes: tuple[float, ...]
    intercept: float
    margins: tuple[MarginsByTable, ...]

    @classmethod
    def weigh(cls, margins: Sequence[MarginsByTable], tables: Mapping[str, FeatureTable]) -> "Opinion":
        """Weigh margins on the sources left out; see `models.held_out.weigh`.

        Parameters
        ----------
        margins : sequence of mapping of str to ndarray of shape (n_photos,)
            One mapping per model.
        tables : mapping of str to FeatureTable

        Returns
        -------
        Opinion
        """
        slopes, intercept = weigh(margins, tables)
        return cls(tuple(slopes), intercept, tuple(margins))

    def log_odds(self, name: str) -> Margins:
        """Compute the log-odds of blurred of a table, of shape (n_photos,)."""
        weighed = [slope * each[name] for slope, each in zip(self.slopes, self.margins, strict=True)]
        return np.asarray(self.intercept + np.sum(weighed, axis=0))

    def all_log_odds(self) -> dict[str, Margins]:
        """Compute the log-odds of all tables."""
        return {name: self.log_odds(name) for name in self.margins[0]}


def main() -> None:
    """Write the model; print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--plan", choices=PLANS, default="research")
    parser.add_argument("--kind", default=KIND)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--table", type=Path, nargs="+", help="print the Markdown of these JSON files instead")
    options = parser.parse_args()
    if options.table:
        print("\n\n".join(to_markdown(json.loads(path.read_text())) for path in options.table))
        return
    if not (options.data and options.output):
        parser.error("the folder with the photographs and --output are needed")
    print(json.dumps(make(options), indent=1))


def make(options: argparse.Namespace) -> Results:
    """Write the model; return its results.

    Parameters
    ----------
    options : argparse.Namespace
        See `main`.

    Returns
    -------
    dict
    """
    plan, train = PLANS[options.plan], options.data / "train"
    shards = draw_pictures(train, options.work, options.shards)
    files = train_folds(plan, options.kind, shards=shards, steps=options.steps, work=options.work)
    tables = build_test_tables(options.data, options.work)
    training = build_tables(train, options.work).without_flat()
    training = training.take(np.flatnonzero(np.isin(training.sources, plan.sources)))
    print(f"training on {len(training)} pictures", file=sys.stderr)
    trees = predict_trees(plan, training, tables, TREES)
    net = predict_folds(plan, files, tables)
    alone, by_net, both = (Opinion.weigh(each, tables) for each in ([trees], [net], [trees, net]))
    card, asked = make_card(alone, by_net, both, tables)
    model = assemble(card, plan, training, shards, Net(files["all"].read_bytes()))
    model.save(options.output)
    cascade = cascade_log_odds(alone, both, card.ask_from)
    return {
        "plan": options.plan,
        "pictures": {"trees": len(training), "net": len(shards) * SHARD},
        "steps": options.steps,
        "bytes": options.output.stat().st_size,
        "mp_s": time_net(files["all"]),
        "ask_from": card.ask_from,
        "asked": asked,
        "threshold": card.threshold,
        "review": card.review,
        "trees": evaluate_margins(trees, tables),
        "net": evaluate_margins(net, tables),
        "both": evaluate_margins(both.all_log_odds(), tables),
        "cascade": evaluate_margins(cascade, tables),
    }


def to_markdown(results: Results) -> str:
    """Format the results on the sources left out as Markdown."""
    models = ("trees", "net", "both", "cascade")
    lines = [f"| left out | photos | {' | '.join(models)} | variance of Laplacian |", "|---" * 7 + "|"]
    for name, figures in results["cascade"]["left out"].items():
        aucs = [results[model]["left out"][name]["roc_auc"] for model in models] + [figures["laplacian"]]
        lines.append(f"| {name} | {figures['n']} | " + " | ".join(f"{auc:.3f}" for auc in aucs) + " |")
    for measure in ("mean", "worst", "mean of altered", "darkest quarter of brackets"):
        cells = " | ".join(f"{results[model][measure]:.3f}" for model in models)
        lines.append(f"| {measure} | | {cells} | |")
    eces = [np.mean([one["ece"] for one in results[model]["left out"].values()]) for model in models]
    lines.append("| mean ECE | | " + " | ".join(f"{ece:.3f}" for ece in eces) + " | |")
    return "\n".join(lines)


def make_card(
    alone: Opinion, by_net: Opinion, both: Opinion, tables: Mapping[str, FeatureTable]
) -> tuple[Card, Results]:
    """Choose what a cascade needs on the sources left out.

    Parameters
    ----------
    alone, by_net, both : Opinion
        Of the trees, of the net, and of the two together.
    tables : mapping of str to FeatureTable

    Returns
    -------
    card : Card
        Without names of inputs and training data.
    asked : dict
        Table -> share of its sharp and of its blurred pictures that the net is asked for.
    """
    together = describe(both.all_log_odds(), tables)
    ask_from = choose_bound(alone, both, together["threshold"])
    log_odds = cascade_log_odds(alone, both, ask_from)
    card = Card(
        feature_set="",
        columns=(),
        slope=both.slopes[0],
        net_slope=both.slopes[1],
        intercept=both.intercept,
        base_rate=0.5,
        ask_from=ask_from,
        review=choose_review(log_odds, tables),
        parameters=TREES,
        alone={
            "trees": {"slope": alone.slopes[0], "intercept": alone.intercept, **describe(alone.all_log_odds(), tables)},
            "net": {
                "net_slope": by_net.slopes[0],
                "intercept": by_net.intercept,
                **describe(by_net.all_log_odds(), tables),
            },
        },
        **describe(log_odds, tables, together["threshold"]),
    )
    return card, count_asked(alone.margins[0], ask_from, tables)


def assemble(card: Card, plan: Plan, training: FeatureTable, shards: Sequence[Path], net: Net) -> BlurModel:
    """Fit the final trees and add all that a model file records.

    Parameters
    ----------
    card : Card
        See `make_card`.
    plan : Plan
    training : FeatureTable
        Of the plan's sources.
    shards : sequence of Path
        The pictures that the net was trained on.
    net : Net
        Trained on the plan's sources.

    Returns
    -------
    BlurModel
    """
    boosters, kinds, _ = fit_boosters(
        add_turned(training), (), TREES, seed=0
    )  # without folds there are no trees for kinds
    inputs = Inputs(DEFAULT_FEATURE_SET, net.name)
    by_trees: Results = {**training.counts, "sources": training.source_counts}
    by_net = count_pictures(shards, plan.sources)
    alone = {
        part: {**card.alone[part], "trained_on": counts, "terms": {name: TERMS[name] for name in counts["sources"]}}
        for part, counts in (("trees", by_trees), ("net", by_net))
    }
    card = replace(
        card,
        feature_set=str(inputs),
        columns=inputs.columns,
        kinds=kinds,
        alone=alone,
        trained_on={"trees": by_trees, "net": by_net},
        terms={name: TERMS[name] for name in sorted({*by_trees["sources"], *by_net["sources"]})},
        limits=LIMITS,
        made_by=f"blurgate {__version__}",
    )
    return BlurModel(card, boosters, net)


def count_pictures(shards: Sequence[Path], sources: Sequence[str]) -> dict[str, Any]:
    """Count the drawn pictures of each of some sources.

    Parameters
    ----------
    shards : sequence of Path
    sources : sequence of str

    Returns
    -------
    dict
        ``n`` and ``sources``.
    """
    counts = np.zeros(len(SOURCES), int)
    for path in shards:
        with np.load(path) as content:
            counts += np.bincount(content["source"], minlength=len(SOURCES))
    used = {name: count for name, count in zip(SOURCES, counts.tolist(), strict=True) if name in sources}
    return {"n": sum(used.values()), "sources": used}


def cascade_log_odds(alone: Opinion, both: Opinion, ask_from: float | None) -> dict[str, Margins]:
    """Compute the log-odds of a cascade: those of the trees below the bound, else those of trees and net.

    Parameters
    ----------
    alone, both : Opinion
    ask_from : float or None
        Margin of the trees.

    Returns
    -------
    dict of str to ndarray of shape (n_photos,)
    """
    bound = -np.inf if ask_from is None else ask_from
    trees = alone.margins[0]
    return {name: np.where(trees[name] >= bound, both.log_odds(name), alone.log_odds(name)) for name in trees}


def choose_bound(alone: Opinion, both: Opinion, threshold: float) -> float:
    """Choose the margin of the trees from which the net is asked.

    Parameters
    ----------
    alone, both : Opinion
        Of sources left out, altered ones included.
    threshold : float
        Of the two together.

    Returns
    -------
    float
        The highest margin below which at most `DIFFERENT` of the pictures of an average source are blurred to both.
    """
    names = [name for name in both.margins[0] if name in LEFT_OUT_SOURCES]
    trees = np.concatenate([alone.margins[0][name] for name in names])
    missed = np.concatenate([to_probability(both.log_odds(name)) >= threshold for name in names])
    weights = np.concatenate([np.full(len(alone.margins[0][name]), 1 / len(alone.margins[0][name])) for name in names])
    order = np.argsort(trees)
    lost = np.cumsum((missed * weights)[order]) / weights.sum()
    last = int(np.searchsorted(lost, DIFFERENT, side="right"))
    sure = float(trees[order][min(last, len(order) - 1)])
    at_threshold = (np.log(threshold / (1 - threshold)) - alone.intercept) / alone.slopes[0]
    return min(sure, float(at_threshold))


def choose_review(log_odds: MarginsByTable, tables: Mapping[str, FeatureTable]) -> tuple[float, float]:
    """Choose two probabilities such that `RIGHT` of the sharp and of the blurred ones outside them are right.

    Parameters
    ----------
    log_odds : mapping of str to ndarray of shape (n_photos,)
    tables : mapping of str to FeatureTable

    Returns
    -------
    low, high : float
        The same if the threshold alone is as right.
    """
    left_out, odds = _join(log_odds, tables)
    probabilities, blurred, weights = to_probability(odds), left_out.labels == 1, left_out.even_weights
    order = np.argsort(probabilities)
    ordered, blurred, weights = probabilities[order], blurred[order], weights[order].astype(np.float64)
    wrong_below = np.cumsum(weights * blurred) / np.cumsum(weights)
    wrong_above = (np.cumsum((weights * ~blurred)[::-1]) / np.cumsum(weights[::-1]))[::-1]
    low = float(ordered[np.flatnonzero(wrong_below <= 1 - RIGHT).max(initial=0)])
    high = float(ordered[np.flatnonzero(wrong_above <= 1 - RIGHT).min(initial=len(order) - 1)])
    middle = (low + high) / 2
    return (round(low, 3), round(high, 3)) if low < high else (round(middle, 3), round(middle, 3))


def count_asked(trees: MarginsByTable, ask_from: float, tables: Mapping[str, FeatureTable]) -> Results:
    """Count for which share of each table's sharp and blurred pictures the net is asked.

    Parameters
    ----------
    trees : mapping of str to ndarray of shape (n_photos,)
        Margins.
    ask_from : float
        The margin from which the net is asked.
    tables : mapping of str to FeatureTable

    Returns
    -------
    dict
        Table -> ``sharp`` and ``blurred``, 0 to 1; ``all`` if its photos are not labelled.
    """
    asked: Results = {}
    for name, margins in trees.items():
        doubtful = margins >= ask_from
        if name not in LEFT_OUT_SOURCES:
            asked[name] = {"all": float(doubtful.mean())}
            continue
        labels = tables[name].labels
        asked[name] = {word: float(doubtful[labels == label].mean()) for label, word in enumerate(("sharp", "blurred"))}
    return asked


def describe(
    log_odds: MarginsByTable, tables: Mapping[str, FeatureTable], threshold: float | None = None
) -> dict[str, Any]:
    """Measure log-odds on the sources left out; return the fields of a card that follow from it.

    Parameters
    ----------
    log_odds : mapping of str to ndarray of shape (n_photos,)
    tables : mapping of str to FeatureTable
    threshold : float, optional
        By default the best.

    Returns
    -------
    dict
        ``threshold``, ``results`` and ``at_threshold``.
    """
    left_out, odds = _join(log_odds, tables)
    labels, weights, probabilities = left_out.labels, left_out.even_weights, to_probability(odds)
    threshold = choose_threshold(labels, probabilities, weights) if threshold is None else threshold
    decisions = score_decisions(labels, probabilities, threshold)
    return {
        "threshold": threshold,
        "results": {
            **score_ranking(labels, probabilities),
            **score_calibration(labels, probabilities),
            "accuracy": decisions["accuracy"],
        },
        "at_threshold": {**error_rates(decisions["confusion_matrix"]), "measured_on": "sources left out of training"},
    }


def _join(log_odds: MarginsByTable, tables: Mapping[str, FeatureTable]) -> tuple[FeatureTable, Margins]:
    names = calibrated_on(log_odds)
    return join_tables([tables[name] for name in names]), np.concatenate([log_odds[name] for name in names])


if __name__ == "__main__":
    main()
