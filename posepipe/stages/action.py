"""What people do: a network that looks at the last seconds of everybody's pose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import UsageError, WeightsError
from posepipe.io.schema import SCORE_DECIMALS, rounded, skeleton_from_json
from posepipe.skeleton import Skeleton, named_skeleton
from posepipe.stages import WindowRecogniser
from posepipe.stages.engine import Engine
from posepipe.streams.spans import SpanRules, WindowLog, decide
from posepipe.streams.windows import TimeWindow, TimeWindows, windows_of
from posepipe.types import Action, FrameResult, PoseStream
from posepipe.volumes.clips import HeatmapRecipe, window_maps
from posepipe.volumes.window import Window, compact_box

__all__ = [
    "DEFAULT_WINDOW_S",
    "LEAST_PX",
    "ActionWatch",
    "OnnxActions",
    "keypoint_extent",
    "keypoint_places",
    "said_of",
]

#: px; of people whose keypoints span less, both ways, nothing is said.
LEAST_PX = 24.0
#: seconds of a window where the card says none
DEFAULT_WINDOW_S = 2.0
_Float: TypeAlias = NDArray[np.floating]
# Makes one row of a network's input of keypoints (T,K,2) px and scores (T,K), those of a skeleton, in a square.
_Draw: TypeAlias = Callable[[_Float, _Float, Window, HeatmapRecipe, Skeleton], NDArray[np.float32]]
# Four windows lie over every moment.
_OVERLAP = 4


class OnnxActions:
    """An action network in an ONNX file, on one person's keypoints over time.

    One input: maps of the keypoints and, where the card says ``limbs``, of the limbs of its ``skeleton_full`` behind
    them, float32 (N,K+E,T,h,w) in [0,1]; or the keypoints themselves, float32 (N,T,K,3): x
    and y in cells of the square about them all, and the score, 0 = missing. Output ``fine`` (N,A) probabilities. The
    card in the file says the ``labels``, the names of the ``keypoints``, how the input is made (``size``, ``cells``,
    ``keypoint_score``, of maps ``sigma``), how many seconds a window has (``window_s``), the ``temperature`` that makes
    probabilities honest, and ``abstain``: the probability below which the network does not know.

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
    samples, rate, step
        Of the windows, as :class:`~posepipe.streams.windows.TimeWindows` takes them.
    rules
        How spans are made.
    weights
        The file.
    description
        Engine, version, provider and threads, for people.

    Raises
    ------
    WeightsError
        The file is no action network, or its card lacks something.
    UsageError
        The skeleton lacks a keypoint that the network takes.
    """

    def __init__(self, path: str | Path, skeleton: Skeleton, *, device: str = "auto", threads: int = 0) -> None:
        self.weights = Path(path)
        engine = Engine(path, device=device, threads=threads, batch=16)
        channels, frames, size, self._draw = _input_of(engine)
        self._engine, self._fine = engine, engine.outputs.index("fine")
        self.labels = texts(engine, "labels")
        names = texts(engine, "keypoints")
        self.samples = _whole(engine, "frames", frames)
        size = _whole(engine, "size", size)
        self._own = _own_skeleton(engine, names)
        limbs = len(self._own.edges) if engine.card.get("limbs") else 0
        if channels not in (None, len(names) + limbs):
            told = f"{len(names)} keypoints" + (f" and {limbs} limbs" if limbs else "")
            raise WeightsError(f"the card in {path} names {told} for an input of {channels}")
        self.skeleton = skeleton
        self._places = keypoint_places(names, skeleton, self.weights)
        # Networks that were trained on whole clips, whatever their length, say 0 seconds.
        self.rate = self.samples / (_share(engine, "window_s", 0.0, 60.0) or DEFAULT_WINDOW_S)
        self.step = max(1, self.samples // _OVERLAP)
        self.rules = SpanRules(abstain=_share(engine, "abstain", 0.5))
        self._power = 1 / engine.number("temperature", 1.0)
        cells = engine.card.get("cells", "corner")
        if cells not in ("corner", "centre"):
            raise WeightsError(f"the card in {path} has bad cells", got=repr(cells), expected="corner or centre")
        least = _share(engine, "keypoint_score", 0.0)
        sigma = engine.number("sigma", 0.6)
        self._recipe = HeatmapRecipe(self.samples, 1, size, sigma, cells=cells, keypoint_score=least, limbs=limbs > 0)

    @property
    def description(self) -> str:
        """What it runs on."""
        return self._engine.description

    def classify(self, windows: Sequence[PoseStream]) -> NDArray[np.float32]:
        """(N,A) probabilities of the labels in windows of T rows; zeros for people too small to be read."""
        found = np.zeros((len(windows), len(self.labels)), np.float32)
        clips = {i: clip for i, window in enumerate(windows) if (clip := self._clip(window)) is not None}
        if clips:
            fine = self._engine.run(np.stack(list(clips.values())))[self._fine]
            if fine.shape != (len(clips), len(self.labels)):
                raise WeightsError(
                    f"{self.weights} gives outputs of another shape",
                    got=fine.shape,
                    expected=(len(clips), len(self.labels)),
                )
            sharp = np.clip(fine.astype(np.float64), 1e-12, 1) ** self._power
            found[list(clips)] = sharp / sharp.sum(1, keepdims=True)
        return found

    def _clip(self, window: PoseStream) -> NDArray[np.float32] | None:
        """One row of the input: one person in the square about all keypoints."""
        xy, score = window.xy[:, self._places], window.score[:, self._places]
        score = np.where(score >= self._recipe.keypoint_score, score, 0)
        box = compact_box(xy, score, threshold=0.0)
        if box is None or keypoint_extent(xy.reshape(-1, 2), score.reshape(-1) > 0) < LEAST_PX:
            return None
        size = self._recipe.size
        return self._draw(xy, score, Window.of(box).resized(size, size), self._recipe, self._own)

    def recognise(self, stream: PoseStream) -> list[Action]:
        """What one person did, from the whole stream: spans that do not overlap."""
        log = WindowLog(self.labels, self.rules)
        for window in windows_of(stream, self.samples, self.rate, self.step):
            log.add(said_of([window], self))
        return log.spans()


class ActionWatch:
    """Takes results in order of time and adds to each what the recogniser says of the windows that end with it.

    Parameters
    ----------
    recogniser
        Looks at windows.
    skeleton
        That of the results.
    """

    def __init__(self, recogniser: WindowRecogniser, skeleton: Skeleton) -> None:
        self._recogniser = recogniser
        self._windows = TimeWindows(recogniser.samples, recogniser.rate, recogniser.step, skeleton)

    def update(self, result: FrameResult, known: Iterable[Action] | None = None) -> FrameResult:
        """The result with actions; those that are ``known`` from an earlier run are taken as they are."""
        windows = self._windows.update(result)
        actions = tuple(said_of(windows, self._recogniser) if known is None else known)
        return FrameResult(result.frame_index, result.pts, result.tracks, actions, result.skipped, result.cut)


def said_of(windows: Sequence[TimeWindow], recogniser: WindowRecogniser) -> list[Action]:
    """What a recogniser says of some windows, at the resolution of records."""
    if not windows:
        return []
    probs = rounded(recogniser.classify([window.stream for window in windows]), SCORE_DECIMALS).astype(np.float32)
    actions = []
    for window, row in zip(windows, probs, strict=True):
        label, place = decide(row, recogniser.labels, recogniser.rules.abstain)
        extent = window.start, window.end, round(window.start_s, 6), round(window.end_s, 6)
        actions.append(Action(window.stream.track_id, label, place, row, *extent))
    return actions


def keypoint_extent(xy: _Float, seen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(...) px, the longer side of the box about the keypoints (...,K,2) that were seen (...,K); 0 where none was."""
    place = np.asarray(xy, np.float64)
    low = np.where(seen[..., None], place, np.inf).min(-2)
    high = np.where(seen[..., None], place, -np.inf).max(-2)
    return np.asarray(np.maximum(high - low, 0).max(-1))


