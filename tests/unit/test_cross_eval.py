"""The cross-evaluation command, end to end on small sets: pictures with one bright spot, a network that finds it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools")
pytest.importorskip("matplotlib")

import cross_eval
from tiny_nets import box_net, spot_net

from posepipe.datasets.splits import By, Split, write_split

SPOTS = {"one": [(60, 70), (64, 80)], "two": [(90, 75), (80, 66)]}


def picture(spot: tuple[int, int]) -> np.ndarray:
    image = np.zeros((160, 160, 3), np.uint8)
    cv2.circle(image, spot, 4, (255, 255, 255), -1)
    return image


def alphapose_set(folder: Path, shift: int = 0) -> Path:
    """One result file a video, all joints at the spot (or beside it); nose and eyes with little confidence."""
    for video, spots in SPOTS.items():
        rows = []
        (folder / "frames" / video).mkdir(parents=True)
        (folder / "labels").mkdir(exist_ok=True)
        for number, (x, y) in enumerate(spots):
            name = f"{number:06d}.jpg"
            cv2.imwrite(str(folder / "frames" / video / name), picture((x, y)))
            joints = [[x + shift, y, 0.1 if k < 3 else 0.9] for k in range(17)]
            rows.append(
                {"image_id": name, "category_id": 1, "keypoints": [v for joint in joints for v in joint],
                 "score": 2.9, "box": [x - 45, y - 50, 90, 100], "idx": [0.0]}
            )  # fmt: skip
        (folder / "labels" / f"{video}.json").write_text(json.dumps(rows))
    lines = ["video,image_id,x,y,width,height,role,state"]
    for video, state in (("one", "sitting"), ("two", "standing")):
        lines += [
            f"{video},{i:06d}.jpg,{x - 45},{y - 50},90,100,subject,{state}" for i, (x, y) in enumerate(SPOTS[video])
        ]
    (folder / "states.csv").write_text("\n".join(lines) + "\n")
    return folder


def coco_set(folder: Path) -> Path:
    """The first video's pictures as a COCO file, labelled 30 px beside the spot."""
    (folder / "images").mkdir(parents=True)
    images, rows = [], []
    for number, (x, y) in enumerate(SPOTS["one"]):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture((x, y)))
        images.append({"id": number + 1, "file_name": f"{number}.png", "width": 160, "height": 160})
        rows.append(
            {"id": number + 1, "image_id": number + 1, "category_id": 1, "bbox": [x - 45, y - 50, 90, 100],
             "area": 4770.0, "iscrowd": 0, "num_keypoints": 17, "keypoints": [x + 30, y, 2] * 17}
        )  # fmt: skip
    path = folder / "people.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": [{"id": 1, "name": "person"}]}))
    return path


