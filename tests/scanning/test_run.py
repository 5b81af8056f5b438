"""A whole scan without the command line: the flow that a shell, a service and a cluster share."""

import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from blurgate import load_model, scan
from blurgate.errors import OutputError, PhotoError
from blurgate.files import hold
from blurgate.scanning import run
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


def test_the_report_of_a_model_that_explains_has_a_map(sharp_folder, explaining_model, tmp_path):
    photo = min(sharp_folder.iterdir())
    run_scan(ScanRequest(photos=[photo], model=explaining_model, report=tmp_path / "r.html", output=tmp_path / "v.csv"))
    assert 'id="explanation-0"' in (tmp_path / "r.html").read_text()


def test_photos_in_memory_can_go_to_a_stream(model, astronaut):
    output = io.StringIO()
    run_scan(ScanRequest(photos=[astronaut], model=model, format="csv"), stream=output)
    assert output.getvalue().splitlines()[1].startswith(",sharp,")


def test_a_decision_can_fail_a_scan(request_all):
    outcome = run_scan(replace(request_all, threshold=0.0, fail_on=["blurred"]))
    assert (outcome.failed, outcome.failures) == (True, ("48 of 48 photos are blurred",))
    assert not run_scan(replace(request_all, threshold=1.0, fail_on=["blurred"])).failed
    undecided = replace(request_all, threshold=None, review=(0.0, 1.0), fail_on=["undecided", "blurred"])
    assert run_scan(undecided).failures == ("48 of 48 photos are undecided",)


@pytest.fixture(params=["torn", "gone", "folder"])
def unreadable(request, tmp_path):
    """A path that exists when the scan begins, or not, and cannot be judged."""
    path = tmp_path / "no.jpg"
    if request.param == "torn":
        path.write_text("no photo")
    elif request.param == "folder":
        path.mkdir()
        (path / ".hidden").touch()
    return path


@pytest.mark.parametrize("fail_on", ["blurred", "undecided"])
def test_a_gate_fails_closed(request_all, unreadable, sharp_folder, fail_on):
    photos = iter([str(min(sharp_folder.iterdir())), str(unreadable)])  # a list, as from stdin, may name what is gone
    if unreadable.is_dir():
        photos = [str(sharp_folder), str(unreadable.parent)]  # a folder with a photo's name is a photo that is not one
    gate = replace(request_all, photos=photos, threshold=1.0, fail_on=[fail_on])
    (failure,) = run_scan(gate).failures
    assert f"1 of {49 if unreadable.is_dir() else 2} photos could not be judged: {unreadable} " in failure
    assert failure.endswith("To ignore such photos, add --allow-unreadable")


def test_unreadable_photos_fail_a_gate_unless_allowed_and_a_scan_if_strict(request_all, tmp_path):
    (tmp_path / "no.jpg").write_text("no photo")
    bad = replace(request_all, photos=[str(tmp_path / "no.jpg")])
    assert not run_scan(bad).failed
    assert run_scan(replace(bad, strict=True)).failed
    assert run_scan(replace(bad, strict=True, fail_on=["blurred"])).failed
    allowed = replace(bad, fail_on=["blurred"], allow_unreadable=True)
    assert run_scan(allowed).failures == ("no photo was judged, so none passes: name at least one that can be read",)
    Image.new("L", (70, 70)).save(tmp_path / "plain.png")
    said = []
    assert not run_scan(replace(allowed, photos=[str(tmp_path)]), say=said.append).failed
    assert "1 photo undecided: add --fail-on undecided to fail on them too" in said
    for changes in ({}, {"fail_on": ["blurred"], "strict": True}):
        with pytest.raises(ValueError, match="allow-unreadable goes with fail-on and without strict"):
            run_scan(replace(bad, allow_unreadable=True, **changes))


