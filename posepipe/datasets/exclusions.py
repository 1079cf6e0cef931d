"""Exclusion lists: what an audit, or a person, took out of training, and why.

A list is JSON: ``{"format": "posepipe-exclusions/1", "videos": [{"video": NAME, "reasons": [...]}], "images":
[{"image": NAME, "reasons": [...]}]}``. It may be edited by hand; names are those of the labelled set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from posepipe.datasets.labels import KeypointSet
from posepipe.errors import InputError
from posepipe.io.atomic import atomic_path

__all__ = ["FORMAT", "Exclusions", "read_exclusions", "write_exclusions"]

FORMAT = "posepipe-exclusions/1"


@dataclass(frozen=True)
class Exclusions:
    """Videos and images that no training may see, each with the reasons."""

    videos: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Those of its names that are not among `names`, of videos and images that are there: most likely misspelt."""
        return sorted({*self.videos, *self.images} - set(names))

    def apply(self, labels: KeypointSet) -> KeypointSet:
        """The set without what is excluded."""
        keep = [
            video not in self.videos and image not in self.images
            for video, image in zip(labels.videos, labels.images, strict=True)
        ]
        return labels.of_images(np.array(keep, bool))


def read_exclusions(path: Path) -> Exclusions:
    """Read a list. Raises `InputError` for a file that is missing or not of the form."""
    try:
        table = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the exclusion list {path}: {error}") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        got = table.get("format") if isinstance(table, dict) else type(table).__name__
        raise InputError(f"{path} is not an exclusion list", got=got, expected=f"format {FORMAT!r}")
    return Exclusions(_rows(table, "videos", "video", path), _rows(table, "images", "image", path))


def _rows(table: Mapping[str, object], part: str, key: str, path: Path) -> dict[str, tuple[str, ...]]:
    rows = table.get(part, [])
    found: dict[str, tuple[str, ...]] = {}
    for number, row in enumerate(rows if isinstance(rows, list) else [rows]):
        name = row.get(key) if isinstance(row, dict) else None
        reasons = row.get("reasons", []) if isinstance(row, dict) else None
        if not isinstance(name, str) or not isinstance(reasons, list):
            expected = f'{{"{key}": name, "reasons": [...]}}'
            raise InputError(f"{path}: {part}[{number}] is not an exclusion", got=repr(row)[:80], expected=expected)
        found[name] = tuple(str(reason) for reason in reasons)
    return found


def write_exclusions(path: Path, videos: Mapping[str, Sequence[str]], images: Mapping[str, Sequence[str]]) -> None:
    """Write a list, whole or not at all."""
    table = {
        "format": FORMAT,
        "videos": [{"video": name, "reasons": list(reasons)} for name, reasons in videos.items()],
        "images": [{"image": name, "reasons": list(reasons)} for name, reasons in images.items()],
    }
    with atomic_path(path) as unfinished:
        unfinished.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
