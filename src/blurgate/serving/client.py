"""Asks a service for verdicts: the same as the local model's, for programs that must not carry it.

What `Client` and `AsyncClient` share knows nothing of the network: they only send and wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from blurgate.errors import PhotoError, needs_extra, raise_machine_error, require_several
from blurgate.judging.verdicts import Verdict, decide
from blurgate.photos.finding import AnyPath, Found, walk_photos
from blurgate.photos.images import Photo, path_of, read_file
from blurgate.scanning.items import Item, describe_nothing, list_items, look_ahead
from blurgate.serving.answers import Answer, Body, Peer
from blurgate.serving.settings import is_loopback
from blurgate.threads import run_in_order
from blurgate.version import __version__

if TYPE_CHECKING:
    import httpx

    from blurgate.serving.answers import Outcome

Map: TypeAlias = Literal["png", "overlay"]

TIMEOUT = 30.0  # seconds
RETRIES = 5
JOBS = 4
_VERDICTS = "v1/verdicts"
_KEPT = 4.0  # seconds that a connection is kept without a request: the service closes it after five


class Client:
    """Asks a service for verdicts; any number of threads may share it.

    Photos are sent one per request, without their names. Of an array or a PIL image, the luma is sent as a PNG, which
    loses nothing that is judged.

    Parameters
    ----------
    url : str
        Address of the service, such as ``http://127.0.0.1:8000``; with a path if a proxy has it below one.
    token : str, optional
        The one that the service was started with.
    timeout : float or None
        Seconds to wait for a connection, for the service to take more of a photo, and for its answer, each; None waits
        for ever.
    retries : int
        How many times a photo is sent again if the service is busy (503) or the connection breaks before the answer.
        A pause lasts as long as the service asks for, and a little longer each time, or until the service has answered
        about another photo of this client. While it does so, no try is lost.
    transport : httpx.BaseTransport, optional
        How requests are sent, such as over a Unix socket, or with certificates of your own.

    Raises
    ------
    MissingExtraError
        If httpx is not installed.
    ValueError
        If a parameter is out of range, or `url` is no address of a service.

    Examples
    --------
    >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
    ...     client.predict("photo.jpg").decision
    'sharp'
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float | None = TIMEOUT,
        retries: int = RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._service, self._timeout = Peer(url, retries), timeout
        self._answered = threading.Condition()
        self._http: httpx.Client = _load_httpx().Client(**_write_options(url, token, timeout), transport=transport)

    def __repr__(self) -> str:
        return f"Client({self._service.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; the client cannot be used any more."""
        self._http.close()

    def predict(self, photo: Photo) -> Verdict:
        """Judge one photo, as `BlurModel.predict` of the model of the service does.

        Parameters
        ----------
        photo : path, bytes, binary file, ndarray or PIL image
            See `blurgate.photos.images.read_gray`.

        Returns
        -------
        Verdict

        Raises
        ------
        PhotoError
            If the photo cannot be read, here or by the service, or is beyond the limits of the service.
        ServiceError
            If the service cannot be reached, refuses, stays busy, or gives no valid answer.
        TypeError
            If `photo` is of another type, or an array of another shape or dtype.
        """
        return self.ask(photo).verdict

    def ask(self, photo: Photo, *, map: Map | None = None) -> Answer:  # noqa: A002 the word of the service
        """Judge one photo, and give all that the service says about it.

        Parameters
        ----------
        photo : path, bytes, binary file, ndarray or PIL image
        map : {'png', 'overlay'}, optional
            ``png`` draws where the photo is blurred, in gray and at the photo's own size: 255 where it surely is, 0
            where it surely is not, 128 where nothing can be told. ``overlay`` draws the same small and in colour, to be
            laid over the part of the photo that was looked at.

        Returns
        -------
        Answer

        Raises
        ------
        PhotoError, ServiceError, TypeError
            As in `predict`.
        ValueError
            If there is no such map.
        """
        _check_map(map)
        return self._ask(photo, map, threading.Event())

    def scan(
        self,
        photos: Any,
        *,
        column: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        jobs: int = JOBS,
    ) -> Iterator[Verdict]:
        """Judge photos in order, with several requests at once, holding only a few photos in memory at a time.

        Parameters
        ----------
        photos : path, photo, iterable of these, or table
            Folders are searched for photos: see `blurgate.scan`.
        column : str, optional
            Column of a table; by default ``path``, ``file``, ``image``, ``photo`` or ``bytes``.
        include, exclude : sequence of str
            Patterns for files in folders: see `blurgate.photos.finding.walk_photos`.
        jobs : int
            Number of requests at once, at least 1. A service with default options takes two for each of its workers.

        Returns
        -------
        iterator of Verdict
            One per photo, in order. A photo that cannot be read has a verdict with its ``error``.

        Raises
        ------
        PhotoError
            If a named path does not exist, or no photo is found.
        ServiceError
            If the service cannot be reached, refuses, stays busy, or gives no valid answer. Ends the scan.
        MachineError
            If too many files are open. Ends the scan.
        TypeError
            If `photos` is None, a mapping, or holds no photos at all, or one text is given in place of several.
        ValueError
            If the column is unknown, or `jobs` is below 1.
        """
        _check_jobs(jobs)
        return self._scan(_find_items(photos, column, include, exclude), jobs)

    def _scan(self, items: Iterator[Item], jobs: int) -> Iterator[Verdict]:
        ended, problems = threading.Event(), list[BaseException]()

        def judge(item: Item) -> Verdict:
            try:
                return replace(self._ask(item.photo, None, ended).verdict, path=_path_in(item))
            except (PhotoError, TypeError) as error:
                return _to_verdict(item, error)
            except BaseException as error:
                problems.append(error)
                self._end(ended)
                raise problems[0] from None  # others end because of the first

        try:
            yield from run_in_order(judge, items, jobs=jobs, known=_find_known)
        finally:
            self._end(ended)

    def _end(self, ended: threading.Event) -> None:
        """Let no photo of a scan that has ended wait for the service."""
        ended.set()
        with self._answered:
            self._answered.notify_all()

    def _ask(self, photo: Photo, drawn: Map | None, ended: threading.Event) -> Answer:
        content = read_file(photo)
        exchange = self._service.begin(path_of(photo))
        while True:
            outcome = self._send(content, drawn)
            pause = exchange.find_pause(outcome)
            if pause is None or ended.is_set():
                with self._answered:
                    self._service.note(outcome)
                    self._answered.notify_all()
                return exchange.read_answer(outcome)
            self._wait(lambda: exchange.has_room or ended.is_set(), pause)
            exchange.send_again()

    def _wait(self, reached: Callable[[], bool], seconds: float) -> None:
        with self._answered:
            self._answered.wait_for(reached, seconds)

    def _send(self, content: bytes, drawn: Map | None) -> Outcome:
        import httpx

        try:
            with self._http.stream("POST", _VERDICTS, content=content, params=_write_query(drawn)) as response:
                body = Body(response, self._timeout)
                for chunk in response.iter_bytes():
                    body.add(chunk)
            return body.finish()
        except httpx.RequestError as error:
            return error
        except (httpx.InvalidURL, UnicodeError) as error:  # httpx reads where it is sent on to
            return httpx.UnsupportedProtocol(f"it sends requests on to an address that is none: {error}")


