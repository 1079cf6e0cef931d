"""OpenVINO models as torch modules: equal to OpenVINO itself, on whole networks and on batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")
openvino = pytest.importorskip("openvino", reason="needs the bench extra")

from openvino import opset13 as ops

from posepipe.config import data_root
from posepipe.errors import WeightsError
from posepipe.models.openvino_graph import OpenVinoNetwork


def compiled(path: Path) -> openvino.CompiledModel:
    # On some processors OpenVINO computes in bfloat16 unless it is told not to.
    return openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def small_network() -> openvino.Model:
    """Every known operation once, with weights at random."""
    rng = np.random.default_rng(0)
    image = ops.parameter([1, 3, 32, 24], np.float32, name="image")

    def constant(*shape: int) -> openvino.Node:
        return ops.constant(rng.normal(0, 0.3, shape).astype(np.float16))

    def weights(*shape: int) -> openvino.Node:
        return ops.convert(constant(*shape), "f32")

    x = ops.convolution(image, weights(8, 3, 3, 3), [2, 2], [1, 1], [1, 1], [1, 1])
    x = ops.relu(ops.add(x, weights(1, 8, 1, 1)))
    left, right = ops.split(x, 1, 2).outputs()
    left = ops.group_convolution(left, weights(4, 1, 1, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])
    right = ops.multiply(right, ops.sigmoid(right))
    x = ops.concat([left, right], 1)
    x = ops.reshape(x, ops.constant([0, 2, 4, 16, 12]), special_zero=True)
    x = ops.reshape(ops.transpose(x, ops.constant([0, 2, 1, 3, 4])), ops.constant([0, 8, 16, 12]), special_zero=True)
    scales, axes = ops.constant(np.array([2, 2], np.float32)), ops.constant([2, 3])
    sizes = ops.constant([32, 24])
    near = ops.interpolate(x, scales, "nearest", "scales", axes=axes, nearest_mode="floor",
                           coordinate_transformation_mode="asymmetric")  # fmt: skip
    wide = ops.interpolate(x, sizes, "linear_onnx", "sizes", axes=axes,
                           coordinate_transformation_mode="align_corners")  # fmt: skip
    return openvino.Model([ops.add(near, wide)], [image], "small")


def test_every_operation_is_that_of_openvino_on_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "small.xml"
    openvino.save_model(small_network(), path, compress_to_fp16=False)
    network = OpenVinoNetwork(path).eval()
    assert network.size == (32, 24)
    image = torch.rand(3, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    model = compiled(path)
    expected = np.concatenate([model([one[None].numpy()])[0] for one in image])
    assert expected.std() > 0.1
    with torch.no_grad():
        np.testing.assert_allclose(network(image).numpy(), expected, atol=1e-5)


def test_tinypose_is_that_of_openvino() -> None:
    path = data_root() / "baselines/tinypose_256x192.xml"
    if not path.is_file():
        pytest.skip("POSEPIPE_DATA has no baselines")
    network = OpenVinoNetwork(path).eval()
    assert sum(buffer.numel() for buffer in network.buffers()) == 1_300_177
    image = torch.randn(1, 3, *network.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = network(image).numpy()
    np.testing.assert_allclose(found, compiled(path)([image.numpy()])[0], atol=1e-5)
    assert found.max() > 0.05


def test_what_is_no_model_or_not_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.xml"
    with pytest.raises(WeightsError, match=r"net\.xml"):
        OpenVinoNetwork(path)
    path.with_suffix(".bin").write_bytes(b"")
    for text in ("", "<net", "<net/>", "<net><layers><layer id='0' type='Result'/></layers></net>"):
        path.write_text(text)
        with pytest.raises(WeightsError, match=r"net\.xml"):
            OpenVinoNetwork(path)
    ports = "<input><port id='0'/></input><output><port id='1'/></output>"
    layers = f"<layer id='0' type='ReLU'>{ports}</layer><layer id='1' type='Result'>{ports}</layer>"
    edges = "".join(f"<edge from-layer='0' from-port='1' to-layer='{to}' to-port='0'/>" for to in (0, 1))
    path.write_text(f"<net><layers>{layers}</layers><edges>{edges}</edges></net>")
    with pytest.raises(WeightsError, match="needs its own output"):
        OpenVinoNetwork(path)
    image = ops.parameter([1, 3, 8, 8], np.float32)
    openvino.save_model(openvino.Model([ops.elu(image, 1.0)], [image], "elu"), path)
    with pytest.raises(WeightsError, match="Elu is not known"):
        OpenVinoNetwork(path)
