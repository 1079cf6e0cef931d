"""The way of the data: frames in, one result a frame out, in order, at bounded memory.

Detector, pose estimator, tracker and recogniser of actions are constructor arguments: any object with the methods of
:mod:`posepipe.stages` will do; what is not given is built from the :class:`~posepipe.config.Config` on first use.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from posepipe.config import Config
from posepipe.errors import PosepipeError, StageError, UsageError
from posepipe.io.schema import SCORE_DECIMALS, XY_DECIMALS, rounded
from posepipe.scheduling import make_schedule, still_there
from posepipe.stages import ActionRecogniser, Detector, PoseEstimator, Tracker, WindowRecogniser
from posepipe.stages.action import ActionWatch
from posepipe.stages.checks import check_result, check_stage
from posepipe.tracking.cuts import CutFinder
from posepipe.types import Detections, Frame, FrameResult, Poses, Tracks

__all__ = ["CHUNK", "NOMINAL_FPS", "Pipeline", "Timing", "quantise"]

#: Most frames that are read before the first of them is given back; their crops share calls of the pose network.
CHUNK = 6
#: Time of bare arrays, which carry none: frame ``i`` is given ``pts = i / NOMINAL_FPS`` seconds.
NOMINAL_FPS = 25.0

# A chunk closes early at this many people, so that a crowd neither delays an interrupt nor fills memory.
_CHUNK_PEOPLE = 32


@dataclass
class Timing:
    """Time spent in a stage: ``seconds`` in all, over ``frames`` frames."""

    seconds: float = 0.0
    frames: int = 0


def quantise(poses: Poses) -> Poses:
    """Round coordinates to 0.01 px and scores to 0.001, the resolution of records.

    The tracker then sees exactly what a record holds, so that recorded frames can be replayed without networks.
    """
    return Poses(
        rounded(poses.xy, XY_DECIMALS).astype(np.float32),
        rounded(poses.score, SCORE_DECIMALS).astype(np.float32),
        rounded(poses.boxes, XY_DECIMALS).astype(np.float32),
        rounded(poses.box_score, SCORE_DECIMALS).astype(np.float32),
        poses.skeleton,
    )


class Pipeline:
    """From frames to people, poses, tracks and actions.

    Parameters
    ----------
    detector, pose, tracker
        Objects that satisfy the protocols of :mod:`posepipe.stages`; None builds what ``config`` names. A tracker that
        is given is reset by every :meth:`process`; one that is built is built anew.
    config
        Settings; None means the defaults.
    actions
        As the others. One that looks at windows is asked while frames come; one that wants whole streams is for those
        who have them (`posepipe.run`), and :meth:`process` leaves it alone.

    Raises
    ------
    UsageError
        A stage lacks one of its methods.

    Attributes
    ----------
    timings
        Time spent in ``read``, ``detector``, ``pose``, ``tracker`` and, where there is one, ``actions`` by the latest
        :meth:`process`.
    """

    def __init__(
        self,
        detector: Detector | None = None,
        pose: PoseEstimator | None = None,
        tracker: Tracker | None = None,
        config: Config | None = None,
        actions: ActionRecogniser | None = None,
    ) -> None:
        self.config = config if config is not None else Config()
        given = {"detector": detector, "pose": pose, "tracker": tracker, "actions": actions}
        for name, stage in given.items():
            if stage is not None:
                check_stage(name, stage)
        self._detector = detector
        self._pose = pose
        self._tracker = tracker
        self._actions, self._actions_built = actions, actions is not None
        self.timings: dict[str, Timing] = {}

    @property
    def detector(self) -> Detector:
        """The detector in use; built on first use."""
        if self._detector is None:
            from posepipe.stages.build import build_detector

            self._detector = build_detector(self.config)
        return self._detector

    @property
    def pose(self) -> PoseEstimator:
        """The pose estimator in use; built on first use."""
        if self._pose is None:
            from posepipe.stages.build import build_pose

            self._pose = build_pose(self.config, self.detector)
        return self._pose

    @property
    def actions(self) -> ActionRecogniser | None:
        """The recogniser of actions in use, None where there is none; built on first use."""
        if not self._actions_built:
            from posepipe.stages.build import build_actions

            self._actions, self._actions_built = build_actions(self.config, self.pose.skeleton), True
        return self._actions

    @property
    def networks(self) -> dict[str, object]:
        """The stages that have weights, by name."""
        found: dict[str, object] = {"detector": self.detector, "pose": self.pose}
        return found if self.actions is None else {**found, "actions": self.actions}

    def build(self) -> None:
        """Build every stage now, so that what is wrong with the settings is said before any work is done.

        Raises
        ------
        UsageError
            A setting is wrong: it names no stage, or stages that do not fit together.
        WeightsError
            Weights are missing, changed or of the wrong kind.
        """
        _ = self.networks
        self._fresh_tracker()
        self._fresh_watch()

    def _fresh_watch(self) -> ActionWatch | None:
        recogniser = self.actions
        return ActionWatch(recogniser, self.pose.skeleton) if isinstance(recogniser, WindowRecogniser) else None

    def _fresh_tracker(self) -> Tracker:
        if self._tracker is None:
            from posepipe.stages.build import build_tracker

            return build_tracker(self.config, self.pose.skeleton)
        self._tracker.reset()
        return self._tracker

    def process(
        self, frames: Iterable[Frame | NDArray[np.uint8]], recorded: Iterable[FrameResult] = ()
    ) -> Generator[FrameResult, None, None]:
        """Work through frames and yield exactly one result for each, in order, empty where nobody is seen.

        At most :data:`CHUNK` frames are read ahead of what was yielded (one where ``frames`` has a true attribute
        ``live``, and where the detector does not run on every frame), so endless sources work and memory does not
        grow. When a frame cannot be read or a stage fails, the results of all frames before it are yielded first.
        ``close()`` on the generator, or leaving its loop, stops the work; the source of the frames stays the caller's.

        Parameters
        ----------
        frames
            :class:`Frame` values, or RGB uint8 arrays (H,W,3), which are numbered from 0 and, since arrays carry no
            time, given ``pts = number / NOMINAL_FPS``.
        recorded
            Results of an earlier run that broke off, for the first frames of ``frames``: their poses go through the
            tracker again and no network looks at those frames; their actions are taken as they are. What follows
            equals an unbroken run.

        Raises
        ------
        UsageError
            ``frames`` is a path, an item is not a picture, or ``recorded`` belongs to other frames.
        StageError
            A stage raised; its name and the frame's are in the message.
        PosepipeError
            A stage raised an error of posepipe's own (a network that cannot be run, for example): it keeps its class,
            and its message begins with the name of the stage and the frame's.
        """
        if isinstance(frames, (str, bytes, os.PathLike)):
            raise UsageError(
                "Pipeline.process takes frames, not a path",
                got=repr(frames),
                hint="Open it first: Pipeline().process(posepipe.open_video(path))",
            )
        return self._process(frames, iter(recorded))

    def _process(
        self, frames: Iterable[Frame | NDArray[np.uint8]], recorded: Iterator[FrameResult]
    ) -> Generator[FrameResult, None, None]:
        run = _Run(self.config, self.detector, self.pose, self._fresh_tracker(), self._fresh_watch())
        self.timings = run.timings
        alone = bool(getattr(frames, "live", False)) or run.schedule.looks_back
        chunk: list[_Work] = []
        try:
            for frame in _timed(_numbered(frames), run.timings["read"]):
                chunk.append(run.look(frame, next(recorded, None)))
                if alone or len(chunk) == CHUNK or sum(work.people for work in chunk) >= _CHUNK_PEOPLE:
                    full, chunk = chunk, []
                    yield from run.finish(full)
        except Exception:
            yield from run.finish(chunk)
            raise
        yield from run.finish(chunk)

    def close(self) -> None:
        """Release the networks that this pipeline built or was given; it must not be used afterwards."""
        for stage in (self._detector, self._pose):
            release = getattr(stage, "close", None)
            if release is not None:
                release()


def _numbered(frames: Iterable[Frame | NDArray[np.uint8]]) -> Iterator[Frame]:
    for position, item in enumerate(frames):
        if isinstance(item, Frame):
            yield item
            continue
        try:
            frame = Frame(position, position / NOMINAL_FPS, item)
        except ValueError as error:
            raise UsageError(f"item {position} given to Pipeline.process is not a picture: {error}") from error
        yield frame


def _timed(frames: Iterator[Frame], timing: Timing) -> Iterator[Frame]:
    while True:
        start = perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        timing.seconds += perf_counter() - start
        timing.frames += 1
        yield frame


@dataclass
class _Work:
    """A frame on its way: what an earlier run recorded of it, or where its people are."""

    frame: Frame
    recorded: FrameResult | None
    looked: bool
    carried: bool = False
    cut: bool = False
    detections: Detections | None = None

    @property
    def people(self) -> int:
        if self.recorded is not None:
            return len(self.recorded.tracks)
        return len(self.detections) if self.detections is not None else 0


class _Run:
    """The state of one pass over one source: its own tracker, counters and clocks."""

    def __init__(
        self, config: Config, detector: Detector, pose: PoseEstimator, tracker: Tracker, watch: ActionWatch | None
    ) -> None:
        self.config, self.detector, self.pose, self.tracker, self.watch = config, detector, pose, tracker, watch
        stages = ("read", "detector", "pose", "tracker", *(("actions",) if watch is not None else ()))
        self.timings = {name: Timing() for name in stages}
        self.seen = 0
        self.cuts = CutFinder()
        self.schedule = make_schedule(config)

    @contextmanager
    def stage(self, name: str, works: Sequence[_Work]) -> Iterator[None]:
        """Time a stage, and give what it raises the stage's name and the frame's."""
        start = perf_counter()
        try:
            yield
        except PosepipeError as error:
            raise error.at(f"the {name} stage failed at frame {works[0].frame.index}") from error
        except Exception as error:
            raise StageError(name, works[0].frame.index, error) from error
        finally:
            self.timings[name].seconds += perf_counter() - start
            self.timings[name].frames += len(works)

    def look(self, frame: Frame, recorded: FrameResult | None) -> _Work:
        """Find the people of the next frame, unless it is recorded or passed over."""
        if recorded is not None and (recorded.frame_index, recorded.pts) != (frame.index, frame.pts):
            raise UsageError(
                "the records are not of these frames",
                got=f"a record of frame {recorded.frame_index} at {recorded.pts} s",
                expected=f"frame {frame.index} at {frame.pts} s",
            )
        position, self.seen = self.seen, self.seen + 1
        work = _Work(frame, recorded, looked=position % self.config.stride == 0)
        work.cut = self.cuts.update(frame.image)
        if work.cut:
            self.schedule.forget()
        work.carried = work.looked and not self.schedule.due(frame)
        if work.looked and recorded is None:
            self.detect(work)
        return work

    def detect(self, work: _Work) -> None:
        """Fill in where the people of a frame are: from the detector, or from their last poses."""
        if work.carried:
            work.detections = self.schedule.boxes(work.frame)
            return
        with self.stage("detector", [work]):
            found = self.detector.detect(work.frame)
            check_result("detector", found, Detections)
            if len(found) > self.config.max_people:
                found = found[np.argsort(-found.score, kind="stable")[: self.config.max_people]]
            work.detections = self.schedule.choose(found, work.frame)

    def finish(self, chunk: Sequence[_Work]) -> Iterator[FrameResult]:
        """Read the poses of all people in the chunk together, then follow them frame by frame."""
        try:
            poses = self.estimate(chunk)
        except PosepipeError:
            if len(chunk) == 1:
                raise
            # One by one, so that the error names its frame and the frames before it are still given.
            for work in chunk:
                yield from self.finish([work])
            return
        for work, seen in zip(chunk, poses, strict=True):
            yield self.recognise(work, self.follow(work, seen))

    def estimate(self, chunk: Sequence[_Work]) -> list[Poses]:
        """Quantised poses of every frame of the chunk; recorded ones are taken as they are."""
        poses = {id(w): w.recorded.tracks.poses for w in chunk if w.recorded is not None}
        looked = [work for work in chunk if work.looked]
        if any(work.recorded is None for work in looked):
            # The recorded frames of a chunk are looked at again with the others: networks may round differently in
            # batches of another make-up, and the new frames must come out as in an unbroken run.
            for work in looked:
                if work.detections is None:
                    self.detect(work)
            found = [work.detections for work in looked if work.detections is not None]
            for work, seen in zip(looked, self._estimate(looked, found), strict=True):
                poses.setdefault(id(work), seen)
        nobody = Poses.empty(self.pose.skeleton)
        return [poses.get(id(work), nobody) for work in chunk]

    def _estimate(self, works: Sequence[_Work], found: Sequence[Detections]) -> list[Poses]:
        if not any(map(len, found)):
            return [Poses.empty(self.pose.skeleton) for _ in works]
        with self.stage("pose", works):
            poses = self.pose.estimate([work.frame for work in works], found)
            check_result("pose estimator", poses, list, tuple)
            for seen in poses:
                check_result("pose estimator", seen, Poses)
            sizes, wanted = [len(p) for p in poses], [len(d) for d in found]
            if sizes != wanted:
                raise ValueError(f"gave {sizes} poses for {wanted} detections; it must give one for each")
            rounded = [quantise(p) for p in poses]
        return [p[still_there(p)] if w.carried else p for w, p in zip(works, rounded, strict=True)]

    def follow(self, work: _Work, poses: Poses) -> FrameResult:
        """Give the people of the next frame their ids."""
        frame = work.frame
        if work.cut:
            # Trackers without a way to begin anew are left to judge by the boxes.
            getattr(self.tracker, "cut", lambda: None)()
        if not work.looked:
            return FrameResult(frame.index, frame.pts, Tracks.empty(self.pose.skeleton), skipped=True, cut=work.cut)
        with self.stage("tracker", [work]):
            tracks = self.tracker.update(poses, frame.image)
            check_result("tracker", tracks, Tracks)
            if len(tracks) != len(poses):
                raise ValueError(f"gave {len(tracks)} tracks for {len(poses)} poses; it must give one for each")
        if work.recorded is not None and not np.array_equal(tracks.track_id, work.recorded.tracks.track_id):
            raise UsageError(
                f"the records do not replay: at frame {frame.index} the tracker gives other ids",
                got=tracks.track_id.tolist(),
                expected=work.recorded.tracks.track_id.tolist(),
                hint="They come from other settings or another tracker: start the run again",
            )
        self.schedule.note(tracks)
        return FrameResult(frame.index, frame.pts, tracks, cut=work.cut)

    def recognise(self, work: _Work, result: FrameResult) -> FrameResult:
        """Add what people did in the windows that end with the next frame."""
        if self.watch is None:
            return result
        with self.stage("actions", [work]):
            return self.watch.update(result, None if work.recorded is None else work.recorded.actions)
