"""Verdicts -> text: a table to read, CSV, JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, astuple, fields
from typing import TextIO

from blurgate.model import Verdict

COLUMNS = tuple(field.name for field in fields(Verdict))

_COLOURS = {"blurred": "red", "undecided": "yellow", "sharp": "green"}


def write_table(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    """Write aligned columns for a person to read."""
    from rich.console import Console  # a good part of the start, and only this format needs it
    from rich.table import Table
    from rich.text import Text

    table = Table("photo", "decision", box=None, pad_edge=False, header_style="bold")
    table.add_column("P(blurred)", justify="right")
    table.add_column("kind")
    table.add_column("strength", justify="right")
    table.add_column("size", justify="right")
    table.add_column("remark", overflow="fold")
    for verdict in verdicts:
        size = "" if verdict.width is None else f"{verdict.width}x{verdict.height}"
        table.add_row(
            Text(_visible(verdict.path), overflow="fold"),
            Text(verdict.decision or "error", style=_COLOURS.get(verdict.decision, "red")),
            "" if verdict.probability is None else f"{verdict.probability:.3f}",
            verdict.kind,
            "" if verdict.strength_px is None else f"{verdict.strength_px:.1f} px",
            size,
            Text(_visible(verdict.error or verdict.reason)),
        )
    # away from a terminal nothing is folded, so that one line stays one photo
    Console(file=stream, width=None if stream.isatty() else 10_000).print(table)


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


def _visible(text: str) -> str:
    """Write control characters as escapes: a name must not break a line or colour the terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def find_writer(name: str) -> Callable[[Iterable[Verdict], TextIO], None]:
    """Look up a format; a ValueError that lists them if there is none of that name."""
    if name not in WRITERS:
        raise ValueError(f"format must be one of {', '.join(WRITERS)}, got {name!r}")
    return WRITERS[name]


WRITERS: dict[str, Callable[[Iterable[Verdict], TextIO], None]] = {
    "table": write_table,
    "csv": write_csv,
    "jsonl": write_jsonl,
}
