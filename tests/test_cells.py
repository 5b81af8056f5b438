import csv
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurgate.cells import restore_row, write_rows

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
NAMES = [
    *(f"{start}1+1.jpg" for start in STARTS),
    "a\rb.jpg",
    "a\nb.jpg",
    'a",b.jpg',
    "'=1.jpg",
    "/=1.jpg",
    "\udcff.jpg",
    "",
]


def write(columns, rows):
    stream = io.StringIO()
    write_rows(stream, columns, rows)
    return stream.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_program_reads_every_name_and_a_spreadsheet_runs_none(name):
    text = write(["path", "scene", "probability"], [[name, name, -0.5]])
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert os.path.normpath(row["path"]) == os.path.normpath(name)
    assert restore_row(row)["scene"] == name
    assert row["probability"] == "-0.5"
    assert not any(row[column].startswith(STARTS) for column in ("path", "scene"))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_texts_round_trip(texts):
    rows = list(csv.DictReader(io.StringIO(write(["text"], [[text] for text in texts]), newline="")))
    assert [restore_row(row)["text"] for row in rows] == texts


def test_lines_end_as_elsewhere_and_ordinary_cells_stay_as_they_are():
    assert write(["file", "kind", "n"], [["a.jpg", "motion", None], ["b.jpg", "'t is", 3]]) == (
        "file,kind,n\na.jpg,motion,\nb.jpg,'t is,3\n"
    )
