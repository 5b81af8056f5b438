"""A process that judges photos for the server, one at a time: ``python -m blurgate.serving.worker``.

A photo that takes too long, or crashes what decodes it, costs this process and nothing else.
"""

from __future__ import annotations

import base64
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np

from blurgate.errors import BlurgateError, MissingExtraError, NetError, PhotoError, find_machine_error
from blurgate.judging.explaining import explain_plane
from blurgate.judging.model import BlurModel, find_bounds, load_model
from blurgate.judging.sentences import describe
from blurgate.judging.verdicts import Verdict, decide
from blurgate.measuring.engines import MANY, Engine
from blurgate.photos.images import disable_pillow_size_limit, encode_png, is_picture, read_plane
from blurgate.photos.limits import LimitError
from blurgate.scanning.overlays import draw_overlay
from blurgate.serving import wire

_SPARE = 5.0  # seconds that a photo may take longer than the server waits for it


@dataclass(frozen=True)
class Judge:
    """A model, and how the service decides by it.

    Parameters
    ----------
    model : BlurModel
    engine : Engine
    bounds : (float, float)
        See `blurgate.judging.model.find_bounds`.
    max_megapixels : float
    photo_time : float
        Seconds for a photo.
    """

    model: BlurModel
    engine: Engine
    bounds: tuple[float, float]
    max_megapixels: float
    photo_time: float

    def answer(self, photo: bytes, map: str) -> dict[str, Any]:  # noqa: A002 the word of the interface
        """Judge a photo.

        Parameters
        ----------
        photo : bytes
            Content of a picture file.
        map : {'', 'png', 'overlay'}
            The map to draw, if any.

        Returns
        -------
        dict
            ``verdict`` with sentence and map, ``seconds`` of reading and judging; and ``failure``, the name of a
            problem in `blurgate.serving.problems.PROBLEMS`, if there is no verdict but an error.
        """
        started = read = time.perf_counter()
        sentence, drawn, failure = "", None, ""
        try:
            plane = read_plane(
                photo,
                min_side=1,
                max_pixels=self.model.inputs.measured.max_pixels,
                max_megapixels=self.max_megapixels,
            )
            read = time.perf_counter()
            evidence = self.model.judge([self.model.measure_plane(plane, extract=self.engine.begin)])[0]
            verdict = decide(evidence, self.bounds[1], self.bounds)
            if map:
                explanation = explain_plane(verdict, plane, self.model)
                sentence = explanation.sentence
                picture = draw_overlay(explanation.map) if map == "overlay" else _draw(explanation)
                drawn = base64.b64encode(picture).decode()
            else:
                sentence = describe(verdict)
        except (PhotoError, MissingExtraError) as error:
            failure, verdict = _classify(error, photo), Verdict(error=_describe(error))
            sentence = describe(verdict)
        except (NetError, MemoryError) as error:
            failure, verdict = "failed" if isinstance(error, NetError) else "busy", Verdict(error="it was not judged")
        judged = time.perf_counter()
        shown = {**asdict(verdict), "sentence": sentence, "map": drawn}
        return {"verdict": shown, "failure": failure, "seconds": [read - started, judged - read]}


def _draw(explanation: Any) -> bytes:
    known = explanation.verdict.probability is not None
    return encode_png(explanation.to_gray(), holds="map") if known else b""


def _describe(error: BlurgateError) -> str:
    """Say what is wrong with a photo to somebody who cannot change the limits of the service."""
    cause = error.__cause__
    return (
        f"the picture cannot be judged: {cause.problem}: send a smaller one"
        if isinstance(cause, LimitError)
        else str(error)
    )


def _classify(error: BlurgateError, photo: bytes) -> str:
    """Name the problem of a photo that cannot be read."""
    if find_machine_error(error):
        return "busy"
    if isinstance(error, MissingExtraError) or not is_picture(photo[:32]):
        return "no-picture"
    return "unreadable"


def main() -> None:
    """Judge photos that come on stdin until it ends; answers go to stdout."""
    with suppress(ImportError):  # on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash would write the photo to the disk
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the server, which ends this process when it is done
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between answers
    shared = wire.SharedFile(int(sys.argv[1])) if len(sys.argv) > 1 else None
    try:
        _work(sys.stdin.buffer, answers, shared)
    except BrokenPipeError:
        os._exit(0)  # the server is gone


def _work(questions: BinaryIO, answers: BinaryIO, shared: wire.SharedFile | None) -> None:
    asked = wire.read(questions)
    if asked is None:
        return
    try:
        judge = _prepare(**asked[0])
    except (BlurgateError, ValueError) as error:
        _send(answers, {"error": str(error)})
        return
    _send(answers, {"fingerprint": judge.model.fingerprint})
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 a decoder may print what is in a photo
        os.dup2(nowhere.fileno(), 2)
        os.dup2(nowhere.fileno(), 1)
    while asked := wire.read(questions):
        head, content = asked
        photo = shared.read(head["shared"]) if shared else content
        with _end_after(judge.photo_time + _SPARE):
            answer = judge.answer(photo, head["map"])
        _send(answers, answer)
        del asked, content, photo  # it may be large, and the next may be long in coming


@contextmanager
def _end_after(seconds: float) -> Iterator[None]:
    """End this process if the block takes longer: the server would, but it may be gone."""
    if not hasattr(signal, "setitimer"):  # on Windows
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


def _prepare(model: str, threshold: float | None, review: Any, max_megapixels: float, photo_time: float) -> Judge:
    disable_pillow_size_limit()
    loaded = load_model(model)
    bounds = find_bounds(loaded, threshold, review)
    loaded = loaded.with_threshold(bounds[0])
    engine = Engine("auto", "cpu", count=MANY)
    engine.prepare()
    judge = Judge(loaded, engine, bounds, max_megapixels, photo_time)
    first = (np.indices((256, 256)).sum(axis=0) % 11 * 20).astype(np.uint8)
    found = judge.answer(encode_png(first, holds="warm-up"), "overlay")  # loads and compiles what the first photo needs
    if found["failure"]:
        raise BlurgateError(f"a photo made to try it cannot be judged: {found['verdict']['error']}")
    return judge


def _send(answers: BinaryIO, head: dict[str, Any]) -> None:
    for part in wire.pack(head):
        answers.write(part)
    answers.flush()


if __name__ == "__main__":
    main()
