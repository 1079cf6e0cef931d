"""TSM (Lin, Gan, Han 2019) on MobileNetV4-Conv (Qin et al. 2024): a picture network that sees time at no cost.

The network reads every frame of a clip alone, but before the first convolution of each block with a skip connection a
part of the channels is moved one frame on and another part one frame back ("residual shift": the skip itself is not
shifted). MobileNetV4 is timm's. The frames' features are pooled over time and classified.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from posepipe.errors import MissingExtraError, UsageError, WeightsError
from posepipe.models.pose_files import fill, read_tensors

__all__ = ["POOLINGS", "TSM_BACKBONES", "TemporalShift", "Tsm", "load_tsm", "start_tsm", "temporal_shift"]

#: the backbones, by timm's names
TSM_BACKBONES = ("mobilenetv4_conv_small", "mobilenetv4_conv_medium")
Pooling = Literal["attention", "mean"]
#: how frames are pooled
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
_MIDDLE = 127.5
_HEAD_STD = 0.001
_WRAPPERS = ("module.", "network.", "base_model.", "backbone.")


def temporal_shift(x: Tensor, segments: int, fold_div: int) -> Tensor:
    """Move parts of the channels in time (TSM, section 3.1, the two-way form).

    Parameters
    ----------
    x
        (N*T,C,H,W) features, the T frames of a clip one after another.
    segments
        T.
    fold_div
        The first C // fold_div channels of a frame become those of the next frame (zero in the last frame), as many
        after them those of the frame before (zero in the first frame); the others stay.

    Returns
    -------
    (N*T,C,H,W), not sharing memory with `x`.
    """
    clips = x.reshape(-1, segments, *x.shape[1:])
    fold = x.shape[1] // fold_div
    shifted = torch.zeros_like(clips)
    shifted[:, :-1, :fold] = clips[:, 1:, :fold]
    shifted[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
    shifted[:, :, 2 * fold :] = clips[:, :, 2 * fold :]
    return shifted.flatten(0, 1)


class TemporalShift(nn.Module):
    """A layer that sees shifted features; see `temporal_shift`. It adds no weights."""

    def __init__(self, net: nn.Module, segments: int, fold_div: int) -> None:
        super().__init__()
        self.net = net
        self.segments, self.fold_div = segments, fold_div

    def forward(self, x: Tensor) -> Tensor:
        """`net` of the shifted (N*T,C,H,W)."""
        return cast("Tensor", self.net(temporal_shift(x, self.segments, self.fold_div)))


class _Consensus(nn.Module):
    """Features of the frames (N,T,C) -> logits (N,outputs): pooled over time, dropout, linear.

    The mean is TSM's consensus, since the mean of linear answers is the answer to the mean. Attention weighs frames by
    the softmax over time of a linear score; it begins as the mean.
    """

    def __init__(self, channels: int, outputs: int, pooling: Pooling, dropout: float) -> None:
        super().__init__()
        self.attention = nn.Linear(channels, 1, bias=False) if pooling == "attention" else None
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, outputs)
        if self.attention is not None:
            nn.init.zeros_(self.attention.weight)
        nn.init.normal_(self.classifier.weight, 0.0, _HEAD_STD)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, frames: Tensor) -> Tensor:
        pooled = frames.mean(1) if self.attention is None else (self.attention(frames).softmax(1) * frames).sum(1)
        return cast("Tensor", self.classifier(self.dropout(pooled)))


class Tsm(nn.Module):
    """MobileNetV4-Conv with temporal shift. Takes clips of RGB in 0..255, which it brings to -1..1.

    Parameters
    ----------
    backbone
        One of `TSM_BACKBONES`.
    outputs
        Logits a clip; 1 says how likely the clip is manipulated.
    segments
        Frames a clip, T.
    fold_div
        Share of the channels that moves each way: 1 / fold_div.
    pooling
        ``attention`` or ``mean`` over time.
    dropout
        Before the classifier.

    Attributes
    ----------
    form
        The arguments, by name, as a checkpoint's card holds them.

    Raises
    ------
    UsageError
        A name is unknown, or a number is not a whole one from 1 on.
    MissingExtraError
        timm is not installed.
    """

    def __init__(
        self,
        backbone: str = "mobilenetv4_conv_small",
        outputs: int = 1,
        *,
        segments: int = 8,
        fold_div: int = 8,
        pooling: Pooling = "attention",
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if backbone not in TSM_BACKBONES:
            raise UsageError(f"unknown backbone {backbone!r}", expected=" or ".join(TSM_BACKBONES))
        if pooling not in POOLINGS:
            raise UsageError(f"unknown pooling {pooling!r}", expected=" or ".join(POOLINGS))
        if not all(type(number) is int and number >= 1 for number in (outputs, segments, fold_div)):
            raise UsageError("outputs, segments and fold_div count from 1", got=(outputs, segments, fold_div))
        try:
            import timm
        except ImportError as error:
            raise MissingExtraError("MobileNetV4", "torch") from error
        self.form: dict[str, Any] = {
            "backbone": backbone,
            "outputs": outputs,
            "segments": segments,
            "fold_div": fold_div,
            "pooling": pooling,
            "dropout": dropout,
        }
        self.backbone = timm.create_model(backbone, pretrained=False, num_classes=0)
        for block in self.backbone.modules():
            if getattr(block, "has_skip", False):
                first = "pw_exp" if isinstance(block.dw_start, nn.Identity) else "dw_start"
                setattr(block, first, TemporalShift(getattr(block, first), segments, fold_div))
        self.consensus = _Consensus(cast("int", self.backbone.head_hidden_size), outputs, pooling, dropout)
        self._frozen: list[nn.BatchNorm2d] = []

    @property
    def norms(self) -> list[nn.BatchNorm2d]:
        """The batch norms from the input on."""
        return [module for module in self.backbone.modules() if isinstance(module, nn.BatchNorm2d)]

    def freeze_norms(self, share: float) -> int:
        """Freeze the first int(share x count) batch norms: statistics and affine weights stay. Returns how many."""
        self._frozen = self.norms[: int(share * len(self.norms))]
        for norm in self._frozen:
            norm.requires_grad_(False)
        self.train(self.training)
        return len(self._frozen)

    def train(self, mode: bool = True) -> Tsm:
        """As for any module, but frozen norms stay in evaluation mode."""
        super().train(mode)
        for norm in self._frozen:
            norm.eval()
        return self

    def forward(self, clips: Tensor) -> Tensor:
        """(N,T,3,H,W) float32 RGB in 0..255 -> (N,outputs) logits."""
        pictures = clips.flatten(0, 1) / _MIDDLE - 1.0
        frames = self.backbone(pictures.contiguous(memory_format=torch.channels_last))
        return cast("Tensor", self.consensus(frames.reshape(*clips.shape[:2], -1)))


def start_tsm(network: Tsm, path: str | Path) -> bool:
    """Fill a network from a checkpoint of timm's MobileNetV4, of a TSM on it, or of `Tsm`.

    Parameters
    ----------
    network
        Filled in place.
    path
        .pth, .pt, .ckpt or .safetensors. Names may stand behind ``module.``, ``base_model.`` and the like; a shifted
        layer may be named as TSM does (``.net.``) or as timm does; TSM's ``new_fc`` is the classifier.

    Returns
    -------
    Whether the classifier was taken too. It is left out where it has another number of outputs.

    Raises
    ------
    WeightsError
        The file cannot be read, or tensors are missing, left over or of the wrong shape: the message names them.
    """
    path = Path(path)
    own = network.state_dict()
    tensors = {}
    for name, value in read_tensors(path)[0].items():
        name = _own_name(name, own)
        if not (name.startswith("consensus.") and name in own and own[name].shape != value.shape):
            tensors[name] = value
    tensors = {n: v for n, v in tensors.items() if n != "consensus.attention.weight" or n in own}
    fill(network, tensors, path, absent="consensus.")
    return "consensus.classifier.weight" in tensors


def _own_name(name: str, own: dict[str, Any]) -> str:
    """A foreign tensor's name in `Tsm`'s words."""
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    if name.startswith("consensus."):
        return name
    for classifier in ("classifier.", "new_fc."):
        if name.startswith(classifier):
            return f"consensus.{classifier.replace('new_fc', 'classifier')}{name[len(classifier) :]}"
    for layer in (".pw_exp.", ".dw_start."):
        shifted = f"backbone.{name.replace(layer, f'{layer}net.')}"
        if shifted in own:
            return shifted
    return f"backbone.{name}"


def load_tsm(path: str | Path) -> tuple[Tsm, dict[str, Any]]:
    """Open a checkpoint of this project's training: the network in evaluation mode, and the file's card.

    Raises
    ------
    WeightsError
        The file cannot be read, has no card of a TSM, or its tensors do not fit.
    MissingExtraError
        timm or safetensors is not installed.
    """
    path = Path(path)
    tensors, card = read_tensors(path)
    form = card.get("network")
    if card.get("kind") != "tsm" or not isinstance(form, dict):
        raise WeightsError(
            f"{path} is no TSM that posepipe trained",
            got=f"kind {card.get('kind')!r}" if card else "a file without a card",
            hint="Public weights are where a training starts: posepipe train RECIPE --start FILE",
        )
    try:
        network = Tsm(**form)
    except (TypeError, ValueError, UsageError) as error:
        raise WeightsError(f"the card of {path} describes no known network: {error}") from error
    fill(network, {n.removeprefix("network."): v for n, v in tensors.items()}, path)
    return network.eval(), card
