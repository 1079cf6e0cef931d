"""Break runs and print what was lost: kills, signals, memory over a long video, and whether results repeat.

    python eval/reliability.py --kills 100 --frames 20000

Every run is the command as users start it, in a process of its own. Figures come as a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from posepipe.errors import InputError
from posepipe.io.records import read_records
from posepipe.io.video import VideoWriter, open_video
from posepipe.report import versions

#: The checkout's package, installed or not.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
SAME_FILES = ("records.jsonl", "poses.csv", "tracks.txt", "streams.npz", "coco_results.json", "actions.csv")
#: Pictures that an encoder holds back, and that a kill may take with it.
FRAMES_IN_ENCODER = 12


@dataclass(frozen=True)
class Case:
    """A video, and flags that make its run quick and full of people wherever it is done."""

    clip: Path
    flags: tuple[str, ...] = ()

    def command(self, out: Path, *more: str) -> list[str]:
        """The command that runs it into ``out``."""
        return [sys.executable, "-m", "posepipe", "run", str(self.clip), "-o", str(out), "--quiet", *self.flags, *more]

    def run(self, out: Path, *more: str) -> Path:
        """Run it to its end; returns the folder of results."""
        subprocess.run(self.command(out, *more), check=True, timeout=3600, env=ENVIRONMENT)
        return out / self.clip.stem


def make_case(folder: Path, frames: int = 60, people: int = 3) -> Case:
    """A made-up video with given boxes: people walk and cross, so that ids are at stake; needs no data."""
    random = np.random.default_rng(1)
    ground = random.integers(0, 256, (120, 160, 3), np.uint8)
    rows = []
    with VideoWriter(folder / "walk.mp4", 160, 120) as writer:
        for index in range(frames):
            writer.write(np.roll(ground, index, axis=1), index / 25 + 0.003 * (index % 2))
            for person in range(people):
                left = 10 + 40 * person + index * (person - 1) * 0.8
                rows.append(f"{index + 1},-1,{left:.1f},20,24,80,{0.9 - 0.1 * person:.1f},-1,-1,-1")
    (folder / "boxes.txt").write_text("\n".join(rows) + "\n")
    return Case(folder / "walk.mp4", ("--detector", str(folder / "boxes.txt")))


def lines_of(path: Path) -> int:
    """Whole lines in a file that another process is writing."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def start_and_wait(case: Case, out: Path, lines: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start a run and wait until it has written so many lines of records; returns it and the lines that were seen."""
    process = subprocess.Popen(case.command(out), stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    records = out / case.clip.stem / "records.jsonl"
    while (seen := lines_of(records)) < lines and process.poll() is None:
        time.sleep(0.002)
    return process, seen


@dataclass(frozen=True)
class Killed:
    """What a kill did: lines seen before that are gone, frames the half-made video lacks, resumed run as unbroken."""

    lost: int
    video_lacks: int
    equal: bool


def kill_and_resume(case: Case, whole: Path, out: Path, lines: int) -> Killed:
    """Kill -9 a run when its records have so many lines, look at what is there, resume it, and compare.

    Parameters
    ----------
    whole
        Results of an unbroken run.
    out
        An empty folder.
    lines
        Lines of records to wait for.
    """
    process, seen = start_and_wait(case, out, lines)
    process.kill()
    process.wait()
    folder = out / case.clip.stem
    kept = lines_of(folder / "records.jsonl")
    lacks = max(kept - 1, 0) - readable_frames(folder)
    case.run(out, "--resume")
    return Killed(max(seen - kept, 0), lacks, same_results(whole, folder))


def readable_frames(folder: Path) -> int:
    """Frames of the overlay, finished or not, that can be decoded."""
    for name in ("overlay.mp4", "overlay.part.mp4"):
        if (folder / name).exists():
            try:
                with open_video(folder / name) as reader:
                    return sum(1 for _ in reader)
            except InputError:
                return 0
    return 0


def same_results(a: Path, b: Path) -> bool:
    """Whether two runs gave the same bytes in everything but the video and the summary."""
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in SAME_FILES)


@dataclass(frozen=True)
class Stopped:
    """What a signal did: exit code, seconds to the end, whether all files are valid, resumed run as unbroken."""

    exit_code: int
    seconds: float
    valid: bool
    equal: bool


def stop_and_resume(case: Case, whole: Path, out: Path, lines: int, signum: signal.Signals) -> Stopped:
    """Send a signal to a run when its records have so many lines, look at what is there, resume it, and compare."""
    process, _ = start_and_wait(case, out, lines)
    start = time.monotonic()
    process.send_signal(signum)
    code = process.wait(60)
    seconds = time.monotonic() - start
    folder = out / case.clip.stem
    records = read_records(folder / "records.jsonl")
    frames = sum(1 for _ in records)
    summary = json.loads((folder / "run.json").read_text())
    closed = records.summary is not None and records.summary["reason"] == f"stopped by {signum.name}"
    files = all((folder / name).exists() for name in SAME_FILES) and not (folder / "overlay.part.mp4").exists()
    valid = closed and files and frames == summary["frames"] == readable_frames(folder)
    case.run(out, "--resume")
    return Stopped(code, seconds, valid, same_results(whole, folder))


