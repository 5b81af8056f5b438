import errno
import os
import sqlite3
import subprocess
import sys
import time
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from blurgate.errors import OutputError
from blurgate.files import atomic_file, atomic_folder, check_writable
from blurgate.judging.verdicts import Verdict
from blurgate.learning.report import write_report
from blurgate.learning.search import search_parameters
from blurgate.learning.splits import cut_folds
from blurgate.learning.table import write_table
from blurgate.making.preview import write_preview
from blurgate.outputs import KINDS, check_outputs, is_ours, is_picture_of_ours
from blurgate.photos.images import encode_jpeg, encode_png
from blurgate.scanning.explanations import write_explanations
from blurgate.scanning.formats import WRITERS
from blurgate.scanning.gallery import write_gallery


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


def test_another_program_that_makes_the_folder_meanwhile_wins(tmp_path):
    with pytest.raises(OutputError, match="has appeared"), atomic_folder(tmp_path / "out", replace=False):
        (tmp_path / "out").mkdir()
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("write", [atomic_file, lambda path: atomic_folder(path, replace=True)])
def test_one_writer_at_a_time(tmp_path, write):
    path = tmp_path / "out"
    with write(path) as first:
        first.mkdir(exist_ok=True) if first.is_dir() else first.touch()
        with pytest.raises(OutputError, match="another run of blurgate is writing out: wait until it has ended, or"):
            with write(path):
                pass
        assert first.exists()
    assert list(tmp_path.iterdir()) == [path]


