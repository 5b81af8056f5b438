"""A scan on a Ray cluster: its workers list, read and judge, and give verdicts in the order of the photos.

Ray Data does the work: one task lists photos as a stream of pieces, and a pool of actors, each with the model, judges
piece after piece. Ray starts a dead worker again and repeats its pieces. What is written of a piece has a name that
depends on the piece alone, so that a repeated one is written to the same place.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

from threadpoolctl import threadpool_limits

from blurgate.errors import BlurgateError, MachineError, OutputError, PhotoError, escape_unprintable, needs_extra
from blurgate.judging.verdicts import Verdict
from blurgate.photos.addresses import hide, hide_all, is_address
from blurgate.photos.finding import AnyPath, Found, walk_photos
from blurgate.photos.images import disable_pillow_size_limit
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.scanning import pieces
from blurgate.scanning.fetching import fetch_ahead, find_ahead
from blurgate.scanning.items import Item, describe_nothing, list_items
from blurgate.scanning.judge import Judge, MachineWatch
from blurgate.scanning.piece_files import PieceFolder, parse_piece, write_piece
from blurgate.scanning.pieces import Entry, cut_pieces, name_piece, note_files
from blurgate.version import __version__

T = TypeVar("T")
R = TypeVar("R")

_CONNECTING = 30.0  # seconds that a cluster may take to answer
_STARTING = 120.0  # seconds that its first worker may take
_STORE = 200 * 2**20  # bytes of the object store of a cluster that we start: pieces and rows are small
_TRIES = 2  # times that a piece may end the process that judges it, before its photos are judged one by one
_TRIES_ALONE = 2  # the same of a photo
_BATCH = 32  # items of `run_on_ray` that a worker gets at a time
_LONGEST_WHY = 300  # characters of what Ray says
_SETTINGS, _TYPE = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)), 3  # a frame with which both sides of HTTP/2, as in Ray, begin
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
_LOGGERS = ("ray", "ray.data")
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True)
class Listing:
    """What to scan, as a worker lists it.

    Parameters
    ----------
    photos : tuple of str
        Paths of photos and folders.
    include, exclude, leave_out : tuple of str
        See `blurgate.photos.finding.walk_photos`.
    notes : bool
        True to leave out folders in which scans have filed photos, and to note them.
    start : str
        Where relative paths begin; empty if all are absolute.
    seconds : float
        Work of a piece.
    column : str or None
    max_megapixels : float
        Of members of an archive: see `blurgate.photos.finding.walk_photos`.
    """

    photos: tuple[str, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    notes: bool = False
    start: str = ""
    seconds: float = pieces.SECONDS
    column: str | None = None
    max_megapixels: float = MAX_MEGAPIXELS

    def __call__(self) -> Iterator[Piece]:
        """List the photos, as pieces; the last one has none, but says what else was found."""
        left_out: list[str] = []
        raws = Counter[str]()
        number, before = 0, ""

        def walk(paths: Iterable[AnyPath]) -> Iterator[Found]:
            options: dict[str, Any] = {"include": self.include, "exclude": self.exclude, "leave_out": self.leave_out}
            options |= {"column": self.column, "max_megapixels": self.max_megapixels}
            return walk_photos(paths, **options, note_left_out=left_out.append if self.notes else None, raws=raws)

        try:
            _enter(self.start)
            items, _ = list_items(list(self.photos), self.column, walk, filtered=bool(self.include or self.exclude))
            for entries in cut_pieces(note_files(find_ahead(items)), self.seconds):
                after = name_piece(entries, before)
                yield Piece(number, entries, before, after, tuple(left_out), dict(raws))
                left_out.clear()
                raws.clear()
                number, before = number + 1, after
            yield Piece(number, (), before, "", tuple(left_out), dict(raws))
        except (BlurgateError, ValueError) as error:  # ValueError: a table without the column
            yield Piece(number, (), before, "", problem=error)


@dataclass(frozen=True)
class Piece:
    """Photos that a worker judges one after the other, and what else was found on the way to them.

    Parameters
    ----------
    number : int
        From 0.
    entries : tuple of Entry
        None in the last piece.
    before, after : str
        Digest of all pieces up to this one, without it and with it; `after` is empty in the last piece.
    left_out : tuple of str
        Folders that were left out since the last piece.
    raws : dict of str to int
        Raw files that were left out since the last piece, by suffix.
    problem : BlurgateError, ValueError or None
        Why listing has ended.
    """

    number: int
    entries: tuple[Entry, ...]
    before: str
    after: str
    left_out: tuple[str, ...] = ()
    raws: dict[str, int] = field(default_factory=dict)
    problem: BlurgateError | ValueError | None = None


@dataclass(frozen=True)
class JudgedPiece:
    """The verdicts on a piece.

    Parameters
    ----------
    piece : Piece
        Without its entries.
    name : str
        Of its file.
    content : bytes
        Its file.
    known : frozenset of int
        Places of the verdicts that are from an earlier scan.
    broken : frozenset of int
        Places of the verdicts on archives and stores that could be searched in part only.
    problems : dict of int to MachineError
        Of the photos at these places, which the machine has kept from being read.
    """

    piece: Piece
    name: str = ""
    content: bytes = b""
    known: frozenset[int] = frozenset()
    broken: frozenset[int] = frozenset()
    problems: Mapping[int, MachineError] = field(default_factory=dict)


@dataclass(frozen=True)
class PieceJudge:
    """Judges pieces, on a worker.

    Parameters
    ----------
    judge : Judge
    folder : PieceFolder or None
        Where its file is saved.
    token : str
        What the mark in that folder says.
    start : str
        Where relative paths begin; empty if all are absolute.
    deaths : actor handle
        Counts how often a piece was begun.
    version : str
        Of blurgate where the scan was started.
    """

    judge: Judge
    folder: PieceFolder | None
    token: str
    start: str
    deaths: Any
    version: str = __version__

    def __call__(self, piece: Piece) -> JudgedPiece:
        """Judge a piece, or take its file from an earlier scan."""
        done = replace(piece, entries=())
        if not piece.entries:
            return JudgedPiece(done)
        try:
            return self._judge(piece.entries, done)
        except BlurgateError as error:
            return JudgedPiece(replace(done, problem=error))

    def _judge(self, entries: Sequence[Entry], done: Piece) -> JudgedPiece:
        self._require_same()
        name = name_piece(entries, f"{self.judge.name} {self.judge.bounds} {self.judge.max_megapixels}")
        found = self.folder.find(name, [hide(entry.name) for entry in entries]) if self.folder else None
        verdicts: list[Verdict | None] = [None] * len(entries)
        problems: dict[int, MachineError] = {}
        if found:  # what could not be read may be readable now, and a file without a time may be another
            pairs = zip(entries, found, strict=True)
            verdicts = [None if verdict.error or not entry.modified_ns else verdict for entry, verdict in pairs]
        left = [place for place, verdict in enumerate(verdicts) if verdict is None]
        if left:
            todo = [entries[place] for place in left]
            judged = _do_carefully(todo, _Work(self._do, self._give_up), name, self.deaths)
            for place, (verdict, problem) in zip(left, judged, strict=True):
                verdicts[place] = verdict
                if problem:
                    problems[place] = problem
        content = write_piece(filter(None, verdicts), name)
        if left and self.folder:
            self.folder.save(name, content)
        broken = frozenset(place for place, entry in enumerate(entries) if entry.broken)
        return JudgedPiece(done, name, content, frozenset(range(len(entries))) - frozenset(left), broken, problems)

    def _do(self, entries: Sequence[Entry]) -> list[tuple[Verdict, MachineError | None]]:
        _enter(self.start)
        items = fetch_ahead((entry.to_item() for entry in entries), jobs=1, max_megapixels=self.judge.max_megapixels)
        found = self.judge.judge(items)
        watch = MachineWatch()
        for each in found:
            watch.check(each.problem)
        return [(self.judge.decide(each.evidence), each.problem) for each in found]

    @staticmethod
    def _give_up(entry: Entry, why: str) -> tuple[Verdict, None]:
        name = hide(entry.name)
        return Verdict(name, error=f"{name} cannot be judged: {why}"), None

    def _require_same(self) -> None:
        if self.version != __version__:
            raise MachineError(
                f"the same blurgate was needed on all machines of the cluster, but {platform.node()} has {__version__} "
                f"and the scan was started with {self.version}: install the same",
                errno.EPROTO,
            )
        if self.folder and self.folder.read_token() != self.token:
            raise OutputError(
                f"{hide(self.folder.place)} must be one place for all machines of the cluster, but {platform.node()} "
                "does not see what lies there: name an output on a disk that they share, or one behind an address"
            )


def scan_on_ray(
    photos: Any,
    judge: Judge,
    *,
    column: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    leave_out: Sequence[AnyPath] = (),
    note_left_out: Callable[[str], None] | None = None,
    raws: Counter[str] | None = None,
    if_none: str = "check the path",
    resume: Any = None,
    jobs: int | None = None,
    address: str | None = None,
) -> Iterator[tuple[Item, Verdict]]:
    """Scan photos on a cluster, as `blurgate.scanning.stream.scan_items` does here.

    Parameters
    ----------
    photos : path, or sequence of path
        As the workers see them.
    judge : Judge
    column : str, optional
        Of the pictures in Parquet tables.
    include, exclude, leave_out, note_left_out, raws, if_none
        See `blurgate.scanning.stream.scan_items`.
    resume : path or PieceFolder, optional
        Folder in which workers save the verdicts on each piece. Pieces that are there are not judged again.
    jobs : int, optional
        Photos judged at the same time; by default one for each core of the cluster.
    address : str, optional
        See `connect`.

    Returns
    -------
    iterator of (Item, Verdict)
        In the order of the photos.

    Raises
    ------
    PhotoError
        If a named path does not exist where the workers are, or no photo is found.
    MachineError
        If the cluster cannot be reached, or cannot go on.
    MissingExtraError
        If Ray is not installed.
    OutputError
        If piece files cannot be saved, or something else lies where they would be.
    ValueError
        If photos are given that are not paths, or `jobs` is below 1.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    paths = _require_paths(photos)
    if not paths:
        return iter(())
    listing = Listing(
        photos=paths,
        include=tuple(include),
        exclude=tuple(exclude),
        leave_out=tuple(os.path.realpath(path) for path in leave_out),
        notes=note_left_out is not None,
        start=_find_start(paths),
        seconds=pieces.SECONDS,
        column=column,
        max_megapixels=judge.max_megapixels,
    )
    raws = Counter() if raws is None else raws
    folder = resume
    if resume and not isinstance(resume, PieceFolder):
        folder = PieceFolder(str(resume) if is_address(str(resume)) else str(Path(resume).absolute()))
    judged = _judge(listing, judge, folder, raws, note_left_out, jobs=jobs, address=address)
    try:
        first = next(judged, None)
    except PhotoError as error:
        unseen = [path for path in paths if str(error).startswith(f"{path} does not exist") and os.path.lexists(path)]
        if not unseen:
            raise
        raise PhotoError(
            f"{unseen[0]} is on this machine, but the workers of the Ray cluster do not see it: put it on a disk that "
            "all machines share, or into a store, or scan here"
        ) from error
    if first is None:
        raise PhotoError(describe_nothing(listing.photos, raws, if_none, filtered=bool(include or exclude)))
    return chain([first], judged)


