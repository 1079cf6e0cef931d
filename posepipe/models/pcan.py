"""PCAN: RGBPoseConv3D with gates between the streams, fine and coarse heads, and prototypes that calibrate them.

Li et al., "Prototypical Calibrating Ambiguous Samples for Micro-Action Recognition", AAAI 2025 (arXiv 2412.14719).
Every part can be switched off; without any of them the network is RGBPoseConv3D, or SlowOnly where one stream is left
out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from posepipe.errors import UsageError
from posepipe.models.pcan_prototypes import CoarsePrototypes, FinePrototypes, tree_loss
from posepipe.models.rgbpose3d import (
    LIGHT_POSE_PATHWAY,
    POSE_PATHWAY,
    RGB_PATHWAY,
    Laterals,
    PathwayForm,
    RGBPose3D,
)

__all__ = ["LossWeights", "Pcan", "PcanParts", "StreamOutput", "fuse", "light_pcan"]

# what a cosine of 1 adds to a fine logit at inference
_RECTIFICATION = {"rgb": 5.0, "pose": 1.0}


@dataclass(frozen=True)
class PcanParts:
    """Which parts of the method are there; a part that is off leaves no parameters.

    Attributes
    ----------
    gates
        Cross-attention between the streams, where there are two.
    fine_prototypes
        Prototypes of the fine classes, with their diversity.
    coarse_prototypes, tree
        Prototypes of the coarse classes and the tree loss, where there are coarse classes.
    rectification
        Adding the likeness to the fine prototypes to the logits at inference.
    """

    gates: bool = True
    fine_prototypes: bool = True
    coarse_prototypes: bool = True
    tree: bool = True
    rectification: bool = True

    @classmethod
    def none(cls) -> PcanParts:
        """RGBPoseConv3D as it is."""
        return cls(False, False, False, False, False)


@dataclass(frozen=True)
class LossWeights:
    """Factors of the parts of the loss; the defaults are those of the publication.

    Attributes
    ----------
    rgb, pose, rgb_coarse, pose_coarse
        Of the cross-entropy of each stream at both levels.
    prototypes, diversity, tree
        Of each stream's calibration at either level, of the diversity of its fine prototypes, and of its tree loss.
    """

    rgb: float = 1.0
    pose: float = 1.0
    rgb_coarse: float = 1.0
    pose_coarse: float = 1.0
    prototypes: float = 0.2
    diversity: float = 0.2
    tree: float = 1.0


@dataclass(frozen=True)
class StreamOutput:
    """What one stream says of N clips.

    Attributes
    ----------
    fine
        (N,F) logits; in evaluation rectified by the prototypes.
    coarse
        (N,C) logits; None without coarse classes.
    peaks
        (N, channels) maxima over the cells of the mean over time, before dropout: what the prototypes learn from.
    """

    fine: Tensor
    coarse: Tensor | None
    peaks: Tensor


class _Head(nn.Module):
    """Classifiers and prototypes of one stream."""

    def __init__(
        self, channels: int, classes: int, groups: int, parts: PcanParts, dropout: float, rectification: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fine = _classifier(channels, classes)
        self.coarse = _classifier(channels, groups) if groups else None
        self.fine_prototypes = FinePrototypes(channels, classes) if parts.fine_prototypes else None
        coarse = groups and parts.coarse_prototypes
        self.coarse_prototypes = CoarsePrototypes(channels, groups) if coarse else None
        self.tree = bool(groups) and parts.tree
        self.rectification = rectification if parts.rectification and parts.fine_prototypes else 0.0

    def forward(self, features: Tensor) -> StreamOutput:
        """(N,C,T,h,w) -> logits."""
        pooled = self.dropout(features.mean((2, 3, 4)))
        fine: Tensor = self.fine(pooled)
        if self.fine_prototypes is not None and self.rectification and not self.training:
            fine = fine + self.rectification * self.fine_prototypes.similarity(pooled)
        coarse = None if self.coarse is None else self.coarse(pooled)
        return StreamOutput(fine, coarse, features.mean(2).amax((2, 3)))

    def losses(self, said: StreamOutput, targets: Tensor, smoothing: float, coarse_of: Tensor) -> dict[str, Tensor]:
        """Unweighted parts of the loss, () each; `targets` (N,F) sum to 1."""
        parts = {"fine": functional.cross_entropy(said.fine, targets, label_smoothing=smoothing)}
        labels = targets.argmax(1)
        coarse_right = torch.ones_like(labels, dtype=torch.bool)
        if said.coarse is not None:
            groups = targets.new_zeros(said.coarse.shape).index_add_(1, coarse_of, targets)
            parts["coarse"] = functional.cross_entropy(said.coarse, groups, label_smoothing=smoothing)
            coarse_right = said.coarse.argmax(1) == coarse_of[labels]
            if self.coarse_prototypes is not None:
                parts["coarse_prototypes"] = self.coarse_prototypes(said.peaks, said.coarse, coarse_of[labels])
            if self.tree:
                parts["tree"] = tree_loss(said.fine, said.coarse, targets, coarse_of).mean()
        if self.fine_prototypes is not None:
            found = self.fine_prototypes(said.peaks, said.fine, labels, coarse_right)
            parts["fine_prototypes"], parts["diversity"] = found
        return parts


class Pcan(nn.Module):
    """The action network.

    Parameters
    ----------
    classes
        Fine classes.
    keypoints
        Maps a frame.
    coarse_of
        Coarse class of each fine one, numbered from 0 without gaps; None for no coarse classes.
    parts
        Which parts are there; all by default.
    rgb, pose
        Size of each pathway; None leaves the stream out.
    laterals
        How the pathways are coupled in training.
    dropout
        Before the classifiers.

    Attributes
    ----------
    coarse_of : torch.Tensor
        (F,) int64 buffer, part of the state dictionary; empty without coarse classes.

    Raises
    ------
    UsageError
        `coarse_of` does not fit, or there is no stream.
    """

    coarse_of: Tensor

    def __init__(
        self,
        classes: int,
        keypoints: int = 17,
        *,
        coarse_of: Sequence[int] | None = None,
        parts: PcanParts | None = None,
        rgb: PathwayForm | None = RGB_PATHWAY,
        pose: PathwayForm | None = POSE_PATHWAY,
        laterals: Laterals | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        parts = parts or PcanParts()
        groups = _count_groups(classes, coarse_of)
        self.register_buffer("coarse_of", torch.tensor(list(coarse_of or ()), dtype=torch.int64))
        self.backbone = RGBPose3D(keypoints, rgb=rgb, pose=pose, gates=parts.gates, laterals=laterals)
        self.heads = nn.ModuleDict()
        for stream, form in (("rgb", rgb), ("pose", pose)):
            if form is not None:
                rectification = _RECTIFICATION[stream]
                self.heads[stream] = _Head(form.channels(-1), classes, groups, parts, dropout, rectification)

    def forward(self, rgb: Tensor | None = None, pose: Tensor | None = None) -> dict[str, StreamOutput]:
        """What each stream says; takes and raises what `posepipe.models.rgbpose3d.RGBPose3D.forward` does."""
        features = self.backbone(rgb, pose)
        return {stream: head(features[stream]) for stream, head in self.heads.items()}

    def losses(
        self,
        said: Mapping[str, StreamOutput],
        labels: Tensor,
        weights: LossWeights | None = None,
        *,
        smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """Weighted parts of the loss by stream and name (``rgb_fine``, ``pose_tree``, ...); their sum is the loss.

        In training this is also the step that updates the banks: call it once a batch.

        Parameters
        ----------
        said
            What `forward` gave, in training mode.
        labels
            (N,) int64 fine classes, or (N,F) float targets that sum to 1 (mixed clips). Prototypes learn from the class
            with the greatest target; the other parts from all.
        weights
            Factors.
        smoothing
            Label smoothing of the cross-entropies.
        """
        weights = weights or LossWeights()
        fine = next(iter(said.values())).fine
        targets = labels if labels.ndim == 2 else functional.one_hot(labels, fine.shape[1])
        result: dict[str, Tensor] = {}
        for stream, head in self.heads.items():
            own = {"fine": getattr(weights, stream), "coarse": getattr(weights, f"{stream}_coarse")}
            own |= {"coarse_prototypes": weights.prototypes, "fine_prototypes": weights.prototypes}
            own |= {"diversity": weights.diversity, "tree": weights.tree}
            # Sums of exponentials and norms do not bear the half precision of mixed training.
            with torch.autocast(fine.device.type, enabled=False):
                one = _full(said[stream])
                parts = cast("_Head", head).losses(one, targets.to(one.fine.dtype), smoothing, self.coarse_of)
            result |= {f"{stream}_{name}": own[name] * value for name, value in parts.items()}
        return result

    def adopt(self, *singles: Pcan) -> None:
        """Take over the weights of networks of one stream (the start of the second stage of training).

        Pathways, heads and prototypes are copied; the input channels that a lateral connection adds start from zero, so
        that without gates the network says what the single ones said. Laterals and gates stay fresh.

        Raises
        ------
        UsageError
            A network has a stream, layers or classes that this one has not.
        """
        own = self.state_dict()
        found = [item for single in singles for item in single.state_dict().items()]
        stray = [n for n, value in found if n not in own or not _fits(n, own[n], value)]
        if stray:
            raise UsageError("a network of one stream does not fit the one of both", got=", ".join(stray[:4]))
        for name, value in found:
            if own[name].shape != value.shape:
                value = torch.cat((value, value.new_zeros(own[name][:, value.shape[1] :].shape)), 1)
            own[name].copy_(value)


def light_pcan(
    classes: int, keypoints: int = 17, *, coarse_of: Sequence[int] | None = None, parts: PcanParts | None = None
) -> Pcan:
    """The network for two cores: pose alone, under a million parameters; 32 frames of 56 x 56 cells.

    SlowOnly of PoseC3D made slim: a stem of 3 x 3 with stride 2, 24 channels, 2 + 4 + 2 blocks, frames halved twice.
    """
    parts = replace(parts or PcanParts(), gates=False)
    return Pcan(classes, keypoints, coarse_of=coarse_of, parts=parts, rgb=None, pose=LIGHT_POSE_PATHWAY)


def fuse(said: Mapping[str, StreamOutput], clips: int = 1) -> tuple[Tensor, Tensor | None]:
    """Probabilities of people: softmax a clip, mean over clips, mean over streams.

    Parameters
    ----------
    said
        Outputs in evaluation mode for P people, whose clips follow one another: P x clips rows.
    clips
        Clips a person.

    Returns
    -------
    fine, coarse
        (P,F) and (P,C), rows sum to 1; coarse is None without coarse classes.
    """

    def mean(logits: list[Tensor]) -> Tensor:
        return torch.stack([x.softmax(1).reshape(-1, clips, x.shape[1]).mean(1) for x in logits]).mean(0)

    coarse = [s.coarse for s in said.values() if s.coarse is not None]
    return mean([s.fine for s in said.values()]), mean(coarse) if coarse else None


def _full(said: StreamOutput) -> StreamOutput:
    """The same in single precision where it was less."""
    dtype = torch.promote_types(said.fine.dtype, torch.float32)
    coarse = None if said.coarse is None else said.coarse.to(dtype)
    return StreamOutput(said.fine.to(dtype), coarse, said.peaks.to(dtype))


def _classifier(channels: int, classes: int) -> nn.Linear:
    layer = nn.Linear(channels, classes)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _count_groups(classes: int, coarse_of: Sequence[int] | None) -> int:
    """Number of coarse classes, 0 for none; raises `UsageError` for a map that does not fit."""
    if classes < 1:
        raise UsageError("an action network needs classes", got=classes, expected="1 or more")
    if coarse_of is None:
        return 0
    groups = set(coarse_of)
    if len(coarse_of) != classes or groups != set(range(len(groups))):
        raise UsageError(
            "the coarse map does not fit the classes",
            got=f"{len(coarse_of)} entries, coarse classes {sorted(groups)}",
            expected=f"{classes} entries, coarse classes numbered from 0 without gaps",
        )
    return len(groups)


def _fits(name: str, own: Tensor, value: Tensor) -> bool:
    """Whether a tensor fits as it is, or behind more input channels at the start of a stage."""
    if own.shape == value.shape:
        return True
    starts = name.endswith((".0.conv1.conv.weight", ".0.downsample.conv.weight"))
    return (
        starts and own.shape[1] > value.shape[1] and own.shape[:1] + own.shape[2:] == value.shape[:1] + value.shape[2:]
    )
