"""Show the photos of which trees and a net say the most different things, as a page of thumbnails.

    python benchmarks/disagreements.py ../shared/data/bench/phone --output disagreements.html

The argument is a labelled folder. The page is made for looking at, not for sharing: it holds the photos. What it shows
of each is the probability of the two together; the reason says what either says, and the label.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from blurgate import build_table, load_model, write_gallery
from blurgate.judging.verdicts import Verdict


def main() -> None:
    """Write the page; print how often each is right where they disagree, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--count", type=int, default=60)
    options = parser.parse_args()
    models = {name: load_model(name) for name in ("trees", "net", "both")}
    both = models["both"]
    table = build_table(options.folder, feature_set=both.card.feature_set, net=both.net).without_flat()
    said = {}
    for name, model in models.items():
        columns = np.asarray([both.card.columns.index(column) for column in model.card.columns])
        said[name] = model.predict_features(table.features[:, columns]).probability
    flagged = {name: said[name] >= model.card.threshold for name, model in models.items()}
    apart = flagged["trees"] != flagged["net"]
    results = {
        "n": len(table),
        "they decide differently": int(apart.sum()),
        **{f"{name} is right there": int((flagged[name] == table.labels)[apart].sum()) for name in models},
    }
    verdicts = []
    for row in np.argsort(-np.abs(said["trees"] - said["net"]))[: options.count]:
        photo = table.photos[row]
        reason = f"{photo.label}; trees {said['trees'][row]:.2f}, net {said['net'][row]:.2f}"
        decision = "blurred" if flagged["both"][row] else "sharp"
        verdict = Verdict(str(table.picture(row)), decision, float(said["both"][row]), reason=reason)
        verdicts.append(verdict)
    write_gallery(verdicts, options.output, threshold=both.card.threshold)
    print(f"wrote {options.output}", file=sys.stderr)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
