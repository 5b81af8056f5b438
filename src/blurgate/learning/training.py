"""Feature tables -> tuned, calibrated BlurModel, and its evaluation on unseen scenes or sources.

There are two ways to keep the evaluation unbiased. With several sources, each source is predicted by trees trained on
the others, as a new user's photos would be; these predictions choose parameters, calibration and threshold. With one
source, test scenes are set aside first. The search, the calibration and the threshold use only out-of-fold predictions
of the other scenes. The test scenes are used once, for the evaluation.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from blurgate.errors import DatasetError, require_several
from blurgate.judging.cards import Card
from blurgate.judging.model import BlurModel, Predictions
from blurgate.learning.boosters import explain_trees, fit_boosters, rank_within_sources
from blurgate.learning.calibration import calibrate_left_out
from blurgate.learning.evaluation import ColumnUse, Evaluation, TrainingNumbers, evaluate_predictions, identify
from blurgate.learning.labels import is_labelled, list_photos, require_both_labels
from blurgate.learning.metrics import ErrorRates, error_rates
from blurgate.learning.search import Search, search_parameters
from blurgate.learning.splits import Plan, plan_validation
from blurgate.learning.table import FeatureTable, build_table, is_table, join_tables
from blurgate.making.dataset import make_dataset
from blurgate.measuring.features import DEFAULT_FEATURE_SET
from blurgate.threads import Track, no_track, track_step
from blurgate.version import __version__

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
    """Measure several sources and join them into one table.

    Parameters
    ----------
    sources : sequence of path
        Folders of sharp photos, made datasets, labelled folders and tables, in any mixture.
    work : Path
        Existing folder for the datasets that are made from sharp photos.
    feature_set : str
        Name in `FEATURE_SETS`.
    recipe : str
    per_photo, seed : int
        Settings of the datasets that are made; see `make_dataset`.
    jobs : int, optional
        Number of photos processed in parallel; by default one per core.
    track : Track
        Shows progress.

    Returns
    -------
    FeatureTable
        Its sources are named after the folders and tables.

    Raises
    ------
    DatasetError
        If there is no source, one is named twice, or one cannot be used.
    ValueError
        If there is no such feature set or recipe, or `per_photo` is below 1.
    TypeError
        If `sources` is one path.
    """
    require_several("sources", sources)
    paths = [Path(source) for source in sources]
    tables = _check_sources(paths, feature_set)
    for number, source in enumerate(paths):
        if source in tables:
            continue
        measured = source
        if not is_labelled(source):
            measured = work / f"{number}" / source.resolve().name
            measured.parent.mkdir(exist_ok=True)
            make_dataset(source, measured, recipe=recipe, per_photo=per_photo, seed=seed, jobs=jobs, track=track)
        tables[source] = build_table(measured, feature_set=feature_set, labelled=True, jobs=jobs, track=track)
    return join_tables([tables[source] for source in paths])


def _check_sources(sources: Sequence[Path], feature_set: str) -> dict[Path, FeatureTable]:
    """Check every source before the first is measured, which can take an hour; return the tables among them."""
    if not sources:
        raise DatasetError("expected at least one source of photos, got none: name a folder or a table")
    tables: dict[Path, FeatureTable] = {}
    named: set[Path] = set()
    for source in sources:
        if source.resolve() in named:
            raise DatasetError(f"{source} is named twice: name each source once")
        named.add(source.resolve())
        if is_table(source):
            tables[source] = build_table(source, feature_set=feature_set, labelled=True)
        else:
            list_photos(source)
    return tables


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
    """Tune, train and calibrate a model, and evaluate it on scenes or sources left out of training.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes; see `load_sources`. Photos with too little texture to judge are dropped, and those that
        a model labelled. Scenes that hold copies of the same photo are one scene, whatever their names and sources.
    validate : {'leave-source-out', 'scenes'}, optional
        Which predictions choose parameters, calibration and threshold, and which photos the model is evaluated on.
        ``leave-source-out``: each source is predicted by trees trained on the other sources; the final model is trained
        on all photos. ``scenes``: one scene in five is set aside for the evaluation; cross-validation on the other
        scenes chooses. By default the former if two sources or more can be left out.
    trials : int
        Number of parameter settings to try, including those already in the study; at least 1.
    timeout : float, optional
        Seconds after which no further trial starts.
    study : path or str, optional
        File that saves the search, so that an interrupted search can resume; or an address at which several machines
        share one, see `blurgate.learning.studies.open_study`.
    seed : int
        Seed of the splits, the search and the trees. The same seed and table give the same model and figures.
    folds : int
        Number of folds of the cross-validation by scene, at least 2.
    jobs : int, optional
        Number of folds processed in parallel; by default one per core.
    track : Track
        Shows progress.

    Returns
    -------
    model : BlurModel
    evaluation : Evaluation
        What `evaluate` measures, and figures on the training data, the search, the trees, and each left-out source.

    Raises
    ------
    DatasetError
        If labels are missing, there is only one class, or there are too few scenes or sources.
    StudyFileError
        If the study is damaged, belongs to another search, is in use by another one, or its address cannot be used.
    ValueError
        If `trials` is below 1, `folds` is below 2, `validate` is unknown, or the table's features are meant for a net.
    """
    if trials < 1 or folds < 2:
        raise ValueError(f"trials must be at least 1 and folds at least 2, got {trials} and {folds}")
    named = table.by_persons().prepare_training()
    require_both_labels(named.photos)
    table = named.merge_copies()
    n_copies = named.counts["n_scenes"] - table.counts["n_scenes"]
    plan = plan_validation(table, validate, folds=folds, seed=seed)
    search = search_parameters(
        plan.training, plan.folds, trials=trials, timeout=timeout, study=study, seed=seed, jobs=jobs, track=track
    )
    with track_step(track, "fitting and testing the model"):
        return _conclude(plan, search, seed, jobs, n_copies)


def _conclude(plan: Plan, search: Search, seed: int, jobs: int | None, n_copies: int) -> tuple[BlurModel, Evaluation]:
    """Fit the model with the parameters found, and evaluate it on what was left out."""
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
    costs = error_rates(evaluation.numbers["confusion_matrix"])
    return _assemble(plan, search, model, evaluation, costs=costs, used=used, n_copies=n_copies)


def _fit(plan: Plan, search: Search, seed: int) -> tuple[BlurModel, Predictions, float]:
    """Calibrate and choose the threshold on left-out rows; fit the trees to all training rows.

    Returns
    -------
    model : BlurModel
    left_out : Predictions
        For the rows of ``plan.calibration``, by trees that were not trained on them.
    laplacian_cutoff : float
        Cutoff for the variance of the Laplacian, chosen in the same way.
    """
    training, margins = plan.training, search.margins[plan.left_out]
    calibration = calibrate_left_out(plan.calibration, margins, by_source=plan.by_source)
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
    plan: Plan,
    search: Search,
    model: BlurModel,
    evaluation: Evaluation,
    *,
    costs: ErrorRates,
    used: list[ColumnUse],
    n_copies: int,
) -> tuple[BlurModel, Evaluation]:
    """Add results to the model's card, and figures on training and search to the evaluation."""
    numbers = evaluation.numbers
    left_out, validate = ("sources", "leave-source-out") if plan.by_source else ("scenes", "scenes")
    at_threshold = {**costs, "measured_on": f"{left_out} left out of training"}
    figures: Mapping[str, object] = numbers
    results = {name: figures[name] for name in RESULTS}
    training: TrainingNumbers = {
        "n": plan.training.counts["n"],
        "n_blurred": plan.training.counts["n_blurred"],
        "n_scenes": plan.training.counts["n_scenes"],
        "n_copies": n_copies,
        "n_without_hash": int((plan.table.column("phash") == "").sum()),
        "sources": plan.training.source_counts,
        "feature_set": plan.training.feature_set,
        "validate": validate,
        "folds": len(plan.folds),
        "out_of_fold_roc_auc": search.numbers["best"],
    }
    model = replace(model, card=replace(model.card, results=results, at_threshold=at_threshold))
    numbers = {**numbers, "model": identify(model), "training": training, "search": search.numbers, "features": used}
    return model, Evaluation(numbers, evaluation.table)
