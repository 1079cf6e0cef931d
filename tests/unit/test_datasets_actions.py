"""Sets of clips: what holds in them, and what readers make of files."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_actions import CLASSES, SKELETON, clip, tiny_set

from posepipe.config import data_root
from posepipe.datasets.action_classes import JHMDB14, MA52, NTU60, UPFALL, UTKINECT
from posepipe.datasets.action_skeletons import JHMDB15, KINECT20, OPENPOSE28
from posepipe.datasets.actions import ActionClasses, ActionSet, check_parts, join_sets
from posepipe.datasets.actions_jhmdb import read_jhmdb14
from posepipe.datasets.actions_npz import read_action_npz, write_action_npz
from posepipe.datasets.actions_own import read_own_actions
from posepipe.datasets.actions_utkinect import read_utkinect
from posepipe.errors import InputError, UsageError
from posepipe.io.streams import save_streams
from posepipe.skeleton import COCO17
from posepipe.streams.shaping import Wanted
from posepipe.types import PoseStream


def test_classes_have_names_and_a_whole_map() -> None:
    for wrong in ((("a", "a"), (), ()), (("a", "b"), ("x",), ()), (("a", "b"), ("x", "y"), (0, 0)), ((), (), ())):
        with pytest.raises(ValueError, match="class"):
            ActionClasses(*wrong)
    grouped = ActionClasses.grouped({"x": ("b", "c"), "y": ("a",)})
    assert grouped.sorted_as(("a", "b", "c")) == ActionClasses(("a", "b", "c"), ("x", "y"), (1, 0, 0))


def test_the_coarse_classes_of_ma52_are_its_own() -> None:
    edges = (0, 5, 11, 24, 32, 38, 48, 52)
    assert MA52.coarse_of == tuple(group for group in range(7) for _ in range(edges[group], edges[group + 1]))
    for classes, fine, coarse in ((NTU60, 60, 8), (JHMDB14, 14, 4), (UTKINECT, 10, 3), (UPFALL, 11, 3)):
        assert (len(classes.names), len(classes.coarse)) == (fine, coarse)


def test_openpose_points_swap_as_the_published_lists_say() -> None:
    left, right = [2, 3, 4, 8, 9, 10, 14, 16], [5, 6, 7, 11, 12, 13, 15, 17]
    assert OPENPOSE28.mirror[left].tolist() == right
    assert OPENPOSE28.mirror[:2].tolist() == [0, 1]


def test_a_set_refuses_clips_that_do_not_fit() -> None:
    good = clip(0, 1)
    for wrong in (replace(good, label=3), replace(good, xy=good.xy[:, :, :3], score=good.score[..., :3])):
        with pytest.raises(InputError, match="train1"):
            ActionSet("x", SKELETON, CLASSES, (wrong,))
    with pytest.raises(InputError, match="twice"):
        ActionSet("x", SKELETON, CLASSES, (good, good))
    with pytest.raises(ValueError, match="finite"):
        replace(good, xy=good.xy * np.nan)
    with pytest.raises(ValueError, match="grow"):
        replace(good, frames=good.frames[::-1])


def test_a_class_that_is_only_tested_is_named() -> None:
    clips = tiny_set(2, 1)
    check_parts(clips.of_part("train"), clips.of_part("test"))
    seen = clips.select([i for i, s in enumerate(clips.samples) if s.part == "train" and s.label != 2])
    with pytest.raises(InputError, match="up"):
        check_parts(seen, clips.of_part("test"))
    with pytest.raises(InputError, match="both parts"):
        check_parts(clips.of_part("train"), clips)
    with pytest.raises(InputError, match="no part 'val'"):
        clips.of_part("val")


def test_classes_are_renamed_merged_and_dropped() -> None:
    clips = tiny_set(2, 1).renamed({"circle": "move", "up": "move"})
    assert clips.classes.names == ("move",)
    assert len(clips) == 6
    with pytest.raises(UsageError, match="jump"):
        clips.renamed({"jump": "x"})


def test_keypoints_are_mapped_by_name() -> None:
    clips = tiny_set(1, 0)
    wider = clips.mapped(COCO17)
    there = {COCO17.keypoints[k] for k in np.flatnonzero(wider.samples[0].score[0, 0])}
    assert there == {"nose", "left_wrist", "right_wrist"}
    assert clips.mapped(clips.skeleton) is clips
    whole = replace(clip(0, 1), xy=np.ones((1, 20, 20, 2)), score=np.ones((1, 20, 20)))
    kinect = ActionSet("k", KINECT20, CLASSES, (whole,))
    found = kinect.mapped(JHMDB15).samples[0].score[0, 0]
    assert found.tolist() == [1] * 15
    with pytest.raises(InputError, match="no keypoint"):
        tiny_set(1, 0).mapped(replace(COCO17, name="legs", keypoints=("knee",), edges=(), pairs=(), sigmas=(0.1,)))


def test_sets_are_joined_by_the_names_of_their_classes() -> None:
    one, other = tiny_set(1, 0), replace(tiny_set(1, 0), name="other")
    joined = join_sets([one, replace(other.renamed({"up": "up", "still": "sit"}), name="other")])
    assert joined.classes.names == ("circle", "still", "up", "sit")
    assert [joined.classes.names[s.label] for s in joined.samples] == ["circle", "still", "up", "sit", "up"]
    assert join_sets([one, other]).classes == one.classes
    with pytest.raises(InputError, match="skeletons"):
        join_sets([one, other.mapped(COCO17)])


def test_a_set_in_a_file_comes_back(tmp_path: Path) -> None:
    clips = tiny_set(2, 1)
    samples = (replace(clips.samples[0], video=Path("a.mp4"), size=(64, 48), subject="s1"), *clips.samples[1:])
    write_action_npz(tmp_path / "set.npz", replace(clips, samples=samples))
    back = read_action_npz(tmp_path / "set.npz")
    assert (back.name, back.skeleton, back.classes) == (clips.name, clips.skeleton, clips.classes)
    for ours, read in zip(samples, back.samples, strict=True):
        for name in ("name", "label", "video", "size", "part", "subject"):
            assert getattr(ours, name) == getattr(read, name)
        np.testing.assert_array_equal(ours.xy, read.xy)
        np.testing.assert_array_equal(ours.score, read.score)
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="bad"):
        read_action_npz(tmp_path / "bad.npz")


def streams(path: Path) -> None:
    """Two people at 10 frames a second, the second from 1 s on."""
    for_one = [(1, np.arange(30)), (2, np.arange(10, 30))]
    people = [
        PoseStream(i, at, at / 10, np.ones((len(at), 17, 2)), np.ones((len(at), 17)), np.ones((len(at), 4)), at >= 0)
        for i, at in for_one
    ]
    save_streams(path, people, COCO17, Wanted())


def own_list(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["clip", "start", "end", "label", "subject", "split", "person", "coarse"])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_an_own_list_of_results_is_read(tmp_path: Path) -> None:
    streams(tmp_path / "streams.npz")
    rows = [
        {"clip": "streams.npz", "label": "sit", "start": "0", "end": "0.5", "split": "train", "coarse": "low"},
        {"clip": "streams.npz", "label": "walk", "start": "0.5", "end": "2", "split": "test", "coarse": "go"},
        {"clip": "streams.npz", "label": "walk", "person": "2", "split": "train", "subject": "anna", "coarse": "go"},
    ]
    clips = read_own_actions(own_list(tmp_path / "own.csv", rows))
    assert clips.classes == ActionClasses(("sit", "walk"), ("go", "low"), (1, 0))
    assert [s.score.shape[:2] for s in clips.samples] == [(1, 5), (2, 15), (1, 20)]
    assert clips.samples[1].score[1, :, 0].tolist() == [0] * 5 + [1] * 10
    assert clips.samples[2].subject == "anna"
    assert clips.skeleton == COCO17


def test_what_is_wrong_in_an_own_list_is_named_row_by_row(tmp_path: Path) -> None:
    streams(tmp_path / "streams.npz")
    rows = [
        {"clip": "streams.npz", "label": "sit", "start": "2", "end": "1"},
        {"clip": "streams.npz", "label": "sit", "end": "9"},
        {"clip": "gone.mp4", "label": "sit"},
        {"clip": "streams.npz", "label": "sit", "person": "7"},
        {"clip": "streams.npz", "label": "sit", "start": "soon"},
        {"clip": "streams.npz", "label": "sit"},
    ]
    with pytest.raises(InputError) as caught:
        read_own_actions(own_list(tmp_path / "own.csv", rows))
    text = str(caught.value)
    assert "5 rows" in text
    for part in ("row 2", "not before end", "row 3", "after the clip", "gone.mp4", "no person 7", "row 6"):
        assert part in text
    assert "row 7" not in text
    (tmp_path / "empty.csv").write_text("clip\n")
    with pytest.raises(InputError, match="lacks the columns label"):
        read_own_actions(tmp_path / "empty.csv")


def test_jhmdb_has_its_published_sizes() -> None:
    folder = data_root() / "jhmdb14"
    if not folder.is_dir():
        pytest.skip("the measuring data is not here (POSEPIPE_DATA)")
    sizes = [(433, 176), (433, 176), (434, 175)]
    for split, (train, test) in zip("123", sizes, strict=True):
        clips = read_jhmdb14(folder, split)
        assert (len(clips.of_part("train")), len(clips.of_part("test"))) == (train, test)
        assert max(len(s) for s in clips.samples) == 40
    with pytest.raises(UsageError, match="split"):
        read_jhmdb14(folder, "4")
    with pytest.raises(InputError, match="split1"):
        read_jhmdb14(folder / "nowhere")


def test_utkinect_segments_are_found_by_the_numbers_of_their_frames() -> None:
    folder = data_root() / "utkinect"
    if not folder.is_dir():
        pytest.skip("the measuring data is not here (POSEPIPE_DATA)")
    clips = read_utkinect(folder)
    assert len(clips) == 199
    first = clips.samples[0]
    assert (first.name, first.part, first.subject) == ("s01_e01/walk", "train", "s01")
    assert first.frames[0] >= 252
    assert first.frames[-1] <= 390
    head, foot = first.xy[0, :, KINECT20.index("head"), 1], first.xy[0, :, KINECT20.index("left_foot"), 1]
    assert (head < foot).all()
