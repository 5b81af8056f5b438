"""Judge photos in several processes, which no lock of the interpreter keeps from running at the same time.

The scan hands out chunks of photos and takes their evidence, on one thread. Each process has a chunk in work and the
next one waiting. See `blurgate.scanning.process_worker` for the other side.
"""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, takewhile
from multiprocessing.connection import Connection, wait
from typing import Any

from PIL import Image

from blurgate.errors import BlurgateError, MachineError, find_machine_error
from blurgate.judging.verdicts import Evidence
from blurgate.photos.images import path_of
from blurgate.scanning.items import Item
from blurgate.scanning.judge import BATCH, Judge, Judged
from blurgate.scanning.process_worker import REQUEST
from blurgate.threads import PAUSE

_COMMAND = (sys.executable, "-P", "-m", "blurgate.scanning.process_worker")  # -P: no import from the current folder
_FIRST = 0.025  # seconds that the first photos are expected to take each
_LARGEST = 2 * BATCH  # photos in a chunk
_CHUNK = 0.1  # seconds that a chunk should take: long beside what handing it over costs
_CHUNK_BYTES = 2**23  # of photos in memory in a chunk
_AHEAD_BYTES = 2**25  # of photos in memory that are held for each process
_WAITING = 2  # chunks that a process has at a time: one in work, one waiting
_AHEAD = 4 * _LARGEST  # photos per process whose evidence may wait for that of a slow one before them
_PATIENCE = 10.0  # seconds for processes to end by themselves
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGSYS", "SIGTRAP")  # whatever the machine is like
_KILLED = (
    "processes that judge photos are ended from outside ({}), as a system does that runs out of memory: free memory, "
    "or lower --jobs"
)
_END: Any = object()


@dataclass(slots=True, eq=False)
class _Chunk:
    """Photos that are handed out together, and what was found, or raised."""

    items: list[Item]
    answer: list[Judged] | BaseException | None = None
    deaths: int = 0  # of processes that had it in work


@dataclass(slots=True, eq=False)
class _Worker:
    number: int
    connection: Connection
    chunks: deque[_Chunk] = field(default_factory=deque)  # in the order in which it answers


