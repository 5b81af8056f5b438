"""Gray -> outputs of a net that judges, run by ONNX Runtime; what all nets share."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from threading import Lock
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import NetError
from blurgate.judging.inputs import NET_OUTPUTS
from blurgate.measuring.blocks import BLOCK
from blurgate.photos.images import Gray

TRAINED_SIDE = 192  # pixels; side of the pictures that nets are trained on
MAX_PIXELS = 2**20  # that a net reads of one photo: bounds the memory, whatever the photo's shape

MOST_ANSWER = 1e6  # in size; the shipped nets stay below 100
_MEMORY = max(2**30, 2**25 * (os.cpu_count() or 1))  # bytes, for all photos in work; one takes less than 2^24
_INSTALL = "pip install onnxruntime"
_starting = Lock()  # the first photos ask from several threads, and one session serves them all


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that answers for one photo at a time.

    Parameters
    ----------
    onnx : bytes
        Content of the file. Input: ``gray`` of shape (1, 1, height, width), 0 to 255, float32.
    """

    onnx: bytes = field(repr=False)
    kind: ClassVar[str] = "net"
    remedy: ClassVar[str] = "copy the model again, or leave the net out with --model trees"

    @cached_property
    def name(self) -> str:
        """Identifies the file: its kind, such as ``net``, and the first eight hex digits of its SHA-256."""
        return f"{self.kind}-{hashlib.sha256(self.onnx).hexdigest()[:8]}"

    def __reduce__(self) -> tuple[type[OnnxFile], tuple[bytes]]:
        """Pickle only the file: an ONNX Runtime session cannot be pickled, and is created again when needed."""
        return type(self), (self.onnx,)

    def run(self, output: str, planes: NDArray[np.float32]) -> Any:
        """Compute one output.

        Parameters
        ----------
        output : str
        planes : ndarray of shape (1, 1, height, width), float32

        Returns
        -------
        ndarray

        Raises
        ------
        NetError
            If ONNX Runtime is missing or broken, or the file is damaged.
        """
        with _starting:
            session = self._session
        try:
            return session.run([output], {"gray": planes})[0]
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise NetError(
                f"{self.name} must give its {output}, but ONNX Runtime cannot run it ({_first_line(error)}): "
                f"{self.remedy}"
            ) from error

    @cached_property
    def _session(self) -> Any:
        runtime = _import_runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # photos already run in parallel
        options.add_session_config_entry("session.use_env_allocators", "1")  # see _limit_memory
        try:
            return runtime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise NetError(
                f"{self.name} cannot be read by ONNX Runtime {runtime.__version__} ({_first_line(error)}): copy the "
                f"model again, update ONNX Runtime with {_INSTALL} --upgrade, or leave the net out with --model trees"
            ) from error


