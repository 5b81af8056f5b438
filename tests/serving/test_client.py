"""The client: first against a network that is made up, then against a real service."""

import asyncio
import gzip
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest
from PIL import Image
from serving.conftest import running

import blurgate
from blurgate import AsyncClient, Client, PhotoError, ServiceError, Verdict
from blurgate.serving import answers
from blurgate.serving import client as client_module

httpx = pytest.importorskip("httpx", reason="httpx is not installed")

URL = "http://blurgate.test"
TOKEN = "a-token-that-nobody-may-see"
PHOTO = b"content of a photo"
SHARP = Verdict("", "sharp", 0.125, width=640, height=480, part=(1, 2, 600, 400), judged_at_px=640, sharp_to_px=640)
BLURRED = Verdict("", "blurred", 0.9, "motion", 3.5, "", 64, 64, p_defocus=0.1, p_motion=0.8, p_gaussian=0.1)
FINGERPRINT = "1a" * 32


def answer(verdict=SHARP, **others):
    found = {**asdict(verdict), "sentence": "It is sharp.", "map": None, "problem": None, **others}
    return {"model": {"fingerprint": FINGERPRINT, "threshold": 0.5, "review": None}, "verdicts": [found]}


def problem(status, detail, name="bad", **headers):
    content = {"type": f"urn:blurgate:problem:{name}", "title": "Bad", "status": status, "detail": detail}
    headers = {"content-type": "application/problem+json", **{key.replace("_", "-"): headers[key] for key in headers}}
    return httpx.Response(status, headers=headers, content=json.dumps(content))


class Network:
    """Answers with each of its outcomes in turn, and with the last one for ever; keeps the requests."""

    def __init__(self, *outcomes):
        self.outcomes, self.requests = list(outcomes), []

    def __call__(self, request):
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, type):
            raise outcome("no luck", request=request)
        if callable(outcome):
            outcome = outcome(request)
        return httpx.Response(200, json=outcome) if isinstance(outcome, dict) else outcome


def ask_sync(network, photo, method="predict", **options):
    given = {key: options.pop(key) for key in ("map",) if key in options}
    with Client(URL, transport=httpx.MockTransport(network), **options) as client:
        return getattr(client, method)(photo, **given)


def ask_async(network, photo, method="predict", **options):
    given = {key: options.pop(key) for key in ("map",) if key in options}

    async def run():
        async with AsyncClient(URL, transport=httpx.MockTransport(network), **options) as client:
            return await getattr(client, method)(photo, **given)

    return asyncio.run(run())


def scan_sync(network, photos, *, take=None, **options):
    with Client(URL, transport=httpx.MockTransport(network)) as client:
        found = client.scan(photos, **options)
        return list(found) if take is None else [next(found) for _ in range(take)]


def scan_async(network, photos, *, take=None, **options):
    async def run():
        async with AsyncClient(URL, transport=httpx.MockTransport(network)) as client:
            found = client.scan(photos, **options)
            if take is None:
                return [verdict async for verdict in found]
            verdicts = [await anext(found) for _ in range(take)]
            await found.aclose()
            return verdicts

    return asyncio.run(run())


