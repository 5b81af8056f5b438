"""A cascade: the trees judge every photo, and the net is asked where they are in doubt."""

import json
import pickle
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest
from test_model import card_with, rewrite

from blurgate import build_table, calibrate, evaluate, scan
from blurgate.errors import ModelFileError, NetError
from blurgate.judging import nets
from blurgate.judging.model import BlurModel, Measurement, load_model, to_probability
from blurgate.judging.nets import Net
from blurgate.learning.calibration import fit_to_photos
from blurgate.measuring import engines
from blurgate.measuring.engines import Steps
from blurgate.measuring.features import extract_features
from blurgate.photos.images import read_gray, read_plane


@pytest.fixture(scope="module")
def asked_table(cascade, made_folder):
    """The table of half of the made pictures, with the net's outputs in every row."""
    table = build_table(made_folder, feature_set=cascade.card.feature_set, net=cascade.net)
    return table.take(np.arange(0, len(table), 2))


@pytest.fixture(scope="module")
def pictures(asked_table):
    return [asked_table.picture(row) for row in range(len(asked_table))]


@pytest.fixture
def answers(monkeypatch):
    """The grays that the net is asked about, as they come."""
    seen, predict = [], Net.predict
    monkeypatch.setattr(Net, "predict", lambda self, gray: seen.append(gray) or predict(self, gray))
    return seen


def found_by_scan(photos, model, **options):
    verdicts = list(scan(photos, model=model, **options))
    return np.asarray([[verdict.probability, verdict.strength_px] for verdict in verdicts])


def found_in_table(model, table):
    predictions = model.predict_features(table.features)
    return np.asarray(
        [
            [round(float(p), 6), round(float(s), 3)]
            for p, s in zip(predictions.probability, predictions.strength_px, strict=True)
        ]
    )


def test_the_net_is_asked_from_the_bound_on_and_where_the_threshold_is_reached(cascade, model, asked_table):
    rows = asked_table.features
    alone = model.log_odds(rows[:, :-2])
    margins = (alone - model.card.intercept) / model.card.slope
    asked = cascade.asks(rows)
    assert 0.2 < asked.mean() < 0.8
    np.testing.assert_array_equal(asked, margins >= cascade.card.ask_from)
    joint = alone + 0.5 * rows[:, -2]
    np.testing.assert_allclose(cascade.log_odds(rows), np.where(asked, joint, alone), atol=1e-5)
    low = cascade.with_threshold(0.02)
    np.testing.assert_array_equal(low.asks(rows), asked | (to_probability(alone) >= 0.02))
    assert low.asks(rows).sum() > asked.sum()
    assert cascade.with_threshold(0.0).asks(rows).all()
    np.testing.assert_array_equal(cascade.with_threshold(1.0).asks(rows), asked)


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.5, 1.0])
def test_no_photo_is_called_blurred_by_the_trees_alone(cascade, pictures, asked_table, threshold):
    model = cascade.with_threshold(threshold)
    unasked = ~model.asks(asked_table.features)
    verdicts = list(scan(pictures, model=cascade, engine="numpy", threshold=threshold))
    assert not any(verdict.decision == "blurred" for verdict, alone in zip(verdicts, unasked, strict=True) if alone)


def test_a_probability_that_is_rounded_up_to_the_threshold_makes_it_ask(cascade, model, asked_table):
    rows = asked_table.features[~cascade.asks(asked_table.features)]
    alone = to_probability(model.log_odds(rows[:, :-2]))
    rounded = np.asarray([round(float(probability), 6) for probability in alone])
    raised = np.flatnonzero(rounded > alone)
    assert raised.size
    for row in raised:
        assert cascade.with_threshold(rounded[row]).asks(rows)[row]


