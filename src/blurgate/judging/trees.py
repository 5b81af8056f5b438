"""Evaluates gradient-boosted trees from XGBoost's files, without XGBoost.

Only training needs XGBoost. Importing it takes as long as judging dozens of photos, so this module reads the file
itself and walks all trees side by side. The margins equal XGBoost's to the bit.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CHUNK = 64  # rows evaluated at once: their nodes in all trees fit into the cache
_MAX_DEPTH = 16  # of nested UBJSON values; XGBoost nests six

# UBJSON type markers; numbers are big-endian
_NUMBERS = {ord(marker): struct.Struct(f">{code}") for marker, code in zip("iUIlLdD", "bBhiqfd", strict=True)}
_CONSTANTS = {ord("T"): True, ord("F"): False, ord("Z"): None}
_STRING, _ARRAY, _ELEMENT_TYPE, _COUNT, _OBJECT, _OBJECT_END = b"S[$#{}"


@dataclass(frozen=True)
class Trees:
    """The trees of a booster, concatenated: arrays with one entry per node, where a leaf is its own child.

    Parameters
    ----------
    n_features : int
        Number of features per row.
    roots : ndarray of shape (n_trees,)
        Index of each tree's first node.
    split_feature : ndarray of shape (n_nodes,), int32
        Index of the feature that the node compares.
    node_value : ndarray of shape (n_nodes,), float32
        At a split, the value to compare with: a row goes left if its feature is below it. At a leaf, its margin.
    children : ndarray of shape (n_nodes, 2), int32
        Indices of the left and right child.
    missing_side : ndarray of shape (n_nodes,), int8
        Where a row goes if it lacks the feature: 0 for left, 1 for right.
    tree_output : ndarray of shape (n_trees,)
        Index of the output that each tree adds to.
    base_margin : ndarray of shape (n_outputs,), float32
        Start of the sum for each output.
    """

    n_features: int
    roots: NDArray[np.intp]
    split_feature: NDArray[np.int32]
    node_value: NDArray[np.float32]
    children: NDArray[np.int32]
    missing_side: NDArray[np.int8]
    tree_output: NDArray[np.intp]
    base_margin: NDArray[np.float32]

    def predict_margins(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predict the margin of each output.

        Parameters
        ----------
        features : ndarray of shape (n_rows, n_features), float32
            NaN where a feature is missing.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs), float32
            Summed in the order of the trees, as XGBoost does.
        """
        margins = np.empty((len(features), len(self.base_margin)), np.float32)
        for start in range(0, len(features), _CHUNK):
            leaves = self.node_value[self._find_leaves(features[start : start + _CHUNK])]
            for output, base in enumerate(self.base_margin):
                own = leaves[:, self.tree_output == output]
                summed = np.concatenate([np.full((len(own), 1), base), own], axis=1).cumsum(axis=1, dtype=np.float32)
                margins[start : start + _CHUNK, output] = summed[:, -1]
        return margins

    def _find_leaves(self, rows: NDArray[np.float32]) -> NDArray[np.intp]:
        """Find the leaf that each row reaches in each tree; -> node indices of shape (n_rows, n_trees)."""
        children = self.children.reshape(-1)
        row_starts = np.arange(len(rows))[:, np.newaxis] * self.n_features
        flat = np.ascontiguousarray(rows).reshape(-1)
        node = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        any_missing = bool(np.isnan(flat).any())
        while True:
            values = flat[row_starts + self.split_feature[node]]
            side = (values >= self.node_value[node]).astype(np.intp)
            if any_missing:
                side = np.where(np.isnan(values), self.missing_side[node], side)
            child = children[2 * node + side]
            if np.array_equal(child, node):
                return node
            node = child


def read_trees(content: bytes) -> Trees:
    """Read a booster that XGBoost saved as UBJSON.

    Parameters
    ----------
    content : bytes
        The bytes of ``Booster.save_raw("ubj")``, for a ``gbtree`` booster with numerical splits.

    Raises
    ------
    ValueError
        If the booster is damaged or of another kind.

    References
    ----------
    .. [1] Universal Binary JSON, draft 12, https://ubjson.org
    """
    try:
        return _join(_Reader(content).read())
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, struct.error) as error:
        raise ValueError(f"it contains no XGBoost trees ({type(error).__name__}: {error})") from error


