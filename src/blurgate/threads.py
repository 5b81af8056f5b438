"""The same work on many items: on all cores, in order, with its progress shown.

Threads serve here because decoding, encoding and array arithmetic all release Python's lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")

_QUEUED = 4  # items that wait or are done for each one at work: enough to keep all threads busy, few in memory


class Track(Protocol):
    """Shows how far a long job is: passes the items on, one by one."""

    def __call__(self, items: Iterable[T], /, *, total: int, doing: str) -> Iterable[T]:
        """Pass the items on; `total` is how many there will be, `doing` what is done."""
        ...


def no_track(items: Iterable[T], /, *, total: int, doing: str) -> Iterable[T]:  # noqa: ARG001 the signature of Track
    """Pass the items on and show nothing."""
    return items


def run_in_order(
    work: Callable[[T], R], items: Iterable[T], *, jobs: int | None = None, known: Callable[[T], R | None] | None = None
) -> Iterator[R]:
    """Do the work on several threads and hand over the results in the order of the items.

    Parameters
    ----------
    work : callable
    items : iterable
        Taken as they are needed; only a few are held at a time.
    jobs : int, optional
        Items at work at the same time; by default one for each core.
    known : callable, optional
        The result of an item that needs no work, else None: to hand it to a thread would cost more than it does.

    Raises
    ------
    ValueError
        If `jobs` is below 1.

    Examples
    --------
    >>> list(run_in_order(abs, [-3, 1, -2], jobs=2))
    [3, 1, 2]
    """
    jobs = (os.cpu_count() or 1) if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    waiting = iter(items)
    # these threads are the parallelism: a BLAS that starts its own under each of them only gets in the way
    with threadpool_limits(limits=1, user_api="blas"):
        pool = ThreadPoolExecutor(jobs)
        try:

            def begin(item: T) -> Future[R] | _Known[R]:
                result = known(item) if known else None
                return pool.submit(work, item) if result is None else _Known(result)

            under_way = deque(map(begin, islice(waiting, jobs * _QUEUED)))
            while under_way:
                yield under_way.popleft().result()
                under_way.extend(map(begin, islice(waiting, 1)))
        finally:  # after an error or an interrupt, do not begin what has not begun
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Known(Generic[R]):
    value: R

    def result(self) -> R:
        return self.value
