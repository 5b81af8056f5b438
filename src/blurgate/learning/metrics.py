"""Labels and predictions -> figures. Arrays in; plain numbers, lists and dicts out, ready for JSON.

In every function ``labels`` has shape (n,), 0 sharp and 1 blurred: blurred is the positive class.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NotRequired, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import needs_extra
from blurgate.judging.verdicts import KINDS, MIXED
from blurgate.measuring.laplacian import CUSTOMARY_CUTOFF

with needs_extra("train", "Training or evaluating"):
    from scipy import stats
    from sklearn import metrics

Labels: TypeAlias = NDArray[np.int8]
Floats: TypeAlias = NDArray[np.float64]

STRENGTH_EDGES = (0.0, 1.2, 2.0, 3.0, 5.0, 8.0, math.inf)  # pixels
KIND_EDGES = (0.0, 2.0, 4.0, 8.0, math.inf)  # pixels: kinds need more photos per range


class Ranking(TypedDict):
    """Ranking quality, which no threshold affects, 0 to 1; None if all photos are of one class."""

    roc_auc: float | None
    average_precision: float | None


class CalibrationBin(TypedDict):
    """Mean probability and share of blurred photos in one bin, which holds about a tenth of the photos."""

    probability: float
    share_blurred: float
    n: int


class CalibrationScores(TypedDict):
    """Brier score (mean squared error), expected calibration error (ECE), and the bins that the ECE comes from."""

    brier: float
    ece: float
    calibration: list[CalibrationBin]


class Decisions(TypedDict):
    """Scores of the decisions at a threshold; the matrix is [[tn, fp], [fn, tp]].

    None if all photos are of one class, and for photos that are all blurred, recall alone is a number.
    """

    threshold: float
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None
    confusion_matrix: list[list[int]]


class Curves(TypedDict):
    """The ROC curve and the precision-recall curve, each as two lists of coordinates."""

    roc: dict[str, list[float]]
    precision_recall: dict[str, list[float]]


class GroupScores(TypedDict):
    """Figures for one group of photos; None if the group lacks a class that the figure needs."""

    n: int
    n_blurred: int
    accuracy: float
    recall: float | None
    false_alarm_rate: float | None
    roc_auc: float | None


class StrengthBin(TypedDict):
    """Recall of the blurred photos in one range of strength; ``to_px`` is None for the last, open range."""

    from_px: float
    to_px: float | None
    n: int
    recall: float


class LaplacianScores(Ranking):
    """Scores of the variance of the Laplacian on the same photos, and the model's gain over it."""

    gain_interval: list[float] | None
    roc_auc_interval: list[float] | None
    curves: Curves | None
    customary_cutoff: float
    accuracy_at_customary_cutoff: float
    chosen_cutoff: NotRequired[float]
    accuracy_at_chosen_cutoff: NotRequired[float]


class Confusion(TypedDict):
    """Which kinds were taken for which, of blurred photos judged blurred; ``n_missed`` others were judged sharp.

    ``confusion`` is {true kind: {predicted kind, or ``mixed``: number of photos}}. ``balanced_accuracy`` is the mean
    over the true kinds of the share that got its own name, None without photos; ``mixed`` is never right.
    """

    n: int
    n_missed: int
    balanced_accuracy: float | None
    confusion: dict[str, dict[str, int]]


class KindBin(Confusion):
    """Kinds of blurred photos whose true strength lies in one range; ``to_px`` None means no upper bound."""

    from_px: float
    to_px: float | None


class KindScores(Confusion):
    """Kinds in all and by strength: also accuracy, and that of always predicting the most frequent kind."""

    accuracy: float
    accuracy_of_guessing: float
    by_strength: list[KindBin]


class StrengthScores(TypedDict):
    """Predicted strengths of blurred photos judged blurred; ``n_missed`` others were judged sharp.

    ``n_untold`` of those judged blurred have no predicted strength, as no edge tells it. ``spearman`` is None if all
    strengths are equal; ``share_in_interval``, of true strengths within the bounds, if there are no bounds.
    """

    n: int
    n_missed: int
    n_untold: int
    median_relative_error: float
    spearman: float | None
    share_in_interval: float | None


