"""What a recipe of an action network can say. No torch here: recipes are read before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass, field

from posepipe.datasets.action_variation import ActionVariation
from posepipe.errors import ConfigError
from posepipe.training.recipe import EngineRecipe, ExportRecipe
from posepipe.training.table import setting, tables

__all__ = ["ActionExport", "ActionRecipe", "ActionSource", "LossRecipe", "MixRecipe", "PartsRecipe"]

NETWORKS = ("light", "full", "points")
FORMATS = ("csv", "jhmdb", "jhmdb14", "ma52", "ntu", "npz", "pickle", "upfall", "utkinect")


@dataclass(frozen=True)
class ActionSource:
    """A set of clips to learn from and to validate on."""

    format: str = setting("csv", "what the files are; docs/datasets.md describes each", choices=FORMATS)
    path: str = setting("", "file or folder of the set")
    protocol: str = setting(
        "", "which split: jhmdb 1 to 3; ntu xsub, xview, xset; upfall trial, camera; pickle: its name"
    )
    runs: str = setting("", "csv, upfall: folder of the results of `posepipe run` on the videos")
    videos: str = setting("", "folder of the videos, where the set does not say where they are")
    classes: tuple[str, ...] = setting((), 'classes to take, as "name" or "name=new name"; empty: all')


@dataclass(frozen=True)
class PartsRecipe:
    """Which parts of PCAN are there."""

    gates: bool = setting(True, "cross-attention between the streams, where there are two")
    coarse: bool = setting(True, "coarse classes, where the set has them")
    fine_prototypes: bool = setting(True, "prototypes of the classes")
    coarse_prototypes: bool = setting(True, "prototypes of the coarse classes")
    tree: bool = setting(True, "tree loss over both levels")
    rectification: bool = setting(True, "add the likeness to the prototypes to the logits at the end")


@dataclass(frozen=True)
class LossRecipe:
    """Weights of the parts of the loss; by default those of the publication."""

    rgb: float = setting(1.0, "cross-entropy of the RGB stream", low=0.0)
    pose: float = setting(1.0, "cross-entropy of the pose stream", low=0.0)
    rgb_coarse: float = setting(1.0, "the same for coarse classes", low=0.0)
    pose_coarse: float = setting(1.0, "the same for coarse classes", low=0.0)
    prototypes: float = setting(0.2, "calibration by prototypes, either level", low=0.0)
    diversity: float = setting(0.2, "diversity of the prototypes of classes", low=0.0)
    tree: float = setting(1.0, "tree loss", low=0.0)
    smoothing: float = setting(0.0, "label smoothing of the cross-entropies", low=0.0, high=1.0)


@dataclass(frozen=True)
class MixRecipe:
    """How clips of a batch are mixed, pictures and maps together."""

    mixup: float = setting(0.0, "chance that the clips of a batch are blended with one another", low=0.0, high=1.0)
    mixup_alpha: float = setting(0.2, "of the beta distribution of the blend", low=0.01)
    cutmix: float = setting(0.0, "chance that a rectangle comes from another clip instead", low=0.0, high=1.0)
    cutmix_alpha: float = setting(1.0, "of the beta distribution of its area", low=0.01)


@dataclass(frozen=True)
class ActionExport(ExportRecipe):
    """What is written of a finished training, and how `posepipe run` uses the network."""

    window_s: float = setting(0.0, "seconds that `posepipe run` shows it; 0: two", low=0.0, high=60.0)
    temperature: float = setting(1.0, "probabilities are raised to its inverse", low=0.01, high=100.0)
    abstain: float = setting(0.5, "`posepipe run` says nothing below this probability", low=0.0, high=1.0)


@dataclass(frozen=True)
class ActionRecipe:
    """Training of an action network."""

    form: str = setting("pose", "streams that there are", choices=("pose", "rgb", "rgb+pose"))
    network: str = setting(
        "light", "light (for two cores), full (as published), or points (numbers in place of maps)", choices=NETWORKS
    )
    start: str = setting("", "checkpoint of the same network to start from")
    start_rgb: str = setting("", "checkpoint of an rgb network that becomes the RGB stream")
    start_pose: str = setting("", "checkpoint of a pose network that becomes the pose stream")
    data: str = setting("", "folder where relative paths of sources begin; empty: POSEPIPE_DATA")
    skeleton: str = setting("", "skeleton that keypoints are mapped to by name: coco17, or empty for the set's own")
    train_part: str = setting("train", "part of the split to learn from")
    validation_part: str = setting("", "part to validate on; empty: held_out")
    held_out: float = setting(0.0, "share of each class's clips to learn from that is held out to validate", high=0.9)
    held_by: str = setting("clip", "what stays on one side of that", choices=("clip", "subject", "trial", "camera"))
    frames: int = setting(32, "frames of maps in a clip", low=1, high=1024)
    rgb_frames: int = setting(8, "frames of pictures in a clip", low=1, high=1024)
    size: int = setting(56, "side of the maps, cells; pictures have four times as many px", low=8, high=512)
    sigma: float = setting(0.6, "standard deviation of the gaussians, cells", low=0.1, high=20.0)
    cells: str = setting(
        "centre", "where keypoints lie: amid their cells, or at the corner", choices=("centre", "corner")
    )
    limbs: bool = setting(False, "maps of limbs behind those of keypoints")
    keypoint_score: float = setting(0.0, "keypoints of a lower score count as missing", low=0.0, high=1.0)
    sampling: str = setting(
        "uniform", "frames drawn as PoseC3D does, or at even distances between frames", choices=("uniform", "even")
    )
    dropout: float = setting(0.5, "before the classifiers", low=0.0, high=1.0)
    samples: int = setting(0, "clips in an epoch; 0 = every one once", low=0)
    validation_clips: int = setting(1, "views of each clip in validation", low=1)
    sources: tuple[ActionSource, ...] = tables("sets of clips; several are joined")
    parts: PartsRecipe = field(default_factory=PartsRecipe, metadata={"help": "parts of PCAN"})
    loss: LossRecipe = field(default_factory=LossRecipe, metadata={"help": "weights of the loss"})
    mix: MixRecipe = field(default_factory=MixRecipe, metadata={"help": "mixed clips"})
    variation: ActionVariation = field(default_factory=ActionVariation, metadata={"help": "how clips are varied"})
    engine: EngineRecipe = field(default_factory=EngineRecipe, metadata={"help": "schedule, optimiser, machine"})
    export: ActionExport = field(default_factory=ActionExport, metadata={"help": "files to write at the end"})

    def __post_init__(self) -> None:
        both = self.form == "rgb+pose"
        if (self.start_rgb or self.start_pose) and not both:
            raise ConfigError("start_rgb and start_pose begin a network of both streams", got=f"form {self.form!r}")
        if both and self.frames != 4 * self.rgb_frames:
            raise ConfigError(
                "a network of both streams takes four maps a picture",
                got=f"{self.frames} maps, {self.rgb_frames} pictures",
            )
        if self.network == "points" and (self.form != "pose" or self.limbs):
            raise ConfigError("a network of points takes poses alone, and no maps of limbs", got=f"form {self.form!r}")
        if "rgb" in self.form and self.limbs:
            raise ConfigError("a network with pictures takes no maps of limbs", got=f"form {self.form!r}")
