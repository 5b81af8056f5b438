"""A dataset, a labelled folder or a table file -> feature table; table files."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blurgate.cells import write_rows
from blurgate.errors import (
    DatasetError,
    PhotoError,
    SmallPhotoError,
    name_first,
    needs_extra,
    raise_machine_error,
    require_extra,
)
from blurgate.files import atomic_file
from blurgate.judging.explainers import READINGS, Explainer, name_readings
from blurgate.judging.inputs import Inputs, find_inputs, find_net_name
from blurgate.judging.nets import Net
from blurgate.judging.verdicts import LABELS, TOO_LITTLE_TEXTURE
from blurgate.learning.labels import (
    MODEL,
    LabelledPhoto,
    is_label_list,
    list_photos,
    parse_number,
    parse_photo,
    read_csv,
    require_labels,
    require_person,
    require_unique_photos,
)
from blurgate.making.blurs import BLURS
from blurgate.measuring.features import DEFAULT_FEATURE_SET, FEATURE_SETS, extract_features
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.copies import find_copies, hash_picture
from blurgate.photos.images import SkippedPhoto, read_plane
from blurgate.threads import Track, no_track, run_in_order

WITHOUT_NET_OUTPUTS = "give the photos themselves, or a table that `features --model` made for this model"
ROW_COLUMNS = (
    *("path", "label", "scene", "kind", "strength_px", "tier", "labelled_by", "chosen_by"),
    *("error", "undecided", "variance_of_laplacian", "phash"),
)
_OPTIONAL = ("labelled_by", "chosen_by", "undecided", "phash")  # tables of earlier versions lack these columns
_BATCH = 100  # rows of Parquet that are read at a time
_UNDECIDED = "true"  # the only value of that column that is not empty


@dataclass(frozen=True)
class FeatureTable:
    """The features of many photos.

    Parameters
    ----------
    photos : tuple of LabelledPhoto
        One for each row.
    features : ndarray of shape (n_photos, n_features), float32
        With the outputs of a net as the last columns if `feature_set` names one.
    feature_set : str
        Names the columns of `features`; see `blurgate.judging.inputs.find_inputs`.
    variance_of_laplacian : ndarray of shape (n_photos,), float64
        The customary measure of sharpness, at the analysed size, to compare with.
    skipped : tuple of SkippedPhoto
        Photos without a row.
    sources : ndarray of shape (n_photos,), str
        Source of each row.
    folders : mapping of str to Path
        Source -> the folder that its paths are relative to.
    n_by_model : int
        Number of photos left out because the model labelled them, not a person.
    explainer : str
        Name of the explainer that read the photos, such as ``explainer-1a2b3c4d``; empty if none did.
    readings : ndarray of shape (n_photos, 7), float32, or None
        What it read of each row, in the order of `blurgate.judging.explainers.READINGS`; NaN for photos without
        texture. None if no explainer read the photos.
    """

    photos: tuple[LabelledPhoto, ...]
    features: NDArray[np.float32]
    feature_set: str
    variance_of_laplacian: NDArray[np.float64]
    skipped: tuple[SkippedPhoto, ...] = ()
    sources: NDArray[np.str_] = dataclass_field(default_factory=lambda: np.empty(0, str))
    folders: Mapping[str, Path] = dataclass_field(default_factory=dict)
    n_by_model: int = 0
    explainer: str = ""
    readings: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of `features`."""
        return find_inputs(self.feature_set).columns

    @property
    def labels(self) -> NDArray[np.int8]:
        """Class of each row, int8: 0 sharp, 1 blurred.

        Raises
        ------
        DatasetError
            If a row has no label.
        """
        require_labels(self.photos)
        return np.asarray(self.column("label") == LABELS[1], dtype=np.int8)

    def column(self, name: str) -> NDArray[Any]:
        """Collect one field of all `photos`, such as ``path`` or ``label``, into an array."""
        return np.asarray([getattr(photo, name) for photo in self.photos])

    def take(self, rows: NDArray[np.intp]) -> FeatureTable:
        """Select rows, in the order given; the new table lists no skipped photos."""
        return FeatureTable(
            photos=tuple(self.photos[row] for row in rows),
            features=self.features[rows],
            feature_set=self.feature_set,
            variance_of_laplacian=self.variance_of_laplacian[rows],
            sources=self.sources[rows],
            folders=self.folders,
            explainer=self.explainer,
            readings=None if self.readings is None else self.readings[rows],
        )

    def without_flat(self) -> FeatureTable:
        """Move photos with too little texture to judge from the rows to `skipped`."""
        textured = find_inputs(self.feature_set).has_texture(self.features)
        flat = [SkippedPhoto(self.photos[row].path, TOO_LITTLE_TEXTURE, True) for row in np.flatnonzero(~textured)]
        kept = self.take(np.flatnonzero(textured))
        return replace(kept, skipped=(*self.skipped, *flat), n_by_model=self.n_by_model)

    def by_persons(self) -> FeatureTable:
        """Leave out the photos that the model labelled, and count them in `n_by_model`.

        Raises
        ------
        DatasetError
            If the model labelled all of them.
        """
        require_person(self.photos)
        rows = np.flatnonzero([photo.labelled_by != MODEL for photo in self.photos])
        left_out = self.n_by_model + len(self) - len(rows)
        return replace(self.take(rows), skipped=self.skipped, n_by_model=left_out)

    @property
    def scenes(self) -> NDArray[np.str_]:
        """Scene of each row."""
        return self.column("scene")

    @property
    def strengths(self) -> NDArray[np.float64]:
        """True strength of each row's blur, in pixels; NaN if unknown."""
        return self.column("strength_px")

    @property
    def kinds(self) -> NDArray[np.str_]:
        """True kind of each row's blur, a name out of `BLURS`; empty if sharp or unknown."""
        return self.column("kind")

    @property
    def tiers(self) -> NDArray[np.str_]:
        """Group of each row, as its source defines it; may be empty."""
        return self.column("tier")

    @property
    def families(self) -> NDArray[np.str_]:
        """Family of each row's kind: ``defocus``, ``motion`` or ``gaussian``; empty if sharp or unknown."""
        return np.asarray([BLURS[kind].family if kind in BLURS else "" for kind in self.kinds])

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """Weight of each row for training; their mean is 1.

        Each class of each source has a total weight proportional to the square root of its number of photos, so that
        large sources do not drown small ones.
        """
        return self._weigh(np.sqrt)

    @cached_property
    def even_weights(self) -> NDArray[np.float32]:
        """Weight of each row for calibration; their mean is 1.

        Each class of each source has the same total weight. Probabilities calibrated with these weights assume that
        one photo in two is blurred.
        """
        return self._weigh(lambda count: count)

    @property
    def counts(self) -> dict[str, int]:
        """Number of photos, blurred photos and scenes: ``n``, ``n_blurred``, ``n_scenes``."""
        return {"n": len(self), "n_blurred": int(self.labels.sum()), "n_scenes": len(set(self.scenes))}

    @property
    def source_counts(self) -> dict[str, int]:
        """Number of photos of each source, by name of the source."""
        return {str(source): int((self.sources == source).sum()) for source in sorted(set(self.sources))}

    def _weigh(self, discount: Callable[[NDArray[np.intp]], NDArray[Any]]) -> NDArray[np.float32]:
        """Weight each row by 1 / discount(number of rows with its source and class), scaled to a mean of 1."""
        groups = np.asarray([f"{label} {source}" for label, source in zip(self.labels, self.sources, strict=True)])
        _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
        weights = 1 / discount(count)[group]
        return np.asarray(weights / weights.mean(), dtype=np.float32)

    def prepare_training(self) -> FeatureTable:
        """Skip photos with too little texture, and make each photo without a scene a scene of its own.

        Raises
        ------
        ValueError
            If the feature set is that of a net or includes a net's outputs: trees learn from measured features only.
        """
        inputs = find_inputs(self.feature_set)
        if inputs.texture_only or inputs.net:
            raise ValueError(
                f"trees learn from measured features, but the feature set of the table is {self.feature_set}, which is "
                f"for nets: make the table again with {DEFAULT_FEATURE_SET}"
            )
        photos = tuple(replace(photo, scene=photo.scene or photo.path) for photo in self.photos)
        return replace(self, photos=photos).without_flat()

    def merge_copies(self) -> FeatureTable:
        """Merge scenes that show the same photo: copies of it in other sizes, qualities, folders or sources.

        A merged scene has the first of its names, in alphabetical order.
        """
        with needs_extra("train", "Finding copies of photos"):
            from scipy.sparse import coo_array
            from scipy.sparse.csgraph import connected_components

        names, scene = np.unique(self.scenes, return_inverse=True)
        pairs = scene[find_copies([photo.phash for photo in self.photos])]
        links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(names), len(names)))
        merged = connected_components(links, directed=False)[1]
        first = names[np.unique(merged, return_index=True)[1]]
        renamed = (
            replace(photo, scene=str(first[number])) for photo, number in zip(self.photos, merged[scene], strict=True)
        )
        return replace(self, photos=tuple(renamed))

    def digests(self) -> tuple[str, ...]:
        """Hash each row's features, rounded, to 16 hexadecimal digits, to recognise a picture whatever its name."""
        rounded = np.round(self.features.astype(np.float64), 2) + 0.0  # adding 0.0 turns -0.0 into 0.0
        return tuple(hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in rounded)

    def picture(self, row: int) -> Path:
        """Path of the picture of a row; the file may be missing."""
        return self.folders[str(self.sources[row])] / self.photos[row].path


