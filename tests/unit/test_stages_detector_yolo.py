import os
import sys

import numpy as np
import pytest
from tiny_nets import fixed_net

from posepipe.errors import MissingExtraError, WeightsError
from posepipe.stages import Detector, PoseEstimator
from posepipe.stages.detector_yolo import YoloDetector, YoloPose, open_yolo
from posepipe.types import Frame

NAMES = {"names": "{0: 'car', 1: 'person'}", "imgsz": "[64, 64]", "stride": "32", "task": "detect"}
POSE = {**NAMES, "names": "{0: 'person'}", "task": "pose", "kpt_shape": "[17, 3]"}


def blank(height, width):
    return Frame(0, 0.0, np.zeros((height, width, 3), np.uint8))


def net(path, rows, metadata, shape=("N", 3, 64, 64)):
    """An export whose output is ``rows``."""
    return fixed_net(path, {"output0": np.asarray(rows, np.float32)}, list(shape), metadata)


def raw(*rows):
    """Rows of centre, size and scores -> (C,A)."""
    return np.array(rows, np.float32).T


def test_people_come_back_to_the_picture_through_a_centred_letterbox(tmp_path):
    rows = raw([32, 32, 20, 40, 0.1, 0.8], [32, 32, 21, 40, 0.1, 0.7], [10, 30, 8, 8, 0.9, 0.5])
    detector = open_yolo(net(tmp_path / "y.onnx", rows, NAMES), device="cpu")
    assert isinstance(detector, Detector)
    assert not isinstance(detector, PoseEstimator)
    # 128 x 64: halved to 64 x 32, 16 rows of grey above.
    found = detector.detect(blank(64, 128))
    assert found.boxes.tolist() == [[44, 0, 84, 64]], "the car wins its box; two boxes of one person are merged"
    assert np.allclose(found.score, [0.8])


def test_merged_outputs_are_taken_as_they_are(tmp_path):
    rows = [[0, 0, 32, 64, 0.9, 1], [0, 0, 33, 64, 0.8, 1], [0, 0, 30, 30, 0.95, 0]]
    path = net(tmp_path / "y.onnx", rows, {**NAMES, "end2end": "True"})
    assert open_yolo(path, device="cpu").detect(blank(64, 64)).boxes.tolist() == [[0, 0, 32, 64], [0, 0, 33, 64]]
    path = net(tmp_path / "n.onnx", rows, {**NAMES, "args": "{'nms': True}"})
    assert len(open_yolo(path, device="cpu", max_people=1).detect(blank(64, 64))) == 1


def test_a_pose_network_fills_both_stages(tmp_path):
    joints = np.stack([np.linspace(20, 40, 17), np.linspace(16, 48, 17), np.linspace(0, 1, 17)], 1)
    rows = raw([32, 32, 20, 40, 0.8, *joints.ravel()])
    both = open_yolo(net(tmp_path / "y.onnx", rows, POSE), device="cpu")
    assert isinstance(both, YoloPose)
    assert isinstance(both, PoseEstimator)
    frame = blank(128, 128)
    found = both.detect(frame)
    pose = both.estimate([frame], [found])[0]
    assert np.allclose(pose.xy[0], joints[:, :2] * 2)
    assert np.allclose(pose.score[0], joints[:, 2])


def test_keypoints_without_scores_take_their_persons(tmp_path):
    rows = raw([32, 32, 20, 40, 0.8, *np.linspace(10, 50, 34)])
    both = open_yolo(net(tmp_path / "y.onnx", rows, {**POSE, "kpt_shape": "[17, 2]"}), device="cpu")
    assert np.allclose(both.find(blank(64, 64)).score, 0.8)


def test_other_keypoint_sets_give_boxes_only(tmp_path):
    rows = raw([32, 32, 20, 40, 0.8, *range(15)])
    detector = open_yolo(net(tmp_path / "y.onnx", rows, {**POSE, "kpt_shape": "[5, 3]"}), device="cpu")
    assert type(detector) is YoloDetector
    assert len(detector.detect(blank(64, 64))) == 1


def test_keypoints_that_are_not_finite_are_missing(tmp_path):
    joints = np.full(51, 0.5)
    joints[3:6] = np.nan
    both = open_yolo(net(tmp_path / "y.onnx", raw([32, 32, 20, 40, 0.8, *joints]), POSE), device="cpu")
    assert np.flatnonzero(both.find(blank(64, 64)).score[0] == 0).tolist() == [1]


def test_a_network_of_one_class_needs_no_name(tmp_path):
    path = net(tmp_path / "y.onnx", raw([32, 32, 20, 40, 0.8]), {**NAMES, "names": "{0: 'worker'}"})
    assert len(open_yolo(path, device="cpu").detect(blank(64, 64))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"names": "{0: 'car', 1: 'dog'}"},
        {"names": "__import__('os').system('true')"},
        {"names": "("},
        {"names": "7"},
        {"imgsz": "64"},
        {"task": "classify"},
        {"task": "obb"},
        {"kpt_shape": "[17, 9]"},
    ],
)
def test_exports_that_say_what_cannot_be_used(tmp_path, change):
    path = net(tmp_path / "y.onnx", raw([32, 32, 20, 40, 0.1, 0.8]), {**NAMES, **change})
    with pytest.raises(WeightsError, match=r"y\.onnx"):
        open_yolo(path, device="cpu")


def test_files_that_are_no_yolo(tmp_path):
    with pytest.raises(WeightsError, match="yolo export"):
        open_yolo(net(tmp_path / "y.onnx", raw([32, 32, 20, 40, 0.8]), {}), device="cpu")
    with pytest.raises(WeightsError, match="not downloaded"):
        open_yolo("yolo11n.pt")
    (tmp_path / "y.engine").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"\.pt or \.onnx"):
        open_yolo(tmp_path / "y.engine")
    detector = open_yolo(net(tmp_path / "few.onnx", raw([32, 32, 20]), NAMES), device="cpu")
    with pytest.raises(WeightsError, match="no YOLO boxes"):
        detector.detect(blank(64, 64))


@pytest.mark.parametrize("missing", ["torch", "ultralytics"])
def test_a_pt_file_without_the_extra_says_what_to_install(tmp_path, monkeypatch, missing):
    if missing == "ultralytics":
        pytest.importorskip("torch")
    for name in [n for n in sys.modules if n.split(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setitem(sys.modules, "ultralytics.nn.tasks", None)
    (tmp_path / "y.pt").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"posepipe\[yolo\]"):
        open_yolo(tmp_path / "y.pt", device="cpu")


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 3), (500, 640)])
@pytest.mark.parametrize("free", [True, False])
def test_any_picture_size(tmp_path, shape, free):
    size = ("N", 3, "H", "W") if free else ("N", 3, 64, 64)
    detector = open_yolo(net(tmp_path / "y.onnx", raw([32, 32, 64, 64, 0.1, 0.8]), NAMES, size), device="cpu")
    found = detector.detect(blank(*shape))
    assert (found.boxes <= [shape[1], shape[0]] * 2).all()
    assert os.environ.get("YOLO_OFFLINE") is None
