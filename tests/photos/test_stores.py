"""Addresses: what is one, what may be said of it, and which problems pass."""

import errno
import http.client
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest

from blurgate.errors import MachineError, MissingExtraError, PhotoError, find_machine_error
from blurgate.photos import addresses, stores
from blurgate.photos.addresses import hide, is_address, join, reveal, split_row, stamp
from blurgate.photos.s3_objects import _ask, _read_body
from blurgate.photos.stores import Requests


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/cat.jpg", True),
        ("zip://a.jpg::photos.zip", True),
        ("https://host/a.jpg?id=1", True),
        ("gs://b/\0.jpg", True),
        ("photos/t.parquet#12", True),
        ("photos/t.parquet", False),
        ("C:/photos/a.jpg", False),
        ("c://photos/a.jpg", False),
        ("photos/a://b.jpg", False),
        ("://a", False),
        ("", False),
    ],
)
def test_what_is_an_address(path, expected):
    assert is_address(path) is expected


def test_a_file_on_the_disk_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "bucket").touch()
    assert not is_address("s3://bucket")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://me:pw@host/a.jpg", "https://host/a.jpg"),
        ("https://token@host/a.jpg", "https://host/a.jpg"),
        ("https://host/a.jpg?X-Amz-Credential=a&X-Amz-Signature=b", "https://host/a.jpg"),
        ("https://host/a?ID=7&sig=b&sv=1", "https://host/a?ID=7"),
        ("https://host/a.zip?token=1", "https://host/a.zip"),
        ("https://host/t.parquet?token=1#3", "https://host/t.parquet#3"),
        ("ftp://me:p%40w@host/a.jpg", "ftp://host/a.jpg"),
        ("zip://me@home.jpg::https://u:p@host/a.zip?sig=1", "zip://me@home.jpg::https://host/a.zip"),
        ("zip://me:x@home?.jpg::photos.zip", "zip://me:x@home?.jpg::photos.zip"),
        ("abfs://container@account.dfs.core.windows.net/a.jpg", "abfs://container@account.dfs.core.windows.net/a.jpg"),
        ("s3://bucket/a@b?c=d.jpg", "s3://bucket/a@b?c=d.jpg"),
        ("s3://bucket/cat.jpg", "s3://bucket/cat.jpg"),
        ("az://container/cat.jpg?sv=1&sig=abc%3D", "az://container/cat.jpg"),
        ("webdav://host/cat.jpg?access_token=abc", "webdav://host/cat.jpg"),
    ],
)
def test_nothing_secret_is_said_and_the_address_is_found_again(address, said):
    assert hide(address) == said
    assert hide(said) == said
    if not address.startswith("zip"):
        assert reveal(said) == address


def test_an_answer_that_trickles_ends_in_time():
    server, client = socket.socketpair()
    with server, client:
        client.settimeout(5)
        server.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 9\r\n\r\nab")
        answer = http.client.HTTPResponse(client)
        answer.begin()
        with pytest.raises(http.client.IncompleteRead):
            _read_body(answer, 9, deadline=0)
        answer.close()


def test_the_head_of_an_answer_that_trickles_ends_in_time():
    server, client = socket.socketpair()
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.02):
            server.sendall(b"H")

    connection = http.client.HTTPConnection("host")
    connection.sock = client
    thread = threading.Thread(target=trickle)
    thread.start()
    with server, client:
        with pytest.raises(TimeoutError):
            _ask(connection, urlsplit("http://host/a?b"), {}, time.monotonic() + 0.2)
        stop.set()
        thread.join()


def test_few_secrets_are_remembered(monkeypatch):
    monkeypatch.setattr(addresses, "_HIDDEN", type(addresses._HIDDEN)())
    monkeypatch.setattr(addresses, "_SECRETS", 3)
    for number in range(10):
        hide(f"https://host/{number}?token=1")
    assert len(addresses._HIDDEN) == 3


