import io

import numpy as np
import pytest
from PIL import Image

from blurgate.errors import PhotoError, SmallPhotoError
from blurgate.photos.images import encode_jpeg, read_gray, read_plane, read_rgb, thumbnail


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
    with pytest.raises(PhotoError, match="cannot be read as a picture: it has samples that are not numbers"):
        read_gray(encode(Image.fromarray(samples), "TIFF"))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_file_is_an_error(astronaut, tmp_path, share):
    content = encode_jpeg(astronaut, quality=90)
    path = tmp_path / "cut.jpg"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(PhotoError, match="cut.jpg cannot be read as a picture: .+"):
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
    with pytest.raises(PhotoError, match=r"the picture cannot be read as a picture: it has no pixels: its shape is"):
        read_gray(np.zeros((0, 9), np.uint8))
