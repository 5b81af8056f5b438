"""Feature table -> gradient-boosted trees, fitted by XGBoost, and their predictions of rows left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import needs_extra
from blurgate.judging.inputs import STRENGTH_OFFSET
from blurgate.judging.model import BLURRED, KIND, STRENGTH, BlurModel, Predictions, to_strength
from blurgate.learning.evaluation import ColumnUse
from blurgate.learning.metrics import Floats, Labels
from blurgate.learning.splits import Split
from blurgate.learning.table import FeatureTable
from blurgate.threads import run_aside, run_in_order

with needs_extra("train", "Training or evaluating"):
    import xgboost
    from sklearn.metrics import roc_auc_score

EXPLAINED = 1000  # approximate number of photos that SHAP values are computed for
MIN_ROWS = 30  # blurred photos of known kind or strength that the booster for it needs


def fit_boosters(
    table: FeatureTable, folds: Sequence[Split], parameters: Mapping[str, Any], *, seed: int
) -> tuple[dict[str, bytes], tuple[str, ...], Predictions]:
    """Fit the final boosters to all rows: always ``blurred``; ``kind`` and ``strength`` if enough photos have them.

    There is no booster for the kind if predictions of rows left out show that the features hardly distinguish kinds.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    folds : sequence of Split
        Rows of the table.
    parameters : mapping of str to object
        XGBoost parameters of the trees, including ``n_estimators``.
    seed : int
        Seeds the trees.

    Returns
    -------
    boosters : dict of str to bytes
        XGBoost's UBJSON.
    kinds : tuple of str
        Classes of the kind booster; empty if there is none.
    left_out : Predictions
        Kind and strength of each row, predicted by trees that have not seen its fold; empty or NaN for rows that no
        fold tests on, None without a booster. Probabilities are NaN.
    """
    boosters = {BLURRED: _fit_trees(table.features, table.labels, parameters, seed, table.weights)}
    left_out = Predictions(np.full(len(table), np.nan))
    kinds: tuple[str, ...] = ()
    if kind_fit := _fit_kind(table, folds, parameters, seed):
        boosters[KIND], kinds, predicted_kinds = kind_fit
        left_out = replace(left_out, kind=predicted_kinds)
    if strength_fit := _fit_strength(table, folds, parameters, seed):
        boosters[STRENGTH], predicted_strengths = strength_fit
        left_out = replace(left_out, strength_px=predicted_strengths)
    return boosters, kinds, left_out


def predict_left_out(
    table: FeatureTable, folds: Sequence[Split], parameters: Mapping[str, Any], *, seed: int, jobs: int | None = None
) -> Floats:
    """Predict each row's margin by trees that have not seen its scene or source.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    folds : sequence of Split
        Rows of the table.
    parameters : mapping of str to object
        XGBoost parameters of the trees, including ``n_estimators``.
    seed : int
        Seeds the trees.
    jobs : int, optional
        Folds fitted at the same time, at least 1; by default one per core.

    Returns
    -------
    ndarray of shape (n_photos,), float64
        NaN for rows that no fold tests on.

    Raises
    ------
    ValueError
        If `jobs` is below 1.
    """
    data = [prepare_fold(table, fold) for fold in folds]
    return join_folds(len(table), folds, fit_folds(data, parameters, seed=seed, jobs=jobs))


def join_folds(n_photos: int, folds: Sequence[Split], predicted: Iterable[Floats]) -> Floats:
    """Join the predictions of folds, each for its test rows, into one array.

    Parameters
    ----------
    n_photos : int
        Number of rows of the table.
    folds : sequence of Split
        Rows of the table.
    predicted : iterable of ndarray of shape (n_test,), float64
        One for each fold.

    Returns
    -------
    ndarray of shape (n_photos,), float64
        NaN for rows that no fold tests on.
    """
    margins = np.full(n_photos, np.nan)
    for fold, of_fold in zip(folds, predicted, strict=True):
        margins[fold.test] = of_fold
    return margins


def rank_within_sources(
    table: FeatureTable,
    within: Mapping[str, Sequence[Split]],
    parameters: Mapping[str, Any],
    *,
    seed: int,
    jobs: int | None = None,
) -> dict[str, float | None]:
    """Measure how well trees trained on a source's other scenes rank it: the reference for leaving the source out.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    within : mapping of str to sequence of Split
        Source -> its folds, as rows of the table; see `blurgate.learning.splits.cut_folds_within_sources`.
    parameters : mapping of str to object
        XGBoost parameters of the trees, including ``n_estimators``.
    seed : int
        Seeds the trees.
    jobs : int, optional
        Folds fitted at the same time, at least 1; by default one per core.

    Returns
    -------
    dict of str to float or None
        Source -> ROC AUC, 0 to 1; None for a source without folds.

    Raises
    ------
    ValueError
        If `jobs` is below 1.
    """
    aucs: dict[str, float | None] = {}
    for source, folds in within.items():
        margins = predict_left_out(table, folds, parameters, seed=seed, jobs=jobs)
        rows = np.isfinite(margins)
        aucs[source] = float(roc_auc_score(table.labels[rows], margins[rows])) if folds else None
    return aucs


def tree_settings(parameters: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Combine blurgate's fixed XGBoost settings with parameters found by a search.

    Parameters
    ----------
    parameters : mapping of str to object
        XGBoost parameters; they override the fixed ones, such as ``objective``.
    seed : int
        Seeds the trees.

    Returns
    -------
    dict of str to object
        As `xgboost.train` takes it: without ``n_estimators``.
    """
    # one thread adds in one order, which gives the same trees on every machine; folds run in parallel instead
    fixed = {"tree_method": "hist", "objective": "binary:logistic", "nthread": 1, "seed": seed}
    return fixed | {name: value for name, value in parameters.items() if name != "n_estimators"}


