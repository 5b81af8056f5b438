"""Scans on a Ray cluster of two nodes on this machine; its verdicts are those of a scan here."""

import logging
import os
import shutil
import socket
import sys
import tarfile
import threading
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest

pytest.importorskip("ray", reason="needs the extra ray")
pytest.importorskip("pyarrow", reason="needs the extra ray")

import pyarrow
from pyarrow import parquet

from blurgate import build_table, scan
from blurgate.errors import MachineError, MissingExtraError, NetError, OutputError, PhotoError
from blurgate.files import mark_filed
from blurgate.judging.verdicts import Evidence, Verdict
from blurgate.learning.table import write_table
from blurgate.scanning import pieces, ray_data
from blurgate.scanning.items import Item
from blurgate.scanning.judge import Judge, Judged
from blurgate.scanning.piece_files import MARK, PieceFolder, parse_piece, write_piece
from blurgate.scanning.pieces import Entry, name_piece
from blurgate.scanning.ray_data import (
    JudgedPiece,
    Listing,
    Piece,
    PieceJudge,
    _require_all,
    _require_answer,
    connect,
    run_on_ray,
)
from blurgate.scanning.run import ScanRequest, run_scan

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

STORE = 80 * 2**20


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()  # the cluster of other tests
    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    head["_system_config"] = {"health_check_period_ms": 300}  # how soon a dead node is noticed
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def names(folder):
    return {path.name for path in folder.iterdir()} - {MARK}


@pytest.fixture
def photos(sharp_folder, tmp_path):
    """Fifty photos in three folders, some of which cannot be read."""
    folder = tmp_path / "photos"
    for number, path in enumerate(sorted(sharp_folder.iterdir())):
        place = folder / "abc"[number % 3] / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    (folder / "b" / "torn.jpg").write_text("no photo")
    os.close(os.open(os.fsencode(folder) + b"/c/\xff\n.jpg", os.O_CREAT))
    return folder


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "SECONDS", 0.008)


