"""Measure how a scan grows: with workers, with photos, with the distance of the photos, on a GPU; print JSON.

    PYTHONPATH=src python benchmarks/scale.py jobs > jobs.json
    PYTHONPATH=src:. python benchmarks/scale.py memory --photos 100000 > memory.json
    PYTHONPATH=src:. python benchmarks/scale.py store > store.json
    PYTHONPATH=src python benchmarks/scale.py driver > driver.json
    PYTHONPATH=src python benchmarks/scale.py gpu --device cuda > gpu.json

jobs: photos a second with 1, 2, 4, 8 ... threads and processes, of 512x512 and 1920x1080, by the shipped model and by
its trees alone, and their ratio to one of the same kind. Photos are in the page cache, and are judged again and again
for a few seconds, from when every worker has begun; the start is stated apart, and from how many photos on processes
make up for theirs. A quarter of them is blurred. Beside it, the ceiling of the machine: how much faster it is at
decoding alone with so many processes that share nothing.
memory: what the command and all its processes hold while they scan many small photos by trees (hard links of 500
distinct ones).
store: photos in a bucket of moto's S3 server on the loopback, behind a proxy that takes its time, against the same
photos on the local disk, judged by trees on one thread, as the server needs a core too. driver: what the process that
starts a scan on a cluster does for each photo. gpu: blocks a second, and the bytes that all operations read and write
against those of a copy from the device to itself; then a whole scan on the device against one on all cores.

Photos are drawn: disks of all sizes over each other, as in dead leaves, with grain. jobs and gpu need the base install
and, for compiled code, what `fast` brings; memory needs Linux, store the extra `remote` and moto.
"""

import argparse
import io
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import blurgate
from blurgate.errors import BlurgateError
from blurgate.measuring.engines import MANY, Engine
from blurgate.photos.images import Gray, encode_jpeg, read_gray
from blurgate.scanning.stream import scan

Numbers = dict[str, Any]
SIZES = {"512x512": (512, 512, 96), "1920x1080": (1920, 1080, 32)}  # width, height, number of distinct photos
MODELS = ("default", "trees")
BLURRED = 4  # every fourth photo
BLUR = 4.0  # radius of its blur in pixels
SMALL = (128, 128, 500)
WARM_UP_PHOTOS, WARM_UP_S = 64, 0.7  # per worker, and at most so long
GPU_BATCH = 16
_MOTO = """
import logging, signal
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it prints each request
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
signal.pause()
"""


@cache
def find_engine() -> str:
    """Choose the engine for all scans: compiled, wherever it works."""
    try:
        Engine("compiled", count=MANY).prepare()
    except BlurgateError as error:
        say(f"measuring with numpy: {error}")
        return "numpy"
    return "compiled"


def draw_photo(width: int, height: int, number: int) -> Image.Image:
    """Draw disks of all sizes over each other, with grain: sharp, and with as much detail as a photo.

    Parameters
    ----------
    width, height : int
        Pixels.
    number : int
        Of the photo; the same number gives the same photo.

    Returns
    -------
    PIL image
    """
    rng = np.random.default_rng(number)
    picture = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3).tolist()))
    drawing = ImageDraw.Draw(picture)
    count = width * height // 300
    radii = np.minimum(2.0 / rng.random(count) ** 0.7, height / 6)
    places = rng.random((count, 2)) * (width, height)
    colours = rng.integers(0, 256, (count, 3))
    for (x, y), radius, colour in zip(places.tolist(), radii.tolist(), colours.tolist(), strict=True):
        drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colour))
    return picture


def make_photos(folder: Path, width: int, height: int, distinct: int, count: int = 0) -> list[str]:
    """Draw photos, of which every `BLURRED`th is blurred; the others up to `count` are hard links to them.

    Parameters
    ----------
    folder : Path
        Which is made.
    width, height : int
        Pixels.
    distinct, count : int

    Returns
    -------
    list of str
        Paths.
    """
    folder.mkdir(parents=True)
    paths: list[str] = []
    for number in range(max(distinct, count)):
        place = folder / f"{number // 1000:03}" / f"{number:06}.jpg"
        place.parent.mkdir(exist_ok=True)
        paths.append(str(place))
        if number >= distinct:
            os.link(paths[number % distinct], place)
            continue
        picture = draw_photo(width, height, number)
        if number % BLURRED == 0:
            picture = picture.filter(ImageFilter.GaussianBlur(BLUR))
        grain = np.random.default_rng(number).normal(0, 2, (height, width, 1))
        rgb = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        place.write_bytes(encode_jpeg(rgb, quality=90))
    return paths