def quantize(features: NDArray[np.float32], target: NDArray[Any], **details: NDArray[Any] | None) -> Any:
    """Convert rows to the format that XGBoost trains on, safe from signals: it calls back into Python for the rows.

    Parameters
    ----------
    features : ndarray of shape (n_rows, n_columns), float32
    target : ndarray of shape (n_rows,)
        What the trees learn.
    **details : ndarray of shape (n_rows,), optional
        ``weight`` or ``base_margin`` of each row.

    Returns
    -------
    xgboost.QuantileDMatrix
    """
    return run_aside(lambda: xgboost.QuantileDMatrix(features, target, **details, nthread=1))


@dataclass(frozen=True)
class FoldData:
    """The data of a fold in XGBoost's own format.

    Parameters
    ----------
    training : xgboost.QuantileDMatrix
        Features, labels and weights.
    test : xgboost.DMatrix
        Features only.
    labels : ndarray of shape (n_test,), int8
        True classes of the test rows.
    """

    training: Any
    test: Any
    labels: Labels


def prepare_fold(table: FeatureTable, fold: Split) -> FoldData:
    """Convert a fold to XGBoost's format once, for many fits.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    fold : Split
        Rows of the table.

    Returns
    -------
    FoldData
    """
    training = table.take(fold.train)
    return FoldData(
        quantize(training.features, training.labels, weight=training.weights),
        xgboost.DMatrix(table.features[fold.test], nthread=1),
        table.labels[fold.test],
    )


def fit_folds(
    data: Sequence[FoldData], parameters: Mapping[str, Any], *, seed: int, jobs: int | None = None
) -> Iterator[Floats]:
    """Fit trees to each fold and predict the margins of its test rows, in parallel.

    Parameters
    ----------
    data : sequence of FoldData
    parameters : mapping of str to object
        XGBoost parameters of the trees, including ``n_estimators``.
    seed : int
        Seeds the trees.
    jobs : int, optional
        Folds fitted at the same time, at least 1; by default one per core.

    Yields
    ------
    ndarray of shape (n_test,), float64
        Margins of each fold, in the order of `data`.

    Raises
    ------
    ValueError
        If `jobs` is below 1.
    """

    def fit(fold: FoldData) -> Floats:
        booster = xgboost.train(tree_settings(parameters, seed), fold.training, parameters["n_estimators"])
        return np.asarray(booster.predict(fold.test, output_margin=True), dtype=np.float64)

    return run_in_order(fit, data, jobs=jobs)