def test_a_gate_names_the_first_unreadable_photos_and_counts_the_others(request_all, tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.jpg").write_text("no photo")
    (failure,) = run_scan(replace(request_all, photos=[str(tmp_path)], fail_on=["blurred"])).failures
    assert failure.startswith(f"9 of 9 photos could not be judged: {tmp_path}/0.jpg cannot be read: ")
    assert failure.count("it is not a picture in any known format") == 3
    assert "; and 6 more. " in failure


def test_a_folder_that_cannot_be_listed_fails_a_gate(request_all, tmp_path, sharp_folder, monkeypatch):
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    gate = replace(request_all, photos=[str(sharp_folder), str(tmp_path)], threshold=1.0, fail_on=["blurred"])
    assert "closed cannot be searched for photos" in run_scan(gate).failures[0]


def test_a_gate_without_any_photo_fails(request_all, tmp_path):
    (tmp_path / "empty").mkdir()
    for photos in ([str(tmp_path / "empty")], iter([]), iter([str(tmp_path / "empty")])):
        with pytest.raises(PhotoError, match="found no photos"):
            run_scan(replace(request_all, photos=photos, fail_on=["blurred"], allow_unreadable=True))
    none = run_scan(replace(request_all, photos=[], fail_on=["blurred"], allow_unreadable=True))
    assert none.failures == ("no photo was judged, so none passes: name at least one that can be read",)
    assert not run_scan(replace(request_all, photos=[])).failed


def test_a_gate_judges_what_records_of_another_version_know(request_all, monkeypatch):
    whole = replace(request_all, resume=True, threshold=1.0, fail_on=["blurred"])
    assert run_scan(whole).tally.known == 0
    assert run_scan(whole).tally.known == 48
    assert run_scan(replace(whole, threshold=0.0)).failed  # photos in records count
    monkeypatch.setattr("blurgate.scanning.judge.__version__", "0.0")
    assert run_scan(whole).tally.known == 0


def test_one_text_in_place_of_several_is_refused(request_all):
    for name in ("roots", "include", "exclude", "fail_on"):
        with pytest.raises(TypeError, match=f"{name} must be a list, got 'blurred'"):
            run_scan(replace(request_all, **{name: "blurred"}))


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
        ({"roots": [request_all.output]}, "v.jsonl is read and cannot be the output too: choose another name"),
        ({"output": sharp_folder / "labels.csv"}, "labels.csv is read and cannot be the output too"),
    ):
        with pytest.raises(ValueError, match=message):
            run_scan(replace(request_all, **changes))
    with pytest.raises(OutputError, match="expected an open output, but stdout is closed: name a file with --output"):
        run_scan(replace(request_all, output=None))
    (photo, *_) = sorted(sharp_folder.iterdir())
    with pytest.raises(OutputError, match="expected a folder to copy photos to, but .* is a file: choose another name"):
        run_scan(replace(request_all, action="copy", folder=photo))


@pytest.fixture
def moving(request_all, sharp_folder, tmp_path, monkeypatch):
    """A scan of three photos that moves them and was interrupted before the last."""
    (tmp_path / "in").mkdir()
    for path in sorted(sharp_folder.iterdir())[:3]:
        shutil.copy(path, tmp_path / "in")
    request = replace(
        request_all,
        photos=[str(tmp_path / "in")],
        roots=[tmp_path / "in"],
        output=tmp_path / "v.jsonl",
        action="move",
        folder=tmp_path / "out",
        jobs=1,
    )
    with monkeypatch.context() as patch:
        link, remaining = Path.hardlink_to, iter(range(2))
        patch.setattr(
            Path, "hardlink_to", lambda path, to: link(path, to) if next(remaining, None) is not None else 1 / 0
        )
        with pytest.raises(ZeroDivisionError):
            run_scan(request)
    return request


def rows_of(request):
    return [json.loads(line) for line in request.output.read_text().splitlines()]


def test_moved_photos_keep_their_rows(moving, tmp_path):
    messages = []
    outcome = run_scan(replace(moving, resume=True), say=messages.append)
    assert [Path(row["path"]).parent for row in rows_of(moving)] == [tmp_path / "in"] * 3
    assert [row["path"] for row in rows_of(moving)] == sorted(row["path"] for row in rows_of(moving))
    assert str(outcome.filing) == f"moved 1 photo to {tmp_path / 'out'}; 2 were there already"
    assert messages == [f"wrote {moving.output}"]
    before = rows_of(moving)
    shutil.copy(next((tmp_path / "out").rglob("*.png")), tmp_path / "in" / before[1]["path"])  # again, under that name
    run_scan(replace(moving, resume=True))
    assert [row["path"] for row in rows_of(moving)] == [before[index]["path"] for index in (0, 1, 1, 2)]
    assert len([*(tmp_path / "out").rglob("*.png")]) == 4


def test_moved_photos_that_were_named_one_by_one_keep_their_rows(moving, tmp_path):
    named = [str(tmp_path / "in" / Path(path).name) for path in sorted((tmp_path / "in").iterdir())]
    moved = [str(tmp_path / "in" / path.name) for path in (tmp_path / "out").rglob("*.png")]
    names = sorted(named + moved)
    for photos in (names, iter(names)):
        run_scan(replace(moving, resume=True, photos=photos, roots=()))
        assert [row["path"] for row in rows_of(moving)] == names
        assert not any(row["error"] for row in rows_of(moving))


