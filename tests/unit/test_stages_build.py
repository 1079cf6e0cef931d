import numpy as np
import pytest
from tiny_nets import box_net, spot_net

from posepipe.config import Config
from posepipe.errors import InputError, UsageError, WeightsError
from posepipe.skeleton import Skeleton
from posepipe.stages import Detector, PoseEstimator, Tracker
from posepipe.stages.build import NoTracker, build_detector, build_pose, build_tracker
from posepipe.stages.detector import OnnxDetector
from posepipe.stages.detector_file import FileDetector
from posepipe.stages.one_stage import OneStage
from posepipe.stages.pose import HeatmapPose
from posepipe.tracking.bytetrack import ByteTrack
from posepipe.tracking.ocsort import OCSort
from posepipe.tracking.posesort import PoseSort
from posepipe.tracking.sort import Sort
from posepipe.types import Detections, Frame, Poses


class Finder(OneStage):
    """Finds one person at the place that pixel (0,0) says."""

    def __init__(self):
        super().__init__()
        self.looks = 0

    def find(self, frame):
        self.looks += 1
        x = float(frame.image[0, 0, 0])
        boxes = np.array([[x, 0, x + 20, 40]], np.float32)
        return Poses(np.full((1, 17, 2), x + 10), np.full((1, 17), 0.8), boxes, np.array([0.9]))


def frame(index, x=10):
    image = np.zeros((60, 90, 3), np.uint8)
    image[0, 0] = x
    return Frame(index, index / 25, image)


def test_onnx_files_and_box_files_by_path(tmp_path):
    box_net(tmp_path / "d.onnx", (32, 32), resize="stretch")
    spot_net(tmp_path / "p.onnx", (32, 24), decode="peaks")
    (tmp_path / "b.txt").write_text("1,-1,1,2,3,4,0.9\n")
    config = Config(detector=str(tmp_path / "d.onnx"), pose=str(tmp_path / "p.onnx"), device="cpu")
    assert isinstance(build_detector(config), OnnxDetector)
    assert isinstance(build_pose(config), HeatmapPose)
    assert isinstance(build_detector(Config(detector=str(tmp_path / "b.txt"))), FileDetector)


def test_the_embedded_networks_find_and_read_people():
    config = Config(device="cpu", threads=1)
    detector, pose = build_detector(config), build_pose(config)
    assert isinstance(detector, Detector)
    assert isinstance(pose, PoseEstimator)
    grey = Frame(0, 0.0, np.full((90, 160, 3), 127, np.uint8))
    assert len(detector.detect(grey)) == 0
    out = pose.estimate([grey], [Detections(np.array([[10, 10, 60, 80]]), np.array([0.9]))])[0]
    assert out.xy.shape == (1, 17, 2)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"detector": "smal"}, "Did you mean 'small'"),
        ({"detector": "yolo:"}, "yolo:FILE"),
        ({"detector": "yolov8n.pt"}, "yolo:FILE"),
        ({"detector": ""}, "one of small"),
    ],
)
def test_unknown_detectors_list_the_choices(setting, told):
    with pytest.raises(UsageError) as caught:
        build_detector(Config(**setting))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"detector": "yolox-nanno"}, "Did you mean 'yolox-nano'"),
        ({"detector": "yolox-nano"}, "Fetch it with: posepipe models fetch yolox-nano"),
        ({"detector": "ssdlite320_mobilenet_v3_large"}, "models fetch ssdlite320_mobilenet_v3_large"),
        ({"detector": "rtmpose-m"}, "Use it with --pose rtmpose-m"),
        ({"pose": "rtmpose-x"}, "'rtmpose-m'"),
        ({"pose": "rtmpose-m"}, "Fetch it with: posepipe models fetch rtmpose-m"),
        ({"pose": "vitpose-base"}, "Fetch it with: posepipe models fetch vitpose-base"),
        ({"pose": "yolox-nano"}, "Use it with --detector yolox-nano"),
        ({"pose": "keypointrcnn_resnet50_fpn"}, "--detector keypointrcnn_resnet50_fpn --pose detector"),
    ],
)
def test_public_weights_by_name(setting, told, tmp_path, monkeypatch):
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path))
    if "ssdlite" in setting.get("detector", ""):
        pytest.importorskip("torchvision")
    with pytest.raises((UsageError, WeightsError)) as caught:
        build_detector(Config(**setting)) if "detector" in setting else build_pose(Config(**setting))
    assert told in str(caught.value)