def keypoint_places(names: Sequence[str], skeleton: Skeleton, weights: Path) -> NDArray[np.int64]:
    """Where the keypoints that a network takes stand in a skeleton.

    Raises
    ------
    UsageError
        The skeleton has no keypoint of such a name.
    """
    missing = [name for name in names if name not in skeleton.keypoints]
    if missing:
        raise UsageError(
            f"{weights.name} takes keypoints that skeleton {skeleton.name!r} has not: {', '.join(missing[:5])}",
            got=f"{len(skeleton)} keypoints",
            expected=f"the {len(names)} of the network among them",
            hint="--no-actions runs without, --actions FILE names a network for these keypoints",
        )
    return np.array([skeleton.keypoints.index(name) for name in names], np.int64)


def texts(engine: Engine, name: str) -> tuple[str, ...]:
    """A list of texts of a card, all different; raises `WeightsError` where there is none."""
    value: Any = engine.card.get(name)
    good = isinstance(value, list) and value and all(isinstance(text, str) and text for text in value)
    if not good or len(set(value)) != len(value):
        raise WeightsError(f"the card in {engine.path} has no {name}", got=repr(value)[:60], expected="different texts")
    return tuple(value)


def _input_of(engine: Engine) -> tuple[int | None, int | None, int | None, _Draw]:
    """Channels, frames and cells of the input, None where the graph leaves them free, and what makes it of a window.

    Raises
    ------
    WeightsError
        The file is no action network.
    """
    shape = engine.shape
    if engine.card.get("kind") == "action" and "fine" in engine.outputs:
        if len(shape) == 4:
            return shape[0], shape[1], shape[2], _maps
        if len(shape) == 3 and shape[2] == 3:
            return shape[1], shape[0], None, _points
    raise WeightsError(
        f"{engine.path} is no action network",
        got=f"kind {engine.card.get('kind')!r}, outputs {', '.join(engine.outputs)}, input {shape}",
        expected="a card of kind 'action', input (N,K,T,h,w) or (N,T,K,3), output 'fine'",
        hint="Export it with `posepipe train`, or see docs/formats.md, Weights",
    )


