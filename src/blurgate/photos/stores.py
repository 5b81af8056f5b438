"""Addresses in stores -> what is there, through fsspec.

What fails for a moment is tried again; what an address may hold of credentials is never said.
"""

from __future__ import annotations

import errno
import os
import queue
import random
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from blurgate.errors import MachineError, MissingExtraError, PhotoError, escape_unprintable, needs_extra
from blurgate.photos.addresses import CHAINED, FLAT, Status, hide, reveal, split_scheme, stamp

T = TypeVar("T")

TRIES = 5  # of one request
_PATIENCE = 20.0  # seconds after which nothing is tried again
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds before another try; each is three times as long as the one before
_REQUEST = 30.0  # seconds that one request may take, and one more for each 100 kB
_CONNECTIONS = 50
_BLOCK = 2**22  # bytes of a large object that are asked for at a time
_BLOCKS = 8  # held of one object
_NEXT = 3  # blocks asked for ahead of a reader that goes on


_BUSY = {errno.EBUSY, errno.EIO, getattr(errno, "EREMOTEIO", errno.EIO), errno.ETIMEDOUT, errno.EAGAIN, errno.EPIPE} | {
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN)
}
_REMOTE_LIBRARIES = ("aiohttp", "aiobotocore", "botocore", "urllib3", "requests", "azure", "gcsfs", "google", "asyncio")
_NO_KEYS = ("Credential", "Profile", "TokenRetrieval", "Token", "RefreshError", "Unauthorized", "AuthenticationError")


NAMELESS = "/"  # stands for a name that is empty: of a folder between the slashes of a//b.jpg, of a file that of b.jpg/


class Entry(NamedTuple):
    """What lies in a folder of a store.

    Parameters
    ----------
    name : str
        Below the folder.
    is_folder : bool
    size : int or None
        Bytes; None if the store does not say.
    status : Status or None
        None if the store does not say whether it has changed.
    """

    name: str
    is_folder: bool
    size: int | None = None
    status: Status | None = None


def expand(address: str) -> list[str]:
    """List what an address with a pattern, such as ``s3://bucket/*.tar``, stands for, sorted.

    Parameters
    ----------
    address : str

    Returns
    -------
    list of str
        The address itself if it has no pattern, or nothing matches.

    Raises
    ------
    PhotoError
        If it may not be listed.
    """
    scheme = split_scheme(address)
    if not re.search(r"[*\[]", address) or scheme in (*FLAT, *CHAINED) or not scheme:
        return [address]
    with suppress(PhotoError):  # an object that is named exactly so
        if not find_entry(address).is_folder:
            return [address]
    fs, path = _open_store(reveal(address))
    found = _repeat(address, lambda: _call(fs, "glob", path), doing="be listed")
    start = address[: len(address) - len(path)] if address.endswith(path) else f"{scheme}://"
    return sorted(start + str(each) for each in found) or [address]


def list_folder(address: str) -> Iterator[Entry]:
    """List what lies in a folder of a store, sorted by name; large folders of S3 as the pages arrive.

    Parameters
    ----------
    address : str
        Of a folder. Of a file, the one entry has an empty name.

    Yields
    ------
    Entry

    Raises
    ------
    PhotoError
        If there is nothing, or it may not be listed.
    MachineError
        If the store does not answer.
    MissingExtraError
        If a library is missing.
    """
    address = reveal(address)
    fs, path = _open_store(address)
    if not path.strip("/") and split_scheme(address) not in FLAT:
        raise PhotoError(f"a bucket was needed, but {hide(address)} names none: write it after the slashes")
    if split_scheme(address) in ("s3", "s3a") and hasattr(fs, "call_s3"):
        yield from _list_s3(fs, path, address)
        return
    found = _repeat(address, lambda: _call(fs, "ls", path, detail=True), doing="be listed")
    base = path.rstrip("/")
    plain = path.split("?", maxsplit=1)[0].rstrip("/") if split_scheme(address) in FLAT else base
    listed = list[Entry]()
    for each in found:
        name = str(each["name"]).rstrip("/")
        if base != plain and name.startswith(f"{base}/"):  # fsspec writes relative links behind the query
            name = plain + name[len(base) :]
        if name == base and split_scheme(address) not in FLAT and _is_nameless(base, each):
            listed.append(_to_entry(NAMELESS, each))
            continue
        if name == base:
            if each.get("type") == "directory" or path.endswith("/"):
                continue
            listed = [_to_entry("", each)]
            break
        below = name.rsplit("/", 1)
        if below[0] != plain and split_scheme(address) in FLAT:  # a link to elsewhere
            continue
        listed.append(_to_entry(below[-1], each))
    yield from sorted(set(listed), key=lambda entry: (entry.name, entry.is_folder))


