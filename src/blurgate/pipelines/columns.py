"""Verdicts -> columns beside those of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from blurgate.errors import name_first, require_several
from blurgate.judging.verdicts import Verdict

PREFIX = "blur_"
FIELDS = ("decision", "probability", "kind", "strength_px", "reason", "error")  # what most want to know of a photo
ALL = tuple(each.name for each in fields(Verdict) if each.name != "path")  # the batch has paths of its own
NUMBERS = {each.name for each in fields(Verdict) if str(each.type) in ("float | None", "int | None")}


def name_columns(names: Sequence[str] | str, prefix: str) -> dict[str, str]:
    """Name the columns of verdicts.

    Parameters
    ----------
    names : sequence of str, or 'all'
        Fields of a verdict, without ``path``.
    prefix : str
        What the name of each column begins with.

    Returns
    -------
    dict of str to str
        Field -> column.

    Raises
    ------
    ValueError
        If a verdict has no such field, one is named twice, or there is none.
    TypeError
        If `names` is one text other than ``all``.

    Examples
    --------
    >>> name_columns(["decision"], "blur_")
    {'decision': 'blur_decision'}
    """
    wanted = ALL if names == "all" else names
    require_several("fields", wanted)
    if unknown := [name for name in wanted if name not in ALL]:
        raise ValueError(f"fields must be of {', '.join(ALL)}, or 'all', got {name_first(list(map(str, unknown)))}")
    if not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(f"fields must be one or more, each once, got {list(wanted)}")
    return {name: f"{prefix}{name}" for name in wanted}


def require_free(columns: Iterable[str], there: Iterable[str]) -> None:
    """Refuse to replace a column of somebody else's, or verdicts of before.

    Parameters
    ----------
    columns : iterable of str
        That are to be added.
    there : iterable of str

    Raises
    ------
    ValueError
        If one of them is there already.
    """
    if taken := sorted(set(columns) & set(there)):
        raise ValueError(
            f"there is already a column {name_first(taken)}: name another with prefix=, or drop it before judging again"
        )


def list_values(verdicts: Sequence[Verdict], field: str) -> list[Any]:
    """List a field of many verdicts: every list of one field holds one type, so that batches fit one another.

    Parameters
    ----------
    verdicts : sequence of Verdict
    field : str

    Returns
    -------
    list
        Numbers are floats, NaN where there is none. Texts are empty where there is none; a part is text, such as
        ``12,8,500,380``.

    Examples
    --------
    >>> list_values([Verdict(part=(1, 2, 30, 40)), Verdict()], "part")
    ['1,2,30,40', '']
    """
    values = [getattr(verdict, field) for verdict in verdicts]
    if field in NUMBERS:
        return [float("nan") if value is None else float(value) for value in values]
    if field == "part":
        return [",".join(map(str, part)) if part else "" for part in values]
    return [value.encode("utf-8", "backslashreplace").decode() for value in values]  # a path may be no UTF-8
