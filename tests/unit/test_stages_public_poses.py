from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from tiny_nets import fixed_net, save, spot_net

from posepipe.config import Config, data_root
from posepipe.errors import MissingExtraError, UsageError, WeightsError
from posepipe.geometry import affine_points, crop_affine, invert_affine
from posepipe.io.download import fetch
from posepipe.io.zoo import public_weights
from posepipe.skeleton import COCO17
from posepipe.stages import PoseEstimator
from posepipe.stages.build import build_pose
from posepipe.stages.engine import Engine
from posepipe.stages.pose import HeatmapPose
from posepipe.stages.pose_simcc import SimccPose, decode_simcc
from posepipe.types import Detections, Frame

HEIGHT, WIDTH = 256, 192
BOX = np.array([40.0, 30.0, 190.0, 260.0], np.float32)


def person(*boxes):
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32))


def answers(bins, peak=0.8):
    """Bins (17,2) x, y -> simcc_x (17,384), simcc_y (17,512) with `peak` there."""
    across, down = np.zeros((17, 2 * WIDTH), np.float32), np.zeros((17, 2 * HEIGHT), np.float32)
    across[np.arange(17), bins[:, 0]] = peak
    down[np.arange(17), bins[:, 1]] = peak + 0.1
    return {"simcc_x": across, "simcc_y": down}


def simcc(path, outputs, batch="N", **settings):
    return SimccPose(Engine(fixed_net(path, outputs, [batch, 3, HEIGHT, WIDTH]), device="cpu"), **settings)


def looking_net(path: Path) -> Path:
    """A SimCC network that sees: the brightest column and row, at a split ratio of 2, for every keypoint."""
    node = helper.make_node
    nodes = [node("ReduceMean", ["image"], ["grey"], axes=[1], keepdims=0)]
    for name, axis in (("simcc_x", 1), ("simcc_y", 2)):
        nodes += [
            node("ReduceMax", ["grey"], [f"{name}_line"], axes=[axis], keepdims=1 if axis == 1 else 0),
            node("Reshape", [f"{name}_line", f"{name}_flat"], [f"{name}_row"]),
            node("Resize", [f"{name}_row", "", "twice"], [f"{name}_bins"], mode="nearest", nearest_mode="floor"),
            node("Mul", [f"{name}_bins", f"{name}_first"], [f"{name}_even"]),
            node("Concat", [f"{name}_even"] * 17, [name], axis=1),
        ]
    first = {
        f"{n}_first": (np.arange(b) % 2 == 0).astype(np.float32) * 0.1 for n, b in (("simcc_x", 384), ("simcc_y", 512))
    }
    constants = {"twice": np.array([1, 1, 2], np.float32), **first}
    constants |= {"simcc_x_flat": np.array([0, 1, WIDTH]), "simcc_y_flat": np.array([0, 1, HEIGHT])}
    return save(path, nodes, constants, ["N", 3, HEIGHT, WIDTH], {"simcc_x": 3, "simcc_y": 3})


def test_a_known_answer_is_placed_in_the_picture(tmp_path):
    rng = np.random.default_rng(0)
    bins = np.stack([rng.integers(0, 384, 17), rng.integers(0, 512, 17)], 1)
    pose = simcc(tmp_path / "s.onnx", answers(bins))
    assert isinstance(pose, PoseEstimator)
    frame = Frame(0, 0.0, np.zeros((300, 240, 3), np.uint8))
    out = pose.estimate([frame], [person(BOX)])[0]
    # Bin m lies at m / 2 px of the crop (mmpose, SimCCLabel, split ratio 2); the box is padded by 1.25.
    expected = affine_points(invert_affine(crop_affine(BOX[None], (HEIGHT, WIDTH), 1.25)[0]), bins / 2)
    assert np.allclose(out.xy[0], expected, atol=1e-3)
    assert np.allclose(out.score, 0.8)


