"""Torch checkpoints as the pose network of a run."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")
pytest.importorskip("torchvision", reason="needs the torch extra")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs the train extra")

from posepipe.config import Config
from posepipe.errors import UsageError, WeightsError
from posepipe.geometry import affine_points, crop_affine, invert_affine
from posepipe.heatmaps import decode_posterior, oks_kernel_sigmas
from posepipe.models.pose_checkpoints import pose_card
from posepipe.models.pose_networks import pose_network
from posepipe.skeleton import COCO17
from posepipe.stages import PoseEstimator
from posepipe.stages.build import build_pose
from posepipe.stages.pixels import cut_person
from posepipe.stages.pose import open_pose
from posepipe.types import Detections, Frame

SIZE = (64, 64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small network whose maps vary, with a card of a small input."""
    torch.manual_seed(4)
    network = pose_network("sppe_small", 17, SIZE)
    with torch.no_grad():
        network.logits.conv.weight.mul_(30)
    path = tmp_path_factory.mktemp("weights") / "own.safetensors"
    card = pose_card("sppe_small", 17, SIZE, decode="posterior")
    safetensors_torch.save_file(network.state_dict(), path, {"posepipe": json.dumps(card)})
    return path, network.eval()


def scene(seed=0):
    rng = np.random.default_rng(seed)
    frames = [Frame(i, i / 25, rng.integers(0, 256, (120, 160, 3), np.uint8)) for i in range(4)]
    boxes = np.array([[10, 10, 60, 100], [70, 20, 150, 110], [30, 5, 90, 60]], np.float32)
    found = [Detections(boxes[: i % 4], np.full(i % 4, 0.9, np.float32)) for i in range(4)]
    return frames, found


def test_keypoints_are_those_of_the_network(checkpoint):
    path, network = checkpoint
    pose = open_pose(path, device="cpu", threads=1)
    assert isinstance(pose, PoseEstimator)
    assert "torch" in pose.description
    assert "sppe_small" in pose.description
    frames, found = scene()
    got = pose.estimate(frames, found)
    for frame, people, poses in zip(frames, found, got, strict=True):
        for row, box in enumerate(people.boxes):
            matrix = crop_affine(box[None], SIZE, 1.25)[0]
            crop = cut_person(frame.image, matrix, SIZE).astype(np.float32).transpose(2, 0, 1)[None]
            with torch.no_grad():
                maps = network(torch.from_numpy(crop)).flatten(2).softmax(-1).reshape(1, 17, 16, 16).numpy()
            kernels = oks_kernel_sigmas(np.array(COCO17.sigmas), SIZE, 4, 1.25)
            cells, score = decode_posterior(maps, kernels)
            want = affine_points(invert_affine(matrix), cells[0].astype(float) * 4 + 1.5)
            np.testing.assert_allclose(poses.xy[row], want, atol=0.02)
            np.testing.assert_allclose(poses.score[row], score[0], atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_results_do_not_depend_on_how_frames_are_grouped(checkpoint, flip):
    frames, found = scene(1)
    together = open_pose(checkpoint[0], device="cpu", batch=8, flip=flip).estimate(frames, found)
    alone = open_pose(checkpoint[0], device="cpu", batch=2, flip=flip)
    for frame, people, want in zip(frames, found, together, strict=True):
        got = alone.estimate([frame], [people])[0]
        assert np.array_equal(got.xy, want.xy)
        assert np.array_equal(got.score, want.score)


def test_threads_and_gradients_are_left_alone(checkpoint):
    before = torch.get_num_threads()
    frames, found = scene()
    open_pose(checkpoint[0], device="cpu", threads=1).estimate(frames, found)
    assert torch.get_num_threads() == before
    assert torch.is_grad_enabled()


def test_the_configuration_names_it(checkpoint):
    frames, found = scene()
    pose = build_pose(Config(pose=str(checkpoint[0]), device="cpu", flip_test=True))
    assert "flip test" in pose.description
    plain = build_pose(Config(pose=str(checkpoint[0]), device="cpu")).estimate(frames, found)
    assert not np.array_equal(pose.estimate(frames, found)[1].xy, plain[1].xy)


@pytest.mark.parametrize("size", [[64], "big", [0, 64], [64.0, 64], [1 << 20, 64]])
def test_sizes_that_cannot_be(tmp_path, checkpoint, size):
    card = json.dumps({"input_size": size})
    safetensors_torch.save_file(checkpoint[1].state_dict(), tmp_path / "a.safetensors", {"posepipe": card})
    with pytest.raises(WeightsError, match="input_size"):
        open_pose(tmp_path / "a.safetensors", device="cpu")


@pytest.mark.parametrize(("size", "match"), [([50, 64], "cannot be run|does not give"), ([32, 32], None)])
def test_sizes_that_do_not_fit(tmp_path, checkpoint, size, match):
    card = json.dumps({"input_size": size, "decode": "posterior"})
    safetensors_torch.save_file(checkpoint[1].state_dict(), tmp_path / "a.safetensors", {"posepipe": card})
    if match is None:
        open_pose(tmp_path / "a.safetensors", device="cpu")
    else:
        with pytest.raises(WeightsError, match=match):
            open_pose(tmp_path / "a.safetensors", device="cpu")


def test_another_number_of_keypoints(tmp_path):
    network = pose_network("sppe_small", 14)
    safetensors_torch.save_file(network.state_dict(), tmp_path / "mpii.safetensors")
    with pytest.raises(WeightsError, match="17 keypoints"):
        open_pose(tmp_path / "mpii.safetensors", device="cpu")


def test_cuda_that_is_not_there(checkpoint):
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    with pytest.raises(UsageError, match="cuda"):
        open_pose(checkpoint[0], device="cuda")


def test_without_a_package_the_extra_is_named(checkpoint):
    """In a process of its own: here all of them are loaded already."""
    program = f"""
import sys
from posepipe.errors import MissingExtraError
from posepipe.stages.pose import open_pose
for package in ("torch", "torchvision", "safetensors"):
    sys.modules[package] = None
    try:
        open_pose({str(checkpoint[0])!r}, device="cpu")
    except MissingExtraError as error:
        print(package, error)
    del sys.modules[package]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["torch", "torchvision", "safetensors"], done.stderr[-800:]
    assert all("posepipe[torch]" in line for line in lines)