def _require_paths(photos: Any) -> tuple[str, ...]:
    """Check that photos are paths, and no stream of them."""
    given = [photos] if isinstance(photos, str | os.PathLike) else photos
    if isinstance(given, list | tuple) and all(isinstance(each, str | os.PathLike) for each in given):
        return tuple(map(os.fsdecode, given))
    raise ValueError(
        f"on ray needs paths of photos and folders that all its machines see, got {type(photos).__name__}: name the "
        "folder that has the photos, or scan here"
    )


def _judge(
    listing: Listing,
    judge: Judge,
    folder: PieceFolder | None,
    raws: Counter[str],
    note_left_out: Callable[[str], None] | None,
    *,
    jobs: int | None,
    address: str | None,
) -> Iterator[tuple[Item, Verdict]]:
    """Judge photos on a cluster; at the end, files of pieces that are no more are removed."""
    names = set[str]()
    watch = MachineWatch()  # pieces of large photos are too short for that of their worker
    with connect(address, jobs):
        token = folder.prepare() if folder else ""
        make = partial(PieceJudge, judge, folder, token, listing.start)
        with closing(_choose_stream()(listing, make, jobs)) as stream:
            for done in _require_all(stream):
                for place in done.piece.left_out:
                    if note_left_out:
                        note_left_out(place)
                raws.update(done.piece.raws)
                if not done.name:
                    continue
                names.add(done.name)
                verdicts = parse_piece(done.content, done.name)
                if verdicts is None:
                    raise MachineError("verdicts came damaged from the Ray cluster: scan again", errno.EIO)
                for number, verdict in enumerate(verdicts):
                    watch.check(done.problems.get(number))
                    yield Item(path=verdict.path, known=number in done.known, broken=number in done.broken), verdict
        if folder:
            folder.clear(names)


