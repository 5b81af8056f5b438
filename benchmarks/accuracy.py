"""Evaluate the shipped models and other tools on every set of photos that nothing was trained on; print JSON.

    pip install cleanvision scikit-image onnxruntime
    python benchmarks/accuracy.py ../shared/data --work work > accuracy.json
    python benchmarks/accuracy.py --table accuracy.json          # as Markdown, for docs/results.md

The argument is a folder with ``train``, ``bench`` and ``probe``. ``bench`` and ``probe`` only test: nothing in them is
trained on, tuned on, or used to choose features, seeds or thresholds. The pictures for `dct18` alone and for the model
that has not seen ``sun_hays80`` come from ``train``; they are kept in ``--work``, and missing ones are made again. Both
models are trained with the settings of the shipped model.

Every tool gives a score that rises with blur, so that all can be ranked in the same way. Decisions are each tool's
default: the variance of the Laplacian below 100, CleanVision's threshold; `blur_effect` has none. A photo that blurgate
leaves undecided counts as wrong, whatever its label, and is not flagged.
"""

import argparse
import contextlib
import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from blurgate import BlurModel, FeatureTable, build_table, calibrate, load_model, scan
from blurgate.judging.model import to_probability
from blurgate.judging.verdicts import Verdict
from blurgate.learning.boosters import fit_boosters, predict_left_out
from blurgate.learning.calibration import choose_threshold, fit_calibration
from blurgate.learning.labels import list_photos
from blurgate.learning.metrics import score_calibration
from blurgate.learning.splits import leave_sources_out
from blurgate.making.blurs import BLURS, defocus_kernel, kernel_strength
from blurgate.measuring.laplacian import variance_of_laplacian
from blurgate.photos.finding import find_photos
from blurgate.photos.images import read_gray, read_rgb
from blurgate.threads import run_in_order
from models.held_out import Results
from models.sources import build_tables

CALIBRATION_PHOTOS, DRAWS = 50, 10
SIZES = (1024, 768, 512)
FULL_SIZE_STRENGTH = 6.0  # pixels
SERIES = re.compile(r"defocus(?:-expo)?_([a-z]+)_(-?\d+)(_\d+)?")  # series, step, exposure


@dataclass(frozen=True)
class ToolOutput:
    """Output of a tool for several photos.

    Parameters
    ----------
    score : ndarray of shape (n_photos,), float64
        Rises with blur.
    flagged : ndarray of shape (n_photos,), bool, or None
        Whether the tool calls a photo blurred; None if it has no default threshold.
    verdicts : tuple of Verdict
        Of a model of blurgate; empty for other tools.
    """

    score: NDArray[np.float64]
    flagged: NDArray[np.bool_] | None
    verdicts: tuple[Verdict, ...] = ()


Tool = Callable[[Sequence[Path]], ToolOutput]


def make_tool(model: BlurModel) -> Tool:
    """Make a tool of a model."""

    def run_model(photos: Sequence[Path]) -> ToolOutput:
        verdicts = tuple(run_in_order(model.predict, photos))
        score = np.asarray([0.5 if verdict.probability is None else verdict.probability for verdict in verdicts])
        return ToolOutput(score, np.asarray([verdict.decision == "blurred" for verdict in verdicts]), verdicts)

    return run_model


def run_laplacian(photos: Sequence[Path]) -> ToolOutput:
    """Compute the variance of the Laplacian, with its customary threshold."""
    sharpness = np.asarray(list(run_in_order(lambda path: variance_of_laplacian(read_gray(path)), photos)))
    return ToolOutput(-sharpness, sharpness < 100)


def run_blur_effect(photos: Sequence[Path]) -> ToolOutput:
    """Compute scikit-image's `blur_effect`, which blurs a photo again and compares."""
    from skimage.measure import blur_effect

    return ToolOutput(np.asarray([blur_effect(read_gray(path)) for path in photos]), None)


def run_cleanvision(photos: Sequence[Path]) -> ToolOutput:
    """Compute CleanVision's blurry score, with its default decision."""
    from cleanvision import Imagelab

    names = [str(path.resolve()) for path in photos]
    with contextlib.redirect_stdout(io.StringIO()):
        lab = Imagelab(filepaths=names)
        lab.find_issues({"blurry": {}}, n_jobs=1, verbose=False)
    issues = lab.issues.loc[names]
    return ToolOutput(1 - issues["blurry_score"].to_numpy(), issues["is_blurry_issue"].to_numpy(bool))


