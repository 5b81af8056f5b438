import shutil

import pytest
from PIL import Image

from blurgate.errors import PhotoError
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


def test_a_path_that_does_not_exist_is_the_callers_business(model, tmp_path):
    with pytest.raises(PhotoError, match="nowhere does not exist"):
        list(scan([tmp_path / "nowhere"], model=model))
    with pytest.raises(PhotoError, match="photos were needed, but the folders given have none in them: check the path"):
        list(scan([tmp_path], model=model))