def run_on_ray(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    jobs: int | None = None,
    address: str | None = None,
) -> Iterator[R]:
    """Do the work on the machines of a cluster and yield the results in order, as `blurgate.threads.run_in_order` does.

    Parameters
    ----------
    work : callable
        Item -> result; it and all items must be such that they can be pickled. If it has a method `give_up`, that gets
        each item that has ended the process that worked on it, and why, and gives the result in its place.
    items : iterable
    jobs : int, optional
        Items worked on at the same time; by default one for each core of the cluster.
    address : str, optional
        See `connect`.

    Yields
    ------
    object
        Result of each item.

    Raises
    ------
    MachineError
        If the cluster cannot be reached, or cannot go on.
    MissingExtraError
        If Ray is not installed.
    BlurgateError
        What `work` raises.
    """
    start = os.getcwd()  # noqa: PTH109
    with (
        connect(address, jobs),
        closing(_choose_stream()(_Batches(tuple(items)), partial(_BatchWork, work, start), jobs)) as stream,
    ):
        for done in stream:
            if isinstance(done, BlurgateError):
                raise done
            yield from done


@contextmanager
def connect(address: str | None = None, jobs: int | None = None) -> Iterator[None]:
    """Connect to a Ray cluster, silently, unless this process already is.

    Parameters
    ----------
    address : str, optional
        ``host:port`` of a cluster that this machine belongs to, ``ray://host:port`` of any, or ``auto`` for the one
        that runs on this machine. By default what the environment variable ``RAY_ADDRESS`` says, and else a cluster of
        this machine alone, which ends with the block.
    jobs : int, optional
        Cores of such a cluster; by default all.

    Yields
    ------
    None

    Raises
    ------
    MachineError
        If the cluster does not answer, or has another version of Python or Ray; or if it cannot go on within the block.
    MissingExtraError
        If Ray is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with needs_extra("ray", "Working on a cluster"):
        import ray
        import ray.data
        import ray.exceptions
    from ray.data.exceptions import SystemException, UserCodeException

    ours = not ray.is_initialized()
    with _silence_ray():
        try:
            if ours:
                _join(address or os.environ.get("RAY_ADDRESS") or "local", jobs)
            _check_workers()
            yield
        except (ray.exceptions.RayError, SystemException, UserCodeException) as error:
            raise MachineError(
                f"the Ray cluster cannot go on ({_describe(error)}): check its machines and its log", errno.EIO
            ) from error
        finally:
            if ours:
                ray.shutdown()


def _join(address: str, jobs: int | None) -> None:
    """Connect to a cluster, or start one; an address that does not answer ends with a sentence."""
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "local":
        options |= {"num_cpus": jobs, "include_dashboard": False, "object_store_memory": _STORE}
    elif address != "auto":
        _require_answer(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError, AssertionError) as error:
        if address == "auto" and isinstance(error, ConnectionError):
            raise MachineError(
                "a Ray cluster was needed on this machine, but none runs here: start one with ray start --head, give "
                "the address of another, or leave the address out to work on this machine alone",
                errno.ECONNREFUSED,
            ) from error
        raise MachineError(
            f"the Ray cluster {_hide(address)} cannot be joined ({_describe(error)}): check the address, that "
            "Python and Ray have the same version on all machines, and that RAY_AUTH_MODE and its token are the same",
            errno.ECONNREFUSED,
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray takes it


def _require_answer(address: str) -> None:
    """Connect to an address, to learn within a bounded time if a cluster answers there: Ray may wait much longer."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or "/" in host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(f"address must be auto, HOST:PORT or ray://HOST:PORT, got {_hide(address)!r}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECTING) as connection:
            connection.sendall(_HTTP2)
            answer = connection.recv(len(_SETTINGS))
    except OSError as error:
        raise MachineError(
            f"a Ray cluster was needed at {_hide(address)}, but nothing answers there ({error.strerror or error}): "
            "check the address, or leave it out to work on this machine alone",
            errno.ECONNREFUSED,
        ) from error
    if answer[_TYPE : _TYPE + 1] != _SETTINGS[_TYPE : _TYPE + 1] and os.environ.get("RAY_USE_TLS", "0") != "1":
        raise MachineError(
            f"a Ray cluster was needed at {_hide(address)}, but what answers there is none: check the address and port",
            errno.EPROTO,
        )