@pytest.mark.parametrize("threshold", [None, 0.05, 0.0])
@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("engine", ["numpy", "compiled"])
def test_a_scan_and_a_table_agree_to_the_bit(cascade, pictures, asked_table, monkeypatch, engine, jobs, threshold):
    if engine == "compiled":
        pytest.importorskip("llvmlite", reason="needs the extra fast")
        from blurgate.measuring import kernel

        measured = [kernel.extract_features(read_plane(path).gray, "block99") for path in pictures]
        table = replace(asked_table, features=np.c_[np.stack(measured), asked_table.features[:, -2:]])
    else:
        table = asked_table
    for batch in (3, 16):
        monkeypatch.setattr("blurgate.scanning.judge.BATCH", batch)
        found = found_by_scan(pictures, cascade, engine=engine, jobs=jobs, threshold=threshold)
        expected = cascade if threshold is None else cascade.with_threshold(threshold)
        np.testing.assert_array_equal(found, found_in_table(expected, table))


def test_an_engine_that_finishes_in_batches_asks_after_them(cascade, pictures, asked_table, monkeypatch, answers):
    begun = Steps(
        begin=lambda gray, feature_set: [gray, feature_set],
        finish=lambda batch, _: [extract_features(*item) for item in batch],
    )
    monkeypatch.setattr(engines, "load_torch", lambda device: begun)
    for jobs in (1, 3):
        answers.clear()
        found = found_by_scan(pictures, cascade, device="cuda", jobs=jobs)
        np.testing.assert_array_equal(found, found_in_table(cascade, asked_table))
        assert len(answers) == cascade.asks(asked_table.features).sum()


def test_photos_in_memory_and_one_alone_get_the_same_verdict(cascade, pictures):
    from_files = list(scan(pictures, model=cascade, engine="numpy"))
    in_memory = list(scan([path.read_bytes() for path in pictures], model=cascade, engine="numpy"))
    assert [verdict.probability for verdict in in_memory] == [verdict.probability for verdict in from_files]
    for path, verdict in list(zip(pictures, from_files, strict=True))[::20]:
        assert cascade.predict(path) == verdict
        assert list(scan([path], model=cascade)) == [verdict]
    bounded = replace(cascade, card=replace(cascade.card, review=(0.3, 0.7)))
    for path in pictures[::25]:  # a low bound makes the cascade ask about more photos
        for options in ({"threshold": 0.02}, {"threshold": 1.0}, {"review": (0.02, 0.6)}, {"review": "auto"}):
            assert [bounded.predict(path, **options)] == list(scan([path], model=bounded, **options))


def test_a_sharp_photo_costs_no_answer(cascade, pictures, asked_table, answers):
    asked = cascade.asks(asked_table.features)
    list(scan(pictures, model=cascade, engine="numpy"))
    assert len(answers) == asked.sum()
    answers.clear()
    list(scan([path for path, each in zip(pictures, asked, strict=True) if not each], model=cascade, engine="numpy"))
    assert answers == []


def test_photos_that_cannot_be_judged_are_not_asked_about(cascade, answers):
    never = replace(cascade, card=replace(cascade.card, ask_from=-1e9))
    verdicts = list(scan([np.zeros((200, 200), np.uint8), np.zeros((20, 20), np.uint8)], model=never))
    assert [verdict.decision for verdict in verdicts] == ["undecided"] * 2
    assert answers == []


def test_a_batch_in_which_nobody_asks(cascade, pictures, answers):
    never = replace(cascade, card=replace(cascade.card, ask_from=1e9, threshold=1.0))
    found = found_by_scan(pictures, never)
    assert np.isfinite(found).all()
    assert answers == []


def test_rows_without_the_answers_that_they_need_are_refused(cascade, asked_table):
    rows = asked_table.features.copy()
    rows[~cascade.asks(rows), -2:] = np.nan
    np.testing.assert_array_equal(cascade.log_odds(rows), cascade.log_odds(asked_table.features))
    with pytest.raises(ValueError, match="features must hold the outputs of the net for each photo that it is asked"):
        cascade.with_threshold(0.0).predict_features(rows)


