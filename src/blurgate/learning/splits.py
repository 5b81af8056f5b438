"""Rows of a feature table -> splits that keep scenes whole, or leave a source out; the plan of a validation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import DatasetError, needs_extra
from blurgate.judging.verdicts import LABELS
from blurgate.learning.table import FeatureTable

with needs_extra("train", "Training or evaluating"):
    from sklearn.model_selection import StratifiedGroupKFold

Rows = NDArray[np.intp]

VALIDATIONS = ("leave-source-out", "scenes")
TEST_SHARE = 5  # one scene in five is set aside


@dataclass(frozen=True)
class Split:
    """Rows to train on and rows to test on; no scene has rows in both.

    Parameters
    ----------
    train, test : ndarray of shape (n_rows,), intp
    """

    train: Rows
    test: Rows


@dataclass(frozen=True)
class Plan:
    """Which rows of a table a model is trained on, which are left out of it in turn, and which it is tested on.

    Parameters
    ----------
    table : FeatureTable
    rows : ndarray of shape (n_training,), intp
        Rows of `table` that the final model is trained on.
    folds : list of Split
        Rows of `training`; each fold leaves out a source or some scenes.
    left_out : ndarray of shape (n_left_out,), intp
        Rows of `training` that some fold tests on: all, or all but those of sources that cannot be left out.
    tested : ndarray of shape (n_test,), intp
        Rows of `table` that the evaluation covers: those left out if sources are, else the scenes set aside.
    within : dict of str to list of Split, or None
        If sources are left out, the folds by scene within each source, as rows of `training`.
    """

    table: FeatureTable
    rows: Rows
    folds: list[Split]
    left_out: Rows
    tested: Rows
    within: dict[str, list[Split]] | None

    @property
    def by_source(self) -> bool:
        """True if sources are left out in turn, False if scenes are set aside."""
        return self.within is not None

    @cached_property
    def training(self) -> FeatureTable:
        """What the final model is trained on."""
        return self.table.take(self.rows)

    @cached_property
    def calibration(self) -> FeatureTable:
        """What calibrates it and chooses the threshold: the rows left out, each predicted without having been seen."""
        return self.training.take(self.left_out)

    @cached_property
    def test(self) -> FeatureTable:
        """What the evaluation covers, with the photos that the table skips."""
        return replace(self.table.take(self.tested), skipped=self.table.skipped)


def plan_validation(table: FeatureTable, validate: str | None, *, folds: int, seed: int) -> Plan:
    """Plan the validation of a model: leave out sources in turn, or set scenes aside.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    validate : {'leave-source-out', 'scenes'}, optional
        By default ``leave-source-out`` if at least two sources can be left out, else ``scenes``.
    folds : int
        Number of folds by scene, at least 2: of the table or, if sources are left out, within each source.
    seed : int
        Seeds the draw of test scenes and the folds.

    Returns
    -------
    Plan

    Raises
    ------
    DatasetError
        If there are too few scenes, or too few sources to leave one out when that is required.
    ValueError
        If `validate` is unknown.
    """
    if validate not in (None, *VALIDATIONS):
        raise ValueError(f"validate must be one of {', '.join(VALIDATIONS)}, got {validate!r}")
    if validate != "scenes":
        try:
            return plan_by_source(table, folds=folds, seed=seed)
        except DatasetError:
            if validate:
                raise
    return plan_by_scene(table, folds=folds, seed=seed)


def plan_by_source(table: FeatureTable, *, folds: int, seed: int) -> Plan:
    """Leave each source out in turn: models of the other sources are tested on it; the final model trains on all.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    folds : int
        Number of folds by scene within each source, at least 2.
    seed : int
        Seeds those folds.

    Returns
    -------
    Plan

    Raises
    ------
    DatasetError
        If fewer than two sources can be left out.
    """
    splits = leave_sources_out(table)
    within = cut_folds_within_sources(table, folds=folds, seed=seed)
    left_out = np.sort(np.concatenate([split.test for split in splits]))
    return Plan(table, np.arange(len(table)), splits, left_out, tested=left_out, within=within)


def plan_by_scene(table: FeatureTable, *, folds: int, seed: int) -> Plan:
    """Set one scene in five aside for the test; cut the others into folds.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    folds : int
        At least 2.
    seed : int
        Seeds the draw of test scenes and the folds.

    Returns
    -------
    Plan

    Raises
    ------
    DatasetError
        If there are too few scenes.
    """
    aside = split_scenes(table, folds=folds, seed=seed)
    splits = cut_folds(table, folds=folds, seed=seed, rows=aside.train)
    return Plan(table, aside.train, splits, np.arange(len(aside.train)), tested=aside.test, within=None)


def split_scenes(table: FeatureTable, *, folds: int, seed: int) -> Split:
    """Set one scene in five aside for the test, in equal proportion from each source and class.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    folds : int
        Number of folds that the training scenes must still allow, at least 2.
    seed : int
        Seeds the draw.

    Returns
    -------
    Split

    Raises
    ------
    DatasetError
        If there are too few scenes of a class for the test and the folds.
    """
    labels, scenes = table.labels, table.scenes
    _require_scenes(labels, scenes, folds)
    composition: dict[str, tuple[set[int], set[str]]] = {}  # scene -> its classes and its sources
    for scene, label, source in zip(scenes, labels, table.sources, strict=True):
        in_scene = composition.setdefault(str(scene), (set(), set()))
        in_scene[0].add(int(label))
        in_scene[1].add(str(source))
    order = np.random.default_rng(seed).permutation(len(composition)).tolist()
    drawn = dict(zip(composition, order, strict=True))

    def sort_key(scene: str) -> tuple[list[int], list[str], int]:
        """Class before source, so that every fifth scene covers both classes even if each source has few scenes."""
        classes, sources = composition[scene]
        return sorted(classes), sorted(sources), drawn[scene]

    ordered = sorted(composition, key=sort_key)
    in_test = np.isin(scenes, ordered[TEST_SHARE // 2 :: TEST_SHARE])
    return Split(np.flatnonzero(~in_test), np.flatnonzero(in_test))


def cut_folds(table: FeatureTable, *, folds: int, seed: int, rows: Rows | None = None) -> list[Split]:
    """Cut rows into folds that keep scenes whole.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    folds : int
        At least 2.
    seed : int
        Seeds the shuffling of scenes.
    rows : ndarray of shape (n_rows,), intp, optional
        Rows to cut; by default all of the table.

    Returns
    -------
    list of Split
        Positions within `rows`.

    Raises
    ------
    DatasetError
        If there are too few scenes for every fold to train and to test on both classes.
    """
    rows = np.arange(len(table)) if rows is None else rows
    labels, scenes, sources = table.labels[rows], table.scenes[rows], table.sources[rows]
    strata = np.asarray([f"{label} {source}" for label, source in zip(labels, sources, strict=True)])
    if min(np.unique(strata, return_counts=True)[1]) < folds:
        strata = labels
    splits: list[Split] = []
    if len(set(labels)) == 2 and min(np.bincount(labels)) >= folds:
        cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        splits = [Split(*split) for split in cutter.split(rows, strata, scenes)]
    if not splits or any(len(set(labels[part])) < 2 for split in splits for part in (split.train, split.test)):
        raise DatasetError(
            f"cannot cut {len(set(scenes))} scenes into {folds} folds that keep scenes whole and have sharp and "
            "blurred photos each: add photos of other scenes, or lower --folds"
        )
    return splits


def cut_folds_within_sources(table: FeatureTable, *, folds: int, seed: int) -> dict[str, list[Split]]:
    """Cut each source separately into folds that keep scenes whole.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    folds : int
        Number per source, at least 2.
    seed : int
        Seeds the shuffling of scenes.

    Returns
    -------
    dict of str to list of Split
        Source -> its folds, as rows of the table; empty if the source has one class only, or too few scenes.
    """
    within: dict[str, list[Split]] = {}
    for source in sorted(set(table.sources)):
        rows = np.flatnonzero(table.sources == source)
        try:
            splits = cut_folds(table, folds=folds, seed=seed, rows=rows)
        except DatasetError:
            splits = []
        within[str(source)] = [Split(rows[split.train], rows[split.test]) for split in splits]
    return within


def leave_sources_out(table: FeatureTable) -> list[Split]:
    """Make one fold per source: train on the other sources, test on it.

    Rows whose scene also occurs in the tested source are not trained on. A source with only one class cannot be ranked,
    so it is never left out, and neither is a source without which the others have only one class.

    Raises
    ------
    DatasetError
        If fewer than two sources can be left out.
    """
    labels, scenes = table.labels, table.scenes
    splits = []
    for source in sorted(set(table.sources)):
        tested = table.sources == source
        shared = np.isin(scenes, scenes[tested])
        if all(len(set(labels[rows])) == 2 for rows in (tested, ~shared)):
            splits.append(Split(np.flatnonzero(~shared), np.flatnonzero(tested)))
    if len(splits) < 2:
        raise DatasetError(
            "leaving a source out needs two sources of different scenes, each with sharp and blurred photos, got "
            f"{len(splits)}: add a source, or validate by scenes (--validate scenes)"
        )
    return splits


def _require_scenes(labels: NDArray[np.int8], scenes: NDArray[np.str_], folds: int) -> None:
    needed = folds + 2
    for value, name in enumerate(LABELS):
        count = len(set(scenes[labels == value]))
        if count < needed:
            raise DatasetError(
                f"expected at least {needed} scenes with {name} photos, for a test and {folds} folds, got {count}: "
                "add photos of other scenes (copies of a photo are one), or lower --folds"
            )
