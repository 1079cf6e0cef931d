"""Every shipped recipe: it reads, and it trains a real step on data in the layout that it is for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_people import draw, make_coco

from posepipe.datasets.exclusions import write_exclusions
from posepipe.datasets.formats import read_set
from posepipe.datasets.splits import make_split, read_split, write_split
from posepipe.errors import InputError
from posepipe.training.plan import find_recipe, make_plan, shipped_recipes, train
from posepipe.training.pose_sources import training_people
from posepipe.training.recipe import PoseRecipe

pytestmark = pytest.mark.filterwarnings("ignore")

COCO = [name for name in shipped_recipes() if name.startswith("coco_")]
SAIL = [name for name in shipped_recipes() if name.startswith("sail_")]
STEP = {
    "height": "64", "width": "64", "engine.steps": "1", "engine.batch": "4", "engine.workers": "0",
    "engine.threads": "1", "engine.device": "cpu",
}  # fmt: skip


def sail_folder(folder: Path) -> Path:
    """Four videos of three frames: AlphaPose results, frames, and a split file."""
    for video in range(4):
        rows = []
        (folder / f"frames/v{video}").mkdir(parents=True)
        for frame in range(3):
            image, joints, box = draw(10 * video + frame)
            cv2.imwrite(str(folder / f"frames/v{video}/{frame:06d}.jpg"), image)
            keypoints = np.concatenate([joints, np.full((17, 1), 0.9)], 1)
            row = {"image_id": f"{frame:06d}.jpg", "category_id": 1, "keypoints": keypoints.ravel().tolist()}
            rows.append(row | {"score": 2.5, "box": box})
        (folder / "labels").mkdir(exist_ok=True)
        (folder / f"labels/v{video}.json").write_text(json.dumps(rows))
    write_split(make_split(read_set(folder), val=0.25), folder / "split.json")
    return folder


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_every_recipe_reads_and_says_what_it_is_for(name: str) -> None:
    plan = make_plan(find_recipe(name), {})
    assert all(p.sources for p in plan.phases if isinstance(p, PoseRecipe))
    assert len(shipped_recipes()[name]) > 30


def test_the_published_schedules() -> None:
    plans = {name: make_plan(find_recipe(name), {}).phases for name in COCO}
    for name, epochs in (
        ("coco_simplebaseline_r50_50e", [50]), ("coco_fastpose_r50_50e", [50]),
        ("coco_simplebaseline_r50_140e", [140]), ("coco_fastpose_r50_210e", [140, 70]),
    ):  # fmt: skip
        assert [p.engine.epochs for p in plans[name]] == epochs
        for phase in plans[name]:
            assert isinstance(phase, PoseRecipe)
            assert (phase.height, phase.width, phase.target, phase.sigma) == (256, 192, "gaussian", 2.0)
            assert (phase.engine.batch, phase.engine.optimizer, phase.engine.weight_decay) == (128, "adam", 0.0)
    assert plans["coco_simplebaseline_r50_140e"][0].engine.milestones == (90, 120)


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("lightning", reason="needs the train extra")
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", COCO)
def test_coco_recipes_train_a_step(name: str, quiet: Path) -> None:
    root = quiet / "coco"
    make_coco(root / "annotations/person_keypoints_train2017.json", root / "train2017", 4)
    make_coco(root / "annotations/person_keypoints_val2017.json", root / "val2017", 2, first=100)
    best = train(make_plan(find_recipe(name), {**STEP, "data": str(root)}), quiet / "run")
    assert best.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", SAIL)
def test_sail_recipes_train_a_step(name: str, quiet: Path) -> None:
    settings = {**STEP, "data": str(sail_folder(quiet / "sail"))}
    if name == "sail_simplebaseline_r50_from_coco":
        settings["start"] = ""
    best = train(make_plan(find_recipe(name), settings), quiet / "run")
    assert best.is_file()


def test_a_set_of_videos_trains_a_step_by_its_split(quiet: Path) -> None:
    settings = {**STEP, "data": str(sail_folder(quiet / "sail")), "network": "mobilenet_v3_small"}
    best = train(make_plan(find_recipe("sail_small"), settings), quiet / "run")
    assert best.is_file()
    assert "split.json" in (quiet / "run/recipe.toml").read_text()


def test_an_excluded_video_may_be_missing(quiet: Path) -> None:
    root = sail_folder(quiet / "sail")
    lost, *others = read_split(root / "split.json").parts["train"]
    for video in {f"v{number}" for number in range(4)} - {lost}:
        frames = [cv2.imread(str(path)) for path in sorted((root / "frames" / video).iterdir())]
        size = frames[0].shape[1], frames[0].shape[0]
        out = cv2.VideoWriter(str(root / f"{video}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, size)
        for frame in frames:
            out.write(frame)
        out.release()
    shutil.rmtree(root / "frames")
    settings = {**STEP, "data": str(root)}
    with pytest.raises(InputError, match=lost):
        training_people(make_plan(find_recipe("sail_small"), settings).phases[0])
    write_exclusions(root / "out.json", {lost: ["lost"]}, {})
    known, _, _ = training_people(make_plan(find_recipe("sail_small"), {**settings, "exclude": "out.json"}).phases[0])
    assert {person.video for person in known.people} == set(others)
