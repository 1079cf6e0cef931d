"""What a set of labels holds: hidden and missing joints, people a picture, sizes, videos; as tables and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.visibility import VisibilityTable
from posepipe.errors import OutputError
from posepipe.io.atomic import atomic_path
from posepipe.skeleton import COCO17

__all__ = ["JointCounts", "Stats", "plot_joints", "set_stats", "table_stats"]

_HEIGHTS = (32, 64, 128, 256, 512)
_CROWDED = 6


@dataclass(frozen=True, eq=False)
class JointCounts:
    """How often each of K joints is missing (v = 0), hidden (v = 1) and seen (v = 2), of people with any label.

    ``counts`` is (3,K) int64; ``people`` their number.
    """

    name: str
    joints: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, name: str, joints: tuple[str, ...], visibility: NDArray[np.int8]) -> JointCounts:
        """Count the rows of (P,K) visibilities that have a labelled joint."""
        labelled = visibility[(visibility > 0).any(1)]
        return cls(name, joints, np.array([(labelled == v).sum(0) for v in range(3)], np.int64))

    @property
    def people(self) -> int:
        """Number of people with a labelled joint."""
        return int(self.counts[:, 0].sum())

    def table(self) -> str:
        """The counts and shares as a table for people."""
        total = max(self.people, 1)
        head = f"{'joint':<16}{'missing v=0':>18}{'occluded v=1':>18}{'seen v=2':>18}"
        lines = [f"{self.name}: {self.people} people with a labelled joint", head]
        for k, joint in enumerate(self.joints):
            lines.append(f"{joint:<16}" + "".join(f"{n:>10} {n / total:7.2%}" for n in self.counts[:, k].tolist()))
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The counts for a JSON file."""
        missing, occluded, seen = self.counts.tolist()
        rows = {"joints": list(self.joints), "missing": missing, "occluded": occluded, "seen": seen}
        return {"name": self.name, "people": self.people, **rows}


@dataclass(frozen=True, eq=False)
class Stats:
    """Joint counts (one for each part), further rows of a table (title, cells), and rows by video."""

    joints: tuple[JointCounts, ...]
    rows: tuple[tuple[str, str], ...] = ()
    videos: tuple[dict[str, Any], ...] = ()

    def table(self) -> str:
        """Everything as text for people."""
        blocks = [f"{title:<24}{cells}" for title, cells in self.rows]
        text = "\n".join(blocks) + "\n\n" if blocks else ""
        text += "\n\n".join(counts.table() for counts in self.joints)
        if self.videos:
            titles = ("frames", "people", "a frame", "missing", "height px", "confidence")
            head = f"\n\n{'video':<32}" + "".join(f"{title:>11}" for title in titles)
            text += head + "".join(
                f"\n{v['video'][:31]:<32}{v['frames']:>11}{v['people']:>11}{v['people_a_frame']:>11.2f}"
                f"{v['missing']:>11.2%}{v['median_height']:>11.0f}{v['confidence']:>11.3f}"
                for v in self.videos
            )
        return text

    def as_dict(self) -> dict[str, Any]:
        """Everything for a JSON file (format posepipe-stats/1)."""
        parts = [counts.as_dict() for counts in self.joints]
        found = {"rows": dict(self.rows), "parts": parts, "videos": list(self.videos)}
        return {"format": "posepipe-stats/1"} | found


def table_stats(table: VisibilityTable, name: str) -> Stats:
    """Joint counts of a visibility table: its training and its validation people."""
    parts = ((f"{name} train", ~table.is_val), (f"{name} val", table.is_val))
    counts = tuple(JointCounts.of(n, COCO17.keypoints, table.visibility[m]) for n, m in parts if m.any())
    return Stats(counts)


def set_stats(people: KeypointSet) -> Stats:
    """Statistics of a set; crowds and people without a labelled joint count only where it says so."""
    usable = ~people.iscrowd & (people.labelled > 0)
    counts = JointCounts.of(people.name, people.skeleton.keypoints, people.visibility[usable])
    rows = [
        ("pictures", f"{len(people.images)} ({len(people.video_names())} videos)"),
        ("people", f"{len(people)}: {int(usable.sum())} with joints, {int(people.iscrowd.sum())} crowds"),
        ("people a picture", _people_a_picture(people)),
        ("box height px", _heights(people, usable)),
        ("joints a person", _spread(people.labelled[usable])),
        ("area", f"measured for {int(people.area_known.sum())}, estimated for {int((~people.area_known).sum())}"),
        ("joint confidence", _spread(people.score[people.visibility > 0], 3)),
    ]
    return Stats((counts,), tuple(rows), tuple(_video_rows(people, usable)))


