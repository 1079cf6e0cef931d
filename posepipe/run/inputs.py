"""What a command line names: which inputs there are, and what each is called."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from posepipe.io.container import without_secrets
from posepipe.io.pictures import is_picture
from posepipe.io.video import is_video

__all__ = ["Job", "plan"]

_NAMED = 5


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
        """What people are told of it: the name of its ``folder``, and the source where that leaves a doubt.

        A pattern that matches nothing is called by itself.
        """
        if "://" not in self.told and self.path is None and glob.has_magic(self.told) and not _matches(self.told):
            return self.told
        alone = not self.base and folder.name == self.name
        return self.name if alone else f"{folder.name} ({self.told})"

    @property
    def path(self) -> Path | None:
        """The input as a path; None for a webcam, a stream or a pattern."""
        path = Path(self.source) if isinstance(self.source, str) else None
        return path if path is not None and path.exists() else None


def plan(inputs: Sequence[str], tell: Callable[[str], None] = lambda line: None) -> list[Job]:
    """One job for each distinct input, in order, with names that do not clash (``clip``, ``clip-2``, ...).

    Folders and patterns of videos are taken apart; folders and patterns of pictures are one input each. What does not
    exist stays in the list, and is refused when it is opened, so that one wrong name does not stop the others. What is
    left out of a folder of videos is told to ``tell``.
    """
    found: list[tuple[str | int, str]] = []
    seen: set[str] = set()
    for source, stem in (pair for item in inputs for pair in _expand(item, tell)):
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


def _expand(item: str, tell: Callable[[str], None]) -> Iterator[tuple[str | int, str]]:
    """Sources of one argument, each with the stem of its name."""
    path = Path(item)
    if path.is_dir():
        videos = [p for p in _children(path) if is_video(p)]
        if videos:
            _tell_others(path, tell)
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
        matches = _matches(item)
        if all(is_picture(m) for m in matches):
            yield item, path.parent.name or "pictures"
        else:
            yield from (pair for m in matches for pair in _expand(str(m), tell))
    else:
        yield item, path.stem


def _matches(pattern: str) -> list[Path]:
    """What a pattern names, in order; ``**`` goes through all folders."""
    return sorted(Path(m) for m in glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob has no absolute patterns


def _tell_others(folder: Path, tell: Callable[[str], None]) -> None:
    """Say what in a folder of videos is neither video nor picture, and which folders in it hold videos."""
    seen = [p for p in _children(folder) if not (p.name.startswith(".") or is_video(p) or is_picture(p))]
    files = [p.name for p in seen if not p.is_dir()]
    folders = [f"{p.name}/" for p in seen if p.is_dir() and any(map(is_video, _children(p)))]
    whys = "no videos by their names", f"a pattern such as '{folder}/**/*.mp4' takes their videos along"
    for names, why in zip((files, folders), whys, strict=True):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            tell(f"left out of {folder}: {', '.join(names[:_NAMED])}{more} ({why})")


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
