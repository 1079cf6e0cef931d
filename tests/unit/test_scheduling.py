"""When the detector runs, and what is carried between."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fakes import GridPose

from posepipe.config import Config
from posepipe.pipeline import Pipeline
from posepipe.scheduling import Anchor, OnePerson, WhenNeeded, carried_boxes
from posepipe.types import Detections, Frame, Tracks

HEIGHT, WIDTH = 120, 160
Scene = Callable[[int], list[tuple[float, float]]]  # left and top of the people of a frame
GROUND = np.random.default_rng(0).integers(60, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)


class Seeing:
    """Finds the people of a scene and remembers when it looked."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.looked = scene, []

    def detect(self, frame: Frame) -> Detections:
        self.looked.append(frame.index)
        corner = np.array(self.scene(frame.index), float).reshape(-1, 2)
        return Detections(np.concatenate([corner, corner + np.array([20, 50])], 1), np.full(len(corner), 0.9))


class Following(GridPose):
    """Reads the pose of whoever of the scene is under a box; nothing where nobody is."""

    def __init__(self, scene: Scene, score: Callable[[int], float] = lambda frame: 0.8) -> None:
        super().__init__()
        self.scene, self.sure = scene, score

    def estimate(self, frames, detections):
        return [self._read(frame, found) for frame, found in zip(frames, detections, strict=True)]

    def _read(self, frame, found):
        poses = self._pose(found)
        xy, score = poses.xy.copy(), poses.score.copy()
        people = np.array(self.scene(frame.index), float).reshape(-1, 2)
        for row, box in enumerate(found.boxes):
            centre = (box[:2] + box[2:]) / 2
            away = np.abs(people + np.array([10, 25]) - centre) if len(people) else np.full((1, 2), 1e9)
            near = int(away.sum(1).argmin())
            if (away[near] > [20, 40]).any():
                score[row] = 0.05
                continue
            true = self._pose(Detections([[*people[near], *(people[near] + np.array([20, 50]))]], [0.9]))
            xy[row], score[row] = true.xy[0], self.sure(frame.index)
        return type(poses)(xy, score, poses.boxes, poses.box_score)


def paint(scene: Scene, index: int, ground: np.ndarray = GROUND) -> np.ndarray:
    image = ground.copy()
    for left, top in scene(index):
        x, y = max(int(left), 0), max(int(top), 0)
        image[y : max(int(top) + 50, 0), x : max(int(left) + 20, 0)] = 220
    return image


def run(scene: Scene, frames: int, images=None, score=lambda frame: 0.8, **settings):
    seeing = Seeing(scene)
    pipeline = Pipeline(seeing, Following(scene, score), None, Config(**settings))
    paint_ = images or (lambda i: paint(scene, i))
    return seeing.looked, list(pipeline.process(paint_(i) for i in range(frames)))


def still(index):
    return [(30, 40)]


def test_a_quiet_scene_is_looked_at_now_and_then():
    looked, results = run(still, 40, detector_stride=0)
    assert looked == [0, WhenNeeded.AT_MOST, 2 * WhenNeeded.AT_MOST]
    assert all(len(r.tracks) == 1 for r in results)


def test_people_who_walk_are_carried_without_detection():
    looked, results = run(lambda i: [(10 + 2 * i, 40)], 40, detector_stride=0)
    assert len(looked) <= 4
    assert [r.tracks.track_id.tolist() for r in results] == [[1]] * 40
    error = [abs(r.tracks.poses.boxes[0, 0] - (10 + 2 * i)) for i, r in enumerate(results)]
    assert max(error) < 3


@pytest.mark.parametrize("enters", range(3, 9))
def test_somebody_new_is_detected_in_the_frame_in_which_they_show(enters):
    looked, results = run(lambda i: still(i) + ([(120, 50)] if i >= enters else []), 12, detector_stride=0)
    assert looked == [0, enters]
    assert [len(r.tracks) for r in results] == [1] * enters + [2] * (12 - enters)


def test_somebody_who_comes_in_slowly_is_found_before_half_of_them_is_in():
    _, results = run(lambda i: [*still(i), (160 - 2 * i, 50)], 12, detector_stride=0)
    assert len(results[6].tracks) == 2


