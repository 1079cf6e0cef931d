from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from label_sets import alphapose_row, noise_picture, person, same, video_set, write_json, write_pictures, write_video

from posepipe.datasets.coco import write_coco
from posepipe.datasets.deeplabcut import read_deeplabcut, write_deeplabcut
from posepipe.datasets.findings import Code
from posepipe.datasets.formats import Form, label_videos, load_set, pictures_beside, read_set, recognise, write_set
from posepipe.datasets.frames import pictures_at_hand, videos_of_set
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.mmpose import read_mmpose, write_mmpose
from posepipe.datasets.openpose import read_openpose
from posepipe.datasets.rows import Rows
from posepipe.datasets.skeletons import BODY25, COCO18, HALPE26, alphapose_skeleton, canonical, map_skeleton
from posepipe.datasets.yolo import read_yolo, set_parts, write_yolo
from posepipe.errors import InputError, UsageError
from posepipe.skeleton import COCO17, named_skeleton


def test_skeletons_of_other_tools() -> None:
    for skeleton in (COCO18, BODY25, HALPE26, alphapose_skeleton(136)):
        assert set(skeleton.edges) == set(COCO17.edges)
    # OpenPose's documented orders (output.md): BODY_25 and COCO.
    assert (BODY25.index("neck"), BODY25.index("mid_hip"), BODY25.index("right_ankle")) == (1, 8, 11)
    assert (BODY25.index("left_ankle"), BODY25.index("left_big_toe"), BODY25.index("right_heel")) == (14, 19, 24)
    assert (COCO18.index("right_wrist"), COCO18.index("left_hip"), COCO18.index("left_ear")) == (4, 11, 17)
    # Halpe: 17 of COCO, head, neck, hip, big toes, small toes, heels, left before right.
    assert (len(HALPE26), HALPE26.index("head"), HALPE26.index("left_heel")) == (26, 17, 24)
    assert alphapose_skeleton(136).keypoints[:26] == HALPE26.keypoints
    assert alphapose_skeleton(133).keypoints[:17] == COCO17.keypoints
    assert BODY25.mirror[BODY25.index("left_heel")] == BODY25.index("right_heel")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("LShoulder", "left_shoulder"), ("shoulder_l", "left_shoulder"), ("Left Shoulder", "left_shoulder")),
        *(("rightAnkle", "right_ankle"), ("R_Knee", "right_knee"), ("rknee", "right_knee"), ("Nose", "nose")),
        *(("left_ear", "left_ear"), ("lip", "lip"), ("RSmallToe", "right_small_toe"), ("MidHip", "mid_hip")),
    ],
)
def test_joint_names_in_many_spellings(name: str, expected: str) -> None:
    assert canonical(name) == expected


def test_mapping_says_what_is_lost_and_what_is_never_there() -> None:
    names = ("RightShoulder", "tail", "LeftShoulder")
    people = replace(
        video_set(1, 1),
        skeleton=named_skeleton("mine", names),
        **{field: getattr(video_set(1, 1), field)[:, 4:7] for field in ("xy", "visibility", "score")},
    )
    mapped, lost, never = map_skeleton(people)
    assert (lost, len(never), "nose" in never) == (("tail",), 15, True)
    np.testing.assert_array_equal(mapped.xy[0, [6, 5]], people.xy[0, [0, 2]])
    assert mapped.visibility.sum() == 4
    with pytest.raises(InputError, match="no joint"):
        map_skeleton(people, named_skeleton("other", ("wing",)))


def test_openpose_frames_with_and_without_people(tmp_path: Path) -> None:
    joints = np.zeros((25, 3))
    joints[0], joints[2] = (10, 20, 0.9), (30, 60, 0.5)
    content = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": joints.ravel().tolist()}]}
    write_json(tmp_path / "walk_000000000003_keypoints.json", content)
    write_json(tmp_path / "walk_000000000004_keypoints.json", {"version": 1.3, "people": []})
    people = read_openpose(tmp_path)
    assert people.images == ("walk/000003.jpg", "walk/000004.jpg")
    assert (people.videos, people.frames.tolist(), len(people)) == (("walk", "walk"), [3, 4], 1)
    assert people.skeleton.name == "body25"
    assert np.flatnonzero(people.visibility[0]).tolist() == [0, 2]
    np.testing.assert_allclose(people.boxes[0], [7.375, 14.875, 33.625, 66.125])
    coco = map_skeleton(people)[0]
    assert coco.xy[0, COCO17.index("right_shoulder")].tolist() == [30, 60]


