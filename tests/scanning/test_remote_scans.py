"""Photos in stores: moto's S3 on loopback, a web server, and a proxy that makes both fail."""

import csv
import functools
import http.server
import json
import logging
import re
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from typer.testing import CliRunner

import blurgate
from benchmarks.slow_proxy import Faults, run_proxy
from blurgate import MachineError, PhotoError
from blurgate.cli import app
from blurgate.errors import OutputError
from blurgate.photos import stores
from blurgate.photos.addresses import Status
from blurgate.photos.s3_objects import S3Objects
from blurgate.scanning.fetching import fetch_ahead
from blurgate.scanning.items import Item
from blurgate.scanning.records import open_records
from blurgate.scanning.run import ScanRequest, run_scan
from blurgate.threads import PAUSE

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

pytestmark = pytest.mark.filterwarnings(  # of the stores that each test forgets
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

BUCKET = "s3://photos"


def scan(photos, **options):
    return blurgate.scan(photos, model="trees", engine="numpy", **options)


def run(*words):
    return CliRunner().invoke(app, [*map(str, words), "--model", "trees"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty small photos, half of them blurred, in two folders; one is damaged."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    rng = np.random.default_rng(7)
    scene = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).resize((192, 192), Image.Resampling.NEAREST)
    for number in range(40):
        picture = scene.rotate(9 * number)
        picture = picture.filter(ImageFilter.GaussianBlur(4)) if number % 2 else picture
        picture.save(folder / ("sub" if number % 3 == 0 else "") / f"photo-{number:02}.jpg", quality=85)
    (folder / "damaged.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture(scope="module")
def server(folder):
    """Port of an S3 server that has the photos in a bucket."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
        port = running.get_host_and_port()[1]
        fs = fsspec.filesystem("s3", endpoint_url=f"http://127.0.0.1:{port}", skip_instance_cache=True)
        fs.mkdir("photos")
        for path in sorted(folder.rglob("*.*")):
            fs.pipe_file(f"photos/album/{path.relative_to(folder).as_posix()}", path.read_bytes())
        yield port
        running.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """The store that `server` is, with nothing remembered of others."""
    use_store(monkeypatch, server)
    return BUCKET


@pytest.fixture(autouse=True)
def fresh_stores(monkeypatch):
    monkeypatch.setattr(stores, "_STORES", {})
    monkeypatch.setattr(stores, "_MET", set())
    monkeypatch.setattr(stores, "_FIRST_WAIT", 0.01)
    yield
    close()


def close():
    """Close the connections to the stores of a test."""
    for fs in stores._STORES.values():
        session = getattr(fs, "_s3", None) or getattr(fs, "_session", None)
        if session is not None:
            fs.close_session(fs.loop, session)


def use_store(monkeypatch, port):
    close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(stores, "_STORES", {})
    monkeypatch.setattr(stores, "_MET", set())


def strip(verdicts, root):
    """The rows of verdicts, with paths and errors relative to a root."""
    return [
        (
            verdict.path.removeprefix(root).lstrip("/"),
            verdict.decision,
            verdict.probability,
            verdict.error.replace(root, "").lstrip("/"),
        )
        for verdict in verdicts
    ]


@pytest.fixture(scope="module")
def expected(folder):
    return strip(scan(str(folder)), str(folder))


def test_a_bucket_gives_the_rows_of_a_disk_in_the_same_order(bucket, expected):
    for root in (f"{bucket}/album", f"{bucket}/album/"):
        assert strip(scan([root]), f"{bucket}/album") == expected


def test_objects_are_read_without_s3fs_unless_something_is_unusual(bucket, expected, monkeypatch):
    read = S3Objects.read
    found = []

    def note(self, *args, **options):
        found.append(read(self, *args, **options))
        return found[-1]

    monkeypatch.setattr(S3Objects, "read", note)
    assert strip(scan([f"{bucket}/album"]), f"{bucket}/album") == expected
    assert len(found) == len(expected)
    assert None not in found
    monkeypatch.setattr(S3Objects, "read", lambda *_, **__: None)
    assert strip(scan([f"{bucket}/album"]), f"{bucket}/album") == expected


def test_photos_in_a_folder_without_a_name_are_not_passed_over(bucket, server, folder, tmp_path):
    fs = fsspec.filesystem("s3", endpoint_url=f"http://127.0.0.1:{server}", skip_instance_cache=True)
    content = (folder / "photo-02.jpg").read_bytes()
    for name in ("a.jpg", "/b.jpg", "/c/d.jpg", "e/f.jpg"):
        fs.call_s3("put_object", Bucket="photos", Key=f"nameless/{name}", Body=content)
    found = [(row.path.removeprefix(bucket), row.error.removeprefix(bucket)) for row in scan([f"{bucket}/nameless"])]
    problem = "/nameless has photos in a folder without a name, which cannot be searched: rename it"
    assert found == [("/nameless", problem), ("/nameless/a.jpg", ""), ("/nameless/e/f.jpg", "")]
    done = run("scan", f"{bucket}/nameless", "--fail-on", "undecided", "--allow-unreadable")
    assert done.exit_code == 1
    assert problem in done.stderr


def test_objects_whose_names_cannot_be_asked_for_are_not_passed_over(bucket, server, folder):
    fs = fsspec.filesystem("s3", endpoint_url=f"http://127.0.0.1:{server}", skip_instance_cache=True)
    content = (folder / "photo-02.jpg").read_bytes()
    for name in ("a.jpg", "b/../c.jpg", "b/./d.jpg", "b/e.jpg/"):
        fs.call_s3("put_object", Bucket="photos", Key=f"odd/{name}", Body=content)
    fs.call_s3("put_object", Bucket="photos", Key="odd/marker/", Body=b"")
    found = {(row.path.removeprefix(bucket), row.error.removeprefix(bucket)) for row in scan([f"{bucket}/odd"])}
    assert found == {
        ("/odd/a.jpg", ""),
        ("/odd/b", "/odd/b has a folder named .., which cannot be read: rename it"),
        ("/odd/b", "/odd/b has a folder named ., which cannot be read: rename it"),
        ("/odd/b/e.jpg", "/odd/b/e.jpg is a file whose name ends in a slash, which cannot be read: rename it"),
    }
    done = run("scan", f"{bucket}/odd", "--fail-on", "blurred", "--allow-unreadable")
    assert done.exit_code == 1


def test_a_gate_fails_on_files_whose_names_do_not_tell_what_they_are(bucket, server, folder):
    fs = fsspec.filesystem("s3", endpoint_url=f"http://127.0.0.1:{server}", skip_instance_cache=True)
    content = (folder / "photo-02.jpg").read_bytes()
    for name in ("a.jpg", "7f3a", "b.data", "c.zip", "notes.txt", "_SUCCESS"):
        fs.call_s3("put_object", Bucket="photos", Key=f"unknown/{name}", Body=b"" if name == "_SUCCESS" else content)
    done = run("scan", f"{bucket}/unknown", "--fail-on", "blurred")
    assert done.exit_code == 1
    assert "2 files in stores without a suffix of a photo" in done.stderr
    assert "1 archive or table, which is left out: name it" in done.stderr
    done = run("scan", f"{bucket}/unknown")
    assert done.exit_code == 0
    assert "2 files in stores without a suffix of a photo" in done.stderr
    assert (
        run("scan", f"{bucket}/unknown", "--fail-on", "blurred", "--exclude", "7*", "--exclude", "*.data").exit_code
        == 0
    )
    paths = [row.path.removeprefix(f"{bucket}/unknown/") for row in scan([f"{bucket}/unknown"], include=["*"])]
    assert paths == ["7f3a", "a.jpg", "b.data"]


def test_a_pattern_names_several_objects(bucket, expected):
    found = strip(scan([f"{bucket}/album/photo-0*.jpg"]), f"{bucket}/album")
    assert found == [row for row in expected if row[0].startswith("photo-0")]


def test_include_and_exclude_match_below_the_root(bucket):
    found = scan([f"{bucket}/album"], include=["sub/*", "damaged.*"], exclude=["*-0*.jpg"])
    names = [verdict.path.removeprefix(f"{bucket}/album/") for verdict in found]
    assert names == ["damaged.jpg", *(f"sub/photo-{number}.jpg" for number in range(12, 40, 3))]


def test_folders_sort_before_files_that_begin_like_them_across_pages(bucket, folder, monkeypatch):
    fs, _ = stores._open_store(bucket)
    content = (folder / "photo-01.jpg").read_bytes()
    names = ["a.jpg", "a/x.jpg", "a-b.jpg", "a b.jpg", "b/c/d.jpg", "b/c.jpg", "ä.jpg", "c?d#e%20+.jpg", ".hidden.jpg"]
    for name in names:
        fs.pipe_file(f"photos/order/{name}", content)
    call = stores._call
    pages = []

    def call_in_small_pages(fs, name, *args, **options):
        pages.append(name)
        return call(fs, name, *args, **options, **({"MaxKeys": 2} if name == "call_s3" else {}))

    monkeypatch.setattr(stores, "_call", call_in_small_pages)
    found = [verdict.path.removeprefix(f"{bucket}/order/") for verdict in scan([f"{bucket}/order"])]
    walk = sorted(name.split("/") for name in names if not name.startswith("."))
    assert found == ["/".join(parts) for parts in walk]
    assert pages.count("call_s3") > 5


@pytest.mark.parametrize(
    ("faults", "name"),
    [
        (Faults(refuse=0.5, only=b".jpg", seed=1), "refuse"),
        (Faults(cut=0.5, only=b".jpg", seed=2), "cut"),
        (Faults(dribble=0.3, only=b".jpg", seed=3), "dribble"),
    ],
)
def test_what_fails_for_a_moment_is_tried_again(server, monkeypatch, expected, faults, name):
    with run_proxy(server, faults=faults) as port:
        use_store(monkeypatch, port)
        assert strip(scan([f"{BUCKET}/album"]), f"{BUCKET}/album") == expected
    assert faults.made[name] > 5


def test_a_photo_that_is_always_cut_is_an_error_of_its_own(server, monkeypatch, expected):
    with run_proxy(server, faults=Faults(cut=1, only=b"photo-05.jpg", most=1000)) as port:
        use_store(monkeypatch, port)
        rows = strip(scan([f"{BUCKET}/album"]), f"{BUCKET}/album")
    wrong = [row for row, right in zip(rows, expected, strict=True) if row != right]
    assert [(name, decision) for name, decision, _, _ in wrong] == [("photo-05.jpg", "error")]
    assert re.search("cannot be read: the connection ended before all of it was there, after 5 tries", wrong[0][3])


def test_a_store_that_fails_in_the_middle_ends_the_scan_and_it_resumes(server, monkeypatch, expected, tmp_path):
    records = tmp_path / "records"
    with run_proxy(server, faults=Faults(refuse=1, only=b"photo-2", most=1000)) as port:
        use_store(monkeypatch, port)
        with pytest.raises(MachineError, match="s3://photos does not answer"):
            list(scan([f"{BUCKET}/album"], resume=records))
    use_store(monkeypatch, server)
    reads = []
    monkeypatch.setattr(stores, "_read_range", lambda *args, work=stores._read_range, **options: (
        reads.append(args[1]), work(*args, **options))[1])  # fmt: skip
    assert strip(scan([f"{BUCKET}/album"], resume=records), f"{BUCKET}/album") == expected
    assert 0 < len(reads) < len(expected)


def test_a_changed_object_is_judged_again(bucket, folder, tmp_path):
    fs, _ = stores._open_store(bucket)
    fs.pipe_file("photos/one/a.jpg", (folder / "photo-01.jpg").read_bytes())
    first = next(iter(scan([f"{bucket}/one"], resume=tmp_path / "records")))
    fs.pipe_file("photos/one/a.jpg", (folder / "photo-02.jpg").read_bytes())
    second = next(iter(scan([f"{bucket}/one"], resume=tmp_path / "records")))
    assert (first.decision, second.decision) == ("blurred", "sharp")


def test_records_know_named_photos_and_rows_of_tables(bucket, folder, tmp_path, monkeypatch):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    contents = [(folder / f"photo-0{number}.jpg").read_bytes() for number in (1, 2, 4)]
    parquet.write_table(pyarrow.table({"image": contents}), tmp_path / "t.parquet")
    fs, _ = stores._open_store(bucket)
    fs.put_file(str(tmp_path / "t.parquet"), "photos/t.parquet")
    named = [f"{bucket}/album/photo-01.jpg", f"{bucket}/t.parquet", f"{bucket}/album/sub/photo-06.jpg"]
    first = list(scan(named, resume=tmp_path / "records"))
    assert [verdict.decision for verdict in first] == ["blurred", "blurred", "sharp", "sharp", "sharp"]
    monkeypatch.setattr("blurgate.scanning.judge.Judge.measure", None)  # nothing is measured again
    assert list(scan(named, resume=tmp_path / "records")) == first


@contextmanager
def serve(handler):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        try:
            yield running.server_port
        finally:
            running.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def answer(status, body=b"", **headers):
    """A server that answers all requests in the same way."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    return Handler


def test_a_web_server(folder, expected):
    with serve(functools.partial(Quiet, directory=str(folder))) as port:
        root = f"http://127.0.0.1:{port}"
        assert strip(scan([f"{root}/"]), root) == expected
        named = list(scan([f"{root}/photo-01.jpg?token=secret&id=1", f"{root}/gone.jpg"]))
    assert [verdict.path for verdict in named] == [f"{root}/photo-01.jpg?id=1", f"{root}/gone.jpg"]
    assert [verdict.decision for verdict in named] == ["blurred", "error"]
    assert named[1].error == f"{root}/gone.jpg does not exist: check the address"


def test_a_folder_of_a_web_server_with_a_query(folder, expected):
    asked = []

    class Asking(Quiet):
        def do_GET(self):
            asked.append(self.path)
            self.path = self.path.split("?")[0]
            super().do_GET()

    with serve(functools.partial(Asking, directory=str(folder))) as port:
        found = strip(scan([f"http://127.0.0.1:{port}/?token=secret"]), f"http://127.0.0.1:{port}")
    assert found == expected
    assert all(path.endswith("?token=secret") for path in asked if path != "/sub/")  # to which this server redirects


def test_a_web_server_that_sends_a_byte_now_and_then_does_not_stall_a_scan(monkeypatch):
    monkeypatch.setattr(stores, "_REQUEST", 0.3)
    monkeypatch.setattr(stores, "_PATIENCE", 0.1)
    ended = threading.Event()

    class Trickling(answer(200)):
        def do_GET(self):  # noqa: N802
            self.send_response(200)
            self.end_headers()
            try:
                while not ended.wait(0.02):
                    self.wfile.write(b"x")
            except OSError:
                pass

    with serve(Trickling) as port:
        (row,) = scan([f"http://127.0.0.1:{port}/a.jpg"])
        ended.set()
    assert "the store does not answer in time, after 1 try" in row.error


def test_a_web_server_may_not_fill_the_memory(monkeypatch):
    handler = answer(200, b"\xff\xd8\xff" + bytes(2**20))
    with serve(handler) as port:
        monkeypatch.setattr("blurgate.photos.archives.find_most", lambda _: 2**16)
        monkeypatch.setattr("blurgate.photos.archives.check_bytes", check_small)
        (verdict,) = scan([f"http://127.0.0.1:{port}/a.jpg"])
    assert "too long" in verdict.error


def check_small(size, *_):
    from blurgate.photos.limits import LimitError

    if size > 2**16:
        raise LimitError("it is too long", "do not read it")


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, "you have no permission"), (401, "no valid credentials"), (500, r"status 500\), after 5 tries")],
)
def test_no_secret_is_said_of_a_photo_that_cannot_be_read(capsys, status, message):
    with serve(answer(status)) as port:
        address = f"http://me:hunter2@127.0.0.1:{port}/a.jpg?X-Amz-Signature=abcdef&id=3"
        try:
            text = " ".join(f"{verdict.path} {verdict.error}" for verdict in scan([address]))
        except (PhotoError, MachineError) as error:
            text = str(error)
            message = message if status != 500 else "status 500"
    assert re.search(message, text)
    assert not re.search("hunter2|abcdef|me:", text + "".join(capsys.readouterr()))