def repeat(clip: Path, target: Path, frames: int) -> None:
    """Copy a video again and again, packet by packet, into one of at least so many frames."""
    with av.open(str(target), "w") as whole:
        stream, shift, written = None, 0, 0
        while written < frames:
            with av.open(str(clip)) as part:
                source = part.streams.video[0]
                stream = stream or whole.add_stream_from_template(source)
                ends = []
                for packet in part.demux(source):
                    if packet.dts is None or packet.pts is None:
                        continue
                    ends.append(packet.pts + (packet.duration or 1))
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    whole.mux(packet)
                    written += 1
                shift += max(ends)


def memory_slope(case: Case, out: Path) -> tuple[float, float, int]:
    """MiB of resident memory gained per 1,000 frames after the first tenth, the peak in MiB, and the frames."""
    process = subprocess.Popen(case.command(out), env=ENVIRONMENT)
    records = out / case.clip.stem / "records.jsonl"
    samples: list[tuple[int, float]] = []
    end = 0
    while process.poll() is None:
        new = b""
        if records.exists():
            with records.open("rb") as file:
                file.seek(end)
                new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        end += len(new)
        frames = (samples[-1][0] if samples else 0) + new.count(b"\n")
        samples.append((frames, resident_mib(process.pid)))
        time.sleep(0.25)
    points = np.array([s for s in samples if s[1] > 0 and s[0] >= samples[-1][0] / 10])
    slope = np.polyfit(points[:, 0], points[:, 1], 1)[0]
    return 1000 * float(slope), float(points[:, 1].max()), int(points[-1, 0])


def resident_mib(pid: int) -> float:
    """Resident memory of a process (Linux); 0 when it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def batch_difference(a: Path, b: Path) -> tuple[float, bool]:
    """Largest distance of keypoints in px between two runs, and whether their ids are the same."""
    largest, same_ids = 0.0, True
    for one, two in zip(read_records(a / "records.jsonl"), read_records(b / "records.jsonl"), strict=True):
        same_ids &= np.array_equal(one.tracks.track_id, two.tracks.track_id)
        if same_ids and len(one.tracks):
            gap = np.abs(one.tracks.poses.xy.astype(np.float64) - two.tracks.poses.xy).max()
            largest = max(largest, float(gap))
    return largest, same_ids


def figures(case: Case, long: Case, kills: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Name and figure of each promise."""
    whole = case.run(folder / "whole")
    frames = lines_of(whole / "records.jsonl") - 2
    random = np.random.default_rng(0)
    killed = [kill_and_resume(case, whole, folder / f"kill{i}", int(random.integers(1, frames))) for i in range(kills)]
    yield "acknowledged frames lost to kill -9", f"{sum(k.lost for k in killed)} in {kills} kills"
    yield "resumed run equals the unbroken one, byte for byte", f"{sum(k.equal for k in killed)} of {kills}"
    short = max(k.video_lacks for k in killed)
    good = sum(k.video_lacks <= FRAMES_IN_ENCODER for k in killed)
    yield "overlay readable after kill -9", f"{good} of {kills}, at most {short} frames behind the records"
    for signum in (signal.SIGINT, signal.SIGTERM):
        lines = [frames // 4 * i + 2 for i in range(3)]
        stops = [stop_and_resume(case, whole, folder / f"{signum.name}{n}", n, signum) for n in lines]
        codes = sorted({s.exit_code for s in stops})
        fine = sum(s.valid and s.equal for s in stops)
        slowest = max(s.seconds for s in stops)
        yield f"{signum.name}: files valid and resumable", f"{fine} of 3, exit {codes}, at most {slowest:.2f} s"
    again = [case.run(folder / f"again{i}") for i in range(3)]
    yield "same input, same records", f"{sum(same_results(whole, a) for a in again)} of 3"
    gap, ids = batch_difference(case.run(folder / "b1", "--batch", "1"), case.run(folder / "b8", "--batch", "8"))
    yield "batch 1 against batch 8", f"{gap:.2f} px, ids {'identical' if ids else 'differ'}"
    slope, peak, count = memory_slope(long, folder / "long")
    yield f"memory over {count} frames", f"{slope:+.3f} MiB per 1,000 frames, peak {peak:.0f} MiB"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, help="a video with people instead of a made-up one")
    parser.add_argument("--kills", type=int, default=100, help="runs to kill (default 100)")
    parser.add_argument("--frames", type=int, default=20_000, help="frames of the long video (default 20000)")
    parser.add_argument("--stride", type=int, default=10, help="stride in the long video (default 10)")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = Case(chosen.clip) if chosen.clip else make_case(folder)
        repeat(case.clip, folder / "long.mp4", chosen.frames)
        # The small network finds nobody in noise and somebody in a clip; either way every stage and writer runs.
        long = Case(folder / "long.mp4", ("--stride", str(chosen.stride)))
        print("| promise | figure |\n|---|---|")
        for promise, figure in figures(case, long, chosen.kills, folder):
            print(f"| {promise} | {figure} |", flush=True)
    print(f"\nMeasured with {', '.join(f'{k} {v}' for k, v in versions().items())}; {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
