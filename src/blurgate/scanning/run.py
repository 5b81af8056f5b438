"""A whole scan, from request to outcome: check, scan, write verdicts, file photos, write the gallery.

The command line, a service and a cluster share this flow: each only builds the request and shows the outcome.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeAlias

from blurgate.errors import MachineError, OutputError, PhotoError, escape_unprintable, require_extra, require_several
from blurgate.files import check_writable, hold, hold_folder, is_filed, replace_file
from blurgate.judging.model import BlurModel, Review, find_bounds, load_model, model_file
from blurgate.judging.verdicts import Verdict
from blurgate.outputs import KINDS, check_outputs, is_content_ours, is_picture_of_ours, read_head
from blurgate.photos.addresses import find_archive, hide, is_address, split_scheme
from blurgate.photos.finding import UNKNOWN, AnyPath, describe_raws, describe_unknown, is_afar, walk_photos
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At, check_at
from blurgate.scanning.filing import Filing
from blurgate.scanning.formats import ORDERS, WRITERS, Format, find_format, sort_verdicts
from blurgate.scanning.gallery import write_gallery
from blurgate.scanning.items import Item, names_tables
from blurgate.scanning.map_drawing import MapDrawing
from blurgate.scanning.picture_folders import PictureFolder
from blurgate.scanning.piece_files import PieceFolder
from blurgate.scanning.progress import Tally, count_photos
from blurgate.scanning.records import Records, delete_records, open_records
from blurgate.scanning.stream import check_place, scan_items
from blurgate.threads import Track, no_track

Show: TypeAlias = Callable[[Iterable[Verdict], "Callable[[], int] | None"], Iterator[Verdict]]

_TABLES = 16  # of which is said what columns were left out
_NOT_ON_DISK = (
    "only photos on a disk can be copied, moved, linked or given maps, but {path} is in a store or an archive: leave "
    "out that option, or fetch the photos first"
)
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
    at : int or 'full', optional
        The size at which to judge; see `blurgate.scanning.stream.scan`.
    column : str, optional
        Of the pictures in Parquet tables; see `blurgate.scanning.stream.scan`.
    output : Path or str, optional
        File for the verdicts; by default they go to a stream. A str is an address, where they are written once they are
        complete.
    format : str, optional
        A name out of `blurgate.scanning.formats.WRITERS`; by default the suffix of `output` decides.
    sort : str, optional
        A name out of `blurgate.scanning.formats.ORDERS`; by default verdicts keep the order of the photos.
    resume : bool
        Resume an earlier scan with the same output: analyse only photos that are new or changed, and keep the rows of
        those that it moved.
    report : Path or str, optional
        ``.html`` file for the gallery, or an address.
    maps : Path, optional
        Folder for a blur map of each photo on disk that was judged: a gray PNG of the photo's own size, named as the
        photo, 255 where it is surely blurred to 0 where it is surely sharp, see
        `blurgate.judging.explaining.Explanation.to_gray`. The model needs an explainer.
    action : {'copy', 'move', 'link'}, optional
        What to do with the photos themselves.
    folder : Path, optional
        Target of `action`: photos go to ``sharp/``, ``blurred/`` and ``undecided/`` in it.
    dry_run : bool
        Report what `action` would do without touching any file.
    fail_on : sequence of {'blurred', 'undecided'}
        Decisions that make the scan fail. With any of them a photo that cannot be read makes it fail too, and so does
        a scan of no photo.
    strict : bool
        True if a photo that cannot be read makes the scan fail without `fail_on` as well, or a map that cannot be
        drawn.
    allow_unreadable : bool
        True if photos that cannot be read do not make a scan with `fail_on` fail.
    jobs : int, optional
        Number of photos processed in parallel, at least 1; by default one for each core.
    workers : {'auto', 'threads', 'processes'}
    engine : {'auto', 'numpy', 'compiled'}
        See `blurgate.scanning.stream.scan`.
    device : {'cpu', 'cuda'}
    max_megapixels : float
        A file whose header states more is refused without decoding it.
    on : {'here', 'ray'}
        Where to judge: on this machine or on a Ray cluster. There `output` may also be a folder, named without a
        suffix: the workers' own Parquet files then are the verdicts.
    address : str, optional
        Of the cluster; see `blurgate.scanning.ray_data.connect`.
    temporary : mapping of Path to str
        Outputs that are written to an address once they are complete; set by `run_scan` itself.
    """

    photos: Any
    roots: Sequence[Path] = ()
    model: BlurModel | AnyPath = "default"
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    threshold: float | None = None
    review: Review | None = None
    at: At = None
    column: str | None = None
    output: Path | str | None = None
    format: str | None = None
    sort: str | None = None
    resume: bool = False
    report: Path | str | None = None
    maps: Path | None = None
    action: str | None = None
    folder: Path | None = None
    dry_run: bool = False
    fail_on: Sequence[str] = ()
    strict: bool = False
    allow_unreadable: bool = False
    jobs: int | None = None
    workers: str = "threads"
    engine: str = "auto"
    device: str = "cpu"
    max_megapixels: float = MAX_MEGAPIXELS
    on: str = "here"
    address: str | None = None
    temporary: Mapping[Path, str] = field(default_factory=dict)

    @property
    def output_path(self) -> Path | None:
        """The output, if it is on a disk."""
        return self.output if isinstance(self.output, Path) else None

    @property
    def report_path(self) -> Path | None:
        """The gallery, if it is on a disk."""
        return self.report if isinstance(self.report, Path) else None

    @property
    def records(self) -> Path | None:
        """The file beside the output that lets an interrupted scan resume; None on a cluster."""
        output = self.output_path
        if output is None or output in self.temporary or self.on != "here":
            return None
        return output.with_name(f"{output.name}.resume")

    @property
    def pieces(self) -> PieceFolder | None:
        """The folder that does the same on a cluster: beside the output, or the output itself; None without one."""
        if self.output is None or self.on == "here":
            return None
        path = self.output_path
        place = str(self.output) if path is None else self.temporary.get(path) or str(path.absolute())
        return PieceFolder(place if self.fills_folder else f"{place}.pieces", anew=not self.resume)

    @property
    def fills_folder(self) -> bool:
        """True if the output is a folder that the workers of a cluster fill."""
        if self.on != "ray" or self.output is None or self.format not in {None, "parquet"}:
            return False
        if self.output_path:
            return self.output_path.is_dir() or not self.output_path.suffix
        return not posixpath.splitext(str(self.output))[1]

    def make_filing(self, records: Records | None = None) -> Filing | None:
        """Make what sorts the photos by their verdicts; None if the request has no action."""
        if self.action is None or self.folder is None:
            return None
        return Filing(self.action, self.folder, self.roots, self.dry_run, records)

    def make_map_folder(self) -> PictureFolder | None:
        """Make what names and writes the maps; None if the request wants none."""
        return PictureFolder(self.maps, self.roots, "map") if self.maps else None


