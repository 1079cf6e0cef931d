"""The two streams on the clips of UP-Fall (see ``video_systems.py``), beside linear models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.flow import dequantise
from posepipe.datasets.two_stream import spaced_starts
from posepipe.datasets.video_lists import LabelledVideo
from posepipe.evaluation.consensus import fuse, majority, precision_at, stream_rows
from posepipe.training.plan import find_recipe, make_plan, train
from posepipe.training.run_folder import read_rows
from posepipe.training.two_stream import StreamData, stream_data
from posepipe.training.two_stream_recipe import STREAMS
from posepipe.training.two_stream_scores import score_streams

Floats = NDArray[np.float64]

_CELLS = 8
_PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)

_SAID = """{train} training clips (trials 1 and 2 of 11 activities, two cameras) and {test} test clips (trial 3), one
person, one room; a clip is {share:.2f} points, so differences of a few clips mean nothing. Both streams are ResNet-18
from scratch at 112 px (no ImageNet weights are at hand). No epoch was chosen: the last one is measured, by 19 pictures
of each clip. The linear models are ridge regressions on what the same 19 pictures show, pooled over 8 x 8 cells and
over time (colours: mean and deviation; motion: mean and mean size of ten flow fields each); their penalty was chosen by
training on one training trial and looking at the other.

Training views of the frame's shape were taken because in the first epoch of trainings on one trial they did better on
the other than square ones (spatial 13.6 against 9.1, temporal 31.8 against 27.3); a training with square views, whose
test figures had been seen, was stopped for that. The temporal stream was trained for 10 epochs first (45.45 by mean
consensus) and then for 16, because its loss on the training clips was still falling. Where the person is, and how the
room looks in that minute, tells most of these activities, so colours do better than motion here; people who lie, sit or
stand still have no flow to tell them apart.
"""


def section(runs: Path) -> str:
    """Train both streams below a folder, or take what is there, and tell how they do, in Markdown."""
    streams, times = [], []
    for stream in STREAMS:
        name = f"two_stream_fast_{stream}"
        streams.append(train(make_plan(find_recipe(name), {}), runs / name))
        rows = read_rows(runs / name)
        seconds = sum(float(row["seconds"]) for row in rows)
        times.append(f"{stream} {len(rows)} epochs, {rows[-1]['samples']} samples, {seconds:.0f} s")
    scores = score_streams(streams)
    train_part, labels = scores.listed["train"], scores.labels
    figures = baselines(train_part, scores.videos, len(scores.listed.classes))
    figures += stream_rows(scores.spatial, scores.temporal, labels)
    said = _SAID.format(train=len(train_part), test=len(labels), share=100 / len(labels))
    table = [f"| {name} | {one:.2f} | {five:.2f} |" for name, one, five in figures]
    head = ["| test clips | Prec@1 | Prec@5 |", "|---|---|---|"]
    title = "## Actions of whole clips: two-stream ResNet-18 (UP-Fall)"
    return "\n".join([title, "", said, f"Trained: {'; '.join(times)} (data included).", "", *head, *table])


def baselines(
    train_part: Sequence[LabelledVideo], test_part: Sequence[LabelledVideo], classes: int
) -> list[tuple[str, float, float]]:
    """Prec@1 and Prec@5 of chance, majority vote and linear models."""
    labels = np.array([video.label for video in test_part])
    share = majority([video.label for video in train_part], classes)
    rows = [("chance", 100 / classes, 500 / classes), _row("majority vote", np.tile(share, (len(labels), 1)), labels)]
    said = []
    for name, stream in (("colours", "spatial"), ("motion", "temporal")):
        data = stream_data(make_plan(find_recipe(f"two_stream_fast_{stream}"), {}).phases[0])
        pooled = [np.stack([features(data, video) for video in part]) for part in (train_part, test_part)]
        said.append(linear_scores(pooled[0], train_part, pooled[1], classes))
        rows.append(_row(f"linear model, {name}", said[-1], labels))
    rows.append(_row("linear models, average", fuse(said[0], said[1]), labels))
    return rows


def _row(name: str, scores: NDArray[np.floating[Any]], labels: NDArray[np.int64]) -> tuple[str, float, float]:
    return name, precision_at(scores, labels), precision_at(scores, labels, 5)


def features(data: StreamData, video: LabelledVideo) -> Floats:
    """What a clip's test pictures show, pooled over cells and time."""
    starts = spaced_starts(data.frames.count(video.path), data.recipe.test_samples)
    if data.flow is None:
        cells = _pool(data.frames.frames(video.path, starts).astype(np.float32))
        return np.concatenate([cells.mean(0).ravel(), cells.std(0).ravel()])
    last = data.flow.count(video.path) - 1
    places = [min(start + i, last) for start in starts for i in range(data.recipe.stack)]
    motion = dequantise(data.flow.fields(video.path, places), data.flow.bound)
    return np.concatenate([_pool(motion).mean(0).ravel(), _pool(np.abs(motion)).mean(0).ravel()])


def _pool(pictures: NDArray[np.float32]) -> Floats:
    size = (_CELLS, _CELLS)
    return np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]).astype(float)


def linear_scores(x: Floats, videos: Sequence[LabelledVideo], other: Floats, classes: int) -> Floats:
    """Scores (V,A) of other videos by ridge regression on one-hot labels."""
    label = np.array([video.label for video in videos])
    trial = np.array([video.group.rpartition(" ")[2] for video in videos])

    def right(penalty: float) -> int:
        held = [(trial == name, trial != name) for name in np.unique(trial)]
        return sum(
            int((ridge(x[fit], label[fit], x[judged], classes, penalty).argmax(1) == label[judged]).sum())
            for judged, fit in held
        )

    return ridge(x, label, other, classes, max(_PENALTIES, key=right))


def ridge(x: Floats, label: NDArray[np.int64], other: Floats, classes: int, penalty: float) -> Floats:
    """Scores of `other` by a ridge regression of `label` on standardised `x`; of N samples it is solved in N x N."""
    mean, spread = x.mean(0), x.std(0) + 1e-6
    x, other = (x - mean) / spread, (other - mean) / spread
    target = np.eye(classes)[label]
    gain = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), target - target.mean(0))
    return np.asarray(other @ (x.T @ gain) + target.mean(0))
