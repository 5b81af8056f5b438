"""What all pages share: one place for colours."""

import re
from pathlib import Path

import pytest

import blurgate
from blurgate.judging.explaining import TINT
from blurgate.pages import hash_script, read_style

SOURCE = Path(blurgate.__file__).parent
PAGES = [SOURCE / "scanning/templates/gallery.html", SOURCE / "scanning/templates/explanations.html"]
PAGES += [SOURCE / "learning/templates/report.html.jinja", *sorted(SOURCE.glob("serving/page/*.*"))]


def find_defined(text):
    return set(re.findall(r"(--[a-z-]+):", text))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_defines_no_colour_that_the_style_has_and_uses_none_that_is_not_there(page):
    text, shared = page.read_text(encoding="utf-8"), find_defined(read_style())
    own = find_defined(text) | set(re.findall(r'setProperty\("(--[a-z-]+)"', text))
    assert own & shared == set()
    assert set(re.findall(r"var\((--[a-z-]+)\)", text)) <= own | shared


def test_legends_have_the_tint_of_the_maps():
    assert f"--tint: rgb({' '.join(map(str, TINT))});" in read_style()


def test_the_hash_is_that_of_the_script_alone():
    assert (
        hash_script("<script>a</script>") == hash_script("<p><script>a</script>b") != hash_script("<script>b</script>")
    )
