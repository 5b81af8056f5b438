"""Check output paths before a long job: nothing is replaced that is read, or that blurgate did not write."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from blurgate.errors import OutputError
from blurgate.files import check_writable, open_regular

RESERVED = ("labels.csv", "manifest.csv", "skipped.csv")  # what says in a folder of photos which of them is blurred

_HEAD = 2**16  # bytes that show what a file is
_PICTURE_HEAD = 2**10  # the same of a picture


def check_outputs(*, inputs: Iterable[Path | None] = (), **outputs: Path | None) -> None:
    """Check before a long job that its output files can be written, and that nothing is lost by it.

    Parameters
    ----------
    inputs : iterable of Path or None
        Files and folders that the job reads. No output may replace one, nor the labels or the manifest in a folder.
        Inputs may be read-only and may repeat.
    **outputs : Path or None
        Files to write, by what they will hold: a name out of `KINDS`. None is ignored.

    Raises
    ------
    ValueError
        If an output is named twice, is an input, or has another suffix than its kind.
    OutputError
        If an output is a folder, a pipe, a device or read-only, cannot be written, or would replace a file that is not
        one of ours of the same kind.

    Examples
    --------
    >>> check_outputs(gallery=Path("a.html"), report=Path("b/../a.html"))
    Traceback (most recent call last):
    ...
    ValueError: each output needs its own file, but a.html is named twice: choose another name
    """
    read = list(filter(None, inputs))
    known = {_identify(path) for path in read} | {_identify(path / name) for path in read for name in RESERVED}
    seen = set()
    for kind, path in outputs.items():
        if path is None:
            continue
        suffixes = KINDS[kind].suffixes
        if suffixes and path.suffix.lower() not in suffixes:
            raise ValueError(f"expected a file named {' or '.join(suffixes)}, got {path}: choose another name")
        if _identify(path) in known:
            raise ValueError(f"{path} is read and cannot be the output too: choose another name")
        if _identify(path) in seen:
            raise ValueError(f"each output needs its own file, but {path.name} is named twice: choose another name")
        seen.add(_identify(path))
        _check_replaceable(path, kind)
        check_writable(path)


def is_ours(path: Path, kind: str) -> bool:
    """Tell by its content whether a file is empty or one that blurgate wrote.

    Parameters
    ----------
    path : Path
        A file that exists.
    kind : str
        What it should hold, a name out of `KINDS`.

    Returns
    -------
    bool
    """
    return is_content_ours(_read_head(path), kind)


def is_content_ours(head: bytes, kind: str) -> bool:
    """Tell by its beginning, see `read_head`, whether content is empty or some that blurgate wrote.

    Parameters
    ----------
    head : bytes
    kind : str
        A name out of `KINDS`.

    Returns
    -------
    bool
    """
    return not head or re.match(KINDS[kind].content, head) is not None


def read_head(read_at: Callable[[int, int], bytes], size: int) -> bytes:
    """Read what shows what content is: its beginning, or of Parquet that of the schema.

    Parameters
    ----------
    read_at : callable
        Takes an offset and a length, and returns at most so many bytes.
    size : int
        Bytes in all.

    Returns
    -------
    bytes
    """
    head = read_at(0, _HEAD)
    if head.startswith(b"PAR1") and len(head) > 12:
        length = int.from_bytes(read_at(size - 8, 4), "little")
        return b"PAR1" + read_at(size - min(length + 8, size), _HEAD)
    return head


def is_picture_of_ours(path: str) -> bool:
    """Tell by its content whether a PNG is a map or another picture that blurgate made of a photo, and not empty."""
    if not path.lower().endswith(".png"):
        return False
    try:
        with open_regular(path) as stream:
            head = stream.read(_PICTURE_HEAD)
    except OSError:
        return False
    return any(re.match(KINDS[kind].content, head) for kind in ("map", "explanation"))


def _identify(path: Path) -> object:
    """Return what two names of one file share."""
    try:
        status = path.stat()
    except OSError:  # it does not exist, or is a link to itself
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _check_replaceable(path: Path, kind: str) -> None:
    if path.is_dir():
        raise OutputError(f"expected a file to write to, but {path} is a folder: choose another name")
    if not path.exists():
        return
    if not path.is_file():  # renaming the finished file would replace the pipe or device itself
        raise OutputError(
            f"expected a file to write to, but {path} is a pipe or a device: omit it, and redirect stdout instead"
        )
    if not (path.stat().st_mode & 0o222 and os.access(path, os.W_OK)):
        raise OutputError(f"{path} is read-only and is not replaced: choose another name, or make it writable")
    if not is_ours(path, kind):
        raise OutputError(
            f"{path} exists and is not {KINDS[kind].words} that blurgate wrote: choose another name, or delete it first"
        )


def _read_head(path: Path) -> bytes:
    """Read the beginning of a file as `read_head` does; of SQLite, the names of the tables."""
    with path.open("rb") as handle:

        def read_at(offset: int, length: int) -> bytes:
            handle.seek(offset)
            return handle.read(length)

        head = read_head(read_at, path.stat().st_size)
    return b"SQLite " + _list_tables(path) if head.startswith(b"SQLite format 3\0") else head


def _list_tables(path: Path) -> bytes:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            return " ".join(name for (name,) in database.execute("SELECT name FROM sqlite_master")).encode()
    except sqlite3.Error:
        return b"?"


class Kind(NamedTuple):
    """A kind of file that blurgate writes.

    Parameters
    ----------
    words : str
        What to call one.
    content : bytes
        Regular expression that matches the beginning of each, see `is_ours`.
    suffixes : tuple of str
        That one may have; empty for any.
    """

    words: str
    content: bytes
    suffixes: tuple[str, ...] = ()


def _with(*parts: bytes) -> bytes:
    """Match content that has all of the parts, in any order."""
    return b"(?s)" + b"".join(b"(?=.*%s)" % part for part in parts)


_CELL = rb"\"?[,;\t]\"?"  # between the names of columns, also as spreadsheets write them
_VERDICTS = (
    rb"(?:\xef\xbb\xbf)?\"?path" + _CELL + rb"decision" + _CELL + rb"probability",  # CSV
    rb'\{"path": ".*"decision": ".*"probability": ',  # JSON lines
    rb"decision +P +",  # text
    rb"PAR1" + _with(b"path", b"decision", b"probability", b"strength_px").removeprefix(b"(?s)"),
)
_TABLE = (
    rb"(?:\xef\xbb\xbf)?\"?path" + _CELL + rb"label" + _CELL + rb"scene" + _CELL + rb"[^\n]*variance_of_laplacian",
    rb"PAR1" + _with(b"path", b"label", b"scene", b"variance_of_laplacian").removeprefix(b"(?s)"),
)
_PNG = rb"(?s)\x89PNG\r\n\x1a\n"

KINDS = {
    "verdicts": Kind("a file of verdicts", b"(?s)" + b"|".join(_VERDICTS)),
    "gallery": Kind(
        "a gallery",
        rb'(?s)<!doctype html>.*(?:<meta name="generator" content="blurgate gallery"|<title>blurgate: photos scanned<)',
        (".html",),
    ),
    "report": Kind("a report", rb'(?s)<!doctype html>.*<meta name="generator" content="blurgate report"', (".html",)),
    "numbers": Kind("the numbers of a report", _with(rb'"n_blurred":', rb'"roc_auc":', rb'"threshold":'), (".json",)),
    "model": Kind("a model", rb"(?s)PK\x03\x04.{26}card\.json"),
    "preview": Kind("a preview", _PNG + rb".*tEXtSoftware\0blurgate(?! )", (".png",)),
    "map": Kind("a map", _PNG + rb".{8}.{8}\x08\0.{7}.{4}tEXtSoftware\0blurgate map", (".png",)),  # 8 bits, gray
    "explanation": Kind(
        "an explanation", _PNG + rb".{8}.{8}\x08\x02.{7}.{4}tEXtSoftware\0blurgate explanation", (".png",)
    ),
    "explanations": Kind(
        "a page of explanations",
        rb'(?s)<!doctype html>.*<meta name="generator" content="blurgate explanations"',
        (".html",),
    ),
    "table": Kind("a table of features", b"(?s)" + b"|".join(_TABLE), (".csv", ".parquet")),
    "study": Kind("a study", rb"SQLite (?:(?:stud|trial|version_info|alembic|ix_|sqlite_autoindex_)\w*(?: |$))*$"),
}