def test_predictions_of_mmpose(tmp_path: Path) -> None:
    points = person()[:, :2].tolist()
    one = {"keypoints": points, "keypoint_scores": [0.5] * 17, "bbox": [[1, 2, 3, 4]], "bbox_score": 0.75}
    video = write_json(tmp_path / "v.json", [{"frame_id": 0, "instances": [one]}, {"frame_id": 1, "instances": []}])
    people = read_mmpose(video)
    assert (people.images, len(people)) == (("v/000000.jpg", "v/000001.jpg"), 1)
    assert (people.boxes.tolist(), people.person_score.tolist()) == ([[1, 2, 3, 4]], [0.75])
    still = read_mmpose(write_json(tmp_path / "s.json", [one]))
    assert (still.images, still.videos, still.frames.tolist()) == (("s.jpg",), ("",), [-1])
    names = {str(i): name for i, name in enumerate(COCO17.keypoints[::-1])}
    content = {"meta_info": {"keypoint_id2name": names}, "instance_info": [{"frame_id": 1, "instances": [one]}]}
    turned = read_mmpose(write_json(tmp_path / "d.json", content))
    assert turned.skeleton.keypoints == COCO17.keypoints[::-1]
    np.testing.assert_allclose(map_skeleton(turned)[0].xy[0, 0], points[16])


@pytest.mark.parametrize(("given", "expected"), [((1, 2, 5), [0, 1, 4]), ((0, 1, 4), [0, 1, 4])])
def test_the_demo_of_mmpose_counts_frames_from_one(given: tuple[int, ...], expected: list[int], tmp_path: Path) -> None:
    one = {"keypoints": person()[:, :2].tolist(), "keypoint_scores": [0.5] * 17, "bbox": [[1, 2, 3, 4]]}
    frames = [{"frame_id": frame, "instances": [one]} for frame in given]
    people = read_mmpose(write_json(tmp_path / "results_clip.json", {"meta_info": {}, "instance_info": frames}))
    assert (people.frames.tolist(), people.video_names()) == (expected, ("clip",))
    assert people.images[2] == "clip/000004.jpg"
    # The inferencer's list counts from 0 and is named like the video.
    listed = read_mmpose(write_json(tmp_path / "results_own.json", frames))
    assert (listed.frames.tolist(), listed.video_names()) == (list(given), ("results_own",))


def test_frames_and_names_of_videos_survive_mmpose(tmp_path: Path) -> None:
    people = video_set(2, 3)
    names = {"clip00": "results_a", "clip01": "b"}
    people = replace(people, videos=tuple(names[video] for video in people.videos))
    later = people.of_images(people.frames > 0)
    for name, kept in {"whole": people, "later": later}.items():
        write_mmpose(kept, tmp_path / name)
        again = read_mmpose(tmp_path / name)
        found, expected = (sorted(zip(s.videos, s.frames.tolist(), strict=True)) for s in (again, kept))
        assert found == expected
    assert '"frame_id": 1,' in (tmp_path / "whole" / "b.json").read_text()
    with pytest.raises(UsageError, match="without a number"):
        write_mmpose(replace(people, frames=people.frames - 1), tmp_path / "other")


DLC_ANALYSED = """scorer,net,net,net,net,net,net
bodyparts,leftShoulder,leftShoulder,leftShoulder,tail,tail,tail
coords,x,y,likelihood,x,y,likelihood
0,1.5,2.5,0.9,3,4,0.25
1,,,,5,6,0.5
2,,,,,,
"""
DLC_LABELLED = """scorer,,,me,me,me,me
individuals,,,a,a,b,b
bodyparts,,,nose,nose,nose,nose
coords,,,x,y,x,y
labeled-data,clip,img0042.png,1,2,,
labeled-data,clip,img0043.png,3,4,5,6
"""


