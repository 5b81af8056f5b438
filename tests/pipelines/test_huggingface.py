import subprocess
import sys
from pathlib import Path

import pytest
from pipelines.conftest import FIELDS, to_verdict

from blurgate.pipelines.huggingface import Judge

datasets = pytest.importorskip("datasets", reason="datasets is not installed")

OPTIONS = {"engine": "numpy"}


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    datasets.disable_progress_bars()


@pytest.fixture
def photos(paths, tmp_path):
    """A dataset with a cache, so that what was judged is found again."""
    image = datasets.Image()
    made = datasets.Dataset.from_dict({"image": paths, "id": list(range(len(paths)))}).cast_column("image", image)
    made.save_to_disk(tmp_path / "saved")
    return datasets.load_from_disk(tmp_path / "saved")


def verdicts_of(rows):
    return [shorten(to_verdict(row)) for row in rows]


def shorten(verdict):
    """An error without the folder of its photo: a dataset on the disk has its photos in itself."""
    return verdict | {"error": verdict["error"].rpartition("/")[2]}


@pytest.mark.parametrize("num_proc", [None, 2])
def test_a_dataset_is_judged_as_a_scan_judges_its_files(photos, wanted, num_proc):
    judged = photos.map(Judge(**OPTIONS), batched=True, batch_size=2, num_proc=num_proc)
    assert verdicts_of(judged.remove_columns("image")) == list(map(shorten, wanted.values()))
    assert judged.column_names == ["image", "id", *(f"blur_{name}" for name in FIELDS)]
    assert judged.features["image"] == photos.features["image"]
    assert judged.features["blur_probability"] == datasets.Value("float64")


def test_one_example_at_a_time_is_the_same(photos, wanted):
    judged = photos.map(Judge(**OPTIONS))
    assert verdicts_of(judged.remove_columns("image")) == list(map(shorten, wanted.values()))


def test_a_format_decodes_pictures_first(photos, paths, readable, wanted):
    photos = photos.select([paths.index(path) for path in readable])
    judged = photos.with_format("numpy").map(Judge(**OPTIONS), batched=True)
    assert judged.with_format(None)["blur_decision"][:] == [wanted[path]["decision"] for path in readable]
    with pytest.raises(TypeError, match="expected a batch with its columns by name, got Table: leave out"):
        photos.with_format("arrow").map(Judge(**OPTIONS), batched=True)


@pytest.mark.parametrize("batched", [True, False])
def test_pictures_in_a_stream_are_judged_as_they_are_stored(photos, wanted, batched):
    stream = photos.to_iterable_dataset().cast_column("image", datasets.Image(decode=False))
    judged = stream.map(Judge(**OPTIONS), batched=batched, batch_size=2)
    assert verdicts_of(judged) == list(map(shorten, wanted.values()))


@pytest.mark.parametrize("batched", [True, False])
def test_pictures_that_a_stream_has_decoded_are_judged_too(photos, paths, readable, wanted, batched):
    stream = photos.select([paths.index(path) for path in readable]).to_iterable_dataset()
    judged = stream.map(Judge(**OPTIONS), batched=batched, batch_size=2)
    assert [row["blur_decision"] for row in judged] == [wanted[path]["decision"] for path in readable]


@pytest.mark.parametrize("batched", [True, False])
def test_filter_keeps_sharp_photos(photos, wanted, batched):
    photos = photos.cast_column("image", datasets.Image(decode=batched))  # one by one, a filter decodes them itself
    kept = photos.filter(Judge(**OPTIONS).find_sharp, batched=batched)
    sharp = [number for number, each in enumerate(wanted.values()) if each["decision"] == "sharp"]
    assert kept["id"][:] == sharp


def test_content_in_a_table_is_judged(paths, wanted, tmp_path):
    rows = {"image": [{"bytes": Path(path).read_bytes(), "path": path} for path in paths]}
    made = datasets.Dataset.from_dict(rows, features=datasets.Features({"image": datasets.Image()}))
    made.to_parquet(tmp_path / "photos.parquet")
    read = datasets.Dataset.from_parquet(str(tmp_path / "photos.parquet"), cache_dir=str(tmp_path))
    judged = read.map(Judge(**OPTIONS), batched=True).remove_columns("image")
    assert verdicts_of(judged) == list(map(shorten, wanted.values()))


def test_the_cache_knows_a_judge_by_its_model_and_options(model, model_file):
    find = datasets.fingerprint.Hasher.hash
    used = Judge(**OPTIONS)
    used({"image": [None]})
    assert find(used) == find(Judge(**OPTIONS))
    assert find(Judge(model=model)) == find(Judge(model=model_file))
    others = [{}, {"threshold": 0.3}, {"model": "trees"}, {"at": 512}, {"prefix": "x_"}, {"column": "jpg"}]
    others += [{"fields": ["kind"]}, {"strict": True}, {"review": (0.1, 0.9)}, {"model": model}]
    assert len({find(Judge(**options)) for options in others}) == len(others)


def test_another_process_finds_what_is_in_the_cache():
    code = (
        "from datasets.fingerprint import Hasher; from blurgate.pipelines.huggingface import Judge; "
        "print(Hasher.hash(Judge(threshold=0.4)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == datasets.fingerprint.Hasher.hash(Judge(threshold=0.4))


def test_columns_of_before_are_not_replaced(photos):
    judge = Judge(**OPTIONS, fields=["decision"])
    judged = photos.map(judge, batched=True)
    with pytest.raises(ValueError, match="already a column blur_decision: name another with prefix="):
        judged.map(judge, batched=True)


def test_input_columns_are_refused_with_what_to_do(photos):
    with pytest.raises(TypeError, match="got list: leave out input_columns"):
        photos.cast_column("image", datasets.Image(decode=False)).map(
            Judge(**OPTIONS), batched=True, input_columns="image"
        )