def test_a_store_that_does_not_answer_is_one_sentence(monkeypatch):
    with serve(answer(200)) as port:
        pass  # nobody listens there any more
    use_store(monkeypatch, port)
    for root in (f"{BUCKET}/album/", f"http://127.0.0.1:{port}/a.jpg", f"{BUCKET}/a.zip"):
        done = run("scan", root)
        assert done.exit_code == 1
        assert "does not answer" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_bucket_without_permission_is_one_sentence(monkeypatch):
    body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    with serve(answer(403, body, **{"Content-Type": "application/xml"})) as port:
        use_store(monkeypatch, port)
        done = run("scan", f"{BUCKET}/album/")
    assert done.exit_code == 1
    assert done.stderr.strip().endswith("cannot be opened: you have no permission to read it")


def test_an_empty_prefix_a_missing_bucket_and_an_unknown_scheme_are_one_sentence(bucket):
    for root, message in {
        f"{bucket}/nothing/": "does not exist: check the address",
        "s3://no-such-bucket/": "does not exist: there is no such bucket",
        "foo://bar/": "of no kind that fsspec knows",
        "s3://": "a bucket was needed",
    }.items():
        done = run("scan", root)
        assert done.exit_code == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_verdicts_and_gallery_are_written_to_a_bucket_and_replace_only_their_own(bucket, folder, expected):
    fs, _ = stores._open_store(bucket)
    for name in ("v.csv", "v.parquet", "v.jsonl"):
        for _ in range(2):
            done = run("scan", f"{bucket}/album", "--include", "*-1*", "--output", f"{bucket}/out/{name}")
            assert done.exit_code == 0, done.stderr
            assert f"wrote {bucket}/out/{name}" in done.stderr
    rows = list(csv.DictReader(fs.cat_file("photos/out/v.csv").decode().splitlines()))
    assert [row["decision"] for row in rows] == [decision for name, decision, _, _ in expected if "-1" in name]
    assert json.loads(fs.cat_file("photos/out/v.jsonl").splitlines()[0])["path"] == f"{bucket}/album/photo-10.jpg"
    done = run("scan", folder / "photo-01.jpg", "--report", f"{bucket}/out/page.html")
    assert done.exit_code == 0, done.stderr
    assert b"blurgate gallery" in fs.cat_file("photos/out/page.html")
    fs.pipe_file("photos/out/letter.csv", b"Dear all,")
    done = run("scan", folder, "--output", f"{bucket}/out/letter.csv")
    assert (done.exit_code, fs.cat_file("photos/out/letter.csv")) == (1, b"Dear all,")
    assert "is not a file of verdicts that blurgate wrote" in done.stderr
    for place in ("http://127.0.0.1:1/v.csv", "zip://v.csv::a.zip"):
        done = run("scan", folder, "--output", place)
        assert done.exit_code == 2
        assert "takes no files" in done.stderr
    done = run("scan", folder, "--output", f"{bucket}/out/v.csv", "--resume")
    assert done.exit_code == 2
    assert "--resume needs an output on a disk" in done.stderr