def test_decoding_by_hand():
    across, down = np.zeros((1, 3, 8)), np.zeros((1, 3, 6))
    across[0, 0, 5], down[0, 0, 2] = 0.4, 0.7
    across[0, 1, 3], down[0, 1, 1] = 3.0, 1.5
    across[0, 2, 4], down[0, 2, 1] = 0.9, np.nan
    xy, score = decode_simcc(across, down)
    assert xy[0, :2].tolist() == [[5, 2], [3, 1]]
    assert np.allclose(score[0], [0.4, 1.0, 0.0])
    assert np.isfinite(xy).all()
    _, low = decode_simcc(across - 9, np.nan_to_num(down) - 9)
    assert (low == 0).all()


@pytest.mark.parametrize("flip", [False, True])
def test_a_network_that_looks_finds_a_spot(tmp_path, flip):
    pose = SimccPose(Engine(looking_net(tmp_path / "l.onnx"), device="cpu"), flip=flip)
    image = np.zeros((300, 240, 3), np.uint8)
    image[138:143, 98:103] = 255
    image[140, 100] = 255
    out = pose.estimate([Frame(0, 0.0, image)], [person(BOX)])[0]
    # A crop px is 0.9 px of the picture here, and the spot is five px wide.
    assert np.abs(out.xy[0] - [100, 140]).max() < 3
    assert len(pose.estimate([Frame(0, 0.0, image)], [Detections()])[0]) == 0


def test_people_do_not_depend_on_their_batch(tmp_path):
    pose = SimccPose(Engine(looking_net(tmp_path / "l.onnx"), device="cpu"), batch=2)
    rng = np.random.default_rng(1)
    frame = Frame(0, 0.0, rng.integers(0, 256, (300, 240, 3), np.uint8))
    boxes = [np.add(BOX, [s, s, 0, 0]) for s in range(0, 25, 5)]
    together = pose.estimate([frame], [person(*boxes)])[0]
    alone = [pose.estimate([frame], [person(box)])[0] for box in boxes]
    assert np.array_equal(together.xy, np.concatenate([one.xy for one in alone]))


def test_networks_that_are_no_simcc(tmp_path):
    good = answers(np.zeros((17, 2), int))
    with pytest.raises(WeightsError, match="17 keypoints of coco17"):
        simcc(tmp_path / "a.onnx", {name: value[:16] for name, value in good.items()})
    with pytest.raises(WeightsError, match="different width and height"):
        simcc(tmp_path / "b.onnx", good | {"simcc_x": good["simcc_x"][:, :300]})


def test_the_form_of_a_graph_tells_what_it_is(tmp_path):
    looking_net(tmp_path / "l.onnx")
    spot_net(tmp_path / "h.onnx", (64, 48))
    simcc_pose = build_pose(Config(pose=str(tmp_path / "l.onnx"), device="cpu", flip_test=True))
    assert isinstance(simcc_pose, SimccPose)
    assert "flip test" in simcc_pose.description
    maps = build_pose(Config(pose=str(tmp_path / "h.onnx"), device="cpu"))
    assert isinstance(maps, HeatmapPose)
    assert not isinstance(maps, SimccPose)


