import io
import struct

import pytest
from oddities import exif_bomb
from PIL import Image

from blurgate.photos.directories import ORIENTATION, first_directory, holds_bomb, is_bomb


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(3, "H"), (4, "I"), (1, "B")])
def test_a_value_is_read_in_any_order_and_type(order, kind, code):
    value = struct.pack(f"{order}{code}", 6).ljust(4, b"\0")
    exif = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IHHHI", 8, 1, ORIENTATION, kind, 1) + value
    directory = first_directory(io.BytesIO(exif))
    assert directory.integer(ORIENTATION) == 6
    assert directory.integer(256, 7) == 7


def test_values_of_a_bigtiff_are_read():
    stream = io.BytesIO()
    Image.new("L", (70, 90)).save(stream, "TIFF", big_tiff=True)
    directory = first_directory(stream)
    assert (directory.integer(256), directory.integer(257), directory.big) == (70, 90, True)


def test_values_outside_the_stream_are_empty():
    exif = b"II*\0" + struct.pack("<IHHHII", 8, 1, ORIENTATION, 3, 9, 10**6)
    assert first_directory(io.BytesIO(exif)).integers(ORIENTATION) == ()


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\x08\0\0\0", b"II*\0\x08\0\0\0\x09\0abc", b"no header at all"]
)
def test_no_directory(content):
    assert first_directory(io.BytesIO(content)) is None


def test_bombs_are_found_wherever_they_are():
    bomb = exif_bomb(60_000)
    assert is_bomb(bomb)
    assert is_bomb(b"Exif\0\0" + bomb)
    assert holds_bomb(b"any bytes" + bomb)
    pointer = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 34665, 4, 1, 34, 0)
    assert is_bomb(pointer + exif_bomb(60_000))  # its directory is 34 bytes after the start
    assert is_bomb(b"MM\0*" + struct.pack(">IH", 8, 65_535) + bytes(12 * 5000))


def test_what_cameras_write_is_no_bomb():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(0x8769)[0x927C] = bytes(60_000)  # a maker's note
    assert not is_bomb(exif.tobytes())
    assert not holds_bomb(b"any bytes" + exif.tobytes())
    assert not is_bomb(b"garbage")
    damaged = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 37500, 7, 2**31, 0, 0)
    assert not is_bomb(damaged)
    assert not is_bomb(b"MM\0*" + struct.pack(">IH", 8, 65_535) + bytes(12 * 50))
    assert holds_bomb(b"II*\0" * 100)  # more headers than any file has
