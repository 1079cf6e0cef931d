"""Tables of `eval/action.py`, from what its trainings left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.evaluation.action import confusion, score_actions
from posepipe.io.atomic import atomic_path
from posepipe.report import table, versions

__all__ = ["write_tables"]

_LOOKS = {"one": "one view", "many": "10 views and mirrors"}
_INTRODUCTION = """Written by `python eval/action.py table`; `make action` trains and writes it. Shares are of clips,
in per cent. Of every training the last epoch is tested; settings were chosen on clips cut out of the training part of
JHMDB's split 1 (first table), and nothing was chosen on a test part. Where several seeds were run, the mean is followed
by the lowest and the highest; "together" averages the probabilities of their networks."""
_JHMDB = """The 14 classes of the shared joint files (those whose names are one word), three splits. Beside them: a
support vector machine on resampled joints 75.0, 74.4, 72.6; DD-Net (1.79 M parameters, 400 epochs, last one) 86.4,
79.0, 81.7, mean 82.3."""
_UTKINECT = """Odd subjects train (100 clips), even ones test (99); joints with depth are projected, in training
from angles that vary. A support vector machine on these joints: 94.9."""
_UPFALL = """66 clips of one subject, 11 activities; poses by posepipe's own detector, pose network and tracker, of
whom takes up most of the picture. `trial`: trials 1 and 2 train, 3 is tested (22 clips). `camera`: camera 1 trains,
camera 2 is tested (33 clips). Pictures: 24 frames a clip, four of them a view, of 64 px. Five of the activities are
falls that differ in how one falls."""
_ABLATION = """JHMDB, split 1, seed 1, half of the recipe's views: PCAN with all its parts, and each off in turn;
the columns show what looking more often at test time is worth. 176 clips and one seed: a difference of less than about
three clips (1.7) says nothing. (The gates between the streams: see UP-Fall, `rgb+pose_ungated`.)"""


def write_tables(out: Path, target: Path | None = None) -> None:
    """Print the tables of a folder of results and write them to `target` (eval/RESULTS-action.md)."""
    runs = _Runs(out)
    parts = [("What was tried on cut-out clips", _picks(runs), "")]
    parts += [(f"JHMDB, {look}", _jhmdb(runs, key), _JHMDB if key == "one" else "") for key, look in _LOOKS.items()]
    parts += [
        ("UTKinect-Action3D", _seeds(runs, "utkinect", "utkinect"), _UTKINECT),
        ("UP-Fall", _upfall(runs), _UPFALL),
    ]
    parts += [("Without a part", _ablation(runs), _ABLATION)]
    text = [f"# Actions\n\n{_INTRODUCTION}\n\n{_made(runs)}\n"]
    for title, (head, rows), about in parts:
        if not rows:
            continue
        print(f"\n{title}\n{table(head, rows)}")
        text.append(f"## {title}\n\n{about}\n" if about else f"## {title}\n")
        text.append(_markdown(head, rows))
    text.append(_confused(runs))
    if target is not None:
        with atomic_path(target) as unfinished:
            unfinished.write_text("\n".join(text), encoding="utf-8")


class _Runs:
    """Results by the names of their jobs."""

    def __init__(self, out: Path) -> None:
        self.about: dict[str, Any] = {}
        self.said: dict[str, dict[str, NDArray[Any]]] = {}
        for path in sorted((out / "results").glob("*.json")):
            self.about[path.stem] = json.loads(path.read_text("utf-8"))
            with np.load(out / "said" / f"{path.stem}.npz", allow_pickle=False) as data:
                self.said[path.stem] = dict(data)

    def share(self, name: str, what: str) -> float:
        """Per cent of right clips by ``LOOK_STREAM``."""
        said = self.said[name]
        return 100 * score_actions(said[what], said["label"]).top1

    def among(self, prefix: str) -> list[str]:
        """Jobs whose names begin so."""
        return [name for name in self.about if name.startswith(prefix)]

    def together(self, names: Sequence[str], what: str) -> float:
        """Per cent of right clips of several networks' mean."""
        mean = np.mean([self.said[name][what] for name in names], 0)
        return 100 * score_actions(mean, self.said[names[0]]["label"]).top1


_Table = tuple[tuple[str, ...], list[tuple[str, ...]]]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.1f} to {max(values):.1f})"