def test_tables_of_deeplabcut(tmp_path: Path) -> None:
    (tmp_path / "videoDLC.csv").write_text(DLC_ANALYSED)
    people = read_deeplabcut(tmp_path / "videoDLC.csv")
    assert people.skeleton.keypoints == ("leftShoulder", "tail")
    assert people.frames.tolist() == [0, 1, 2]
    assert people.visibility.tolist() == [[2, 2], [0, 2]]
    assert people.score.tolist() == [[pytest.approx(0.9), 0.25], [0, 0.5]]
    (tmp_path / "CollectedData_me.csv").write_text(DLC_LABELLED)
    labelled = read_deeplabcut(tmp_path / "CollectedData_me.csv")
    assert labelled.images == ("clip/img0042.png", "clip/img0043.png")
    assert (labelled.frames.tolist(), labelled.track_id.tolist()) == ([42, 43], [0, 0, 1])
    assert labelled.xy.tolist() == [[[1, 2]], [[3, 4]], [[5, 6]]]
    assert (labelled.score == 1).all()


def test_a_folder_of_analysed_videos_of_deeplabcut(tmp_path: Path) -> None:
    scorer = "DLC_resnet50_pDec1shuffle1_500"
    for video in ("clip1", "clip2", "ofDLC_two"):
        (tmp_path / f"{video}{scorer}.csv").write_text(DLC_ANALYSED.replace("net", scorer))
    people = read_set(tmp_path)
    assert recognise(tmp_path)[0] is Form.DLC
    assert people.video_names() == ("clip1", "clip2", "ofDLC_two")
    assert people.images[:4] == ("clip1/000000.jpg", "clip1/000001.jpg", "clip1/000002.jpg", "clip2/000000.jpg")
    assert people.frames.tolist() == [0, 1, 2] * 3
    assert read_deeplabcut(tmp_path / f"clip1{scorer}.csv").skeleton == people.skeleton
    for number in (1, 2):
        write_video(tmp_path / f"clip{number}.avi", 3)
    assert set(videos_of_set(tmp_path, None)) == {"clip1", "clip2"} < set(people.video_names())
    (tmp_path / f"clip1{scorer}_filtered.csv").write_text(DLC_ANALYSED.replace("net", scorer))
    with pytest.raises(InputError, match=r"clip1/000000\.jpg' twice"):
        read_set(tmp_path)
    (tmp_path / f"clip1{scorer}_filtered.csv").write_text(DLC_ANALYSED.replace("tail", "nose"))
    with pytest.raises(InputError, match="one skeleton"):
        read_set(tmp_path)


def test_people_of_a_table_keep_their_ids(tmp_path: Path) -> None:
    people = video_set(1, 3)
    twice = replace(people.select([0, 0, 1, 1]), track_id=[4, 9, 9, 4], boxes=people.boxes[[0, 0, 1, 1]])
    write_deeplabcut(twice, tmp_path / "clip00.csv")
    again = read_deeplabcut(tmp_path / "clip00.csv")
    assert again.track_id.tolist() == [0, 1, 0, 1]
    with pytest.raises(UsageError, match="one video"):
        write_deeplabcut(video_set(2, 1), tmp_path / "two.csv")


YOLO = "path: .\ntrain: images\nnames:\n  0: person\nkpt_shape: [17, {width}]\n"


@pytest.mark.parametrize("width", [2, 3])
def test_a_pose_set_of_yolo(width: int, tmp_path: Path) -> None:
    people = video_set(1, 2)
    write_pictures(people, tmp_path / "images")
    (tmp_path / "data.yaml").write_text(YOLO.format(width=width))
    values = person(20, 10)[:, :width] / np.array([320, 240, 1])[:width]
    line = "0 0.25 0.5 0.5 1 " + " ".join(str(float(v)) for v in values.ravel())
    labels = tmp_path / "labels" / "clip00" / "000001.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text(line + "\n")
    found = read_yolo(tmp_path)
    assert (found.images, found.root) == (("images/clip00/000000.jpg", "images/clip00/000001.jpg"), tmp_path)
    assert (found.image.tolist(), found.boxes.tolist()) == ([1], [[0, 0, 160, 240]])
    np.testing.assert_allclose(found.xy[0], person(20, 10)[:, :2], atol=1e-3)
    assert found.visibility.tolist() == [[2] * 17]
    labels.write_text(line.replace(" 2.0", " 0.7") if width == 3 else "0 1 2")
    with pytest.raises(InputError, match="000001"):
        read_yolo(tmp_path)


