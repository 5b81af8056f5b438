"""Figures of an evaluation -> one self-contained HTML page, and JSON."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from blurgate.errors import escape_unprintable, needs_extra
from blurgate.files import atomic_file
from blurgate.learning.evaluation import Evaluation, Numbers
from blurgate.learning.metrics import LaplacianScores
from blurgate.measuring.blocks import BANDS
from blurgate.pages import read_style
from blurgate.photos.images import thumbnail
from blurgate.version import __version__

with needs_extra("report", "A report"):
    import jinja2
    import matplotlib as mpl
    from markupsafe import Markup
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

INK, FAINT, GRID, MODEL, OTHER, ON_BAR = "#1d2430", "#667080", "#e2e5ea", "#1f5fbf", "#b4632a", "#fffffe"
_VARIABLES = {  # colour that matplotlib writes -> the page's own, which is another one in dark mode
    INK: "var(--ink)",
    FAINT: "var(--faint)",
    GRID: "var(--line)",
    MODEL: "var(--accent)",
    OTHER: "var(--other)",
    ON_BAR: "var(--on)",
}
_NAME_LENGTH = 32  # characters of a user's name for a kind: a longer one would leave no place for the bars

_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a user's name for a kind may hold dollar signs
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "svg.hashsalt": "blurgate",  # the same numbers give the same page, byte for byte
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def write_report(evaluation: Evaluation, path: str | os.PathLike[str], *, title: str, model_name: str = "") -> Path:
    """Write the HTML page, and its numbers as JSON next to it.

    Parameters
    ----------
    evaluation : Evaluation
    path : path
        Path of the page; the JSON file has the same name with the suffix ``.json``.
    title : str
        Heading of the page, as plain text.
    model_name : str
        Name of the model, such as that of its file; by default the page gives only its fingerprint.

    Returns
    -------
    Path
        Path of the JSON file.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    path = Path(path)
    page = render_report(evaluation, title=title, model_name=model_name)
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")
    json_path = path.with_suffix(".json")
    with atomic_file(json_path) as partial:
        partial.write_text(to_json(evaluation.numbers), encoding="utf-8")
    return json_path


def to_json(numbers: Numbers) -> str:
    """Format numbers as JSON.

    Raises
    ------
    ValueError
        If a number is NaN or infinite, which JSON cannot represent.
    """
    return json.dumps(numbers, indent=1, allow_nan=False)


