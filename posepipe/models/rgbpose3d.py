"""RGBPoseConv3D: two 3D ResNets over the frames around a person and the maps of that person's keypoints.

Duan et al., "Revisiting Skeleton-based Action Recognition", CVPR 2022, section 3.4. The RGB pathway is slow (few
frames, many channels), the pose pathway fast (four times the frames, half the channels); before the last two stages
each gets the other's features by a lateral connection. Either pathway also stands alone (PoseC3D's SlowOnly).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from posepipe.errors import UsageError, WeightsError
from posepipe.models.pcan_gate import CrossAttentionGate

__all__ = [
    "LIGHT_POSE_PATHWAY",
    "LIGHT_RGB_PATHWAY",
    "POINTS_PATHWAY",
    "POSE_PATHWAY",
    "RGB_PATHWAY",
    "Laterals",
    "Pathway",
    "PathwayForm",
    "RGBPose3D",
]

_EXPANSION = 4
_FUSED_STAGES = 2
# frames of the pose pathway for one of the RGB pathway
_RATIO = 4
_LATERAL: Mapping[str, Any] = MappingProxyType(
    {"kernel_size": (7, 1, 1), "stride": (_RATIO, 1, 1), "padding": (3, 0, 0), "bias": False}
)
# channels of the RGB pathway for one that its lateral connection gives
_SQUEEZE = 16


@dataclass(frozen=True)
class PathwayForm:
    """Size of a pathway.

    Attributes
    ----------
    base
        Channels of the stem; stage i has 4 base 2^i.
    blocks
        Bottlenecks a stage.
    inflate
        Whether the first convolution of a stage's blocks spans three frames.
    strides, time_strides
        Step of each stage in cells and frames.
    stem_kernel, stem_stride
        Of the stem's convolution, cells.
    pool_stride
        Of the max pooling after it; 0 for no pooling.
    kernel
        Of the blocks' convolution over cells.
    """

    base: int
    blocks: tuple[int, ...]
    inflate: tuple[bool, ...]
    strides: tuple[int, ...]
    time_strides: tuple[int, ...]
    stem_kernel: int = 7
    stem_stride: int = 1
    pool_stride: int = 1
    kernel: int = 3

    def __post_init__(self) -> None:
        stages = len(self.blocks)
        if stages < 1 or any(len(v) != stages for v in (self.inflate, self.strides, self.time_strides)):
            raise UsageError(
                "the stages of a pathway do not agree",
                got=f"blocks {self.blocks}, inflate {self.inflate}, strides {self.strides}, {self.time_strides}",
                expected="one value a stage in each",
            )

    def channels(self, stage: int) -> int:
        """Channels that a stage gives; negative stages count from the last."""
        return int(self.base * _EXPANSION * 2 ** (stage % len(self.blocks)))


#: RGB: 8 frames of 224 x 224 in the published recipe
RGB_PATHWAY = PathwayForm(64, (3, 4, 6, 3), (False, False, True, True), (1, 2, 2, 2), (1, 1, 1, 1), 7, 2, 2)
#: pose: 32 frames of 56 x 56
POSE_PATHWAY = PathwayForm(32, (4, 6, 3), (False, True, True), (2, 2, 2), (1, 1, 1))
#: pose alone, for two cores: smaller stem, fewer channels and blocks, frames halved twice
LIGHT_POSE_PATHWAY = PathwayForm(24, (2, 4, 2), (False, True, True), (1, 2, 2), (1, 2, 2), 3, 2, 0)
#: numbers of keypoints in place of maps, one cell in which they are channels: convolutions over time alone
POINTS_PATHWAY = PathwayForm(
    32, (1, 1, 1), (True, True, True), (1, 1, 1), (1, 2, 2), stem_kernel=1, pool_stride=0, kernel=1
)
#: RGB for two cores; its frames are halved where those of the light pose pathway are, so that the two can be connected
LIGHT_RGB_PATHWAY = PathwayForm(24, (1, 2, 2, 1), (False, False, True, True), (1, 2, 2, 2), (1, 1, 2, 1), 7, 2, 2)


@dataclass(frozen=True)
class Laterals:
    """How the pathways are coupled in training.

    Attributes
    ----------
    rgb_detach, pose_detach
        No gradient goes back through what this pathway gets from the other.
    rgb_drop_path, pose_drop_path
        Probability that this pathway gets zeros instead; drawn once a batch, for both connections.
    """

    rgb_detach: bool = False
    pose_detach: bool = False
    rgb_drop_path: float = 0.0
    pose_drop_path: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rgb_drop_path", "pose_drop_path"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is no probability", got=getattr(self, name), expected="0 to 1")


class _ConvNorm(nn.Module):
    """Convolution without bias, batch norm."""

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class _Bottleneck(nn.Module):
    """1x1x1 (3x1x1 where inflated), 1x3x3 with the stride, 1x1x1 to four times the channels (He et al. 2016)."""

    def __init__(
        self, inputs: int, planes: int, *, inflate: bool, stride: int, time_stride: int, kernel: int = 3
    ) -> None:
        super().__init__()
        outputs = planes * _EXPANSION
        step = (time_stride, stride, stride)
        self.conv1 = _ConvNorm(inputs, planes, (3 if inflate else 1, 1, 1))
        self.conv2 = _ConvNorm(planes, planes, (1, kernel, kernel), step)
        self.conv3 = _ConvNorm(planes, outputs, (1, 1, 1))
        plain = inputs == outputs and step == (1, 1, 1)
        self.downsample = None if plain else _ConvNorm(inputs, outputs, (1, 1, 1), step)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv1(x))
        y = self.conv3(torch.relu(self.conv2(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Pathway(nn.Module):
    """One 3D ResNet.

    Parameters
    ----------
    inputs
        Channels in: 3 for RGB, one a keypoint for pose.
    form
        Its size.
    extra
        Channels of a lateral connection behind the own ones, by the stage that gets them.
    """

    def __init__(self, inputs: int, form: PathwayForm, extra: dict[int, int] | None = None) -> None:
        super().__init__()
        kernel, step = form.stem_kernel, form.stem_stride
        self.stem = _ConvNorm(inputs, form.base, (1, kernel, kernel), (1, step, step))
        pool = (1, form.pool_stride, form.pool_stride)
        self.pool = nn.MaxPool3d((1, 3, 3), pool, (0, 1, 1)) if form.pool_stride else nn.Identity()
        self.stages = nn.ModuleList()
        width = form.base
        for stage, count in enumerate(form.blocks):
            width += (extra or {}).get(stage, 0)
            blocks = nn.Sequential()
            for block in range(count):
                first = block == 0
                blocks.append(
                    _Bottleneck(
                        width,
                        form.base * 2**stage,
                        inflate=form.inflate[stage],
                        stride=form.strides[stage] if first else 1,
                        time_stride=form.time_strides[stage] if first else 1,
                        kernel=form.kernel,
                    )
                )
                width = form.channels(stage)
            self.stages.append(blocks)

    def start(self, x: Tensor, stages: int) -> Tensor:
        """Stem and the first `stages` stages: (N,C,T,H,W) -> (N,C',T',h,w)."""
        x = self.pool(torch.relu(self.stem(x)))
        for stage in self.stages[:stages]:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N,C,T,H,W) -> features of the last stage."""
        return self.start(x, len(self.stages))


