"""The Containerfile is checked without an engine: by hadolint, against the project, and against its own ignore file."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from benchmarks.container_steps import System, read_instructions, read_pairs

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "Containerfile"
INSTRUCTIONS = read_instructions(CONTAINERFILE.read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def all_of(word):
    return [rest for instruction, rest in INSTRUCTIONS if instruction == word]


def sources():
    """What is copied from the repository, not from another stage."""
    return [source for rest in all_of("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]]


def last_stage():
    return INSTRUCTIONS[max(place for place, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]


def test_the_linter_finds_nothing():
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if not hadolint:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "--no-color", CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_lines_are_joined_and_comments_dropped():
    text = '# a\nFROM x AS y\nRUN one \\\n# two\n    && three\n\nenv A=1 B="" C="a b"\n'
    read = read_instructions(text)
    assert read == [("FROM", "x AS y"), ("RUN", "one && three"), ("ENV", 'A=1 B="" C="a b"')]
    assert read_pairs(read[2][1]) == {"A": "1", "B": "", "C": "a b"}


def test_paths_of_the_image_lie_below_the_folder(tmp_path):
    image = System(tmp_path)
    assert image.place("/opt/blurgate/bin:$PATH") == f"{tmp_path}/opt/blurgate/bin:$PATH"
    assert (
        image.place("ls src/opt https://example.org/opt '/tmp/a'")
        == f"ls src/opt https://example.org/opt '{tmp_path}/tmp/a'"
    )
    with pytest.raises(ValueError, match="VOLUME is an instruction that this program cannot perform"):
        image.perform("VOLUME", "/data")


def test_python_is_pinned_and_one_that_the_package_supports():
    versions = {re.fullmatch(r"python:(3\.\d+)-slim-[a-z]+(?: AS \w+)?", rest)[1] for rest in all_of("FROM")}
    assert len(versions) == 1
    (version,) = versions
    assert version in SpecifierSet(PROJECT["requires-python"])
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]


def test_the_extras_that_are_installed_exist():
    (extras,) = (re.search(r"\.whl\)\[([\w,]+)\]", rest) for rest in all_of("RUN") if "install" in rest)
    assert set(extras[1].split(",")) == {"serve", "fast"} <= set(PROJECT["optional-dependencies"])


def test_what_is_copied_exists_and_is_not_ignored():
    ignored, *exceptions = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert ignored == "*"
    assert {f"!{source}" for source in sources()} == {line for line in exceptions if line.startswith("!")}
    assert all((ROOT / source).exists() for source in sources())
    assert any(fnmatch("src/blurgate/__pycache__", line) for line in exceptions)


def test_what_the_build_of_the_wheel_reads_is_copied():
    assert {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "constraints.txt", "src"} == set(sources())


def test_it_runs_as_a_user_without_rights_and_stops_at_once():
    stage = dict(last_stage())
    user, _, group = stage["USER"].partition(":")
    assert min(int(user), int(group)) > 1000  # numbers: Kubernetes checks runAsNonRoot by them
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert [word for word, _ in last_stage()][-1] == "ENTRYPOINT"
    assert json.loads(stage["ENTRYPOINT"]) == [
        "blurgate",
        "serve",
        "--host",
        "0.0.0.0",
    ]  # a shell would keep the signal


def test_the_health_check_needs_nothing_but_python():
    stage = dict(last_stage())
    python, option, code = json.loads(stage["HEALTHCHECK"].partition("CMD")[2])
    assert (python, option) == ("python", "-c")
    compile(code, "HEALTHCHECK", "exec")
    assert f"http://127.0.0.1:{stage['EXPOSE']}/readyz" in code


def test_nothing_is_downloaded_that_stays():
    for rest in all_of("RUN"):
        assert "apt-get" not in rest
        assert "pip" not in rest or "--no-cache-dir" in rest


def test_the_docs_run_the_image_as_it_is_meant_to_run():
    docs = (ROOT / "docs" / "container.md").read_text()
    for option in (
        "--read-only",
        "--tmpfs /tmp",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "127.0.0.1:8000:8000",
    ):
        assert option in docs
    user = dict(last_stage())["USER"].partition(":")[0]
    assert f"runAsUser: {user}" in docs
