"""Figures of action networks: ``action.py train`` trains, ``action.py table`` prints and writes RESULTS-action.md.

Settings are chosen on clips cut out of the training part of JHMDB's split 1 (`PICKS`), never on a test part, and the
last epoch of every training is the one that is tested.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from action_jobs import Job, read_result, run_jobs
from action_tables import write_tables

#: what was tried on the cut-out clips; each differs from the recipe as it says
PICKS: dict[str, dict[str, str]] = {
    "as the recipe": {},
    "with PCAN's parts": {"parts.fine_prototypes": "true", "parts.coarse": "true", "parts.rectification": "true"},
}
#: each of PCAN's parts, and what else the recipe has, off in turn
ABLATION: dict[str, dict[str, str]] = {
    "nothing": {},
    "coarse head": {"parts.coarse": "false"},
    "prototypes": {
        "parts.fine_prototypes": "false",
        "parts.coarse_prototypes": "false",
        "parts.rectification": "false",
    },
    "tree loss": {"parts.tree": "false"},
    "rectification": {"parts.rectification": "false"},
    "mixup": {"mix.mixup": "0"},
    "label smoothing": {"loss.smoothing": "0"},
    "all of PCAN's parts": {
        "parts.fine_prototypes": "false", "parts.coarse": "false", "parts.rectification": "false",
    },
}  # fmt: skip
SEEDS, SPLITS, FOLDS = (1, 2, 3), ("1", "2", "3"), (1, 2, 3)
#: views of clips that a training looks at, where not as many as the recipe says: half of JHMDB's ...
HALF = 104_000
#: ... and what a CPU has time for on UP-Fall, whose pictures take two hundred times as long as keypoints
UPFALL_POINTS, UPFALL_PICTURES = 26_000, 3_840


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("what", choices=("train", "table"))
    parser.add_argument("--out", type=Path, default=Path("runs/action"), help="folder of the results")
    parser.add_argument("--processes", type=int, default=1, help="trainings at a time")
    parser.add_argument("--upfall", type=Path, metavar="DIR", help="UP-Fall too: what prepare_upfall_actions.py made")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="trainings whose names begin so")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of every training")
    arguments = parser.parse_args()
    if arguments.what == "train":
        _train(arguments)
    write_tables(arguments.out, Path(__file__).with_name("RESULTS-action.md") if arguments.what == "table" else None)


def _train(arguments: argparse.Namespace) -> None:
    """Pick, then train what is tested, the most wanted first. What is there already is not done again."""
    out, machine = arguments.out, dict(pair.split("=", 1) for pair in arguments.set)
    out.mkdir(parents=True, exist_ok=True)

    def run(jobs: list[Job]) -> None:
        wanted = [job for job in jobs if not arguments.only or job.name.startswith(tuple(arguments.only))]
        run_jobs(wanted, out, arguments.processes, machine)

    run(_picks())
    chosen = _chosen(out)
    print(f"picked {chosen!r}", flush=True)
    upfall = _upfall(arguments.upfall) if arguments.upfall else []
    run([*_jhmdb(chosen), *_utkinect(), *_ablation(), *upfall])


def _picks() -> list[Job]:
    return [
        Job(f"pick-{number}-{fold}", "action_jhmdb14", ("jhmdb14", "1"), settings, HALF, fold, fold)
        for fold in FOLDS
        for number, settings in enumerate(PICKS.values())
    ]


def _chosen(out: Path) -> str:
    """The settings with the largest share of right cut-out clips, over the draws on which all settings were tried."""
    paths = {fold: [out / "results" / f"pick-{n}-{fold}.json" for n in range(len(PICKS))] for fold in FOLDS}
    whole = [found for found in paths.values() if all(path.is_file() for path in found)]
    if not whole:
        return next(iter(PICKS))
    shares = np.mean([[read_result(path)["right"]["many"] for path in found] for found in whole], 0)
    return list(PICKS)[int(shares.argmax())]


def _jhmdb(chosen: str) -> list[Job]:
    return [
        Job(f"jhmdb-{split}-{seed}", "action_jhmdb14", ("jhmdb14", split), PICKS[chosen], seed=seed)
        for seed in SEEDS
        for split in SPLITS
    ]


def _utkinect() -> list[Job]:
    return [Job(f"utkinect-{seed}", "action_utkinect", ("utkinect", ""), seed=seed) for seed in SEEDS]


def _upfall(folder: Path) -> list[Job]:
    """Numbers of keypoints, and what takes pictures, which are small and few: 4 a clip, of 64 px."""
    small = {"size": "16", "frames": "16", "rgb_frames": "4"}
    both = {"form": "rgb+pose", **small}
    forms = {"points": {"network": "points"}, "rgb": {"form": "rgb", **small}, "rgb+pose": both}
    forms["rgb+pose_ungated"] = {**both, "parts.gates": "false"}

    def jobs(form: str, protocol: str, seeds: tuple[int, ...], views: int) -> list[Job]:
        data, name = (str(folder), protocol), f"upfall-{form}-{protocol}"
        return [Job(f"{name}-{seed}", "action_upfall", data, forms[form], views, seed) for seed in seeds]

    quick = [job for protocol in ("trial", "camera") for job in jobs("points", protocol, SEEDS, UPFALL_POINTS)]
    slow = [(form, protocol) for protocol in ("trial", "camera") for form in list(forms)[1:]]
    return quick + [job for form, protocol in slow for job in jobs(form, protocol, SEEDS[:1], UPFALL_PICTURES)]


def _ablation() -> list[Job]:
    """On split 1 with one seed, from PCAN with all its parts."""
    whole = PICKS["with PCAN's parts"]
    return [
        Job(f"without-{number}", "action_jhmdb14", ("jhmdb14", "1"), {**whole, **settings}, HALF)
        for number, settings in enumerate(ABLATION.values())
    ]


if __name__ == "__main__":
    main()
