"""A folder of pictures that blurgate makes of photos: one of each, named as the photo."""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import OutputError
from blurgate.files import check_writable, is_empty, is_filed, locate, mark_filed, open_regular
from blurgate.outputs import is_ours
from blurgate.photos.images import encode_png
from blurgate.scanning.filing import Origins

_LONGEST = 200  # bytes of a name before its number and suffix
_LEFTOVER = re.compile(r"\.[0-9a-f]{16}\.png\.partial")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_HEAD = 2**10  # bytes that hold the note of a picture


class PictureFolder:
    """Names and writes the pictures; replaces its own older ones, and no other file.

    Parameters
    ----------
    folder : Path
        Photos keep their path relative to the scanned folder, as where they are filed; see `Origins`.
    roots : sequence of Path
        The scanned files and folders.
    kind : {'map', 'explanation'}
        What the pictures are: a name out of `blurgate.outputs.KINDS`.
    """

    def __init__(self, folder: Path, roots: Sequence[Path], kind: str) -> None:
        self.folder, self.kind = folder, kind
        self._roots, self._origins = roots, Origins(roots)
        self._lock, self._touched = threading.Lock(), set[Path]()
        self._taken: dict[str, str] = {}  # path of a picture, in lower case -> its photo

    def check(self) -> None:
        """Check before a long job that pictures can be written here, and that no later scan takes them for photos.

        Raises
        ------
        ValueError
            If what is read lies in the folder.
        OutputError
            If it is a file or cannot be written into, or if it is within a scanned folder and holds other files.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"expected a folder for {self.kind}s, but {self.folder} is a file: choose another name")
        real = Path(os.path.realpath(self.folder))
        for root in map(Path, map(os.path.realpath, self._roots)):
            if root.is_relative_to(real):
                raise ValueError(
                    f"{self.folder} holds what is read and cannot hold the {self.kind}s too: name a folder of their own"
                )
            if real.is_relative_to(root) and not is_empty(real) and not is_filed(str(real)):
                raise OutputError(
                    f"{self.folder} is in {root} and holds other files, so that a later scan would take the "
                    f"{self.kind}s in it for photos: name a new or an empty folder"
                )
        check_writable(self.folder)

    def choose(self, photo: str) -> Path | None:
        """Choose the path of a photo's picture, numbered if another photo or file has its name.

        Parameters
        ----------
        photo : str
            Its path, before it was moved.

        Returns
        -------
        Path or None
            None if this photo has a picture already, by another path.
        """
        below = self.folder / self._origins.find_below(Path(photo))
        preferred = below.with_name(f"{_shorten(below.stem)}.png")
        source, target, number = locate(photo), preferred, 1
        while (taken_by := self._taken.get(str(target).casefold())) is not None or not self._is_free(target, source):
            if taken_by == source:
                return None
            number += 1
            target = preferred.with_name(f"{preferred.stem} ({number}).png")
        self._taken[str(target).casefold()] = source
        return target

    def has(self, target: Path, note: str) -> bool:
        """Check whether a picture with this note is there already.

        Parameters
        ----------
        target : Path
        note : str

        Returns
        -------
        bool
        """
        try:
            with open_regular(target) as stream:
                return f"tEXtSource\0{note}".encode() in stream.read(_HEAD)
        except OSError:
            return False

    def write(self, target: Path, pixels: NDArray[np.uint8], *, note: str = "", held: bool = False) -> None:
        """Write a picture; several threads may.

        Parameters
        ----------
        target : Path
            What `choose` has returned.
        pixels : ndarray of shape (height, width), or (height, width, 3), uint8
        note : str
            See `has`.
        held : bool
            True if no other process writes into the folder, so that what a killed one left can be deleted.

        Raises
        ------
        OutputError
            If the disk is full or read-only, or a link leads out of the folder.
        OSError
            If this picture cannot be written.
        """
        content = encode_png(pixels, holds=self.kind, note=note)
        try:
            self._make_folder(target.parent, held=held)
            _replace(target, content)
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            raise OutputError(
                f"cannot write {target} ({error.strerror}): free disk space or choose another folder, then run the "
                "command again"
            ) from error

    def _is_free(self, target: Path, source: str) -> bool:
        """Return True where nothing lies, or a picture of ours that is not the photo itself."""
        if not os.path.lexists(target):
            return True
        if target.is_symlink() or not target.is_file() or locate(str(target)) == source:
            return False
        try:
            return bool(target.stat().st_mode & 0o222) and is_ours(target, self.kind)
        except OSError:
            return False

    def _make_folder(self, folder: Path, *, held: bool) -> None:
        """Make a folder, mark a new or empty one for later scans of what is around it, and clear it of leftovers."""
        with self._lock:
            if folder in self._touched:
                return
            ours = not self._touched and is_empty(self.folder)
            real = Path(os.path.realpath(folder))
            if not real.is_relative_to(os.path.realpath(self.folder)):
                raise OutputError(
                    f"cannot write {self.kind}s to {folder}: a link leads from there to {real}, outside {self.folder}: "
                    "remove the link, or choose another folder"
                )
            if ours:
                self.folder.mkdir(parents=True, exist_ok=True)
                mark_filed(self.folder)
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in [entry for entry in folder.iterdir() if held and _LEFTOVER.fullmatch(entry.name)]:
                leftover.unlink(missing_ok=True)
            self._touched.add(folder)


def _replace(target: Path, content: bytes) -> None:
    """Write a file beside its place, under a name that is short enough for any file system, and rename it."""
    partial = target.with_name(f".{secrets.token_hex(8)}.png.partial")
    try:
        with partial.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _shorten(stem: str) -> str:
    """Cut a name so that a number, a suffix and the names of files beside it still fit into 255 bytes."""
    content = os.fsencode(stem)
    return stem if len(content) <= _LONGEST else content[:_LONGEST].decode("utf-8", "ignore")
