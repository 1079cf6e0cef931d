"""Counts of missing and hidden joints over all 149,813 people of COCO train2017."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from posepipe import cli
from posepipe.config import data_root
from posepipe.datasets.stats import table_stats
from posepipe.datasets.visibility import read_visibility
from posepipe.errors import InputError

TABLE = data_root() / "coco-mini" / "coco2017_visibility.npz"
needs_data = pytest.mark.skipif(not TABLE.is_file(), reason="coco-mini is not there; point POSEPIPE_DATA at the data")

MISSING = [
    *(48378, 61607, 61007, 73033, 72028, 18909, 18636, 46225, 44586),
    *(55221, 52915, 36052, 35746, 63200, 62956, 77073, 76966),
]
OCCLUDED = [
    *(5910, 2199, 2725, 4678, 6503, 11501, 12705, 12466, 13295),
    *(10931, 11132, 21834, 22418, 11770, 11966, 11592, 11817),
]


@needs_data
def test_counts_by_joint() -> None:
    train, val = table_stats(read_visibility(TABLE), "coco2017").joints
    assert (train.people, val.people) == (149_813, 6_352)
    assert train.counts[0].tolist() == MISSING
    assert train.counts[1].tolist() == OCCLUDED
    assert (train.counts.sum(0) == 149_813).all()


@needs_data
def test_the_command_prints_writes_and_draws_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--json", str(tmp_path / "a.json"), "--plot", str(tmp_path / "a.png")]
    assert cli.main(["data", "stats", str(TABLE), *out]) == 0
    printed = capsys.readouterr().out
    assert "left_ankle           77073  51.45%     11592   7.74%" in printed
    train = json.loads((tmp_path / "a.json").read_text())["parts"][0]
    assert (train["missing"], train["occluded"], train["people"]) == (MISSING, OCCLUDED, 149_813)
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape[0] > 900
    assert len({tuple(p) for p in picture[::7, ::7].reshape(-1, 3).tolist()}) > 3


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(InputError, match=r"a\.npz"):
        read_visibility(tmp_path / "a.npz")
