from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from label_sets import same

from posepipe.datasets.coco import read_coco
from posepipe.datasets.formats import Form, read_set, write_set
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.rows import Rows
from posepipe.datasets.skeletons import COCO18, map_skeleton
from posepipe.datasets.splits import By, make_split, of_part
from posepipe.skeleton import COCO17

COORDINATE = st.integers(1, 319_000).map(lambda n: n / 1000)
CONFIDENCE = st.integers(0, 1000).map(lambda n: n / 1000)
JOINTS = st.lists(st.tuples(COORDINATE, COORDINATE, CONFIDENCE), min_size=17, max_size=17)


@st.composite
def label_sets(draw: st.DrawFn) -> KeypointSet:
    """Videos of at most 2 frames with at most 2 people, each with a labelled joint."""
    rows = Rows(17)
    for video in range(draw(st.integers(1, 3))):
        for frame in range(draw(st.integers(1, 2))):
            image = rows.image(f"v{video}/{frame:06d}.jpg", video=f"v{video}", frame=frame, size=(320, 320))
            for track in range(draw(st.integers(1, 2))):
                joints = draw(JOINTS)
                joints[draw(st.integers(0, 16))] = (10.0, 20.0, 0.5)
                x, y = draw(COORDINATE), draw(COORDINATE)
                rows.person(image, joints, [x, y, x + 40, y + 90], score=draw(CONFIDENCE), track=track + 1)
    return rows.build("some", COCO17)


def there_and_back(people: KeypointSet, form: Form, name: str) -> KeypointSet:
    with TemporaryDirectory() as folder:
        write_set(people, Path(folder) / name, form)
        return read_set(Path(folder) / name)


@settings(max_examples=12, deadline=None)
@given(label_sets())
def test_coco_gives_back_everything(people: KeypointSet) -> None:
    again = there_and_back(people, Form.COCO, "a.json")
    same(again, people)
    np.testing.assert_array_equal(again.visibility, people.visibility)
    np.testing.assert_array_equal(again.sizes, people.sizes)
    np.testing.assert_allclose(again.area, people.area, atol=0.01)
    np.testing.assert_array_equal(again.area_known, people.area_known)


@settings(max_examples=12, deadline=None)
@given(label_sets())
def test_alphapose_and_mmpose_give_back_joints_boxes_scores_and_ids(people: KeypointSet) -> None:
    from posepipe.datasets.alphapose import read_alphapose

    with TemporaryDirectory() as folder:
        write_set(people, Path(folder), Form.ALPHAPOSE)
        same(read_alphapose(Path(folder), keep_duplicates=True), people)
    several = there_and_back(people, Form.MMPOSE, "mm")
    same(several, people)


@settings(max_examples=12, deadline=None)
@given(label_sets())
def test_openpose_gives_back_the_joints(people: KeypointSet) -> None:
    with TemporaryDirectory() as folder:
        write_set(people, Path(folder), Form.OPENPOSE)
        again = read_set(folder)
    assert again.skeleton == COCO18
    mapped, lost, never = map_skeleton(again)
    assert (lost, never) == (("neck",), ())
    np.testing.assert_allclose(mapped.xy, people.xy, atol=1e-3)
    np.testing.assert_allclose(mapped.score, people.score, atol=1e-3)
    assert (mapped.images, mapped.image.tolist()) == (people.images, people.image.tolist())


@settings(max_examples=12, deadline=None)
@given(label_sets())
def test_deeplabcut_gives_back_one_video(people: KeypointSet) -> None:
    one = people.of_videos(["v0"])
    again = there_and_back(one, Form.DLC, "v0.csv")
    assert again.skeleton.keypoints == COCO17.keypoints
    np.testing.assert_allclose(again.xy, one.xy, atol=1e-3)
    np.testing.assert_allclose(again.score, one.score, atol=1e-3)
    assert again.frames.tolist() == one.frames.tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 40), st.integers(0, 5), st.floats(0.05, 0.6), st.sampled_from(["", r"v(\d)"]))
def test_a_split_divides_everything_once_and_groups_never(videos: int, seed: int, val: float, together: str) -> None:
    rows = Rows(17)
    for v in range(videos):
        for f in range(1 + v % 3):
            rows.image(f"v{v}/{f}.jpg", video=f"v{v}", frame=f)
    people = rows.build("videos", COCO17)
    groups = len({f"v{v}"[:2] for v in range(videos)}) if together else videos
    if groups < 2:
        return
    split = make_split(people, by=By.VIDEO, seed=seed, val=val, together=together)
    members = [m for listed in split.parts.values() for m in listed]
    assert sorted(members) == sorted(people.video_names())
    assert all(split.parts.values())
    assert make_split(people, seed=seed, val=val, together=together) == split
    if together:
        train, held = ({m[:2] for m in split.parts[part]} for part in ("train", "val"))
        assert not train & held
    parts = [of_part(people, split, part) for part in split.parts]
    assert sorted(i for part in parts for i in part.images) == sorted(people.images)


def test_reading_twice_is_reading_once(tmp_path: Path) -> None:
    rows = Rows(17)
    rows.person(rows.image("a.jpg"), np.ones((17, 3)))
    people = rows.build("one", COCO17)
    write_set(people, tmp_path / "a.json", Form.COCO)
    first = read_coco(tmp_path / "a.json")
    write_set(first, tmp_path / "b.json", Form.COCO)
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "a.json").read_bytes()
