"""Write files and folders atomically, and check output paths before a long job."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from blurgate.errors import OutputError


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read its bytes if it is a regular file; never wait for a pipe, whatever takes its place meanwhile.

    Parameters
    ----------
    path : path

    Returns
    -------
    binary file

    Raises
    ------
    IsADirectoryError
        If it is a folder.
    OSError
        With ``errno.EINVAL`` if it is a pipe, a socket or a device; as `open` otherwise.

    Examples
    --------
    >>> open_regular(os.devnull)
    Traceback (most recent call last):
    ...
    OSError: [Errno 22] it is a pipe, a socket or a device: '/dev/null'
    """
    _require_regular(Path(path).stat().st_mode, path)  # opening a device may do something
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
    descriptor = os.open(path, flags)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device", os.fspath(path))


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it once the block has succeeded.

    Parameters
    ----------
    path : Path
        The file to write. An existing file stays untouched until the new one is complete.

    Yields
    ------
    Path
        Temporary path to write to: a hidden file in the same folder. Temporary files of killed runs are deleted.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_file(folder / "notes.txt") as partial:
    ...     _ = partial.write_text("all of it")
    >>> [entry.name for entry in folder.iterdir()]
    ['notes.txt']
    """
    path = Path(os.path.realpath(path))  # write to the target of a link, and keep the link
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # writing to an open file names none
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool) -> Iterator[Path]:
    """Fill a folder under a temporary name and rename it once the block has succeeded.

    Parameters
    ----------
    path : Path
        The folder to make. Folders that killed runs left beside it (hidden, with names ending in ``.partial``) are
        deleted.
    replace : bool
        Replace an existing folder, once the new one is complete.

    Yields
    ------
    Path
        Temporary folder to fill: a hidden one in the same parent.

    Raises
    ------
    OutputError
        If `path` exists once the block has succeeded, made by another run perhaps, and `replace` is False.
    """
    path = path.resolve()  # write to the target of a link, and keep the link
    _clear_leftovers(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            if not replace:
                raise OutputError(f"{path} has appeared in the meantime: choose another folder")
            older = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
            path.replace(older)
            partial.replace(path)
            shutil.rmtree(older, ignore_errors=True)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_outputs(*paths: Path | None, inputs: Iterable[Path | None] = (), suffixes: tuple[str, ...] = ()) -> None:
    """Check before a long job that its output files can be written.

    Parameters
    ----------
    *paths : Path or None
        Files to write; None is ignored.
    inputs : iterable of Path or None
        Files that the job reads, which no output may replace. Inputs may be read-only and may repeat.
    suffixes : tuple of str
        If given, every output must have one of these suffixes.

    Raises
    ------
    OutputError
        If an output is named twice, is an input, a folder, a pipe or a device, has another suffix, or cannot be
        written.

    Examples
    --------
    >>> check_outputs(Path("a.html"), Path("b/../a.html"))
    Traceback (most recent call last):
    ...
    blurgate.errors.OutputError: each output needs its own file, but a.html is named twice: choose another name
    """
    seen = {os.path.realpath(path) for path in inputs if path}
    for path in filter(None, paths):
        if suffixes and path.suffix.lower() not in suffixes:
            raise OutputError(f"expected a file named {' or '.join(suffixes)}, got {path}: choose another name")
        if path.is_dir():
            raise OutputError(f"expected a file to write to, but {path} is a folder: choose another name")
        if path.exists() and not path.is_file():  # renaming the finished file would replace the pipe or device itself
            raise OutputError(
                f"expected a file to write to, but {path} is a pipe or a device: omit it, and redirect stdout instead"
            )
        if os.path.realpath(path) in seen:
            raise OutputError(f"each output needs its own file, but {path.name} is named twice: choose another name")
        seen.add(os.path.realpath(path))
        check_writable(path)


def check_writable(path: Path) -> None:
    """Check that a file or folder can be made, or, for an existing folder, that it can be written into.

    Raises
    ------
    OutputError
        If the nearest existing parent is not a folder, or you have no permission to write into it.
    """
    real = Path(os.path.realpath(path))
    folder = real if real.is_dir() else next(parent for parent in real.parents if parent.exists())
    if not folder.is_dir():
        raise OutputError(f"expected a folder to write {path} into, but {folder} is not one: choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: you have no permission to write into {folder}")


def _clear_leftovers(path: Path) -> None:
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        pid = leftover.name.removeprefix(f".{path.name}.").split(".")[0]
        if not pid.isdecimal() or _is_running(int(pid)):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # elsewhere sending signal 0 is not a harmless test
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
