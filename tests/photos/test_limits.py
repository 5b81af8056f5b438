import io
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from blurgate.photos.directories import first_directory
from blurgate.photos.jpeg2000 import Codestream
from blurgate.photos.jpegs import Frame
from blurgate.photos.limits import COSTS, Metered, check_bytes, check_cost, check_tiff


def picture(format, width, height, tile=()):
    return SimpleNamespace(format=format, width=width, height=height, tile=list(tile))


@pytest.mark.parametrize("format", COSTS)
def test_photos_of_any_format_that_cameras_take_are_read(format):
    check_cost(picture(format, 6000, 4000), 12_000_000, None, 200)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "GIF", "BMP"])
def test_200_megapixels_are_read(format):
    check_cost(picture(format, 20_000, 10_000), 120_000_000, None, 200)


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "HEIF", "JPEG2000"])
def test_slow_formats_are_read_up_to_what_takes_as_long(format):
    problem = r"it has 16000 x 12000 px in 1.0 MB of .*, which would take too long.*: raise max_megapixels to (\d+) "
    with pytest.raises(ValueError, match=problem) as refused:
        check_cost(picture(format, 16_000, 12_000), 1_000_000, None, 200)
    needed = int(str(refused.value).split(" to ")[1].split()[0])
    check_cost(picture(format, 16_000, 12_000), 1_000_000, None, needed)
    with pytest.raises(ValueError, match="would take too long"):
        check_cost(picture(format, 16_000, 12_000), 1_000_000, None, needed - 1)


def test_a_lower_limit_is_on_pixels_alone():
    check_cost(picture("AVIF", 3000, 3000), 9_000_000, None, 9)
    with pytest.raises(ValueError, match="3000 x 3001 px, but at most 9 megapixels are read"):
        check_cost(picture("AVIF", 3000, 3001), 9_000_000, None, 9)


def test_coefficients_that_are_kept_cost_memory():
    large = picture("JPEG", 14_000, 14_000)
    for samples, most in ((1.5, 175_000_000), (3.0, 75_000_000), (4.0, 5_000_000)):
        frame = Frame(14_000, 14_000, samples, True, 0, b"")
        check_cost(large, most, frame, 200)
        with pytest.raises(ValueError, match="too much memory"):
            check_cost(large, most + 20_000_000, frame, 200)


def test_a_jpeg_2000_costs_what_is_decoded_of_it():
    large = picture("JPEG2000", 10_000, 10_000)
    check_cost(large, 150_000_000, Codestream(10_000, 10_000, 8, 2), 200)
    with pytest.raises(ValueError, match="too long"):
        check_cost(large, 150_000_000, Codestream(10_000, 10_000, 8, 0), 200)


def test_a_bmp_in_runs_costs_more():
    check_cost(picture("BMP", 8000, 8000, [("raw",)]), 64_000_000, None, 200)
    with pytest.raises(ValueError, match="too long"):
        check_cost(picture("BMP", 8000, 8000, [("bmp_rle",)]), 64_000, None, 200)


def test_bytes_are_limited_before_they_are_read():
    check_bytes(250_000_000, "JPEG", 200)
    with pytest.raises(ValueError, match="it has 300 MB, which would take too long.*: raise max_megapixels to 210"):
        check_bytes(300_000_000, "JPEG", 200)
    check_bytes(300_000_000, "JPEG", 210)


def test_a_metered_file_reads_as_the_file_does():
    metered = Metered(io.BytesIO(b"abcdef"), 6)
    assert (metered.read(2), metered.tell(), metered.seek(1), metered.read(), metered.read(1)) == (
        b"ab",
        2,
        1,
        b"bcdef",
        b"",
    )
    assert metered.getvalue() == b"abcdef"


def test_a_metered_file_is_not_read_without_end():
    metered = Metered(io.BytesIO(bytes(10)), 10)
    with pytest.raises(ValueError, match="far more parts than a picture needs"):
        while True:
            metered.read(0)
    metered = Metered(io.BytesIO(bytes(10)), 10)
    metered.allow_pixels()
    for _ in range(100_000):
        metered.read(0)
    with Path("/dev/zero").open("rb") as endless, pytest.raises(ValueError, match="far more parts"):
        Metered(endless, 10).read()


def directory(**values):
    tags = {"width": 256, "height": 257, "bits": 258, "compression": 259, "samples": 277, "rows": 278, "planes": 284}
    entries = b"".join(struct.pack("<HHII", tags[name], 4, 1, value) for name, value in values.items())
    return first_directory(io.BytesIO(b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4)))


def test_an_entry_that_stands_twice_is_refused():
    content = b"II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHII", 322, 4, 1, 46_000) * 2 + bytes(4)
    with pytest.raises(ValueError, match="it has an entry twice"):
        check_tiff(first_directory(io.BytesIO(content)), 200)


def test_a_strip_of_a_tiff_is_limited():
    size = {"width": 14_000, "height": 14_000, "bits": 16, "samples": 3}
    with pytest.raises(ValueError, match="it has too large a strip, which would take too long or too much memory"):
        check_tiff(directory(**size, compression=5), 200)
    check_tiff(directory(**size, compression=5), 400)
    check_tiff(directory(**size, compression=5, rows=64), 200)
    check_tiff(directory(**size, compression=5, planes=2), 200)
    check_tiff(directory(**size, compression=1), 200)
    check_tiff(directory(**{**size, "bits": 8}, compression=5), 200)
