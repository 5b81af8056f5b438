"""Path or address -> the study that stores a search; how several searches share one."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from blurgate.errors import StudyFileError, needs_extra
from blurgate.files import hold
from blurgate.outputs import is_ours

with needs_extra("train", "Training or evaluating"):
    import optuna
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

_BEAT = 5.0  # seconds between signs of life of a trial that runs
_SILENCE = 60.0  # seconds without one after which others take its machine for dead
_PAUSE = 0.2  # seconds between looks at the trials of others
_TRIES = 5  # several that begin at once may all try to make the tables
_NAME = "blurgate"
_LIVES = "blurgate:beat"
_JOURNAL = "journal:///"

_NO_STUDY = (
    "expected a study file of blurgate, but {} cannot be read as one or written: name a file that does not exist yet"
)
_WANTED = "sqlite:///FILE, postgresql://USER@HOST/DATABASE, mysql://USER@HOST/DATABASE or journal:///FILE"
_OTHER_SEARCH = (
    "{} belongs to another search (other photos, features, folds or seed): {}, or use the same photos, features, folds "
    "and seed again"
)
_STATE = optuna.trial.TrialState


def is_address(study: str | os.PathLike[str] | None) -> bool:
    """Tell the address of a study that several searches can share from the path of a file.

    Examples
    --------
    >>> is_address("postgresql://me@server/searches"), is_address("search.db")
    (True, False)
    """
    return isinstance(study, str) and "://" in study


@contextmanager
def open_study(study: str | os.PathLike[str] | None, fingerprint: str) -> Iterator[Any]:
    """Create or resume the study of a search.

    A file is for one search at a time: nobody else may use it, and trials that were interrupted are marked as failed.
    An address is for any number of them at once. It is that of a database as SQLAlchemy takes it, ``sqlite:///FILE``,
    ``postgresql://USER:PASSWORD@HOST/DATABASE`` or ``mysql://...``, or ``journal:///FILE`` for a journal of Optuna's,
    which network file systems bear better than SQLite. After a ``#`` it may name the study, so that a database can hold
    several.

    Parameters
    ----------
    study : path, str or None
        None to keep it in memory.
    fingerprint : str
        Of all that the scores of a search depend on.

    Yields
    ------
    optuna.study.Study

    Raises
    ------
    StudyFileError
        If the study cannot be read or written, is none of ours, belongs to another search, or has a ``?`` in its path;
        or if its address cannot be used.
    OutputError
        If another process is using the study file.
    """
    if is_address(study):
        with _open_shared(str(study), fingerprint) as opened:
            yield opened
        return
    with _open_file(study) as storage:
        try:
            opened = _create(storage, _NAME)
            known = opened.user_attrs.get("fingerprint", fingerprint)
            if known == fingerprint:
                opened.set_user_attr("fingerprint", fingerprint)
            interrupted = opened.get_trials(deepcopy=False, states=(_STATE.RUNNING,))
        except Exception as error:  # SQLAlchemy and SQLite raise many unrelated classes
            raise StudyFileError(_NO_STUDY.format(study)) from error
        if known != fingerprint:
            raise StudyFileError(_OTHER_SEARCH.format(study, "name a file that does not exist yet"))
        for trial in interrupted:
            opened.tell(trial.number, state=_STATE.FAIL)
        yield opened


def count_finished(study: Any) -> int:
    """Count the trials that were scored, on all folds or until they were hopeless."""
    return len(study.get_trials(deepcopy=False, states=(_STATE.COMPLETE, _STATE.PRUNED)))


def run_shared(
    study: Any, run: Callable[[Any, int], None], *, trials: int, deadline: float | None = None
) -> Iterator[None]:
    """Run trials of a study as others do, until all together have finished enough of them.

    Nobody starts a trial that would be one too many; who finds that others are running the last ones waits for them. A
    trial without a sign of life for a minute counts as failed, and somebody runs another in its place.

    Parameters
    ----------
    study : optuna.study.Study
        Opened by its address.
    run : callable
        Takes a trial, and how many trials came before it; runs it and tells the study.
    trials : int
        How many there are to be in the study.
    deadline : float, optional
        Time of `time.monotonic` from which on no trial starts, once one has finished.

    Yields
    ------
    None
        Once for each trial that has finished, whoever has run it.
    """
    watch = _Watch()
    shown = count_finished(study)
    while True:
        finished = count_finished(study)
        while shown < min(finished, trials):
            shown += 1
            yield
        if finished >= trials or (finished and deadline is not None and time.monotonic() >= deadline):
            return
        watch.bury(study)
        if len(_list_living(study)) >= trials:
            time.sleep(_PAUSE)
            continue
        trial = study.ask()
        place = sum(each.number < trial.number for each in _list_living(study))
        if place >= trials:  # others were quicker
            study.tell(trial, state=_STATE.FAIL)
            continue
        with suppress(optuna.exceptions.UpdateFinishedTrialError), _beat(study, trial):
            run(trial, place)  # suppressed: this machine slept, and others took it for dead


class _Watch:
    """Finds trials whose machine has died: by its own clock, since those of other machines may be wrong."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, float]] = {}  # number of a trial -> its last sign of life, and when it came

    def bury(self, study: Any) -> None:
        """Mark trials as failed that have been silent for too long."""
        now = time.monotonic()
        running = study.get_trials(deepcopy=False, states=(_STATE.RUNNING,))
        signs = {trial.number: trial.user_attrs.get(_LIVES) for trial in running}
        for number, sign in signs.items():
            last, since = self._seen.get(number, (sign, now))
            if last != sign:
                since = now
            elif now - since > _SILENCE:
                with suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):  # it, or another, was quicker
                    study.tell(number, state=_STATE.FAIL)
            self._seen[number] = sign, since
        self._seen = {number: self._seen[number] for number in signs}


