from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from fakes import CountingTracker, GridPose, SquareDetector, picture, pictures

from posepipe.config import Config
from posepipe.errors import MissingExtraError, PosepipeError, StageError, UsageError, WeightsError
from posepipe.pipeline import CHUNK, NOMINAL_FPS, Pipeline, quantise
from posepipe.scheduling import carried_boxes
from posepipe.types import Detections, Frame, FrameResult, Poses, Tracks


def fake_pipeline(**settings: int | float) -> Pipeline:
    return Pipeline(SquareDetector(), GridPose(), CountingTracker(), Config(**settings))


def same(a: FrameResult, b: FrameResult) -> bool:
    left, right = a.tracks, b.tracks
    return (
        (a.frame_index, a.pts, a.skipped) == (b.frame_index, b.pts, b.skipped)
        and np.array_equal(left.poses.xy, right.poses.xy)
        and np.array_equal(left.poses.score, right.poses.score)
        and np.array_equal(left.boxes, right.boxes)
        and np.array_equal(left.track_id, right.track_id)
        and np.array_equal(left.age, right.age)
    )


class Counter:
    """Frames without end that count how many were taken."""

    def __init__(self, live: bool = False) -> None:
        self.taken = 0
        self.live = live

    def __iter__(self) -> Iterator[np.ndarray]:
        while True:
            self.taken += 1
            yield picture(self.taken)


