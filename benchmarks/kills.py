"""Kill every command at random moments and check that nothing is lost; print the results as JSON.

    python benchmarks/kills.py --kills 10

Each of dataset, features, train, evaluate, scan and preview is killed (SIGKILL) ``--kills`` times, at moments spread
over the time of an undisturbed run. After each kill, a file under its final name must equal that of the undisturbed
run, byte for byte. A last run to the end must give the same files as the undisturbed run; its tuning resumes the study
of the killed runs.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blurgate.demo import cut_tiles, load_photographs

COMMANDS = {  # command line -> files that it makes
    "preview sharp/coffee/1.jpg --output preview.png": ("preview.png",),
    "dataset sharp made --per-photo 1": ("made",),
    "features made --output features.csv": ("features.csv",),
    "train features.csv --trials 12 --folds 3 --study study.db --output m.blurgate --report r.html": (
        "m.blurgate",
        "r.html",
        "r.json",
    ),
    "evaluate made --model m.blurgate --report e.html": ("e.html", "e.json"),
    "scan made --model m.blurgate --format csv --output v.csv": ("v.csv",),
}


def digest(path: Path) -> str | None:
    """Hash a file, or the names and files of a folder; None if it does not exist."""
    if not path.exists():
        return None
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    content = hashlib.sha256()
    for file in files:
        content.update(file.relative_to(path.parent).as_posix().encode() + file.read_bytes())
    return content.hexdigest()


def begin(command: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a blurgate command.

    Parameters
    ----------
    command : str
        Arguments, separated by spaces.
    folder : Path
        Working directory.

    Returns
    -------
    subprocess.Popen
    """
    words = [sys.executable, "-m", "blurgate", *command.split()]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def kill_repeatedly(command: str, made: Sequence[str], folder: Path, moments: Sequence[float]) -> dict[str, Any]:
    """Kill a command at several moments, then run it to its end.

    Parameters
    ----------
    command : str
        Arguments, separated by spaces.
    made : sequence of str
        Names of the files that it makes.
    folder : Path
        Working directory.
    moments : sequence of float
        When to kill, as shares of the time of an undisturbed run, 0 to 1.

    Returns
    -------
    dict
    """
    began = time.monotonic()
    if begin(command, folder).wait() != 0:
        sys.exit(f"{command} failed undisturbed")
    lasts = time.monotonic() - began
    wanted = {name: digest(folder / name) for name in made}
    for name in (*made, "study.db"):
        remove(folder / name)
    killed = torn = 0
    for moment in moments:
        process = begin(command, folder)
        time.sleep(lasts * moment)
        process.kill()
        killed += process.wait() == -9
        torn += any(digest(folder / name) not in (None, wanted[name]) for name in made)
        for name in made:
            remove(folder / name)
    ended = begin(command, folder).wait() == 0
    same = {name: digest(folder / name) for name in made} == wanted
    leftovers = sorted(entry.name for entry in folder.glob(".*.partial"))
    for name in leftovers:
        remove(folder / name)
    return {
        "seconds_undisturbed": round(lasts, 1),
        "killed": killed,
        "torn": torn,
        "then_ends_well": ended,
        "then_gives_the_same": same,
        "hidden_leftovers": len(leftovers),
    }


def main() -> None:
    """Print the JSON; exit code 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="for each command")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    results = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        cut_tiles(load_photographs(), folder / "sharp")
        for command, made in COMMANDS.items():
            moments = rng.uniform(0, 1, options.kills)
            results[command.split()[0]] = kill_repeatedly(command, made, folder, moments.tolist())
    print(json.dumps(results, indent=1))
    if any(
        found["torn"] or not found["then_ends_well"] or not found["then_gives_the_same"] for found in results.values()
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
