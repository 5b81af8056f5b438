"""A stream of verdicts -> how far it is, while it runs, and what it came to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from blurgate.judging.verdicts import Verdict

_EVERY = 10.0  # seconds between lines where there is no terminal


@dataclass
class Tally:
    """Counts verdicts as they pass.

    Parameters
    ----------
    decisions : Counter
        Photos by decision; under an empty one those that could not be judged.
    pixels : int
        Of the photos that were read.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    _began: float = field(default_factory=time.monotonic)

    def count(self, verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        """Pass verdicts on, and count them."""
        for verdict in verdicts:
            self.decisions[verdict.decision] += 1
            self.pixels += (verdict.width or 0) * (verdict.height or 0)
            yield verdict

    def __str__(self) -> str:
        seconds = time.monotonic() - self._began
        n, seen = self.decisions.total(), self.decisions
        return (
            f"{n:,} photo{'' if n == 1 else 's'}: {seen['blurred']:,} blurred, {seen['sharp']:,} sharp, "
            f"{seen['undecided']:,} undecided, {seen['']:,} could not be read "
            f"({_spell(seconds)}, {self.pixels / 1e6 / max(seconds, 1e-9):,.0f} MP/s)"
        )


def show_progress(
    verdicts: Iterable[Verdict], stream: TextIO, *, bar: bool, count: Callable[[], int] | None = None
) -> Iterator[Verdict]:
    """Pass verdicts on and show how far they are: a bar on a terminal, now and then a line elsewhere.

    Parameters
    ----------
    verdicts : iterable of Verdict
    stream : text stream
        To write to.
    bar : bool
        Draw a bar; else write lines.
    count : callable, optional
        Says how many there will be. It is asked on a thread of its own while the first are judged.
    """
    total = _Later(count)
    yield from (_draw_bar if bar else _write_lines)(verdicts, stream, total)


class _Later:
    """A number that is known in a while."""

    def __init__(self, count: Callable[[], int] | None) -> None:
        self.value: int | None = None
        if count is not None:
            threading.Thread(target=self._find, args=(count,), daemon=True).start()

    def _find(self, count: Callable[[], int]) -> None:
        self.value = count()


def _draw_bar(verdicts: Iterable[Verdict], stream: TextIO, total: _Later) -> Iterator[Verdict]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("judging photos"),
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


def _write_lines(verdicts: Iterable[Verdict], stream: TextIO, total: _Later) -> Iterator[Verdict]:
    began = said = time.monotonic()
    for done, verdict in enumerate(verdicts, start=1):
        if (now := time.monotonic()) - said >= _EVERY:
            said, rate = now, done / (now - began)
            left = (
                "" if total.value is None else f" of {total.value:,}, about {_spell((total.value - done) / rate)} left"
            )
            stream.write(f"{done:,}{left} ({rate:,.0f} photos a second)\n")
            stream.flush()
        yield verdict


def _spell(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
