"""The body of a request -> photos, held in memory and nowhere else, within limits."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from blurgate.serving.problems import ProblemError
from blurgate.serving.settings import Limits

FIELD = "photos"  # name of the parts that hold photos
_LONGEST_NAME = 1000  # characters of a file name that are kept
_BOUNDARY = 70  # characters: RFC 2046
_HEADER = 2**14  # bytes of a header of a part, such as one with a file name
_IDLE, _LONGEST = 20.0, 300.0  # seconds without a byte, and for the whole body: three megabytes over a poor network
_SLOWEST = 4000  # bytes a second, on average over as long as a body may pause
_HELD = 4  # bodies of the largest size that are held at a time, of all requests together
_OTHERS = 1000  # parts that hold no photo
_SLOW = (
    f"the body must come without a pause of {_IDLE:g} s, at {_SLOWEST:,} bytes a second or more, and within "
    f"{_LONGEST:g} s: send it again"
)
_RAW = re.compile(r"image/[\w.+-]+|application/octet-stream")


@dataclass
class Upload:
    """A photo that a client sent.

    Parameters
    ----------
    name : str
        The file's, as the client says; any text.
    content : bytearray
    """

    name: str = ""
    content: bytearray = field(default_factory=bytearray)


class Memory:
    """What the bodies of all requests may take together.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._left = _HELD * limits.max_body * 1e6
        self._held: list[Held] = []  # the oldest first

    @contextmanager
    def hold(self) -> Iterator[Held]:
        """Hold a part of the memory for as long as the block lasts.

        Yields
        ------
        Held
            Nothing yet.
        """
        held = Held(self)
        self._held.append(held)
        try:
            yield held
        finally:
            self._held.remove(held)
            self._left += held.size

    def take(self, size: int) -> None:
        """Take bytes; if there are too few left, the body that has been arriving for longest is given up.

        Parameters
        ----------
        size : int

        Raises
        ------
        ProblemError
            If there are too few left.
        """
        if size > self._left:
            late = time.monotonic() - _IDLE
            slowest = next((held for held in self._held if held.arriving and held.since < late), None)
            if slowest:
                slowest.given_up = True
            raise ProblemError("busy", "too many photos are being sent at the same time: send it again in a second")
        self._left -= size


@dataclass(eq=False)
class Held:
    """What one body holds of the memory.

    Parameters
    ----------
    memory : Memory
    """

    memory: Memory
    size: int = 0
    since: float = field(default_factory=time.monotonic)
    arriving: bool = True
    given_up: bool = False

    def add(self, size: int) -> None:
        """Hold more bytes.

        Parameters
        ----------
        size : int

        Raises
        ------
        ProblemError
            If there are too few left, or others need the memory and this body is slow.
        """
        if self.given_up:
            raise ProblemError("slow-body", _SLOW)
        self.memory.take(size)
        self.size += size


async def read_uploads(
    chunks: AsyncIterator[bytes], content_type: str, length: int | None, limits: Limits, held: Held
) -> list[Upload]:
    """Read the photos of a request.

    Parameters
    ----------
    chunks : async iterator of bytes
        The body.
    content_type : str
        Of the request.
    length : int or None
        Of the body, as the client says.
    limits : Limits
    held : Held
        From `Memory.hold`.

    Returns
    -------
    list of Upload
        At least one.

    Raises
    ------
    ProblemError
        If the body is of another type, too large, too slow, damaged, or without photos.
    """
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    name = kind.decode("latin-1").lower()
    reader: _Form | _Raw
    if name == "multipart/form-data":
        reader = _Form(options.get(b"boundary", b""), limits.max_photos)
    elif _RAW.fullmatch(name):
        reader = _Raw()
    else:
        raise ProblemError(
            "media-type",
            f"the body must be multipart/form-data with parts named {FIELD}, or one photo as image/* or "
            f"application/octet-stream, got {'no content type' if not name else 'another content type'}",
        )
    most = limits.max_body * 1e6
    if length is not None and length > most:
        raise _too_large(limits)
    size, counted, since = 0, 0, time.monotonic()
    try:
        async with asyncio.timeout(_LONGEST):
            while chunk := await _take_next(chunks):
                size += len(chunk)
                if (passed := time.monotonic() - since) > _IDLE:
                    if size - counted < _SLOWEST * passed:
                        raise ProblemError("slow-body", _SLOW)
                    counted, since = size, since + passed
                if size > most:
                    raise _too_large(limits)
                held.add(len(chunk))
                reader.write(chunk)
    except TimeoutError as error:
        raise ProblemError("slow-body", _SLOW) from error
    except FormParserError as error:
        raise ProblemError(
            "bad-request",
            "the body is not well-formed multipart/form-data, or a name in it is too long: send it as a form does",
        ) from error
    held.arriving = False
    return reader.finish()


async def _take_next(chunks: AsyncIterator[bytes]) -> bytes:
    """Take the next chunk that is not empty; an empty one at the end."""
    async with asyncio.timeout(_IDLE):
        async for chunk in chunks:
            if chunk:
                return chunk
    return b""


def _too_large(limits: Limits) -> ProblemError:
    return ProblemError(
        "large-body", f"the body may have at most {limits.max_body:g} MB: send fewer photos at a time, or smaller ones"
    )


class _Raw:
    """A body that is one photo."""

    def __init__(self) -> None:
        self._upload = Upload()

    def write(self, chunk: bytes) -> None:
        self._upload.content += chunk

    def finish(self) -> list[Upload]:
        if not self._upload.content:
            raise ProblemError("bad-request", "the body must be a photo, but it is empty")
        return [self._upload]


class _Form:
    """A body of many parts."""

    def __init__(self, boundary: bytes, max_photos: int) -> None:
        if not boundary:
            raise ProblemError("bad-request", "the content type multipart/form-data must name its boundary")
        if len(boundary) > _BOUNDARY:
            raise ProblemError("bad-request", f"the boundary may have at most {_BOUNDARY} characters")
        self._max_photos = max_photos
        self._uploads: list[Upload] = []
        self._open: bytearray | None = None
        self._field, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._others, self._ended = 0, False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_field,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_content,
                "on_part_data": self._add_content,
                "on_end": self._end,
            },
            max_header_size=_HEADER,
        )

    def write(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def finish(self) -> list[Upload]:
        if not self._ended:
            raise ProblemError("bad-request", "the body ends within a part: send all of it")
        if not self._uploads:
            raise ProblemError(
                "bad-request", f"the form must have a part named {FIELD} for each photo, but it has none"
            )
        return self._uploads

    def _begin(self) -> None:
        self._headers, self._open = {}, None

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") != FIELD.encode():
            self._others += 1
            if self._others > _OTHERS:
                raise ProblemError("bad-request", f"the form has more than {_OTHERS} parts that hold no photo")
            return
        if len(self._uploads) == self._max_photos:
            raise ProblemError(
                "many-photos", f"a request may have at most {self._max_photos} photos: send the others in another one"
            )
        upload = Upload(options.get(b"filename", b"").decode("utf-8", "replace")[:_LONGEST_NAME])
        self._uploads.append(upload)
        self._open = upload.content

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        if self._open is not None:
            self._open += data[start:end]

    def _end(self) -> None:
        self._ended = True