def test_verdicts_are_written_where_the_gallery_cannot_be_made(bucket, monkeypatch, folder):
    photos, target = [str(folder / "photo-01.jpg")], f"{BUCKET}/out/kept.csv"

    def fail(*_, **__):
        raise OutputError("no space")

    monkeypatch.setattr("blurgate.scanning.run.write_gallery", fail)
    with pytest.raises(OutputError, match="no space"):
        run_scan(ScanRequest(photos=photos, model="trees", output=target, report=f"{BUCKET}/out/kept.html"))
    assert len(stores.read(target, most=10**6).splitlines()) == 2


def test_a_store_that_fails_while_it_is_listed_keeps_what_was_found_before(bucket, monkeypatch, tmp_path):
    whole = stores.list_folder

    def list_some(address):
        if address.endswith("/sub"):
            raise MachineError("the store is gone", 5)
        return whole(address)

    monkeypatch.setattr(stores, "list_folder", list_some)
    judged = scan(iter([f"{bucket}/album"]), resume=tmp_path / "records")
    paths = []
    with pytest.raises(MachineError, match="the store is gone"):
        paths.extend(row.path for row in judged if not row.error)
    with open_records(tmp_path / "records") as records:
        assert records.count() == 26


def test_an_object_named_like_a_pattern_is_that_object(bucket, server, folder):
    fs = fsspec.filesystem("s3", endpoint_url=f"http://127.0.0.1:{server}", skip_instance_cache=True)
    for name in ("a*.jpg", "ab.jpg"):
        fs.call_s3("put_object", Bucket="photos", Key=f"star/{name}", Body=(folder / "photo-02.jpg").read_bytes())
    assert [row.path for row in scan([f"{bucket}/star/a*.jpg"])] == [f"{bucket}/star/a*.jpg"]
    assert len(list(scan([f"{bucket}/star/*.jpg"]))) == 2


