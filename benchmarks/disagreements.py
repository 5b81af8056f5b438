"""Show the photos on which trees and net disagree most, as a page of thumbnails.

    python benchmarks/disagreements.py ../shared/data/bench/phone --output disagreements.html

The argument is a labelled folder. The page contains the photos, so do not share it. Each photo has the probability of
trees and net combined; its reason gives the label and the probability of either.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from blurgate import build_table, load_model, write_gallery
from blurgate.judging.verdicts import Verdict


def main() -> None:
    """Write the page; print how often each model is right where trees and net disagree, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args()
    models = {name: load_model(name) for name in ("trees", "net", "both")}
    both = models["both"]
    table = build_table(options.folder, feature_set=both.card.feature_set, net=both.net).without_flat()
    probabilities = {}
    for name, model in models.items():
        columns = np.asarray([both.card.columns.index(column) for column in model.card.columns])
        probabilities[name] = model.predict_features(table.features[:, columns]).probability
    flagged = {name: probabilities[name] >= model.card.threshold for name, model in models.items()}
    disputed = flagged["trees"] != flagged["net"]
    results = {
        "n": len(table),
        "they decide differently": int(disputed.sum()),
        **{f"{name} is right there": int((flagged[name] == table.labels)[disputed].sum()) for name in models},
    }
    verdicts = []
    for row in np.argsort(-np.abs(probabilities["trees"] - probabilities["net"]))[: options.count]:
        photo = table.photos[row]
        reason = f"{photo.label}; trees {probabilities['trees'][row]:.2f}, net {probabilities['net'][row]:.2f}"
        decision = "blurred" if flagged["both"][row] else "sharp"
        probability = float(probabilities["both"][row])
        verdicts.append(Verdict(str(table.picture(row)), decision, probability, reason=reason))
    write_gallery(verdicts, options.output, threshold=both.card.threshold)
    print(f"wrote {options.output}", file=sys.stderr)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