def _own_skeleton(engine: Engine, names: Sequence[str]) -> Skeleton:
    """The network's keypoints and, where the card says that they have maps, its limbs."""
    if not engine.card.get("limbs"):
        return named_skeleton("network", tuple(names))
    try:
        skeleton = skeleton_from_json(engine.card.get("skeleton_full"))
    except ValueError as error:
        raise WeightsError(f"the card in {engine.path} has limbs and no skeleton_full: {error}") from error
    if skeleton.keypoints != tuple(names) or not skeleton.edges:
        raise WeightsError(
            f"the card in {engine.path} has a skeleton_full that does not fit",
            got=f"{len(skeleton)} keypoints, {len(skeleton.edges)} limbs",
            expected="the keypoints of the card in their order, and limbs",
        )
    return skeleton


def _maps(xy: _Float, score: _Float, square: Window, recipe: HeatmapRecipe, skeleton: Skeleton) -> NDArray[np.float32]:
    """(K+E,T,h,w) maps of keypoints (T,K,2) px and scores (T,K), and of the skeleton's limbs behind them."""
    return window_maps(xy[None], score[None], square, recipe, skeleton)


def _points(
    xy: _Float, score: _Float, square: Window, recipe: HeatmapRecipe, _skeleton: Skeleton
) -> NDArray[np.float32]:
    """(T,K,3) places in cells and scores of the same."""
    return np.concatenate([square.points(xy, recipe.cells), score[..., None]], -1).astype(np.float32)


def _share(engine: Engine, name: str, default: float, most: float = 1.0) -> float:
    """A number of a card from 0 to ``most``; raises `WeightsError` for another value."""
    value = engine.card.get(name, default)
    if type(value) not in (int, float) or not 0 <= value <= most:
        expected = f"a number from 0 to {most:g}"
        raise WeightsError(f"the card in {engine.path} has a bad {name}", got=repr(value), expected=expected)
    return float(value)


def _whole(engine: Engine, name: str, size: int | None) -> int:
    """A size of the input, from the graph or, where it is free there, from the card."""
    value = engine.card.get(name, size) if size is None else size
    if type(value) is not int or not 0 < value < 1 << 12:
        raise WeightsError(f"the card in {engine.path} has a bad {name}", got=repr(value), expected="a whole number")
    stated = engine.card.get(name, value)
    if not math.isclose(stated, value):
        raise WeightsError(f"the card in {engine.path} says {name} {stated}, its network {value}")
    return value
