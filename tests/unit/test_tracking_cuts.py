from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes import GridPose
from numpy.typing import NDArray

from posepipe.config import Config, data_root
from posepipe.io.video import open_video
from posepipe.pipeline import Pipeline
from posepipe.tracking.cuts import CutFinder
from posepipe.tracking.posesort import PoseSort
from posepipe.tracking.sort import Sort
from posepipe.types import Detections, Frame, Poses

Image = NDArray[np.uint8]

VIDEOS = data_root() / "video"
needs_videos = pytest.mark.skipif(not VIDEOS.is_dir(), reason="no clips; point POSEPIPE_DATA at the data")
# Those of which no two resemble one another: cuts between clips that do are not always found (docs/formats.md).
CLIPS = [
    "felixchenfy_exercise.avi",
    "intel_one_by_one.mp4",
    "mmpose_demo.mp4",
    "openpose_video.avi",
    "pose2sim_single_cam01.mp4",
]


def scene(seed: int, shift: int = 0) -> Image:
    """A room of coloured blocks, seen from ``shift`` px farther to the right."""
    rng = np.random.default_rng(seed)
    wide = np.empty((240, 1280, 3), np.uint8)
    wide[:] = rng.integers(60, 180, 3)
    for _ in range(150):
        x, y, w, h = rng.integers(0, (1280, 240, 120, 90))
        wide[y : y + h, x : x + w] = rng.integers(0, 255, 3)
    return np.ascontiguousarray(wide[:, shift : shift + 320])


def cuts(frames: Iterator[Image] | list[Image]) -> list[int]:
    finder = CutFinder()
    return [i for i, frame in enumerate(frames) if finder.update(frame)]


def test_a_cut_is_found_where_it_is() -> None:
    assert cuts([scene(1)] * 4 + [scene(2)] * 3 + [scene(1)] * 2) == [4, 7]


def test_pans_noise_and_first_frames_are_no_cuts() -> None:
    rng = np.random.default_rng(0)
    noisy = [np.clip(scene(1).astype(int) + rng.integers(-20, 20, (240, 320, 3)), 0, 255).astype(np.uint8)] * 3
    assert cuts([]) == cuts([scene(1)]) == cuts([scene(1), *noisy]) == []
    assert cuts([scene(1, shift) for shift in range(0, 900, 40)]) == []


@pytest.mark.parametrize(("gain", "add"), [(1.5, 20), (1.5, 80), (4, 100), (0.5, 0), (0.05, 0)])
def test_flashes_and_dips_are_no_cuts(gain: float, add: float) -> None:
    lit = np.clip(scene(1).astype(float) * gain + add, 0, 255).astype(np.uint8)
    assert cuts([scene(1), scene(1), lit, lit, scene(1), scene(1)]) == []


def test_a_cut_through_black_is_found_behind_it() -> None:
    black = np.zeros((240, 320, 3), np.uint8)
    assert cuts([scene(1), black, black, scene(2), scene(2)]) == [3]
    assert cuts([scene(1), black, black, scene(1)]) == []


def test_pictures_of_all_sizes_can_be_compared() -> None:
    sizes = [(1, 1), (3, 500), (240, 320), (1080, 1920)]
    assert cuts([np.full((*size, 3), 128, np.uint8) for size in sizes]) == []
    assert cuts([scene(1), scene(1)[::2, ::2]]) == []


class _Still:
    """One person who always stands in the same place."""

    def detect(self, frame: Frame) -> Detections:
        return Detections(np.array([[100.0, 40, 160, 200]]), np.array([0.9]))


@pytest.mark.parametrize("make", [PoseSort, Sort])
@pytest.mark.parametrize("stride", [1, 3])
def test_nobody_keeps_an_id_over_a_cut(make: type, stride: int) -> None:
    frames = [scene(1)] * 5 + [scene(2)] * 5
    results = list(Pipeline(_Still(), GridPose(), make(), Config(stride=stride)).process(frames))
    assert [r.frame_index for r in results if r.cut] == [5]
    ids = [{int(i) for i in r.tracks.track_id} for r in results]
    assert set.union(*ids[:5]) == {1}
    assert set.union(*ids[5:]) == {2}
    # As at the start of a video, who is there at first is shown at once.
    assert all(r.tracks.confirmed.all() for r in results)
    # What was recorded replays to the same end.
    again = Pipeline(_Still(), GridPose(), make(), Config(stride=stride)).process(frames, results[:7])
    assert [(r.cut, r.tracks.track_id.tolist()) for r in again] == [
        (r.cut, r.tracks.track_id.tolist()) for r in results
    ]


@pytest.mark.parametrize("make", [PoseSort, Sort])
def test_ids_go_on_counting_after_a_cut(make: type) -> None:
    tracker = make()
    poses = Poses.unseen(Detections(np.array([[0.0, 0, 20, 60], [50, 0, 70, 60]]), np.array([0.9, 0.8])))
    assert tracker.update(poses).track_id.tolist() == [1, 2]
    tracker.cut()
    assert tracker.update(poses).track_id.tolist() == [3, 4]


def frames_of(path: Path, count: int | None = None) -> Iterator[Image]:
    with open_video(path) as reader:
        for frame in islice(reader, count):
            yield frame.image


@needs_videos
def test_joined_clips_are_cut_where_they_are_joined() -> None:
    heads = {name: list(frames_of(VIDEOS / name, 5)) for name in CLIPS}
    for one, other in pairwise([*CLIPS, CLIPS[0]]):
        assert cuts(heads[one] + heads[other]) == [len(heads[one])], (one, other)


@needs_videos
@pytest.mark.slow
def test_clips_without_cuts_have_none() -> None:
    for path in sorted(VIDEOS.iterdir()):
        assert cuts(frames_of(path)) == [], path.name
