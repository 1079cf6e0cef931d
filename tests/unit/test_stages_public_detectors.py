from __future__ import annotations

import numpy as np
import pytest
from tiny_nets import fixed_net

from posepipe.config import Config, data_root
from posepipe.errors import UsageError, WeightsError
from posepipe.io.download import fetch
from posepipe.io.zoo import public_weights
from posepipe.stages import Detector
from posepipe.stages.build import build_detector
from posepipe.stages.detector_rtmdet import RtmDetector
from posepipe.stages.detector_yolox import YoloxDetector
from posepipe.stages.engine import Engine
from posepipe.types import Frame

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2


def frame(height=SIDE, width=SIDE):
    return Frame(0, 0.0, np.full((height, width, 3), 90, np.uint8))


def yolox_rows(classes=80, **people):
    """Raw rows with one person a cell: cell number -> (x, y in cells, width, height px, objectness, class score)."""
    rows = np.full((CELLS, 5 + classes), -9.0, np.float32)
    rows[:, 4:] = 0
    for cell, (x, y, width, height, there, person, stride) in people.items():
        rows[int(cell[1:]), :6] = [x, y, np.log(width / stride), np.log(height / stride), there, person]
    return rows


def yolox(path, rows, **settings):
    return YoloxDetector(Engine(fixed_net(path, {"output": rows}, [1, 3, SIDE, SIDE]), device="cpu"), **settings)


def test_yolox_rows_are_read_by_hand(tmp_path):
    # Cell 10 of the finest level is column 2, row 1; cell 64 is the first of the second level, 80 of the third.
    people = {
        "c10": (0.5, 0.25, 16, 24, 0.9, 0.8, 8),
        "c69": (0.5, 0.5, 30, 20, 0.8, 0.9, 16),
        "c83": (0.0, 0.0, 40, 40, 0.9, 0.3, 32),
    }
    detector = yolox(tmp_path / "y.onnx", yolox_rows(**people), score=0.4)
    assert isinstance(detector, Detector)
    found = detector.detect(frame())
    # Centres (2.5, 1.25) * 8 and (1.5, 1.5) * 16; the third is below the score.
    assert np.allclose(found.boxes, [[12, 0, 28, 22], [9, 14, 39, 34]], atol=1e-4)
    assert np.allclose(found.score, [0.72, 0.72])
    # A picture twice as wide lies in the upper half, at half its size.
    assert np.allclose(detector.detect(frame(64, 128)).boxes, [[24, 0, 56, 44], [18, 28, 78, 64]], atol=1e-4)


def test_yolox_merges_boxes_of_one_person(tmp_path):
    people = {"c10": (0.5, 1.25, 16, 16, 0.9, 0.9, 8), "c11": (-0.5, 1.25, 17, 16, 0.9, 0.8, 8)}
    assert len(yolox(tmp_path / "y.onnx", yolox_rows(1, **people)).detect(frame())) == 1


def test_yolox_survives_absurd_answers(tmp_path):
    rows = yolox_rows()
    rows[:, 2:4] = 1e30
    rows[:, 4:6] = 1
    rows[5] = np.nan
    found = yolox(tmp_path / "y.onnx", rows).detect(frame())
    assert np.isfinite(found.boxes).all()


def test_networks_that_are_no_yolox(tmp_path):
    with pytest.raises(WeightsError, match="classes of COCO"):
        yolox(tmp_path / "a.onnx", np.zeros((CELLS, 5 + 20), np.float32))
    with pytest.raises(WeightsError, match="not a YOLOX of people"):
        yolox(tmp_path / "b.onnx", np.zeros((7, 85), np.float32))
    net = fixed_net(tmp_path / "c.onnx", {"output": np.zeros((CELLS, 85))}, [1, 3, "h", "w"])
    with pytest.raises(WeightsError, match="of a fixed size"):
        YoloxDetector(Engine(net, device="cpu"))


DETS = np.array([[4, 6, 20, 50, 0.9], [30, 6, 60, 50, 0.8], [5, 5, 25, 25, 0.7], [0, 0, 9, 9, 0.1]], np.float32)
LABELS = np.array([0, 0, 2, 0], np.float32)


def rtmdet(path, shape=(SIDE, SIDE), dets=DETS, labels=LABELS, **settings):
    net = fixed_net(path, {"dets": dets, "labels": labels}, [1, 3, *shape])
    return RtmDetector(Engine(net, device="cpu"), **settings)


