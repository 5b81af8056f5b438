"""The command line: parse, one library call, print."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
import shutil
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NoReturn, TextIO, TypeVar

import typer
import typer.core

import blurgate
from blurgate.errors import EXTRAS, BlurgateError, MachineError, NetError, escape_unprintable, require_extra
from blurgate.outputs import check_outputs
from blurgate.signals import INTERRUPTED, prefer_interrupt
from blurgate.threads import track_step

if TYPE_CHECKING:
    from blurgate.learning.calibration import CalibrationNumbers
    from blurgate.learning.evaluation import Numbers, SourceScores, TrainingNumbers
    from blurgate.scanning.explanations import Explained
    from blurgate.scanning.run import ScanRequest, Show

T = TypeVar("T")

_PATHS = ("FILE", "FOLDER")  # what the help calls a value that is a path
_UsageError: Any = typer.BadParameter.__base__  # which typer does not export
_STDIN, _STDERR = "-", 2
_COLUMNS = 80  # of a terminal, if nothing else is known
_DESCRIBED = (  # entries of a model that `info` prints
    *("asks", "threshold", "review", "at_threshold", "results", "limits", "trained_on", "terms", "calibrated_on"),
    *("explainer", "made_by", "fingerprint"),
)
_LONG = 8  # entries of a list: a longer one is only counted
_SHIPPED = {
    "default": "The shipped model",
    "trees": "The shipped trees",
    "net": "The shipped net",
    "both": "The shipped trees and net",
    "open": "The shipped open model",
}


class _Commands(typer.core.TyperGroup):
    """Turns every error into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with prefer_interrupt():
                return super().invoke(ctx)
        except BlurgateError as error:
            _fail(str(error), 1)
        except ValueError as error:  # a caller's mistake, and here the caller is an option
            _fail(_name_option(str(error), app), 2)
        except BrokenPipeError:
            raise  # the reader of the output has stopped reading
        except MemoryError:
            _fail("out of memory: give it less, such as smaller files or fewer --jobs, or a larger machine", 1)
        except OSError as error:
            where, why = error.filename or "the output", error.strerror or error
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            _fail(f"{where} cannot be written ({why}): free disk space" if full else f"{where}: {why}", 1)
        except _UsageError as error:
            text = _fit_terminal(f"Error: {error.format_message()}", sys.stderr).removeprefix("Error: ")
            setattr(error, "format_message", lambda: text)  # noqa: B010 mypy refuses to assign a method
            raise
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)


def _name_option(message: str, command: Any) -> str:
    """Write the parameter that a message of the library begins with as an option."""
    name, _, rest = message.partition(" ")
    option = f"--{name.replace('_', '-')}"
    commands: Mapping[str, Any] = getattr(typer.main.get_command(command), "commands", {})
    known = {text for each in commands.values() for param in each.params for text in param.opts}
    return f"{option} {rest}" if option in known else message


class _Command(typer.core.TyperCommand):
    """Prints arguments and ranges without typer's braces, names of Python types and formulas."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for param in self.params:
            if param.param_type_name == "argument":
                setattr(param, "display_type_rich", lambda **_: "")  # noqa: B010 mypy refuses to assign a method
            setattr(param, "_get_number_range_help_str", partial(_describe_range, param))  # noqa: B010

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_empty_paths([name for param in self.params if param.metavar in _PATHS for name in param.opts], args)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]


def _refuse_empty_paths(options: list[str], words: list[str]) -> None:
    """Refuse what a shell passes for a variable that is not set: as a path, it would be the current folder."""
    for before, word in zip(["", *words], words, strict=False):
        option = before if word == "" else word.removesuffix("=")
        if option in options and option != word:
            raise ValueError(f"{option} needs a path, got an empty one: name one, or leave {option} out")


def _describe_range(param: Any) -> str:
    low, high = getattr(param, "min", None), getattr(param, "max", None)
    return "" if low is None else f"{low} or more" if high is None else f"{low} to {high}"


class _ScanCommand(_Command):
    """Takes the bounds of a review as two words as well: ``--review 0.3 0.7`` is ``--review 0.3,0.7``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _join_bounds(args))


