"""A dataset, a labelled folder or a table file -> feature table."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import DatasetError, PhotoError, SmallPhotoError, needs_extra, require_extra
from blurgate.files import atomic_file
from blurgate.judging.inputs import Inputs, find_inputs, find_net_name
from blurgate.judging.nets import Net
from blurgate.judging.verdicts import LABELS, TOO_LITTLE_TEXTURE
from blurgate.learning.labels import (
    LabelledPhoto,
    is_label_list,
    list_photos,
    parse_number,
    parse_photo,
    read_csv,
    refuse_repeats,
)
from blurgate.making.blurs import BLURS
from blurgate.measuring.features import DEFAULT_FEATURE_SET, FEATURE_SETS, extract_features
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.images import SkippedPhoto, read_gray
from blurgate.threads import Track, no_track, run_in_order

ROW_COLUMNS = ("path", "label", "scene", "kind", "strength_px", "tier", "error", "undecided", "variance_of_laplacian")
_UNDECIDED = "true"  # in its column; else it is empty


@dataclass(frozen=True)
class FeatureTable:
    """The features of many photos.

    Parameters
    ----------
    photos : tuple of LabelledPhoto
        One for each row.
    features : ndarray of shape (n_photos, n_features), float32
    feature_set : str
        As `blurgate.judging.inputs.find_inputs` takes it; its columns name the columns of `features`.
    variance_of_laplacian : ndarray of shape (n_photos,), float64
        The customary measure, to compare with, of the photo at the size at which it is looked at.
    skipped : tuple of SkippedPhoto
        Photos without a row.
    sources : ndarray of shape (n_photos,), str
        Where each row is from.
    folders : mapping of str to Path
        The folder of each source's pictures.
    """

    photos: tuple[LabelledPhoto, ...]
    features: NDArray[np.float32]
    feature_set: str
    variance_of_laplacian: NDArray[np.float64]
    skipped: tuple[SkippedPhoto, ...] = ()
    sources: NDArray[np.str_] = dataclass_field(default_factory=lambda: np.empty(0, str))
    folders: Mapping[str, Path] = dataclass_field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `features`."""
        return find_inputs(self.feature_set).columns

    @property
    def labels(self) -> NDArray[np.int8]:
        """Class of each row: 0 sharp, 1 blurred.

        Raises
        ------
        DatasetError
            If a row has no label, or all have the same.
        """
        names = self.column("label")
        if "" in names:
            raise DatasetError(
                f"labelled photos were needed, but {int((names == '').sum())} of {len(self)} have no label: "
                "give a dataset, a folder with sharp/ and blurred/ in it, or one with a labels.csv"
            )
        if len(set(names)) < 2:
            raise DatasetError(
                f"sharp and blurred photos were needed, but all {len(self)} are {names[0]}: add the other class"
            )
        return np.asarray(names == LABELS[1], dtype=np.int8)

    def column(self, name: str) -> NDArray[Any]:
        """One attribute of all `photos`: ``scene``, ``kind``, ``strength_px``, ``tier``, ``label`` or ``path``."""
        return np.asarray([getattr(photo, name) for photo in self.photos])

    def take(self, rows: NDArray[np.intp]) -> FeatureTable:
        """Keep some rows, in the order given; nothing is skipped in it."""
        return FeatureTable(
            photos=tuple(self.photos[row] for row in rows),
            features=self.features[rows],
            feature_set=self.feature_set,
            variance_of_laplacian=self.variance_of_laplacian[rows],
            sources=self.sources[rows],
            folders=self.folders,
        )

    def without_flat(self) -> FeatureTable:
        """Skip the photos with too little texture to judge."""
        textured = find_inputs(self.feature_set).has_texture(self.features)
        flat = [SkippedPhoto(self.photos[row].path, TOO_LITTLE_TEXTURE, True) for row in np.flatnonzero(~textured)]
        return replace(self.take(np.flatnonzero(textured)), skipped=(*self.skipped, *flat))

    @property
    def scenes(self) -> NDArray[np.str_]:
        """The scene of each row."""
        return self.column("scene")

    @property
    def strengths(self) -> NDArray[np.float64]:
        """The true strength of each row's blur in pixels; NaN where it is unknown."""
        return self.column("strength_px")

    @property
    def kinds(self) -> NDArray[np.str_]:
        """The kind of each row's blur, a name out of `BLURS`; empty where it is sharp or unknown."""
        return self.column("kind")

    @property
    def tiers(self) -> NDArray[np.str_]:
        """The group that its source puts each row in, or empty."""
        return self.column("tier")

    @property
    def families(self) -> NDArray[np.str_]:
        """What each row's kind counts as: ``defocus``, ``motion``, ``gaussian``, or empty where it is unknown."""
        return np.asarray([BLURS[kind].family if kind in BLURS else "" for kind in self.kinds])

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """Weights that keep large sources from drowning small ones; their mean is 1.

        Each class of each source counts by the square root of its number of photos.
        """
        return self._weigh(np.sqrt)

    @cached_property
    def even_weights(self) -> NDArray[np.float32]:
        """Weights by which each class of each source counts alike; their mean is 1.

        A probability that is calibrated with them assumes that one photo in two is blurred.
        """
        return self._weigh(lambda count: count)

    @property
    def counts(self) -> dict[str, int]:
        """How many photos, blurred photos and scenes: ``n``, ``n_blurred``, ``n_scenes``."""
        return {"n": len(self), "n_blurred": int(self.labels.sum()), "n_scenes": len(set(self.scenes))}

    @property
    def source_counts(self) -> dict[str, int]:
        """How many photos each source has."""
        return {str(source): int((self.sources == source).sum()) for source in sorted(set(self.sources))}

    def _weigh(self, discount: Callable[[NDArray[np.intp]], NDArray[Any]]) -> NDArray[np.float32]:
        groups = np.asarray([f"{label} {source}" for label, source in zip(self.labels, self.sources, strict=True)])
        _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
        weights = 1 / discount(count)[group]
        return np.asarray(weights / weights.mean(), dtype=np.float32)

    def prepare_training(self) -> FeatureTable:
        """Skip photos with too little texture, and give each photo without a scene one of its own.

        Raises
        ------
        ValueError
            If the table holds what a net needs or answers: trees learn from measured features only.
        """
        inputs = find_inputs(self.feature_set)
        if inputs.texture_only or inputs.net:
            raise ValueError(
                f"trees learn from what is measured on photos, but the table is of {self.feature_set}, which a net "
                f"needs or answers: make it of {DEFAULT_FEATURE_SET}"
            )
        photos = tuple(replace(photo, scene=photo.scene or photo.path) for photo in self.photos)
        return replace(self, photos=photos).without_flat()

    def digests(self) -> tuple[str, ...]:
        """Mark each row's picture by its features, 16 digits: the same picture has the same mark, whatever its name."""
        rounded = np.round(self.features.astype(np.float64), 2) + 0.0  # without minus zero
        return tuple(hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in rounded)

    def picture(self, row: int) -> Path:
        """Where the picture of a row should be."""
        return self.folders[str(self.sources[row])] / self.photos[row].path