def figures(out: Path) -> dict[tuple[str, ...], float]:
    with (out / "matrix.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {(r["model"], r["set"], r["boxes"], r["part"], r["metric"]): float(r["value"]) for r in rows}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sets, a network and a labeller, and the command's results in ``out``."""
    root = tmp_path_factory.mktemp("cross")
    alphapose_set(root / "clinic")
    alphapose_set(root / "other", shift=3)
    coco_set(root / "coco")
    spot_net(root / "spot.onnx", (64, 48), decode="posterior", padding=1.25)
    assert cross_eval.main(command(root, "out", "--by", "state")) == 0
    return root


def command(root: Path, out: str, *more: str) -> list[str]:
    return [
        "--models", f"spot={root / 'spot.onnx'}", f"other={root / 'other'}",
        "--sets", f"clinic={root / 'clinic'}", f"coco={root / 'coco' / 'people.json'}",
        "--threads", "1", "--bootstrap", "50", *more, "-o", str(root / out),
    ]  # fmt: skip


def test_a_model_is_measured_on_every_set(made: Path) -> None:
    found = figures(made / "out")
    assert found["spot", "clinic", "gt", "", "heatmap accuracy"] == 1
    assert found["spot", "clinic", "gt", "", "AP"] == pytest.approx(1)
    assert found["spot", "coco", "gt", "", "heatmap accuracy"] == 0
    assert found["spot", "coco", "gt", "", "mean OKS"] < 0.5


def test_a_labeller_is_a_row_where_it_knows_the_pictures(made: Path) -> None:
    found = figures(made / "out")
    assert 0.5 < found["other", "clinic", "gt", "", "mean OKS"] < 1
    assert np.isnan(found["other", "coco", "gt", "", "mean OKS"])


def test_a_labeller_of_none_of_the_pictures_is_a_row_of_dashes(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cross_eval.main(command(made, "dash", "--sets", f"coco={made / 'coco' / 'people.json'}")) == 0
    told = capsys.readouterr()
    assert "other labels none of the pictures of coco" in told.err
    assert "| other | - |" in told.out


def test_there_is_a_table_by_state(made: Path) -> None:
    found = figures(made / "out")
    assert {key[3] for key in found if key[1] == "clinic"} == {"", "sitting", "standing"}
    assert {key[3] for key in found if key[1] == "coco"} == {""}


def test_sets_without_states_are_told(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ("--models", f"other={made / 'other'}", "--by", "state")
    assert cross_eval.main(command(made, "states", *models)) == 0
    assert "coco has no states" in capsys.readouterr().err
    coco = ("--sets", f"coco={made / 'coco' / 'people.json'}")
    assert cross_eval.main(command(made, "states", *models, *coco)) == 2
    assert "no states.csv tells states of coco" in capsys.readouterr().err


def test_the_report_says_whose_labels_they_are_and_what_was_left_out(made: Path) -> None:
    text = (made / "out" / "matrix.md").read_text()
    assert "labels by a labeller (figures are agreement with it); 17.6 % of the joints left out" in text
    assert "labels by people; 0.0 %" in text
    assert (made / "out" / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_writes_the_same_files(made: Path) -> None:
    assert cross_eval.main(command(made, "again", "--by", "state")) == 0
    for name in ("matrix.csv", "matrix.md", "matrix.png"):
        assert (made / "again" / name).read_bytes() == (made / "out" / name).read_bytes(), name


def test_detected_boxes_and_a_part_of_a_split(made: Path) -> None:
    detector = str(box_net(made / "boxes.onnx", (160, 160), nms_iou=0.5))
    split = Split(By.VIDEO, {"train": ("one",), "test": ("two",)}, seed=1)
    write_split(split, made / "split.json")
    sets = ("--sets", f"clinic={made / 'clinic'}:{made / 'split.json'}:test")
    assert cross_eval.main(command(made, "found", "--boxes", "gt", detector, *sets, "--by", "video")) == 0
    found = figures(made / "found")
    assert {key[3] for key in found} == {"", "two"}
    assert found["spot", "clinic", "gt", "", "mean OKS"] > 0.95
    assert ("spot", "clinic", detector, "", "AP") in found
    assert cross_eval.main(command(made, "found", "--sets", sets[1].replace(":test", ":testing"))) == 2


def test_at_most_so_many_pictures(made: Path) -> None:
    assert cross_eval.main(command(made, "few", "--most", "1")) == 0
    assert "**clinic**: 1 pictures, 1 people" in (made / "few" / "matrix.md").read_text()


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        (("--sets", "clinic"), 2, "NAME=PATH"),
        (("--models", "spot=nowhere.onnx"), 5, "nowhere.onnx"),
        (("--boxes", "best"), 2, "best"),
        (("--seen-only", "typo"), 2, "typo"),
        (("--models", "a=spot.onnx", "a=other.onnx"), 2, "'a' is given twice"),
        (("--label-score", "1.0"), 3, "no labelled joint is left"),
    ],
)
def test_mistakes_end_with_a_line_and_a_code(
    made: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], code: int, names: str
) -> None:
    assert cross_eval.main([*command(made, "wrong"), *change]) == code
    said = capsys.readouterr().err
    assert "error:" in said
    assert names in said


@pytest.mark.parametrize("change", [("--label-score", "2"), ("--most", "-2"), ("--bootstrap", "-1"), ("--seed", "-1")])
def test_numbers_out_of_range_are_refused(
    made: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        cross_eval.main([*command(made, "wrong"), *change])
    assert refused.value.code == 2
    assert "out of range" in capsys.readouterr().err


def test_a_labeller_needs_no_pictures(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("clinic", "other"):
        shutil.copytree(made / name / "labels", tmp_path / name / "labels")
    models = ("--models", f"other={made / 'other'}")
    assert cross_eval.main(command(made, "blind", *models, "--sets", f"clinic={tmp_path / 'clinic'}")) == 0
    found = figures(made / "blind")
    assert (
        found["other", "clinic", "gt", "", "mean OKS"] == figures(made / "out")["other", "clinic", "gt", "", "mean OKS"]
    )
    capsys.readouterr()
    assert cross_eval.main(command(made, "wrong", *models, "--sets", f"coco={made / 'coco' / 'people.json'}")) == 2
    assert "no labeller is of any of the sets' pictures" in capsys.readouterr().err


def test_other_skeletons_are_mapped(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "clinic", tmp_path / "halpe")
    for file in (tmp_path / "halpe" / "labels").iterdir():
        rows = json.loads(file.read_text())
        for row in rows:
            row["keypoints"] += row["keypoints"][-3:] * 9
        file.write_text(json.dumps(rows))
    assert cross_eval.main(command(made, "halpe", "--sets", f"halpe={tmp_path / 'halpe'}")) == 0
    assert "9 joints that COCO does not have are left out" in (made / "halpe" / "matrix.md").read_text()
    found, known = figures(made / "halpe"), figures(made / "out")
    for model in ("spot", "other"):
        for metric in ("AP", "mean OKS", "heatmap accuracy"):
            assert found[model, "halpe", "gt", "", metric] == known[model, "clinic", "gt", "", metric]
    halpe = ("--models", f"halpe={tmp_path / 'halpe'}")
    assert cross_eval.main(command(made, "halpe", *halpe, "--sets", f"clinic={made / 'clinic'}")) == 0
    assert figures(made / "halpe")["halpe", "clinic", "gt", "", "mean OKS"] == pytest.approx(1)


def test_one_video_gives_no_interval(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "clinic", tmp_path / "one")
    (tmp_path / "one" / "labels" / "two.json").unlink()
    assert cross_eval.main(command(made, "single", "--sets", f"one={tmp_path / 'one'}")) == 0
    assert "| spot | 100.0 (-) |" in (made / "single" / "matrix.md").read_text()
    assert " to " not in (made / "single" / "matrix.md").read_text().split("###", 1)[1]
