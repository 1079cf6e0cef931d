"""What a run was asked for, and what of it a finished run lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from posepipe.errors import UsageError
from posepipe.streams.shaping import Wanted

__all__ = ["Options", "held_streams", "still_to_make"]


@dataclass(frozen=True)
class Options:
    """What ``posepipe run`` was asked for, beside the settings of the stages.

    Attributes
    ----------
    out
        Folder in which each input gets a folder.
    video
        Write the overlay.
    resume
        Skip finished inputs, continue the one that broke off.
    overwrite
        Replace results that are there.
    limit_frames
        Most frames of each input.
    quiet
        No progress.
    refine
        Go over the tracks once more at the end; exports and overlay are made from that.
    streams
        What the pose streams are to be; where that is more than they are, ``streams.csv`` is written too.
    """

    out: Path
    video: bool = True
    resume: bool = False
    overwrite: bool = False
    limit_frames: int | None = None
    quiet: bool = False
    refine: bool = False
    streams: Wanted = field(default_factory=Wanted)


def still_to_make(options: Options, folder: Path, summary: Mapping[str, Any]) -> Options | None:
    """What a finished run is to be made into; None where it has all that ``options`` ask for.

    What it has already stays wanted, so that nothing is lost where something is added.

    Parameters
    ----------
    options
        What is asked for now.
    folder
        Where the results are.
    summary
        Their ``run.json``.
    """
    overlay, refined = ((folder / name).exists() for name in ("overlay.mp4", "refined.jsonl"))
    held = held_streams(summary)
    streams = held if options.streams == Wanted() else options.streams
    if streams == held and overlay >= options.video and refined >= options.refine:
        return None
    return replace(
        options,
        video=options.video or overlay,
        refine=options.refine or refined,
        streams=streams,
        limit_frames=None,
    )


def held_streams(summary: Mapping[str, Any]) -> Wanted:
    """What the pose streams of a finished run are, as its ``run.json`` says."""
    try:
        return Wanted(**summary["streams"])
    except (KeyError, TypeError, UsageError):  # of a version that did not say
        return Wanted()