def test_rows_and_joined_addresses():
    assert split_row("s3://b/t.parquet#12") == ("s3://b/t.parquet", 12)
    assert split_row("s3://b/t.parquet#x") is None
    assert join("s3://b/c/", "d") == "s3://b/c/d"


def test_another_version_has_another_status():
    assert stamp(1, "a") == stamp(1, "a")
    assert stamp(1, "a") != stamp(1, "b") != stamp(2, "b")


class ClientError(Exception):
    """As that of botocore."""

    def __init__(self, status):
        super().__init__("https://host/?X-Amz-Signature=secret")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


def make_error(name, module="botocore.exceptions", **attributes):
    made = type(name, (Exception,), {"__module__": module})("https://me:secret@host")
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (OSError(errno.EBUSY, "secret"), True),
        (OSError(errno.EIO, "secret"), True),
        (ClientError(503), True),
        (ClientError(429), True),
        (make_error("EndpointConnectionError"), True),
        (make_error("ReadTimeoutError"), True),
        (make_error("IncompleteReadError"), True),
        (make_error("ClientPayloadError", "aiohttp.client_exceptions"), True),
        (make_error("HttpError", "gcsfs.retry", code=502), True),
        (make_error("HttpResponseError", "azure.core.exceptions", status_code=500), True),
        (FileNotFoundError("secret"), False),
        (PermissionError("secret"), False),
        (OSError(errno.EINVAL, "secret"), False),
        (ClientError(404), False),
        (ClientError(400), False),
        (make_error("ClientResponseError", "aiohttp.client_exceptions", status=403), False),
        (make_error("NoCredentialsError"), False),
        (make_error("ProfileNotFound"), False),
        (make_error("ParamValidationError"), False),
        (make_error("RefreshError", "google.auth.exceptions"), False),
        (ValueError("secret"), False),
    ],
)
def test_what_is_temporary_is_tried_again_and_no_message_is_passed_on(monkeypatch, error, temporary):
    monkeypatch.setattr(stores, "_FIRST_WAIT", 0.001)
    asked = []

    def fail():
        asked.append(1)
        raise error

    with pytest.raises(PhotoError) as caught:
        stores._repeat("s3://bucket/a.jpg", fail)
    assert len(asked) == (stores.TRIES if temporary else 1)
    assert str(caught.value).startswith("s3://bucket/a.jpg ")
    assert "secret" not in str(caught.value)
    assert isinstance(find_machine_error(caught.value), MachineError) is temporary


def test_what_passes_after_a_while_is_no_problem(monkeypatch):
    monkeypatch.setattr(stores, "_FIRST_WAIT", 0.001)
    answers = [TimeoutError(), ConnectionError(), "content"]

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert stores._repeat("s3://bucket/a.jpg", ask) == "content"


def test_nothing_is_tried_again_after_a_while(monkeypatch):
    monkeypatch.setattr(stores, "_PATIENCE", 0.0)
    with pytest.raises(PhotoError, match="after 1 try"):
        stores._repeat("s3://bucket/a.jpg", lambda: (_ for _ in ()).throw(TimeoutError()))


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match="Reading s3:// needs the extra 'remote'"):
        stores.find_entry("s3://bucket/a.jpg")


def test_requests_are_made_on_few_threads_and_none_after_the_end():
    requests, go = Requests(2), threading.Event()
    running = [requests.submit(go.wait) for _ in range(2)]
    waiting = [requests.submit(threading.get_ident) for _ in range(20)]
    go.set()
    assert len({each.result() for each in waiting}) <= 2
    assert all(each.result() for each in running)
    failing = requests.submit(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failing.result()
    go.clear()
    begun = threading.Barrier(3)
    held = [requests.submit(lambda: begun.wait() >= 0 and go.wait()) for _ in range(2)]
    begun.wait(timeout=60)
    late = requests.submit(int)
    requests.close()
    assert late.cancelled()
    go.set()
    assert all(each.result() for each in held)