@dataclass(frozen=True)
class Outcome:
    """The result of a scan.

    Parameters
    ----------
    tally : Tally
        Photos by decision, pixels, and time.
    filing : Filing or None
        States what was copied, moved or linked.
    failures : tuple of str
        Why the scan has failed, each a sentence: photos got a decision in ``fail_on`` or, with ``fail_on`` or
        ``strict``, could not be judged.
    """

    tally: Tally
    filing: Filing | None
    failures: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """True if there are `failures`."""
        return bool(self.failures)


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
        Shows the progress of making thumbnails and maps.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If the request contradicts itself, names an unknown format, order, decision, engine or device, or an output that
        is an input too.
    OutputError
        If an output cannot be written, another process is writing it, or it would replace what is not ours; if photos
        cannot be filed; or if records are damaged, or would lose the rows of moved photos.
    PhotoError
        If a path does not exist, or no photo is found.
    ModelFileError
        If the model cannot be loaded.
    NetError
        If the net of the model is asked and cannot answer.
    MachineError
        If the machine, and not a photo, is why photos cannot be read. Records stay, so that the scan can resume.
    TypeError
        If one text is given in place of several.
    MissingExtraError
        If the request needs an extra that is not installed.
    """
    with _place_outputs(request, say) as placed:
        return _run(placed, stream=stream, say=say, show=show, track=track)


def _run(
    request: ScanRequest,
    *,
    stream: IO[Any] | None,
    say: Callable[[str], None],
    show: Show | None,
    track: Track,
) -> Outcome:
    chosen = check_request(request)
    model = request.model if isinstance(request.model, BlurModel) else load_model(request.model)
    if request.maps and not model.explainer:
        raise ValueError(
            "to draw maps, a model with an explainer is needed, got one without: use default, net, both or open"
        )
    tally, left_out = Tally(find_bounds(model, request.threshold, request.review)), LeftOut(request)
    kept: list[Verdict] = []
    broken: list[str] = []
    with (
        _hold_folders(request) as alone,
        hold(request.output_path) if request.output_path else nullcontext(False) as held,
    ):
        with _open_records(request, say) as records, _draw_maps(request, model, say=say, alone=alone) as drawing:
            filing = request.make_filing(records)
            judged = _scan(request, model, filing, records, left_out, say=say)
            verdicts = _file_photos(
                _note_broken(tally.count(judged), broken), filing, drawing, say, kept if request.report else None
            )
            shown = show(verdicts, _count_later(request, filing, records)) if show else verdicts
            ordered = sort_verdicts(shown, request.sort) if request.sort else shown
            says_all = request.dry_run and not request.output and not request.format  # what would be done
            if says_all or request.fills_folder:
                deque(ordered, maxlen=0)
            else:
                with _open_output(request.output_path, stream, binary=chosen.binary, held=held) as target:
                    chosen.write(ordered, target)
        if request.report:  # before the records are gone: without them, a killed move cannot be continued
            threshold = model.card.threshold if request.threshold is None else request.threshold
            options: dict[str, Any] = {"model": model, "at": request.at, "max_megapixels": request.max_megapixels}
            options["column"] = request.column
            write_gallery(kept, request.report, threshold=threshold, **options, jobs=request.jobs, track=track)
        if request.records and not request.resume:
            delete_records(request.records)
        if request.pieces and not request.resume and not request.fills_folder:
            request.pieces.delete()
    for line in _describe_end(request, tally, left_out, filing, drawing):
        say(line)
    failures = [*_list_failures(request, tally), *left_out.list_failures()]
    failures += [problem for problem in broken if not any(problem in failure for failure in failures)]
    if request.strict and drawing and drawing.failed:
        failures.append(f"{drawing.failed:,} maps could not be drawn")
    return Outcome(tally, filing, tuple(failures))


def _describe_end(
    request: ScanRequest, tally: Tally, left_out: LeftOut, filing: Filing | None, drawing: MapDrawing | None
) -> Iterator[str]:
    """Say what was left out and written."""
    yield from left_out.describe()
    yield from _describe_columns(request)
    if filing and (missing := filing.count_missing()):
        yield (
            f"left out {missing:,} of the photos that an earlier scan moved: they came from elsewhere, or are no "
            "longer where it put them"
        )
    if request.fail_on and tally.decisions["undecided"] and "undecided" not in request.fail_on:
        yield f"{count_photos(tally.decisions['undecided'])} undecided: add --fail-on undecided to fail on them too"
    if drawing:
        yield str(drawing)
    for path in filter(None, (request.output, request.report)):
        if path not in request.temporary:
            yield f"wrote {hide(str(path))}"


def _describe_columns(request: ScanRequest) -> Iterator[str]:
    """Say which column of pictures was not looked at, if none was named."""
    if request.column or not names_tables(request.photos):
        return
    from blurgate.photos.picture_tables import list_columns

    places = [
        place
        for place in map(find_archive, _list_named(request.photos))
        if place and place.kind == "parquet" and not place.inner
    ]
    said = set[str]()
    for place in places[:_TABLES]:
        with suppress(PhotoError, MachineError, OSError):  # the scan has met it, or workers have
            chosen, others = list_columns(place)
            if others and chosen not in said:
                said.add(chosen)
                yield (
                    f"left out the pictures in {', '.join(map(escape_unprintable, others))} of {hide(place.archive)}: "
                    f"judged those in {escape_unprintable(chosen)}, see --column"
                )


class LeftOut:
    """Remembers what a scan has left out: raw files, and folders because photos are filed in them.

    Parameters
    ----------
    request : ScanRequest
    """

    def __init__(self, request: ScanRequest) -> None:
        filing = request.make_filing()
        self.raws = Counter[str]()
        self._request, self._folders = request, list[str]()
        folders = {os.path.realpath(folder) for folder in [filing.folder, *filing.targets]} if filing else set()
        folders |= {os.path.realpath(request.maps)} if request.maps else set()
        self._own, self._new = folders, {folder for folder in folders if not os.path.lexists(folder)}
        self._unmarked = {folder for folder in folders if not is_filed(folder)}

    def note(self, folder: str) -> None:
        """Remember a folder, unless the scan itself has made it."""
        if os.path.realpath(folder) not in self._new and folder not in self._folders:
            self._folders.append(folder)

    def describe(self) -> Iterator[str]:
        """Say how many raw files there are, and how many photos are in each folder that does not fail the scan."""
        if self.raws:
            yield f"found {describe_raws(self.raws)}"
        for folder, count, ours in self._counts:
            place = os.path.realpath(folder)
            if count == ours:
                continue
            if place in self._own or not self._request.fail_on:
                why = "where this scan files photos" if place in self._unmarked else "where an earlier scan filed them"
                yield f"left out {count_photos(count - ours)} in {folder}, {why}: name that folder to scan it"

    def list_failures(self) -> Iterator[str]:
        """Say which photos a gate has not looked at: those that a mark hides, but in the scan's own target.

        What looks like a map of ours counts too: a photo may be made to look like one.
        """
        if self._request.fail_on and self.raws[UNKNOWN]:
            yield describe_unknown(self.raws[UNKNOWN])
        for folder, count, ours in self._counts:
            if count and self._request.fail_on and os.path.realpath(folder) not in self._own:
                were = "was" if count == 1 else "were"
                if count == ours:
                    yield (
                        f"{count:,} {'picture' if count == 1 else 'pictures'} in {folder} {were} left out for looking "
                        "like blurgate's maps: exclude that folder, or name it with --maps again"
                    )
                    continue
                yield (
                    f"{count_photos(count)} in {folder}, where an earlier scan filed photos, {were} left out: "
                    "name that folder to scan it, or exclude it"
                )

    @cached_property
    def _counts(self) -> list[tuple[str, int, int]]:
        """Count the photos in each folder, and those of them that look like maps or explanations."""
        include, exclude = self._request.include, self._request.exclude
        counts = []
        for folder in self._folders:
            ours = [is_picture_of_ours(found.path) for found in walk_photos([folder], include=include, exclude=exclude)]
            counts.append((folder, len(ours), sum(ours)))
        return counts


def check_request(request: ScanRequest) -> Format:
    """Refuse a request that cannot be carried out, before the work starts.

    Returns
    -------
    Format
        The format of the output.

    Raises
    ------
    ValueError, OutputError, MissingExtraError, TypeError
        See `run_scan`.
    """
    for name in ("roots", "include", "exclude", "fail_on"):
        require_several(name, getattr(request, name))
    _check_cluster(request)
    chosen = WRITERS["parquet"] if request.fills_folder else find_format(request.format, request.output_path)
    if request.action and request.folder:
        if request.folder.exists() and not request.folder.is_dir():
            raise OutputError(
                f"expected a folder to {request.action} photos to, but {request.folder} is a file: choose another name"
            )
        if not request.dry_run:
            check_writable(request.folder)
    if filing := request.make_filing():
        filing.check()
    if maps := request.make_map_folder():
        maps.check()
        if filing and os.path.realpath(maps.folder) in map(os.path.realpath, [filing.folder, *filing.targets]):
            raise ValueError(f"maps and photos need folders of their own, but {maps.folder} is named for both")
    if request.resume and request.output is None:
        raise ValueError("resume needs an output file: its records are saved beside it")
    check_at(request.at)
    _check_choices("sort", [request.sort] if request.sort else [], ORDERS)
    _check_choices("fail-on", request.fail_on, FAILURES)
    if request.allow_unreadable and (request.strict or not request.fail_on):
        raise ValueError("allow-unreadable goes with fail-on and without strict: else there is nothing to allow")
    _check_named(request)
    inputs = [model_file(request.model), *request.roots]
    verdicts = None if request.fills_folder else request.output_path
    check_outputs(gallery=request.report_path, verdicts=verdicts, inputs=inputs)
    return chosen


def _check_cluster(request: ScanRequest) -> None:
    """Refuse what a cluster cannot do."""
    check_place(request.on, request.address, request.device)
    if request.on == "here":
        return
    require_extra("ray", "Scanning on a cluster")
    if request.action == "move":
        raise ValueError("on ray cannot go with move-to, which changes what the workers see: use copy-to or link-to")
    if request.fills_folder and request.sort:
        raise ValueError("sort needs an output file, got a folder, which each worker fills: name a .parquet or .csv")


@contextmanager
def _hold_folders(request: ScanRequest) -> Iterator[bool]:
    """Keep a second scan from moving photos or drawing maps to the same folders; say if the maps' is held."""
    moves = request.folder if request.action == "move" and not request.dry_run else None
    with (
        hold_folder(moves) if moves else nullcontext(),
        hold_folder(request.maps) if request.maps else nullcontext(False) as alone,
    ):
        yield alone


