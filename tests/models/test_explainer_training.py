"""Training of the net that explains; needs torch, see CONTRIBUTING.md."""

import numpy as np
import pytest

from blurgate.judging.explainers import EXPLAINER_ENDS, Explainer
from blurgate.judging.onnx_graphs import check_graph
from blurgate.making.blurs import kernel_moments, motion_kernel

torch = pytest.importorskip("torch", reason="needs torch")

from models import explainer_training, make_explainer  # noqa: E402 needs torch
from models.explainer_net import Explainer as ExplainerNet  # noqa: E402
from models.explainer_training import (  # noqa: E402
    Pictures,
    export_explainer,
    find_direction,
    train_explainer,
    turn_moments,
)


def draw(side, n, *, known):
    rng = np.random.default_rng(side)
    return Pictures(
        gray=rng.integers(0, 256, (n, side, side), dtype=np.uint8),
        label=np.where(rng.random(n) < 0.7, 1, 0).astype(np.int8) if known else np.full(n, -1, np.int8),
        strength_px=(rng.uniform(0.5, 9, n) if known else np.full(n, np.nan)).astype(np.float32),
        blurred=rng.integers(0, 101, (n, side // 8, side // 8), dtype=np.uint8),
        kind=(rng.integers(0, 4, n) if known else np.zeros(n)).astype(np.uint8),
        moments=(rng.uniform(0.5, 4, (n, 3)) * [1, 0.2, 1] if known else np.full((n, 3), np.nan)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def pictures():
    return draw(64, 160, known=True), draw(128, 40, known=False)


def test_an_interrupted_training_resumes_to_the_same_weights(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(explainer_training, "EVERY", 2)
    whole = train_explainer(*pictures, 4)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        losses, steps = explainer_training._losses, iter(range(3))
        patched.setattr(
            explainer_training,
            "_losses",
            lambda *given, **options: losses(*given, **options) if next(steps, None) is not None else interrupt(),
        )
        train_explainer(*pictures, 4, checkpoint=tmp_path / "c.pt")
    assert torch.load(tmp_path / "c.pt", weights_only=True)["step"] == 2
    resumed = train_explainer(*pictures, 4, checkpoint=tmp_path / "c.pt")
    for ours, theirs in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert all(torch.isfinite(weight).all() for weight in whole.state_dict().values())


@pytest.mark.filterwarnings("ignore")  # of torch's exporter
def test_the_onnx_file_answers_as_the_net_and_is_one_that_blurgate_reads(tmp_path):
    torch.manual_seed(0)
    net = ExplainerNet().eval()
    export_explainer(net, tmp_path / "e.onnx")
    written = Explainer((tmp_path / "e.onnx").read_bytes())
    check_graph(written.onnx, EXPLAINER_ENDS)
    for shape in ((192, 192), (256, 448)):
        gray = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        with torch.no_grad():
            reading, places = net(torch.from_numpy(gray)[None, None].float())
        np.testing.assert_allclose(written.predict_map(gray), places[0], atol=1e-3)
        estimate = written.estimate(gray, spread=1.0)
        np.testing.assert_allclose(estimate.kinds, reading[0, :3].softmax(0), atol=1e-3)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("mirrored", [0, 1])
def test_moments_turn_with_their_picture(turn, mirrored):
    kernel = motion_kernel(length_px=9, angle_deg=25)
    turned = np.rot90(kernel, turn)
    turned = turned[:, ::-1] if mirrored else turned
    moments = turn_moments(np.asarray([kernel_moments(kernel)], np.float32), turn, mirrored)
    np.testing.assert_allclose(moments[0], kernel_moments(turned), atol=1e-4)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_a_direction_is_twice_the_angle_of_motion(angle):
    moments = torch.tensor([kernel_moments(motion_kernel(length_px=20, angle_deg=angle))])
    x, y = find_direction(moments)[0].tolist()
    off = np.degrees(np.arctan2(y, x)) / 2 - angle
    assert (off + 90) % 180 - 90 == pytest.approx(0, abs=0.5)
    assert np.hypot(x, y) > 0.95


def test_held_out_scenes_are_not_trained_on(tmp_path):
    scenes = np.arange(40, dtype=np.uint16)
    everything = draw(64, 40, known=True)
    arrays = {name: getattr(everything, name) for name in explainer_training._NAMES}
    arrays["label"] = (scenes % 100).astype(np.int8)  # stands for the scene
    np.savez(tmp_path / "0.npz", **arrays, source=(scenes % 2).astype(np.uint8), scene=scenes)
    train, held_out = (
        Pictures.read([tmp_path / "0.npz"], ["unsplash"], held_out=each).label.tolist() for each in (False, True)
    )
    assert held_out == [0, 10, 20, 30]
    assert set(train) == set(range(0, 40, 2)) - {0, 10, 20, 30}


def test_what_the_net_does_is_measured(pictures):
    figures = make_explainer.measure(ExplainerNet().eval(), draw(64, 160, known=True), pictures[1])
    assert 0 <= figures["balanced_accuracy"] <= 1
    assert 0.3 < figures["map_auc"] < 0.7  # it has learnt nothing
    assert figures["spread"] > 0