@contextmanager
def _beat(study: Any, trial: Any) -> Iterator[None]:
    """Give signs of life of a trial while it runs; one that is interrupted fails at once: nobody waits for it."""
    ended = threading.Event()

    def beat() -> None:
        count = 0
        while not ended.wait(_BEAT):
            count += 1
            with suppress(Exception):  # a database that is gone for good ends the search itself
                trial.set_user_attr(_LIVES, count)
        with suppress(Exception):
            study._storage.remove_session()  # that of this thread

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        with suppress(Exception):
            study.tell(trial, state=_STATE.FAIL)
        raise
    finally:
        ended.set()
        thread.join()


def _list_living(study: Any) -> list[Any]:
    states = (_STATE.COMPLETE, _STATE.PRUNED, _STATE.RUNNING)
    living: list[Any] = study.get_trials(deepcopy=False, states=states)
    return living


def _create(storage: Any, name: str) -> Any:
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
        load_if_exists=True,
    )


@contextmanager
def _open_file(path: str | os.PathLike[str] | None) -> Iterator[Any]:
    """Open the study's SQLite file, and close it even after an error; yields None, which Optuna keeps in memory."""
    if path is None:
        yield None
        return
    path = Path(path).resolve()
    if "?" in str(path):
        raise StudyFileError(f"the path of a study file must not contain ?, got {path}: choose another name")
    if path.is_dir() or (path.exists() and not is_ours(path, "study")):
        raise StudyFileError(_NO_STUDY.format(path))
    with hold(path):
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        except Exception as error:  # as above
            raise StudyFileError(_NO_STUDY.format(path)) from error
        with closing(_Closing(storage)):
            yield storage


