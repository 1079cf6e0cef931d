"""Public forms of action sets: pickles that are refused and that are read, skeleton files of NTU, MA-52, UP-Fall."""

from __future__ import annotations

import csv
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posepipe.config import data_root
from posepipe.datasets.action_formats import open_action_set
from posepipe.datasets.action_skeletons import KINECT25
from posepipe.datasets.action_streams import main_actor
from posepipe.datasets.actions_ntu import missing_skeletons, ntu_part, read_ntu
from posepipe.datasets.actions_pickle import read_action_pickle, read_ma52
from posepipe.datasets.actions_upfall import read_upfall
from posepipe.datasets.plain_pickle import read_plain_pickle
from posepipe.errors import InputError, UsageError
from posepipe.io.streams import save_streams
from posepipe.skeleton import COCO17
from posepipe.streams.shaping import Wanted
from posepipe.types import PoseStream


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_pickles_come_back(tmp_path: Path, protocol: int) -> None:
    value = {
        "a": [1, 2.5, None, True, "text", b"bytes", (1, (2,))],
        "half": np.arange(24, dtype=np.float16).reshape(2, 3, 4),
        "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "text": np.array(["x", "yz"]),
        "scalar": np.float32(0.25),
        "empty": np.zeros((0, 3), np.int32),
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    back = read_plain_pickle(path)
    assert back["a"] == value["a"]
    for name in ("half", "turned", "big", "text", "empty"):
        np.testing.assert_array_equal(back[name], value[name])
        assert back[name].dtype == value[name].dtype
    assert back["scalar"] == np.float32(0.25)


@pytest.mark.parametrize(
    "hostile",
    [
        Calls(os.system, "touch {marker}"),
        Calls(eval, "open('{marker}', 'w')"),
        Calls(getattr, "text", "upper"),
        Calls(np.load, "{marker}"),
        Calls(np.ndarray, (10**15,)),
        {"a": [np.zeros(2), Calls(os.system, "touch {marker}")]},
        np.array([Calls(os.system, "touch {marker}")], object),
        np.zeros(2, [("a", "O")]),
    ],
)
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path: Path, hostile: Any) -> None:
    marker, path = tmp_path / "marker", tmp_path / "evil.pkl"
    data = pickle.dumps(hostile, 4)
    place = str(marker).encode()
    path.write_bytes(data.replace(b"{marker}", place) if len(place) == len(b"{marker}") else data)
    with pytest.raises(InputError, match="refused"):
        read_plain_pickle(path)
    assert not marker.exists()
    assert not Path("{marker}").exists()


def test_damaged_pickles_are_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.arange(100), "b": ["x"] * 9}, 4)
    for cut in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pkl").write_bytes(whole[:cut])
        with pytest.raises(InputError, match="cut"):
            read_plain_pickle(tmp_path / "cut.pkl")
    endless: list[Any] = []
    endless.append(endless)
    (tmp_path / "loop.pkl").write_bytes(pickle.dumps(endless))
    with pytest.raises(InputError, match="loop"):
        read_plain_pickle(tmp_path / "loop.pkl")


def annotation(name: str, label: int, joints: int = 17, people: int = 1) -> dict[str, Any]:
    xy = np.random.default_rng(label).uniform(0, 200, (people, 12, joints, 2)).astype(np.float16)
    score = np.ones((people, 12, joints), np.float16)
    score[0, 3] = 0
    shape = {"img_shape": (1080, 1920), "original_shape": (1080, 1920), "total_frames": 12}
    return {"frame_dir": name, "label": label, "keypoint": xy, "keypoint_score": score, **shape}