def test_no_network_is_touched_where_weights_were_not_fetched(tmp_path, monkeypatch):
    def connect(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("socket.getaddrinfo", connect)
    for name in ("yolox-s", "rtmdet-nano"):
        with pytest.raises(WeightsError, match="not fetched"):
            build_detector(Config(detector=name))
    assert list(tmp_path.iterdir()) == []


def test_unknown_poses_and_trackers():
    with pytest.raises(UsageError, match="Did you mean 'detector'"):
        build_pose(Config(pose="detectr"))
    with pytest.raises(UsageError, match="Did you mean 'sort'"):
        build_tracker(Config(tracker="sorts"))


@pytest.mark.parametrize(
    ("name", "kind"), [("posesort", PoseSort), ("sort", Sort), ("bytetrack", ByteTrack), ("ocsort", OCSort)]
)
def test_every_tracker_follows_a_person_with_the_settings_given(name, kind):
    tracker = build_tracker(Config(tracker=name, max_age=7))
    assert isinstance(tracker, kind)
    assert tracker.max_age == 7
    person = Poses.unseen(Detections(np.array([[10, 10, 40, 90]]), np.array([0.9])))
    ids = {int(tracker.update(person).track_id[0]) for _ in range(5)}
    assert ids == {1}


def test_posesort_is_the_default_and_takes_the_skeleton_of_the_poses():
    two = Skeleton("two", ("a", "b"), (("a", "b"),), (), (0.1, 0.1))
    tracker = build_tracker(Config(), two)
    assert isinstance(tracker, PoseSort)
    assert len(tracker.update(Poses.empty(two))) == 0


def test_files_that_are_not_there():
    with pytest.raises(InputError, match=r"none\.json"):
        build_detector(Config(detector="none.json"))
    with pytest.raises(WeightsError, match=r"none\.onnx"):
        build_detector(Config(detector="none.onnx"))
    with pytest.raises(WeightsError, match=r"none\.onnx"):
        build_pose(Config(pose="none.onnx"))
    with pytest.raises(WeightsError, match=r"none\.pt"):
        build_detector(Config(detector="yolo:none.pt"))


def test_a_detector_that_reads_keypoints_stands_in_for_both_stages(tmp_path):
    finder = Finder()
    assert build_pose(Config(pose="detector"), finder) is finder
    (tmp_path / "b.txt").write_text("1,-1,1,2,3,4,0.9\n")
    with pytest.raises(UsageError, match="gives keypoints"):
        build_pose(Config(pose="detector"), FileDetector(tmp_path / "b.txt"))
    with pytest.raises(UsageError, match="gives keypoints"):
        build_pose(Config(pose="detector"))


def test_a_one_stage_network_looks_once_at_a_frame():
    finder = Finder()
    assert isinstance(finder, Detector)
    assert isinstance(finder, PoseEstimator)
    frames = [frame(i, 10 + i) for i in range(5)]
    found = [finder.detect(f) for f in frames]
    poses = finder.estimate(frames, found)
    assert finder.looks == 5
    assert [float(p.xy[0, 0, 0]) for p in poses] == [20, 21, 22, 23, 24]
    assert all(np.array_equal(p.boxes, d.boxes) for p, d in zip(poses, found, strict=True))


def test_a_one_stage_network_does_not_take_another_video_for_its_own():
    finder = Finder()
    finder.detect(frame(3, x=10))
    other = frame(3, x=40)
    pose = finder.estimate([other], [Detections(np.array([[41, 0, 60, 40]]), np.array([0.7]))])[0]
    assert finder.looks == 2
    assert pose.xy[0, 0, 0] == 50
    assert pose.boxes.tolist() == [[41, 0, 60, 40]]
    assert pose.box_score[0] == np.float32(0.7)


def test_a_one_stage_network_gives_missing_keypoints_where_it_sees_nobody():
    finder = Finder()
    wanted = Detections(np.array([[60, 10, 80, 50], [12, 0, 30, 40]]), np.array([0.7, 0.6]))
    pose = finder.estimate([frame(0)], [wanted])[0]
    assert (pose.score[0] == 0).all()
    assert (pose.score[1] == np.float32(0.8)).all()
    assert len(finder.estimate([frame(0)], [Detections()])[0]) == 0


def test_trackers():
    tracker = build_tracker(Config(tracker="none"))
    assert isinstance(tracker, NoTracker)
    assert isinstance(tracker, Tracker)
    three = Poses.unseen(Detections(np.array([[0, 0, 9, 9]] * 3), np.ones(3)))
    assert tracker.update(three).track_id.tolist() == [1, 2, 3]
    assert tracker.update(Poses.empty()).track_id.tolist() == []
    assert tracker.update(three).track_id.tolist() == [4, 5, 6]
    assert tracker.update(three).confirmed.all()
    tracker.reset()
    assert tracker.update(three).track_id.tolist() == [1, 2, 3]
