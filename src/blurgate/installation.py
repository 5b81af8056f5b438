"""How blurgate was installed -> the command that adds an extra to that installation."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def write_install_command(extra: str) -> str:
    """Write the shell command that adds an extra to this very installation.

    It names the folder that blurgate was installed from, unless that was a package index, and an installer that
    installs for the running interpreter.

    Parameters
    ----------
    extra : str

    Returns
    -------
    str
        Such as ``pip install '.[train]'``.
    """
    return f"{_find_installer()} {_find_requirement(extra)}"


def _find_installer() -> str:
    """Find ``pip``, if that is the running interpreter's, else the interpreter with pip, else uv."""
    python = Path(sys.executable)
    pip = shutil.which("pip")
    if pip and Path(pip).parent == python.parent:
        return "pip install"
    near = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    if shutil.which("uv") and find_spec("pip") is None:
        return f"uv pip install --python {_quote(near)}"
    return f"{_quote(near)} -m pip install"


def _find_requirement(extra: str) -> str:
    """Find what to ask an installer for: a folder or an address if blurgate came from one, see PEP 610."""
    try:
        origin = json.loads(distribution("blurgate").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        origin = {}
    url, named = str(origin.get("url", "")), f"blurgate[{extra}]"
    if "vcs_info" in origin:
        return _quote(f"{named} @ {origin['vcs_info']['vcs']}+{url}")
    if not url.startswith("file:"):
        return _quote(f"{named} @ {url}" if url else named)
    source = Path(url2pathname(urlsplit(url).path))
    near = Path() if source == Path.cwd() else source
    return f"{'-e ' if origin.get('dir_info', {}).get('editable') else ''}{_quote(f'{near}[{extra}]')}"


def _quote(word: object) -> str:
    return f'"{word}"' if os.name == "nt" else shlex.quote(str(word))
