import pytest

from blurgate.files import whole_file, whole_folder


def test_file_appears_whole_and_alone(tmp_path):
    with whole_file(tmp_path / "deep" / "a.txt") as partial:
        partial.write_text("new")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_failed_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), whole_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError("disk")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_is_replaced_only_when_complete(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(RuntimeError, match="power"), whole_folder(path) as partial:
        (partial / "half").touch()
        raise RuntimeError("power")
    assert [entry.name for entry in path.iterdir()] == ["old"]
    with whole_folder(path) as partial:
        (partial / "new").touch()
    assert [entry.name for entry in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    left = tmp_path / ".out.partial"
    left.mkdir()
    (left / "junk").touch()
    with whole_folder(tmp_path / "out") as partial:
        (partial / "new").touch()
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["new"]
    assert not left.exists()