def find_entry(address: str) -> Entry:
    """Find out what an address names, in one request.

    Parameters
    ----------
    address : str

    Returns
    -------
    Entry
        With an empty name.

    Raises
    ------
    PhotoError
        If nothing is there, or you have no permission.
    MachineError
        If the store does not answer.
    MissingExtraError
        If a library is missing.
    """
    address = reveal(address)
    fs, path = _open_store(address)
    return _to_entry("", _repeat(address, lambda: _find(fs, path, address), doing="be found"))


def contact(address: str) -> None:
    """Ask a store once for the first of its photos: that nothing is there is no problem of the store.

    Raises
    ------
    MachineError
        If the store does not answer.
    MissingExtraError
        If a library is missing.
    PhotoError
        If there is no such kind of store, or it asks for credentials.
    """
    address = reveal(address)
    parts = urlsplit(address) if "?" not in address.split("//")[-1].split("/")[0] else None
    store = (split_scheme(address), parts.netloc if parts else "", os.getpid())
    if store in _MET:
        return
    fs, path = _open_store(address)

    def ask() -> None:
        with suppress(FileNotFoundError, PermissionError):
            _find(fs, path, address)

    try:
        _repeat(address, ask, doing="be reached")
    except PhotoError as error:
        if isinstance(error.__cause__, MachineError):
            raise error.__cause__ from None
        if "credentials" in str(error):
            raise
    _MET.add(store)


def read(address: str, *, size: int | None = None, most: int) -> bytes:
    """Read what an address names, with several tries.

    Parameters
    ----------
    address : str
    size : int, optional
        Its length in bytes, where a listing has said so. A shorter answer is tried again.
    most : int
        Bytes that are read at most.

    Returns
    -------
    bytes
        If there are more than `most`, some more than `most`, which the caller refuses.

    Raises
    ------
    PhotoError
        If it does not exist, may not be read, or several tries have failed: then with a `MachineError` as its cause.
    MissingExtraError
        If a library is missing.
    """
    address = reveal(address)
    fs, path = _open_store(address)
    if split_scheme(address) in FLAT:
        return _repeat(address, lambda: _read_http(fs, path, 0, most + 1, whole=True))
    if size is None:
        size = find_entry(address).size
    if size == 0:
        return b""
    end = most + 1 if size is None else min(size, most + 1)
    return _repeat(address, lambda: _read_range(fs, path, 0, end, exact=size is not None))


class Requests:
    """Threads that wait for stores; the end of the process does not wait for them.

    Parameters
    ----------
    count : int
        At most so many.
    """

    def __init__(self, count: int) -> None:
        self._count, self._idle = count, 0
        self._threads: list[threading.Thread] = []
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def submit(self, request: Callable[[], T]) -> Future[T]:
        """Have a request made on one of the threads."""
        future: Future[T] = Future()
        self._tasks.put((future, request))
        if len(self._threads) < self._count and self._tasks.qsize() > self._idle:
            thread = threading.Thread(target=self._work, daemon=True, name="blurgate-request")
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """Start no more requests; those that are being made end by themselves, and nobody gets their results."""
        with suppress(queue.Empty):
            while task := self._tasks.get_nowait():
                task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            task = self._tasks.get()
            with self._lock:
                self._idle -= 1
            if task is None:
                return
            future, request = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(request())
            except BaseException as error:  # raised where the result is taken
                future.set_exception(error)
            del task, future, request  # results may be large