def test_a_set_of_mmaction2_is_read(tmp_path: Path) -> None:
    names = ["S001C001P001R001A001", "S001C002P003R001A060"]
    split = {"xsub_train": names[:1], "xsub_val": names[1:], "xview_train": names[1:], "xview_val": names[:1]}
    rows = [annotation(names[0], 0), annotation(names[1], 59, people=2)]
    path = tmp_path / "ntu60_hrnet.pkl"
    path.write_bytes(pickle.dumps({"split": split, "annotations": rows}))
    clips = read_action_pickle(path, "xsub")
    assert (len(clips.classes.names), len(clips.classes.coarse), clips.skeleton) == (60, 8, COCO17)
    assert [(s.part, s.label, len(s.xy), s.size) for s in clips.samples] == [
        ("train", 0, 1, (1920, 1080)),
        ("test", 59, 2, (1920, 1080)),
    ]
    assert not clips.samples[0].score[0, 3].any()
    assert [s.part for s in open_action_set("pickle", path, "xview").samples] == ["test", "train"]
    with pytest.raises(UsageError, match="xset"):
        read_action_pickle(path, "xset")
    with pytest.raises(UsageError, match="protocol"):
        read_action_pickle(path)


def test_what_is_no_set_of_mmaction2_is_told(tmp_path: Path) -> None:
    path = tmp_path / "set.pkl"
    for wrong in ([1, 2], {"annotations": [{"label": 1}]}, {}, [annotation("a", 0, joints=9)]):
        path.write_bytes(pickle.dumps(wrong))
        with pytest.raises(InputError, match="set"):
            read_action_pickle(path)
    both = {"split": {"train1": ["a"], "test1": ["a"]}, "annotations": [annotation("a", 0)]}
    path.write_bytes(pickle.dumps(both))
    with pytest.raises(InputError, match="are in train1 and in test1: a"):
        read_action_pickle(path)


def test_ma52_is_read_part_by_part(tmp_path: Path) -> None:
    folder = tmp_path / "MA-52_openpose_28kp"
    folder.mkdir()
    for part, labels in (("train", (0, 51)), ("val", (11,))):
        rows = [annotation(f"{part}{label}", label, 28) for label in labels]
        (folder / f"MA52_{part}.pkl").write_bytes(pickle.dumps(rows))
    clips = read_ma52(tmp_path)
    assert [(s.part, clips.classes.coarse[clips.classes.coarse_of[s.label]]) for s in clips.samples] == [
        ("train", "body"),
        ("train", "leg-hand"),
        ("val", "upper limb"),
    ]
    (folder / "MA52_train.pkl").unlink()
    with pytest.raises(InputError, match="MA52_train"):
        read_ma52(tmp_path)


def skeleton_file(path: Path, bodies: int = 1, frames: int = 3, still: bool = False) -> None:
    """Frames of bodies; the last one moves most, and in the second frame nobody is there."""
    lines = [str(frames)]
    for frame in range(frames):
        lines.append(str(0 if frame == 1 else bodies))
        for body in range(bodies if frame != 1 else 0):
            lines += [f"7205759{body} 0 1 1 1 1 0 0.1 0.2 2", "25"]
            move = 0 if still else frame * body
            x = "NaN" if body == bodies - 1 and frame == 2 else str(900 + 10 * body)
            rows = [f"{0.1 * j + move} 0.2 3.0 200.0 180.0 {x} {400 + j} 0 0 0 0 {j % 3}" for j in range(25)]
            lines += rows
    path.write_text("\n".join(lines) + "\n")


def test_skeleton_files_of_ntu_are_read(tmp_path: Path) -> None:
    skeleton_file(tmp_path / "S001C001P001R001A002.skeleton", 3)
    skeleton_file(tmp_path / "S001C002P003R002A060.skeleton")
    skeleton_file(tmp_path / "S002C001P001R001A008.skeleton")
    (tmp_path / "NTU_missing_skeletons.txt").write_text("There are some:\nS002C001P001R001A008\n")
    clips = read_ntu(tmp_path, "xsub")
    first, second = clips.samples
    assert (first.name, first.label, first.part, first.subject, first.camera) == (
        *("S001C001P001R001A002", 1, "train", "P001", "C001"),
    )
    assert (second.part, second.label) == ("test", 59)
    assert first.xy.shape == (2, 3, 25, 2)
    assert first.xy[0, 0, 3].tolist() == [920, 403]  # the one who moves most comes first
    assert first.score[0, 0, :3].tolist() == [0, 0.5, 1]
    assert not first.score[:, 1].any()
    assert not first.score[0, 2].any()  # the picture's coordinates are not numbers
    assert [s.part for s in read_ntu(tmp_path, "xview").samples] == ["test", "train"]
    with pytest.raises(UsageError, match="xsubject"):
        read_ntu(tmp_path, "xsubject")
    with pytest.raises(InputError, match="holds no skeletons"):
        read_ntu(tmp_path / "nowhere")
    (tmp_path / "S001C001P001R001A002.skeleton").write_text("2\n1\n72 0\n25\n1 2 3\n")
    with pytest.raises(InputError, match="A002"):
        read_ntu(tmp_path)


