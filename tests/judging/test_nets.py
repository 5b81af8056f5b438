import copy
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_model import card_with, rewrite

from blurgate import build_table, calibrate, evaluate, read_table, scan, train, write_table
from blurgate.errors import DatasetError, ModelFileError, NetError
from blurgate.judging import nets
from blurgate.judging.model import load_model
from blurgate.judging.nets import MAX_PIXELS, TRAINED_SIDE, Net
from blurgate.judging.onnx_graphs import OPERATORS, check_graph, list_operators
from blurgate.photos.images import read_gray

MODELS = ["net_model", "joint_model", "cascade"]


@pytest.fixture
def judge(request):
    return request.getfixturevalue(request.param)


def measure(model, source, **rest):
    return build_table(source, feature_set=model.card.feature_set, net=model.net, **rest)


@pytest.fixture(scope="module")
def measured(made_folder):
    """Model -> the table of the made pictures, measured once for each."""
    tables = {}

    def measure_once(model):
        if model.fingerprint not in tables:
            tables[model.fingerprint] = measure(model, made_folder)
        return tables[model.fingerprint]

    return measure_once


@pytest.mark.parametrize("shape", [(192, 192), (193, 207), (64, 64), (64, 700), (1000, 8)])
def test_a_photo_of_any_size_is_analysed(net, astronaut, shape):
    gray = np.resize(read_gray(astronaut), shape)
    outputs = net.predict(gray)
    assert outputs.dtype == np.float32
    assert np.isfinite(outputs).all()
    assert outputs.shape == (2,)
    rows, columns = (max(side, TRAINED_SIDE) // 8 for side in shape)
    assert net.predict_map(gray).shape == (rows, columns)


def test_a_blurred_copy_has_higher_log_odds(net, astronaut):
    gray = read_gray(astronaut)
    picture = Image.fromarray(gray)
    blurred = np.asarray(picture.resize((64, 64)).resize(picture.size))
    assert net.predict(blurred)[0] > net.predict(gray)[0]


def test_a_small_photo_is_extended_by_its_mirror_image(net, astronaut):
    gray = read_gray(astronaut)[:100, :150]
    mirrored = np.pad(gray, ((0, TRAINED_SIDE - 100), (0, TRAINED_SIDE - 150)), mode="symmetric")
    np.testing.assert_array_equal(net.predict_map(gray), net.predict_map(mirrored))


@pytest.mark.parametrize("shape", [(70, 200_000), (200_000, 70), (10_000, 10_000)])
def test_a_large_photo_is_cropped_to_bound_the_memory(net, shape, monkeypatch):
    seen = []
    session = net._session
    monkeypatch.setitem(
        net.__dict__,
        "_session",
        type("", (), {"run": lambda _, names, given: seen.append(given) or session.run(names, given)})(),
    )
    net.predict(np.zeros(shape, np.uint8))
    most = max(MAX_PIXELS, 3 * TRAINED_SIDE * max(shape) if min(shape) >= TRAINED_SIDE else MAX_PIXELS)
    for planes in seen:
        assert planes["gray"].size <= most
        assert min(planes["gray"].shape[2:]) >= TRAINED_SIDE


def test_a_photo_mirrored_about_its_other_diagonal_gets_the_same_outputs(net, astronaut):
    gray = read_gray(astronaut)[:200, :312]
    np.testing.assert_array_equal(net.predict(gray), net.predict(gray[::-1, ::-1].T))


def test_a_net_is_named_by_its_content(net):
    assert net.name == Net(bytes(net.onnx)).name
    assert net.name != Net(net.onnx + b"\0").name


def test_a_gray_that_is_not_2d_is_refused(net):
    with pytest.raises(ValueError, match=r"gray must be 2-D \(height, width\), got shape \(8, 8, 3\)"):
        net.predict(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("content", [b"", b"not a net"])
def test_a_file_that_is_not_a_net_is_refused(net, content):
    with pytest.raises(NetError, match="cannot be read by ONNX Runtime .*: copy the model again, .*--model trees"):
        Net(content).check()


@pytest.mark.parametrize("judge", MODELS, indirect=True)
def test_a_saved_model_predicts_the_same(judge, tmp_path, sharp_folder):
    judge.save(tmp_path / "n.blurgate")
    loaded = load_model(tmp_path / "n.blurgate")
    assert loaded.fingerprint == judge.fingerprint
    assert list(scan(sharp_folder, model=loaded)) == list(scan(sharp_folder, model=judge))


@pytest.mark.parametrize("judge", MODELS, indirect=True)
def test_a_scan_a_table_and_a_prediction_agree(judge, measured):
    table = measured(judge)
    assert table.columns == judge.card.columns
    predictions = judge.predict_features(table.features)
    photos = [table.picture(row) for row in range(len(table))]
    for row, verdict in enumerate(scan(photos, model=judge, engine="numpy")):
        assert verdict.probability == pytest.approx(predictions.probability[row], abs=1e-6)
        assert verdict.strength_px == pytest.approx(predictions.strength_px[row], abs=1e-3)
    assert judge.predict(photos[0]).probability == pytest.approx(predictions.probability[0], abs=1e-6)
    assert evaluate(judge, table).numbers["roc_auc"] > 0.7


def test_trees_and_net_add_up(joint_model, model, net_model, measured):
    table = measured(joint_model)
    trees = model.log_odds(table.features[:, : len(model.card.columns)])
    net = table.features[:, -2].astype(np.float64)
    np.testing.assert_allclose(joint_model.log_odds(table.features), trees + 0.5 * net, rtol=1e-12)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("judge", MODELS, indirect=True)
def test_a_table_on_disk_knows_its_net(judge, measured, table, tmp_path, suffix, model):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the extra parquet")
    rows = measured(judge)
    write_table(rows, tmp_path / f"t{suffix}")
    again = read_table(tmp_path / f"t{suffix}")
    assert again.feature_set == judge.card.feature_set
    np.testing.assert_array_equal(again.features, rows.features)
    with pytest.raises(DatasetError, match=f"is one of {model.card.feature_set}: give the photos themselves"):
        evaluate(judge, table)


@pytest.mark.parametrize("judge", MODELS, indirect=True)
def test_a_model_with_a_net_is_calibrated_like_any_other(judge, measured):
    table = measured(judge)
    calibration = calibrate(judge, table)
    after, before = calibration.numbers["after"], calibration.numbers["before"]
    assert after["log_loss"] <= before["log_loss"] + 0.01
    assert calibration.model.net is judge.net
    odds, original = calibration.model.log_odds(table.features), judge.log_odds(table.features)
    if (
        not calibration.numbers["refitted"] and not judge.is_cascade
    ):  # the calibrated log-odds are a linear function of the original ones
        slope = np.ptp(odds) / np.ptp(original)
        np.testing.assert_allclose(odds - odds[0], slope * (original - original[0]), atol=1e-6)


def truncate_net(members):
    members["net.onnx"] = members["net.onnx"][: len(members["net.onnx"]) // 2]


def remove_net(members):
    del members["net.onnx"]


def replace_net(members):
    members["net.onnx"] += b"\0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (truncate_net, "contains a net that its card does not name"),
        (remove_net, "contains no net, but its card names one"),
        (replace_net, "contains a net that its card does not name"),
        (card_with(net_slope=float("nan")), "a number is not finite, or a value has the wrong type"),
        (card_with(feature_set="dct18"), "needs the feature set dct18"),
    ],
)
def test_damaged_files(net_model, tmp_path, change, message):
    net_model.save(tmp_path / "n.blurgate")
    with pytest.raises(ModelFileError, match=message):
        load_model(rewrite(tmp_path / "n.blurgate", tmp_path / "d.blurgate", change))


def test_a_damaged_net_is_refused_when_it_is_loaded(net_model, tmp_path):
    broken = Net(net_model.net.onnx[:100])
    name = f"texture1+{broken.name}"
    columns = ("1/4__low__log_energy__p97", f"{broken.name}__blurred", f"{broken.name}__strength")
    replace(net_model, card=replace(net_model.card, feature_set=name, columns=columns), net=broken).save(
        tmp_path / "n.blurgate"
    )
    with pytest.raises(ModelFileError, match="n.blurgate contains a net that is damaged or unlike those of blurgate"):
        load_model(tmp_path / "n.blurgate")


def test_a_net_that_only_onnx_runtime_can_refuse_is_refused_when_it_is_asked(net_model, astronaut):
    onnx = pytest.importorskip("onnx")
    net = onnx.load_from_string(net_model.net.onnx)
    next(node for node in net.graph.node if node.op_type == "Squeeze").op_type = "Gather"  # its indices are too large
    broken = Net(net.SerializeToString())
    check_graph(broken.onnx)
    with pytest.raises(ModelFileError, match=f"{broken.name} .* ONNX Runtime"):
        replace(net_model, net=broken).predict(astronaut)


def test_what_is_left_of_a_half_removed_onnx_runtime_is_noticed_when_the_model_is_loaded(monkeypatch):
    monkeypatch.setattr(nets, "find_spec", lambda name: ModuleSpec(name, None))  # a folder without a module
    with pytest.raises(NetError, match="needs ONNX Runtime, but that is not installed"):
        load_model()


def test_the_operators_of_the_shipped_nets_are_among_those_that_a_net_may_have():
    for name in ("net", "open"):
        assert list_operators(load_model(name).net.onnx) <= OPERATORS


@pytest.mark.parametrize("kind", ["plain", "mobilenet", "convnext", "dct", "blocks", "partial"])
@pytest.mark.filterwarnings("ignore")  # torch's export calls what torch deprecates
def test_every_kind_of_net_may_be_loaded(kind, tmp_path):
    pytest.importorskip("torch")
    from models.net_kinds import KINDS
    from models.net_training import export_net

    try:
        net = KINDS[kind]()
    except ImportError as error:
        pytest.skip(str(error))
    export_net(net, tmp_path / "n.onnx")
    check_graph((tmp_path / "n.onnx").read_bytes())


def test_a_table_needs_the_net_that_it_names(net, made_folder):
    with pytest.raises(ValueError, match="needs the net that it names, got None"):
        build_table(made_folder, feature_set=f"texture1+{net.name}")
    with pytest.raises(ValueError, match="the feature set block99 needs the net that it names"):
        build_table(made_folder, net=net)


def test_trees_are_not_trained_on_the_outputs_of_a_net(joint_model, net_model, measured, made_folder):
    for chosen in (joint_model, net_model):
        with pytest.raises(ValueError, match="trees learn from measured features, but the feature set of the table is"):
            train(measured(chosen), trials=1)
    with pytest.raises(ValueError, match="the feature set of the table is texture1"):
        train(build_table(made_folder, feature_set="texture1"), trials=1)


def test_a_model_whose_trees_are_missing_is_refused(joint_model, tmp_path):
    del (boosters := dict(joint_model.boosters))["blurred"]
    replace(joint_model, boosters=boosters).save(tmp_path / "j.blurgate")
    with pytest.raises(ModelFileError, match="contains no booster named blurred"):
        load_model(tmp_path / "j.blurgate")


def test_a_net_with_non_finite_outputs_is_refused(net_model):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(net_model.net.onnx)
    weights = next(each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT and each.dims)
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full(weights.dims, np.nan, np.float32), weights.name))
    broken = Net(model.SerializeToString())
    with pytest.raises(
        NetError, match=r"must answer with 2 finite numbers of at most 1,000,000, got \[.*nan.*: copy the model again"
    ):
        broken.check()


