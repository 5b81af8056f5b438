"""Saves evidence, and where photos were moved, during a scan, so that an interrupted scan can resume.

A records file may be damaged or a stranger's. Its schema must be ours to the letter, so that no trigger, view or
expression of it runs, and each row carries a digest of itself. All that a row says is checked: a photo whose row is bad
is judged again, but a bad row of a moved photo ends the scan, since nothing else knows of that photo.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from blurgate.errors import OutputError, escape_unprintable
from blurgate.files import locate
from blurgate.judging.verdicts import Evidence
from blurgate.photos.addresses import Status

_WHAT = "size INTEGER, modified_ns INTEGER, judge TEXT, verdict TEXT"
_SCHEMA = {
    "TABLE verdicts": f"(path BLOB PRIMARY KEY, {_WHAT}) WITHOUT ROWID",
    "TABLE moves": f"(number INTEGER PRIMARY KEY, place BLOB, target BLOB, {_WHAT})",
    "INDEX moves_by_place": "ON moves (place, number)",
}
_NO_RECORDS = "{path} is damaged or not a records file ({why}): move it away, or choose another output"
_CANNOT_USE = (  # a full disk, no permission
    "cannot use the records {path} ({why}): check disk space and permissions, or choose another output"
)
_SIDE_FILES = ("-wal", "-shm")
_PAGE = 500  # moves read at a time: a query left open would let the side file grow
_LONGEST = 2**20  # bytes of a row
_LONGEST_TEXT = 500  # characters of a kind, a reason or a doubt
_LONGEST_WHY = 100  # characters of what SQLite says of a stranger's schema
_ROUNDING = 0.01  # of probabilities that add up to 1
_MOST_PX = 2**20  # pixels of a strength or a length
_HALF_TURN = 180  # degrees
_DIGEST = 8  # bytes
_NUMBERS = ("float | None", "int | None")
_SAVED = tuple(each.name for each in fields(Evidence) if each.name != "path")  # asdict would copy all that they hold


@dataclass(frozen=True, slots=True)
class Move:
    """A photo that an earlier scan moved, or was about to move.

    Parameters
    ----------
    number : int
        Of all moves in the records, from 1.
    below : str
        Where it was, relative to the folder that was asked about; empty for the asked file itself.
    target : str
        Where it was moved to.
    size, modified_ns : int
        Of its file before.
    evidence : Evidence or None
        Without its path; None if another model found it.
    """

    number: int
    below: str
    target: str
    size: int
    modified_ns: int
    evidence: Evidence | None

    def fits(self, status: os.stat_result) -> bool:
        """Return True if a file has the size and time of the photo that was moved."""
        return (status.st_size, _modified(status)) == (self.size, self.modified_ns)


class Records:
    """Stores evidence by the photo's path, size and modification time, and by its judge.

    A judge identifies what evidence depends on besides the photo: blurgate's version and the model's fingerprint.

    Parameters
    ----------
    database : sqlite3.Connection
    path : path
        The file, for messages.
    anew : bool
        True to find nothing: every photo is judged again, and its row replaced.
    """

    def __init__(self, database: sqlite3.Connection, path: str | os.PathLike[str], *, anew: bool) -> None:
        self._database, self._path, self._anew = database, path, anew
        query = (
            "SELECT min(number), max(number), count(*), sum(typeof(place) || typeof(target) = 'blobblob') FROM moves"
        )
        first, last, count, sound = database.execute(query).fetchone()
        if count and (first, last, sound) != (1, count, count):
            raise self._damaged("rows of moved photos are missing")
        self.moved_before: int = count  # photos that earlier scans moved, or were about to move
        self._last: int = count
        self._unsure: int = count  # the move that the earlier scan may not have ended; 0 if there is none

    def find(self, path: str, status: os.stat_result | Status, judge: str) -> Evidence | None:
        """Look up the evidence of a photo, if its file has not changed since.

        Parameters
        ----------
        path : str
        status : os.stat_result
            The file's current status.
        judge : str

        Returns
        -------
        Evidence or None
            None too if the row is damaged.
        """
        if self._anew:
            return None
        key = _key(path, status, judge)
        row = self._database.execute(
            "SELECT verdict FROM verdicts WHERE path = ? AND size = ? AND modified_ns = ? AND judge = ?", key
        ).fetchone()
        return _parse(row[0], key, path) if row else None

    def add(self, judged: Iterable[tuple[os.stat_result | Status, Evidence]], judge: str) -> None:
        """Save evidence in one transaction.

        Parameters
        ----------
        judged : iterable of (os.stat_result, Evidence)
            Each with the status that its file had before it was read.
        judge : str
        """
        keys = [(_key(evidence.path, status, judge), evidence) for status, evidence in judged]
        rows = [(*key, _format(evidence, key)) for key, evidence in keys]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)", rows)

    def count(self) -> int:
        """Count the photos whose evidence is saved."""
        count: int = self._database.execute("SELECT count(*) FROM verdicts").fetchone()[0]
        return count

    def intend(self, path: str, target: str) -> None:
        """Save that a photo is about to be moved, with its evidence.

        Parameters
        ----------
        path : str
            Of a photo whose evidence is saved.
        target : str
            Absolute, without links.

        Raises
        ------
        OutputError
            If the evidence is gone.
        """
        row = self._database.execute(
            "SELECT size, modified_ns, judge, verdict FROM verdicts WHERE path = ?", (os.fsencode(path),)
        ).fetchone()
        evidence = _parse(row[3], (os.fsencode(path), *row[:3]), path) if row else None
        if evidence is None:
            raise OutputError(_NO_RECORDS.format(path=self._path, why=f"it has lost the row of {path}"))
        key = (self._last + 1, _encode(locate(path)), os.fsencode(target), *row[:3])
        with self._database:
            self._database.execute("INSERT INTO moves VALUES (?, ?, ?, ?, ?, ?, ?)", (*key, _format(evidence, key)))
        self._last += 1

    def forget_last(self) -> None:
        """Forget the last intention: that photo was not moved."""
        with self._database:
            self._database.execute("DELETE FROM moves WHERE number = ?", (self._last,))
        self._last -= 1
        self.moved_before = min(self.moved_before, self._last)

    def list_moves(self, root: str, judge: str) -> Iterator[Move]:
        """List what earlier scans moved away from a place, in the order in which a walk finds photos.

        Parameters
        ----------
        root : str
            A file or a folder; either may be gone.
        judge : str

        Yields
        ------
        Move

        Raises
        ------
        OutputError
            If a row is damaged.
        """
        if not self._anew and self.moved_before:
            folder, file = _name_places(root)
            yield from self._read_moves(file, file + b"\0", file, judge)
            yield from self._read_moves(folder, folder[:-1] + b"\1", folder, judge)

    def find_last(self, root: str) -> Move | None:
        """Find the last move of the earlier scan, once, if it was away from `root`: it may not have taken place."""
        if self._anew or not self._unsure:
            return None
        row = self._database.execute("SELECT * FROM moves WHERE number = ?", (self._unsure,)).fetchone()
        folder, file = _name_places(root)
        if row[1] != file and not row[1].startswith(folder):
            return None
        self._unsure = 0
        return self._to_move(row, file if row[1] == file else folder, "")

    def moved_elsewhere(self, folder: str) -> bool:
        """Return True if an earlier scan moved photos, but not into this folder, an absolute path without links."""
        low = os.fsencode(os.path.join(folder, ""))
        query = "SELECT 1 FROM moves WHERE NOT (target >= ? AND target < ?) LIMIT 1"
        return self._database.execute(query, (low, low[:-1] + bytes([low[-1] + 1]))).fetchone() is not None

    def _read_moves(self, low: bytes, end: bytes, prefix: bytes, judge: str) -> Iterator[Move]:
        place, number = low, 0
        query = (
            "SELECT * FROM moves WHERE (place, number) > (?, ?) AND place < ? AND number <= ? "
            "ORDER BY place, number LIMIT ?"
        )
        while rows := self._database.execute(query, (place, number, end, self.moved_before, _PAGE)).fetchall():
            for row in rows:
                yield self._to_move(row, prefix, judge)
            place, number = rows[-1][1], rows[-1][0]

    def _to_move(self, row: tuple[Any, ...], prefix: bytes, judge: str) -> Move:
        *key, content = row
        number, place, target, size, modified_ns, found_by = key
        evidence = _parse(content, tuple(key), "")
        is_sound = b"\0" not in target and isinstance(size, int) and isinstance(modified_ns, int)
        if evidence is None or not is_sound:
            raise self._damaged(f"row {number} of moved photos")
        try:
            below = place.removeprefix(prefix).replace(b"\0", os.sep.encode()).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise self._damaged(f"row {number} of moved photos") from None
        if below and {"", os.curdir, os.pardir} & set(below.split(os.sep)):
            raise self._damaged(f"row {number} of moved photos")
        same = evidence if found_by == judge else None
        return Move(number, below, os.fsdecode(target), size, modified_ns, same)

    def _damaged(self, why: str) -> OutputError:
        return OutputError(_NO_RECORDS.format(path=self._path, why=why))


@contextmanager
def open_records(path: str | os.PathLike[str], *, anew: bool = False) -> Iterator[Records]:
    """Open a records file, a SQLite database; create it if missing, and delete it if nothing gets saved.

    Several scans may save evidence at the same time. A caller that moves photos holds the output, see `blurgate.files`.

    Parameters
    ----------
    path : path
    anew : bool
        See `Records`.

    Yields
    ------
    Records

    Raises
    ------
    OutputError
        If the file is not a records file, is damaged, or cannot be written. Writes within the context raise it too.
    """
    path = Path(path)
    is_new, is_empty = _require_records(path), True
    try:
        with _name_errors(path), closing(_connect(path)) as database:
            if is_new:
                database.execute("PRAGMA journal_mode = MEMORY")  # the next line would make a journal of its own
            database.execute("PRAGMA journal_mode = WAL")  # if the process is killed, only whole rows remain
            database.execute("PRAGMA synchronous = NORMAL")
            with database:
                for name, rest in _SCHEMA.items():
                    database.execute(f"CREATE {name.replace(' ', ' IF NOT EXISTS ')} {rest}")
            try:
                yield Records(database, path, anew=anew)
            finally:
                query = "SELECT 1 FROM verdicts UNION ALL SELECT 1 FROM moves LIMIT 1"
                is_empty = not database.execute(query).fetchone()
    finally:
        if is_new and is_empty:
            _remove(path)


def delete_records(path: str | os.PathLike[str]) -> None:
    """Delete a records file and its side files, if they exist.

    Raises
    ------
    OutputError
        If the file exists but is not a records file; it stays as it is.
    """
    path = Path(path)
    _require_records(path)
    _remove(path)


def _require_records(path: Path) -> bool:
    """Refuse a file that is not a records file, or is damaged, without changing it; True if there is none yet."""
    journal = path.with_name(f"{path.name}-journal")
    if os.path.lexists(journal):  # rolling it back could delete any file that it names
        raise OutputError(f"{journal} lies beside the records of a scan, but blurgate makes no such file: delete it")
    if not os.path.lexists(path):
        for side in filter(os.path.lexists, _list_side_files(path)):  # SQLite would delete it
            raise OutputError(
                f"{side} lies where a scan saves records, but without the file {path.name} that it would belong to: "
                "move it away, or choose another output"
            )
        return True
    if path.is_symlink() or not path.is_file():
        raise OutputError(_NO_RECORDS.format(path=path, why="it is a link or not a file"))
    if not path.stat().st_size:  # a scan that was killed at its start
        return True
    with _name_errors(path), closing(_connect(path, read_only=True)) as database:
        ours = {"".join(f"CREATE {name} {rest}".split()) for name, rest in _SCHEMA.items()}
        try:
            found = {"".join(str(sql).split()) for (sql,) in database.execute("SELECT sql FROM sqlite_master")}
        except UnicodeDecodeError as error:  # in SQLite's own message about the schema
            raise OutputError(_NO_RECORDS.format(path=path, why="its schema is not text")) from error
        if found - ours:
            raise OutputError(_NO_RECORDS.format(path=path, why="it is another program's database"))
        (fault,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if fault != "ok":
            raise OutputError(_NO_RECORDS.format(path=path, why="parts of it contradict each other"))
    return False


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database that may be a stranger's."""
    mode = "ro" if read_only else "rwc"
    database = sqlite3.connect(f"{Path(os.path.abspath(path)).as_uri()}?mode={mode}", uri=True, check_same_thread=False)  # noqa: PTH100 links are refused
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    database.text_factory = lambda text: text.decode("utf-8", "replace")  # a row that is not Unicode is a bad row
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        database.execute(f"PRAGMA {pragma}")
    return database


