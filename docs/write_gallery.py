"""Write gallery.md and its pictures: verdicts, maps and words on bundled photographs, blurred here: ``make docs``.

    python docs/write_gallery.py [MODEL]

The photographs come with scikit-image and scikit-learn, of the extra ``demo``. Nothing was trained on them.
"""

import html
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage import data

from blurgate import Explanation, explain
from blurgate.demo import load_photographs
from blurgate.judging.verdicts import KINDS
from blurgate.making.blurs import (
    Kernel,
    convolve,
    defocus_kernel,
    gaussian_kernel,
    kernel_strength,
    motion_kernel,
    to_linear,
    to_rgb,
)
from blurgate.photos.images import RGB, encode_jpeg, read_rgb, resize

DOCS = Path(__file__).parent
FOLDER = DOCS / "gallery"
SIDE = 480  # pixels: longer side of a picture on the page
QUALITY = 92  # of the photos that are judged
SHOWN_QUALITY = 82  # of the pictures on the page

HEAD = """# What blurgate sees

Real photographs, blurred with the truth known, or partly in focus, as `blurgate explain` judges and explains them.
Left: the photo. Right: its map: what is in focus keeps its colours and has a line around it, what is blurred is tinted,
what cannot be told is hatched. `python docs/write_gallery.py` writes this page with the shipped model, its errors too.
"""


@dataclass(frozen=True)
class Example:
    """A photo of which something is known.

    Parameters
    ----------
    name : str
        Of its file.
    truth : str
        What is known, in words.
    make : callable
        Takes the photographs by name, and returns the picture.
    """

    name: str
    truth: str
    make: Callable[[dict[str, RGB]], RGB]


def blur(name: str, kernel: Kernel) -> Callable[[dict[str, RGB]], RGB]:
    """Make what blurs a photograph by a kernel, in linear light."""
    return lambda photographs: to_rgb(convolve(to_linear(photographs[name]), kernel))


def keep(name: str) -> Callable[[dict[str, RGB]], RGB]:
    """Make what leaves a photograph as it is."""
    return lambda photographs: photographs[name]


def focus_near(_: dict[str, RGB]) -> RGB:
    """Blur the motorcycle's surroundings by their true distance from it, as a fast lens would."""
    left, _, disparity = data.stereo_motorcycle()
    near = float(np.quantile(disparity[np.isfinite(disparity)], 0.6))
    radii = np.clip(np.abs(np.nan_to_num(disparity, posinf=near) - near) / 4 - 1.5, 0, 8)
    light = to_linear(np.ascontiguousarray(left))
    levels = np.arange(9)
    planes = [light if not radius else convolve(light, defocus_kernel(radius_px=float(radius))) for radius in levels]
    low = np.floor(radii).astype(int)
    share = (radii - low)[..., np.newaxis].astype(np.float32)
    stack, rows, columns = np.stack(planes), *np.indices(low.shape)
    return to_rgb((1 - share) * stack[low, rows, columns] + share * stack[np.minimum(low + 1, 8), rows, columns])


def dim(photographs: dict[str, RGB]) -> RGB:
    """Take the sharp coffee cup in the dark: three stops less light, and its noise."""
    light = to_linear(photographs["coffee"]) / 8
    noise = np.random.default_rng(0).normal(0, 1, light.shape)
    return to_rgb(np.asarray(light + noise * np.sqrt(light / 1500 + 1e-6), np.float32))


def cut_sky(photographs: dict[str, RGB]) -> RGB:
    """Blur a flat place of a photograph beyond recognition: nothing in it tells anything."""
    return to_rgb(convolve(to_linear(photographs["rocket"][:200, 380:]), gaussian_kernel(sigma_px=60)))


DISC, SHAKE = defocus_kernel(radius_px=5, n_blades=6), motion_kernel(length_px=26, shake=0.6, path_seed=4)
LINE, SOFT = motion_kernel(length_px=14, angle_deg=30), gaussian_kernel(sigma_px=2.4)
EXAMPLES = (
    Example("sharp", "Sharp, as it was taken.", keep("china")),
    Example("near", "Focused on the motorcycle; the wall behind it blurred by its true distance.", focus_near),
    Example("defocus", f"Out of focus: a six-bladed aperture of {kernel_strength(DISC):.1f} px.", blur("coffee", DISC)),
    Example(
        "motion",
        f"Moved along a line of 14 px, 30° from the horizontal: {kernel_strength(LINE):.1f} px.",
        blur("chelsea", LINE),
    ),
    Example("shake", f"Shaken along a path of 26 px: {kernel_strength(SHAKE):.1f} px.", blur("motorcycle_left", SHAKE)),
    Example("soft", f"Soft, as if enlarged: a gaussian of {kernel_strength(SOFT):.1f} px.", blur("astronaut", SOFT)),
    Example("dark", "Sharp, three stops too dark, with the noise of a phone.", dim),
    Example("page", "Sharp text.", keep("page")),
    Example("page_moved", "The same page, moved down by 9 px.", blur("page", motion_kernel(length_px=9, angle_deg=90))),
    Example("nothing", "Nothing that shows whether it is sharp.", cut_sky),
)


def write_gallery(model: str = "default") -> None:
    """Write the page and its pictures.

    Parameters
    ----------
    model : str
        A shipped model's name or a file.
    """
    FOLDER.mkdir(exist_ok=True)
    photographs = load_photographs()
    parts = [HEAD]
    for example in EXAMPLES:
        jpeg = encode_jpeg(example.make(photographs), quality=QUALITY)
        explanation = explain(jpeg, model=model)
        pictures = {example.name: read_rgb(jpeg), f"{example.name}_map": explanation.draw_over(jpeg)}
        for name, picture in pictures.items():
            (FOLDER / f"{name}.jpg").write_bytes(encode_jpeg(_fit(picture), quality=SHOWN_QUALITY))
        parts.append(_describe(example, explanation))
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


def _fit(rgb: RGB) -> RGB:
    """Shrink a picture to the size of the page."""
    scale = min(1.0, SIDE / max(rgb.shape[:2]))
    return resize(rgb, (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale)))


def _describe(example: Example, explanation: Explanation) -> str:
    """Describe an example in Markdown."""
    verdict, name = explanation.verdict, example.name
    figures = [f"**{verdict.decision}**"]
    if verdict.probability is not None:
        figures.append(f"P(blurred) {verdict.probability:.2f}")
    if verdict.kind:
        chances = {kind: getattr(verdict, f"p_{kind}") for kind in KINDS}
        listed = ", ".join(f"{kind} {chance:.2f}" for kind, chance in chances.items())
        figures.append(f"{verdict.kind} ({listed})")
    if verdict.strength_px is not None:
        bounds = f"{verdict.strength_low_px:.1f} to {verdict.strength_high_px:.1f}"
        figures.append(f"strength {verdict.strength_px:.1f} px ({bounds})")
    if verdict.decision == "blurred" and verdict.sharp_to_px is not None:
        figures.append(f"sharp up to {verdict.sharp_to_px} px")
    if explanation.focus.share is not None:
        figures.append(f"{100 * explanation.focus.share:.0f} % in focus")
    return f"""## {example.truth}

| the photo | its map |
|---|---|
| ![The photo](gallery/{name}.jpg) | ![Its map](gallery/{name}_map.jpg) |

{", ".join(figures)}.

> {html.escape(explanation.sentence, quote=False)}
"""


if __name__ == "__main__":
    write_gallery(*sys.argv[1:])
