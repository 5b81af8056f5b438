"""Rows -> CSV that programs read back exactly and that no spreadsheet runs.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break for a formula, and anybody
can name a file so. Such a path, which is relative, gets ``./`` before it: it names the same file in every program. Any
other text gets a ``'``, which `restore_row` removes.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

_PATHS = ("path", "file")  # columns
_FORMULA = re.compile(r"[=+\-@\t\r\n]")
_MARKED = re.compile(r"'+[=+\-@\t\r\n]")


def write_rows(stream: TextIO, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write CSV, each row as it arrives.

    Parameters
    ----------
    stream : text stream
        Opened with ``newline=""``.
    columns : sequence of str
        The first line. A column named ``path`` or ``file`` holds paths.
    rows : iterable of iterables
        Cells in the order of `columns`. None is an empty cell; only str can be taken for formulas.

    Examples
    --------
    >>> import sys
    >>> write_rows(sys.stdout, ["path", "scene", "strength_px"], [["=a.jpg", "=a", -1.5]])
    path,scene,strength_px
    ./=a.jpg,'=a,-1.5
    """
    writer = csv.writer(_Quoted(stream), lineterminator="\r\n")
    writer.writerow(columns)
    guards = [_guard_path if name in _PATHS else _guard_text for name in columns]
    for row in rows:
        writer.writerow([guard(cell) for guard, cell in zip(guards, row, strict=True)])


def restore_row(row: dict[str, str]) -> dict[str, str]:
    """Undo what `write_rows` did to the texts of a row; a path stays as it is.

    Parameters
    ----------
    row : dict of str to str
        Column -> cell.

    Returns
    -------
    dict of str to str

    Examples
    --------
    >>> restore_row({"file": "'=a.jpg", "scene": "'=a", "tier": "'70s"})
    {'file': "'=a.jpg", 'scene': '=a', 'tier': "'70s"}
    """
    return {name: cell[1:] if name not in _PATHS and _MARKED.match(cell) else cell for name, cell in row.items()}


def _guard_path(cell: Any) -> Any:
    return f"./{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _guard_text(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and (_FORMULA.match(cell) or _MARKED.match(cell)) else cell


class _Quoted:
    """Ends lines with a line feed alone: the writer quotes a carriage return only where it is part of the line end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        self._stream.write(line.removesuffix("\r\n") + "\n")
