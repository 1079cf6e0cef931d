"""Public and own checkpoints: files of their form, written out here by their names and shapes, read by the key maps.

What the networks compute from them is compared with plain functions that work on the file's own names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")
torchvision = pytest.importorskip("torchvision", reason="needs the torch extra")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="needs the train extra")

from torch.nn import functional

from posepipe.errors import WeightsError
from posepipe.models.pose_checkpoints import load_pose_checkpoint, pose_card
from posepipe.models.pose_networks import pose_network
from posepipe.models.sppe import SppeSmall

IMAGENET = (np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255)
ALPHAPOSE = (np.array([0.406, 0.457, 0.480]) * 255, np.full(3, 255.0))


def drawn(shapes, seed=0):
    """Random tensors of these shapes, of a scale that keeps activations in reach."""
    generator = torch.Generator().manual_seed(seed)
    tensors = OrderedDict()
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator) if shape else torch.tensor(7)
        if len(shape) > 1:
            value = value / max(1, value[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            value = 1 + 0.1 * value.abs()
        elif name.endswith("weight"):
            value = 1 + 0.1 * value
        tensors[name] = value
    return tensors


def norm(name, channels):
    shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def resnet(layers, prefix):
    """Names and shapes of torchvision's ResNet, without its classifier."""
    state = torchvision.models.get_model(f"resnet{layers}", weights=None).state_dict()
    return {prefix + name: tuple(value.shape) for name, value in state.items() if not name.startswith("fc.")}


def deconvolutions(prefix, inputs, final, keypoints=17):
    shapes = {}
    for index in range(3):
        shapes[f"{prefix}{3 * index}.weight"] = (256 if index else inputs, 256, 4, 4)
        shapes |= norm(f"{prefix}{3 * index + 1}", 256)
    return shapes | {f"{final}.weight": (keypoints, 256, 1, 1), f"{final}.bias": (keypoints,)}


def fastpose(layers=50, channels=128, keypoints=17):
    shapes = resnet(layers, "preact.")
    for stage, width in enumerate((256, 512, 1024, 2048), start=1):
        for part in (0, 2):
            shapes[f"preact.layer{stage}.0.se.fc.{part}.weight"] = (width, width)
            shapes[f"preact.layer{stage}.0.se.fc.{part}.bias"] = (width,)
    for name, inputs, outputs in (("duc1", 512, 1024), ("duc2", 256, 4 * channels)):
        shapes[f"{name}.conv.weight"] = (outputs, inputs, 3, 3)
        shapes |= norm(f"{name}.bn", outputs)
    return shapes | {"conv_out.weight": (keypoints, channels, 3, 3), "conv_out.bias": (keypoints,)}


def simplepose():
    return resnet(50, "preact.") | deconvolutions("deconv_layers.", 2048, "final_layer")


def simplebaseline(layers, head="head"):
    inputs = 512 if layers == 18 else 2048
    return resnet(layers, "backbone.") | deconvolutions(f"{head}.deconv_layers.", inputs, f"{head}.final_layer")


def vitpose(simple=False, width=384, depth=2, places=12):
    shapes = {
        "backbone.embeddings.position_embeddings": (1, places + 1, width),
        "backbone.embeddings.patch_embeddings.projection.weight": (width, 3, 16, 16),
        "backbone.embeddings.patch_embeddings.projection.bias": (width,),
    }
    for index in range(depth):
        layer = f"backbone.encoder.layer.{index}"
        parts = [f"attention.attention.{part}" for part in ("query", "key", "value")] + ["attention.output.dense"]
        shapes |= {f"{layer}.{part}.weight": (width, width) for part in parts}
        shapes |= {f"{layer}.{part}.bias": (width,) for part in parts}
        shapes |= {f"{layer}.mlp.fc1.weight": (4 * width, width), f"{layer}.mlp.fc1.bias": (4 * width,)}
        shapes |= {f"{layer}.mlp.fc2.weight": (width, 4 * width), f"{layer}.mlp.fc2.bias": (width,)}
        for part in ("layernorm_before", "layernorm_after"):
            shapes |= {f"{layer}.{part}.weight": (width,), f"{layer}.{part}.bias": (width,)}
    shapes |= {"backbone.layernorm.weight": (width,), "backbone.layernorm.bias": (width,)}
    if simple:
        return shapes | {"head.conv.weight": (17, width, 3, 3), "head.conv.bias": (17,)}
    shapes |= {"head.deconv1.weight": (width, 256, 4, 4), "head.deconv2.weight": (256, 256, 4, 4)}
    shapes |= norm("head.batchnorm1", 256) | norm("head.batchnorm2", 256)
    return shapes | {"head.conv.weight": (17, 256, 1, 1), "head.conv.bias": (17,)}


