import json
import os
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import pytest

from blurgate.errors import OutputError
from blurgate.judging.verdicts import Evidence
from blurgate.scanning.records import delete_records, open_records

EVIDENCE = Evidence("a.jpg", 0.9, "motion", 4.0, width=640, height=480, part=(12, 8, 500, 380))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"a photo")
    os.utime(path, ns=(5, 5))
    return path


def save(path, photo, judge="model"):
    with open_records(path, judge) as records:
        records.add([(photo.stat(), replace(EVIDENCE, path=str(photo)))])


def look_up(path, photo, judge="model"):
    with open_records(path, judge) as records:
        return records.find(str(photo), photo.stat())


def test_saved_evidence_is_found(tmp_path, photo):
    save(tmp_path / "r", photo)
    assert look_up(tmp_path / "r", photo) == replace(EVIDENCE, path=str(photo))
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["a.jpg", "r"]


def test_evidence_is_only_found_for_the_same_time_size_model_and_path(tmp_path, photo):
    save(tmp_path / "r", photo)
    assert look_up(tmp_path / "r", photo, judge="other") is None
    os.utime(photo, ns=(5, 6))
    assert look_up(tmp_path / "r", photo) is None
    photo.write_bytes(b"a photo, grown")
    os.utime(photo, ns=(5, 5))
    assert look_up(tmp_path / "r", photo) is None
    assert look_up(tmp_path / "r", tmp_path / "r") is None


@pytest.mark.parametrize("year", [1677, 1900, 2262, 2300, 5000])
def test_a_file_may_be_from_any_year(tmp_path, photo, year):
    then = (year - 1970) * 31_556_952 * 10**9 + 7
    status = SimpleNamespace(st_size=7, st_mtime_ns=then)
    later = SimpleNamespace(st_size=7, st_mtime_ns=then + 1)
    with open_records(tmp_path / "r", "model") as records:
        records.add([(status, replace(EVIDENCE, path="a"))])
        assert records.find("a", status)
        assert not records.find("a", later)


def test_records_that_hold_verdicts_are_accepted(tmp_path, photo):
    """Version 0.1.0 saved them, before evidence and decision were separated."""
    save(tmp_path / "r", photo)
    verdict = {"decision": "blurred", "probability": 0.7, "kind": "defocus", "strength_px": 2.5, "reason": ""}
    with sqlite3.connect(tmp_path / "r") as database:
        row = json.dumps({**verdict, "width": 640, "height": 480, "error": ""})
        database.execute("UPDATE verdicts SET verdict = ?", (row,))
    assert look_up(tmp_path / "r", photo) == Evidence(str(photo), 0.7, "defocus", 2.5, width=640, height=480)


def test_doubts_are_found_again(tmp_path, photo):
    evidence = replace(EVIDENCE, path=str(photo), doubts=("dark", "coarse grain"))
    with open_records(tmp_path / "r", "model") as records:
        records.add([(photo.stat(), evidence)])
    assert look_up(tmp_path / "r", photo) == evidence


def test_names_may_hold_any_bytes(tmp_path):
    photo = tmp_path / os.fsdecode(b"\xff\n.jpg")
    photo.touch()
    save(tmp_path / "r", photo)
    assert look_up(tmp_path / "r", photo).path == str(photo)


def test_a_batch_is_saved_whole_or_not_at_all(tmp_path, photo):
    with open_records(tmp_path / "r", "model") as records, pytest.raises(TypeError):
        records.add([(photo.stat(), Evidence(str(photo))), (photo.stat(), Evidence("b", probability=object()))])
    assert look_up(tmp_path / "r", photo) is None


def make_text(path):
    path.write_text("this is not a database, and longer than a page of one" * 99)


def make_foreign_database(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE mine (thing)")


def make_database_with_a_table_of_that_name(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE verdicts (path, opinion)")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_text, "file is not a database"),
        (make_foreign_database, "it is another program's database"),
        (make_database_with_a_table_of_that_name, "it is another program's database"),
    ],
)
def test_a_file_that_holds_no_records_is_refused_and_kept(tmp_path, photo, make, why):
    make(tmp_path / "r")
    before = (tmp_path / "r").read_bytes()
    message = rf"r is damaged or not a records file \({why}\): move it away, or choose another output"
    with pytest.raises(OutputError, match=message):
        save(tmp_path / "r", photo)
    with pytest.raises(OutputError, match=message):
        delete_records(tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == before


def test_records_can_be_deleted_and_need_a_folder(tmp_path, photo):
    save(tmp_path / "r", photo)
    delete_records(tmp_path / "r")
    delete_records(tmp_path / "r")
    assert not (tmp_path / "r").exists()
    (tmp_path / "r").touch()  # a scan that was killed while it made the file
    save(tmp_path / "r", photo)
    assert look_up(tmp_path / "r", photo)
    with pytest.raises(OutputError, match="cannot save records to .*r .unable to open"):
        save(tmp_path / "nowhere" / "r", photo)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder is damaged or not a records file .it is not a file."):
        delete_records(tmp_path / "folder")


def test_a_full_disk_is_reported(tmp_path, photo):
    with pytest.raises(
        OutputError, match="cannot save records to .*r .database or disk is full.: check disk space and permissions"
    ):
        with open_records(tmp_path / "r", "model") as records:
            records._database.execute("PRAGMA max_page_count = 3")
            for number in range(999):
                records.add([(photo.stat(), Evidence(f"{number}" * 99, 0.1))])
    assert sqlite3.connect(tmp_path / "r").execute("PRAGMA integrity_check").fetchone() == ("ok",)