class Ranges:
    """A large object in a store, read in blocks, of which the next are asked for ahead and a few are kept.

    Parameters
    ----------
    address : str

    Raises
    ------
    PhotoError
        If it does not exist, may not be read, or its store sends no parts of it.
    """

    def __init__(self, address: str) -> None:
        self._address = reveal(address)
        self._fs, self._path = _open_store(self._address)
        found = find_entry(address)
        if found.size is None:
            raise PhotoError(
                f"{hide(address)} cannot be read in parts: its server does not say how long it is: download it first"
            )
        self.size, self.status = found.size, found.status
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._lock, self._last = threading.Lock(), -1
        self._requests = Requests(_NEXT + 1)

    def read_at(self, offset: int, length: int) -> bytes:
        """Read bytes from an offset on; fewer at the end of the object.

        Parameters
        ----------
        offset, length : int

        Returns
        -------
        bytes

        Raises
        ------
        PhotoError
            If several tries have failed.
        """
        end = min(offset + max(0, length), self.size)
        parts = []
        while offset < end:
            number, start = divmod(offset, _BLOCK)
            part = self._take(number)[start : start + end - offset]
            if not part:
                break
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """End what is read ahead."""
        self._requests.close()

    def __del__(self) -> None:
        with suppress(AttributeError):  # it could not be opened
            self._requests.close()

    def _take(self, number: int) -> bytes:
        with self._lock:
            ahead = _NEXT if number in (self._last, self._last + 1) else 0
            self._last = number
            for wanted in range(number, number + ahead + 1):
                if wanted * _BLOCK < self.size and wanted not in self._blocks:
                    self._blocks[wanted] = self._requests.submit(partial(self._fetch, wanted))
            block = self._blocks[number]
            self._blocks.move_to_end(number)
            while len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        try:
            return block.result()
        except CancelledError:
            raise PhotoError(f"{hide(self._address)} cannot be read: it was closed") from None
        except PhotoError:
            with self._lock:
                self._blocks.pop(number, None)
            raise

    def _fetch(self, number: int) -> bytes:
        start = number * _BLOCK
        end = min(start + _BLOCK, self.size)
        return _repeat(self._address, lambda: _read_range(self._fs, self._path, start, end, exact=True))


def write(local: str | os.PathLike[str], address: str) -> None:
    """Write a finished file to an address.

    Parameters
    ----------
    local : path
    address : str

    Raises
    ------
    PhotoError
        If it may not be written, or several tries have failed.
    """
    fs, path = _open_store(address)
    _repeat(address, lambda: _call(fs, "put_file", os.fspath(local), path, timeout=3600), doing="be written")


# ----------------------------------------------------------------------------------------------------------- requests


@dataclass(frozen=True)
class _Problem:
    words: str
    temporary: bool = False


class _CutError(Exception):
    """A body that is shorter than the object."""


class _NoRangesError(Exception):
    """A server that sends the whole object where a part was asked for."""


_KNOWN: dict[type[BaseException], _Problem] = {
    FileNotFoundError: _Problem("does not exist: check the address"),
    PermissionError: _Problem("cannot be opened: you have no permission to read it"),
    _CutError: _Problem("the connection ended before all of it was there", temporary=True),
    _NoRangesError: _Problem("cannot be read in parts: its server sends no ranges: download it first"),
    TimeoutError: _Problem("the store does not answer in time", temporary=True),
    ConnectionError: _Problem("no connection to the store", temporary=True),
}
_NAMES: dict[type[BaseException], tuple[str, ...]] = {  # parts of the names of errors that libraries raise
    TimeoutError: ("Timeout",),
    _CutError: ("Payload", "Incomplete", "ContentLength", "Disconnected"),
    ConnectionError: ("Connection", "Connector"),
}
_LOCK = threading.Lock()
_STORES: dict[Any, Any] = {}
_MET: set[tuple[str, str, int]] = set()


