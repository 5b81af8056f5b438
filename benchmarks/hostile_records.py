"""Damaged and hostile records of a scan; see `benchmarks/robustness.py records`."""

import argparse
import faulthandler
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blurgate.demo import load_photographs
from blurgate.errors import OutputError
from blurgate.judging.model import BlurModel, load_model
from blurgate.photos.images import encode_jpeg
from blurgate.scanning.records import _digest
from blurgate.scanning.run import ScanRequest, run_scan

Numbers = dict[str, Any]
CHUNK, HANG_S, TILE, N_PHOTOS = 250, 30, 96, 8
MOST_SUSPECTS = 50
REFUSALS = {  # name -> words of the sentence
    "refused as damaged or not records": "is damaged or not a records file",
    "refused beside a journal": "lies beside the records",
    "refused for a link out of the target": "a link leads from there",
    "refused for moves to elsewhere": "give the same --move-to again",
}
OUTSIDE = b"a file of somebody else"


@dataclass(frozen=True)
class Base:
    """A folder in which a scan was interrupted, and what it comes to if it is resumed.

    Parameters
    ----------
    folder : Path
        With ``photos``, ``v.csv.resume`` and perhaps ``sorted``.
    moves : bool
        True if the scan moves photos.
    rows : bytes
        Of an undisturbed scan.
    photos : frozenset of str
        Hashes of the photos.
    """

    folder: Path
    moves: bool
    rows: bytes
    photos: frozenset[str]


def run_records(options: argparse.Namespace) -> Numbers:
    """Resume from mutated and hostile records, chunk by chunk, each in a process, so that a crash is noticed."""
    began, outcomes, suspects = time.monotonic(), Counter[str](), list[Numbers]()
    done = 0
    while done < options.count and len(suspects) < MOST_SUSPECTS:
        words = [sys.executable, "-m", "benchmarks.hostile_records", str(options.seed), str(done), str(CHUNK)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        reports = [json.loads(line) for line in ended.stdout.splitlines() if line.endswith("}")]
        outcomes.update(report["outcome"] for report in reports)
        suspects += [report for report in reports if report["fault"]]
        done += len(reports)
        if len(reports) < CHUNK:
            suspects.append({"number": done, "fault": f"exit code {ended.returncode}", "stderr": ended.stderr[-500:]})
            done += 1
        print(f"{done} of {options.count}", file=sys.stderr, flush=True)
    return {
        "ok": not suspects and done >= options.count,
        "records": done,
        "seed": options.seed,
        "outcomes": dict(outcomes.most_common()),
        "suspects": suspects[:20],
        "seconds": round(time.monotonic() - began),
    }


def _run_chunk(seed: int, first: int, count: int) -> None:
    """Resume from some records; print a line of JSON for each."""
    model = load_model("trees")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name) / "work"
        bases = [_make_base(work / "scan", Path(name) / f"base {moves}", model, moves=moves) for moves in (False, True)]
        for number in range(first, first + count):
            rng = np.random.default_rng([seed, number])
            base = bases[number % 2]
            shutil.copytree(base.folder, work / "scan", symlinks=True)
            (work / "outside").mkdir(parents=True)
            (work / "outside" / "kept.jpg").write_bytes(OUTSIDE)
            what = _damage(work, rng, number)
            faulthandler.dump_traceback_later(HANG_S, exit=True)
            outcome, fault = _resume(work, base, model)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps({"number": number, "what": what, "outcome": outcome, "fault": fault}), flush=True)
            shutil.rmtree(work)


