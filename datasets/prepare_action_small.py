"""Windows of two seconds to train the embedded action network on: UP-Fall through posepipe, UTKinect, JHMDB.

    python datasets/prepare_action_small.py RUNS OUT

RUNS holds what `posepipe run POSEPIPE_DATA/upfall/*.mp4 -o RUNS --no-video` gives. Windows are cut as the pipeline cuts
them (`posepipe.streams.windows`); which of them shows what is read off the heights of boxes and the sets' own labels:

* UP-Fall: a clip's activity; in falls `stand` up to the moment when the head has sunk by a tenth of the body, `fall`
  from there on, `lie` for whoever is on the mattress afterwards; in `picking up` stand, until the head sinks. The
  second person of camera 2 sits. Things that the detector takes for people are `unknown`.
* Of every third window that shows no fall a part at its begin or end is taken away, so that the end of a track says
  nothing; falls often end one.
* UTKinect: segments, seen from five sides. JHMDB: whole clips. Acts that are none of the labels are `unknown`. Their
  joints have no scores: each window gets those of a window of UP-Fall in the same part, whatever that one shows. Else a
  network learns what sits down, stands up and waves by the scores, and knows none of it in a video.

OUT/train.npz holds trial 1, the odd people without subject 9, and four in five of JHMDB's training clips (part
``train``) and beside them the rest of what may be learned from (part ``val``: trial 2, subject 9, one clip in five), on
which temperature and threshold are set. OUT/held.npz is that rest again, as part ``train``, for the network that ships.
OUT/test.npz: trial 3, even people, JHMDB's test clips (``test``), and acts that no training sees (``never``).
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.config import data_root
from posepipe.datasets.actions import ActionClasses, ActionSample, ActionSet
from posepipe.datasets.actions_jhmdb import read_jhmdb14
from posepipe.datasets.actions_npz import write_action_npz
from posepipe.datasets.actions_utkinect import read_utkinect
from posepipe.io.streams import read_streams
from posepipe.skeleton import COCO17, Skeleton, named_skeleton
from posepipe.streams.windows import TimeWindow, windows_of
from posepipe.types import PoseStream

LABELS = ("stand", "walk", "sit", "lie", "fall", "jump", "pick up", "sit down", "stand up", "wave", "unknown")
UPFALL = {6: "walk", 7: "stand", 8: "sit", 9: "pick up", 10: "jump", 11: "lie"}
UTKINECT = {"walk": "walk", "sitDown": "sit down", "standUp": "stand up", "pickUp": "pick up", "waveHands": "wave"}
JHMDB = {"jump": "jump", "pick": "pick up", "sit": "sit down", "stand": "stand up", "walk": "walk", "wave": "wave"}
# The network never sees these: they show how often it says that it does not know.
NEVER_SEEN = ("throw", "golf", "pullup", "pour")
# Not told apart from a label: a person who carries a box walks.
AMBIGUOUS = ("carry", "run")
BODY = tuple(name for name in COCO17.keypoints if not name.endswith(("eye", "ear")))
BODY13: Skeleton = named_skeleton("body13", BODY, tuple(e for e in COCO17.edges if set(e) <= set(BODY)))
SAMPLES, RATE, STEP = 32, 16.0, 4
#: most windows of a label: of what is learned from, of what is held out of it, of tests
MOST = {"train": 500, "hold": 250, "test": 250, "never": 400}
#: files, and what their parts are called in them
FILES = {
    "train": {"train": "train", "hold": "val"},
    "held": {"hold": "train"},
    "test": {"test": "test", "never": "never"},
}
#: seconds by which streams are shifted, so that windows end at other frames; falls are few
PHASES = (0.0, 0.11, 0.05, 0.16, 0.03, 0.19)
YAWS = (-50, -25, 0, 25, 50)
#: score of the joints of sets that have none, until `_scored` gives them some
NO_SCORE = 1.0

Row = tuple[str, str, PoseStream]  # part, label, window


def main() -> int:
    """Write the set; print how many windows of each label there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    rows: list[Row] = []
    for source in (upfall(arguments.runs), utkinect(), jhmdb()):
        rows += source
    rows = _scored(_thinned([row for row in rows if row[1] not in AMBIGUOUS]))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, parts in FILES.items():
        own = [(parts[part], label, window) for part, label, window in rows if part in parts]
        own = [(part, label, _cut(number, part, label, window)) for number, (part, label, window) in enumerate(own)]
        samples = tuple(_sample(f"{name} {number}", *row) for number, row in enumerate(own))
        write_action_npz(
            arguments.out / f"{name}.npz", ActionSet("action_small", BODY13, ActionClasses(LABELS), samples)
        )
        for part in dict.fromkeys(parts.values()):
            print(f"{name}.npz {part}:", dict(Counter(label for found, label, _ in own if found == part)))
    return 0


