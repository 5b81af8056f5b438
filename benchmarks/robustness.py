"""Bad files, mutated files, kills and very many files: check that nothing is lost; print the results as JSON.

    python benchmarks/robustness.py corpus
    python benchmarks/robustness.py fuzz --count 20000 --minutes 20 --keep suspects
    python benchmarks/robustness.py kills --kills 50 --photos 2000
    python benchmarks/robustness.py many --files 100000
    python benchmarks/robustness.py large
    python benchmarks/robustness.py models --count 20000
    python benchmarks/robustness.py records --count 4000
    python benchmarks/robustness.py hostile

corpus: runs ``blurgate scan`` on every oddity of ``tests/oddities.py``. fuzz: runs ``predict`` on mutated JPEG, PNG,
TIFF and WebP files, in a separate process, so that a crash is noticed; files that crash it, take longer than 2 s or
more than 1 GiB, raise anything but PhotoError, or get a verdict although Pillow alone cannot decode them, are kept in a
folder. kills: kills (SIGKILL) and resumes a scan at random moments, repeatedly, with each kind of output, and one that
moves photos; the final output must equal that of an undisturbed run, and every photo must be there once. many: measures
time and memory of a scan of ``--files`` small photos and of a tenth of them, and of resuming each when it is done.
large: measures time and memory of a scan of one photo of 108 megapixels with each shipped model; a net may take at most
64 MiB more than the trees. records: resumes scans from mutated and hostile records; each must give the right verdicts
or end with one sentence, and touch nothing else. models: loads hostile and mutated models in processes with limits;
each must predict finite numbers or raise ModelFileError. hostile: measures photos
made to take time and memory, and interrupts a scan of them: see ``benchmarks/hostile_photos.py``.

Exit code 1 if any check fails. Needs Linux and the extra ``all``.
"""

import argparse
import faulthandler
import io
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import hostile_models, memory
from benchmarks.hostile_photos import run_hostile
from benchmarks.hostile_records import run_records
from benchmarks.kills import kill_moves
from blurgate.demo import load_photographs
from blurgate.errors import PhotoError
from blurgate.judging.model import load_model
from blurgate.photos.images import encode_jpeg

oddities: Any = import_module("tests.oddities")

Numbers = dict[str, Any]
SLOW_S, HANG_S, LARGE_MIB = 2.0, 30, 1024
CHUNK = 500  # mutations per process
OUTPUTS = ("csv", "jsonl", "parquet")
TILE = 128  # pixels
FOLDER = 500  # files
KILLS_IN_A_CHAIN = 5
LARGE_SHAPES = {"panorama": (3_000, 36_000), "square": (10_400, 10_400)}  # 108 megapixels
NET_MIB = 64  # that a net may take more than the trees


