"""Which of the files and folders of a set are found, and what is said where they cannot be."""

from __future__ import annotations

import os
from pathlib import Path
from unicodedata import normalize

import pytest
from label_sets import alphapose_row, person, video_set, write_json, write_video

from posepipe import cli
from posepipe.datasets.formats import Form, read_set, recognise, write_set
from posepipe.datasets.frames import extract_frames, videos_of_set
from posepipe.datasets.rows import Rows
from posepipe.errors import InputError
from posepipe.skeleton import COCO17

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("place", ["", "labels"])
def test_files_of_nobody_do_not_say_which_format_a_folder_has(place: str, tmp_path: Path) -> None:
    row = {"keypoints": person()[:, :2].tolist(), "keypoint_scores": [0.9] * 17}
    write_json(tmp_path / place / "0.json", [])
    write_json(tmp_path / place / "1.json", [row])
    assert recognise(tmp_path / place) == (Form.MMPOSE, tmp_path / place)
    (tmp_path / place / "1.json").unlink()
    assert recognise(tmp_path) == (Form.ALPHAPOSE, tmp_path)


def test_suffixes_in_capitals_are_found(tmp_path: Path) -> None:
    write_json(tmp_path / "labels" / "a.JSON", [alphapose_row("3.jpg", person(third=0.9))])
    assert read_set(tmp_path).images == ("a/000003.jpg",)


@pytest.mark.parametrize(("labels", "video"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_with_accents_is_one_name(labels: str, video: str, tmp_path: Path) -> None:
    file = tmp_path / "labels" / f"{normalize(labels, 'Müller')}.json"  # type: ignore[arg-type]
    write_json(file, [alphapose_row("1.jpg", person(third=0.9))])
    write_video(tmp_path / "videos" / f"{normalize(video, 'Müller')}.avi", 3)  # type: ignore[arg-type]
    people = read_set(tmp_path)
    taken = extract_frames(people, videos_of_set(tmp_path, None), tmp_path / "out")
    assert (taken.videos, (tmp_path / "out" / taken.images[0]).is_file()) == (people.videos, True)


def test_frames_that_no_label_has_are_said_to_be_so(tmp_path: Path) -> None:
    write_json(tmp_path / "labels" / "a.json", [alphapose_row(f"{f}.jpg", person(third=0.9)) for f in (1, 6, 11)])
    write_video(tmp_path / "a.avi", 12)
    with pytest.raises(InputError, match=r"every 5-th frame .* none is labelled; got labels of the frames 1, 6, 11"):
        extract_frames(read_set(tmp_path), tmp_path, tmp_path / "out", every=5)
    assert len(extract_frames(read_set(tmp_path), tmp_path, tmp_path / "out").images) == 3


@pytest.mark.parametrize(
    "joint", [(float("nan"), 3, 0.9), (3, float("inf"), 0.9), (3, 3, float("nan")), (1e300, 3, 0.9)]
)
def test_a_joint_that_is_not_finite_is_told(joint: tuple[float, ...], tmp_path: Path) -> None:
    joints = [float(v) for v in person(third=0.9).ravel()]
    joints[6:9] = joint
    people = [{"pose_keypoints_2d": [*joints, 0, 0, 0]}]
    write_json(tmp_path / "a_000000000001_keypoints.json", {"people": people})
    with pytest.raises(InputError, match=r"joint is not finite"):
        read_set(tmp_path)


def test_a_joint_without_a_place_is_not_labelled() -> None:
    rows, joints = Rows(17), person()
    joints[2, :2] = float("nan")
    rows.person(rows.image("a.jpg"), joints)
    assert rows.build("a", COCO17).labelled.tolist() == [16]


@pytest.mark.parametrize("locked", ["", "labels"])
def test_a_folder_that_may_not_be_read_is_told(
    locked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write_set(video_set(2, 2), tmp_path, Form.ALPHAPOSE)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / locked)
    assert cli.main(["data", "check", str(tmp_path)]) == 3
    assert f"cannot read the folder {tmp_path / locked}" in capsys.readouterr().err


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    assert cli.main(["data", "stats", str(tmp_path / "a.json")]) == 3
    assert f"cannot read {tmp_path / 'a.json'}: Permission denied" in capsys.readouterr().err