def explain_trees(model: BlurModel, table: FeatureTable) -> list[ColumnUse]:
    """Measure how much the trees for ``blurred`` use each column: its gain and its mean absolute SHAP value.

    Gain is the mean improvement of the loss over the splits on the column; a SHAP value is the column's contribution to
    the margin of one photo. XGBoost computes both.

    Parameters
    ----------
    model : BlurModel
        With trees.
    table : FeatureTable
        With the model's feature set. About 1,000 of its photos, evenly spaced, are used for SHAP.

    Returns
    -------
    list of ColumnUse
        One entry for each column, the largest SHAP value first.

    References
    ----------
    .. [1] S. M. Lundberg et al., "From local explanations to global understanding with explainable AI for trees",
           Nature Machine Intelligence 2 (2020) 56-67. :doi:`10.1038/s42256-019-0138-9`
    """
    sample = table.features[:: max(1, len(table) // EXPLAINED)]  # ten thousand photos take minutes
    booster = xgboost.Booster(model_file=bytearray(model.boosters[BLURRED]))
    gains = booster.get_score(importance_type="gain")
    shares = np.abs(booster.predict(xgboost.DMatrix(sample), pred_contribs=True)[:, :-1]).mean(axis=0)
    uses: list[ColumnUse] = [
        {"column": column, "gain": float(gains.get(f"f{index}", 0.0)), "mean_abs_shap": float(shares[index])}
        for index, column in enumerate(table.columns)
    ]
    return sorted(uses, key=lambda use: -use["mean_abs_shap"])


def _fit_kind(
    table: FeatureTable, folds: Sequence[Split], parameters: Mapping[str, Any], seed: int
) -> tuple[bytes, tuple[str, ...], NDArray[np.str_]] | None:
    """Fit trees for the kind of blurred photos; None with fewer than two kinds or if the features do not suffice.

    Returns
    -------
    booster : bytes
    kinds : tuple of str
        Its classes.
    left_out : ndarray of shape (n_photos,), str
        Kinds predicted by trees that have not seen a row's fold; empty where there are none.
    """
    labels, features, families = table.labels, table.features, table.families
    kinds = tuple(sorted(set(families[labels == 1]) - {""}))
    if len(kinds) < 2:
        return None
    classes = np.asarray([kinds.index(family) if family in kinds else -1 for family in families])
    classes[labels == 0] = -1
    known = classes >= 0
    settings = {**parameters, "objective": "multi:softprob", "num_class": len(kinds)}
    margins = _predict_folds(features, classes, known, folds, settings=settings, seed=seed)
    predicted = np.asarray([kinds[row.argmax()] if np.isfinite(row).all() else "" for row in margins])
    if not _distinguishes_kinds(predicted, families, known):
        return None
    return _fit_trees(features[known], classes[known], settings, seed), kinds, predicted


def _fit_strength(
    table: FeatureTable, folds: Sequence[Split], parameters: Mapping[str, Any], seed: int
) -> tuple[bytes, Floats] | None:
    """Fit trees for the strength of blur; None if too few blurred photos have a known one.

    Returns
    -------
    booster : bytes
    left_out : ndarray of shape (n_photos,), float64
        Strengths in pixels, predicted by trees that have not seen a row's fold; NaN where there are none.
    """
    features, strengths = table.features, table.strengths
    known = np.isfinite(strengths)
    if (known & (table.labels == 1)).sum() < MIN_ROWS:
        return None
    target = np.log2(np.where(known, strengths, 0) + STRENGTH_OFFSET)
    settings = {**parameters, "objective": "reg:squarederror"}
    predicted = _predict_folds(features, target, known, folds, settings=settings, seed=seed)
    return _fit_trees(features[known], target[known], settings, seed), to_strength(predicted[:, 0])


def _fit_trees(
    features: NDArray[np.float32],
    target: NDArray[Any],
    parameters: Mapping[str, Any],
    seed: int,
    weight: NDArray[np.float32] | None = None,
) -> bytes:
    data = quantize(features, target, weight=weight)
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
    """Predict each fold's test rows by trees trained on its training rows with a known target.

    Returns
    -------
    ndarray of shape (n_photos, n_outputs), float64
        Margins; NaN for rows that no fold tests on, and for folds with too few known targets to train on.
    """
    margins = np.full((len(features), settings.get("num_class", 1)), np.nan)

    def predict(fold: Split) -> Floats | None:
        rows = fold.train[known[fold.train]]
        if len(rows) < MIN_ROWS or len(set(target[rows])) < settings.get("num_class", 2):
            return None
        booster = xgboost.Booster(model_file=bytearray(_fit_trees(features[rows], target[rows], settings, seed)))
        predicted = booster.inplace_predict(features[fold.test], predict_type="margin")
        return np.asarray(predicted, dtype=np.float64).reshape(len(fold.test), -1)

    for fold, predicted in zip(folds, run_in_order(predict, folds), strict=True):
        if predicted is not None:
            margins[fold.test] = predicted
    return margins


def _distinguishes_kinds(predicted: NDArray[np.str_], truth: NDArray[np.str_], known: NDArray[np.bool_]) -> bool:
    """Return True if accuracy covers at least half of the way from always guessing the most frequent kind to 1."""
    rows = known & (predicted != "")
    if rows.sum() < MIN_ROWS:
        return False
    guessing = max(np.unique(truth[known], return_counts=True)[1]) / known.sum()
    return bool((predicted[rows] == truth[rows]).mean() - guessing >= 0.5 * (1 - guessing))
