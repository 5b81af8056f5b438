"""The trained model, which turns photos into verdicts, and its file.

A model of trees and a net can be a cascade: the trees judge every photo, and the net is asked where they are in doubt.

A model file is a zip of ``card.json``, one ``<name>.ubj`` per booster in XGBoost's own UBJSON, and ``net.onnx`` if the
model has a net. Loading executes nothing in it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import ModelFileError
from blurgate.judging.cards import FILE_FORMAT, NET, TREES, Card, read_card
from blurgate.judging.doubts import find_doubts
from blurgate.judging.explainers import EXPLAINER_ENDS, Explainer, cut_window, to_estimate
from blurgate.judging.inputs import NET_FEATURE_SET, NET_OUTPUTS, STRENGTH_OFFSET, Inputs, find_inputs
from blurgate.judging.members import read_members, write_members
from blurgate.judging.nets import Net, require_runtime
from blurgate.judging.onnx_graphs import check_graph
from blurgate.judging.sizes import find_sharp_side
from blurgate.judging.tiles import join_sharpest
from blurgate.judging.trees import Trees, read_trees
from blurgate.judging.verdicts import KINDS, TOO_LITTLE_TEXTURE, TOO_SMALL, Evidence, Verdict, amend, decide
from blurgate.measuring.features import extract_features
from blurgate.photos.images import Gray, Photo, Plane, path_of, read_plane
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import MIN_SIDE, At, find_least_side, shrink

SHIPPED = Path(__file__).parent / "shipped"

BLURRED, KIND, STRENGTH, OWN = BOOSTERS = "blurred", "kind", "strength", "own"
_CARD_FILE, _NET_FILE, _EXPLAINER_FILE = "card.json", "net.onnx", "explainer.onnx"
_LIMITS = {  # member of a model file -> its largest size in bytes, several times what training makes
    _CARD_FILE: 2**20,
    _NET_FILE: 2**24,
    _EXPLAINER_FILE: 2**24,
    **{f"{name}.ubj": 2**26 for name in BOOSTERS},
}
_MOST_STRENGTH = 64  # log2 of pixels: a damaged model may predict more than a number can hold
_SEARCHED, _LEAST_SEARCHED = 512, 128  # pixels of a side that is judged at smaller sizes: before and after shrinking
_DIGITS = 6  # of a probability in evidence
EVEN = 0.5  # probability from which on a photo does not look sharp, whatever the threshold

_read_trees = lru_cache(maxsize=8)(read_trees)  # copies of a model, as for another threshold, share its trees

Extract: TypeAlias = Callable[[Gray, str], Any]
Review: TypeAlias = tuple[float, float] | Literal["auto"]
_Margins: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]  # of the boosters blurred and own, by photo

_UNASKED, _NO_OUTPUTS = np.full(len(NET_OUTPUTS), np.nan, np.float32), np.empty(0, np.float32)
_UNASKED.flags.writeable = False  # many photos share it


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
        Outputs of the net, NaN if it was not asked; empty if the model has none.
    gray : ndarray of shape (height, width), uint8, or None
        The analysed plane, until `BlurModel.ask` has seen it.
    tiles : ndarray of shape (height, width), uint8, or None
        What was measured in place of a plane that is too large for that; see `blurgate.judging.tiles`.
    margins : (float, float) or None
        Of a cascade, the margins of the boosters ``blurred`` and ``own``, once `BlurModel.ask` has needed them.
    """

    evidence: Evidence
    features: NDArray[np.float32] | None = None
    outputs: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    gray: Gray | None = None
    tiles: Gray | None = None
    margins: tuple[float, float] | None = None


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
        In pixels at the analysed size; NaN where it cannot be told, None if the model predicts none.
    interval_px : ndarray of shape (n_photos, 2), float64, or None
        Bounds of the strength, NaN where it cannot be told; None if no explainer predicts them.
    """

    probability: NDArray[np.float64]
    kind: NDArray[np.str_] | None = None
    strength_px: NDArray[np.float64] | None = None
    interval_px: NDArray[np.float64] | None = None

    def take(self, rows: NDArray[np.intp]) -> Predictions:
        """Select rows, in the given order."""
        return Predictions(
            self.probability[rows],
            None if self.kind is None else self.kind[rows],
            None if self.strength_px is None else self.strength_px[rows],
            None if self.interval_px is None else self.interval_px[rows],
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
    explainer : Explainer, optional
        Says of what kind, how strong and where the blur of a photo is that the net has been asked about.
    """

    card: Card
    boosters: Mapping[str, bytes] = field(repr=False)
    net: Net | None = None
    explainer: Explainer | None = None

    @property
    def inputs(self) -> Inputs:
        """The row that the model reads of a photo."""
        return find_inputs(self.card.feature_set)

    @property
    def is_cascade(self) -> bool:
        """True if the trees judge every photo, and the net is asked about some."""
        return self.net is not None and self.card.ask_from is not None

    @property
    def own_columns(self) -> int:
        """Number of columns that a booster ``own`` reads: the measured ones in a cascade, else all."""
        return len(self.inputs.measured.columns if self.is_cascade else self.inputs.columns)

    def predict(
        self, photo: Photo, *, threshold: float | None = None, review: Review | None = None, at: At = None
    ) -> Verdict:
        """Judge one photo.

        Parameters
        ----------
        photo : path, bytes, ndarray or PIL image
            See `blurgate.photos.images.read_gray`.
        threshold : float, optional
            Blurred from this probability on, 0 to 1; by default the model's.
        review : (float, float) or 'auto', optional
            Two probabilities, 0 to 1, in place of a threshold: sharp below the first, blurred from the second on,
            undecided between them. ``auto``: those of the model.
        at : int or 'full', optional
            The size at which to judge: the longer side in pixels, at least 64, to which a larger photo is shrunk, or
            the photo's own size; by default halved to at most 1,048,576 pixels. Of a photo that has more at the size
            chosen, the sharpest tiles are judged, see `blurgate.judging.tiles`.

        Returns
        -------
        Verdict
            Undecided, with its reason, if the photo is too small or has too little texture to judge.

        Raises
        ------
        PhotoError
            If the photo cannot be read.
        NetError
            If the net is asked and cannot answer.
        ValueError
            If `threshold` or `review` is not within 0 to 1, both are given, the model has no bounds for ``auto``, or
            `at` is no size.
        """
        low, high = find_bounds(self, threshold, review)
        model = self.with_threshold(low)
        return decide(model.judge([model.measure(photo, at=at)])[0], high, (low, high))

    def measure(
        self,
        photo: Photo,
        *,
        extract: Extract = extract_features,
        max_megapixels: float = MAX_MEGAPIXELS,
        at: At = None,
    ) -> Measurement:
        """Read and measure one photo, and ask the net: the part of the work that can run on several threads.

        Parameters
        ----------
        photo : path, bytes, ndarray or PIL image
        extract : callable
            (gray, name of a feature set) -> features, or an intermediate result that an engine finishes later; see
            `blurgate.measuring.engines.Engine.begin`. In the latter case `ask` has to follow.
        max_megapixels : float
            See `blurgate.photos.images.read_gray`.
        at : int or 'full', optional
            See `predict`.

        Returns
        -------
        Measurement
            Without features if the photo is too small to judge.

        Raises
        ------
        PhotoError
            If the photo cannot be read.
        NetError
            If the net is asked and cannot answer.
        ValueError
            If `at` is no size.
        """
        max_pixels = self.inputs.measured.max_pixels
        plane = read_plane(photo, min_side=1, max_pixels=max_pixels, max_megapixels=max_megapixels, at=at)
        return self.measure_plane(plane, path_of(photo), extract=extract, at=at)

    def measure_plane(
        self, plane: Plane, path: str = "", *, extract: Extract = extract_features, at: At = None
    ) -> Measurement:
        """Measure a photo that has been read for this model, and ask the net.

        Parameters
        ----------
        plane : Plane
            At its analysed size.
        path : str
            Of the photo; empty for one in memory.
        extract : callable
            As in `measure`.
        at : int or 'full', optional
            The size at which it was read; see `predict`.

        Returns
        -------
        Measurement
            Without features if the photo is too small to judge.

        Raises
        ------
        NetError
            If the net is asked and cannot answer.
        """
        evidence = Evidence(
            path,
            width=plane.width,
            height=plane.height,
            part=plane.part,
            judged_at_px=max(plane.gray.shape),
        )
        if min(plane.width, plane.height) < MIN_SIDE:
            return Measurement(amend(evidence, reason=TOO_SMALL))
        seen = plane.gray if at is None else self._fit_measuring(plane.gray)
        features = extract(seen, self.inputs.feature_set)
        tiles = None if seen is plane.gray else seen
        if isinstance(features, np.ndarray):
            return self._ask(evidence, features, plane.gray, tiles, extract)
        return Measurement(evidence, features, gray=plane.gray, tiles=tiles)

    def ask(self, photo: Measurement, *, extract: Extract = extract_features) -> Measurement:
        """Ask the net about a measured photo if `asks` says so, and note what makes the photo doubtful.

        Parameters
        ----------
        photo : Measurement
            With its features finished.
        extract : callable
            (gray, name of a feature set) -> features, of the photo at smaller sizes.

        Returns
        -------
        Measurement
            Without its gray: what needs that is done.

        Raises
        ------
        NetError
            If the net is asked and cannot answer.
        """
        if photo.gray is None or photo.features is None:
            return photo
        return self._ask(photo.evidence, photo.features, photo.gray, photo.tiles, extract)

    def _ask(
        self, evidence: Evidence, features: NDArray[np.float32], gray: Gray, tiles: Gray | None, extract: Extract
    ) -> Measurement:
        outputs, margins = _UNASKED if self.net else _NO_OUTPUTS, None
        textured = self.inputs.shows_texture(features)
        asked = textured and self.net is not None
        if textured and self.is_cascade:
            margins = self._predict_alone(features[np.newaxis])
            asked = self._asks_one(float(margins[0][0]), float(margins[1][0]))
        if self.net and asked:
            outputs = self.net.predict(gray if tiles is None else tiles)
        row = features[np.newaxis]
        if self.explainer and asked:
            evidence = self.explain_blur(evidence, gray)
            odds = self._find_log_odds(np.concatenate([row, outputs[np.newaxis]], axis=1), margins)
            if round(float(to_probability(odds)[0]), _DIGITS) >= EVEN and evidence.strength_px is not None:
                evidence = amend(evidence, sharp_to_px=self._find_sharp_side(gray, evidence.strength_px, extract))
        if textured and (asked or not self.net):  # the trees of a cascade alone leave no photo to be looked at
            evidence = amend(evidence, doubts=self._find_doubts(gray, row, outputs, margins))
        kept = (float(margins[0][0]), float(margins[1][0])) if margins else None
        return Measurement(evidence, features, outputs, margins=kept)

    def explain_blur(self, evidence: Evidence, gray: Gray) -> Evidence:
        """Add kind, strength and direction of the blur to evidence; nothing without an explainer.

        Parameters
        ----------
        evidence : Evidence
            With the size of the photo.
        gray : ndarray of shape (height, width), uint8
            The analysed plane.

        Returns
        -------
        Evidence

        Raises
        ------
        NetError
            If the explainer cannot answer.
        """
        if not self.explainer:
            return evidence
        found = self.explainer.estimate(gray, spread=float(self.card.explainer["spread"]))
        moving, strength = found.kind == "motion", found.strength_px
        scale = _own_side(evidence) / (evidence.judged_at_px or 1)
        low, high = found.interval_px or (None, None)
        chances = dict(zip(KINDS, found.kinds, strict=True))
        return amend(
            evidence,
            kind=found.kind,
            p_defocus=chances["defocus"],
            p_motion=chances["motion"],
            p_gaussian=chances["gaussian"],
            strength_px=strength,
            strength_low_px=low,
            strength_high_px=high,
            own_strength_px=None if strength is None else round(strength * scale, 3),
            length_px=None if strength is None or not moving else round(found.length_px or 0.0, 2),
            angle_deg=found.angle_deg if moving else None,
        )

    def asks(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Check for which photos the net is asked.

        A net is always asked, but that of a cascade only where the trees are in doubt, or would call the photo blurred.

        Parameters
        ----------
        features : ndarray of shape (n_photos, n_columns), float32
            The measured columns; others may follow.

        Returns
        -------
        ndarray of shape (n_photos,), bool
        """
        if not self.is_cascade:
            return np.full(len(features), self.net is not None)
        return self._find_asked(*self._predict_alone(features))

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
        photos = [self.ask(photo) for photo in photos]
        measured = [photo for photo in photos if photo.features is not None]
        if not measured:
            return [photo.evidence for photo in photos]
        rows = np.stack([np.concatenate([photo.features, photo.outputs]) for photo in measured])
        textured = self.inputs.has_texture(rows)
        judgeable = [photo for photo, applies in zip(measured, textured, strict=True) if applies]
        predictions = self._predict(rows[textured], _join_margins([photo.margins for photo in judgeable]))
        row_of = np.cumsum(textured) - 1
        judged = (
            _complete(photo.evidence, predictions, row) if applies else _leave_out(photo.evidence)
            for photo, applies, row in zip(measured, textured, row_of, strict=True)
        )
        return [photo.evidence if photo.features is None else next(judged) for photo in photos]

    def predict_features(
        self, features: NDArray[np.float32], readings: NDArray[np.float32] | None = None
    ) -> Predictions:
        """Predict probabilities, kinds and strengths from features, or the latter two from what an explainer read.

        Parameters
        ----------
        features : ndarray of shape (n_photos, n_features), float32
            In the order of the card's columns; the outputs of a net may be NaN where it is not asked.
        readings : ndarray of shape (n_photos, 7), float32, optional
            What the explainer of the model read of each photo; NaN where it read nothing, so that there is no kind and
            no strength.

        Returns
        -------
        Predictions

        Raises
        ------
        ValueError
            If the shape does not match the card, or a photo lacks the outputs of a net that is asked about it.
        """
        if features.ndim != 2 or features.shape[1] != len(self.card.columns):
            needed = f"(n_photos, {len(self.card.columns)})"
            raise ValueError(f"features must be of shape {needed}, got shape {features.shape}")
        predictions = self._predict(features)
        return self._explain(predictions, readings) if self.explainer and readings is not None else predictions

    def _predict(self, features: NDArray[np.float32], margins: _Margins | None = None) -> Predictions:
        """Do as `predict_features` does, with the margins of `_predict_alone` if they are known."""
        kind = strength = None
        if KIND in self.boosters:
            kind = np.asarray(self.card.kinds)[self._predict_margins(KIND, features).argmax(axis=1)]
        if STRENGTH in self.boosters:
            strength = to_strength(self._predict_one(STRENGTH, features))
        elif self.net and not self.is_cascade:
            strength = to_strength(self.inputs.net_output(features, "strength").astype(np.float64))
        return Predictions(to_probability(self._find_log_odds(features, margins)), kind, strength)

    def log_odds(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict the calibrated log-odds of blurred.

        Parameters
        ----------
        features : ndarray of shape (n_photos, n_features), float32
            See `predict_features`.

        Returns
        -------
        ndarray of shape (n_photos,), float64

        Raises
        ------
        ValueError
            If a photo lacks the outputs of a net that is asked about it.
        """
        return self._find_log_odds(features, None)

    def _find_log_odds(self, features: NDArray[np.float32], known: _Margins | None) -> NDArray[np.float64]:
        """Do as `log_odds` does, with the margins of `_predict_alone` if they are known."""
        margins, own = known or self._predict_alone(features)
        odds = np.full(len(features), float(self.card.intercept))
        odds += self.card.slope * margins
        if not self.net:
            return odds + own
        outputs, asked = self.inputs.net_output(features, "blurred"), self._find_asked(margins, own)
        if np.isnan(outputs[asked]).any():
            raise ValueError("features must hold the outputs of the net for each photo that it is asked about, got NaN")
        odds += self.card.net_slope * outputs
        return np.where(asked, odds, self._judge_alone(margins) if self.is_cascade else odds) + own

    def with_threshold(self, threshold: float) -> BlurModel:
        """Copy the model with another threshold, 0 to 1; a cascade asks its net about photos that might reach it.

        Raises
        ------
        ValueError
            If the threshold is not between 0 and 1.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        if threshold == self.card.threshold:
            return self
        return replace(self, card=replace(self.card, threshold=threshold))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model file; the same model always gives the same bytes.

        Raises
        ------
        OSError
            If the file cannot be written; an older file there stays as it was.
        OutputError
            If the model is too large to be read again.
        """
        card = {"format": FILE_FORMAT, "boosters": sorted(self.boosters), **asdict(self.card)}
        members = {_CARD_FILE: json.dumps(card, indent=1).encode()}
        members.update((f"{name}.ubj", content) for name, content in self.boosters.items())
        if self.net:
            members[_NET_FILE] = self.net.onnx
        if self.explainer:
            members[_EXPLAINER_FILE] = self.explainer.onnx
        write_members(Path(path), members, _LIMITS)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that predictions depend on: two models that share it predict the same for every photo.

        A threshold or a review only decides. But if the threshold of a cascade is so low that its net is asked more
        often, it is part of the hash.
        """
        card = {
            name: value for name, value in asdict(self.card).items() if "threshold" not in name and name != "review"
        }
        if self._asks_by_threshold:
            card["asks_by_threshold"] = float(self.card.threshold)
        digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
        for name, content in sorted(self.boosters.items()):
            digest.update(name.encode() + content)
        for each in filter(None, (self.net, self.explainer)):
            digest.update(each.onnx)
        return digest.hexdigest()

    def _explain(self, predictions: Predictions, readings: NDArray[np.float32]) -> Predictions:
        """Replace predicted kinds and strengths by those that the explainer read."""
        spread = float(self.card.explainer["spread"])
        estimates = [
            None if np.isnan(reading).any() else to_estimate(reading, spread)
            for reading in np.asarray(readings, dtype=np.float64)
        ]
        unknown = (math.nan, math.nan)
        bounds = [unknown if each is None or each.interval_px is None else each.interval_px for each in estimates]
        strengths = [None if each is None else each.strength_px for each in estimates]
        return replace(
            predictions,
            kind=np.asarray(["" if each is None else each.kind for each in estimates], dtype=np.str_),
            strength_px=np.asarray([math.nan if each is None else each for each in strengths], dtype=np.float64),
            interval_px=np.asarray(bounds, dtype=np.float64).reshape(-1, 2),
        )

    @cached_property
    def _trees(self) -> dict[str, Trees]:
        return {name: _read_trees(content) for name, content in self.boosters.items()}

    @property
    def _asks_by_threshold(self) -> bool:
        """True if the threshold of a cascade can make it ask about a photo below ``ask_from``."""
        if not self.is_cascade:
            return False
        at_bound = self._judge_alone(np.asarray([self.card.ask_from]))
        return OWN in self.boosters or self._least_reached <= to_probability(at_bound)[0]

    def _find_asked(self, margins: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Check about which photos the net is asked; see `asks`."""
        if self.card.ask_from is None:
            return np.ones(len(margins), bool)
        reached = to_probability(self._judge_alone(margins) + own) >= self._least_reached
        return reached | (margins >= self.card.ask_from)

    def _asks_one(self, margin: float, own: float) -> bool:
        """Check it for one photo of a cascade, in numbers in place of arrays."""
        alone, ask_from = self.card.alone[TREES], self.card.ask_from
        odds = alone["slope"] * margin + alone["intercept"] + own
        reached = to_probability(np.asarray(odds)) >= self._least_reached
        return bool(reached) or margin >= float(ask_from or 0.0)

    @property
    def _least_reached(self) -> float:
        """The least probability that can reach the threshold of a cascade once it is rounded."""
        return float(self.card.threshold) - 10.0**-_DIGITS

    def _judge_alone(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn margins of a cascade's trees into log-odds where the net is not asked."""
        alone = self.card.alone[TREES]
        return np.asarray(alone["slope"] * margins + alone["intercept"])

    def _fit_measuring(self, gray: Gray) -> Gray:
        """Take the sharpest tiles of a plane that has more pixels than are measured of one."""
        max_pixels = self.inputs.measured.max_pixels
        return gray if max_pixels is None else join_sharpest(gray, max_pixels)

    def _find_sharp_side(self, gray: Gray, strength_px: float, extract: Extract) -> int | None:
        """Search for the longer side up to which a blurred photo looks sharp.

        Each size is judged by the window that shows most detail: the whole photo would take several times as long.
        """
        height, width = gray.shape

        def judge(side: int) -> float | None:
            share = side / max(gray.shape)
            window = cut_window(gray, max(_SEARCHED, math.ceil(_LEAST_SEARCHED / share)))
            sides = (max(MIN_SIDE, round(length * share)) for length in window.shape[::-1])
            across, down = (min(wanted, length) for wanted, length in zip(sides, window.shape[::-1], strict=True))
            seen = shrink(window, (across, down))
            row = extract(seen, self.inputs.feature_set)[np.newaxis]
            if not self.inputs.has_texture(row)[0]:
                return None
            outputs = np.full((1, len(NET_OUTPUTS) if self.net else 0), np.nan, np.float32)
            if self.net and self.asks(row)[0]:
                outputs = self.net.predict(seen)[np.newaxis]
            return float(self.log_odds(np.concatenate([row, outputs], axis=1))[0])

        return find_sharp_side(max(gray.shape), find_least_side(width, height), strength_px, judge)

    def _find_doubts(
        self, gray: Gray, row: NDArray[np.float32], outputs: NDArray[np.float32], margins: _Margins | None
    ) -> tuple[str, ...]:
        """Find what makes one photo doubtful, from its row of features and the outputs of the net."""
        trees, net = self.card.line_of_one(TREES), self.card.line_of_one(NET)
        opinions = None
        if trees and net and self.net and BLURRED in self.boosters:
            margin = (self._predict_one(BLURRED, row) if margins is None else margins[0])[0]
            opinions = (trees[0] * margin + trees[1], net[0] * outputs[0] + net[1])
        texture = float(self.inputs.texture_to_spare(row)[0])
        return find_doubts(gray, texture_to_spare=texture, grain=self.net is not None, opinions=opinions)

    def _predict_alone(self, features: NDArray[np.float32]) -> _Margins:
        """Predict the margins of the boosters ``blurred`` and ``own``."""
        return self._predict_one(BLURRED, features), self._predict_one(OWN, features)

    def _predict_one(self, name: str, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict the margins of a booster with one output, of shape (n_photos,); zeros if there is no such booster."""
        return self._predict_margins(name, features)[:, 0] if name in self.boosters else np.zeros(len(features))

    def _predict_margins(self, name: str, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predict the margins of a booster, of shape (n_photos, n_outputs)."""
        trees = self._trees[name]
        return trees.predict_margins(features[:, : trees.n_features]).astype(np.float64)


def find_bounds(model: BlurModel, threshold: float | None, review: Review | None) -> tuple[float, float]:
    """Find the probabilities that decide: sharp below the first, blurred from the second on.

    Parameters
    ----------
    model : BlurModel
    threshold : float, optional
        0 to 1; by default the model's.
    review : (float, float) or 'auto', optional
        0 to 1, in place of the threshold; ``auto``: the bounds of the model.

    Returns
    -------
    low, high : float
        Equal without a review.

    Raises
    ------
    ValueError
        If they are not within 0 to 1 and in order, both are given, or the review is ``auto`` and the model has none.
    """
    if threshold is not None and review is not None:
        raise ValueError("use threshold or review, not both")
    if review is None:
        threshold = model.card.threshold if threshold is None else threshold
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        return threshold, threshold
    bounds = _find_review(model, review) if isinstance(review, str) else review
    if not (isinstance(bounds, Sequence) and len(bounds) == 2 and 0 <= bounds[0] <= bounds[1] <= 1):
        raise ValueError(f"review must be two probabilities, the lower one first, got {bounds}")
    return bounds[0], bounds[1]


def _find_review(model: BlurModel, review: str) -> tuple[float, float]:
    """Look up the bounds of the model."""
    if review != "auto":
        raise ValueError(f"review must be two probabilities, the lower one first, or auto, got {review!r}")
    if model.card.review is None:
        raise ValueError(
            "review auto needs a model that has bounds of its own, but this one has none: give two probabilities"
        )
    return model.card.review


def load_model(path: str | os.PathLike[str] = "default") -> BlurModel:
    """Read a model.

    Parameters
    ----------
    path : path or {'default', 'trees', 'net', 'both', 'open'}
        A model file, or the name of a shipped model or of a variant of it, see `VARIANTS`. A file with such a name is
        given as ``./net`` or as a `Path`.

    Returns
    -------
    BlurModel

    Raises
    ------
    ModelFileError
        If the file is missing, is not a model, is damaged, or needs feature columns that this version does not compute.
    NetError
        If the model has a net and ONNX Runtime is not installed.
    """
    model = read_model(path)
    if model.net:
        require_runtime()
    return model


def model_file(model: BlurModel | str | os.PathLike[str]) -> Path | None:
    """Find the file of a model that is given as itself, its file or a name; None for one without a file of a user."""
    return None if isinstance(model, BlurModel) or model in VARIANTS else Path(model)


def read_model(path: str | os.PathLike[str]) -> BlurModel:
    """Read a model to look at it: as `load_model`, but ONNX Runtime need not be installed.

    Parameters
    ----------
    path : path or name of a shipped model

    Returns
    -------
    BlurModel

    Raises
    ------
    ModelFileError
        As in `load_model`.
    """
    stem, variant = VARIANTS.get(path, (None, None)) if isinstance(path, str) else (None, None)
    path = SHIPPED / f"{stem}.blurgate" if stem else Path(path)
    members = read_members(path, _LIMITS)
    card, boosters = read_card(members.pop(_CARD_FILE, b""), path)
    net, explainer = members.pop(_NET_FILE, None), members.pop(_EXPLAINER_FILE, None)
    model = BlurModel(
        card,
        {name.removesuffix(".ubj"): content for name, content in members.items()},
        None if net is None else Net(net),
        None if explainer is None else Explainer(explainer),
    )
    _check_net(model, path)
    _check_explainer(model, path)
    _check_boosters(model, path, listed=boosters)
    return variant(model) if variant else model


def keep_trees(model: BlurModel) -> BlurModel:
    """Take the trees of a model without its net."""
    card = replace(model.card.of_one(TREES, model.inputs.feature_set), explainer={})
    return BlurModel(card, model.boosters)


def keep_net(model: BlurModel) -> BlurModel:
    """Take the net of a model without its trees; it predicts the strength as well.

    Raises
    ------
    ModelFileError
        If the model has no net.
    """
    if not model.net:
        raise ModelFileError("the shipped model has no net: reinstall blurgate, or name trees")
    card = model.card.of_one(NET, str(Inputs(NET_FEATURE_SET, model.net.name)))
    return BlurModel(replace(card, kinds=()), {}, model.net, model.explainer)


def ask_always(model: BlurModel) -> BlurModel:
    """Make the net of a cascade judge every photo together with the trees."""
    return replace(model, card=replace(model.card, ask_from=None))


def _own_side(evidence: Evidence) -> int:
    """Find the longer side of what was looked at, in pixels of the photo itself."""
    left, top, right, bottom = evidence.part or (0, 0, evidence.width or 0, evidence.height or 0)
    return max(right - left, bottom - top)


def _join_margins(margins: Sequence[tuple[float, float] | None]) -> _Margins | None:
    """Join the margins of several photos; None unless all are known."""
    known = [pair for pair in margins if pair]
    if len(known) < len(margins) or not known:
        return None
    joined = np.asarray(known, np.float64)
    return joined[:, 0], joined[:, 1]


def _leave_out(evidence: Evidence) -> Evidence:
    return amend(evidence, reason=TOO_LITTLE_TEXTURE)


def _complete(evidence: Evidence, predictions: Predictions, row: int) -> Evidence:
    """Add the predictions of a row to a photo's evidence."""
    probability = round(float(predictions.probability[row]), _DIGITS)
    sharp_to_px = evidence.judged_at_px if probability < EVEN else evidence.sharp_to_px
    if evidence.p_defocus is not None:  # an explainer sees more than trees for kinds and strengths do
        return amend(evidence, probability=probability, sharp_to_px=sharp_to_px)
    kind, strength = predictions.kind, predictions.strength_px
    return amend(
        evidence,
        probability=probability,
        sharp_to_px=sharp_to_px,
        kind="" if kind is None else str(kind[row]),
        strength_px=None if strength is None else round(float(strength[row]), 3),
    )


def to_probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn log-odds into probabilities by the logistic function, in a form that does not overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))


def to_strength(answer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the outputs of the booster ``strength``, or of the net, into pixels."""
    return np.maximum(2.0 ** np.minimum(answer, _MOST_STRENGTH) - STRENGTH_OFFSET, 0.0)


def _check_boosters(model: BlurModel, path: Path, *, listed: Collection[str] | None) -> None:
    inputs = model.inputs
    if BLURRED not in model.boosters and (model.is_cascade or not (model.net and inputs.texture_only)):
        raise ModelFileError(f"{path} contains no booster named blurred: train it or copy it again")
    if listed is not None and set(listed) != set(model.boosters):
        raise ModelFileError(
            f"{path} contains the boosters {_list_names(model.boosters)}, but its card lists {_list_names(listed)}: "
            "train it or copy it again"
        )
    if bool(model.card.kinds) != (KIND in model.boosters):
        raise ModelFileError(
            f"{path} must contain a booster named kind if its card lists kinds, and none if not: train it or copy it "
            "again"
        )
    try:
        boosters = model._trees
    except ValueError as error:
        raise ModelFileError(f"{path} contains a damaged booster ({error}): train it or copy it again") from error
    for name, trees in boosters.items():
        n_columns = model.own_columns if name == OWN else len(inputs.measured.columns)
        if trees.n_features != n_columns:
            raise ModelFileError(
                f"{path} contains a booster named {name} for {trees.n_features} features, but its card lists "
                f"{n_columns} columns: train it or copy it again"
            )
        if len(trees.base_margin) != (len(model.card.kinds) if name == KIND else 1):
            raise ModelFileError(
                f"{path} contains a booster named {name} whose outputs do not match its card: train it or copy it again"
            )


def _list_names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _check_net(model: BlurModel, path: Path) -> None:
    net_name = model.inputs.net
    if net_name and not model.net:
        raise ModelFileError(f"{path} contains no net, but its card names one: train it or copy it again")
    if model.net and net_name != model.net.name:
        raise ModelFileError(f"{path} contains a net that its card does not name, or a damaged one: copy it again")
    if model.card.ask_from is not None and not model.net:
        raise ModelFileError(f"{path} contains no net, but its card says when to ask one: train it or copy it again")
    try:
        if model.net:
            check_graph(model.net.onnx)
    except ValueError as error:
        raise ModelFileError(
            f"{path} contains a net that is damaged or unlike those of blurgate ({error}): copy it again, or leave the "
            "net out with --model trees"
        ) from error


def _check_explainer(model: BlurModel, path: Path) -> None:
    spread = model.card.explainer.get("spread") if model.explainer else 1.0
    if bool(model.explainer) != bool(model.card.explainer):
        raise ModelFileError(f"{path} contains an explainer that its card does not describe, or none: copy it again")
    if isinstance(spread, bool) or not isinstance(spread, int | float) or not 0 < spread < 100:
        raise ModelFileError(f"{path} must have a spread between 0 and 100 for its explainer: copy it again")
    if model.explainer and model.card.explainer.get("name", model.explainer.name) != model.explainer.name:
        raise ModelFileError(f"{path} contains another explainer than its card names, or a damaged one: copy it again")
    if model.explainer and not model.net:
        raise ModelFileError(f"{path} contains an explainer, but no net that would be asked first: copy it again")
    try:
        if model.explainer:
            check_graph(model.explainer.onnx, EXPLAINER_ENDS)
    except ValueError as error:
        raise ModelFileError(
            f"{path} contains an explainer that is damaged or unlike those of blurgate ({error}): copy it again"
        ) from error


VARIANTS: dict[str, tuple[str, Callable[[BlurModel], BlurModel] | None]] = {  # name -> shipped file, what is made of it
    "default": ("default", None),
    "trees": ("default", keep_trees),
    "net": ("default", keep_net),
    "both": ("default", ask_always),
    "open": ("open", None),
}
