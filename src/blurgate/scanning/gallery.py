"""Verdicts -> one self-contained HTML page for browsing and correcting them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from blurgate.files import atomic_file
from blurgate.judging.verdicts import Verdict, worst_first
from blurgate.photos.images import read_rgb, read_shot, resize, thumbnail
from blurgate.threads import Track, no_track, run_in_order

_LEVELS = 3  # folders around the photos that a page looks for beside itself
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
        head = head.replace("{{ script_hash }}", hash_script(head))
        page.write(head.replace("{{ photos }}", _describe(photos, threshold, path)))
        thumbnails = _make_thumbnails(photos, jobs)
        for line in track(thumbnails, total=len(photos), doing="making thumbnails"):
            page.write(line)
        page.write(tail)


def _make_thumbnails(photos: Sequence[Verdict], jobs: int | None) -> Iterator[str]:
    """Make an inert script element per photo, empty if it has no thumbnail: text that only the page's script reads.

    A second one follows if its file says how the photo was taken.
    """

    def encode(verdict: Verdict) -> tuple[bytes, bytes, dict[str, str]]:
        content = None if verdict.error else thumbnail(Path(verdict.path), side=THUMBNAIL_SIDE)
        return (content, _find_layout(content), read_shot(verdict.path)) if content else (b"", b"", {})

    for index, (*parts, shot) in enumerate(run_in_order(encode, photos, jobs=jobs)):
        content, layout = (base64.b64encode(part).decode() for part in parts)
        yield f'<script type="text/plain" id="thumbnail-{index}" data-layout="{layout}">{content}</script>\n'
        if shot:
            yield f'<script type="application/json" id="shot-{index}">{_to_json(shot)}</script>\n'


def _find_layout(jpeg: bytes) -> bytes:
    """Reduce a picture to the colours of 4 x 4 cells, in 48 bytes, by which the page finds photos unlike each other."""
    return resize(read_rgb(jpeg, min_side=1), (4, 4)).tobytes()


def _describe(photos: Sequence[Verdict], threshold: float, page: Path) -> str:
    """Encode the page's data."""
    files = [os.path.abspath(verdict.path) for verdict in photos]  # noqa: PTH100 Path.resolve would follow links, but users know the photo by its own name
    root = _find_root(files)
    data = [
        asdict(verdict) | {"file": file, "tail": _find_tail(file, root)}
        for verdict, file in zip(photos, files, strict=True)
    ]
    # the browser stores overrides under this key: a later page at the same path, of other photos, must not load them
    key = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    places = {"places": _find_places(root, page), "guesses": _guess_places(root)}
    return _to_json({"key": key, "threshold": threshold, **places, "photos": data})


def _to_json(data: Mapping[str, Any]) -> str:
    """Encode data safely for a script element: ASCII, without anything that could end the element."""
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", r"\u003c")


def _find_root(files: Sequence[str]) -> str:
    """Find the folder that holds all photos at some depth; empty if there is none, as on two Windows drives."""
    try:
        return os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120 these are strings
    except ValueError:
        return ""


def _find_tail(file: str, root: str) -> str:
    """Give the rest of a photo's links, after the place of the root."""
    if not root:
        return Path(file).as_uri().removeprefix("file:///")
    return quote_from_bytes(os.fsencode(Path(os.path.relpath(file, root)).as_posix()))


def _find_places(root: str, page: Path) -> list[str]:
    """List the links to the photos' folder that a page tries in turn.

    Relative ones work if page and photos are moved together. The page or the photos may have been named by a link to a
    folder, so there are some between their own places too: the browser may open either. The absolute one works if only
    the page is moved. Links encode bytes, since a name need not be valid UTF-8.
    """
    if not root:
        return ["file:///"]
    page = page.absolute()
    real = Path(os.path.realpath(page)).parent
    places = [
        _link(root, page.parent),
        _link(root, real),
        _link(os.path.realpath(root), real),
        Path(root).as_uri() + "/",
    ]
    return list(dict.fromkeys(place for place in places if place))


def _guess_places(root: str) -> list[str]:
    """List links that work if the photos' folder, or one around it, was moved beside the page, or the page into it."""
    names = Path(root).parts[1:][-_LEVELS:]
    tails = ["/".join(names[level:]) for level in range(len(names))]
    return [*(f"./{quote_from_bytes(os.fsencode(tail))}/" for tail in tails), "./"] if root else []


def _link(folder: str, page_folder: Path) -> str:
    """Give a folder's place relative to another one; empty if there is none, as on another Windows drive."""
    try:
        relative = Path(os.path.relpath(folder, page_folder)).as_posix()
    except ValueError:
        return ""
    return "./" if relative == "." else f"./{quote_from_bytes(os.fsencode(relative))}/"


def hash_script(page: str) -> str:
    """Hash a page's own script, the only one that its Content-Security-Policy allows."""
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
