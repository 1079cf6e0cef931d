from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from posepipe.models.actionformer import ActionFormer, ActionFormerForm, ConvAttention, points_of

SMALL = ActionFormerForm(inputs=6, classes=3, width=16, heads=2, levels=3, stem=1)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_those_of_the_published_network():
    with torch.device("meta"):
        network = ActionFormer(ActionFormerForm())
        wide = ActionFormer(ActionFormerForm(inputs=2048))
    parts = {name: count(getattr(network, name)) for name in ("embed", "stem", "branch", "neck", "classify", "regress")}
    assert parts == {
        "embed": 1_378_304,
        "stem": 6_322_176,
        "branch": 15_805_440,
        "neck": 6_144,
        "classify": 1_574_912 + 30_740,
        "regress": 1_574_912 + 3_074,
    }
    block = network.branch[0]
    assert (count(block), count(block.attention)) == (3_161_088, 1_058_304)
    assert (count(network), count(wide)) == (26_695_708, 29_251_612)


def test_levels_of_the_pyramid_and_their_masks():
    network = ActionFormer(ActionFormerForm(inputs=4, classes=2, width=8, heads=2)).eval()
    mask = torch.arange(768)[None] < 500
    found = network(torch.randn(1, 4, 768), mask)
    sizes = [768, 384, 192, 96, 48, 24]
    assert found.logits.shape == (1, sum(sizes), 2)
    assert found.offsets.shape == (1, 1512, 2)
    assert [int(part.sum()) for part in found.valid[0].split(sizes)] == [500, 250, 125, 63, 32, 16]
    assert (found.offsets >= 0).all()


def test_points():
    points = points_of(768, 6)
    assert len(points.position) == 1512
    level = points.stride == 8
    assert points.position[level][:3].tolist() == [0, 8, 16]
    assert points.reach[level][0].tolist() == [16, 32]
    assert points.reach[0].tolist() == [0, 4]
    assert points.reach[-1].tolist() == [64, 10000]


def test_the_prior_of_every_class_is_one_per_cent_at_the_start():
    assert ActionFormer(SMALL).classify.last.bias.tolist() == pytest.approx([-4.59512] * 3, abs=5e-6)


def test_what_is_not_real_has_no_influence():
    torch.manual_seed(1)
    network = ActionFormer(SMALL).eval()
    with torch.no_grad():
        for block in (*network.stem, *network.branch):
            block.path1.scale.fill_(1.0)
            block.path2.scale.fill_(1.0)
            block.norm1.bias.normal_()
        mask = torch.arange(32)[None] < 20
        one = torch.randn(1, 6, 32)
        other = torch.where(mask[:, None], one, torch.full_like(one, 7.0))
        # Zeros first: the first convolution looks one step beyond the border, as in the published code.
        first, second = (network(x * mask[:, None], mask) for x in (one, other))
        longer = network(torch.nn.functional.pad(one * mask[:, None], (0, 16)), torch.arange(48)[None] < 20)
    assert torch.equal(first.logits, second.logits)
    assert torch.allclose(first.logits[:, :20], longer.logits[:, :20], atol=1e-5)


def test_attention_with_a_window_sees_no_further():
    torch.manual_seed(1)
    attention = ConvAttention(8, 2, 1, 5).eval()
    mask = torch.ones(1, 24, dtype=torch.bool)
    x = torch.randn(1, 8, 24)
    other = x.clone()
    other[..., 20] += 1
    with torch.no_grad():
        changed = (attention(x, mask) - attention(other, mask)).abs().amax((0, 1)) > 1e-7
    # two steps of the window and one of the convolution
    assert changed.nonzero()[:, 0].tolist() == [17, 18, 19, 20, 21, 22, 23]


def test_attention_of_all_equals_the_plain_formula():
    torch.manual_seed(2)
    attention = ConvAttention(8, 2, 1, 0).eval()
    mask = torch.arange(10)[None] < 7
    x = torch.randn(1, 8, 10) * mask[:, None]
    with torch.no_grad():
        parts = {}
        for name in ("query", "key", "value"):
            mixed = getattr(attention, f"{name}_conv")(x) * mask[:, None]
            parts[name] = getattr(attention, name)(getattr(attention, f"{name}_norm")(mixed))[0, :, :7]
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            weight = (parts["query"][head].T @ parts["key"][head] / 2).softmax(-1)
            heads.append(parts["value"][head] @ weight.T)
        expected = attention.out(torch.cat(heads)[None])
        assert torch.allclose(attention(x, mask)[..., :7], expected, atol=1e-6)


def test_it_learns_and_drops_branches_in_training_only():
    network = ActionFormer(SMALL)
    x, mask = torch.randn(2, 6, 32), torch.ones(2, 32, dtype=torch.bool)
    found = network(x, mask)
    (found.logits.sum() + found.offsets.sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.eval()
    assert torch.equal(network(x, mask).logits, network(x, mask).logits)
