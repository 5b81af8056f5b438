"""Objects of S3 -> their bytes, by signed requests over connections of our own.

s3fs takes two milliseconds of a core for an object, more than judging a small photo does; this takes less than half of
that. What is unusual is left to s3fs, which then says what is wrong.
"""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import threading
import time
import urllib.request
from contextlib import suppress
from functools import cached_property, partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

_EXPIRES = 600  # seconds
_TIMEOUT = 15.0  # seconds without a byte
_CHUNK = 2**18
_IN_A_ROW = 3  # failures, after which s3fs does everything
_USUAL = {"endpoint_url", "region_name"}  # settings of a client that signing knows of
_CONNECTING = {"proxies", "proxies_config", "client_cert"}  # settings of connections that ours would not heed


class S3Objects:
    """Reads objects of one store, over connections that threads share.

    Parameters
    ----------
    fs : s3fs.S3FileSystem
        Knows the credentials and signs.
    """

    def __init__(self, fs: Any) -> None:
        self._fs, self._failed = fs, 0
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()
        unusual = fs.req_kw or set(fs.client_kwargs) - _USUAL or _CONNECTING & set(fs.config_kwargs)
        self._plain = not (unusual or fs.anon or fs.version_aware)

    def read(self, path: str, start: int, end: int, *, seconds: float) -> bytes | None:
        """Read a part of an object.

        Parameters
        ----------
        path : str
            As s3fs names it: the bucket, a slash, the key.
        start, end : int
        seconds : float
            For all of it.

        Returns
        -------
        bytes or None
            None if anything but all of the part has come.
        """
        if not self._plain or self._failed >= _IN_A_ROW:
            return None
        try:
            url = urlsplit(self._fs.sign(path, expiration=_EXPIRES))
            content = self._get(url, start, end, time.monotonic() + seconds)
        except (OSError, http.client.HTTPException, ValueError):
            return None  # s3fs tries again, and says what is wrong
        except Exception:  # no credentials, for which libraries have many errors
            content = None
        self._failed = self._failed + 1 if content is None else 0
        return content

    def _get(self, url: SplitResult, start: int, end: int, deadline: float) -> bytes | None:
        if self._is_proxied(url):
            return None
        headers = {"Range": f"bytes={start}-{end - 1}"}
        connection = self._take(url)
        known = connection is not None
        connection = connection or self._connect(url)
        content = None
        try:
            try:
                answer = _ask(connection, url, headers, deadline)
            except ConnectionError:
                if not known:
                    raise
                connection.close()  # the server has closed it meanwhile
                connection = self._connect(url)
                answer = _ask(connection, url, headers, deadline)
            if answer.status == http.client.PARTIAL_CONTENT:
                content = _read_body(answer, end - start, deadline)
            done = content is not None and answer.isclosed()
        except BaseException:
            connection.close()
            raise
        if done:
            self._give_back(url, connection)
        else:
            connection.close()
        return content

    def _take(self, url: SplitResult) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get((url.scheme, url.netloc))
            return idle.pop() if idle else None

    def _give_back(self, url: SplitResult, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault((url.scheme, url.netloc), []).append(connection)

    def __del__(self) -> None:
        for idle in getattr(self, "_idle", {}).values():
            for connection in idle:
                connection.close()

    def _connect(self, url: SplitResult) -> http.client.HTTPConnection:
        if url.scheme == "https":
            return http.client.HTTPSConnection(url.netloc, timeout=_TIMEOUT, context=self._context)
        return http.client.HTTPConnection(url.netloc, timeout=_TIMEOUT)

    @cached_property
    def _context(self) -> ssl.SSLContext:
        with suppress(ImportError):
            from certifi import where

            return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or where())
        return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))

    @cached_property
    def _proxies(self) -> dict[str, str]:
        return urllib.request.getproxies()

    def _is_proxied(self, url: SplitResult) -> bool:
        return url.scheme in self._proxies and not urllib.request.proxy_bypass(url.netloc)


class _TimedFile(io.RawIOBase):
    """What a connection sends, until a deadline: its timeout alone starts anew with every byte."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, deadline: float) -> None:
        self._raw, self._connection, self._deadline = raw, connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(min(left, _TIMEOUT))
        return self._raw.readinto(target)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, connection: socket.socket, *args: Any, deadline: float, **options: Any) -> None:
        super().__init__(connection, *args, **options)
        self.fp = io.BufferedReader(_TimedFile(self.fp.detach(), connection, deadline))


def _ask(
    connection: http.client.HTTPConnection, url: SplitResult, headers: dict[str, str], deadline: float
) -> http.client.HTTPResponse:
    if connection.sock:
        connection.sock.settimeout(_TIMEOUT)
    connection.response_class = partial(_Answer, deadline=deadline)  # type: ignore[assignment]
    connection.request("GET", f"{url.path}?{url.query}", headers=headers)
    answer = connection.getresponse()
    if answer.status >= http.client.INTERNAL_SERVER_ERROR:
        raise http.client.HTTPException
    return answer


def _read_body(answer: http.client.HTTPResponse, length: int, deadline: float) -> bytes:
    content = bytearray()
    while len(content) < length:
        part = answer.read1(min(_CHUNK, length - len(content)))  # what is there: `read` waits for all, however slow
        if not part or time.monotonic() > deadline:
            raise http.client.IncompleteRead(bytes(content))
        content += part
    answer.read(1)  # ends an answer that has no more, so that its connection can be used again
    return bytes(content)
