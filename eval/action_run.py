"""What `posepipe run` says people do, on clips whose activity is known and on clips of other things.

    python eval/action_run.py [--runs RUNS] [--trial 3] [--actions small]

The clips of one UP-Fall trial go through the whole job, the videos of the data's folder `video` too (into RUNS; what is
there is kept). A clip is called `fall` or `pick up` where somebody does that at any time, else what is done longest;
`unknown` counts as nothing. The second person of camera 2, who sits at the edge of every clip, is not asked, nor are
passers-by: people less than half as tall as the tallest one.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter

import numpy as np

from posepipe.config import Config, data_root
from posepipe.errors import InputError
from posepipe.io.records import Records, read_records
from posepipe.io.streams import pose_streams
from posepipe.pipeline import Pipeline
from posepipe.report import engines, machine, table, versions
from posepipe.run.actions import seen_doing, spans_of
from posepipe.run.batch import run_batch
from posepipe.run.inputs import plan
from posepipe.run.video import Options
from posepipe.skeleton import COCO17
from posepipe.stages import WindowRecogniser
from posepipe.stages.build import build_actions
from posepipe.streams.spans import UNKNOWN
from posepipe.types import Action

ACTIVITIES = ("fall",) * 5 + ("walk", "stand", "sit", "pick up", "jump", "lie")
MOMENTS = ("fall", "pick up")
# Where the second person of camera 2 sits: middle of the box, px across.
SECOND_PERSON = (520, 615)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not there, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="folder of results (default: a new one that is deleted)")
    parser.add_argument("--trial", default="3", help="of UP-Fall; 3 is the one that no training saw")
    parser.add_argument("--actions", default="small", help="as `posepipe run` takes it")
    chosen = parser.parse_args(arguments)
    config = Config(actions=chosen.actions)
    network = build_actions(config, COCO17)
    if not isinstance(network, WindowRecogniser):
        raise InputError(f"--actions {chosen.actions} looks at no windows")
    print(f"{machine()}; {datetime.now(timezone.utc):%Y-%m-%d}; {', '.join(f'{k} {v}' for k, v in versions().items())}")
    print(f"actions: {engines({'actions': network})['actions']}\n")
    with tempfile.TemporaryDirectory() as name:
        runs = chosen.runs or Path(name)
        known(run_all(upfall(chosen.trial), runs), network)
        others(run_all(sorted((data_root() / "video").iterdir()), runs), network)
        cost(Path(name), network)


def upfall(trial: str) -> list[Path]:
    """The clips of a trial."""
    folder = data_root() / "upfall"
    if not (folder / "labels.csv").is_file():
        raise InputError(f"there is no folder {folder}", hint="Set POSEPIPE_DATA")
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        return [folder / row["file"] for row in csv.DictReader(file) if row["trial"] == trial]


def run_all(clips: Sequence[Path], runs: Path) -> list[Records]:
    """Records of every clip; actions are told afterwards, which gives the same and leaves the choice of the network."""
    jobs = [job for job in plan([str(clip) for clip in clips]) if not (runs / job.name / "run.json").exists()]
    if jobs:
        run_batch(jobs, Pipeline(config=Config(actions="none")), Options(runs, video=False, resume=True, quiet=True))
    return [read_records(runs / clip.stem / "records.jsonl") for clip in clips]


def told(records: Records, network: WindowRecogniser) -> list[Action]:
    """Spans of everybody in some records."""
    return spans_of(seen_doing(records, network, records.skeleton), network, records.skeleton)


def known(clips: Iterable[Records], network: WindowRecogniser) -> None:
    """Print what every clip was called, the share that is right, and what was taken for what."""
    rows, confused, by_camera = [], Counter[tuple[str, str]](), defaultdict[str, list[bool]](list)
    for records in clips:
        name = records.path.parent.name
        wanted = ACTIVITIES[int(name.split("_")[0].removeprefix("Activity")) - 1]
        seconds = seconds_of(records, told(records, network), name[-1])
        said = called(seconds)
        confused[wanted, said] += 1
        by_camera[name[-1]].append(said == wanted)
        more = ", ".join(f"{label} {s:.1f}" for label, s in sorted(seconds.items(), key=lambda item: -item[1]))
        rows.append((name, wanted, said, "" if said == wanted else "x", more))
    print(table(("clip", "is", "is called", "", "seconds"), rows))
    for camera, right in sorted(by_camera.items()):
        print(f"camera {camera}: {sum(right)} of {len(right)} clips are called what they are")
    hits = sum(count for (wanted, said), count in confused.items() if wanted == said)
    print(f"both cameras: {hits} of {len(rows)} ({hits / len(rows):.3f})\n")
    names = list(dict.fromkeys(ACTIVITIES))
    heads = [*names, *sorted({said for _, said in confused} - set(names))]
    print(table(("is \\ called", *heads), [(n, *(str(confused[n, h] or "") for h in heads)) for n in names]), "\n")


def seconds_of(records: Records, spans: Iterable[Action], camera: str) -> dict[str, float]:
    """Seconds of each label over everybody who is asked."""
    tall = {}
    for stream in pose_streams(records, records.skeleton):
        across = np.median(stream.boxes[:, [0, 2]].mean(1))
        if camera != "2" or not SECOND_PERSON[0] < across < SECOND_PERSON[1]:
            tall[stream.track_id] = float(np.median(stream.boxes[:, 3] - stream.boxes[:, 1]))
    asked = {track_id for track_id, height in tall.items() if height >= max(tall.values()) / 2}
    seconds: dict[str, float] = defaultdict(float)
    for span in spans:
        if span.track_id in asked:
            seconds[span.label] += span.end_s - span.start_s
    return dict(seconds)


def called(seconds: dict[str, float]) -> str:
    """The name of a clip."""
    named = {label: s for label, s in seconds.items() if label != UNKNOWN}
    return next((m for m in MOMENTS if m in named), max(named, key=lambda label: named[label], default="nothing"))


def others(clips: Iterable[Records], network: WindowRecogniser) -> None:
    """Print what is said of clips whose actions nobody labelled: the share of windows of which nothing is said."""
    rows = []
    for records in clips:
        actions = [a for result in seen_doing(records, network, records.skeleton) for a in result.actions]
        labels = Counter(action.label for action in actions)
        share = labels[UNKNOWN] / max(len(actions), 1)
        more = ", ".join(f"{label} {count}" for label, count in labels.most_common() if label != UNKNOWN)
        rows.append((records.path.parent.name, str(len(actions)), f"{share:.2f}", more))
    print(table(("video", "windows", "unknown", "the others"), rows), "\n")


def cost(folder: Path, network: WindowRecogniser) -> None:
    """Print what actions cost beside poses: one clip through the whole job, and the recogniser alone."""
    (job,) = plan([str(upfall("3")[-1])])
    job = replace(job, name="speed")
    pipeline = Pipeline(config=Config(), actions=network)
    options = Options(folder, video=False, overwrite=True, quiet=True, limit_frames=200)
    run_batch([job], pipeline, options)
    frames, windows = pipeline.timings["pose"].frames, 0
    for result in read_records(folder / "speed/records.jsonl"):
        windows += len(result.actions)
    each = {name: 1000 * timing.seconds / frames for name, timing in pipeline.timings.items() if name != "read"}
    print(f"ms a frame over {frames} frames: " + ", ".join(f"{name} {ms:.1f}" for name, ms in each.items()))
    print(
        f"{windows} windows, {1000 * pipeline.timings['actions'].seconds / max(windows, 1):.1f} ms each, all included"
    )
    stream = max(pose_streams(read_records(folder / "speed/records.jsonl"), COCO17), key=len)
    before = perf_counter()
    network.recognise(stream)
    seconds = stream.pts[-1] - stream.pts[0]
    print(f"one person for {seconds:.1f} s: {perf_counter() - before:.2f} s")


if __name__ == "__main__":
    main()
