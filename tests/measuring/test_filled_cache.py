import runpy
import tempfile

import pytest

numba = pytest.importorskip("numba")

CODE = """
import numba


@numba.njit(cache=True)
def add(a):
    return a + 1
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a compiled function, for the second time from a cache that cannot be written."""

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    (tmp_path / "code.py").write_text(CODE)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    add = runpy.run_path(str(tmp_path / "code.py"))["add"]
    assert add(1) == 2
    assert (len(add.stats.cache_hits), len(add.stats.cache_misses)) == (0, 1)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    return lambda: runpy.run_path(str(tmp_path / "code.py"))["add"]


def test_compiled_code_is_found_in_a_folder_that_cannot_be_written(load, monkeypatch):
    locator = "blurgate.measuring.filled_cache.FilledCacheLocator"
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", locator)
    add = load()
    assert add(1) == 2
    assert (len(add.stats.cache_hits), len(add.stats.cache_misses)) == (1, 0)


def test_numba_alone_ignores_such_a_folder(load):
    with pytest.raises(RuntimeError, match="no locator available"):
        load()
