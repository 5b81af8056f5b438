"""Evidence -> verdict: what a model finds in a photo, and the decision at a threshold."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, fields
from typing import Any

from blurgate.errors import escape_markup
from blurgate.photos.images import thumbnail
from blurgate.photos.shrinking import MIN_SIDE

LABELS = ("sharp", "blurred")  # position = class
KINDS = ("defocus", "motion", "gaussian")  # of blur
MIXED = "mixed"  # where none of them is probable enough
DECISIONS = (*LABELS, "undecided")  # on a photo that could be read
_THUMBNAIL_SIDE = 160  # pixels
TOO_SMALL = f"too small: at least {MIN_SIDE} px on each side are needed"
TOO_LITTLE_TEXTURE = "too little texture: nothing in it shows whether it is sharp"


@dataclass(frozen=True)
class Evidence:
    """What a model finds in a photo, before any threshold.

    Parameters
    ----------
    path : str
        As given; empty for a photo in memory.
    probability : float or None
        Calibrated P(blurred), 0 to 1; None if the photo shows nothing to judge by.
    kind : str
        The most probable kind if the photo is blurred: ``defocus``, ``motion`` or ``gaussian``, or ``mixed`` if none
        is probable enough; empty if the model predicts no kinds.
    strength_px : float or None
        Second-moment radius of the blur in pixels at the analysed size; None if the model predicts none.
    reason : str
        Why there is no probability; empty if there is one.
    width, height : int or None
        Size of the photo itself, in pixels; None if it could not be read.
    error : str
        Why the photo could not be read; empty if it could.
    doubts : tuple of str
        What makes the photo doubtful, see `blurgate.judging.doubts`; empty if nothing does, or it was not looked for.
    part : (int, int, int, int) or None
        The part of the photo that was looked at, without frames and the like: left, top, right and bottom, in pixels
        of the photo itself, right and bottom outside it; None for the whole.
    p_defocus, p_motion, p_gaussian : float or None
        Probabilities of the three kinds if the photo is blurred; they add up to 1. None if the model has no explainer,
        or it was not asked.
    strength_low_px, strength_high_px : float or None
        Bounds between which the strength lies in nine of ten photos, in pixels at the analysed size. None where the
        trees alone have estimated the strength: of photos that are surely sharp.
    own_strength_px : float or None
        Strength in pixels of the photo itself.
    length_px, angle_deg : float or None
        Of motion: length of the path, in pixels at the analysed size, and its direction, 0 to 180, counter-clockwise
        from the right. None for other kinds, and a length also if the strength cannot be told.
    sharp_to_px : int or None
        The longer side, in pixels, up to which the photo (or its part) looks sharp if it is shrunk: as far as it was
        looked at if it is sharp. 0 if it does at no size that can be judged; None if it cannot be told.
    judged_at_px : int or None
        The longer side of what was looked at, the photo or its part, at its analysed size, in pixels.
    """

    path: str = ""
    probability: float | None = None
    kind: str = ""
    strength_px: float | None = None
    reason: str = ""
    width: int | None = None
    height: int | None = None
    error: str = ""
    doubts: tuple[str, ...] = ()
    part: tuple[int, int, int, int] | None = None
    p_defocus: float | None = None
    p_motion: float | None = None
    p_gaussian: float | None = None
    strength_low_px: float | None = None
    strength_high_px: float | None = None
    own_strength_px: float | None = None
    length_px: float | None = None
    angle_deg: float | None = None
    sharp_to_px: int | None = None
    judged_at_px: int | None = None


@dataclass(frozen=True)
class Verdict:
    """The decision on one photo and the evidence for it, or the error that kept it from being read.

    Parameters
    ----------
    path : str
        As given; empty for a photo in memory.
    decision : {'sharp', 'blurred', 'undecided', 'error'}
        ``error`` if the photo could not be read.
    probability : float or None
        Calibrated P(blurred), 0 to 1; None if the photo shows nothing to judge by.
    kind : str
        ``defocus``, ``motion``, ``gaussian`` or ``mixed`` if the decision is blurred and the model predicts kinds; else
        empty.
    strength_px : float or None
        Second-moment radius of the blur in pixels at the analysed size; None if the model predicts none.
    reason : str
        Why the photo is undecided; empty if it is not.
    width, height : int or None
        Size of the photo itself, in pixels; None if it could not be read.
    error : str
        Why the photo could not be read; empty if it could.
    part : (int, int, int, int) or None
        The part of the photo that was looked at, without frames and the like: left, top, right and bottom, in pixels
        of the photo itself, right and bottom outside it; None for the whole.
    p_defocus, p_motion, p_gaussian : float or None
        Probabilities of the three kinds if the photo is blurred; they add up to 1. None if the model has no explainer,
        or it was not asked.
    strength_low_px, strength_high_px : float or None
        Bounds between which the strength lies in nine of ten photos, in pixels at the analysed size. None where the
        trees alone have estimated the strength: of photos that are surely sharp.
    own_strength_px : float or None
        Strength in pixels of the photo itself.
    length_px, angle_deg : float or None
        Of motion: length of the path, in pixels at the analysed size, and its direction, 0 to 180, counter-clockwise
        from the right. None for other kinds, and a length also if the strength cannot be told.
    sharp_to_px : int or None
        The longer side, in pixels, up to which the photo (or its part) looks sharp if it is shrunk: as far as it was
        looked at if it is sharp. 0 if it does at no size that can be judged; None if it cannot be told.
    judged_at_px : int or None
        The longer side of what was looked at, the photo or its part, at its analysed size, in pixels.
    """

    path: str = ""
    decision: str = "error"
    probability: float | None = None
    kind: str = ""
    strength_px: float | None = None
    reason: str = ""
    width: int | None = None
    height: int | None = None
    error: str = ""
    part: tuple[int, int, int, int] | None = None
    p_defocus: float | None = None
    p_motion: float | None = None
    p_gaussian: float | None = None
    strength_low_px: float | None = None
    strength_high_px: float | None = None
    own_strength_px: float | None = None
    length_px: float | None = None
    angle_deg: float | None = None
    sharp_to_px: int | None = None
    judged_at_px: int | None = None

    @property
    def is_blurred(self) -> bool | None:
        """True if the photo is blurred, False if it is sharp, None if it is undecided or could not be read."""
        return {"blurred": True, "sharp": False}.get(self.decision)

    def _repr_html_(self) -> str:
        """Show the verdict in a notebook, with a thumbnail if the photo is a file that is still there."""
        content = thumbnail(self.path, side=_THUMBNAIL_SIDE) if self.path and not self.error else None
        picture = f'<img alt="" src="data:image/jpeg;base64,{b64encode(content).decode()}">' if content else ""
        lines = "<br>".join(escape_markup(line) for line in self._lines() if line)
        return f'<div style="display:flex;gap:12px;align-items:center">{picture}<div>{lines}</div></div>'

    def _lines(self) -> tuple[str, ...]:
        """Say in words what the verdict holds; lines may be empty."""
        probability = "" if self.probability is None else f", P(blurred) = {self.probability:.3f}"
        strength = "" if self.strength_px is None else f"strength {self.strength_px:.1f} px"
        blur = ", ".join(text for text in (self.kind, strength) if text)
        size = "" if self.width is None else f"{self.width} × {self.height} px"
        return (self.path, self.decision + probability, blur, self.reason or self.error, size)


OF_BLURRED = (
    "kind",
    "p_defocus",
    "p_motion",
    "p_gaussian",
    "length_px",
    "angle_deg",
)  # fields that other verdicts lack
_NOT_SHARED = tuple({each.name for each in fields(Evidence)} - {each.name for each in fields(Verdict)})
_NOT_BLURRED = {each.name: each.default for each in fields(Verdict) if each.name in OF_BLURRED}


def amend(evidence: Evidence, **found: Any) -> Evidence:
    """Copy evidence with other values: `dataclasses.replace`, in a fifth of the time, as every photo has it done twice.

    Parameters
    ----------
    evidence : Evidence
    **found
        Values by the names of fields.

    Returns
    -------
    Evidence

    Examples
    --------
    >>> amend(Evidence("cat.jpg", width=640), reason="too small") == Evidence("cat.jpg", width=640, reason="too small")
    True
    """
    amended = object.__new__(Evidence)
    amended.__dict__.update(evidence.__dict__, **found)
    return amended


def decide(evidence: Evidence, threshold: float, review: tuple[float, float] | None = None) -> Verdict:
    """Decide at a threshold; the same evidence can be decided again at another threshold.

    Parameters
    ----------
    evidence : Evidence
    threshold : float
        The photo is blurred from this probability on, 0 to 1.
    review : (float, float), optional
        Two probabilities, 0 to 1, that replace `threshold`: sharp below the first, blurred from the second on,
        undecided between them.

    Returns
    -------
    Verdict
        Without a kind, the probabilities of kinds, a length and an angle unless the decision is blurred.

    Examples
    --------
    >>> evidence = Evidence("cat.jpg", 0.7, "motion")
    >>> [decide(evidence, threshold).kind for threshold in (0.5, 0.9, 0.6)]
    ['motion', '', 'motion']
    """
    decision, reason = _decide(evidence, *(review or (threshold, threshold)))
    verdict = object.__new__(Verdict)  # as `amend` does
    found = verdict.__dict__
    found.update(evidence.__dict__, decision=decision, reason=reason)
    for name in _NOT_SHARED:
        del found[name]
    if decision != "blurred":
        found.update(_NOT_BLURRED)
    return verdict


def worst_first(verdict: Verdict) -> tuple[bool, bool, float]:
    """Sort key for verdicts: the most probably blurred first, then those without a probability, then errors."""
    return bool(verdict.error), verdict.probability is None, -(verdict.probability or 0.0)


def _decide(evidence: Evidence, low: float, high: float) -> tuple[str, str]:
    """Find the decision, and the reason if it is undecided."""
    if evidence.error:
        return "error", evidence.reason
    if evidence.probability is None:
        return "undecided", evidence.reason
    if evidence.probability >= high:
        return "blurred", ""
    if evidence.probability < low:
        return "sharp", ""
    return "undecided", f"in doubt: {', '.join(evidence.doubts) or f'P is between {low:g} and {high:g}'}"