asks = pytest.mark.parametrize("ask", [ask_sync, ask_async], ids=["sync", "async"])
scans = pytest.mark.parametrize("scan", [scan_sync, scan_async], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(answers, "_FIRST_PAUSE", 0.0)


@pytest.fixture
def pauses(monkeypatch):
    """What the client would have slept, in place of sleeping."""
    slept = []

    async def wait(_, reached, seconds):
        slept.append(seconds)

    monkeypatch.setattr(Client, "_wait", lambda _, reached, seconds: slept.append(seconds))
    monkeypatch.setattr(AsyncClient, "_wait", wait)
    return slept


# what is sent


@asks
def test_a_photo_is_sent_as_it_is_and_without_its_name(ask, tmp_path):
    network = Network(answer())
    path = tmp_path / "secret name.jpg"
    path.write_bytes(PHOTO)
    ask(network, path, token=TOKEN)
    (request,) = network.requests
    assert (request.method, str(request.url), request.content) == ("POST", f"{URL}/v1/verdicts", PHOTO)
    assert request.headers["content-type"] == "application/octet-stream"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["user-agent"] == f"blurgate/{blurgate.__version__}"
    assert "secret" not in str(request.headers)


def test_without_a_token_none_is_sent_and_a_path_of_the_address_stays():
    network = Network(answer())
    with Client(f"{URL}/below/", transport=httpx.MockTransport(network)) as client:
        client.predict(PHOTO)
    assert "authorization" not in network.requests[0].headers
    assert str(network.requests[0].url) == f"{URL}/below/v1/verdicts"


@asks
@pytest.mark.parametrize(
    ("photo", "message"),
    [
        ("none.jpg", "none.jpg does not exist: check the path"),
        (b"", "the picture cannot be read: it is empty"),
        (".", "is a folder, but a picture file was needed"),
        ("a\0b.jpg", "cannot be read: .*null"),
        (np.zeros((0, 8), np.uint8), "the picture cannot be read: it has no pixels"),
    ],
)
def test_what_cannot_be_read_here_is_not_sent(ask, photo, message):
    network = Network(answer())
    with pytest.raises(PhotoError, match=message):
        ask(network, photo)
    assert network.requests == []


@asks
def test_what_is_no_photo_is_a_type_error(ask):
    with pytest.raises(TypeError, match="a photo must be a path, bytes, .* got int"):
        ask(Network(answer()), 3)


# what comes back


@asks
@pytest.mark.parametrize("verdict", [SHARP, BLURRED, Verdict("", "undecided", reason="too small", width=9, height=9)])
def test_a_verdict_has_the_path_as_given_and_all_else_as_judged(ask, verdict, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(PHOTO)
    network = Network(answer(replace(verdict, path="another name")))
    found = ask(network, path)
    assert found == replace(verdict, path=str(path))
    assert [type(getattr(found, each.name)) for each in fields(Verdict)] == [
        type(getattr(replace(verdict, path=str(path)), each.name)) for each in fields(Verdict)
    ]
    assert ask(network, PHOTO) == verdict


@asks
def test_whole_numbers_are_read_as_the_floats_that_they_stand_for(ask):
    found = ask(Network(answer(probability=1)), PHOTO)
    assert (found.probability, type(found.probability)) == (1.0, float)


@asks
def test_an_answer_has_the_sentence_the_model_and_the_map_that_was_asked_for(ask):
    network = Network(answer(map=b64encode(b"a PNG").decode()), answer(map=""), answer())
    found = ask(network, PHOTO, "ask", map="png")
    assert (found.verdict, found.sentence, found.map, found.fingerprint) == (
        SHARP,
        "It is sharp.",
        b"a PNG",
        FINGERPRINT,
    )
    assert "a PNG" not in repr(found)
    assert ask(network, PHOTO, "ask", map="overlay").map == b""
    assert ask(network, PHOTO, "ask").map is None
    assert [request.url.query for request in network.requests] == [b"map=png", b"map=overlay", b""]


@asks
def test_an_unknown_map_is_refused(ask):
    with pytest.raises(ValueError, match="map must be 'png', 'overlay' or None, got 'svg'"):
        ask(Network(answer()), PHOTO, "ask", map="svg")


@asks
def test_fields_of_a_newer_service_are_ignored(ask):
    content = answer(colour="blue")
    content["model"]["colour"] = content["colour"] = "blue"
    assert ask(Network(content), PHOTO) == SHARP


def without(name):
    content = answer()
    del content["verdicts"][0][name]
    return content


@asks
@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (without("judged_at_px"), "its answer lacks 'judged_at_px'"),
        (without("sentence"), "its answer lacks 'sentence'"),
        (answer(probability="high"), "its answer cannot be read: probability must be a number, got 'high'"),
        (answer(width=True), "width must be a number, got True"),
        (answer(width=2.5), "width must be a number, got 2.5"),
        (answer(part=[1, 2, 3]), r"part must be four numbers from 0 on"),
        (answer(part=[1, 2, 3, 4.5]), "part must be four numbers"),
        (answer(kind=None), "kind must be text, got None"),
        (answer(decision="maybe"), "decision must be one of sharp, blurred, undecided, got 'maybe'"),
        (answer(decision="error", error="torn"), "decision must be one of"),
        (answer(map="no base64!"), "cannot be read"),
        (answer(probability=10**400), "cannot be read"),
        ({**answer(), "verdicts": []}, "it must have one verdict"),
        ({**answer(), "verdicts": answer()["verdicts"] * 2}, "it must have one verdict"),
        ({**answer(), "verdicts": None}, "it must have one verdict"),
        ({"verdicts": []}, "lacks 'model'"),
        (lambda _: httpx.Response(200, content=b"<html>It works!</html>"), "its answer cannot be read"),
        (lambda _: httpx.Response(200, content=b'{"verdicts": NaN}'), "NaN is no number"),
        (lambda _: httpx.Response(200, content=b"[" * 100_000), "its answer cannot be read"),
        (lambda _: httpx.Response(200, content=b"[1]"), "its answer cannot be read"),
        (lambda _: httpx.Response(200, content=b"\xff\xfe\0"), "its answer cannot be read"),
        (lambda _: httpx.Response(204), "with status 204 and not as blurgate does: check the address"),
        (lambda _: httpx.Response(404, content=b"<h1>nginx</h1>"), "with status 404 and not as blurgate does"),
        (lambda _: httpx.Response(413, content=b"<h1>nginx</h1>"), "status 413 .* the limits of a proxy before"),
        (lambda _: httpx.Response(422, json=["odd"]), "with status 422 and not as blurgate does"),
        (lambda _: httpx.Response(422, json={"type": 3, "detail": "odd"}), "with status 422"),
        (lambda _: problem(500, "it failed."), r"could not judge the photo \(it failed.\)"),
    ],
)
def test_an_answer_that_is_not_of_a_service_is_one_sentence(ask, outcome, message):
    with pytest.raises(ServiceError, match=message) as caught:
        ask(Network(outcome), PHOTO)
    assert str(caught.value).startswith(f"{URL} ")
    assert len(str(caught.value).splitlines()) == 1