@contextmanager
def _name_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into ours; what it says may quote a stranger's schema."""
    try:
        yield
    except sqlite3.Error as error:
        why = escape_unprintable(str(error)[:_LONGEST_WHY])
        message = _CANNOT_USE if isinstance(error, sqlite3.OperationalError) else _NO_RECORDS
        raise OutputError(message.format(path=path, why=why)) from error


def _remove(path: Path) -> None:
    for each in (*_list_side_files(path), path):  # the records last, since side files are refused without them
        each.unlink(missing_ok=True)


def _list_side_files(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}{end}") for end in _SIDE_FILES]


def _key(path: str, status: os.stat_result | Status, judge: str) -> tuple[bytes, int, int, str]:
    return os.fsencode(path), status.st_size, _modified(status), judge


def _modified(status: os.stat_result | Status) -> int:
    """Wrap the time of a file to the 64 bits that SQLite holds: a file can claim to be from the year 2300."""
    return (status.st_mtime_ns + 2**63) % 2**64 - 2**63


def _name_places(root: str) -> tuple[bytes, bytes]:
    """Encode a path as the beginning of what is in a folder, and as a file."""
    return _encode(os.path.join(os.path.realpath(root), "")), _encode(locate(root))


def _encode(place: str) -> bytes:
    """Encode a path so that bytes sort as a walk does: by the names of its folders, one after the other."""
    return place.encode("utf-8", "surrogatepass").replace(os.sep.encode(), b"\0")


