"""Feature tables -> tuned, calibrated BlurModel, and its evaluation on scenes that it has not seen.

The order of things keeps the account honest: test scenes are set aside first; the search sees out-of-fold predictions
of the other scenes only; calibration and threshold come from those predictions too; the test scenes are looked at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from blurgate.dataset import make_dataset
from blurgate.errors import DatasetError, StudyFileError, needs_extra
from blurgate.evaluation import Evaluation, Floats, Labels, Numbers, blur_families, evaluate
from blurgate.model import STRENGTH_OFFSET, BlurModel, Card, calibrate
from blurgate.table import FeatureTable, build_table, is_labelled, join_tables
from blurgate.threads import Track, no_track, run_in_order

with needs_extra("train", "Training"):
    import optuna
    import xgboost
    from sklearn.metrics import roc_auc_score, roc_curve
    from sklearn.model_selection import StratifiedGroupKFold

Rows = NDArray[np.intp]

TEST_SHARE = 5  # one scene in so many is set aside
MIN_ROWS = 30  # blurred photos of known kind, or of known strength, that a booster for it needs

DEFAULT_PARAMETERS = {  # the first trial: the search never does worse than this
    "n_estimators": 300,
    "learning_rate": 0.08,
    "max_depth": 4,
    "min_child_weight": 2.0,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "reg_lambda": 1.0,
    "gamma": 0.01,
}


@dataclass(frozen=True)
class Split:
    """Rows of the scenes to train on, and of those set aside for the test; no scene is in both."""

    train: Rows
    test: Rows


@dataclass(frozen=True)
class Search:
    """What the search for parameters found.

    Parameters
    ----------
    parameters : dict
        The best ones.
    numbers : dict
        The course of the search and which parameters mattered.
    """

    parameters: dict[str, Any]
    numbers: Numbers


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


def split_scenes(table: FeatureTable, *, folds: int, seed: int) -> Split:
    """Set the scenes of the test aside: one in five, drawn from those of each source and class alike.

    Raises
    ------
    DatasetError
        If there are too few scenes of a class for the test and the folds.
    """
    labels, scenes = table.labels, table.column("scene")
    needed = folds + 2
    for value, name in enumerate(("sharp", "blurred")):
        count = len(set(scenes[labels == value]))
        if count < needed:
            raise DatasetError(
                f"{needed} scenes with {name} photos were needed for a test and {folds} folds, got {count}: "
                "add photos of other scenes, or lower --folds"
            )
    makeup: dict[str, list[str]] = {}
    for scene, label, source in zip(scenes, labels, table.sources, strict=True):
        makeup.setdefault(str(scene), []).append(f"{source} {label}")
    chance = np.random.default_rng(seed).permutation(len(makeup))
    keys = [(sorted(set(kinds)), place, scene) for (scene, kinds), place in zip(makeup.items(), chance, strict=True)]
    chosen = [scene for _, _, scene in sorted(keys)[TEST_SHARE // 2 :: TEST_SHARE]]
    in_test = np.isin(scenes, chosen)
    return Split(np.flatnonzero(~in_test), np.flatnonzero(in_test))


def cut_folds(table: FeatureTable, *, folds: int, seed: int) -> list[Split]:
    """Cut the table into folds that keep scenes whole.

    Raises
    ------
    DatasetError
        If a fold would have one class only.
    """
    splits = [Split(train_rows, test_rows) for train_rows, test_rows in _cut(table, folds, seed)]
    if any(len(set(table.labels[rows])) < 2 for split in splits for rows in (split.train, split.test)):
        raise DatasetError(
            f"{folds} folds that keep scenes whole and hold sharp and blurred photos each were needed, but "
            f"{len(set(table.column('scene')))} scenes do not allow them: add photos of other scenes, or lower --folds"
        )
    return splits


def search_parameters(
    table: FeatureTable,
    folds: Sequence[Split],
    *,
    trials: int,
    timeout: float | None = None,
    study: str | os.PathLike[str] | None = None,
    seed: int = 0,
    jobs: int | None = None,
    track: Track = no_track,
) -> Search:
    """Search for the parameters with the best mean ROC AUC over the folds' left-out rows.

    Optuna's TPE proposes, its median rule ends hopeless trials early. Each trial's randomness depends on the seed and
    on how many trials are finished and on nothing else, so a search that was interrupted and goes on from its study
    finds what an uninterrupted one would have found.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    data = [_fold_data(table, fold) for fold in folds]
    deadline = None if timeout is None else time.monotonic() + timeout
    with _open_study(study, _fingerprint(table, folds, seed)) as search:

        def run_trials() -> Iterator[None]:
            while (finished := _count_finished(search)) < trials:
                if finished and deadline is not None and time.monotonic() >= deadline:
                    return
                _run_trial(search, data, finished, seed=seed, jobs=jobs)
                yield

        left = max(0, trials - _count_finished(search))
        for _ in track(run_trials(), total=left, doing="searching parameters"):
            pass
        return _sum_up(search, seed)


def predict_out_of_fold(
    table: FeatureTable, folds: Sequence[Split], parameters: dict[str, Any], *, seed: int, jobs: int | None = None
) -> Floats:
    """Predict each row's margin with trees that have not seen its scene; shape (n_photos,)."""
    margins = np.empty(len(table))
    data = [_fold_data(table, fold) for fold in folds]
    for fold, answer in zip(
        folds, run_in_order(lambda pair: _fit_fold(pair, parameters, seed), data, jobs=jobs), strict=True
    ):
        margins[fold.test] = answer
    return margins


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


