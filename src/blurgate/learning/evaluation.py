"""Probabilities and labels -> numbers. No words, no pictures.

Every function takes ``labels`` of shape (n,), 0 sharp and 1 blurred, and ``probabilities`` of shape (n,), and gives
plain Python numbers, lists and dicts, ready for JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import DatasetError, needs_extra
from blurgate.judging.model import BlurModel, Predictions
from blurgate.judging.verdicts import LABELS
from blurgate.learning.table import FeatureTable
from blurgate.measuring.laplacian import CUSTOMARY_CUTOFF

with needs_extra("train", "Training or evaluating"):
    from sklearn import metrics

Labels: TypeAlias = NDArray[np.int8]
Floats: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = dict[str, Any]

CUTOFFS = tuple(round(0.05 * step, 2) for step in range(1, 20))
STRENGTH_EDGES = (0.0, 1.2, 2.0, 3.0, 5.0, 8.0, math.inf)  # pixels
N_MISTAKES = 20


@dataclass(frozen=True)
class Evaluation:
    """How a model did.

    Parameters
    ----------
    numbers : dict
        Everything that was measured; JSON holds it.
    table : FeatureTable
        The photos it was measured on.
    """

    numbers: Numbers
    table: FeatureTable


def evaluate(model: BlurModel, table: FeatureTable, *, seed: int = 0) -> Evaluation:
    """Measure a model on labelled photos.

    Parameters
    ----------
    model : BlurModel
    table : FeatureTable
        With the model's feature set, labelled, both classes.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation
        Its numbers hold `measure_decisions`, `measure_ranking`, the curves, the same by tier, kind, source and
        strength, the surest mistakes, the photos left out, and what the variance of the Laplacian gives.

    Raises
    ------
    DatasetError
        If labels are missing or all the same, or the model was calibrated on some of these photos
        or needs other features.
    """
    refuse_unfit(model, table)
    table = table.without_flat()
    card = model.card
    return measure(
        table, model.predict_features(table.features), threshold=card.threshold, base_rate=card.base_rate, seed=seed
    )


def measure(
    table: FeatureTable,
    predictions: Predictions,
    *,
    threshold: float,
    base_rate: float,
    laplacian_cutoff: float | None = None,
    within: Mapping[str, float | None] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Measure predictions of labelled photos, whatever they come from; see `evaluate`.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    predictions : Predictions
        Of its rows.
    threshold : float
        Blurred from this probability on, 0 to 1.
    base_rate : float
        Share of blurred photos that the probabilities assume, 0 to 1.
    laplacian_cutoff : float, optional
        Of the variance of the Laplacian, beside the customary one.
    within : mapping of str to float or None, optional
        If the predictions of each source are by trees of the others: the ROC AUC of trees of its own other scenes. Adds
        ``sources``, see `describe_sources`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation
    """
    labels, probabilities = table.labels, predictions.probability
    numbers = {
        **table.counts,
        "n_errors": sum(not photo.undecided for photo in table.skipped),
        "n_undecided": sum(photo.undecided for photo in table.skipped),
        **measure_ranking(labels, probabilities),
        "roc_auc_interval": bootstrap_roc_auc(labels, probabilities, table.scenes, seed=seed),
        **measure_calibration(labels, probabilities),
        **measure_decisions(labels, probabilities, threshold),
        "base_rate_trained": base_rate,
        "cutoffs": [measure_decisions(labels, probabilities, cutoff) for cutoff in CUTOFFS],
        "curves": trace_curves(labels, probabilities),
        "by_tier": measure_groups(labels, probabilities, threshold, table.tiers),
        "by_kind": measure_groups(labels, probabilities, threshold, table.kinds),
        "by_source": measure_groups(labels, probabilities, threshold, table.sources),
        "recall_by_strength": recall_by_strength(labels, probabilities, threshold, table.strengths),
        "variance_of_laplacian": measure_laplacian(table, probabilities, laplacian_cutoff, seed=seed),
        "mistakes": list_mistakes(table, probabilities, threshold),
        "skipped": [{"path": photo.path, "error": photo.error} for photo in table.skipped],
        **measure_kinds(table, predictions),
    }
    if within is not None:
        numbers["sources"] = describe_sources(table, probabilities, threshold, within)
    return Evaluation(numbers, table)