def _format(evidence: Evidence, key: tuple[Any, ...]) -> str:
    """Write evidence as JSON, less its path, after a digest of that and of the row's key."""
    text = json.dumps({name: getattr(evidence, name) for name in _SAVED})
    return _digest(text, key) + text


def _digest(text: str, key: tuple[Any, ...]) -> str:
    return hashlib.blake2b(f"{key!r} {text}".encode(errors="surrogatepass"), digest_size=_DIGEST).hexdigest()


def _parse(content: Any, key: tuple[Any, ...], path: str) -> Evidence | None:
    """Read what `_format` wrote; None if a bit of it has changed, or it says what no scan would."""
    if not isinstance(content, str):
        return None
    digest, text = content[: 2 * _DIGEST], content[2 * _DIGEST :]
    if digest != _digest(text, key):
        return None
    try:
        found = json.loads(text)
        part = found.pop("part")
        evidence = Evidence(path, **found, part=None if part is None else tuple(part))
        evidence = replace(evidence, doubts=tuple(evidence.doubts))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return evidence if _is_sound(evidence) else None


def _is_sound(evidence: Evidence) -> bool:
    """Check that all values are ones that a scan could have found."""
    texts = (evidence.kind, evidence.reason, *evidence.doubts)
    sides = (evidence.width, evidence.height)
    part = evidence.part
    return (
        all(isinstance(text, str) and len(text) <= _LONGEST_TEXT and (not text or text.isprintable()) for text in texts)
        and evidence.error == ""
        and (evidence.probability is None or (_is_number(evidence.probability) and 0 <= evidence.probability <= 1))
        and bool(evidence.reason) == (evidence.probability is None)
        and all(number is None or (_is_number(number) and number >= 0) for number in _list_numbers(evidence))
        and _is_blur_sound(evidence)
        and all(_is_size(side) for side in sides)
        and (part is None or (len(part) == 4 and all(map(_is_size, part)) and _is_inside(part, *sides)))
    )