def _check_workers() -> None:
    """Check that a worker has the same Python and blurgate."""
    import ray

    def look() -> tuple[str, str]:  # sent as it is: a worker may lack blurgate
        import platform
        from importlib import import_module

        try:
            version = str(import_module("blurgate.version").__version__)
        except ImportError:
            version = ""
        return platform.python_version(), version

    found = ray.get(ray.remote(num_cpus=0)(look).remote(), timeout=_STARTING)
    here = platform.python_version(), __version__
    if found != here:
        python, version = found
        raise MachineError(
            f"the workers of the Ray cluster need Python {here[0]} and blurgate {here[1]} as here, but have Python "
            f"{python} and {f'blurgate {version}' if version else 'no blurgate'}: install the same on all machines",
            errno.EPROTO,
        )


def _stream(
    supply: Callable[[], Iterator[T]], make: Callable[[Any], Callable[[T], R]], jobs: int | None
) -> Generator[R, None, None]:
    """Run a supply of work on one worker, and what `make` makes on all of them; yield results in order."""
    import ray
    from ray import cloudpickle
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = context.target_min_block_size = (
        1  # each piece a block of its own: that spreads them
    )
    cores = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    size = max(1, min(int(sum(cores)), jobs or sys.maxsize))
    deaths = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Deaths).remote()
    work = ray.put(cloudpickle.dumps(make(deaths)))
    with DataContext.current(context):
        # Listing takes no core from those who judge, but runs where they do: a head without cores may see no photos.
        # It must ask for another number of cores than they, or Ray Data does both in one process.
        listed = ray.data.from_items([0]).map_batches(_Supply(supply), num_cpus=0 if all(cores) else 0.5)
        pool = ActorPoolStrategy(min_size=1, max_size=size, initial_size=size)
        rows = iter(listed.map(_Worker, fn_constructor_args=([work],), compute=pool, num_cpus=1).iter_rows())
    try:
        for row in rows:
            yield cloudpickle.loads(row["content"])
    finally:  # here, while there is a connection: afterwards Ray would make another, to any cluster that it finds
        with suppress(Exception):  # the cluster may be gone
            rows.close()
        with suppress(Exception):
            ray.kill(deaths)


