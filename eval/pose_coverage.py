"""Which poses of one set another set shows: ``python eval/pose_coverage.py --train NAME=PATH ... --sets NAME=PATH ..``.

A pose of a labelled person is taken relative to the box. For every person of a set the most similar pose of a training
set is looked up (its mirror image counts too), laid into the person's box and compared: the OKS of a network that knew
the person's box and could do no more than choose among the poses it was trained on. A set of many alike poses has a
high figure on itself and a low one elsewhere. PATH is as for ``eval/cross_eval.py``, ``NAME=PATH[:SPLIT.json:PART]``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from cross_eval import open_set
from numpy.typing import NDArray

from posepipe.errors import PosepipeError
from posepipe.evaluation.cross import Truth
from posepipe.evaluation.keypoints import AREA_SHARE

_LEAST_JOINTS = 12


def poses(truth: Truth, most: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Joints in parts of the box (P,K,2) and which are labelled (P,K), of at most `most` people with 12 joints."""
    rows = np.flatnonzero(truth.measured & (truth.labelled.sum(1) >= _LEAST_JOINTS))
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:most])
    corner, extent = truth.boxes[rows, None, :2], (truth.boxes[rows, 2:] - truth.boxes[rows, :2])[:, None]
    return (truth.xy[rows] - corner) / extent, truth.labelled[rows]


def best_oks(truth: Truth, train: tuple[NDArray[np.float64], NDArray[np.bool_]], most: int, seed: int) -> float:
    """Mean over people of the OKS of the best training pose laid into the person's box."""
    rows = np.flatnonzero(truth.measured & (truth.labelled.sum(1) >= _LEAST_JOINTS))
    rows = np.random.default_rng(seed).permutation(rows)[:most]
    variance = (2 * np.asarray(truth.skeleton.sigmas)) ** 2
    found = []
    for row in rows:
        extent = truth.boxes[row, 2:] - truth.boxes[row, :2]
        place = truth.boxes[row, :2] + train[0] * extent
        distance = ((place - truth.xy[row]) ** 2).sum(-1)
        alike = np.exp(-distance / (2 * variance * AREA_SHARE * extent.prod()))
        # A training person's unlabelled joint cannot be copied: it counts as far off.
        known = truth.labelled[row]
        found.append(float((alike * train[1])[:, known].mean(1).max()))
    return float(np.mean(found)) if found else float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one table: training sets down, sets across."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", required=True, metavar="NAME=PATH[:SPLIT.json:PART]")
    parser.add_argument("--sets", nargs="+", required=True, metavar="NAME=PATH[:SPLIT.json:PART]")
    parser.add_argument("--label-score", type=float, default=0.3, help="least confidence of a label that counts")
    parser.add_argument("--people", type=int, default=2000, help="most people of a training set, drawn with --seed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    options.seen_only, options.by, options.most = [], None, 0
    try:
        sets = [open_set(text, options).truth for text in options.sets]
        print("| mean OKS of the nearest training pose | " + " | ".join(s.name for s in sets) + " |")
        print("|---|" + "---|" * len(sets))
        for text in options.train:
            train = open_set(text, options).truth
            xy, labelled = poses(train, options.people, options.seed)
            mirror = list(train.skeleton.mirror)
            both = (
                np.concatenate([xy, xy[:, mirror] * [-1, 1] + [1, 0]]),
                np.concatenate([labelled, labelled[:, mirror]]),
            )
            cells = [f"{100 * best_oks(s, both, options.people // 4, options.seed):.1f}" for s in sets]
            print(f"| {train.name} ({len(xy)} people) | " + " | ".join(cells) + " |", flush=True)
    except PosepipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