def _check_named(request: ScanRequest) -> None:
    """Refuse to file or map photos that are not on a disk, and a column where there is no table."""
    if request.column and isinstance(request.photos, list) and not names_tables(request.photos):
        raise ValueError("column goes with a table: name a .parquet file, or leave it out")
    if request.action or request.maps:
        for path in filter(is_afar, _list_named(request.photos)):
            raise OutputError(_NOT_ON_DISK.format(path=hide(path)))


def _list_named(photos: Any) -> list[str]:
    """List the paths that are known before a scan."""
    named = [photos] if isinstance(photos, str | os.PathLike) else photos
    known = isinstance(named, Sequence) and not isinstance(named, bytes | bytearray | memoryview)
    return [os.fsdecode(photo) for photo in named if isinstance(photo, str | os.PathLike)] if known else []


@contextmanager
def _place_outputs(request: ScanRequest, say: Callable[[str], None]) -> Iterator[ScanRequest]:
    """Write outputs that belong to an address to the disk first; send them there once they are complete."""
    wanted = {"output": None if request.fills_folder else request.output, "report": request.report}
    addresses = {name: path for name, path in wanted.items() if isinstance(path, str)}
    if not addresses:
        yield request
        return
    if request.resume and "output" in addresses and request.on == "here":
        raise ValueError("resume needs an output on a disk: its records are saved beside it")
    for name, address in addresses.items():
        _check_address(address, {"output": "verdicts", "report": "gallery"}[name])
    from tempfile import mkdtemp

    folder = Path(mkdtemp(prefix="blurgate-"))
    places = {name: folder / name / (posixpath.basename(address) or name) for name, address in addresses.items()}
    try:
        for place in places.values():
            place.parent.mkdir()
        given: dict[str, Any] = {**places, "temporary": {place: addresses[name] for name, place in places.items()}}
        yield replace(request, **given)
    except BaseException as error:
        verdicts = places.get("output")
        if isinstance(error, Exception) and verdicts and verdicts.exists():  # complete: only the gallery failed
            _send(verdicts, addresses["output"], say)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for name, address in addresses.items():
        _send(places[name], address, say)
    shutil.rmtree(folder, ignore_errors=True)


