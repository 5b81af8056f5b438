import os
import shutil

import pytest

from blurgate.errors import OutputError
from blurgate.files import FILED_MARK
from blurgate.judging.verdicts import Verdict
from blurgate.photos.finding import walk_photos
from blurgate.scanning import filing
from blurgate.scanning.filing import ACTIONS, Filing


@pytest.fixture
def photos(tmp_path):
    """Two photos, in a folder and its subfolder, and one in another folder of the same name."""
    for name in ("in/a.jpg", "in/sub/a.jpg", "more/in/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path / "in"


def tree(folder):
    files = [path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()]
    return sorted(path.as_posix() for path in files if path.name != FILED_MARK)


@pytest.mark.parametrize("action", ACTIONS)
def test_photos_keep_their_relative_path(photos, tmp_path, action):
    files = Filing(action, tmp_path / "out", [photos])
    assert files.file(Verdict(str(photos / "a.jpg"), "sharp")) == tmp_path / "out/sharp/a.jpg"
    files.file(Verdict(str(photos / "sub/a.jpg"), "blurred"))
    assert files.file(Verdict(str(photos / "torn.jpg"), error="it is torn")) is None
    assert tree(tmp_path / "out") == ["blurred/sub/a.jpg", "sharp/a.jpg"]
    assert (tmp_path / "out/blurred/sub/a.jpg").read_text() == "in/sub/a.jpg"
    assert (tmp_path / "out/sharp/a.jpg").is_symlink() == (action == "link")
    assert tree(photos) == ([] if action == "move" else ["a.jpg", "sub/a.jpg"])


@pytest.mark.parametrize("action", ACTIONS)
def test_no_file_is_overwritten(photos, tmp_path, action):
    (tmp_path / "out/sharp").mkdir(parents=True)
    (tmp_path / "out/sharp/a.jpg").write_text("another")
    (tmp_path / "out/sharp/a (2).jpg").symlink_to("nowhere")
    files = Filing(action, tmp_path / "out", [photos])
    assert files.file(Verdict(str(photos / "a.jpg"), "sharp")) == tmp_path / "out/sharp/a (3).jpg"
    assert (tmp_path / "out/sharp/a.jpg").read_text() == "another"
    assert (tmp_path / "out/sharp/a (3).jpg").read_text() == "in/a.jpg"


@pytest.mark.parametrize("action", ["copy", "link"])
def test_a_second_run_files_nothing_twice(photos, tmp_path, action):
    for _ in range(2):
        Filing(action, tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert tree(tmp_path / "out") == ["sharp/a.jpg"]


def test_several_scanned_folders_get_a_subfolder_each(photos, tmp_path):
    roots = [photos, tmp_path / "more", tmp_path / "more/in"]
    files = Filing("copy", tmp_path / "out", roots)
    for path in (photos / "a.jpg", tmp_path / "more/in/a.jpg"):
        files.file(Verdict(str(path), "sharp"))
    assert tree(tmp_path / "out") == ["sharp/in/a (2).jpg", "sharp/in/a.jpg"]
    assert Filing("copy", tmp_path / "o2", [photos / "a.jpg"]).file(Verdict(str(photos / "a.jpg"), "sharp")) == (
        tmp_path / "o2/sharp/a.jpg"
    )


def test_a_dry_run_reports_targets_and_touches_nothing(photos, tmp_path):
    files = Filing("move", tmp_path / "out", [photos, tmp_path / "more/in"], dry_run=True)
    targets = [files.file(Verdict(str(path), "sharp")) for path in (photos / "a.jpg", tmp_path / "more/in/a.jpg")]
    assert targets == [tmp_path / "out/sharp/in/a.jpg", tmp_path / "out/sharp/in/a (2).jpg"]
    assert not (tmp_path / "out").exists()
    assert (photos / "a.jpg").exists()


@pytest.mark.parametrize("action", ["copy", "move"])
def test_filing_works_without_hard_links_and_across_disks(photos, tmp_path, action, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(filing.Path, "hardlink_to", refuse)
    (tmp_path / "out/sharp").mkdir(parents=True)
    (tmp_path / "out/sharp/a.jpg").write_text("another")
    Filing(action, tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert (tmp_path / "out/sharp/a (2).jpg").read_text() == "in/a.jpg"
    assert tree(tmp_path / "out") == ["sharp/a (2).jpg", "sharp/a.jpg"]


def test_moving_a_link_files_its_target(photos, tmp_path):
    (photos / "b.jpg").symlink_to("sub/a.jpg")
    Filing("move", tmp_path / "out", [photos]).file(Verdict(str(photos / "b.jpg"), "sharp"))
    assert (tmp_path / "out/sharp/b.jpg").read_text() == "in/sub/a.jpg"
    assert tree(photos) == ["a.jpg", "sub/a.jpg"]


def test_a_failure_is_reported_and_leaves_the_photo(photos, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filing.shutil, "copystat", fail)
    with pytest.raises(OutputError, match=r"cannot copy .*a.jpg to .*a.jpg .No space left on device.: free disk space"):
        Filing("copy", tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert tree(tmp_path / "out") == []
    assert tree(photos) == ["a.jpg", "sub/a.jpg"]


@pytest.mark.parametrize("links", [True, False])
def test_a_photo_that_cannot_be_removed_is_not_left_in_both_places(photos, tmp_path, monkeypatch, links):
    unlink = filing.Path.unlink

    def refuse(path, **options):
        if path.is_relative_to(photos):
            raise PermissionError(13, "Permission denied")
        unlink(path, **options)

    def fail(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(filing.Path, "unlink", refuse)
    if not links:
        monkeypatch.setattr(filing.Path, "hardlink_to", fail)
        rename = filing.Path.rename
        monkeypatch.setattr(
            filing.Path, "rename", lambda path, to: fail() if path.is_relative_to(photos) else rename(path, to)
        )
    with pytest.raises(OutputError, match="cannot move .*a.jpg to .*Permission denied"):
        Filing("move", tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert tree(tmp_path / "out") == []
    assert tree(photos) == ["a.jpg", "sub/a.jpg"]


def test_a_photo_that_no_longer_exists_is_skipped(photos, tmp_path):
    files = Filing("move", tmp_path / "out", [photos])
    assert files.file(Verdict(str(photos / "gone.jpg"), "sharp")) is None
    files.file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert str(files) == f"moved 1 photo to {tmp_path / 'out'}"


def test_photos_are_filed_by_where_they_really_are(photos, tmp_path):
    """On Python 3.11, in/../more is lexically in `in`; a linked folder is where it leads to."""
    files = Filing("copy", tmp_path / "deep/out", [photos])
    (tmp_path / "link").symlink_to(photos)
    for path in (photos / "../more/in/a.jpg", tmp_path / "link/sub/../sub/a.jpg"):
        files.file(Verdict(str(path), "sharp"))
    assert tree(tmp_path / "deep") == ["out/sharp/a.jpg", "out/sharp/sub/a.jpg"]
    assert (tmp_path / "deep/out/sharp/a.jpg").read_text() == "more/in/a.jpg"


@pytest.mark.parametrize("decision", ["../../x", "/x", "", "sharp/../.."])
def test_only_known_decisions_are_folders(photos, tmp_path, decision):
    with pytest.raises(ValueError, match="decision must be one of sharp, blurred, undecided, got"):
        Filing("copy", tmp_path / "deep/out", [photos]).file(Verdict(str(photos / "a.jpg"), decision))
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("link", ["sharp", "sharp/sub"])
def test_no_link_leads_photos_out_of_the_folder(photos, tmp_path, action, link):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / link).parent.mkdir(parents=True)
    (tmp_path / "out" / link).symlink_to(tmp_path / "elsewhere")
    files = Filing(action, tmp_path / "out", [photos])
    with pytest.raises(
        OutputError, match="a link leads from there to .*elsewhere.*, outside .*out: remove the link, or"
    ):
        files.file(Verdict(str(photos / "sub/a.jpg"), "sharp"))
    if link == "sharp":
        with pytest.raises(OutputError, match="a link leads from there"):
            files.check()
    assert tree(tmp_path / "elsewhere") == []
    assert tree(photos) == ["a.jpg", "sub/a.jpg"]


def test_a_folder_that_is_swapped_for_a_link_during_the_scan_is_refused(photos, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()

    def swap(path, **_):
        path.symlink_to(tmp_path / "elsewhere")

    monkeypatch.setattr(filing.Path, "mkdir", swap)
    with pytest.raises(OutputError, match="a link leads from there"):
        Filing("move", tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert tree(tmp_path / "elsewhere") == []


def test_a_link_to_the_folder_itself_is_followed(photos, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    assert Filing("copy", tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert tree(tmp_path / "real") == ["sharp/a.jpg"]


def test_an_incomplete_copy_is_not_written_by_way_of_a_link(photos, tmp_path):
    (tmp_path / "out/sharp").mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    source, status = photos / "a.jpg", (photos / "a.jpg").stat()
    partial = filing._name_partial(source, tmp_path / "out/sharp/a.jpg", (status.st_size, status.st_mtime_ns))
    partial.symlink_to(tmp_path / "mine")
    Filing("copy", tmp_path / "out", [photos]).file(Verdict(str(source), "sharp"))
    assert (tmp_path / "mine").read_text() == "mine"
    assert tree(tmp_path / "out") == ["sharp/a.jpg"]


def test_folders_that_filing_makes_are_marked_for_later_scans(photos, tmp_path):
    (tmp_path / "mixed/b").mkdir(parents=True)
    for folder in ("mixed/a", "mixed/b"):
        files = Filing("copy", tmp_path / folder, [photos])
        files.file(Verdict(str(photos / "a.jpg"), "sharp"))
        files.file(Verdict(str(photos / "sub/a.jpg"), "blurred"))
    noted = []
    assert [*walk_photos([tmp_path / "mixed"], note_left_out=noted.append)] == []
    assert noted == [str(tmp_path / "mixed" / name) for name in ("a", "b/blurred", "b/sharp")]
    assert len([*walk_photos(noted, note_left_out=noted.append)]) == 4  # a folder that is named is searched
    assert len([*walk_photos([tmp_path / "mixed"])]) == 4
    (tmp_path / "mixed/mine").mkdir()
    (tmp_path / "mixed/mine/a.jpg").touch()
    shutil.copy(tmp_path / "mixed/a" / FILED_MARK, tmp_path / "mixed/mine")  # a mark hides only its own folder
    assert len([*walk_photos([tmp_path / "mixed"], note_left_out=noted.append)]) == 1


def test_photos_that_are_there_already_are_counted(photos, tmp_path):
    for done in ("copied 2 photos to", "copied 0 photos to"):
        files = Filing("copy", tmp_path / "out", [photos])
        for path in (photos / "a.jpg", photos / "sub/a.jpg"):
            files.file(Verdict(str(path), "sharp"))
        assert str(files).startswith(done)
    assert str(files) == f"copied 0 photos to {tmp_path / 'out'}; 2 were there already"


def test_a_move_that_was_interrupted_between_its_steps_is_ended(photos, tmp_path):
    (tmp_path / "out/sharp").mkdir(parents=True)
    (tmp_path / "out/sharp/a.jpg").hardlink_to(photos / "a.jpg")
    Filing("move", tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert tree(tmp_path) == ["in/sub/a.jpg", "more/in/a.jpg", "out/sharp/a.jpg"]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("root", ["out/sharp", "link"])
def test_a_photo_at_its_own_target_is_not_touched(photos, tmp_path, root, dry_run):
    Filing("move", tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    (tmp_path / "link").symlink_to("out/sharp")
    files = Filing("move", tmp_path / "out", [tmp_path / root], dry_run)
    assert files.file(Verdict(str(tmp_path / root / "a.jpg"), "sharp")) is None
    assert (tmp_path / "out/sharp/a.jpg").read_text() == "in/a.jpg"
    assert str(files).endswith("; 1 was there already")


def test_a_folder_on_a_second_path_without_links_is_the_same_folder(photos, tmp_path, monkeypatch):
    """As a mount makes it, or another case in its name."""
    monkeypatch.setattr(filing, "locate", lambda path: path)
    (tmp_path / "again").symlink_to(photos)
    assert filing._is_one_entry(tmp_path / "again/a.jpg", photos / "a.jpg")
    (photos / "b.jpg").hardlink_to(photos / "a.jpg")
    (photos / "sub/a.jpg").unlink()
    (photos / "sub/a.jpg").hardlink_to(photos / "a.jpg")
    assert not filing._is_one_entry(tmp_path / "again/b.jpg", photos / "a.jpg")
    assert not filing._is_one_entry(photos / "sub/a.jpg", photos / "a.jpg")


@pytest.mark.parametrize("links", [True, False])
def test_a_photo_whose_source_another_process_removes_stays_at_its_target(photos, tmp_path, monkeypatch, links):
    unlink = filing.Path.unlink

    def remove_first(path, **options):
        if path == photos / "a.jpg":
            unlink(path)
        unlink(path, **options)

    def fail(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(filing.Path, "unlink", remove_first)
    if not links:
        monkeypatch.setattr(filing.Path, "hardlink_to", fail)
        rename = filing.Path.rename
        monkeypatch.setattr(
            filing.Path, "rename", lambda path, to: fail() if path.is_relative_to(photos) else rename(path, to)
        )
    assert Filing("move", tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))
    assert (tmp_path / "out/sharp/a.jpg").read_text() == "in/a.jpg"


def test_a_file_in_the_place_of_a_folder_is_named_as_the_cause(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sharp").touch()
    with pytest.raises(OutputError, match="a file is in the way: move it away or choose another folder, then run"):
        Filing("move", tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("action", ["copy", "move"])
def test_a_photo_that_was_swapped_for_a_pipe_is_not_waited_for(photos, tmp_path, action, monkeypatch):
    def fail(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(filing.Path, "hardlink_to", fail)
    monkeypatch.setattr(filing.Path, "rename", fail)
    (photos / "a.jpg").unlink()
    os.mkfifo(photos / "a.jpg")
    assert Filing(action, tmp_path / "out", [photos]).file(Verdict(str(photos / "a.jpg"), "sharp")) is None
    assert tree(tmp_path / "out") == []


def test_an_empty_folder_that_receives_photos_is_marked_too(photos, tmp_path):
    for name in ("sharp", "blurred"):
        (tmp_path / "mixed" / name).mkdir(parents=True)
    (tmp_path / "mixed/sharp/.gitkeep").touch()
    (tmp_path / "mixed/blurred/mine.jpg").touch()
    files = Filing("copy", tmp_path / "mixed", [photos])
    files.file(Verdict(str(photos / "a.jpg"), "sharp"))
    files.file(Verdict(str(photos / "sub/a.jpg"), "blurred"))
    noted = []
    found = walk_photos([tmp_path / "mixed"], note_left_out=noted.append)
    assert [found.path for found in found] == [
        str(tmp_path / "mixed/blurred" / name) for name in ("mine.jpg", "sub/a.jpg")
    ]
    assert noted == [str(tmp_path / "mixed/sharp")]
