"""Model and table -> all figures: applies `blurgate.learning.metrics` to a feature table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NotRequired, TypedDict

import numpy as np

from blurgate.errors import DatasetError
from blurgate.judging.cards import TREES
from blurgate.judging.description import describe_asking
from blurgate.judging.model import BlurModel, Predictions
from blurgate.judging.verdicts import LABELS
from blurgate.learning.metrics import (
    CalibrationScores,
    Curves,
    Decisions,
    ErrorIntervals,
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
    score_errors,
    score_groups,
    score_kinds,
    score_laplacian,
    score_ranking,
    score_strengths,
    trace_curves,
)
from blurgate.learning.table import WITHOUT_NET_OUTPUTS, FeatureTable

CUTOFFS = tuple(round(0.05 * step, 2) for step in range(1, 20))
N_MISTAKES = 20


class SourceScores(GroupScores):
    """Figures for one source, predicted by trees trained on the others."""

    roc_auc_within: float | None
    roc_auc_of_laplacian: float | None
    ece: float


class Mistake(TypedDict):
    """A wrong decision; ``row`` is the photo's row in the table."""

    row: int
    source: str
    path: str
    label: str
    decision: str
    probability: float
    kind: str
    strength_px: float | None


class SearchNumbers(TypedDict):
    """Trials of a search, the best score and parameters, and how much each parameter mattered."""

    best: float
    trials: list[dict[str, float | None]]
    parameters: dict[str, Any]
    importances: dict[str, float]


class TrainingNumbers(TypedDict):
    """Training data of a model, and how the model was validated."""

    n: int
    n_blurred: int
    n_scenes: int
    n_copies: int
    n_without_hash: int
    sources: dict[str, int]
    feature_set: str
    validate: str
    folds: int
    out_of_fold_roc_auc: float


class ModelNumbers(TypedDict):
    """Which model the figures are of: who judges which photo, its hash, what made it and from how many photos."""

    asks: str
    explainer: str | None
    fingerprint: str
    made_by: str
    n_trained_on: int | None
    n_calibrated_on: int | None


class ColumnUse(TypedDict):
    """How much the trees use one feature."""

    column: str
    gain: float
    mean_abs_shap: float


class Numbers(Ranking, CalibrationScores, Decisions, ErrorIntervals):
    """All figures of an evaluation, ready for JSON; None where the photos lack a class that the figure needs.

    ``n_by_model`` counts photos left out because the model labelled them, and ``n_chosen`` those that were labelled
    because they are hard or wrong.
    """

    n: int
    n_blurred: int
    n_scenes: int
    n_errors: int
    n_undecided: int
    n_by_model: int
    n_chosen: int
    roc_auc_interval: list[float] | None
    base_rate_trained: float
    cutoffs: list[Decisions]
    curves: Curves | None
    by_tier: dict[str, GroupScores]
    by_kind: dict[str, GroupScores]
    by_source: dict[str, GroupScores]
    recall_by_strength: list[StrengthBin]
    variance_of_laplacian: LaplacianScores
    mistakes: list[Mistake]
    skipped: list[dict[str, str]]
    kind: KindScores | None
    strength: StrengthScores | None
    model: NotRequired[ModelNumbers]
    sources: NotRequired[dict[str, SourceScores]]
    training: NotRequired[TrainingNumbers]
    search: NotRequired[SearchNumbers]
    features: NotRequired[list[ColumnUse]]


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on labelled photos.

    Parameters
    ----------
    numbers : Numbers
    table : FeatureTable
        The photos that the figures were measured on.
    """

    numbers: Numbers
    table: FeatureTable


def evaluate(model: BlurModel, table: FeatureTable, *, seed: int = 0) -> Evaluation:
    """Evaluate a model on labelled photos.

    Parameters
    ----------
    model : BlurModel
    table : FeatureTable
        Labelled, with the model's feature set. Photos that a model labelled are left out. If all are of one class, the
        error rate of that class remains. Kinds and strengths of a model with an explainer are what that read of the
        photos; if nothing read them, they are those of boosters for kinds and strengths, if the model has any.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Evaluation
        Scores of ranking, calibration and decisions; curves; scores by tier, kind, source and strength; the most
        confident mistakes; the skipped photos; scores of the variance of the Laplacian.

    Raises
    ------
    DatasetError
        If labels are missing, or the model's, no photo can be judged, the model was calibrated on some of these photos,
        it needs other features, or another explainer than the model's read the photos.
    """
    require_compatible(model, table)
    if model.explainer and table.explainer not in ("", model.explainer.name):
        raise DatasetError(
            f"expected a table with readings of the model's {model.explainer.name}, but it has those of "
            f"{table.explainer}: {WITHOUT_NET_OUTPUTS}"
        )
    table = table.by_persons().without_flat()
    if not len(table):
        raise DatasetError("expected photos that can be judged, but all have too little texture: add others")
    card, predictions = model.card, model.predict_features(table.features, table.readings)
    found = evaluate_predictions(table, predictions, threshold=card.threshold, base_rate=card.base_rate, seed=seed)
    return replace(found, numbers={**found.numbers, "model": identify(model)})


def identify(model: BlurModel) -> ModelNumbers:
    """Say which model it is, for figures that are read long after."""
    card = model.card
    return {
        "asks": describe_asking(model),
        "explainer": model.explainer.name if model.explainer else None,
        "fingerprint": model.fingerprint,
        "made_by": card.made_by,
        "n_trained_on": _count_photos(card.trained_on.get(TREES, card.trained_on)),
        "n_calibrated_on": _count_photos(card.calibrated_on),
    }


def _count_photos(record: Any) -> int | None:
    """Read the number of photos in a record of a card, which may be anybody's; None if it has none."""
    n = record.get("n") if isinstance(record, Mapping) else None
    return n if isinstance(n, int) else None


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
    """Evaluate predictions for labelled photos, wherever the predictions come from.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    predictions : Predictions
        For the rows of the table.
    threshold : float
        Blurred from this probability on, 0 to 1.
    base_rate : float
        Share of blurred photos that the probabilities assume, 0 to 1.
    laplacian_cutoff : float, optional
        Cutoff for the variance of the Laplacian, evaluated in addition to the customary one.
    within : mapping of str to float or None, optional
        Source -> ROC AUC of a cross-validation inside it. Give it if each source was predicted by trees trained on the
        others; adds ``sources`` to the figures.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Evaluation
    """
    labels, probabilities, scenes = table.labels, predictions.probability, table.scenes
    mistakes, judged = list_mistakes(table, probabilities, threshold), probabilities >= threshold
    sources = None if within is None else _score_sources(table, probabilities, threshold, within)
    numbers: Numbers = {
        "n": table.counts["n"],
        "n_blurred": table.counts["n_blurred"],
        "n_scenes": table.counts["n_scenes"],
        "n_errors": sum(not photo.undecided for photo in table.skipped),
        "n_undecided": sum(photo.undecided for photo in table.skipped),
        "n_by_model": table.n_by_model,
        "n_chosen": int((table.column("chosen_by") != "").sum()),
        **score_ranking(labels, probabilities),
        "roc_auc_interval": bootstrap_roc_auc(labels, probabilities, scenes, seed=seed),
        **score_calibration(labels, probabilities),
        **score_decisions(labels, probabilities, threshold),
        **score_errors(labels, probabilities, threshold, scenes),  # type: ignore[typeddict-item] # no ** brings optional keys
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
        "kind": score_kinds(judged, labels, table.families, table.strengths, predictions.kind),
        "strength": score_strengths(judged, labels, table.strengths, predictions.strength_px, predictions.interval_px),
    }
    if sources is not None:
        numbers["sources"] = sources
    return Evaluation(numbers, table)


