"""Print S-CNN's figures on THUMOS-14 from its stored windows, beside those that its authors stored.

    python eval/thumos_scnn.py [FOLDER]

FOLDER is the authors' ``scnn_c3d`` (default: below POSEPIPE_DATA). Needs scipy to read MATLAB's files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from posepipe.config import data_root
from posepipe.evaluation.localisation import Labelled
from posepipe.evaluation.localisation_files import read_truth
from posepipe.evaluation.localisation_thumos import ThumosScore, scnn_detections, thumos_score, window_scores
from posepipe.report import table

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def scored_windows(folder: Path) -> Labelled:
    """Every window that has a class, its score weighted by how common windows of its length are in the class."""
    rows = loadmat(folder / "network_localization/result/res_seg_swin.mat")["seg_swin"]
    rows = rows[rows[:, 10] != 0]
    weight = loadmat(folder / "window_weight/weight.mat")["weight"]
    label = rows[:, 10].astype(np.int64) - 1
    names = np.array((folder / "annotation/annotation_test/detclasslist.txt").read_text("utf-8").split()[1::2])
    video = np.array([f"video_test_{int(number):07d}" for number in rows[:, 0]])
    return Labelled(video, names[label], rows[:, 4:6], window_scores(rows[:, 8], rows[:, 1], label, weight))


def score_at(folder: Path, windows: Labelled, threshold: float) -> ThumosScore:
    """The challenge's score at one threshold; the suppression before it depends on the threshold."""
    truth = read_truth(folder / "annotation/annotation_test", "test")
    return thumos_score(truth, scnn_detections(windows, threshold), [threshold])


def main() -> None:
    """A row a threshold."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else data_root() / "tad/scnn_c3d"
    windows = scored_windows(folder)
    stored = loadmat(folder / "eval/res_scnn_thumos14.mat")
    rows = []
    for column, threshold in enumerate(THRESHOLDS):
        score = score_at(folder, windows, threshold)
        figures = (score.mean[0], stored["mAP"][0, column], score.mean_recall[0], stored["REC_all"][0, column])
        rows.append((f"{threshold:g}", *(f"{value:.5f}" for value in figures)))
    print(table(("tIoU", "mAP", "stored", "recall", "stored"), rows))


if __name__ == "__main__":
    main()
