"""Gray -> a net's answers; ONNX Runtime runs the net."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.blocks import BLOCK
from blurgate.errors import needs_extra
from blurgate.images import Gray

ANSWERS = ("blurred", "strength")  # log-odds before calibration; log2 of the strength in pixels and a bit
FIELD = 192  # pixels: the side of the pictures that nets are trained on


@dataclass(frozen=True)
class Net:
    """A net that judges photos of any size.

    Parameters
    ----------
    onnx : bytes
        The file: ``gray`` of shape (1, 1, height, width), 0 to 255, float32, sides multiples of 8, -> ``answers`` of
        shape (1, 2), `ANSWERS`, and ``map`` of shape (1, rows, columns), the log-odds of blurred place by place.

    References
    ----------
    .. [1] ONNX Runtime, https://onnxruntime.ai
    """

    onnx: bytes = field(repr=False)

    @cached_property
    def name(self) -> str:
        """Tell this net from others: ``net-`` and eight digits of its bytes' SHA-256."""
        return f"net-{hashlib.sha256(self.onnx).hexdigest()[:8]}"

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of its answers among a photo's features."""
        return name_answers(self.name)

    def answer(self, gray: Gray) -> NDArray[np.float32]:
        """Look at a photo.

        A photo with a side shorter than `FIELD` is continued by its mirror image.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8

        Returns
        -------
        ndarray of shape (2,), float32
            `ANSWERS`.

        Raises
        ------
        MissingExtraError
            If ONNX Runtime is not installed.
        ValueError
            If `gray` is not 2-D, or the net is damaged.
        """
        return np.asarray(self._run("answers", gray)[0], dtype=np.float32)

    def draw_map(self, gray: Gray) -> NDArray[np.float32]:
        """Say the log-odds of blurred for every place of a photo: -> (rows, columns); see `answer`."""
        return np.asarray(self._run("map", gray)[0], dtype=np.float32)

    def check(self) -> None:
        """Raise the errors of `answer` that are the net's."""
        self.answer(np.zeros((FIELD, FIELD), np.uint8))

    def _run(self, output: str, gray: Gray) -> Any:
        if gray.ndim != 2:
            raise ValueError(f"gray must be 2-D (height, width), got shape {gray.shape}")
        return self._session.run([output], {"gray": _fit(gray)[np.newaxis, np.newaxis]})[0]

    @cached_property
    def _session(self) -> Any:
        with needs_extra("net", "Judging by a net"):
            import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the photos are what runs side by side
        try:
            return onnxruntime.InferenceSession(self.onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            raise ValueError(f"the net cannot be read: {str(error).splitlines()[0]}") from error


def name_answers(net: str) -> tuple[str, ...]:
    """Name the columns of a net's answers: ``net-1a2b3c4d__blurred`` and so on."""
    return tuple(f"{net}__{answer}" for answer in ANSWERS)


def _fit(gray: Gray) -> NDArray[np.float32]:
    """Mirror what is too small; drop what is no whole block."""
    missing = [max(0, FIELD - side) for side in gray.shape]
    if any(missing):
        gray = np.pad(gray, [(0, more) for more in missing], mode="symmetric")
    height, width = (math.floor(side / BLOCK) * BLOCK for side in gray.shape)
    return gray[:height, :width].astype(np.float32)