class Reference:
    """Plain functions on a file's tensors."""

    def __init__(self, tensors):
        self.t = tensors

    def norm(self, x, name):
        mean, var = self.t[f"{name}.running_mean"], self.t[f"{name}.running_var"]
        return functional.batch_norm(x, mean, var, self.t[f"{name}.weight"], self.t[f"{name}.bias"])

    def linear(self, x, name):
        return functional.linear(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"])

    def resnet(self, x, prefix):
        """torchvision's layout: two or three convolutions a block, the stride in the 3x3 one."""
        x = functional.conv2d(x, self.t[f"{prefix}conv1.weight"], stride=2, padding=3)
        x = functional.max_pool2d(self.norm(x, f"{prefix}bn1").relu(), 3, 2, 1)
        for stage in range(1, 5):
            count = len({n.split(".")[2] for n in self.t if n.startswith(f"{prefix}layer{stage}.")})
            for index in range(count):
                x = self.block(x, f"{prefix}layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1)
        return x

    def block(self, x, name, stride):
        y, last = x, 3 if f"{name}.conv3.weight" in self.t else 2
        strided = 2 if last == 3 else 1
        for number in range(1, last + 1):
            weight = self.t[f"{name}.conv{number}.weight"]
            step = stride if number == strided else 1
            y = functional.conv2d(y, weight, stride=step, padding=weight.shape[-1] // 2)
            y = self.norm(y, f"{name}.bn{number}")
            y = y.relu() if number < last else y
        if f"{name}.se.fc.0.weight" in self.t:
            gate = self.linear(y.mean((2, 3)), f"{name}.se.fc.0").relu()
            y = y * torch.sigmoid(self.linear(gate, f"{name}.se.fc.2"))[:, :, None, None]
        if f"{name}.downsample.0.weight" in self.t:
            x = functional.conv2d(x, self.t[f"{name}.downsample.0.weight"], stride=stride)
            x = self.norm(x, f"{name}.downsample.1")
        return (x + y).relu()

    def deconvolve(self, x, prefix, final):
        for index in range(3):
            x = functional.conv_transpose2d(x, self.t[f"{prefix}{3 * index}.weight"], stride=2, padding=1)
            x = self.norm(x, f"{prefix}{3 * index + 1}").relu()
        return functional.conv2d(x, self.t[f"{final}.weight"], self.t[f"{final}.bias"])

    def fastpose(self, x):
        x = functional.pixel_shuffle(self.resnet(x, "preact."), 2)
        for name in ("duc1", "duc2"):
            x = functional.conv2d(x, self.t[f"{name}.conv.weight"], padding=1)
            x = functional.pixel_shuffle(self.norm(x, f"{name}.bn").relu(), 2)
        return functional.conv2d(x, self.t["conv_out.weight"], self.t["conv_out.bias"], padding=1)

    def vitpose(self, x, heads=12, depth=2):
        name = "backbone.embeddings.patch_embeddings.projection"
        x = functional.conv2d(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"], stride=16, padding=2)
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        places = self.t["backbone.embeddings.position_embeddings"]
        x = x + places[:, 1:] + places[:, :1]
        for index in range(depth):
            layer = f"backbone.encoder.layer.{index}"
            y = self.layer_norm(x, f"{layer}.layernorm_before")
            query, key, value = (
                torch.stack(self.linear(y, f"{layer}.attention.attention.{part}").chunk(heads, -1), 1)
                for part in ("query", "key", "value")
            )
            weights = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, -1)
            y = torch.cat(list((weights @ value).unbind(1)), -1)
            x = x + self.linear(y, f"{layer}.attention.output.dense")
            y = self.linear(self.layer_norm(x, f"{layer}.layernorm_after"), f"{layer}.mlp.fc1")
            x = x + self.linear(y * 0.5 * (1 + torch.erf(y / 2**0.5)), f"{layer}.mlp.fc2")
        x = self.layer_norm(x, "backbone.layernorm").transpose(1, 2).reshape(len(x), -1, rows, columns)
        if "head.deconv1.weight" not in self.t:
            x = functional.interpolate(x.relu(), scale_factor=4, mode="bilinear")
            return functional.conv2d(x, self.t["head.conv.weight"], self.t["head.conv.bias"], padding=1)
        for number in (1, 2):
            x = functional.conv_transpose2d(x, self.t[f"head.deconv{number}.weight"], stride=2, padding=1)
            x = self.norm(x, f"head.batchnorm{number}").relu()
        return functional.conv2d(x, self.t["head.conv.weight"], self.t["head.conv.bias"])

    def layer_norm(self, x, name):
        centred = x - x.mean(-1, keepdim=True)
        return (
            centred / centred.square().mean(-1, keepdim=True).sqrt() * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]
        )


def pixels(size, statistics):
    """The same pictures raw and as the makers of a network normalise them."""
    raw = np.random.default_rng(3).uniform(0, 255, (2, 3, *size))
    mean, deviation = (np.reshape(v, (1, 3, 1, 1)) for v in statistics)
    return torch.from_numpy(raw.astype(np.float32)), torch.from_numpy(((raw - mean) / deviation).astype(np.float32))


def agrees(network, reference, size, statistics):
    raw, normalised = pixels(size, statistics)
    with torch.no_grad():
        want, got = reference(normalised), network(raw)
    assert got.shape == (2, want.shape[1], size[0] // 4, size[1] // 4)
    assert want.std() > 0.01
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize(("layers", "channels"), [(50, 128), (50, 256)])
def test_alphapose_fastpose(tmp_path, layers, channels):
    tensors = drawn(fastpose(layers, channels))
    torch.save(tensors, tmp_path / "fast_res50_256x192.pth", _use_new_zipfile_serialization=channels == 256)
    network, card = load_pose_checkpoint(tmp_path / "fast_res50_256x192.pth")
    agrees(network, Reference(tensors).fastpose, (64, 96), ALPHAPOSE)
    assert (card["network"], card["decode"], card["cells"], card["padding"]) == (
        "fastpose_r50",
        "quarter",
        "corner",
        1.25,
    )
    assert (card["input_size"], card["skeleton"], card["name"]) == ([256, 192], "coco17", "fast_res50_256x192")


def test_alphapose_simplepose(tmp_path):
    tensors = drawn(simplepose())
    torch.save(tensors, tmp_path / "simple.pth")
    network, card = load_pose_checkpoint(tmp_path / "simple.pth")

    def reference(x):
        return Reference(tensors).deconvolve(Reference(tensors).resnet(x, "preact."), "deconv_layers.", "final_layer")

    agrees(network, reference, (64, 96), ALPHAPOSE)
    assert (card["network"], card["decode"], card["cells"]) == ("simplebaseline_r50", "quarter", "corner")


def mmengine_history():
    """A class under the name that OpenMMLab's log books hold, known only while a file is written."""

    class HistoryBuffer:
        def __init__(self):
            self.values = np.arange(3.0)

        def __setstate__(self, state):
            raise AssertionError("the log book was brought to life")

    module = types.ModuleType("mmengine.logging.history_buffer")
    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    return module


@pytest.mark.parametrize(("layers", "head"), [(18, "head"), (50, "head"), (50, "keypoint_head")])
def test_mmpose_simplebaseline_with_its_log_book(tmp_path, monkeypatch, layers, head):
    tensors = drawn(simplebaseline(layers, head))
    history = mmengine_history()
    packages = {name: types.ModuleType(name) for name in ("mmengine", "mmengine.logging")}
    meta = {
        "mmpose_version": "1.0.0",
        "dataset_meta": {"sigmas": np.full(17, 0.1, np.float32), "keypoint_colors": np.zeros((17, 3), np.uint8)},
        "scalar": np.float64(3),
        "epoch": 210,
    }
    with monkeypatch.context() as patch:
        for name, module in {**packages, history.__name__: history}.items():
            patch.setitem(sys.modules, name, module)
        book = {"train/loss": history.HistoryBuffer()} if head == "head" else {}
        path = tmp_path / "td-hm_res-210e_coco-256x192.pth"
        torch.save({"meta": meta, "state_dict": tensors, "message_hub": book}, path)
    network, card = load_pose_checkpoint(path)

    def reference(x):
        features = Reference(tensors).resnet(x, "backbone.")
        return Reference(tensors).deconvolve(features, f"{head}.deconv_layers.", f"{head}.final_layer")

    agrees(network, reference, (64, 96), IMAGENET)
    assert (card["network"], card["decode"], card["cells"]) == (f"simplebaseline_r{layers}", "quarter", "corner")


@pytest.mark.parametrize("simple", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".bin.pth"])
def test_vitpose_in_transformers_names(tmp_path, simple, suffix):
    tensors = drawn(vitpose(simple))
    path = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        safetensors_torch.save_file(tensors, path, {"format": "pt"})
    else:
        torch.save(tensors, path)
    network, card = load_pose_checkpoint(path)
    agrees(network, Reference(tensors).vitpose, (64, 48), IMAGENET)
    assert card["network"] == ("vitpose_small_simple" if simple else "vitpose_small")
    assert (card["input_size"], card["decode"], card["cells"]) == ([64, 48], "dark", "aligned")


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("simple", [False, True])
def test_vitpose_is_that_of_transformers(tmp_path, simple):
    from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

    backbone = VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=384, num_hidden_layers=2, num_attention_heads=12,
        out_features=["stage2"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=backbone, use_simple_decoder=simple, num_labels=17))
    model.save_pretrained(tmp_path)
    network, _ = load_pose_checkpoint(tmp_path / "model.safetensors")
    raw, normalised = pixels((64, 48), IMAGENET)
    with torch.no_grad():
        want = model.eval()(normalised).heatmaps
        torch.testing.assert_close(network(raw), want, rtol=1e-5, atol=1e-5)


def own(name, size=(256, 192)):
    torch.manual_seed(2)
    network = pose_network(name, 17, size).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
    return network


@pytest.mark.parametrize("name", ["sppe_small", "simplebaseline_r18", "mobilenet_v3_small", "efficientnet_b0"])
@pytest.mark.parametrize("kind", ["safetensors", "training", "plain"])
def test_own_networks_come_back(tmp_path, name, kind):
    network = own(name)
    state = network.state_dict()
    if kind == "safetensors":
        path = tmp_path / "own.safetensors"
        safetensors_torch.save_file(state, path)
    elif kind == "training":
        path = tmp_path / "best.ckpt"
        rest = {"epoch": 3, "pytorch-lightning_version": "2.6", "loops": {"fit_loop": {"state_dict": {}}}}
        torch.save({"state_dict": {f"network.{k}": v for k, v in state.items()}, **rest}, path)
    else:
        path = tmp_path / "own.pt"
        torch.save(state, path)
    again, card = load_pose_checkpoint(path)
    x = pixels((64, 64), IMAGENET)[0]
    with torch.no_grad():
        torch.testing.assert_close(again(x), network(x))
    assert (card["network"], card["cells"]) == (name, "centre")
    assert card["decode"] == ("posterior" if name == "sppe_small" else "dark")
    assert not again.training


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_card_in_the_file_goes_before_the_custom(tmp_path, suffix):
    network = own("simplebaseline_r18")
    card = pose_card("simplebaseline_r18", 17, (128, 96), decode="posterior") | {
        "name": "mine", "mean": [1.0, 2.0, 3.0], "deviation": [4.0, 5.0, 6.0]
    }  # fmt: skip
    path = tmp_path / f"own{suffix}"
    if suffix == ".safetensors":
        safetensors_torch.save_file(network.state_dict(), path, {"posepipe": json.dumps(card)})
    else:
        torch.save({"state_dict": network.state_dict(), "posepipe": json.dumps(card)}, path)
    again, read = load_pose_checkpoint(path)
    assert (read["name"], read["decode"], read["input_size"]) == ("mine", "posterior", [128, 96])
    assert again.normalise.mean.flatten().tolist() == [1, 2, 3]
    assert again.normalise.deviation.flatten().tolist() == [4, 5, 6]


def test_a_small_network_of_other_widths(tmp_path):
    network = SppeSmall(14, (96, 72, 48), 112)
    safetensors_torch.save_file(network.state_dict(), tmp_path / "wide.safetensors")
    again, card = load_pose_checkpoint(tmp_path / "wide.safetensors")
    x = pixels((64, 64), IMAGENET)[0]
    with torch.no_grad():
        torch.testing.assert_close(again(x), network(x))
    assert "skeleton" not in card


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("backbone.layer2.1.conv2.weight"), r"missing 1: trunk\.layer2\.1\.conv2\.weight"),
        (lambda t: t.pop("head.deconv_layers.4.running_var"), r"missing 1: deconv\.4\.running_var"),
        (lambda t: t.update({"backbone.layer5.0.conv1.weight": torch.zeros(1)}), r"unexpected 1: trunk\.layer5"),
        (
            lambda t: t.update({"backbone.bn1.weight": torch.zeros(65)}),
            r"of another shape 1: trunk\.bn1\.weight \(65,\)",
        ),
        (
            lambda t: t.update({"backbone.layer4.0.conv2_offset.weight": torch.zeros(3)}),
            r"unexpected 1: .*conv2_offset",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, named):
    tensors = drawn(simplebaseline(18))
    change(tensors)
    torch.save(tensors, tmp_path / "res18.pth")
    with pytest.raises(WeightsError, match=rf"res18\.pth does not fit SimpleBaseline; got {named}"):
        load_pose_checkpoint(tmp_path / "res18.pth")


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        ({"conv1.weight": (3, 3)}, "no known pose network"),
        (resnet(18, ""), "no known pose network"),
        (resnet(18, "backbone.") | {"head.conv.weight": (17, 512, 1, 1)}, "no known pose network"),
        ({"backbone.layer3.7.conv1.weight": (1,), "head.final_layer.weight": (17, 256, 1, 1)}, "no known pose network"),
        (vitpose(width=100), "ViTPose of an unknown size"),
        (vitpose(places=13), "ViTPose of an unknown size"),
        (vitpose() | {"backbone.encoder.layer.0.mlp.experts.0.weight": (3, 3)}, "experts"),
        ({"final.weight": (17,)}, "no known pose network"),
    ],
)
def test_other_networks_are_refused(tmp_path, shapes, match):
    torch.save(drawn(shapes), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=match):
        load_pose_checkpoint(tmp_path / "other.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files(tmp_path, suffix):
    whole = tmp_path / f"whole{suffix}"
    state = SppeSmall().state_dict()
    safetensors_torch.save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
    data = whole.read_bytes()
    contents = {"empty": b"", "text": b"hello", "noise": bytes(range(256)) * 64, "cut": data[: len(data) // 2]}
    for name, content in contents.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            load_pose_checkpoint(path)
    with pytest.raises(WeightsError, match="no weights file"):
        load_pose_checkpoint(tmp_path / f"absent{suffix}")


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {}, {"state_dict": {"epoch": 3}}])
def test_files_without_a_state_dictionary(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=r"odd\.pth holds no"):
        load_pose_checkpoint(tmp_path / "odd.pth")


@pytest.mark.parametrize(
    "card", ["{", "[]", "[" * 100_000, '{"mean": 3}', '{"mean": [1, 2, 3], "deviation": [0, 1, 1]}']
)
def test_bad_cards(tmp_path, card):
    safetensors_torch.save_file(own("simplebaseline_r18").state_dict(), tmp_path / "a.safetensors", {"posepipe": card})
    with pytest.raises(WeightsError, match="card"):
        load_pose_checkpoint(tmp_path / "a.safetensors")


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *values):
        self.function, self.values = function, values

    def __reduce__(self):
        return self.function, self.values