@asks
def test_what_a_service_says_neither_fills_nor_colours_a_terminal(ask):
    with pytest.raises(ServiceError) as caught:
        ask(Network(lambda _: problem(500, "\33[31m" + "a" * 10_000)), PHOTO)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@asks
@pytest.mark.parametrize("status", [413, 415, 422, 504])
def test_a_problem_of_the_photo_is_its_error(ask, status, tmp_path):
    (tmp_path / "a.jpg").write_bytes(PHOTO)
    network = Network(lambda _: problem(status, "the picture cannot be read: it is torn"))
    with pytest.raises(PhotoError, match=r"^the picture cannot be read: it is torn$"):
        ask(network, PHOTO)
    with pytest.raises(PhotoError, match=r"/a\.jpg cannot be read: it is torn$"):
        ask(network, tmp_path / "a.jpg")
    assert len(network.requests) == 2


@asks
def test_a_redirect_is_not_followed_with_the_token(ask):
    network = Network(lambda _: httpx.Response(307, headers={"location": "https://elsewhere.test/"}), answer())
    with pytest.raises(ServiceError, match="sends requests on to https://elsewhere.test/: name the final address"):
        ask(network, PHOTO, token=TOKEN)
    assert len(network.requests) == 1


# the token


@asks
def test_a_refused_token_is_named_but_not_shown(ask):
    network = Network(lambda _: problem(401, "a token is needed.", WWW_Authenticate="Bearer, Basic"))
    with pytest.raises(
        ServiceError, match="accepts no request without its token: pass the right one as token"
    ) as caught:
        ask(network, PHOTO, token=TOKEN)
    assert TOKEN not in str(caught.getrepr())
    assert len(network.requests) == 1


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_does_not_show_its_token(kind):
    client = kind(URL, token=TOKEN)
    assert repr(client) == f"{kind.__name__}('{URL}')"
    assert TOKEN not in f"{client}{vars(client)}{client._http.headers}"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("token", [f"{TOKEN}\n{TOKEN}", f"{TOKEN}é", f"{TOKEN} {TOKEN}", ""])