app = typer.Typer(
    name="blurgate",
    cls=_Commands,
    help="Tells sharp photographs from blurred ones.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# options of several commands
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Photos to process in parallel; default: one per core.", metavar="N")
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed and input give the same result.", metavar="N")]
FeatureSetName = Annotated[str, typer.Option(help="block99, dct18, or texture1, which only nets use.", metavar="NAME")]
RecipeName = Annotated[str, typer.Option(help="How to blur sharp photos: camera or classic.", metavar="NAME")]
PerPhoto = Annotated[int, typer.Option(min=1, help="Blurred versions of each sharp photo.", metavar="N")]
Report = Annotated[
    Path | None,
    typer.Option(help="Write a report to this .html, and its numbers to a .json beside it.", metavar="FILE"),
]
Labelled = Annotated[Path, typer.Argument(metavar="SOURCE", help="A dataset, a labelled folder, or a table.")]
Model = Annotated[  # text, since ./net is a file and net is not
    str, typer.Option(help="default, trees, net, both, open, or a file such as ./own.blurgate.", metavar="MODEL")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the numbers as one JSON object.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run made.")]
Trials = Annotated[int, typer.Option(min=1, help="Parameter settings of the trees to try.", metavar="N")]

# options of scan
ScanPaths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Photos, folders, .zip, .tar, .parquet, on a disk or at s3://, gs://, az://, https://; - reads a list of "
        "them from stdin.",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(help="Only photos that match, such as '*.jpg' or '2024/*'; repeatable.", metavar="PATTERN"),
]
Exclude = Annotated[
    list[str] | None, typer.Option(help="Skip photos and folders that match; repeatable.", metavar="PATTERN")
]
Column = Annotated[
    str | None,
    typer.Option(
        help="Column of the pictures in Parquet tables; default: image, photo, bytes, or the only one.",
        metavar="NAME",
    ),
]
ScanOutput = Annotated[
    str | None,  # a path would make one slash of the two in an address
    typer.Option(help="Write verdicts to this .csv, .jsonl, .parquet or .txt; default: the screen.", metavar="FILE"),
]
FormatName = Annotated[
    str | None,
    typer.Option(help="table, csv, jsonl or parquet; default: by the suffix of the output.", metavar="NAME"),
]
Sort = Annotated[str | None, typer.Option(help="worst or path; default: the order found.", metavar="NAME")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Resume an earlier scan to this output; judge only new or changed photos.")
]
Gallery = Annotated[
    str | None, typer.Option(help="Write a page of thumbnails, worst first, to this .html.", metavar="FILE")
]
Maps = Annotated[
    Path | None,
    typer.Option(
        help="Write a map of each photo to this folder: a gray PNG, white where it is blurred.", metavar="FOLDER"
    ),
]
Threshold = Annotated[
    float | None, typer.Option(help="Blurred from this probability on; default: the model's.", metavar="P")
]
Review = Annotated[
    str | None,
    typer.Option(
        help="Sharp below LOW, blurred from HIGH on, undecided between; auto: the model's.", metavar="LOW,HIGH"
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        help="Judge at the photo's own size (full), or shrunk to this longer side; default: at most a megapixel.",
        metavar="PX",
    ),
]
CopyTo = Annotated[
    Path | None,
    typer.Option(help="Copy photos to sharp/, blurred/ and undecided/ in this folder.", metavar="FOLDER"),
]
MoveTo = Annotated[
    Path | None, typer.Option(help="Move them there; verdicts keep the original paths.", metavar="FOLDER")
]
LinkTo = Annotated[Path | None, typer.Option(help="Link to them there.", metavar="FOLDER")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be copied, moved or linked.")]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        help="blurred or undecided: exit with 1 if there is such a photo, or an unreadable one; repeatable.",
        metavar="DECISION",
    ),
]
AllowUnreadable = Annotated[
    bool, typer.Option("--allow-unreadable", help="With --fail-on: ignore photos that cannot be read.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if a photo cannot be read; --fail-on implies it.")]
EngineName = Annotated[
    str,
    typer.Option(
        help="numpy, compiled (needs the extra fast), or auto: compiled from 5 photos on, from 100 if it has yet to be "
        "compiled.",
        metavar="NAME",
    ),
]
DeviceName = Annotated[str, typer.Option(help="cpu, or cuda (needs the extra gpu).", metavar="NAME")]
MaxMegapixels = Annotated[float, typer.Option(min=0, help="Refuse larger photos, by their header.", metavar="N")]
On = Annotated[
    str, typer.Option(help="Where to work: here, or on a Ray cluster (ray; needs the extra ray).", metavar="PLACE")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of the cluster: HOST:PORT, ray://HOST:PORT, or auto for the one that runs here; default: RAY_ADDRESS, or "
        "one that is started for this command.",
        metavar="ADDRESS",
    ),
]

# options of serve
Host = Annotated[str, typer.Option(help="Address to listen on; others than loopback need a token.", metavar="HOST")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.", metavar="N")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that judge; default: one per core.", metavar="N")]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="A file with the token that clients must send; default: BLURGATE_TOKEN, if set.", metavar="FILE"),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Listen on a network without a token.")]
AllowOrigin = Annotated[
    list[str] | None,
    typer.Option(help="Let pages of this origin ask, such as https://shop.example; repeatable.", metavar="ORIGIN"),
]
MaxBody = Annotated[float, typer.Option(help="Refuse larger requests (413), in MB.", metavar="MB")]
MaxPhotos = Annotated[int, typer.Option(min=1, help="Refuse requests with more photos (413).", metavar="N")]
MaxServed = Annotated[float, typer.Option(help="Refuse larger photos, by their header (422).", metavar="N")]
PhotoTime = Annotated[
    float, typer.Option(help="Give up on a photo that takes longer (504), in seconds.", metavar="SECONDS")
]
Waiting = Annotated[
    int | None,
    typer.Option(min=0, help="Requests that may wait; others get 503. Default: one per worker.", metavar="N"),
]

