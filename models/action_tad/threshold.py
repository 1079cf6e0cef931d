"""Print how right and how complete the told spans are at every threshold, for trainings with a person held out.

    python models/action_tad/threshold.py RUN_DIR [RUN_DIR ...]

Each folder is of `posepipe train utkinect_tad --people 1,3,5,7 --test_people 9` or the like. The threshold of the card
is the one with the best mean F1 of these; people who test the network have no part in it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from posepipe.config import read_toml
from posepipe.evaluation.localisation import told_apart, told_right
from posepipe.evaluation.localisation_files import read_predictions
from posepipe.training.plan import make_plan
from posepipe.training.tad import truth_of
from posepipe.training.tad_data import read_set

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


def main(folders: Sequence[str]) -> None:
    """A row a threshold: share of the told spans that is right, of the acts that is told, F1; means over the runs."""
    pairs = []
    for folder in map(Path, folders):
        found = read_set(make_plan(read_toml(folder / "recipe.toml"), {}).phases[0])
        pairs.append((truth_of(found.tested, found.classes), read_predictions(folder / "predictions.json")))
    print("threshold  right  told   F1")
    for threshold in THRESHOLDS:
        shares = [told_right(truth, told_apart(guess, threshold), 0.5) for truth, guess in pairs]
        f1 = sum(2 * p * r / max(p + r, 1e-9) for p, r in shares) / len(shares)
        right, told = (sum(column) / len(shares) for column in zip(*shares, strict=True))
        print(f"{threshold:9.2f}  {right:.3f}  {told:.3f}  {f1:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
