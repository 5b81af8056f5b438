"""The command line: parse, one library call, write."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn, TextIO, TypeVar

import typer
import typer.core

import blurgate
from blurgate.errors import BlurgateError, require_extra
from blurgate.files import check_outputs

if TYPE_CHECKING:
    from blurgate.learning.evaluation import Numbers
    from blurgate.scanning.run import Show

T = TypeVar("T")

_STDIN, _STDERR = "-", 2
_SHIPPED = {"trees": "The model that ships", "net": "The net that ships", "both": "Trees and net that ship"}


class _Commands(typer.core.TyperGroup):
    """Every error becomes one sentence and an exit code here."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BlurgateError as error:
            _fail(str(error), 1)
        except ValueError as error:  # the caller's mistake, and here the caller is an option
            _fail(str(error), 2)
        except BrokenPipeError:
            raise  # whoever read the output has enough of it
        except OSError as error:
            _fail(f"{error.filename or 'the output'}: {error.strerror or error}", 1)
        except KeyboardInterrupt:
            _fail("interrupted; nothing half-written was left under its final name", 130)


app = typer.Typer(
    name="blurgate",
    cls=_Commands,
    help="Tells sharp photographs from blurred ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Jobs = Annotated[int | None, typer.Option(min=1, help="Photos at work at the same time; by default one for each core.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed and input give the same result.")]
FeatureSetName = Annotated[
    str, typer.Option(help="What is measured: block99, dct18, or texture1, of use to nets only.")
]
RecipeName = Annotated[str, typer.Option(help="camera or classic.")]
PerPhoto = Annotated[int, typer.Option(min=1, help="Blurred versions of each sharp photo.")]
Report = Annotated[
    Path | None, typer.Option(help="Write the report to this .html, and its numbers beside it as .json.")
]
Labelled = Annotated[Path, typer.Argument(metavar="SOURCE", help="A dataset, a labelled folder, or a table.")]
Model = Annotated[  # text, since ./net is a file, and net is not
    str, typer.Option(help="trees, net or both, which ship, or a model file, as ./own.blurgate.", metavar="MODEL")
]

ScanPaths = Annotated[
    list[str], typer.Argument(metavar="PATH...", help="Photos and folders of them; - for a list of them on stdin.")
]
Include = Annotated[list[str] | None, typer.Option(help="Only photos like this, as *.jpg or 2024/*; may be repeated.")]
Exclude = Annotated[list[str] | None, typer.Option(help="No photos and folders like this; may be repeated.")]
ScanOutput = Annotated[
    Path | None, typer.Option(help="Write here instead of to the screen: .csv, .jsonl, .parquet or .txt.")
]
FormatName = Annotated[str | None, typer.Option(help="table, csv, jsonl or parquet; else the output's suffix says.")]
Sort = Annotated[str | None, typer.Option(help="worst or path; else as they are found.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on where an earlier scan with this output was; judge only what is new.")
]
Gallery = Annotated[Path | None, typer.Option(help="Write a gallery to this .html, worst first.")]
Threshold = Annotated[float | None, typer.Option(help="Blurred from this probability on; else the model's.")]
Review = Annotated[
    tuple[float, float] | None,
    typer.Option(help="Sharp below the first probability, blurred from the second on, undecided between."),
]
CopyTo = Annotated[Path | None, typer.Option(help="Copy photos into sharp/, blurred/, undecided/ there.")]
MoveTo = Annotated[Path | None, typer.Option(help="Move them; verdicts name the place where they were.")]
LinkTo = Annotated[Path | None, typer.Option(help="Make links to them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be copied, moved or linked.")]
FailOn = Annotated[
    list[str] | None,
    typer.Option(help="Exit with 1 if there is such a photo: blurred or undecided; may be repeated."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if a photo cannot be read.")]
EngineName = Annotated[
    str, typer.Option(help="numpy, compiled (needs the extra fast), or auto: compiled for 100 photos.")
]
DeviceName = Annotated[str, typer.Option(help="cpu, or cuda: needs the extra gpu.")]
MaxMegapixels = Annotated[float, typer.Option(min=0, help="A file that says it has more is not read.")]


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what is half-written is cleared away
    warnings.filterwarnings("ignore", module="PIL")  # they name no photo, and nobody can act on them
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files can be any bytes
    app()


@app.command()
def preview(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Any photo.")],
    output: Annotated[Path, typer.Option(help="The contact sheet, a PNG.")] = Path("preview.png"),
) -> None:
    """Draw every blur kind over its parameter range."""
    from blurgate.making.preview import write_preview

    check_outputs(output, suffixes=(".png",))
    write_preview(photo, output)
    _say(f"wrote {output}")


@app.command()
def dataset(
    sharp: Annotated[Path, typer.Argument(metavar="SHARP", help="A folder of sharp photos.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    recipe: RecipeName = "camera",
    per_photo: PerPhoto = 2,
    scenes: Annotated[str, typer.Option(help="What is one scene: each photo, or all photos of a folder.")] = "photo",
    seed: Seed = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a dataset that is there.")] = False,
    jobs: Jobs = None,
) -> None:
    """Make a dataset of blurred pictures out of sharp photos."""
    made = blurgate.make_dataset(
        sharp,
        out,
        recipe=recipe,
        per_photo=per_photo,
        scenes=scenes,
        seed=seed,
        overwrite=overwrite,
        jobs=jobs,
        track=_track,
    )
    _say(f"wrote {out}: {len(made.rows)} pictures of {len({row.scene for row in made.rows})} scenes")
    _list_skipped(made.skipped)


@app.command()
def features(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A dataset, a labelled folder, or a folder of photos.")
    ],
    feature_set: FeatureSetName = "block99",
    output: Annotated[Path, typer.Option(help="The table, .csv or .parquet.")] = Path("features.csv"),
    jobs: Jobs = None,
) -> None:
    """Measure photos: one row of features for each."""
    from blurgate.learning.table import find_table_writer

    check_outputs(output, inputs=[source / "labels.csv", source / "manifest.csv"])
    find_table_writer(output)
    table = blurgate.build_table(source, feature_set=feature_set, jobs=jobs, track=_track)
    blurgate.write_table(table, output)
    _say(f"wrote {output}: {len(table)} photos, {len(table.columns)} features")
    _list_skipped((photo.path, photo.error) for photo in table.skipped)


@app.command()
def train(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Sharp photos, datasets, labelled folders or tables.")
    ],
    feature_set: FeatureSetName = "block99",
    recipe: Annotated[str, typer.Option(help="For folders of sharp photos: camera or classic.")] = "camera",
    per_photo: PerPhoto = 2,
    validate: Annotated[
        str | None,
        typer.Option(help="leave-source-out (the default where there are several) or scenes."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Settings of the trees to try.")] = 50,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds after which no new trial begins.")] = None,
    study: Annotated[Path | None, typer.Option(help="Keep the search here; the same command goes on with it.")] = None,
    seed: Seed = 0,
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation by scene.")] = 5,
    output: Annotated[Path, typer.Option(help="The model file.")] = Path("model.blurgate"),
    report: Report = None,
    jobs: Jobs = None,
) -> None:
    """Tune, train and calibrate a model, and report on it."""
    require_extra("train", "Training")
    _check_report(report, output, study, inputs=sources)
    with tempfile.TemporaryDirectory(prefix="blurgate-") as work:
        table = blurgate.load_sources(
            sources,
            Path(work),
            feature_set=feature_set,
            recipe=recipe,
            per_photo=per_photo,
            seed=seed,
            jobs=jobs,
            track=_track,
        )
        model, evaluation = blurgate.train(
            table,
            validate=validate,
            trials=trials,
            timeout=timeout,
            study=study,
            seed=seed,
            folds=folds,
            jobs=jobs,
            track=_track,
        )
        model.save(output)
        _say(f"wrote {output}")
        if report:
            blurgate.write_report(evaluation, report, title=f"Blur model {output.stem}")
            _say(f"wrote {report} and {report.with_suffix('.json')}")
    _sum_up(evaluation.numbers, "scenes that it has not seen")
    if len(sources) > 1 and validate is None and "sources" not in evaluation.numbers:
        _say("validated by scenes: no two sources could be left out, since they share scenes or have one class only")
    _list_sources(evaluation.numbers.get("sources", {}))
    _list_skipped((photo.path, photo.error) for photo in evaluation.table.skipped)


@app.command()
def evaluate(
    source: Labelled,
    model: Model = "trees",
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")] = False,
    report: Report = None,
    jobs: Jobs = None,
) -> None:
    """Judge a model on labelled photos."""
    require_extra("train", "Evaluating")
    _check_report(report, inputs=[_file_of(model), source])
    loaded = blurgate.load_model(model)
    table = blurgate.build_table(source, feature_set=loaded.card.feature_set, net=loaded.net, jobs=jobs, track=_track)
    evaluation = blurgate.evaluate(loaded, table)
    if report:
        name = _SHIPPED.get(model, Path(model).stem)
        blurgate.write_report(evaluation, report, title=f"{name} on {source.resolve().name}")
        _say(f"wrote {report} and {report.with_suffix('.json')}")
    if as_json:
        print(json.dumps(evaluation.numbers, allow_nan=False))
    else:
        _sum_up(evaluation.numbers, "labelled scenes")
        _list_skipped((photo.path, photo.error) for photo in evaluation.table.skipped)


@app.command()
def calibrate(
    source: Labelled,
    model: Model = "trees",
    max_false_alarms: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Raise the threshold until no more of these sharp photos are called blurred."),
    ] = None,
    min_recall: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Lower the threshold until no fewer of these blurred photos are found."),
    ] = None,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="The new model file.")] = Path("calibrated.blurgate"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")] = False,
    jobs: Jobs = None,
) -> None:
    """Fit a model's probabilities and threshold to your own labelled photos, 20 or more."""
    if max_false_alarms is not None and min_recall is not None:
        raise ValueError("one of --max-false-alarms and --min-recall was needed, got both: one follows from the other")
    check_outputs(output, inputs=[_file_of(model), source])
    require_extra("train", "Calibrating")
    loaded = blurgate.load_model(model)
    table = blurgate.build_table(source, feature_set=loaded.card.feature_set, net=loaded.net, jobs=jobs, track=_track)
    calibration = blurgate.calibrate(loaded, table, max_false_alarms=max_false_alarms, min_recall=min_recall, seed=seed)
    calibration.model.save(output)
    _say(f"wrote {output}")
    if str(output) in _SHIPPED:
        _say(f"--model {output} names what ships: to use this file, say --model ./{output}")
    _list_skipped((photo.path, photo.error) for photo in table.skipped)
    if as_json:
        print(json.dumps(calibration.numbers, allow_nan=False))
        return
    numbers = calibration.numbers
    print(f"on {numbers['n']} photos of {numbers['n_scenes']} scenes, each judged without its scene's help:")
    for name in ("accuracy", "precision", "recall", "f1", "log_loss"):
        print(f"  {name.replace('_', ' '):10} {numbers['before'][name]:.3f} -> {numbers['after'][name]:.3f}")
    print(f"  threshold  {numbers['before']['threshold']:.3f} -> {numbers['threshold']:.3f}")
    if numbers["after"]["log_loss"] > numbers["before"]["log_loss"]:
        print("  on scenes left out its probabilities are worse than before: label more photos, or keep the old model")
    for share, n_class, name in (
        (max_false_alarms, numbers["n"] - numbers["n_blurred"], "sharp"),
        (None if min_recall is None else 1 - min_recall, numbers["n_blurred"], "blurred"),
    ):
        if share is not None and share * n_class < 1:
            needed = f"label {math.ceil(1 / share)} to measure it" if share else "no number of photos can promise it"
            print(f"  {share:.1%} of {n_class} {name} photos is less than one photo: {needed}")
    if numbers["refitted"]:
        print("  trees were added: they judge scenes left out better than the line alone")


