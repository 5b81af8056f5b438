"""A whole scan without the command line: the flow that a shell, a service and a cluster share."""

import io
import json
from dataclasses import replace

import pytest

from blurgate import scan
from blurgate.errors import OutputError
from blurgate.scanning.run import ScanRequest, run_scan


@pytest.fixture
def request_all(sharp_folder, model, tmp_path):
    return ScanRequest(
        photos=[str(sharp_folder)], roots=[sharp_folder], model=model, output=tmp_path / "v.jsonl", threshold=0.5
    )


def test_it_writes_the_verdicts_of_scan(request_all, sharp_folder, model):
    outcome = run_scan(request_all)
    rows = [json.loads(line) for line in request_all.output.read_text().splitlines()]
    verdicts = list(scan(sharp_folder, model=model, threshold=0.5))
    assert [row["probability"] for row in rows] == [verdict.probability for verdict in verdicts]
    assert outcome.tally.decisions.total() == len(rows) == 48
    assert (outcome.filing, outcome.failed) == (None, False)
    assert not request_all.records.exists()


def test_photos_in_memory_can_go_to_a_stream(model, astronaut):
    stream = io.StringIO()
    run_scan(ScanRequest(photos=[astronaut], model=model, format="csv"), stream=stream)
    assert stream.getvalue().splitlines()[1].startswith(",sharp,")


def test_decisions_and_unreadable_photos_can_fail_a_scan(request_all, tmp_path):
    assert run_scan(replace(request_all, threshold=0.0, fail_on=["blurred"])).failed
    assert not run_scan(replace(request_all, threshold=1.0, fail_on=["blurred"])).failed
    (tmp_path / "no.jpg").write_text("no photo")
    bad = replace(request_all, photos=[str(tmp_path / "no.jpg")])
    assert not run_scan(bad).failed
    assert run_scan(replace(bad, strict=True)).failed


def test_messages_and_progress_reach_the_caller(request_all, tmp_path):
    messages, counted = [], []

    def show(verdicts, count):
        counted.append(count())
        return iter(verdicts)

    filed = replace(request_all, action="copy", folder=tmp_path / "filed", dry_run=True)
    outcome = run_scan(filed, say=messages.append, show=show)
    assert counted == [48]
    assert len(messages) == 49
    assert messages[0].startswith("would copy ")
    assert str(outcome.filing) == "would have copied 48 photos"
    assert not (tmp_path / "filed").exists()


def test_raw_files_that_are_left_out_are_named(request_all, tmp_path):
    (tmp_path / "mixed").mkdir()
    for name in ("a.nef", "b.NEF", "c.cr3"):
        (tmp_path / "mixed" / name).touch()
    messages = []
    both = [*request_all.photos, str(tmp_path / "mixed")]
    run_scan(replace(request_all, photos=both), say=messages.append)
    assert messages[0] == (
        "found 3 raw files (.cr3, .nef), which are left out: "
        "develop them, name them, or include '*.nef' to judge their previews"
    )


def test_a_stream_of_photos_is_not_counted(request_all):
    seen = []
    run_scan(
        replace(request_all, photos=iter(request_all.photos)),
        show=lambda verdicts, count: seen.append(count) or iter(verdicts),
    )
    assert seen == [None]


def test_contradictory_requests_are_refused(request_all, sharp_folder):
    for changes, message in (
        ({"sort": "best"}, "sort must be one of worst, path, got 'best'"),
        ({"fail_on": ["sharp"]}, "fail-on must be one of blurred, undecided, got 'sharp'"),
        ({"output": None, "resume": True}, "resume needs an output file"),
        ({"resume": True, "action": "move", "folder": sharp_folder}, "resume needs photos to stay where they are"),
    ):
        with pytest.raises(ValueError, match=message):
            run_scan(replace(request_all, **changes))
    with pytest.raises(OutputError, match="expected an open output, but stdout is closed: name a file with --output"):
        run_scan(replace(request_all, output=None))
    (photo, *_) = sorted(sharp_folder.iterdir())
    with pytest.raises(OutputError, match="expected a folder to copy photos to, but .* is a file: choose another name"):
        run_scan(replace(request_all, action="copy", folder=photo))
    with pytest.raises(OutputError, match="is named twice"):
        run_scan(replace(request_all, roots=[request_all.output]))
