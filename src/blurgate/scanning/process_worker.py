"""A process that judges photos for a scan; `blurgate.scanning.processes` starts it and speaks with it.

It begins as a template that loads the model and all that runs it, and forks a worker whenever it is asked to: workers
start in milliseconds and share what the template has loaded. It runs no thread before it forks. A worker ends at once
when the scan has gone, whatever it is at: the system then closes its connection.
"""

from __future__ import annotations

import gc
import os
import pickle
import queue
import resource
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from blurgate.errors import BlurgateError
from blurgate.photos.images import encode_jpeg, read_gray
from blurgate.scanning.items import Item
from blurgate.scanning.judge import Judge

REQUEST = struct.Struct("!QQ")  # numbers of the worker to start and of its dead predecessor; 0: it has none


def main() -> None:
    """Load what is in the file whose number is the first argument, and fork workers for who holds the socket."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash would write the photo to the disk
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the scan, which ends its processes itself
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # they name no photo, and nobody can act on them
    content, control = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    with suppress(BrokenPipeError, ConnectionResetError):  # the scan has gone
        _serve(content, control)
    os._exit(0)


def _serve(content: int, control: socket.socket) -> None:
    answers = Connection(os.dup(control.fileno()))
    try:
        with os.fdopen(content, "rb") as file:
            judge, Image.MAX_IMAGE_PIXELS = pickle.load(file)  # noqa: S301 the scan has written it
        judge.prepare()
        read_gray(encode_jpeg(np.zeros((64, 64, 1), np.uint8), quality=90))  # loads what reads most photos
    except Exception as error:
        answers.send(_make_sendable(error))
        return
    gc.freeze()  # else each worker would write to all that it shares, and so get a copy
    workers: dict[int, int] = {}
    while True:
        request, passed, *_ = socket.recv_fds(control, REQUEST.size, 1)
        if not request:
            break
        number, predecessor = REQUEST.unpack(request)
        status = os.waitpid(workers.pop(predecessor), 0)[1] if predecessor in workers else 0
        try:
            workers[number] = os.fork() or _judge_forever(judge, passed[0], control, answers)
        except OSError as error:  # the machine has no room for it
            answers.send(error)
            return
        os.close(passed[0])
        answers.send((number, status))
    for pid in workers.values():
        os.waitpid(pid, 0)


def _judge_forever(judge: Judge, number: int, control: socket.socket, answers: Connection) -> NoReturn:
    """Judge chunks of photos until the scan has gone."""
    try:
        control.close()
        answers.close()
        with Connection(number) as scan:
            chunks: queue.SimpleQueue[list[Item]] = queue.SimpleQueue()
            threading.Thread(target=_receive, args=(scan, chunks), daemon=True).start()
            while True:
                items = chunks.get()
                begun = time.perf_counter()
                answer = _judge(judge, items)
                scan.send((answer, (time.perf_counter() - begun) / len(items)))
    except BaseException:
        os._exit(1)


def _receive(scan: Connection, chunks: queue.SimpleQueue[list[Item]]) -> NoReturn:
    """Take chunks as they come, so that the scan never waits until they are taken."""
    try:
        while True:
            chunks.put(scan.recv())
    finally:
        os._exit(0)


def _judge(judge: Judge, items: list[Item]) -> Any:
    try:
        return [(each.evidence, each.problem) for each in judge.judge(items)]
    except Exception as error:
        return _make_sendable(error)


def _make_sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 it was written a moment ago
    except Exception:
        return BlurgateError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    main()
