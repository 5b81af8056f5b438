"""Folds -> the settings of the trees that rank best on what is left out; Optuna's study keeps the search."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blurgate.errors import StudyFileError, needs_extra
from blurgate.learning.boosters import fit_folds, prepare_fold
from blurgate.learning.evaluation import SearchNumbers
from blurgate.learning.metrics import Floats
from blurgate.learning.splits import Split
from blurgate.learning.table import FeatureTable
from blurgate.threads import Track, no_track

with needs_extra("train", "Training or evaluating"):
    import optuna
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
    margins : ndarray of shape (n_photos,), float64
        What trees with them, that have not seen a row's scene or source, predict of it; NaN if it is in no fold's test.
    numbers : dict
        The course of the search and which parameters mattered.
    """

    parameters: dict[str, Any]
    margins: Floats = field(compare=False)
    numbers: SearchNumbers


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
    deadline = None if timeout is None else time.monotonic() + timeout
    with _open_study(study, _fingerprint(table, folds, seed)) as search:
        data = [prepare_fold(table, fold) for fold in folds]

        def predict(parameters: dict[str, Any]) -> Iterator[Floats]:
            return fit_folds(data, parameters, seed=seed, jobs=jobs)

        def score(parameters: dict[str, Any]) -> Iterator[tuple[float, bool]]:
            for fold, predicted in zip(data, predict(parameters), strict=True):
                yield float(roc_auc_score(fold.labels, predicted)), fold is data[-1]

        def run_trials() -> Iterator[None]:
            while (finished := _count_finished(search)) < trials:
                if finished and deadline is not None and time.monotonic() >= deadline:
                    return
                _run_trial(search, score, finished, seed)
                yield

        left = max(0, trials - _count_finished(search))
        for _ in track(run_trials(), total=left, doing="searching parameters"):
            pass
        parameters, numbers = _sum_up(search, seed)
    margins = np.full(len(table), np.nan)
    for fold, found in zip(folds, predict(parameters), strict=True):
        margins[fold.test] = found
    return Search(parameters, margins, numbers)


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


def _run_trial(
    search: Any, score: Callable[[dict[str, Any]], Iterator[tuple[float, bool]]], finished: int, seed: int
) -> None:
    search.sampler = optuna.samplers.TPESampler(seed=seed * 100_003 + finished, n_startup_trials=10)
    if not finished and not search.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        search.enqueue_trial(DEFAULT_PARAMETERS)
    trial = search.ask()
    scores: list[float] = []
    for one, is_last in score(_propose(trial)):
        scores.append(one)
        trial.report(float(np.mean(scores)), len(scores))
        if not is_last and trial.should_prune():
            search.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    search.tell(trial, float(np.mean(scores)))


def _sum_up(search: Any, seed: int) -> tuple[dict[str, Any], SearchNumbers]:
    ended = [trial for trial in search.trials if trial.state.is_finished() and trial.state.name != "FAIL"]
    completed = [trial for trial in ended if trial.state.name == "COMPLETE"]
    numbers: SearchNumbers = {  # a pruned trial has scores of its first folds only, which compare with nothing
        "best": float(search.best_value),
        "trials": [{"roc_auc": None if trial.state.name == "PRUNED" else trial.value} for trial in ended],
        "parameters": dict(search.best_params),
        "importances": _parameter_importances(search, seed) if len(completed) >= 4 else {},
    }
    return dict(search.best_params), numbers


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
