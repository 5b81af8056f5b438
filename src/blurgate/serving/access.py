"""The outer layer of the app: who may ask, and what every answer carries."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from blurgate.serving.metrics import Metrics
from blurgate.serving.problems import ProblemError, encode_problem

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

JUDGED = "/v1/verdicts"
OPEN = ("/healthz", "/readyz")  # no token needed: whoever watches the service has none
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(self)"),
]


class Access:
    """Lets in whoever has the token, counts and times requests, and adds headers for safety to every answer.

    Parameters
    ----------
    app : ASGI app
    token : str
        Empty if anybody may ask.
    metrics : Metrics
    paths : collection of str
        Addresses by which requests are counted; others are counted together.
    require_room : callable
        Raises a ProblemError if no more photos can be judged now. It is asked before anything of a body is read, and
        here, since whoever is turned away should cost little.
    """

    def __init__(
        self, app: App, token: str, metrics: Metrics, paths: frozenset[str], require_room: Callable[[], None]
    ) -> None:
        self._app, self._token, self._metrics, self._paths = app, token.encode(), metrics, paths
        self._require_room = require_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        started, path = time.perf_counter(), scope["path"] if scope["path"] in self._paths else "other"

        async def send_on(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
                self._metrics.requests.labels(path, message["status"]).inc()
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, send_on)
        except ProblemError as problem:
            self._metrics.rejected.labels(problem.name).inc()
            await _send_problem(send_on, problem)
        finally:
            self._metrics.latency.labels(path).observe(time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        if self._token and scope["path"] not in OPEN and not self._is_allowed(scope["headers"]):
            sent = any(name == b"authorization" for name, _ in scope["headers"])
            found = "what came is not the token of this service" if sent else "no token came"
            raise ProblemError("token", f"{found}: send it as Authorization: Bearer TOKEN")
        if scope["path"] == JUDGED:
            self._require_room()

    def _is_allowed(self, headers: list[tuple[bytes, bytes]]) -> bool:
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, rest = given[0].partition(b" ")
        token = rest.strip()
        if scheme.lower() == b"basic":
            try:
                token = base64.b64decode(token, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(token, self._token)


async def _send_problem(send: Send, problem: ProblemError) -> None:
    status, body, headers = encode_problem(problem.name, problem.detail)
    encoded = [(key.encode(), value.encode()) for key, value in headers.items()]
    encoded.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
