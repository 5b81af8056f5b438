"""All of it in a row, on the photographs that scikit-image and scikit-learn carry."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from blurgate.errors import DatasetError, needs_extra, require_extra
from blurgate.files import atomic_file
from blurgate.judging.model import load_model
from blurgate.learning.table import build_table, write_table
from blurgate.making.dataset import make_dataset
from blurgate.making.preview import write_preview
from blurgate.measuring.features import DEFAULT_FEATURE_SET, FEATURE_SETS
from blurgate.photos.images import RGB, encode_jpeg, read_rgb
from blurgate.scanning.formats import write_csv
from blurgate.scanning.stream import scan
from blurgate.threads import Track, no_track

PHOTOGRAPHS = {  # package -> its pictures that a camera took, in focus all over, and that are large enough to be cut
    "skimage.data": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "grass.png",
        "gravel.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "page.png",
        "rocket.jpg",
    ),
    "sklearn.datasets.images": ("china.jpg",),
}
TILE = 160  # pixels
MAX_TILES = 12  # of one photograph
MIN_DETAIL = 6.0  # gray levels of standard deviation: a tile of empty sky shows nothing to anybody


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Parameters
    ----------
    roc_auc : float
        On scenes that the model has not seen.
    roc_auc_interval : tuple of float
        95 %, by drawing scenes.
    roc_auc_of_laplacian : float
        What the variance of the Laplacian gives on the same pictures.
    accuracy : float
        At the chosen threshold.
    accuracy_of_laplacian : float
        At its customary cutoff of 100.
    n, n_scenes : int
        Pictures and scenes that these figures are from.
    files : dict of str to Path
        What was made; `MADE` says what each is.
    """

    roc_auc: float
    roc_auc_interval: tuple[float, ...]
    roc_auc_of_laplacian: float
    accuracy: float
    accuracy_of_laplacian: float
    n: int
    n_scenes: int
    files: dict[str, Path]


def run_demo(
    out: str | os.PathLike[str], *, trials: int = 25, overwrite: bool = False, track: Track = no_track
) -> DemoResult:
    """Preview, dataset, features, train, evaluate, scan: every step on real photographs, with its files to look at.

    The photographs are cut into tiles; the tiles of one photograph are one scene, and no split cuts it.

    Parameters
    ----------
    out : path
        The folder to make.
    trials : int
        Of the search.
    overwrite : bool
        Replace `out` if an earlier demo made it.
    track : Track
        Shows progress.

    Raises
    ------
    DatasetError
        If `out` exists and may not be replaced.
    MissingExtraError
        If an extra is missing that the demo needs.
    """
    require_extra("demo", "The demo")
    from blurgate.learning.evaluation import evaluate
    from blurgate.learning.report import write_report
    from blurgate.learning.training import train

    out = Path(out)
    _clear(out, overwrite=overwrite)
    photographs = load_photographs()
    cut_tiles(photographs, out / "sharp")
    write_preview(photographs["chelsea"], out / "preview.png")
    make_dataset(out / "sharp", out / "dataset", scenes="folder", track=track)
    table = build_table(out / "dataset", track=track)
    write_table(table, out / "features.csv")
    model, evaluation = train(table, trials=trials, study=out / "study.db", track=track)
    model.save(out / "demo.blurgate")
    write_report(evaluation, out / "report.html", title="The demo's model")
    model = load_model(out / "demo.blurgate")
    numbers = evaluate(model, evaluation.table).numbers
    with atomic_file(out / "verdicts.csv") as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        write_csv(scan([out / "dataset"], model=model), stream)
    return DemoResult(
        roc_auc=numbers["roc_auc"],
        roc_auc_interval=tuple(numbers["roc_auc_interval"] or ()),
        roc_auc_of_laplacian=numbers["variance_of_laplacian"]["roc_auc"],
        accuracy=numbers["accuracy"],
        accuracy_of_laplacian=numbers["variance_of_laplacian"]["accuracy_at_customary_cutoff"],
        n=numbers["n"],
        n_scenes=numbers["n_scenes"],
        files={name: out / name for name in MADE},
    )


def load_photographs() -> dict[str, RGB]:
    """Read the photographs of `PHOTOGRAPHS`; name -> array of shape (height, width, 3), uint8."""
    with needs_extra("demo", "The demo"):
        import skimage.data  # noqa: F401
        import sklearn.datasets  # noqa: F401 the packages that carry them
    return {
        Path(name).stem: read_rgb((files(package) / name).read_bytes())
        for package, names in PHOTOGRAPHS.items()
        for name in names
    }


def cut_tiles(photographs: Mapping[str, RGB], folder: Path) -> None:
    """Cut each photograph into tiles that show something, at most `MAX_TILES`, into a folder of its own."""
    for name, rgb in photographs.items():
        (folder / name).mkdir(parents=True)
        rows, columns = rgb.shape[0] // TILE, rgb.shape[1] // TILE
        grid = [(row * TILE, column * TILE) for row in range(rows) for column in range(columns)]
        tiles = [rgb[top : top + TILE, left : left + TILE] for top, left in grid]
        shown = [tile for tile in tiles if tile.mean(axis=2).std() >= MIN_DETAIL]
        for number, tile in enumerate(shown[:: max(1, len(shown) // MAX_TILES)][:MAX_TILES], start=1):
            (folder / name / f"{number}.jpg").write_bytes(encode_jpeg(tile, quality=95))


def _clear(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise DatasetError(f"{out} exists already: choose another folder, or replace it with --overwrite")
    if out.exists() and not (out / _MARK).exists():
        raise DatasetError(f"{out} was not made by the demo, so it is not replaced: choose another folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / _MARK).write_text("blurgate demo made this folder and may replace it.\n", encoding="utf-8")


_MARK = ".blurgate-demo"

MADE = {  # in the order in which they are made
    "preview.png": "every blur kind on one photograph",
    "sharp": "the photographs in tiles, a folder for each",
    "dataset": "sharp and blurred pictures, and their manifest",
    "features.csv": f"{len(FEATURE_SETS[DEFAULT_FEATURE_SET].columns)} features of each picture",
    "demo.blurgate": "the model",
    "report.html": "how good it is",
    "report.json": "the same numbers",
    "verdicts.csv": "what it says of every picture",
}
