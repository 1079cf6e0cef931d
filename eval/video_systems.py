"""Whole videos and long ones: each system's fast recipe, trained on the real clips at hand, beside named baselines.

``python eval/video_systems.py [NAME ...] [--runs DIR] [-o FILE.md]``: of all systems, or of those named, prints what it
learnt. Trainings lie in the run folder: one that was broken off goes on, one that is finished is only measured. With
``-o`` the file's sections of those systems are replaced; the others stay.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import video_tad
import video_tsm
import video_two_stream

from posepipe.io.atomic import atomic_path
from posepipe.report import versions

#: name to what trains below a folder, measures, and tells it as a section of Markdown
SYSTEMS: dict[str, Callable[[Path], str]] = {
    "two-stream": video_two_stream.section,
    "tsm": video_tsm.section,
    "tad": video_tad.section,
}
_PACKAGES = ("torch", "torchvision", "timm", "lightning", "numpy", "opencv-python-headless", "av")


def main() -> None:
    """Measure the systems asked for."""
    parser = argparse.ArgumentParser(description="The video systems on real clips.", allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SYSTEMS)} (default: all)")
    parser.add_argument("--runs", type=Path, default=Path("runs/video"), metavar="DIR", help="folder of the trainings")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE.md", help="replace the sections of this file as well"
    )
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in SYSTEMS]:
        parser.error(f"there is no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
    for name in arguments.names or SYSTEMS:
        told = SYSTEMS[name](arguments.runs).strip()
        print(told + "\n", flush=True)
        if arguments.output:
            write_section(arguments.output, name, told)


def write_section(path: Path, name: str, told: str) -> None:
    """Put a section between its marks ``<!-- NAME -->`` and ``<!-- /NAME -->``, or at the end of the file."""
    made = ", ".join(f"{package} {number}" for package, number in versions(_PACKAGES).items())
    section = f"<!-- {name} -->\n{told}\n\nMade with {made}.\n<!-- /{name} -->\n"
    text = path.read_text("utf-8") if path.is_file() else ""
    marks = re.compile(rf"<!-- {re.escape(name)} -->\n.*?<!-- /{re.escape(name)} -->\n", re.DOTALL)
    text = marks.sub(lambda _: section, text) if marks.search(text) else f"{text.rstrip()}\n\n{section}".lstrip()
    with atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
