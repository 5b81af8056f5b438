"""Verdicts -> one self-contained HTML page for browsing and correcting them."""

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
from blurgate.photos.images import read_rgb, resize, thumbnail
from blurgate.threads import Track, no_track, run_in_order

THUMBNAIL_SIDE = 160  # pixels: about 5 kB each, so a page of 10,000 photos takes tens of megabytes

_TEMPLATE = Path(__file__).parent / "templates" / "gallery.html"


def write_gallery(
    verdicts: Iterable[Verdict],
    path: str | os.PathLike[str],
    *,
    threshold: float,
    jobs: int | None = None,
    track: Track = no_track,
) -> None:
    """Write an HTML page of thumbnails, worst first, with all details of each verdict.

    On the page, users can preview another threshold, mark wrong decisions, label the photos whose labels would teach
    the model most, and download all labels as ``labels.csv``.

    Parameters
    ----------
    verdicts : iterable of Verdict
        For photos on disk: each needs its path.
    path : path
        The HTML file. Its large view loads a photo from its own file, or falls back to the thumbnail.
    threshold : float
        Threshold of the verdicts, 0 to 1: blurred from this probability on.
    jobs : int, optional
        Number of thumbnails made in parallel, at least 1; by default one for each core.
    track : Track, optional
        Shows progress.

    Raises
    ------
    ValueError
        If a verdict has no path, or the threshold is not a probability.
    OSError
        If the file cannot be written.

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
        raise ValueError(
            "a gallery needs photos on disk, but a verdict has no path: scan files instead of pictures in memory"
        )
    head, tail = _TEMPLATE.read_text(encoding="utf-8").split("{{ thumbnails }}")
    with (
        atomic_file(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as page,  # "\r\n" would change the script's hash
    ):
        head = head.replace("{{ script_hash }}", _hash_script(head))
        page.write(head.replace("{{ photos }}", _to_json(photos, threshold, path)))
        thumbnails = _make_thumbnails(photos, jobs)
        for line in track(thumbnails, total=len(photos), doing="making thumbnails"):
            page.write(line)
        page.write(tail)


def _make_thumbnails(photos: Sequence[Verdict], jobs: int | None) -> Iterator[str]:
    """Make an inert script element per photo, empty if it has no thumbnail: text that only the page's script reads."""

    def encode(verdict: Verdict) -> tuple[bytes, bytes]:
        content = None if verdict.error else thumbnail(Path(verdict.path), side=THUMBNAIL_SIDE)
        return (content, _find_layout(content)) if content else (b"", b"")

    for index, parts in enumerate(run_in_order(encode, photos, jobs=jobs)):
        content, layout = (base64.b64encode(part).decode() for part in parts)
        yield f'<script type="text/plain" id="thumbnail-{index}" data-layout="{layout}">{content}</script>\n'


def _find_layout(jpeg: bytes) -> bytes:
    """Reduce a picture to the colours of 4 x 4 cells, in 48 bytes, by which the page finds photos unlike each other."""
    return resize(read_rgb(jpeg, min_side=1), (4, 4)).tobytes()


def _to_json(photos: Sequence[Verdict], threshold: float, page: Path) -> str:
    """Encode the page's data, safe within a script element: ASCII, without anything that could end the element."""
    data = [asdict(verdict) | _locate(verdict.path, page) for verdict in photos]
    # the browser stores overrides under this key: a later page at the same path, of other photos, must not load them
    key = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    text = json.dumps({"key": key, "threshold": threshold, "photos": data}, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c")


def _locate(photo: str, page: Path) -> dict[str, Any]:
    """Give a photo's absolute path and links to it.

    The relative link works if page and photos are moved together, the absolute one if only the page is moved. Links
    encode bytes, since a file name need not be valid UTF-8.
    """
    file = os.path.abspath(photo)  # noqa: PTH100 Path.resolve would follow links, but users know the photo by its own name
    links = [Path(file).as_uri()]
    try:
        relative = os.path.relpath(file, page.absolute().parent)
    except ValueError:  # on another Windows drive
        return {"file": file, "links": links}
    return {"file": file, "links": ["./" + quote_from_bytes(os.fsencode(Path(relative).as_posix())), *links]}


def _hash_script(page: str) -> str:
    """Hash the page's own script, the only one that its Content-Security-Policy allows."""
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
