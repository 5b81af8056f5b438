"""What all HTML pages share: their style, and the hash by which a page allows its own script."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

_STYLE = Path(__file__).parent / "page.css"


def read_style() -> str:
    """Read the style sheet: colours of light and dark pages, text, and the controls of pages that show verdicts.

    Returns
    -------
    str
        CSS. A page puts it before its own rules, which replace what is different there.

    Examples
    --------
    >>> "--accent:" in read_style()
    True
    """
    return _STYLE.read_text(encoding="utf-8").rstrip()


def hash_script(page: str) -> str:
    """Hash a page's own script, the only one that its Content-Security-Policy allows.

    Parameters
    ----------
    page : str
        HTML with one script element without attributes.

    Returns
    -------
    str
        As the policy takes it.

    Examples
    --------
    >>> hash_script("<script>stop()</script>")
    'sha256-+cxkFLprM1p+UYdsltwfzLJhu4c0AWgWWM2wCE77y2Q='
    """
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
