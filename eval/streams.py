"""Print what smoothing, states and fewer detections are worth, as Markdown tables.

    python eval/streams.py smoothing            # noise taken away and lag, from known truth and on real clips
    python eval/streams.py states               # standing and sitting in clips of which it is known
    python eval/streams.py transitions          # sitting down and standing up, by the joints of a depth camera
    python eval/streams.py detector             # accuracy against speed of --detector-stride and --single-person

Times are those of one thread's own work, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import thread_time

import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config, data_root
from posepipe.errors import InputError
from posepipe.geometry import oks
from posepipe.io.streams import pose_streams
from posepipe.io.video import open_video
from posepipe.pipeline import Pipeline
from posepipe.skeleton import COCO17
from posepipe.streams.kinematics import STATES, kinematics, transitions
from posepipe.streams.smoothing import one_euro, zero_phase
from posepipe.tracking.association import assign
from posepipe.types import Detections, Frame, FrameResult, PoseStream

SMOOTHERS: dict[str, Callable[[PoseStream], NDArray[np.float32]]] = {"one-euro": one_euro, "zero-phase": zero_phase}
SETTINGS = {
    "every frame": Config(actions="none", threads=1),
    "every 2nd": Config(actions="none", threads=1, detector_stride=2),
    "every 3rd": Config(actions="none", threads=1, detector_stride=3),
    "every 5th": Config(actions="none", threads=1, detector_stride=5),
    "every 10th": Config(actions="none", threads=1, detector_stride=10),
    "when needed (0)": Config(actions="none", threads=1, detector_stride=0),
}
#: Clips with one person, or one in front, for --single-person.
SINGLE = ("ntu_", "pose2sim_single", "Activity")
UPFALL = tuple(f"Activity{a}_Subject1_Trial1Cam{c}.mp4" for a, c in ((1, 1), (6, 1), (8, 2)))


class Counting:
    """A detector that counts how often it is asked."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.inner, self.calls = pipeline.detector, 0

    def detect(self, frame: Frame) -> Detections:
        """As the detector in use."""
        self.calls += 1
        return self.inner.detect(frame)


@dataclass(frozen=True)
class Ran:
    """A clip once through: what was seen, detector calls, milliseconds a frame."""

    results: list[FrameResult]
    calls: int
    ms: float


def run(clip: Path, shared: Pipeline, config: Config, limit: int) -> Ran:
    """The first frames of a clip with these settings, by networks that are loaded already."""
    counting = Counting(shared)
    pipeline = Pipeline(counting, shared.pose, None, config)
    reading = 0.0

    def timed(frames: Iterator[Frame]) -> Iterator[Frame]:
        nonlocal reading
        while True:
            start = thread_time()
            frame = next(frames, None)
            reading += thread_time() - start
            if frame is None:
                return
            yield frame

    with open_video(clip) as reader:
        start = thread_time()
        results = list(pipeline.process(timed(islice(iter(reader), limit))))
        spent = thread_time() - start - reading
    return Ran(results, counting.calls, 1000 * spent / max(len(results), 1))


@dataclass(frozen=True)
class Agreement:
    """How a run agrees with the reference: share of poses found, mean OKS of all, IDF1, longest wait for somebody."""

    found: float
    oks: float
    idf1: float
    wait: int


def compare(reference: list[FrameResult], other: list[FrameResult], only: int | None = None) -> Agreement:
    """Confirmed people of a run against those of the reference, or against one of them."""
    similar: list[float] = []
    pairs: Counter[tuple[int, int]] = Counter()
    first: dict[int, int] = {}
    met: dict[int, int] = {}
    rows = 0
    for a, b in zip(reference, other, strict=True):
        keep = a.tracks.confirmed & ((a.tracks.track_id == only) if only is not None else True)
        ids, poses = a.tracks.track_id[keep], a.tracks.poses[keep]
        names, guess = b.tracks.track_id[b.tracks.confirmed], b.tracks.poses[b.tracks.confirmed]
        rows += len(names)
        area = 0.53 * (poses.boxes[:, 2:] - poses.boxes[:, :2]).prod(1)
        likeness = oks(poses.xy, np.where(poses.score >= 0.3, 1.0, 0.0), area, guess.xy, np.array(COCO17.sigmas))
        chosen = {int(i): (int(j), likeness[i, j]) for i, j in assign(1 - likeness, limit=1.0)}
        for i, who in enumerate(ids.tolist()):
            first.setdefault(who, a.frame_index)
            j, value = chosen.get(i, (-1, 0.0))
            similar.append(value)
            if value > 0.5:
                pairs[who, int(names[j])] += 1
                met.setdefault(who, a.frame_index)
    values = np.array(similar)
    wait = max((met.get(who, reference[-1].frame_index + 1) - start for who, start in first.items()), default=0)
    return Agreement(float((values > 0.5).mean()), float(values.mean()), _idf1(pairs, len(values), rows), wait)