@app.command()
def scan(
    paths: ScanPaths,
    model: Model = "trees",
    include: Include = None,
    exclude: Exclude = None,
    output: ScanOutput = None,
    format: FormatName = None,  # noqa: A002 the option's name
    sort: Sort = None,
    resume: Resume = False,
    report: Gallery = None,
    threshold: Threshold = None,
    review: Review = None,
    copy_to: CopyTo = None,
    move_to: MoveTo = None,
    link_to: LinkTo = None,
    dry_run: DryRun = False,
    fail_on: FailOn = None,
    strict: Strict = False,
    engine: EngineName = "auto",
    device: DeviceName = "cpu",
    max_megapixels: MaxMegapixels = 200,
    jobs: Jobs = None,
) -> None:
    """Judge photos: sharp or blurred, and how probably."""
    from blurgate.photos.images import disable_pillow_size_limit
    from blurgate.scanning.run import ScanRequest, run_scan

    disable_pillow_size_limit()
    _silence_libraries()
    if "" in paths:
        raise ValueError("a path was needed, got an empty one: . is the folder that you are in")
    action, folder = _choose_action({"copy": copy_to, "move": move_to, "link": link_to}, dry_run=dry_run)
    request = ScanRequest(
        photos=_read_paths(paths),
        roots=[Path(path) for path in paths if path != _STDIN],
        model=model,
        include=include or (),
        exclude=exclude or (),
        threshold=threshold,
        review=review,
        output=output,
        format=format,
        sort=sort,
        resume=resume,
        report=report,
        action=action,
        folder=folder,
        dry_run=dry_run,
        fail_on=fail_on or (),
        strict=strict,
        jobs=jobs,
        engine=engine,
        device=device,
        max_megapixels=max_megapixels,
    )
    with _say_how_to_go_on(request.records):
        stream = _open_stdout() if output is None else None
        outcome = run_scan(request, stream=stream, say=_say, show=_choose_progress(output), track=_track)
    if outcome.filing:
        _say(str(outcome.filing))
    _say(str(outcome.tally))
    if outcome.failed:
        raise SystemExit(1)


