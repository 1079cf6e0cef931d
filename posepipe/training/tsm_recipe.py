"""What a recipe of kind ``tsm`` can say; no torch here."""

from __future__ import annotations

from dataclasses import dataclass, field

from posepipe.datasets.forgery import COMPRESSIONS, FFPP_METHODS
from posepipe.errors import ConfigError
from posepipe.training.recipe import EngineRecipe
from posepipe.training.table import setting

__all__ = ["Colours", "TsmRecipe"]

_BACKBONES = ("mobilenetv4_conv_small", "mobilenetv4_conv_medium")


@dataclass(frozen=True)
class Colours:
    """How much the colours of a training clip may vary, all its frames alike."""

    brightness: float = setting(0.2, "factor 1 - this to 1 + this", low=0.0, high=1.0)
    contrast: float = setting(0.2, "factor 1 - this to 1 + this", low=0.0, high=1.0)
    saturation: float = setting(0.2, "factor 1 - this to 1 + this", low=0.0, high=1.0)
    hue: float = setting(0.1, "turns of the colour circle, either way", low=0.0, high=0.5)


@dataclass(frozen=True)
class TsmRecipe:
    """Training of a network that tells real from manipulated video: TSM on MobileNetV4."""

    videos: str = setting("", "folder of FaceForensics++, or a CSV list: video,label,split (label real or fake)")
    splits: str = setting("splits/ffpp", "FaceForensics++: folder of train.json, val.json and test.json (pairs of ids)")
    compression: str = setting("c23", "FaceForensics++: which copies", choices=COMPRESSIONS)
    methods: tuple[str, ...] = setting(FFPP_METHODS, "FaceForensics++: folders of manipulated videos")
    partial: bool = setting(False, "FaceForensics++: train on what is there of it, instead of refusing")
    hold_out: float = setting(0.1, "share of the training videos to validate on, for lists without val", high=0.5)
    data: str = setting("", "folder where relative paths begin; empty: POSEPIPE_DATA")
    cache: str = setting("", "folder in which face crops are kept; empty: the user's cache folder")
    face_every: int = setting(5, "frames from one look for the face to the next", low=1)
    backbone: str = setting("mobilenetv4_conv_small", "timm's name of the network", choices=_BACKBONES)
    start: str = setting("", "weights to start from: of timm's MobileNetV4, of a TSM on it; .pth, .ckpt, .safetensors")
    side: int = setting(224, "of the face crops, px, a multiple of 32", low=32, high=1024)
    segments: int = setting(8, "frames of a clip", low=2, high=64)
    span: float = setting(2.0, "length of a clip, seconds", low=0.05, high=60.0)
    clips: int = setting(30, "training clips of a video in a lap, each drawn about a place of its own", low=1)
    val_clips: int = setting(10, "clips of a video in validation, evenly over it", low=1)
    fold_div: int = setting(8, "1 / fold_div of the channels move each way in time", low=2, high=64)
    pooling: str = setting("attention", "how frames are put together", choices=("attention", "mean"))
    dropout: float = setting(0.3, "before the classifier", low=0.0, high=0.9)
    frozen_norms: float = setting(
        0.33, "share of the batch norms, from the input on, that stay as they are", low=0.0, high=1.0
    )
    loss: str = setting(
        "bce", "bce, weighted (manipulated ones by real / manipulated) or focal", choices=("bce", "weighted", "focal")
    )
    gamma: float = setting(2.0, "focal: how much less clear cases count", low=0.0, high=10.0)
    balanced: bool = setting(True, "draw real and manipulated clips equally often")
    samples: int = setting(0, "clips in an epoch; 0 = all", low=0)
    flip: float = setting(0.5, "chance of a mirror image", low=0.0, high=1.0)
    soften: float = setting(1.0, "least share of a clip's resolution that is left to it, 1 = all", low=0.1, high=1.0)
    colours: Colours = field(default_factory=Colours, metadata={"help": "variation of colours"})
    engine: EngineRecipe = field(default_factory=EngineRecipe, metadata={"help": "schedule, optimiser, machine"})

    def __post_init__(self) -> None:
        if self.side % 32:
            raise ConfigError("the side of the crops must be a multiple of 32", got=self.side)
        if self.balanced and self.loss == "weighted":
            hint = "Set balanced = false, or loss = 'bce'"
            raise ConfigError("balanced clips and a weighted loss make up for the same thing twice", hint=hint)
        if self.frozen_norms > 0 and not self.start:
            raise ConfigError(
                "frozen batch norms need weights to start from: those of a new network know nothing",
                hint="Name the weights (--start FILE), or train all from the beginning (--frozen_norms 0)",
            )
