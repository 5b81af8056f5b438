"""The service over real sockets: verdicts, problems, limits, and who may ask."""

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving.conftest import encode_jpeg, running

from blurgate import Verdict, load_model
from blurgate.serving.problems import PROBLEMS
from blurgate.serving.schema import Verdicts

JPEG = {"content_type": "image/jpeg"}
on_linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")


def test_verdicts_are_those_of_the_model_in_the_order_of_the_parts(service, sharp_jpeg, blurred_jpeg):
    photos = [("a.jpg", sharp_jpeg), ("b.jpg", blurred_jpeg), ("c.jpg", b"no picture"), ("d.jpg", sharp_jpeg)]
    status, headers, answer = service.judge(*photos)
    assert status == 200
    assert [each["path"] for each in answer["verdicts"]] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert [each["decision"] for each in answer["verdicts"]] == ["sharp", "blurred", "error", "sharp"]
    model = load_model()
    assert answer["model"] == {"fingerprint": model.fingerprint, "threshold": model.card.threshold, "review": None}
    assert headers["blurgate-model"] == model.fingerprint
    for (name, content), found in zip(photos[:2], answer["verdicts"], strict=False):
        wanted = json.loads(json.dumps({**asdict(model.predict(content)), "path": name}))
        # the engine may differ by rounding
        assert found.pop("probability") == pytest.approx(wanted.pop("probability"), abs=1e-4)
        assert {key: found[key] for key in wanted if not isinstance(wanted[key], float)} == {
            key: value for key, value in wanted.items() if not isinstance(value, float)
        }
        assert found["sentence"].endswith(".")
        assert found["map"] is found["problem"] is None
    failed = answer["verdicts"][2]
    assert failed["problem"]["status"] == 415
    assert "not a picture" in failed["problem"]["detail"] == failed["error"]


def test_a_raw_body_is_one_photo(service, blurred_jpeg):
    for content_type in ("image/jpeg", "application/octet-stream", "image/x-anything; charset=x"):
        status, _, answer = service.ask(body=blurred_jpeg, content_type=content_type)
        assert status == 200
        assert [each["decision"] for each in answer["verdicts"]] == ["blurred"]
        assert answer["verdicts"][0]["path"] == ""


def test_maps_come_if_asked_for(service, blurred_jpeg):
    maps = {}
    for kind in ("png", "overlay"):
        _, _, answer = service.judge(("b.jpg", blurred_jpeg), query=f"?map={kind}")
        maps[kind] = Image.open(io.BytesIO(base64.b64decode(answer["verdicts"][0]["map"])))
        assert answer["verdicts"][0]["decision"] == "blurred"
    assert maps["png"].mode == "L"
    assert maps["png"].size == (512, 512)
    assert np.mean(np.asarray(maps["png"]) >= 128) > 0.9
    assert maps["overlay"].size == (64, 64)
    _, _, answer = service.judge(("small.png", encode_png(np.zeros((9, 9), np.uint8))), query="?map=png")
    assert answer["verdicts"][0]["map"] == ""
    assert answer["verdicts"][0]["decision"] == "undecided"


def encode_png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def require_problem(found, name, *words):
    status, headers, problem = found
    assert headers["content-type"] == "application/problem+json"
    assert (status, problem["type"]) == (PROBLEMS[name].status, f"urn:blurgate:problem:{name}")
    assert set(problem) == {"type", "title", "status", "detail"}
    assert all(word in problem["detail"] for word in words), problem
    assert ("retry-after" in headers) == (status == 503)


@pytest.fixture(scope="module")
def strict_service():
    """A server with low limits, a token and one worker."""
    limits = ["--max-body", "0.5", "--max-photos", "3", "--max-megapixels", "1", "--workers", "1", "--queue", "0"]
    with running(*limits, "--photo-time", "1", "--allow-origin", "https://shop.example", env=TOKEN) as server:
        yield server


TOKEN = {"BLURGATE_TOKEN": "0123456789abcdef"}
BEARER = {"authorization": "Bearer 0123456789abcdef"}


def test_each_limit_has_its_status(strict_service, sharp_jpeg):
    ask = strict_service.ask
    require_problem(ask(body=b"x" * 600_000, **JPEG, **BEARER), "large-body", "0.5 MB")
    require_problem(ask(body=iter([b"x" * 600_000]), **JPEG, **BEARER), "large-body")  # chunked: no length
    require_problem(strict_service.judge(*[("a.jpg", sharp_jpeg)] * 4, **BEARER), "many-photos", "3 photos")
    require_problem(ask(body=b"x", content_type="text/plain", **BEARER), "media-type", "multipart/form-data")
    require_problem(ask(body=b"x", **BEARER), "media-type")
    require_problem(ask(body=b"no picture", **JPEG, **BEARER), "no-picture", "not a picture")
    require_problem(ask(body=sharp_jpeg[:3000], **JPEG, **BEARER), "unreadable")
    large = encode_png(np.zeros((1001, 1000), np.uint8))
    require_problem(ask(body=large, **JPEG, **BEARER), "unreadable", "1000 x 1001 px", "1 megapixels")


