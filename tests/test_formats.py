import csv
import io
import json

import pytest

from blurgate.formats import COLUMNS, WRITERS, find_writer
from blurgate.model import Verdict

VERDICTS = [
    Verdict("a, b.jpg", "blurred", 0.93, "motion", 4.2, width=640, height=480),
    Verdict("[bold]c[/].jpg", "sharp", 0.04, strength_px=0.3, width=64, height=64),
    Verdict("d.jpg", "undecided", reason="too small", width=30, height=20),
    Verdict("e" * 300 + ".jpg", error="it is torn"),
    Verdict("new\nline\x1b[31m.jpg", "sharp", 0.1),
]


def written(name):
    stream = io.StringIO()
    find_writer(name)(iter(VERDICTS), stream)
    return stream.getvalue()


def test_csv_has_the_promised_columns_and_every_verdict():
    rows = list(csv.DictReader(io.StringIO(written("csv"))))
    promised = "path decision probability kind strength_px reason width height error"
    assert set(promised.split()) == set(rows[0]) == set(COLUMNS)
    assert [row["path"] for row in rows] == [verdict.path for verdict in VERDICTS]
    assert (rows[0]["probability"], rows[2]["probability"], rows[3]["error"]) == ("0.93", "", "it is torn")


def test_json_lines_give_back_the_verdicts():
    assert [Verdict(**json.loads(line)) for line in written("jsonl").splitlines()] == VERDICTS


def test_the_table_is_one_line_a_photo_and_takes_names_as_they_are():
    lines = written("table").splitlines()
    assert len(lines) == 1 + len(VERDICTS)
    assert "[bold]c[/].jpg" in lines[2]
    assert "0.930" in lines[1]
    assert lines[3].rstrip().endswith("too small")
    assert lines[4].split()[:2] == ["e" * 300 + ".jpg", "error"]
    assert lines[5].startswith(r"new\nline\x1b[31m.jpg")


def test_every_format_takes_no_verdicts_at_all():
    for write in WRITERS.values():
        write(iter(()), io.StringIO())


def test_unknown_format_lists_the_known_ones():
    with pytest.raises(ValueError, match="format must be one of table, csv, jsonl, got 'xml'"):
        find_writer("xml")
