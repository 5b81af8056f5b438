"""The addresses of the service, and what happens at each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from blurgate.errors import name_first
from blurgate.judging.description import describe_model
from blurgate.judging.model import BlurModel, find_bounds
from blurgate.judging.sentences import describe
from blurgate.judging.verdicts import Verdict
from blurgate.pages import read_style
from blurgate.serving import metrics as counting
from blurgate.serving.access import JUDGED, Access, App
from blurgate.serving.metrics import Metrics
from blurgate.serving.pool import Pool
from blurgate.serving.problems import ProblemError, describe_problem, encode_problem, name_status
from blurgate.serving.schema import (
    DESCRIPTION,
    MODEL_HEADER,
    TITLE,
    WITH_MODEL,
    ProblemAnswer,
    State,
    Verdicts,
    describe_body,
    list_responses,
    write_example,
)
from blurgate.serving.settings import Settings
from blurgate.serving.uploads import Memory, Upload, read_uploads
from blurgate.version import __version__

PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_PAGES = {"/": "index.html", "/form": "form.html", "/blurgate-input.js": "blurgate-input.js"}
# nothing that a client sends leaves this process, whatever the environment says; older FastAPIs have none
_NO_TELEMETRY: Any = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)


class Service:
    """Judges the photos of requests.

    Parameters
    ----------
    model : BlurModel
    settings : Settings
    pool : Pool
    metrics : Metrics
    """

    def __init__(self, model: BlurModel, settings: Settings, pool: Pool, metrics: Metrics) -> None:
        low, high = find_bounds(model, settings.threshold, settings.review)
        self.fingerprint = pool.fingerprint
        self.model = {
            "fingerprint": self.fingerprint,
            "threshold": high,
            "review": None if settings.review is None else [low, high],
        }
        self.description = describe_model(model)
        self.pool, self.metrics, self._settings = pool, metrics, settings
        self._memory, self._admitted = Memory(settings.limits), 0

    async def judge(self, request: Request, map: str) -> Response:  # noqa: A002 the word of the interface
        """Answer a request with photos.

        Parameters
        ----------
        request : Request
        map : {'', 'png', 'overlay'}

        Returns
        -------
        Response

        Raises
        ------
        ProblemError
            If it has no photos, too much of anything, or a single photo that cannot be judged.
        """
        length = request.headers.get("content-length")
        content_type = request.headers.get("content-type", "")
        limits = self._settings.limits
        with self._memory.hold() as held:
            uploads = await read_uploads(request.stream(), content_type, int(length) if length else None, limits, held)
            with self._admit():
                verdicts = await _unless_disconnected(request, self._judge_all(uploads, map))
        body = json.dumps({"model": self.model, "verdicts": verdicts}).encode()
        return Response(body, media_type="application/json", headers={MODEL_HEADER: self.fingerprint})

    async def _judge_all(self, uploads: list[Upload], map: str) -> list[dict[str, Any]]:  # noqa: A002
        """Judge photos, some at a time: the workers take those of other requests in between."""
        if len(uploads) == 1:
            return [await self._judge_one(uploads[0], map, alone=True)]
        room = asyncio.Semaphore(self._settings.count_workers())

        async def judge(upload: Upload) -> dict[str, Any]:
            async with room:
                return await self._judge_one(upload, map, alone=False)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judge(upload)) for upload in uploads]
        return [task.result() for task in tasks]

    async def _judge_one(self, upload: Upload, map: str, *, alone: bool) -> dict[str, Any]:  # noqa: A002
        """Judge a photo; one that cannot be judged ends the request if it is alone."""
        try:
            verdict = await self._ask_worker(upload, map)
        except ProblemError as problem:
            if alone:
                raise
            self.metrics.rejected.labels(problem.name).inc()
            failed = Verdict(error=problem.detail)
            told = describe_problem(problem.name, problem.detail)
            return {**asdict(failed), "path": upload.name, "sentence": describe(failed), "map": None, "problem": told}
        self.metrics.decisions.labels(verdict["decision"]).inc()
        return {**verdict, "path": upload.name, "problem": None}

    async def _ask_worker(self, upload: Upload, map: str) -> dict[str, Any]:  # noqa: A002
        found = await self.pool.judge(upload.content, map)
        upload.content = bytearray()
        for timer, seconds in zip((self.metrics.reading, self.metrics.judging), found["seconds"], strict=True):
            timer.observe(seconds)
        if found["failure"]:
            raise ProblemError(found["failure"], found["verdict"]["error"])
        verdict: dict[str, Any] = found["verdict"]
        return verdict

    def require_room(self) -> None:
        """Check that a request can be admitted.

        Raises
        ------
        ProblemError
            If no worker is ready, or as many requests as may wait are waiting.
        """
        if not self.pool.ready:
            raise ProblemError("starting", "no process is ready to judge: send it again in a second")
        if self._admitted >= self._settings.count_workers() + self._settings.count_waiting():
            raise ProblemError("busy", "the queue is full: send it again in a second")

    @contextmanager
    def _admit(self) -> Iterator[None]:
        """Count a request in as long as the block lasts."""
        self.require_room()
        self._admitted += 1
        self.metrics.queue.set(self._admitted)
        try:
            yield
        finally:
            self._admitted -= 1
            self.metrics.queue.set(self._admitted)


def make_app(service: Service, settings: Settings) -> App:
    """Make the ASGI app.

    Parameters
    ----------
    service : Service
    settings : Settings

    Returns
    -------
    ASGI app
    """
    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # they load scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # to an address that the client names
        telemetry=_NO_TELEMETRY,
    )
    _add_interface(app, service, settings)
    _add_pages(app)
    _add_handlers(app, service)
    _complete_schema(app, with_token=bool(settings.token))
    paths = frozenset({JUDGED, "/v1/model", "/healthz", "/readyz", "/metrics", "/openapi.json", *_PAGES})
    outer: App = Access(app, settings.token, service.metrics, paths, service.require_room)
    if settings.origins:  # outside of access: a browser asks whether it may send a token without sending one
        everywhere = "*" in settings.origins
        outer = CORSMiddleware(
            outer,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            allow_credentials=not everywhere,
            expose_headers=["retry-after", MODEL_HEADER],
        )
    return outer


def _add_interface(app: FastAPI, service: Service, settings: Settings) -> None:
    always = ("token",) if settings.token else ()

    @app.post(
        JUDGED,
        operation_id="judge",
        summary="Judge photos",
        response_model=Verdicts,
        responses={
            **WITH_MODEL,
            **list_responses(
                *("bad-request", *always, "slow-body", "large-body", "many-photos", "media-type", "no-picture"),
                *("unreadable", "large-head", "failed", "busy", "starting", "died", "slow-photo"),
            ),
        },
        openapi_extra=describe_body(settings.limits),
    )
    async def judge(
        request: Request,
        map: Annotated[  # noqa: A002 the word of the interface
            Literal["png", "overlay"] | None, Query(description="Also draw a map of what is blurred.")
        ] = None,
    ) -> Response:
        """Judge one photo or many.

        A single photo that cannot be judged fails the request, with the status that says why. Of several, each that
        fails has the decision `error` and its own `problem`, and the others are judged.
        """
        if unknown := sorted(set(request.query_params) - {"map"}):
            raise ProblemError(
                "bad-request", f"{name_first(unknown)} is no parameter of this address: map is the only one"
            )
        return await service.judge(request, map or "")

    @app.get("/v1/model", operation_id="describe", summary="Describe the model", responses=list_responses(*always))
    async def model() -> dict[str, Any]:
        """Describe the model as `blurgate info --json` does: figures, limits, training data and their terms."""
        return service.description

    @app.get("/healthz", operation_id="health", summary="Is the service alive?", response_model=State)
    async def health() -> dict[str, str]:
        """Answers as long as the service runs; needs no token."""
        return {"status": "ok"}

    @app.get(
        "/readyz",
        operation_id="ready",
        summary="Can the service judge?",
        response_model=State,
        responses=list_responses("starting"),
    )
    async def ready() -> dict[str, str]:
        """Answers with 200 as soon as a process is ready to judge; needs no token."""
        if not service.pool.ready:
            raise ProblemError("starting", "no process is ready to judge: ask again in a second")
        return {"status": "ok"}

    for path, answer in {"/healthz": health, "/readyz": ready}.items():  # as monitors ask
        app.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)

    @app.get(
        "/metrics",
        operation_id="metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={
            200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
            **list_responses(*always),
        },
    )
    async def metrics() -> Response:
        """Count requests, latency, decoding, decisions, queue, workers and what was rejected."""
        return Response(service.metrics.encode(), media_type=counting.MEDIA_TYPE)


def _add_pages(app: FastAPI) -> None:
    """Add the files of the page, which are few and small."""

    def add(address: str, content: bytes, media_type: str) -> None:
        @app.api_route(address, methods=["GET", "HEAD"], include_in_schema=False)
        async def page() -> Response:
            return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in _TYPES}
    files["style.css"] = read_style().encode()
    places = {**_PAGES, **{f"/page/{name}": name for name in files}}
    for address, name in places.items():
        add(address, files[name], _TYPES[Path(name).suffix])


def _add_handlers(app: FastAPI, service: Service) -> None:
    def answer(name: str, detail: str, more: dict[str, str] | None = None) -> Response:
        status, body, headers = encode_problem(name, detail)
        service.metrics.rejected.labels(name).inc()
        return Response(body, status, {**headers, **(more or {}), MODEL_HEADER: service.fingerprint})

    @app.exception_handler(ProblemError)
    async def tell(_: Request, error: ProblemError) -> Response:
        return answer(error.name, error.detail)

    @app.exception_handler(RequestValidationError)
    async def tell_invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return answer("bad-request", f"{first['loc'][-1]} is not valid: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def tell_status(_: Request, error: HTTPException) -> Response:
        detail = f"{error.detail}: /openapi.json lists the addresses and what they take"
        return answer(name_status(error.status_code), detail, dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def forget(_: Request, __: ClientDisconnect) -> Response:
        return answer("bad-request", "the client has gone away")

    @app.exception_handler(Exception)
    async def tell_failure(_: Request, __: Exception) -> Response:
        return answer("failed", "an error that should not happen: report it")


def _complete_schema(app: FastAPI, *, with_token: bool) -> None:
    """Add what FastAPI cannot know to the OpenAPI description."""
    schema = app.openapi()
    components = schema["components"]
    components["schemas"].pop("HTTPValidationError", None)
    components["schemas"].pop("ValidationError", None)
    components["schemas"]["Verdicts"]["examples"] = [write_example()]  # FastAPI drops what is null
    components["schemas"]["ProblemAnswer"] = ProblemAnswer.model_json_schema()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            found = operation["responses"].get("422")
            if found and "application/json" in found["content"]:  # FastAPI's own, which this service answers with 400
                found["content"].pop("application/json")
                if not found["content"]:
                    operation["responses"].pop("422")
            if with_token and path not in ("/healthz", "/readyz"):
                operation["security"] = [{"bearer": []}, {"basic": []}]
    if with_token:
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {"type": "http", "scheme": "basic", "description": "Any name, and the token as password."},
        }


async def _unless_disconnected(request: Request, work: Any) -> Any:
    """Do work for as long as the client waits for it."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(watch())
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
