"""Load `blurgate serve`, attack it, and look for leaks; print the results as JSON.

    python benchmarks/service.py load --seconds 10 --rounds 5 > load.json
    python benchmarks/service.py overload --seconds 20
    python benchmarks/service.py faults --kills 10
    python benchmarks/service.py leaks --requests 10000
    python benchmarks/service.py schemathesis --minutes 5
    python benchmarks/service.py batches

Each starts the real command in a process of its own on a free port of the loopback, with `--serve` as its options, and
ends it with SIGTERM. Clients share the cores with the service: see their share in the results.

load: 1, 8 and 64 clients send photos of 1920x1080 as forms do, each the next when it has its answer; after a 503 it
waits as long as the Retry-After says. In each round beside them, one after the other: `blurgate.scan` of the same
photos, with as many jobs as clients or cores, timed from its first verdict on, and ten lines around OpenCV's Laplacian
in FastAPI, with as many processes as cores: see ``benchmarks/laplacian_service.py``. Ratios are taken within a round.
overload: as many clients as workers, then ten times more than the service works on and lets wait. faults: what the
clients of ``benchmarks/hostile_clients.py`` get, and what another client gets meanwhile; then workers are killed
(SIGKILL) under load. leaks: memory, open files, threads and processes over many small requests, good, bad and broken
off. schemathesis: requests made from the service's OpenAPI. batches: the net on photos one by one, as workers run it,
and in batches, which requests might share.

Exit code 1 if a check fails; load and overload have goals, and only report them. Needs Linux, and the extras ``demo``,
``fast`` and ``serve``, for ``load`` opencv-python, for ``schemathesis`` that command.
"""

import argparse
import io
import json
import math
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, ImageFilter

import blurgate
from benchmarks import hostile_clients
from benchmarks.hostile_clients import FAULTS, PATH, Fault, Target, ask_raw, leave
from benchmarks.http_clients import Address, Client, Load, count_statuses, frame, frame_photos, load, sum_up_times
from benchmarks.processes import find_tree, fit_slope, read_command, read_cpu_s, settle, weigh
from benchmarks.speed import find_tiles, make_photos
from blurgate.judging.model import load_model
from blurgate.photos.images import encode_jpeg

Numbers = dict[str, Any]
CORES = len(os.sched_getaffinity(0))
CLIENTS = (1, 8, 64)
WIDTH, HEIGHT, COUNT = 1920, 1080, 48
RADIUS = 3.0  # pixels
GOALS = {"scan": 0.85, "laplacian": 1.0, "overload": 2.0}
WORKER = "blurgate.serving.worker"  # in the command line of a process that judges
BATCHES = (1, 2, 4, 8)
WARM_S = 2.0
KILL_S = 4.0  # of load around a kill
HANGING = 20  # clients that do the same at the same time
SCHEMATHESIS = """\
[checks]
# of bytes, a schema cannot say that they are a picture, nor that they are one which is read
positive_data_acceptance.expected-statuses = ["2xx", 415, 422]
# among the statuses that refuse what a schema forbids, schemathesis does not know "too many photos"
negative_data_rejection.expected-statuses = [400, 401, 404, 405, 408, 413, 415, 422]
"""
LEAK_MIB, LEAK_HANDLES = 20.0, 4  # that may be held more after the requests


@dataclass
class Server:
    """A server that runs.

    Parameters
    ----------
    process : subprocess.Popen
    address : (str, int)
    said : Path
        What it prints.
    """

    process: "subprocess.Popen[bytes]"
    address: Address
    said: Path

    def weigh(self) -> Numbers:
        """Sum up what its processes hold: see `benchmarks.processes.weigh`."""
        return weigh(self.process.pid)

    def find_workers(self) -> list[int]:
        """List the processes that judge."""
        return [pid for pid in find_tree(self.process.pid) if WORKER in read_command(pid)]

    def end(self) -> Numbers:
        """End it: -> how it ended, what it left, and what it printed after its first line."""
        tree = find_tree(self.process.pid)
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        exit_code = self.process.wait(timeout=60)
        seconds = time.monotonic() - began
        left = settle(lambda: [pid for pid in tree if read_command(pid)], patience_s=3)
        lines = self.said.read_text(errors="replace").splitlines()[1:]
        return {
            "exit_code": exit_code,
            "seconds": round(seconds, 2),
            "processes_left": len(left),
            "lines_printed": len(lines),
            "printed": lines[:10],
        }