def upfall(runs: Path) -> Iterator[Row]:
    """Windows of every clip that was run."""
    with (data_root() / "upfall/labels.csv").open(encoding="utf-8") as file:
        clips = list(csv.DictReader(file))
    for clip in clips:
        path = runs / Path(clip["file"]).stem / "streams.npz"
        if not path.exists():
            continue
        part = {"1": "train", "2": "hold", "3": "test"}[clip["trial"]]
        for stream in read_streams(path):
            for label, window in _upfall_windows(stream, int(clip["activity"]), int(clip["camera"])):
                yield part, label, window


def _upfall_windows(stream: PoseStream, activity: int, camera: int) -> Iterator[tuple[str, PoseStream]]:
    """What the windows of one track show; those that show nothing sure are left out."""
    x, y = np.median((stream.boxes[:, :2] + stream.boxes[:, 2:]) / 2, axis=0)
    width, height = np.median(stream.boxes[:, 2:] - stream.boxes[:, :2], axis=0)
    lying = (y > 420 and x < 480) if camera == 1 else (210 < x < 420 and y > 270)
    if camera == 2 and 520 < x < 615:
        what = "sit"  # the second person
    elif camera == 2 and (x > 615 or x < 100) and width < 40:
        what = "unknown"  # a stand and a chair's leg
    elif lying and (activity <= 5 or activity == 11):
        what = "lie"
    elif height > 150 and not lying:
        what = UPFALL.get(activity, "fall")
    else:
        return
    sunk = _sunk(stream)
    for phase in PHASES if what == "fall" else PHASES[:2]:
        for window in windows_of(replace(stream, pts=stream.pts + phase), SAMPLES, RATE, STEP):
            last = window.end_s - phase
            label = _event(what, window, sunk, last) if what in ("fall", "pick up") else what
            if label:
                yield label, window.stream


def _sunk(stream: PoseStream) -> NDArray[np.float64]:
    """Times at which the head is lower than at first by a tenth of the body."""
    height = float(np.median((stream.boxes[:, 3] - stream.boxes[:, 1])[:12]))
    top = stream.boxes[:, 1]
    low = top - np.median(top[:12]) > 0.1 * height
    return np.asarray(stream.pts[low])


def _event(what: str, window: TimeWindow, sunk: NDArray[np.float64], last: float) -> str:
    """Stand before it, the event while it shows, nothing where that is not sure."""
    if what == "fall":
        begin = sunk[0] if len(sunk) else np.inf
        if last < begin - 0.1:
            return "stand"
        return "fall" if last >= begin + 0.1 else ""
    first = last - (window.end_s - window.start_s)
    inside = ((sunk >= first) & (sunk <= last)).sum()
    if inside == 0:
        return "stand"
    return "pick up" if inside >= 5 else ""


def utkinect() -> Iterator[Row]:
    """Segments of every act, from several sides."""
    clips = read_utkinect(data_root() / "utkinect")
    names = clips.skeleton.keypoints
    place = [names.index("head" if name == "nose" else name) for name in BODY]
    for sample in clips.samples:
        act = clips.classes.names[sample.label]
        part = "test" if sample.part == "test" else "hold" if sample.subject == "s09" else "train"
        pts = sample.frames / 30.0
        for yaw in YAWS:
            xy = _projected(sample.xy[0].astype(np.float64) / 200, np.radians(yaw))[:, place]
            yield from _segment(part, UTKINECT.get(act, act), pts, xy)


def _projected(xyz: NDArray[np.float64], yaw: float) -> NDArray[np.float64]:
    """Joints (T,J,3) in metres, y down, as a camera of 525 px sees them that has walked about the person."""
    middle = np.median(xyz.reshape(-1, 3), axis=0)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    seen = (xyz - middle) @ turn.T + middle
    return np.asarray(525 * seen[..., :2] / np.maximum(seen[..., 2:], 0.5) + (320, 240))