def measure_rate(paths: Sequence[str], seconds: float, **options: Any) -> Numbers:
    """Scan photos again and again.

    Parameters
    ----------
    paths : sequence of str
    seconds : float
        How long to count, after a warm-up.
    **options
        Of `blurgate.scan`.

    Returns
    -------
    dict
        ``photos_per_s``, and ``start_s`` until the first verdict.
    """
    jobs = options.get("jobs") or os.cpu_count() or 1
    begun = time.perf_counter()
    with closing(iter(scan(itertools.cycle(paths), **{"engine": find_engine(), **options}))) as verdicts:  # type: ignore[type-var]
        next(verdicts)
        first = time.perf_counter()
        for number, verdict in enumerate(verdicts):
            if verdict.error:
                sys.exit(verdict.error)
            if number >= WARM_UP_PHOTOS * jobs or time.perf_counter() - first > WARM_UP_S:
                break
        counted, start = 0, time.perf_counter()
        for _ in verdicts:
            counted += 1
            if (spent := time.perf_counter() - start) > seconds:
                break
    return {"photos_per_s": round(counted / spent, 1), "start_s": round(first - begun, 2)}


def measure_jobs(work: Path, seconds: float, most: int) -> Numbers:
    """Measure photos a second with more and more workers; see the head of this file.

    Parameters
    ----------
    work : Path
        Folder for the photos.
    seconds : float
        For each measurement.
    most : int
        Workers.

    Returns
    -------
    dict
    """
    counts = [2**power for power in range(most.bit_length())]
    counts += [most] if counts[-1] < most else []
    results: Numbers = {"ceiling": measure_ceiling(make_photos(work / "ceiling", *SIZES["512x512"]), seconds, counts)}
    for size, (width, height, distinct) in SIZES.items():
        paths = make_photos(work / size, width, height, distinct)
        results[size] = {"decisions": {}}
        for model in MODELS:
            decisions = [verdict.decision for verdict in scan(paths, model=model, engine=find_engine())]
            results[size]["decisions"][model] = {each: decisions.count(each) for each in sorted(set(decisions))}
            for workers in ("threads", "processes"):
                say(f"{size}, {model}, {workers}")
                rates = {
                    str(jobs): measure_rate(paths, seconds, model=model, jobs=jobs, workers=workers) for jobs in counts
                }
                for rate in rates.values():
                    rate["ratio"] = round(rate["photos_per_s"] / rates["1"]["photos_per_s"], 2)
                results[size].setdefault(model, {})[workers] = rates
            found = results[size][model]
            found["processes_from_photos"] = {
                jobs: _find_break_even(found["threads"][jobs], found["processes"][jobs]) for jobs in found["threads"]
            }
    return results


def _find_break_even(threads: Numbers, processes: Numbers) -> int | None:
    """Find from how many photos on processes are faster, for all that they start later; None if they never are."""
    later = processes["start_s"] - threads["start_s"]
    gained = 1 / threads["photos_per_s"] - 1 / processes["photos_per_s"]
    return max(0, round(later / gained)) if gained > 0 else None


def measure_ceiling(paths: Sequence[str], seconds: float, counts: Sequence[int]) -> Numbers:
    """Measure how much faster several processes that share nothing decode photos than one does.

    Parameters
    ----------
    paths : sequence of str
    seconds : float
        For each measurement.
    counts : sequence of int
        Of processes, the first 1.

    Returns
    -------
    dict
    """
    context, rates = multiprocessing.get_context("fork"), {}
    for count in counts:
        with context.Pool(count) as pool:
            rates[str(count)] = round(sum(pool.starmap(_decode_for, [(paths, seconds)] * count, chunksize=1)), 1)
    return {count: {"photos_per_s": rate, "ratio": round(rate / rates["1"], 2)} for count, rate in rates.items()}


def _decode_for(paths: Sequence[str], seconds: float) -> float:
    begun = time.perf_counter()
    for count, path in enumerate(itertools.cycle(paths)):
        if (spent := time.perf_counter() - begun) > seconds:
            return count / spent
        read_gray(path)
    return 0.0


