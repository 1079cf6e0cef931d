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