def test_splits_of_ntu_are_the_published_ones() -> None:
    folder = data_root() / "splits/ntu"
    if not folder.is_dir():
        pytest.skip("the measuring data is not here (POSEPIPE_DATA)")
    counts = {60: (302, 56578), 120: (535, 113945)}
    for classes, stem in ((60, "NTU_RGBD"), (120, "NTU_RGBD120")):
        missing = missing_skeletons(folder / f"{stem}_samples_with_missing_skeletons.txt")
        assert len(missing) == counts[classes][0]
        names = (folder / f"data/ntu{'120' if classes == 120 else ''}/statistics/skes_available_name.txt").read_text()
        usable = sorted(set(names.split()) - set(missing))
        assert len(usable) == counts[classes][1]
        sizes = {
            p: sum(ntu_part(n, p, large=classes == 120) == "train" for n in usable) for p in ("xsub", "xview", "xset")
        }
        # of PYSKL's and mmaction2's lists
        wanted = {60: {"xsub": 40091, "xview": 37646}, 120: {"xsub": 63026, "xset": 54468}}
        assert {p: sizes[p] for p in wanted[classes]} == wanted[classes]


def stream(track: int, first: int, last: int, x: float, side: float) -> PoseStream:
    at = np.arange(first, last)
    boxes = np.tile(np.array([x, 100, x + side, 100 + 2 * side], np.float32), (len(at), 1))
    xy = np.full((len(at), 17, 2), x, np.float32)
    return PoseStream(track, at, at / 18, xy, np.ones((len(at), 17)), boxes, at >= 0)


def test_the_main_actor_goes_on_in_a_new_track() -> None:
    actor, lost, far, small = (
        stream(1, 0, 20, 100, 80),
        stream(3, 24, 30, 140, 60),
        stream(4, 31, 40, 500, 70),
        stream(2, 0, 40, 300, 20),
    )
    xy, score, frames = main_actor([small, actor, far, lost])
    assert frames.tolist() == [*range(20), *range(24, 30)]
    assert xy[0, [0, -1], 0, 0].tolist() == [100, 140]
    assert score.shape == (1, 26, 17)


def test_upfall_takes_who_acts_and_not_who_sits_behind(tmp_path: Path) -> None:
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "activity", "name", "is_fall", "subject", "trial", "camera"])
        rows.writerows(
            [[f"a{n}.mp4", 6, "walking", 0, 1, trial, camera] for n, trial, camera in ((1, 1, 1), (2, 3, 2))]
        )
    for name in ("a1", "a2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        people = [stream(1, 0, 10, 100, 50), stream(2, 0, 90, 540, 60)]
        save_streams(tmp_path / "runs" / name / "streams.npz", people, COCO17, Wanted())
    by_trial, by_camera = (read_upfall(tmp_path, p, tmp_path / "runs") for p in ("trial", "camera"))
    assert [s.part for s in by_trial.samples] == [s.part for s in by_camera.samples] == ["train", "test"]
    assert [len(s) for s in by_trial.samples] == [90, 10]
    assert by_trial.classes.names[by_trial.samples[0].label] == "walking"
    with pytest.raises(UsageError, match="subject"):
        read_upfall(tmp_path, "subject")
    with pytest.raises(InputError, match="no results of a run"):
        read_upfall(tmp_path, "trial", tmp_path)


def test_kinect_points_of_ntu_are_25() -> None:
    assert len(KINECT25) == 25
