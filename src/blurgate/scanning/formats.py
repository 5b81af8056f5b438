"""Verdicts -> a file or a stream: a table to read, CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple, dataclass, fields
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO

from blurgate.errors import needs_extra, require_extra
from blurgate.judging.verdicts import Verdict, worst_first

COLUMNS = tuple(field.name for field in fields(Verdict))

_COLOURS = {"blurred": "red", "undecided": "yellow", "sharp": "green", "error": "red"}
_ROWS = 10_000  # of a Parquet file's group, and so in memory


@dataclass(frozen=True)
class Format:
    """A way to write verdicts.

    Parameters
    ----------
    write : callable
        Verdicts and a stream; writes each as it comes.
    suffix : str
        Of files of this kind.
    binary : bool
        What stream it needs: of bytes, or of text.
    """

    write: Callable[[Iterable[Verdict], Any], None]
    suffix: str
    binary: bool = False


def write_text(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    """Write aligned columns for a person to read; in colours on a terminal."""
    show = _colour_lines(stream) if stream.isatty() else lambda line, _: stream.write(line + "\n")
    show(f"{'decision':9}  {'P':>5}  {'strength':>8}  {'size':>11}  photo", "")
    for verdict in verdicts:
        decision = verdict.decision or "error"
        probability = "" if verdict.probability is None else f"{verdict.probability:.3f}"
        strength = "" if verdict.strength_px is None else f"{verdict.strength_px:.1f} px"
        size = "" if verdict.width is None else f"{verdict.width}x{verdict.height}"
        rest = (_visible(verdict.path), verdict.kind, verdict.reason, _visible(verdict.error))
        show(f"{decision:9}  {probability:>5}  {strength:>8}  {size:>11}  {'  '.join(filter(None, rest))}", decision)


def write_csv(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    """Write CSV with the columns of `Verdict`."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for verdict in verdicts:
        writer.writerow("" if value is None else value for value in astuple(verdict))


def write_jsonl(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    """Write one JSON object a line, with the fields of `Verdict`; null where a value is missing."""
    for verdict in verdicts:
        stream.write(json.dumps(asdict(verdict)) + "\n")


def write_parquet(verdicts: Iterable[Verdict], stream: IO[bytes]) -> None:
    """Write Parquet with the columns of `Verdict`; bytes in a path that are no UTF-8 become escapes."""
    with needs_extra("parquet", "Writing Parquet"):
        import pyarrow as pa
        from pyarrow import parquet

    numbers = {"probability": pa.float64(), "strength_px": pa.float64(), "width": pa.int64(), "height": pa.int64()}
    schema = pa.schema([(name, numbers.get(name, pa.string())) for name in COLUMNS])
    waiting = iter(verdicts)
    with parquet.ParquetWriter(stream, schema) as writer:
        while some := [asdict(verdict) for verdict in islice(waiting, _ROWS)]:
            for row in some:
                for name in ("path", "error"):
                    row[name] = row[name].encode("utf-8", "backslashreplace").decode()
            writer.write_table(pa.Table.from_pylist(some, schema))


def find_format(name: str | None, output: Path | None) -> Format:
    """Look up a format by its name, or by the suffix of the file that it is for.

    Raises
    ------
    ValueError
        If there is none of that name or suffix, or it needs a file and there is none.
    MissingExtraError
        If it needs a library that is missing.
    """
    if name is None and output is not None:
        name = next((known for known, kind in WRITERS.items() if kind.suffix == output.suffix.lower()), None)
        if name is None:
            known = ", ".join(kind.suffix for kind in WRITERS.values())
            raise ValueError(f"output must be named {known}, or have its format said, got {str(output)!r}")
    name = name or "table"
    if name not in WRITERS:
        raise ValueError(f"format must be one of {', '.join(WRITERS)}, got {name!r}")
    if WRITERS[name].binary:
        if output is None:
            raise ValueError(f"format {name} needs a file to be written to: name it with --output")
        require_extra("parquet", "Writing Parquet")
    return WRITERS[name]


def sort_verdicts(verdicts: Iterable[Verdict], order: str) -> list[Verdict]:
    """Sort verdicts: ``worst``, the most probably blurred first, then what has no probability; or by ``path``."""
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    return sorted(verdicts, key=ORDERS[order])


def _colour_lines(stream: TextIO) -> Callable[[str, str], object]:
    from rich.console import Console  # a good part of the start, and only a terminal needs it
    from rich.text import Text

    console = Console(file=stream, soft_wrap=True, highlight=False)
    return lambda line, decision: console.print(Text.assemble((line[:9], _COLOURS.get(decision, "bold")), line[9:]))


def _visible(text: str) -> str:
    """Write control characters as escapes: a name must not break a line or colour the terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


WRITERS = {
    "table": Format(write_text, ".txt"),
    "csv": Format(write_csv, ".csv"),
    "jsonl": Format(write_jsonl, ".jsonl"),
    "parquet": Format(write_parquet, ".parquet", binary=True),
}

ORDERS: dict[str, Callable[[Verdict], Any]] = {"worst": worst_first, "path": lambda verdict: verdict.path}
