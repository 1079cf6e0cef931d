from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_sets import person, same, video_set, write_json

from posepipe.config import data_root
from posepipe.datasets.coco import load_coco, read_coco, write_coco
from posepipe.datasets.findings import Code
from posepipe.datasets.labels import area_of, concatenate
from posepipe.datasets.rows import Rows
from posepipe.errors import InputError
from posepipe.skeleton import COCO17

MINI = data_root() / "coco-mini" / "annotations" / "person_keypoints_test.json"


def coco_file(path: Path, *people: dict[str, Any], images: int = 1, **more: Any) -> Path:
    pictures = [{"id": i, "file_name": f"{i}.jpg", "width": 320, "height": 240} for i in range(images)]
    rows = [{"id": i, "image_id": 0, "category_id": 1, "bbox": [0, 0, 100, 200], **p} for i, p in enumerate(people)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoints)}
    return write_json(path, {"images": pictures, "annotations": rows, "categories": [category], **more})


def joints(third: float = 2.0) -> list[float]:
    return [float(v) for v in person(third=third).ravel()]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("xy", np.full((50, 17, 2), np.nan), "NaN"),
        ("boxes", np.zeros((50, 3)), "shape"),
        ("visibility", np.full((50, 17), 3), "0, 1 or 2"),
        ("visibility", np.full((50, 17), 0.8), "not int8"),
        ("score", np.full((50, 17), 3.25), r"\[0,1\]"),
        ("image", np.full(50, 99), "points outside"),
        ("images", ("a.jpg",) * 50, "twice"),
        ("videos", ("v",), "videos"),
    ],
)
def test_a_set_that_contradicts_itself_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(video_set(), **{field: value})


def test_unlabelled_joints_have_no_place() -> None:
    people = video_set(1, 1)
    with pytest.raises(ValueError, match="not labelled"):
        replace(people, visibility=np.zeros((1, 17)))


def test_arrays_are_read_only_and_not_the_caller_s() -> None:
    frames = np.arange(50) % 5
    people = replace(video_set(), frames=frames)
    with pytest.raises(ValueError, match="read-only"):
        people.xy[0, 0, 0] = 1
    frames[0] = 77
    assert people.frames[0] == 0


def test_selecting_people_keeps_images_and_selecting_videos_keeps_both() -> None:
    people = video_set(4, 3)
    few = people.select([0, 5])
    assert (len(few), len(few.images)) == (2, 12)
    assert people.select(people.image < 3).image.tolist() == [0, 1, 2]
    part = people.of_videos(["clip03", "clip01"])
    assert part.video_names() == ("clip01", "clip03")
    assert [part.images[i] for i in part.image] == list(part.images)
    np.testing.assert_array_equal(part.xy, people.xy[[3, 4, 5, 9, 10, 11]])


def test_joined_parts_are_the_whole() -> None:
    people = video_set(4, 3)
    parts = [people.of_videos([name]) for name in people.video_names()]
    same(concatenate(parts, "clips"), people)
    with pytest.raises(ValueError, match="twice"):
        concatenate([people, people], "twice")


def test_area_is_053_of_the_box() -> None:
    np.testing.assert_allclose(area_of(np.array([[10, 10, 20, 30], [5, 5, 0, 9]])), [106, 0])


def test_coco_labels_are_read_as_they_stand(tmp_path: Path) -> None:
    hidden = joints()
    hidden[2], hidden[3:6] = 1, [7, 7, 0]
    file = coco_file(tmp_path / "a.json", {"keypoints": hidden, "area": 50, "iscrowd": 1, "num_keypoints": 16}, {})
    people = read_coco(file)
    assert people.visibility[0, :3].tolist() == [1, 0, 2]
    assert people.xy[0, 1].tolist() == [0, 0]
    assert people.labelled.tolist() == [16, 0]
    assert (people.area.tolist(), people.area_known.tolist()) == ([50, pytest.approx(10600)], [True, False])
    assert people.iscrowd.tolist() == [True, False]
    assert people.boxes[1].tolist() == [0, 0, 100, 200]
    assert (people.sizes.tolist(), people.root, people.skeleton) == ([[320, 240]], None, COCO17)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"keypoints": joints(0.83)}, Code.CONFIDENCE),
        ({"keypoints": [float("nan"), *joints()[1:]]}, Code.NOT_FINITE),
        ({"keypoints": joints()[:-3]}, Code.KEYPOINT_COUNT),
        ({"bbox": [1, 2, 3]}, Code.BAD_BOX),
        ({"bbox": [1, 2, 3, float("inf")]}, Code.NOT_FINITE),
        ({"image_id": 5}, Code.UNKNOWN_IMAGE),
    ],
)
def test_what_would_have_to_be_guessed_is_refused_and_listed(row: dict[str, Any], code: Code, tmp_path: Path) -> None:
    file = coco_file(tmp_path / "a.json", {"keypoints": joints()}, row)
    with pytest.raises(InputError, match=code.label):
        read_coco(file)
    people, found = load_coco(file)
    assert [f.code for f in found.all()] == [code]
    assert found.all()[0].examples == ["annotation 1"]
    assert people.visibility[0].tolist() == [2] * 17


def test_faults_that_need_no_guess_are_listed_only(tmp_path: Path) -> None:
    file = coco_file(tmp_path / "a.json", {"keypoints": joints(), "num_keypoints": 3}, {"id": 0})
    people, found = load_coco(file)
    assert [f.code for f in found.all()] == [Code.DUPLICATE_ID, Code.NUM_KEYPOINTS]
    assert len(read_coco(file)) == len(people) == 2


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"images": 3, "annotations": 4}', "[" * 100_000])
def test_what_is_no_coco_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_coco(tmp_path / "a.json")


def test_joint_names_and_constants_of_another_skeleton_survive(tmp_path: Path) -> None:
    rows = Rows(2)
    rows.person(rows.image("a.jpg"), [[1, 2, 1], [3, 4, 0]])
    from posepipe.skeleton import named_skeleton

    people = rows.build(
        "pair", named_skeleton("pair", ("left_tip", "right_tip"), [("left_tip", "right_tip")], (0.1, 0.2))
    )
    write_coco(people, tmp_path / "a.json")
    again = read_coco(tmp_path / "a.json")
    assert again.skeleton == people.skeleton
    assert again.skeleton.mirror.tolist() == [1, 0]
    same(again, people)


@pytest.mark.skipif(not MINI.is_file(), reason="coco-mini is not there; point POSEPIPE_DATA at the data")
def test_pycocotools_reads_what_is_written(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    people = read_coco(MINI)
    write_coco(people, tmp_path / "a.json")
    theirs = coco.COCO(str(tmp_path / "a.json"))
    original = json.loads(MINI.read_text())
    assert sorted(a["num_keypoints"] for a in theirs.dataset["annotations"]) == sorted(
        a["num_keypoints"] for a in original["annotations"]
    )
    same(read_coco(tmp_path / "a.json"), people)
    np.testing.assert_array_equal(read_coco(tmp_path / "a.json").visibility, people.visibility)
