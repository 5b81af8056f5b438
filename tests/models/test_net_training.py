"""Training of nets; needs torch, see CONTRIBUTING.md."""

import numpy as np
import pytest

from blurgate.judging.nets import Net

torch = pytest.importorskip("torch", reason="needs torch")

from models import net_training  # noqa: E402 needs torch
from models.net_kinds import KINDS  # noqa: E402
from models.net_training import BATCH, Shard, batches, export_net, take_in_the_dark, train_net  # noqa: E402


@pytest.fixture
def shard():
    rng = np.random.default_rng(0)
    pictures = 2 * BATCH
    return Shard(
        gray=rng.integers(0, 256, (pictures, 64, 64), dtype=np.uint8),
        label=rng.integers(-1, 2, pictures).astype(np.int8),
        strength_px=np.where(rng.random(pictures) < 0.3, np.nan, rng.uniform(0, 9, pictures)).astype(np.float32),
        blurred=rng.integers(0, 101, (pictures, 8, 8), dtype=np.uint8),
    )


def test_an_interrupted_training_resumes_to_the_same_weights(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(net_training, "EVERY", 2)
    whole, cost = train_net("partial", lambda _: shard, 5)
    read = 0

    def interrupt_in_the_third_shard(_):
        nonlocal read
        read += 1
        if read == 3:
            raise KeyboardInterrupt
        return shard

    with pytest.raises(KeyboardInterrupt):
        train_net("partial", interrupt_in_the_third_shard, 5, checkpoint=tmp_path / "c.pt")
    assert torch.load(tmp_path / "c.pt", weights_only=True)["step"] == 4
    for _ in range(2):  # the second run has nothing left to do
        resumed, again = train_net("partial", lambda _: shard, 5, checkpoint=tmp_path / "c.pt")
        assert again["weights"] == cost["weights"] > 100_000
        for ours, theirs in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_batches_resume_where_they_stopped(shard):
    from_start = batches(lambda _: shard, 0, 0)
    first = [next(from_start) for _ in range(4)]
    resumed = batches(lambda _: shard, 0, 2)
    for batch in first[2:]:
        for ours, theirs in zip(next(resumed), batch, strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)


@pytest.mark.filterwarnings("ignore")  # of torch's exporter
@pytest.mark.parametrize("kind", ["plain", "dct", "blocks", "partial"])
def test_the_onnx_file_has_the_outputs_of_the_net_at_any_size(kind, tmp_path):
    torch.manual_seed(0)
    net = KINDS[kind]().eval()
    export_net(net, tmp_path / "n.onnx")
    for shape in ((192, 192), (200, 312)):
        gray = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        with torch.no_grad():
            answers, places = net(torch.from_numpy(gray)[None, None].float())
            others, _ = net(torch.from_numpy(gray[::-1, ::-1].T.copy())[None, None].float())
        written = Net((tmp_path / "n.onnx").read_bytes())
        np.testing.assert_allclose(written.predict(gray), (answers + others)[0] / 2, atol=1e-4)
        np.testing.assert_allclose(written.predict_map(gray), places[0], atol=1e-4)


@pytest.mark.parametrize("kind", ["plain", "dct", "blocks", "partial"])
def test_a_net_does_not_depend_on_brightness_or_contrast(kind):
    torch.manual_seed(0)
    net = KINDS[kind]().eval()
    gray = torch.rand(1, 1, 192, 192) * 100
    with torch.no_grad():
        torch.testing.assert_close(net(gray)[0], net(2 * gray + 30)[0], atol=0.02, rtol=0)


def test_in_the_dark_some_pictures_are_smeared_and_some_grainy():
    edge = np.full((BATCH, 1, 64, 64), 60.0, np.float32)
    edge[..., 32:] = 190
    texture = np.random.default_rng(0).normal(0, 2, edge.shape).astype(np.float32)
    drawn = torch.from_numpy((edge + texture).round())
    taken = take_in_the_dark(drawn, torch.Generator().manual_seed(0))
    unchanged = (taken == drawn).all(dim=(1, 2, 3))
    assert 0.3 < unchanged.float().mean() < 0.7  # 0.49 on average
    spread = taken[..., 4:24].std(dim=(1, 2, 3))
    assert (spread < 1.2).any()  # smeared
    assert (spread > 4).any()  # grainy
    rise = taken[..., 36:40].mean(dim=(1, 2, 3)) - taken[..., 24:28].mean(dim=(1, 2, 3))
    assert (rise > 110).all()
    assert ((taken >= 0) & (taken <= 255)).all()


def test_grain_is_coarser_than_pixels():
    gray = torch.linspace(60, 180, 64).round().expand(BATCH, 1, 64, 64)
    neighbours = []
    for seed in range(8):
        grain = (take_in_the_dark(gray, torch.Generator().manual_seed(seed)) - gray)[:, 0]
        grainy = grain[grain.std(dim=(1, 2)) > 2]
        neighbours += [float(np.corrcoef(g[:, 1:].ravel(), g[:, :-1].ravel())[0, 1]) for g in grainy.numpy()]
    assert np.mean(neighbours) > 0.3  # correlation
