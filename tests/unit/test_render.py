from __future__ import annotations

import json
import time

import numpy as np
import pytest
from results import TRIANGLE, result

from posepipe.config import data_root
from posepipe.io.pictures import read_picture
from posepipe.render import Shown, Trails, draw, person_colour
from posepipe.skeleton import COCO17
from posepipe.types import Action, FrameResult, Poses, Tracks

GREY = np.full((240, 320, 3), 100, np.uint8)


def person(xy, score, box, track_id=1, confirmed=True, skeleton=COCO17, actions=()):
    poses = Poses(np.array([xy]), np.array([score]), np.array([box]), np.ones(1), skeleton)
    tracks = Tracks(poses, poses.boxes, np.array([track_id]), np.array([confirmed]), np.ones(1))
    return FrameResult(0, 0.0, tracks, actions)


def standing(score=0.9):
    """Somebody whose joints all lie apart, seen from the front: the left side is on the right of the picture."""
    xy = np.zeros((17, 2))
    for k, name in enumerate(COCO17.keypoints):
        side = 60 if name.startswith("left") else -60 if name.startswith("right") else 0
        xy[k] = (160 + side, 30 + 11 * k)
    return xy, np.full(17, score)


def changed(a, b=GREY):
    return (a != b).any(-1)


def test_picture_is_copied_and_nobody_changes_nothing():
    picture = GREY.copy()
    picture.setflags(write=False)
    out = draw(picture, result(0))
    assert out is not picture
    assert out.flags.writeable
    assert (out == picture).all()
    assert (picture == GREY).all()


def test_only_confirmed_people_are_drawn():
    xy, score = standing()
    assert not changed(draw(GREY, person(xy, score, [80, 20, 240, 230], confirmed=False))).any()
    assert changed(draw(GREY, person(xy, score, [80, 20, 240, 230]))).any()


def test_missing_joints_are_not_drawn():
    xy, score = standing()
    box = [80, 20, 240, 230]
    boxes_only = draw(GREY, person(xy, score * 0, box), keypoint_score=0.0)
    score[:] = 0
    score[COCO17.index("left_wrist")] = 0.9
    one = changed(draw(GREY, person(xy, score, box)), boxes_only)
    rows, columns = np.nonzero(one)
    x, y = xy[COCO17.index("left_wrist")]
    assert len(rows)
    assert np.abs(rows - y).max() < 8
    assert np.abs(columns - x).max() < 8
    assert not changed(draw(GREY, person(xy, score, box), keypoint_score=0.95), boxes_only).any()


def test_left_and_right_differ_and_both_are_shades_of_the_person():
    xy, score = standing()
    out = draw(GREY, person(xy, score, [80, 20, 240, 230], track_id=2)).astype(int)
    shoulder, elbow = (
        xy[[COCO17.index(f"{side}_{part}") for side in ("left", "right")]] for part in ("shoulder", "elbow")
    )
    left, right = (out[tuple(p)] for p in np.round((shoulder + elbow) / 2).astype(int)[:, ::-1])
    assert left.sum() > right.sum() + 100
    base = np.array(person_colour(2))
    assert np.argmax(left) == np.argmax(right) == np.argmax(base)


def test_people_keep_their_colours():
    assert person_colour(3) == person_colour(3)
    assert len({person_colour(i) for i in range(1, 11)}) == 10
    assert person_colour(11) == person_colour(1)


def test_box_lines_lie_on_its_outermost_pixels():
    xy, score = standing()
    out = changed(draw(GREY, person(xy, score * 0, [50, 60, 250, 200])))
    rows, columns = np.nonzero(out)
    assert (columns.min(), columns.max(), rows.max()) == (50, 249, 199)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (120, 160), (1080, 1920), (2160, 3840)])
def test_any_size_can_be_drawn_on_and_lines_grow_with_it(size):
    scale = min(size) / 240
    xy, score = standing()
    out = draw(np.zeros((*size, 3), np.uint8), person(xy * scale, score, np.array([80, 20, 240, 230]) * scale))
    assert out.shape == (*size, 3)
    assert out.dtype == np.uint8
    if min(size) >= 120:
        share = (out > 0).any(-1).mean() * (max(size) / min(size))
        assert 0.02 < share < 0.4


def test_places_far_outside_are_no_trouble():
    xy, score = standing()
    for far in (1e9, -1e9, 3e38):
        draw(GREY, person(xy + far, score, [far, far, far, far]))
    wide = draw(GREY, person(xy, score, [-500, -500, 900, 900]))
    assert changed(wide).any()


