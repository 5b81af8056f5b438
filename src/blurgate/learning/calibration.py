"""Margins and labels -> calibration and threshold; a model and a user's labelled photos -> a model for that user."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import DatasetError, needs_extra
from blurgate.judging.cards import Card
from blurgate.judging.model import OWN, BlurModel, to_probability
from blurgate.learning.boosters import quantize, tree_settings
from blurgate.learning.evaluation import require_compatible
from blurgate.learning.labels import PERSON
from blurgate.learning.metrics import Decisions, Floats, Labels, error_rates, score_decisions, score_ranking
from blurgate.learning.splits import Split
from blurgate.learning.table import FeatureTable

with needs_extra("train", "Calibrating"):
    import xgboost
    from scipy import optimize
    from sklearn.metrics import roc_curve

MIN_PHOTOS, MIN_OF_A_CLASS = 20, 5  # with fewer, nothing can tell whether a calibration is better
MIN_PHOTOS_FOR_TREES = 100
OWN_TREES = {"n_estimators": 60, "learning_rate": 0.05, "max_depth": 3, "min_child_weight": 2.0, "subsample": 0.8}
CONCLUSIONS = {
    "better": "better on scenes left out: use the new file",
    "no different": "no different on scenes left out: the new file keeps the old probabilities",
    "worse": "worse on scenes left out: the new file keeps the old probabilities",
    "one class": "all labels are the same, so nothing can be compared: the new file keeps the old probabilities. Label "
    "the other class too",
    "too few": "too few labels to tell: the new file keeps the old probabilities. Label 20 photos in the gallery",
}

# chosen by simulated rounds of labelling on sources left out of training; see docs/method.md
_SLOPE_SPREAD, _SHIFT_SPREAD = 0.25, 1.5  # prior on the correction: standard deviations of its log-slope and its shift
_PRIOR_PHOTOS = 50  # with so many labels, half of the variances of the prior; with fewer, less
_LEAST_GAIN = 2.0  # in nats: by how much a calibration must lower the total log loss of scenes left out
_FOLDS = 10
_PASSES = 3  # at most, until the threshold of a cascade and the photos that it asks about settle


class DecisionsAndLoss(Decisions):
    """Decisions at a threshold, and the log loss of the probabilities."""

    log_loss: float


class CalibrationNumbers(TypedDict):
    """What calibration was given, what it concluded, and scores on the same photos before and after it.

    ``n``, ``n_blurred``, ``n_scenes``: photos that a person labelled. ``n_chosen``: of these, photos that the person
    chose, as for having seen a mistake; they do not count in the scores. ``n_by_model``: photos left out because the
    model labelled them. ``conclusion``: a key of `CONCLUSIONS`. ``refitted``: True if trees were added.

    ``before``: scores of the original model. ``after``: scores of the new model, on scenes left out. Both are None if
    there are too few photos. ``n_held_out``: if scenes were held out, the number of their photos, which these scores
    are of; else None.
    """

    n: int
    n_blurred: int
    n_scenes: int
    n_chosen: int
    n_by_model: int
    n_held_out: int | None
    old_threshold: float
    threshold: float
    conclusion: str
    refitted: bool
    before: DecisionsAndLoss | None
    after: DecisionsAndLoss | None


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


@dataclass(frozen=True)
class _Comparison:
    """The log-odds of each row by the model as it is and as it would be, without the row's scene; what is better."""

    before: Floats
    after: Floats
    refitted: bool
    conclusion: str


