"""What an action network looks at: which frames of a clip, which window, and how training varies both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.action_colours import vary_colours
from posepipe.datasets.action_variation import ActionVariation
from posepipe.datasets.actions import ActionSample, ActionSet
from posepipe.volumes.sampling import sample_test, sample_train
from posepipe.volumes.window import Cells, Window, compact_box, mirror_points, random_resized_crop

if TYPE_CHECKING:
    from posepipe.datasets.frame_pack import FramePack
    from posepipe.datasets.video_frames import FrameStore

__all__ = ["ActionView", "TestViews", "TrainingViews", "ViewForm"]

Float = NDArray[np.floating]

#: px of a picture for one cell of the maps
PX_PER_CELL = 4
# A window about people too small for the usual one is at least so wide, px.
_LEAST_SIDE = 10.0
# A carried camera turns so many times as far as it shakes, and shakes so often in a clip.
_TURN, _SHAKES = 4.0, (0.5, 5.0)
# Grid on which crops are drawn, in sides of the maps: 256 of 224 px in the published recipes.
_MARGIN = 8 / 7


@dataclass(frozen=True)
class ViewForm:
    """What a network takes.

    Attributes
    ----------
    pose, rgb
        Whether it takes keypoints and pictures.
    frames, rgb_frames
        Frames of a clip of either.
    size
        Side of the maps, cells; pictures are `PX_PER_CELL` times as wide.
    cells
        Where keypoints lie on the grid, as `Window.points` takes it.
    keypoint_score
        Keypoints of a lower score count as missing.
    even
        Frames at even distances, keypoints interpolated between frames; else drawn as PoseC3D does.
    """

    pose: bool = True
    rgb: bool = False
    frames: int = 32
    rgb_frames: int = 8
    size: int = 56
    cells: Cells = "centre"
    keypoint_score: float = 0.0
    even: bool = False


@dataclass(frozen=True, eq=False)
class ActionView:
    """One look at one clip.

    Attributes
    ----------
    points, score
        (P,T,K,2) float32 cells and (P,T,K) float32.
    rgb
        (T,S,S,3) uint8; None where no pictures are wanted.
    label, row
        Class, and place in the set.
    """

    points: NDArray[np.float32]
    score: NDArray[np.float32]
    rgb: NDArray[np.uint8] | None
    label: int
    row: int


class TrainingViews:
    """Random views of a set's clips by (index, seed), as `posepipe.datasets.order.MixedOrder` gives them.

    Parameters
    ----------
    clips
        What to look at.
    form
        What the network takes.
    variation
        How far views vary.
    store
        Where pictures come from, where they are wanted.
    """

    def __init__(
        self, clips: ActionSet, form: ViewForm, variation: ActionVariation, store: FrameStore | FramePack | None = None
    ) -> None:
        self.clips, self.form, self.variation, self.store = clips, form, variation, store

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> ActionView:
        row, seed = key
        sample, form, how = self.clips.samples[row], self.form, self.variation
        rng = np.random.default_rng(seed)
        share = rng.uniform(how.time, 1.0)
        begin = rng.uniform(0, 1 - share)
        count = max(1, round(share * len(sample)))
        first = round(begin * (len(sample) - count))

        def draw(length: int) -> NDArray[np.float64]:
            if form.even:
                return (begin + share * np.linspace(0, 1, length)) * (len(sample) - 1)
            return first + sample_train(count, length, rng).astype(np.float64)

        xy, score = _seen(sample, form, draw(form.frames), _turned(rng, how.view))
        xy = _swayed(xy, score, rng, how.sway) if how.sway else xy
        window, matrix = _window(xy, score, _sheared(rng, how), _picture_size(sample, self.store))
        window = _moved(window, rng, how)
        side = int(form.size * PX_PER_CELL * _MARGIN)
        window = random_resized_crop(window.resized(side, side), rng, how.area, how.aspect)
        flip = bool(rng.random() < how.flip)
        points, score = _placed(xy @ matrix[:, :2].T + matrix[:, 2], score, window, form, flip, self.clips)
        points = points + form.size * _shaken(rng, how, points.shape)
        score = np.where(rng.random(score.shape[2]) < how.drop, 0, score)
        rgb = None
        if form.rgb and self.store is not None:
            pictures = _pictures(sample, form, draw(form.rgb_frames), window, matrix, flip, self.store)
            rgb = vary_colours(pictures, how, rng)
        return ActionView(points.astype(np.float32), score.astype(np.float32), rgb, sample.label, row)


class TestViews:
    """The same views of a set's clips each time: several clips of each, in one window.

    Parameters
    ----------
    clips
        What to look at.
    form
        What the network takes.
    count
        Clips of each.
    store
        Where pictures come from, where they are wanted.
    share
        Share of a clip that each of several evenly sampled views covers; views drawn as in PoseC3D cover it all.
    """

    __test__ = False  # it is no test

    def __init__(
        self,
        clips: ActionSet,
        form: ViewForm,
        count: int = 1,
        store: FrameStore | FramePack | None = None,
        share: float = 1.0,
    ) -> None:
        self.clips, self.form, self.count, self.store, self.share = clips, form, count, store, share

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, row: int) -> list[ActionView]:
        sample, form = self.clips.samples[row], self.form
        places = self._places(len(sample), form.frames)
        xy, score = _seen(sample, form, places.reshape(-1), np.eye(sample.xy.shape[3]))
        window, matrix = _window(xy, score, np.eye(2), _picture_size(sample, self.store))
        window = window.resized(form.size * PX_PER_CELL, form.size * PX_PER_CELL)
        points, score = _placed(xy, score, window, form, False, self.clips)
        shown = self._places(len(sample), form.rgb_frames) if form.rgb else None
        views = []
        for clip, rows in enumerate(np.split(np.arange(places.size), self.count)):
            rgb = None
            if shown is not None and self.store is not None:
                rgb = _pictures(sample, form, shown[clip], window, matrix, False, self.store)
            seen = points[:, rows].astype(np.float32), score[:, rows].astype(np.float32)
            views.append(ActionView(*seen, rgb, sample.label, row))
        return views

    def _places(self, total: int, length: int) -> NDArray[np.float64]:
        """(clips, length) frames of each view, fractional where they are even."""
        if not self.form.even:
            return sample_test(total, length, self.count).astype(np.float64)
        share = 1.0 if self.count == 1 else self.share
        begin = np.linspace(0, 1 - share, self.count) * (total - 1)
        # As many frames as are wanted are taken as they are: these places are whole to the last bit.
        return np.linspace(begin, begin + share * (total - 1), length, axis=1)


def _seen(
    sample: ActionSample, form: ViewForm, places: NDArray[np.float64], turn: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Keypoints (P,T,K,2) px and scores (P,T,K) at fractional frames; `turn` (D,D) is how the camera stands."""
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, len(sample) - 1)
    part = (places - before)[:, None]
    score = np.where(sample.score >= form.keypoint_score, sample.score, 0)
    first, second = score[:, before], score[:, after]
    xy = sample.xy[:, before] * (1 - part)[..., None] + sample.xy[:, after] * part[..., None]
    if xy.shape[3] == 3:
        there = first > 0
        centre = xy[there].mean(0) if there.any() else np.zeros(3)
        xy = (xy - centre) @ turn.T + centre
    whole = part == 0
    between = np.where((first > 0) & (second > 0), first * (1 - part) + second * part, 0)
    return np.asarray(xy[..., :2], np.float64), np.where(whole, first, between).astype(np.float32)


