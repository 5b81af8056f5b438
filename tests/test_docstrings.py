"""Every public function states what it takes, what it gives and what it raises; a count keeps it so."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("src", "models", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


def public_functions(tree, prefix=""):
    """Name and node of each public function and method; functions inside functions are nobody's business."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield prefix + node.name, node


def is_command(node):
    """Typer documents a command's options where they are declared."""
    return any("app." in ast.unparse(decorator) for decorator in node.decorator_list)


def arguments(node):
    listed = node.args.posonlyargs + node.args.args
    listed += [node.args.vararg] if node.args.vararg else []
    listed += node.args.kwonlyargs
    listed += [node.args.kwarg] if node.args.kwarg else []
    return [each.arg for each in listed if each.arg not in ("self", "cls", "_")]


def sections(docstring):
    """Section name -> its text, as numpydoc underlines them."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", docstring, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented(text):
    """Names before the colon, or alone on a line without indentation: ``a, b : int``."""
    lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
    return [name.strip().lstrip("*") for line in lines for name in line.split(" : ")[0].split(",")]


def raised(node):
    """Names of the exceptions that a function's own lines raise."""
    for child in ast.walk(node):
        if isinstance(child, ast.Raise) and isinstance(child.exc, ast.Call):
            yield ast.unparse(child.exc.func)


FUNCTIONS = [
    pytest.param(node, id=f"{path.relative_to(ROOT).as_posix()}:{name}")
    for path in FILES
    for name, node in public_functions(ast.parse(path.read_text()))
    if not is_command(node)
]
WITH_SEVERAL = [case for case in FUNCTIONS if len(arguments(case.values[0])) > 1]


def test_there_is_something_to_check():
    assert len(FUNCTIONS) > 200
    assert len(WITH_SEVERAL) > 100


@pytest.mark.parametrize("node", WITH_SEVERAL)
def test_parameters_are_documented_in_their_order(node):
    found = documented(sections(ast.get_docstring(node) or "").get("Parameters", ""))
    assert [name for name in found if name != "_"] == arguments(node)


@pytest.mark.parametrize("node", WITH_SEVERAL)
def test_what_comes_back_is_documented(node):
    found = sections(ast.get_docstring(node) or "")
    gives = node.returns is not None and ast.unparse(node.returns) not in ("None", "NoReturn")
    assert bool({"Returns", "Yields"} & set(found)) == gives


@pytest.mark.parametrize("node", FUNCTIONS)
def test_what_is_raised_is_documented(node):
    named = set(documented(sections(ast.get_docstring(node) or "").get("Raises", "")))
    assert set(raised(node)) <= named
