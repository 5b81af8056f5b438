import csv
import errno
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
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from blurgate import cli, make_dataset
from blurgate.judging.model import VARIANTS
from blurgate.learning.calibration import CONCLUSIONS
from blurgate.learning.table import write_table
from blurgate.making.recipes import RECIPES
from blurgate.measuring.features import FEATURE_SETS
from blurgate.photos import images
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


@pytest.fixture(scope="module")
def few_made(sharp_folder, tmp_path_factory):
    """A dataset of a third of the sharp photos: for commands that ask the net about every picture."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "sharp").mkdir()
    for path in sorted(sharp_folder.iterdir())[::3]:
        shutil.copy(path, folder / "sharp")
    make_dataset(folder / "sharp", folder / "made", seed=4)
    return folder / "made"


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


def test_the_shipped_model_is_the_default(run, sharp_folder, few_made):
    code, out, err = run("scan", sharp_folder, "--format", "csv")
    assert code == 0
    assert {row["decision"] for row in csv.DictReader(out.splitlines())} <= {"sharp", "blurred", "undecided"}
    assert "48 photos:" in err
    code, out, _ = run("evaluate", few_made, "--report", "r.html")
    assert code == 0
    assert "The shipped model on made" in Path("r.html").read_text()


def test_calibrate_makes_a_model_for_the_user(run, few_made, table, tmp_path):
    write_table(table, tmp_path / "mine.csv")
    code, _, err = run("calibrate", "mine.csv")
    assert (code, "or a table that `features --model` made for this model" in err) == (1, True)
    trees = ("--model", "trees")
    code, out, err = run("calibrate", "mine.csv", *trees, "--max-false-alarms", 0.1, "--output", "mine.blurgate")
    assert (code, "wrote mine.blurgate" in err) == (0, True)
    assert "calibrating\n" in err
    assert "accuracy     0." in out
    code, _, err = run("calibrate", "mine.csv", "--max-false-alarms", 0.1, "--min-recall", 0.9)
    assert (code, "use --max-false-alarms or --min-recall, not both" in err) == (2, True)
    code, out, _ = run("calibrate", few_made, "--json", "--output", "folder.blurgate")
    numbers = json.loads(out)
    assert numbers["n"] == 3 * 16
    assert numbers["after"]["accuracy"] > 0.7
    assert run("scan", few_made / "sharp", "--model", "mine.blurgate")[0] == 0
    few = table.take(np.flatnonzero(table.labels == 1)[:6])
    write_table(replace(few, photos=tuple(replace(p, chosen_by="person") for p in few.photos)), tmp_path / "few.csv")
    out = run("calibrate", "few.csv", *trees)[1]
    assert "6 of them were chosen for what they show" in out
    assert out.splitlines()[-1].startswith("all labels are the same")
    code, out, _ = run("calibrate", "mine.csv", *trees, "--holdout", 0.3, "--output", "held.blurgate")
    assert "photos held out:" in out
    assert sum(line.startswith(tuple(CONCLUSIONS.values())) for line in out.splitlines()) == 1
    code, _, err = run("evaluate", few_made, "--model", "folder.blurgate")
    assert code == 1
    assert "remove them, or calibrate with --holdout" in err


def test_labels_of_the_model_are_left_out_and_counted(run, table, tmp_path):
    photos = tuple(replace(p, labelled_by="model") if n % 2 else p for n, p in enumerate(table.photos))
    write_table(replace(table, photos=photos), tmp_path / "mixed.csv")
    for command in (["evaluate", "mixed.csv"], ["calibrate", "mixed.csv"]):
        code, out, err = run(*command, "--model", "trees")
        assert (code, f"left out {len(table) // 2} photos that the model labelled" in err) == (0, True)
        assert out.startswith(f"on {len(table) // 2} photos")
    code, _, err = run("train", "mixed.csv", "--trials", 1, "--folds", 2)
    assert (code, f"left out {len(table) // 2} photos that the model labelled" in err) == (0, True)


def test_photos_of_one_class_can_be_evaluated(run, table, tmp_path):
    write_table(table.take(np.flatnonzero(table.labels == 0)), tmp_path / "sharp.csv")
    code, out, _ = run("evaluate", "sharp.csv", "--model", "trees", "--report", "r.html")
    assert (code, "false-alarm rate" in out, "all are labelled sharp" in out) == (0, True, True)
    assert json.loads(Path("r.json").read_text())["roc_auc"] is None


def test_train_takes_sharp_photos_as_they_are(run, sharp_folder, tmp_path):
    (tmp_path / "photos").mkdir()
    for path in sorted(sharp_folder.iterdir())[::2]:
        shutil.copy(path, tmp_path / "photos")
    shutil.copy(min(sharp_folder.iterdir()), tmp_path / "photos" / "copy.png")
    code, out, err = run("train", "photos", "--trials", 1, "--folds", 2, "--report", "r.html")
    assert code == 0
    assert "1 scene left out of the count: copies of a photo count as one scene" in err
    assert "ROC AUC" in out
    steps = (
        "making pictures (25)",
        "measuring photos (75)",
        "searching parameters\n",
        "fitting and testing the model\n",
    )
    assert all(step in err for step in steps)
    assert json.loads((tmp_path / "r.json").read_text())["mistakes"] is not None
    assert "photo not found" not in (tmp_path / "r.html").read_text()
    assert "1 scene turned out to be a copy of others" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "model.blurgate").exists()


def test_a_bad_file_is_a_row_and_does_not_stop_the_scan(run, sharp_folder, model_file, tmp_path):
    shutil.copy(min(sharp_folder.iterdir()), tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("hello")
    code, out, err = run("scan", ".", "--model", model_file, "--format", "jsonl", "--output", "v.jsonl")
    assert (code, out) == (0, "")
    assert "wrote v.jsonl" in err
    assert re.search(
        r"2 photos: ([01]) blurred \(P from 0\.\d+\), (?!\1)[01] sharp, 0 undecided, 1 could not be read", err
    )
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    assert [bool(row["error"]) for row in rows] == [True, False]


def test_a_photo_named_twice_is_judged_twice(run, sharp_folder, model_file):
    photo = min(sharp_folder.iterdir())
    code, out, _ = run("scan", photo, photo, "--model", model_file, "--format", "csv")
    assert code == 0
    assert len(list(csv.DictReader(out.splitlines()))) == 2


def test_skipped_photos_are_counted_and_named(run, sharp_folder, tmp_path):
    (tmp_path / "sharp").mkdir()
    for path in sorted(sharp_folder.iterdir())[::4]:
        shutil.copy(path, tmp_path / "sharp")
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
        (["train", "photos", "--trials", "1"], "at least 7 scenes with sharp photos, for a test and 5 folds, got 2"),
        (
            ["evaluate", "photos", "--model", "no"],
            "No model file: no. Check the path, or name a shipped model: default, trees, net, both or open",
        ),
        (["scan", "photos", "--model", "photos/a.png"], "photos/a.png is not one or is damaged"),
        (["scan", "nowhere", "--model", "MODEL"], "a file or folder was needed, but nowhere does not exist"),
        (["evaluate", "photos", "--model", "MODEL"], "expected labelled photos, but 2 of 2 have no label"),
        (["preview", "nowhere.jpg"], "nowhere.jpg does not exist: check the path"),
        (
            ["preview", "photos/a.png", "--output", "photos/a.png/p.png"],
            "photos/a.png/p.png into, but",
        ),
        (["scan", "empty", "--model", "MODEL"], "found no photos in the given folders"),
        (
            ["scan", "photos", "--model", "MODEL", "--format", "csv", "--output", "empty"],
            "expected a file to write to, but empty is a folder",
        ),
        (["train", "photos", "photos"], "photos is named twice: name each source once"),
        (
            ["scan", "photos", "--model", "empty"],
            "expected a model file, but empty is a folder: name a .blurgate file",
        ),
        (["preview", "photos/a.png", "--output", "photos/b.png"], "photos/b.png exists and is not a preview that"),
        (
            ["scan", "photos", "--format", "csv", "--output", "photos/a.png"],
            "a.png exists and is not a file of verdicts",
        ),
        (
            ["scan", "photos", "--report", "mine.html"],
            "mine.html exists and is not a gallery that blurgate wrote: choose",
        ),
        (
            ["evaluate", "photos", "--report", "x.html"],
            "x.json exists and is not the numbers of a report that blurgate wrote",
        ),
        (["train", "photos", "--report", "mine.html"], "mine.html exists and is not a report that blurgate wrote"),
        (["train", "photos", "--output", "photos/a.png"], "photos/a.png exists and is not a model that blurgate wrote"),
        (["train", "photos", "--study", "mine.db"], "mine.db exists and is not a study that blurgate wrote"),
        (
            ["calibrate", "photos", "--output", "mine.zip"],
            "mine.zip exists and is not a model that blurgate wrote: choose",
        ),
        (
            ["features", "photos", "--output", "mine.csv"],
            "mine.csv exists and is not a table of features that blurgate wrote",
        ),
        (
            ["scan", "photos", "--output", "ds/manifest.csv"],
            "ds/manifest.csv exists and is not a file of verdicts that",
        ),
        (["scan", "photos", "--output", "kept.csv"], "kept.csv is read-only and is not replaced: choose another name"),
        (["demo", "--output", "demo", "--overwrite"], "demo holds notes.txt, not made by the demo: move it away, or"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_1(run, sharp_folder, model_file, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / ".blurgate-demo").touch()
    foreign = ("mine.html", "x.json", "mine.zip", "mine.csv", "demo/notes.txt")
    for name in foreign:
        (tmp_path / name).write_text("mine")
    (tmp_path / "kept.csv").touch(0o444)
    with closing(sqlite3.connect(tmp_path / "mine.db")) as database:
        database.execute("CREATE TABLE songs (title)")
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "manifest.csv").write_text("path,label,scene\n")
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
    assert all((tmp_path / name).read_text() == "mine" for name in foreign)


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
        ["scan", "FOLDER", "--model", "MODEL", "--at", "63"],
        ["scan", "FOLDER", "--model", "MODEL", "--at", "half"],
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
        ["features", "FOLDER", "--output", "t.txt"],
        ["features", "FOLDER", "--output", "FOLDER/labels.csv"],
        ["features", "t.csv", "--output", "t.csv"],
        ["preview", "photo.png", "--output", "p.jpg"],
        ["preview", "photo.png", "--output", "photo.png"],
        ["calibrate", "FOLDER", "--output", "FOLDER/labels.csv"],
        ["calibrate", "FOLDER", "--model", "MODEL", "--output", "MODEL"],
        ["train", "FOLDER", "--output", "a.html", "--report", "a.html"],
        ["train", "FOLDER", "--output", "a.json", "--report", "a.html"],
        ["train", "FOLDER", "--report", "a.json"],
        ["evaluate", "FOLDER", "--report", "empty"],
        ["scan", "photo.png", "--format", "csv", "--output", "photo.png"],
        ["scan", "FOLDER", "--output", "FOLDER/manifest.csv"],
    ],
)
def test_wrong_usage_is_exit_code_2(run, words, sharp_folder, model_file):
    before = sorted(sharp_folder.iterdir())
    code, _, err = run(*[word.replace("FOLDER", str(sharp_folder)).replace("MODEL", str(model_file)) for word in words])
    assert code == 2
    assert "Traceback" not in err
    if "--review" in words and "--threshold" in words:
        assert "use --threshold or --review, not both" in err
    if "--at" in words:
        assert "--at must be full, or a longer side of at least 64 pixels" in " ".join(err.split())
    assert sorted(sharp_folder.iterdir()) == before


@pytest.mark.parametrize(("at", "side"), [("full", 128), ("100", 100), ("4000", 128)])
def test_photos_are_judged_at_the_size_named(run, sharp_folder, model_file, at, side):
    photo = sorted(sharp_folder.iterdir())[0]
    code, out, _ = run("scan", photo, "--model", model_file, "--at", at, "--threshold", 1, "--format", "jsonl")
    assert code == 0
    assert json.loads(out)["judged_at_px"] == side


@pytest.mark.parametrize("option", ["copy-to", "move-to", "link-to", "output", "report"])
@pytest.mark.parametrize("words", [["--{}", ""], ["--{}="]])
def test_an_empty_path_is_not_the_current_folder(run, sharp_folder, tmp_path, option, words):
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run("scan", str(sharp_folder), *[word.format(option) for word in words])
    assert code == 2
    assert f"--{option} needs a path, got an empty one: name one, or leave --{option} out" in " ".join(err.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_and_a_folder_as_output_are_sentences(run, sharp_folder, monkeypatch):
    code, _, err = run("scan", sharp_folder, "--format", "csv", "--output", "new/")
    assert code == 2
    assert "--output must be a file, got the folder new/: only on ray" in err
    full = OSError(errno.ENOSPC, "No space left on device", "x.html")
    monkeypatch.setattr("blurgate.scanning.run.run_scan", lambda *_, **__: (_ for _ in ()).throw(full))
    code, _, err = run("scan", sharp_folder)
    assert code == 1
    assert "x.html cannot be written (No space left on device): free disk space" in err


def test_help_names_every_choice(run):
    for command, names in (("dataset", RECIPES), ("train", RECIPES), ("train", FEATURE_SETS), ("scan", WRITERS)):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert all(name in out for name in names)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", ["", *(sorted(each.callback.__name__ for each in cli.app.registered_commands))])
def test_help_is_readable_and_has_a_short_name(run, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    words = [command] if command else []
    code, out, _ = run(*words, "--help")
    assert (code, run(*words, "-h")[1]) == (0, out)
    said = re.sub(r"\b(\d+<=)?x[<>]=[\d.]+", "", out)  # the range of a number
    assert not re.search(r"[<>{}]|\bNone\b|[a-z]\.\.\.$", said, flags=re.M)  # no names of Python types, no text cut off
    assert all(len(line) <= columns for line in out.splitlines())


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


def test_scan_judges_a_list_as_it_comes(sharp_folder, tmp_path):
    first, second = sorted(sharp_folder.iterdir())[:2]
    process = begin("scan", "-", "--format", "jsonl", cwd=tmp_path, stdin=subprocess.PIPE)
    for path in (first, second):  # the second is named once the first has its verdict
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["path"] == str(path)
    _, err = process.communicate()
    assert process.returncode == 0
    assert "2 photos: " in err


def test_an_interrupt_ends_a_scan_that_waits_for_a_list(sharp_folder, tmp_path):
    process = begin("scan", "-", "--format", "jsonl", cwd=tmp_path, stdin=subprocess.PIPE)
    process.stdin.write(f"{min(sharp_folder.iterdir())}\n")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "Traceback" not in process.stderr.read()
    process.communicate()


def test_scan_filters_sorts_and_reviews(run, mixed):
    code, out, _ = run("scan", mixed, "--exclude", "sub", "--include", "*.png", "--format", "csv", "--sort", "worst")
    assert (code, sorted(paths_of(out))) == (0, [str(mixed / f"{number}.png") for number in (0, 2, 4)])
    found = [float(row["probability"]) for row in csv.DictReader(out.splitlines())]
    assert found == sorted(found, reverse=True)
    code, out, _ = run("scan", mixed, "--review", 0, 1, "--sort", "path")
    assert (code, out.count("in doubt: ")) == (0, 6)


def test_the_bounds_of_a_review_are_one_word_or_two_or_the_models(run, mixed, model, tmp_path):
    scanned = {}
    for words in (["0.2", "0.8"], ["0.2,0.8"]):
        code, scanned[len(words)], _ = run("scan", mixed, "--review", *words, "--format", "csv")
        assert code == 0
    assert scanned[1] == scanned[2]
    replace(model, card=replace(model.card, review=(0.0, 1.0))).save(tmp_path / "bounded.blurgate")
    code, out, _ = run("scan", mixed, "--review", "auto", "--model", "bounded.blurgate")
    assert (code, out.count("in doubt: ")) == (0, 6)
    for wrong in ("often", "0.2", "0.2,0.3,0.4", "0.2,high", "nan,0.5"):
        code, _, err = run("scan", mixed, "--review", wrong)
        assert (code, len(err.splitlines())) == (2, 1)


def test_info_tells_what_a_model_is(run, model_file, tmp_path):
    code, out, _ = run("info")
    assert code == 0
    for words in (
        "the trees judge every photo; from P(blurred) =",
        "threshold",
        "terms",
        "limits",
        "--json has all entries",
    ):
        assert words in out
    described = json.loads(run("info", model_file, "--json")[1])
    assert described["asks"] == "the trees judge every photo"
    assert json.loads(run("info", "net", "--json")[1])["boosters"] == []
    code, _, err = run("info", tmp_path / "no.blurgate")
    assert (code, "no.blurgate. Check the path, or name a shipped model: default" in err) == (1, True)


def test_a_model_that_explains_is_evaluated_by_photos_or_a_table(run, explaining_model, few_made, tmp_path):
    explaining_model.save(tmp_path / "x.blurgate")
    assert f"name: {explaining_model.explainer.name}" in run("info", "x.blurgate")[1]
    assert run("features", few_made, "--model", "x.blurgate", "--output", "t.csv")[0] == 0
    numbers = [
        json.loads(run("evaluate", source, "--model", "x.blurgate", "--json")[1]) for source in (few_made, "t.csv")
    ]
    assert numbers[0]["kind"] == numbers[1]["kind"]
    assert numbers[0]["kind"]["n"] > 0
    out = run("evaluate", "t.csv", "--model", "x.blurgate")[1]
    assert f"balanced accuracy of {numbers[0]['kind']['n']} photos judged blurred" in out


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


def test_a_gate_that_cannot_look_at_every_photo_fails_and_says_why(run, mixed):
    gate = ("--fail-on", "blurred", "--threshold", 1)
    code, _, err = run("scan", mixed, *gate)
    assert code == 1
    assert f"1 of 7 photos could not be judged: {mixed}/torn.jpg cannot be read: " in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("blurgate: ")
    assert run("scan", mixed, *gate, "--allow-unreadable")[0] == 0
    assert run("scan", mixed / "0.png", *gate)[0] == 0
    assert run("scan", mixed, "--allow-unreadable")[0] == 2
    code, _, err = run("scan", mixed, "--fail-on", "blurred", "--threshold", 0, "--allow-unreadable")
    assert (code, err.splitlines()[-1]) == (1, "blurgate: 6 of 7 photos are blurred")


def test_too_many_open_files_end_a_scan_that_can_resume(run, mixed, monkeypatch, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(40):
        shutil.copy(mixed / "0.png", photos / f"{number:02}.png")

    def fail(path, opening=images._open_file):
        if str(path).endswith("39.png"):
            raise OSError(errno.EMFILE, "Too many open files", path)
        return opening(path)

    with monkeypatch.context() as patch:
        patch.setattr(images, "_open_file", fail)
        code, _, err = run("scan", photos, "--output", "v.csv")
    assert code == 1
    assert err.splitlines()[-2] == "the verdicts so far are saved: run the same command with --resume to continue"
    assert "blurgate: the machine cannot go on (Too many open files): raise the limit" in err.splitlines()[-1]
    assert not (tmp_path / "v.csv").exists()
    code, _, err = run("scan", photos, "--output", "v.csv", "--resume")
    assert (code, "40 photos: " in err) == (0, True)
    assert "of them judged before; " in err
    assert " MP/s)" in err
    code, _, err = run("scan", photos, "--output", "v.csv", "--resume")
    assert "40 of them judged before; " in err
    assert " MP/s)" not in err
    assert "MP/s" not in err


def test_the_summary_names_the_threshold_in_force(run, mixed):
    assert "blurred (P from 0.485), " in run("scan", mixed)[2]
    assert "blurred (P from 0.9), " in run("scan", mixed, "--threshold", 0.9)[2]
    assert "blurred (P from 0.93), " in run("scan", mixed, "--review", "auto")[2]


def test_lines_break_between_words_and_not_before_a_unit():
    text = "1,000 photos: 1 blurred (P from 0.485), 999 sharp, 0 undecided, 0 not (12.5 s, 30 MP/s)"
    for columns in range(40, 90):
        lines = cli._wrap(text, columns)
        assert all(len(line) <= columns for line in lines)
        assert " ".join(line.strip() for line in lines) == text
        assert not any(re.match(r"\s*(s|MP/s)\b", line) for line in lines)
    assert cli._wrap("a " + "b" * 99, 40) == ["a", "  " + "b" * 99]
    assert cli._wrap("", 40) == [""]


def test_long_work_writes_lines(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("blurgate.scanning.progress._FIRST", 0.0)

    def work():
        yield 1
        while "measuring: 1 of 2\n" not in stream.getvalue():
            time.sleep(0.01)
        yield 2

    assert list(cli._track(work(), total=2, doing="measuring")) == [1, 2]
    assert stream.getvalue().startswith("measuring (2)\n")


def test_scan_files_photos(run, mixed, tmp_path):
    code, _, err = run("scan", mixed, "--move-to", mixed / "sorted", "--threshold", 0, "--dry-run")
    assert (code, err.count("would move")) == (0, 6)
    assert not (mixed / "sorted").exists()
    words = ("scan", mixed, "--threshold", 0, "--output", "v.csv", "--report", "r.html")
    assert run(*words, "--copy-to", mixed / "sorted")[0] == 0
    assert sorted(path.name for path in (mixed / "sorted/blurred").rglob("*.png")) == [f"{n}.png" for n in range(6)]
    code, _, err = run(*words, "--copy-to", mixed / "sorted")
    assert code == 0
    assert f"left out 6 photos in {mixed / 'sorted'}, where an earlier scan filed them: name that folder to scan" in err
    assert f"copied 0 photos to {mixed / 'sorted'}; 6 were there already" in err
    code, out, err = run("scan", mixed, "--format", "csv")
    assert (code, len(paths_of(out))) == (0, 7)
    assert f"left out 6 photos in {mixed / 'sorted'}, where an earlier scan filed them: name that folder to scan" in err
    assert len(paths_of(run("scan", mixed / "sorted", "--format", "csv")[1])) == 6
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
from blurgate.__main__ import main
main()
"""


