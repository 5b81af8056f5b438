"""Archives: what is in them is found as in a folder, and none of them is believed."""

import gzip
import io
import json
import os
import re
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageFilter
from typer.testing import CliRunner

import blurgate
from blurgate.cli import app
from blurgate.errors import PhotoError
from blurgate.photos.addresses import Place, find_archive
from blurgate.photos.archives import check_archive, read_member, walk_archive
from blurgate.photos.images import read_gray, thumbnail

COUNT = 240


def scan(photos, **options):
    return list(blurgate.scan(photos, model="trees", engine="numpy", **options))


def run(*words):
    return CliRunner().invoke(app, [*map(str, words), "--model", "trees"])


@pytest.fixture(scope="module")
def files():
    """A few hundred small photos by their names, half of them blurred, one damaged, and what is no photo."""
    rng = np.random.default_rng(5)
    scene = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).resize((128, 128), Image.Resampling.NEAREST)
    found = {}
    for number in range(COUNT):
        picture = scene.rotate(number + 10)
        picture = picture.filter(ImageFilter.GaussianBlur(4)) if number % 2 else picture
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=70)
        found[f"{'a' if number % 3 else 'b'}/{number:06}.jpg"] = stream.getvalue()
        found[f"{'a' if number % 3 else 'b'}/{number:06}.cls"] = b"%d" % (number % 2)
    found["a/damaged.jpg"] = b"no picture"
    found["a/no suffix"] = found["a/000001.jpg"]
    found["a/.hidden.jpg"] = found["__MACOSX/._000001.jpg"] = b"junk"
    found["readme.txt"] = b"text"
    found["a/raw.nef"] = b"raw"
    return found


@pytest.fixture(scope="module")
def archives(files, tmp_path_factory):
    """The same files in a folder, a zip, and tars."""
    folder = tmp_path_factory.mktemp("archives")
    with (
        zipfile.ZipFile(folder / "photos.zip", "w", zipfile.ZIP_DEFLATED) as packed,
        tarfile.open(folder / "photos.tar", "w") as tar,
        tarfile.open(folder / "photos.tar.gz", "w:gz", compresslevel=1) as zipped,
    ):
        for name, content in files.items():
            (folder / "disk" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "disk" / name).write_bytes(content)
            packed.writestr(name, content)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            zipped.addfile(entry, io.BytesIO(content))
    return folder


@pytest.fixture(scope="module")
def expected(archives):
    """Rows of the folder, by the name below it."""
    root = f"{archives / 'disk'}{os.sep}"
    return {row.path.removeprefix(root): (row.decision, row.probability, bool(row.error)) for row in scan([root])}


def rows_of(verdicts):
    return {
        row.path.rpartition("://")[2].split("::")[0]: (row.decision, row.probability, bool(row.error))
        for row in verdicts
    }


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar", "photos.tar.gz"])
def test_an_archive_gives_the_verdicts_of_a_folder_in_its_own_order(archives, files, expected, name):
    verdicts = scan([archives / name])
    assert len(expected) == COUNT + 2
    assert rows_of(verdicts) == expected
    assert list(rows_of(verdicts)) == [file for file in files if file in expected]


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar"])
def test_a_member_is_found_again_by_its_address(archives, files, name):
    kind = name.rpartition(".")[2]
    address = f"{kind}://b/000000.jpg::{archives / name}"
    assert read_member(address) == files["b/000000.jpg"]
    assert thumbnail(address) is not None
    np.testing.assert_array_equal(read_gray(address), read_gray(files["b/000000.jpg"]))
    (verdict,) = scan(address)
    assert verdict.path == address
    with pytest.raises(PhotoError, match="does not exist: the archive has no such member"):
        read_gray(f"{kind}://b/1.jpg::{archives / name}")


def test_a_member_of_a_compressed_tar_is_not_found_again(archives):
    with pytest.raises(PhotoError, match="would have to be read from its start"):
        read_member(f"tar://b/000000.jpg::{archives / 'photos.tar.gz'}")
    assert thumbnail(f"tar://b/000000.jpg::{archives / 'photos.tar.gz'}") is None


