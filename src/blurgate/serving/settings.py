"""What a service is started with, checked before anything starts."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from blurgate.errors import OutputError
from blurgate.threads import count_cores

if TYPE_CHECKING:
    from blurgate.judging.model import Review

TOKEN_VARIABLE = "BLURGATE_TOKEN"  # noqa: S105 the name of an environment variable
_SHORTEST_TOKEN = 16  # characters: 16 random ones of hexadecimal digits are 64 bits
_LONGEST = 3600  # seconds for a photo
_ORIGIN = re.compile(r"https?://[^/\s]+")


@dataclass(frozen=True)
class Limits:
    """What one client may ask for.

    Parameters
    ----------
    max_body : float
        Largest body of a request, in MB (a million bytes); a larger one gets status 413.
    max_photos : int
        Photos in a request; more get status 413.
    max_megapixels : float
        A photo with more, by its header, gets status 422 without being decoded.
    photo_time : float
        Seconds that reading and judging one photo may take; a photo that takes longer gets status 504.
    queue : int or None
        Requests that may wait while others are judged; one more gets status 503 at once. None: one for each worker, so
        that nobody who is accepted waits for much longer than a photo takes.
    """

    max_body: float = 64.0
    max_photos: int = 64
    max_megapixels: float = 120.0
    photo_time: float = 10.0
    queue: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_body", "max_megapixels", "photo_time"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name):g}")
        if not self.photo_time <= _LONGEST:
            raise ValueError(f"photo_time must be at most {_LONGEST} seconds, got {self.photo_time:g}")
        if self.max_photos < 1:
            raise ValueError(f"max_photos must be at least 1, got {self.max_photos}")
        if self.queue is not None and self.queue < 0:
            raise ValueError(f"queue must be at least 0, got {self.queue}")
        if self.max_body > 4000:
            raise ValueError(f"max_body must be at most 4000 MB, got {self.max_body:g}")


@dataclass(frozen=True)
class Settings:
    """What a service is started with.

    Parameters
    ----------
    host : str
        Address to listen on.
    port : int
        0 for any free one.
    workers : int or None
        Processes that judge; None for one per core.
    model : str
        A model file, or the name of a shipped model.
    threshold : float or None
    review : (float, float) or 'auto' or None
        As in `blurgate.scanning.stream.scan`.
    token : str
        What clients must send; empty for none.
    insecure : bool
        True to listen on other addresses than loopback without a token.
    origins : tuple of str
        Other origins whose pages may ask, such as ``https://shop.example``; ``*`` for all.
    limits : Limits

    Raises
    ------
    ValueError
        If the service would be open to a network without a token, or a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int | None = None
    model: str = "default"
    threshold: float | None = None
    review: Review | None = None
    token: str = field(default="", repr=False)
    insecure: bool = False
    origins: tuple[str, ...] = ()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not self.token and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} can be reached from other machines, so a token is needed: name its file with "
                f"--token-file, set {TOKEN_VARIABLE}, or say --insecure if anybody may use the service"
            )
        if self.token and not re.fullmatch(rf"[!-~]{{{_SHORTEST_TOKEN},}}", self.token):
            raise ValueError(
                f"the token must have at least {_SHORTEST_TOKEN} characters, all of them printable ASCII without "
                "spaces: make one with python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, got {self.port}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        for origin in self.origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "allow_origin must be a scheme and a host without a slash at the end, such as "
                    f"https://shop.example, or *, got {origin!r}"
                )

    def count_workers(self) -> int:
        """Count the processes that judge."""
        return count_cores() if self.workers is None else self.workers

    def count_waiting(self) -> int:
        """Count the requests that may wait."""
        return self.count_workers() if self.limits.queue is None else self.limits.queue


def is_loopback(host: str) -> bool:
    """Check whether only this machine can reach an address.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.com", "")]
    [True, True, True, False, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(path: Path | None, environment: Mapping[str, str] = os.environ) -> str:
    """Read the token that clients must send: from a file, or else from the environment.

    Parameters
    ----------
    path : Path or None
        A file that holds nothing else.
    environment : mapping of str to str

    Returns
    -------
    str
        Empty if there is neither.

    Raises
    ------
    OutputError
        If the file cannot be read.
    ValueError
        If the file, or the variable, is there but empty.
    """
    if path is None:
        if TOKEN_VARIABLE not in environment:
            return ""
        token, where = environment[TOKEN_VARIABLE].strip(), TOKEN_VARIABLE
    else:
        try:
            token, where = path.read_text(encoding="utf-8").strip(), str(path)
        except (OSError, UnicodeDecodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not text"
            raise OutputError(f"the token cannot be read from {path}: {problem}") from error
    if not token:
        raise ValueError(f"{where} must hold a token, but it is empty: write one to it, or leave it out")
    return token
