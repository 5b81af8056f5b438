"""Paths, photos in memory, rows of tables -> the photos to scan, one by one."""

from __future__ import annotations

import heapq
import math
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from blurgate.errors import MachineError, PhotoError
from blurgate.judging.verdicts import Evidence
from blurgate.photos.addresses import COLUMNS, Status, find_archive, hide, is_address
from blurgate.photos.finding import AnyPath, Found, describe_empty, describe_raws, is_afar, require_paths
from blurgate.photos.images import is_stream, read_stream
from blurgate.threads import PAUSE

T = TypeVar("T")

_EMPTY = ("NAType", "NaTType")  # types of pandas' empty cells
_MOST_HELD = 2**26  # bytes of photos that are held to count them
_AHEAD = 1000  # paths that are read from a slow source before they are needed
_PATIENCE = 0.05  # seconds without a path that make a pause
_NAMED = 3  # inputs without photos that a sentence names
_END = object()


@dataclass(frozen=True, slots=True)
class Item:
    """A photo to analyse, or its evidence if that is already known.

    Parameters
    ----------
    photo : path, bytes, binary file, ndarray, PIL image or None
        None if the evidence is known.
    evidence : Evidence or None
        From an earlier scan, or an error.
    status : os.stat_result, Status or None
        Status of its file, taken before it is read; None without records, and if a store does not tell.
    path : str
        Path of a photo given as bytes, that of a moved photo before, or an address without credentials; empty if
        unknown.
    filed : str
        Where an earlier scan has moved the photo; empty if none has.
    known : bool
        True if the evidence is from records of an earlier scan.
    problem : MachineError or None
        Set if the store of a photo, and not the photo, is why it could not be read.
    broken : bool
        True for an archive or a store that could be searched in part only.
    """

    photo: Any = None
    evidence: Evidence | None = None
    status: os.stat_result | Status | None = None
    path: str = ""
    filed: str = ""
    known: bool = False
    problem: MachineError | None = None
    broken: bool = False


def find_none(_: str) -> Iterator[Item]:
    """Know of no moved photos."""
    return iter(())


def list_items(
    photos: Any,
    column: str | None,
    walk: Callable[[Iterable[AnyPath]], Iterable[Found]],
    find_moved: Callable[[str], Iterator[Item]] = find_none,
    *,
    filtered: bool = False,
) -> tuple[Iterator[Item], int | None]:
    """List the photos to scan, lazily.

    Parameters
    ----------
    photos : path, photo, iterable of these, or table
        See `blurgate.scanning.stream.scan`.
    column : str, optional
        Column of a table; by default the first one present of ``path``, ``file``, ``image``, ``photo`` and ``bytes``,
        or the only column.
    walk : callable
        Takes paths and finds the photos in and below them.
    find_moved : callable
        Takes a path and lists the photos that an earlier scan has moved away from there, in the order of a walk.
    filtered : bool
        True if patterns say which photos are wanted. Else an archive or an address that gives none, where others give
        some, is an item with an error.

    Returns
    -------
    items : iterator of Item
    count : int or None
        Number of items; None if not known in advance.

    Raises
    ------
    TypeError
        If `photos` is None, a mapping, or holds no photos at all, such as a number.
    ValueError
        If the table has no such column, or none is named and several could hold the photos.
    PhotoError
        If one of the paths does not exist.
    """
    if photos is None or isinstance(photos, Mapping):
        raise TypeError(
            f"photos must be paths, photos or a table, got {type(photos).__name__}: pass the part that holds photos"
        )
    named_afar = column is not None and (names_tables(photos) or isinstance(photos, Iterator))
    if (column is not None and not named_afar) or hasattr(photos, "columns") or hasattr(photos, "column_names"):
        cells = _take_column(photos, column)
        return (read_cell(cell) for cell in cells), len(photos) if hasattr(photos, "__len__") else None
    if is_stream(photos) or isinstance(
        photos, str | os.PathLike | bytes | bytearray | memoryview | np.ndarray | Image.Image
    ):
        photos = [photos]
    if isinstance(photos, Sequence):
        named = [photo for photo in photos if isinstance(photo, str | os.PathLike)]
        require_paths(
            (path for path in named if os.path.lexists(path) or not any(find_moved(os.fsdecode(path)))), column=column
        )

    paths_only = not isinstance(photos, Sequence) or all(isinstance(photo, str | os.PathLike) for photo in photos)
    items = _find_items(photos, walk, find_moved, filtered=filtered)
    return items, None if paths_only else len(photos)


