"""The action network in an ONNX file, on people whose wrist is up or down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_nets import RAISED, fixed_net, raised_net, raised_points_net
from walkers import BODY

from posepipe.config import Config
from posepipe.errors import UsageError, WeightsError
from posepipe.skeleton import COCO17, Skeleton
from posepipe.stages import ActionRecogniser, WindowRecogniser
from posepipe.stages.action import ActionWatch, OnnxActions, said_of
from posepipe.stages.build import build_actions
from posepipe.streams.spans import UNKNOWN
from posepipe.streams.windows import windows_of
from posepipe.types import FrameResult, Poses, PoseStream, Tracks
from posepipe.volumes.window import compact_box

WRIST = COCO17.keypoints.index("left_wrist")
UP, DOWN = (0.16, -0.1), (0.17, 0.9)


@pytest.fixture(scope="module", params=[raised_net, raised_points_net], ids=["maps", "points"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("nets") / "raised.onnx", COCO17.keypoints, WRIST)


def body(wrist=UP, height=200.0, at=(100.0, 50.0)):
    xy = BODY.copy()
    xy[WRIST] = wrist
    return xy * height + at


def stream(poses, rate=10.0, track_id=1, skeleton=COCO17):
    xy = np.stack(poses)
    count, joints = xy.shape[:2]
    boxes = np.concatenate([xy.min(1), xy.max(1)], 1)
    index = np.arange(count)
    score = np.ones((count, joints))
    return PoseStream(track_id, index, index / rate, xy, score, boxes, np.ones(count, bool), skeleton)


def results(*streams):
    """The frames of streams of one length."""
    for t in range(len(streams[0])):
        poses = Poses(
            *(np.stack([getattr(s, n)[t] for s in streams]) for n in ("xy", "score", "boxes")), np.ones(len(streams))
        )
        ids = np.array([s.track_id for s in streams])
        tracks = Tracks(poses, poses.boxes, ids, np.ones(len(ids), bool), np.full(len(ids), t))
        yield FrameResult(t, float(streams[0].pts[t]), tracks)


def test_it_satisfies_both_protocols(weights):
    network = OnnxActions(weights, COCO17)
    assert isinstance(network, ActionRecogniser)
    assert isinstance(network, WindowRecogniser)
    assert network.labels == RAISED
    assert (network.samples, network.rate, network.step, network.rules.abstain) == (8, 8.0, 2, 0.5)
    assert "CPUExecutionProvider" in network.description


def test_spans_of_a_whole_stream(weights):
    network = OnnxActions(weights, COCO17)
    spans = network.recognise(stream([body(UP)] * 40 + [body(DOWN)] * 40))
    assert [span.label for span in spans] == ["arms up", "arms down"]
    assert (spans[0].start_s, spans[0].start) == (0.0, 0)
    assert spans[0].end_s == spans[1].start_s
    assert spans[0].end_s == pytest.approx(4.0, abs=0.3)
    assert spans[1].end_s == pytest.approx(7.9, abs=0.26)
    assert all(0.6 < span.probs[span.label_id] <= 1 for span in spans)


def test_two_people_do_different_things_at_once(weights):
    network = OnnxActions(weights, COCO17)
    up, down = stream([body(UP)] * 30), stream([body(DOWN, at=(400, 80))] * 30, track_id=2)
    watch = ActionWatch(network, COCO17)
    found = [action for result in results(up, down) for action in watch.update(result).actions]
    assert {(action.track_id, action.label) for action in found} == {(1, "arms up"), (2, "arms down")}
    alone = said_of(list(windows_of(up, 8, 8.0, 2)), network)
    of_one = [action for action in found if action.track_id == 1]
    assert [a.end_s for a in of_one] == [a.end_s for a in alone]
    np.testing.assert_array_equal([a.probs for a in of_one], [a.probs for a in alone])


def test_known_actions_are_taken_as_they_are_and_what_follows_is_the_same(weights):
    network = OnnxActions(weights, COCO17)
    frames = list(results(stream([body(UP)] * 25 + [body(DOWN)] * 25)))
    watch = ActionWatch(network, COCO17)
    whole = [watch.update(result) for result in frames]
    again = ActionWatch(network, COCO17)
    resumed = [again.update(result, whole[i].actions if i < 23 else None) for i, result in enumerate(frames)]
    for a, b in zip(whole, resumed, strict=True):
        assert [(x.label, x.start, x.end_s, x.probs.tolist()) for x in a.actions] == [
            (x.label, x.start, x.end_s, x.probs.tolist()) for x in b.actions
        ]


def test_times_are_the_containers(weights):
    """Frames that come twice as densely in one half do not stretch it."""
    network = OnnxActions(weights, COCO17)
    pts = np.concatenate([np.arange(80) / 20, 4 + np.arange(40) / 10])
    poses = [body(UP) if time < 4 else body(DOWN) for time in pts]
    uneven = stream(poses)
    uneven = PoseStream(1, uneven.frame_index, pts, uneven.xy, uneven.score, uneven.boxes, uneven.seen)
    spans = network.recognise(uneven)
    assert [span.label for span in spans] == ["arms up", "arms down"]
    assert spans[0].end_s == pytest.approx(4.0, abs=0.3)
    assert abs(spans[0].end - 80) <= 6


def test_a_person_far_too_small_is_unknown(weights):
    network = OnnxActions(weights, COCO17)
    (span,) = network.recognise(stream([body(UP, height=12)] * 30))
    assert (span.label, span.label_id, span.probs.sum()) == (UNKNOWN, -1, 0)


@pytest.mark.parametrize("sides", [(1.0, 0.5), (0.5, 1.0)], ids=["across", "down"])
def test_people_are_looked_at_from_24_px_of_their_keypoints(weights, sides):
    network = OnnxActions(weights, COCO17)
    poses = (body(UP) - body(UP).min(0)) / np.ptp(body(UP), 0) * sides
    for longer, looked_at in ((23.5, False), (24.0, True)):
        (span,) = network.recognise(stream([poses * longer + (100, 50)] * 30))
        assert (span.label != UNKNOWN) == bool(span.probs.any()) == looked_at


def test_a_person_without_keypoints_is_unknown(weights):
    network = OnnxActions(weights, COCO17)
    hidden = stream([body(UP)] * 30)
    hidden = PoseStream(1, hidden.frame_index, hidden.pts, hidden.xy, hidden.score * 0, hidden.boxes, hidden.seen)
    (span,) = network.recognise(hidden)
    assert span.label == UNKNOWN


def test_three_frames_and_nobody_give_nothing(weights):
    network = OnnxActions(weights, COCO17)
    assert network.recognise(stream([body(UP)] * 3)) == []
    nobody = PoseStream(
        1, np.zeros(0, int), np.zeros(0), np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros((0, 4)), np.zeros(0, bool)
    )
    assert network.recognise(nobody) == []


def test_a_window_with_nobody_in_it_is_unknown_beside_one_with_somebody(weights):
    network = OnnxActions(weights, COCO17)
    there = next(iter(windows_of(stream([body(UP)] * 20), 8, 8.0, 2))).stream
    gone = replace(there, xy=there.xy * 0, score=there.score * 0, seen=~there.seen)
    probs = network.classify([gone, there])
    assert not probs[0].any()
    assert probs[1].argmax() == 0
    assert network.classify([]).shape == (0, 3)


@pytest.mark.parametrize("net", [raised_net, raised_points_net])
def test_keypoints_are_found_by_their_names(net, weights, tmp_path):
    few = net(tmp_path / "few.onnx", ("nose", "left_wrist", "left_ankle"), 1)
    network = OnnxActions(few, COCO17)
    assert [span.label for span in network.recognise(stream([body(UP)] * 20))] == ["arms up"]
    order = (*COCO17.keypoints[::-1], "tail")
    turned = Skeleton("turned", order, (), (), (0.1,) * 18)
    poses = [np.concatenate([body(DOWN)[::-1], [[0, 0]]])] * 20
    extra = stream(poses, skeleton=turned)
    extra = PoseStream(
        1, extra.frame_index, extra.pts, extra.xy, np.tile([1.0] * 17 + [0], (20, 1)), extra.boxes, extra.seen, turned
    )
    assert [span.label for span in OnnxActions(weights, turned).recognise(extra)] == ["arms down"]


def test_a_network_of_17_keypoints_is_refused_28_others(weights):
    other = Skeleton("hands28", tuple(f"p{i}" for i in range(28)), (), (), (0.1,) * 28)
    with pytest.raises(
        UsageError, match=r"raised.onnx takes keypoints that skeleton 'hands28' has not: nose"
    ) as caught:
        OnnxActions(weights, other)
    assert "--no-actions" in str(caught.value)
    with pytest.raises(UsageError, match="28 keypoints"):
        build_actions(Config(actions=str(weights)), other)


def test_temperature_and_threshold_are_those_of_the_card(tmp_path):
    windows = [window.stream for window in windows_of(stream([body(UP)] * 20), 8, 8.0, 2)]
    plain = OnnxActions(raised_net(tmp_path / "1.onnx", COCO17.keypoints, WRIST), COCO17).classify(windows)
    warm = OnnxActions(raised_net(tmp_path / "2.onnx", COCO17.keypoints, WRIST, temperature=2.0), COCO17).classify(
        windows
    )
    np.testing.assert_allclose(warm, np.sqrt(plain) / np.sqrt(plain).sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(plain.sum(1), 1, rtol=1e-6)
    strict = OnnxActions(raised_net(tmp_path / "3.onnx", COCO17.keypoints, WRIST, temperature=50.0), COCO17)
    assert {span.label for span in strict.recognise(stream([body(UP)] * 20))} == {UNKNOWN}


def test_what_a_network_of_points_is_given(tmp_path):
    """Places in cells of the square about the keypoints, half a pixel for a cell's middle; scores, the least ones 0."""
    network = OnnxActions(raised_points_net(tmp_path / "net.onnx", COCO17.keypoints, WRIST), COCO17)
    seen = []
    network._engine.run = lambda rows: seen.append(rows) or [np.full((len(rows), 3), 1 / 3)]
    window = next(iter(windows_of(stream([body(UP)] * 20), 8, 8.0, 2))).stream
    score = np.full_like(window.score, 0.8)
    score[3, 5], score[:, 9] = 0.09, 0.1
    network.classify([replace(window, score=score)])
    (given,) = seen[0]
    assert given.shape == (8, 17, 3)
    assert given.dtype == np.float32
    known = np.where(score >= 0.1, score, 0)
    np.testing.assert_allclose(given[..., 2], known)
    x1, y1, x2, y2 = compact_box(window.xy, known)
    assert x2 - x1 == pytest.approx(y2 - y1, abs=1)
    scale = 16 / np.array([x2 - x1, y2 - y1])
    np.testing.assert_allclose(given[..., :2], (window.xy + 0.5 - (x1, y1)) * scale - 0.5, atol=1e-4)


