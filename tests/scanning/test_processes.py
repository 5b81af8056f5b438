"""Processes judge as threads do, and neither a crash nor a signal costs more than it must."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from blurgate.errors import MachineError, NetError
from blurgate.scanning import processes, stream
from blurgate.scanning.items import Item
from blurgate.scanning.judge import Judge
from blurgate.scanning.processes import Processes
from blurgate.scanning.stream import scan
from blurgate.threads import PAUSE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked, on Linux alone")

HOSTILE = """
import os, signal, time
from blurgate.errors import NetError
from blurgate.scanning.judge import Judge

class HostileJudge(Judge):
    # kills its process at some photos, by their names
    def __reduce__(self):
        return revive, (super().__reduce__(),)

    def measure(self, item, engine):
        name = os.path.basename(item.photo)
        for number in ("SIGSEGV", "SIGKILL"):
            if number in name:
                os.kill(os.getpid(), getattr(signal, number))
        if "once" in name and not os.path.exists(item.photo + ".seen"):
            open(item.photo + ".seen", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if "net" in name:
            raise NetError("the net does not answer")
        if "slow" in name:
            time.sleep(0.3)
        return super().measure(item, engine)

    def prepare(self):
        if self.max_megapixels == 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        super().prepare()

def revive(parts):
    judge = parts[0](*parts[1])
    return HostileJudge(judge.model, judge.bounds, judge.at, judge.engine, judge.device, judge.max_megapixels)
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A judge that kills its process, importable here and in the processes."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "hostile_judge.py").write_text(HOSTILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        from hostile_judge import HostileJudge

        yield HostileJudge


@pytest.fixture
def scan_hostile(hostile, monkeypatch):
    """Scans with the hostile judge."""

    def scan_with(photos, **options):
        with monkeypatch.context() as patch:
            patch.setattr("blurgate.scanning.judge.Judge", hostile)
            return scan(photos, workers="processes", engine="numpy", jobs=2, **options)

    return scan_with


@pytest.fixture
def make_photos(sharp_folder, tmp_path):
    """Makes photos with names, in their order, among forty-eight good ones."""

    def make(*names):
        folder = tmp_path / "photos"
        folder.mkdir()
        good = sorted(sharp_folder.iterdir())
        for path in good:
            os.link(path, folder / path.name)
        for name in names:
            os.link(good[0], folder / f"chelsea_0_{name}.png")
        return folder

    return make


def list_processes():
    """Ids of all processes that judge, started by any scan."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"blurgate.scanning.process_worker" in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def wait_for(look, process=None):
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = list_processes()
    yield
    wait_for(lambda: not list_processes() - before)


def test_processes_judge_as_threads_do(sharp_folder, model, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"torn")
    photos = [
        sharp_folder,
        tmp_path / "torn.jpg",
        min(sharp_folder.iterdir()).read_bytes(),
        np.zeros((64, 64), np.uint8),
    ]
    options = {"model": model, "engine": "numpy", "jobs": 2}
    wanted = list(scan(photos, **options))
    assert list(scan(photos, workers="processes", **options)) == wanted
    assert len(wanted) == 51
    begun = scan(photos, workers="processes", resume=tmp_path / "r", **options)
    assert [next(begun) for _ in range(20)] == wanted[:20]
    begun.close()
    assert list(scan(photos, workers="processes", resume=tmp_path / "r", **options)) == wanted


def test_a_pause_has_all_before_it_judged(sharp_folder, model):
    judge = Judge(model, (0.5, 0.5), engine="numpy")
    paths = sorted(map(str, sharp_folder.iterdir()))[:7]
    given, taken = [], []

    def items():
        for path in paths:
            yield Item(path)
            given.append(path)
            if len(given) % 3 == 0:
                yield PAUSE
                assert taken == given

    with Processes(judge, 2) as workers:
        for found in workers.judge(items()):
            taken += [each.evidence.path for each in found]
    assert taken == paths


def test_photos_in_memory_are_held_within_a_limit(sharp_folder, model, monkeypatch):
    monkeypatch.setattr(processes, "_AHEAD_BYTES", 50_000)
    judge = Judge(model, (0.5, 0.5), engine="numpy")
    photos = [path.read_bytes() for path in sorted(sharp_folder.iterdir())]
    assert sum(map(len, photos)) > 1_000_000

    def items(workers):
        for photo in photos:
            assert workers._bytes < 2 * 50_000
            yield Item(photo)

    with Processes(judge, 2) as workers:
        found = [each.evidence for batch in workers.judge(items(workers)) for each in batch]
        assert workers._bytes == 0
    assert found == [each.evidence for each in judge.judge(map(Item, photos))]


def test_no_process_starts_where_all_is_known(sharp_folder, model, monkeypatch, tmp_path):
    options = {"model": model, "resume": tmp_path / "r"}
    wanted = list(scan(sharp_folder, engine="numpy", **options))
    monkeypatch.setattr(processes, "_Template", None)
    assert list(scan(sharp_folder, workers="processes", **options)) == wanted
    with Processes(Judge(model, (0.5, 0.5)), 2) as workers:
        assert list(workers.judge([PAUSE])) == []


def test_a_photo_that_crashes_its_process_gets_an_error(scan_hostile, make_photos, model):
    folder = make_photos("SIGSEGV_1", "SIGSEGV_2", "SIGKILL")
    verdicts = list(scan_hostile(folder, model=model))
    assert [verdict.path for verdict in verdicts] == sorted(map(str, folder.iterdir()))
    errors = {Path(verdict.path).stem: verdict.error for verdict in verdicts if verdict.error}
    assert {name.removeprefix("chelsea_0_") for name in errors} == {"SIGSEGV_1", "SIGSEGV_2", "SIGKILL"}
    for name, error in errors.items():
        assert f"{name}.png crashed the process that read it ({name[10:17]}): " in error
    others = [verdict for verdict in verdicts if not verdict.error]
    assert others == [verdict for verdict in scan(folder, model=model, engine="numpy") if "SIG" not in verdict.path]


def test_photos_of_a_process_that_is_killed_are_judged_again(scan_hostile, make_photos, model):
    folder = make_photos("once_1", "once_2")
    photos = sorted(folder.iterdir())
    verdicts = list(scan_hostile(photos, model=model))
    assert not any(verdict.error for verdict in verdicts)
    assert verdicts == list(scan(photos, model=model, engine="numpy"))


def test_many_crashes_in_a_row_are_those_photos_and_many_kills_are_the_machine(
    scan_hostile, make_photos, model, tmp_path
):
    folder = make_photos(*(f"SIGSEGV_{number}" for number in range(6)))
    assert sum(bool(verdict.error) for verdict in scan_hostile(folder, model=model)) == 6
    for path in folder.glob("*SIGSEGV*"):
        path.rename(str(path).replace("SIGSEGV", "SIGKILL"))
    with pytest.raises(MachineError, match=r"are ended from outside \(SIGKILL\), .*: free memory, or lower --jobs"):
        list(scan_hostile(folder, model=model, resume=tmp_path / "r"))
    for path in folder.glob("*SIGKILL*"):
        path.unlink()
    assert len(list(scan_hostile(folder, model=model, resume=tmp_path / "r"))) == 48


def test_a_slow_photo_holds_up_none_behind_it_and_what_is_raised_keeps_its_place(scan_hostile, make_photos, model):
    folder = make_photos("slow", "zz_net")
    seen = []
    with pytest.raises(NetError, match="the net does not answer"):
        seen.extend(verdict.path for verdict in scan_hostile(folder, model=model))
    assert seen == sorted(map(str, folder.iterdir()))[: len(seen)]
    assert all("net" not in path for path in seen)


def test_what_cannot_start_says_so(hostile, sharp_folder, model, monkeypatch):
    paths = [Item(str(min(sharp_folder.iterdir())))]
    with Processes(hostile(model, (0.5, 0.5), max_megapixels=0.5), 2) as workers:
        with pytest.raises(MachineError, match=r"the process that starts .* has ended \(SIGKILL\): free memory"):
            list(workers.judge(paths))
    monkeypatch.setattr(processes, "_COMMAND", ("/nowhere/python",))
    with Processes(Judge(model, (0.5, 0.5)), 2) as workers:
        with pytest.raises(Exception, match=r"cannot be started \(No such file or directory\)"):
            list(workers.judge(paths))


def test_workers_and_jobs_that_cannot_be_are_refused(sharp_folder, model, monkeypatch):
    with pytest.raises(ValueError, match="workers must be one of auto, threads, processes, got 'ants'"):
        scan(sharp_folder, model=model, workers="ants")
    with pytest.raises(ValueError, match="workers can be processes on the CPU alone, got the device cuda"):
        scan(sharp_folder, model=model, workers="processes", device="cuda")
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        next(scan(sharp_folder, model=model, workers="processes", jobs=0))
    monkeypatch.setattr(stream, "_CAN_FORK", False)
    with pytest.raises(ValueError, match="workers can be processes on Linux alone"):
        scan(sharp_folder, model=model, workers="processes")


@pytest.mark.parametrize(("jobs", "count", "chosen"), [(2, 48, False), (3, 48, True), (3, 47, False), (None, 36, True)])
def test_processes_are_chosen_for_many_photos_and_jobs(sharp_folder, model, monkeypatch, jobs, count, chosen):
    asked = []
    monkeypatch.setattr(stream, "_FROM_WORK", 144)
    monkeypatch.setattr(stream, "_FROM_JOBS", 3)
    monkeypatch.setattr(stream, "count_cores", lambda: 4)
    monkeypatch.setattr(stream, "_judge_in_processes", lambda *_, jobs: asked.append(jobs) or (_ for _ in ()))
    monkeypatch.setattr(stream, "_judge_on_threads", lambda *_, jobs: (_ for _ in ()))
    photos = sorted(sharp_folder.iterdir())[:count]
    list(scan(photos, model=model, engine="numpy", jobs=jobs, workers="auto"))
    assert asked == ([jobs or 4] if chosen else [])
    list(scan(iter(photos), model=model, engine="numpy", jobs=jobs, workers="auto"))
    list(scan(photos, model=model, engine="numpy", jobs=jobs))
    assert len(asked) == chosen  # neither a stream, nor the library unless it is asked


def test_a_script_needs_no_guard(sharp_folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, blurgate\n"
        "photos = blurgate.scan(sys.argv[1], model='trees', jobs=2, workers='processes', engine='numpy')\n"
        "print(len(list(photos)))\n"
    )
    done = subprocess.run([sys.executable, script, sharp_folder], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("48\n", "")


SCAN = """
import sys
from blurgate.scanning import stream
stream._FROM_JOBS = stream._FROM_WORK = 1
from blurgate.__main__ import main
main()
"""


def count_records(output):
    try:
        with closing(sqlite3.connect(f"file:{output}.resume?mode=ro", uri=True)) as records:
            return records.execute("SELECT count(*) FROM verdicts").fetchone()[0]
    except sqlite3.OperationalError:  # it is being made
        return 0


@pytest.fixture
def begin(sharp_folder, tmp_path):
    """Begins a scan of 240 photos on the command line: the process, its output, and its helpers."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number, path in enumerate(sorted(sharp_folder.iterdir()) * 5):
        os.link(path, folder / f"{number:04}.png")
    output = tmp_path / "x.jsonl"
    words = ["scan", folder, "--model", "trees", "--engine", "numpy", "--jobs", "2", "--output", output]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def begin(*more):
        before = list_processes()
        process = subprocess.Popen([sys.executable, "-c", SCAN, *words, *more], **pipes)
        wait_for(lambda: len(list_processes() - before) == 3, process)
        wait_for(lambda: count_records(output) > 0, process)
        return process, output, list_processes() - before

    return begin


@pytest.mark.parametrize(("how", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGKILL", -9)])
def test_a_signal_ends_all_processes_and_keeps_the_records(begin, how, code):
    process, output, helpers = begin()
    process.send_signal(getattr(signal, how))
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert ("the verdicts so far are saved" in err) == (how != "SIGKILL")
    wait_for(lambda: not helpers & list_processes())
    process, _, _ = begin("--resume")
    process.communicate(timeout=60)
    assert process.returncode == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [Path(row["path"]).stem for row in rows] == [f"{number:04}" for number in range(240)]
    assert not any(row["error"] for row in rows)


def test_a_scan_whose_helpers_are_killed_ends_with_a_sentence(begin):
    process, _, helpers = begin()
    for helper in helpers:
        os.kill(helper, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the process that starts those that judge photos has ended (SIGKILL): free memory, lower --jobs" in err
    assert "the verdicts so far are saved" in err