def _choose_stream() -> Callable[..., Generator[Any, None, None]]:
    import ray

    return _stream_afar if ray.util.client.ray.is_connected() else _stream


def _stream_afar(
    supply: Callable[[], Iterator[T]], make: Callable[[Any], Callable[[T], R]], jobs: int | None
) -> Generator[R, None, None]:
    """Do as `_stream` does, in a process of the cluster: over ``ray://`` Ray Data does not run."""
    import ray
    from ray import cloudpickle

    runner = ray.remote(num_cpus=0)(_Runner).remote(cloudpickle.dumps((supply, make, jobs)))
    try:
        coming = runner.take.remote()
        while (content := ray.get(coming)) is not None:
            coming = runner.take.remote()  # while this one is read
            yield cloudpickle.loads(content)
    finally:
        with suppress(Exception):  # the cluster may be gone
            ray.kill(runner)


class _Runner:
    """Runs a stream in a process of the cluster.

    Parameters
    ----------
    content : bytes
        What `_stream` takes, pickled.
    """

    def __init__(self, content: bytes) -> None:
        from ray import cloudpickle

        self._results: Iterator[Any] = _stream(*cloudpickle.loads(content))

    def take(self) -> bytes | None:
        from ray import cloudpickle

        for each in self._results:
            content: bytes = cloudpickle.dumps(each)
            return content
        return None


