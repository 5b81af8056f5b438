import json
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blurgate.errors import ModelFileError, OutputError, PhotoError
from blurgate.judging.model import SHIPPED, load_model, to_probability
from blurgate.learning.table import build_table
from blurgate.making.blurs import BLURS
from blurgate.measuring.features import FEATURE_SETS
from blurgate.scanning.stream import scan


def rewrite(path, out, change):
    """Copy a model file with its members changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out


def card_with(**values):
    def change(members):
        members["card.json"] = json.dumps(json.loads(members["card.json"]) | values)

    return change


def strength_as_kind(members):
    members["kind.ubj"] = members["strength.ubj"]
    card_with(boosters=["blurred", "kind", "strength"], kinds=["a", "b"])(members)


@pytest.mark.parametrize("px", [1, 2, 7, 30])
def test_a_frame_changes_no_verdict(model, astronaut, px, tmp_path):
    blurred = BLURS["defocus"].apply(astronaut, {"radius_px": 6.0})
    for photo in (astronaut, blurred):
        framed = np.pad(photo, ((px, px), (px, px), (0, 0)))
        verdict = model.predict(framed)
        left, top, right, bottom = verdict.part
        assert verdict.decision == model.predict(photo).decision
        assert replace(verdict, part=None, width=0, height=0) == replace(
            model.predict(framed[top:bottom, left:right]), width=0, height=0
        )
        (tmp_path / "sharp").mkdir(exist_ok=True)
        Image.fromarray(framed).save(tmp_path / "sharp" / "framed.png")
        features = build_table(tmp_path).features
        assert verdict.probability == pytest.approx(model.predict_features(features).probability[0], abs=1e-6)


def test_a_saved_model_predicts_the_same(model, model_file, table):
    loaded = load_model(model_file)
    assert loaded.card == model.card
    np.testing.assert_array_equal(
        loaded.predict_features(table.features).probability, model.predict_features(table.features).probability
    )


def test_the_same_model_gives_the_same_bytes(model, model_file, tmp_path):
    model.save(tmp_path / "again.blurgate")
    assert (tmp_path / "again.blurgate").read_bytes() == model_file.read_bytes()


def test_the_file_contains_no_code(model_file):
    with zipfile.ZipFile(model_file) as archive:
        assert {name.rsplit(".", 1)[1] for name in archive.namelist()} == {"json", "ubj"}


def test_probabilities_are_in_range_and_separate_the_classes(model, table):
    probability = model.predict_features(table.features).probability
    assert ((probability > 0) & (probability < 1)).all()
    assert probability[table.labels == 1].mean() > probability[table.labels == 0].mean() + 0.5


def test_a_verdict_for_every_form_of_photo(model, astronaut, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(astronaut).save(path)
    verdicts = [model.predict(photo) for photo in (path, path.read_bytes(), astronaut, Image.fromarray(astronaut))]
    assert {(verdict.decision, verdict.probability, verdict.width, verdict.height) for verdict in verdicts} == {
        ("sharp", verdicts[0].probability, 512, 512)
    }
    assert [verdict.path for verdict in verdicts] == [str(path), "", "", ""]


def test_more_blur_is_more_probable_and_stronger(model, astronaut):
    blur = BLURS["defocus"]
    verdicts = [model.predict(blur.apply(astronaut, {"radius_px": radius})) for radius in (1.5, 4.0, 9.0)]
    assert [verdict.decision for verdict in verdicts[1:]] == ["blurred", "blurred"]
    assert verdicts[0].strength_px < verdicts[2].strength_px


def test_a_small_photo_is_undecided_with_its_reason(model):
    verdict = model.predict(np.zeros((63, 400), np.uint8))
    assert (verdict.decision, verdict.probability) == ("undecided", None)
    assert verdict.reason == "too small: at least 64 px on each side are needed"
    assert (verdict.width, verdict.height) == (400, 63)


def test_an_unreadable_photo_is_an_error(model, tmp_path):
    with pytest.raises(PhotoError, match=r"no\.jpg does not exist"):
        model.predict(tmp_path / "no.jpg")


@given(st.lists(st.floats(-700, 700), min_size=2), st.floats(0.01, 10), st.floats(-10, 10))
def test_calibration_keeps_the_order(margins, slope, intercept):
    probabilities = to_probability(slope * np.sort(np.asarray(margins)) + intercept)
    assert (np.diff(probabilities) >= 0).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_calibration_is_the_logistic_function():
    assert to_probability(np.asarray([np.log(3.0)]))[0] == pytest.approx(0.75)


def test_the_threshold_changes_the_decision(model, astronaut):
    assert model.with_threshold(0.0).predict(astronaut).decision == "blurred"
    with pytest.raises(ValueError, match="threshold must be between 0 and 1, got 1.2"):
        model.with_threshold(1.2)
    assert model.with_threshold(model.card.threshold) is model
    assert model.predict(astronaut, threshold=0.0) == model.with_threshold(0.0).predict(astronaut)
    assert model.predict(astronaut, review=(0.0, 1.0)).decision == "undecided"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.2}, "threshold must be between 0 and 1, got 1.2"),
        ({"review": (0.7, 0.3)}, "review must be two probabilities, the lower one first, got (0.7, 0.3)"),
        ({"review": 0.5}, "review must be two probabilities, the lower one first, got 0.5"),
        ({"review": ()}, "review must be two probabilities, the lower one first, got ()"),
        ({"review": "all"}, "review must be two probabilities, the lower one first, or auto, got 'all'"),
        ({"review": "auto"}, "review auto needs a model that has bounds of its own, but this one has none"),
        ({"threshold": 0.5, "review": (0.3, 0.7)}, "use threshold or review, not both"),
        ({"threshold": 0.5, "review": ()}, "use threshold or review, not both"),
    ],
)
def test_bounds_that_cannot_decide_are_refused(model, astronaut, options, message):
    for judge in (model.predict, lambda photo, **same: scan([photo], model=model, **same)):
        with pytest.raises(ValueError, match=re.escape(message)):
            judge(astronaut, **options)


def test_features_of_a_wrong_shape(model):
    with pytest.raises(ValueError, match=r"features must be of shape \(n_photos, 99\), got shape \(2, 17\)"):
        model.predict_features(np.zeros((2, 17), np.float32))


@given(data=st.data())
@settings(max_examples=40)
def test_a_truncated_file_is_refused(model_file, tmp_path_factory, data):
    content = model_file.read_bytes()
    cut = tmp_path_factory.mktemp("cut") / "cut.blurgate"
    cut.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(ModelFileError, match="cut.blurgate is not one or is damaged .*: train it or copy it again"):
        load_model(cut)


def test_files_that_are_not_models(tmp_path):
    with pytest.raises(
        ModelFileError, match=r"^No model file: .*no.blurgate. Check the path, or name a shipped model: default, "
    ):
        load_model(tmp_path / "no.blurgate")
    with pytest.raises(ModelFileError, match="is a folder: name a .blurgate file, or a shipped model: default"):
        load_model(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 a photo")
    with pytest.raises(ModelFileError, match="expected a .blurgate model, but .*photo.jpg is not one or is damaged"):
        load_model(tmp_path / "photo.jpg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (card_with(format=99), "is not a model of format 1: train it again"),
        (card_with(threshold="high"), "has a damaged card"),
        (card_with(slope=float("nan")), "has a damaged card .a number is not finite, or a value has the wrong type"),
        (card_with(threshold="0.5"), "has a damaged card .a number is not finite, or a value has the wrong type"),
        (card_with(threshold=True), "has a damaged card .a number is not finite, or a value has the wrong type"),
        (card_with(threshold=9), "has a damaged card .its threshold must be between 0 and 1, got 9"),
        (card_with(columns=[1] * 18), "has a damaged card"),
        (card_with(feature_set=["a"]), "has a damaged card"),
        (strength_as_kind, "contains a booster named kind whose outputs do not match its card"),
        (card_with(kinds=["a", "b"]), "must contain a booster named kind if its card lists kinds, and none if not"),
        (
            card_with(feature_set="dct18", columns=FEATURE_SETS["dct18"].columns),
            "contains a booster named blurred for 99 features, but its card lists 18 columns",
        ),
        (card_with(limits=None), "has a damaged card"),
        (card_with(trained_on=[1]), "has a damaged card .a number is not finite, or a value has the wrong type"),
        (card_with(slope=10**400), "has a damaged card .a number is not finite, or a value has the wrong type"),
        (card_with(review=[0.7, 0.3]), "has a damaged card .its review must be two probabilities, the lower one first"),
        (card_with(review=[0.1]), "has a damaged card .its review must be two probabilities"),
        (card_with(review=[0.1, 1.2]), "has a damaged card .its review must be two probabilities"),
        (card_with(review=0.5), "has a damaged card"),
        (card_with(review=["0.1", "0.2"]), "has a damaged card .a number is not finite, or a value has the wrong type"),
        (card_with(surprise=1), "has a damaged card .it has an entry that no card has: .surprise"),
        (
            card_with(columns=["9__low__mean__mean"]),
            r"does not compute .missing: 9__low__mean__mean.: update blurgate or train it again",
        ),
        (
            card_with(feature_set="dct99"),
            "needs the feature set dct99, which this version of blurgate does not compute: update blurgate",
        ),
        (lambda members: members.pop("card.json"), "has a damaged card .it is missing"),
        (lambda members: members.update({"card.json": b"[1]"}), "is not a model of format 1"),
        (lambda members: members.update({"card.json": b"{"}), "has a damaged card .it is not JSON"),
        (lambda members: members.pop("blurred.ubj"), "contains no booster named blurred"),
        (lambda members: members.update({"blurred.ubj": b"{}"}), "contains a damaged booster"),
        (lambda members: members.update({"blurred.ubj": members["blurred.ubj"][:500]}), "contains a damaged booster"),
    ],
)
def test_damaged_models(model_file, tmp_path, change, message):
    with pytest.raises(ModelFileError, match=message):
        load_model(rewrite(model_file, tmp_path / "m.blurgate", change))


@pytest.mark.parametrize("name", ["default", "open"])
def test_a_shipped_model_without_one_of_its_boosters_is_refused(name, tmp_path):
    path = rewrite(SHIPPED / f"{name}.blurgate", tmp_path / "m.blurgate", lambda members: members.pop("strength.ubj"))
    with pytest.raises(ModelFileError, match="contains the boosters blurred, but its card lists blurred, strength: "):
        load_model(path)


def test_a_model_that_does_not_list_its_boosters_is_loaded(model, model_file, tmp_path):
    def forget(members):
        members["card.json"] = json.dumps(
            {name: entry for name, entry in json.loads(members["card.json"]).items() if name != "boosters"}
        )

    assert load_model(rewrite(model_file, tmp_path / "m.blurgate", forget)).fingerprint == model.fingerprint


def test_a_model_that_could_not_be_read_again_is_not_written(model, tmp_path):
    large = replace(model, card=replace(model.card, limits=("x" * 2**20,)))
    with pytest.raises(OutputError, match="card.json of a model may have 1 MiB, got 1.0"):
        large.save(tmp_path / "m.blurgate")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file(model, tmp_path):
    path = tmp_path / "m.blurgate"
    model.save(path)
    before = path.read_bytes()
    broken = replace(model, card=replace(model.card, results={"x": object()}))
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_fingerprints_differ_between_models_but_not_between_thresholds(model, model_file):
    assert load_model(model_file).with_threshold(0.9).fingerprint == model.fingerprint
    other = replace(model, card=replace(model.card, intercept=model.card.intercept + 0.1))
    assert len({model.fingerprint, other.fingerprint, load_model().fingerprint}) == 3
