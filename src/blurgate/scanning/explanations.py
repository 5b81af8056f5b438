"""Photos -> what there is to say about each, in words, and where they are blurred: as PNG or on one HTML page."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO

from blurgate.errors import PhotoError, escape_markup, raise_machine_error
from blurgate.files import atomic_file, hold_folder
from blurgate.judging.explaining import Explanation, explain
from blurgate.judging.maps import Focus
from blurgate.judging.model import BlurModel, Review, load_model, model_file
from blurgate.judging.verdicts import KINDS, Verdict
from blurgate.outputs import check_outputs
from blurgate.pages import hash_script, read_style
from blurgate.photos.finding import AnyPath, require_disk, require_paths, walk_photos
from blurgate.photos.images import RGB, encode_jpeg, encode_png, read_rgb, resize
from blurgate.photos.limits import MAX_MEGAPIXELS
from blurgate.photos.shrinking import At
from blurgate.scanning.picture_folders import PictureFolder
from blurgate.threads import Track, no_track, run_in_order

PAGE, PICTURE = ".html", ".png"  # suffixes of outputs; one without any is a folder

_MOSTLY = 0.9  # of a picture, from which on what is decided is the picture
_SIDE = 1024  # pixels: the longer side of a picture on the page
_QUALITY = 82
_MAX_PIXELS = 2**20  # of a photo that is shown
_TEMPLATE = Path(__file__).parent / "templates" / "explanations.html"


@dataclass(frozen=True)
class Explained:
    """What there is to say about one photo.

    Parameters
    ----------
    verdict : Verdict
    focus : Focus or None
        None if the photo could not be read.
    sentence : str
        Why the verdict is what it is, or why there is none.
    picture : Path or None
        The photo with its map over it, if it is a file of its own.
    """

    verdict: Verdict
    focus: Focus | None
    sentence: str
    picture: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Give all of it for JSON."""
        return {
            **asdict(self.verdict),
            "focus": asdict(self.focus) if self.focus else None,
            "sentence": self.sentence,
            "picture": None if self.picture is None else str(self.picture),
        }

    def list_facts(self) -> dict[str, str]:
        """Put what is known into words, by name; what is not known is left out.

        Returns
        -------
        dict of str to str
            ``kind``, ``strength``, ``motion``, ``sharp up to`` and ``in focus``.
        """
        facts = {
            "kind": self._describe_kind(),
            "strength": self._describe_strength(),
            "motion": self._describe_motion(),
            "sharp up to": self._describe_sharp(),
            "in focus": self._describe_focus(),
        }
        return {name: text for name, text in facts.items() if text}

    @property
    def kinds(self) -> dict[str, float]:
        """Probability of each kind; empty if none is known."""
        chances = {kind: getattr(self.verdict, f"p_{kind}") for kind in KINDS}
        return {} if None in chances.values() else chances

    def _describe_kind(self) -> str:
        chances = ", ".join(f"{kind} {chance:.2f}" for kind, chance in self.kinds.items())
        return f"{self.verdict.kind} ({chances})" if self.verdict.kind and chances else self.verdict.kind

    def _describe_strength(self) -> str:
        verdict, strength = self.verdict, self.verdict.strength_px
        if strength is None:
            return "cannot be told" if self.kinds else ""
        interval, own = (verdict.strength_low_px, verdict.strength_high_px), verdict.own_strength_px
        looked_at = f"{strength:.1f} px{_describe_interval(interval)}"
        if own is None or not strength or own < strength * 1.01:
            return looked_at
        own_interval = tuple(None if bound is None else bound * own / strength for bound in interval)
        size = f"{verdict.judged_at_px} px, the size looked at" if verdict.judged_at_px else "the size looked at"
        return f"{looked_at} at {size}; {own:.1f} px{_describe_interval(own_interval)} in the photo"

    def _describe_motion(self) -> str:
        length, angle = self.verdict.length_px, self.verdict.angle_deg
        parts = [None if length is None else f"{length:.1f} px long", None if angle is None else f"at {angle:.0f}°"]
        return ", ".join(filter(None, parts))

    def _describe_sharp(self) -> str:
        limit = self.verdict.sharp_to_px
        if limit is None:
            return ""
        if limit and limit == self.verdict.judged_at_px:
            return f"{limit} px on the longer side or more: as far as it was looked at"
        return f"{limit} px on the longer side" if limit else "no size that can be judged"

    def _describe_focus(self) -> str:
        if self.focus is None or self.focus.share is None:
            return ""
        pieces = {0: "", 1: ", in one piece"}.get(self.focus.pieces, f", in {self.focus.pieces} pieces")
        whole = "the picture" if self.focus.decided >= _MOSTLY else "what can be told"
        return f"{_percent(self.focus.share)} of {whole}{pieces}"


