"""Starts the service: workers, app and HTTP; ends it without losing what is in flight."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable

from blurgate.errors import MachineError, require_extra
from blurgate.judging.model import find_bounds, load_model
from blurgate.serving.settings import Settings

_BACKLOG = 1024
_MOST = 500  # connections at a time
_FILES, _FILES_OF_WORKER = 30, 6  # open files of the server itself, and for each worker while one is replaced
_GRACE = 30  # seconds that requests in flight have after SIGTERM


def run_service(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, which let requests in flight end, and are raised again at the end.

    Parameters
    ----------
    settings : Settings
    say : callable
        Takes a line for whoever runs the service.

    Raises
    ------
    MissingExtraError
        If the extra ``serve`` is not installed.
    ModelFileError
        If the model cannot be loaded.
    MachineError
        If the address cannot be listened on.
    BlurgateError
        If no process that judges can start.
    ValueError
        If the threshold or the review does not suit the model.
    """
    require_extra("serve", "Serving")
    _open_streams()
    with asyncio.Runner(loop_factory=_choose_loop()) as runner:
        received = runner.run(_serve(settings, say))
    if received:
        signal.raise_signal(received)


def _open_streams() -> None:
    """Open standard streams that are closed: a connection, or a pipe to a worker, would take their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _count_connections(workers: int) -> int:
    """Count the connections that may be open at a time, and raise the limit of open files as far as it may be."""
    try:
        import resource
    except ImportError:  # on Windows
        return _MOST
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _MOST + _FILES + _FILES_OF_WORKER * workers
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, soft - _FILES - _FILES_OF_WORKER * workers))


def _choose_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Choose uvloop where it is installed: it moves large bodies faster; there is none for Windows."""
    try:
        from uvloop import new_event_loop
    except ModuleNotFoundError:
        return None
    return new_event_loop


async def _serve(settings: Settings, say: Callable[[str], None]) -> int:
    """Serve, and return the signal that ended it, or 0."""
    import uvicorn

    from blurgate.serving.app import Service, make_app
    from blurgate.serving.connections import Connection, Server
    from blurgate.serving.metrics import Metrics
    from blurgate.serving.pool import Pool

    logging.getLogger("python_multipart").propagate = False  # it logs what clients send
    logging.getLogger("python_multipart").addHandler(logging.NullHandler())
    model = load_model(settings.model)
    fingerprint = model.with_threshold(find_bounds(model, settings.threshold, settings.review)[0]).fingerprint
    metrics = Metrics(fingerprint)
    Connection.most = _count_connections(settings.count_workers())
    pool = Pool(settings, fingerprint, metrics, say)
    app = make_app(Service(model, settings, pool, metrics), settings)
    listening = _listen(settings.host, settings.port)
    server = Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="error",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
        )
    )

    async def start() -> None:
        try:
            await pool.start()
        except BaseException:
            server.should_exit = True
            raise
        host, port = listening.getsockname()[:2]
        where = f"[{host}]" if ":" in host else host
        workers = f"{settings.count_workers()} worker{'s' * (settings.count_workers() > 1)}"
        judges = f"model {settings.model} {fingerprint[:8]}, {workers}"
        say(f"blurgate serves http://{where}:{port} ({judges}); Ctrl-C ends it")

    try:
        with listening:
            starting = asyncio.create_task(start())
            await server.serve([listening])
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            if not server.received and not starting.cancelled() and (error := starting.exception()):
                raise error
    finally:
        await pool.close()
    return server.received


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MachineError(
            f"cannot listen on {host}:{port} ({reason}): choose another --host or --port",
            getattr(error, "errno", None) or 0,
        ) from error
