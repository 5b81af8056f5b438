import io
import re
from base64 import b64decode
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blurgate.judging.verdicts import Evidence, Verdict, decide

KNOWN = Evidence("a", 0.5, "motion", 3.0, width=640, height=480, part=(1, 2, 639, 478))


def test_a_photo_is_blurred_from_the_threshold_on():
    assert decide(KNOWN, 0.5) == Verdict("a", "blurred", 0.5, "motion", 3.0, "", 640, 480, part=KNOWN.part)
    assert decide(KNOWN, 0.51) == Verdict("a", "sharp", 0.5, "", 3.0, "", 640, 480, part=KNOWN.part)


def test_a_review_leaves_the_middle_undecided():
    reviewed = decide(KNOWN, 0.9, (0.5, 0.6))
    assert (reviewed.decision, reviewed.kind) == ("undecided", "")
    assert reviewed.reason == "in doubt: P is between 0.5 and 0.6"


def test_the_reason_for_a_review_is_what_makes_the_photo_doubtful():
    doubtful = replace(KNOWN, doubts=("dark", "trees and net disagree"))
    assert decide(doubtful, 0.9, (0.5, 0.6)).reason == "in doubt: dark, trees and net disagree"
    assert decide(doubtful, 0.5, (0.2, 0.4)).reason == decide(doubtful, 0.5).reason == ""


@pytest.mark.parametrize(
    ("evidence", "decision"),
    [(Evidence("a", reason="too small"), "undecided"), (Evidence("a", error="a does not exist"), "error")],
)
def test_without_a_probability_no_threshold_decides(evidence, decision):
    for threshold in (0.0, 1.0):
        verdict = decide(evidence, threshold)
        assert (verdict.decision, verdict.probability) == (decision, None)
        assert (verdict.reason, verdict.error) == (evidence.reason, evidence.error)


@given(st.floats(0, 1), st.floats(0, 1), st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_a_verdict_keeps_the_evidence(probability, threshold, review):
    evidence = Evidence("a", probability, "defocus", 2.0, width=9, height=8)
    for bounds in (None, tuple(review)):
        verdict = decide(evidence, threshold, bounds)
        kept = {field.name for field in fields(Evidence)} - {"kind", "reason", "doubts"}
        assert all(getattr(verdict, name) == getattr(evidence, name) for name in kept)
        assert verdict.kind == ("defocus" if verdict.decision == "blurred" else "")
        assert bool(verdict.reason) == (verdict.decision == "undecided")


@pytest.mark.parametrize(
    ("decision", "is_blurred"), [("blurred", True), ("sharp", False), ("undecided", None), ("", None), ("error", None)]
)
def test_is_blurred_is_none_without_a_decision(decision, is_blurred):
    assert Verdict(decision=decision).is_blurred is is_blurred


def test_a_notebook_shows_a_thumbnail_and_nothing_but_text(tmp_path):
    path = tmp_path / "<b onclick=x>&\n.png"
    Image.new("RGB", (900, 600), "teal").save(path)
    shown = Verdict(str(path), "blurred", 0.98765, "motion", 7.25, width=900, height=600)._repr_html_()
    content = re.search(r'src="data:image/jpeg;base64,([\w+/=]+)"', shown)[1]
    assert max(Image.open(io.BytesIO(b64decode(content))).size) == 160
    assert "blurred, P(blurred) = 0.988<br>motion, strength 7.2 px<br>900 × 600 px" in shown
    assert "&lt;b onclick=x&gt;&amp;\\n.png" in shown
    path.unlink()
    for verdict in (
        Verdict(str(path), "sharp", 0.1),
        Verdict(decision="undecided", reason="too <i>small"),
        Verdict("a\udcff\x00.jpg", error="<script>"),
        Verdict(),
    ):
        html = verdict._repr_html_()
        assert set(re.findall(r"<(\w+)", html)) <= {"div", "br"}
        html.encode()
