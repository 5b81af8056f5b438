"""Workers end with the command that started them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = """
import time
from models.workers import open_workers
if __name__ == "__main__":
    with open_workers() as pool:
        pool.submit(time.sleep, 0).result()
        print("working", flush=True)
        pool.submit(time.sleep, 600).result()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a process that can be killed")
def test_a_killed_command_leaves_no_worker(tmp_path):
    (tmp_path / "command.py").write_text(COMMAND)
    root = Path(__file__).parents[2]
    command = subprocess.Popen(
        [sys.executable, tmp_path / "command.py"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    )
    assert command.stdout.readline() == "working\n"
    command.kill()
    assert command.communicate(timeout=60)[0] == ""  # the pipe closes when the last worker has ended