def begin(*words, cwd, before="", **options):
    command = [sys.executable, "-c", before + START, *map(str, words)]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(*words, cwd):
    """Run the command line to its end, in this process, which has loaded the libraries: its exit code."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["blurgate", *map(str, words)])
        cli.main()
    return ended.value.code or 0


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
    assert ("blurgate: interrupted" in err) == (how == signal.SIGINT)
    assert "Traceback" not in err
    assert how == signal.SIGKILL or list(tmp_path.iterdir()) == []
    assert not (tmp_path / "out").exists()
    assert finish("dataset", sharp_folder, "out", cwd=tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


SEARCH = ("train", "t.csv", "--trials", 5, "--folds", 3, "--report", "r.html")


@pytest.fixture(scope="module")
def searched(table, tmp_path_factory):
    """What a search that nothing interrupted makes."""
    folder = tmp_path_factory.mktemp("searched")
    write_table(table, folder / "t.csv")
    assert finish(*SEARCH, cwd=folder) == 0
    return (folder / "r.json").read_text(), (folder / "model.blurgate").read_bytes()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_search_resumes_from_its_study(table, searched, tmp_path, how):
    write_table(table, tmp_path / "t.csv")
    process = begin(*SEARCH, "--study", "s.db", cwd=tmp_path)
    wait_for(lambda: count_rows(tmp_path / "s.db", "trials WHERE state = 'COMPLETE'") > 1, process)
    process.send_signal(how)
    _, err = process.communicate()
    assert ("the search so far is saved: run the same command" in err) == (how == signal.SIGINT)
    assert not (tmp_path / "model.blurgate").exists()
    assert finish(*SEARCH, "--study", "s.db", cwd=tmp_path) == 0
    assert ((tmp_path / "r.json").read_text(), (tmp_path / "model.blurgate").read_bytes()) == searched


@pytest.fixture(scope="module")
def many_photos(sharp_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for number in range(6):
        shutil.copytree(sharp_folder, folder / str(number))
    return folder


@pytest.fixture(scope="module")
def scanned(many_photos, tmp_path_factory):
    """Suffix -> what a scan that nothing interrupted writes."""
    folder = tmp_path_factory.mktemp("scanned")

    @cache
    def scan(suffix):
        assert finish("scan", many_photos, "--engine", "numpy", "--output", f"v.{suffix}", cwd=folder) == 0
        return (folder / f"v.{suffix}").read_bytes()

    return scan


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        ("csv", signal.SIGINT),
        ("jsonl", signal.SIGTERM),
        *((kind, signal.SIGKILL) for kind in ("csv", "parquet")),
    ],
)
def test_an_interrupted_scan_resumes_to_the_same_output(many_photos, scanned, tmp_path, suffix, how):
    words = ("scan", many_photos, "--engine", "numpy", "--resume", "--output", f"v.{suffix}")
    process = begin(*words, cwd=tmp_path)
    wait_for(lambda: count_rows(tmp_path / f"v.{suffix}.resume", "verdicts") > 0, process)
    process.send_signal(how)
    _, err = process.communicate()
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how]
    assert ("run the same command to continue" in err) == (how != signal.SIGKILL)
    assert "Traceback" not in err
    assert not (tmp_path / f"v.{suffix}").exists()
    assert finish(*words, cwd=tmp_path) == 0
    assert (tmp_path / f"v.{suffix}").read_bytes() == scanned(suffix)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"v.{suffix}", f"v.{suffix}.resume"]


INSIDE = """
import os, signal, time
import xgboost.data
rows = xgboost.data.SingleBatchInternalIter.next
left = {calls}
def next_rows(self, take):  # which XGBoost calls from C, where an exception would be dropped
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.{how})
        time.sleep(0.2)
    return rows(self, take)
