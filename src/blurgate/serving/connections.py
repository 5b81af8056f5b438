"""Connections of HTTP that end if a client is too slow or its headers are too long."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from blurgate.serving.problems import encode_problem

_HEAD_TIME = 10.0  # seconds from the first byte of a request, or the start of the connection, to the end of its headers
_HEAD_SIZE = 2**16  # bytes of the address and all headers
_CHUNK = 2**18  # bytes that may come at once, with the end of the headers and the beginning of a body in them
_SEND_TIME = 30.0  # seconds in which a client must take some of its answer
_LINGER = 5.0  # seconds in which the rest of a body is thrown away after its request has been answered


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits of its own that uvicorn leaves to a proxy."""

    _head_timer: asyncio.TimerHandle | None = None
    _linger_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None
    most = 1  # connections at a time: each is an open file
    _head_size, _in_head = 0, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a connection beyond the most, and wait for headers of others."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refuse("busy", "too many connections are open: try again in a second")
            return
        self._await_head()

    @property
    def _between_requests(self) -> bool:
        """True until the head of the next request is complete, also while the one before is judged."""
        return self.cycle is None or not self.cycle.more_body

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._stop_timers()
        self.pipeline.clear()  # nobody waits for these answers
        if self._send_timer is not None:
            self._send_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes until the headers are complete."""
        if self.transport.is_closing():
            return
        if self._between_requests:
            if not self._in_head and not data.strip(b"\r\n"):  # allowed, and means nothing: RFC 9112, 2.2
                return
            self._head_size += len(data)
            if self._head_size > _HEAD_SIZE + _CHUNK:
                self._refuse_head()
                return
            if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
                self._await_head()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Note that a head has begun."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop waiting for headers."""
        self._stop_timers()
        self._head_size, self._in_head = 0, False
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _HEAD_SIZE:
            self._refuse_head()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, unless its request has been refused."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_response_complete(self) -> None:
        """Give a client that is still sending a moment to read the answer."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and not self.transport.is_closing():
            self._linger_timer = self.loop.call_later(_LINGER, self.transport.close)
        if self._send_timer is None:
            self._await_reading()

    def on_message_complete(self) -> None:
        """Note that the body is complete, which uvicorn does not once its request has been answered."""
        if self.transport.is_closing():
            return
        super().on_message_complete()
        self.cycle.more_body = False
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def shutdown(self) -> None:
        """End the connection when its answer is sent; a body that is still arriving is not waited for."""
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_started and not self.pipeline:
            self._refuse("busy", "the service is ending: send it again in a second")
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse("bad-request", f"{msg.rstrip('.')}: send HTTP/1.1")

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_TIME, self._give_up)

    def _refuse_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # its answer is for another request
            self.transport.abort()
            return
        self._refuse("large-head", "address and headers may have at most 64 kB: send fewer headers, or shorter ones")

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self._refuse("slow-body", f"the headers must arrive within {_HEAD_TIME:g} s")

    def _await_reading(self) -> None:
        """Drop a client that takes nothing of its answer for a while: closing the connection would wait for it."""
        unread = self.transport.get_write_buffer_size()
        self._send_timer = self.loop.call_later(_SEND_TIME, self._drop_unread, unread) if unread else None

    def _drop_unread(self, before: int) -> None:
        if self.transport.get_write_buffer_size() >= before:
            self.transport.abort()
        else:
            self._await_reading()

    def _refuse(self, name: str, detail: str) -> None:
        """Answer without the app, and close the connection."""
        self._stop_timers()
        status, body, headers = encode_problem(name, detail)
        lines: dict[str, Any] = {**headers, "content-length": len(body), "connection": "close"}
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        self.transport.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + body)
        self.transport.close()

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._linger_timer = None


class Server(uvicorn.Server):
    """uvicorn's server, which ends on signals, but leaves raising them again to whoever runs it."""

    received = 0  # the first signal; 0: none came

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Let requests in flight end after SIGINT or SIGTERM."""

        def handle(number: int, frame: Any) -> None:
            self.received = self.received or number
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
