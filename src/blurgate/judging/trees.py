"""Gradient-boosted trees as XGBoost saves them -> their answers.

Training needs XGBoost; asking does not. Loading that library takes as long as judging dozens of photos, so a model that
judges reads the file itself and walks all trees side by side. The answers are XGBoost's own.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ROWS = 64  # at a time: their places in all trees stay in the cache
_DEEPEST = 16  # objects in objects; XGBoost nests six

# marks of UBJSON; its numbers are big-endian
_NUMBERS = {ord(kind): struct.Struct(f">{code}") for kind, code in zip("iUIlLdD", "bBhiqfd", strict=True)}
_CONSTANTS = {ord("T"): True, ord("F"): False, ord("Z"): None}
_TEXT, _ARRAY, _OF_KIND, _OF_LENGTH, _OBJECT, _OBJECT_END = b"S[$#{}"


@dataclass(frozen=True)
class Trees:
    """Trees, one after the other in arrays with an entry for each node; a leaf's children are itself.

    Parameters
    ----------
    n_features : int
        That a row needs.
    roots : ndarray of shape (n_trees,)
        Their first nodes.
    feature : ndarray of shape (n_nodes,), int32
        That the node asks for.
    bound : ndarray of shape (n_nodes,), float32
        A row goes left if its feature is below it; at a leaf, its answer.
    children : ndarray of shape (n_nodes, 2), int32
        Left, right.
    missing : ndarray of shape (n_nodes,), int8
        Which child a row goes to that lacks the feature.
    output : ndarray of shape (n_trees,)
        Which answer the tree adds to.
    base : ndarray of shape (n_outputs,), float32
        What the answers begin with.
    """

    n_features: int
    roots: NDArray[np.intp]
    feature: NDArray[np.int32]
    bound: NDArray[np.float32]
    children: NDArray[np.int32]
    missing: NDArray[np.int8]
    output: NDArray[np.intp]
    base: NDArray[np.float32]

    def predict_margins(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Say the margin of each output.

        Parameters
        ----------
        features : ndarray of shape (n_rows, n_features), float32
            NaN where a feature is missing.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs), float32
            Summed in the order of the trees, as XGBoost does.
        """
        answers = np.empty((len(features), len(self.base)), np.float32)
        for start in range(0, len(features), _ROWS):
            leaves = self.bound[self._find_leaves(features[start : start + _ROWS])]
            for output, base in enumerate(self.base):
                own = leaves[:, self.output == output]
                summed = np.concatenate([np.full((len(own), 1), base), own], axis=1).cumsum(axis=1, dtype=np.float32)
                answers[start : start + _ROWS, output] = summed[:, -1]
        return answers

    def _find_leaves(self, rows: NDArray[np.float32]) -> NDArray[np.intp]:
        children = self.children.reshape(-1)
        first = np.arange(len(rows))[:, np.newaxis] * self.n_features
        flat = np.ascontiguousarray(rows).reshape(-1)
        node = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        any_missing = bool(np.isnan(flat).any())
        while True:
            values = flat[first + self.feature[node]]
            side = (values >= self.bound[node]).astype(np.intp)
            if any_missing:
                side = np.where(np.isnan(values), self.missing[node], side)
            below = children[2 * node + side]
            if np.array_equal(below, node):
                return node
            node = below


def read_trees(content: bytes) -> Trees:
    """Read a booster that XGBoost saved as UBJSON.

    Parameters
    ----------
    content : bytes
        What ``Booster.save_raw("ubj")`` gives, of the booster ``gbtree`` with splits by number.

    Raises
    ------
    ValueError
        If it is damaged, or of another kind.

    References
    ----------
    .. [1] Universal Binary JSON, draft 12, https://ubjson.org
    """
    try:
        return _join(_Reader(content).read())
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, struct.error) as error:
        raise ValueError(f"it holds no trees of XGBoost's ({type(error).__name__}: {error})") from error


