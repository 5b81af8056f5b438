"""Margins and labels -> calibration and threshold; a model and a user's labelled photos -> a model for that user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import DatasetError, needs_extra
from blurgate.judging.model import OWN, BlurModel, to_probability
from blurgate.learning.boosters import tree_settings
from blurgate.learning.evaluation import require_compatible
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

# prior on the correction to the log-odds: standard deviations of its log-slope and of its shift
_SLOPE_SPREAD, _SHIFT_SPREAD = 0.5, 1.0
_FOLDS = 5
_PASSES = 3  # at most, until the threshold of a cascade and the photos that it asks about settle


class DecisionsAndLoss(Decisions):
    """Decisions at a threshold, and the log loss of the probabilities."""

    log_loss: float


class CalibrationNumbers(TypedDict):
    """Scores on the same photos before and after calibration.

    ``before``: scores of the original model. ``after``: each photo scored by a model calibrated on other scenes only.
    ``refitted``: True if trees were added.
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
    """A calibrated model, and what calibration changed.

    Parameters
    ----------
    model : BlurModel
    numbers : CalibrationNumbers
    """

    model: BlurModel
    numbers: CalibrationNumbers


@dataclass(frozen=True)
class LeftOutCalibration:
    """Calibration and threshold, fitted to the margins of left-out rows.

    Parameters
    ----------
    slope, intercept : float
        P(blurred) is the logistic function of ``slope * margin + intercept``.
    threshold : float
        Maximises the mean of recall and specificity, 0 to 1; see `choose_threshold`.
    probabilities : ndarray of shape (n_photos,), float64
        Calibrated P(blurred) of the left-out rows.
    laplacian_cutoff : float
        Cutoff for the variance of the Laplacian, chosen in the same way.
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

    Corrects the model's log-odds with a slope and a shift. A prior keeps the correction small, so that 20 photos do not
    overrule the thousands that the model was trained on. From `MIN_PHOTOS_FOR_TREES` photos on, further trees are
    fitted to the photos as well, and kept if they lower the log loss on left-out scenes.

    Parameters
    ----------
    model : BlurModel
        Without trees fitted to a user's photos.
    table : FeatureTable
        At least 20 labelled photos, five of each class, with the model's feature set.
    max_false_alarms : float, optional
        Raise the threshold from 0.5 until at most this share of the sharp photos is classified as blurred, 0 to 1.
    min_recall : float, optional
        Lower the threshold from 0.5 until at least this share of the blurred photos is found, 0 to 1.
    seed : int
        Seed of the folds and the trees.

    Returns
    -------
    Calibration

    Raises
    ------
    DatasetError
        If there are too few photos, only one class, or too few scenes to leave some out; if the model already has trees
        fitted to a user's photos, was calibrated on some of these photos, needs other features, or ranks the photos
        worse than chance.
    ValueError
        If both shares are given, or one is not between 0 and 1.

    References
    ----------
    .. [1] J. Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
           methods", Advances in Large Margin Classifiers, MIT Press 1999.
    """
    _check_shares(max_false_alarms, min_recall)
    if OWN in model.boosters:  # the correction cannot scale the margins of trees that an earlier calibration added
        raise DatasetError(
            "expected a model as it was trained, but this one already has trees fitted to a user's photos: "
            "start from the original model"
        )
    require_compatible(model, table)
    table = table.without_flat().merge_copies()
    labels, log_odds, before = table.labels, model.log_odds(table.features), model.card.threshold
    _check_photos(labels, log_odds)
    # out-of-fold probabilities choose the threshold and measure its cost, since in-sample ones are optimistic
    for _ in range(_PASSES):
        left_out, refit = _leave_scenes_out(model, table, seed)
        threshold = constrain_threshold(labels, to_probability(left_out), max_false_alarms, min_recall)
        if not model.is_cascade or threshold == model.card.threshold:
            break
        model = model.with_threshold(threshold)  # which can make a cascade ask about other photos
    after = _score(labels, left_out, threshold)
    fitted = fit_to_photos(model, table, seed, refit=refit)
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
        "before": _score(labels, log_odds, before),
        "after": after,
    }
    return Calibration(replace(fitted, card=card), numbers)


