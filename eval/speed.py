"""Print the speed of every stage on every clip, as a Markdown table.

    python eval/speed.py [CLIP ...]

Each clip goes through the whole job, records and overlay included, by one pipeline after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from posepipe.config import Config, data_root
from posepipe.errors import InputError
from posepipe.pipeline import Pipeline
from posepipe.report import engines, machine, versions
from posepipe.run.batch import run_batch
from posepipe.run.inputs import plan
from posepipe.run.video import Options

STAGES = ("decode", "detector", "pose", "tracker", "actions", "records", "draw", "encode")


def row(summary: dict[str, Any]) -> str:
    """A clip's row: milliseconds a frame by stage, and the whole."""
    video, speed = summary["video"], summary["speed"]
    stages = [f"{speed[name]['ms']:.1f}" if name in speed else "" for name in STAGES]
    people = summary["people"] / summary["frames"]
    size = f"{video['width']}x{video['height']}"
    cells = [video["name"], size, str(summary["frames"]), f"{people:.1f}", *stages, f"{summary['fps']:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the clips and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*", help="videos (default: the folder video of the data)")
    parser.add_argument("--limit-frames", type=int, help="at most so many frames of each")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--detector-stride", type=int, default=1, help="detect on every n-th frame")
    chosen = parser.parse_args(arguments)
    folder = data_root() / "video"
    if not chosen.clips and not folder.is_dir():
        raise InputError(f"there is no folder {folder}", hint="Name clips, or set POSEPIPE_DATA")
    pipeline = Pipeline(config=Config(device=chosen.device, detector_stride=chosen.detector_stride))
    list(pipeline.process([np.zeros((256, 256, 3), np.uint8)] * 3))
    print(f"{machine()}; {datetime.now(timezone.utc):%Y-%m-%d}; {', '.join(f'{k} {v}' for k, v in versions().items())}")
    for stage, engine in engines(pipeline.networks).items():
        print(f"{stage}: {engine}")
    print("\nMilliseconds a frame:\n")
    print("| clip | size | frames | people a frame | " + " | ".join(STAGES) + " | whole job, fps |")
    print("|---|---|" + "---:|" * (len(STAGES) + 3))
    with tempfile.TemporaryDirectory() as name:
        options = Options(out=Path(name), limit_frames=chosen.limit_frames, quiet=True)
        for outcome in run_batch(plan(chosen.clips or [str(folder)]), pipeline, options):
            if outcome.status == "failed":
                print(f"| {outcome.name} | {outcome.reason} |")
                continue
            print(row(json.loads((outcome.folder / "run.json").read_text("utf-8"))), flush=True)


if __name__ == "__main__":
    main()
