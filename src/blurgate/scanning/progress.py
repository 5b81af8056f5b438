"""A stream of verdicts -> its progress and its tally."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from blurgate.judging.verdicts import Verdict

_EVERY = 10.0  # seconds between progress lines without a terminal


@dataclass
class Tally:
    """Counts verdicts as they pass.

    Parameters
    ----------
    decisions : Counter
        Number of photos by decision; under ``""`` those that could not be read.
    pixels : int
        Total pixels of the photos that were read.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    _began: float = field(default_factory=time.monotonic)

    def count(self, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        """Yield the verdicts and count them."""
        for verdict in verdicts:
            self.decisions[verdict.decision] += 1
            self.pixels += (verdict.width or 0) * (verdict.height or 0)
            yield verdict

    def __str__(self) -> str:
        seconds = time.monotonic() - self._began
        n, counts = self.decisions.total(), self.decisions
        return (
            f"{n:,} photo{'' if n == 1 else 's'}: {counts['blurred']:,} blurred, {counts['sharp']:,} sharp, "
            f"{counts['undecided']:,} undecided, {counts['']:,} could not be read "
            f"({_format_duration(seconds)}, {self.pixels / 1e6 / max(seconds, 1e-9):,.0f} MP/s)"
        )


def show_progress(
    verdicts: Iterable[Verdict], stream: TextIO, *, bar: bool, count: Callable[[], int] | None = None
) -> Iterator[Verdict]:
    """Yield the verdicts and show progress: a bar on a terminal, elsewhere a line every ten seconds.

    Parameters
    ----------
    verdicts : iterable of Verdict
    stream : text stream
        Gets the progress.
    bar : bool
        True to draw a bar, False to write lines.
    count : callable, optional
        Returns the total number of photos. It runs on its own thread while the scan starts, since it may take long.

    Yields
    ------
    Verdict
        Each verdict, unchanged.
    """
    total = _BackgroundCount(count)
    yield from (_draw_bar if bar else _write_lines)(verdicts, stream, total)


class _BackgroundCount:
    """A number computed on its own thread; None until it is known."""

    def __init__(self, count: Callable[[], int] | None) -> None:
        self.value: int | None = None
        if count is not None:
            threading.Thread(target=self._run, args=(count,), daemon=True).start()

    def _run(self, count: Callable[[], int]) -> None:
        self.value = count()


def _draw_bar(verdicts: Iterable[Verdict], stream: TextIO, total: _BackgroundCount) -> Iterator[Verdict]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("scanning photos"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("", total=None, rate="")
        for done, verdict in enumerate(verdicts, start=1):
            rate = done / max(time.monotonic() - began, 1e-9)
            progress.update(task, completed=done, total=total.value, rate=f"{rate:,.0f}/s")
            yield verdict


def _write_lines(verdicts: Iterable[Verdict], stream: TextIO, total: _BackgroundCount) -> Iterator[Verdict]:
    began = written = time.monotonic()
    for done, verdict in enumerate(verdicts, start=1):
        if (now := time.monotonic()) - written >= _EVERY:
            written, rate, left = now, done / (now - began), ""
            if total.value is not None:
                left = f" of {total.value:,}, about {_format_duration((total.value - done) / rate)} left"
            stream.write(f"{done:,}{left} ({rate:,.0f} photos a second)\n")
            stream.flush()
        yield verdict


def _format_duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
