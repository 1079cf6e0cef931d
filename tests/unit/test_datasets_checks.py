from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from label_sets import FRONTAL, person, video_set, write_pictures

from posepipe.config import data_root
from posepipe.datasets.checks import check_set, sides_of
from posepipe.datasets.coco import load_coco
from posepipe.datasets.duplicates import duplicate_people
from posepipe.datasets.findings import Code
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.rows import Rows
from posepipe.datasets.stats import JointCounts, plot_joints, set_stats
from posepipe.skeleton import COCO17, named_skeleton

DATA = data_root()
needs_data = pytest.mark.skipif(not (DATA / "lspet").is_dir(), reason="no data; point POSEPIPE_DATA at it")


def codes(people: KeypointSet, **options: Any) -> set[Code]:
    return {finding.code for finding in check_set(people, **options).findings.all()}


def labelled_set(count: int = 30, third: float = 2.0) -> KeypointSet:
    rows = Rows(17)
    for i in range(count):
        at = i % 30
        box = [float(v) for v in (at, at, 100 + at, 200 + at)]
        rows.person(rows.image(f"{i}.jpg", size=(320, 240)), person(at, at, third=third), box)
    people = rows.build("people", COCO17, visibilities=True)
    return replace(people, area_known=np.ones(count, bool))


def changed(people: KeypointSet, field: str, row: int, value: Any) -> KeypointSet:
    array = getattr(people, field).copy()
    array[row] = value
    return replace(people, **{field: array})


def test_a_sound_set_is_sound() -> None:
    report = check_set(labelled_set())
    assert (report.sound, report.findings.all()) == (True, [])
    assert (report.sides.frontal, report.sides.swapped, report.sides.against_face) == (30, 0, 0)
    assert report.table().endswith("\nsound")


@pytest.mark.parametrize(
    ("field", "value", "code", "spoils"),
    [
        ("boxes", [50, 50, 40, 60], Code.INVERTED_BOX, True),
        ("boxes", [0, 0, 500, 230], Code.BOX_OUTSIDE, False),
        ("boxes", [0, 0, 30, 30], Code.OUTSIDE_BOX, False),
        ("xy", np.full((17, 2), 400.0), Code.OUTSIDE_PICTURE, True),
        ("area", 0, Code.ZERO_AREA, True),
        ("area", 1e6, Code.AREA_BEYOND_BOX, False),
        ("area_known", False, Code.AREA_UNKNOWN, False),
        ("iscrowd", True, Code.CROWD, False),
        ("score", 0.2, Code.LOW_CONFIDENCE, False),
        ("sizes", 0, Code.NO_SIZE, False),
        ("image", 3, Code.EMPTY_IMAGE, False),
        ("image", 3, Code.DUPLICATE_PERSON, True),
    ],
)
def test_one_fault_is_found(field: str, value: Any, code: Code, spoils: bool) -> None:
    people = labelled_set()
    row = 29 if field == "image" else 0
    if code is Code.DUPLICATE_PERSON:
        people = changed(changed(people, "xy", 29, people.xy[3]), "boxes", 29, people.boxes[3])
    report = check_set(changed(people, field, row, value))
    found = report.findings.of(code)
    assert (found.count, found.spoils) == (1, spoils)
    assert found.line() in report.table()
    assert report.sound is not spoils


def test_a_few_faults_among_many_people_spoil_nothing() -> None:
    people = labelled_set(300)
    report = check_set(changed(people, "xy", 0, np.full((17, 2), 4000.0)))
    assert (report.findings.of(Code.OUTSIDE_PICTURE).count, report.sound) == (1, True)
    # Where a picture's size is unknown nothing can be said.
    lost = changed(people, "xy", 0, np.full((17, 2), 4000.0))
    assert Code.OUTSIDE_PICTURE not in codes(replace(lost, sizes=people.sizes * 0))


def test_swapped_sides_are_found_and_mirrored_pictures_are_not_one_person() -> None:
    people = labelled_set()
    swapped = replace(people, xy=people.xy[:, COCO17.mirror])
    report = check_set(swapped)
    assert (report.sides.swapped, report.sides.against_face, report.sound) == (30, 0, False)
    assert report.findings.of(Code.SIDES_SWAPPED).spoils
    arms = people.xy.copy()
    arms[:, [5, 6]] = arms[:, [6, 5]]
    assert sides_of(replace(people, xy=arms)).against_face == 30
    # Too few people to tell.
    assert not sides_of(swapped.select(range(10))).wrong


def test_backs_are_not_taken_for_people_who_look_at_the_camera() -> None:
    visibility = np.full((30, 17), 2)
    visibility[:, :5] = 0
    people = labelled_set()
    xy = np.where(visibility[..., None] > 0, people.xy[:, COCO17.mirror], 0)
    backs = replace(people, xy=xy, visibility=visibility, score=(visibility > 0) * 1.0)
    assert sides_of(backs).frontal == 0