def test_verdicts_that_cannot_be_written_stay_on_the_disk(server, monkeypatch, folder):
    request = ScanRequest(photos=[str(folder / "photo-01.jpg")], model="trees", output=f"{BUCKET}/out/new.csv")
    use_store(monkeypatch, server)

    def fail(*_):
        raise PhotoError("the bucket is full")

    monkeypatch.setattr("blurgate.photos.stores.write", fail)
    with pytest.raises(OutputError, match="the bucket is full: what was to be written lies in ") as caught:
        run_scan(request)
    assert len(Path(str(caught.value).rpartition(" lies in ")[2]).read_text().splitlines()) == 2


def test_a_gallery_has_thumbnails_of_photos_in_a_bucket(bucket, tmp_path):
    done = run("scan", f"{bucket}/album/sub", "--report", tmp_path / "page.html")
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert len(re.findall(r'id="thumbnail-\d+" data-layout="[^"]{8,}"', page)) == 14
    assert f'"path":"{bucket}/album/sub/photo-00.jpg"' in page


def test_photos_that_are_not_on_a_disk_are_not_filed(bucket, tmp_path):
    for option in ("--copy-to", "--move-to", "--link-to", "--maps"):
        done = run("scan", f"{bucket}/album", option, tmp_path / "target")
        assert done.exit_code == 1
        assert "only photos on a disk can be copied, moved, linked or given maps" in done.stderr
    assert not (tmp_path / "target").exists()


