"""blurgate tells sharp photographs from blurred ones, with a calibrated probability.

Importing it is cheap: the module of each name is loaded when the name is first used. `load` is another name of
`load_model`, and `ray` of `blurgate.pipelines.ray`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from blurgate.version import __version__

if TYPE_CHECKING:
    from blurgate.demo import run_demo
    from blurgate.errors import (
        BlurgateError,
        DatasetError,
        MachineError,
        MissingExtraError,
        ModelFileError,
        NetError,
        OutputError,
        PhotoError,
        ServiceError,
        SmallPhotoError,
        StudyFileError,
    )
    from blurgate.judging.explaining import Explanation, explain
    from blurgate.judging.model import BlurModel, load_model
    from blurgate.judging.model import load_model as load  # noqa: F401 for type checkers: it is not in __all__
    from blurgate.judging.verdicts import Verdict
    from blurgate.learning.calibration import calibrate
    from blurgate.learning.evaluation import evaluate
    from blurgate.learning.report import write_report
    from blurgate.learning.table import FeatureTable, build_table, read_table, write_table
    from blurgate.learning.training import load_sources, train
    from blurgate.making.dataset import make_dataset
    from blurgate.making.preview import draw_preview
    from blurgate.measuring.features import extract_features
    from blurgate.measuring.transformer import BlurFeatures
    from blurgate.photos.images import read_gray
    from blurgate.pipelines import ray  # noqa: F401 as load
    from blurgate.scanning.gallery import write_gallery
    from blurgate.scanning.stream import scan
    from blurgate.serving.client import AsyncClient, Client

_HOMES = {  # module -> its public names
    "learning.calibration": ("calibrate",),
    "making.dataset": ("make_dataset",),
    "demo": ("run_demo",),
    "errors": (
        "BlurgateError",
        "DatasetError",
        "MachineError",
        "MissingExtraError",
        "ModelFileError",
        "NetError",
        "OutputError",
        "PhotoError",
        "ServiceError",
        "SmallPhotoError",
        "StudyFileError",
    ),
    "learning.evaluation": ("evaluate",),
    "measuring.features": ("extract_features",),
    "scanning.gallery": ("write_gallery",),
    "photos.images": ("read_gray",),
    "judging.explaining": ("Explanation", "explain"),
    "judging.model": ("BlurModel", "load_model"),
    "making.preview": ("draw_preview",),
    "learning.report": ("write_report",),
    "scanning.stream": ("scan",),
    "serving.client": ("AsyncClient", "Client"),
    "learning.table": ("FeatureTable", "build_table", "read_table", "write_table"),
    "learning.training": ("load_sources", "train"),
    "measuring.transformer": ("BlurFeatures",),
    "judging.verdicts": ("Verdict",),
}

__all__ = [
    "read_gray",
    "extract_features",
    "BlurFeatures",
    "draw_preview",
    "make_dataset",
    "build_table",
    "read_table",
    "write_table",
    "FeatureTable",
    "load_sources",
    "train",
    "evaluate",
    "calibrate",
    "write_report",
    "load_model",
    "BlurModel",
    "Verdict",
    "explain",
    "Explanation",
    "scan",
    "write_gallery",
    "Client",
    "AsyncClient",
    "run_demo",
    "BlurgateError",
    "PhotoError",
    "SmallPhotoError",
    "DatasetError",
    "ModelFileError",
    "NetError",
    "OutputError",
    "StudyFileError",
    "ServiceError",
    "MachineError",
    "MissingExtraError",
    "__version__",
]


_ALIASES = {"load": "load_model"}
_MODULES = {"ray": "pipelines.ray"}  # name -> module that goes by it


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"blurgate.{_MODULES[name]}")
    name = _ALIASES.get(name, name)
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"blurgate.{module}"), name)
    raise AttributeError(f"module 'blurgate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
