from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import GridPose, SquareDetector, picture

from posepipe import cli
from posepipe.config import Config
from posepipe.io.records import read_records
from posepipe.io.video import open_video
from posepipe.pipeline import Pipeline
from posepipe.report import Outcome
from posepipe.run.batch import run_batch
from posepipe.run.inputs import plan
from posepipe.run.video import Options
from posepipe.streams.shaping import Wanted
from posepipe.tracking.sort import Sort

FRAMES = 24
HIDDEN = range(12, 15)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Somebody is there, hidden for three frames, and there again."""
    (tmp_path / "shots").mkdir()
    for number in range(FRAMES):
        rgb = picture(number, people=0 if number in HIDDEN else 1)
        cv2.imwrite(str(tmp_path / "shots" / f"{number:02d}.png"), rgb[..., ::-1])
    return tmp_path / "shots"


def run(shots: Path, **options: object) -> Outcome:
    pipeline = Pipeline(SquareDetector(), GridPose(), Sort(max_age=1, min_hits=1), Config())
    wanted = Options(out=shots.parent / "out", quiet=True, **options)
    (outcome,) = run_batch(plan([str(shots)]), pipeline, wanted)
    return outcome


def test_exports_and_overlay_follow_from_the_second_pass(shots: Path) -> None:
    outcome = run(shots, refine=True)
    assert (outcome.status, outcome.exit_code, outcome.tracks) == ("ok", 0, 1)
    raw, refined = (read_records(outcome.folder / f"{name}.jsonl") for name in ("records", "refined"))
    assert raw.summary["tracks"] == 2
    assert all(result.tracks.refinement is None for result in raw)
    assert (refined.header["refined"], refined.summary["tracks"], refined.summary["people"]) == (1, 1, FRAMES)
    assert json.loads((outcome.folder / "run.json").read_text())["refined"] is True
    rows = (outcome.folder / "tracks.txt").read_text().splitlines()
    assert [tuple(map(int, row.split(",")[:2])) for row in rows] == [(t + 1, 1) for t in range(FRAMES)]
    with np.load(outcome.folder / "streams.npz") as data:
        assert np.flatnonzero(~data["seen"]).tolist() == list(HIDDEN)
    with open_video(outcome.folder / "overlay.mp4") as video:
        assert sum(1 for _ in video) == FRAMES


def test_a_second_pass_that_drops_everybody_says_so(shots: Path) -> None:
    for picture_file in sorted(shots.iterdir())[1:]:
        picture_file.unlink()
    assert run(shots).reason is None
    outcome = run(shots, refine=True, overwrite=True)
    assert (outcome.status, outcome.exit_code, outcome.tracks) == ("ok", 0, 0)
    assert "(the second pass dropped all tracks (1): seen too briefly or too faintly)" in outcome.line()


def test_the_command_writes_a_folder(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = run(shots, video=False).folder / "records.jsonl"
    assert cli.main(["refine", str(records), "-o", str(tmp_path / "x.jsonl")]) == 2
    assert "posepipe refine writes a folder; got -o " in capsys.readouterr().err
    assert not (tmp_path / "x.jsonl").exists()


def test_a_limited_run_is_taken_up_from_what_the_tracker_said(shots: Path) -> None:
    limited = run(shots, refine=True, limit_frames=18)
    assert read_records(limited.folder / "refined.jsonl").summary["frames"] == 18
    run(shots, refine=True, resume=True)
    whole = (limited.folder / "refined.jsonl").read_bytes()
    assert read_records(limited.folder / "refined.jsonl").summary["frames"] == FRAMES
    run(shots, refine=True, overwrite=True)
    assert (limited.folder / "refined.jsonl").read_bytes() == whole


def test_the_command_refines_a_finished_run_and_its_own_output(
    shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = run(shots, video=False).folder / "records.jsonl"
    out = tmp_path / "second"
    assert cli.main(["refine", str(records), "-o", str(out)]) == 0
    assert "2 tracks -> 1" in capsys.readouterr().out
    made = {path.name for path in out.iterdir()}
    assert made == {"actions.csv", "refined.jsonl", "poses.csv", "tracks.txt", "streams.npz", "coco_results.json"}
    again = tmp_path / "third"
    assert cli.main(["refine", str(out / "refined.jsonl"), "-o", str(again), "--quiet"]) == 0
    assert (again / "refined.jsonl").read_bytes() == (out / "refined.jsonl").read_bytes()
    assert cli.main(["refine", str(records), "-o", str(out)]) == 6
    assert cli.main(["refine", str(out / "refined.jsonl"), "-o", str(out), "--overwrite"]) == 6
    assert cli.main(["refine", str(records), "-o", str(out), "--overwrite"]) == 0


def test_refining_in_the_folder_of_the_run_leaves_nothing_of_other_tracks(
    shots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(shots)
    records = done.folder / "records.jsonl"
    line = ["refine", str(records), "-o", str(done.folder), "--no-actions"]
    assert cli.main(line) == 6
    assert cli.main([*line, "--overwrite"]) == 0
    assert "removed, being made from other tracks: actions.csv, overlay.mp4" in capsys.readouterr().out
    made = {path.name for path in done.folder.iterdir()}
    tables = {"refined.jsonl", "poses.csv", "tracks.txt", "streams.npz", "coco_results.json"}
    assert made == {*tables, "records.jsonl", "run.json"}
    summary = json.loads((done.folder / "run.json").read_text())
    assert (summary["refined"], summary["tracks"], summary["finished"]) == (True, 1, True)
    # What was removed comes back from the final tracks.
    assert run(shots, resume=True).status == "ok"
    whole = {path.name: path.read_bytes() for path in done.folder.iterdir()}
    assert set(whole) == {*tables, "records.jsonl", "run.json", "overlay.mp4", "actions.csv"}
    run(shots, refine=True, overwrite=True)
    assert all((done.folder / name).read_bytes() == whole[name] for name in ("refined.jsonl", "overlay.mp4"))


def test_refining_in_the_folder_of_the_run_keeps_the_streams_that_were_asked_for(shots: Path) -> None:
    wish = Wanted("zero-phase", rate=12.5, kinematics=True, min_frames=4)
    done = run(shots, streams=wish, video=False)
    line = ["refine", str(done.folder / "records.jsonl"), "-o", str(done.folder), "--overwrite", "--quiet"]
    assert cli.main(line) == 0
    assert Wanted(**json.loads((done.folder / "run.json").read_text())["streams"]) == wish
    names = ("streams.npz", "streams.csv")
    refined = [(done.folder / name).read_bytes() for name in names]
    run(shots, streams=wish, video=False, refine=True, overwrite=True)
    assert [(done.folder / name).read_bytes() for name in names] == refined


def test_the_records_of_another_run_are_left_alone(shots: Path, tmp_path: Path) -> None:
    records = run(shots, video=False).folder / "records.jsonl"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/records.jsonl").write_bytes(b"another run")
    assert cli.main(["refine", str(records), "-o", str(tmp_path / "other"), "--overwrite"]) == 6
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["records.jsonl"]


def test_a_run_that_broke_off_is_refused(shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = run(shots, video=False).folder / "records.jsonl"
    torn = tmp_path / "torn.jsonl"
    torn.write_text("\n".join(records.read_text().splitlines()[:5]) + "\n")
    assert cli.main(["refine", str(torn), "-o", str(tmp_path / "out2")]) == 2
    assert "broke off" in capsys.readouterr().err