@pytest.mark.parametrize("judge", MODELS, indirect=True)
def test_a_model_with_a_net_can_be_pickled(judge, sharp_folder):
    photo = next(sharp_folder.rglob("*.png"))
    verdict = judge.predict(photo)
    assert pickle.loads(pickle.dumps(judge)).predict(photo) == verdict
    assert copy.deepcopy(judge).predict(photo) == verdict


def test_a_file_named_like_a_shipped_model_is_loaded_by_its_path(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save(Path("both"))
    assert load_model("./both").fingerprint == load_model(Path("both")).fingerprint == model.fingerprint
    with pytest.raises(
        ModelFileError,
        match="^No model file: BOTH. Check the path, or name a shipped model: default, trees, net, both or open$",
    ):
        load_model("BOTH")


def test_a_scan_takes_a_shipped_model_by_its_name(sharp_folder):
    photo = next(sharp_folder.rglob("*.png"))
    assert list(scan([photo], model="net")) == [load_model("net").predict(photo)]


def test_the_log_odds_of_a_net_are_weighted_in_float32(net_model):
    """So the shipped models are calibrated; float64 would move some probabilities by their last digit."""
    rows = np.random.default_rng(0).normal(0, 5, (50, len(net_model.card.columns))).astype(np.float32)
    model = replace(net_model, card=replace(net_model.card, net_slope=0.7183, intercept=-0.31))
    expected = np.full(50, -0.31) + np.float32(0.7183) * rows[:, -2]
    np.testing.assert_array_equal(model.log_odds(rows), expected)


def test_running_a_net_leaves_nothing_behind_and_tells_nobody(net, tmp_path):
    (tmp_path / "net.onnx").write_bytes(net.onnx)
    code = (
        "import numpy, sys; from pathlib import Path; from blurgate.judging.nets import Net; "
        "Net(Path(sys.argv[1]).read_bytes()).predict(numpy.zeros((192, 192), numpy.uint8))"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "net.onnx")], check=True, env=environment | places)
    assert list(home.rglob("*")) == []
