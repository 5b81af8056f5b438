"""Files and folders appear under their final name whole, or not at all."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blurgate.errors import OutputError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file beside its place and rename it into it when the block ends well.

    Parameters
    ----------
    path : Path
        Where the file shall be. An older file there stays untouched until the new one is complete.

    Yields
    ------
    Path
        Where to write it: a hidden file in the same folder. What killed runs left there is cleared away.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_file(folder / "notes.txt") as partial:
    ...     _ = partial.write_text("all of it")
    >>> [entry.name for entry in folder.iterdir()]
    ['notes.txt']
    """
    path = Path(os.path.realpath(path))  # a link keeps leading where it led
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool) -> Iterator[Path]:
    """Fill a folder beside its place and rename it into it when the block ends well.

    Parameters
    ----------
    path : Path
        Where the folder shall be. What killed runs left beside it (hidden folders whose names end in ``.partial``) is
        cleared away.
    replace : bool
        Take an older folder's place, once the new one is complete.

    Yields
    ------
    Path
        The folder to fill: a hidden one in the same parent.

    Raises
    ------
    OutputError
        If there is a folder in the end after all, of another run perhaps, and it is not to be replaced.
    """
    path = path.resolve()  # a link keeps leading where it led
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
    """See before a long job that its files can be written in the end.

    Parameters
    ----------
    paths : Path or None
        Files to write; None is none.
    inputs : iterable of Path or None
        What the job reads, so that no output replaces it; it need not be writable, nor named once.
    suffixes : tuple of str
        If given, each path must have one of these suffixes.

    Raises
    ------
    OutputError
        If two are the same or one is an input, one is a folder or would lie below a file, or has another suffix.

    Examples
    --------
    >>> check_outputs(Path("a.html"), Path("b/../a.html"))
    Traceback (most recent call last):
    ...
    blurgate.errors.OutputError: a file of its own was needed for each output, but a.html is named twice: choose another
    """
    seen = {os.path.realpath(path) for path in inputs if path}
    for path in filter(None, paths):
        if suffixes and path.suffix.lower() not in suffixes:
            raise OutputError(f"a file named {' or '.join(suffixes)} was needed, got {path}: choose such a name")
        if path.is_dir():
            raise OutputError(f"a file was needed to write to, but {path} is a folder: choose another name")
        if path.exists() and not path.is_file():  # its name is for whoever reads it, and no file may take it
            raise OutputError(
                f"a file was needed to write to, but {path} is a pipe or a device: leave the output out, and redirect"
            )
        if os.path.realpath(path) in seen:
            raise OutputError(
                f"a file of its own was needed for each output, but {path.name} is named twice: choose another"
            )
        seen.add(os.path.realpath(path))
        check_writable(path)


def check_writable(path: Path) -> None:
    """Refuse a file or folder that cannot be made, or written into where it is a folder that is there.

    Raises
    ------
    OutputError
        If what it would lie in is no folder, or one that may not be written into.
    """
    real = Path(os.path.realpath(path))
    there = real if real.is_dir() else next(parent for parent in real.parents if parent.exists())
    if not there.is_dir():
        raise OutputError(f"a folder to write {path} into was needed, but {there} is none: choose another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: you have no permission to write into {there}")


def _clear_leftovers(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        pid = left.name.removeprefix(f".{path.name}.").split(".")[0]
        if not pid.isdecimal() or _is_running(int(pid)):
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 is no question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
