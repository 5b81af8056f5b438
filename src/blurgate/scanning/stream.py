"""Photos -> stream of verdicts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any

from blurgate.errors import PhotoError
from blurgate.judging.model import BlurModel, Measurement, load_model
from blurgate.judging.verdicts import Evidence, Verdict, decide
from blurgate.measuring.engines import MANY, Engine, check_engine
from blurgate.photos.finding import AnyPath, Found, walk_photos
from blurgate.photos.images import MAX_MEGAPIXELS, path_of
from blurgate.scanning.items import Item, list_items, look_ahead
from blurgate.scanning.records import Records, open_records
from blurgate.threads import run_in_order
from blurgate.version import __version__

_BATCH = 16  # photos that the trees are asked about at once


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
    >>> import numpy as np
    >>> gray = np.full((64, 64), 9, np.uint8)
    >>> [verdict.decision for verdict in scan([gray, b"no picture"])]
    ['undecided', '']
    """
    if threshold is not None and review:
        raise ValueError("one of threshold and review was needed, got both: the latter takes the former's place")
    judging = model if isinstance(model, BlurModel) else load_model("trees" if model is None else model)
    threshold = judging.card.threshold if threshold is None else threshold
    _check_bounds(threshold, review)
    check_engine(engine, device)

    def walk(paths: Iterable[AnyPath]) -> Iterator[Found]:
        return walk_photos(paths, include=include, exclude=exclude, leave_out=leave_out)

    items, count = list_items(photos, column, walk)
    if count is None:
        items, count = look_ahead(items, MANY)
    if not count and isinstance(photos, Sequence) and not len(photos):
        return iter(())
    if not count:
        raise PhotoError("photos were needed, but the folders given have none in them: check the path")
    measuring = Engine(engine, device, count=count, feature_set=judging.inputs.feature_set)
    if not resume:
        measuring.prepare()  # else not before there is a photo that has not been judged
    found = _judge(judging, measuring, items, resume=resume, jobs=jobs, max_megapixels=max_megapixels)
    return (decide(evidence, threshold, review) for evidence in found)


def _judge(
    model: BlurModel,
    engine: Engine,
    items: Iterator[Item],
    *,
    resume: AnyPath | None,
    jobs: int | None,
    max_megapixels: float,
) -> Iterator[Evidence]:
    def known(item: Item) -> tuple[Item, Measurement] | None:
        return (item, Measurement(item.evidence)) if item.evidence else None

    def begin(item: Item) -> tuple[Item, Measurement]:
        path = item.path or path_of(item.photo)
        try:
            measured = model.measure(item.photo, extract=engine.begin, max_megapixels=max_megapixels)
        except (PhotoError, TypeError) as error:  # a row of a table may hold anything
            return item, Measurement(Evidence(path, error=str(error)))
        return item, replace(measured, evidence=replace(measured.evidence, path=path))

    with open_records(resume, f"{__version__} {model.fingerprint}") if resume else nullcontext() as records:
        begun = run_in_order(begin, _look_up(items, records, engine) if records else items, jobs=jobs, known=known)
        while batch := list(islice(begun, _BATCH)):
            found = model.judge(_finish([measured for _, measured in batch], engine, model.inputs.feature_set))
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


def _look_up(items: Iterable[Item], records: Records, engine: Engine) -> Iterator[Item]:
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
        yield Item(evidence=known) if known else Item(item.photo, status=status)


def _check_bounds(threshold: float, review: tuple[float, float] | None) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
    if review is not None and not (
        isinstance(review, Sequence) and len(review) == 2 and 0 <= review[0] <= review[1] <= 1
    ):
        raise ValueError(f"review must be two probabilities, the lower one first, got {review}")
