"""Make the shipped net, and weigh it against the shipped trees; print the results as JSON.

    pip install torch onnx onnxruntime
    python models/make_net.py ../shared/data --work work --output src/blurgate/judging/shipped/net.blurgate

The argument is a folder with ``train``, ``bench`` and ``probe``; the last two only test, and choose nothing. The net is
trained three times: without each of two groups of sources, so that calibration and weights rest on predictions of
sources that a net has not seen, and on all of them, which gives the shipped net. ``--work`` keeps the pictures, a
checkpoint of each training and the predictions, so that an interrupted run can resume.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from blurgate import BlurModel, FeatureTable, __version__, load_model
from blurgate.judging.cards import Card
from blurgate.judging.inputs import find_inputs
from blurgate.judging.model import to_probability
from blurgate.judging.nets import Net
from blurgate.learning.calibration import choose_threshold
from blurgate.learning.metrics import error_rates, score_calibration, score_decisions, score_ranking
from blurgate.learning.table import join_tables
from models.held_out import (
    CALIBRATED_ON,
    FOLDS,
    MarginsByTable,
    Results,
    build_test_tables,
    combine,
    evaluate_margins,
    predict_folds,
    predict_trees,
    time_net,
    train_all,
    weigh,
)
from models.pictures import SHARD, SOURCES, draw_pictures
from models.sources import LIMITS, TERMS

KIND = "partial"
SHARDS = 36
STEPS = 3600


def main() -> None:
    """Write the model; print the JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--kind", default=KIND)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    shards = draw_pictures(options.data / "train", options.work / "pictures", options.shards)
    files = train_folds(options.kind, shards, options.steps, options.work)
    tables = build_test_tables(options.data, options.work)
    trees = predict_trees(options.data, options.work, tables)
    net = predict_folds(files, tables)
    model = make_model(Net(files["all"].read_bytes()), shards, trees, net, tables)
    model.save(options.output)
    results: Results = {
        "kind": options.kind,
        "pictures": len(shards) * SHARD,
        "bytes": options.output.stat().st_size,
        "steps": options.steps,
        "mp_s": time_net(files["all"]),
        "trees": evaluate_margins(trees, tables),
        "net": evaluate_margins(net, tables),
        "both": evaluate_margins(combine(trees, net, tables), tables),
    }
    print(json.dumps(results, indent=1))


def train_folds(kind: str, shards: Sequence[Path], steps: int, work: Path) -> dict[str, Path]:
    """Train a kind of net without the sources of each fold, unless its files exist.

    Parameters
    ----------
    kind : str
        A name out of `models.net_kinds.KINDS`.
    shards : sequence of Path
        Drawn pictures; see `models.pictures`.
    steps : int
        Number of batches.
    work : Path
        Folder for the files.

    Returns
    -------
    dict of str to Path
        Fold -> ONNX file.
    """
    folder = work / f"{kind}-{len(shards)}-{steps}"
    folder.mkdir(parents=True, exist_ok=True)
    onnx = train_all([(kind, fold, 0) for fold in FOLDS], shards=shards, steps=steps, work=folder, dark=True)
    return {fold: onnx[kind, fold, 0] for fold in FOLDS}


def make_model(
    net: Net,
    shards: Sequence[Path],
    trees_margins: MarginsByTable,
    net_margins: MarginsByTable,
    tables: Mapping[str, FeatureTable],
) -> BlurModel:
    """Calibrate a net on the sources left out, alone and together with the shipped trees.

    Parameters
    ----------
    net : Net
        Trained on all sources.
    shards : sequence of Path
        The pictures that it was trained on.
    trees_margins, net_margins : mapping of str to ndarray of shape (n_photos,)
        Of models that have not seen the sources that they predict.
    tables : mapping of str to FeatureTable

    Returns
    -------
    BlurModel
        The model to ship.
    """
    name = f"texture1+{net.name}"
    default = load_model("trees")
    card = Card(
        feature_set=name,
        columns=find_inputs(name).columns,
        slope=1.0,
        intercept=0.0,
        threshold=0.5,
        base_rate=0.5,
        trained_on={"n": len(shards) * SHARD, "sources": count_pictures(shards)},
        terms={name: TERMS[name] for name in SOURCES},
        limits=LIMITS,
        made_by=f"blurgate {__version__}",
    )
    alone = _describe(tables, [net_margins])
    beside = _describe(tables, [trees_margins, net_margins])
    (net_slope,) = alone.pop("slopes")
    slope, net_slope_beside = beside.pop("slopes")
    with_trees = beside | {"slope": slope, "net_slope": net_slope_beside, "trees": default.fingerprint}
    with_trees |= {"trained_on": {"trees": dict(default.card.trained_on), "net": dict(card.trained_on)}}
    return BlurModel(replace(card, net_slope=net_slope, with_trees=with_trees, **alone), {}, net)


def count_pictures(shards: Sequence[Path]) -> dict[str, int]:
    """Count the pictures of each source."""
    counts = np.zeros(len(SOURCES), int)
    for path in shards:
        with np.load(path) as content:
            counts += np.bincount(content["source"], minlength=len(SOURCES))
    return dict(zip(SOURCES, counts.tolist(), strict=True))


def _describe(tables: Mapping[str, FeatureTable], margins: list[MarginsByTable]) -> Results:
    """Weigh and calibrate margins on the sources left out; return the fields of a card that follow from it."""
    left_out = join_tables([tables[name] for name in CALIBRATED_ON])
    weights = left_out.even_weights
    slopes, intercept = weigh(margins, tables)
    columns = [np.concatenate([model[name] for name in CALIBRATED_ON]) for model in margins]
    odds = np.stack(columns, axis=1) @ slopes
    probabilities = to_probability(odds + intercept)
    threshold = choose_threshold(left_out.labels, probabilities, weights)
    decisions = score_decisions(left_out.labels, probabilities, threshold)
    return {
        "slopes": slopes,
        "intercept": intercept,
        "threshold": threshold,
        "results": {
            **score_ranking(left_out.labels, probabilities),
            **score_calibration(left_out.labels, probabilities),
            "accuracy": decisions["accuracy"],
        },
        "at_threshold": {**error_rates(decisions["confusion_matrix"]), "measured_on": "sources left out of training"},
    }


if __name__ == "__main__":
    main()
