"""Kill every command at random moments and see that nothing is lost; print what was found as JSON.

    python benchmarks/kills.py --kills 10

Each of dataset, features, train, evaluate, scan and preview is killed (SIGKILL) so many times, at moments spread over
the time that it takes undisturbed. After each kill, whatever stands under a final name must be the undisturbed run's,
byte for byte; in the end the command is run to its end and must give the same as the undisturbed run, tuning from the
study of the killed ones.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from blurgate.demo import cut_tiles, load_photographs

COMMANDS = {  # command line -> what it makes
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
    """Hash a file, or a folder with the names in it; None where there is nothing."""
    if not path.exists():
        return None
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    content = hashlib.sha256()
    for file in files:
        content.update(file.relative_to(path.parent).as_posix().encode() + file.read_bytes())
    return content.hexdigest()


def begin(command: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a command line of blurgate's in a folder."""
    words = [sys.executable, "-m", "blurgate", *command.split()]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


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
            began = time.monotonic()
            if begin(command, folder).wait() != 0:
                sys.exit(f"{command} failed undisturbed")
            lasts = time.monotonic() - began
            wanted = {name: digest(folder / name) for name in made}
            for name in (*made, "study.db"):
                remove(folder / name)
            killed = torn = 0
            for moment in rng.uniform(0, lasts, options.kills):
                process = begin(command, folder)
                time.sleep(moment)
                process.kill()
                killed += process.wait() == -9
                torn += any(digest(folder / name) not in (None, wanted[name]) for name in made)
                for name in made:
                    remove(folder / name)
            ended = begin(command, folder).wait() == 0
            same = {name: digest(folder / name) for name in made} == wanted
            left = sorted(entry.name for entry in folder.glob(".*.partial"))
            results[command.split()[0]] = {
                "seconds_undisturbed": round(lasts, 1),
                "killed": killed,
                "torn": torn,
                "then_ends_well": ended,
                "then_gives_the_same": same,
                "hidden_leftovers": len(left),
            }
            for name in left:
                remove(folder / name)
    print(json.dumps(results, indent=1))
    if any(
        found["torn"] or not found["then_ends_well"] or not found["then_gives_the_same"] for found in results.values()
    ):
        sys.exit(1)


if __name__ == "__main__":
    main()
