from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from label_sets import noise_picture, person

from posepipe.config import Config
from posepipe.datasets.findings import Code, Findings
from posepipe.datasets.yolo import read_yolo, set_parts
from posepipe.errors import InputError
from posepipe.io.pictures import read_picture

YAML = "path: {path}\ntrain: images/train\n{names}\nkpt_shape: [17, 3]\n"
TWO = "names:\n  0: dog\n  1: Person  # us"


def a_set(root: Path, names: str, *classes: int, path: str = ".", yaml: str = "data.yaml") -> Path:
    """A picture with a row of each class."""
    (root / "images/train").mkdir(parents=True)
    (root / "labels/train").mkdir(parents=True)
    (root / yaml).parent.mkdir(exist_ok=True)
    (root / yaml).write_text(YAML.format(path=path, names=names), "utf-8-sig")
    cv2.imwrite(str(root / "images/train/1.jpg"), noise_picture(1))
    joints = (person(20, 10) / (320, 240, 1)).ravel()
    lines = [f"{kind} 0.25 0.5 0.5 1 {' '.join(map(str, joints.tolist()))}\n" for kind in classes]
    (root / "labels/train/1.txt").write_text("".join(lines))
    return root / yaml


@pytest.mark.parametrize(
    ("names", "people"),
    [
        *((TWO, 2), ("names: [person, dog]", 1), ("names: {0: 'dog', 1: 'person'}", 2), ("names:\n- dog\n- person", 2)),
        *(("", 1), ("names:\n  0: athlete", 1)),
    ],
)
def test_people_are_the_rows_of_their_class(names: str, people: int, tmp_path: Path) -> None:
    found = Findings()
    yaml = a_set(tmp_path, names, 0, 1, 1)
    assert len(read_yolo(yaml, found)) == people
    assert found.of(Code.OTHER_CATEGORY).count == 3 - people


def test_classes_without_people_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the classes dog, cat is person"):
        read_yolo(a_set(tmp_path, "names: [dog, cat]", 0))


@pytest.mark.parametrize("tag", [b"\x06", b"\x03"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_labels_are_scaled_by_the_upright_picture(order: str, tag: bytes, tmp_path: Path) -> None:
    yaml = a_set(tmp_path, "", 0)
    picture = tmp_path / "images/train/1.jpg"
    head = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + tag + b"\0\0\0\0\0\0\0"
    if order == "big":
        head = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + tag + b"\0\0\0\0\0\0"
    exif = b"Exif\0\0" + head
    jpeg = picture.read_bytes()
    picture.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    height, width = read_picture(picture, Config.max_pixels).shape[:2]
    assert (width, height) == ((240, 320) if tag == b"\x06" else (320, 240))
    people = read_yolo(yaml)
    assert people.sizes.tolist() == [[width, height]]
    np.testing.assert_allclose(people.boxes, [[0, 0, width / 2, height]])


@pytest.mark.parametrize("path", ["..", "{}"])
def test_the_root_is_what_path_says(path: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    yaml = a_set(root, "", 0, path=path.format(root), yaml="cfg/data.yaml")
    people = read_yolo(yaml)
    assert people.images == ("images/train/1.jpg",)
    assert people.path(0).samefile(root / "images/train/1.jpg")  # type: ignore[union-attr]
    assert len(people) == 1
    assert set_parts(yaml) == ()


def test_a_path_that_leads_nowhere_is_passed_over(tmp_path: Path) -> None:
    assert len(read_yolo(a_set(tmp_path, "", 0, path="coco8-pose"))) == 1
