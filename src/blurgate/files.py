"""Open, lock and write files and folders: atomically, one writer at a time."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, BinaryIO

from blurgate.errors import OutputError
from blurgate.version import __version__

FILED_MARK = ".blurgate-filed"

_MARK_BYTES = 2**16
_READING = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
_BUFFER = 2**13  # bytes
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}  # a file system without them


@contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Keep other processes from writing a file or a folder, in other containers and, over NFS, on other hosts too.

    The system lets go of the lock, that of a small hidden file beside `path`, when the process ends, however it ends.

    Parameters
    ----------
    path : Path
        The file or folder to be written. Its parent is made if it is missing.

    Yields
    ------
    bool
        False if the file system has no locks, so that nobody knows who else writes.

    Raises
    ------
    OutputError
        If another process, or another thread of this one, holds it; or if what lies at the place of the lock is not
        one, since the lock is deleted at the end.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.lock")
    while True:
        with _open_lock(place, path) as handle:
            held = _lock(handle, path)
            if held and not _is_at(handle, place):  # its former holder has removed it
                continue
            try:
                yield held
            finally:
                if os.name != "nt" and held:  # Windows removes no open file
                    place.unlink(missing_ok=True)
            break
    if os.name == "nt":
        with suppress(OSError):
            place.unlink()


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
    _require_regular(os.stat(path).st_mode, path)  # noqa: PTH116 opening a device may do something; faster than Path
    descriptor = os.open(path, _READING)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb", _BUFFER)  # a size, so that the system is not asked whether it is a terminal
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

    Raises
    ------
    OutputError
        If another process is writing the file.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_file(folder / "notes.txt") as partial:
    ...     _ = partial.write_text("all of it")
    >>> [entry.name for entry in folder.iterdir()]
    ['notes.txt']
    """
    with hold(path) as held, replace_file(path, held=held) as partial:
        yield partial


@contextmanager
def replace_file(path: Path, *, held: bool) -> Iterator[Path]:
    """Do as `atomic_file` does, for a caller that holds the file already.

    Parameters
    ----------
    path : Path
    held : bool
        What `hold` has yielded: if False, leftovers stay, since another process may be writing them.

    Yields
    ------
    Path
    """
    path = Path(os.path.realpath(path))  # write to the target of a link, and keep the link
    if held:
        _clear_leftovers(path)
    partial = _name_partial(path)
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
        If another process is making the folder; or if `path` exists once the block has succeeded, made by another
        program perhaps, and `replace` is False.
    """
    path = path.resolve()  # write to the target of a link, and keep the link
    with hold(path) as held:
        if held:
            _clear_leftovers(path)
        partial = _name_partial(path)
        partial.mkdir()
        try:
            yield partial
            if path.exists():
                if not replace:
                    raise OutputError(f"{path} has appeared in the meantime: choose another folder")
                older = _name_partial(path)
                path.replace(older)
                partial.replace(path)
                shutil.rmtree(older, ignore_errors=True)
            else:
                partial.replace(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Check that a file or folder can be made, or, for an existing folder, that it can be written into.

    Raises
    ------
    OutputError
        If the nearest existing parent is not a folder, is on a read-only file system, or you have no permission to
        write into it.
    """
    real = Path(os.path.realpath(path))
    folder = real if real.is_dir() else next(parent for parent in real.parents if parent.exists())
    if not folder.is_dir():
        raise OutputError(f"expected a folder to write {path} into, but {folder} is not one: choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        if _is_read_only(folder):
            raise OutputError(f"{path} cannot be written: {folder} is on a read-only file system: choose another place")
        raise OutputError(f"{path} cannot be written: you have no permission to write into {folder}")


def _is_read_only(folder: Path) -> bool:
    return sys.platform != "win32" and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def locate(path: str) -> str:
    """Make a path absolute, without links on the way; the file itself may be one."""
    parent, name = os.path.split(path)
    return str(Path(os.path.realpath(parent), name))


def mark_filed(folder: Path) -> None:
    """Mark a folder, so that a later scan of what is around it leaves out the photos that are filed in it."""
    mark = {"filed by": f"blurgate {__version__}", "folder": folder.stat().st_ino}
    with suppress(FileExistsError), (folder / FILED_MARK).open("x", encoding="utf-8") as handle:
        json.dump(mark, handle)


def is_filed(folder: str) -> bool:
    """Return True for a folder with a mark of its own; one that was copied from another folder hides nothing."""
    try:
        with open(f"{folder}{os.sep}{FILED_MARK}", "rb", opener=_open_without_links) as handle:
            mark = json.loads(handle.read(_MARK_BYTES))
        return isinstance(mark, dict) and mark.get("folder") == Path(folder).stat().st_ino
    except (OSError, ValueError, RecursionError):
        return False


def is_empty(folder: Path) -> bool:
    """Return True for a folder that does not exist, or holds at most hidden files."""
    try:
        with os.scandir(folder) as entries:
            return all(entry.name.startswith(".") for entry in entries)
    except FileNotFoundError:
        return True


def hold_folder(folder: Path) -> AbstractContextManager[bool]:
    """Do as `hold` does, for a folder that is written into; without a lock where none can lie beside the folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    context manager of bool
        False if nobody knows who else writes into it.
    """
    parent = Path(os.path.realpath(folder)).parent
    return nullcontext(False) if parent.exists() and not os.access(parent, os.W_OK | os.X_OK) else hold(folder)


def _name_partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _clear_leftovers(path: Path) -> None:
    """Delete what killed runs left; the caller holds the path, so nobody is writing it now."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    for leftover in [entry for entry in path.parent.iterdir() if ours.fullmatch(entry.name)]:
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _open_lock(place: Path, path: Path) -> IO[bytes]:
    with suppress(FileNotFoundError):
        _require_lock(place.lstat(), place, path)
    try:
        handle = open(place, "ab", opener=_open_without_links)  # noqa: SIM115 the caller closes it
    except OSError as error:
        error.filename = str(path)  # users know nothing of the lock
        raise
    try:
        _require_lock(os.fstat(handle.fileno()), place, path)
    except BaseException:
        handle.close()
        raise
    return handle


def _require_lock(status: os.stat_result, place: Path, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        raise OutputError(
            f"an empty file {place} was needed as the lock of {path.name}, but something else lies there: move it "
            "away, or choose another name"
        )


def _open_without_links(name: str, flags: int) -> int:
    """Open a file, but neither follow a link in its place nor wait for the other end of a pipe."""
    return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _lock(handle: IO[bytes], path: Path) -> bool:
    """Lock an open file; False if its file system has no locks."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore] # Windows
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise
        raise OutputError(
            f"another run of blurgate is writing {path.name}: wait until it has ended, or choose another name"
        ) from error
    return True


def _is_at(handle: IO[bytes], place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), place.stat())
    except FileNotFoundError:
        return False
