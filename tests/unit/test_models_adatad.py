"""Checkpoints of temporal detectors under the names that others give their tensors."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from posepipe.errors import WeightsError
from posepipe.models.actionformer import ActionFormer, ActionFormerForm
from posepipe.models.adatad import TemporalDetector, load_temporal_detector, load_videomae
from posepipe.models.videomae import VideoMae, VideoMaeForm

FORM = ActionFormerForm(inputs=64, classes=3, width=16, heads=4, levels=3, stem=1)
ENCODER = VideoMaeForm(width=64, depth=2, heads=1)

_BLOCK = {
    "norm1": "ln1",
    "norm2": "ln2",
    **{f"attention.{name}_conv": f"attn.{name}_conv.conv" for name in ("query", "key", "value")},
    **{f"attention.{name}_norm": f"attn.{name}_norm" for name in ("query", "key", "value")},
    **{f"attention.{name}": f"attn.{name}" for name in ("query", "key", "value")},
    "attention.out": "attn.proj",
    "fc1": "mlp.0",
    "fc2": "mlp.3",
    "path1": "drop_path_attn",
    "path2": "drop_path_mlp",
}
_ENCODER_BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "fc1": "mlp.layers.0.0",
    "fc2": "mlp.layers.1",
    "adapter.down": "adapter.down_proj",
    "adapter.up": "adapter.up_proj",
    "adapter.depthwise": "adapter.dwconv",
    "adapter.pointwise": "adapter.conv",
}


def spread(module: torch.nn.Module, ours: str, theirs: str) -> dict[str, torch.Tensor]:
    """Tensors of a part by another name."""
    part = module.get_submodule(ours)
    return {f"{theirs}.{name}": value for name, value in part.state_dict().items()}


def encoder_tensors(encoder: VideoMae, names: dict[str, str], patches: str) -> dict[str, torch.Tensor]:
    found = spread(encoder, "patches", patches) | spread(encoder, "pooled_norm", "fc_norm")
    for number, block in enumerate(encoder.blocks):
        for ours, theirs in names.items():
            found |= spread(block, ours, f"blocks.{number}.{theirs}")
        found[f"blocks.{number}.attn.q_bias"] = block.attention.query_bias
        found[f"blocks.{number}.attn.v_bias"] = block.attention.value_bias
        if "adapter.down" in names:
            found[f"blocks.{number}.adapter.gamma"] = block.adapter.gamma
    return found


def opentad_tensors(network: TemporalDetector) -> dict[str, torch.Tensor]:
    """As OpenTAD's AdaTAD saves them."""
    detector = network.detector
    found = {"rpn_head.loss_normalizer": torch.tensor(100.0)}
    for number in range(2):
        found |= spread(detector, f"embed.{number}", f"projection.embed.{number}")
        found |= spread(detector, f"classify.tower.{number}", f"rpn_head.cls_convs.{number}")
        found |= spread(detector, f"regress.tower.{number}", f"rpn_head.reg_convs.{number}")
    for part in ("stem", "branch"):
        for number, block in enumerate(getattr(detector, part)):
            for ours, theirs in _BLOCK.items():
                found |= spread(block, ours, f"projection.{part}.{number}.{theirs}")
    for number in range(detector.form.levels):
        found |= spread(detector, f"neck.{number}", f"neck.fpn_norms.{number}")
        found[f"rpn_head.scale.{number}.scale"] = detector.scale[number]
    found |= spread(detector, "classify.last", "rpn_head.cls_head") | spread(
        detector, "regress.last", "rpn_head.reg_head"
    )
    if network.backbone is not None:
        inner = encoder_tensors(network.backbone, _ENCODER_BLOCK, "patch_embed.projection")
        inner["pos_embed"] = torch.zeros(1, 4, 4)
        found |= {f"backbone.model.backbone.{name}": value for name, value in inner.items()}
        found["backbone.model.data_preprocessor.mean"] = torch.zeros(3)
    return {name: value.detach().clone() for name, value in found.items()}


def noisy(network: torch.nn.Module) -> torch.nn.Module:
    """No two tensors alike, so that a mistaken name shows."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    return network


@pytest.mark.parametrize("with_backbone", [True, False])
def test_checkpoints_of_opentad(tmp_path: Path, with_backbone: bool):
    network = noisy(TemporalDetector(ActionFormer(FORM), VideoMae(ENCODER) if with_backbone else None))
    tensors = opentad_tensors(network)
    plain = {name: torch.zeros_like(value) for name, value in tensors.items()}
    wrapped = {f"module.{name}": value for name, value in tensors.items()}
    for file, content in (("a.pth", {"epoch": 3, "state_dict": plain, "state_dict_ema": tensors}), ("b.pth", wrapped)):
        torch.save(content, tmp_path / file)
        loaded = load_temporal_detector(tmp_path / file)
        assert loaded.state_dict().keys() == network.state_dict().keys()
        for name, value in network.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), name
        assert not loaded.training


def test_own_checkpoints_come_back(tmp_path: Path):
    network = noisy(TemporalDetector(ActionFormer(FORM), VideoMae(ENCODER))).eval()
    torch.save({"state_dict": {f"network.{n}": v for n, v in network.state_dict().items()}}, tmp_path / "a.ckpt")
    video = torch.randint(0, 255, (1, 32, 32, 32, 3), dtype=torch.uint8)
    mask = torch.ones(1, 32, dtype=torch.bool)
    with torch.no_grad():
        assert torch.equal(load_temporal_detector(tmp_path / "a.ckpt")(video, mask).logits, network(video, mask).logits)


@pytest.mark.parametrize(
    ("patches", "first", "second", "prefix", "wrapper"),
    [
        ("patch_embed.proj", "mlp.fc1", "mlp.fc2", "", "module"),
        ("patch_embed.proj", "mlp.fc1", "mlp.fc2", "encoder.", "model"),
        ("patch_embed.projection", "mlp.layers.0.0", "mlp.layers.1", "backbone.", "state_dict"),
    ],
)
def test_weights_of_videomae(tmp_path: Path, patches: str, first: str, second: str, prefix: str, wrapper: str):
    encoder = noisy(VideoMae(ENCODER))
    names = {n: t for n, t in _ENCODER_BLOCK.items() if "adapter" not in n} | {"fc1": first, "fc2": second}
    tensors = {f"{prefix}{n}": v.detach() for n, v in encoder_tensors(encoder, names, patches).items()}
    tensors |= {"head.weight": torch.zeros(4, 64), "head.bias": torch.zeros(4)}
    torch.save({wrapper: tensors}, tmp_path / "vit.pth")
    loaded = VideoMae(ENCODER)
    before = loaded.blocks[0].adapter.down.weight.clone()
    load_videomae(loaded, tmp_path / "vit.pth")
    for name, value in encoder.state_dict().items():
        if ".adapter." not in name:
            assert torch.equal(loaded.state_dict()[name], value), name
    assert torch.equal(loaded.blocks[0].adapter.down.weight, before)


def test_what_does_not_fit_is_named(tmp_path: Path):
    torch.save({"state_dict": {"layer1.weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="no known temporal detector"):
        load_temporal_detector(tmp_path / "other.pth")
    tensors = opentad_tensors(TemporalDetector(ActionFormer(FORM)))
    del tensors["rpn_head.reg_head.bias"]
    torch.save(tensors, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match=r"missing 1: detector\.regress\.last\.bias"):
        load_temporal_detector(tmp_path / "part.pth")
    with pytest.raises(WeightsError, match="missing"):
        load_videomae(VideoMae(ENCODER), tmp_path / "other.pth")
