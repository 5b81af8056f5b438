import csv
import io
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from blurgate import cli
from blurgate.judging.model import VARIANTS
from blurgate.learning.table import write_table
from blurgate.making.recipes import RECIPES
from blurgate.measuring.features import FEATURE_SETS
from blurgate.scanning.formats import WRITERS


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["blurgate", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def test_every_command_in_a_row(run, sharp_folder, tmp_path):
    assert run("preview", min(sharp_folder.iterdir()))[0] == 0
    assert Path("preview.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = run("dataset", sharp_folder, "made", "--seed", 4)
    assert code == 0
    assert "wrote made: 144 pictures of 48 scenes" in err
    code, _, err = run("features", "made", "--output", "t.csv")
    assert code == 0
    assert "wrote t.csv: 144 photos, 99 features" in err
    words = ("train", "t.csv", "--trials", 2, "--folds", 3, "--output", "m.blurgate", "--report", "r.html")
    code, out, _ = run(*words, "--study", "s.db")
    assert code == 0
    assert "of 10 scenes that the model has not seen" in out
    assert {"m.blurgate", "r.html", "r.json", "s.db"} <= {path.name for path in tmp_path.iterdir()}
    code, out, _ = run("evaluate", "made", "--model", "m.blurgate", "--json")
    assert code == 0
    assert json.loads(out)["n"] == 144
    code, out, _ = run("scan", "made/sharp", "--model", "m.blurgate", "--format", "csv")
    assert code == 0
    assert len(list(csv.DictReader(out.splitlines()))) == 48


def test_the_shipped_model_is_the_default(run, sharp_folder, made_folder):
    code, out, err = run("scan", sharp_folder, "--format", "csv")
    assert code == 0
    assert {row["decision"] for row in csv.DictReader(out.splitlines())} <= {"sharp", "blurred", "undecided"}
    assert "48 photos:" in err
    code, out, _ = run("evaluate", made_folder, "--report", "r.html")
    assert code == 0
    assert "The shipped model on dataset" in Path("r.html").read_text()


def test_calibrate_makes_a_model_for_the_user(run, made_folder, table, tmp_path):
    write_table(table, tmp_path / "mine.csv")
    code, _, err = run("calibrate", "mine.csv")
    assert (code, "or a table that `features --model` made for this model" in err) == (1, True)
    trees = ("--model", "trees")
    code, out, err = run("calibrate", "mine.csv", *trees, "--max-false-alarms", 0.1, "--output", "mine.blurgate")
    assert (code, "wrote mine.blurgate" in err) == (0, True)
    assert "accuracy   0." in out
    code, _, err = run("calibrate", "mine.csv", "--max-false-alarms", 0.1, "--min-recall", 0.9)
    assert (code, "give either --max-false-alarms or --min-recall, not both" in err) == (2, True)
    code, out, _ = run("calibrate", made_folder, "--json", "--output", "folder.blurgate")
    numbers = json.loads(out)
    assert numbers["n"] == len(table)
    assert numbers["after"]["accuracy"] > 0.7
    assert run("scan", made_folder / "sharp", "--model", "mine.blurgate")[0] == 0
    few = np.random.default_rng(0).permutation(len(table))[:30]
    write_table(table.take(few), tmp_path / "few.csv")
    assert "the probabilities are worse than before: label more photos" in run("calibrate", "few.csv", *trees)[1]
    code, _, err = run("calibrate", "mine.csv", *trees, "--output", "net")
    assert (code, "for this file, use --model ./net" in err) == (0, True)
    code, _, err = run("evaluate", made_folder, "--model", "folder.blurgate")
    assert code == 1
    assert "remove them, or calibrate on other photos" in err


def test_train_takes_sharp_photos_as_they_are(run, sharp_folder, tmp_path):
    code, out, err = run("train", sharp_folder, "--trials", 1, "--folds", 2, "--report", "r.html")
    assert code == 0
    assert "ROC AUC" in out
    assert "making pictures (48)" in err
    assert json.loads((tmp_path / "r.json").read_text())["mistakes"] is not None
    assert "picture not available" not in (tmp_path / "r.html").read_text()
    assert (tmp_path / "model.blurgate").exists()


def test_a_bad_file_is_a_row_and_does_not_stop_the_scan(run, sharp_folder, model_file, tmp_path):
    shutil.copy(min(sharp_folder.iterdir()), tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("hello")
    code, out, err = run("scan", ".", "--model", model_file, "--format", "jsonl", "--output", "v.jsonl")
    assert (code, out) == (0, "")
    assert "wrote v.jsonl" in err
    assert re.search(r"2 photos: ([01]) blurred, (?!\1)[01] sharp, 0 undecided, 1 could not be read", err)
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [bool(row["error"]) for row in rows] == [True, False]


def test_a_photo_named_twice_is_judged_twice(run, sharp_folder, model_file):
    photo = min(sharp_folder.iterdir())
    code, out, _ = run("scan", photo, photo, "--model", model_file, "--format", "csv")
    assert code == 0
    assert len(list(csv.DictReader(out.splitlines()))) == 2


def test_skipped_photos_are_counted_and_named(run, sharp_folder, tmp_path):
    shutil.copytree(sharp_folder, tmp_path / "sharp")
    (tmp_path / "sharp" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    code, _, err = run("dataset", "sharp", "made")
    assert code == 0
    assert "1 photo could not be used:\n  torn.jpg: " in err
    assert run("train", "made", "--trials", 1, "--folds", 2, "--report", "r.html")[0] == 0
    assert "torn.jpg" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["dataset", "empty", "out"],
            "expected a folder of sharp photos, but empty contains no photos: check the path",
        ),
        (
            ["dataset", "photos", "photos2"],
            "photos2 exists already: choose another folder, or replace it with --overwrite",
        ),
        (["features", "nowhere"], "expected a folder of photos or a table, but nowhere is neither: check the path"),
        (["features", "photos", "--output", "t.txt"], "the name of a table must end in .csv or .parquet, got t.txt"),
        (["train", "photos", "--trials", "1"], "at least 7 scenes with sharp photos, for a test and 5 folds, got 2"),
        (["evaluate", "photos", "--model", "no"], "expected a model file, but no does not exist: check the path"),
        (["scan", "photos", "--model", "photos/a.png"], "photos/a.png is not one or is damaged"),
        (["scan", "nowhere", "--model", "MODEL"], "a file or folder was needed, but nowhere does not exist"),
        (["evaluate", "photos", "--model", "MODEL"], "expected labelled photos, but 2 of 2 have no label"),
        (["preview", "nowhere.jpg"], "nowhere.jpg does not exist: check the path"),
        (
            ["preview", "photos/a.png", "--output", "photos/a.png/p.png"],
            "photos/a.png/p.png into, but",
        ),
        (["preview", "photos/a.png", "--output", "p.jpg"], "expected a file named .png, got p.jpg"),
        (["scan", "empty", "--model", "MODEL"], "found no photos in the given folders"),
        (
            ["scan", "photos", "--model", "MODEL", "--format", "csv", "--output", "empty"],
            "expected a file to write to, but empty is a folder",
        ),
        (["train", "photos", "--output", "a.html", "--report", "a.html"], "but a.html is named twice: choose another"),
        (["train", "photos", "--output", "a.json", "--report", "a.html"], "but a.json is named twice: choose another"),
        (["train", "photos", "photos"], "photos is named twice: name each source once"),
        (
            ["scan", "photos/a.png", "--format", "csv", "--output", "photos/a.png"],
            "but a.png is named twice: choose another",
        ),
        (["features", "photos", "--output", "photos/labels.csv"], "but labels.csv is named twice: choose another"),
        (
            ["scan", "photos", "--model", "empty"],
            "expected a model file, but empty is a folder: name a .blurgate file",
        ),
        (["train", "photos", "--report", "a.json"], "expected a file named .html, got a.json"),
        (["evaluate", "photos", "--model", "MODEL", "--report", "empty"], "expected a file named .html, got empty"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_1(run, sharp_folder, model_file, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    for folder in ("photos", "photos2"):
        (tmp_path / folder).mkdir()
    for name, path in zip("ab", sorted(sharp_folder.iterdir()), strict=False):
        shutil.copy(path, tmp_path / "photos" / f"{name}.png")
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*[str(model_file) if word == "MODEL" else word for word in words])
    sentence = err.strip().splitlines()[-1]
    assert code == 1
    assert message in sentence
    assert sentence.startswith("blurgate: ")
    assert "Traceback" not in err + out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["scan"],
        ["fly"],
        ["dataset", "a", "b", "--per-photo", "0"],
        ["dataset", "a", "b", "--recipe", "film"],
        ["features", "FOLDER", "--feature-set", "dct19"],
        ["scan", "FOLDER", "--model", "MODEL", "--format", "xml"],
        ["scan", "FOLDER", "--model", "MODEL", "--threshold", "1.5"],
        ["scan", "FOLDER", "--output", "a.xml"],
        ["scan", "FOLDER", "--format", "parquet"],
        ["scan", "FOLDER", "--resume"],
        ["scan", "FOLDER", "--sort", "size"],
        ["scan", "FOLDER", "--fail-on", "sharp"],
        ["scan", "FOLDER", "--review", "0.7", "0.3"],
        ["scan", "FOLDER", "--review", "0.7,0.3"],
        ["scan", "FOLDER", "--review", "0.3,0.7", "--threshold", "0.5"],
        ["scan", "FOLDER", "--model", "MODEL", "--review", "auto"],
        ["scan", "FOLDER", "--dry-run"],
        ["scan", "FOLDER", "--copy-to", "a", "--link-to", "b"],
        ["scan", "FOLDER", "--move-to", "a", "--output", "v.csv", "--resume"],
    ],
)
def test_wrong_usage_is_exit_code_2(run, words, sharp_folder, model_file):
    places = {"FOLDER": str(sharp_folder), "MODEL": str(model_file)}
    code, _, err = run(*[places.get(word, word) for word in words])
    assert code == 2
    assert "Traceback" not in err


def test_help_names_every_choice(run):
    for command, names in (("dataset", RECIPES), ("train", RECIPES), ("train", FEATURE_SETS), ("scan", WRITERS)):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert all(name in out for name in names)


def test_version(run):
    assert run("--version")[1].startswith("blurgate 0.")


@pytest.fixture
def mixed(sharp_folder, tmp_path):
    """Six photos in a folder and below it, and one that is torn."""
    folder = tmp_path / "mixed"
    (folder / "sub").mkdir(parents=True)
    for number, path in enumerate(sorted(sharp_folder.iterdir())[:6]):
        shutil.copy(path, folder / ("sub" if number % 2 else ".") / f"{number}.png")
    (folder / "torn.jpg").write_text("torn")
    return folder


def paths_of(text):
    return [row["path"] for row in csv.DictReader(text.splitlines())]


def test_scan_takes_a_list_on_stdin(run, mixed, monkeypatch):
    names = [*map(str, sorted(mixed.rglob("*.png"))), str(mixed / "nowhere.png")]
    for mark in ("\n", "\0", "\r\n"):
        stdin = SimpleNamespace(buffer=io.BytesIO(mark.join(names).encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        code, out, _ = run("scan", "-", "--format", "csv")
        assert (code, paths_of(out)) == (0, names)
        assert "nowhere.png does not exist: check the path" in out


def test_scan_filters_sorts_and_reviews(run, mixed):
    code, out, _ = run("scan", mixed, "--exclude", "sub", "--include", "*.png", "--format", "csv", "--sort", "worst")
    assert (code, sorted(paths_of(out))) == (0, [str(mixed / f"{number}.png") for number in (0, 2, 4)])
    found = [float(row["probability"]) for row in csv.DictReader(out.splitlines())]
    assert found == sorted(found, reverse=True)
    code, out, _ = run("scan", mixed, "--review", 0, 1, "--sort", "path")
    assert (code, out.count("to be looked at: ")) == (0, 6)


def test_the_bounds_of_a_review_are_one_word_or_two_or_the_models(run, mixed, model, tmp_path):
    scanned = {}
    for words in (["0.2", "0.8"], ["0.2,0.8"]):
        code, scanned[len(words)], _ = run("scan", mixed, "--review", *words, "--format", "csv")
        assert code == 0
    assert scanned[1] == scanned[2]
    replace(model, card=replace(model.card, review=(0.0, 1.0))).save(tmp_path / "bounded.blurgate")
    code, out, _ = run("scan", mixed, "--review", "auto", "--model", "bounded.blurgate")
    assert (code, out.count("to be looked at: ")) == (0, 6)
    for wrong in ("often", "0.2", "0.2,0.3,0.4", "0.2,high", "nan,0.5"):
        code, _, err = run("scan", mixed, "--review", wrong)
        assert (code, len(err.splitlines())) == (2, 1)


def test_info_tells_what_a_model_is(run, model_file, tmp_path):
    code, out, _ = run("info")
    assert code == 0
    for words in ("the trees judge every photo; from P(blurred) =", "threshold", "terms", "limits", "net-"):
        assert words in out
    described = json.loads(run("info", model_file, "--json")[1])
    assert described["asks"] == "the trees judge every photo"
    assert json.loads(run("info", "net", "--json")[1])["boosters"] == []
    code, _, err = run("info", tmp_path / "no.blurgate")
    assert (code, "no.blurgate does not exist: check the path, or name a shipped model: default" in err) == (1, True)


def test_a_name_in_a_card_cannot_colour_the_terminal(run, model, tmp_path):
    strange = replace(model.card, terms={"[red]x": "\x1b[31mred"}, made_by="[bold]me")
    replace(model, card=strange).save(tmp_path / "s.blurgate")
    out = run("info", "s.blurgate")[1]
    assert "\x1b" not in out
    assert "[red]x: \\x1b[31mred" in out
    assert "[bold]me" in out


def test_scan_fails_on_request(run, mixed):
    assert run("scan", mixed)[0] == 0
    assert run("scan", mixed, "--strict")[0] == 1
    assert run("scan", mixed / "0.png", "--strict", "--fail-on", "blurred", "--threshold", 1)[0] == 0
    assert run("scan", mixed, "--fail-on", "blurred", "--threshold", 0)[0] == 1
    assert run("scan", mixed, "--fail-on", "undecided", "--review", 0, 1)[0] == 1


def test_scan_files_photos(run, mixed, tmp_path):
    code, _, err = run("scan", mixed, "--move-to", mixed / "sorted", "--threshold", 0, "--dry-run")
    assert (code, err.count("would move")) == (0, 6)
    assert not (mixed / "sorted").exists()
    words = ("scan", mixed, "--threshold", 0, "--output", "v.csv", "--report", "r.html")
    assert run(*words, "--copy-to", mixed / "sorted")[0] == 0
    assert sorted(path.name for path in (mixed / "sorted/blurred").rglob("*.png")) == [f"{n}.png" for n in range(6)]
    code, _, err = run(*words, "--copy-to", mixed / "sorted")
    assert code == 0
    assert f"skipping {mixed / 'sorted' / 'blurred'}: it holds photos that an earlier scan sorted" in err
    assert len(paths_of((tmp_path / "v.csv").read_text())) == 7  # copies are not found as more photos
    assert len(list((mixed / "sorted").rglob("*.png"))) == 6
    assert run(*words, "--move-to", tmp_path / "moved")[0] == 0
    assert sorted(path.name for path in mixed.iterdir()) == ["sorted", "sub", "torn.jpg"]
    assert str(tmp_path / "moved" / "blurred" / "0.png") in (tmp_path / "r.html").read_text()


def test_scan_resumes(run, mixed, tmp_path):
    code, _, err = run("scan", mixed, "--output", "v.csv", "--resume")
    assert (code, (tmp_path / "v.csv.resume").exists()) == (0, True)
    before = (tmp_path / "v.csv").read_bytes()
    (mixed / "0.png").write_bytes((mixed / "sub" / "1.png").read_bytes())
    assert run("scan", mixed, "--output", "v.csv", "--resume")[0] == 0
    changed, was = (
        list(csv.reader(text.decode().splitlines())) for text in ((tmp_path / "v.csv").read_bytes(), before)
    )
    assert [new == old for new, old in zip(changed, was, strict=True)] == [True, False, *[True] * 6]
    (tmp_path / "v.csv.resume").write_text("no database" * 999)
    code, _, err = run("scan", mixed, "--output", "v.csv", "--resume")
    assert code == 1
    assert "v.csv.resume is damaged or not a records file (file is not a database)" in err
    code, _, err = run("scan", mixed, "--output", "v.csv")
    assert (code, "v.csv.resume is damaged or not a records file" in err) == (1, True)
    assert (tmp_path / "v.csv.resume").read_text() == "no database" * 999
    (tmp_path / "v.csv.resume").unlink()
    assert run("scan", mixed, "--output", "v.csv")[0] == 0
    assert not (tmp_path / "v.csv.resume").exists()


START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # even if the parent process ignores it
from blurgate.cli import main
main()
"""


def begin(*words, cwd, before=""):
    command = [sys.executable, "-c", before + START, *map(str, words)]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*words, cwd):
    process = begin(*words, cwd=cwd)
    process.communicate()
    return process.returncode


def wait_for(condition, process):
    while not condition() and process.poll() is None:
        time.sleep(0.005)


def count_rows(database, rows):
    """Count the rows that another process has saved so far."""
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as kept:
            return kept.execute(f"SELECT count(*) FROM {rows}").fetchone()[0]
    except sqlite3.OperationalError:  # it is not there yet
        return 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_dataset_leaves_nothing_under_its_name(sharp_folder, tmp_path, how):
    process = begin("dataset", sharp_folder, "out", "--per-photo", 9, cwd=tmp_path)
    wait_for(lambda: len(list(tmp_path.glob(".out.*.partial/blurred/*"))) > 3, process)
    process.send_signal(how)
    _, err = process.communicate()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how]
    assert ("interrupted; no incomplete file" in err) == (how == signal.SIGINT)
    assert "Traceback" not in err
    assert how == signal.SIGKILL or list(tmp_path.iterdir()) == []
    assert not (tmp_path / "out").exists()
    assert finish("dataset", sharp_folder, "out", cwd=tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_search_resumes_from_its_study(table, tmp_path, how):
    from blurgate.learning.table import write_table

    write_table(table, tmp_path / "t.csv")
    words = ("train", "t.csv", "--trials", 12, "--folds", 3, "--report", "r.html")
    process = begin(*words, "--study", "s.db", cwd=tmp_path)
    wait_for(lambda: count_rows(tmp_path / "s.db", "trials WHERE state = 'COMPLETE'") > 2, process)
    process.send_signal(how)
    _, err = process.communicate()
    assert ("the search so far is saved: run the same command" in err) == (how == signal.SIGINT)
    assert not (tmp_path / "model.blurgate").exists()
    assert finish(*words, "--study", "s.db", cwd=tmp_path) == 0
    resumed = (tmp_path / "r.json").read_text(), (tmp_path / "model.blurgate").read_bytes()
    assert finish(*words, cwd=tmp_path) == 0
    assert ((tmp_path / "r.json").read_text(), (tmp_path / "model.blurgate").read_bytes()) == resumed


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        ("csv", signal.SIGINT),
        ("jsonl", signal.SIGTERM),
        *((kind, signal.SIGKILL) for kind in ("csv", "jsonl", "parquet")),
    ],
)
def test_an_interrupted_scan_resumes_to_the_same_output(sharp_folder, tmp_path, suffix, how):
    for number in range(6):
        shutil.copytree(sharp_folder, tmp_path.with_name(f"{tmp_path.name}-photos") / str(number))
    words = ("scan", tmp_path.with_name(f"{tmp_path.name}-photos"), "--engine", "numpy", "--resume")
    process = begin(*words, "--output", f"v.{suffix}", cwd=tmp_path)
    wait_for(lambda: count_rows(tmp_path / f"v.{suffix}.resume", "verdicts") > 0, process)
    process.send_signal(how)
    _, err = process.communicate()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how]
    assert ("run the same command with --resume to continue" in err) == (how != signal.SIGKILL)
    assert "Traceback" not in err
    assert not (tmp_path / f"v.{suffix}").exists()
    assert finish(*words, "--output", f"v.{suffix}", cwd=tmp_path) == 0
    assert finish(*words, "--output", f"whole.{suffix}", cwd=tmp_path) == 0
    assert (tmp_path / f"v.{suffix}").read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name}.{suffix}{end}" for name in ("v", "whole") for end in ("", ".resume")
    ]


STUCK = """
from pathlib import Path
import threading
from blurgate.judging import model
read_plane = model.read_plane
def read_for_ever(photo, **options):
    if photo.endswith("slow.png"):
        Path("reading").touch()
        threading.Event().wait(600)
    return read_plane(photo, **options)
model.read_plane = read_for_ever
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_scan_while_a_photo_is_decoded(sharp_folder, tmp_path, how):
    photos = tmp_path / "photos"
    shutil.copytree(sharp_folder, photos)
    shutil.copy(photos / "coffee_0_0.png", photos / "slow.png")
    words = ("scan", "photos", "--engine", "numpy", "--output", "v.csv", "--resume", "--jobs", 2)
    process = begin(*words, cwd=tmp_path, before=STUCK)
    wait_for((tmp_path / "reading").exists, process)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[how]
    assert "Traceback" not in err
    assert "run the same command with --resume to continue" in err
    assert not list(tmp_path.glob(".*.partial"))
    assert not (tmp_path / "v.csv").exists()
    saved = count_rows(tmp_path / "v.csv.resume", "verdicts")
    assert 16 <= saved <= 48
    assert finish(*words, cwd=tmp_path) == 0
    assert len((tmp_path / "v.csv").read_text().splitlines()) == 1 + 49


def test_a_table_made_for_a_cascade_can_be_evaluated_and_calibrated(run, made_folder):
    assert run("features", made_folder, "--model", "default", "--output", "t.csv")[0] == 0
    code, out, _ = run("evaluate", "t.csv", "--json")
    assert code == 0
    code, again, _ = run("evaluate", made_folder, "--json")
    measured, photographed = json.loads(out), json.loads(again)
    assert (measured["n"], measured["roc_auc"]) == (photographed["n"], photographed["roc_auc"])
    assert run("calibrate", "t.csv", "--output", "mine.blurgate")[0] == 0
    code, _, err = run("features", made_folder, "--model", "default", "--feature-set", "dct18", "--output", "d.csv")
    assert (code, "give either --model or --feature-set, not both" in err) == (2, True)
    code, _, err = run("features", made_folder, "--output", "plain.csv")
    code, _, err = run("evaluate", "plain.csv")
    assert (code, "or a table that `features --model` made for this model" in err) == (1, True)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_model_file_named_as_a_shipped_model_is_pointed_out(run, made_folder, name):
    assert run("features", made_folder, "--output", "t.csv")[0] == 0
    code, _, err = run("calibrate", "t.csv", "--model", "trees", "--output", name)
    assert code == 0
    assert f"--model {name} names a shipped model: for this file, use --model ./{name}" in err
