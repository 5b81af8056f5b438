"""Rows of a feature table -> splits that never cut a scene in two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import DatasetError, needs_extra
from blurgate.table import FeatureTable

with needs_extra("train", "Training or evaluating"):
    from sklearn.model_selection import StratifiedGroupKFold

Rows = NDArray[np.intp]

TEST_SHARE = 5  # one scene in so many is set aside


@dataclass(frozen=True)
class Split:
    """Rows of the scenes to train on, and of those set aside for the test; no scene is in both."""

    train: Rows
    test: Rows


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


def cut_folds(table: FeatureTable, *, folds: int, seed: int) -> list[Split]:
    """Cut the table into folds that keep scenes whole.

    Raises
    ------
    DatasetError
        If a fold would have one class only.
    """
    labels, scenes = table.labels, table.column("scene")
    strata = np.asarray([f"{label} {source}" for label, source in zip(labels, table.sources, strict=True)])
    if min(np.unique(strata, return_counts=True)[1]) < folds:
        strata = labels
    splits: list[Split] = []
    if min(np.bincount(labels)) >= folds:
        cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        splits = [Split(*rows) for rows in cutter.split(table.features, strata, scenes)]
    if not splits or any(len(set(labels[rows])) < 2 for split in splits for rows in (split.train, split.test)):
        raise DatasetError(
            f"{folds} folds that keep scenes whole and hold sharp and blurred photos each were needed, but "
            f"{len(set(scenes))} scenes do not allow them: add photos of other scenes, or lower --folds"
        )
    return splits


def leave_sources_out(table: FeatureTable) -> list[Split]:
    """Cut one fold for each source: train on the others, test on it.

    Rows of a scene that the tested source has too are in neither part. A source with one class only cannot be ranked:
    it is always trained on.

    Raises
    ------
    DatasetError
        If there are not two sources that can be left out.
    """
    labels, scenes = table.labels, table.column("scene")
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


def weigh_rows(table: FeatureTable, *, even: bool = False) -> NDArray[np.float32]:
    """Weigh the rows, so that large sources do not drown small ones; the mean weight is 1.

    Each class of each source counts by the square root of its number of photos or, if `even`, like every other. What is
    calibrated with even weights assumes that one photo in two is blurred, whatever the training's share was.
    """
    groups = np.asarray([f"{label} {source}" for label, source in zip(table.labels, table.sources, strict=True)])
    _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
    weights = 1 / (count if even else np.sqrt(count))[group]
    return np.asarray(weights / weights.mean(), dtype=np.float32)
