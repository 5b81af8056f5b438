import io
import re
import threading
import time

import pytest

from blurgate.errors import PhotoError
from blurgate.judging.verdicts import Verdict
from blurgate.scanning import progress
from blurgate.scanning.items import Item
from blurgate.scanning.progress import Tally, show_progress

VERDICTS = [
    Verdict("a", "blurred", 0.9, width=1000, height=1000),
    Verdict("b", "sharp", 0.1, width=1000, height=2000),
    Verdict("c", error="torn"),
]


def count(tally, verdicts, *, known=False):
    return [verdict for _, verdict in tally.count((Item(known=known), verdict) for verdict in verdicts)]


def test_the_tally_counts_and_passes_verdicts():
    tally = Tally((0.5, 0.5))
    assert count(tally, VERDICTS) == VERDICTS
    assert (tally.pixels, tally.total, tally.errors) == (3_000_000, 3, ["torn"])
    assert str(tally).startswith("3 photos: 1 blurred (P from 0.5), 1 sharp, 0 undecided, 1 could not be read (")
    assert str(tally).endswith(" MP/s)")
    assert str(Tally((0.5, 0.5))).startswith("0 photos: ")


def test_the_tally_names_the_bounds_of_a_review():
    assert "0 blurred (P from 0.7), 0 sharp (P below 0.3), 0 undecided" in str(Tally((0.3, 0.7)))


def test_photos_judged_before_do_not_count_as_speed():
    tally = Tally((0.5, 0.5))
    count(tally, VERDICTS[:2], known=True)
    assert "2 of them judged before; " in str(tally)
    assert "MP/s" not in str(tally)
    count(tally, VERDICTS[:1])
    assert tally.pixels == 1_000_000
    assert str(tally).startswith("3 photos: 2 blurred")


def test_the_tally_keeps_the_first_errors_only():
    tally = Tally((0.5, 0.5))
    count(tally, [Verdict(str(n), error=f"{n} is torn") for n in range(9)])
    assert tally.errors == ["0 is torn", "1 is torn", "2 is torn"]
    assert tally.decisions["error"] == 9


def test_progress_lines_are_written_while_verdicts_pass(monkeypatch):
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    monkeypatch.setattr(progress, "_EVERY", 0.01)
    stream = io.StringIO()

    def yield_until_counted():
        yield from VERDICTS
        while " of " not in stream.getvalue():
            time.sleep(0.01)
            yield VERDICTS[0]

    passed = list(show_progress(yield_until_counted(), stream, bar=False, count=lambda: 10**9))
    assert passed[:3] == VERDICTS
    assert re.search(r"^scanning photos: [\d,]+ of 1,000,000,000", stream.getvalue(), flags=re.M)


def test_progress_lines_come_before_the_first_verdict(monkeypatch):
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    stream = io.StringIO()

    def wait_for_a_line():
        while not stream.getvalue():
            time.sleep(0.01)
        yield from VERDICTS

    assert list(show_progress(wait_for_a_line(), stream, bar=False)) == VERDICTS
    assert stream.getvalue().startswith("scanning photos: 0\n")


def test_a_count_that_fails_is_not_shown(monkeypatch):
    def fail():
        raise PhotoError("gone")

    monkeypatch.setattr(threading, "excepthook", lambda hook: pytest.fail(str(hook)))
    assert list(show_progress(VERDICTS, io.StringIO(), bar=False, count=fail)) == VERDICTS


def test_quick_scans_write_no_progress():
    stream = io.StringIO()
    assert list(show_progress(VERDICTS, stream, bar=False)) == VERDICTS
    assert stream.getvalue() == ""


def test_the_bar_is_drawn_while_verdicts_pass(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert list(show_progress(VERDICTS, stream, bar=True, count=lambda: 3)) == VERDICTS
    assert "scanning photos" in stream.getvalue()
