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
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn, TypeVar

import typer
import typer.core

import blurgate
from blurgate.errors import BlurgateError, OutputError
from blurgate.files import check_outputs, check_place, whole_file

if TYPE_CHECKING:
    from blurgate.filing import Filing

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
    from blurgate.preview import write_preview

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
    from blurgate.table import find_table_writer

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
    write_report = _check_report(report, output, study, inputs=sources)
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
            write_report(evaluation, report, title=f"Blur model {output.stem}")
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
    write_report, judge = (
        _check_report(report, inputs=[_file_of(model), source]),
        blurgate.evaluate,
    )  # loads what they need, first
    loaded = blurgate.load_model(model)
    table = blurgate.build_table(source, feature_set=loaded.card.feature_set, net=loaded.net, jobs=jobs, track=_track)
    evaluation = judge(loaded, table)
    if report:
        name = _SHIPPED.get(model, Path(model).stem)
        write_report(evaluation, report, title=f"{name} on {source.resolve().name}")
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
    fit = blurgate.calibrate  # loads what it needs, first
    loaded = blurgate.load_model(model)
    table = blurgate.build_table(source, feature_set=loaded.card.feature_set, net=loaded.net, jobs=jobs, track=_track)
    calibration = fit(loaded, table, max_false_alarms=max_false_alarms, min_recall=min_recall, seed=seed)
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
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Photos and folders of them; - for a list of them on stdin.")
    ],
    model: Model = "trees",
    include: Annotated[
        list[str] | None, typer.Option(help="Only photos like this, as *.jpg or 2024/*; may be repeated.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="No photos and folders like this; may be repeated.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write here instead of to the screen: .csv, .jsonl, .parquet or .txt.")
    ] = None,
    format: Annotated[  # noqa: A002 the option's name
        str | None, typer.Option(help="table, csv, jsonl or parquet; else the output's suffix says.")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="worst or path; else as they are found.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier scan with this output was; judge only what is new.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write a gallery to this .html, worst first.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Blurred from this probability on; else the model's.")] = None,
    review: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Sharp below the first probability, blurred from the second on, undecided between."),
    ] = None,
    copy_to: Annotated[Path | None, typer.Option(help="Copy photos into sharp/, blurred/, undecided/ there.")] = None,
    move_to: Annotated[Path | None, typer.Option(help="Move them; verdicts name the place where they were.")] = None,
    link_to: Annotated[Path | None, typer.Option(help="Make links to them.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be copied, moved or linked.")] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Exit with 1 if there is such a photo: blurred or undecided; may be repeated."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a photo cannot be read.")] = False,
    engine: Annotated[
        str, typer.Option(help="numpy, compiled (needs the extra fast), or auto: compiled for 100 photos.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="cpu, or cuda: needs the extra gpu.")] = "cpu",
    max_megapixels: Annotated[float, typer.Option(min=0, help="A file that says it has more is not read.")] = 200,
    jobs: Jobs = None,
) -> None:
    """Judge photos: sharp or blurred, and how probably."""
    from blurgate.formats import ORDERS, find_format, sort_verdicts
    from blurgate.images import leave_limit_to_us
    from blurgate.progress import Tally
    from blurgate.records import forget

    leave_limit_to_us()
    _silence_libraries()
    chosen = find_format(format, output)
    if "" in paths:
        raise ValueError("a path was needed, got an empty one: . is the folder that you are in")
    roots = [Path(path) for path in paths if path != _STDIN]
    filing = _find_filing({"copy": copy_to, "move": move_to, "link": link_to}, roots, dry_run=dry_run, resume=resume)
    if resume and output is None:
        raise ValueError("resume needs an output: what has been judged is kept beside it")
    _check_choices("sort", [sort] if sort else [], ORDERS)
    _check_choices("fail-on", fail_on or [], ("blurred", "undecided"))
    check_outputs(report, suffixes=(".html",))
    check_outputs(report, output, inputs=[_file_of(model), *roots])
    loaded = blurgate.load_model(model)
    records = output.with_name(f"{output.name}.resume") if output else None
    fresh = records if not resume else None
    if fresh:
        forget(fresh)
    targets = filing.targets if filing else []
    _say_what_is_left_out(targets, roots)
    tally = Tally()
    where: dict[str, Any] = {"include": include or (), "exclude": exclude or (), "leave_out": targets}
    verdicts = blurgate.scan(
        _read_paths(paths),
        **where,
        model=loaded,
        threshold=threshold,
        review=review,
        resume=records,
        jobs=jobs,
        engine=engine,
        device=device,
        max_megapixels=max_megapixels,
    )
    verdicts = tally.count(verdicts)
    kept: list[blurgate.Verdict] | None = [] if report else None
    shown = _act(_shown(verdicts, paths, where, quiet=output is None), filing, kept)
    with _output(output, binary=chosen.binary) as stream, _say_how_to_go_on(records):
        chosen.write(sort_verdicts(shown, sort) if sort else shown, stream)
    if fresh:
        forget(fresh)
    if output:
        _say(f"wrote {output}")
    if report and kept is not None:
        bound = loaded.card.threshold if threshold is None else threshold
        blurgate.write_gallery(kept, report, threshold=bound, jobs=jobs, track=_track)
        _say(f"wrote {report}")
    if filing:
        _say(str(filing))
    _say(str(tally))
    if any(tally.decisions[decision] for decision in fail_on or ()) or (strict and tally.decisions[""]):
        raise SystemExit(1)


def _silence_libraries() -> None:
    """Keep what C libraries print of damaged files, straight to the process's stderr, away from ours."""
    if sys.stderr is not sys.__stderr__ or sys.stderr is None or sys.stderr.fileno() != _STDERR:
        return
    ours = os.fdopen(os.dup(_STDERR), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), _STDERR)
    sys.stderr = ours