def _cut(table: FeatureTable, folds: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
    strata = np.asarray([f"{label} {source}" for label, source in zip(table.labels, table.sources, strict=True)])
    if min(np.unique(strata, return_counts=True)[1]) < folds:
        strata = table.labels
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    yield from cutter.split(table.features, strata, table.column("scene"))


def _fold_data(table: FeatureTable, fold: Split) -> tuple[Any, Any, Labels]:
    training = xgboost.QuantileDMatrix(table.features[fold.train], table.labels[fold.train], nthread=1)
    return training, xgboost.DMatrix(table.features[fold.test], nthread=1), table.labels[fold.test]


def _fit_fold(data: tuple[Any, Any, Labels], parameters: dict[str, Any], seed: int) -> Floats:
    training, test, _ = data
    rounds = parameters["n_estimators"]
    booster = xgboost.train(_settings(parameters, seed), training, rounds)
    return np.asarray(booster.predict(test, output_margin=True), dtype=np.float64)


def _fit(features: NDArray[np.float32], target: NDArray[Any], parameters: dict[str, Any], seed: int) -> bytes:
    data = xgboost.QuantileDMatrix(features, target, nthread=1)
    booster = xgboost.train(_settings(parameters, seed), data, parameters["n_estimators"])
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


def _settings(parameters: dict[str, Any], seed: int) -> dict[str, Any]:
    # one thread: sums in one order, so the same trees on every machine; the folds are what runs side by side
    fixed = {"tree_method": "hist", "objective": "binary:logistic", "nthread": 1, "seed": seed}
    return fixed | {name: value for name, value in parameters.items() if name != "n_estimators"}


def _propose(trial: Any) -> dict[str, Any]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 100, 600, step=50),
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 8),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.5, 20, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.01, 20, log=True),
        "gamma": trial.suggest_float("gamma", 0.001, 2, log=True),
    }


def _run_trial(search: Any, data: Sequence[Any], finished: int, *, seed: int, jobs: int | None) -> None:
    search.sampler = optuna.samplers.TPESampler(seed=seed * 100_003 + finished, n_startup_trials=10)
    if not finished and not search.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        search.enqueue_trial(DEFAULT_PARAMETERS)
    trial = search.ask()
    parameters = _propose(trial)
    scores: list[float] = []
    for (_, _, labels), margins in zip(
        data, run_in_order(lambda pair: _fit_fold(pair, parameters, seed), data, jobs=jobs), strict=True
    ):
        scores.append(float(roc_auc_score(labels, margins)))
        trial.report(float(np.mean(scores)), len(scores))
        if len(scores) < len(data) and trial.should_prune():
            search.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    search.tell(trial, float(np.mean(scores)))


def _sum_up(search: Any, seed: int) -> Search:
    ended = [trial for trial in search.trials if trial.state.is_finished() and trial.state.name != "FAIL"]
    completed = [trial for trial in ended if trial.state.name == "COMPLETE"]
    numbers = {
        "best": float(search.best_value),
        "trials": [{"roc_auc": trial.value, "pruned": trial.state.name == "PRUNED"} for trial in ended],
        "parameters": dict(search.best_params),
        "importances": _parameter_importances(search, seed) if len(completed) >= 4 else {},
    }
    return Search(dict(search.best_params), numbers)


@contextmanager
def _open_study(path: str | os.PathLike[str] | None, fingerprint: str) -> Iterator[Any]:
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    storage = None
    try:
        if path is not None:
            Path(path).resolve().parent.mkdir(parents=True, exist_ok=True)
            storage = optuna.storages.RDBStorage(f"sqlite:///{Path(path).resolve()}")
        study = optuna.create_study(
            storage=storage, study_name="blurgate", direction="maximize", pruner=pruner, load_if_exists=True
        )
        known = study.user_attrs.get("fingerprint", fingerprint)
        if known == fingerprint:
            study.set_user_attr("fingerprint", fingerprint)
        interrupted = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    except Exception as error:  # SQLAlchemy's and SQLite's own, which are many
        raise StudyFileError(
            f"a study of blurgate's was needed, but {path} cannot be read as one: name a file that does not exist yet"
        ) from error
    if known != fingerprint:
        raise StudyFileError(
            f"{path} belongs to another search (other photos, features, folds or seed): name a file that does not "
            "exist yet, or go back to what it was made with"
        )
    for trial in interrupted:
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    try:
        yield study
    finally:
        if storage is not None:
            storage.engine.dispose()


def _count_finished(search: Any) -> int:
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return len(search.get_trials(deepcopy=False, states=states))


def _fingerprint(table: FeatureTable, folds: Sequence[Split], seed: int) -> str:
    digest = hashlib.sha256(json.dumps([table.feature_set, len(folds), seed]).encode())
    digest.update(table.features.tobytes() + table.labels.tobytes())
    for fold in folds:
        digest.update(fold.test.tobytes())
    return digest.hexdigest()


def _parameter_importances(search: Any, seed: int) -> dict[str, float]:
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(search, evaluator=evaluator)
    return {name: float(value) for name, value in found.items()}