def run_corpus(options: argparse.Namespace) -> Numbers:
    """Scan every oddity, and compare its verdict with the expected one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        skipped = oddities.make_corpus(folder, oddities.load_photo(), oddities.ODDITIES)
        began = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-m", "blurgate", "scan", str(folder), "--format", "jsonl"],
            capture_output=True,
            text=True,
            timeout=options.minutes * 60,
            check=False,
        )
        seconds = time.monotonic() - began
        rows = [json.loads(line) for line in ended.stdout.splitlines()]
        (plain,) = oddities.rows_of("plain", folder, rows)
        faults = {
            name: oddities.find_fault(oddity, oddities.rows_of(name, folder, rows), plain)
            for name, oddity in oddities.ODDITIES.items()
            if name not in skipped
        }
    unexpected = oddities.beside_the_summary(ended.stderr)
    failed = {name: fault for name, fault in faults.items() if fault}
    return {
        "ok": not failed and not unexpected and ended.returncode == 0,
        "kinds": len(faults),
        "as_expected": len(faults) - len(failed),
        "expected": dict(Counter(oddities.ODDITIES[name].expected for name in faults)),
        "faults": failed,
        "skipped": skipped,
        "exit_code": ended.returncode,
        "stderr_beside_the_summary": unexpected,
        "seconds": round(seconds, 1),
    }


def run_fuzz(options: argparse.Namespace) -> Numbers:
    """Judge mutations chunk by chunk, each in a process, until there are enough or time is up."""
    deadline = time.monotonic() + options.minutes * 60
    folder = options.keep.resolve()
    suspects: list[Numbers] = []
    outcomes: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    lines_of_stderr = done = 0
    seconds: list[float] = []
    peak = at_start = 0.0
    seeds = oddities.make_seeds(oddities.load_photo())
    while done < options.count and time.monotonic() < deadline:
        count = min(CHUNK, options.count - done)
        reports, exit_code, lines = judge_chunk(options.seed, done, count)
        lines_of_stderr += lines
        for report in reports:
            seconds.append(report["seconds"])
            outcomes[report["outcome"]] += 1
            warned.update(report["warnings"])
            peak = max(peak, report["peak_mib"])
            at_start = at_start or report["peak_before_mib"]
            grown = report["peak_mib"] > LARGE_MIB >= report["peak_before_mib"]
            if report["seconds"] > SLOW_S or report["outcome"] not in ("verdict", "PhotoError") or grown:
                suspects.append({**report, "file": keep(folder, seeds, options.seed, report["number"])})
        done += len(reports)
        if len(reports) < count:  # the next mutation ended the process
            how = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}, such as of a hang"
            outcomes[how] += 1
            suspects.append({"outcome": how, "number": done, "file": keep(folder, seeds, options.seed, done)})
            done += 1
    return {
        "ok": not suspects and done == options.count,
        "mutations": done,
        "seed": options.seed,
        "seeds": len(seeds),
        "outcomes": dict(outcomes),
        "suspects": sorted(suspects, key=lambda suspect: -suspect.get("seconds", HANG_S))[:20],
        "slowest_s": round(max(seconds, default=0.0), 3),
        "median_ms": round(1e3 * statistics.median(seconds or [0.0]), 2),
        "peak_mib": round(peak),
        "peak_before_the_first_mib": round(at_start),
        "warnings": dict(warned.most_common(20)),
        "lines_on_stderr": lines_of_stderr,
    }


def judge_chunk(seed: int, first: int, count: int) -> tuple[list[Numbers], int, int]:
    """Judge some mutations in a process.

    Parameters
    ----------
    seed : int
        Of all mutations.
    first : int
        Number of the first mutation.
    count : int
        How many.

    Returns
    -------
    reports : list of dict
        One per finished mutation.
    exit_code : int
        Negative if a signal ended the process.
    lines : int
        Number of lines on stderr.
    """
    words = [sys.executable, __file__, "chunk", "--seed", str(seed), "--first", str(first), "--count", str(count)]
    ended = subprocess.run(words, capture_output=True, check=False)
    reports = [json.loads(line) for line in ended.stdout.splitlines() if line.endswith(b"}")]
    return reports, ended.returncode, len(ended.stderr.splitlines())


def run_chunk(options: argparse.Namespace) -> None:
    """Judge some mutations; print a line of JSON for each as soon as it is finished."""
    seeds, model = oddities.make_seeds(oddities.load_photo()), load_model()
    for content in seeds.values():
        model.predict(content)
    resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30,) * 2)  # spares the machine's memory in the worst case
    for number in range(options.first, options.first + options.count):
        content = oddities.mutate(seeds, number, seed=options.seed)[1]
        before = memory.peak_mib()
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            began = time.perf_counter()
            try:
                decision = model.predict(content).decision
                outcome = "verdict" if decision in ("sharp", "blurred", "undecided") else f"decision {decision!r}"
            except PhotoError:
                outcome = "PhotoError"
            except Exception as error:  # any other exception is a finding
                outcome = f"{type(error).__name__}: {str(error)[:100]}"
            seconds = time.perf_counter() - began
            after = memory.peak_mib()
            if outcome == "verdict" and not is_whole(content):
                outcome = "a verdict on what Pillow does not decode to its end"
        faulthandler.cancel_dump_traceback_later()
        report = {
            "number": number,
            "outcome": outcome,
            "seconds": round(seconds, 4),
            "peak_before_mib": before,
            "peak_mib": after,
            "warnings": [f"{warning.category.__name__}: {str(warning.message)[:40]}" for warning in warned],
        }
        print(json.dumps(report), flush=True)


def is_whole(content: bytes) -> bool:
    """Check whether Pillow alone decodes a picture without an error."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
    except Exception:  # plugins raise all kinds of exceptions
        return False
    return True


