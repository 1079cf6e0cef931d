"""The action backbone: published sizes and shapes, coupling of the pathways, and clips that do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode

from posepipe.errors import PosepipeError, UsageError, WeightsError
from posepipe.models.pcan_gate import CrossAttention, CrossAttentionGate
from posepipe.models.rgbpose3d import (
    LIGHT_POSE_PATHWAY,
    POSE_PATHWAY,
    RGB_PATHWAY,
    Laterals,
    PathwayForm,
    RGBPose3D,
)

TINY_RGB = replace(RGB_PATHWAY, base=8, blocks=(1, 1, 1, 1))
TINY_POSE = replace(POSE_PATHWAY, base=4, blocks=(1, 1, 1))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(module) -> int:
    return sum(p.numel() for p in module.parameters())


def on_meta(**settings):
    with torch.device("meta"):
        return RGBPose3D(**settings).eval()


def run(network, **shapes):
    """Shapes and multiply-adds of a forward pass without computing it."""
    clips = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = network(**clips)
    return {name: tuple(x.shape) for name, x in found.items()}, counter.get_total_flops() / 2e9


def tiny(**settings):
    return RGBPose3D(5, rgb=TINY_RGB, pose=TINY_POSE, **settings)


def clips(frames=2, side=32):
    return torch.randn(2, 3, frames, side, side), torch.rand(2, 5, 4 * frames, side // 4, side // 4)


def test_published_parameter_counts_of_both_streams():
    network = on_meta()
    assert count(network) == 35_994_208
    assert count(network.rgb) + count(network.to_rgb) == 33_354_816
    assert count(network.pose) + count(network.to_pose) == 2_639_392
    assert count(network.rgb.stem) == 9_536
    assert [count(s) for s in network.rgb.stages] == [215_808, 1_219_584, 10_211_328, 21_125_120]
    assert [count(c) for c in network.to_rgb] == [114_688, 458_752]
    assert count(network.pose.stem) == 26_720
    assert [count(s) for s in network.pose.stages] == [72_448, 642_048, 1_324_544]
    assert [count(c) for c in network.to_pose] == [114_752, 458_880]
    assert count(on_meta(keypoints=28)) == 36_011_456


def test_published_parameter_counts_of_one_stream_and_with_gates():
    assert count(on_meta(rgb=None)) == 1_994_080
    assert count(on_meta(rgb=None, keypoints=28)) == 2_011_328
    assert count(on_meta(rgb=None, pose=replace(POSE_PATHWAY, blocks=(3, 4, 6)))) == 3_003_360
    assert count(on_meta(pose=None)) == 31_634_496
    gated = on_meta(keypoints=28, gates=True)
    assert [count(g) for g in gated.gates] == [395_136, 1_576_704]
    assert count(gated) == 37_983_296
    assert count(on_meta(rgb=None, pose=LIGHT_POSE_PATHWAY)) < 2_000_000


@pytest.mark.parametrize(("side", "cells"), [(224, 7), (256, 8)])
def test_published_shapes_of_both_streams(side, cells):
    shapes, cost = run(on_meta(), rgb=(1, 3, 8, side, side), pose=(1, 17, 32, side // 4, side // 4))
    assert shapes == {"rgb": (1, 2048, 8, cells, cells), "pose": (1, 512, 32, cells, cells)}
    if side == 224:
        assert cost == pytest.approx(58.005, abs=6e-4)


def test_published_cost_with_gates():
    shapes, cost = run(on_meta(keypoints=28, gates=True), rgb=(1, 3, 8, 224, 224), pose=(1, 28, 32, 56, 56))
    assert shapes == {"rgb": (1, 2048, 8, 7, 7), "pose": (1, 512, 32, 7, 7)}
    assert cost == pytest.approx(61.391, abs=6e-4)


@pytest.mark.parametrize(
    ("steps", "frames", "side", "out", "expected"),
    [
        ((1, 1, 1), 32, 56, (32, 7, 7), 11.333),
        ((1, 1, 1), 48, 56, (48, 7, 7), 16.999),
        ((1, 1, 2), 32, 56, (16, 7, 7), 10.421),
        ((1, 1, 2), 48, 56, (24, 7, 7), 15.631),
        ((1, 1, 2), 48, 64, (24, 8, 8), 20.416),
    ],
)
def test_published_cost_of_pose_alone(steps, frames, side, out, expected):
    network = on_meta(rgb=None, pose=replace(POSE_PATHWAY, time_strides=steps))
    shapes, cost = run(network, pose=(1, 17, frames, side, side))
    assert shapes == {"pose": (1, 512, *out)}
    assert cost == pytest.approx(expected, abs=6e-4)


def test_published_cost_of_rgb_alone():
    shapes, cost = run(on_meta(pose=None), rgb=(1, 3, 8, 224, 224))
    assert shapes == {"rgb": (1, 2048, 8, 7, 7)}
    assert cost == pytest.approx(41.74, abs=6e-4)


def test_light_pathway_costs_a_fifth():
    shapes, cost = run(on_meta(rgb=None, pose=LIGHT_POSE_PATHWAY), pose=(1, 17, 32, 56, 56))
    assert shapes == {"pose": (1, 384, 8, 7, 7)}
    assert cost < 2


def test_every_block_starts_as_an_identity_and_norms_as_published():
    network = on_meta()
    names = [n for n, _ in network.named_parameters() if n.endswith("conv3.norm.weight")]
    assert len(names) == 29
    small = tiny()
    for name, module in small.named_modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            assert (module.eps, module.momentum) == (1e-5, 0.1)
            assert module.weight.unique().tolist() == ([0.0] if name.endswith("conv3.norm") else [1.0])
    weight = on_full_size_weight()
    assert weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


def on_full_size_weight():
    return RGBPose3D(pose=None, rgb=PathwayForm(64, (1,), (False,), (1,), (1,), 7, 2, 2)).rgb.stem.conv.weight


def test_maps_of_another_skeleton_are_refused():
    network = RGBPose3D(17, rgb=None, pose=TINY_POSE)
    with pytest.raises(WeightsError, match=r"17 keypoints; got 28 channels.*skeleton"):
        network(pose=torch.zeros(1, 28, 4, 8, 8))


def test_clips_that_do_not_fit_are_refused():
    rgb, pose = clips()
    with pytest.raises(UsageError, match="takes a pose clip"):
        tiny()(rgb)
    with pytest.raises(UsageError, match="takes no rgb clip"):
        RGBPose3D(5, rgb=None, pose=TINY_POSE)(rgb, pose)
    with pytest.raises(UsageError, match="do not fit one another"):
        tiny()(rgb, pose[:, :, :6])
    with pytest.raises(UsageError, match="do not fit one another"):
        tiny()(rgb, pose[..., :4])
    with pytest.raises(UsageError, match="wrong shape"):
        tiny()(rgb[0], pose)
    with pytest.raises(WeightsError, match="3 channels"):
        tiny()(rgb[:, :2], pose)


def test_settings_that_make_no_network_are_refused():
    for make in (
        lambda: RGBPose3D(rgb=None, pose=None),
        lambda: RGBPose3D(pose=PathwayForm(4, (1, 1), (False, True), (2, 2), (1, 1))),
        lambda: PathwayForm(4, (1, 1), (False,), (2, 2), (1, 1)),
        lambda: Laterals(rgb_drop_path=1.5),
    ):
        with pytest.raises(PosepipeError):
            make()


@pytest.mark.parametrize("gates", [False, True])
def test_each_stream_feels_the_other(gates):
    network = tiny(gates=gates).eval()
    for name, value in network.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.uniform_(value, 0.5, 1.5)
    rgb, pose = clips()
    with torch.no_grad():
        found, other_pose, other_rgb = network(rgb, pose), network(rgb, pose.flip(2)), network(rgb.flip(2), pose)
    assert not torch.allclose(found["rgb"], other_pose["rgb"])
    assert not torch.allclose(found["pose"], other_rgb["pose"])


def test_dropped_laterals_leave_the_streams_alone():
    torch.manual_seed(1)
    network = tiny(laterals=Laterals(rgb_drop_path=1, pose_drop_path=1))
    rgb, pose = clips()
    network.train()
    network(rgb, pose)["pose"].sum().backward()
    assert all(p.grad is None for p in network.rgb.parameters())
    assert all(p.grad is None or not p.grad.any() for p in network.to_pose.parameters())
    dropped = tiny(laterals=Laterals(rgb_drop_path=1, pose_drop_path=1)).eval()
    with torch.no_grad():
        assert not torch.equal(dropped(rgb, pose)["pose"], dropped(-rgb, pose)["pose"])


@pytest.mark.parametrize("stream", ["rgb", "pose"])
def test_detached_laterals_pass_no_gradient(stream):
    rgb, pose = clips()
    for detach in (False, True):
        network = tiny(laterals=Laterals(**{f"{stream}_detach": detach}))
        network(rgb, pose)[stream].pow(2).sum().backward()
        other = network.pose if stream == "rgb" else network.rgb
        assert (other.stem.conv.weight.grad is None) is detach


def test_attention_equals_the_library_s():
    own = CrossAttention(16, 8).eval()
    library = torch.nn.MultiheadAttention(16, 8, batch_first=True).eval()
    with torch.no_grad():
        layers = (own.query, own.key, own.value)
        library.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        library.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
        library.out_proj.weight.copy_(own.out.weight)
        library.out_proj.bias.copy_(own.out.bias)
        asking, asked = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
        torch.testing.assert_close(own(asking, asked), library(asking, asked, asked)[0], atol=1e-5, rtol=1e-5)


def test_gate_with_zero_scale_changes_nothing_and_with_one_doubles():
    gate = CrossAttentionGate(8, 4, 8)
    rgb, pose = torch.randn(2, 8, 3, 2, 2), torch.randn(2, 4, 12, 2, 2)
    for layer in (gate.rgb_out, gate.pose_out):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert all(torch.equal(a, b) for a, b in zip(gate(rgb, pose), (rgb, pose), strict=True))
    for layer in (gate.rgb_out, gate.pose_out):
        torch.nn.init.ones_(layer.bias)
    assert all(torch.equal(a, 2 * b) for a, b in zip(gate(rgb, pose), (rgb, pose), strict=True))


def test_attention_drops_in_training_only():
    gate = CrossAttentionGate(8, 4, 8)
    rgb, pose = torch.randn(4, 8, 8, 2, 2), torch.randn(4, 4, 32, 2, 2)
    with torch.no_grad():
        assert not torch.equal(gate.train()(rgb, pose)[0], gate(rgb, pose)[0])
        assert torch.equal(gate.eval()(rgb, pose)[0], gate(rgb, pose)[0])
