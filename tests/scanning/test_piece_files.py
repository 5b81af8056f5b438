import io

import pytest

from blurgate.errors import OutputError
from blurgate.judging.verdicts import Verdict
from blurgate.scanning.formats import COLUMNS, write_parquet
from blurgate.scanning.piece_files import MARK, PieceFolder, parse_piece, write_piece

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")

NAME = "0123456789abcdef" * 2
VERDICTS = [
    Verdict("a.jpg", "blurred", 0.9, "motion", 2.5, "", 640, 480, "", (1, 2, 300, 400), 0.1, 0.8, 0.1),
    Verdict("\udcff\n.jpg", "sharp", 0.1, "", 1.0, "", 64, 64, sharp_to_px=64, judged_at_px=64),
    Verdict("odd \ud800.jpg", error="odd \ud800.jpg cannot be read: no"),
    Verdict("flat.png", "undecided", None, "", None, "too little texture", 64, 64),
]


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path):
    folder = PieceFolder(str(tmp_path / "v.pieces"))
    folder.prepare()
    return folder


def test_verdicts_come_back_to_the_bit_and_the_columns_are_those_of_a_scan():
    content = write_piece(VERDICTS, NAME)
    assert parse_piece(content, NAME) == VERDICTS
    assert tuple(parquet.read_table(io.BytesIO(content)).column_names) == COLUMNS
    assert parse_piece(write_piece([], NAME), NAME) == []


def test_what_is_damaged_or_of_another_piece_counts_as_missing(folder):
    content = write_piece(VERDICTS[:1], NAME)
    assert parse_piece(content, "f" * 32) is None
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 0x55
        assert parse_piece(bytes(changed), NAME) in (None, VERDICTS[:1])
        assert parse_piece(content[:place], NAME) is None
    stranger = io.BytesIO()
    write_parquet(VERDICTS[:1], stream=stranger)
    assert parse_piece(stranger.getvalue(), NAME) is None
    for bad in ({"decision": "fine"}, {"probability": 1.5}, {"probability": None}, {"width": -1}, {"kind": "odd"}):
        wrong = Verdict(**{"path": "a.jpg", "decision": "blurred", "probability": 0.9, **bad})
        assert parse_piece(write_piece([wrong], NAME), NAME) is None


def test_a_folder_gives_back_what_was_saved(folder):
    folder.save(NAME, write_piece(VERDICTS, NAME))
    paths = [verdict.path for verdict in VERDICTS]
    assert folder.find(NAME, paths) == VERDICTS
    assert folder.count() == 1
    assert folder.find(NAME, paths[1:]) is None
    assert folder.find("f" * 32, paths) is None
    assert PieceFolder(folder.place, anew=True).find(NAME, paths) is None
    assert PieceFolder(folder.place).prepare() == folder.read_token()
    read = parquet.read_table(folder.place)  # others skip the mark
    assert len(read) == len(VERDICTS)


def test_only_what_is_ours_is_removed(folder, tmp_path):
    place = tmp_path / "v.pieces"
    content = write_piece(VERDICTS, NAME)
    folder.save(NAME, content)
    (place / f"piece-{'a' * 32}.parquet").write_bytes(content)  # of another name: not ours
    (place / "mine.parquet").write_bytes(content)
    (place / f".piece-{NAME}.01234567.partial").touch()
    folder.clear({NAME})
    others = {MARK, f"piece-{'a' * 32}.parquet", "mine.parquet"}
    assert names(place) == {*others, f"piece-{NAME}.parquet"}
    folder.delete()
    assert names(place) == others
    (place / f"piece-{'a' * 32}.parquet").unlink()
    (place / "mine.parquet").unlink()
    folder.delete()
    assert not place.exists()
    folder.delete()


def test_a_folder_of_others_is_refused_and_left_alone(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    folder = PieceFolder(str(tmp_path / "letters"))
    with pytest.raises(OutputError, match="is not a folder of verdicts that blurgate wrote"):
        folder.prepare()
    folder.clear()
    folder.delete()
    assert names(tmp_path / "letters") == {"a.txt"}
    for mark in ("{", "[]", '{"token": 5, "pieces by": "x"}', "[" * 9999):
        (tmp_path / "letters" / MARK).write_text(mark)
        assert folder.read_token() == ""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write verdicts into .*file"):
        PieceFolder(str(tmp_path / "file")).prepare()
    with pytest.raises(OutputError, match="cannot write verdicts into .*nowhere"):
        PieceFolder(str(tmp_path / "nowhere" / "v")).prepare()


def test_a_folder_can_lie_behind_an_address():
    fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
    folder = PieceFolder("memory://bucket/verdicts")
    assert folder.prepare() == folder.prepare() == folder.read_token()
    folder.save(NAME, write_piece(VERDICTS, NAME))
    assert folder.find(NAME, [verdict.path for verdict in VERDICTS])
    assert folder.count() == 1
    folder.delete()
    assert fsspec.filesystem("memory").find("bucket") == []
