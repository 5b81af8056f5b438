"""Photos -> stream of verdicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
from PIL import Image

from blurgate.errors import PhotoError
from blurgate.judging.model import BlurModel, Measurement, load_model
from blurgate.judging.verdicts import Evidence, Verdict, decide
from blurgate.measuring.engines import MANY, Engine
from blurgate.photos.finding import AnyPath, refuse_missing, walk_photos
from blurgate.photos.images import MAX_MEGAPIXELS, Photo
from blurgate.records import Records, open_records
from blurgate.threads import run_in_order

_BATCH = 16  # photos that the trees are asked about at once
_EMPTY = ("NAType", "NaTType")  # what pandas has in an empty cell
_COLUMNS = ("path", "file", "image", "photo", "bytes")  # where a table's photos are looked for


@dataclass(frozen=True, slots=True)
class _Item:
    """A photo to judge, or what there is to say of it already."""

    photo: Any = None
    evidence: Evidence | None = None
    status: os.stat_result | None = None  # of its file, before it is read
    path: str = ""  # of a photo that is given as its bytes


def scan(
    photos: Any,
    *,
    column: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Sequence[AnyPath] = (),
    model: BlurModel | AnyPath | None = None,
    threshold: float | None = None,
    review: tuple[float, float] | None = None,
    resume: AnyPath | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    device: str = "cpu",
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Iterator[Verdict]:
    """Judge photos, in order, without holding more than a few at a time.

    Parameters
    ----------
    photos : path, photo, iterable of these, or table
        Folders are searched for photos: see `blurgate.photos.finding.walk_photos`. What else is a photo
        `blurgate.photos.images.read_gray` says. Of a table (pandas, polars, a Hugging Face dataset: whatever has named
        columns) each row is a photo, by its path or its bytes, and has one verdict.
    column : str, optional
        Of a table; by default ``path``, ``file``, ``image``, ``photo`` or ``bytes``.
    include, exclude, leave_out
        What to judge in folders: see `blurgate.photos.finding.walk_photos`.
    model : BlurModel, path or {'trees', 'net', 'both'}, optional
        What judges, or where it is, see `load_model`; by default the trees that ship.
    threshold : float, optional
        Blurred from this probability on; by default the model's.
    review : (float, float), optional
        In place of a threshold: sharp below the first probability, blurred from the second on, undecided between them.
    resume : path, optional
        A file that keeps what has been judged. What is in it is not judged again, if the photo's path, size and time
        and the model are the same.
    jobs : int, optional
        Photos at work at the same time; by default one for each core.
    engine : {'auto', 'numpy', 'compiled'}
        What measures the photos on the CPU: the same decisions, and numbers that differ by rounding now and then.
        ``compiled`` needs the extra ``fast``, and some ten seconds the first time; ``auto`` is ``compiled`` for `MANY`
        photos and more where it is installed and works, else ``numpy``.
    device : {'cpu', 'cuda'}
        ``cuda`` measures them on a GPU, in batches, with torch, of the extra ``gpu``.
    max_megapixels : float
        A file that says it has more is refused before it is decoded.

    Returns
    -------
    iterator of Verdict
        A photo that cannot be read has one too, with its ``error``.

    Raises
    ------
    PhotoError
        If one of the paths named does not exist, or there is no photo in them.
    MissingExtraError
        If the engine or the device's library is not installed.
    BlurgateError
        If compiled code was asked for and cannot be had.
    OutputError
        If what has been judged cannot be kept.
    ValueError
        If there is no such engine, device or column, or a threshold is no probability.

    Examples
    --------
    >>> gray = np.full((64, 64), 9, np.uint8)
    >>> [verdict.decision for verdict in scan([gray, b"no picture"])]
    ['undecided', '']
    """
    if threshold is not None and review:
        raise ValueError("one of threshold and review was needed, got both: the latter takes the former's place")
    judging = model if isinstance(model, BlurModel) else load_model("trees" if model is None else model)
    threshold = judging.card.threshold if threshold is None else threshold
    _check_bounds(threshold, review)
    items, count = _list_items(photos, column, lambda paths: walk_photos(
        paths, include=include, exclude=exclude, leave_out=leave_out
    ))  # fmt: skip
    if count is None:
        first = list(islice(items, 1))
        if first and not isinstance(first[0].photo, str | None):
            count = MANY  # a stream of pictures: to look ahead would be to hold them
        else:
            first.extend(islice(items, MANY - 1))
            count = len(first)
        items = chain(first, items)
    if not count and isinstance(photos, Sequence) and not len(photos):
        return iter(())
    if not count:
        raise PhotoError("photos were needed, but the folders given have none in them: check the path")
    measuring = Engine(engine, device, count=count, feature_set=judging.card.feature_set)
    if not resume:
        measuring.prepare()  # else not before there is a photo that has not been judged
    found = _judge(judging, measuring, items, resume=resume, jobs=jobs, max_megapixels=max_megapixels)
    return (decide(evidence, threshold, review) for evidence in found)


def _judge(
    model: BlurModel,
    engine: Engine,
    items: Iterator[_Item],
    *,
    resume: AnyPath | None,
    jobs: int | None,
    max_megapixels: float,
) -> Iterator[Evidence]:
    def known(item: _Item) -> tuple[_Item, Measurement] | None:
        return (item, Measurement(item.evidence)) if item.evidence else None

    def begin(item: _Item) -> tuple[_Item, Measurement]:
        path = item.path or _path_of(item.photo)
        try:
            measured = model.measure(item.photo, extract=engine.begin, max_megapixels=max_megapixels)
        except (PhotoError, TypeError) as error:  # a row of a table may hold anything
            return item, Measurement(Evidence(path, error=str(error)))
        return item, replace(measured, evidence=replace(measured.evidence, path=path))

    with open_records(resume, model.fingerprint) if resume else nullcontext() as records:
        begun = run_in_order(begin, _look_up(items, records, engine) if records else items, jobs=jobs, known=known)
        while batch := list(islice(begun, _BATCH)):
            found = model.judge(_finish([measured for _, measured in batch], engine, model.card.feature_set))
            if records:
                judged = zip((item.status for item, _ in batch), found, strict=True)
                records.add((status, evidence) for status, evidence in judged if status and not evidence.error)
            yield from found


def _finish(batch: list[Measurement], engine: Engine, feature_set: str) -> list[Measurement]:
    places = [place for place, photo in enumerate(batch) if photo.features is not None]
    if not places:
        return batch
    finished = engine.finish([batch[place].features for place in places], feature_set)
    for place, features in zip(places, finished, strict=True):
        batch[place] = replace(batch[place], features=features)
    return batch


def _look_up(items: Iterable[_Item], records: Records, engine: Engine) -> Iterator[_Item]:
    for item in items:
        if not isinstance(item.photo, str):
            yield item
            continue
        try:
            status = os.stat(item.photo)  # noqa: PTH116 of a million files
        except OSError:  # reading it will say why
            yield item
            continue
        known = records.find(item.photo, status)
        if not known:
            engine.prepare()  # here, on the main thread, where compiling can be interrupted
        yield _Item(evidence=known) if known else _Item(item.photo, status=status)


def _list_items(
    photos: Any, column: str | None, walk: Callable[[Iterable[AnyPath]], Iterable[Any]]
) -> tuple[Iterator[_Item], int | None]:
    """List what is to be judged, and say how much that is where it is known before."""
    if photos is None or isinstance(photos, Mapping):
        raise TypeError(
            f"photos must be paths, photos or a table, got {type(photos).__name__}: name the part of photos"
        )
    if column is not None or hasattr(photos, "columns") or hasattr(photos, "column_names"):
        cells = _take_column(photos, column)
        return (_read_cell(cell) for cell in cells), len(photos) if hasattr(photos, "__len__") else MANY
    if isinstance(photos, str | os.PathLike | bytes | bytearray | memoryview | np.ndarray | Image.Image):
        photos = [photos]
    if isinstance(photos, Sequence):
        refuse_missing(photo for photo in photos if isinstance(photo, str | os.PathLike))

    def list_items() -> Iterator[_Item]:
        for photo in photos:
            if not isinstance(photo, str | os.PathLike):
                yield _Item(photo)
                continue
            for found in walk([photo]):
                evidence = Evidence(found.path, error=f"{found.path} {found.problem}") if found.problem else None
                yield _Item(None if evidence else found.path, evidence)

    paths_only = not isinstance(photos, Sequence) or all(isinstance(photo, str | os.PathLike) for photo in photos)
    return list_items(), None if paths_only else len(photos)


def _take_column(table: Any, column: str | None) -> Iterable[Any]:
    named = getattr(table, "column_names", None)
    names = list(table.columns if named is None else named)
    if column is None:
        column = next((name for name in _COLUMNS if name in names), names[0] if len(names) == 1 else None)
    if column not in names:
        wanted = f"named {column}" if column else "of photos"
        raise ValueError(
            f"a column {wanted} was needed, but the table has {', '.join(map(str, names)) or 'none'}: name one"
        )
    if hasattr(table, "features"):  # a Hugging Face dataset hands out rows; its columns would all be loaded at once
        return (row[column] for row in table)
    taken: Iterable[Any] = table[column]
    return taken


def _read_cell(cell: Any) -> _Item:
    path = ""
    if isinstance(cell, dict):  # a Hugging Face picture that is not decoded
        path, cell = str(cell.get("path") or ""), cell.get("bytes") or cell.get("path")
    if cell is None or isinstance(cell, float) or type(cell).__name__ in _EMPTY:  # pandas has its own, and not a number
        return _Item(evidence=Evidence(path, error="the row has no photo: its cell is empty"))
    return _Item(os.fsdecode(cell) if isinstance(cell, str | os.PathLike) else cell, path=path)


def _path_of(photo: Photo) -> str:
    return os.fsdecode(photo) if isinstance(photo, str | os.PathLike) else ""


def _check_bounds(threshold: float, review: tuple[float, float] | None) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
    if review is not None and not (
        isinstance(review, Sequence) and len(review) == 2 and 0 <= review[0] <= review[1] <= 1
    ):
        raise ValueError(f"review must be two probabilities, the lower one first, got {review}")
