"""The trained model: features -> verdict; its file.

A model file is a zip of ``card.json``, one ``<name>.ubj`` for each booster, XGBoost's own UBJSON, and
``net.onnx`` where the model has a net. Nothing in it is executed on loading.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import ModelFileError
from blurgate.files import atomic_file
from blurgate.judging.cards import FILE_FORMAT, Card, read_card
from blurgate.judging.inputs import Inputs, find_inputs
from blurgate.judging.nets import Net
from blurgate.judging.trees import Trees, read_trees
from blurgate.judging.verdicts import TOO_LITTLE_TEXTURE, TOO_SMALL, Evidence, Verdict, decide
from blurgate.measuring.features import extract_features
from blurgate.photos.images import MAX_MEGAPIXELS, MIN_SIDE, Gray, Photo, path_of, read_plane

_SHIPPED = Path(__file__).parent / "shipped"
SHIPPED = {name: _SHIPPED / f"{name}.blurgate" for name in ("trees", "net")}  # and "both" of them
_NET_FILE = "net.onnx"

BLURRED, KIND, STRENGTH, OWN = "blurred", "kind", "strength", "own"  # names of boosters
STRENGTH_OFFSET = 0.5  # pixels; the strength booster predicts log2(strength + offset)


Extract: TypeAlias = Callable[[Gray, str], Any]


@dataclass(frozen=True)
class Measurement:
    """A photo that has been read and measured.

    Parameters
    ----------
    evidence : Evidence
        What is known so far: path and size, and a reason or an error if the photo cannot be judged.
    features : ndarray of shape (n_features,), float32, or None
        What is measured; None if the photo cannot be judged.
    outputs : ndarray of shape (n_outputs,), float32
        Of the net, where the model has one.
    """

    evidence: Evidence
    features: NDArray[np.float32] | None = None
    outputs: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))


@dataclass(frozen=True)
class Predictions:
    """What a model says of many photos; every array has one entry for each."""

    probability: NDArray[np.float64]
    kind: NDArray[np.str_] | None = None
    strength_px: NDArray[np.float64] | None = None

    def take(self, rows: NDArray[np.intp]) -> Predictions:
        """Keep some rows, in the order given."""
        return Predictions(
            self.probability[rows],
            None if self.kind is None else self.kind[rows],
            None if self.strength_px is None else self.strength_px[rows],
        )


@dataclass(frozen=True)
class BlurModel:
    """Trees or a net or both, their calibration and threshold.

    Parameters
    ----------
    card : Card
    boosters : mapping of str to bytes
        XGBoost's UBJSON: ``blurred``, where the training photos told them ``kind`` and ``strength``, and ``own`` where
        `calibrate` has refitted it to a user's photos.
    net : Net, optional
    """

    card: Card
    boosters: Mapping[str, bytes] = field(repr=False)
    net: Net | None = None

    @property
    def inputs(self) -> Inputs:
        """What the model reads of a photo."""
        return find_inputs(self.card.feature_set)

    def predict(self, photo: Photo) -> Verdict:
        """Judge one photo.

        Parameters
        ----------
        photo : path, bytes, ndarray or PIL image
            See `blurgate.photos.images.read_gray`.

        Raises
        ------
        PhotoError
            If it cannot be read. A photo that is too small to judge gets a verdict, ``undecided``.
        """
        return decide(self.judge([self.measure(photo)])[0], self.card.threshold)

    def measure(
        self, photo: Photo, *, extract: Extract = extract_features, max_megapixels: float = MAX_MEGAPIXELS
    ) -> Measurement:
        """Read a photo and measure it: all that can be done for one photo at a time, on any thread.

        Parameters
        ----------
        photo : path, bytes, ndarray or PIL image
        extract : callable
            (gray, name of a feature set) -> features, or what an engine needs to finish them; see
            `blurgate.measuring.engines.Engine.begin`.
        max_megapixels : float
            See `blurgate.photos.images.read_gray`.

        Raises
        ------
        PhotoError
            If it cannot be read.
        """
        max_pixels = self.inputs.measured.max_pixels
        plane = read_plane(photo, min_side=1, max_pixels=max_pixels, max_megapixels=max_megapixels)
        evidence = Evidence(path_of(photo), width=plane.width, height=plane.height)
        if min(plane.width, plane.height) < MIN_SIDE:
            return Measurement(replace(evidence, reason=TOO_SMALL))
        measured = Measurement(evidence, extract(plane.gray, self.inputs.feature_set))
        return replace(measured, outputs=self.net.predict(plane.gray)) if self.net else measured

    def judge(self, photos: Sequence[Measurement]) -> list[Evidence]:
        """Judge photos that `measure` has measured, all at once; `decide` then decides on each.

        Parameters
        ----------
        photos : sequence of Measurement

        Returns
        -------
        list of Evidence
            In the order of `photos`.
        """
        known = [np.concatenate([photo.features, photo.outputs]) for photo in photos if photo.features is not None]
        if not known:
            return [photo.evidence for photo in photos]
        features = np.stack(known)
        predictions, judgeable = self.predict_features(features), self.inputs.has_texture(features)
        rows = iter(range(len(known)))
        return [
            photo.evidence if photo.features is None else _complete(photo.evidence, predictions, judgeable, next(rows))
            for photo in photos
        ]

    def predict_features(self, features: NDArray[np.float32]) -> Predictions:
        """Judge photos by their features.

        Parameters
        ----------
        features : ndarray of shape (n_photos, n_features), float32
            In the order of the card's columns.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        if features.ndim != 2 or features.shape[1] != len(self.card.columns):
            needed = f"(n_photos, {len(self.card.columns)})"
            raise ValueError(f"features must be of shape {needed}, got shape {features.shape}")
        kind = strength = None
        if KIND in self.boosters:
            kind = np.asarray(self.card.kinds)[self._predict(KIND, features).argmax(axis=1)]
        if STRENGTH in self.boosters:
            strength = to_strength(self._predict(STRENGTH, features)[:, 0])
        elif self.net:
            strength = to_strength(self.inputs.net_output(features, "strength"))
        return Predictions(to_probability(self.log_odds(features)), kind, strength)

    def log_odds(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Say the log-odds of blurred, of shape (n_photos,)."""
        odds = np.full(len(features), self.card.intercept)
        if BLURRED in self.boosters:
            odds += self.card.slope * self._predict(BLURRED, features)[:, 0]
        if self.net:
            odds += self.card.net_slope * self.inputs.net_output(features, "blurred")
        return odds + self._predict(OWN, features)[:, 0] if OWN in self.boosters else odds

    def with_threshold(self, threshold: float) -> BlurModel:
        """Decide at another threshold.

        Raises
        ------
        ValueError
            If it is no probability.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        return replace(self, card=replace(self.card, threshold=threshold))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file; the same model always gives the same bytes."""
        card = {"format": FILE_FORMAT, **asdict(self.card)}
        members = {"card.json": json.dumps(card, indent=1).encode()}
        members.update((f"{name}.ubj", content) for name, content in self.boosters.items())
        if self.net:
            members[_NET_FILE] = self.net.onnx
        with atomic_file(Path(path)) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)

    @cached_property
    def fingerprint(self) -> str:
        """What tells this model from others, whatever the threshold: two of the same say the same of every photo."""
        card = {name: value for name, value in asdict(self.card).items() if "threshold" not in name}
        digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
        for name, content in sorted(self.boosters.items()):
            digest.update(name.encode() + content)
        if self.net:
            digest.update(self.net.onnx)
        return digest.hexdigest()

    @cached_property
    def _trees(self) -> dict[str, Trees]:
        return {name: read_trees(content) for name, content in self.boosters.items()}

    def _predict(self, name: str, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Margins of a booster, of shape (n_photos, n_outputs)."""
        trees = self._trees[name]
        return trees.predict_margins(features[:, : trees.n_features]).astype(np.float64)


def load_model(path: str | os.PathLike[str] = "trees") -> BlurModel:
    """Read a model.

    Parameters
    ----------
    path : path or {'trees', 'net', 'both'}
        A file, or what ships: the trees, or, with the extra ``net``, a net, or both of them together. A file of such a
        name is given as ``./net``, or as a `Path`.

    Raises
    ------
    ModelFileError
        If the file is missing, is no model or is damaged, or needs other feature columns than this version makes.
    MissingExtraError
        If it has a net, and ONNX Runtime is not installed.
    """
    if path == "both":
        return _join_shipped(load_model("trees"), load_model("net"))
    path = SHIPPED[path] if isinstance(path, str) and path in SHIPPED else Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        card = json.loads(members.pop("card.json"))
    except FileNotFoundError:
        raise ModelFileError(
            f"a model file was needed, but {path} does not exist: check the path, or name trees, net or both"
        ) from None
    except IsADirectoryError:
        raise ModelFileError(
            f"a model file was needed, but {path} is a folder: name a .blurgate file, or trees, net or both"
        ) from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, NotImplementedError) as error:
        raise ModelFileError(
            f"a .blurgate model was needed, but {path} is none or is damaged ({error}): train or copy it anew"
        ) from error
    onnx = members.pop(_NET_FILE, None)
    boosters = {name.removesuffix(".ubj"): content for name, content in members.items()}
    model = BlurModel(read_card(card, path), boosters, None if onnx is None else Net(onnx))
    _check_net(model, path)
    _check_boosters(model, path)
    return model


