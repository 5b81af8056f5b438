"""Feature table -> gradient-boosted trees, fitted by XGBoost, and what they predict of rows left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import needs_extra
from blurgate.judging.model import BLURRED, KIND, STRENGTH, STRENGTH_OFFSET, BlurModel, Predictions, to_strength
from blurgate.learning.evaluation import ColumnUse
from blurgate.learning.metrics import Floats, Labels
from blurgate.learning.splits import Split
from blurgate.learning.table import FeatureTable
from blurgate.threads import run_in_order

with needs_extra("train", "Training or evaluating"):
    import xgboost
    from sklearn.metrics import roc_auc_score

EXPLAINED = 1000  # photos, about, that SHAP values are taken of
MIN_ROWS = 30  # blurred photos of known kind, or of known strength, that a booster for it needs


def fit_boosters(
    table: FeatureTable, folds: Sequence[Split], parameters: Mapping[str, Any], *, seed: int
) -> tuple[dict[str, bytes], tuple[str, ...], Predictions]:
    """Fit the trees on all rows, and trees for kind and strength where enough photos tell theirs.

    Kinds are left out where the folds show that the features hardly tell them apart.

    Returns
    -------
    boosters : dict of str to bytes
        XGBoost's UBJSON.
    kinds : tuple of str
        Classes of the kind booster.
    left_out : Predictions
        Kind and strength of each row by trees that have not seen its fold; empty or NaN if it is in no fold's test.
        Its probabilities are NaN.
    """
    labels, features, weights = table.labels, table.features, table.weights
    boosters = {BLURRED: _fit_trees(features, labels, parameters, seed, weights)}
    left_out = Predictions(np.full(len(table), np.nan))
    families, strengths = table.families, table.strengths
    kinds = tuple(sorted(set(families[labels == 1]) - {""}))
    classes = np.asarray([kinds.index(family) if family in kinds else -1 for family in families])
    classes[labels == 0] = -1
    settings = {**parameters, "objective": "multi:softprob", "num_class": len(kinds)}
    if len(kinds) > 1:
        votes = _predict_folds(features, classes, classes >= 0, folds, settings=settings, seed=seed)
        told = np.asarray([kinds[vote] if known else "" for vote, known in zip(*_vote(votes), strict=True)])
        if _tells_kinds_apart(told, families, classes >= 0):
            boosters[KIND] = _fit_trees(features[classes >= 0], classes[classes >= 0], settings, seed)
            left_out = replace(left_out, kind=told)
    rows = np.isfinite(strengths)
    if (rows & (labels == 1)).sum() >= MIN_ROWS:
        target = np.log2(np.where(rows, strengths, 0) + STRENGTH_OFFSET)
        settings = {**parameters, "objective": "reg:squarederror"}
        boosters[STRENGTH] = _fit_trees(features[rows], target[rows], settings, seed)
        answer = _predict_folds(features, target, rows, folds, settings=settings, seed=seed)
        left_out = replace(left_out, strength_px=to_strength(answer[:, 0]))
    return boosters, kinds if KIND in boosters else (), left_out


def predict_left_out(
    table: FeatureTable, folds: Sequence[Split], parameters: Mapping[str, Any], *, seed: int, jobs: int | None = None
) -> Floats:
    """Predict each row's margin with trees that have not seen its scene or source.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    folds : sequence of Split
    parameters : dict
        Of the trees, ``n_estimators`` among them.
    seed : int
        Of the trees.
    jobs : int, optional
        Folds at work at the same time; by default one for each core.

    Returns
    -------
    ndarray of shape (n_photos,), float64
        NaN for a row that is in no fold's test.
    """
    margins = np.full(len(table), np.nan)
    data = [prepare_fold(table, fold) for fold in folds]
    for fold, found in zip(folds, fit_folds(data, parameters, seed=seed, jobs=jobs), strict=True):
        margins[fold.test] = found
    return margins


def rank_within_sources(
    table: FeatureTable,
    within: Mapping[str, Sequence[Split]],
    parameters: Mapping[str, Any],
    *,
    seed: int,
    jobs: int | None = None,
) -> dict[str, float | None]:
    """Rank each source by trees of the same source's other scenes: what leaving it out is to be compared with.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    within : mapping of str to sequence of Split
        Folds of each source; see `blurgate.learning.splits.cut_folds_within_sources`.
    parameters : mapping
        Of the trees, ``n_estimators`` among them.
    seed : int
        Of the trees.
    jobs : int, optional
        Folds at work at the same time; by default one for each core.

    Returns
    -------
    dict of str to float or None
        ROC AUC by source; None for a source without folds.
    """
    found: dict[str, float | None] = {}
    for source, folds in within.items():
        margins = predict_left_out(table, folds, parameters, seed=seed, jobs=jobs)
        rows = np.isfinite(margins)
        found[source] = float(roc_auc_score(table.labels[rows], margins[rows])) if folds else None
    return found


def tree_settings(parameters: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Say to XGBoost what is fixed and what was found; ``objective`` can be overridden."""
    # one thread: sums in one order, so the same trees on every machine; the folds are what runs side by side
    fixed = {"tree_method": "hist", "objective": "binary:logistic", "nthread": 1, "seed": seed}
    return fixed | {name: value for name, value in parameters.items() if name != "n_estimators"}