def render_report(evaluation: Evaluation, *, title: str, model_name: str = "", day: date | None = None) -> str:
    """Render the HTML page.

    Parameters
    ----------
    evaluation : Evaluation
    title : str
        Heading of the page, as plain text.
    model_name : str
    day : date, optional
        Date of the report; by default today.

    Returns
    -------
    str
        HTML without external references: charts are inline SVG, thumbnails are data URLs.
    """
    numbers = evaluation.numbers
    mistakes = [{**entry, "picture": _data_url(evaluation, entry["row"])} for entry in numbers["mistakes"]]
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text: the reader's browser has the glyphs
        charts = {name: _to_svg(draw(numbers)) for name, draw in CHARTS.items() if _has_data(name, numbers)}
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("blurgate.learning"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS
    page = environment.get_template("report.html.jinja")
    day = day or date.today()
    about = {"title": title, "model_name": model_name, "day": f"{day.day} {day:%B %Y}", "version": __version__}
    looks = {"style": read_style(), "charts": charts, "mistakes": mistakes}
    return page.render({**numbers, **about, **looks, "has_readings": evaluation.table.readings is not None})


def draw_roc(numbers: Numbers) -> Figure:
    """Draw the ROC curves of the model and of the variance of the Laplacian."""
    figure, axes = _figure()
    for name, scores, colour in _contenders(numbers):
        if scores["curves"] is None:
            continue
        curve, area = scores["curves"]["roc"], scores["roc_auc"]
        _plot_curve(axes, curve["false_alarm_rate"], curve["recall"], f"{name}: AUC {area:.3f}", colour)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    _format_percent_axes(axes, "false alarm rate", "recall")
    return figure


def draw_precision_recall(numbers: Numbers) -> Figure:
    """Draw the precision-recall curves of the model and of the variance of the Laplacian."""
    figure, axes = _figure()
    for name, scores, colour in _contenders(numbers):
        if scores["curves"] is None:
            continue
        curve, average = scores["curves"]["precision_recall"], scores["average_precision"]
        _plot_curve(axes, curve["recall"], curve["precision"], f"{name}: AP {average:.3f}", colour)
    _format_percent_axes(axes, "recall", "precision")
    return figure


def draw_calibration(numbers: Numbers) -> Figure:
    """Draw the share of blurred photos against probability, in ten bins with equal numbers of photos."""
    figure, axes = _figure()
    bins = numbers["calibration"]
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    axes.plot(
        [entry["probability"] for entry in bins],
        [entry["share_blurred"] for entry in bins],
        color=MODEL,
        marker="o",
        markersize=5,
        linewidth=1.8,
        label="ten bins of equal size",
    )
    _format_percent_axes(axes, "predicted probability", "share of blurred photos")
    return figure


def draw_strength(numbers: Numbers) -> Figure:
    """Draw the recall of blurred photos by strength."""
    bins = numbers["recall_by_strength"]
    names = [_px_range(entry["from_px"], entry["to_px"]) for entry in bins]
    return _bars(names, [entry["recall"] for entry in bins], [entry["n"] for entry in bins], "recall")


def draw_kinds(numbers: Numbers) -> Figure:
    """Draw the recall of blurred photos by kind."""
    rows = [
        (_shorten(name), entry["recall"], entry["n_blurred"])
        for name, entry in numbers["by_kind"].items()
        if entry["recall"] is not None
    ]
    names, recalls, counts = zip(*rows, strict=True)
    return _bars(names, recalls, counts, "recall")


def draw_search(numbers: Numbers) -> Figure:
    """Draw the score of each trial of the search, and the best score so far."""
    figure, axes = _figure(width=4.1, height=2.9)
    trials = numbers["search"]["trials"]
    best, so_far = [], 0.0
    for trial in trials:
        so_far = max(so_far, trial["roc_auc"] or 0.0)
        best.append(so_far)
    order = range(1, len(trials) + 1)
    scored = [(number, trial["roc_auc"]) for number, trial in zip(order, trials, strict=True) if trial["roc_auc"]]
    axes.scatter(*zip(*scored, strict=True), color=MODEL, s=18, label="trial", zorder=3)
    pruned = [number for number, trial in zip(order, trials, strict=True) if not trial["roc_auc"]]
    if pruned:
        bottom = axes.get_xaxis_transform()
        axes.plot(pruned, [0.02] * len(pruned), "|", color=FAINT, transform=bottom, label="trial stopped early")
    axes.step(list(order), best, where="post", color=INK, linewidth=1.2, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel("mean ROC AUC on left-out photos")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def draw_importances(numbers: Numbers) -> Figure:
    """Draw how much each parameter of the trees mattered for the score."""
    importances = numbers["search"]["importances"]
    return _bars(list(importances), list(importances.values()), [], "share of the score's variance")


def draw_features(numbers: Numbers) -> Figure:
    """Draw mean absolute SHAP value and gain of the features that the trees use most."""
    rows = numbers["features"][:18]
    figure, (left, right) = _figure(width=10.2, height=0.26 * len(rows) + 0.9, panels=2)
    places = range(len(rows), 0, -1)
    for axes, values, colour, label in (
        (left, [row["mean_abs_shap"] for row in rows], MODEL, "mean |SHAP|, in log-odds"),
        (right, [row["gain"] for row in rows], FAINT, "mean gain per split"),
    ):
        axes.barh(list(places), values, color=colour, height=0.66)
        axes.set_yticks(list(places), [_column_words(row["column"]) for row in rows] if axes is left else [])
        axes.set_xlabel(label)
        axes.grid(visible=False, axis="y")
    left.tick_params(axis="y", labelcolor=INK, length=0)
    return figure


def _contenders(numbers: Numbers) -> list[tuple[str, Numbers | LaplacianScores, str]]:
    return [("blurgate", numbers, MODEL), ("variance of Laplacian", numbers["variance_of_laplacian"], OTHER)]


def _plot_curve(axes: Any, x: Sequence[float], y: Sequence[float], label: str, colour: str) -> None:
    axes.plot(x, y, color=colour, label=label, linewidth=1.8)


def _has_data(name: str, numbers: Numbers) -> bool:
    return {
        "roc": numbers["curves"] is not None,
        "precision_recall": numbers["curves"] is not None,
        "strength": bool(numbers["recall_by_strength"]),
        "kinds": any(entry["recall"] is not None for entry in numbers["by_kind"].values()),
        "search": "search" in numbers,
        "importances": "search" in numbers and bool(numbers["search"]["importances"]),
        "features": "features" in numbers,
    }.get(name, True)


def _figure(*, width: float = 3.12, height: float = 2.9, panels: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, panels)


def _format_percent_axes(axes: Any, x_label: str, y_label: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x_label, ylabel=y_label)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(loc="lower right", fontsize=8, handlelength=1.2)


def _bars(
    names: Sequence[str], shares: Sequence[float], counts: Sequence[int], label: str, *, width: float = 4.1
) -> Figure:
    figure, axes = _figure(width=width, height=0.34 * len(names) + 0.9)
    places = range(len(names), 0, -1)
    axes.barh(list(places), shares, color=MODEL, height=0.62)
    for index, (place, share) in enumerate(zip(places, shares, strict=True)):
        _label_bar(axes, place, share, f"{share:.0%}" + (f" of {counts[index]}" if counts else ""))
    axes.set_yticks(list(places), names)
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set(xlim=(0, 1), xlabel=label)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="y")
    return figure


def _label_bar(axes: Any, place: float, share: float, text: str) -> None:
    if share > 0.5:
        axes.text(share - 0.02, place, text, va="center", ha="right", color=ON_BAR, fontsize=9)
    else:
        axes.text(share + 0.02, place, text, va="center", ha="left", color=INK, fontsize=9)


def _to_svg(figure: Figure) -> Markup:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = re.sub(r"<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", lambda tag: _follow_scheme(tag[0]), svg)
    return Markup(svg[svg.index("<svg") :])  # noqa: S704 matplotlib escapes all text


def _data_url(evaluation: Evaluation, row: int) -> str | None:
    content = thumbnail(evaluation.table.picture(row))
    return None if content is None else "data:image/jpeg;base64," + base64.b64encode(content).decode()


def _column_words(column: str) -> str:
    scale, where, statistic, pool = column.split("__")
    return (
        f"{statistic.replace('_', ' ')} {f'of {where} band' if where in BANDS else f'in {where} direction'}"
        + ("" if scale == "1" else f" at {scale}")
        + ("" if pool == "mean" else f", {pool}")
    )


def _follow_scheme(tag: str) -> str:
    """Let the page decide on the colours of an SVG element."""
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(f": {colour}", f": {variable}")
    return tag


def _shorten(name: str) -> str:
    name = escape_unprintable(name)
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 1] + "…"


def _px_range(low: float, high: float | None) -> str:
    return f"{low:g} px and more" if high is None else f"{low:g} to {high:g} px"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}".replace("%", " %")


def _significant(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


FILTERS: dict[str, Callable[..., str]] = {
    "share": _share,
    "percent": _percent,
    "sig": _significant,
    "visible": escape_unprintable,
}

CHARTS: dict[str, Callable[[Numbers], Figure]] = {
    "roc": draw_roc,
    "precision_recall": draw_precision_recall,
    "calibration": draw_calibration,
    "kinds": draw_kinds,
    "strength": draw_strength,
    "features": draw_features,
    "search": draw_search,
    "importances": draw_importances,
}
