"""`Explainer`: kind, strength, direction and map of a photo's blur."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blurgate.errors import ModelFileError, NetError
from blurgate.judging.explainers import BlurEstimate, Explainer, cut_window
from blurgate.judging.model import load_model
from blurgate.judging.nets import Net


@pytest.fixture(scope="module")
def gray():
    return np.random.default_rng(0).integers(0, 256, (300, 420), dtype=np.uint8)


def test_a_map_has_a_value_per_block(explainer, gray):
    for height, width in ((300, 420), (64, 64), (16, 16), (1, 9), (2000, 90)):
        places = explainer.predict_map(np.resize(gray, (height, width)))
        assert places.shape == (-(-height // 8), -(-width // 8))
        assert places.dtype == np.float32


def test_a_map_in_pieces_is_the_map_in_one(explainer):
    gray = np.random.default_rng(1).integers(0, 256, (64, 4000), dtype=np.uint8)
    whole = explainer.predict_map(gray)
    # the small explainer sees 4 pixels around a block: no piece can differ but at the ends of the photo
    parts = np.concatenate(
        [explainer.predict_map(gray[:, start : start + 800]) for start in range(0, 4000, 800)], axis=1
    )
    inner = np.ones(500, bool)
    inner[99:401:100] = inner[100:401:100] = False
    np.testing.assert_allclose(whole[:, inner][:, 1:-1], parts[:, inner][:, 1:-1], rtol=1e-5)


def test_the_window_shows_most_detail():
    gray = np.full((1000, 1600), 90, np.uint8)
    gray[600:800, 1200:1500] = np.random.default_rng(2).integers(0, 256, (200, 300))
    window = cut_window(gray, 512)
    assert window.shape == (512, 512)
    assert (window != 90).sum() == (gray != 90).sum()
    assert cut_window(gray[:400, :500], 512).shape == (400, 500)
    assert cut_window(gray[:20], 512).shape == (20, 512)


def test_a_strength_that_no_edge_tells_is_none(explainer, gray):
    gray = np.kron(gray[:20, :30], np.ones((16, 16), np.uint8))
    assert explainer.estimate(gray, spread=1.0).strength_px > 0
    unsure = explainer.estimate(gray, spread=30.0)
    assert (unsure.strength_px, unsure.interval_px, unsure.length_px) == (None, None, None)


def test_a_kind_that_is_not_sure_is_mixed():
    assert BlurEstimate((0.7, 0.2, 0.1), 2.0, (1.0, 3.0), 10.0, 0.5).kind == "defocus"
    assert BlurEstimate((0.45, 0.4, 0.15), 2.0, (1.0, 3.0), 10.0, 0.5).kind == "mixed"
    line = BlurEstimate((0.0, 1.0, 0.0), 12**-0.5 * 30, (1.0, 30.0), 10.0, 1.0)
    assert line.length_px == pytest.approx(30)


def test_an_explainer_is_saved_with_its_model(explaining_model, tmp_path, gray):
    explaining_model.save(tmp_path / "m.blurgate")
    loaded = load_model(tmp_path / "m.blurgate")
    assert loaded.fingerprint == explaining_model.fingerprint != replace(explaining_model, explainer=None).fingerprint
    verdict = loaded.predict(gray, threshold=0)
    assert verdict == explaining_model.predict(gray, threshold=0)
    assert verdict.p_defocus + verdict.p_motion + verdict.p_gaussian == pytest.approx(1, abs=1e-3)
    assert verdict.strength_low_px <= verdict.strength_px <= verdict.strength_high_px
    assert verdict.own_strength_px == verdict.strength_px
    assert verdict.judged_at_px == 420


def test_strength_is_known_at_both_sizes(explaining_model):
    gray = np.random.default_rng(3).integers(0, 256, (1500, 1100), dtype=np.uint8)
    verdict = explaining_model.predict(gray, threshold=0)
    assert verdict.judged_at_px == 750
    assert verdict.own_strength_px == pytest.approx(2 * verdict.strength_px, abs=2e-3)


def test_what_belongs_to_blur_is_left_out_of_sharp_verdicts(explaining_model, gray):
    verdict = explaining_model.predict(gray, threshold=1)
    assert verdict.decision == "sharp"
    assert (verdict.kind, verdict.p_motion, verdict.length_px, verdict.angle_deg) == ("", None, None, None)
    assert verdict.strength_px is not None


@pytest.mark.parametrize("card", [{}, {"spread": 0}, {"spread": True}, {"spread": "2"}, {"spread": 1e9}])
def test_a_card_that_does_not_fit_its_explainer_is_refused(explaining_model, tmp_path, card):
    damaged = replace(explaining_model, card=replace(explaining_model.card, explainer=card))
    damaged.save(tmp_path / "m.blurgate")
    with pytest.raises(ModelFileError, match="explainer"):
        load_model(tmp_path / "m.blurgate")


def test_another_graph_is_no_explainer(explaining_model, net, tmp_path):
    replace(explaining_model, explainer=Explainer(net.onnx)).save(tmp_path / "m.blurgate")
    with pytest.raises(ModelFileError, match="output must be reading and map"):
        load_model(tmp_path / "m.blurgate")
    replace(explaining_model, net=Net(explaining_model.explainer.onnx)).save(Path(tmp_path / "n.blurgate"))
    with pytest.raises(ModelFileError):
        load_model(tmp_path / "n.blurgate")


def test_a_map_of_another_grid_is_refused(explainer, gray, monkeypatch):
    monkeypatch.setattr(Explainer, "run", lambda *_: np.zeros((1, 20, 30), np.float32))
    with pytest.raises(NetError, match="must answer for each block"):
        explainer.predict_map(gray)


def test_what_no_window_shows_is_no_strength(explainer, gray, monkeypatch):
    answer = np.asarray([[0, 0, 0, 12.0, -5.0, 0, 0]], np.float32)  # 4,096 px
    monkeypatch.setattr(Explainer, "run", lambda *_: answer)
    assert explainer.estimate(gray, spread=1.0).strength_px is None


def test_another_explainer_than_the_card_names_is_refused(explaining_model, tmp_path):
    card = replace(explaining_model.card, explainer={"spread": 2.0, "name": "explainer-00000000"})
    replace(explaining_model, card=card).save(tmp_path / "m.blurgate")
    with pytest.raises(ModelFileError, match="another explainer than its card names"):
        load_model(tmp_path / "m.blurgate")
