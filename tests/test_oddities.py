"""Bad and odd files: each gets its verdict or error, the scan continues, and stderr holds only the summary."""

import io
import json
import os
import subprocess
import sys
import warnings
from contextlib import suppress
from dataclasses import asdict

import numpy as np
import pytest
from oddities import (
    DAMAGED,
    FORMATS,
    ODDITIES,
    beside_the_summary,
    encode,
    find_fault,
    load_photo,
    make_corpus,
    make_seeds,
    mutate,
    rows_of,
    with_thumbnail,
)
from PIL import Image, ImageFilter

import blurgate
from blurgate.errors import PhotoError
from blurgate.judging.model import load_model
from blurgate.making.blurs import BLURS
from blurgate.photos.images import read_gray

FOR_ALL = {name: oddity for name, oddity in FORMATS.items() if oddity.any_photo}


def run(*words, gibibytes=6):
    """Run the command line with limited memory, which stops a read from an endless device."""

    def limit_memory():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (gibibytes * 2**30,) * 2)

    return subprocess.run(
        [sys.executable, "-m", "blurgate", *map(os.fspath, words)],
        capture_output=True,
        timeout=600,
        check=False,
        text=True,
        preexec_fn=limit_memory,
    )


@pytest.fixture(scope="module")
def photo():
    return load_photo()


@pytest.fixture(scope="module")
def default():
    return load_model()


@pytest.fixture(scope="module")
def corpus(photo, tmp_path_factory):
    """The folder, and name -> reason for oddities that this system cannot make."""
    folder = tmp_path_factory.mktemp("corpus")
    return folder, make_corpus(folder, photo, ODDITIES)


