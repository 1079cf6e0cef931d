from __future__ import annotations

from pathlib import Path

import pytest

from posepipe.run.inputs import Job, plan


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def pairs(jobs: list[Job]) -> list[tuple[str, str | int]]:
    return [(job.name, job.source) for job in jobs]


def test_a_file_is_called_by_its_stem(tmp_path: Path) -> None:
    touch(tmp_path / "walk.v2.mp4")
    assert pairs(plan([str(tmp_path / "walk.v2.mp4")])) == [("walk.v2", str(tmp_path / "walk.v2.mp4"))]


def test_inputs_of_one_name_get_folders_of_their_own(tmp_path: Path) -> None:
    clips = [tmp_path / "a/clip.mp4", tmp_path / "b/clip.mp4", tmp_path / "b/clip.avi", tmp_path / "b/Clip-2.avi"]
    touch(*clips)
    assert [job.name for job in plan([str(c) for c in clips])] == ["clip", "clip-2", "clip-3", "Clip-2-2"]


def test_one_input_named_twice_is_one_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    assert pairs(plan(["clip.mp4", str(tmp_path / "clip.mp4"), "./clip.mp4", "*.mp4"])) == [("clip", "clip.mp4")]


def test_a_folder_of_videos_is_taken_apart_in_order(tmp_path: Path) -> None:
    touch(tmp_path / "b.MP4", tmp_path / "a.avi", tmp_path / "notes.txt", tmp_path / "thumb.jpg", tmp_path / "._a.avi")
    assert [job.name for job in plan([str(tmp_path)])] == ["a", "b"]


def test_what_is_left_out_of_a_folder_of_videos_is_told(tmp_path: Path) -> None:
    videos = [tmp_path / f"v/{i}{suffix}" for i, suffix in enumerate((".mp4", ".MXF", ".h264", ".3g2", ".y4m"))]
    touch(*videos, *(tmp_path / f"v/notes{i}.txt" for i in range(7)), tmp_path / "v/x.unknown")
    touch(tmp_path / "v/thumb.jpg", tmp_path / "v/.hidden", tmp_path / "v/s1/a.mp4", tmp_path / "v/labels/a.json")
    told: list[str] = []
    assert [job.name for job in plan([str(tmp_path / "v")], told.append)] == ["0", "1", "2", "3", "4"]
    assert told == [
        f"left out of {tmp_path}/v: notes0.txt, notes1.txt, notes2.txt, notes3.txt, notes4.txt and 3 more "
        "(no videos by their names)",
        f"left out of {tmp_path}/v: s1/ (a pattern such as '{tmp_path}/v/**/*.mp4' takes their videos along)",
    ]
    told.clear()
    touch(tmp_path / "p/1.jpg", tmp_path / "p/notes.txt")
    plan([str(tmp_path / "p"), str(tmp_path / "v/s1")], told.append)
    assert told == []


def test_a_folder_of_pictures_is_one_input(tmp_path: Path) -> None:
    touch(tmp_path / "shots/1.png", tmp_path / "shots/2.png")
    assert pairs(plan([str(tmp_path / "shots")])) == [("shots", str(tmp_path / "shots"))]


def test_the_folder_here_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "shots/1.png")
    monkeypatch.chdir(tmp_path / "shots")
    assert pairs(plan(["."])) == [("shots", ".")]


def test_patterns(tmp_path: Path) -> None:
    touch(tmp_path / "v/a.mp4", tmp_path / "v/deep/b.mp4", tmp_path / "p/1.jpg", tmp_path / "p/2.jpg")
    assert [job.name for job in plan([str(tmp_path / "v/**/*.mp4")])] == ["a", "b"]
    assert pairs(plan([str(tmp_path / "p/*.jpg")])) == [("p", str(tmp_path / "p/*.jpg"))]
    nothing = str(tmp_path / "none/*.mp4")
    (job,) = plan([nothing])
    assert pairs([job]) == [("none", nothing)]
    assert job.label(tmp_path / "out" / "none") == nothing


def test_cameras_streams_and_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = plan(["0", "rtsp://user:secret@cam.local:554/live?token=1", "missing.mp4", "é 1.mp4"])
    assert pairs(jobs) == [
        ("webcam0", 0),
        ("cam.local_554_live", "rtsp://user:secret@cam.local:554/live?token=1"),
        ("missing", "missing.mp4"),
        ("é_1", "é 1.mp4"),
    ]
    assert [job.path for job in jobs] == [None] * 4
    assert [job.told for job in jobs] == ["webcam0", "rtsp://cam.local:554/live", "missing.mp4", "é 1.mp4"]


def test_a_file_called_by_a_number_is_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "0")
    assert pairs(plan(["0"])) == [("0", "0")]


@pytest.mark.parametrize("name", ["..mp4", "...", "  .mp4", "_._", "a/..", "-"])
def test_no_name_leaves_the_output_folder(name: str) -> None:
    (job,) = plan([name])
    assert job.name
    assert (Path("out") / job.name).resolve().parent == Path("out").resolve()
    assert job.name not in (".", "..")


def test_what_is_found_is_called_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "shots" / "a" / "b" / "c"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(b"")
    (deep,) = plan([str(tmp_path / "shots" / "**" / "*.png")])
    (stream,) = plan(["rtsp://host/cam?channel=1"])
    assert deep.label(tmp_path / deep.name) == deep.name
    assert stream.label(tmp_path / stream.name) == stream.name
