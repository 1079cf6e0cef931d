"""SORT's published table, row for row: its own detections, its settings, six training sequences of MOT15."""

from __future__ import annotations

import numpy as np
import pytest

from posepipe.config import data_root
from posepipe.evaluation.mot import MotScore, score_sequence
from posepipe.evaluation.mot_files import MotRows, read_mot
from posepipe.tracking.sort import Sort
from posepipe.types import Detections, Poses

ROOT = data_root() / "track" / "mot15"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="MOT15 is not there; point POSEPIPE_DATA at the data")

# Recall %, precision %, people, false positives, misses, identity switches, MOTA %, MOTP % (README of SORT).
PUBLISHED = {
    "TUD-Campus": (68.5, 94.3, 8, 15, 113, 6, 62.7, 73.7),
    "ETH-Sunnyday": (77.5, 81.9, 30, 319, 418, 22, 59.1, 74.4),
    "ETH-Pedcross2": (51.9, 90.8, 133, 330, 3014, 77, 45.4, 74.8),
    "ADL-Rundle-8": (44.3, 75.8, 28, 959, 3781, 103, 28.6, 71.1),
    "Venice-2": (42.5, 64.8, 26, 1650, 4109, 57, 18.6, 73.4),
    "KITTI-17": (67.1, 92.3, 9, 38, 225, 9, 60.2, 72.3),
    "overall": (49.5, 77.5, 234, 3311, 11660, 274, 34.0, 73.3),
}


def sort_results(detections: MotRows) -> MotRows:
    tracker = Sort(max_age=1, min_hits=3, iou_threshold=0.3)
    rows = []
    frames = detections.by_frame()
    for frame in range(1, max(frames) + 1):
        found = frames.get(frame, detections[:0])
        tracks = tracker.update(Poses.unseen(Detections(found.boxes, found.flag)))
        ids, boxes = tracks.track_id[tracks.confirmed], tracks.boxes[tracks.confirmed]
        rows += [(frame, i, *box) for i, box in zip(ids, boxes, strict=True)]
    table = np.array(rows)
    ones = np.ones(len(table))
    return MotRows(table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2:], ones, -ones.astype(int))


@pytest.fixture(scope="module")
def scores() -> dict[str, MotScore]:
    each = {
        name: score_sequence(read_mot(ROOT / name / "gt.txt"), sort_results(read_mot(ROOT / name / "det.txt")), "MOT15")
        for name in PUBLISHED
        if name != "overall"
    }
    return each | {"overall": sum(each.values(), MotScore())}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_row_of_the_published_table(scores: dict[str, MotScore], name: str) -> None:
    s = scores[name]
    shares = [round(100 * v, 1) for v in (s.recall, s.precision, s.mota, s.motp)]
    assert (*shares[:2], s.people, s.fp, s.fn, s.switches, *shares[2:]) == PUBLISHED[name]
