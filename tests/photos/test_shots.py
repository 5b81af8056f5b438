import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, TiffImagePlugin

from blurgate.photos.images import read_shot

TAGS, RATIONAL = ExifTags.Base, TiffImagePlugin.IFDRational


def save(path, main=(), details=()):
    exif = Image.Exif()
    for tag, value in dict(main).items():
        exif[tag] = value
    for tag, value in dict(details).items():
        exif.get_ifd(ExifTags.IFD.Exif)[tag] = value
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (47.0, 22.0, 11.0)
    Image.new("RGB", (64, 64)).save(path, exif=exif.tobytes())
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.tif", "a.png"])
def test_time_camera_and_exposure_are_read_and_the_place_is_not(tmp_path, name):
    details = {
        TAGS.DateTimeOriginal: "2024:05:01 12:33:10",
        TAGS.ExposureTime: RATIONAL(1, 250),
        TAGS.FNumber: RATIONAL(28, 10),
        TAGS.ISOSpeedRatings: 400,
    }
    path = save(tmp_path / name, {TAGS.Make: "Canon", TAGS.Model: "Canon EOS R6"}, details)
    found = {"taken": "2024-05-01 12:33:10", "camera": "Canon EOS R6", "exposure": "1/250 s, f/2.8, ISO 400"}
    assert read_shot(path) in (found, {} if name == "a.png" else found)  # a PNG may hold it after its pixels


@pytest.mark.parametrize(
    ("main", "details", "expected"),
    [
        ({TAGS.Make: "NIKON CORPORATION", TAGS.Model: "NIKON D750\0"}, {}, {"camera": "NIKON D750"}),
        ({TAGS.Make: "Google", TAGS.Model: "Pixel 9"}, {}, {"camera": "Google Pixel 9"}),
        ({TAGS.Make: " "}, {}, {}),
        ({TAGS.Make: "\v", TAGS.Model: "X"}, {}, {"camera": "X"}),
        ({}, {TAGS.ExposureTime: RATIONAL(5, 2)}, {"exposure": "2.5 s"}),
        ({}, {TAGS.ExposureTime: RATIONAL(1, 0), TAGS.FNumber: RATIONAL(0, 0)}, {}),
        ({}, {TAGS.FNumber: 8.0, TAGS.ISOSpeedRatings: (100, 0)}, {"exposure": "f/8, ISO 100"}),
        ({TAGS.DateTime: "2020:01:01 00:00:00"}, {TAGS.DateTimeOriginal: "    :  :     :  :  "}, {}),
    ],
)
def test_what_a_camera_leaves_out_or_writes_oddly(tmp_path, main, details, expected):
    assert read_shot(save(tmp_path / "a.jpg", main, details)) == expected


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1))
def test_damaged_metadata_never_fails(tmp_path, seed):
    rng = np.random.default_rng(seed)
    details = {TAGS.DateTimeOriginal: "2024:05:01 12:33:10", TAGS.ExposureTime: RATIONAL(1, 250)}
    path = save(tmp_path / "a.jpg", {TAGS.Model: "X"}, details)
    content = bytearray(path.read_bytes())
    for place in rng.integers(20, 220, 6):
        content[place] = rng.integers(256)
    path.write_bytes(content)
    assert read_shot(path).keys() <= {"taken", "camera", "exposure"}


def test_a_file_that_is_no_photo_has_no_shot(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    assert read_shot(tmp_path / "text.jpg") == read_shot(tmp_path) == {}
