import numpy as np
import pytest
from oddities import encode, load_photo, repeated_scans, segment, with_thumbnail

from blurgate.photos.images import encode_jpeg
from blurgate.photos.jpegs import check_jpeg, read_frame

START_OF_SCAN, COMMENT = 0xDA, 0xFE


@pytest.fixture(scope="module")
def photo():
    return load_photo()


@pytest.mark.parametrize(
    ("options", "samples", "scans"),
    [
        ({}, 1.5, False),
        ({"subsampling": 0}, 3.0, False),
        ({"subsampling": 1}, 2.0, False),
        ({"progressive": True}, 1.5, True),
        ({"progressive": True, "restart_marker_rows": 1}, 1.5, True),
    ],
)
def test_the_frame_of_a_jpeg(photo, options, samples, scans):
    frame = check_jpeg(encode(photo, **options))
    assert (frame.width, frame.height, frame.samples, frame.scans) == (384, 256, samples, scans)


def test_a_thumbnail_is_not_taken_for_the_jpeg(photo):
    frame = check_jpeg(with_thumbnail(photo))
    assert (frame.width, frame.height) == (384, 256)
    assert frame.exif.startswith(b"Exif\0\0II*\0")


def test_passes_are_counted():
    assert check_jpeg(repeated_scans(200, 40)).scans
    with pytest.raises(ValueError, match="it has far more scans than a picture needs, over 40"):
        check_jpeg(repeated_scans(200, 41))


def test_an_end_marker_in_a_comment_does_not_end_the_count():
    content = repeated_scans(200, 60)
    place = content.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="far more scans"):
        check_jpeg(content[:place] + segment(COMMENT, b"\xff\xd9") + content[place:])


def test_a_marker_without_a_segment_hides_no_scans():
    content = repeated_scans(200, 60)
    first = content.index(b"\xff\xda") + 12
    with pytest.raises(ValueError, match="far more scans"):
        check_jpeg(content[:first] + b"\xff\x01\xff\xff" + content[first:])


def test_scans_behind_the_end_do_not_count():
    assert check_jpeg(repeated_scans(200, 30) + repeated_scans(200, 30)).scans


def test_scans_of_a_sequential_jpeg_count_too():
    content = repeated_scans(200, 60).replace(b"\xff\xc2", b"\xff\xc1")
    with pytest.raises(ValueError, match="far more scans"):
        check_jpeg(
            content[:2] + content[2:].replace(b"\x08\0\xc8\0\xc8\1\1\x11\0", b"\x08\0\xc8\0\xc8\2\1\x11\0\2\x11\0")
        )


@pytest.mark.parametrize(
    ("inserted", "problem"),
    [
        (b"\xff" * 70_000, "more fill"),
        (b"x" * 70_000, "more fill"),
        (b"\xff\xfe\0\2" * 5000, "more segments"),
        (b"\xff\xd0" * 5000, "more segments"),
    ],
)
def test_what_lies_before_the_pixels_is_limited(photo, inserted, problem):
    content = encode(photo)
    with pytest.raises(ValueError, match=problem):
        check_jpeg(content[:2] + inserted + content[2:])


def test_a_jpeg_without_pixels_or_end_is_cut_short(photo):
    content = encode(photo)
    place = content.index(b"\xff\xda")
    for cut in (content[:2], content[:place], content[: place + 30], content[:-2]):
        with pytest.raises(ValueError, match="it is cut short|its header is damaged"):
            check_jpeg(cut)


def test_a_lossless_jpeg_is_no_picture(photo):
    with pytest.raises(ValueError, match="of a kind that is not read"):
        read_frame(encode(photo).replace(b"\xff\xc0", b"\xff\xc3"))


def test_exif_in_many_segments_is_refused():
    """Pillow joins them one by one, which takes minutes for thousands."""
    photo = encode_jpeg(np.zeros((64, 64, 3), np.uint8), quality=80)
    block = b"Exif\0\0" + bytes(60_000)
    extra = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    check_jpeg(photo[:2] + extra * 60 + photo[2:])
    with pytest.raises(ValueError, match="far more EXIF than a picture needs"):
        check_jpeg(photo[:2] + extra * 70 + photo[2:])


@pytest.mark.parametrize(
    ("marker", "content", "plain"),
    [
        (COMMENT, b"by hand", True),
        (0xE0, b"JFXX\0", False),
        (0xE1, b"any", True),
        (0xE2, b"ICC_PROFILE\0\1\1profile", True),
        (0xE2, b"ICC_PROFILE\0", False),
        (0xE2, b"MPF\0" + bytes(80), False),
        (0xED, b"Photoshop 3.0\0" + b"8BIM", False),
        (0xEE, b"Adobe\0d\0\0\0\0\1", True),
        (0xEE, b"Adobe", False),
        (0xDB, b"\x10" + bytes(128), False),
        (0xDE, b"", False),
        (0xC0, b"\x08\0\x40\0\x40\1\1\x11\0", False),
    ],
)
def test_an_unusual_segment_is_left_to_pillow(photo, marker, content, plain):
    jpeg = encode(photo)
    assert check_jpeg(jpeg).plain
    assert check_jpeg(jpeg[:2] + segment(marker, content) + jpeg[2:]).plain is plain


@pytest.mark.parametrize("inserted", [b"\xff", b"\0", b"\xff\x01", b"\xff\xd0"])
def test_fill_before_the_pixels_is_left_to_pillow(photo, inserted):
    jpeg = encode(photo)
    assert not check_jpeg(jpeg[:2] + inserted + jpeg[2:]).plain


def test_four_components_are_left_to_pillow(photo):
    from PIL import Image

    assert not check_jpeg(encode(Image.fromarray(photo).convert("CMYK"))).plain