@dataclass(frozen=True)
class _Target:
    """Where explanations go: a page, one picture, or a folder of pictures."""

    output: Path
    kind: Literal["page", "picture", "folder", "nothing"]

    def check(self, photos: Sequence[Path], inputs: Sequence[Path | None], folder: PictureFolder) -> None:
        if self.kind == "nothing":
            return
        if self.kind == "folder":
            folder.check()
        elif self.kind == "page":
            check_outputs(explanations=self.output, inputs=[*inputs, *photos])
        else:
            check_outputs(explanation=self.output, inputs=[*inputs, *photos])
            if len(photos) > 1:
                raise ValueError(
                    f"output {self.output} takes one photo, got {len(photos)}: name a page (.html) or a folder"
                )


def write_explanations(
    paths: Sequence[AnyPath],
    output: Path | None,
    *,
    model: BlurModel | AnyPath = "default",
    threshold: float | None = None,
    review: Review | None = None,
    at: At = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    jobs: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    track: Track = no_track,
) -> Iterator[Explained]:
    """Explain photos one by one, and write them with their maps over them.

    Parameters
    ----------
    paths : sequence of path
        Photos, and folders to search for photos.
    output : Path or None
        ``.html``: one page of all photos. ``.png``: the one photo with its map. Without a suffix, or if it exists: a
        folder, which gets a PNG of each photo. None: nothing is written.
    model : BlurModel, path or name of a shipped model
        With an explainer.
    threshold, review, at, max_megapixels
        See `blurgate.judging.explaining.explain`.
    jobs : int, optional
        Number of photos explained in parallel, at least 1; by default one for each core.
    say : callable
        Called with a line about each folder that is left out.
    track : Track
        Shows progress.

    Yields
    ------
    Explained
        In the order of a scan. A photo that cannot be read has a verdict with its error.

    Raises
    ------
    ValueError
        If the output is none of these, is read, or is one picture for several photos; or as in `explain`.
    OutputError
        If the output cannot be written, or would replace what is not ours.
    PhotoError
        If a path does not exist, no photo is found, or none can be explained. Nothing is written then.
    ModelFileError, NetError, MachineError
        As in a scan.
    """
    target = _find_target(output)
    roots = [Path(os.fsdecode(path)) for path in paths]
    folder = PictureFolder(target.output, roots, "explanation")
    photos = list(_find_photos(paths, output if target.kind == "folder" else None, say))
    target.check(photos, [*roots, model_file(model)], folder)
    loaded = model if isinstance(model, BlurModel) else load_model(model)
    work = partial(explain, model=loaded, threshold=threshold, review=review, at=at, max_megapixels=max_megapixels)
    failed: list[str] = []
    with _open(target, folder, len(photos), max_megapixels) as (render, keep):

        def do(photo: Path) -> tuple[Explained, Any]:
            try:
                explanation = work(photo)
                rendered = _render(render, photo, explanation)
            except PhotoError as error:
                raise_machine_error(error)
                return Explained(Verdict(str(photo), error=str(error)), None, str(error)), None
            return Explained(explanation.verdict, explanation.focus, explanation.sentence), rendered

        for explained, rendered in track(run_in_order(do, photos, jobs=jobs), total=len(photos), doing="explaining"):
            if explained.verdict.error:
                failed.append(explained.verdict.error)
                if len(failed) == len(photos):
                    none = "" if len(photos) == 1 else f"none of {len(photos)} photos could be explained: "
                    raise PhotoError(none + failed[0])
            yield keep(explained, rendered)


