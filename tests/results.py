"""Frame results for tests, plain and by hypothesis."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from hypothesis import strategies as st

from posepipe.skeleton import COCO17, Skeleton
from posepipe.types import Action, FrameResult, Poses, Tracks

TRIANGLE = Skeleton("triangle", ("top", "left_foot", "right, foot"), (("top", "left_foot"),), (), (0.1, 0.2, 0.3))


def header(skeleton=COCO17):
    from posepipe.io.schema import skeleton_to_json

    return {"posepipe": "0.1.0", "video": {"name": "clip.mp4"}, "skeleton": skeleton_to_json(skeleton)}


def result(index, ids=(), pts=None, confirmed=None, seed=0, skeleton=COCO17, **more):
    """A frame with people of the given ids, quantised as the pipeline does."""
    dice = np.random.default_rng([seed, index])
    n, k = len(ids), len(skeleton)
    boxes = np.round(np.sort(dice.uniform(0, 600, (n, 2, 2)), axis=1).reshape(n, 4), 2)
    poses = Poses(
        np.round(dice.uniform(-20, 640, (n, k, 2)), 2),
        np.round(dice.uniform(0, 1, (n, k)), 3) * (dice.random((n, k)) > 0.2),
        boxes,
        np.round(dice.uniform(0.3, 1, n), 3),
        skeleton,
    )
    sure = np.ones(n, bool) if confirmed is None else np.array(confirmed, bool)
    tracks = Tracks(poses, np.round(boxes + 0.25, 2), np.array(ids, np.int64), sure, np.full(n, index + 1))
    return FrameResult(index, index / 25 if pts is None else pts, tracks, **more)


def same(a: FrameResult, b: FrameResult) -> bool:
    """Whether two results hold the same values, bit for bit."""

    def flat(r: FrameResult):
        t, p = r.tracks, r.tracks.poses
        arrays = (p.xy, p.score, p.boxes, p.box_score, t.boxes, t.track_id, t.confirmed, t.age)
        actions = [
            (x.track_id, x.label, x.label_id, x.probs.tobytes(), x.start, x.end, x.start_s, x.end_s) for x in r.actions
        ]
        return (
            r.frame_index,
            r.pts,
            r.skipped,
            p.skeleton,
            actions,
            [(x.dtype, x.shape, (x + 0).tobytes()) for x in arrays],
        )

    return flat(a) == flat(b)


@st.composite
def videos(draw, skeleton=COCO17):
    """Some frames in order of time, with any people in them."""
    count = draw(st.integers(0, 5))
    gaps = draw(st.lists(st.floats(1e-5, 1e3), min_size=count, max_size=count))
    steps = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    coordinate = st.floats(-1e5, 1e5, width=32)
    unit = st.floats(0, 1, width=32)
    frames = []
    for index, pts in zip(accumulate(steps), accumulate(gaps), strict=True):
        ids = draw(st.lists(st.integers(1, 9), unique=True, max_size=3))
        n, k = len(ids), len(skeleton)

        def some(kind, *shape, draw=draw):
            size = int(np.prod(shape))
            return np.array(draw(st.lists(kind, min_size=size, max_size=size)), np.float32).reshape(shape)

        poses = Poses(some(coordinate, n, k, 2), some(unit, n, k), some(coordinate, n, 4), some(unit, n), skeleton)
        sure = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
        tracks = Tracks(poses, some(coordinate, n, 4), np.array(ids, np.int64), sure, np.full(n, index))
        actions = (Action(1, "falls \u00fc\n", 0, some(unit, 2), 0, 3, 0.0, 0.1),) if draw(st.booleans()) else ()
        frames.append(FrameResult(index, pts, tracks, actions, draw(st.booleans())))
    return frames
