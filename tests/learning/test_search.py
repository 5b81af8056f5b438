import sqlite3
from contextlib import closing, nullcontext
from dataclasses import replace

import numpy as np
import pytest

from blurgate.errors import OutputError, StudyFileError
from blurgate.learning import boosters
from blurgate.learning.boosters import predict_left_out
from blurgate.learning.search import DEFAULT_PARAMETERS, search_parameters
from blurgate.learning.splits import cut_folds


def search(table, path, trials, **options):
    folds = cut_folds(table, folds=3, seed=0)
    return search_parameters(table, folds, trials=trials, study=path, **options)


def test_an_interrupted_search_resumes_and_finds_the_same(table, tmp_path, monkeypatch):
    whole = search(table, None, 8)
    path, fit, calls = tmp_path / "study.db", boosters.xgboost.train, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(boosters.xgboost, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(table, path, 8, jobs=1)
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as study:
        assert study.execute("select count(*) from trials").fetchone()[0] > 1
    assert search(table, path, 8) == whole
    assert search(table, path, 8) == whole  # nothing left to do


def test_more_trials_extend_a_finished_search(table, tmp_path):
    path = tmp_path / "study.db"
    few = search(table, path, 2)
    more = search(table, path, 4)
    assert more.numbers["trials"][:2] == few.numbers["trials"]
    assert len(more.numbers["trials"]) == 4
    assert more.numbers["best"] >= few.numbers["best"]


def test_the_first_trial_is_the_default(table):
    assert search(table, None, 1).parameters == DEFAULT_PARAMETERS


def test_a_timeout_stops_the_search_after_at_least_one_trial(table):
    assert len(search(table, None, 50, timeout=0).numbers["trials"]) == 1


def test_hopeless_trials_are_stopped_early(table):
    found = search(table, None, 25).numbers
    assert any(trial["roc_auc"] is None for trial in found["trials"])
    assert found["best"] == max(trial["roc_auc"] for trial in found["trials"] if trial["roc_auc"])
    assert set(found["importances"]) == set(DEFAULT_PARAMETERS)
    assert sum(found["importances"].values()) == pytest.approx(1)


def test_a_study_of_another_search_or_a_damaged_one_is_rejected_and_kept(table, tmp_path):
    path = tmp_path / "study.db"
    search(table, path, 1)
    with pytest.raises(
        StudyFileError, match="study.db belongs to another search .other photos, features, folds or seed"
    ):
        search(table.take(np.arange(100)), path, 1)
    (tmp_path / "notes.txt").write_text("dear diary, " * 100)
    with pytest.raises(
        StudyFileError, match=r"notes.txt cannot be read as one or written: name a file that does not exist yet"
    ):
        search(table, tmp_path / "notes.txt", 1)
    assert (tmp_path / "notes.txt").read_text().startswith("dear diary")
    with closing(sqlite3.connect(tmp_path / "mine.db")) as mine:
        mine.execute("CREATE TABLE songs (title)")
    with pytest.raises(StudyFileError, match=r"mine.db cannot be read as one or written"):
        search(table, tmp_path / "mine.db", 1)
    with pytest.raises(StudyFileError, match=r"the path of a study file must not contain \?"):
        search(table, tmp_path / "what?.db", 1)


@pytest.mark.parametrize(
    ("locks", "error", "message"),
    [
        (True, OutputError, "another run of blurgate is writing study.db: wait until it has ended"),
        (False, StudyFileError, "study.db is in use by another training: wait until that has ended"),
    ],
)
def test_a_study_in_use_by_another_training_is_refused(table, tmp_path, monkeypatch, locks, error, message):
    path = tmp_path / "study.db"
    fit = boosters.xgboost.train

    def start_another_run(*arguments):
        monkeypatch.setattr(boosters.xgboost, "train", fit)
        search(table, path, 1)  # without locks, it takes the trial of the first run for an interrupted one
        return fit(*arguments)

    monkeypatch.setattr(boosters.xgboost, "train", start_another_run)
    if not locks:
        monkeypatch.setattr("blurgate.learning.studies.hold", lambda _: nullcontext())
    with pytest.raises(error, match=message):
        search(table, path, 2, jobs=1)
    assert search(table, path, 2) == search(table, None, 2)


def test_out_of_fold_margins_do_not_depend_on_their_own_scene(table):
    rng = np.random.default_rng(0)
    scenes = sorted(set(table.column("scene")))
    marks = dict(zip(scenes, rng.permutation(len(scenes)), strict=True))
    features = np.tile([[marks[scene]] for scene in table.column("scene")], table.features.shape[1]).astype(np.float32)
    by_scene = np.asarray([marks[scene] % 2 for scene in table.column("scene")], dtype=np.int8)
    photos = tuple(
        replace(p, label=("sharp", "blurred")[label]) for p, label in zip(table.photos, by_scene, strict=True)
    )
    table = replace(table, features=features, photos=photos)
    margins = predict_left_out(table, cut_folds(table, folds=3, seed=0), DEFAULT_PARAMETERS, seed=0)
    assert abs(np.corrcoef(margins, by_scene)[0, 1]) < 0.5  # trees that had seen the scene would recognise its mark


def test_there_is_at_least_one_trial(table):
    with pytest.raises(ValueError, match="trials must be at least 1, got 0"):
        search(table, None, 0)


def test_the_end_of_a_search_is_progress_too(table):
    shown = []

    def track(items, /, *, total, doing):
        shown.append((doing, total))
        yield from items

    search(table, None, 1, track=track)
    assert shown == [("searching parameters", 1), ("fitting the best trees", 1)]