def test_a_part_of_an_archive(archives, expected):
    inside = {name for name in expected if name.startswith("b/")}
    assert set(rows_of(scan(f"zip://b/::{archives / 'photos.zip'}"))) == inside
    some = {name for name in inside if name.endswith("1.jpg")}
    assert set(rows_of(scan(f"tar://b/*1.jpg::{archives / 'photos.tar'}"))) == some
    assert set(rows_of(scan(f"zip://::{archives / 'photos.zip'}", include=["b/*1.jpg"]))) == some


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar"])
def test_include_and_exclude_match_names_in_an_archive(archives, name):
    found = rows_of(scan([archives / name], include=["*7.jpg"], exclude=["a"]))
    assert set(found) == {f"b/{number:06}.jpg" for number in range(0, COUNT, 3) if number % 10 == 7}
    assert "a/raw.nef" in rows_of(scan([archives / name], include=["*.nef"]))


def test_a_file_on_the_disk_wins_over_an_address(tmp_path, files, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "cat.jpg").write_bytes(files["b/000000.jpg"])
    (tmp_path / "t.parquet#1").write_bytes(files["b/000000.jpg"])
    (tmp_path / "photo.zip").write_bytes(files["b/000000.jpg"])
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "folder.tar" / "cat.jpg").write_bytes(files["b/000000.jpg"])
    found = scan(["s3://cat.jpg", "t.parquet#1", "photo.zip", "folder.tar"])
    assert {verdict.decision for verdict in found} == {"sharp"}
    assert [verdict.path for verdict in found] == ["s3://cat.jpg", "t.parquet#1", "photo.zip", "folder.tar/cat.jpg"]


def test_records_know_members_until_the_archive_changes(tmp_path, files):
    path = tmp_path / "a.zip"
    for name in ("b/000000.jpg", "b/000003.jpg"):
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("cat.jpg", files[name])
        (verdict,) = scan([path], resume=tmp_path / "records")
        (again,) = scan([path], resume=tmp_path / "records")
        assert verdict == again
        assert verdict.decision == ("blurred" if name == "b/000003.jpg" else "sharp")


# ---- zip


def write_zip(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


@pytest.mark.parametrize("name", ["../cat.jpg", "a/../../cat.jpg", "/etc/cat.jpg", "C:\\cat.jpg", "..\\cat.jpg"])
def test_a_zip_that_would_write_elsewhere_is_refused_before_judging(tmp_path, files, name):
    path = write_zip(tmp_path / "a.zip", {"good.jpg": files["b/000000.jpg"], name: files["b/000000.jpg"]})
    done = run("scan", path, "--output", tmp_path / "v.csv")
    assert done.exit_code == 1
    assert "would lie outside of it, which no honest program makes" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "v.csv").exists()


