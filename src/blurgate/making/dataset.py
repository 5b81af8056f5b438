"""Sharp photos -> a folder of sharp and blurred pictures, and the manifest that says what was done to each.

The folder holds ``sharp/``, ``blurred/``, ``manifest.csv`` with the columns of `MANIFEST_COLUMNS`, and, where photos
could not be used, ``skipped.csv`` with the columns of `SKIPPED_COLUMNS`.
"""

from __future__ import annotations

import csv
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from blurgate.errors import DatasetError, PhotoError, SmallPhotoError
from blurgate.files import atomic_folder
from blurgate.making.recipes import RECIPES, MadePicture
from blurgate.photos.finding import find_photos
from blurgate.photos.images import SkippedPhoto, read_rgb
from blurgate.threads import Track, no_track, run_in_order


@dataclass(frozen=True)
class ManifestRow:
    """One picture of a made dataset.

    Parameters
    ----------
    path : str
        The picture, relative to the dataset's folder, with forward slashes.
    label : {'sharp', 'blurred'}
    scene : str
        The sharp photo that it was made from (its path without suffix, relative to the folder of sharp photos), or that
        photo's folder.
    kind : str
        A name out of `BLURS`; empty for sharp.
    parameters : str
        JSON: ``blur`` holds the kind's keyword parameters, ``camera`` the camera's settings.
    strength_px : float
        Second-moment radius of all blur in it, in pixels of the finished picture.
    seed : int
        What the picture's random numbers came from.
    """

    path: str
    label: str
    scene: str
    kind: str
    parameters: str
    strength_px: float
    seed: int


@dataclass(frozen=True)
class Dataset:
    """What `make_dataset` made.

    Parameters
    ----------
    folder : Path
    rows : tuple of ManifestRow
        One for each picture, in the manifest's order.
    skipped : tuple of (str, str)
        Path and error of each photo that could not be used.
    """

    folder: Path
    rows: tuple[ManifestRow, ...]
    skipped: tuple[tuple[str, str], ...]