@pytest.mark.parametrize("net", [raised_net, raised_points_net])
@pytest.mark.parametrize(
    ("card", "told"),
    [
        ({"kind": "sppe"}, "no action network"),
        ({"labels": []}, "no labels"),
        ({"labels": ["a", "a", "b"]}, "no labels"),
        ({"labels": ["a", "b"]}, "outputs of another shape"),
        ({"keypoints": ["nose"]}, "names 1 keypoints for an input of 17"),
        ({"frames": 9}, "says frames 9"),
        ({"cells": "middle"}, "bad cells"),
        ({"keypoint_score": 7}, "bad keypoint_score"),
        ({"window_s": -1}, "bad window_s"),
        ({"abstain": 1.5}, "bad abstain"),
        ({"temperature": "warm"}, "bad temperature"),
    ],
)
def test_cards_that_do_not_fit_are_refused(tmp_path, net, card, told):
    path = net(tmp_path / "net.onnx", COCO17.keypoints, WRIST, **card)
    with pytest.raises(WeightsError, match=told):
        OnnxActions(path, COCO17).recognise(stream([body(UP)] * 20))


def test_a_card_that_lacks_the_size_of_the_square_is_refused(tmp_path):
    """Maps have it, keypoints do not."""
    path = raised_points_net(tmp_path / "net.onnx", COCO17.keypoints, WRIST, size=None)
    with pytest.raises(WeightsError, match="bad size"):
        OnnxActions(path, COCO17)


def test_other_networks_and_files_are_refused(tmp_path):
    other = fixed_net(tmp_path / "other.onnx", {"fine": np.zeros(3)}, ["N", 3, 8, 8])
    with pytest.raises(WeightsError, match="no action network"):
        OnnxActions(other, COCO17)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(WeightsError, match="cannot be opened"):
        OnnxActions(tmp_path / "text.onnx", COCO17)
    with pytest.raises(WeightsError, match=r"cannot read missing\.onnx"):
        build_actions(Config(actions="missing.onnx"), COCO17)
    with pytest.raises(UsageError, match="unknown action network 'smal'"):
        build_actions(Config(actions="smal"), COCO17)
    assert build_actions(Config(actions="none"), COCO17) is None


def test_auto_is_nothing_for_other_keypoints():
    other = Skeleton("tail", ("tail",), (), (), (0.1,))
    assert build_actions(Config(actions="auto"), other) is None


def test_the_graph_is_a_sound_one(weights):
    onnx.checker.check_model(onnx.load(weights), full_check=True)
