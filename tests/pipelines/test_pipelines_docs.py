"""docs/pipelines.md: what it shows is what the libraries print."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest
from pipelines.conftest import run_stored

from blurgate.pipelines.columns import FIELDS, PREFIX
from blurgate.pipelines.pictures import NAMES, Options

PAGE = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE, flags=re.M | re.S)


def library_of(code):
    return next(
        (name for name in ("ray", "datasets", "cleanvision", "fiftyone") if re.search(rf"\b{name}\b", code)), ""
    )


CASES = [pytest.param(code, shown, id=f"{library_of(code) or 'loop'}-{n}") for n, (code, shown) in enumerate(EXAMPLES)]


def test_every_example_says_what_it_prints():
    assert len(EXAMPLES) == PAGE.count("```python") == 6
    assert {library_of(code) for code, _ in EXAMPLES} == {"ray", "datasets", "cleanvision", "fiftyone", ""}


@pytest.mark.parametrize(("code", "shown"), CASES)
def test_an_example_prints_what_the_page_shows(code, shown, folder, tmp_path, request, capsys):
    library = library_of(code)
    if library and not find_spec(library):
        pytest.skip(f"{library} is not installed")
    if library == "ray":  # in the cluster that is there: another takes seconds
        request.getfixturevalue("cluster")
        code = code.replace('"photos"', repr(str(folder / "photos")))  # its workers are elsewhere
        exec(compile(code, "pipelines.md", "exec"), {})
        assert capsys.readouterr().out == shown
    elif library == "fiftyone":
        assert run_stored(code, tmp_path, cwd=folder).stdout == shown
    else:
        environment = os.environ | {"HF_HOME": str(tmp_path), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == shown


def test_every_column_option_and_name_is_on_the_page():
    words = set(re.findall(r"`([^`]+)`", PAGE))
    assert {f"{PREFIX}{name}" for name in FIELDS} <= words
    assert {each.name for each in fields(Options)} <= words
    assert set(NAMES) <= words
