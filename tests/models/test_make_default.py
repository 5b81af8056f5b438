"""What a cascade needs is chosen on sources left out: its bound, and the bounds of a review."""

from dataclasses import replace

import numpy as np
import pytest

from blurgate import FeatureTable
from blurgate.judging.inputs import find_inputs
from blurgate.judging.model import to_probability
from blurgate.learning.labels import LabelledPhoto
from models import make_default
from models.held_out import LEFT_OUT_SOURCES, MADE, OPEN, PLANS, add_turned
from models.make_default import Opinion, cascade_log_odds, choose_bound, choose_review, count_asked, describe

COUNT = 400


def make_table(name):
    labels = np.arange(COUNT) % 2
    photos = tuple(
        LabelledPhoto(f"{number}.jpg", "blurred" if label else "sharp", str(number))
        for number, label in enumerate(labels)
    )
    return FeatureTable(
        photos=photos,
        sources=np.full(COUNT, name),
        features=np.full((COUNT, 1), 9, np.float32),
        variance_of_laplacian=np.zeros(COUNT),
        feature_set="texture1",
        folders={},
    )


@pytest.fixture(scope="module")
def tables():
    return {name: make_table(name) for name in MADE}


@pytest.fixture(scope="module")
def margins(tables):
    """Margins of two models, the second better, whose errors are independent."""
    rng = np.random.default_rng(0)
    trees = {name: 4 * (table.labels - 0.5) + rng.normal(0, 1.2, COUNT) for name, table in tables.items()}
    net = {name: 6 * (table.labels - 0.5) + rng.normal(0, 1.2, COUNT) for name, table in tables.items()}
    return trees, net


@pytest.fixture(scope="module")
def opinions(margins, tables):
    trees, net = margins
    return Opinion.weigh([trees], tables), Opinion.weigh([trees, net], tables)


def test_every_plan_predicts_each_source_without_having_seen_it():
    for plan in PLANS.values():
        for fold, sources in plan.folds.items():
            assert not set(plan.trained_on(fold)) & set(sources)
            assert all(name.removesuffix("_altered") in sources for name in plan.left_out(fold))
        predicted = [name for fold in plan.folds for name in plan.left_out(fold)]
        assert len(predicted) == len(set(predicted))
    left_out = [name for fold in PLANS["research"].folds for name in PLANS["research"].left_out(fold)]
    assert set(left_out) == set(LEFT_OUT_SOURCES)
    assert PLANS["open"].trained_on("all") == OPEN == PLANS["open"].trained_on("others")


def test_a_cascade_decides_as_both_but_for_one_in_a_thousand_and_asks_for_few_sharp_photos(opinions, margins, tables):
    alone, both = opinions
    threshold = describe(both.all_log_odds(), tables)["threshold"]
    bound = choose_bound(alone, both, threshold)
    together, cascade = both.all_log_odds(), cascade_log_odds(alone, both, bound)
    decisions = [
        np.concatenate([to_probability(odds[name]) >= threshold for name in tables]) for odds in (together, cascade)
    ]
    assert (decisions[0] != decisions[1]).mean() <= make_default.DIFFERENT
    asked = count_asked(margins[0], bound, tables)
    assert all(shares["sharp"] < 0.7 < shares["blurred"] for shares in asked.values())
    for name in tables:
        np.testing.assert_array_equal(cascade_log_odds(alone, both, None)[name], together[name])


def test_trees_alone_never_call_a_photo_blurred(opinions):
    alone, both = opinions
    for threshold in (0.001, 0.5, 0.999):
        bound = choose_bound(alone, both, threshold)
        assert to_probability(np.asarray(alone.slopes[0] * bound + alone.intercept)) <= threshold + 1e-9


def test_outside_the_bounds_of_a_review_nearly_all_is_right(opinions, tables):
    log_odds = opinions[0].all_log_odds()  # the trees err more often than a review allows
    low, high = choose_review(log_odds, tables)
    assert 0 < low < high < 1
    probabilities = np.concatenate([to_probability(log_odds[name]) for name in tables])
    labels = np.concatenate([table.labels for table in tables.values()])
    assert (labels[probabilities < low] == 0).mean() >= make_default.RIGHT - 0.003
    assert (labels[probabilities >= high] == 1).mean() >= make_default.RIGHT - 0.003
    undecided = ((probabilities >= low) & (probabilities < high)).mean()
    assert 0 < undecided < 0.3


def test_a_review_of_a_model_that_is_never_wrong_leaves_nothing_undecided(tables):
    perfect = {name: 20.0 * (table.labels - 0.5) for name, table in tables.items()}
    low, high = choose_review(perfect, tables)
    assert low == high


def test_a_turned_picture_has_its_columns_swapped():
    names = ("1__horizontal__rise__w50", "1__vertical__rise__w50", "1__low__log_energy__p50")
    table = build_table_of("block99")
    turned = add_turned(table)
    assert len(turned) == 2 * len(table)
    for first, second in (names[:2], names[1::-1], names[2:] * 2):
        before = table.features[:, table.columns.index(first)]
        np.testing.assert_array_equal(turned.features[len(table) :, table.columns.index(second)], before)


def build_table_of(feature_set):
    table = make_table("unsplash")
    columns = find_inputs(feature_set).columns
    features = np.random.default_rng(0).random((COUNT, len(columns))).astype(np.float32)
    return replace(table, features=features, feature_set=feature_set)
