import json
from dataclasses import replace

import pytest

from blurgate.judging.description import describe_asking, describe_model


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ("model", "the trees judge every photo"),
        ("net_model", "the net judges every photo"),
        ("joint_model", "trees and net judge every photo together"),
        ("cascade", "the net is asked too, and both judge together"),
    ],
)
def test_who_judges_what(request, judge, words):
    assert describe_asking(request.getfixturevalue(judge)).endswith(words)


def test_the_bound_is_a_probability_and_follows_a_low_threshold(cascade):
    line = cascade.card.alone["trees"]
    even = replace(cascade, card=replace(cascade.card, ask_from=-line["intercept"] / line["slope"]))
    assert "from P(blurred) = 0.5 of theirs on" in describe_asking(even)
    assert "from P(blurred) = 0.02 of theirs on" in describe_asking(even.with_threshold(0.02))


def test_it_is_json_whatever_a_card_holds(cascade):
    strange = replace(cascade, card=replace(cascade.card, results={"roc_auc": float("nan"), "curve": [(1, 2)]}))
    described = json.loads(json.dumps(describe_model(strange), allow_nan=False))
    assert described["results"] == {"roc_auc": None, "curve": [[1, 2]]}
    assert described["net"] == cascade.net.name
    assert described["boosters"] == sorted(cascade.boosters)
    assert described["alone"].keys() == {"trees", "net"}


def test_the_explainer_is_described(explaining_model, net_model):
    known = replace(explaining_model.card, explainer={"spread": 2.0, "trained_on": {"n": 7}})
    described = describe_model(replace(explaining_model, card=known))
    assert described["explainer"] == {"spread": 2.0, "trained_on": {"n": 7}, "name": explaining_model.explainer.name}
    assert describe_model(net_model)["explainer"] is None
