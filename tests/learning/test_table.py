import csv
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurgate.errors import DatasetError, MissingExtraError
from blurgate.judging.inputs import find_inputs
from blurgate.learning.labels import is_labelled
from blurgate.learning.table import ROW_COLUMNS, build_table, join_tables, read_table, write_table
from blurgate.learning.training import train
from blurgate.measuring.features import FEATURE_SETS, extract_features
from blurgate.photos.images import SkippedPhoto, read_plane


def write_labels(folder, text):
    (folder / "labels.csv").write_text(text)
    return folder


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.features, wanted.features)
    np.testing.assert_array_equal(found.variance_of_laplacian, wanted.variance_of_laplacian)
    assert [replace(photo, strength_px=0) for photo in found.photos] == [
        replace(photo, strength_px=0) for photo in wanted.photos
    ]
    np.testing.assert_array_equal(found.column("strength_px"), wanted.column("strength_px"))
    assert (found.skipped, found.feature_set) == (wanted.skipped, wanted.feature_set)
    assert (found.explainer, found.readings is None) == (wanted.explainer, wanted.readings is None)
    if wanted.readings is not None:
        np.testing.assert_array_equal(found.readings, wanted.readings)


def test_a_made_dataset_has_labels_features_and_provenance(table, made_folder):
    assert len(table) == 3 * 48
    assert table.labels.mean() == pytest.approx(2 / 3)
    assert set(table.column("kind")) == {"", "defocus", "motion", "gaussian"}
    assert np.isfinite(table.column("strength_px")).all()
    photo = table.photos[7]
    np.testing.assert_array_equal(table.features[7], extract_features(read_plane(made_folder / photo.path).gray))
    assert table.picture(7) == made_folder / photo.path


def test_a_folder_without_labels_can_be_measured_but_not_trained_on(sharp_folder):
    found = build_table(sharp_folder)
    assert not is_labelled(sharp_folder)
    with pytest.raises(DatasetError, match="expected labelled photos, but 48 of 48 have no label"):
        _ = found.labels


def test_one_class_only(labelled):
    names = sorted(path.name for path in (labelled / "sharp").iterdir())
    found = build_table(write_labels(labelled, f"file,label\nsharp/{names[0]},sharp\nsharp/{names[1]},sharp\n"))
    assert found.labels.tolist() == [0, 0]
    with pytest.raises(DatasetError, match="expected sharp and blurred photos, but all 2 are sharp: add the other"):
        train(found)


