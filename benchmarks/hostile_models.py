"""Judges models that a stranger might send, in processes with limits on time and memory; see robustness.py."""

import argparse
import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import memory
from blurgate.demo import load_photographs
from blurgate.errors import ModelFileError
from blurgate.judging.description import describe_model
from blurgate.judging.model import load_model

hostile: Any = import_module("tests.hostile_models")

Numbers = dict[str, Any]
SLOW_S, HANG_S, MOST_MIB = 10.0, 60, 2048
ADDRESS_SPACE = 6 * 2**30  # bytes; what libraries only reserve counts as well
CHUNK = 500  # mutations per process
FINE = ("verdict", "ModelFileError", "NetError")


def add_command(commands: Any) -> None:
    """Add the options of ``robustness.py models``."""
    models = commands.add_parser("models")
    models.add_argument("--count", type=int, default=20_000, help="of mutated models")
    models.add_argument("--seed", type=int, default=0)
    models.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")


def run_models(options: argparse.Namespace) -> Numbers:
    """Judge the hostile models, each in a process of its own, then the mutated ones."""
    with ThreadPoolExecutor(options.jobs) as pool:
        judged = pool.map(lambda name: next(judge_in_process("hostile", name)), hostile.HOSTILE)
        chunks = pool.map(partial(judge_chunk, options), range(0, options.count, CHUNK))
        made = dict(zip(hostile.HOSTILE, judged, strict=True))
        reports = [report for chunk in chunks for report in chunk]
    outcomes: Counter[str] = Counter()
    suspects: list[Numbers] = []
    for number, report in enumerate(reports):
        outcomes[report["outcome"].partition(":")[0]] += 1
        if report["outcome"] not in FINE or report["seconds"] > SLOW_S or report["peak_mib"] > MOST_MIB:
            suspects.append({"number": number, **report})
    faults = {
        name: report
        for name, report in made.items()
        if report["outcome"] not in (*FINE[1:], "not made")
        or report["seconds"] > SLOW_S
        or report["peak_mib"] > MOST_MIB
    }
    return {
        "ok": not faults and not suspects,
        "hand_made": len(made),
        "hand_made_outcomes": dict(Counter(report["outcome"] for report in made.values())),
        "hand_made_faults": faults,
        "hand_made_slowest_s": max(report["seconds"] for report in made.values()),
        "hand_made_peak_mib": max(report["peak_mib"] for report in made.values()),
        "mutated": len(reports),
        "seed": options.seed,
        "outcomes": dict(outcomes),
        "suspects": suspects[:20],
        "slowest_s": max((report["seconds"] for report in reports), default=0.0),
        "peak_mib": max((report["peak_mib"] for report in reports), default=0.0),
    }


def judge_chunk(options: argparse.Namespace, first: int) -> list[Numbers]:
    """Judge up to `CHUNK` mutated models; a new process continues after one that ended early.

    Parameters
    ----------
    options : argparse.Namespace
    first : int
        Number of the first.

    Returns
    -------
    list of dict
        One per model.
    """
    reports: list[Numbers] = []
    last = min(first + CHUNK, options.count)
    while first + len(reports) < last:
        words = (options.seed, first + len(reports), last - first - len(reports))
        reports += judge_in_process("mutated", *map(str, words))
    print(first, file=sys.stderr, flush=True)
    return reports


def judge_in_process(*words: str) -> Iterator[Numbers]:
    """Judge models in a process.

    Parameters
    ----------
    *words : str
        See `main`.

    Yields
    ------
    dict
        One per model. If the process ended early, the last one says how.
    """
    ended = subprocess.run([sys.executable, __file__, *words], capture_output=True, check=False)
    yield from (json.loads(line) for line in ended.stdout.splitlines() if line.endswith(b"}"))
    if ended.returncode:
        how = signal.Signals(-ended.returncode).name if ended.returncode < 0 else f"exit code {ended.returncode}"
        yield {"outcome": how, "seconds": HANG_S, "peak_mib": 0.0, "stderr": ended.stderr.decode()[-500:]}


def make_photos() -> list[NDArray[np.uint8]]:
    """Cut out a photograph in focus, and coarsen it, so that a cascade asks its net."""
    photo = load_photographs()["coffee"][64:256, 108:300]
    return [photo, np.repeat(np.repeat(photo[::6, ::6], 6, axis=0), 6, axis=1)]


def judge(path: Path, photos: list[NDArray[np.uint8]]) -> str:
    """Load a model and let it predict photos and rows.

    Parameters
    ----------
    path : Path
    photos : list of ndarray
        To predict.

    Returns
    -------
    str
        One of `FINE`, or what is wrong.
    """
    try:
        model = load_model(path)
        for photo in photos:
            probability = model.predict(photo).probability
            if probability is None or not 0 <= probability <= 1:
                return f"probability: {probability}"
        json.dumps(describe_model(model), allow_nan=False)
        rows = np.random.default_rng(0).normal(0, 5, (200, len(model.card.columns))).astype(np.float32)
        predicted = model.predict_features(np.concatenate([rows, 1e6 * rows.clip(-1, 1)]))
    except ModelFileError as error:
        return type(error).__name__ if "\n" not in str(error) else f"two lines: {error}"
    except Exception as error:  # any other exception is a finding
        return f"{type(error).__name__}: {str(error)[:200]}"
    numbers = [predicted.probability, np.zeros(1) if predicted.strength_px is None else predicted.strength_px]
    return "verdict" if all(np.isfinite(each).all() for each in numbers) else "predictions that are not finite"


def report_on(path: Path, photos: list[NDArray[np.uint8]]) -> None:
    """Judge a model within a limit of time, and print a line of JSON.

    Parameters
    ----------
    path : Path
    photos : list of ndarray
        To predict.
    """
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    began = time.process_time()
    outcome = judge(path, photos)
    seconds = round(time.process_time() - began, 3)
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"outcome": outcome, "seconds": seconds, "peak_mib": round(memory.peak_mib())}), flush=True)


def main() -> None:
    """Judge one hostile model, ``hostile NAME``, or mutated ones, ``mutated SEED FIRST COUNT``."""
    command, *words = sys.argv[1:]
    photos = make_photos()
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE,) * 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.blurgate"
        if command == "hostile":
            try:
                hostile.HOSTILE[words[0]].make(path)
            except (OSError, AttributeError, ImportError) as error:
                print(json.dumps({"outcome": "not made", "why": str(error), "seconds": 0.0, "peak_mib": 0.0}))
                return
            report_on(path, photos)
        else:
            seed, first, count = map(int, words)
            trees, net = hostile.make_trees(), hostile.make_shipped("net")
            seeds = [trees] * 13 + [net] * 5 + [hostile.make_shipped("trees"), hostile.make_shipped("default")]
            for number in range(first, first + count):
                path.write_bytes(hostile.mutate(seeds, number, seed=seed))
                report_on(path, photos)


if __name__ == "__main__":
    main()