def build_table(
    source: str | os.PathLike[str],
    *,
    feature_set: str = DEFAULT_FEATURE_SET,
    net: Net | None = None,
    jobs: int | None = None,
    track: Track = no_track,
) -> FeatureTable:
    """Measure the photos of a source, or read their features if the source is a table.

    Parameters
    ----------
    source : path
        A folder that `make_dataset` made, a folder with ``sharp/`` and ``blurred/`` in it, a folder with a
        ``labels.csv``, such a list itself, any other folder of photos (which then have no label), or a ``.csv`` or
        ``.parquet`` table.
    feature_set : str
        A name out of `FEATURE_SETS`, or what a model's card says.
    net : Net, optional
        Of that model, where it has one.
    jobs : int, optional
        Photos at work at the same time; by default one for each core.
    track : Track
        Shows progress.

    Returns
    -------
    FeatureTable
        Photos that cannot be read or are too small are listed in ``skipped``.

    Raises
    ------
    DatasetError
        If the source is missing, empty or contradicts itself, or has no photo that can be read.
    ValueError
        If there is no such feature set, or it names another net.
    """
    source = Path(source)
    inputs = find_inputs(feature_set)
    if inputs.net != (net.name if net else ""):
        raise ValueError(f"the feature set {feature_set} needs the net that it names, got {net and net.name}")
    if source.is_file() and not is_label_list(source):
        return _check_feature_set(read_table(source), source, feature_set)
    photos = list_photos(source)
    folder = source if source.is_dir() else source.parent

    def read(photo: LabelledPhoto) -> tuple[NDArray[np.float32], float] | SkippedPhoto:
        try:
            gray = read_gray(folder / photo.path, max_pixels=inputs.measured.max_pixels)
        except PhotoError as error:
            return SkippedPhoto(photo.path, str(error), isinstance(error, SmallPhotoError))
        measured = extract_features(gray, inputs.feature_set)
        return np.concatenate([measured, net.predict(gray)]) if net else measured, variance_of_laplacian(gray)

    reading = run_in_order(read, photos, jobs=jobs)
    results = list(track(reading, total=len(photos), doing="measuring photos"))
    done = [(photo, result) for photo, result in zip(photos, results, strict=True) if isinstance(result, tuple)]
    skipped = [result for result in results if isinstance(result, SkippedPhoto)]
    if not done:
        raise DatasetError(f"{source} has no photo that can be read: the first failed because {skipped[0].error}")
    return _named(
        FeatureTable(
            photos=tuple(photo for photo, _ in done),
            features=np.stack([result[0] for _, result in done]).reshape(-1, len(inputs.columns)),
            feature_set=feature_set,
            variance_of_laplacian=np.asarray([result[1] for _, result in done]),
            skipped=(*_read_skipped(source), *skipped),
        ),
        source,
    )