def test_a_token_that_no_header_can_hold_is_refused_unseen(kind, token):
    with pytest.raises(ValueError, match="token must be printable ASCII without spaces, got something else") as caught:
        kind(URL, token=token)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "127.0.0.1:8000"}, "url must be the address of a service, such as http://127.0.0.1:8000"),
        ({"url": "ftp://a"}, "url must be the address of a service, such as http://127.0.0.1:8000, got 'ftp://a'"),
        ({"url": "http://"}, "url must be the address"),
        ({"url": "http://a/?b=c"}, "url must be the address"),
        ({"url": "http://[::"}, "url must be the address"),
        ({"url": 8000}, "url must be the address"),
        ({"timeout": 0}, "timeout must be above 0, or None, got 0"),
        ({"retries": -1}, "retries must be at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"url": URL, **wrong})


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_password_in_the_address_is_refused_unseen(kind):
    with pytest.raises(ValueError, match="no user or password in it: pass the token of the service as token") as caught:
        kind(f"http://user:{TOKEN}@blurgate.test")
    assert TOKEN not in str(caught.value)


# tries


@asks
def test_a_busy_service_is_asked_again_when_it_says(ask, pauses):
    busy = [problem(503, "it is busy.", retry_after=seconds) for seconds in ("1", "2.5")]
    network = Network(*busy, answer())
    assert ask(network, PHOTO) == SHARP
    assert pauses == [1.0, 2.5]
    assert [request.content for request in network.requests] == [PHOTO] * 3


@asks
def test_each_own_pause_is_longer_than_the_one_before_up_to_a_limit(ask, pauses, monkeypatch):
    monkeypatch.setattr(answers, "_FIRST_PAUSE", 1.0)
    with pytest.raises(ServiceError, match="still busy after 7 tries"):
        ask(Network(lambda _: httpx.Response(503)), PHOTO, retries=6)
    assert all(full / 2 <= pause <= full for pause, full in zip(pauses, [1, 2, 4, 8, 8, 8], strict=True))


@asks
def test_a_busy_service_is_given_up_after_the_retries(ask):
    network = Network(lambda _: problem(503, "64 requests wait.", retry_after="0"))
    with pytest.raises(ServiceError, match=r"is still busy after 3 tries \(64 requests wait.\): ask again later"):
        ask(network, PHOTO, retries=2)
    assert len(network.requests) == 3


@asks
def test_without_retries_a_busy_service_is_asked_once(ask):
    network = Network(lambda _: httpx.Response(503))
    with pytest.raises(ServiceError, match=r"is still busy after 1 try \(status 503\)"):
        ask(network, PHOTO, retries=0)
    assert len(network.requests) == 1


@asks
@pytest.mark.parametrize("asked", ["3600", "inf", format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)])
def test_a_service_that_wants_to_be_left_alone_for_long_is(ask, asked, pauses):
    network = Network(lambda _: httpx.Response(503, headers={"retry-after": asked}))
    with pytest.raises(ServiceError, match="still busy after 1 try"):
        ask(network, PHOTO)
    assert pauses == []


@asks
@pytest.mark.parametrize("asked", ["soon", "-5", "nan", "Wed, 21 Oct 2015 07:28:00 GMT", ""])
def test_a_pause_that_is_over_or_makes_no_sense_is_none(ask, asked, pauses):
    network = Network(httpx.Response(503, headers={"retry-after": asked}), answer())
    assert ask(network, PHOTO) == SHARP
    assert pauses == [0.0]


@asks
def test_a_photo_whose_judge_dies_twice_is_to_blame(ask):
    died = problem(503, "the process that judged the photo has died: send it again", "died", retry_after="0")
    network = Network(died, answer())
    assert ask(network, PHOTO) == SHARP
    network = Network(died)
    with pytest.raises(PhotoError, match="^the process that judged the photo has died"):
        ask(network, PHOTO)
    assert len(network.requests) == 2


def test_no_try_is_lost_while_the_service_answers_about_other_photos_of_the_client():
    service = answers.Peer(URL, retries=1)
    exchange = service.begin("")
    for _ in range(10):
        service.note(httpx.Response(200))
        assert exchange.has_room
        assert exchange.find_pause(httpx.Response(503)) == 0
        exchange.send_again()
    service.note(httpx.Response(503))
    assert not exchange.has_room
    assert exchange.find_pause(httpx.Response(503)) is None


