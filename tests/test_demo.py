import csv
import re
from pathlib import Path

import pytest

from blurgate.demo import MADE, cut_tiles, load_photographs, run_demo
from blurgate.errors import DatasetError
from blurgate.photos.finding import find_photos


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return run_demo(tmp_path_factory.mktemp("demo") / "out")


def test_every_described_file_is_made(demo):
    assert list(demo.files) == list(MADE)
    assert all(path.exists() for path in demo.files.values())


def test_figures_are_from_unseen_photographs(demo):
    assert demo.n_scenes >= 2
    assert 0.5 < demo.roc_auc_interval[0] <= demo.roc_auc <= demo.roc_auc_interval[1] <= 1
    with (demo.files["verdicts.csv"]).open(newline="") as handle:
        verdicts = list(csv.DictReader(handle))
    assert len(verdicts) == len(find_photos([demo.files["dataset"]]))
    assert {verdict["error"] for verdict in verdicts} == {""}


def test_the_readme_shows_the_files_and_figures_of_the_demo(demo):
    shown = (Path(__file__).parents[1] / "README.md").read_text().split("ends with\n\n```text\n")[1].split("```")[0]
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("demo/")] == [
        f"demo/{name}" for name in MADE
    ]
    figures = [float(figure) for figure in re.findall(r"\d\.\d{3}", shown)]
    found = [demo.roc_auc, *demo.roc_auc_interval, demo.roc_auc_of_laplacian, demo.accuracy, demo.accuracy_of_laplacian]
    assert found == pytest.approx(figures, abs=0.01)
    assert f"{demo.n} pictures of {demo.n_scenes} photographs" in shown


def test_tiles_of_one_photograph_are_one_scene(demo):
    with (demo.files["dataset"] / "manifest.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["scene"] for row in rows} == set(load_photographs())
    assert all(row["path"].split("/")[1] == row["scene"] for row in rows)


def test_tiles_of_empty_sky_are_dropped(photographs, tmp_path):
    sky = photographs["rocket"] * 0 + 90
    cut_tiles({"sky": sky, "coffee": photographs["coffee"]}, tmp_path)
    assert len(find_photos([tmp_path / "sky"])) == 0
    assert 4 <= len(find_photos([tmp_path / "coffee"])) <= 12


def test_an_existing_folder_is_rejected_unless_the_demo_made_it(demo, tmp_path):
    with pytest.raises(DatasetError, match="out exists already: choose another folder, or replace it with --overwrite"):
        run_demo(demo.files["report.html"].parent)
    (tmp_path / "dear.jpg").touch()
    with pytest.raises(DatasetError, match="was not made by the demo and will not be replaced"):
        run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "dear.jpg").exists()
