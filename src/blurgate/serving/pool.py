"""The processes that judge: hands each a photo at a time, and replaces those that die or take too long."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from blurgate.errors import BlurgateError, ModelFileError
from blurgate.serving import wire
from blurgate.serving.metrics import Metrics
from blurgate.serving.problems import ProblemError
from blurgate.serving.settings import TOKEN_VARIABLE, Settings

_COMMAND = (sys.executable, "-P", "-m", "blurgate.serving.worker")  # -P: nothing is imported from the current folder
_LONGEST_PAUSE = 30.0  # seconds between attempts to replace a worker that cannot start
_NONE = 5.0  # seconds after which a photo no longer waits for a worker if there is none
_KEPT = 2**20  # bytes of a photo whose memory is kept for the next one
_PATIENCE = 120.0  # seconds until a worker must be ready: the first one may compile


class Worker:
    """A process that judges one photo at a time.

    Parameters
    ----------
    process : asyncio.subprocess.Process
    shared : SharedFile or None
        By which it gets photos; None for its pipe.
    """

    def __init__(self, process: Process, shared: wire.SharedFile | None) -> None:
        assert process.stdin  # noqa: S101 for type checkers: it is started with pipes
        assert process.stdout  # noqa: S101
        self._process, self._to, self._from = process, process.stdin, process.stdout
        self._shared, self._killed = shared, False

    @classmethod
    async def start(cls, settings: Settings, fingerprint: str) -> Worker:
        """Start a worker, and wait until it is ready.

        Parameters
        ----------
        settings : Settings
        fingerprint : str
            Of the model that it must judge by.

        Returns
        -------
        Worker

        Raises
        ------
        BlurgateError
            If it cannot judge.
        ModelFileError
            If its model is another one: the file has changed.
        """
        shared = None
        try:
            shared = wire.SharedFile() if wire.SharedFile.exists() else None
            passed = (shared.number,) if shared else ()
            process = await asyncio.create_subprocess_exec(
                *_COMMAND,
                *map(str, passed),
                stdin=PIPE,
                stdout=PIPE,
                limit=2**20,
                pass_fds=passed,
                start_new_session=True,  # Ctrl-C in a terminal is for the server
                env={name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE},
            )
        except BaseException as error:
            if shared:
                shared.close()
            if isinstance(error, OSError):
                reason = error.strerror or error
                raise BlurgateError(f"a process that judges photos cannot be started: {reason}") from error
            raise
        worker = cls(process, shared)
        try:
            async with asyncio.timeout(_PATIENCE):
                found, _ = await worker._ask(
                    {
                        "model": settings.model,
                        "threshold": settings.threshold,
                        "review": settings.review,
                        "max_megapixels": settings.limits.max_megapixels,
                        "photo_time": settings.limits.photo_time,
                    }
                )
        except (TimeoutError, OSError, EOFError) as error:
            await worker.end()
            raise BlurgateError(
                f"a process that judges photos does not start ({type(error).__name__}): see what it printed"
            ) from error
        except BaseException:
            await worker.end()
            raise
        if "error" in found or found["fingerprint"] != fingerprint:
            await worker.end()
            raise ModelFileError(found.get("error") or f"{settings.model} has changed: start the service again")
        return worker

    @property
    def alive(self) -> bool:
        """False once the process has ended, or is about to."""
        return not self._killed and self._process.returncode is None

    async def judge(self, photo: bytes | bytearray, map: str) -> dict[str, Any]:  # noqa: A002 the word of the interface
        """Judge a photo; see `blurgate.serving.worker.Judge.answer`.

        Raises
        ------
        OSError, EOFError
            If the process ends before it has answered.
        """
        if self._shared is None:
            return (await self._ask({"map": map}, photo))[0]
        self._shared.write(photo)
        try:
            return (await self._ask({"map": map, "shared": len(photo)}))[0]
        finally:
            if len(photo) > _KEPT and self._shared:  # it is gone if the process is
                self._shared.clear()

    async def wait(self) -> None:
        """Wait until the process has ended."""
        await self._process.wait()

    def kill(self) -> None:
        """End the process now."""
        self._killed = True
        with suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """End the process, and wait for that."""
        self.kill()
        self._to.close()
        await self._process.wait()
        if self._shared:
            self._shared.close()
            self._shared = None

    async def _ask(self, head: dict[str, Any], content: bytes | bytearray = b"") -> tuple[dict[str, Any], bytes]:
        self._to.writelines(wire.pack(head, content))
        await self._to.drain()
        return await wire.receive(self._from)


class Pool:
    """Workers, as many as there should be.

    Parameters
    ----------
    settings : Settings
    fingerprint : str
        Of the model.
    metrics : Metrics
    say : callable
        Takes a line for whoever runs the service.
    """

    def __init__(self, settings: Settings, fingerprint: str, metrics: Metrics, say: Callable[[str], None]) -> None:
        self._settings, self.fingerprint, self._metrics, self._say = settings, fingerprint, metrics, say
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._workers: set[Worker] = set()
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """True if there is a worker."""
        return any(worker.alive for worker in self._workers)

    async def start(self) -> None:
        """Start all workers.

        Raises
        ------
        BlurgateError
            If one cannot start.
        """
        await self._add()  # alone: others load what it has compiled
        rest = [self._add() for _ in range(self._settings.count_workers() - 1)]
        for error in filter(None, await asyncio.gather(*rest, return_exceptions=True)):
            raise error

    async def _add(self) -> None:
        self._keep(await Worker.start(self._settings, self.fingerprint))

    async def judge(self, photo: bytes | bytearray, map: str) -> dict[str, Any]:  # noqa: A002 the word of the interface
        """Have the next idle worker judge a photo.

        Parameters
        ----------
        photo : bytes or bytearray
        map : {'', 'png', 'overlay'}

        Returns
        -------
        dict
            See `blurgate.serving.worker.Judge.answer`.

        Raises
        ------
        ProblemError
            If the worker dies, or the photo takes too long.
        """
        worker = await self._take_idle()
        # whoever asked may go away; the worker then still has to finish, or it would answer the next with this answer
        using = asyncio.ensure_future(self._use(worker, photo, map))
        using.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(using)

    async def _take_idle(self) -> Worker:
        while True:
            try:
                async with asyncio.timeout(_NONE):
                    worker = await self._idle.get()
            except TimeoutError:
                if not self.ready:
                    raise ProblemError("starting", "no process is ready to judge: send it again in a second") from None
                continue
            if worker.alive:  # else it died while it was idle, and its successor is coming
                return worker

    async def close(self) -> None:
        """End all workers."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._workers))
        self._workers.clear()

    async def _use(self, worker: Worker, photo: bytes | bytearray, map: str) -> dict[str, Any]:  # noqa: A002
        limit = self._settings.limits.photo_time
        try:
            async with asyncio.timeout(limit):
                return await worker.judge(photo, map)
        except TimeoutError as error:
            worker.kill()
            raise ProblemError(
                "slow-photo", f"the photo was not judged within {limit:g} s: send a smaller one"
            ) from error
        except (OSError, EOFError) as error:
            worker.kill()
            raise ProblemError(
                "died",
                "the process that judged the photo has died: send it again, and report the photo if it dies again",
            ) from error
        except BaseException:
            worker.kill()  # it may still answer, and the next would take that answer for its own
            raise
        finally:
            if worker.alive:
                self._idle.put_nowait(worker)

    def _keep(self, worker: Worker) -> None:
        """Take a worker in, and replace it whenever it dies."""
        self._take(worker)
        self._keepers.append(asyncio.create_task(self._replace(worker)))

    def _take(self, worker: Worker) -> None:
        self._workers.add(worker)
        self._metrics.workers.set(len(self._workers))
        self._idle.put_nowait(worker)

    async def _replace(self, worker: Worker) -> None:
        while True:
            await worker.wait()
            await worker.end()
            self._workers.discard(worker)
            self._metrics.workers.set(len(self._workers))
            self._metrics.restarts.inc()
            worker = await self._start_again()
            self._take(worker)

    async def _start_again(self) -> Worker:
        pause = 1.0
        while True:
            try:
                return await Worker.start(self._settings, self.fingerprint)
            except BlurgateError as error:
                self._say(f"a worker cannot be replaced, trying again in {pause:g} s: {error}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
