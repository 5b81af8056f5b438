"""Saves evidence during a scan so that an interrupted scan can resume."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from blurgate.errors import OutputError
from blurgate.judging.verdicts import Evidence

_TABLE = """
CREATE TABLE IF NOT EXISTS verdicts (
    path BLOB PRIMARY KEY, size INTEGER, modified_ns INTEGER, judge TEXT, verdict TEXT
) WITHOUT ROWID
"""
_NO_RECORDS = "{path} is damaged or not a records file ({why}): move it away, or choose another output"
_COLUMNS = ["path", "size", "modified_ns", "judge", "verdict"]


class Records:
    """Stores evidence by the photo's path, size and modification time, and by the model.

    Parameters
    ----------
    database : sqlite3.Connection
    judge : str
        Identifies what the evidence depends on besides the photo: blurgate's version and the model's fingerprint.
    """

    def __init__(self, database: sqlite3.Connection, judge: str) -> None:
        self._database, self._judge = database, judge

    def find(self, path: str, status: os.stat_result) -> Evidence | None:
        """Look up the evidence of a photo, if its file has not changed since.

        Parameters
        ----------
        path : str
        status : os.stat_result
            The file's current status.

        Returns
        -------
        Evidence or None
        """
        row = self._database.execute(
            "SELECT verdict FROM verdicts WHERE path = ? AND size = ? AND modified_ns = ? AND judge = ?",
            (os.fsencode(path), status.st_size, _modified(status), self._judge),
        ).fetchone()
        if not row:
            return None
        fields = json.loads(row[0])
        fields.pop("decision", None)  # version 0.1.0 saved verdicts, decided at threshold 0, instead of evidence
        part, doubts = fields.pop("part", None), fields.pop("doubts", ())
        return Evidence(path=path, **fields, part=part and tuple(part), doubts=tuple(doubts))

    def add(self, judged: Iterable[tuple[os.stat_result, Evidence]]) -> None:
        """Save evidence, each with the status that its file had before it was read, in one transaction."""
        rows = [
            (
                os.fsencode(evidence.path),
                status.st_size,
                _modified(status),
                self._judge,
                json.dumps({name: value for name, value in asdict(evidence).items() if name != "path"}),
            )
            for status, evidence in judged
        ]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", rows)


@contextmanager
def open_records(path: str | os.PathLike[str], judge: str) -> Iterator[Records]:
    """Open a records file, a SQLite database; create it if missing.

    Parameters
    ----------
    path : path
    judge : str
        See `Records`.

    Yields
    ------
    Records

    Raises
    ------
    OutputError
        If the file is not a records file, or cannot be written. Writes within the context raise it too.
    """
    _require_records(path)
    try:
        with closing(sqlite3.connect(path, check_same_thread=False)) as database:
            database.execute("PRAGMA journal_mode = WAL")  # if the process is killed, only whole rows remain
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_TABLE)
            yield Records(database, judge)
    except sqlite3.OperationalError as error:  # a full disk, no permission
        raise OutputError(
            f"cannot save records to {path} ({error}): check disk space and permissions, or choose another output"
        ) from error
    except sqlite3.Error as error:
        raise OutputError(_NO_RECORDS.format(path=path, why=error)) from error


def delete_records(path: str | os.PathLike[str]) -> None:
    """Delete a records file and its side files, if they exist.

    Raises
    ------
    OutputError
        If the file exists but is not a records file; it stays as it is.
    """
    _require_records(path)
    for name in (f"{os.fspath(path)}{end}" for end in ("", "-wal", "-shm", "-journal")):
        Path(name).unlink(missing_ok=True)


def _modified(status: os.stat_result) -> int:
    """Wrap the time of a file to the 64 bits that SQLite holds: a file can claim to be from the year 2300."""
    return (status.st_mtime_ns + 2**63) % 2**64 - 2**63


def _require_records(path: str | os.PathLike[str]) -> None:
    """Refuse a file that exists and is not a records file, without changing it."""
    path = Path(path)
    if not path.exists():
        return
    if not path.is_file():
        raise OutputError(_NO_RECORDS.format(path=path, why="it is not a file"))
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            columns = [row[1] for row in database.execute("PRAGMA table_info(verdicts)")]
    except sqlite3.OperationalError as error:
        raise OutputError(f"cannot open {path} ({error}): check your permissions, or choose another output") from error
    except sqlite3.Error as error:
        raise OutputError(_NO_RECORDS.format(path=path, why=error)) from error
    if tables and (tables != ["verdicts"] or columns != _COLUMNS):  # a scan killed at its start leaves it empty
        raise OutputError(_NO_RECORDS.format(path=path, why="it is another program's database"))
