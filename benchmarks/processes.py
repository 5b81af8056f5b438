"""What a process and its children hold: memory, handles, threads, CPU time. Needs Linux."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Numbers = dict[str, Any]
_TICKS = os.sysconf("SC_CLK_TCK")


def read_stat(pid: int) -> list[str]:
    """Read the fields of /proc/PID/stat that follow the name: state, parent and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def find_tree(pid: int) -> list[int]:
    """List a process and all that descend from it, parents first; those that ended and were not waited for are none."""
    children: dict[int, list[int]] = {}
    alive = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent, *_ = read_stat(int(entry.name))
            except OSError:  # it has ended meanwhile
                continue
            children.setdefault(int(parent), []).append(int(entry.name))
            alive |= {int(entry.name)} if state != "Z" else set()
    tree = [pid]
    for each in tree:
        tree += children.get(each, [])
    return [each for each in tree if each in alive]


def read_command(pid: int) -> str:
    """Read the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def weigh(pid: int) -> Numbers:
    """Sum up what a process and its descendants hold.

    Parameters
    ----------
    pid : int

    Returns
    -------
    dict
        ``rss_mib`` counts a page once for each process that maps it, ``pss_mib`` once.
    """
    found: Numbers = dict.fromkeys(("rss_mib", "pss_mib", "handles", "threads", "processes"), 0)
    for each in find_tree(pid):
        folder = Path(f"/proc/{each}")
        try:
            lines = dict(line.split(":", 1) for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
            handles, threads = len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir()))
        except OSError:  # it has ended meanwhile
            continue
        found["rss_mib"] += int(lines["Rss"].split()[0]) / 1024
        found["pss_mib"] += int(lines["Pss"].split()[0]) / 1024
        found["handles"] += handles
        found["threads"] += threads
        found["processes"] += 1
    return {name: round(value, 1) for name, value in found.items()}


def read_cpu_s(pid: int, *, descendants: bool = True) -> float:
    """Read the CPU time that a process used so far, or all its descendants too, and their children that have ended.

    Parameters
    ----------
    pid : int
    descendants : bool

    Returns
    -------
    float
        Seconds.
    """
    total = 0
    for each in find_tree(pid) if descendants else [pid]:
        try:
            total += sum(int(ticks) for ticks in read_stat(each)[11 : 15 if descendants else 13])
        except OSError:  # it has ended meanwhile
            continue
    return total / _TICKS


def settle(look: Callable[[], Any], patience_s: float, pause_s: float = 0.25) -> Any:
    """Look until the same is seen four times in a row, or patience is at its end; -> what was seen last.

    Parameters
    ----------
    look : callable
        Gives what can be compared.
    patience_s, pause_s : float
        In all, and between looks.

    Returns
    -------
    object
    """
    deadline, seen = time.monotonic() + patience_s, [look()]
    while time.monotonic() < deadline and (len(seen) < 4 or any(each != seen[-1] for each in seen[-4:])):
        time.sleep(pause_s)
        seen.append(look())
    return seen[-1]


def fit_slope(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Fit a line: -> how much y grows with x; None of fewer than three points.

    Parameters
    ----------
    x, y : sequence of float

    Returns
    -------
    float or None
    """
    return float(np.polyfit(x, y, 1)[0]) if len(x) > 2 and len(set(x)) > 1 else None
