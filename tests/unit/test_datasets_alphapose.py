from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_sets import alphapose_row, noise_picture, person, same, video_set, write_json

from posepipe.datasets.alphapose import load_alphapose, read_alphapose, write_alphapose
from posepipe.datasets.findings import Code
from posepipe.datasets.frames import extract_frames, find_videos
from posepipe.datasets.skeletons import map_skeleton
from posepipe.datasets.thresholds import STEPS, threshold_labels
from posepipe.errors import InputError, UsageError
from posepipe.skeleton import COCO17


def test_a_result_file_as_alphapose_writes_it(tmp_path: Path) -> None:
    confidences = np.linspace(0, 1.02, 17)
    rows = [alphapose_row("7.jpg", person(third=confidences), 3.25), alphapose_row("9.jpg", person(), 2.0)]
    people = read_alphapose(write_json(tmp_path / "labels" / "walk.json", rows).parent.parent)
    assert people.images == ("walk/000007.jpg", "walk/000009.jpg")
    assert (people.videos, people.frames.tolist(), people.root) == (("walk", "walk"), [7, 9], None)
    assert people.visibility[0].tolist() == [0] + [2] * 16
    assert people.score[0, -1] == 1
    assert people.score[0, 8] == pytest.approx(0.51)
    assert people.person_score.tolist() == [3.25, 2.0]
    np.testing.assert_allclose(people.boxes[0], [7, 5, 93, 195])
    assert (people.track_id.tolist(), people.area_known.any()) == ([-1, -1], False)
    assert people.area[0] == pytest.approx(0.53 * 86 * 190)


