"""FiftyOne keeps its samples in MongoDB: where none starts, in one that is pretended."""

import json
import os
import warnings
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pipelines.conftest import run_stored

from blurgate import Verdict

if not find_spec("fiftyone"):
    pytest.skip("fiftyone is not installed", allow_module_level=True)

STORED = """
import json, sys
import fiftyone as fo
from blurgate.pipelines.fiftyone import Judge, judge_samples

paths = json.loads(sys.argv[1])
dataset = fo.Dataset()
dataset.add_samples([fo.Sample(filepath=path, truth=fo.Classification(label="cat")) for path in paths], progress=False)
judge_samples(dataset, engine="numpy", progress=False)
judge_samples(dataset.exists("blur_probability"), engine="numpy", progress=False)
for field in ("truth", "filepath"):
    try:
        judge_samples(dataset, field, engine="numpy", progress=False)
    except ValueError as error:
        print(error, file=sys.stderr)
dataset.apply_model(Judge(engine="numpy"), label_field="model", progress=False)
rows = dataset.values(["filepath", "blur.label", "blur_probability", "blur.confidence", "blur.kind", "model.label"])
print(json.dumps(list(zip(*rows))))
"""


@pytest.fixture(scope="module")
def fiftyone():
    """The module, without a database."""
    os.environ.setdefault("FIFTYONE_DISABLE_SERVICES", "1")
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its own libraries
        from blurgate.pipelines import fiftyone
    return fiftyone


@pytest.fixture(scope="module")
def judge(fiftyone):
    return fiftyone.Judge(engine="numpy")


class Samples:
    """A stand-in for a dataset: what is judged and how it is saved, without a database."""

    media_type = "image"

    def __init__(self, paths, **schema):
        self.paths, self.schema, self.saved = paths, schema, {}

    def values(self, names):
        assert names == ["id", "filepath"]
        return [str(number) for number in range(len(self.paths))], self.paths

    def get_field_schema(self):
        return self.schema

    def distinct(self, _):
        return ["cat"]

    def set_values(self, field, values, key_field, dynamic=False):
        assert key_field == "id"
        self.saved.setdefault(field, {}).update(values)


def test_labels_and_probabilities_are_those_of_a_scan(fiftyone, paths, wanted):
    samples = Samples(paths)
    fiftyone.judge_samples(samples, engine="numpy", progress=False)
    assert list(samples.saved) == ["blur", "blur_probability"]
    for key, verdict in zip(samples.saved["blur"], wanted.values(), strict=True):
        label = samples.saved["blur"][key]
        assert label.label == verdict["decision"]
        assert samples.saved["blur_probability"][key] == verdict["probability"]
        for name in ("kind", "reason", "error"):
            assert (label[name] if label.has_field(name) else "") == verdict[name]


def test_confidence_is_that_of_the_label(fiftyone):
    for decision, confidence in (("blurred", 0.8), ("sharp", 0.2), ("undecided", None)):
        label = fiftyone.make_label(Verdict(decision=decision, probability=0.8))
        assert label.confidence == (None if confidence is None else pytest.approx(confidence))
    assert fiftyone.make_label(Verdict(decision="error", error="gone")).error == "gone"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"media_type": "video"}, ValueError, "samples must be images, got video: choose them with"),
        ({"media_type": "group"}, ValueError, "samples must be images, got group"),
        ({"schema": {"blur": object()}}, ValueError, r"the field blur holds something else \(object\): name another"),
        (
            {"schema": {"blur_probability": object()}},
            ValueError,
            "the field blur_probability holds something else .object.: name another with probability_field=",
        ),
    ],
)
def test_what_cannot_be_judged_or_is_somebody_elses_is_refused(fiftyone, change, error, message):
    samples = Samples(["nowhere.jpg"])
    vars(samples).update(change)
    with pytest.raises(error, match=message):
        fiftyone.judge_samples(samples, progress=False)
    assert samples.saved == {}


def test_labels_of_somebody_else_are_refused(fiftyone):
    import fiftyone as fo

    samples = Samples(["nowhere.jpg"], truth=SimpleNamespace(document_type=fo.Classification))
    with pytest.raises(ValueError, match=r"the field truth holds something else \(labels such as cat\): name another"):
        fiftyone.judge_samples(samples, "truth", progress=False)
    with pytest.raises(ValueError, match="must differ, got x for both"):
        fiftyone.judge_samples(samples, "x", probability_field="x", progress=False)


def test_a_model_judges_the_file_of_a_sample(judge, readable, wanted):
    samples = [SimpleNamespace(media_type="image", filepath=path) for path in readable]
    labels = judge.predict_all([np.zeros((9, 9, 3), np.uint8)] * len(readable), samples)
    assert [label.label for label in labels] == [wanted[path]["decision"] for path in readable]


def test_a_model_judges_pixels_where_there_is_no_file(judge, readable):
    path = next(path for path in readable if path.endswith("coffee.jpg"))
    frame = SimpleNamespace(media_type="image", filepath="nowhere.jpg", sample_id="1")
    assert judge.predict(np.asarray(Image.open(path))).label == "blurred"
    assert judge.predict(np.asarray(Image.open(path)), frame).label == "blurred"


def test_a_dataset_is_judged(paths, wanted, tmp_path):
    answer = run_stored(STORED, tmp_path, json.dumps(paths))
    rows = json.loads(answer.stdout.splitlines()[-1])  # after what FiftyOne says of the broken one
    for path, label, probability, confidence, kind, _ in rows:
        verdict = wanted[path]
        assert (label, probability) == (verdict["decision"], verdict["probability"])
        assert (kind or "") == verdict["kind"]
        assert confidence == {"blurred": probability, "sharp": 1 - (probability or 0)}.get(label)
    assert "the field truth holds something else (labels such as cat)" in answer.stderr
    assert "the field filepath holds something else (StringField)" in answer.stderr
    models = {path: found for path, *_, found in rows}
    assert {path: found for path, found in models.items() if found} == {
        path: verdict["decision"] for path, verdict in wanted.items() if verdict["decision"] != "error"
    }
