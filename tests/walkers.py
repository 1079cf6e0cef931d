"""Labelled videos of people who walk, sound or with one fault."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from posepipe.datasets.audit import Sign
from posepipe.datasets.labels import KeypointSet, area_of
from posepipe.skeleton import COCO17

VIDEOS, FRAMES = 20, 40
# A person who faces the camera: COCO's order, in parts of the body's height, their left on the right of the picture.
BODY = np.array(
    [[0, 0.1], [0.03, 0.08], [-0.03, 0.08], [0.06, 0.1], [-0.06, 0.1], [0.12, 0.22], [-0.12, 0.22], [0.16, 0.38],
     [-0.16, 0.38], [0.17, 0.52], [-0.17, 0.52], [0.08, 0.52], [-0.08, 0.52], [0.09, 0.74], [-0.09, 0.74],
     [0.09, 0.96], [-0.09, 0.96]]
)  # fmt: skip


def sound(seed: int = 0) -> KeypointSet:
    """Videos of one person who walks about, labelled with a little noise."""
    rng = np.random.default_rng(seed)
    count = VIDEOS * FRAMES
    time = np.tile(np.arange(FRAMES), VIDEOS)
    video = np.repeat(np.arange(VIDEOS), FRAMES)
    speed, phase = rng.uniform(1, 4, VIDEOS)[video], rng.uniform(0, 6, VIDEOS)[video]
    place = np.stack([200 + speed * time, 80 + 3 * np.sin(time / 4 + phase)], -1)
    xy = place[:, None] + 250 * BODY + rng.normal(0, 0.6, (count, 17, 2))
    low, high = xy.min(1), xy.max(1)
    boxes = np.concatenate([low - 8, high + 8], 1).astype(np.float32)
    names = [f"v{number:02d}" for number in range(VIDEOS)]
    return KeypointSet(
        name="walkers",
        skeleton=COCO17,
        images=tuple(f"{names[v]}/{t:06d}.jpg" for v, t in zip(video, time, strict=True)),
        sizes=np.zeros((count, 2), np.int32),
        videos=tuple(names[v] for v in video),
        frames=time,
        image=np.arange(count),
        boxes=boxes,
        xy=xy.astype(np.float32),
        visibility=np.full((count, 17), 2, np.int8),
        score=rng.uniform(0.8, 0.95, (count, 17)).astype(np.float32),
        person_score=np.ones(count, np.float32),
        area=area_of(boxes),
        area_known=np.zeros(count, bool),
        iscrowd=np.zeros(count, bool),
        track_id=np.full(count, -1, np.int64),
    )


def rows_of(labels: KeypointSet, video: str) -> np.ndarray:
    return np.flatnonzero(np.array(labels.videos)[labels.image] == video)


def with_fault(sign: Sign, video: str = "v07") -> KeypointSet:
    """The sound set with one fault in one video."""
    labels, rng = sound(), np.random.default_rng(5)
    rows = rows_of(labels, video)
    xy, score, boxes = labels.xy.copy(), labels.score.copy(), labels.boxes.copy()
    if sign is Sign.BONE:
        xy[rows[::3], 9] += (0, 90)
    elif sign is Sign.JUMP:
        xy[rows[::5], 10] += (120, -80)
    elif sign is Sign.JITTER:
        xy[rows] += rng.normal(0, 9, xy[rows].shape)
    elif sign is Sign.SWAP:
        xy[rows[::4], 11:] = xy[rows[::4]][:, [12, 11, 14, 13, 16, 15]]
    elif sign is Sign.FACING:
        xy[rows, 5:] = xy[rows][:, [6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]]
    elif sign is Sign.CONFIDENCE:
        score[rows] *= 0.5
    elif sign is Sign.FROZEN:
        xy[rows[10:30]], boxes[rows[10:30]] = xy[rows[10]], boxes[rows[10]]
    elif sign is Sign.OUTSIDE:
        boxes[rows, 3] -= 90
    elif sign is Sign.GAPS:
        return labels.of_images(np.setdiff1d(np.arange(len(labels.images)), labels.image[rows[5:30]]))
    elif sign is Sign.TWICE:
        return labels.select(np.sort(np.concatenate([np.arange(len(labels)), rows[::2]])))
    return replace(labels, xy=xy, score=score, boxes=boxes)
