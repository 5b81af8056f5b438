import json
import os
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from blurgate.errors import OutputError
from blurgate.judging.verdicts import Evidence
from blurgate.photos.finding import walk_photos
from blurgate.scanning.records import _digest, delete_records, open_records

EVIDENCE = Evidence(
    "a.jpg",
    0.9,
    "motion",
    4.0,
    width=640,
    height=480,
    part=(12, 8, 500, 380),
    p_defocus=0.1,
    p_motion=0.7,
    p_gaussian=0.2,
    strength_low_px=3.0,
    strength_high_px=5.0,
    own_strength_px=4.0,
    length_px=11.0,
    angle_deg=30.0,
    sharp_to_px=120,
    judged_at_px=488,
)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"a photo")
    os.utime(path, ns=(5, 5))
    return path


def save(path, photo, judge="model"):
    with open_records(path) as records:
        records.add([(photo.stat(), replace(EVIDENCE, path=str(photo)))], judge)


def look_up(path, photo, judge="model"):
    with open_records(path) as records:
        return records.find(str(photo), photo.stat(), judge)


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
    with open_records(tmp_path / "r") as records:
        records.add([(status, replace(EVIDENCE, path="a"))], "model")
        assert records.find("a", status, "model")
        assert not records.find("a", later, "model")


def test_nothing_is_found_anew_and_nothing_is_lost_by_it(tmp_path, photo):
    save(tmp_path / "r", photo)
    with open_records(tmp_path / "r", anew=True) as records:
        assert records.find(str(photo), photo.stat(), "model") is None
        assert records.count() == 1
    assert look_up(tmp_path / "r", photo)


def test_doubts_are_found_again(tmp_path, photo):
    evidence = replace(EVIDENCE, path=str(photo), doubts=("dark", "coarse grain"))
    with open_records(tmp_path / "r") as records:
        records.add([(photo.stat(), evidence)], "model")
    assert look_up(tmp_path / "r", photo) == evidence


def test_names_may_hold_any_bytes_and_times_may_be_any(tmp_path):
    photo = tmp_path / os.fsdecode(b"\xff\n.jpg")
    photo.touch()
    save(tmp_path / "r", photo)
    assert look_up(tmp_path / "r", photo).path == str(photo)
    late = SimpleNamespace(st_size=1, st_mtime_ns=2**70)
    with open_records(tmp_path / "r") as records:
        records.add([(late, replace(EVIDENCE, path="a"))], "model")
        assert records.find("a", late, "model")


def test_a_batch_is_saved_whole_or_not_at_all(tmp_path, photo):
    with open_records(tmp_path / "r") as records, pytest.raises(TypeError):
        records.add([(photo.stat(), Evidence(str(photo))), (photo.stat(), Evidence("b", probability=object()))], "m")
    assert not (tmp_path / "r").exists()


def change(path, sql, *values):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(sql, values)


def forge(path, photo, **values):
    """Put a row in the records that says something else, with the right digest."""
    key = (os.fsencode(photo), photo.stat().st_size, photo.stat().st_mtime_ns, "model")
    fields = {name: value for name, value in asdict(EVIDENCE).items() if name != "path"} | values
    text = json.dumps({name: value for name, value in fields.items() if value is not ...})
    change(path, "UPDATE verdicts SET verdict = ?", _digest(text, key) + text)


def test_a_changed_row_is_judged_again(tmp_path, photo):
    save(tmp_path / "r", photo)
    for verdict in ("replace(verdict, '0.9', '0.1')", "x'ff00'", "NULL", "7", "zeroblob(99)", "''"):
        save(tmp_path / "r", photo)
        assert look_up(tmp_path / "r", photo)
        change(tmp_path / "r", f"UPDATE verdicts SET verdict = {verdict}")
        assert look_up(tmp_path / "r", photo) is None


