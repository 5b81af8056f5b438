"""Verdicts of a scan -> blur maps of the photos, drawn while the scan goes on."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurgate.errors import MachineError, NetError, OutputError, raise_machine_error
from blurgate.files import locate
from blurgate.judging.explaining import explain_verdict
from blurgate.judging.model import BlurModel
from blurgate.judging.verdicts import Verdict
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At
from blurgate.scanning.picture_folders import PictureFolder
from blurgate.threads import work_beside
from blurgate.version import __version__

_NAMED = 5  # photos without a map that are named; the others are counted


@dataclass(frozen=True, slots=True)
class _Task:
    verdict: Verdict
    place: str
    target: Path
    again: bool


class MapDrawing:
    """Draws the map of each photo that was judged, on threads of its own.

    Parameters
    ----------
    folder : PictureFolder
    model : BlurModel
        With an explainer.
    say : callable
        Called with a line about each of the first photos whose map cannot be drawn.
    alone : bool
        True if no other process writes into the folder.
    at : int or 'full', optional
        The size at which the photos are judged.
    max_megapixels : float
    """

    def __init__(
        self,
        folder: PictureFolder,
        model: BlurModel,
        say: Callable[[str], None],
        *,
        alone: bool = False,
        at: At = None,
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self._folder, self._model, self._say = folder, model, say
        self._alone = alone
        self._options: dict[str, Any] = {"model": model, "at": at, "max_megapixels": max_megapixels}
        self._hand_over: Callable[[_Task], None] | None = None
        self._lock = threading.Lock()
        self._drawn = self._there = self._failed = 0

    @contextmanager
    def run(self, jobs: int | None) -> Iterator[None]:
        """Draw what the block gives to `draw`; once it ends, all is drawn.

        Parameters
        ----------
        jobs : int or None
            Number of threads; None for one per core.

        Yields
        ------
        None
        """
        with work_beside(self._draw, jobs=jobs) as self._hand_over:
            yield

    def draw(self, verdict: Verdict, place: str, *, again: bool) -> None:
        """Have the map of a photo drawn; nothing for a photo that was not judged, or has no path.

        Parameters
        ----------
        verdict : Verdict
            With the path that the photo had when it was scanned.
        place : str
            Where it lies now.
        again : bool
            False to keep a map that is still that of this photo.

        Raises
        ------
        OutputError
            If the disk is full or read-only, or a link leads out of the folder: of this map or of one before it.
        NetError, MachineError
            As in a scan, and of one before it too.
        """
        if verdict.decision == "error" or not verdict.path or not self._hand_over:
            return
        target = self._folder.choose(verdict.path)
        if target:
            self._hand_over(_Task(verdict, place, target, again))

    @property
    def failed(self) -> int:
        """Number of maps that could not be drawn."""
        return self._failed

    def __str__(self) -> str:
        count = f"{self._drawn:,} map" + ("" if self._drawn == 1 else "s")
        there = f"; {self._there:,} {'was' if self._there == 1 else 'were'} there already" if self._there else ""
        failed = f"; {self._failed:,} could not be drawn" if self._failed else ""
        return f"drew {count} to {self._folder.folder}{there}{failed}"

    def _draw(self, task: _Task) -> None:
        try:
            note = self._identify(task)
            if not task.again and self._folder.has(task.target, note):
                self._count("_there")
                return
            explanation = explain_verdict(task.verdict, task.place, **self._options)
            self._folder.write(task.target, explanation.to_gray(), note=note, held=self._alone)
        except (OutputError, NetError, MachineError):
            raise
        except Exception as error:  # a file that has been damaged since can raise anything
            raise_machine_error(error)
            self._count("_failed")
            if self._failed <= _NAMED:
                self._say(f"no map of {task.verdict.path}: {_describe(error)}")
            return
        self._count("_drawn")

    def _identify(self, task: _Task) -> str:
        """Hash what a map depends on: the photo, its verdict, and the model."""
        status = Path(task.place).stat()
        judged = (task.verdict.decision, task.verdict.judged_at_px)
        photo = (locate(task.verdict.path), status.st_size, status.st_mtime_ns, *judged)
        key = repr((photo, self._model.fingerprint, __version__)).encode(errors="surrogatepass")
        return hashlib.blake2b(key, digest_size=16).hexdigest()

    def _count(self, name: str) -> None:
        with self._lock:
            setattr(self, name, getattr(self, name) + 1)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
