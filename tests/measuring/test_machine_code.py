import logging
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from blurgate.errors import BlurgateError, MissingExtraError
from blurgate.measuring import kernel, machine_code
from blurgate.measuring.features import extract_features

llvm = pytest.importorskip("llvmlite.binding", reason="needs the extra fast")

GRAY = np.random.default_rng(0).integers(0, 256, (72, 90), dtype=np.uint8)
COMPILED = "compiling the measuring code; this happens once"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder with compiled code in it."""
    folder = tmp_path_factory.mktemp("code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLURGATE_CODE_FOLDER", str(folder))
        machine_code._load()
    return folder


@pytest.fixture
def cache(filled, tmp_path, monkeypatch):
    """The path of a file of compiled code in a cache of its own."""
    monkeypatch.setenv("BLURGATE_CODE_FOLDER", str(tmp_path))
    (stored,) = filled.iterdir()
    (tmp_path / stored.name).write_bytes(stored.read_bytes())
    (tmp_path / stored.name).chmod(0o644)
    return tmp_path / stored.name


def assert_works(code, monkeypatch):
    monkeypatch.setattr(machine_code, "_loaded", [code])
    monkeypatch.setattr(kernel, "_memory", type(kernel._memory)())
    np.testing.assert_allclose(kernel.extract_features(GRAY), extract_features(GRAY), rtol=2e-4, atol=2e-4)


def test_cached_code_is_loaded_without_a_word(cache, compiled, caplog, monkeypatch):
    assert_works(machine_code._load(), monkeypatch)
    assert compiled == []
    assert not caplog.messages


def test_code_is_compiled_once_and_kept_for_this_user_alone_to_change(compiled, caplog, tmp_path, monkeypatch):
    folder = tmp_path / "not" / "yet"
    monkeypatch.setenv("BLURGATE_CODE_FOLDER", str(folder))
    mask = os.umask(0)
    try:
        assert_works(machine_code._load(), monkeypatch)
    finally:
        os.umask(mask)
    assert caplog.messages == [COMPILED]
    (file,) = folder.iterdir()  # nothing half written beside it
    assert file.name.startswith("blurgate-")
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    machine_code._load()
    assert len(compiled) == 1
    assert caplog.messages == [COMPILED]


def damage(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        damage,
        lambda content: content[:-1],
        lambda content: content[:40],
        lambda _: b"",
        lambda content: content + b"\0",
    ],
    ids=["damaged", "truncated", "header only", "empty", "longer"],
)
def test_damaged_code_is_compiled_again(cache, compiled, caplog, change, monkeypatch):
    good = cache.read_bytes()
    cache.write_bytes(change(good))
    assert_works(machine_code._load(), monkeypatch)
    assert caplog.messages == [COMPILED]
    assert machine_code._read(cache, "of another key") is None
    assert len(cache.read_bytes()) == len(good)
    machine_code._load()
    assert len(compiled) == 1


def test_another_processor_has_code_of_its_own(cache, compiled, monkeypatch):
    stored = cache.read_bytes()
    processor, described = machine_code._choose_processor(llvm)
    monkeypatch.setattr(machine_code, "_choose_processor", lambda _: (processor, f"{described},+prefer-256-bit"))
    assert_works(machine_code._load(), monkeypatch)
    (other,) = set(cache.parent.iterdir()) - {cache}
    other.write_bytes(stored)  # under the right name, but for another processor
    assert_works(machine_code._load(), monkeypatch)
    assert len(compiled) == 2
    assert other.read_bytes() != stored


def test_code_for_more_than_this_processor_has_is_refused(cache, monkeypatch):
    monkeypatch.setenv("BLURGATE_PROCESSOR", "x86-64-v3")
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: {"avx2": True, "fma": False})
    with pytest.raises(BlurgateError, match=r"x86-64-v3, but this processor lacks bmi, bmi2, f16c, fma, lzcnt, movbe"):
        machine_code._load()


def test_a_processor_that_llvm_does_not_know_is_refused(cache, monkeypatch):
    monkeypatch.setenv("BLURGATE_PROCESSOR", "foo")  # LLVM would end the process
    with pytest.raises(
        BlurgateError, match="BLURGATE_PROCESSOR must be a processor that LLVM .*, got foo: name another"
    ):
        machine_code._load()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_code_that_others_may_have_written_is_not_run(cache, compiled, monkeypatch):
    cache.chmod(0o666)
    machine_code._load()
    assert len(compiled) == 1
    assert stat.S_IMODE(cache.stat().st_mode) == 0o644  # a new file
    machine_code._load()
    assert len(compiled) == 1
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    own = Path(machine_code.__file__).stat().st_uid
    wanted = 1 if own in (0, cache.stat().st_uid) or cache.stat().st_uid == 0 else 2
    machine_code._load()
    assert len(compiled) == wanted
    status = os.stat_result((0o100644, 1, 1, 1, 54321, 0, 0, 0, 0, 0))
    assert not machine_code._is_trusted(status)
    assert not machine_code._is_trusted(os.stat_result((0o020666, *status[1:])))


def test_a_folder_that_cannot_be_written(compiled, caplog, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BLURGATE_CODE_FOLDER", str(tmp_path / "file" / "folder"))
    assert_works(machine_code._load(), monkeypatch)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(1, "as in /proc, also for root")))
    monkeypatch.setenv("BLURGATE_CODE_FOLDER", str(tmp_path / "new"))
    assert_works(machine_code._load(), monkeypatch)
    assert caplog.messages == [f"{COMPILED[:-4]}on every run, as no cache folder can be written"] * 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_or_a_folder_in_place_of_the_code(cache, compiled, caplog, monkeypatch):
    cache.unlink()
    os.mkfifo(cache)  # reading it would wait for ever
    assert_works(machine_code._load(), monkeypatch)
    assert cache.is_file()
    cache.unlink()
    cache.mkdir()
    assert_works(machine_code._load(), monkeypatch)
    assert caplog.messages == [COMPILED] * 2
    assert list(cache.parent.iterdir()) == [cache]


def test_a_full_disk_leaves_nothing_behind(compiled, tmp_path, monkeypatch):
    monkeypatch.setenv("BLURGATE_CODE_FOLDER", str(tmp_path))
    monkeypatch.setattr(machine_code, "_seal", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert_works(machine_code._load(), monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_of_the_user_the_packages_own_is_first(monkeypatch, tmp_path):
    monkeypatch.delenv("BLURGATE_CODE_FOLDER", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = machine_code.find_folders()
    assert first.name == "__pycache__"
    assert second.name == "blurgate"


def test_without_llvmlite_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    with pytest.raises(MissingExtraError, match="Compiled code needs the extra 'fast'"):
        machine_code._load()


def test_another_order_of_bytes_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(BlurgateError, match="needs a little-endian processor"):
        machine_code._load()


def test_threads_load_once(monkeypatch):
    loads = []
    monkeypatch.setattr(machine_code, "_loaded", [])
    monkeypatch.setattr(machine_code, "_load", lambda **_: loads.append(None) or object())
    threads = [Thread(target=machine_code.prepare) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert machine_code.find_loaded() is machine_code.prepare()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("loaded", [True, False])
def test_a_forked_process_measures(cache, loaded, monkeypatch):
    wanted = kernel.extract_features(GRAY)
    if not loaded:
        monkeypatch.setattr(machine_code, "_loaded", [])
        monkeypatch.setattr(kernel, "_memory", type(kernel._memory)())
    with machine_code._locks[0]:  # as if another thread were loading: it does not exist in the child
        child = os.fork()
        if child == 0:
            is_equal = False
            with suppress(BaseException):
                is_equal = np.array_equal(kernel.extract_features(GRAY), wanted)
            os._exit(0 if is_equal else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0


def test_a_new_process_measures_with_cached_code_without_numba(cache):
    code = """
import sys
import numpy as np
from blurgate.measuring import kernel
gray = np.random.default_rng(0).integers(0, 256, (72, 90), dtype=np.uint8)
print(kernel.extract_features(gray).tobytes().hex())
print("numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [kernel.extract_features(GRAY).tobytes().hex(), "False"]
    assert done.stderr == ""


def test_the_warning_comes_from_a_logger_of_ours(compiled, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("BLURGATE_CODE_FOLDER", str(tmp_path))
    machine_code._load()
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("blurgate.measuring.machine_code", logging.WARNING)
    ]
