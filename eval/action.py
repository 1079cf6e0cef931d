"""Figures of action networks: ``action.py train`` trains, ``action.py table`` prints and writes RESULTS-action.md.

Settings are chosen on clips cut out of the training part of JHMDB's split 1 (`PICKS`), never on a test part, and the
last epoch of every training is the one that is tested.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from action_jobs import Job, run_jobs
from action_tables import write_tables

#: what was tried on the cut-out clips; each differs from the recipe as it says
PICKS: dict[str, dict[str, str]] = {
    "as the recipe": {},
    "milder variation": {
        "variation.rotate": "5", "variation.shear": "0", "variation.shape": "0", "variation.jitter": "0",
        "variation.area": "0.7,1", "variation.time": "0.8", "mix.mixup": "0.2",
    },
    "stronger variation": {
        "variation.rotate": "25", "variation.shear": "0.2", "variation.shape": "0.015", "variation.time": "0.5",
        "variation.drop": "0.1", "mix.mixup": "0.8",
    },
    "without PCAN's parts": {
        "parts.fine_prototypes": "false", "parts.coarse": "false", "parts.rectification": "false",
    },
    "frames drawn unevenly": {"sampling": "uniform"},
}  # fmt: skip
#: each part of the recipe off in turn
ABLATION: dict[str, dict[str, str]] = {
    "no coarse head": {"parts.coarse": "false"},
    "no prototypes": {
        "parts.fine_prototypes": "false",
        "parts.coarse_prototypes": "false",
        "parts.rectification": "false",
    },
    "no tree loss": {"parts.tree": "false"},
    "no rectification": {"parts.rectification": "false"},
    "no mixup": {"mix.mixup": "0"},
    "no label smoothing": {"loss.smoothing": "0"},
}
#: times as many views in the longer trainings
LONGER = 45 / 26
SEEDS, SPLITS, FOLDS = (1, 2, 3), ("1", "2", "3"), (1, 2, 3)
#: of all time: what picking may take, and what the splits of JHMDB take of the rest
_PICKING, _SPLITS = 0.28, 0.38


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=("train", "table"))
    parser.add_argument("--out", type=Path, default=Path("runs/action"), help="folder of the results")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time")
    parser.add_argument("--seconds", type=float, default=0, help="time for everything; 0: as long as --clips takes")
    parser.add_argument("--clips", type=int, default=26000, help="views that a training looks at, where time allows")
    parser.add_argument("--upfall", type=Path, metavar="DIR", help="UP-Fall too: what prepare_upfall_actions.py made")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="trainings whose names begin so")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of every training")
    arguments = parser.parse_args()
    if arguments.what == "train":
        _train(arguments)
    write_tables(arguments.out, Path(__file__).with_name("RESULTS-action.md") if arguments.what == "table" else None)


def _train(arguments: argparse.Namespace) -> None:
    """Pick, then train what is tested, the most wanted first."""
    began = time.monotonic()
    end = began + arguments.seconds if arguments.seconds else began + 1e9
    out, machine = arguments.out, dict(pair.split("=", 1) for pair in arguments.set)
    out.mkdir(parents=True, exist_ok=True)
    few = max(1000, arguments.clips // 2)

    def wanted(jobs: list[Job]) -> list[Job]:
        return [job for job in jobs if not arguments.only or job.name.startswith(tuple(arguments.only))]

    picking = min(end, began + max(60, _PICKING * (end - began)))
    run_jobs(wanted(_picks(few)), out, arguments.processes, picking, machine)
    chosen = _chosen(out)
    speed = _speed(out) * arguments.processes
    left = max(0.0, end - time.monotonic())
    most = int(speed * left * _SPLITS / (len(SEEDS) * len(SPLITS))) if arguments.seconds else arguments.clips
    clips = max(few, min(arguments.clips, most))
    print(f"picked {chosen!r}; {speed:.0f} clips/s in all, {clips} clips a training, {left:.0f} s left", flush=True)
    jobs = [*_jhmdb(chosen, clips), *_utkinect(clips // 2), *_longer(chosen, clips), *_more(chosen, clips)]
    jobs += _upfall(arguments.upfall, clips // 4) if arguments.upfall else []
    jobs += _ablation(chosen, clips)
    if arguments.seconds:
        jobs = [replace(job, seconds=arguments.processes * job.clips / speed) for job in jobs]
    run_jobs(wanted(jobs), out, arguments.processes, end, machine)


def _picks(clips: int) -> list[Job]:
    return [
        Job(f"pick-{number}-{fold}", "action_jhmdb14", ("jhmdb14", "1"), settings, clips, fold, fold)
        for fold in FOLDS
        for number, settings in enumerate(PICKS.values())
    ]


def _chosen(out: Path) -> str:
    """The settings with the largest share of right cut-out clips, over the draws on which all settings were tried."""
    paths = {fold: [out / "results" / f"pick-{n}-{fold}.json" for n in range(len(PICKS))] for fold in FOLDS}
    whole = [found for found in paths.values() if all(path.is_file() for path in found)]
    if not whole:
        return next(iter(PICKS))
    shares = np.mean([[_result(path)["right"]["many"] for path in found] for found in whole], 0)
    return list(PICKS)[int(shares.argmax())]


def _speed(out: Path) -> float:
    """Clips a second of one training, as the picking took it."""
    found = [_result(path) for path in (out / "results").glob("pick-*.json")]
    return float(np.median([one["clips"] / one["seconds"] for one in found])) if found else 100.0


def _result(path: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return about


def _jhmdb(chosen: str, clips: int) -> list[Job]:
    return [
        Job(f"jhmdb-{split}-{seed}", "action_jhmdb14", ("jhmdb14", split), PICKS[chosen], clips, seed, keep=seed == 1)
        for seed in SEEDS
        for split in SPLITS
    ]


def _longer(chosen: str, clips: int) -> list[Job]:
    """With more views of the same clips."""
    return [
        Job(f"long-{split}-1", "action_jhmdb14", ("jhmdb14", split), PICKS[chosen], round(clips * LONGER), 1)
        for split in SPLITS
    ]


def _more(chosen: str, clips: int) -> list[Job]:
    """With UTKinect's shared acts among the training clips."""
    return [
        Job(f"more-{split}-1", "action_jhmdb14", ("jhmdb14", split), PICKS[chosen], clips, 1, more=True)
        for split in SPLITS
    ]


