"""Archives of photos (zip, tar, Parquet tables), on a disk or in a store -> their photos, one by one, never extracted.

An archive may be a stranger's: nothing that it says of sizes, names or places is believed.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from blurgate.errors import PhotoError
from blurgate.photos.addresses import Place, find_archive, hide, reveal
from blurgate.photos.archive_bytes import ArchiveBytes, Filter, Member, find_most, open_archive, stamp_archive
from blurgate.photos.limits import MAX_MEGAPIXELS, LimitError, check_bytes
from blurgate.photos.picture_tables import choose_column, open_table, read_row, walk_table
from blurgate.photos.stores import read
from blurgate.photos.tars import Tar, check_tar, is_packed, walk_tar
from blurgate.photos.zips import Zip, walk_zip

T = TypeVar("T")

_KEPT = 3  # archives whose places of members are remembered


def walk_archive(
    place: Place,
    wants: Callable[[str], bool],
    *,
    column: str | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Iterator[Member]:
    """List the photos of an archive in its own order; those of a tar or a table with their content.

    Parameters
    ----------
    place : Place
    wants : callable
        Takes a name in the archive, and returns False for members that need not be read.
    column : str, optional
        Of a table: by default the first one with pictures of ``path``, ``file``, ``image``, ``photo`` and ``bytes``, or
        the only one.
    max_megapixels : float
        Members that are too long for a photo of so many have a `problem`.

    Yields
    ------
    Member
        If the archive ends early or is damaged from some place on, the last one is the archive itself, with a
        `problem`.

    Raises
    ------
    PhotoError
        If the archive cannot be opened, or is one that no honest program makes.
    MachineError
        If the store of the archive does not answer.
    MissingExtraError
        If a library is missing.
    ValueError
        If a table has no such column.
    """
    chosen = Filter(place.inner, wants)
    if place.kind == "zip":
        yield from walk_zip(_find_zip(place), place, chosen, max_megapixels)
        return
    data = open_archive(place.archive)
    try:
        if place.kind == "tar":
            yield from walk_tar(place, data, _start_tar(place, data), chosen, max_megapixels)
        else:
            yield from walk_table(place, data, column, max_megapixels)
    finally:
        data.close()


def check_archive(place: Place, column: str | None = None) -> None:
    """Check before a scan that an archive can be opened, and is one that honest programs make.

    Parameters
    ----------
    place : Place
    column : str, optional

    Raises
    ------
    PhotoError, MachineError, MissingExtraError, ValueError
        See `walk_archive`.
    """
    if place.kind == "zip":
        _find_zip(place)
        return
    data = open_archive(place.archive)
    try:
        if place.kind == "parquet":
            choose_column(place, open_table(place, data).schema_arrow, column)
        else:
            check_tar(place, data)
    finally:
        data.close()


def read_member(
    address: str, *, size: int | None = None, column: str | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> bytes:
    """Read one photo of an archive, or one that a store has.

    Parameters
    ----------
    address : str
    size : int, optional
        Of one that a store has: its bytes, where a listing has said how many.
    column : str, optional
        Of a row of a table; see `walk_archive`.
    max_megapixels : float
        A file of more bytes than a JPEG of so many pixels may have is refused.

    Returns
    -------
    bytes

    Raises
    ------
    PhotoError
        If it does not exist, may not be read, is damaged or too long; or if finding it again would take too long.
    MissingExtraError
        If a library is missing.
    ValueError
        If a table has no such column.
    """
    address = reveal(address)
    place = find_archive(address)
    try:
        if place and place.inner:
            place = place._replace(archive=reveal(place.archive))
            if place.kind == "parquet":
                return read_row(place, max_megapixels, column)
            index: Zip | Tar = _find_zip(place) if place.kind == "zip" else _find_tar(place)
            return index.read(place.inner, max_megapixels)
        content = read(address, size=size, most=find_most(max_megapixels))
        check_bytes(len(content), "JPEG", max_megapixels)
    except LimitError as error:
        raise PhotoError(f"{hide(address)} cannot be read: {error}") from error
    return content


def read_head(member: Member) -> bytes:
    """Read the first bytes of a member that has a place; empty if they cannot be read."""
    if member.head is not None:
        return member.head
    place = find_archive(member.address)
    try:
        return _find_zip(place).read_head(place.inner) if place and place.kind == "zip" else b""
    except PhotoError:
        return b""


_ZIPS: OrderedDict[Any, Zip] = OrderedDict()
_TARS: OrderedDict[Any, Tar] = OrderedDict()
_LOCK = threading.Lock()


def _find_zip(place: Place) -> Zip:
    return _remember(_ZIPS, place, Zip)


def _find_tar(place: Place) -> Tar:
    return _remember(_TARS, place, Tar)


def _start_tar(place: Place, data: ArchiveBytes) -> Tar | None:
    """Note anew where the members of a tar lie; in a compressed one, none can be found again."""
    if is_packed(data):
        return None
    tar = _find_tar(place)
    tar.forget()
    return tar


def _remember(known: OrderedDict[Any, T], place: Place, read_places: Callable[[str], T]) -> T:
    """Find out where the members of an archive lie; a few archives are remembered, each open."""
    key = (os.getpid(), place.archive, stamp_archive(place.archive))
    with _LOCK:
        if key in known:
            known.move_to_end(key)
            return known[key]
    found = read_places(place.archive)
    with _LOCK:
        found = known.setdefault(key, found)
        while len(known) > _KEPT:
            known.popitem(last=False)
    return found
