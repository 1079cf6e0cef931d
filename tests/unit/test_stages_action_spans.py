"""Temporal detectors in a pipeline, on a network that finds an action where the left wrist is above the shoulder."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from posepipe.config import Config, data_root
from posepipe.datasets.utkinect_recordings import UTKINECT_ACTS, read_utkinect_recordings
from posepipe.errors import UsageError, WeightsError
from posepipe.evaluation.localisation import Labelled, told_right
from posepipe.skeleton import COCO17, named_skeleton
from posepipe.stages import ActionRecogniser
from posepipe.stages.action_spans import OnnxSpans
from posepipe.stages.build import build_actions
from posepipe.streams.motion import MOTION_KEYPOINTS
from posepipe.types import PoseStream

STEPS = 64
CARD: dict[str, Any] = {
    "name": "toy",
    "kind": "tad",
    "labels": ["raise", "rest"],
    "keypoints": list(MOTION_KEYPOINTS),
    "keypoint_score": 0.3,
    "rate": 10.0,
    "overlap": 0.5,
    "least_score": 0.01,
    "sigma": 0.7,
    "score_threshold": 0.3,
}


def network(path: Path, card: dict[str, Any] | None = None, channels: int = 61) -> Path:
    """One point a step: score of "raise" 0.9 where the wrist is high, and spans of one second around it."""
    constants = {
        "wrist": np.array([4 * 2 + 1], np.int64),
        "shoulder": np.array([1], np.int64),
        "real": np.array([channels - 1], np.int64),
        "high": np.float32(0.9),
        "low": np.float32(0),
        "rest": np.zeros((1, STEPS, 1), np.float32),
        "reach": np.stack([np.arange(STEPS) - 5, np.arange(STEPS) + 5], 1)[None].astype(np.float32),
        "half": np.float32(0.5),
        "nought": np.float32(0),
    }
    make = helper.make_node
    nodes = [
        make("Gather", ["features", "wrist"], ["w"], axis=1),
        make("Gather", ["features", "shoulder"], ["s"], axis=1),
        make("Gather", ["features", "real"], ["r"], axis=1),
        make("Less", ["w", "s"], ["up"]),
        make("Greater", ["r", "half"], ["there"]),
        make("And", ["up", "there"], ["on"]),
        make("Where", ["on", "high", "low"], ["flat"]),
        make("Transpose", ["flat"], ["column"], perm=[0, 2, 1]),
        make("Mul", ["column", "nought"], ["nothing"]),
        make("Concat", ["column", "nothing"], ["scores"], axis=2),
        make("Add", ["reach", "nothing"], ["spans"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", channels, STEPS])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", STEPS, 2]) for name in ("scores", "spans")],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    entry = model.metadata_props.add()
    entry.key, entry.value = "posepipe", json.dumps(CARD if card is None else card)
    onnx.save(model, path)
    return path


def stream(raised: list[tuple[float, float]], seconds: float, fps: float = 25.0, size: float = 100.0) -> PoseStream:
    """Somebody who stands, the left wrist above the shoulder at some times."""
    pts = np.arange(round(seconds * fps)) / fps + 2.0
    xy = np.zeros((len(pts), 17, 2), np.float32)
    heights = {"shoulder": -50, "elbow": -30, "wrist": -10, "hip": 0, "knee": 40, "ankle": 80}
    for name in MOTION_KEYPOINTS:
        side, part = name.split("_")
        xy[:, COCO17.index(name)] = (10 if side == "left" else -10, heights[part])
    for start, end in raised:
        xy[(pts >= start) & (pts <= end), COCO17.index("left_wrist"), 1] = -80
    xy = xy * size / 100 + 200
    boxes = np.tile(np.array([100, 100, 300, 300], np.float32), (len(pts), 1))
    score = np.full((len(pts), 17), 0.9, np.float32)
    return PoseStream(7, np.arange(len(pts)) + 50, pts, xy, score, boxes, np.ones(len(pts), bool))


@pytest.fixture
def spans(tmp_path: Path) -> OnnxSpans:
    return OnnxSpans(network(tmp_path / "toy.onnx"), COCO17)


def test_spans_in_the_videos_own_times_and_frames(spans: OnnxSpans):
    assert isinstance(spans, ActionRecogniser)
    found = spans.recognise(stream([(4.0, 4.2)], 12.0))
    assert [action.label for action in found] == ["raise"]
    action = found[0]
    assert (action.track_id, action.label_id) == (7, 0)
    # the first of the steps that are equally sure: 4.0 s, half a second to both sides
    assert (action.start_s, action.end_s) == pytest.approx((3.52, 4.48), abs=0.021)
    assert (action.start, action.end) == (
        50 + round((action.start_s - 2) * 25),
        50 + round((action.end_s - 2) * 25) + 1,
    )
    assert action.probs.tolist() == pytest.approx([0.9, 0])


def test_long_streams_are_searched_to_their_end_and_each_action_is_told_once(spans: OnnxSpans):
    times = [3.0, 9.3, 16.0, 28.0, 41.4]
    found = spans.recognise(stream([(t, t + 0.15) for t in times], 41.0))
    sure = [action for action in found if action.probs[0] > 0.8]
    assert [round((action.start_s + action.end_s) / 2) for action in sure] == [3, 9, 16, 28, 41]


@pytest.mark.parametrize("seconds", [0.04, 0.2, 3.0])
def test_short_streams(spans: OnnxSpans, seconds: float):
    for action in spans.recognise(stream([(2.0, 2.1)], seconds)):
        assert 2.0 <= action.start_s <= action.end_s <= 2.0 + seconds


def test_times_between_frames_do_not_matter(spans: OnnxSpans):
    even = stream([(4.0, 4.2)], 12.0)
    keep = np.sort(np.random.default_rng(0).permutation(len(even))[: len(even) * 3 // 4])
    columns = {name: getattr(even, name)[keep] for name in ("frame_index", "pts", "xy", "score", "boxes", "seen")}
    uneven = spans.recognise(PoseStream(7, **columns))
    assert uneven[0].start_s == pytest.approx(spans.recognise(even)[0].start_s, abs=0.15)


def test_before_and_after_a_leap_in_time_actions_are_told_as_on_their_own(spans: OnnxSpans):
    """All steps of 1e9 seconds would take 2 TB."""
    one, leap = stream([(4.0, 4.2), (9.0, 9.2)], 12.0), 1e9
    names = ("xy", "score", "boxes", "seen")
    both = {name: np.concatenate([getattr(one, name)] * 2) for name in names}
    pts = np.concatenate([one.pts, one.pts + leap])
    found = spans.recognise(PoseStream(7, np.arange(len(pts)), pts, **both))
    alone = np.array([(action.start_s, action.end_s) for action in spans.recognise(one)])
    told = [(action.start_s, action.end_s) for action in found]
    np.testing.assert_allclose(told, np.concatenate([alone, alone + leap]), rtol=0, atol=1e-3)


def test_nobody_and_nothing(spans: OnnxSpans):
    one = stream([], 10.0)
    assert spans.recognise(one) == []
    none = {name: getattr(one, name)[:0] for name in ("frame_index", "pts", "xy", "score", "boxes", "seen")}
    assert spans.recognise(PoseStream(7, **none)) == []
    hidden = PoseStream(7, one.frame_index, one.pts, one.xy, one.score * 0, one.boxes, one.seen)
    assert spans.recognise(hidden) == []


def test_of_people_too_small_nothing_is_said(spans: OnnxSpans):
    assert spans.recognise(stream([(4.0, 6.0)], 10.0, size=10.0)) == []
    assert spans.recognise(stream([(4.0, 6.0)], 10.0, size=40.0))
    # Here the wrist is the highest: 160 px above the ankles at the size 100.
    assert spans.recognise(stream([(4.0, 6.0)], 10.0, size=14.9)) == []
    assert spans.recognise(stream([(4.0, 6.0)], 10.0, size=15.1))


def test_keypoints_are_found_by_name(tmp_path: Path):
    order = list(reversed(COCO17.keypoints))
    other = named_skeleton("reversed", tuple(order))
    one = stream([(4.0, 4.2)], 12.0)
    turned = [COCO17.index(name) for name in order]
    moved = PoseStream(7, one.frame_index, one.pts, one.xy[:, turned], one.score[:, turned], one.boxes, one.seen, other)
    path = network(tmp_path / "toy.onnx")
    assert OnnxSpans(path, other).recognise(moved)[0].start_s == OnnxSpans(path, COCO17).recognise(one)[0].start_s
    with pytest.raises(UsageError, match="takes keypoints that skeleton 'hand' has not"):
        OnnxSpans(path, named_skeleton("hand", ("thumb", "palm")))


def test_the_card_says_which_recogniser_a_file_is(tmp_path: Path):
    path = network(tmp_path / "toy.onnx")
    assert isinstance(build_actions(Config(actions=str(path)), COCO17), OnnxSpans)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kind": "action"}, "no temporal detector"),
        ({"labels": []}, "has no labels"),
        ({"keypoints": ["nose"]}, "other features than posepipe makes"),
        ({"rate": "fast"}, "bad rate"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, changes: dict[str, Any], told: str):
    with pytest.raises(WeightsError, match=told):
        OnnxSpans(network(tmp_path / "toy.onnx", {**CARD, **changes}), COCO17)
    with pytest.raises(WeightsError, match="other features"):
        OnnxSpans(network(tmp_path / "wide.onnx", channels=63), COCO17)


@pytest.mark.skipif(not (data_root() / "utkinect").is_dir(), reason="UTKinect is not there; set POSEPIPE_DATA")
def test_the_embedded_detector_finds_most_acts_of_somebody_it_never_saw():
    recordings, source = read_utkinect_recordings(data_root() / "utkinect", [8])
    embedded = build_actions(Config(actions="tad"), COCO17)
    assert isinstance(embedded, OnnxSpans)
    truth, told = [], []
    for recording, skeletons in zip(recordings, source._skeletons, strict=True):
        acts = zip(recording.spans / recording.rate, recording.labels, strict=True)
        truth += [(recording.name, UTKINECT_ACTS[label], *span, 1.0) for span, label in acts]
        count = len(skeletons.place)
        xy, score = np.zeros((count, 17, 2), np.float32), np.zeros((count, 17), np.float32)
        rows = [COCO17.index(name) for name in MOTION_KEYPOINTS]
        xy[:, rows] = 500 * skeletons.joints[..., :2] / skeletons.joints[..., 2:] + 320
        score[:, rows] = 0.8
        boxes = np.tile(np.array([0, 0, 640, 480], np.float32), (count, 1))
        pts = skeletons.place / recording.rate
        one = PoseStream(1, np.arange(count), pts, xy, score, boxes, np.ones(count, bool))
        spans = embedded.recognise(one)
        assert all(a.end_s <= b.start_s + 1e-6 for a, b in pairwise(spans))
        told += [(recording.name, a.label, a.start_s, a.end_s, float(a.probs.max())) for a in spans]
    right, found = told_right(Labelled.of(truth), Labelled.of(told), 0.5)
    assert right > 0.6
    assert found > 0.6