def test_yolo_sets_link_their_pictures(tmp_path: Path) -> None:
    people = video_set(1, 2, root=tmp_path / "frames")
    write_pictures(people, tmp_path / "frames")
    write_set(people, tmp_path / "set", Form.YOLO)
    again = read_set(tmp_path / "set")
    assert again.images == tuple(f"images/train/{name}" for name in people.images)
    np.testing.assert_allclose(again.xy, people.xy, atol=1e-3)
    np.testing.assert_allclose(again.boxes, people.boxes, atol=1e-3)
    with pytest.raises(UsageError, match="size"):
        write_set(replace(people, sizes=people.sizes * 0), tmp_path / "other", Form.YOLO)


def test_yolo_sets_hold_what_is_inside_the_picture(tmp_path: Path) -> None:
    people = video_set(1, 3, root=tmp_path / "frames")  # pictures of 320 x 240 px
    write_pictures(people, tmp_path / "frames")
    xy, boxes = people.xy.copy(), people.boxes.copy()
    xy[0, 3], xy[0, 4], xy[0, 5] = (-1.6, 20), (20, 243), (320, 240)
    boxes[0], boxes[2] = (-16, 8, 122, 260), (330, 8, 360, 200)
    write_set(replace(people, xy=xy, boxes=boxes), tmp_path / "set", Form.YOLO)
    texts = [path.read_text() for path in sorted((tmp_path / "set/labels/train").rglob("*.txt"))]
    values = np.array([line.split() for text in texts for line in text.splitlines()], float)
    assert (len(texts), len(values), texts[2]) == (3, 2, "")
    joints = values[:, 5:].reshape(2, 17, 3)
    assert 0 <= joints[..., :2].min() <= joints[..., :2].max() <= 1
    assert np.flatnonzero(joints[0, :, 2] == 0).tolist() == [3, 4]
    again = read_set(tmp_path / "set")
    assert again.boxes[0].tolist() == pytest.approx([0, 8, 122, 240], abs=1e-3)
    kept = np.delete(np.arange(17), [3, 4])
    np.testing.assert_allclose(again.xy[0, kept], xy[0, kept], atol=1e-3)
    assert not again.xy[0, 3:5].any()
    np.testing.assert_allclose(again.xy[1], xy[1], atol=1e-3)


def parts_of_yolo(root: Path) -> tuple[Path, KeypointSet]:
    """A YOLO set of three videos, one a part."""
    people = video_set(3, 2, root=root / "frames")
    write_pictures(people, root / "frames")
    of_video = np.repeat(np.arange(3), 2)
    write_yolo(
        people, root / "set", {p: people.of_images(of_video == i) for i, p in enumerate(("train", "val", "test"))}
    )
    return root / "set", people


def test_a_part_of_a_yolo_set_is_named_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, people = parts_of_yolo(tmp_path)
    assert set_parts(root) == set_parts(root / "data.yaml") == ("images/train", "images/val", "images/test")
    assert set_parts(root / "images") == set_parts(root)
    whole, found = load_set(root)
    assert (len(whole), found.of(Code.SEVERAL_PARTS).count) == (6, 3)
    for top in ("images", "labels"):
        part, found = load_set(root / top / "val")
        assert (part.images, part.root) == (tuple(f"images/val/{name}" for name in people.images[2:4]), root)
        assert (set_parts(root / top / "val"), found.all()) == ((), [])
    monkeypatch.chdir(root / "images")
    assert read_set("test").images == tuple(f"images/test/{name}" for name in people.images[4:])
    assert set_parts(Path()) == set_parts(root)


@pytest.mark.parametrize(
    ("entries", "folders", "expected"),
    [
        ("train: images\nval: images", ["clip"], ()),
        ("train: ./images/train/\nval: images/train\ntest:  # none\n", ["train"], ()),
        ("train: 'images/train'\nval:\n", ["train", "test"], ("images/train", "images/test")),
        ("train:\n  - images/a\n  - images/b\nval: [images/c]", ["a"], ("images/a, images/b", "images/c")),
        ("train: train.txt\nval: val.txt", ["2017"], ("train.txt", "val.txt")),
    ],
)
def test_parts_are_what_the_yaml_file_and_the_folders_say(
    entries: str, folders: list[str], expected: tuple[str, ...], tmp_path: Path
) -> None:
    for name in folders:
        (tmp_path / "images" / name).mkdir(parents=True)
    (tmp_path / "data.yaml").write_text(f"path: .\n{entries}\nnames:\n  0: person\nkpt_shape: [17, 3]\n")
    assert set_parts(tmp_path) == expected
    assert set_parts(tmp_path / "images" / folders[0]) == ()