@pytest.mark.parametrize("place", ["top", "meta", "state_dict", "beside numpy"])
@pytest.mark.parametrize("name", ["system", "eval", "exec", "getattr", "hub", "module"])
def test_a_hostile_file_runs_nothing(tmp_path, name, place):
    mark = tmp_path / "ran"
    write = f"open({str(mark)!r}, 'w').close()"
    payload = {
        "system": Call(os.system, f"touch {mark}"),
        "eval": Call(eval, write),
        "exec": Call(exec, write),
        "getattr": Call(getattr, Call(__import__, "os"), "getcwd"),
        "hub": Call(torch.hub.load, "owner/repository", "network"),
        "module": torch.nn.Linear(2, 2),
    }[name]
    content = {
        "top": payload,
        "meta": {"meta": payload, "state_dict": {"w": torch.zeros(2)}},
        "state_dict": {"state_dict": {"w": payload}},
        "beside numpy": {"meta": np.zeros(3), "state_dict": {"w": torch.zeros(2)}, "optimizer": payload},
    }[place]
    torch.save(content, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth holds more than weights"):
        load_pose_checkpoint(tmp_path / "evil.pth")
    assert not mark.exists()


@pytest.mark.parametrize("package", ["numpy", "mmengine"])
def test_functions_of_the_log_books_packages_are_not_called_either(tmp_path, monkeypatch, package):
    """Names of those packages are let through, but what they stand for is never looked up."""
    called = []
    module = types.ModuleType(f"{package}.trap") if package == "mmengine" else np.testing

    def spring(*values):
        called.append(values)

    name = "spring" if package == "mmengine" else "assert_equal"
    spring.__module__, spring.__qualname__, spring.__name__ = module.__name__, name, name
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        if package == "mmengine":
            patch.setitem(sys.modules, package, types.ModuleType(package))
        patch.setattr(module, name, spring, raising=False)
        torch.save({"meta": Call(spring, 1), "state_dict": {"w": torch.zeros(2)}}, tmp_path / "trap.pth")
        with pytest.raises(WeightsError, match="no known pose network"):
            load_pose_checkpoint(tmp_path / "trap.pth")
    assert called == []