# options of train and calibrate
TrainSources = Annotated[
    list[Path], typer.Argument(metavar="SOURCE...", help="Sharp photos, datasets, labelled folders or tables.")
]
Validate = Annotated[
    str | None,
    typer.Option(help="leave-source-out (default with several sources) or scenes.", metavar="NAME"),
]
Timeout = Annotated[
    float | None, typer.Option(min=0, help="Start no new trial after this many seconds.", metavar="SECONDS")
]
Study = Annotated[
    str | None,
    typer.Option(
        help="Save the search here; the same command resumes it. The address of a database, such as "
        "postgresql://user@host/name or sqlite:///FILE, is shared by all trainings that name it.",
        metavar="FILE",
    ),
]
Folds = Annotated[int, typer.Option(min=2, help="Folds of the cross-validation by scene.", metavar="N")]
MaxFalseAlarms = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Raise the threshold until at most this share of sharp photos is called blurred.",
        metavar="SHARE",
    ),
]
Holdout = Annotated[
    float,
    typer.Option(
        min=0, max=0.9, help="Hold out this share of the scenes, and measure on them instead.", metavar="SHARE"
    ),
]
MinRecall = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Lower the threshold until at least this share of blurred photos is found.",
        metavar="SHARE",
    ),
]


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore", module="PIL")  # they name no photo, and nobody can act on them
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names can be any bytes
    app()


@app.command(cls=_ScanCommand)
def scan(
    paths: ScanPaths,
    model: Model = "default",
    include: Include = None,
    exclude: Exclude = None,
    column: Column = None,
    output: ScanOutput = None,
    format: FormatName = None,
    sort: Sort = None,
    resume: Resume = False,
    report: Gallery = None,
    maps: Maps = None,
    threshold: Threshold = None,
    review: Review = None,
    at: Size = None,
    copy_to: CopyTo = None,
    move_to: MoveTo = None,
    link_to: LinkTo = None,
    dry_run: DryRun = False,
    fail_on: FailOn = None,
    allow_unreadable: AllowUnreadable = False,
    strict: Strict = False,
    engine: EngineName = "auto",
    device: DeviceName = "cpu",
    max_megapixels: MaxMegapixels = 200,
    jobs: Jobs = None,
    on: On = "here",
    address: Address = None,
) -> None:
    """Judge photos: sharp or blurred, and with what probability."""
    request = _make_request(**locals())
    from blurgate.photos.images import disable_pillow_size_limit
    from blurgate.scanning.run import run_scan

    disable_pillow_size_limit()
    _silence_libraries()
    again = "run the same command" if resume else "run the same command with --resume"
    hint = f"the verdicts so far are saved: {again} to continue"
    saved = Path(request.pieces.place) if request.pieces else request.records
    with _say_how_to_resume(saved, hint):
        stream = _open_stdout() if output is None else None
        outcome = run_scan(request, stream=stream, say=_say, show=_choose_progress(output, sort), track=_track)
    if outcome.filing:
        _say(str(outcome.filing))
    _say(str(outcome.tally))
    for failure in outcome.failures:
        _say(f"blurgate: {failure}")
    if outcome.failed:
        raise SystemExit(1)


@app.command(cls=_ScanCommand)
def explain(
    paths: Annotated[list[str], typer.Argument(metavar="PHOTO...", help="Photos, and folders of photos.")],
    model: Model = "default",
    output: Annotated[
        Path | None,
        typer.Option(
            help="A page, .html; of one photo also a picture, .png; or a folder for pictures; default: explained.html, "
            "with --json none.",
            metavar="FILE",
        ),
    ] = None,
    threshold: Threshold = None,
    review: Review = None,
    at: Size = None,
    as_json: AsJson = False,
    max_megapixels: MaxMegapixels = 200,
    jobs: Jobs = None,
) -> None:
    """Say why photos are sharp or blurred, and show where."""
    from blurgate.photos.images import disable_pillow_size_limit
    from blurgate.scanning.explanations import write_explanations

    if "" in paths:
        raise ValueError("expected a path, got an empty one: use . for the current folder")
    bounds = _choose_review(threshold, review)
    disable_pillow_size_limit()
    _silence_libraries()
    output = output or (None if as_json else Path("explained.html"))
    bounds_and_size: dict[str, Any] = {"threshold": threshold, "review": bounds, "at": _parse_at(at)}
    options = {**bounds_and_size, "max_megapixels": max_megapixels, "jobs": jobs}
    found = list(write_explanations(paths, output, model=model, **options, say=_say, track=_track))
    if as_json:
        print(
            json.dumps(
                {"output": output and str(output), "photos": [each.to_json() for each in found]}, allow_nan=False
            )
        )
    else:  # only now: what shows the progress would take over stdout
        for each in found:
            _print_explained(each)
    if output:
        _say(f"wrote {output}")
    unread = (each.verdict for each in found if each.verdict.error)
    _list_skipped(((each.path, each.error.removeprefix(f"{each.path} ")) for each in unread), "explained")


