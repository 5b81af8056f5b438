"""What a service answers -> verdict and map, a try again, or what is wrong with the photo or with the service."""

from __future__ import annotations

import json
import math
import random
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from blurgate.errors import PhotoError, ServiceError, escape_unprintable
from blurgate.judging.verdicts import DECISIONS, KINDS, MIXED, Verdict
from blurgate.version import __version__

if TYPE_CHECKING:
    import httpx

    Outcome: TypeAlias = "httpx.Response | httpx.RequestError"

_PROBLEM = "urn:blurgate:problem:"
_OF_PHOTO = (413, 415, 422, 504)  # statuses of problems that another photo would not have
_UNNAMED = "the picture"  # how a sentence about a photo without a name begins
_BUSY = 503
_DIED = "died"  # the problem that the process which judges has died: of the photo if it happens twice
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0  # seconds between two tries; each pause is twice as long as the one before
_MOST_ASKED = 60.0  # seconds: a service that wants to be left alone for longer is not waited for
_MOST = 2**31  # of any number in a verdict
_LARGEST = 100_000_000  # bytes of an answer: a map of a photo of 200 megapixels, and more
_MOST_QUOTED = 500  # characters of what a service says


@dataclass(frozen=True)
class Answer:
    """What a service says about one photo.

    Parameters
    ----------
    verdict : Verdict
    sentence : str
        Why the verdict is what it is.
    map : bytes or None
        Where the photo is blurred, as a PNG; empty if nothing can be told, None if it was not asked for.
    fingerprint : str
        Of the model that judged.
    """

    verdict: Verdict
    sentence: str
    map: bytes | None = field(repr=False)
    fingerprint: str


class Body:
    """Collects an answer, within limits: a service may be wrong, or be another one.

    Parameters
    ----------
    response : httpx.Response
        Its head alone.
    seconds : float or None
        In which all of it must come.

    Raises
    ------
    httpx.DecodingError
        If it is compressed, which was not asked for.
    """

    def __init__(self, response: httpx.Response, seconds: float | None) -> None:
        import httpx

        self._response, self._parts, self._size = response, list[bytes](), 0
        self._until = math.inf if seconds is None else time.monotonic() + seconds
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx.DecodingError("it is compressed")

    def add(self, chunk: bytes) -> None:
        """Add a piece.

        Raises
        ------
        httpx.DecodingError
            If there is too much of it.
        httpx.ReadTimeout
            If it takes too long.
        """
        import httpx

        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size > _LARGEST:
            raise httpx.DecodingError(f"it has more than {_LARGEST / 1e6:g} MB")
        if time.monotonic() > self._until:
            raise httpx.ReadTimeout("the answer came too slowly")

    def finish(self) -> httpx.Response:
        """Give the whole answer."""
        import httpx

        whole = b"".join(self._parts)
        return httpx.Response(self._response.status_code, headers=self._response.headers, content=whole)


class Peer:
    """A service as a client knows it.

    Parameters
    ----------
    url : str
    retries : int
        How many times a photo is sent again.

    Raises
    ------
    ValueError
        If `retries` is below 0.
    """

    def __init__(self, url: str, retries: int) -> None:
        if retries < 0:
            raise ValueError(f"retries must be at least 0, got {retries}")
        self.url, self.retries = url, retries
        self.answered = 0  # requests, of all photos, by anything but 503

    def note(self, outcome: Outcome) -> None:
        """Note that there is an outcome that stands; not from several threads at once.

        Parameters
        ----------
        outcome : httpx.Response or httpx.RequestError
        """
        if not isinstance(outcome, Exception) and outcome.status_code != _BUSY:
            self.answered += 1

    def begin(self, path: str) -> Exchange:
        """Begin with a photo.

        Parameters
        ----------
        path : str
            Empty for a photo in memory.

        Returns
        -------
        Exchange
        """
        return Exchange(self, path)


