"""Verdicts on a dataset of Hugging Face's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blurgate.judging.model import BlurModel, Review
from blurgate.judging.verdicts import Verdict
from blurgate.photos.finding import AnyPath
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At
from blurgate.pipelines.columns import FIELDS, PREFIX, list_values, name_columns, require_free
from blurgate.pipelines.pictures import Options, find_column, find_path_column, judge_each, pair_with_paths, read_cell
from blurgate.scanning.judge import Judge as PhotoJudge
from blurgate.version import __version__


class Judge:
    """A function for ``Dataset.map`` that adds columns with verdicts, also of a streamed dataset.

    Pictures of a dataset are judged as they are stored, not as the dataset decodes them: so verdicts are those of the
    files, and a broken one is a row with its error. Only a dataset that is streamed or has a format decodes them first;
    cast its column to ``Image(decode=False)`` to avoid that.

    It can be sent to other processes, and what Hugging Face's cache knows it by is the content of the model, the
    options and the version of blurgate.

    Parameters
    ----------
    model : BlurModel, path or {'default', 'trees', 'net', 'both', 'open'}
    threshold : float, optional
    review : (float, float) or 'auto', optional
    at : int or 'full', optional
        See `blurgate.scanning.stream.scan`.
    column : str, optional
        Column of pictures, or of their paths or content. By default the first that there is of
        `blurgate.pipelines.pictures.NAMES`.
    fields : sequence of str, or 'all'
        Fields of a verdict to add, see `blurgate.judging.verdicts.Verdict`.
    prefix : str
        What the name of each added column begins with.
    strict : bool
        True to fail if a photo cannot be read; by default its row has the decision ``error`` and its error.
    jobs : int, optional
        Threads of one process, at least 1; None for one per core. `num_proc` of ``map`` starts processes.
    engine : {'auto', 'numpy', 'compiled'}
    device : {'cpu', 'cuda'}
    max_megapixels : float
        See `blurgate.scanning.stream.scan`.

    Raises
    ------
    ModelFileError
        If the model cannot be loaded.
    ValueError
        If an option is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> Judge(fields=["decision"])({"image": [np.full((64, 64), 9, np.uint8), None]})
    {'blur_decision': ['undecided', 'error']}
    """

    def __init__(
        self,
        *,
        model: BlurModel | AnyPath = "default",
        threshold: float | None = None,
        review: Review | None = None,
        at: At = None,
        column: str | None = None,
        fields: Sequence[str] | str = FIELDS,
        prefix: str = PREFIX,
        strict: bool = False,
        jobs: int | None = 1,
        engine: str = "auto",
        device: str = "cpu",
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self._columns = name_columns(fields, prefix)
        self._column, self._strict, self._jobs = column, strict, jobs
        self._judge = Options(model, threshold, review, at, engine, device, max_megapixels).judge

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._judge, self._columns, self._column, self._strict, self._jobs, __version__)

    def __call__(self, batch: Any) -> dict[str, Any]:
        """Judge the photos of a batch, or one example.

        Parameters
        ----------
        batch : mapping of str to list
            As ``map(..., batched=True)`` gives it; without that, one example.

        Returns
        -------
        dict of str to list
            The columns to add; of one example, its values.

        Raises
        ------
        ValueError
            If there is no column of pictures, or there are columns to add already.
        TypeError
            If it is no batch.
        PhotoError
            If a photo cannot be read, and the judge is strict.
        MachineError
            If the machine, and not a photo, is why photos cannot be read.
        """
        require_free(self._columns.values(), batch if isinstance(batch, Mapping) else ())
        verdicts, one = self._judge_batch(batch)
        values = {name: list_values(verdicts, field) for field, name in self._columns.items()}
        return {name: cells[0] for name, cells in values.items()} if one else values

    def find_sharp(self, batch: Any) -> list[bool] | bool:
        """Find the sharp photos, for ``Dataset.filter``.

        Parameters
        ----------
        batch : mapping of str to list
            As ``filter(..., batched=True)`` gives it; without that, one example.

        Returns
        -------
        list of bool
            False also for photos that are undecided or cannot be read.

        Raises
        ------
        ValueError, TypeError, PhotoError, MachineError
            As if called.
        """
        verdicts, one = self._judge_batch(batch)
        sharp = [verdict.decision == "sharp" for verdict in verdicts]
        return sharp[0] if one else sharp

    def _judge_batch(self, batch: Any) -> tuple[list[Verdict], bool]:
        if not isinstance(batch, Mapping):
            raise TypeError(
                f"expected a batch with its columns by name, got {type(batch).__name__}: leave out input_columns and "
                "with_format, and name the column of pictures with column= of the judge"
            )
        column = find_column(batch, self._column)
        cells = _list_stored(batch, column)
        one = not _is_several(batch, column, cells)
        if one:
            cells = cells if _is_lazy(batch, column) else [cells]
        path_column = find_path_column(batch, column)
        paths = None if path_column is None else [batch[path_column]] if one else batch[path_column]
        pairs = pair_with_paths(cells, paths)
        judged = judge_each(self._judge, pairs, lambda pair: read_cell(*pair), jobs=self._jobs, strict=self._strict)
        return list(judged), one


def _is_lazy(batch: Any, column: str) -> bool:
    """Tell whether a dataset would decode the column only now."""
    return column in getattr(batch, "keys_to_format", ()) and hasattr(batch, "pa_table")


def _list_stored(batch: Any, column: str) -> Any:
    """List pictures as they are stored, if that can be had: decoding a batch fails if one picture is broken."""
    return batch.pa_table.column(column).to_pylist() if _is_lazy(batch, column) else batch[column]


def _is_several(batch: Any, column: str, cells: Any) -> bool:
    """Tell a batch from one example."""
    if _is_lazy(batch, column):
        return type(batch).__name__ != "LazyRow"
    if isinstance(cells, list):
        return True
    if hasattr(cells, "ndim"):  # pictures of one size, stacked into an array
        return bool(cells.ndim == 4 or (cells.ndim == 1 and cells.dtype == object))
    return isinstance(cells, Iterable) and not isinstance(cells, str | bytes | Mapping) and not hasattr(cells, "mode")


def _rebuild(
    judge: PhotoJudge, columns: dict[str, str], column: str | None, strict: bool, jobs: int | None, _: str
) -> Judge:
    made = Judge.__new__(Judge)
    made._judge, made._columns, made._column, made._strict, made._jobs = judge, columns, column, strict, jobs
    return made