def refuse_unfit(model: BlurModel, table: FeatureTable) -> None:
    """Raise a DatasetError if a table has other features than a model needs, or photos that it was calibrated on."""
    if table.feature_set != model.card.feature_set:
        remedy = "give the photos themselves" if model.net else f"make it with --feature-set {model.card.feature_set}"
        raise DatasetError(
            f"a table of the feature set {model.card.feature_set} was needed, which the model was trained on, but this "
            f"is one of {table.feature_set}: {remedy}"
        )
    known = set(model.card.calibrated_on.get("digests", ()))
    if not known:
        return
    seen = [photo.path for photo, digest in zip(table.photos, table.digests(), strict=True) if digest in known]
    if seen:
        others = f" and {len(seen) - 1} more" if len(seen) > 1 else ""
        raise DatasetError(
            f"photos that the model was not calibrated on were needed, but of {len(table)} it was on {len(seen)}, the "
            f"very same pictures: {seen[0]}{others}; take them out, or calibrate on others"
        )


def describe_sources(
    table: FeatureTable, probabilities: Floats, threshold: float, within: Mapping[str, float | None]
) -> dict[str, Numbers]:
    """Measure each source of photos by itself.

    Parameters
    ----------
    table : FeatureTable
    probabilities : ndarray of shape (n_photos,), float64
    threshold : float
        Blurred from this probability on.
    within : mapping of str to float or None
        For each source, the ROC AUC of trees of the same source's other scenes.

    Returns
    -------
    dict of str to dict
        What `measure_groups` gives, and ``roc_auc_within``, ``roc_auc_of_laplacian`` and ``ece``.
    """
    measured = measure_groups(table.labels, probabilities, threshold, table.sources)
    for source, numbers in measured.items():
        rows = table.sources == source
        laplacian = measure_ranking(table.labels[rows], -table.variance_of_laplacian[rows])["roc_auc"]
        ece = measure_calibration(table.labels[rows], probabilities[rows])["ece"]
        numbers |= {"roc_auc_within": within[source], "roc_auc_of_laplacian": laplacian, "ece": ece}
    return measured


def price_threshold(decisions: Numbers, *, measured_on: str) -> Numbers:
    """Say what a threshold costs, for a card: the rates of false alarms and misses of `measure_decisions`."""
    (kept, alarms), (missed, found) = decisions["confusion_matrix"]
    return {
        "false_alarm_rate": alarms / max(1, kept + alarms),
        "miss_rate": missed / max(1, missed + found),
        "measured_on": measured_on,
    }


def measure_ranking(labels: Labels, probabilities: Floats) -> Numbers:
    """Measure what holds at any threshold: ROC AUC and average precision."""
    return {
        "roc_auc": float(metrics.roc_auc_score(labels, probabilities)),
        "average_precision": float(metrics.average_precision_score(labels, probabilities)),
    }


def measure_calibration(labels: Labels, probabilities: Floats) -> Numbers:
    """Measure how far probabilities mean what they say.

    Returns
    -------
    dict
        ``brier``: mean squared error. ``ece``: expected calibration error, the mean distance between probability and
        share of blurred photos in ten bins of equal count. ``calibration``: those bins.

    References
    ----------
    .. [1] M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
           AAAI 2015. :doi:`10.1609/aaai.v29i1.9602`
    """
    order = np.argsort(probabilities, kind="stable")
    bins = [
        {
            "probability": float(probabilities[rows].mean()),
            "share_blurred": float(labels[rows].mean()),
            "n": len(rows),
        }
        for rows in np.array_split(order, min(10, len(order)))
    ]
    gaps = [abs(entry["probability"] - entry["share_blurred"]) * entry["n"] for entry in bins]
    return {
        "brier": float(np.mean((probabilities - labels) ** 2)),
        "ece": float(sum(gaps) / len(labels)),
        "calibration": bins,
    }


