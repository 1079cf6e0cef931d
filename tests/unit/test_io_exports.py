from __future__ import annotations

import csv
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from results import TRIANGLE, header, result, videos

from posepipe.errors import InputError, OutputError
from posepipe.evaluation.mot_files import read_mot
from posepipe.io.exports import write_coco, write_csv, write_mot
from posepipe.io.records import RecordWriter, read_records
from posepipe.io.streams import pose_streams, read_streams, write_streams
from posepipe.skeleton import COCO17

WALK = [
    result(0, ids=(2, 1)),
    result(1),
    result(2, ids=(1,)),
    result(3, ids=(2, 1, 3), confirmed=(True, True, False)),
    result(4, skipped=True),
    result(5, ids=(1,), pts=0.25),
]
ROUND_TRIPS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_each_person_in_each_frame(tmp_path):
    write_csv(tmp_path / "poses.csv", WALK)
    rows = table(tmp_path / "poses.csv")
    assert [(r["frame"], r["track_id"]) for r in rows] == [
        *[("0", "2"), ("0", "1"), ("2", "1"), ("3", "2"), ("3", "1"), ("5", "1")],
    ]
    assert list(rows[0])[:11] == [
        *("frame", "time_s", "track_id", "x1", "y1", "x2", "y2", "score"),
        *("nose_x", "nose_y", "nose_score"),
    ]
    assert len(rows[0]) == 8 + 3 * 17
    assert rows[-1]["time_s"] == "0.250000"
    poses = WALK[0].tracks.poses
    for k, name in enumerate(COCO17.keypoints):
        score = float(rows[1][f"{name}_score"])
        assert score == pytest.approx(poses.score[1, k], abs=1e-6)
        if score:
            assert float(rows[1][f"{name}_x"]) == pytest.approx(poses.xy[1, k, 0], abs=1e-4)
            assert float(rows[1][f"{name}_y"]) == pytest.approx(poses.xy[1, k, 1], abs=1e-4)
        else:
            assert (rows[1][f"{name}_x"], rows[1][f"{name}_y"]) == ("", "")
    assert [float(rows[1][c]) for c in ("x1", "y1", "x2", "y2")] == pytest.approx(poses.boxes[1], abs=1e-4)


def test_csv_without_people_has_its_columns(tmp_path):
    write_csv(tmp_path / "poses.csv", [result(0, skeleton=TRIANGLE)], TRIANGLE)
    text = (tmp_path / "poses.csv").read_text()
    assert next(csv.reader(io.StringIO(text)))[-3:] == ["right, foot_x", "right, foot_y", "right, foot_score"]
    assert table(tmp_path / "poses.csv") == []


def test_mot_rows_are_read_back_by_the_evaluator(tmp_path):
    write_mot(tmp_path / "tracks.txt", WALK)
    rows = read_mot(tmp_path / "tracks.txt")
    assert rows.frame.tolist() == [1, 1, 3, 4, 4, 6]
    assert rows.track_id.tolist() == [2, 1, 1, 2, 1, 1]
    assert rows.boxes[0] == pytest.approx(WALK[0].tracks.boxes[0], abs=0.011)
    line = (tmp_path / "tracks.txt").read_text().splitlines()[0].split(",")
    assert len(line) == 10
    assert line[-3:] == ["-1", "-1", "-1"]


def test_coco_results_load_in_pycocotools(tmp_path):
    coco = pytest.importorskip("pycocotools.coco").COCO()
    write_coco(tmp_path / "coco_results.json", WALK)
    rows = json.loads((tmp_path / "coco_results.json").read_text())
    assert [r["image_id"] for r in rows] == [0, 0, 2, 3, 3, 5]
    assert all(len(r["keypoints"]) == 51 and r["category_id"] == 1 and 0 <= r["score"] <= 1 for r in rows)
    poses = WALK[0].tracks.poses
    assert np.reshape(rows[0]["keypoints"], (17, 3))[:, :2] == pytest.approx(poses.xy[0], abs=1e-3)
    found = poses.score[0][poses.score[0] > 0]
    assert rows[0]["score"] == pytest.approx(poses.box_score[0] * found.mean(), abs=1e-4)
    coco.dataset = {"images": [{"id": i} for i in range(6)], "categories": [{"id": 1}], "annotations": [], "info": {}}
    coco.createIndex()
    assert len(coco.loadRes(str(tmp_path / "coco_results.json")).anns) == 6


def test_nobody_gives_valid_files(tmp_path):
    write_coco(tmp_path / "c.json", [result(0)])
    write_mot(tmp_path / "t.txt", [])
    write_streams(tmp_path / "s.npz", [])
    assert json.loads((tmp_path / "c.json").read_text()) == []
    assert (tmp_path / "t.txt").read_bytes() == b""
    assert read_streams(tmp_path / "s.npz") == pose_streams([]) == []


