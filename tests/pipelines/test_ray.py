import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pipelines.conftest import FIELDS, to_verdict

import blurgate
from blurgate.errors import PhotoError
from blurgate.pipelines.ray import Judge

OPTIONS = {"engine": "numpy"}


def judge(ray, dataset, batch_format="numpy", batch_size=2, **options):
    return dataset.map_batches(
        blurgate.ray.Judge,
        fn_constructor_kwargs=OPTIONS | options,
        compute=ray.data.ActorPoolStrategy(size=1),
        batch_format=batch_format,
        batch_size=batch_size,
    )


def test_paths_are_read_by_the_workers_with_a_model_that_is_sent(cluster, paths, model):
    photos = cluster.data.from_items([{"path": path, "id": number} for number, path in enumerate(paths)])
    judged = judge(cluster, photos, column="path", keep=False, model=model, review=(0.2, 0.8))
    rows = judged.take_all()
    scanned = blurgate.scan(paths, model=model, review=(0.2, 0.8), engine="numpy")
    expected = {number: {name: getattr(each, name) for name in FIELDS} for number, each in enumerate(scanned)}
    assert {row["id"]: to_verdict(row) for row in rows} == expected
    types = dict(zip(judged.schema().names, map(str, judged.schema().types), strict=True))
    types = [types[f"blur_{name}"].removeprefix("large_") for name in FIELDS]
    assert types == ["string", "double", "string", "double", "string", "string"]


def test_pictures_that_ray_has_decoded_keep_their_rows(cluster, readable, wanted):
    photos = cluster.data.read_images(readable, include_paths=True, mode="RGB")
    for row in judge(cluster, photos).take_all():
        assert row["image"].ndim == 3
        assert row["blur_decision"] == wanted[row["path"]]["decision"]


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_files_are_judged_as_a_scan_judges_them(paths, wanted, batch_format):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pa.table({"path": paths, "bytes": [Path(path).read_bytes() for path in paths]})
    if batch_format == "numpy":
        batch = {
            name: np.array(column.to_pylist(), object) for name, column in zip(table.column_names, table, strict=True)
        }
    else:
        batch = table.to_pandas() if batch_format == "pandas" else table
    judged = Judge(**OPTIONS, keep=False)(batch)
    assert type(judged) is type(batch)
    columns = judged.to_pydict() if batch_format == "pyarrow" else {name: list(judged[name]) for name in judged}
    assert "bytes" not in columns
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    assert {row["path"]: to_verdict(row) for row in rows} == wanted


def test_a_strict_judge_fails_with_a_sentence_that_ray_can_send(paths):
    with pytest.raises(PhotoError, match=r"broken.jpg cannot be read: it is not a picture") as caught:
        Judge(**OPTIONS, strict=True)({"path": np.array(paths, object)})
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("shape", [(2, 64, 64), (2, 64, 64, 3)])
def test_arrays_of_one_size_are_a_batch(shape):
    batch = Judge(**OPTIONS)({"image": np.full(shape, 9, np.uint8), "id": np.arange(2)})
    assert batch["blur_decision"].tolist() == ["undecided"] * 2
    assert batch["id"].tolist() == [0, 1]
    assert np.isnan(batch["blur_probability"]).all()


def test_a_batch_is_left_as_it_was():
    batch = {"image": np.full((1, 64, 64), 9, np.uint8)}
    judged = Judge(**OPTIONS, keep=False)(batch)
    assert list(batch) == ["image"]
    assert "image" not in judged


@pytest.mark.parametrize(
    "row",
    [{"bytes": b"...", "path": "a"}, {"image": np.zeros((64, 64, 3), np.uint8)}, {"path": "a.jpg"}, [b"..."]],
)
def test_a_row_in_place_of_a_batch_is_refused(row):
    with pytest.raises(TypeError, match=r"expected a batch of Ray's .* use map_batches, not map"):
        Judge(**OPTIONS)(row)


def test_a_column_of_somebody_else_is_not_replaced():
    batch = {"image": np.zeros((1, 64, 64), np.uint8), "blur_kind": np.array(["mine"])}
    with pytest.raises(ValueError, match="already a column blur_kind: name another with prefix="):
        Judge(**OPTIONS)(batch)
    assert "again_kind" in Judge(**OPTIONS, prefix="again_")(batch)


def test_tables_keep_nulls_where_there_is_no_number(paths):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = pa.table({"path": paths})
    judged = Judge(**OPTIONS, fields="all")(table)
    assert judged["blur_probability"].null_count > 0
    assert judged["blur_width"].type == pa.float64()
    assert judged.column_names[0] == "path"


def test_an_empty_batch_has_the_columns_too():
    batch = Judge(**OPTIONS)({"image": np.empty(0, object)})
    assert len(batch["blur_decision"]) == 0
    assert batch["blur_probability"].dtype == np.float64


def test_an_array_that_is_no_picture_is_a_row_with_its_error():
    cells = np.empty(2, object)
    cells[:] = [np.zeros((64, 64, 5)), np.asarray(Image.new("1", (64, 64)))]
    batch = Judge(**OPTIONS)({"image": cells})
    assert batch["blur_decision"][0] == "error"
    assert batch["blur_error"][0] != ""