def _open_store(address: str) -> tuple[Any, str]:
    """Return the file system of an address, and its path there. Each process has its own."""
    scheme = split_scheme(address)
    with needs_extra("remote", f"Reading {scheme}://"):
        import fsspec
        from fsspec.config import conf
    try:
        cls = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        with needs_extra("remote", f"Reading {scheme}://"):
            raise ModuleNotFoundError(str(error)) from error
    except ValueError as error:
        raise PhotoError(
            f"an address was needed, but {hide(address)} is of no kind that fsspec knows: s3://, gs://, az:// or "
            "https://, for example"
        ) from error
    options = dict(cls._get_kwargs_from_urls(address))
    path = str(cls._strip_protocol(address))
    if address.endswith("/") and scheme in FLAT and not path.endswith("/"):
        path += "/"
    key = (scheme, repr(sorted(options.items())), os.getpid())
    with _LOCK:
        if key not in _STORES:
            options.update({"skip_instance_cache": True, "use_listings_cache": False})
            if scheme in ("s3", "s3a"):  # tries and waits are ours, so that they do not multiply
                ours = {"retries": {"max_attempts": 0}, "max_pool_connections": _CONNECTIONS}
                options["config_kwargs"] = ours | conf.get(scheme, {}).get("config_kwargs", {})
            try:
                _STORES[key] = cls(**options)
            except ImportError as error:
                with needs_extra("remote", f"Reading {scheme}://"):
                    raise ModuleNotFoundError(str(error)) from error
            except Exception as error:  # credentials that cannot be read can raise anything
                raise PhotoError(f"{hide(address)} cannot be opened: {_classify(error).words}") from error
            if hasattr(_STORES[key], "retries"):
                _STORES[key].retries = 1
        return _STORES[key], path


def _call(fs: Any, name: str, *args: Any, timeout: float = _REQUEST, **options: Any) -> Any:
    """Call a method of a file system, and give up after a while."""
    if not getattr(fs, "async_impl", False):
        return getattr(fs, name)(*args, **options)
    from fsspec.asyn import sync

    return sync(fs.loop, getattr(fs, f"_{name}"), *args, timeout=timeout, **options)


def _find(fs: Any, path: str, address: str) -> dict[str, Any]:
    """Ask a store about an object. fsspec says of all that goes wrong over HTTP that there is no such file."""
    if split_scheme(address) not in FLAT:
        return _call(fs, "info", path)  # type: ignore[no-any-return]
    from fsspec.asyn import sync

    async def ask() -> dict[str, Any]:
        session = await fs.set_session()
        options = dict(fs.kwargs)
        options["headers"] = {**options.get("headers", {}), "Range": "bytes=0-0"}
        async with session.get(fs.encode_url(path), **options) as answer:
            found: dict[str, Any] = {"type": "file", "etag": answer.headers.get("ETag")}
            found["last_modified"] = answer.headers.get("Last-Modified")
            if answer.status == 416:  # it is empty
                return found | {"size": 0}
            answer.raise_for_status()
            total = answer.headers.get("Content-Range", "").rpartition("/")[2]
            length = total if answer.status == 206 else answer.headers.get("Content-Length", "")
            return found | {"size": int(length) if length.isdigit() else None}

    return sync(fs.loop, ask, timeout=_REQUEST)  # type: ignore[no-any-return]


def _read_range(fs: Any, path: str, start: int, end: int, *, exact: bool) -> bytes:
    if "http" in fs.protocol:
        content = _read_http(fs, path, start, end, whole=False)
    else:
        timeout = _REQUEST + (end - start) / 1e5
        if shortcut := _find_shortcut(fs):
            content = shortcut.read(path, start, end, seconds=timeout)
            if content is not None:
                return content  # type: ignore[no-any-return]
        content = _call(fs, "cat_file", path, start=start, end=end, timeout=timeout)
    if exact and len(content) < end - start:
        raise _CutError
    return bytes(content)


