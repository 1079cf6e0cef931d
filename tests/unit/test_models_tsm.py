"""TSM on MobileNetV4: the shift against its definition, where it stands, counts of parameters, foreign checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm", reason="needs the torch extra")

from posepipe.errors import UsageError, WeightsError
from posepipe.models.tsm import TSM_BACKBONES, TemporalShift, Tsm, load_tsm, start_tsm, temporal_shift

SMALL, MEDIUM = TSM_BACKBONES


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_shift_moves_an_eighth_each_way():
    # 2 clips of 3 frames, 8 channels, 1 pixel: the value is 100 x clip + 10 x frame + channel.
    x = torch.tensor([[100 * n + 10 * t + c for c in range(8)] for n in range(2) for t in range(3)]).float()
    got = temporal_shift(x[:, :, None, None], 3, 8)[:, :, 0, 0]
    expected = [
        [10, 0, 2, 3, 4, 5, 6, 7],
        [20, 1, 12, 13, 14, 15, 16, 17],
        [0, 11, 22, 23, 24, 25, 26, 27],
        [110, 0, 102, 103, 104, 105, 106, 107],
        [120, 101, 112, 113, 114, 115, 116, 117],
        [0, 111, 122, 123, 124, 125, 126, 127],
    ]
    assert got.tolist() == expected


@pytest.mark.parametrize(("fold_div", "channels"), [(4, 6), (8, 20), (3, 7), (2, 4)])
def test_the_shift_equals_its_definition(fold_div: int, channels: int):
    x = torch.randn(2 * 5, channels, 3, 2)
    clips, fold = x.reshape(2, 5, channels, 3, 2), channels // fold_div
    expected = torch.zeros_like(clips)
    for t in range(5):
        for c in range(channels):
            source = t + 1 if c < fold else t - 1 if c < 2 * fold else t
            if 0 <= source < 5:
                expected[:, t, c] = clips[:, source, c]
    assert torch.equal(temporal_shift(x, 5, fold_div), expected.reshape(x.shape))


@pytest.mark.parametrize(("name", "parameters", "shifts"), [(SMALL, 3_774_024, 10), (MEDIUM, 9_715_512, 18)])
def test_counts_are_those_of_the_published_networks(name: str, parameters: int, shifts: int):
    network = Tsm(name, 1000, pooling="mean")
    assert sum(p.numel() for p in network.parameters()) == parameters
    layers = [m for m in network.modules() if isinstance(m, TemporalShift)]
    assert len(layers) == shifts
    one = Tsm(name)
    assert sum(p.numel() for p in one.parameters()) == parameters - 1281 * 1000 + 1281 + 1280


def test_the_shift_stands_before_the_first_convolution_of_blocks_with_a_skip():
    blocks = [b for b in Tsm(SMALL).backbone.modules() if hasattr(b, "has_skip") and hasattr(b, "dw_start")]
    assert len(blocks) == 12
    for block in blocks:
        starts = not isinstance(block.dw_start, torch.nn.Identity)
        assert isinstance(block.dw_start, TemporalShift) == (block.has_skip and starts)
        assert isinstance(block.pw_exp, TemporalShift) == (block.has_skip and not starts)


def trained(**settings) -> Tsm:
    """A network whose norms have seen something."""
    network = Tsm(SMALL, **settings)
    for module in network.norms:
        module.running_mean.normal_(0, 0.1)
        module.running_var.uniform_(0.8, 1.2)
    torch.nn.init.normal_(network.consensus.classifier.weight, 0, 0.1)
    return network.eval()


@torch.no_grad()
def test_without_shifted_channels_it_is_timm_on_every_frame():
    network = trained(fold_div=4096, pooling="mean", outputs=3)
    plain = timm.create_model(SMALL, pretrained=False, num_classes=3).eval()
    tensors = {n.replace(".net.", "."): v for n, v in network.state_dict().items()}
    tensors = {n.removeprefix("backbone.").replace("consensus.", ""): v for n, v in tensors.items()}
    plain.load_state_dict(tensors)
    clips = torch.rand(2, 8, 3, 64, 64) * 255
    expected = plain((clips.flatten(0, 1) / 127.5) - 1).reshape(2, 8, 3).mean(1)
    torch.testing.assert_close(network(clips), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_time_matters_and_attention_begins_as_the_mean():
    network = trained(fold_div=4)
    clips = torch.rand(1, 8, 3, 64, 64) * 255
    assert not torch.allclose(network(clips), network(clips.flip(1)), atol=1e-4)
    mean = Tsm(SMALL, fold_div=4, pooling="mean").eval()
    start = {n: v for n, v in network.state_dict().items() if "attention" not in n}
    mean.load_state_dict(start)
    torch.testing.assert_close(network(clips), mean(clips))
    torch.nn.init.normal_(network.consensus.attention.weight)
    assert not torch.allclose(network(clips), mean(clips), atol=1e-5)


def test_attention_is_the_softmax_over_frames():
    head = Tsm(SMALL).consensus.eval()
    torch.nn.init.normal_(head.attention.weight, 0, 0.1)
    frames = torch.randn(2, 8, 1280)
    weight = torch.exp(frames @ head.attention.weight[0])
    pooled = (weight[..., None] * frames).sum(1) / weight.sum(1, keepdim=True)
    torch.testing.assert_close(head(frames), head.classifier(pooled), atol=1e-5, rtol=1e-4)


def test_the_first_third_of_the_norms_freezes_statistics_and_weights():
    network = Tsm(SMALL, fold_div=4)
    assert len(network.norms) == 46
    assert network.freeze_norms(1 / 3) == 15
    network.train()
    assert [norm.training for norm in network.norms] == [False] * 15 + [True] * 31
    before = [norm.running_mean.clone() for norm in network.norms]
    network(torch.rand(2, 8, 3, 32, 32) * 255).sum().backward()
    moved = [not torch.equal(norm.running_mean, was) for norm, was in zip(network.norms, before, strict=True)]
    assert moved == [False] * 15 + [True] * 31
    assert [norm.weight.grad is not None for norm in network.norms] == [False] * 15 + [True] * 31
    assert network.freeze_norms(0) == 0


def test_weights_of_timm_are_taken_but_for_their_classifier(tmp_path: Path):
    plain = timm.create_model(SMALL, pretrained=False)
    torch.save(plain.state_dict(), tmp_path / "timm.pth")
    network = Tsm(SMALL)
    assert not start_tsm(network, tmp_path / "timm.pth")
    own = network.state_dict()
    for name, value in plain.state_dict().items():
        if not name.startswith("classifier."):
            parts = [f"backbone.{name}"] + [f"backbone.{name}".replace(p, f"{p}net.") for p in ("pw_exp.", "dw_start.")]
            assert any(part in own and torch.equal(own[part], value) for part in parts), name
    whole = Tsm(SMALL, 1000, pooling="mean")
    assert start_tsm(whole, tmp_path / "timm.pth")
    assert torch.equal(whole.consensus.classifier.weight, plain.classifier.weight)
    with pytest.raises(WeightsError, match=r"does not fit Tsm; got missing"):
        start_tsm(Tsm(MEDIUM), tmp_path / "timm.pth")


def test_weights_of_a_tsm_are_taken_by_its_own_names(tmp_path: Path):
    source = trained(pooling="mean")
    tensors = {}
    for name, value in source.state_dict().items():
        name = name.replace("consensus.classifier", "new_fc").replace("backbone.", "base_model.")
        tensors[f"module.{name}"] = value
    torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "tsm.pth")
    network = Tsm(SMALL, pooling="mean")
    assert start_tsm(network, tmp_path / "tsm.pth")
    for name, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_a_trained_checkpoint_opens_by_its_card(tmp_path: Path):
    network = trained(fold_div=4, segments=4)
    state = {f"network.{n}": v for n, v in network.state_dict().items()}
    card = {"kind": "tsm", "network": network.form, "side": 32}
    torch.save({"state_dict": state, "posepipe": json.dumps(card)}, tmp_path / "best.ckpt")
    opened, told = load_tsm(tmp_path / "best.ckpt")
    assert told == card
    assert opened.form["segments"] == 4
    clips = torch.rand(1, 4, 3, 32, 32) * 255
    with torch.no_grad():
        assert torch.equal(opened(clips), network(clips))
    for wrong, message in (
        ({}, "no TSM that posepipe trained; got a file without a card"),
        ({"kind": "pose"}, "got kind 'pose'"),
        ({**card, "network": {"backbone": "resnet"}}, "describes no known network"),
        ({**card, "network": {"colour": 1}}, "describes no known network"),
        ({**card, "network": {**network.form, "segments": 0}}, "describes no known network"),
        ({**card, "network": {**network.form, "fold_div": "4"}}, "describes no known network"),
        ({**card, "network": {**network.form, "dropout": 7.0}}, "describes no known network"),
    ):
        torch.save({"state_dict": state, "posepipe": json.dumps(wrong) if wrong else ""}, tmp_path / "wrong.ckpt")
        with pytest.raises(WeightsError, match=message):
            load_tsm(tmp_path / "wrong.ckpt")


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown backbone"):
        Tsm("resnet50")
    with pytest.raises(UsageError, match="unknown pooling"):
        Tsm(SMALL, pooling="max")  # type: ignore[arg-type]
