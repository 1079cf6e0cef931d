"""What people do in a long video: a temporal detector over the whole pose stream of one person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import WeightsError
from posepipe.intervals import apart, best_spans, soft_nms_by_label
from posepipe.skeleton import Skeleton
from posepipe.stages.action import LEAST_PX, keypoint_extent, keypoint_places, texts
from posepipe.stages.engine import Engine
from posepipe.streams.motion import MOTION_KEYPOINTS, motion_channels, motion_features
from posepipe.streams.resampling import resample
from posepipe.types import Action, PoseStream

__all__ = ["OnnxSpans"]

#: spans of one person that are looked at together
_MOST = 2000


class OnnxSpans:
    """A temporal detector in an ONNX file, on one person's pose and motion.

    Input ``features`` float32 (N,C+1,T): :func:`~posepipe.streams.motion.motion_features` and 1 for each real step;
    outputs ``scores`` (N,P,A) in [0,1] and ``spans`` (N,P,2) in steps. The card says the ``labels``, the ``keypoints``
    and from which ``keypoint_score`` they count, the ``rate`` in steps a second, the ``overlap`` of windows, and how
    spans are chosen: ``least_score``, ``sigma``, and ``score_threshold`` for those that are told.

    Parameters
    ----------
    path
        The ONNX file.
    skeleton
        The keypoints that it will be given; those that the network takes are found among them by their names.
    device, threads
        As :class:`~posepipe.stages.engine.Engine` takes them.

    Attributes
    ----------
    labels
        A names.
    weights
        The file.
    description
        Engine, version, provider and threads, for people.

    Raises
    ------
    WeightsError
        The file is no temporal detector on poses, or its card lacks something.
    UsageError
        The skeleton lacks a keypoint that the network takes.
    """

    def __init__(self, path: str | Path, skeleton: Skeleton, *, device: str = "auto", threads: int = 0) -> None:
        self.weights = Path(path)
        engine = Engine(path, device=device, threads=threads, batch=4)
        outputs = {"scores", "spans"} <= set(engine.outputs)
        if engine.card.get("kind") != "tad" or not outputs or len(engine.shape) != 2:
            raise WeightsError(
                f"{path} is no temporal detector",
                got=f"kind {engine.card.get('kind')!r}, outputs {', '.join(engine.outputs)}, input {engine.shape}",
                expected="a card of kind 'tad', input (N,C,T), outputs 'scores' and 'spans'",
                hint="Export it with `posepipe train`, or see docs/formats.md, Weights",
            )
        self._engine = engine
        self.labels = texts(engine, "labels")
        channels, steps = engine.shape
        if texts(engine, "keypoints") != MOTION_KEYPOINTS or channels != motion_channels() + 1 or steps is None:
            raise WeightsError(
                f"{path} takes other features than posepipe makes",
                got=f"input {engine.shape}",
                expected=f"({motion_channels() + 1}, steps) of {', '.join(MOTION_KEYPOINTS)}",
            )
        self._places = keypoint_places(MOTION_KEYPOINTS, skeleton, self.weights)
        self.skeleton = skeleton
        self._steps = steps
        self._rate, self._sigma = engine.number("rate", 15.0), engine.number("sigma", 0.7)
        self._least_keypoint = engine.number("keypoint_score", 0.3)
        self._least, self._told = engine.number("least_score", 0.001), engine.number("score_threshold", 0.3)
        self._spacing = max(1, round(steps * (1 - min(0.95, engine.number("overlap", 0.5)))))

    @property
    def description(self) -> str:
        """What it runs on."""
        return self._engine.description

    def recognise(self, stream: PoseStream) -> list[Action]:
        """What one person did, in order of time; spans do not overlap, and of the rest of the time nothing is said.

        ``probs`` hold the span's score at its label and are 0 elsewhere.
        """
        ends, score, label = self.candidates(stream)
        sure = score >= self._told
        ends, score, label = ends[sure], score[sure], label[sure]
        kept, ends = apart(ends, score)
        found = [self._action(stream, span, score[row], int(label[row])) for row, span in zip(kept, ends, strict=True)]
        return sorted((action for action in found if action is not None), key=lambda a: (a.start_s, a.label))

    def candidates(self, stream: PoseStream) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """All spans, suppressed within each label: (M,2) seconds, (M,) scores falling, (M,) labels."""
        even = resample(stream, self._rate)
        if len(even) == 0:
            return np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64)
        xy = np.asarray(even.xy[:, self._places], np.float64)
        seen = even.score[:, self._places] >= self._least_keypoint
        seen &= (keypoint_extent(xy, seen) >= LEAST_PX).reshape(-1, 1)
        # No window sees both sides of an absence that is as long as it; nor are there steps for all of that time.
        absences = np.flatnonzero(np.diff(even.frame_index) >= self._steps) + 1
        parts = []
        for rows in np.split(np.arange(len(even)), absences):
            starts, inputs = self._windows(even.frame_index[rows], xy[rows], seen[rows])
            outputs = dict(zip(self._engine.outputs, self._engine.run(inputs), strict=True))
            for start, span, score in zip(starts, outputs["spans"], outputs["scores"], strict=True):
                spans, value, label = best_spans(span, score, self._least, _MOST)
                parts.append(((spans + start) / self._rate, value, label))
        ends, value, label = (np.concatenate(part) for part in zip(*parts, strict=True))
        ends = ends.clip(stream.pts[0], stream.pts[-1])
        return soft_nms_by_label(ends, value, label, sigma=self._sigma, most=_MOST)

    def _windows(
        self, number: NDArray[np.int64], xy: NDArray[np.float64], seen: NDArray[np.bool_]
    ) -> tuple[list[int], NDArray[np.float32]]:
        """The windows over rows that are the steps ``number``: their first steps, and (N,C+1,T) inputs."""
        first, steps = int(number[0]), int(number[-1] - number[0]) + 1
        whole_xy, whole_seen = np.zeros((steps, *xy.shape[1:])), np.zeros((steps, *seen.shape[1:]), bool)
        whole_xy[number - first], whole_seen[number - first] = xy, seen
        last = max(0, steps - self._steps)
        starts = [*range(0, last, self._spacing), last]
        cuts = [slice(start, start + self._steps) for start in starts]
        return [first + s for s in starts], np.stack([self._window(whole_xy[cut], whole_seen[cut]) for cut in cuts])

    def _window(self, xy: NDArray[np.float64], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(C+1,T) features and which steps are real; a short window is filled up with its last step."""
        real = np.asarray(seen.any(1))
        window = np.concatenate([motion_features(xy, seen, self._rate), real[None]])
        missing = self._steps - window.shape[1]
        if missing:
            window = np.pad(window, ((0, 0), (0, missing)), mode="edge")
            window[-1, -missing:] = 0
        return window.astype(np.float32)

    def _action(self, stream: PoseStream, ends: NDArray[np.float64], score: float, label: int) -> Action | None:
        """A span as an action; None where no frame of the person lies in it."""
        rows = np.flatnonzero((stream.pts >= ends[0]) & (stream.pts <= ends[1]))
        if len(rows) == 0:
            return None
        probs = np.zeros(len(self.labels), np.float32)
        probs[label] = score
        frames, times = stream.frame_index[rows[[0, -1]]], stream.pts[rows[[0, -1]]]
        extent = int(frames[0]), int(frames[1]) + 1, float(times[0]), float(times[1])
        return Action(stream.track_id, self.labels[label], label, probs, *extent)

    def close(self) -> None:
        """Nothing is held but the network."""
