import pytest
from hostile_models import HOSTILE, make_shipped, make_trees, mutate, pack

from blurgate.demo import load_photographs
from blurgate.errors import ModelFileError
from blurgate.judging.model import load_model


@pytest.fixture(scope="module")
def photo():
    return load_photographs()["coffee"][64:320, 108:492]


@pytest.mark.parametrize("members", [make_trees(), make_shipped("net")], ids=["trees", "net"])
def test_the_models_that_hostile_ones_are_made_of_are_intact(members, tmp_path, photo):
    (tmp_path / "m.blurgate").write_bytes(pack(members))
    assert 0 <= load_model(tmp_path / "m.blurgate").predict(photo).probability <= 1


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused(name, tmp_path, photo):
    path = tmp_path / "m.blurgate"
    try:
        HOSTILE[name].make(path)
    except (OSError, AttributeError, ImportError) as error:
        pytest.skip(f"cannot be made here: {error}")
    with pytest.raises(ModelFileError, match=HOSTILE[name].pattern) as refused:
        load_model(path).predict(photo)
    assert "\n" not in str(refused.value)
    assert "__init__" not in str(refused.value)


def test_mutated_models_predict_or_are_refused(tmp_path, photo):
    path, seeds, predicted = tmp_path / "m.blurgate", [make_trees(), make_shipped("net")], 0
    for number in range(100):  # benchmarks/robustness.py judges 20,000
        path.write_bytes(mutate(seeds, number, seed=1))
        try:
            assert 0 <= load_model(path).predict(photo).probability <= 1, number
            predicted += 1
        except ModelFileError:
            continue
    assert 0 < predicted < 100
