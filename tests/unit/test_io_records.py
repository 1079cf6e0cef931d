from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from results import TRIANGLE, header, result, same, videos

from posepipe.errors import InputError, OutputError
from posepipe.io.records import RecordWriter, read_records, resume_point
from posepipe.io.schema import dump, parse, skeleton_from_json, skeleton_to_json
from posepipe.skeleton import COCO17
from posepipe.types import Action


def write(path, frames, skeleton=COCO17, status="ok", reason=None):
    with RecordWriter(path, header(skeleton)) as writer:
        for frame in frames:
            writer.write(frame)
        writer.close(status, reason)
    return path


def some_frames(count=5):
    action = Action(2, "walks", 3, np.array([0.25, 0.75], np.float32), 0, 4, 0.0, 0.16)
    frames = [result(i, ids=range(1, 1 + i % 3), confirmed=[True, False][: i % 3]) for i in range(count)]
    return [*frames, result(count, ids=[7], actions=(action,)), result(count + 1, skipped=True)]


def test_lines_are_as_documented(tmp_path):
    path = write(tmp_path / "r.jsonl", [result(12, ids=[3], pts=0.48)])
    lines = path.read_text("utf-8").splitlines()
    first, frame, last = map(json.loads, lines)
    assert list(first)[:3] == ["type", "schema", "version"]
    assert first["skeleton"]["keypoints"][0] == "nose"
    assert list(frame) == ["type", "frame", "pts", "people"]
    assert (frame["frame"], frame["pts"]) == (12, 0.48)
    assert list(frame["people"][0]) == ["id", "confirmed", "age", "box", "track_box", "score", "keypoints"]
    assert np.shape(frame["people"][0]["keypoints"]) == (17, 3)
    assert last == {"type": "summary", "status": "ok", "frames": 1, "people": 1, "tracks": 1, "reason": None}
    assert not any(" " in line for line in lines)


def test_everything_comes_back(tmp_path):
    frames = some_frames()
    records = read_records(write(tmp_path / "r.jsonl", frames, status="damaged", reason="a hole"))
    back = list(records)
    assert len(back) == len(frames)
    assert all(same(a, b) for a, b in zip(frames, back, strict=True))
    assert all(same(a, b) for a, b in zip(frames, records.frames, strict=True))
    assert (records.summary["status"], records.summary["reason"]) == ("damaged", "a hole")
    assert records.skeleton is COCO17


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=videos(skeleton=TRIANGLE))
def test_write_read_write_gives_the_same_bytes(tmp_path, frames):
    frames = [replace(frame, frame_index=i) for i, frame in enumerate(frames)]
    one = write(tmp_path / "1.jsonl", frames, TRIANGLE)
    two = write(tmp_path / "2.jsonl", read_records(one), TRIANGLE)
    assert one.read_bytes() == two.read_bytes()


def test_skeletons_come_back_whole():
    assert skeleton_from_json(json.loads(json.dumps(skeleton_to_json(TRIANGLE)))) == TRIANGLE
    assert skeleton_from_json(skeleton_to_json(COCO17)) is COCO17
    for value in (None, {}, {**skeleton_to_json(TRIANGLE), "keypoints": [1, 2, 3]}, {"name": "x"}):
        with pytest.raises(ValueError, match="skeleton"):
            skeleton_from_json(value)


# --- broken off and continued -----------------------------------------------------------------------------------------


def test_torn_last_line_is_left_out_and_cut_off(tmp_path):
    frames = some_frames()
    path = write(tmp_path / "r.jsonl", frames)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(ends[0], len(whole), 37):
        path.write_bytes(whole[:size])
        held = sum(end <= size for end in ends[1:-1])
        records = read_records(path)
        assert len(list(records)) == held
        assert records.summary is None
        point = resume_point(path)
        assert (point.frames, point.header) == (held, records.header)
        with RecordWriter(path, header(), append=True) as writer:
            for frame in frames[held:]:
                writer.write(frame)
            writer.close("ok")
        assert path.read_bytes() == whole