def test_a_zip_that_claims_too_much_is_refused(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(6):
            packed.writestr(f"{number}.bmp", bytes(2**20))
    content = bytearray(path.read_bytes())
    place = -1
    while (place := content.find(b"PK\1\2", place + 1)) >= 0:
        struct.pack_into("<I", content, place + 24, 2**28)
    path.write_bytes(content)
    done = run("scan", path)
    assert done.exit_code == 1
    assert "it seems made to fill memory" in done.stderr


def test_members_that_overlap_are_refused(tmp_path, files):
    path = write_zip(tmp_path / "a.zip", {f"{number}.jpg": files["b/000000.jpg"] for number in range(3)})
    content = bytearray(path.read_bytes())
    place = -1
    while (place := content.find(b"PK\1\2", place + 1)) >= 0:
        struct.pack_into("<I", content, place + 42, 0)  # all lie where the first does
    path.write_bytes(content)
    with pytest.raises(PhotoError, match="its members overlap"):
        scan([path])


def test_a_zip_of_too_many_members_is_refused(tmp_path, files, monkeypatch):
    monkeypatch.setattr("blurgate.photos.zips._MOST_MEMBERS", 2)
    path = write_zip(tmp_path / "a.zip", {f"{number}.jpg": files["b/000000.jpg"] for number in range(3)})
    with pytest.raises(PhotoError, match="it claims 3 members, at most 2 are read"):
        scan([path])


def test_a_member_that_holds_more_than_it_says_is_an_error(tmp_path, files):
    path = write_zip(tmp_path / "a.zip", {"cat.bmp": bytes(2**22)}, compression=zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.find(b"PK\1\2") + 24, 1000)
    path.write_bytes(content)
    (verdict,) = scan([path])
    assert "not of the size that the archive states" in verdict.error


def test_damaged_encrypted_and_long_members_are_errors_of_their_own(tmp_path, files, monkeypatch):
    good = files["b/000000.jpg"]
    path = write_zip(
        tmp_path / "a.zip", {f"{name}.jpg": good for name in ("damaged", "good", "long", "rare", "secret")}
    )
    content = bytearray(path.read_bytes())
    places = [found for found in range(len(content)) if content.startswith(b"PK\1\2", found)]
    content[200] ^= 255
    struct.pack_into("<I", content, places[2] + 24, 2**31)
    struct.pack_into("<H", content, places[3] + 10, 93)
    struct.pack_into("<H", content, places[4] + 8, 1)
    path.write_bytes(content)
    monkeypatch.setattr("blurgate.photos.zips.BOMB_BYTES", 2**40)
    found = {row.path[6:].split(".")[0]: row.error for row in scan([path])}
    assert found.pop("good") == ""
    for name, message in {
        "damaged": "it is damaged",
        "long": "2,147 MB, which would take too long",
        "rare": "compressed by method 93",
        "secret": "it is encrypted",
    }.items():
        assert message in found[name]


@pytest.mark.parametrize("length", [0, 3, 50, 4000])
def test_a_zip_cut_short_is_one_sentence(archives, tmp_path, length):
    (tmp_path / "a.zip").write_bytes((archives / "photos.zip").read_bytes()[:length])
    done = run("scan", tmp_path / "a.zip")
    assert done.exit_code == 1
    assert "it is no zip, or cut short" in done.stderr


def test_large_zips_and_those_with_something_before_them(tmp_path, files):
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w") as packed, packed.open("cat.jpg", "w", force_zip64=True) as member:
        member.write(files["b/000000.jpg"])
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert [row.decision for row in scan([path])] == ["sharp"]
    assert read_member(f"zip://cat.jpg::{path}") == files["b/000000.jpg"]


def test_of_two_members_with_one_name_the_later_is_judged_as_unzip_does(tmp_path, files):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("cat.jpg", files["b/000000.jpg"])
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("cat.jpg", files["b/000003.jpg"])
    assert [row.decision for row in scan([tmp_path / "a.zip"])] == ["blurred"]


def test_names_that_are_no_utf8_stay_apart(tmp_path, files):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("é.jpg", files["b/000003.jpg"])
        packed.writestr("ü.jpg", files["b/000000.jpg"])
    content = path.read_bytes()
    path.write_bytes(content.replace("é.jpg".encode(), b"\xff\xfe.jpg").replace("ü.jpg".encode(), b"\xff\xfd.jpg"))
    assert [row.decision for row in scan([path])] == ["blurred", "sharp"]


# ---- tar


@pytest.mark.parametrize("name", ["photos.tar", "photos.tar.gz"])
def test_of_a_tar_cut_short_what_came_before_is_judged_and_kept(archives, files, expected, tmp_path, name):
    content = (archives / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: len(content) // 3])
    done = run("scan", path, "--output", tmp_path / "v.jsonl")
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert "is cut short: its end is missing; what comes before was judged" in last
    kept = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    rows = rows_of(SimpleNamespace(**row) for row in kept)
    right = {name: row for name, row in rows.items() if not row[2]}
    assert COUNT / 5 < len(right) < COUNT / 2
    assert right.items() <= expected.items()


def test_a_tar_without_its_end_is_cut_short(archives, tmp_path):
    with tarfile.open(archives / "photos.tar") as tar:
        end = tar.getmembers()[100].offset
    (tmp_path / "a.tar").write_bytes((archives / "photos.tar").read_bytes()[:end])
    assert "its end is missing" in scan([tmp_path / "a.tar"])[-1].error


def test_links_devices_and_folders_in_a_tar_are_not_followed(tmp_path, files):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(files["b/000000.jpg"])
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in {
            "soft.jpg": tarfile.SYMTYPE,
            "hard.jpg": tarfile.LNKTYPE,
            "device.jpg": tarfile.CHRTYPE,
            "pipe.jpg": tarfile.FIFOTYPE,
            "folder.jpg": tarfile.DIRTYPE,
        }.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(secret)
            tar.addfile(entry)
    found = {row.path.split("://")[1].split("::")[0]: row.error for row in scan([tmp_path / "a.tar"])}
    assert sorted(found) == ["device.jpg", "hard.jpg", "pipe.jpg", "soft.jpg"]
    assert all("is not read: it is a" in error for error in found.values())


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_and_foreign_names_in_tars(tmp_path, files, format):
    names = ["ä/ö.jpg", "x" * 90 + "/" + "y" * 90 + ".jpg", "a/b.jpg"]
    names = names if format == tarfile.USTAR_FORMAT else [*names, "z" * 300 + ".jpg"]
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(files["b/000000.jpg"])
            entry.mtime = 1.5
            tar.addfile(entry, io.BytesIO(files["b/000000.jpg"]))
    found = rows_of(scan([tmp_path / "a.tar"]))
    assert list(found) == names
    assert not any(error for _, _, error in found.values())
    assert read_member(f"tar://{names[-1]}::{tmp_path / 'a.tar'}") == files["b/000000.jpg"]


def test_of_two_members_with_one_name_both_are_judged_and_none_is_found_again(tmp_path, files):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("b/000000.jpg", "b/000003.jpg"):
            entry = tarfile.TarInfo("cat.jpg")
            entry.size = len(files[name])
            tar.addfile(entry, io.BytesIO(files[name]))
    assert [row.decision for row in scan([tmp_path / "a.tar"])] == ["sharp", "blurred"]
    with pytest.raises(PhotoError, match="several members of that name"):
        read_member(f"tar://cat.jpg::{tmp_path / 'a.tar'}")


def make_header(name=b"cat.jpg", size=b"00000000010\0", kind=b"0"):
    header = bytearray(512)
    header[: len(name)] = name
    header[124 : 124 + len(size)] = size
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[257:263] = b"ustar\0"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"text" * 1000, "it is no tar"),
        (make_header(size=b"\x80" + b"\xff" * 11), "would take too long"),
        (make_header(size=b"\xff" * 12), "it is no tar"),
        (make_header(kind=b"L", size=b"77777777777\0") + bytes(1024), "it is no tar, or damaged"),
        (make_header(kind=b"x", size=b"00000000012\0") + b"-1 path=a\n".ljust(512, b"\0"), "cut short"),
        (gzip.compress(b"text" * 1000), "it is no tar"),
        (b"\x1f\x8b" + b"junk" * 300, "it is no tar"),
    ],
)
def test_what_is_no_tar_or_lies_is_a_sentence(tmp_path, content, message):
    (tmp_path / "a.tar").write_bytes(content)
    done = run("scan", tmp_path / "a.tar")
    assert done.exit_code == 1
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_compressed_tar_that_unpacks_to_much_more_takes_no_memory(tmp_path):
    import tracemalloc

    head = make_header(name=b"bomb.jpg", size=b"00200000000\0")  # 32 MiB of it are nothing
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = packed.compress(head) + packed.compress(bytes(2**25)) + packed.compress(bytes(1024)) + packed.flush()
    (tmp_path / "a.tar.gz").write_bytes(content)
    place = find_archive(str(tmp_path / "a.tar.gz"))
    tracemalloc.start()
    assert list(walk_archive(place, lambda name: False)) == []
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


