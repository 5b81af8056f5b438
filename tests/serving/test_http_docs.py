"""docs/http.md: what it shows is what a service answers."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image
from serving.conftest import running

from blurgate import Verdict
from blurgate.making.blurs import convolve, defocus_kernel, to_linear, to_rgb
from blurgate.photos.images import read_gray
from blurgate.serving.problems import PROBLEMS
from blurgate.serving.settings import Limits

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "http.md").read_text()
ADDRESS = "http://127.0.0.1:8000"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.M | re.S)
SHOWN = {"json", "text"}
EXAMPLES = [  # what is run, and what it is said to print, if anything
    (code, BLOCKS[place + 1] if BLOCKS[place + 1][0] in SHOWN else None)
    for place, (kind, code) in enumerate(BLOCKS)
    if kind == "python" or (kind == "sh" and code.startswith("curl "))
]
CURL = [example for example in EXAMPLES if example[0].startswith("curl ")]
PYTHON = [example for example in EXAMPLES if not example[0].startswith("curl ")]
MORE = "…"


@pytest.fixture(scope="module")
def folder(photographs, tmp_path_factory):
    """The folder that the page speaks of, with the token that it makes."""
    folder = tmp_path_factory.mktemp("http")
    Image.fromarray(photographs["chelsea"]).save(folder / "cat.jpg", quality=92)
    blurred = convolve(to_linear(photographs["coffee"]), defocus_kernel(radius_px=6))
    Image.fromarray(to_rgb(blurred)).save(folder / "coffee.jpg", quality=92)
    (folder / "broken.jpg").write_text("This is no picture.\n")
    (making,) = [code for kind, code in BLOCKS if kind == "sh" and "secrets" in code]
    run(making, folder)
    return folder


@pytest.fixture(scope="module")
def guarded(folder):
    with running("--workers", "1", "--token-file", str(folder / "token")) as server:
        yield server


def run(code, folder):
    done = subprocess.run(["sh", "-ec", code], cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def require_shown(shown, got):
    """Check that what a page shows is in what came; numbers may be rounded, and names cut short."""
    if isinstance(shown, dict):
        assert MORE in shown or set(shown) == set(got)
        for name in set(shown) - {MORE}:
            require_shown(shown[name], got[name])
    elif isinstance(shown, list):
        assert len(shown) == len(got)
        for one, other in zip(shown, got, strict=True):
            require_shown(one, other)
    elif isinstance(shown, float):
        assert got == pytest.approx(shown, rel=0.03, abs=0.005)
    elif isinstance(shown, str) and shown.endswith(MORE):
        assert got.startswith(shown.removesuffix(MORE))
    else:
        assert got == shown


def parse_shown(text):
    return json.loads(re.sub(rf"{MORE}(?=\s*}})", f'"{MORE}": 0', text))


def test_the_page_has_examples_of_all_that_can_be_asked():
    assert len(CURL) >= 10
    assert len(PYTHON) == 2
    wanted = {"--data-binary", "photos=@broken.jpg", "map=png", "map=overlay", "-H @header", "--retry"}
    wanted |= {"/readyz", "/metrics", "/v1/model"}
    assert {each for each in wanted if not any(each in code for code, _ in CURL)} == set()
    assert all(ADDRESS in code for code, _ in EXAMPLES)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize(("code", "shown"), CURL, ids=[code.splitlines()[0] for code, _ in CURL])
def test_a_curl_example_prints_what_the_page_shows(code, shown, request, folder):
    needs_token = "header" in code or "token" in code
    server = request.getfixturevalue("guarded" if needs_token else "service")
    if "/metrics" in code:  # there must be something to count
        for name in ("coffee.jpg", "broken.jpg"):
            server.judge((name, (folder / name).read_bytes()))
    printed = run(code.replace(ADDRESS, server.url), folder)
    if shown is None:
        drawn = read_gray(folder / "coffee-map.png")
        assert drawn.shape == read_gray(folder / "coffee.jpg").shape
        assert drawn.mean() > 128
    elif shown[0] == "json":
        require_shown(parse_shown(shown[1]), json.loads(printed))
    else:
        names = {line.rpartition(" ")[0] for line in printed.splitlines()}
        assert {line.rpartition(" ")[0] for line in shown[1].splitlines()} <= names


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_without_the_token_of_the_page_there_is_no_answer(guarded, folder):
    for code, _ in CURL:
        if "header" not in code and "/readyz" not in code and "token" not in code and "map=png" not in code:
            assert json.loads(run(code.replace(ADDRESS, guarded.url), folder))["status"] == 401


@pytest.mark.parametrize(("code", "shown"), PYTHON, ids=["sync", "async"])
def test_a_python_example_prints_what_the_page_shows(code, shown, service, folder):
    pytest.importorskip("httpx", reason="httpx is not installed")
    command = [sys.executable, "-W", "error", "-c", code.replace(ADDRESS, service.url)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    assert done.stdout == shown[1]


def test_every_field_problem_and_limit_is_on_the_page():
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \|", PAGE, flags=re.M))))
    assert {each.name for each in fields(Verdict)} | {"sentence", "map", "problem"} <= described
    rows = re.findall(r"^\| ([\d, ]+) \| ([^|]+) \|", PAGE, flags=re.M)
    found = {name: statuses for statuses, names in rows for name in re.findall(r"`([\w-]+)`", names)}
    assert set(found) == set(PROBLEMS)
    assert all(str(PROBLEMS[name].status) in statuses for name, statuses in found.items())
    limits = dict(re.findall(r"^\| `--([\w-]+)` \| (\D*[\d.]+|as many)", PAGE, flags=re.M))
    assert {name.replace("-", "_") for name in limits} == {each.name for each in fields(Limits)}
    for name, shown in limits.items():
        default = getattr(Limits(), name.replace("-", "_"))
        assert default is None or float(shown) == default


def test_options_and_places_on_the_page_exist():
    options = (DOCS / "commands.md").read_text().split("## blurgate serve\n")[1].split("\n## ")[0]
    curls = "\n".join(code for code, _ in CURL)
    used = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", PAGE)) - set(re.findall(r"--[a-z][\w-]+", curls)) - {"--json"}
    assert {option for option in used if option not in options} == set()
    headings = {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)", PAGE, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings
