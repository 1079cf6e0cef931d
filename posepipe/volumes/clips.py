"""Heatmap volumes of people's pose streams: which frames, which crop, which maps, for one clip or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import Skeleton
from posepipe.types import HeatmapVolume, PoseStream
from posepipe.volumes.maps import channel_mirror, keypoint_maps, limb_maps, limb_names, mirror_maps
from posepipe.volumes.sampling import sample_test
from posepipe.volumes.window import Cells, Window, compact_box

__all__ = ["HeatmapClips", "HeatmapRecipe", "heatmap_clips", "window_maps"]

# A crop about people too small for a crop about their keypoints is at least so wide, px.
_LEAST_SIDE = 10.0


@dataclass(frozen=True)
class HeatmapRecipe:
    """How maps are made; by default the joint maps of PoseC3D. Raises ``ValueError`` for values out of range.

    Attributes
    ----------
    frames, clips
        Frames of a clip, and clips.
    size
        Height and width of the maps, cells.
    sigma
        Standard deviation of the gaussians, cells: 0.6 in PoseC3D, 0.7 in RGBPoseConv3D and PCAN.
    keypoints, limbs
        Whether there are channels for keypoints and, behind them, for limbs.
    flip
        Whether the clips follow once more, mirrored.
    cells
        As :meth:`Window.points` takes them; ``corner`` is what public weights were trained with.
    keypoint_score
        Keypoints of a lower score count as missing.
    """

    frames: int = 48
    clips: int = 1
    size: int = 56
    sigma: float = 0.6
    keypoints: bool = True
    limbs: bool = False
    flip: bool = False
    cells: Cells = "corner"
    keypoint_score: float = 0.0

    def __post_init__(self) -> None:
        if min(self.frames, self.clips, self.size) < 1 or not self.sigma > 0:
            raise ValueError(f"frames, clips, size and sigma of maps are above 0, got {self}")
        if not (self.keypoints or self.limbs):
            raise ValueError("maps of neither keypoints nor limbs are none")

    def channels(self, skeleton: Skeleton) -> tuple[str, ...]:
        """Names of the channels; raises ``ValueError`` where limbs are wanted of a skeleton without any."""
        if self.limbs and not skeleton.edges:
            raise ValueError(f"skeleton {skeleton.name!r} has no limbs to draw")
        return (*(skeleton.keypoints if self.keypoints else ()), *(limb_names(skeleton) if self.limbs else ()))


@dataclass(frozen=True, slots=True, eq=False)
class HeatmapClips:
    """Maps of C clips of the same people, all in one crop.

    Attributes
    ----------
    volumes
        C of them; the mirrored ones follow the others.
    frame_index, pts
        (C,T) int64 and (C,T) float64 seconds: the frames that the maps show.
    flipped
        (C,) bool: mirrored.
    channels
        K names.
    track_id
        (M,) int64: the people.
    available
        Frames that there were to draw from.
    """

    volumes: tuple[HeatmapVolume, ...]
    frame_index: NDArray[np.int64]
    pts: NDArray[np.float64]
    flipped: NDArray[np.bool_]
    channels: tuple[str, ...]
    track_id: NDArray[np.int64]
    available: int

    def __len__(self) -> int:
        return len(self.volumes)

    @property
    def data(self) -> NDArray[np.float32]:
        """(C,K,T,h,w) float32 in [0,1], copied."""
        return np.stack([volume.data for volume in self.volumes])

    @property
    def crop(self) -> NDArray[np.float32]:
        """(4,) xyxy px."""
        return self.volumes[0].crop


def heatmap_clips(streams: Sequence[PoseStream], recipe: HeatmapRecipe) -> HeatmapClips:
    """Maps of the people of some streams, for a test: the same each time.

    The frames that are drawn from are those in which anybody of them is, in order; a frame without a person has
    nothing of that person in its maps. Fewer frames than a clip takes are repeated. The crop is one for all clips: the
    square about all keypoints in drawn frames, or, where these are less than 10 px apart, about the people's boxes.

    Parameters
    ----------
    streams
        One or more people with one skeleton.
    recipe
        How maps are made.

    Raises
    ------
    ValueError
        No streams, none with a frame, more than one skeleton, or a skeleton that lacks what the recipe asks for.
    """
    if not any(len(stream) for stream in streams):
        raise ValueError("there is nobody to draw maps of")
    skeleton = streams[0].skeleton
    if any(stream.skeleton != skeleton for stream in streams):
        raise ValueError("maps are drawn of people with one skeleton")
    channels = recipe.channels(skeleton)
    swap = channel_mirror(skeleton, recipe.keypoints, recipe.limbs) if recipe.flip else None
    frames, first = np.unique(np.concatenate([stream.frame_index for stream in streams]), return_index=True)
    pts = np.concatenate([stream.pts for stream in streams])[first]
    drawn = sample_test(len(frames), recipe.frames, recipe.clips)
    xy, score, boxes = _at(streams, frames[drawn.reshape(-1)])
    score = np.where(score >= recipe.keypoint_score, score, 0)
    box = compact_box(xy, score)
    window = Window.of(box if box is not None else _about(boxes)).resized(recipe.size, recipe.size)
    rows = np.split(np.arange(drawn.size), recipe.clips)
    clips = [window_maps(xy[:, clip], score[:, clip], window, recipe, skeleton) for clip in rows]
    if swap is not None:
        clips += [mirror_maps(clip, swap) for clip in clips]
        drawn = np.concatenate([drawn, drawn])
    stride = (window.box[2] - window.box[0]) / recipe.size
    return HeatmapClips(
        volumes=tuple(HeatmapVolume(clip, np.array(window.box, np.float32), stride) for clip in clips),
        frame_index=frames[drawn],
        pts=pts[drawn],
        flipped=np.arange(len(clips)) >= recipe.clips,
        channels=channels,
        track_id=np.array([stream.track_id for stream in streams], np.int64),
        available=len(frames),
    )


def window_maps(
    xy: NDArray[np.floating], score: NDArray[np.floating], window: Window, recipe: HeatmapRecipe, skeleton: Skeleton
) -> NDArray[np.float32]:
    """Maps (K,T,h,w) of points (M,T,J,2) in px of the picture with scores (M,T,J), as a window shows them.

    The window's size is that of the maps; what a recipe says of frames, clips and mirroring is the caller's.
    """
    points = window.points(xy, recipe.cells)
    parts = [keypoint_maps(points, score, window.size, recipe.sigma)] if recipe.keypoints else []
    if recipe.limbs:
        parts.append(limb_maps(points, score, skeleton.edge_index, window.size, recipe.sigma))
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


def _at(
    streams: Sequence[PoseStream], frames: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Keypoints (M,F,K,2), scores (M,F,K), and the boxes (B,4) of who is there; nobody has score 0."""
    joints = len(streams[0].skeleton)
    xy = np.zeros((len(streams), len(frames), joints, 2), np.float32)
    score = np.zeros((len(streams), len(frames), joints), np.float32)
    boxes = []
    for person, stream in enumerate(streams):
        if not len(stream):
            continue
        row = np.minimum(np.searchsorted(stream.frame_index, frames), len(stream) - 1)
        there = stream.frame_index[row] == frames
        xy[person, there], score[person, there] = stream.xy[row[there]], stream.score[row[there]]
        boxes.append(stream.boxes[row[there]])
    return xy, score, np.concatenate(boxes)


def _about(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """The smallest square (4,) px, in whole numbers, about all boxes."""
    low, high = boxes[:, :2].min(0).astype(np.float64), boxes[:, 2:].max(0).astype(np.float64)
    half = max(float((high - low).max()), _LEAST_SIDE) / 2
    centre = (low + high) / 2
    return np.concatenate([np.floor(centre - half), np.floor(centre - half) + np.ceil(2 * half)])
