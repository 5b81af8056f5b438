import errno
import gzip
import io
import shutil
import threading
import weakref
import zipfile
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from blurgate.errors import MachineError, NetError, PhotoError
from blurgate.judging.model import load_model
from blurgate.measuring import engines
from blurgate.measuring.engines import load_torch
from blurgate.photos import images
from blurgate.scanning.items import poll
from blurgate.scanning.stream import scan


def test_verdicts_keep_the_order_of_the_photos_and_bad_files_do_not_stop_the_scan(sharp_folder, model, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(sharp_folder, folder)
    (folder / "astronaut_0_9.jpg").write_text("hello")
    Image.new("L", (40, 30), 9).save(folder / "small.png")
    verdicts = list(scan([folder], model=model, jobs=2))
    assert [verdict.path for verdict in verdicts] == sorted(map(str, folder.iterdir()))
    by_name = {verdict.path.rsplit("/", 1)[1]: verdict for verdict in verdicts}
    assert by_name["astronaut_0_9.jpg"].error.endswith("it is not a picture in any known format")
    assert by_name["astronaut_0_9.jpg"].decision == "error"
    assert by_name["small.png"].decision == "undecided"
    assert sum(verdict.decision in ("sharp", "blurred") for verdict in verdicts) == 48


def test_verdicts_equal_those_of_predict(sharp_folder, model):
    path = min(sharp_folder.iterdir())
    assert list(scan([path], model=model)) == [model.predict(path)]


def test_photos_without_texture_are_undecided(model, tmp_path):
    Image.new("L", (200, 200), 0).save(tmp_path / "black.png")
    Image.new("L", (200, 200), 255).save(tmp_path / "white.jpg")
    for verdict in scan([tmp_path], model=model):
        assert (verdict.decision, verdict.kind) == ("undecided", "")
        assert verdict.reason.startswith("too little texture")


def test_the_verdict_of_a_large_photo_has_its_own_size(model, photographs, tmp_path):
    large = Image.fromarray(photographs["coffee"]).resize((2400, 1600))
    large.save(tmp_path / "large.png")
    large.save(tmp_path / "large.jpg", quality=95)
    large.resize((1200, 800), Image.Resampling.BOX).save(tmp_path / "small.png")
    jpeg, png, small = scan([tmp_path], model=model)
    assert (jpeg.width, jpeg.height, png.width) == (2400, 1600, 2400)
    assert jpeg.probability == pytest.approx(png.probability, abs=0.1)
    assert png.probability == pytest.approx(small.probability, abs=0.02)


def test_the_shipped_model_is_the_default(sharp_folder):
    path = min(sharp_folder.iterdir())
    assert list(scan([path])) == [load_model().predict(path)]


def test_missing_paths_and_empty_folders_are_refused(model, tmp_path):
    with pytest.raises(PhotoError, match="nowhere does not exist"):
        list(scan([tmp_path / "nowhere"], model=model))
    with pytest.raises(PhotoError, match="found no photos in the given folders: check the path"):
        list(scan([tmp_path], model=model))
    with pytest.raises(PhotoError, match="found no photos: the list is empty, or names only folders without photos"):
        list(scan(iter([]), model=model))
    with pytest.raises(PhotoError, match="no photo passes include and exclude: check the patterns"):
        list(scan([tmp_path], model=model, include=["*.gif"]))


def test_every_engine_gives_the_same_verdicts(sharp_folder):
    pytest.importorskip("llvmlite", reason="needs the extra fast")
    by_numpy, by_compiled = (list(scan([sharp_folder], engine=engine)) for engine in ("numpy", "compiled"))
    assert [verdict.decision for verdict in by_compiled] == [verdict.decision for verdict in by_numpy]
    for one, other in zip(by_compiled, by_numpy, strict=True):
        assert one.path == other.path
        assert one.probability == pytest.approx(other.probability, abs=0.02)  # rounding may cross a split of a tree


def test_a_scan_on_torch_gives_the_same_verdicts(sharp_folder, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs the extra gpu")
    (tmp_path / "no.jpg").write_text("no photo")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "small.png")
    paths = [tmp_path / "no.jpg", sharp_folder, tmp_path / "small.png"]
    by_numpy = list(scan(paths, engine="numpy"))
    monkeypatch.setattr(engines, "load_torch", lambda device: load_torch("cpu"))
    by_torch = list(scan(paths, device="cuda"))
    assert [(v.path, v.decision, v.reason, v.error) for v in by_torch] == [
        (v.path, v.decision, v.reason, v.error) for v in by_numpy
    ]


def test_unknown_engines_and_devices_are_refused(sharp_folder, model):
    with pytest.raises(ValueError, match="engine must be one of auto, numpy, compiled, got 'fast'"):
        scan([sharp_folder], model=model, engine="fast")
    with pytest.raises(ValueError, match="device must be one of cpu, cuda, got 'tpu'"):
        scan([sharp_folder], model=model, device="tpu")
    with pytest.raises(ValueError, match="the engine compiled runs only on the CPU, got the device cuda"):
        scan([sharp_folder], model=model, device="cuda", engine="compiled")


def test_photos_are_read_lazily(sharp_folder, model, monkeypatch):
    opened = []
    measure = type(model).measure
    monkeypatch.setattr(
        type(model), "measure", lambda self, path, **rest: opened.append(path) or measure(self, path, **rest)
    )
    verdicts = scan([sharp_folder] * 3, model=model, jobs=1)
    next(verdicts)
    assert len(opened) < 30 < 3 * 48
    assert len(list(verdicts)) == len(opened) - 1


def test_a_single_path_needs_no_list(sharp_folder, model):
    path = min(sharp_folder.iterdir())
    assert list(scan(path, model=model)) == list(scan(str(path), model=model)) == list(scan([path], model=model))


def test_the_rows_of_a_table_have_one_verdict_each(sharp_folder, model, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    good, other = sorted(sharp_folder.iterdir())[:2]
    frame = pandas.DataFrame(
        {"id": range(5), "path": [good, None, str(tmp_path), str(tmp_path / "no.jpg"), str(other)]}
    )
    verdicts = list(scan(frame, model=model))
    assert [verdict.path for verdict in verdicts] == [
        str(good),
        "",
        str(tmp_path),
        str(tmp_path / "no.jpg"),
        str(other),
    ]
    assert [verdict.error.split(" ", 1)[-1] for verdict in verdicts] == [
        "",
        "row has no photo: its cell is empty",
        "is a folder, but a picture file was needed: name a file in it",
        "does not exist: check the path",
        "",
    ]
    frame = pandas.DataFrame({"picture": [good.read_bytes(), b"no picture", 3.0, pandas.NA]})
    by_bytes = list(scan(frame, model=model))
    assert by_bytes[0].probability == verdicts[0].probability
    assert by_bytes[1].error == "the picture cannot be read: it is not a picture in any known format"
    with pytest.raises(ValueError, match="expected a column of photos, but the table has a, b: name one"):
        scan(pandas.DataFrame({"a": [1], "b": [2]}), model=model)
    with pytest.raises(ValueError, match="expected a column named c, but the table has a: name one"):
        scan(pandas.DataFrame({"a": [1]}), column="c", model=model)


def test_datasets_of_rows_are_read_row_by_row(sharp_folder, model):
    class Rows:  # like a Hugging Face dataset
        column_names, features = ("label", "image"), {}

        def __len__(self):
            return 2

        def __iter__(self):
            path = min(sharp_folder.iterdir())
            yield {"label": 0, "image": {"path": "in/the/archive.png", "bytes": path.read_bytes()}}
            yield {"label": 0, "image": Image.open(path)}

    by_bytes, decoded = scan(Rows(), model=model)
    assert by_bytes.probability == decoded.probability
    assert by_bytes.path == "in/the/archive.png"


def test_photos_of_any_kind_in_one_list(sharp_folder, model, astronaut):
    path = min(sharp_folder.iterdir())
    photos = [astronaut, path, path.read_bytes(), bytearray(path.read_bytes()), np.zeros((9, 9)), 3]
    verdicts = list(scan(photos, model=model))
    assert [verdict.decision for verdict in verdicts[:4]] == ["sharp", *[verdicts[1].decision] * 3]
    assert "a photo array must be uint8" in verdicts[4].error
    assert "got int" in verdicts[5].error
    assert next(scan((photo for photo in photos), model=model)) == verdicts[0]
    assert list(scan(astronaut, model=model)) == verdicts[:1]


def test_a_review_leaves_the_middle_undecided(sharp_folder, model):
    plain = list(scan(sharp_folder, model=model))
    low, high = np.quantile([verdict.probability for verdict in plain if verdict.probability is not None], [0.3, 0.7])
    reviewed = list(scan(sharp_folder, model=model, review=(low, high)))
    for before, after in zip(plain, reviewed, strict=True):
        assert after.probability == before.probability
        if before.probability is not None:
            wanted = "sharp" if before.probability < low else "blurred" if before.probability >= high else "undecided"
            assert after.decision == wanted
            assert bool(after.reason) == (wanted == "undecided")
    for wrong in ((0.7, 0.3), (-0.1, 0.5), 0.5, (0.5,)):
        with pytest.raises(ValueError, match="review must be two probabilities, the lower one first"):
            scan(sharp_folder, model=model, review=wrong)


def test_the_bounds_of_a_review_can_be_the_models(sharp_folder, model):
    bounded = replace(model, card=replace(model.card, review=(0.05, 0.6)))
    assert list(scan(sharp_folder, model=bounded, review="auto")) == list(
        scan(sharp_folder, model=model, review=(0.05, 0.6))
    )
    with pytest.raises(ValueError, match="review auto needs a model that has bounds of its own, but this one has none"):
        scan(sharp_folder, model=model, review="auto")
    with pytest.raises(ValueError, match="review must be two probabilities, the lower one first, or auto, got 'ab'"):
        scan(sharp_folder, model=model, review="ab")
    with pytest.raises(ValueError, match="use threshold or review, not both"):
        scan(sharp_folder, model=bounded, threshold=0.5, review="auto")


def test_an_interrupted_scan_resumes(sharp_folder, model, tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    shutil.copytree(sharp_folder, folder)
    (folder / "torn.jpg").write_bytes(b"torn")
    whole = list(scan(folder, model=model))
    first = scan(folder, model=model, resume=tmp_path / "r")
    begun = [next(first) for _ in range(20)]
    first.close()
    opened = []
    measure = type(model).measure
    monkeypatch.setattr(
        type(model), "measure", lambda self, path, **rest: opened.append(path) or measure(self, path, **rest)
    )
    assert list(scan(folder, model=model, resume=tmp_path / "r")) == whole
    assert not {verdict.path for verdict in begun} & set(opened)
    opened.clear()
    again = list(scan(folder, model=model, resume=tmp_path / "r", threshold=0.0))
    assert again[0].decision == "blurred"
    assert opened == [str(folder / "torn.jpg")]  # photos with an error are tried again
    opened.clear()
    changed = sorted(folder.iterdir())[0]
    changed.write_bytes(sorted(folder.iterdir())[1].read_bytes())
    again = list(scan(folder, model=model, resume=tmp_path / "r"))
    assert opened == [str(changed), str(folder / "torn.jpg")]
    assert again[0].probability == whole[1].probability
    opened.clear()
    assert list(scan(folder, resume=tmp_path / "r")) == list(scan(folder))
    assert len(opened) == 2 * len(whole)  # another model


@pytest.mark.parametrize("nothing", [None, {"path": []}])
def test_objects_without_photos_are_refused(nothing):
    with pytest.raises(TypeError, match=f"photos must be paths, photos or a table, got {type(nothing).__name__}"):
        scan(nothing)


def test_a_photo_deleted_during_the_scan_gets_an_error(sharp_folder, model, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(sharp_folder, folder)
    verdicts = scan(folder, model=model, jobs=1)
    next(verdicts)
    last = sorted(folder.iterdir())[-1]
    last.unlink()
    *_, verdict = verdicts
    assert verdict.error == f"{last} does not exist: check the path"


@pytest.mark.parametrize("name", ["include", "exclude", "leave_out"])
def test_one_text_in_place_of_several_is_refused(sharp_folder, model, name):
    with pytest.raises(TypeError, match=rf"{name} must be a list, got '\*.png': write \['\*.png'\]"):
        scan(sharp_folder, model=model, **{name: "*.png"})


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_a_stream_of_pictures_holds_two_per_job(model, jobs):
    alive, most = [], []

    def stream():
        for number in range(60):
            picture = np.random.default_rng(number).integers(0, 256, (96, 96), np.uint8)
            alive.append(weakref.ref(picture))
            most.append(sum(each() is not None for each in alive))
            yield picture
            del picture

    assert len(list(scan(stream(), model=model, jobs=jobs))) == 60
    assert max(most) <= 2 * jobs + 1  # and the one that is being replaced


def test_a_list_is_judged_as_it_comes(sharp_folder, model):
    paths = sorted(sharp_folder.iterdir())[:3]
    seen = threading.Semaphore(0)

    def arrive():
        for path in paths:
            yield path
            assert seen.acquire(timeout=60)  # the next comes once this one has its verdict

    found = []
    for verdict in scan(poll(arrive()), model=model):
        found.append(verdict)
        seen.release()
    assert found == list(scan(paths, model=model))


def test_an_error_of_a_list_reaches_the_scan(sharp_folder, model):
    def fail():
        yield min(sharp_folder.iterdir())
        raise OSError("the pipe broke")

    with pytest.raises(OSError, match="the pipe broke"):
        list(scan(poll(fail()), model=model))


def test_a_stream_is_compiled_once_it_is_long(sharp_folder, model, monkeypatch):
    for module in ("measuring.engines", "scanning.stream"):
        monkeypatch.setattr(f"blurgate.{module}.MANY", 10)
    loaded = []

    def load(*, only_cached):
        loaded.append(only_cached)
        return engines.Steps(engines.extract_features)

    monkeypatch.setattr(engines, "_load_compiled", load)
    path = min(sharp_folder.iterdir())
    assert len(list(scan(iter([path] * 10), model=model))) == 10
    assert loaded == []
    assert len(list(scan(iter([path] * 11), model=model))) == 11
    assert len(list(scan([path] * 10, model=model))) == 10
    assert loaded == [False] * 2
    list(scan(iter([path] * 11), model=model, engine="numpy"))
    assert len(loaded) == 2


def break_disk(monkeypatch, number, paths):
    """Make opening some files fail."""
    opening = images._open_file

    def open_file(path):
        if str(path) in paths:
            raise OSError(number, "the system's words", str(path))
        return opening(path)

    monkeypatch.setattr(images, "_open_file", open_file)


def test_too_many_open_files_end_a_scan(sharp_folder, model, monkeypatch, tmp_path):
    photos = sorted(map(str, sharp_folder.iterdir()))
    break_disk(monkeypatch, errno.EMFILE, photos[20:21])
    with pytest.raises(MachineError, match="Too many open files"):
        list(scan(photos, model=model, resume=tmp_path / "r", jobs=1))
    monkeypatch.undo()
    assert len(list(scan(photos, model=model, resume=tmp_path / "r"))) == 48


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOMEM])
def test_a_disk_that_fails_several_times_in_a_row_ends_a_scan(sharp_folder, model, monkeypatch, number):
    photos = sorted(map(str, sharp_folder.iterdir()))
    break_disk(monkeypatch, number, photos[3:7])
    assert [bool(verdict.error) for verdict in scan(photos, model=model)] == [False] * 3 + [True] * 4 + [False] * 41
    monkeypatch.undo()
    break_disk(monkeypatch, number, photos[3:8])
    with pytest.raises(MachineError, match="the machine cannot go on"):
        list(scan(photos, model=model))


def test_a_net_that_cannot_be_loaded_for_lack_of_files_is_the_machines_error(sharp_folder, model, monkeypatch):
    def fail(*_, **__):
        raise NetError("it cannot be loaded") from OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(type(model), "measure", fail)
    with pytest.raises(MachineError):
        list(scan(sharp_folder, model=model))


def test_streams_are_photos_too(sharp_folder, model, tmp_path):
    paths = sorted(sharp_folder.iterdir())[:6]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)

    def members():
        with zipfile.ZipFile(tmp_path / "a.zip") as archive:
            for path in paths:
                with archive.open(path.name) as member:  # closed before its verdict
                    yield member

    wanted = [replace(verdict, path="") for verdict in scan(paths, model=model)]
    assert list(scan(members(), model=model)) == wanted
    with ExitStack() as stack:
        assert list(scan([stack.enter_context(path.open("rb")) for path in paths], model=model)) == wanted
    assert list(scan(io.BytesIO(paths[0].read_bytes()), model=model)) == wanted[:1]
    (verdict,) = scan([io.StringIO("text")], model=model)
    assert verdict.error == "a photo must be read from a binary stream, got one of text: open it with mode 'rb'"


def test_a_path_with_a_zero_byte_gets_an_error(model, tmp_path):
    (verdict,) = scan(pd.DataFrame({"path": ["a\0b.jpg"]}), model=model, resume=tmp_path / "v.resume")
    assert "cannot be read" in verdict.error


def test_only_raw_files_are_named_in_the_error(model, tmp_path):
    for name in ("a.nef", "b.NEF", "c.cr3"):
        (tmp_path / name).touch()
    problem = r"found no photos but 3 raw files \(.cr3, .nef\), which are left out: develop them, name them, or include"
    with pytest.raises(PhotoError, match=problem):
        scan(tmp_path, model=model)
    assert len(list(scan(tmp_path, model=model, include=["*.nef"]))) == 2
    assert len(list(scan(tmp_path / "a.nef", model=model))) == 1


def test_a_damaged_archive_is_an_error_of_its_own_photo(sharp_folder, model, tmp_path):
    content = min(sharp_folder.iterdir()).read_bytes()
    packed = gzip.compress(content)
    streams = [gzip.GzipFile(fileobj=io.BytesIO(each)) for each in (packed, packed[:-100], packed)]
    good, bad, again = scan(streams, model=model)
    assert (good.error, again.error) == ("", "")
    assert bad.error.startswith("the picture cannot be read from its stream: ")


def test_what_cannot_be_is_refused(sharp_folder, model):
    with pytest.raises(TypeError, match="column goes with a table, got list"):
        scan([sharp_folder], model=model, column="x")
    with pytest.raises(ValueError, match="max_megapixels must be above 0, got nan"):
        scan([sharp_folder], model=model, max_megapixels=float("nan"))
