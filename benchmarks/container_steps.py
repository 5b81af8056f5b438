"""Run the steps of the Containerfile without a container engine, use the service, and print what was found as JSON.

    python benchmarks/container_steps.py --python /usr/bin/python3

Every RUN, COPY and ENV is performed in a temporary folder that stands for the image's file system: paths such as
``/opt/blurgate`` lie below it, ``python`` and ``pip`` are those of a fresh virtual environment, and HOME is empty. The
Python is the one named, which every user must be able to run, not the image's. Then the ENTRYPOINT is started as
``docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges`` would: as the image's USER,
without capabilities, and with all file systems read-only but that /tmp. That needs root and Linux; elsewhere the folder
only loses its write permissions. The host is 127.0.0.1, on a free port.

Package indexes are found as by pip otherwise. Exits with 1 if a check fails.
"""

import argparse
import io
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from blurgate.demo import load_photographs

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"(?<![\w./:])/(?=(?:opt|source|wheels|tmp|home)\b)")  # the start of a path in the image
PASSED_ON = ("PIP_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
PATIENCE = 120  # seconds to become ready, and to end
SEAL = """set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -o remount,bind,ro /
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
shift
exec "$@"
"""


def read_instructions(text: str) -> list[tuple[str, str]]:
    """Read a Containerfile.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of (str, str)
        Each instruction in capitals and what follows it, lines joined, in order.
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.strip().partition(" ") for line in joined.split("\n"))
        if word
    ]


def read_pairs(text: str) -> dict[str, str]:
    """Read the ``name=value`` pairs of an ENV, an ARG or a LABEL.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict of str to str
    """
    return {name: quoted + bare for name, quoted, bare in re.findall(r'([\w.]+)=(?:"([^"]*)"|(\S*))', text)}


@dataclass
class System:
    """What the Containerfile has made, below a folder.

    Parameters
    ----------
    folder : Path
        Stands for the image's ``/``.
    """

    folder: Path
    base: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    arguments: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)  # the last USER, ENTRYPOINT, ... of the last stage
    seconds: dict[str, float] = field(default_factory=dict)

    def place(self, text: str) -> str:
        """Put paths of the image below the folder.

        Parameters
        ----------
        text : str

        Returns
        -------
        str
        """
        return OUTSIDE.sub(f"{self.folder}/", text)

    def perform(self, instruction: str, rest: str) -> None:
        """Perform one instruction.

        Parameters
        ----------
        instruction : str
            In capitals.
        rest : str
            What follows it.

        Raises
        ------
        ValueError
            If this program does not know it.
        subprocess.CalledProcessError
            If a RUN fails.
        """
        started = time.monotonic()
        if instruction == "FROM":
            self.environment, self.workdir, self.arguments, self.kept = dict(self.base), "/", {}, {}
        elif instruction == "ARG":
            self.arguments |= read_pairs(rest)
        elif instruction == "ENV":
            known = self.environment | self.arguments
            for name, value in read_pairs(rest).items():
                self.environment[name] = self.place(re.sub(r"\$(\w+)", lambda match: known[match[1]], value))
        elif instruction == "WORKDIR":
            self.workdir = rest
            Path(self.place(rest)).mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            self._copy(rest.split())
        elif instruction == "RUN":
            folder = self.place(self.workdir) if self.workdir != "/" else self.folder
            subprocess.run(
                ["sh", "-ec", self.place(rest)], cwd=folder, env=self.environment, check=True, stdout=sys.stderr
            )
        elif instruction in ("USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "LABEL"):
            self.kept[instruction] = rest
        else:
            raise ValueError(f"{instruction} is an instruction that this program cannot perform")
        if instruction in ("COPY", "RUN"):
            self.seconds[f"{instruction} {rest}"] = round(time.monotonic() - started, 1)

    def _copy(self, words: list[str]) -> None:
        if words[0].startswith("--from="):  # all stages share one folder, so that paths stay what they were
            if words[1] != words[2] and not words[2].startswith(words[1]):
                raise ValueError(f"COPY {' '.join(words)} gives files another path than in the stage before")
            if not Path(self.place(words[1])).exists():
                raise ValueError(f"COPY {' '.join(words)} copies what no stage has made")
            return
        *sources, target = words
        into = Path(self.place(target if target.startswith("/") else f"{self.workdir}/{target}"))
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, into)


def build(folder: Path, python: str) -> System:
    """Perform all steps of the Containerfile below a folder, with a Python that stands for the image's.

    Parameters
    ----------
    folder : Path
        Stands for the image's ``/``; must be empty.
    python : str

    Returns
    -------
    System
    """
    folder.chmod(0o755)  # for the image's user
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    subprocess.run([python, "-m", "venv", folder / "base"], check=True)
    settings = Path.home() / ".config" / "pip" / "pip.conf"
    base = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    base |= {"PIP_CONFIG_FILE": str(settings)} if settings.exists() else {}
    base |= {"PATH": f"{folder}/base/bin:/usr/bin:/bin", "HOME": f"{folder}/home", "TMPDIR": f"{folder}/tmp"}
    image = System(folder, base)
    for instruction, rest in read_instructions((ROOT / "Containerfile").read_text()):
        print(instruction, rest, file=sys.stderr, flush=True)
        image.perform(instruction, rest)
    return image


def seal(image: System) -> tuple[list[str], str]:
    """Take the right to write below the folder.

    Parameters
    ----------
    image : System

    Returns
    -------
    (list of str, str)
        What to put before a command that is run in the image, and the kind of seal.
    """
    for path in (image.folder, *image.folder.rglob("*")):
        if not path.is_symlink() and path != image.folder / "tmp":
            path.chmod(path.stat().st_mode & ~0o222)
    user, _, group = image.kept["USER"].partition(":")
    if os.getuid() != 0:
        return [], "no write permission"
    drop = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
    drop += ["--bounding-set=-all", "--inh-caps=-all", "--"]
    mount = ["unshare", "--mount", "--", "sh", "-c", SEAL, "sh", str(image.folder)]
    if subprocess.run([*mount, *drop, "true"], capture_output=True, check=False).returncode == 0:
        return [*mount, *drop], f"read-only file system, user {user}, no capabilities"
    (image.folder / "tmp").chmod(0o1777)
    return drop, f"no write permission, user {user}, no capabilities"


def list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """List all files below a folder but those in its ``tmp``.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    dict of str to (int, int)
        Path -> size and time of the last change.
    """
    files = {path.relative_to(folder).as_posix(): path.lstat() for path in folder.rglob("*")}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in files.items() if not path.startswith("tmp")}


def ask(url: str, token: str = "", photo: bytes | None = None) -> tuple[int, bytes]:
    """Ask the service.

    Parameters
    ----------
    url : str
    token : str
        Empty for none.
    photo : bytes or None
        A PNG to send; without one, the request is a GET.

    Returns
    -------
    (int, bytes)
        Status, or 0 if the service does not listen, and body.
    """
    headers = {"Content-Type": "image/png"} | ({"Authorization": f"Bearer {token}"} if token else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, photo, headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read()
    except OSError:
        return 0, b""


@contextmanager
def serve(image: System, prefix: list[str], port: int, token: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start the entrypoint in the sealed folder, and kill it at the end if it still runs.

    Parameters
    ----------
    image : System
    prefix : list of str
        See `seal`.
    port : int
        Of 127.0.0.1.
    token : str

    Yields
    ------
    (subprocess.Popen, Path)
        The process, and the file with what it prints.
    """
    command = [*prefix, *json.loads(image.kept["ENTRYPOINT"]), "--host", "127.0.0.1", "--port", str(port)]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            command, cwd=image.folder, env=image.environment | {"BLURGATE_TOKEN": token}, stdout=log, stderr=log
        )
        try:
            yield process, Path(log.name)
        finally:
            process.kill()
            process.wait()