@app.command(cls=_ScanCommand)
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = None,
    model: Model = "default",
    threshold: Threshold = None,
    review: Review = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    allow_origin: AllowOrigin = None,
    max_body: MaxBody = 64,
    max_photos: MaxPhotos = 64,
    max_megapixels: MaxServed = 120,
    photo_time: PhotoTime = 10,
    queue: Waiting = None,
) -> None:
    """Judge photos over HTTP, and on a page in a browser."""
    from blurgate.serving.server import run_service
    from blurgate.serving.settings import Limits, Settings, read_token

    settings = Settings(
        host=host,
        port=port,
        workers=workers,
        model=model,
        threshold=threshold,
        review=_choose_review(threshold, review),
        token=read_token(token_file),
        insecure=insecure,
        origins=tuple(allow_origin or ()),
        limits=Limits(max_body, max_photos, max_megapixels, photo_time, queue),
    )
    run_service(settings, _say)


@app.command(cls=_Command)
def evaluate(
    source: Labelled, model: Model = "default", as_json: AsJson = False, report: Report = None, jobs: Jobs = None
) -> None:
    """Measure how well a model does on labelled photos."""
    _check_report(report, inputs=[_file_of(model), source])
    _load_extra("train", "Evaluating")
    loaded = blurgate.load_model(model)
    readers: dict[str, Any] = {"net": loaded.net, "explainer": loaded.explainer}
    table = blurgate.build_table(
        source, feature_set=loaded.card.feature_set, **readers, labelled=True, jobs=jobs, track=_track
    )
    with track_step(_track, "evaluating"):
        evaluation = blurgate.evaluate(loaded, table)
    if report:
        name = _SHIPPED.get(model, Path(model).stem)
        with track_step(_track, "drawing the report"):
            blurgate.write_report(
                evaluation, report, title=f"{name} on {source.resolve().name}", model_name=Path(model).name
            )
        _say(f"wrote {report} and {report.with_suffix('.json')}")
    if as_json:
        print(json.dumps(evaluation.numbers, allow_nan=False))
        return
    _print_numbers(evaluation.numbers, "scenes")
    if chosen := evaluation.numbers["n_chosen"]:
        were = "were" if chosen > 1 else "was"
        _print(f"  {chosen} {were} labelled for being hard or wrong: on photos as they come, the figures are better")
    _count_left_out(evaluation.numbers["n_by_model"])
    _list_skipped((photo.path, photo.error) for photo in evaluation.table.skipped)


@app.command(cls=_Command)
def calibrate(
    source: Labelled,
    model: Model = "default",
    max_false_alarms: MaxFalseAlarms = None,
    min_recall: MinRecall = None,
    holdout: Holdout = 0.0,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="The new model file.", metavar="FILE")] = Path("calibrated.blurgate"),
    as_json: AsJson = False,
    jobs: Jobs = None,
) -> None:
    """Fit a model to your own labelled photos, where that helps."""
    if max_false_alarms is not None and min_recall is not None:
        raise ValueError("use --max-false-alarms or --min-recall, not both")
    check_outputs(model=output, inputs=[_file_of(model), source])
    _load_extra("train", "Calibrating")
    loaded = blurgate.load_model(model)
    table = blurgate.build_table(
        source, feature_set=loaded.card.feature_set, net=loaded.net, labelled=True, jobs=jobs, track=_track
    )
    limits = {"max_false_alarms": max_false_alarms, "min_recall": min_recall}
    with track_step(_track, "calibrating"):
        calibration = blurgate.calibrate(loaded, table, **limits, holdout=holdout, seed=seed)
    calibration.model.save(output)
    _say(f"wrote {output}")
    if str(output) in _SHIPPED:
        _say(f"--model {output} names a shipped model: for this file, use --model ./{output}")
    _list_skipped((photo.path, photo.error) for photo in table.skipped)
    if as_json:
        print(json.dumps(calibration.numbers, allow_nan=False))
    else:
        _count_left_out(table.n_by_model)
        _print_calibration(calibration.numbers, **limits)


@app.command(cls=_Command)
def train(
    sources: TrainSources,
    feature_set: FeatureSetName = "block99",
    recipe: RecipeName = "camera",
    per_photo: PerPhoto = 2,
    validate: Validate = None,
    trials: Trials = 50,
    timeout: Timeout = None,
    study: Study = None,
    seed: Seed = 0,
    folds: Folds = 5,
    output: Annotated[Path, typer.Option(help="The model file.", metavar="FILE")] = Path("model.blurgate"),
    report: Report = None,
    jobs: Jobs = None,
) -> None:
    """Tune, train and calibrate a model, and report on it."""
    file = None if study is None or "://" in study else Path(study)
    _check_report(report, model=output, study=file, inputs=sources)
    _load_extra("train", "Training")
    common: dict[str, Any] = {"seed": seed, "jobs": jobs, "track": _track}
    with tempfile.TemporaryDirectory(prefix="blurgate-") as work:
        made: dict[str, Any] = {"feature_set": feature_set, "recipe": recipe, "per_photo": per_photo}
        table = blurgate.load_sources(sources, Path(work), **made, **common)
        search: dict[str, Any] = {"trials": trials, "timeout": timeout, "study": study, "folds": folds}
        saved = file or study is not None
        with _say_how_to_resume(saved, "the search so far is saved: run the same command to continue"):
            model, evaluation = blurgate.train(table, validate=validate, **search, **common)
        model.save(output)
        _say(f"wrote {output}")
        if report:
            with track_step(_track, "drawing the report"):
                blurgate.write_report(evaluation, report, title=f"Blur model {output.stem}", model_name=output.name)
            _say(f"wrote {report} and {report.with_suffix('.json')}")
    _print_numbers(evaluation.numbers, "scenes that the model has not seen")
    _say_copies(evaluation.numbers["training"])
    if len(sources) > 1 and validate is None and "sources" not in evaluation.numbers:
        _say("validated by scenes: the sources share scenes or have only one class, so none could be left out")
    _list_sources(evaluation.numbers.get("sources", {}))
    _count_left_out(table.n_by_model)
    _list_skipped((photo.path, photo.error) for photo in evaluation.table.skipped)


