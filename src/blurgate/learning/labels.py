"""A folder of photos -> the label of each photo, from its manifest, its ``labels.csv`` or its subfolders."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from blurgate.cells import restore_row
from blurgate.errors import DatasetError, name_first
from blurgate.files import open_regular
from blurgate.judging.verdicts import LABELS
from blurgate.photos.copies import DIGITS
from blurgate.photos.finding import find_photos

PERSON, MODEL = "person", "model"
_STAND_INS = ("path", "filename", "file_name", "image", "name", "photo")  # what others call the column ``file``


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo with its label and provenance.

    Parameters
    ----------
    path : str
        Relative to its source, with forward slashes; in a list of labels it may be absolute.
    label : {'sharp', 'blurred', ''}
        Empty if unknown.
    scene : str
        The same for all pictures of a scene; no split cuts a scene in two.
    kind : str
        A name out of `BLURS`; empty if sharp or unknown.
    strength_px : float
        0 or more; NaN if unknown.
    tier : str
        A grouping that the source defines; may be empty.
    phash : str
        Hash of what the photo shows, or of the photo that it was made from, see `blurgate.photos.copies.hash_picture`;
        empty if unknown.
    labelled_by : {'person', 'model'}
        Only what a person labelled counts as true.
    chosen_by : {'', 'person', 'model'}
        Who chose this photo to be labelled: a person, as for having seen a mistake, or the model, which proposed it.
        Empty if unknown, as in a folder in which all photos are labelled.
    """

    path: str
    label: str = ""
    scene: str = ""
    kind: str = ""
    strength_px: float = math.nan
    tier: str = ""
    phash: str = ""
    labelled_by: str = PERSON
    chosen_by: str = ""


def list_photos(folder: Path) -> list[LabelledPhoto]:
    """List the photos of a folder, labelled by its manifest, its ``labels.csv`` or its subfolders.

    The first of these that exists is used; subfolders are ``sharp`` and ``blurred``, or one of them alone. Instead of a
    folder, `folder` may be a list of labels: a CSV with the columns ``file`` and ``label``, as the gallery exports it.
    Its paths are absolute or relative to its own folder.

    Raises
    ------
    DatasetError
        If the folder is missing or holds no photo, or its labels cannot be used.
    PhotoError
        If a folder in it cannot be listed.
    """
    if is_label_list(folder):
        return _read_labels(folder, "file")
    if not folder.is_dir():
        raise DatasetError(f"expected a folder of photos or a table, but {folder} is neither: check the path")
    if (folder / "manifest.csv").exists():
        photos = _read_labels(folder / "manifest.csv", "path")
    elif (folder / "labels.csv").exists():
        photos = _read_labels(folder / "labels.csv", "file")
    elif (folder / "blurred").is_dir():
        photos = [photo for label in LABELS if (folder / label).is_dir() for photo in _list_class(folder, label)]
    else:
        found = [path.relative_to(folder) for path in find_photos([folder])]
        if {path.parts[0] for path in found} == {"sharp"}:
            photos = _list_class(folder, "sharp")
        else:
            photos = [LabelledPhoto(path.as_posix(), scene=path.with_suffix("").as_posix()) for path in found]
    if not photos:
        raise DatasetError(f"expected a folder of photos, but {folder} contains no photos: check the path")
    return photos


def require_labels(photos: Sequence[LabelledPhoto]) -> None:
    """Check that every photo has a label.

    Raises
    ------
    DatasetError
        If a photo has none.
    """
    bare = [photo for photo in photos if not photo.label]
    if bare:
        raise DatasetError(
            f"expected labelled photos, but {len(bare)} of {len(photos)} have no label, first {bare[0].path}: "
            "give a dataset, a folder with sharp/ and blurred/ in it, or one with a labels.csv"
        )


def require_both_labels(photos: Sequence[LabelledPhoto]) -> None:
    """Check that every photo has a label, and that both labels occur.

    Raises
    ------
    DatasetError
        If a photo has no label, or all photos have the same one.
    """
    require_labels(photos)
    if len({photo.label for photo in photos}) < 2:
        raise DatasetError(
            f"expected sharp and blurred photos, but all {len(photos)} are {photos[0].label}: add the other class"
        )


