"""A photo and a model -> its verdict, where it is blurred, and why, in words and as a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurgate.errors import PhotoError
from blurgate.judging.maps import Focus, draw_map, find_focus
from blurgate.judging.model import BlurModel, Review, find_bounds, load_model
from blurgate.judging.sentences import describe
from blurgate.judging.verdicts import Verdict, decide
from blurgate.photos.images import RGB, Gray, Photo, Plane, count_halvings, path_of, read_plane, read_rgb, resize
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At

UNDECIDED = 128  # in a gray map
_MOST_DRAWN = 2**22  # pixels of a map: 16 megabytes
_MAX_PIXELS = 2**20  # of a photo with its map over it
TINT = (
    150,
    40,
    150,
)  # red, green, blue over what is blurred: purple is rare in photos, and darker than the line for the colour-blind
_STRENGTH = 0.6  # share of the tint where the picture is surely blurred
_LINE = (255, 255, 255)  # around what is in focus, with a dark rim
_HATCH = 12  # pixels from one line to the next, of a longer side of 1000


@dataclass(frozen=True)
class Explanation:
    """What there is to say about one photo.

    Parameters
    ----------
    verdict : Verdict
    map : ndarray of shape (height, width), float32
        Of the part that was looked at, at its analysed size, or halved until it has at most 4,194,304 pixels: 0 where
        it is surely sharp to 1 where it is surely blurred, NaN where nothing can be told. See
        `blurgate.judging.maps.draw_map` for how it agrees with the verdict.
    focus : Focus
        What is in focus, in pixels of the photo itself.
    sentence : str
        Why the verdict is what it is.
    """

    verdict: Verdict
    map: NDArray[np.float32] = field(repr=False)
    focus: Focus
    sentence: str

    def to_gray(self) -> Gray:
        """Draw the map as a gray picture of the photo's own size.

        Returns
        -------
        ndarray of shape (height, width), uint8
            255 where the photo is surely blurred to 0 where it is surely sharp: below 128 it is in focus. 128 also
            where nothing can be told, and outside the part that was looked at.
        """
        return self._lay_out(self.verdict.width or 0, self.verdict.height or 0)[0]

    def draw_over(self, photo: Photo, *, max_megapixels: float = MAX_MEGAPIXELS) -> RGB:
        """Lay the map over the photo: what is in focus stays as it is, with a line around it.

        What is blurred is tinted, the more the surer it is, and what is undecided, or was not looked at, is grayed and
        hatched.

        Parameters
        ----------
        photo : path, bytes, binary file, ndarray or PIL image
            The one that was explained.
        max_megapixels : float
            See `blurgate.photos.images.read_gray`.

        Returns
        -------
        ndarray of shape (height, width, 3), uint8
            Halved as for a verdict, until it has at most 1,048,576 pixels.

        Raises
        ------
        PhotoError
            If the photo cannot be read.
        ValueError
            If it does not have the size of the photo that was explained.
        """
        rgb = read_rgb(photo, min_side=1, max_pixels=_MAX_PIXELS, max_megapixels=max_megapixels)
        width, height = self.verdict.width or 0, self.verdict.height or 0
        shrunk = 2 ** count_halvings(width, height, _MAX_PIXELS)
        if rgb.shape[:2] != (-(-height // shrunk), -(-width // shrunk)):
            needed, got = f"{width} x {height} px", f"{rgb.shape[1]} x {rgb.shape[0]} px"
            raise ValueError(f"photo must be the one that was explained, of {needed}, got one of {got} when shrunk")
        return _tint(rgb, *self._lay_out(rgb.shape[1], rgb.shape[0]))

    def _lay_out(self, width: int, height: int) -> tuple[Gray, NDArray[np.bool_]]:
        """Lay the map into a picture of the shape of the whole photo; also return where it is decided."""
        across, down = width / (self.verdict.width or 1), height / (self.verdict.height or 1)
        left, top, right, bottom = self.verdict.part or (0, 0, self.verdict.width or 0, self.verdict.height or 0)
        left, right = (min(round(each * across), width) for each in (left, right))
        top, bottom = (min(round(each * down), height) for each in (top, bottom))
        gray, decided = np.full((height, width), UNDECIDED, np.uint8), np.zeros((height, width), bool)
        known = ~np.isnan(self.map)
        if not known.any() or right <= left or bottom <= top:
            return gray, decided
        size = (right - left, bottom - top)
        codes = np.where(known, np.minimum(np.nan_to_num(self.map) * 256, 255), UNDECIDED).astype(np.uint8)
        drawn = resize(codes[..., np.newaxis], size, resample=Image.Resampling.BILINEAR)[..., 0]
        inside = resize(known[..., np.newaxis].astype(np.uint8), size, resample=Image.Resampling.NEAREST)[..., 0] > 0
        gray[top:bottom, left:right] = np.where(inside, drawn, UNDECIDED)
        decided[top:bottom, left:right] = inside
        return gray, decided


def explain(
    photo: Photo,
    *,
    model: BlurModel | str | os.PathLike[str] | None = None,
    threshold: float | None = None,
    review: Review | None = None,
    at: At = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> Explanation:
    """Judge one photo, and find of what kind, how strong and where its blur is.

    Parameters
    ----------
    photo : path, bytes, binary file, ndarray or PIL image
        See `blurgate.photos.images.read_gray`.
    model : BlurModel, path or name of a shipped model, optional
        With an explainer, which is asked about every photo, even where a cascade does not ask its net.
    threshold : float, optional
        Blurred from this probability on, 0 to 1; by default the model's.
    review : (float, float) or 'auto', optional
    at : int or 'full', optional
        See `BlurModel.predict`.
    max_megapixels : float
        See `blurgate.photos.images.read_gray`.

    Returns
    -------
    Explanation
        With a map of NaN, and a sentence that says why, if the photo is too small or has too little texture.

    Raises
    ------
    PhotoError
        If the photo cannot be read.
    ModelFileError
        If the model cannot be loaded.
    NetError
        If the net or the explainer cannot answer.
    ValueError
        If the model has no explainer, or as in `BlurModel.predict`.
    """
    loaded = model if isinstance(model, BlurModel) else load_model("default" if model is None else model)
    if not loaded.explainer:
        raise ValueError("explain needs a model with an explainer, got one without: use default, net, both or open")
    low, high = find_bounds(loaded, threshold, review)
    loaded = loaded.with_threshold(low)
    max_pixels = loaded.inputs.measured.max_pixels
    plane = read_plane(photo, min_side=1, max_pixels=max_pixels, max_megapixels=max_megapixels, at=at)
    evidence = loaded.judge([loaded.measure_plane(plane, path_of(photo), at=at)])[0]
    if evidence.probability is not None and evidence.p_defocus is None:
        evidence = loaded.explain_blur(evidence, plane.gray)
    return explain_plane(decide(evidence, high, (low, high)), plane, loaded)


def explain_verdict(
    verdict: Verdict, photo: Photo, *, model: BlurModel, at: At = None, max_megapixels: float = MAX_MEGAPIXELS
) -> Explanation:
    """Explain a photo that has been judged: as `explain`, but it is not judged again.

    Parameters
    ----------
    verdict : Verdict
        On the photo, by this model.
    photo : path, bytes, binary file, ndarray or PIL image
    model : BlurModel
        With an explainer.
    at : int or 'full', optional
        The size at which the photo was judged.
    max_megapixels : float
        See `blurgate.photos.images.read_gray`.

    Returns
    -------
    Explanation

    Raises
    ------
    PhotoError
        If the photo cannot be read, or has another size than the one that was judged.
    NetError
        If the explainer cannot answer.
    """
    max_pixels = model.inputs.measured.max_pixels
    plane = read_plane(photo, min_side=1, max_pixels=max_pixels, max_megapixels=max_megapixels, at=at)
    if (plane.width, plane.height) != (verdict.width, verdict.height):
        raise PhotoError(f"{path_of(photo) or 'the picture'} has changed since it was judged: judge it again")
    return explain_plane(verdict, plane, model)


def explain_plane(verdict: Verdict, plane: Plane, model: BlurModel) -> Explanation:
    """Add map, focus and sentence to a verdict that there is already, whatever decided it.

    Parameters
    ----------
    verdict : Verdict
    plane : Plane
        Of the same photo.
    model : BlurModel

    Returns
    -------
    Explanation
        With a map of NaN if the verdict has no probability, or the model no explainer.

    Raises
    ------
    NetError
        If the explainer cannot answer.
    """
    gray, places = plane.gray, None
    if verdict.probability is not None and model.explainer:
        places = model.explainer.predict_map(gray)
    while gray.size > _MOST_DRAWN:  # the blocks were read at the photo's size; drawing them needs less
        gray = np.rint(_halve(gray)).astype(np.uint8)
        places = None if places is None else _halve(places)
    drawn = np.full(gray.shape, np.nan, np.float32) if places is None else draw_map(places, gray, verdict.decision)
    focus = _enlarge(find_focus(drawn), drawn.shape, plane)
    return Explanation(verdict, drawn, focus, describe(verdict, focus))


def _halve(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Take the mean of each 2x2 numbers; the last of an odd side stands for two."""
    plane = np.pad(plane, [(0, side % 2) for side in plane.shape], mode="edge")
    rows = np.add(plane[::2], plane[1::2], dtype=np.float32)
    return np.asarray((rows[:, ::2] + rows[:, 1::2]) / 4)


