"""Work on many items in parallel and in order, with progress.

Threads are enough because decoding, encoding and array arithmetic all release the global interpreter lock.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")

PAUSE: Any = object()  # among the items of `run_in_order`: there are none for now

_LIMIT = Path("/sys/fs/cgroup/cpu.max")  # of a container on Linux: microseconds of CPU time in each period
_PATIENCE = 0.5  # seconds that an interrupt waits for work in progress: a photo may take ten to decode
_QUEUED = 2  # items in flight per thread: enough to keep all threads busy, few enough to hold in memory


class Track(Protocol):
    """Shows the progress of a long job, whose items pass through it one by one."""

    def __call__(self, items: Iterable[T], /, *, total: int, doing: str) -> Iterable[T]:
        """Pass the items on; `total` is their number, `doing` describes the work."""
        ...


def no_track(items: Iterable[T], /, *, total: int, doing: str) -> Iterable[T]:  # noqa: ARG001 the signature of Track
    """Pass the items on without showing progress; a `Track`.

    Parameters
    ----------
    items : iterable
    total : int
        Number of items; ignored.
    doing : str
        Description of the work; ignored.

    Returns
    -------
    iterable
        `items` itself.
    """
    return items


@contextmanager
def track_step(track: Track, doing: str) -> Iterator[None]:
    """Show one long step as progress.

    Parameters
    ----------
    track : Track
    doing : str
        Describes the work.

    Yields
    ------
    None
    """
    steps = iter(track(range(1), total=1, doing=doing))
    next(steps)
    try:
        yield
    finally:  # what shows the progress has to end before an error is printed
        for _ in steps:
            pass


def count_cores() -> int:
    """Count the cores that this process may use: a container may own a part of the machine's.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> 1 <= count_cores() <= os.cpu_count()
    True
    """
    affinity = getattr(os, "sched_getaffinity", None)  # not on Windows and macOS
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # ValueError: no limit
        quota, period = map(int, _LIMIT.read_text().split())
        cores = min(cores, -(-quota // period))
    return max(1, cores)


def run_in_order(
    work: Callable[[T], R], items: Iterable[T], *, jobs: int | None = None, known: Callable[[T], R | None] | None = None
) -> Iterator[R]:
    """Do the work on several threads and yield the results in the order of the items.

    An exception from `work`, `known` or `items` ends the run, cancels work that has not started, and waits for what is
    in progress. After an interrupt, or if the caller takes no more results, that wait ends after half a second, and
    nobody gets the results of what is still in progress.

    Parameters
    ----------
    work : callable
        Item -> result.
    items : iterable
        Consumed as needed; at most two for each thread are held at a time. `PAUSE` among them says that the next may
        take long: what is in flight is then yielded first, and `PAUSE` itself after it.
    jobs : int, optional
        Number of threads; by default one per core.
    known : callable, optional
        Item -> its result if that is known without work, else None. Called in the caller's thread, since handing the
        item to another would cost more than the call.

    Yields
    ------
    object
        Result of each item.

    Raises
    ------
    ValueError
        If `jobs` is below 1.

    Examples
    --------
    >>> list(run_in_order(abs, [-3, 1, -2], jobs=2))
    [3, 1, 2]
    """
    with _take_threads(jobs) as (pool, in_flight, most):

        def start(item: T) -> Future[R] | _Known[R]:
            result = known(item) if known else None
            return pool.submit(work, item) if result is None else _Known(result)

        def take(down_to: int) -> Iterator[R]:
            while len(in_flight) > down_to:
                in_flight[0].result()  # an interrupt while it waits finds what is in progress still listed
                yield in_flight.popleft().result()

        for item in items:
            if item is PAUSE:
                yield from take(0)
                yield cast(R, PAUSE)
                continue
            in_flight.append(start(item))
            del item  # it may be a whole picture
            yield from take(most - 1)
        yield from take(0)


@contextmanager
def work_beside(work: Callable[[T], object], *, jobs: int | None = None) -> Iterator[Callable[[T], None]]:
    """Do work on several threads beside a loop, which hands over one item after another and goes on.

    The block ends once all work is done. Exceptions from `work` are raised where the next items are handed over, or at
    the end; they, and those of the block itself, cancel work that has not started, as in `run_in_order`.

    Parameters
    ----------
    work : callable
        Item -> anything.
    jobs : int, optional
        Number of threads; by default one per core. At most two items for each are held: handing over another waits.

    Yields
    ------
    callable
        Takes an item.

    Raises
    ------
    ValueError
        If `jobs` is below 1.

    Examples
    --------
    >>> done = []
    >>> with work_beside(done.append, jobs=1) as hand_over:
    ...     hand_over("a")
    >>> done
    ['a']
    """
    with _take_threads(jobs) as (pool, in_flight, most):

        def wait_for(down_to: int) -> None:
            while len(in_flight) > down_to:
                in_flight[0].result()
                in_flight.popleft()

        def hand_over(item: T) -> None:
            in_flight.append(pool.submit(work, item))
            wait_for(most - 1)

        yield hand_over
        wait_for(0)


@contextmanager
def _take_threads(jobs: int | None) -> Iterator[tuple[ThreadPoolExecutor, deque[Any], int]]:
    """Take threads; also give a list of what they have to do, and how much of it to hold at a time."""
    jobs = count_cores() if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    # the threads already use all cores: more threads, started by BLAS under each, would only get in the way
    with threadpool_limits(limits=1, user_api="blas"):
        pool = ThreadPoolExecutor(jobs)
        in_flight: deque[Any] = deque()
        left = False
        try:
            yield pool, in_flight, jobs * _QUEUED
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            left = True
            raise
        finally:
            pool.shutdown(wait=not left, cancel_futures=True)
            if left:  # so that what is written is written, and may be removed
                running = [each for each in in_flight if isinstance(each, Future) and each.running()]
                wait(running, timeout=_PATIENCE)


def run_aside(work: Callable[[], R]) -> R:
    """Do the work on another thread than the main one, and wait for it.

    Python raises the exception of a signal in the main thread, wherever that is. Inside a function that a C library
    calls back it would be dropped, and the library would go on with half of the data.

    Parameters
    ----------
    work : callable
        Without arguments.

    Returns
    -------
    object
        Its result.

    Examples
    --------
    >>> run_aside(list)
    []
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    (result,) = run_in_order(lambda _: work(), [None], jobs=1)
    return result


@dataclass(frozen=True, slots=True)
class _Known(Generic[R]):
    value: R

    def result(self) -> R:
        return self.value