def test_a_measurement_can_be_judged_before_it_is_asked(cascade, pictures):
    measured = cascade.measure(pictures[0])
    assert measured.gray is None
    pending = Measurement(measured.evidence, measured.features, gray=read_gray(pictures[0]))
    assert cascade.judge([pending]) == cascade.judge([measured])


def test_resuming_never_mixes_photos_asked_and_not_asked(cascade, pictures, tmp_path, answers):
    fresh = list(scan(pictures, model=cascade, threshold=0.01))
    list(scan(pictures, model=cascade, threshold=0.5, resume=tmp_path / "r"))
    answers.clear()
    list(scan(pictures, model=cascade, threshold=0.9, resume=tmp_path / "r"))
    assert answers == []  # the bound decides at both thresholds
    assert list(scan(pictures, model=cascade, threshold=0.01, resume=tmp_path / "r")) == fresh
    assert answers
    answers.clear()
    reviewed = list(scan(pictures, model=cascade, review=(0.01, 0.9), resume=tmp_path / "r"))
    assert answers == []
    assert [verdict.probability for verdict in reviewed] == [verdict.probability for verdict in fresh]
    assert reviewed == list(scan(pictures, model=cascade, review=(0.01, 0.9)))  # with their doubts


def test_a_fingerprint_has_the_threshold_only_where_it_makes_a_difference(cascade):
    assert cascade.with_threshold(0.95).fingerprint == cascade.fingerprint
    low, lower = cascade.with_threshold(0.02), cascade.with_threshold(0.01)
    assert len({cascade.fingerprint, low.fingerprint, lower.fingerprint}) == 3
    reviewed = replace(cascade, card=replace(cascade.card, review=(0.1, 0.8)))
    assert reviewed.fingerprint == cascade.fingerprint


@pytest.mark.parametrize("refit", [False, True])
def test_a_calibrated_cascade_corrects_both_branches(cascade, asked_table, pictures, tmp_path, refit):
    cascade = replace(cascade, card=replace(cascade.card, review=(0.1, 0.9)))
    fitted = fit_to_photos(cascade, asked_table, 0, refit=refit)
    slope = fitted.card.slope / cascade.card.slope
    shift = fitted.card.intercept - slope * cascade.card.intercept
    for part in ("trees", "net"):
        old, new = cascade.card.alone[part], fitted.card.alone[part]
        assert new["intercept"] == pytest.approx(slope * old["intercept"] + shift)
    assert fitted.card.alone["trees"]["slope"] == pytest.approx(slope * cascade.card.alone["trees"]["slope"])
    assert fitted.card.alone["net"]["net_slope"] == pytest.approx(slope * cascade.card.alone["net"]["net_slope"])
    assert fitted.card.alone["trees"]["threshold"] == 0.6
    for old, new in zip(cascade.card.review, fitted.card.review, strict=True):
        assert np.log(new / (1 - new)) == pytest.approx(slope * np.log(old / (1 - old)) + shift)
    rows = asked_table.features
    if not refit:
        same = cascade.asks(rows) == fitted.asks(rows)
        expected = slope * cascade.log_odds(rows) + shift
        np.testing.assert_allclose(fitted.log_odds(rows)[same], expected[same], atol=1e-5)
    fitted.save(tmp_path / "mine.blurgate")
    loaded = load_model(tmp_path / "mine.blurgate")
    np.testing.assert_array_equal(loaded.log_odds(rows), fitted.log_odds(rows))
    np.testing.assert_array_equal(
        found_by_scan(pictures, loaded, engine="numpy", jobs=3), found_in_table(fitted, asked_table)
    )
    verdicts = list(scan(pictures, model=loaded, engine="numpy", threshold=0.2))
    unasked = ~loaded.with_threshold(0.2).asks(rows)
    assert not any(verdict.decision == "blurred" for verdict, alone in zip(verdicts, unasked, strict=True) if alone)


