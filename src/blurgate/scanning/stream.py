"""Photos -> a stream of verdicts."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from blurgate.errors import BlurgateError, PhotoError, require_several
from blurgate.judging.model import BlurModel, Measurement, Review
from blurgate.judging.verdicts import Evidence, Verdict
from blurgate.measuring.engines import MANY, Engine
from blurgate.photos.addresses import hide, is_address
from blurgate.photos.finding import AnyPath, Found, walk_photos
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At
from blurgate.scanning.fetching import fetch_ahead, find_ahead
from blurgate.scanning.items import Item, describe_nothing, find_none, list_items, look_ahead
from blurgate.scanning.judge import Judge, Judged, MachineWatch, cut_batches, make_judge
from blurgate.scanning.records import Records, open_records
from blurgate.threads import PAUSE, count_cores, run_in_order

_Batches = Generator[list[Judged], None, None]

WORKERS = ("auto", "threads", "processes")
_CAN_FORK = sys.platform == "linux" and bool(sys.executable) and not getattr(sys, "frozen", False)  # by a fresh Python
_FROM_JOBS = 3  # two threads are faster than two processes, and the interpreter's lock bounds more: `scale.py jobs`
_FROM_WORK = 6000  # photos times jobs: fewer take less time than processes to start, half a second

if TYPE_CHECKING:
    from blurgate.scanning.piece_files import PieceFolder

PLACES = ("here", "ray")  # where to scan


def scan(
    photos: Any,
    *,
    column: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Sequence[AnyPath] = (),
    model: BlurModel | AnyPath | None = None,
    threshold: float | None = None,
    review: Review | None = None,
    at: At = None,
    resume: AnyPath | None = None,
    jobs: int | None = None,
    workers: str = "threads",
    engine: str = "auto",
    device: str = "cpu",
    max_megapixels: float = MAX_MEGAPIXELS,
    on: str = "here",
    address: str | None = None,
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
    model : BlurModel, path or {'default', 'trees', 'net', 'both', 'open'}, optional
        A model, its file, or the name of the shipped one or of a variant of it, see `load_model`.
    threshold : float, optional
        Blurred from this probability on, 0 to 1; by default the model's.
    review : (float, float) or 'auto', optional
        Two probabilities, 0 to 1, that replace the threshold: sharp below the first, blurred from the second on,
        undecided between them, with what makes the photo doubtful as the reason. ``auto``: those of the model.
    at : int or 'full', optional
        The size at which to judge: the longer side in pixels, at least 64, to which larger photos are shrunk, or their
        own size; by default they are halved to at most 1,048,576 pixels.
    resume : path, optional
        Records file that saves evidence during the scan. A photo found in it is not analysed again if its path, size
        and modification time, the model and `at` are the same, and the model asks its net about the same photos: a very
        low threshold makes a cascade ask more often.
    jobs : int, optional
        Number of photos processed in parallel, at least 1; by default one for each core.
    workers : {'auto', 'threads', 'processes'}
        What processes them: processes of their own, of which each holds about 50 MB, keep more than two cores busy and
        survive a photo that crashes its decoder; they need Linux. ``auto``: processes for many paths and jobs.
    engine : {'auto', 'numpy', 'compiled'}
        What measures the photos on the CPU. Engines give the same decisions, but their probabilities may differ by
        rounding. ``compiled`` needs the extra ``fast`` and takes about a second to compile the first time. ``auto``
        is ``compiled`` from `MANY` photos on if it is installed and works, else ``numpy``; in an iterator, after its
        first `MANY`.
    device : {'cpu', 'cuda'}
        ``cuda`` measures photos in batches on a GPU with torch, from the extra ``gpu``.
    max_megapixels : float
        A file whose header states more is refused without decoding it.
    on : {'here', 'ray'}
        Where to scan: on this machine, or on a Ray cluster, whose workers list, read and judge photos that lie where
        all of them see them. There `resume` is a folder that they share, in which the verdicts on each piece of the
        work are saved.
    address : str, optional
        Of the cluster: see `blurgate.scanning.ray_data.connect`.

    Returns
    -------
    iterator of Verdict
        One per photo, in order. A photo that cannot be read has a verdict with its ``error``.

    Raises
    ------
    PhotoError
        If a named path does not exist, or no photo is found.
    MissingExtraError
        If the engine, the device or the cluster needs a library that is not installed.
    BlurgateError
        If the engine ``compiled`` is requested but cannot be compiled.
    ModelFileError
        If the model cannot be loaded.
    NetError
        If the net of the model is asked and cannot answer, which ends the scan.
    MachineError
        If the machine, and not a photo, is why photos cannot be read, such as too many open files; or if the cluster
        cannot be reached, or cannot go on. Ends the scan.
    OutputError
        If the records cannot be saved.
    TypeError
        If `photos` is None, a mapping, or holds no photos at all, or one text is given in place of several.
    ValueError
        If the workers, engine, device or column is unknown or impossible here, `jobs` is below 1, `max_megapixels` is
        not above 0, the threshold or the review is not within 0 to 1, both are given, the review is ``auto`` and the
        model has no bounds, `at` is no size, or a cluster is to judge what cannot be sent to it.

    Examples
    --------
    >>> import numpy as np
    >>> gray = np.full((64, 64), 9, np.uint8)
    >>> [verdict.decision for verdict in scan([gray, b"no picture"])]
    ['undecided', 'error']
    """
    judged = scan_items(
        photos,
        column=column,
        include=include,
        exclude=exclude,
        leave_out=leave_out,
        model=model,
        threshold=threshold,
        review=review,
        at=at,
        resume=resume,
        jobs=jobs,
        workers=workers,
        engine=engine,
        device=device,
        max_megapixels=max_megapixels,
        on=on,
        address=address,
    )
    return (verdict for _, verdict in judged)


