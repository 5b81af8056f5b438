"""Sharp photos -> a folder of sharp and blurred pictures, and the manifest that says what was done to each.

The folder holds ``sharp/``, ``blurred/``, ``manifest.csv`` with the columns of `MANIFEST_COLUMNS`, and, where photos
could not be used, ``skipped.csv`` with the columns ``path`` and ``error``.
"""

from __future__ import annotations

import csv
import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blurgate.blurs import BLURS, Kernel, KernelBlur, LibraryBlur, Linear, convolve, kernel_strength
from blurgate.camera import Camera, draw_camera
from blurgate.errors import DatasetError, PhotoError, needs_extra
from blurgate.files import whole_folder
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.finding import find_photos
from blurgate.photos.images import MIN_SIDE, RGB, encode_jpeg, read_rgb, resize
from blurgate.threads import Track, no_track, run_in_order

with needs_extra("train", "Making blurred photos"):
    from scipy import ndimage

MIN_STRENGTH, MAX_STRENGTH = 1.5, 40.0  # pixels; between 0.5 and 1.5 people disagree, so nothing is drawn there
MAX_SIDE = 1024  # pixels of a photo that the recipe camera works on
WINDOW_SHARE, MIN_WINDOW = (
    0.6,
    0.3,
)  # of the scenes that are a window of a photo; its sides' smallest share of its sides
BOKEH_SHARE = 0.3  # of the sharp pictures that are so in one place only
DEPTH_SHARE = 0.25  # of the blurred pictures that are so more in one place than in another
KIND_SHARES = {"defocus": 0.4, "motion": 0.4, "gaussian": 0.2}


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


@dataclass(frozen=True)
class MadePicture:
    """A picture as a recipe hands it over."""

    jpeg: bytes
    kind: str
    parameters: Mapping[str, Any]
    strength_px: float


Recipe = Callable[[RGB, Sequence[int]], Iterator[MadePicture]]


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

    with whole_folder(out, replace=overwrite) as partial:

        def make(photo: Path) -> list[ManifestRow] | tuple[str, str]:
            name = names[photo]
            scene = name if scenes == "photo" else photo.parent.relative_to(sharp).as_posix()
            seeds = [picture_seed(seed, name, version) for version in range(per_photo + 1)]
            try:
                return _write_pictures(partial, name, scene, RECIPES[recipe](read_rgb(photo), seeds), seeds)
            except PhotoError as error:
                return photo.relative_to(sharp).as_posix(), str(error)

        making = run_in_order(make, photos, jobs=jobs)
        made = list(track(making, total=len(photos), doing="making pictures"))
        rows = tuple(row for result in made if isinstance(result, list) for row in result)
        skipped = tuple(result for result in made if isinstance(result, tuple))
        if not rows:
            raise DatasetError(
                f"a photo that can be used was needed, but none of the {len(skipped)} in {sharp} is one; "
                f"the first failed because {skipped[0][1]}"
            )
        _write_csv(partial / "manifest.csv", MANIFEST_COLUMNS, map(astuple, rows))
        if skipped:
            _write_csv(partial / "skipped.csv", ("path", "error"), skipped)
    return Dataset(out, rows, skipped)


def picture_seed(seed: int, name: str, version: int) -> int:
    """Derive a picture's seed from the dataset's, its photo's name and its version (0 is the sharp one).

    It depends on nothing else, so that adding or removing photos leaves the other pictures as they are.
    """
    return int(
        np.random.SeedSequence([seed, zlib.crc32(name.encode(errors="surrogateescape")), version]).generate_state(1)[0]
    )


def make_camera(rgb: RGB, seeds: Sequence[int]) -> Iterator[MadePicture]:
    """Blur in linear light with our own kinds, then take each picture with the scene's camera.

    Strengths are log-uniform between `MIN_STRENGTH` and `MAX_STRENGTH` in the finished picture. A part of the sharp
    pictures has a blurred background: what is in focus is sharp all the same. A part of the blurred ones is blurred
    more in one place than in another.

    Of a photo longer or higher than `MAX_SIDE` the middle is taken, at its own pixels: a large photo's memory and time
    are bounded. Often a window of it is the scene: the sharpest out of four drawn, since a sharp photo has places that
    are not.
    """
    scene_rng = np.random.default_rng(seeds[0])
    rgb = _draw_window(_cut_middle(rgb), scene_rng)
    camera = draw_camera(scene_rng).fitted(rgb)
    light = camera.see(rgb)
    for version, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, 1])
        drawn = draw_blur(rgb, light, camera, rng, blurred=bool(version))
        yield MadePicture(
            jpeg=camera.take(drawn.light, rng),
            kind=drawn.kind,
            parameters={"blur": drawn.parameters, "camera": asdict(camera), **drawn.focus},
            strength_px=math.hypot(drawn.strength_px, camera.softness_px),
        )


@dataclass(frozen=True)
class DrawnBlur:
    """The light of a scene after a blur that was drawn, or none.

    Parameters
    ----------
    light : ndarray of shape (height, width, 3), float32
    kind : str
        A name out of `BLURS`; empty for sharp.
    parameters : mapping
        The kind's keyword parameters.
    strength_px : float
        In pixels of the finished picture; of what is in focus, where something is.
    focus : mapping
        Where the focus is and what blur is around it; empty where all of the picture is alike.
    mask : ndarray of shape (height, width, 1), float32, or None
        1 in the focus, 0 around it.
    """

    light: Linear
    kind: str
    parameters: Mapping[str, Any]
    strength_px: float
    focus: Mapping[str, Any]
    mask: Linear | None