# ---- Parquet


@pytest.fixture
def table(tmp_path, files):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = [name for name in files if name.endswith("0.jpg")]

    def write(**columns):
        made = {
            name: [make(each) for each in names] if callable(make) else make * len(names)
            for name, make in columns.items()
        }
        parquet.write_table(pyarrow.table(made), tmp_path / "t.parquet", row_group_size=7)
        return str(tmp_path / "t.parquet"), names

    return write


def test_a_table_of_bytes_or_of_hugging_face_images(table, files, expected):
    for make in (lambda name: files[name], lambda name: {"bytes": files[name], "path": name}):
        path, names = table(label=[1], image=make)
        verdicts = scan([path])
        assert [row.path for row in verdicts] == [f"{path}#{number}" for number in range(len(names))]
        assert [row.probability for row in verdicts] == [expected[name][1] for name in names]
        assert read_member(f"{path}#11") == files[names[11]]
        assert [row.probability for row in scan(f"{path}#11")] == [expected[names[11]][1]]
    assert len(scan([path], include=["b/*"])) == sum(name.startswith("b/") for name in names)
    with pytest.raises(PhotoError, match="the table has 24 rows"):
        read_member(f"{path}#24")


def test_the_column_of_a_table(table, files):
    path, names = table(path=lambda name: name, thumb=lambda _: b"no picture", picture=lambda name: files[name])
    done = run("scan", path)
    assert done.exit_code == 1
    assert "has several columns of pictures (thumb, picture): name one with" in done.stderr
    numbers, _ = table(image=len)
    done = run("scan", numbers)
    assert done.exit_code == 1
    assert "has no column of pictures, which are bytes (its columns: image)" in done.stderr
    path, names = table(path=lambda name: name, thumb=lambda _: b"no picture", picture=lambda name: files[name])
    done = run("scan", path, "--column", "picture")
    assert done.exit_code == 0, done.stderr
    assert f"{len(names)} photos" in done.stderr
    assert [row.error for row in scan([path], column="picture")] == [""] * len(names)
    page = Path(path).with_name("page.html")
    assert run("scan", path, "--column", "picture", "--report", page).exit_code == 0
    assert len(re.findall(r'id="thumbnail-\d+" data-layout="[^"]+"', page.read_text())) == len(names)
    for wrong in ("path", "other"):
        assert run("scan", path, "--column", wrong).exit_code == 2