def _is_nameless(folder: str, found: dict[str, Any]) -> bool:
    """Tell whether what is named like the folder that was listed is below it, under an empty name."""
    name = str(found["name"])
    if found.get("type") == "directory":
        return name.endswith("//") and bool(folder)
    return name.endswith("/") and bool(found.get("size"))


def _find_shortcut(fs: Any) -> Any:
    """Return what reads objects of S3 faster than s3fs does; None of other stores."""
    if "s3" not in fs.protocol:
        return None
    shortcut = getattr(fs, "_blurgate_objects", None)  # with the store, so that it ends with it
    if shortcut is None:
        from blurgate.photos.s3_objects import S3Objects

        shortcut = fs._blurgate_objects = S3Objects(fs)
    return shortcut


def _read_http(fs: Any, path: str, start: int, end: int, *, whole: bool) -> bytes:
    """Read a part of what a web server sends, or all, but never more than the part has."""
    import asyncio

    from fsspec.asyn import sync

    began = time.monotonic()

    def limit(received: int) -> float:  # of a server that sends a byte now and then, all that was asked for takes days
        return max(0.0, began + _REQUEST + received / 1e5 - time.monotonic())

    async def get() -> bytes:
        session = await fs.set_session()
        options = dict(fs.kwargs)
        if not whole:
            options["headers"] = {**options.get("headers", {}), "Range": f"bytes={start}-{end - 1}"}
        content = bytearray()
        async with session.get(fs.encode_url(path), **options) as answer:
            if answer.status == 404:
                raise FileNotFoundError
            answer.raise_for_status()
            if not whole and answer.status != 206:
                raise _NoRangesError
            while len(content) < end - start:
                part = await asyncio.wait_for(answer.content.read(2**16), limit(len(content)))
                if not part:
                    break
                content += part
        return bytes(content[: end - start])

    return sync(fs.loop, get, timeout=_REQUEST + (end - start) / 1e5)  # type: ignore[no-any-return]


def _repeat(address: str, request: Callable[[], T], *, doing: str = "be read") -> T:
    """Make a request, and again if what went wrong may be over soon."""
    began, wait = time.monotonic(), _FIRST_WAIT
    for number in range(1, TRIES + 1):
        try:
            return request()
        except (MissingExtraError, MachineError):
            raise
        except Exception as error:  # libraries of stores raise what they like
            problem = _classify(error)
            if not problem.temporary:
                raise PhotoError(f"{hide(address)} {problem.words}") from error
            late = time.monotonic() - began + wait > _PATIENCE
            if number == TRIES or late:
                tries = f"{number} tries" if number > 1 else "1 try"
                raise PhotoError(
                    f"{hide(address)} cannot {doing}: {problem.words}, after {tries}"
                ) from _find_machine_error(address, problem)
        time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 no secret
        wait = min(3 * wait, _LONGEST_WAIT)
    raise AssertionError  # not reached


def _find_machine_error(address: str, problem: _Problem) -> MachineError:
    store = "/".join(hide(address).split("/")[:3])
    return MachineError(
        f"the machine cannot go on: {store} does not answer ({problem.words}): check the network, the address and "
        "the settings of the store",
        errno.ETIMEDOUT,
    )


def _classify(error: BaseException) -> _Problem:
    """Say what went wrong, in words without addresses, and whether to try again."""
    name, status = type(error).__name__, _find_status(error)
    if known := _find_known(error, name):
        return known
    if status == 401 or any(part in name for part in _NO_KEYS):
        return _Problem("cannot be opened: no valid credentials were found for it, see the settings of fsspec")
    if status is not None and status >= 400:
        return _classify_status(status)
    for kind, parts in _NAMES.items():
        if any(part in name for part in parts):
            return _KNOWN[kind]
    number = error.errno if isinstance(error, OSError) else None
    words = os.strerror(number) if number else escape_unprintable(name)
    of_library = type(error).__module__.split(".")[0] in _REMOTE_LIBRARIES and "Param" not in name
    if number in _BUSY or (of_library and "Invalid" not in name):
        return _Problem(f"the store fails ({words})", temporary=True)
    return _Problem(f"cannot be read: {words}")


