from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_sets import noise_picture, video_set, write_pictures

from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.leaks import MOST_BITS, Kind, Leak, Looks, leaks, looks_of, near_duplicates, refuse_leaks
from posepipe.datasets.rows import Rows
from posepipe.datasets.splits import By, Split, make_split, of_part, read_split, subject_of, write_split
from posepipe.errors import InputError, UsageError
from posepipe.skeleton import COCO17


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def named_videos(*names: str) -> KeypointSet:
    rows = Rows(17)
    for name in names:
        rows.image(f"{name}/000000.jpg", video=name, frame=0)
    return rows.build("named", COCO17)


def test_the_draw_of_a_seed_is_fixed() -> None:
    split = make_split(video_set(10, 2), seed=7, val=0.2, test=0.1)
    # Pinned: another draw would change what every lab has held out.
    assert dict(split.parts) == {
        "train": ("clip01", "clip02", "clip03", "clip04", "clip05", "clip06", "clip09"),
        "val": ("clip00", "clip07"),
        "test": ("clip08",),
    }
    other = make_split(video_set(10, 2), seed=8, val=0.2, test=0.1)
    assert split.parts != other.parts
    # The order in which the videos stand in the files does not matter.
    people = video_set(10, 2)
    assert make_split(people.of_images(np.arange(20)[::-1]), seed=7, val=0.2, test=0.1).parts == split.parts


def test_a_pattern_that_does_not_match_is_refused() -> None:
    people = named_videos("S00_a", "S00_b", "S01_a", "S02_a", "x")
    with pytest.raises(UsageError, match=r"does not match 5 of 5 names.*S00_a"):
        make_split(people, by=By.SUBJECT, subject_pattern=r"P(\d+)")
    with pytest.raises(UsageError, match=r"does not match 1 of 5 names; got x\."):
        make_split(people, by=By.SUBJECT, subject_pattern=r"S(\d+)")
    with pytest.raises(UsageError, match="matches none of 5 names"):
        make_split(people, together=r"X(\d+)")
    # Videos that share a source with nobody need no match.
    assert make_split(people, together=r"S(\d+)").together


def test_subjects_and_sources_stay_together() -> None:
    names = [f"S{s}_cam{c}_{tape}" for s in range(6) for c in range(2) for tape in "ab"]
    people = named_videos(*names)
    split = make_split(people, by=By.SUBJECT, val=0.3, subject_pattern=r"S(\d+)")
    sides = [{name[:2] for name in members} for members in split.parts.values()]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 2
    # Two subjects on one tape belong together, too.
    people = named_videos("S1_t1", "S2_t1", "S2_t2", "S3_t2", "S4_t3", "S5_t4")
    split = make_split(people, by=By.SUBJECT, val=0.2, subject_pattern=r"S(\d)", together=r"_(t\d)")
    linked = {"S1_t1", "S2_t1", "S2_t2", "S3_t2"}
    assert any(linked <= set(members) for members in split.parts.values())
    assert (subject_of("S12_x", r"S(\d+)"), subject_of("x", r"S(\d+)"), subject_of("S12_x", r"S\d")) == (
        "12",
        "x",
        "S1",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 0}, "shares"),
        ({"val": 0.6, "test": 0.4}, "shares"),
        ({"by": By.SUBJECT}, "pattern"),
        ({"together": "("}, "regular expression"),
        ({"val": 0.3, "test": 0.3, "together": "clip0"}, "1 groups for 3 parts"),
    ],
)
def test_splits_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_split(video_set(10, 1), **options)  # type: ignore[arg-type]


def test_one_video_cannot_be_split() -> None:
    with pytest.raises(UsageError, match=r"1 groups for 2 parts.* label more videos"):
        make_split(video_set(1, 9))


