"""Features as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate.errors import needs_extra, require_several
from blurgate.measuring.features import DEFAULT_FEATURE_SET, extract_features, find_feature_set
from blurgate.photos.images import Photo, read_plane
from blurgate.threads import run_in_order

with needs_extra("train", "The scikit-learn transformer"):
    from sklearn.base import BaseEstimator, TransformerMixin


class BlurFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Transformer from photos to features, for a pipeline with your own estimator; it learns nothing.

    Parameters
    ----------
    feature_set : str
        A key of `blurgate.measuring.features.FEATURE_SETS`.
    jobs : int, optional
        Photos processed at the same time; by default one per core.

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
        """Check the name of the feature set; nothing is learned.

        Parameters
        ----------
        X : iterable of photos
            Ignored.
        y : object, optional
            Ignored.

        Returns
        -------
        BlurFeatures
            The transformer itself.

        Raises
        ------
        ValueError
            If the feature set is unknown.
        """
        find_feature_set(self.feature_set)
        return self

    def transform(self, X: Iterable[Photo]) -> NDArray[np.float32]:  # noqa: N803
        """Compute the features of photos.

        Parameters
        ----------
        X : iterable of photos
            Paths, bytes, arrays or PIL images; see `blurgate.photos.images.read_plane`.

        Returns
        -------
        ndarray of shape (n_photos, n_features), float32

        Raises
        ------
        PhotoError
            If a photo cannot be read or is too small.
        ValueError
            If the feature set is unknown.
        TypeError
            If `X` is one path or the bytes of one photo.
        """
        require_several("X", X)
        chosen = find_feature_set(self.feature_set)

        def extract(photo: Photo) -> NDArray[np.float32]:
            gray = read_plane(photo, max_pixels=chosen.max_pixels).gray
            return np.asarray(extract_features(gray, self.feature_set))

        return np.asarray(list(run_in_order(extract, X, jobs=self.jobs)), np.float32).reshape(-1, len(chosen.columns))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:  # noqa: ARG002
        """List the names of the columns that `transform` returns."""
        return np.asarray(find_feature_set(self.feature_set).columns, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True  # of numbers: blurgate reads photos and rejects bad ones itself
        tags.transformer_tags.preserves_dtype = []  # the output is float32 for any input
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True