def _render(render: Callable[[Path, Explanation], Any], photo: Path, explanation: Explanation) -> Any:
    try:
        return render(photo, explanation)
    except ValueError as error:  # it is read again, and has another size
        raise PhotoError(f"{photo} has changed while it was explained: explain it again") from error


def _find_target(output: Path | None) -> _Target:
    if output is None:
        return _Target(Path(), "nothing")
    suffix = output.suffix.lower()
    if output.is_dir() or not suffix:
        return _Target(output, "folder")
    if suffix not in (PAGE, PICTURE):
        raise ValueError(f"output must be named .html or .png, or be a folder, got {output}: choose another name")
    return _Target(output, "page" if suffix == PAGE else "picture")


def _find_photos(paths: Sequence[AnyPath], output: Path | None, say: Callable[[str], None]) -> Iterator[Path]:
    """Find photos as a scan does, but not what earlier runs have made."""
    require_disk(paths)
    require_paths(paths)
    left_out: list[str] = []
    found = False
    for each in walk_photos(paths, leave_out=[output] if output else [], note_left_out=left_out.append):
        if each.problem:
            raise PhotoError(f"{each.path} {each.problem}")
        found = True
        yield Path(each.path)
    for folder in left_out:
        if output is None or os.path.realpath(folder) != os.path.realpath(output):
            say(f"left out {folder}, where photos or pictures were filed: name that folder to explain what is in it")
    if not found:
        raise PhotoError("found no photos in the given folders: check the path")


@contextmanager
def _open(
    target: _Target, folder: PictureFolder, count: int, max_megapixels: float
) -> Iterator[tuple[Callable[[Path, Explanation], Any], Callable[[Explained, Any], Explained]]]:
    """Open the output; give what renders a photo, on any thread, and what writes it, in order."""

    def draw(photo: Path, explanation: Explanation) -> RGB:
        return explanation.draw_over(photo, max_megapixels=max_megapixels)

    if target.kind == "nothing":
        yield lambda *_: None, lambda explained, _: explained
        return
    with ExitStack() as opened:
        if target.kind == "folder":
            alone = opened.enter_context(hold_folder(target.output))

            def keep_in_folder(explained: Explained, pixels: RGB | None) -> Explained:
                place = None if pixels is None else folder.choose(explained.verdict.path)
                if pixels is None or place is None:
                    return explained
                folder.write(place, pixels, held=alone)
                return Explained(explained.verdict, explained.focus, explained.sentence, place)

            yield draw, keep_in_folder
            return
        partial_file = opened.enter_context(atomic_file(target.output))
        if target.kind == "picture":

            def keep_picture(explained: Explained, pixels: RGB) -> Explained:
                partial_file.write_bytes(encode_png(pixels, holds="explanation"))
                return Explained(explained.verdict, explained.focus, explained.sentence, target.output)

            yield draw, keep_picture
            return
        # "\r\n" would change the script's hash
        stream = opened.enter_context(partial_file.open("w", encoding="utf-8", newline="\n"))
        page = _Page(stream, count)

        def draw_both(photo: Path, explanation: Explanation) -> tuple[bytes, bytes]:
            plain = read_rgb(photo, min_side=1, max_pixels=_MAX_PIXELS, max_megapixels=max_megapixels)
            return _encode(plain), _encode(explanation.draw_over(plain))

        yield draw_both, page.add
        page.end()


class _Page:
    """An HTML page that is written photo by photo."""

    def __init__(self, stream: TextIO, count: int) -> None:
        head, self._tail = _TEMPLATE.read_text(encoding="utf-8").split("{{ photos }}")
        title = "1 photo explained" if count == 1 else f"{count:,} photos explained"
        self._stream, self._number = stream, 0
        head = head.replace("{{ style }}", read_style())
        stream.write(head.replace("{{ script_hash }}", hash_script(head + self._tail)).replace("{{ title }}", title))

    def add(self, explained: Explained, pictures: tuple[bytes, bytes] | None) -> Explained:
        """Write a photo."""
        self._stream.write(_write_article(explained, pictures, self._number))
        self._number += 1
        return explained

    def end(self) -> None:
        """Write the end of the page."""
        self._stream.write(self._tail)