def join_tables(tables: Sequence[FeatureTable]) -> FeatureTable:
    """Put tables one below the other; a scene name that occurs in several is one scene.

    Raises
    ------
    DatasetError
        If they have different feature sets.
    """
    sets = {table.feature_set for table in tables}
    if len(sets) > 1:
        raise DatasetError(
            f"tables of one feature set were needed, got {', '.join(sorted(sets))}: make them anew alike"
        )
    folders: dict[str, Path] = {}
    sources: list[NDArray[np.str_]] = []
    for table in tables:
        renamed = table.sources
        for name, folder in table.folders.items():
            unique = name if folders.get(name, folder) == folder else f"{name} ({len(folders)})"
            folders[unique] = folder
            renamed = np.where(renamed == name, unique, renamed)
        sources.append(renamed)
    return FeatureTable(
        photos=tuple(photo for table in tables for photo in table.photos),
        features=np.concatenate([table.features for table in tables]),
        feature_set=tables[0].feature_set,
        variance_of_laplacian=np.concatenate([table.variance_of_laplacian for table in tables]),
        skipped=tuple(photo for table in tables for photo in table.skipped),
        sources=np.concatenate(sources),
        folders=folders,
    )


def write_table(table: FeatureTable, path: str | os.PathLike[str]) -> None:
    """Write a table as ``.csv`` or ``.parquet``.

    Numbers are written so that reading gives back the same bits. Skipped photos have a row too, with their error and
    no features.

    Raises
    ------
    DatasetError
        If the suffix is neither.
    MissingExtraError
        If Parquet is asked for and pyarrow is missing.
    """
    path = Path(path)
    write = find_table_writer(path)
    rows = [
        [photo.path, photo.label, photo.scene, photo.kind, _number(photo.strength_px), photo.tier, "", "", laplacian]
        for photo, laplacian in zip(table.photos, map(float, table.variance_of_laplacian), strict=True)
    ]
    rows += [
        [photo.path, "", "", "", None, "", photo.error, _UNDECIDED if photo.undecided else "", None]
        for photo in table.skipped
    ]
    with atomic_file(path) as partial:
        write(partial, table, rows)


def find_table_writer(path: Path) -> Callable[[Path, FeatureTable, Sequence[list[Any]]], None]:
    """Look up what writes a table of that suffix, and see that it can.

    Raises
    ------
    DatasetError, MissingExtraError
        As `write_table` does: to be told before a long job instead of after it.
    """
    if path.suffix.lower() == ".parquet":
        require_extra("parquet", "Writing Parquet")
        return _write_parquet
    if path.suffix.lower() == ".csv":
        return _write_csv
    raise DatasetError(f"a table named .csv or .parquet was needed, got {path.name}: choose one of these suffixes")


def read_table(path: str | os.PathLike[str]) -> FeatureTable:
    """Read a table that `write_table` wrote.

    Raises
    ------
    DatasetError
        If the file is missing or is no table, columns are missing or foreign, or a cell is not what its column needs.
    MissingExtraError
        If it is Parquet and pyarrow is missing.
    """
    path = Path(path)
    read = {".csv": read_csv, ".parquet": _read_parquet}.get(path.suffix.lower())
    if read is None or not path.exists():
        raise DatasetError(f"a folder of photos, or a .csv or .parquet table, was needed, but {path} is none: check it")
    columns, rows = read(path)
    feature_set = _match_columns(columns, path)
    wanted = find_inputs(feature_set).columns
    photos, features, laplacians, skipped = [], [], [], []
    for number, row in enumerate(rows, start=2):
        if row.get("error"):
            skipped.append(_parse_skipped(row, path, number))
            continue
        photos.append(parse_photo(row, path, number))
        laplacians.append(parse_number(row, "variance_of_laplacian", path, number))
        features.append([parse_number(row, name, path, number) for name in wanted])
    if not photos:
        raise DatasetError(f"{path} has no row with features: make it anew with blurgate features")
    refuse_repeats(photos, path)
    table = FeatureTable(
        photos=tuple(photos),
        features=np.asarray(features, dtype=np.float32),
        feature_set=feature_set,
        variance_of_laplacian=np.asarray(laplacians),
        skipped=tuple(skipped),
    )
    return _named(table, path)


