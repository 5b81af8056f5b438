import errno
import inspect
import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from blurgate.errors import MachineError, PhotoError
from blurgate.photos.finding import find_photos, walk_photos
from blurgate.photos.images import read_gray


@pytest.fixture
def make(tmp_path):
    """Make empty files."""

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return make


def names(folder, **options):
    return [os.path.relpath(found.path, folder) for found in walk_photos([folder], **options)]


def test_photos_are_sorted_and_hidden_ones_skipped(make, tmp_path):
    make(
        "b/2.JPG", "a.jpeg", "b/1.png", ".hidden.jpg", ".git/x.jpg", "notes.txt", "__MACOSX/a.jpg", "@eaDir/a.jpg/t.jpg"
    )
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos([tmp_path, tmp_path / "notes.txt"])]
    assert found == ["a.jpeg", "b/1.png", "b/2.JPG", "notes.txt"]
    with pytest.raises(PhotoError, match="nowhere does not exist"):
        find_photos([tmp_path / "nowhere"])


def test_photos_with_other_suffixes_are_found_by_content(tmp_path):
    photo = Image.new("L", (64, 64))
    for name in ("blob", "photo.jpg~", "upload.tmp", "a.2024"):
        photo.save(tmp_path / name, "JPEG")
    photo.save(tmp_path / "raw.nef", "TIFF")  # only its thumbnail could be read
    photo.save(tmp_path / "page.html", "JPEG")
    (tmp_path / "text").write_text("BM is what a bitmap begins with")
    assert names(tmp_path) == ["a.2024", "blob", "photo.jpg~", "upload.tmp"]


def test_patterns_match_names_and_paths(make, tmp_path):
    make("2023/a.jpg", "2024/a.jpg", "2024/drafts/b.PNG", "c.png")
    assert names(tmp_path, include=["*.png"]) == ["2024/drafts/b.PNG", "c.png"]
    assert names(tmp_path, include=["2024/*"]) == ["2024/a.jpg", "2024/drafts/b.PNG"]
    assert names(tmp_path, exclude=["drafts", "2023/*"]) == ["2024/a.jpg", "c.png"]
    assert names(tmp_path, include=["*.png"], exclude=["c.*"]) == ["2024/drafts/b.PNG"]
    assert names(tmp_path, leave_out=[tmp_path / "2024"]) == ["2023/a.jpg", "c.png"]


def test_links_to_folders_are_followed_only_if_given_as_paths(make, tmp_path):
    make("in/a.jpg", "in/sub/b.jpg", "elsewhere/c.jpg")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "sub" / "up").symlink_to("..")
    (tmp_path / "in" / "self").symlink_to("self")
    (tmp_path / "in" / "old").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "in") == ["a.jpg", "sub/b.jpg"]
    assert names(tmp_path / "in" / "old") == ["c.jpg"]


def test_a_broken_link_and_an_empty_folder_named_like_photos_are_reported(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    (tmp_path / "b.jpg").symlink_to("nowhere")
    (tmp_path / "c").mkdir()
    assert names(tmp_path) == ["a.jpg", "b.jpg"]


def test_a_folder_that_cannot_be_listed_is_reported(make, tmp_path, monkeypatch):
    make("a.jpg", "locked/b.jpg")
    scandir = os.scandir

    def scandir_locked(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir_locked)
    found = list(walk_photos([tmp_path]))
    assert [photo.problem for photo in found] == ["", "cannot be searched for photos: Permission denied"]
    with pytest.raises(PhotoError, match="locked cannot be searched for photos: Permission denied"):
        find_photos([tmp_path])


def test_photos_are_found_lazily(make, tmp_path):
    make(*(f"{number}/a.jpg" for number in range(5)))
    walk = walk_photos([tmp_path])
    next(walk)
    make("4/b.jpg")
    assert len(list(walk)) == 5


def test_one_text_in_place_of_several_is_refused(tmp_path):
    for name in ("include", "exclude", "leave_out"):
        with pytest.raises(TypeError, match=f"{name} must be a list, got 'a'"):
            list(walk_photos([tmp_path], **{name: "a"}))
    for find in (find_photos, lambda paths: list(walk_photos(paths))):
        with pytest.raises(TypeError, match="paths must be a list, got "):
            find(tmp_path)


@pytest.mark.parametrize("function", ["os.scandir", "os.open"])
def test_too_many_open_files_are_not_an_empty_folder(tmp_path, monkeypatch, function):
    (tmp_path / "photo").write_bytes(b"no suffix: it is opened to see what it is")

    def fail(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(function, fail)
    with pytest.raises(MachineError):
        list(walk_photos([tmp_path]))


@pytest.fixture
def nest():
    """Make folders inside one another, deeper than a path may be long, and remove them afterwards."""
    opened = []

    def nest(folder, name, depth, photo):
        opened.append([os.open(folder, os.O_RDONLY)])
        for _ in range(depth):
            os.mkdir(name, dir_fd=opened[-1][-1])
            opened[-1].append(os.open(name, os.O_RDONLY, dir_fd=opened[-1][-1]))
        with open(photo, "wb", opener=lambda path, flags: os.open(path, flags, dir_fd=opened[-1][-1])) as stream:
            stream.write(b"\xff\xd8\xff")

        def remove():
            os.unlink(photo, dir_fd=opened[-1][-1])
            while len(opened[-1]) > 1:
                os.close(opened[-1].pop())
                os.rmdir(name, dir_fd=opened[-1][-1])

        removers.append(remove)

    removers = []
    yield nest
    for remove in removers:
        remove()


def test_folders_may_be_nested_deeper_than_calls(nest, make, tmp_path):
    make("a.jpg", "e.jpg")
    nest(tmp_path, "d", 300, "b.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        found = names(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["a.jpg", "d/" * 300 + "b.jpg", "e.jpg"]


def test_paths_longer_than_the_system_allows_are_reported(nest, make, tmp_path):
    make("a.jpg", "z.jpg")
    nest(tmp_path, "n" * 200, 25, "b.jpg")
    found = list(walk_photos([tmp_path]))
    assert [each.problem for each in found] == ["", "cannot be searched for photos: File name too long", ""]
    with pytest.raises(PhotoError, match="cannot be read: File name too long"):
        read_gray(found[1].path)


ENTRIES = st.dictionaries(st.text("ab.jpg", min_size=1, max_size=6), st.sampled_from(["file", "empty", "full"]))


@given(tree=ENTRIES)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_is_by_name_and_depth_first(tmp_path, tree):
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    for name in filter(lambda name: not name.startswith("."), tree):
        if tree[name] == "file":
            (root / name).touch()
            continue
        (root / name).mkdir()
        for inner in ("b.jpg", "a.png", "c") if tree[name] == "full" else ():
            (root / name / inner).touch()

    def walk(folder):
        for path in sorted(folder.iterdir(), key=lambda path: path.name):
            if path.is_dir():
                yield from list(walk(path)) or [path] * (path.suffix == ".jpg")
            elif path.suffix in (".jpg", ".png"):
                yield path

    assert [found.path for found in walk_photos([root])] == list(map(str, walk(root)))
