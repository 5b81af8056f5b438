"""Photos -> stream of verdicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import BlurgateError, MissingExtraError, PhotoError, needs_extra
from blurgate.features import DEFAULT_FEATURE_SET, extract_features, extract_many
from blurgate.images import Gray, find_photos
from blurgate.model import BlurModel, Measured, Verdict, load_model
from blurgate.threads import run_in_order

ENGINES = ("auto", "numpy", "compiled")
DEVICES = ("cpu", "cuda")
MANY = 100  # photos from which on compiled code repays being loaded, and before long being compiled

_BATCH = 16  # photos that the trees are asked about at once


def scan(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    model: BlurModel | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    device: str = "cpu",
) -> Iterator[Verdict]:
    """Judge photos, in order, without holding more than a few at a time.

    Parameters
    ----------
    paths : path, or iterable of path
        Files and folders; see `blurgate.images.find_photos`.
    model : BlurModel, optional
        By default the one that ships.
    jobs : int, optional
        Photos at work at the same time; by default one for each core.
    engine : {'auto', 'numpy', 'compiled'}
        What measures the photos on the CPU: the same decisions, and numbers that differ by rounding now and then.
        ``compiled`` needs the extra ``fast``, and some ten seconds the first time; ``auto`` is ``compiled`` for `MANY`
        photos and more where it is installed and works, else ``numpy``.
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
        If the engine or the device's library is not installed.
    BlurgateError
        If compiled code was asked for and cannot be had.
    ValueError
        If there is no such engine or device.
    """
    photos = find_photos([paths] if isinstance(paths, str | os.PathLike) else paths)
    if not photos:
        raise PhotoError("photos were needed, but the folders given have none in them: check the path")
    judging = model or load_model()
    chosen = find_engine(engine, device, count=len(photos), feature_set=judging.card.feature_set)

    def measure(path: Path) -> Measured:
        try:
            return judging.measure(path, extract=chosen.begin)
        except PhotoError as error:
            return Measured(Verdict(path=os.fspath(path), error=str(error)))

    return _judge(judging, chosen, run_in_order(measure, photos, jobs=jobs))


def _judge(model: BlurModel, engine: Engine, begun: Iterator[Measured]) -> Iterator[Verdict]:
    while batch := list(islice(begun, _BATCH)):
        places = [place for place, photo in enumerate(batch) if photo.features is not None]
        finished = engine.finish([batch[place].features for place in places], model.card.feature_set)
        for place, features in zip(places, finished, strict=True):
            batch[place] = replace(batch[place], features=features)
        yield from model.judge(batch)


@dataclass(frozen=True)
class Engine:
    """What measures photos, in two steps.

    Parameters
    ----------
    begin : callable
        Gray and the name of a feature set -> what `finish` takes; done for one photo at a time, on any thread.
    finish : callable
        What `begin` gave for some photos, and the name of the feature set -> their features; done on one thread, while
        others begin with the next.
    """

    begin: Callable[[Gray, str], Any]
    finish: Callable[[list[Any], str], Sequence[NDArray[np.float32]]] = lambda features, _: features


def find_engine(
    engine: str = "auto", device: str = "cpu", *, count: int, feature_set: str = DEFAULT_FEATURE_SET
) -> Engine:
    """Look up what measures so many photos, and have it compiled where it needs that; see `scan`."""
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda":
        if engine == "compiled":
            raise ValueError("the engine compiled is for the CPU, but the device cuda was asked for: name one of them")
        return _find_torch("cuda")
    if engine == "numpy" or (engine == "auto" and count < MANY):
        return Engine(extract_features)
    try:
        compiled = import_module("blurgate.kernel").extract_features
        compiled(np.zeros((64, 64), np.uint8), feature_set)
    except Exception as error:  # not installed, of no fitting version, its cache damaged: numba has many ways to fail
        if engine == "auto":
            return Engine(extract_features)
        if isinstance(error, MissingExtraError):
            raise
        raise BlurgateError(
            f"compiled code was asked for, but numba fails ({type(error).__name__}: {error}): delete the folder "
            f"{Path(__file__).parent / '__pycache__'}, which keeps it, or use the engine numpy"
        ) from error
    return Engine(compiled)


def _find_torch(device: str) -> Engine:
    """Measure photos on a torch device in batches: while it works on one, threads decode and send the next."""
    with needs_extra("gpu", "Measuring on a GPU"):
        import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("the device cuda was asked for, but torch finds none: leave --device out")

    def send(gray: Gray, _: str) -> Any:
        return torch.asarray(np.array(gray), device=device)

    def measure(planes: list[Any], feature_set: str) -> list[NDArray[np.float32]]:
        return list(torch.stack(extract_many(planes, feature_set)).cpu().numpy()) if planes else []

    return Engine(send, measure)
