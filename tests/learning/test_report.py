import html
import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from itertools import cycle

import numpy as np
import pytest

from blurgate.learning.evaluation import evaluate, evaluate_predictions
from blurgate.learning.report import CHARTS, _column_words, render_report, write_report
from blurgate.version import __version__


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
        "Worst mistakes",
        "Variance of the Laplacian",
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


def test_the_same_numbers_give_the_same_page_on_the_same_day(trained):
    day = date(2026, 2, 3)
    page = render_report(trained[1], title="A model", day=day)
    assert render_report(trained[1], title="A model", day=day) == page
    assert "<dt>Date</dt><dd>3 February 2026</dd>" in page


def test_names_of_photos_are_text_not_markup(model, table):
    hostile = '<img src="https://example.com/x.png" onerror="alert(1)">'
    photos = tuple(replace(photo, path=hostile, tier=hostile, kind="") for photo in table.photos)
    table = replace(table, photos=photos, features=table.features[::-1])
    evaluation = evaluate(model, replace(table, skipped=()))
    assert evaluation.numbers["mistakes"]
    page = render_report(evaluation, title=hostile)
    assert '<img src="https' not in page
    assert "&lt;img src=" in page
    assert "photo not found" in page


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        ([0.01, 0.05], "The model ranks photos better: its ROC AUC is higher by 0.010 to 0.050"),
        ([-0.05, -0.01], "<b>The model ranks photos worse</b>: its ROC AUC is lower by 0.010 to 0.050"),
        (
            [-0.02, 0.03],
            "does not rank these photos significantly better</b>: its ROC AUC differs by -0.020 to 0.030",
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
    code = "import sys, blurgate.learning.report, matplotlib.figure; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_columns_in_words():
    assert _column_words("1/2__any__half_rise__w90") == "half rise in any direction at 1/2, w90"
    assert _column_words("1__low__log_energy__p97") == "log energy of low band, p97"
    assert _column_words("1__high__std__mean") == "std of high band"


def test_the_page_says_which_model_it_is_and_what_made_the_page(model, trained, table, tmp_path):
    for evaluation in (trained[1], evaluate(model, table)):
        json_path = write_report(evaluation, tmp_path / "page.html", title="x", model_name="<mine>.blurgate")
        page = (tmp_path / "page.html").read_text()
        assert "<dd>&lt;mine&gt;.blurgate</dd>" in page
        assert f'title="{model.fingerprint}">{model.fingerprint[:12]}<' in page
        assert "The trees judge every photo." in page
        assert f"<dd>blurgate {__version__}</dd>" in page
        assert json.loads(json_path.read_text())["model"]["fingerprint"] == model.fingerprint
    anonymous = evaluate_predictions(table, model.predict_features(table.features), threshold=0.5, base_rate=0.5)
    assert "Fingerprint" not in render_report(anonymous, title="x")


def test_mistakes_come_before_the_table_of_thresholds(page):
    places = [page.index(f"<h2>{heading}</h2>") for heading in ("Decisions", "Worst mistakes", "Other thresholds")]
    assert places == sorted(places)


def test_every_colour_has_a_dark_one(page):
    style, body = page.split("</style>", 1)
    light, dark = (set(re.findall(r"(--[\w-]+):", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S))
    assert light == dark > {"--ink", "--line", "--accent", "--other", "--on"}
    assert set(re.findall(r"var\((--[\w-]+)\)", page)) <= light
    assert not re.findall(r"(?:fill|stroke|color): *(?:#|white|black|rgb)", body)


def test_kinds_are_plain_text_in_every_chart(model, table):
    shown = {kind: kind for kind in ("$x^2$", r"$\frac$", r"\frac", "100 $ & <b>", "模糊", "fill: #1d2430")}
    shown |= {"a\x00\n": r"a\x00\n", "k" * 300: "k" * 31 + "…"}
    kinds = cycle(shown)
    photos = tuple(replace(photo, kind=next(kinds) if photo.label == "blurred" else "") for photo in table.photos)
    page = render_report(evaluate(model, replace(table, photos=photos)), title="x")
    (chart,) = re.findall(r"<figcaption>By kind</figcaption>(.*?)</figure>", page, re.S)
    assert {html.unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", chart)} >= {*shown.values()}
