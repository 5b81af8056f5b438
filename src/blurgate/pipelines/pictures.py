"""Cells of a column of pictures, as pipelines hold them -> verdicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from blurgate.errors import MachineError, PhotoError
from blurgate.judging.model import BlurModel, Review
from blurgate.judging.verdicts import Verdict
from blurgate.photos.finding import AnyPath
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At
from blurgate.scanning import items
from blurgate.scanning.items import Item
from blurgate.scanning.judge import BATCH, Judge, MachineWatch, make_judge
from blurgate.threads import run_in_order

T = TypeVar("T")

NAMES = ("bytes", "image", "img", "photo", "jpg", "jpeg", "png", "webp", "path", "file", "filepath")  # by priority
_PATHS = ("path", "file", "filepath", "file_name", "__key__")  # columns that say what a picture is called


@dataclass(frozen=True)
class Options:
    """How photos are judged, as a user of a pipeline says it; each is checked once, when the judge is made.

    Parameters
    ----------
    model : BlurModel, path or {'default', 'trees', 'net', 'both', 'open'}
    threshold : float, optional
    review : (float, float) or 'auto', optional
    at : int or 'full', optional
    engine : {'auto', 'numpy', 'compiled'}
    device : {'cpu', 'cuda'}
    max_megapixels : float
        All as in `blurgate.scanning.stream.scan`.
    """

    model: BlurModel | AnyPath = "default"
    threshold: float | None = None
    review: Review | None = None
    at: At = None
    engine: str = "auto"
    device: str = "cpu"
    max_megapixels: float = MAX_MEGAPIXELS

    @cached_property
    def judge(self) -> Judge:
        """What judges by these options; the model is loaded once.

        Raises
        ------
        ModelFileError
            If the model cannot be loaded.
        ValueError
            If an option is out of its range.
        """
        return make_judge(
            self.model,
            threshold=self.threshold,
            review=self.review,
            at=self.at,
            engine=self.engine,
            device=self.device,
            max_megapixels=self.max_megapixels,
        )


def judge_each(
    judge: Judge, pictures: Iterable[T], read: Callable[[T], Item], *, jobs: int | None = 1, strict: bool = False
) -> Iterator[Verdict]:
    """Judge pictures in order, a few at a time.

    Parameters
    ----------
    judge : Judge
    pictures : iterable
        Taken as they are needed.
    read : callable
        One of them -> the photo to judge; called on the threads that judge.
    jobs : int, optional
        Number of threads, at least 1; None for one per core.
    strict : bool
        True to raise the error of a photo that cannot be read, False to give a verdict with it.

    Yields
    ------
    Verdict
        One per picture.

    Raises
    ------
    PhotoError
        If a photo cannot be read, and `strict` is true.
    MachineError
        If the machine, and not a photo, is why photos cannot be read.
    """

    def work(chunk: list[T]) -> list[tuple[Verdict, MachineError | None]]:
        found = judge.judge(map(read, chunk))
        return [(judge.decide(each.evidence), each.problem) for each in found]

    watch = MachineWatch()
    chunks = _cut(pictures)
    for judged in map(work, chunks) if jobs == 1 else run_in_order(work, chunks, jobs=jobs):
        for verdict, problem in judged:
            watch.check(problem)
            if strict and verdict.error:
                raise PhotoError(verdict.error)
            yield verdict


def read_cell(cell: Any, path: str = "") -> Item:
    """Read a cell of a column of pictures.

    Parameters
    ----------
    cell : path, bytes, binary file, ndarray, PIL image, tensor of Ray's, or mapping with ``bytes`` and ``path``
        The mapping is what Hugging Face gives for a picture that it has not decoded.
    path : str
        What the picture is called in messages, if the cell does not say.

    Returns
    -------
    Item
    """
    if isinstance(cell, str | os.PathLike):
        return items.read_cell(cell)
    if isinstance(cell, np.bytes_):  # else its zeros at the end are lost
        cell = bytes(cell)
    if type(cell).__name__ == "TensorArrayElement":  # what Ray puts into a column of pandas
        cell = np.asarray(cell)
    return items.read_cell(cell, path)


def find_column(names: Iterable[str], column: str | None) -> str:
    """Find the column of pictures.

    Parameters
    ----------
    names : iterable of str
        Of all columns.
    column : str or None
        As the user has named it; None for the first that there is of `NAMES`, or the only one.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is no such column.

    Examples
    --------
    >>> find_column(["label", "path", "bytes"], None)
    'bytes'
    """
    there = list(names)
    if column is None:
        column = next((name for name in NAMES if name in there), there[0] if len(there) == 1 else None)
    if column not in there:
        wanted = f"named {column}" if column else "of pictures"
        listed = ", ".join(map(str, there)) or "none"
        raise ValueError(f"expected a column {wanted}, but there is {listed}: name it with column=")
    return column


def find_path_column(names: Iterable[str], column: str) -> str | None:
    """Find the column that says what each picture is called.

    Parameters
    ----------
    names : iterable of str
        Of all columns.
    column : str
        That of the pictures.

    Returns
    -------
    str or None
        None if there is none beside the pictures' own.
    """
    there = set(names)
    return next((name for name in _PATHS if name in there and name != column), None)


def _cut(pictures: Iterable[T]) -> Iterator[list[T]]:
    remaining = iter(pictures)
    while chunk := list(islice(remaining, BATCH)):
        yield chunk


def pair_with_paths(cells: Sequence[Any], paths: Iterable[Any] | None) -> Iterator[tuple[Any, str]]:
    """Give each cell what it is called; empty where nothing says so.

    Parameters
    ----------
    cells : sequence
    paths : iterable or None

    Yields
    ------
    (object, str)
    """
    if paths is None:
        yield from ((cell, "") for cell in cells)
        return
    for cell, path in zip(cells, paths, strict=True):
        yield cell, path if isinstance(path, str) else ""
