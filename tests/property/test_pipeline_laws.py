"""What holds of the pipeline whatever the frames, the people in them and the settings."""

from __future__ import annotations

import numpy as np
from fakes import CountingTracker, GridPose, SquareDetector, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posepipe.config import Config
from posepipe.pipeline import CHUNK, Pipeline, quantise
from posepipe.scheduling import carried_boxes
from posepipe.types import FrameResult, Poses, Tracks

crowds = st.lists(st.integers(0, 4), max_size=20)
strides = st.integers(1, 5)
detector_strides = st.integers(0, 5)
MANY = settings(max_examples=500, deadline=None)


def results(crowd: list[int], recorded: list[FrameResult] | None = None, **config: int) -> list[FrameResult]:
    pipeline = Pipeline(SquareDetector(), GridPose(), CountingTracker(), Config(**config))
    return list(pipeline.process((picture(i, n) for i, n in enumerate(crowd)), recorded or ()))


def facts(result: FrameResult) -> tuple[object, ...]:
    tracks = result.tracks
    arrays = (tracks.poses.xy, tracks.poses.score, tracks.poses.boxes, tracks.poses.box_score, tracks.boxes)
    return (
        result.frame_index,
        result.pts,
        result.skipped,
        *(a.tobytes() for a in arrays),
        tracks.track_id.tolist(),
        tracks.age.tolist(),
    )


@MANY
@given(crowds, strides, detector_strides)
def test_one_result_a_frame_in_order(crowd: list[int], stride: int, detector_stride: int) -> None:
    got = results(crowd, stride=stride, detector_stride=detector_stride)
    assert [r.frame_index for r in got] == list(range(len(crowd)))
    assert [r.skipped for r in got] == [i % stride != 0 for i in range(len(crowd))]
    assert all(len(r.tracks) == 0 for r in got if r.skipped)


@MANY
@given(crowds, strides)
def test_everybody_who_was_detected_comes_back(crowd: list[int], stride: int) -> None:
    got = results(crowd, stride=stride)
    assert [len(r.tracks) for r in got] == [n if i % stride == 0 else 0 for i, n in enumerate(crowd)]


@MANY
@given(crowds, st.integers(0, 20), strides, detector_strides, st.booleans())
def test_a_resumed_run_equals_an_unbroken_one(
    crowd: list[int], stop: int, stride: int, detector_stride: int, single_person: bool
) -> None:
    settings = {"stride": stride, "detector_stride": detector_stride, "single_person": single_person}
    whole = results(crowd, **settings)
    resumed = results(crowd, whole[:stop], **settings)
    assert list(map(facts, resumed)) == list(map(facts, whole))


@MANY
@given(crowds, st.integers(1, 4))
def test_no_more_than_the_most_people(crowd: list[int], most: int) -> None:
    assert [len(r.tracks) for r in results(crowd, max_people=most)] == [min(n, most) for n in crowd]


@MANY
@given(crowds)
def test_calls_of_the_pose_stage_hold_at_most_a_chunk(crowd: list[int]) -> None:
    pipeline = Pipeline(SquareDetector(), GridPose(), CountingTracker())
    list(pipeline.process(picture(i, n) for i, n in enumerate(crowd)))
    assert all(count <= CHUNK for count in pipeline.pose.calls)


coordinates = st.floats(-5000, 5000, width=32)


@st.composite
def people(draw: st.DrawFn) -> Poses:
    count = draw(st.integers(0, 4))
    xy = draw(hnp.arrays(np.float32, (count, 17, 2), elements=coordinates))
    score = draw(hnp.arrays(np.float32, (count, 17), elements=st.floats(0, 1, width=32)))
    corner = draw(hnp.arrays(np.float32, (count, 2), elements=coordinates))
    size = draw(hnp.arrays(np.float32, (count, 2), elements=st.floats(0, 500, width=32)))
    box_score = draw(hnp.arrays(np.float32, count, elements=st.floats(0, 1, width=32)))
    return Poses(xy, score, np.concatenate([corner, corner + size], axis=1), box_score)


@MANY
@given(people())
def test_rounding_twice_is_rounding_once_and_moves_little(poses: Poses) -> None:
    once = quantise(poses)
    twice = quantise(once)
    for name in ("xy", "score", "boxes", "box_score"):
        assert getattr(once, name).tobytes() == getattr(twice, name).tobytes()
    # Half a step, and the spacing of float32 at 5000 px.
    assert np.abs(once.xy - poses.xy).max(initial=0) <= 0.005 + 5e-4
    assert np.abs(once.score - poses.score).max(initial=0) <= 0.0005 + 1e-6


@MANY
@given(people())
def test_rounded_values_survive_their_decimal_text(poses: Poses) -> None:
    rounded = quantise(poses)
    text = [f"{value:.2f}" for value in rounded.xy.ravel()]
    np.testing.assert_array_equal(np.array(text, np.float64).astype(np.float32), rounded.xy.ravel())


def tracked(poses: Poses, first: int) -> Tracks:
    count = len(poses)
    return Tracks(poses, poses.boxes, np.arange(first, first + count), np.ones(count, bool), np.zeros(count))


@MANY
@given(people(), people(), st.integers(1, 3), st.integers(1, 3000), st.integers(1, 3000))
def test_carried_boxes_lie_in_the_picture_and_are_no_more_than_the_people(
    last: Poses, before: Poses, first: int, height: int, width: int
) -> None:
    carried = carried_boxes(tracked(last, 1), tracked(before, first), (height, width))
    assert len(carried) <= len(last)
    assert (carried.boxes >= 0).all()
    assert (carried.boxes <= [width, height, width, height]).all()
    assert (carried.boxes[:, 2:] - carried.boxes[:, :2] >= 1).all()
    assert np.isin(carried.score, last.box_score).all()
