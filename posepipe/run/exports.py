"""Tables, tracks and streams: what is made from the records of a whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from posepipe.io.exports import write_coco, write_csv, write_mot
from posepipe.io.records import Records
from posepipe.io.streams import write_streams, write_streams_csv
from posepipe.run.actions import video_name, write_action_table
from posepipe.stages import ActionRecogniser
from posepipe.streams.shaping import Wanted
from posepipe.types import FrameResult

__all__ = ["ACTIONS", "exports"]

#: The table whose writer gives its rows back.
ACTIONS = "actions.csv"


def exports(
    records: Records, recogniser: ActionRecogniser | None, wanted: Wanted
) -> dict[str, Callable[[Path, Iterable[FrameResult]], object]]:
    """What is to be made from records, in this order: the name of each file, and what writes it from the frames.

    Parameters
    ----------
    records
        Those of a run, or of its second pass.
    recogniser
        Says what people did; None: nobody does.
    wanted
        What the pose streams are to be.
    """
    skeleton = records.skeleton
    made: dict[str, Callable[[Path, Iterable[FrameResult]], object]] = {
        "poses.csv": partial(write_csv, skeleton=skeleton),
        "tracks.txt": write_mot,
        "streams.npz": partial(write_streams, skeleton=skeleton, wanted=wanted),
        "coco_results.json": write_coco,
    }
    if not wanted.plain:
        made["streams.csv"] = partial(write_streams_csv, skeleton=skeleton, wanted=wanted)
    if recogniser is not None:
        made[ACTIONS] = partial(write_action_table, video=video_name(records), recogniser=recogniser, skeleton=skeleton)
    return made