def require_person(photos: Sequence[LabelledPhoto]) -> None:
    """Check that a person labelled at least one photo.

    Raises
    ------
    DatasetError
        If all labels are the model's.
    """
    if photos and all(photo.labelled_by == MODEL for photo in photos):
        raise DatasetError(
            f"expected photos that a person labelled, but the model labelled all {len(photos)}: label some yourself, "
            "as in the gallery"
        )


def is_label_list(source: Path) -> bool:
    """Return True for a CSV of labels, which names photos in a column ``file``; a feature table has ``path``.

    A CSV that is neither a table nor verdicts, but has a column ``label`` or another name for ``file``, is one too:
    reading it says what to rename.
    """
    if source.suffix.lower() != ".csv" or not source.is_file():
        return False
    with io.TextIOWrapper(open_regular(source), newline="", encoding="utf-8-sig", errors="surrogateescape") as handle:
        try:
            columns = next(csv.reader(handle, strict=True), [])
        except csv.Error:  # reading it as a table reports what is wrong
            return False
    if "file" in columns and "path" not in columns:
        return True
    other = {"decision", "variance_of_laplacian"} & set(columns) or any("__" in name for name in columns)
    return not other and ("label" in columns or bool(_find_stand_ins(columns)))


def is_labelled(source: Path) -> bool:
    """Return True for labelled photos and for tables, False for a folder of sharp photos."""
    return source.is_file() or any((source / name).exists() for name in ("manifest.csv", "labels.csv", "blurred"))


def parse_photo(row: Mapping[str, Any], path: Path, number: int) -> LabelledPhoto:
    """Parse the label and provenance of a photo from a row of a file.

    Parameters
    ----------
    row : mapping of str to object
        Cell of each column. All columns but ``path`` are optional; without a scene, the path less its suffix is one.
    path : Path
        The file, for error messages.
    number : int
        Line of the row in the file, from 1, for error messages.

    Returns
    -------
    LabelledPhoto

    Raises
    ------
    DatasetError
        If the path is empty, the label unknown, or the strength not a number; names the file and the line.
    """
    name = row["path"]
    if not name:
        raise DatasetError(f"{path}, line {number}: the path of the photo is empty: fix it")
    label, strength = str(row.get("label") or ""), row.get("strength_px")
    if label not in (*LABELS, ""):
        raise DatasetError(f"{path}, line {number}: the label must be sharp or blurred, got {label!r}: fix it")
    return LabelledPhoto(
        path=str(name),
        label=label,
        scene=str(row.get("scene") or Path(name).with_suffix("").as_posix()),
        kind=str(row.get("kind") or ""),
        strength_px=parse_number(row, "strength_px", path, number) if strength not in (None, "") else math.nan,
        tier=str(row.get("tier") or ""),
        phash=_parse_phash(row.get("phash")),
        labelled_by=_parse_choice(row, "labelled_by", (PERSON, MODEL), path, number) or PERSON,
        chosen_by=_parse_choice(row, "chosen_by", (PERSON, MODEL), path, number),
    )


def _parse_phash(cell: Any) -> str:
    """Take a hash of our own; a list of labels may hold those of another program."""
    return cell if isinstance(cell, str) and re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", cell) else ""


def parse_number(row: Mapping[str, Any], name: str, path: Path, number: int) -> float:
    """Parse a number that float32 can hold.

    Parameters
    ----------
    row : mapping of str to object
        Cell of each column.
    name : str
        Name of the column.
    path : Path
        The file, for error messages.
    number : int
        Line of the row in the file, from 1, for error messages.

    Returns
    -------
    float
        Finite; 0 or more in the column ``strength_px``.

    Raises
    ------
    DatasetError
        If the cell is not such a number; names the file, the line and the column.
    """
    try:
        value = float(row[name])
    except (TypeError, ValueError):
        value = math.nan
    if not abs(value) < 3e38 or (name == "strength_px" and value < 0):  # the largest float32 is 3.4e38
        needed = "a number, 0 or more" if name == "strength_px" else "a number"
        raise DatasetError(
            f"{path}, line {number}: {name} must be {needed}, got {row[name]!r}: fix it or make the file again"
        )
    return value


