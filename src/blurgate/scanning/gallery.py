"""Verdicts -> one self-contained HTML page that shows every photo, to look through and to correct."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from blurgate.files import atomic_file
from blurgate.judging.verdicts import Verdict, worst_first
from blurgate.photos.images import thumbnail
from blurgate.threads import Track, no_track, run_in_order

THUMBNAIL_SIDE = 160  # pixels: some 5 kB each, so that the page of 10,000 photos is of tens of megabytes

_TEMPLATE = Path(__file__).parent / "templates" / "gallery.html"


def write_gallery(
    verdicts: Iterable[Verdict],
    path: str | os.PathLike[str],
    *,
    threshold: float,
    jobs: int | None = None,
    track: Track = no_track,
) -> None:
    """Write the page: thumbnails, worst first, with all that is known of each photo.

    On it the threshold can be moved, and a person says what the model got wrong and downloads that as a ``labels.csv``.

    Parameters
    ----------
    verdicts : iterable of Verdict
        Of photos on disk: each needs its path.
    path : path
        Of the HTML page. It shows a photo large from where the photo lies, or else its thumbnail.
    threshold : float
        From which probability on the verdicts say blurred.
    jobs : int, optional
        Thumbnails made at the same time; by default one for each core.
    track : Track, optional
        Shows how far it is.

    Raises
    ------
    ValueError
        If a verdict has no path, or the threshold is no probability.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_gallery([Verdict("moon.jpg", error="moon.jpg does not exist")], folder / "page.html", threshold=0.5)
    >>> [entry.name for entry in folder.iterdir()]
    ['page.html']
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
    path, photos = Path(path), sorted(verdicts, key=lambda verdict: (*worst_first(verdict), verdict.path))
    if any(not verdict.path for verdict in photos):
        raise ValueError("photos on disk were needed, got a verdict without a path")
    head, tail = _TEMPLATE.read_text(encoding="utf-8").split("{{ thumbnails }}")
    with (
        atomic_file(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as page,  # a CR would change the script's hash
    ):
        head = head.replace("{{ script_hash }}", _hash_script(head))
        page.write(head.replace("{{ photos }}", _to_json(photos, threshold, path)))
        thumbnails = _make_thumbnails(photos, jobs)
        for line in track(thumbnails, total=len(photos), doing="making thumbnails"):
            page.write(line)
        page.write(tail)


def _make_thumbnails(photos: Sequence[Verdict], jobs: int | None) -> Iterator[str]:
    """Make an inert script element for each photo, empty where it has no thumbnail: text that only the script reads."""

    def encode(verdict: Verdict) -> str:
        content = None if verdict.error else thumbnail(Path(verdict.path), side=THUMBNAIL_SIDE)
        return base64.b64encode(content or b"").decode()

    for place, content in enumerate(run_in_order(encode, photos, jobs=jobs)):
        yield f'<script type="text/plain" id="thumbnail-{place}">{content}</script>\n'


def _to_json(photos: Sequence[Verdict], threshold: float, page: Path) -> str:
    """Write what the page knows of the photos, safe within a script element: ASCII, and nothing that could end it."""
    known = [asdict(verdict) | _locate(verdict.path, page) for verdict in photos]
    # overrides are kept under this name, and must not meet other photos that were given the same page later
    key = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    text = json.dumps({"key": key, "threshold": threshold, "photos": known}, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c")


def _locate(photo: str, page: Path) -> dict[str, Any]:
    """Say where a photo lies: its absolute path, and links to it, for when both were moved and when only the page was.

    Links are of bytes, since a name need not be UTF-8.
    """
    file = os.path.abspath(photo)  # noqa: PTH100 Path.resolve would follow links, and the user knows the photo by its name
    links = [Path(file).as_uri()]
    try:
        relative = os.path.relpath(file, page.absolute().parent)
    except ValueError:  # on another drive of Windows
        return {"file": file, "links": links}
    return {"file": file, "links": ["./" + quote_from_bytes(os.fsencode(Path(relative).as_posix())), *links]}


def _hash_script(page: str) -> str:
    """Hash the page's own script: its Content-Security-Policy lets no other run."""
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
