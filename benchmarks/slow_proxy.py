"""A proxy on loopback that makes a server slow, or hostile: latency, refusals, cut bodies, dribbled bodies.

`python -m benchmarks.slow_proxy PORT --latency-ms 20` stands before a server on this machine at PORT, prints its own
port, and runs until it is interrupted. It copies bytes, and looks only for the beginning of a GET.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 2**18
_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_REFUSAL = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
    % (len(_BUSY), _BUSY)
)


@dataclass
class Faults:
    """What goes wrong with a GET of an object.

    Parameters
    ----------
    refuse, cut, dribble : float
        Shares of the requests, 0 to 1: answered by 503, cut inside the body, sent in small pieces with waits.
    seed : int
    only : bytes
        Text that a path must have for its request to go wrong; listings are left alone by naming a suffix.
    most : int
        So often may the same path go wrong; later requests for it are answered.
    """

    refuse: float = 0.0
    cut: float = 0.0
    dribble: float = 0.0
    seed: int = 0
    only: bytes = b"."
    most: int = 3
    made: Counter[str] = field(default_factory=Counter)
    _of_paths: Counter[bytes] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def choose(self, head: bytes) -> str:
        """Choose what happens to a request: ``refuse``, ``cut``, ``dribble``, or nothing."""
        words = head.split(b" ", 2)
        if words[0] != b"GET" or len(words) < 3 or self.only not in words[1].split(b"?")[0]:
            return ""
        draw = self._random.random()
        for name in ("refuse", "cut", "dribble"):
            draw -= getattr(self, name)
            if draw < 0:
                if self._of_paths[words[1]] >= self.most:
                    return ""
                self._of_paths[words[1]] += 1
                self.made[name] += 1
                return name
        return ""


@contextmanager
def run_proxy(target: int, *, latency_s: float = 0.0, faults: Faults | None = None) -> Iterator[int]:
    """Run the proxy on a thread of its own.

    Parameters
    ----------
    target : int
        Port of the server on this machine.
    latency_s : float
        From the first byte of a request to the first of its answer, beside what the server takes; bytes already on
        their way are not held up, so that bandwidth stays.
    faults : Faults, optional

    Yields
    ------
    int
        Port of the proxy.
    """
    loop, ready = asyncio.new_event_loop(), threading.Event()
    ports: list[int] = []
    stop = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(
            lambda reader, writer: _forward(reader, writer, target, latency_s, faults), "127.0.0.1", 0, backlog=500
        )
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int, latency_s: float, faults: Faults | None
) -> None:
    try:
        upstream, to_server = await asyncio.open_connection("127.0.0.1", target)
    except OSError:
        writer.close()
        return
    plan = [""]
    questions, answers = _delay(reader, latency_s / 2), _delay(upstream, latency_s / 2)
    sides = [
        asyncio.ensure_future(_ask(questions, to_server, writer, plan, faults)),
        asyncio.ensure_future(_answer(answers, writer, plan)),
    ]
    with suppress(OSError, asyncio.CancelledError):
        await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
    for side in sides:
        side.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await side
    for end in (writer, to_server):
        with suppress(OSError, RuntimeError):
            end.close()


async def _ask(
    questions: AsyncIterator[bytes],
    to_server: asyncio.StreamWriter,
    writer: asyncio.StreamWriter,
    plan: list[str],
    faults: Faults | None,
) -> None:
    async for head in questions:
        plan[0] = faults.choose(head) if faults else ""
        if plan[0] == "refuse":
            writer.write(_REFUSAL)
            await writer.drain()
            break
        to_server.write(head)
        await to_server.drain()


async def _answer(answers: AsyncIterator[bytes], writer: asyncio.StreamWriter, plan: list[str]) -> None:
    async for part in answers:
        if plan[0] == "cut":
            start = part.find(b"\r\n\r\n") + 4
            writer.write(part[: start + (len(part) - start) // 2])
            await writer.drain()
            break
        for piece in _cut(part, 8) if plan[0] == "dribble" else (part,):
            writer.write(piece)
            await writer.drain()
            if plan[0] == "dribble":
                await asyncio.sleep(0.02)


def _cut(part: bytes, count: int) -> Iterator[bytes]:
    step = max(1, -(-len(part) // count))
    for start in range(0, len(part), step):
        yield part[start : start + step]


async def _delay(reader: asyncio.StreamReader, seconds: float) -> AsyncIterator[bytes]:
    """Yield what arrives, each part some time after it came; what comes meanwhile waits its own time, not longer."""
    loop = asyncio.get_running_loop()
    parts: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

    async def read() -> None:
        try:
            while part := await reader.read(_CHUNK):
                await parts.put((loop.time() + seconds, part))
        except OSError:
            pass
        await parts.put((0.0, b""))

    task = asyncio.ensure_future(read())
    try:
        while True:
            when, part = await parts.get()
            if not part:
                return
            if (wait := when - loop.time()) > 0:
                await asyncio.sleep(wait)
            yield part
    finally:
        task.cancel()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--latency-ms", type=float, default=20)
    options = parser.parse_args()
    with run_proxy(options.port, latency_s=options.latency_ms / 1000) as port:
        print(port, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
