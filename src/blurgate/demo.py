"""Every step in a row, on the photographs that scikit-image and scikit-learn include."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from blurgate.errors import DatasetError, name_first, needs_extra, require_extra
from blurgate.files import atomic_file, hold
from blurgate.judging.model import load_model
from blurgate.learning.table import build_table, write_table
from blurgate.making.dataset import make_dataset
from blurgate.making.preview import write_preview
from blurgate.measuring.features import DEFAULT_FEATURE_SET, FEATURE_SETS
from blurgate.photos.images import RGB, encode_jpeg, read_rgb
from blurgate.scanning.formats import write_csv
from blurgate.scanning.stream import scan
from blurgate.threads import Track, no_track

PHOTOGRAPHS = {  # package -> its pictures from a camera that are in focus all over and large enough to cut
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
MAX_TILES = 12  # per photograph
MIN_DETAIL = 6.0  # standard deviation in gray levels: a tile of empty sky does not show whether it is sharp


@dataclass(frozen=True)
class DemoResult:
    """Figures of the demo's model on scenes that it has not seen, and the files that the demo made.

    Parameters
    ----------
    roc_auc : float
        0 to 1.
    roc_auc_interval : tuple of float
        95 % interval, by bootstrap over scenes; empty if it cannot be computed.
    roc_auc_of_laplacian : float
        ROC AUC of the variance of the Laplacian on the same pictures, 0 to 1.
    accuracy : float
        At the chosen threshold, 0 to 1.
    accuracy_of_laplacian : float
        At the customary cutoff of 100, 0 to 1.
    n, n_scenes : int
        Number of pictures and of scenes behind these figures.
    files : dict of str to Path
        Name -> path of each file or folder; `MADE` describes them.
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
    """Run every step on real photographs, from a preview to a scan, and keep the files of each.

    The photographs are cut into tiles; the tiles of one photograph are one scene, and no split cuts it.

    Parameters
    ----------
    out : path
        The folder to make.
    trials : int
        Number of trials in the search for the best parameters.
    overwrite : bool
        Replace `out` if an earlier demo made it.
    track : Track
        Shows progress.

    Returns
    -------
    DemoResult

    Raises
    ------
    DatasetError
        If `out` exists and may not be replaced.
    MissingExtraError
        If the extra ``demo`` is not installed.
    """
    require_extra("demo", "The demo")
    out = Path(out)
    with hold(out):
        return _run(out, trials=trials, overwrite=overwrite, track=track)


def _run(out: Path, *, trials: int, overwrite: bool, track: Track) -> DemoResult:
    from blurgate.learning.evaluation import evaluate
    from blurgate.learning.report import write_report
    from blurgate.learning.training import train

    _clear(out, overwrite=overwrite)
    photographs = load_photographs()
    cut_tiles(photographs, out / "sharp")
    write_preview(photographs["chelsea"], out / "preview.png")
    make_dataset(out / "sharp", out / "dataset", scenes="folder", track=track)
    table = build_table(out / "dataset", track=track)
    write_table(table, out / "features.csv")
    model, evaluation = train(table, trials=trials, study=out / "study.db", track=track)
    model.save(out / "demo.blurgate")
    write_report(evaluation, out / "report.html", title="The demo's model", model_name="demo.blurgate")
    model = load_model(out / "demo.blurgate")
    numbers = evaluate(model, evaluation.table).numbers
    with atomic_file(out / "verdicts.csv") as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        write_csv(scan([out / "dataset"], model=model), stream)
    return DemoResult(
        roc_auc=numbers["roc_auc"] or 0.0,
        roc_auc_interval=tuple(numbers["roc_auc_interval"] or ()),
        roc_auc_of_laplacian=numbers["variance_of_laplacian"]["roc_auc"] or 0.0,
        accuracy=numbers["accuracy"],
        accuracy_of_laplacian=numbers["variance_of_laplacian"]["accuracy_at_customary_cutoff"],
        n=numbers["n"],
        n_scenes=numbers["n_scenes"],
        files={name: out / name for name in MADE},
    )


def load_photographs() -> dict[str, RGB]:
    """Read the photographs in `PHOTOGRAPHS`.

    Returns
    -------
    dict of str to ndarray of shape (height, width, 3), uint8
        Name without suffix -> RGB.

    Raises
    ------
    MissingExtraError
        If the extra ``demo`` is not installed.
    """
    with needs_extra("demo", "The demo"):
        import skimage.data  # noqa: F401
        import sklearn.datasets  # noqa: F401 the packages with the photographs
    return {
        Path(name).stem: read_rgb((files(package) / name).read_bytes())
        for package, names in PHOTOGRAPHS.items()
        for name in names
    }


def cut_tiles(photographs: Mapping[str, RGB], folder: Path) -> None:
    """Cut each photograph into at most `MAX_TILES` tiles with detail in them.

    Parameters
    ----------
    photographs : mapping of str to ndarray of shape (height, width, 3), uint8
        Name -> RGB.
    folder : Path
        Where each photograph gets a new folder by its name, with its tiles as ``1.jpg``, ``2.jpg`` and so on.
    """
    for name, rgb in photographs.items():
        (folder / name).mkdir(parents=True)
        rows, columns = rgb.shape[0] // TILE, rgb.shape[1] // TILE
        grid = [(row * TILE, column * TILE) for row in range(rows) for column in range(columns)]
        tiles = [rgb[top : top + TILE, left : left + TILE] for top, left in grid]
        detailed = [tile for tile in tiles if tile.mean(axis=2).std() >= MIN_DETAIL]
        for number, tile in enumerate(detailed[:: max(1, len(detailed) // MAX_TILES)][:MAX_TILES], start=1):
            (folder / name / f"{number}.jpg").write_bytes(encode_jpeg(tile, quality=95))


def _clear(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise DatasetError(f"{out} exists already: choose another folder, or replace it with --overwrite")
    if out.exists() and not (out / _MARK).exists():
        raise DatasetError(f"{out} was not made by the demo and will not be replaced: choose another folder")
    others = sorted(entry.name for entry in out.iterdir() if entry.name not in _ALL) if out.exists() else []
    if others:
        raise DatasetError(
            f"{out} holds {name_first(others)}, not made by the demo: move it away, or choose another folder"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / _MARK).write_text("blurgate demo made this folder and may replace it.\n", encoding="utf-8")


_MARK = ".blurgate-demo"

MADE = {  # in the order in which they are made
    "preview.png": "every kind of blur on one photograph",
    "sharp": "the photographs in tiles, one folder each",
    "dataset": "sharp and blurred pictures with their manifest",
    "features.csv": f"{len(FEATURE_SETS[DEFAULT_FEATURE_SET].columns)} features of each picture",
    "demo.blurgate": "the model",
    "report.html": "how good it is",
    "report.json": "the same numbers",
    "verdicts.csv": "its verdict on every picture",
}
_ALL = {*MADE, _MARK, "study.db"}