def test_a_split_file_is_read_again(tmp_path: Path) -> None:
    split = make_split(video_set(), by=By.SUBJECT, seed=3, subject_pattern="clip(.*)", together="(.)$")
    write_split(split, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json") == split
    assert of_part(video_set(), split, "val").video_names() == split.parts["val"]


def test_a_split_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    write_split(make_split(video_set()), file)
    data = json.loads(file.read_text())
    data["parts"]["val"].append(data["parts"]["train"].pop())
    file.write_text(json.dumps(data))
    with pytest.raises(InputError, match="was changed"):
        read_split(file)
    file.write_text(json.dumps({**data, "format": "posepipe-split/2"}))
    with pytest.raises(InputError, match="another format"):
        read_split(file)
    for text in ("", "[]", "{}", '{"format": "posepipe-split/1", "parts": 3}'):
        file.write_text(text)
        with pytest.raises(InputError, match="not a split file"):
            read_split(file)


def test_a_split_of_another_set_is_refused() -> None:
    split = make_split(video_set(5, 1))
    with pytest.raises(UsageError, match="in no part"):
        of_part(video_set(6, 1), split, "train")
    with pytest.raises(UsageError, match="no part 'test'"):
        of_part(video_set(5, 1), split, "test")


def test_a_video_or_a_subject_on_both_sides_is_refused() -> None:
    people = video_set(4, 2)
    planted = Split(By.VIDEO, {"train": ("clip00", "clip01", "clip02"), "val": ("clip02", "clip03")}, 0)
    assert leaks(people, planted) == [Leak(Kind.MEMBER, "clip02", ("train", "val"))]
    with pytest.raises(InputError, match="clip02 in train and val"):
        refuse_leaks(people, planted)
    assert len(refuse_leaks(people, planted, override=True)) == 1
    by_image = make_split(people, by=By.IMAGE, val=0.5)
    assert {leak.kind for leak in leaks(people, by_image)} == {Kind.VIDEO}
    subjects = Split(By.VIDEO, {"train": ("clip00", "clip01"), "val": ("clip02", "clip03")}, 0, r"clip0\d*?([02]|$)")
    assert leaks(people, replace(subjects, subject_pattern="clip")) == [Leak(Kind.SUBJECT, "clip", ("train", "val"))]
    assert leaks(people, make_split(people, val=0.3)) == []


def test_a_copied_frame_on_both_sides_is_refused(tmp_path: Path) -> None:
    people = video_set(6, 4, root=tmp_path)
    write_pictures(people, tmp_path)
    split = make_split(people, val=0.3)
    assert leaks(people, split) == []
    train, val = split.parts["train"][0], split.parts["val"][0]
    picture = cv2.imread(str(tmp_path / train / "000002.jpg"))
    smaller = cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / val / "000003.jpg"), smaller, [cv2.IMWRITE_JPEG_QUALITY, 40])
    with pytest.raises(InputError) as caught:
        refuse_leaks(people, split)
    assert f"{train}/000002.jpg = {val}/000003.jpg in train and val" in str(caught.value)
    assert refuse_leaks(people, split, frames=False) == []


def test_looks_are_kept_until_a_picture_changes(tmp_path: Path, cache: Path) -> None:
    people = video_set(2, 2, root=tmp_path)
    write_pictures(people, tmp_path)
    paths = [tmp_path / name for name in people.images]
    first = looks_of(paths, cache)
    (kept,) = cache.iterdir()
    np.testing.assert_array_equal(looks_of(paths, cache).thumbnails, first.thumbnails)
    kept.write_bytes(b"PK damaged")
    np.testing.assert_array_equal(looks_of(paths, cache).hashes, first.hashes)
    cv2.imwrite(str(paths[0]), noise_picture(99, (200, 300)))
    assert looks_of(paths, cache).hashes[0] != first.hashes[0]
    assert looks_of([tmp_path / "none.jpg"]).read.tolist() == [False]


def test_every_pair_within_the_distance_is_found() -> None:
    generator = np.random.default_rng(0)
    hashes = generator.integers(0, 2**63, 200, np.uint64)
    bits = generator.integers(0, MOST_BITS + 3, 200)
    copies = hashes.copy()
    for i, n in enumerate(bits):
        for bit in generator.choice(64, n, replace=False).tolist():
            copies[i] ^= np.uint64(1) << np.uint64(bit)
    looks = Looks(np.concatenate([hashes, copies]), np.zeros((400, 16, 16), np.uint8), np.ones(400, bool))
    found = set(near_duplicates(looks, np.arange(200), np.arange(200, 400)))
    assert found == {(i, 200 + i) for i in range(200) if bits[i] <= MOST_BITS}