def test_finished_file_can_be_continued_too(tmp_path):
    path = write(tmp_path / "r.jsonl", some_frames())
    whole = path.read_bytes()
    assert resume_point(path).frames == 7
    with RecordWriter(path, header(), append=True) as writer:
        writer.close("ok")
    assert path.read_bytes() == whole


def test_other_settings_are_not_mixed_in(tmp_path):
    path = write(tmp_path / "r.jsonl", some_frames())
    before = path.read_bytes()
    with pytest.raises(InputError, match="other settings"):
        RecordWriter(path, {**header(), "config": {"stride": 2}}, append=True)
    assert path.read_bytes() == before


def test_block_that_raises_leaves_no_summary(tmp_path):
    with pytest.raises(KeyError), RecordWriter(tmp_path / "r.jsonl", header()) as writer:  # noqa: PT012 - a torn run
        writer.write(result(0))
        raise KeyError
    records = read_records(tmp_path / "r.jsonl")
    assert (len(list(records)), records.summary) == (1, None)


def test_places_that_cannot_be_written_are_told(tmp_path):
    with pytest.raises(OutputError, match=r"r\.jsonl"):
        RecordWriter(tmp_path / "no" / "r.jsonl", header())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_told():
    with pytest.raises(OutputError, match="space"):
        RecordWriter("/dev/full", header())


