import math
import os
import shutil

import pytest

from blurgate.errors import DatasetError
from blurgate.learning.labels import is_labelled, list_photos
from blurgate.learning.table import build_table


def write_labels(folder, text):
    (folder / "labels.csv").write_text(text)
    return folder


def test_subfolders_label_and_pair_by_name(labelled):
    photos = list_photos(labelled)
    assert [photo.path.split("/")[0] for photo in photos] == ["sharp", "sharp", "blurred", "blurred"]
    assert [photo.label for photo in photos] == ["sharp", "sharp", "blurred", "blurred"]
    assert photos[1].scene == photos[2].scene
    assert len({photo.scene for photo in photos}) == 3
    assert math.isnan(photos[0].strength_px)


def test_labels_csv_provides_all_of_its_columns(labelled):
    text = "file,label,scene,kind,strength_px,tier,mos\na.jpg,sharp,s,,,night,1\nb.jpg,blurred,s,motion,2.5,,2\n"
    first, second = list_photos(write_labels(labelled, text))
    assert (first.path, first.label, first.scene, first.kind, first.tier) == ("a.jpg", "sharp", "s", "", "night")
    assert (second.label, second.scene, second.kind, second.strength_px) == ("blurred", "s", "motion", 2.5)


def test_labels_csv_may_come_from_a_spreadsheet(tmp_path):
    (tmp_path / "labels.csv").write_bytes("\ufefffile,label\r\nä.jpg,sharp\r\n".encode())
    assert [(photo.path, photo.scene) for photo in list_photos(tmp_path)] == [("ä.jpg", "ä")]


def test_a_manifest_takes_precedence(made_folder):
    photos = list_photos(made_folder)
    assert len(photos) == 144
    assert {photo.kind for photo in photos} == {"", "defocus", "motion", "gaussian"}


def test_photos_in_a_plain_folder_have_no_label(sharp_folder, made_folder, labelled):
    assert {photo.label for photo in list_photos(sharp_folder)} == {""}
    assert [is_labelled(source) for source in (sharp_folder, made_folder, labelled)] == [False, True, True]


def test_errors_of_folders(tmp_path, labelled):
    with pytest.raises(DatasetError, match="expected a folder of photos or a table, but .*nowhere is neither"):
        list_photos(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="expected a folder of photos, but .*empty contains no photos"):
        list_photos(tmp_path / "empty")


@pytest.mark.parametrize(("missing", "label"), [("sharp", "blurred"), ("blurred", "sharp")])
def test_a_folder_may_have_one_class_only(labelled, missing, label):
    shutil.rmtree(labelled / missing)
    photos = list_photos(labelled)
    assert {photo.label for photo in photos} == {label}
    assert all(photo.path.startswith(f"{label}/") for photo in photos)
    (labelled / "other").mkdir()
    shutil.copy(labelled / photos[0].path, labelled / "other")
    assert {photo.label for photo in list_photos(labelled)} == ({"blurred"} if label == "blurred" else {""})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nsharp\n", "needs the columns file and label, but has no file: add it"),
        (
            "name,label\na.jpg,sharp\n",
            "names its photos in the column name, but .* be called file: rename name to file",
        ),
        ("path,label\na.jpg,sharp\n", "in the column path, but it must be called file: rename path to file"),
        (
            "Filename,label\na.jpg,sharp\n",
            "in the column Filename, but it must be called file: rename Filename to file",
        ),
        ("image,class\na.jpg,1\n", "called file and has no label: rename image to file and add the column label"),
        ("file,label,labelled_by\na.jpg,sharp,me\n", "line 2: labelled_by must be person or model, got 'me': fix it"),
        ("file,label,chosen_by\na.jpg,sharp,x\n", "line 2: chosen_by must be person or model, got 'x': fix it"),
        ("a,b\n1,2\n", "but has no file and no label: add it"),
        ("file,label\na.jpg,soft\n", "line 2: the label must be sharp or blurred, got 'soft'"),
        ("file,label\na.jpg,Sharp\n", "line 2: the label must be sharp or blurred, got 'Sharp'"),
        ("file;label\na.jpg;sharp\n", "is separated by semicolons: save it as CSV with commas"),
        ("file,label\na.jpg,sharp\nb.jpg,sharp\na.jpg,blurred\n", "lists a.jpg 2 times: list it once"),
        ("file,label\na.jpg,\n", "line 2: the label must be sharp or blurred, got ''"),
        ("file,label,strength_px\na.jpg,sharp,-1\n", "line 2: strength_px must be a number, 0 or more, got '-1'"),
        ("file,label\n", "has no rows"),
        ("file,label\n,sharp\n", "line 2: the path of the photo is empty: fix it"),
        ("file,label,strength_px\na.jpg,sharp,big\n", "line 2: strength_px must be a number, 0 or more, got 'big'"),
    ],
)
def test_errors_of_labels(tmp_path, text, message):
    with pytest.raises(DatasetError, match=message):
        list_photos(write_labels(tmp_path, text))


@pytest.mark.parametrize("name", ["path", "filename", "image", "name", "File"])
def test_a_list_with_another_name_for_file_is_told_what_to_rename(tmp_path, name):
    (tmp_path / "mine.csv").write_text(f"{name},label\na.jpg,sharp\nb.jpg,blurred\n")
    with pytest.raises(DatasetError, match=f"in the column {name}, but it must be called file: rename {name} to file"):
        build_table(tmp_path / "mine.csv", labelled=True)


def test_labels_csv_says_who_labelled_and_who_chose(labelled):
    text = "file,label,labelled_by,chosen_by\na.jpg,sharp,person,model\nb.jpg,blurred,model,\nc.jpg,sharp,,\n"
    photos = list_photos(write_labels(labelled, text))
    assert [(photo.labelled_by, photo.chosen_by) for photo in photos] == [
        ("person", "model"), ("model", ""), ("person", "")
    ]  # fmt: skip


def test_a_list_of_labels_may_name_photos_in_any_folder(labelled, tmp_path):
    photos = sorted(path for path in labelled.rglob("*.png"))
    rows = [f'"{path}",{path.parent.name}' for path in photos]
    (tmp_path / "labels (1).csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    listed = list_photos(tmp_path / "labels (1).csv")
    assert [(photo.path, photo.label) for photo in listed] == [(str(path), path.parent.name) for path in photos]
    assert is_labelled(tmp_path / "labels (1).csv")
    table = build_table(tmp_path / "labels (1).csv")
    assert [table.picture(row) for row in range(len(table))] == photos


def test_one_photo_under_two_names_is_refused(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "linked.jpg").hardlink_to(tmp_path / "a.jpg")
    for other in ("./a.jpg", "linked.jpg"):
        (tmp_path / "labels.csv").write_text(f"file,label\na.jpg,sharp\n{other},blurred\n")
        with pytest.raises(DatasetError, match="lists one photo as a.jpg and as .*: list it once"):
            list_photos(tmp_path)


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("file,label,file\na.jpg,sharp,b.jpg\n")
    with pytest.raises(DatasetError, match="has two columns of one name"):
        list_photos(tmp_path)


def test_a_pipe_in_place_of_labels_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(OSError, match="it is a pipe, a socket or a device"):
        list_photos(tmp_path)
