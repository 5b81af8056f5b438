"""The OpenAPI description against the service that it describes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the benchmark needs Linux")
def test_requests_made_from_the_description_get_documented_answers():
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    command = [sys.executable, ROOT / "benchmarks/service.py", "schemathesis", "--minutes", "0.1"]
    done = subprocess.run([*command, "--serve", "--workers 1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout)
    statuses = {int(status) for counts in results["statuses"].values() for status in counts}
    assert {200, 405} <= statuses
    assert max(statuses) < 500
    assert results["report"]["test_cases"]["generated"] > 50
    assert results["end"]["printed"] == []
