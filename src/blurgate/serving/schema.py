"""What the service answers, for OpenAPI: `blurgate.judging.verdicts.Verdict` and what comes with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from blurgate.judging.sentences import describe
from blurgate.judging.verdicts import Verdict
from blurgate.serving.problems import MEDIA_TYPE, PROBLEMS, describe_problem
from blurgate.serving.settings import Limits
from blurgate.serving.uploads import FIELD

TITLE = "blurgate"
DESCRIPTION = "Tells sharp photographs from blurred ones, with a calibrated probability, and says why."
_TYPES = ("image/jpeg", "image/png", "image/webp", "image/heic", "image/tiff", "application/octet-stream")


class ProblemAnswer(BaseModel):
    """Problem details by RFC 9457."""

    type: str = Field(description="Identifies the kind of problem.", examples=["urn:blurgate:problem:no-picture"])
    title: str = Field(description="The kind of problem in words, the same for every occurrence.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What was needed, what came, and what to do, in a sentence.")


class VerdictAnswer(BaseModel):
    """The verdict on one photo, in the words of `blurgate scan`."""

    path: str = Field(description="File name as it was sent; any text, never markup. Empty if there was none.")
    decision: Literal["sharp", "blurred", "undecided", "error"] = Field(
        description="`error` if the photo could not be judged; see `problem`."
    )
    probability: float | None = Field(
        description="Calibrated probability of blur; null if the photo shows nothing to judge by, or is no photo.",
        ge=0,
        le=1,
    )
    kind: str = Field(description="`defocus`, `motion`, `gaussian` or `mixed` if it is blurred, else empty.")
    strength_px: float | None = Field(
        description="Second-moment radius of the blur, in pixels at the size looked at; null if it cannot be told."
    )
    reason: str = Field(description="Why the photo is undecided; empty if it is not.")
    width: int | None = Field(description="Of the photo itself, upright, in pixels.")
    height: int | None = Field(description="Of the photo itself, upright, in pixels.")
    error: str = Field(description="Why the photo could not be judged; empty if it could.")
    part: list[int] | None = Field(
        description="Left, top, right and bottom of the part that was looked at, without frames and the like, in "
        "pixels of the photo; null for the whole.",
        min_length=4,
        max_length=4,
    )
    p_defocus: float | None = Field(description="Probability of defocus, if the photo is blurred.")
    p_motion: float | None = Field(description="Probability of motion, if the photo is blurred.")
    p_gaussian: float | None = Field(description="Probability of another soft blur, if the photo is blurred.")
    strength_low_px: float | None = Field(description="The strength is above this in 19 of 20 photos.")
    strength_high_px: float | None = Field(description="The strength is below this in 19 of 20 photos.")
    own_strength_px: float | None = Field(description="The strength in pixels of the photo itself.")
    length_px: float | None = Field(description="Length of the path of motion, in pixels at the size looked at.")
    angle_deg: float | None = Field(
        description="Direction of motion, 0 to 180, counter-clockwise from the right.", ge=0, le=180
    )
    sharp_to_px: int | None = Field(description="Longer side up to which the photo looks sharp if it is shrunk.")
    judged_at_px: int | None = Field(description="Longer side of what was looked at.")
    sentence: str = Field(description="The verdict in one or two sentences.")
    map: str | None = Field(
        description="Where the photo is blurred, as the base64 of a PNG, if it was asked for. `png`: gray, of the "
        "photo's own size, 255 surely blurred, 0 surely sharp, 128 undecided. `overlay`: small, with transparency, to "
        "be laid over the photo's `part`. Empty if nothing can be told."
    )
    problem: ProblemAnswer | None = Field(description="Why the photo could not be judged; null if it could.")


class ModelAnswer(BaseModel):
    """The model that judged, and where it decides."""

    model_config = ConfigDict(title="Model")
    fingerprint: str = Field(description="Models with the same fingerprint find the same.", pattern="^[0-9a-f]{64}$")
    threshold: float = Field(description="Photos are blurred from this probability on.", ge=0, le=1)
    review: list[float] | None = Field(
        description="Two probabilities in place of the threshold: sharp below the first, blurred from the second on."
    )


def write_example() -> dict[str, Any]:
    """Write an answer as the service gives it."""
    read: dict[str, Any] = {"p_defocus": 0.01, "p_motion": 0.97, "p_gaussian": 0.02, "strength_px": 5.8}
    read |= {"strength_low_px": 3.2, "strength_high_px": 10.2, "own_strength_px": 23.2, "length_px": 20.2}
    read |= {"angle_deg": 33.0, "width": 4000, "height": 3000, "sharp_to_px": 109, "judged_at_px": 1000}
    verdict = Verdict("kitchen.jpg", "blurred", 0.981, "motion", **read)
    shown = {**asdict(verdict), "sentence": describe(verdict), "map": None, "problem": None}
    return {"model": {"fingerprint": "0123abcd" * 8, "threshold": 0.485, "review": None}, "verdicts": [shown]}


class Verdicts(BaseModel):
    """The verdicts on the photos of a request, in their order."""

    model: ModelAnswer = Field(description="Which model judged, and from which probability on.")
    verdicts: list[VerdictAnswer] = Field(description="One for each photo, in their order.", min_length=1)


class State(BaseModel):
    """State of the service."""

    status: Literal["ok"] = Field(description="The only state that is answered with 200.")


def list_responses(*names: str) -> dict[int | str, dict[str, Any]]:
    """List responses of an operation that fails, by status.

    Parameters
    ----------
    *names : str
        Keys of `blurgate.serving.problems.PROBLEMS`.

    Returns
    -------
    dict
        What FastAPI takes as ``responses``.
    """
    found: dict[int | str, dict[str, Any]] = {}
    for name in names:
        problem = PROBLEMS[name]
        listed = found.setdefault(
            problem.status,
            {"description": problem.title, "content": {MEDIA_TYPE: {"schema": _PROBLEM, "examples": {}}}},
        )
        listed["content"][MEDIA_TYPE]["examples"][name] = {"value": describe_problem(name, f"{problem.title}.")}
        if "retry-after" in problem.headers:
            listed["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
        if len(listed["content"][MEDIA_TYPE]["examples"]) > 1 and problem.title not in listed["description"]:
            listed["description"] += f"; or: {problem.title[0].lower()}{problem.title[1:]}"
    return found


def describe_body(limits: Limits) -> dict[str, Any]:
    """Describe the body of a request with photos for OpenAPI.

    Parameters
    ----------
    limits : Limits

    Returns
    -------
    dict
    """
    form = {
        "type": "object",
        "required": [FIELD],
        "properties": {
            FIELD: {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "minItems": 1,
                "maxItems": limits.max_photos,
                "description": "JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF, JPEG 2000, raw files with a preview, "
                "and HEIC if the service has the extra heif.",
            }
        },
    }
    raw = {"schema": {"type": "string", "format": "binary", "minLength": 1}}
    return {
        "requestBody": {
            "required": True,
            "description": f"Photos as parts of a form, or one photo as it is; at most {limits.max_body:g} MB.",
            "content": {"multipart/form-data": {"schema": form}, **dict.fromkeys(_TYPES, raw)},
        }
    }


MODEL_HEADER = "blurgate-model"
WITH_MODEL: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            MODEL_HEADER: {"description": "Fingerprint of the model that judged.", "schema": {"type": "string"}}
        }
    }
}
_PROBLEM = {"$ref": "#/components/schemas/ProblemAnswer"}
