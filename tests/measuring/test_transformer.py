from unittest import SkipTest

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_array

from blurgate import BlurFeatures
from blurgate.errors import PhotoError
from blurgate.measuring.features import FEATURE_SETS, extract_features
from blurgate.photos.images import read_gray


class FeaturesOfSeeds(BlurFeatures):
    """Transformer that draws a photo from each row as a seed, since scikit-learn's checks pass only number tables."""

    def fit(self, X, y=None):  # noqa: N803
        check_array(X)
        return super().fit(X, y)

    def transform(self, X):  # noqa: N803
        return super().transform([draw_photo(row) for row in check_array(X)])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


def draw_photo(row):
    seed = np.round(np.abs(row) * 1000).astype(np.uint32)
    return np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8)


@pytest.mark.parametrize(("estimator", "check"), list(estimator_checks_generator(FeaturesOfSeeds("dct18", jobs=1))))
def test_passes_the_checks_of_scikit_learn(estimator, check):
    try:
        check(estimator)
    except SkipTest as reason:
        pytest.skip(str(reason))


def test_accepts_paths_bytes_and_arrays(sharp_folder):
    paths = sorted(sharp_folder.iterdir())[:3]
    photos = [paths[0], paths[1].read_bytes(), read_gray(paths[2])]
    wanted = [extract_features(read_gray(path)) for path in paths]
    np.testing.assert_array_equal(BlurFeatures().transform(photos), wanted)
    assert BlurFeatures().transform([]).shape == (0, 99)
    assert tuple(BlurFeatures("dct18").get_feature_names_out()) == FEATURE_SETS["dct18"].columns


def test_in_a_pipeline(made_folder):
    photos = [path for label in ("sharp", "blurred") for path in sorted((made_folder / label).iterdir())]
    labels = [path.parent.name == "blurred" for path in photos]
    pipeline = make_pipeline(BlurFeatures("dct18"), LogisticRegression(max_iter=5000)).fit(photos[::2], labels[::2])
    assert pipeline.score(photos[1::2], labels[1::2]) > 0.7  # two thirds are blurred


def test_errors(tmp_path):
    with pytest.raises(PhotoError, match="nowhere.jpg does not exist"):
        BlurFeatures().transform([tmp_path / "nowhere.jpg"])
    with pytest.raises(ValueError, match="feature set must be one of"):
        BlurFeatures("dct19").fit([])
