"""How a clip gets its name from what people did in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from action_run import called, seconds_of
from results import header

from posepipe.io.records import Records, RecordWriter, read_records
from posepipe.types import Action, FrameResult, Poses, Tracks


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        ({"walk": 9.0, "stand": 3.0}, "walk"),
        ({"walk": 9.0, "fall": 0.5}, "fall"),
        ({"stand": 9.0, "pick up": 0.5}, "pick up"),
        ({"unknown": 9.0, "sit": 0.5}, "sit"),
        ({"unknown": 9.0}, "nothing"),
        ({}, "nothing"),
    ],
)
def test_the_name_of_a_clip(seconds: dict[str, float], name: str) -> None:
    assert called(seconds) == name


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """The actor (1), who sits at the edge (2), and a passer-by (3)."""
    boxes = np.array([[200, 100, 300, 400], [530, 100, 600, 300], [20, 100, 60, 200]], np.float32)
    with RecordWriter(tmp_path / "records.jsonl", header()) as writer:
        for i in range(3):
            poses = Poses(np.full((3, 17, 2), 150.0), np.ones((3, 17)), boxes, np.ones(3))
            tracks = Tracks(poses, boxes, np.array([1, 2, 3]), np.ones(3, bool), np.full(3, i))
            writer.write(FrameResult(i, i / 18, tracks))
        writer.close("ok")
    return read_records(tmp_path / "records.jsonl")


def span(track_id: int, label: str, end: float) -> Action:
    return Action(track_id, label, 0, np.ones(1), 0, 9, 0.0, end)


def test_only_the_actor_is_asked(records: Records) -> None:
    spans = [span(1, "walk", 4.0), span(2, "sit", 40.0), span(3, "fall", 2.0)]
    assert seconds_of(records, spans, "2") == {"walk": 4.0}
    assert seconds_of(records, spans, "1") == {"walk": 4.0, "sit": 40.0}
