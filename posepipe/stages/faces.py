"""Crops of a video's main face over time, found by the pipeline's own detector and pose network, and kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config
from posepipe.datasets.faces import crop_face, face_boxes, follow_face, square_at, steady_squares, whole_square
from posepipe.datasets.jpeg_pile import write_pile
from posepipe.datasets.video_frames import FrameStore
from posepipe.io.reader import VideoReader
from posepipe.io.video import open_video
from posepipe.io.weights import list_weights
from posepipe.stages import Detector, PoseEstimator
from posepipe.stages.build import build_detector, build_pose

__all__ = ["NO_FACE", "FaceStore"]

_VERSION = 1
#: what `FaceStore.fault` says of a video without a face
NO_FACE = "no face was found: the middle of the picture is taken"
# Least score of a keypoint by which a face is found.
_KEYPOINT_SCORE = 0.3
#: finer than for whole frames: what is looked for is small
_QUALITY = 95
_DIGITS = 12


class FaceStore(FrameStore):
    """Squares about the main face of videos, a frame each, from a cache that fills itself; see `FrameStore`.

    Every video is read twice: people and their head keypoints are looked for on every few frames, then the squares,
    smooth over time, are cut out of all. Where no face is found the middle of the picture is taken instead, with a
    warning, and `fault` says so.

    Parameters
    ----------
    side
        Of the crops, px.
    folder
        Of the cache; made when needed.
    every
        Frames from one look for faces to the next.
    config
        Names the detector and the pose network, which are opened when first needed.
    """

    def __init__(self, side: int, folder: Path, *, every: int = 5, config: Config | None = None) -> None:
        super().__init__(side, folder)
        self.every = every
        self._config = config or Config()

    @cached_property
    def _networks(self) -> tuple[Detector, PoseEstimator]:
        detector = build_detector(self._config)
        return detector, build_pose(self._config, detector)

    @cached_property
    def _seen_by(self) -> str:
        """The networks, with the checksums of those in the package: others see other faces."""
        embedded = [entry.sha256[:_DIGITS] for entry in list_weights() if entry.kind in ("detector", "sppe")]
        return " ".join([self._config.detector, self._config.pose, str(_KEYPOINT_SCORE), *embedded])

    def _about(self) -> str:
        return f"faces {_VERSION} {self.side} {self.every} {self._seen_by}"

    def _write(self, video: Path, path: Path) -> None:
        squares = self._squares(video)
        with open_video(video) as reader:
            faults = [] if squares is not None else [NO_FACE]
            crops = self._crops(reader, squares)
            write_pile(path, crops, lambda: "; ".join([*faults, *filter(None, [reader.reason])]), quality=_QUALITY)
            told = [*faults, *([f"{reader.reason}; what was decoded is used"] if reader.reason else [])]
        for text in told:
            warnings.warn(f"{video}: {text}", stacklevel=5)

    def _squares(self, video: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Seconds (M,) and squares (M,3) of the face where it was looked for and seen; None where it never was."""
        detector, pose = self._networks
        seconds: list[float] = []
        boxes: list[NDArray[np.float64]] = []
        with open_video(video) as reader:
            for frame in reader:
                if frame.index % self.every:
                    continue
                people = pose.estimate([frame], [detector.detect(frame)])[0]
                found = face_boxes(people.xy, people.score, people.skeleton, _KEYPOINT_SCORE)
                face = follow_face(found, boxes[-1] if boxes else None)
                if face is not None:
                    seconds.append(frame.pts)
                    boxes.append(face)
        times = np.array(seconds)
        return (times, steady_squares(times, np.stack(boxes))) if boxes else None

    def _crops(
        self, reader: VideoReader, squares: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    ) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        for frame in reader:
            square = square_at(*squares, frame.pts) if squares else whole_square(*frame.image.shape[:2])
            yield frame.pts, crop_face(frame.image, square, self.side)
