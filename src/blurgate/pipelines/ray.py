"""Verdicts in a pipeline of Ray Data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from blurgate.judging.model import BlurModel, Review
from blurgate.judging.verdicts import Verdict
from blurgate.photos.finding import AnyPath
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At
from blurgate.pipelines.columns import FIELDS, NUMBERS, PREFIX, list_values, name_columns, require_free
from blurgate.pipelines.pictures import Options, find_column, find_path_column, judge_each, pair_with_paths, read_cell

_NO_BATCH = (
    "expected a batch of Ray's (a dict of arrays, or a table of pandas or pyarrow), got {}: use map_batches, not map"
)


class Judge:
    """A callable class for ``map_batches`` that adds columns with verdicts: each actor loads the model once.

    It takes batches in any format of Ray's (``numpy``, ``pandas``, ``pyarrow``) and gives them back in the same.

    Parameters
    ----------
    model : BlurModel, path or {'default', 'trees', 'net', 'both', 'open'}
        A path is read by each actor, on its machine; a loaded model is sent there.
    threshold : float, optional
    review : (float, float) or 'auto', optional
    at : int or 'full', optional
        See `blurgate.scanning.stream.scan`.
    column : str, optional
        Column of pictures: arrays as ``read_images`` gives them, the content of files as ``read_binary_files`` does, or
        paths that the workers can read. By default the first that there is of
        `blurgate.pipelines.pictures.NAMES`.
    fields : sequence of str, or 'all'
        Fields of a verdict to add, see `blurgate.judging.verdicts.Verdict`.
    prefix : str
        What the name of each added column begins with.
    keep : bool
        False to leave the column of pictures out of what comes back.
    strict : bool
        True to fail the batch if a photo cannot be read; by default its row has the decision ``error`` and its error.
    jobs : int, optional
        Threads of one actor, at least 1: as many as the CPUs that Ray gives to it. None for one per core.
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
    >>> judge = Judge(fields=["decision"], keep=False)
    >>> judge({"image": np.full((1, 64, 64, 3), 9, np.uint8), "id": np.array([7])})
    {'id': array([7]), 'blur_decision': array(['undecided'], dtype=object)}
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
        keep: bool = True,
        strict: bool = False,
        jobs: int | None = 1,
        engine: str = "auto",
        device: str = "cpu",
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self._columns = name_columns(fields, prefix)
        self._column, self._keep, self._strict, self._jobs = column, keep, strict, jobs
        self._judge = Options(model, threshold, review, at, engine, device, max_megapixels).judge

    def __call__(self, batch: Any) -> Any:
        """Judge the photos of a batch.

        Parameters
        ----------
        batch : dict of str to ndarray, pandas.DataFrame or pyarrow.Table

        Returns
        -------
        dict of str to ndarray, pandas.DataFrame or pyarrow.Table
            A new one, in the order of the rows.

        Raises
        ------
        ValueError
            If the batch has no column of pictures, or one of the columns to add.
        TypeError
            If it is none of these.
        PhotoError
            If a photo cannot be read, and the judge is strict.
        MachineError
            If the machine, and not a photo, is why photos cannot be read.
        """
        names = _list_names(batch)
        column = find_column(names, self._column)
        require_free(self._columns.values(), [name for name in names if self._keep or name != column])
        path_column = find_path_column(names, column)
        cells = _list_cells(batch, column)
        pairs = pair_with_paths(cells, None if path_column is None else _list_cells(batch, path_column))
        verdicts = list(
            judge_each(self._judge, pairs, lambda pair: read_cell(*pair), jobs=self._jobs, strict=self._strict)
        )
        return _add(batch, column, verdicts, self._columns, keep=self._keep)


def _list_names(batch: Any) -> list[str]:
    if isinstance(batch, Mapping):
        return list(batch)
    names = getattr(batch, "column_names", getattr(batch, "columns", None))  # pyarrow, pandas
    if names is None:
        raise TypeError(_NO_BATCH.format(type(batch).__name__))
    return list(names)


def _list_cells(batch: Any, column: str) -> Any:
    cells = batch[column]
    alone = isinstance(cells, np.ndarray) and (cells.ndim == 2 or (cells.ndim == 3 and cells.shape[2] in (3, 4)))
    if alone or isinstance(cells, bytes | str | Mapping):  # its letters or lines would be taken for pictures
        raise TypeError(_NO_BATCH.format("one row"))
    return cells.to_pylist() if hasattr(cells, "to_pylist") else list(cells)


def _add(batch: Any, column: str, verdicts: list[Verdict], columns: dict[str, str], *, keep: bool) -> Any:
    values = {name: list_values(verdicts, field) for field, name in columns.items()}
    numbers = {name for field, name in columns.items() if field in NUMBERS}
    if isinstance(batch, Mapping):
        kept = {name: cells for name, cells in batch.items() if keep or name != column}
        return kept | {
            name: np.array(cells, np.float64 if name in numbers else object) for name, cells in values.items()
        }
    if hasattr(batch, "column_names"):
        import pyarrow as pa  # whoever made the batch has it

        table = batch if keep else batch.drop_columns([column])
        for name, cells in values.items():
            kind = pa.float64() if name in numbers else pa.string()
            table = table.append_column(name, pa.array(cells, kind, from_pandas=True))
        return table
    frame = batch if keep else batch.drop(columns=[column])
    return frame.assign(**values)
