import os
import subprocess
import sys
from pathlib import Path

import pytest

from blurgate.errors import OutputError
from blurgate.files import atomic_file, atomic_folder, check_outputs, check_writable


def test_file_appears_complete_and_alone(tmp_path):
    with atomic_file(tmp_path / "deep" / "a.txt") as partial:
        partial.write_text("new")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "new"
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="disk"), atomic_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError("disk")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_names_the_file(tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(OSError, match="a.txt") as caught, atomic_file(tmp_path / "a.txt"):
        with full.open("w") as stream:
            stream.write("more than fits")
    assert caught.value.filename == str(tmp_path / "a.txt")


def test_folder_is_replaced_only_when_complete_and_requested(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(RuntimeError, match="power"), atomic_folder(path, replace=True) as partial:
        (partial / "half").touch()
        raise RuntimeError("power")
    with pytest.raises(OutputError, match="out has appeared in the meantime: choose another folder"):
        with atomic_folder(path, replace=False):
            pass
    assert [entry.name for entry in path.iterdir()] == ["old"]
    with atomic_folder(path, replace=True) as partial:
        (partial / "new").touch()
    assert [entry.name for entry in path.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_two_runs_into_one_folder_do_not_interfere(tmp_path):
    with pytest.raises(OutputError, match="has appeared"), atomic_folder(tmp_path / "out", replace=False) as first:
        (first / "first").touch()
        with atomic_folder(tmp_path / "out", replace=False) as second:
            (second / "second").touch()
        assert (first / "first").exists()
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["second"]
    assert len(list(tmp_path.iterdir())) == 1


def test_leftovers_of_a_killed_run_are_deleted(tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    leftover = tmp_path / f".out.{killed.stdout.strip()}.abcd.partial"
    leftover.mkdir()
    (leftover / "junk").touch()
    with atomic_folder(tmp_path / "out", replace=False) as partial:
        (partial / "new").touch()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_link_to_a_folder_keeps_its_target(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic_folder(tmp_path / "link", replace=True) as partial:
        (partial / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "new").exists()


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a.html", "a.html"], "each output needs its own file, but a.html is named twice: choose another name"),
        (["a.txt"], "expected a file named .html, got .*a.txt: choose another name"),
        (["folder.html"], "expected a file to write to, but .*folder.html is a folder"),
        (["file/a.html"], "expected a folder to write .*a.html into, but .*file is not one"),
    ],
)
def test_outputs_that_cannot_be_written(tmp_path, paths, message):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=message):
        check_outputs(*[tmp_path / path for path in paths], suffixes=(".html",))
    check_outputs(None, tmp_path / "new" / "a.html", suffixes=(".html",))


def test_no_output_replaces_an_input(tmp_path):
    with pytest.raises(OutputError, match="each output needs its own file, but a.csv is named twice"):
        check_outputs(tmp_path / "new" / ".." / "a.csv", inputs=[None, tmp_path / "a.csv"])


def test_inputs_may_be_read_only_and_may_repeat(tmp_path, monkeypatch):
    photo = tmp_path / "kept" / "a.jpg"
    photo.parent.mkdir()
    photo.touch()
    monkeypatch.setattr("os.access", lambda path, _: path != photo.parent)
    check_outputs(tmp_path / "v.csv", inputs=[photo, photo, photo.parent, tmp_path / "nowhere" / "b.jpg"])
    with pytest.raises(OutputError, match=r"b.jpg cannot be written: you have no permission to write into"):
        check_outputs(photo.with_name("b.jpg"))
    with pytest.raises(OutputError, match=r"kept cannot be written: you have no permission to write into"):
        check_writable(photo.parent)
    check_writable(tmp_path / "new" / "folder")


def test_a_link_to_a_file_keeps_its_target(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "v.csv")
    for text in ("old", "new"):
        with atomic_file(tmp_path / "link.csv") as partial:
            partial.write_text(text)
        assert (tmp_path / "real" / "v.csv").read_text() == text
    assert (tmp_path / "link.csv").is_symlink()


def test_pipes_and_devices_are_rejected_as_outputs(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path(os.devnull)):
        with pytest.raises(OutputError, match="is a pipe or a device: omit it, and redirect stdout instead"):
            check_outputs(path)


def test_a_link_to_itself_is_a_valid_input(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    check_outputs(tmp_path / "v.csv", inputs=[tmp_path / "loop"])
