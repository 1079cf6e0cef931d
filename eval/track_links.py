"""Fit the likelihood of links between tracklets: ``python eval/track_links.py`` prints the weights.

What is known to belong together comes from the ground truth of MOT17-04, -11 and -13, broken where people are hidden,
and from the trackers' own pieces on five sequences of MOT15. None of these is among the sequences that are held out;
MOT17-05, -09 and -10 are left out because they look like ETH-Pedcross2, ADL-Rundle-6 and ADL-Rundle-8 of MOT15 over
again (as many frames; the first boxes of -05 and -10 are the same to a pixel).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from track import TRACKERS, TUNED, Sequence, track

from posepipe.config import data_root
from posepipe.evaluation.mot_files import MotRows, read_mot
from posepipe.geometry import iou
from posepipe.tracking import links
from posepipe.tracking.tracklets import find_ends, gather
from posepipe.types import Detections, FrameResult, Poses, Tracks

_VISIBLE, _GAP = 0.25, 90
Pieces = tuple[list[FrameResult], NDArray[np.int64]]


def broken_truth(truth: MotRows, visibility: NDArray[np.float64]) -> Pieces:
    """Frames of the people who can be seen, a new id after each time hidden, and the person of each id."""
    rng = np.random.default_rng(0)
    keep = (truth.flag != 0) & (truth.category == 1) & (visibility > _VISIBLE)
    rows = truth[keep]
    rows = rows[np.lexsort((rows.frame, rows.track_id))]
    new = (np.diff(rows.track_id) != 0) | (np.diff(rows.frame) > 1) | (rng.random(len(rows) - 1) < 0.005)
    piece = np.cumsum(np.r_[True, new])
    person = np.zeros(piece[-1] + 1, np.int64)
    person[piece] = rows.track_id
    frames = []
    for frame in range(1, int(rows.frame.max()) + 1):
        here = rows.frame == frame
        size = (rows.boxes[here, 2:] - rows.boxes[here, :2]).repeat(2, 1).reshape(-1, 2, 2).transpose(0, 2, 1)
        boxes = rows.boxes[here] + rng.normal(0, 0.03, (int(here.sum()), 4)) * size.reshape(-1, 4)
        found = Detections(boxes.astype(np.float32), np.ones(len(boxes), np.float32))
        confirmed = np.ones(len(boxes), bool)
        tracks = Tracks(Poses.unseen(found), found.boxes, piece[here], confirmed, np.zeros(len(boxes), np.int32))
        frames.append(FrameResult(frame - 1, frame / 25, tracks))
    return frames, person


def tracked(sequence: Sequence, name: str) -> Pieces:
    """What a tracker made of a sequence, and the person that most boxes of each id show (0: none)."""
    frames, _ = track(TRACKERS[name](), sequence.detections)
    truth = sequence.truth.by_frame()
    votes: dict[int, list[int]] = {}
    for result in frames:
        there = truth.get(result.frame_index + 1)
        there = there[there.flag != 0] if there is not None else None
        tracks = result.tracks
        overlap = iou(tracks.boxes, there.boxes) if there is not None else np.zeros((len(tracks), 0))
        for row, track_id in enumerate(tracks.track_id.tolist()):
            best = int(overlap[row].argmax()) if overlap.shape[1] else 0
            good = there is not None and overlap.shape[1] > 0 and overlap[row, best] >= 0.5
            votes.setdefault(track_id, []).append(int(there.track_id[best]) if good and there is not None else 0)
    person = np.zeros(max(votes) + 1, np.int64)
    for track_id, seen in votes.items():
        person[track_id] = np.bincount(seen).argmax()
    return frames, person


def all_pieces() -> Iterator[Pieces]:
    """Everything to learn from."""
    root = data_root() / "track"
    for name in ("MOT17-04", "MOT17-11", "MOT17-13"):
        path = root / "mot17" / name / "gt.txt"
        yield broken_truth(read_mot(path), np.loadtxt(path, delimiter=",")[:, 8])
    for name in TUNED:
        sequence = Sequence(root / "mot15" / name)
        for tracker in ("SORT", "ByteTrack", "PoseSORT"):
            yield tracked(sequence, tracker)


def examples(frames: list[FrameResult], person: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Features of all candidates within reach, and whether the later is the next piece of the same person."""
    rows = gather(frames)
    first, last = find_ends(rows, last=False), find_ends(rows, last=True)
    begin = rows.starts[:-1]
    who = person[rows.raw_id[begin]]
    shown = np.maximum.reduceat(rows.confirmed.astype(int), begin) > 0
    pairs = links.candidates(first, last, _GAP)
    a, b = pairs.T
    pairs = pairs[((who[a] > 0) | (who[b] > 0)) & shown[a] & shown[b]]
    a, b = pairs.T
    same = who[a] == who[b]
    # Of the pieces of one person only the next is a right answer, and the others are not wrong ones.
    nearest = np.full(len(who), np.iinfo(np.int64).max)
    np.minimum.at(nearest, a[same], first.time[b[same]])
    use = ~same | (first.time[b] == nearest[a])
    columns = links.features(first, last, pairs[use])
    near = links.likelihood(columns) > 0
    return columns[near], same[use][near]


def fit(columns: NDArray[np.float64], right: NDArray[np.bool_], strength: float = 1e-3) -> NDArray[np.float64]:
    """Weights (1+F,) of a logistic regression by Newton's method."""
    inputs = np.column_stack([np.ones(len(columns)), columns])
    weights = np.zeros(inputs.shape[1])
    for _ in range(50):
        guess = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (guess - right) + strength * weights
        bend = (inputs * (guess * (1 - guess))[:, None]).T @ inputs + strength * np.eye(len(weights))
        weights = weights - np.linalg.solve(bend, slope)
    return weights


def main() -> None:
    """Print the weights, and how often links of each likelihood are right."""
    columns, right = (np.concatenate(parts) for parts in zip(*(examples(*p) for p in all_pieces()), strict=True))
    weights = fit(columns, right)
    print(f"{len(right)} candidates, {int(right.sum())} of them right; weights {weights.round(3).tolist()}")
    guess = 1 / (1 + np.exp(-(weights[0] + columns @ weights[1:])))
    for low in np.arange(0, 1, 0.1):
        inside = (guess >= low) & (guess < low + 0.1)
        if inside.any():
            print(f"likelihood {low:.1f}-{low + 0.1:.1f}: {inside.sum():6d} links, {right[inside].mean():.3f} right")


if __name__ == "__main__":
    main()