def _send(place: Path, address: str, say: Callable[[str], None]) -> None:
    """Send a complete output to its address; if that fails, it stays on the disk."""
    from blurgate.photos.stores import write

    try:
        write(place, address)
    except (PhotoError, MachineError) as error:
        raise OutputError(f"{error}: what was to be written lies in {place}") from error
    place.unlink()
    say(f"wrote {hide(address)}")


def _check_address(address: str, kind: str) -> None:
    """Refuse an address where something lies that is not ours."""
    from blurgate.photos.stores import Ranges, find_entry

    if split_scheme(address) in ("http", "https", "zip", "tar"):
        raise ValueError(f"expected a file or an address such as s3://bucket/name, but {hide(address)} takes no files")
    suffixes = KINDS[kind].suffixes
    if suffixes and not address.lower().endswith(suffixes):
        raise ValueError(f"expected a file named {' or '.join(suffixes)}, got {hide(address)}: choose another name")
    try:
        found = find_entry(address)
    except PhotoError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return
        raise OutputError(str(error)) from error
    if found.is_folder:
        raise OutputError(f"expected a file to write to, but {hide(address)} is a folder: choose another name")
    there = Ranges(address)
    try:
        if not is_content_ours(read_head(there.read_at, there.size), kind):
            raise OutputError(
                f"{hide(address)} exists and is not {KINDS[kind].words} that blurgate wrote: choose another name, or "
                "delete it first"
            )
    finally:
        there.close()


