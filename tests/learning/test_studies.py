"""Studies that several searches share; that of one search at a time is in test_search.py."""

import json
import subprocess
import sys
import threading

import numpy as np
import optuna
import pytest
import sqlalchemy

from blurgate import write_table
from blurgate.errors import StudyFileError
from blurgate.learning import search, studies
from blurgate.learning.search import DEFAULT_PARAMETERS, search_parameters
from blurgate.learning.splits import cut_folds

FINISHED = ("COMPLETE", "PRUNED")
PARTICIPANT = """
import json, sys
from blurgate.learning.search import search_parameters
from blurgate.learning.splits import cut_folds
from blurgate.learning.table import read_table

table = read_table(sys.argv[1])
found = search_parameters(table, cut_folds(table, folds=2, seed=0), trials=5, study=sys.argv[2], jobs=1)
print(json.dumps([found.parameters, found.numbers["best"], len(found.numbers["trials"])]))
"""


@pytest.fixture(params=["sqlite", "journal"])
def address(request, tmp_path):
    return f"{request.param}:///{tmp_path / 'shared.study'}"


def fit_nothing(data, parameters, **_):
    """In place of trees, which are not what is tested here: margins that depend on the parameters."""
    rng = np.random.default_rng(parameters["n_estimators"])
    return (fold.labels + rng.normal(size=len(fold.labels)) for fold in data)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(search, "fit_folds", fit_nothing)
    for name, seconds in (("_BEAT", 0.05), ("_SILENCE", 0.5), ("_PAUSE", 0.02)):
        monkeypatch.setattr(studies, name, seconds)


@pytest.fixture
def journal(tmp_path):
    """The kind of address that is made soonest."""
    return f"journal:///{tmp_path / 'shared.study'}"


@pytest.fixture(scope="module")
def table(table):
    return table.take(np.arange(72))


def find(table, address, trials, **options):
    return search_parameters(table, cut_folds(table, folds=2, seed=0), trials=trials, study=address, **options)


def look(address, table):
    """The study, as another machine opens it."""
    folds = cut_folds(table, folds=2, seed=0)
    return studies.open_study(address, search._fingerprint(table, folds, 0))


def count_states(address, table):
    with look(address, table) as study:
        states = [trial.state.name for trial in study.trials]
    return {name: states.count(name) for name in sorted(set(states))}


def test_two_processes_search_together(table, tmp_path):
    address = f"sqlite:///{tmp_path / 'shared.study'}"
    write_table(table, tmp_path / "t.csv")
    command = [sys.executable, "-c", PARTICIPANT, str(tmp_path / "t.csv"), address]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=100) for process in processes]
    assert [err for _, err in answers] == ["", ""]
    first, second = (json.loads(out) for out, _ in answers)
    assert first == second
    assert first[2] == 5
    with look(address, table) as study:
        finished = [trial for trial in study.trials if trial.state.name in FINISHED]
        assert len(finished) == 5  # none lost, none twice
        assert len({json.dumps(trial.params) for trial in finished}) == 5
        assert sum(trial.params == DEFAULT_PARAMETERS for trial in finished) == 1
        assert study.best_params == first[0]


def test_a_finished_study_is_not_searched_again(table, journal, monkeypatch):
    first = find(table, journal, 2)
    monkeypatch.setattr(search, "_score_trial", lambda *_: pytest.fail("another trial was run"))
    assert find(table, journal, 2) == first


def test_a_trial_of_a_dead_machine_is_run_again(table, address):
    with look(address, table) as study:
        study.ask()  # and no sign of life
    assert len(find(table, address, 3).numbers["trials"]) == 3
    states = count_states(address, table)
    assert states.pop("FAIL") == 1
    assert sum(states.values()) == 3


def test_a_search_waits_for_the_last_trial_of_another(table, address):
    with look(address, table) as study:
        trial = study.ask()
        parameters = search._propose(trial)

        def finish_later():
            with studies._beat(study, trial):
                threading.Event().wait(1)  # longer than a dead machine is waited for
                study.tell(trial, 2.0)

        other = threading.Thread(target=finish_later)
        other.start()
        found = find(table, address, 2)
        other.join()
    assert found.parameters == parameters
    assert count_states(address, table) in ({"COMPLETE": 2}, {"COMPLETE": 1, "PRUNED": 1})


