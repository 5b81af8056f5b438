"""The routines of the compiled engine as functions: loaded from a cache on disk, or compiled once.

llvmlite brings LLVM, which turns the text of `blurgate.measuring.routines` into code for this processor in about a
second; it needs neither a compiler on the machine nor numba. The code is kept as an object file, which LLVM links in a
few milliseconds. The file is code that will run, so one that others could have written is not read.

The environment variable ``BLURGATE_CODE_FOLDER`` names the folder of the cache, which may be read-only if it has been
filled before; ``BLURGATE_PROCESSOR`` names the processor to compile for, in LLVM's words, such as ``x86-64-v3`` or
``generic``, for a folder that several machines share. By default the folder is the package's own ``__pycache__``, or
the user's cache folder where that cannot be written.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from blurgate.errors import BlurgateError, escape_unprintable, needs_extra
from blurgate.files import open_regular

_FILE_NAME = "blurgate-{}.code"
_NOT_CACHED = "no compiled code for this processor is in the cache"
_HEADER = b"blurgate machine code 1\n"
WALKED_TREES = 8  # that a row walks side by side
_LEVELS = {  # processors that are a set of features -> those that LLVM must find in this one
    "x86-64-v2": {"sse4.2", "popcnt"},
    "x86-64-v3": {"avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
_TRY = """
import sys
import llvmlite.binding as llvm
llvm.initialize_native_target()
llvm.initialize_native_asmprinter()
target = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(cpu=sys.argv[1])
target.emit_object(llvm.parse_assembly("define i64 @f() { ret i64 0 }"))
"""
_DIGEST_SIZE = hashlib.sha256().digest_size
_SIGNATURES = {  # function -> kinds of its arguments: p for an address, i for an integer
    "measure": "piiiipipippp",
    "sum_statistics": "piiip",
    "halve": "piiip",
    "walk_trees": "piipppiip",
}


_locks = [Lock()]  # one, for loading


@dataclass(frozen=True)
class MachineCode:
    """The routines as functions of ctypes, which release the interpreter's lock while they run.

    Parameters
    ----------
    measure, sum_statistics, halve, walk_trees : callable
        See `blurgate.measuring.routines`.
    """

    measure: Any
    sum_statistics: Any
    halve: Any
    walk_trees: Any


def prepare(*, only_cached: bool = False) -> MachineCode:
    """Load the routines from the cache, or compile them; later calls return at once.

    Logs one warning before compiling because that takes a second or two.

    Parameters
    ----------
    only_cached : bool
        Whether to fail rather than compile.

    Returns
    -------
    MachineCode

    Raises
    ------
    MissingExtraError
        If llvmlite is not installed.
    BlurgateError
        If this machine is none that the routines are written for, or not the one that ``BLURGATE_PROCESSOR`` names; or
        if code had to be compiled, but should not.
    """
    with _locks[0]:
        if not _loaded:
            _loaded.append(_load(only_cached=only_cached))
        return _loaded[0]


def find_loaded() -> MachineCode | None:
    """Find the routines if `prepare` has loaded them; loads nothing."""
    return _loaded[0] if _loaded else None


def address_of(array: NDArray[Any]) -> int:
    """Take the address of an array's first element, for as long as the caller holds the array."""
    return int(array.__array_interface__["data"][0])


def _load(*, only_cached: bool = False) -> MachineCode:
    folders = find_folders()
    if only_cached and not any(next(folder.glob(_FILE_NAME.format("*")), None) for folder in folders):
        raise BlurgateError(_NOT_CACHED)  # without importing LLVM
    with needs_extra("fast", "Compiled code"):
        import llvmlite
        import llvmlite.binding as llvm
    if sys.byteorder != "little":
        raise BlurgateError("compiled code needs a little-endian processor: use the engine numpy")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    processor, features = _choose_processor(llvm)
    triple = llvm.get_process_triple()
    key = "\n".join([_hash_sources(), llvmlite.__version__, triple, processor, features])
    name = _FILE_NAME.format(hashlib.sha256(key.encode()).hexdigest()[:24])
    content = next(filter(None, (_read(folder / name, key) for folder in folders)), None)
    if content is None:
        if only_cached:
            raise BlurgateError(_NOT_CACHED)
        if not features and processor not in _LEVELS:
            _require_known(processor)
        content = _compile(llvm, _make_target(llvm, triple, processor, features), features or processor, folders)
        _save(content, key, name, folders)
    return _link(llvm, _make_target(llvm, triple, processor, features), content)