@contextmanager
def start(words: Sequence[str], patience_s: float = 180.0) -> Iterator[Server]:
    """Start a server on the loopback, and wait until it serves.

    Parameters
    ----------
    words : sequence of str
        Arguments of the interpreter; the server prints its address.
    patience_s : float
        To wait for that; the first start may compile.

    Yields
    ------
    Server
    """
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        with said.open("wb") as output:
            command = [sys.executable, *words]
            root = Path(__file__).parents[1]  # of the Laplacian's module
            process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=root)
        deadline = time.monotonic() + patience_s
        try:
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", said.read_text(errors="replace"))):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"{shlex.join(words)} does not start:\n{said.read_text(errors='replace')}")
                time.sleep(0.05)
            yield Server(process, ("127.0.0.1", int(found[1])), said)
        finally:
            for pid in reversed(find_tree(process.pid)) if process.poll() is None else ():
                os.kill(pid, signal.SIGKILL)
            process.wait()


def serve(options: argparse.Namespace, *more: str) -> AbstractContextManager[Server]:
    """Start the service: see `start`.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command line.
    *more : str
        Options of the service.

    Returns
    -------
    context manager of Server
    """
    return start(["-m", "blurgate", "serve", "--port", "0", *shlex.split(options.serve), *more])


def say(*words: object) -> None:
    """Show progress."""
    print(*words, file=sys.stderr, flush=True)


def lay_photos(folder: Path, options: argparse.Namespace) -> list[Path]:
    """Make the photos to load with; some are blurred, since the net is asked about those.

    Parameters
    ----------
    folder : Path
        To make.
    options : argparse.Namespace
        Of the command line.

    Returns
    -------
    list of Path
    """
    paths = make_photos(list(find_tiles(options.photos)), folder, (WIDTH, HEIGHT, options.count))
    for path in paths[:: options.blurred] if options.blurred else ():
        path.write_bytes(blur(path.read_bytes()))
    return paths


def blur(photo: bytes) -> bytes:
    """Blur a photo."""
    with Image.open(io.BytesIO(photo)) as picture:
        return encode_jpeg(np.asarray(picture.filter(ImageFilter.GaussianBlur(RADIUS))), quality=90)


def make_small(folder: Path, side: int = 512) -> bytes:
    """Make a small photo that can be judged.

    Parameters
    ----------
    folder : Path
        To make.
    side : int
        Pixels.

    Returns
    -------
    bytes
        A JPEG.
    """
    (path,) = make_photos(list(find_tiles(None)), folder, (side, side, 1))
    return path.read_bytes()


def frame_each(photos: Sequence[bytes]) -> list[bytes]:
    """Write one request for each photo, as a form would."""
    return [frame_photos(PATH, [(b"%d.jpg" % number, photo)]) for number, photo in enumerate(photos)]


