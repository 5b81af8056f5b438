import numpy as np
import pytest

from blurgate.judging.verdicts import Evidence
from blurgate.photos.addresses import Status
from blurgate.scanning.items import Item
from blurgate.scanning.pieces import MOST_PHOTOS, Entry, cut_pieces, name_piece, note_files

MB = 10**6


def make_entries(count, sizes=(MB,)):
    return [Entry(f"/photos/{number:06}.jpg", sizes[number % len(sizes)], number) for number in range(count)]


def work_of(piece):
    return sum(1.5e-3 + entry.size * 8e-9 for entry in piece)


@pytest.mark.parametrize("sizes", [(MB,), (20_000,), (10_000, 5 * MB, 300_000)])
def test_pieces_are_even_and_together_all_photos(sizes):
    entries = make_entries(20_000, sizes)
    pieces = list(cut_pieces(entries, 0.5))
    assert [entry for piece in pieces for entry in piece] == entries
    work = np.array([work_of(piece) for piece in pieces[:-1]])
    assert 0.4 < work.mean() < 0.6
    assert work.std() < 0.2
    assert work.max() < 1.1


def test_a_new_changed_or_missing_photo_changes_one_piece():
    entries = make_entries(3000, (10_000, 300_000))
    before = {name_piece(piece, "judge") for piece in cut_pieces(entries, 0.2)}
    assert len(before) > 30
    for place in range(50, 3000, 251):
        for changed in (
            [*entries[:place], Entry("/photos/new.jpg", 90_000, 1), *entries[place:]],
            [*entries[:place], *entries[place + 1 :]],
            [*entries[:place], Entry(entries[place].path, 10_001, 9), *entries[place + 1 :]],
        ):
            after = {name_piece(piece, "judge") for piece in cut_pieces(changed, 0.2)}
            assert 1 <= len(after - before) <= 3
            assert len(before - after) <= 3


def test_a_piece_is_limited_in_work_and_in_photos():
    assert {len(piece) for piece in cut_pieces(make_entries(5, (10**10,)), 0.5)} == {1}
    assert max(len(piece) for piece in cut_pieces(make_entries(3 * MOST_PHOTOS, (0,)), 10**6)) == MOST_PHOTOS
    assert list(cut_pieces([])) == []


def test_a_name_depends_on_every_photo_and_the_judge():
    one = Entry("a.jpg", 1, 2)
    names = {
        name_piece(entries, judge)
        for entries in ([one], [one, one], [Entry("b.jpg", 1, 2)], [Entry("a.jpg", 2, 2)], [Entry("a.jpg", 1, 3)])
        for judge in ("x", "y")
    }
    assert len(names) == 10
    assert name_piece([Entry("\udcff.jpg")], "x") != name_piece([Entry("\udcfe.jpg")], "x")


def test_files_are_noted_and_those_without_are_left_to_the_judge(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"12345")
    wrong = Evidence("closed", error="closed cannot be searched for photos")
    items = [Item(str(tmp_path / "a.jpg")), Item(str(tmp_path / "gone.jpg")), Item("zero\0.jpg"), Item(evidence=wrong)]
    found, gone, zero, closed = note_files(items)
    assert (found.size, found.modified_ns) == (5, (tmp_path / "a.jpg").stat().st_mtime_ns)
    assert (gone.size, zero.size) == (0, 0)
    assert closed.name == "closed"
    assert [entry.to_item().evidence for entry in (found, closed)] == [None, wrong]


def test_photos_that_had_to_be_read_travel_in_pieces_of_their_own_bounds():
    items = [Item(bytes(MB), path=f"tar://{number}.jpg::a.tar", status=Status(MB, 7)) for number in range(30)]
    broken = Item(evidence=Evidence("a.tar", error="a.tar is cut short"), broken=True)
    pieces = list(cut_pieces(note_files([*items, broken]), 1000))
    assert [len(piece) for piece in pieces] == [9, 9, 9, 4]
    assert pieces[0][0].to_item() == Item(bytes(MB), path="tar://0.jpg::a.tar")
    assert pieces[-1][-1].to_item() == broken
