import json
import os
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from blurgate import installation
from blurgate.installation import write_install_command


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Make blurgate look installed from an origin, into an environment in the current folder, with or without pip."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))

    def install(origin, *, tools=(), has_pip=True):
        class Distribution:
            def read_text(self, _):
                return origin and json.dumps(origin)

        monkeypatch.setattr(installation, "distribution", lambda _: Distribution())
        monkeypatch.setattr(installation.shutil, "which", dict(tools).get)
        monkeypatch.setattr(installation, "find_spec", lambda _: object() if has_pip else None)

    return install


@pytest.mark.skipif(os.name == "nt", reason="its shell quotes otherwise")
def test_it_names_the_folder_that_blurgate_came_from(installed, tmp_path):
    here, beside = {"url": tmp_path.as_uri(), "dir_info": {}}, {"url": (tmp_path / "a b").as_uri(), "dir_info": {}}
    installed(here, tools={"pip": str(tmp_path / ".venv/bin/pip")})
    assert write_install_command("train") == "pip install '.[train]'"
    installed(beside, tools={"pip": "/usr/bin/pip"})
    assert write_install_command("fast") == f".venv/bin/python -m pip install '{tmp_path}/a b[fast]'"
    installed(here | {"dir_info": {"editable": True}})
    assert write_install_command("fast") == ".venv/bin/python -m pip install -e '.[fast]'"
    installed(here, tools={"uv": "/usr/bin/uv"}, has_pip=False)
    assert write_install_command("fast") == "uv pip install --python .venv/bin/python '.[fast]'"


@pytest.mark.skipif(os.name == "nt", reason="its shell quotes otherwise")
def test_it_names_the_package_if_that_came_from_an_index_or_an_address(installed, tmp_path, monkeypatch):
    pip = {"pip": str(tmp_path / ".venv/bin/pip")}
    installed(None, tools=pip)
    assert write_install_command("train") == "pip install 'blurgate[train]'"
    installed({"url": "https://example.com/b.git", "vcs_info": {"vcs": "git", "commit_id": "1"}}, tools=pip)
    assert write_install_command("heif") == "pip install 'blurgate[heif] @ git+https://example.com/b.git'"

    def miss(_):
        raise PackageNotFoundError

    monkeypatch.setattr(installation, "distribution", miss)
    assert write_install_command("train") == "pip install 'blurgate[train]'"


def test_the_command_of_this_installation_names_a_folder_that_is_there():
    requirement = (
        write_install_command("train").rsplit("[", 1)[0].split("install ")[-1].removeprefix("-e ").strip("'\"")
    )
    assert requirement == "blurgate" or (Path(requirement) / "pyproject.toml").exists() or "@" in requirement
