"""A model's card: its inputs, calibration, threshold, training data, results and limits."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from blurgate.errors import ModelFileError, name_first
from blurgate.judging.inputs import find_inputs

FILE_FORMAT = 1
TREES, NET = "trees", "net"  # who can judge alone

MOST_WEIGHT = 1e6  # of slopes, intercepts and ask_from, in size: log-odds stay finite
_MOST_LEVELS = 16  # of nested lists and mappings
_MOST_INTEGER = 2**63
_UNFIT = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]"
)  # would colour a terminal, or cannot be written as UTF-8
_DAMAGED = "{path} has a damaged card ({why}): train it or copy it again"
_WEIGHTS = ("slope", "net_slope", "intercept")
_LISTED = ("columns", "kinds", "limits", "review")  # tuples that JSON stores as lists
_MAPPED = ("parameters", "trained_on", "results", "at_threshold", "calibrated_on", "terms", "explainer")
_CHANGED_ALONE = {*_WEIGHTS, *_MAPPED, "threshold", "base_rate", "review", "limits"}


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
        Factor of the net's log-odds, which are added as well if there is a net and it is asked.
    ask_from : float, optional
        In a cascade, the margin of the booster ``blurred`` from which on the net is asked. Below it the trees judge
        alone, with the slope and intercept in ``alone``. None if a net, where there is one, is always asked.
    threshold : float
        A photo is blurred from this probability on, 0 to 1.
    review : (float, float), optional
        Two probabilities, 0 to 1, the lower one first, between which a person should look at the photo.
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
    alone : mapping
        Under ``trees`` and ``net``, the entries of this card that change when one of them judges without the other.
    explainer : mapping
        Of the explainer, if there is one: ``spread``, the scales of error that its intervals are wide, and what it was
        trained on and measured to do.
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
    ask_from: float | None = None
    review: tuple[float, float] | None = None
    kinds: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    trained_on: Mapping[str, Any] = field(default_factory=dict, repr=False)
    results: Mapping[str, Any] = field(default_factory=dict, repr=False)
    at_threshold: Mapping[str, Any] = field(default_factory=dict, repr=False)
    calibrated_on: Mapping[str, Any] = field(default_factory=dict, repr=False)
    terms: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: tuple[str, ...] = field(default=(), repr=False)
    alone: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    explainer: Mapping[str, Any] = field(default_factory=dict, repr=False)
    made_by: str = ""

    def of_one(self, part: str, feature_set: str) -> Card:
        """Make the card of the trees or the net without the other.

        Parameters
        ----------
        part : {'trees', 'net'}
        feature_set : str
            Name of the inputs that this part reads.

        Returns
        -------
        Card
            Without bounds of a review, unless ``alone`` has some for this part.
        """
        changes = {"review": None, **_to_tuples(self.alone.get(part, {}))}
        columns = find_inputs(feature_set).columns
        return replace(self, feature_set=feature_set, columns=columns, ask_from=None, alone={}, **changes)

    def line_of_one(self, part: str) -> tuple[float, float] | None:
        """Look up the slope and intercept of the trees' or the net's log-odds when it judges alone; None if unknown."""
        entries = self.alone.get(part, {})
        slope = entries.get("slope" if part == TREES else "net_slope")
        return None if slope is None or "intercept" not in entries else (slope, entries["intercept"])

    def correct_log_odds(self, slope: float, shift: float) -> Card:
        """Multiply and shift the log-odds that the card gives, together and alone, and the bounds of a review.

        Parameters
        ----------
        slope : float
            Factor of the log-odds.
        shift : float
            Added to their product.

        Returns
        -------
        Card
        """
        joint = {name: getattr(self, name) for name in _WEIGHTS}
        alone = {part: _correct(entries, slope, shift) for part, entries in self.alone.items()}
        review = self.review and (
            _correct_probability(self.review[0], slope, shift),
            _correct_probability(self.review[1], slope, shift),
        )
        return replace(self, alone=alone, review=review, **_correct(joint, slope, shift))


def read_card(content: bytes, path: Path) -> tuple[Card, frozenset[str] | None]:
    """Read and check a card.

    Parameters
    ----------
    content : bytes
        JSON; empty if the model file has no card.
    path : Path
        The model file, for error messages.

    Returns
    -------
    card : Card
    boosters : frozenset of str, or None
        Names of the boosters that the model was saved with; None in older files, which do not list them.

    Raises
    ------
    ModelFileError
        If the content is not a card of this format, is damaged, or needs feature columns that this version does not
        compute.
    """
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        why = "it is not JSON" if content else "it is missing"
        raise ModelFileError(_DAMAGED.format(path=path, why=why)) from error
    if not isinstance(entries, dict) or entries.pop("format", None) != FILE_FORMAT:
        raise ModelFileError(
            f"{path} is not a model of format {FILE_FORMAT}: train it again with this version of blurgate"
        )
    entries.pop("with_trees", None)  # in nets that shipped beside trees: weights for both together
    try:
        _check_content(entries)
        boosters = _read_names(entries.pop("boosters", None))
        _check_names(entries)
        card = Card(**_to_tuples(entries))
        parts = _list_parts(card)
    except (TypeError, ValueError) as error:
        raise ModelFileError(_DAMAGED.format(path=path, why=error)) from error
    for each in (card, *parts):
        _check_values(each, path)
    _check_cascade(card, path)
    _check_columns(card, path)
    return card, boosters


def _check_content(content: Any, level: int = 0) -> None:
    """Check that nothing is nested too deeply to be copied, nor too large an integer to be written as a number."""
    if level > _MOST_LEVELS:
        raise ValueError("it is nested too deeply")
    if isinstance(content, int) and abs(content) > _MOST_INTEGER:
        raise ValueError("a number is not finite, or a value has the wrong type")
    if isinstance(content, dict | list):
        for entry in content.values() if isinstance(content, dict) else content:
            _check_content(entry, level + 1)


def _read_names(content: Any) -> frozenset[str] | None:
    if content is not None and not (isinstance(content, list) and all(isinstance(name, str) for name in content)):
        raise ValueError("its boosters must be a list of names")
    return None if content is None else frozenset(content)


def _check_names(content: Mapping[str, Any]) -> None:
    """Check that a card has all entries that it needs, and no others."""
    known = {each.name: each.default is MISSING and each.default_factory is MISSING for each in fields(Card)}
    unknown = sorted(content.keys() - known)
    missing = [name for name, needed in known.items() if needed and name not in content]
    if unknown:
        raise ValueError(f"it has an entry that no card has: {name_first([ascii(name) for name in unknown])}")
    if missing:
        raise ValueError(f"it lacks {name_first(missing)}")


def _to_tuples(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the lists of JSON into tuples."""
    no_review = ("review", None)
    for name in _LISTED:
        if name in entries and not isinstance(entries[name], list | tuple) and (name, entries[name]) != no_review:
            raise ValueError(f"its {name} must be a list")
    return {
        name: tuple(value) if name in _LISTED and (name, value) != no_review else value
        for name, value in entries.items()
    }


