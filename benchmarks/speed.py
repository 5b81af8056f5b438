"""Time blurgate, decoding alone, and the usual alternatives, on the same photos; print JSON.

    python benchmarks/speed.py --photos ../shared/data/train/sharp/sun_hays80 > speed.json
    python benchmarks/speed.py --parts processes judging --blurred 0.25 > mixed.json
    python benchmarks/speed.py --table speed.json

Photos of three sizes are assembled from the photos in ``--photos``, or from those of the demo, and saved as JPEG at
quality 90. Contenders run one after the other in each round, so that a noisy machine disturbs all of them: trust the
ratios, which are taken within a round. Needs the extra ``all`` and CleanVision; contenders that are not installed are
skipped. ``--lean PYTHON`` is the interpreter of an environment with the base install only, to time the start.

processes: each contender is a fresh Python that starts its own two workers, as a user would run it, on 2,000 photos
of 512x512 (250 distinct ones, each there eight times by hard links) and 120 of 1920x1080, all distinct: `blurgate
scan FOLDER --output x.csv` with the default model and with its trees alone, against OpenCV's Laplacian, which writes
a CSV as well, and CleanVision. Times are by the clock, and of the CPU in the process and all its children. judging:
CPU time of one thread for all of a verdict that is not decoding, with everything loaded. warm: contenders that have
started already. ``--blurred`` is the share of photos that are blurred; about these, the default model asks its net.
"""

import argparse
import io
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.fft
import scipy.stats
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import blurgate
from blurgate.demo import load_photographs
from blurgate.judging.model import load_model
from blurgate.judging.nets import Net
from blurgate.measuring import features, kernel
from blurgate.measuring.blocks import BANDS
from blurgate.photos.finding import find_photos
from blurgate.photos.images import encode_jpeg, read_rgb
from blurgate.scanning.items import Item
from blurgate.scanning.judge import Judge

Numbers = dict[str, Any]
SIZES = {
    "512x512": (512, 512, 200),
    "1920x1080": (1920, 1080, 48),
    "4000x3000": (4000, 3000, 12),
}  # width, height, count
PROCESSES = {"512x512": (512, 512, 250, 2000), "1920x1080": (1920, 1080, 120, 120)}  # and how many with hard links
OURS = ("blurgate scan", "blurgate scan, trees")
QUALITY = 90
BLOCKS = 11_000_000  # of the original experiment
PARTS = ("processes", "judging", "warm", "blocks", "start")
BLUR = 4.0  # radius of the blurred photos, pixels

OPENCV = """
import csv, multiprocessing, os, sys
import cv2

cv2.setNumThreads(1)  # else the two processes would start threads that get in each other's way

def usual(path):
    return cv2.Laplacian(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2GRAY), cv2.CV_64F).var()

def fastest(path):
    laplacian = cv2.Laplacian(cv2.imread(path, cv2.IMREAD_GRAYSCALE), cv2.CV_16S)
    return cv2.meanStdDev(laplacian)[1][0, 0] ** 2

work, folder, output = sys.argv[1:]
paths = sorted(entry.path for entry in os.scandir(folder))
with multiprocessing.get_context("fork").Pool(2) as pool, open(output, "w", newline="") as target:
    csv.writer(target).writerows(zip(paths, pool.map(globals()[work], paths)))
"""
CLEANVISION = """
import sys
from cleanvision import Imagelab

lab = Imagelab(data_path=sys.argv[1])
lab.find_issues({"blurry": {}}, n_jobs=2, verbose=False)
lab.issues.to_csv(sys.argv[2])
"""