def test_the_column_that_is_left_out_is_named(table, files):
    path, _ = table(image=lambda name: files[name], mask=lambda name: files[name])
    done = run("scan", path)
    assert done.exit_code == 0
    assert f"left out the pictures in mask of {path}: judged those in image, see --column" in done.stderr
    assert "left out" not in run("scan", path, "--column", "mask").stderr


def test_empty_cells_and_what_is_no_table(table, files, tmp_path):
    path, names = table(image=lambda name: files[name] if name.startswith("a") else None)
    errors = [row.error for row in scan([path])]
    assert [error.removeprefix(f"{path}#{number} ") for number, error in enumerate(errors)] == [
        "" if name.startswith("a") else "has no photo: its cell is empty" for name in names
    ]
    (tmp_path / "no.parquet").write_bytes(b"PAR1 nothing")
    done = run("scan", tmp_path / "no.parquet")
    assert done.exit_code == 1
    assert "it is no Parquet table, or cut short" in done.stderr


# ---- all


def test_an_archive_in_an_archive_is_not_read(archives):
    with pytest.raises(PhotoError, match="is an archive in an archive"):
        check_archive(Place("zip", f"zip://inner.zip::{archives / 'photos.zip'}"))


def test_a_broken_archive_among_others_fails_the_scan_but_keeps_the_rest(archives, tmp_path, files):
    (tmp_path / "bad.tar").write_bytes((archives / "photos.tar").read_bytes()[:5000])
    (tmp_path / "cat.jpg").write_bytes(files["b/000000.jpg"])
    done = run("scan", tmp_path / "bad.tar", tmp_path / "cat.jpg", "--output", tmp_path / "v.jsonl")
    assert done.exit_code == 1
    assert done.stderr.count("is cut short") == 1
    assert '"sharp"' in (tmp_path / "v.jsonl").read_text().splitlines()[-1]


