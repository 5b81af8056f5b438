import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blurgate.cli import app
from blurgate.making.blurs import BLURS
from blurgate.measuring.statistics import STATISTICS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
SHELL = re.findall(r"^blurgate .*", "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.S)), flags=re.M)
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}


@pytest.mark.parametrize("columns", ["60", "200"])
def test_commands_md_is_what_help_says(columns, tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    script = tmp_path / "docs" / "write_commands.py"
    subprocess.run([sys.executable, script], check=True, env={"COLUMNS": columns, "PATH": ""})
    written, kept = (folder / "docs" / "commands.md" for folder in (tmp_path, ROOT))
    assert written.read_text() == kept.read_text(), "run make docs"


def test_readme_commands_exist():
    used = {line.split()[1] for line in SHELL}
    assert used <= COMMANDS
    assert COMMANDS - used <= {"demo"}


def test_readme_options_exist():
    commands = (ROOT / "docs" / "commands.md").read_text()
    for line in SHELL:
        section = commands.split(f"## blurgate {line.split()[1]}\n")[1].split("\n## ")[0]
        assert all(option in section for option in re.findall(r"--[\w-]+", line))


def test_readme_python_runs(sharp_folder, tmp_path):
    (tmp_path / "photos").mkdir()
    for path in sorted(sharp_folder.iterdir())[::2]:
        shutil.copy(path, tmp_path / "photos")
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, flags=re.S))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 24 + 1 + 1 + 1 + 3 + 1
    assert re.fullmatch(r"ROC AUC on unseen scenes: [01]\.\d\d", lines[24])
    assert lines[25] == "undecided None too little texture: nothing in it shows whether it is sharp"
    assert re.fullmatch(r"[A-Z].*\. \w* ([0-9.]+|None) [01]\.\d+", lines[26])
    assert all(re.fullmatch(r"(sharp|blurred|undecided) [01]\.\d+", line) for line in lines[27:30])
    assert re.fullmatch(r"\d+% of 24 uploads are blurred", lines[30])
    assert (tmp_path / "gallery.html").exists()
    assert (tmp_path / "own.html").exists()
    assert (tmp_path / "mine.blurgate").exists()


def test_make_words_in_the_docs_exist():
    words = set(re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), flags=re.M))
    for page in PAGES:
        assert set(re.findall(r"`make (\w+)`", page.read_text())) <= words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_method_describes_every_kind_and_statistic():
    method = (ROOT / "docs" / "method.md").read_text()
    assert all(f"`{kind}`" in method for kind in BLURS)
    assert all(f"| {statistic} |" in method for statistic in STATISTICS)


def test_contributing_is_one_page():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 50


def test_nothing_names_this_machine_or_an_index():
    forbidden = re.compile(r"/work/|/root/|pypi\.org|index-url|find-links")
    for path in [*PAGES, ROOT / "Makefile", ROOT / "constraints.txt", ROOT / "pyproject.toml", ROOT / ".ci" / "run"]:
        assert not forbidden.search(path.read_text()), path