@pytest.fixture(scope="module")
def rows(corpus):
    """Verdicts under the command line's settings: without Pillow's size limit and warnings."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.filterwarnings("ignore", module="PIL")
        patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        return [asdict(verdict) for verdict in blurgate.scan(corpus[0])]


@pytest.fixture(scope="module")
def finished(corpus):
    return run("scan", corpus[0], "--format", "jsonl")


@pytest.fixture(scope="module")
def blurred_rows(photo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("blurred")
    make_corpus(folder, BLURS["defocus"].apply(photo, {"radius_px": 4.0}), FOR_ALL)
    return folder, [asdict(verdict) for verdict in blurgate.scan(folder)]


def test_the_corpus_is_large_enough():
    assert len(ODDITIES) >= 180
    assert len(DAMAGED) >= 40


def test_the_plain_photo_is_sharp(corpus, rows):
    (plain,) = rows_of("plain", corpus[0], rows)
    assert plain["decision"] == "sharp"
    assert plain["probability"] < 0.1


@pytest.mark.parametrize("name", ODDITIES)
def test_an_oddity_gets_its_verdict(corpus, rows, name):
    folder, skipped = corpus
    if name in skipped:
        pytest.skip(f"cannot be made here: {skipped[name]}")
    (plain,) = rows_of("plain", folder, rows)
    assert find_fault(ODDITIES[name], rows_of(name, folder, rows), plain) == ""


@pytest.mark.parametrize("name", FOR_ALL)
def test_a_blurred_photo_is_blurred_in_every_format(blurred_rows, name):
    folder, rows = blurred_rows
    (plain,) = rows_of("plain", folder, rows)
    assert plain["decision"] == "blurred"
    assert find_fault(FOR_ALL[name], rows_of(name, folder, rows), plain) == ""


def test_every_row_belongs_to_an_oddity(corpus, rows):
    owned = [row["path"] for name in ("plain", *ODDITIES) for row in rows_of(name, corpus[0], rows)]
    assert sorted(owned) == sorted(row["path"] for row in rows)


def test_the_command_line_gives_the_same_rows(rows, finished):
    assert [json.loads(line) for line in finished.stdout.splitlines()] == json.loads(json.dumps(rows))


def test_the_command_line_continues_and_prints_only_the_summary(finished):
    assert finished.returncode == 0
    assert beside_the_summary(finished.stderr) == []


def test_pipes_and_devices_named_directly_are_not_opened(photo, tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    (tmp_path / "c.png").write_bytes(encode(photo, "PNG"))
    finished = run("scan", "--format", "jsonl", *sorted(tmp_path.iterdir()))
    assert [json.loads(line)["decision"] for line in finished.stdout.splitlines()] == ["error", "error", "sharp"]
    assert finished.returncode == 0


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"subsampling": 0}],
    ids=["baseline", "progressive", "restarts", "444"],
)
def test_a_jpeg_truncated_at_any_byte_is_refused(photo, options):
    content = with_thumbnail(photo[:128, :160], **options)
    assert read_gray(content).shape == (128, 160)
    for length in (*range(0, len(content), len(content) // 150), *range(len(content) - 64, len(content))):
        with pytest.raises(PhotoError):
            read_gray(content[:length])


@pytest.mark.parametrize("length", [2, 3, 64, 1000])
def test_a_jpeg_that_ends_in_zeros_is_refused(photo, length):
    content = encode(photo, quality=90)
    with pytest.raises(PhotoError):
        read_gray(content[:-length] + bytes(length))


def test_truncated_pictures_of_other_formats_are_refused(photo):
    for name, content in make_seeds(photo).items():
        if name.endswith((".png", ".webp")) and "animated" not in name:
            for fraction in np.linspace(0.02, 0.97, 40):
                with pytest.raises(PhotoError):
                    read_gray(content[: int(fraction * len(content))])


@pytest.mark.filterwarnings("ignore")  # turned into an error, a warning would hide later failures
def test_mutations_are_read_or_refused(photo, default, capfd):
    seeds = make_seeds(photo)
    for number in range(400):
        content = mutate(seeds, number, seed=6)[1]
        with suppress(PhotoError):
            assert default.predict(content).decision in ("sharp", "blurred", "undecided")
            Image.open(io.BytesIO(content)).load()  # only intact files get a decision, so this must not raise
    assert "Warning" not in capfd.readouterr().err  # libtiff may print others there, which only the command line hides


def test_mutations_are_reproducible(photo):
    seeds = make_seeds(photo)
    assert mutate(seeds, 7, seed=1) == mutate(seeds, 7, seed=1)
    assert len({mutate(seeds, number)[1] for number in range(50)}) == 50


@pytest.fixture
def sixty(photo, tmp_path):
    """Paths of sixty small photos, more than a scan processes at a time."""
    content = encode(photo[:96, :128], quality=90)
    paths = [tmp_path / f"{number:02}.jpg" for number in range(60)]
    for path in paths:
        path.write_bytes(content)
    return paths


def test_a_file_deleted_during_the_scan_gets_an_error(sixty):
    verdicts = blurgate.scan(sixty, jobs=1)
    first = next(verdicts)
    for path in sixty[-5:]:
        path.unlink()
    found = [first, *verdicts]
    assert [verdict.path for verdict in found] == list(map(str, sixty))
    assert all(verdict.error.endswith("does not exist: check the path") for verdict in found[-5:])
    assert not any(verdict.error for verdict in found[:-5])


def test_a_file_replaced_by_a_folder_or_pipe_during_the_scan_gets_an_error(sixty):
    verdicts = blurgate.scan(sixty, jobs=1)
    next(verdicts)
    for path in sixty[-2:]:
        path.unlink()
    sixty[-2].mkdir()
    os.mkfifo(sixty[-1])
    found = list(verdicts)
    assert len(found) == 59
    assert [bool(verdict.error) for verdict in found[-3:]] == [False, True, True]


def test_a_file_changed_during_the_scan_is_read_completely_or_refused(sixty):
    content = sixty[0].read_bytes()
    sixty[-1].write_bytes(content[: len(content) // 3])
    sixty[-2].write_bytes(content[: len(content) // 3])
    verdicts = blurgate.scan(sixty, jobs=1)
    first = next(verdicts)
    sixty[-1].write_bytes(content[: len(content) // 2])  # still being copied
    sixty[-2].write_bytes(content)  # complete by now
    sixty[-3].write_bytes(content[: len(content) // 2])  # being copied again
    sixty[-4].write_bytes(content * 2)
    found = list(verdicts)
    assert [bool(verdict.error) for verdict in found[-4:]] == [False, True, False, True]
    assert found[-2].probability == found[-4].probability == first.probability


def test_a_file_that_changes_while_it_is_read_does_not_crash(photo, monkeypatch, tmp_path):
    """The file changes between opening and decoding."""
    path = tmp_path / "a.png"
    path.write_bytes(encode(photo, "PNG")[:9000])
    opening = Image.open

    def grow(stream, *args, **options):
        picture = opening(stream, *args, **options)
        path.write_bytes(encode(photo[::-1], "PNG"))
        return picture

    monkeypatch.setattr(Image, "open", grow)
    with suppress(PhotoError):
        assert read_gray(path).shape == photo.shape[:2]


# properties that scikit-image tests of its blur_effect: more blur scores higher; colour scores the same as gray


@pytest.mark.parametrize("name", ["astronaut", "camera", "chelsea", "coffee", "rocket", "china"])
def test_more_blur_is_more_probable(default, photographs, name):
    picture = Image.fromarray(photographs[name])
    probabilities = [
        default.predict(picture.filter(ImageFilter.GaussianBlur(sigma))).probability for sigma in (0, 1, 2, 4)
    ]
    assert 0 <= probabilities[0] < probabilities[1] < probabilities[2] <= probabilities[3] + 0.02 <= 1.02
    assert probabilities[0] < 0.5 < probabilities[2]


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket", "china"])
def test_a_colour_photo_gets_the_verdict_of_its_gray(default, photographs, name):
    picture = Image.fromarray(photographs[name])
    assert default.predict(picture) == default.predict(picture.convert("L"))
    assert default.predict(np.asarray(picture)) == default.predict(np.asarray(picture.convert("L")))


@pytest.mark.parametrize("value", [0, 1, 127, 255])
def test_flat_photos_are_undecided(default, value):
    verdict = default.predict(np.full((200, 300), value, np.uint8))
    assert (verdict.decision, verdict.probability) == ("undecided", None)
    assert verdict.reason.startswith("too little texture")


def test_sensor_noise_alone_is_not_confidently_sharp(default):
    noise = np.random.default_rng(0).normal(127, 2, (400, 600)).clip(0, 255).astype(np.uint8)
    verdict = default.predict(noise)
    assert verdict.decision != "sharp" or verdict.probability > 0.05
