"""Rounds of labelling: does a model that is calibrated on a person's labels do better on other photos? Print JSON.

    python benchmarks/labelling.py ../shared/data/bench/phone > labelling.json
    python benchmarks/labelling.py --left-out ../shared/data/train --work work > simulated.json

The argument is a labelled folder. It is scanned once. In each draw, half of its scenes are on a page in a real Chromium
(needs ChromeDriver and selenium): the slider is moved, and a person who knows the truth corrects six decisions as the
page then shows them, downloads the labels, labels the 20 photos that the page proposes, and downloads again. The model
is calibrated on each of the files, and evaluated on the other half before and after.

``--left-out`` simulates rounds on sources that the trees did not learn from, without a browser: this is where the
settings of `blurgate.learning.calibration` come from. It takes the sources of the shipped model, whose pictures are
made in the folder of ``--work``.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from blurgate import BlurModel, FeatureTable, build_table, calibrate, load_model, scan
from blurgate.judging.model import BLURRED, to_probability
from blurgate.judging.verdicts import LABELS, Verdict
from blurgate.learning.boosters import tree_settings
from blurgate.learning.splits import leave_sources_out
from blurgate.scanning.gallery import write_gallery
from models.sources import build_tables

Results = dict[str, Any]  # printed as JSON
Rows = NDArray[np.intp]
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
QUIETLY = ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-dev-shm-usage", "window-size=1400,900")
CORRECTIONS, PROPOSALS = 6, 20
MOVED = (0.2, 0.3, 0.7, 0.8, 0.9)  # thresholds that the slider is moved to
SHARES_BLURRED = (0.1, 0.3, 0.5)  # of the photos of a simulated round
SCANNED = 300  # photos of a simulated round


def run_rounds(folder: Path, draws: int) -> Results:
    """Drive rounds of labelling in a browser.

    Parameters
    ----------
    folder : Path
        A labelled folder.
    draws : int
        Number of rounds.

    Returns
    -------
    dict
    """
    model = load_model()
    table = build_table(folder, feature_set=model.card.feature_set, net=model.net, labelled=True).without_flat()
    paths = [str(table.picture(row)) for row in range(len(table))]
    verdicts = {verdict.path: verdict for verdict in scan(paths, model=model, engine="numpy")}
    rounds: dict[str, list[Results]] = {"six corrections": [], "and 20 proposals": []}
    with _open_browser() as (browser, downloads), tempfile.TemporaryDirectory() as work:
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            scenes = rng.permutation(np.unique(table.scenes))
            shown = np.isin(table.scenes, scenes[: len(scenes) // 2])
            others = table.take(np.flatnonzero(~shown))
            truth = {path: photo.label for path, photo, here in zip(paths, table.photos, shown, strict=True) if here}
            page = Path(work) / f"{draw}.html"
            write_gallery([verdicts[path] for path in truth], page, threshold=model.card.threshold)
            browser.get(page.as_uri())
            for name, file in _label(browser, downloads, verdicts, truth, rng).items():
                rounds[name].append({"draw": draw, **_calibrate_on(file, model, others)})
                print(name, rounds[name][-1], file=sys.stderr, flush=True)
    return {
        "photos": len(table),
        "rounds": rounds,
        "summary": {name: _summarise(entries) for name, entries in rounds.items()},
    }


@contextmanager
def _open_browser() -> Iterator[tuple[Any, Path]]:
    """Open Chromium without a window; also give the folder that it downloads to."""
    from selenium import webdriver

    with tempfile.TemporaryDirectory() as folder:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in (*QUIETLY, f"user-data-dir={folder}/profile"):
            options.add_argument(f"--{argument}")
        downloads = Path(folder) / "downloads"
        browser = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
        try:
            behaviour = {"behavior": "allow", "downloadPath": str(downloads)}
            browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
            yield browser, downloads
        finally:
            browser.quit()


def _label(
    browser: Any, downloads: Path, verdicts: Mapping[str, Verdict], truth: Mapping[str, str], rng: np.random.Generator
) -> dict[str, Path]:
    """Label on a page: six corrections at a moved slider, then what the page proposes; -> the files downloaded."""
    moved = float(rng.choice(MOVED))
    _fill(browser, "#number", str(moved))
    probabilities = {path: verdicts[path].probability for path in truth}
    wrong = [path for path, p in probabilities.items() if p is not None and truth[path] != LABELS[p >= moved]]
    for path in rng.permutation(wrong)[:CORRECTIONS]:
        _fill(browser, "#search", path)
        mark = browser.find_element("css selector", f".tile .marks [value={truth[path]}]")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
        mark.click()
    _fill(browser, "#search", "")
    files = {"six corrections": _download(browser, downloads)}
    browser.find_element("css selector", "#propose").click()
    for _ in range(PROPOSALS):
        path = browser.execute_script("return photos[enlarged].path")
        browser.switch_to.active_element.send_keys(truth[path][0])
        _settle(browser)
    return {**files, "and 20 proposals": _download(browser, downloads)}


def _fill(browser: Any, selector: str, text: str) -> None:
    from selenium.webdriver import Keys

    browser.find_element("css selector", selector).send_keys(Keys.CONTROL + "a", Keys.NULL, text or Keys.DELETE)
    _settle(browser)


def _settle(browser: Any) -> None:
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(() => arguments[0]()))")


def _download(browser: Any, downloads: Path) -> Path:
    """Download the labels, under a name of their own."""
    from selenium.webdriver.support.wait import WebDriverWait

    browser.find_element("css selector", "#download").click()
    file = downloads / "labels.csv"
    WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda _: file.exists())
    return file.rename(downloads / f"labels-{len(list(downloads.iterdir()))}.csv")


def _calibrate_on(file: Path, model: BlurModel, others: FeatureTable) -> Results:
    with file.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    mine = build_table(file, feature_set=model.card.feature_set, net=model.net, labelled=True)
    calibration = calibrate(model, mine)
    return {
        "labels": len(rows),
        "proposed": sum(row["chosen_by"] == "model" for row in rows),
        "conclusion": calibration.numbers["conclusion"],
        "before": _score(model, others),
        "after": _score(calibration.model, others),
    }


def _score(model: BlurModel, table: FeatureTable) -> dict[str, float]:
    odds, labels = model.log_odds(table.features), table.labels
    return {
        "accuracy": float(((to_probability(odds) >= model.card.threshold) == labels).mean()),
        "log_loss": float((np.logaddexp(0, odds) - labels * odds).mean()),
    }


def _summarise(rounds: list[Results]) -> Results:
    """Count the rounds that made the model better, and the worst that a round did."""
    gains = {
        "accuracy": [entry["after"]["accuracy"] - entry["before"]["accuracy"] for entry in rounds],
        "log_loss": [entry["before"]["log_loss"] - entry["after"]["log_loss"] for entry in rounds],
    }
    return {
        "rounds": len(rounds),
        "changed": sum(entry["conclusion"] == "better" for entry in rounds),
        **{
            name: {
                "mean_gain": float(np.mean(gain)),
                "least_gain": float(np.min(gain)),
                "worse": int((np.asarray(gain) < -1e-9).sum()),
                "better": int((np.asarray(gain) > 1e-9).sum()),
            }
            for name, gain in gains.items()
        },
    }


def simulate(training: FeatureTable, draws: int) -> Results:
    """Simulate rounds of labelling on each source, judged by trees of the others.

    Parameters
    ----------
    training : FeatureTable
        Of several sources.
    draws : int
        Rounds per source and way of labelling.

    Returns
    -------
    dict
    """
    trees, rng = load_model("trees"), np.random.default_rng(0)
    rounds: dict[str, list[Results]] = {}
    for fold in leave_sources_out(training):
        model, source = _train_on(training.take(fold.train), trees), training.take(fold.test)
        for _ in range(draws):
            half = rng.permutation(np.unique(source.scenes))
            mine = np.isin(source.scenes, half[: len(half) // 2])
            share = float(rng.choice(SHARES_BLURRED))
            page = source.take(_draw(source.labels, np.flatnonzero(mine), share, SCANNED, rng))
            others = source.take(_draw(source.labels, np.flatnonzero(~mine), share, len(source), rng))
            for name, labelled in _simulate_labels(model, page, rng).items():
                calibration = calibrate(model, labelled)
                entry = {"before": _score(model, others), "after": _score(calibration.model, others)}
                rounds.setdefault(name, []).append({**entry, "conclusion": calibration.numbers["conclusion"]})
        print(str(source.sources[0]), len(source), file=sys.stderr, flush=True)
    return {name: _summarise(entries) for name, entries in rounds.items()}


def _train_on(table: FeatureTable, trees: BlurModel) -> BlurModel:
    """Train as the shipped trees were, with their parameters and calibration."""
    parameters = dict(trees.card.parameters)
    data = xgboost.QuantileDMatrix(table.features, table.labels, weight=table.weights)
    booster = xgboost.train(tree_settings(parameters, 0), data, parameters["n_estimators"])
    return replace(trees, boosters={BLURRED: bytes(booster.save_raw("ubj"))}, card=replace(trees.card, kinds=()))


def _draw(labels: NDArray[np.int8], rows: Rows, share: float, count: int, rng: np.random.Generator) -> Rows:
    """Draw up to `count` rows with a share of blurred ones."""
    blurred, sharp = rows[labels[rows] == 1], rows[labels[rows] == 0]
    n_blurred = int(min(len(blurred), share * count, len(sharp) * share / (1 - share)))
    n_sharp = int(n_blurred * (1 - share) / share)
    return rng.permutation(
        np.concatenate([rng.choice(blurred, n_blurred, replace=False), rng.choice(sharp, n_sharp, replace=False)])
    )


def _simulate_labels(model: BlurModel, page: FeatureTable, rng: np.random.Generator) -> dict[str, FeatureTable]:
    """Label a page in several ways."""
    odds, rows = model.log_odds(page.features), np.arange(len(page))
    wrong = np.flatnonzero((to_probability(odds) >= rng.choice(MOVED)) != page.labels)
    bound = np.log(model.card.threshold / (1 - model.card.threshold))
    doubtful = np.argsort(np.abs(odds - bound))
    picks = {"six corrections": rng.permutation(wrong)[:CORRECTIONS], "all corrections": wrong}
    ways = {name: _choose(page, chosen, "person") for name, chosen in picks.items() if len(chosen)}
    ways |= {f"{count} proposals": _choose(page, doubtful[:count], "model") for count in (PROPOSALS, 2 * PROPOSALS)}
    return ways | {f"{count} at random": _choose(page, rows[:count], "") for count in (20, 50, 120, 250)}


def _choose(page: FeatureTable, rows: Rows, chosen_by: str) -> FeatureTable:
    chosen = page.take(rows)
    return replace(chosen, photos=tuple(replace(photo, chosen_by=chosen_by) for photo in chosen.photos))


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data/bench/phone"))
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--left-out", type=Path, metavar="TRAIN", help="simulate rounds on these sources instead")
    parser.add_argument("--work", type=Path, default=Path("work"))
    options = parser.parse_args()
    if options.left_out:
        training = build_tables(options.left_out, options.work).without_flat()
        results = simulate(training, options.draws)
    else:
        results = run_rounds(options.folder, options.draws)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