@pytest.mark.parametrize(
    "values",
    [
        {"decision": "../../x"},
        {"probability": float("nan")},
        {"probability": 1.5},
        {"probability": "0.5"},
        {"probability": True},
        {"probability": None},
        {"probability": ...},
        {"reason": "because"},
        {"strength_px": float("inf")},
        {"strength_px": -1},
        {"kind": "x" * 999},
        {"kind": "a\x1b[31m"},
        {"kind": None},
        {"error": "no"},
        {"width": 2**40},
        {"width": 3.0},
        {"part": [0, 0, 9]},
        {"part": [0, 0, 999, 999]},
        {"part": 4},
        {"p_motion": None},
        {"p_motion": 7.5},
        {"strength_low_px": 9e9},
        {"strength_px": 5.5},
        {"own_strength_px": 1e308},
        {"length_px": 1e300},
        {"angle_deg": 4321},
        {"sharp_to_px": 500},
        {"sharp_to_px": 3.5},
        {"judged_at_px": 641},
        {"doubts": [1]},
        {"doubts": None},
    ],
)
def test_a_row_that_says_what_no_scan_says_is_judged_again(tmp_path, photo, values):
    save(tmp_path / "r", photo)
    forge(tmp_path / "r", photo)
    assert look_up(tmp_path / "r", photo)
    forge(tmp_path / "r", photo, **values)
    assert look_up(tmp_path / "r", photo) is None


def test_json_of_any_depth_is_a_bad_row(tmp_path, photo):
    save(tmp_path / "r", photo)
    key, text = (os.fsencode(photo), photo.stat().st_size, photo.stat().st_mtime_ns, "model"), "[" * 200_000
    change(tmp_path / "r", "UPDATE verdicts SET verdict = ?", _digest(text, key) + text)
    assert look_up(tmp_path / "r", photo) is None
    change(tmp_path / "r", "UPDATE verdicts SET verdict = zeroblob(5000000)")
    with pytest.raises(OutputError, match="r is damaged or not a records file"):
        look_up(tmp_path / "r", photo)


def move_two(tmp_path, photo):
    """Two moved photos, of which the second is a newer one of the same name."""
    with open_records(tmp_path / "r") as records:
        records.add([(photo.stat(), replace(EVIDENCE, path=str(photo)))], "model")
        records.intend(str(photo), str(tmp_path / "out/sharp/a.jpg"))
        records.intend(str(photo), str(tmp_path / "out/sharp/a (2).jpg"))


def list_moves(tmp_path, root, judge="model"):
    with open_records(tmp_path / "r") as records:
        return list(records.list_moves(str(root), judge))


def test_moves_are_found_below_the_folder_however_it_is_spelt(tmp_path, photo, monkeypatch):
    move_two(tmp_path, photo)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for root in (tmp_path, ".", f"{tmp_path}/", tmp_path / "link", tmp_path / "link" / ".." / tmp_path.name):
        found = list_moves(tmp_path, root)
        assert [(move.number, move.below, Path(move.target).name) for move in found] == [
            (1, "a.jpg", "a.jpg"),
            (2, "a.jpg", "a (2).jpg"),
        ]
        assert [move.evidence for move in found] == [replace(EVIDENCE, path="")] * 2
    assert [move.below for move in list_moves(tmp_path, photo)] == ["", ""]
    assert list_moves(tmp_path, tmp_path / "a") == list_moves(tmp_path, tmp_path / "link" / "b") == []
    assert [move.evidence for move in list_moves(tmp_path, photo, "other")] == [None, None]


def test_moves_are_listed_as_a_walk_finds_photos(tmp_path, monkeypatch):
    names = [
        "a b/1.jpg",
        "a-b/1.jpg",
        "a.jpg",
        "a/b/1.jpg",
        "a/b.jpg",
        "é/1.jpg",
        os.fsdecode(b"\xff.jpg"),
        "\U0001f600.jpg",
    ]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    walked = [Path(found.path).relative_to(tmp_path / "in").as_posix() for found in walk_photos([tmp_path / "in"])]
    monkeypatch.setattr("blurgate.scanning.records._PAGE", 3)
    with open_records(tmp_path / "r") as records:
        for name in names:
            path = tmp_path / "in" / name
            records.add([(path.stat(), replace(EVIDENCE, path=str(path)))], "model")
            records.intend(str(path), str(tmp_path / "out"))
    assert [move.below for move in list_moves(tmp_path, tmp_path / "in")] == walked
    assert sorted(walked) != walked


