"""Feature tables -> tuned, calibrated BlurModel, and its evaluation on scenes that it has not seen.

Two ways keep the account honest. Where there are several sources, each is judged by trees of the others, which is what
a stranger's photos will be: these predictions choose settings, calibration and threshold. With one source, test scenes
are set aside first; the search, the calibration and the threshold see out-of-fold predictions of the other scenes only;
the test scenes are looked at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from blurgate.errors import DatasetError
from blurgate.judging.cards import Card
from blurgate.judging.model import BlurModel, Predictions
from blurgate.learning.boosters import explain_trees, fit_boosters, rank_within_sources
from blurgate.learning.calibration import calibrate_left_out
from blurgate.learning.evaluation import ColumnUse, Evaluation, TrainingNumbers, evaluate_predictions
from blurgate.learning.labels import is_labelled
from blurgate.learning.metrics import error_rates
from blurgate.learning.search import Search, search_parameters
from blurgate.learning.splits import Plan, plan_validation
from blurgate.learning.table import FeatureTable, build_table, join_tables
from blurgate.making.dataset import make_dataset
from blurgate.measuring.features import DEFAULT_FEATURE_SET
from blurgate.threads import Track, no_track
from blurgate.version import __version__

VALIDATIONS = ("leave-source-out", "scenes")
RESULTS = ("n", "roc_auc", "roc_auc_interval", "accuracy", "recall", "precision", "ece")


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
    table = table.prepare_training()
    plan = plan_validation(table, validate, folds=folds, seed=seed)
    search = search_parameters(
        plan.training, plan.folds, trials=trials, timeout=timeout, study=study, seed=seed, jobs=jobs, track=track
    )
    model, left_out, laplacian_cutoff = _fit(plan, search, seed)
    used = explain_trees(model, plan.test)
    if plan.within is None:
        predictions, within = model.predict_features(plan.test.features), None
    else:
        predictions = left_out
        within = rank_within_sources(plan.training, plan.within, search.parameters, seed=seed, jobs=jobs)
    evaluation = evaluate_predictions(
        plan.test,
        predictions,
        threshold=model.card.threshold,
        base_rate=model.card.base_rate,
        laplacian_cutoff=laplacian_cutoff,
        within=within,
        seed=seed,
    )
    return _assemble(plan, search, model, evaluation, used)


def _fit(plan: Plan, search: Search, seed: int) -> tuple[BlurModel, Predictions, float]:
    """Calibrate and choose the threshold on rows left out; fit the trees to all rows.

    Returns
    -------
    model : BlurModel
    left_out : Predictions
        Of the rows of ``plan.judged``, by trees that have not seen them.
    laplacian_cutoff : float
        The threshold of the variance of the Laplacian, chosen in the same way.
    """
    training, margins = plan.training, search.margins[plan.left_out]
    calibration = calibrate_left_out(plan.judged, margins, by_source=plan.by_source)
    boosters, kinds, left_out = fit_boosters(training, plan.folds, search.parameters, seed=seed)
    card = Card(
        feature_set=training.feature_set,
        columns=training.columns,
        slope=calibration.slope,
        intercept=calibration.intercept,
        threshold=calibration.threshold,
        base_rate=0.5,
        kinds=kinds,
        parameters=search.parameters,
        trained_on={**training.counts, "sources": training.source_counts, "feature_set": training.feature_set},
        made_by=f"blurgate {__version__}",
    )
    left_out = replace(left_out.take(plan.left_out), probability=calibration.probabilities)
    return BlurModel(card, boosters), left_out, calibration.laplacian_cutoff


def _assemble(
    plan: Plan, search: Search, model: BlurModel, evaluation: Evaluation, used: list[ColumnUse]
) -> tuple[BlurModel, Evaluation]:
    """Put the figures on the model's card, and what is known of the training beside the figures."""
    numbers = evaluation.numbers
    left_out, validate = ("sources", "leave-source-out") if plan.by_source else ("scenes", "scenes")
    costs = {**error_rates(numbers["confusion_matrix"]), "measured_on": f"{left_out} left out of training"}
    figures: Mapping[str, object] = numbers
    results = {name: figures[name] for name in RESULTS}
    training: TrainingNumbers = {
        "n": plan.training.counts["n"],
        "n_blurred": plan.training.counts["n_blurred"],
        "n_scenes": plan.training.counts["n_scenes"],
        "sources": plan.training.source_counts,
        "feature_set": plan.training.feature_set,
        "validate": validate,
        "folds": len(plan.folds),
        "out_of_fold_roc_auc": search.numbers["best"],
    }
    model = replace(model, card=replace(model.card, results=results, at_threshold=costs))
    numbers = {**numbers, "training": training, "search": search.numbers, "features": used}
    return model, Evaluation(numbers, evaluation.table)
