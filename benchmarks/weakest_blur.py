"""Find the weakest blur that a model calls blurred: probability against the strength of a gaussian; print JSON.

    python benchmarks/weakest_blur.py ../shared/data/train --work work > weakest_blur.json
    python benchmarks/weakest_blur.py --table weakest_blur.json --figure docs/weakest_blur.svg

Sharp photos of each source are cropped to at most 1,048,576 pixels, so that they are judged at their own size, blurred
by a gaussian in linear light, and judged by each model. ``middle_px`` is the strength at which half of a source's
photos are called blurred. The strength is the second-moment radius: sigma times the square root of two. The shipped
models have seen these photos, sharp and with stronger blur; this only shows where they draw the line.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurgate import load_model, scan
from blurgate.making.blurs import BLURS
from blurgate.photos.finding import find_photos
from blurgate.photos.images import read_rgb
from models.held_out import MADE
from models.sources import find_sharp

MODELS = ("default", "trees", "net")
SIGMAS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0)  # pixels
PHOTOS = 60  # of each source
LONGEST = 1024  # pixels


def read_photos(folder: Path) -> list[NDArray[np.uint8]]:
    """Read evenly spaced photos of a folder, each cropped to its middle."""
    found = find_photos([folder])
    photos = [read_rgb(path) for path in found[:: max(1, len(found) // PHOTOS)][:PHOTOS]]
    return [_cut_middle(rgb) for rgb in photos]


def _cut_middle(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = (max(0, side - LONGEST) // 2 for side in rgb.shape[:2])
    return rgb[top : top + LONGEST, left : left + LONGEST]


def judge_strengths(photos: list[NDArray[np.uint8]]) -> dict[str, Any]:
    """Judge photos with more and more blur.

    Parameters
    ----------
    photos : list of ndarray of shape (height, width, 3), uint8

    Returns
    -------
    dict
        Model -> ``quartiles`` of the probability and ``share_blurred`` at each strength, and ``middle_px``.
    """
    models = {name: load_model(name) for name in MODELS}
    found: dict[str, Any] = {name: {"quartiles": [], "share_blurred": []} for name in models}
    for sigma in SIGMAS:
        blurred = [BLURS["gaussian"].apply(rgb, {"sigma_px": sigma}) for rgb in photos] if sigma else photos
        for name, model in models.items():
            verdicts = list(scan(blurred, model=model))
            probabilities = [verdict.probability for verdict in verdicts if verdict.probability is not None]
            found[name]["quartiles"].append(np.quantile(probabilities, (0.25, 0.5, 0.75)).round(4).tolist())
            found[name]["share_blurred"].append(np.mean([verdict.decision == "blurred" for verdict in verdicts]).item())
    for one in found.values():
        one["middle_px"] = find_middle(one["share_blurred"])
    return found


def find_middle(shares: list[float]) -> float | None:
    """Interpolate the strength, in pixels, from which half of the photos are blurred; None if they never are."""
    above = next((place for place, share in enumerate(shares) if share >= 0.5), 0)
    if not above:
        return None
    low, high = shares[above - 1], shares[above]
    sigma = SIGMAS[above - 1] + (0.5 - low) / (high - low) * (SIGMAS[above] - SIGMAS[above - 1])
    return round(float(sigma * np.sqrt(2)), 2)


def to_markdown(results: dict[str, Any]) -> str:
    """Format the results as Markdown."""
    lines = [f"| source | {' | '.join(MODELS)} |", "|---" * (1 + len(MODELS)) + "|"]
    for source, found in results["sources"].items():
        lines.append(f"| {source} | " + " | ".join(f"{found[name]['middle_px']} px" for name in MODELS) + " |")
    return "\n".join(lines)


def draw_figure(results: dict[str, Any], path: Path) -> None:
    """Draw the median probability of the default model against the strength, a line per source.

    Parameters
    ----------
    results : dict
        As `main` prints them.
    path : Path
        An SVG or PNG.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for source, found in results["sources"].items():
        quartiles = np.asarray(found["default"]["quartiles"])
        (line,) = axes.plot(results["strengths_px"], quartiles[:, 1], marker=".", label=source)
        axes.fill_between(
            results["strengths_px"], quartiles[:, 0], quartiles[:, 2], color=line.get_color(), alpha=0.12, linewidth=0
        )
    axes.set(xlabel="strength of the gaussian, px", ylabel="probability of blurred", ylim=(0, 1), xlim=(0, None))
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the JSON; or the Markdown, and draw the figure, of an earlier JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="a folder with the sources")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    parser.add_argument("--figure", type=Path, help="with --table: also draw it")
    options = parser.parse_args()
    if options.table:
        results = json.loads(options.table.read_text())
        print(to_markdown(results))
        if options.figure:
            draw_figure(results, options.figure)
        return
    sources = {source: judge_strengths(read_photos(find_sharp(options.data, options.work, source))) for source in MADE}
    strengths = [round(sigma * 2**0.5, 3) for sigma in SIGMAS]
    print(json.dumps({"strengths_px": strengths, "sources": sources}, indent=1))


if __name__ == "__main__":
    main()
