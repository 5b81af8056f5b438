"""Feature tables -> tuned, calibrated BlurModel, and its evaluation on scenes that it has not seen.

The order of things keeps the account honest: test scenes are set aside first; the search sees out-of-fold predictions
of the other scenes only; calibration and threshold come from those predictions too; the test scenes are looked at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from blurgate.dataset import make_dataset
from blurgate.errors import DatasetError, needs_extra
from blurgate.evaluation import Evaluation, Floats, Labels, Numbers, blur_families, evaluate
from blurgate.labels import is_labelled
from blurgate.model import STRENGTH_OFFSET, BlurModel, Card, calibrate
from blurgate.search import predict_out_of_fold, search_parameters, tree_settings
from blurgate.splits import Split, cut_folds, split_scenes
from blurgate.table import FeatureTable, build_table, join_tables
from blurgate.threads import Track, no_track

with needs_extra("train", "Training or evaluating"):
    import xgboost
    from sklearn.metrics import roc_curve

MIN_ROWS = 30  # blurred photos of known kind, or of known strength, that a booster for it needs


def load_sources(
    sources: Sequence[str | os.PathLike[str]],
    work: Path,
    *,
    feature_set: str = "dct18",
    recipe: str = "camera",
    per_photo: int = 2,
    seed: int = 0,
    jobs: int | None = None,
    track: Track = no_track,
) -> FeatureTable:
    """Measure several sources and join them.

    Parameters
    ----------
    sources : sequence of path
        Folders of sharp photos, made datasets, labelled folders and tables, in any mixture.
    work : Path
        An existing folder for the datasets that are made from sharp photos.
    feature_set : str
        A name out of `FEATURE_SETS`.
    recipe, per_photo, seed
        For the datasets that are made; see `make_dataset`.
    jobs : int, optional
        Photos at work at the same time; by default one for each core.
    track : Track
        Shows progress.

    Raises
    ------
    DatasetError
        If a source cannot be used.
    """
    tables = []
    for number, source in enumerate(map(Path, sources)):
        if source.exists() and not is_labelled(source):
            made = work / f"{number}" / source.resolve().name
            made.parent.mkdir(exist_ok=True)
            make_dataset(source, made, recipe=recipe, per_photo=per_photo, seed=seed, jobs=jobs, track=track)
            source = made  # noqa: PLW2901 from here on the dataset stands for the photos
        tables.append(build_table(source, feature_set=feature_set, jobs=jobs, track=track))
    if not tables:
        raise DatasetError("at least one source of photos was needed, got none: name a folder or a table")
    return join_tables(tables)


def train(
    table: FeatureTable,
    *,
    trials: int = 50,
    timeout: float | None = None,
    study: str | os.PathLike[str] | None = None,
    seed: int = 0,
    folds: int = 5,
    jobs: int | None = None,
    track: Track = no_track,
) -> tuple[BlurModel, Evaluation]:
    """Tune, train and calibrate a model, and evaluate it on unseen scenes.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes; see `load_sources`.
    trials : int
        Settings of the trees to try, counting those that the study already holds.
    timeout : float, optional
        Seconds after which no further trial begins.
    study : path, optional
        A file that keeps the search, so that an interrupted one goes on where it was.
    seed : int
        Of the splits, the search and the trees. The same seed and table give the same model and figures.
    folds : int
        Of the cross-validation by scene.
    jobs : int, optional
        Folds at work at the same time; by default one for each core.
    track : Track
        Shows progress.

    Returns
    -------
    model : BlurModel
    evaluation : Evaluation
        On the test scenes; beside what `evaluate` measures it tells of the data, the search and the trees.

    Raises
    ------
    DatasetError
        If labels are missing, there is one class only, or there are too few scenes.
    StudyFileError
        If the study file is damaged or belongs to another search.
    ValueError
        If `trials` is below 1 or `folds` below 2.
    """
    if trials < 1 or folds < 2:
        raise ValueError(f"at least 1 trial and 2 folds were needed, got {trials} and {folds}")
    table = replace(table, photos=_named_scenes(table))
    split = split_scenes(table, folds=folds, seed=seed)
    training, test = table.take(split.train), replace(table.take(split.test), skipped=table.skipped)
    fold_rows = cut_folds(training, folds=folds, seed=seed)
    found = search_parameters(
        training, fold_rows, trials=trials, timeout=timeout, study=study, seed=seed, jobs=jobs, track=track
    )
    margins = predict_out_of_fold(training, fold_rows, found.parameters, seed=seed, jobs=jobs)
    slope, intercept = fit_calibration(training.labels, margins)
    probabilities = calibrate(margins, slope, intercept)
    boosters, kinds = fit_boosters(training, fold_rows, found.parameters, seed=seed)
    card = Card(
        feature_set=table.feature_set,
        columns=table.columns,
        slope=slope,
        intercept=intercept,
        threshold=choose_threshold(training.labels, probabilities),
        base_rate=float(training.labels.mean()),
        kinds=kinds,
        parameters=found.parameters,
        trained_on=_describe(training),
        made_by=f"blurgate {version('blurgate')}",
    )
    evaluation = evaluate(BlurModel(card, boosters), test, seed=seed)
    numbers = evaluation.numbers
    results = {name: numbers[name] for name in ("n", "roc_auc", "roc_auc_interval", "accuracy", "recall", "precision")}
    model = BlurModel(replace(card, results=results), boosters)
    laplacian_cutoff = -choose_threshold(training.labels, -training.variance_of_laplacian)
    numbers["variance_of_laplacian"] |= {
        "chosen_cutoff": laplacian_cutoff,
        "accuracy_at_chosen_cutoff": float(((test.variance_of_laplacian <= laplacian_cutoff) == test.labels).mean()),
    }
    numbers["training"] = _describe(training) | {"folds": folds, "out_of_fold_roc_auc": found.numbers["best"]}
    numbers["search"] = found.numbers
    numbers["features"] = explain_trees(model, test)
    return model, evaluation


def fit_calibration(labels: Labels, margins: Floats) -> tuple[float, float]:
    """Fit the slope and intercept that turn margins into probabilities, by Platt's method.

    Its softened targets keep the slope finite where the classes are apart entirely.

    References
    ----------
    .. [1] J. Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
           methods", Advances in Large Margin Classifiers, MIT Press 1999.
    """
    n_blurred = int(labels.sum())
    n_sharp = len(labels) - n_blurred
    target = np.where(labels == 1, (n_blurred + 1) / (n_blurred + 2), 1 / (n_sharp + 2))

    def loss(line: Floats) -> tuple[float, Floats]:
        logit = line[0] * margins + line[1]
        error = calibrate(margins, line[0], line[1]) - target
        value = float(np.sum(np.logaddexp(0, logit) - target * logit))
        return value, np.asarray([error @ margins, error.sum()])

    best = optimize.minimize(
        loss, np.asarray([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (None, None)]
    )
    return float(best.x[0]), float(best.x[1])


def choose_threshold(labels: Labels, scores: Floats) -> float:
    """Choose the threshold with the best mean of recall and specificity: the share of blurred photos does not move it.

    A best one by a photo or two is chance; so it is the middle of all thresholds that are as good within one standard
    error.
    """
    false_alarms, hits, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    balanced = (hits + 1 - false_alarms) / 2
    best = balanced.max()
    good = thresholds[balanced >= best - np.sqrt(best * (1 - best) / len(labels))]
    below = scores[scores < good.min()]  # a threshold decides alike from the next lower score on
    return float((good[np.isfinite(good)].max() + (below.max() if below.size else good.min())) / 2)


def fit_boosters(
    table: FeatureTable, folds: Sequence[Split], parameters: dict[str, Any], *, seed: int
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Fit the trees on all rows: ``blurred``, and ``kind`` and ``strength`` where enough photos tell theirs.

    Kinds are left out where the folds show that the features hardly tell them apart.

    Returns
    -------
    boosters : dict of str to bytes
        XGBoost's UBJSON.
    kinds : tuple of str
        Classes of the kind booster.
    """
    labels = table.labels
    boosters = {"blurred": _fit(table.features, labels, parameters, seed)}
    families, strengths = blur_families(table), table.column("strength_px")
    kinds = tuple(sorted(set(families[labels == 1]) - {""}))
    classes = np.asarray([kinds.index(family) if family in kinds else -1 for family in families])
    classes[labels == 0] = -1
    settings = {**parameters, "objective": "multi:softprob", "num_class": len(kinds)}
    if len(kinds) > 1 and _tells_kinds_apart(table.features, classes, folds, settings, seed):
        boosters["kind"] = _fit(table.features[classes >= 0], classes[classes >= 0], settings, seed)
    rows = np.isfinite(strengths)
    if (rows & (labels == 1)).sum() >= MIN_ROWS:
        target = np.log2(strengths[rows] + STRENGTH_OFFSET)
        settings = {**parameters, "objective": "reg:squarederror"}
        boosters["strength"] = _fit(table.features[rows], target, settings, seed)
    return boosters, kinds if "kind" in boosters else ()


