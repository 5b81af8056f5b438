"""Scans at a size that the user names."""

import numpy as np
import pytest
from PIL import Image

from blurgate import scan
from blurgate.scanning.run import ScanRequest, check_request


@pytest.fixture
def photo(astronaut, tmp_path):
    Image.fromarray(astronaut).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_scan_judges_at_the_size_named(net_model, photo):
    for at, side in ((None, 512), ("full", 512), (300, 300)):
        assert [verdict.judged_at_px for verdict in scan([photo], model=net_model, at=at)] == [side]


def test_records_do_not_mix_sizes(net_model, photo, tmp_path):
    sides = [
        next(scan([photo], model=net_model, at=at, resume=tmp_path / "records")).judged_at_px for at in (300, None, 200)
    ]
    assert sides == [300, 512, 200]


def test_large_planes_end_a_batch_early(net_model, monkeypatch):
    monkeypatch.setattr("blurgate.scanning.judge.MOST_HELD", 1000)
    photos = [np.full((100, 100), 90, np.uint8)] * 5
    assert len(list(scan(photos, model=net_model, at="full"))) == 5


def test_what_is_no_size_is_refused(net_model, photo):
    with pytest.raises(ValueError, match="at must be full"):
        scan([photo], model=net_model, at=10)
    with pytest.raises(ValueError, match="at must be full"):
        check_request(ScanRequest(photos=[photo], at="half"))