def _turned(rng: np.random.Generator, degrees: float) -> NDArray[np.float64]:
    """A turn (3,3) of the camera about the upright axis, and a third of it up or down."""
    yaw, pitch = np.radians(rng.uniform(-degrees, degrees) * np.array([1, 1 / 3]))
    across = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    down = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return np.asarray(down @ across, np.float64)


def _sheared(rng: np.random.Generator, how: ActionVariation) -> NDArray[np.float64]:
    """A rotation and shear (2,2)."""
    angle = np.radians(rng.uniform(-how.rotate, how.rotate))
    across, down = rng.uniform(-how.shear, how.shear, 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(turn @ np.array([[1, across], [down, 1]]), np.float64)


def _swayed(xy: NDArray[np.float64], score: Float, rng: np.random.Generator, sway: float) -> NDArray[np.float64]:
    """Keypoints (P,T,K,2) px as a camera sees them that is carried: it turns steadily, and shakes in a few waves."""
    found = xy[score > 0]
    if not len(found):
        return xy
    size = sway * abs(rng.normal()) * float(np.ptp(found, axis=0).max())
    time = np.linspace(-0.5, 0.5, xy.shape[1])
    way = _TURN * time[:, None] * rng.normal(0, 1, 2)
    for rate, phase in zip(rng.uniform(*_SHAKES, 3), rng.uniform(0, 1, 3), strict=True):
        way = way + np.sin(2 * np.pi * (rate * time + phase))[:, None] * rng.normal(0, 1, 2)
    return np.asarray(xy + size * way[:, None], np.float64)


def _window(
    xy: Float, score: Float, linear: NDArray[np.float64], picture: tuple[float, float]
) -> tuple[Window, NDArray[np.float64]]:
    """The window about everybody after a map of the picture about their middle, and that map (2,3)."""
    found = xy[score > 0]
    if not len(found):
        return Window((0, 0, *picture), (1, 1)), np.eye(2, 3)
    middle = (found.min(0) + found.max(0)) / 2
    matrix = np.hstack([linear, (middle - linear @ middle)[:, None]])
    found = found @ linear.T + matrix[:, 2]
    box = compact_box(found, np.ones(len(found)))
    if box is None:
        half = max(float(np.ptp(found, axis=0).max()) * 1.25, _LEAST_SIDE) / 2
        centre = (found.min(0) + found.max(0)) / 2
        box = np.concatenate([centre - half, centre + half]).astype(np.float32)
    x1, y1, x2, y2 = (float(v) for v in box)
    return Window((x1, y1, x2, y2), (1, 1)), matrix


def _moved(window: Window, rng: np.random.Generator, how: ActionVariation) -> Window:
    """The window shifted and zoomed."""
    x1, y1, x2, y2 = window.box
    across, down = x2 - x1, y2 - y1
    zoom = np.exp(rng.uniform(*np.log(how.zoom)))
    dx, dy = rng.uniform(-how.shift, how.shift, 2) * (across, down)
    grow = (zoom - 1) / 2
    return Window(
        (x1 + dx - grow * across, y1 + dy - grow * down, x2 + dx + grow * across, y2 + dy + grow * down), window.size
    )


def _placed(
    xy: Float, score: NDArray[np.float32], window: Window, form: ViewForm, flip: bool, clips: ActionSet
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Keypoints in cells of the window's maps."""
    points = window.resized(form.size, form.size).points(xy, form.cells)
    return mirror_points(points, score, form.size, clips.skeleton) if flip else (points, score)


def _shaken(rng: np.random.Generator, how: ActionVariation, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Shifts of keypoints (P,T,K,2) in parts of the window."""
    people, _, joints, _ = shape
    lasting = rng.normal(0, 1, (people, 1, joints, 2)) * how.shape if how.shape else np.zeros((people, 1, joints, 2))
    return lasting + rng.normal(0, how.jitter, shape) if how.jitter else np.broadcast_to(lasting, shape)


def _pictures(
    sample: ActionSample,
    form: ViewForm,
    places: NDArray[np.float64],
    window: Window,
    matrix: NDArray[np.float64],
    flip: bool,
    store: FrameStore | FramePack,
) -> NDArray[np.uint8]:
    """Pictures (T,S,S,3) in the window; what lies outside the video is black."""
    if sample.video is None:
        raise ValueError(f"clip {sample.name!r} has no video to show")
    frames = store.frames(sample.video, [int(sample.frames[round(place)]) for place in places])
    width, height = _picture_size(sample, store)
    side = form.size * PX_PER_CELL
    smaller = np.diag([width / frames.shape[2], height / frames.shape[1], 1])
    whole = np.vstack([window.resized(side, side).affine(), [0, 0, 1]]) @ np.vstack([matrix, [0, 0, 1]]) @ smaller
    shown = [cv2.warpAffine(frame, whole[:2], (side, side), flags=cv2.INTER_LINEAR) for frame in frames]
    pictures = np.stack(shown)
    return np.ascontiguousarray(pictures[:, :, ::-1] if flip else pictures)


def _picture_size(sample: ActionSample, store: FrameStore | FramePack | None) -> tuple[int, int]:
    """Width and height of the video, px; a square where there is none."""
    if min(sample.size) > 0:
        return sample.size
    if store is None or sample.video is None:
        return (PX_PER_CELL, PX_PER_CELL)
    height, width = store.frames(sample.video, [int(sample.frames[0])]).shape[1:3]
    return (width, height)
