"""The command line: parse, one library call, write."""

from __future__ import annotations

import io
import json
import math
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, TypeVar

import typer
import typer.core

import blurgate
from blurgate.errors import BlurgateError, OutputError
from blurgate.files import check_outputs, whole_file

T = TypeVar("T")


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
FeatureSetName = Annotated[str, typer.Option(help="What is measured: block99 or dct18.")]
RecipeName = Annotated[str, typer.Option(help="camera or classic.")]
PerPhoto = Annotated[int, typer.Option(min=1, help="Blurred versions of each sharp photo.")]
Report = Annotated[
    Path | None, typer.Option(help="Write the report to this .html, and its numbers beside it as .json.")
]
Labelled = Annotated[Path, typer.Argument(metavar="SOURCE", help="A dataset, a labelled folder, or a table.")]
Model = Annotated[Path | None, typer.Option(help="The model file; by default the model that ships.")]


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
    model: Model = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")] = False,
    report: Report = None,
    jobs: Jobs = None,
) -> None:
    """Judge a model on labelled photos."""
    write_report, judge = (
        _check_report(report, inputs=[model, source]),
        blurgate.evaluate,
    )  # loads what they need, first
    loaded = _load(model)
    table = blurgate.build_table(source, feature_set=loaded.card.feature_set, jobs=jobs, track=_track)
    evaluation = judge(loaded, table)
    if report:
        name = model.stem if model else "The model that ships"
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
    model: Model = None,
    max_false_alarms: Annotated[
        float | None, typer.Option(help="Raise the threshold until no more of these sharp photos are called blurred.")
    ] = None,
    min_recall: Annotated[
        float | None, typer.Option(help="Lower the threshold until no fewer of these blurred photos are found.")
    ] = None,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="The new model file.")] = Path("calibrated.blurgate"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")] = False,
    jobs: Jobs = None,
) -> None:
    """Fit a model's probabilities and threshold to your own labelled photos, 20 or more."""
    check_outputs(output, inputs=[model, source])
    fit = blurgate.calibrate  # loads what it needs, first
    loaded = _load(model)
    table = blurgate.build_table(source, feature_set=loaded.card.feature_set, jobs=jobs, track=_track)
    calibration = fit(loaded, table, max_false_alarms=max_false_alarms, min_recall=min_recall, seed=seed)
    calibration.model.save(output)
    _say(f"wrote {output}")
    if as_json:
        print(json.dumps(calibration.numbers, allow_nan=False))
        return
    numbers = calibration.numbers
    print(f"on {numbers['n']} photos of {numbers['n_scenes']} scenes, each judged without its scene's help:")
    for name in ("accuracy", "precision", "recall", "f1", "log_loss"):
        print(f"  {name.replace('_', ' '):10} {numbers['before'][name]:.3f} -> {numbers['after'][name]:.3f}")
    print(f"  threshold  {numbers['before']['threshold']:.3f} -> {numbers['threshold']:.3f}")
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
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Photos, and folders of them.")],
    model: Model = None,
    format: Annotated[str, typer.Option(help="table, csv or jsonl.")] = "table",  # noqa: A002 the option's name
    output: Annotated[Path | None, typer.Option(help="Write here instead of to the screen.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Blurred from this probability on; else the model's.")] = None,
    engine: Annotated[
        str, typer.Option(help="numpy, compiled (needs the extra fast), or auto: compiled for 100 photos.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="cpu, or cuda: needs the extra gpu.")] = "cpu",
    jobs: Jobs = None,
) -> None:
    """Judge photos: sharp or blurred, and how probably."""
    from blurgate.formats import find_writer

    write = find_writer(format)
    check_outputs(output, inputs=[model, *paths])
    loaded = _load(model)
    if threshold is not None:
        loaded = loaded.with_threshold(threshold)
    seen: Counter[str] = Counter()
    with _output(output) as stream:
        write(_counted(blurgate.scan(paths, model=loaded, jobs=jobs, engine=engine, device=device), seen), stream)
    if output:
        _say(f"wrote {output}")
    _say(
        f"{_plural(seen.total(), 'photo')}: {seen['blurred']} blurred, {seen['sharp']} sharp, "
        f"{seen['undecided']} undecided, {seen['']} could not be read"
    )


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


def _load(model: Path | None) -> blurgate.BlurModel:
    return blurgate.load_model(model) if model else blurgate.load_model()


def _list_skipped(skipped: Iterable[tuple[str, str]]) -> None:
    listed = list(skipped)
    if listed:
        _say(f"{_plural(len(listed), 'photo')} could not be used:")
    for path, error in listed[:10]:
        _say(f"  {path}: {error}")
    if len(listed) > 10:
        _say(f"  and {len(listed) - 10} more")


def _counted(verdicts: Iterable[blurgate.Verdict], seen: Counter[str]) -> Iterator[blurgate.Verdict]:
    for verdict in verdicts:
        seen[verdict.decision] += 1
        yield verdict


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
def _output(path: Path | None) -> Iterator[TextIO]:
    if path is None:
        if sys.stdout is None:
            raise OutputError("a place to write to was needed, but stdout is closed: name one with --output")
        yield sys.stdout
        return
    with (
        whole_file(path) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        yield stream