ENDLESS = """
import sys
sys.path.insert(0, sys.argv[2])
from results import header, result
from posepipe.io.records import RecordWriter
writer = RecordWriter(sys.argv[1], header())
for i in range(100_000):
    writer.write(result(i, ids=(1, 2)))
    print(i, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.parametrize("frame", [3, 40])
def test_kill_loses_no_acknowledged_frame(tmp_path, frame):
    path = tmp_path / "r.jsonl"
    run = [sys.executable, "-c", ENDLESS, str(path), str(Path(__file__).parents[1])]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) == frame:
                process.send_signal(signal.SIGKILL)
                break
        acknowledged = frame + 1 + len(process.stdout.readlines())
    assert resume_point(path).frames >= acknowledged
    assert [r.frame_index for r in read_records(path)][:acknowledged] == list(range(acknowledged))


# --- hostile and damaged ----------------------------------------------------------------------------------------------

GOOD = dump({"type": "frame", "frame": 1, "pts": 0.1, "people": []})


def person(**changes):
    one = {
        "id": 1,
        "confirmed": True,
        "age": 1,
        "box": [0, 0, 9, 9],
        "track_box": [0, 0, 9, 9],
        "score": 0.5,
        "keypoints": [[1, 2, 0.5]] * 17,
    }
    return json.dumps({"type": "frame", "frame": 1, "pts": 0.1, "people": [{**one, **changes}]})


def without(key):
    value = json.loads(person())
    del value["people"][0][key]
    return json.dumps(value)


WRONG = [
    "{",
    "[]",
    "null",
    "\x00\x00",
    "\xff",
    '{"type":"frame"}',
    '{"type":"other"}',
    GOOD.replace("0.1", "NaN"),
    GOOD.replace("0.1", "Infinity"),
    GOOD.replace("0.1", "1e999"),
    GOOD.replace("0.1", '"0.1"'),
    GOOD.replace("0.1", "true"),
    GOOD.replace('"frame":1', '"frame":1.5'),
    GOOD.replace('"frame":1', '"frame":1' + "0" * 400),
    GOOD.replace('"frame":1', '"frame":1' + "0" * 5000),
    GOOD.replace("[]", "[1]"),
    GOOD.replace("[]", "{}"),
    GOOD.replace("[]", "[" * 100_000 + "]" * 100_000),
    person(id="1"),
    person(id=True),
    person(id=2**40),
    person(confirmed=1),
    person(box=[0, 0, 9]),
    person(box=["0", "0", "9", "9"]),
    person(box=[0, 0, 9, None]),
    person(box=[[0], 0, 9, 9]),
    person(box=[0, 0, 9, 1e39]),
    person(box=[0, 0, 9, 10**400]),
    person(keypoints=[[1, 2, 0.5]] * 16),
    person(keypoints={}),
    person(score=None),
    *(without(key) for key in ("id", "confirmed", "age", "box", "track_box", "score", "keypoints")),
    GOOD.replace("}", ',"actions":[{}]}'),
    GOOD.replace("}", ',"actions":5}'),
    GOOD.replace("}", ',"skipped":"no"}'),
    GOOD.replace('"frame":1', '"frame":0'),
    GOOD.replace("0.1", "0.0"),
]


@pytest.mark.parametrize("lost", [0, 3, 6])
def test_a_lost_frame_is_named(tmp_path, lost):
    path = write(tmp_path / "r.jsonl", some_frames())
    lines = path.read_text("utf-8").splitlines(keepends=True)
    del lines[1 + lost]
    path.write_text("".join(lines), "utf-8")
    says = f"the line of frame {lost} is missing" if lost < 6 else "missing before it; got 6 frames; expected 7"
    with pytest.raises(InputError, match=says):
        list(read_records(path))
    path.write_text("".join(lines[:-1]), "utf-8")  # of a run that broke off nobody knows how many there were
    if lost == 6:
        assert len(list(read_records(path))) == 6


@pytest.mark.parametrize("line", WRONG, ids=range(len(WRONG)))
def test_wrong_line_is_named(tmp_path, line):
    path = tmp_path / "r.jsonl"
    start = dump({"type": "header", "schema": "posepipe.records", "version": 1, **header()}) + "\n"
    frame = dump({"type": "frame", "frame": 0, "pts": 0.0, "people": []}) + "\n"
    path.write_bytes((start + frame).encode() + line.encode("latin-1") + b"\n")
    with pytest.raises(InputError, match=r"r\.jsonl, line 3: ") as error:
        list(read_records(path))
    assert len(str(error.value)) < 600


def test_two_people_never_share_an_id(tmp_path):
    one = json.loads(person())
    one["people"] *= 2
    path = write(tmp_path / "r.jsonl", [])
    path.write_text(path.read_text().splitlines()[0] + "\n" + json.dumps(one) + "\n")
    with pytest.raises(InputError, match=r"line 2: .*repeats an id"):
        list(read_records(path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ('{"type":"header"', "is empty or its first line broke off"),
        ("hello\n", "line 1"),
        ('{"type":"header","schema":"other","version":1}\n', "not a header"),
        ('{"type":"header","schema":"posepipe.records","version":2}\n', "another version"),
        ('{"type":"header","schema":"posepipe.records","version":1}\n', "skeleton"),
    ],
)
def test_wrong_header_is_told(tmp_path, text, says):
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(InputError, match=says):
        read_records(tmp_path / "r.jsonl")


def test_missing_file_and_line_after_the_end_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        read_records(tmp_path / "none.jsonl")
    path = write(tmp_path / "r.jsonl", [result(0)])
    with path.open("a") as file:
        file.write(GOOD + "\n")
    with pytest.raises(InputError, match="after the summary"):
        list(read_records(path))


def test_endless_line_is_refused_without_reading_it_all(tmp_path):
    path = write(tmp_path / "r.jsonl", [])
    with path.open("ab") as file:
        for _ in range(100):
            file.write(b"[" * (1 << 20))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"line 3: .*too long"):
        list(read_records(path))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_reading_takes_no_more_memory_for_more_frames(tmp_path):
    def peak(count):
        path = write(tmp_path / f"{count}.jsonl", (result(i, ids=(1, 2)) for i in range(count)))
        tracemalloc.start()
        assert sum(1 for _ in read_records(path)) == count
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        path.unlink()
        return top

    few, many = peak(50), peak(500)
    assert many < few + 500_000


def test_parse_takes_objects_only():
    assert parse('{"a":1}') == {"a": 1}
    with pytest.raises(ValueError, match="got list"):
        parse("[]")
