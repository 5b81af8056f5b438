"""Measure what the explainer says: kind, strength, direction, `sharp_to_px` and map; print JSON.

    pip install scikit-image
    python benchmarks/explain.py ../shared/data > explain.json
    python benchmarks/explain.py --table explain.json          # as Markdown, for docs/results.md

The argument is a folder with ``bench``, in which nothing is trained on or tuned on. Made blur is the recipe camera's,
with cameras and blurs that no training has drawn, on the plainly exposed photos of ``bench/exposures``. Strengths are
compared at the size that was looked at. The photos of ``bench/defocus_maps`` have masks, white where out of focus: maps
are compared with them pixel by pixel at the full resolution of the masks, and what a map leaves undecided counts as
half blurred. ``blur_effect`` and the variance of the Laplacian are measured in windows, and only rank pixels.
"""

import argparse
import csv
import io
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats
from sklearn.metrics import roc_auc_score

from benchmarks.accuracy import group_series
from blurgate import BlurModel, Verdict, explain, load_model
from blurgate.judging.verdicts import KINDS
from blurgate.making.blurs import BLURS, KernelBlur, kernel_moments
from blurgate.making.camera import draw_camera
from blurgate.making.recipes import MAX_SIDE, draw_blur
from blurgate.photos.finding import find_photos
from blurgate.photos.images import RGB, Gray, read_gray, read_rgb, resize
from blurgate.threads import run_in_order
from models.held_out import Results

VERSIONS = 12  # blurred pictures of each photo
SEED = 1_900_000
WEAKEST = 1.0  # pixels: strength of the weakest made blur
FACTORS = (0.5, 0.7, 1.4, 2.0)
WINDOW = 33  # pixels: of local measures
BETA_SQUARED = 0.3  # of the F measure, as in the literature on maps of defocus
LARGE = (4000, 3000)  # pixels: width and height of the photo whose cost is measured
ROUNDS = 15


@dataclass(frozen=True)
class Made:
    """A picture whose blur is known.

    Parameters
    ----------
    jpeg : bytes
    kind : str
    strength_px, angle_deg, elongation : float
        As of `blurgate.judging.explainers.BlurEstimate`, in pixels of the picture.
    """

    jpeg: bytes
    kind: str
    strength_px: float
    angle_deg: float
    elongation: float