def test_one_result_a_frame_in_order_also_where_nobody_is() -> None:
    people = [0, 1, 2, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    results = list(fake_pipeline().process(picture(i, n) for i, n in enumerate(people)))
    assert [r.frame_index for r in results] == list(range(len(people)))
    assert [len(r.tracks) for r in results] == people
    assert not any(r.skipped for r in results)


def test_no_frames_give_no_results() -> None:
    assert list(fake_pipeline().process([])) == []


def test_arrays_get_nominal_times_and_frames_keep_theirs() -> None:
    arrays = list(fake_pipeline().process(pictures(3)))
    assert [r.pts for r in arrays] == [0.0, 1 / NOMINAL_FPS, 2 / NOMINAL_FPS]
    frames = [Frame(7, 1.5, picture(0)), Frame(9, 99.0, picture(1))]
    assert [(r.frame_index, r.pts) for r in fake_pipeline().process(frames)] == [(7, 1.5), (9, 99.0)]


def test_reads_no_more_than_a_chunk_ahead_of_an_endless_source() -> None:
    source = Counter()
    results = fake_pipeline().process(source)
    for given in range(50):
        next(results)
        assert source.taken - given <= CHUNK <= 8
    results.close()
    taken = source.taken
    with pytest.raises(StopIteration):
        next(results)
    assert source.taken == taken


def test_nothing_is_read_before_the_first_result_is_asked_for() -> None:
    source = Counter()
    fake_pipeline().process(source)
    assert source.taken == 0


@pytest.mark.parametrize("pipeline", [fake_pipeline(detector_stride=3), fake_pipeline()])
def test_live_sources_and_carried_boxes_go_frame_by_frame(pipeline: Pipeline) -> None:
    source = Counter(live=pipeline.config.detector_stride == 1)
    results = pipeline.process(source)
    for given in range(1, 10):
        next(results)
        assert source.taken == given


def test_crops_of_a_chunk_go_to_the_pose_stage_together() -> None:
    pipeline = fake_pipeline()
    list(pipeline.process(pictures(2 * CHUNK + 1)))
    assert pipeline.pose.calls == [CHUNK, CHUNK, 1]


def test_a_crowd_closes_a_chunk_early() -> None:
    pipeline = fake_pipeline()
    list(pipeline.process(pictures(4, people=20)))
    assert pipeline.pose.calls == [2, 2]


def test_the_pose_stage_is_not_called_where_nobody_is() -> None:
    pipeline = fake_pipeline()
    list(pipeline.process(pictures(20, people=0)))
    assert pipeline.pose.calls == []
    assert pipeline._tracker.updates == 20


def test_the_tracker_sees_rounded_poses() -> None:
    pipeline = fake_pipeline()
    list(pipeline.process(pictures(3)))
    for poses in pipeline._tracker.seen:
        np.testing.assert_array_equal(poses.xy, np.round(poses.xy.astype(float), 2).astype(np.float32))
        assert not np.array_equal(poses.xy, np.round(poses.xy, 1))


def test_quantise_rounds_to_what_records_hold() -> None:
    one = np.ones((1, 17, 2))
    boxes = np.array([[0.004, 0.006, 10.125, 20.999]])
    poses = Poses(one * 1.23456, one[..., 0] * 0.123456, boxes, np.array([0.87654]))
    rounded = quantise(poses)
    assert rounded.xy[0, 0, 0] == np.float32(1.23)
    assert rounded.score[0, 0] == np.float32(0.123)
    assert rounded.box_score[0] == np.float32(0.877)
    np.testing.assert_array_equal(rounded.boxes, np.array([[0, 0.01, 10.12, 21.0]], np.float32))


@pytest.mark.parametrize("stop", [0, 1, 5, CHUNK, CHUNK + 1, 17, 30, 31])
@pytest.mark.parametrize("settings", [{}, {"stride": 3}, {"detector_stride": 4}, {"stride": 2, "detector_stride": 3}])
def test_recorded_frames_are_replayed_to_the_same_end(stop: int, settings: dict[str, int]) -> None:
    source = [picture(i, i % 3) for i in range(31)]
    whole = list(fake_pipeline(**settings).process(source))
    again = fake_pipeline(**settings)
    resumed = list(again.process(source, recorded=whole[:stop]))
    assert all(map(same, whole, resumed))
    assert len(resumed) == len(whole)
    # Only frames of the chunk that broke off are looked at twice.
    assert all(index >= stop - stop % CHUNK for index in again.detector.looked)


def test_recorded_frames_take_no_network_at_all() -> None:
    whole = list(fake_pipeline().process(pictures(12)))
    again = fake_pipeline()
    list(again.process(pictures(12), recorded=whole))
    assert again.detector.looked == again.pose.calls == []


def test_records_of_other_frames_are_refused() -> None:
    whole = list(fake_pipeline().process(pictures(4)))
    with pytest.raises(UsageError, match="records are not of these frames"):
        list(fake_pipeline().process(pictures(9), recorded=whole[1:]))


def test_records_that_replay_to_other_ids_are_refused() -> None:
    whole = list(fake_pipeline().process(pictures(4, people=2)))

    class Shifted(CountingTracker):
        def update(self, poses, image=None):
            tracks = super().update(poses, image)
            return type(tracks)(poses, tracks.boxes, tracks.track_id + 1, tracks.confirmed, tracks.age)

    with pytest.raises(UsageError, match="do not replay"):
        list(Pipeline(SquareDetector(), GridPose(), Shifted()).process(pictures(4, people=2), recorded=whole))


def test_stride_marks_what_was_passed_over() -> None:
    pipeline = fake_pipeline(stride=4)
    results = list(pipeline.process(pictures(10)))
    assert [r.skipped for r in results] == [i % 4 != 0 for i in range(10)]
    assert pipeline.detector.looked == [0, 4, 8]
    assert all(len(r.tracks) == (0 if r.skipped else 1) for r in results)
    assert pipeline._tracker.updates == 3


def test_detector_stride_carries_boxes_from_the_poses() -> None:
    pipeline = fake_pipeline(detector_stride=5)
    results = list(pipeline.process(pictures(11, people=2)))
    assert pipeline.detector.looked == [0, 5, 10]
    assert [len(r.tracks) for r in results] == [2] * 11


def test_a_carried_person_whose_pose_is_lost_is_dropped() -> None:
    pipeline = Pipeline(SquareDetector(), GridPose(score=0.1), CountingTracker(), Config(detector_stride=3))
    counts = [len(r.tracks) for r in pipeline.process(pictures(7))]
    assert counts == [1, 0, 0, 1, 0, 0, 1]


def tracked(poses: Poses, ids: list[int] | None = None) -> Tracks:
    count = len(poses)
    return Tracks(poses, poses.boxes, ids or range(1, count + 1), np.ones(count, bool), np.zeros(count))


def moved(poses: Poses, step: tuple[float, float]) -> Poses:
    return Poses(poses.xy + np.array(step), poses.score, poses.boxes + np.tile(step, 2), poses.box_score)


TWO = GridPose()._pose(Detections(np.array([[10, 10, 30, 50], [60, 20, 90, 80]]), np.array([0.9, 0.8])))


def test_carried_boxes_keep_their_size_and_move_with_their_person() -> None:
    last = moved(TWO, (3, -2))
    carried = carried_boxes(tracked(last), tracked(TWO), (200, 200))
    np.testing.assert_allclose(carried.boxes, TWO.boxes + np.array([6, -4, 6, -4]), atol=1e-4)
    np.testing.assert_array_equal(carried.score, TWO.box_score)


@pytest.mark.parametrize(("reach", "grown"), [(25, 0), (31, 1), (500, 2)])
def test_a_carried_box_grows_a_little_to_where_a_limb_is_stretched(reach: float, grown: float) -> None:
    xy = TWO.xy.copy()
    xy[0, :5, 0] = reach
    last = Poses(xy, TWO.score, TWO.boxes, TWO.box_score)
    carried = carried_boxes(tracked(last), tracked(TWO), (200, 200))
    np.testing.assert_allclose(carried.boxes, TWO.boxes + np.array([[0, 0, grown, 0], [0, 0, 0, 0]]), atol=1e-4)


def test_people_are_told_apart_by_their_ids_and_newcomers_stay() -> None:
    before = tracked(moved(TWO, (-100, 0))[::-1], ids=[7, 8])
    carried = carried_boxes(tracked(TWO, ids=[9, 7]), before, (200, 200))
    np.testing.assert_allclose(carried.boxes, [[10, 10, 30, 50], [160, 20, 190, 80]], atol=1e-4)


def test_carried_boxes_stay_in_the_picture_and_those_that_leave_it_are_dropped() -> None:
    carried = carried_boxes(tracked(moved(TWO, (15, 0))), tracked(TWO), (60, 70))
    np.testing.assert_allclose(carried.boxes, [[40, 10, 60, 50]], atol=1e-4)


def test_two_carried_boxes_on_one_person_become_one() -> None:
    boxes = np.array([[10, 10, 30, 50], [10, 10, 30, 50]], np.float32)
    found = tracked(GridPose()._pose(Detections(boxes, np.array([0.5, 0.9]))))
    carried = carried_boxes(found, found, (100, 100))
    assert carried.score.tolist() == [np.float32(0.9)]


def test_nobody_is_carried_from_nobody() -> None:
    carried = carried_boxes(Tracks.empty(), Tracks.empty(), (10, 10))
    assert carried.boxes.shape == (0, 4)


def test_max_people_keeps_the_best() -> None:
    class Unsorted(SquareDetector):
        def detect(self, frame):
            found = super().detect(frame)
            return found[np.argsort(found.score)]

    pipeline = Pipeline(Unsorted(), GridPose(), CountingTracker(), Config(max_people=2))
    result = next(pipeline.process(pictures(1, people=5)))
    np.testing.assert_allclose(result.tracks.poses.box_score, [0.9, 0.8], atol=1e-6)


def test_a_second_pass_starts_afresh() -> None:
    pipeline = fake_pipeline()
    first = list(pipeline.process(pictures(5)))
    second = list(pipeline.process(pictures(5)))
    assert all(map(same, first, second))


def test_two_pipelines_side_by_side_are_as_each_alone() -> None:
    alone = list(fake_pipeline().process(pictures(20, people=2)))
    one, two = fake_pipeline().process(pictures(20, people=2)), fake_pipeline().process(pictures(20, people=2))
    for expected, a, b in zip(alone, one, two, strict=True):
        assert same(expected, a)
        assert same(expected, b)


class Failing:
    """A stage that raises at its n-th call."""

    skeleton = GridPose.skeleton

    def __init__(self, inner: object, index: int, error: Exception) -> None:
        self.inner, self.index, self.error = inner, index, error
        self.count = 0

    def detect(self, frame):
        if frame.index == self.index:
            raise self.error
        return self.inner.detect(frame)

    def estimate(self, frames, detections):
        if any(frame.index == self.index for frame in frames):
            raise self.error
        return self.inner.estimate(frames, detections)

    def update(self, poses, image=None):
        if self.count == self.index:
            raise self.error
        self.count += 1
        return self.inner.update(poses, image)

    def reset(self):
        self.inner.reset()


def until_it_fails(frames: Iterable[object], pipeline: Pipeline) -> tuple[list[int], Exception]:
    given: list[int] = []
    try:
        given.extend(result.frame_index for result in pipeline.process(frames))
    except Exception as error:
        return given, error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize("index", [0, 3, 8])
@pytest.mark.parametrize("stage", ["detector", "pose", "tracker"])
def test_a_failing_stage_names_itself_and_the_frame_after_all_results_before_it(stage: str, index: int) -> None:
    stages = {"detector": SquareDetector(), "pose": GridPose(), "tracker": CountingTracker()}
    stages[stage] = Failing(stages[stage], index, RuntimeError("lens cap"))
    given, error = until_it_fails(pictures(12), Pipeline(**stages))
    assert given == list(range(index))
    assert isinstance(error, StageError)
    assert (error.stage, error.frame_index) == (stage, index)
    assert str(error) == f"the {stage} stage failed at frame {index}: RuntimeError: lens cap"


@pytest.mark.parametrize("index", [0, 4, 8])
@pytest.mark.parametrize("stage", ["detector", "pose", "tracker"])
@pytest.mark.parametrize("error", [WeightsError("out of memory", hint="Less at once"), MissingExtraError("It", "all")])
def test_an_error_of_our_own_keeps_its_class_and_names_stage_and_frame(
    error: PosepipeError, stage: str, index: int
) -> None:
    stages = {"detector": SquareDetector(), "pose": GridPose(), "tracker": CountingTracker()}
    stages[stage] = Failing(stages[stage], index, error)
    given, raised = until_it_fails(pictures(12), Pipeline(**stages))
    assert given == list(range(index))
    assert type(raised) is type(error)
    assert str(raised) == f"the {stage} stage failed at frame {index}: {error}"
    assert (raised.exit_code, raised.hint) == (error.exit_code, error.hint)
    assert raised.what == f"the {stage} stage failed at frame {index}: {error.what}"


def test_a_source_that_breaks_gives_its_results_first_and_then_its_own_error() -> None:
    def source():
        yield from pictures(4)
        raise OSError("cable pulled")

    given, error = until_it_fails(source(), fake_pipeline())
    assert given == [0, 1, 2, 3]
    assert isinstance(error, OSError)


def test_errors_raised_on_purpose_pass_through_a_stage() -> None:
    stage = Failing(SquareDetector(), 0, WeightsError("weights changed"))
    with pytest.raises(WeightsError, match="weights changed"):
        list(Pipeline(stage, GridPose(), CountingTracker()).process(pictures(2)))


def test_stages_that_do_not_answer_row_for_row_are_named() -> None:
    class Loses(GridPose):
        def estimate(self, frames, detections):
            return [p[:0] for p in super().estimate(frames, detections)]

    class Forgets(CountingTracker):
        def update(self, poses, image=None):
            return super().update(poses[:0], image)

    with pytest.raises(StageError, match=r"pose stage .* frame 0: .* one for each"):
        list(Pipeline(SquareDetector(), Loses(), CountingTracker()).process(pictures(2)))
    with pytest.raises(StageError, match=r"tracker stage .* frame 0: .* one for each"):
        list(Pipeline(SquareDetector(), GridPose(), Forgets()).process(pictures(2)))


def test_a_path_is_not_frames() -> None:
    with pytest.raises(UsageError, match="open_video"):
        fake_pipeline().process("video.mp4")


@pytest.mark.parametrize(
    "item", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), "text", None]
)
def test_what_is_not_a_picture_is_refused_by_its_number(item: object) -> None:
    with pytest.raises(UsageError, match=r"item 1 given to Pipeline\.process is not a picture"):
        list(fake_pipeline().process([picture(0), item]))