def scan_items(
    photos: Any,
    *,
    column: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Sequence[AnyPath] = (),
    note_left_out: Callable[[str], None] | None = None,
    raws: Counter[str] | None = None,
    if_none: str = "check the path",
    model: BlurModel | AnyPath | None = None,
    threshold: float | None = None,
    review: Review | None = None,
    at: At = None,
    resume: AnyPath | Records | PieceFolder | None = None,
    find_moved: Callable[[str, str], Iterator[Item]] | None = None,
    jobs: int | None = None,
    workers: str = "threads",
    engine: str = "auto",
    device: str = "cpu",
    max_megapixels: float = MAX_MEGAPIXELS,
    on: str = "here",
    address: str | None = None,
) -> Iterator[tuple[Item, Verdict]]:
    """Scan photos as `scan` does, for a caller that files them or needs to know where each verdict comes from.

    Parameters
    ----------
    photos, column, include, exclude, leave_out
        See `scan`. `blurgate.threads.PAUSE` among the photos says that there are none for now.
    note_left_out, raws
        See `blurgate.photos.finding.walk_photos`.
    if_none : str
        What to do if the folders hold no photo: the end of a sentence.
    model, threshold, review, at
        See `scan`.
    resume : path, Records or PieceFolder, optional
        Records file, or records that the caller has opened; on a cluster, a folder.
    find_moved : callable, optional
        Takes a named path and the judge, see `Records`, and lists the photos that an earlier scan moved from there.
    jobs, workers, engine, device, max_megapixels, on, address
        See `scan`.

    Returns
    -------
    iterator of (Item, Verdict)
        Each item without its photo.

    Raises
    ------
    PhotoError
        If a named path does not exist, or no photo is found. All other errors are as in `scan`.
    ValueError
        As in `scan`.
    """
    for name, value in (("include", include), ("exclude", exclude), ("leave_out", leave_out)):
        require_several(name, value)
    _check_workers(workers, device)
    check_place(on, address, device)
    _check_resume(resume, on)
    options: dict[str, Any] = {"engine": engine, "device": device, "max_megapixels": max_megapixels}
    judge = make_judge(model, threshold=threshold, review=review, at=at, **options)
    raws = Counter() if raws is None else raws

    def walk(paths: Iterable[AnyPath]) -> Iterator[Found]:
        return walk_photos(
            paths,
            include=include,
            exclude=exclude,
            leave_out=leave_out,
            note_left_out=note_left_out,
            raws=raws,
            column=column,
            max_megapixels=max_megapixels,
        )

    if on == "ray":
        from blurgate.scanning.ray_data import scan_on_ray  # its own imports are many

        searched: dict[str, Any] = {"include": include, "exclude": exclude, "leave_out": leave_out}
        found: dict[str, Any] = {"note_left_out": note_left_out, "raws": raws, "if_none": if_none, "column": column}
        return scan_on_ray(photos, judge, **searched, **found, resume=resume, jobs=jobs, address=address)
    moved = (lambda path: find_moved(path, judge.name)) if find_moved else find_none
    items, count = list_items(photos, column, walk, moved, filtered=bool(include or exclude))
    streamed = count is None and not isinstance(photos, Sequence)
    if count is None:
        items, count = look_ahead(items, 1 if streamed else max(MANY, -(-_FROM_WORK // _FROM_JOBS)))
    if not count and isinstance(photos, Sequence) and not len(photos):
        return iter(())
    if not count:
        raise PhotoError(describe_nothing(photos, raws, if_none, filtered=bool(include or exclude)))
    jobs = count_cores() if jobs is None else jobs
    if workers == "auto":
        workers = _choose_workers(photos, count, jobs, device)
    engines = _Engines(engine, device, None if streamed else count)
    if not resume and workers == "threads":
        engines.choose().prepare()  # with records, only once a photo is not in them
    opened = (
        open_records(resume) if isinstance(resume, str | os.PathLike) else nullcontext(cast("Records | None", resume))
    )
    judging = partial(_judge_in_processes, judge, jobs=jobs)
    if workers == "threads":
        judging = partial(_judge_on_threads, judge, engines, jobs=jobs)
    return ((item, judge.decide(evidence)) for item, evidence in _judge(judge, items, opened, judging, jobs))


def _check_resume(resume: Any, on: str) -> None:
    if on == "here" and isinstance(resume, str | os.PathLike) and is_address(os.fsdecode(resume)):
        raise ValueError(f"resume needs a file on a disk, where its records are saved, got {hide(os.fsdecode(resume))}")


def _check_workers(workers: str, device: str) -> None:
    if workers not in WORKERS:
        raise ValueError(f"workers must be one of {', '.join(WORKERS)}, got {workers!r}")
    if workers == "processes" and not _CAN_FORK:
        raise ValueError("workers can be processes on Linux alone: leave it out")
    if workers == "processes" and device != "cpu":
        raise ValueError(f"workers can be processes on the CPU alone, got the device {device}: leave out one of them")


def _choose_workers(photos: Any, count: int, jobs: int, device: str) -> str:
    """Choose what is faster for so many photos and jobs."""
    on_disk = isinstance(photos, Sequence) and all(isinstance(photo, str | os.PathLike) for photo in photos)
    many = on_disk and jobs >= _FROM_JOBS and count * jobs >= _FROM_WORK
    return "processes" if many and _CAN_FORK and device == "cpu" else "threads"


def check_place(on: str, address: str | None, device: str = "cpu") -> None:
    """Check where to work.

    Parameters
    ----------
    on : {'here', 'ray'}
    address : str or None
        Of a cluster.
    device : str

    Raises
    ------
    ValueError
        If the place is unknown, an address is given for none, or a cluster is to work on a GPU.
    """
    if on not in PLACES:
        raise ValueError(f"on must be one of {', '.join(PLACES)}, got {on!r}")
    if address is not None and on != "ray":
        raise ValueError(f"address goes with on ray, got {on}: it is that of a Ray cluster")
    if on == "ray" and device != "cpu":
        raise ValueError(f"device must be cpu on ray, got {device!r}: workers of a cluster judge on their cores")


class _Engines:
    """The engine for each photo in turn.

    Parameters
    ----------
    name, device : str
    count : int or None
        Number of photos, as far as it is known; None for a stream, whose end nobody knows: where the engine is
        ``auto``, its first `MANY` photos are measured by ``numpy``, all others as those of a large folder.
    """

    def __init__(self, name: str, device: str, count: int | None) -> None:
        self._many = Engine(name, device, count=MANY if count is None else count)
        self._first = self._many
        if count is None and (name, device) == ("auto", "cpu"):
            self._first = Engine("numpy", device, count=MANY)
        self._left = MANY

    def choose(self) -> Engine:
        """Choose the engine for the next photo."""
        return self._first if self._left else self._many

    def take(self) -> Engine:
        """Choose the engine for the next photo, and count it."""
        engine = self.choose()
        self._left = max(0, self._left - 1)
        engine.prepare()  # here, on the main thread, Ctrl-C can interrupt compiling
        return engine


def _judge(
    judge: Judge,
    items: Iterator[Item],
    opened: AbstractContextManager[Records | None],
    judging: Callable[[Iterable[Item]], _Batches],
    jobs: int,
) -> Iterator[tuple[Item, Evidence]]:
    """Judge photos that are not in the records, and save the evidence of all; then raise what ended the search."""
    problems = list[BlurgateError]()
    with opened as records:
        found = _end_at(items, problems)
        pending = _find_known(find_ahead(found), records, judge.name) if records else found
        fetched = fetch_ahead(pending, jobs=jobs, max_megapixels=judge.max_megapixels)
        with closing(judging(fetched)) as batches:
            yield from _save_all(batches, records, judge)
    for problem in problems:
        raise problem


def _end_at(items: Iterable[Item], problems: list[BlurgateError]) -> Iterator[Item]:
    """End photos at a problem of finding them, which is noted: those before it are judged and saved all the same."""
    try:
        yield from items
    except BlurgateError as error:
        problems.append(error)


def _save_all(
    batches: Iterable[list[Judged]], records: Records | None, judge: Judge
) -> Iterator[tuple[Item, Evidence]]:
    watch = MachineWatch()
    for found in batches:
        if records:
            _save(found, records, judge)
        for each in found:
            watch.check(each.problem)
            yield each.item, each.evidence


def _judge_on_threads(judge: Judge, engines: _Engines, items: Iterable[Item], *, jobs: int) -> _Batches:
    def ask(work: Callable[[Measurement], Measurement], batch: list[Measurement]) -> Iterable[Measurement]:
        return run_in_order(work, batch, jobs=jobs)

    tasks = _assign_engines(items, engines)
    measured = run_in_order(
        lambda task: judge.measure(*task), tasks, jobs=jobs, known=lambda task: judge.look_up(task[0])
    )
    for batch in cut_batches(measured, pause=PAUSE):
        yield judge.finish(batch, ask)


def _judge_in_processes(judge: Judge, items: Iterable[Item], *, jobs: int) -> _Batches:
    from blurgate.scanning.processes import Processes  # imports what other scans do not need

    with Processes(judge, jobs) as processes:
        yield from processes.judge(items)


def _save(found: Iterable[Judged], records: Records, judge: Judge) -> None:
    """Save the evidence of photos on the disk that could be read."""
    saved = ((each.item.status, each.evidence) for each in found)
    records.add(((status, evidence) for status, evidence in saved if status and not evidence.error), judge.name)


def _find_known(items: Iterable[Item], records: Records, judge: str) -> Iterator[Item]:
    """Attach saved evidence to the photos that have it, and file status to the others."""
    for item in items:
        if item is PAUSE or item.filed or item.evidence or not (item.status or isinstance(item.photo, str)):
            yield item
            continue
        try:
            # faster than Path, which matters for a million files
            status = item.status or os.stat(item.photo)  # noqa: PTH116
        except (OSError, ValueError):  # reading the photo reports it; ValueError: a zero byte in its path
            yield item
            continue
        if known := records.find(item.path or item.photo, status, judge):
            yield Item(evidence=known, known=True)
        else:
            yield replace(item, status=status)


def _assign_engines(items: Iterable[Item], engines: _Engines) -> Iterator[tuple[Item, Engine]]:
    for item in items:
        if item is PAUSE:
            yield cast(tuple[Item, Engine], PAUSE)
        else:
            yield item, engines.choose() if item.evidence else engines.take()