LOST = ["ConnectError", "ConnectTimeout", "ReadError", "WriteError", "RemoteProtocolError"]


@asks
@pytest.mark.parametrize("error", LOST)
def test_a_connection_that_breaks_before_an_answer_is_tried_again(ask, error):
    network = Network(getattr(httpx, error), getattr(httpx, error), answer())
    assert ask(network, PHOTO) == SHARP
    assert len(network.requests) == 3


@asks
@pytest.mark.parametrize("error", LOST)
def test_a_service_that_cannot_be_reached_is_given_up(ask, error):
    with pytest.raises(ServiceError, match=rf"^{URL} cannot be reached \(no luck, tried 2 times\): check") as caught:
        ask(Network(getattr(httpx, error)), PHOTO, retries=1)
    assert isinstance(caught.value.__cause__, httpx.RequestError)


@asks
@pytest.mark.parametrize("error", ["ReadTimeout", "WriteTimeout"])
def test_a_service_that_had_its_time_is_not_asked_again(ask, error):
    network = Network(getattr(httpx, error))
    with pytest.raises(ServiceError, match=r"did not answer in time \(no luck\): raise timeout"):
        ask(network, PHOTO)
    assert len(network.requests) == 1


@asks
def test_the_time_out_is_that_of_the_request(ask):
    network = Network(answer())
    ask(network, PHOTO, timeout=3)
    ask(network, PHOTO, timeout=None)
    assert [request.extensions["timeout"]["read"] for request in network.requests] == [3, None]


# scans


def by_content(request):
    """Judge a made-up photo by what it holds."""
    content = request.content.decode()
    if content == "torn":
        return problem(422, "the picture cannot be read: it is torn")
    return httpx.Response(200, json=answer(replace(SHARP, width=int(content))))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos" / "below").mkdir(parents=True)
    for name, content in (("b.jpg", "2"), ("a.jpg", "1"), ("below/c.jpg", "3"), ("torn.jpg", "torn"), ("d.nef", "4")):
        (tmp_path / "photos" / name).write_text(content)
    return tmp_path / "photos"


@scans
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_folder_is_searched_and_judged_in_order(scan, jobs, folder):
    found = scan(Network(by_content), folder, jobs=jobs)
    assert [(verdict.path, verdict.width) for verdict in found] == [
        (str(folder / name), width)
        for name, width in (("a.jpg", 1), ("b.jpg", 2), ("below/c.jpg", 3), ("torn.jpg", None))
    ]
    torn = found[-1]
    assert torn == Verdict(str(folder / "torn.jpg"), error=f"{folder}/torn.jpg cannot be read: it is torn")


@scans
def test_photos_of_all_sorts_and_what_is_none_get_a_verdict_each(scan, folder):
    found = scan(Network(by_content), [b"7", folder / "a.jpg", 3.5j, b"torn", None, folder / "b.jpg"])
    assert [verdict.decision for verdict in found] == ["sharp", "sharp", "error", "error", "error", "sharp"]
    assert found[2].error == "a photo must be a path, bytes, a binary file, an array or a PIL image, got complex"
    assert found[3].error == "the picture cannot be read: it is torn"
    assert "got NoneType" in found[4].error


@scans
def test_tables_and_patterns_are_read_as_scan_does(scan, folder):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame({"id": [1, 2], "shot": [str(folder / "b.jpg"), str(folder / "a.jpg")]})
    assert [verdict.width for verdict in scan(Network(by_content), table, column="shot")] == [2, 1]
    found = scan(Network(by_content), folder, include=["*.nef", "?.jpg"], exclude=["below"])
    assert [verdict.width for verdict in found] == [1, 2, 4]


