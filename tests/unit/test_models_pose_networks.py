"""Every pose network: its size, its cost, what it computes, that it learns, and what its constructor refuses."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")
torchvision = pytest.importorskip("torchvision", reason="needs the torch extra")

from pose_nets import fill, pictures, size_of

from posepipe.errors import UsageError, WeightsError
from posepipe.models.blocks import ALPHAPOSE, IMAGENET, Normalise
from posepipe.models.pose_networks import POSE_NETWORKS, pose_network
from posepipe.models.pose_resnet import FastPose, SimpleBaseline
from posepipe.models.sppe import multiply_adds

# The largest, each of which has a smaller sister, run with the slow tests.
LARGE = ("fastpose_r101", "vitpose_base_simple")
EVERY = [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in POSE_NETWORKS]


def counted(name):
    with torch.device("meta"):
        return pose_network(name).eval()


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def conv(kernel, inputs, outputs, cells):
    return kernel**2 * inputs * outputs * cells


def test_simplebaseline_is_as_large_and_costly_as_published():
    """34.0 M and 8.9 G (Xiao et al. 2018; HRNet's table), with their way of counting.

    They count 2^30, and a transposed convolution as if every output saw the whole kernel, four times the truth.
    """
    network = counted("simplebaseline_r50")
    assert round(parameters(network) / 1e6, 1) == 34.0
    cost = multiply_adds(network, 256, 192)
    head = conv(4, 2048, 256, 48) + conv(4, 256, 256, 192) + conv(4, 256, 256, 768)
    assert (cost + 3 * head) / 2**30 == pytest.approx(8.9, abs=0.1)
    # ResNet-50's published 4.09 G are at 224 x 224, with the classifier.
    trunk = cost - head - conv(1, 256, 17, 64 * 48)
    assert trunk == pytest.approx((4.089e9 - 2048 * 1000) * (256 * 192) / 224**2, rel=2e-3)


def test_simplebaseline_on_resnet18_is_its_trunk_and_its_head():
    network = counted("simplebaseline_r18")
    # torchvision publishes 11,689,512 parameters and 1.814 G, with a classifier of 512 to 1000.
    head = 16 * 256 * (512 + 256 + 256) + 3 * 512 + 256 * 17 + 17
    assert parameters(network) == 11_689_512 - 513_000 + head
    cost = conv(4, 512, 256, 48) + conv(4, 256, 256, 192 + 768) + conv(1, 256, 17, 3072)
    trunk = (1.814e9 - 512 * 1000) * (256 * 192) / 224**2
    assert multiply_adds(network, 256, 192) == pytest.approx(trunk + cost, rel=2e-3)


@pytest.mark.parametrize(("name", "resnet"), [("fastpose_r50", 25_557_032), ("fastpose_r101", 44_549_160)])
def test_fastpose_is_its_trunk_its_gates_and_its_head(name, resnet):
    gates = sum(2 * (c * c + c) for c in (256, 512, 1024, 2048))
    head = 9 * 512 * 1024 + 2 * 1024 + 9 * 256 * 512 + 2 * 512 + 9 * 128 * 17 + 17
    network = counted(name)
    assert parameters(network) == resnet - 2_049_000 + gates + head
    trunk = {"fastpose_r50": 4.089e9, "fastpose_r101": 7.801e9}[name] * (256 * 192) / 224**2
    cost = conv(3, 512, 1024, 192) + conv(3, 256, 512, 768) + conv(3, 128, 17, 3072) + gates
    assert multiply_adds(network, 256, 192) == pytest.approx(trunk + cost, rel=5e-3)


@pytest.mark.parametrize(("simple", "millions"), [(True, 86), (False, 90)])
def test_vitpose_base_is_as_large_as_published(simple, millions):
    network = counted("vitpose_base_simple" if simple else "vitpose_base")
    assert round(parameters(network) / 1e6) == millions
    tokens, width = 192, 768
    block = 12 * width * width * tokens + 2 * tokens * tokens * width
    head = conv(3, width, 17, 3072) if simple else conv(4, width, 256, 192) + conv(4, 256, 256, 768) + 3072 * 256 * 17
    assert multiply_adds(network, 256, 192) == 12 * block + 3 * 256 * width * tokens + head


@pytest.mark.parametrize(
    ("name", "trunk", "whole", "cost"),
    [
        # torchvision's counts without their classifiers
        ("efficientnet_b0", 5_288_548 - 1_281_000, 4_167_645, 429_605_888),
        ("mobilenet_v3_large", 5_483_032 - 961 * 1280 - 1_281_000, 3_101_329, 261_174_144),
        ("mobilenet_v3_small", 2_542_856 - 577 * 1024 - 1_025_000, 1_011_969, 100_301_824),
    ],
)
def test_the_light_networks_are_light(name, trunk, whole, cost):
    network = counted(name)
    assert parameters(network.trunk) == trunk
    assert parameters(network) == whole
    assert multiply_adds(network, 256, 192) == cost


#: mean, deviation and four values of the maps of `fill`ed networks, written down once
GOLDEN: dict[str, tuple[float, ...]] = {
    "sppe_small": (0.00657832, 0.176139, -0.273118, 0.0496125, 0.159262, -0.017444),
    "simplebaseline_r18": (-0.0383285, 0.138388, 0.197811, -0.0830682, -0.0890514, -0.0632736),
    "simplebaseline_r50": (-0.0318005, 0.167428, 0.194804, -0.09123, -0.107204, -0.0737766),
    "fastpose_r50": (-0.0421763, 0.264458, 0.222128, -0.247321, 0.330394, 0.0354092),
    "fastpose_r101": (-0.0460024, 0.679287, 0.538253, -0.587427, 0.621443, -0.020394),
    "efficientnet_b0": (-0.0129669, 0.164968, 0.0121817, -0.186554, 0.234185, -0.137147),
    "mobilenet_v3_large": (-0.00674056, 0.226021, 0.103019, -0.514013, 0.379496, 0.0494704),
    "mobilenet_v3_small": (-0.0378205, 0.188533, 0.175277, -0.242435, -0.00207107, -0.163679),
    "vitpose_base": (0.012683, 0.214026, 0.33982, 0.335723, -0.0872458, 0.14721),
    "vitpose_base_simple": (-0.164571, 0.702498, 0.172953, -0.403783, 0.231466, 0.490627),
}


@pytest.mark.parametrize("name", EVERY)
def test_what_it_computes_is_pinned(name):
    size = size_of(name)
    network = fill(pose_network(name, 17, size))
    with torch.no_grad():
        maps = network(pictures(2, size)).double()
    assert maps.shape == (2, 17, size[0] // 4, size[1] // 4)
    got = [maps.mean(), maps.std(), maps[0, 0, 0, 0], maps[0, 5, 3, 4], maps[1, 9, 7, 2], maps[1, 16, -1, -1]]
    np.testing.assert_allclose([float(v) for v in got], GOLDEN[name], rtol=2e-3, atol=2e-4 * GOLDEN[name][1])


@pytest.mark.parametrize("name", EVERY)
def test_all_of_it_learns(name):
    torch.manual_seed(0)
    size = size_of(name)
    network = pose_network(name, 5, size).train()
    for layer in network.modules():  # heads start near 0, where hardly any gradient comes through
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d) and float(layer.weight.detach().std()) < 2e-3:
            torch.nn.init.normal_(layer.weight, std=0.05)
    maps = network(pictures(2, size))
    assert maps.shape == (2, 5, size[0] // 4, size[1] // 4)
    (maps * torch.randn_like(maps)).sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not float(p.grad.abs().sum()) > 0]
    assert without == []


@pytest.mark.parametrize("name", POSE_NETWORKS)
def test_the_normalisation_is_inside_but_no_part_of_the_state(name):
    with torch.device("meta"):
        network = pose_network(name)
    assert not [key for key in network.state_dict() if "normalise" in key]


@pytest.mark.parametrize(
    ("statistics", "want"),
    [(IMAGENET, (np.array([10, 20, 30]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
     (ALPHAPOSE, np.array([10, 20, 30]) / 255 - [0.406, 0.457, 0.480])],
)  # fmt: skip
def test_pixels_are_normalised_as_their_makers_do(statistics, want):
    image = torch.tensor([10.0, 20.0, 30.0]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(Normalise(statistics)(image).flatten(), want, atol=1e-5)


def test_a_backbone_comes_from_a_file_of_torchvision(tmp_path):
    torch.manual_seed(1)
    source = torchvision.models.resnet18(weights=None).eval()
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    network = SimpleBaseline(17, 18, backbone_weights=tmp_path / "resnet18.pth").eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.trunk(x), torch.nn.Sequential(*list(source.children())[:-2])(x))
    with pytest.raises(WeightsError, match=r"resnet18\.pth does not fit"):
        FastPose(17, 50, backbone_weights=tmp_path / "resnet18.pth")
    with pytest.raises(WeightsError, match="no weights file"):
        SimpleBaseline(17, 18, backbone_weights=tmp_path / "absent.pth")


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "resnet50"])
def test_other_backbones_too(tmp_path, backbone):
    torch.manual_seed(1)
    source = torchvision.models.get_model(backbone, weights=None)
    file = tmp_path / "backbone.pth"
    torch.save(source.state_dict(), file)
    network = pose_network("fastpose_r50" if backbone == "resnet50" else backbone, backbone_weights=file)
    mine, last = network.trunk.state_dict(), "layer4.2.conv3.weight" if backbone == "resnet50" else "12.0.weight"
    key = last if backbone == "resnet50" else f"features.{last}"
    torch.testing.assert_close(mine[last], source.state_dict()[key])


def test_wrong_names_and_sizes():
    with pytest.raises(UsageError, match=r"hourglass.*fastpose_r50"):
        pose_network("hourglass")
    for size in ((250, 192), (256, 0), (16, 192)):
        with pytest.raises(UsageError, match="multiples of 32"):
            pose_network("sppe_small", 17, size)
    with pytest.raises(UsageError, match="no backbone"):
        pose_network("vitpose_base", backbone_weights="resnet50.pth")