@pytest.mark.parametrize(
    ("name", "kind"), [("rtmpose-t", SimccPose), ("tinypose-256x192", HeatmapPose), ("vitpose-base", HeatmapPose)]
)
def test_public_names_find_what_was_fetched(tmp_path, monkeypatch, name, kind):
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    if name.startswith("vitpose"):
        pytest.importorskip("torch")
        pytest.importorskip("safetensors")
        file = Path(__file__).parents[2] / "models/sppe_small/sppe_small.safetensors"
    elif kind is SimccPose:
        file = looking_net(tmp_path / "a.onnx")
    else:
        file = spot_net(tmp_path / "a.onnx", (HEIGHT, WIDTH))
    fetch(public_weights()[name], str(file), pin=True)
    pose = build_pose(Config(pose=name, device="cpu", threads=1))
    assert type(pose) is kind
    assert pose.weights == public_weights()[name].path


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A heatmap network of OpenVINO, and the ONNX file that it was made from."""
    openvino = pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("openvino")
    onnx = spot_net(folder / "spot.onnx", (64, 48), batch=1)
    openvino.save_model(openvino.convert_model(onnx), folder / "spot.xml", compress_to_fp16=False)
    return folder / "spot.xml"


def test_openvino_gives_what_onnx_gives(graph):
    config = {"device": "cpu", "threads": 1}
    ours, theirs = (build_pose(Config(pose=str(graph.with_suffix(s)), **config)) for s in (".xml", ".onnx"))
    assert ours.weights == graph.with_suffix(".bin")
    assert ours.description.startswith("OpenVINO ")
    image = np.zeros((120, 100, 3), np.uint8)
    image[50:70, 40:60] = 200
    people = person([10, 10, 90, 110], [20, 30, 80, 100])
    frame = Frame(0, 0.0, image)
    a, b = (pose.estimate([frame], [people])[0] for pose in (ours, theirs))
    assert np.allclose(a.xy, b.xy, atol=0.02)
    assert np.allclose(a.score, b.score, atol=1e-3)


def test_openvino_files_that_cannot_be_used(graph, tmp_path):
    with pytest.raises(UsageError, match="--device cpu"):
        build_pose(Config(pose=str(graph), device="cuda"))
    with pytest.raises(WeightsError, match=r"none\.xml"):
        build_pose(Config(pose=str(tmp_path / "none.xml")))
    (tmp_path / "alone.xml").write_bytes(graph.read_bytes())
    with pytest.raises(WeightsError, match=r"alone\.bin.*lie together"):
        build_pose(Config(pose=str(tmp_path / "alone.xml")))
    for name, text in {"text": b"no graph", "cut": graph.read_bytes()[:900], "empty": b""}.items():
        (tmp_path / f"{name}.xml").write_bytes(text)
        (tmp_path / f"{name}.bin").write_bytes(graph.with_suffix(".bin").read_bytes())
        with pytest.raises(WeightsError, match=rf"{name}\.xml cannot be opened"):
            build_pose(Config(pose=str(tmp_path / f"{name}.xml")))


def test_openvino_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"posepipe\[openvino\]"):
        build_pose(Config(pose="net.xml"))


@pytest.mark.skipif(
    not (data_root() / "baselines/tinypose_256x192.xml").is_file(),
    reason="POSEPIPE_DATA has no baselines/tinypose_256x192.xml",
)
def test_the_real_tinypose_reads_the_people_of_photographs():
    pytest.importorskip("openvino")
    import json

    import cv2

    from posepipe.evaluation.keypoints import AREA_SHARE, paired_oks

    pose = build_pose(Config(pose=str(data_root() / "baselines/tinypose_256x192.xml"), device="cpu", threads=1))
    coco = data_root() / "coco-mini"
    labels = json.loads((coco / "annotations/person_keypoints_test.json").read_text("utf-8"))
    names = {row["id"]: row["file_name"] for row in labels["images"]}
    rows = [row for row in labels["annotations"] if row["num_keypoints"] > 12 and not row["iscrowd"]][:10]
    oks = []
    for row in rows:
        picture = cv2.imread(str(coco / "images" / names[row["image_id"]]), cv2.IMREAD_COLOR_RGB)
        x, y, width, height = row["bbox"]
        found = pose.estimate([Frame(0, 0.0, np.asarray(picture, np.uint8))], [person([x, y, x + width, y + height])])
        truth = np.array(row["keypoints"], float).reshape(1, -1, 3)
        area = np.array([AREA_SHARE * width * height])
        oks.append(paired_oks(truth[..., :2], truth[..., 2], area, found[0].xy, COCO17)[0])
    assert np.mean(oks) > 0.8
