import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from blurgate.judging.verdicts import Verdict
from blurgate.scanning.formats import COLUMNS, WRITERS, find_format, sort_verdicts

VERDICTS = [
    Verdict("a, b.jpg", "blurred", 0.93, "motion", 4.2, width=640, height=480),
    Verdict("[bold]c[/].jpg", "sharp", 0.04, strength_px=0.3, width=640, height=480, part=(12, 8, 500, 380)),
    Verdict("d.jpg", "undecided", reason="too small", width=30, height=20),
    Verdict("e" * 300 + ".jpg", error="it is torn"),
    Verdict("new\nline\x1b[31m.jpg", "sharp", 0.1),
]


def write_as(name):
    stream = io.StringIO()
    find_format(name, None).write(iter(VERDICTS), stream)
    return stream.getvalue()


def test_csv_has_the_documented_columns_and_every_verdict():
    rows = list(csv.DictReader(io.StringIO(write_as("csv"))))
    documented = "path decision probability kind strength_px reason width height error part p_defocus p_motion"
    documented += " p_gaussian strength_low_px strength_high_px own_strength_px length_px angle_deg sharp_to_px"
    documented += " judged_at_px"
    assert set(documented.split()) == set(rows[0]) == set(COLUMNS)
    assert [row["path"] for row in rows] == [verdict.path for verdict in VERDICTS]
    assert (rows[0]["probability"], rows[2]["probability"], rows[3]["error"]) == ("0.93", "", "it is torn")
    assert [row["part"] for row in rows] == ["", "12,8,500,380", "", "", ""]


def test_json_lines_round_trip():
    rows = [json.loads(line) for line in write_as("jsonl").splitlines()]
    assert [row["part"] for row in rows] == [None, [12, 8, 500, 380], None, None, None]
    assert [Verdict(**row | {"part": row["part"] and tuple(row["part"])}) for row in rows] == VERDICTS


def test_the_table_has_one_line_per_photo_and_does_not_interpret_names():
    lines = write_as("table").splitlines()
    assert len(lines) == 1 + len(VERDICTS)
    assert lines[1].split(maxsplit=5) == ["blurred", "0.930", "4.2", "px", "640x480", "a, b.jpg  motion"]
    assert lines[2].endswith("[bold]c[/].jpg  part 12,8,500,380")
    assert lines[3].endswith("d.jpg  too small")
    assert lines[4].split(maxsplit=2) == ["error", "e" * 300 + ".jpg", "it is torn"]
    assert lines[5].endswith(r"new\nline\x1b[31m.jpg")


def test_on_a_terminal_the_table_has_colours(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    WRITERS["table"].write(iter(VERDICTS), stream)
    assert "\x1b[31mblurred" in stream.getvalue()
    assert "[bold]c[/].jpg" in stream.getvalue()


def test_a_photo_that_cannot_be_read_has_the_decision_error_in_every_format(tmp_path):
    assert "error" in write_as("table").splitlines()[4]
    assert list(csv.DictReader(io.StringIO(write_as("csv"))))[3]["decision"] == "error"
    assert json.loads(write_as("jsonl").splitlines()[3])["decision"] == "error"
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    with (tmp_path / "v.parquet").open("wb") as stream:
        WRITERS["parquet"].write(iter(VERDICTS), stream)
    assert parquet.read_table(tmp_path / "v.parquet").to_pylist()[3]["decision"] == "error"


def test_csv_quotes_line_breaks_and_holds_no_formula():
    stream = io.StringIO()
    names = ["a\rb.jpg", "=1+1.jpg", "-x.jpg", "/abs/=y.jpg"]
    WRITERS["csv"].write([Verdict(name, error=f"{name} is torn") for name in names], stream)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue(), newline="")))
    assert [row["path"] for row in rows] == ["a\rb.jpg", "./=1+1.jpg", "./-x.jpg", "/abs/=y.jpg"]
    assert rows[1]["error"] == "'=1+1.jpg is torn"


def test_a_terminal_of_80_columns_breaks_no_word(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("rich.console.Console._environ", os.environ)  # which a library that was imported may replace
    stream = Terminal()
    error = "photos/a b.jpg cannot be read: it is not a picture in any known format"
    WRITERS["table"].write([Verdict("photos/a b.jpg", error=error)], stream)
    lines = stream.getvalue().splitlines()[1:]
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split(maxsplit=1) == ["error", "photos/a b.jpg"]
    words = " ".join(line.strip() for line in lines[1:])
    assert words == "cannot be read: it is not a picture in any known format"


def test_verdicts_are_written_as_they_arrive():
    stream, seen = io.StringIO(), []

    def verdicts():
        for verdict in VERDICTS:
            seen.append(stream.getvalue().count(".jpg"))
            yield verdict

    for name in ("table", "csv", "jsonl"):
        WRITERS[name].write(verdicts(), stream)
        assert seen == list(range(len(VERDICTS)))
        stream, seen = io.StringIO(), []


def test_parquet_round_trips():
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    stream = io.BytesIO()
    odd = Verdict("\udcff.jpg", error="\udcff.jpg is torn")
    find_format("parquet", Path("v.parquet")).write(iter([*VERDICTS, odd]), stream)
    rows = [Verdict(**row) for row in parquet.read_table(stream).to_pylist()]
    assert rows[1].part == "12,8,500,380"
    assert [replace(row, part=verdict.part) for row, verdict in zip(rows, VERDICTS, strict=False)] == VERDICTS
    assert rows[-1].path == r"\udcff.jpg"


def test_every_format_accepts_an_empty_stream():
    for kind in WRITERS.values():
        kind.write(iter(()), io.BytesIO() if kind.binary else io.StringIO())


def test_a_format_is_found_by_name_or_suffix():
    assert find_format(None, None) is WRITERS["table"]
    assert find_format(None, Path("a.JSONL")) is WRITERS["jsonl"]
    assert find_format("csv", Path("a.txt")) is WRITERS["csv"]
    with pytest.raises(ValueError, match="format must be one of table, csv, jsonl, parquet, got 'xml'"):
        find_format("xml", None)
    with pytest.raises(
        ValueError,
        match=r"output must end in one of .txt, .csv, .jsonl, .parquet, got 'a.xml': rename it or give a format",
    ):
        find_format(None, Path("a.xml"))
    with pytest.raises(ValueError, match="format parquet needs an output file: name one with --output"):
        find_format("parquet", None)


def test_the_worst_come_first_and_those_without_a_probability_last():
    assert [verdict.path[0] for verdict in sort_verdicts(VERDICTS, "worst")] == ["a", "n", "[", "d", "e"]
    assert [verdict.path[0] for verdict in sort_verdicts(VERDICTS, "path")] == ["[", "a", "d", "e", "n"]
    with pytest.raises(ValueError, match="order must be one of worst, path, got 'size'"):
        sort_verdicts(VERDICTS, "size")
