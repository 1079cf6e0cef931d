from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from posepipe.models.videomae import TemporalAdapter, VideoMae, VideoMaeForm, sine_positions, window_features

TINY = VideoMaeForm(width=12, depth=2, heads=2, image=32)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_those_of_the_published_network():
    plain, adapted = VideoMae(VideoMaeForm(adapter_share=0)), VideoMae()
    assert (count(plain), count(adapted)) == (21_879_936, 22_886_796)
    assert count(adapted.patches) == 590_208
    assert count(plain.blocks[0]) == 1_774_080
    adapter = adapted.blocks[0].adapter
    parts = {name: count(getattr(adapter, name)) for name in ("down", "depthwise", "pointwise", "up")}
    assert parts == {"down": 36_960, "depthwise": 384, "pointwise": 9_312, "up": 37_248}
    assert count(adapter) == 83_905
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == 12 * 83_905 == 1_006_860


def test_shapes_of_a_window_of_48_chunks():
    network = VideoMae(VideoMaeForm(depth=1)).to("meta")
    with torch.device("meta"):
        maps = network(torch.empty(48, 3, 16, 160, 160), 48)
        features = window_features(network, torch.empty(1, 768, 160, 160, 3, dtype=torch.uint8))
    assert maps.shape == (48, 384, 8, 10, 10)
    assert features.shape == (1, 384, 768)


def test_an_adapter_is_the_identity_at_the_start():
    adapter = TemporalAdapter(8, 2)
    x = torch.randn(4, 2 * 6, 8)
    assert torch.equal(adapter(x, 2, (2, 2, 3)), x)


def test_an_adapter_mixes_neighbouring_steps_of_the_window_across_chunks_at_one_place():
    torch.manual_seed(0)
    adapter = TemporalAdapter(8, 4)
    torch.nn.init.normal_(adapter.up.weight)
    chunks, grid = 3, (8, 2, 3)
    x = torch.randn(chunks, 8 * 6, 8)
    other = x.clone()
    other[1, 0 * 6 + 4] += 1  # step 8 of the window is the first of the second chunk
    with torch.no_grad():
        moved = (adapter(x, chunks, grid) - adapter(other, chunks, grid)).abs().amax(-1) > 1e-6
    steps = moved.reshape(chunks * 8, 6)
    assert steps.any(1).nonzero()[:, 0].tolist() == [7, 8, 9]
    assert steps.any(0).nonzero()[:, 0].tolist() == [4]


def test_windows_of_a_batch_do_not_see_one_another():
    torch.manual_seed(0)
    network = VideoMae(TINY).eval()
    for block in network.blocks:
        torch.nn.init.normal_(block.adapter.up.weight)
    video = torch.randint(0, 255, (2, 32, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        both, alone = window_features(network, video), window_features(network, video[1:])
    assert torch.allclose(both[1], alone[0], atol=1e-5)


def test_positions_are_sines_and_cosines_resized_to_the_picture():
    positions = sine_positions(8 * 4, 12)
    assert positions[3, 0] == pytest.approx(0.14112, abs=1e-5)  # sin 3
    assert positions[3, 1] == pytest.approx(-0.98999, abs=1e-5)  # cos 3
    assert positions[3, 2] == pytest.approx(0.60226, abs=1e-5)  # sin(3 / 10000^(2/12))
    network = VideoMae(TINY)
    assert torch.equal(network._positions((8, 2, 2)), network.positions)
    assert network._positions((8, 3, 3)).shape == (8 * 9, 12)


def test_only_the_adapters_learn_with_and_without_checkpointing():
    video = torch.randint(0, 255, (1, 32, 32, 32, 3), dtype=torch.uint8)
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        network = VideoMae(TINY, checkpointing=checkpointing)
        for block in network.blocks:
            torch.nn.init.normal_(block.adapter.up.weight)
        network.train()
        torch.manual_seed(4)
        window_features(network, video).square().sum().backward()
        trained = {name for name, p in network.named_parameters() if p.grad is not None}
        assert trained == {name for name, _ in network.named_parameters() if ".adapter." in name}
        grads.append([p.grad for p in network.adapters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*grads, strict=True))


def test_branches_are_left_out_of_whole_chunks_in_training():
    network = VideoMae(VideoMaeForm(width=12, depth=2, heads=2, image=32, drop_path=0.999)).train()
    chunks = torch.randn(6, 3, 16, 32, 32)
    torch.manual_seed(0)
    with torch.no_grad():
        last = network.blocks[1]
        x = torch.randn(6, 32, 12)
        assert torch.equal(last(x, 3, (8, 2, 2)), x)
        assert not torch.equal(network.eval()(chunks, 3), network.train()(chunks, 3))
