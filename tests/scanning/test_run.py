"""A whole scan below the command line: the same flow for a shell, a service and a cluster."""

import io
import json
from dataclasses import replace

import pytest

from blurgate import scan
from blurgate.errors import OutputError
from blurgate.scanning.run import ScanRequest, run_scan


@pytest.fixture
def request_of_all(sharp_folder, model, tmp_path):
    return ScanRequest(
        photos=[str(sharp_folder)], roots=[sharp_folder], model=model, output=tmp_path / "v.jsonl", threshold=0.5
    )


def test_it_writes_what_scan_yields(request_of_all, sharp_folder, model):
    outcome = run_scan(request_of_all)
    rows = [json.loads(line) for line in request_of_all.output.read_text().splitlines()]
    verdicts = list(scan(sharp_folder, model=model, threshold=0.5))
    assert [row["probability"] for row in rows] == [verdict.probability for verdict in verdicts]
    assert outcome.tally.decisions.total() == len(rows) == 48
    assert (outcome.filing, outcome.failed) == (None, False)
    assert not request_of_all.records.exists()


def test_photos_in_memory_need_no_file(model, astronaut):
    stream = io.StringIO()
    run_scan(ScanRequest(photos=[astronaut], model=model, format="csv"), stream=stream)
    assert stream.getvalue().splitlines()[1].startswith(",sharp,")


def test_decisions_and_unreadable_photos_can_fail_it(request_of_all, tmp_path):
    assert run_scan(replace(request_of_all, threshold=0.0, fail_on=["blurred"])).failed
    assert not run_scan(replace(request_of_all, threshold=1.0, fail_on=["blurred"])).failed
    (tmp_path / "no.jpg").write_text("no photo")
    bad = replace(request_of_all, photos=[str(tmp_path / "no.jpg")])
    assert not run_scan(bad).failed
    assert run_scan(replace(bad, strict=True)).failed


def test_messages_and_progress_go_to_the_caller(request_of_all, tmp_path):
    said, counted = [], []

    def show(verdicts, count):
        counted.append(count())
        return iter(verdicts)

    filed = replace(request_of_all, action="copy", folder=tmp_path / "filed", dry_run=True)
    outcome = run_scan(filed, say=said.append, show=show)
    assert counted == [48]
    assert len(said) == 49
    assert said[0].startswith("would copy ")
    assert str(outcome.filing) == "would have copied 48 photos"
    assert not (tmp_path / "filed").exists()


def test_a_stream_of_photos_is_not_counted(request_of_all):
    seen = []
    run_scan(
        replace(request_of_all, photos=iter(request_of_all.photos)),
        show=lambda verdicts, count: seen.append(count) or iter(verdicts),
    )
    assert seen == [None]


def test_requests_that_cannot_be_carried_out(request_of_all, sharp_folder):
    for changes, message in (
        ({"sort": "best"}, "sort must be one of worst, path, got 'best'"),
        ({"fail_on": ["sharp"]}, "fail-on must be one of blurred, undecided, got 'sharp'"),
        ({"output": None, "resume": True}, "resume needs an output"),
        ({"resume": True, "action": "move", "folder": sharp_folder}, "resume finds photos where they were"),
    ):
        with pytest.raises(ValueError, match=message):
            run_scan(replace(request_of_all, **changes))
    with pytest.raises(OutputError, match="stdout is closed"):
        run_scan(replace(request_of_all, output=None))
    (photo, *_) = sorted(sharp_folder.iterdir())
    with pytest.raises(OutputError, match="is a file: choose another name"):
        run_scan(replace(request_of_all, action="copy", folder=photo))
    with pytest.raises(OutputError, match="is named twice"):
        run_scan(replace(request_of_all, roots=[request_of_all.output]))
