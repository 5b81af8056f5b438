"""A Parquet table with a column of pictures -> its photos, row by row, with their content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from blurgate.errors import PhotoError, escape_unprintable, needs_extra
from blurgate.photos.addresses import COLUMNS, Place, hide, stamp
from blurgate.photos.archive_bytes import (
    BOMB_BYTES,
    BOMB_RATIO,
    HEAD,
    SMALL,
    ArchiveBytes,
    BytesFile,
    Member,
    describe_size,
    open_archive,
)

_ROWS_BYTES = 2**24  # of rows read at a time


def open_table(place: Place, data: ArchiveBytes) -> Any:
    """Open a table without reading its rows.

    Parameters
    ----------
    place : Place
    data : ArchiveBytes

    Returns
    -------
    pyarrow.parquet.ParquetFile

    Raises
    ------
    PhotoError
        If it is no Parquet table.
    MissingExtraError
        If pyarrow is missing.
    """
    with needs_extra("remote", "Reading photos in Parquet tables"):
        import pyarrow
        import pyarrow.parquet
    try:
        return pyarrow.parquet.ParquetFile(io.BufferedReader(BytesFile(data), 2**16), pre_buffer=False)
    except PhotoError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise PhotoError(f"{hide(place.archive)} cannot be read: it is no Parquet table, or cut short") from error


def choose_column(place: Place, schema: Any, column: str | None) -> tuple[str, bool]:
    """Choose the column of pictures; also say if its cells are structs with ``bytes`` and ``path``.

    Parameters
    ----------
    place : Place
    schema : pyarrow.Schema
    column : str or None

    Returns
    -------
    (str, bool)

    Raises
    ------
    PhotoError
        If none is named, and none or several could be it.
    ValueError
        If there is no such column, or it holds no bytes.
    """
    kinds = {field.name: _is_picture_type(field.type) for field in schema}
    pictures = [name for name, kind in kinds.items() if kind is not None]
    if column is None:
        column = next((name for name in COLUMNS if name in pictures), pictures[0] if len(pictures) == 1 else None)
    has = ", ".join(map(escape_unprintable, kinds)) or "none"
    if column is None:
        if pictures:
            several = ", ".join(map(escape_unprintable, pictures))
            raise PhotoError(f"{hide(place.archive)} has several columns of pictures ({several}): name one with column")
        raise PhotoError(f"{hide(place.archive)} has no column of pictures, which are bytes (its columns: {has})")
    if column not in kinds:
        raise ValueError(
            f"column must be one that the table has: expected one named {column}, but {hide(place.archive)} has {has}: "
            "name one"
        )
    if kinds[column] is None:
        raise ValueError(
            f"column must be one of pictures, but {column} of {hide(place.archive)} holds no bytes: name another"
        )
    return column, bool(kinds[column])


def list_columns(place: Place) -> tuple[str, list[str]]:
    """Say which column of a table is taken for its pictures if none is named, and which others have some.

    Parameters
    ----------
    place : Place

    Returns
    -------
    (str, list of str)

    Raises
    ------
    PhotoError
        If the table cannot be opened, or has none or several that could be it.
    MissingExtraError
        If a library is missing.
    """
    data = open_archive(place.archive)
    try:
        schema = open_table(place, data).schema_arrow
    finally:
        data.close()
    chosen, _ = choose_column(place, schema, None)
    return chosen, [each.name for each in schema if each.name != chosen and _is_picture_type(each.type) is not None]


def _is_picture_type(kind: Any) -> bool | None:
    """Return False for bytes, True for a struct that has them, None for anything else."""
    import pyarrow

    types = pyarrow.types
    if types.is_struct(kind):
        inner = [kind.field(number) for number in range(kind.num_fields)]
        return True if any(each.name == "bytes" and _is_picture_type(each.type) is False for each in inner) else None
    return False if types.is_binary(kind) or types.is_large_binary(kind) else None


def walk_table(place: Place, data: ArchiveBytes, column: str | None, max_megapixels: float) -> Iterator[Member]:
    """List the photos of a table with their content; see `blurgate.photos.archives.walk_archive`.

    Parameters
    ----------
    place : Place
    data : ArchiveBytes
    column : str or None
    max_megapixels : float

    Yields
    ------
    Member

    Raises
    ------
    PhotoError
        If its rows claim to hold more than photos can.
    """
    if place.inner:
        address = f"{place.archive}#{place.inner}"
        yield Member(place.inner, address, content=read_row(place, max_megapixels, column))
        return
    table = open_table(place, data)
    name, is_struct = choose_column(place, table.schema_arrow, column)
    rows, size = table.metadata.num_rows, max(1, data.size)
    _check_groups(place, table, name)
    step = max(1, min(1000, _ROWS_BYTES * max(1, rows) // size))
    number, marks = 0, (data.status, name)
    import pyarrow

    try:
        for batch in table.iter_batches(step, columns=[name]):
            for cell in batch.column(0):
                address = f"{place.archive}#{number}"
                yield _to_member(cell.as_py(), address, number, marks, max_megapixels, is_struct=is_struct)
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error.__cause__, PhotoError):
            raise error.__cause__ from error
        problem = f"is damaged or cut short after row {number:,}: what comes before was judged: fetch it again"
        yield Member("", place.archive, None, problem=problem)


def _check_groups(place: Place, table: Any, name: str) -> None:
    """Refuse a table whose pages claim to hold far more than pictures can shrink."""
    meta = table.metadata
    for group in range(meta.num_row_groups):
        for each in range(meta.num_columns):
            chunk = meta.row_group(group).column(each)
            if chunk.path_in_schema.split(".")[0] != name:
                continue
            claimed, packed = chunk.total_uncompressed_size, max(1, chunk.total_compressed_size)
            if claimed > BOMB_BYTES and claimed > BOMB_RATIO * packed:
                raise PhotoError(
                    f"{hide(place.archive)} is not read: {packed / 1e6:,.1f} MB claim to hold {claimed / 1e6:,.0f} MB, "
                    "more than photos can shrink: it seems made to fill memory"
                )


def _to_member(
    cell: Any, address: str, number: int, marks: tuple[object, ...], max_megapixels: float, *, is_struct: bool
) -> Member:
    name, content = str(number), cell
    if is_struct:
        cell = cell or {}
        name, content = str(cell.get("path") or number), cell.get("bytes")
    if not content:
        return Member(name, address, problem="has no photo: its cell is empty")
    if problem := describe_size(len(content), max_megapixels):
        return Member(name, address, problem=problem)
    return Member(name, address, stamp(len(content), *marks, number), content[:HEAD], content)


def read_row(place: Place, max_megapixels: float, column: str | None = None) -> bytes:
    """Read one photo of a table.

    Parameters
    ----------
    place : Place
    max_megapixels : float
    column : str, optional
        As of `walk_table`.

    Returns
    -------
    bytes

    Raises
    ------
    PhotoError
        If there is no such row, it has no photo, or its group of rows is too large to be read for it.
    ValueError
        If the table has no such column.
    """
    data = open_archive(place.archive)
    where = f"{hide(place.archive)}#{place.inner}"
    try:
        table = open_table(place, data)
        chosen, is_struct = choose_column(place, table.schema_arrow, column)
        _check_groups(place, table, chosen)
        number = int(place.inner)
        for group in range(table.metadata.num_row_groups):
            meta = table.metadata.row_group(group)
            if number < meta.num_rows:
                if meta.total_byte_size > SMALL:
                    raise PhotoError(f"{where} cannot be found again: its row group is too large to be read for it")
                cell = table.read_row_group(group, columns=[chosen]).column(0)[number].as_py()
                member = _to_member(cell, where, number, (), max_megapixels, is_struct=is_struct)
                if member.content is None:
                    raise PhotoError(f"{where} {member.problem}")
                return member.content
            number -= meta.num_rows
        raise PhotoError(f"{where} does not exist: the table has {table.metadata.num_rows:,} rows")
    finally:
        data.close()
