import numpy as np
import pytest
from PIL import Image

from blurgate.errors import PhotoError
from blurgate.making import blurs
from blurgate.making.preview import draw_preview, write_preview

OWN = ("defocus", "motion", "gaussian")


def test_sheet_has_a_row_for_each_kind_and_a_tile_for_each_example(astronaut):
    single, three = (draw_preview(astronaut, kinds=kinds) for kinds in (("defocus",), OWN))
    assert single.width == three.width > 9 * 150
    assert (three.height - 24) == 3 * (single.height - 24)


def test_tiles_get_softer_to_the_right(astronaut):
    sheet = np.asarray(draw_preview(astronaut, kinds=("gaussian",)).convert("L"), dtype=float)
    tiles = [sheet[50:220, 12 + 188 * column : 12 + 188 * column + 170] for column in range(9)]
    details = [np.abs(np.diff(tile, axis=1)).mean() for tile in tiles]
    assert details == sorted(details, reverse=True)
    assert details[-1] < details[0] / 3


def test_kinds_without_their_extra_are_listed(astronaut, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "blurgenerator", None)
    blurs._edge_strength.cache_clear()  # cached by other tests
    own, all_kinds = draw_preview(astronaut, kinds=OWN), draw_preview(astronaut)
    assert all_kinds.height == own.height + 34  # one line names all three


def test_png_is_written(astronaut, tmp_path):
    write_preview(astronaut[:100, :90], tmp_path / "sheet.png", kinds=("motion",))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_errors(astronaut, tmp_path):
    with pytest.raises(ValueError, match="blur kind must be one of"):
        draw_preview(astronaut, kinds=("zoom",))
    with pytest.raises(PhotoError, match="does not exist"):
        write_preview(tmp_path / "no.jpg", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