def _join(content: Any) -> Trees:
    """Concatenate the trees of a booster, and check that every walk through them ends at a leaf."""
    learner = content["learner"]
    shape, objective = learner["learner_model_param"], learner["objective"]["name"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise ValueError(f"it must be a gbtree booster, got {booster['name']}")
    trees = booster["model"]["trees"]
    if not trees:
        raise ValueError("it contains no trees")
    n_features, n_outputs = int(shape["num_feature"]), max(1, int(shape["num_class"]))
    sizes = np.asarray([int(tree["tree_param"]["num_nodes"]) for tree in trees], np.intp)
    roots = np.cumsum(sizes) - sizes

    def join(name: str) -> NDArray[Any]:
        return _unpack([tree[name] for tree in trees], sizes)

    if join("split_type").any():
        raise ValueError("its splits must be numerical, got categorical splits")
    children = _join_children(join("left_children"), join("right_children"), roots, sizes)
    split_feature = join("split_indices")
    if split_feature.size and not 0 <= split_feature.min() <= split_feature.max() < n_features:
        raise ValueError(f"its splits refer to features outside its {n_features}")
    tree_output = _read_outputs(booster["model"]["tree_info"], len(trees), n_outputs)
    base = np.broadcast_to(np.asarray(json.loads(shape["base_score"]), np.float32), (n_outputs,))
    return Trees(
        n_features=n_features,
        roots=roots,
        split_feature=split_feature.astype(np.int32),
        node_value=join("split_conditions").astype(np.float32),
        children=children.astype(np.int32),
        missing_side=1 - join("default_left").astype(np.int8),
        tree_output=tree_output,
        base_margin=_to_margin(base) if objective == "binary:logistic" else base,
    )


def _join_children(
    left: NDArray[Any], right: NDArray[Any], roots: NDArray[np.intp], sizes: NDArray[np.intp]
) -> NDArray[Any]:
    """Turn the child indices within each tree into indices of concatenated trees; -> shape (n_nodes, 2)."""
    itself, start = np.arange(sizes.sum()), np.repeat(roots, sizes)
    is_leaf = left == -1
    children = np.stack([np.where(is_leaf, itself, start + left), np.where(is_leaf, itself, start + right)], axis=1)
    split_children = children[~is_leaf].reshape(-1)
    inside = not split_children.size or 0 <= split_children.min() <= split_children.max() < len(itself)
    n_parents = np.bincount(split_children, minlength=len(itself)) if inside else None
    if n_parents is None or n_parents.max(initial=0) > 1 or n_parents[roots].any():
        raise ValueError("its nodes do not form trees")  # a walk could leave the arrays, or never end
    return children


def _read_outputs(content: Any, n_trees: int, n_outputs: int) -> NDArray[np.intp]:
    """Read the index of the output that each tree adds to."""
    outputs = np.asarray(content, np.intp)
    if outputs.shape != (n_trees,):
        raise ValueError("it does not assign an output to each tree")
    if outputs.size and not 0 <= outputs.min() <= outputs.max() < n_outputs:
        raise ValueError(f"its trees refer to outputs outside its {n_outputs}")
    return outputs


def _to_margin(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a probability into log-odds, rounded as in XGBoost."""
    odds = np.float32(1) / probability - np.float32(1)
    return np.asarray(-np.log(odds, dtype=np.float64), np.float32)


class _Packed(NamedTuple):
    """An array as raw bytes: unpacking thousands of short arrays all at once is faster than one by one."""

    marker: int
    content: bytes


def _unpack(arrays: Sequence[_Packed], lengths: Sequence[int] | NDArray[np.intp]) -> NDArray[Any]:
    """Concatenate arrays of one type, after checking their lengths."""
    stored = np.dtype(_NUMBERS[arrays[0].marker].format)
    if any(
        array.marker != arrays[0].marker or len(array.content) != length * stored.itemsize
        for array, length in zip(arrays, lengths, strict=True)
    ):
        raise ValueError("its arrays differ in type, or in length from its number of nodes")
    return np.frombuffer(b"".join(array.content for array in arrays), stored)


class _Reader:
    """Reads UBJSON from the first byte on."""

    def __init__(self, content: bytes) -> None:
        self._content, self._position = content, 0

    def read(self, depth: int = 0) -> Any:
        """Read the next value, which is nested in `depth` others."""
        marker = self._content[self._position]
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        if marker in _NUMBERS:
            return self._number()
        self._position += 1
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == _STRING:
            return self._string()
        if marker == _OBJECT:
            return self._object(depth)
        if marker == _ARRAY:
            return self._array(depth)
        raise ValueError(f"it contains an unknown UBJSON marker {marker}")

    def _object(self, depth: int) -> dict[str, Any]:
        members = {}
        while self._content[self._position] != _OBJECT_END:
            name = self._string()
            members[name] = self.read(depth + 1)
        self._position += 1
        return members

    def _array(self, depth: int) -> Any:
        element_type = None
        if self._content[self._position] == _ELEMENT_TYPE:
            element_type = self._content[self._position + 1]
            self._position += 2
        if self._content[self._position] != _COUNT:
            raise ValueError("it contains an array without a length")
        self._position += 1
        count = int(self._number())
        if element_type is not None:
            return _Packed(element_type, self._take(count * _NUMBERS[element_type].size))
        return [self.read(depth + 1) for _ in range(count)]

    def _string(self) -> str:
        return self._take(int(self._number())).decode()

    def _number(self) -> float:
        layout = _NUMBERS[self._content[self._position]]
        number: float = layout.unpack_from(self._content, self._position + 1)[0]
        self._position += 1 + layout.size
        return number

    def _take(self, count: int) -> bytes:
        start, self._position = self._position, self._position + count
        if not start <= self._position <= len(self._content):
            raise ValueError("it is truncated")
        return self._content[start : self._position]