def explain_trees(model: BlurModel, table: FeatureTable) -> list[Numbers]:
    """Tell what the trees use: for each column its gain and its mean absolute SHAP value on a table.

    Gain is the mean improvement of the splits on it, SHAP its share of the margin, both as XGBoost gives them; the
    columns with the largest SHAP come first.

    References
    ----------
    .. [1] S. M. Lundberg et al., "From local explanations to global understanding with explainable AI for trees",
           Nature Machine Intelligence 2 (2020) 56-67. :doi:`10.1038/s42256-019-0138-9`
    """
    booster = xgboost.Booster(model_file=bytearray(model.boosters["blurred"]))
    gains = booster.get_score(importance_type="gain")
    shares = np.abs(booster.predict(xgboost.DMatrix(table.features), pred_contribs=True)[:, :-1]).mean(axis=0)
    rows = [
        {"column": column, "gain": float(gains.get(f"f{index}", 0.0)), "mean_abs_shap": float(shares[index])}
        for index, column in enumerate(table.columns)
    ]
    return sorted(rows, key=lambda row: -row["mean_abs_shap"])


def _named_scenes(table: FeatureTable) -> tuple[Any, ...]:
    """Give every photo without a scene one of its own."""
    return tuple(replace(photo, scene=photo.scene or photo.path) for photo in table.photos)


