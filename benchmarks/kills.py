"""Kill every command at random moments and check that nothing is lost; print the results as JSON.

    python benchmarks/kills.py --kills 10

Each of dataset, features, train, evaluate, scan and preview is killed (SIGKILL) ``--kills`` times, at moments spread
over the time of an undisturbed run. After each kill, a file under its final name must equal that of the undisturbed
run, byte for byte. A last run to the end must give the same files as the undisturbed run; its tuning resumes the study
of the killed runs. For a scan that moves photos see `kill_moves`, which ``benchmarks/robustness.py kills`` runs.
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
from blurgate.files import FILED_MARK

KILLS_IN_A_CHAIN = 5

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


def kill_moves(photos: Path, work: Path, kills: int, rng: np.random.Generator) -> dict[str, Any]:
    """Kill and resume a scan that moves photos until it ends, and start over until there were enough kills.

    After each kill, every photo must be there; at the end each must lie where an undisturbed scan puts it, once, and
    the rows must be the same. Where there is another file system in memory, every other target lies on it.

    Parameters
    ----------
    photos : Path
        Folder of photos; they are copied.
    work : Path
        Folder to work in.
    kills : int
        How many.
    rng : numpy.random.Generator
        Draws the moments.

    Returns
    -------
    dict
    """
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    wanted = digest_each(photos)
    faults = dict.fromkeys(("lost", "failed", "different", "misplaced", "left_over"), 0)
    moments: list[float] = []
    killed = chains = 0
    shutil.copytree(photos, work / "undisturbed" / "inbox")
    lasts, placed, rows = move_undisturbed(work / "undisturbed")
    while killed < kills:
        folder = work / str(chains)
        target = elsewhere / str(chains) if chains % 2 else folder / "sorted"
        shutil.copytree(photos, folder / "inbox")
        command = f"scan inbox --move-to {target} --output v.csv --resume --model trees"
        chains += 1
        for _ in range(min(KILLS_IN_A_CHAIN, kills - killed)):
            process, moment = begin(command, folder), float(rng.uniform(0, lasts))
            time.sleep(moment)
            process.kill()
            if process.wait() != -9:
                break
            killed += 1
            moments.append(round(moment, 2))
            there = digest_each(folder / "inbox") | digest_each(target)
            faults["lost"] += bool(set(wanted.values()) - set(there.values()))
        faults["failed"] += begin(command, folder).wait() != 0
        faults["different"] += (folder / "v.csv").read_bytes() != rows
        faults["misplaced"] += digest_each(target) != placed or bool(digest_each(folder / "inbox"))
        names = {path.name for path in (*folder.iterdir(), *target.rglob(".*"))}
        faults["left_over"] += bool(names - {"inbox", "sorted", "v.csv", "v.csv.resume", FILED_MARK})
        shutil.rmtree(folder)
        shutil.rmtree(target, ignore_errors=True)
    elsewhere.rmdir()
    return {**faults, "kills": killed, "chains": chains, "photos": len(wanted), "moments_s": sorted(moments)}


def move_undisturbed(folder: Path) -> tuple[float, dict[str, str | None], bytes]:
    """Move the photos of a folder's inbox: -> seconds, where they lie then, and the rows."""
    began = time.monotonic()
    if begin("scan inbox --move-to sorted --output v.csv --resume --model trees", folder).wait() != 0:
        sys.exit("a scan that moves photos failed undisturbed")
    return time.monotonic() - began, digest_each(folder / "sorted"), (folder / "v.csv").read_bytes()


def digest_each(folder: Path) -> dict[str, str | None]:
    """Hash each photo in a folder: relative path -> hash."""
    return {path.relative_to(folder).as_posix(): digest(path) for path in folder.rglob("*.jpg")}


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