@pytest.mark.parametrize("limit", [{}, {"min_recall": 0.99}, {"max_false_alarms": 0.02}])
def test_calibrating_measures_the_threshold_that_it_chooses(cascade, asked_table, limit):
    calibration = calibrate(cascade, asked_table, **limit)
    assert calibration.model.card.threshold == calibration.numbers["threshold"]
    assert calibration.model.is_cascade
    assert calibration.model.card.alone.keys() == {"trees", "net"}
    rows = np.arange(0, len(asked_table), 2)
    assert (
        evaluate(calibrate(cascade, asked_table.take(rows)).model, asked_table.take(rows + 1)).numbers["roc_auc"] > 0.8
    )


def test_a_saved_cascade_is_the_same_and_can_be_pickled(cascade, tmp_path, pictures):
    with_review = replace(cascade, card=replace(cascade.card, review=(0.1, 0.95)))
    with_review.save(tmp_path / "c.blurgate")
    loaded = load_model(tmp_path / "c.blurgate")
    assert loaded.card == with_review.card
    assert loaded.fingerprint == with_review.fingerprint
    assert pickle.loads(pickle.dumps(loaded)).predict(pictures[0]) == with_review.predict(pictures[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (card_with(ask_from="low"), "a number is not finite, or a value has the wrong type"),
        (card_with(ask_from=float("nan")), "a number is not finite, or a value has the wrong type"),
        (card_with(ask_from=10**400), "a number is not finite, or a value has the wrong type"),
        (card_with(ask_from=True), "a number is not finite, or a value has the wrong type"),
        (card_with(slope=0), "it has ask_from, but slope and net_slope are not both above 0"),
        (card_with(net_slope=-0.4), "it has ask_from, but slope and net_slope are not both above 0"),
        (card_with(alone={}), "it has ask_from, but no slope above 0 and intercept for the trees alone"),
        (card_with(alone=None), "alone must map trees and net to entries of a card"),
        (card_with(alone=[1]), "alone must map trees and net to entries of a card"),
        (card_with(alone={"trees": 1}), "alone must map trees and net to entries of a card"),
        (card_with(alone={"trees": {"slope": 1.0}}), "no slope above 0 and intercept for the trees alone"),
        (card_with(alone={"trees": {"slope": -1.0, "intercept": 0}}), "no slope above 0 and intercept"),
        (card_with(alone={"trees": {"slope": 1.0, "intercept": None}}), "a number is not finite"),
        (card_with(alone={"trees": {"slope": 1.0, "intercept": float("inf")}}), "a number is not finite"),
        (
            card_with(alone={"trees": {"slope": 1.0, "intercept": 0, "threshold": 2}}),
            "threshold must be between 0 and 1",
        ),
        (card_with(alone={"trees": {"slope": 1.0, "intercept": 0, "limits": 5}}), "has a damaged card"),
        (card_with(alone={"trees": {"slope": 1.0, "intercept": 0, "columns": []}}), "unexpected in alone: columns"),
        (card_with(alone={"forest": {}}), "unexpected in alone: forest"),
        (lambda members: members.pop("net.onnx"), "contains no net, but its card names one"),
        (lambda members: members.update({"net.onnx": b"another"}), "contains a net that its card does not name"),
        (lambda members: members.pop("blurred.ubj"), "contains no booster named blurred"),
    ],
)
def test_damaged_cascades(cascade, tmp_path, change, message):
    cascade.save(tmp_path / "c.blurgate")
    with pytest.raises(ModelFileError, match=message):
        load_model(rewrite(tmp_path / "c.blurgate", tmp_path / "d.blurgate", change))


