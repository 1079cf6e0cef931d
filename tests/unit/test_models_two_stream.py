"""The streams' networks: sizes, first convolution across modalities, and checkpoints under other names."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("torchvision")

from posepipe.errors import WeightsError
from posepipe.models.two_stream import StreamResNet, across_modality, load_imagenet, load_two_stream


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("channels", "layers", "count"),
    [(3, 18, 11_228_325), (20, 18, 11_281_637), (3, 50, 23_714_981), (3, 101, 42_707_109)],
)
def test_sizes(channels: int, layers: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(StreamResNet(101, channels, layers)) == count


@pytest.mark.parametrize("channels", [3, 20])
def test_shapes_and_gradients(channels: int) -> None:
    network = StreamResNet(7, channels)
    picture = torch.randint(0, 256, (1, channels, 32, 64)).float()
    network.eval()
    assert network.features(picture).shape == (1, 512)
    logits = network(picture)
    assert logits.shape == (1, 7)
    logits.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_rgb_is_torchvisions_network_on_normalised_pictures() -> None:
    torch.manual_seed(0)
    network, other = StreamResNet(5).eval(), torchvision.models.resnet18(num_classes=5).eval()
    other.load_state_dict(network.state_dict())
    picture = torch.randint(0, 256, (1, 3, 64, 64)).float()
    mean, deviation = (torch.tensor(v).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(network(picture), other((picture / 255 - mean) / deviation), rtol=1e-4, atol=1e-4)


def test_flow_is_scaled_and_not_shifted() -> None:
    network = StreamResNet(5, 20).eval()
    other = torchvision.models.resnet18(num_classes=5).eval()
    other.conv1 = torch.nn.Conv2d(20, 64, 7, 2, 3, bias=False)
    other.load_state_dict(network.state_dict())
    stack = torch.randint(0, 256, (1, 20, 64, 64)).float()
    torch.testing.assert_close(network(stack), other(stack / 255), rtol=1e-4, atol=1e-4)


def test_centred_flow_by_hand() -> None:
    network = StreamResNet(5, 20, centred=True).eval()
    plain = StreamResNet(5, 20).eval()
    plain.load_state_dict(network.state_dict())
    stack = torch.randint(0, 256, (1, 20, 64, 64)).float()
    torch.testing.assert_close(network(stack), plain((stack - 127.5) / 16 * 255), rtol=1e-4, atol=1e-4)


def test_first_convolution_across_modalities_by_hand() -> None:
    kernel = torch.tensor([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1)
    assert across_modality(kernel, 4).flatten().tolist() == [3.0] * 4
    assert across_modality(torch.rand(64, 3, 7, 7), 20).shape == (64, 20, 7, 7)


@pytest.mark.parametrize("channels", [3, 20])
def test_imagenet_weights_fit(tmp_path: Path, channels: int) -> None:
    source = torchvision.models.resnet18()
    torch.save(source.state_dict(), tmp_path / "resnet18.pth")
    network = StreamResNet(7, channels)
    classifier = network.state_dict()["fc.weight"].clone()
    load_imagenet(network, tmp_path / "resnet18.pth")
    own, first = network.state_dict(), source.conv1.weight.detach()
    torch.testing.assert_close(own["conv1.weight"], first if channels == 3 else across_modality(first, 20))
    torch.testing.assert_close(own["layer4.1.conv2.weight"], source.layer4[1].conv2.weight.detach())
    torch.testing.assert_close(own["fc.weight"], classifier)
    torch.save(torchvision.models.resnet34().state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(WeightsError, match=r"resnet34\.pth does not fit StreamResNet"):
        load_imagenet(network, tmp_path / "resnet34.pth")


@pytest.mark.parametrize(("channels", "layers", "prefix"), [(3, 18, ""), (20, 50, "module.")])
def test_checkpoints_of_the_source_fit(tmp_path: Path, channels: int, layers: int, prefix: str) -> None:
    wanted = StreamResNet(11, channels, layers).eval()
    names = {"conv1.weight": "conv1_custom.weight", "fc.weight": "fc_custom.weight", "fc.bias": "fc_custom.bias"}
    state = {prefix + names.get(name, name): value for name, value in wanted.state_dict().items()}
    if channels == 20:  # the source writes field j to the channels 2 (j - 1) and the one after, so field 0 comes last
        first = state[f"{prefix}conv1_custom.weight"]
        state[f"{prefix}conv1_custom.weight"] = torch.cat((first[:, 2:], first[:, :2]), 1)
    torch.save({"epoch": 4, "state_dict": state, "best_prec1": torch.tensor(80.0)}, tmp_path / "model.pth.tar")
    network, card = load_two_stream(tmp_path / "model.pth.tar")
    assert card == {}
    assert not network.training
    picture = torch.randint(0, 256, (1, channels, 64, 64)).float()
    torch.testing.assert_close(network(picture), wanted(picture))


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="is of no two-stream network"):
        load_two_stream(tmp_path / "other.pth")
    state = StreamResNet(3).state_dict()
    del state["layer2.0.bn1.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match=r"missing 1: layer2\.0\.bn1\.weight"):
        load_two_stream(tmp_path / "part.pth")
