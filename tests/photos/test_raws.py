"""Raw files of every layout, made here: directories, headers and boxes with JPEGs in them."""

import io
import struct
from collections import Counter

import numpy as np
import pytest
from oddities import encode
from PIL import Image

from blurgate.errors import PhotoError
from blurgate.photos.finding import walk_photos
from blurgate.photos.images import read_gray, read_plane
from blurgate.photos.raws import find_preview

MAKE, WIDTH, HEIGHT, COMPRESSION, PHOTOMETRIC, ORIENTATION = 271, 256, 257, 259, 262, 274
STRIP, STRIP_LENGTH, INNER, JPEG, JPEG_LENGTH, DNG_VERSION, PANASONIC = 273, 279, 330, 513, 514, 50706, 46
SENSOR = {WIDTH: 1600, HEIGHT: 1200, PHOTOMETRIC: 32803, COMPRESSION: 34713}


@pytest.fixture(scope="module")
def jpegs(photographs):
    """The photo as a JPEG by the length of its longer side."""
    picture = Image.fromarray(photographs["coffee"])
    made = {side: encode(picture.resize((side, side * 2 // 3)), quality=90) for side in (160, 500, 640, 1600)}
    return made | {"raw": made[1600].replace(b"\xff\xc0", b"\xff\xc3") + bytes(9999)}  # lossless, as raw data are


def tiff(*chain, inner=(), blobs=(), order="<", magic=b"", gap=b""):
    """A TIFF of blobs, directories inside the first one, and a chain of directories: tag -> number, or n-th blob."""
    head = magic or {"<": b"II*\0", ">": b"MM\0*"}[order]
    content, places = head + bytes(4) + gap, []
    for blob in blobs:
        places.append(len(content))
        content += blob
    offsets = []

    def write(directory, following):
        nonlocal content
        offsets.append(len(content))
        entries = b""
        for tag, value in sorted(directory.items()):
            if isinstance(value, str):  # such as "place 0"
                what, number = value.split()
                number = places[int(number)] if what == "place" else len(blobs[int(number)])
            else:
                number = value
            kind, count = (7, len(blobs[0])) if tag == PANASONIC else (4, 1)
            entries += struct.pack(f"{order}HHII", tag, kind, count, number)
        content += struct.pack(f"{order}H", len(directory)) + entries + struct.pack(f"{order}I", following)

    for directory in inner:
        write(directory, 0)
    following = list(offsets)
    if len(following) > 1:
        array, content = len(content), content + struct.pack(f"{order}{len(following)}I", *following)
    chain = [{MAKE: 0, **chain[0]}, *chain[1:]]
    last = 0
    for directory in reversed(chain[1:]):
        write(directory, last)
        last = offsets[-1]
    if following:
        chain[0] = {**chain[0], INNER: following[0]}
    write(chain[0], last)
    if len(following) > 1:
        one = struct.pack(f"{order}HHII", INNER, 4, 1, following[0])
        content = content.replace(one, struct.pack(f"{order}HHII", INNER, 4, len(following), array))
    return content[:4] + struct.pack(f"{order}I", offsets[-1]) + content[8:]


def jpeg_at(number):
    return {JPEG: f"place {number}", JPEG_LENGTH: f"length {number}"}


def strip_at(number, compression, others=()):
    return {STRIP: f"place {number}", STRIP_LENGTH: f"length {number}", COMPRESSION: compression, **dict(others)}


def nef(jpegs, order=">", turned=1, preview=1600):
    """Nikon: the first directory is a thumbnail, those inside it are the preview and the sensor."""
    return tiff(
        {WIDTH: 160, HEIGHT: 120, ORIENTATION: turned},
        inner=[{**jpeg_at(0), COMPRESSION: 6}, strip_at(1, 34713, {WIDTH: 1600, HEIGHT: 1200, PHOTOMETRIC: 32803})],
        blobs=[jpegs[preview], bytes(200_000)],
        order=order,
    )


def cr2(jpegs):
    """Canon: the first directory is the preview, then come a thumbnail and raw data, a lossless JPEG."""
    return tiff(
        strip_at(0, 6, {WIDTH: 1600, HEIGHT: 1066}),
        jpeg_at(1),
        strip_at(2, 6),
        blobs=[jpegs[1600], jpegs[160], jpegs["raw"] * 3],
        gap=b"CR\2\0" + bytes(4),
    )


def arw(jpegs):
    """Sony: the first directory has the preview, the second one a thumbnail, the one inside the sensor."""
    return tiff(
        {**jpeg_at(0), COMPRESSION: 6},
        jpeg_at(1),
        inner=[SENSOR],
        blobs=[jpegs[1600], jpegs[160]],
    )


def dng(jpegs):
    """Adobe: a thumbnail, and inside it raw data in JPEG strips and two previews that are strips."""
    return tiff(
        {DNG_VERSION: 1, WIDTH: 160, HEIGHT: 120, COMPRESSION: 1},
        inner=[
            strip_at(2, 7, {WIDTH: 1600, HEIGHT: 1200, PHOTOMETRIC: 34892}),
            strip_at(1, 7, {PHOTOMETRIC: 6}),
            strip_at(0, 7, {PHOTOMETRIC: 6}),
        ],
        blobs=[jpegs[1600], jpegs[640], jpegs["raw"] * 3],
    )


def pef(jpegs):
    """Pentax: the first directory is the sensor, the last one the preview."""
    return tiff(SENSOR, jpeg_at(1), jpeg_at(0), blobs=[jpegs[1600], jpegs[160]], order=">")


def rw2(jpegs):
    """Panasonic: the preview is the value of an entry."""
    return tiff({PANASONIC: "place 0"}, blobs=[jpegs[1600]], magic=b"IIU\0")


def raf(jpegs):
    """Fujifilm: the header says where the preview is."""
    head = b"FUJIFILMCCD-RAW 0201FF389501".ljust(84, b"\0") + struct.pack(">II", 160, len(jpegs[1600]))
    return head.ljust(160, b"\0") + jpegs[1600] + bytes(50_000)


def box(kind, content):
    return struct.pack(">I", 8 + len(content)) + kind + content


def cr3(jpegs, full=1600, turned=1):
    """Canon, newer: boxes of a preview, and of a track that is one JPEG."""
    exif = tiff({ORIENTATION: turned})
    own = box(b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + box(b"CMT1", exif))
    preview = struct.pack(">IHHHHI", 0, 1, 640, 426, 1, len(jpegs[640])) + jpegs[640]
    outer = box(b"uuid", bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16") + bytes(8) + box(b"PRVW", preview))

    def moov(offset):
        sizes = box(b"stsz", struct.pack(">III", 0, len(jpegs[full]), 1))
        table = box(b"stbl", sizes + box(b"co64", struct.pack(">IIQ", 0, 1, offset)))
        return box(b"moov", own + box(b"trak", box(b"mdia", box(b"minf", table))))

    start = box(b"ftyp", b"crx \0\0\0\1crx isom")
    offset = len(start + moov(0) + outer) + 8
    return start + moov(offset) + outer + box(b"mdat", jpegs[full] + bytes(50_000))


MAKERS = (nef, cr2, arw, dng, pef, rw2, raf, cr3)


@pytest.mark.parametrize("maker", MAKERS)
def test_the_largest_preview_is_read(jpegs, maker):
    content = maker(jpegs)
    assert find_preview(io.BytesIO(content)).content == jpegs[1600]
    plane = read_plane(content)
    assert (plane.width, plane.height) == (1600, 1066)
    np.testing.assert_array_equal(read_gray(content), read_gray(jpegs[1600]))


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_raw_file_says_how_its_preview_is_turned(jpegs, order):
    np.testing.assert_array_equal(read_gray(nef(jpegs, order, turned=6)), np.rot90(read_gray(jpegs[1600]), -1))
    np.testing.assert_array_equal(read_gray(cr3(jpegs, turned=8)), np.rot90(read_gray(jpegs[1600])))


def test_the_preview_of_a_cr3_is_read_if_its_track_has_no_jpeg(jpegs):
    without = {**jpegs, 1600: b"no jpeg" * 99}
    np.testing.assert_array_equal(read_gray(cr3(without)), read_gray(jpegs[640]))


@pytest.mark.parametrize("maker", MAKERS)
def test_a_raw_file_cut_anywhere_is_read_or_refused(jpegs, maker):
    content = maker(jpegs)
    for length in (*range(0, 200, 7), *range(200, len(content), len(content) // 40)):
        try:
            assert max(read_gray(content[:length]).shape) in (640, 1600)
        except PhotoError:
            continue


def test_a_preview_that_is_too_small_is_an_error(jpegs, tmp_path):
    (tmp_path / "a.nef").write_bytes(nef(jpegs, preview=500))
    problem = (
        "a.nef cannot be read: it is a raw file, of which the preview is judged, but the largest preview "
        "in it has 500 x 333 px: develop it and judge the result"
    )
    with pytest.raises(PhotoError, match=problem):
        read_gray(tmp_path / "a.nef")
    sensor = {**SENSOR, WIDTH: 6000, HEIGHT: 4000}
    with pytest.raises(PhotoError, match="the largest preview in it has 640 x 426 px"):
        read_gray(tiff(jpeg_at(0), inner=[sensor], blobs=[jpegs[640]]))
    assert max(read_gray(tiff(jpeg_at(0), inner=[sensor], blobs=[jpegs[1600]])).shape) == 1600


def test_a_raw_file_without_a_jpeg_is_an_error():
    for content in (
        tiff(SENSOR),
        tiff({WIDTH: 9}, magic=b"IIRO"),
        tiff(SENSOR, jpeg_at(0), blobs=[b"\xff\xd8 no jpeg"]),
    ):
        with pytest.raises(PhotoError, match="but it has no JPEG preview: develop it and judge the result"):
            read_gray(content)


def test_a_tiff_of_a_camera_is_no_raw_file(jpegs):
    picture = Image.open(io.BytesIO(jpegs[640]))
    stream = io.BytesIO()
    picture.convert("RGB").save(stream, "TIFF", tiffinfo={MAKE: "Nikon"})
    assert find_preview(stream) is None
    np.testing.assert_array_equal(read_gray(stream.getvalue()), read_gray(picture.convert("RGB")))


def test_directories_that_name_one_another_end(jpegs):
    content = bytearray(tiff(SENSOR, jpeg_at(0), blobs=[jpegs[640]]))
    (first,) = struct.unpack_from("<I", content, 4)
    content = content.replace(struct.pack("<HHII", WIDTH, 4, 1, 1600), struct.pack("<HHII", INNER, 4, 1, first))
    assert max(read_gray(bytes(content)).shape) == 640
    boxes = box(b"ftyp", b"crx \0\0\0\1") + box(b"moov", box(b"trak", b"") * 100_000)
    with pytest.raises(PhotoError, match="no JPEG preview"):
        read_gray(boxes)


def test_raw_files_in_folders_are_counted_and_left_out(tmp_path):
    for name in ("a.NEF", "a.jpg", "sub/b.nef", "sub/c.cr3", "sub/.d.nef"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def find(**options):
        raws = Counter()
        return [found.path[len(str(tmp_path)) + 1 :] for found in walk_photos([tmp_path], raws=raws, **options)], raws

    assert find() == (["a.jpg"], Counter({".nef": 2, ".cr3": 1}))
    assert find(include=["*.nef"]) == (["a.NEF", "sub/b.nef"], Counter())
    assert find(include=["*.jpg", "*.CR3"]) == (["a.jpg", "sub/c.cr3"], Counter())
    assert find(include=["sub/*"]) == ([], Counter({".nef": 1, ".cr3": 1}))
    assert find(exclude=["sub"]) == (["a.jpg"], Counter({".nef": 1}))
