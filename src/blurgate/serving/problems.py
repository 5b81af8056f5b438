"""What can go wrong with a request, as problem details: RFC 9457."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Problem:
    """A kind of problem.

    Parameters
    ----------
    status : int
        HTTP status.
    title : str
        The same for every occurrence.
    headers : mapping of str to str
    """

    status: int
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)


class ProblemError(Exception):
    """Ends a request.

    Parameters
    ----------
    name : str
        A key of `PROBLEMS`.
    detail : str
        A sentence: what was needed, what came, what to do.
    """

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.name, self.detail = name, detail


def describe_problem(name: str, detail: str) -> dict[str, Any]:
    """Describe a problem by RFC 9457.

    Parameters
    ----------
    name : str
        A key of `PROBLEMS`.
    detail : str

    Returns
    -------
    dict

    Examples
    --------
    >>> describe_problem("busy", "try again")["status"]
    503
    """
    problem = PROBLEMS[name]
    return {
        "type": f"urn:blurgate:problem:{name}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
    }


def encode_problem(name: str, detail: str) -> tuple[int, bytes, dict[str, str]]:
    """Encode the answer to a request that fails.

    Parameters
    ----------
    name : str
        A key of `PROBLEMS`.
    detail : str

    Returns
    -------
    status : int
    body : bytes
    headers : dict of str to str
        With the content type.
    """
    problem = PROBLEMS[name]
    body = json.dumps(describe_problem(name, detail)).encode()
    return problem.status, body, {**problem.headers, "content-type": MEDIA_TYPE}


def name_status(status: int) -> str:
    """Find the problem that stands for a status of the framework.

    Examples
    --------
    >>> name_status(404), name_status(418)
    ('not-found', 'bad-request')
    """
    return {404: "not-found", 405: "method"}.get(status, "failed" if status >= 500 else "bad-request")


_AGAIN = {"retry-after": "1"}
PROBLEMS = {
    "bad-request": Problem(400, "The request is not valid"),
    "token": Problem(
        401,
        "The token of the service is needed",
        # Chromium reads the first scheme alone, and asks for a password only if that is Basic
        {"www-authenticate": 'Basic realm="blurgate: any name, the token as password", Bearer realm="blurgate"'},
    ),
    "not-found": Problem(404, "There is nothing at this address"),
    "method": Problem(405, "This address does not take this method"),
    "slow-body": Problem(408, "The request took too long to arrive"),
    "large-body": Problem(413, "The request is too large"),
    "many-photos": Problem(413, "The request has too many photos"),
    "media-type": Problem(415, "The request is not of a type that holds photos"),
    "no-picture": Problem(415, "The photo is not a picture in a format that is read"),
    "unreadable": Problem(422, "The photo cannot be read"),
    "large-head": Problem(431, "The headers of the request are too large"),
    "failed": Problem(500, "The service has failed"),
    "busy": Problem(503, "The service is busy", _AGAIN),
    "starting": Problem(503, "The service is starting", _AGAIN),
    "died": Problem(503, "The process that judged the photo has died", _AGAIN),
    "slow-photo": Problem(504, "The photo takes too long to judge"),
}
