"""The photographs that the models learn from, source by source: blurred, cropped, exposed again, and measured.

Sharp photos are blurred by the recipe camera, each as four cameras would take it. The photos of ``defocus_maps`` are
used whole, as sharp ones, and in crops that are entirely out of focus or entirely in focus. Real photos, blurred or
sharp, are used as they are and as two other cameras would have exposed them. All pictures stay in a work folder;
missing ones are made again.
"""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from blurgate import FeatureTable, build_table, make_dataset
from blurgate.learning.table import join_tables
from blurgate.making.camera import draw_camera
from blurgate.measuring.features import DEFAULT_FEATURE_SET
from blurgate.photos.images import read_gray, read_rgb

MADE_FROM = ("sharp/bsds500", "sharp/sun_hays80", "sharp/unsplash")
CAMERAS = 4  # per sharp photo
CROP_SIDES = (128, 160, 192, 224, 256, 320)
CROPS = 2  # per class and partly focused photo
EXPOSURES = 2  # per real picture, besides its own
TERMS = {
    "bsds500": "Berkeley Segmentation Data Set 500 (train and val), research use",
    "sun_hays80": "Sun-Hays80, research use",
    "unsplash": "BIQ2021, photos from Unsplash",
    "defocus_patches": "CUHK defocus blur detection data set, research use",
    "defocus_maps": "CUHK defocus blur detection data set, research use",
    "defocus_patches_exposed": "defocus_patches, exposed anew",
    "defocus_maps_exposed": "defocus_maps, exposed anew",
}
LIMITS = (
    "blur weaker than about 1.5 px at the size looked at (at most 1,048,576 pixels) is not what it was trained to find",
    "a photo with one small thing in focus may be called blurred, and one with a sharp frame or print over it sharp",
    "motion blur was learnt from made pictures only, defocus from made and from real ones",
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


def build_tables(data: Path, work: Path, feature_set: str = DEFAULT_FEATURE_SET) -> FeatureTable:
    """Measure all sources of the shipped trees.

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
    tables = [make_table(data / folder, work, feature_set) for folder in MADE_FROM]
    for real in (data / "defocus_patches", find_crops(data, work)):
        tables += [build_table(folder, feature_set=feature_set) for folder in (real, find_exposed(real, work))]
    return join_tables(tables)


def find_made(photos: Path, work: Path, seed: int) -> Path:
    """Find the dataset made from a folder of sharp photos, one camera per photo; make it if it is missing.

    Parameters
    ----------
    photos : Path
        Folder of sharp photos.
    work : Path
        Folder for the dataset.
    seed : int
        Of the cameras and blurs.

    Returns
    -------
    Path
        The dataset folder.
    """
    made = work / f"{photos.name}-{seed}"
    if not made.exists():
        print(made.name, file=sys.stderr)
        make_dataset(photos, made, seed=seed)
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
    if not (work / "defocus_maps" / "labels.csv").exists():
        cut_maps(data / "defocus_maps", work / "defocus_maps")
    return work / "defocus_maps"


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
    exposed = work / f"{real.name}_exposed"
    if not (exposed / "labels.csv").exists():
        print(exposed.name, file=sys.stderr)
        expose_again(real, exposed)
    return exposed


def make_table(
    photos: Path, work: Path, feature_set: str = DEFAULT_FEATURE_SET, cameras: int = CAMERAS
) -> FeatureTable:
    """Measure the pictures that cameras take of a folder of sharp photos.

    Parameters
    ----------
    photos : Path
        Its name becomes the source.
    work : Path
        Folder for pictures; only missing ones are made.
    feature_set : str
        A name out of `blurgate.measuring.features.FEATURE_SETS`.
    cameras : int
        Number of cameras per photo, at least 1.

    Returns
    -------
    FeatureTable
    """
    tables = []
    for seed in range(cameras):
        made = find_made(photos, work, seed)
        table = build_table(made, feature_set=feature_set)
        tables.append(replace(table, sources=np.full(len(table), photos.name), folders={photos.name: made}))
    return replace(join_tables(tables), sources=np.full(sum(map(len, tables)), photos.name))


def _write_labels(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("file", "label", "scene"), *rows])


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
