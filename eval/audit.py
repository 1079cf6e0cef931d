"""How well the audit of labels finds bad videos: ``python eval/audit.py LABELS [--second LABELS|MODEL] [-o FILE.md]``.

Out of a set of labelled videos (a SAIL-style folder) 404 videos are made by cutting, mirroring, scaling, reversing and
shaking the labels a little; 39 of them are then spoilt in one of nine ways, in a fifth to all of their frames. Printed:
how many of the 39 stand among the first 39 and the first 60 of the review queue, with and without second labels.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.audit import audit
from posepipe.datasets.formats import read_set
from posepipe.datasets.labels import KeypointSet, area_of
from posepipe.review import second_labels

VIDEOS, BAD = 404, 39
Generator = np.random.Generator
Rows = NDArray[np.int64]


@dataclass
class Track:
    """Labels of one video, free to be changed: rows sorted by frame, two labellings of the same images."""

    frame: Rows
    boxes: NDArray[np.float32]
    xy: NDArray[np.float32]
    score: NDArray[np.float32]

    def take(self, rows: NDArray[np.generic]) -> Track:
        """Some rows, in the given order."""
        return Track(self.frame[rows], self.boxes[rows].copy(), self.xy[rows].copy(), self.score[rows].copy())

    @property
    def size(self) -> NDArray[np.float32]:
        """(P,) root of the box's area, px."""
        span = self.boxes[:, 2:] - self.boxes[:, :2]
        return np.asarray(np.sqrt(np.clip(span, 1, None).prod(1)), np.float32)


def track_of(labels: KeypointSet, video: str) -> Track:
    """The labels of one video."""
    part = labels.of_videos([video])
    frame = part.frames[part.image]
    whole = Track(frame, part.boxes.copy(), part.xy.copy(), part.score.copy())
    return whole.take(np.argsort(frame, kind="stable"))


def swap_pairs(track: Track, hit: NDArray[np.bool_], labels: KeypointSet, rng: Generator) -> Track:
    """Left and right change places: legs, arms, or all but the face, frame by frame."""
    words = [
        ("hip", "knee", "ankle"),
        ("shoulder", "elbow", "wrist"),
        ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"),
    ]
    chosen = words[int(rng.integers(3))]
    moved = [n for n, name in enumerate(labels.skeleton.keypoints) if any(word in name for word in chosen)]
    order = np.arange(len(labels.skeleton))
    order[moved] = labels.skeleton.mirror[moved]
    flicker = hit & (rng.random(len(hit)) < 0.5)
    track.xy[flicker] = track.xy[flicker][:, order]
    return track


def jump(track: Track, hit: NDArray[np.bool_], _labels: KeypointSet, rng: Generator) -> Track:
    """One joint in six lies elsewhere on the body."""
    wrong = hit[:, None] & (rng.random(track.score.shape) < 1 / 6)
    shift = rng.normal(0, 0.35, track.xy.shape) * track.size[:, None, None]
    track.xy = np.where(wrong[..., None], track.xy + shift, track.xy).astype(np.float32)
    return track


def shake(track: Track, hit: NDArray[np.bool_], _labels: KeypointSet, rng: Generator) -> Track:
    """Every joint shakes."""
    noise = rng.normal(0, rng.uniform(0.03, 0.08), track.xy.shape) * track.size[:, None, None] * hit[:, None, None]
    track.xy = (track.xy + noise).astype(np.float32)
    return track


def freeze(track: Track, hit: NDArray[np.bool_], _labels: KeypointSet, _rng: Generator) -> Track:
    """Labels that stay where they were."""
    for row in np.flatnonzero(hit[1:]) + 1:
        track.xy[row], track.boxes[row], track.score[row] = (
            track.xy[row - 1],
            track.boxes[row - 1],
            track.score[row - 1],
        )
    return track


def doubt(track: Track, hit: NDArray[np.bool_], _labels: KeypointSet, rng: Generator) -> Track:
    """The labeller is not sure of itself."""
    track.score = np.where(hit[:, None], track.score * rng.uniform(0.4, 0.75), track.score).astype(np.float32)
    return track


