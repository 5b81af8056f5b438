"""Gray -> features, computed by the engine that suits the job: NumPy, compiled code, or torch on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import BlurgateError, MissingExtraError, needs_extra
from blurgate.measuring.features import extract_features, extract_many
from blurgate.photos.images import Gray

ENGINES = ("auto", "numpy", "compiled")
DEVICES = ("cpu", "cuda")
FEW = 5  # from this many photos on, compiled code saves more time than loading it takes, if it is in its cache
MANY = 100  # from this many photos on, it saves more time than compiling it takes


class Engine:
    """An engine that measures photos in two steps and loads its libraries before the first.

    Parameters
    ----------
    name : {'auto', 'numpy', 'compiled'}
        ``compiled`` needs the extra ``fast``; ``auto`` chooses ``compiled`` for at least `MANY` photos if it works, or
        for at least `FEW` if an earlier run has compiled it, otherwise ``numpy``.
    device : {'cpu', 'cuda'}
        ``cuda`` measures batches with torch and needs the extra ``gpu``.
    count : int
        Number of photos to measure, as far as it is known.

    Raises
    ------
    ValueError
        If the engine or the device is unknown, or the engine does not run on the device.
    """

    def __init__(self, name: str = "auto", device: str = "cpu", *, count: int) -> None:
        check_engine(name, device)
        self.name, self.device, self.count = name, device, count
        self._steps: Steps | None = None
        self._lock = Lock()

    def prepare(self) -> Steps:
        """Load the engine's libraries and compile its code if needed; later calls return at once.

        Returns
        -------
        Steps

        Raises
        ------
        MissingExtraError
            If the library of the engine or the device is not installed.
        BlurgateError
            If the engine is ``compiled`` and its code cannot be made.
        ValueError
            If the device is not available.
        """
        with self._lock:
            if self._steps is None:
                self._steps = self._load_steps()
            return self._steps

    def begin(self, gray: Gray, feature_set: str) -> Any:
        """Do the first step for one photo, on any thread.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8
        feature_set : str

        Returns
        -------
        object
            An item of the first argument of `finish`.
        """
        return (self._steps or self.prepare()).begin(gray, feature_set)

    def finish(self, begun: list[Any], feature_set: str) -> Sequence[NDArray[np.float32]]:
        """Do the second step for a batch of photos, on one thread while others begin the next batch.

        Parameters
        ----------
        begun : list
            Results of `begin`, one per photo.
        feature_set : str

        Returns
        -------
        sequence of ndarray of shape (n_features,), float32
            One per photo.
        """
        return (self._steps or self.prepare()).finish(begun, feature_set)

    def _load_steps(self) -> Steps:
        if self.device == "cuda":
            return load_torch("cuda")
        if self.name == "numpy" or (self.name == "auto" and self.count < FEW):
            return Steps(extract_features)
        try:
            return _load_compiled(only_cached=self.name == "auto" and self.count < MANY)
        except Exception as error:  # llvmlite missing, of another version, ...
            if self.name == "auto":
                return Steps(extract_features)
            if isinstance(error, MissingExtraError):
                raise
            raise BlurgateError(
                f"the engine compiled was requested, but its code could not be made ({type(error).__name__}: {error}): "
                "install another version of llvmlite, or use the engine numpy"
            ) from error


def check_engine(name: str, device: str) -> None:
    """Check that an engine exists and runs on a device; see `Engine`.

    Parameters
    ----------
    name : {'auto', 'numpy', 'compiled'}
    device : {'cpu', 'cuda'}

    Raises
    ------
    ValueError
        If it does not.
    """
    if name not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda" and name == "compiled":
        raise ValueError("the engine compiled runs only on the CPU, got the device cuda: leave out one of them")


@dataclass(frozen=True)
class Steps:
    """The two steps of an engine.

    Parameters
    ----------
    begin, finish : callable
        See `Engine.begin` and `Engine.finish`; by default `begin` returns features and `finish` passes them through.
    """

    begin: Callable[[Gray, str], Any]
    finish: Callable[[list[Any], str], Sequence[NDArray[np.float32]]] = lambda features, _: features


def load_torch(device: str) -> Steps:
    """Load torch, which measures one batch on its device while threads decode and send the next.

    Parameters
    ----------
    device : str
        In torch's notation.

    Returns
    -------
    Steps

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    ValueError
        If torch finds no CUDA device.
    """
    with needs_extra("gpu", "Measuring on a GPU"):
        import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("the device cuda was requested, but torch finds no CUDA device: leave out --device")

    def send(gray: Gray, _: str) -> Any:
        return torch.asarray(np.array(gray), device=device)

    def extract(planes: list[Any], feature_set: str) -> list[NDArray[np.float32]]:
        return list(torch.stack(extract_many(planes, feature_set)).cpu().numpy()) if planes else []

    return Steps(send, extract)


def _load_compiled(*, only_cached: bool) -> Steps:
    from blurgate.measuring import kernel, machine_code

    machine_code.prepare(only_cached=only_cached)
    return Steps(kernel.extract_features)
