"""Folds -> the tree parameters that rank left-out rows best; an Optuna study stores the search."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from blurgate.errors import StudyFileError, needs_extra
from blurgate.learning.boosters import fit_folds, join_folds, prepare_fold
from blurgate.learning.evaluation import SearchNumbers
from blurgate.learning.metrics import Floats
from blurgate.learning.splits import Split
from blurgate.learning.studies import count_finished, is_address, open_study, run_shared
from blurgate.learning.table import FeatureTable
from blurgate.threads import Track, no_track, track_step

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

# parameters -> ROC AUC of each fold, and whether the fold is the last
_Scoring = Callable[[Mapping[str, Any]], Iterator[tuple[float, bool]]]


@dataclass(frozen=True)
class Search:
    """The result of a search for parameters.

    Parameters
    ----------
    parameters : dict of str to object
        The best XGBoost parameters, including ``n_estimators``.
    margins : ndarray of shape (n_photos,), float64
        Margin of each row, predicted with the best parameters by trees that have not seen its scene or source; NaN for
        rows that no fold tests on.
    numbers : SearchNumbers
        The course of the search and the importance of each parameter.
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

    Optuna's TPE sampler proposes parameters, and its median pruner stops hopeless trials early. The randomness of a
    trial depends only on the seed and on the number of finished trials, so an interrupted search that resumes from its
    study finds the same parameters as an uninterrupted one.

    Several machines can share a study by its address. Each runs trials until there are as many as it was asked for,
    waits for those that others are still running, and takes the best of all; which trials there are then depends on who
    was faster.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    folds : sequence of Split
        Rows of the table.
    trials : int
        Total number of trials, including finished ones in the study; at least 1.
    timeout : float, optional
        Seconds after which no further trial starts. At least one trial always finishes.
    study : path or str, optional
        SQLite file that stores the search; if it exists, the search resumes. Or an address at which several searches
        share a study, see `blurgate.learning.studies.open_study`. By default nothing is stored.
    seed : int
        Seeds the proposals and the trees.
    jobs : int, optional
        Folds fitted at the same time, at least 1; by default one per core.
    track : Track
        Shows progress.

    Returns
    -------
    Search

    Raises
    ------
    StudyFileError
        If the study cannot be read or written, is none of ours, belongs to another search, or has a ``?`` in its
        path; or if its address cannot be used.
    OutputError
        If another process is using the study file.
    ValueError
        If `trials` or `jobs` is below 1.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    deadline = None if timeout is None else time.monotonic() + timeout
    with open_study(study, _fingerprint(table, folds, seed)) as opened:
        data = [prepare_fold(table, fold) for fold in folds]

        def predict(parameters: Mapping[str, Any]) -> Iterator[Floats]:
            return fit_folds(data, parameters, seed=seed, jobs=jobs)

        def score(parameters: Mapping[str, Any]) -> Iterator[tuple[float, bool]]:
            for fold, margins in zip(data, predict(parameters), strict=True):
                yield float(roc_auc_score(fold.labels, margins)), fold is data[-1]

        remaining = max(0, trials - count_finished(opened))
        run = _share_trials if is_address(study) else _run_trials
        running = run(opened, score, trials=trials, deadline=deadline, seed=seed)
        try:
            for _ in track(running, total=remaining, doing="searching parameters"):
                pass
        except optuna.exceptions.UpdateFinishedTrialError as error:  # on a file system without locks, another run took
            # this one's trial for interrupted
            raise StudyFileError(
                f"{study} is in use by another training: wait until that has ended, or name another file"
            ) from error
        with track_step(track, "fitting the best trees"):
            parameters, numbers = _summarise(opened, seed)
            margins = join_folds(len(table), folds, predict(parameters))
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


def _run_trials(study: Any, score: _Scoring, *, trials: int, deadline: float | None, seed: int) -> Iterator[None]:
    """Run trials until there are enough or the deadline has passed, but at least one; yields after each."""
    while (finished := count_finished(study)) < trials:
        if finished and deadline is not None and time.monotonic() >= deadline:
            return
        _run_trial(study, score, finished, seed)
        yield


def _run_trial(study: Any, score: _Scoring, finished: int, seed: int) -> None:
    # a sampler per trial, because an interruption would change the state of one that is kept
    study.sampler = _make_sampler(seed, finished)
    if not finished and not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        study.enqueue_trial(DEFAULT_PARAMETERS)
    _score_trial(study, study.ask(), score)


def _share_trials(study: Any, score: _Scoring, *, trials: int, deadline: float | None, seed: int) -> Iterator[None]:
    """Run trials as others do until all together have run enough; yields after each, whoever has run it."""

    def run(trial: Any, place: int) -> None:
        study.sampler = _make_sampler(seed, trial.number, constant_liar=True)  # not near what others are trying
        if not place:
            study.sampler = optuna.samplers.PartialFixedSampler(DEFAULT_PARAMETERS, study.sampler)
        _score_trial(study, trial, score)

    return run_shared(study, run, trials=trials, deadline=deadline)


def _make_sampler(seed: int, number: int, **options: Any) -> Any:
    return optuna.samplers.TPESampler(seed=seed * 100_003 + number, n_startup_trials=10, **options)


def _score_trial(study: Any, trial: Any, score: _Scoring) -> None:
    scores: list[float] = []
    for roc_auc, is_last in score(_propose(trial)):
        scores.append(roc_auc)
        trial.report(float(np.mean(scores)), len(scores))
        if not is_last and trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED, skip_if_finished=True)
            return
    study.tell(trial, float(np.mean(scores)), skip_if_finished=True)  # others may have taken it for dead


def _summarise(study: Any, seed: int) -> tuple[dict[str, Any], SearchNumbers]:
    ended = [trial for trial in study.trials if trial.state.is_finished() and trial.state.name != "FAIL"]
    completed = [trial for trial in ended if trial.state.name == "COMPLETE"]
    best = study.best_trial  # once: others may go on with a study that is shared
    numbers: SearchNumbers = {  # a pruned trial was scored on its first folds only, so its score is not comparable
        "best": float(best.value),
        "trials": [{"roc_auc": None if trial.state.name == "PRUNED" else trial.value} for trial in ended],
        "parameters": dict(best.params),
        "importances": _parameter_importances(study, seed) if len(completed) >= 4 else {},
    }
    return dict(best.params), numbers


def _fingerprint(table: FeatureTable, folds: Sequence[Split], seed: int) -> str:
    """Hash everything that the scores of a search depend on, so that a study resumes only the same search."""
    digest = hashlib.sha256(json.dumps([table.feature_set, len(folds), seed]).encode())
    digest.update(table.features.tobytes() + table.labels.tobytes())
    for fold in folds:
        digest.update(fold.test.tobytes())
    return digest.hexdigest()


def _parameter_importances(study: Any, seed: int) -> dict[str, float]:
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    importances = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(importance) for name, importance in importances.items()}
