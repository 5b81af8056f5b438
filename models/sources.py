"""The photographs that the models learn from, source by source: blurred, cropped, exposed again, and measured.

Sharp photos are blurred by the recipe camera, each as four cameras would take it. The photos of ``defocus_maps`` are
used whole, as sharp ones, and in crops that are out of focus, or in focus, throughout. What is really blurred or sharp
is used as it is, and as two other cameras would have exposed it. All of it stays in a work folder, and is made again
where it is missing.
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
CAMERAS = 4  # for each sharp photo
CROP_SIDES = (128, 160, 192, 224, 256, 320)
CROPS = 2  # of each class from each partly focused photo
EXPOSURES = 2  # of each real picture, beside its own
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
    """Write the photos of a folder with ``images/`` and ``masks/`` (white = out of focus), whole and in crops."""
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


def expose_anew(folder: Path, out: Path) -> None:
    """Write the pictures of a labelled folder as other cameras would have taken them: in focus or not as they are."""
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
            (out / file).write_bytes(camera.take(camera.see(rgb), rng))
            rows.append((file, row["label"], row["scene"]))
    _write_labels(out, rows)


def build_tables(data: Path, work: Path, feature_set: str = DEFAULT_FEATURE_SET) -> FeatureTable:
    """Measure all sources of the model that ships; pictures that are in `work` already are not made again."""
    tables = [make_table(data / folder, work, feature_set) for folder in MADE_FROM]
    for real in (data / "defocus_patches", find_crops(data, work)):
        tables += [build_table(folder, feature_set=feature_set) for folder in (real, find_exposed(real, work))]
    return join_tables(tables)


def find_made(photos: Path, work: Path, seed: int) -> Path:
    """Find what is made of a folder of sharp photos, as one camera takes them; it is made where it is missing."""
    made = work / f"{photos.name}-{seed}"
    if not made.exists():
        print(made.name, file=sys.stderr)
        make_dataset(photos, made, seed=seed)
    return made


def find_crops(data: Path, work: Path) -> Path:
    """Find what is cut out of ``defocus_maps``; it is cut where it is missing."""
    if not (work / "defocus_maps" / "labels.csv").exists():
        cut_maps(data / "defocus_maps", work / "defocus_maps")
    return work / "defocus_maps"


def find_exposed(real: Path, work: Path) -> Path:
    """Find a labelled folder's pictures as other cameras take them; they are taken where they are missing."""
    exposed = work / f"{real.name}_exposed"
    if not (exposed / "labels.csv").exists():
        print(exposed.name, file=sys.stderr)
        expose_anew(real, exposed)
    return exposed


def make_table(
    photos: Path, work: Path, feature_set: str = DEFAULT_FEATURE_SET, cameras: int = CAMERAS
) -> FeatureTable:
    """Measure what cameras make of a folder of sharp photos.

    Parameters
    ----------
    photos : Path
        Its name becomes the source.
    work : Path
        Keeps the pictures.
    feature_set : str
    cameras : int
        How many take each photo, at least 1.

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
