"""The row that a model reads of a photo: its measured features, then the outputs of the model's net, if it has one.

A row's columns are named by the feature set and, after a plus, the net: ``block99`` or ``block99+net-1a2b3c4d``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from blurgate.measuring.features import FeatureSet, find_feature_set

NET_FEATURE_SET = "texture1"  # what a net that judges alone needs to have measured
NET_OUTPUTS = ("blurred", "strength")  # log-odds before calibration; log2 of the strength in pixels plus an offset
STRENGTH_OFFSET = 0.5  # pixels; trees, nets and explainers predict log2(strength + offset)


@dataclass(frozen=True)
class Inputs:
    """The columns of a row.

    Parameters
    ----------
    feature_set : str
        The measured features: a key of `blurgate.measuring.features.FEATURE_SETS`.
    net : str
        Name of the net whose outputs follow them, such as ``net-1a2b3c4d``; empty if there is none.
    """

    feature_set: str
    net: str = ""

    def __str__(self) -> str:
        return f"{self.feature_set}+{self.net}" if self.net else self.feature_set

    @property
    def measured(self) -> FeatureSet:
        """The feature set that is measured."""
        return find_feature_set(self.feature_set)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns: those of the feature set, then ``net-1a2b3c4d__blurred`` and ``…__strength``."""
        return (*self.measured.columns, *(f"{self.net}__{output}" for output in NET_OUTPUTS if self.net))

    @property
    def texture_only(self) -> bool:
        """True if the set only checks for texture; a net supplies the judgement."""
        return len(self.measured.columns) == 1

    def has_texture(self, rows: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Check which photos have enough texture to be judged.

        Parameters
        ----------
        rows : ndarray of shape (n_photos, n_columns), float32

        Returns
        -------
        ndarray of shape (n_photos,), bool
        """
        return self.texture_to_spare(rows) >= 0

    def texture_to_spare(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Measure by how much the texture of each photo exceeds the least that can be judged, of shape (n_photos,)."""
        place, least = self._texture
        return np.asarray(rows[:, place] - least)

    def shows_texture(self, features: NDArray[np.float32]) -> bool:
        """Check one photo, by its features, as `has_texture` checks many."""
        place, least = self._texture
        return bool(features[place] - least >= 0)

    @cached_property
    def _texture(self) -> tuple[int, np.float32]:
        """The column that measures texture, and the least of it that can be judged."""
        chosen = self.measured
        return chosen.columns.index(chosen.texture), np.float32(chosen.least_texture)

    def net_output(self, rows: NDArray[np.float32], output: str) -> NDArray[np.float32]:
        """Select an output of the net.

        Parameters
        ----------
        rows : ndarray of shape (n_photos, n_columns), float32
        output : str
            One of `NET_OUTPUTS`.

        Returns
        -------
        ndarray of shape (n_photos,), float32
        """
        return rows[:, NET_OUTPUTS.index(output) - len(NET_OUTPUTS)]


@lru_cache
def find_inputs(name: str) -> Inputs:
    """Look up inputs by their name.

    Raises
    ------
    ValueError
        If the feature set is unknown.

    Examples
    --------
    >>> find_inputs("texture1+net-1a2b3c4d").columns
    ('1/4__low__log_energy__p97', 'net-1a2b3c4d__blurred', 'net-1a2b3c4d__strength')
    """
    feature_set, _, net = name.partition("+")
    find_feature_set(feature_set)
    return Inputs(feature_set, net)


def find_net_name(columns: Iterable[str]) -> str:
    """Find the name of the net whose outputs are among the columns; empty if there is none.

    Examples
    --------
    >>> find_net_name(["path", "net-1a2b3c4d__blurred"])
    'net-1a2b3c4d'
    """
    nets = {
        column.removesuffix(f"__{output}") for column in columns for output in NET_OUTPUTS if column.startswith("net-")
    }
    return min(nets, key=len, default="")
