"""A stream of verdicts -> its progress and its tally."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from blurgate.errors import BlurgateError
from blurgate.judging.verdicts import Verdict
from blurgate.scanning.items import Item

_FIRST, _EVERY = 0.7, 5.0  # seconds until the first progress line without a terminal, and between lines
_NAMED = 3  # photos that could not be read, as examples


@dataclass
class Tally:
    """Counts verdicts as they pass.

    Parameters
    ----------
    bounds : (float, float)
        Photos are sharp below the first probability, blurred from the second on.
    decisions : Counter
        Number of photos by decision.
    pixels : int
        Total pixels of the photos that were judged now.
    known : int
        Number of photos whose evidence was in the records.
    errors : list of str
        What kept the first few photos from being read.
    """

    bounds: tuple[float, float]
    decisions: Counter[str] = field(default_factory=Counter)
    pixels: int = 0
    known: int = 0
    errors: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def count(self, judged: Iterable[tuple[Item, Verdict]]) -> Iterator[tuple[Item, Verdict]]:
        """Yield items with their verdicts, and count them."""
        for item, verdict in judged:
            self.decisions[verdict.decision] += 1
            self.known += item.known
            if not item.known:
                self.pixels += (verdict.width or 0) * (verdict.height or 0)
            if verdict.error and len(self.errors) < _NAMED:
                self.errors.append(verdict.error)
            yield item, verdict

    @property
    def total(self) -> int:
        """Number of photos, and of folders that could not be searched."""
        return self.decisions.total()

    def __str__(self) -> str:
        seconds, counts = time.monotonic() - self._began, self.decisions
        low, high = self.bounds
        sharp = f" (P below {low:.3g})" if low < high else ""
        known = f"{self.known:,} of them judged before; " if self.known else ""
        rate = f", {_format_rate(self.pixels / 1e6 / max(seconds, 1e-9))} MP/s" if self.pixels else ""
        return (
            f"{count_photos(self.total)}: {counts['blurred']:,} blurred (P from {high:.3g}), "
            f"{counts['sharp']:,} sharp{sharp}, {counts['undecided']:,} undecided, "
            f"{counts['error']:,} could not be read ({known}{_format_duration(seconds)}{rate})"
        )


def count_photos(number: int) -> str:
    """Write a number of photos.

    Examples
    --------
    >>> count_photos(1), count_photos(12_000)
    ('1 photo', '12,000 photos')
    """
    return f"{number:,} photo{'' if number == 1 else 's'}"


def show_progress(
    verdicts: Iterable[Verdict], stream: TextIO, *, bar: bool, count: Callable[[], int] | None = None
) -> Iterator[Verdict]:
    """Yield the verdicts and show progress: a bar on a terminal, elsewhere a line every few seconds.

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
        with suppress(BlurgateError):  # the scan itself meets and reports it
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
    began, done = time.monotonic(), 0

    def describe() -> str:
        count = f"{done:,}" if total.value is None else f"{done:,} of {total.value:,}"
        if not done:
            return f"scanning photos: {count}"
        rate = done / (time.monotonic() - began)
        left = "" if total.value is None else f", about {_format_duration((total.value - done) / rate)} left"
        return f"scanning photos: {count}{left} ({_format_rate(rate)} photos a second)"

    with write_regularly(describe, stream):
        for verdict in verdicts:
            if not done:
                began = time.monotonic()  # loading and compiling do not count
            done += 1
            yield verdict


@contextmanager
def write_regularly(describe: Callable[[], str], stream: TextIO) -> Iterator[None]:
    """Write a line within a second, and then every few seconds, until the block ends.

    Parameters
    ----------
    describe : callable
        Returns the line, without its end.
    stream : text stream

    Yields
    ------
    None
    """
    ended = threading.Event()

    def write() -> None:
        patience = _FIRST
        while not ended.wait(patience):
            try:
                stream.write(f"{describe()}\n")
                stream.flush()
            except (OSError, ValueError):  # nobody reads it any more
                return
            patience = _EVERY

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _format_rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _format_duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
