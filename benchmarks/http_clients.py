"""Clients of an HTTP server over plain sockets, which leave it as much of the cores as they can.

A thread per client, which waits in the kernel: bodies are made before the clock runs, and of an answer only the status
and the length are read.
"""

import itertools
import json
import select
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Address = tuple[str, int]
Numbers = dict[str, Any]
BOUNDARY = b"a-part-of-a-benchmark"
NO_ANSWER = 0  # in place of a status: the connection ended before one came
TOO_LATE = -1  # none came in time
_AT_ONCE = 2**18  # bytes handed to the kernel


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a request.

    Parameters
    ----------
    status : int
        `NO_ANSWER` or `TOO_LATE` if there is none.
    headers : dict of str to str
        By name in lower case.
    body : bytes
    seconds : float
        From the first byte sent to the last one received.
    early : bool
        It came before the whole request was sent.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    early: bool = False


def frame(method: str, path: str, body: bytes = b"", content_type: str = "", headers: Sequence[str] = ()) -> bytes:
    """Write a request.

    Parameters
    ----------
    method, path : str
    body : bytes
    content_type : str
    headers : sequence of str
        More lines of the header.

    Returns
    -------
    bytes
    """
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"Content-Length: {len(body)}"] if body or method == "POST" else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def join_parts(photos: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Write the body of a multipart request.

    Parameters
    ----------
    photos : sequence of (bytes, bytes)
        File name as it stands in the header, and content.

    Returns
    -------
    bytes
    """
    head = b'--%b\r\nContent-Disposition: form-data; name="photos"; filename="%b"\r\nContent-Type: image/jpeg\r\n\r\n'
    parts = [head % (BOUNDARY, name) + content + b"\r\n" for name, content in photos]
    return b"".join([*parts, b"--%b--\r\n" % BOUNDARY])


def frame_photos(path: str, photos: Sequence[tuple[bytes, bytes]], headers: Sequence[str] = ()) -> bytes:
    """Write a multipart request with photos: see `join_parts`.

    Parameters
    ----------
    path : str
    photos : sequence of (bytes, bytes)
        File name as it stands in the header, and content.
    headers : sequence of str
        More lines of the header.

    Returns
    -------
    bytes
    """
    return frame("POST", path, join_parts(photos), f"multipart/form-data; boundary={BOUNDARY.decode()}", headers)


class Client:
    """A client that keeps its connection.

    Parameters
    ----------
    address : (str, int)
        Host and port.
    timeout_s : float
        For a whole request.
    """

    def __init__(self, address: Address, timeout_s: float = 60.0) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer, which may come before all is sent.

        If the server has closed a connection that was kept, the request is sent once more over a new one, as every
        client does.

        Parameters
        ----------
        request : bytes
            As it goes over the wire.

        Returns
        -------
        Answer
        """
        kept = self._socket is not None
        answer = self._ask(request)
        return self._ask(request) if kept and answer.status == NO_ANSWER else answer

    def _ask(self, request: bytes) -> Answer:
        began = time.perf_counter()
        try:
            if self._socket is None:
                self._socket = open_socket(self.address, self.timeout_s)
            answer = _exchange(self._socket, request, began, self.timeout_s)
        except OSError:
            answer = Answer(NO_ANSWER, seconds=time.perf_counter() - began)
        if answer.early or answer.status <= 0 or answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def open_socket(address: Address, timeout_s: float = 10.0) -> socket.socket:
    """Connect; what is sent goes out at once.

    Parameters
    ----------
    address : (str, int)
        Host and port.
    timeout_s : float
        For each step, until it is changed.

    Returns
    -------
    socket.socket
    """
    connected = socket.create_connection(address, timeout_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _exchange(connected: socket.socket, request: bytes, began: float, timeout_s: float) -> Answer:
    connected.setblocking(False)
    left, received = memoryview(request), bytearray()
    poll = select.poll()
    poll.register(connected, select.POLLIN | select.POLLOUT)
    while (found := split(bytes(received))) is None:
        ready = poll.poll(1000 * max(0.0, began + timeout_s - time.perf_counter()))
        if not ready:
            return Answer(TOO_LATE, seconds=time.perf_counter() - began)
        if ready[0][1] != select.POLLOUT:  # also if it hung up: what came before that can still be read
            chunk = connected.recv(_AT_ONCE)
            if not chunk:
                found = split(bytes(received), ended=True) or (Answer(NO_ANSWER), b"")
                break
            received += chunk
        else:
            left = left[connected.send(left[:_AT_ONCE]) :]
            if not left:
                poll.modify(connected, select.POLLIN)
    seconds = time.perf_counter() - began
    return replace(found[0], seconds=seconds, early=bool(left))


def split(received: bytes, *, ended: bool = False) -> tuple[Answer, bytes] | None:
    """Split off the first answer from what came.

    Parameters
    ----------
    received : bytes
        So far.
    ended : bool
        Nothing follows.

    Returns
    -------
    (Answer, bytes) or None
        The answer and what follows it; None if it is not complete.
    """
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(first.split()[1])
    if 100 <= status < 200:
        return split(body, ended=ended)
    if "content-length" in headers:
        length = int(headers["content-length"])
        whole = len(body) >= length
    else:
        length = len(body)
        whole = body.endswith(b"0\r\n\r\n") or status in (204, 304)
    return (Answer(status, headers, body[:length]), body[length:]) if whole or ended else None


def name_problem(answer: Answer) -> str:
    """Read the last word of an answer's problem type, see RFC 9457; empty if it has none."""
    try:
        return str(json.loads(answer.body)["type"]).rpartition(":")[2]
    except (ValueError, KeyError, TypeError):
        return ""


@dataclass
class Load:
    """What some clients got in a time.

    Parameters
    ----------
    seconds : float
        How long.
    cpu_s : float
        That all threads of this process used meanwhile.
    answers : list of (float, int, float)
        Moment since the start, status, and seconds that it took.
    problems : Counter of str
        Status and name of the problem, of the answers that name one.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    answers: list[tuple[float, int, float]] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    def times(self, *statuses: int) -> list[float]:
        """List the seconds of the answers with one of the statuses."""
        return [seconds for _, status, seconds in self.answers if status in statuses]

    def count(self) -> dict[str, int]:
        """Count the answers by status."""
        return count_statuses(status for _, status, _ in self.answers)

    def sum_up(self, photos: int = 1) -> Numbers:
        """Give the figures.

        Parameters
        ----------
        photos : int
            In a request.

        Returns
        -------
        dict
        """
        accepted = self.times(200)
        return {
            "photos_per_s": round(photos * len(accepted) / self.seconds, 2),
            "accepted_ms": sum_up_times(accepted),
            "statuses": self.count(),
            "problems": dict(sorted(self.problems.items())),
            "share_of_503": round(len(self.times(503)) / max(1, len(self.answers)), 4),
            "time_to_503_ms": sum_up_times(self.times(503)),
            "clients_cpu_share": round(self.cpu_s / self.seconds, 3),
        }


def count_statuses(statuses: Any) -> dict[str, int]:
    """Count statuses; words for those that are none."""
    words = {NO_ANSWER: "closed without an answer", TOO_LATE: "no answer in time"}
    return dict(sorted(Counter(words.get(status, str(status)) for status in statuses).items()))


def sum_up_times(seconds: Sequence[float]) -> Numbers | None:
    """Give p50, p95, p99 and the largest of some times, in ms; None without any."""
    if not seconds:
        return None
    cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 99
    figures = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "largest": max(seconds)}
    return {name: round(1e3 * value, 2) for name, value in figures.items()}


def load(address: Address, requests: Sequence[bytes], clients: int, seconds: float, *, patient: bool = True) -> Load:
    """Let clients ask one request after another, each when it has the answer to the last.

    Parameters
    ----------
    address : (str, int)
        Host and port.
    requests : sequence of bytes
        Asked in turn.
    clients : int
        How many.
    seconds : float
        How long. Answers that come later do not count.
    patient : bool
        After a 503, a client waits as long as its Retry-After says.

    Returns
    -------
    Load
    """
    result, ended = Load(), threading.Event()
    turns = itertools.cycle(requests)
    ready = threading.Barrier(clients + 1)

    def work() -> None:
        client = Client(address)
        ready.wait()
        while not ended.is_set():
            answer = client.ask(next(turns))
            moment = time.perf_counter() - began
            if ended.is_set():
                break
            result.answers.append((moment, answer.status, answer.seconds))
            if answer.status >= 400:
                result.problems[f"{answer.status} {name_problem(answer)}"] += 1
            if answer.status == 503 and patient:
                ended.wait(float(answer.headers.get("retry-after", 0)))
            elif answer.status <= 0:
                ended.wait(0.05)  # of a server that refuses connections
        client.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    began, cpu = time.perf_counter(), time.process_time()
    ready.wait()
    ended.wait(seconds)
    result.seconds, result.cpu_s = time.perf_counter() - began, time.process_time() - cpu
    ended.set()
    for thread in threads:
        thread.join()
    return result