def test_actions_stand_beside_the_number():
    xy, score = standing()
    action = Action(1, "falls \N{SNOWMAN}", 0, np.ones(1), 0, 1, 0.0, 0.1)
    plain = changed(draw(GREY, person(xy, score, [80, 120, 240, 230])))
    told = changed(draw(GREY, person(xy, score, [80, 120, 240, 230], actions=(action,))))
    other = changed(draw(GREY, person(xy, score, [80, 120, 240, 230], track_id=1, actions=(action,))))
    assert told[:120].sum() > plain[:120].sum()
    assert (told == other).all()


def test_other_skeletons_are_drawn():
    xy = np.array([[100.0, 50], [150, 150], [50, 150]])
    out = draw(GREY, person(xy, np.ones(3), [40, 40, 160, 160], skeleton=TRIANGLE), TRIANGLE)
    assert changed(out)[100, 125]


def test_drawing_is_quick():
    frame = np.zeros((1080, 1920, 3), np.uint8)
    people = result(0, ids=range(1, 6))
    draw(frame, people)
    start = time.perf_counter()
    for _ in range(5):
        draw(frame, people)
    assert (time.perf_counter() - start) / 5 < 0.25


@pytest.mark.skipif(not (data_root() / "coco-mini").is_dir(), reason="no coco-mini: set POSEPIPE_DATA")
def test_labelled_people_of_a_real_photo_are_drawn_where_they_are():
    root = data_root() / "coco-mini"
    labels = json.loads((root / "annotations" / "person_keypoints_train.json").read_text())
    one = max(labels["annotations"], key=lambda a: a.get("num_keypoints", 0))
    name = next(i["file_name"] for i in labels["images"] if i["id"] == one["image_id"])
    (path,) = [p for p in (root / "images").iterdir() if p.stem.endswith(name.rpartition(".")[0])]
    picture = read_picture(path, 1 << 26)
    joints = np.reshape(one["keypoints"], (17, 3)).astype(float)
    x, y, w, h = one["bbox"]
    out = draw(picture, person(joints[:, :2], (joints[:, 2] > 0) * 0.9, [x, y, x + w, y + h]))
    assert out.shape == picture.shape
    for px, py, seen in joints.astype(int):
        if seen and 2 < px < picture.shape[1] - 2 and 2 < py < picture.shape[0] - 2:
            assert changed(out, picture)[py - 2 : py + 3, px - 2 : px + 3].any()


def test_a_trail_shows_where_somebody_came_from_and_ends_at_a_cut():
    trails = Trails(length=10)
    nobody_posed = np.zeros((17, 2)), np.zeros(17)
    for frame in range(20):
        left = 10.0 * frame
        seen = person(*nobody_posed, [left, 40, left + 40, 200])
        canvas = GREY.copy()
        trails.draw(canvas, FrameResult(frame, frame / 25, seen.tracks))
    # Feet went from 20 + 10 * 10 to 20 + 10 * 19 px in the last ten frames.
    columns = np.flatnonzero(changed(canvas).any(0))
    assert abs(int(columns[0]) - 120) <= 2
    assert abs(int(columns[-1]) - 210) <= 2
    assert set(np.flatnonzero(changed(canvas).any(1)).tolist()) <= set(range(197, 204))
    fresh = GREY.copy()
    trails.draw(fresh, FrameResult(20, 0.8, seen.tracks, cut=True))
    assert changed(fresh).sum() <= 16
    gone = GREY.copy()
    trails.draw(gone, FrameResult(40, 1.6, Tracks.empty()))
    assert not changed(gone).any()


def test_who_was_seen_last_is_shown_until_the_next_look_or_cut():
    shown = Shown()
    xy, score = standing()
    first, second = (person(xy, score, [80, 20, 240, 230], track_id=i) for i in (1, 2))
    skips = [FrameResult(i, i / 25, Tracks.empty(), skipped=True, cut=i == 7) for i in range(9)]
    line = [skips[0], first, *skips[1:4], second, *skips[6:]]
    ids = [shown.update(result).tracks.track_id.tolist() for result in line]
    assert ids == [[], [1], [1], [1], [1], [2], [2], [], []]
    moved = Shown()
    moved.update(first)
    assert (moved.update(skips[3]).frame_index, moved.update(skips[3]).pts) == (3, 3 / 25)
