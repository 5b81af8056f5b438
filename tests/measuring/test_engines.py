import sys
from threading import Thread

import numpy as np
import pytest

from blurgate import measuring
from blurgate.errors import BlurgateError
from blurgate.measuring import machine_code
from blurgate.measuring.engines import FEW, MANY, Engine, load_torch
from blurgate.measuring.features import extract_features
from blurgate.photos.images import read_gray


def steps(name="auto", *, count):
    return Engine(name, count=count).prepare()


@pytest.fixture
def fresh(compiled, monkeypatch, tmp_path):
    """A process that has not loaded compiled code, and a machine that has none."""
    assert not compiled
    pytest.importorskip("llvmlite", reason="needs the extra fast")
    monkeypatch.setattr(machine_code, "_loaded", [])
    monkeypatch.setenv("BLURGATE_CODE_FOLDER", str(tmp_path))


def test_auto_uses_compiled_code_for_many_photos(fresh, monkeypatch):
    from blurgate.measuring import kernel

    assert steps(count=MANY - 1).begin is extract_features
    assert steps(count=MANY).begin is kernel.extract_features
    assert steps("numpy", count=10 * MANY).begin is extract_features
    assert steps("compiled", count=1).begin is kernel.extract_features
    monkeypatch.setitem(sys.modules, "blurgate.measuring.kernel", None)
    monkeypatch.delattr(measuring, "kernel")
    assert steps(count=MANY).begin is extract_features
    with pytest.raises(
        BlurgateError, match="engine compiled was requested, but its code could not be made .ModuleNotFoundError"
    ):
        steps("compiled", count=MANY)


def test_auto_uses_code_in_the_cache_for_few_photos(fresh, monkeypatch, tmp_path):
    from blurgate.measuring import kernel

    (tmp_path / "blurgate-old.code").write_text("of an earlier version")
    assert steps(count=FEW).begin is extract_features
    machine_code.prepare()
    monkeypatch.setattr(machine_code, "_loaded", [])
    assert steps(count=FEW - 1).begin is extract_features
    assert steps(count=FEW).begin is kernel.extract_features


def test_few_photos_do_not_load_the_compiler_to_find_an_empty_cache(fresh, monkeypatch):
    monkeypatch.setattr(machine_code, "needs_extra", lambda *_: pytest.fail("LLVM is imported"))
    assert steps(count=FEW).begin is extract_features


def test_torch_measures_photos_of_different_sizes_in_one_batch(sharp_folder):
    pytest.importorskip("torch", reason="needs the extra gpu")
    gray = read_gray(min(sharp_folder.iterdir()))
    planes = [gray, gray[:100, :90], np.tile(gray, (3, 4)), gray[::-1]]
    engine = load_torch("cpu")
    found = engine.finish([engine.begin(plane, "block99") for plane in planes], "block99")
    for features, plane in zip(found, planes, strict=True):
        np.testing.assert_allclose(features, extract_features(plane), rtol=1e-4)
    assert engine.finish([], "block99") == []


def test_code_that_cannot_be_made_does_not_stop_a_scan(monkeypatch):
    pytest.importorskip("llvmlite", reason="needs the extra fast")

    def fail(**_):
        raise RuntimeError("LLVM IR parsing error")

    monkeypatch.setattr(machine_code, "prepare", fail)
    assert steps(count=MANY).begin is extract_features
    with pytest.raises(BlurgateError, match=r"could not be made .RuntimeError: LLVM IR parsing error.: install"):
        steps("compiled", count=1)


def test_concurrent_threads_load_an_engine_once(monkeypatch):
    loaded = []
    engine = Engine("numpy", count=1)
    load = engine._load_steps
    monkeypatch.setattr(engine, "_load_steps", lambda: loaded.append(1) or load())
    gray = np.zeros((64, 64), np.uint8)
    threads = [Thread(target=engine.begin, args=(gray, "dct18")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 1
    assert engine.prepare() is engine.prepare()