def keep(folder: Path, seeds: Mapping[str, bytes], seed: int, number: int) -> str:
    """Write a mutation to a folder for inspection.

    Parameters
    ----------
    folder : Path
    seeds : mapping of str to bytes
        The whole files that mutations are made from.
    seed : int
    number : int
        Which mutation.

    Returns
    -------
    str
        Path of the file.
    """
    name, content = oddities.mutate(seeds, number, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return str(folder / name)


def run_kills(options: argparse.Namespace) -> Numbers:
    """Kill and resume scans with each kind of output."""
    results: Numbers = {"ok": True, "photos": options.photos}
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lay_photos(work / "photos", options.photos, distinct=options.photos)
        for suffix in OUTPUTS:
            print(suffix, file=sys.stderr, flush=True)
            results[suffix] = kill_scans(work, suffix, options.kills, rng)
            results["ok"] &= not any(results[suffix][fault] for fault in ("torn", "failed", "different", "left_over"))
        print("moves", file=sys.stderr, flush=True)
        moves = results["moves"] = kill_moves(work / "photos", work / "moves", options.kills, rng)
        faults = ("lost", "failed", "different", "misplaced", "left_over")
        results["ok"] &= not any(moves[fault] for fault in faults)
    return results


def kill_scans(work: Path, suffix: str, kills: int, rng: np.random.Generator) -> Numbers:
    """Kill and resume a scan until it ends, and start over until there were enough kills.

    Parameters
    ----------
    work : Path
        Folder with ``photos``.
    suffix : str
        Of the output; one of `OUTPUTS`.
    kills : int
        How many.
    rng : numpy.random.Generator
        Draws the moments.

    Returns
    -------
    dict
    """
    folder = work / suffix
    undisturbed = folder / "undisturbed" / f"v.{suffix}"
    undisturbed.parent.mkdir(parents=True)
    lasts = time_scan(work / "photos", undisturbed)
    wanted = read_rows(undisturbed)
    idle = time_scan(work / "photos", undisturbed)  # time to start and to write records that exist
    killed = torn = failed = different = chains = 0
    left_over: set[str] = set()
    moments: list[float] = []
    while killed < kills:
        output = folder / str(chains) / f"v.{suffix}"
        output.parent.mkdir()
        chains, left = chains + 1, max(0.0, lasts - idle)
        for _ in range(min(KILLS_IN_A_CHAIN, kills - killed)):
            moment = float(rng.uniform(0, idle + left))
            process = begin_scan(work / "photos", output)
            time.sleep(moment)
            process.kill()
            ended = process.wait()
            torn += output.exists() and read_rows(output) != wanted
            if ended != -signal.SIGKILL:  # it ended before the kill
                failed += ended != 0
                break
            killed, left = killed + 1, left - max(0.0, min(left, moment - idle))
            moments.append(moment)
        failed += begin_scan(work / "photos", output).wait() != 0
        different += not output.exists() or read_rows(output) != wanted
        left_over |= {entry.name for entry in output.parent.iterdir()} - {output.name, f"{output.name}.resume"}
    return {
        "kills": killed,
        "chains": chains,
        "torn": torn,
        "failed": failed,
        "different": different,
        "left_over": sorted(left_over),
        "rows": len(wanted),
        "seconds_undisturbed": round(lasts, 2),
        "seconds_to_resume_what_is_done": round(idle, 2),
        "moments_s": [round(moment, 2) for moment in sorted(moments)],
    }


def time_scan(photos: Path, output: Path) -> float:
    """Time an undisturbed scan.

    Parameters
    ----------
    photos, output : Path

    Returns
    -------
    float
        Seconds.
    """
    return float(measure_scan(photos, output, 1)["seconds"])


def begin_scan(photos: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start a scan that can be resumed.

    Parameters
    ----------
    photos, output : Path

    Returns
    -------
    subprocess.Popen
    """
    words = [sys.executable, "-m", "blurgate", *list_arguments(photos, output)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def list_arguments(photos: Path, output: Path, *, model: str = "trees") -> list[str]:
    """List the arguments of a scan that can be resumed.

    Parameters
    ----------
    photos, output : Path
    model : str
        A name of a shipped model.

    Returns
    -------
    list of str
    """
    return ["scan", str(photos), "--output", str(output), "--resume", "--model", model]


def read_rows(output: Path) -> list[Any]:
    """Read the lines of a CSV or JSON lines file, as bytes, or the rows of a Parquet file."""
    if output.suffix == ".parquet":
        from pyarrow import parquet

        rows: list[Any] = parquet.read_table(output).to_pylist()
        return rows
    return output.read_bytes().splitlines(keepends=True)


def lay_photos(folder: Path, count: int, *, distinct: int) -> None:
    """Write small photos into nested folders.

    Parameters
    ----------
    folder : Path
    count : int
        How many.
    distinct : int
        How many differ; the others are hard links to these.
    """
    tiles = cut_random_tiles(distinct)
    first: list[Path] = []
    for number in range(count):
        path = folder / f"{number // (10 * FOLDER):03}" / f"{number // FOLDER:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < distinct:
            path.write_bytes(next(tiles))
            first.append(path)
        else:
            path.hardlink_to(first[number % distinct])


def cut_random_tiles(count: int) -> Iterator[bytes]:
    """Cut tiles out of the demo's photographs at random places; yields JPEG files."""
    photographs = list(load_photographs().values())
    rng = np.random.default_rng(0)
    for number in range(count):
        rgb = photographs[number % len(photographs)]
        top, left = (int(rng.integers(side - TILE)) for side in rgb.shape[:2])
        yield encode_jpeg(np.ascontiguousarray(rgb[top : top + TILE, left : left + TILE]), quality=90)


def run_many(options: argparse.Namespace) -> Numbers:
    """Time scans of many photos and of a tenth of them, and resuming each when all of it is done."""
    results: Numbers = {"cpu": platform.machine(), "cores": os.cpu_count()}
    counts = (options.files // 10, options.files)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for count in counts:
            print(count, file=sys.stderr, flush=True)
            lay_photos(work / str(count), count, distinct=min(count, 500))
            output = work / f"{count}.csv"
            results[str(count)] = {
                "scan": measure_scan(work / str(count), output, count),
                "resume": measure_scan(work / str(count), output, count),
                "rows": len(read_rows(output)) - 1,
            }
    few, many = (results[str(count)] for count in counts)
    results["ratio"] = {
        step: {key: round(many[step][key] / few[step][key], 2) for key in ("ms_per_photo", "peak_mib")}
        for step in ("scan", "resume")
    }
    whole = all(results[str(count)]["rows"] == count for count in counts)
    results["ok"] = (
        whole and results["ratio"]["scan"]["peak_mib"] < 1.25 and results["ratio"]["scan"]["ms_per_photo"] < 1.25
    )
    return results


def run_large(_: argparse.Namespace) -> Numbers:
    """Measure time and memory of one very large photo."""
    results: Numbers = {"cpu": platform.machine(), "cores": os.cpu_count(), "ok": True}
    tile = load_photographs()["astronaut"]
    with tempfile.TemporaryDirectory() as name:
        for shape, (height, width) in LARGE_SHAPES.items():
            times = (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1)
            photo = Image.fromarray(np.tile(tile, times)[:height, :width])
            for suffix in ("jpg", "png"):
                path = Path(name) / f"{shape}.{suffix}"
                print(path.name, file=sys.stderr, flush=True)
                photo.save(path, quality=90, compress_level=1)
                scans = {
                    model: measure_scan(path, Path(f"{path}.{model}.csv"), 1, model=model)
                    for model in ("default", "trees", "net", "both")
                }
                results[path.name] = scans
                most = scans["trees"]["peak_mib"] + NET_MIB
                results["ok"] &= all(scan["peak_mib"] <= most for scan in scans.values())
    return results


def measure_scan(photos: Path, output: Path, count: int, *, model: str = "trees") -> Numbers:
    """Measure time and peak memory of a scan.

    Parameters
    ----------
    photos, output : Path
    count : int
        Number of photos.
    model : str
        A name of a shipped model.

    Returns
    -------
    dict
    """
    with tempfile.TemporaryFile() as stderr, tempfile.NamedTemporaryFile() as peak:
        words = [sys.executable, memory.__file__, peak.name, *list_arguments(photos, output, model=model)]
        began = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            stderr.seek(0)
            end = stderr.read().decode()[-2000:]
            sys.exit(f"a scan to {output} failed with exit code {process.returncode}:\n{end}")
        peak_mib = float(peak.read())
    return {
        "seconds": round(seconds, 2),
        "ms_per_photo": round(1e3 * seconds / count, 3),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(peak_mib),
    }


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    corpus = commands.add_parser("corpus")
    corpus.add_argument("--minutes", type=float, default=5, help="limit for the scan")
    fuzz = commands.add_parser("fuzz")
    fuzz.add_argument("--count", type=int, default=20_000)
    fuzz.add_argument("--minutes", type=float, default=20, help="limit for the whole run")
    fuzz.add_argument("--seed", type=int, default=0)
    fuzz.add_argument("--keep", type=Path, default=Path("fuzz-suspects"), help="folder for files that cause trouble")
    chunk = commands.add_parser("chunk", help="part of fuzz, run in this process")
    for name in ("--seed", "--first", "--count"):
        chunk.add_argument(name, type=int, required=True)
    kills = commands.add_parser("kills")
    kills.add_argument("--kills", type=int, default=50, help="per kind of output")
    kills.add_argument("--photos", type=int, default=2_000)
    kills.add_argument("--seed", type=int, default=0)
    many = commands.add_parser("many")
    many.add_argument("--files", type=int, default=100_000)
    commands.add_parser("large")
    hostile_models.add_command(commands)
    records = commands.add_parser("records")
    records.add_argument("--count", type=int, default=4_000)
    records.add_argument("--seed", type=int, default=0)
    commands.add_parser("hostile")
    options = parser.parse_args()
    if options.command == "chunk":
        run_chunk(options)
        return
    results = COMMANDS[options.command](options)
    print(json.dumps(results, indent=1))
    if not results["ok"]:
        sys.exit(1)


COMMANDS = {
    "corpus": run_corpus,
    "fuzz": run_fuzz,
    "kills": run_kills,
    "many": run_many,
    "large": run_large,
    "records": run_records,
    "models": hostile_models.run_models,
    "hostile": run_hostile,
}

if __name__ == "__main__":
    main()
