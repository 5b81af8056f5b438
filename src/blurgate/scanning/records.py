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


class Records:
    """Evidence by path, size and time of the photo, and by the model.

    Parameters
    ----------
    database : sqlite3.Connection
    judge : str
        Names what the evidence depends on beside the photo: the version of the program and the model's fingerprint.
    """

    def __init__(self, database: sqlite3.Connection, judge: str) -> None:
        self._database, self._judge = database, judge

    def find(self, path: str, status: os.stat_result) -> Evidence | None:
        """Look up the evidence on a photo, if the file has not changed since."""
        row = self._database.execute(
            "SELECT verdict FROM verdicts WHERE path = ? AND size = ? AND modified_ns = ? AND judge = ?",
            (os.fsencode(path), status.st_size, status.st_mtime_ns, self._judge),
        ).fetchone()
        if not row:
            return None
        known = json.loads(row[0])
        known.pop("decision", None)  # version 0.1.0 saved verdicts, decided at threshold 0
        return Evidence(path=path, **known)

    def add(self, judged: Iterable[tuple[os.stat_result, Evidence]]) -> None:
        """Save evidence, each with its file's status before it was read: all of it or none."""
        rows = [
            (
                os.fsencode(evidence.path),
                status.st_size,
                status.st_mtime_ns,
                self._judge,
                json.dumps({name: value for name, value in asdict(evidence).items() if name != "path"}),
            )
            for status, evidence in judged
        ]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", rows)


@contextmanager
def open_records(path: str | os.PathLike[str], judge: str) -> Iterator[Records]:
    """Open the file that keeps them, a SQLite database; make it where it is missing.

    Raises
    ------
    OutputError
        If it is no such file, or cannot be written, now or later.
    """
    try:
        with closing(sqlite3.connect(path, check_same_thread=False)) as database:
            database.execute("PRAGMA journal_mode = WAL")  # a killed process leaves whole rows
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_TABLE)
            yield Records(database, judge)
    except sqlite3.OperationalError as error:  # a full disk, no permission
        raise OutputError(
            f"{path} cannot keep what has been judged ({error}): make room, or write elsewhere"
        ) from error
    except sqlite3.Error as error:
        raise OutputError(f"{path} is damaged, or no such file ({error}): delete it and begin anew") from error


def delete_records(path: str | os.PathLike[str]) -> None:
    """Delete the file that keeps records, if there is one."""
    for name in (f"{os.fspath(path)}{end}" for end in ("", "-wal", "-shm", "-journal")):
        Path(name).unlink(missing_ok=True)