@app.command(cls=_Command)
def info(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="default, trees, net, both, open, or a file such as ./own.blurgate.")
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as one JSON object.")] = False,
) -> None:
    """Describe a model: how it judges, how well, and its limits."""
    from blurgate.judging.description import describe_model
    from blurgate.judging.model import read_model

    described = describe_model(read_model(model))
    if as_json:
        print(json.dumps(described, allow_nan=False))
    else:
        _print_description(described)
        _print("--json has all entries of the model's card")


@app.command(cls=_Command)
def preview(
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="Any photo.")],
    output: Annotated[Path, typer.Option(help="The contact sheet, a PNG.", metavar="FILE")] = Path("preview.png"),
) -> None:
    """Draw every kind of blur on a photo, from weak to strong."""
    from blurgate.making.preview import write_preview

    check_outputs(preview=output, inputs=[photo])
    write_preview(photo, output)
    _say(f"wrote {output}")


@app.command(cls=_Command)
def dataset(
    sharp: Annotated[Path, typer.Argument(metavar="SHARP", help="A folder of sharp photos.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to make.")],
    recipe: RecipeName = "camera",
    per_photo: PerPhoto = 2,
    scenes: Annotated[
        str, typer.Option(help="What is one scene: each photo, or all photos of a folder.", metavar="photo|folder")
    ] = "photo",
    seed: Seed = 0,
    overwrite: Overwrite = False,
    jobs: Jobs = None,
) -> None:
    """Make sharp and blurred pictures, labelled, from sharp photos."""
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


@app.command(cls=_Command)
def features(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A dataset, a labelled folder, or a folder of photos.")
    ],
    feature_set: FeatureSetName = "block99",
    model: Annotated[
        str | None,
        typer.Option(help="Measure what this model reads, including its nets' outputs.", metavar="MODEL"),
    ] = None,
    output: Annotated[Path, typer.Option(help="The table, .csv or .parquet.", metavar="FILE")] = Path("features.csv"),
    jobs: Jobs = None,
    on: On = "here",
    address: Address = None,
) -> None:
    """Measure photos and write a table of their features."""
    from blurgate.learning.table import find_table_writer
    from blurgate.scanning.stream import check_place

    check_outputs(table=output, inputs=[source, _file_of(model or "default")])
    find_table_writer(output)
    if model and feature_set != "block99":
        raise ValueError("use --model or --feature-set, not both: a model has its own feature set")
    reader = blurgate.load_model(model) if model else None
    read: dict[str, Any] = {"feature_set": feature_set}
    if reader:
        read = {"feature_set": reader.card.feature_set, "net": reader.net, "explainer": reader.explainer}
    check_place(on, address)
    if on == "ray":
        require_extra("ray", "Working on a cluster")
        from blurgate.scanning.ray_data import run_on_ray

        _silence_libraries()
        read["run"] = partial(run_on_ray, address=address)
    table = blurgate.build_table(source, **read, jobs=jobs, track=_track)
    blurgate.write_table(table, output)
    _say(f"wrote {output}: {_plural(len(table), 'photo')}, {len(table.columns)} features")
    _list_skipped((photo.path, photo.error) for photo in table.skipped)


@app.command(cls=_Command)
def demo(
    output: Annotated[Path, typer.Option(help="The folder to make.", metavar="FOLDER")] = Path("demo"),
    trials: Trials = 25,
    overwrite: Overwrite = False,
) -> None:
    """Run every step on photographs that come with dependencies."""
    _load_extra("demo", "The demo")
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


def _make_request(
    *,
    paths: list[str],
    include: list[str] | None,
    exclude: list[str] | None,
    copy_to: Path | None,
    move_to: Path | None,
    link_to: Path | None,
    dry_run: bool,
    fail_on: list[str] | None,
    review: str | None,
    at: str | None,
    output: str | None,
    report: str | None,
    **same: Any,
) -> ScanRequest:
    """Translate the options of `scan`; those in `same` are fields of the request."""
    from blurgate.photos.addresses import hide, is_address
    from blurgate.scanning.run import ScanRequest

    if "" in paths:
        raise ValueError("expected a path, got an empty one: use . for the current folder")
    bounds = _choose_review(same["threshold"], review)
    action, folder = _choose_action({"copy": copy_to, "move": move_to, "link": link_to}, dry_run=dry_run)
    request = ScanRequest(
        photos=_read_paths(paths),
        roots=[Path(path) for path in paths if path != _STDIN and not is_address(path)],
        output=_to_place(output),
        report=_to_place(report),
        include=include or (),
        exclude=exclude or (),
        action=action,
        folder=folder,
        dry_run=dry_run,
        fail_on=fail_on or (),
        review=bounds,
        at=_parse_at(at),
        workers="auto",
        **same,
    )
    if output and output.endswith("/") and not request.fills_folder and not Path(output).is_dir():
        raise ValueError(
            f"output must be a file, got the folder {hide(output)}: only on ray, a folder can be filled with Parquet "
            "files; leave out the / or name a file in it"
        )
    return request


