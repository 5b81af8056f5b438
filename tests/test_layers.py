"""The layout is the architecture: which package may import which, and what scanning can do without."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import distribution, requires
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

import blurgate

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "blurgate"
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
DESIGN = (ROOT / "docs" / "design.md").read_text()

GROUND = {
    "cells",
    "errors",
    "files",
    "installation",
    "outputs",
    "pages",
    "threads",
    "version",
}  # every module may import these
ALLOWED = {  # package -> what its modules may import beside it, lazily and for types included
    "photos": set(),
    "measuring": {"photos"},
    "judging": {"measuring", "photos"},
    "making": {"measuring.laplacian", "photos"},
    "learning": {"judging", "making", "measuring", "photos"},
    "scanning": {"judging", "measuring", "photos"},
    "pipelines": {"judging", "measuring", "photos", "scanning"},
    "serving": {"judging", "measuring", "photos", "scanning"},
}
PACKAGES = set(ALLOWED)


def name_of(path, root):
    """Dotted name of a module below a folder, without the folder's own."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_modules(folder):
    return {name_of(path, folder): ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))}


MODULES = read_modules(SOURCE)


def imports(tree):
    """Every name that is imported: at the top, in functions, for types, and by ``import_module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            yield from (node.value for node in node.args if isinstance(node, ast.Constant))


def modules_imported(tree):
    """Modules of blurgate that are imported, dotted, without the package's own name."""
    homes = {name: module for module, names in blurgate._HOMES.items() for name in names}
    for name in imports(tree):
        head, _, rest = name.partition(".")
        if head != "blurgate" or not rest:
            continue
        rest = homes.get(rest, rest)  # `from blurgate import scan` imports the module that has it
        parts = rest.split(".")
        yield next((name for name in (".".join(parts[:n]) for n in (3, 2, 1)) if name in MODULES), rest)


def is_allowed(target, allowed):
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


def users_of(library, modules=MODULES):
    return {name for name, tree in modules.items() if any(each.split(".")[0] == library for each in imports(tree))}


def callers_of(function):
    calls = [
        (name, node.func) for name, tree in MODULES.items() for node in ast.walk(tree) if isinstance(node, ast.Call)
    ]
    return {name for name, called in calls if ast.unparse(called) == function}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.split(".")[0] in PACKAGES))
def test_packages_import_what_they_may(module):
    package = module.split(".")[0]
    allowed = {package, *GROUND, *ALLOWED[package]}
    assert {target for target in modules_imported(MODULES[module]) if not is_allowed(target, allowed)} == set()


@pytest.mark.parametrize("module", sorted(GROUND))
def test_the_ground_imports_the_ground_only(module):
    assert set(modules_imported(MODULES[module])) <= GROUND


def test_no_module_imports_itself_by_way_of_others():
    inner = {name: set(modules_imported(tree)) for name, tree in MODULES.items() if name != ""}
    assert list(TopologicalSorter(inner).static_order())  # raises CycleError


def test_nothing_imports_the_command_line():
    assert {name for name, tree in MODULES.items() if "cli" in modules_imported(tree)} == {"__main__"}


@pytest.mark.parametrize(
    ("folder", "allowed"), [("models", {"models"}), ("benchmarks", {"models", "benchmarks", "tests"})]
)
def test_what_lies_beside_the_package_imports_it_and_not_the_other_way_round(folder, allowed):
    ours = {"models", "benchmarks", "tests"}
    for tree in read_modules(ROOT / folder).values():
        assert {name.split(".")[0] for name in imports(tree)} & ours <= allowed
    assert not any(name.split(".")[0] in ours for tree in MODULES.values() for name in imports(tree))


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_documents_what_comes_in_and_out_and_what_it_may_import(package):
    tree = MODULES[package]
    assert len(tree.body) == 1  # no code, no names handed on
    docstring = ast.get_docstring(tree)
    assert re.search(r"^In: .+\. Out: .+\.$", docstring, flags=re.M)
    (listed,) = re.findall(r"^May import: (.+)\.$", docstring, flags=re.M)
    assert set(re.split("[,;] ", listed)) == ALLOWED[package] | GROUND