def build_table(
    source: str | os.PathLike[str],
    *,
    feature_set: str = DEFAULT_FEATURE_SET,
    net: Net | None = None,
    explainer: Explainer | None = None,
    labelled: bool = False,
    jobs: int | None = None,
    run: Callable[..., Iterator[Any]] = run_in_order,
    track: Track = no_track,
) -> FeatureTable:
    """Measure the photos of a source, or read their features if the source is a table.

    Parameters
    ----------
    source : path
        A folder that `make_dataset` made, a folder with ``sharp/`` and ``blurred/`` in it, a folder with a
        ``labels.csv``, a list of labels by itself, any other folder of photos (which then have no label), or a
        ``.csv`` or ``.parquet`` table.
    feature_set : str
        A name out of `FEATURE_SETS`, or the ``feature_set`` of a model's card.
    net : Net, optional
        The net that `feature_set` names, if it names one.
    explainer : Explainer, optional
        Reads each photo that has texture, also where a cascade would not ask. A table has the readings that it has.
    labelled : bool
        Require labels, check that before any photo is measured, and leave out photos that the model labelled.
    jobs : int, optional
        Photos measured at the same time, at least 1; by default one per core.
    run : callable
        Runs the work on each photo, as `blurgate.threads.run_in_order` does on threads and
        `blurgate.scanning.ray_data.run_on_ray` on a cluster, where the photos lie as they do here.
    track : Track
        Shows progress.

    Returns
    -------
    FeatureTable
        Photos that cannot be read or are too small are listed in ``skipped``.

    Raises
    ------
    DatasetError
        If the source is missing, empty or inconsistent, has no usable photo, is a table of another feature set, or is
        not labelled although `labelled` asks for it.
    PhotoError
        If a folder in the source cannot be listed.
    MissingExtraError
        If the source is a Parquet table and pyarrow is missing.
    ValueError
        If the feature set is unknown, `net` is not the net that it names, or `jobs` is below 1.
    """
    source = Path(source)
    inputs = find_inputs(feature_set)
    if inputs.net != (net.name if net else ""):
        raise ValueError(f"the feature set {feature_set} needs the net that it names, got {net and net.name}")
    if is_table(source):
        table = _check_feature_set(read_table(source), source, feature_set)
        if labelled:
            require_labels(table.photos)
        return table.by_persons() if labelled else table
    listed = photos = list_photos(source)
    if labelled:
        require_labels(listed)
        require_person(listed)
        photos = [photo for photo in listed if photo.labelled_by != MODEL]
    measure = _Measurer(_folder_of(source), feature_set, net, explainer)
    measuring = run(measure, photos, jobs=jobs)
    results = list(track(measuring, total=len(photos), doing="measuring photos"))
    measured = [result for result in results if not isinstance(result, SkippedPhoto)]
    skipped = [result for result in results if isinstance(result, SkippedPhoto)]
    if not measured:
        raise DatasetError(f"{source} has no usable photo: the first failed because {skipped[0].error}")
    table = FeatureTable(
        photos=tuple(each.photo for each in measured),
        features=np.stack([each.features for each in measured]).reshape(-1, len(inputs.columns)),
        feature_set=feature_set,
        variance_of_laplacian=np.asarray([each.variance_of_laplacian for each in measured]),
        skipped=(*_read_skipped(source), *skipped),
        n_by_model=len(listed) - len(photos),
        explainer=explainer.name if explainer else "",
        readings=np.stack([each.reading for each in measured]) if explainer else None,
    )
    return _set_source(table, source)