@scans
def test_photos_that_are_missing_end_a_scan_before_it_begins(scan, tmp_path, folder):
    with pytest.raises(PhotoError, match="none does not exist: check the path"):
        scan(Network(by_content), [tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoError, match="found no photos in the given folders: check the path"):
        scan(Network(by_content), tmp_path / "empty")
    with pytest.raises(PhotoError, match="no photo passes include and exclude"):
        scan(Network(by_content), folder, include=["*.gif"])
    assert scan(Network(by_content), []) == []
    with pytest.raises(TypeError, match="include must be a list"):
        scan(Network(by_content), folder, include="*.gif")
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        scan(Network(by_content), folder, jobs=0)


@scans
def test_a_scan_takes_photos_only_as_it_needs_them(scan):
    taken = []

    def photos():
        for number in range(100):
            taken.append(number)
            yield str(number).encode()

    assert [verdict.width for verdict in scan(Network(by_content), photos(), take=3, jobs=2)] == [0, 1, 2]
    assert len(taken) < 15


@scans
def test_a_scan_ends_with_the_service(scan):
    network = Network(by_content, lambda _: problem(401, "a token is needed."))
    with pytest.raises(ServiceError, match="accepts no request without its token"):
        scan(network, [b"1"] * 50, jobs=2)
    assert len(network.requests) < 15


@asks
def test_an_answer_without_end_is_given_up(ask, monkeypatch):
    monkeypatch.setattr(answers, "_LARGEST", 1000)
    with pytest.raises(ServiceError, match=r"its answer cannot be read \(it has more than 0\.001 MB\)"):
        ask(Network(lambda _: httpx.Response(200, content=b" " * 1001)), PHOTO)
    packed = httpx.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(b"{}"))
    with pytest.raises(ServiceError, match=r"its answer cannot be read \(it is compressed\)"):
        ask(Network(lambda _: packed), PHOTO)


def test_an_answer_that_drips_is_given_up(monkeypatch):
    body = answers.Body(httpx.Response(200), 10.0)
    body.add(b"x")
    monkeypatch.setattr(answers.time, "monotonic", lambda: float("inf"))
    with pytest.raises(httpx.ReadTimeout, match="too slowly"):
        body.add(b"x")


@asks
@pytest.mark.parametrize("location", ["javascript:alert(1)", "http://xn--/", "mailto:x@y", "file:///etc/passwd"])
def test_a_service_that_sends_on_to_nowhere_is_one_sentence(ask, location):
    with pytest.raises(ServiceError, match="sends requests on to"):
        ask(Network(lambda _: httpx.Response(307, headers={"location": location})), PHOTO)


@pytest.mark.parametrize(("url", "asked"), [("http://127.0.0.1:8000", False), ("https://photos.example", True)])
def test_no_proxy_sees_what_goes_to_this_machine(url, asked):
    assert client_module._write_options(url, None, 1.0)["trust_env"] is asked


def test_photos_that_wait_do_not_hold_up_the_end_of_a_scan():
    refused, started = threading.Event(), time.monotonic()

    def serve(request):
        if request.content == b"1":
            refused.set()
            return httpx.Response(503, headers={"retry-after": "50"})
        refused.wait(30)
        return problem(401, "a token is needed.")

    with pytest.raises(ServiceError, match="accepts no request without its token"):
        scan_sync(Network(serve), [b"1", b"2"], jobs=2)
    assert time.monotonic() - started < 40


def test_several_requests_are_under_way_at_once():
    together = threading.Barrier(3, timeout=30)  # passes once three requests wait at it

    def wait(request):
        together.wait()
        return by_content(request)

    assert len(scan_sync(Network(wait), [b"1"] * 6, jobs=3)) == 6


def test_several_requests_are_under_way_at_once_in_asyncio():
    under_way = [0, 0]

    async def wait(request):
        under_way[0] += 1
        under_way[1] = max(under_way)
        for _ in range(200):
            if under_way[1] == 3:
                break
            await asyncio.sleep(0.01)
        under_way[0] -= 1
        return by_content(request)

    async def run():
        async with AsyncClient(URL, transport=httpx.MockTransport(wait)) as client:
            return [verdict async for verdict in client.scan([b"1"] * 12, jobs=3)]

    assert len(asyncio.run(run())) == 12
    assert under_way == [0, 3]


def test_leaving_an_asynchronous_scan_leaves_no_task_behind():
    async def hang(request):
        if request.content != b"1":
            await asyncio.Event().wait()
        return by_content(request)

    async def run():
        async with AsyncClient(URL, transport=httpx.MockTransport(hang)) as client:
            found = client.scan([b"1", b"2", b"3", b"4"], jobs=2)
            assert (await anext(found)).width == 1
            await found.aclose()
            return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1


