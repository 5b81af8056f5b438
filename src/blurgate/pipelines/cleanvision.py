"""Blur as a type of issue of CleanVision's; importing this module registers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pandas as pd
from cleanvision.issue_managers import register_issue_manager
from cleanvision.utils.base_issue_manager import IssueManager
from cleanvision.utils.utils import get_is_issue_colname, get_score_colname
from tqdm.auto import tqdm

from blurgate.errors import name_first
from blurgate.judging.verdicts import Evidence, Verdict
from blurgate.photos.addresses import hide_all
from blurgate.pipelines.columns import ALL, list_values
from blurgate.pipelines.pictures import Options, judge_each, read_cell
from blurgate.scanning.items import Item

ISSUE = "blurred"


@register_issue_manager(ISSUE)
class BlurIssues(IssueManager):  # type: ignore[misc]  # CleanVision's types are not looked at
    """Finds blurred photos for ``Imagelab.find_issues({"blurred": {}})``.

    It adds two columns to ``Imagelab.issues``: ``blurred_score``, which is 1 minus the probability of blur, and
    ``is_blurred_issue``, true where the decision is ``blurred``. A photo that cannot be judged has no score and is no
    issue. ``Imagelab.info["blurred"]["verdicts"]`` has all fields of the verdicts, with reasons and errors.

    Photos are judged as they are stored, not as CleanVision opens them: so verdicts are those of the files, and a
    broken one ends nothing. Parameters are those of `blurgate.pipelines.pictures.Options`.
    """

    issue_name: str = ISSUE
    visualization: str = "individual_images"

    def __init__(self) -> None:
        super().__init__()
        self.params = self.get_default_params()

    def get_default_params(self) -> dict[str, Any]:
        """Return the parameters with their defaults: those of `blurgate.pipelines.pictures.Options`."""
        return {each.name: each.default for each in fields(Options)}

    def update_params(self, params: dict[str, Any]) -> None:
        """Replace parameters; None keeps the one there is.

        Parameters
        ----------
        params : dict of str to object

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        if unknown := sorted(set(params) - set(self.params)):
            raise ValueError(f"expected parameters out of {', '.join(self.params)}, got {name_first(unknown)}")
        self.params |= {name: value for name, value in params.items() if value is not None}

    def find_issues(  # type: ignore[override, unused-ignore]  # as CleanVision's own do
        self,
        *,
        params: dict[str, Any],
        dataset: Any,
        n_jobs: int | None = None,
        verbose: bool = False,
        **_: Any,
    ) -> None:
        """Judge all photos of a dataset of CleanVision's.

        Parameters
        ----------
        params : dict of str to object
        dataset : cleanvision.dataset.base_dataset.Dataset
        n_jobs : int, optional
            Number of threads; None for one per core.
        verbose : bool
            True to leave the progress bar at its end.
        **_
            What CleanVision gives to all issue managers.

        Raises
        ------
        ModelFileError
            If the model cannot be loaded.
        ValueError
            If there is no such parameter, or one is out of its range.
        MachineError
            If the machine, and not a photo, is why photos cannot be read.
        """
        self.update_params(params)
        judge = Options(**self.params).judge
        shown = tqdm(dataset.index, leave=verbose, desc="Judging blur", smoothing=0)
        self._take(list(judge_each(judge, shown, _choose_reading(dataset), jobs=n_jobs)), list(dataset.index))

    def _take(self, verdicts: list[Verdict], index: list[Any]) -> None:
        table = pd.DataFrame({field: list_values(verdicts, field) for field in ALL}, index=index)
        issues = table["decision"] == "blurred"
        self.issues = pd.DataFrame(
            {get_score_colname(ISSUE): 1 - table["probability"], get_is_issue_colname(ISSUE): issues}
        )
        self.summary = pd.DataFrame({"issue_type": [ISSUE], "num_images": [int(issues.sum())]})
        self.info = {"statistics": {}, ISSUE: {"verdicts": table}}


def _choose_reading(dataset: Any) -> Callable[[Any], Item]:
    """Choose how to get at the photo at an index as it is stored."""
    files, rows, key = getattr(dataset, "fs", None), getattr(dataset, "_data", None), getattr(dataset, "_image_key", "")
    if files is not None and "file" in _list_protocols(files):
        return lambda index: Item(str(index))
    if files is not None:
        return lambda index: _read(lambda: files.cat_file(index), str(index))
    if key and rows is not None:
        from datasets import Image  # whose dataset it is

        stored = rows.cast_column(key, Image(decode=False))
        return lambda index: _read(lambda: stored[index][key], "")
    return lambda index: _read(lambda: dataset[index], "")


def _list_protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _read(get: Callable[[], Any], path: str) -> Item:
    try:
        return read_cell(get(), path)
    except Exception as error:  # whatever a dataset or a store raises
        name, why = path or "the picture", f"{type(error).__name__}: {hide_all(str(error))}"
        return Item(evidence=Evidence(path, error=f"{name} cannot be read: {why}"))