def _to_place(text: str | None) -> Path | str | None:
    """Read where to write: an address, or a path."""
    from blurgate.photos.addresses import is_address, split_scheme

    return text if text is None or (split_scheme(text) and is_address(text)) else Path(text)


def _parse_at(text: str | None) -> Any:
    """Read a size: full, or pixels; what is neither is refused as the library refuses it."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else text


def _join_bounds(words: list[str]) -> list[str]:
    """Join two numbers after ``--review`` to one word."""
    for place in range(len(words) - 2):
        if words[place] == "--":
            break
        if words[place] == "--review" and all(map(_is_number, words[place + 1 : place + 3])):
            return [*words[: place + 1], ",".join(words[place + 1 : place + 3]), *words[place + 3 :]]
    return words


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _choose_review(threshold: float | None, review: str | None) -> tuple[float, float] | Literal["auto"] | None:
    if review is not None and threshold is not None:
        raise ValueError("use --threshold or --review, not both")
    return None if review is None else _parse_review(review)


def _parse_review(text: str) -> tuple[float, float] | Literal["auto"]:
    bounds = text.split(",")
    if text == "auto":
        return "auto"
    if len(bounds) != 2 or not all(map(_is_number, bounds)):
        raise ValueError(f"--review must be auto or two probabilities such as 0.3,0.7, got {text!r}")
    return float(bounds[0]), float(bounds[1])


def _choose_action(folders: dict[str, Path | None], *, dry_run: bool) -> tuple[str | None, Path | None]:
    chosen = {action: folder for action, folder in folders.items() if folder is not None}
    if len(chosen) > 1:
        raise ValueError(f"use only one of {', '.join(f'--{action}-to' for action in chosen)}")
    if dry_run and not chosen:
        raise ValueError("--dry-run needs --copy-to, --move-to or --link-to: it prints what they would do")
    return next(iter(chosen.items()), (None, None))


def _choose_progress(output: str | None, sort: str | None) -> Show | None:
    """Show progress on stderr, unless the verdicts appear on the same screen as they come."""
    from blurgate.scanning.progress import show_progress

    if sys.stderr is None or (output is None and not sort and sys.stdout is not None and sys.stdout.isatty()):
        return None
    bar = sys.stderr.isatty()
    return lambda verdicts, count: show_progress(verdicts, sys.stderr, bar=bar, count=count)


def _read_paths(paths: list[str]) -> Iterable[str]:
    if _STDIN not in paths:
        return paths
    if sys.stdin is None:
        raise ValueError("expected a list of photos on stdin, but stdin is closed")
    from blurgate.scanning.items import poll

    return poll(listed for path in paths for listed in (_read_list(sys.stdin.buffer) if path == _STDIN else [path]))


def _read_list(stream: BinaryIO) -> Iterator[str]:
    """Read paths as they arrive, one per line, or NUL-terminated as from ``find -print0``."""
    rest, mark = b"", None
    # past Python's buffer: its lock, held by a thread that waits for more, would abort the interpreter at its end
    read = partial(os.read, stream.fileno()) if isinstance(stream, io.BufferedReader) else stream.read
    while chunk := read(2**16):
        rest += chunk
        mark = mark or (b"\0" if b"\0" in rest else b"\n" if b"\n" in rest else None)
        *whole, rest = rest.split(mark) if mark else [rest]
        yield from (os.fsdecode(line.rstrip(b"\r\n")) for line in whole if line.strip(b"\r\n"))
    if rest.strip(b"\r\n"):
        yield os.fsdecode(rest.rstrip(b"\r\n"))


def _silence_libraries() -> None:
    """Hide what C libraries print about damaged files straight to the process's stderr; keep our own messages."""
    if sys.stderr is not sys.__stderr__ or sys.stderr is None or sys.stderr.fileno() != _STDERR:
        return
    ours = os.fdopen(os.dup(_STDERR), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), _STDERR)
    sys.stderr = ours


