"""Verdict -> one or two sentences for a person: why it is what it is."""

from __future__ import annotations

from blurgate.judging.maps import Focus
from blurgate.judging.verdicts import MIXED, Verdict

_NEARLY_ALL = 0.9  # of what is decided, from which on there is no rest to speak of
_MOSTLY = 0.9  # of the picture, from which on what is decided is the picture
_MIDDLE = 1 / 8  # of a side: what is no farther from the middle of the picture lies in its middle
_LEVEL = 10  # degrees from the horizontal or the vertical that nobody sees
_KINDS = {"p_defocus": "out of focus", "p_motion": "moved", "p_gaussian": "soft, as from a smeared lens or enlarging"}
_LIKELY = 0.2  # probability of a kind from which on it is one of those that a mixed blur may be
_SAME_SIZE = 1.05  # ratio of two strengths that are one


def describe(verdict: Verdict, focus: Focus | None = None) -> str:
    """Say in one or two plain sentences why a verdict is what it is; nothing in them is escaped.

    Parameters
    ----------
    verdict : Verdict
    focus : Focus, optional
        Of the photo, in pixels of the photo itself.

    Returns
    -------
    str

    Examples
    --------
    >>> describe(Verdict(decision="blurred", probability=0.97, kind="defocus", strength_px=3.1, own_strength_px=12.4))
    'Out of focus: nothing in it is sharper than a blur of about 3 px at the size looked at, 12 px in the photo itself.'
    >>> describe(Verdict(decision="sharp", probability=0.02), Focus(0.18, 1, (0, 0, 300, 400), (150, 200), 1.0))
    'Sharp where it matters: 18 % of the picture is in focus, in one piece; the rest is softer.'
    """
    if verdict.decision == "error":
        return _end(verdict.error or "The photo cannot be read")
    if verdict.probability is None:
        return _end(verdict.reason or "Nothing in it shows whether it is sharp")
    if verdict.decision == "undecided":
        chance = (
            f"Neither clearly sharp nor clearly blurred: the probability of blur is {_percent(verdict.probability)}."
        )
        return f"{chance} {_end(verdict.reason)}" if verdict.reason else chance
    first = _say_sharp(verdict, focus) if verdict.decision == "sharp" else _say_blurred(verdict)
    return " ".join(filter(None, (first, _say_sharp_to(verdict))))


def _say_blurred(verdict: Verdict) -> str:
    strength = _say_strength(verdict)
    if verdict.kind == "defocus":
        soft = f"sharper than a blur of {strength}" if strength else "sharp"
        return f"Out of focus: nothing in it is {soft}."
    if verdict.kind == "motion":
        direction = "" if verdict.angle_deg is None else f", {_say_direction(verdict.angle_deg)}"
        length = _say_length(verdict)
        return f"Its edges are soft in one direction{direction}{length}: the camera or the subject moved."
    if verdict.kind == "gaussian":
        blur = f", by a blur of {strength}" if strength else ""
        return f"Soft all over{blur}, as from a smeared lens, smoothing or enlarging."
    start = f"Nothing in it is sharper than a blur of {strength}" if strength else "Nothing in it that matters is sharp"
    if verdict.kind == MIXED:
        likely = [words for name, words in _KINDS.items() if (getattr(verdict, name) or 0) >= _LIKELY]
        what = f"whether it is {' or '.join(likely)}" if len(likely) > 1 else "what kind of blur this is"
        return f"{start}; the photo does not tell {what}."
    return f"{start}: the probability of blur is {_percent(verdict.probability or 0.0)}."


def _say_sharp(verdict: Verdict, focus: Focus | None) -> str:
    if focus is None or focus.share is None:
        chance = _percent(verdict.probability or 0.0)
        return f"Something in it that matters is in focus: the probability of blur is {chance}."
    if focus.share >= _NEARLY_ALL:
        return f"Sharp: nearly all {_say_whole(focus)} is in focus."
    pieces = {0: "in small spots", 1: "in one piece"}.get(focus.pieces, f"in {focus.pieces} pieces")
    place = _say_place(verdict, focus)
    if place:
        pieces += f" {place}" if focus.pieces == 1 else f", the largest {place}"
    share = _percent(focus.share)
    return f"Sharp where it matters: {share} {_say_whole(focus)} is in focus, {pieces}; the rest is softer."


def _say_sharp_to(verdict: Verdict) -> str:
    limit, judged = verdict.sharp_to_px, verdict.judged_at_px
    if limit is None or judged is None or limit >= judged:
        return ""
    if not limit:
        return "" if verdict.decision == "sharp" else "It does not look sharp at any smaller size either."
    return f"It looks sharp up to about {limit} px on the longer side."


def _say_strength(verdict: Verdict) -> str:
    """Say how strong the blur is, at both sizes if they differ; empty if that cannot be told."""
    if verdict.strength_px is None:
        return ""
    return _say_pixels(verdict.strength_px, verdict.own_strength_px)


def _say_length(verdict: Verdict) -> str:
    if verdict.length_px is None:
        return f", by a blur of {strength}" if (strength := _say_strength(verdict)) else ""
    own = verdict.own_strength_px
    scale = own / verdict.strength_px if own and verdict.strength_px else 1.0
    return f", over {_say_pixels(verdict.length_px, scale * verdict.length_px)}"


def _say_pixels(looked_at: float, own: float | None) -> str:
    if own is None or own < _SAME_SIZE * looked_at:
        return f"about {_round(looked_at)} px"
    return f"about {_round(looked_at)} px at the size looked at, {_round(own)} px in the photo itself"


def _say_direction(angle_deg: float) -> str:
    """Say a direction of 0 to 180 degrees, counter-clockwise from the right."""
    slope = min(angle_deg, 180 - angle_deg)
    if slope <= _LEVEL:
        return "along the horizontal"
    if slope >= 90 - _LEVEL:
        return "along the vertical"
    return f"{slope:.0f}° from the horizontal, {'rising' if angle_deg < 90 else 'falling'} to the right"


def _say_whole(focus: Focus) -> str:
    return "of the picture" if focus.decided >= _MOSTLY else "of what can be told in the picture"


def _say_place(verdict: Verdict, focus: Focus) -> str:
    """Say where the middle of the largest piece lies in what was looked at; empty if its size is not known."""
    if focus.middle is None or not verdict.width or not verdict.height:
        return ""
    left, top, right, bottom = verdict.part or (0, 0, verdict.width, verdict.height)
    across = (focus.middle[0] - left) / max(right - left, 1) - 0.5
    down = (focus.middle[1] - top) / max(bottom - top, 1) - 0.5
    words = [
        "" if abs(down) <= _MIDDLE else "above" if down < 0 else "below",
        "" if abs(across) <= _MIDDLE else "left of" if across < 0 else "right of",
    ]
    return f"{' and '.join(filter(None, words))} the middle" if any(words) else "in the middle"


def _round(pixels: float) -> str:
    return f"{pixels:.1f}" if pixels < 3 else f"{pixels:.0f}"


def _percent(share: float) -> str:
    percent = 100 * share
    if 0 < percent < 1:
        return "less than 1 %"
    return f"{min(percent, 99):.0f} %" if percent < 100 else "100 %"


def _end(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")