def test_rtmdet_gives_people_only_and_in_the_pictures_px(tmp_path):
    detector = rtmdet(tmp_path / "r.onnx")
    assert isinstance(detector, Detector)
    assert detector.detect(frame()).boxes.tolist() == DETS[:2, :4].tolist()
    assert detector.detect(frame(128, 128)).boxes.tolist() == (2 * DETS[:2, :4]).tolist()


def test_rtmdet_sees_bgr_with_its_statistics(tmp_path, monkeypatch):
    seen = []
    detector = rtmdet(tmp_path / "r.onnx")
    run = detector._engine.run
    monkeypatch.setattr(detector._engine, "run", lambda pixels: seen.append(pixels) or run(pixels))
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[..., 0], image[..., 2] = 255, 10
    detector.detect(Frame(0, 0.0, image))
    expected = [(10 - 103.53) / 57.375, (0 - 116.28) / 57.12, (255 - 123.675) / 58.395]
    assert np.allclose(seen[0][0, :, 0, 0], expected, atol=1e-5)


def test_rtmdet_of_an_open_size_takes_the_published_one(tmp_path):
    path = tmp_path / "r.onnx"
    assert rtmdet(path, ("h", "w"), size=(32, 32)).detect(frame()).boxes.tolist() == [
        [8, 12, 40, 64],
        [60, 12, 64, 64],
    ]
    assert rtmdet(path, ("h", "w"))._size == (640, 640)


def test_networks_that_are_no_rtmdet(tmp_path):
    with pytest.raises(WeightsError, match="dets and labels"):
        RtmDetector(Engine(fixed_net(tmp_path / "a.onnx", {"boxes": DETS}, [1, 3, 8, 8]), device="cpu"))
    with pytest.raises(WeightsError, match=r"\(1, N, 5\)"):
        rtmdet(tmp_path / "b.onnx", dets=DETS[:, :4]).detect(frame())


def test_the_form_of_a_graph_tells_what_it_is(tmp_path):
    yolox(tmp_path / "y.onnx", yolox_rows())
    rtmdet(tmp_path / "r.onnx")
    config = {"device": "cpu", "threads": 1}
    assert isinstance(build_detector(Config(detector=str(tmp_path / "y.onnx"), **config)), YoloxDetector)
    assert isinstance(build_detector(Config(detector=f"yolox:{tmp_path / 'y.onnx'}", **config)), YoloxDetector)
    with pytest.raises(UsageError, match=r"rtmdet:.*r\.onnx or yolox:"):
        build_detector(Config(detector=str(tmp_path / "r.onnx"), **config))
    for family, mean in (("rtmdet", 103.53), ("yolox", 0)):
        detector = build_detector(Config(detector=f"{family}:{tmp_path / 'r.onnx'}", **config))
        assert isinstance(detector, RtmDetector)
        assert detector._mean[0] == np.float32(mean)


def test_a_public_name_finds_what_was_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    net = fixed_net(tmp_path / "r.onnx", {"dets": DETS, "labels": LABELS}, [1, 3, "h", "w"])
    fetch(public_weights()["rtmdet-nano"], str(net), pin=True)
    detector = build_detector(Config(detector="rtmdet-nano", device="cpu", threads=1))
    assert isinstance(detector, RtmDetector)
    assert detector._size == (320, 320)


@pytest.mark.skipif(
    not (data_root() / "baselines/yolox_nano.onnx").is_file(), reason="POSEPIPE_DATA has no baselines/yolox_nano.onnx"
)
def test_the_real_yolox_nano_is_as_good_as_its_reference(tmp_path, monkeypatch):
    pytest.importorskip("pycocotools")
    import json

    import cv2

    from posepipe.evaluation.detection import average_precision

    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path))
    fetch(public_weights()["yolox-nano"], str(data_root() / "baselines/yolox_nano.onnx"), pin=True)
    settings = {"detector_score": 0.01, "max_people": 100, "device": "cpu", "threads": 1}
    detector = build_detector(Config(detector="yolox-nano", **settings))
    coco, found = data_root() / "coco-mini", {}
    labels = json.loads((coco / "annotations/person_boxes_test.json").read_text("utf-8"))
    for row in labels["images"]:
        picture = cv2.imread(str(coco / "images" / row["file_name"]), cv2.IMREAD_COLOR_RGB)
        people = detector.detect(Frame(0, 0.0, np.asarray(picture, np.uint8)))
        found[row["id"]] = (people.boxes, people.score)
    # eval/accuracy_detector.py reads this file by code of its own: AP .403.
    assert average_precision(labels, found).ap == pytest.approx(0.403, abs=0.002)
