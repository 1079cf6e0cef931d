"""AdaTAD: features of a frozen VideoMAE with adapters, and an ActionFormer on them; or an ActionFormer alone.

Checkpoints are opened by what their tensors are called:

=====================  ==================================================================================
OpenTAD                ``backbone.model.backbone.*``, ``projection.*``, ``neck.*``, ``rpn_head.*``
VideoMAE, mmaction2    ``patch_embed.proj.*`` or ``backbone.patch_embed.projection.*``, ``blocks.N.*``
this project           ``backbone.*``, ``detector.*``
=====================  ==================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from posepipe.errors import WeightsError
from posepipe.models.actionformer import ActionFormer, ActionFormerForm, Found
from posepipe.models.pose_files import fill, read_tensors
from posepipe.models.videomae import VideoMae, VideoMaeForm, window_features

__all__ = ["TemporalDetector", "load_temporal_detector", "load_videomae"]

Rule = tuple[str, str]

_VIDEOMAE: tuple[Rule, ...] = (
    (r"^(?:backbone|encoder)\.(?=patch_embed|blocks|fc_norm|pos_embed)", ""),
    (r"^patch_embed\.(?:projection|proj)\.", "patches."),
    (r"^fc_norm\.", "pooled_norm."),
    (r"\.attn\.q_bias$", ".attention.query_bias"),
    (r"\.attn\.v_bias$", ".attention.value_bias"),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.mlp\.(?:layers\.0\.0|fc1)\.", ".fc1."),
    (r"\.mlp\.(?:layers\.1|fc2)\.", ".fc2."),
    (r"\.adapter\.down_proj\.", ".adapter.down."),
    (r"\.adapter\.up_proj\.", ".adapter.up."),
    (r"\.adapter\.dwconv\.", ".adapter.depthwise."),
    (r"\.adapter\.conv\.", ".adapter.pointwise."),
)
_ACTIONFORMER: tuple[Rule, ...] = (
    (r"^projection\.", ""),
    (r"^neck\.fpn_norms\.", "neck."),
    (r"^rpn_head\.cls_convs\.", "classify.tower."),
    (r"^rpn_head\.reg_convs\.", "regress.tower."),
    (r"^rpn_head\.cls_head\.", "classify.last."),
    (r"^rpn_head\.reg_head\.", "regress.last."),
    (r"\.ln([12])\.", r".norm\1."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.attn\.(query|key|value)_conv\.conv\.", r".attention.\1_conv."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.3\.", ".fc2."),
    (r"\.drop_path_attn\.", ".path1."),
    (r"\.drop_path_mlp\.", ".path2."),
)
#: made anew, or of no use beside the network: positions, pixel statistics, the loss's counter, VideoMAE's classifier
_LEFT_OUT = re.compile(
    r"(^|\.)pos_embed$|data_preprocessor\.|loss_normalizer$|^(model\.)?(cls_)?head\.|^norm\.|^decoder\.|prior_generator"
)
_OPENTAD_BACKBONE = "backbone.model.backbone."


class TemporalDetector(nn.Module):
    """Where actions are, in windows of frames or of features.

    Parameters
    ----------
    detector
        Looks for actions in features.
    backbone
        Makes the features from frames; None where features come as they are.
    """

    def __init__(self, detector: ActionFormer, backbone: VideoMae | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.backbone = backbone

    def forward(self, windows: Tensor, mask: Tensor) -> Found:
        """Look for actions.

        Parameters
        ----------
        windows
            (N,T,H,W,3) uint8 RGB frames, or (N,C,T) features without a backbone.
        mask
            (N,T) bool, True where a step is real.
        """
        features = windows if self.backbone is None else window_features(self.backbone, windows)
        found: Found = self.detector(features, mask)
        return found


def load_temporal_detector(path: str | Path, *, heads: int = 4, window: int = 0) -> TemporalDetector:
    """Open a checkpoint of a temporal detector, this project's or OpenTAD's; averaged weights where it has them.

    Parameters
    ----------
    path
        A .pth, .pt, .ckpt or .safetensors file.
    heads, window
        Of the ActionFormer: attention heads and steps that a step attends to, which no tensor tells.

    Returns
    -------
    The network in evaluation mode.

    Raises
    ------
    WeightsError
        The file cannot be read, asks for code to be run, is of no known form, or tensors are missing, left over or of
        the wrong shape: the message names them.
    """
    path = Path(path)
    tensors, _ = read_tensors(path)
    for prefix in ("module.", "network."):
        if any(name.startswith(prefix) for name in tensors):
            tensors = {n[len(prefix) :]: v for n, v in tensors.items() if n.startswith(prefix)}
    if any(name.startswith("rpn_head.") for name in tensors):
        tensors = _from_opentad(tensors)
    try:
        network = _network(tensors, heads, window)
    # What a foreign file lacks, or holds in an unheard-of shape, shows in one of these ways.
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(
            f"{path} is of no known temporal detector ({error})",
            got=f"tensors {', '.join(sorted(tensors)[:4])} ...",
            expected="AdaTAD or ActionFormer of OpenTAD, or a network of posepipe",
        ) from error
    fill(network, tensors, path)
    return network.eval()


def load_videomae(network: VideoMae, path: str | Path) -> None:
    """Fill an encoder from VideoMAE's weights, as its authors or mmaction2 keep them; adapters stay as they are.

    Raises
    ------
    WeightsError
        As for :func:`load_temporal_detector`.
    """
    path = Path(path)
    tensors = _renamed(read_tensors(path)[0], _VIDEOMAE)
    own = network.state_dict()
    fill(network, {n: v for n, v in own.items() if ".adapter." in n} | tensors, path)


def _renamed(tensors: dict[str, Tensor], rules: Iterable[Rule]) -> dict[str, Tensor]:
    found = {}
    for name, value in tensors.items():
        if _LEFT_OUT.search(name):
            continue
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        found[name] = value
    return found


def _from_opentad(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of OpenTAD's naming by this project's names."""
    inner = {n[len(_OPENTAD_BACKBONE) :]: v for n, v in tensors.items() if n.startswith(_OPENTAD_BACKBONE)}
    rest = _renamed({n: v for n, v in tensors.items() if not n.startswith("backbone.")}, _ACTIONFORMER)
    scales = sorted(
        (n for n in rest if re.fullmatch(r"rpn_head\.scale\.\d+\.scale", n)), key=lambda n: int(n.split(".")[2])
    )
    if scales:
        rest["scale"] = torch.stack([rest.pop(name).reshape(()) for name in scales])
    found = {f"detector.{name}": value for name, value in rest.items()}
    return found | {f"backbone.{name}": value for name, value in _renamed(inner, _VIDEOMAE).items()}