def make_photos(
    tiles: Sequence[NDArray[np.uint8]], folder: Path, size: tuple[int, int, int], *, blurred: float = 0
) -> list[Path]:
    """Assemble photos from randomly chosen tiles, side by side.

    Parameters
    ----------
    tiles : sequence of ndarray of shape (height, width, 3), uint8
    folder : Path
        The folder to make.
    size : (int, int, int)
        Width and height in pixels, and how many photos.
    blurred : float
        Share of them that are blurred, spread evenly.

    Returns
    -------
    list of Path
    """
    folder.mkdir(parents=True)
    (width, height, count), paths = size, []
    for number in range(count):
        rng = np.random.default_rng(number)
        canvas = np.zeros((height, width, 3), np.uint8)
        top = 0
        while top < height:
            left, tallest = 0, height
            while left < width:
                tile = tiles[int(rng.integers(len(tiles)))]
                down, across = (
                    int(rng.integers(side // 2)) for side in tile.shape[:2]
                )  # else photos would be the same
                tile = tile[down:, across:][:, :: int(rng.choice((-1, 1)))]
                part = tile[: height - top, : width - left]
                canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
                left, tallest = left + tile.shape[1], min(tallest, tile.shape[0])
            top += tallest
        if int((number + 1) * blurred) > int(number * blurred):
            canvas = np.asarray(Image.fromarray(canvas).filter(ImageFilter.GaussianBlur(BLUR)))
        paths.append(folder / f"{number:05}.jpg")
        paths[-1].write_bytes(encode_jpeg(canvas, quality=QUALITY))
    return paths


def decode_by_pillow(path: Path) -> NDArray[np.uint8]:
    """Decode the gray plane with Pillow."""
    picture = Image.open(io.BytesIO(path.read_bytes()))
    picture.draft("L", picture.size)
    return np.asarray(picture)


def read_at_an_eighth(path: Path) -> NDArray[np.uint8]:
    """Read all entropy-coded data with Pillow, and make as little of it as can be: an eighth of the size."""
    picture = Image.open(io.BytesIO(path.read_bytes()))
    picture.draft("L", (picture.width // 8, picture.height // 8))
    return np.asarray(picture)


def decode_by_opencv(path: Path) -> NDArray[np.uint8]:
    """Decode the gray plane with OpenCV."""
    import cv2

    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


def run_usual_opencv(path: Path) -> float:
    """Compute the variance of the Laplacian with the code that most projects copy."""
    import cv2

    return float(cv2.Laplacian(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


def run_fastest_opencv(path: Path) -> float:
    """Compute the variance of the Laplacian as fast as OpenCV can."""
    import cv2

    laplacian = cv2.Laplacian(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), cv2.CV_16S)
    return float(cv2.meanStdDev(laplacian)[1][0, 0] ** 2)


def run_blur_effect(path: Path) -> float:
    """Compute scikit-image's `blur_effect`."""
    from skimage.measure import blur_effect

    return float(blur_effect(decode_by_pillow(path)))


def run_cleanvision(folder: Path, jobs: int) -> None:
    """Find the blurred photos of a folder with CleanVision.

    Parameters
    ----------
    folder : Path
    jobs : int
        Processes.
    """
    from cleanvision import Imagelab

    with redirect_stdout(io.StringIO()):
        Imagelab(data_path=str(folder)).find_issues({"blurry": {}}, n_jobs=jobs, verbose=False)


def measure_by_loop(plane: NDArray[np.uint8]) -> Any:
    """Measure a plane as the original experiment did: block by block, with scipy, into a data frame."""
    import pandas

    rows = []
    for top in range(0, plane.shape[0] - 7, 8):
        for left in range(0, plane.shape[1] - 7, 8):
            coefficients = scipy.fft.dctn(plane[top : top + 8, left : left + 8].astype(float), norm="ortho").ravel()
            row: Numbers = {}
            for name, band in BANDS.items():
                x = coefficients[band]
                row |= {f"{name} mean": x.mean(), f"{name} std": x.std(), f"{name} energy": (x**2).sum()}
                row |= {f"{name} skewness": scipy.stats.skew(x), f"{name} kurtosis": scipy.stats.kurtosis(x)}
                row[f"{name} entropy"] = scipy.stats.entropy(np.abs(x) + 1e-9)
            rows.append(row)
    return pandas.DataFrame(rows).mean()


def list_contenders(paths: list[Path], pools: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """List the contenders that are installed.

    Parameters
    ----------
    paths : list of Path
        Photos, all in one folder.
    pools : dict
        The executors ``threads`` and ``processes``, of two workers each.

    Returns
    -------
    dict of str to callable
        A call processes all photos once.
    """
    model, folder = load_model(), paths[0].parent

    def threads(work: Callable[[Path], Any]) -> Callable[[], Any]:
        return lambda: list(pools["threads"].map(work, paths))

    def processes(work: Callable[[Path], Any]) -> Callable[[], Any]:
        return lambda: list(pools["processes"].map(work, paths, chunksize=max(1, len(paths) // 8)))

    def alone(work: Callable[[Path], Any]) -> Callable[[], Any]:
        return lambda: [work(path) for path in paths]

    def scan(jobs: int, engine: str) -> Callable[[], Any]:
        return lambda: list(blurgate.scan([folder], model=model, jobs=jobs, engine=engine))

    contenders: dict[str, Callable[[], Any]] = {
        "gray decode, Pillow, 1": alone(decode_by_pillow),
        "gray decode, Pillow, 2 threads": threads(decode_by_pillow),
        "entropy-coded data alone, Pillow, 1": alone(read_at_an_eighth),
        "entropy-coded data alone, Pillow, 2 threads": threads(read_at_an_eighth),
        "scan, compiled, 1 job": scan(1, "compiled"),
        "scan, compiled, 2 jobs": scan(2, "compiled"),
        "scan, numpy, 2 jobs": scan(2, "numpy"),
    }
    if find_spec("cv2"):
        contenders |= {
            "gray decode, OpenCV, 1": alone(decode_by_opencv),
            "Laplacian, usual OpenCV, 1": alone(run_usual_opencv),
            "Laplacian, usual OpenCV, 2 processes": processes(run_usual_opencv),
            "Laplacian, fastest OpenCV, 1": alone(run_fastest_opencv),
            "Laplacian, fastest OpenCV, 2 processes": processes(run_fastest_opencv),
        }
    if find_spec("cleanvision"):
        contenders |= {f"CleanVision, {jobs} jobs": partial(run_cleanvision, folder, jobs) for jobs in (1, 2)}
    return contenders


def list_measures(plane: NDArray[np.uint8]) -> dict[str, Callable[[], Any]]:
    """List the contenders for one gray plane in memory, on one thread."""
    return {
        "kernel, dct18": lambda: kernel.extract_features(plane, "dct18"),
        "reference, dct18": lambda: features.extract_features(plane, "dct18"),
    }


def time_rounds(contenders: Mapping[str, Callable[[], Any]], megapixels: float, rounds: int) -> dict[str, list[float]]:
    """Run all contenders in turn, once to warm up and then `rounds` times.

    Parameters
    ----------
    contenders : mapping of str to callable
    megapixels : float
        That one call processes.
    rounds : int
        At least 1.

    Returns
    -------
    dict of str to list of float
        Megapixels per second in each round.
    """
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, call in contenders.items():
            begun = time.perf_counter()
            call()
            if number:
                speeds[name].append(megapixels / (time.perf_counter() - begun))
    return speeds


def sum_up(speeds: dict[str, list[float]]) -> Numbers:
    """Summarise the speeds of each contender: median and range."""
    return {
        name: {
            "mp_per_s": round(statistics.median(rounds), 1),
            "lowest": round(min(rounds), 1),
            "highest": round(max(rounds), 1),
        }
        for name, rounds in speeds.items()
    }


def compare(speeds: dict[str, list[float]], one: str, other: str) -> float | None:
    """Compare the speeds of two contenders within each round.

    Parameters
    ----------
    speeds : dict of str to list of float
        See `time_rounds`.
    one, other : str
        Contenders.

    Returns
    -------
    float or None
        Median ratio over the rounds, above 1 if `one` is faster; None if one of them was not run.
    """
    if one not in speeds or other not in speeds:
        return None
    return round(statistics.median(a / b for a, b in zip(speeds[one], speeds[other], strict=True)), 2)


def time_size(paths: list[Path], rounds: int, pools: dict[str, Any]) -> tuple[Numbers, Numbers]:
    """Time all contenders on photos of one size.

    Parameters
    ----------
    paths : list of Path
    rounds : int
        At least 1.
    pools : dict
        See `list_contenders`.

    Returns
    -------
    speeds, ratios : dict
    """
    plane = decode_by_pillow(paths[0])
    megapixels = plane.size / 1e6
    speeds = time_rounds(list_contenders(paths, pools), megapixels * len(paths), rounds)
    calls = {"gray decode of the same photo": lambda: decode_by_pillow(paths[0]), **list_measures(plane)}
    repeated = {name: partial(_repeat, call) for name, call in calls.items()}
    on_plane = time_rounds(repeated, 5 * megapixels, rounds)
    slow = {"blur_effect": lambda: run_blur_effect(paths[0])} if find_spec("skimage") else {}
    ratios = {
        "kernel dct18 / gray decode, one thread": compare(on_plane, "kernel, dct18", "gray decode of the same photo"),
        "kernel / reference, dct18": compare(on_plane, "kernel, dct18", "reference, dct18"),
    }
    alone = "entropy-coded data alone, Pillow, 1"
    ratios[f"scan 1 job / {alone}"] = compare(speeds, "scan, compiled, 1 job", alone)
    for other in ("entropy-coded data alone, Pillow, 2 threads", "gray decode, Pillow, 2 threads",
                  "Laplacian, usual OpenCV, 2 processes", "Laplacian, fastest OpenCV, 2 processes",
                  "CleanVision, 2 jobs"):  # fmt: skip
        ratios[f"scan 2 jobs / {other}"] = compare(speeds, "scan, compiled, 2 jobs", other)
    return sum_up(speeds | on_plane | time_rounds(slow, megapixels, 1)), ratios


def _repeat(call: Callable[[], Any], times: int = 5) -> None:
    for _ in range(times):
        call()


def time_blocks(plane: NDArray[np.uint8], rounds: int) -> Numbers:
    """Time `BLOCKS` blocks of planes in memory on two threads; extrapolate the original code from a sample.

    Parameters
    ----------
    plane : ndarray of shape (height, width), uint8
        Measured as often as it takes.
    rounds : int
        At least 1.

    Returns
    -------
    dict
    """
    blocks = plane.size // 64
    count = -(-BLOCKS // blocks)
    sample = plane[:256, :256]
    with ThreadPoolExecutor(2) as pool:
        seconds = []
        for _ in range(rounds):
            begun = time.perf_counter()
            list(pool.map(lambda _: kernel.extract_features(plane, "dct18"), range(count)))
            seconds.append((time.perf_counter() - begun) * BLOCKS / (count * blocks))
    figures: Numbers = {"kernel, 2 threads, s": round(statistics.median(seconds), 2), "lowest": round(min(seconds), 2)}
    if find_spec("pandas"):
        begun = time.perf_counter()
        measure_by_loop(sample)
        hours = (time.perf_counter() - begun) * BLOCKS / (sample.size / 64) / 3600
        figures["loop over scipy, h, extrapolated"] = round(hours, 2)
    return figures


def time_processes(folder: Path, output: Path, count: int, rounds: int) -> Numbers:
    """Time contenders as fresh processes that start two workers each.

    Parameters
    ----------
    folder : Path
        With the photos.
    output : Path
        CSV file to write.
    count : int
        Number of photos.
    rounds : int
        At least 1, after one to warm up; each begins with the next contender.

    Returns
    -------
    dict
        Seconds by the clock and of CPU of each contender, and ratios within a round to those of blurgate.
    """
    python = sys.executable
    scan = ["-m", "blurgate", "scan", str(folder), "--output", str(output), "--jobs", "2"]
    commands = {OURS[0]: [python, *scan], OURS[1]: [python, *scan, "--model", "trees"]}
    if find_spec("cv2"):
        for work in ("fastest", "usual"):
            commands[f"Laplacian, {work} OpenCV"] = [python, "-c", OPENCV, work, str(folder), str(output)]
    if find_spec("cleanvision"):
        commands["CleanVision"] = [python, "-c", CLEANVISION, str(folder), str(output)]
    clock: dict[str, list[float]] = {name: [] for name in commands}
    cpu: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        first = number % len(commands)
        for name in [*commands][first:] + [*commands][:first]:
            output.unlink(missing_ok=True)
            used, begun = _read_children_cpu_s(), time.perf_counter()
            done = subprocess.run(commands[name], capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - begun
            if done.returncode or sum(1 for _ in output.open()) < count:
                sys.exit(f"{name} failed with exit code {done.returncode}: {done.stderr[-2000:]}")
            if number:
                clock[name].append(seconds)
                cpu[name].append(_read_children_cpu_s() - used)
    return {"photos": count} | _sum_up_processes(clock, cpu)


def _sum_up_processes(clock: dict[str, list[float]], cpu: dict[str, list[float]]) -> Numbers:
    speeds, ratios = {}, {}
    for name, seconds in clock.items():
        speeds[name] = {
            "s": round(statistics.median(seconds), 2),
            "lowest": round(min(seconds), 2),
            "highest": round(max(seconds), 2),
            "cpu_s": round(statistics.median(cpu[name]), 2),
        }
        for own, (what, taken) in product(OURS, (("", clock), (", CPU time", cpu))) if name not in OURS else ():
            within = [other / ours for ours, other in zip(taken[own], taken[name], strict=True)]
            ratios[f"{own} / {name}{what}"] = round(statistics.median(within), 2)
    return {"speeds": speeds, "ratios": ratios}


def _read_children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def time_judging(paths: list[Path], rounds: int) -> Numbers:
    """Measure the CPU time of one thread for decoding photos, and for verdicts on them, with everything loaded.

    Parameters
    ----------
    paths : list of Path
    rounds : int
        At least 1, after one to warm up.

    Returns
    -------
    dict
        Milliseconds for each photo, median over the rounds: by the trees alone, and by the default model, which asks
        its net about some photos.
    """
    found: Numbers = {}
    for name in ("trees", "default"):
        model = load_model(name)
        judge = Judge(model, (model.card.threshold, model.card.threshold), engine="compiled")
        decoding, judging = [], []
        with mock.patch.object(Net, "predict", autospec=True, side_effect=Net.predict) as predict:
            for number in range(rounds + 1):
                decoded = _take_cpu_ms(lambda: [decode_by_pillow(path) for path in paths])
                judged = _take_cpu_ms(lambda judge=judge: judge.judge([Item(str(path)) for path in paths]))  # type: ignore[misc]
                if number:
                    decoding.append(decoded / len(paths))
                    judging.append(judged / len(paths))
        rest = [judged - decoded for judged, decoded in zip(judging, decoding, strict=True)]
        found[name] = {
            "decoding, ms": round(statistics.median(decoding), 2),
            "all, ms": round(statistics.median(judging), 2),
            "all that is not decoding, ms": round(statistics.median(rest), 2),
            "lowest": round(min(rest), 2),
            "share that the net is asked about": round(predict.call_count / (rounds + 1) / len(paths), 3),
        }
    return found


def _take_cpu_ms(work: Callable[[], Any]) -> float:
    begun = time.thread_time()
    work()
    return 1000 * (time.thread_time() - begun)


def time_start(photo: Path, python: str, rounds: int) -> Numbers:
    """Time a fresh process: the help, and the first verdict.

    Parameters
    ----------
    photo : Path
    python : str
        The interpreter.
    rounds : int
        At least 1, after one to warm up.

    Returns
    -------
    dict
    """
    calls = {"blurgate --help": ["--help"], "first verdict on one 12-MP photo": ["scan", str(photo), "--format", "csv"]}
    figures = {}
    for name, arguments in calls.items():
        seconds = []
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            subprocess.run([python, "-m", "blurgate", *arguments], capture_output=True, check=True)
            seconds.append(time.perf_counter() - begun)
        figures[name] = {"s": round(statistics.median(seconds[1:]), 3), "lowest": round(min(seconds[1:]), 3)}
    return figures


def find_tiles(folder: Path | None) -> Iterator[NDArray[np.uint8]]:
    """Read the photos that larger ones are assembled from: those of a folder, or of the demo."""
    if folder:
        yield from (read_rgb(path) for path in find_photos([folder])[:20])
        return
    yield from load_photographs().values()


def to_markdown(results: Numbers) -> str:
    """Format the results as Markdown."""
    lines = []
    if processes := results.get("processes"):
        lines += _to_table("s, median (lowest to highest round); CPU time", processes, "speeds", _describe_seconds)
        lines += _to_table("times as fast, within a round", processes, "ratios", str)
    if sizes := results.get("warm"):
        lines += _to_table("MP/s, median (lowest to highest round)", sizes, "speeds", _describe_speed)
        lines += _to_table("times as fast, within a round", sizes, "ratios", str)
    lines += [f"{part}: {json.dumps(results[part])}" for part in ("judging", "blocks", "start") if part in results]
    return "\n".join(lines)


def _to_table(title: str, sizes: Numbers, part: str, describe: Callable[[Any], str]) -> list[str]:
    """Format one part of the results: a column for each size of the photos."""
    lines = [f"| {title} |" + "".join(f" {size} |" for size in sizes), "|" + "---|" * (len(sizes) + 1)]
    names = next(iter(sizes.values()))[part]
    rows = ([name, *(describe(each[part][name]) for each in sizes.values())] for name in names)
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _describe_seconds(cell: Numbers) -> str:
    return f"{cell['s']} ({cell['lowest']} to {cell['highest']}); {cell['cpu_s']}"


def _describe_speed(cell: Numbers) -> str:
    return f"{cell['mp_per_s']:.0f} ({cell['lowest']:.0f} to {cell['highest']:.0f})"


def main() -> None:
    """Print the JSON, or the Markdown of an earlier JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photos to assemble larger ones from")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to time")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="of the photos")
    parser.add_argument("--blurred", type=float, default=0, help="share of the photos that are blurred")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--lean", default=sys.executable, help="interpreter of an environment with the base install only"
    )
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(json.loads(options.table.read_text())))
        return
    kernel.extract_features(np.zeros((64, 64), np.uint8), "dct18")  # compile before the timing
    kernel.extract_features(np.zeros((64, 64), np.uint8), "block99")
    with tempfile.TemporaryDirectory() as work:
        print(json.dumps(time_parts(options, list(find_tiles(options.photos)), Path(work)), indent=1))


def time_parts(options: argparse.Namespace, tiles: Sequence[NDArray[np.uint8]], work: Path) -> Numbers:
    """Time the chosen parts.

    Parameters
    ----------
    options : Namespace
        Of the command line.
    tiles : sequence of ndarray of shape (height, width, 3), uint8
    work : Path
        Folder for the photos.

    Returns
    -------
    dict
    """
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    results: Numbers = {"machine": machine | {"python": platform.python_version()}, "blurred": options.blurred}

    def make(size: str) -> list[Path]:
        folder = work / "warm" / size
        return (
            sorted(folder.iterdir())
            if folder.exists()
            else make_photos(tiles, folder, SIZES[size], blurred=options.blurred)
        )

    for part in options.parts:
        print(part, file=sys.stderr, flush=True)
        results[part] = {}
        if part == "processes":
            for size in filter(options.sizes.count, PROCESSES):
                *made, count = PROCESSES[size]
                paths = make_photos(tiles, work / size, (made[0], made[1], made[2]), blurred=options.blurred)
                distinct = len(paths)
                for number in range(distinct, count):
                    os.link(paths[number % distinct], work / size / f"{number:05}.jpg")
                results[part][size] = time_processes(work / size, work / "x.csv", count, options.rounds)
        elif part == "judging":
            results[part] = time_judging(make("512x512"), options.rounds)
        elif part == "warm":
            with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2) as processes:
                pools = {"threads": threads, "processes": processes}
                for size in options.sizes:
                    speeds, ratios = time_size(make(size), options.rounds, pools)
                    results[part][size] = {"speeds": speeds, "ratios": ratios}
        elif part == "blocks":
            results[part] = time_blocks(decode_by_pillow(make("4000x3000")[0]), options.rounds)
        else:
            results[part] = time_start(make("4000x3000")[0], options.lean, options.rounds)
    return results


if __name__ == "__main__":
    main()