class AsyncClient:
    """Asks a service for verdicts, in asyncio; otherwise as `Client`.

    Parameters
    ----------
    url : str
    token : str, optional
    timeout : float or None
    retries : int
    transport : httpx.AsyncBaseTransport, optional
        All as in `Client`.

    Raises
    ------
    MissingExtraError, ValueError
        As in `Client`.

    Examples
    --------
    >>> async def judge(path):
    ...     async with AsyncClient("http://127.0.0.1:8000") as client:
    ...         return await client.predict(path)
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float | None = TIMEOUT,
        retries: int = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._service, self._timeout = Peer(url, retries), timeout
        self._answered = asyncio.Condition()
        self._http: httpx.AsyncClient = _load_httpx().AsyncClient(
            **_write_options(url, token, timeout), transport=transport
        )

    def __repr__(self) -> str:
        return f"AsyncClient({self._service.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; the client cannot be used any more."""
        await self._http.aclose()

    async def predict(self, photo: Photo) -> Verdict:
        """Judge one photo; see `Client.predict`.

        Parameters
        ----------
        photo : path, bytes, binary file, ndarray or PIL image

        Returns
        -------
        Verdict

        Raises
        ------
        PhotoError, ServiceError, TypeError
            As in `Client.predict`.
        """
        return (await self.ask(photo)).verdict

    async def ask(self, photo: Photo, *, map: Map | None = None) -> Answer:  # noqa: A002 the word of the service
        """Judge one photo, and give all that the service says about it; see `Client.ask`.

        Parameters
        ----------
        photo : path, bytes, binary file, ndarray or PIL image
        map : {'png', 'overlay'}, optional

        Returns
        -------
        Answer

        Raises
        ------
        PhotoError, ServiceError, TypeError, ValueError
            As in `Client.ask`.
        """
        _check_map(map)
        content = await asyncio.to_thread(read_file, photo)
        exchange = self._service.begin(path_of(photo))
        while True:
            outcome = await self._send(content, map)
            pause = exchange.find_pause(outcome)
            if pause is None:
                async with self._answered:
                    self._service.note(outcome)
                    self._answered.notify_all()
                return exchange.read_answer(outcome)
            await self._wait(lambda: exchange.has_room, pause)
            exchange.send_again()

    async def _wait(self, reached: Callable[[], bool], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._answered:
                await self._answered.wait_for(reached)

    async def scan(
        self,
        photos: Any,
        *,
        column: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        jobs: int = JOBS,
    ) -> AsyncIterator[Verdict]:
        """Judge photos in order, with several requests at once; see `Client.scan`.

        Parameters
        ----------
        photos : path, photo, iterable of these, or table
            Taken one by one on another thread.
        column : str, optional
        include, exclude : sequence of str
        jobs : int
            All as in `Client.scan`.

        Yields
        ------
        Verdict

        Raises
        ------
        PhotoError, ServiceError, MachineError, TypeError, ValueError
            As in `Client.scan`, when the first verdict is asked for.
        """
        _check_jobs(jobs)
        items = await asyncio.to_thread(_find_items, photos, column, include, exclude)
        free, tasks = asyncio.Semaphore(jobs), deque[asyncio.Task[Verdict]]()

        async def judge(item: Item) -> Verdict:
            async with free:
                return await self._judge(item)

        try:
            while item := await asyncio.to_thread(next, items, None):
                tasks.append(asyncio.create_task(judge(item)))
                if len(tasks) == 2 * jobs:
                    yield await tasks[0]
                    tasks.popleft()
            while tasks:
                yield await tasks[0]
                tasks.popleft()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _judge(self, item: Item) -> Verdict:
        if known := _find_known(item):
            return known
        try:
            return replace(await self.predict(item.photo), path=_path_in(item))
        except (PhotoError, TypeError) as error:
            return _to_verdict(item, error)

    async def _send(self, content: bytes, drawn: Map | None) -> Outcome:
        import httpx

        try:
            query = _write_query(drawn)
            async with self._http.stream("POST", _VERDICTS, content=content, params=query) as response:
                body = Body(response, self._timeout)
                async for chunk in response.aiter_bytes():
                    body.add(chunk)
            return body.finish()
        except httpx.RequestError as error:
            return error
        except (httpx.InvalidURL, UnicodeError) as error:  # httpx reads where it is sent on to
            return httpx.UnsupportedProtocol(f"it sends requests on to an address that is none: {error}")


def _write_query(drawn: Map | None) -> dict[str, str]:
    return {"map": drawn} if drawn else {}


def _load_httpx() -> Any:
    with needs_extra("client", "Asking a service"):
        import httpx
    return httpx


def _write_options(url: str, token: str | None, timeout: float | None) -> dict[str, Any]:
    """Check what a client is given, and write the options of httpx, the same for both of its clients."""
    import httpx

    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout must be above 0, or None, got {timeout}")
    token = None if token is None else token.strip()  # of a file's last line
    if token is not None and (not token.isascii() or not token.isprintable() or not token or " " in token):
        raise ValueError("token must be printable ASCII without spaces, got something else: check how it was read")
    _check_url(url)
    headers = {"Accept": "application/json", "Content-Type": "application/octet-stream"}
    headers["Accept-Encoding"] = "identity"
    headers["User-Agent"] = f"blurgate/{__version__}"
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return {
        "base_url": url,
        "headers": headers,
        "timeout": httpx.Timeout(timeout, pool=None),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEPT),
        "follow_redirects": False,  # a token is for one address
        "trust_env": not is_loopback(httpx.URL(url).host),  # a proxy is elsewhere
    }