def _check_choices(option: str, chosen: Iterable[str], known: Iterable[str]) -> None:
    for name in chosen:
        if name not in known:
            raise ValueError(f"{option} must be one of {', '.join(known)}, got {name!r}")


@contextmanager
def _say_how_to_go_on(records: Path | None) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if records and records.exists():
            _say("what has been judged is kept: the same command with --resume goes on from there")
        raise


def _find_filing(folders: dict[str, Path | None], roots: list[Path], *, dry_run: bool, resume: bool) -> Filing | None:
    chosen = {action: folder for action, folder in folders.items() if folder is not None}
    if not chosen:
        if dry_run:
            raise ValueError("dry-run needs one of --copy-to, --move-to and --link-to: it says what they would do")
        return None
    if len(chosen) > 1:
        raise ValueError(f"one of {', '.join(f'--{action}-to' for action in chosen)} was needed, got {len(chosen)}")
    from blurgate.filing import Filing

    ((action, folder),) = chosen.items()
    if action == "move" and resume:
        raise ValueError("resume finds photos where they were: copy or link them, or move them in a scan of its own")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"a folder was needed to {action} photos to, but {folder} is a file: choose another name")
    if not dry_run:
        check_place(folder)
    return Filing(action, folder, roots, dry_run)


def _say_what_is_left_out(targets: list[Path], roots: list[Path]) -> None:
    folders = {root.resolve() for root in roots}
    for target in targets:
        if target.is_dir() and folders & {target.resolve(), *target.resolve().parents}:
            _say(f"photos in {target} are left out: they have been sorted")


def _act(
    verdicts: Iterable[blurgate.Verdict], filing: Filing | None, kept: list[blurgate.Verdict] | None
) -> Iterator[blurgate.Verdict]:
    """Bring each photo to its folder as its verdict passes, and keep the verdicts for the report."""
    for verdict in verdicts:
        target = filing.file(verdict) if filing else None
        if filing and target and filing.dry_run:
            _say(f"would {filing.action} {verdict.path} to {target}")
        if kept is not None:
            moved = filing is not None and filing.action == "move" and not filing.dry_run
            kept.append(replace(verdict, path=str(target)) if moved and target else verdict)
        yield verdict


def _shown(
    verdicts: Iterator[blurgate.Verdict], paths: list[str], where: dict[str, Any], *, quiet: bool
) -> Iterator[blurgate.Verdict]:
    """Show how far the scan is, unless its verdicts do so on the same screen."""
    from blurgate.finding import walk_photos
    from blurgate.progress import show_progress

    if sys.stderr is None or (quiet and sys.stdout is not None and sys.stdout.isatty()):
        return verdicts
    bar = sys.stderr.isatty()
    count = None if _STDIN in paths else lambda: sum(1 for _ in walk_photos(paths, **where))
    return show_progress(verdicts, sys.stderr, bar=bar, count=count)


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


def _sum_up(numbers: dict[str, object], where: str) -> None:
    interval = numbers["roc_auc_interval"]
    between = f"  (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if isinstance(interval, list) else ""
    laplacian = numbers["variance_of_laplacian"]
    assert isinstance(laplacian, dict)  # noqa: S101 by evaluation's own shape
    few = "; so few that every figure is a first impression" if int(str(numbers["n_scenes"])) < 20 else ""
    print(f"on {numbers['n']} photos of {numbers['n_scenes']} {where}{few}:")
    print(f"  ROC AUC    {numbers['roc_auc']:.3f}{between}; variance of Laplacian {laplacian['roc_auc']:.3f}")
    for name in ("accuracy", "precision", "recall", "f1"):
        print(f"  {name:10} {numbers[name]:.3f}")


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


def _check_report(report: Path | None, *outputs: Path | None, inputs: Iterable[Path | None]) -> Any:
    """See that the report can be written, and has what it needs, before the long job that it is about."""
    if report is None:
        check_outputs(*outputs, inputs=inputs)
        return None
    check_outputs(report, suffixes=(".html",))
    check_outputs(report, report.with_suffix(".json"), *outputs, inputs=inputs)
    return blurgate.write_report


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


@contextmanager
def _output(path: Path | None, *, binary: bool = False) -> Iterator[IO[Any]]:
    if path is None:
        if sys.stdout is None:
            raise OutputError("a place to write to was needed, but stdout is closed: name one with --output")
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # whoever reads them need not wait for the last
        yield sys.stdout
        return
    text: dict[str, Any] = {} if binary else {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with whole_file(path) as partial, partial.open("wb" if binary else "w", **text) as stream:
        yield stream