def _idf1(pairs: Counter[tuple[int, int]], truth: int, rows: int) -> float:
    """Identity F1 (Ristani et al. 2016): the best one-to-one pairing of ids over the whole clip."""
    a, b = sorted({p for p, _ in pairs}), sorted({q for _, q in pairs})
    table = np.array([[pairs[p, q] for q in b] for p in a], float).reshape(len(a), len(b))
    matched = sum(table[i, j] for i, j in assign(table.max(initial=0) - table)) if table.size else 0.0
    return 2 * float(matched) / max(truth + rows, 1)


def ids_of(results: list[FrameResult]) -> int:
    """Confirmed ids in a run."""
    return len({i for r in results for i in r.tracks.track_id[r.tracks.confirmed].tolist()})


def main_person(results: list[FrameResult]) -> int:
    """The id that is tall for long."""
    tall: dict[int, float] = {}
    for r in results:
        sure = r.tracks.confirmed
        for i, box in zip(r.tracks.track_id[sure].tolist(), r.tracks.poses.boxes[sure], strict=True):
            tall[i] = tall.get(i, 0.0) + float(box[3] - box[1])
    return max(tall, key=tall.__getitem__)


def detector(limit: int) -> None:
    """Accuracy against speed: every clip with all settings in turn, against the run that detects on every frame."""
    shared = Pipeline(config=Config(actions="none", threads=1))
    list(shared.process([np.zeros((256, 256, 3), np.uint8)] * 3))
    clips = [*sorted((data_root() / "video").iterdir()), *(data_root() / "upfall" / name for name in UPFALL)]
    gathered: dict[str, list[tuple[Agreement, float, float]]] = {name: [] for name in [*SETTINGS, "--single-person"]}
    print("| clip | setting | poses found | mean OKS | IDF1 | ids | longest wait, frames | detector calls | ms/frame |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for clip in clips:
        reference: Ran | None = None
        settings = dict(SETTINGS)
        if clip.name.startswith(SINGLE):
            settings["--single-person"] = Config(actions="none", threads=1, single_person=True)
        for name, config in settings.items():
            ran = run(clip, shared, config, limit)
            reference = reference or ran
            only = main_person(reference.results) if config.single_person else None
            if not any(r.tracks.confirmed.any() for r in reference.results):
                break
            agreement = compare(reference.results, ran.results, only)
            gathered[name].append((agreement, ran.ms / reference.ms, ran.calls / max(len(ran.results), 1)))
            cells = [f"{v:.3f}" for v in (agreement.found, agreement.oks, agreement.idf1)]
            cells += [f"{ids_of(ran.results)}", f"{agreement.wait}", f"{ran.calls}/{len(ran.results)}", f"{ran.ms:.1f}"]
            print(f"| {clip.stem} | {name} | " + " | ".join(cells) + " |", flush=True)
    print("\nMedian over clips (least in brackets); time against the same clip with detection on every frame:\n")
    print("| setting | clips | poses found | mean OKS | IDF1 | longest wait, frames | detector calls | time |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, rows in gathered.items():
        cells = [str(len(rows))]
        for key in ("found", "oks", "idf1"):
            values = [getattr(a, key) for a, _, _ in rows]
            cells.append(f"{np.median(values):.3f} ({min(values):.3f})")
        cells += [str(max(a.wait for a, _, _ in rows)), f"{np.median([c for _, _, c in rows]):.2f} a frame"]
        print(f"| {name} | " + " | ".join(cells) + f" | {np.median([t for _, t, _ in rows]):.2f} |")


def synthetic(hertz: float, noise: float, seed: int) -> tuple[PoseStream, NDArray[np.float64]]:
    """A hand that goes round at ``hertz``, with noise in shares of the person's size, on uneven time; and the truth."""
    random = np.random.default_rng(seed)
    pts = np.cumsum(random.choice([1 / 30, 2 / 30], 600, p=[0.9, 0.1]))
    size, angle = 200.0, 2 * np.pi * hertz * pts
    truth = 400 + 0.3 * size * np.stack([np.sin(angle), np.cos(angle)], 1)[:, None] + np.zeros((1, len(COCO17), 1))
    xy = truth + random.normal(0, noise * size, truth.shape)
    boxes = np.tile(np.array([300, 300, 500, 500], np.float32), (600, 1))
    score = np.ones(xy.shape[:2], np.float32)
    return PoseStream(1, np.arange(600), pts, xy.astype(np.float32), score, boxes, np.ones(600, bool)), truth


def lag(stream: PoseStream, smooth: NDArray[np.float32], truth: NDArray[np.float64]) -> float:
    """Milliseconds by which a smoothed track is best shifted to meet the truth."""
    shifts = np.arange(-0.05, 0.2, 0.001)
    times = stream.pts[(stream.pts > 1) & (stream.pts < stream.pts[-1] - 1)]
    line = np.interp(times, stream.pts, smooth[:, 0, 0])
    errors = [np.mean((line - np.interp(times - s, stream.pts, truth[:, 0, 0])) ** 2) for s in shifts]
    return float(1000 * shifts[int(np.argmin(errors))])


def shake(stream: PoseStream, xy: NDArray[np.float32]) -> float:
    """RMS acceleration of the keypoints, in sizes of the person a second squared, over three frames in a row."""
    step = np.diff(stream.pts)
    size = np.sqrt((stream.boxes[:, 2:] - stream.boxes[:, :2]).prod(1))[1:-1, None, None]
    speed = np.diff(xy.astype(float), axis=0) / step[:, None, None]
    acceleration = np.diff(speed, axis=0) / ((step[1:] + step[:-1]) / 2)[:, None, None] / size
    near = (step[1:] < 0.25) & (step[:-1] < 0.25)
    there = (stream.score[2:] > 0.3) & (stream.score[1:-1] > 0.3) & (stream.score[:-2] > 0.3) & near[:, None]
    return float(np.sqrt((acceleration[there] ** 2).sum(-1).mean()))


def smoothing(limit: int) -> None:
    """Noise that is left and lag on synthetic motion; acceleration before and after on real clips."""
    print("| motion | noise, % of size | " + " | ".join(f"{n}: error left | {n}: lag, ms" for n in SMOOTHERS) + " |")
    print("|---|---:|" + "---:|---:|" * len(SMOOTHERS))
    for hertz in (0.0, 0.25, 0.5, 1.0, 2.0):
        for noise in (0.005, 0.01, 0.02):
            cells = []
            for smooth in SMOOTHERS.values():
                streams = [synthetic(hertz, noise, seed) for seed in range(3)]
                outcomes = [(s, smooth(s), truth) for s, truth in streams]
                ratios = [np.sqrt(((o - t) ** 2).mean() / ((s.xy - t) ** 2).mean()) for s, o, t in outcomes]
                cells += [f"{np.mean(ratios):.2f}", f"{np.mean([lag(*o) for o in outcomes]):.0f}" if hertz else ""]
            print(f"| {hertz} Hz, 0.3 sizes | {100 * noise:.1f} | " + " | ".join(cells) + " |")
    pipeline = Pipeline(config=Config(actions="none", threads=1))
    print("\n| clip | raw | " + " | ".join(SMOOTHERS) + " |\n|---|---:|" + "---:|" * len(SMOOTHERS))
    for name in ("felixchenfy_exercise.avi", "pose2sim_single_cam01.mp4"):
        with open_video(data_root() / "video" / name) as reader:
            streams_ = pose_streams(pipeline.process(islice(iter(reader), limit)))
        best = max(streams_, key=len)
        after = [f"{shake(best, smooth(best)):.2f}" for smooth in SMOOTHERS.values()]
        print(f"| {name} | {shake(best, best.xy):.2f} | " + " | ".join(after) + " |", flush=True)


def states(limit: int) -> None:
    """The state that the main person of a clip has for longest, against what the clip is called."""
    pipeline = Pipeline(config=Config(actions="none", threads=1))
    print("| clip | called | " + " | ".join(STATES) + " | right |\n|---|---|" + "---:|" * len(STATES) + "---|")
    right: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for activity, name, wanted in ((6, "walking", 1), (7, "standing", 1), (8, "sitting", 2)):
        for clip in sorted((data_root() / "upfall").glob(f"Activity{activity}_*.mp4")):
            with open_video(clip) as reader:
                results = list(pipeline.process(islice(iter(reader), limit)))
            who = main_person(results)
            stream = next(s for s in pose_streams(results) if s.track_id == who)
            state = kinematics(replace(stream, xy=zero_phase(stream))).state
            share = np.bincount(state, minlength=len(STATES)) / len(state)
            good = int(np.argmax(share[1:])) + 1 == wanted and share[1:].any()
            part = "trial 3" if "Trial3" in clip.name else "trials 1 and 2"
            right[f"{name}, {part}"] += int(good)
            count[f"{name}, {part}"] += 1
            cells = [f"{v:.2f}" for v in share]
            print(f"| {clip.stem} | {name} | " + " | ".join(cells) + f" | {'yes' if good else 'no'} |", flush=True)
    print("\n" + "; ".join(f"{name}: {right[name]} of {count[name]}" for name in count))


def kinect_stream(path: Path) -> PoseStream:
    """A recording of UTKinect, 20 joints in metres, as its colour camera (525 px focal length) would see it."""
    table = np.loadtxt(path)
    _, first = np.unique(table[:, 0], return_index=True)
    table = table[first]
    joints = table[:, 1:].reshape(len(table), -1, 3)
    # The order of the Kinect SDK 1: head is joint 3, then each arm and leg from the body outwards.
    order = {"nose": 3, "left_shoulder": 4, "left_elbow": 5, "left_wrist": 6, "right_shoulder": 8, "right_elbow": 9}
    order |= {"right_wrist": 10, "left_hip": 12, "left_knee": 13, "left_ankle": 14, "right_hip": 16}
    order |= {"right_knee": 17, "right_ankle": 18}
    xy = np.zeros((len(table), len(COCO17), 2), np.float32)
    score = np.zeros(xy.shape[:2], np.float32)
    for name, joint in order.items():
        x, y, z = joints[:, joint].T
        k = COCO17.index(name)
        xy[:, k] = np.stack([320 + 525 * x / np.maximum(z, 0.1), 240 - 525 * y / np.maximum(z, 0.1)], 1)
        score[:, k] = z > 0.1
    frames = table[:, 0].astype(np.int64)
    known = np.where(score[..., None] > 0, xy, np.nan)
    boxes = np.nan_to_num(np.concatenate([np.nanmin(known, 1), np.nanmax(known, 1)], 1)).astype(np.float32)
    return PoseStream(1, frames, frames / 30, xy, score, boxes, np.ones(len(frames), bool))


def kinect_labels(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """First and last frame of each action of each recording."""
    labels: dict[str, dict[str, tuple[int, int]]] = {}
    for line in path.read_text().splitlines():
        name, _, span = line.partition(":")
        if not name.strip():
            continue
        if not span:
            labels[name.strip()] = {}
        elif "NaN" not in span:
            start, end = (int(v) for v in span.split()[:2])
            labels[list(labels)[-1]][name.strip()] = (start, end)
    return labels


def changes(_limit: int) -> None:
    """Labelled changes that are found (within half a second), others that are not there, and states of frames."""
    labels = kinect_labels(data_root() / "utkinect" / "actionLabel.txt")
    for text, rest in (("odd subjects", 1), ("even subjects", 0)):
        print(f"\n{text}:\n")
        score_changes({name: spans for name, spans in labels.items() if int(name[1:3]) % 2 == rest})


def score_changes(labels: dict[str, dict[str, tuple[int, int]]]) -> None:
    """Print the table of some recordings."""
    folder = data_root() / "utkinect"
    found, wanted, extra, right, frames = Counter[str](), Counter[str](), 0, Counter[str](), Counter[str]()
    for name, spans in labels.items():
        stream = kinect_stream(folder / "joints" / f"joints_{name}.txt")
        state = kinematics(replace(stream, xy=zero_phase(stream))).state
        events = [(int(stream.frame_index[row]), after) for row, _, after in transitions(stream, state)]
        for action, after in (("sitDown", "sitting"), ("standUp", "standing")):
            start, end = spans[action]
            wanted[action] += 1
            hits = [e for e in events if e[1] == after and start - 15 <= e[0] <= end + 15]
            found[action] += bool(hits)
            events = [e for e in events if e not in hits[:1]]
        extra += len(events)
        for action, (start, end) in {**spans, "between": (spans["sitDown"][1], spans["standUp"][0])}.items():
            want = "sitting" if action == "between" else "standing"
            if action in ("between", "walk", "carry", "waveHands", "clapHands"):
                rows = (stream.frame_index >= start) & (stream.frame_index <= end)
                right[want] += int((state[rows] == STATES.index(want)).sum())
                frames[want] += int(rows.sum())
    print("| | found | of |\n|---|---:|---:|")
    for action in wanted:
        print(f"| {action} | {found[action]} | {wanted[action]} |")
    print(f"| changes of state that are neither | {extra} | |")
    for state_name in frames:
        print(f"| frames known to be {state_name} | {right[state_name]} | {frames[state_name]} |")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("smoothing", "states", "transitions", "detector"))
    parser.add_argument("--limit-frames", type=int, default=100, help="frames of each clip (default 100)")
    chosen = parser.parse_args(arguments)
    if not data_root().is_dir():
        raise InputError(f"there is no folder {data_root()}", hint="Set POSEPIPE_DATA")
    commands = {"smoothing": smoothing, "states": states, "transitions": changes, "detector": detector}
    commands[chosen.what](chosen.limit_frames)


if __name__ == "__main__":
    main()
