"""Compare the default model with its parts: the same decisions as both, nearly as fast as the trees; print JSON.

    python benchmarks/cascade.py ../shared/data/train/sharp/sun_hays80 --same ../shared/data/bench/phone > cascade.json

The first argument is a folder of sharp photos. Photos of three sizes are assembled from them, one in ten blurred, and
scanned by the default model and by the trees alone: within each round one after the other, so that ratios can be
trusted on a noisy machine. A first verdict is timed in a fresh process. ``--same`` names folders of photos; on these
and on the assembled ones the decisions of the default and of ``both`` are compared.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.speed import QUALITY, SIZES, find_tiles, make_photos
from blurgate import load_model, scan
from blurgate.making.blurs import BLURS
from blurgate.photos.finding import find_photos
from blurgate.photos.images import read_rgb

Numbers = dict[str, Any]
BLURRED = 10  # one photo in so many
RADIUS_PX = 6.0  # at the analysed size


def blur_some(photos: Sequence[Path]) -> None:
    """Blur every tenth photo, in place, by a disk of `RADIUS_PX` at the analysed size."""
    for path in photos[::BLURRED]:
        rgb = read_rgb(path)
        halvings = max(0, int(np.ceil(np.log2(rgb.shape[0] * rgb.shape[1] / 2**20) / 2)))
        blurred = BLURS["defocus"].apply(rgb, {"radius_px": RADIUS_PX * 2**halvings})
        Image.fromarray(blurred).save(path, quality=QUALITY)


def compare_speed(photos: Sequence[Path], rounds: int) -> Numbers:
    """Time scans by the default model, by the trees alone and by both.

    Parameters
    ----------
    photos : sequence of Path
    rounds : int
        At least 1, after one to warm up.

    Returns
    -------
    dict
        Median seconds, and the median ratio of the speeds within a round: trees' time by the model's.
    """
    models = {name: load_model(name) for name in ("trees", "default", "both")}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for lap in range(rounds + 1):
        for name, model in models.items():
            begun = time.perf_counter()
            list(scan(photos, model=model, engine="compiled"))
            seconds[name] += [time.perf_counter() - begun] if lap else []
    numbers: Numbers = {name: round(statistics.median(laps), 3) for name, laps in seconds.items()}
    for name in ("default", "both"):
        ratios = [trees / other for trees, other in zip(seconds["trees"], seconds[name], strict=True)]
        numbers[f"{name} / trees"] = round(statistics.median(ratios), 3)
    return numbers


def compare_decisions(photos: Sequence[Path]) -> Numbers:
    """Count the photos on which the default model and both decide differently, and those that asked for the net."""
    default, both = load_model(), load_model("both")
    pairs = list(zip(scan(photos, model=default), scan(photos, model=both), strict=True))
    return {
        "n": len(pairs),
        "different": sum(one.decision != other.decision for one, other in pairs),
        "asked": sum(one.probability == other.probability for one, other in pairs),
    }


def time_first(photo: Path, rounds: int) -> Numbers:
    """Time a first verdict by each model, in fresh processes.

    Parameters
    ----------
    photo : Path
    rounds : int
        At least 1, after one to warm up.

    Returns
    -------
    dict
        Model -> median and lowest seconds.
    """
    figures: Numbers = {}
    for name in ("trees", "default"):
        laps = []
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            command = [sys.executable, "-m", "blurgate", "scan", str(photo), "--model", name, "--format", "csv"]
            subprocess.run(command, capture_output=True, check=True)
            laps.append(time.perf_counter() - begun)
        figures[name] = {"s": round(statistics.median(laps[1:]), 3), "lowest": round(min(laps[1:]), 3)}
    return figures


def main() -> None:
    """Print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder of sharp photos")
    parser.add_argument("--same", type=Path, nargs="*", default=[], help="folders on which decisions are compared")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    tiles = list(find_tiles(options.photos))
    results: Numbers = {"speed": {}, "decisions": {}, "first verdict": {}}
    with tempfile.TemporaryDirectory() as name:
        for size, (width, height, count) in SIZES.items():
            print(size, file=sys.stderr, flush=True)
            photos = make_photos(tiles, Path(name) / size, (width, height, count))
            blur_some(photos)
            results["speed"][size] = compare_speed(photos, options.rounds)
            results["decisions"][size] = compare_decisions(photos)
            if size == "1920x1080":
                places = {"blurred": photos[0], "sharp": photos[1]}
                results["first verdict"] = {word: time_first(photo, options.rounds) for word, photo in places.items()}
    for folder in options.same:
        print(folder, file=sys.stderr, flush=True)
        results["decisions"][f"{folder.parent.name}/{folder.name}"] = compare_decisions(find_photos([folder]))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