class ErrorRates(TypedDict):
    """Share of sharp photos classified as blurred, and of blurred photos classified as sharp, 0 to 1."""

    false_alarm_rate: float
    miss_rate: float


class ErrorIntervals(TypedDict):
    """Error rates with their 95 % intervals; None for a class without photos."""

    false_alarm_rate: float | None
    false_alarm_interval: list[float] | None
    miss_rate: float | None
    miss_interval: list[float] | None


def has_both(labels: Labels) -> bool:
    """Return True if both classes occur."""
    return bool(len(labels)) and 0 < int(labels.sum()) < len(labels)


def score_ranking(labels: Labels, scores: Floats) -> Ranking:
    """Score a ranking of photos by ROC AUC and average precision.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    scores : ndarray of shape (n,), float64
        Higher is more blurred.

    Returns
    -------
    Ranking
    """
    if not has_both(labels):
        return {"roc_auc": None, "average_precision": None}
    return {
        "roc_auc": float(metrics.roc_auc_score(labels, scores)),
        "average_precision": float(metrics.average_precision_score(labels, scores)),
    }


def score_calibration(labels: Labels, probabilities: Floats) -> CalibrationScores:
    """Score how well probabilities are calibrated.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    probabilities : ndarray of shape (n,), float64
        P(blurred), 0 to 1.

    Returns
    -------
    CalibrationScores
        The expected calibration error is the mean distance between probability and share of blurred photos over ten
        bins with equal numbers of photos.

    References
    ----------
    .. [1] M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning",
           AAAI 2015. :doi:`10.1609/aaai.v29i1.9602`
    """
    order = np.argsort(probabilities, kind="stable")
    bins: list[CalibrationBin] = [
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


def score_decisions(labels: Labels, probabilities: Floats, threshold: float) -> Decisions:
    """Score the decisions at a threshold.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    probabilities : ndarray of shape (n,), float64
        P(blurred).
    threshold : float
        Blurred from this probability on.

    Returns
    -------
    Decisions
        Precision is 0 if no photo is classified as blurred.

    Examples
    --------
    >>> score_decisions(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]), 0.5)["confusion_matrix"]
    [[1, 1], [1, 1]]
    """
    predicted = probabilities >= threshold
    matrix = metrics.confusion_matrix(labels, predicted, labels=[0, 1])
    (_, false_alarms), (missed, found) = matrix.tolist()
    precision = found / (found + false_alarms) if found + false_alarms else 0.0
    recall = found / (found + missed) if found + missed else 0.0
    both = has_both(labels)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "threshold": float(threshold),
        "accuracy": float((predicted == labels).mean()),
        "precision": precision if both else None,
        "recall": recall if both or labels.any() else None,
        "f1": f1 if both else None,
        "confusion_matrix": matrix.tolist(),
    }


def error_rates(confusion_matrix: list[list[int]]) -> ErrorRates:
    """Compute the error rates of a threshold from its confusion matrix; 0 for a class without photos.

    Examples
    --------
    >>> error_rates([[8, 2], [1, 4]])
    {'false_alarm_rate': 0.2, 'miss_rate': 0.2}
    """
    (passed, false_alarms), (missed, found) = confusion_matrix
    return {
        "false_alarm_rate": false_alarms / max(1, passed + false_alarms),
        "miss_rate": missed / max(1, missed + found),
    }


def score_errors(labels: Labels, probabilities: Floats, threshold: float, scenes: NDArray[np.str_]) -> ErrorIntervals:
    """Compute the error rates at a threshold with their 95 % intervals.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    probabilities : ndarray of shape (n,), float64
        P(blurred).
    threshold : float
        Blurred from this probability on.
    scenes : ndarray of shape (n,), str
        Photos of one scene are not independent: an interval is as wide as for one photo of each scene.

    Returns
    -------
    ErrorIntervals
    """
    rates, intervals = [], []
    for value in (0, 1):
        rows = labels == value
        wrong = (probabilities[rows] >= threshold) != value
        rates.append(float(wrong.mean()) if rows.any() else None)
        intervals.append(rate_interval(float(wrong.mean()), len(set(scenes[rows]))) if rows.any() else None)
    return {
        "false_alarm_rate": rates[0],
        "false_alarm_interval": intervals[0],
        "miss_rate": rates[1],
        "miss_interval": intervals[1],
    }


