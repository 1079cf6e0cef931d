"""From weights to ONNX and to the pose stage: the same maps and the same keypoints, for every network."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs the train extra")
pytest.importorskip("onnxscript", reason="needs the train extra")

import onnxruntime
from pose_nets import fill, pictures, size_of

from posepipe.errors import WeightsError
from posepipe.io.weights import read_card
from posepipe.models.pose_checkpoints import pose_card
from posepipe.models.pose_networks import POSE_NETWORKS, pose_network
from posepipe.models.sppe import PosteriorExport
from posepipe.stages.pose import open_pose
from posepipe.training.export import export_network, export_pose
from posepipe.types import Detections, Frame


def card_of(name, size):
    """Networks take turns at the ways of reading."""
    decode = ("posterior", "dark", "quarter")[POSE_NETWORKS.index(name) % 3]
    cells = ("centre", "corner", "aligned")[POSE_NETWORKS.index(name) % 3]
    return pose_card(name, 17, size, decode=decode, cells=cells) | {"name": name, "version": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("name", POSE_NETWORKS)
def test_onnx_gives_the_maps_and_the_keypoints_of_torch(tmp_path, name):
    size = size_of(name)
    network, card = fill(pose_network(name, 17, size)), card_of(name, size)
    weights, onnx = tmp_path / "net.safetensors", tmp_path / "net.onnx"
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors_torch.save_file(state, weights, {"posepipe": json.dumps(card)})
    export_network(network, card, onnx)

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    torch_maps = PosteriorExport(network).eval() if card["decode"] == "posterior" else network
    for count in (1, 3):
        with torch.no_grad():
            want = torch_maps(pictures(count, size)).numpy()
        got = session.run(["heatmaps"], {"image": pictures(count, size).numpy()})[0]
        assert want.std() > 0
        np.testing.assert_allclose(got, want, atol=1e-4 * float(np.abs(want).max()))

    rng = np.random.default_rng(6)
    frame = Frame(0, 0.0, rng.integers(0, 256, (90, 120, 3), np.uint8))
    people = Detections(np.array([[5, 5, 60, 80], [30, 10, 118, 88]], np.float32), np.ones(2, np.float32))
    by_torch, by_onnx = (open_pose(path, device="cpu").estimate([frame], [people])[0] for path in (weights, onnx))
    near = np.abs(by_torch.xy - by_onnx.xy).max(-1) <= 0.05
    # On noise two cells may tie to the last bit; elsewhere every keypoint is the same.
    assert near.mean() > 0.95
    np.testing.assert_allclose(by_torch.score, by_onnx.score, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("decode", [None, "dark"])
def test_a_file_of_weights_becomes_a_file_that_runs(tmp_path, decode):
    weights, onnx = tmp_path / "mine.safetensors", tmp_path / "deep" / "mine.onnx"
    safetensors_torch.save_file(fill(pose_network("sppe_small")).state_dict(), weights)
    export_pose(weights, onnx, name="mine", version="2", trained_on=["COCO"], licence="MIT", decode=decode)
    card = read_card(onnx)
    assert (card.name, card.kind, card.version, card.licence) == ("mine", "sppe", "2", "MIT")
    assert card.input_size == (256, 192)
    assert card.values["trained_on"] == ["COCO"]
    assert card.values["decode"] == (decode or "posterior")
    assert card.values["safetensors_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert ("kernel_sigmas" in card.values) == (decode is None)
    assert "mean" not in card.values
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    maps = session.run(None, {"image": np.zeros((1, 3, 256, 192), np.float32)})[0]
    assert np.allclose(maps.sum((2, 3)), 1, atol=1e-4) == (decode is None)


def test_nothing_is_written_for_a_foreign_file(tmp_path):
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "foreign.pth")
    with pytest.raises(WeightsError, match="no known pose network"):
        export_pose(tmp_path / "foreign.pth", tmp_path / "x.onnx", name="x", version="1", trained_on=[], licence="MIT")
    assert not (tmp_path / "x.onnx").exists()
