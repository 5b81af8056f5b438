"""A whole scan, from request to outcome: check, scan, write verdicts, file photos, write the gallery.

The command line, a service and a cluster share this flow: each only builds the request and shows the outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeAlias

from blurgate.errors import OutputError
from blurgate.files import atomic_file, check_outputs, check_writable
from blurgate.judging.model import VARIANTS, BlurModel, load_model
from blurgate.judging.verdicts import Verdict
from blurgate.photos.finding import AnyPath, describe_raws, walk_photos
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.scanning.filing import Filing
from blurgate.scanning.formats import ORDERS, Format, find_format, sort_verdicts
from blurgate.scanning.gallery import write_gallery
from blurgate.scanning.progress import Tally
from blurgate.scanning.records import delete_records
from blurgate.scanning.stream import Review, scan
from blurgate.threads import Track, no_track

Show: TypeAlias = Callable[[Iterable[Verdict], "Callable[[], int] | None"], Iterator[Verdict]]

FAILURES = ("blurred", "undecided")  # decisions that can fail a scan


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """What to scan, with which model, and what to do with the verdicts.

    Parameters
    ----------
    photos : path, photo, iterable of these, or table
        See `blurgate.scanning.stream.scan`.
    roots : sequence of Path
        Files and folders known in advance: no output may replace one, and filed photos keep their path relative to the
        folder they come from.
    model : BlurModel, path or {'default', 'trees', 'net', 'both', 'open'}
        A model, its file, or the name of the shipped one or of a variant of it.
    include, exclude : sequence of str
        Patterns; see `blurgate.photos.finding.walk_photos`.
    threshold : float, optional
        0 to 1; by default the model's.
    review : (float, float) or 'auto', optional
        Two probabilities, 0 to 1, the lower one first, that replace the threshold: undecided between them. ``auto``:
        those of the model.
    output : Path, optional
        File for the verdicts; by default they go to a stream.
    format : str, optional
        A name out of `blurgate.scanning.formats.WRITERS`; by default the suffix of `output` decides.
    sort : str, optional
        A name out of `blurgate.scanning.formats.ORDERS`; by default verdicts keep the order of the photos.
    resume : bool
        Resume an earlier scan with the same output: analyse only photos that are new or changed.
    report : Path, optional
        ``.html`` file for the gallery.
    action : {'copy', 'move', 'link'}, optional
        What to do with the photos themselves.
    folder : Path, optional
        Target of `action`: photos go to ``sharp/``, ``blurred/`` and ``undecided/`` in it.
    dry_run : bool
        Report what `action` would do without touching any file.
    fail_on : sequence of {'blurred', 'undecided'}
        Decisions that make the scan fail.
    strict : bool
        True if a photo that cannot be read makes the scan fail.
    jobs : int, optional
        Number of photos processed in parallel, at least 1; by default one for each core.
    engine : {'auto', 'numpy', 'compiled'}
        See `blurgate.scanning.stream.scan`.
    device : {'cpu', 'cuda'}
    max_megapixels : float
        A file whose header states more is refused without decoding it.
    """

    photos: Any
    roots: Sequence[Path] = ()
    model: BlurModel | AnyPath = "default"
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    threshold: float | None = None
    review: Review | None = None
    output: Path | None = None
    format: str | None = None
    sort: str | None = None
    resume: bool = False
    report: Path | None = None
    action: str | None = None
    folder: Path | None = None
    dry_run: bool = False
    fail_on: Sequence[str] = ()
    strict: bool = False
    jobs: int | None = None
    engine: str = "auto"
    device: str = "cpu"
    max_megapixels: float = MAX_MEGAPIXELS

    @property
    def records(self) -> Path | None:
        """The file beside the output that lets an interrupted scan resume."""
        return self.output.with_name(f"{self.output.name}.resume") if self.output else None

    @property
    def filing(self) -> Filing | None:
        """Sorts the photos by their verdicts; None if the request has no action."""
        if self.action is None or self.folder is None:
            return None
        return Filing(self.action, self.folder, self.roots, self.dry_run)


@dataclass(frozen=True)
class Outcome:
    """The result of a scan.

    Parameters
    ----------
    tally : Tally
        Photos by decision, pixels, and time.
    filing : Filing or None
        States what was copied, moved or linked.
    failed : bool
        True if a photo got a decision in ``fail_on`` or, with ``strict``, could not be read.
    """

    tally: Tally
    filing: Filing | None
    failed: bool


def run_scan(
    request: ScanRequest,
    *,
    stream: IO[Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
    show: Show | None = None,
    track: Track = no_track,
) -> Outcome:
    """Scan photos and carry out the whole request.

    Parameters
    ----------
    request : ScanRequest
    stream : text stream, optional
        Gets the verdicts if the request names no output.
    say : callable
        Called with each message to the user, a str of one line.
    show : callable, optional
        Takes the verdicts and yields them unchanged while it shows progress. Its second argument is a callable that
        counts the photos by walking the folders, or None if the photos are a stream.
    track : Track
        Shows the progress of making thumbnails.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If the request contradicts itself or names an unknown format, order, decision, engine or device.
    OutputError
        If an output cannot be written, or would replace an input.
    PhotoError
        If a path does not exist, or no photo is found.
    ModelFileError
        If the model cannot be loaded.
    NetError
        If the net of the model is asked and cannot answer.
    MissingExtraError
        If the request needs an extra that is not installed.
    """
    chosen = check_request(request)
    model = request.model if isinstance(request.model, BlurModel) else load_model(request.model)
    if request.records and not request.resume:
        delete_records(request.records)
    filing, tally, raws = request.filing, Tally(), Counter[str]()
    for folder in _find_filed(filing, request.roots):
        say(f"skipping {folder}: it holds photos that an earlier scan sorted")
    verdicts = tally.count(_scan(request, model, filing, raws))
    shown = show(verdicts, _count_later(request, filing)) if show else verdicts
    kept: list[Verdict] = []
    done = _file_photos(shown, filing, say, kept if request.report else None)
    with _open_output(request.output, stream, binary=chosen.binary) as target:
        chosen.write(sort_verdicts(done, request.sort) if request.sort else done, target)
    if request.records and not request.resume:
        delete_records(request.records)
    if raws:
        say(f"found {describe_raws(raws)}")
    if request.output:
        say(f"wrote {request.output}")
    if request.report:
        threshold = model.card.threshold if request.threshold is None else request.threshold
        write_gallery(kept, request.report, threshold=threshold, jobs=request.jobs, track=track)
        say(f"wrote {request.report}")
    failed = any(tally.decisions[decision] for decision in request.fail_on)
    return Outcome(tally, filing, failed or (request.strict and bool(tally.decisions[""])))


def check_request(request: ScanRequest) -> Format:
    """Refuse a request that cannot be carried out, before the work starts.

    Returns
    -------
    Format
        The format of the output.

    Raises
    ------
    ValueError, OutputError, MissingExtraError
        See `run_scan`.
    """
    chosen = find_format(request.format, request.output)
    if request.action == "move" and request.resume:
        raise ValueError(
            "resume needs photos to stay where they are: copy or link them, or move them in a separate scan"
        )
    if request.action and request.folder:
        if request.folder.exists() and not request.folder.is_dir():
            raise OutputError(
                f"expected a folder to {request.action} photos to, but {request.folder} is a file: choose another name"
            )
        if not request.dry_run:
            check_writable(request.folder)
    if request.resume and request.output is None:
        raise ValueError("resume needs an output file: its records are saved beside it")
    _check_choices("sort", [request.sort] if request.sort else [], ORDERS)
    _check_choices("fail-on", request.fail_on, FAILURES)
    check_outputs(request.report, suffixes=(".html",))
    check_outputs(request.report, request.output, inputs=[_model_file(request.model), *request.roots])
    return chosen


def _check_choices(option: str, chosen: Iterable[str], known: Iterable[str]) -> None:
    for name in chosen:
        if name not in known:
            raise ValueError(f"{option} must be one of {', '.join(known)}, got {name!r}")


def _model_file(model: BlurModel | AnyPath) -> Path | None:
    return None if isinstance(model, BlurModel) or model in VARIANTS else Path(model)


def _scan(request: ScanRequest, model: BlurModel, filing: Filing | None, raws: Counter[str]) -> Iterator[Verdict]:
    return scan(
        request.photos,
        **_search_options(request, filing),
        raws=raws,
        model=model,
        threshold=request.threshold,
        review=request.review,
        resume=request.records,
        jobs=request.jobs,
        engine=request.engine,
        device=request.device,
        max_megapixels=request.max_megapixels,
    )


def _count_later(request: ScanRequest, filing: Filing | None) -> Callable[[], int] | None:
    if not isinstance(request.photos, list | tuple):
        return None
    return lambda: sum(1 for _ in walk_photos(request.photos, **_search_options(request, filing)))


def _search_options(request: ScanRequest, filing: Filing | None) -> dict[str, Any]:
    leave_out = filing.targets if filing else ()  # else copies and links would be scanned as more photos
    return {"include": request.include, "exclude": request.exclude, "leave_out": leave_out}


def _find_filed(filing: Filing | None, roots: Sequence[Path]) -> Iterator[Path]:
    """List the folders of sorted photos that lie inside the scanned folders."""
    searched = {root.resolve() for root in roots}
    for folder in filing.targets if filing else ():
        if folder.is_dir() and searched & {folder.resolve(), *folder.resolve().parents}:
            yield folder


def _file_photos(
    verdicts: Iterable[Verdict], filing: Filing | None, say: Callable[[str], None], kept: list[Verdict] | None
) -> Iterator[Verdict]:
    """File each photo as its verdict passes, and keep the verdicts for the gallery, with new paths after a move."""
    for verdict in verdicts:
        target = filing.file(verdict) if filing else None
        if filing and target and filing.dry_run:
            say(f"would {filing.action} {verdict.path} to {target}")
        if kept is not None:
            moved = filing is not None and filing.action == "move" and not filing.dry_run
            kept.append(replace(verdict, path=str(target)) if moved and target else verdict)
        yield verdict


@contextmanager
def _open_output(path: Path | None, stream: IO[Any] | None, *, binary: bool) -> Iterator[IO[Any]]:
    if path is None:
        if stream is None:
            raise OutputError("expected an open output, but stdout is closed: name a file with --output")
        yield stream
        return
    text: dict[str, Any] = {} if binary else {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with atomic_file(path) as partial, partial.open("wb" if binary else "w", **text) as target:
        yield target