def test_another_joint_order_is_found() -> None:
    people = labelled_set()
    order = (*COCO17.keypoints[1:], COCO17.keypoints[0])
    assert Code.JOINT_ORDER in codes(replace(people, skeleton=named_skeleton("mine", order)))
    halpe = replace(people, skeleton=named_skeleton("mine", (*COCO17.keypoints[:16], "tail")))
    assert check_set(halpe).findings.of(Code.SIGMAS_GUESSED).examples == ["tail"]


def test_nobody_labelled_spoils_a_training() -> None:
    assert Code.NO_PEOPLE in codes(labelled_set().select([]))


def test_pictures_missing_damaged_and_of_another_size(tmp_path: Path) -> None:
    people = video_set(1, 5, root=tmp_path)
    write_pictures(people, tmp_path)
    (tmp_path / people.images[0]).unlink()
    (tmp_path / people.images[1]).write_bytes((tmp_path / people.images[1]).read_bytes()[:200])
    cv2.imwrite(str(tmp_path / people.images[2]), np.zeros((50, 60, 3), np.uint8))
    report = check_set(people)
    by_code = {f.code: f.examples for f in report.findings.all() if f.spoils}
    assert by_code == {
        Code.MISSING_IMAGE: [people.images[0]],
        Code.UNREADABLE_IMAGE: [people.images[1]],
        Code.IMAGE_SIZE: [f"{people.images[2]} 60x50, not 320x240"],
    }
    assert report.figures["pictures decoded"] == 4
    assert check_set(people, pictures=0).figures["pictures decoded"] == 0


def test_duplicates_need_joints_in_common() -> None:
    rows = Rows(17)
    image = rows.image("a.jpg")
    few = person()
    few[5:, 2] = 0
    for joints in (person(), person(0.5), few, person(30)):
        rows.person(image, joints, [0, 0, 100, 200])
    rows.person(rows.image("b.jpg"), person(), [0, 0, 100, 200])
    people = rows.build("some", COCO17)
    # The second is the first again, the third shares five joints with it, the last is elsewhere.
    assert duplicate_people(people).tolist() == [1, 2]
    face = replace(people, visibility=people.visibility * (np.arange(17) < 4), xy=people.xy * 0, score=people.score * 0)
    assert duplicate_people(face).tolist() == []


def test_joints_are_counted_of_people_with_a_label() -> None:
    visibility = np.array([[0, 1], [2, 2], [0, 0], [2, 0]], np.int8)
    counts = JointCounts.of("some", ("a", "b"), visibility)
    assert (counts.people, counts.counts.tolist()) == (3, [[1, 1], [0, 1], [2, 1]])
    assert "66.67%" in counts.table()


def test_stats_by_video(tmp_path: Path) -> None:
    stats = set_stats(video_set(3, 4))
    assert [(v["video"], v["frames"], v["people"], v["median_height"]) for v in stats.videos] == [
        (f"clip0{i}", 4, 4, 204.0) for i in range(3)
    ]
    assert dict(stats.rows)["people a picture"].startswith("0: 0, 1: 12, 2: 0")
    assert "128-256: 12" in dict(stats.rows)["box height px"]
    assert "clip02" in stats.table()
    plot_joints(stats.joints, tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")) is not None


def test_an_empty_set_has_stats_and_a_report() -> None:
    empty = video_set(1, 1).select([]).of_images([])
    assert "none" in set_stats(empty).table()
    assert not check_set(empty).sound


@needs_data
@pytest.mark.parametrize(
    ("labels", "images", "swapped"),
    [
        ("coco-mini/annotations/person_keypoints_test.json", "coco-mini/images", 0.05),
        ("people/fashion_keypoints.json", "people/images", 0.05),
        ("lspet/person_keypoints_test.json", "lspet/images", 0.3),
    ],
)
def test_real_sets_are_sound_and_swapped_ones_are_not(labels: str, images: str, swapped: float) -> None:
    people, found = load_coco(DATA / labels, DATA / images)
    report = check_set(people, found, pictures=5)
    assert report.sound
    assert report.sides.swapped / report.sides.frontal < swapped
    mirrored = {field: getattr(people, field)[:, COCO17.mirror] for field in ("xy", "visibility", "score")}
    assert not check_set(replace(people, **mirrored), pictures=0).sound


def test_the_frontal_person_of_these_tests_is_frontal() -> None:
    assert FRONTAL[5, 0] > FRONTAL[6, 0]
    assert FRONTAL[1, 0] > FRONTAL[2, 0]