def _write_article(explained: Explained, pictures: tuple[bytes, bytes] | None, number: int) -> str:
    verdict = explained.verdict
    folder, name = os.path.split(verdict.path)
    decision = "unread" if verdict.error else verdict.decision
    words = "could not be read" if verdict.error else verdict.decision
    chance = "" if verdict.probability is None else f"<span>P(blurred) {verdict.probability:.3f}</span>"
    facts = explained.list_facts()
    if explained.kinds:
        facts.pop("kind", None)  # the bar says it
    if verdict.width:
        facts["size"] = f"{verdict.width} × {verdict.height} px"
    listed = "".join(f"<dt>{escape_markup(each)}</dt><dd>{escape_markup(text)}</dd>" for each, text in facts.items())
    return (
        f'<article id="photo-{number}" aria-labelledby="name-{number}">\n'
        f"{_write_picture(explained, pictures)}\n"
        f'<div class="words"><header><h2 id="name-{number}">{escape_markup(name)}</h2>'
        + (f'<p class="note folder">{escape_markup(folder)}</p>' if folder else "")
        + f'</header><p class="verdict is-{decision}"><b>{words}</b>{chance}</p>'
        f'<p class="sentence">{escape_markup(explained.sentence)}</p>{_write_kinds(explained)}'
        + (f"<dl>{listed}</dl>" if listed else "")
        + "</div>\n</article>\n"
    )


def _write_picture(explained: Explained, pictures: tuple[bytes, bytes] | None) -> str:
    """Write both pictures, one over the other, in a button that says what it does."""
    name = escape_markup(os.path.basename(explained.verdict.path))  # noqa: PTH119 it is a string
    if pictures is None:
        return '<div class="picture missing"><p>no picture</p></div>'
    plain, over = (f"data:image/jpeg;base64,{base64.b64encode(each).decode()}" for each in pictures)
    seen = explained.list_facts().get("in focus", "nothing in it tells where it is sharp")
    return (
        f'<div class="picture"><button type="button" class="toggle" aria-pressed="true" aria-label="Map of {name}">'
        f'<img class="plain" alt="{name}" src="{plain}" decoding="async">'
        f'<img class="over" alt="{name} with its map: {escape_markup(seen)}" src="{over}" decoding="async"></button>'
        '<span class="shows" aria-hidden="true"></span></div>'
    )


def _write_kinds(explained: Explained) -> str:
    """Write the probabilities of the kinds as one bar with its legend."""
    kinds = explained.kinds
    if not kinds:
        return ""
    bar = "".join(f'<i class="{kind}" style="width:{100 * chance:.1f}%"></i>' for kind, chance in kinds.items())
    best = explained.verdict.kind
    legend = "".join(
        f'<li class="{kind}{" best" if kind == best else ""}"><i></i>{kind} <span>{_percent(chance)}</span></li>'
        for kind, chance in kinds.items()
    )
    title = f"Kind of blur: <b>{escape_markup(best)}</b>" if best else "Kind of blur"
    return f'<div class="kinds"><p>{title}</p><div class="bar" aria-hidden="true">{bar}</div><ul>{legend}</ul></div>'


def _encode(rgb: RGB) -> bytes:
    """Encode a picture for the page."""
    height, width = rgb.shape[:2]
    factor = min(1.0, _SIDE / max(width, height))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return encode_jpeg(rgb if factor == 1 else resize(rgb, size), quality=_QUALITY)


def _describe_interval(interval: Iterable[float | None]) -> str:
    low, high = interval
    return "" if low is None or high is None else f" ({low:.1f} to {high:.1f})"


def _percent(share: float) -> str:
    return "less than 1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"