class _ToPose(nn.Module):
    """Lateral connection to the faster pathway: transposed convolution over time, batch norm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        outputs = channels // _SQUEEZE
        # The natural length is 4 T - 3; the padding of the output makes it 4 T.
        self.conv = nn.ConvTranspose3d(channels, outputs, output_padding=(_RATIO - 1, 0, 0), **_LATERAL)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class RGBPose3D(nn.Module):
    """The backbone: both pathways with their connections, or one of them alone.

    Parameters
    ----------
    keypoints
        Maps a frame.
    rgb, pose
        Size of each pathway; None leaves it out.
    gates
        Whether the streams are gated by each other (PCAN), where both are there.
    laterals
        How the pathways are coupled in training.

    Raises
    ------
    UsageError
        There is no pathway, or the two have too few stages to be connected.
    """

    def __init__(
        self,
        keypoints: int = 17,
        *,
        rgb: PathwayForm | None = RGB_PATHWAY,
        pose: PathwayForm | None = POSE_PATHWAY,
        gates: bool = False,
        laterals: Laterals | None = None,
    ) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.laterals = laterals or Laterals()
        self.rgb: Pathway | None = None
        self.pose: Pathway | None = None
        self.gates: nn.ModuleList | None = None
        if rgb is not None and pose is not None:
            self._connect(rgb, pose, gates)
        elif rgb is not None:
            self.rgb = Pathway(3, rgb)
        elif pose is not None:
            self.pose = Pathway(keypoints, pose)
        else:
            raise UsageError("an action network needs a stream", expected="rgb, pose or both")
        _initialise(self)

    def _connect(self, rgb: PathwayForm, pose: PathwayForm, gates: bool) -> None:
        stages = [len(form.blocks) for form in (rgb, pose)]
        if min(stages) <= _FUSED_STAGES:
            raise UsageError("pathways are too short to be connected", got=f"{stages} stages", expected="3 or more")
        points = range(-_FUSED_STAGES - 1, -1)
        channels = [(rgb.channels(p), pose.channels(p)) for p in points]
        self.rgb = Pathway(3, rgb, {stages[0] + p + 1: c[1] for p, c in zip(points, channels, strict=True)})
        self.pose = Pathway(
            self.keypoints, pose, {stages[1] + p + 1: c[0] // _SQUEEZE for p, c in zip(points, channels, strict=True)}
        )
        self.to_rgb = nn.ModuleList(nn.Conv3d(p, p, **_LATERAL) for _, p in channels)
        self.to_pose = nn.ModuleList(_ToPose(r) for r, _ in channels)
        if gates:
            self.gates = nn.ModuleList(CrossAttentionGate(r, p, p, ratio=_RATIO) for r, p in channels)

    def forward(self, rgb: Tensor | None = None, pose: Tensor | None = None) -> dict[str, Tensor]:
        """Features of each stream.

        Parameters
        ----------
        rgb
            (N,3,T,H,W) float32, normalised frames; None exactly where there is no RGB pathway.
        pose
            (N,K,4T,H/4,W/4) float32 keypoint maps 0..1; None exactly where there is no pose pathway. Alone it may
            have any number of frames.

        Returns
        -------
        dict
            ``rgb`` (N,2048,T,H/32,W/32) and ``pose`` (N,512,4T,H/32,W/32) at the published size.

        Raises
        ------
        WeightsError
            The maps are of another number of keypoints than the network.
        UsageError
            A stream is missing or too many, has not five axes, or the two do not fit one another.
        """
        _check("rgb", rgb, None if self.rgb is None else 3)
        _check("pose", pose, None if self.pose is None else self.keypoints)
        if self.rgb is not None and self.pose is not None and rgb is not None and pose is not None:
            return self._both(self.rgb, self.pose, rgb, pose)
        if self.rgb is not None:
            return {"rgb": self.rgb(rgb)}
        return {"pose": self.pose(pose)} if self.pose is not None else {}

    def _both(self, slow: Pathway, fast: Pathway, rgb: Tensor, pose: Tensor) -> dict[str, Tensor]:
        shapes = f"rgb {tuple(rgb.shape[2:])}, pose {tuple(pose.shape[2:])}"
        rgb = slow.start(rgb, len(slow.stages) - _FUSED_STAGES)
        pose = fast.start(pose, len(fast.stages) - _FUSED_STAGES)
        drop_rgb, drop_pose = (
            self.training and p > 0 and bool(torch.rand(()) < p)
            for p in (self.laterals.rgb_drop_path, self.laterals.pose_drop_path)
        )
        for point in range(_FUSED_STAGES):
            if pose.shape[2] != _RATIO * rgb.shape[2] or pose.shape[3:] != rgb.shape[3:]:
                raise UsageError(
                    "the rgb and pose clips of an action network do not fit one another",
                    got=f"frames, height, width: {shapes}",
                    expected=f"{_RATIO} maps a frame, of a quarter of the frame's height and width",
                )
            from_pose = self.to_rgb[point](pose.detach() if self.laterals.rgb_detach else pose)
            from_rgb = self.to_pose[point](rgb.detach() if self.laterals.pose_detach else rgb)
            if self.gates is not None:
                rgb, pose = self.gates[point](rgb, pose)
            stage = point - _FUSED_STAGES
            rgb = slow.stages[stage](torch.cat((rgb, torch.zeros_like(from_pose) if drop_rgb else from_pose), 1))
            pose = fast.stages[stage](torch.cat((pose, torch.zeros_like(from_rgb) if drop_pose else from_rgb), 1))
        return {"rgb": rgb, "pose": pose}


def _check(stream: str, clip: Tensor | None, channels: int | None) -> None:
    """Raise where a clip does not fit the pathway that takes it."""
    if (clip is None) != (channels is None):
        raise UsageError(
            f"the action network takes {'no' if channels is None else 'a'} {stream} clip",
            got="none" if clip is None else "one",
        )
    if clip is None or channels is None:
        return
    if clip.ndim != 5:
        raise UsageError(f"a {stream} clip has the wrong shape", got=tuple(clip.shape), expected="(N,C,T,H,W)")
    if clip.shape[1] != channels:
        what = f"the action network is for {channels} keypoints" if stream == "pose" else "an rgb clip has 3 channels"
        raise WeightsError(
            what,
            got=f"{clip.shape[1]} channels in the {stream} clip",
            expected=channels,
            hint="Use a model that was trained on the skeleton of these poses." if stream == "pose" else None,
        )


def _initialise(network: nn.Module) -> None:
    """Start values of the published recipe: He et al. 2015 by outputs, and every block an identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, _Bottleneck):
            nn.init.zeros_(module.conv3.norm.weight)
