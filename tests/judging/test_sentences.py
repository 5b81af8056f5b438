"""`describe`: why a verdict is what it is, in words that its numbers bear out."""

import re

import pytest

from blurgate.judging.maps import Focus
from blurgate.judging.sentences import describe
from blurgate.judging.verdicts import TOO_LITTLE_TEXTURE, TOO_SMALL, Evidence, Verdict, decide


def blurred(**found):
    return Verdict(decision="blurred", probability=0.9, **found)


def sharp(**found):
    return Verdict(decision="sharp", probability=0.031, **found)


PART = Focus(0.18, 1, (0, 0, 80, 80), (40, 50), 1.0)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (
            blurred(kind="defocus", strength_px=3.1, own_strength_px=12.4),
            "Out of focus: nothing in it is sharper than a blur of about 3 px at the size looked at, 12 px in the "
            "photo itself.",
        ),
        (
            blurred(kind="defocus", strength_px=2.31, own_strength_px=2.31),
            "Out of focus: nothing in it is sharper than a blur of about 2.3 px.",
        ),
        (blurred(kind="defocus"), "Out of focus: nothing in it is sharp."),
        (
            blurred(kind="motion", strength_px=4, own_strength_px=8, length_px=12, angle_deg=30),
            "Its edges are soft in one direction, 30° from the horizontal, rising to the right, over about 12 px at "
            "the size looked at, 24 px in the photo itself: the camera or the subject moved.",
        ),
        (
            blurred(kind="motion", angle_deg=150),
            "Its edges are soft in one direction, 30° from the horizontal, falling to the right: the camera or the "
            "subject moved.",
        ),
        (
            blurred(kind="motion", angle_deg=176, length_px=9, strength_px=3),
            "Its edges are soft in one direction, along the horizontal, over about 9 px: the camera or the subject "
            "moved.",
        ),
        (
            blurred(kind="motion", strength_px=3.3),  # by trees, which know no direction
            "Its edges are soft in one direction, by a blur of about 3 px: the camera or the subject moved.",
        ),
        (
            blurred(kind="gaussian", strength_px=5),
            "Soft all over, by a blur of about 5 px, as from a smeared lens, smoothing or enlarging.",
        ),
        (
            blurred(kind="mixed", strength_px=5, sharp_to_px=480, judged_at_px=1000),
            "Nothing in it is sharper than a blur of about 5 px; the photo does not tell what kind of blur this is. "
            "It looks sharp up to about 480 px on the longer side.",
        ),
        (blurred(), "Nothing in it that matters is sharp: the probability of blur is 90 %."),
        (
            blurred(sharp_to_px=0, judged_at_px=1000),
            "Nothing in it that matters is sharp: the probability of blur is 90 %. It does not look sharp at any "
            "smaller size either.",
        ),
        (sharp(), "Something in it that matters is in focus: the probability of blur is 3 %."),
        (sharp(sharp_to_px=1000, judged_at_px=1000), "Something in it that matters is in focus: the probability of "
         "blur is 3 %."),
        (Verdict(decision="undecided", reason=TOO_SMALL), "Too small: at least 64 px on each side are needed."),
        (
            Verdict(decision="undecided", reason=TOO_LITTLE_TEXTURE),
            "Too little texture: nothing in it shows whether it is sharp.",
        ),
        (Verdict(error="a.jpg cannot be read: it is empty"), "A.jpg cannot be read: it is empty."),
        (Verdict(), "The photo cannot be read."),
    ],
)  # fmt: skip
def test_verdicts_in_words(verdict, expected):
    assert describe(verdict) == expected


@pytest.mark.parametrize(
    ("focus", "expected"),
    [
        (PART, "18 % of the picture is in focus, in one piece left of the middle; the rest is softer."),
        (Focus(0.5, 1, (0, 0, 9, 9), (100, 50), 1.0), "50 % of the picture is in focus, in one piece in the middle"),
        (Focus(0.5, 3, (0, 0, 9, 9), (180, 90), 0.5), "50 % of what can be told in the picture is in focus, in 3 "
         "pieces, the largest below and right of the middle"),
        (Focus(0.004, 0, None, None, 1.0), "less than 1 % of the picture is in focus, in small spots"),
        (Focus(0.97, 1, (0, 0, 9, 9), (9, 9), 1.0), "nearly all of the picture is in focus."),
    ],
)  # fmt: skip
def test_what_is_in_focus_in_words(focus, expected):
    assert expected in describe(sharp(width=200, height=100), focus)


def test_a_place_is_told_within_the_part_that_was_looked_at():
    verdict = sharp(width=1000, height=100, part=(0, 0, 100, 100))
    assert "in one piece in the middle" in describe(verdict, Focus(0.3, 1, (0, 0, 9, 9), (50, 50), 1.0))
    assert "in one piece; the rest" in describe(sharp(), PART)


def test_a_review_says_what_is_in_doubt():
    verdict = decide(Evidence("", 0.45, doubts=("dark",)), 0.5, (0.3, 0.6))
    assert describe(verdict) == (
        "Neither clearly sharp nor clearly blurred: the probability of blur is 45 %. In doubt: dark."
    )


def test_without_a_strength_there_is_no_number_of_pixels():
    for kind in ("defocus", "motion", "gaussian", "mixed", ""):
        assert not re.search(r"\d px", describe(blurred(kind=kind)))


def test_strong_blur_is_written_as_a_plain_number():
    assert "about 137 px" in describe(blurred(kind="defocus", strength_px=137.2))


def test_a_mixed_blur_says_what_it_may_be():
    verdict = Verdict(decision="blurred", probability=0.9, kind="mixed", p_defocus=0.48, p_motion=0.05, p_gaussian=0.47)
    assert "whether it is out of focus or soft, as from a smeared lens or enlarging" in describe(verdict)
