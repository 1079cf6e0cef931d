"""Actions in long recordings of UTKinect, from poses: recipe ``utkinect_tad`` beside baselines that learn no sequence.

Run by ``python eval/video_systems.py tad``, or alone: ``python eval/video_tad.py [RUN_DIR]`` prints the section.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from action_run import ACTIVITIES, run_all, seconds_of, upfall
from torch import nn
from video_tad_baselines import LinearWindows, calendar

from posepipe.datasets.temporal import Recording, WindowSource, rearranged
from posepipe.evaluation.localisation import Labelled, LocalisationScore, activitynet_score, told_apart, told_right
from posepipe.io.streams import pose_streams
from posepipe.models.adatad import load_temporal_detector
from posepipe.skeleton import COCO17
from posepipe.stages.action_spans import OnnxSpans
from posepipe.training.plan import find_recipe, make_plan, train
from posepipe.training.tad import TadModule, truth_of
from posepipe.training.tad_data import SearchWindows, read_set, search_collate
from posepipe.training.tad_export import export_tad
from posepipe.training.tad_recipe import TadRecipe

RECIPE = "utkinect_tad"
_HEAD = "| | " + " | ".join(f"tIoU {t:g}" for t in (0.3, 0.4, 0.5, 0.6, 0.7)) + " | average |"

_SAID = """People 1, 3, 5, 7, 9 train, 2, 4, 6, 8, 10 test; 12 keypoints of the Kinect's skeletons, projected; 15 steps
a second. The weights are those of the last epoch, and nothing was chosen by the test people. Everybody does the ten
acts in one order: the calendar shows how far that alone leads, and "reordered" is the same test with the acts of every
recording in another order (one draw, seed 1), which the calendar cannot know."""


_UPFALL = """The same network in the pipeline (video, detector, pose network, tracker), on all clips of UP-Fall, which
is another set, another room, other cameras: of each activity, how many clips hold a span of each act. Only walking and
picking up are in both."""


class Reordered:
    """Data of recordings whose actions were put in another order."""

    def __init__(self, source: WindowSource, places: Sequence[np.ndarray]) -> None:
        self.source, self.places = source, places

    def at(self, index: int, places: np.ndarray, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Data at places of the new order."""
        old = self.places[index]
        return self.source.at(index, np.interp(places, np.arange(len(old)), old), rng)


def reordered(recordings: Sequence[Recording], source: WindowSource) -> tuple[list[Recording], Reordered]:
    """Recordings with their actions in another order, the same on every run."""
    rng = np.random.default_rng(1)
    made = [rearranged(recording, rng) for recording in recordings]
    return [recording for recording, _ in made], Reordered(source, [places for _, places in made])


def detected(
    checkpoint: Path, recipe: TadRecipe, classes: Sequence[str], tested: Sequence[Recording], source: WindowSource
) -> Labelled:
    """What a trained detector finds."""
    network = load_temporal_detector(checkpoint, heads=recipe.heads, window=recipe.attention)
    module = TadModule(network, recipe, classes, tested).eval()
    windows = SearchWindows(tested, source, recipe.window, recipe.overlap)
    with torch.no_grad():
        for number in range(len(windows)):
            module.validation_step(search_collate([windows[number]]), number)
    return module.predictions()


def told_of_clips(runs: Path, checkpoint: Path, recipe: TadRecipe, classes: Sequence[str]) -> str:
    """What is told of clips of another set, through the whole pipeline: how many of each activity hold each act."""
    exported = runs.with_name("utkinect_tad.onnx")
    if not exported.is_file() or exported.stat().st_mtime < checkpoint.stat().st_mtime:
        export_tad(checkpoint, recipe, classes, exported)
    network = OnnxSpans(exported, COCO17)
    clips: Counter[str] = Counter()
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for records in run_all([clip for trial in "123" for clip in upfall(trial)], runs):
        name = records.path.parent.name
        activity = ACTIVITIES[int(name.split("_")[0].removeprefix("Activity")) - 1]
        spans = [span for stream in pose_streams(records, records.skeleton) for span in network.recognise(stream)]
        clips[activity] += 1
        held[activity].update(seconds_of(records, spans, name[-1]).keys())
    shown = [label for label in classes if any(counter[label] for counter in held.values())]
    lines = [_UPFALL, "", f"| UP-Fall | clips | {' | '.join(shown)} |", "|---|" + "---|" * (len(shown) + 1)]
    lines += [
        f"| {activity} | {count} | " + " | ".join(str(held[activity][label] or "") for label in shown) + " |"
        for activity, count in clips.items()
    ]
    return "\n".join(lines)


def parameters(network: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


def row(name: str, score: LocalisationScore) -> str:
    """A row of the table, per cent."""
    return f"| {name} | " + " | ".join(f"{100 * value:.1f}" for value in (*score.mean, score.average)) + " |"


def section(folder: Path) -> str:
    """Train (or go on, or only measure), and tell it as Markdown."""
    plan = make_plan(find_recipe(RECIPE), {})
    recipe: TadRecipe = plan.phases[0]
    checkpoint = train(plan, folder / RECIPE)
    found = read_set(recipe)
    lines = [
        "## Actions in long recordings",
        "",
        f"`posepipe train {RECIPE}`. {_SAID}",
        "",
        _HEAD,
        "|---|" + "---|" * 6,
    ]
    scores: dict[str, LocalisationScore] = {}
    said: list[str] = []
    orders = {"": (found.tested, found.test_source), ", reordered": reordered(found.tested, found.test_source)}
    linear = LinearWindows(found.training, found.source, len(found.classes))
    for order, (tested, source) in orders.items():
        truth = truth_of(tested, found.classes)
        for name, guess in {
            "ActionFormer on poses": detected(checkpoint, recipe, found.classes, tested, source),
            "linear model on sliding windows": linear.find(tested, source, found.classes),
            "calendar: each act at its mean place": calendar(found.training, tested, found.classes),
        }.items():
            scores[name + order] = activitynet_score(truth, guess, recipe.tiou)
            lines.append(row(name + order, scores[name + order]))
            if guess.score.size and name.startswith("ActionFormer"):
                shares = told_right(truth, told_apart(guess, recipe.told_score), 0.5)
                said.append(f"{order.removeprefix(', ') or 'as recorded'}: {shares[0]:.2f} and {shares[1]:.2f}")
    lines += [
        "",
        f"Of the spans that a pipeline tells (score at least {recipe.told_score:g}, none at the same time), the",
    ]
    lines += [f"share that is right at tIoU 0.5, and of the acts the share that is told: {'; '.join(said)}."]
    lines += ["", _by_class(scores)]
    count = parameters(load_temporal_detector(checkpoint, heads=recipe.heads))
    tested_acts = sum(len(recording.labels) for recording in found.tested)
    lines += ["", told_of_clips(folder / "upfall", checkpoint, recipe, found.classes)]
    lines += ["", f"{count:,} parameters; {len(found.tested)} test recordings with {tested_acts} acts."]
    return "\n".join(lines)


def _by_class(scores: Mapping[str, LocalisationScore]) -> str:
    """Average precision at tIoU 0.5 of each act."""
    shown = {name: score for name, score in scores.items() if "calendar" not in name}
    lines = ["| average precision at tIoU 0.5 | " + " | ".join(shown) + " |", "|---|" + "---|" * len(shown)]
    for label in next(iter(shown.values())).precision:
        values = [score.precision[label][score.thresholds.index(0.5)] for score in shown.values()]
        lines.append(f"| {label} | " + " | ".join(f"{100 * value:.1f}" for value in values) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(section(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/video")))
