"""Folds -> the settings of the trees that rank best on what is left out; Optuna's study keeps the search."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blurgate.errors import StudyFileError, needs_extra
from blurgate.evaluation import Floats, Labels, Numbers
from blurgate.splits import Split, weigh_rows
from blurgate.table import FeatureTable
from blurgate.threads import Track, no_track, run_in_order

with needs_extra("train", "Training or evaluating"):
    import optuna
    import xgboost
    from sklearn.metrics import roc_auc_score

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

_NO_STUDY = "a study of blurgate's was needed, but {} cannot be read as one: name a file that does not exist yet"


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


def predict_left_out(
    table: FeatureTable, folds: Sequence[Split], parameters: dict[str, Any], *, seed: int, jobs: int | None = None
) -> Floats:
    """Predict each row's margin with trees that have not seen its scene or source; NaN if it is in no fold's test."""
    margins = np.full(len(table), np.nan)
    data = [_fold_data(table, fold) for fold in folds]
    for fold, answer in zip(
        folds, run_in_order(lambda given: _fit_fold(given, parameters, seed), data, jobs=jobs), strict=True
    ):
        margins[fold.test] = answer
    return margins


def tree_settings(parameters: dict[str, Any], seed: int) -> dict[str, Any]:
    """Say to XGBoost what is fixed and what was found; ``objective`` can be overridden."""
    # one thread: sums in one order, so the same trees on every machine; the folds are what runs side by side
    fixed = {"tree_method": "hist", "objective": "binary:logistic", "nthread": 1, "seed": seed}
    return fixed | {name: value for name, value in parameters.items() if name != "n_estimators"}


def _fold_data(table: FeatureTable, fold: Split) -> tuple[Any, Any, Labels]:
    """Hold what the trees learn from and are tested on, and the test's labels."""
    labels, weight = table.labels[fold.train], weigh_rows(table.take(fold.train))
    training = xgboost.QuantileDMatrix(table.features[fold.train], labels, weight=weight, nthread=1)
    return training, xgboost.DMatrix(table.features[fold.test], nthread=1), table.labels[fold.test]


def _fit_fold(data: tuple[Any, Any, Labels], parameters: dict[str, Any], seed: int) -> Floats:
    training, test, _ = data
    booster = xgboost.train(tree_settings(parameters, seed), training, parameters["n_estimators"])
    return np.asarray(booster.predict(test, output_margin=True), dtype=np.float64)


def _propose(trial: Any) -> dict[str, Any]:
    return {
        "n_estimators": trial.suggest_int("n_estimators", 100, 500, step=50),
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 2, 6),
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
        data, run_in_order(lambda given: _fit_fold(given, parameters, seed), data, jobs=jobs), strict=True
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
    numbers = {  # what a pruned trial had reached is of its first folds only, so it compares with nothing
        "best": float(search.best_value),
        "trials": [{"roc_auc": None if trial.state.name == "PRUNED" else trial.value} for trial in ended],
        "parameters": dict(search.best_params),
        "importances": _parameter_importances(search, seed) if len(completed) >= 4 else {},
    }
    return Search(dict(search.best_params), numbers)


@contextmanager
def _open_study(path: str | os.PathLike[str] | None, fingerprint: str) -> Iterator[Any]:
    with _open_storage(path) as storage:
        try:
            study = optuna.create_study(
                storage=storage,
                study_name="blurgate",
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
                load_if_exists=True,
            )
            known = study.user_attrs.get("fingerprint", fingerprint)
            if known == fingerprint:
                study.set_user_attr("fingerprint", fingerprint)
            interrupted = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        except Exception as error:  # SQLAlchemy's and SQLite's own, which are many
            raise StudyFileError(_NO_STUDY.format(path)) from error
        if known != fingerprint:
            raise StudyFileError(
                f"{path} belongs to another search (other photos, features, folds or seed): name a file that does not "
                "exist yet, or go back to what it was made with"
            )
        for trial in interrupted:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        yield study


@contextmanager
def _open_storage(path: str | os.PathLike[str] | None) -> Iterator[Any]:
    """Open the study's SQLite file, and close it whatever happens; None stays in memory."""
    if path is None:
        yield None
        return
    path = Path(path).resolve()
    if "?" in str(path):
        raise StudyFileError(f"a study file without ? in its name was needed, got {path}: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or (path.exists() and path.read_bytes()[:16] not in (b"", b"SQLite format 3\0")):
        raise StudyFileError(_NO_STUDY.format(path))
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    except Exception as error:  # as above
        raise StudyFileError(_NO_STUDY.format(path)) from error
    try:
        yield storage
    finally:
        storage.remove_session()
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