class _Supply:
    """Gives what a supply of work gives, as rows of Ray Data."""

    def __init__(self, supply: Callable[[], Iterator[Any]]) -> None:
        self._supply = supply

    def __call__(self, _: Any) -> Iterator[dict[str, list[bytes]]]:
        from ray import cloudpickle

        for each in self._supply():
            yield {"content": [cloudpickle.dumps(each)]}


class _Worker:
    """One of the processes that work, each on one thread.

    Parameters
    ----------
    work : list of one ObjectRef
        What to do with a row.
    """

    def __init__(self, work: list[Any]) -> None:
        import ray
        from ray import cloudpickle

        disable_pillow_size_limit()  # max_megapixels is the limit
        threadpool_limits(1, "blas")
        self._work = cloudpickle.loads(ray.get(work[0]))

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        from ray import cloudpickle

        return {"content": cloudpickle.dumps(self._work(cloudpickle.loads(row["content"])))}


class _Deaths:
    """Counts how often a piece was begun without being ended: the process that did died, or its machine."""

    def __init__(self) -> None:
        self._begun = Counter[str]()

    def begin(self, name: str) -> int:
        self._begun[name] += 1
        return self._begun[name]

    def end(self, name: str) -> None:
        self._begun.pop(name, None)


@dataclass(frozen=True)
class _Work(Generic[T, R]):
    """What to do with items, and what to give for one that ends the process.

    Parameters
    ----------
    do : callable
        Items -> results.
    give_up : callable
        Item, and why -> result.
    """

    do: Callable[[Sequence[T]], list[R]]
    give_up: Callable[[T, str], R]


def _do_carefully(items: Sequence[T], work: _Work[T, R], name: str, deaths: Any) -> list[R]:
    """Do the work; if that has ended the process several times, do it item by item in processes of their own."""
    import ray

    if ray.get(deaths.begin.remote(name)) <= _TRIES:
        results = work.do(items)
    else:
        results = [_do_alone(item, [ray.put(work)], work) for item in items]
    deaths.end.remote(name)
    return results


