"""Rows of a feature table -> splits that never cut a scene in two."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import DatasetError, needs_extra
from blurgate.learning.table import FeatureTable

with needs_extra("train", "Training or evaluating"):
    from sklearn.model_selection import StratifiedGroupKFold

Rows = NDArray[np.intp]

TEST_SHARE = 5  # one scene in so many is set aside


@dataclass(frozen=True)
class Split:
    """Rows of the scenes to train on, and of those set aside for the test; no scene is in both."""

    train: Rows
    test: Rows


@dataclass(frozen=True)
class Plan:
    """What a model learns from, what is left out of it in turn, and what it is judged on.

    Parameters
    ----------
    training : FeatureTable
        What the model that is kept learns from.
    folds : list of Split
        Rows of `training`.
    left_out : ndarray of shape (n_left_out,), intp
        Rows of `training` that are in a fold's test: all, or all but those of sources with one class.
    judged : FeatureTable
        The rows `left_out`.
    test : FeatureTable
        The photos that the evaluation is of: those of `judged`, or of the scenes set aside.
    within : dict of str to list of Split, or None
        If sources are left out, folds of each by scene: rows of `training`.
    """

    training: FeatureTable
    folds: list[Split]
    left_out: Rows
    judged: FeatureTable
    test: FeatureTable
    within: dict[str, list[Split]] | None

    @property
    def by_source(self) -> bool:
        """True if sources are left out in turn, False if scenes are set aside."""
        return self.within is not None


def plan_validation(table: FeatureTable, validate: str | None, *, folds: int, seed: int) -> Plan:
    """Plan how a model is validated.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    validate : {'leave-source-out', 'scenes'}, optional
        By default the former if two sources or more can be left out.
    folds : int
        Of a validation by scenes, at least 2.
    seed : int

    Returns
    -------
    Plan

    Raises
    ------
    DatasetError
        If there are too few scenes, or too few sources to leave one out.
    """
    if validate != "scenes":
        try:
            return plan_by_source(table, folds=folds, seed=seed)
        except DatasetError:
            if validate:
                raise
    return plan_by_scene(table, folds=folds, seed=seed)


def plan_by_source(table: FeatureTable, *, folds: int, seed: int) -> Plan:
    """Leave each source out in turn: what the other sources teach is judged on it, and the model learns from all.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    folds : int
        Within each source, at least 2.
    seed : int

    Returns
    -------
    Plan

    Raises
    ------
    DatasetError
        If there are not two sources that can be left out.
    """
    splits = leave_sources_out(table)
    within = cut_folds_within_sources(table, folds=folds, seed=seed)
    rows = np.sort(np.concatenate([split.test for split in splits]))
    judged = table.take(rows)
    return Plan(table, splits, rows, judged, replace(judged, skipped=table.skipped), within)


def plan_by_scene(table: FeatureTable, *, folds: int, seed: int) -> Plan:
    """Set one scene in five aside for the test; cut the others into folds.

    Parameters
    ----------
    table : FeatureTable
        Labelled, both classes.
    folds : int
        At least 2.
    seed : int

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
    training, test = table.take(aside.train), replace(table.take(aside.test), skipped=table.skipped)
    return Plan(training, splits, np.arange(len(training)), training, test, None)


def split_scenes(table: FeatureTable, *, folds: int, seed: int) -> Split:
    """Set the scenes of the test aside: one in five, drawn from those of each source and class alike.

    Raises
    ------
    DatasetError
        If there are too few scenes of a class for the test and the folds.
    """
    labels, scenes = table.labels, table.scenes
    needed = folds + 2
    for value, name in enumerate(("sharp", "blurred")):
        count = len(set(scenes[labels == value]))
        if count < needed:
            raise DatasetError(
                f"{needed} scenes with {name} photos were needed for a test and {folds} folds, got {count}: "
                "add photos of other scenes, or lower --folds"
            )
    makeup: dict[str, tuple[set[int], set[str]]] = {}
    for scene, label, source in zip(scenes, labels, table.sources, strict=True):
        in_scene = makeup.setdefault(str(scene), (set(), set()))
        in_scene[0].add(int(label))
        in_scene[1].add(str(source))
    chance = dict(zip(makeup, np.random.default_rng(seed).permutation(len(makeup)).tolist(), strict=True))
    # ordered by class before source, so that every fifth meets both classes however few scenes a source has
    ordered = sorted(makeup, key=lambda scene: (sorted(makeup[scene][0]), sorted(makeup[scene][1]), chance[scene]))
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
    rows : ndarray of shape (n_rows,), intp, optional
        Those to cut; by default all of the table.

    Returns
    -------
    list of Split
        Their rows count among `rows`.

    Raises
    ------
    DatasetError
        If a fold would have one class only.
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
            f"{folds} folds that keep scenes whole and hold sharp and blurred photos each were needed, but "
            f"{len(set(scenes))} scenes do not allow them: add photos of other scenes, or lower --folds"
        )
    return splits


def cut_folds_within_sources(table: FeatureTable, *, folds: int, seed: int) -> dict[str, list[Split]]:
    """Cut each source into folds of its own that keep scenes whole.

    Parameters
    ----------
    table : FeatureTable
        Labelled.
    folds : int
        Of each source, at least 2.
    seed : int

    Returns
    -------
    dict of str to list of Split
        By source; no folds where a source has one class only, or too few scenes.
    """
    found: dict[str, list[Split]] = {}
    for source in sorted(set(table.sources)):
        rows = np.flatnonzero(table.sources == source)
        try:
            splits = cut_folds(table, folds=folds, seed=seed, rows=rows)
        except DatasetError:
            splits = []
        found[str(source)] = [Split(rows[split.train], rows[split.test]) for split in splits]
    return found


def leave_sources_out(table: FeatureTable) -> list[Split]:
    """Cut one fold for each source: train on the others, test on it.

    Rows of a scene that the tested source has too are in neither part. A source with one class only cannot be ranked:
    it is always trained on.

    Raises
    ------
    DatasetError
        If there are not two sources that can be left out.
    """
    labels, scenes = table.labels, table.scenes
    splits = []
    for source in sorted(set(table.sources)):
        out = table.sources == source
        shared = np.isin(scenes, scenes[out])
        if all(len(set(labels[rows])) == 2 for rows in (out, ~shared)):
            splits.append(Split(np.flatnonzero(~shared), np.flatnonzero(out)))
    if len(splits) < 2:
        raise DatasetError(
            "two sources with sharp and blurred photos each, of different scenes, were needed to leave one out, got "
            f"{len(splits)}: add a source, or validate by scenes (--validate scenes)"
        )
    return splits
