"""Stored results of other trackers score as their authors and TrackEval say."""

from __future__ import annotations

import pytest

from posepipe.config import data_root
from posepipe.evaluation.mot import MotScore, score_sequence
from posepipe.evaluation.mot_files import read_mot

ROOT = data_root() / "track"
pytestmark = pytest.mark.skipif(not ROOT.is_dir(), reason="MOT15/17 are not there; point POSEPIPE_DATA at the data")


def percent(value: float, digits: int = 1) -> float:
    return round(100 * value, digits)


# Recall, precision, FP, FN, switches, MOTA, IDF1, MOTP (devkit), HOTA (TrackEval).
CEM = {
    "TUD-Campus": (58.2, 94.1, 13, 150, 7, 52.6, 55.8, 72.3, 39.14),
    "TUD-Stadtmitte": (60.9, 94.0, 45, 452, 7, 56.4, 64.5, 65.4, 39.78),
}


@pytest.mark.parametrize("name", CEM)
def test_cem_on_tud(name: str) -> None:
    truth = read_mot(ROOT / "mot15" / name / "gt.txt")
    s = score_sequence(truth, read_mot(ROOT / "tud_cem" / f"{name}.txt"), "MOT15")
    counts = (s.fp, s.fn, s.switches)
    shares = (percent(s.recall), percent(s.precision), *counts, percent(s.mota), percent(s.idf1), percent(s.motp))
    assert (*shares, percent(s.hota, 2)) == CEM[name]


def test_mpntrack_on_mot17_with_its_distractors() -> None:
    total = MotScore()
    for folder in sorted((ROOT / "mot17").iterdir()):
        truth = read_mot(folder / "gt.txt")
        for detector in ("DPM", "FRCNN", "SDP"):
            score = score_sequence(truth, read_mot(folder / f"mpntrack-{detector}.txt"), "MOT17")
            total += score
            if (folder.name, detector) == ("MOT17-02", "FRCNN"):
                own = [percent(v, 2) for v in (score.hota, score.mota, score.idf1)]
                assert (*own, score.switches) == (48.72, 47.30, 54.89, 25)
    assert [percent(v, 2) for v in (total.hota, total.mota, total.idf1)] == [61.90, 64.40, 71.21]