def test_timings_count_every_stage() -> None:
    pipeline = fake_pipeline(stride=2)
    list(pipeline.process(pictures(10)))
    frames = {name: timing.frames for name, timing in pipeline.timings.items()}
    assert frames == {"read": 10, "detector": 5, "pose": 5, "tracker": 5, "actions": 10}
    assert all(timing.seconds > 0 for timing in pipeline.timings.values())


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        (
            {"tracker": "sort"},
            r"tracker must be an object with update and reset; got str 'sort'; Config\(tracker='sort'",
        ),
        ({"detector": object()}, r"detector must be an object with detect; got object <object"),
        ({"pose": GridPose.estimate}, r"pose must be an object with skeleton and estimate"),
        ({"actions": CountingTracker()}, r"actions must be an object with labels and recognise"),
    ],
)
def test_objects_that_are_no_stages_are_refused_at_once(stage: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as error:
        Pipeline(**stage)
    assert re.match(says, str(error.value).replace(". Config", "; Config"))


def test_a_stage_that_returns_something_else_is_blamed() -> None:
    class Boxes:
        def detect(self, frame: Frame) -> np.ndarray:
            return np.zeros((1, 4))

    class NoPoses:
        skeleton = GridPose.skeleton

        def estimate(self, frames: list[Frame], detections: list[Detections]) -> list[None]:
            return [None for _ in frames]

    class NoTracks(CountingTracker):
        def update(self, poses: Poses, image: np.ndarray | None = None) -> None:
            return None

    for stages, says in (
        ((Boxes(), GridPose(), CountingTracker()), "the detector returned ndarray, expected Detections"),
        ((SquareDetector(), NoPoses(), CountingTracker()), "the pose estimator returned NoneType, expected Poses"),
        ((SquareDetector(), GridPose(), NoTracks()), "the tracker returned NoneType, expected Tracks"),
    ):
        with pytest.raises(StageError, match=says):
            list(Pipeline(*stages).process(pictures(2)))


def test_what_a_frame_must_be_is_said() -> None:
    with pytest.raises(UsageError, match=r"item 0 .* a frame is an RGB uint8 array \(H,W,3\), got NoneType"):
        list(fake_pipeline().process([None]))