def _network(tensors: dict[str, Tensor], heads: int, window: int) -> TemporalDetector:
    """A network of the size that the tensors have."""
    first = tensors["detector.embed.0.conv.weight"]
    form = ActionFormerForm(
        inputs=first.shape[1],
        classes=len(tensors["detector.classify.last.bias"]),
        width=first.shape[0],
        heads=heads,
        levels=len(tensors["detector.scale"]),
        stem=_count(tensors, "detector.stem."),
        window=window,
    )
    if form.width % heads:
        raise ValueError(f"{form.width} channels for {heads} heads")
    if "backbone.patches.weight" not in tensors:
        return TemporalDetector(ActionFormer(form))
    patches = tensors["backbone.patches.weight"]
    width = patches.shape[0]
    down = tensors.get("backbone.blocks.0.adapter.down.weight")
    share = 0.0 if down is None else down.shape[0] / width
    encoder = VideoMaeForm(
        width=width,
        depth=_count(tensors, "backbone.blocks."),
        heads=max(1, width // 64),
        tubelet=patches.shape[2],
        patch=patches.shape[3],
        adapter_share=share,
    )
    return TemporalDetector(ActionFormer(form), VideoMae(encoder))


def _count(tensors: dict[str, Tensor], prefix: str) -> int:
    """Members of a list of modules."""
    return len({name[len(prefix) :].partition(".")[0] for name in tensors if name.startswith(prefix)})
