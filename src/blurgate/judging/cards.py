"""A model's card: its inputs, calibration, threshold, training data, results and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurgate.errors import ModelFileError, name_first
from blurgate.judging.inputs import find_inputs

FILE_FORMAT = 1


@dataclass(frozen=True)
class Card:
    """What a model file records of the model.

    Parameters
    ----------
    feature_set : str
        Name of the model's inputs, see `blurgate.judging.inputs.find_inputs`.
    columns : tuple of str
        Names of the input columns that it was trained on.
    slope, intercept : float
        Calibration: P(blurred) is the logistic function of ``slope * margin + intercept``, where the margin is the
        output of the booster ``blurred``. The margin of a booster ``own`` is added to these log-odds.
    net_slope : float
        Factor of the net's log-odds, which are added as well if there is a net.
    threshold : float
        A photo is blurred from this probability on, 0 to 1.
    base_rate : float
        Share of blurred photos that the probabilities assume, 0 to 1.
    kinds : tuple of str
        Classes of the booster ``kind``; empty if there is none.
    parameters : mapping
        Hyperparameters of the trees.
    trained_on : mapping
        Sources and counts of the training data.
    results : mapping
        Figures on data left out of training.
    at_threshold : mapping
        What the threshold costs: ``false_alarm_rate``, ``miss_rate``, and the data they were ``measured_on``.
    calibrated_on : mapping
        The user's photos that were given to `calibrate`; empty for a model that was only trained.
    terms : mapping
        Terms of use of the training photos, by source.
    limits : tuple of str
        Where the model is known to fail.
    with_trees : mapping
        For a shipped net: the entries of this card that change when the shipped trees judge together with the net, and
        under ``trees`` the fingerprint of these trees.
    made_by : str
        Name and version of the program.
    """

    feature_set: str
    columns: tuple[str, ...] = field(repr=False)
    slope: float
    intercept: float
    threshold: float
    base_rate: float
    net_slope: float = 0.0
    kinds: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    trained_on: Mapping[str, Any] = field(default_factory=dict, repr=False)
    results: Mapping[str, Any] = field(default_factory=dict, repr=False)
    at_threshold: Mapping[str, Any] = field(default_factory=dict, repr=False)
    calibrated_on: Mapping[str, Any] = field(default_factory=dict, repr=False)
    terms: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: tuple[str, ...] = field(default=(), repr=False)
    with_trees: Mapping[str, Any] = field(default_factory=dict, repr=False)
    made_by: str = ""


def read_card(content: Any, path: Path) -> Card:
    """Read and check a card.

    Parameters
    ----------
    content : object
        Any JSON value, as `json.loads` returns it.
    path : Path
        The model file, for error messages.

    Returns
    -------
    Card

    Raises
    ------
    ModelFileError
        If the content is not a card of this format, is damaged, or needs feature columns that this version does not
        compute.
    """
    if not isinstance(content, dict) or content.pop("format", None) != FILE_FORMAT:
        raise ModelFileError(
            f"{path} is not a model of format {FILE_FORMAT}: train it again with this version of blurgate"
        )
    try:
        listed = {name: tuple(content[name]) for name in ("columns", "kinds", "limits") if name in content}
        card = Card(**{**content, **listed})
    except (TypeError, KeyError, ValueError) as error:
        raise ModelFileError(f"{path} has a damaged card ({error}): train it or copy it again") from error
    _check_values(card, path)
    _check_columns(card, path)
    return card


def _check_values(card: Card, path: Path) -> None:
    numbers = [card.slope, card.net_slope, card.intercept, card.threshold, card.base_rate]
    names = (card.feature_set, *card.columns, *card.kinds, *card.limits)
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers) or not all(
        isinstance(name, str) for name in names
    ):
        raise ModelFileError(
            f"{path} has a damaged card (a number is not finite, or a value has the wrong type): "
            "train it or copy it again"
        )
    if not 0 <= card.threshold <= 1:
        raise ModelFileError(
            f"{path} has a damaged card (its threshold must be between 0 and 1, got {card.threshold}): "
            "train it or copy it again"
        )


def _check_columns(card: Card, path: Path) -> None:
    try:
        computed = find_inputs(card.feature_set).columns
    except ValueError:
        raise ModelFileError(
            f"{path} needs the feature set {card.feature_set}, which this version of blurgate does not compute: "
            "update blurgate or train it again"
        ) from None
    if computed != card.columns:
        missing = [name for name in card.columns if name not in computed]
        raise ModelFileError(
            f"{path} needs the feature set {card.feature_set} in a form that this version of blurgate does not compute "
            f"(missing: {name_first(missing) or 'none, but the order differs'}): update blurgate or train it again"
        )
