"""Verdicts -> a file or a stream: text table, CSV, JSON lines, Parquet."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO

from blurgate.cells import write_rows
from blurgate.errors import escape_unprintable, needs_extra, require_extra
from blurgate.judging.verdicts import Verdict, worst_first

COLUMNS = tuple(field.name for field in fields(Verdict))

_COLOURS = {"blurred": "red", "undecided": "yellow", "sharp": "green", "error": "red"}
_HEAD = f"{'decision':9}  {'P':>5}  {'strength':>8}  {'size':>11}  "
_ROWS = 10_000  # per Parquet row group: that many are held in memory


@dataclass(frozen=True)
class Format:
    """An output format for verdicts.

    Parameters
    ----------
    write : callable
        Takes an iterable of verdicts and a stream, and writes each verdict as it arrives.
    suffix : str
        File name suffix, with its dot.
    binary : bool
        True if `write` needs a binary stream, False if it needs a text stream.
    """

    write: Callable[[Iterable[Verdict], Any], None]
    suffix: str
    binary: bool = False


def write_text(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    """Write aligned columns for a person to read; in colours on a terminal.

    Parameters
    ----------
    verdicts : iterable of Verdict
    stream : text stream
    """
    terminal = stream.isatty()
    columns = shutil.get_terminal_size().columns if terminal else None
    show = _colour_lines(stream) if terminal else lambda line, _: stream.write(line + "\n")
    show(f"{_HEAD}photo", "")
    for verdict in verdicts:
        show(_lay_out(verdict, columns), verdict.decision)


def _lay_out(verdict: Verdict, columns: int | None) -> str:
    """Lay out a verdict as a line; lines that would be wider than a terminal go on below the photo's name."""
    probability = "" if verdict.probability is None else f"{verdict.probability:.3f}"
    strength = "" if verdict.strength_px is None else f"{verdict.strength_px:.1f} px"
    size = "" if verdict.width is None else f"{verdict.width}x{verdict.height}"
    head = f"{verdict.decision:9}  {probability:>5}  {strength:>8}  {size:>11}  "
    name, error = escape_unprintable(verdict.path), escape_unprintable(verdict.error.removeprefix(f"{verdict.path} "))
    rest = [verdict.kind, verdict.reason, error, f"part {_join(verdict.part)}" if verdict.part else ""]
    line = "  ".join(filter(None, [head + name, *rest]))
    if columns is None or len(line) <= columns:
        return line
    below = textwrap.wrap(
        "  ".join(filter(None, rest)), max(columns - len(head), 20), break_long_words=False, break_on_hyphens=False
    )
    return "\n".join([head + name, *(" " * len(head) + each for each in below)])


def write_csv(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    """Write CSV with the columns of `Verdict`.

    Parameters
    ----------
    verdicts : iterable of Verdict
    stream : text stream
    """
    write_rows(stream, COLUMNS, (_to_row(verdict).values() for verdict in verdicts))


def write_jsonl(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    """Write one JSON object per line, with the fields of `Verdict`; null where a value is missing.

    Parameters
    ----------
    verdicts : iterable of Verdict
    stream : text stream
    """
    for verdict in verdicts:
        stream.write(json.dumps(_take_fields(verdict)) + "\n")


def write_parquet(verdicts: Iterable[Verdict], stream: IO[bytes], about: dict[bytes, bytes] | None = None) -> None:
    """Write Parquet with the columns of `Verdict`; bytes of a path that are not valid UTF-8 become escapes.

    Parameters
    ----------
    verdicts : iterable of Verdict
    stream : binary stream
    about : dict of bytes to bytes, optional
        Entries that are stored with the columns.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    with needs_extra("parquet", "Writing Parquet"):
        import pyarrow as pa
        from pyarrow import parquet

    numbers = {"int | None": pa.int64(), "float | None": pa.float64()}
    schema = pa.schema([(each.name, numbers.get(str(each.type), pa.string())) for each in fields(Verdict)], about)
    remaining = iter(verdicts)
    with parquet.ParquetWriter(stream, schema, write_page_checksum=True) as writer:
        while rows := [_to_row(verdict) for verdict in islice(remaining, _ROWS)]:
            for row in rows:
                for name in ("path", "error"):
                    row[name] = row[name].encode("utf-8", "backslashreplace").decode()
            writer.write_table(pa.Table.from_pylist(rows, schema))


def find_format(name: str | None, output: Path | None) -> Format:
    """Look up a format by its name, or else by the suffix of the output file.

    Parameters
    ----------
    name : str or None
        A name out of `WRITERS`; None to use the suffix of `output`.
    output : Path or None
        The output file; None for a stream. With neither name nor output the format is ``table``.

    Returns
    -------
    Format

    Raises
    ------
    ValueError
        If the name or suffix is unknown, or a binary format has no output file.
    MissingExtraError
        If the format needs a library that is not installed.
    """
    if name is None and output is not None:
        name = next((known for known, kind in WRITERS.items() if kind.suffix == output.suffix.lower()), None)
        if name is None:
            suffixes = ", ".join(kind.suffix for kind in WRITERS.values())
            raise ValueError(f"output must end in one of {suffixes}, got {str(output)!r}: rename it or give a format")
    name = name or "table"
    if name not in WRITERS:
        raise ValueError(f"format must be one of {', '.join(WRITERS)}, got {name!r}")
    if WRITERS[name].binary:
        if output is None:
            raise ValueError(f"format {name} needs an output file: name one with --output")
        require_extra("parquet", "Writing Parquet")
    return WRITERS[name]


def sort_verdicts(verdicts: Iterable[Verdict], order: str) -> list[Verdict]:
    """Sort verdicts.

    Parameters
    ----------
    verdicts : iterable of Verdict
    order : {'worst', 'path'}
        ``worst``: the most probably blurred first, then those without a probability, then errors. ``path``: by path.

    Returns
    -------
    list of Verdict

    Raises
    ------
    ValueError
        If the order is unknown.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    return sorted(verdicts, key=ORDERS[order])


def _to_row(verdict: Verdict) -> dict[str, Any]:
    """Cells by their column; a part is text, such as ``12,8,500,380``."""
    return {**_take_fields(verdict), "part": _join(verdict.part) if verdict.part else None}


def _take_fields(verdict: Verdict) -> dict[str, Any]:
    return {name: getattr(verdict, name) for name in COLUMNS}  # asdict would copy all that they hold


def _join(part: tuple[int, ...]) -> str:
    return ",".join(map(str, part))


def _colour_lines(stream: TextIO) -> Callable[[str, str], object]:
    from rich.console import Console  # slow to import, and only a terminal needs it
    from rich.text import Text

    console = Console(file=stream, soft_wrap=True, highlight=False)
    return lambda line, decision: console.print(Text.assemble((line[:9], _COLOURS.get(decision, "bold")), line[9:]))


WRITERS = {
    "table": Format(write_text, ".txt"),
    "csv": Format(write_csv, ".csv"),
    "jsonl": Format(write_jsonl, ".jsonl"),
    "parquet": Format(write_parquet, ".parquet", binary=True),
}

ORDERS: dict[str, Callable[[Verdict], Any]] = {"worst": worst_first, "path": lambda verdict: verdict.path}
