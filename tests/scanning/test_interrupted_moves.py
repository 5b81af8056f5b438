"""A scan that moves photos, killed after each of its steps and resumed: nothing is lost, and nothing is there twice."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

CODE = """
import json, os, shutil, sys
from pathlib import Path

from blurgate.judging.model import load_model
from blurgate.scanning import filing, records
from blurgate.scanning.run import ScanRequest, run_scan

LINKS = sys.argv[1] == "links"
MODEL = load_model("trees")
STEPS = {
    Path: ("mkdir", "unlink", "rename", "hardlink_to"),
    shutil: ("copyfileobj", "copystat"),
    filing: ("mark_filed",),
    records.Records: ("add", "intend"),
}


def refuse(*_):
    raise OSError(18, "Invalid cross-device link")


def set_up(kill_at):
    if not LINKS:
        rename = Path.rename
        Path.hardlink_to = refuse
        Path.rename = lambda path, to: rename(path, to) if path.suffix == ".partial" else refuse()
    steps = iter(range(kill_at))

    def kill():
        if next(steps, None) is None:
            os._exit(9)

    def around(step):
        def run(*arguments, **options):
            result = step(*arguments, **options)
            kill()
            return result
        return run

    for place, names in STEPS.items():
        for name in names:
            setattr(place, name, around(getattr(place, name)))


def scan(kill_at):
    if not (child := os.fork()):
        set_up(kill_at)
        photos = ["inbox", "alone.png"]
        run_scan(ScanRequest(
            photos=photos, roots=[Path(photo) for photo in photos], model=MODEL, output=Path("v.csv"), resume=True,
            action="move", folder=Path("sorted"), jobs=1, engine="numpy",
        ))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def look(*kinds):
    files = [path for kind in kinds for path in Path().glob(kind) if path.is_file()]
    return {str(path): path.read_bytes().hex() for path in files if path.name != ".blurgate-filed"}


def start_over():
    for path in Path().iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree("../inbox", "inbox")
    shutil.copy("../alone.png", "alone.png")


start_over()
before = look("inbox/**/*", "alone.png")
assert scan(10**9) == 0
wanted = look("**/*")
found = {"photos": len(before), "kills": 0, "lost": [], "different": []}
while True:
    start_over()
    ended = scan(found["kills"])
    if ended == 0:
        break
    if set(before.values()) - set(look("inbox/**/*", "alone.png", "sorted/**/*").values()):
        found["lost"].append(found["kills"])
    if scan(10**9) != 0 or look("**/*") | {"v.csv.resume": ""} != wanted | {"v.csv.resume": ""}:
        found["different"].append(found["kills"])
    found["kills"] += 1
print(json.dumps(found))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("how", ["links", "copies"])
def test_a_move_killed_at_any_step_loses_neither_photo_nor_row(sharp_folder, tmp_path, how):
    photos = sorted(sharp_folder.iterdir())
    for number, name in enumerate(("inbox/a.png", "inbox/a b/a.png", "alone.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(photos[15 * number]).crop((0, 0, 64, 64)).save(tmp_path / name)
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-c", CODE, how]
    done = subprocess.run(command, cwd=tmp_path / "work", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["lost"], found["different"]) == ([], [])
    assert found["photos"] == 3
    assert found["kills"] > 20
