"""The trained model, which turns photos into verdicts, and its file.

A model file is a zip of ``card.json``, one ``<name>.ubj`` per booster in XGBoost's own UBJSON, and ``net.onnx`` if the
model has a net. Loading executes nothing in it.
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
SHIPPED = {name: _SHIPPED / f"{name}.blurgate" for name in ("trees", "net")}  # "both" joins them
_NET_FILE = "net.onnx"

BLURRED, KIND, STRENGTH, OWN = "blurred", "kind", "strength", "own"  # names of boosters
STRENGTH_OFFSET = 0.5  # pixels; the booster ``strength`` and the net predict log2(strength + offset)

Extract: TypeAlias = Callable[[Gray, str], Any]


@dataclass(frozen=True)
class Measurement:
    """A photo that has been read and measured.

    Parameters
    ----------
    evidence : Evidence
        Path and size, and a reason or an error if the photo cannot be judged.
    features : ndarray of shape (n_features,), float32, or None
        None if the photo cannot be judged.
    outputs : ndarray of shape (n_outputs,), float32
        Outputs of the net; empty if the model has none.
    """

    evidence: Evidence
    features: NDArray[np.float32] | None = None
    outputs: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))


@dataclass(frozen=True)
class Predictions:
    """Predictions for many photos.

    Parameters
    ----------
    probability : ndarray of shape (n_photos,), float64
        Calibrated P(blurred), 0 to 1.
    kind : ndarray of shape (n_photos,), str, or None
        None if the model predicts no kinds.
    strength_px : ndarray of shape (n_photos,), float64, or None
        In pixels at the analysed size; None if the model predicts none.
    """

    probability: NDArray[np.float64]
    kind: NDArray[np.str_] | None = None
    strength_px: NDArray[np.float64] | None = None

    def take(self, rows: NDArray[np.intp]) -> Predictions:
        """Select rows, in the given order."""
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
        XGBoost's UBJSON by name: ``blurred``; ``kind`` and ``strength`` if the training data had them; ``own`` if
        `calibrate` fitted one to a user's photos.
    net : Net, optional
    """

    card: Card
    boosters: Mapping[str, bytes] = field(repr=False)
    net: Net | None = None

    @property
    def inputs(self) -> Inputs:
        """The row that the model reads of a photo."""
        return find_inputs(self.card.feature_set)

    def predict(self, photo: Photo) -> Verdict:
        """Judge one photo.

        Parameters
        ----------
        photo : path, bytes, ndarray or PIL image
            See `blurgate.photos.images.read_gray`.

        Returns
        -------
        Verdict
            Undecided, with its reason, if the photo is too small or has too little texture to judge.

        Raises
        ------
        PhotoError
            If the photo cannot be read.
        """
        return decide(self.judge([self.measure(photo)])[0], self.card.threshold)

    def measure(
        self, photo: Photo, *, extract: Extract = extract_features, max_megapixels: float = MAX_MEGAPIXELS
    ) -> Measurement:
        """Read and measure one photo: the part of the work that can run on several threads.

        Parameters
        ----------
        photo : path, bytes, ndarray or PIL image
        extract : callable
            (gray, name of a feature set) -> features, or an intermediate result that an engine finishes later; see
            `blurgate.measuring.engines.Engine.begin`.
        max_megapixels : float
            See `blurgate.photos.images.read_gray`.

        Returns
        -------
        Measurement
            Without features if the photo is too small to judge.

        Raises
        ------
        PhotoError
            If the photo cannot be read.
        """
        max_pixels = self.inputs.measured.max_pixels
        plane = read_plane(photo, min_side=1, max_pixels=max_pixels, max_megapixels=max_megapixels)
        evidence = Evidence(path_of(photo), width=plane.width, height=plane.height, part=plane.part)
        if min(plane.width, plane.height) < MIN_SIDE:
            return Measurement(replace(evidence, reason=TOO_SMALL))
        measured = Measurement(evidence, extract(plane.gray, self.inputs.feature_set))
        return replace(measured, outputs=self.net.predict(plane.gray)) if self.net else measured

    def judge(self, photos: Sequence[Measurement]) -> list[Evidence]:
        """Judge measured photos, all at once; `blurgate.judging.verdicts.decide` then decides on each.

        Parameters
        ----------
        photos : sequence of Measurement
            As `measure` returns them, with their features finished.

        Returns
        -------
        list of Evidence
            In the order of `photos`.
        """
        rows = [np.concatenate([photo.features, photo.outputs]) for photo in photos if photo.features is not None]
        if not rows:
            return [photo.evidence for photo in photos]
        features = np.stack(rows)
        predictions, judgeable = self.predict_features(features), self.inputs.has_texture(features)
        row_numbers = iter(range(len(rows)))
        return [
            photo.evidence
            if photo.features is None
            else _complete(photo.evidence, predictions, judgeable, next(row_numbers))
            for photo in photos
        ]

    def predict_features(self, features: NDArray[np.float32]) -> Predictions:
        """Predict probabilities, kinds and strengths from features.

        Parameters
        ----------
        features : ndarray of shape (n_photos, n_features), float32
            In the order of the card's columns.

        Returns
        -------
        Predictions

        Raises
        ------
        ValueError
            If the shape does not match the card.
        """
        if features.ndim != 2 or features.shape[1] != len(self.card.columns):
            needed = f"(n_photos, {len(self.card.columns)})"
            raise ValueError(f"features must be of shape {needed}, got shape {features.shape}")
        kind = strength = None
        if KIND in self.boosters:
            kind = np.asarray(self.card.kinds)[self._predict_margins(KIND, features).argmax(axis=1)]
        if STRENGTH in self.boosters:
            strength = to_strength(self._predict_margins(STRENGTH, features)[:, 0])
        elif self.net:
            strength = to_strength(self.inputs.net_output(features, "strength").astype(np.float64))
        return Predictions(to_probability(self.log_odds(features)), kind, strength)

    def log_odds(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict the calibrated log-odds of blurred, of shape (n_photos,)."""
        odds = np.full(len(features), self.card.intercept)
        if BLURRED in self.boosters:
            odds += self.card.slope * self._predict_margins(BLURRED, features)[:, 0]
        if self.net:
            odds += self.card.net_slope * self.inputs.net_output(features, "blurred")
        return odds + self._predict_margins(OWN, features)[:, 0] if OWN in self.boosters else odds

    def with_threshold(self, threshold: float) -> BlurModel:
        """Copy the model with another threshold, 0 to 1.

        Raises
        ------
        ValueError
            If the threshold is not between 0 and 1.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        return replace(self, card=replace(self.card, threshold=threshold))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file; the same model always gives the same bytes.

        Raises
        ------
        OSError
            If the file cannot be written; an older file there stays as it was.
        """
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
        """Hash of everything but the threshold: two models that share it predict the same for every photo."""
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

    def _predict_margins(self, name: str, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict the margins of a booster, of shape (n_photos, n_outputs)."""
        trees = self._trees[name]
        return trees.predict_margins(features[:, : trees.n_features]).astype(np.float64)


def load_model(path: str | os.PathLike[str] = "trees") -> BlurModel:
    """Read a model.

    Parameters
    ----------
    path : path or {'trees', 'net', 'both'}
        A model file, or the name of a shipped model: the trees, the net, or both of them together. A net needs the
        extra ``net``. A file with such a name is given as ``./net`` or as a `Path`.

    Returns
    -------
    BlurModel

    Raises
    ------
    ModelFileError
        If the file is missing, is not a model, is damaged, or needs feature columns that this version does not compute.
    MissingExtraError
        If the model has a net and ONNX Runtime is not installed.
    """
    if path == "both":
        return _join_shipped(load_model("trees"), load_model("net"))
    path = SHIPPED[path] if isinstance(path, str) and path in SHIPPED else Path(path)
    card, members = _read_file(path)
    onnx = members.pop(_NET_FILE, None)
    boosters = {name.removesuffix(".ubj"): content for name, content in members.items()}
    model = BlurModel(read_card(card, path), boosters, None if onnx is None else Net(onnx))
    _check_net(model, path)
    _check_boosters(model, path)
    return model


def _read_file(path: Path) -> tuple[Any, dict[str, bytes]]:
    """Unzip a model file: -> the JSON of its card, and its other members by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        return json.loads(members.pop("card.json")), members
    except FileNotFoundError:
        raise ModelFileError(
            f"expected a model file, but {path} does not exist: check the path, or name trees, net or both"
        ) from None
    except IsADirectoryError:
        raise ModelFileError(
            f"expected a model file, but {path} is a folder: name a .blurgate file, or trees, net or both"
        ) from None
    except PermissionError:
        raise ModelFileError(f"{path} cannot be opened: you have no permission to read it") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, NotImplementedError) as error:
        raise ModelFileError(
            f"expected a .blurgate model, but {path} is not one or is damaged ({error}): train it or copy it again"
        ) from error


def _join_shipped(trees: BlurModel, net: BlurModel) -> BlurModel:
    """Join the shipped trees and the shipped net, with the weights that the net's card gives."""
    changes = dict(net.card.with_trees)
    if changes.pop("trees", None) != trees.fingerprint:
        raise ModelFileError(
            "the shipped net was calibrated with other trees than the shipped ones: reinstall blurgate"
        )
    assert net.net  # noqa: S101 load_model has checked it
    inputs = Inputs(trees.card.feature_set, net.net.name)
    card = replace(trees.card, feature_set=str(inputs), columns=inputs.columns, **changes)
    return BlurModel(card, trees.boosters, net.net)


def _complete(evidence: Evidence, predictions: Predictions, judgeable: NDArray[np.bool_], row: int) -> Evidence:
    """Add the predictions of a row to a photo's evidence, or the reason why it cannot be judged."""
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
    """Turn log-odds into probabilities by the logistic function, in a form that does not overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))


def to_strength(answer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the outputs of the booster ``strength``, or of the net, into pixels."""
    return np.maximum(2.0**answer - STRENGTH_OFFSET, 0.0)


def _check_boosters(model: BlurModel, path: Path) -> None:
    inputs = model.inputs
    if BLURRED not in model.boosters and not (model.net and inputs.texture_only):
        raise ModelFileError(f"{path} contains no booster named blurred: train it or copy it again")
    try:
        boosters = model._trees
    except ValueError as error:
        raise ModelFileError(f"{path} contains a damaged booster ({error}): train it or copy it again") from error
    for name, trees in boosters.items():
        n_columns = len(inputs.columns if name == OWN else inputs.measured.columns)
        if trees.n_features != n_columns:
            raise ModelFileError(
                f"{path} contains a booster named {name} for {trees.n_features} features, but its card lists "
                f"{n_columns} columns: train it or copy it again"
            )
        if len(trees.base_margin) != (len(model.card.kinds) if name == KIND else 1):
            raise ModelFileError(
                f"{path} contains a booster named {name} whose outputs do not match its card: train it or copy it again"
            )


def _check_net(model: BlurModel, path: Path) -> None:
    net_name = model.inputs.net
    if net_name and not model.net:
        raise ModelFileError(f"{path} contains no net, but its card names one: train it or copy it again")
    if model.net and net_name != model.net.name:
        raise ModelFileError(f"{path} contains a net that its card does not name, or a damaged one: copy it again")
    if model.net is None:
        return
    try:
        model.net.check()
    except ValueError as error:
        raise ModelFileError(f"{path} contains a damaged net ({error}): train it or copy it again") from error
