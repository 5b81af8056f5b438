"""Time blurgate, decoding alone, and the usual alternatives, on the same photos; print JSON.

    python benchmarks/speed.py --photos ../shared/data/train/sharp/sun_hays80 > speed.json
    python benchmarks/speed.py --table speed.json

Photos of three sizes are assembled from the photos in ``--photos``, or from those of the demo, and saved as JPEG at
quality 90. Contenders run one after the other in each round, so that a noisy machine disturbs all of them: trust the
ratios, which are taken within a round. Needs the extra ``all`` and CleanVision; contenders that are not installed are
skipped. ``--lean PYTHON`` is the interpreter of an environment with the base install only, to time the start.
"""

import argparse
import io
import json
import os
import platform
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
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import scipy.stats
from numpy.typing import NDArray
from PIL import Image

import blurgate
from blurgate.demo import load_photographs
from blurgate.judging.model import load_model
from blurgate.measuring import features, kernel
from blurgate.measuring.blocks import BANDS
from blurgate.photos.finding import find_photos
from blurgate.photos.images import encode_jpeg, read_rgb

Numbers = dict[str, Any]
SIZES = {
    "512x512": (512, 512, 200),
    "1920x1080": (1920, 1080, 48),
    "4000x3000": (4000, 3000, 12),
}  # width, height, count
QUALITY = 90
BLOCKS = 11_000_000  # of the original experiment
GROWTH = (100, 1_000, 10_000)


def make_photos(tiles: Sequence[NDArray[np.uint8]], folder: Path, width: int, height: int, count: int) -> list[Path]:
    """Assemble photos from randomly chosen tiles, side by side.

    Parameters
    ----------
    tiles : sequence of ndarray of shape (height, width, 3), uint8
    folder : Path
        The folder to make.
    width, height : int
        Pixels.
    count : int
        How many photos.

    Returns
    -------
    list of Path
    """
    folder.mkdir()
    paths = []
    for number in range(count):
        rng = np.random.default_rng(number)
        canvas = np.zeros((height, width, 3), np.uint8)
        top = 0
        while top < height:
            left, tallest = 0, height
            while left < width:
                tile = tiles[int(rng.integers(len(tiles)))]
                part = tile[: height - top, : width - left]
                canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
                left, tallest = left + tile.shape[1], min(tallest, tile.shape[0])
            top += tallest
        paths.append(folder / f"{number:05}.jpg")
        paths[-1].write_bytes(encode_jpeg(canvas, quality=QUALITY))
    return paths


def decode_by_pillow(path: Path) -> NDArray[np.uint8]:
    """Decode the gray plane with Pillow."""
    picture = Image.open(io.BytesIO(path.read_bytes()))
    picture.draft("L", picture.size)
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
        "kernel, block99 at full size": lambda: kernel._Plane(plane).measured,
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
    for other in ("gray decode, Pillow, 2 threads", "Laplacian, usual OpenCV, 2 processes",
                  "Laplacian, fastest OpenCV, 2 processes", "CleanVision, 2 jobs"):  # fmt: skip
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


def time_growth(photo: Path, work: Path) -> Numbers:
    """Measure time and memory of scans of more and more copies of one small photo, each in its own process.

    Parameters
    ----------
    photo : Path
    work : Path
        Folder for the copies.

    Returns
    -------
    dict
        Figures by number of photos.
    """
    code = (
        "import blurgate, memory, sys, time; begun = time.perf_counter()\n"
        "count = sum(1 for _ in blurgate.scan([sys.argv[1]], engine='compiled'))\n"
        "print(count, time.perf_counter() - begun, memory.peak_mib())"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    figures = {}
    for count in GROWTH:
        folder = work / f"many-{count}"
        folder.mkdir()
        for number in range(count):
            os.link(photo, folder / f"{number:06}.jpg")
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True, env=env)
        scanned, seconds, peak = map(float, done.stdout.split())
        figures[str(int(scanned))] = {
            "s": round(seconds, 2),
            "ms_per_photo": round(1000 * seconds / scanned, 2),
            "peak_mib": round(peak),
        }
    return figures


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
    sizes = list(results["speeds"])
    lines = [
        "| MP/s, median (lowest to highest round) |" + "".join(f" {size} |" for size in sizes),
        "|" + "---|" * (len(sizes) + 1),
    ]
    for name in results["speeds"][sizes[0]]:
        cells = [results["speeds"][size][name] for size in sizes]
        lines.append(
            f"| {name} |" + "".join(f" {c['mp_per_s']:.0f} ({c['lowest']:.0f} to {c['highest']:.0f}) |" for c in cells)
        )
    lines += [
        "",
        "| times as fast, within a round |" + "".join(f" {size} |" for size in sizes),
        "|" + "---|" * (len(sizes) + 1),
    ]
    for name in results["ratios"][sizes[0]]:
        lines.append(f"| {name} |" + "".join(f" {results['ratios'][size][name]} |" for size in sizes))
    return "\n".join(lines)


def main() -> None:
    """Print the JSON, or the Markdown of an earlier JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photos to assemble larger ones from")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--lean", default=sys.executable, help="interpreter of an environment with the base install only"
    )
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(json.loads(options.table.read_text())))
        return
    tiles = list(find_tiles(options.photos))
    results: Numbers = {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "speeds": {},
        "ratios": {},
    }
    with (
        tempfile.TemporaryDirectory() as name,
        ThreadPoolExecutor(2) as threads,
        ProcessPoolExecutor(2) as processes,
    ):
        work, pools = Path(name), {"threads": threads, "processes": processes}
        kernel.extract_features(np.zeros((64, 64), np.uint8), "dct18")  # compile before the timing
        kernel.extract_features(np.zeros((64, 64), np.uint8), "block99")
        made = {}
        for size, (width, height, count) in SIZES.items():
            print(size, file=sys.stderr, flush=True)
            made[size] = make_photos(tiles, work / size, width, height, count)
            results["speeds"][size], results["ratios"][size] = time_size(made[size], options.rounds, pools)
        print("blocks, growth, start", file=sys.stderr, flush=True)
        largest, smallest = list(made)[-1], next(iter(made))
        results["blocks"] = time_blocks(decode_by_pillow(made[largest][0]), options.rounds)
        results["growth"] = time_growth(made[smallest][0], work)
        results["start"] = time_start(made[largest][0], options.lean, options.rounds)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