def require_compatible(model: BlurModel, table: FeatureTable) -> None:
    """Check that a table has the features that a model needs and no photo that it was calibrated on.

    Parameters
    ----------
    model : BlurModel
    table : FeatureTable

    Raises
    ------
    DatasetError
        If the feature sets differ, or the model was calibrated on a photo of the table.
    """
    if table.feature_set != model.card.feature_set:
        remedy = WITHOUT_NET_OUTPUTS if model.net else f"make it with --feature-set {model.card.feature_set}"
        raise DatasetError(
            f"the model needs a table of the feature set {model.card.feature_set}, which it was trained on, "
            f"but this is one of {table.feature_set}: {remedy}"
        )
    known = set(model.card.calibrated_on.get("digests", ()))
    if not known:
        return
    seen = [photo.path for photo, digest in zip(table.photos, table.digests(), strict=True) if digest in known]
    if seen:
        others = f" and {len(seen) - 1} more" if len(seen) > 1 else ""
        raise DatasetError(
            f"expected photos that the model was not calibrated on, but it was calibrated on {len(seen)} of these "
            f"{len(table)}: {seen[0]}{others}; remove them, or calibrate with --holdout, which "
            "evaluates on photos that it holds out"
        )


def list_mistakes(table: FeatureTable, probabilities: Floats, threshold: float) -> list[Mistake]:
    """List the wrong decisions, the most confident first, at most `N_MISTAKES`.

    Confidence is the distance between probability and threshold in log-odds, which compares misses and false alarms
    fairly wherever the threshold is.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    probabilities : ndarray of shape (n_photos,), float64
        P(blurred).
    threshold : float
        Blurred from this probability on.

    Returns
    -------
    list of Mistake
    """
    wrong = np.flatnonzero((probabilities >= threshold) != table.labels)
    distance = np.abs(_log_odds(probabilities[wrong]) - _log_odds(np.asarray([threshold])))
    ordered = wrong[np.argsort(-distance, kind="stable")][:N_MISTAKES]
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
        for row in ordered
    ]


def _score_sources(
    table: FeatureTable, probabilities: Floats, threshold: float, within: Mapping[str, float | None]
) -> dict[str, SourceScores]:
    scored: dict[str, SourceScores] = {}
    for source, scores in score_groups(table.labels, probabilities, threshold, table.sources).items():
        rows = table.sources == source
        labels = table.labels[rows]
        scored[source] = {
            **scores,
            "roc_auc_within": within[source],
            "roc_auc_of_laplacian": score_ranking(labels, -table.variance_of_laplacian[rows])["roc_auc"],
            "ece": score_calibration(labels, probabilities[rows])["ece"],
        }
    return scored


def _log_odds(probabilities: Floats) -> Floats:
    clipped = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(clipped / (1 - clipped)))