class Processes:
    """Processes that judge the photos of a scan, used as a context: leaving it ends them.

    They also end if this process is killed. A photo that has crashed two of them gets an error.

    Parameters
    ----------
    judge : Judge
    count : int
        How many.

    Raises
    ------
    ValueError
        If `count` is below 1.
    """

    def __init__(self, judge: Judge, count: int) -> None:
        if count < 1:
            raise ValueError(f"jobs must be at least 1, got {count}")
        self._judge, self._count, self._seconds = judge, count, _FIRST
        self._template: _Template | None = None
        self._workers: list[_Worker] = []
        self._bytes = 0  # of photos in memory that are held
        self._ahead: deque[Item] = deque()  # photos that are in no chunk yet
        self._again: deque[_Chunk] = deque()  # chunks of processes that have died
        self._order: deque[_Chunk] = deque()  # chunks whose evidence has not been passed on

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for worker in self._workers:
            worker.connection.close()
        if self._template:
            self._template.end(now=kind is not None)

    def judge(self, items: Iterable[Item]) -> Iterator[list[Judged]]:
        """Judge photos; the processes start once a photo needs them.

        Parameters
        ----------
        items : iterable of Item
            `PAUSE` among them says that the next may take long: all before it are judged first.

        Yields
        ------
        list of Judged
            Some photos at a time, in order.

        Raises
        ------
        MachineError
            If the processes cannot be started, or that which starts them is killed.
        BlurgateError
            What loading the model or judging a photo has raised: see `Judge.judge`.
        """
        source = iter(items)
        while (first := next(source, _END)) is not _END:
            if first is not PAUSE:
                yield from self._judge_run(chain([first], takewhile(lambda item: item is not PAUSE, source)))

    def _judge_run(self, items: Iterator[Item]) -> Iterator[list[Judged]]:
        while self._hand_out(items) or self._order:
            if (answer := self._order[0].answer) is not None:
                self._order.popleft()
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
            done = self._order and self._order[0].answer is not None
            self._take_answers(0 if done or not self._order else None)

    def _hand_out(self, items: Iterator[Item]) -> bool:
        """Look ahead, and hand photos to processes that have too few; False if there are none left."""
        ended = self._look_ahead(items)
        size = max(1, min(_LARGEST, int(_CHUNK / self._seconds)))
        if ended:  # the last ones: no process should have many of them while others have none
            size = min(size, -(-len(self._ahead) // (self._count * _WAITING)))
        while self._again or (self._ahead and sum(len(each.items) for each in self._order) < self._count * _AHEAD):
            if not self._again and not _is_sent(self._ahead[0]):
                self._order.append(self._judge_here())
                continue
            worker = min(self._workers or self._start(), key=lambda each: len(each.chunks))
            if len(worker.chunks) == _WAITING:
                break
            if self._again:
                chunk = self._again.popleft()
            else:
                chunk = self._cut_chunk(size)
                self._order.append(chunk)
            worker.chunks.append(chunk)
            with suppress(OSError):  # if it has died, `_take_answers` finds out
                worker.connection.send([replace(item, status=None) for item in chunk.items])
        return bool(self._ahead) or not ended

    def _look_ahead(self, items: Iterator[Item]) -> bool:
        """Take photos, as many as may be held; True if there are no more."""
        while len(self._ahead) < self._count * _WAITING * _LARGEST and self._bytes < self._count * _AHEAD_BYTES:
            item = next(items, _END)
            if item is _END:
                return True
            self._ahead.append(item)
            self._bytes += _weigh(item)
        return False

    def _judge_here(self) -> _Chunk:
        """Judge photos that are known already, or that no other process can read."""
        items: list[Item] = []
        while self._ahead and not _is_sent(self._ahead[0]) and len(items) < BATCH:
            items.append(self._ahead.popleft())
        return _Chunk(items, self._judge.judge(items))

    def _cut_chunk(self, most: int) -> _Chunk:
        items = [self._ahead.popleft()]
        size = _weigh(items[0])
        while self._ahead and _is_sent(self._ahead[0]) and len(items) < most and size < _CHUNK_BYTES:
            items.append(self._ahead.popleft())
            size += _weigh(items[-1])
        return _Chunk(items)

    def _take_answers(self, timeout: float | None) -> None:
        """Take what processes have found; wait until there is something, unless there is a timeout."""
        if not self._template:
            return
        ready = wait([self._template.answers, *(worker.connection for worker in self._workers)], timeout)
        if self._template.answers in ready:
            self._template.check()
        for worker in [each for each in self._workers if each.connection in ready]:
            try:
                answer, seconds = worker.connection.recv()
            except (EOFError, OSError):
                self._replace(worker)
                continue
            chunk = worker.chunks.popleft()
            self._drop_photos(chunk)
            chunk.answer = answer if isinstance(answer, BaseException) else _join(chunk.items, answer)
            self._seconds += (seconds - self._seconds) / 4

    def _drop_photos(self, chunk: _Chunk) -> None:
        """Forget photos in memory that are judged."""
        self._bytes -= sum(map(_weigh, chunk.items))
        chunk.items = [replace(item, photo=None) if _weigh(item) else item for item in chunk.items]

    def _start(self) -> list[_Worker]:
        self._template = _Template(self._judge)
        for number in range(1, self._count + 1):
            self._workers.append(_Worker(number, self._template.fork(number)))
        return self._workers

    def _replace(self, worker: _Worker) -> None:
        """Replace a process that has died; what it had in work may be why."""
        assert self._template  # noqa: S101 for type checkers: it has started the process
        worker.connection.close()
        number = max(each.number for each in self._workers) + 1
        started = _Worker(number, self._template.fork(number, worker.number))
        self._workers[self._workers.index(worker)] = started
        code = self._template.wait_for(number)
        if not worker.chunks:
            return
        crashed, *others = worker.chunks
        crashed.deaths += 1
        if len(crashed.items) > 1:
            alone = [_Chunk([item], deaths=crashed.deaths) for item in crashed.items]
            place = self._order.index(crashed)
            del self._order[place]
            for chunk in reversed(alone):
                self._order.insert(place, chunk)
            self._again.extendleft(reversed([*alone, *others]))
        elif crashed.deaths > 1:
            crashed.answer = [_describe_crash(crashed.items[0], code)]
            self._drop_photos(crashed)
            self._again.extendleft(reversed(others))
        else:
            self._again.extendleft(reversed([crashed, *others]))


class _Template:
    """The process that has loaded the model and forks the others."""

    def __init__(self, judge: Judge) -> None:
        ours, theirs = socket.socketpair()
        try:
            with os.fdopen(os.memfd_create("blurgate judge"), "wb") as content:
                pickle.dump((judge, Image.MAX_IMAGE_PIXELS), content)
                content.seek(0)
                passed = (content.fileno(), theirs.fileno())
                self._process = subprocess.Popen(  # noqa: S603 this is blurgate
                    [*_COMMAND, *map(str, passed)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=passed,
                    start_new_session=True,  # Ctrl-C in a terminal is for the scan, which ends them all at once
                    env={**os.environ, **_ONE_THREAD},
                )
        except OSError as error:
            ours.close()
            raise _fail(error) from error
        finally:
            theirs.close()
        self._requests, self.answers = ours, Connection(os.dup(ours.fileno()))

    def fork(self, number: int, predecessor: int = 0) -> Connection:
        """Ask for a process, or for one in place of another that has died; what it is sent waits until it is there."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._requests, [REQUEST.pack(number, predecessor)], [theirs.fileno()])
            except OSError as error:
                self.check()
                raise _fail(error) from error
        return Connection(ours.detach())

    def wait_for(self, number: int) -> int:
        """Wait until a process has started; -> how its predecessor ended: a signal is negative."""
        while (started := self.check())[0] != number:
            pass
        return os.waitstatus_to_exitcode(started[1])

    def check(self) -> tuple[int, int]:
        """Take an answer: the number of a process that has started, and the status of its predecessor."""
        try:
            answer: Any = self.answers.recv()
        except (EOFError, OSError) as error:
            code = self._process.wait()
            raise MachineError(
                f"the process that starts those that judge photos has ended ({_name(code)}): free memory, lower "
                "--jobs, or see what it printed",
                errno.ENOMEM,
            ) from error
        if isinstance(answer, OSError):
            raise _fail(answer) from answer
        if isinstance(answer, BaseException):
            raise answer
        return answer[0], answer[1]

    def end(self, *, now: bool) -> None:
        """End it, and with it all others."""
        self._requests.close()
        self.answers.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if now else _PATIENCE)
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _is_sent(item: Item) -> bool:
    return item.evidence is None and isinstance(item.photo, str | bytes)


def _weigh(item: Item) -> int:
    return len(item.photo) if isinstance(item.photo, bytes) else 0


def _join(items: list[Item], found: list[tuple[Evidence, MachineError | None]]) -> list[Judged]:
    return [Judged(replace(item, photo=None), *each) for item, each in zip(items, found, strict=True)]


def _describe_crash(item: Item, code: int) -> Judged:
    path = item.path or path_of(item.photo)
    error = (
        f"{path or 'the photo'} crashed the process that read it ({_name(code)}): see whether another program opens it"
    )
    problem = None if _name(code) in _CRASHES else MachineError(_KILLED.format(_name(code)), errno.ENOMEM)
    return Judged(replace(item, photo=None), Evidence(path, error=error), problem)


def _name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"


def _fail(error: OSError) -> BlurgateError:
    return find_machine_error(error) or BlurgateError(
        f"processes that judge photos cannot be started ({error.strerror or error}): lower --jobs"
    )