TOOLS = ("blurgate", "trees", "net", "both", "open", "dct18", "laplacian", "blur_effect", "cleanvision")
NAMES = {"dct18": "dct18 alone", "laplacian": "variance of Laplacian", "cleanvision": "CleanVision"}
OTHER_TOOLS: dict[str, Tool] = {
    "laplacian": run_laplacian,
    "blur_effect": run_blur_effect,
    "cleanvision": run_cleanvision,
}


def evaluate_labelled(tools: dict[str, Tool], folder: Path) -> Results:
    """Evaluate ranking and decisions on labelled photos; each tier's sharp photos are ranked against all blurred ones.

    Parameters
    ----------
    tools : dict of str to Tool
    folder : Path
        A labelled folder.

    Returns
    -------
    dict
        Results by tool.
    """
    photos = [photo for photo in list_photos(folder) if photo.label]
    labels = np.asarray([photo.label == "blurred" for photo in photos])
    tiers = np.asarray([photo.tier for photo in photos])
    results = {}
    for name, tool in tools.items():
        output = tool([folder / photo.path for photo in photos])
        numbers: Results = {"n": len(photos), "roc_auc": float(roc_auc_score(labels, output.score))}
        for tier in sorted(set(tiers[~labels]) - {""}):
            rows = labels | (tiers == tier)
            numbers[f"roc_auc of {tier} against blurred"] = float(roc_auc_score(labels[rows], output.score[rows]))
        if output.flagged is not None:
            decisions = [verdict.decision for verdict in output.verdicts]
            decided = np.asarray([decision != "undecided" for decision in decisions] or [True] * len(photos))
            numbers["accuracy"] = float(((output.flagged == labels) & decided).mean())
            numbers["recall"] = float(output.flagged[labels].mean())
            numbers["false_alarm_rate"] = float(output.flagged[~labels].mean())
            numbers["undecided"] = int((~decided).sum())
            for tier in sorted(set(tiers[~labels]) - {""}):
                numbers[f"false_alarm_rate of {tier}"] = float(output.flagged[~labels & (tiers == tier)].mean())
        if output.verdicts:
            numbers["ece"] = score_calibration(labels.astype(np.int8), output.score)["ece"]
        results[name] = numbers
    return results


def evaluate_unlabelled(tools: dict[str, Tool], folder: Path) -> Results:
    """Count the flagged photos in a set that is all sharp or has no labels.

    Parameters
    ----------
    tools : dict of str to Tool
        Those without decisions are skipped.
    folder : Path

    Returns
    -------
    dict
        Results by tool.
    """
    photos = find_photos([folder])
    results = {}
    for name, tool in tools.items():
        output = tool(photos)
        if output.flagged is not None:
            undecided = sum(verdict.decision == "undecided" for verdict in output.verdicts)
            results[name] = {"n": len(photos), "flagged": int(output.flagged.sum()), "undecided": undecided}
    return results


def group_series(folder: Path) -> dict[str, list[tuple[int, Path]]]:
    """Group the pictures of focus series: name of the series -> distance from focus, in steps, and picture.

    Parameters
    ----------
    folder : Path
        Pictures named as `SERIES` matches.

    Returns
    -------
    dict of str to list of (int, Path)
    """
    series: dict[str, list[tuple[int, Path]]] = {}
    for path in find_photos([folder]):
        name, step, exposure = SERIES.fullmatch(path.stem).groups()  # type: ignore[union-attr]
        series.setdefault(name + (exposure or ""), []).append((abs(int(step)), path))
    return series


def evaluate_series(tools: dict[str, Tool], folder: Path) -> Results:
    """Rank the pictures of each focus series: Spearman's correlation of the score with the distance from focus.

    Parameters
    ----------
    tools : dict of str to Tool
    folder : Path
        Pictures named as `SERIES` matches.

    Returns
    -------
    dict
        Results by tool and series.
    """
    series = group_series(folder)
    results: dict[str, Results] = {}
    for name, tool in tools.items():
        results[name] = {}
        for key, members in sorted(series.items()):
            steps, output = [step for step, _ in members], tool([path for _, path in members])
            results[name][key] = {"n": len(members), "spearman of the score": _correlate(steps, output.score)}
            if output.verdicts and output.verdicts[0].strength_px is not None:
                strengths = [verdict.strength_px for verdict in output.verdicts]
                results[name][key]["spearman of the strength"] = _correlate(steps, strengths)
    return results


