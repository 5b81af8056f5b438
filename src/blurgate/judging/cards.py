"""A model's card: what it needs, how it is calibrated, what it was trained on, how it did, and where it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurgate.errors import ModelFileError
from blurgate.judging.inputs import find_inputs

FILE_FORMAT = 1


@dataclass(frozen=True)
class Card:
    """What a model knows of itself.

    Parameters
    ----------
    feature_set : str
        As `blurgate.judging.inputs.find_inputs` takes it.
    columns : tuple of str
        The feature columns it was trained on.
    slope, intercept : float
        Calibration: P(blurred) is the logistic function of ``slope * margin + intercept``, the margin being the sum of
        the trees' answers; a booster named ``own`` adds its margin to that.
    net_slope : float
        By so much the net's log-odds are added, where there is a net.
    threshold : float
        A photo is blurred from this probability on.
    base_rate : float
        Share of blurred photos that the probabilities assume.
    kinds : tuple of str
        Classes of the kind booster; empty if there is none.
    parameters : mapping
        Of the trees.
    trained_on : mapping
        Sources and counts.
    results : mapping
        How it did on what it had not seen.
    at_threshold : mapping
        What the threshold costs: ``false_alarm_rate``, ``miss_rate``, and what they were ``measured_on``.
    calibrated_on : mapping
        The user's photos that `calibrate` was given; empty for a model as it was trained.
    terms : mapping
        Under what terms the photos were to be had that it was trained on.
    limits : tuple of str
        Where it is known to fail.
    with_trees : mapping
        Of a net that ships: what of this card is another where the trees that ship judge beside it, and which ``trees``
        these are, by their fingerprint.
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
    """Check and read the JSON of a card.

    Parameters
    ----------
    content : object
        As `json.loads` gives it; it may be anything.
    path : Path
        Of the model file, for messages.

    Returns
    -------
    Card

    Raises
    ------
    ModelFileError
        If it is no card of this format, damaged, or needs feature columns that this version does not make.
    """
    if not isinstance(content, dict) or content.pop("format", None) != FILE_FORMAT:
        raise ModelFileError(f"{path} is no model of format {FILE_FORMAT}: train it anew with this version of blurgate")
    try:
        listed = {name: tuple(content[name]) for name in ("columns", "kinds", "limits") if name in content}
        card = Card(**{**content, **listed})
        numbers = [card.slope, card.net_slope, card.intercept, card.threshold, card.base_rate]
    except (TypeError, KeyError, ValueError) as error:
        raise ModelFileError(f"{path} has a damaged card ({error}): train or copy it anew") from error
    names = (card.feature_set, *card.columns, *card.kinds, *card.limits)
    if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers) or not all(
        isinstance(name, str) for name in names
    ):
        raise ModelFileError(f"{path} has a damaged card (a number or a name is none): train or copy it anew")
    if not 0 <= card.threshold <= 1:
        raise ModelFileError(f"{path} has a damaged card (its threshold is no probability): train or copy it anew")
    try:
        made = find_inputs(card.feature_set).columns
    except ValueError:
        made = ()
    if made != card.columns:
        missing = [name for name in card.columns if name not in made]
        raise ModelFileError(
            f"{path} needs the feature set {card.feature_set}, which this version of blurgate does not make as it was "
            f"(missing: {', '.join(missing) or 'none, but the order differs'}): train it anew"
        )
    return card
