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
            (os.fsencode(path), status.st_size, status.st_mtime_ns, self._judge),
        ).fetchone()
        if not row:
            return None
        fields = json.loads(row[0])
        fields.pop("decision", None)  # version 0.1.0 saved verdicts, decided at threshold 0, instead of evidence
        return Evidence(path=path, **fields)

    def add(self, judged: Iterable[tuple[os.stat_result, Evidence]]) -> None:
        """Save evidence, each with the status that its file had before it was read, in one transaction."""
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
    try:
        with closing(sqlite3.connect(path, check_same_thread=False)) as database:
            database.execute("PRAGMA journal_mode = WAL")  # if the process is killed, only whole rows remain
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_TABLE)
            yield Records(database, judge)
    except sqlite3.OperationalError as error:  # a full disk, no permission
        raise OutputError(
            f"cannot save records to {path} ({error}): free disk space or choose another output"
        ) from error
    except sqlite3.Error as error:
        raise OutputError(f"{path} is damaged or not a records file ({error}): delete it and scan again") from error


def delete_records(path: str | os.PathLike[str]) -> None:
    """Delete a records file and its side files, if they exist."""
    for name in (f"{os.fspath(path)}{end}" for end in ("", "-wal", "-shm", "-journal")):
        Path(name).unlink(missing_ok=True)
