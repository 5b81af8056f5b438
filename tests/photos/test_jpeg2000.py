import io
import struct

import numpy as np
import pytest
from PIL import Image

from blurgate.errors import PhotoError
from blurgate.photos.images import read_gray, read_plane, thumbnail
from blurgate.photos.jpeg2000 import Codestream, read_codestream


def encode(rgb, **options):
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG2000", **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("options", "levels"), [({}, 5), ({"num_resolutions": 3}, 2), ({"num_resolutions": 1}, 0), ({"no_jp2": True}, 5)]
)
def test_the_codestream_says_how_large_the_picture_is(astronaut, options, levels):
    found = read_codestream(io.BytesIO(encode(astronaut[:300], **options)))
    assert found == Codestream(512, 300, 8, levels)


@pytest.mark.parametrize("size", [(512, 512), (510, 509), (501, 333), (511, 487)])
@pytest.mark.parametrize("max_pixels", [60_000, 20_000, 9_000])
def test_a_picture_that_is_halved_while_it_is_decoded_is_nearly_the_same(astronaut, size, max_pixels):
    photo = np.tile(astronaut, (2, 2, 1))[: size[1], : size[0]]
    plane = read_plane(encode(photo), max_pixels=max_pixels)
    wanted = read_plane(photo, max_pixels=max_pixels)
    assert (plane.width, plane.height, plane.gray.shape) == (wanted.width, wanted.height, wanted.gray.shape)
    assert np.abs(plane.gray.astype(int) - wanted.gray).mean() < 9  # as JPEG: a little sharper
    np.testing.assert_array_equal(read_gray(encode(photo)), read_gray(photo))


def test_a_thumbnail_of_it(astronaut, tmp_path):
    (tmp_path / "a.jp2").write_bytes(encode(astronaut))
    assert Image.open(io.BytesIO(thumbnail(tmp_path / "a.jp2", side=50))).size == (50, 50)


def test_levels_whose_size_pillow_rounds_otherwise_are_not_used():
    assert Codestream(4000, 3000, 8, 5).reduced(3).levels == 3
    assert Codestream(4001, 3000, 8, 5).reduced(3).levels == 1
    assert Codestream(4003, 3003, 8, 5).reduced(2).levels == 2
    assert Codestream(4000, 3000, 8, 5).reduced(-1).levels == 0


def test_tiny_blocks_are_refused(astronaut):
    with pytest.raises(PhotoError, match="it has far more blocks than a picture needs"):
        read_gray(encode(astronaut, num_resolutions=2, precinct_size=(8, 8), codeblock_size=(8, 8)))


@pytest.mark.parametrize(
    "options", [{"codeblock_size": (32, 32)}, {"precinct_size": (128, 128)}, {"tile_size": (128, 128)}]
)
def test_blocks_as_encoders_make_them_are_read(astronaut, options):
    np.testing.assert_array_equal(read_gray(encode(astronaut, **options)), read_gray(astronaut))


def test_a_codestream_that_is_larger_than_its_box_says_is_refused(astronaut):
    content = encode(astronaut)
    place = content.index(b"\xff\x51") + 6
    with pytest.raises(PhotoError, match="cannot be read: its header is damaged"):
        read_gray(content[:place] + struct.pack(">II", 60_000, 60_000) + content[place + 8 :])


@pytest.mark.parametrize("share", [0.01, 0.02, 0.1, 0.5])
def test_a_cut_one_is_refused(astronaut, share):
    content = encode(astronaut)
    with pytest.raises(PhotoError):
        read_gray(content[: int(share * len(content))])