def check(image: System, prefix: list[str]) -> dict[str, Any]:
    """Use the service in the sealed folder as its callers would.

    Parameters
    ----------
    image : System
    prefix : list of str
        See `seal`.

    Returns
    -------
    dict
        What was found; ``checks`` has the name of each check, and whether it passed.

    Raises
    ------
    SystemExit
        If the service does not become ready.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, url = secrets.token_urlsafe(), f"http://127.0.0.1:{port}"
    photo = io.BytesIO()
    Image.fromarray(load_photographs()["coffee"]).save(photo, "PNG")
    before = list_files(image.folder)
    run: dict[str, Any] = {"cwd": image.folder, "env": image.environment, "capture_output": True, "timeout": PATIENCE}

    refused = subprocess.run([*prefix, *json.loads(image.kept["ENTRYPOINT"])], **run, check=False)
    compiled = subprocess.run([*prefix, "python", "-c", CHECK_CACHE], **run, check=False)
    health = json.loads(image.kept["HEALTHCHECK"].partition("CMD")[2])
    health = [*prefix, *(word.replace(":8000/", f":{port}/") for word in health)]
    unhealthy = subprocess.run(health, **run, check=False)
    started = time.monotonic()
    with serve(image, prefix, port, token) as (process, log):
        while ask(f"{url}/readyz")[0] != 200:
            if process.poll() is not None or time.monotonic() > started + PATIENCE:
                raise SystemExit(f"the service did not become ready: {log.read_text()}")
            time.sleep(0.05)
        ready = time.monotonic()
        while "blurgate serves " not in log.read_text() and time.monotonic() < started + PATIENCE:
            time.sleep(0.05)  # for the other workers
        healthy = subprocess.run(health, **run, check=False)
        asked = time.monotonic()
        status, body = ask(f"{url}/v1/verdicts", token, photo.getvalue())
        answered = time.monotonic()
        without = ask(f"{url}/v1/verdicts", photo=photo.getvalue())[0]
        user = Path(f"/proc/{process.pid}/status")
        identity = re.findall(r"^(?:Uid|CapEff|NoNewPrivs):.*", user.read_text(), flags=re.M) if user.exists() else []
        process.send_signal(signal.Signals[image.kept["STOPSIGNAL"]])
        ended = time.monotonic()
        code = process.wait(PATIENCE)
        took = time.monotonic() - ended
        said = log.read_text()
    verdict = json.loads(body)["verdicts"][0] if status == 200 else {}
    return {
        "said": said.replace(str(image.folder), ""),
        "refusal": refused.stderr.decode().strip(),
        "identity": [re.sub(r"\s+", " ", line) for line in identity],
        "verdict": {name: verdict.get(name) for name in ("decision", "probability", "sentence")},
        "ready_s": round(ready - started, 2),
        "first_verdict_s": round(answered - asked, 2),
        "ended_s": round(took, 2),
        "exit_code": code,
        "checks": {
            "refuses to start without a token": refused.returncode != 0 and b"token" in refused.stderr.lower(),
            "compiles nothing": compiled.returncode == 0,
            "health check fails before, and passes when it is ready": (unhealthy.returncode, healthy.returncode)
            == (1, 0),
            "answers one verdict": status == 200 and verdict.get("decision") in ("sharp", "blurred"),
            "answers 401 without the token": without == 401,
            "wrote nothing": list_files(image.folder) == before,
            "ends as terminated": code == 143,
        },
    }


CHECK_CACHE = (
    "from blurgate.measuring import machine_code; machine_code.prepare(only_cached=True)"  # fails rather than compile
)


def main() -> None:
    """Build, seal, use, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    python = parser.parse_args().python
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    with tempfile.TemporaryDirectory(prefix="blurgate-image-") as name:
        image = build(Path(name).resolve(), python)
        prefix, kind = seal(image)
        try:
            found = check(image, prefix)
        finally:
            for folder in (image.folder, *image.folder.rglob("*/")):
                if not folder.is_symlink():
                    folder.chmod(0o755)  # so that it can be removed
        megabytes = sum(size for path, (size, _) in list_files(image.folder).items() if path.startswith("opt/")) / 1e6
        steps = {step.replace(name, ""): seconds for step, seconds in image.seconds.items()}
    print(
        json.dumps(
            {"python": version, "seal": kind, "installed_mb": round(megabytes), "steps_s": steps} | found,
            indent=2,
        )
    )
    sys.exit(not all(found["checks"].values()))


if __name__ == "__main__":
    main()