def time_scan(paths: list[Path], seconds: float, model: blurgate.BlurModel, jobs: int = CORES) -> float:
    """Scan photos for about some seconds: -> photos per second from the first verdicts on, which come together.

    Parameters
    ----------
    paths : list of Path
    seconds : float
    model : BlurModel
    jobs : int

    Returns
    -------
    float
    """
    repeats = -(-COUNT // len(paths))
    while True:
        began = time.perf_counter()
        scanned = blurgate.scan(paths * repeats, model=model, jobs=jobs, engine="compiled")
        moments = [time.perf_counter() for _ in scanned]
        first = sum(moment - moments[0] < 0.002 for moment in moments)
        lasted = moments[-1] - began
        if lasted >= 0.8 * seconds:  # it may be faster when the system has read the files
            return (len(moments) - first) / (moments[-1] - moments[0])
        repeats = math.ceil(repeats * seconds / lasted)


def compare_with_scan(address: Address, paths: list[Path], requests: list[bytes], model: blurgate.BlurModel) -> Numbers:
    """Ask about each photo once, and compare with its verdict in a scan.

    Parameters
    ----------
    address : (str, int)
        Host and port.
    paths : list of Path
    requests : list of bytes
        One for each path.
    model : BlurModel
        The service's.

    Returns
    -------
    dict
    """
    client, same, decisions = Client(address), 0, Counter[str]()
    for verdict, request in zip(blurgate.scan(paths, model=model, engine="compiled"), requests, strict=True):
        answer = client.ask(request)
        (served,) = json.loads(answer.body)["verdicts"] if answer.status == 200 else ({},)
        same += served.get("decision") == verdict.decision and served.get("probability") == verdict.probability
        decisions[str(served.get("decision", answer.status))] += 1
    client.close()
    return {"photos": len(paths), "same_as_scan": same, "decisions": dict(decisions)}


def run_load(options: argparse.Namespace) -> Numbers:
    """Load the service, beside a scan and ten lines around OpenCV."""
    model = load_model()
    laplacian_words = ["-m", "uvicorn", "benchmarks.laplacian_service:app", "--port", "0", "--workers", str(CORES)]
    with (
        tempfile.TemporaryDirectory() as work,
        serve(options) as service,
        start([*laplacian_words, "--no-access-log"]) as laplacian,
    ):
        paths = lay_photos(Path(work) / "photos", options)
        requests = frame_each([path.read_bytes() for path in paths])
        say("warm up")
        time_scan(paths, 0, model)
        judged = compare_with_scan(service.address, paths, requests, model)
        for server in (service, laplacian):
            load(server.address, requests, 8, WARM_S)
        before, asked = service.weigh(), 0
        weights: list[tuple[int, float]] = []
        rates: dict[str, list[float]] = {}
        loads: dict[str, list[Numbers]] = {}
        for number in range(options.rounds):
            say("round", number + 1)
            for jobs in {min(clients, CORES) for clients in options.clients}:
                rate = time_scan(paths, options.seconds, model, jobs)
                rates.setdefault(f"scan, {jobs} jobs", []).append(rate)
            for clients in options.clients:
                for name, server in (("service", service), ("laplacian", laplacian)):
                    cell = f"{name}, {clients} clients"
                    found, figures = load_server(server, requests, clients, options.seconds)
                    loads.setdefault(cell, []).append(figures)
                    rates.setdefault(cell, []).append(figures["photos_per_s"])
                    if server is service:
                        asked += len(found.answers)
                        weights.append((asked, service.weigh()["rss_mib"]))
        after = service.weigh()
        ends = {"service": service.end(), "laplacian": laplacian.end()}
    slope = fit_slope(*zip(*weights, strict=True))
    return {
        "machine": {"cores": CORES, "photo_bytes": round(statistics.mean(map(len, requests)))},
        "rounds": options.rounds,
        "seconds": options.seconds,
        "judged": judged,
        "photos_per_s": {name: sum_up_rates(values) for name, values in rates.items()},
        "ratios": list_ratios(rates, options.clients),
        "memory": {"before": before, "after": after, "rss_mib_per_1000_requests": slope and round(1e3 * slope, 3)},
        "loads": loads,
        "ends": ends,
    }


def load_server(
    server: Server, requests: Sequence[bytes], clients: int, seconds: float, *, patient: bool = True
) -> tuple[Load, Numbers]:
    """Load a server: see `benchmarks.http_clients.load`; -> the load, and its figures with the server's CPU time.

    The first process of the server takes the requests; its children do the work.

    Parameters
    ----------
    server : Server
    requests : sequence of bytes
    clients : int
    seconds : float
    patient : bool

    Returns
    -------
    (Load, dict)
    """
    pid = server.process.pid
    first, all_ = read_cpu_s(pid, descendants=False), read_cpu_s(pid)
    found = load(server.address, requests, clients, seconds, patient=patient)
    first, all_ = read_cpu_s(pid, descendants=False) - first, read_cpu_s(pid) - all_
    return found, {
        **found.sum_up(),
        "first_process_cpu_share": round(first / found.seconds, 3),
        "children_cpu_share": round((all_ - first) / found.seconds, 3),
        "server_cpu_ms_per_photo": round(1e3 * all_ / max(1, len(found.times(200))), 2),
    }


def sum_up_rates(values: Sequence[float]) -> Numbers:
    """Give the median and the range of the rounds."""
    return {
        "median": round(statistics.median(values), 2),
        "lowest": round(min(values), 2),
        "highest": round(max(values), 2),
    }


def list_ratios(rates: dict[str, list[float]], clients: Sequence[int]) -> Numbers:
    """Compare the service with a scan and the Laplacian, by round: -> median ratios, and goals.

    Parameters
    ----------
    rates : dict of str to list of float
        Photos per second in each round.
    clients : sequence of int

    Returns
    -------
    dict
    """
    found: Numbers = {}
    for count in clients:
        service = rates[f"service, {count} clients"]
        scan = rates[f"scan, {min(count, CORES)} jobs"]  # as many photos at once, as long as there are cores
        for other, values in (("scan", scan), ("laplacian", rates[f"laplacian, {count} clients"])):
            ratio = statistics.median(one / max(1e-9, two) for one, two in zip(service, values, strict=True))
            found[f"service / {other}, {count} clients"] = {
                "ratio": round(ratio, 3),
                "goal": GOALS[other],
                "reached": ratio >= GOALS[other],
            }
    return found


def run_overload(options: argparse.Namespace) -> Numbers:
    """Send as many clients as there are workers, then ten times more than the service takes."""
    taken = options.workers + options.queue
    limits = ("--workers", str(options.workers), "--queue", str(options.queue))
    with tempfile.TemporaryDirectory() as work, serve(options, *limits) as service:
        paths = lay_photos(Path(work) / "photos", options)
        requests = frame_each([path.read_bytes() for path in paths])
        load(service.address, requests, options.workers, WARM_S)
        figures: dict[str, Numbers] = {}
        for name, clients, patient in (
            ("one client per worker", options.workers, True),
            ("ten times too many", 10 * taken, True),
            ("ten times too many, who ask again at once", 10 * taken, False),
        ):
            say(name)
            _, figures[name] = load_server(service, requests, clients, options.seconds, patient=patient)
        end = service.end()
    unloaded, overloaded, hurried = (each["accepted_ms"] for each in figures.values())
    ratio, hurried_ratio = (each["p95"] / unloaded["p95"] if each else None for each in (overloaded, hurried))
    return {
        "workers": options.workers,
        "may_wait": options.queue,
        "clients": 10 * taken,
        **figures,
        "p95_overloaded / p95_unloaded": ratio and round(ratio, 2),
        "p95_of_those_who_ask_again_at_once / p95_unloaded": hurried_ratio and round(hurried_ratio, 2),
        "goal": GOALS["overload"],
        "reached": ratio is not None and ratio <= GOALS["overload"],
        "end": end,
    }


class Bystander:
    """Another client, who asks one request after another meanwhile.

    Parameters
    ----------
    address : (str, int)
    request : bytes
    """

    def __init__(self, address: Address, request: bytes) -> None:
        self._address, self._request = address, request
        self._answers: list[tuple[int, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        client = Client(self._address)
        while not self._ended.is_set():
            answer = client.ask(self._request)
            self._answers.append((answer.status, answer.seconds))
            self._ended.wait(0.02)
        client.close()

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def take(self) -> Numbers:
        """Wait for one more answer, and sum up those since the last time."""
        seen = len(self._answers)
        while len(self._answers) < seen + 2 and self._thread.is_alive():
            time.sleep(0.005)
        answers, self._answers = self._answers, []
        return {
            "statuses": count_statuses(status for status, _ in answers),
            "ms": sum_up_times([seconds for status, seconds in answers if status == 200]),
        }


def run_faults(options: argparse.Namespace) -> Numbers:
    """Attack the service while another client asks it; then kill workers."""
    with tempfile.TemporaryDirectory() as work, serve(options) as service:
        photo = make_small(Path(work) / "photos")
        target = Target(service.address, photo, patience_s=options.patience)
        before = service.weigh()
        with Bystander(service.address, ask_raw(photo)) as bystander:
            time.sleep(WARM_S)
            bystander.take()
            time.sleep(WARM_S)
            alone = bystander.take()
            results: Numbers = {}
            for name, fault in FAULTS.items():
                if not fault.slow:
                    say(name)
                    results[name] = judge_fault(fault, [fault.find_outcome(target)], bystander.take())
            say(f"hanging, {HANGING} of each")
            results |= send_slow(target, bystander)
            left = bystander.take()
        kills = kill_workers(service, ask_raw(photo), options)
        last = Client(service.address).ask(ask_raw(photo)).status
        after = settle(service.weigh, patience_s=3)
        end = service.end()
    failed = [name for name, result in results.items() if not result["ok"]]
    return {
        "ok": not failed and kills["ok"] and last == 200 and end["exit_code"] in (0, 143) and not end["processes_left"],
        "failed": failed,
        "another_client_alone": alone,
        "another_client_afterwards": left,
        "faults": results,
        "kills": kills,
        "before": before,
        "after": after,
        "end": end,
    }


def judge_fault(fault: Fault, outcomes: Sequence[str], meanwhile: Numbers) -> Numbers:
    """Check outcomes, and what another client got meanwhile.

    Parameters
    ----------
    fault : Fault
    outcomes : sequence of str
        One for each client that did it.
    meanwhile : dict
        From `Bystander.take`.

    Returns
    -------
    dict
    """
    unexpected = [outcome for outcome in outcomes if outcome not in fault.allowed]
    return {
        "ok": not unexpected and set(meanwhile["statuses"]) <= {"200"},
        "outcomes": dict(Counter(outcomes)),
        **({"allowed": fault.allowed} if unexpected else {}),
        "another_client": meanwhile,
    }


def send_slow(target: Target, bystander: Bystander) -> Numbers:
    """Send all slow faults at the same time, each from `HANGING` clients.

    Parameters
    ----------
    target : Target
    bystander : Bystander

    Returns
    -------
    dict
        Results by name of the fault.
    """
    slow = {name: fault for name, fault in FAULTS.items() if fault.slow}
    found: dict[str, list[str]] = {name: [] for name in slow}

    def work(name: str) -> None:
        found[name].append(slow[name].find_outcome(target))

    threads = [threading.Thread(target=work, args=(name,)) for name in slow for _ in range(HANGING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meanwhile = bystander.take()
    return {name: judge_fault(fault, found[name], meanwhile) for name, fault in slow.items()}


def kill_workers(service: Server, request: bytes, options: argparse.Namespace) -> Numbers:
    """Kill a worker under load, repeatedly, and wait until there are as many as before.

    Parameters
    ----------
    service : Server
    request : bytes
    options : argparse.Namespace
        Of the command line.

    Returns
    -------
    dict
    """
    count = len(service.find_workers())
    problems, statuses = Counter[str](), Counter[str]()
    most, back = 0, []
    for number in range(options.kills):
        say("kill", number + 1)
        with ThreadPoolExecutor(1) as beside:
            loading = beside.submit(load, service.address, [request], count, KILL_S, patient=False)
            time.sleep(0.5 + number * 0.013)
            workers = service.find_workers()
            killed = workers[number % len(workers)]
            os.kill(killed, signal.SIGKILL)
            began = time.monotonic()
            while time.monotonic() < began + 30 and not are_back(service, count, killed):
                time.sleep(0.02)
            back.append(time.monotonic() - began)
            found = loading.result()
        most = max(most, len(found.answers) - len(found.times(200)))
        problems += found.problems
        statuses += Counter(found.count())
    back_again = len(settle(service.find_workers, patience_s=5))
    return {
        "ok": most <= 1 and set(statuses) <= {"200", "503"} and back_again == count and max(back, default=0) < 30,
        "kills": options.kills,
        "clients": count,
        "statuses": dict(statuses),
        "problems": dict(problems),
        "most_failed_of_a_kill": most,
        "workers": count,
        "workers_afterwards": back_again,
        "seconds_until_all_were_back": [round(seconds, 2) for seconds in back],
    }


def are_back(service: Server, count: int, killed: int) -> bool:
    """Check whether there are as many workers as there should be, and the service says that they are ready.

    Parameters
    ----------
    service : Server
    count : int
        Workers that there should be.
    killed : int
        The process that was killed.

    Returns
    -------
    bool
    """
    workers = service.find_workers()
    client = Client(service.address)
    text = client.ask(frame("GET", "/metrics")).body.decode()
    client.close()
    ready = re.search(r"^blurgate_workers\S* (\S+)$", text, re.MULTILINE)
    return killed not in workers and len(workers) == count and ready is not None and float(ready[1]) == count


def run_leaks(options: argparse.Namespace) -> Numbers:
    """Send many small requests, good, bad and broken off, and weigh the service now and then."""
    with tempfile.TemporaryDirectory() as work, serve(options) as service:
        photo = make_small(Path(work) / "photos", side=192)
        blurred = blur(photo)
        statuses: Counter[str] = Counter()
        say("warm up")
        mix(service.address, photo, blurred, max(200, options.requests // 20), statuses)
        before = settle(service.weigh, patience_s=10, pause_s=0.5)
        statuses.clear()
        began, sent, samples = time.monotonic(), 0, []
        step = max(1, options.requests // 20)
        while sent < options.requests:
            mix(service.address, photo, blurred, step, statuses)
            sent += step
            samples.append((sent, service.weigh()))
            say(sent, samples[-1][1])
        seconds = time.monotonic() - began
        after = settle(service.weigh, patience_s=10, pause_s=0.5)
        end = service.end()
    counts = [count for count, _ in samples]
    slopes = {}
    for name in before:
        slope = fit_slope(counts, [weight[name] for _, weight in samples])
        slopes[f"{name}_per_1000_requests"] = slope and round(1000 * slope, 4)
    grown = {name: round(after[name] - before[name], 1) for name in before}
    same = all(grown[name] <= 0 for name in ("threads", "processes"))
    return {
        "ok": same
        and grown["rss_mib"] <= LEAK_MIB
        and grown["handles"] <= LEAK_HANDLES
        and not any(status.startswith("5") and status != "503" for status in statuses),
        "requests": sent,
        "seconds": round(seconds, 1),
        "statuses": dict(sorted(statuses.items())),
        "before": before,
        "after": after,
        "grown": grown,
        "slopes": slopes,
        "samples": samples,
        "end": end,
    }


def mix(
    address: Address, photo: bytes, blurred: bytes, count: int, statuses: "Counter[str]", *, clients: int = 4
) -> None:
    """Send small requests of all sorts from a few clients.

    Parameters
    ----------
    address : (str, int)
    photo, blurred : bytes
        Small ones; a net is asked about the other.
    count : int
        How many in all.
    statuses : Counter
        Of the outcomes; they are added.
    clients : int
    """
    good, three = ask_raw(photo), frame_photos(PATH, [(b"1", photo), (b"2", photo[:999]), (b"3", b"no picture")])
    target = Target(address, photo)
    asked = [good] * 6 + [ask_raw(blurred)] * 2 + [frame_photos(PATH, [(b"a.jpg", photo)])] * 3 + [three]
    asked += [ask_raw(photo).replace(b"verdicts", b"verdicts?map=overlay", 1)]
    asked += [ask_raw(photo[:999]), ask_raw(b"no picture"), ask_raw(hostile_clients.make_png(60_000, 60_000))]
    asked += [frame("GET", path) for path in ("/healthz", "/metrics", "/v1/model", "/nothing")]
    broken: list[dict[str, Any]] = [
        {"share": 0.5},
        {"share": 0.5, "reset": True},
        {"share": 1.0},
        {"share": 1.0, "wait_s": 0.003, "reset": True},
    ]

    def work(first: int) -> None:
        client = Client(address)
        found = Counter[str]()
        for number in range(first, count, clients):
            turn = number % (len(asked) + len(broken))
            if turn < len(asked):
                found.update(count_statuses([client.ask(asked[turn]).status]))
            else:
                found[leave(target, good, **broken[turn - len(asked)])] += 1
        client.close()
        with lock:
            statuses.update(found)

    lock = threading.Lock()
    threads = [threading.Thread(target=work, args=(first,)) for first in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run_schemathesis(options: argparse.Namespace) -> Numbers:
    """Let schemathesis make requests from the OpenAPI of the running service."""
    command = Path(sys.executable).with_name("st")
    with tempfile.TemporaryDirectory() as name, serve(options) as service:
        url, work = "http://{}:{}/openapi.json".format(*service.address), Path(name)
        (work / "schemathesis.toml").write_text(SCHEMATHESIS)
        words = [str(command), "run", url, "--checks", "all", "--continue-on-failure", "--no-color"]
        words += ["--max-time", str(round(60 * options.minutes)), "--seed", str(options.seed)]
        words += ["--generation-database", "none", "--report", "json,har"]
        words += ["--report-json-path", "report.json", "--report-har-path", "report.har"]
        ended = subprocess.run(
            words, capture_output=True, text=True, check=False, cwd=work, timeout=60 * options.minutes + 300
        )
        if not (work / "report.json").exists():
            sys.exit(f"schemathesis failed:\n{ended.stdout}\n{ended.stderr}")
        report = json.loads((work / "report.json").read_text())
        statuses = count_har(work / "report.har")
        end = service.end()
    shown = ("schemathesis_version", "seed", "running_time", "operations", "test_cases", "failures", "errors")
    return {
        "ok": ended.returncode == 0,
        "exit_code": ended.returncode,
        "report": {name: report[name] for name in shown},
        "statuses": statuses,
        "failures": [line[:300] for line in ended.stdout.splitlines()[-80:]] if ended.returncode else [],
        "end": end,
    }


def count_har(path: Path) -> Numbers:
    """Count the statuses of the requests in an HTTP archive, by method and path."""
    found: dict[str, Counter[str]] = {}
    for entry in json.loads(path.read_text())["log"]["entries"]:
        asked = f"{entry['request']['method']} {urlsplit(entry['request']['url']).path}"
        found.setdefault(asked, Counter()).update([str(entry["response"]["status"])])
    return {asked: dict(sorted(counts.items())) for asked, counts in sorted(found.items())}


def time_batches(options: argparse.Namespace) -> Numbers:
    """Time the net of the shipped model on one thread, on planes one by one and in batches."""
    import onnx
    import onnxruntime

    net = load_model().net
    if net is None:
        sys.exit("the shipped model has no net")
    graph = onnx.load_from_string(net.onnx)
    for end in (*graph.graph.input, *graph.graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "n"
    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = threads.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), threads)
    planes = np.random.default_rng(0).integers(0, 255, (max(BATCHES), 1, 544, 960)).astype(np.float32)
    times: dict[int, list[float]] = {size: [] for size in BATCHES}
    for _ in range(options.rounds):
        for size in BATCHES:
            began = time.perf_counter()
            for first in range(0, len(planes), size):
                session.run(["answers"], {"gray": planes[first : first + size]})
            times[size].append(time.perf_counter() - began)
    alone = times[1]
    return {
        "ms_a_plane": {size: round(1e3 * statistics.median(found) / len(planes), 2) for size, found in times.items()},
        "speed_against_one_by_one": {
            size: round(statistics.median(one / many for one, many in zip(alone, found, strict=True)), 2)
            for size, found in times.items()
        },
    }


COMMANDS = {
    "batches": time_batches,
    "load": run_load,
    "overload": run_overload,
    "faults": run_faults,
    "leaks": run_leaks,
    "schemathesis": run_schemathesis,
}


def main() -> None:
    """Print the JSON of a command; exit code 1 if its checks fail."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--serve", default="", help="options of blurgate serve, as one word")
    parser.add_argument("--photos", type=Path, help="load, overload: a folder of photos to assemble larger ones from")
    parser.add_argument("--count", type=int, default=COUNT, help="load, overload: different photos")
    parser.add_argument("--blurred", type=int, default=4, help="load, overload: every so manyth photo is; 0: none")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="load")
    parser.add_argument("--seconds", type=float, default=10.0, help="load, overload: of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="load, batches")
    parser.add_argument("--workers", type=int, default=CORES, help="overload")
    parser.add_argument("--queue", type=int, default=CORES, help="overload: requests that may wait")
    parser.add_argument("--patience", type=float, default=30.0, help="faults: seconds to wait for a time-out")
    parser.add_argument("--kills", type=int, default=10, help="faults: of workers")
    parser.add_argument("--requests", type=int, default=10_000, help="leaks")
    parser.add_argument("--minutes", type=float, default=3.0, help="schemathesis")
    parser.add_argument("--seed", type=int, default=0, help="schemathesis")
    options = parser.parse_args()
    results = COMMANDS[options.command](options)
    print(json.dumps(results, indent=1))
    if not results.get("ok", True):
        sys.exit(1)


if __name__ == "__main__":
    main()
