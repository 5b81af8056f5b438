"""The features as scikit-learn's pipelines take them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import needs_extra
from blurgate.measuring.features import DEFAULT_FEATURE_SET, extract_features, find_feature_set
from blurgate.photos.images import Photo, read_gray
from blurgate.threads import run_in_order

with needs_extra("train", "A transformer of scikit-learn's"):
    from sklearn.base import BaseEstimator, TransformerMixin


class BlurFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Turns photos into features, for a pipeline with an estimator of your own; nothing is learned from them.

    Parameters
    ----------
    feature_set : str
        A name out of `blurgate.measuring.features.FEATURE_SETS`.
    jobs : int, optional
        Photos at work at the same time; by default one for each core.

    Examples
    --------
    >>> photos = [np.zeros((64, 64), np.uint8), np.full((80, 90), 7, np.uint8)]
    >>> BlurFeatures("dct18").fit_transform(photos).shape
    (2, 18)
    """

    def __init__(self, feature_set: str = DEFAULT_FEATURE_SET, *, jobs: int | None = None) -> None:
        self.feature_set = feature_set
        self.jobs = jobs

    def fit(self, X: Iterable[Photo], y: Any = None) -> BlurFeatures:  # noqa: N803, ARG002 scikit-learn's names
        """Do nothing but see that there is such a feature set."""
        find_feature_set(self.feature_set)
        return self

    def transform(self, X: Iterable[Photo]) -> NDArray[np.float32]:  # noqa: N803
        """Measure photos.

        Parameters
        ----------
        X : iterable of photos
            Paths, bytes, arrays or PIL images; see `blurgate.photos.images.read_gray`.

        Returns
        -------
        ndarray of shape (n_photos, n_features), float32

        Raises
        ------
        PhotoError
            If one cannot be read, or is too small.
        """
        chosen = find_feature_set(self.feature_set)

        def extract(photo: Photo) -> NDArray[np.float32]:
            gray = read_gray(photo, max_pixels=chosen.max_pixels)
            return np.asarray(extract_features(gray, self.feature_set))

        return np.asarray(list(run_in_order(extract, X, jobs=self.jobs)), np.float32).reshape(-1, len(chosen.columns))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002
        """Name the columns of what `transform` gives."""
        return np.asarray(find_feature_set(self.feature_set).columns, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True  # of numbers: photos are read, and refused, by blurgate itself
        tags.transformer_tags.preserves_dtype = []  # whatever goes in, float32 comes out
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True
