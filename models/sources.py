"""The photographs that the models learn from, source by source: blurred, cropped, exposed again, and measured.

Sharp photos are blurred by the recipe camera, each as several cameras would take it. The photos of ``defocus_maps`` are
used whole, as sharp ones, and in crops that are entirely out of focus or entirely in focus. Real photos, blurred or
sharp, are used as they are and as two other cameras would have exposed them. All of them are also used altered, see
`models.alterations`. All pictures stay in a work folder; missing ones are made again.
"""

import csv
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from blurgate import FeatureTable, build_table, make_dataset
from blurgate.learning.labels import list_photos
from blurgate.learning.table import join_tables
from blurgate.making.camera import draw_camera
from blurgate.measuring.features import DEFAULT_FEATURE_SET
from blurgate.photos.images import read_gray, read_rgb
from models.alterations import alter, draw_zoom
from models.print_scenes import draw_scenes

CAMERAS = {"bsds500": 3, "sun_hays80": 2, "unsplash": 2, "brackets": 2, "print": 2}  # per sharp photo of a source
MADE_FROM = tuple(CAMERAS)
REAL = ("defocus_patches", "defocus_maps")
PRINT_SCENES = 400
CROP_SIDES = (128, 160, 192, 224, 256, 320)
CROPS = 2  # per class and partly focused photo
MAX_ENLARGED = 1_300_000  # pixels; a larger picture would be halved again
EXPOSURES = 2  # per real picture, besides its own
TERMS = {
    "bsds500": "Berkeley Segmentation Data Set 500 (train and val), research use",
    "sun_hays80": "Sun-Hays80, research use",
    "unsplash": "BIQ2021, photos from Unsplash",
    "defocus_patches": "CUHK defocus blur detection data set, research use",
    "defocus_maps": "CUHK defocus blur detection data set, research use",
    "defocus_patches_exposed": "defocus_patches, as other cameras would have exposed them",
    "defocus_maps_exposed": "defocus_maps, as other cameras would have exposed them",
    "brackets": "Zero-DCE extension's training photos (SICE), CC BY-NC",
    "print": "drawn by models/print_scenes.py",
}
LIMITS = (
    "blur weaker than about 1.5 px at the size looked at (at most 1,048,576 pixels) is not what it was trained to find",
    "a photo with one small thing in focus may be called blurred, and one printed all over, as by an interface, sharp",
    "of sharp phone photos that are dark or over-exposed about one in four is called blurred",
    "motion blur was learnt from made pictures only",
)


def cut_maps(folder: Path, out: Path) -> None:
    """Write partly focused photos, whole and in crops, as a labelled folder.

    Parameters
    ----------
    folder : Path
        Has the photos in ``images/`` and their masks, white where out of focus, in ``masks/``.
    out : Path
        The folder to write.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, path in enumerate(sorted((folder / "images").iterdir())):
        rgb, mask = read_rgb(path), read_gray(folder / "masks" / f"{path.stem}.png") > 127
        pictures = [("whole", "sharp", rgb)]
        rng = np.random.default_rng([0, number])
        for label, lowest, highest in (("blurred", 0.995, 1.0), ("sharp", 0.0, 0.05)):
            crops = _cut_crops(rgb, mask, lowest, highest, rng)
            pictures += [(f"{label}{index}", label, crop) for index, crop in enumerate(crops)]
        for name, label, picture in pictures:
            file = f"images/{path.stem}_{name}.png"
            Image.fromarray(picture).save(out / file, compress_level=1)
            rows.append((file, label, path.stem))
    _write_labels(out, rows)


def expose_again(folder: Path, out: Path) -> None:
    """Write the pictures of a labelled folder as other cameras would have exposed them; their focus stays the same.

    Parameters
    ----------
    folder : Path
        Has a ``labels.csv`` with the columns ``file``, ``label`` and ``scene``.
    out : Path
        The labelled folder to write.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as handle:
        labelled = list(csv.DictReader(handle))
    rows = []
    for number, row in enumerate(labelled):
        rgb = read_rgb(folder / row["file"])
        for version in range(EXPOSURES):
            rng = np.random.default_rng([1, number, version])
            camera = replace(draw_camera(rng), softness_px=0.0, scale=1.0, stamp="")
            file = f"images/{Path(row['file']).stem}_{version}.jpg"
            (out / file).write_bytes(camera.take_picture(camera.recover_light(rgb), rng))
            rows.append((file, row["label"], row["scene"]))
    _write_labels(out, rows)


def alter_again(folder: Path, out: Path) -> None:
    """Write the pictures of a labelled folder altered: enlarged, printed over, noisy; their focus stays the same.

    Parameters
    ----------
    folder : Path
        A labelled folder or dataset.
    out : Path
        The labelled folder to write.
    """
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, photo in enumerate(list_photos(folder)):
        rng = np.random.default_rng([2, number])
        gray, zoom = read_gray(folder / photo.path, min_side=1), draw_zoom(rng)
        size = round(gray.shape[0] * zoom.down), round(gray.shape[1] * zoom.across)
        if size[0] * size[1] > MAX_ENLARGED:
            size, zoom = gray.shape, replace(zoom, down=1.0, across=1.0)
        file = f"images/{number:05}.png"
        Image.fromarray(alter(zoom.apply(gray, size), rng)).save(out / file, compress_level=1)
        strength = photo.strength_px * math.sqrt(zoom.down * zoom.across)
        rows.append((file, photo.label, photo.scene, photo.kind, "" if math.isnan(strength) else f"{strength:.3f}"))
    _write_labels(out, rows, ("kind", "strength_px"))


