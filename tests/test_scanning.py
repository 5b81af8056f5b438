import shutil

import pytest
from PIL import Image

from blurgate.errors import PhotoError
from blurgate.model import load_model
from blurgate.scanning import scan


def test_verdicts_come_in_the_order_of_the_photos_and_a_bad_file_stops_nothing(sharp_folder, model, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(sharp_folder, folder)
    (folder / "astronaut_0_9.jpg").write_text("hello")
    Image.new("L", (40, 30), 9).save(folder / "small.png")
    verdicts = list(scan([folder], model=model, jobs=2))
    assert [verdict.path for verdict in verdicts] == sorted(map(str, folder.iterdir()))
    by_name = {verdict.path.rsplit("/", 1)[1]: verdict for verdict in verdicts}
    assert by_name["astronaut_0_9.jpg"].error.endswith("it is no picture in a known format")
    assert by_name["astronaut_0_9.jpg"].decision == ""
    assert by_name["small.png"].decision == "undecided"
    assert sum(verdict.decision in ("sharp", "blurred") for verdict in verdicts) == 48


def test_verdicts_are_the_models_own(sharp_folder, model):
    path = min(sharp_folder.iterdir())
    assert list(scan([path], model=model)) == [model.predict(path)]


def test_what_shows_nothing_is_undecided(model, tmp_path):
    Image.new("L", (200, 200), 0).save(tmp_path / "black.png")
    Image.new("L", (200, 200), 255).save(tmp_path / "white.jpg")
    for verdict in scan([tmp_path], model=model):
        assert (verdict.decision, verdict.kind) == ("undecided", "")
        assert verdict.reason.startswith("too little texture")


def test_a_large_photo_keeps_its_size_in_the_verdict(model, photographs, tmp_path):
    large = Image.fromarray(photographs["coffee"]).resize((2400, 1600))
    large.save(tmp_path / "large.png")
    large.save(tmp_path / "large.jpg", quality=95)
    large.resize((1200, 800), Image.Resampling.BOX).save(tmp_path / "small.png")
    jpeg, png, small = scan([tmp_path], model=model)
    assert (jpeg.width, jpeg.height, png.width) == (2400, 1600, 2400)
    assert jpeg.probability == pytest.approx(png.probability, abs=0.1)
    assert png.probability == pytest.approx(small.probability, abs=0.02)


def test_the_model_that_ships_is_taken_where_none_is_named(sharp_folder):
    path = min(sharp_folder.iterdir())
    assert list(scan([path])) == [load_model().predict(path)]


def test_a_path_that_does_not_exist_is_the_callers_business(model, tmp_path):
    with pytest.raises(PhotoError, match="nowhere does not exist"):
        list(scan([tmp_path / "nowhere"], model=model))
    with pytest.raises(PhotoError, match="photos were needed, but the folders given have none in them: check the path"):
        list(scan([tmp_path], model=model))