def test_other_commands_say_that_they_read_disks_alone(bucket, tmp_path):
    done = CliRunner().invoke(app, ["explain", f"{bucket}/album", "--output", str(tmp_path / "page.html")])
    assert done.exit_code == 1
    assert "is in a store or an archive, where only scan looks" in done.stderr


def test_items_keep_their_order_and_a_pause_lets_all_pass_that_came_before(bucket):
    photos = [f"{bucket}/album/photo-01.jpg", "on the disk.jpg", b"bytes", f"{bucket}/album/photo-02.jpg"]
    items = [Item(photo) for photo in photos]
    passed = list(fetch_ahead([*items[:3], PAUSE, items[3]]))
    assert passed[3] is PAUSE
    assert [each.photo for each in passed if each is not PAUSE][1:3] == ["on the disk.jpg", b"bytes"]
    assert [each.path for each in passed if each is not PAUSE][::3] == photos[::3]


def test_a_photo_that_is_too_long_is_not_fetched(bucket, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("fetched")

    monkeypatch.setattr(stores, "_read_range", refuse)
    item = Item(f"{bucket}/album/photo-01.jpg", status=Status(10**9, 1))
    (found,) = fetch_ahead([item])
    assert "1,000 MB" in found.evidence.error


def test_records_are_saved_on_a_disk(sharp_folder):
    with pytest.raises(ValueError, match="resume needs a file on a disk, where its records are saved, got s3://b/r"):
        scan(sharp_folder, resume="s3://key:word@b/r")


def test_few_photos_are_held(bucket):
    asked = []

    def list_many():
        for number in range(1000):
            asked.append(number)
            yield Item(f"{bucket}/album/photo-01.jpg", status=Status(2**20, 1))

    items = fetch_ahead(list_many(), jobs=1)
    next(items)
    assert len(asked) <= 66
    items.close()
