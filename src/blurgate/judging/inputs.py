"""What a model reads of a photo: one row, the measured features and then the outputs of a net, if it has one.

The row is named by its feature set and, after a plus, its net: ``block99`` or ``block99+net-1a2b3c4d``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from blurgate.measuring.features import FeatureSet, find_feature_set, has_texture

NET_OUTPUTS = ("blurred", "strength")  # log-odds before calibration; log2 of the strength in pixels plus an offset


@dataclass(frozen=True)
class Inputs:
    """The columns of a row.

    Parameters
    ----------
    feature_set : str
        Of the measured features: a name out of `blurgate.measuring.features.FEATURE_SETS`.
    net : str
        Name of the net whose outputs follow them, such as ``net-1a2b3c4d``; empty for none.
    """

    feature_set: str
    net: str = ""

    def __str__(self) -> str:
        return f"{self.feature_set}+{self.net}" if self.net else self.feature_set

    @property
    def measured(self) -> FeatureSet:
        """The measured features."""
        return find_feature_set(self.feature_set)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns: those of the feature set, then ``net-1a2b3c4d__blurred`` and ``…__strength``."""
        return (*self.measured.columns, *(f"{self.net}__{output}" for output in NET_OUTPUTS if self.net))

    @property
    def texture_only(self) -> bool:
        """True if the set measures nothing but texture: a net supplies the judgement."""
        return len(self.measured.columns) == 1

    def has_texture(self, rows: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell which photos show enough to judge.

        Parameters
        ----------
        rows : ndarray of shape (n_photos, n_columns), float32

        Returns
        -------
        ndarray of shape (n_photos,), bool
        """
        return has_texture(rows, self.feature_set)

    def net_output(self, rows: NDArray[np.float32], output: str) -> NDArray[np.float64]:
        """Take an output of the net from rows.

        Parameters
        ----------
        rows : ndarray of shape (n_photos, n_columns), float32
        output : str
            A name out of `NET_OUTPUTS`.

        Returns
        -------
        ndarray of shape (n_photos,), float64
        """
        return rows[:, NET_OUTPUTS.index(output) - len(NET_OUTPUTS)].astype(np.float64)


@lru_cache
def find_inputs(name: str) -> Inputs:
    """Look up the columns by their name.

    Raises
    ------
    ValueError
        If there is no such feature set.

    Examples
    --------
    >>> find_inputs("texture1+net-1a2b3c4d").columns
    ('1/4__low__log_energy__p97', 'net-1a2b3c4d__blurred', 'net-1a2b3c4d__strength')
    """
    feature_set, _, net = name.partition("+")
    find_feature_set(feature_set)
    return Inputs(feature_set, net)


def find_net_name(columns: Iterable[str]) -> str:
    """Find the net whose outputs are among some columns; empty if there is none.

    Examples
    --------
    >>> find_net_name(["path", "net-1a2b3c4d__blurred"])
    'net-1a2b3c4d'
    """
    nets = {
        column.removesuffix(f"__{output}") for column in columns for output in NET_OUTPUTS if column.startswith("net-")
    }
    return min(nets, key=len, default="")