@contextmanager
def _say_how_to_resume(saved: Path | bool | None, hint: str) -> Iterator[None]:
    """Give the hint if the command is interrupted once there is what it resumes from: True, or a file that exists."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MachineError, NetError):
        if saved is True or (saved and saved.exists()):
            _say(hint)
        raise


def _open_stdout() -> TextIO | None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a reader gets each verdict as it comes
    return sys.stdout


def _check_report(report: Path | None, *, inputs: Iterable[Path | None], **outputs: Path | None) -> None:
    """Check that the report can be made and written before the long job that it describes."""
    check_outputs(report=report, inputs=())  # its suffix, before that of its numbers is derived from it
    check_outputs(report=report, numbers=report and report.with_suffix(".json"), **outputs, inputs=inputs)
    if report:
        require_extra("report", "A report")


def _load_extra(extra: str, purpose: str) -> None:
    """Import an extra's modules, which takes seconds where they are not in the disk's cache."""
    installed = all(map(find_spec, EXTRAS[extra]))
    with track_step(_track, "loading libraries") if installed else nullcontext():
        require_extra(extra, purpose)


def _file_of(model: str) -> Path | None:
    return None if model in _SHIPPED else Path(model)


def _print_numbers(numbers: Numbers, where: str) -> None:
    few = "; too few for reliable figures" if numbers["n_scenes"] < 20 else ""
    _print(f"on {numbers['n']} photos of {numbers['n_scenes']} {where}{few}:")
    if numbers["roc_auc"] is None:
        _print_one_class(numbers)
        _print_kinds(numbers)
        return
    laplacian = numbers["variance_of_laplacian"]
    between = _format_interval(numbers["roc_auc_interval"])
    print(f"  ROC AUC    {numbers['roc_auc']:.3f}{between}; variance of Laplacian {laplacian['roc_auc']:.3f}")
    print(f"  accuracy   {numbers['accuracy']:.3f}\n  precision  {numbers['precision']:.3f}")
    print(f"  recall     {numbers['recall']:.3f}\n  f1         {numbers['f1']:.3f}")
    _print_kinds(numbers)


def _print_kinds(numbers: Numbers) -> None:
    """Print how well kinds and strengths are told, if the photos have true ones and the model predicts them."""
    if kind := numbers["kind"]:
        named = f"{kind['balanced_accuracy']:.3f}  balanced accuracy of {_plural(kind['n'], 'photo')} judged blurred"
        _print(f"  kind       {named}; {kind['n_missed']} missed")
    if strength := numbers["strength"]:
        off = f"{strength['median_relative_error']:.3f}  median relative error of {_plural(strength['n'], 'photo')}"
        ranks = "" if strength["spearman"] is None else f"; rank correlation {strength['spearman']:.3f}"
        _print(f"  strength   {off}{ranks}")


def _print_one_class(numbers: Numbers) -> None:
    """Print the only error rate of photos that are all of one class."""
    if numbers["n_blurred"]:
        label, name, rate, interval = "blurred", "miss rate", numbers["miss_rate"], numbers["miss_interval"]
    else:
        label, name = "sharp", "false-alarm rate"
        rate, interval = numbers["false_alarm_rate"], numbers["false_alarm_interval"]
    print(f"  {name}  {rate:.3f}{_format_interval(interval)}")
    print(f"  all are labelled {label}: the other figures need photos of both classes")


def _format_interval(interval: Sequence[float] | None) -> str:
    return f"  (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""


def _count_left_out(n_by_model: int) -> None:
    if n_by_model:
        _say(f"left out {_plural(n_by_model, 'photo')} that the model labelled, not a person")


def _print_calibration(numbers: CalibrationNumbers, max_false_alarms: float | None, min_recall: float | None) -> None:
    """Print what calibration was given, the figures before and after, and one conclusion."""
    from blurgate.learning.calibration import CONCLUSIONS
    from blurgate.learning.metrics import error_rates

    before: Mapping[str, Any] | None = numbers["before"]
    after: Mapping[str, Any] | None = numbers["after"]
    held_out = numbers["n_held_out"]
    how = f"measured on {_plural(held_out, 'photo')} held out" if held_out else "each judged without its own scene"
    on = f"on {_plural(numbers['n'], 'photo')} of {_plural(numbers['n_scenes'], 'scene')}"
    _print(f"{on}, {how}:" if before else f"{on}:")
    if before and after:
        for name in ("accuracy", "precision", "recall", "f1", "log_loss"):
            print(f"  {name.replace('_', ' '):12} {_format_figure(before[name])} -> {_format_figure(after[name])}")
        rates = (error_rates(scores["confusion_matrix"])["false_alarm_rate"] for scores in (before, after))
        sharp = any(before["confusion_matrix"][0])
        print(f"  {'false alarms':12} {' -> '.join(_format_figure(rate if sharp else None) for rate in rates)}")
    elif held_out:
        _print(f"  {_plural(held_out, 'photo')} held out: too few to measure on")
    print(f"  {'threshold':12} {numbers['old_threshold']:.3f} -> {numbers['threshold']:.3f}")
    _warn_of_few_photos(numbers, max_false_alarms, min_recall)
    if numbers["refitted"]:
        print("  added trees fitted to these photos: they do better than a line alone")
    if numbers["n_chosen"]:
        _print(
            f"  {numbers['n_chosen']} of them were chosen for what they show and together count as one photo: marked "
            "mistakes do not say how rare mistakes are"
        )
    moved = numbers["threshold"] != numbers["old_threshold"]
    remedy = (
        "" if numbers["conclusion"] == "better" else ". Use it for its new threshold" if moved else ". Use either file"
    )
    _print(CONCLUSIONS[numbers["conclusion"]] + remedy)


def _format_figure(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.3f}"


def _warn_of_few_photos(numbers: CalibrationNumbers, max_false_alarms: float | None, min_recall: float | None) -> None:
    """Point out shares that are less than one of the photos."""
    for share, n_class, name in (
        (max_false_alarms, numbers["n"] - numbers["n_blurred"], "sharp"),
        (None if min_recall is None else 1 - min_recall, numbers["n_blurred"], "blurred"),
    ):
        if share is not None and share * n_class < 1:
            needed = f"label {math.ceil(1 / share)} to measure it" if share else "no number of photos can promise it"
            _print(f"  {share:.1%} of {n_class} {name} photos is less than one photo: {needed}")


def _print_description(described: Mapping[str, Any]) -> None:
    """Print what users ask of a model, a row for each entry, with nested entries in rows of their own."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
    shown = {name: described[name] for name in _DESCRIBED if described[name]}
    width = max(map(len, shown)) + 2
    for name, value in shown.items():
        lines = [each for line in _list_lines(value) for each in _wrap(escape_unprintable(line), columns - width)]
        for number, line in enumerate(lines):
            print(f"{'' if number else name.replace('_', ' '):{width}}{line}")


