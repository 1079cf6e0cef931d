"""``posepipe data audit`` as a user runs it, its page, and exclusion lists."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from walkers import sound, with_fault

from posepipe.cli import main
from posepipe.datasets.alphapose import write_alphapose
from posepipe.datasets.audit import Sign
from posepipe.datasets.exclusions import Exclusions, read_exclusions
from posepipe.errors import InputError


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    write_alphapose(with_fault(Sign.SWAP), tmp_path / "labels")
    return tmp_path / "labels"


def test_the_page_the_scorecard_and_the_list(labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "audit"
    assert main(["data", "audit", str(labels), "-o", str(out), "--sheets", "3"]) == 0
    told = capsys.readouterr().out
    assert "grey" in told.splitlines()[0]
    assert told.splitlines()[1].startswith("  1. v07: ")
    scorecard = json.loads((out / "scorecard.json").read_text())
    assert scorecard["format"] == "posepipe-audit/1"
    assert scorecard["videos"][0]["video"] == "v07"
    assert "left-right-swap" in scorecard["videos"][0]["reasons"]
    assert len(scorecard["videos"]) == 20
    page = (out / "index.html").read_text()
    assert page.count("<img") == 3
    assert page.index("v07") < page.index("v01")
    sheet = cv2.imread(str(out / "sheets/0000.jpg"))
    assert sheet is not None
    assert sheet.shape == (480, 1080, 3)
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 50  # skeletons, not an empty sheet
    assert list(read_exclusions(out / "exclusions.json").videos) == ["v07"]


def test_people_labelled_twice_in_alphapose_results_are_seen(tmp_path: Path) -> None:
    whole, rng = sound(), np.random.default_rng(2)
    again = whole.of_videos(["v07"])
    noise = rng.normal(0, 0.01, again.xy.shape) * np.sqrt(again.area / 0.53)[:, None, None]
    write_alphapose(whole, tmp_path / "set")
    write_alphapose(replace(again, xy=(again.xy + noise).astype(np.float32)), tmp_path / "again")
    file, second = (tmp_path / name / "labels" / "v07.json" for name in ("set", "again"))
    file.write_text(json.dumps(json.loads(file.read_text()) + json.loads(second.read_text())))
    assert main(["data", "audit", str(tmp_path / "set"), "-o", str(tmp_path / "audit"), "--sheets", "0"]) == 0
    card = json.loads((tmp_path / "audit/scorecard.json").read_text())["videos"][0]
    assert (card["video"], card["people"]) == ("v07", 80)
    assert card["signs"]["duplicate-people"] > 0.9
    assert "duplicate-people" in card["reasons"]


def test_videos_without_labels_come_first_and_are_not_excluded(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = labels / "labels" / "v03.json"
    file.write_text(file.read_text()[:999])
    (labels / "labels" / "v05.json").write_text("[]")
    assert main(["data", "audit", str(labels), "-o", str(tmp_path / "audit"), "--exclude", "2"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("unreadable-labels: 1 of 20: ")
    assert [line.split(":")[0].split()[1] for line in told[2:5]] == ["v03", "v05", "v07"]
    cards = json.loads((tmp_path / "audit/scorecard.json").read_text())["videos"]
    assert [card["reasons"] for card in cards[:2]] == [["no-labels"]] * 2
    excluded = list(read_exclusions(tmp_path / "audit/exclusions.json").videos)
    assert (len(excluded), excluded[0]) == (2, "v07")


def test_an_audit_is_not_replaced_unasked(labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "audit", str(labels), "-o", str(tmp_path / "audit"), "--sheets", "0", "--exclude", "2"]
    assert main(command) == 0
    assert main(command) == 6
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert len(read_exclusions(tmp_path / "audit/exclusions.json").videos) == 2


def test_second_labels_from_a_file(labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_alphapose(sound(), tmp_path / "second")
    command = ["data", "audit", str(labels), "-o", str(tmp_path / "audit"), "--sheets", "0"]
    assert main([*command, "--second", str(tmp_path / "second")]) == 0
    card = json.loads((tmp_path / "audit/scorecard.json").read_text())["videos"][0]
    assert card["signs"]["second-opinion"] >= 0


def test_a_network_cannot_label_pictures_that_are_not_there(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "audit", str(labels), "-o", str(tmp_path / "audit"), "--second", "small"]) == 3
    assert "not at hand" in capsys.readouterr().err


def test_excluded_videos_and_images_leave_the_set() -> None:
    whole = sound()
    kept = Exclusions({"v01": ("gaps",)}, {whole.images[-1]: ()}).apply(whole)
    assert "v01" not in kept.videos
    assert len(kept) == len(whole) - 40 - 1
    assert Exclusions({"v99": ()}).unknown(whole.videos) == ["v99"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format": "other"}', '{"format": "posepipe-exclusions/1", "videos": [{"name": "x"}]}',
     '{"format": "posepipe-exclusions/1", "videos": {"video": "x"}, "images": [3]}'],
)  # fmt: skip
def test_a_list_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"list\.json"):
        read_exclusions(path)