class Exchange:
    """What is sent and comes back until there is an answer about one photo.

    Parameters
    ----------
    service : Peer
    path : str
        Of the photo; empty for one in memory.
    """

    def __init__(self, service: Peer, path: str) -> None:
        self._service, self._path, self._url = service, path, service.url
        self._tries = 0
        self._at_refusal = self._at_sending = service.answered

    @property
    def has_room(self) -> bool:
        """True if the service has answered about another photo since this one was sent."""
        return self._service.answered > self._at_sending

    def send_again(self) -> None:
        """Note that the photo is sent again."""
        self._at_sending = self._service.answered

    def find_pause(self, outcome: Outcome) -> float | None:
        """Find how long to wait before the next try.

        Parameters
        ----------
        outcome : httpx.Response or httpx.RequestError
            Of the last try.

        Returns
        -------
        float or None
            Seconds, or until there `has_room`; None if the outcome stands.
        """
        import httpx

        asked, again, most = 0.0, False, self._service.retries
        if not isinstance(outcome, httpx.Response):  # before any answer, and not for want of time
            again = isinstance(outcome, httpx.ConnectTimeout | httpx.NetworkError | httpx.RemoteProtocolError)
        elif outcome.status_code == _BUSY:
            again, asked = True, _read_seconds(outcome.headers.get("retry-after", ""))
            if self._service.answered > self._at_refusal:  # it is busy with other photos of this client: no try is lost
                self._tries, self._at_refusal = 0, self._service.answered
            if _read_problem(outcome.content)[0] == _DIED:
                most = min(most, 1)
        self._tries += 1
        own = min(_FIRST_PAUSE * 2 ** (self._tries - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311 no secret
        return asked + own if again and self._tries <= most and asked <= _MOST_ASKED else None

    def read_answer(self, outcome: Outcome) -> Answer:
        """Turn an outcome that stands into an answer, or raise what is wrong with the photo or the service.

        Parameters
        ----------
        outcome : httpx.Response or httpx.RequestError

        Returns
        -------
        Answer

        Raises
        ------
        PhotoError
            If the service cannot judge this photo.
        ServiceError
            If the service cannot be reached, refuses, is busy, or its answer is not valid.
        """
        if isinstance(outcome, Exception):
            raise ServiceError(self._describe_failure(outcome)) from outcome
        if outcome.status_code != 200:
            error = self._find_error(outcome)
            raise error
        try:
            return _parse_answer(outcome.content, self._path)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be read: {error}"
            raise ServiceError(
                f"{self._url} was asked for a verdict, but its answer {_quote(what)}: check that this is the address "
                f"of a blurgate service, and that its version fits {__version__}"
            ) from error

    def _describe_failure(self, error: httpx.RequestError) -> str:
        name, reason = type(error).__name__, _quote(str(error) or type(error).__name__)
        if name in ("ReadTimeout", "WriteTimeout"):
            return f"{self._url} did not answer in time ({reason}): raise timeout, or check the load of the service"
        if name in ("DecodingError", "UnsupportedProtocol"):
            return (
                f"{self._url} was asked for a verdict, but its answer cannot be read ({reason}): check that this is "
                "the address of a blurgate service"
            )
        tried = "" if self._tries == 1 else f", tried {self._tries} times"
        return f"{self._url} cannot be reached ({reason}{tried}): check the address, and that the service runs"

    def _find_error(self, response: httpx.Response) -> PhotoError | ServiceError:
        """Find what a response means that is no answer: something about the photo, or about the service."""
        status, (name, detail) = response.status_code, _read_problem(response.content)
        if name and (status in _OF_PHOTO or name == _DIED):
            reason = detail.removeprefix(_UNNAMED)
            return PhotoError(f"{self._path}{reason}" if self._path and reason != detail else detail)
        said = detail or f"status {status}"
        if status == 401:
            return ServiceError(f"{self._url} accepts no request without its token: pass the right one as token")
        if status == _BUSY:
            return ServiceError(
                f"{self._url} is still busy after {self._tries} {'try' if self._tries == 1 else 'tries'} ({said}): "
                "ask again later, lower jobs, or raise retries"
            )
        if response.has_redirect_location:
            where = _quote(response.headers["location"])
            return ServiceError(f"{self._url} sends requests on to {where}: name the final address of the service")
        if detail:
            return ServiceError(
                f"{self._url} could not judge the photo ({said}): look at what the service itself reports"
            )
        return ServiceError(
            f"{self._url} was asked for a verdict, but answered with status {status} and not as blurgate does: check "
            "the address, and the limits of a proxy before the service"
        )


def _read_seconds(retry_after: str) -> float:
    """Read a header that has seconds or a date; 0 if it has neither."""
    with suppress(ValueError):
        return max(0.0, float(retry_after))
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    return 0.0


def _read_problem(content: bytes) -> tuple[str, str]:
    """Read the name of one of the service's problems, and its sentence; both are empty if it is none."""
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        problem = json.loads(content)
        if problem["type"].startswith(_PROBLEM) and isinstance(problem["detail"], str):
            return problem["type"].removeprefix(_PROBLEM), _quote(problem["detail"])
    return "", ""


def _parse_answer(content: bytes, path: str) -> Answer:
    parsed = json.loads(content, parse_constant=_refuse)
    fingerprint, verdicts = parsed["model"]["fingerprint"], parsed["verdicts"]
    if not isinstance(verdicts, list) or len(verdicts) != 1:
        raise ValueError("it must have one verdict")
    (found,) = verdicts
    known = {each.name: _READERS[str(each.type)](found[each.name], each.name) for each in fields(Verdict)}
    verdict = Verdict(**{**known, "path": path})
    if verdict.kind not in ("", MIXED, *KINDS):
        raise ValueError(f"kind must be one of {', '.join((*KINDS, MIXED))}, or empty, got {verdict.kind!r}")
    if verdict.probability is not None and verdict.probability > 1:
        raise ValueError(f"probability must be at most 1, got {verdict.probability}")
    if verdict.decision not in DECISIONS:
        raise ValueError(f"decision must be one of {', '.join(DECISIONS)}, got {verdict.decision!r}")
    drawn = _read_text(found["map"], "map") if found["map"] is not None else None
    return Answer(
        verdict,
        _read_text(found["sentence"], "sentence"),
        None if drawn is None else b64decode(drawn, validate=True),
        _read_text(fingerprint, "fingerprint"),
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _read_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {value!r}")  # noqa: TRY004 the service's fault
    return escape_unprintable(value)


def _read_number(value: Any, name: str, *, whole: bool) -> float | int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise ValueError(f"{name} must be a number, got {value!r}")  # noqa: TRY004 the service's fault
    number = value if whole else float(value)
    if not 0 <= number < _MOST:
        raise ValueError(f"{name} must be a number from 0 on, got another one")
    return number


def _read_part(value: Any, name: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    sides = value if isinstance(value, list) and len(value) == 4 else [None]
    if not all(type(side) is int and 0 <= side < _MOST for side in sides):
        raise ValueError(f"{name} must be four numbers from 0 on, got something else")
    return tuple(sides)


def _quote(text: str) -> str:
    """Quote what a service says: it must neither fill nor colour a terminal."""
    text = escape_unprintable(text)
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…"


_READERS: dict[str, Callable[[Any, str], Any]] = {  # type of a verdict's field -> what reads it from JSON
    "str": _read_text,
    "float | None": partial(_read_number, whole=False),
    "int | None": partial(_read_number, whole=True),
    "tuple[int, int, int, int] | None": _read_part,
}