def _enlarge(focus: Focus, shape: tuple[int, ...], plane: Plane) -> Focus:
    """Turn pixels of a map of a shape into those of the photo itself."""
    if focus.box is None or focus.middle is None:
        return focus
    left, top, right, bottom = plane.part or (0, 0, plane.width, plane.height)
    across, down = ((right - left) / shape[1], (bottom - top) / shape[0])
    box = focus.box
    return replace(
        focus,
        box=(
            left + round(box[0] * across),
            top + round(box[1] * down),
            left + round(box[2] * across),
            top + round(box[3] * down),
        ),
        middle=(left + round(focus.middle[0] * across), top + round(focus.middle[1] * down)),
    )


def _tint(rgb: RGB, drawn: Gray, decided: NDArray[np.bool_]) -> RGB:
    """Tint what is blurred, hatch what is undecided and draw a line around what is in focus."""
    height, width = drawn.shape
    luma = (rgb @ np.asarray((0.299, 0.587, 0.114), np.float32))[..., np.newaxis]
    blurred = decided & (drawn >= UNDECIDED)
    share = np.where(blurred, (drawn.astype(np.float32) - UNDECIDED) / (255 - UNDECIDED), 0.0)
    share = np.where(blurred, _STRENGTH * (0.5 + 0.5 * share), 0.0)[..., np.newaxis].astype(np.float32)
    tinted = np.where(share > 0, (1 - share) * luma + share * np.asarray(TINT, np.float32), rgb)
    unit = max(1, round(max(height, width) / 1000))
    down, across = np.ogrid[:height, :width]
    lines = (down + across) % (_HATCH * unit) < 2 * unit
    grayed = np.where(lines[..., np.newaxis], 0.3 * luma + 150, 0.5 * luma + 60)
    tinted = np.where(decided[..., np.newaxis], tinted, grayed)
    return _outline(tinted, decided & ~blurred, unit).round().astype(np.uint8)


def _outline(picture: NDArray[np.float32], inside: NDArray[np.bool_], unit: int) -> NDArray[np.float32]:
    """Draw a white line with a dark rim along the outer border of a mask."""
    near, far = _grow(inside, 2 * unit), _grow(inside, 3 * unit)
    picture[far & ~near] = 0
    picture[near & ~inside] = _LINE
    return picture


def _grow(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    for _ in range(pixels):
        grown = mask.copy()
        grown[1:] |= mask[:-1]
        grown[:-1] |= mask[1:]
        grown[:, 1:] |= mask[:, :-1]
        grown[:, :-1] |= mask[:, 1:]
        mask = grown
    return mask