@pytest.fixture
def archives(sharp_folder, tmp_path):
    """A tar, one that is cut short, and tables with and without a column `image`."""
    files = sorted(sharp_folder.iterdir())[:12]
    content = [path.read_bytes() for path in files]
    parquet.write_table(pyarrow.table({"image": content, "other": content[::-1]}), tmp_path / "table.parquet")
    parquet.write_table(pyarrow.table({"other": content[:1]}), tmp_path / "one.parquet")
    for name, mode in (("packed.tar.gz", "w:gz"), ("whole.tar", "w")):
        with tarfile.open(tmp_path / name, mode) as tar:
            for path in files:
                tar.add(path, path.name)
    whole = (tmp_path / "whole.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) * 2 // 3])
    return [tmp_path / name for name in ("packed.tar.gz", "cut.tar", "table.parquet", "one.parquet")]


@pytest.fixture
def without_cluster(monkeypatch):
    """Let this process do what the workers do."""
    monkeypatch.setattr(ray_data, "connect", lambda *_: nullcontext())
    monkeypatch.setattr(ray_data, "_choose_stream", lambda: lambda supply, make, _: map_here(make(None), supply()))
    monkeypatch.setattr(ray_data, "_do_carefully", lambda items, work, *_: work.do(items))


def map_here(work, items):
    yield from map(work, items)


def test_verdicts_and_files_are_those_of_a_scan_here_though_a_node_dies_and_a_resumed_one_judges_what_is_new(
    cluster, photos, archives, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (photos / "d.nef").touch()
    filed = photos / "filed"
    filed.mkdir()
    shutil.copy(min((photos / "a").iterdir()), filed)
    mark_filed(filed)
    wanted = ScanRequest(photos=["photos", *archives], column="other", model=model, engine="numpy", resume=True)
    wanted = replace(wanted, fail_on=["undecided"], allow_unreadable=True)
    here = run_scan(replace(wanted, output=tmp_path / "here.csv"), say=(said_here := []).append)
    on_ray = replace(wanted, on="ray", output=tmp_path / "there.csv", report=tmp_path / "there.html")
    dying = list(cluster.worker_nodes)

    def lose_a_node(judged):
        for done in _require_all(judged):
            while dying:
                cluster.remove_node(dying.pop(), allow_graceful=False)
            yield done

    monkeypatch.setattr(ray_data, "_require_all", lose_a_node)
    there = run_scan(on_ray, say=(said_there := []).append)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert there.failures == here.failures
    assert any("cut short" in failure for failure in there.failures)
    assert there.tally.decisions == here.tally.decisions
    assert [line for line in said_there if "wrote" not in line] == [line for line in said_here if "wrote" not in line]
    saved = names(tmp_path / "there.csv.pieces")
    assert len(saved) > 5

    shutil.copy(min((photos / "a").iterdir()), photos / "b" / "zzz.png")
    again = run_scan(on_ray)
    now = names(tmp_path / "there.csv.pieces")
    assert again.tally.total == there.tally.total + 1
    assert 60 < again.tally.known < there.tally.total
    assert 1 <= len(now - saved) <= 2
    assert 1 <= len(saved - now) <= 2  # files of pieces that are no more


def test_a_piece_of_an_archive_is_judged_once(without_cluster, archives, model, tmp_path):
    wanted = ScanRequest(photos=archives, column="other", model=model, engine="numpy", on="ray", resume=True)
    wanted = replace(wanted, output=tmp_path / "there.csv")
    first = run_scan(wanted)
    assert run_scan(wanted).tally.known == first.tally.total - first.tally.decisions["error"]
    assert run_scan(replace(wanted, photos=archives[2:3], column="image")).tally.known == 0
    with pytest.raises(ValueError, match="column must be one that the table has"):
        run_scan(replace(wanted, column="none"))


def test_what_is_wrong_with_the_photos_is_said_as_here(without_cluster, photos, model, tmp_path, monkeypatch):
    with pytest.raises(PhotoError, match="nowhere does not exist"):
        scan([photos, tmp_path / "nowhere"], model=model, on="ray")
    assert list(scan([], model=model, on="ray")) == []
    unseen = Piece(0, (), "", "", problem=PhotoError(f"{photos} does not exist: check the path"))
    monkeypatch.setattr(Listing, "__call__", lambda _: iter([unseen]))  # as a worker without that disk says
    with pytest.raises(PhotoError, match="photos is on this machine, but the workers of the Ray cluster do not see"):
        scan([photos], model=model, on="ray")


def test_a_folder_as_output_keeps_the_workers_files(cluster, photos, model, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_data, "_choose_stream", lambda: ray_data._stream_afar)  # as over ray://
    wanted = ScanRequest(photos=[photos / "a"], model=model, engine="numpy", on="ray", jobs=1)
    wanted = replace(wanted, output=tmp_path / "verdicts")
    place = PieceFolder(str(tmp_path / "verdicts"))
    place.prepare()
    place.save("a" * 32, write_piece([Verdict("gone.jpg", "sharp", 0.1)], "a" * 32))
    outcome = run_scan(wanted, say=(said := []).append)
    assert "has 1 pieces of an earlier scan, see --resume" in said[0]
    rows = parquet.read_table(tmp_path / "verdicts").to_pylist()
    expected = {verdict.path: verdict.probability for verdict in scan(photos / "a", model=model, engine="numpy")}
    assert {row["path"]: row["probability"] for row in rows} == expected
    assert outcome.tally.total == len(rows) == len(expected)


def test_a_folder_of_somebody_else_is_no_output(photos, model, tmp_path):
    wanted = ScanRequest(photos=[photos], model=model, on="ray", output=tmp_path / "letters")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").touch()
    with pytest.raises(OutputError, match="letters exists and is not a folder of verdicts that blurgate wrote"):
        run_scan(wanted)


def test_a_list_ends_with_what_was_left_out(photos):
    (photos / "d.nef").touch()
    *some, last = Listing((str(photos),), include=("*.gif",))()
    assert (some, last.entries, last.after) == ([], (), "")
    *listed, last = Listing((str(photos),), seconds=0.008)()
    assert [piece.before for piece in (*listed, last)] == ["", *(piece.after for piece in listed)]
    assert [piece.raws for piece in (*listed, last) if piece.raws] == [{".nef": 1}]


def test_features_are_those_measured_here(cluster, photos, net, explainer, tmp_path, monkeypatch):
    monkeypatch.chdir(photos.parent)
    (photos / "c" / os.fsdecode(b"\xff\n.jpg")).unlink()
    options = {"feature_set": f"block99+{net.name}", "net": net, "explainer": explainer}
    for name, run in (("here.csv", {}), ("there.csv", {"run": partial(run_on_ray, jobs=1)})):
        write_table(build_table("photos", **options, **run), tmp_path / name)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


def test_an_item_that_ends_the_process_is_given_up_and_no_other_and_an_error_of_the_work_is_raised_here(cluster):
    class Halve:  # here, so that workers get it as it is: they cannot import tests
        def __call__(self, number):
            if number == 13:
                import os

                os._exit(1)
            if number == 69:
                from blurgate.errors import NetError

                raise NetError(f"no answer to {number}")
            return number / 2

        def give_up(self, number, why):
            return f"{number}: {why}"

    found = []
    with pytest.raises(NetError, match="no answer to 69"):
        found.extend(run_on_ray(Halve(), range(70), jobs=1))
    assert found.pop(13) == "13: it ends the process that tries"
    assert found == [number / 2 for number in range(64) if number != 13]  # two whole batches


def test_what_ray_says_becomes_one_sentence(cluster):
    from ray.exceptions import RayError

    with (
        pytest.raises(MachineError, match=r"the Ray cluster cannot go on \(it is lost\): check its machines"),
        connect(),
    ):
        raise RayError("a trace\n  it is lost\n")


def test_no_secret_of_an_address_is_in_it():
    said = ray_data._describe(ValueError("trace\ncannot open 's3://key:word@bucket/a.jpg' of http://h/b?sig=word"))
    assert said == "cannot open 's3://bucket/a.jpg' of http://h/b"


def test_a_machine_that_sees_another_folder_or_has_another_version_ends_the_scan(model, tmp_path):
    judge = Judge(model, (0.5, 0.5))
    piece = Piece(0, (Entry("a.jpg"),), "", "x")
    folder = PieceFolder(str(tmp_path / "pieces"))
    other = PieceJudge(judge, folder, "another token", "", None)(piece).piece.problem
    assert isinstance(other, OutputError)
    assert "must be one place for all machines of the cluster, but" in str(other)
    old = PieceJudge(judge, None, "", "", None, version="9.9")(piece).piece.problem
    assert isinstance(old, MachineError)
    assert "the scan was started with 9.9: install the same" in str(old)


def test_five_photos_in_a_row_that_the_machine_keeps_from_being_read_end_the_scan(model, monkeypatch, tmp_path):
    problem = MachineError("the disk is gone", 5)
    found = [Judged(Item(), Evidence("a.jpg", error="a.jpg cannot be read"), problem)] * 5
    monkeypatch.setattr(Judge, "judge", lambda *_: found)
    monkeypatch.setattr(ray_data, "_do_carefully", lambda items, work, *_: work.do(items))
    work = PieceJudge(Judge(model, (0.5, 0.5)), None, "", "", None)
    assert work(Piece(0, (Entry("a.jpg"),) * 5, "", "x")).piece.problem is problem


def test_they_also_end_it_if_no_piece_has_so_many(model, monkeypatch):
    problem = MachineError("the disk is gone", 5)
    content = write_piece([Verdict("a.jpg", error="a.jpg cannot be read")], "a")
    judged = [JudgedPiece(Piece(n, (), str(n), str(n + 1)), "a", content, problems={0: problem}) for n in range(9)]
    judged[0] = replace(judged[0], piece=Piece(0, (), "", "1"))
    monkeypatch.setattr(ray_data, "connect", lambda *_: nullcontext())
    monkeypatch.setattr(ray_data, "_choose_stream", lambda: lambda *_: (each for each in judged))
    found = ray_data._judge(Listing(("a",)), Judge(model, (0.5, 0.5)), None, Counter(), None, jobs=1, address=None)
    assert len([next(found) for _ in range(4)]) == 4
    with pytest.raises(MachineError, match="the disk is gone"):
        next(found)


def test_what_could_not_be_read_is_judged_again(model, monkeypatch, tmp_path):
    monkeypatch.setattr(ray_data, "_do_carefully", lambda items, work, *_: work.do(items))
    folder = PieceFolder(str(tmp_path / "pieces"))
    judge, token = Judge(model, (0.5, 0.5), engine="numpy"), folder.prepare()
    entries = (Entry("gone.jpg", 1, 1), Entry("flat.jpg", 1, 1), Entry("untimed.jpg"))
    name = name_piece(entries, f"{judge.name} {judge.bounds} {judge.max_megapixels}")
    flat = Verdict("flat.jpg", "undecided", reason="too little texture")
    unread = [Verdict(name, error=f"{name} cannot be read: no") for name in ("gone.jpg", "untimed.jpg")]
    folder.save(name, write_piece([unread[0], flat, unread[1]], name))
    done = PieceJudge(judge, folder, token, "", None)(Piece(0, entries, "", "x"))
    assert (done.name, done.known) == (name, frozenset({1}))
    assert parse_piece(done.content, name)[1] == flat
    assert "does not exist" in parse_piece(done.content, name)[0].error
    assert folder.find(name, [entry.path for entry in entries])[0].error != unread[0].error


def test_a_list_that_changed_while_a_machine_was_replaced_is_noticed():
    first, second = JudgedPiece(Piece(0, (), "", "x")), JudgedPiece(Piece(1, (), "x", "y"))
    end = JudgedPiece(Piece(2, (), "y", ""))
    assert list(_require_all([first, second, end])) == [first, second, end]
    for wrong in ([first, first, second, end], [first, end], [first, JudgedPiece(Piece(1, (), "z", "y")), end]):
        with pytest.raises(MachineError, match="the photos that it had listed have changed since"):
            list(_require_all(wrong))
    with pytest.raises(MachineError, match="has lost the end of the list"):
        list(_require_all([first, second]))


@pytest.mark.parametrize(
    "address", ["host", "host:0", "host:99999", "ray://host", "http://user:secret@host:x", "user:secret@host"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ValueError, match="address must be auto, HOST:PORT or ray://HOST:PORT") as caught:
        _require_answer(address)
    assert "secret" not in str(caught.value)


def test_an_address_that_does_not_answer_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        for address in (f"127.0.0.1:{taken.getsockname()[1]}", f"ray://127.0.0.1:{taken.getsockname()[1]}"):
            with pytest.raises(MachineError, match="a Ray cluster was needed at .* but nothing answers there"):
                _require_answer(address)


def test_no_cluster_on_this_machine_is_one_sentence(monkeypatch):
    import ray

    def find_none(**_):
        raise ConnectionError("Could not find any running Ray instance. Set `RAY_ADDRESS`.")

    monkeypatch.setattr(ray, "init", find_none)
    with pytest.raises(MachineError, match=r"needed on this machine, but none runs here: start one with ray start"):
        ray_data._join("auto", None)
    with pytest.raises(MachineError, match=r"\(.*`RAY_ADDRESS`\): check .* RAY_AUTH_MODE and its token are the same$"):
        ray_data._join("local", None)


def test_what_answers_but_is_no_cluster_is_told_apart(cluster):
    _require_answer(cluster.address)
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].sendall(b"HTTP/1.1 400 Bad Request"))
        thread.start()
        with pytest.raises(MachineError, match="but what answers there is none: check the address and port"):
            _require_answer(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


def test_without_ray_the_extra_is_named(monkeypatch, photos, model):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="needs the extra 'ray'"):
        scan(photos, model=model, on="ray")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"photos": iter(["a.jpg"])}, "on ray needs paths of photos and folders that all its machines see"),
        ({"device": "cuda"}, "device must be cpu on ray"),
        ({"on": "mars"}, "on must be one of here, ray, got 'mars'"),
        ({"on": "here", "address": "auto"}, "address goes with on ray"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"action": "move", "folder": "sorted"}, "on ray cannot go with move-to"),
        ({"output": "verdicts", "sort": "path"}, "sort needs an output file"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(changes, reason, photos, model, tmp_path):
    for name in {"output", "folder"} & set(changes):
        changes = {**changes, name: tmp_path / changes[name]}
    with pytest.raises(ValueError, match=reason):
        run_scan(
            replace(ScanRequest(photos=[photos], model=model, on="ray", format="csv"), **{"format": None, **changes})
        )
