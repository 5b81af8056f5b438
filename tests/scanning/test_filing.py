import pytest

from blurgate.errors import OutputError
from blurgate.files import FILED_MARK
from blurgate.judging.verdicts import Verdict
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