def require_unique_photos(photos: Sequence[LabelledPhoto], path: Path) -> None:
    """Check that no photo is listed more than once.

    Parameters
    ----------
    photos : sequence of LabelledPhoto
        At least one.
    path : Path
        The file that lists them, for the error message.

    Raises
    ------
    DatasetError
        If a path occurs more than once.
    """
    name, count = Counter(photo.path for photo in photos).most_common(1)[0]
    if count > 1:
        raise DatasetError(f"{path} lists {name} {count} times: list it once")


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read the column names and the rows of a CSV file.

    Raises
    ------
    DatasetError
        If the file is not CSV in UTF-8, has no rows, is separated by semicolons, or has a row with more cells than
        columns.
    """
    try:
        with (
            open_regular(path) as file,
            io.TextIOWrapper(file, newline="", encoding="utf-8-sig", errors="surrogateescape") as handle,
        ):
            _require_text(file, path)
            reader = csv.DictReader(handle, strict=True, restval="")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as CSV ({error}): make it again") from error
    if not rows:
        raise DatasetError(f"{path} has no rows: it needs a line of column names and at least one row")
    if any(None in row for row in rows):
        raise DatasetError(f"{path} has a row with more cells than columns: fix it or make it again")
    columns = list(reader.fieldnames or [])
    if len(set(columns)) < len(columns):
        raise DatasetError(f"{path} has two columns of one name: rename or remove one")
    if len(columns) == 1 and ";" in columns[0]:
        raise DatasetError(f"{path} is separated by semicolons: save it as CSV with commas")
    return columns, [restore_row(row) for row in rows]


def _parse_choice(row: Mapping[str, Any], name: str, choices: tuple[str, ...], path: Path, number: int) -> str:
    value = str(row.get(name) or "")
    if value not in (*choices, ""):
        raise DatasetError(f"{path}, line {number}: {name} must be {' or '.join(choices)}, got {value!r}: fix it")
    return value


def _find_stand_ins(columns: Sequence[str]) -> list[str]:
    return [name for name in columns if name.strip().casefold() in ("file", *_STAND_INS) and name != "file"]


def _require_text(file: BinaryIO, path: Path) -> None:
    """Check the beginning of a file, and go back there."""
    if b"\0" in file.read(4096):
        raise DatasetError(f"{path} is not text in UTF-8: save it as CSV in UTF-8, or check the path")
    file.seek(0)


def _require_unique_files(photos: Sequence[LabelledPhoto], path: Path) -> None:
    """Check that no photo is listed under two names."""
    known: dict[object, str] = {}
    for photo in photos:
        try:
            status = (path.parent / photo.path).stat()
            key: object = (status.st_dev, status.st_ino)
        except (OSError, ValueError):  # reading the photo reports it
            key = os.path.normpath(photo.path)
        if (other := known.setdefault(key, photo.path)) != photo.path:
            raise DatasetError(f"{path} lists one photo as {other} and as {photo.path}: list it once")


def _list_class(folder: Path, label: str) -> list[LabelledPhoto]:
    class_folder = folder / label
    return [
        LabelledPhoto(
            path.relative_to(folder).as_posix(), label, path.relative_to(class_folder).with_suffix("").as_posix()
        )
        for path in find_photos([class_folder])
    ]


def _read_labels(path: Path, file_column: str) -> list[LabelledPhoto]:
    columns, rows = read_csv(path)
    missing = [name for name in (file_column, "label") if name not in columns]
    stand_ins = _find_stand_ins(columns)
    if "file" in missing and stand_ins:
        others = " and has no label" if "label" in missing else ""
        raise DatasetError(
            f"{path} names its photos in the column {name_first(stand_ins)}, but it must be called file{others}: "
            f"rename {stand_ins[0]} to file{' and add the column label' if others else ''}"
        )
    if missing:
        raise DatasetError(
            f"{path} needs the columns {file_column} and label, but has no {' and no '.join(missing)}: add it"
        )
    photos = []
    for number, row in enumerate(rows, start=2):
        if not row["label"]:
            raise DatasetError(f"{path}, line {number}: the label must be sharp or blurred, got '': fix it")
        photos.append(parse_photo({**row, "path": row[file_column]}, path, number))
    require_unique_photos(photos, path)
    _require_unique_files(photos, path)
    return photos
