"""Verdicts -> one self-contained HTML page for browsing and correcting them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from blurgate.errors import PhotoError
from blurgate.files import atomic_file
from blurgate.judging.explaining import explain_plane
from blurgate.judging.model import BlurModel
from blurgate.judging.verdicts import OF_BLURRED, Evidence, Verdict, worst_first
from blurgate.pages import hash_script, read_style
from blurgate.photos.addresses import is_address
from blurgate.photos.images import Plane, read_plane, read_rgb, read_shot, resize, thumbnail
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At
from blurgate.scanning.overlays import draw_overlay
from blurgate.threads import Track, no_track, run_in_order

_LEVELS = 3  # folders around the photos that a page looks for beside itself
MAPPED = 1000  # photos, worst first, that get a map: each takes about as long as a verdict
THUMBNAIL_SIDE = 160  # pixels: about 5 kB each, so a page of 10,000 photos takes tens of megabytes

_TEMPLATE = Path(__file__).parent / "templates" / "gallery.html"


@dataclass(frozen=True)
class _Read:
    """Reads photos as they were judged, for a model that explains them."""

    model: BlurModel
    at: At
    max_megapixels: float

    def read(self, photo: str | bytes) -> Plane:
        max_pixels = self.model.inputs.measured.max_pixels
        return read_plane(photo, min_side=1, max_pixels=max_pixels, max_megapixels=self.max_megapixels, at=self.at)


def write_gallery(
    verdicts: Iterable[Verdict],
    path: str | os.PathLike[str],
    *,
    threshold: float,
    model: BlurModel | None = None,
    at: At = None,
    column: str | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    jobs: int | None = None,
    track: Track = no_track,
) -> None:
    """Write an HTML page of thumbnails, worst first, with all details of each verdict.

    On the page, users can preview another threshold, mark wrong decisions, label the photos whose labels would teach
    the model most, and download all labels as ``labels.csv``. With a model that explains, the first `MAPPED` photos
    also have a map of what is blurred in them, and a sentence.

    Parameters
    ----------
    verdicts : iterable of Verdict
        For photos on disk: each needs its path.
    path : path
        The HTML file. Its large view loads a photo from its own file, or falls back to the thumbnail.
    threshold : float
        Threshold of the verdicts, 0 to 1: blurred from this probability on.
    model : BlurModel, optional
        The model of the verdicts. If it has an explainer, maps are drawn, which takes about as long as the verdicts.
    at : int or 'full', optional
        The size at which the photos were judged; see `BlurModel.predict`.
    column : str, optional
        Of the pictures in Parquet tables; see `blurgate.scanning.stream.scan`.
    max_megapixels : float
        See `blurgate.photos.images.read_gray`.
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
    NetError
        If the explainer of the model cannot answer.

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
    read = _Read(model, at, max_megapixels) if model and model.explainer else None
    head, tail = _TEMPLATE.read_text(encoding="utf-8").split("{{ thumbnails }}")
    with (
        atomic_file(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as page,  # "\r\n" would change the script's hash
    ):
        head = head.replace("{{ script_hash }}", hash_script(head))
        head = head.replace("{{ style }}", read_style())
        page.write(head.replace("{{ photos }}", _describe(photos, threshold, path, mapped=MAPPED if read else 0)))
        doing = "making thumbnails and maps" if read else "making thumbnails"
        for lines in track(_make_parts(photos, read, column, jobs), total=len(photos), doing=doing):
            page.write(lines)
        page.write(tail)


def _make_parts(photos: Sequence[Verdict], read: _Read | None, column: str | None, jobs: int | None) -> Iterator[str]:
    """Make script elements for each photo that do not run: text that only the page's script reads.

    The first holds the thumbnail, and is empty if there is none. Others follow if the photo's file says how it was
    taken, and if the model explains it.
    """

    def make(item: tuple[int, Verdict]) -> str:
        index, verdict = item
        photo = None if verdict.error else _fetch(verdict.path, column)
        content = None if photo is None else thumbnail(photo, side=THUMBNAIL_SIDE)
        if photo is None or content is None:
            return f'<script type="text/plain" id="thumbnail-{index}" data-layout=""></script>\n'
        layout, encoded = _encode(_find_layout(content)), _encode(content)
        lines = [f'<script type="text/plain" id="thumbnail-{index}" data-layout="{layout}">{encoded}</script>\n']
        found = _explain(verdict, photo, read) if read and index < MAPPED else {}
        for name, data in {"shot": read_shot(photo), "explanation": found}.items():
            if data:
                lines.append(f'<script type="application/json" id="{name}-{index}">{_to_json(data)}</script>\n')
        return "".join(lines)

    return run_in_order(make, enumerate(photos), jobs=jobs)


def _fetch(path: str, column: str | None) -> str | bytes | None:
    """Read a photo that is not on a disk, once for all that the page has of it; None if it cannot be read."""
    from blurgate.photos.archives import read_member  # a page of photos on a disk needs none of it

    try:
        return read_member(path, column=column) if is_address(path) else path
    except (PhotoError, ValueError):  # ValueError: the table is another now
        return None


def _explain(verdict: Verdict, photo: str | bytes, read: _Read) -> dict[str, Any]:
    """Describe the map of a photo for the page; nothing if its file is no longer what was scanned.

    Places are left, top, right and bottom as shares of the photo. What is known of the blur of a photo that the scan
    did not call blurred is there for lower thresholds.
    """
    try:
        plane = read.read(photo)
    except PhotoError:
        return {}
    if (plane.width, plane.height) != (verdict.width, verdict.height):
        return {}
    explanation = explain_plane(verdict, plane, read.model)
    focus, drawn = explanation.focus, draw_overlay(explanation.map)
    found: dict[str, Any] = {
        "sentence": explanation.sentence,
        "map": _encode(drawn),
        "place": _to_shares(plane.part or (0, 0, plane.width, plane.height), plane),
        "box": focus.box and _to_shares(focus.box, plane),
        "share": focus.share,
        "pieces": focus.pieces,
        "blur": {},
    }
    if drawn and verdict.decision != "blurred" and verdict.judged_at_px == max(plane.gray.shape):
        size = {name: getattr(verdict, name) for name in ("width", "height", "part", "judged_at_px")}
        evidence = read.model.explain_blur(Evidence(**size), plane.gray)
        found["blur"] = {name: getattr(evidence, name) for name in OF_BLURRED}
    return found


def _to_shares(box: tuple[int, int, int, int], plane: Plane) -> list[float]:
    sides = (plane.width, plane.height) * 2
    return [round(place / side, 4) for place, side in zip(box, sides, strict=True)]


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _find_layout(jpeg: bytes) -> bytes:
    """Reduce a picture to the colours of 4 x 4 cells, in 48 bytes, by which the page finds photos unlike each other."""
    return resize(read_rgb(jpeg, min_side=1), (4, 4)).tobytes()


def _describe(photos: Sequence[Verdict], threshold: float, page: Path, *, mapped: int) -> str:
    """Encode the page's data."""
    files = [_locate(verdict.path) for verdict in photos]
    root = _find_root([file for file in files if not is_address(file)])
    data = [
        asdict(verdict) | {"file": file, "tail": "" if is_address(file) else _find_tail(file, root)}
        for verdict, file in zip(photos, files, strict=True)
    ]
    # the browser stores overrides under this key: a later page at the same path, of other photos, must not load them
    key = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    places = {"places": _find_places(root, page), "guesses": _guess_places(root)}
    return _to_json({"key": key, "threshold": threshold, "mapped": mapped, **places, "photos": data})


def _locate(path: str) -> str:
    """Make a path absolute; what lies in a store or an archive has no place that a page could link to."""
    return path if is_address(path) else os.path.abspath(path)  # noqa: PTH100 Path.resolve would follow links, but users know the photo by its own name


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