@dataclass(frozen=True)
class FoldData:
    """What the trees of a fold learn from and are tested on, as XGBoost takes it; the labels are the test's."""

    training: Any
    test: Any
    labels: Labels


def prepare_fold(table: FeatureTable, fold: Split) -> FoldData:
    """Prepare a fold once, for many fits.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    fold : Split

    Returns
    -------
    FoldData
    """
    training = table.take(fold.train)
    return FoldData(
        xgboost.QuantileDMatrix(training.features, training.labels, weight=training.weights, nthread=1),
        xgboost.DMatrix(table.features[fold.test], nthread=1),
        table.labels[fold.test],
    )


def fit_folds(
    data: Sequence[FoldData], parameters: Mapping[str, Any], *, seed: int, jobs: int | None = None
) -> Iterator[Floats]:
    """Fit trees to each fold and predict the margins of its test, side by side and in order.

    Parameters
    ----------
    data : sequence of FoldData
    parameters : dict
        Of the trees, ``n_estimators`` among them.
    seed : int
        Of the trees.
    jobs : int, optional
        Folds at work at the same time; by default one for each core.

    Yields
    ------
    ndarray of shape (n_test,), float64
    """

    def fit(fold: FoldData) -> Floats:
        booster = xgboost.train(tree_settings(parameters, seed), fold.training, parameters["n_estimators"])
        return np.asarray(booster.predict(fold.test, output_margin=True), dtype=np.float64)

    return run_in_order(fit, data, jobs=jobs)


def explain_trees(model: BlurModel, table: FeatureTable) -> list[ColumnUse]:
    """Tell what the trees use: for each column its gain and its mean absolute SHAP value on a table.

    Gain is the mean improvement of the splits on it, SHAP its share of the margin, both as XGBoost gives them; the
    columns with the largest SHAP come first.

    References
    ----------
    .. [1] S. M. Lundberg et al., "From local explanations to global understanding with explainable AI for trees",
           Nature Machine Intelligence 2 (2020) 56-67. :doi:`10.1038/s42256-019-0138-9`
    """
    some = table.features[:: max(1, len(table) // EXPLAINED)]  # it takes minutes on ten thousand
    booster = xgboost.Booster(model_file=bytearray(model.boosters[BLURRED]))
    gains = booster.get_score(importance_type="gain")
    shares = np.abs(booster.predict(xgboost.DMatrix(some), pred_contribs=True)[:, :-1]).mean(axis=0)
    rows: list[ColumnUse] = [
        {"column": column, "gain": float(gains.get(f"f{index}", 0.0)), "mean_abs_shap": float(shares[index])}
        for index, column in enumerate(table.columns)
    ]
    return sorted(rows, key=lambda row: -row["mean_abs_shap"])


def _fit_trees(
    features: NDArray[np.float32],
    target: NDArray[Any],
    parameters: Mapping[str, Any],
    seed: int,
    weight: NDArray[np.float32] | None = None,
) -> bytes:
    data = xgboost.QuantileDMatrix(features, target, weight=weight, nthread=1)
    booster = xgboost.train(tree_settings(parameters, seed), data, parameters["n_estimators"])
    return bytes(booster.save_raw("ubj"))


def _predict_folds(
    features: NDArray[np.float32],
    target: NDArray[Any],
    known: NDArray[np.bool_],
    folds: Sequence[Split],
    *,
    settings: dict[str, Any],
    seed: int,
) -> Floats:
    """Predict each fold's test rows by trees of its training rows with a known target; NaN elsewhere."""
    answers = np.full((len(features), settings.get("num_class", 1)), np.nan)

    def answer(fold: Split) -> Floats | None:
        rows = fold.train[known[fold.train]]
        if len(rows) < MIN_ROWS or len(set(target[rows])) < settings.get("num_class", 2):
            return None
        booster = xgboost.Booster(model_file=bytearray(_fit_trees(features[rows], target[rows], settings, seed)))
        margins = booster.inplace_predict(features[fold.test], predict_type="margin")
        return np.asarray(margins, dtype=np.float64).reshape(len(fold.test), -1)

    for fold, found in zip(folds, run_in_order(answer, folds), strict=True):
        if found is not None:
            answers[fold.test] = found
    return answers


def _vote(answers: Floats) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    known: NDArray[np.bool_] = np.asarray(np.isfinite(answers).all(axis=1))
    return np.where(known[:, np.newaxis], answers, 0).argmax(axis=1), known


def _tells_kinds_apart(told: NDArray[np.str_], truth: NDArray[np.str_], blurred: NDArray[np.bool_]) -> bool:
    """Say whether kinds left out close at least half of the gap between guessing the most frequent and truth."""
    rows = blurred & (told != "")
    if rows.sum() < MIN_ROWS:
        return False
    guessing = max(np.unique(truth[blurred], return_counts=True)[1]) / blurred.sum()
    return bool((told[rows] == truth[rows]).mean() - guessing >= 0.5 * (1 - guessing))