def double(track: Track, hit: NDArray[np.bool_], _labels: KeypointSet, rng: Generator) -> Track:
    """The same person twice, a few pixels apart."""
    again = track.take(np.flatnonzero(hit))
    again.xy = (again.xy + rng.normal(0, 0.01, again.xy.shape) * again.size[:, None, None]).astype(np.float32)
    columns = [np.concatenate([getattr(track, n), getattr(again, n)]) for n in ("frame", "boxes", "xy", "score")]
    both = Track(*columns)
    return both.take(np.argsort(both.frame, kind="stable"))


def drop(track: Track, hit: NDArray[np.bool_], _labels: KeypointSet, rng: Generator) -> Track:
    """The person is not found in many frames."""
    gone = hit & (rng.random(len(hit)) < 0.6)
    gone[[0, -1]] = False
    return track.take(np.flatnonzero(~gone))


def drift(track: Track, hit: NDArray[np.bool_], _labels: KeypointSet, rng: Generator) -> Track:
    """The whole pose lies beside the person: only a second opinion can tell."""
    angle = rng.uniform(0, 2 * np.pi)
    shift = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.12, 0.3)
    move = (track.size[:, None] * shift * hit[:, None]).astype(np.float32)
    track.xy += move[:, None]
    track.boxes += np.tile(move, 2)
    return track


def turn(track: Track, hit: NDArray[np.bool_], labels: KeypointSet, _rng: Generator) -> Track:
    """Left is called right throughout: only a second opinion can tell."""
    track.xy[hit] = track.xy[hit][:, labels.skeleton.mirror]
    return track


Fault = Callable[[Track, NDArray[np.bool_], KeypointSet, Generator], Track]
FAULTS: tuple[Fault, ...] = (swap_pairs, jump, shake, freeze, doubt, double, drop, drift, turn)


def varied(tracks: list[Track], labels: KeypointSet, rng: Generator) -> list[Track]:
    """The same cut and change of both labellings of a video."""
    frames = np.unique(tracks[0].frame)
    length = int(rng.integers(min(20, len(frames)), len(frames) + 1))
    first = int(rng.integers(0, len(frames) - length + 1))
    low, high = frames[first], frames[first + length - 1]
    mirrored, backwards, scale = rng.random() < 0.5, rng.random() < 0.3, rng.uniform(0.6, 1.6)
    result = []
    for track in tracks:
        part = track.take(np.flatnonzero((track.frame >= low) & (track.frame <= high)))
        part.frame = high - part.frame if backwards else part.frame - low
        if mirrored:
            part.xy[..., 0] = 640 - part.xy[..., 0]
            part.boxes[:, [0, 2]] = 640 - part.boxes[:, [2, 0]]
            part.xy, part.score = part.xy[:, labels.skeleton.mirror], part.score[:, labels.skeleton.mirror]
        part.xy, part.boxes = part.xy * np.float32(scale), part.boxes * np.float32(scale)
        part.xy += (rng.normal(0, 0.002, part.xy.shape) * part.size[:, None, None]).astype(np.float32)
        result.append(part.take(np.argsort(part.frame, kind="stable")))
    return result


def as_set(tracks: list[Track], like: KeypointSet, name: str) -> KeypointSet:
    """Videos ``v000``, ``v001`` ... of one set."""
    frames = [np.unique(track.frame) for track in tracks]
    images = [(f"v{number:03d}", int(frame)) for number, part in enumerate(frames) for frame in part]
    place = {image: row for row, image in enumerate(images)}
    image = [place[f"v{number:03d}", int(frame)] for number, track in enumerate(tracks) for frame in track.frame]
    score = np.clip(np.concatenate([track.score for track in tracks]), 0, 1)
    boxes = np.concatenate([track.boxes for track in tracks])
    return replace(
        like,
        name=name,
        images=tuple(f"{video}/{frame:06d}.jpg" for video, frame in images),
        videos=tuple(video for video, _ in images),
        frames=np.array([frame for _, frame in images], np.int64),
        sizes=np.zeros((len(images), 2), np.int32),
        image=np.array(image, np.int64),
        boxes=boxes,
        xy=np.where(score[..., None] > 0, np.concatenate([track.xy for track in tracks]), 0),
        visibility=np.where(score > 0, 2, 0).astype(np.int8),
        score=score,
        person_score=np.ones(len(image), np.float32),
        area=area_of(boxes),
        area_known=np.zeros(len(image), bool),
        iscrowd=np.zeros(len(image), bool),
        track_id=np.full(len(image), -1, np.int64),
        root=None,
    )


