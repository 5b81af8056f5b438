"""A folder of photos, their verdicts, and one cluster of Ray's for all."""

import logging
import math
import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import blurgate
from blurgate.making.blurs import convolve, defocus_kernel, to_linear, to_rgb

FIELDS = ("decision", "probability", "kind", "strength_px", "reason", "error")


@pytest.fixture(scope="session")
def folder(photographs, tmp_path_factory):
    """The folder that docs/pipelines.md speaks of."""
    folder = tmp_path_factory.mktemp("pipelines")
    (folder / "photos").mkdir()
    Image.fromarray(photographs["chelsea"]).save(folder / "photos" / "cat.jpg", quality=92)
    blurred = convolve(to_linear(photographs["coffee"]), defocus_kernel(radius_px=6))
    Image.fromarray(to_rgb(blurred)).save(folder / "photos" / "coffee.jpg", quality=92)
    (folder / "photos" / "broken.jpg").write_text("This is no picture.\n")
    return folder


@pytest.fixture(scope="session")
def paths(folder, tmp_path_factory):
    """Paths of these photos and of a flat one, a gray one and one that is turned by its metadata."""
    more = tmp_path_factory.mktemp("more")
    Image.fromarray(np.full((80, 80, 3), 200, np.uint8)).save(more / "flat.png")
    cat = Image.open(folder / "photos" / "cat.jpg")
    cat.convert("L").save(more / "gray.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    cat.save(more / "turned.jpg", exif=exif)
    return sorted(str(path) for each in (folder / "photos", more) for path in each.iterdir())


@pytest.fixture(scope="session")
def wanted(paths):
    """Path -> what a scan says of it."""
    verdicts = blurgate.scan(paths, engine="numpy")
    return {verdict.path: {name: getattr(verdict, name) for name in FIELDS} for verdict in verdicts}


@pytest.fixture(scope="session")
def readable(wanted):
    return [path for path, verdict in wanted.items() if verdict["decision"] != "error"]


@pytest.fixture(scope="package")
def cluster():
    """Ray Data on a cluster of its own, whatever else runs on this machine."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import ray.data

        ray.data.DataContext.get_current()  # sets an option that Ray itself calls deprecated
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    yield ray
    ray.shutdown()  # before the tests of scans on a cluster start their own


def to_verdict(row, prefix="blur_"):
    """What the columns of a row say, with None for no number."""
    found = {name: row[f"{prefix}{name}"] for name in FIELDS}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in found.items()}


def run_stored(code, folder, *words, cwd=None):
    """Run a script of FiftyOne's with a database of its own; skip the test where none can be had."""
    settings = {"FIFTYONE_DATABASE_DIR": str(folder / "db"), "FIFTYONE_DO_NOT_TRACK": "true"}
    environment = {name: value for name, value in os.environ.items() if name != "FIFTYONE_DISABLE_SERVICES"} | settings
    script = "-" if starts_mongo() else str(Path(__file__).parent / "pretended_mongo.py")
    command = [sys.executable, script, *words]
    done = subprocess.run(
        command, input=code, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


def starts_mongo():
    """Tell whether the MongoDB that FiftyOne brings starts; if not, and none can be pretended either, skip the test."""
    program = Path(find_spec("fiftyone").origin).parent / "db" / "bin" / "mongod"
    if program.exists() or "FIFTYONE_DATABASE_URI" in os.environ:
        return True
    if not find_spec("mongomock"):
        pytest.skip("FiftyOne has no MongoDB here, and mongomock is not installed")
    return False