def test_streams_keep_gaps(tmp_path):
    write_streams(tmp_path / "streams.npz", WALK)
    one, two = read_streams(tmp_path / "streams.npz")
    assert (one.track_id, two.track_id) == (1, 2)
    assert one.frame_index.tolist() == [0, 2, 3, 5]
    assert one.pts.tolist() == [0.0, 0.08, 0.12, 0.25]
    assert two.frame_index.tolist() == [0, 3]
    assert one.seen.all()
    assert one.skeleton is COCO17
    assert (one.xy[1] == WALK[2].tracks.poses.xy[0]).all()
    assert (two.boxes[1] == WALK[3].tracks.poses.boxes[0]).all()


def equal_streams(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert (x.track_id, x.skeleton) == (y.track_id, y.skeleton)
        for name in ("frame_index", "pts", "xy", "score", "boxes", "seen"):
            left, right = getattr(x, name), getattr(y, name)
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)


@ROUND_TRIPS
@given(frames=videos(skeleton=TRIANGLE))
def test_streams_in_a_file_equal_those_in_memory(tmp_path, frames):
    write_streams(tmp_path / "s.npz", frames, TRIANGLE)
    equal_streams(read_streams(tmp_path / "s.npz"), pose_streams(frames, TRIANGLE))


@ROUND_TRIPS
@given(frames=videos(skeleton=TRIANGLE))
def test_exports_count_the_same_people(tmp_path, frames):
    people = sum(int(f.tracks.confirmed.sum()) for f in frames)
    write_csv(tmp_path / "p.csv", frames, TRIANGLE)
    write_mot(tmp_path / "t.txt", frames)
    write_coco(tmp_path / "c.json", frames)
    assert len(table(tmp_path / "p.csv")) == people
    assert len((tmp_path / "t.txt").read_text().splitlines()) == people
    assert len(json.loads((tmp_path / "c.json").read_text())) == people
    assert sum(map(len, pose_streams(frames, TRIANGLE))) == people


def test_exports_from_records_equal_those_from_results_and_do_not_depend_on_the_clock(tmp_path):
    with RecordWriter(tmp_path / "r.jsonl", header()) as writer:
        for frame in WALK:
            writer.write(frame)
    for write in (write_csv, write_mot, write_coco, write_streams):
        write(tmp_path / "a", WALK)
        write(tmp_path / "b", read_records(tmp_path / "r.jsonl"))
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_many_rows_are_written_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("posepipe.io.streams._CHUNK", 7)
    frames = [result(i, ids=(1 + i % 3, 9)) for i in range(100)]
    write_streams(tmp_path / "s.npz", frames)
    equal_streams(read_streams(tmp_path / "s.npz"), pose_streams(frames))


def test_failure_on_the_way_leaves_nothing(tmp_path):
    def broken():
        yield WALK[0]
        raise InputError("records.jsonl, line 3: torn")

    for write in (write_csv, write_mot, write_coco, write_streams):
        with pytest.raises(InputError, match="line 3"):
            write(tmp_path / "out", broken())
        assert not list(tmp_path.iterdir())
        with pytest.raises(OutputError, match="out"):
            write(tmp_path / "no" / "out", WALK)


class Payload:
    def __reduce__(self):
        return print, ("code was run",)


@pytest.mark.parametrize(
    "kind", ["pickle", "text", "empty", "cut", "zip", "nan", "offsets", "order", "schema", "missing"]
)
def test_hostile_streams_are_refused_and_nothing_is_run(tmp_path, kind, capsys):
    path = tmp_path / "s.npz"
    write_streams(path, WALK)
    with np.load(path) as data:
        arrays = dict(data)
    if kind == "pickle":
        np.savez(path, **{**arrays, "about": np.array([Payload()], object)})
    elif kind in ("text", "empty"):
        path.write_text("hello" if kind == "text" else "")
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "hello")
    elif kind == "nan":
        np.savez(path, **{**arrays, "xy": arrays["xy"] * np.nan})
    elif kind == "offsets":
        np.savez(path, **{**arrays, "offsets": arrays["offsets"][::-1]})
    elif kind == "order":
        np.savez(path, **{**arrays, "pts": arrays["pts"][::-1]})
    elif kind == "schema":
        np.savez(path, **{**arrays, "about": np.array('{"schema":"other"}')})
    else:
        path.unlink()
    with pytest.raises(InputError, match=r"s\.npz"):
        read_streams(path)
    assert "code was run" not in capsys.readouterr().out