def test_a_bad_request_is_one_sentence(service, sharp_jpeg):
    form = "multipart/form-data; boundary=b"
    bad = "bad-request"
    require_problem(service.ask(body=b"", **JPEG), bad, "empty")
    require_problem(service.ask(body=b"--b--\r\n", content_type=form), bad, "none")
    require_problem(service.ask(body=b"nonsense", content_type=form), bad, "well-formed")
    require_problem(service.ask(body=b"--b\r\n\r\nhalf", content_type=form), bad, "within a part")
    require_problem(service.ask(body=b"x", content_type="multipart/form-data"), bad, "boundary")
    require_problem(service.ask("/v1/verdicts?map=gif", sharp_jpeg, **JPEG), bad, "map")
    long = f"multipart/form-data; boundary={'b' * 300}"
    require_problem(service.ask(body=b"x", content_type=long), bad, "70 characters")
    require_problem(service.ask("/v2"), "not-found")
    require_problem(service.ask("/page/../../../../etc/passwd"), "not-found")
    require_problem(service.ask("/v1/verdicts"), "method")


def test_only_who_has_the_token_may_ask(strict_service, sharp_jpeg):
    wrong = [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "0123456789abcdef"},
        {"authorization": "Basic %%"},
    ]
    for path in ("/", "/form", "/v1/model", "/metrics", "/openapi.json", "/page/index.html", "/nothing"):
        for headers in wrong:
            require_problem(strict_service.ask(path, **headers), "token", "Authorization")
    status, headers, _ = strict_service.ask(body=sharp_jpeg, **JPEG)
    assert status == 401
    assert headers["www-authenticate"].startswith("Basic realm=")
    basic = base64.b64encode(b"anybody:0123456789abcdef").decode()
    for given in (BEARER, {"authorization": f"Basic {basic}"}):
        assert strict_service.ask("/v1/model", **given)[0] == 200
    assert strict_service.ask("/healthz")[0] == strict_service.ask("/readyz")[0] == 200


def test_pages_of_allowed_origins_may_ask(strict_service, service):
    asked = {"origin": "https://shop.example", "access_control_request_method": "POST"}
    status, headers, _ = strict_service.ask("/v1/verdicts", method="OPTIONS", **asked)
    assert (status, headers["access-control-allow-origin"]) == (200, "https://shop.example")
    asked["origin"] = "https://other.example"
    assert "access-control-allow-origin" not in strict_service.ask("/v1/verdicts", method="OPTIONS", **asked)[1]
    assert "access-control-allow-origin" not in service.ask("/healthz", origin="https://shop.example")[1]


def test_the_model_and_metrics_are_described(service, sharp_jpeg):
    assert service.ask("/v1/model")[2]["fingerprint"] == load_model().fingerprint
    service.judge(("secret-name.jpg", sharp_jpeg))
    metrics = service.ask("/metrics")[2].decode()
    assert 'blurgate_decisions_total{decision="sharp"}' in metrics
    assert "blurgate_reading_seconds_count" in metrics
    assert "secret-name" not in metrics
    schema = service.ask("/openapi.json")[2]
    fields = schema["components"]["schemas"]["VerdictAnswer"]["properties"]
    assert set(fields) == {*asdict(Verdict()), "sentence", "map", "problem"}
    schemas = schema["components"]["schemas"].values()
    assert all("description" in field for each in schemas for field in each["properties"].values())
    (example,) = schema["components"]["schemas"]["Verdicts"]["examples"]
    assert Verdicts.model_validate(example, strict=True).verdicts[0].decision == "blurred"
    assert {int(status) for status in schema["paths"]["/v1/verdicts"]["post"]["responses"]} == {
        *(200, 400, 408, 413, 415, 422, 431, 500, 503, 504)
    }


def test_pages_load_nothing_from_elsewhere(service):
    for path in ("/", "/form", "/page/index.html"):
        status, headers, _ = service.ask(path)
        assert status == 200
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"


class Stopped:
    """A server whose only worker is stopped while a photo is with it."""

    def __init__(self, server, photo, **headers):
        (self.worker,) = server.workers
        os.kill(self.worker, signal.SIGSTOP)
        self._found = []
        self._asking = threading.Thread(target=lambda: self._found.append(server.ask(body=photo, **JPEG, **headers)))
        self._asking.start()
        until(lambda: b"blurgate_queue 1.0" in server.ask("/metrics", **headers)[2])

    def answer(self):
        self._asking.join()
        return self._found[0]


