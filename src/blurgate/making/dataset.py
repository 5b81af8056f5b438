"""Sharp photos -> a folder of sharp and blurred pictures, and the manifest that records how each was made.

The folder holds ``sharp/``, ``blurred/``, ``manifest.csv`` with the columns of `MANIFEST_COLUMNS`, and, if some photos
could not be used, ``skipped.csv`` with the columns of `SKIPPED_COLUMNS`.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from blurgate.cells import write_rows
from blurgate.errors import DatasetError, PhotoError, SmallPhotoError, raise_machine_error
from blurgate.files import atomic_folder, check_writable, open_regular
from blurgate.making.recipes import RECIPES, MadePicture
from blurgate.photos.copies import hash_picture
from blurgate.photos.finding import find_photos
from blurgate.photos.images import SkippedPhoto, read_plane, read_rgb
from blurgate.threads import Track, no_track, run_in_order


@dataclass(frozen=True)
class ManifestRow:
    """One picture of a made dataset.

    Parameters
    ----------
    path : str
        Path of the picture, relative to the dataset's folder, with forward slashes.
    label : {'sharp', 'blurred'}
    scene : str
        The sharp photo that the picture was made from (its path without suffix, relative to the folder of sharp
        photos), or that photo's folder.
    kind : str
        A name in `BLURS`; empty for sharp.
    parameters : str
        JSON: ``blur`` holds the kind's keyword parameters, ``camera`` the settings of the camera; if the focus is in
        one place, ``focus`` holds the place and ``around`` the blur around it.
    strength_px : float
        Second-moment radius of all blur in the picture, in pixels of the picture.
    seed : int
        Seed of the picture's random numbers.
    phash : str
        Hash of what the sharp photo shows, see `blurgate.photos.copies`: photos with nearly equal ones are copies.
    """

    path: str
    label: str
    scene: str
    kind: str
    parameters: str
    strength_px: float
    seed: int
    phash: str = ""


@dataclass(frozen=True)
class Dataset:
    """A dataset made by `make_dataset`.

    Parameters
    ----------
    folder : Path
    rows : tuple of ManifestRow
        One per picture, in the order of the manifest.
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
    """Make a dataset of sharp and blurred pictures from sharp photos.

    Parameters
    ----------
    sharp : path
        A folder of sharp photos, searched at every depth.
    out : path
        The folder to make. It appears when it is complete.
    recipe : str
        A name in `RECIPES`.
    per_photo : int
        Blurred versions of each photo, at least 1; their kinds are drawn with replacement.
    scenes : {'photo', 'folder'}
        What makes up a scene: one photo, or all photos of a folder (a burst, the tiles of one picture).
    seed : int
        At least 0. The same seed and photos make the same dataset, byte for byte, for any `jobs`.
    overwrite : bool
        Replace `out` if it is an empty folder or a dataset made by blurgate.
    jobs : int, optional
        Number of photos processed at the same time, at least 1; by default one per core.
    track : Track
        Shows progress.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        If `sharp` has no usable photo or contains a folder of blurred ones, if `out` exists and may not be replaced,
        or if one lies inside the other.
    MissingExtraError
        If the recipe needs Blur-Generator and it is not installed.
    OutputError
        If `out` cannot be written, or another program creates it in the meantime.
    ValueError
        If an option is out of range or unknown.
    """
    _check_options(recipe, per_photo, scenes)
    sharp, out = Path(sharp), Path(out)
    photos = _find_sharp(sharp)
    _check_free(sharp, out, overwrite=overwrite)
    check_writable(out.resolve().parent)
    names = _name_photos(photos, sharp)

    with atomic_folder(out, replace=overwrite) as partial:

        def make_pictures(photo: Path) -> list[ManifestRow] | SkippedPhoto:
            name = names[photo]
            scene = name if scenes == "photo" else photo.parent.relative_to(sharp).as_posix()
            seeds = [picture_seed(seed, name, version) for version in range(per_photo + 1)]
            try:
                rgb = read_rgb(photo)
                phash = hash_picture(read_plane(rgb, max_pixels=HASHED_PIXELS).gray)
                written = _write_pictures(partial, name, scene, RECIPES[recipe](rgb, seeds), seeds)
                return [replace(row, phash=phash) for row in written]
            except PhotoError as error:
                raise_machine_error(error)
                path = photo.relative_to(sharp).as_posix()
                return SkippedPhoto(path, str(error), isinstance(error, SmallPhotoError))

        running = run_in_order(make_pictures, photos, jobs=jobs)
        results = list(track(running, total=len(photos), doing="making pictures"))
        rows = tuple(row for result in results if isinstance(result, list) for row in result)
        skipped = [result for result in results if isinstance(result, SkippedPhoto)]
        if not rows:
            raise DatasetError(
                f"expected at least one usable photo, but none of the {len(skipped)} in {sharp} can be used; "
                f"the first failed because {skipped[0].error}"
            )
        _write_tables(partial, rows, skipped)
    return Dataset(out, rows, tuple((photo.path, photo.error) for photo in skipped))