xgboost.data.SingleBatchInternalIter.next = next_rows
"""


@pytest.mark.parametrize(("calls", "how"), [(1, "SIGINT"), (3, "SIGINT"), (10, "SIGTERM")])
def test_a_signal_while_xgboost_reads_rows_ends_a_calibration(table, tmp_path, calls, how):
    write_table(table, tmp_path / "t.csv")
    before = INSIDE.format(calls=calls, how=how)
    process = begin("calibrate", "t.csv", "--model", "trees", cwd=tmp_path, before=before)
    _, err = process.communicate(timeout=60)
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}[how]
    assert ("blurgate: interrupted" in err) == (how == "SIGINT")
    assert not [word for word in ("Traceback", "Exception", "Stack", "wrote") if word in err]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


FAILED = """
import os, signal
from blurgate.judging import model
def fail(name):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        raise ValueError("what a library makes of an interrupt")
model.read_model = fail
"""


def test_an_error_that_follows_from_a_signal_is_not_shown(tmp_path):
    process = begin("info", cwd=tmp_path, before=FAILED)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "blurgate: interrupted\n")


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
    assert "run the same command to continue" in err
    assert not list(tmp_path.glob(".*.partial"))
    assert not (tmp_path / "v.csv").exists()
    saved = count_rows(tmp_path / "v.csv.resume", "verdicts")
    assert 16 <= saved <= 48
    assert finish(*words, cwd=tmp_path) == 0
    assert len((tmp_path / "v.csv").read_text().splitlines()) == 1 + 49


def test_a_table_made_for_a_cascade_can_be_evaluated_and_calibrated(run, few_made):
    assert run("features", few_made, "--model", "default", "--output", "t.csv")[0] == 0
    code, out, _ = run("evaluate", "t.csv", "--json")
    assert code == 0
    code, again, _ = run("evaluate", few_made, "--json")
    measured, photographed = json.loads(out), json.loads(again)
    assert (measured["n"], measured["roc_auc"]) == (photographed["n"], photographed["roc_auc"])
    assert run("calibrate", "t.csv", "--output", "mine.blurgate")[0] == 0
    code, _, err = run("features", few_made, "--model", "default", "--feature-set", "dct18", "--output", "d.csv")
    assert (code, "use --model or --feature-set, not both" in err) == (2, True)
    code, _, err = run("features", few_made, "--output", "plain.csv")
    code, _, err = run("evaluate", "plain.csv")
    assert (code, "or a table that `features --model` made for this model" in err) == (1, True)


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_model_file_named_as_a_shipped_model_is_pointed_out(run, table, name):
    write_table(table.take(np.arange(30)), "t.csv")
    code, _, err = run("calibrate", "t.csv", "--model", "trees", "--output", name)
    assert code == 0
    assert f"--model {name} names a shipped model: for this file, use --model ./{name}" in err


@pytest.fixture
def explaining(explaining_model, astronaut, tmp_path):
    """A model file, and a folder of a sharp and a blurred photo and a file that is no photo."""
    explaining_model.save(tmp_path / "m.blurgate")
    (tmp_path / "photos").mkdir()
    picture = Image.fromarray(astronaut).crop((100, 0, 300, 160))
    picture.save(tmp_path / "photos" / "cat.png")
    picture.filter(ImageFilter.GaussianBlur(5)).save(tmp_path / "photos" / "dog.png")
    (tmp_path / "photos" / "torn.jpg").write_text("no photo")
    return ("--model", "m.blurgate")


def test_explain_says_why_and_writes_a_page(run, explaining):
    code, out, err = run("explain", "photos", *explaining)
    assert (code, "wrote explained.html" in err, "1 photo could not be explained" in err) == (0, True, True)
    assert re.search(r"^photos/cat.png: sharp, P\(blurred\) 0\.\d{3}\n  Sharp", out)
    assert re.search(r"^photos/dog.png: blurred, .*\n  .*\.\n  kind         defocus \(defocus 0", out, flags=re.M)
    assert re.search(r"^  strength     \d.*px", out, flags=re.M)
    assert Path("explained.html").read_text().startswith("<!doctype html>")
    code, out, err = run("explain", "photos/dog.png", *explaining, "--output", "dog.png", "--json", "--threshold", 1)
    found = json.loads(out)
    assert (code, found["output"], len(found["photos"])) == (0, "dog.png", 1)
    photo = found["photos"][0]
    assert (photo["decision"], photo["picture"], "share" in photo["focus"]) == ("sharp", "dog.png", True)
    code, out, _ = run("explain", "photos/dog.png", *explaining, "--json", "--at", "80")
    assert (code, json.loads(out)["photos"][0]["judged_at_px"], json.loads(out)["output"]) == (0, 80, None)


def test_explain_fails_as_other_commands_do(run, explaining):
    for words, code, message in (
        (["photos/torn.jpg"], 1, "torn.jpg cannot be read"),
        (["nowhere.jpg"], 1, "nowhere.jpg does not exist: check the path"),
        (["photos", "--output", "a.png"], 2, "--output a.png takes one photo, got 3: name a page (.html) or a folder"),
        (["photos", "--output", "a.jpg"], 2, "--output must be named .html or .png, or be a folder, got a.jpg"),
        (["photos/cat.png", "--output", "photos/cat.png"], 2, "is read and cannot be the output too"),
        (["photos", "--threshold", 0.5, "--review", "0.1,0.2"], 2, "use --threshold or --review, not both"),
        ([""], 2, "expected a path, got an empty one"),
    ):
        assert (found := run("explain", *words, *explaining))[0] == code
        assert message in found[2]
    assert not Path("explained.html").exists()
    code, _, err = run("explain", "photos/cat.png", "--model", "trees")
    assert (code, "explain needs a model with an explainer" in err) == (2, True)


def test_scan_draws_maps(run, explaining):
    code, _, err = run("scan", "photos", *explaining, "--maps", "photos/maps", "--format", "csv")
    assert (code, "drew 2 maps to photos/maps" in err) == (0, True)
    assert sorted(path.name for path in Path("photos/maps").glob("[!.]*")) == ["cat.png", "dog.png"]
    code, _, err = run("scan", "photos", *explaining, "--maps", "photos", "--format", "csv")
    assert (code, "photos holds what is read and cannot hold the maps too" in err) == (2, True)
    code, _, err = run("scan", "photos", "--model", "trees", "--maps", "maps")
    assert (code, "a model with an explainer is needed" in err) == (2, True)
