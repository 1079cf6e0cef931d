"""People, crop caches and training samples: joints stay on the picture, left and right swap, trust is kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posepipe.datasets.augment import augmented_affine, crowd, half_body_box, mirror_affine, truncate
from posepipe.datasets.augmentation import Augmentation
from posepipe.datasets.crops import CropCache, build_crops, load_crops, people_key
from posepipe.datasets.keypoints import HIDDEN_TRUST, KeypointSamples
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.people import Person, set_people, teacher_people
from posepipe.errors import InputError
from posepipe.geometry import affine_points, crop_affine, invert_affine
from posepipe.heatmaps import cells_to_crop
from posepipe.skeleton import COCO17

STILL = Augmentation(
    flip=0, rotate=0, scale=(1, 1), shift=0, half_body=0, truncate=0, crowd=0, cutout=0, blur=0, grey=0, colour=0
)
LEFT, RIGHT = COCO17.index("left_wrist"), COCO17.index("right_wrist")


@pytest.fixture
def marked(tmp_path: Path) -> Person:
    """A picture with a white blob at the left wrist and a red one at the right wrist."""
    folder = tmp_path / "set" / "images"
    folder.mkdir(parents=True)
    picture = np.zeros((240, 320, 3), np.uint8)
    xy = np.tile(np.array([160, 120], np.float32), (17, 1))
    xy[LEFT], xy[RIGHT] = (190, 80), (130, 100)
    cv2.circle(picture, (190, 80), 6, (255, 255, 255), -1)
    cv2.circle(picture, (130, 100), 6, (0, 0, 255), -1)  # BGR
    path = folder / "a.png"
    cv2.imwrite(str(path), picture)
    return Person(
        image=path,
        box=np.array([110, 40, 210, 200], np.float32),
        xy=xy,
        located=np.linspace(0.2, 1, 17).astype(np.float32),
        absent=np.zeros(17, np.float32),
        by_people=True,
    )


def centre_of(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])


def white(image: np.ndarray) -> np.ndarray:
    return np.asarray(image.min(-1) > 150)


def red(image: np.ndarray) -> np.ndarray:
    return np.asarray((image[..., 0] > 150) & (image[..., 1:].max(-1) < 90))


def samples(person: Person, settings: Augmentation | None) -> KeypointSamples:
    return KeypointSamples(build_crops([person], (256, 192), 1.25), (256, 192), augmentation=settings)


def test_joints_lie_where_the_picture_shows_them(marked: Person) -> None:
    sample = samples(marked, None)[0]
    joints = cells_to_crop(sample["cells"], 4)
    np.testing.assert_allclose(joints[LEFT], centre_of(white(sample["image"])), atol=1.0)
    np.testing.assert_allclose(joints[RIGHT], centre_of(red(sample["image"])), atol=1.0)
    direct = affine_points(crop_affine(marked.box[None], (256, 192), 1.25)[0], marked.xy)
    np.testing.assert_allclose(joints, direct, atol=0.6)


def test_a_mirrored_sample_swaps_left_and_right(marked: Person) -> None:
    plain = samples(marked, STILL)[0, 5]
    mirrored = samples(marked, Augmentation(**{**STILL.__dict__, "flip": 1.0}))[0, 5]
    np.testing.assert_array_equal(mirrored["image"], plain["image"][:, ::-1])
    assert mirrored["located"][LEFT] == plain["located"][RIGHT]
    # What was the left wrist is now called the right one, at the mirrored place: x -> 47 - x on a map 48 wide.
    np.testing.assert_allclose(
        mirrored["cells"][RIGHT], [47 - plain["cells"][LEFT][0], plain["cells"][LEFT][1]], atol=1e-4
    )
    np.testing.assert_array_equal(COCO17.mirror[COCO17.mirror], np.arange(17))


def test_augmented_joints_stay_on_the_picture(marked: Person) -> None:
    settings = Augmentation(cutout=0, blur=0, grey=0, colour=0, half_body=0, truncate=0, crowd=0)
    data = samples(marked, settings)
    seen = 0
    for seed in range(40):
        sample = data[0, seed]
        joints = cells_to_crop(sample["cells"], 4)
        bright = white(sample["image"])
        inside = (joints > 8).all(-1) & (joints < np.array([184, 248])).all(-1) & (sample["located"] > 0)
        hits = [k for k in (LEFT, RIGHT) if inside[k] and bright[tuple(joints[k].round().astype(int)[::-1])]]
        if inside[LEFT] and inside[RIGHT]:
            assert len(hits) == 1, f"seed {seed}: exactly one wrist is the white one"
            seen += 1
    assert seen > 20


def test_affine_maps_are_undone_by_their_inverse() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 300, (17, 2))
    for _ in range(20):
        matrix = augmented_affine(np.array([50, 20, 150, 220], np.float32), (256, 192), 1.25, Augmentation(), rng)
        np.testing.assert_allclose(
            affine_points(invert_affine(matrix), affine_points(matrix, points)), points, atol=1e-8
        )
        twice = mirror_affine(mirror_affine(matrix, 192), 192)
        np.testing.assert_allclose(twice, matrix, atol=1e-10)
        scale = np.sqrt(abs(np.linalg.det(matrix[:, :2]))) / (256 / 1.25 / 200)
        assert 1 / 1.36 < scale < 1 / 0.69


def test_joints_outside_the_crop_are_absent_not_located(marked: Person) -> None:
    low = np.array([110, 110, 210, 200], np.float32)  # both wrists lie above this box
    person = Person(marked.image, low, marked.xy - [0, 60], marked.located, marked.absent, by_people=True)
    sample = samples(person, None)[0]
    assert sample["located"][LEFT] == 0
    assert sample["absent"][LEFT] > 0
    assert np.isfinite(sample["cells"]).all()


def test_the_same_seed_gives_the_same_sample(marked: Person) -> None:
    data = samples(marked, Augmentation())
    for key in ("image", "cells", "located", "absent"):
        np.testing.assert_array_equal(data[0, 7][key], data[0, 7][key])
    assert (data[0, 7]["image"] != data[0, 8]["image"]).any()


def test_half_body_takes_one_half_or_leaves_the_box() -> None:
    xy = np.tile(np.array([[50.0, 50.0]], np.float32), (17, 1))
    xy[11:] = [60, 150]
    box = np.array([0, 0, 100, 200], np.float32)
    halves = {float(half_body_box(xy, np.ones(17), box, COCO17, np.random.default_rng(s))[1]) for s in range(20)}
    assert halves == {50.0, 150.0}
    few = np.zeros(17)
    few[:5] = 1
    np.testing.assert_array_equal(half_body_box(xy, few, box, COCO17, np.random.default_rng(0)), box)


def test_a_truncated_picture_ends_in_black_and_its_joints_are_gone(marked: Person) -> None:
    data = samples(marked, dataclasses.replace(STILL, truncate=1.0))
    lost = 0
    for seed in range(40):
        sample = data[0, seed]
        for joint, shown in ((LEFT, white), (RIGHT, red)):
            if sample["located"][joint] == 0:
                assert sample["absent"][joint] > 0
                lost += 1
            else:  # what is left lies where the picture shows it
                at = cells_to_crop(sample["cells"][joint], 4)
                seen = np.argwhere(shown(sample["image"]))[:, ::-1]
                assert len(seen)
                assert np.abs(seen - at).max(-1).min() < 6
    assert 5 < lost < 60


@given(st.integers(0, 10**6))
def test_what_is_left_of_a_truncated_person(seed: int) -> None:
    image, box = np.full((80, 60, 3), 200, np.uint8), np.array([10, 5, 50, 70], np.float32)
    left, window = truncate(image, box, np.random.default_rng(seed))
    bright = np.argwhere(image.min(-1) > 0)[:, ::-1]
    assert (bright.min(0) == window[:2]).all()
    assert (bright.max(0) + 1 == window[2:]).all()
    assert (window != [0, 0, 60, 80]).sum() == 1
    assert (left[:2] >= np.maximum(window[:2], box[:2]) - 1e-6).all()
    assert (left[2:] <= np.minimum(window[2:], box[2:]) + 1e-6).all()
    share = (left[2:] - left[:2]).prod() / (box[2:] - box[:2]).prod()
    assert 0.45 < share < 0.88


@given(st.integers(0, 10**6))
def test_another_person_hides_what_lies_under_it(seed: int) -> None:
    image, other = np.zeros((100, 80, 3), np.uint8), np.full((60, 30, 3), 255, np.uint8)
    box, rng = np.array([20, 10, 60, 90], float), np.random.default_rng(seed)
    points = np.random.default_rng(1).uniform(0, 80, (40, 2))
    hidden = crowd(image, box, points, other, np.array([2, 2, 28, 58], np.float32), rng)
    shown = image.min(-1) > 128
    for point, under in zip(points, hidden, strict=True):
        x, y = point
        around = shown[int(max(y - 2, 0)) : int(y + 4), int(max(x - 2, 0)) : int(x + 4)]
        if around.all() or not around.any():  # away from the seam
            assert bool(under) == bool(around.all())


def test_joints_under_another_person_are_trusted_less(marked: Person) -> None:
    crops = build_crops([marked, marked], (256, 192), 1.25)
    plain = KeypointSamples(crops, (256, 192), augmentation=STILL)[0, 3]
    halved = 0
    for seed in range(10):
        varied = KeypointSamples(crops, (256, 192), augmentation=dataclasses.replace(STILL, crowd=1.0))[0, seed]
        np.testing.assert_array_equal(varied["cells"], plain["cells"])
        ratio = varied["located"] / plain["located"]
        assert set(np.round(ratio, 4)) <= {1.0, HIDDEN_TRUST}
        halved += int((ratio < 1).sum())
    assert halved > 5


def test_a_cache_is_made_once_and_read_again(marked: Person, tmp_path: Path) -> None:
    first = load_crops([marked], (256, 192), 1.25, tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    made = kept.stat().st_mtime_ns
    second = load_crops([marked], (256, 192), 1.25, tmp_path / "cache")
    assert kept.stat().st_mtime_ns == made
    assert len(first) == len(second) == 1
    np.testing.assert_array_equal(first.image(0), second.image(0))
    assert people_key([marked], (256, 192), 1.25) != people_key([marked], (256, 192), 1.1)
    kept.write_bytes(kept.read_bytes()[:-100])
    np.testing.assert_array_equal(load_crops([marked], (256, 192), 1.25, tmp_path / "cache").image(0), first.image(0))
    # A picture that was changed in its place, faces made black for instance, is cut out anew.
    cv2.imwrite(str(marked.image), np.zeros((240, 320, 3), np.uint8))
    assert load_crops([marked], (256, 192), 1.25, tmp_path / "cache").image(0).max() == 0


def test_damaged_and_missing_pictures_are_named(marked: Person) -> None:
    marked.image.write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"a\.png"):
        build_crops([marked], (256, 192), 1.25)
    empty = np.zeros((1, 17), np.float32)
    cache = CropCache(
        np.zeros(9, np.uint8), np.array([0, 9]), np.zeros((1, 4), np.float32), np.zeros((1, 17, 2), np.float32),
        empty, empty, np.array([True]),
    )  # fmt: skip
    with pytest.raises(InputError, match="cannot be decoded"):
        cache.image(0)


def labelled_set(score: float = 1.0, **changes: Any) -> KeypointSet:
    """A person and a crowd: nose seen, left eye hidden, the rest not labelled."""
    visibility = np.zeros((2, 17), np.int8)
    visibility[:, :2] = (2, 1)
    fields: dict[str, Any] = {
        "name": "set", "skeleton": COCO17, "images": ("v/1.png",), "sizes": np.zeros((1, 2)), "videos": ("v",),
        "frames": np.array([1]), "image": np.zeros(2), "boxes": np.array([[1, 2, 31, 42]] * 2), "xy":
        np.repeat(np.where(visibility > 0, 5.0, 0.0)[..., None], 2, -1), "visibility": visibility, "score":
        np.where(visibility > 0, score, 0.0), "person_score": np.ones(2), "area": np.full(2, 600),
        "area_known": np.zeros(2, bool), "iscrowd": np.array([False, True]), "track_id": np.full(2, -1),
        "root": Path("folder"),
    }  # fmt: skip
    return KeypointSet(**{**fields, **changes})


def test_visibility_becomes_trust() -> None:
    (person,) = set_people(labelled_set(), hidden_trust=0.3)
    assert person.box.tolist() == [1, 2, 31, 42]
    assert person.located[:3].tolist() == pytest.approx([1, 0.3, 0])
    assert (person.absent[:3] > 0).tolist() == [False, False, True]
    assert person.by_people
    assert person.image == Path("folder/v/1.png")
    assert person.group == ("v", "")


def test_a_networks_labels_are_trusted_by_their_score() -> None:
    (person,) = set_people(labelled_set(0.6))
    assert person.located[:3].tolist() == pytest.approx([0.6, 0.6, 0])
    assert not person.by_people
    assert set_people(labelled_set(0.6), confidence=0.7) == []


def test_sets_that_training_cannot_use_are_refused() -> None:
    with pytest.raises(InputError, match="not at hand"):
        set_people(labelled_set(root=None))
    turned = dataclasses.replace(COCO17, name="turned", keypoints=COCO17.keypoints[::-1])
    with pytest.raises(InputError, match=r"joints of turned.*posepipe data convert"):
        set_people(labelled_set(skeleton=turned))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [], "annotations": [{"num_keypoints": 1}]}'])
def test_foreign_teacher_files_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "labels.npz"
    file.write_text(content)
    with pytest.raises(InputError, match=r"labels\.npz"):
        teacher_people(file, tmp_path)


def test_a_teachers_doubtful_people_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "teacher.npz"
    score = np.full((5, 17), 0.8, np.float32)
    score[0, 3] = 0.05
    np.savez(
        file,
        names=np.array(["a.png", "b.png"]),
        image=np.array([0, 0, 0, 0, 1]),
        box=np.array([[0, 0, 50, 100]] * 3 + [[0, 0, 20, 30], [0, 0, 50, 100]], np.float32),
        box_score=np.array([0.9, 0.1, 0.9, 0.9, 0.9]),
        xy=np.ones((5, 17, 2), np.float32),
        score=score,
        agreement=np.array([0.9, 0.9, 0.5, 0.9, 0.9]),
    )
    (person,) = teacher_people(file, tmp_path, without=["b.png"])
    assert person.image == tmp_path / "a.png"
    assert person.located[3] == 0
    assert person.absent[3] > 0
    assert person.located[4] == pytest.approx(0.8)
    (moved,) = teacher_people(file, tmp_path, without=["b.png"], shift_x=0.02)
    assert moved.xy[4] == pytest.approx([1 + 0.02 * 75, 1])  # the box, 50 x 100, is 75 wide at 3:4
    assert moved.xy[3].tolist() == [0, 0]
