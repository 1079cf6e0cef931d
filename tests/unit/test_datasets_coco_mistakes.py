"""COCO files as other programs, other systems and hands write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from label_sets import person, write_json

from posepipe import cli
from posepipe.datasets.coco import load_coco, read_coco
from posepipe.datasets.findings import Code
from posepipe.datasets.formats import Form, load_set, read_set
from posepipe.errors import InputError
from posepipe.skeleton import COCO17

JOINTS = [float(v) for v in person().ravel()]


def content(*people: dict[str, Any], images: int = 2) -> dict[str, Any]:
    """A sound file of some pictures, as a table; what `people` say of their rows goes before."""
    row = {"image_id": 0, "category_id": 1, "bbox": [0, 0, 100, 200], "keypoints": JOINTS}
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 320, "height": 240} for i in range(images)],
        "annotations": [{"id": 70 + i, **row, **given} for i, given in enumerate(people)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.keypoints)}],
    }


@pytest.mark.parametrize("name", ["Übung 1/0.jpg", "sub\\0.jpg", 'a "b".jpg'])
def test_pictures_are_found_whatever_they_are_called_and_wherever_their_names_stand(name: str, tmp_path: Path) -> None:
    data = content({"note": "x" * (1 << 20)}, images=1)
    data["images"][0]["file_name"] = name
    file = tmp_path / "a.json"
    # More than a mebibyte before the images, as in large files with sorted keys.
    file.write_text(json.dumps(data, sort_keys=True))
    picture = tmp_path / "images" / name.replace("\\", "/")
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"")
    for people in (read_set(file), load_set(file)[0], load_set(file, form=Form.ALPHAPOSE)[0]):
        assert people.root == tmp_path / "images"
        assert people.path(0) == picture


def test_a_mark_at_the_beginning_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content({})), "utf-8-sig")
    assert len(read_set(tmp_path / "a.json")) == 1


def test_two_images_of_one_id_are_refused(tmp_path: Path) -> None:
    data = content({})
    data["images"][1]["id"] = 0
    with pytest.raises(InputError, match="duplicate-image-id: 1 of 2"):
        read_coco(write_json(tmp_path / "a.json", data))
    assert load_coco(tmp_path / "a.json")[1].of(Code.DUPLICATE_IMAGE_ID).examples == ["image 0"]


def test_a_set_of_nobody_is_written(tmp_path: Path) -> None:
    write_json(tmp_path / "nobody.json", [])
    assert cli.main(["data", "convert", "--to", "coco", str(tmp_path / "nobody.json"), str(tmp_path / "a.json")]) == 0
    assert len(read_coco(tmp_path / "a.json")) == 0


def test_a_folder_without_a_coco_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no COCO file"):
        load_set(tmp_path, form=Form.COCO)


@pytest.mark.parametrize(("names", "other"), [(("dog", "person"), 70), (("Person", "dog"), 71), (("dog",), 71)])
def test_rows_of_other_categories_are_no_people(names: tuple[str, ...], other: int, tmp_path: Path) -> None:
    data = content({"category_id": 7}, {"category_id": 8}, {"category_id": None})
    joints = data["categories"][0]["keypoints"]
    data["categories"] = [{"id": 7 + i, "name": name, "keypoints": joints} for i, name in enumerate(names)]
    data["categories"].append({"id": 8 if len(names) == 1 else 9, "name": "horse"})
    people, found = load_coco(write_json(tmp_path / "a.json", data))
    assert len(people) == 2
    assert found.of(Code.OTHER_CATEGORY).examples == [f"annotation {other} of category {other - 63}"]
    assert len(read_coco(tmp_path / "a.json")) == 2


def test_a_file_of_several_kinds_of_beings_is_refused(tmp_path: Path) -> None:
    data = content({})
    data["categories"] = [{**data["categories"][0], "id": i, "name": name} for i, name in enumerate(("dog", "cat"))]
    with pytest.raises(InputError, match=r"a\.json: which category is people; got dog, cat"):
        load_coco(write_json(tmp_path / "a.json", data))


@pytest.mark.parametrize("rows", [{}, {"1": {}}, [3]])
def test_rows_that_are_none_are_refused(rows: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: annotations"):
        load_coco(write_json(tmp_path / "a.json", {**content(), "annotations": rows}))


@pytest.mark.parametrize("category", [0, "1"])
def test_rows_of_no_category_are_told_and_refused(category: object, tmp_path: Path) -> None:
    data = content({}, {"category_id": category})
    people, found = load_coco(write_json(tmp_path / "a.json", data))
    assert (len(people), found.of(Code.UNKNOWN_CATEGORY).examples) == (1, [f"annotation 71 of category {category!r}"])
    with pytest.raises(InputError, match="unknown-category: 1 of 2"):
        read_coco(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("part", "field", "value", "message"),
    [
        ("images", "file_name", None, "file_name of image 1; got None; expected a text"),
        ("images", "id", None, r"id of images\[1\]; got None"),
        ("images", "width", "640", "width of image 1; got '640'; expected a whole number"),
        ("images", "frame", 0.5, "frame of image 1"),
        ("images", "video", 3, "video of image 1"),
        ("annotations", "iscrowd", "0", "iscrowd of annotation 71; got '0'; expected 0 or 1"),
        ("annotations", "score", float("nan"), "score of annotation 71"),
        ("annotations", "track_id", True, "track_id of annotation 71"),
        ("annotations", "area", "12", "area of annotation 71"),
        ("annotations", "image_id", [0], "image_id of annotation 71"),
        ("annotations", "keypoint_scores", ["x"] * 17, "keypoint_scores of annotation 71"),
        ("categories", "id", None, r"id of categories\[1\]"),
    ],
)
def test_a_value_of_another_kind_is_named(part: str, field: str, value: Any, message: str, tmp_path: Path) -> None:
    data = content({}, {})
    data["categories"].append({"id": 2, "name": "dog"})
    data[part][1][field] = value
    with pytest.raises(InputError, match=message):
        load_coco(write_json(tmp_path / "a.json", data))


def test_null_is_a_field_that_is_not_there(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("score", "iscrowd", "track_id", "area", "num_keypoints", "keypoint_scores"))
    data = content({}, nothing)
    data["images"][1] |= dict.fromkeys(("video", "frame", "width", "height"))
    people = read_coco(write_json(tmp_path / "a.json", data))
    assert (people.videos, people.frames.tolist(), people.sizes[1].tolist()) == (("", ""), [-1, -1], [0, 0])
    assert (people.person_score[1], people.track_id[1], people.iscrowd[1]) == (1, -1, False)
    assert people.area[1] == people.area[0]
    assert not people.area_known[1]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("bbox", ["12px", 0, 10, 10], Code.BAD_BOX),
        ("bbox", [0, 0, 1e300, 10], Code.NOT_FINITE),
        ("keypoints", ["x", *JOINTS[1:]], Code.KEYPOINT_COUNT),
        ("keypoints", [1e300, *JOINTS[1:]], Code.NOT_FINITE),
        ("area", 1e39, Code.NOT_FINITE),
        ("area", float("nan"), Code.NOT_FINITE),
        ("image_id", None, Code.UNKNOWN_IMAGE),
    ],
)
def test_boxes_and_joints_that_cannot_be_used_are_named(field: str, value: Any, code: Code, tmp_path: Path) -> None:
    people, found = load_coco(write_json(tmp_path / "a.json", content({}, {field: value}, {})))
    assert [(finding.code, finding.examples) for finding in found.all()] == [(code, ["annotation 71"])]
    assert len(people) in (2, 3)
    with pytest.raises(InputError, match=rf"{code.label}: 1 of 3: .* \(first: annotation 71\)"):
        read_coco(tmp_path / "a.json")