def _find_items(
    photos: Iterable[Any],
    walk: Callable[[Iterable[AnyPath]], Iterable[Found]],
    find_moved: Callable[[str], Iterator[Item]],
    *,
    filtered: bool,
) -> Iterator[Item]:
    """Find the photos of `list_items`; archives and addresses without any come last."""
    empty, any_found = list[str](), False
    for photo in photos:
        if photo is PAUSE:
            yield photo
            continue
        found = _find_in(photo, walk, find_moved)
        first = next(found, None)
        if first is not None:
            any_found = True
            yield from chain([first], found)
        elif not filtered and is_afar(os.fsdecode(photo)):
            empty.append(os.fsdecode(photo))
    if any_found:  # else there is nothing to scan at all
        for path in empty:
            yield Item(evidence=Evidence(hide(path), error=describe_empty(path)), broken=True)


def _find_in(
    photo: Any,
    walk: Callable[[Iterable[AnyPath]], Iterable[Found]],
    find_moved: Callable[[str], Iterator[Item]],
) -> Iterator[Item]:
    if not isinstance(photo, str | os.PathLike):
        yield read_cell(photo) if is_stream(photo) else Item(photo)
        return
    moved = find_moved(os.fsdecode(photo))  # before the walk: it ends a move that was interrupted
    first = next(moved, None)
    if first is None:
        yield from map(_to_item, walk([photo]))
    elif os.path.lexists(photo):
        found = map(_to_item, walk([photo]))
        yield from heapq.merge(chain([first], moved), found, key=lambda item: _sort_key(item, photo))
    else:
        yield from chain([first], moved)


def look_ahead(items: Iterator[Item], most: int) -> tuple[Iterator[Item], int]:
    """Count items up to a limit, and hold them.

    Parameters
    ----------
    items : iterator of Item
    most : int
        The limit, at least 1.

    Returns
    -------
    items : iterator of Item
        All the items again, including those counted.
    count : int
        0 to `most`; `most` too if they take much memory.
    """
    first, held = [], 0
    for item in islice((item for item in items if item is not PAUSE), most):
        first.append(item)
        held += len(item.photo) if isinstance(item.photo, bytes) else 0
        if held > _MOST_HELD:
            return chain(first, items), most
    return chain(first, items), len(first)


def describe_nothing(photos: Any, raws: Counter[str], if_none: str, *, filtered: bool) -> str:
    """Say why there is nothing to scan.

    Parameters
    ----------
    photos : path, photo, iterable of these, or table
        As given.
    raws : Counter
        Raw files that were left out, by their suffix.
    if_none : str
        What to do if the folders hold no photo: the end of a sentence.
    filtered : bool
        True if patterns say which photos are wanted.

    Returns
    -------
    str
    """
    if raws:
        return f"found no photos but {describe_raws(raws)}"
    if filtered:
        return (
            "no photo passes include and exclude: check the patterns. One with a / is matched against the path below "
            "the scanned folder, any other against the name"
        )
    if isinstance(photos, Iterator):
        return "found no photos: the list is empty, or names only folders without photos"
    named = [photos] if isinstance(photos, str | os.PathLike) else photos
    afar = [path for path in map(os.fsdecode, filter(_is_path, named)) if is_afar(path)]
    if afar:
        more = f"; and {len(afar) - _NAMED} more" if len(afar) > _NAMED else ""
        return f"found no photos: {'; '.join(map(describe_empty, afar[:_NAMED]))}{more}"
    return f"found no photos in the given folders: {if_none}"


def _is_path(photo: Any) -> bool:
    return isinstance(photo, str | os.PathLike)


