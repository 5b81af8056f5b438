"""Gray -> a net's answers; ONNX Runtime runs the net."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import needs_extra
from blurgate.measuring.blocks import BLOCK
from blurgate.photos.images import Gray

FIELD = 192  # pixels: the side of the pictures that nets are trained on
MOST_PIXELS = 2**20  # of a photo that is looked at: memory is bounded whatever its shape


@dataclass(frozen=True)
class Net:
    """A net that judges photos of any size.

    Parameters
    ----------
    onnx : bytes
        The file. Input: ``gray`` of shape (1, 1, height, width), 0 to 255, float32, sides multiples of 8. Outputs:
        ``answers`` of shape (1, 2), see `blurgate.judging.inputs.NET_OUTPUTS`, and ``map`` of shape (1, rows, columns),
        the log-odds of blurred place by place.

    References
    ----------
    .. [1] ONNX Runtime, https://onnxruntime.ai
    """

    onnx: bytes = field(repr=False)

    @cached_property
    def name(self) -> str:
        """Tell this net from others: ``net-`` and eight digits of its bytes' SHA-256."""
        return f"net-{hashlib.sha256(self.onnx).hexdigest()[:8]}"

    def predict(self, gray: Gray) -> NDArray[np.float32]:
        """Look at a photo.

        A photo with a side shorter than `FIELD` is continued by its mirror image; of one with more than `MOST_PIXELS`
        the middle is looked at.

        Parameters
        ----------
        gray : ndarray of shape (height, width), uint8

        Returns
        -------
        ndarray of shape (2,), float32
            `blurgate.judging.inputs.NET_OUTPUTS`.

        Raises
        ------
        MissingExtraError
            If ONNX Runtime is not installed.
        ValueError
            If `gray` is not 2-D, or the net is damaged.
        """
        return np.asarray(self._run("answers", gray)[0], dtype=np.float32)

    def predict_map(self, gray: Gray) -> NDArray[np.float32]:
        """Say the log-odds of blurred for every place of a photo: -> (rows, columns); see `predict`."""
        return np.asarray(self._run("map", gray)[0], dtype=np.float32)

    def check(self) -> None:
        """Raise the errors of `predict` that are the net's."""
        if not np.isfinite(self.predict(np.zeros((FIELD, FIELD), np.uint8))).all():
            raise ValueError("the net answers what is no number")

    def __reduce__(self) -> tuple[type[Net], tuple[bytes]]:
        """Leave out what runs it, which cannot be pickled and is made anew."""
        return type(self), (self.onnx,)

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


def _fit(gray: Gray) -> NDArray[np.float32]:
    """Mirror what is too small, cut what is too long, drop what is no whole block."""
    missing = [max(0, FIELD - side) for side in gray.shape]
    if any(missing):
        gray = np.pad(gray, [(0, more) for more in missing], mode="symmetric")
    longest = max(FIELD, MOST_PIXELS // min(gray.shape)) if gray.size > MOST_PIXELS else max(gray.shape)
    (top, height), (left, width) = (_middle(side, longest) for side in gray.shape)
    return gray[top : top + height, left : left + width].astype(np.float32)


def _middle(side: int, longest: int) -> tuple[int, int]:
    """Say where the middle of a side begins, and how long it is in whole blocks."""
    length = min(side, longest) // BLOCK * BLOCK
    return (side - length) // 2 if side > longest else 0, length