@dataclass(frozen=True)
class Net(OnnxFile):
    """A net that judges photos of any size.

    Parameters
    ----------
    onnx : bytes
        Content of the ONNX file. Input: ``gray`` of shape (1, 1, height, width), 0 to 255, float32, sides multiples of
        8. Outputs: ``answers`` of shape (1, 2), see `blurgate.judging.inputs.NET_OUTPUTS`, and ``map`` of shape
        (1, rows, columns), the log-odds of blurred at each place of a coarse grid.

    References
    ----------
    .. [1] ONNX Runtime, https://onnxruntime.ai
    """

    def predict(self, gray: Gray) -> NDArray[np.float32]:
        """Predict the log-odds of blurred and the strength of a photo: the means of two looks at it.

        The second look is at the photo mirrored about its other diagonal: rows become columns, and what lay at the end
        of a side, where an incomplete block is dropped, lies at its start. Two looks rank real blur better than one.

        A side shorter than `TRAINED_SIDE` is extended by its mirror image. A photo of more than `MAX_PIXELS` is cropped
        to its middle.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8

        Returns
        -------
        ndarray of shape (2,), float32
            In the order of `blurgate.judging.inputs.NET_OUTPUTS`.

        Raises
        ------
        NetError
            If ONNX Runtime is missing or broken, or the net is damaged or answers with other than two finite numbers.
        ValueError
            If `gray` is not 2-D.
        """
        looks = [self._run("answers", plane)[0] for plane in (gray, gray[::-1, ::-1].T)]
        with np.errstate(over="ignore", invalid="ignore"):  # a damaged net may answer with anything
            answers = np.asarray(np.mean(looks, axis=0), dtype=np.float32)
        if answers.shape != (len(NET_OUTPUTS),) or not (np.abs(answers) <= MOST_ANSWER).all():  # NaN is not
            raise NetError(
                f"{self.name} must answer with {len(NET_OUTPUTS)} finite numbers of at most {MOST_ANSWER:,.0f}, got "
                f"{answers.tolist()}: copy the model again, or leave the net out with --model trees"
            )
        return answers

    def predict_map(self, gray: Gray) -> NDArray[np.float32]:
        """Predict the log-odds of blurred at each place of a coarse grid, of shape (rows, columns); see `predict`."""
        return np.asarray(self._run("map", gray)[0], dtype=np.float32)

    def check(self) -> None:
        """Run the net once, to see that it works.

        Raises
        ------
        NetError
            See `predict`.
        """
        self.predict(np.zeros((TRAINED_SIDE, TRAINED_SIDE), np.uint8))

    def _run(self, output: str, gray: Gray) -> Any:
        require_plane(gray)
        return self.run(output, _fit(gray)[np.newaxis, np.newaxis])


def require_plane(gray: Gray) -> None:
    """Check that an array is one plane.

    Raises
    ------
    ValueError
        If it is not 2-D.
    """
    if gray.ndim != 2:
        raise ValueError(f"gray must be 2-D (height, width), got shape {gray.shape}")


def require_runtime() -> None:
    """Check that ONNX Runtime is installed, without importing it: a scan in which no net is asked never does.

    Raises
    ------
    NetError
        If it is not installed.
    """
    found = find_spec("onnxruntime")
    if found is None or found.origin is None:  # what is left of a half removed package is a folder without a module
        raise NetError(
            "the model has a net, which needs ONNX Runtime, but that is not installed: install it with "
            f"{_INSTALL}, or leave the net out with --model trees"
        )


def _import_runtime() -> Any:
    require_runtime()
    # from 1.32 on it notes each session, with what identifies the machine, in the home folder, and sends that to its
    # maker: nobody who judges photos has asked for that
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        _limit_memory(onnxruntime)
    except Exception as error:  # a system library may be missing, or NumPy too old: their errors differ
        raise NetError(
            f"the model has a net, which needs ONNX Runtime, but that cannot be loaded ({_first_line(error)}): install "
            f"it again with {_INSTALL} --force-reinstall, or leave the net out with --model trees"
        ) from error
    return onnxruntime


@cache
def _limit_memory(runtime: Any) -> None:
    """Limit the memory of all nets together: how much a graph asks for is known only when it runs."""
    where = runtime.OrtMemoryInfo("Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT)
    default = -1
    runtime.create_and_register_allocator(where, runtime.OrtArenaCfg(_MEMORY, default, default, default))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _fit(gray: Gray) -> NDArray[np.float32]:
    """Extend short sides by their mirror image, crop large photos, and drop incomplete blocks."""
    missing = [max(0, TRAINED_SIDE - side) for side in gray.shape]
    if any(missing):
        gray = np.pad(gray, [(0, count) for count in missing], mode="symmetric")
    longest = max(TRAINED_SIDE, MAX_PIXELS // min(gray.shape)) if gray.size > MAX_PIXELS else max(gray.shape)
    (top, height), (left, width) = (_middle(side, longest) for side in gray.shape)
    return gray[top : top + height, left : left + width].astype(np.float32)


def _middle(side: int, longest: int) -> tuple[int, int]:
    """Find the part of a side to keep: -> its start, and its length in pixels, a multiple of the block size."""
    length = min(side, longest) // BLOCK * BLOCK
    return (side - length) // 2 if side > longest else 0, length
