"""Gray -> features by the engine that suits the job: NumPy, compiled code, or torch on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import BlurgateError, MissingExtraError, needs_extra
from blurgate.measuring.features import DEFAULT_FEATURE_SET, extract_features, extract_many
from blurgate.photos.images import Gray

ENGINES = ("auto", "numpy", "compiled")
DEVICES = ("cpu", "cuda")
MANY = 100  # photos from which on loading compiled code, and compiling it once, pays


class Engine:
    """Measures photos in two steps, and loads what it needs before the first.

    Parameters
    ----------
    name : {'auto', 'numpy', 'compiled'}
        ``compiled`` needs the extra ``fast``; ``auto`` is ``compiled`` for `MANY` photos or more where it works, else
        ``numpy``.
    device : {'cpu', 'cuda'}
        ``cuda`` measures in batches with torch, from the extra ``gpu``.
    count : int
        Photos to measure, or as many as are known of.
    feature_set : str
        What `prepare` compiles for.

    Raises
    ------
    ValueError
        If there is no such engine or device.
    """

    def __init__(
        self, name: str = "auto", device: str = "cpu", *, count: int, feature_set: str = DEFAULT_FEATURE_SET
    ) -> None:
        check_engine(name, device)
        self.name, self.device, self.count, self.feature_set = name, device, count, feature_set
        self._steps: Steps | None = None
        self._lock = Lock()

    def prepare(self) -> Steps:
        """Load what the engine needs, compiling it if needed; later calls cost nothing.

        Raises
        ------
        MissingExtraError
            If the library of the engine or the device is not installed.
        BlurgateError
            If compiled code was asked for and numba fails.
        ValueError
            If the device is not there.
        """
        with self._lock:
            if self._steps is None:
                self._steps = self._find_steps()
            return self._steps

    def begin(self, gray: Gray, feature_set: str) -> Any:
        """Do what can be done for one photo at a time, on any thread.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8
        feature_set : str

        Returns
        -------
        object
            What `finish` takes.
        """
        return (self._steps or self.prepare()).begin(gray, feature_set)

    def finish(self, begun: list[Any], feature_set: str) -> Sequence[NDArray[np.float32]]:
        """Finish some photos on one thread, while others begin with the next.

        Parameters
        ----------
        begun : list
            What `begin` gave for each.
        feature_set : str

        Returns
        -------
        sequence of ndarray of shape (n_features,), float32
        """
        return (self._steps or self.prepare()).finish(begun, feature_set)

    def _find_steps(self) -> Steps:
        if self.device == "cuda":
            return load_torch("cuda")
        if self.name == "numpy" or (self.name == "auto" and self.count < MANY):
            return Steps(extract_features)
        try:
            return _load_compiled(self.feature_set)
        except Exception as error:  # not installed, an unfit version, a damaged cache: numba has many ways to fail
            if self.name == "auto":
                return Steps(extract_features)
            if isinstance(error, MissingExtraError):
                raise
            raise BlurgateError(
                f"compiled code was asked for, but numba fails ({type(error).__name__}: {error}): delete the folder "
                f"{Path(__file__).parent / '__pycache__'}, which keeps it, or use the engine numpy"
            ) from error


def check_engine(name: str, device: str) -> None:
    """Raise a ValueError unless there is such an engine for such a device; see `Engine`.

    Parameters
    ----------
    name : {'auto', 'numpy', 'compiled'}
    device : {'cpu', 'cuda'}

    Raises
    ------
    ValueError
        If there is not.
    """
    if name not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {name!r}")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cuda" and name == "compiled":
        raise ValueError("the engine compiled is for the CPU, but the device cuda was asked for: name one of them")


@dataclass(frozen=True)
class Steps:
    """The two steps of an engine; see `Engine.begin` and `Engine.finish`."""

    begin: Callable[[Gray, str], Any]
    finish: Callable[[list[Any], str], Sequence[NDArray[np.float32]]] = lambda features, _: features


def load_torch(device: str) -> Steps:
    """Load torch: while it measures one batch on its device, threads decode and send the next.

    Parameters
    ----------
    device : str
        As torch names it.

    Raises
    ------
    MissingExtraError
        If torch is not installed.
    ValueError
        If torch does not find the device.
    """
    with needs_extra("gpu", "Measuring on a GPU"):
        import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("the device cuda was asked for, but torch finds none: leave --device out")

    def send(gray: Gray, _: str) -> Any:
        return torch.asarray(np.array(gray), device=device)

    def extract(planes: list[Any], feature_set: str) -> list[NDArray[np.float32]]:
        return list(torch.stack(extract_many(planes, feature_set)).cpu().numpy()) if planes else []

    return Steps(send, extract)


def _load_compiled(feature_set: str) -> Steps:
    from blurgate.measuring import kernel

    kernel.prepare(feature_set)
    return Steps(kernel.extract_features)
