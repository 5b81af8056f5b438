import errno
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurgate import MachineError, ModelFileError, PhotoError, Verdict
from blurgate.errors import BlurgateError
from blurgate.judging.verdicts import Evidence
from blurgate.pipelines.columns import ALL, list_values, name_columns, require_free
from blurgate.pipelines.pictures import Options, find_column, judge_each, read_cell
from blurgate.scanning.items import Item
from blurgate.scanning.judge import Judged


@pytest.fixture(scope="module")
def judge():
    return Options(engine="numpy").judge


def test_a_cell_is_read_whatever_holds_it(judge, paths, wanted):
    path = next(path for path in paths if path.endswith("coffee.jpg"))
    content = Path(path).read_bytes()
    cells = [path, content, {"bytes": content, "path": "x.jpg"}, {"bytes": None, "path": path}, np.bytes_(content)]
    cells += [bytearray(content), memoryview(content)]
    verdicts = list(judge_each(judge, cells, read_cell))
    assert {verdict.probability for verdict in verdicts} == {wanted[path]["probability"]}
    decoded = [Image.open(path), np.asarray(Image.open(path))]
    assert {each.decision for each in judge_each(judge, decoded, read_cell)} == {"blurred"}


@pytest.mark.parametrize("cell", [None, float("nan"), {"bytes": None, "path": None}, {}])
def test_an_empty_cell_is_an_error_of_its_row(judge, cell):
    (verdict,) = judge_each(judge, [cell], read_cell)
    assert verdict.error == "the row has no photo: its cell is empty"


@pytest.mark.parametrize("cell", [b"", 17, "nowhere.jpg", np.zeros(3), {"bytes": b""}, object()])
def test_what_is_no_picture_is_an_error_of_its_row(judge, cell):
    verdicts = list(judge_each(judge, [cell, np.full((64, 64), 9, np.uint8)], read_cell))
    assert [each.decision for each in verdicts] == ["error", "undecided"]


def test_a_strict_judge_raises_the_error(judge):
    with pytest.raises(PhotoError, match=r"the row has no photo"):
        list(judge_each(judge, [None], read_cell, strict=True))


def test_an_error_names_the_picture(judge):
    (verdict,) = judge_each(judge, [("content", "a/cat.jpg")], lambda pair: read_cell(b"no picture", pair[1]))
    assert verdict.path == "a/cat.jpg"
    assert verdict.error == "a/cat.jpg cannot be read: it is not a picture in any known format"


def test_order_does_not_depend_on_threads(judge, paths):
    one = list(judge_each(judge, paths * 4, Item))
    assert list(judge_each(judge, paths * 4, Item, jobs=2)) == one
    assert [verdict.path for verdict in one] == paths * 4


def test_five_failures_of_the_machine_in_a_row_end_it():
    class Broken:
        """A judge before a disk that is gone."""

        def judge(self, items):
            problem = MachineError("the disk is gone", errno.EIO)
            return [Judged(item, Evidence(error="gone"), problem) for item in items]

        def decide(self, evidence):
            return Verdict(error=evidence.error)

    assert len(list(judge_each(Broken(), "abcd", Item))) == 4
    with pytest.raises(MachineError, match="the disk is gone"):
        list(judge_each(Broken(), "abcde", Item))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "nowhere.blurgate"}, ModelFileError, "nowhere.blurgate"),
        ({"threshold": 2}, ValueError, "threshold"),
        ({"threshold": 0.5, "review": "auto"}, ValueError, "review"),
        ({"at": 3}, ValueError, "at "),
        ({"engine": "steam"}, ValueError, "engine must be one of"),
        ({"max_megapixels": 0}, ValueError, "max_megapixels must be above 0, got 0"),
    ],
)
def test_an_option_out_of_its_range_is_refused_before_the_first_photo(options, error, message):
    assert issubclass(error, BlurgateError | ValueError)
    with pytest.raises(error, match=message):
        _ = Options(**options).judge


def test_the_column_is_found_or_asked_for():
    assert find_column(["id", "path", "image"], None) == "image"
    assert find_column(["picture"], None) == "picture"
    assert find_column(["a", "path"], "a") == "a"
    with pytest.raises(ValueError, match="expected a column of pictures, but there is a, b: name it with column="):
        find_column(["a", "b"], None)
    with pytest.raises(ValueError, match="expected a column named c, but there is a: name it"):
        find_column(["a"], "c")


def test_fields_and_columns_are_checked():
    assert list(name_columns("all", "x_")) == list(ALL)
    assert "path" not in ALL
    with pytest.raises(ValueError, match=r"fields must be of decision, .*, or 'all', got colour"):
        name_columns(["colour"], "x_")
    with pytest.raises(TypeError, match="fields must be a list, got 'decision'"):
        name_columns("decision", "x_")
    with pytest.raises(ValueError, match="one or more, each once"):
        name_columns(["kind", "kind"], "x_")
    with pytest.raises(ValueError, match=r"already a column blur_kind: name another with prefix="):
        require_free(["blur_kind", "b"], ["blur_kind", "c"])


def test_every_field_has_one_type_with_and_without_a_value():
    empty, full = Verdict(), Verdict("a", "blurred", 0.9, "motion", 1.5, "r", 10, 20, "e", (0, 1, 2, 3), 0.1, 0.2, 0.7)
    for field in ALL:
        none, value = list_values([empty, full], field)
        assert type(none) is type(value)
        assert none in ("", "error") or math.isnan(none)
    assert list_values([Verdict(error="\udcff")], "error") == ["\\udcff"]