def _correct_probability(probability: float, slope: float, shift: float) -> float:
    if not 0 < probability < 1:
        return probability
    odds = slope * math.log(probability / (1 - probability)) + shift
    return 0.5 * (1 + math.tanh(0.5 * odds))


def _correct(entries: Mapping[str, Any], slope: float, shift: float) -> dict[str, Any]:
    """Multiply the weights among the entries, and shift the intercept."""
    corrected = {name: slope * entries[name] for name in _WEIGHTS if name in entries}
    if "intercept" in corrected:
        corrected["intercept"] += shift
    return {**entries, **corrected}


def _list_parts(card: Card) -> list[Card]:
    """Make the cards of those that can judge alone, to check their entries like those of any card.

    Raises
    ------
    ValueError, TypeError
        If ``alone`` is not a mapping of ``trees`` and ``net`` to entries of a card.
    """
    if not isinstance(card.alone, dict) or not all(isinstance(entries, dict) for entries in card.alone.values()):
        raise TypeError("alone must map trees and net to entries of a card")
    surprising = sorted(
        (card.alone.keys() - {TREES, NET}).union(*(each.keys() - _CHANGED_ALONE for each in card.alone.values()))
    )
    if surprising:
        raise ValueError(f"unexpected in alone: {name_first(surprising)}")
    return [replace(card, alone={}, **_to_tuples(entries)) for entries in card.alone.values()]


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type] # NaN is not


def _check_values(card: Card, path: Path) -> None:
    weights = [card.slope, card.net_slope, card.intercept, *([] if card.ask_from is None else [card.ask_from])]
    numbers = [*weights, card.threshold, card.base_rate, *(card.review or ())]
    names = (card.feature_set, *card.columns, *card.kinds, *card.limits, card.made_by)
    mappings = (getattr(card, name) for name in _MAPPED)
    if (
        not all(map(_is_number, numbers))
        or not all(isinstance(name, str) and not _UNFIT.search(name) for name in names)
        or not all(isinstance(mapping, dict) for mapping in mappings)
    ):
        raise ModelFileError(_DAMAGED.format(path=path, why="a number is not finite, or a value has the wrong type"))
    if max(map(abs, weights)) > MOST_WEIGHT:
        raise ModelFileError(
            _DAMAGED.format(path=path, why=f"slopes, intercepts and ask_from must be within ±{MOST_WEIGHT:,.0f}")
        )
    if not 0 <= card.threshold <= 1:
        raise ModelFileError(
            _DAMAGED.format(path=path, why=f"its threshold must be between 0 and 1, got {card.threshold}")
        )
    if card.review is not None and not (len(card.review) == 2 and 0 <= card.review[0] <= card.review[1] <= 1):
        raise ModelFileError(
            _DAMAGED.format(
                path=path, why=f"its review must be two probabilities, the lower one first, got {list(card.review)}"
            )
        )


def _check_cascade(card: Card, path: Path) -> None:
    """Check that a cascade has what the trees need to judge alone."""
    if card.ask_from is None:
        return
    line = card.line_of_one(TREES)
    if line is None or line[0] <= 0:
        raise ModelFileError(
            _DAMAGED.format(path=path, why="it has ask_from, but no slope above 0 and intercept for the trees alone")
        )
    if min(card.slope, card.net_slope) <= 0:  # one of them would not count, or count in reverse
        raise ModelFileError(
            _DAMAGED.format(path=path, why="it has ask_from, but slope and net_slope are not both above 0")
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
