"""Photos -> stream of verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import MissingExtraError, PhotoError, needs_extra
from blurgate.features import extract_features
from blurgate.images import Gray, find_photos
from blurgate.model import BlurModel, Extract, Measured, Verdict, load_model
from blurgate.threads import run_in_order

ENGINES = ("auto", "numpy", "compiled")
DEVICES = ("cpu", "cuda")
MANY = 100  # photos from which on compiled code repays being loaded, and before long being compiled

_BATCH = 16  # photos that the trees are asked about at once


def scan(
    paths: Iterable[str | os.PathLike[str]],
    *,
    model: BlurModel | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    device: str = "cpu",
) -> Iterator[Verdict]:
    """Judge photos, in order, without holding more than a few at a time.

    Parameters
    ----------
    paths : iterable of path
        Files and folders; see `blurgate.images.find_photos`.
    model : BlurModel, optional
        By default the one that ships.
    jobs : int, optional
        Photos at work at the same time; by default one for each core.
    engine : {'auto', 'numpy', 'compiled'}
        What measures the photos on the CPU; the verdicts are the same. ``compiled`` needs the extra ``fast``; ``auto``
        is ``compiled`` for `MANY` photos and more where it is installed, else ``numpy``.
    device : {'cpu', 'cuda'}
        ``cuda`` measures them on a GPU, with torch, of the extra ``gpu``.

    Returns
    -------
    iterator of Verdict
        A photo that cannot be read has one too, with its ``error``.

    Raises
    ------
    PhotoError
        If one of the paths does not exist, or there is no photo in them.
    MissingExtraError
        If the engine is not installed.
    ValueError
        If there is no such engine or device.
    """
    photos = find_photos(paths)
    if not photos:
        raise PhotoError("photos were needed, but the folders given have none in them: check the path")
    judging, extract = model or load_model(), find_extract(engine, device, count=len(photos))

    def measure(path: Path) -> Measured:
        try:
            return judging.measure(path, extract=extract)
        except PhotoError as error:
            return Measured(Verdict(path=os.fspath(path), error=str(error)))

    return _judge(judging, run_in_order(measure, photos, jobs=jobs))


def _judge(model: BlurModel, measured: Iterator[Measured]) -> Iterator[Verdict]:
    while batch := list(islice(measured, _BATCH)):
        yield from model.judge(batch)


def find_extract(engine: str = "auto", device: str = "cpu", *, count: int) -> Extract:
    """Look up what measures so many photos; see `scan`."""
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda":
        return _find_torch("cuda")
    if engine == "numpy" or (engine == "auto" and count < MANY):
        return extract_features
    try:
        compiled: Extract = import_module("blurgate.kernel").extract_features
    except (MissingExtraError, ImportError):  # not there, or not of a kind that fits the other packages
        if engine == "compiled":
            raise
        return extract_features
    return compiled


def _find_torch(device: str) -> Extract:
    """Measure on a torch device: while it works for one thread, the others decode and send."""
    with needs_extra("gpu", "Measuring on a GPU"):
        import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("the device cuda was asked for, but torch finds none: leave --device out")

    def extract(gray: Gray, feature_set: str) -> NDArray[np.float32]:
        plane = torch.asarray(np.array(gray), device=device)
        return np.asarray(extract_features(plane, feature_set).cpu().numpy())

    return extract
