"""A set of clips that a small network learns at once: a hand goes round, up and down, or nowhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from posepipe.datasets.actions import ActionClasses, ActionSample, ActionSet
from posepipe.skeleton import named_skeleton

SKELETON = named_skeleton(
    "tiny",
    ("nose", "mid_hip", "left_wrist", "right_wrist"),
    (("nose", "mid_hip"), ("nose", "left_wrist"), ("nose", "right_wrist")),
)
CLASSES = ActionClasses(("circle", "still", "up"), ("moving", "resting"), (0, 1, 0))


def clip(label: int, seed: int, part: str = "train", frames: int = 20, **more: Any) -> ActionSample:
    """One person at a random place whose left hand does what the class says."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 4 * np.pi, frames) + rng.uniform(0, 6)
    hand = np.stack([np.cos(turn) * (label == 0), np.sin(turn) * (label != 1)], -1) * 30
    still = np.array([[50, 10], [50, 110], [10, 60], [90, 60]], np.float32)
    xy = np.repeat(still[None], frames, 0) + rng.uniform(0, 100, 2).astype(np.float32)
    xy[:, 2] += hand
    score = np.ones((1, frames, 4), np.float32)
    return ActionSample(f"{part}{seed}", label, xy[None], score, np.arange(frames), part=part, **more)


def tiny_set(each: int = 8, held: int = 4) -> ActionSet:
    """`each` clips of every class to learn from and `held` to test on."""
    rows = [clip(label, 10 * n + label) for n in range(each) for label in range(3)]
    rows += [clip(label, 1000 + 10 * n + label, "test") for n in range(held) for label in range(3)]
    return ActionSet("tiny", SKELETON, CLASSES, tuple(rows))
