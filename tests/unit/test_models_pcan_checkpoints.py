"""Public checkpoints of action networks: files of names written out here, and what the originals compute of them."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F

from posepipe.errors import WeightsError
from posepipe.models.pcan import Pcan, light_pcan
from posepipe.models.pcan_checkpoints import MA52_COARSE, load_pcan_checkpoint

# The published form at an eighth of its channels and one block a stage: (inputs, channels, kernel in time) a stage.
RGB = ((8, 8, 1), (32, 16, 1), (64 + 16, 32, 3), (128 + 32, 64, 3))
POSE = ((4, 4, 1), (16 + 4, 8, 3), (32 + 8, 16, 3))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def norm(name, channels):
    return {
        f"{name}.weight": torch.rand(channels) + 0.5,
        f"{name}.bias": torch.randn(channels),
        f"{name}.running_mean": torch.randn(channels),
        f"{name}.running_var": torch.rand(channels) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def conv(name, *shape):
    return {
        f"{name}.conv.weight": torch.randn(*shape) / math.sqrt(math.prod(shape[1:])),
        **norm(f"{name}.bn", shape[0]),
    }


def layer(name, *shape, bias=None):
    weight = torch.randn(*shape) / math.sqrt(math.prod(shape[1:]))
    return {f"{name}.weight": weight, f"{name}.bias": torch.randn(bias or shape[0])}


def pathway(prefix, inputs, stages):
    tensors = conv(f"{prefix}.conv1", stages[0][0], inputs, 1, 7, 7)
    for number, (before, planes, time) in enumerate(stages, 1):
        block = f"{prefix}.layer{number}.0"
        tensors |= conv(f"{block}.conv1", planes, before, time, 1, 1)
        tensors |= conv(f"{block}.conv2", planes, planes, 1, 3, 3)
        tensors |= conv(f"{block}.conv3", 4 * planes, planes, 1, 1, 1)
        tensors |= conv(f"{block}.downsample", 4 * planes, before, 1, 1, 1)
    return tensors


def rgbpose(classes=9):
    """Names and shapes of mmaction2's RGBPoseConv3D."""
    tensors = pathway("backbone.rgb_path", 3, RGB) | pathway("backbone.pose_path", 6, POSE)
    for number, (rgb, pose) in ((2, (64, 16)), (3, (128, 32))):
        tensors[f"backbone.rgb_path.layer{number}_lateral.conv.weight"] = torch.randn(pose, pose, 7, 1, 1) / 10
        deconv = f"backbone.pose_path.layer{number - 1}_lateral"
        tensors[f"{deconv}.conv.weight"] = torch.randn(rgb, rgb // 16, 7, 1, 1) / 10
        tensors |= norm(f"{deconv}.bn", rgb // 16)
    return tensors | layer("cls_head.fc_rgb", classes, 256) | layer("cls_head.fc_pose", classes, 64)


def pcan():
    """Names and shapes of the released PCAN."""
    tensors = rgbpose(52)
    for number, (rgb, pose) in ((2, (64, 16)), (3, (128, 32))):
        gate = f"backbone.featuredifference{number}"
        tensors |= layer(f"{gate}.conv1", pose, rgb, 1, 1, 1) | layer(f"{gate}.conv2", pose, pose, 4, 1, 1)
        tensors |= layer(f"{gate}.conv4", rgb, pose, 1, 1, 1) | layer(f"{gate}.conv5", pose, pose, 4, 1, 1)
        for attention in ("rgb_cross_attn", "skt_cross_attn"):
            for name in ("q_proj", "k_proj", "v_proj", "fc"):
                tensors |= layer(f"{gate}.{attention}.{name}", pose, pose)
    for stream, channels in (("rgb", 256), ("pose", 64)):
        tensors |= layer(f"cls_head.fc_{stream}_coarse", 7, channels)
        tensors |= layer(f"cls_head.fr_coarse_{stream}.spatio_cl_net.cl_fc", 128, channels)
        tensors |= layer(f"cls_head.fr_{stream}.spatio_cl_net.cl_fc", 256, channels)
        tensors[f"cls_head.fr_{stream}.spatio_cl_net.avg_f"] = torch.randn(256, 52)
    return tensors


class Original:
    """What the public code computes, from its own names, in evaluation mode."""

    def __init__(self, tensors):
        self.t = tensors

    def norm(self, x, name):
        t = self.t
        mean, var = t[f"{name}.running_mean"], t[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, t[f"{name}.weight"], t[f"{name}.bias"], eps=1e-5)

    def conv(self, x, name, stride=(1, 1, 1)):
        weight = self.t[f"{name}.conv.weight"]
        padding = [k // 2 for k in weight.shape[2:]]
        return self.norm(F.conv3d(x, weight, None, stride, padding), f"{name}.bn")

    def block(self, x, name, stride):
        step = (1, stride, stride)
        y = F.relu(self.conv(x, f"{name}.0.conv1"))
        y = F.relu(self.conv(y, f"{name}.0.conv2", step))
        return F.relu(self.conv(y, f"{name}.0.conv3") + self.conv(x, f"{name}.0.downsample", step))

    def linear(self, x, name):
        return F.linear(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"])

    def attend(self, name, x, y):
        n, _, width = x.shape
        out = torch.zeros_like(x)
        q, k, v = (self.linear(a, f"{name}.{p}") for a, p in ((x, "q_proj"), (y, "k_proj"), (y, "v_proj")))
        for head in range(8):
            own = slice(head * width // 8, (head + 1) * width // 8)
            for i in range(n):
                weights = (q[i, :, own] @ k[i, :, own].T / math.sqrt(width // 8)).softmax(1)
                out[i, :, own] = weights @ v[i, :, own]
        return self.linear(out, f"{name}.fc")

    def gate(self, number, rgb, pose):
        name = f"backbone.featuredifference{number}"
        if f"{name}.conv1.weight" not in self.t:
            return rgb, pose
        part = {
            c: (self.t[f"{name}.{c}.weight"], self.t[f"{name}.{c}.bias"]) for c in ("conv1", "conv2", "conv4", "conv5")
        }
        a = F.conv3d(rgb, *part["conv1"]).flatten(3).max(3).values.permute(0, 2, 1)
        b = F.conv3d(pose, *part["conv2"], stride=(4, 1, 1)).flatten(3).max(3).values.permute(0, 2, 1)
        a = self.attend(f"{name}.rgb_cross_attn", a, b)
        b = self.attend(f"{name}.skt_cross_attn", b, a)
        a = F.conv3d(a.permute(0, 2, 1)[..., None, None], *part["conv4"])
        b = F.conv_transpose3d(b.permute(0, 2, 1)[..., None, None], *part["conv5"], stride=(4, 1, 1))
        return rgb + rgb * a, pose + pose * b

    def fuse(self, number, rgb, pose):
        weight = self.t[f"backbone.rgb_path.layer{number}_lateral.conv.weight"]
        to_rgb = F.conv3d(pose, weight, None, (4, 1, 1), (3, 0, 0))
        name = f"backbone.pose_path.layer{number - 1}_lateral"
        to_pose = F.conv_transpose3d(rgb, self.t[f"{name}.conv.weight"], None, (4, 1, 1), (3, 0, 0), (3, 0, 0))
        to_pose = F.relu(self.norm(to_pose, f"{name}.bn"))
        rgb, pose = self.gate(number, rgb, pose)
        return torch.cat((rgb, to_rgb), 1), torch.cat((pose, to_pose), 1)

    def stem(self, x, name, stride):
        x = F.relu(
            self.norm(
                F.conv3d(x, self.t[f"{name}.conv1.conv.weight"], None, (1, stride, stride), (0, 3, 3)),
                f"{name}.conv1.bn",
            )
        )
        return F.max_pool3d(x, (1, 3, 3), (1, stride, stride), (0, 1, 1))

    def __call__(self, rgb, pose):
        a, b = "backbone.rgb_path", "backbone.pose_path"
        rgb = self.block(self.block(self.stem(rgb, a, 2), f"{a}.layer1", 1), f"{a}.layer2", 2)
        pose = self.block(self.stem(pose, b, 1), f"{b}.layer1", 2)
        rgb, pose = self.fuse(2, rgb, pose)
        rgb, pose = self.block(rgb, f"{a}.layer3", 2), self.block(pose, f"{b}.layer2", 2)
        rgb, pose = self.fuse(3, rgb, pose)
        rgb, pose = self.block(rgb, f"{a}.layer4", 2), self.block(pose, f"{b}.layer3", 2)
        said = {}
        for stream, x, factor in (("rgb", rgb, 5), ("pose", pose, 1)):
            x = x.mean((2, 3, 4))
            fine = self.linear(x, f"cls_head.fc_{stream}")
            proto = f"cls_head.fr_{stream}.spatio_cl_net"
            if f"{proto}.avg_f" in self.t:
                likeness = F.cosine_similarity(
                    self.linear(x, f"{proto}.cl_fc")[:, None], self.t[f"{proto}.avg_f"].T[None], dim=2
                )
                fine = fine + factor * likeness
                said[f"{stream}_coarse"] = self.linear(x, f"cls_head.fc_{stream}_coarse")
            said[stream] = fine
        return said


def saved(path, tensors):
    torch.save({"meta": {"epoch": 3}, "state_dict": tensors}, path)
    return path


def clips():
    return torch.randn(2, 3, 2, 32, 32), torch.rand(2, 6, 8, 8, 8)


@pytest.mark.parametrize("make", [rgbpose, pcan])
def test_public_checkpoint_says_what_its_own_code_says(tmp_path, make):
    tensors = make()
    network, card = load_pcan_checkpoint(saved(tmp_path / "public.pth", tensors))
    assert card == {}
    assert not network.training
    rgb, pose = (x.double() for x in clips())
    exact = {name: value.double() for name, value in tensors.items()}
    with torch.no_grad():
        expected, said = Original(exact)(rgb, pose), network.double()(rgb, pose)
    for stream in ("rgb", "pose"):
        torch.testing.assert_close(said[stream].fine, expected[stream])
        if make is pcan:
            torch.testing.assert_close(said[stream].coarse, expected[f"{stream}_coarse"])
    assert network.coarse_of.tolist() == (list(MA52_COARSE) if make is pcan else [])


@pytest.mark.parametrize(("inputs", "stages", "stream"), [(3, RGB, "rgb"), (6, POSE, "pose")])
def test_public_checkpoint_of_one_stream(tmp_path, inputs, stages, stream):
    alone = tuple((stages[i - 1][1] * 4 if i else s[0], s[1], s[2]) for i, s in enumerate(stages))
    tensors = pathway("backbone", inputs, alone) | layer("cls_head.fc_cls", 9, stages[-1][1] * 4)
    network, _ = load_pcan_checkpoint(saved(tmp_path / "public.pth", tensors))
    renamed = {n.replace("backbone.", f"backbone.{stream}_path."): t for n, t in tensors.items()}
    clip = dict(zip(("rgb", "pose"), clips(), strict=True))[stream]
    original, name = Original(renamed), f"backbone.{stream}_path"
    with torch.no_grad():
        x = original.stem(clip, name, 2 if stream == "rgb" else 1)
        for number in range(1, len(stages) + 1):
            x = original.block(x, f"{name}.layer{number}", 1 if (stream, number) == ("rgb", 1) else 2)
        expected = original.linear(x.mean((2, 3, 4)), "cls_head.fc_cls")
        said = network(**{stream: clip})
        assert list(said) == [stream]
        torch.testing.assert_close(said[stream].fine, expected, atol=1e-4, rtol=1e-4)


def test_steps_in_time_of_a_48_frame_net_are_given(tmp_path):
    alone = ((4, 4, 1), (16, 8, 3), (32, 16, 3))
    path = saved(tmp_path / "public.pth", pathway("backbone", 6, alone) | layer("cls_head.fc_cls", 9, 64))
    maps = torch.rand(1, 6, 8, 8, 8)
    for steps, frames in ((None, 8), ((1, 1, 2), 4)):
        network, _ = load_pcan_checkpoint(path, time_strides=steps)
        assert network.backbone(pose=maps)["pose"].shape[2] == frames


@pytest.mark.parametrize("light", [True, False])
def test_own_checkpoint_round_trip(tmp_path, light):
    if light:
        network, shown = light_pcan(4, 5, coarse_of=(0, 1, 1, 0)), {"pose": torch.rand(1, 5, 8, 16, 16)}
    else:
        renamed, _ = load_pcan_checkpoint(saved(tmp_path / "public.pth", pcan()))
        network, shown = renamed, dict(zip(("rgb", "pose"), clips(), strict=True))
    path = saved(tmp_path / "own.pth", {f"network.{n}": v for n, v in network.state_dict().items()})
    other, _ = load_pcan_checkpoint(path)
    assert isinstance(other, Pcan)
    with torch.no_grad():
        a, b = network.eval()(**shown), other(**shown)
    assert all(torch.equal(a[s].fine, b[s].fine) and torch.equal(a[s].coarse, b[s].coarse) for s in a)


def test_faults_are_named_by_their_keys(tmp_path):
    whole = pcan()
    missing, stray, differing = dict(whole), dict(whole), dict(whole)
    del missing["backbone.pose_path.layer2.0.conv2.bn.running_mean"]
    stray["cls_head.extra.weight"] = torch.zeros(1)
    differing["backbone.featuredifference3.rgb_cross_attn.fc.bias"] = torch.zeros(3)
    for tensors, words in (
        (missing, r"missing 1: backbone\.pose\.stages\.1\.0\.conv2\.norm\.running_mean"),
        (stray, r"unexpected 1: cls_head\.extra\.weight"),
        (differing, r"gates\.1\.rgb_attention\.out\.bias \(3,\) instead of \(32,\)"),
    ):
        with pytest.raises(WeightsError, match=words):
            load_pcan_checkpoint(saved(tmp_path / "bad.pth", tensors))


def test_files_of_no_known_form_are_refused(tmp_path):
    headless = {n: v for n, v in rgbpose().items() if n != "cls_head.fc_rgb.weight"}
    for tensors in ({"weight": torch.zeros(2)}, headless, layer("cls_head.fc_cls", 3, 4)):
        with pytest.raises(WeightsError, match="no known action network"):
            load_pcan_checkpoint(saved(tmp_path / "bad.pth", tensors))


def test_a_coarse_head_of_other_classes_needs_its_map(tmp_path):
    tensors = rgbpose(4) | layer("cls_head.fc_rgb_coarse", 2, 256) | layer("cls_head.fc_pose_coarse", 2, 64)
    path = saved(tmp_path / "public.pth", tensors)
    with pytest.raises(WeightsError, match=r"map of its 4 classes to its 2 coarse ones; got none\. Give"):
        load_pcan_checkpoint(path)
    with pytest.raises(WeightsError, match="got 4 entries, 1 coarse"):
        load_pcan_checkpoint(path, coarse_of=(0, 0, 0, 0))
    network, _ = load_pcan_checkpoint(path, coarse_of=(1, 0, 0, 1))
    assert network.coarse_of.tolist() == [1, 0, 0, 1]


def test_a_file_that_asks_for_code_is_refused(tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"state_dict": rgbpose(), "other": print}, path)
    with pytest.raises(WeightsError, match="more than weights"):
        load_pcan_checkpoint(path)
