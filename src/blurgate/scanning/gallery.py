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
    model: BlurModel | None = None,
    jobs: int | None = None,
    track: Track = no_track,
) -> None:
    """Write an HTML page of thumbnails, worst first, with all details of each verdict.

    On the page, users can preview another threshold, mark wrong decisions, label the photos whose labels would teach
    the model most, and download all labels as ``labels.csv``. With a model that explains, the first `MAPPED` photos also
    have a map of what is blurred in them, and a sentence.

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
    explaining = model if model is not None and model.explainer else None
    head, tail = _TEMPLATE.read_text(encoding="utf-8").split("{{ thumbnails }}")
    with (
        atomic_file(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as page,  # "\r\n" would change the script's hash
    ):
        head = head.replace("{{ script_hash }}", _hash_script(head))
        for name, (*code, opacity) in {"map_sharp": _SHARP, "map_blurred": _BLURRED}.items():
            head = head.replace(f"{{{{ {name} }}}}", f"rgb({' '.join(map(str, code))} / {opacity / 255:.2f})")
        page.write(head.replace("{{ photos }}", _describe(photos, threshold, path, mapped=MAPPED if explaining else 0)))
        parts, doing = _make_parts(photos, explaining, jobs), "making thumbnails and maps" if explaining else "making thumbnails"
        for line in track(parts, total=len(photos), doing=doing):
            page.write(line)
        page.write(tail)


def _make_parts(photos: Sequence[Verdict], model: BlurModel | None, jobs: int | None) -> Iterator[str]:
    """Make an inert script element per photo, empty if it has no thumbnail: text that only the page's script reads.

    Others follow if its file says how the photo was taken, and if the model explains it.
    """

    def make(item: tuple[int, Verdict]) -> str:
        index, verdict = item
        content = None if verdict.error else thumbnail(Path(verdict.path), side=THUMBNAIL_SIDE)
        layout = _find_layout(content) if content else b""
        lines = f'<script type="text/plain" id="thumbnail-{index}" data-layout="{_encode(layout)}">{_encode(content or b"")}</script>\n'
        shot = read_shot(verdict.path) if content else {}
        found = _explain(verdict, model) if content and model and index < MAPPED else None
        for name, data in {"shot": shot, "explanation": found}.items():
            if data:
                lines += f'<script type="application/json" id="{name}-{index}">{_to_json(data)}</script>\n'
        return lines

    return run_in_order(make, enumerate(photos), jobs=jobs)


def _explain(verdict: Verdict, model: BlurModel) -> dict[str, Any] | None:
    """Say in data for the page where a photo is blurred; None if its file is no longer what was scanned.

    The map is drawn for the decision of the scan. Places are shares of the photo: left, top, right and bottom.
    """
    if model.explainer is None:
        return None
    try:
        plane = read_plane(verdict.path, min_side=1, max_pixels=model.inputs.measured.max_pixels)
    except PhotoError:
        return None
    if (plane.width, plane.height) != (verdict.width, verdict.height):
        return None
    drawn = draw_map(model.explainer.predict_map(plane.gray), plane.gray, verdict.decision)
    focus, part = find_focus(drawn), plane.part or (0, 0, plane.width, plane.height)
    blur = {}
    if verdict.decision != "blurred" and verdict.judged_at_px == max(plane.gray.shape):
        evidence = Evidence(width=plane.width, height=plane.height, part=plane.part, judged_at_px=verdict.judged_at_px)
        explained = model.explain_blur(evidence, plane.gray)
        blur = {name: getattr(explained, name) for name in OF_BLURRED}
    return {
        "sentence": describe(verdict, focus.placed(...)),
        "map": _encode(_draw_small(drawn)),
        "place": _to_shares(part, plane),
        "box": focus.box,
        "share": focus.share,
        "pieces": focus.pieces,
        "blur": blur,
    }


def _draw_small(drawn: NDArray[np.float32]) -> bytes:
    """Draw a map as a small PNG to lay over a photo, in 0.3 to 1 kB; empty if nothing in it is decided."""
    decided = ~np.isnan(drawn)
    if not decided.any():
        return b""
    counts, sums = _sum_cells(decided.astype(np.float32)), _sum_cells(np.where(decided, drawn, 0))
    means = sums / np.maximum(counts, 1)
    codes = np.rint(means * (_LEVELS_OF_MAP - 1))
    codes[counts < _sum_cells(np.ones_like(drawn)) / 2] = _LEVELS_OF_MAP  # undecided
    return encode_palette(codes.astype(np.uint8), _PALETTE)


def _sum_cells(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum a plane over cells, at most `_MAP_SIDE` on a side."""
    for axis, length in enumerate(plane.shape):
        count = min(length, max(1, round(_MAP_SIDE * length / max(plane.shape))))
        plane = np.add.reduceat(plane, np.arange(count) * length // count, axis=axis)
    return plane


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _find_layout(jpeg: bytes) -> bytes:
    """Reduce a picture to the colours of 4 x 4 cells, in 48 bytes, by which the page finds photos unlike each other."""
    return resize(read_rgb(jpeg, min_side=1), (4, 4)).tobytes()


def _describe(photos: Sequence[Verdict], threshold: float, page: Path, *, mapped: int) -> str:
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
    return _to_json({"key": key, "threshold": threshold, "mapped": mapped, **places, "photos": data})


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


def _hash_script(page: str) -> str:
    """Hash the page's own script, the only one that its Content-Security-Policy allows."""
    script = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    return "sha256-" + base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