def test_the_design_has_the_same_rules_and_every_file():
    table = dict(re.findall(r"^\| `(\w+)/` \| [^|]+ \| ([^|]*) \|$", DESIGN, flags=re.M))
    assert {name: set(re.findall(r"`([\w.]+)`", allowed)) for name, allowed in table.items()} == ALLOWED
    tree = DESIGN.split("## Layout")[1].split("```")[1]
    for name in MODULES:
        if name not in {"", "__main__", *PACKAGES}:
            assert re.search(rf"\b{name.split('.')[-1]}\b", tree), f"{name} is not in the layout of docs/design.md"


def test_only_images_opens_pictures():
    assert callers_of("Image.open") == {"photos.images"}


def test_rows_go_to_xgboost_from_a_thread_that_no_signal_interrupts():
    calls = [
        path for path in SOURCE.rglob("*.py") for _ in re.findall(r"QuantileDMatrix\(|DataIter\b", path.read_text())
    ]
    assert [path.stem for path in calls] == ["boosters"]  # in quantize


def test_only_the_command_line_prints():
    assert callers_of("print") == {"cli"}


def test_only_learning_needs_what_learns():
    assert {name.split(".")[0] for name in users_of("sklearn")} == {"learning", "measuring", "demo"}
    assert users_of("sklearn") & {name for name in MODULES if name.startswith("measuring")} == {"measuring.transformer"}
    assert users_of("optuna") == {"learning.search", "learning.studies"}
    assert users_of("imagehash") == {"photos.copies"}
    assert {name.split(".")[0] for name in users_of("xgboost")} == {"learning"}


def test_only_report_draws_charts_and_only_preview_and_camera_draw_pictures():
    assert users_of("matplotlib") == users_of("jinja2") == {"learning.report"}
    drawing = {name for name, tree in MODULES.items() if "PIL.ImageDraw" in set(imports(tree))}
    assert drawing == {"making.camera", "making.preview"}


def test_nothing_unpickles():
    assert users_of("pickle") | users_of("joblib") | users_of("dill") == set()


@pytest.fixture(scope="module")
def base_install(tmp_path_factory):
    """A folder with what the base install brings, and nothing that an extra does."""
    folder = tmp_path_factory.mktemp("base")
    wanted, seen = ["blurgate"], set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        needed = map(Requirement, DEPENDENCIES if name == "blurgate" else requires(name) or ())
        wanted += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
        for file in distribution(name).files or () if name != "blurgate" else ():
            top = file.parts[0]
            link = folder / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(distribution(name).locate_file(top)).resolve())
    (folder / "blurgate").symlink_to(SOURCE)
    return folder


def run_in(base_install, code, *words):
    start = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(base_install)!r})\n{code}", *words]
    return subprocess.run(start, capture_output=True, text=True, check=False)


def test_scanning_needs_the_base_install_alone(base_install, photographs, tmp_path):
    for library in ("sklearn", "scipy", "xgboost", "llvmlite", "matplotlib"):
        assert run_in(base_install, f"import {library}").returncode == 1
    light = {name for name in MODULES if name.split(".")[0] in {"photos", "judging", "scanning", "cli"}}
    light |= {name for name in MODULES if name.split(".")[0] == "measuring"} - {
        "measuring.transformer",
    }
    done = run_in(base_install, "\n".join(f"import blurgate.{name}" for name in sorted(light)))
    assert done.stderr == ""
    Image.fromarray(photographs["coffee"]).save(tmp_path / "coffee.png")
    scan = ["scan", str(tmp_path), "--output", str(tmp_path / "v.csv"), "--report", str(tmp_path / "gallery.html")]
    done = run_in(base_install, "from blurgate.cli import main; main()", *scan, "--resume")
    assert done.returncode == 0, done.stderr
    assert ",sharp," in (tmp_path / "v.csv").read_text()


def test_training_without_its_extra_is_one_sentence(base_install, tmp_path):
    done = run_in(base_install, "from blurgate.cli import main; main()", "train", str(tmp_path))
    assert done.returncode == 1
    assert "needs the extra 'train'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_templates_and_models_are_in_the_package():
    for package, name in (
        ("", "page.css"),
        ("learning.templates", "report.html.jinja"),
        ("scanning.templates", "gallery.html"),
        ("serving.page", "index.html"),
        ("judging.shipped", "default.blurgate"),
    ):
        assert files("blurgate").joinpath(*filter(None, package.split(".")), name).is_file()
