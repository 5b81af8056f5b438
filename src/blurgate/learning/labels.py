"""A folder of photos -> what its manifest, its ``labels.csv`` or its subfolders say of each."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurgate.errors import DatasetError
from blurgate.judging.verdicts import LABELS
from blurgate.photos.finding import find_photos


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and what is known of it.

    Parameters
    ----------
    path : str
        Relative to its source, with forward slashes.
    label : {'sharp', 'blurred', ''}
        Empty where it is not known.
    scene : str
        Groups the pictures of one scene; no split cuts it.
    kind : str
        A name out of `BLURS`, or empty.
    strength_px : float
        NaN where it is not known.
    tier : str
        Any grouping of the source's own, or empty.
    """

    path: str
    label: str = ""
    scene: str = ""
    kind: str = ""
    strength_px: float = math.nan
    tier: str = ""


def list_photos(folder: Path) -> list[LabelledPhoto]:
    """List the photos of a folder with what its manifest, its ``labels.csv`` or its subfolders say of them.

    A list of labels will do as well: a CSV with the columns ``file`` and ``label``, as the gallery gives it. What it
    names is relative to its folder, or absolute.

    Raises
    ------
    DatasetError
        If the folder is missing, holds no photo, or its labels cannot be used.
    """
    if is_label_list(folder):
        return _read_labels(folder, "file")
    if not folder.is_dir():
        raise DatasetError(f"a folder of photos or a table was needed, but {folder} is neither: check the path")
    if (folder / "manifest.csv").exists():
        photos = _read_labels(folder / "manifest.csv", "path")
    elif (folder / "labels.csv").exists():
        photos = _read_labels(folder / "labels.csv", "file")
    elif (folder / "blurred").is_dir():
        photos = [photo for label in LABELS for photo in _list_class(folder, label)]
    else:
        found = [path.relative_to(folder) for path in find_photos([folder])]
        photos = [LabelledPhoto(path.as_posix(), scene=path.with_suffix("").as_posix()) for path in found]
    if not photos:
        raise DatasetError(f"a folder of photos was needed, but {folder} has no photo in it: check the path")
    return photos


def is_label_list(source: Path) -> bool:
    """Tell a list of labelled photos from a table of features, which names them in a column ``path``."""
    if source.suffix.lower() != ".csv" or not source.is_file():
        return False
    columns, _ = read_csv(source)
    return "file" in columns and "path" not in columns


def is_labelled(source: Path) -> bool:
    """Tell labelled photos and tables from a folder of sharp photos: False for the latter."""
    return source.is_file() or any((source / name).exists() for name in ("manifest.csv", "labels.csv", "blurred"))


def parse_photo(row: Mapping[str, Any], path: Path, number: int) -> LabelledPhoto:
    """Read what a row of a table says of its photo; a DatasetError names the file and the line."""
    name = row["path"]
    if not name:
        raise DatasetError(f"{path}, line {number}: the path of a photo was needed, but it is empty: mend it")
    label, strength = str(row.get("label") or ""), row.get("strength_px")
    if label not in (*LABELS, ""):
        raise DatasetError(f"{path}, line {number}: the label must be sharp or blurred, got {label!r}: mend it")
    return LabelledPhoto(
        path=str(name),
        label=label,
        scene=str(row.get("scene") or Path(name).with_suffix("").as_posix()),
        kind=str(row.get("kind") or ""),
        strength_px=parse_number(row, "strength_px", path, number) if strength not in (None, "") else math.nan,
        tier=str(row.get("tier") or ""),
    )


def parse_number(row: Mapping[str, Any], name: str, path: Path, number: int) -> float:
    """Read a finite number; a DatasetError names the file, the line and the column."""
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = math.nan
    if not abs(value) < 3e38 or (name == "strength_px" and value < 0):  # float32 holds no more
        raise DatasetError(
            f"{path}, line {number}: {name} must be a number, got {row[name]!r}: mend it or make it anew"
        )
    return value


def refuse_repeats(photos: Sequence[LabelledPhoto], path: Path) -> None:
    """Raise a DatasetError if a photo is listed more than once."""
    name, count = Counter(photo.path for photo in photos).most_common(1)[0]
    if count > 1:
        raise DatasetError(f"{path} lists {name} {count} times: leave it there once")


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read the column names and the rows of a CSV file; a DatasetError if it is none or has no rows."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as handle:
            reader = csv.DictReader(handle, strict=True, restval="")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as CSV ({error}): make it anew") from error
    if not rows:
        raise DatasetError(f"{path} has no rows: at least a line of column names and one row were needed")
    if any(None in row for row in rows):
        raise DatasetError(f"{path} has a row with more cells than columns: mend it or make it anew")
    columns = list(reader.fieldnames or [])
    if len(columns) == 1 and ";" in columns[0]:
        raise DatasetError(f"{path} is separated by semicolons, but commas were needed: save it as CSV with commas")
    return columns, rows


def _list_class(folder: Path, label: str) -> list[LabelledPhoto]:
    below = folder / label
    if not below.is_dir():
        raise DatasetError(
            f"{folder} has no folder {label}/: sharp and blurred photos were needed, add the other class"
        )
    return [
        LabelledPhoto(path.relative_to(folder).as_posix(), label, path.relative_to(below).with_suffix("").as_posix())
        for path in find_photos([below])
    ]


def _read_labels(path: Path, file_column: str) -> list[LabelledPhoto]:
    columns, rows = read_csv(path)
    missing = [name for name in (file_column, "label") if name not in columns]
    if missing:
        raise DatasetError(
            f"{path} needs the columns {file_column} and label, but has no {' and no '.join(missing)}: add it"
        )
    photos = []
    for number, row in enumerate(rows, start=2):
        if not row["label"]:
            raise DatasetError(f"{path}, line {number}: the label must be sharp or blurred, got '': mend it")
        photos.append(parse_photo({**row, "path": row[file_column]}, path, number))
    refuse_repeats(photos, path)
    return photos
