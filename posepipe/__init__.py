"""From a video to people, poses, tracks, pose streams and actions.

>>> from posepipe import Pipeline, open_video
>>> for result in Pipeline().process(open_video("video.mp4")):
...     print(result.frame_index, result.tracks.track_id)

Names are loaded on first use, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from posepipe.config import Config, load_config
    from posepipe.io.records import read_records
    from posepipe.io.video import VideoReader, open_video
    from posepipe.pipeline import Pipeline
    from posepipe.skeleton import COCO17, Skeleton
    from posepipe.types import Detections, Frame, FrameResult, Poses, PoseStream, Tracks

__version__ = "0.1.0"

_HOME = {
    "COCO17": "skeleton",
    "Config": "config",
    "Detections": "types",
    "Frame": "types",
    "FrameResult": "types",
    "Pipeline": "pipeline",
    "PoseStream": "types",
    "Poses": "types",
    "Skeleton": "skeleton",
    "Tracks": "types",
    "VideoReader": "io.video",
    "load_config": "config",
    "open_video": "io.video",
    "read_records": "io.records",
}

__all__ = [
    "COCO17",
    "Config",
    "Detections",
    "Frame",
    "FrameResult",
    "Pipeline",
    "PoseStream",
    "Poses",
    "Skeleton",
    "Tracks",
    "VideoReader",
    "__version__",
    "load_config",
    "open_video",
    "read_records",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'posepipe' has no attribute {name!r}")
    return getattr(import_module(f"posepipe.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