def _silence_libraries() -> None:
    """Keep what C libraries print of damaged files, straight to the process's stderr, away from ours."""
    if sys.stderr is not sys.__stderr__ or sys.stderr is None or sys.stderr.fileno() != _STDERR:
        return
    ours = os.fdopen(os.dup(_STDERR), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), _STDERR)
    sys.stderr = ours


@contextmanager
def _say_how_to_go_on(records: Path | None) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if records and records.exists():
            _say("what has been judged is kept: the same command with --resume goes on from there")
        raise


def _choose_action(folders: dict[str, Path | None], *, dry_run: bool) -> tuple[str | None, Path | None]:
    chosen = {action: folder for action, folder in folders.items() if folder is not None}
    if len(chosen) > 1:
        raise ValueError(f"one of {', '.join(f'--{action}-to' for action in chosen)} was needed, got {len(chosen)}")
    if dry_run and not chosen:
        raise ValueError("dry-run needs one of --copy-to, --move-to and --link-to: it says what they would do")
    return next(iter(chosen.items()), (None, None))


def _choose_progress(output: Path | None) -> Show | None:
    """Show how far the scan is, unless its verdicts do so on the same screen."""
    from blurgate.scanning.progress import show_progress

    if sys.stderr is None or (output is None and sys.stdout is not None and sys.stdout.isatty()):
        return None
    bar = sys.stderr.isatty()
    return lambda verdicts, count: show_progress(verdicts, sys.stderr, bar=bar, count=count)


