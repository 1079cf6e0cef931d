from __future__ import annotations

from pathlib import Path

import pytest

from posepipe.errors import OutputError
from posepipe.run.folder import OUTPUTS, clear_outputs, discard, start_in
from posepipe.run.inputs import Job


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


CLIP = Job("clip", "clip.mp4")


def test_results_are_not_destroyed_unasked(tmp_path: Path) -> None:
    start_in(tmp_path, CLIP, overwrite=False)
    touch(tmp_path / "holiday.jpg")
    start_in(tmp_path, CLIP, overwrite=False)
    for name in OUTPUTS:
        touch(tmp_path / name)
        with pytest.raises(OutputError, match=r"already holds results.*--overwrite"):
            start_in(tmp_path, CLIP, overwrite=False)
        (tmp_path / name).unlink()


def test_overwriting_takes_results_and_nothing_else_once_there_are_new_ones(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in OUTPUTS), tmp_path / "holiday.jpg")
    start_in(tmp_path, CLIP, overwrite=True)
    assert len(list(tmp_path.iterdir())) == len(OUTPUTS) + 1
    clear_outputs(tmp_path, CLIP)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_the_input_is_never_cleared_away(tmp_path: Path) -> None:
    touch(tmp_path / "overlay.mp4", tmp_path / "overlay.part.mp4")
    with pytest.raises(OutputError, match="is the input and would be replaced"):
        clear_outputs(tmp_path, Job("overlay", str(tmp_path / "overlay.mp4")))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot write"):
        start_in(tmp_path / "file" / "clip", CLIP, overwrite=False)


def test_discarding_leaves_no_folder_but_what_others_put_there(tmp_path: Path) -> None:
    touch(tmp_path / "a/records.jsonl", tmp_path / "b/records.jsonl", tmp_path / "b/holiday.jpg")
    discard(tmp_path / "a", CLIP)
    discard(tmp_path / "b", CLIP)
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b/holiday.jpg").exists()
    assert not (tmp_path / "b/records.jsonl").exists()