def test_a_machine_that_slept_goes_on(table, address, monkeypatch):
    calls = []

    def sleep_once(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:  # others take its trial for dead
            with look(address, table) as study:
                study.tell(study.trials[-1].number, state=optuna.trial.TrialState.FAIL)
        return fit_nothing(*arguments, **options)

    monkeypatch.setattr(search, "fit_folds", sleep_once)
    assert len(find(table, address, 2).numbers["trials"]) == 2
    assert count_states(address, table)["FAIL"] == 1


def test_nobody_waits_for_an_interrupted_trial(table, journal, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "fit_folds", interrupt)
    with pytest.raises(KeyboardInterrupt):
        find(table, journal, 2)
    assert count_states(journal, table) == {"FAIL": 1}


def test_who_comes_too_late_starts_no_trial(table, journal, monkeypatch):
    list_living, looks, run = studies._list_living, [], []

    def miss_the_first(study):  # another machine asks for the last trial just after this one has looked
        looks.append(1)
        return list_living(study) if len(looks) > 1 else []

    with look(journal, table) as study:
        first = study.ask()
        monkeypatch.setattr(studies, "_list_living", miss_the_first)
        monkeypatch.setattr(studies.time, "sleep", lambda _: study.tell(first, 0.5, skip_if_finished=True))
        assert list(studies.run_shared(study, lambda *trial: run.append(trial), trials=1)) == [None]
    assert run == []
    assert count_states(journal, table) == {"COMPLETE": 1, "FAIL": 1}


def test_timeout_ends_a_shared_search_after_one_trial(table, journal):
    assert len(find(table, journal, 50, timeout=0).numbers["trials"]) == 1


def test_a_shared_study_of_another_search_is_refused_and_a_second_one_named(table, tmp_path):
    address = f"sqlite:///{tmp_path / 'shared.study'}"
    find(table, address, 1)
    other = table.take(np.arange(40))
    with pytest.raises(StudyFileError, match=r"belongs to another search .*: name another study after a #"):
        find(other, address, 1)
    assert find(other, f"{address}#second", 1).parameters == DEFAULT_PARAMETERS
    assert len(find(table, address, 1).numbers["trials"]) == 1


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_a_file_of_somebody_else_is_refused_and_kept(table, tmp_path, scheme):
    (tmp_path / "notes.txt").write_text("dear diary, " * 100)
    with pytest.raises(StudyFileError, match=r"notes.txt cannot be read as one or written: name a file that does not"):
        find(table, f"{scheme}:///{tmp_path / 'notes.txt'}", 1)
    assert (tmp_path / "notes.txt").read_text() == "dear diary, " * 100
    with pytest.raises(StudyFileError, match=r"cannot be read as one or written|unable to open database file"):
        find(table, f"{scheme}:///{tmp_path / 'nowhere' / 's.db'}", 1)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite://", r"expected the address of a study such as sqlite:///FILE, .*, got sqlite://"),
        ("carrier-pigeon://me:secret@host/x", r"expected the address of a study .*, got carrier-pigeon://"),
        ("postgresql://me:secret@host:port/x?password=secret", r"expected the address of a study .*, got postgresql"),
        ("sqlite+unheard://me:secret@host/x", r"sqlite"),
        (
            "firebird+x://me:secret@host/db?token=secret",
            r"expected the address of a study such as .*, got firebird\+x://me:\*\*\*@host/db$",
        ),
    ],
)
def test_a_bad_address_is_one_sentence_without_its_password(table, address, message):
    with pytest.raises(StudyFileError, match=message) as caught:
        find(table, address, 1)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("Failed to import"), r"needs a library that is not installed .*: install it, or name another"),
        (RuntimeError("the schema is newer"), r"was made by another version of Optuna \(the schema is newer\)"),
        (
            sqlalchemy.exc.OperationalError("SELECT", {}, Exception("cannot connect with s%3Acret or s:cret\nmore")),
            r"cannot be used \(cannot connect with .*\): check that its database is there",
        ),
    ],
)
def test_a_database_that_fails_is_one_sentence_without_its_password(table, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(optuna.storages, "RDBStorage", fail)
    with pytest.raises(StudyFileError, match=message) as caught:
        find(table, "postgresql://me:s%3Acret@host/db", 1)
    shown = f"{caught.value} {caught.value.__cause__} {caught.value.__suppress_context__}"
    assert "postgresql://me:***@host/db" in shown
    assert "cret" not in shown
    assert "\n" not in shown
    assert caught.value.__suppress_context__


def test_a_database_that_goes_away_ends_the_search_with_a_sentence(table, tmp_path, monkeypatch):
    address = f"sqlite:///{tmp_path / 'shared.study'}"

    def lose(*arguments, **options):
        with sqlalchemy.create_engine(address).begin() as connection:
            connection.execute(sqlalchemy.text("DROP TABLE trial_intermediate_values"))
        return fit_nothing(*arguments, **options)

    monkeypatch.setattr(search, "fit_folds", lose)
    with pytest.raises(StudyFileError, match=r"cannot be used \(no such table"):
        find(table, address, 2)


def test_an_address_is_text_and_a_path_is_a_file(tmp_path):
    assert studies.is_address("postgresql://host/db")
    assert not any(map(studies.is_address, (None, "s.db", tmp_path, "C:/s.db")))
