"""What a run tells people: progress while it works, where its results come from, how it ended."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from posepipe import __version__
from posepipe.config import Config
from posepipe.io.atomic import atomic_path, sha256_of
from posepipe.io.schema import skeleton_to_json
from posepipe.io.zoo import Terms, terms_of
from posepipe.skeleton import Skeleton
from posepipe.types import FrameResult

if TYPE_CHECKING:
    from posepipe.io.video import VideoInfo  # a training writes reports too, and needs no libraries of video

__all__ = [
    "Outcome",
    "Progress",
    "closing_table",
    "engines",
    "machine",
    "records_header",
    "speeds",
    "table",
    "versions",
    "weights_terms",
    "weights_told",
    "write_json",
    "write_rows",
]

_PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "av", "onnxruntime", "lap")
_LINE_EVERY_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """How the run of one input ended.

    Attributes
    ----------
    name, folder
        What the input is called, and where its results are.
    status
        ``ok``, ``truncated`` or ``damaged`` (the input), ``stopped`` (by a signal or a stage that failed), ``failed``
        (nothing is written), ``skipped`` (finished before) or ``not begun``.
    exit_code
        As in :mod:`posepipe.errors`; 130 and 143 for signals.
    frames, people, tracks
        Frames decoded, people seen in them (a person counts once a frame), and confirmed tracks.
    seconds
        Wall-clock time.
    reason
        Why it did not end with ``ok``.
    """

    name: str
    folder: Path
    status: str
    exit_code: int
    frames: int = 0
    people: int = 0
    tracks: int = 0
    seconds: float = 0.0
    reason: str | None = None

    def line(self) -> str:
        """One line for people."""
        if self.status == "failed":
            return f"{self.name}: {self.reason}"
        if self.status == "skipped":
            return f"{self.name}: finished before, skipped ({self.folder})"
        rate = f", {self.frames / self.seconds:.1f} fps" if self.seconds > 0 and self.frames else ""
        frames = _count(self.frames, "frame")
        text = f"{self.name}: {self.status}, {frames}, {_count(self.tracks, 'track')} in {self.seconds:.1f} s{rate}"
        reason = f" ({self.reason})" if self.reason else ""
        return f"{text}{reason} -> {self.folder}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    return "\n".join("  ".join(row).rstrip() for row in padded)


def closing_table(outcomes: Sequence[Outcome]) -> str:
    """One row for each input of a batch, with its status and exit code."""
    rows = [
        (o.name, o.status, str(o.exit_code), str(o.frames), str(o.tracks), f"{o.seconds:.1f}", o.reason or "")
        for o in outcomes
    ]
    return table(("input", "status", "exit", "frames", "tracks", "seconds", "reason"), rows)


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Versions of posepipe, Python and the packages that have a part in the result, of those that are installed."""
    found = {"posepipe": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Processor and cores, for figures that depend on them."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux
    return f"{name}, {_count(os.cpu_count() or 1, 'core')}"


def engines(stages: Mapping[str, object]) -> dict[str, str]:
    """What each stage really runs on: its own ``description``, or the name of its class."""
    return {name: str(getattr(stage, "description", type(stage).__name__)) for name, stage in stages.items()}


def records_header(
    info: VideoInfo,
    path: Path | None,
    config: Config,
    skeleton: Skeleton,
    stages: Mapping[str, object],
    labels: Sequence[str] = (),
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """What records say first: video, keypoints, weights and settings; no folder and no clock time.

    Parameters
    ----------
    info
        The video.
    path
        Its file, where it is one, for the checksum.
    config
        Settings. One that names a file is written as that file's name: results do not depend on where it lies.
    skeleton
        The keypoints.
    stages
        The networks by name; a stage says in ``weights`` which file it was built from, whose card, or the list of
        published weights, gives its terms.
    labels
        Of the actions, where there is somebody who names them.
    check
        Called now and then while the video is read for its checksum; it may raise to stop that.
    """
    settings = {k: _without_folder(v) if isinstance(v, str) else v for k, v in asdict(config).items()}
    return {
        "posepipe": __version__,
        "video": {
            "name": info.name,
            "sha256": sha256_of(path, check) if path is not None and path.is_file() else None,
            "width": info.width,
            "height": info.height,
            "fps": info.fps,
            "rotation": info.rotation,
            "frames_declared": info.frames_declared,
            "duration_s": info.duration_s,
        },
        "skeleton": skeleton_to_json(skeleton),
        **({"actions": list(labels)} if labels else {}),
        **weights_told(stages),
        "config": settings,
    }


def weights_told(stages: Mapping[str, object]) -> dict[str, dict[str, str | None]]:
    """What records say of the weights of stages, by their names: ``weights`` (sha256), ``licences``, ``trained_on``."""
    files = {name: getattr(stage, "weights", None) for name, stage in stages.items()}
    checksums = {name: None if file is None else sha256_of(file) for name, file in files.items()}
    terms = weights_terms(stages, checksums)
    return {
        "weights": checksums,
        "licences": {name: found.licence for name, found in terms.items()},
        "trained_on": {name: found.trained_on for name, found in terms.items()},
    }


def weights_terms(stages: Mapping[str, object], checksums: Mapping[str, str | None] | None = None) -> dict[str, Terms]:
    """The terms of each stage's weights, by its name; those whose ``checksums`` are known are not read for it again."""
    known = checksums or {}
    files = {name: getattr(stage, "weights", None) for name, stage in stages.items()}
    return {
        name: Terms(None, None) if file is None else terms_of(file, known.get(name)) for name, file in files.items()
    }


def _without_folder(value: str) -> str:
    kind, colon, rest = value.partition(":")
    if colon and len(kind) > 1:
        return f"{kind}:{_without_folder(rest)}"
    return Path(value).name if os.sep in value or "/" in value else value


def speeds(timings: Mapping[str, tuple[float, int]]) -> dict[str, dict[str, Any]]:
    """Milliseconds a frame and frames a second of each stage.

    Parameters
    ----------
    timings
        For each stage, seconds spent and frames worked on; stages that worked on none are left out.
    """
    return {
        name: {"frames": frames, "ms": round(1000 * seconds / frames, 3), "fps": round(frames / max(seconds, 1e-9), 1)}
        for name, (seconds, frames) in timings.items()
        if frames
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file for people and programs: indented, whole or absent. Raises ``OutputError``."""
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def write_rows(path: str | Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file in UTF-8 with a line of names first, whole or absent. Raises ``OutputError``."""
    with atomic_path(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


class Progress:
    """Frames done, speed, people and time left: a bar on a terminal, a line now and then elsewhere, or nothing.

    Parameters
    ----------
    name
        What is worked on.
    total
        Frames to come, where that is known.
    quiet
        Show nothing.
    stream
        Where to; standard error by default.
    """

    def __init__(self, name: str, total: int | None, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._name, self._total, self._quiet = name, total, quiet
        self._stream = stream if stream is not None else sys.stderr
        self._done, self._people = 0, 0
        self._start = self._shown = monotonic()
        self._bar: Any = None
        if not quiet and self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=name, unit=" frames", file=self._stream, dynamic_ncols=True, leave=False)

    def update(self, people: int) -> None:
        """Count a frame in which ``people`` were seen."""
        self._done += 1
        self._people = people
        if self._bar is not None:
            self._bar.set_postfix(people=people, refresh=False)
            self._bar.update()
        elif not self._quiet and monotonic() - self._shown >= _LINE_EVERY_S:
            self._shown = monotonic()
            self._stream.write(self._line() + "\n")
            self._stream.flush()

    def over(self, frames: Iterable[FrameResult]) -> Iterator[FrameResult]:
        """Give frames on and count them."""
        for frame in frames:
            yield frame
            self.update(len(frame.tracks))

    def _line(self) -> str:
        rate = self._done / max(monotonic() - self._start, 1e-9)
        of, left = "", ""
        if self._total is not None and self._total > self._done:
            of, left = f" of {self._total}", f", {(self._total - self._done) / rate:.0f} s left"
        return f"{self._name}: {self._done}{of} frames, {rate:.1f} fps, people {self._people}{left}"

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
