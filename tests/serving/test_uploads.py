"""Bodies of requests, in pieces of any size."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving.conftest import encode_form

pytest.importorskip("python_multipart", reason="the extra serve is not installed")

from blurgate.serving import uploads as uploading
from blurgate.serving.problems import ProblemError
from blurgate.serving.settings import Limits
from blurgate.serving.uploads import Memory, read_uploads


def read(body, content_type, limits=Limits(), piece=None, memory=None):  # noqa: B008 it is frozen
    async def chunks():
        size = piece or max(1, len(body))
        for start in range(0, len(body), size):
            yield body[start : start + size]
            await asyncio.sleep(0)

    async def run():
        with (memory or Memory(limits)).hold() as held:
            return await read_uploads(chunks(), content_type, None, limits, held)

    return asyncio.run(run())


@given(
    st.lists(
        st.tuples(st.text(max_size=20).filter(lambda name: "\0" not in name), st.binary(max_size=300)), min_size=1
    ),
    st.integers(1, 400),
)
def test_photos_arrive_whole_whatever_the_pieces(photos, piece):
    photos = [(name.encode("utf-8", "ignore").decode().replace("\\", "").strip(), content) for name, content in photos]
    found = read(*encode_form(photos), Limits(max_photos=1000), piece)
    assert [bytes(each.content) for each in found] == [content for _, content in photos]
    assert len(found) == len(photos)


def test_names_are_kept_as_they_are():
    names = ["../../etc/passwd", "<script>alert(1)</script>.jpg", "C:x.jpg", "n" * 5000, "é 日本.jpg", ""]
    found = read(*encode_form([(name, b"x") for name in names]))
    assert [each.name for each in found] == [name[:1000] for name in names]
    body = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="\xff\xfe.jpg"\r\n\r\nx\r\n--b--\r\n'
    assert [each.name for each in read(body, "multipart/form-data; boundary=b")] == ["\ufffd\ufffd.jpg"]


def test_other_parts_are_ignored_but_not_without_end():
    other = encode_form([("a", b"x")] * 5, field="comment", boundary="b")[0].removesuffix(b"--b--\r\n")
    photo, content_type = encode_form([("p", b"photo")], boundary="b")
    assert [bytes(each.content) for each in read(other + photo, content_type)] == [b"photo"]
    with pytest.raises(ProblemError, match="parts that hold no photo"):
        read(other * 201 + photo, content_type)


def test_memory_is_shared_and_given_back():
    limits = Limits(max_body=0.001)
    memory = Memory(limits)
    for _ in range(50):
        read(b"x" * 900, "image/png", limits, 100, memory)
    with memory.hold() as held:
        held.add(3500)
        with pytest.raises(ProblemError, match="at the same time") as caught:
            read(b"x" * 900, "image/png", limits, 100, memory)
        assert caught.value.name == "busy"
    read(b"x" * 900, "image/png", limits, 100, memory)


def test_slow_bodies_give_way_when_memory_runs_out():
    limits = Limits(max_body=0.001)
    memory = Memory(limits)
    with memory.hold() as slow, memory.hold() as judged:
        slow.add(1500)
        judged.add(1500)
        judged.arriving = False
        with pytest.raises(ProblemError, match="at the same time"):
            read(b"x" * 1000 + b"y", "image/png", Limits(max_body=0.002), 1001, memory)
        slow.add(1)  # it has not been arriving for long
        slow.since = judged.since = -math.inf
        with pytest.raises(ProblemError, match="at the same time"):
            read(b"x" * 1000, "image/png", limits, 1000, memory)
        judged.add(1)
        with pytest.raises(ProblemError, match="without a pause") as caught:
            slow.add(1)
        assert caught.value.name == "slow-body"
    assert read(b"x" * 1000, "image/png", limits, 1000, memory)


def test_a_body_that_stops_is_given_up(monkeypatch):
    monkeypatch.setattr(uploading, "_IDLE", 0.05)

    async def stop():
        yield b"begun"
        await asyncio.sleep(60)

    async def trickle():
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async def run(chunks):
        with Memory(Limits()).hold() as held:
            return await read_uploads(chunks, "image/png", None, Limits(), held)

    for chunks in (stop(), trickle()):
        with pytest.raises(ProblemError, match="without a pause") as caught:
            asyncio.run(run(chunks))
        assert caught.value.name == "slow-body"