def _join(content: Any) -> Trees:
    learner = content["learner"]
    shape, objective = learner["learner_model_param"], learner["objective"]["name"]
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise ValueError(f"trees of the kind gbtree are needed, got {booster['name']}")
    trees = booster["model"]["trees"]
    if not trees:
        raise ValueError("it has no tree in it")
    n_features, n_outputs = int(shape["num_feature"]), max(1, int(shape["num_class"]))
    sizes = np.asarray([int(tree["tree_param"]["num_nodes"]) for tree in trees], np.intp)
    roots = np.cumsum(sizes) - sizes

    def join(name: str) -> NDArray[Any]:
        return _unpack([tree[name] for tree in trees], sizes)

    if join("split_type").any():
        raise ValueError("splits by number are needed, got splits by category")
    itself, start = np.arange(sizes.sum()), np.repeat(roots, sizes)
    left, right = join("left_children"), join("right_children")
    leaf = left == -1
    children = np.stack([np.where(leaf, itself, start + left), np.where(leaf, itself, start + right)], axis=1)
    inner = children[~leaf]
    parents = np.bincount(inner.reshape(-1), minlength=len(itself))
    if len(parents) != len(itself) or parents.max(initial=0) > 1 or parents[roots].any():
        raise ValueError("its nodes are no trees")  # somewhere a walk would end nowhere, or never
    feature = join("split_indices")
    if feature.size and not 0 <= feature.min() <= feature.max() < n_features:
        raise ValueError(f"its splits ask for other than its {n_features} features")
    output = np.asarray(booster["model"]["tree_info"], np.intp)
    if output.shape != (len(trees),):
        raise ValueError("it does not say of each tree what it adds to")
    if output.size and not 0 <= output.min() <= output.max() < n_outputs:
        raise ValueError("its trees have other outputs than it has")
    base = np.broadcast_to(np.asarray(json.loads(shape["base_score"]), np.float32), (n_outputs,))
    return Trees(
        n_features=n_features,
        roots=roots,
        feature=feature.astype(np.int32),
        bound=join("split_conditions").astype(np.float32),
        children=children.astype(np.int32),
        missing=1 - join("default_left").astype(np.int8),
        output=output,
        base=_to_margin(base) if objective == "binary:logistic" else base,
    )


def _to_margin(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    odds = np.float32(1) / probability - np.float32(1)
    return np.asarray(-np.log(odds, dtype=np.float64), np.float32)


class _Packed(NamedTuple):
    """Numbers as they lie in the file: thousands of short arrays are unpacked sooner all at once than one by one."""

    kind: int
    content: bytes


def _unpack(arrays: Sequence[_Packed], lengths: Sequence[int] | NDArray[np.intp]) -> NDArray[Any]:
    stored = np.dtype(_NUMBERS[arrays[0].kind].format)
    if any(
        array.kind != arrays[0].kind or len(array.content) != length * stored.itemsize
        for array, length in zip(arrays, lengths, strict=True)
    ):
        raise ValueError("it has arrays in it that do not fit to each other")
    return np.frombuffer(b"".join(array.content for array in arrays), stored)


class _Reader:
    """Reads UBJSON, from the first byte on."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def read(self, depth: int = 0) -> Any:
        kind = self._content[self._place]
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if kind in _NUMBERS:
            return self._number()
        self._place += 1
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == _TEXT:
            return self._text()
        if kind == _OBJECT:
            return self._object(depth)
        if kind == _ARRAY:
            return self._array(depth)
        raise ValueError(f"it has an unknown mark {kind} in it")

    def _object(self, depth: int) -> dict[str, Any]:
        found = {}
        while self._content[self._place] != _OBJECT_END:
            name = self._text()
            found[name] = self.read(depth + 1)
        self._place += 1
        return found

    def _array(self, depth: int) -> Any:
        kind = None
        if self._content[self._place] == _OF_KIND:
            kind = self._content[self._place + 1]
            self._place += 2
        if self._content[self._place] != _OF_LENGTH:
            raise ValueError("it has an array without its length in it")
        self._place += 1
        count = int(self._number())
        if kind is not None:
            return _Packed(kind, self._take(count * _NUMBERS[kind].size))
        return [self.read(depth + 1) for _ in range(count)]

    def _text(self) -> str:
        return self._take(int(self._number())).decode()

    def _number(self) -> float:
        kind = _NUMBERS[self._content[self._place]]
        number: float = kind.unpack_from(self._content, self._place + 1)[0]
        self._place += 1 + kind.size
        return number

    def _take(self, count: int) -> bytes:
        start, self._place = self._place, self._place + count
        if not start <= self._place <= len(self._content):
            raise ValueError("it is cut short")
        return self._content[start : self._place]