def picture_seed(seed: int, name: str, version: int) -> int:
    """Derive the seed of a picture.

    It depends on nothing but the arguments, so that adding or removing photos does not change the other pictures.

    Parameters
    ----------
    seed : int
        Seed of the dataset, at least 0.
    name : str
        Name of the photo.
    version : int
        0 for the sharp picture, 1 and up for the blurred ones.

    Returns
    -------
    int
        0 to 2**32 - 1.
    """
    name_hash = zlib.crc32(name.encode(errors="surrogateescape"))
    return int(np.random.SeedSequence([seed, name_hash, version]).generate_state(1)[0])


def _check_options(recipe: str, per_photo: int, scenes: str) -> None:
    if recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}, got {recipe!r}")
    if per_photo < 1:
        raise ValueError(f"per_photo must be at least 1, got {per_photo}")
    if scenes not in ("photo", "folder"):
        raise ValueError(f"scenes must be photo or folder, got {scenes!r}")


def _find_sharp(sharp: Path) -> list[Path]:
    if not sharp.is_dir():
        raise DatasetError(f"expected a folder of sharp photos, but {sharp} is not a folder: check the path")
    photos = find_photos([sharp])
    if not photos:
        raise DatasetError(f"expected a folder of sharp photos, but {sharp} contains no photos: check the path")
    folders = {folder.name for photo in photos for folder in photo.relative_to(sharp).parents}
    blurred = sorted(name for name in folders if "blur" in _SHARP.sub("", name.casefold()))
    if blurred:
        raise DatasetError(
            f"expected only sharp photos, but {sharp} contains a folder named {blurred[0]}: move it elsewhere or, if "
            "the photos are labelled, name the two folders sharp and blurred"
        )
    return photos


def _check_free(sharp: Path, out: Path, *, overwrite: bool) -> None:
    source, target = sharp.resolve(), out.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise DatasetError(
            f"expected an output folder apart from the sharp photos, but {out} and {sharp} overlap: choose another"
        )
    if not out.exists():
        return
    if not overwrite:
        raise DatasetError(f"{out} exists already: choose another folder, or replace it with --overwrite")
    if not _is_dataset(out):
        raise DatasetError(f"{out} is not a dataset made by blurgate and is not replaced: choose another folder")


def _is_dataset(folder: Path) -> bool:
    """Check whether a folder is empty or holds a dataset and nothing else."""
    if not folder.is_dir():
        return False
    names = {entry.name for entry in folder.iterdir()}
    if not names:
        return True
    if "manifest.csv" not in names or names - {"sharp", "blurred", "manifest.csv", "skipped.csv"}:
        return False
    try:
        with (
            open_regular(folder / "manifest.csv") as file,
            io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="") as handle,
        ):
            reader = csv.DictReader(handle)
            if tuple(reader.fieldnames or ()) not in (MANIFEST_COLUMNS, MANIFEST_COLUMNS[:-1]):
                return False
            listed = {os.path.normpath(row["path"]) for row in reader}
    except (OSError, csv.Error):
        return False
    entries = (entry for label in ("sharp", "blurred") for entry in (folder / label).rglob("[!.]*"))
    files = (entry for entry in entries if entry.is_symlink() or not entry.is_dir())
    return all(os.path.normpath(file.relative_to(folder)) in listed for file in files)


def _name_photos(photos: Sequence[Path], sharp: Path) -> dict[Path, str]:
    """Name each photo by its path without the suffix; photos that differ only in the suffix keep it."""
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


def _write_tables(folder: Path, rows: Iterable[ManifestRow], skipped: Sequence[SkippedPhoto]) -> None:
    _write_csv(folder / "manifest.csv", MANIFEST_COLUMNS, map(astuple, rows))
    if skipped:
        lines = [(photo.path, photo.error, "true" if photo.undecided else "") for photo in skipped]
        _write_csv(folder / "skipped.csv", SKIPPED_COLUMNS, lines)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as handle:
        write_rows(handle, columns, rows)


_SHARP = re.compile(r"(un|non|not|no|de)[ _-]*blur")  # in the name of a folder
HASHED_PIXELS = 2**20  # as much as is measured of a photo
MANIFEST_COLUMNS = tuple(field.name for field in fields(ManifestRow))  # earlier versions lacked the last
SKIPPED_COLUMNS = ("path", "error", "undecided")
