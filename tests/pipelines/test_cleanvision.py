import math
from pathlib import Path

import pytest

pytest.importorskip("cleanvision", reason="cleanvision is not installed")

from cleanvision import Imagelab

from blurgate.judging.verdicts import Verdict
from blurgate.pipelines import cleanvision

ENGINE = {"engine": "numpy"}


@pytest.fixture
def lab(paths):
    return Imagelab(filepaths=paths, verbose=False)


def find(lab, n_jobs=1, **params):
    lab.find_issues({"blurred": ENGINE | params}, n_jobs=n_jobs, verbose=False)
    return lab


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scores_and_issues_are_those_of_a_scan(lab, paths, wanted, n_jobs):
    find(lab, n_jobs)
    assert list(lab.issues.index) == paths
    assert list(lab.issues.columns) == ["blurred_score", "is_blurred_issue"]
    for path, verdict in wanted.items():
        row = lab.issues.loc[path]
        assert row["is_blurred_issue"] == (verdict["decision"] == "blurred")
        probability = verdict["probability"]
        assert math.isnan(row["blurred_score"]) if probability is None else row["blurred_score"] == 1 - probability
    assert lab.issues["is_blurred_issue"].dtype == bool
    blurred = sum(verdict["decision"] == "blurred" for verdict in wanted.values())
    assert lab.issue_summary.to_dict("records") == [{"issue_type": "blurred", "num_images": blurred}]


def test_the_verdicts_are_there_with_reasons_and_errors(lab, wanted):
    table = find(lab).info["blurred"]["verdicts"]
    assert set(table.columns) == {name for name in Verdict.__dataclass_fields__ if name != "path"}
    assert table["error"].to_dict() == {path: verdict["error"] for path, verdict in wanted.items()}


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame:Warning")  # CleanVision's own
def test_the_report_shows_blurred_photos(readable, capsys):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    pyplot.switch_backend("agg")
    lab = find(Imagelab(filepaths=readable, verbose=False))
    lab.report()
    assert "blurred images" in capsys.readouterr().out
    pyplot.close("all")


def test_it_goes_with_other_issues_in_any_order_and_can_be_saved(readable, tmp_path):
    lab = Imagelab(filepaths=readable, verbose=False)
    lab.find_issues({"dark": {}, "blurred": ENGINE}, n_jobs=1, verbose=False)
    first = lab.issues["blurred_score"].to_dict()
    lab.find_issues({"blurry": {}}, n_jobs=1, verbose=False)
    assert {"dark_score", "blurred_score", "blurry_score"} <= set(lab.issues.columns)
    lab.save(str(tmp_path / "saved"))
    again = Imagelab.load(str(tmp_path / "saved")).issues["blurred_score"].to_dict()
    assert str(again) == str(first)  # text, since NaN is unlike itself


def test_another_threshold_replaces_what_was_found(lab):
    find(lab, threshold=0.0)
    many = lab.issues["is_blurred_issue"].sum()
    find(lab, threshold=1.0)
    assert lab.issues["is_blurred_issue"].sum() < many
    assert len(lab.issue_summary) == 1


def test_a_dataset_of_hugging_face_is_judged_as_it_is_stored(paths, wanted):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    made = datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())
    found = find(Imagelab(hf_dataset=made, image_key="image", verbose=False), 2)
    assert found.info["blurred"]["verdicts"]["probability"].isna().to_list() == [
        verdict["probability"] is None for verdict in wanted.values()
    ]
    assert found.issues["is_blurred_issue"].to_list() == [each["decision"] == "blurred" for each in wanted.values()]


def test_files_of_another_store_are_judged(paths, wanted):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    store = fsspec.filesystem("memory")
    for path in paths:
        store.pipe(f"/shop/{path.rpartition('/')[2]}", Path(path).read_bytes())
    try:
        found = find(Imagelab(data_path="memory://shop", verbose=False))
    finally:
        store.rm("/shop", recursive=True)
    by_name = {path.rpartition("/")[2]: verdict for path, verdict in wanted.items()}
    rows = found.info["blurred"]["verdicts"]
    assert {index.rpartition("/")[2]: decision for index, decision in rows["decision"].items()} == {
        name: verdict["decision"] for name, verdict in by_name.items()
    }


def test_a_list_of_pictures_in_memory_is_judged(readable):
    from PIL import Image

    class Pictures(list):
        """What torchvision's datasets look like to CleanVision."""

    pictures = Pictures((Image.open(path), 0) for path in readable)
    found = find(Imagelab(torchvision_dataset=pictures, verbose=False))
    assert len(found.issues) == len(readable)
    assert found.issues["is_blurred_issue"].sum() == 1


def test_an_unknown_parameter_is_named(lab):
    with pytest.raises(ValueError, match=r"expected parameters out of model, threshold, .*, got treshold"):
        find(lab, treshold=0.4)


def test_the_issue_is_one_of_those_that_can_be_found():
    assert cleanvision.ISSUE in Imagelab.list_possible_issue_types()
