"""From a network's confidences to labels: which joints count as labelled, and what each threshold would drop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posepipe.datasets.labels import KeypointSet
from posepipe.errors import UsageError
from posepipe.skeleton import Skeleton

__all__ = ["STEPS", "ThresholdReport", "threshold_labels", "threshold_report"]

#: the thresholds of the report
STEPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, eq=False)
class ThresholdReport:
    """What thresholds on the confidence drop.

    Attributes
    ----------
    joints
        K names.
    labelled
        (K,) int64 joints with a confidence above 0.
    steps
        T thresholds.
    dropped
        (T,K) int64 joints below each threshold.
    people_lost
        (T,) int64 people left without any joint.
    applied, applied_dropped, applied_people_lost
        (K,) the thresholds that were used, (K,) int64 what they dropped, and the people they left without a joint.
    """

    joints: tuple[str, ...]
    labelled: NDArray[np.int64]
    steps: tuple[float, ...]
    dropped: NDArray[np.int64]
    people_lost: NDArray[np.int64]
    applied: NDArray[np.float64]
    applied_dropped: NDArray[np.int64]
    applied_people_lost: int

    def table(self) -> str:
        """The report as a table for people: shares dropped by joint and threshold."""
        head = f"{'joint':<16}{'labelled':>9}" + "".join(f"{'<' + format(step, '.1f'):>7}" for step in self.steps)
        lines = ["share of labelled joints that a threshold drops", head + f"{'used':>7}{'drops':>7}"]
        for k, joint in enumerate(self.joints):
            count = max(int(self.labelled[k]), 1)
            shares = "".join(f"{n / count:7.1%}" for n in self.dropped[:, k])
            used = f"{self.applied[k]:7.2f}{self.applied_dropped[k] / count:7.1%}"
            lines.append(f"{joint:<16}{self.labelled[k]:>9}{shares}{used}")
        lost = "".join(f"{n:>7}" for n in self.people_lost)
        lines.append(f"{'people left without a joint':<25}{lost}{'':7}{self.applied_people_lost:>7}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The report for a JSON file (format posepipe-thresholds/1)."""
        return {
            "format": "posepipe-thresholds/1",
            "joints": list(self.joints),
            "labelled": self.labelled.tolist(),
            "thresholds": list(self.steps),
            "dropped": self.dropped.tolist(),
            "people_lost": self.people_lost.tolist(),
            "applied": [round(float(t), 4) for t in self.applied],
            "applied_dropped": self.applied_dropped.tolist(),
            "applied_people_lost": self.applied_people_lost,
        }


def threshold_labels(
    people: KeypointSet, thresholds: float | Mapping[str, float] | ArrayLike
) -> tuple[KeypointSet, ThresholdReport]:
    """Joints below their threshold become not labelled; what is kept stays as it is.

    Parameters
    ----------
    people
        A set with confidences (labels by people have confidence 1 and always stay).
    thresholds
        One number for all joints, a mapping of joint names to numbers (joints that it does not name: 0), or (K,)
        numbers; in [0,1].

    Raises
    ------
    UsageError
        A threshold is out of range, or belongs to a joint that the skeleton does not have.
    """
    levels = _levels(people.skeleton, thresholds)
    report = threshold_report(people, levels)
    keep = (people.score >= levels) & (people.visibility > 0)
    kept = replace(
        people,
        xy=np.where(keep[..., None], people.xy, 0),
        visibility=np.where(keep, people.visibility, 0),
        score=np.where(keep, people.score, 0),
    )
    return kept, report


def threshold_report(people: KeypointSet, applied: NDArray[np.float64]) -> ThresholdReport:
    """What each of `STEPS` would drop, and what the ``applied`` (K,) thresholds drop."""
    labelled = people.visibility > 0
    had = labelled.any(1)
    below = [labelled & (people.score < step) for step in (*STEPS, applied)]
    lost = [int((had & ~(labelled & ~b).any(1)).sum()) for b in below]
    return ThresholdReport(
        joints=people.skeleton.keypoints,
        labelled=labelled.sum(0).astype(np.int64),
        steps=STEPS,
        dropped=np.array([b.sum(0) for b in below[:-1]], np.int64),
        people_lost=np.array(lost[:-1], np.int64),
        applied=np.asarray(applied, np.float64),
        applied_dropped=below[-1].sum(0).astype(np.int64),
        applied_people_lost=lost[-1],
    )


def _levels(skeleton: Skeleton, thresholds: float | Mapping[str, float] | ArrayLike) -> NDArray[np.float64]:
    if isinstance(thresholds, Mapping):
        unknown = sorted(set(thresholds) - set(skeleton.keypoints))
        if unknown:
            raise UsageError(f"no such joint: {unknown[0]}", expected=f"one of {', '.join(skeleton.keypoints)}")
        thresholds = [float(thresholds.get(name, 0.0)) for name in skeleton.keypoints]
    levels = np.asarray(thresholds, np.float64)
    if levels.shape not in ((), (len(skeleton),)) or not ((levels >= 0) & (levels <= 1)).all():
        raise UsageError("thresholds of joints", got=thresholds, expected=f"one or {len(skeleton)} numbers from 0 to 1")
    return np.broadcast_to(levels, (len(skeleton),))
