"""Draw what was seen onto the picture: boxes, ids, skeletons and actions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import Action, FrameResult

__all__ = ["Captions", "Shown", "SpanCaptions", "Trails", "draw", "person_colour"]

Colour = tuple[int, int, int]

# Bright, far apart, and legible on streets, rooms and skin; people take them in turn.
_PALETTE: tuple[Colour, ...] = (
    (255, 183, 3),
    (58, 190, 255),
    (255, 94, 132),
    (92, 219, 110),
    (190, 132, 255),
    (255, 138, 61),
    (38, 214, 192),
    (240, 114, 220),
    (201, 219, 56),
    (122, 156, 255),
)
_DARK: Colour = (16, 16, 20)
_LIGHT: Colour = (255, 255, 255)
_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel
_LEFT_MIX, _RIGHT_MIX = 0.55, 0.4
_FONT = cv2.FONT_HERSHEY_DUPLEX


def person_colour(track_id: int) -> Colour:
    """RGB colour of a person: the same in every frame and every run."""
    return _PALETTE[(track_id - 1) % len(_PALETTE)]


def draw(
    image: NDArray[np.uint8],
    result: FrameResult,
    skeleton: Skeleton = COCO17,
    keypoint_score: float = 0.3,
    trails: Trails | None = None,
    captions: Mapping[int, str] | None = None,
) -> NDArray[np.uint8]:
    """A copy of the picture with the confirmed people of a frame drawn on it.

    Each person has a colour. Limbs of the left side are a light shade of it, those of the right side a dark one, those
    across the body the colour itself. A joint that scores below ``keypoint_score``, and a limb that ends in one, is
    not drawn. Line widths follow the size of the picture and, for small people, of the person.

    Parameters
    ----------
    image
        (H,W,3) uint8 RGB; left as it is.
    result
        What was seen in it.
    skeleton
        Names and limbs of the keypoints.
    keypoint_score
        Least score of a joint that is drawn; one of score 0 never is.
    trails
        Takes the frame and draws where people came from; None draws no trails.
    captions
        What stands beside a person's id, by id (`Captions.update`); None: the actions that the frame itself holds.

    Returns
    -------
    (H,W,3) uint8 RGB.
    """
    canvas: NDArray[np.uint8] = np.array(image, np.uint8, order="C")
    tracks, poses = result.tracks, result.tracks.poses
    shades = [_side(skeleton.keypoints[a], skeleton.keypoints[b], skeleton) for a, b in skeleton.edge_index]
    scale = min(canvas.shape[:2]) / 360
    if trails is not None:
        trails.draw(canvas, result)
    if captions is None:
        captions = {action.track_id: action.label for action in result.actions if action.label_id >= 0}
    # Far people first: the near ones, whose boxes reach lower, lie on top.
    order = sorted(np.flatnonzero(tracks.confirmed).tolist(), key=lambda i: float(poses.boxes[i, 3]))
    for i in order:
        colour = person_colour(int(tracks.track_id[i]))
        height = float(poses.boxes[i, 3] - poses.boxes[i, 1])
        width = max(2, round(min(1.4 * scale, height / 50)))
        found = poses.score[i] >= max(keypoint_score, 1e-6)
        _box(canvas, poses.boxes[i], colour, max(1, round(0.6 * scale)))
        _skeleton(canvas, poses.xy[i], found, skeleton, shades, colour, width)
    for i in order:  # texts last, so that no line crosses them
        track_id = int(tracks.track_id[i])
        text = f"{track_id} {captions.get(track_id, '')}".rstrip()
        _label(canvas, poses.boxes[i], text, person_colour(track_id), scale)
    return canvas


class Trails:
    """Where each confirmed person has stood of late (the middle of the lower edge of the box), drawn as a line.

    Parameters
    ----------
    length
        Frames that a trail reaches back.
    """

    def __init__(self, length: int = 30) -> None:
        self.length = length
        self._paths: dict[int, deque[tuple[int, NDArray[np.float32]]]] = {}

    def draw(self, canvas: NDArray[np.uint8], result: FrameResult) -> None:
        """Take the next frame's people and draw their trails onto ``canvas`` (H,W,3) uint8 RGB itself."""
        if result.cut:
            self._paths.clear()
        tracks, now = result.tracks, result.frame_index
        for row in np.flatnonzero(tracks.confirmed).tolist():
            foot = np.array([(tracks.boxes[row, 0] + tracks.boxes[row, 2]) / 2, tracks.boxes[row, 3]], np.float32)
            self._paths.setdefault(int(tracks.track_id[row]), deque()).append((now, foot))
        width = max(1, round(min(canvas.shape[:2]) / 240))
        for track_id, path in list(self._paths.items()):
            while path and path[0][0] <= now - self.length:
                path.popleft()
            if not path:
                del self._paths[track_id]
                continue
            points = _fixed(np.stack([foot for _, foot in path]), canvas)
            cv2.polylines(canvas, [points], False, person_colour(track_id), width, cv2.LINE_AA, _SHIFT)


