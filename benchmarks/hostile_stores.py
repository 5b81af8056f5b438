"""Scans archives and a store that fails, and compares all verdicts with those of a folder.

`python -m benchmarks.hostile_stores` makes 10,000 photos of 128 pixels on the fly, packs them into a zip, a tar, a
compressed tar and a Parquet table, puts some of them into moto's S3 server on loopback, and scans each in a process of
its own: through nothing, and through a proxy that refuses (503), cuts bodies, and sends them in pieces with waits. It
prints JSON: for each scan the photos, how many rows differ from those of the folder, errors, and the peak of memory.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.slow_proxy import Faults, run_proxy

_SIDE = 128
_SERVER = """
import logging, threading
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--stored", type=int, default=2_000, help="photos in the store")
    parser.add_argument("--scan", help=argparse.SUPPRESS)
    options = parser.parse_args()
    print(json.dumps(_scan(options.scan) if options.scan else _compare(options.photos, options.stored), indent=1))


def _compare(count: int, stored: int) -> dict[str, Any]:
    found: dict[str, Any] = {"photos": count, "stored": stored, "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        names = [f"{number // 1000:03}/{number:06}.jpg" for number in range(count)]
        _write(folder, names)
        right = _run(folder / "disk")
        found["disk"] = _describe(right, right["rows"])
        for name in ("photos.zip", "photos.tar", "photos.tar.gz"):
            found[name] = _describe(_run(folder / name), right["rows"])
        by_number = {str(number): right["rows"][name] for number, name in enumerate(names)}
        found["photos.parquet"] = _describe(_run(folder / "photos.parquet"), by_number)
        content = (folder / "photos.tar").read_bytes()
        (folder / "cut.tar").write_bytes(content[: len(content) // 2])
        half = _run(folder / "cut.tar")
        kept = {name: row for name, row in right["rows"].items() if name in half["rows"]}
        found["half of photos.tar"] = _describe(half, kept)
        found |= _compare_stores(folder, names[:stored], right["rows"])
    return found


def _compare_stores(folder: Path, names: list[str], whole: dict[str, list[Any]]) -> dict[str, Any]:
    found = {}
    right = {name: whole[name] for name in names}
    faults = {
        "503 for a fifth": Faults(refuse=0.2, only=b".jpg", seed=1),
        "a fifth cut": Faults(cut=0.2, only=b".jpg", seed=2),
        "a tenth in pieces": Faults(dribble=0.1, only=b".jpg", seed=3),
        "all of these": Faults(refuse=0.1, cut=0.1, dribble=0.05, only=b".jpg", seed=4),
        "some always cut": Faults(cut=1.0, only=b"7.jpg", seed=5, most=10**6),
    }
    with _serve_store() as port:
        _fill(port, folder, names)
        found["s3"] = _describe(_run("s3://photos/album", port), right)
        with run_proxy(port, latency_s=0.02) as slow:
            found["s3, 20 ms"] = _describe(_run("s3://photos/album", slow), right)
            for name in ("photos.zip", "photos.tar"):
                found[f"s3, 20 ms, {name}"] = _describe(_run(f"s3://photos/{name}", slow), whole)
        for name, fault in faults.items():
            with run_proxy(port, faults=fault) as broken:
                found[f"s3, {name}"] = _describe(_run("s3://photos/album", broken), right) | {"faults": fault.made}
    return found


def _write(folder: Path, names: list[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    rng = np.random.default_rng(1)
    scenes = [
        Image.fromarray(rng.integers(0, 256, (12 + number, 12 + number, 3), np.uint8)).resize((_SIDE, _SIDE))
        for number in range(20)
    ]
    contents = []
    with (
        zipfile.ZipFile(folder / "photos.zip", "w") as packed,
        tarfile.open(folder / "photos.tar", "w") as tar,
        tarfile.open(folder / "photos.tar.gz", "w:gz", compresslevel=1) as zipped,
    ):
        for number, name in enumerate(names):
            picture = scenes[number % len(scenes)].rotate(number % 360)
            picture = picture.filter(ImageFilter.GaussianBlur(number % 5)) if number % 2 else picture
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=80)
            content = stream.getvalue()
            contents.append({"bytes": content, "path": name})
            place = folder / "disk" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            packed.writestr(name, content)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            zipped.addfile(entry, io.BytesIO(content))
    table = pyarrow.table({"image": contents})
    pyarrow.parquet.write_table(table, folder / "photos.parquet", row_group_size=500)


@contextmanager
def _serve_store() -> Iterator[int]:
    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    with subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def _fill(port: int, folder: Path, names: list[str]) -> None:
    import fsspec

    fs = fsspec.filesystem("s3", endpoint_url=f"http://127.0.0.1:{port}")
    fs.mkdir("photos")
    for name in names:
        fs.pipe_file(f"photos/album/{name}", (folder / "disk" / name).read_bytes())
    for name in ("photos.zip", "photos.tar"):
        fs.put_file(str(folder / name), f"photos/{name}")


def _run(root: str | Path, port: int | None = None) -> dict[str, Any]:
    """Scan in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.hostile_stores", "--scan", str(root)]
    store = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"} if port else {}
    done = subprocess.run(command, env={**os.environ, **store}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _scan(root: str) -> dict[str, Any]:
    from blurgate import MachineError, scan

    rows, ended = {}, ""
    began = time.perf_counter()
    try:
        for verdict in scan([root], model="trees"):
            rows[_name(verdict.path, root)] = [verdict.decision, verdict.probability, verdict.error]
    except MachineError as error:
        ended = str(error)
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss is the parent's too
    seconds = {"seconds": time.perf_counter() - began, "processor": time.process_time()}
    return {"rows": rows, "ended": ended, "peak_mb": int(peak) / 1024, **seconds}


def _name(path: str, root: str) -> str:
    if "::" in path:
        return path.split("://", 1)[1].split("::", maxsplit=1)[0]
    return path.removeprefix(root).lstrip("/#") or path


def _describe(found: dict[str, Any], right: dict[str, list[Any]]) -> dict[str, Any]:
    """Count what differs; errors that have a name are counted apart."""
    rows = found["rows"]
    errors = {name: row[2] for name, row in rows.items() if row[2]}
    expected = {name: row for name, row in right.items() if name not in errors}
    differ = sum(rows.get(name, [None])[:2] != row[:2] for name, row in expected.items())
    extra = len(rows.keys() - right.keys() - errors.keys())
    digest = hashlib.blake2b(json.dumps(sorted(rows.items())).encode(), digest_size=6).hexdigest()
    return {
        "rows": len(rows),
        "differ": differ,
        "too_many": extra,
        "errors": len(errors),
        "error": next(iter(errors.values()), ""),
        "ended": found["ended"],
        "peak_mb": round(found["peak_mb"]),
        "seconds": round(found["seconds"], 1),
        "processor_s": round(found["processor"], 1),
        "digest": digest,
    }


if __name__ == "__main__":
    main()
