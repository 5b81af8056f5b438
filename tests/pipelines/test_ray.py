import numpy as np
import pytest
from PIL import Image
from pipelines.conftest import to_verdict

import blurgate
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


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_files_are_judged_as_a_scan_judges_them(cluster, paths, wanted, batch_format):
    photos = cluster.data.read_binary_files(paths, include_paths=True)
    judged = judge(cluster, photos, batch_format, keep=False)
    rows = judged.take_all()
    assert {row["path"]: to_verdict(row) for row in rows} == wanted
    assert "bytes" not in rows[0]
    types = [str(each).removeprefix("large_") for each in judged.schema().types]
    assert types == ["string", "string", "double", "string", "double", "string", "string"]


@pytest.mark.parametrize("size", [None, (300, 300)])
def test_pictures_that_ray_has_decoded_keep_their_rows(cluster, readable, wanted, size):
    photos = cluster.data.read_images(readable, include_paths=True, size=size, mode="RGB")
    rows = judge(cluster, photos).take_all()
    assert {row["image"].shape for row in rows if size} <= {(300, 300, 3)}
    for row in rows:
        assert row["blur_decision"] == wanted[row["path"]]["decision"]


def test_paths_are_read_by_the_workers_with_a_model_that_is_sent(cluster, paths, model):
    rows = [{"path": path, "id": number} for number, path in enumerate(paths)]
    judged = judge(cluster, cluster.data.from_items(rows), model=model, review=(0.2, 0.8)).take_all()
    found = {row["id"]: (row["blur_decision"], row["blur_reason"]) for row in judged}
    scanned = blurgate.scan(paths, model=model, review=(0.2, 0.8), engine="numpy")
    assert found == {number: (each.decision, each.reason) for number, each in enumerate(scanned)}


def test_a_strict_judge_fails_the_job_with_the_sentence(cluster, paths):
    with pytest.raises(Exception, match=r"broken.jpg cannot be read: it is not a picture"):
        judge(cluster, cluster.data.from_items([{"path": path} for path in paths]), strict=True).take_all()


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
