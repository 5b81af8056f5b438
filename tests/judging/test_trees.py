import pickle

import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blurgate.judging.trees import read_trees
from blurgate.measuring import machine_code

OBJECTIVES = {
    "binary:logistic": {},
    "reg:squarederror": {},
    "multi:softprob": {"num_class": 3},
}


def fit(objective, rng, n_features=5, **settings):
    features = rng.normal(size=(300, n_features)).astype(np.float32)
    features[rng.random(features.shape) < 0.05] = np.nan
    labels = rng.integers(0, 3 if "multi" in objective else 2, 300)
    data = xgboost.DMatrix(features, labels)
    parameters = {"objective": objective, "max_depth": 5, "seed": 1, **OBJECTIVES[objective], **settings}
    return xgboost.train(parameters, data, 12), features


def predict_with_xgboost(booster, features):
    margins = booster.inplace_predict(features, predict_type="margin", missing=np.nan)
    return margins.reshape(len(features), -1)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(5))
def test_the_margins_equal_xgboosts_to_the_bit(objective, seed):
    rng = np.random.default_rng(seed)
    booster, features = fit(objective, rng, subsample=0.7)
    trees = read_trees(bytes(booster.save_raw("ubj")))
    at_splits = rng.choice(trees.node_value, size=(200, features.shape[1])).astype(np.float32)  # where < and <= differ
    for rows in (features, at_splits, features[:1], np.asfortranarray(features)):
        np.testing.assert_array_equal(trees.predict_margins(rows), predict_with_xgboost(booster, rows))
    assert trees.predict_margins(features[:0]).shape == (0, len(trees.base_margin))


@pytest.fixture(params=["numpy", "compiled"], autouse=True)
def way(request, monkeypatch):
    """How the rows walk: with NumPy, or in compiled code, which is used if it is loaded already."""
    if request.param == "numpy":
        monkeypatch.setattr(machine_code, "_loaded", [])
        monkeypatch.setattr(machine_code, "prepare", lambda: pytest.fail("trees load no compiled code"))
    else:
        pytest.importorskip("llvmlite", reason="needs the extra fast")
        machine_code.prepare()


def test_rows_of_another_width_are_refused(small):
    content, features = small
    with pytest.raises(ValueError, match=r"features must be of shape \(n_rows, 5\), got \(3, 4\)"):
        read_trees(content).predict_margins(features[:, :4])


def test_a_copy_in_another_process_walks_trees_of_its_own(small):
    content, features = small
    trees = read_trees(content)
    wanted = trees.predict_margins(features)
    copy = pickle.loads(pickle.dumps(trees))
    del trees
    np.testing.assert_array_equal(copy.predict_margins(features), wanted)


def test_a_tree_of_one_leaf_and_a_booster_without_trees():
    rng = np.random.default_rng(0)
    for booster, features in (fit("binary:logistic", rng, gamma=1e9), fit("reg:squarederror", rng, max_depth=1)):
        trees = read_trees(bytes(booster.save_raw("ubj")))
        np.testing.assert_array_equal(trees.predict_margins(features), predict_with_xgboost(booster, features))
    data = xgboost.DMatrix(features, np.zeros(300))
    empty = xgboost.train({"objective": "binary:logistic"}, data, 0)
    with pytest.raises(ValueError, match="it contains no trees"):
        read_trees(bytes(empty.save_raw("ubj")))


def test_other_boosters_are_refused():
    rng = np.random.default_rng(0)
    dart, _ = fit("binary:logistic", rng, booster="dart")
    with pytest.raises(ValueError, match="it must be a gbtree booster, got .dart"):
        read_trees(bytes(dart.save_raw("ubj")))
    features = np.tile(np.arange(4, dtype=np.float32), 50)[:, np.newaxis]
    data = xgboost.DMatrix(features, features[:, 0] % 2, feature_types=["c"], enable_categorical=True)
    categorical = xgboost.train({"objective": "binary:logistic", "max_cat_to_onehot": 1}, data, 2)
    with pytest.raises(ValueError, match="its splits must be numerical, got categorical splits"):
        read_trees(bytes(categorical.save_raw("ubj")))


@pytest.fixture(scope="module")
def small():
    booster, features = fit("multi:softprob", np.random.default_rng(3), max_depth=2)
    return bytes(booster.save_raw("ubj")), features[:3]


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_content_is_refused_or_still_predicts(small, data):
    content, features = bytearray(small[0]), small[1]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content))) if data.draw(st.booleans()) else len(content)
    try:
        trees = read_trees(bytes(content[:cut]))
    except ValueError:
        return
    if trees.n_features == features.shape[1]:
        assert trees.predict_margins(features).shape == (3, len(trees.base_margin))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[", b"[" * 99, b"S", b"{}", b"[$", b"[#i\x7f", b"SL" + b"\x7f" * 8, b"i\x01"]
)
def test_content_that_is_not_a_booster_is_refused(content):
    with pytest.raises(ValueError, match=r"it |its "):
        read_trees(content)
