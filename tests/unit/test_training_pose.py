"""Losses, teachers, data and training of pose networks."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")

from label_sets import alphapose_row, person, video_set, write_json, write_pictures, write_video
from tiny_nets import fixed_net
from tiny_people import make_coco

from posepipe.config import data_root
from posepipe.datasets.augmentation import Augmentation
from posepipe.datasets.crops import build_crops
from posepipe.datasets.exclusions import write_exclusions
from posepipe.datasets.formats import Form, read_set, write_set
from posepipe.datasets.keypoints import KeypointSamples
from posepipe.datasets.yolo import write_yolo
from posepipe.errors import ConfigError, InputError, UsageError, WeightsError
from posepipe.heatmaps import CellGrid, encode_gaussian
from posepipe.io.weights import weights_path
from posepipe.models.pose_checkpoints import load_pose_checkpoint, pose_card
from posepipe.models.pose_networks import pose_network
from posepipe.skeleton import COCO17
from posepipe.training.distil import Teacher, load_teacher
from posepipe.training.engine import averaged_weights
from posepipe.training.export import export_pose, write_safetensors, write_weights
from posepipe.training.lessons import load_lessons, recall
from posepipe.training.plan import find_recipe, make_plan, train
from posepipe.training.pose import PoseModule, _crops, _samples, crop_size, start_network
from posepipe.training.pose_loss import gaussian_loss, gaussian_targets, posterior_loss, teacher_loss
from posepipe.training.pose_sources import Reader, training_people
from posepipe.training.recipe import DistilRecipe, PoseRecipe, Source
from posepipe.training.table import build

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL: dict[str, Any] = {
    "kind": "pose",
    "height": 64,
    "width": 64,
    "sources": [{"path": "train.json", "images": "images"}],
    "validation": [{"path": "val.json", "images": "val"}],
    "engine": {"epochs": 1, "batch": 4, "workers": 0, "threads": 1, "warmup_steps": 0, "steps": 1},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    make_coco(folder / "train.json", folder / "images", 8)
    make_coco(folder / "val.json", folder / "val", 4, first=100)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def recipe(root: Path, **changes: Any) -> PoseRecipe:
    table = {**SMALL, "data": str(root), **changes}
    table.pop("kind")
    return build(PoseRecipe, table)


# ---- losses


def joints(count: int = 3) -> torch.Tensor:
    return torch.rand(2, count, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([11.0, 15.0])


def test_gaussian_targets_are_the_projects_gaussians() -> None:
    cells = joints()
    expected = encode_gaussian(cells.numpy(), (16, 12), 2.0)
    np.testing.assert_allclose(gaussian_targets(cells, (16, 12), 2.0).numpy(), expected, atol=1e-6)


def test_losses_are_least_at_the_target() -> None:
    cells, trust, none = joints(), torch.ones(2, 3), torch.zeros(2, 3)
    maps = gaussian_targets(cells, (16, 12), 1.5)
    assert float(gaussian_loss(maps, cells, trust, none, 1.5)) == pytest.approx(0, abs=1e-7)
    assert float(posterior_loss(maps.clamp_min(1e-30).log(), cells, trust, none, 1.5)) == pytest.approx(0, abs=1e-4)
    assert float(gaussian_loss(maps * 0, cells, trust, none, 1.5)) > 0.005
    assert float(posterior_loss(maps * 0, cells, trust, none, 1.5)) > 1


def test_joints_without_trust_cost_nothing() -> None:
    cells, maps = joints(), torch.randn(2, 3, 16, 12, generator=torch.Generator().manual_seed(1))
    trust = torch.tensor([[1.0, 0.0, 1.0]] * 2)
    other = maps.clone()
    other[:, 1] = 7.0
    for loss in (gaussian_loss, posterior_loss):
        assert torch.equal(loss(maps, cells, trust, 0 * trust, 2.0), loss(other, cells, trust, 0 * trust, 2.0))


def test_absent_joints_want_empty_maps() -> None:
    cells, none, absent = joints(), torch.zeros(2, 3), torch.ones(2, 3)
    assert float(gaussian_loss(torch.zeros(2, 3, 16, 12), cells, none, absent, 2.0)) == 0
    assert float(posterior_loss(torch.zeros(2, 3, 16, 12), cells, none, absent, 2.0)) == pytest.approx(0, abs=1e-5)


def test_the_gaussian_loss_is_alphaposes() -> None:
    """0.5 x the mean over all cells of the squared error, both maps weighted by 0 or 1."""
    cells, weight = joints(), torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    maps = torch.rand(2, 3, 16, 12, generator=torch.Generator().manual_seed(2))
    w = weight[..., None, None]
    expected = 0.5 * torch.nn.functional.mse_loss(maps * w, gaussian_targets(cells, (16, 12), 2.0) * w)
    torch.testing.assert_close(gaussian_loss(maps, cells, weight, 0 * weight, 2.0), expected)


@pytest.mark.parametrize("target", ["posterior", "gaussian"])
def test_a_student_that_says_what_the_teacher_says_has_learnt(target: str) -> None:
    peaks = gaussian_targets(joints(), (16, 12), 1.5)
    taught = peaks / peaks.sum((-2, -1), keepdim=True)
    peaks = peaks / peaks.amax((-2, -1), keepdim=True)
    confidence = torch.full((2, 3), 0.8)
    maps = taught.log() if target == "posterior" else 0.8 * peaks
    right = teacher_loss(maps, target, taught, confidence, torch.ones(2, 3))
    assert float(right) == pytest.approx(0, abs=1e-5)
    wrong = teacher_loss(maps.flip(-1), target, taught, confidence, torch.ones(2, 3))
    assert float(wrong) > float(right) + 1e-3
    assert float(teacher_loss(maps.flip(-1), target, taught, confidence, torch.zeros(2, 3))) == 0


# ---- teachers


def centroids(maps: torch.Tensor) -> np.ndarray:
    """Mean place (...,2) of maps that sum to 1."""
    rows, columns = np.mgrid[: maps.shape[-2], : maps.shape[-1]]
    return np.stack([(maps.numpy() * grid).sum((-2, -1)) for grid in (columns, rows)], -1)


def test_a_teachers_maps_are_read_where_the_students_cells_lie() -> None:
    at = np.array([[[20.0, 30.0], [40.2, 17.7]]])  # crop px
    student = gaussian_targets(torch.from_numpy((at - 1.5) / 4), (16, 16), 2.0)
    for cells in ("centre", "corner", "aligned"):
        grid = CellGrid.of(cells, (64, 64), (16, 16))
        own = gaussian_targets(torch.from_numpy((at - grid.offset) / grid.scale), (16, 16), 2.0).float()
        teacher = Teacher(lambda image, own=own: own, None, posterior=False, cells=cells)
        taught, confidence = teacher(torch.zeros(1, 3, 64, 64), (16, 16))
        assert float(taught.sum()) == pytest.approx(2, abs=1e-5)
        assert float(confidence.min()) > 0.9
        np.testing.assert_allclose(
            centroids(taught), centroids(student / student.sum((-2, -1), keepdim=True)), atol=0.06
        )


@pytest.mark.slow  # exports
def test_checkpoints_and_onnx_files_teach_alike(tmp_path: Path, root: Path) -> None:
    network = start_network(recipe(root)).eval()
    weights = tmp_path / "t.safetensors"
    torch.save({"state_dict": {f"network.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "t.ckpt")
    write_safetensors(tmp_path / "t.ckpt", weights)
    export_pose(weights, tmp_path / "t.onnx", name="t", version="1", trained_on=[], licence="")
    image = torch.rand(2, 3, 256, 192, generator=torch.Generator().manual_seed(0)) * 255
    seen = [
        load_teacher(DistilRecipe(teacher=str(tmp_path / name)), 17, (256, 192), 1)(image, (64, 48))
        for name in ("t.ckpt", "t.safetensors", "t.onnx")
    ]
    for taught, confidence in seen:
        torch.testing.assert_close(taught, seen[0][0], atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(confidence, seen[0][1], atol=1e-4, rtol=1e-3)
        assert float(taught.sum()) == pytest.approx(2 * 17, rel=1e-4)


def test_teachers_that_cannot_teach_are_refused(tmp_path: Path, root: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no")
    (tmp_path / "bad.ckpt").write_bytes(b"no")
    for name in ("absent.onnx", "bad.onnx", "bad.ckpt"):
        with pytest.raises(WeightsError, match=name.partition(".")[0]):
            load_teacher(DistilRecipe(teacher=str(tmp_path / name)), 17, (64, 64), 1)
    torch.save(start_network(recipe(root)).state_dict(), tmp_path / "ours.pth")
    with pytest.raises(WeightsError, match="gives 17 maps; expected 14"):
        load_teacher(DistilRecipe(teacher=str(tmp_path / "ours.pth")), 14, (64, 64), 1)


def test_tinypose_teaches(root: Path) -> None:
    pytest.importorskip("openvino", reason="needs the bench extra")
    path = data_root() / "baselines/tinypose_256x192.xml"
    if not path.is_file():
        pytest.skip("POSEPIPE_DATA has no baselines")
    source = Source(path="coco-mini/annotations/person_keypoints_train.json", images="coco-mini/images", least_px=150)
    people = [p for p in Reader(data_root()).people(source) if (p.located > 0).sum() > 14][:6]
    samples = KeypointSamples(build_crops(people, (256, 192), 1.25), (256, 192))
    teacher = load_teacher(DistilRecipe(teacher=str(path)), 17, (256, 192), 1)
    near = []
    for sample in (samples[i] for i in range(len(samples))):
        image = torch.from_numpy(sample["image"]).permute(2, 0, 1)[None].float()
        taught, confidence = teacher(image, (64, 48))
        best = taught[0].flatten(1).argmax(-1).numpy()
        peak = np.stack([best % 48, best // 48], -1)
        sure = (confidence[0].numpy() > 0.4) & (sample["located"] > 0)
        near += (np.linalg.norm(peak - sample["cells"], axis=-1) < 4)[sure].tolist()
    assert np.mean(near) > 0.85


def lessons_of_labels(people: KeypointSamples) -> np.ndarray:
    """What a teacher would give that sees every joint where its label is: gaussians of 2 cells, peak .8."""
    cells = torch.from_numpy(np.stack([people[i]["cells"] for i in range(len(people))]))
    maps = gaussian_targets(cells, (people.size[0] // 4, people.size[1] // 4), 2.0)
    return np.asarray((maps * 0.8 * 255).round().to(torch.uint8).numpy())


def labelled(root: Path, settings: Augmentation | None, **named: Any) -> KeypointSamples:
    known = Reader(root).people(Source(path="train.json", images="images"))
    return KeypointSamples(build_crops(known, (256, 192), 1.25), (256, 192), augmentation=settings, **named)


def test_lessons_are_varied_with_the_crop(root: Path) -> None:
    settings = Augmentation(cutout=0.5, crowd=0.5, truncate=0.3, half_body=0.3)
    lessons = lessons_of_labels(labelled(root, None))
    varied = labelled(root, settings, lessons=lessons)
    teacher = Teacher(lambda image: image, None, posterior=False, cells="centre")
    teacher.sharpen_to(1.5)
    samples = [varied[index, seed] for index in range(len(varied)) for seed in range(12)]
    batch = {key: torch.from_numpy(np.stack([s[key] for s in samples])) for key in samples[0]}
    taught, confidence = recall(teacher, batch)
    located = batch["located"] > 0
    assert 0.3 < float(located.float().mean()) < 0.98
    # What labels say is not in the crop, the teacher does not teach (but where rounding to a cell decides).
    assert bool((confidence[located] > 0.6).all())
    known = torch.from_numpy(np.stack([varied.crops.located[i] > 0 for i in range(len(varied)) for _ in range(12)]))
    mirrored = torch.linalg.det(batch["to_lesson"][:, :, :2]) < 0
    known = torch.where(mirrored[:, None], known[:, list(COCO17.mirror)], known)
    assert float((confidence[known & ~located] == 0).float().mean()) > 0.95
    # Well inside, maps lie on the labels and are as wide as targets are, however far the crop was zoomed.
    inside = located & ((batch["cells"] - 23.5).abs().amax(-1) < 17)
    off = centroids(taught) - batch["cells"].numpy()
    assert np.abs(off[inside.numpy()]).max() < 0.5
    columns = torch.arange(48.0) - torch.from_numpy(centroids(taught))[..., :1].float()
    width = (taught.sum(-2) * columns.square()).sum(-1).sqrt()[inside]
    assert 1.4 < float(width.min()) < float(width.max()) < 1.7
    hidden = batch["shown"] < 1
    assert bool(hidden.any())
    assert set(batch["shown"].unique().tolist()) == {0.5, 1.0}


def test_lessons_are_made_once(root: Path, tmp_path: Path) -> None:
    looks = []

    def run(image: torch.Tensor) -> torch.Tensor:
        looks.append(len(image))
        return gaussian_targets(torch.full((len(image), 17, 2), 9.0), (64, 48), 2.0)

    teacher = Teacher(run, None, posterior=False, cells="centre")
    people = Reader(root).people(Source(path="train.json", images="images"))
    (tmp_path / "teacher.xml").write_bytes(b"weights")
    made, again = (
        load_lessons(teacher, [tmp_path / "teacher.xml"], people, labelled(root, None), tmp_path) for _ in range(2)
    )
    assert sum(looks) == 2 * len(people)  # upright and mirrored
    again = copy.copy(again)  # by its state, as it goes to a process that loads data
    for index in range(len(people)):
        np.testing.assert_array_equal(made[index], again[index])
    maps = made[len(people) - 1]
    assert maps.shape == (17, 64, 48)
    # The mean of an answer at column 9 and one at column 9 of the mirror image.
    assert maps[0, 9, 9] == maps[0, 9, 47 - 9] == maps.max() == round(255 / 2)
    (tmp_path / "teacher.xml").write_bytes(b"other weights")
    load_lessons(teacher, [tmp_path / "teacher.xml"], people, labelled(root, None), tmp_path)
    assert sum(looks) == 4 * len(people)


def test_of_two_teachers_the_surer_one_is_heard_more(root: Path, tmp_path: Path) -> None:
    """The embedded network as a second teacher of itself alone, and beside a file that is sure of the first cell."""
    crops = labelled(root, None)
    image = torch.from_numpy(np.stack([crops[i]["image"] for i in range(2)])).permute(0, 3, 1, 2).float()
    small = weights_path("sppe_small")
    alone, sure = load_teacher(DistilRecipe(teacher=str(small)), 17, (256, 192), 1, sigma=1.5)(image, (64, 48))
    twice = load_teacher(DistilRecipe(teacher=str(small), second="small"), 17, (256, 192), 1, sigma=1.5)
    maps, confidence = twice(image, (64, 48))
    torch.testing.assert_close(maps, alone, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(confidence, sure, atol=1e-6, rtol=1e-3)

    corner = np.zeros((17, 64, 48), np.float32)
    corner[:, 0, 0] = 0.25  # a peak: a quarter sure
    about = json.dumps({"input_size": [256, 192], "decode": "peaks", "cells": "centre"})
    path = fixed_net(tmp_path / "corner.onnx", {"heatmaps": corner}, ["N", 3, 256, 192], {"posepipe": about})
    pair = load_teacher(DistilRecipe(teacher=str(path), second="small"), 17, (256, 192), 1, sigma=1.5)
    maps, confidence = pair(image, (64, 48))
    torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(2, 17))
    torch.testing.assert_close(maps[..., 0, 0], (0.25 + sure * alone[..., 0, 0]) / (0.25 + sure))
    torch.testing.assert_close(confidence, (0.25**2 + sure**2) / (0.25 + sure))
    with pytest.raises(ConfigError, match="second"):
        DistilRecipe(second="small")


def test_kept_lessons_of_two_teachers_are_those_of_the_students_width(root: Path, tmp_path: Path) -> None:
    peak = np.zeros((17, 64, 48), np.float32)
    peak[:, 10:21, 10:21] = encode_gaussian(np.full((1, 1, 2), 5.0), (11, 11), 2.0)[0, 0]
    about = json.dumps({"input_size": [256, 192], "decode": "peaks", "cells": "centre"})
    path = fixed_net(tmp_path / "peak.onnx", {"heatmaps": peak}, ["N", 3, 256, 192], {"posepipe": about})
    distil = DistilRecipe(teacher=str(path), second=str(path))
    people = Reader(root).people(Source(path="train.json", images="images"))
    wide, narrow = (
        load_lessons(
            load_teacher(distil, 17, (256, 192), 1, sigma=sigma), distil.files, people, labelled(root, None), tmp_path
        )
        for sigma in (2.0, 1.0)
    )
    assert ((wide[0] > 32).sum((-2, -1)) > 2 * (narrow[0] > 32).sum((-2, -1))).all()


# ---- data


def test_crops_are_kept_at_the_resolution_of_the_input(root: Path) -> None:
    sizes = {(256, 192): (256, 192), (128, 96): (256, 192), (384, 288): (384, 288), (256, 256): (256, 256)}
    for (height, width), kept in sizes.items():
        assert crop_size(recipe(root, height=height, width=width)) == kept


def test_people_are_seen_with_the_recipes_padding(root: Path) -> None:
    def area(padding: float) -> float:
        table = recipe(root, padding=padding)
        people = training_people(table)[0].people
        return float(_samples(_crops(people, table), table, None)[0]["area"])

    assert area(1.0) == pytest.approx(area(1.25) * 1.25**2, rel=1e-3)


def test_a_start_for_other_joints_is_refused(root: Path, tmp_path: Path) -> None:
    network = pose_network("simplebaseline_r18", 26, (128, 96))
    card = pose_card("simplebaseline_r18", 26, (128, 96), decode="dark")
    write_weights(network.state_dict(), tmp_path / "halpe.safetensors", card)
    with pytest.raises(WeightsError, match="other joints"):
        start_network(recipe(root, network="simplebaseline_r18", start=str(tmp_path / "halpe.safetensors")))


def test_sources_are_read_weighed_and_repeated(root: Path) -> None:
    made = recipe(root, sources=[{**SMALL["sources"][0], "trust": 0.5, "repeat": 3}])
    known, held, notes = training_people(made)
    assert (len(known.people), len(held.people), notes) == (8, 4, ())
    assert known.repeat.tolist() == [3] * 8
    assert all((p.located == 0.5).all() for p in known.people)


def test_a_share_of_the_pictures_is_validated_on_the_same_people(root: Path) -> None:
    whole, half = (training_people(recipe(root, share=share)) for share in (1.0, 0.5))
    assert 0 < len(half[0].people) < len(whole[0].people)
    assert {p.image for p in half[0].people} < {p.image for p in whole[0].people}
    assert [p.image for p in half[1].people] == [p.image for p in whole[1].people]
    with pytest.raises(ConfigError, match="share"):
        training_people(recipe(root, share=0.0))


def test_a_yolo_set_of_several_parts_is_read_by_part(tmp_path: Path) -> None:
    people = video_set(3, 2, root=tmp_path / "frames")
    write_pictures(people, tmp_path / "frames")
    parts = {part: people.of_images(np.arange(6) // 2 == i) for i, part in enumerate(("train", "val", "test"))}
    write_yolo(people, tmp_path / "set", parts)
    sources = {"sources": [{"path": "set/images/train"}], "validation": [{"path": "set/images/val"}]}
    for side, part in zip(training_people(recipe(tmp_path, **sources)), ("train", "val"), strict=False):
        assert {p.image.relative_to(tmp_path / "set" / "images").parts[0] for p in side.people} == {part}
    for wrong in ({"sources": [{"path": "set"}]}, {"validation": [{"path": "set/data.yaml"}]}):
        with pytest.raises(ConfigError, match="images/train, images/val, images/test"):
            training_people(recipe(tmp_path, **{**sources, **wrong}))


def test_stills_of_mmpose_are_trained_on_where_their_folder_is_named(root: Path, tmp_path: Path) -> None:
    write_set(read_set(root / "train.json", root / "images"), tmp_path / "predictions", Form.MMPOSE)
    source = {"path": str(tmp_path / "predictions"), "images": "images"}
    known = training_people(recipe(root, sources=[source]))[0].people
    assert {p.image for p in known} == {p.image for p in training_people(recipe(root))[0].people}
    with pytest.raises(InputError, match="Name their folder"):
        training_people(recipe(root, sources=[{"path": source["path"]}]))


def test_states_are_read_from_a_table(root: Path, tmp_path: Path) -> None:
    states = tmp_path / "states.csv"
    states.write_text("image_id,state\n000000000002.png,sits\n")
    people = Reader(root).people(Source(path="train.json", images="images", states=str(states)))
    assert [p.state for p in people] == ["", "", "sits", "", "", "", "", ""]
    states.write_text("image\n1\n")
    with pytest.raises(InputError, match="first line names the columns"):
        Reader(root).people(Source(path="train.json", images="images", states=str(states)))


def test_small_people_and_pictures_of_other_sources_are_left_out(root: Path) -> None:
    assert Reader(root).people(Source(path="train.json", images="images", least_px=500)) == []
    assert Reader(root).people(Source(path="train.json", images="images", without=("train.json",))) == []


def test_pictures_of_another_set_are_left_out_by_their_whole_names(root: Path, tmp_path: Path) -> None:
    """Names of which a folder is part; what the sets do not share is refused."""
    labels = json.loads((root / "train.json").read_text("utf-8"))
    folders = {row["file_name"]: f"{'ab'[i % 2]}/{i // 2}.jpg" for i, row in enumerate(labels["images"])}
    for row in labels["images"]:
        old, new = root / "images" / row["file_name"], tmp_path / "images" / folders[row["file_name"]]
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(old.read_bytes())
        row["file_name"] = folders[row["file_name"]]
    write_json(tmp_path / "all.json", labels)
    one = labels["images"][0]["id"]
    first = labels | {
        "images": [row for row in labels["images"] if row["id"] == one],
        "annotations": [row for row in labels["annotations"] if row["image_id"] == one],
    }
    write_json(tmp_path / "test.json", first)
    source = Source(path="all.json", images="images", without=("test.json",))
    left = {str(p.image.relative_to(tmp_path / "images")) for p in Reader(tmp_path).people(source)}
    assert left == set(folders.values()) - {"a/0.jpg"}
    first["images"][0]["file_name"] = "0.jpg"  # not a name of this set
    write_json(tmp_path / "test.json", first)
    with pytest.raises(InputError, match="left out"):
        Reader(tmp_path).people(source)


def test_exclusions_leave_out_what_they_name_and_refuse_what_nobody_knows(root: Path) -> None:
    named = training_people(recipe(root))[0].people[0].image.name
    write_exclusions(root / "out.json", {}, {named: ["seen"]})
    kept = training_people(recipe(root, exclude=["out.json"]))[0]
    assert named not in {person.image.name for person in kept.people}
    write_exclusions(root / "out.json", {"clip0.mp4": ["seen"]}, {named: ["seen"]})
    with pytest.raises(InputError, match=r"out\.json excludes 1 videos or images that no source holds: clip0\.mp4"):
        training_people(recipe(root, exclude=["out.json"]))


def test_frames_beyond_the_end_of_a_video_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    write_json(tmp_path / "set/labels/a.json", [alphapose_row(f"{f}.jpg", person(third=0.9)) for f in range(6)])
    write_video(tmp_path / "set/videos/a.avi", 4)
    reader = Reader(tmp_path)
    assert len(reader.people(Source(path="set"))) == 4
    (note,) = reader.notes
    assert note.startswith("2 labelled frames of ")


def test_data_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.json"):
        training_people(recipe(root, sources=[{"path": "absent.json"}]))
    with pytest.raises(ConfigError, match="nothing to learn from"):
        training_people(recipe(root, sources=[]))
    with pytest.raises(ConfigError, match="has no path"):
        training_people(recipe(root, sources=[{}]))
    with pytest.raises(ConfigError, match="nobody is left to train on"):
        training_people(recipe(root, sources=[{**SMALL["sources"][0], "least_px": 500}]))


def test_a_set_too_small_to_hold_anything_out_says_so(root: Path, tmp_path: Path) -> None:
    make_coco(tmp_path / "few.json", tmp_path / "images", 1)
    few = [{"path": str(tmp_path / "few.json"), "images": str(tmp_path / "images")}]
    with pytest.raises(ConfigError, match=r"4% of 1 pictures, chosen by .* none. Give \[\[validation\]\], or make a"):
        training_people(recipe(root, sources=few, validation=[]))


def test_a_leak_is_refused_unless_allowed(root: Path, tmp_path: Path) -> None:
    leaky = {**SMALL, "data": str(root), "validation": [{"path": "train.json", "images": "images"}]}
    plan = make_plan(leaky, {"network": "mobilenet_v3_small"})
    with pytest.raises(InputError, match=r"both sides.*000000000000\.png.*--allow-leaks"):
        train(plan, tmp_path / "run")
    best = train(plan, tmp_path / "run", allow_leaks=True)
    assert "both sides" in (tmp_path / "run/SUMMARY.md").read_text()
    assert "both sides" in torch.load(best, weights_only=True)["training"]["notes"][0]


def test_the_shipped_networks_data_holds_no_test_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    # To compare 16,000 pictures with one another takes minutes, and drops people only.
    monkeypatch.setattr("posepipe.training.pose_sources.without_copies", lambda held, train: list(held))
    root = data_root()
    if not (root / "lspet").is_dir():
        pytest.skip("POSEPIPE_DATA is not there")
    import json

    path = Path(__file__).resolve().parents[2] / "models/sppe_small/recipe.toml"
    made = make_plan(find_recipe(str(path)), {}).phases[0]
    assert isinstance(made, PoseRecipe)
    known, held, _ = training_people(made)
    used = {(p.image.parent.parent.name, p.image.name) for p in (*known.people, *held.people)}
    for name, file in (
        ("lspet", "lspet/person_keypoints_test.json"),
        ("coco-mini", "coco-mini/annotations/person_keypoints_test.json"),
    ):
        tested = {(name, image["file_name"]) for image in json.loads((root / file).read_text())["images"]}
        assert tested
        assert not used & tested
    assert not {p.image for p in known.people} & {p.image for p in held.people}
    assert len(held.people) > 500
    assert len(known.people) > 18000


# ---- training


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("network", "target", "decode"),
    [
        ("mobilenet_v3_small", "gaussian", "dark"),
        pytest.param("sppe_small", "posterior", "posterior", marks=pytest.mark.slow),
        pytest.param("simplebaseline_r18", "gaussian", "dark", marks=pytest.mark.slow),
    ],
)
def test_networks_train_a_step_and_say_what_they_are(
    root: Path, tmp_path: Path, network: str, target: str, decode: str
) -> None:
    table = {**SMALL, "data": str(root), "network": network, "target": target, "padding": 1.1}
    best = train(make_plan(table, {}), tmp_path)
    loaded, card = load_pose_checkpoint(best)
    assert (card["network"], card["decode"], card["input_size"]) == (network, decode, [64, 64])
    assert card["padding"] == 1.1
    assert len(rows(tmp_path)) == 1
    assert 0 <= float(rows(tmp_path)[0]["val_score"]) <= 1
    again = start_network(recipe(root, network=network, start=str(best)))
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    with pytest.raises(UsageError, match="holds another network"):
        start_network(recipe(root, network="fastpose_r50", start=str(best)))


@pytest.mark.slow  # exports
def test_phases_follow_one_another_and_end_in_files(root: Path, tmp_path: Path) -> None:
    table = {
        **SMALL, "data": str(root), "export": {"name": "made", "version": "7", "trained_on": ["sticks"]},
        "phases": [{}, {"engine": {"learning_rate": 1e-6}}],
    }  # fmt: skip
    best = train(make_plan(table, {}), tmp_path)
    assert best == tmp_path / "phase2" / "best.ckpt"
    first, second = (averaged_weights(tmp_path / f"phase{n}" / "best.ckpt") for n in (1, 2))
    moved = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert 0 < moved < 1e-4
    _, card = load_pose_checkpoint(tmp_path / "made.safetensors")
    assert card["input_size"] == [64, 64]
    assert (tmp_path / "made.onnx").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("once", [False, True])
def test_a_student_learns_from_its_teacher(root: Path, tmp_path: Path, once: bool) -> None:
    teacher = train(make_plan({**SMALL, "data": str(root)}, {}), tmp_path / "teacher")
    table = {**SMALL, "data": str(root), "distil": {"teacher": str(teacher), "once": once}}
    train(make_plan(table, {"engine.seed": "9"}), tmp_path / "student")
    assert float(rows(tmp_path / "student")[0]["train_teacher"]) > 0


def test_a_teachers_sight_makes_up_for_labels_that_lack_a_joint(root: Path) -> None:
    """The gradient of a joint without a label pulls its map to where the teacher sees it."""
    sight = gaussian_targets(torch.tensor([[[4.0, 9.0]] * 17]), (16, 16), 1.0)
    teacher = Teacher(lambda image: sight, None, posterior=False, cells="centre")
    made = recipe(root, distil={"teacher": "t"}, frozen_layers=0)
    module = PoseModule(start_network(made), made, teacher)
    module.log = lambda *_args, **_named: None  # type: ignore[method-assign]
    batch = {
        "image": torch.zeros(1, 64, 64, 3, dtype=torch.uint8), "cells": torch.zeros(1, 17, 2),
        "located": torch.zeros(1, 17), "absent": torch.full((1, 17), 0.1),
    }  # fmt: skip
    maps = torch.zeros(1, 17, 16, 16, requires_grad=True)
    module.forward = lambda image: maps  # type: ignore[method-assign]
    module.training_step(batch, 0).backward()
    assert maps.grad is not None
    assert bool((maps.grad.flatten(2).argmin(-1) == 9 * 16 + 4).all())


def test_the_trunk_has_its_own_rate(root: Path) -> None:
    made = recipe(root, trunk_rate=0.5)
    groups = PoseModule(start_network(made), made).parameter_groups()
    assert {g["lr"] for g in groups} == {made.engine.learning_rate, made.engine.learning_rate / 2}
    count = sum(len(g["params"]) for g in groups)
    assert count == len(list(start_network(made).parameters()))


@pytest.mark.slow  # exports
@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_frozen_layers_stay(root: Path, tmp_path: Path, precision: str) -> None:
    made = make_plan({**SMALL, "data": str(root), "frozen_layers": 5}, {"engine.precision": precision})
    before = start_network(dataclasses.replace(made.phases[0]))  # type: ignore[arg-type]
    after = averaged_weights(train(made, tmp_path))
    changed = {
        name.split(".")[1]
        for name, value in before.state_dict().items()
        if not torch.equal(value, after[name]) and name.startswith("trunk.")
    }
    assert changed == {str(i) for i in range(5, 25)}
    assert len(COCO17) == 17