def _named(table: FeatureTable, source: Path) -> FeatureTable:
    name = source.resolve().name
    folder = source if source.is_dir() else source.parent
    return replace(table, sources=np.full(len(table), name), folders={name: folder})


def _check_feature_set(table: FeatureTable, source: Path, feature_set: str) -> FeatureTable:
    if table.feature_set != feature_set:
        raise DatasetError(
            f"{source} holds the feature set {table.feature_set}, but {feature_set} was needed: "
            f"{'give the photos themselves' if find_inputs(feature_set).net else 'make it anew'}"
        )
    return table


def _read_skipped(folder: Path) -> list[SkippedPhoto]:
    path = folder / "skipped.csv"
    if not (path.exists() and (folder / "manifest.csv").exists()):
        return []
    return [_parse_skipped(row, path, number) for number, row in enumerate(read_csv(path)[1], start=2)]


def _parse_skipped(row: Mapping[str, Any], path: Path, number: int) -> SkippedPhoto:
    undecided = row.get("undecided") or ""  # files of before have no such column
    if undecided not in ("", _UNDECIDED):
        raise DatasetError(
            f"{path}, line {number}: undecided must be {_UNDECIDED} or empty, got {undecided!r}: mend it"
        )
    return SkippedPhoto(str(row["path"]), str(row["error"]), bool(undecided))


def _match_columns(columns: Sequence[str], path: Path) -> str:
    present = set(columns) - set(ROW_COLUMNS)
    feature_set = max(FEATURE_SETS, key=lambda name: _overlap(present, FEATURE_SETS[name].columns))
    inputs = Inputs(feature_set, find_net_name(present))
    needed = (*ROW_COLUMNS, *inputs.columns)
    missing = [name for name in needed if name not in columns and name != "undecided"]  # tables of before have none
    foreign = [name for name in columns if name not in needed]
    if missing or foreign:
        found = [
            f"{word}: {_name_some(names)}" for word, names in (("missing", missing), ("foreign", foreign)) if names
        ]
        raise DatasetError(
            f"{path} is no table of the feature set {inputs} ({'; '.join(found)}): make it with blurgate features"
        )
    return str(inputs)


def _overlap(present: set[str], columns: Sequence[str]) -> tuple[int, bool]:
    """Count the columns that are there; of two sets with as many the one that is whole goes before."""
    return len(present & set(columns)), set(columns) <= present


def _write_csv(path: Path, table: FeatureTable, rows: Sequence[list[Any]]) -> None:
    features = [[str(value) for value in vector] for vector in table.features]
    blank = [""] * len(table.columns)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow((*ROW_COLUMNS, *table.columns))
        for index, row in enumerate(rows):
            writer.writerow(row + (features[index] if index < len(features) else blank))


def _name_some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _read_parquet(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    with needs_extra("parquet", "Reading Parquet"):
        import pyarrow
        import pyarrow.parquet
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read as Parquet ({error}): make it anew") from error
    return table.column_names, table.to_pylist()


def _write_parquet(path: Path, table: FeatureTable, rows: Sequence[list[Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {name: [_unicode(row[index]) for row in rows] for index, name in enumerate(ROW_COLUMNS)}
    blank = [None] * len(table.skipped)
    for index, name in enumerate(table.columns):
        columns[name] = [*table.features[:, index].tolist(), *blank]
    types = {"strength_px": pyarrow.float64(), "variance_of_laplacian": pyarrow.float64()}
    schema = pyarrow.schema(
        [(name, types.get(name, pyarrow.string())) for name in ROW_COLUMNS]
        + [(name, pyarrow.float32()) for name in table.columns]
    )
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), path)


def _unicode(value: Any) -> Any:
    """Write the bytes of a name that are no Unicode as backslash escapes: Parquet holds nothing else."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
