"""What writing a set must never do: remove pictures, mix two sets, or write two images as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import pytest
from label_sets import noise_picture, person, video_set, write_pictures

from posepipe import cli
from posepipe.datasets.coco import write_coco
from posepipe.datasets.deeplabcut import write_deeplabcut
from posepipe.datasets.formats import Form, read_set, write_set
from posepipe.datasets.labels import KeypointSet
from posepipe.datasets.rows import Rows
from posepipe.datasets.yolo import write_yolo
from posepipe.errors import InputError, OutputError, UsageError
from posepipe.skeleton import COCO17

FOLDERS = (Form.ALPHAPOSE, Form.OPENPOSE, Form.MMPOSE, Form.YOLO)


def stills(*names: str, root: Path | None = None) -> KeypointSet:
    rows = Rows(17)
    for i, name in enumerate(names):
        rows.person(rows.image(name, size=(320, 240)), person(20 + i, 10 + i, third=0.8))
    return rows.build("stills", COCO17, root)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_yolo_set_about_pictures_that_lie_in_their_place_leaves_them_alone(tmp_path: Path) -> None:
    people = stills("1.jpg", "2.jpg", root=tmp_path / "images/train")
    write_pictures(people, tmp_path / "images/train")
    before = contents(tmp_path)
    write_coco(people, tmp_path / "a.json")
    words = ("data", "convert", "--to", "yolo", tmp_path / "a.json", tmp_path, "--images", tmp_path / "images/train")
    for _ in range(2):
        assert cli.main([*map(str, words), "--overwrite"]) == 0
        assert before.items() <= contents(tmp_path).items()
    assert read_set(tmp_path / "data.yaml").images == ("images/train/1.jpg", "images/train/2.jpg")


def test_another_picture_in_its_place_is_not_replaced(tmp_path: Path) -> None:
    people = stills("1.jpg", root=tmp_path / "frames")
    write_pictures(people, tmp_path / "frames")
    own = tmp_path / "set/images/train/1.jpg"
    own.parent.mkdir(parents=True)
    cv2.imwrite(str(own), noise_picture(9))
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"train/1\.jpg is there and is not .*frames/1\.jpg"):
        write_yolo(people, tmp_path / "set")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["{}/own/1.jpg", "../1.jpg", "a/../../../../1.jpg"])
def test_names_that_lead_out_of_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    picture = tmp_path / "own/1.jpg"
    picture.parent.mkdir()
    cv2.imwrite(str(picture), noise_picture(1))
    people = stills(name.format(tmp_path), root=picture.parent)
    with pytest.raises(InputError, match="outside"):
        write_yolo(people, tmp_path / "set")
    assert list(contents(tmp_path)) == ["own/1.jpg"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "set").mkdir()
    (tmp_path / "set/labels").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(InputError, match="outside"):
        write_yolo(stills("1.jpg"), tmp_path / "set")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("form", FOLDERS)
def test_sets_are_not_mixed_in_a_folder(form: Form, tmp_path: Path) -> None:
    people = video_set(2, 2, root=tmp_path / "frames")
    write_pictures(people, tmp_path / "frames")
    out = tmp_path / "out"
    write_set(people, out, form)
    (out / "notes.md").write_text("mine")
    before = contents(out)
    write_set(people, out, form)
    assert contents(out) == before
    with pytest.raises(OutputError, match=r"holds .*clip0.*, which is no part"):
        write_set(people.of_videos(["clip00"]), out, form)
    assert contents(out) == before


def test_another_split_leaves_no_picture_in_two_parts(tmp_path: Path) -> None:
    people = video_set(2, 1, root=tmp_path / "frames")
    write_pictures(people, tmp_path / "frames")
    parts = [people.of_videos([video]) for video in people.video_names()]
    write_yolo(people, tmp_path / "set", dict(zip(("train", "val"), parts, strict=True)))
    before = contents(tmp_path / "set")
    with pytest.raises(OutputError, match="no part"):
        write_yolo(people, tmp_path / "set", dict(zip(("train", "val"), parts[::-1], strict=True)))
    assert contents(tmp_path / "set") == before


@pytest.mark.parametrize(
    ("form", "names"),
    [(Form.ALPHAPOSE, ("a/0.jpg", "b/0.jpg")), (Form.MMPOSE, ("0.png", "0.jpg")), (Form.YOLO, ("0.png", "0.jpg"))],
)
def test_two_images_are_never_written_as_one(form: Form, names: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{names[0]} and {names[1]} of stills would both be"):
        write_set(stills("x.jpg", *names), tmp_path / "out", form)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("form", [Form.ALPHAPOSE, Form.OPENPOSE, Form.MMPOSE])
def test_formats_that_know_videos_by_name_refuse_those_in_folders(form: Form, tmp_path: Path) -> None:
    people = video_set(1, 2)
    with pytest.raises(UsageError, match="videos in folders; got day1/clip00"):
        write_set(replace(people, videos=("day1/clip00",) * 2), tmp_path / "out", form)


@pytest.mark.parametrize("form", FOLDERS)
def test_a_folder_is_not_called_like_a_file(form: Form, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="becomes a folder"):
        write_set(video_set(2, 1), tmp_path / "out.json", form)
    assert contents(tmp_path) == {}


def test_individuals_of_a_table_are_identities(tmp_path: Path) -> None:
    people = video_set(1, 2)
    twice = people.select([0, 0, 1, 1])
    for ids in ([-1] * 4, [1, 2, 1, -1], [1, 1, 2, 3]):
        with pytest.raises(UsageError, match="have no track id of their own"):
            write_deeplabcut(replace(twice, track_id=ids), tmp_path / "clip.csv")
    write_deeplabcut(replace(people, track_id=[-1, -1]), tmp_path / "clip.csv")
    assert read_set(tmp_path / "clip.csv").track_id.tolist() == [-1, -1]


def test_a_table_in_a_folder_is_called_like_its_video(tmp_path: Path) -> None:
    write_deeplabcut(video_set(1, 2), tmp_path / "out")
    assert read_set(tmp_path / "out").videos == ("clip00", "clip00")
    with pytest.raises(OutputError, match=r"holds clip00\.csv"):
        write_deeplabcut(video_set(2, 2).of_videos(["clip01"]), tmp_path / "out")


@pytest.mark.parametrize("form", [Form.ALPHAPOSE, Form.OPENPOSE, Form.MMPOSE, Form.DLC])
def test_two_images_are_never_one_frame(form: Form, tmp_path: Path) -> None:
    people = replace(video_set(1, 2), frames=[3, 3])
    with pytest.raises(UsageError, match=r"clip00/000000\.jpg and clip00/000001\.jpg of clips would both be"):
        write_set(people, tmp_path / "out", form)
    assert contents(tmp_path) == {}
