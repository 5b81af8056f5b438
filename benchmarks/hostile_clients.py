"""Clients that break off, lie and attack, each with the outcomes that are in order; FAULTS at the end.

``benchmarks/service.py faults`` and ``tests/serving/test_faults.py`` send them.
"""

import json
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.http_clients import (
    BOUNDARY,
    Address,
    Answer,
    frame,
    frame_photos,
    join_parts,
    open_socket,
    split,
)

PATH = "/v1/verdicts"
CLOSED, SILENT, LEFT = "closed", "no answer", "left"  # outcomes without a status
NAMES = {  # file names that a client may send
    "path": b"../../../../etc/passwd",
    "path of Windows": rb"C:\..\windows\win.ini",
    "script": b"<img src=x onerror=alert(1)>.jpg",
    "formula": b"=HYPERLINK(1).jpg",
    "NUL": b"a\0b.jpg",
    "64 kB": b"a" * 65_536 + b".jpg",
    "invalid UTF-8": b"\xff\xfe\xc3(.jpg",
    "text that runs right to left": "\u202egpj.exe".encode(),
}
_ODD = ("NUL", "64 kB", "invalid UTF-8")  # names that may be refused
_SMUGGLED = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to, and with what.

    Parameters
    ----------
    address : (str, int)
        Host and port of a server.
    photo : bytes
        A JPEG that can be judged.
    patience_s : float
        How long to wait for what the server does; longer than its own time-outs.
    quiet_s : float
        How long to wait for an answer that must not come.
    """

    address: Address
    photo: bytes
    patience_s: float = 30.0
    quiet_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Fault:
    """What a client does, and what may come of it.

    Parameters
    ----------
    send : callable
        Does it: -> all answers on its connection, or an outcome.
    allowed : tuple of str
        Outcomes: statuses, joined by commas, or one of `CLOSED`, `SILENT`, `LEFT`.
    slow : bool
        The server has to wait for a time-out of its own.
    """

    send: Callable[[Target], list[Answer] | str]
    allowed: tuple[str, ...]
    slow: bool = False

    def find_outcome(self, target: Target) -> str:
        """Do it: -> its outcome; a status from 400 on that does not describe its problem is one of its own.

        Parameters
        ----------
        target : Target

        Returns
        -------
        str
        """
        found = self.send(target)
        if isinstance(found, str):
            return found
        for answer in found:
            if answer.status >= 400 and answer.headers.get("content-type") != "application/problem+json":
                return f"{answer.status} without a problem"
        return ", ".join(str(answer.status) for answer in found)


def talk(
    target: Target, pieces: Iterable[bytes], *, pause_s: float = 0.0, answers: int = 1, end: bool = False
) -> list[Answer] | str:
    """Send bytes over a new connection, and read what comes back, also while sending.

    Parameters
    ----------
    target : Target
    pieces : iterable of bytes
        Sent one after the other.
    pause_s : float
        Between pieces.
    answers : int
        How many to wait for; for each after the first no longer than `Target.quiet_s`.
    end : bool
        Say, after the last piece, that nothing follows.

    Returns
    -------
    list of Answer, or str
        An outcome if there is no answer.
    """
    with open_socket(target.address) as connected:
        sender = threading.Thread(target=_send, args=(connected, pieces, pause_s, end))
        sender.start()
        found = _read(connected, target, answers)
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)
        sender.join()
    return found


def _send(connected: socket.socket, pieces: Iterable[bytes], pause_s: float, end: bool) -> None:
    with suppress(OSError):  # the server has closed the connection
        for piece in pieces:
            connected.sendall(piece)
            time.sleep(pause_s)
        if end:
            connected.shutdown(socket.SHUT_WR)


def _read(connected: socket.socket, target: Target, answers: int) -> list[Answer] | str:
    deadline = time.monotonic() + target.patience_s
    found: list[Answer] = []
    received = b""
    while len(found) < answers:
        left_s = max(0.0, deadline - time.monotonic())
        if not select.select([connected], [], [], min(left_s, target.quiet_s) if found else left_s)[0]:
            return found or SILENT
        try:
            chunk = connected.recv(2**16)
        except OSError:  # reset
            chunk = b""
        received += chunk
        while one := split(received, ended=not chunk):
            found.append(one[0])
            received = one[1]
        if not chunk:
            return found or CLOSED
    return found


def leave(target: Target, request: bytes, *, share: float, wait_s: float = 0.0, reset: bool = False) -> str:
    """Send a share of a request and leave, by closing the connection or by resetting it.

    Parameters
    ----------
    target : Target
    request : bytes
    share : float
        0 to 1.
    wait_s : float
        Before leaving.
    reset : bool
        Leave without a goodbye.

    Returns
    -------
    str
        `LEFT`.
    """
    with open_socket(target.address) as connected, suppress(OSError):
        connected.sendall(request[: int(share * len(request))])
        time.sleep(wait_s)
        if reset:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return LEFT


def _crowd(target: Target, count: int = 600) -> list[Answer] | str:
    """Open many connections, and say nothing on any: -> what comes of the last."""
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(open_socket(target.address))
        return talk(replace(target, patience_s=target.quiet_s), [])


def ask_raw(content: bytes, *, length: int | str | None = None, headers: Sequence[str] = ()) -> bytes:
    """Write a request with one raw photo, and any length in its header.

    Parameters
    ----------
    content : bytes
    length : int or str, optional
        As stated; by default the true one.
    headers : sequence of str
        More lines of the header.

    Returns
    -------
    bytes
    """
    request = frame("POST", PATH, content, "image/jpeg", headers)
    stated = b"Content-Length: %d" % len(content)
    return request if length is None else request.replace(stated, f"Content-Length: {length}".encode(), 1)


def ask_photo(photo: bytes) -> bytes:
    """Write a request with one photo in a part."""
    return frame_photos(PATH, [(b"a.jpg", photo)])


def chunk(content: bytes, size: int = 1000) -> bytes:
    """Write content in the chunks of a body without a length, without the last, empty one.

    Parameters
    ----------
    content : bytes
    size : int
        Bytes in a chunk.

    Returns
    -------
    bytes
    """
    parts = [content[first : first + size] for first in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def make_png(width: int, height: int, rows: bytes = bytes(1000)) -> bytes:
    """Make a PNG whose header states a size, whatever is in it.

    Parameters
    ----------
    width, height : int
        As stated.
    rows : bytes
        What is in it, before compression.

    Returns
    -------
    bytes
    """

    def block(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    blocks = block(b"IHDR", header) + block(b"IDAT", zlib.compress(rows)) + block(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + blocks


def _head(body: str = "", path: str = PATH) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n{body}".encode("latin-1")


def _pour(photo: bytes) -> Iterator[bytes]:
    """Send a body that never ends, as fast as the server takes it, up to 2 GiB."""
    yield _head("Transfer-Encoding: chunked\r\n\r\n")
    piece = chunk(photo + bytes(2**20), 2**20)
    yield from (piece for _ in range(2048))


def _cut(content: bytes, step: int = 1) -> Iterator[bytes]:
    yield from (content[first : first + step] for first in range(0, len(content), step))


def _misstate(photo: bytes, more: int) -> bytes:
    """Write a multipart request whose length is wrong by some bytes."""
    length = len(join_parts([(b"a.jpg", photo)]))
    return ask_photo(photo).replace(b"Length: %d" % length, b"Length: %d" % (length + more), 1)


def _never_read(target: Target) -> str:
    """Ask for large answers, many at once, and read none of them."""
    with open_socket(target.address) as connected:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connected.settimeout(target.quiet_s)
        with suppress(OSError):
            for _ in range(500):
                connected.sendall(frame("GET", "/openapi.json"))
    return LEFT


def _leave_in_the_answer(target: Target) -> str:
    """Read the first bytes of an answer only."""
    with open_socket(target.address, target.patience_s) as connected, suppress(OSError):
        connected.sendall(ask_raw(target.photo))
        connected.recv(10)
    return LEFT


def _bomb_among_photos(target: Target) -> list[Answer] | str:
    """Send a bad photo between two good ones: -> what became of each, if they come in the order of the parts."""
    photos = [(b"1", target.photo), (b"2", make_png(60_000, 60_000)), (b"3", target.photo)]
    found = talk(target, [frame_photos(PATH, photos)])
    if isinstance(found, str) or found[0].status != 200:
        return found
    verdicts = json.loads(found[0].body)["verdicts"]
    if [verdict["path"] for verdict in verdicts] != ["1", "2", "3"]:
        return "200 in another order"
    return "200: " + ", ".join("error" if verdict["decision"] == "error" else "judged" for verdict in verdicts)


def send_name(target: Target, name: bytes) -> list[Answer] | str:
    """Send a photo under a name; an answer in which the name is anything but data is an outcome of its own.

    Parameters
    ----------
    target : Target
    name : bytes
        As it stands in the header.

    Returns
    -------
    list of Answer, or str
    """
    found = talk(target, [frame_photos(PATH, [(name.replace(b'"', b"%22"), target.photo)])])
    if isinstance(found, list) and found[0].status == 200:
        answer = found[0]
        (verdict,) = json.loads(answer.body)["verdicts"]
        if not verdict["path"] or (name.isascii() and verdict["path"] not in name.decode()):  # it may be cut
            return f"200 with the name {verdict['path'][:80]!r}"
        if answer.headers["content-type"] != "application/json" or "nosniff" not in str(answer.headers):
            return f"200 as {answer.headers['content-type']}"
    return found


def _say(
    make: Callable[[bytes], Iterable[bytes]],
    *allowed: str,
    slow: bool = False,
    pause_s: float = 0.0,
    answers: int = 1,
    end: bool = False,
) -> Fault:
    """Make a fault of what a client says: from a photo to the pieces that `talk` sends."""
    return Fault(
        lambda target: talk(target, make(target.photo), pause_s=pause_s, answers=answers, end=end), allowed, slow
    )


def _smuggle(lines: str, body: bytes = b"") -> Fault:
    """Hide a second request where the end of the first can be understood in two ways."""
    return _say(lambda _: [_head(lines + "\r\n") + body + _SMUGGLED], "400", "501", CLOSED, answers=2)


_CHUNKED = "Transfer-Encoding: chunked\r\n"
_BAD, _REFUSED = ("400", CLOSED), ("400", "414", "431", CLOSED)
FAULTS: dict[str, Fault] = {  # name -> what is done, and what may come of it
    "hangs before the headers": _say(lambda _: [], "408", CLOSED, slow=True),
    "hangs in the headers": _say(lambda _: [_head()[:40]], "408", CLOSED, slow=True),
    "hangs in the body": _say(lambda photo: [ask_raw(photo)[: -len(photo) // 2]], "408", slow=True),
    "hangs in a part": _say(lambda photo: [ask_photo(photo)[:-200]], "408", slow=True),
    "hangs in a chunk": _say(lambda photo: [_head(_CHUNKED + "\r\nffff\r\n"), photo[:999]], "408", slow=True),
    "trickles the headers": _say(lambda _: _cut(_head("X: " + "a" * 10_000)), "408", CLOSED, pause_s=0.2, slow=True),
    "trickles the body": _say(lambda photo: _cut(ask_raw(photo + bytes(10**6)), 99), "408", pause_s=0.2, slow=True),
    "does not read its answers": Fault(_never_read, (LEFT,)),
    "opens 600 connections": Fault(_crowd, ("503", SILENT)),
    "leaves in the headers": Fault(lambda target: leave(target, _head(), share=0.5), (LEFT,)),
    "leaves in the upload": Fault(lambda target: leave(target, ask_raw(target.photo), share=0.5), (LEFT,)),
    "resets in the upload": Fault(
        lambda target: leave(target, ask_raw(target.photo), share=0.5, wait_s=0.05, reset=True), (LEFT,)
    ),
    "leaves before the answer": Fault(lambda target: leave(target, ask_raw(target.photo), share=1), (LEFT,)),
    "resets before the answer": Fault(
        lambda target: leave(target, ask_raw(target.photo), share=1, wait_s=0.005, reset=True), (LEFT,)
    ),
    "leaves in the answer": Fault(_leave_in_the_answer, (LEFT,)),
    "length too short": _say(
        lambda photo: [ask_raw(photo, length=len(photo) // 2)], "400", "422", "422, 400", answers=2
    ),
    "length too short for the parts": _say(lambda photo: [_misstate(photo, -500)], "400", "400, 400", answers=2),
    "length too long": _say(lambda photo: [ask_raw(photo, length=len(photo) + 500)], *_BAD, end=True),
    "length too long for the parts": _say(lambda photo: [_misstate(photo, 500)], *_BAD, end=True),
    "length of a petabyte": _say(lambda photo: [ask_raw(photo, length=10**15)], "413"),
    "length of 5,000 digits": _say(lambda photo: [ask_raw(photo, length="9" * 5000)], "413", *_BAD),
    "length below nothing": _say(lambda photo: [ask_raw(photo, length=-1)], *_BAD),
    "length of letters": _say(lambda photo: [ask_raw(photo, length="many")], *_BAD),
    "no body": _say(lambda _: [ask_raw(b"")], "400", "415", "422"),
    "chunks": _say(lambda photo: [_head(_CHUNKED + "\r\n"), chunk(photo), b"0\r\n\r\n"], "200"),
    "a chunk of no size": _say(lambda photo: [_head(_CHUNKED + "\r\nzz\r\n"), photo], *_BAD),
    "chunks without an end": _say(lambda photo: [_head(_CHUNKED + "\r\n"), chunk(photo)], *_BAD, end=True),
    "endless chunks": _say(_pour, "413"),
    "asks to go on": _say(lambda photo: [ask_raw(photo, headers=["Expect: 100-continue"])], "200"),
    "a PNG bomb": _say(lambda _: [ask_raw(make_png(60_000, 60_000))], "422"),
    "a PNG bomb among photos": Fault(_bomb_among_photos, ("200: judged, error, judged",)),
    "a PNG of no size": _say(lambda _: [ask_raw(make_png(0, 0))], "415", "422"),
    "half a photo": _say(lambda photo: [ask_raw(photo[: len(photo) // 2])], "422"),
    "text as a photo": _say(lambda _: [ask_raw(b"<svg onload=alert(1)>" * 99)], "415"),
    "1,000 photos": _say(lambda photo: [frame_photos(PATH, [(b"%d.jpg" % n, photo) for n in range(1000)])], "413"),
    "100,000 empty parts": _say(lambda _: [frame_photos(PATH, [(b"", b"")] * 100_000)], "400", "413"),
    "parts without a boundary": _say(
        lambda photo: [ask_photo(photo).replace(b"; boundary=" + BOUNDARY, b"", 1)], "400", "415"
    ),
    "another boundary": _say(lambda photo: [ask_photo(photo).replace(b"=" + BOUNDARY, b"=other", 1)], "400"),
    "a type of text": _say(lambda photo: [frame("POST", PATH, photo, "text/plain")], "415"),
    "a map of a script": _say(
        lambda photo: [ask_raw(photo).replace(b"verdicts", b"verdicts?map=<script>", 1)], "400", "422"
    ),
    "smuggled: length, then chunks": _smuggle(f"Content-Length: 5\r\n{_CHUNKED}", b"0\r\n\r\n"),
    "smuggled: chunks, then length": _smuggle(f"{_CHUNKED}Content-Length: 5\r\n", b"0\r\n\r\n"),
    "smuggled: two lengths": _smuggle(f"Content-Length: 0\r\nContent-Length: {len(_SMUGGLED)}\r\n"),
    "smuggled: a list of lengths": _smuggle(f"Content-Length: 0, {len(_SMUGGLED)}\r\n"),
    "smuggled: a length with a sign": _smuggle("Content-Length: +0\r\n"),
    "smuggled: a space after a name": _smuggle("Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "smuggled: chunks by another name": _smuggle("Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "smuggled: a bare line break": _smuggle(f"X: a\n{_CHUNKED}", b"0\r\n\r\n"),
    "garbage": _say(lambda _: [bytes(range(256)) * 40], *_BAD),
    "HTTP/2": _say(lambda _: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)], "505", *_BAD),
    "HTTP/0.9": _say(lambda _: [b"GET /healthz\r\n\r\n"], "200", "505", *_BAD),
    "TLS": _say(lambda _: [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506)], *_BAD),
    "a header of 1 MB": _say(lambda photo: [ask_raw(photo, headers=["X: " + "a" * 10**6])], *_REFUSED),
    "100,000 headers": _say(lambda photo: [ask_raw(photo, headers=[f"X-{n}: a" for n in range(100_000)])], *_REFUSED),
    "an address of 1 MB": _say(lambda _: [frame("GET", "/" + "a" * 10**6)], *_REFUSED),
    "a method of its own": _say(lambda _: [frame("BREW", PATH)], "400", "405"),
    "a path out of the page": _say(lambda _: [frame("GET", "/page/../../../../../../etc/passwd")], "400", "404"),
    "an encoded path out of the page": _say(lambda _: [frame("GET", "/page/%2e%2e/%2e%2e/app.py")], "400", "404"),
    "a path with NUL": _say(lambda _: [frame("GET", "/page/a%00.js")], "400", "404"),
    "two requests at once": _say(lambda photo: [ask_raw(photo) * 2], "200, 200", "200", answers=2),
    **{
        f"a file name: {what}": Fault(
            partial(send_name, name=name), ("200", "400", "431") if what in _ODD else ("200",)
        )
        for what, name in NAMES.items()
    },
}