def draw_blur(rgb: RGB, light: Linear, camera: Camera, rng: np.random.Generator, *, blurred: bool) -> DrawnBlur:
    """Draw what happens to the light of a scene before the camera takes it: see `make_camera`.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), or (height, width, 1) for gray, uint8
        The sharp scene.
    light : ndarray of the same shape, float32
        What ``camera.see`` gives of it.
    camera : Camera
    rng : numpy.random.Generator
    blurred : bool
        Draw a blurred picture, else a sharp one, maybe with a blurred background.
    """
    kind, strength, taken = "", 0.0, light
    parameters: dict[str, Any] = {}
    if blurred:
        kind, parameters, kernel = _draw_kernel(rng, rgb, camera, MIN_STRENGTH)
        strength = kernel_strength(kernel) * camera.scale
        taken = convolve(light, kernel)
    if rng.random() >= (DEPTH_SHARE if blurred else BOKEH_SHARE):
        return DrawnBlur(taken, kind, parameters, strength, {}, None)
    # around the focus it is blurred by another, stronger kernel
    focus = _draw_focus(rgb, rng)
    other, other_parameters, kernel = _draw_kernel(rng, rgb, camera, max(2.0, strength))
    mask = _soft_ellipse(rgb, **focus)
    taken = mask * taken + (1 - mask) * convolve(light, kernel)
    around = {"focus": focus, "around": {"kind": other, "blur": other_parameters}}
    return DrawnBlur(taken, kind, parameters, strength, around, mask)


def make_classic(rgb: RGB, seeds: Sequence[int]) -> Iterator[MadePicture]:
    """Do what the original experiment did: 512x512 pixels, Blur-Generator's kinds, the original's parameter lists.

    Two of its faults are mended: sharp and blurred pictures pass through the same encoder, and what the lens kind does
    to the brightness is undone.
    """
    square = resize(rgb, (512, 512), resample=Image.Resampling.LANCZOS)
    kinds = [kind for kind, blur in BLURS.items() if isinstance(blur, LibraryBlur)]
    for version, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        kind, parameters, picture, strength = "", {}, square, 0.0
        if version:
            kind = str(rng.choice(kinds))
            blur = BLURS[kind]
            assert isinstance(blur, LibraryBlur)  # noqa: S101 by the choice of kinds
            parameters = blur.draw(rng)
            picture = blur.apply(square, parameters)
            strength = blur.strength_px(parameters)
        yield MadePicture(
            jpeg=encode_jpeg(picture, quality=95),
            kind=kind,
            parameters={"blur": parameters, "camera": {"quality": 95}},
            strength_px=strength,
        )


def _cut_middle(rgb: RGB) -> RGB:
    top, left = (max(0, (side - MAX_SIDE) // 2) for side in rgb.shape[:2])
    return rgb[top : top + MAX_SIDE, left : left + MAX_SIDE]


def _draw_window(rgb: RGB, rng: np.random.Generator) -> RGB:
    """Keep the photo, or the sharpest of four windows of one size."""
    height, width = rgb.shape[:2]
    share = math.exp(rng.uniform(math.log(MIN_WINDOW), 0))
    if rng.random() < 1 - WINDOW_SHARE or min(height, width) < 2 * MIN_SIDE:
        return rgb
    rows, columns = (max(2 * MIN_SIDE, int(side * share)) for side in (height, width))
    corners = rng.integers(0, (height - rows + 1, width - columns + 1), size=(4, 2))
    windows = [rgb[top : top + rows, left : left + columns] for top, left in corners]
    return max(windows, key=lambda window: variance_of_laplacian(window[..., 1]))


def _draw_kernel(
    rng: np.random.Generator, rgb: RGB, camera: Camera, weakest: float
) -> tuple[str, dict[str, Any], Kernel]:
    """Draw a kind, its parameters and their kernel, as strong as the picture's size allows."""
    kind = str(rng.choice(list(KIND_SHARES), p=list(KIND_SHARES.values())))
    blur = BLURS[kind]
    assert isinstance(blur, KernelBlur)  # noqa: S101 by the choice of kinds
    strongest = max(weakest, min(MAX_STRENGTH, camera.scale * min(rgb.shape[:2]) / 8))
    strength = math.exp(rng.uniform(math.log(weakest), math.log(strongest)))
    parameters = blur.draw(rng, strength / camera.scale)
    return kind, parameters, blur.kernel(**parameters)


def _draw_focus(rgb: RGB, rng: np.random.Generator) -> dict[str, float]:
    """Draw an ellipse about a place with detail, in shares of the sides."""
    height, width = rgb.shape[:2]
    detail = ndimage.gaussian_filter(
        ndimage.laplace(rgb[..., rgb.shape[2] // 2].astype(np.float32)) ** 2, min(height, width) / 12
    )
    chance = detail.ravel().astype(np.float64) ** 2
    chance = chance / chance.sum() if chance.sum() else np.full(chance.size, 1 / chance.size)
    row, column = divmod(int(rng.choice(chance.size, p=chance)), width)
    half_width, half_height = rng.uniform(0.2, 0.45, size=2)
    return {
        "x": round(column / width, 3),
        "y": round(row / height, 3),
        "half_width": round(half_width, 3),
        "half_height": round(half_height, 3),
    }


def _soft_ellipse(rgb: RGB, *, x: float, y: float, half_width: float, half_height: float) -> Linear:
    """1 inside, 0 outside, shape (height, width, 1)."""
    height, width = rgb.shape[:2]
    row, column = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot((row / height - y) / half_height, (column / width - x) / half_width)
    return np.asarray(0.5 - 0.5 * np.tanh(6 * (distance - 1)), dtype=np.float32)[..., np.newaxis]


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

RECIPES: dict[str, Recipe] = {"camera": make_camera, "classic": make_classic}