def _join_shipped(trees: BlurModel, net: BlurModel) -> BlurModel:
    """Have the trees and the net that ship judge together, weighed as the net's card says."""
    changes = dict(net.card.with_trees)
    if changes.pop("trees", None) != trees.fingerprint:
        raise ModelFileError("the net that ships was weighed against other trees than these: install blurgate anew")
    assert net.net  # noqa: S101 by the check of the file
    inputs = Inputs(trees.card.feature_set, net.net.name)
    card = replace(trees.card, feature_set=str(inputs), columns=inputs.columns, **changes)
    return BlurModel(card, trees.boosters, net.net)


def _complete(evidence: Evidence, predictions: Predictions, judgeable: NDArray[np.bool_], row: int) -> Evidence:
    if not judgeable[row]:
        return replace(evidence, reason=TOO_LITTLE_TEXTURE)
    kind, strength = predictions.kind, predictions.strength_px
    return replace(
        evidence,
        probability=round(float(predictions.probability[row]), 6),
        kind="" if kind is None else str(kind[row]),
        strength_px=None if strength is None else round(float(strength[row]), 3),
    )


def to_probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn log-odds into probabilities, by the logistic function."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))


def to_strength(answer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the strength booster's answers into pixels."""
    return np.maximum(2.0**answer - STRENGTH_OFFSET, 0.0)


def _check_boosters(model: BlurModel, path: Path) -> None:
    inputs = model.inputs
    if BLURRED not in model.boosters and not (model.net and inputs.texture_only):
        raise ModelFileError(f"{path} has no booster named blurred in it: train or copy it anew")
    try:
        boosters = model._trees
    except ValueError as error:
        raise ModelFileError(f"{path} has a damaged booster in it ({error}): train or copy it anew") from error
    for name, trees in boosters.items():
        given = len(inputs.columns if name == OWN else inputs.measured.columns)
        if trees.n_features != given:
            raise ModelFileError(
                f"{path} has a booster named {name} for {trees.n_features} features, but {given} columns: "
                "train or copy it anew"
            )
        if len(trees.base) != (len(model.card.kinds) if name == KIND else 1):
            raise ModelFileError(f"{path} has a booster of other kinds than its card: train or copy it anew")


def _check_net(model: BlurModel, path: Path) -> None:
    named = model.inputs.net
    if named and not model.net:
        raise ModelFileError(f"{path} has no net in it, though its card names one: train or copy it anew")
    if model.net and named != model.net.name:
        raise ModelFileError(f"{path} has a net in it that its card does not name, or a damaged one: copy it anew")
    if model.net is None:
        return
    try:
        model.net.check()
    except ValueError as error:
        raise ModelFileError(f"{path} has a damaged net in it ({error}): train or copy it anew") from error