# a real service


@pytest.fixture(scope="module")
def local():
    return blurgate.load_model()


@pytest.fixture(scope="module")
def uploads(sharp_jpeg, blurred_jpeg, photographs, tmp_path_factory):
    """A folder with photos of every decision, and of every size that is judged in another way."""
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "sharp.jpg").write_bytes(sharp_jpeg)
    (folder / "blurred.jpg").write_bytes(blurred_jpeg)
    (folder / "torn.jpg").write_bytes(sharp_jpeg[:-4000])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"no picture")
    large = Image.fromarray(photographs["hubble_deep_field"]).resize((2200, 1918))
    large.save(folder / "large.png")
    Image.fromarray(np.pad(photographs["coffee"], ((60, 60), (0, 0), (0, 0)))).save(folder / "framed.png")
    Image.fromarray(photographs["china"][:40, :40]).save(folder / "small.png")
    Image.new("RGB", (300, 200), "navy").save(folder / "flat.png")
    turned = Image.fromarray(photographs["chelsea"])
    turned.getexif()[274] = 6
    turned.save(folder / "turned.jpg", exif=turned.getexif())
    return folder


def equal(found, local):
    """Engines may round a probability, and what follows from it, in another way."""
    near = {
        each.name: pytest.approx(getattr(local, each.name), abs=2e-6)
        for each in fields(Verdict)
        if isinstance(getattr(local, each.name), float)
    }
    assert asdict(found) == {**asdict(local), **near}
    assert all(isinstance(getattr(local, each.name), type(getattr(found, each.name))) for each in fields(Verdict))
    return True


def predict_async(url, photo):
    async def run():
        async with AsyncClient(url) as client:
            return await client.predict(photo)

    return asyncio.run(run())


def predict_sync(url, photo):
    with Client(url) as client:
        return client.predict(photo)


predicts = pytest.mark.parametrize("predict", [predict_sync, predict_async], ids=["sync", "async"])


@predicts
def test_verdicts_of_a_service_are_those_of_the_local_model(predict, service, uploads, local, photographs):
    seen = set()
    photos = [uploads / name for name in ("sharp.jpg", "blurred.jpg", "large.png", "framed.png", "turned.jpg")]
    photos += [uploads / "small.png", str(uploads / "flat.png"), (uploads / "blurred.jpg").read_bytes()]
    photos += [photographs["motorcycle_left"], Image.fromarray(photographs["china"]), photographs["coins"][..., 0]]
    for photo in photos:
        expected = local.predict(photo)
        assert equal(predict(service.url, photo), expected)
        seen |= {expected.decision, expected.reason[:9], "part" if expected.part else "whole"}
    assert seen == {"sharp", "blurred", "undecided", "", "too small", "too littl", "part", "whole"}


@predicts
@pytest.mark.parametrize("name", ["torn.jpg", "empty.jpg", "text.jpg", "none.jpg"])
def test_errors_of_a_service_are_those_of_the_local_model(predict, name, service, uploads, local):
    with pytest.raises(PhotoError) as expected:
        local.predict(uploads / name)
    with pytest.raises(PhotoError) as found:
        predict(service.url, uploads / name)
    assert str(found.value) == str(expected.value)


def test_a_scan_by_a_service_is_a_scan_by_the_local_model(service, uploads, photographs):
    async def run():
        async with AsyncClient(service.url) as client:
            return [verdict async for verdict in client.scan(photos, jobs=6)]

    photos = [uploads, photographs["coffee"], b"no picture"]
    expected = list(blurgate.scan(photos))
    assert len(expected) == 12
    assert {"sharp", "blurred", "undecided", "error"} == {verdict.decision for verdict in expected}
    with Client(service.url) as client:
        found = list(client.scan(photos, jobs=6))
    for each in (found, asyncio.run(run())):
        assert all(equal(one, other) for one, other in zip(each, expected, strict=True))


