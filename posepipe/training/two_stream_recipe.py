"""What a recipe of a two-stream network can say (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass, field

from posepipe.errors import ConfigError
from posepipe.training.recipe import EngineRecipe
from posepipe.training.table import setting

__all__ = ["STREAMS", "TwoStreamRecipe"]

STREAMS = ("spatial", "temporal")
CROPS = ("square", "frame", "none")
CONSENSUS = ("sum", "mean", "max", "variance")
_DEPTHS = (18, 34, 50, 101, 152)


@dataclass(frozen=True)
class TwoStreamRecipe:
    """Training of one stream of a two-stream network."""

    stream: str = setting("spatial", "spatial (frames) or temporal (stacks of optical flow)", choices=STREAMS)
    layers: int = setting(18, "of the ResNet: 18, 34, 50, 101 or 152")
    start: str = setting("", "whole network to start from: a checkpoint of this project or of the public source")
    backbone: str = setting("", "file of torchvision's ImageNet weights of the ResNet to start from, without `start`")
    data: str = setting("", "folder where relative paths begin; empty: POSEPIPE_DATA")
    source: str = setting("ucf101", "the videos: ucf101, upfall, or a CSV file (video,label,split and perhaps group)")
    lists: str = setting("splits/ucf101", "ucf101: folder of the official lists")
    split: int = setting(1, "ucf101: official split", low=1, high=3)
    videos: str = setting("", "folder of the videos; empty: UCF-101, upfall, or the CSV file's folder")
    hold_out: float = setting(
        0.0, "share of each class's training videos to validate on, by group, where the list has no part val", high=0.9
    )
    side: int = setting(256, "shorter side of the cached frames, px", low=16, high=2048)
    size: int = setting(224, "side of the square views, px", low=16, high=2048)
    crop: str = setting(
        "square",
        "training views: random squares of `size` (as published), random parts of the frame's shape, or whole pictures",
        choices=CROPS,
    )
    flip: float = setting(0.5, "chance of a mirror image", low=0.0, high=1.0)
    segments: int = setting(3, "parts of a video that a training sample has a picture of", low=1)
    consensus: str = setting("sum", "how the logits of a sample's pictures become one", choices=CONSENSUS)
    stack: int = setting(10, "temporal: flow fields of a picture", low=1)
    flow: str = setting("dis", "temporal: how flow is worked out", choices=("dis", "farneback", "tvl1"))
    flow_bound: float = setting(20.0, "temporal: largest motion that is kept, px of the cached frames", low=0.1)
    centred: bool = setting(
        False, "temporal: the network sees no motion as 0, and 16 grey levels as 1; false: 0..1, as published"
    )
    test_samples: int = setting(19, "pictures of a video in validation and test", low=1)
    samples: int = setting(0, "samples in an epoch; 0 = every video once", low=0)
    engine: EngineRecipe = field(default_factory=EngineRecipe, metadata={"help": "schedule, optimiser, machine"})

    def __post_init__(self) -> None:
        if self.layers not in _DEPTHS:
            raise ConfigError("there is no such ResNet", got=self.layers, expected=", ".join(map(str, _DEPTHS)))
        if self.size > self.side:
            raise ConfigError("views are larger than the frames", got=self.size, expected=f"at most side {self.side}")

    @property
    def channels(self) -> int:
        """Of the network's input."""
        return 3 if self.stream == "spatial" else 2 * self.stack
