"""Scans on a Ray cluster of two nodes on this machine; its verdicts are those of a scan here."""

import logging
import os
import shutil
from dataclasses import replace

import pytest

pytest.importorskip("ray", reason="needs the extra ray")
pytest.importorskip("pyarrow", reason="needs the extra ray")

from blurgate import build_table, scan
from blurgate.errors import MachineError, NetError, OutputError, PhotoError
from blurgate.files import mark_filed
from blurgate.learning.table import write_table
from blurgate.scanning import pieces, ray_data
from blurgate.scanning.piece_files import MARK, PieceFolder
from blurgate.scanning.ray_data import run_on_ray
from blurgate.scanning.run import ScanRequest, run_scan

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

STORE = 80 * 2**20


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


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


def test_verdicts_and_files_are_those_of_a_scan_here_and_a_resumed_one_judges_what_is_new(
    cluster, photos, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (photos / "d.nef").touch()
    filed = photos / "filed"
    filed.mkdir()
    shutil.copy(min((photos / "a").iterdir()), filed)
    mark_filed(filed)
    wanted = ScanRequest(photos=["photos"], model=model, engine="numpy", fail_on=["undecided"], resume=True)
    here = run_scan(replace(wanted, output=tmp_path / "here.csv"), say=(said_here := []).append)
    on_ray = replace(wanted, on="ray", output=tmp_path / "there.csv", report=tmp_path / "there.html")
    there = run_scan(on_ray, say=(said_there := []).append)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    assert there.failures == here.failures
    assert there.tally.decisions == here.tally.decisions
    assert [line for line in said_there if "wrote" not in line] == [line for line in said_here if "wrote" not in line]
    saved = set(os.listdir(tmp_path / "there.csv.pieces")) - {MARK}
    assert len(saved) > 5

    shutil.copy(min((photos / "a").iterdir()), photos / "b" / "zzz.png")
    again = run_scan(on_ray, say=(said := []).append)
    now = set(os.listdir(tmp_path / "there.csv.pieces")) - {MARK}
    assert again.tally.total == there.tally.total + 1
    assert 30 < again.tally.known < there.tally.total
    assert 1 <= len(now - saved) <= 2
    assert 1 <= len(saved - now) <= 2  # files of pieces that are no more

    anew = run_scan(replace(on_ray, resume=False, report=None, photos=["photos/a"]), say=said.append)
    assert anew.tally.known == 0
    assert any(f"has {len(now)} pieces of an earlier scan, see --resume" in line for line in said)
    assert not (tmp_path / "there.csv.pieces").exists()


def test_a_folder_as_output_keeps_the_workers_files(cluster, photos, model, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    wanted = ScanRequest(photos=[photos / "a"], model=model, engine="numpy", on="ray", output=tmp_path / "verdicts")
    outcome = run_scan(wanted)
    rows = parquet.read_table(tmp_path / "verdicts").to_pylist()
    expected = {verdict.path: verdict.probability for verdict in scan(photos / "a", model=model, engine="numpy")}
    assert {row["path"]: row["probability"] for row in rows} == expected
    assert outcome.tally.total == len(rows) == len(expected)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").touch()
    with pytest.raises(OutputError, match="letters exists and is not a folder of verdicts that blurgate wrote"):
        run_scan(replace(wanted, output=tmp_path / "letters"))


def test_what_is_wrong_with_the_photos_is_said_as_here(cluster, photos, model, tmp_path):
    with pytest.raises(PhotoError, match="nowhere does not exist"):
        scan([photos, tmp_path / "nowhere"], model=model, on="ray")
    with pytest.raises(PhotoError, match="no photo passes include and exclude"):
        scan(photos, model=model, include=["*.gif"], on="ray")
    assert list(scan([], model=model, on="ray")) == []


def test_features_are_those_measured_here(cluster, photos, net, explainer, tmp_path, monkeypatch):
    monkeypatch.chdir(photos.parent)
    (photos / "c" / os.fsdecode(b"\xff\n.jpg")).unlink()
    options = {"feature_set": f"block99+{net.name}", "net": net, "explainer": explainer}
    for name, run in (("here.csv", {}), ("there.csv", {"run": run_on_ray})):
        write_table(build_table("photos", **options, **run), tmp_path / name)
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()


def test_an_item_that_ends_the_process_is_given_up_and_no_other(cluster):
    class Halve:  # here, so that workers get it as it is: they cannot import tests
        def __call__(self, number):
            if number == 13:
                import os

                os._exit(1)
            return number / 2

        def give_up(self, number, why):
            return f"{number}: {why}"

    found = list(run_on_ray(Halve(), range(70)))
    assert found.pop(13) == "13: it ends the process that tries"
    assert found == [number / 2 for number in range(70) if number != 13]


def test_errors_of_the_work_are_raised_here(cluster):
    def fail(number):
        from blurgate.errors import NetError

        raise NetError(f"no answer to {number}")

    with pytest.raises(NetError, match="no answer to 0"):
        list(run_on_ray(fail, range(3)))
    with pytest.raises(MachineError, match="the Ray cluster cannot go on"):
        list(run_on_ray(lambda number: 1 / number, [0]))


def test_a_node_that_dies_loses_no_photo_and_doubles_none(cluster, photos, model, tmp_path):
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    expected = list(scan(photos, model=model, engine="numpy"))
    judged = scan(photos, model=model, engine="numpy", on="ray", resume=tmp_path / "pieces")
    found = [next(judged)]
    cluster.remove_node(node, allow_graceful=False)
    found += judged
    assert found == expected
    assert PieceFolder(str(tmp_path / "pieces")).count() > 5


def test_a_machine_that_sees_another_folder_or_has_another_version_ends_the_scan(cluster, photos, model, tmp_path):
    make = ray_data.PieceJudge

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PieceFolder, "prepare", lambda self: "another token")
        with pytest.raises(OutputError, match="must be one place for all machines of the cluster, but .* does not see"):
            scan(photos, model=model, on="ray", resume=tmp_path / "pieces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_data, "PieceJudge", lambda *options: make(*options, version="9.9"))
        with pytest.raises(MachineError, match="the scan was started with 9.9: install the same"):
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