def fit_to_photos(model: BlurModel, table: FeatureTable, seed: int, *, refit: bool) -> BlurModel:
    """Fit a model's calibration, and optionally further trees, to all rows of a table; keep its threshold.

    Parameters
    ----------
    model : BlurModel
        Without trees fitted to a user's photos.
    table : FeatureTable
        Labelled, with the model's feature set.
    seed : int
        Seed of the trees.
    refit : bool
        Add trees fitted to the table, as the booster ``own``.

    Returns
    -------
    BlurModel
    """
    slope, shift = _fit_correction(table.labels, model.log_odds(table.features))
    fitted = replace(model, card=model.card.correct_log_odds(slope, shift))
    if not refit:
        return fitted
    columns, log_odds = table.features[:, : model.own_columns], fitted.log_odds(table.features)
    data = xgboost.QuantileDMatrix(columns, table.labels, base_margin=log_odds, nthread=1)
    settings = tree_settings(OWN_TREES, seed) | {"base_score": 0.5, "colsample_bytree": 0.3}
    own = xgboost.train(settings, data, int(OWN_TREES["n_estimators"]))
    return replace(fitted, boosters={**model.boosters, OWN: bytes(own.save_raw("ubj"))})


def fit_calibration(labels: Labels, margins: Floats, weights: NDArray[Any] | None = None) -> tuple[float, float]:
    """Fit the slope and intercept that turn margins into log-odds, by Platt's method.

    Its softened targets keep the slope finite if the classes are perfectly separable.

    Parameters
    ----------
    labels : ndarray of shape (n_photos,), int8
        0 sharp, 1 blurred.
    margins : ndarray of shape (n_photos,), float64
        Higher is more blurred.
    weights : ndarray of shape (n_photos,), optional
        Weight of each photo; by default 1.

    Returns
    -------
    slope : float
        Positive.
    intercept : float
    """
    n_blurred = int(labels.sum())
    n_sharp = len(labels) - n_blurred
    target = np.where(labels == 1, (n_blurred + 1) / (n_blurred + 2), 1 / (n_sharp + 2))
    return _fit_line(margins, target, np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64))


def calibrate_left_out(table: FeatureTable, margins: Floats, *, by_source: bool) -> LeftOutCalibration:
    """Calibrate the margins of left-out rows and choose the threshold.

    Each class of each source has the same total weight.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes; two sources or more if `by_source`.
    margins : ndarray of shape (n_photos,), float64
        Margin of each row, from trees that were not trained on its scene or source.
    by_source : bool
        Compute each source's probabilities with a calibration fitted to the other sources.

    Returns
    -------
    LeftOutCalibration
    """
    labels, weights = table.labels, table.even_weights
    slope, intercept = fit_calibration(labels, margins, weights)
    in_sample = to_probability(slope * margins + intercept)
    probabilities = in_sample.copy()
    for source in set(table.sources) if by_source else ():
        rows = table.sources == source
        other_slope, other_intercept = fit_calibration(labels[~rows], margins[~rows], weights[~rows])
        probabilities[rows] = to_probability(other_slope * margins[rows] + other_intercept)
    return LeftOutCalibration(
        slope=slope,
        intercept=intercept,
        threshold=choose_threshold(labels, in_sample, weights),
        probabilities=probabilities,
        laplacian_cutoff=-choose_threshold(labels, -table.variance_of_laplacian, weights),
    )


def choose_threshold(labels: Labels, scores: Floats, weights: NDArray[Any] | None = None) -> float:
    """Choose the threshold with the best mean of recall and specificity, whatever the share of blurred photos.

    A lead of one or two photos is chance. The result is therefore the middle of all thresholds within one standard
    error of the best.

    Parameters
    ----------
    labels : ndarray of shape (n_photos,), int8
        0 sharp, 1 blurred; both classes.
    scores : ndarray of shape (n_photos,), float64
        Higher is more blurred.
    weights : ndarray of shape (n_photos,), optional
        Weight of each photo; by default 1.

    Returns
    -------
    float
        Blurred from this score on.
    """
    false_alarms, hits, thresholds = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    balanced = (hits + 1 - false_alarms) / 2
    best = balanced.max()
    good = thresholds[balanced >= best - np.sqrt(best * (1 - best) / len(labels))]
    below = scores[scores < good.min()]  # any threshold above the next lower score makes the same decisions
    return float((good[np.isfinite(good)].max() + (below.max() if below.size else good.min())) / 2)