def rate_interval(rate: float, count: int) -> list[float]:
    """Estimate the 95 % interval of a rate by Wilson's method, which holds for rates of 0 and 1 as well.

    Parameters
    ----------
    rate : float
        0 to 1.
    count : int
        Number of independent observations, at least 1.

    Returns
    -------
    list of two floats
        0 to 1.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Examples
    --------
    >>> [round(bound, 3) for bound in rate_interval(0.0, 100)]
    [0.0, 0.037]
    """
    z = 1.96
    middle = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2))
    return [max(0.0, middle - reach), min(1.0, middle + reach)]


def bootstrap_roc_auc(
    labels: Labels, scores: Floats, scenes: NDArray[np.str_], *, seed: int, draws: int = 1000
) -> list[float] | None:
    """Estimate a 95 % interval of the ROC AUC by bootstrapping scenes, not photos.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    scores : ndarray of shape (n,), float64
        Higher is more blurred.
    scenes : ndarray of shape (n,), str
        Photos of one scene are not independent, so they are drawn together.
    seed : int
    draws : int
        At least 1.

    Returns
    -------
    list of two floats, or None
        2.5th and 97.5th percentiles; None if no draw has both classes.
    """
    if not has_both(labels):
        return None
    return _interval(draw_roc_auc(labels, scores, scenes, seed=seed, draws=draws))


def draw_roc_auc(labels: Labels, scores: Floats, scenes: NDArray[np.str_], *, seed: int, draws: int = 1000) -> Floats:
    """Compute the ROC AUC of each bootstrap draw of scenes.

    The draws depend on seed and scenes only, so that two sets of scores can be compared draw by draw.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    scores : ndarray of shape (n,), float64
        Higher is more blurred.
    scenes : ndarray of shape (n,), str
        Drawn with replacement, each with all its photos.
    seed : int
    draws : int
        At least 1.

    Returns
    -------
    ndarray of shape (draws,), float64
        NaN if a draw has only one class.
    """
    rng = np.random.default_rng(seed)
    names, scene = np.unique(scenes, return_inverse=True)
    levels, level = np.unique(scores, return_inverse=True)
    areas = np.full(draws, np.nan)
    for number, times in enumerate(rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)):
        weight = times[scene]
        blurred = np.bincount(level, weight * labels, len(levels))
        sharp = np.bincount(level, weight * (1 - labels), len(levels))
        pairs = blurred.sum() * sharp.sum()
        if pairs:  # counts ordered pairs itself, since scikit-learn's weighted ROC AUC takes milliseconds per draw
            below = np.cumsum(sharp) - sharp
            areas[number] = float(blurred @ (below + sharp / 2)) / pairs
    return areas


def trace_curves(labels: Labels, scores: Floats) -> Curves | None:
    """Trace the ROC and the precision-recall curve.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    scores : ndarray of shape (n,), float64
        Higher is more blurred.

    Returns
    -------
    Curves or None
        None if all photos are of one class.
    """
    if not has_both(labels):
        return None
    false_alarms, hits, _ = metrics.roc_curve(labels, scores)
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    return {
        "roc": {"false_alarm_rate": _rounded(false_alarms), "recall": _rounded(hits)},
        "precision_recall": {"recall": _rounded(recall), "precision": _rounded(precision)},
    }


