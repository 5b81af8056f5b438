"""The layout is the architecture: imports run down the list of rooms in docs/design.md."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "blurgate"
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"
FILES = {
    path.stem: ast.parse(path.read_text())
    for path in SOURCE.rglob("*.py")
    if path.stem != "__init__" or path.parent == SOURCE
}


def rooms_in_order():
    listed = re.findall(r"^      (\w+)\.py ", DESIGN.read_text(), flags=re.M)
    return [room for room in listed if room in FILES]


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_imported(tree):
    return {part for name in imports(tree) if name.startswith("blurgate.") for part in name.split(".")[1:3]} & set(
        FILES
    )


def users_of(package):
    return {room for room, tree in FILES.items() if any(name.split(".")[0] == package for name in imports(tree))}


def callers_of(name):
    calls = [(room, node.func) for room, tree in FILES.items() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {room for room, function in calls if ast.unparse(function) == name}


def test_every_file_is_a_room_in_the_design():
    assert set(rooms_in_order()) == set(FILES) - {"__main__"}


@pytest.mark.parametrize("room", sorted(set(FILES) - {"__init__", "__main__"}))
def test_imports_run_down_the_list(room):
    order = rooms_in_order()
    later = {name for name in rooms_imported(FILES[room]) if order.index(name) >= order.index(room)}
    assert later == set()


def test_only_images_opens_pictures():
    assert callers_of("Image.open") == {"images"}


def test_only_the_command_line_prints():
    assert callers_of("print") == {"cli"}


def test_only_six_rooms_need_scikit_learn():
    learning = {"evaluation", "splits", "boosters", "search", "calibration", "transformer"}
    assert users_of("sklearn") == learning | {"demo"}  # the demo reads photographs that it carries
    assert users_of("optuna") == {"search"}


def test_only_report_and_preview_draw():
    assert users_of("matplotlib") == users_of("jinja2") == {"report"}
    assert {room for room, tree in FILES.items() if "PIL.ImageDraw" in set(imports(tree))} == {"camera", "preview"}


def test_nothing_unpickles():
    assert users_of("pickle") | users_of("joblib") | users_of("dill") == set()