def _find_known(error: BaseException, name: str) -> _Problem | None:
    if isinstance(error, FileNotFoundError) and "bucket does not exist" in str(error).lower():
        return _Problem("does not exist: there is no such bucket")
    if "ParamValidation" in name:
        return _Problem("cannot be read: its bucket or name is none that the store allows: check the address")
    return next((problem for kind, problem in _KNOWN.items() if isinstance(error, kind)), None)


def _classify_status(status: int) -> _Problem:
    if status == 403:
        return _KNOWN[PermissionError]
    if status in {404, 410}:
        return _KNOWN[FileNotFoundError]
    if status < 500 and status not in {408, 425, 429}:
        return _Problem(f"cannot be read: the store answers with status {status}")
    return _Problem(f"the store is busy or broken (status {status})", temporary=True)


def _find_status(error: BaseException | None) -> int | None:
    """Find the status of an HTTP answer in an error of any library."""
    while error is not None and "http_exceptions" not in type(error).__module__:  # a body that ends early has a "code"
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = next(
                (getattr(error, name) for name in ("status", "status_code", "code") if hasattr(error, name)), None
            )
        with suppress(TypeError, ValueError):
            if 100 <= int(status) < 600:
                return int(status)
        error = error.__cause__
    return None


def _to_entry(name: str, found: dict[str, Any]) -> Entry:
    if found.get("type") == "directory":
        return Entry(name, True)
    size = found.get("size")
    size = None if size is None else int(size)
    tags = [str(found[key]) for key in ("ETag", "etag", "md5Hash") if found.get(key)]
    times = [
        str(found[key])
        for key in ("LastModified", "last_modified", "mtime", "updated", "timeModified")
        if found.get(key)
    ]
    status = stamp(size, *tags, *times) if size is not None and (tags or times) else None
    return Entry(name, False, size, status)


def _list_s3(fs: Any, path: str, address: str) -> Iterator[Entry]:
    """List a folder of S3 page by page.

    S3 sorts the folder ``a/`` after the file ``a.jpg``, a disk the folder ``a`` before it. So a name waits until no
    folder can come that belongs before it.
    """
    import heapq

    bucket, prefix, _ = fs.split_path(path)
    prefix = prefix.rstrip("/") + "/" if prefix.rstrip("/") else ""
    options = {"Bucket": bucket, "Prefix": prefix, "Delimiter": "/"}
    waiting: list[Entry] = []
    empty = True
    while True:
        page = _repeat(address, lambda: _call(fs, "call_s3", "list_objects_v2", **options), doing="be listed")
        last = ""
        for each in page.get("CommonPrefixes") or ():
            name = each["Prefix"][len(prefix) :].removesuffix("/")
            last = max(last, name + "/")
            heapq.heappush(waiting, Entry(name or NAMELESS, True))
        for each in page.get("Contents") or ():
            name = each["Key"][len(prefix) :]
            empty = False
            if name or each["Size"]:  # else it only marks the folder
                name = name or NAMELESS
                last = max(last, each["Key"][len(prefix) :])
                found = {"size": each["Size"], "ETag": each.get("ETag"), "LastModified": each.get("LastModified")}
                heapq.heappush(waiting, _to_entry(name, found))
        empty = empty and not waiting
        if not page.get("IsTruncated"):
            break
        while waiting and _folder_before(waiting[0].name) < last:
            yield heapq.heappop(waiting)
        options["ContinuationToken"] = page["NextContinuationToken"]
    if empty and prefix:
        found = _repeat(address, lambda: _call(fs, "info", path), doing="be listed")
        yield _to_entry("", found) if found.get("type") != "directory" else Entry("", True)
        return
    while waiting:
        yield heapq.heappop(waiting)


def _folder_before(name: str) -> str:
    """Return the last key of S3 that may still bring a folder to be listed before this name."""
    for place, character in enumerate(name):
        if character < "/" and place:
            return name[:place] + "/"
    return name