def planted(labels: KeypointSet, second: KeypointSet, seed: int) -> tuple[KeypointSet, KeypointSet, dict[str, str]]:
    """404 videos, their second labels, and which of them are spoilt how."""
    rng = np.random.default_rng(seed)
    names = labels.video_names()
    sources = [[track_of(labels, name), track_of(second, name)] for name in names]
    sources = [pair for pair in sources if len(np.unique(pair[0].frame)) >= 12]
    videos = [varied(sources[number % len(sources)], labels, rng) for number in range(VIDEOS)]
    bad = {}
    for turn_number, number in enumerate(sorted(rng.permutation(VIDEOS)[:BAD])):
        fault = FAULTS[turn_number % len(FAULTS)]
        track = videos[number][0]
        frames = np.unique(track.frame)
        share = rng.uniform(0.2, 1.0)
        start = int(rng.integers(0, max(1, len(frames) - int(share * len(frames)) + 1)))
        hit = np.isin(track.frame, frames[start : start + max(4, int(share * len(frames)))])
        videos[number][0] = fault(track, hit, labels, rng)
        bad[f"v{number:03d}"] = fault.__name__
    first = as_set([pair[0] for pair in videos], labels, "planted")
    return first, as_set([pair[1] for pair in videos], second, "second"), bad


def main() -> None:
    """Plant, audit, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="a SAIL-style folder of label files")
    parser.add_argument("--second", help="the same videos labelled by a second model, or a pose network (small)")
    parser.add_argument("--videos", default="", help="regular expression: only videos whose names it finds")
    parser.add_argument("--seeds", type=int, default=5, help="how many times 404 videos are made")
    parser.add_argument("-o", "--out", type=Path, help="file for the table")
    options = parser.parse_args()
    labels = read_set(options.labels)
    labels = labels.of_videos([video for video in labels.video_names() if re.search(options.videos, video)])
    second = second_labels(labels, options.second) if options.second else labels
    found: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    recall: dict[str, list[tuple[int, int]]] = {}
    for seed in range(options.seeds):
        spoilt, opinion, bad = planted(labels, second, seed)
        for how in ["alone"] + (["with second labels"] if options.second else []):
            queue = [card.video for card in audit(spoilt, opinion if how != "alone" else None)]
            place = {video: rank for rank, video in enumerate(queue)}
            recall.setdefault(how, []).append((sum(place[v] < BAD for v in bad), sum(place[v] < 60 for v in bad)))
            for video, fault in bad.items():
                found.setdefault((how, fault), []).append((place[video] < BAD, place[video] < 60))
    lines = [f"{VIDEOS} videos, {BAD} of them spoilt; {options.seeds} draws (mean, least to most)", ""]
    lines += ["| labels | found at 39 | found at 60 | recall at 39 | recall at 60 |", "|---|---|---|---|---|"]
    for how, counts in recall.items():
        table = np.array(counts)
        cells = [f"{c.mean():.1f} ({c.min()} to {c.max()})" for c in table.T]
        shares = [f"{share:.2f}" for share in table.mean(0) / BAD]
        lines.append(f"| {how} | {' | '.join([*cells, *shares])} |")
    lines += ["", "| fault | labels | recall at 39 | recall at 60 |", "|---|---|---|---|"]
    for (how, fault), hits in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        shares = [f"{share:.2f}" for share in np.mean(hits, axis=0)]
        lines.append(f"| {fault.replace('_', ' ')} | {how} | {' | '.join(shares)} |")
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