def score_groups(
    labels: Labels, probabilities: Floats, threshold: float, groups: NDArray[np.str_]
) -> dict[str, GroupScores]:
    """Score each group of photos separately.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    probabilities : ndarray of shape (n,), float64
        P(blurred).
    threshold : float
        Blurred from this probability on.
    groups : ndarray of shape (n,), str
        Empty for photos without a group.

    Returns
    -------
    dict of str to GroupScores
        In alphabetical order.
    """
    scored: dict[str, GroupScores] = {}
    for group in sorted(set(groups) - {""}):
        rows = groups == group
        blurred, predicted = labels[rows] == 1, probabilities[rows] >= threshold
        both = blurred.any() and not blurred.all()
        scored[str(group)] = {
            "n": int(rows.sum()),
            "n_blurred": int(blurred.sum()),
            "accuracy": float((predicted == blurred).mean()),
            "recall": float(predicted[blurred].mean()) if blurred.any() else None,
            "false_alarm_rate": float(predicted[~blurred].mean()) if not blurred.all() else None,
            "roc_auc": float(metrics.roc_auc_score(labels[rows], probabilities[rows])) if both else None,
        }
    return scored


def recall_by_strength(labels: Labels, probabilities: Floats, threshold: float, strengths: Floats) -> list[StrengthBin]:
    """Compute the recall of blurred photos by their true strength.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    probabilities : ndarray of shape (n,), float64
        P(blurred).
    threshold : float
        Blurred from this probability on.
    strengths : ndarray of shape (n,), float64
        In pixels; NaN if unknown.

    Returns
    -------
    list of StrengthBin
        One per range between `STRENGTH_EDGES` that has photos.
    """
    rows = (labels == 1) & np.isfinite(strengths)
    bins: list[StrengthBin] = []
    for low, high in pairwise(STRENGTH_EDGES):
        within = rows & (strengths >= low) & (strengths < high)
        if within.any():
            recall = float((probabilities[within] >= threshold).mean())
            upper = None if math.isinf(high) else high
            bins.append({"from_px": low, "to_px": upper, "n": int(within.sum()), "recall": recall})
    return bins


def score_laplacian(
    labels: Labels,
    probabilities: Floats,
    variances: Floats,
    scenes: NDArray[np.str_],
    *,
    seed: int,
    cutoff: float | None = None,
) -> LaplacianScores:
    """Score the variance of the Laplacian, as it is customarily used, on the same photos.

    Parameters
    ----------
    labels : ndarray of shape (n,), int8
    probabilities : ndarray of shape (n,), float64
        The model's P(blurred), for comparison.
    variances : ndarray of shape (n,), float64
        Variance of the Laplacian; higher is sharper.
    scenes : ndarray of shape (n,), str
    seed : int
        Seed of the bootstrap.
    cutoff : float, optional
        A better cutoff than the customary one; blurred up to and including it.

    Returns
    -------
    LaplacianScores
        ``gain_interval`` is the 95 % interval of the model's ROC AUC minus that of the variance, from paired draws of
        scenes, and None if all photos are of one class.
    """
    gain = draw_roc_auc(labels, probabilities, scenes, seed=seed) - draw_roc_auc(labels, -variances, scenes, seed=seed)
    ranking = score_ranking(labels, -variances)
    scores: LaplacianScores = {
        "gain_interval": _interval(gain),
        "roc_auc": ranking["roc_auc"],
        "average_precision": ranking["average_precision"],
        "roc_auc_interval": bootstrap_roc_auc(labels, -variances, scenes, seed=seed),
        "curves": trace_curves(labels, -variances),
        "customary_cutoff": CUSTOMARY_CUTOFF,
        "accuracy_at_customary_cutoff": float(((variances < CUSTOMARY_CUTOFF) == labels).mean()),
    }
    if cutoff is not None:
        scores["chosen_cutoff"] = cutoff
        scores["accuracy_at_chosen_cutoff"] = float(((variances <= cutoff) == labels).mean())
    return scores