def test_members_have_thumbnails_in_a_gallery(archives, tmp_path):
    done = run("scan", archives / "photos.zip", "--include", "b/*0.jpg", "--report", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert page.count('data-layout="') == page.count('data-layout="') - page.count('data-layout=""') > 5


def test_photos_in_archives_are_not_filed(archives, tmp_path):
    for option in ("--copy-to", "--move-to", "--link-to", "--maps"):
        done = run("scan", archives / "photos.zip", option, tmp_path / "target")
        assert (done.exit_code, "only photos on a disk" in done.stderr) == (1, True)


def test_archives_on_the_disk_need_no_extra(archives):
    import subprocess
    import sys

    code = (
        "import sys, blurgate\n"
        "found = list(blurgate.scan(sys.argv[1:], model='trees', engine='numpy', include=['b/*0.jpg']))\n"
        "assert len(found) == 24, len(found)\n"
        "assert not {'fsspec', 'pyarrow', 'aiohttp'} & set(sys.modules)"
    )
    paths = [str(archives / name) for name in ("photos.zip", "photos.tar", "disk")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def add(tar, name, content):
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def test_no_member_of_a_tar_vanishes_for_its_name(tmp_path, files):
    photo = files["b/000000.jpg"]
    names = ["a/./b.jpg", "../b.jpg", "x/../b.jpg", "x/.../c", "/a//d.jpg", "../no photo"]
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in names:
            add(tar, name, b"text" if name == "../no photo" else photo)
    content = bytearray((tmp_path / "a.tar").read_bytes())
    slashed = bytearray(make_header(b"b.jpg/", b"%011o\0" % len(photo)))
    (tmp_path / "a.tar").write_bytes(slashed + photo + bytes(-len(photo) % 512) + content)
    found = {row.path.split("://")[1].split("::")[0]: row.error for row in scan([tmp_path / "a.tar"])}
    assert [name for name in found if not found[name]] == ["a/./b.jpg", "/a//d.jpg"]
    assert "ends in a slash" in found["b.jpg/"]
    assert "outside of the archive" in found["../b.jpg"]
    assert "outside of the archive" in found["x/../b.jpg"]
    assert "../no photo" not in found
    assert read_member(f"tar://a/./b.jpg::{tmp_path / 'a.tar'}") == photo
    assert run("scan", tmp_path / "a.tar", "--fail-on", "blurred").exit_code == 1


def test_no_member_of_a_zip_vanishes_for_its_name(tmp_path, files):
    photo = files["b/000000.jpg"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name in ("a/./b.jpg", "c.jpg"):
            packed.writestr(name, photo)
        packed.writestr("empty.jpg/", b"")
        packed.writestr("b.jpg_", photo)
    content = (tmp_path / "a.zip").read_bytes().replace(b"b.jpg_", b"b.jpg/")
    (tmp_path / "a.zip").write_bytes(content)
    found = {row.path.split("://")[1].split("::")[0]: row.error for row in scan([tmp_path / "a.zip"])}
    assert [name for name in found if not found[name]] == ["a/./b.jpg", "c.jpg"]
    assert list(found) == ["a/./b.jpg", "c.jpg", "b.jpg/"]
    assert "ends in a slash" in found["b.jpg/"]


def test_an_encrypted_member_without_a_suffix_may_be_a_photo(tmp_path, files):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("photo", files["b/000000.jpg"])
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert ["it is encrypted" in row.error for row in scan([tmp_path / "a.zip"])] == [True]


def test_archives_in_folders_and_archives_are_counted(tmp_path, files):
    (tmp_path / "cat.jpg").write_bytes(files["b/000000.jpg"])
    for name in ("a.zip", "b.tar.gz", "c.tgz"):
        (tmp_path / name).write_bytes(b"anything")
    done = run("scan", tmp_path)
    assert done.exit_code == 0
    assert "3 archives or tables, which are left out: name them" in done.stderr
    write_zip(tmp_path / "a.zip", {"cat.jpg": files["b/000000.jpg"], "more/b.zip": b"anything"})
    assert "1 archive or table, which is left out" in run("scan", tmp_path / "a.zip").stderr


def test_tables_of_verdicts_are_not_counted_as_left_out(tmp_path, files):
    pytest.importorskip("pyarrow")
    (tmp_path / "cat.jpg").write_bytes(files["b/000000.jpg"])
    assert run("scan", tmp_path, "--output", tmp_path / "v.parquet").exit_code == 0
    assert "left out" not in run("scan", tmp_path).stderr


def test_what_gives_no_photo_beside_others_fails_the_scan_and_is_named(tmp_path, files):
    (tmp_path / "cat.jpg").write_bytes(files["b/000000.jpg"])
    write_zip(tmp_path / "empty.zip", {})
    write_zip(tmp_path / "nested.zip", {"inner.zip": b"anything"})
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    for name, message in {
        "empty.zip": "has no photos: it is a zip without any",
        "nested.zip": "has no photos: it is a zip without any",
        "bad.zip": "cannot be read: it is no zip, or cut short",
    }.items():
        done = run("scan", tmp_path / name, tmp_path / "cat.jpg", "--fail-on", "blurred", "--allow-unreadable")
        assert done.exit_code == 1
        assert f"{tmp_path / name} {message}" in done.stderr
        assert "\nsharp " in done.stdout
    assert run("scan", tmp_path / "empty.zip", tmp_path / "cat.jpg", "--include", "*.jpg").exit_code == 0
    done = run("scan", tmp_path / "empty.zip")
    assert done.exit_code == 1
    assert f"found no photos: {tmp_path / 'empty.zip'} has no photos: it is a zip without any" in done.stderr
    with pytest.raises(PhotoError, match="does not exist"):
        scan([tmp_path / "missing.zip", tmp_path / "cat.jpg"])
