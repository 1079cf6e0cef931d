"""Actions of a run: in the records, in the table, on the overlay; from finished records; after a second pass."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import GridPose, SquareDetector, picture
from tiny_nets import RAISED, raised_net

from posepipe import cli
from posepipe.config import Config
from posepipe.io.atomic import sha256_of
from posepipe.io.records import read_records
from posepipe.io.video import open_video
from posepipe.io.weights import weights_path
from posepipe.pipeline import Pipeline
from posepipe.render import Captions, SpanCaptions
from posepipe.report import Outcome
from posepipe.run.actions import spans_of
from posepipe.run.batch import run_batch
from posepipe.run.inputs import plan
from posepipe.run.video import Options
from posepipe.skeleton import COCO17, Skeleton
from posepipe.stages.action import OnnxActions
from posepipe.streams.spans import UNKNOWN
from posepipe.tracking.sort import Sort
from posepipe.types import Action, FrameResult, Poses, Tracks

FRAMES = 75  # at 25 a second
HIDDEN = range(40, 42)
WRIST = COCO17.keypoints.index("left_wrist")


class Waver(GridPose):
    """Poses over the whole box; the second person's wrist is down, the first one's in the first 40 frames up."""

    def estimate(self, frames, detections):
        found = []
        for frame, poses in zip(frames, super().estimate(frames, detections), strict=True):
            xy = poses.xy.copy()
            top, bottom = poses.boxes[:, 1], poses.boxes[:, 3]
            up = (np.arange(len(poses)) == 0) & (frame.index < 40)
            xy[:, WRIST, 1] = np.where(up, top, bottom)
            found.append(Poses(xy, poses.score, poses.boxes, poses.box_score, poses.skeleton))
        return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return raised_net(tmp_path_factory.mktemp("nets") / "raised.onnx", COCO17.keypoints, WRIST, abstain=0.45)


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    (tmp_path / "shots").mkdir()
    for number in range(FRAMES):
        people = 1 if number in HIDDEN else 2
        cv2.imwrite(str(tmp_path / "shots" / f"{number:02d}.png"), picture(number, people)[..., ::-1])
    return tmp_path / "shots"


def pipeline(weights: Path, skeleton: Skeleton = COCO17, **settings: object) -> Pipeline:
    config = Config(actions=str(weights), **settings)
    actions = OnnxActions(weights, skeleton)
    return Pipeline(SquareDetector(), Waver(), Sort(max_age=5, min_hits=1), config, actions)


def run(shots: Path, network: Pipeline, **options: object) -> Outcome:
    (outcome,) = run_batch(plan([str(shots)]), network, Options(out=shots.parent / "out", quiet=True, **options))
    assert outcome.exit_code == 0, outcome.reason
    return outcome


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files(outcome: Outcome) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in outcome.folder.iterdir() if p.name != "run.json"}


def test_a_run_writes_what_each_person_did(shots: Path, weights: Path) -> None:
    outcome = run(shots, pipeline(weights))
    rows = table(outcome.folder / "actions.csv")
    assert list(rows[0]) == ["video", "person", "label", "start_s", "end_s", "score"]
    assert {row["video"] for row in rows} == {"shots"}
    one, two = ([row for row in rows if row["person"] == person] for person in "12")
    assert [row["label"] for row in one] == ["arms up", "arms down"]
    assert [row["label"] for row in two] == ["arms down"]
    assert float(one[0]["end_s"]) == float(one[1]["start_s"]) == pytest.approx(1.6, abs=0.3)
    assert all(0.45 <= float(row["score"]) <= 1 for row in rows)
    records = read_records(outcome.folder / "records.jsonl")
    assert records.header["actions"] == list(RAISED)
    assert len(records.header["weights"]["actions"]) == 64
    said = {result.frame_index: result.actions for result in records if result.actions}
    assert list(said) == [13, 19, 25, 32, 38, 44, 50, 57, 63, 69]  # the first frames at or after every quarter second
    assert all({a.track_id for a in actions} == {1, 2} for actions in said.values())
    summary = json.loads((outcome.folder / "run.json").read_text())
    assert summary["speed"]["actions"]["frames"] == FRAMES
    assert "ONNX Runtime" in summary["engines"]["actions"]


def test_a_run_that_was_stopped_anywhere_ends_in_the_same_bytes(shots: Path, weights: Path) -> None:
    whole = files(run(shots, pipeline(weights), video=False))
    for limit in (1, 12, 13, 14, 40, 70):
        run(shots, pipeline(weights), video=False, overwrite=True, limit_frames=limit)
        assert files(run(shots, pipeline(weights), video=False, resume=True)) == whole, limit


def test_what_a_kill_leaves_is_taken_up(shots: Path, weights: Path) -> None:
    outcome = run(shots, pipeline(weights), video=False)
    whole, records = files(outcome), outcome.folder / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    for kept in (15, 46):
        records.write_bytes(b"".join(lines[:kept]) + b'{"type":"frame","actions":[{')
        (outcome.folder / "run.json").unlink()
        (outcome.folder / "actions.csv").unlink(missing_ok=True)
        assert files(run(shots, pipeline(weights), video=False, resume=True)) == whole


def test_a_run_with_actions_is_not_continued_without(shots: Path, weights: Path) -> None:
    network = pipeline(weights)
    run(shots, network, limit_frames=20)
    plain = Pipeline(SquareDetector(), Waver(), Sort(max_age=5, min_hits=1), Config(actions="none"))
    (outcome,) = run_batch(plan([str(shots)]), plain, Options(out=shots.parent / "out", quiet=True, resume=True))
    assert outcome.exit_code == 6
    assert "another actions" in outcome.reason
    assert "--no-actions" in outcome.reason


def test_records_of_a_version_without_actions_are_continued_without(shots: Path) -> None:
    plain = Pipeline(SquareDetector(), Waver(), Sort(max_age=5, min_hits=1), Config(actions="none"))
    whole = files(run(shots, plain, video=False))
    assert "actions.csv" not in whole
    outcome = run(shots, plain, video=False, overwrite=True, limit_frames=20)
    records = outcome.folder / "records.jsonl"
    records.write_bytes(records.read_bytes().replace(b',"actions":"none"', b"", 1))
    again = files(run(shots, plain, video=False, resume=True))
    assert again["poses.csv"] == whole["poses.csv"]


def test_a_finished_run_of_a_version_without_actions_is_left_alone(shots: Path, weights: Path) -> None:
    plain = Pipeline(SquareDetector(), Waver(), Sort(max_age=5, min_hits=1), Config(actions="none"))
    records = run(shots, plain, video=False).folder / "records.jsonl"
    records.write_bytes(records.read_bytes().replace(b',"actions":"none"', b"", 1))
    assert run(shots, pipeline(weights), resume=True).status == "skipped"
    (records.parent / "run.json").unlink()
    wish = Options(out=shots.parent / "out", quiet=True, resume=True)
    (outcome,) = run_batch(plan([str(shots)]), pipeline(weights), wish)
    assert "another action weights, another actions" in outcome.reason


def test_nobody_gives_a_table_without_rows(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "shots").mkdir()
    for number in range(40):
        cv2.imwrite(str(tmp_path / "shots" / f"{number:02d}.png"), picture(number, 0)[..., ::-1])
    outcome = run(tmp_path / "shots", pipeline(weights))
    assert (outcome.folder / "actions.csv").read_text() == "video,person,label,start_s,end_s,score\n"


def test_frames_passed_over_change_little(shots: Path, weights: Path) -> None:
    rows = table(run(shots, pipeline(weights, stride=3)).folder / "actions.csv")
    assert [(row["person"], row["label"]) for row in rows] == [("1", "arms up"), ("2", "arms down"), ("1", "arms down")]


def test_the_second_pass_tells_of_the_final_tracks(shots: Path, weights: Path) -> None:
    """The second person is hidden for two frames, which a tracker of no patience takes for another person."""
    config = Config(actions=str(weights))
    network = Pipeline(SquareDetector(), Waver(), Sort(max_age=1, min_hits=1), config, OnnxActions(weights, COCO17))
    outcome = run(shots, network, refine=True, video=False)
    raw = [a for result in read_records(outcome.folder / "records.jsonl") for a in result.actions]
    refined = read_records(outcome.folder / "refined.jsonl")
    assert {a.track_id for a in raw} > {a.track_id for result in refined for a in result.actions} == {1, 2}
    rows = table(outcome.folder / "actions.csv")
    assert [row["label"] for row in rows if row["person"] == "2"] == ["arms down"]
    whole = files(outcome)
    run(shots, network, refine=True, video=False, overwrite=True, limit_frames=30)
    assert files(run(shots, network, refine=True, video=False, resume=True)) == whole
    out = shots.parent / "again"
    assert (
        cli.main(
            ["refine", str(outcome.folder / "records.jsonl"), "-o", str(out), "--actions", str(weights), "--quiet"]
        )
        == 0
    )
    for name in ("refined.jsonl", "actions.csv", "streams.npz"):
        assert (out / name).read_bytes() == whole[name]
    bare = shots.parent / "bare"
    assert cli.main(["refine", str(outcome.folder / "records.jsonl"), "-o", str(bare), "--no-actions", "--quiet"]) == 0
    assert not (bare / "actions.csv").exists()
    assert not any(result.actions for result in read_records(bare / "refined.jsonl"))


def test_finished_records_can_be_told_of_later(shots: Path, weights: Path) -> None:
    told = run(shots, pipeline(weights), video=False)
    plain = Pipeline(SquareDetector(), Waver(), Sort(max_age=5, min_hits=1), Config(actions="none"))
    (before,) = run_batch(plan([str(shots)]), plain, Options(out=shots.parent / "plain", quiet=True, video=False))
    records = str(before.folder / "records.jsonl")
    out, more = shots.parent / "late.csv", shots.parent / "late.jsonl"
    assert cli.main(["actions", records, "-o", str(out), "--actions", str(weights), "--quiet"]) == 0
    assert out.read_bytes() == (told.folder / "actions.csv").read_bytes()
    assert cli.main(["actions", records, "-o", str(more), "--actions", str(weights), "--quiet"]) == 0
    late, at_once = read_records(more), read_records(told.folder / "records.jsonl")
    assert late.summary == at_once.summary
    assert [frame.actions and [a.label for a in frame.actions] for frame in late] == [
        frame.actions and [a.label for a in frame.actions] for frame in at_once
    ]
    assert late.header == at_once.header


def test_records_that_were_told_of_later_are_refined_with_the_same_network(shots: Path, weights: Path, capsys) -> None:
    """What `posepipe actions` names, a second pass names too: built in by its name, a file while it is there."""
    plain = Pipeline(SquareDetector(), Waver(), Sort(max_age=5, min_hits=1), Config(actions="none"))
    (before,) = run_batch(plan([str(shots)]), plain, Options(out=shots.parent / "plain", quiet=True, video=False))
    records, acted, out = before.folder / "records.jsonl", shots.parent / "acted.jsonl", shots.parent / "refined"
    refine = ["refine", str(acted), "-o", str(out), "--overwrite", "--quiet"]
    assert cli.main(["actions", str(records), "-o", str(acted), "--quiet"]) == 0
    header = read_records(acted).header
    assert header["config"]["actions"] == "small"
    assert header["weights"]["actions"] == sha256_of(weights_path("action_small"))
    assert header["licences"]["actions"] == "Apache-2.0"
    assert "UP-Fall" in header["trained_on"]["actions"]
    assert cli.main(refine) == 0
    assert table(out / "actions.csv")
    assert any(result.actions for result in read_records(out / "refined.jsonl"))
    assert cli.main([*refine, "--no-actions"]) == 0
    bare = read_records(out / "refined.jsonl").header
    assert {k: v for k, v in bare.items() if k != "refined"} == read_records(records).header
    assert (
        cli.main(["actions", str(records), "-o", str(acted), "--overwrite", "--actions", str(weights), "--quiet"]) == 0
    )
    capsys.readouterr()
    assert cli.main(refine) == 5
    told = capsys.readouterr().err
    assert "raised.onnx named" in told
    assert "--actions FILE" in told
    assert "--no-actions" in told
    assert cli.main([*refine, "--actions", str(weights)]) == 0
    assert read_records(out / "refined.jsonl").header["actions"] == list(RAISED)


def test_a_second_pass_takes_no_other_file_of_the_same_name(
    shots: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = run(shots, pipeline(weights), video=False).folder / "records.jsonl"
    refine = ["refine", str(records), "-o", str(shots.parent / "refined"), "--overwrite", "--quiet"]
    monkeypatch.chdir(weights.parent)
    assert cli.main(refine) == 0
    other = shots.parent / weights.name
    other.write_bytes(weights_path("action_small").read_bytes())
    monkeypatch.chdir(other.parent)
    assert cli.main(refine) == 5
    assert cli.main([*refine, "--actions", other.name]) == 0
    header = read_records(shots.parent / "refined/refined.jsonl").header
    assert header["config"]["actions"] == "small"


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (["-o", "{out}.txt"], 2, "OUT.csv or OUT.jsonl"),
        (["-o", "{records}", "--overwrite"], 6, "already exists"),
        (["-o", "{out}.csv", "--actions", "none"], 2, "nobody who could say"),
        (["-o", "{out}.csv", "--actions", "missing.onnx"], 5, "cannot read missing.onnx"),
    ],
)
def test_mistakes_of_the_command(shots: Path, weights: Path, capsys, flags, code, told) -> None:
    records = run(shots, pipeline(weights), video=False, limit_frames=3).folder / "records.jsonl"
    flags = [flag.format(out=shots.parent / "late", records=records) for flag in flags]
    before = records.read_bytes()
    model = [] if "--actions" in flags else ["--actions", str(weights)]
    assert cli.main(["actions", str(records), *flags, *model, "--quiet"]) == code
    assert told in capsys.readouterr().err
    assert records.read_bytes() == before


class Whole:
    """Looks at whole streams: everybody did one thing from the first to the last frame."""

    labels = ("being there",)

    def recognise(self, stream):
        span = int(stream.frame_index[0]), int(stream.frame_index[-1]) + 1, float(stream.pts[0]), float(stream.pts[-1])
        return [Action(stream.track_id, "being there", 0, np.ones(1), *span)]


def test_a_network_that_looks_at_whole_streams_speaks_at_the_end(shots: Path) -> None:
    network = Pipeline(SquareDetector(), Waver(), Sort(max_age=5, min_hits=1), Config(actions="none"), Whole())
    drawn = run(shots, network).folder / "overlay.mp4"
    with open_video(drawn) as video:
        with_labels = list(video)
    assert len(with_labels) == FRAMES
    outcome = run(shots, network, video=False, overwrite=True)
    rows = table(outcome.folder / "actions.csv")
    assert [(row["person"], row["label"], row["start_s"]) for row in rows] == [
        ("1", "being there", "0.000"),
        ("2", "being there", "0.000"),
    ]
    records = read_records(outcome.folder / "records.jsonl")
    assert not any(result.actions for result in records)
    assert records.header["actions"] == ["being there"]
    assert len(spans_of(records, Whole(), COCO17)) == 2


def test_captions_of_spans_stand_from_their_first_to_their_last_frame() -> None:
    spans = [
        Action(1, "stand", 0, np.ones(2), 0, 3, 0.0, 0.1),
        Action(2, UNKNOWN, -1, np.zeros(2), 0, 9, 0.0, 0.3),
        Action(1, "walk", 1, np.ones(2), 3, 5, 0.1, 0.2),
    ]
    captions = SpanCaptions(spans)
    seen = [captions.update(FrameResult(i, i / 30, Tracks.empty())) for i in range(7)]
    assert seen == [{1: "stand"}] * 3 + [{1: "walk"}] * 2 + [{}] * 2


def test_captions_stand_until_the_next_window_and_do_not_outlive_a_person(shots: Path, weights: Path) -> None:
    captions, seen = Captions(hold_s=1.0), []
    for result in pipeline(weights).process([picture(n, 2 if n < 40 else 0) for n in range(90)]):
        seen.append(captions.update(result))
    assert seen[12] == {}
    assert seen[13] == seen[30] == {1: "arms up", 2: "arms down"}
    assert seen[-1] == {}
    assert UNKNOWN not in {label for said in seen for label in said.values()}
