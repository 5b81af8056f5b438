"""Log-odds and labels -> calibration and threshold; a model and a user's own labelled photos -> that user's model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import DatasetError, needs_extra
from blurgate.judging.model import OWN, BlurModel, to_probability
from blurgate.learning.boosters import tree_settings
from blurgate.learning.evaluation import refuse_unfit
from blurgate.learning.metrics import Decisions, Floats, Labels, error_rates, score_decisions, score_ranking
from blurgate.learning.splits import Split, cut_folds
from blurgate.learning.table import FeatureTable

with needs_extra("train", "Calibrating"):
    import xgboost
    from scipy import optimize
    from sklearn.metrics import log_loss, roc_curve

MIN_PHOTOS, MIN_OF_A_CLASS = 20, 5
MIN_PHOTOS_FOR_TREES = 100
OWN_TREES = {"n_estimators": 60, "learning_rate": 0.05, "max_depth": 3, "min_child_weight": 2.0, "subsample": 0.8}

# how far a user's photos may pull the line before they have to speak up: standard deviations of its log-slope and shift
_SLOPE_SPREAD, _SHIFT_SPREAD = 0.5, 1.0
_FOLDS = 5


class DecisionsAndLoss(Decisions):
    """Decisions at a threshold, and the log loss of the probabilities."""

    log_loss: float


class CalibrationNumbers(TypedDict):
    """What calibration changed on the same photos.

    ``before``: judged by the model as it was. ``after``: each judged by a model calibrated on the other scenes.
    ``refitted``: whether trees were added.
    """

    n: int
    n_blurred: int
    n_scenes: int
    threshold: float
    refitted: bool
    before: DecisionsAndLoss
    after: DecisionsAndLoss


@dataclass(frozen=True)
class Calibration:
    """What `calibrate` made of a model.

    Parameters
    ----------
    model : BlurModel
    numbers : CalibrationNumbers
    """

    model: BlurModel
    numbers: CalibrationNumbers


@dataclass(frozen=True)
class LeftOutCalibration:
    """What margins of rows left out come to.

    Parameters
    ----------
    slope, intercept : float
        P(blurred) is the logistic function of ``slope * margin + intercept``.
    threshold : float
        With the best mean of recall and specificity; see `choose_threshold`.
    probabilities : ndarray of shape (n_photos,), float64
        Of the rows left out.
    laplacian_cutoff : float
        The threshold of the variance of the Laplacian, chosen in the same way.
    """

    slope: float
    intercept: float
    threshold: float
    probabilities: Floats
    laplacian_cutoff: float


def calibrate(
    model: BlurModel,
    table: FeatureTable,
    *,
    max_false_alarms: float | None = None,
    min_recall: float | None = None,
    seed: int = 0,
) -> Calibration:
    """Fit a model's probabilities and threshold to a user's own labelled photos.

    The line from log-odds to log-odds is fitted anew, held back by a prior, so that 20 photos do not overrule what
    thousands taught. From `MIN_PHOTOS_FOR_TREES` photos on, further trees are fitted to them as well, and kept if the
    log loss on scenes left out falls.

    Parameters
    ----------
    model : BlurModel
    table : FeatureTable
        At least 20 labelled photos with the model's feature set, five of each class.
    max_false_alarms : float, optional
        Raise the threshold from 0.5 until no larger share of the sharp photos is called blurred.
    min_recall : float, optional
        Lower the threshold from 0.5 until no smaller share of the blurred photos is found.
    seed : int
        Of the folds and the trees.

    Returns
    -------
    Calibration

    Raises
    ------
    DatasetError
        If there are too few photos, one class only, or too few scenes to leave some out; if the model was calibrated on
        some of them already, needs other features, or ranks them the wrong way round.
    ValueError
        If both shares are given, or one is not between 0 and 1.

    References
    ----------
    .. [1] J. Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
           methods", Advances in Large Margin Classifiers, MIT Press 1999.
    """
    for name, share in (("max_false_alarms", max_false_alarms), ("min_recall", min_recall)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {share}")
    if max_false_alarms is not None and min_recall is not None:
        raise ValueError("one of max_false_alarms and min_recall was needed, got both: one follows from the other")
    if OWN in model.boosters:  # what an earlier calibration added cannot be scaled by the line
        raise DatasetError(
            "a model as it was trained was needed, but this one was refitted to somebody's photos: start from that one"
        )
    refuse_unfit(model, table)
    table = table.without_flat()
    labels, odds = table.labels, model.log_odds(table.features)
    _check_photos(labels, odds)
    folds = cut_folds(table, folds=_count_folds(table), seed=seed)
    left_out = _log_odds_left_out(model, table, folds, seed, refit=False)
    refit = False
    if len(table) >= MIN_PHOTOS_FOR_TREES:
        with_trees = _log_odds_left_out(model, table, folds, seed, refit=True)
        refit = _loss(labels, with_trees) < _loss(labels, left_out)
        left_out = with_trees if refit else left_out
    # out-of-fold probabilities choose the threshold and say what it costs: the fitted ones flatter themselves
    threshold = pick_threshold(labels, to_probability(left_out), max_false_alarms, min_recall)
    after = _score(labels, left_out, threshold)
    fitted = fit_own(model, table, seed, refit=refit)
    card = replace(
        fitted.card,
        threshold=threshold,
        base_rate=float(labels.mean()),
        at_threshold={
            **error_rates(after["confusion_matrix"]),
            "measured_on": "the photos that it was calibrated on, by scenes left out",
        },
        calibrated_on={**table.counts, "sources": table.source_counts, "digests": sorted(set(table.digests()))},
    )
    numbers: CalibrationNumbers = {
        "n": table.counts["n"],
        "n_blurred": table.counts["n_blurred"],
        "n_scenes": table.counts["n_scenes"],
        "threshold": threshold,
        "refitted": refit,
        "before": _score(labels, odds, model.card.threshold),
        "after": after,
    }
    return Calibration(replace(fitted, card=card), numbers)


def fit_own(model: BlurModel, table: FeatureTable, seed: int, *, refit: bool) -> BlurModel:
    """Fit the line, and where asked for the trees, to all rows of a table; the threshold stays."""
    odds = model.log_odds(table.features)
    slope, shift = _fit_correction(table.labels, odds)
    card = replace(
        model.card,
        slope=slope * model.card.slope,
        net_slope=slope * model.card.net_slope,
        intercept=slope * model.card.intercept + shift,
    )
    if not refit:
        return replace(model, card=card)
    data = xgboost.QuantileDMatrix(table.features, table.labels, base_margin=slope * odds + shift, nthread=1)
    settings = tree_settings(OWN_TREES, seed) | {"base_score": 0.5, "colsample_bytree": 0.3}
    own = xgboost.train(settings, data, int(OWN_TREES["n_estimators"]))
    return replace(model, card=card, boosters={**model.boosters, OWN: bytes(own.save_raw("ubj"))})


def fit_calibration(labels: Labels, margins: Floats, weights: NDArray[Any] | None = None) -> tuple[float, float]:
    """Fit the slope and intercept that turn margins into log-odds, by Platt's method.

    Its softened targets keep the slope finite where the classes are apart entirely.
    """
    n_blurred = int(labels.sum())
    n_sharp = len(labels) - n_blurred
    target = np.where(labels == 1, (n_blurred + 1) / (n_blurred + 2), 1 / (n_sharp + 2))
    return _fit_line(margins, target, np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64))


def calibrate_left_out(table: FeatureTable, margins: Floats, *, by_source: bool) -> LeftOutCalibration:
    """Calibrate margins of rows left out and choose the threshold; every class of every source counts alike.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes; two sources or more if `by_source`.
    margins : ndarray of shape (n_photos,), float64
        Of trees that have not seen a row's scene or source.
    by_source : bool
        Give each source's photos the probabilities that the other sources' calibration would give them.

    Returns
    -------
    LeftOutCalibration
    """
    labels, weights = table.labels, table.even_weights
    slope, intercept = fit_calibration(labels, margins, weights)
    fitted = to_probability(slope * margins + intercept)
    across = fitted.copy()
    for source in set(table.sources) if by_source else ():
        out = table.sources == source
        line = fit_calibration(labels[~out], margins[~out], weights[~out])
        across[out] = to_probability(line[0] * margins[out] + line[1])
    return LeftOutCalibration(
        slope=slope,
        intercept=intercept,
        threshold=choose_threshold(labels, fitted, weights),
        probabilities=across,
        laplacian_cutoff=-choose_threshold(labels, -table.variance_of_laplacian, weights),
    )


def choose_threshold(labels: Labels, scores: Floats, weights: NDArray[Any] | None = None) -> float:
    """Choose the threshold with the best mean of recall and specificity: the share of blurred photos does not move it.

    A best one by a photo or two is chance; so it is the middle of all thresholds that are as good within one standard
    error.
    """
    false_alarms, hits, thresholds = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    balanced = (hits + 1 - false_alarms) / 2
    best = balanced.max()
    good = thresholds[balanced >= best - np.sqrt(best * (1 - best) / len(labels))]
    below = scores[scores < good.min()]  # a threshold decides alike from the next lower score on
    return float((good[np.isfinite(good)].max() + (below.max() if below.size else good.min())) / 2)


def pick_threshold(
    labels: Labels, probabilities: Floats, max_false_alarms: float | None, min_recall: float | None
) -> float:
    """Pick the threshold that keeps a promise on these photos, half-way to the next photo; 0.5 where that keeps it.

    Examples
    --------
    >>> labels, probabilities = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])
    >>> pick_threshold(labels, probabilities, 0.0, None), pick_threshold(labels, probabilities, None, 1.0)
    (0.75, 0.25)
    """
    if max_false_alarms is not None:
        sharp = np.sort(probabilities[labels == 0])[::-1]
        allowed = int(max_false_alarms * len(sharp) + 1e-9)
        if allowed >= len(sharp):
            return 0.5
        above = probabilities[probabilities > sharp[allowed]]
        return max(0.5, float((sharp[allowed] + (above.min() if above.size else 1.0)) / 2))
    if min_recall is not None:
        blurred = np.sort(probabilities[labels == 1])
        missable = int((1 - min_recall) * len(blurred) + 1e-9)
        if missable >= len(blurred):
            return 0.5
        below = probabilities[probabilities < blurred[missable]]
        return min(0.5, float((blurred[missable] + (below.max() if below.size else 0.0)) / 2))
    return 0.5


def _check_photos(labels: Labels, log_odds: Floats) -> None:
    n_blurred = int(labels.sum())
    n_sharp = len(labels) - n_blurred
    if len(labels) < MIN_PHOTOS or min(n_sharp, n_blurred) < MIN_OF_A_CLASS:
        raise DatasetError(
            f"at least {MIN_PHOTOS} labelled photos that can be judged, {MIN_OF_A_CLASS} of them sharp and "
            f"{MIN_OF_A_CLASS} blurred, were needed, got {n_sharp} sharp and {n_blurred} blurred ones: label more"
        )
    ranking = score_ranking(labels, log_odds)["roc_auc"]
    if ranking < 0.5:
        raise DatasetError(
            f"photos that the model ranks better than chance were needed, but its ROC AUC on them is {ranking:.2f}: "
            "see whether sharp and blurred are swapped; if not, train a model of your own"
        )


def _count_folds(table: FeatureTable) -> int:
    """Count the folds that the scenes of the rarer class allow."""
    labels, scenes = table.labels, table.scenes
    fewest = min(len(set(scenes[labels == value])) for value in (0, 1))
    if fewest < 2:
        raise DatasetError(
            "photos of two scenes or more were needed in each class, so that some can be left out, but all are of one: "
            "label photos of other scenes, or mend the column scene"
        )
    return min(_FOLDS, fewest)


def _log_odds_left_out(
    model: BlurModel, table: FeatureTable, folds: Sequence[Split], seed: int, *, refit: bool
) -> Floats:
    odds = np.empty(len(table))
    for fold in folds:
        fitted = fit_own(model, table.take(fold.train), seed, refit=refit)
        odds[fold.test] = fitted.log_odds(table.features[fold.test])
    return odds


def _fit_correction(labels: Labels, log_odds: Floats) -> tuple[float, float]:
    """Fit slope and shift of a line through given log-odds; a gaussian prior says that it need not be corrected."""
    return _fit_line(
        log_odds, labels.astype(np.float64), np.ones(len(labels)), prior=(1 / _SLOPE_SPREAD**2, 1 / _SHIFT_SPREAD**2)
    )


def _fit_line(
    margins: Floats, target: Floats, weights: Floats, prior: tuple[float, float] = (0.0, 0.0)
) -> tuple[float, float]:
    def loss(line: Floats) -> tuple[float, Floats]:
        slope = np.exp(line[0])
        odds = slope * margins + line[1]
        error = weights * (to_probability(odds) - target)
        value = float(weights @ (np.logaddexp(0, odds) - target * odds))
        value += 0.5 * (prior[0] * line[0] ** 2 + prior[1] * line[1] ** 2)
        gradient = [slope * (error @ margins) + prior[0] * line[0], error.sum() + prior[1] * line[1]]
        return value, np.asarray(gradient)

    best = optimize.minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-7, 7), (None, None)])
    return float(np.exp(best.x[0])), float(best.x[1])


def _score(labels: Labels, log_odds: Floats, threshold: float) -> DecisionsAndLoss:
    decisions = score_decisions(labels, to_probability(log_odds), threshold)
    return {**decisions, "log_loss": _loss(labels, log_odds)}


def _loss(labels: Labels, log_odds: Floats) -> float:
    return float(log_loss(labels, to_probability(log_odds), labels=[0, 1]))