def make_pictures(folder: Path) -> Iterator[Made]:
    """Blur the plainly exposed photos of a folder, each by `VERSIONS` cameras and blurs.

    Parameters
    ----------
    folder : Path
        Has a ``labels.csv`` with the columns ``file`` and ``tier``.

    Yields
    ------
    Made
    """
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as handle:
        files = [row["file"] for row in csv.DictReader(handle) if row["tier"] == "plain"]
    for number, file in enumerate(files):
        rgb = read_rgb(folder / file)
        top, left = (max(0, (side - MAX_SIDE) // 2) for side in rgb.shape[:2])
        rgb = rgb[top : top + MAX_SIDE, left : left + MAX_SIDE]
        for version in range(VERSIONS):
            if made := make_picture(rgb, np.random.default_rng([SEED, number, version])):
                yield made


def make_picture(rgb: RGB, rng: np.random.Generator) -> Made | None:
    """Blur a photo at random, as the recipe camera does; None if it is blurred in two ways, whose truth is two.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
    rng : numpy.random.Generator

    Returns
    -------
    Made or None
    """
    camera = draw_camera(rng).fit_to(rgb)
    drawn = draw_blur(rgb, camera.recover_light(rgb), camera, rng, blurred=True, weakest=WEAKEST)
    if drawn.mask is not None:
        return None
    blur = BLURS[drawn.kind]
    assert isinstance(blur, KernelBlur)
    across, both, down = (camera.scale**2 * each for each in kernel_moments(blur.kernel(**drawn.parameters)))
    return Made(
        jpeg=camera.take_picture(drawn.light, rng),
        kind=drawn.kind,
        strength_px=math.hypot(drawn.strength_px, camera.softness_px),
        angle_deg=math.degrees(math.atan2(-2 * both, across - down)) / 2 % 180,
        elongation=math.hypot(across - down, 2 * both) / (across + down),
    )


def evaluate_made(model: BlurModel, folder: Path) -> Results:
    """Compare kinds, angles and strengths with those of made blur.

    Parameters
    ----------
    model : BlurModel
    folder : Path
        See `make_pictures`.

    Returns
    -------
    dict
    """
    made = list(make_pictures(folder))
    found = [explain(each.jpeg, model=model, threshold=0.0).verdict for each in made]
    pairs = [(truth, verdict) for truth, verdict in zip(made, found, strict=True) if verdict.p_motion is not None]
    sizes = [max(verdict.width or 1, verdict.height or 1) / (verdict.judged_at_px or 1) for _, verdict in pairs]
    strengths = np.asarray([truth.strength_px / size for (truth, _), size in zip(pairs, sizes, strict=True)])
    strong = [pair for pair, strength in zip(pairs, strengths, strict=True) if strength >= 2]
    measured = [
        (strength, verdict)
        for (_, verdict), strength in zip(pairs, strengths, strict=True)
        if 1 <= strength <= 10 and verdict.strength_px is not None
    ]
    truth, estimate = np.asarray([[strength, verdict.strength_px] for strength, verdict in measured]).T
    inside = [verdict.strength_low_px <= strength <= verdict.strength_high_px for strength, verdict in measured]
    in_range = int(((strengths >= 1) & (strengths <= 10)).sum())
    return {
        "pictures": len(made),
        "kind": score_kinds(strong),
        "kind by strength": {
            f"{low} to {high} px": score_kinds([p for p, s in zip(pairs, strengths, strict=True) if low <= s < high])
            for low, high in ((1, 2), (2, 4), (4, 8), (8, 64))
        },
        "angle": score_angles(strong),
        "strength": {
            "n": len(measured),
            "none": in_range - len(measured),
            "spearman": float(stats.spearmanr(truth, estimate).statistic),
            "median_relative_error": float(np.median(np.abs(estimate / truth - 1))),
            "inside_interval": float(np.mean(inside)),
        },
    }


def score_kinds(pairs: Sequence[tuple[Made, Verdict]]) -> Results:
    """Score the most probable kinds, and count how often the evidence is thin."""
    confusion = {true: dict.fromkeys(KINDS, 0) for true in KINDS}
    for truth, verdict in pairs:
        confusion[truth.kind][_likeliest(verdict)] += 1
    recalls = {kind: row[kind] / max(1, sum(row.values())) for kind, row in confusion.items()}
    sure = [(truth.kind, verdict.kind) for truth, verdict in pairs if verdict.kind != "mixed"]
    return {
        "n": len(pairs),
        "balanced_accuracy": float(np.mean(list(recalls.values()))),
        "recall": recalls,
        "confusion": confusion,
        "mixed": 1 - len(sure) / max(1, len(pairs)),
        "accuracy where not mixed": float(np.mean([true == named for true, named in sure])) if sure else None,
    }


def score_angles(pairs: Sequence[tuple[Made, Verdict]]) -> Results:
    """Compare the angles of motion that is called motion; a shaken path has the angle of its greatest variance."""
    moving = [(t, v.angle_deg) for t, v in pairs if t.kind == "motion" and v.angle_deg is not None]
    misses = np.asarray([abs((found - truth.angle_deg + 90) % 180 - 90) for truth, found in moving])
    long = np.asarray([truth.elongation > 0.5 for truth, _ in moving])
    return {
        "n": len(moving),
        "median_error_deg": float(np.median(misses)),
        "of elongated": {"n": int(long.sum()), "median_error_deg": float(np.median(misses[long]))},
    }


def _likeliest(verdict: Verdict) -> str:
    return max(KINDS, key=lambda kind: getattr(verdict, f"p_{kind}"))


def evaluate_series(model: BlurModel, folder: Path) -> Results:
    """Correlate the strength with the distance from focus in each focus series.

    Parameters
    ----------
    model : BlurModel
    folder : Path
        See `benchmarks.accuracy.group_series`.

    Returns
    -------
    dict
    """
    results: Results = {}
    for name, members in sorted(group_series(folder).items()):
        strengths = [explain(path, model=model).verdict.strength_px for _, path in members]
        known = [
            (step, strength) for (step, _), strength in zip(members, strengths, strict=True) if strength is not None
        ]
        results[name] = {
            "n": len(members),
            "none": len(members) - len(known),
            "spearman": float(stats.spearmanr(*zip(*known, strict=True)).statistic) if len(known) > 2 else None,
        }
    return results


def evaluate_sizes(model: BlurModel, folder: Path) -> Results:
    """Check that `sharp_to_px` stays where it is when photos are shrunk or enlarged by known factors.

    Parameters
    ----------
    model : BlurModel
    folder : Path
        See `make_pictures`.

    Returns
    -------
    dict
        Median relative errors, by factor.
    """
    errors: dict[str, list[float]] = {str(factor): [] for factor in FACTORS}
    for made in make_pictures(folder):
        rgb = read_rgb(io.BytesIO(made.jpeg))
        before = model.predict(rgb).sharp_to_px
        if not before or made.strength_px < 2:
            continue
        for factor in FACTORS:
            height, width = (round(side * factor) for side in rgb.shape[:2])
            if before > 0.8 * max(height, width) or min(height, width) < 128:
                continue  # the smaller photo would be sharp
            after = model.predict(resize(rgb, (width, height))).sharp_to_px
            errors[str(factor)].append(abs((after or 0) / before - 1))
    everything = [error for found in errors.values() for error in found]
    return {
        "median_error": float(np.median(everything)),
        "n": len(everything),
        "by factor": {
            factor: {"n": len(found), "median_error": float(np.median(found)) if found else None}
            for factor, found in errors.items()
        },
    }


def evaluate_maps(model: BlurModel, folder: Path) -> Results:
    """Compare maps with masks.

    Parameters
    ----------
    model : BlurModel
    folder : Path
        Has photos in ``images`` and masks of the same name in ``masks``.

    Returns
    -------
    dict
        Means over the photos, by what draws the map.
    """
    drawers: dict[str, Callable[[Path], NDArray[np.floating]]] = {
        "blurgate": lambda path: explain(path, model=model).to_gray() / 255.0,
        "blocks, as the explainer answers": lambda path: _logistic(_read_places(model.explainer, path)),
        "the net that judges": lambda path: _logistic(_read_places(model.net, path)),
        "local variance of Laplacian": lambda path: -local_laplacian(read_gray(path)),
        "local blur_effect": lambda path: local_blur_effect(read_gray(path)),
    }
    results: Results = {}
    paths = list(map(Path, find_photos([folder / "images"])))
    for name, draw in drawers.items():
        print(name, file=sys.stderr)

        def score(path: Path, draw: Callable[[Path], NDArray[np.floating]] = draw) -> dict[str, float]:
            mask = read_gray(folder / "masks" / f"{path.stem}.png") > 127
            return score_map(_resize_map(draw(path), mask.shape), mask)

        scores = list(run_in_order(score, paths))
        results[name] = {"n": len(scores), **{key: float(np.mean([each[key] for each in scores])) for key in scores[0]}}
        if name.startswith("local"):
            results[name] = {"n": len(scores), "roc_auc": results[name]["roc_auc"]}
    return results


def score_map(found: NDArray[np.floating], mask: NDArray[np.bool_]) -> dict[str, float]:
    """Compare one map with its mask.

    Parameters
    ----------
    found : ndarray of shape (height, width)
        P(blurred) of each pixel.
    mask : ndarray of shape (height, width), bool
        True where out of focus.

    Returns
    -------
    dict
    """
    blurred = found >= 0.5
    hits = float((blurred & mask).sum())
    precision, recall = hits / max(1, blurred.sum()), hits / max(1, mask.sum())
    f = (1 + BETA_SQUARED) * precision * recall / max(1e-9, BETA_SQUARED * precision + recall)
    return {
        "roc_auc": float(roc_auc_score(mask.ravel(), found.ravel())),
        "f": f,
        "iou": hits / max(1, (blurred | mask).sum()),
        "mae": float(np.abs(np.clip(found, 0, 1) - mask).mean()),
    }


def local_laplacian(gray: Gray) -> NDArray[np.floating]:
    """Compute the variance of the Laplacian around each pixel."""
    bent = ndimage.laplace(gray.astype(np.float32))
    mean, square = (ndimage.uniform_filter(plane, WINDOW) for plane in (bent, bent * bent))
    return np.asarray(square - mean * mean)


def local_blur_effect(gray: Gray) -> NDArray[np.floating]:
    """Compute the blur metric of Crete et al., as in scikit-image's `blur_effect`, around each pixel."""
    sharp = gray.astype(np.float32) / 255
    effects = []
    for axis in (0, 1):
        blurred = ndimage.uniform_filter1d(sharp, 11, axis=axis)
        steps, left = (np.abs(ndimage.sobel(plane, axis=axis)) for plane in (sharp, blurred))
        lost = np.maximum(0, steps - left)
        total, gone = (ndimage.uniform_filter(plane, WINDOW) for plane in (steps, lost))
        effects.append((total - gone) / np.maximum(total, 1e-6))
    return np.asarray(np.max(effects, axis=0))


def _read_places(net: Any, path: Path) -> NDArray[np.float32]:
    places: NDArray[np.float32] = net.predict_map(read_gray(path))
    return places


def _logistic(odds: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * odds)))