def make_dataset(
    sharp: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    recipe: str = "camera",
    per_photo: int = 2,
    scenes: str = "photo",
    seed: int = 0,
    overwrite: bool = False,
    jobs: int | None = None,
    track: Track = no_track,
) -> Dataset:
    """Make blurred pictures out of sharp ones.

    Parameters
    ----------
    sharp : path
        A folder of sharp photos, searched at every depth.
    out : path
        The folder to make. It appears when it is complete.
    recipe : str
        A name out of `RECIPES`.
    per_photo : int
        Blurred versions of each photo, kinds drawn with replacement.
    scenes : {'photo', 'folder'}
        What is one scene: each photo, or all photos of a folder (a burst, the tiles of one picture).
    seed : int
        The same seed and the same photos make the same dataset, byte for byte, whatever `jobs` is.
    overwrite : bool
        Replace `out` if it is a dataset that blurgate made.
    jobs : int, optional
        Photos at work at the same time; by default one for each core.
    track : Track
        Shows progress.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        If there is no usable photo in `sharp`, `out` exists and may not be replaced, or one lies inside the other.
    ValueError
        If there is no such recipe, `per_photo` is below 1, or `scenes` is neither.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}")
    if per_photo < 1:
        raise ValueError(f"per_photo must be at least 1, got {per_photo}")
    if scenes not in ("photo", "folder"):
        raise ValueError(f"scenes must be photo or folder, got {scenes!r}")
    sharp, out = Path(sharp), Path(out)
    photos = _find_sharp(sharp)
    _check_free(sharp, out, overwrite=overwrite)
    names = _name_photos(photos, sharp)

    with atomic_folder(out, replace=overwrite) as partial:

        def make(photo: Path) -> list[ManifestRow] | SkippedPhoto:
            name = names[photo]
            scene = name if scenes == "photo" else photo.parent.relative_to(sharp).as_posix()
            seeds = [picture_seed(seed, name, version) for version in range(per_photo + 1)]
            try:
                return _write_pictures(partial, name, scene, RECIPES[recipe](read_rgb(photo), seeds), seeds)
            except PhotoError as error:
                path = photo.relative_to(sharp).as_posix()
                return SkippedPhoto(path, str(error), isinstance(error, SmallPhotoError))

        making = run_in_order(make, photos, jobs=jobs)
        made = list(track(making, total=len(photos), doing="making pictures"))
        rows = tuple(row for result in made if isinstance(result, list) for row in result)
        skipped = [result for result in made if isinstance(result, SkippedPhoto)]
        if not rows:
            raise DatasetError(
                f"a photo that can be used was needed, but none of the {len(skipped)} in {sharp} is one; "
                f"the first failed because {skipped[0].error}"
            )
        _write_csv(partial / "manifest.csv", MANIFEST_COLUMNS, map(astuple, rows))
        if skipped:
            undecided = [(photo.path, photo.error, "true" if photo.undecided else "") for photo in skipped]
            _write_csv(partial / "skipped.csv", SKIPPED_COLUMNS, undecided)
    return Dataset(out, rows, tuple((photo.path, photo.error) for photo in skipped))


def picture_seed(seed: int, name: str, version: int) -> int:
    """Derive a picture's seed from the dataset's, its photo's name and its version (0 is the sharp one).

    It depends on nothing else, so that adding or removing photos leaves the other pictures as they are.
    """
    return int(
        np.random.SeedSequence([seed, zlib.crc32(name.encode(errors="surrogateescape")), version]).generate_state(1)[0]
    )


def _find_sharp(sharp: Path) -> list[Path]:
    if not sharp.is_dir():
        raise DatasetError(f"a folder of sharp photos was needed, but {sharp} is none: check the path")
    photos = find_photos([sharp])
    if not photos:
        raise DatasetError(f"a folder of sharp photos was needed, but {sharp} has no photo in it: check the path")
    folders = {folder.name for photo in photos for folder in photo.relative_to(sharp).parents}
    blurred = sorted(name for name in folders if "blur" in name.casefold())
    if blurred:
        raise DatasetError(
            f"sharp photos were needed, but {sharp} has a folder named {blurred[0]} in it: take it out, or name the "
            "two folders sharp and blurred if the photos are labelled"
        )
    return photos


def _check_free(sharp: Path, out: Path, *, overwrite: bool) -> None:
    inside, outside = out.resolve(), sharp.resolve()
    if inside == outside or outside in inside.parents or inside in outside.parents:
        raise DatasetError(
            f"a folder apart from the sharp photos was needed, but {out} and {sharp} overlap: choose another"
        )
    if not out.exists():
        return
    if not overwrite:
        raise DatasetError(f"{out} exists already: choose another folder, or replace it with --overwrite")
    if not _is_dataset(out):
        raise DatasetError(f"{out} is no dataset of blurgate's, so it is not replaced: choose another folder")


def _is_dataset(folder: Path) -> bool:
    """Say whether a folder is empty, or holds what `make_dataset` writes and nothing else."""
    if not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir()}
    if not names:
        return True
    if "manifest.csv" not in names or names - {"sharp", "blurred", "manifest.csv", "skipped.csv"}:
        return False
    with (folder / "manifest.csv").open(encoding="utf-8", errors="surrogateescape") as handle:
        return handle.readline().rstrip("\n") == ",".join(MANIFEST_COLUMNS)


def _name_photos(photos: Sequence[Path], sharp: Path) -> dict[Path, str]:
    """Name each photo by its path without suffix; with it, where two photos differ by nothing else."""
    stems = {photo: photo.relative_to(sharp).with_suffix("").as_posix() for photo in photos}
    count = Counter(stems.values())
    return {photo: stem if count[stem] == 1 else photo.relative_to(sharp).as_posix() for photo, stem in stems.items()}


def _write_pictures(
    folder: Path, name: str, scene: str, pictures: Iterable[MadePicture], seeds: Sequence[int]
) -> list[ManifestRow]:
    rows = []
    for version, (picture, seed) in enumerate(zip(pictures, seeds, strict=True)):
        label = "blurred" if version else "sharp"
        path = f"{label}/{name}-{version}.jpg" if version else f"{label}/{name}.jpg"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(picture.jpeg)
        parameters = json.dumps(picture.parameters)
        rows.append(ManifestRow(path, label, scene, picture.kind, parameters, round(picture.strength_px, 4), seed))
    return rows


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


MANIFEST_COLUMNS = tuple(field.name for field in fields(ManifestRow))
SKIPPED_COLUMNS = ("path", "error", "undecided")