def until(reached, patience=60.0):
    given_up = time.monotonic() + patience
    while not reached():
        assert time.monotonic() < given_up
        time.sleep(0.005)


@pytest.fixture
def large_jpeg(photographs):
    """More than a megabyte: the memory of larger photos is given back, also where the worker is gone."""
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), np.uint8)
    return encode_jpeg(noise)


@on_linux
def test_a_worker_that_dies_costs_its_own_request_and_is_replaced(sharp_jpeg, large_jpeg):
    assert len(large_jpeg) > 2**20
    with running("--workers", "1") as server:
        for photo in (sharp_jpeg, large_jpeg):
            stopped = Stopped(server, photo)
            os.kill(stopped.worker, signal.SIGKILL)
            require_problem(stopped.answer(), "died")
            until(lambda: server.ask("/readyz")[0] == 200)
            assert server.ask(body=sharp_jpeg, **JPEG)[0] == 200
            assert stopped.worker not in server.workers


@on_linux
def test_a_photo_that_takes_too_long_gets_504_and_the_queue_503(strict_service, sharp_jpeg):
    stopped = Stopped(strict_service, sharp_jpeg, **BEARER)
    require_problem(strict_service.ask(body=sharp_jpeg, **JPEG, **BEARER), "busy")
    require_problem(stopped.answer(), "slow-photo", "within 1 s")
    until(lambda: strict_service.ask("/readyz")[0] == 200)
    assert strict_service.ask(body=sharp_jpeg, **JPEG, **BEARER)[0] == 200


@on_linux
@pytest.mark.parametrize("whole_group", [False, True])
def test_sigterm_finishes_what_is_in_flight(sharp_jpeg, whole_group):
    with running("--workers", "1", new_session=True) as server:
        stopped = Stopped(server, sharp_jpeg)
        numbers = [server.process.pid, *(server.workers if whole_group else ())]  # as systemd ends a service
        for number in numbers:
            os.kill(number, signal.SIGTERM)
        os.kill(stopped.worker, signal.SIGCONT)
        assert stopped.answer()[0] == 200
        assert server.process.wait(timeout=30) == 143
        assert server.process.stderr.read() == ""


@on_linux
def test_sigterm_does_not_wait_for_a_body_that_is_arriving():
    with running("--workers", "1") as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = b"POST /v1/verdicts HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9000\r\n\r\n"
        connection.sendall(head + b"x")
        assert server.ask("/healthz")[0] == 200  # by now the other request has begun, or nearly
        connection.sendall(b"x")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) == 143
        assert server.process.stderr.read() == ""
        assert connection.recv(2**16).startswith(b"HTTP/1.1 503 ")


@on_linux
def test_ctrl_c_while_workers_start_is_an_interrupt():
    command = [sys.executable, "-m", "blurgate", "serve", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(children.read_text)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == "blurgate: interrupted\n"
    process.stderr.close()


def test_workers_import_nothing_from_the_current_folder(tmp_path, sharp_jpeg):
    (tmp_path / "json.py").write_text("raise SystemExit('a stranger has put this here')")
    with running("--workers", "1", cwd=tmp_path, command=("-P", "-m", "blurgate")) as server:
        assert server.ask(body=sharp_jpeg, **JPEG)[0] == 200


def talk(server, *pieces, patience=10.0):
    """Send pieces on one connection: -> all that comes until the other side closes it, or is silent for a while."""
    found = b""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(patience)
        try:
            for piece in pieces:
                connection.sendall(piece)
            while part := connection.recv(2**16):
                found += part
        except OSError:
            pass
    return found


def test_line_breaks_between_requests_mean_nothing(service):
    ask = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    found = talk(service, ask + b"\r\n", b"\r\n\r\n", ask + b"Connection: close\r\n\r\n")
    assert found.count(b"HTTP/1.1 200 OK") == 2
    assert b"408" not in found


def test_a_head_may_come_line_by_line(service):
    lines = [b"GET /healthz HTTP/1.1\r\n", b"Host: x\r\n", b"Connection: close\r\n", b"\r\n"]
    pieces = [piece for line in lines for piece in (line[:1], line[1:])]
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.01)  # else the system joins them
        assert connection.recv(2**16).startswith(b"HTTP/1.1 200 OK")


@on_linux
def test_the_head_of_a_pipelined_request_has_a_limit(sharp_jpeg):
    with running("--workers", "1") as server:
        stopped = Stopped(server, sharp_jpeg)
        head = b"POST /v1/verdicts HTTP/1.1\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\n"
        assert talk(server, head, *([b"x: " + b"y" * 2**16 + b"\r\n"] * 200)) == b""  # the connection is reset
        os.kill(stopped.worker, signal.SIGCONT)
        assert stopped.answer()[0] == 200