class Shown:
    """Who is drawn: on a frame that was not looked at (``stride``) the people of the last one that was, in a shot."""

    def __init__(self) -> None:
        self._last: FrameResult | None = None

    def update(self, result: FrameResult) -> FrameResult:
        """Take the next frame; returns what to draw on it."""
        if not result.skipped:
            self._last = result
        elif result.cut:
            self._last = None
        elif self._last is not None:
            return replace(self._last, frame_index=result.frame_index, pts=result.pts, actions=(), cut=False)
        return result


class Captions:
    """What each person was last seen to do: an action is known when its window ends and stands until the next one.

    Parameters
    ----------
    hold_s
        Seconds after which an action that was not seen again is taken away.
    """

    def __init__(self, hold_s: float = 1.5) -> None:
        self.hold_s = hold_s
        self._said: dict[int, tuple[float, str]] = {}

    def update(self, result: FrameResult) -> dict[int, str]:
        """Take the next frame; returns what to write beside people's ids."""
        for action in result.actions:
            self._said[action.track_id] = (result.pts, action.label if action.label_id >= 0 else "")
        self._said = {i: said for i, said in self._said.items() if result.pts - said[0] <= self.hold_s}
        return {i: label for i, (_, label) in self._said.items()}


class SpanCaptions:
    """What each person does according to spans that are known beforehand, in order of their start."""

    def __init__(self, spans: Iterable[Action]) -> None:
        self._coming = deque(spans)
        self._now: list[Action] = []

    def update(self, result: FrameResult) -> dict[int, str]:
        """Take the next frame; returns what to write beside people's ids."""
        while self._coming and self._coming[0].start <= result.frame_index:
            self._now.append(self._coming.popleft())
        self._now = [span for span in self._now if span.end > result.frame_index]
        return {span.track_id: span.label for span in self._now if span.label_id >= 0}


def _side(a: str, b: str, skeleton: Skeleton) -> int:
    """1 for a limb of the left side, -1 for one of the right side, 0 for one across or in the middle."""
    left = {name for name, _ in skeleton.pairs}
    right = {name for _, name in skeleton.pairs}
    one = {(name in left) - (name in right) for name in (a, b)}
    if one <= {0, 1} and 1 in one:
        return 1
    return -1 if one <= {0, -1} and -1 in one else 0


def _shade(colour: Colour, side: int) -> Colour:
    if side > 0:
        return _mix(colour, _LIGHT, _LEFT_MIX)
    return _mix(colour, _DARK, _RIGHT_MIX) if side < 0 else colour


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (round(x + share * (y - x)) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _fixed(xy: NDArray[np.float32], canvas: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Points in cv2's fixed-point numbers; what lies far outside is brought nearer, so that it does not overflow."""
    limit = 2 * max(canvas.shape)
    return np.asarray(np.round(np.clip(xy, -limit, limit) * (1 << _SHIFT)), np.int32)


def _box(canvas: NDArray[np.uint8], box: NDArray[np.float32], colour: Colour, width: int) -> None:
    """The rectangle whose lines run through the outermost pixels of a half-open box."""
    limit = 2 * max(canvas.shape)
    left, top, right, bottom = np.round(np.clip(box, -limit, limit)).astype(int).tolist()
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour, width)


def _skeleton(
    canvas: NDArray[np.uint8],
    xy: NDArray[np.float32],
    found: NDArray[np.bool_],
    skeleton: Skeleton,
    shades: Sequence[int],
    colour: Colour,
    width: int,
) -> None:
    points = _fixed(xy, canvas).tolist()
    limbs = [
        (a, b, side) for (a, b), side in zip(skeleton.edge_index.tolist(), shades, strict=True) if found[a] & found[b]
    ]
    # A dark rim keeps light limbs legible on light ground.
    for a, b, _ in limbs:
        cv2.line(canvas, points[a], points[b], _DARK, width + max(1, width // 3) * 2, cv2.LINE_AA, _SHIFT)
    for a, b, side in limbs:
        cv2.line(canvas, points[a], points[b], _shade(colour, side), width, cv2.LINE_AA, _SHIFT)
    radius = round(width * 0.75 * (1 << _SHIFT))
    for k in np.flatnonzero(found).tolist():
        cv2.circle(canvas, points[k], radius + (1 << _SHIFT), _DARK, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, points[k], radius, _LIGHT, -1, cv2.LINE_AA, _SHIFT)


def _label(canvas: NDArray[np.uint8], box: NDArray[np.float32], text: str, colour: Colour, scale: float) -> None:
    """A chip with the text on the upper left corner of the box, moved into the picture where it would leave it."""
    size, stroke = max(0.4, 0.42 * scale), max(1, round(0.5 * scale))
    # The fonts of cv2 have ASCII letters only.
    text = text.encode("ascii", "replace").decode("ascii")
    (width, height), drop = cv2.getTextSize(text, _FONT, size, stroke)
    pad = max(2, round(2 * scale))
    full_width, full_height = width + 2 * pad, height + drop // 2 + 2 * pad
    rows, columns = canvas.shape[:2]
    left = int(np.clip(box[0], 0, max(0, columns - full_width)))
    top = int(np.clip(box[1] - full_height, 0, max(0, rows - full_height)))
    cv2.rectangle(canvas, (left, top), (left + full_width - 1, top + full_height - 1), colour, -1)
    cv2.putText(canvas, text, (left + pad, top + pad + height), _FONT, size, _DARK, stroke, cv2.LINE_AA)