def test_a_bad_row_of_a_moved_photo_ends_the_scan(tmp_path, photo):
    for sql in (
        "UPDATE moves SET target = x'00' WHERE number = 1",
        "UPDATE moves SET size = 1 WHERE number = 2",
        "UPDATE moves SET verdict = replace(verdict, '0.9', '0.1')",
        "DELETE FROM moves WHERE number = 1",
        "UPDATE moves SET number = 5 WHERE number = 2",
    ):
        move_two(tmp_path, photo)
        change(tmp_path / "r", sql)
        with pytest.raises(OutputError, match=r"r is damaged or not a records file \(.*row"):
            list_moves(tmp_path, tmp_path)
        delete_records(tmp_path / "r")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TRIGGER t AFTER INSERT ON verdicts BEGIN DELETE FROM moves; END",
        "CREATE VIEW v AS SELECT load_extension('x')",
        "CREATE INDEX i ON verdicts (size) WHERE size > 3",
        "ALTER TABLE moves ADD COLUMN more TEXT",
        "ALTER TABLE verdicts ADD COLUMN more TEXT GENERATED ALWAYS AS (hex(path))",
    ],
)
def test_a_schema_that_is_not_ours_to_the_letter_is_refused(tmp_path, photo, sql):
    save(tmp_path / "r", photo)
    change(tmp_path / "r", sql)
    with pytest.raises(OutputError, match="r is damaged or not a records file .it is another program's database"):
        look_up(tmp_path / "r", photo)


def test_a_schema_that_is_not_text_is_refused(tmp_path, photo):
    save(tmp_path / "r", photo)
    (tmp_path / "r").write_bytes(
        (tmp_path / "r").read_bytes().replace(b"TABLE moves (number", b"TAB\xd8E moves (number")
    )
    with pytest.raises(OutputError, match="r is damaged or not a records file .its schema is not text"):
        look_up(tmp_path / "r", photo)


def test_links_and_journals_beside_records_are_refused(tmp_path, photo):
    """SQLite follows a link, and rolling back a stranger's journal can delete the file that it names."""
    save(tmp_path / "mine", photo)
    (tmp_path / "r").symlink_to(tmp_path / "mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("r", "dangling"):
        with pytest.raises(OutputError, match=f"{name} is damaged or not a records file .it is a link or not a file"):
            save(tmp_path / name, photo)
    (tmp_path / "mine-journal").touch()
    with pytest.raises(OutputError, match="mine-journal lies beside the records of a scan, but blurgate makes no such"):
        save(tmp_path / "mine", photo)
    assert not (tmp_path / "nowhere").exists()


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


def test_records_can_be_deleted(tmp_path, photo):
    save(tmp_path / "r", photo)
    delete_records(tmp_path / "r")
    delete_records(tmp_path / "r")
    assert not (tmp_path / "r").exists()
    (tmp_path / "r").touch()  # a scan that was killed while it made the file
    save(tmp_path / "r", photo)
    assert look_up(tmp_path / "r", photo)
    with pytest.raises(OutputError, match="cannot use the records .*r .unable to open"):
        save(tmp_path / "nowhere" / "r", photo)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder is damaged or not a records file .it is a link or not a file."):
        delete_records(tmp_path / "folder")


def test_a_full_disk_is_reported(tmp_path, photo):
    with pytest.raises(
        OutputError, match="cannot use the records .*r .database or disk is full.: check disk space and permissions"
    ):
        with open_records(tmp_path / "r") as records:
            records._database.execute("PRAGMA max_page_count = 5")
            for number in range(999):
                records.add([(photo.stat(), Evidence(f"{number}" * 99, 0.1))], "model")
    assert sqlite3.connect(tmp_path / "r").execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_side_files_without_records_are_not_ours(tmp_path, end):
    side = tmp_path / f"v.csv.resume{end}"
    side.write_text("mine")
    for use in (lambda path: open_records(path).__enter__(), delete_records):
        with pytest.raises(OutputError, match=rf"v.csv.resume{end} lies where a scan saves records, but without the"):
            use(tmp_path / "v.csv.resume")
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["mine"]


def test_records_are_deleted_after_their_side_files(tmp_path, photo, monkeypatch):
    save(tmp_path / "r", photo)
    unlink, removed = Path.unlink, []
    monkeypatch.setattr(Path, "unlink", lambda path, **options: (removed.append(path.name), unlink(path, **options)))
    delete_records(tmp_path / "r")
    assert removed == ["r-wal", "r-shm", "r"]