def _do_alone(item: T, place: list[Any], work: _Work[T, R]) -> R:
    import ray

    why = ""
    for _ in range(_TRIES_ALONE):
        task = ray.remote(num_cpus=0, max_retries=0)(_do_one)
        try:
            result: R | BlurgateError = ray.get(task.remote(item, place))
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
            memory = isinstance(error, ray.exceptions.OutOfMemoryError)
            why = "it takes more memory than there is" if memory else "it ends the process that tries"
            continue
        if isinstance(result, BlurgateError):
            raise result
        return result
    return work.give_up(item, why)


def _do_one(item: Any, place: list[Any]) -> Any:
    disable_pillow_size_limit()
    try:
        with threadpool_limits(1, "blas"):
            return _fetch(*place).do([item])[0]
    except BlurgateError as error:
        return error


@lru_cache(1)
def _fetch(place: Any) -> Any:
    import ray

    return ray.get(place)


@dataclass(frozen=True)
class _Batches:
    """Items, some at a time."""

    items: tuple[Any, ...]

    def __call__(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        for start in range(0, len(self.items), _BATCH):
            yield str(start), self.items[start : start + _BATCH]


@dataclass(frozen=True)
class _BatchWork:
    """What `run_on_ray` does with a batch."""

    work: Any
    start: str
    deaths: Any

    def __call__(self, batch: tuple[str, tuple[Any, ...]]) -> list[Any] | BlurgateError:
        name, items = batch
        try:
            return _do_carefully(items, _Work(self._do, self._give_up), name, self.deaths)
        except BlurgateError as error:
            return error

    def _do(self, items: Sequence[Any]) -> list[Any]:
        _enter(self.start)
        return list(map(self.work, items))

    def _give_up(self, item: Any, why: str) -> Any:
        if give_up := getattr(self.work, "give_up", None):
            return give_up(item, why)
        raise MachineError(f"the Ray cluster cannot work on {item} ({why}): leave it out", errno.EIO)


def _find_start(paths: Iterable[str]) -> str:
    """Find where relative paths begin: the working folder, or nowhere if all are absolute."""
    return "" if all(Path(path).is_absolute() or "://" in path for path in paths) else os.getcwd()  # noqa: PTH109


def _enter(folder: str) -> None:
    """Make a folder the working one, so that relative paths mean on a worker what they mean here."""
    if folder:
        with suppress(OSError):  # the photos will be missing, with the path that was given
            os.chdir(folder)


def _require_all(judged: Iterable[JudgedPiece]) -> Iterator[JudgedPiece]:
    """Check that each piece is there once and in its place, up to the last."""
    expected, after = 0, ""
    ended = False
    for done in judged:
        if done.piece.problem:
            raise done.piece.problem
        if (done.piece.number, done.piece.before) != (expected, after):
            raise MachineError(
                "a machine of the cluster was lost, and the photos that it had listed have changed since: scan again, "
                "with --resume if there is an output",
                errno.ESTALE,
            )
        expected, after, ended = expected + 1, done.piece.after, not done.piece.after
        yield done
    if not ended:
        raise MachineError("the Ray cluster has lost the end of the list of photos: scan again", errno.EIO)


@contextmanager
def _silence_ray() -> Iterator[None]:
    """Keep Ray from writing to the terminal: what matters of it becomes an error of ours."""
    from ray._private import worker

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    show = getattr(worker, "print_to_stdstream", None)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    if show:
        setattr(worker, "print_to_stdstream", lambda *_, **__: None)  # noqa: B010
    try:
        yield
    finally:
        if show:
            setattr(worker, "print_to_stdstream", show)  # noqa: B010
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _describe(error: BaseException) -> str:
    """Say in one line what Ray says in many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return escape_unprintable(hide_all(lines[-1] if lines else type(error).__name__)[:_LONGEST_WHY]).rstrip(".")


def _hide(address: str) -> str:
    """Write the address of a cluster without what may be secret in it."""
    scheme, mark, rest = address.rpartition("://")
    return scheme + mark + rest.rpartition("@")[2].partition("?")[0]