def _read_paths(paths: list[str]) -> Iterable[str]:
    if _STDIN not in paths:
        return paths
    if sys.stdin is None:
        raise ValueError("a list of photos was needed on stdin, but it is closed")
    return (listed for path in paths for listed in (_read_list(sys.stdin.buffer) if path == _STDIN else [path]))


def _read_list(stream: BinaryIO) -> Iterator[str]:
    """Read paths as they come, each on a line, or each ended by a NUL as ``find -print0`` does it."""
    rest, mark = b"", None
    while chunk := stream.read1(2**16) if isinstance(stream, io.BufferedReader) else stream.read(2**16):
        rest += chunk
        mark = mark or (b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else None)
        *whole, rest = rest.split(mark) if mark else [rest]
        yield from (os.fsdecode(line.rstrip(b"\r\n")) for line in whole if line.strip(b"\r\n"))
    if rest.strip(b"\r\n"):
        yield os.fsdecode(rest.rstrip(b"\r\n"))


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The folder to make.")] = Path("demo"),
    trials: Annotated[int, typer.Option(min=1, help="Settings of the trees to try.")] = 25,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo.")] = False,
) -> None:
    """Do all of it on photographs that dependencies carry."""
    from blurgate.demo import MADE

    made = blurgate.run_demo(output, trials=trials, overwrite=overwrite, track=_track)
    print()
    for name, path in made.files.items():
        print(f"{path!s:28} {MADE[name]}")
    low, high = made.roc_auc_interval
    print(
        f"\nOn {made.n} pictures of {made.n_scenes} photographs that the model has not seen:\n"
        f"  ROC AUC   {made.roc_auc:.3f}  (95 % interval {low:.3f} to {high:.3f}; "
        f"variance of Laplacian {made.roc_auc_of_laplacian:.3f})\n"
        f"  accuracy  {made.accuracy:.3f}  (variance of Laplacian below 100: {made.accuracy_of_laplacian:.3f})\n\n"
        f"Open {made.files['report.html']} in a browser."
    )


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"blurgate {blurgate.__version__}")