def evaluate_review(model: BlurModel, folder: Path) -> Results | None:
    """Evaluate the decisions outside the review bounds of a model's card.

    Parameters
    ----------
    model : BlurModel
    folder : Path
        A labelled folder.

    Returns
    -------
    dict or None
        ``decided``, a share of the photos, and ``right``, a share of those decided; None if the card has no bounds.
    """
    if model.card.review is None:
        return None
    photos = [photo for photo in list_photos(folder) if photo.label]
    verdicts = scan([folder / photo.path for photo in photos], model=model, review=model.card.review)
    pairs = [(verdict.decision, photo.label) for verdict, photo in zip(verdicts, photos, strict=True)]
    decided = [decision == label for decision, label in pairs if decision != "undecided"]
    return {
        "review": model.card.review,
        "n": len(pairs),
        "decided": len(decided) / len(pairs),
        "right": float(np.mean(decided)),
    }


def evaluate_sizes(model: BlurModel, folder: Path) -> Results:
    """Check whether a photo, sharp or blurred, gets the same decision at every size.

    Blur is a disk of at least `FULL_SIZE_STRENGTH` px at the photo's full size.

    Parameters
    ----------
    model : BlurModel
    folder : Path
        Sharp photos.

    Returns
    -------
    dict
    """
    radius_px = round(FULL_SIZE_STRENGTH * 2**0.5 + 0.05, 2)
    strength = kernel_strength(defocus_kernel(radius_px=radius_px))
    assert strength >= FULL_SIZE_STRENGTH
    counts = {"sharp": [0, 0, 0], "blurred": [0, 0, 0]}  # photos; same decision at every size; and right
    for path in find_photos([folder]):
        rgb = read_rgb(path)
        for label, picture in (("sharp", rgb), ("blurred", BLURS["defocus"].apply(rgb, {"radius_px": radius_px}))):
            decisions = {model.predict(_resize(picture, side)).decision for side in SIZES}
            counts[label][0] += 1
            counts[label][1] += len(decisions) == 1
            counts[label][2] += decisions == {label}
    total = sum(row[0] for row in counts.values())
    return {
        "sizes": SIZES,
        "strength_px": round(strength, 3),
        "same_decision": sum(row[1] for row in counts.values()) / total,
        **{label: {"n": row[0], "same": row[1], "right_at_every_size": row[2]} for label, row in counts.items()},
    }