def is_table(source: Path) -> bool:
    """Return True for a file that `read_table` reads, False for a folder, a list of labels and a missing file."""
    return source.is_file() and not is_label_list(source)


def join_tables(tables: Sequence[FeatureTable]) -> FeatureTable:
    """Concatenate the rows of tables; a scene name that occurs in several tables is one scene.

    Sources with the same name but different folders get different names. What an explainer read is kept if the same
    one read the photos of all tables.

    Raises
    ------
    DatasetError
        If there is no table, or the tables have different feature sets.
    """
    if not tables:
        raise DatasetError("expected at least one table to join, got none")
    sets = {table.feature_set for table in tables}
    if len(sets) > 1:
        raise DatasetError(
            f"expected tables of one feature set, got {', '.join(sorted(sets))}: make them again with the same one"
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
    readings = [table.readings for table in tables if table.readings is not None]
    together = len(readings) == len(tables) and len({table.explainer for table in tables}) == 1
    return FeatureTable(
        photos=tuple(photo for table in tables for photo in table.photos),
        features=np.concatenate([table.features for table in tables]),
        feature_set=tables[0].feature_set,
        variance_of_laplacian=np.concatenate([table.variance_of_laplacian for table in tables]),
        skipped=tuple(photo for table in tables for photo in table.skipped),
        sources=np.concatenate(sources),
        folders=folders,
        n_by_model=sum(table.n_by_model for table in tables),
        explainer=tables[0].explainer if together else "",
        readings=np.concatenate(readings) if together else None,
    )


def write_table(table: FeatureTable, path: str | os.PathLike[str]) -> None:
    """Write a table as ``.csv`` or ``.parquet``.

    Reading the file restores the same bits. Skipped photos have a row too, with their error and no features.

    Parameters
    ----------
    table : FeatureTable
    path : path
        Its suffix selects the format.

    Raises
    ------
    DatasetError
        If the suffix is neither ``.csv`` nor ``.parquet``.
    MissingExtraError
        If the suffix is ``.parquet`` and pyarrow is missing.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    write = find_table_writer(path)
    rows = [
        [
            *(photo.path, photo.label, photo.scene, photo.kind, _or_none(photo.strength_px), photo.tier),
            *(photo.labelled_by if photo.label else "", photo.chosen_by, "", "", laplacian, photo.phash),
        ]
        for photo, laplacian in zip(table.photos, map(float, table.variance_of_laplacian), strict=True)
    ]
    rows += [
        [photo.path, "", "", "", None, "", "", "", photo.error, _UNDECIDED if photo.undecided else "", None, ""]
        for photo in table.skipped
    ]
    with atomic_file(path) as partial:
        write(partial, table, rows)


def find_table_writer(path: Path) -> Callable[[Path, FeatureTable, Sequence[list[Any]]], None]:
    """Find the function that writes tables with the suffix of a path.

    Call it before a long job to learn at once if its table could not be written.

    Returns
    -------
    callable
        Takes a path, a table and the cells of its rows in the columns `ROW_COLUMNS`.

    Raises
    ------
    DatasetError
        If the suffix is neither ``.csv`` nor ``.parquet``.
    MissingExtraError
        If the suffix is ``.parquet`` and pyarrow is missing.
    """
    if path.suffix.lower() == ".parquet":
        require_extra("parquet", "Writing Parquet")
        return _write_parquet
    if path.suffix.lower() == ".csv":
        return _write_csv
    raise DatasetError(f"the name of a table must end in .csv or .parquet, got {path.name}: choose one of them")


def read_table(path: str | os.PathLike[str]) -> FeatureTable:
    """Read a table that `write_table` wrote.

    Raises
    ------
    DatasetError
        If the file is missing or is not a table, if columns are missing or unexpected, or if a cell is not valid in
        its column.
    MissingExtraError
        If the file is Parquet and pyarrow is missing.
    """
    path = Path(path)
    read = {".csv": read_csv, ".parquet": _read_parquet}.get(path.suffix.lower())
    if read is None or not path.exists():
        raise DatasetError(
            f"expected a folder of photos or a .csv or .parquet table, but {path} is neither: check the path"
        )
    columns, rows = read(path)
    feature_set, explainer = _match_columns(columns, path)
    feature_columns, reading_columns = find_inputs(feature_set).columns, name_readings(explainer)
    photos, features, readings, laplacians, skipped = [], [], [], [], []
    for number, row in enumerate(rows, start=2):
        if row.get("error"):
            skipped.append(_parse_skipped(row, path, number))
            continue
        if row.get("undecided"):
            raise DatasetError(f"{path}, line {number}: undecided belongs to a row with an error: fix it")
        photos.append(parse_photo(row, path, number))
        laplacians.append(parse_number(row, "variance_of_laplacian", path, number))
        features.append(np.asarray([parse_number(row, name, path, number) for name in feature_columns], np.float32))
        readings.append(_parse_reading(row, reading_columns, path, number))
    if not photos:
        raise DatasetError(f"{path} has no row with features: make it again with blurgate features")
    require_unique_photos(photos, path)
    table = FeatureTable(
        photos=tuple(photos),
        features=np.asarray(features, dtype=np.float32),
        feature_set=feature_set,
        variance_of_laplacian=np.asarray(laplacians),
        skipped=tuple(skipped),
        explainer=explainer,
        readings=np.stack(readings) if explainer else None,
    )
    return _set_source(table, path)


class _Measured(NamedTuple):
    """What is measured of one photo."""

    photo: LabelledPhoto
    features: NDArray[np.float32]
    variance_of_laplacian: float
    reading: NDArray[np.float32]


@dataclass(frozen=True)
class _Measurer:
    """Measures photos, here or, pickled, on another machine, where a copy loads what runs its nets."""

    folder: Path
    feature_set: str
    net: Net | None
    explainer: Explainer | None

    def __reduce__(self) -> tuple[Any, ...]:
        nets = [each and each.onnx for each in (self.net, self.explainer)]
        return _rebuild, (self.folder, self.feature_set, *nets)

    @cached_property
    def _inputs(self) -> Inputs:
        return find_inputs(self.feature_set)

    def __call__(self, photo: LabelledPhoto) -> _Measured | SkippedPhoto:
        """Measure hash, inputs and variance of the Laplacian; skip a photo that cannot be read or is too small."""
        inputs = self._inputs
        try:
            gray = read_plane(self.folder / photo.path, max_pixels=inputs.measured.max_pixels).gray
        except PhotoError as error:
            raise_machine_error(error)
            return SkippedPhoto(photo.path, str(error), isinstance(error, SmallPhotoError))
        features = extract_features(gray, inputs.feature_set)
        if self.net:
            features = np.concatenate([features, self.net.predict(gray)])
        reading = np.full(len(READINGS), np.nan, np.float32)
        if self.explainer and inputs.has_texture(features[np.newaxis])[0]:
            reading = self.explainer.read(gray).astype(np.float32)
        hashed = replace(photo, phash=photo.phash or hash_picture(gray))
        return _Measured(hashed, features, variance_of_laplacian(gray), reading)

    def give_up(self, photo: LabelledPhoto, why: str) -> SkippedPhoto:
        """Skip a photo that ended the process that measured it."""
        return SkippedPhoto(photo.path, f"{self.folder / photo.path} cannot be measured: {why}")


def _rebuild(folder: Path, feature_set: str, net: bytes | None, explainer: bytes | None) -> _Measurer:
    nets = (None if net is None else Net(net), None if explainer is None else Explainer(explainer))
    return _Measurer(folder, feature_set, *nets)


def _parse_reading(row: Mapping[str, Any], columns: Sequence[str], path: Path, number: int) -> NDArray[np.float32]:
    """Parse what an explainer read of a photo: all of its numbers, or none."""
    if all(row.get(name) in ("", None) for name in columns):
        return np.full(len(columns), np.nan, np.float32)
    return np.asarray([parse_number(row, name, path, number) for name in columns], np.float32)


def _folder_of(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _set_source(table: FeatureTable, source: Path) -> FeatureTable:
    name = source.resolve().name
    return replace(table, sources=np.full(len(table), name), folders={name: _folder_of(source)})


def _check_feature_set(table: FeatureTable, source: Path, feature_set: str) -> FeatureTable:
    if table.feature_set != feature_set:
        raise DatasetError(
            f"expected a table of the feature set {feature_set}, but {source} is one of {table.feature_set}: "
            f"{WITHOUT_NET_OUTPUTS if find_inputs(feature_set).net else 'make it again'}"
        )
    return table


def _read_skipped(folder: Path) -> list[SkippedPhoto]:
    path = folder / "skipped.csv"
    if not (path.exists() and (folder / "manifest.csv").exists()):
        return []
    return [_parse_skipped(row, path, number) for number, row in enumerate(read_csv(path)[1], start=2)]


def _parse_skipped(row: Mapping[str, Any], path: Path, number: int) -> SkippedPhoto:
    undecided = row.get("undecided") or ""  # files of earlier versions lack the column
    if undecided not in ("", _UNDECIDED):
        raise DatasetError(f"{path}, line {number}: undecided must be {_UNDECIDED} or empty, got {undecided!r}: fix it")
    return SkippedPhoto(str(row["path"]), str(row["error"]), bool(undecided))


def _match_columns(columns: Sequence[str], path: Path) -> tuple[str, str]:
    """Find the feature set that shares the most columns with a table, and the explainer; the columns must be theirs."""
    if "decision" in columns:
        raise DatasetError(
            f"{path} holds the verdicts of a scan, not labels: give labelled photos, such as the gallery's labels.csv"
        )
    present = set(columns) - set(ROW_COLUMNS)
    feature_set = max(FEATURE_SETS, key=lambda name: _overlap(present, FEATURE_SETS[name].columns))
    inputs = Inputs(feature_set, find_net_name(present))
    explainer = min((name.partition("__")[0] for name in present if name.startswith("explainer-")), default="")
    needed = (*ROW_COLUMNS, *inputs.columns, *name_readings(explainer))
    missing = [name for name in needed if name not in (*columns, *_OPTIONAL)]
    unexpected = [name for name in columns if name not in needed]
    if missing or unexpected:
        differences = [
            f"{word}: {name_first(names)}"
            for word, names in (("missing", missing), ("unexpected", unexpected))
            if names
        ]
        raise DatasetError(
            f"{path} is not a table of the feature set {inputs} ({'; '.join(differences)}): "
            "make it with blurgate features"
        )
    return str(inputs), explainer


def _overlap(present: set[str], columns: Sequence[str]) -> tuple[int, bool]:
    """Rank a feature set by the number of its columns that are present, then by whether all of them are."""
    return len(present & set(columns)), set(columns) <= present


def _write_csv(path: Path, table: FeatureTable, rows: Sequence[list[Any]]) -> None:
    names, readings = name_readings(table.explainer), _list_readings(table)
    blank = [None] * (len(table.columns) + len(names))
    measured = ((*vector, *reading) for vector, *reading in zip(table.features, *readings.values(), strict=True))
    vectors = chain(measured, [blank] * len(table.skipped))
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as handle:
        cells = ((*row, *vector) for row, vector in zip(rows, vectors, strict=True))
        write_rows(handle, (*ROW_COLUMNS, *table.columns, *names), cells)


def _list_readings(table: FeatureTable) -> dict[str, list[np.float32 | None]]:
    """List what an explainer read of the rows, by column."""
    if table.readings is None:
        return {}
    return {
        name: [None if np.isnan(value) else value for value in column]
        for name, column in zip(name_readings(table.explainer), table.readings.T, strict=True)
    }


def _read_parquet(path: Path) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """Read rows as they are needed: a small file of a stranger may hold billions, and the first bad one ends it."""
    with needs_extra("parquet", "Reading Parquet"):
        import pyarrow
        import pyarrow.parquet
    try:
        file = pyarrow.parquet.ParquetFile(path)
        columns = file.schema_arrow.names
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read as Parquet ({error}): make it again") from error
    if len(set(columns)) < len(columns):
        raise DatasetError(f"{path} has two columns of one name: make it again")

    def read_rows() -> Iterator[dict[str, Any]]:
        try:
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise DatasetError(f"{path} cannot be read as Parquet ({error}): make it again") from error

    return columns, read_rows()


def _write_parquet(path: Path, table: FeatureTable, rows: Sequence[list[Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {name: [_unicode(row[index]) for row in rows] for index, name in enumerate(ROW_COLUMNS)}
    blank = [None] * len(table.skipped)
    for index, name in enumerate(table.columns):
        columns[name] = [*table.features[:, index].tolist(), *blank]
    readings = _list_readings(table)
    columns |= {name: [*cells, *blank] for name, cells in readings.items()}
    types = {"strength_px": pyarrow.float64(), "variance_of_laplacian": pyarrow.float64()}
    schema = pyarrow.schema(
        [(name, types.get(name, pyarrow.string())) for name in ROW_COLUMNS]
        + [(name, pyarrow.float32()) for name in (*table.columns, *readings)]
    )
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), path)


def _unicode(value: Any) -> Any:
    """Escape the bytes of a file name that are not valid Unicode, because Parquet cannot store them."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
