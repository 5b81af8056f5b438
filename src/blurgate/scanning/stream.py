"""Photos -> a stream of verdicts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any, Literal, TypeAlias

from blurgate.errors import PhotoError
from blurgate.judging.model import BlurModel, Measurement, load_model
from blurgate.judging.verdicts import Evidence, Verdict, decide
from blurgate.measuring.engines import MANY, Engine, check_engine
from blurgate.photos.finding import AnyPath, Found, describe_raws, walk_photos
from blurgate.photos.images import path_of
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.scanning.items import Item, list_items, look_ahead
from blurgate.scanning.records import Records, open_records
from blurgate.threads import run_in_order
from blurgate.version import __version__

Review: TypeAlias = tuple[float, float] | Literal["auto"]

_BATCH = 16  # photos per evaluation of the trees


def scan(
    photos: Any,
    *,
    column: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Sequence[AnyPath] = (),
    raws: Counter[str] | None = None,
    model: BlurModel | AnyPath | None = None,
    threshold: float | None = None,
    review: Review | None = None,
    resume: AnyPath | None = None,
    jobs: int | None = None,
    engine: str = "auto",
    device: str = "cpu",
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Iterator[Verdict]:
    """Scan photos in order, holding only a few in memory at a time.

    Parameters
    ----------
    photos : path, photo, iterable of these, or table
        Folders are searched for photos: see `blurgate.photos.finding.walk_photos`. For photos in memory see
        `blurgate.photos.images.read_gray`. In a table (pandas, polars, a Hugging Face dataset: anything with named
        columns) each row is a photo, given by its path or its bytes, and gets one verdict.
    column : str, optional
        Column of a table; by default ``path``, ``file``, ``image``, ``photo`` or ``bytes``.
    include, exclude : sequence of str
        Patterns for files in folders: see `blurgate.photos.finding.walk_photos`.
    leave_out : sequence of path
        Folders that are not searched.
    raws : Counter, optional
        Counts the cameras' raw files in folders that are left out, by suffix: see
        `blurgate.photos.finding.walk_photos`.
    model : BlurModel, path or {'default', 'trees', 'net', 'both', 'open'}, optional
        A model, its file, or the name of the shipped one or of a variant of it, see `load_model`.
    threshold : float, optional
        Blurred from this probability on, 0 to 1; by default the model's.
    review : (float, float) or 'auto', optional
        Two probabilities, 0 to 1, that replace the threshold: sharp below the first, blurred from the second on,
        undecided between them, with what makes the photo doubtful as the reason. ``auto``: those of the model.
    resume : path, optional
        Records file that saves evidence during the scan. A photo found in it is not analysed again if its path, size
        and modification time and the model are the same, and the model asks its net about the same photos: a very low
        threshold makes a cascade ask more often.
    jobs : int, optional
        Number of photos processed in parallel, at least 1; by default one for each core.
    engine : {'auto', 'numpy', 'compiled'}
        What measures the photos on the CPU. Engines give the same decisions, but their probabilities may differ by
        rounding. ``compiled`` needs the extra ``fast`` and takes about ten seconds to compile the first time. ``auto``
        is ``compiled`` from `MANY` photos on if it is installed and works, else ``numpy``.
    device : {'cpu', 'cuda'}
        ``cuda`` measures photos in batches on a GPU with torch, from the extra ``gpu``.
    max_megapixels : float
        A file whose header states more is refused without decoding it.

    Returns
    -------
    iterator of Verdict
        One per photo, in order. A photo that cannot be read has a verdict with its ``error``.

    Raises
    ------
    PhotoError
        If a named path does not exist, or no photo is found.
    MissingExtraError
        If the engine or the device needs a library that is not installed.
    BlurgateError
        If the engine ``compiled`` is requested but cannot be compiled.
    ModelFileError
        If the model cannot be loaded.
    NetError
        If the net of the model is asked and cannot answer, which ends the scan.
    OutputError
        If the records cannot be saved.
    TypeError
        If `photos` is None, a mapping, or holds no photos at all.
    ValueError
        If the engine, device or column is unknown, the threshold or the review is not within 0 to 1, both are
        given, or the review is ``auto`` and the model has no bounds.

    Examples
    --------
    >>> import numpy as np
    >>> gray = np.full((64, 64), 9, np.uint8)
    >>> [verdict.decision for verdict in scan([gray, b"no picture"])]
    ['undecided', '']
    """
    if threshold is not None and review:
        raise ValueError("give either threshold or review, not both: review replaces the threshold")
    loaded = model if isinstance(model, BlurModel) else load_model("default" if model is None else model)
    bounds = _find_review(loaded, review) if isinstance(review, str) else review
    threshold = loaded.card.threshold if threshold is None else threshold
    _check_bounds(threshold, bounds)
    loaded = loaded.with_threshold(bounds[0] if bounds else threshold)  # nothing is called blurred by trees alone
    check_engine(engine, device)

    left_out: Counter[str] = Counter() if raws is None else raws

    def walk(paths: Iterable[AnyPath]) -> Iterator[Found]:
        return walk_photos(paths, include=include, exclude=exclude, leave_out=leave_out, raws=left_out)

    items, count = list_items(photos, column, walk)
    if count is None:
        items, count = look_ahead(items, MANY)
    if not count and isinstance(photos, Sequence) and not len(photos):
        return iter(())
    if not count:
        raise PhotoError(_describe_nothing(photos, left_out, filtered=bool(include or exclude)))
    chosen = Engine(engine, device, count=count, feature_set=loaded.inputs.feature_set)
    if not resume:
        chosen.prepare()  # with records, only once a photo is not in them
    found = _judge(loaded, chosen, items, resume=resume, jobs=jobs, max_megapixels=max_megapixels)
    return (decide(evidence, threshold, bounds) for evidence in found)


def _judge(
    model: BlurModel,
    engine: Engine,
    items: Iterator[Item],
    *,
    resume: AnyPath | None,
    jobs: int | None,
    max_megapixels: float,
) -> Iterator[Evidence]:
    def look_up(item: Item) -> tuple[Item, Measurement] | None:
        return (item, Measurement(item.evidence)) if item.evidence else None

    def measure(item: Item) -> tuple[Item, Measurement]:
        path = item.path or path_of(item.photo)
        try:
            measurement = model.measure(item.photo, extract=engine.begin, max_megapixels=max_megapixels)
        except (PhotoError, TypeError) as error:  # a row of a table may hold anything
            return item, Measurement(Evidence(path, error=str(error)))
        return item, replace(measurement, evidence=replace(measurement.evidence, path=path))

    with open_records(resume, f"{__version__} {model.fingerprint}") if resume else nullcontext() as records:
        pending = _find_known(items, records, engine) if records else items
        measured = run_in_order(measure, pending, jobs=jobs, known=look_up)
        while batch := list(islice(measured, _BATCH)):
            finished = _finish([measurement for _, measurement in batch], engine, model.inputs.feature_set)
            found = model.judge(_ask_later(finished, model, jobs))
            if records:
                pairs = zip((item.status for item, _ in batch), found, strict=True)
                records.add((status, evidence) for status, evidence in pairs if status and not evidence.error)
            yield from found


def _finish(batch: list[Measurement], engine: Engine, feature_set: str) -> list[Measurement]:
    """Complete the features of a batch; on a GPU, this is where they are computed."""
    positions = [position for position, measurement in enumerate(batch) if measurement.features is not None]
    if not positions:
        return batch
    finished = engine.finish([batch[position].features for position in positions], feature_set)
    for position, features in zip(positions, finished, strict=True):
        batch[position] = replace(batch[position], features=features)
    return batch


def _ask_later(batch: list[Measurement], model: BlurModel, jobs: int | None) -> list[Measurement]:
    """Ask the net about a batch whose features an engine has finished only now; else it has been asked already."""
    if all(measurement.gray is None for measurement in batch):
        return batch
    return list(run_in_order(model.ask, batch, jobs=jobs))


def _find_known(items: Iterable[Item], records: Records, engine: Engine) -> Iterator[Item]:
    """Attach saved evidence to the photos that have it, and file status to the others."""
    for item in items:
        if not isinstance(item.photo, str):
            yield item
            continue
        try:
            status = os.stat(item.photo)  # noqa: PTH116 faster than Path, which matters for a million files
        except (OSError, ValueError):  # reading the photo reports it; ValueError: a zero byte in its path
            yield item
            continue
        known = records.find(item.photo, status)
        if not known:
            engine.prepare()  # on the main thread, where Ctrl-C can interrupt compiling
        yield Item(evidence=known) if known else Item(item.photo, status=status)


def _describe_nothing(photos: Any, raws: Counter[str], *, filtered: bool) -> str:
    """Say why there is nothing to scan."""
    if raws:
        return f"found no photos but {describe_raws(raws)}"
    if filtered:
        return "found no photo that include and exclude let through: check the patterns and the path"
    if isinstance(photos, Iterator):
        return "found no photos: the list is empty, or names only folders without photos"
    return "found no photos in the given folders: check the path"


def _find_review(model: BlurModel, review: str) -> tuple[float, float]:
    """Look up the bounds of the model."""
    if review != "auto":
        raise ValueError(f"review must be two probabilities, the lower one first, or auto, got {review!r}")
    if model.card.review is None:
        raise ValueError(
            "review auto needs a model that has bounds of its own, but this one has none: give two probabilities"
        )
    return model.card.review


def _check_bounds(threshold: float, review: tuple[float, float] | None) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
    if review is not None and not (
        isinstance(review, Sequence) and len(review) == 2 and 0 <= review[0] <= review[1] <= 1
    ):
        raise ValueError(f"review must be two probabilities, the lower one first, got {review}")