def _list_lines(value: Any) -> list[str]:
    """Put a value of JSON into lines to read: one for each entry of a list or mapping."""
    if isinstance(value, Mapping):
        entries = {str(name).replace("_", " "): _list_lines(entry) for name, entry in value.items()}
        return [
            line
            for name, lines in entries.items()
            for line in ([f"{name}: {lines[0]}"] if len(lines) == 1 else [f"{name}:", *(f"  {each}" for each in lines)])
        ] or ["–"]
    if isinstance(value, list):
        if len(value) > _LONG:
            return [f"{len(value)} entries, see --json"]
        lines = [", ".join(_list_lines(entry)) for entry in value]
        return lines if any(isinstance(entry, str) for entry in value) else [", ".join(lines) or "–"]
    return ["–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)]


def _say_copies(numbers: TrainingNumbers) -> None:
    if numbers["n_copies"]:
        _say(f"{_plural(numbers['n_copies'], 'scene')} left out of the count: copies of a photo count as one scene")
    if numbers["n_without_hash"]:
        _say(
            f"no copies were looked for among {_plural(numbers['n_without_hash'], 'photo')} from tables without "
            "the column phash: make these tables again with blurgate features"
        )


def _list_sources(sources: Mapping[str, SourceScores]) -> None:
    if sources:
        print("each source, judged by trees trained on the others:")
    width = max(map(len, sources), default=0)
    for name, scores in sources.items():
        print(f"  {name:{width}}  ROC AUC {scores['roc_auc']:.3f}, accuracy {scores['accuracy']:.3f}")


def _print_explained(explained: Explained) -> None:
    """Print what there is to say about a photo: the verdict, the sentence, and a row for each fact."""
    verdict = explained.verdict
    if verdict.error:  # they are listed at the end
        return
    chance = "" if verdict.probability is None else f", P(blurred) {verdict.probability:.3f}"
    _print(f"{escape_unprintable(verdict.path)}: {verdict.decision}{chance}")
    _print(f"  {escape_unprintable(explained.sentence)}")
    for name, text in explained.list_facts().items():
        _print(f"  {name:12} {text}")


def _list_skipped(skipped: Iterable[tuple[str, str]], done: str = "used") -> None:
    listed = list(skipped)
    if listed:
        _say(f"{_plural(len(listed), 'photo')} could not be {done}:")
    for path, error in listed[:10]:
        _say(f"  {path}: {error}")
    if len(listed) > 10:
        _say(f"  and {len(listed) - 10} more")


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")


def _print(text: str) -> None:
    print(_fit_terminal(text, sys.stdout))


def _say(text: str) -> None:
    print(_fit_terminal(escape_unprintable(text), sys.stderr), file=sys.stderr)


def _fit_terminal(text: str, stream: TextIO | None) -> str:
    """Break a line between words, if the stream is a terminal."""
    if stream is None or not stream.isatty():
        return text
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except OSError:  # a terminal that does not know its width
        columns = 0
    return "\n".join(_wrap(text, columns or _COLUMNS))


def _wrap(text: str, columns: int) -> list[str]:
    """Break a line between words, but not between a number and its unit."""
    glued = re.sub(r"(?<=\d) (?=(s|min|h|MP/s|px)\b)", "\N{NO-BREAK SPACE}", text)
    indent = " " * (len(text) - len(text.lstrip(" ")) + 2)
    lines = textwrap.wrap(glued, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines] or [""]


def _fail(text: str, code: int) -> NoReturn:
    _say(f"blurgate: {text}")
    raise SystemExit(code)


def _track(items: Iterable[T], /, *, total: int, doing: str) -> Iterator[T]:
    """Show progress: a bar on a terminal, elsewhere a line at the start and then every few seconds."""
    if sys.stderr is None:
        yield from items
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        console = Console(file=sys.stderr)
        if total == 1:
            with console.status(doing):
                yield from items
        else:
            yield from track(items, description=doing, total=total, console=console)
    else:
        from blurgate.scanning.progress import write_regularly

        done = 0
        _say(doing if total == 1 else f"{doing} ({total:,})")
        with write_regularly(lambda: f"still {doing}" if total == 1 else f"{doing}: {done:,} of {total:,}", sys.stderr):
            for item in items:
                done += 1
                yield item
