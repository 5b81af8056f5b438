"""Model file -> its members, and back: the zip of a model.

A model may come from a stranger, so nothing that the file says about itself is believed: the file and each member are
read up to a limit, whatever their headers state.
"""

from __future__ import annotations

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from blurgate.errors import ModelFileError, OutputError, name_first
from blurgate.files import atomic_file, open_regular

MOST_BYTES = 2**26  # of a model file; the shipped ones have 2**21

_END = struct.Struct("<4s 6x H L 4x H")  # the last record of a zip: signature, members, size of their table, comment
_MOST_TABLE = 2**16  # bytes of the table of members: a model has at most six
_ENCRYPTED = 1  # a bit of a member's flags
_SHIPPED_NAMES = "default, trees, net, both or open"
_DAMAGED = "expected a .blurgate model, but {path} is not one or is damaged ({why}): train it or copy it again"
_FAULTS = (  # what zipfile raises for damaged files
    *(EOFError, KeyError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)


def read_members(path: Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    """Read the members of a model file.

    Parameters
    ----------
    path : Path
    limits : mapping of str to int
        Largest size of each member that a model may have, in bytes.

    Returns
    -------
    dict of str to bytes
        Those that are there.

    Raises
    ------
    ModelFileError
        If the file is missing, cannot be read, is a folder, a pipe or a device, has more than `MOST_BYTES`, or is not a
        zip of such members only: stored or deflated, not encrypted, each there once, intact and within its limit.
    """
    content = _read_file(path)
    try:
        _check_table(content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_names([member.orig_filename for member in archive.infolist()], limits)
            return {
                member.filename: _read_member(archive, member, limits[member.filename]) for member in archive.infolist()
            }
    except _FAULTS as error:
        raise ModelFileError(_DAMAGED.format(path=path, why=error)) from error


def write_members(path: Path, members: Mapping[str, bytes], limits: Mapping[str, int]) -> None:
    """Write a model file; the same members always give the same bytes.

    Parameters
    ----------
    path : Path
    members : mapping of str to bytes
    limits : mapping of str to int
        See `read_members`.

    Raises
    ------
    OutputError
        If a member is larger than its limit, so that the model could not be read again.
    OSError
        If the file cannot be written; an older file there stays as it was.
    """
    for name, content in members.items():
        if len(content) > limits[name]:
            raise OutputError(
                f"{name} of a model may have {_format_size(limits[name])}, got {_format_size(len(content))}: train "
                "fewer trees, or on fewer kinds"
            )
    with atomic_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def _read_file(path: Path) -> bytes:
    """Read a regular file up to the limit."""
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ModelFileError(
            f"No model file: {path}. Check the path, or name a shipped model: {_SHIPPED_NAMES}"
        ) from None
    except IsADirectoryError:
        raise ModelFileError(
            f"expected a model file, but {path} is a folder: name a .blurgate file, or a shipped model: "
            f"{_SHIPPED_NAMES}"
        ) from None
    except PermissionError:
        raise ModelFileError(f"{path} cannot be opened: you have no permission to read it") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        if isinstance(error, OSError) and error.errno == errno.EINVAL:
            raise ModelFileError(
                f"expected a model file, but {path} is a pipe, a socket or a device: name a .blurgate file"
            ) from None
        raise ModelFileError(_DAMAGED.format(path=path, why=error)) from error
    if len(content) > MOST_BYTES:
        raise ModelFileError(_DAMAGED.format(path=path, why=f"it has more than {_format_size(MOST_BYTES)}"))
    return content


def _check_table(content: bytes) -> None:
    """Check the size of a zip's table of members before zipfile reads all of it."""
    if len(content) < _END.size:
        raise ValueError("it is too short")
    signature, n_members, size, comment = _END.unpack(content[-_END.size :])
    if signature != b"PK\5\6" or comment:
        raise ValueError("it does not end like a zip")
    if content[-_END.size - 20 :].startswith(b"PK\6\7"):  # points to another table, of up to 2^64 members
        raise ValueError("it is a zip of the 64-bit kind")
    if size > _MOST_TABLE:
        raise ValueError(f"it lists {n_members} members")


def _check_names(names: Sequence[str], known: Iterable[str]) -> None:
    strange = sorted(set(names) - set(known))
    if strange:
        raise ValueError(f"no model has a member {name_first([ascii(name) for name in strange])}")
    if len(set(names)) < len(names):
        raise ValueError("it has two members of one name")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    if member.flag_bits & _ENCRYPTED:
        raise ValueError(f"{member.filename} is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is neither stored nor deflated")
    with archive.open(member) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{member.filename} has more than {_format_size(most)}")
    return content


def _format_size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.4g} MiB"
