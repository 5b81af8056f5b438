"""The largest size at which a blurred photo looks sharp, from the strength of its blur and a few verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable

# Found on 82 blurs made of 82 training photos (every second of sun_hays80, every twelfth of unsplash; defocus, motion
# and gaussian of 1.2 to 8 px): shrunk, half of them turn sharp for the shipped cascade above 1.18 px and half below,
# eight of ten between 0.93 and 1.40 px. There its log-odds rise by about 5 per unit of the log of the side.
SHARP_PX = 1.18
_RISE = 5.0

_MOST_JUDGED = 4  # sizes
_LONGEST_STEP = 2.0  # from one size to the next, as a factor
_PAST = 1.1  # beyond the size at which the odds are expected to be even
_CLOSE = 1.2  # the largest size found sharp is near enough to the smallest found blurred, or to what is expected


def find_sharp_side(side: int, least: int, strength_px: float, judge: Callable[[int], float | None]) -> int | None:
    """Search for the longer side up to which a blurred photo looks sharp.

    Parameters
    ----------
    side : int
        The longer side at which it is blurred, in pixels.
    least : int
        The shortest that can be judged.
    strength_px : float
        Of the blur, in pixels at that size.
    judge : callable
        Takes a longer side, and returns the log-odds of blurred for the photo shrunk to it; None if nothing tells. It
        is called at most four times.

    Returns
    -------
    int or None
        0 if the photo looks sharp at no size; None if that cannot be told.

    Examples
    --------
    >>> judged = []
    >>> def judge(side):
    ...     judged.append(side)
    ...     return 6 * math.log(side / 340)
    >>> find_sharp_side(1000, 85, 3.0, judge), judged
    (300, [393, 300])
    """
    sharp, blurred, unsure = 0, side, False
    wanted = side * SHARP_PX / max(strength_px, SHARP_PX)
    odds: float | None = None
    for last in (False,) * (_MOST_JUDGED - 1) + (True,):
        if last and not sharp and (odds is None or odds > 1):
            wanted = least
        tried = max(least, min(round(wanted), round(blurred / 1.02), side - 1))
        odds = judge(tried)
        unsure |= odds is None
        if odds is not None and odds < 0:
            sharp = tried
        else:
            blurred = tried
        if blurred <= least or blurred <= sharp * _CLOSE:
            break
        step = _expect_step(odds)
        if sharp == tried and step <= _CLOSE:
            break
        between = math.sqrt(sharp * blurred)
        wanted = min(tried * step, between) if sharp == tried else max(tried * step, between)
    return sharp or (None if unsure or blurred > least else 0)


def _expect_step(odds: float | None) -> float:
    """Expect by which factor the side has to change to come to even odds, or a little below them."""
    if odds is None:
        return 1 / _LONGEST_STEP
    step = math.exp(-odds / _RISE) / (_PAST if odds >= 0 else 1)
    return min(max(step, 1 / _LONGEST_STEP), _LONGEST_STEP)
