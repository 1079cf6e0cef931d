"""Shaped streams in files, and the commands that write them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from results import TRIANGLE, header, result

from posepipe import cli
from posepipe.io.records import RecordWriter
from posepipe.io.streams import (
    pose_streams,
    read_streams,
    read_streams_and_skeleton,
    save_streams,
    write_streams,
    write_streams_csv,
)
from posepipe.skeleton import COCO17
from posepipe.streams.kinematics import COLUMNS, STATES
from posepipe.streams.shaping import Wanted, shape

FRAMES = [result(i, ids=(1, 2) if i % 3 else (2,)) for i in range(40)]
FRAMES_OF_THREE = [result(i, ids=(1,), skeleton=TRIANGLE) for i in range(3)]
ALL = Wanted("zero-phase", rate=12.5, kinematics=True)


@pytest.fixture
def records(tmp_path):
    with RecordWriter(tmp_path / "records.jsonl", header()) as writer:
        for frame in FRAMES:
            writer.write(frame)
    return tmp_path / "records.jsonl"


def test_npz_holds_raw_and_shaped_columns_side_by_side(tmp_path):
    write_streams(tmp_path / "s.npz", FRAMES, wanted=ALL)
    shaped = [shape(s, ALL) for s in pose_streams(FRAMES)]
    with np.load(tmp_path / "s.npz") as data:
        about = json.loads(str(data["about"][()]))
        assert (about["schema"], about["version"]) == ("posepipe.streams", 1)
        assert (about["smooth"], about["rate"], about["columns"]) == ("zero-phase", 12.5, list(COLUMNS))
        for name, columns in {
            "xy": [s.stream.xy for s in shaped],
            "xy_smooth": [s.smooth for s in shaped],
            "kinematics": [s.kinematics.values for s in shaped],
            "kinematics_known": [s.kinematics.known for s in shaped],
            "state": [s.kinematics.state for s in shaped],
        }.items():
            np.testing.assert_array_equal(data[name], np.concatenate(columns))
    assert [len(s) for s in read_streams(tmp_path / "s.npz")] == [len(s.stream) for s in shaped]


def test_csv_has_a_row_for_each_person_and_frame_with_seconds(tmp_path):
    write_streams_csv(tmp_path / "s.csv", FRAMES, wanted=ALL)
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shaped = [shape(s, ALL) for s in pose_streams(FRAMES)]
    assert len(rows) == sum(len(s.stream) for s in shaped)
    assert list(rows[0])[:8] == ["track_id", "frame", "time_s", "seen", "x1", "y1", "x2", "y2"]
    assert list(rows[0])[-len(COLUMNS) - 2 :] == [*COLUMNS, "state", "transition"]
    times = np.concatenate([s.stream.pts for s in shaped])
    assert [float(row["time_s"]) for row in rows] == pytest.approx(times, abs=1e-6)
    first, body = rows[0], shaped[0].kinematics
    for k, name in enumerate(COCO17.keypoints):
        if shaped[0].stream.score[0, k] > 0:
            assert float(first[f"{name}_x_smooth"]) == pytest.approx(shaped[0].smooth[0, k, 0], abs=0.006)
        else:
            assert first[f"{name}_x"] == first[f"{name}_x_smooth"] == ""
    for c, name in enumerate(COLUMNS):
        assert (first[name] != "") == body.known[0, c]
    assert {row["state"] for row in rows} <= set(STATES)


def test_short_streams_are_left_out(tmp_path):
    write_streams(tmp_path / "s.npz", FRAMES, wanted=Wanted(min_frames=30))
    assert [s.track_id for s in read_streams(tmp_path / "s.npz")] == [2]


def test_streams_at_hand_are_written_as_from_frames(tmp_path):
    for name, write in {"a.npz": write_streams, "a.csv": write_streams_csv}.items():
        write(tmp_path / name, FRAMES, wanted=ALL)
        save_streams(tmp_path / f"b{name}", pose_streams(FRAMES), COCO17, ALL)
        assert (tmp_path / name).read_bytes() == (tmp_path / f"b{name}").read_bytes()


@pytest.mark.parametrize("name", ["out.npz", "out.csv"])
def test_the_command_writes_from_records_and_from_streams(tmp_path, records, name):
    flags = ["--smooth", "one-euro", "--rate", "30", "--kinematics", "--min-frames", "2", "--quiet"]
    assert cli.main(["streams", str(records), "-o", str(tmp_path / name), *flags]) == 0
    write_streams(tmp_path / "plain.npz", FRAMES)
    again = tmp_path / f"again-{name}"
    assert cli.main(["streams", str(tmp_path / "plain.npz"), "-o", str(again), *flags]) == 0
    assert again.read_bytes() == (tmp_path / name).read_bytes()


def test_streams_of_nobody_keep_their_skeleton(tmp_path):
    for people in ([], FRAMES_OF_THREE):
        write_streams(tmp_path / "s.npz", people, TRIANGLE)
        for name in ("again.npz", "again.csv"):
            out = str(tmp_path / name)
            assert cli.main(["streams", str(tmp_path / "s.npz"), "-o", out, "--overwrite", "--quiet"]) == 0
        assert read_streams_and_skeleton(tmp_path / "again.npz")[1] == TRIANGLE
        assert "left_foot_x" in (tmp_path / "again.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["-o", "out.txt"], 2, "OUT.npz or OUT.csv"),
        (["-o", "there.csv"], 6, "already exists"),
        (["-o", "out.csv", "--rate", "0"], 2, "out of range"),
        (["-o", "out.csv", "--smooth", "gauss"], 2, "gauss"),
        (["-o", "no/out.csv"], 6, "no/out.csv"),
    ],
)
def test_mistakes_are_named(tmp_path, records, monkeypatch, capsys, arguments, code, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    assert cli.main(["streams", str(records), *arguments]) == code
    assert text in capsys.readouterr().err
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_missing_file_is_named(tmp_path, capsys):
    for name in ("no.jsonl", "no.npz"):
        assert cli.main(["streams", str(tmp_path / name), "-o", str(tmp_path / "o.csv")]) == 3
        assert name in capsys.readouterr().err