@contextmanager
def _open_shared(address: str, fingerprint: str) -> Iterator[Any]:
    base, _, name = address.partition("#")
    shown = _hide_secrets(base)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            with _open_storage(base, shown) as storage:
                study = _create(storage, name or _NAME)
                study.set_user_attr("fingerprint", study.user_attrs.get("fingerprint", fingerprint))
                if study.user_attrs["fingerprint"] != fingerprint:
                    raise StudyFileError(_OTHER_SEARCH.format(shown, "name another study after a #, as in ...#second"))
                yield study
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StudyFileError(
            f"the study at {shown} cannot be used ({_say_why(error, base)}): check that its database is there and can "
            "be written to; what has been searched is in it"
        ) from None  # the chain may show the password


@contextmanager
def _open_storage(address: str, shown: str) -> Iterator[Any]:
    if address.startswith(_JOURNAL):
        yield _open_journal(Path(address.removeprefix("journal://")))
        return
    if address.startswith("sqlite"):
        _check_sqlite(address, shown)
    storage = _connect(address, shown)
    with closing(_Closing(storage)):
        yield storage


def _connect(address: str, shown: str) -> Any:
    options = {"connect_args": {"timeout": 60}} if address.startswith("sqlite") else {"pool_pre_ping": True}
    for left in reversed(range(_TRIES)):
        try:
            return optuna.storages.RDBStorage(address, engine_kwargs=options)
        except (NoSuchModuleError, ArgumentError, ValueError):
            raise StudyFileError(f"expected the address of a study such as {_WANTED}, got {shown}") from None
        except ImportError as error:
            cause = error.__cause__ or error.__context__ or error
            raise StudyFileError(
                f"the study at {shown} needs a library that is not installed ({cause}): install it, or name another "
                "with the address, as in postgresql+psycopg:// or mysql+pymysql://"
            ) from None
        except RuntimeError as error:
            raise StudyFileError(f"the study at {shown} was made by another version of Optuna ({error})") from None
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if not left or not re.search("already exists|duplicate|unique", str(error), flags=re.I):
                raise
            time.sleep(_PAUSE)  # others begin too, and have just made the tables
    raise AssertionError


class _Closing:
    """Closes a storage of Optuna's, which has no such method."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def close(self) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()


def _check_sqlite(address: str, shown: str) -> None:
    """Check that SQLite's file is not somebody else's."""
    try:
        database = sqlalchemy.make_url(address).database
    except (ArgumentError, ValueError):
        database = None
    if not database or database == ":memory:":
        raise StudyFileError(f"expected the address of a study such as {_WANTED}, got {shown}")
    path = Path(database)
    if path.is_dir() or (path.exists() and not is_ours(path, "study")):
        raise StudyFileError(_NO_STUDY.format(shown))


def _open_journal(path: Path) -> Any:
    from optuna.storages.journal import JournalFileBackend

    try:
        with path.open("ab+") as stream:  # creates it, or says why it cannot be written
            stream.seek(0)
            first = stream.readline(2**16)
        ours = not first or "op_code" in json.loads(first)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path))) if ours else _refuse(path)
    except (OSError, ValueError, TypeError):
        return _refuse(path)


def _refuse(path: Path) -> Any:
    raise StudyFileError(_NO_STUDY.format(path))


def _hide_secrets(address: str) -> str:
    """Say where a study is, without the password and without what follows a ``?``, which may be one too."""
    try:
        return sqlalchemy.make_url(address).set(query={}).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return f"{address.partition('://')[0]}://..."


def _say_why(error: BaseException, address: str) -> str:
    """Take the first line of what a database says, without any secret of the address."""
    cause: BaseException = error
    while (inner := getattr(cause, "orig", None) or cause.__cause__) is not None:
        cause = inner
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    said = lines[0]
    secrets = [address, *re.findall(r"://[^@/]*?:([^@]*)@", address), *address.partition("?")[2:]]
    with suppress(ArgumentError, ValueError):
        url = sqlalchemy.make_url(address)
        secrets.append(str(url.password or ""))
        secrets += [each for value in url.query.values() for each in ([value] if isinstance(value, str) else value)]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        said = said.replace(secret, "***")
    return said
