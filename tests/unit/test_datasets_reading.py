"""What label files of other tools hold beside the usual."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_sets import person, write_json

from posepipe.datasets.deeplabcut import read_deeplabcut
from posepipe.datasets.findings import Code
from posepipe.datasets.formats import load_set, read_set
from posepipe.datasets.mmpose import read_mmpose
from posepipe.datasets.openpose import read_openpose
from posepipe.errors import InputError

BOM = b"\xef\xbb\xbf"
TABLE = "scorer,,,me,me\nbodyparts,,,nose,nose\ncoords,,,x,y\nlabeled-data,walk,img2_0014.png,1,2\n"


def instance(joints: int) -> dict[str, object]:
    points = person()[:, :2].tolist()
    return {"keypoints": (points * 8)[:joints], "keypoint_scores": [0.5] * joints}


def with_mark(path: Path) -> Path:
    path.write_bytes(BOM + path.read_bytes())
    return path


@pytest.mark.parametrize("joints", [17, 133])
def test_pictures_of_nobody_are_images_of_a_set_of_mmpose(joints: int, tmp_path: Path) -> None:
    for name, people in {"a": [], "b": [instance(joints)], "c": []}.items():
        write_json(tmp_path / f"{name}.json", people)
    found = read_mmpose(tmp_path)
    assert (found.images, found.image.tolist()) == (("a.jpg", "b.jpg", "c.jpg"), [1])
    assert (found.videos, len(found.skeleton)) == (("",) * 3, joints)


def test_people_of_openpose_without_a_body_are_nobody(tmp_path: Path) -> None:
    body = [float(v) for v in person(third=0.5).ravel()] + [9, 9, 0.5]
    write_json(tmp_path / "v_0_keypoints.json", {"people": [{"pose_keypoints_2d": []}]})
    write_json(tmp_path / "v_1_keypoints.json", {"people": [{"pose_keypoints_2d": []}, {"pose_keypoints_2d": body}]})
    found = read_openpose(tmp_path)
    assert (found.frames.tolist(), found.image.tolist(), len(found.skeleton)) == ([0, 1], [1], 18)


def test_the_last_number_of_a_picture_of_deeplabcut_is_its_frame(tmp_path: Path) -> None:
    file = tmp_path / "CollectedData_me.csv"
    file.write_text(TABLE)
    assert (read_deeplabcut(file).images, read_deeplabcut(file).frames.tolist()) == (("walk/img2_0014.png",), [14])


def test_a_byte_order_mark_is_no_part_of_the_labels(tmp_path: Path) -> None:
    table = tmp_path / "CollectedData_me.csv"
    table.write_text(TABLE)
    assert len(read_deeplabcut(with_mark(table))) == 1
    assert len(read_mmpose(with_mark(write_json(tmp_path / "a.json", [instance(17)])))) == 1
    assert len(read_openpose(with_mark(write_json(tmp_path / "o/v_0_keypoints.json", {"people": []}))).images) == 1


def write_yolo_set(folder: Path) -> None:
    for part in ("images", "labels"):
        (folder / part / "train").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "train" / "a.png"), np.zeros((20, 30, 3), np.uint8))
    rows = [f"{number} 0.5 0.5 0.5 0.5 " + "0.5 0.5 2 " * 17 for number in (0, 1)]
    (folder / "labels" / "train" / "a.txt").write_text("\n".join(rows), "utf-8")
    (folder / "data.yaml").write_text("kpt_shape: [17, 3]\nnames:\n  0: person\n  1: dog\n", "utf-8")


def test_rows_of_other_classes_are_told_and_places_that_are_none_are_refused(tmp_path: Path) -> None:
    write_yolo_set(tmp_path / "yolo")
    people, found = load_set(tmp_path / "yolo")
    assert len(people) == 1
    assert found.of(Code.OTHER_CATEGORY).count == 1
    one = {"image_id": "0.jpg", "keypoints": [float("nan"), 5.0, 0.9] * 17, "score": 1.0}
    labels = tmp_path / "sail" / "labels"
    labels.mkdir(parents=True)
    (labels / "v.json").write_text(json.dumps([one]), "utf-8")
    with pytest.raises(InputError, match="not-finite"):
        read_set(tmp_path / "sail")