def _utkinect(clips: int) -> list[Job]:
    return [Job(f"utkinect-{seed}", "action_utkinect", ("utkinect", ""), {}, clips, seed) for seed in SEEDS]


def _upfall(folder: Path, clips: int) -> list[Job]:
    """Numbers of keypoints, and what takes pictures, which are small and few: 4 a clip, of 64 px."""
    small = {"size": "16", "frames": "16", "rgb_frames": "4"}
    both = {"form": "rgb+pose", **small}
    forms = {"points": {"network": "points"}, "rgb": {"form": "rgb", **small}, "rgb+pose": both}
    forms["rgb+pose_ungated"] = {**both, "parts.gates": "false"}
    return [
        Job(f"upfall-{form}-{protocol}-{seed}", "action_upfall", (str(folder), protocol), settings, views, seed)
        for seed in SEEDS
        for protocol in ("trial", "camera")
        for form, settings in forms.items()
        for views in (clips if form == "points" else clips // 3,)
    ]


def _ablation(chosen: str, clips: int) -> list[Job]:
    """On split 1 with one seed; what the picking left out already is not left out again."""

    def differs(settings: Mapping[str, str]) -> bool:
        return any(PICKS[chosen].get(name) != value for name, value in settings.items())

    return [
        Job(f"without-{number}-{seed}", "action_jhmdb14", ("jhmdb14", "1"), {**PICKS[chosen], **settings}, clips, seed)
        for seed in SEEDS[:1]
        for number, settings in enumerate(ABLATION.values())
        if differs(settings)
    ]


if __name__ == "__main__":
    main()
