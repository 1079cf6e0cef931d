"""Crops of the main face of a video: cut where the pose network sees it, kept, and honest where it sees none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import damage, write_clip

from posepipe.skeleton import COCO17
from posepipe.stages.faces import NO_FACE, FaceStore
from posepipe.types import Detections, Poses


class OneFace:
    """A detector and pose network that see a face about (80,48), 32 px wide, on the frames they are told to."""

    skeleton = COCO17

    def __init__(self, seen: range) -> None:
        self.seen, self.looked = seen, []

    def detect(self, frame):
        self.looked.append(frame.index)
        count = int(frame.index in self.seen)
        return Detections(np.array([[60.0, 20, 100, 96]])[:count], np.ones(count))

    def estimate(self, frames, detections):
        (found,) = detections
        xy, score = np.zeros((len(found), 17, 2)), np.zeros((len(found), 17))
        points = {
            "nose": (80, 54),
            "left_eye": (87, 45),
            "right_eye": (73, 45),
            "left_ear": (96, 46),
            "right_ear": (64, 46),
        }
        for name, point in points.items():
            xy[:, COCO17.index(name)], score[:, COCO17.index(name)] = point, 0.9
        return [Poses(xy, score, found.boxes, found.score)]


def store(folder: Path, seen: range, side: int = 45) -> tuple[FaceStore, OneFace]:
    found, networks = FaceStore(side, folder, every=5), OneFace(seen)
    found._networks = (networks, networks)
    return found, networks


def test_faces_are_cut_out_of_every_frame_and_kept(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 24)
    faces, networks = store(tmp_path / "cache", range(5, 99))
    assert faces.count(video) == 24
    np.testing.assert_allclose(faces.pts(video), np.arange(24) / 25)
    assert networks.looked == [0, 5, 10, 15, 20]
    crops = faces.frames(video, [0, 23])
    assert crops.shape == (2, 45, 45, 3)
    assert faces.fault(video) == ""
    again, unasked = store(tmp_path / "cache", range(0))
    np.testing.assert_array_equal(again.frames(video, [0, 23]), crops)
    assert unasked.looked == []
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert store(tmp_path / "cache", range(99), side=64)[0].frames(video, [1]).shape == (1, 64, 64, 3)


def test_the_cut_is_where_the_face_is(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 6)
    faces, _ = store(tmp_path / "cache", range(99))
    (crop,) = faces.frames(video, [3])
    from posepipe.io.video import open_video

    with open_video(video) as reader:
        image = next(frame.image for frame in reader if frame.index == 3)
    best = min(
        (
            (np.abs(image[y : y + 45, x : x + 45].astype(int) - crop).mean(), x, y)
            for x in range(100)
            for y in range(48)
        ),
    )
    assert best[0] < 4
    assert abs(best[1] + 22 - 80) <= 2  # centred on the face
    assert abs(best[2] + 22 - 51) <= 3


def test_without_a_face_the_middle_is_taken_and_told(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mp4", 12)
    faces, _ = store(tmp_path / "cache", range(0), side=96)
    with pytest.warns(UserWarning, match=rf"a\.mp4: {NO_FACE}"):
        crops = faces.frames(video, [7])
    assert crops.shape == (1, 96, 96, 3)
    assert faces.fault(video) == NO_FACE


def test_a_cut_video_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "a.mkv", 40, options={"g": "5"})
    video.write_bytes(damage(video.read_bytes(), "cut", 0.5))
    faces, _ = store(tmp_path / "cache", range(99))
    with pytest.warns(UserWarning, match="what was decoded is used"):
        assert 5 < faces.count(video) < 40
    assert faces.fault(video)
