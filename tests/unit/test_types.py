from typing import Any

import numpy as np
import pytest

from posepipe.types import Action, Detections, Frame, FrameResult, HeatmapVolume, Poses, PoseStream, Tracks


def poses(n: int) -> Poses:
    return Poses.unseen(Detections(np.tile([0, 0, 10, 20], (n, 1)), np.ones(n)))


def tracks(ids: list[int]) -> Tracks:
    p = poses(len(ids))
    return Tracks(p, p.boxes, np.array(ids), np.ones(len(ids), bool), np.ones(len(ids)))


def stream(**changes: Any) -> PoseStream:
    fields: dict[str, Any] = {
        "track_id": 1,
        "frame_index": np.arange(3),
        "pts": np.arange(3) / 25,
        "xy": np.zeros((3, 17, 2)),
        "score": np.zeros((3, 17)),
        "boxes": np.zeros((3, 4)),
        "seen": np.ones(3, bool),
    }
    return PoseStream(**{**fields, **changes})


@pytest.mark.parametrize("make", [Detections, Poses.empty, Tracks.empty])
def test_empty_values_have_the_dtypes_of_full_ones(make: Any) -> None:
    value = make()
    assert len(value) == 0
    nested = value.poses if isinstance(value, Tracks) else value
    assert nested.boxes.dtype == np.float32
    assert nested.boxes.shape == (0, 4)


def test_arrays_are_cast_copied_and_read_only() -> None:
    boxes = np.array([[0, 0, 1, 1]], np.float32)
    detections = Detections(boxes, np.array([1]))
    boxes[0, 0] = 7
    assert detections.boxes[0, 0] == 0
    assert detections.score.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        detections.boxes[0, 0] = 1


@pytest.mark.parametrize(
    ("boxes", "score", "message"),
    [
        ([[0, 0, 1]], [1], "shape"),
        ([[0, 0, 1, np.nan]], [1], "NaN"),
        ([[0, 0, 1, 1]], [1, 1], "length"),
        ([[0, 0, 1, 1]], [np.inf], "infinity"),
    ],
)
def test_bad_detections_are_refused(boxes: Any, score: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Detections(np.array(boxes), np.array(score))


def test_rows_are_picked_by_mask_index_and_slice() -> None:
    detections = Detections(np.arange(12).reshape(3, 4), np.array([0.1, 0.2, 0.3]))
    assert detections[np.array([True, False, True])].score.tolist() == pytest.approx([0.1, 0.3])
    assert len(detections[:0]) == 0
    assert len(poses(3)[[2, 0]]) == 2


def test_unseen_keypoints_are_finite_and_score_nothing() -> None:
    p = poses(1)
    assert p.xy.shape == (1, 17, 2)
    np.testing.assert_array_equal(p.xy[0, 0], [5, 10])
    assert not p.score.any()


def test_an_id_occurs_once_a_frame() -> None:
    assert len(tracks([1, 2])) == 2
    with pytest.raises(ValueError, match="repeats"):
        tracks([3, 3])


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_a_frame_is_rgb_bytes(image: Any) -> None:
    with pytest.raises(ValueError, match="RGB uint8"):
        Frame(0, 0.0, image)


def test_a_stream_runs_forward_in_time() -> None:
    assert len(stream()) == 3
    with pytest.raises(ValueError, match="pts of track 1"):
        stream(pts=np.zeros(3))
    with pytest.raises(ValueError, match="frame_index"):
        stream(frame_index=np.array([0, 2, 1]))


def test_an_action_ends_after_it_starts() -> None:
    probs = np.ones(2) / 2
    assert Action(1, "sit", 0, probs, 0, 5, 0.0, 0.2).probs.dtype == np.float32
    with pytest.raises(ValueError, match="ends before"):
        Action(1, "sit", 0, probs, 5, 0, 0.2, 0.0)


def test_other_values_check_their_shapes() -> None:
    assert HeatmapVolume(np.zeros((17, 8, 56, 56)), np.zeros(4), 4.0).data.dtype == np.float32
    with pytest.raises(ValueError, match="crop"):
        HeatmapVolume(np.zeros((17, 8, 56, 56)), np.zeros(3), 4.0)
    assert FrameResult(0, 0.0, Tracks.empty()).actions == ()