HOLD = """
import sys, time
from pathlib import Path
from blurgate.files import atomic_file
with atomic_file(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("namespace", [[], ["unshare", "--pid", "--fork", "--kill-child"]])
def test_a_killed_writer_leaves_no_lock_and_what_it_leaves_is_deleted(tmp_path, namespace):
    """Another PID namespace, such as that of a container, has other process ids, but the same locks."""
    if namespace and subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make PID namespaces")
    path = tmp_path / "out.csv"
    writer = subprocess.Popen([*namespace, sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"begun\n"
    partials = list(tmp_path.glob(".out.csv.*.partial"))
    with pytest.raises(OutputError, match="another run of blurgate is writing out.csv"), atomic_file(path):
        pass
    assert list(tmp_path.glob(".out.csv.*.partial")) == partials != []
    writer.kill()
    writer.communicate()
    for _ in range(500):  # with a namespace, the writer dies a little later than the process that made it
        try:
            with atomic_file(path) as partial:
                partial.write_text("whole")
            break
        except OutputError:
            time.sleep(0.01)
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_similar_name_stay(tmp_path):
    ours, others = tmp_path / ".out.0123abcd.partial", tmp_path / ".out.csv.0123abcd.partial"
    ours.mkdir()
    (ours / "junk").touch()
    others.touch()
    with atomic_folder(tmp_path / "out", replace=False) as partial:
        (partial / "new").touch()
    assert sorted(tmp_path.iterdir()) == [others, tmp_path / "out"]


def test_without_locks_leftovers_stay(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / ".v.csv.0123abcd.partial").touch()
    with atomic_file(tmp_path / "v.csv") as partial:
        partial.touch()
    assert {entry.name for entry in tmp_path.iterdir()} == {"v.csv", ".v.csv.lock", ".v.csv.0123abcd.partial"}


def test_a_link_to_a_folder_keeps_its_target(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic_folder(tmp_path / "link", replace=True) as partial:
        (partial / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "new").exists()


@pytest.mark.parametrize(
    ("outputs", "error", "message"),
    [
        (
            {"gallery": "a.html", "report": "a.html"},
            ValueError,
            "each output needs its own file, but a.html is named twice: choose another name",
        ),
        ({"gallery": "a.txt"}, ValueError, "expected a file named .html, got .*a.txt: choose another name"),
        ({"gallery": "folder.html"}, OutputError, "expected a file to write to, but .*folder.html is a folder"),
        ({"gallery": "file/a.html"}, OutputError, "expected a folder to write .*a.html into, but .*file is not one"),
        ({"model": "file"}, OutputError, "file is read-only and is not replaced: choose another name, or make it wri"),
        (
            {"model": "mine.zip"},
            OutputError,
            "mine.zip exists and is not a model that blurgate wrote: choose another name",
        ),
    ],
)
def test_outputs_that_cannot_be_written(tmp_path, outputs, error, message):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch(0o444)
    (tmp_path / "mine.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(error, match=message):
        check_outputs(**{kind: tmp_path / path for kind, path in outputs.items()})
    check_outputs(gallery=tmp_path / "new" / "a.html", report=None)


def test_no_output_replaces_an_input_or_its_labels(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("new/../a.csv", "photos/labels.csv", "photos/manifest.csv"):
        with pytest.raises(ValueError, match=f"{Path(name).name} is read and cannot be the output too: choose another"):
            check_outputs(table=tmp_path / name, inputs=[None, tmp_path / "a.csv", tmp_path / "photos"])
    check_outputs(table=tmp_path / "photos" / "features.csv", inputs=[tmp_path / "photos"])


@pytest.fixture(scope="module")
def outputs(trained, table, astronaut, explaining_model, tmp_path_factory):
    """One of each file that commands write, by its name."""
    folder = tmp_path_factory.mktemp("outputs")
    model, evaluation = trained
    verdicts = [Verdict(f"{'deep/' * 200}é.jpg", "sharp", 0.25, width=4, height=3), Verdict("b.jpg", error="torn")]
    for name, kind in WRITERS.items():
        with (folder / f"{name}.v").open(
            "wb" if kind.binary else "w", encoding=None if kind.binary else "utf-8"
        ) as out:
            kind.write(verdicts, out)
    (folder / "bom.v").write_bytes(b'\xef\xbb\xbf"path";"decision";"probability";"kind"\r\n')  # by a spreadsheet
    write_gallery(verdicts[:1], folder / "gallery.html", threshold=0.5)
    write_report(evaluation, folder / "report.html", title="<title>")
    model.save(folder / "a.model")
    write_preview(astronaut, folder / "preview.png", kinds=["defocus"])
    (folder / "map.png").write_bytes(encode_png(astronaut[..., 0], holds="map", note="of a photo"))
    photo = tmp_path_factory.mktemp("photo") / "a.jpg"
    photo.write_bytes(encode_jpeg(astronaut, quality=90))
    for name in ("explanation.png", "explanations.html"):
        assert len(list(write_explanations([photo], folder / name, model=explaining_model))) == 1
    for suffix in ("csv", "parquet"):
        write_table(table, folder / f"table.{suffix}")
    search_parameters(table, cut_folds(table, folds=2, seed=0), trials=1, study=folder / "a.study")
    return folder


OURS = {
    "verdicts": ("table.v", "csv.v", "jsonl.v", "parquet.v", "bom.v"),
    "gallery": ("gallery.html",),
    "report": ("report.html",),
    "numbers": ("report.json",),
    "model": ("a.model",),
    "preview": ("preview.png",),
    "map": ("map.png",),
    "explanation": ("explanation.png",),
    "explanations": ("explanations.html",),
    "table": ("table.csv", "table.parquet"),
    "study": ("a.study",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_is_known_by_its_content(outputs, sharp_folder, tmp_path, kind):
    """A command may replace what it wrote, and an empty file, but nothing else."""
    (tmp_path / "empty").touch()
    assert is_ours(tmp_path / "empty", kind)
    assert {path.name for path in outputs.iterdir() if is_ours(path, kind)} == set(OURS[kind])
    (tmp_path / "page.html").write_text("<!doctype html><title>my page about blurgate</title>")
    (tmp_path / "list.csv").write_text("path,label\n")
    (tmp_path / "note.json").write_text('{"n": 3, "threshold": 4}')
    (tmp_path / "data.parquet").write_bytes(b"PAR1PAR1")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        archive.writestr("letter.txt", "card.json")
    with closing(sqlite3.connect(tmp_path / "mine.db")) as database:
        database.execute("CREATE TABLE songs (title)")
    foreign = [path for path in tmp_path.iterdir() if path.name != "empty"] + [min(sharp_folder.iterdir())]
    assert not [path for path in foreign if is_ours(path, kind)]


def test_pictures_of_ours_are_known_and_an_empty_file_is_none(outputs, tmp_path):
    (tmp_path / "empty.png").touch()
    paths = [*outputs.iterdir(), tmp_path / "empty.png", tmp_path]
    assert {path.name for path in paths if is_picture_of_ours(str(path))} == {"map.png", "explanation.png"}


def test_inputs_may_be_read_only_and_may_repeat(tmp_path, monkeypatch):
    photo = tmp_path / "kept" / "a.jpg"
    photo.parent.mkdir()
    photo.touch()
    monkeypatch.setattr("os.access", lambda path, _: path != photo.parent)
    check_outputs(verdicts=tmp_path / "v.csv", inputs=[photo, photo, photo.parent, tmp_path / "nowhere" / "b.jpg"])
    with pytest.raises(OutputError, match=r"b.jpg cannot be written: you have no permission to write into"):
        check_outputs(verdicts=photo.with_name("b.jpg"))
    with pytest.raises(OutputError, match=r"kept cannot be written: you have no permission to write into"):
        check_writable(photo.parent)
    monkeypatch.setattr("blurgate.files._is_read_only", lambda _: True)
    with pytest.raises(OutputError, match=r"kept is on a read-only file system: choose another place"):
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
            check_outputs(verdicts=path)


def test_a_link_to_itself_is_a_valid_input(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    check_outputs(verdicts=tmp_path / "v.csv", inputs=[tmp_path / "loop"])


@pytest.mark.parametrize("kind", ["text", "folder", "link", "link to nothing", "pipe"])
def test_what_lies_at_the_place_of_a_lock_is_neither_locked_nor_deleted(tmp_path, kind):
    place = tmp_path / ".v.csv.lock"
    (tmp_path / "mine").touch()
    makers = {"text": lambda: place.write_text("mine"), "folder": place.mkdir, "link": lambda: place.symlink_to("mine")}
    makers |= {"link to nothing": lambda: place.symlink_to("nothing"), "pipe": lambda: os.mkfifo(place)}
    if kind == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes")
    makers[kind]()
    before = place.lstat()
    with pytest.raises(OutputError, match=r"\.v\.csv\.lock was needed as the lock of v\.csv, but something else lies"):
        with atomic_file(tmp_path / "v.csv"):
            pass
    assert place.lstat() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".v.csv.lock", "mine"]
