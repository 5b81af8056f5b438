"""A model and labelled photos -> everything that is measured of it: `blurgate.learning.metrics`, applied to a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np

from blurgate.errors import DatasetError
from blurgate.judging.model import BlurModel, Predictions
from blurgate.judging.verdicts import LABELS
from blurgate.learning.metrics import (
    CalibrationScores,
    Curves,
    Decisions,
    Floats,
    GroupScores,
    KindScores,
    LaplacianScores,
    Ranking,
    StrengthBin,
    StrengthScores,
    bootstrap_roc_auc,
    recall_by_strength,
    score_calibration,
    score_decisions,
    score_groups,
    score_kinds,
    score_laplacian,
    score_ranking,
    score_strengths,
    trace_curves,
)
from blurgate.learning.table import FeatureTable

CUTOFFS = tuple(round(0.05 * step, 2) for step in range(1, 20))
N_MISTAKES = 20


class SourceScores(GroupScores):
    """Figures of one source, predicted by trees of the others."""

    roc_auc_within: float | None
    roc_auc_of_laplacian: float
    ece: float


class Mistake(TypedDict):
    """A wrong decision; ``row`` is the photo's place in the table."""

    row: int
    source: str
    path: str
    label: str
    decision: str
    probability: float
    kind: str
    strength_px: float | None


class SearchNumbers(TypedDict):
    """The course of a search, the best parameters, and which of them mattered."""

    best: float
    trials: list[dict[str, float | None]]
    parameters: dict[str, Any]
    importances: dict[str, float]


class TrainingNumbers(TypedDict):
    """What a model was trained on and how it was validated."""

    n: int
    n_blurred: int
    n_scenes: int
    sources: dict[str, int]
    feature_set: str
    validate: str
    folds: int
    out_of_fold_roc_auc: float


class ColumnUse(TypedDict):
    """How much the trees use a feature."""

    column: str
    gain: float
    mean_abs_shap: float


class Numbers(Ranking, CalibrationScores, Decisions):
    """Everything that is measured of a model; JSON holds it."""

    n: int
    n_blurred: int
    n_scenes: int
    n_errors: int
    n_undecided: int
    roc_auc_interval: list[float] | None
    base_rate_trained: float
    cutoffs: list[Decisions]
    curves: Curves
    by_tier: dict[str, GroupScores]
    by_kind: dict[str, GroupScores]
    by_source: dict[str, GroupScores]
    recall_by_strength: list[StrengthBin]
    variance_of_laplacian: LaplacianScores
    mistakes: list[Mistake]
    skipped: list[dict[str, str]]
    kind: KindScores | None
    strength: StrengthScores | None
    sources: NotRequired[dict[str, SourceScores]]
    training: NotRequired[TrainingNumbers]
    search: NotRequired[SearchNumbers]
    features: NotRequired[list[ColumnUse]]


@dataclass(frozen=True)
class Evaluation:
    """How a model did.

    Parameters
    ----------
    numbers : Numbers
        Everything that was measured.
    table : FeatureTable
        The photos it was measured on.
    """

    numbers: Numbers
    table: FeatureTable


def evaluate(model: BlurModel, table: FeatureTable, *, seed: int = 0) -> Evaluation:
    """Evaluate a model on labelled photos.

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
        Its numbers hold ranking, calibration and decisions, the curves, the same by tier, kind, source and strength,
        the surest mistakes, the photos left out, and what the variance of the Laplacian does.

    Raises
    ------
    DatasetError
        If labels are missing or all the same, the model was calibrated on some of these photos, or it needs other
        features.
    """
    refuse_unfit(model, table)
    table = table.without_flat()
    card, predictions = model.card, model.predict_features(table.features)
    return evaluate_predictions(table, predictions, threshold=card.threshold, base_rate=card.base_rate, seed=seed)


def evaluate_predictions(
    table: FeatureTable,
    predictions: Predictions,
    *,
    threshold: float,
    base_rate: float,
    laplacian_cutoff: float | None = None,
    within: Mapping[str, float | None] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Evaluate predictions of labelled photos, whatever they come from.

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
        If each source is predicted by trees of the others: the ROC AUC of trees of its own other scenes. Adds
        ``sources``.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Evaluation
    """
    mistakes = list_mistakes(table, predictions.probability, threshold)
    labels, probabilities, scenes = table.labels, predictions.probability, table.scenes
    numbers: Numbers = {
        "n": table.counts["n"],
        "n_blurred": table.counts["n_blurred"],
        "n_scenes": table.counts["n_scenes"],
        "n_errors": sum(not photo.undecided for photo in table.skipped),
        "n_undecided": sum(photo.undecided for photo in table.skipped),
        **score_ranking(labels, probabilities),
        "roc_auc_interval": bootstrap_roc_auc(labels, probabilities, scenes, seed=seed),
        **score_calibration(labels, probabilities),
        **score_decisions(labels, probabilities, threshold),  # type: ignore[typeddict-item] # no ** brings optional keys
        "base_rate_trained": base_rate,
        "cutoffs": [score_decisions(labels, probabilities, cutoff) for cutoff in CUTOFFS],
        "curves": trace_curves(labels, probabilities),
        "by_tier": score_groups(labels, probabilities, threshold, table.tiers),
        "by_kind": score_groups(labels, probabilities, threshold, table.kinds),
        "by_source": score_groups(labels, probabilities, threshold, table.sources),
        "recall_by_strength": recall_by_strength(labels, probabilities, threshold, table.strengths),
        "variance_of_laplacian": score_laplacian(
            labels, probabilities, table.variance_of_laplacian, scenes, seed=seed, cutoff=laplacian_cutoff
        ),
        "mistakes": mistakes,
        "skipped": [{"path": photo.path, "error": photo.error} for photo in table.skipped],
        "kind": score_kinds(labels, table.families, predictions.kind),
        "strength": score_strengths(labels, table.strengths, predictions.strength_px),
    }
    if within is not None:
        groups = numbers["by_source"]
        numbers["sources"] = {
            source: {
                **groups[source],
                "roc_auc_within": within[source],
                "roc_auc_of_laplacian": score_ranking(labels[rows], -table.variance_of_laplacian[rows])["roc_auc"],
                "ece": score_calibration(labels[rows], probabilities[rows])["ece"],
            }
            for source, rows in ((source, table.sources == source) for source in groups)
        }
    return Evaluation(numbers, table)


def refuse_unfit(model: BlurModel, table: FeatureTable) -> None:
    """Refuse a table with other features than a model needs, or with photos that it was calibrated on.

    Parameters
    ----------
    model : BlurModel
    table : FeatureTable

    Raises
    ------
    DatasetError
        If the table is one of these.
    """
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


def list_mistakes(table: FeatureTable, probabilities: Floats, threshold: float) -> list[Mistake]:
    """List the wrong decisions, the surest first, at most `N_MISTAKES`.

    A decision is as sure as its probability is far from the threshold, in log-odds: misses and false alarms are
    compared fairly wherever the threshold is.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    probabilities : ndarray of shape (n_photos,), float64
    threshold : float
        Blurred from this probability on.

    Returns
    -------
    list of Mistake
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


def _log_odds(probabilities: Floats) -> Floats:
    clipped = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(clipped / (1 - clipped)))
