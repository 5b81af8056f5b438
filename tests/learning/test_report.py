import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from blurgate.learning.evaluation import evaluate
from blurgate.learning.report import CHARTS, _column_words, render_report, write_report


@pytest.fixture(scope="module")
def page(trained):
    return render_report(trained[1], title="A model")


def test_the_page_has_no_external_references(page):
    assert not re.search(
        r"(?:src|href)\s*=\s*[\"']?(?!data:image/jpeg|#)[^\"'\s>]+", page.replace("xlink:href", "href")
    )
    assert not re.search(r"@import|url\((?!#)|<script|<link|<iframe", page)
    urls = set(re.findall(r"https?://[\w./-]+", page))
    assert urls <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # XML namespaces, which load nothing


def test_the_page_shows_every_part(page, trained):
    numbers = trained[1].numbers
    for part in (
        "ROC AUC",
        "95 % interval",
        "Precision-recall curve",
        "Calibration",
        "Decisions",
        "By kind",
        "By strength",
    ):
        assert part in page
    for part in (
        "Features that the trees use most",
        "Score of each trial",
        "Most confident mistakes",
        "variance of Laplacian",
        "All photos could be used",
    ):
        assert part in page
    assert f"{numbers['roc_auc']:.3f}" in page
    assert page.count('<tr class="chosen">') == 2
    assert page.count("data:image/jpeg;base64,") == len(numbers["mistakes"]) > 0
    assert page.count("<svg") == len(CHARTS) - (not numbers["search"]["importances"])


@pytest.mark.parametrize(("value", "rate"), [(0, "false alarm rate"), (1, "miss rate")])
def test_photos_of_one_class_have_a_page(model, table, value, rate):
    page = render_report(evaluate(model, table.take(np.flatnonzero(table.labels == value))), title="One class")
    assert f"{rate}, 95 % interval" in page
    assert "ROC curve" not in page
    assert ">nan" not in page
    assert "None" not in page


def test_the_same_numbers_give_the_same_page(page, trained):
    assert render_report(trained[1], title="A model") == page


def test_names_of_photos_are_text_not_markup(model, table):
    hostile = '<img src="https://example.com/x.png" onerror="alert(1)">'
    photos = tuple(replace(photo, path=hostile, tier=hostile, kind="") for photo in table.photos)
    table = replace(table, photos=photos, features=table.features[::-1])
    evaluation = evaluate(model, replace(table, skipped=()))
    assert evaluation.numbers["mistakes"]
    page = render_report(evaluation, title=hostile)
    assert '<img src="https' not in page
    assert "&lt;img src=" in page
    assert "picture not available" in page


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        ([0.01, 0.05], "The model ranks photos better: its ROC AUC is higher by 0.010 to 0.050"),
        ([-0.05, -0.01], "<b>The model ranks photos worse</b>: its ROC AUC is lower by 0.010 to 0.050"),
        (
            [-0.02, 0.03],
            "does not rank these photos significantly better</b>: the difference in ROC AUC is between -0.020 and",
        ),
    ],
)
def test_the_page_compares_the_model_with_the_laplacian(trained, interval, sentence):
    numbers = trained[1].numbers
    laplacian = numbers["variance_of_laplacian"] | {"gain_interval": interval}
    page = render_report(replace(trained[1], numbers=numbers | {"variance_of_laplacian": laplacian}), title="x")
    assert sentence in page
    assert "Only 10 scenes" in page


def test_skipped_photos_are_listed(model, table):
    from blurgate.learning.table import SkippedPhoto

    skipped = (SkippedPhoto("a.jpg", "it is torn"), SkippedPhoto("b.jpg", "is too small", undecided=True))
    evaluation = evaluate(model, replace(table, skipped=skipped))
    assert (evaluation.numbers["n_errors"], evaluation.numbers["n_undecided"]) == (1, 1)
    page = render_report(evaluation, title="x")
    assert "2 photos could not be used" in page
    assert "it is torn" in page


def test_json_beside_the_page_has_the_same_numbers(trained, tmp_path):
    json_path = write_report(trained[1], tmp_path / "deep" / "page.html", title="x")
    assert json_path == tmp_path / "deep" / "page.json"
    assert json.loads(json_path.read_text()) == trained[1].numbers
    assert sorted(path.name for path in json_path.parent.iterdir()) == ["page.html", "page.json"]


def test_an_evaluation_without_training_has_a_page_too(model, made_folder, table):
    page = render_report(evaluate(model, table), title="x")
    assert "Evaluated on 144 labelled photos of 48 scenes" in page
    assert "Features that the trees use" not in page


def test_no_window_is_opened():
    assert "matplotlib.pyplot" not in sys.modules


def test_columns_in_words():
    assert _column_words("1/2__any__half_rise__w90") == "half rise in any direction at 1/2, w90"
    assert _column_words("1__low__log_energy__p97") == "log energy of low band, p97"
    assert _column_words("1__high__std__mean") == "std of high band"