def _check_choices(option: str, chosen: Iterable[str], known: Iterable[str]) -> None:
    for name in chosen:
        if name not in known:
            raise ValueError(f"{option} must be one of {', '.join(known)}, got {name!r}")


def _list_failures(request: ScanRequest, tally: Tally) -> Iterator[str]:
    """Say why a scan has failed; a gate that could not look at every photo has not found them all in order."""
    photos, unread = count_photos(tally.total), tally.decisions["error"]
    for decision in dict.fromkeys(request.fail_on):
        if number := tally.decisions[decision]:
            yield f"{number:,} of {photos} {'is' if number == 1 else 'are'} {decision}"
    if unread and (request.strict or (request.fail_on and not request.allow_unreadable)):
        more = f"; and {unread - len(tally.errors):,} more" if unread > len(tally.errors) else ""
        remedy = "" if request.strict else ". To ignore such photos, add --allow-unreadable"
        yield f"{unread:,} of {photos} could not be judged: {'; '.join(tally.errors)}{more}{remedy}"
    if request.fail_on and unread == tally.total and (request.allow_unreadable or not unread):
        yield "no photo was judged, so none passes: name at least one that can be read"


@contextmanager
def _open_records(request: ScanRequest, say: Callable[[str], None]) -> Iterator[Records | None]:
    """Open the records of the output, unless moved photos would lose their rows."""
    if request.pieces and not request.resume and (count := request.pieces.count()):
        say(f"judging photos again: {hide(request.pieces.place)} has {count:,} pieces of an earlier scan, see --resume")
    if request.records is None:
        yield None
        return
    with open_records(request.records, anew=not request.resume) as records:
        if records.moved_before:
            _require_moves(request, records)
        if not request.resume and (count := records.count()):
            say(f"judging {count:,} photos again that {request.records} knows from an earlier scan: see --resume")
        yield records


