"""Measure the trackers on MOT15 and MOT17-02: ``python eval/track.py`` prints tables and writes RESULTS-track.md."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from filterpy.kalman import KalmanFilter
from numpy.typing import NDArray

from posepipe.config import data_root
from posepipe.evaluation.mot import MotScore, score_sequence
from posepipe.evaluation.mot_files import Benchmark, MotRows, guess_benchmark, read_mot
from posepipe.geometry import iou
from posepipe.stages import Tracker
from posepipe.tracking import kalman
from posepipe.tracking.association import assign
from posepipe.tracking.bytetrack import ByteTrack
from posepipe.tracking.ocsort import OCSort
from posepipe.tracking.posesort import PoseSort
from posepipe.tracking.refine import refine
from posepipe.tracking.sort import Sort
from posepipe.types import Detections, FrameResult, Poses

#: The validation sequences of the SORT paper.
SORT_SEQUENCES = ("TUD-Campus", "ETH-Sunnyday", "ETH-Pedcross2", "ADL-Rundle-8", "Venice-2", "KITTI-17")

#: The sequences on which the second pass was fitted and its settings were chosen; all others are held out.
TUNED = ("TUD-Campus", "TUD-Stadtmitte", "KITTI-13", "KITTI-17", "ETH-Bahnhof")

TRACKERS: dict[str, Callable[[], Tracker]] = {
    "SORT": lambda: Sort(max_age=1, min_hits=3, iou_threshold=0.3),
    "SORT, max_age 30": lambda: Sort(max_age=30, min_hits=3, iou_threshold=0.3),
    "ByteTrack": ByteTrack,
    "OC-SORT": OCSort,
    "OC-SORT, all detections": lambda: OCSort(det_threshold=0.0),
    "PoseSORT": PoseSort,
}

#: Those that the second pass follows, and how it is called in the tables.
SECOND_PASS = ("SORT", "ByteTrack", "OC-SORT", "PoseSORT")
REFINED = ", refined"
_BOTH = [name + more for name in TRACKERS for more in ("", REFINED) if not more or name in SECOND_PASS]
_PAIRS = [name + more for name in SECOND_PASS for more in ("", REFINED)]

# xyxy @ _TO_SIZE = xywh
_TO_SIZE = np.eye(4) - np.eye(4, k=2)
_CROWD, _FRAMES = 50, 200

_CHOICES = """SORT, OC-SORT and ByteTrack run with their published settings. PoseSORT's rounds, thresholds, probation
and camera motion were chosen on MOT15 as a whole. Its max_age of 60 frames was chosen with both tables in view: 30
frames (as ByteTrack and OC-SORT have) are better on MOT15 (HOTA 38.98, IDF1 51.98) and worse on MOT17-02 (34.70,
39.84). So there is no set here that PoseSORT had not seen."""

_SECOND = """## Second pass

`posepipe run --track-refine` and `posepipe refine`. Its likelihood of links was fitted by `python eval/track_links.py`
on the ground truth of MOT17-04, -11 and -13 and on the trackers' pieces of five sequences of MOT15; its thresholds and
the risks behind `id_confidence` were chosen on those five and on MOT17-11 and -13. The other six of MOT15 and MOT17-02
had no part in it. Without poses it goes by motion and the heights of boxes. Rows count for `id_confidence` that show a
person of the ground truth (IoU 0.5); right are those that show the person whom most rows of their id show."""


def track(tracker: Tracker, detections: MotRows) -> tuple[list[FrameResult], float]:
    """Run a tracker over a file's detections: what it made of every frame, and the CPU seconds it took."""
    frames: list[FrameResult] = []
    seconds = 0.0
    found = detections.by_frame()
    for frame in range(1, max(found, default=0) + 1):
        rows = found.get(frame, detections[:0])
        poses = Poses.unseen(Detections(rows.boxes.astype(np.float32), rows.flag.astype(np.float32)))
        start = time.process_time()
        tracks = tracker.update(poses)
        seconds += time.process_time() - start
        frames.append(FrameResult(frame - 1, frame / 25, tracks))
    return frames, seconds


def shown(frames: Iterable[FrameResult]) -> MotRows:
    """The tracker's boxes of confirmed people as a results file holds them: corner and size to two decimals."""
    parts: list[MotRows] = []
    for result in frames:
        tracks, keep = result.tracks, result.tracks.confirmed
        count = int(keep.sum())
        boxes = np.round(tracks.boxes[keep].astype(np.float64) @ _TO_SIZE, 2) @ np.linalg.inv(_TO_SIZE)
        frame = np.full(count, result.frame_index + 1)
        parts.append(MotRows(frame, tracks.track_id[keep], boxes, np.ones(count), np.full(count, -1)))
    return MotRows(*(np.concatenate([getattr(p, n) for p in parts]) for n in MotRows.__dataclass_fields__))