@pytest.mark.parametrize("layout", ["labels/{}.json", "{}/alphapose-results.json", "{}.json"])
def test_layouts_of_folders(layout: str, tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_json(tmp_path / layout.format(name), [alphapose_row("0.jpg", person())])
    assert read_alphapose(tmp_path).video_names() == ("a", "b")


def test_frames_beside_the_labels_are_found_by_their_stem(tmp_path: Path) -> None:
    write_json(tmp_path / "labels" / "a.json", [alphapose_row("12.jpg", person()), alphapose_row("13.jpg", person())])
    (tmp_path / "frames" / "a").mkdir(parents=True)
    (tmp_path / "frames" / "a" / "12.png").write_bytes(b"")
    people = read_alphapose(tmp_path)
    assert people.images == ("a/12.png", "a/000013.jpg")
    assert people.root == tmp_path / "frames"


def test_frames_numbered_from_one(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [alphapose_row("000001.jpg", person())])
    assert read_alphapose(tmp_path, first_frame=1).frames.tolist() == [0]


@pytest.mark.parametrize(("idx", "expected"), [([1, 2], [1, 2]), ([0, 0], [-1, -1]), ([[3.0], [[5.0], [3.0]]], [3, 5])])
def test_ids_of_tracks(idx: list[object], expected: list[int], tmp_path: Path) -> None:
    rows = [alphapose_row("0.jpg", person(x), idx=i) for x, i in zip((0, 150), idx, strict=True)]
    assert read_alphapose(write_json(tmp_path / "a.json", rows)).track_id.tolist() == expected


def test_the_better_of_two_labels_of_a_person_stays(tmp_path: Path) -> None:
    rows = [alphapose_row("0.jpg", person(), 2.0), alphapose_row("0.jpg", person(1), 2.8)]
    rows += [alphapose_row("0.jpg", person(60), 1.0), alphapose_row("1.jpg", person(), 1.0)]
    file = write_json(tmp_path / "a.json", rows)
    people, found = load_alphapose(file)
    assert people.person_score.tolist() == pytest.approx([2.8, 1.0, 1.0])
    assert found.of(Code.REPEATED_ROWS).count == 1
    assert len(read_alphapose(file, keep_duplicates=True)) == 4


@pytest.mark.parametrize(("people_key", "joints_key"), [("bodies", "joints"), ("people", "pose_keypoints_2d")])
def test_the_forms_of_openpose_are_mapped_to_coco(people_key: str, joints_key: str, tmp_path: Path) -> None:
    order = [0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    joints = person(third=0.9)
    neck = (joints[5] + joints[6]) / 2
    given = np.concatenate([joints, neck[None]])[order]
    content = {"3.jpg": {"version": "AlphaPose v0.3", people_key: [{joints_key: [float(v) for v in given.ravel()]}]}}
    people, lost, never = map_skeleton(read_alphapose(write_json(tmp_path / "a.json", content)))
    assert (people.skeleton, lost, never) == (COCO17, ("neck",), ())
    np.testing.assert_allclose(people.xy[0], joints[:, :2])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [alphapose_row("0.jpg", person())])
    write_json(tmp_path / "bad.json", [{"image_id": "0.jpg"}])
    (tmp_path / "cut.json").write_text('[{"image_id": "0.j')
    people, found = load_alphapose(tmp_path)
    assert (people.video_names(), found.of(Code.UNREADABLE_LABELS).count) == (("a",), 2)
    with pytest.raises(InputError, match=r"bad\.json"):
        read_alphapose(tmp_path)


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no AlphaPose results"):
        read_alphapose(tmp_path)


def test_a_file_of_nobody_is_an_empty_video(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [alphapose_row("0.jpg", person())])
    write_json(tmp_path / "none.json", [])
    assert len(read_alphapose(tmp_path)) == 1


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    people = video_set(3, 4)
    write_alphapose(people, tmp_path)
    same(read_alphapose(tmp_path), people)


def test_thresholds_by_joint_and_what_they_drop() -> None:
    people = video_set(2, 5, confidence=0.55)
    kept, report = threshold_labels(people, {"left_ankle": 0.6, "nose": 0.55})
    assert kept.visibility.sum(0).tolist() == [20] * 15 + [0, 20]
    assert not kept.xy[:, 15].any()
    assert report.applied_dropped.tolist() == [0] * 15 + [10, 0]
    assert report.dropped[:, 3].tolist() == [0] * 5 + [10] * 4
    assert (report.steps, report.people_lost.tolist()) == (STEPS, [0] * 5 + [10] * 4)
    assert "left_ankle" in report.table()
    np.testing.assert_array_equal(threshold_labels(people, 0.6)[0].visibility, 0)


@pytest.mark.parametrize("thresholds", [1.5, {"tail": 0.5}, [0.5, 0.5], float("nan")])
def test_thresholds_that_make_no_sense_are_refused(thresholds: object) -> None:
    with pytest.raises(UsageError):
        threshold_labels(video_set(1, 1), thresholds)  # type: ignore[arg-type]


def write_video(path: Path, seeds: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for seed in seeds:
        out.write(noise_picture(seed))
    out.release()


def test_labelled_frames_come_out_of_the_videos(tmp_path: Path) -> None:
    people = video_set(2, 6)
    for v in range(2):
        write_video(tmp_path / "videos" / f"clip0{v}.avi", list(range(10 * v, 10 * v + 5)))
    taken = extract_frames(people, tmp_path, tmp_path / "cache", every=2)
    assert taken.images[:3] == ("clip00/000000.jpg", "clip00/000002.jpg", "clip00/000004.jpg")
    assert (len(taken), taken.root, taken.sizes.tolist()[0]) == (6, tmp_path / "cache", [320, 240])
    for row, seed in enumerate([0, 2, 4, 10, 12, 14]):
        picture = cv2.imread(str(taken.path(row))).astype(float)
        assert np.abs(picture - noise_picture(seed)).mean() < 6
    # The sixth frame is labelled and not in the videos.
    assert len(extract_frames(people, tmp_path, tmp_path / "cache").images) == 10


def test_extraction_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    people = video_set(2, 3)
    for v in range(2):
        write_video(tmp_path / f"clip0{v}.avi", [1, 2, 3])
    whole = extract_frames(people, tmp_path, tmp_path / "cache")
    lost, kept = whole.path(1), whole.path(5)
    assert lost is not None and kept is not None  # noqa: PT018
    lost.write_bytes(b"")
    before = kept.stat().st_mtime_ns
    same(extract_frames(people, tmp_path, tmp_path / "cache"), whole)
    assert lost.stat().st_size > 0
    assert kept.stat().st_mtime_ns == before
    # Once all is there, the videos may go.
    same(extract_frames(people, {}, tmp_path / "cache"), whole)
    assert sorted(find_videos(tmp_path)) == ["clip00", "clip01"]


def test_videos_of_a_set_are_those_that_run_takes(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for name in ("a.MTS", "b.3gp", "c.txt", ".d.mp4", "videos/e.ogv", "videos/f.jpg"):
        (tmp_path / name).touch()
    assert sorted(find_videos(tmp_path)) == ["a", "b", "e"]


def test_frames_of_a_video_that_changed_are_taken_anew(tmp_path: Path) -> None:
    people, video = video_set(1, 3), tmp_path / "clip00.avi"
    write_video(video, [1, 2, 3])
    extract_frames(people, tmp_path, tmp_path / "cache")
    write_video(video, [4, 5, 6])
    taken = extract_frames(people, tmp_path, tmp_path / "cache")
    assert np.abs(cv2.imread(str(taken.path(0))).astype(float) - noise_picture(4)).mean() < 6
    # Pictures that were there before are somebody else's: they are read, and never replaced.
    own = tmp_path / "own/clip00/000000.jpg"
    own.parent.mkdir(parents=True)
    cv2.imwrite(str(own), noise_picture(9))
    before = own.read_bytes()
    extract_frames(people, tmp_path, tmp_path / "own")
    write_video(video, [7, 8, 9])
    extract_frames(people, tmp_path, tmp_path / "own")
    assert own.read_bytes() == before


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="clip00"):
        extract_frames(video_set(1, 1), tmp_path, tmp_path / "cache")


def test_a_result_file_is_a_video_of_its_name_or_its_folders(tmp_path: Path) -> None:
    rows = [alphapose_row(f"{frame}.jpg", person()) for frame in (0, 12)]
    for file in (tmp_path / "walk.json", tmp_path / "walk" / "alphapose-results.json"):
        people = read_alphapose(write_json(file, rows))
        assert (people.images, people.videos) == (("walk/000000.jpg", "walk/000012.jpg"), ("walk",) * 2)
        assert people.frames.tolist() == [0, 12]
    # named directly or found in a folder: the same
    same(read_alphapose(write_json(tmp_path / "set/labels/walk.json", rows)), read_alphapose(tmp_path / "set"))


@pytest.mark.parametrize(
    "names", [("left_000.jpg", "right_000.jpg"), ("a.jpg", "1.jpg"), ("000000397133.jpg", "000000000785.jpg")]
)
def test_a_result_file_of_still_pictures(names: tuple[str, ...], tmp_path: Path) -> None:
    people = read_alphapose(write_json(tmp_path / "x.json", [alphapose_row(name, person()) for name in names]))
    assert (people.images, people.videos, people.frames.tolist()) == (names, ("", ""), [-1, -1])


def test_pictures_at_hand_are_still_pictures_unless_the_first_frame_is_told(tmp_path: Path) -> None:
    file = write_json(tmp_path / "x.json", [alphapose_row(f"00{n}.jpg", person()) for n in (1, 2)])
    assert read_alphapose(file).videos == ("x", "x")
    for n in (1, 2):
        cv2.imwrite(str(tmp_path / f"00{n}.png"), noise_picture(n))
    people = read_alphapose(file)
    assert (people.images, people.videos, people.root) == (("001.png", "002.png"), ("", ""), tmp_path)
    people = read_alphapose(file, first_frame=1)
    assert (people.images, people.videos, people.frames.tolist()) == (("001.png", "002.png"), ("x", "x"), [0, 1])


def test_pictures_of_one_number_are_not_one_frame(tmp_path: Path) -> None:
    rows = [alphapose_row(name, person()) for name in ("left_000.jpg", "right_000.jpg")]
    write_json(tmp_path / "labels/v.json", rows)
    with pytest.raises(InputError, match=r"left_000\.jpg and right_000\.jpg would both be v/000000\.jpg"):
        read_alphapose(tmp_path)


def test_frames_before_the_first_one_are_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [alphapose_row(f"{frame}.jpg", person()) for frame in (1, 0)])
    with pytest.raises(UsageError, match="frame 0 stands in the labels of a, which contradicts --first-frame 1"):
        load_alphapose(tmp_path, first_frame=1)


def test_coordinates_that_are_not_finite_are_told(tmp_path: Path) -> None:
    broken = person()
    broken[3, 0] = np.nan
    write_json(tmp_path / "a.json", [alphapose_row("0.jpg", broken) | {"box": [0, 0, 9, 9]}])
    people, found = load_alphapose(tmp_path)
    assert (people.labelled.tolist(), found.of(Code.NOT_FINITE).examples) == ([16], ["a/000000.jpg"])
    with pytest.raises(InputError, match="not-finite"):
        read_alphapose(tmp_path)


def test_the_only_id_survives_though_it_is_zero(tmp_path: Path) -> None:
    people = video_set(1, 2)
    write_alphapose(replace(people, track_id=[0, 0]), tmp_path)
    assert read_alphapose(tmp_path).track_id.tolist() == [1, 1]
    write_alphapose(replace(people, track_id=[0, 4]), tmp_path)
    assert read_alphapose(tmp_path).track_id.tolist() == [0, 4]


def test_people_without_an_id_have_none_beside_people_with_one(tmp_path: Path) -> None:
    rows = [alphapose_row("0.jpg", person(), idx=3), alphapose_row("1.jpg", person())]
    assert read_alphapose(write_json(tmp_path / "a.json", rows)).track_id.tolist() == [3, -1]


def test_a_byte_order_mark_is_no_part_of_the_labels(tmp_path: Path) -> None:
    file = write_json(tmp_path / "a.json", [alphapose_row("0.jpg", person())])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read_alphapose(file)) == 1