def _require_moves(request: ScanRequest, records: Records) -> None:
    """Refuse to go on without the photos that an earlier scan moved: their rows would be lost."""
    rows = f"{request.records} has the rows of {records.moved_before:,} photos that an earlier scan moved"
    if not request.resume:
        raise OutputError(f"{rows}: add --resume to continue that scan, or delete the file to start over")
    filing = request.make_filing()
    if filing is None or filing.action != "move" or records.moved_elsewhere(os.path.realpath(filing.folder)):
        raise OutputError(f"{rows}: give the same --move-to again, or choose another output")


def _scan(
    request: ScanRequest,
    model: BlurModel,
    filing: Filing | None,
    records: Records | None,
    left_out: LeftOut,
    *,
    say: Callable[[str], None],
) -> Iterator[tuple[Item, Verdict]]:
    try:
        return scan_items(
            request.photos,
            **_search_options(request, filing),
            column=request.column,
            note_left_out=left_out.note,
            if_none=_describe_moved(filing),
            raws=left_out.raws,
            model=model,
            threshold=request.threshold,
            review=request.review,
            at=request.at,
            resume=request.pieces or records,
            find_moved=filing.find_moved if filing else None,
            jobs=request.jobs,
            workers=request.workers,
            engine=request.engine,
            device=request.device,
            max_megapixels=request.max_megapixels,
            on=request.on,
            address=request.address,
        )
    except PhotoError:
        left_out.raws.clear()  # the error itself names them
        for line in (*left_out.describe(), *left_out.list_failures()):
            say(line)
        raise