def calibrate(
    model: BlurModel,
    table: FeatureTable,
    *,
    max_false_alarms: float | None = None,
    min_recall: float | None = None,
    holdout: float = 0.0,
    seed: int = 0,
) -> Calibration:
    """Fit a model's probabilities to a user's own labelled photos, and its threshold to a limit on errors.

    Corrects the model's log-odds with a slope and a shift. A prior keeps the correction small, the smaller the fewer
    photos there are. From `MIN_PHOTOS_FOR_TREES` photos on, further trees are fitted to the photos as well, and used if
    they lower the log loss on left-out scenes. The probabilities only change if that makes the left-out scenes clearly
    better: otherwise the new model gives the same ones.

    Only what a person labelled counts. Photos that the person chose, as for having seen a mistake, together weigh as
    much as one photo: they say nothing about how rare such mistakes are.

    Parameters
    ----------
    model : BlurModel
        Without trees fitted to a user's photos.
    table : FeatureTable
        Labelled photos, one or more, with the model's feature set. It takes about ten for the probabilities to change.
    max_false_alarms : float, optional
        Raise the threshold until at most this share of the sharp photos is classified as blurred, 0 to 1.
    min_recall : float, optional
        Lower the threshold until at least this share of the blurred photos is found, 0 to 1.
    holdout : float
        Share of the scenes to hold out, 0 up to 1: nothing is fitted to them, and the scores are of their photos.
    seed : int
        Seed of the scenes held out, the folds and the trees.

    Returns
    -------
    Calibration

    Raises
    ------
    DatasetError
        If no photo was labelled by a person, or none can be judged; if too few scenes remain beside those held out; if
        the model already has trees fitted to a user's photos, was calibrated on some of these photos, needs other
        features, or ranks the photos worse than chance.
    ValueError
        If both shares of errors are given, or a share is out of range.

    References
    ----------
    .. [1] J. Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
           methods", Advances in Large Margin Classifiers, MIT Press 1999.
    """
    _check_shares(max_false_alarms, min_recall, holdout)
    if OWN in model.boosters:  # the correction cannot scale the margins of trees that an earlier calibration added
        raise DatasetError(
            "expected a model as it was trained, but this one already has trees fitted to a user's photos: "
            "start from the original model"
        )
    require_compatible(model, table)
    table = table.by_persons().without_flat().merge_copies()
    _check_photos(table, model.log_odds(table.features))
    table, held_out = _hold_out(table, holdout, seed)
    fitted, compared = _fit(model, table, max_false_alarms, min_recall, seed)
    conclusion = compared.conclusion
    if conclusion == "better" and held_out is not None and _contradicts(held_out, model, fitted):
        conclusion, fitted = "worse", model.with_threshold(fitted.card.threshold)

    if held_out is None:
        scored, odds = table, (compared.before, compared.after if conclusion == "better" else compared.before)
    else:
        scored, odds = held_out, (model.log_odds(held_out.features), fitted.log_odds(held_out.features))
    numbers: CalibrationNumbers = {
        "n": table.counts["n"],
        "n_blurred": table.counts["n_blurred"],
        "n_scenes": table.counts["n_scenes"],
        "n_chosen": int((table.column("chosen_by") == PERSON).sum()),
        "n_by_model": table.n_by_model,
        "n_held_out": None if held_out is None else len(held_out),
        "old_threshold": model.card.threshold,
        "threshold": fitted.card.threshold,
        "conclusion": conclusion,
        "refitted": OWN in fitted.boosters,
        "before": _score_rows(scored, odds[0], model.card.threshold),
        "after": _score_rows(scored, odds[1], fitted.card.threshold),
    }
    return Calibration(replace(fitted, card=_complete_card(fitted, model, table, numbers)), numbers)


def _fit(
    model: BlurModel, table: FeatureTable, max_false_alarms: float | None, min_recall: float | None, seed: int
) -> tuple[BlurModel, _Comparison]:
    """Calibrate a model if that makes scenes left out better, and limit its errors; say how it compares."""
    start = model.card.threshold
    # out-of-fold probabilities choose the threshold and measure its cost, since in-sample ones are optimistic
    for _ in range(_PASSES):
        compared = _compare(model, table, start, seed)
        better = compared.conclusion == "better"
        probabilities = to_probability(compared.after if better else compared.before)
        threshold = constrain_threshold(table.labels, probabilities, max_false_alarms, min_recall, start=start)
        if not model.is_cascade or threshold == model.card.threshold:
            break
        model = model.with_threshold(threshold)  # which can make a cascade ask about other photos
    if better:
        model = fit_to_photos(model, table, seed, refit=compared.refitted)
    return model.with_threshold(threshold), compared


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
    weights = weigh_photos(model, table)
    slope, shift = _fit_correction(table.labels, model.log_odds(table.features), weights)
    fitted = replace(model, card=model.card.correct_log_odds(slope, shift))
    if not refit:
        return fitted
    columns, log_odds = table.features[:, : model.own_columns], fitted.log_odds(table.features)
    data = quantize(columns, table.labels, weight=weights, base_margin=log_odds)
    settings = tree_settings(OWN_TREES, seed) | {"base_score": 0.5, "colsample_bytree": 0.3}
    own = xgboost.train(settings, data, int(OWN_TREES["n_estimators"]))
    return replace(fitted, boosters={**model.boosters, OWN: bytes(own.save_raw("ubj"))})