def test_trees_with_a_bound_but_no_net_are_refused(model, tmp_path):
    alone = {"trees": {"slope": 1.0, "intercept": 0.0}}
    replace(model, card=replace(model.card, ask_from=0.0, net_slope=1.0, alone=alone)).save(tmp_path / "t.blurgate")
    with pytest.raises(ModelFileError, match="contains no net, but its card says when to ask one"):
        load_model(tmp_path / "t.blurgate")


@pytest.mark.parametrize("name", ["model", "net_model", "joint_model"])
def test_older_model_files_judge_the_same(request, name, tmp_path, pictures):
    saved = request.getfixturevalue(name)
    saved.save(tmp_path / "new.blurgate")

    def age(members):
        card = json.loads(members["card.json"])
        for added in ("alone", "ask_from", "review"):
            del card[added]
        members["card.json"] = json.dumps(card | {"with_trees": {"slope": 0.5, "trees": "1a2b"}})

    loaded = load_model(rewrite(tmp_path / "new.blurgate", tmp_path / "old.blurgate", age))
    assert loaded.card == saved.card
    assert list(scan(pictures[:5], model=loaded)) == list(scan(pictures[:5], model=saved))


def test_the_variants_come_from_one_file(pictures):
    default, trees, net, both = map(load_model, ("default", "trees", "net", "both"))
    assert load_model().fingerprint == default.fingerprint
    assert default.is_cascade
    assert (trees.net, trees.card.feature_set) == (None, default.inputs.feature_set)
    assert (net.boosters, net.net.onnx) == ({}, default.net.onnx)
    assert both.card.ask_from is None
    for variant, part in ((trees, "trees"), (net, "net")):
        for entry, value in default.card.alone[part].items():
            kept = asdict(variant.card)[entry]
            assert (list(kept) if isinstance(kept, tuple) else kept) == value
    table = build_table(pictures[0].parents[1], feature_set=default.card.feature_set, net=default.net)
    asked = default.asks(table.features)
    assert asked.any()
    found = default.log_odds(table.features)
    np.testing.assert_array_equal(found[asked], both.log_odds(table.features)[asked])
    np.testing.assert_array_equal(found[~asked], trees.log_odds(table.features[:, :-2])[~asked])


def test_variants_can_be_saved_as_models(tmp_path, pictures):
    for name in ("default", "trees", "net", "both"):
        load_model(name).save(tmp_path / f"{name}.blurgate")
        again = load_model(tmp_path / f"{name}.blurgate")
        assert again.fingerprint == load_model(name).fingerprint
        assert again.predict(pictures[0]) == load_model(name).predict(pictures[0])


# ---- ONNX Runtime missing or broken, and nets that answer nonsense


def run_cli(words, before=""):
    code = f"import sys\n{before}\nfrom blurgate.cli import main\nsys.argv = ['blurgate', *sys.argv[1:]]\nmain()"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


def test_without_onnx_runtime_a_model_with_a_net_is_refused_and_trees_work(pictures):
    missing = "sys.modules['onnxruntime'] = None"
    done = run_cli(["scan", *pictures[:3]], missing)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "blurgate: the model has a net, which needs ONNX Runtime, but that is not installed: install it with "
        "pip install onnxruntime, or leave the net out with --model trees\n"
    )
    assert run_cli(["scan", *pictures[:3], "--model", "trees"], missing).returncode == 0
    assert "asks" in run_cli(["info"], missing).stdout


def test_a_broken_onnx_runtime_ends_the_scan_with_one_sentence(pictures, tmp_path):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libfoo.so: cannot open\\nshared object')")
    done = run_cli(["scan", *pictures, "--jobs", 4], f"sys.path.insert(0, {str(tmp_path)!r})")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("blurgate:")]
    assert line == (
        "blurgate: the model has a net, which needs ONNX Runtime, but that cannot be loaded (libfoo.so: cannot open): "
        "install it again with pip install onnxruntime --force-reinstall, or leave the net out with --model trees"
    )


