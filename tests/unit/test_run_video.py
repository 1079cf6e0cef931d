"""The job of one input, with stages that need no network and pictures without loss."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import CountingTracker, GridPose, SquareDetector, picture

from posepipe.cli import main
from posepipe.config import Config
from posepipe.io.records import read_records
from posepipe.io.video import VideoWriter, open_video
from posepipe.pipeline import Pipeline
from posepipe.report import Outcome
from posepipe.run.batch import run_batch
from posepipe.run.feed import Stop
from posepipe.run.inputs import plan
from posepipe.run.video import Options, run_video
from posepipe.streams.shaping import Wanted

FRAMES = 20
MADE = [
    "actions.csv",
    "coco_results.json",
    "overlay.mp4",
    "poses.csv",
    "records.jsonl",
    "run.json",
    "streams.npz",
    "tracks.txt",
]


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(FRAMES):
        rgb = picture(number, people=number % 3)
        cv2.imwrite(str(folder / f"{number}.png"), rgb[..., ::-1])
    return folder


def pixels(path: Path) -> np.ndarray:
    """Every frame of a video: (T,H,W,3) int16."""
    with open_video(path) as video:
        return np.stack([frame.image.astype(np.int16) for frame in video])


def fake_pipeline(**settings: int) -> Pipeline:
    return Pipeline(SquareDetector(), GridPose(), CountingTracker(), Config(**settings))


def run(shots: Path, pipeline: Pipeline | None = None, **options: object) -> Outcome:
    wanted = Options(out=shots.parent / "out", quiet=True, **options)
    (outcome,) = run_batch(plan([str(shots)]), pipeline or fake_pipeline(), wanted)
    return outcome


def test_streams_are_shaped_where_asked_for(shots: Path) -> None:
    outcome = run(shots, streams=Wanted("one-euro", kinematics=True, min_frames=2))
    assert sorted(p.name for p in outcome.folder.iterdir()) == sorted([*MADE, "streams.csv"])
    with np.load(outcome.folder / "streams.npz") as data:
        assert len(data["xy_smooth"]) == len(data["kinematics"]) == len(data["xy"]) > 0
        rows = int(data["offsets"][-1])
    assert (outcome.folder / "streams.csv").read_text().count("\n") == rows + 1


def summary_of(outcome: Outcome) -> dict[str, object]:
    return json.loads((outcome.folder / "run.json").read_text())


def test_the_folder_holds_seven_files_that_agree(shots: Path) -> None:
    outcome = run(shots)
    assert (outcome.status, outcome.exit_code, outcome.frames) == ("ok", 0, FRAMES)
    assert sorted(p.name for p in outcome.folder.iterdir()) == MADE
    records = read_records(outcome.folder / "records.jsonl")
    people = [len(result.tracks) for result in records]
    assert people == [n % 3 for n in range(FRAMES)]
    assert records.summary == {
        "type": "summary",
        "status": "ok",
        "frames": FRAMES,
        "people": sum(people),
        "tracks": 2,
        "reason": None,
    }
    summary = summary_of(outcome)
    assert (summary["frames"], summary["people"], summary["tracks"]) == (FRAMES, sum(people), 2)
    assert (summary["finished"], summary["status"], summary["exit_code"]) == (True, "ok", 0)
    assert {**summary["engines"], "actions": ""} == {"detector": "SquareDetector", "pose": "GridPose", "actions": ""}
    assert set(summary["speed"]) == {"decode", "detector", "pose", "tracker", "actions", "records", "draw", "encode"}
    assert all(set(stage) == {"frames", "ms", "fps"} for stage in summary["speed"].values())
    assert {"posepipe", "python", "numpy", "av"} <= set(summary["versions"])
    with open_video(outcome.folder / "overlay.mp4") as overlay:
        assert [round(frame.pts, 3) for frame in overlay] == [n / 25 for n in range(FRAMES)]


def test_no_video(shots: Path) -> None:
    outcome = run(shots, video=False)
    assert sorted(p.name for p in outcome.folder.iterdir()) == [name for name in MADE if name != "overlay.mp4"]
    assert "draw" not in summary_of(outcome)["speed"]


def test_records_do_not_say_when_or_where(shots: Path) -> None:
    first = run(shots)
    text = (first.folder / "records.jsonl").read_text()
    assert str(shots.parent) not in text
    again = run(shots, overwrite=True)
    assert (again.folder / "records.jsonl").read_text() == text


def test_a_finished_run_is_skipped_and_keeps_its_files(shots: Path) -> None:
    outcome = run(shots)
    before = {p.name: p.stat().st_mtime_ns for p in outcome.folder.iterdir()}
    pipeline = fake_pipeline()
    assert run(shots, pipeline, resume=True).status == "skipped"
    assert pipeline.detector.looked == []
    assert {p.name: p.stat().st_mtime_ns for p in outcome.folder.iterdir()} == before


def test_a_limited_run_can_be_continued(shots: Path) -> None:
    folder = run(shots).folder
    whole = {name: (folder / name).read_bytes() for name in MADE if name not in ("run.json", "overlay.mp4")}
    drawn = pixels(folder / "overlay.mp4")
    part = run(shots, overwrite=True, limit_frames=12)
    assert (part.status, part.exit_code, part.frames) == ("ok", 0, 12)
    assert part.reason == "stopped at --limit-frames 12"
    assert not summary_of(part)["finished"]
    pipeline = fake_pipeline()
    rest = run(shots, pipeline, resume=True)
    assert (rest.status, rest.frames, rest.reason) == ("ok", FRAMES, None)
    assert pipeline.detector.looked == list(range(12, FRAMES))
    for name in whole:
        assert (rest.folder / name).read_bytes() == whole[name], name
    # An encoder of several threads may round a value otherwise on a loaded machine.
    again = pixels(rest.folder / "overlay.mp4")
    assert again.shape == drawn.shape
    assert np.abs(again - drawn).max() <= 8


def test_a_lower_limit_on_resuming_takes_nothing_away(shots: Path) -> None:
    run(shots, limit_frames=12)
    again = run(shots, resume=True, limit_frames=5)
    assert (again.frames, again.exit_code) == (12, 0)
    assert again.reason == "stopped at --limit-frames 5: 12 frames were there already"


class LensCap(SquareDetector):
    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index

    def detect(self, frame):
        if frame.index == self.index:
            raise RuntimeError("lens cap")
        return super().detect(frame)


def test_a_stage_that_fails_keeps_what_was_done_and_can_be_resumed(shots: Path) -> None:
    whole = (run(shots).folder / "records.jsonl").read_bytes()
    outcome = run(shots, Pipeline(LensCap(14), GridPose(), CountingTracker()), overwrite=True)
    assert (outcome.status, outcome.exit_code, outcome.frames) == ("stopped", 1, 14)
    assert "the detector stage failed at frame 14: RuntimeError: lens cap; --resume continues" in outcome.reason
    assert sorted(p.name for p in outcome.folder.iterdir()) == MADE
    assert sum(1 for _ in read_records(outcome.folder / "records.jsonl")) == 14
    assert run(shots, resume=True).status == "ok"
    assert (outcome.folder / "records.jsonl").read_bytes() == whole


def test_a_stage_that_fails_at_once_leaves_nothing(shots: Path) -> None:
    outcome = run(shots, Pipeline(LensCap(0), GridPose(), CountingTracker()))
    assert (outcome.status, outcome.exit_code, outcome.frames) == ("failed", 1, 0)
    assert not outcome.folder.exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_overwriting_takes_nothing_away_before_there_is_a_new_result(shots: Path) -> None:
    before = contents(run(shots).folder)
    outcome = run(shots, Pipeline(LensCap(0), GridPose(), CountingTracker()), overwrite=True)
    assert (outcome.status, contents(outcome.folder)) == ("failed", before)
    stop = Stop()
    stop.signum = 2
    (job,) = plan([str(shots)])
    outcome = run_video(job, fake_pipeline(), Options(shots.parent / "out", overwrite=True, quiet=True), stop)
    assert (outcome.status, outcome.frames, contents(outcome.folder)) == ("stopped", 0, before)
    shots.rename(shots.parent / "gone")
    outcome = run(shots, overwrite=True)
    assert (outcome.status, contents(outcome.folder)) == ("failed", before)


def test_a_wrong_tracker_is_told_once_and_before_any_input(
    shots: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("posepipe.run.video.open_video", lambda *_, **__: pytest.fail("an input was opened"))
    assert main(["run", str(shots), str(shots / "0.png"), "-o", str(shots.parent / "out"), "--tracker", "srt"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_finished_run_lacks_is_made_without_networks(shots: Path) -> None:
    wishes = {"refine": True, "streams": Wanted("one-euro", kinematics=True)}
    whole = contents(run(shots, **wishes).folder)
    shutil.rmtree(shots.parent / "out")
    plain = contents(run(shots, video=False).folder)
    pipeline = fake_pipeline()
    # A limit takes nothing away, and what was wanted before stays wanted.
    assert run(shots, pipeline, resume=True, limit_frames=3, **wishes, video=False).status == "ok"
    assert run(shots, pipeline, resume=True).status == "ok"
    assert run(shots, pipeline, resume=True, **wishes).status == "skipped"
    assert pipeline.detector.looked == []
    outcome = run(shots, pipeline, resume=True, video=False)
    assert outcome.status == "skipped"
    made = contents(outcome.folder)
    assert summary_of(outcome)["finished"]
    assert set(made) == {*MADE, "refined.jsonl", "streams.csv"}
    for name in set(made) - {"run.json", "streams.npz"}:  # an npz holds the time
        assert made[name] == whole[name], name
    assert made["records.jsonl"] == plain["records.jsonl"]


def test_a_resumed_run_keeps_nothing_that_was_made_from_fewer_frames(shots: Path) -> None:
    part = run(shots, limit_frames=10, refine=True, streams=Wanted(kinematics=True))
    assert (part.folder / "refined.jsonl").exists()
    outcome = run(shots, resume=True, video=False)
    assert sorted(contents(outcome.folder)) == [name for name in MADE if name != "overlay.mp4"]
    assert (summary_of(outcome)["refined"], summary_of(outcome)["frames"]) == (False, FRAMES)


class Presses(SquareDetector):
    """Stops the run while a frame is looked at, as a user would."""

    def __init__(self, stop: Stop, index: int) -> None:
        super().__init__()
        self.stop, self.index = stop, index

    def detect(self, frame):
        if frame.index == self.index:
            self.stop.signum = 15
        return super().detect(frame)


def test_a_signal_closes_everything_and_the_run_can_be_resumed(shots: Path) -> None:
    whole = (run(shots).folder / "records.jsonl").read_bytes()
    stop = Stop()
    pipeline = Pipeline(Presses(stop, 13), GridPose(), CountingTracker())
    (job,) = plan([str(shots)])
    outcome = run_video(job, pipeline, Options(shots.parent / "out", overwrite=True, quiet=True), stop)
    assert (outcome.status, outcome.exit_code) == ("stopped", 143)
    assert 0 < outcome.frames <= 13
    assert sorted(p.name for p in outcome.folder.iterdir()) == MADE
    summary = read_records(outcome.folder / "records.jsonl").summary
    assert summary is not None
    assert (summary["status"], summary["reason"]) == ("truncated", "stopped by SIGTERM")
    assert run(shots, resume=True).status == "ok"
    assert (outcome.folder / "records.jsonl").read_bytes() == whole


def test_a_signal_before_the_first_result_leaves_nothing(shots: Path) -> None:
    stop = Stop()
    stop.signum = 2
    (job,) = plan([str(shots)])
    outcome = run_video(job, fake_pipeline(), Options(shots.parent / "out", quiet=True), stop)
    assert (outcome.status, outcome.exit_code, outcome.frames) == ("stopped", 130, 0)
    assert not outcome.folder.exists()


@pytest.mark.parametrize("stopped_at", [None, 0, 3])
def test_a_resumed_run_that_is_stopped_early_takes_nothing_away(shots: Path, stopped_at: int | None) -> None:
    whole = (run(shots).folder / "records.jsonl").read_bytes()
    part = run(shots, overwrite=True, limit_frames=12)
    stop = Stop()
    if stopped_at is None:
        stop.signum = 2
    pipeline = Pipeline(SquareDetector(), GridPose(), Tripwire(stop, stopped_at))
    (job,) = plan([str(shots)])
    outcome = run_video(job, pipeline, Options(shots.parent / "out", resume=True, quiet=True), stop)
    assert (outcome.status, outcome.exit_code, outcome.frames) == ("stopped", 130, 12)
    assert sum(1 for _ in read_records(part.folder / "records.jsonl")) == 12
    assert summary_of(outcome)["frames"] == 12
    assert run(shots, resume=True).frames == FRAMES
    assert (part.folder / "records.jsonl").read_bytes() == whole


class Tripwire(CountingTracker):
    """Stops the run when a frame is tracked."""

    def __init__(self, stop: Stop, count: int | None) -> None:
        super().__init__()
        self.stop, self.count = stop, count

    def update(self, poses, image=None):
        if self.updates == self.count:
            self.stop.signum = 2
        return super().update(poses, image)


def test_a_failure_on_resuming_takes_nothing_away(shots: Path) -> None:
    run(shots, limit_frames=12)
    outcome = run(shots, Pipeline(LensCap(12), GridPose(), CountingTracker()), resume=True)
    assert (outcome.status, outcome.frames) == ("stopped", 12)
    assert run(shots, resume=True).status == "ok"


def test_a_mistake_of_ours_in_one_video_does_not_take_the_others_along(
    shots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def draw(*arguments: object) -> np.ndarray:
        calls.append(arguments)
        raise IndexError("off by one")

    monkeypatch.setattr("posepipe.run.video.draw", draw)
    (shots.parent / "more").mkdir()
    cv2.imwrite(str(shots.parent / "more/1.png"), picture(1))
    jobs = plan([str(shots), str(shots.parent / "more")])
    outcomes = run_batch(jobs, fake_pipeline(), Options(shots.parent / "out", quiet=True))
    assert [(o.status, o.exit_code) for o in outcomes] == [("failed", 1)] * 2
    assert "unexpected IndexError: off by one; set POSEPIPE_DEBUG=1" in outcomes[0].reason
    assert len(calls) == 2
    monkeypatch.setenv("POSEPIPE_DEBUG", "1")
    with pytest.raises(IndexError):
        run_batch(jobs, fake_pipeline(), Options(shots.parent / "out", quiet=True, overwrite=True))


def test_a_signal_leaves_the_other_inputs_alone(shots: Path) -> None:
    (shots.parent / "more").mkdir()
    cv2.imwrite(str(shots.parent / "more/1.png"), picture(1))

    class Interrupts(SquareDetector):
        def detect(self, frame):
            if frame.index == 10:
                signal.raise_signal(signal.SIGTERM)
            return super().detect(frame)

    pipeline = Pipeline(Interrupts(), GridPose(), CountingTracker())
    jobs = plan([str(shots), str(shots.parent / "more")])
    told: list[str] = []
    outcomes = run_batch(jobs, pipeline, Options(shots.parent / "out", quiet=True), lambda o: told.append(o.name))
    assert [(o.status, o.exit_code) for o in outcomes] == [("stopped", 143), ("not begun", 143)]
    assert told == ["shots"]
    assert not (shots.parent / "out/more").exists()


def test_inputs_of_one_name_are_told_apart_and_find_their_results_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate("AB"):
        (tmp_path / folder).mkdir()
        with VideoWriter(tmp_path / folder / "clip.mp4", 64, 48) as writer:
            for index in range(4):
                writer.write(picture(10 * number + index), index / 25)
    pipeline, done = fake_pipeline(), Options(tmp_path / "out", quiet=True)
    outcomes = run_batch(plan(["A", "B"]), pipeline, done)
    assert [(o.name, o.folder.name) for o in outcomes] == [
        ("clip (A/clip.mp4)", "clip"),
        ("clip-2 (B/clip.mp4)", "clip-2"),
    ]
    assert [summary_of(o)["source"] for o in outcomes] == ["A/clip.mp4", "B/clip.mp4"]
    assert outcomes[1].line().startswith("clip-2 (B/clip.mp4): ok, 4 frames")
    again = replace(done, resume=True)
    (alone,) = run_batch(plan(["B"]), pipeline, again)
    assert (alone.name, alone.status, alone.folder.name) == ("clip-2 (B/clip.mp4)", "skipped", "clip-2")
    (tmp_path / "out/clip-2/run.json").unlink()
    turned = run_batch(plan(["B", "A"]), pipeline, again)
    assert [(o.status, o.folder.name) for o in turned] == [("ok", "clip-2"), ("skipped", "clip")]
    shutil.rmtree(tmp_path / "out/clip-2")
    (refused,) = run_batch(plan(["B"]), pipeline, again)
    assert refused.exit_code == 6
    assert "--overwrite would replace the results of A/clip.mp4" in refused.reason
    assert summary_of(outcomes[0])["finished"]


def test_a_live_source_is_not_continued(shots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(shots, limit_frames=6)
    monkeypatch.setattr("posepipe.io.pictures.PictureReader.live", True)
    outcome = run(shots, resume=True)
    assert outcome.exit_code == 6
    assert "live source, which cannot be continued" in outcome.reason


def test_what_a_kill_leaves_is_taken_up(shots: Path) -> None:
    outcome = run(shots)
    records = outcome.folder / "records.jsonl"
    whole = records.read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in (0, 1, 2, 8, FRAMES, FRAMES + 1, FRAMES + 2):
        records.write_bytes(b"".join(lines[:kept]) + b'{"type":"fra')
        (outcome.folder / "run.json").unlink()
        (outcome.folder / ".poses.0123abcd.tmp.csv").touch()
        assert run(shots, resume=True).status == "ok"
        assert records.read_bytes() == whole
        assert sorted(p.name for p in outcome.folder.iterdir()) == MADE


@pytest.mark.parametrize("settings", [{"stride": 2}, {"detector_stride": 3}, {"max_people": 1}])
def test_results_of_other_settings_are_not_continued(shots: Path, settings: dict[str, int]) -> None:
    run(shots, limit_frames=6)
    outcome = run(shots, fake_pipeline(**settings), resume=True)
    assert outcome.exit_code == 6
    assert f"another {next(iter(settings))}" in outcome.reason
    assert run(shots, fake_pipeline(batch=2, threads=1), resume=True).status == "ok"


def test_skipped_frames_are_on_record(shots: Path) -> None:
    outcome = run(shots, fake_pipeline(stride=5))
    skipped = [result.skipped for result in read_records(outcome.folder / "records.jsonl")]
    assert skipped == [n % 5 != 0 for n in range(FRAMES)]


def test_people_stay_in_the_overlay_between_the_frames_that_are_looked_at(shots: Path) -> None:
    for number in range(FRAMES):
        cv2.imwrite(str(shots / f"{number}.png"), picture(number, people=1)[..., ::-1])
    folder = run(shots, fake_pipeline(stride=5)).folder
    again = shots.parent / "again.mp4"
    assert main(["render", str(folder / "records.jsonl"), str(shots), "-o", str(again), "--quiet"]) == 0
    for path in (folder / "overlay.mp4", again):
        with open_video(path) as overlay:
            brightness = [float(frame.image[4:].mean()) for frame in overlay]
        assert len(brightness) == FRAMES
        assert min(brightness) > 0.9 * max(brightness) > 5


def test_pictures_of_many_sizes_make_one_video(tmp_path: Path) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    for number, size in enumerate([(48, 64), (64, 48), (31, 95)]):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((*size, 3), np.uint8))
    outcome = run(folder)
    assert outcome.frames == 3
    with open_video(outcome.folder / "overlay.mp4") as overlay:
        assert {frame.image.shape for frame in overlay} == {(48, 64, 3)}