def stills(*names: str, root: Path | None = None) -> KeypointSet:
    """A person in each of some still pictures."""
    rows = Rows(17)
    for i, name in enumerate(names):
        rows.person(rows.image(name, size=(320, 240)), person(20 + i, 10 + i, third=0.8))
    return rows.build("stills", COCO17, root)


FOLDERS = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")


def test_openpose_keeps_stills_of_one_name_apart(tmp_path: Path) -> None:
    people = stills(*FOLDERS)
    write_set(people, tmp_path / "open", Form.OPENPOSE)
    again = read_set(tmp_path / "open")
    assert recognise(tmp_path / "open") == (Form.OPENPOSE, tmp_path / "open")
    np.testing.assert_allclose(map_skeleton(again)[0].xy, people.xy, atol=1e-3)
    assert again.images == ("a/000001.jpg", "a/000002.jpg", "b/000001.jpg", "b/000002.jpg")
    write_pictures(people, tmp_path / "pictures")
    at_hand = read_set(tmp_path / "open", tmp_path / "pictures")
    assert (at_hand.images, at_hand.root) == (FOLDERS, tmp_path / "pictures")
    # names without a number, and a picture beside the folders
    other = stills("left.jpg", "a/left.jpg", "b/left.jpg")
    write_set(other, tmp_path / "other", Form.OPENPOSE)
    again = read_set(tmp_path / "other")
    assert (again.images, again.videos) == (other.images, ("", "", ""))
    np.testing.assert_allclose(map_skeleton(again)[0].xy, other.xy, atol=1e-3)


@pytest.mark.parametrize("names", [("a/1.jpg", "a/1.png"), ("x/a/1.jpg", "y/a/1.jpg", "b/1.jpg")])
def test_openpose_refuses_images_that_would_be_one_file(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{names[0]} and {names[1]} of stills would both be .*1_keypoints\.json"):
        write_set(stills(*names), tmp_path / "open", Form.OPENPOSE)
    assert not (tmp_path / "open").exists()


def test_openpose_refuses_two_files_of_one_frame(tmp_path: Path) -> None:
    for name in ("walk_1", "walk_01"):
        write_json(tmp_path / f"{name}_keypoints.json", {"version": 1.3, "people": []})
    with pytest.raises(InputError, match="2 files of 1 frames"):
        read_openpose(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("form", [Form.OPENPOSE, Form.MMPOSE])
def test_stills_are_found_where_their_pictures_are_said_to_lie(form: Form, suffix: str, tmp_path: Path) -> None:
    people = stills("000000397133.jpg", "000000000785.jpg")
    write_pictures(replace(people, images=tuple(n.replace(".jpg", suffix) for n in people.images)), tmp_path / "p")
    write_set(people, tmp_path / "labels", form)
    found = read_set(tmp_path / "labels", tmp_path / "p")
    assert set(found.images) == {f"000000397133{suffix}", f"000000000785{suffix}"}
    assert (found.root, found.videos, found.frames.tolist()) == (tmp_path / "p", ("", ""), [-1, -1])
    assert pictures_at_hand(found)
    assert not pictures_at_hand(read_set(tmp_path / "labels"))
    assert read_set(tmp_path / "labels", tmp_path).root == tmp_path  # where they are not: told as missing


@pytest.mark.parametrize("form", [Form.OPENPOSE, Form.MMPOSE, Form.DLC])
def test_frames_are_found_where_they_are_said_to_lie(form: Form, tmp_path: Path) -> None:
    people = video_set(1, 3)
    images = tuple(name.replace(".jpg", ".png") for name in people.images)
    write_pictures(replace(people, images=images), tmp_path / "frames")
    path = tmp_path / ("clip00.csv" if form is Form.DLC else "labels")
    write_set(people, path, form)
    found = read_set(path, tmp_path / "frames")
    assert (found.images, found.root, found.frames.tolist()) == (images, tmp_path / "frames", [0, 1, 2])
    assert (found.videos, len(found)) == (people.videos, 3)


def test_labelled_frames_of_deeplabcut_are_found(tmp_path: Path) -> None:
    (tmp_path / "labeled-data/clip").mkdir(parents=True)
    table = tmp_path / "labeled-data/clip/CollectedData_me.csv"
    table.write_text(DLC_LABELLED)
    for number in (42, 43):
        cv2.imwrite(str(table.parent / f"img00{number}.png"), noise_picture(number))
    assert pictures_at_hand(read_set(table, tmp_path / "labeled-data"))


def test_every_format_is_recognised(tmp_path: Path) -> None:
    people = video_set(1, 2, root=tmp_path / "frames")
    write_pictures(people, tmp_path / "frames")
    out = {
        Form.COCO: tmp_path / "a.json",
        Form.ALPHAPOSE: tmp_path / "alpha",
        Form.OPENPOSE: tmp_path / "open",
        Form.MMPOSE: tmp_path / "mm" / "clip00.json",
        Form.DLC: tmp_path / "clip00.csv",
        Form.YOLO: tmp_path / "yolo",
    }
    for form, path in out.items():
        write_set(people, path, form)
        assert recognise(path) == (form, path)
        assert len(read_set(path)) == 2
    assert recognise(tmp_path / "mm")[0] is Form.MMPOSE
    assert read_set(out[Form.COCO], tmp_path / "frames").root == tmp_path / "frames"


def test_a_folder_of_coco(tmp_path: Path) -> None:
    people = video_set(1, 1)
    write_pictures(people, tmp_path / "val2017")
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations" / "person_keypoints_val2017.json"
    write_coco(people, file)
    assert pictures_beside(file, people.images) == tmp_path / "val2017"
    assert read_set(tmp_path).root == tmp_path / "val2017"
    write_coco(people, tmp_path / "annotations" / "person_keypoints_train2017.json")
    with pytest.raises(InputError, match="Name one"):
        read_set(tmp_path)


def test_what_holds_no_labels_is_refused(tmp_path: Path) -> None:
    for name, text in {"a.json": '{"some": 1}', "b.json": "", "c.csv": "x,y\n1,2\n", "d.json": "\x00"}.items():
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / "x" / name).write_text(text)
        with pytest.raises(InputError, match=name[:1]):
            read_set(tmp_path / "x" / name)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError):
            read_set(path)