def measure_decisions(labels: Labels, probabilities: Floats, threshold: float) -> Numbers:
    """Measure decisions, blurred being the positive class.

    Returns
    -------
    dict
        ``threshold``, ``accuracy``, ``precision`` (0 if nothing is called blurred), ``recall``, ``f1`` and
        ``confusion_matrix`` as [[tn, fp], [fn, tp]].

    Examples
    --------
    >>> measure_decisions(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]), 0.5)["confusion_matrix"]
    [[1, 1], [1, 1]]
    """
    called = probabilities >= threshold
    matrix = metrics.confusion_matrix(labels, called, labels=[0, 1])
    (_, false_alarms), (missed, found) = matrix.tolist()
    precision = found / (found + false_alarms) if found + false_alarms else 0.0
    recall = found / (found + missed) if found + missed else 0.0
    return {
        "threshold": float(threshold),
        "accuracy": float((called == labels).mean()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "confusion_matrix": matrix.tolist(),
    }


def bootstrap_roc_auc(
    labels: Labels, scores: Floats, scenes: NDArray[Any], *, seed: int, draws: int = 1000
) -> list[float] | None:
    """Estimate a 95 % interval of the ROC AUC by drawing scenes, not photos, with replacement.

    Returns
    -------
    list of two floats, or None
        The 2.5 and 97.5 percentiles; None where no draw has both classes.
    """
    found = draw_roc_auc(labels, scores, scenes, seed=seed, draws=draws)
    found = found[np.isfinite(found)]
    return [float(value) for value in np.percentile(found, [2.5, 97.5])] if found.size else None


def draw_roc_auc(labels: Labels, scores: Floats, scenes: NDArray[Any], *, seed: int, draws: int = 1000) -> Floats:
    """Measure the ROC AUC of each draw of scenes; the same seed draws the same scenes for other scores.

    Returns
    -------
    ndarray of shape (draws,), float64
        NaN where a draw has one class only.
    """
    rng = np.random.default_rng(seed)
    names, scene = np.unique(scenes, return_inverse=True)
    levels, level = np.unique(scores, return_inverse=True)
    found = np.full(draws, np.nan)
    for number, times in enumerate(rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)):
        weight = times[scene]
        blurred = np.bincount(level, weight * labels, len(levels))
        sharp = np.bincount(level, weight * (1 - labels), len(levels))
        pairs = blurred.sum() * sharp.sum()
        if pairs:  # counted by hand, level by level: scikit-learn's weighted one takes milliseconds a draw
            below = np.cumsum(sharp) - sharp
            found[number] = float(blurred @ (below + sharp / 2)) / pairs
    return found


def trace_curves(labels: Labels, probabilities: Floats) -> Numbers:
    """Trace the ROC and the precision-recall curve."""
    false_alarms, hits, _ = metrics.roc_curve(labels, probabilities)
    precision, recall, _ = metrics.precision_recall_curve(labels, probabilities)
    return {
        "roc": {"false_alarm_rate": _rounded(false_alarms), "recall": _rounded(hits)},
        "precision_recall": {"recall": _rounded(recall), "precision": _rounded(precision)},
    }


def measure_groups(
    labels: Labels, probabilities: Floats, threshold: float, groups: NDArray[np.str_]
) -> dict[str, Numbers]:
    """Measure each group of photos by itself; photos without a group are in none.

    Returns
    -------
    dict
        For each group ``n``, ``n_blurred``, ``accuracy``, ``recall`` (None without blurred photos),
        ``false_alarm_rate`` (None without sharp ones) and ``roc_auc`` (None unless it has both).
    """
    measured = {}
    for group in sorted(set(groups) - {""}):
        rows = groups == group
        blurred, called = labels[rows] == 1, probabilities[rows] >= threshold
        both = blurred.any() and not blurred.all()
        measured[str(group)] = {
            "n": int(rows.sum()),
            "n_blurred": int(blurred.sum()),
            "accuracy": float((called == blurred).mean()),
            "recall": float(called[blurred].mean()) if blurred.any() else None,
            "false_alarm_rate": float(called[~blurred].mean()) if not blurred.all() else None,
            "roc_auc": float(metrics.roc_auc_score(labels[rows], probabilities[rows])) if both else None,
        }
    return measured


