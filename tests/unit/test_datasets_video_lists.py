"""Lists of videos: read, held out by group, and refused by name before a training starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from clips import write_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from posepipe.config import data_root
from posepipe.datasets.video_frames import FrameStore
from posepipe.datasets.video_lists import LabelledVideo, VideoList, check_videos, hold_out, read_video_list
from posepipe.datasets.video_sets import UCF101_SIZES, read_ucf101, read_upfall
from posepipe.errors import InputError

SPLITS = data_root() / "splits/ucf101"
official = pytest.mark.skipif(not SPLITS.is_dir(), reason="the official lists of UCF101 are not here")


def listing(tmp_path: Path, rows: str, head: str = "video,label,split") -> Path:
    path = tmp_path / "list.csv"
    path.write_text(f"{head}\n{rows}", encoding="utf-8")
    return path


def made(train: str, test: str = "", val: str = "", folder: Path = Path()) -> VideoList:
    """Videos a1, a2, b1 ...: the first letter is class and name of the group."""
    parts = {
        part: tuple(LabelledVideo(folder / f"{n}.mp4", "abc".index(n[0]), n) for n in names.split())
        for part, names in (("train", train), ("test", test), ("val", val))
    }
    return VideoList("a list", ("a", "b", "c"), parts)


def test_an_own_list_is_read(tmp_path: Path) -> None:
    rows = "x/1.mp4, sit ,train,p1\n/abs/2.mp4,stand,train,p1\n3.mp4,sit,test,\n4.mp4,sit,val,p2\n"
    listed = read_video_list(listing(tmp_path, rows, "video,label,split,group"))
    assert listed.classes == ("sit", "stand")
    one, two = listed["train"]
    assert (one.path, one.label, one.group) == (tmp_path / "x/1.mp4", 0, "p1")
    assert (two.path, two.label) == (Path("/abs/2.mp4"), 1)
    assert listed["test"][0].group == "3.mp4"
    assert [len(listed[part]) for part in ("train", "val", "test", "other")] == [2, 1, 1, 0]
    assert read_video_list(tmp_path / "list.csv", Path("/v"))["train"][0].path == Path("/v/x/1.mp4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,label\na,b\n", r"list\.csv lacks the columns split; got video, label"),
        ("", "lacks the columns video, label, split; got none"),
        ("video,label,split\na.mp4,sit,training\n", "row 2 of .* is not whole; got .*'training'.*expected split train"),
        ("video,label,split\na.mp4,sit,train\n,sit,train\n", "row 3 of .* is not whole"),
        ("video,label,split\na.mp4,sit\n", "row 2 of .* is not whole"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_video_list(path)


def test_an_unreadable_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the list"):
        read_video_list(tmp_path / "absent.csv")
    (tmp_path / "list.csv").write_bytes(b"video,label,split\n\xff\xfe,a,train\n")
    with pytest.raises(InputError, match="cannot read the list"):
        read_video_list(tmp_path / "list.csv")


def test_whole_groups_are_held_out() -> None:
    videos = tuple(LabelledVideo(Path(f"{g}{i}"), 0, g) for g in "pqrs" for i in range(5))
    single = (LabelledVideo(Path("x"), 1, "x"),)
    listed = VideoList("a list", ("a", "b"), {"train": videos + single, "test": ()})
    held = hold_out(listed, 0.4, seed=3)
    assert len(held["val"]) == 10  # 8 are wanted
    assert len(held["train"]) == 11
    assert {v.group for v in held["val"]} & {v.group for v in held["train"]} == set()
    assert single[0] in held["train"]
    assert hold_out(listed, 0.4, seed=3) == held
    assert len({tuple(v.group for v in hold_out(listed, 0.1, seed=s)["val"]) for s in range(9)}) > 1
    assert hold_out(listed, 1.0, seed=0)["train"]  # a class keeps its last group
    assert hold_out(held, 0.9, seed=3) == held
    assert hold_out(listed, 0.0, seed=3) is listed


def grouped(rows: str) -> VideoList:
    """Training videos by group: ``p:aab q:ab`` are two videos of class a and one of b of group p, and one each of q."""
    videos = [
        LabelledVideo(Path(f"{group}{i}.mp4"), "abc".index(label), group)
        for group, _, labels in (row.partition(":") for row in rows.split())
        for i, label in enumerate(labels)
    ]
    return VideoList("a list", ("a", "b", "c"), {"train": tuple(videos), "test": ()})


@pytest.mark.parametrize("seed", range(4))
def test_a_group_of_several_classes_moves_whole(seed: int) -> None:
    listed = grouped(" ".join(f"s{i}:aaabbc" for i in range(10)))
    held = hold_out(listed, 0.2, seed)
    assert [sorted(v.label for v in held[part]).count(1) for part in ("train", "val")] == [16, 4]
    assert len({v.group for v in held["val"]}) == 2
    assert sorted([*held["train"], *held["val"]], key=str) == sorted(listed["train"], key=str)
    assert not {v.group for v in held["val"]} & {v.group for v in held["train"]}


@pytest.mark.parametrize("seed", range(4))
def test_every_class_that_can_be_is_held_out(seed: int) -> None:
    # class c has two groups, each half of it: far from a tenth, but nearer than none
    held = hold_out(grouped(" ".join(f"s{i}:ab" for i in range(10)) + " x:c y:c"), 0.1, seed)
    assert sorted(v.label for v in held["val"]) == [0, 1, 2]
    # one person serves all classes; the other two stay
    assert len({v.group for v in hold_out(grouped("p:aabbc q:abbcc r:abc"), 0.1, seed)["val"]}) == 1
    # class c is p's alone: p stays
    assert {v.group for v in hold_out(grouped("p:abc q:ab r:ab"), 0.3, seed)["val"]} in ({"q"}, {"r"})


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=8), st.floats(0.01, 0.9), st.integers(0, 9)
)
def test_groups_are_never_divided_and_no_class_is_lost(rows: list[str], share: float, seed: int) -> None:
    listed = grouped(" ".join(f"g{i}:{row}" for i, row in enumerate(rows)))
    if all(
        any(row.count(c) and not any(o.count(c) for j, o in enumerate(rows) if j != i) for c in "abc")
        for i, row in enumerate(rows)
    ):
        with pytest.raises(InputError, match="no group of the training videos can be held out"):
            hold_out(listed, share, seed)
        return
    held = hold_out(listed, share, seed)
    train, val = ({v.group for v in held[part]} for part in ("train", "val"))
    assert val
    assert not train & val
    assert {v.label for v in held["train"]} == {v.label for v in listed["train"]}


def test_a_list_with_subjects_can_be_held_out_from_and_checked(tmp_path: Path) -> None:
    rows = [f"{s}{c}.mp4,{c},{'test' if s == 'z' else 'train'},{s}" for s in "pqrsz" for c in ("walk", "sit")]
    for row in rows:
        (tmp_path / row.partition(",")[0]).touch()
    listed = read_video_list(listing(tmp_path, "\n".join(rows), "video,label,split,group"))
    held = hold_out(listed, 0.1, 0)
    assert [len(held[part]) for part in ("train", "val", "test")] == [6, 2, 2]
    assert check_videos(held, lambda path: 9) == ()


def test_a_single_group_cannot_be_divided() -> None:
    with pytest.raises(InputError, match=r"no group .* can be held out to validate on; got one group"):
        hold_out(grouped("p:aabb"), 0.1, 0)
    with pytest.raises(InputError, match="got 2 groups, each the only one of a class"):
        hold_out(grouped("p:aab q:cc"), 0.1, 0)
    assert hold_out(grouped(""), 0.1, 0) == grouped("")


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    for name in ("a1", "a2", "c1"):
        write_clip(tmp_path / f"{name}.mp4", 3)
    listed = made("a1 a2 b1", "a3 c1", folder=tmp_path)
    with pytest.raises(InputError, match=r"a list cannot be trained on") as told:
        check_videos(listed, lambda path: 9)
    for part in ("1 classes have no training video: c (test only)", "2 videos are missing", "b1.mp4", "a3.mp4"):
        assert part in str(told.value)


def test_unreadable_and_short_videos_are_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "a1.mp4", 12)
    write_clip(tmp_path / "a2.mp4", 3)
    (tmp_path / "b1.mp4").write_bytes(b"nothing")
    store = FrameStore(32, tmp_path / "cache")
    with pytest.raises(InputError, match=r"2 videos cannot be used") as told:
        check_videos(made("a1 a2 b1", folder=tmp_path), store.count, least=11)
    assert "a2.mp4 (3 frames, at least 11 are needed)" in str(told.value)
    assert "b1.mp4 (cannot read b1.mp4 as a video" in str(told.value)
    with pytest.raises(InputError, match=r"2 videos cannot be used: a2\.mp4 .*, b1\.mp4"):
        check_videos(made("a1 a2 b1", folder=tmp_path), FrameStore(32, tmp_path / "d").count, least=11, threads=3)
    assert check_videos(made("a1", folder=tmp_path), store.count, least=11) == ()


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"15 videos are missing: .*a9\.mp4.*a10\.mp4 and 5 more"):
        check_videos(made(" ".join(f"a{i}" for i in range(1, 16)), folder=tmp_path), lambda path: 9)


def test_leaks_and_double_labels_are_refused(tmp_path: Path) -> None:
    for name in ("a1", "b1"):
        (tmp_path / f"{name}.mp4").touch()
    listed = made("a1 b1", "a1", folder=tmp_path)
    with pytest.raises(
        InputError, match=r"1 groups of videos stand in several parts: a1 \(train, test\).*--allow-leaks"
    ):
        check_videos(listed, lambda path: 9)
    (note,) = check_videos(listed, lambda path: 9, allow_leaks=True)
    assert "too good" in note
    double = VideoList(
        "a list",
        ("a", "b"),
        {"train": (LabelledVideo(tmp_path / "a1.mp4", 0, "x"), LabelledVideo(tmp_path / "a1.mp4", 1, "x"))},
    )
    with pytest.raises(InputError, match=r"1 videos have two labels: a1\.mp4 \(a, b\)"):
        check_videos(double, lambda path: 9)
    with pytest.raises(InputError, match="no training videos"):
        check_videos(made("", "a1", folder=tmp_path), lambda path: 9)


@official
@pytest.mark.parametrize("split", [1, 2, 3])
def test_official_lists_of_ucf101(tmp_path: Path, split: int) -> None:
    listed = read_ucf101(SPLITS, tmp_path, split)
    assert (len(listed["train"]), len(listed["test"])) == UCF101_SIZES[split]
    assert len(listed.classes) == 101
    assert (listed.classes[0], listed.classes[100]) == ("ApplyEyeMakeup", "YoYo")
    assert {v.group for v in listed["train"]} & {v.group for v in listed["test"]} == set()
    for part in ("train", "test"):
        assert {v.label for v in listed[part]} == set(range(101))
    labelled = dict(line.split() for line in (SPLITS / f"trainlist0{split}.txt").read_text().splitlines())
    assert [v.label + 1 for v in listed["train"]] == [int(number) for number in labelled.values()]


@official
@pytest.mark.parametrize(
    "place", ["HandstandPushups/v_HandStandPushups", "HandStandPushups/v_HandstandPushups", "v_HandStandPushups"]
)
def test_handstand_pushups_are_found_however_they_are_written(tmp_path: Path, place: str) -> None:
    path = tmp_path / f"{place}_g08_c01.avi"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    found = [v for v in read_ucf101(SPLITS, tmp_path)["train"] if v.path.exists()]
    assert [v.path for v in found] == [path]
    assert found[0].label == 36
    assert found[0].group == "HandstandPushups g08"


@official
def test_broken_official_lists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*classInd\.txt"):
        read_ucf101(tmp_path, tmp_path)
    for name in ("classInd.txt", "trainlist01.txt", "testlist01.txt"):
        text = (SPLITS / name).read_text()
        (tmp_path / name).write_text(text[: len(text) // 2] if name.startswith("train") else text)
    with pytest.raises(InputError, match=r"trainlist01\.txt is not the official list; got \d+ lines; expected 9537"):
        read_ucf101(tmp_path, tmp_path)
    with pytest.raises(InputError, match="no split 4"):
        read_ucf101(SPLITS, tmp_path, 4)


@pytest.mark.skipif(not (data_root() / "upfall").is_dir(), reason="the clips of UP-Fall are not here")
def test_upfall_by_trial() -> None:
    listed = read_upfall(data_root() / "upfall")
    assert (len(listed["train"]), len(listed["test"]), len(listed.classes)) == (44, 22, 11)
    assert listed.classes[5] == "walking"
    assert all("Trial3" in v.path.name for v in listed["test"])
    assert {v.group for v in listed["train"]} & {v.group for v in listed["test"]} == set()
    assert all(f"Activity{v.label + 1}_" in v.path.name for v in listed["train"])


def test_a_wrong_upfall_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*labels\.csv"):
        read_upfall(tmp_path)
    (tmp_path / "labels.csv").write_text("file,activity\na.mp4,x\n")
    with pytest.raises(InputError, match=r"cannot read .*labels\.csv"):
        read_upfall(tmp_path)
