"""Fixtures: real photographs, and datasets, tables and models made from them once per session."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from blurgate import BlurModel, build_table, make_dataset, train
from blurgate.demo import load_photographs
from blurgate.judging.cards import Card
from blurgate.judging.explainers import Explainer
from blurgate.judging.inputs import find_inputs
from blurgate.judging.nets import Net

settings.register_profile("untimed", deadline=None)  # no test depends on timing
settings.load_profile("untimed")

SHARED = Path(os.environ.get("BLURGATE_SHARED", Path(__file__).parents[2] / "shared"))  # real photos, not in the repo


@pytest.fixture(scope="session")
def photographs():
    """Name -> array of shape (height, width, 3), uint8."""
    return load_photographs()


@pytest.fixture(scope="session")
def astronaut(photographs):
    return photographs["astronaut"]


@pytest.fixture(scope="session")
def sharp_folder(photographs, tmp_path_factory):
    """Forty-eight tiles of photographs, each a scene of its own."""
    folder = tmp_path_factory.mktemp("photos") / "sharp"
    folder.mkdir()
    for name in ("astronaut", "camera", "chelsea", "china", "coffee", "gravel", "hubble_deep_field", "motorcycle_left"):
        rgb = photographs[name]
        tiles = [(top, left) for top in range(0, 256, 128) for left in range(0, 384, 128)]
        for top, left in tiles:
            tile = rgb[top : top + 128, left : left + 128]
            Image.fromarray(tile).save(folder / f"{name}_{top}_{left}.png")
    return folder


@pytest.fixture(scope="session")
def made_folder(sharp_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "dataset"
    make_dataset(sharp_folder, folder, seed=4)  # with this seed, no picture has too little texture
    return folder


@pytest.fixture(scope="session")
def table(made_folder):
    return build_table(made_folder)


@pytest.fixture(scope="session")
def trained(table):
    """A model and its evaluation."""
    return train(table, trials=3, folds=3)


@pytest.fixture(scope="session")
def model(trained):
    return trained[0]


@pytest.fixture(scope="session")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "made.blurgate"
    model.save(path)
    return path


@pytest.fixture
def shared():
    if not SHARED.exists():
        pytest.skip("needs the real photographs beside the repository, or BLURGATE_SHARED")
    return SHARED / "data"


@pytest.fixture
def labelled(sharp_folder, tmp_path):
    """Four photos in sharp/ and blurred/."""
    for label, photos in (("sharp", slice(0, 2)), ("blurred", slice(1, 3))):
        (tmp_path / "labelled" / label).mkdir(parents=True)
        for path in sorted(sharp_folder.iterdir())[photos]:
            shutil.copy(path, tmp_path / "labelled" / label)
    return tmp_path / "labelled"


@pytest.fixture(scope="session")
def net():
    """A net without weights: the share of a photo's detail that a small blur removes, relative to a larger one."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx import TensorProto, helper

    def smooth(size, name):
        return helper.make_node("AveragePool", ["gray"], [name], kernel_shape=[size] * 2, pads=[size // 2] * 4)

    nodes = [smooth(3, "fine"), smooth(9, "coarse")]
    for name in ("fine", "coarse"):
        nodes += [
            helper.make_node("Sub", ["gray", name], [f"{name}_detail"]),
            helper.make_node("Abs", [f"{name}_detail"], [f"{name}_size"]),
            helper.make_node("ReduceMean", [f"{name}_size"], [f"{name}_mean"], axes=[2, 3], keepdims=0),
        ]
    nodes += [
        helper.make_node("Add", ["coarse_mean", "one"], ["above"]),
        helper.make_node("Div", ["fine_mean", "above"], ["share"]),
        helper.make_node("Mul", ["share", "gains"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offsets"], ["answers"]),
        helper.make_node("AveragePool", ["coarse_size"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Squeeze", ["cells", "axis"], ["map"]),
    ]
    constants = [
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("gains", TensorProto.FLOAT, [2], [-20.0, -6.0]),
        helper.make_tensor("offsets", TensorProto.FLOAT, [2], [7.0, 3.0]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("gray", TensorProto.FLOAT, [1, 1, "height", "width"])],
        [
            helper.make_tensor_value_info("answers", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, "rows", "columns"]),
        ],
        constants,
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(content)
    return Net(content.SerializeToString())


@pytest.fixture(scope="session")
def explainer():
    """A small explainer by hand: blur is strong, and a block blurred, as far as fine detail is faint beside coarse."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx import TensorProto, helper

    def smooth(size, name):
        return helper.make_node("AveragePool", ["gray"], [name], kernel_shape=[size] * 2, pads=[size // 2] * 4)

    nodes = [smooth(3, "fine"), smooth(9, "coarse")]
    for name in ("fine", "coarse"):
        nodes += [
            helper.make_node("Sub", ["gray", name], [f"{name}_detail"]),
            helper.make_node("Abs", [f"{name}_detail"], [f"{name}_size"]),
            helper.make_node("AveragePool", [f"{name}_size"], [f"{name}_cells"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("ReduceMean", [f"{name}_cells"], [f"{name}_mean"], axes=[2, 3], keepdims=0),
        ]
    for name in ("cells", "mean"):
        nodes += [
            helper.make_node("Add", [f"coarse_{name}", "one"], [f"above_{name}"]),
            helper.make_node("Div", [f"fine_{name}", f"above_{name}"], [f"share_{name}"]),
        ]
    nodes += [
        helper.make_node("Mul", ["share_mean", "gains"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offsets"], ["reading"]),
        helper.make_node("Mul", ["share_cells", "gain"], ["scaled_cells"]),
        helper.make_node("Add", ["scaled_cells", "offset"], ["odds"]),
        helper.make_node("Squeeze", ["odds", "axis"], ["map"]),
    ]
    gains, offsets = [0, 0, 0, -6, 0, 0, 0], [2, 0, 0, 3, -2, 0.3, 0.1]
    constants = [
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("gains", TensorProto.FLOAT, [7], gains),
        helper.make_tensor("offsets", TensorProto.FLOAT, [7], offsets),
        helper.make_tensor("gain", TensorProto.FLOAT, [1], [-20.0]),
        helper.make_tensor("offset", TensorProto.FLOAT, [1], [7.0]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    graph = helper.make_graph(
        nodes,
        "explainer",
        [helper.make_tensor_value_info("gray", TensorProto.FLOAT, [1, 1, "height", "width"])],
        [
            helper.make_tensor_value_info("reading", TensorProto.FLOAT, [1, 7]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, "rows", "columns"]),
        ],
        constants,
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(content)
    return Explainer(content.SerializeToString())


@pytest.fixture(scope="session")
def net_model(net):
    """A model of that net alone."""
    name = f"texture1+{net.name}"
    card = Card(name, find_inputs(name).columns, 1.0, 0.0, 0.5, 0.5, net_slope=1.0)
    return BlurModel(card, {}, net)


@pytest.fixture(scope="session")
def joint_model(net, model):
    """A model of the trees and that net."""
    name = f"{model.card.feature_set}+{net.name}"
    card = replace(model.card, feature_set=name, columns=find_inputs(name).columns, net_slope=0.5)
    return BlurModel(card, model.boosters, net)


@pytest.fixture(scope="session")
def explaining_model(net_model, explainer):
    """A model of that net alone, with that explainer."""
    return replace(net_model, explainer=explainer, card=replace(net_model.card, explainer={"spread": 2.0}))


@pytest.fixture(scope="session")
def cascade(joint_model, model, table):
    """These trees and that net, which is asked about all but the quarter that the trees find most surely sharp."""
    line = {"slope": model.card.slope, "intercept": model.card.intercept}
    log_odds = model.log_odds(table.features)
    ask_from = float((np.quantile(log_odds, 0.25) - line["intercept"]) / line["slope"])
    alone = {"trees": {**line, "threshold": 0.6}, "net": {"net_slope": 0.7, "intercept": 0.1}}
    return replace(joint_model, card=replace(joint_model.card, threshold=0.9, ask_from=ask_from, alone=alone))
