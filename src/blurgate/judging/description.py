"""Model -> what there is to know about it, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from blurgate.judging.cards import TREES
from blurgate.judging.model import BLURRED, BlurModel, to_probability


def describe_model(model: BlurModel) -> dict[str, Any]:
    """Describe a model: who judges what, bounds, figures, limits, training data and their terms.

    Parameters
    ----------
    model : BlurModel

    Returns
    -------
    dict
        The entries of its card; who judges which photo as ``asks``; ``boosters``, ``net`` and ``fingerprint``;
        what the card says of the ``explainer``, with its name, or None without one. Numbers that are not finite are
        None.
    """
    card = asdict(model.card)
    order = ("threshold", "review", "at_threshold", "results", "limits", "trained_on", "terms", "calibrated_on")
    described = {
        "asks": describe_asking(model),
        "boosters": sorted(model.boosters),
        "net": model.net.name if model.net else None,
        **{name: card.pop(name) for name in order},
        **card,
        "explainer": {**model.card.explainer, "name": model.explainer.name} if model.explainer else None,
        "fingerprint": model.fingerprint,
    }
    return {name: _to_json(value) for name, value in described.items()}


def describe_asking(model: BlurModel) -> str:
    """Say in a sentence who judges which photo."""
    if not model.net:
        return "the trees judge every photo"
    if BLURRED not in model.boosters:
        return "the net judges every photo"
    if model.card.ask_from is None:
        return "trees and net judge every photo together"
    slope, intercept = model.card.alone[TREES]["slope"], model.card.alone[TREES]["intercept"]
    bound = to_probability(np.asarray([slope * model.card.ask_from + intercept]))[0]
    return (
        f"the trees judge every photo; from P(blurred) = {min(bound, model.card.threshold):.2g} of theirs on, the net "
        "is asked too, and both judge together"
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _to_json(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
