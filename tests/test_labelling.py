import pytest

from benchmarks.labelling import CHROMIUM, CORRECTIONS, DRIVER, PROPOSALS, run_rounds


def test_a_round_of_labelling_in_a_browser_never_makes_the_model_worse(made_folder):
    pytest.importorskip("selenium", reason="needs Chromium and ChromeDriver, and selenium")
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip("needs Chromium and ChromeDriver")
    results = run_rounds(made_folder, 1)
    (corrected,), (proposed,) = results["rounds"].values()
    assert 0 < corrected["labels"] <= CORRECTIONS
    assert (proposed["proposed"], proposed["labels"]) == (PROPOSALS, PROPOSALS + corrected["labels"])
    assert corrected["after"] == corrected["before"]  # marked mistakes alone do not change the model
    for summary in results["summary"].values():
        assert (summary["accuracy"]["worse"], summary["log_loss"]["worse"]) == (0, 0)
