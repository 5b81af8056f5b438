import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blurgate import files
from blurgate.errors import PhotoError, SmallPhotoError
from blurgate.photos import images
from blurgate.photos.images import encode_jpeg, read_file, read_gray, read_plane, read_rgb, thumbnail
from blurgate.photos.jpegs import check_jpeg


def encode(picture, format, **options):
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def test_gray_of_a_jpeg_is_its_own_luma(astronaut):
    content = encode_jpeg(astronaut, quality=90)
    luma = np.asarray(Image.open(io.BytesIO(content)).convert("YCbCr"))[:, :, 0]
    difference = np.abs(read_gray(content).astype(int) - luma)  # large only for colours outside RGB's range
    assert np.quantile(difference, 0.95) <= 1


def test_gray_is_bt601():
    pure = np.zeros((64, 64, 3), np.uint8)
    levels = []
    for channel in range(3):
        pure[:] = 0
        pure[:, :, channel] = 255
        levels.append(int(read_gray(pure)[0, 0]))
    assert levels == [76, 150, 29]


def test_path_bytes_array_and_picture_give_the_same_gray(astronaut, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(astronaut).save(path)
    wanted = read_gray(astronaut)
    for photo in (path, str(path), path.read_bytes(), Image.fromarray(astronaut)):
        np.testing.assert_array_equal(read_gray(photo), wanted)


def test_orientation_is_applied(astronaut):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    wide = astronaut[:128, :256]
    turned = read_gray(encode(Image.fromarray(wide), "JPEG", exif=exif, quality=95))
    assert turned.shape == (256, 128)
    assert np.abs(turned.astype(int) - np.rot90(read_gray(wide), -1)).mean() < 3


def test_what_is_measured_is_without_the_frame_and_its_part_is_in_pixels_of_the_upright_photo(astronaut):
    framed = np.pad(astronaut, ((0, 0), (160, 0), (0, 0)))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees: what was left is above
    for halved, max_pixels in ((1, None), (2, 2**17), (4, 2**15)):
        plane = read_plane(encode(Image.fromarray(framed), "JPEG", exif=exif, quality=95), max_pixels=max_pixels)
        assert (plane.width, plane.height) == (512, 672)
        left, top, right, bottom = plane.part
        assert (left, right, bottom) == (0, 512, 672)
        assert 160 <= top <= 160 + 10 * halved
        assert plane.gray.shape == ((bottom - top) // halved, 512 // halved)
    whole = read_plane(astronaut)
    assert whole.part is None
    np.testing.assert_array_equal(whole.gray, read_gray(astronaut))
    assert read_gray(framed).shape == (512, 672)


def test_transparent_picture_is_composited_on_its_mean():
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:, :32] = (200, 100, 50, 255)
    assert np.unique(read_rgb(rgba).reshape(-1, 3), axis=0).tolist() == [[200, 100, 50]]


def test_sixteen_bits_are_scaled_by_their_range(astronaut):
    gray = read_gray(astronaut)
    wide = Image.fromarray(gray.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_gray(encode(wide, "PNG")), gray)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK", "YCbCr"])
def test_other_modes_are_read(astronaut, mode):
    picture = Image.fromarray(astronaut).convert("L" if mode in ("1", "LA") else "RGB").convert(mode)
    assert read_gray(picture).shape == astronaut.shape[:2]


def test_a_float_with_nan_is_an_error():
    samples = np.ones((64, 64), np.float32)
    samples[3, 3] = np.nan
    with pytest.raises(PhotoError, match="cannot be read: it has samples that are not numbers"):
        read_gray(encode(Image.fromarray(samples), "TIFF"))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_file_is_an_error(astronaut, tmp_path, share):
    content = encode_jpeg(astronaut, quality=90)
    path = tmp_path / "cut.jpg"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(PhotoError, match="cut.jpg cannot be read: .+"):
        read_gray(path)


def test_text_is_not_a_picture(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(PhotoError, match="it is not a picture in any known format"):
        read_gray(tmp_path / "a.jpg")


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(PhotoError, match="does not exist: check the path"):
        read_gray(tmp_path / "no.jpg")
    with pytest.raises(PhotoError, match="is a folder, but a picture file was needed: name a file in it"):
        read_gray(tmp_path)


def test_small_photo_error_gives_the_minimum_size():
    with pytest.raises(SmallPhotoError, match="is too small: 100 x 63 px, at least 64 on each side are needed"):
        read_gray(np.zeros((63, 100), np.uint8))


def test_wrong_types_raise_type_error():
    with pytest.raises(TypeError, match="must be uint8 of shape .*got float64 of shape"):
        read_gray(np.zeros((64, 64)))
    with pytest.raises(
        TypeError, match="a photo must be a path, bytes, a binary file, an array or a PIL image, got int"
    ):
        read_gray(3)


def test_jpeg_has_no_metadata(astronaut):
    picture = Image.open(io.BytesIO(encode_jpeg(astronaut, quality=80)))
    assert not picture.getexif()
    assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_picture_too_long_for_a_jpeg_is_an_error():
    with pytest.raises(PhotoError, match="it is too long for a JPEG: 70000 x 8 px, at most 65500 are allowed"):
        encode_jpeg(np.zeros((8, 70_000, 3), np.uint8), quality=90)


def test_thumbnail_is_small_or_none(astronaut, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(astronaut).save(path)
    assert Image.open(io.BytesIO(thumbnail(path, side=100))).size == (100, 100)
    (tmp_path / "b.png").write_bytes(b"no")
    assert thumbnail(tmp_path / "b.png") is None
    assert thumbnail(tmp_path / "c.png") is None


def test_an_array_without_pixels_is_an_error():
    with pytest.raises(PhotoError, match=r"the picture cannot be read: it has no pixels: its shape is"):
        read_gray(np.zeros((0, 9), np.uint8))


class Forward:
    """A stream that cannot seek, as a member of an archive on the net, and gives few bytes at a time."""

    def __init__(self, content):
        self.stream = io.BytesIO(content)

    def read(self, size=-1):
        return self.stream.read(min(size, 1000) if size > 0 else size)


def test_photos_are_read_from_streams_which_stay_open(astronaut, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(astronaut).save(path)
    content, wanted = path.read_bytes(), read_gray(astronaut)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a.png")
    spooled = tempfile.SpooledTemporaryFile(max_size=10)  # noqa: SIM115 it is closed below
    spooled.write(content)
    with path.open("rb") as opened, zipfile.ZipFile(tmp_path / "a.zip").open("a.png") as member, spooled:
        for stream in (opened, io.BytesIO(content), member, spooled, Forward(content)):
            np.testing.assert_array_equal(read_gray(stream), wanted)
            assert not getattr(stream, "closed", False)
        opened.seek(1000)
        np.testing.assert_array_equal(read_gray(opened), wanted)  # as Pillow reads it: from its start


def test_a_text_stream_and_a_closed_one_are_errors(astronaut, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(astronaut).save(path)
    with path.open(encoding="latin-1") as text:
        for stream in (text, io.StringIO("text"), SimpleNamespace(read=lambda size: "text")):
            with pytest.raises(TypeError, match="from a binary stream, got one of text: open it with mode 'rb'"):
                read_gray(stream)
    with pytest.raises(PhotoError, match="the picture cannot be read from its stream: .*closed"):
        read_gray(text.buffer)


def test_an_endless_stream_is_refused():
    with Path("/dev/zero").open("rb") as endless:
        with pytest.raises(PhotoError, match="cannot be read from its stream: it has .* MB, which would take too long"):
            read_gray(endless)


def test_a_pipe_in_place_of_a_photo_does_not_block(astronaut, tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(encode_jpeg(astronaut, quality=90))
    require = files._require_regular

    def swap(mode, checked):
        require(mode, checked)
        path.unlink()
        os.mkfifo(path)
        monkeypatch.setattr(files, "_require_regular", require)

    monkeypatch.setattr(files, "_require_regular", swap)  # between looking at it and opening it
    with pytest.raises(PhotoError, match="is a pipe, a socket or a device"):
        read_gray(path)


RANGES = {  # dtype, format, scale from 255, a hot pixel
    "10 bits": (np.uint16, "PNG", 1023 / 255, 65_535),
    "12 bits": (np.uint16, "TIFF", 4095 / 255, 65_535),
    "14 bits": (np.uint16, "PNG", 16_383 / 255, 60_000),
    "10 bits in 32": (np.int32, "TIFF", 1023 / 255, 2**31 - 1),
    "cold": (np.int32, "TIFF", 4095 / 255, -(2**31)),
    "float": (np.float32, "TIFF", 1 / 255, 1000.0),
    "cold float": (np.float32, "TIFF", 1 / 255, -1e30),
}


@pytest.mark.parametrize("kind", RANGES)
@given(x=st.integers(0, 199), y=st.integers(0, 299), count=st.integers(1, 4))
@settings(max_examples=5)
def test_a_hot_pixel_anywhere_changes_nothing_else(astronaut, kind, x, y, count):
    dtype, suffix, scale, hot = RANGES[kind]
    samples = (read_gray(astronaut)[:300, :200] * scale).astype(dtype)
    wanted = read_gray(encode(Image.fromarray(samples), suffix))
    places = [(y, (x + step) % 200) for step in range(count)]
    for place in places:
        samples[place] = hot
    found = read_gray(encode(Image.fromarray(samples), suffix)).copy()
    for place in places:
        found[place] = wanted[place]
    np.testing.assert_array_equal(found, wanted)


def test_one_hot_pixel_leaves_a_range_of_its_own_as_it_was(astronaut):
    samples = read_gray(astronaut).astype(np.float32) * 1e6 - 9e6
    wanted = read_gray(encode(Image.fromarray(samples), "TIFF"))
    samples[7, 9] = 1e12
    found = read_gray(encode(Image.fromarray(samples), "TIFF"))
    assert np.abs(found.astype(int) - wanted)[samples < 1e12].max() <= 1


def test_a_photo_that_uses_its_depth_is_scaled_by_it(astronaut):
    """A few thousandths of its samples, as of a night with lamps, are no outliers."""
    samples = (read_gray(astronaut) / 20).astype(np.uint16) * 257
    samples[:2, :500] = 65_535
    gray = read_gray(encode(Image.fromarray(samples), "PNG"))
    np.testing.assert_array_equal(gray, np.rint(samples / 257).astype(np.uint8))


@pytest.mark.parametrize("value", [0, 1, 70_000, -5])
def test_a_constant_picture_of_wide_samples_is_read(value):
    for dtype in (np.int32, np.float32):
        gray = read_gray(encode(Image.fromarray(np.full((64, 64), value, dtype)), "TIFF"))
        assert len(np.unique(gray)) == 1


def test_the_first_heic_without_its_extra_names_it_once(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(images, "_SAID", set())
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    for _ in range(2):
        with pytest.raises(PhotoError, match="Reading HEIC photos needs the extra 'heif'"):
            read_gray(b"\0\0\0\x18ftypheic" + bytes(100))
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "Reading HEIC photos needs the extra 'heif'"
    ]


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "P", "LA", "RGBA", "1"])
def test_a_picture_taller_than_a_strip_is_converted_whole(astronaut, mode):
    picture = (
        Image.fromarray(np.tile(astronaut, (2, 1, 1))).convert("L" if mode in ("LA", "1") else "RGB").convert(mode)
    )
    wanted = np.asarray(picture.convert("RGB").convert("L"))
    np.testing.assert_array_equal(read_gray(picture), wanted)


@pytest.mark.parametrize("held", ["array", "gray array", "picture", "palette", "deep", "transparent", "turned"])
def test_the_file_of_a_picture_in_memory_has_its_luma_without_loss(held, astronaut):
    picture = Image.fromarray(astronaut)
    turned = Image.fromarray(astronaut)
    turned.getexif()[274] = 6
    photo = {
        "array": astronaut,
        "gray array": astronaut[..., 0],
        "picture": picture,
        "palette": picture.quantize(32),
        "deep": Image.fromarray(astronaut[..., 1].astype(np.uint16) * 257),
        "transparent": Image.fromarray(np.dstack([astronaut, astronaut[..., 2]])),
        "turned": turned,
    }[held]
    sent = read_file(photo)
    assert sent.startswith(b"\x89PNG")
    np.testing.assert_array_equal(read_gray(sent), read_gray(photo))


def test_the_file_of_a_photo_that_has_one_is_read_as_it_is(tmp_path):
    path, content = tmp_path / "a.jpg", b"content of a photo"
    path.write_bytes(content)
    for photo in (content, bytearray(content), memoryview(content), str(path)):
        assert read_file(photo) == content
    with path.open("rb") as stream:
        stream.read(3)
        assert read_file(stream) == content


def test_a_file_longer_than_any_photo_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "long.jpg"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(PhotoError, match=r"long.jpg cannot be read: it has 1,099,512 MB"):
        read_file(path)


@pytest.mark.parametrize("max_pixels", [None, 30_000, 2_000])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0, "comment": b"as made"},
        {"icc_profile": bytes(70_000)},
        {"restart_marker_rows": 1},
        {"xmp": b'<x tiff:Orientation="8"/>'},
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\5\0\0\0\0\0\0"},
    ],
)
def test_a_plain_jpeg_is_decoded_as_pillow_decodes_it(astronaut, monkeypatch, options, max_pixels):
    content = encode(Image.fromarray(astronaut[:300, :461]), "JPEG", **options)
    assert check_jpeg(content).plain
    straight = read_plane(content, max_pixels=max_pixels)
    monkeypatch.setattr(images._PlainJpeg, "decode", lambda *_: None)
    by_pillow = read_plane(content, max_pixels=max_pixels)
    np.testing.assert_array_equal(straight.gray, by_pillow.gray)
    assert (straight.width, straight.height, straight.scale) == (by_pillow.width, by_pillow.height, by_pillow.scale)


@pytest.mark.parametrize("options", [{"keep_rgb": True}, {}])
def test_a_gray_or_rgb_jpeg_is_plain_too(astronaut, monkeypatch, options):
    picture = Image.fromarray(astronaut[:256, :256])
    content = encode(picture if options else picture.convert("L"), "JPEG", **options)
    straight = read_gray(content)
    monkeypatch.setattr(images._PlainJpeg, "decode", lambda *_: None)
    np.testing.assert_array_equal(straight, read_gray(content))


def test_a_pillow_without_these_functions_decodes_all_the_same(astronaut, monkeypatch):
    content = encode_jpeg(astronaut, quality=90)
    wanted = read_gray(content)
    monkeypatch.setattr(images._PlainJpeg, "decode", damage(images._PlainJpeg.decode, monkeypatch))
    np.testing.assert_array_equal(read_gray(content), wanted)


def damage(decode, monkeypatch):
    def without(self, size):
        with monkeypatch.context() as patch:
            patch.setattr(Image.core, "map_buffer", None)
            return decode(self, size)

    return without


def test_what_is_wrong_with_a_plain_jpeg_is_said_by_pillow(astronaut):
    content = encode_jpeg(astronaut, quality=90)
    tables = content.index(b"\xff\xdb")
    damaged = content[:tables] + content[content.index(b"\xff\xc0") :]  # without what its numbers are to be scaled by
    assert check_jpeg(damaged).plain
    with pytest.raises(PhotoError, match="cannot be read: broken data stream"):
        read_gray(damaged)


def test_pillows_limit_of_pixels_holds_for_a_plain_jpeg(astronaut, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(PhotoError, match="exceeds limit of 2000 pixels"):
        read_gray(encode_jpeg(astronaut, quality=90))


def test_a_plane_is_the_readers_own(astronaut):
    content = encode_jpeg(astronaut, quality=90)
    first = read_plane(content).gray.copy()
    kept = read_plane(content).gray
    read_plane(encode_jpeg(255 - astronaut, quality=90))
    np.testing.assert_array_equal(kept, first)