def _describe(table: FeatureTable) -> Numbers:
    labels = table.labels
    return {
        "n": len(table),
        "n_blurred": int(labels.sum()),
        "n_scenes": len(set(table.column("scene"))),
        "sources": {str(source): int((table.sources == source).sum()) for source in sorted(set(table.sources))},
        "feature_set": table.feature_set,
    }


def _fit(features: NDArray[np.float32], target: NDArray[Any], parameters: dict[str, Any], seed: int) -> bytes:
    data = xgboost.QuantileDMatrix(features, target, nthread=1)
    booster = xgboost.train(tree_settings(parameters, seed), data, parameters["n_estimators"])
    return bytes(booster.save_raw("ubj"))


def _tells_kinds_apart(
    features: NDArray[np.float32],
    classes: NDArray[np.intp],
    folds: Sequence[Split],
    settings: dict[str, Any],
    seed: int,
) -> bool:
    """Say whether out-of-fold kinds close at least half of the gap between guessing the most frequent and truth."""
    right: list[bool] = []
    for fold in folds:
        train_rows = fold.train[classes[fold.train] >= 0]
        test_rows = fold.test[classes[fold.test] >= 0]
        if len(set(classes[train_rows])) < settings["num_class"] or not len(test_rows):
            continue
        booster = xgboost.Booster(model_file=bytearray(_fit(features[train_rows], classes[train_rows], settings, seed)))
        answer = booster.inplace_predict(features[test_rows]).argmax(axis=1)
        right.extend(answer == classes[test_rows])
    if len(right) < MIN_ROWS:
        return False
    guessing = np.bincount(classes[classes >= 0]).max() / (classes >= 0).sum()
    return bool(np.mean(right) - guessing >= 0.5 * (1 - guessing))