def _check_url(url: str) -> None:
    import httpx

    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"url must be the address of a service, such as http://127.0.0.1:8000: {error}") from None
    if parsed.userinfo:  # not quoted: it may hold a password
        raise ValueError("url must have no user or password in it: pass the token of the service as token")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError(f"url must be the address of a service, such as http://127.0.0.1:8000, got {url!r}")


def _check_map(drawn: str | None) -> None:
    if drawn not in (None, "png", "overlay"):
        raise ValueError(f"map must be 'png', 'overlay' or None, got {drawn!r}")


def _check_jobs(jobs: int) -> None:
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")


def _find_items(photos: Any, column: str | None, include: Sequence[str], exclude: Sequence[str]) -> Iterator[Item]:
    """Find the photos to judge, lazily but for the first, which must be there; see `blurgate.scan`."""
    for name, value in (("include", include), ("exclude", exclude)):
        require_several(name, value)
    raws = Counter[str]()

    def walk(paths: Iterable[AnyPath]) -> Iterator[Found]:
        return walk_photos(paths, include=include, exclude=exclude, raws=raws)

    items, _ = list_items(photos, column, walk)
    items, found = look_ahead(items, 1)
    if not found and not (isinstance(photos, Sequence) and not len(photos)):
        raise PhotoError(describe_nothing(photos, raws, "check the path", filtered=bool(include or exclude)))
    return items


def _find_known(item: Item) -> Verdict | None:
    """Give the verdict on what is no photo, such as a folder that cannot be searched."""
    return decide(item.evidence, 0.5) if item.evidence else None


def _path_in(item: Item) -> str:
    return item.path or path_of(item.photo)


def _to_verdict(item: Item, error: Exception) -> Verdict:
    """Give the verdict on a photo that cannot be judged, unless the machine is to blame."""
    raise_machine_error(error)
    return Verdict(_path_in(item), error=str(error))