def test_a_map_of_a_service_is_that_of_the_local_model(service, uploads):
    path = uploads / "blurred.jpg"
    expected = blurgate.explain(path)
    with Client(service.url) as client:
        found, small = client.ask(path, map="png"), client.ask(path, map="overlay")
        assert client.ask(uploads / "flat.png", map="png").map == b""
    difference = np.abs(np.asarray(Image.open(io.BytesIO(found.map))).astype(int) - expected.to_gray())
    assert difference.max() <= 1
    assert found.sentence == expected.sentence
    assert found.fingerprint == blurgate.load_model().fingerprint
    assert max(Image.open(io.BytesIO(small.map)).size) <= 64


def test_a_token_is_needed_and_enough():
    with running("--workers", "1", "--max-body", "0.1", env={"BLURGATE_TOKEN": TOKEN}) as server:
        noise = np.random.default_rng(3).integers(0, 256, (700, 900), np.uint8)
        with Client(server.url, token=TOKEN) as client:
            assert client.predict(noise[:64, :64]).width == 64
            with pytest.raises(PhotoError, match="the body may have at most 0.1 MB"):
                client.predict(noise)
            found = list(client.scan([noise, noise[:64, :64]]))
            assert found[0].decision == "error"
        for token in (None, f"{TOKEN}r"):
            with Client(server.url, token=token) as client:
                with pytest.raises(ServiceError, match="accepts no request without its token"):
                    client.predict(noise[:64, :64])


def test_more_requests_at_once_than_a_service_takes_lose_no_photo(sharp_jpeg):
    async def run(url):
        async with AsyncClient(url) as client:
            return [verdict.decision async for verdict in client.scan([sharp_jpeg] * 12, jobs=6)]

    with running("--workers", "1", "--queue", "0") as server:
        with Client(server.url) as client:
            found = [verdict.decision for verdict in client.scan([sharp_jpeg] * 12, jobs=6)]
        assert found == asyncio.run(run(server.url)) == ["sharp"] * 12
        refused = re.search(r'^blurgate_rejected_total{problem="busy"} (\d+)', server.ask("/metrics")[2].decode(), re.M)
        assert int(refused[1]) > 0


def refuse_once(refused):
    """Refuse the photo 2 for most of a minute, once."""

    def serve(request):
        if request.content == b"2" and not refused.is_set():
            refused.set()
            return httpx.Response(503, headers={"retry-after": "50"})
        return by_content(request)

    return serve


def test_a_pause_ends_as_soon_as_the_service_has_answered_another_photo():
    refused = threading.Event()
    serve, started = refuse_once(refused), time.monotonic()

    def wait_and_serve(request):
        if request.content != b"2":
            refused.wait(30)
        return serve(request)

    assert [verdict.width for verdict in scan_sync(Network(wait_and_serve), [b"2", b"1", b"3", b"4"], jobs=2)] == [
        2,
        1,
        3,
        4,
    ]
    assert time.monotonic() - started < 40


def test_a_pause_ends_as_soon_as_the_service_has_answered_another_photo_in_asyncio():
    refused = threading.Event()
    serve, started = refuse_once(refused), time.monotonic()

    async def wait_and_serve(request):
        while request.content != b"2" and not refused.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        return serve(request)

    async def run():
        async with AsyncClient(URL, transport=httpx.MockTransport(wait_and_serve)) as client:
            return [verdict.width async for verdict in client.scan([b"2", b"1", b"3", b"4"], jobs=2)]

    assert asyncio.run(run()) == [2, 1, 3, 4]
    assert time.monotonic() - started < 40


def test_a_service_that_is_not_there_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    with Client(url, retries=1) as client:
        with pytest.raises(ServiceError, match=rf"{url} cannot be reached \(.*refused.*, tried 2 times\)"):
            client.predict(PHOTO)


# what it needs


def test_importing_the_client_imports_neither_the_network_nor_a_model():
    heavy = "httpx fastapi uvicorn onnxruntime xgboost scipy"
    code = f"import sys; from blurgate import Client; print(*sorted(set(sys.modules) & set('{heavy}'.split())))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
def test_without_httpx_the_extra_is_named(name):
    code = (
        "import sys; sys.modules['httpx'] = None; import blurgate\n"
        f"try:\n    blurgate.{name}('http://a')\n"
        "except blurgate.MissingExtraError as error:\n    print(error.extra, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("client Asking a service needs the extra 'client'")