def _is_blur_sound(evidence: Evidence) -> bool:
    """Check what an explainer has read, and the sizes: all None or numbers of at least 0."""
    chances = [evidence.p_defocus, evidence.p_motion, evidence.p_gaussian]
    known = [chance for chance in chances if chance is not None]
    bounds = [evidence.strength_low_px, evidence.strength_px, evidence.strength_high_px]
    told = [bound for bound in bounds if bound is not None]
    sizes = [evidence.sharp_to_px, evidence.judged_at_px, max(evidence.width or 0, evidence.height or 0)]
    named = [size for size in sizes if size is not None]
    return (
        len(known) in (0, 3)
        and (not known or abs(sum(known) - 1) < _ROUNDING)
        and told == sorted(told)
        and all(number <= _MOST_PX for number in (*told, evidence.own_strength_px or 0, evidence.length_px or 0))
        and (evidence.angle_deg or 0) <= _HALF_TURN
        and all(map(_is_size, named))
        and named == sorted(named)
    )


def _list_numbers(evidence: Evidence) -> Iterator[Any]:
    """List what must be None or a number of at least 0."""
    return (getattr(evidence, each.name) for each in fields(Evidence) if str(each.type) in _NUMBERS)


def _is_number(value: Any) -> bool:
    return (isinstance(value, float) and math.isfinite(value)) or _is_size(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_inside(part: tuple[int, ...], width: Any, height: Any) -> bool:
    left, top, right, bottom = part
    return bool(left < right <= width and top < bottom <= height)
