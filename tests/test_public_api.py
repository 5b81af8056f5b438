import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import blurgate

ROOT = Path(__file__).parents[1]


def test_every_public_name_exists_and_is_documented():
    assert len(set(blurgate.__all__)) == len(blurgate.__all__)
    for name in blurgate.__all__:
        assert getattr(blurgate, name).__doc__ or name == "__version__"


def test_the_two_lists_of_names_agree():
    listed = {name for names in blurgate._HOMES.values() for name in names}
    assert listed | {"__version__"} == set(blurgate.__all__)


def test_dir_lists_the_public_names_and_nothing_that_was_imported():
    code = "import blurgate; blurgate.Verdict; print(*dir(blurgate))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if not name.startswith("__")} == {*blurgate.__all__} - {"__version__"}


def test_load_is_another_name_of_load_model():
    assert blurgate.load is blurgate.load_model
    assert "load" not in {*blurgate.__all__, *dir(blurgate)}


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'blurgate' has no attribute 'unblur'"):
        _ = blurgate.unblur


def test_version_matches_pyproject():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == blurgate.__version__


@pytest.mark.parametrize("command", ["import blurgate", "import blurgate.cli", "from blurgate import scan, load_model"])
def test_scanning_imports_nothing_heavy(command):
    heavy = "xgboost scipy sklearn optuna llvmlite matplotlib pandas torch cv2"
    code = f"import sys; {command}; print(*sorted(set(sys.modules) & set('{heavy}'.split())))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("command", ["--help", "scan"])
def test_the_command_line_imports_nothing_heavy(command, sharp_folder):
    arguments = {"--help": ["--help"], "scan": ["scan", str(min(sharp_folder.iterdir())), "--format", "csv"]}[command]
    heavy = "xgboost scipy sklearn optuna llvmlite matplotlib pandas torch cv2"
    code = (
        "import sys\nfrom blurgate.cli import main\n"
        f"sys.argv = ['blurgate', *{arguments}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', *sorted(name for name in '{heavy}'.split() if sys.modules.get(name)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert len(done.stdout.splitlines()) > 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: blurgate.scan(".", include="*.png"),
        lambda: blurgate.load_sources("photos", Path()),
        lambda: blurgate.draw_preview("a.jpg", kinds="gaussian"),
        lambda: blurgate.BlurFeatures().transform("a.jpg"),
    ],
    ids=["scan", "load_sources", "draw_preview", "BlurFeatures"],
)
def test_one_text_in_place_of_several_is_refused(call):
    with pytest.raises(TypeError, match=r"must be a list, got '.*': write \['.*'\]"):
        call()