def _people_a_picture(people: KeypointSet) -> str:
    a_picture = np.bincount(people.image[~people.iscrowd], minlength=len(people.images))
    shares = [f"{n}: {int((a_picture == n).sum())}" for n in range(_CROWDED)]
    return ", ".join([*shares, f"{_CROWDED} or more: {int((a_picture >= _CROWDED).sum())}"])


def _heights(people: KeypointSet, usable: NDArray[np.bool_]) -> str:
    height = people.boxes[usable, 3] - people.boxes[usable, 1]
    edges = (0, *_HEIGHTS, np.inf)
    names = (
        f"< {_HEIGHTS[0]}",
        *(f"{a}-{b}" for a, b in pairwise(_HEIGHTS)),
        f">= {_HEIGHTS[-1]}",
    )
    counts = (int(((height >= a) & (height < b)).sum()) for a, b in pairwise(edges))
    return ", ".join(f"{n}: {c}" for n, c in zip(names, counts, strict=True)) + f"; {_spread(height, 0)}"


def _spread(values: NDArray[Any], digits: int = 1) -> str:
    if not len(values):
        return "none"
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"median {middle:.{digits}f}, 5 % {low:.{digits}f}, 95 % {high:.{digits}f}"


def _video_rows(people: KeypointSet, usable: NDArray[np.bool_]) -> list[dict[str, Any]]:
    names = people.video_names()
    place = {name: i for i, name in enumerate(names)}
    of_image = np.array([place.get(video, -1) for video in people.videos], np.int64)
    of_person = np.where(usable, of_image[people.image], -1)
    order = np.argsort(of_person, kind="stable")
    edges = np.searchsorted(of_person[order], np.arange(len(names) + 1))
    frames = np.bincount(of_image[of_image >= 0], minlength=len(names))
    found = []
    for i, name in enumerate(names):
        rows = order[edges[i] : edges[i + 1]]
        labelled = people.visibility[rows] > 0
        height = people.boxes[rows, 3] - people.boxes[rows, 1]
        found.append(
            {
                "video": name,
                "frames": int(frames[i]),
                "people": len(rows),
                "people_a_frame": round(len(rows) / max(int(frames[i]), 1), 4),
                "missing": round(float(1 - labelled.mean()), 6) if len(rows) else 0.0,
                "median_height": round(float(np.median(height)), 2) if len(rows) else 0.0,
                "confidence": round(float(people.score[rows][labelled].mean()), 6) if labelled.any() else 0.0,
            }
        )
    return found


_INK = (40, 40, 40)
# Missing and occluded, told apart by people who do not see colours too: dark blue and light orange (BGR).
_COLOURS = ((150, 90, 30), (90, 170, 250))
_WIDTH, _ROW, _LEFT, _TOP = 900, 26, 190, 70


def plot_joints(parts: Sequence[JointCounts], path: Path) -> None:
    """Draw the shares of missing and occluded joints as horizontal bars, one chart a part, into a PNG file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    picture = np.concatenate([_chart(part) for part in parts])
    done, data = cv2.imencode(".png", picture)
    if not done:
        raise OutputError(f"cannot draw {path}", hint="Name a PNG file")
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(data.tobytes())


def _chart(part: JointCounts) -> NDArray[np.uint8]:
    shares = part.counts[:2] / max(part.people, 1)
    span = _WIDTH - _LEFT - 130
    scale = span / max(float(shares.sum(0).max()), 0.05)
    chart = np.full((_TOP + _ROW * len(part.joints) + 20, _WIDTH, 3), 255, np.uint8)
    _text(chart, f"{part.name}: {part.people} people", (12, 24), 0.55)
    for i, name in enumerate(("missing (v = 0)", "occluded (v = 1)")):
        left = _LEFT + 190 * i
        cv2.rectangle(chart, (left, 40), (left + 14, 54), _COLOURS[i], -1)
        _text(chart, name, (left + 22, 53), 0.45)
    for k, joint in enumerate(part.joints):
        y: int = _TOP + _ROW * k
        x: float = _LEFT
        _text(chart, joint[:22], (12, y + 15), 0.45)
        for share, colour in zip(shares[:, k].tolist(), _COLOURS, strict=True):
            cv2.rectangle(chart, (round(x), y + 2), (round(x + share * scale), y + _ROW - 6), colour, -1)
            x += share * scale
        _text(chart, f"{shares[0, k]:.1%} + {shares[1, k]:.1%}", (round(x) + 8, y + 15), 0.42)
    return chart


def _text(chart: NDArray[np.uint8], text: str, place: tuple[int, int], size: float) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(chart, plain, place, cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