def constrain_threshold(
    labels: Labels, probabilities: Floats, max_false_alarms: float | None, min_recall: float | None
) -> float:
    """Move the threshold away from 0.5 only as far as a limit on these photos' errors requires.

    A threshold that has to move lies half-way between two photos.

    Parameters
    ----------
    labels : ndarray of shape (n_photos,), int8
        0 sharp, 1 blurred; both classes.
    probabilities : ndarray of shape (n_photos,), float64
        P(blurred).
    max_false_alarms : float or None
        Largest share of the sharp photos that may be classified as blurred, 0 to 1.
    min_recall : float or None
        Smallest share of the blurred photos that must be found, 0 to 1; ignored if `max_false_alarms` is given.

    Returns
    -------
    float
        0 to 1; 0.5 if it meets the limit or there is none.

    Examples
    --------
    >>> labels, probabilities = np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9])
    >>> constrain_threshold(labels, probabilities, 0.0, None), constrain_threshold(labels, probabilities, None, 1.0)
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


def _check_shares(max_false_alarms: float | None, min_recall: float | None) -> None:
    for name, share in (("max_false_alarms", max_false_alarms), ("min_recall", min_recall)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {share}")
    if max_false_alarms is not None and min_recall is not None:
        raise ValueError("give either max_false_alarms or min_recall, not both: each of them fixes the threshold")


def _check_photos(labels: Labels, log_odds: Floats) -> None:
    n_blurred = int(labels.sum())
    n_sharp = len(labels) - n_blurred
    if len(labels) < MIN_PHOTOS or min(n_sharp, n_blurred) < MIN_OF_A_CLASS:
        raise DatasetError(
            f"calibrating needs at least {MIN_PHOTOS} labelled photos that can be judged, {MIN_OF_A_CLASS} of them "
            f"sharp and {MIN_OF_A_CLASS} blurred, got {n_sharp} sharp and {n_blurred} blurred: label more"
        )
    ranking = score_ranking(labels, log_odds)["roc_auc"]
    if ranking < 0.5:
        raise DatasetError(
            "calibrating needs a model that ranks the photos better than chance, but its ROC AUC on them is "
            f"{ranking:.2f}: check whether sharp and blurred are swapped; if not, train a model on your photos"
        )


def _count_folds(table: FeatureTable) -> int:
    """Count the folds that the scenes of the rarer class allow."""
    labels, scenes = table.labels, table.scenes
    fewest = min(len(set(scenes[labels == value])) for value in (0, 1))
    if fewest < 2:
        raise DatasetError(
            "calibrating needs two scenes or more in each class, to leave some out, but a class has only one: "
            "label photos of other scenes, or fix the column scene"
        )
    return min(_FOLDS, fewest)


def _leave_scenes_out(model: BlurModel, table: FeatureTable, seed: int) -> tuple[Floats, bool]:
    """Compute each photo's log-odds with models fitted to other scenes, and decide whether to add trees."""
    folds = cut_folds(table, folds=_count_folds(table), seed=seed)
    without_trees = _predict_left_out(model, table, folds, seed, refit=False)
    if len(table) < MIN_PHOTOS_FOR_TREES:
        return without_trees, False
    with_trees = _predict_left_out(model, table, folds, seed, refit=True)
    if _loss(table.labels, with_trees) < _loss(table.labels, without_trees):
        return with_trees, True
    return without_trees, False


def _predict_left_out(
    model: BlurModel, table: FeatureTable, folds: Sequence[Split], seed: int, *, refit: bool
) -> Floats:
    log_odds = np.empty(len(table))
    for fold in folds:
        fitted = fit_to_photos(model, table.take(fold.train), seed, refit=refit)
        log_odds[fold.test] = fitted.log_odds(table.features[fold.test])
    return log_odds


def _fit_correction(labels: Labels, log_odds: Floats) -> tuple[float, float]:
    """Fit a slope and a shift that correct log-odds; a gaussian prior favours no correction."""
    return _fit_line(
        log_odds, labels.astype(np.float64), np.ones(len(labels)), prior=(1 / _SLOPE_SPREAD**2, 1 / _SHIFT_SPREAD**2)
    )


def _fit_line(
    margins: Floats, target: Floats, weights: Floats, prior: tuple[float, float] = (0.0, 0.0)
) -> tuple[float, float]:
    def loss(line: Floats) -> tuple[float, Floats]:
        slope = np.exp(line[0])
        log_odds = slope * margins + line[1]
        error = weights * (to_probability(log_odds) - target)
        value = float(weights @ (np.logaddexp(0, log_odds) - target * log_odds))
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
