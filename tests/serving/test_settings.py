"""What the service refuses to start with."""

import subprocess
import sys
from importlib.resources import files

import pytest

from blurgate.errors import OutputError
from blurgate.serving.settings import Limits, Settings, read_token

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_a_network_needs_a_token(host):
    with pytest.raises(ValueError, match="--token-file"):
        Settings(host=host)
    assert Settings(host=host, token=TOKEN).token == TOKEN
    assert Settings(host=host, insecure=True).host == host


def test_loopback_needs_none():
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert Settings(host=host).token == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token": "short"}, "16 characters"),
        ({"token": "with spaces in between"}, "printable ASCII"),
        ({"port": 70_000}, "port must be between"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"origins": ("shop.example",)}, "allow_origin must be a scheme and a host"),
        ({"origins": ("https://shop.example/",)}, "allow_origin"),
    ],
)
def test_settings_are_checked(options, words):
    with pytest.raises(ValueError, match=words):
        Settings(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_body": 0}, "max_body must be above 0"),
        ({"max_body": float("nan")}, "max_body must be above 0"),
        ({"max_body": 5000}, "at most 4000 MB"),
        ({"max_photos": 0}, "max_photos must be at least 1"),
        ({"max_megapixels": -1}, "max_megapixels must be above 0"),
        ({"photo_time": 0}, "photo_time must be above 0"),
        ({"queue": -1}, "queue must be at least 0"),
    ],
)
def test_limits_are_checked(options, words):
    with pytest.raises(ValueError, match=words):
        Limits(**options)


def test_the_token_comes_from_a_file_or_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}\n")
    assert read_token(file, {"BLURGATE_TOKEN": "another"}) == TOKEN
    assert read_token(None, {"BLURGATE_TOKEN": TOKEN}) == TOKEN
    assert read_token(None, {}) == ""
    assert TOKEN not in repr(Settings(token=TOKEN))


def test_an_empty_token_is_none(tmp_path):
    file = tmp_path / "token"
    file.write_text("\n")
    with pytest.raises(ValueError, match="it is empty"):
        read_token(file)
    with pytest.raises(ValueError, match="BLURGATE_TOKEN must hold a token"):
        read_token(None, {"BLURGATE_TOKEN": ""})
    with pytest.raises(OutputError, match="No such file"):
        read_token(tmp_path / "missing")
    file.write_bytes(b"\xff\xfe" * 20)
    with pytest.raises(OutputError, match="it is not text"):
        read_token(file)


def run(*options):
    command = [sys.executable, "-m", "blurgate", "serve", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


def test_serve_ends_with_a_sentence(tmp_path, service):
    code, said = run("--host", "0.0.0.0")
    assert code == 2
    assert said.startswith("blurgate: --host '0.0.0.0' can be reached from other machines")
    code, said = run("--max-body", "0")
    assert (code, said) == (2, "blurgate: --max-body must be above 0, got 0")
    code, said = run("--model", str(tmp_path / "none.blurgate"))
    assert code == 1
    assert "none.blurgate" in said
    code, said = run("--port", str(service.port))
    assert code == 1
    assert said.startswith(f"blurgate: cannot listen on 127.0.0.1:{service.port}")
    assert len(said.splitlines()) == 1


def test_the_page_is_in_the_package():
    for name in ("index.html", "form.html", "blurgate-input.js"):
        assert files("blurgate").joinpath("serving", "page", name).is_file()
