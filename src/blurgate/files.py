"""Files and folders appear under their final name whole, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file beside its place and rename it into it when the block ends well.

    Parameters
    ----------
    path : Path
        Where the file shall be. An older file there stays untouched until the new one is complete.

    Yields
    ------
    Path
        Where to write it: a hidden file in the same folder.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with whole_file(folder / "notes.txt") as partial:
    ...     _ = partial.write_text("all of it")
    >>> [entry.name for entry in folder.iterdir()]
    ['notes.txt']
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder beside its place and rename it into it when the block ends well.

    Parameters
    ----------
    path : Path
        Where the folder shall be. An older folder there is replaced, but only once the new one is complete. What a
        killed run left behind (a hidden folder whose name ends in ``.partial``) is cleared away.

    Yields
    ------
    Path
        The folder to fill: a hidden one in the same parent.
    """
    partial = path.with_name(f".{path.name}.partial")
    replaced = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        if path.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            path.replace(replaced)
        partial.replace(path)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