def _make_base(folder: Path, kept: Path, model: BlurModel, *, moves: bool) -> Base:
    """Make photos, scan them undisturbed, and scan them again up to the middle; keep what is there then."""
    for number, rgb in enumerate(list(load_photographs().values())[:N_PHOTOS]):
        path = folder / "photos" / f"{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(rgb[:TILE, :TILE].copy(), quality=90))
    photos = frozenset(_list_contents(folder))
    shutil.copytree(folder, kept)
    _scan(folder, model, moves=moves)
    rows = (folder / "v.csv").read_bytes()
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    shutil.rmtree(kept)
    link, remaining = Path.hardlink_to, [N_PHOTOS // 2]

    def stop(path: Path, target: Path) -> None:
        remaining[0] -= 1
        if remaining[0] < 0:
            raise KeyboardInterrupt
        link(path, target)

    Path.hardlink_to = stop  # type: ignore[method-assign, assignment]
    try:
        _scan(folder, model, moves=moves)
    except KeyboardInterrupt:
        pass
    finally:
        Path.hardlink_to = link  # type: ignore[method-assign]
    (folder / "v.csv").unlink(missing_ok=True)
    folder.rename(kept)
    return Base(kept, moves, rows, photos)


def _scan(folder: Path, model: BlurModel, *, moves: bool) -> list[str]:
    """Resume the scan of a folder: -> its messages. Paths are relative, so that all folders give the same rows."""
    os.chdir(folder)
    request = ScanRequest(
        photos=["photos"],
        roots=[Path("photos")],
        model=model,
        output=Path("v.csv"),
        resume=True,
        report=Path("r.html"),
        jobs=1,
        engine="numpy",
    )
    messages: list[str] = []
    run_scan(replace(request, action="move", folder=Path("sorted")) if moves else request, say=messages.append)
    return messages


def _resume(work: Path, base: Base, model: BlurModel) -> tuple[str, str]:
    """Resume, and find the fault: -> outcome, fault or an empty str."""
    outside = _describe(work / "outside")
    try:
        messages = _scan(work / "scan", model, moves=base.moves)
        outcome = "verdicts"
        if any(message.startswith("left out") for message in messages):  # as the records say, from elsewhere
            outcome = "verdicts, less those of photos that it says it leaves out"
    except OutputError as error:
        outcome = next((name for name, words in REFUSALS.items() if words in str(error)), "refused otherwise")
        if len(str(error).splitlines()) != 1:
            return outcome, "not one sentence"
    except BaseException as error:
        return type(error).__name__, f"{type(error).__name__}: {str(error)[:300]}"
    contents = _list_contents(work)
    faults = {
        "something outside was touched": _describe(work / "outside") != outside or len(list(work.iterdir())) != 2,
        "other verdicts": outcome == "verdicts" and (work / "scan" / "v.csv").read_bytes() != base.rows,
        "a photo is lost": not base.photos <= contents.keys(),
        "a photo is there twice": outcome == "verdicts" and any(contents[photo] > 1 for photo in base.photos),
    }
    return outcome, next((fault for fault, found in faults.items() if found), "")


def _describe(folder: Path) -> Numbers:
    """Describe everything in a folder, times included."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size, path.is_file() and path.read_bytes())
        for path in [folder, *folder.rglob("*")]
    }


def _list_contents(folder: Path) -> Counter[str]:
    """Count the files by their hash."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def _damage(work: Path, rng: np.random.Generator, number: int) -> str:
    """Damage the records: three in four by bytes, else by values and schemas with the right digests."""
    path = work / "scan" / "v.csv.resume"
    if number % 4 < 3:
        return _damage_bytes(path, rng)
    attack = list(ATTACKS)[number // 4 % len(ATTACKS)]
    ATTACKS[attack](work, rng)
    return attack


def _damage_bytes(path: Path, rng: np.random.Generator) -> str:
    """Change, cut, repeat or mix some bytes."""
    content = bytearray(path.read_bytes())
    kind = str(rng.choice(["bytes", "bits", "zeros", "cut", "repeat", "header", "noise"]))
    place, length = int(rng.integers(len(content))), int(rng.integers(1, 200))
    if kind in ("bytes", "header"):
        for place in rng.integers(100 if kind == "header" else len(content), size=int(rng.integers(1, 20))):
            content[place] = int(rng.integers(256))
    elif kind == "bits":
        content[place] ^= 1 << int(rng.integers(8))
    elif kind == "zeros":
        content[place : place + length] = bytes(len(content[place : place + length]))
    elif kind == "cut":
        del content[place:]
    elif kind == "repeat":
        content[place:place] = content[place : place + length]
    else:
        content[place : place + length] = rng.bytes(length)
    path.write_bytes(content)
    return kind


def _rewrite(work: Path, change: Callable[[dict[str, Any], str], None], *, table: str = "") -> None:
    """Change rows and give them the right digest: `change` gets the columns, with the verdict as a dict."""
    with closing(sqlite3.connect(work / "scan" / "v.csv.resume")) as database, database:
        for name in ("verdicts", "moves"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({name})")]
            for values in database.execute(f"SELECT * FROM {name}").fetchall():
                row = dict(zip(columns, values, strict=True))
                database.execute(f"DELETE FROM {name} WHERE {columns[0]} = ?", (values[0],))
                row["verdict"] = json.loads(row["verdict"][16:])
                if not table or name == table:
                    change(row, name)
                text = row["verdict"] if isinstance(row["verdict"], str) else json.dumps(row["verdict"])
                key = tuple(value for column, value in row.items() if column != "verdict")
                marks = ", ".join("?" * len(columns))
                database.execute(f"INSERT OR REPLACE INTO {name} VALUES ({marks})", (*key, _digest(text, key) + text))


def _set_value(name: str, *values: Any) -> Callable[[Path, np.random.Generator], None]:
    """Give a field of the evidence a value that no scan finds."""

    def attack(work: Path, rng: np.random.Generator) -> None:
        value = values[int(rng.integers(len(values)))]
        _rewrite(work, lambda row, _: row["verdict"].update({name: value}))

    return attack


def _set_column(name: str, *values: Any, table: str = "moves") -> Callable[[Path, np.random.Generator], None]:
    """Give a column a hostile value; ``OUTSIDE`` in it becomes the folder that nobody may touch."""

    def attack(work: Path, rng: np.random.Generator) -> None:
        value = values[int(rng.integers(len(values)))]
        if isinstance(value, bytes):
            value = value.replace(b"OUTSIDE", os.fsencode(work / "outside"))
            value = value.replace(b"SCAN", os.fsencode(work / "scan"))
        _rewrite(work, lambda row, _: row.update({name: value}), table=table)

    return attack


def _set_text(*texts: str) -> Callable[[Path, np.random.Generator], None]:
    """Replace the JSON."""
    return lambda work, rng: _rewrite(work, lambda row, _: row.update(verdict=texts[int(rng.integers(len(texts)))]))


def _run_sql(*statements: str) -> Callable[[Path, np.random.Generator], None]:
    """Run a statement that changes the schema or the rows."""

    def attack(work: Path, rng: np.random.Generator) -> None:
        with closing(sqlite3.connect(work / "scan" / "v.csv.resume")) as database:
            database.executescript(statements[int(rng.integers(len(statements)))])

    return attack


def _link_inside(work: Path, rng: np.random.Generator) -> None:
    """Let a folder that receives photos, or the records, be a link."""
    folder = work / "scan" / "sorted"
    if rng.integers(2) or not folder.exists():
        records = work / "scan" / "v.csv.resume"
        records.rename(work / "outside" / "r")
        records.symlink_to(work / "outside" / "r")
        return
    for name in ("sharp", "blurred", "undecided"):
        if (folder / name).exists():
            (folder / name).rename(work / "outside" / name)
        (folder / name).symlink_to(work / "outside" / name)


def _leave_journal(work: Path, _: np.random.Generator) -> None:
    """Leave a journal whose master journal is somebody else's file."""
    name = os.fsencode(work / "outside" / "kept.jpg")
    magic = bytes.fromhex("d9d505f920a163d7")
    tail = name + len(name).to_bytes(4, "big") + (sum(name) & 0xFFFFFFFF).to_bytes(4, "big") + magic
    (work / "scan" / "v.csv.resume-journal").write_bytes(magic + bytes(504) + (2**31).to_bytes(4, "big") + tail)


def _add_moves(work: Path, rng: np.random.Generator) -> None:
    """Say that photos were moved that are still there, or that were never there."""
    folder = work / "scan"
    places = [*sorted(folder.glob("photos/*/*.jpg")), work / "outside" / "kept.jpg", folder / "photos" / "ghost.jpg"]
    place = places[int(rng.integers(len(places)))]
    targets = [work / "outside" / "kept.jpg", folder / "v.csv.resume", *sorted(folder.glob("sorted/*/*"))]
    target = targets[int(rng.integers(len(targets)))]
    evidence = {"probability": 0.5, "kind": "", "strength_px": None, "reason": "", "width": 96, "height": 96}
    text = json.dumps({**evidence, "error": "", "doubts": [], "part": None})
    with closing(sqlite3.connect(folder / "v.csv.resume")) as database, database:
        (judge,) = database.execute("SELECT judge FROM verdicts").fetchone()
        (last,) = database.execute("SELECT count(*) FROM moves").fetchone()
        key = (last + 1, os.fsencode(place).replace(b"/", b"\0"), os.fsencode(target), 1, 1, judge)
        database.execute("INSERT INTO moves VALUES (?, ?, ?, ?, ?, ?, ?)", (*key, _digest(text, key) + text))


ATTACKS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "decision": _set_value("decision", "../../x", "sharp", 3),
    "probability": _set_value("probability", float("nan"), float("inf"), -1, 2, "0.5", True, None, [1], 10**400),
    "strength": _set_value("strength_px", float("nan"), -3, "4", {}, 10**4000),
    "kind": _set_value("kind", "x" * 10**5, "\x1b[31m", None, 3),
    "reason": _set_value("reason", "because", "\n", None, ["x"]),
    "error": _set_value("error", "no", None, 1),
    "size": _set_value("width", 10**30, -1, 1.5, "3", True),
    "part": _set_value("part", [0, 0, 10**9, 1], [3, 3, 1, 1], [[]], "all", [0.5, 0, 1, 1]),
    "doubts": _set_value("doubts", [3], "dark\x1b", None, {"a": 1}, ["x" * 9999]),
    "path": _set_value("path", "../../x", 3),
    "json": _set_text("[" * 10**5, '{"a":' * 10**5, "null", "[]", "{}", "7", "NaN", '"x"', "9" * 10**5, ""),
    "target": _set_column(
        "target", b"OUTSIDE/kept.jpg", b"SCAN/sorted/../../outside/kept.jpg", b"/etc/passwd", b"", b"\0"
    ),
    "target of another type": _set_column("target", "text", 3, None, 2.5),
    "place": _set_column("place", b"OUTSIDE\0kept.jpg", b"SCAN\0photos\0..\0..\0outside\0kept.jpg", b"\xff\xfe", b""),
    "place of another type": _set_column("place", "text", 3, None),
    "size and time": _set_column("size", "x", -1, 2.5, None),
    "judge": _set_column("judge", "", 3, None, "0.1.0 x"),
    "path of evidence": _set_column("path", "x", b"", 3, table="verdicts"),
    "triggers": _run_sql(
        "CREATE TRIGGER t AFTER INSERT ON verdicts BEGIN DELETE FROM moves; END",
        "CREATE TRIGGER t AFTER INSERT ON moves BEGIN UPDATE moves SET target = x'2f746d702f78'; END",
        "ALTER TABLE verdicts RENAME TO v; CREATE VIEW verdicts AS SELECT * FROM v",
        "CREATE VIEW v AS SELECT load_extension('x')",
        "CREATE INDEX i ON verdicts (hex(path))",
        "CREATE TABLE more (a, b); ALTER TABLE verdicts ADD COLUMN x DEFAULT 3",
    ),
    "rows": _run_sql(
        "UPDATE verdicts SET verdict = zeroblob(100000000)",
        "UPDATE moves SET verdict = zeroblob(100000000)",
        "UPDATE verdicts SET verdict = NULL",
        "DELETE FROM moves WHERE number = 1",
        "UPDATE moves SET number = number + 1000000",
        "DELETE FROM verdicts",
        "DROP TABLE moves; CREATE TABLE moves (number, place)",
        "DROP INDEX moves_by_place",
        "PRAGMA user_version = 7; PRAGMA application_id = 9",
        "PRAGMA journal_mode = DELETE; VACUUM",
    ),
    "links": _link_inside,
    "journal": _leave_journal,
    "moves that were none": _add_moves,
}

if __name__ == "__main__":
    _run_chunk(*map(int, sys.argv[1:]))
