"""Maps that a scan draws beside its verdicts."""

import errno
import io
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from blurgate import explain
from blurgate.errors import OutputError, PhotoError
from blurgate.photos.images import encode_png, read_gray
from blurgate.scanning import map_drawing, picture_folders
from blurgate.scanning.run import ScanRequest, run_scan


@pytest.fixture
def photos(astronaut, tmp_path):
    """Two photos of one name, a blurred one in a folder, and a file that is no photo."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    picture = Image.fromarray(astronaut).crop((100, 0, 300, 160))
    picture.save(folder / "cat.jpg", quality=95)
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "cat.png")
    picture.filter(ImageFilter.GaussianBlur(5)).save(folder / "deep" / "dog.png")
    (folder / "torn.jpg").write_text("no photo")
    return folder


@pytest.fixture
def request_maps(photos, explaining_model, tmp_path):
    model = explaining_model
    return ScanRequest(photos=[str(photos)], roots=[photos], model=model, output=tmp_path / "v.csv", maps=photos / "m")


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*") if path.is_file())


def test_each_photo_that_was_judged_gets_a_map_of_its_size(request_maps, photos, explaining_model):
    said = []
    outcome = run_scan(request_maps, say=said.append)
    assert outcome.tally.decisions["error"] == 1
    assert names(request_maps.maps) == ["cat (2).png", "cat.png", "deep/dog.png"]
    for drawn, photo in (("cat.png", "cat.jpg"), ("cat (2).png", "cat.png"), ("deep/dog.png", "deep/dog.png")):
        with Image.open(request_maps.maps / drawn) as picture, Image.open(photos / photo) as own:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "L", own.size)
            expected = explain(photos / photo, model=explaining_model).to_gray()
            assert np.array_equal(np.asarray(picture), expected)
    assert f"drew 3 maps to {request_maps.maps}" in said


def test_maps_among_the_photos_are_not_scanned(request_maps):
    said = []
    for maps in (request_maps.maps, request_maps.maps, None):
        assert run_scan(replace(request_maps, maps=maps), say=said.append).tally.total == 4
    assert names(request_maps.maps) == ["cat (2).png", "cat.png", "deep/dog.png"]
    assert not any("left out" in line for line in said)


def test_a_gate_passes_no_photo_that_looks_like_a_map(request_maps):
    gate = replace(request_maps, fail_on=["blurred"], threshold=1.0, allow_unreadable=True)
    assert not run_scan(gate).failed  # its own maps
    assert "3 pictures in" in run_scan(replace(gate, maps=None)).failures[0]  # photos might be disguised as maps


def test_own_maps_are_replaced_and_nothing_else(request_maps, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    gray = np.zeros((8, 8), np.uint8)
    (maps / "cat.png").write_bytes(encode_png(gray, holds="map"))
    Image.fromarray(gray).save(maps / "cat (2).png")
    (tmp_path / "linked.png").write_bytes(encode_png(gray, holds="map"))
    (maps / "deep").mkdir()
    (maps / "deep" / "dog.png").symlink_to(tmp_path / "linked.png")
    kept = (maps / "cat (2).png").read_bytes(), (tmp_path / "linked.png").read_bytes()
    run_scan(replace(request_maps, maps=maps))
    assert names(maps) == ["cat (2).png", "cat (3).png", "cat.png", "deep/dog (2).png", "deep/dog.png"]
    assert ((maps / "cat (2).png").read_bytes(), (tmp_path / "linked.png").read_bytes()) == kept
    assert read_gray(maps / "cat.png").shape == (160, 200)


def test_a_resumed_scan_draws_what_is_new(request_maps, photos):
    request = replace(request_maps, resume=True)
    run_scan(request)
    (request.maps / "deep" / "dog.png").unlink()
    before = (request.maps / "cat.png").stat().st_ino
    Image.fromarray(read_gray(photos / "cat.png")).save(photos / "cat.png")
    changed = (request.maps / "cat (2).png").stat().st_ino
    said = []
    run_scan(request, say=said.append)
    assert f"drew 2 maps to {request.maps}; 1 was there already" in said
    assert (request.maps / "cat.png").stat().st_ino == before
    assert (request.maps / "cat (2).png").stat().st_ino != changed
    assert names(request.maps) == ["cat (2).png", "cat.png", "deep/dog.png"]


def test_moved_photos_have_maps_too(request_maps, tmp_path):
    run_scan(replace(request_maps, action="move", folder=tmp_path / "sorted", maps=tmp_path / "maps"))
    assert names(tmp_path / "maps") == ["cat (2).png", "cat.png", "deep/dog.png"]
    assert len(names(tmp_path / "sorted")) == 3


def test_a_list_of_photos_has_maps_and_pictures_in_memory_have_none(request_maps, photos, astronaut):
    listed = iter([str(photos / "cat.jpg"), astronaut, str(photos / "deep" / "dog.png"), str(photos / "cat.jpg")])
    run_scan(replace(request_maps, photos=listed, roots=[]))
    assert names(request_maps.maps) == ["cat.png", "dog.png"]


def test_a_map_that_cannot_be_drawn_is_a_warning(request_maps, monkeypatch):
    def refuse(verdict, photo, **options):
        if photo.endswith("dog.png"):
            raise PhotoError("it is gone")
        return original(verdict, photo, **options)

    original = map_drawing.explain_verdict
    monkeypatch.setattr(map_drawing, "explain_verdict", refuse)
    said = []
    assert not run_scan(request_maps, say=said.append).failed
    assert any(line.startswith("no map of") and line.endswith("dog.png: it is gone") for line in said)
    assert f"drew 2 maps to {request_maps.maps}; 1 could not be drawn" in said


def test_a_full_disk_ends_the_scan(request_maps, monkeypatch):
    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(picture_folders.os, "fsync", fill)
    with pytest.raises(OutputError, match="cannot write .*free disk space or choose another folder"):
        run_scan(replace(request_maps, output=None), stream=io.StringIO())
    assert names(request_maps.maps) == []
    assert not list(request_maps.maps.glob(".*.partial"))


def test_leftovers_of_killed_scans_are_deleted(request_maps):
    request_maps.maps.mkdir()
    (request_maps.maps / f".{'0' * 16}.png.partial").touch()
    run_scan(request_maps)
    assert not list(request_maps.maps.glob(".*.partial"))


def test_folders_that_cannot_hold_maps_are_refused(request_maps, photos, explaining_model, tmp_path):
    (tmp_path / "file").touch()
    shutil.copytree(photos / "deep", photos / "full")
    cases = {
        "holds what is read and cannot hold the maps too": {"maps": photos},
        "holds what is read": {"maps": tmp_path},
        "holds other files, so that a later scan": {"maps": photos / "full"},
        "is a file: choose another name": {"maps": tmp_path / "file"},
        "need folders of their own": {"maps": tmp_path / "s", "action": "move", "folder": tmp_path / "s"},
        "a model with an explainer is needed": {"model": replace(explaining_model, explainer=None)},
    }
    for message, options in cases.items():
        with pytest.raises((OutputError, ValueError), match=message):
            run_scan(replace(request_maps, **options))
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "deep").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="a link leads from there to"):
        run_scan(replace(request_maps, maps=tmp_path / "maps"))