def build_tables(data: Path, work: Path, feature_set: str = DEFAULT_FEATURE_SET) -> FeatureTable:
    """Measure all sources of the shipped trees, each as it is and altered.

    Parameters
    ----------
    data : Path
        Folder with the sources.
    work : Path
        Folder for pictures; only missing ones are made.
    feature_set : str
        A name out of `blurgate.measuring.features.FEATURE_SETS`.

    Returns
    -------
    FeatureTable
    """
    tables = [make_table(source, data, work, feature_set) for source in MADE_FROM]
    for real in (data / "defocus_patches", find_crops(data, work)):
        for folder in (real, find_exposed(real, work), find_altered(real, work)):
            table = build_table(folder, feature_set=feature_set)
            tables.append(replace(table, sources=np.full(len(table), folder.name.removesuffix("_altered"))))
    return join_tables(tables)


def find_sharp(data: Path, work: Path, source: str) -> Path:
    """Find the photos of a source, most of them sharp all over; draw those that are drawn if they are missing.

    Parameters
    ----------
    data : Path
        Folder with the sources.
    work : Path
        Folder for what is drawn.
    source : str

    Returns
    -------
    Path
        A folder of photos.
    """
    if source == "print":
        return draw_scenes(work / "print", PRINT_SCENES, 0)
    if source in ("brackets", "defocus_maps"):
        return data / source / "images"
    return data / "sharp" / source


def find_altered(labelled: Path, work: Path) -> Path:
    """Find the altered pictures of a labelled folder; make them if they are missing.

    Parameters
    ----------
    labelled : Path
        A labelled folder or dataset; see `alter_again`.
    work : Path
        Folder for the pictures.

    Returns
    -------
    Path
        A labelled folder.
    """
    return _make_once(work / f"{labelled.name}_altered", partial(alter_again, labelled))


def find_made(source: str, data: Path, work: Path, seed: int) -> Path:
    """Find the dataset made from the sharp photos of a source, one camera per photo; make it if it is missing.

    Parameters
    ----------
    source : str
        Out of `MADE_FROM`.
    data : Path
        Folder with the sources.
    work : Path
        Folder for the dataset.
    seed : int
        Of the cameras and blurs.

    Returns
    -------
    Path
        The dataset folder.
    """
    made = work / f"{source}-{seed}"
    if not made.exists():
        print(made.name, file=sys.stderr)
        make_dataset(find_sharp(data, work, source), made, seed=seed)
    return made


def find_crops(data: Path, work: Path) -> Path:
    """Find the crops of ``defocus_maps``; cut them if they are missing.

    Parameters
    ----------
    data : Path
        Folder with ``defocus_maps``.
    work : Path
        Folder for the crops.

    Returns
    -------
    Path
        A labelled folder.
    """
    return _make_once(work / "defocus_maps", partial(cut_maps, data / "defocus_maps"))


def find_exposed(real: Path, work: Path) -> Path:
    """Find the pictures of a labelled folder as other cameras would have exposed them; make them if they are missing.

    Parameters
    ----------
    real : Path
        A labelled folder; see `expose_again`.
    work : Path
        Folder for the pictures.

    Returns
    -------
    Path
        A labelled folder.
    """
    return _make_once(work / f"{real.name}_exposed", partial(expose_again, real))


def make_table(
    source: str, data: Path, work: Path, feature_set: str = DEFAULT_FEATURE_SET, cameras: int | None = None
) -> FeatureTable:
    """Measure the pictures that cameras take of the sharp photos of a source, as they are and altered.

    Parameters
    ----------
    source : str
        Out of `MADE_FROM`.
    data : Path
        Folder with the sources.
    work : Path
        Folder for pictures; only missing ones are made.
    feature_set : str
        A name out of `blurgate.measuring.features.FEATURE_SETS`.
    cameras : int, optional
        Number of cameras per photo, at least 1; by default that of `CAMERAS`.

    Returns
    -------
    FeatureTable
    """
    tables = []
    for seed in range(cameras or CAMERAS[source]):
        made = find_made(source, data, work, seed)
        tables += [build_table(folder, feature_set=feature_set) for folder in (made, find_altered(made, work))]
    return join_tables([replace(table, sources=np.full(len(table), source)) for table in tables])


def _make_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Make a labelled folder, unless its list of labels, which is written last, exists."""
    if not (folder / "labels.csv").exists():
        print(folder.name, file=sys.stderr)
        make(folder)
    return folder


def _write_labels(folder: Path, rows: Sequence[tuple[object, ...]], more: tuple[str, ...] = ()) -> None:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("file", "label", "scene", *more), *rows])


def _cut_crops(
    rgb: np.ndarray, mask: np.ndarray, lowest: float, highest: float, rng: np.random.Generator
) -> list[np.ndarray]:
    height, width = rgb.shape[:2]
    crops: list[np.ndarray] = []
    for _ in range(60):
        rows = int(rng.choice(CROP_SIDES))
        columns = min(width, int(rows * rng.uniform(1, 1.5)))
        if rows > min(height, width) or len(crops) == CROPS:
            continue
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        if lowest <= mask[top : top + rows, left : left + columns].mean() <= highest:
            crops.append(rgb[top : top + rows, left : left + columns])
    return crops