def recall_by_strength(labels: Labels, probabilities: Floats, threshold: float, strengths: Floats) -> list[Numbers]:
    """Measure which share of the blurred photos is found, by strength in pixels; bins without photos are left out."""
    rows = (labels == 1) & np.isfinite(strengths)
    bins = []
    for low, high in pairwise(STRENGTH_EDGES):
        within = rows & (strengths >= low) & (strengths < high)
        if within.any():
            recall = float((probabilities[within] >= threshold).mean())
            upper = None if math.isinf(high) else high
            bins.append({"from_px": low, "to_px": upper, "n": int(within.sum()), "recall": recall})
    return bins


def measure_laplacian(table: FeatureTable, probabilities: Floats, cutoff: float | None, *, seed: int) -> Numbers:
    """Measure the variance of the Laplacian on the same photos, as it is customarily used.

    ``gain_interval`` is the 95 % interval of what the model's ROC AUC is above its own, by drawing scenes.
    """
    labels, sharpness, scenes = table.labels, table.variance_of_laplacian, table.scenes
    gain = draw_roc_auc(labels, probabilities, scenes, seed=seed) - draw_roc_auc(labels, -sharpness, scenes, seed=seed)
    gain = gain[np.isfinite(gain)]
    return {
        "gain_interval": [float(value) for value in np.percentile(gain, [2.5, 97.5])] if gain.size else None,
        **measure_ranking(labels, -sharpness),
        "roc_auc_interval": bootstrap_roc_auc(labels, -sharpness, scenes, seed=seed),
        "curves": trace_curves(labels, -sharpness),
        "customary_cutoff": CUSTOMARY_CUTOFF,
        "accuracy_at_customary_cutoff": float(((sharpness < CUSTOMARY_CUTOFF) == labels).mean()),
    } | (
        {}
        if cutoff is None
        else {"chosen_cutoff": cutoff, "accuracy_at_chosen_cutoff": float(((sharpness <= cutoff) == labels).mean())}
    )


def list_mistakes(table: FeatureTable, probabilities: Floats, threshold: float) -> list[Numbers]:
    """List the wrong decisions, the surest first, at most `N_MISTAKES`; ``row`` is the place in the table.

    Sureness is the distance from the threshold in log-odds: misses and false alarms are measured alike, wherever it is.
    """
    wrong = np.flatnonzero((probabilities >= threshold) != table.labels)
    distance = np.abs(_log_odds(probabilities[wrong]) - _log_odds(np.asarray([threshold])))
    surest = wrong[np.argsort(-distance, kind="stable")][:N_MISTAKES]
    return [
        {
            "row": int(row),
            "source": str(table.sources[row]),
            "path": table.photos[row].path,
            "label": table.photos[row].label,
            "decision": LABELS[int(probabilities[row] >= threshold)],
            "probability": float(probabilities[row]),
            "kind": table.photos[row].kind,
            "strength_px": None if math.isnan(table.photos[row].strength_px) else table.photos[row].strength_px,
        }
        for row in surest
    ]


def measure_kinds(table: FeatureTable, said: Predictions) -> Numbers:
    """Measure the model's word on kind and strength of the blurred photos where the truth is known.

    Returns
    -------
    dict
        ``kind``: ``n``, ``accuracy`` and ``accuracy_of_guessing`` (always the most frequent one). ``strength``: ``n``
        and ``median_relative_error``. Both are None where the model or the labels do not tell.
    """
    blurred = table.labels == 1
    families = table.families
    rows = blurred & (families != "")
    if said.kind is not None:
        rows &= said.kind != ""
    kind = strength = None
    if said.kind is not None and rows.any():
        frequent = max(int((families[rows] == family).sum()) for family in set(families[rows]))
        kind = {
            "n": int(rows.sum()),
            "accuracy": float((said.kind[rows] == families[rows]).mean()),
            "accuracy_of_guessing": frequent / int(rows.sum()),
        }
    truth = table.strengths
    rows = blurred & (truth > 0)
    if said.strength_px is not None:
        rows &= np.isfinite(said.strength_px)
    if said.strength_px is not None and rows.any():
        error = np.abs(said.strength_px[rows] - truth[rows]) / truth[rows]
        strength = {"n": int(rows.sum()), "median_relative_error": float(np.median(error))}
    return {"kind": kind, "strength": strength}


def _log_odds(probabilities: Floats) -> Floats:
    clipped = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), 6) for value in values]