def _describe_moved(filing: Filing | None) -> str:
    """Say what may be why there are no photos."""
    if filing is None or filing.action != "move" or not any(map(is_filed, map(str, [filing.folder, *filing.targets]))):
        return "check the path"
    return f"nothing is left to move if an earlier scan has moved them to {filing.folder}; else check the path"


def _count_later(request: ScanRequest, filing: Filing | None, records: Records | None) -> Callable[[], int] | None:
    if not isinstance(request.photos, list | tuple) or any(map(is_afar, _list_named(request.photos))):
        return None  # listing a store twice takes time
    if request.on != "here" and not all(map(os.path.lexists, request.photos)):  # only the workers see them
        return None
    moved, options = records.moved_before if records else 0, _search_options(request, filing)
    return lambda: moved + sum(1 for _ in walk_photos(request.photos, **options, note_left_out=lambda _: None))


def _search_options(request: ScanRequest, filing: Filing | None) -> dict[str, Any]:
    leave_out = [*(filing.targets if filing else ())]  # else copies and links would be scanned as more photos
    if request.maps:
        leave_out.append(request.maps)
    return {"include": request.include, "exclude": request.exclude, "leave_out": leave_out}


@contextmanager
def _draw_maps(
    request: ScanRequest, model: BlurModel, *, say: Callable[[str], None], alone: bool
) -> Iterator[MapDrawing | None]:
    """Draw maps beside the scan, until the block ends and all are drawn."""
    folder = request.make_map_folder()
    if folder is None:
        yield None
        return
    drawing = MapDrawing(folder, model, say, alone=alone, at=request.at, max_megapixels=request.max_megapixels)
    with drawing.run(request.jobs):
        yield drawing


def _file_photos(
    judged: Iterable[tuple[Item, Verdict]],
    filing: Filing | None,
    drawing: MapDrawing | None,
    say: Callable[[str], None],
    kept: list[Verdict] | None,
) -> Iterator[Verdict]:
    """File each photo as its verdict passes and have its map drawn; keep verdicts for the gallery, with new paths."""
    for item, verdict in judged:
        if (filing or drawing) and verdict.path and is_address(verdict.path):  # in a list that came bit by bit
            raise OutputError(_NOT_ON_DISK.format(path=verdict.path))
        target = str(filing.file(verdict) or "") if filing and not item.filed else item.filed
        if filing and item.filed:
            filing.count_moved()
        elif filing and target and filing.dry_run:
            say(f"would {filing.action} {verdict.path} to {target}")
        moved = bool(item.filed) or (filing is not None and filing.action == "move" and not filing.dry_run)
        place = target if moved and target else verdict.path
        if drawing:
            drawing.draw(verdict, place, again=not item.known)
        if kept is not None:
            kept.append(replace(verdict, path=place))
        yield verdict


def _note_broken(judged: Iterable[tuple[Item, Verdict]], broken: list[str]) -> Iterator[tuple[Item, Verdict]]:
    """Note what is wrong with archives and stores whose photos could not all be found: such a scan has failed."""
    for item, verdict in judged:
        if item.broken:
            broken.append(verdict.error)
        yield item, verdict


@contextmanager
def _open_output(path: Path | None, stream: IO[Any] | None, *, binary: bool, held: bool) -> Iterator[IO[Any]]:
    if path is None:
        if stream is None:
            raise OutputError("expected an open output, but stdout is closed: name a file with --output")
        yield stream
        return
    text: dict[str, Any] = {} if binary else {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with replace_file(path, held=held) as partial, partial.open("wb" if binary else "w", **text) as target:
        yield target