def _picks(runs: _Runs) -> _Table:
    from action import PICKS

    rows = []
    for number, name in enumerate(PICKS):
        found = {job.rpartition("-")[2]: runs.share(job, "many_fused") for job in runs.among(f"pick-{number}-")}
        if found:
            shares = [f"{found[draw]:.1f}" if draw in found else "" for draw in "123"]
            views = f"{runs.about[f'pick-{number}-{min(found)}']['views']:,}"
            rows.append((name, views, *shares, f"{np.mean(list(found.values())):.1f}"))
    return ("settings", "views", "draw 1", "draw 2", "draw 3", "mean"), rows


def _jhmdb(runs: _Runs, look: str) -> _Table:
    rows = []
    splits = [[runs.share(n, f"{look}_fused") for n in runs.among(f"jhmdb-{split}-")] for split in "123"]
    if all(splits):
        by_seed = [float(np.mean(values)) for values in zip(*splits, strict=False)]
        rows.append(("one", *map(_spread, splits), _spread(by_seed)))
    together = [runs.among(f"jhmdb-{split}-") for split in "123"]
    if all(len(names) > 1 for names in together):
        shares = [runs.together(names, f"{look}_fused") for names in together]
        name = f"{len(together[0])} seeds together"
        rows.append((name, *(f"{share:.1f}" for share in shares), f"{np.mean(shares):.1f}"))
    return ("networks", "split 1", "split 2", "split 3", "mean of the splits"), rows


def _seeds(runs: _Runs, prefix: str, name: str) -> _Table:
    names = runs.among(f"{prefix}-")
    shares = [_spread([runs.share(n, f"{look}_fused") for n in names]) for look in _LOOKS]
    rows = [(name, *shares, f"{runs.together(names, 'many_fused'):.1f}")] if names else []
    return ("set", *_LOOKS.values(), "together"), rows


def _upfall(runs: _Runs) -> _Table:
    rows = []
    for protocol in ("trial", "camera"):
        for form in ("points", "rgb", "rgb+pose", "rgb+pose_ungated"):
            names = runs.among(f"upfall-{form}-{protocol}-")
            if not names:
                continue
            streams = ("rgb", "pose", "fused") if "+" in form else ("fused",)
            alone = [_spread([runs.share(n, f"many_{s}") for n in names]) for s in streams]
            coarse = _spread([_coarse(runs, n) for n in names])
            rows.append((protocol, form, *(alone[:-1] or ["", ""]), alone[-1], coarse))
    return ("protocol", "form", "its rgb stream", "its pose stream", "in all", "coarse classes (3)"), rows


def _coarse(runs: _Runs, name: str) -> float:
    from action_jobs import coarse_labels

    said = runs.said[name]
    return 100 * score_actions(said["many_fused_coarse"], coarse_labels(name, said["label"])).top1


def _ablation(runs: _Runs) -> _Table:
    from action import ABLATION

    rows = []
    for number, name in enumerate(ABLATION):
        job = f"without-{number}"
        if job in runs.about:
            shares = [f"{runs.share(job, f'{look}_fused'):.1f}" for look in _LOOKS]
            rows.append((name, *shares))
    return ("off", *_LOOKS.values()), rows


def _confused(runs: _Runs) -> str:
    """Which classes of JHMDB are taken for one another, over all splits and seeds."""
    from posepipe.datasets.action_classes import JHMDB14

    names = runs.among("jhmdb-")
    if not names:
        return ""
    matrix = sum(confusion(runs.said[n]["many_fused"].argmax(1), runs.said[n]["label"], 14) for n in names)
    wrong = np.array(matrix) * (1 - np.eye(14, dtype=np.int64))
    worst = np.argsort(wrong, axis=None)[::-1][:8]
    pairs = [(divmod(int(i), 14), int(wrong.flat[i])) for i in worst]
    lines = [f"{JHMDB14.names[a]} for {JHMDB14.names[b]} {n}" for (a, b), n in pairs if n]
    return f"Taken most often on JHMDB ({len(names)} networks, each on its split): {', '.join(lines)}.\n"


def _made(runs: _Runs) -> str:
    machines = sorted({str(about["device"]) for about in runs.about.values()})
    kinds = {re.sub(r"(-[123])+$", "", name): about["views"] for name, about in runs.about.items()}
    views = ", ".join(
        f"{name} {count:,}" for name, count in sorted(kinds.items()) if not name.startswith(("pick", "without"))
    )
    packages = ", ".join(f"{name} {number}" for name, number in versions(("torch", "lightning", "numpy")).items())
    return f"{date.today():%Y-%m-%d} (UTC), {', '.join(machines)}; {packages}. Views a training looked at: {views}."


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