def _choose_processor(llvm: Any) -> tuple[str, str]:
    """Choose what to compile for; -> name and features of a processor."""
    found = llvm.get_host_cpu_features()
    named = os.environ.get("BLURGATE_PROCESSOR")
    if not named:
        return str(llvm.get_host_cpu_name()), str(found.flatten())
    if missing := sorted(name for name in _LEVELS.get(named, ()) if not found.get(name)):
        raise BlurgateError(
            f"BLURGATE_PROCESSOR is {named}, but this processor lacks {', '.join(missing)}: name an older one"
        )
    return named, ""


def _require_known(processor: str) -> None:
    """Check in another process that LLVM knows a processor: one that it does not know may end the process."""
    command = [sys.executable, "-c", _TRY, processor]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603
    if done.returncode or "not a recognized processor" in done.stderr:
        raise BlurgateError(
            f"BLURGATE_PROCESSOR must be a processor that LLVM can compile for here, such as x86-64-v3, got "
            f"{escape_unprintable(processor)}: name another one, or leave it out"
        )


def find_folders() -> list[Path]:
    """List the folders where compiled code is looked for, and saved in the first that can be written."""
    if folder := os.environ.get("BLURGATE_CODE_FOLDER"):
        return [Path(folder)]
    folders = [Path(__file__).parent / "__pycache__"]
    with suppress(RuntimeError):  # no home
        if sys.platform == "win32":
            folders.append(Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "blurgate")
        elif sys.platform == "darwin":
            folders.append(Path.home() / "Library" / "Caches" / "blurgate")
        else:
            folders.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "blurgate")
    return folders


def _hash_sources() -> str:
    """Hash the files that the code comes from."""
    sources = [Path(__file__).with_name(f"{name}.py") for name in ("blocks", "edges", "lanes", "routines")]
    return hashlib.sha256(b"".join(source.read_bytes() for source in [*sources, Path(__file__)])).hexdigest()


def _make_target(llvm: Any, triple: str, processor: str, features: str) -> Any:
    relocation = "static" if triple.startswith(("x86", "i386", "i686")) else "default"
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=processor, features=features, opt=3, reloc=relocation, codemodel="jitdefault"
    )


def _compile(llvm: Any, target: Any, described: str, folders: list[Path]) -> bytes:
    when = "once" if any(map(_is_writable, folders)) else "on every run, as no cache folder can be written"
    logging.getLogger(__name__).warning("compiling the measuring code; this happens %s", when)
    return _make_object(llvm, target, 16 if "+avx512f" in described or "x86-64-v4" in described else 8)


def _make_object(llvm: Any, target: Any, width: int) -> bytes:
    """Compile the routines to an object file, with so many floats side by side."""
    from blurgate.measuring.routines import write_module

    module = llvm.parse_assembly(write_module(width, WALKED_TREES))
    module.verify()
    passes = llvm.create_pass_builder(target, llvm.create_pipeline_tuning_options(speed_level=2))
    passes.getModulePassManager().run(module, passes)
    return bytes(target.emit_object(module))


def _link(llvm: Any, target: Any, content: bytes) -> MachineCode:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(content))
    engine.finalize_object()
    kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int64}
    functions = {
        name: ctypes.CFUNCTYPE(None, *map(kinds.__getitem__, signature))(engine.get_function_address(name))
        for name, signature in _SIGNATURES.items()
    }
    engine.detach()  # the code stays in memory to the end: a thread may still run it while the interpreter leaves
    return MachineCode(**functions)


def _seal(content: bytes, key: str) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + content).digest()


def _read(path: Path, key: str) -> bytes | None:
    """Read code, unless it is damaged, for another machine, or of a file that others may have written."""
    try:
        with open_regular(path) as file:
            if not _is_trusted(os.fstat(file.fileno())):
                return None
            stored = file.read()
    except OSError:
        return None
    start = len(_HEADER) + _DIGEST_SIZE
    content = stored[start:]
    return content if content and stored[:start] == _HEADER + _seal(content, key) else None


def _is_trusted(status: os.stat_result) -> bool:
    """Tell whether only root, this user or the owner of this package can have written a file."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if sys.platform == "win32":
        return True
    owners = {0, os.geteuid(), os.stat(__file__).st_uid}  # noqa: PTH116 of a file that exists
    return status.st_uid in owners and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _save(content: bytes, key: str, name: str, folders: list[Path]) -> None:
    """Save code in the first folder that can be written, if there is one."""
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=folder, prefix=".blurgate-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_HEADER + _seal(content, key) + content)
                Path(partial).chmod(0o644)
                Path(partial).replace(folder / name)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
            return


_loaded: list[MachineCode] = []  # at most one


def _renew_lock() -> None:
    """Forget a lock that a thread held which does not exist in a forked process."""
    _locks[0] = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