def jhmdb() -> Iterator[Row]:
    """Clips of the first split; 25 frames a second is a guess that suits most."""
    clips = read_jhmdb14(data_root() / "jhmdb14", "1")
    names = clips.skeleton.keypoints
    place = [names.index("face" if name == "nose" else name) for name in BODY]
    for number, sample in enumerate(clips.samples):
        act = clips.classes.names[sample.label]
        part = "test" if sample.part == "test" else ("hold" if number % 5 == 0 else "train")
        yield from _segment(part, JHMDB.get(act, act), sample.frames / 25.0, sample.xy[0][:, place].astype(np.float64))


def _segment(part: str, label: str, pts: NDArray[np.float64], xy: NDArray[np.float64]) -> Iterator[Row]:
    """Windows (T,13,2) px of a segment; one that is too short for the grid is put amid a window."""
    if label in NEVER_SEEN:
        part = "never"
    elif label not in LABELS and label not in AMBIGUOUS:
        label = "unknown"
    pts, first = np.unique(pts - pts[0], return_index=True)
    xy = xy[first]
    full = np.zeros((len(pts), len(COCO17), 2), np.float32)
    score = np.zeros(full.shape[:2], np.float32)
    here = [COCO17.keypoints.index(name) for name in BODY]
    full[:, here], score[:, here] = xy, NO_SCORE
    low, high = xy.min(1), xy.max(1)
    boxes = np.concatenate([low, high], 1)
    seen = np.ones(len(pts), bool)
    short = max(0.0, SAMPLES / RATE - float(pts[-1]))
    for lead in (0.05, short / 2, short):
        stream = PoseStream(1, np.arange(len(pts)), pts + lead, full, score, boxes, seen)
        found = [w.stream for w in windows_of(stream, SAMPLES, RATE, STEP * 2)]
        for window in found:
            yield part, label, window


def _thinned(rows: list[Row]) -> list[Row]:
    """No more windows of a label in a part than MOST says, spread evenly."""
    kept: list[Row] = []
    for part, most in MOST.items():
        for label in sorted({row[1] for row in rows}):
            own = [row for row in rows if row[:2] == (part, label)]
            places = np.linspace(0, len(own) - 1, min(len(own), most)).round().astype(int) if own else ()
            kept += [own[i] for i in places]
    return kept


def _scored(rows: list[Row]) -> list[Row]:
    """Joints without scores get those of windows in which somebody was seen all the time."""
    rng = np.random.default_rng(1)
    bare = [bool(np.isin(window.score, (0.0, NO_SCORE)).all()) for _, _, window in rows]
    given: dict[str, list[NDArray[np.float32]]] = {}
    for (part, _, window), without in zip(rows, bare, strict=True):
        if not without and window.seen.all():
            given.setdefault(part, []).append(window.score)
    scored = []
    for (part, label, window), without in zip(rows, bare, strict=True):
        if without:
            own = given[part if part in given else "test"]
            window = replace(window, score=np.where(window.score > 0, own[int(rng.integers(len(own)))], 0))
        scored.append((part, label, window))
    return scored


def _cut(number: int, part: str, label: str, window: PoseStream) -> PoseStream:
    """Every third window of a part that is learned from, without its begin or its end."""
    there = np.flatnonzero(window.seen)
    if part != "train" or label == "fall" or number % 3 or len(there) < SAMPLES * 3 // 4:
        return window
    keep = there[: SAMPLES * 5 // 8] if number % 2 else there[-SAMPLES * 5 // 8 :]
    score = np.zeros_like(window.score)
    score[keep] = window.score[keep]
    return replace(window, score=score)


def _sample(name: str, part: str, label: str, window: PoseStream) -> ActionSample:
    here = [COCO17.keypoints.index(joint) for joint in BODY]
    return ActionSample(
        name=name,
        label=LABELS.index(label if label in LABELS else "unknown"),
        xy=np.round(window.xy[None][:, :, here], 1),
        score=np.round(window.score[None][:, :, here], 2),
        frames=np.arange(SAMPLES),
        part=part,
    )


if __name__ == "__main__":
    raise SystemExit(main())