def test_records_of_moved_photos_are_not_thrown_away(moving, tmp_path):
    before = moving.records.read_bytes()
    for changes, message in (
        (
            {},
            "v.jsonl.resume has the rows of 3 photos that an earlier scan moved: add --resume to continue that scan",
        ),
        ({"action": None, "folder": None}, "add --resume to continue that scan, or delete the file to start over"),
        ({"resume": True, "action": None, "folder": None}, "give the same --move-to again, or choose another output"),
        ({"resume": True, "action": "copy"}, "give the same --move-to again"),
        ({"resume": True, "folder": tmp_path / "elsewhere"}, "give the same --move-to again"),
    ):
        with pytest.raises(OutputError, match=message):
            run_scan(replace(moving, **changes))
    assert moving.records.read_bytes() == before
    assert not moving.output.exists()


def test_moved_photos_that_are_gone_are_left_out_and_said_to_be(moving, tmp_path):
    next((tmp_path / "out").rglob("*.png")).unlink()
    messages = []
    run_scan(replace(moving, resume=True), say=messages.append)
    assert len(rows_of(moving)) == 2
    assert messages[0].startswith("left out 1 of the photos that an earlier scan moved: they came from elsewhere, or")


def test_another_model_judges_moved_photos_where_they_lie(moving, tmp_path):
    run_scan(replace(moving, resume=True, model="trees", report=tmp_path / "r.html"))
    verdicts = {path.name: load_model("trees").predict(path) for path in (tmp_path / "out").rglob("*.png")}
    assert [row["probability"] for row in rows_of(moving)] == [
        verdicts[Path(row["path"]).name].probability for row in rows_of(moving)
    ]


def test_a_dry_run_keeps_the_rows_and_ends_no_move(moving, tmp_path):
    before = sorted(tmp_path.rglob("*.png"))
    outcome = run_scan(replace(moving, resume=True, dry_run=True))
    assert sorted(tmp_path.rglob("*.png")) == before
    assert len(rows_of(moving)) == 3
    assert str(outcome.filing) == "would have moved 1 photo; 2 were there already"


