"""Photos in stores -> the same photos, in memory before they are needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from blurgate.errors import PhotoError, find_machine_error
from blurgate.judging.verdicts import Evidence
from blurgate.photos.addresses import find_archive, is_address
from blurgate.photos.images import path_of
from blurgate.photos.limits import MAX_MEGAPIXELS, LimitError, check_bytes
from blurgate.scanning.items import Item
from blurgate.threads import PAUSE, count_cores

if TYPE_CHECKING:
    from blurgate.photos.stores import Requests

REQUESTS = 32  # at a time: at 20 ms each, 1,600 photos a second
_PHOTOS = 64  # held for each core
_BYTES = 2**26  # held for each core
_USUAL = 2**20  # bytes of a photo whose store does not say how many it has


def fetch_ahead(
    items: Iterable[Item], *, jobs: int | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> Iterator[Item]:
    """Fetch photos from stores before they are needed, in order; all other items pass.

    Parameters
    ----------
    items : iterable of Item
        `blurgate.threads.PAUSE` among them says that there are none for now: all that came before is yielded first.
    jobs : int, optional
        Photos judged at a time, by default one for each core: for each, a few are held.
    max_megapixels : float
        A photo that is too long for so many is not fetched.

    Returns
    -------
    iterator of Item
        With the content of each photo in place of its address. A photo that cannot be fetched has evidence with its
        error, and its `problem` if the store is to blame.
    """
    cores = jobs or count_cores()
    window = _Window(cores * _PHOTOS, cores * _BYTES)
    return _work_ahead(items, _is_afar, partial(_fetch, max_megapixels=max_megapixels), window)


def find_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Ask stores whether photos have changed, before records are asked for them; all other items pass.

    Parameters
    ----------
    items : iterable of Item
        Photos that a listing has found have their status already.

    Returns
    -------
    iterator of Item
        With their status, if the store tells.
    """
    return _work_ahead(items, lambda item: not item.status and _is_afar(item), _find, _Window(4 * REQUESTS, _BYTES))


def _work_ahead(
    items: Iterable[Item], wants: Callable[[Item], bool], work: Callable[[Item], Item], window: _Window
) -> Iterator[Item]:
    """Do work on some items before they are needed, and yield all in order."""
    requests: Requests | None = None
    try:
        for item in items:
            if item is PAUSE:
                yield from window.take_all()
                yield item
                continue
            if not wants(item):
                if window.is_empty:  # as in every scan of a disk
                    yield item
                    continue
                window.add(item, 0)
            else:
                requests = requests or _start_requests()
                window.add(requests.submit(partial(work, item)), item.status.st_size if item.status else _USUAL)
            yield from window.take_surplus()
        yield from window.take_all()
    finally:
        if requests:
            requests.close()


def _start_requests() -> Requests:
    from blurgate.photos.stores import Requests  # a scan of a disk needs none of it

    return Requests(REQUESTS)


class _Window:
    """Items in order, some of them still being fetched.

    Parameters
    ----------
    most : int
        Number of items.
    most_bytes : int
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._held: deque[tuple[Item | Future[Item], int]] = deque()
        self._bytes = 0

    @property
    def is_empty(self) -> bool:
        return not self._held

    def add(self, item: Item | Future[Item], size: int) -> None:
        self._held.append((item, size))
        self._bytes += size

    def take_surplus(self) -> Iterator[Item]:
        """Take what is too much to hold, the first items first, and what is ready before these."""
        while self._held and (len(self._held) > self._most or self._bytes > self._most_bytes):
            yield self._take()

    def take_all(self) -> Iterator[Item]:
        while self._held:
            yield self._take()

    def _take(self) -> Item:
        item, size = self._held[0]
        taken = item.result() if isinstance(item, Future) else item
        self._held.popleft()
        self._bytes -= size
        return taken


def _is_afar(item: Item) -> bool:
    if item.evidence or not isinstance(item.photo, str) or not is_address(item.photo):
        return False
    place = find_archive(item.photo)
    return place is None or is_address(place.archive)  # what is on the disk is read where it is measured


def _fetch(item: Item, max_megapixels: float) -> Item:
    from blurgate.photos.archives import read_member

    path = item.path or path_of(item.photo)
    try:
        if item.status:
            check_bytes(item.status.st_size, "JPEG", max_megapixels)
        size = item.status.st_size if item.status else None
        return replace(item, photo=read_member(item.photo, size=size, max_megapixels=max_megapixels), path=path)
    except LimitError as error:
        return replace(item, photo=None, evidence=Evidence(path, error=f"{path} cannot be read: {error}"))
    except PhotoError as error:
        problem = find_machine_error(error)
        return replace(item, photo=None, evidence=Evidence(path, error=str(error)), problem=problem)


def _find(item: Item) -> Item:
    from blurgate.photos.stores import find_entry

    place = find_archive(item.photo)
    try:
        return item if place else replace(item, status=find_entry(item.photo).status)
    except PhotoError:  # reading the photo reports it
        return item
