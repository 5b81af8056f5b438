"""Real servers on free loopback ports, and photographs as clients send them."""

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image, ImageFilter

_STARTED = re.compile(r"blurgate serves (http://\S+) \(model")


class Server:
    """A running `blurgate serve`."""

    def __init__(self, process, url):
        self.process, self.url = process, url
        self.netloc = urlsplit(url).netloc
        self.port = urlsplit(url).port

    def ask(self, path="/v1/verdicts", body=None, method=None, **headers):
        """Send a request on a connection of its own: -> status, headers, content (parsed if it is JSON)."""
        connection = http.client.HTTPConnection(self.netloc, timeout=60)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, names)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        is_json = "json" in answer.headers.get("content-type", "")
        return answer.status, answer.headers, json.loads(content) if is_json else content

    def judge(self, *photos, query="", **headers):
        """Send photos, each (name, content), as a form."""
        body, content_type = encode_form(photos)
        return self.ask(f"/v1/verdicts{query}", body, content_type=content_type, **headers)

    @property
    def workers(self):
        """Process numbers of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in children.read_text().split()]


def encode_form(photos, field="photos", boundary="x-boundary-x"):
    parts = []
    for name, content in photos:
        quoted = name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n'
        parts.append(head.encode("utf-8", "surrogateescape") + b"Content-Type: image/jpeg\r\n\r\n" + content + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@contextmanager
def running(*options, env=None, cwd=None, new_session=False, command=("-m", "blurgate")):
    """Start a server and end it."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    words = [sys.executable, *command, "serve", "--port", "0", *options]
    environment = {name: value for name, value in os.environ.items() if name != "BLURGATE_TOKEN"} | (env or {})
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, env=environment, cwd=cwd, start_new_session=new_session
    )
    try:
        said = ""  # it may say first that it compiles
        while not (found := _STARTED.search(said)) and (line := process.stderr.readline()):
            said += line
        assert found, said
        yield Server(process, found[1])
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        process.stderr.close()


@pytest.fixture(scope="session")
def service():
    """A server with default limits and two workers."""
    with running("--workers", "2") as server:
        yield server


def encode_jpeg(rgb):
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=92)
    return stream.getvalue()


@pytest.fixture(scope="session")
def sharp_jpeg(photographs):
    return encode_jpeg(photographs["astronaut"])


@pytest.fixture(scope="session")
def blurred_jpeg(photographs):
    stream = io.BytesIO()
    blurred = Image.fromarray(photographs["astronaut"]).filter(ImageFilter.GaussianBlur(4))
    blurred.save(stream, "JPEG", quality=92)
    return stream.getvalue()