def weigh_photos(model: BlurModel, table: FeatureTable) -> Floats:
    """Weight photos by what their labels say about photos that nobody has labelled.

    A label counts fully if the photo was not chosen for what it shows. Photos that a person chose weigh as much as one
    photo together, and so do photos of one class only. In a list that does not say who chose them, the mistakes of the
    model weigh at most as much as the rest, in case only mistakes were labelled. Copies of a file weigh as one photo.

    Parameters
    ----------
    model : BlurModel
    table : FeatureTable
        Labelled, with the model's feature set.

    Returns
    -------
    ndarray of shape (n_photos,), float64
        Above 0, at most 1.
    """
    selected = _find_selected(table)
    weights = np.where(selected, 1 / max(1, int(selected.sum())), 1.0)
    unknown = ~selected & (table.column("chosen_by") == "")
    wrong = unknown & ((to_probability(model.log_odds(table.features)) >= model.card.threshold) != table.labels)
    right = int(unknown.sum() - wrong.sum())
    weights[wrong] = min(1.0, max(1, right) / max(1, int(wrong.sum())))
    _, groups, counts = np.unique(table.digests(), return_inverse=True, return_counts=True)
    return np.asarray(weights / counts[groups])


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
    labels: Labels,
    probabilities: Floats,
    max_false_alarms: float | None,
    min_recall: float | None,
    *,
    start: float = 0.5,
) -> float:
    """Move a threshold only as far as a limit on these photos' errors requires.

    A threshold that has to move lies half-way between two photos.

    Parameters
    ----------
    labels : ndarray of shape (n_photos,), int8
        0 sharp, 1 blurred.
    probabilities : ndarray of shape (n_photos,), float64
        P(blurred).
    max_false_alarms : float or None
        Largest share of the sharp photos that may be classified as blurred, 0 to 1.
    min_recall : float or None
        Smallest share of the blurred photos that must be found, 0 to 1; ignored if `max_false_alarms` is given.
    start : float
        The threshold to move, 0 to 1.

    Returns
    -------
    float
        0 to 1; `start` if it meets the limit, or there is none or no photo that it is about.

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
            return start
        above = probabilities[probabilities > sharp[allowed]]
        return max(start, float((sharp[allowed] + (above.min() if above.size else 1.0)) / 2))
    if min_recall is not None:
        blurred = np.sort(probabilities[labels == 1])
        missable = int((1 - min_recall) * len(blurred) + 1e-9)
        if missable >= len(blurred):
            return start
        below = probabilities[probabilities < blurred[missable]]
        return min(start, float((blurred[missable] + (below.max() if below.size else 0.0)) / 2))
    return start


def _check_shares(max_false_alarms: float | None, min_recall: float | None, holdout: float) -> None:
    for name, share in (("max_false_alarms", max_false_alarms), ("min_recall", min_recall)):
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {share}")
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout must be from 0 up to 1, but not 1, got {holdout}")
    if max_false_alarms is not None and min_recall is not None:
        raise ValueError("give either max_false_alarms or min_recall, not both: each of them fixes the threshold")


def _check_photos(table: FeatureTable, log_odds: Floats) -> None:
    if not len(table):
        raise DatasetError("calibrating needs a labelled photo that can be judged, got none: label more")
    rows = table.column("chosen_by") == ""
    labels = table.labels[rows]
    if len(labels) < MIN_PHOTOS or min(np.bincount(labels, minlength=2)) < MIN_OF_A_CLASS:
        return
    ranking = score_ranking(labels, log_odds[rows])["roc_auc"]
    if ranking is not None and ranking < 0.5:
        raise DatasetError(
            "calibrating needs a model that ranks the photos better than chance, but its ROC AUC on them is "
            f"{ranking:.2f}: check whether sharp and blurred are swapped, or only mistakes of the model are labelled; "
            "if neither, train a model on your photos"
        )


def _hold_out(table: FeatureTable, share: float, seed: int) -> tuple[FeatureTable, FeatureTable | None]:
    """Hold out a share of the scenes; None if the share is 0."""
    if not share:
        return table, None
    scenes = np.random.default_rng(seed).permutation(np.unique(table.scenes))
    count = math.ceil(share * len(scenes))
    if count >= len(scenes):
        raise DatasetError(
            f"holding out {share:.0%} of {len(scenes)} scenes leaves none to calibrate on: label photos of other "
            "scenes, or hold out fewer"
        )
    held_out = np.isin(table.scenes, scenes[:count])
    kept = replace(table.take(np.flatnonzero(~held_out)), skipped=table.skipped, n_by_model=table.n_by_model)
    return kept, table.take(np.flatnonzero(held_out))


def _contradicts(held_out: FeatureTable, model: BlurModel, fitted: BlurModel) -> bool:
    """Return True if photos held out are clearly judged worse than before."""
    before, after = (_losses(held_out.labels, each.log_odds(held_out.features)) for each in (model, fitted))
    return float(before.sum() - after.sum()) <= -_LEAST_GAIN


def _find_selected(table: FeatureTable) -> NDArray[np.bool_]:
    """Find the photos that were chosen for what they show: by a person, or all of a list with one class only."""
    chosen_by, labels = table.column("chosen_by"), table.labels
    selected = chosen_by == PERSON
    unknown = chosen_by == ""
    if len(set(labels[unknown])) == 1:
        selected |= unknown
    return np.asarray(selected, bool)


def _compare(model: BlurModel, table: FeatureTable, threshold: float, seed: int) -> _Comparison:
    """Judge each scene by the model as it is and as calibrated on the others, with trees of its own where they help."""
    labels, weights, before = table.labels, weigh_photos(model, table), model.log_odds(table.features)
    scenes = np.random.default_rng(seed).permutation(np.unique(table.scenes))
    if len(scenes) < 2:
        return _Comparison(before, before, refitted=False, conclusion=_conclude(labels, 0, 0))
    folds = [_leave_out(table.scenes, part) for part in np.array_split(scenes, min(_FOLDS, len(scenes)))]
    after, refitted = _predict_left_out(model, table, folds, seed, refit=False), False
    if weights.sum() >= MIN_PHOTOS_FOR_TREES:
        with_trees = _predict_left_out(model, table, folds, seed, refit=True)
        if weights @ (_losses(labels, after) - _losses(labels, with_trees)) > 0:
            after, refitted = with_trees, True
    gain = float(weights @ (_losses(labels, before) - _losses(labels, after)))
    right_before, right_after = ((to_probability(odds) >= threshold) == labels for odds in (before, after))
    fewer_right = weights @ right_after < weights @ right_before - 1e-9
    conclusion = _conclude(labels, float(weights.sum()), -abs(gain) if fewer_right else gain)
    return _Comparison(before, after, refitted=refitted and conclusion == "better", conclusion=conclusion)


def _conclude(labels: Labels, n_photos: float, gain: float) -> str:
    """Choose the key of `CONCLUSIONS` by the gain in total log loss."""
    if gain >= _LEAST_GAIN:
        return "better"
    if len(set(labels)) < 2:
        return "one class"
    if n_photos < MIN_PHOTOS:
        return "too few"
    return "worse" if gain <= -_LEAST_GAIN else "no different"


def _leave_out(scenes: NDArray[np.str_], left_out: NDArray[np.str_]) -> Split:
    test = np.isin(scenes, left_out)
    return Split(np.flatnonzero(~test), np.flatnonzero(test))


def _predict_left_out(
    model: BlurModel, table: FeatureTable, folds: Sequence[Split], seed: int, *, refit: bool
) -> Floats:
    log_odds = np.empty(len(table))
    for fold in folds:
        fitted = fit_to_photos(model, table.take(fold.train), seed, refit=refit)
        log_odds[fold.test] = fitted.log_odds(table.features[fold.test])
    return log_odds


def _fit_correction(labels: Labels, log_odds: Floats, weights: Floats) -> tuple[float, float]:
    """Fit a slope and a shift that correct log-odds; a gaussian prior favours no correction."""
    n_photos = float(weights.sum())
    precision = (1 + _PRIOR_PHOTOS / n_photos) / np.square([_SLOPE_SPREAD, _SHIFT_SPREAD])
    return _fit_line(log_odds, labels.astype(np.float64), weights, prior=(float(precision[0]), float(precision[1])))


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


def _score_rows(table: FeatureTable, log_odds: Floats, threshold: float) -> DecisionsAndLoss | None:
    """Score the photos that were not chosen for what they show; None if there are too few."""
    rows = ~_find_selected(table)
    if rows.sum() < MIN_PHOTOS:
        return None
    decisions = score_decisions(table.labels[rows], to_probability(log_odds[rows]), threshold)
    return {**decisions, "log_loss": float(_losses(table.labels[rows], log_odds[rows]).mean())}


def _losses(labels: Labels, log_odds: Floats) -> Floats:
    """Compute the log loss of each photo, in nats."""
    return np.asarray(np.logaddexp(0, log_odds) - labels * log_odds)


def _complete_card(fitted: BlurModel, model: BlurModel, table: FeatureTable, numbers: CalibrationNumbers) -> Card:
    """Record what the model was calibrated on, and what that changed."""
    card, after = fitted.card, numbers["after"]
    changed = numbers["conclusion"] == "better"
    if changed or card.threshold != model.card.threshold:
        how = "left out" if numbers["n_held_out"] is None else "held out"
        measured_on = f"the photos that it was calibrated on, by scenes {how}"
        rates = error_rates(after["confusion_matrix"]) if after else None
        card = replace(card, at_threshold={**rates, "measured_on": measured_on} if rates else {})
    return replace(
        card,
        base_rate=float(np.average(table.labels, weights=weigh_photos(model, table))) if changed else card.base_rate,
        calibrated_on={**table.counts, "sources": table.source_counts, "digests": sorted(set(table.digests()))},
    )