def measure_memory(work: Path, count: int, jobs: int) -> Numbers:
    """Sample the memory of a scan of many small photos, with threads and with processes.

    Parameters
    ----------
    work : Path
        Folder for the photos.
    count : int
        Number of photos.
    jobs : int

    Returns
    -------
    dict
        For each kind of workers the samples in MiB, over the share of the photos that are judged.
    """
    from benchmarks.processes import weigh

    make_photos(work / "small", *SMALL, count=count)
    code = (
        "import sys; from pathlib import Path; from blurgate.scanning.run import ScanRequest, run_scan\n"
        "folder, output, workers, jobs = sys.argv[1:]\n"
        "how = {'workers': workers, 'jobs': int(jobs)}\n"
        "request = ScanRequest(photos=[folder], roots=[Path(folder)], output=Path(output), model='trees', **how)\n"
        "print(run_scan(request).tally.total)"
    )
    results: Numbers = {"photos": count, "jobs": jobs}
    for workers in ("threads", "processes"):
        say(workers)
        begun, samples = time.perf_counter(), []
        arguments = [sys.executable, "-c", code, str(work / "small"), str(work / "x.csv"), workers, str(jobs)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            while process.poll() is None:
                time.sleep(1)
                samples.append({"s": round(time.perf_counter() - begun, 1), **weigh(process.pid)})
            if (judged := int(process.stdout.read() or 0)) != count:
                sys.exit(f"expected verdicts on {count:,} photos, got {judged:,}")
        results[workers] = {"s": round(time.perf_counter() - begun, 1), **_find_growth(samples), "samples": samples}
        (work / "x.csv").unlink()
    return results


def _find_growth(samples: Sequence[Numbers]) -> Numbers:
    """Compare memory in the second fifth of a scan with that in the last but one."""
    fifth = len(samples) // 5
    if not fifth:
        return {}
    found = {}
    for what in ("rss_mib", "pss_mib"):
        early, late = samples[fifth : 2 * fifth], samples[3 * fifth : 4 * fifth]
        first, last = (statistics.median(each[what] for each in part) for part in (early, late))
        found[what] = {"early": first, "late": last, "growth": round(last / max(first, 1) - 1, 3)}
    return found


def measure_gpu(work: Path, device: str, seconds: float) -> Numbers:
    """Measure blocks a second on a device, the bytes that this moves, and whole scans.

    Parameters
    ----------
    work : Path
        Folder for the photos.
    device : str
        In torch's notation; on ``cpu`` there is no scan.
    seconds : float
        For each measurement.

    Returns
    -------
    dict
    """
    import torch

    from blurgate.measuring.features import extract_many

    on_gpu = device.startswith("cuda")
    results: Numbers = {
        "card": torch.cuda.get_device_name(device) if on_gpu else device,
        "torch": str(torch.__version__),
        "copy": measure_copy(device, seconds),
    }
    for side in (512, 1024):
        planes = [_draw_plane(side, number) for number in range(GPU_BATCH)]
        sent = [torch.asarray(plane, device=device) for plane in planes]
        for feature_set in ("dct18", "block99"):
            extract = partial(extract_many, sent, feature_set)
            extract()  # loads its kernels
            moved = count_bytes(extract)
            calls, spent = _call_for(extract, device, seconds)
            rate = moved * calls / spent / 1e9
            results[f"{feature_set}, {GPU_BATCH} planes of {side}x{side}"] = {
                "blocks_per_s": round(calls * GPU_BATCH * (side // 8) ** 2 / spent),
                "planes_per_s": round(calls * GPU_BATCH / spent, 1),
                "moved_gb_per_s": round(rate, 1),
                "moved_bytes_per_pixel": round(moved / (GPU_BATCH * side**2), 1),
                "share_of_copy": round(rate / results["copy"]["gb_per_s"], 3),
                f"planes_per_s, {find_engine()}, one core": _measure_on_core(planes, feature_set, seconds),
            }
    if on_gpu:
        cores, engine = os.cpu_count() or 1, find_engine()
        for size, shape in SIZES.items():
            paths = make_photos(work / size, *shape)
            say(f"scans, {size}")
            results[f"scan, {size}"] = {
                "cuda": measure_rate(paths, seconds, device="cuda", engine="auto", model="trees"),
                f"{engine}, {cores} threads": measure_rate(paths, seconds, model="trees", workers="threads"),
                f"{engine}, {cores} processes": measure_rate(paths, seconds, model="trees", workers="processes"),
            }
    return results


def measure_copy(device: str, seconds: float) -> Numbers:
    """Measure the memory bandwidth of a device by copying from it to itself; bytes read and written count.

    Parameters
    ----------
    device : str
    seconds : float

    Returns
    -------
    dict
    """
    import torch

    source = torch.zeros(2**30 if device.startswith("cuda") else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    calls, spent = _call_for(lambda: target.copy_(source), device, seconds)
    return {"gb_per_s": round(2 * source.numel() * calls / spent / 1e9, 1), "bytes": source.numel()}


def count_bytes(call: Any) -> int:
    """Count the bytes that all of torch's operations in a call read and write; what only looks at others has none."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_flatten

    class Counting(TorchDispatchMode):  # type: ignore[misc] # torch is not installed
        total = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            taken, made = (
                [each for each in tree_flatten(part)[0] if isinstance(each, Tensor)]
                for part in ((args, kwargs or {}), result)
            )
            places = {each.untyped_storage().data_ptr() for each in taken}
            new = [each for each in made if each.untyped_storage().data_ptr() not in places]
            if new or func.overloadpacket.__name__.endswith("_"):  # others only look at what is there
                self.total += sum(
                    min(each.numel() * each.element_size(), each.untyped_storage().nbytes()) for each in (*taken, *new)
                )
            return result

    with Counting() as counting:
        call()
    return int(counting.total)


def _call_for(call: Any, device: str, seconds: float) -> tuple[int, float]:
    """Call again and again; -> how often, and the seconds until the device had finished."""
    import torch

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    call()
    wait()
    calls, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(4):  # the device works on one while the next is sent
            call()
        wait()
        calls += 4
    return calls, time.perf_counter() - begun


def _measure_on_core(planes: Sequence[Gray], feature_set: str, seconds: float) -> float:
    """Measure planes on one core for a while; -> planes a second."""
    engine = Engine(find_engine(), count=MANY)
    count, begun = 0, time.thread_time()
    while time.thread_time() - begun < seconds:
        for plane in planes:
            engine.begin(plane, feature_set)
        count += len(planes)
    return round(count / (time.thread_time() - begun), 1)


def _draw_plane(side: int, number: int) -> Gray:
    return np.array(draw_photo(side, side, number).convert("L"))  # a copy that may be written to, as torch wants it


def measure_store(work: Path, count: int, rounds: int, latency_ms: float, jobs: int) -> Numbers:
    """Scan photos in a bucket behind a slow network, and on the local disk.

    Parameters
    ----------
    work : Path
        Folder for the photos.
    count : int
        Number of photos of 1920x1080.
    rounds : int
        Of both, one after the other.
    latency_ms : float
        Before each answer of the server.
    jobs : int
        Of the scan, which judges by trees.

    Returns
    -------
    dict
        ``ratio``: how fast a scan of the bucket is against one of the disk, median over the rounds.
    """
    missing = [name for name in ("moto", "s3fs") if not find_spec(name)]
    if missing:
        return {"skipped": f"needs {', '.join(missing)}"}
    import s3fs

    width, height, distinct = SIZES["1920x1080"]
    make_photos(work / "photos", width, height, min(distinct, count), count)
    os.environ |= {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}
    seconds: dict[str, list[float]] = {"disk": [], "bucket": []}
    with _start_and_read_port("-c", _MOTO) as port:
        bucket = s3fs.S3FileSystem(endpoint_url=f"http://127.0.0.1:{port}")
        bucket.mkdir("bucket")
        bucket.put(str(work / "photos"), "bucket/", recursive=True)
        slowly = ("-m", "benchmarks.slow_proxy", str(port), "--latency-ms", str(latency_ms))
        with _start_and_read_port(*slowly) as slow:
            os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{slow}"
            for number in range(rounds + 1):
                for name, place in (("disk", str(work / "photos")), ("bucket", "s3://bucket/photos")):
                    begun = time.perf_counter()
                    verdicts = scan(place, model="trees", engine=find_engine(), jobs=jobs)
                    errors = [verdict.error for verdict in verdicts if verdict.error]
                    if errors:
                        sys.exit(f"{len(errors)} photos were not judged: {errors[0]}")
                    if number:
                        seconds[name].append(time.perf_counter() - begun)
    ratio = statistics.median(disk / store for disk, store in zip(seconds["disk"], seconds["bucket"], strict=True))
    return {"photos": count, "latency_ms": latency_ms, "jobs": jobs, "ratio": round(ratio, 2)} | {
        name: [round(each, 2) for each in taken] for name, taken in seconds.items()
    }


@contextmanager
def _start_and_read_port(*words: str) -> Iterator[int]:
    """Run a server as a process of its own, so that it does not share the interpreter's lock; it prints its port."""
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.terminate()


def measure_driver(work: Path, count: int) -> Numbers:
    """Measure what one process has to do for each photo of a scan on a cluster, on one core.

    Parameters
    ----------
    work : Path
        Folder for the photos.
    count : int
        Number of photos, in folders of a thousand.

    Returns
    -------
    dict
        Microseconds of a core for each photo.
    """
    from blurgate.judging.verdicts import Verdict
    from blurgate.photos.finding import walk_photos
    from blurgate.scanning.formats import write_csv
    from blurgate.scanning.items import list_items
    from blurgate.scanning.piece_files import parse_piece, write_piece
    from blurgate.scanning.pieces import cut_pieces, note_files

    (first,) = make_photos(work / "one", 128, 128, 1)
    for number in range(count):
        folder = work / "photos" / f"{number // 1000:04}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(first, folder / f"{number:08}.jpg")
    size: Numbers = {"width": 1920, "height": 1080, "sharp_to_px": 960, "judged_at_px": 960}
    verdicts = [Verdict(f"/shared/photos/{number:08}.jpg", "sharp", 0.012, **size) for number in range(1000)]
    name = "0" * 64
    piece = write_piece(verdicts, name)

    def time_each(call: Any, photos: int) -> float:
        taken = []
        for _ in range(5):
            begun = time.thread_time()
            call()
            taken.append(time.thread_time() - begun)
        return round(1e6 * min(taken) / photos, 1)

    def list_photos() -> Any:
        return list_items([str(work / "photos")], None, walk_photos)[0]

    return {
        "us_per_photo": {
            "list": time_each(lambda: sum(1 for _ in list_photos()), count),
            "list and cut into pieces": time_each(lambda: sum(map(len, cut_pieces(note_files(list_photos())))), count),
            "write a piece file": time_each(lambda: write_piece(verdicts, name), len(verdicts)),
            "read a piece file": time_each(lambda: parse_piece(piece, name), len(verdicts)),
            "write CSV": time_each(lambda: write_csv(verdicts, io.StringIO()), len(verdicts)),
        }
    }


def say(text: str) -> None:
    """Say on stderr what is measured now."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Print the JSON of one mode."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("jobs", "memory", "store", "driver", "gpu"))
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement in jobs and gpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="at most so many")
    parser.add_argument("--photos", type=int, help="number, in memory (100,000), store (400) and driver (20,000)")
    parser.add_argument("--rounds", type=int, default=5, help="in store")
    parser.add_argument("--jobs", type=int, default=1, help="in store; the server needs a core of its own")
    parser.add_argument("--latency", type=float, default=20, help="milliseconds before each answer, in store")
    parser.add_argument("--device", default="cuda", help="in gpu")
    options = parser.parse_args()
    begun = time.perf_counter()
    cores = {"cores": os.cpu_count(), "usable": len(os.sched_getaffinity(0))}
    results: Numbers = {
        "machine": {"cpu": _name_cpu(), **cores, "python": platform.python_version(), "blurgate": blurgate.__version__},
        "engine": find_engine(),
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if options.mode == "jobs":
            results |= measure_jobs(work, options.seconds, options.workers)
        elif options.mode == "memory":
            results |= measure_memory(work, options.photos or 100_000, options.workers)
        elif options.mode == "store":
            results |= measure_store(work, options.photos or 400, options.rounds, options.latency, options.jobs)
        elif options.mode == "driver":
            results |= measure_driver(work, options.photos or 20_000)
        else:
            results |= measure_gpu(work, options.device, options.seconds)
    results["total_s"] = round(time.perf_counter() - begun, 1)
    print(json.dumps(results, indent=1))


def _name_cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
