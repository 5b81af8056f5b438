"""Feature tables -> tuned, calibrated BlurModel, and its evaluation on scenes that it has not seen.

Two ways keep the account honest. Where there are several sources, each is judged by trees of the others, which is what
a stranger's photos will be: these predictions choose settings, calibration and threshold. With one source, test scenes
are set aside first; the search, the calibration and the threshold see out-of-fold predictions of the other scenes only;
the test scenes are looked at once.
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

from blurgate.calibration import choose_threshold, fit_calibration
from blurgate.dataset import make_dataset
from blurgate.errors import DatasetError, needs_extra
from blurgate.evaluation import (
    Evaluation,
    Floats,
    Numbers,
    blur_families,
    count_photos,
    count_sources,
    evaluate,
    measure,
    measure_calibration,
    measure_groups,
    measure_ranking,
    price_threshold,
)
from blurgate.features import DEFAULT_FEATURE_SET, find_feature_set
from blurgate.labels import is_labelled
from blurgate.model import STRENGTH_OFFSET, BlurModel, Card, Predictions, to_probability, to_strength
from blurgate.search import predict_left_out, search_parameters, tree_settings
from blurgate.splits import Split, cut_folds, leave_sources_out, split_scenes, weigh_rows
from blurgate.table import FeatureTable, build_table, join_tables
from blurgate.threads import Track, no_track, run_in_order

with needs_extra("train", "Training or evaluating"):
    import xgboost

VALIDATIONS = ("leave-source-out", "scenes")
RESULTS = ("n", "roc_auc", "roc_auc_interval", "accuracy", "recall", "precision", "ece")

EXPLAINED = 1000  # photos, about, that SHAP values are taken of
MIN_ROWS = 30  # blurred photos of known kind, or of known strength, that a booster for it needs


def load_sources(
    sources: Sequence[str | os.PathLike[str]],
    work: Path,
    *,
    feature_set: str = DEFAULT_FEATURE_SET,
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
    named: set[Path] = set()
    for number, source in enumerate(map(Path, sources)):
        if source.resolve() in named:
            raise DatasetError(f"each source was needed once, but {source} is named twice: name it once")
        named.add(source.resolve())
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
    validate: str | None = None,
    trials: int = 50,
    timeout: float | None = None,
    study: str | os.PathLike[str] | None = None,
    seed: int = 0,
    folds: int = 5,
    jobs: int | None = None,
    track: Track = no_track,
) -> tuple[BlurModel, Evaluation]:
    """Tune, train and calibrate a model, and evaluate it on what it has not seen.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes; see `load_sources`. Photos with too little texture to judge are left out.
    validate : {'leave-source-out', 'scenes'}, optional
        What chooses the settings, the calibration and the threshold, and what the evaluation is of.
        ``leave-source-out``: each source is judged by trees of the other sources; the model is then of all photos.
        ``scenes``: one scene in five is set aside for the evaluation, and folds of the other scenes choose. By default
        the former where there are several sources that can be left out.
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
        Beside what `evaluate` measures it tells of the data, the search, the trees, and each source left out.

    Raises
    ------
    DatasetError
        If labels are missing, there is one class only, or there are too few scenes or sources.
    StudyFileError
        If the study file is damaged or belongs to another search.
    ValueError
        If `trials` is below 1, `folds` below 2, there is no such way to validate, or the table is one for nets.
    """
    if trials < 1 or folds < 2:
        raise ValueError(f"at least 1 trial and 2 folds were needed, got {trials} and {folds}")
    if validate not in (None, *VALIDATIONS):
        raise ValueError(f"validate must be one of {', '.join(VALIDATIONS)}, got {validate!r}")
    measured = find_feature_set(table.feature_set)
    if measured.for_nets or measured.answers:
        raise ValueError(
            f"trees learn from what is measured on photos, but the table is of {table.feature_set}, which a net needs "
            f"or answers: make it of {DEFAULT_FEATURE_SET}"
        )
    table = replace(table, photos=_named_scenes(table)).without_flat()
    by_source = _find_sources_to_leave_out(table, validate)
    if by_source:
        training, fold_rows = table, by_source
    else:
        split = split_scenes(table, folds=folds, seed=seed)
        training = table.take(split.train)
        fold_rows = cut_folds(training, folds=folds, seed=seed)
    found = search_parameters(
        training, fold_rows, trials=trials, timeout=timeout, study=study, seed=seed, jobs=jobs, track=track
    )
    margins = predict_left_out(training, fold_rows, found.parameters, seed=seed, jobs=jobs)
    seen = np.flatnonzero(np.isfinite(margins))  # a source of one class is in no fold's test
    judged = training.take(seen)
    weights = weigh_rows(judged, even=True)
    slope, intercept = fit_calibration(judged.labels, margins[seen], weights)
    probabilities = to_probability(slope * margins[seen] + intercept)
    threshold = choose_threshold(judged.labels, probabilities, weights)
    boosters, kinds, left_out = fit_boosters(training, fold_rows, found.parameters, seed=seed)
    card = Card(
        feature_set=table.feature_set,
        columns=table.columns,
        slope=slope,
        intercept=intercept,
        threshold=threshold,
        base_rate=0.5,
        kinds=kinds,
        parameters=found.parameters,
        trained_on=_describe(training),
        made_by=f"blurgate {version('blurgate')}",
    )
    if by_source:
        said = Predictions(
            _calibrate_across(judged, margins[seen], weights),
            None if left_out.kind is None else left_out.kind[seen],
            None if left_out.strength_px is None else left_out.strength_px[seen],
        )
        test = replace(judged, skipped=table.skipped)
        evaluation = measure(test, said, threshold=threshold, base_rate=card.base_rate, seed=seed)
        within = _rank_within(training, found.parameters, folds=folds, seed=seed, jobs=jobs)
        evaluation.numbers["sources"] = _describe_sources(judged, said.probability, threshold, within)
    else:
        test = replace(table.take(split.test), skipped=table.skipped)
        evaluation = evaluate(BlurModel(card, boosters), test, seed=seed)
    numbers = evaluation.numbers
    model = BlurModel(
        replace(
            card,
            results={name: numbers[name] for name in RESULTS},
            at_threshold=price_threshold(
                numbers, measured_on=f"{'sources' if by_source else 'scenes'} left out of training"
            ),
        ),
        boosters,
    )
    laplacian_cutoff = -choose_threshold(judged.labels, -judged.variance_of_laplacian, weights)
    numbers["variance_of_laplacian"] |= {
        "chosen_cutoff": laplacian_cutoff,
        "accuracy_at_chosen_cutoff": float(((test.variance_of_laplacian <= laplacian_cutoff) == test.labels).mean()),
    }
    numbers["training"] = _describe(training) | {
        "validate": "leave-source-out" if by_source else "scenes",
        "folds": len(fold_rows),
        "out_of_fold_roc_auc": found.numbers["best"],
    }
    numbers["search"] = found.numbers
    numbers["features"] = explain_trees(model, test)
    return model, evaluation


def fit_boosters(
    table: FeatureTable, folds: Sequence[Split], parameters: dict[str, Any], *, seed: int
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
    labels, features, weights = table.labels, table.features, weigh_rows(table)
    boosters = {"blurred": _fit(features, labels, parameters, seed, weights)}
    left_out = Predictions(np.full(len(table), np.nan))
    families, strengths = blur_families(table), table.column("strength_px")
    kinds = tuple(sorted(set(families[labels == 1]) - {""}))
    classes = np.asarray([kinds.index(family) if family in kinds else -1 for family in families])
    classes[labels == 0] = -1
    settings = {**parameters, "objective": "multi:softprob", "num_class": len(kinds)}
    if len(kinds) > 1:
        votes = _predict_folds(features, classes, classes >= 0, folds, settings=settings, seed=seed)
        told = np.asarray([kinds[vote] if known else "" for vote, known in zip(*_vote(votes), strict=True)])
        if _tells_kinds_apart(told, families, classes >= 0):
            boosters["kind"] = _fit(features[classes >= 0], classes[classes >= 0], settings, seed)
            left_out = replace(left_out, kind=told)
    rows = np.isfinite(strengths)
    if (rows & (labels == 1)).sum() >= MIN_ROWS:
        target = np.log2(np.where(rows, strengths, 0) + STRENGTH_OFFSET)
        settings = {**parameters, "objective": "reg:squarederror"}
        boosters["strength"] = _fit(features[rows], target[rows], settings, seed)
        answer = _predict_folds(features, target, rows, folds, settings=settings, seed=seed)
        left_out = replace(left_out, strength_px=to_strength(answer[:, 0]))
    return boosters, kinds if "kind" in boosters else (), left_out


def explain_trees(model: BlurModel, table: FeatureTable) -> list[Numbers]:
    """Tell what the trees use: for each column its gain and its mean absolute SHAP value on a table.

    Gain is the mean improvement of the splits on it, SHAP its share of the margin, both as XGBoost gives them; the
    columns with the largest SHAP come first.

    References
    ----------
    .. [1] S. M. Lundberg et al., "From local explanations to global understanding with explainable AI for trees",
           Nature Machine Intelligence 2 (2020) 56-67. :doi:`10.1038/s42256-019-0138-9`
    """
    some = table.features[:: max(1, len(table) // EXPLAINED)]  # it takes minutes on ten thousand
    booster = xgboost.Booster(model_file=bytearray(model.boosters["blurred"]))
    gains = booster.get_score(importance_type="gain")
    shares = np.abs(booster.predict(xgboost.DMatrix(some), pred_contribs=True)[:, :-1]).mean(axis=0)
    rows = [
        {"column": column, "gain": float(gains.get(f"f{index}", 0.0)), "mean_abs_shap": float(shares[index])}
        for index, column in enumerate(table.columns)
    ]
    return sorted(rows, key=lambda row: -row["mean_abs_shap"])


def _find_sources_to_leave_out(table: FeatureTable, validate: str | None) -> list[Split] | None:
    """Cut one fold for each source; None where scenes are to be left out instead."""
    if validate == "scenes":
        return None
    try:
        return leave_sources_out(table)
    except DatasetError:
        if validate:
            raise
        return None


def _calibrate_across(table: FeatureTable, margins: Floats, weights: NDArray[np.float32]) -> Floats:
    """Give each source's photos the probabilities that the other sources' calibration would."""
    probabilities = np.empty(len(table))
    for source in set(table.sources):
        out = table.sources == source
        slope, intercept = fit_calibration(table.labels[~out], margins[~out], weights[~out])
        probabilities[out] = to_probability(slope * margins[out] + intercept)
    return probabilities


def _rank_within(
    table: FeatureTable, parameters: dict[str, Any], *, folds: int, seed: int, jobs: int | None
) -> dict[str, float | None]:
    """Rank each source by trees of the same source's other scenes: what leaving it out is to be compared with."""
    found: dict[str, float | None] = {}
    for source in sorted(set(table.sources)):
        rows = table.take(np.flatnonzero(table.sources == source))
        try:
            margins = predict_left_out(rows, cut_folds(rows, folds=folds, seed=seed), parameters, seed=seed, jobs=jobs)
            found[str(source)] = measure_ranking(rows.labels, margins)["roc_auc"]
        except DatasetError:  # one class, or too few scenes
            found[str(source)] = None
    return found


def _describe_sources(
    table: FeatureTable, probabilities: Floats, threshold: float, within: dict[str, float | None]
) -> dict[str, Numbers]:
    measured = measure_groups(table.labels, probabilities, threshold, table.sources)
    for source, numbers in measured.items():
        rows = table.sources == source
        laplacian = measure_ranking(table.labels[rows], -table.variance_of_laplacian[rows])["roc_auc"]
        ece = measure_calibration(table.labels[rows], probabilities[rows])["ece"]
        numbers |= {"roc_auc_within": within[source], "roc_auc_of_laplacian": laplacian, "ece": ece}
    return measured


def _named_scenes(table: FeatureTable) -> tuple[Any, ...]:
    """Give every photo without a scene one of its own."""
    return tuple(replace(photo, scene=photo.scene or photo.path) for photo in table.photos)


def _describe(table: FeatureTable) -> Numbers:
    return {**count_photos(table), "sources": count_sources(table), "feature_set": table.feature_set}


def _fit(
    features: NDArray[np.float32],
    target: NDArray[Any],
    parameters: dict[str, Any],
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
        booster = xgboost.Booster(model_file=bytearray(_fit(features[rows], target[rows], settings, seed)))
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
