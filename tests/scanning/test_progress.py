import io
import time

from blurgate.judging.verdicts import Verdict
from blurgate.scanning import progress
from blurgate.scanning.progress import Tally, show_progress

VERDICTS = [
    Verdict("a", "blurred", 0.9, width=1000, height=1000),
    Verdict("b", "sharp", 0.1, width=1000, height=2000),
    Verdict("c", error="torn"),
]


def test_the_tally_counts_and_passes_verdicts():
    tally = Tally()
    assert list(tally.count(VERDICTS)) == VERDICTS
    assert tally.pixels == 3_000_000
    assert str(tally).startswith("3 photos: 1 blurred, 1 sharp, 0 undecided, 1 could not be read (")
    assert str(Tally()).startswith("0 photos: ")


def test_progress_lines_are_written_while_verdicts_pass(monkeypatch):
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    stream = io.StringIO()

    def yield_until_counted():
        yield from VERDICTS
        while " of " not in stream.getvalue():
            time.sleep(0.01)
            yield VERDICTS[0]

    passed = list(show_progress(yield_until_counted(), stream, bar=False, count=lambda: 10**9))
    assert passed[:3] == VERDICTS
    assert stream.getvalue().splitlines()[-1].startswith(f"{len(passed):,} of 1,000,000,000, about ")
    stream = io.StringIO()
    assert list(show_progress(VERDICTS, stream, bar=False)) == VERDICTS
    assert stream.getvalue().startswith("1 (")


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
