"""Real photographs, and what the pipeline makes of them, made once for all tests."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from blurgate import build_table, make_dataset, train
from blurgate.demo import load_photographs

SHARED = Path(os.environ.get("BLURGATE_SHARED", Path(__file__).parents[2] / "shared"))  # real photos, not in the repo


@pytest.fixture(scope="session")
def photographs():
    """Name -> array of shape (height, width, 3), uint8."""
    return load_photographs()


@pytest.fixture(scope="session")
def astronaut(photographs):
    return photographs["astronaut"]


@pytest.fixture(scope="session")
def sharp_folder(photographs, tmp_path_factory):
    """Sixty scenes: tiles of photographs, each a scene of its own."""
    folder = tmp_path_factory.mktemp("photos") / "sharp"
    folder.mkdir()
    for name in ("astronaut", "camera", "chelsea", "china", "coffee", "gravel", "hubble_deep_field", "motorcycle_left"):
        rgb = photographs[name]
        tiles = [(top, left) for top in range(0, 256, 128) for left in range(0, 384, 128)]
        for top, left in tiles:
            tile = rgb[top : top + 128, left : left + 128]
            Image.fromarray(tile).save(folder / f"{name}_{top}_{left}.png")
    return folder


@pytest.fixture(scope="session")
def made_folder(sharp_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "dataset"
    make_dataset(sharp_folder, folder, seed=4)  # none of its pictures is too flat to judge
    return folder


@pytest.fixture(scope="session")
def table(made_folder):
    return build_table(made_folder)


@pytest.fixture(scope="session")
def trained(table):
    """A model and its evaluation."""
    return train(table, trials=3, folds=3)


@pytest.fixture(scope="session")
def model(trained):
    return trained[0]


@pytest.fixture(scope="session")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "made.blurgate"
    model.save(path)
    return path


@pytest.fixture
def shared():
    if not SHARED.exists():
        pytest.skip("needs the real photographs beside the repository, or BLURGATE_SHARED")
    return SHARED / "data"


@pytest.fixture
def labelled(sharp_folder, tmp_path):
    """Four photos in sharp/ and blurred/."""
    for label, photos in (("sharp", slice(0, 2)), ("blurred", slice(1, 3))):
        (tmp_path / "labelled" / label).mkdir(parents=True)
        for path in sorted(sharp_folder.iterdir())[photos]:
            shutil.copy(path, tmp_path / "labelled" / label)
    return tmp_path / "labelled"
