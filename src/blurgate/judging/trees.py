"""Evaluates gradient-boosted trees from XGBoost's files, without XGBoost.

Only training needs XGBoost. Importing it takes as long as judging dozens of photos, so this module reads the file
itself and walks all trees side by side: with compiled code if that has been loaded to measure photos, else with NumPy.
The margins equal XGBoost's to the bit.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blurgate.measuring.machine_code import WALKED_TREES, MachineCode, address_of, find_loaded

_CHUNK = 64  # rows evaluated at once: their nodes in all trees fit into the cache
_MAX_DEPTH = 16  # of nested UBJSON values; XGBoost nests six
_MAX_VALUES = 2**20  # in a file: a short one could hold very many; XGBoost writes some twenty for each tree
_MAX_LEVELS = 64  # of a tree
_MAX_SCORE = 64  # characters for each output
MOST_MARGIN = 1e6  # of the sum over all trees, in size: more than trees of real data reach, and finite when weighted

# UBJSON type markers; numbers are big-endian
_NUMBERS = {ord(marker): struct.Struct(f">{code}") for marker, code in zip("iUIlLdD", "bBhiqfd", strict=True)}
_READERS = {marker: (layout.unpack_from, layout.size) for marker, layout in _NUMBERS.items()}
_CONSTANTS = {ord("T"): True, ord("F"): False, ord("Z"): None}
_STRING, _ARRAY, _ELEMENT_TYPE, _COUNT, _OBJECT, _OBJECT_END = b"S[$#{}"
_STORED_AS = {  # array of a tree -> the types that XGBoost gives it
    "left_children": "lL",
    "right_children": "lL",
    "split_indices": "lL",
    "split_conditions": "d",
    "default_left": "U",
    "split_type": "U",
}
_OBJECTIVES = ("binary:logistic", "multi:softprob", "reg:squarederror")


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

        Raises
        ------
        ValueError
            If the rows do not have as many features.
        """
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ValueError(f"features must be of shape (n_rows, {self.n_features}), got {features.shape}")
        code = find_loaded()
        return self._walk(features) if code is None else self._walk_compiled(code, features)

    def _walk_compiled(self, code: MachineCode, features: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = np.ascontiguousarray(features, np.float32)
        margins = np.empty((len(rows), len(self.base_margin)), np.float32)
        margins[:] = self.base_margin
        code.walk_trees(address_of(rows), *rows.shape, *self._packed.places, address_of(margins))
        return margins

    @cached_property
    def _packed(self) -> _PackedTrees:
        nodes = np.empty((len(self.node_value), 4), np.int32)
        nodes[:, 0] = self.split_feature | self.missing_side.astype(np.int32) << 31
        nodes[:, 1] = self.node_value.view(np.int32)
        nodes[:, 2:] = self.children
        roots = np.zeros(-(-len(self.roots) // WALKED_TREES) * WALKED_TREES, np.int32)
        roots[: len(self.roots)] = self.roots
        return _PackedTrees(nodes, roots, self.tree_output.astype(np.int32), len(self.base_margin))

    def _walk(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
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


class _PackedTrees:
    """Nodes of four numbers, roots and outputs of trees, as compiled code reads them; see `routines.py`.

    A copy in another process packs its own: addresses are of no use there.
    """

    def __init__(
        self, nodes: NDArray[np.int32], roots: NDArray[np.int32], outputs: NDArray[np.int32], n_outputs: int
    ) -> None:
        self._parts = nodes, roots, outputs, n_outputs
        self.places = (address_of(nodes), address_of(roots), address_of(outputs), len(outputs), n_outputs)

    def __reduce__(self) -> tuple[type[_PackedTrees], tuple[Any, ...]]:
        return _PackedTrees, self._parts


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
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError, struct.error) as error:
        raise ValueError(f"it contains no XGBoost trees ({type(error).__name__}: {error})") from error


def _join(content: Any) -> Trees:
    """Concatenate the trees of a booster, and check that every walk through them ends at a leaf."""
    learner = content["learner"]
    shape, objective = learner["learner_model_param"], learner["objective"]["name"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise ValueError(f"it must be a gbtree booster, got {booster['name']!a}")
    if objective not in _OBJECTIVES:
        raise ValueError(f"its objective must be {', '.join(_OBJECTIVES)}, got {objective!a}")
    trees = booster["model"]["trees"]
    if not trees:
        raise ValueError("it contains no trees")
    n_features, n_outputs = int(shape["num_feature"]), max(1, int(shape["num_class"]))
    if n_outputs > len(trees):  # before anything of that size is made
        raise ValueError(f"it has {n_outputs} outputs, but only {len(trees)} trees")
    sizes = np.asarray([_count_nodes(tree) for tree in trees], np.intp)
    roots = np.cumsum(sizes) - sizes

    def join(name: str) -> NDArray[Any]:
        return _unpack([tree[name] for tree in trees], sizes, _STORED_AS[name])

    if join("split_type").any():
        raise ValueError("its splits must be numerical, got categorical splits")
    children = _join_children(join("left_children"), join("right_children"), roots, sizes)
    split_feature = join("split_indices")
    if not 0 <= split_feature.min() <= split_feature.max() < n_features:
        raise ValueError(f"its splits refer to features outside its {n_features}")
    node_value = join("split_conditions").astype(np.float32)
    tree_output = _read_outputs(booster["model"]["tree_info"], len(trees), n_outputs)
    base_margin = _read_base(shape["base_score"], n_outputs, is_probability=objective == "binary:logistic")
    _check_margins(node_value, children, roots, base_margin)
    return Trees(
        n_features=n_features,
        roots=roots,
        split_feature=split_feature.astype(np.int32),
        node_value=node_value,
        children=children.astype(np.int32),
        missing_side=1 - join("default_left").astype(np.int8),
        tree_output=tree_output,
        base_margin=base_margin,
    )


def _count_nodes(tree: Any) -> int:
    """Read how many nodes a tree has, at least one, and as many as there are entries in its arrays."""
    count, stored = int(tree["tree_param"]["num_nodes"]), tree["left_children"]
    if not isinstance(stored, _Packed) or not 0 < count <= len(stored.content):
        raise ValueError(f"its arrays differ in length from its {count} nodes")
    return count


def _join_children(
    left: NDArray[Any], right: NDArray[Any], roots: NDArray[np.intp], sizes: NDArray[np.intp]
) -> NDArray[Any]:
    """Turn the child indices within each tree into indices of concatenated trees; -> shape (n_nodes, 2)."""
    itself, start = np.arange(sizes.sum()), np.repeat(roots, sizes)
    is_leaf = left == -1
    within = np.stack([left, right], axis=1)[~is_leaf]
    if ((within <= 0) | (within >= np.repeat(sizes, sizes)[~is_leaf][:, np.newaxis])).any():
        raise ValueError("its nodes refer to nodes outside their tree")
    children = np.stack([np.where(is_leaf, itself, start + left), np.where(is_leaf, itself, start + right)], axis=1)
    if np.bincount(children[~is_leaf].reshape(-1), minlength=1).max() > 1:
        raise ValueError("its nodes do not form trees")  # a walk could meet a node again, and never end
    reached = roots
    for _ in range(_MAX_LEVELS):
        reached = children[reached[~is_leaf[reached]]].reshape(-1)
        if not reached.size:
            return children
    raise ValueError(f"its trees have more than {_MAX_LEVELS} levels")


def _read_outputs(content: Any, n_trees: int, n_outputs: int) -> NDArray[np.intp]:
    """Read the index of the output that each tree adds to."""
    outputs = np.asarray(content, np.intp)
    if outputs.shape != (n_trees,):
        raise ValueError("it does not assign an output to each tree")
    if not 0 <= outputs.min() <= outputs.max() < n_outputs:
        raise ValueError(f"its trees refer to outputs outside its {n_outputs}")
    return outputs


def _read_base(content: Any, n_outputs: int, *, is_probability: bool) -> NDArray[np.float32]:
    """Read the start of the sum for each output."""
    if len(content) > _MAX_SCORE * n_outputs:
        raise ValueError("its base score is too long")
    base = np.asarray(json.loads(content), np.float64)
    if not (np.abs(base) <= MOST_MARGIN).all() or (is_probability and not ((base > 0) & (base < 1)).all()):
        raise ValueError(f"its base score must be {'between 0 and 1' if is_probability else 'finite'}, got {base}")
    start = np.broadcast_to(base.astype(np.float32), (n_outputs,))
    return _to_margin(start) if is_probability else start


def _check_margins(
    node_value: NDArray[np.float32], children: NDArray[Any], roots: NDArray[np.intp], base_margin: NDArray[np.float32]
) -> None:
    """Check that all numbers are finite, and that no sum of leaves can become too large."""
    if not np.isfinite(node_value).all():
        raise ValueError("its nodes have values that are not finite")
    leaves = np.where(children[:, 0] == np.arange(len(children)), np.abs(node_value), np.float32(0))
    most = np.maximum.reduceat(leaves, roots).sum(dtype=np.float64)
    if not np.abs(base_margin).max(initial=0) + most <= MOST_MARGIN:
        raise ValueError(f"its margins must stay within {MOST_MARGIN:,.0f}")


def _to_margin(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a probability into log-odds, rounded as in XGBoost."""
    odds = np.float32(1) / probability - np.float32(1)
    return np.asarray(-np.log(odds, dtype=np.float64), np.float32)


class _Packed(NamedTuple):
    """An array as raw bytes: unpacking thousands of short arrays all at once is faster than one by one."""

    marker: int
    content: bytes


def _unpack(arrays: Sequence[Any], lengths: NDArray[np.intp], markers: str) -> NDArray[Any]:
    """Concatenate arrays of one of the types that these markers stand for, after checking their lengths."""
    marker = arrays[0].marker
    if chr(marker) not in markers:
        raise ValueError(f"its arrays must be of the UBJSON types {markers}, got {marker}")
    stored = np.dtype(_NUMBERS[marker].format)
    if any(
        array.marker != marker or len(array.content) != length * stored.itemsize
        for array, length in zip(arrays, lengths, strict=True)
    ):
        raise ValueError("its arrays differ in type, or in length from its number of nodes")
    return np.frombuffer(b"".join(array.content for array in arrays), stored)


class _Reader:
    """Reads UBJSON from the first byte on."""

    def __init__(self, content: bytes) -> None:
        self._content, self._end, self._position, self._n_values = content, len(content), 0, 0

    def read(self, depth: int = 0) -> Any:
        """Read the next value, which is nested in `depth` others."""
        marker = self._content[self._position]
        self._n_values += 1
        if depth > _MAX_DEPTH or self._n_values > _MAX_VALUES:
            raise ValueError("it is nested too deeply, or contains too many values")
        if marker in _READERS:
            return self._number()
        self._position += 1
        if marker == _STRING:
            return self._take(self._number()).decode()
        if marker == _ARRAY:
            return self._array(depth)
        if marker == _OBJECT:
            return self._object(depth)
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        raise ValueError(f"it contains an unknown UBJSON marker {marker}")

    def _object(self, depth: int) -> dict[str, Any]:
        members = {}
        while self._content[self._position] != _OBJECT_END:
            name = self._take(self._number()).decode()
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
        count = self._number()
        if element_type is not None:
            return _Packed(element_type, self._take(count * _READERS[element_type][1]))
        return [self.read(depth + 1) for _ in range(count)]  # stops at the end of the file at the latest

    def _number(self) -> Any:
        unpack, size = _READERS[self._content[self._position]]
        (number,) = unpack(self._content, self._position + 1)
        self._position += 1 + size
        return number

    def _take(self, count: int) -> bytes:
        start, end = self._position, self._position + count
        if not start <= end <= self._end:  # before anything of that size is made
            raise ValueError("it is truncated")
        self._position = end
        return self._content[start:end]