def evaluate_calibration(model: BlurModel, folder: Path) -> Results:
    """Calibrate with a few photos of half the scenes and evaluate on the other half, `DRAWS` times.

    Parameters
    ----------
    model : BlurModel
    folder : Path
        A labelled folder.

    Returns
    -------
    dict
        Means of all draws.
    """
    table = build_table(folder, feature_set=model.card.feature_set, net=model.net)
    scenes = table.column("scene")
    before, after, refitted = [], [], []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        names = rng.permutation(np.unique(scenes))
        first_half = np.isin(scenes, names[: len(names) // 2])
        chosen = rng.choice(np.flatnonzero(first_half), CALIBRATION_PHOTOS, replace=False)
        calibration = calibrate(model, table.take(chosen))
        others = table.take(np.flatnonzero(~first_half))
        before.append(_accuracy(model, others))
        after.append(_accuracy(calibration.model, others))
        refitted.append(calibration.numbers["refitted"])
    return {
        "photos": CALIBRATION_PHOTOS,
        "draws": DRAWS,
        "accuracy_before": float(np.mean(before)),
        "accuracy_after": float(np.mean(after)),
        "accuracy_after_of_each_draw": after,
        "refitted": sum(refitted),
    }


def fit_like_the_default(table: FeatureTable, default: BlurModel) -> BlurModel:
    """Train on a table as the shipped model was trained, with its settings instead of a search.

    Parameters
    ----------
    table : FeatureTable
        Labelled, of two sources or more.
    default : BlurModel
        Gives the settings and the card.

    Returns
    -------
    BlurModel
    """
    table = table.without_flat()
    folds, parameters = leave_sources_out(table), dict(default.card.parameters)
    margins = predict_left_out(table, folds, parameters, seed=0)
    weights = table.even_weights
    slope, intercept = fit_calibration(table.labels, margins, weights)
    boosters, kinds, _ = fit_boosters(table, folds, parameters, seed=0)
    card = replace(
        default.card,
        feature_set=table.feature_set,
        columns=table.columns,
        slope=slope,
        intercept=intercept,
        threshold=choose_threshold(table.labels, to_probability(slope * margins + intercept), weights),
        kinds=kinds,
        ask_from=None,
        alone={},
    )
    return BlurModel(card, boosters)


def to_markdown(results: Results) -> str:
    """Format the results as Markdown: every tool on every set."""
    tools = list(results["phone"])
    names = [NAMES.get(tool, tool) for tool in tools]
    lines = [f"| set | measure | {' | '.join(names)} |", "|" + "---|" * (2 + len(tools))]
    for name in ("phone", "receipts"):
        measures = [key for key in results[name][tools[0]] if key != "n"]
        for measure in measures:
            cells = [_cell(results[name].get(tool, {}).get(measure)) for tool in tools]
            lines.append(f"| bench/{name} | {measure.replace('_', ' ')} | {' | '.join(cells)} |")
    for name in ("defocus_maps", "exposures", "grocery", "microscopy"):
        counts = [results[name].get(tool) for tool in tools]
        cells = ["–" if count is None else f"{count['flagged']} of {count['n']}" for count in counts]
        where = "bench" if name in ("defocus_maps", "exposures") else "probe"
        lines.append(f"| {where}/{name} | flagged blurred | {' | '.join(cells)} |")
    for series in results["focus_series"][tools[0]]:
        for measure in ("spearman of the score", "spearman of the strength"):
            values = [results["focus_series"].get(tool, {}).get(series, {}).get(measure) for tool in tools]
            lines.append(f"| focus series {series} | {measure} | {' | '.join(map(_cell, values))} |")
    return "\n".join(lines)


def _accuracy(model: BlurModel, table: FeatureTable) -> float:
    textured = table.without_flat()
    flagged = model.predict_features(textured.features).probability >= model.card.threshold
    blurred = np.asarray([photo.label == "blurred" for photo in textured.photos])
    return float((flagged == blurred).sum() / len(table))


def _correlate(steps: Sequence[int], scores: Any) -> float:
    return float(stats.spearmanr(steps, scores).statistic)


def _resize(rgb: NDArray[np.uint8], side: int) -> Image.Image:
    picture = Image.fromarray(rgb)
    scale = side / max(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _make_tools(chosen: Sequence[str], models: dict[str, BlurModel], data: Path, work: Path) -> dict[str, Tool]:
    """Make the chosen tools, in the order of `TOOLS`; `dct18` is trained."""
    tools: dict[str, Tool] = {**OTHER_TOOLS} | {name: make_tool(model) for name, model in models.items()}
    if "dct18" in chosen:
        _report("training dct18 alone")
        table = build_tables(data / "train", work, feature_set="dct18")
        tools["dct18"] = make_tool(fit_like_the_default(table, models["blurgate"]))
    return {name: tools[name] for name in TOOLS if name in chosen}


def main() -> None:
    """Print the JSON, or the Markdown of an earlier JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--model", type=Path, help="by default the shipped model")
    parser.add_argument(
        "--tools", nargs="+", choices=TOOLS, help="only these; files that only others need are not made"
    )
    parser.add_argument("--table", type=Path, help="print the Markdown of this JSON instead")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(json.loads(options.table.read_text())))
        return
    default = load_model(options.model) if options.model else load_model()
    options.work.mkdir(parents=True, exist_ok=True)
    chosen = options.tools or TOOLS
    models = {"blurgate": default} | {
        name: load_model(name) for name in ("trees", "net", "both", "open") if name in chosen
    }
    tools = _make_tools(chosen, models, options.data, options.work)
    bench, probe = options.data / "bench", options.data / "probe"
    results: Results = {}
    for name in ("phone", "receipts"):
        _report(name)
        results[name] = evaluate_labelled(tools, bench / name)
    for name, folder in (
        ("defocus_maps", bench / "defocus_maps" / "images"),
        ("exposures", bench / "exposures" / "images"),
        ("grocery", probe / "grocery"),
        ("microscopy", probe / "microscopy"),
    ):
        _report(name)
        results[name] = evaluate_unlabelled(tools, folder)
    _report("review")
    results["review"] = {name: evaluate_review(models["blurgate"], bench / name) for name in ("phone", "receipts")}
    _report("focus_series")
    results["focus_series"] = evaluate_series(tools, bench / "focus_series")
    if "dct18" in chosen:  # the other one that needs the pictures to train on
        _report("training the model without sun_hays80")
        table = build_tables(options.data / "train", options.work, feature_set=default.inputs.feature_set)
        without = fit_like_the_default(table.take(np.flatnonzero(table.sources != "sun_hays80")), default)
        results["sizes"] = evaluate_sizes(without, options.data / "train" / "sharp" / "sun_hays80")
    _report("calibration")
    results["calibrated_on_phone"] = {
        name: evaluate_calibration(model, bench / "phone") for name, model in models.items() if name in chosen
    }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
