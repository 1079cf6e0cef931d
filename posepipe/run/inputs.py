"""What a command line names: which inputs there are, and what each is called."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from posepipe.io.container import without_secrets
from posepipe.io.pictures import is_picture

__all__ = ["Job", "plan"]

_VIDEO = frozenset(
    ".3gp .avi .flv .gif .m2ts .m4v .mjpeg .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm .wmv".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Job:
    """One input.

    Attributes
    ----------
    name
        Of its folder in the output.
    source
        As ``open_video`` takes it.
    base
        Where another input has the same name: that name, without the number that keeps them apart.
    """

    name: str
    source: str | int
    base: str = ""

    @property
    def told(self) -> str:
        """The source as people are told of it: as they named it, an address without its secrets."""
        if isinstance(self.source, int):
            return self.name
        return without_secrets(self.source) if "://" in self.source else self.source

    def label(self, folder: Path) -> str:
        """What people are told of it: the name of its ``folder``, and the source where that leaves a doubt."""
        alone = not self.base and folder.name == self.name
        return self.name if alone else f"{folder.name} ({self.told})"

    @property
    def path(self) -> Path | None:
        """The input as a path; None for a webcam, a stream or a pattern."""
        path = Path(self.source) if isinstance(self.source, str) else None
        return path if path is not None and path.exists() else None


def plan(inputs: Sequence[str]) -> list[Job]:
    """One job for each distinct input, in order, with names that do not clash (``clip``, ``clip-2``, ...).

    Folders and patterns of videos are taken apart; folders and patterns of pictures are one input each. What does not
    exist stays in the list, and is refused when it is opened, so that one wrong name does not stop the others.
    """
    found: list[tuple[str | int, str]] = []
    seen: set[str] = set()
    for source, stem in (pair for item in inputs for pair in _expand(item)):
        key = str(Path(source).resolve()) if isinstance(source, str) and Path(source).exists() else str(source)
        if key in seen:
            continue
        seen.add(key)
        found.append((source, re.sub(r"[^\w.-]+", "_", stem).strip("._") or "video"))
    jobs: list[Job] = []
    names: set[str] = set()
    alike = Counter(base.casefold() for _, base in found)
    for source, base in found:
        number, name = 1, base
        # Compared without case: some file systems hold clip and Clip to be one.
        while name.casefold() in names:
            number += 1
            name = f"{base}-{number}"
        names.add(name.casefold())
        jobs.append(Job(name, source, base if alike[base.casefold()] > 1 or name != base else ""))
    return jobs


def _expand(item: str) -> Iterator[tuple[str | int, str]]:
    """Sources of one argument, each with the stem of its name."""
    path = Path(item)
    if path.is_dir():
        videos = [p for p in _children(path) if p.suffix.lower() in _VIDEO and not p.name.startswith(".")]
        yield from ((str(v), v.stem) for v in videos)
        if not videos:
            yield item, path.resolve().name
    elif path.exists():
        yield item, path.stem
    elif item.isascii() and item.isdigit():
        yield int(item), f"webcam{int(item)}"
    elif "://" in item:
        yield item, item.split("://", 1)[1].split("?")[0].rpartition("@")[2]
    elif glob.has_magic(item):
        matches = sorted(Path(m) for m in glob.glob(item, recursive=True))  # noqa: PTH207 - Path.glob has no absolute patterns
        if all(is_picture(m) for m in matches):
            yield item, path.parent.name or "pictures"
        else:
            yield from (pair for m in matches for pair in _expand(str(m)))
    else:
        yield item, path.stem


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