def test_a_lost_pose_is_looked_for_in_the_next_frame():
    def jump(i):
        return [(30 if i < 5 else 110, 40)]

    looked, results = run(jump, 10, images=lambda i: GROUND, detector_stride=0)
    assert looked == [0, 6]
    assert [len(r.tracks) for r in results] == [1] * 5 + [0] + [1] * 4


def test_a_pose_that_fades_is_detected_anew_and_not_for_ever():
    looked, _ = run(still, 14, score=lambda frame: 0.8 if frame < 5 else 0.5, detector_stride=0)
    assert looked == [0, 6]


def test_two_people_who_meet_are_told_apart_once():
    looked, _ = run(
        lambda i: [(20 + 2 * min(i, 8), 40), (60 - 2 * min(i, 8), 42)],
        14,
        images=lambda i: GROUND,
        detector_stride=0,
    )
    assert len(looked) == 2


def test_what_moves_and_is_nobody_costs_one_detection_until_time_is_up():
    def flicker(i):
        image = paint(still, i)
        image[10:30, 110:140] = 250 * (i % 2)
        return image

    looked, _ = run(still, 2 * WhenNeeded.AT_MOST, images=flicker, detector_stride=0)
    assert len(looked) <= 4


def test_a_camera_that_moves_is_no_cause_but_shortens_the_wait():
    wide = np.kron(np.random.default_rng(1).integers(0, 255, (15, 60, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    looked, _ = run(still, 21, images=lambda i: wide[:, 3 * i : 3 * i + WIDTH], detector_stride=0)
    assert np.diff(looked).max() <= WhenNeeded.MOVING
    assert len(looked) < 8


def test_a_dimmed_light_is_no_motion():
    looked, _ = run(still, 12, images=lambda i: paint(still, i) - np.uint8(3 * i), detector_stride=0)
    assert looked == [0]


def test_an_empty_scene_is_looked_at_now_and_then():
    looked, results = run(lambda i: [], 20, detector_stride=0)
    assert looked == [0, 15]
    assert not any(len(r.tracks) for r in results)


@pytest.mark.parametrize("settings", [{"detector_stride": 0}, {"single_person": True}, {"detector_stride": 4}])
def test_what_is_drawn_decides_neither_who_is_carried_nor_where(settings):
    def scene(i):
        return [(10 + 2 * i, 40), (130, 30)]

    images = [paint(scene, i) for i in range(9)]
    few, many = (
        run(scene, 9, lambda i: images[i], lambda frame: 0.6, keypoint_score=least, **settings)[1]
        for least in (0.7, 0.1)
    )
    assert [len(r.tracks) for r in few] == [1 if "single_person" in settings else 2] * 9
    for a, b in zip(few, many, strict=True):
        np.testing.assert_array_equal(a.tracks.poses.boxes, b.tracks.poses.boxes)


@pytest.mark.parametrize("settings", [{"detector_stride": 0}, {"single_person": True}, {"detector_stride": 4}])
@pytest.mark.parametrize("stop", [1, 7, 16, 29])
def test_a_resumed_run_decides_as_the_first_one(settings, stop):
    def scene(i):
        return [(10 + 3 * i, 40), *([(120, 30)] if 8 < i < 20 else [])]

    images = [paint(scene, i) for i in range(30)]
    whole = list(Pipeline(Seeing(scene), Following(scene), None, Config(**settings)).process(images))
    again = Seeing(scene)
    resumed = list(Pipeline(again, Following(scene), None, Config(**settings)).process(images, whole[:stop]))
    for a, b in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(a.tracks.poses.boxes, b.tracks.poses.boxes)
        np.testing.assert_array_equal(a.tracks.track_id, b.tracks.track_id)
    assert all(index >= stop for index in again.looked)


# One person ----------------------------------------------------------------------------------------------------------


def test_one_person_is_detected_once_and_keeps_the_id():
    looked, results = run(lambda i: [(10 + 2 * i, 40), (140, 60)], 40, single_person=True)
    assert looked == [0]
    assert [r.tracks.track_id.tolist() for r in results] == [[1]] * 40


def test_the_detector_waits_for_somebody():
    looked, results = run(lambda i: still(i) if i >= 3 else [], 8, single_person=True)
    assert looked == [0, 1, 2, 3]
    assert [len(r.tracks) for r in results] == [0, 0, 0, 1, 1, 1, 1, 1]


def test_the_person_who_was_lost_is_found_again_among_others():
    def scene(i):
        return [(30, 40), (130, 20)]

    looked, results = run(scene, 12, score=lambda frame: 0.1 if frame == 5 else 0.8, single_person=True)
    assert looked == [0, 6]
    assert [r.tracks.track_id.tolist() for r in results] == [[1]] * 5 + [[]] + [[1]] * 6


def test_a_pose_that_stays_weak_is_detected_anew():
    looked, _ = run(still, 12, score=lambda frame: 0.8 if frame < 3 else 0.4, single_person=True)
    assert looked == [0, 2 + OnePerson._FRAMES + 1]


def test_the_largest_and_most_central_is_chosen():
    frame = Frame(0, 0.0, GROUND)
    found = Detections([[0, 0, 30, 60], [60, 30, 90, 90], [70, 50, 80, 70]], [0.9, 0.8, 0.9])
    chosen = OnePerson().choose(found, frame)
    assert chosen.boxes.tolist() == [[60, 30, 90, 90]]
    assert len(OnePerson().choose(Detections(), frame)) == 0


def test_a_cut_makes_everybody_somebody_else():
    def scene(i):
        return [(30, 40) if i < 6 else (100, 50)]

    def place(seed, low, high):
        blocks = np.random.default_rng(seed).integers(low, high, (15, 20, 3))
        return np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)

    images = [place(1, 0, 120) if i < 6 else place(2, 100, 250) for i in range(12)]
    for settings in ({"single_person": True}, {"detector_stride": 0}, {"detector_stride": 5}):
        looked, results = run(scene, 12, images=images.__getitem__, **settings)
        assert results[6].cut
        assert 6 in looked
        assert results[6].tracks.poses.boxes.tolist() == [[100, 50, 120, 100]]
        assert results[5].tracks.track_id.tolist() != results[6].tracks.track_id.tolist()


# Carried boxes -------------------------------------------------------------------------------------------------------


def one(xy, score=0.8, box=(0, 0, 20, 50), track=3):
    poses = GridPose(score)._pose(Detections([box], [0.9]))
    poses = type(poses)(np.asarray(xy)[None], poses.score, poses.boxes, poses.box_score)
    return Tracks(poses, poses.boxes, [track], [True], [1])


def grid(left, top, width=16.0, height=40.0):
    along = np.linspace(0, 1, 17)
    return np.stack([left + width * along, top + height * along], 1)


def anchored(xy, box):
    return {3: Anchor(np.array(box, np.float32), np.asarray(xy, np.float32), np.ones(17, bool), 0.8)}


def test_a_carried_box_lies_about_the_pose_as_the_detected_one_did():
    anchors = anchored(grid(52, 15), (50, 10, 70, 60))
    now = one(grid(80, 25), box=(75, 18, 97, 71))
    got = carried_boxes(now, now, (300, 300), anchors)
    np.testing.assert_allclose(got.boxes, [[78, 20, 98, 70]], atol=1e-4)


def test_a_carried_box_shrinks_with_somebody_who_walks_away():
    anchors = anchored(grid(52, 15), (50, 10, 70, 60))
    now = one(grid(80, 25, 8, 20), box=(78, 20, 98, 70))
    got = carried_boxes(now, now, (300, 300), anchors)
    np.testing.assert_allclose(got.boxes, [[79, 22.5, 89, 47.5]], atol=1e-4)


def test_hidden_keypoints_do_not_make_a_box_smaller():
    anchors = anchored(grid(52, 15), (50, 10, 70, 60))
    now = one(grid(52, 15), box=(50, 10, 70, 60))
    score = np.array(now.poses.score)
    score[0, 9:] = 0.1
    poses = type(now.poses)(now.poses.xy, score, now.poses.boxes, now.poses.box_score)
    hidden = Tracks(poses, poses.boxes, [3], [True], [1])
    got = carried_boxes(hidden, hidden, (300, 300), anchors)
    np.testing.assert_allclose(got.boxes, [[50, 10, 70, 60]], atol=1e-4)