def test_alphapose_results_are_read_by_path_alone(tmp_path: Path) -> None:
    write_json(tmp_path / "labels" / "a.json", [alphapose_row("0.jpg", person(third=0.5))])
    people = read_set(tmp_path)
    assert (people.images, people.score.max()) == (("a/000000.jpg",), 0.5)
    same(read_set(tmp_path / "labels"), people)


def test_a_coco_file_beside_results_in_their_own_places_is_no_part_of_the_set(tmp_path: Path) -> None:
    for name, layout in {"a": "labels/{}.json", "b": "{}/alphapose-results.json"}.items():
        folder = tmp_path / name
        for video in ("v", "w"):
            write_json(folder / layout.format(video), [alphapose_row("0.jpg", person(third=0.5))])
        write_coco(video_set(1, 1), folder / "coco04.json")
        write_json(folder / "all.json", [alphapose_row("v.jpg", person(third=0.5))])
        write_json(folder / "a_subjects.json", {"v": "anna"})
        assert recognise(folder) == (Form.ALPHAPOSE, folder)
        assert read_set(folder).video_names() == label_videos(folder) == ("v", "w")
        assert recognise(folder / "coco04.json")[0] is Form.COCO


def test_a_folder_of_two_sets_needs_one_to_be_named(tmp_path: Path) -> None:
    write_json(tmp_path / "v.json", [alphapose_row("0.jpg", person(third=0.5))])
    write_json(tmp_path / "a_subjects.json", {"v": "anna"})
    assert recognise(tmp_path) == (Form.ALPHAPOSE, tmp_path)
    write_coco(video_set(1, 1), tmp_path / "coco04.json")
    with pytest.raises(InputError, match=r"coco04\.json and v\.json"):
        read_set(tmp_path)
    other = tmp_path / "other"
    (other / "annotations").mkdir(parents=True)
    write_coco(video_set(1, 1), other / "annotations" / "a.json")
    assert recognise(other) == (Form.COCO, other / "annotations" / "a.json")
    write_json(other / "labels" / "v.json", [alphapose_row("0.jpg", person(third=0.5))])
    with pytest.raises(InputError, match=r"a\.json and labels"):
        read_set(other)
    assert recognise(other / "labels")[0] is Form.ALPHAPOSE
    assert recognise(other / "annotations")[0] is Form.COCO


def test_mmpose_has_no_place_for_pictures_in_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pictures in folders; got a/1\.jpg"):
        write_mmpose(stills("x.jpg", "a/1.jpg", "b/1.jpg"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
