"""Readers of person boxes, the merging of opinions, and random views."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posepipe.config import data_root
from posepipe.datasets.box_samples import PAD, Views, read_rgb, stretch
from posepipe.datasets.boxes import (
    BoxedImage,
    Opinion,
    athlete_images,
    coco_images,
    judge,
    merge_opinions,
    read_opinions,
    read_teacher,
)
from posepipe.errors import InputError
from posepipe.geometry import iou


def opinion(*rows: tuple[list[float], float]) -> Opinion:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    return Opinion(boxes, np.array([score for _, score in rows], np.float32))


def coco_file(path: Path, annotations: list[dict[str, object]]) -> Path:
    images = [{"id": 1, "file_name": "a.webp", "width": 64, "height": 48}]
    images += [{"id": 2, "file_name": "b.webp", "width": 64, "height": 48}]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_coco_boxes_become_corners_and_crowds_ignored(tmp_path):
    rows = [
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 0},
        {"image_id": 1, "category_id": 1, "bbox": [5, 6, 7, 8], "iscrowd": 1},
        {"image_id": 1, "category_id": 18, "bbox": [0, 0, 9, 9], "iscrowd": 0},
    ]
    first, empty = coco_images(coco_file(tmp_path / "l.json", rows), tmp_path, "coco")
    assert first.path == tmp_path / "a.webp"
    assert first.boxes.tolist() == [[1, 2, 4, 6], [5, 6, 12, 14]]
    assert first.ignore.tolist() == [False, True]
    assert empty.boxes.shape == (0, 4)
    assert empty.ignore.shape == (0,)


def test_pictures_of_another_size_than_their_labels_are_left_out(tmp_path):
    labels = coco_file(tmp_path / "l.json", [])
    found = coco_images(labels, tmp_path, "coco", {"a.webp": (64, 48), "b.webp": (256, 256)})
    assert [image.path.name for image in found] == ["a.webp"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [{}], "annotations": []}', '{"images": 3}'])
def test_broken_label_files_are_refused_with_a_reason(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"broken\.json"):
        coco_images(path, tmp_path, "coco")


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        coco_images(tmp_path / "no.json", tmp_path, "coco")
    with pytest.raises(InputError, match="cannot read"):
        read_teacher(tmp_path / "no.npz")


def test_teacher_rows_are_gathered_by_picture(tmp_path):
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(tmp_path / "t.npz", names=["x", "y"], image=[1, 0, 1], box=boxes, box_score=[0.1, 0.2, 0.3])
    seen = read_teacher(tmp_path / "t.npz")
    assert seen["x"].boxes.tolist() == [boxes[1].tolist()]
    assert seen["y"].score == pytest.approx([0.1, 0.3])


def test_rows_that_do_not_fit_together_are_refused(tmp_path):
    np.savez(tmp_path / "t.npz", names=["x"], image=[0, 0], box=np.zeros((3, 4)), score=[0.5, 0.5])
    with pytest.raises(InputError, match="damaged"):
        read_opinions(tmp_path / "t.npz")


def test_agreeing_opinions_merge_into_their_weighted_mean():
    merged = merge_opinions([opinion(([0, 0, 10, 10], 0.9)), opinion(([0, 0, 10, 12], 0.3))], [1, 1])
    assert merged.score == pytest.approx([0.6])
    # Weights .9 and .3: the lower edge lies a quarter of the way from 10 to 12.
    assert merged.boxes[0] == pytest.approx([0, 0, 10, 10.5])


def test_who_does_not_see_a_person_votes_nothing():
    merged = merge_opinions([opinion(([0, 0, 10, 10], 0.9)), opinion()], [2, 1])
    assert merged.score == pytest.approx([0.6])


def test_two_boxes_of_one_opinion_never_merge():
    twice = opinion(([0, 0, 10, 10], 0.9), ([0, 0, 10, 11], 0.8))
    assert len(merge_opinions([twice], [1]).boxes) == 2


boxes_of_a_picture = st.lists(
    st.tuples(st.floats(0, 50), st.floats(0, 50), st.floats(1, 50), st.floats(1, 50), st.floats(0.01, 1)), max_size=8
)


@given(st.lists(boxes_of_a_picture, min_size=1, max_size=3))
def test_merging_keeps_scores_in_range_and_sorted(pictures):
    opinions = [opinion(*(([x, y, x + w, y + h], s) for x, y, w, h, s in rows)) for rows in pictures]
    merged = merge_opinions(opinions, [1.0] * len(opinions))
    assert (merged.score >= 0).all()
    assert (merged.score <= 1 + 1e-6).all()
    assert (np.diff(merged.score) <= 0).all()
    assert len(merged.boxes) <= sum(len(o.boxes) for o in opinions)
    assert len(merged.boxes) >= max((len(o.boxes) for o in opinions), default=0)


def test_judging_by_score():
    seen = opinion(([0, 0, 9, 9], 0.9), ([0, 0, 5, 9], 0.2), ([0, 0, 2, 9], 0.05))
    image = judge(Path("p.webp"), seen, "people")
    assert image.ignore.tolist() == [False, True]
    assert image.boxes.tolist() == [[0, 0, 9, 9], [0, 0, 5, 9]]


def test_the_athlete_is_always_a_person(tmp_path):
    labels = coco_file(tmp_path / "l.json", [{"image_id": n, "bbox": [10, 10, 20, 20]} for n in (1, 2)])
    doubtful = opinion(([8, 8, 32, 32], 0.2), ([50, 0, 60, 40], 0.9))
    near, alone = athlete_images(labels, tmp_path, {"a.webp": doubtful}, "lspet")
    assert near.ignore.tolist() == [False, False]
    assert near.boxes[0].tolist() == [8, 8, 32, 32]
    assert alone.boxes.tolist() == [[9, 9, 31, 31]]
    assert alone.ignore.tolist() == [False]


@pytest.fixture
def marked(tmp_path) -> BoxedImage:
    """A black picture with one white rectangle that is labelled exactly."""
    image = np.zeros((120, 200, 3), np.uint8)
    image[30:90, 50:110] = 255
    path = tmp_path / "marked.png"
    cv2.imwrite(str(path), image)
    return BoxedImage(path, np.array([[50, 30, 110, 90]], np.float32), np.zeros(1, bool), "set")


@pytest.mark.parametrize("seed", range(12))
def test_labels_follow_the_picture_into_every_view(marked, seed):
    view = Views([marked], 160, (0.6, 1.5), 0.0)[0, seed]
    assert view.image.shape == (160, 160, 3)
    assert view.image.dtype == np.uint8
    grey = view.image.mean(-1)
    low, high = np.percentile(grey, [1, 99])
    bright = np.argwhere(grey > (max(high, PAD) + max(low, PAD)) / 2)
    if not len(view.boxes) or len(bright) < 50:
        return
    y0, x0 = bright.min(0)
    y1, x1 = bright.max(0) + 1
    assert iou(view.boxes, np.array([[x0, y0, x1, y1]], float))[0, 0] > 0.85


def test_a_view_follows_from_its_seed_alone(marked):
    views = Views([marked, marked], 96, (0.6, 1.5), 0.5)
    first, again, other = views[0, 7], views[0, 7], views[0, 8]
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("seed", range(8))
def test_views_hold_boxes_inside_and_ignore_slivers(marked, seed):
    view = Views([marked], 96, (0.5, 3.0), 1.0)[0, seed]
    assert view.boxes.dtype == np.float32
    assert len(view.boxes) == len(view.ignore)
    if len(view.boxes):
        assert view.boxes.min() >= 0
        assert view.boxes.max() <= 96
        sides = view.boxes[:, 2:] - view.boxes[:, :2]
        assert (sides > 0).all()
        assert view.ignore[sides.min(1) < 4].all()


def test_stretching_makes_a_square_of_any_picture():
    assert stretch(np.zeros((10, 30, 3), np.uint8), 16).shape == (16, 16, 3)


def test_unreadable_pictures_are_named(tmp_path):
    (tmp_path / "text.webp").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.webp"):
        read_rgb(tmp_path / "text.webp")
    with pytest.raises(InputError, match=r"no\.webp"):
        read_rgb(tmp_path / "no.webp")


needs_data = pytest.mark.skipif(
    not (data_root() / "people/teacher.npz").is_file(), reason="POSEPIPE_DATA names no folder with the training data"
)


@needs_data
def test_the_real_teacher_file_reads():
    seen = read_teacher(data_root() / "people/teacher.npz")
    assert len(seen) == 5442
    assert sum(len(o.boxes) for o in seen.values()) == 17066


@needs_data
def test_no_test_picture_is_among_the_labelled_training_pictures():
    folder = data_root() / "coco-mini"
    train = coco_images(folder / "annotations/person_boxes_train.json", folder / "images", "coco")
    test = coco_images(folder / "annotations/person_boxes_test.json", folder / "images", "coco")
    assert len(train) == 208
    assert not {image.path for image in train} & {image.path for image in test}
