"""Shipped recipes of action networks: the published settings, and a real step of the full one on pictures and poses."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")

from clips import write_clip

from posepipe.io.weights import read_card, weights_path
from posepipe.training.action_card import load_action
from posepipe.training.action_recipe import ActionRecipe
from posepipe.training.plan import find_recipe, make_plan, train
from posepipe.training.schedule import rate_share

pytestmark = pytest.mark.filterwarnings("ignore")

NAMES = [f"S001C001P{subject:03d}R001A{action:03d}" for subject in (1, 3) for action in (1, 60)]


def recipe(name: str, **overrides: str) -> ActionRecipe:
    found = make_plan(find_recipe(name), overrides).phases[0]
    assert isinstance(found, ActionRecipe)
    return found


def test_the_recipe_of_ntu60_is_the_plan() -> None:
    plan = recipe("action_ntu60")
    engine = plan.engine
    share = rate_share(engine, 100 * 50, 50)
    assert engine.learning_rate == pytest.approx(0.01 * 24 / 20)
    assert share(0) == pytest.approx(0.1, abs=0.01)
    assert (share(250), engine.learning_rate * share(5000)) == (1.0, pytest.approx(1e-6, rel=1e-3))
    assert (engine.epochs, engine.batch, engine.momentum, engine.weight_decay) == (100, 24, 0.9, 3e-4)
    assert (engine.clip_norm, engine.keep_every, engine.keep_best) == (40.0, 5, 10)
    assert (engine.patience, engine.min_delta, engine.monitor) == (20, 3e-4, "val_score")
    loss, how, mix = plan.loss, plan.variation, plan.mix
    assert (loss.rgb, loss.pose, loss.rgb_coarse, loss.pose_coarse, loss.smoothing) == (1.0, 1.5, 0.6, 1.2, 0.1)
    assert (how.area, how.flip, how.erase, how.erase_area) == ((0.4, 1.0), 0.5, 0.25, (0.02, 0.2))
    assert (how.brightness, how.contrast, how.saturation, how.hue) == (0.4, 0.4, 0.4, 0.15)
    assert (mix.mixup, mix.mixup_alpha) == (0.5, 0.2)
    assert mix.cutmix > 0
    assert (plan.frames, plan.rgb_frames, plan.size, plan.sigma, plan.cells) == (32, 8, 56, 0.7, "corner")
    for stage in ("rgb", "pose"):
        first = recipe(f"action_ntu60_{stage}")
        assert (first.form, first.engine, first.loss) == (stage, engine, loss)


def test_the_network_that_ships_is_the_one_of_its_recipe() -> None:
    made = recipe(str(Path(__file__).parents[2] / "models/action_small/recipe.toml"))
    card = read_card(weights_path("action_small")).values
    for name in ("form", "network", "frames", "size", "cells", "keypoint_score", "sampling"):
        assert card[name] == getattr(made, name), name
    export = {name: list(v) if isinstance(v, tuple) else v for name, v in vars(made.export).items()}
    assert {name: card[name] for name in export} == export
    chosen = recipe(str(Path(__file__).parents[2] / "models/action_small/calibration.toml"))
    same = {"sources": made.sources, "validation_part": made.validation_part, "export": made.export}
    assert replace(chosen, **same) == made


def ntu(folder: Path) -> Path:
    """Four clips in the layout of the recipe: a pickle of skeletons and small videos."""
    rows = []
    for number, name in enumerate(NAMES):
        xy = np.random.default_rng(number).uniform(20, 90, (1, 12, 17, 2)).astype(np.float16)
        score = np.ones((1, 12, 17), np.float16)
        row = {"frame_dir": name, "label": int(name[-3:]) - 1, "keypoint": xy, "keypoint_score": score}
        rows.append(row | {"img_shape": (96, 160), "total_frames": 12})
        (folder / "nturgb+d_rgb").mkdir(exist_ok=True)
        write_clip(folder / "nturgb+d_rgb" / f"{name}_rgb.avi", 12, form="avi")
    split = {"xsub_train": NAMES[:2], "xsub_val": NAMES[2:]}
    (folder / "ntu60_hrnet.pkl").write_bytes(pickle.dumps({"split": split, "annotations": rows}))
    return folder


@pytest.mark.slow
def test_a_step_of_pcan_begins_from_its_two_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    machine = {
        "data": str(ntu(tmp_path)), "engine.steps": "1", "engine.batch": "2", "engine.workers": "0",
        "engine.precision": "32", "engine.device": "cpu", "size": "32",
    }  # fmt: skip
    best = {
        stage: train(make_plan(find_recipe(f"action_ntu60_{stage}"), machine), tmp_path / stage)
        for stage in ("rgb", "pose")
    }
    starts = {f"start_{stage}": str(path) for stage, path in best.items()}
    whole = train(make_plan(find_recipe("action_ntu60"), {**machine, **starts}), tmp_path / "both")
    network, card = load_action(whole)
    assert (len(card["labels"]), len(card["coarse_labels"]), card["form"]) == (60, 8, "rgb+pose")
    assert sum(p.numel() for p in network.backbone.parameters()) > 35_994_208  # RGBPoseConv3D and the gates
    single, _ = load_action(best["pose"])
    own = dict(network.named_parameters())["backbone.pose.stem.conv.weight"]
    begun = dict(single.named_parameters())["backbone.pose.stem.conv.weight"]
    assert (own - begun).abs().max() < 0.02  # a step of the warm-up away
    assert (tmp_path / "both/metrics.csv").is_file()