@dataclass
class Reached:
    """What a tracker reached on a sequence: its score, CPU seconds, frames, and how its rows' ids turned out.

    ``sure`` and ``right``: for each row that shows somebody, how sure the second pass was of its id, and whether it
    shows the person that most rows of its id show.
    """

    score: MotScore
    seconds: float
    frames: int
    sure: NDArray[np.float64]
    right: NDArray[np.bool_]


class Sequence:
    """Detections and ground truth of a sequence, and what trackers reached on it."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.detections = read_mot(next(folder.glob("det*.txt")))
        self.truth = read_mot(folder / "gt.txt")
        self.benchmark: Benchmark = guess_benchmark(folder, self.truth)
        self._reached: dict[str, Reached] = {}

    def reached(self, name: str) -> Reached:
        """What the tracker of that name reaches, ``, refined`` behind it with the second pass."""
        if name not in self._reached:
            plain = name.removesuffix(REFINED)
            frames, seconds = track(TRACKERS[plain](), self.detections)
            self._reached[plain] = self._judge(frames, seconds)
            if plain in SECOND_PASS:
                start = time.process_time()
                again = list(refine(frames))
                self._reached[plain + REFINED] = self._judge(again, seconds + time.process_time() - start)
        return self._reached[name]

    def _judge(self, frames: list[FrameResult], seconds: float) -> Reached:
        score = score_sequence(self.truth, shown(frames), self.benchmark)
        return Reached(score, seconds, len(frames), *self._certainty(frames))

    def _certainty(self, frames: list[FrameResult]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """How sure the id of each row is that shows somebody, and whether it is right."""
        truth = self.truth[self.truth.flag != 0].by_frame()
        rows = []
        for result in frames:
            there, tracks = truth.get(result.frame_index + 1), result.tracks
            known = tracks.refinement
            if there is None or known is None or not len(tracks):
                continue
            overlap = iou(tracks.boxes, there.boxes)
            best = overlap.argmax(1)
            for row in np.flatnonzero(tracks.confirmed & known.seen & (overlap.max(1) >= 0.5)):
                rows.append((tracks.track_id[row], there.track_id[best[row]], known.id_confidence[row]))
        table = np.array(rows, np.float64).reshape(-1, 3)
        main: dict[float, float] = {}
        for track_id in np.unique(table[:, 0]):
            people, count = np.unique(table[table[:, 0] == track_id, 1], return_counts=True)
            main[float(track_id)] = float(people[count.argmax()])
        return table[:, 2], np.array([main[i] == person for i, person in table[:, :2].tolist()], bool)


def markdown(title: str, header: str, rows: Iterable[Iterable[object]]) -> str:
    """Build a Markdown table under its title; ``header`` names the columns, parted by blanks."""
    head = header.split()
    lines = [head, ["---"] * len(head), *([str(v) for v in row] for row in rows)]
    return f"{title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(*values: float, digits: int = 1) -> list[str]:
    """Shares as per cent."""
    return [f"{100 * value:.{digits}f}" for value in values]


def sort_table(sequences: Iterable[Sequence]) -> str:
    """SORT with its published settings on the sequences of its paper, and all of them combined."""
    scores = {s.name: s.reached("SORT").score for s in sequences if s.name in SORT_SEQUENCES}
    scores = {name: scores[name] for name in SORT_SEQUENCES} | {"overall": sum(scores.values(), MotScore())}
    rows = [
        (name, *percent(s.recall, s.precision), s.people, s.fp, s.fn, s.switches, *percent(s.mota, s.motp))
        for name, s in scores.items()
    ]
    return markdown("## SORT on the sequences of its paper", "sequence Rcll Prcn GT FP FN IDs MOTA MOTP", rows)


def tracker_table(title: str, sequences: Sequence_[Sequence], names: Iterable[str]) -> str:
    """Trackers on the same detections."""
    rows = []
    for name in names:
        reached = [s.reached(name) for s in sequences]
        total = sum((r.score for r in reached), MotScore())
        shares = percent(total.hota, total.deta, total.assa, total.mota, total.idf1, digits=2)
        fps = sum(r.frames for r in reached) / sum(r.seconds for r in reached)
        rows.append((name, *shares, total.switches, total.fp, total.fn, f"{fps:.0f}"))
        print(*rows[-1], flush=True)
    return markdown(title, "tracker HOTA DetA AssA MOTA IDF1 IDSW FP FN fps", rows)


def certainty_table(title: str, sequences: Sequence_[Sequence]) -> str:
    """How often an id is right that the second pass is so sure of, over the trackers that it follows."""
    names = [name + REFINED for name in SECOND_PASS]
    sure = np.concatenate([s.reached(name).sure for s in sequences for name in names])
    right = np.concatenate([s.reached(name).right for s in sequences for name in names])
    edges = [0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 1.01]
    rows = []
    for low, high in pairwise(edges):
        inside = (sure >= low) & (sure < high)
        if inside.any():
            label = f"{low:.2f}-{min(high, 1):.2f}"
            rows.append((label, int(inside.sum()), *percent(sure[inside].mean(), right[inside].mean())))
    return markdown(title, "id_confidence rows mean,% right,%", rows)


def crowd() -> NDArray[np.float32]:
    """Boxes (frames, people, 4) of people who wander about a square."""
    rng = np.random.default_rng(0)
    corner = np.stack(np.meshgrid(np.arange(10) * 150.0, np.arange(5) * 200.0), -1).reshape(-1, 2)
    walk = corner + np.cumsum(rng.normal(0, 1, (_FRAMES, _CROWD, 2)), 0)
    return np.concatenate([walk, walk + np.array([60, 160])], -1).astype(np.float32)


def filterpy_sort(walk: NDArray[np.float32], *, associate: bool) -> None:
    """SORT in the way of its source, a filterpy object a track: its filters alone, or with IoU and assignment."""
    filters = [KalmanFilter(dim_x=7, dim_z=4) for _ in range(_CROWD)]
    for one, box in zip(filters, kalman.boxes_to_measurements(walk[0]), strict=True):
        one.H, one.F = np.eye(4, 7), np.eye(7) + np.diag([1.0, 1.0, 1.0], 4)
        one.x[:4, 0] = box
    for boxes in walk:
        pairs = [(i, i) for i in range(_CROWD)]
        for one in filters:
            one.predict()
        if associate:
            predicted = np.vstack([kalman.states_to_boxes(one.x.T) for one in filters])
            pairs = assign(1.0 - iou(boxes, predicted)).tolist()
        for found, which in pairs:
            filters[which].update(kalman.boxes_to_measurements(boxes[found : found + 1])[0])


def batched_filters(walk: NDArray[np.float32]) -> None:
    """The same filters in one batch."""
    state = kalman.first_states(walk[0])
    for boxes in walk:
        state = kalman.update_boxes(*kalman.predict_boxes(*state), boxes)


def speed_table() -> str:
    """Milliseconds a frame with 50 people, beside a filterpy object a track; the best of three runs."""
    walk = crowd()
    poses = [Poses.unseen(Detections(b, np.ones(_CROWD, np.float32))) for b in walk]

    def whole(make: Callable[[], Tracker]) -> None:
        tracker = make()
        for one in poses:
            tracker.update(one)

    work: dict[str, Callable[[], None]] = {
        "filters alone, filterpy": partial(filterpy_sort, walk, associate=False),
        "filters alone, batched (SORT)": partial(batched_filters, walk),
        "whole SORT on filterpy objects": partial(filterpy_sort, walk, associate=True),
        **{f"whole {name}": partial(whole, make) for name, make in TRACKERS.items()},
    }
    took: dict[str, float] = {}
    for name, run in work.items():
        for _ in range(3):
            start = time.process_time()
            run()
            took[name] = min(took.get(name, np.inf), 1e3 * (time.process_time() - start) / _FRAMES)
    parts = {"filters": took["filters alone, filterpy"], "whole": took["whole SORT on filterpy objects"]}
    rows = [(name, f"{ms:.3f}", f"{parts[name.split()[0]] / ms:.1f}") for name, ms in took.items()]
    return markdown(f"## Time with {_CROWD} people", "work ms/frame times_as_fast_as_filterpy", rows)


def main() -> None:
    """Print the tables and write them beside this script."""
    root = data_root() / "track"
    mot15 = [Sequence(folder) for folder in sorted((root / "mot15").iterdir())]
    mot17 = [Sequence(root / "mot17" / "MOT17-02")]
    tuned = [s for s in mot15 if s.name in TUNED]
    held_out = [s for s in mot15 if s.name not in TUNED]
    text = "\n\n".join(
        [
            "# Trackers",
            "Made by `python eval/track.py`: public detections without poses or pictures, so motion and association "
            f"alone decide. {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, "
            f"{date.today()}. fps is that of the tracker alone, by CPU time.",
            _CHOICES,
            sort_table(mot15),
            tracker_table("## MOT15, 11 training sequences", mot15, _BOTH),
            tracker_table("## MOT17-02, Faster R-CNN detections", mot17, _BOTH),
            _SECOND,
            tracker_table("### MOT15, the 6 sequences that were held out", held_out, _PAIRS),
            tracker_table("### MOT15, the 5 sequences that it was fitted on", tuned, _PAIRS),
            certainty_table("### How sure, how right: held out (MOT15 and MOT17-02)", [*held_out, *mot17]),
            certainty_table("### How sure, how right: fitted on (MOT15)", tuned),
            speed_table(),
        ]
    )
    print(text)
    Path(__file__).with_name("RESULTS-track.md").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
