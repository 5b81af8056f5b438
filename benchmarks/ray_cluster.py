"""Scan on a Ray cluster of two nodes on this machine, and print what comes out as JSON.

    python benchmarks/ray_cluster.py equal --photos 5000
    python benchmarks/ray_cluster.py overhead --photos 10000
    python benchmarks/ray_cluster.py memory --photos 100000

``equal`` scans here, then on the cluster, then once more while one of its nodes is killed in the middle: the rows must
be the same. ``overhead`` times a scan with two workers of a cluster that is already up against a scan with two jobs
here, in turns. ``memory`` samples the memory of the driver and of its workers over a scan of small photos. Photos are
hard links to a hundred different ones, in several folders.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from blurgate.demo import load_photographs
from blurgate.scanning.run import ScanRequest, run_scan
from blurgate.scanning.stream import scan

DISTINCT, PER_FOLDER = 100, 500
SIZES = {"equal": (256, 256), "overhead": (1920, 1080), "memory": (128, 128)}
STORE = 200 * 2**20


def make_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Make distinct JPEG photos by cropping and shrinking photographs, and link to them until there are enough."""
    source = folder.with_name("distinct")
    source.mkdir()
    scenes = [Image.fromarray(rgb) for rgb in load_photographs().values()]
    for number in range(min(DISTINCT, count)):
        scene = scenes[number % len(scenes)].convert("RGB")
        shift = 1 + number // len(scenes)
        cropped = scene.crop((shift, shift, scene.width - shift, scene.height - shift))
        blurred = cropped.resize([max(64, side // (3 if number % 4 == 0 else 1)) for side in cropped.size])
        blurred.resize(size, Image.Resampling.BICUBIC).save(source / f"{number:03}.jpg", quality=90)
    originals = sorted(source.iterdir())
    for number in range(count):
        place = folder / f"{number // PER_FOLDER:04}" / f"{number:07}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(originals[number % len(originals)])


@contextmanager
def start_cluster(nodes: int) -> Iterator[Any]:
    """Start a cluster of nodes with one core each, and connect to it."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    others = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(nodes - 1)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
    try:
        yield cluster, others
    finally:
        ray.shutdown()
        cluster.shutdown()


def write_verdicts(photos: Path, **options: Any) -> tuple[bytes, float]:
    """Scan, and return the rows as CSV and the seconds that it took."""
    output, began = io.StringIO(), time.monotonic()
    run_scan(
        ScanRequest(photos=[str(photos)], model="trees", engine="compiled", format="csv", **options), stream=output
    )
    return output.getvalue().encode(errors="surrogateescape"), time.monotonic() - began


def compare_rows(photos: Path, count: int) -> dict[str, Any]:
    """Compare the rows of scans here, on a cluster, and on one that loses a node in the middle."""
    here, seconds = write_verdicts(photos, jobs=2)
    numbers: dict[str, Any] = {"seconds_here": round(seconds, 1)}
    with start_cluster(2) as (cluster, (node,)):
        there, seconds = write_verdicts(photos, on="ray")
        numbers |= {"seconds_on_ray": round(seconds, 1), "equal": there == here}
        kept = photos.with_name("pieces")
        found, killed_at, began = [], 0, time.monotonic()
        for verdict in scan(photos, model="trees", engine="compiled", on="ray", resume=kept):
            found.append(verdict)
            if len(found) == count // 3:  # about a half is judged by then
                killed_at = len(found)
                cluster.remove_node(node, allow_graceful=False)
        seconds = time.monotonic() - began
    expected = list(scan(photos, model="trees", engine="compiled", jobs=2))
    paths = [verdict.path for verdict in found]
    return {
        **numbers,
        "seconds_with_a_node_killed": round(seconds, 1),
        "rows_when_killed": killed_at,
        "equal_with_a_node_killed": found == expected,
        "twice": len(paths) - len(set(paths)),
        "missing": len({verdict.path for verdict in expected} - set(paths)),
        "piece_files": len(list(kept.glob("*.parquet"))),
    }


def compare_times(photos: Path, turns: int) -> dict[str, Any]:
    """Time scans here and on a cluster that is up, in turns; both with two workers, writing a file."""
    here, there = [], []
    with start_cluster(2):
        write_verdicts(photos / "0000", jobs=2)  # compiled code is loaded once here, and by each worker each time
        for turn in range(turns):
            output = photos.with_name(f"{turn}.csv")
            began = time.monotonic()
            options: dict[str, Any] = {"photos": [str(photos)], "engine": "compiled", "output": output}
            run_scan(ScanRequest(**options, jobs=2))
            here.append(time.monotonic() - began)
            began = time.monotonic()
            run_scan(ScanRequest(**{**options, "output": photos.with_name(f"{turn}-ray.csv")}, on="ray"))
            there.append(time.monotonic() - began)
    ratios = [a / b for a, b in zip(there, here, strict=True)]
    return {
        "seconds_here": [round(each, 1) for each in here],
        "seconds_on_ray": [round(each, 1) for each in there],
        "overhead": round(statistics.median(ratios) - 1, 3),
        "equal": photos.with_name("0.csv").read_bytes() == photos.with_name("0-ray.csv").read_bytes(),
    }


def sample_memory(photos: Path, count: int) -> dict[str, Any]:
    """Sample the memory of the driver and of the workers that judge, over a scan."""
    samples: list[tuple[int, float, float]] = []
    done, ended = 0, threading.Event()

    def sample() -> None:
        while not ended.wait(1):
            workers = [_read_rss(int(entry.name)) for entry in Path("/proc").iterdir() if _is_worker(entry)]
            samples.append((done, _read_rss(os.getpid()), max(workers, default=0.0)))

    thread = threading.Thread(target=sample)
    with start_cluster(2):
        thread.start()
        began = time.monotonic()
        for verdict in scan(photos, model="trees", engine="compiled", on="ray"):
            done += 1
            del verdict
        seconds = time.monotonic() - began
        ended.set()
        thread.join()
    late = [each for each in samples if each[0] > count // 10] or samples
    half = len(late) // 2
    return {
        "seconds": round(seconds, 1),
        "rows": done,
        "driver_mb_peak": max(each[1] for each in samples),
        "driver_mb_by_half": [_middle(late[:half], 1), _middle(late[half:], 1)],
        "worker_mb_peak": max(each[2] for each in samples),
        "worker_mb_by_half": [_middle(late[:half], 2), _middle(late[half:], 2)],
        "samples": samples[:: max(1, len(samples) // 20)],
    }


def _middle(samples: list[tuple[int, float, float]], column: int) -> float | None:
    return round(statistics.median(each[column] for each in samples), 1) if samples else None


def _read_rss(process: int) -> float:
    """Read the megabytes of a process that are its own in memory: without what it shares with the object store."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return round(sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024, 1)


def _is_worker(entry: Path) -> bool:
    try:
        return entry.name.isdigit() and b"MapWorker" in (entry / "cmdline").read_bytes()
    except OSError:
        return False


def main() -> None:
    """Print the JSON; exit code 1 if rows differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(SIZES))
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--turns", type=int, default=3, help="of overhead")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="blurgate-ray-"))
    try:
        photos = work / "photos"
        make_photos(photos, options.photos, SIZES[options.what])
        if options.what == "equal":
            numbers = compare_rows(photos, options.photos)
        elif options.what == "overhead":
            numbers = compare_times(photos, options.turns)
        else:
            numbers = sample_memory(photos, options.photos)
    finally:
        shutil.rmtree(work)
    print(json.dumps({"photos": options.photos, "cores": os.cpu_count(), **numbers}, indent=1))
    if not all(value for name, value in numbers.items() if name.startswith("equal")):
        sys.exit(1)


if __name__ == "__main__":
    main()