def test_what_is_left_of_an_onnx_runtime_ends_the_scan_with_one_sentence(pictures, tmp_path):
    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    done = run_cli(["scan", *pictures], f"sys.path.insert(0, {str(tmp_path)!r})")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("blurgate:")]
    assert "needs ONNX Runtime, but that cannot be loaded (module 'onnxruntime' has no attribute" in line


def test_onnx_runtime_is_imported_when_the_first_photo_asks(cascade, pictures, asked_table, tmp_path):
    cascade.save(tmp_path / "c.blurgate")
    asked = cascade.asks(asked_table.features)
    code = (
        "import sys, blurgate\nmodel, *photos = sys.argv[1:]\nmodel = blurgate.load_model(model)\n"
        "for photo in photos:\n    model.predict(photo)\n    print('onnxruntime' in sys.modules)"
    )
    order = [*np.flatnonzero(~asked)[:2], *np.flatnonzero(asked)[:1]]
    words = [sys.executable, "-c", code, tmp_path / "c.blurgate", *(pictures[row] for row in order)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


@pytest.mark.parametrize("answers", [[np.nan, 1.0], [np.inf, 1.0], [1.0, -3e38], [1.0], [[1.0, 2.0]]])
def test_a_net_that_answers_nonsense_ends_the_scan(cascade, pictures, monkeypatch, answers):
    session = type("", (), {"run": lambda *_: [np.asarray([answers], np.float32)]})()
    net = Net(cascade.net.onnx)
    monkeypatch.setitem(net.__dict__, "_session", session)
    with pytest.raises(
        NetError, match=r"net-\w{8} must answer with 2 finite numbers of at most 1,000,000, got .*--model trees"
    ):
        list(scan(pictures, model=replace(cascade, net=net), jobs=3))


def test_a_net_that_fails_while_it_runs_ends_the_scan(cascade, pictures, monkeypatch):
    def fail(*_):
        raise RuntimeError("bad allocation\nmore")

    net = Net(cascade.net.onnx)
    monkeypatch.setitem(net.__dict__, "_session", type("", (), {"run": fail})())
    with pytest.raises(NetError, match=r"must give its answers, but ONNX Runtime cannot run it \(bad allocation\):"):
        list(scan(pictures, model=replace(cascade, net=net)))


def test_one_session_serves_all_threads(cascade, pictures, monkeypatch):
    started = []
    runtime = nets._import_runtime()
    real = runtime.InferenceSession
    monkeypatch.setattr(runtime, "InferenceSession", lambda *words, **rest: started.append(1) or real(*words, **rest))
    list(scan(pictures, model=BlurModel(cascade.card, cascade.boosters, Net(cascade.net.onnx)), jobs=8))
    assert started == [1]


def test_a_file_without_its_net_is_refused_by_every_variant(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "default.blurgate", "w") as archive:
        with zipfile.ZipFile("src/blurgate/judging/shipped/default.blurgate") as shipped:
            for name in set(shipped.namelist()) - {"net.onnx"}:
                archive.writestr(name, shipped.read(name))
    monkeypatch.setattr("blurgate.judging.model.SHIPPED", tmp_path)
    for name in ("default", "trees", "net", "both"):
        with pytest.raises(ModelFileError, match="contains no net, but its card names one"):
            load_model(name)


def test_the_trees_that_decide_whether_to_ask_are_evaluated_once(cascade, pictures, monkeypatch):
    evaluated, predict = [], BlurModel._predict_margins
    monkeypatch.setattr(
        BlurModel,
        "_predict_margins",
        lambda self, name, features: evaluated.extend([name] * len(features)) or predict(self, name, features),
    )
    measured = [cascade.measure(picture) for picture in pictures[:6]]
    judged = cascade.judge(measured)
    assert evaluated.count("blurred") == sum(each.margins is not None for each in measured) > 0
    anew = cascade.judge([replace(each, margins=None) for each in measured])
    assert judged == anew
