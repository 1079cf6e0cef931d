"""What a recipe of kind ``tad`` can say: temporal detectors, on frames, on stored features or on poses."""

from __future__ import annotations

from dataclasses import dataclass, field

from posepipe.errors import ConfigError
from posepipe.training.recipe import EngineRecipe, ExportRecipe
from posepipe.training.table import setting

__all__ = ["TadRecipe"]

SOURCES = ("frames", "features", "utkinect")


@dataclass(frozen=True)
class TadRecipe:
    """Training of a temporal detector."""

    source: str = setting("frames", "what it sees: frames of videos, .npy features (T,C), or poses", choices=SOURCES)
    data: str = setting("", "folder where relative paths begin; empty: POSEPIPE_DATA")
    training: str = setting("", "annotations to learn from: JSON with segments and labels of each video")
    test: str = setting("", "annotations to score on every validation")
    subset: str = setting("", "subset of `training` in an ActivityNet file; empty: all")
    test_subset: str = setting("", "subset of `test`; empty: all")
    left_out: tuple[str, ...] = setting((), "videos that are not used")
    late: str = setting("refuse", "what becomes of actions that end after their video", choices=("refuse", "drop"))
    videos: str = setting("", "folder of the videos or of the features, by the names in the annotations")
    people: tuple[int, ...] = setting((), "utkinect: people to learn from", low=1, high=10)
    test_people: tuple[int, ...] = setting((), "utkinect: people to score on every validation", low=1, high=10)
    stride: int = setting(4, "frames from step to step", low=1)
    window: int = setting(768, "steps of a window", low=16)
    overlap: float = setting(0.5, "of the windows that are searched", low=0.0, high=0.95)
    least_share: float = setting(0.75, "an action of which less is in a window is not learnt from", low=0.0, high=1.0)
    least_crop: float = setting(0.9, "of a recording shorter than a window, take so much at least", low=0.1, high=1.0)
    stretch: float = setting(0.0, "most that time is stretched or squeezed, as a share", low=0.0, high=1.0)
    shuffle: float = setting(0.0, "share of windows whose recording's actions are reordered", low=0.0, high=1.0)
    samples: int = setting(0, "windows in an epoch; 0 = one of each recording", low=0)
    resize: int = setting(182, "frames: shorter side before the crop, px", low=16)
    crop: int = setting(160, "frames: side of the crop, px, a multiple of 16", low=16)
    width: int = setting(512, "channels of the detector", low=8)
    heads: int = setting(4, "attention heads of the detector", low=1)
    levels: int = setting(6, "levels of the detector's pyramid", low=1, high=10)
    stem: int = setting(2, "transformer blocks before the pyramid", low=0)
    attention: int = setting(0, "steps that a step attends to; 0 = all", low=0)
    drop_path: float = setting(0.1, "share of samples that a block is left out of in training", low=0.0, high=0.9)
    start: str = setting("", "whole network to start from: .ckpt, .safetensors, or .pth of OpenTAD")
    backbone: str = setting("", "frames: VideoMAE-S weights (.pth) of its authors or of mmaction2")
    adapter_rate: float = setting(2e-4, "frames: learning rate of the adapters; the head has the engine's", low=0.0)
    checkpointing: bool = setting(True, "frames: compute the backbone's insides twice instead of keeping them")
    least_score: float = setting(0.001, "spans below are dropped", low=0.0, high=1.0)
    told_score: float = setting(0.3, "export: spans below are not told in a pipeline", low=0.0, high=1.0)
    most: int = setting(2000, "spans of a window, and of a recording, to keep", low=1)
    sigma: float = setting(0.7, "of the soft suppression", low=0.01)
    voting: float = setting(0.0, "overlap from which spans vote on the ends of the one that is kept; 0 = none", low=0.0)
    tiou: tuple[float, ...] = setting((0.3, 0.4, 0.5, 0.6, 0.7), "overlaps at which mAP is told", low=0.01, high=1.0)
    choose: str = setting(
        "last",
        "epoch whose weights are kept; best: by mAP on the test part, which must then not be the one that is reported",
        choices=("last", "best"),
    )
    engine: EngineRecipe = field(default_factory=EngineRecipe, metadata={"help": "schedule, optimiser, machine"})
    export: ExportRecipe = field(default_factory=ExportRecipe, metadata={"help": "files to write at the end"})

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError("the width must be a multiple of the heads", got=(self.width, self.heads))
        if self.crop % 16 or self.crop > self.resize:
            raise ConfigError("crop must be a multiple of 16, at most resize", got=(self.crop, self.resize))
        if self.source == "frames" and self.window % 16:
            raise ConfigError("a window of frames must be a multiple of 16 steps", got=self.window)
        if self.export.name and self.source != "utkinect":
            raise ConfigError("only detectors on poses are exported to run in a pipeline", got=f"source {self.source}")
        if self.source == "utkinect":
            if not self.people:
                raise ConfigError("source utkinect needs people", expected="such as people = [1, 3, 5, 7, 9]")
            return
        lacking = [name for name in ("training", "test", "videos") if not getattr(self, name)]
        if lacking:
            raise ConfigError(f"source {self.source} needs {' and '.join(lacking)}")