def test_unreadable_and_small_photos_are_skipped_and_distinguished(labelled, tmp_path):
    (labelled / "sharp" / "text.jpg").write_text("hello")
    Image.new("L", (90, 60)).save(labelled / "blurred" / "tiny.png")
    found = build_table(labelled)
    assert len(found) == 4
    assert [(photo.path, photo.undecided) for photo in found.skipped] == [
        ("sharp/text.jpg", False),
        ("blurred/tiny.png", True),
    ]
    write_table(found, tmp_path / "t.csv")
    assert_same(read_table(tmp_path / "t.csv"), found)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_photos_without_texture_stay_undecided_in_a_file(table, tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    features = table.features.copy()
    features[:3] = 0
    found = replace(table, features=features).without_flat()
    write_table(found, tmp_path / f"t{suffix}")
    read = read_table(tmp_path / f"t{suffix}")
    assert [photo.undecided for photo in read.skipped] == [True] * 3
    assert_same(read, found)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_keeps_who_labelled_and_chose_each_photo(table, tmp_path, suffix):
    photos = [replace(photo, labelled_by="model") for photo in table.photos]
    photos[:3] = [replace(table.photos[row], chosen_by=by) for row, by in enumerate(("", "person", "model"))]
    write_table(replace(table, photos=tuple(photos)), tmp_path / f"t.{suffix}")
    assert list(read_table(tmp_path / f"t.{suffix}").photos) == photos
    mine = build_table(tmp_path / f"t.{suffix}", labelled=True)
    assert (list(mine.photos), mine.n_by_model) == (photos[:3], len(table) - 3)


def test_photos_that_the_model_labelled_are_not_even_measured(labelled):
    (path,) = sorted((labelled / "sharp").iterdir())[:1]
    rows = f"sharp/{path.name},sharp,person\nnowhere.png,blurred,model\n"
    (labelled / "labels.csv").write_text("file,label,labelled_by\n" + rows)
    found = build_table(labelled, labelled=True)
    assert ([photo.path for photo in found.photos], found.skipped, found.n_by_model) == ([f"sharp/{path.name}"], (), 1)


def test_tables_and_datasets_of_earlier_versions_lack_columns(labelled, made_folder, tmp_path):
    (labelled / "sharp" / "text.jpg").write_text("hello")
    write_table(build_table(labelled), tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as handle:
        added = {"undecided", "labelled_by", "chosen_by", "phash"}
        rows = [{name: cell for name, cell in row.items() if name not in added} for row in csv.DictReader(handle)]
    with (tmp_path / "old.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    known = read_table(tmp_path / "t.csv")
    assert all(len(photo.phash) == 64 for photo in known.photos)
    assert_same(
        read_table(tmp_path / "old.csv"),
        replace(known, photos=tuple(replace(photo, phash="") for photo in known.photos)),
    )
    shutil.copytree(made_folder, tmp_path / "made")
    (tmp_path / "made" / "skipped.csv").write_text("path,error\na.png,a.png is too small\n")
    assert [photo.path for photo in build_table(tmp_path / "made").skipped] == ["a.png"]
    (tmp_path / "made" / "skipped.csv").write_text("path,error,undecided\na.png,it is odd,maybe\n")
    with pytest.raises(DatasetError, match="skipped.csv, line 2: undecided must be true or empty, got 'maybe'"):
        build_table(tmp_path / "made")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_written_table_reads_back_to_the_last_bit(table, tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    write_table(table, tmp_path / f"t{suffix}")
    assert_same(build_table(tmp_path / f"t{suffix}"), table)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_holds_what_an_explainer_read(labelled, explainer, tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    Image.new("L", (128, 128), 90).save(labelled / "sharp" / "flat.png")
    (labelled / "sharp" / "text.jpg").write_text("hello")
    found = build_table(labelled, explainer=explainer)
    plain = build_table(labelled)
    assert (plain.explainer, plain.readings, found.explainer) == ("", None, explainer.name)
    np.testing.assert_array_equal(found.features, plain.features)
    assert found.digests() == plain.digests()
    flat = [photo.path for photo in found.photos].index("sharp/flat.png")
    assert list(np.flatnonzero(np.isnan(found.readings).any(axis=1))) == [flat]
    gray = read_plane(labelled / found.photos[0].path, max_pixels=2**20).gray
    np.testing.assert_array_equal(found.readings[0], explainer.read(gray).astype(np.float32))
    write_table(found, tmp_path / f"t{suffix}")
    assert_same(build_table(tmp_path / f"t{suffix}"), found)
    assert_same(build_table(tmp_path / f"t{suffix}").without_flat(), found.without_flat())
    assert len(found.without_flat().readings) == len(found) - 1


def test_readings_are_joined_only_if_one_explainer_read_all(labelled, explainer):
    found, plain = build_table(labelled, explainer=explainer), build_table(labelled)
    joined = join_tables([found, found])
    np.testing.assert_array_equal(joined.readings, np.concatenate([found.readings] * 2))
    assert joined.explainer == explainer.name
    for other in (plain, replace(found, explainer="explainer-00000000")):
        joined = join_tables([found, other])
        assert (joined.explainer, joined.readings) == ("", None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row.pop() for row in rows], "missing: explainer-.*__sine.: make it"),
        (
            lambda rows: rows[0].__setitem__(-1, "explainer-ffffffff__sine"),
            "missing: explainer-|unexpected: explainer-",
        ),
        (lambda rows: rows[0].__setitem__(-1, "explainer-"), "missing: explainer-__defocus, .*unexpected: explainer-"),
        (lambda rows: rows[1].__setitem__(-1, ""), "line 2: explainer-.*__sine must be a number, got ''"),
        (lambda rows: rows[1].__setitem__(-2, "inf"), "line 2: explainer-.*__cosine must be a number, got 'inf'"),
    ],
)
def test_damaged_readings(labelled, explainer, tmp_path, change, message):
    write_table(build_table(labelled, explainer=explainer), tmp_path / "t.csv")
    edit_csv(tmp_path / "t.csv", change)
    with pytest.raises(DatasetError, match=message):
        read_table(tmp_path / "t.csv")


def test_the_same_photos_give_the_same_bytes_on_any_number_of_cores(made_folder, table, tmp_path):
    write_table(table, tmp_path / "a.csv")
    write_table(build_table(made_folder, jobs=3), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_columns_are_in_order(table, tmp_path):
    write_table(table, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as handle:
        assert next(csv.reader(handle)) == [*ROW_COLUMNS, *FEATURE_SETS["block99"].columns]


def test_joined_tables_keep_their_sources_and_pictures(labelled, table):
    other = build_table(labelled)
    joined = join_tables([table, other])
    assert len(joined) == len(table) + 4
    assert set(joined.sources) == {"dataset", "labelled"}
    assert joined.picture(len(table)) == labelled / other.photos[0].path


def test_sources_with_the_same_name_are_distinguished(labelled, tmp_path):
    shutil.copytree(labelled, tmp_path / "other" / "labelled")
    joined = join_tables([build_table(labelled), build_table(tmp_path / "other" / "labelled")])
    assert len(set(joined.sources)) == 2
    assert joined.picture(0) == labelled / joined.photos[0].path
    assert joined.picture(4) == tmp_path / "other" / "labelled" / joined.photos[4].path


def edit_csv(path, change):
    with path.open(newline="") as handle:
        rows = list(csv.reader(handle))
    change(rows)
    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: [row.pop() for row in rows],
            "missing: 1/4__vertical__half_rise__w99.: make it with blurgate features",
        ),
        (lambda rows: [row.append("7") for row in rows], "unexpected: 7.: make it"),
        (lambda rows: rows[1].append("x"), "a row with more cells than columns"),
        (lambda rows: rows[2].__setitem__(13, "nan"), "line 3: 1__low__log_energy__p75 must be a number, got 'nan'"),
        (lambda rows: rows[2].__setitem__(13, ""), "line 3: 1__low__log_energy__p75 must be a number, got ''"),
        (lambda rows: rows[3].__setitem__(0, ""), "line 4: the path of the photo is empty"),
        (lambda rows: rows[3].__setitem__(4, "big"), "line 4: strength_px must be a number, 0 or more, got 'big'"),
        (lambda rows: rows[3].__setitem__(1, "Blurred"), "line 4: the label must be sharp or blurred, got 'Blurred'"),
        (
            lambda rows: rows[3].__setitem__(13, "1e300"),
            "line 4: 1__low__log_energy__p75 must be a number",
        ),
        (lambda rows: rows[3].__setitem__(9, "true"), "line 4: undecided belongs to a row with an error: fix it"),
        (lambda rows: rows.append(rows[1]), "lists .* 2 times: list it once"),
        (
            lambda rows: [row.__delitem__(slice(12, None)) for row in rows],
            "missing: 1__low__mean__mean, .* and 14 more",
        ),
        (lambda rows: rows.__delitem__(slice(1, None)), "has no rows"),
    ],
)
def test_damaged_tables(table, tmp_path, change, message):
    path = tmp_path / "t.csv"
    write_table(table, path)
    edit_csv(path, change)
    with pytest.raises(DatasetError, match=message):
        read_table(path)


def test_files_that_are_not_tables(tmp_path):
    for name, content, message in (
        ("t.csv", "path,label\na.jpg,sharp\n".encode("utf-16"), "t.csv is not text in UTF-8: save it as CSV in UTF-8"),
        ("verdicts.csv", b"path,decision,probability\na.jpg,sharp,0.1\n", "holds the verdicts of a scan, not labels"),
        ("photos.csv", b"SQLite format 3\x00" * 99, "photos.csv is not text in UTF-8"),
        ("t.parquet", b"PAR1 no", "cannot be read as Parquet"),
        ("t.xlsx", b"", "expected a folder of photos or a .csv or .parquet table, but .*t.xlsx is neither"),
    ):
        (tmp_path / name).write_bytes(content)
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow", reason="needs the extra parquet")
        with pytest.raises(DatasetError, match=message):
            build_table(tmp_path / name)


def test_missing_files_are_skipped_but_it_is_an_error_if_all_are_missing(labelled):
    name = min((labelled / "sharp").iterdir()).name
    found = build_table(write_labels(labelled, f"file,label\nno.jpg,blurred\nsharp/{name},sharp\n"))
    assert (len(found), found.skipped[0].path) == (1, "no.jpg")
    with pytest.raises(DatasetError, match=r"has no usable photo: the first failed because .*no.jpg does not"):
        build_table(write_labels(labelled, "file,label\nno.jpg,sharp\n"))


def test_errors_of_writing(table, tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match="the name of a table must end in .csv or .parquet, got t.txt"):
        write_table(table, tmp_path / "t.txt")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="Writing Parquet needs the extra 'parquet'"):
        write_table(table, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_different_feature_sets_are_not_joined(table):
    with pytest.raises(DatasetError, match="expected tables of one feature set, got block99, other"):
        join_tables([table, replace(table, feature_set="other")])


def test_a_table_of_photos_named_like_formulas_round_trips(table, tmp_path):
    names = ["=1+1.jpg", "+2.jpg", "-3.jpg", "@4.jpg", "a\rb.jpg"]
    photos = tuple(replace(photo, path=name, scene=name) for photo, name in zip(table.photos, names, strict=False))
    few = replace(table.take(np.arange(len(names))), photos=photos, skipped=(SkippedPhoto("=5.jpg", "=5.jpg is torn"),))
    write_table(few, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as handle:
        assert not any(cell.startswith(("=", "+", "@")) for row in csv.reader(handle) for cell in row)
    read = read_table(tmp_path / "t.csv")
    assert [photo.scene for photo in read.photos] == names
    assert [Path(photo.path) for photo in read.photos] == [Path(name) for name in names]
    assert read.skipped == (SkippedPhoto("./=5.jpg", "=5.jpg is torn"),)
    np.testing.assert_array_equal(read.features, few.features)


def test_no_tables_cannot_be_joined():
    with pytest.raises(DatasetError, match="expected at least one table to join, got none"):
        join_tables([])


def test_rows_of_parquet_are_read_as_needed(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = [*ROW_COLUMNS, *find_inputs("dct18").columns]
    empty = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(1_000_000, np.int32)), [""])
    parquet.write_table(pyarrow.table([empty] * len(columns), names=columns), tmp_path / "many.parquet")
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="line 2: the path of the photo is empty"):
            read_table(tmp_path / "many.parquet")
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()