def _resize_map(found: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.floating]:
    if found.shape == shape:
        return found
    return np.asarray(Image.fromarray(found.astype(np.float32)).resize(shape[::-1], Image.Resampling.BILINEAR))


def measure_cost(model: BlurModel, photo: Path) -> Results:
    """Time verdicts on a large photo with and without the explainer, sharp and blurred, and a map; one thread.

    Parameters
    ----------
    model : BlurModel
    photo : Path
        Enlarged to `LARGE`.

    Returns
    -------
    dict
        Medians in milliseconds, and medians of the ratios within a round.
    """
    plain = replace(model, explainer=None, card=replace(model.card, explainer={}))
    picture = Image.fromarray(read_rgb(photo)).resize(LARGE, Image.Resampling.BICUBIC)
    results: Results = {}
    for name, sigma in (("sharp", 0.0), ("blurred", 16.0)):
        blurred = np.asarray(picture, np.float32)
        if sigma:
            blurred = ndimage.gaussian_filter(blurred, (sigma, sigma, 0))
        stream = io.BytesIO()
        Image.fromarray(blurred.astype(np.uint8)).save(stream, "JPEG", quality=90)
        jpeg = stream.getvalue()
        ways: dict[str, Callable[[], Any]] = {
            "without": partial(plain.predict, jpeg),
            "with": partial(model.predict, jpeg),
            "map": partial(explain, jpeg, model=model),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, run in ways.items():
                began = time.perf_counter()
                run()
                times[way].append(1000 * (time.perf_counter() - began))
        rounds = {way: np.asarray(found[1:]) for way, found in times.items()}
        results[name] = {
            **{f"{way} ms": float(np.median(found)) for way, found in rounds.items()},
            "with / without": float(np.median(rounds["with"] / rounds["without"])),
            "map / without": float(np.median(rounds["map"] / rounds["without"])),
        }
    return results


def to_markdown(results: Results) -> str:
    """Format the results as Markdown."""
    lines = []
    if made := results.get("made"):
        kind, angle, strength = made["kind"], made["angle"], made["strength"]
        lines += ["| made blur | n | figure |", "|---|---|---|"]
        lines.append(
            f"| kind, balanced accuracy of three, 2 px or more | {kind['n']} | {kind['balanced_accuracy']:.3f} |"
        )
        for name, each in made["kind by strength"].items():
            lines.append(f"| the same, {name} | {each['n']} | {each['balanced_accuracy']:.3f} |")
        sure = kind["accuracy where not mixed"]
        lines.append(
            f"| called mixed, 2 px or more; accuracy of the others | {kind['n']} | {kind['mixed']:.2f}; {sure:.3f} |"
        )
        lines.append(f"| angle of motion, median error | {angle['n']} | {angle['median_error_deg']:.1f}° |")
        lines.append(f"| strength, 1 to 10 px, Spearman | {strength['n']} | {strength['spearman']:.3f} |")
        lines.append(f"| the same, median relative error | {strength['n']} | {strength['median_relative_error']:.1%} |")
        lines.append(f"| the same, inside its interval | {strength['n']} | {strength['inside_interval']:.1%} |")
    if sizes := results.get("sizes"):
        lines.append(f"| `sharp_to_px`, median error after resizing | {sizes['n']} | {sizes['median_error']:.1%} |")
    if series := results.get("focus_series"):
        lines += ["", "| focus series | photos | without a strength | Spearman |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {each['n']} | {each['none']} | {each['spearman']:.3f} |" for name, each in series.items()
        ]
    if maps := results.get("defocus_maps"):
        lines += ["", "| map | photos | pixel ROC AUC | F | IoU | MAE |", "|---|---|---|---|---|---|"]
        for name, each in maps.items():
            cells = " | ".join("–" if key not in each else f"{each[key]:.3f}" for key in ("roc_auc", "f", "iou", "mae"))
            lines.append(f"| {name} | {each['n']} | {cells} |")
    if cost := results.get("cost"):
        lines += ["", "| 12 MP | verdict without | with kind and strength | map |", "|---|---|---|---|"]
        for name, each in cost.items():
            with_, map_ = each["with / without"], each["map / without"]
            lines.append(f"| {name} | {each['without ms']:.0f} ms | {with_:.2f}x | {map_:.2f}x |")
    return "\n".join(lines)


def main() -> None:
    """Print the JSON, or the Markdown of an earlier JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--model", type=Path, help="by default the shipped model")
    parser.add_argument("--only", nargs="+", choices=("made", "focus_series", "sizes", "defocus_maps", "cost"))
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(json.loads(options.table.read_text())))
        return
    model = load_model(options.model) if options.model else load_model()
    bench = options.data / "bench"
    photos = bench / "exposures"
    parts: dict[str, Callable[[], Results]] = {
        "made": lambda: evaluate_made(model, photos),
        "focus_series": lambda: evaluate_series(model, bench / "focus_series"),
        "sizes": lambda: evaluate_sizes(model, photos),
        "defocus_maps": lambda: evaluate_maps(model, bench / "defocus_maps"),
        "cost": lambda: measure_cost(model, sorted((photos / "images").iterdir())[0]),
    }
    results = {}
    for name, evaluate in parts.items():
        if not options.only or name in options.only:
            print(name, file=sys.stderr)
            results[name] = evaluate()
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