def score_kinds(
    judged: NDArray[np.bool_],
    labels: Labels,
    families: NDArray[np.str_],
    strengths: Floats,
    predicted: NDArray[np.str_] | None,
) -> KindScores | None:
    """Score the predicted kinds of the blurred photos whose kind is known.

    Parameters
    ----------
    judged : ndarray of shape (n,), bool
        True for photos judged blurred: no other has a kind.
    labels : ndarray of shape (n,), int8
    families : ndarray of shape (n,), str
        True kind: ``defocus``, ``motion`` or ``gaussian``; empty if unknown.
    strengths : ndarray of shape (n,), float64
        True strength in pixels; NaN if unknown.
    predicted : ndarray of shape (n,), str, or None
        May be ``mixed``; empty for photos without a prediction, None if the model predicts no kinds.

    Returns
    -------
    KindScores or None
        None if no blurred photo that was judged blurred has both a known and a predicted kind.
    """
    if predicted is None:
        return None
    known = (labels == 1) & (families != "") & (predicted != "")
    rows = known & judged
    if not rows.any():
        return None
    frequent = max(int((families[rows] == family).sum()) for family in set(families[rows]))
    bins: list[KindBin] = []
    for low, high in pairwise(KIND_EDGES):
        within = known & (strengths >= low) & (strengths < high)
        if within.any():
            upper = None if math.isinf(high) else high
            bins.append({"from_px": low, "to_px": upper, **_confuse(within, judged, families, predicted)})
    return {
        **_confuse(known, judged, families, predicted),
        "accuracy": float((predicted[rows] == families[rows]).mean()),
        "accuracy_of_guessing": frequent / int(rows.sum()),
        "by_strength": bins,
    }


def _confuse(
    known: NDArray[np.bool_], judged: NDArray[np.bool_], families: NDArray[np.str_], predicted: NDArray[np.str_]
) -> Confusion:
    """Count which kinds of these photos were taken for which."""
    rows = known & judged
    confusion = {
        family: {name: int((predicted[rows & (families == family)] == name).sum()) for name in (*KINDS, MIXED)}
        for family in KINDS
        if (rows & (families == family)).any()
    }
    shares = [counts[family] / sum(counts.values()) for family, counts in confusion.items()]
    return {
        "n": int(rows.sum()),
        "n_missed": int((known & ~judged).sum()),
        "balanced_accuracy": float(np.mean(shares)) if shares else None,
        "confusion": confusion,
    }


def score_strengths(
    judged: NDArray[np.bool_],
    labels: Labels,
    strengths: Floats,
    predicted: Floats | None,
    intervals: Floats | None = None,
) -> StrengthScores | None:
    """Score the predicted strengths of the blurred photos whose strength is known.

    Parameters
    ----------
    judged : ndarray of shape (n,), bool
        True for photos judged blurred.
    labels : ndarray of shape (n,), int8
    strengths : ndarray of shape (n,), float64
        True strength in pixels; NaN if unknown.
    predicted : ndarray of shape (n,), float64, or None
        In pixels; NaN for photos without a prediction, None if the model predicts no strengths.
    intervals : ndarray of shape (n, 2), float64, optional
        Predicted bounds of the strength.

    Returns
    -------
    StrengthScores or None
        None if no blurred photo that was judged blurred has both a known and a predicted strength.
    """
    if predicted is None:
        return None
    known = (labels == 1) & (strengths > 0)
    rows = known & judged & np.isfinite(predicted)
    if not rows.any():
        return None
    true, found = strengths[rows], predicted[rows]
    within = None if intervals is None else (intervals[rows, 0] <= true) & (true <= intervals[rows, 1])
    return {
        "n": int(rows.sum()),
        "n_missed": int((known & ~judged).sum()),
        "n_untold": int((known & judged & ~np.isfinite(predicted)).sum()),
        "median_relative_error": float(np.median(np.abs(found - true) / true)),
        "spearman": float(stats.spearmanr(found, true).statistic) if np.ptp(found) and np.ptp(true) else None,
        "share_in_interval": None if within is None else float(within.mean()),
    }


def _interval(values: Floats) -> list[float] | None:
    values = values[np.isfinite(values)]
    return [float(value) for value in np.percentile(values, [2.5, 97.5])] if values.size else None


def _rounded(values: Floats) -> list[float]:
    return [round(float(value), 6) for value in values]