def test_a_scan_without_resume_judges_anew_and_loses_nothing_if_it_is_interrupted(request_all, monkeypatch):
    request = replace(request_all, photos=request_all.photos * 2)
    run_scan(replace(request, resume=True))
    saved, messages = request.records.read_bytes(), []
    monkeypatch.setattr("blurgate.scanning.run.sort_verdicts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_scan(replace(request, sort="worst"), say=messages.append)
    assert request.records.read_bytes() == saved
    assert messages == [f"judging 48 photos again that {request.records} knows from an earlier scan: see --resume"]
    monkeypatch.undo()
    run_scan(request)
    assert not request.records.exists()


def test_one_scan_at_a_time_writes_an_output(request_all):
    def start_another(verdicts, _):
        with pytest.raises(
            OutputError, match="another run of blurgate is writing v.jsonl: wait until it has ended, or"
        ):
            run_scan(request_all)
        yield from verdicts

    run_scan(request_all, show=start_another)
    assert len(rows_of(request_all)) == 48


def copy_photos(sharp_folder, folder, names=("a.png", "sub/b.png")):
    for source, name in zip(sorted(sharp_folder.iterdir()), names, strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)
    return folder


def make_move(inbox, model, tmp_path, **options):
    return ScanRequest(
        photos=[str(inbox)], roots=[inbox], model=model, threshold=1.0, jobs=1, engine="numpy",
        **{"output": tmp_path / "v.csv", "action": "move", "folder": tmp_path / "out"} | options,
    )  # fmt: skip


def test_one_scan_at_a_time_moves_photos_to_a_folder(sharp_folder, model, tmp_path):
    move = make_move(copy_photos(sharp_folder, tmp_path / "in"), model, tmp_path)
    with hold(tmp_path / "out"):
        with pytest.raises(OutputError, match="another run of blurgate is writing out: wait until it has ended, or"):
            run_scan(move)
        assert run_scan(replace(move, dry_run=True)).filing
        assert run_scan(replace(move, action="copy", folder=tmp_path / "out")).filing
    assert run_scan(move).tally.total == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in", "out", "v.csv"]


def test_a_moved_photo_survives_when_its_folder_becomes_a_link_to_it(sharp_folder, model, tmp_path):
    move = make_move(copy_photos(sharp_folder, tmp_path / "in"), model, tmp_path, resume=True)
    run_scan(move)
    (tmp_path / "in/sub").rmdir()
    (tmp_path / "in/sub").symlink_to("../out/sharp/sub")
    before = move.output.read_text()
    run_scan(move)
    assert (tmp_path / "out/sharp/sub/b.png").is_file()
    assert move.output.read_text() == before


def test_a_scan_of_what_it_would_move_where_it_is_loses_nothing(sharp_folder, model, tmp_path):
    run_scan(make_move(copy_photos(sharp_folder, tmp_path / "in"), model, tmp_path))
    outcome = run_scan(make_move(tmp_path / "out/sharp", model, tmp_path))
    assert sum(path.is_file() for path in (tmp_path / "out/sharp").rglob("*.png")) == 2
    assert str(outcome.filing) == f"moved 0 photos to {tmp_path / 'out'}; 2 were there already"


def test_a_move_that_ends_before_its_gallery_is_written_can_be_continued(sharp_folder, model, tmp_path, monkeypatch):
    move = make_move(copy_photos(sharp_folder, tmp_path / "in"), model, tmp_path, report=tmp_path / "g.html")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "write_gallery", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        run_scan(move)
    before = move.output.read_text()
    assert run_scan(replace(move, resume=True)).tally.total == 2
    assert move.output.read_text() == before
    assert "sub/b.png" in move.report.read_text()


def test_a_moved_photo_that_is_another_now_is_judged_again(sharp_folder, model, tmp_path):
    move = make_move(copy_photos(sharp_folder, tmp_path / "in"), model, tmp_path, resume=True)
    run_scan(move)
    moved = sorted((tmp_path / "out").rglob("*.png"))
    shutil.copy(sorted(sharp_folder.iterdir())[40], moved[0])
    moved[1].write_bytes(b"")
    rows = move.output.read_text().splitlines()
    outcome = run_scan(move)
    again = move.output.read_text().splitlines()
    assert (again[0], again[1] == rows[1], again[2] == rows[2]) == (rows[0], False, False)
    assert outcome.tally.decisions["error"] == 1


def test_a_users_own_folder_is_not_said_to_be_filed(sharp_folder, model, tmp_path):
    mixed, said = copy_photos(sharp_folder, tmp_path / "mixed", ("a.png", "blurred/b.png")), []
    copy = make_move(mixed, model, tmp_path, action="copy", folder=mixed)
    assert run_scan(copy, say=said.append).tally.total == 1
    line = f"left out 1 photo in {mixed / 'blurred'}, where this scan files photos: name that folder to scan it"
    assert line in said
    run_scan(copy, say=said.append)
    assert (
        f"left out 1 photo in {mixed / 'sharp'}, where an earlier scan filed them: name that folder to scan it" in said
    )


def test_a_gate_fails_on_photos_that_a_mark_hides_unless_it_files_there(sharp_folder, model, tmp_path):
    inbox = copy_photos(sharp_folder, tmp_path / "in")
    copy = make_move(inbox, model, tmp_path, action="copy", folder=inbox / "out", fail_on=["blurred"])
    assert not run_scan(copy).failed
    assert not run_scan(copy).failed
    (failure,) = run_scan(replace(copy, action=None, folder=None)).failures
    assert failure == (
        f"2 photos in {inbox / 'out'}, where an earlier scan filed photos, were left out: name that folder to scan it, "
        "or exclude it"
    )
    assert not run_scan(replace(copy, action=None, folder=None, exclude=["out"])).failed


def test_a_second_move_says_that_nothing_is_left(sharp_folder, model, tmp_path):
    move = make_move(copy_photos(sharp_folder, tmp_path / "in"), model, tmp_path)
    run_scan(move)
    with pytest.raises(
        PhotoError, match=r"found no photos in .*: nothing is left to move if an earlier scan has moved"
    ):
        run_scan(move)


def test_a_scan_of_filed_photos_alone_says_where_they_are(request_all, sharp_folder, tmp_path):
    shutil.copytree(sharp_folder, tmp_path / "in")
    asked = replace(request_all, photos=[str(tmp_path / "in")], roots=[tmp_path / "in"])
    run_scan(replace(asked, action="move", folder=tmp_path / "out"))
    said = []
    with pytest.raises(PhotoError, match="found no photos"):
        run_scan(replace(asked, photos=[str(tmp_path)], roots=[tmp_path]), say=said.append)
    assert said == [
        f"left out 48 photos in {tmp_path}/out, where an earlier scan filed them: name that folder to scan it"
    ]