def _sum_up(numbers: Numbers, where: str) -> None:
    interval, laplacian = numbers["roc_auc_interval"], numbers["variance_of_laplacian"]
    between = f"  (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    few = "; so few that every figure is a first impression" if numbers["n_scenes"] < 20 else ""
    print(f"on {numbers['n']} photos of {numbers['n_scenes']} {where}{few}:")
    print(f"  ROC AUC    {numbers['roc_auc']:.3f}{between}; variance of Laplacian {laplacian['roc_auc']:.3f}")
    print(f"  accuracy   {numbers['accuracy']:.3f}\n  precision  {numbers['precision']:.3f}")
    print(f"  recall     {numbers['recall']:.3f}\n  f1         {numbers['f1']:.3f}")


def _list_sources(sources: Any) -> None:
    if sources:
        print("each source judged by trees of the others:")
    width = max(map(len, sources), default=0)
    for name, numbers in sources.items():
        print(f"  {name:{width}}  ROC AUC {numbers['roc_auc']:.3f}, accuracy {numbers['accuracy']:.3f}")


def _file_of(model: str) -> Path | None:
    return None if model in _SHIPPED else Path(model)


def _list_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    listed = list(skipped)
    if listed:
        _say(f"{_plural(len(listed), 'photo')} could not be used:")
    for path, error in listed[:10]:
        _say(f"  {path}: {error}")
    if len(listed) > 10:
        _say(f"  and {len(listed) - 10} more")


def _check_report(report: Path | None, *outputs: Path | None, inputs: Iterable[Path | None]) -> None:
    """See that the report can be made and written, before the long job that it is about."""
    if report is None:
        check_outputs(*outputs, inputs=inputs)
        return
    check_outputs(report, suffixes=(".html",))
    check_outputs(report, report.with_suffix(".json"), *outputs, inputs=inputs)
    require_extra("report", "A report")


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _fail(text: str, code: int) -> NoReturn:
    print(f"blurgate: {text}", file=sys.stderr)
    raise SystemExit(code)


def _track(items: Iterable[T], /, *, total: int, doing: str) -> Iterator[T]:
    """Show a progress bar on a terminal, a line elsewhere."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal:
        _say(f"{doing} ({total})")
    yield from track(items, description=doing, total=total, console=console, disable=not console.is_terminal)


def _open_stdout() -> TextIO | None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # whoever reads them need not wait for the last
    return sys.stdout