def poll(photos: Iterable[T]) -> Iterator[T]:
    """Take photos from a slow source, such as a pipe, and say so while it has none.

    The source is read on a thread of its own, a few photos ahead.

    Parameters
    ----------
    photos : iterable
        Paths or photos.

    Yields
    ------
    object
        Each photo, and `blurgate.threads.PAUSE` where the next is not there yet.
    """
    arrived: queue.Queue[Any] = queue.Queue(_AHEAD)
    problems: list[BaseException] = []

    def read() -> None:
        try:
            for photo in photos:
                arrived.put(photo)
        except BaseException as error:  # raised below, on the thread of the caller
            problems.append(error)
        arrived.put(_END)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            photo = arrived.get(timeout=_PATIENCE)
        except queue.Empty:
            yield PAUSE
            continue
        if photo is _END:
            break
        yield photo
    for problem in problems:
        raise problem


def _to_item(found: Found) -> Item:
    if found.problem:
        return Item(evidence=Evidence(found.path, error=f"{found.path} {found.problem}"), broken=found.broken)
    if found.content is None and not found.address:
        return Item(found.path, status=found.status)
    return Item(found.content or found.address, status=found.status, path=found.path)


def _sort_key(item: Item, root: AnyPath) -> list[str]:
    """Sort as a walk does: by the names below the root, folder by folder."""
    path: str = item.path or (item.evidence.path if item.evidence else item.photo)
    return path[len(os.path.join(os.fsdecode(root), "")) :].split(os.sep)


def names_tables(photos: Any) -> bool:
    """Tell whether photos are paths, of which some are those of Parquet tables.

    Parameters
    ----------
    photos : path, photo, iterable of these, or table

    Returns
    -------
    bool
    """
    named = [photos] if isinstance(photos, str | os.PathLike) else photos
    if not isinstance(named, Sequence) or isinstance(named, bytes | bytearray | memoryview):
        return False
    places = (find_archive(os.fsdecode(photo)) for photo in named if isinstance(photo, str | os.PathLike))
    return any(place is not None and place.kind == "parquet" for place in places)


def _take_column(table: Any, column: str | None) -> Iterable[Any]:
    named = getattr(table, "column_names", getattr(table, "columns", None))
    if named is None:
        raise TypeError(f"column goes with a table, got {type(table).__name__}: omit it, or pass a table")
    names = list(named)
    if column is None:
        column = next((name for name in COLUMNS if name in names), names[0] if len(names) == 1 else None)
    if column not in names:
        wanted = f"named {column}" if column else "of photos"
        raise ValueError(
            f"expected a column {wanted}, but the table has {', '.join(map(str, names)) or 'none'}: name one"
        )
    if hasattr(table, "features"):  # a Hugging Face dataset yields rows one by one, but loads a whole column at once
        return (row[column] for row in table)
    cells: Iterable[Any] = table[column]
    return cells


def read_cell(cell: Any, path: str = "") -> Item:
    """Read a cell of a column of photos.

    Parameters
    ----------
    cell : path, photo, mapping with ``bytes`` and ``path``, or what stands for an empty cell
        The mapping is what Hugging Face gives for an image that is not decoded.
    path : str
        What the photo is called, if the cell does not say.

    Returns
    -------
    Item
    """
    if isinstance(cell, Mapping):
        content, named = cell.get("bytes"), str(cell.get("path") or "")
        path, cell = named or path, content if content is not None else named or None
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or type(cell).__name__ in _EMPTY:  # of pandas
        return Item(evidence=Evidence(path, error="the row has no photo: its cell is empty"))
    if is_stream(cell):  # now: its owner may close it before a thread comes to it, and others may read the same archive
        try:
            return Item(read_stream(cell), path=path)
        except (PhotoError, TypeError) as error:
            return Item(evidence=Evidence(path, error=str(error)))
    if isinstance(cell, str | os.PathLike):
        cell = os.fsdecode(cell)
        return Item(cell, path=path or (hide(cell) if is_address(cell) else ""))
    return Item(cell, path=path)
