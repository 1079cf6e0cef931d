"""Training of action networks: views, batches, mixing, a network that learns, files of it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
onnx = pytest.importorskip("onnx", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")

from tiny_actions import tiny_set

from posepipe import cli
from posepipe.datasets.action_colours import vary_colours
from posepipe.datasets.action_variation import ActionVariation
from posepipe.datasets.action_views import TestViews, TrainingViews, ViewForm
from posepipe.datasets.actions_npz import write_action_npz
from posepipe.errors import ConfigError, InputError, UsageError, WeightsError
from posepipe.io.weights import weights_path
from posepipe.skeleton import COCO17
from posepipe.stages.action import OnnxActions
from posepipe.training.action import fit_action, train_action
from posepipe.training.action_batch import collate, mix
from posepipe.training.action_card import load_action, onnx_card
from posepipe.training.action_recipe import ActionExport, ActionRecipe, ActionSource, MixRecipe
from posepipe.training.action_sources import hold_out, read_sources, training_parts
from posepipe.training.action_test import TestPlan, average, predict, predict_onnx
from posepipe.training.recipe import EngineRecipe
from posepipe.types import PoseStream

pytestmark = pytest.mark.filterwarnings("ignore")


def tiny_recipe(**settings: Any) -> ActionRecipe:
    engine = {"epochs": 1, "batch": 6, "workers": 0, "warmup_steps": 2, "ema_decay": 0.0, "device": "cpu"}
    engine |= settings.pop("engine", {})
    return ActionRecipe(**{"frames": 8, "size": 16, "dropout": 0.0, "engine": EngineRecipe(**engine), **settings})


def test_a_view_follows_from_its_seed_and_lies_in_its_window() -> None:
    how = ActionVariation(rotate=20, shear=0.2, zoom=(0.8, 1.3), shift=0.1, time=0.5, shape=0.01, jitter=0.01, drop=0.5)
    for even in (False, True):
        views = TrainingViews(tiny_set(), ViewForm(frames=8, size=16, even=even), how)
        one, same, other = views[3, 5], views[3, 5], views[3, 6]
        np.testing.assert_array_equal(one.points, same.points)
        assert (one.points != other.points).any()
        assert one.points.shape == (1, 8, 4, 2)
        assert {0.0, 1.0} >= set(one.score.ravel().tolist())
    calm = ActionVariation(flip=0, area=(1, 1), aspect=(1, 1))
    points = TrainingViews(tiny_set(), ViewForm(frames=8, size=16), calm)[0, 0].points
    assert points.min() > 0
    assert points.max() < 15


def test_a_mirrored_view_is_the_view_mirrored() -> None:
    clips, form = tiny_set(), ViewForm(frames=8, size=16, even=True)
    plain, mirrored = (
        TrainingViews(clips, form, ActionVariation(flip=flip, area=(1, 1), aspect=(1, 1)))[2, 7] for flip in (0, 1)
    )
    swapped = plain.points[..., clips.skeleton.mirror, :]
    np.testing.assert_allclose(mirrored.points, np.stack([15 - swapped[..., 0], swapped[..., 1]], -1), atol=1e-5)


def test_test_views_are_the_same_each_time_and_share_a_window() -> None:
    views = TestViews(tiny_set(), ViewForm(frames=8, size=16), 3)
    first, again = views[1], views[1]
    assert len(first) == 3
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.points, b.points)
    heads = np.stack([view.points[0, :, 0] for view in first])  # the head does not move
    np.testing.assert_allclose(heads, np.broadcast_to(heads[0, 0], heads.shape), atol=1e-4)


def test_even_views_of_as_many_frames_as_the_clip_has_are_the_clip() -> None:
    """A keypoint that the frame before lacks is not lost by the last bit of a place."""
    clips = tiny_set(1, 0)
    score = np.ones((1, 20, 4), np.float32)
    score[:, ::2, 2] = 0
    gaps = replace(clips, samples=(replace(clips.samples[0], score=score),))
    (view,) = TestViews(gaps, ViewForm(frames=20, size=16, even=True))[0]
    np.testing.assert_array_equal(view.score, score)


def test_a_carried_camera_moves_everything_alike_and_never_far() -> None:
    """The body keeps its shape in every frame, the way is smooth, and the window holds all of it."""
    clips = tiny_set(1, 0)
    calm = ActionVariation(flip=0, area=(1, 1), aspect=(1, 1))
    ways = []
    for seed in range(20):
        still, moved = (
            TrainingViews(clips, ViewForm(frames=32, size=64, even=True), how)[1, seed].points[0]
            for how in (calm, replace(calm, sway=0.05))
        )
        shape, wanted = (points - points[:, :1] for points in (moved, still))
        scale = np.linalg.norm(shape, axis=-1).max() / np.linalg.norm(wanted, axis=-1).max()
        assert scale <= 1 + 1e-6
        np.testing.assert_allclose(shape, scale * wanted, atol=0.5)
        assert moved.min() > 0
        assert moved.max() < 63
        way = (moved[:, 0] - moved[:, 0].mean(0)) / scale
        ways.append(np.abs(way).max())
        assert np.abs(np.diff(way, axis=0)).max() < 0.7 * np.ptp(way, axis=0).max() + 1e-6
    assert np.median(ways) > 64 * 0.03
    assert np.std(ways) > 0.5


def test_points_with_depth_are_seen_from_the_side() -> None:
    clips = tiny_set(1, 0)
    deep = np.concatenate([clips.samples[0].xy, 40 * np.ones((1, 20, 4, 1), np.float32)], -1)
    deep[..., 2, 2] += 60
    seen = replace(clips, samples=(replace(clips.samples[0], xy=deep),))
    form, calm = ViewForm(frames=8, size=16, even=True), ActionVariation(flip=0, area=(1, 1), aspect=(1, 1))
    front = TrainingViews(seen, form, calm)[0, 1].points
    side = TrainingViews(seen, form, replace(calm, view=90.0))[0, 1].points
    assert front.shape == side.shape == (1, 8, 4, 2)
    assert not np.allclose(front, side, atol=0.5)


def test_colours_vary_within_a_clip_alike() -> None:
    rng = np.random.default_rng(0)
    clip = np.repeat(rng.integers(0, 256, (1, 12, 10, 3), np.uint8), 3, 0)
    assert (vary_colours(clip, ActionVariation(), rng) == clip).all()
    how = ActionVariation(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.15, erase=1.0)
    varied = vary_colours(clip, how, rng)
    assert (varied != clip).any()
    assert (varied == varied[:1]).all()
    bright = vary_colours(clip, ActionVariation(brightness=0.4), np.random.default_rng(1))
    factor = (bright / np.maximum(clip, 1))[(clip > 50) & (bright < 255)]
    assert np.ptp(factor) < 0.03


def test_mixed_clips_and_their_targets_go_together() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 1, 2, 0])
    clips = {"pose": torch.zeros(4, 2, 4, 8, 8), "rgb": torch.zeros(4, 3, 1, 32, 32)}
    for name in clips:
        clips[name] += labels.view(-1, 1, 1, 1, 1)
    same, targets = mix(clips, labels, 3, MixRecipe())
    assert same is clips
    assert targets.argmax(1).tolist() == labels.tolist()
    for recipe in (MixRecipe(mixup=1.0, mixup_alpha=1.0), MixRecipe(cutmix=1.0)):
        mixed, targets = mix(clips, labels, 3, recipe)
        torch.testing.assert_close(targets.sum(1), torch.ones(4))
        expected = (targets * torch.arange(3)).sum(1)
        for clip in mixed.values():  # the mean of a clip tells how much of which other one is in it
            torch.testing.assert_close(clip.mean((1, 2, 3, 4)), expected, atol=1e-5, rtol=0)


def test_clips_of_fewer_people_are_filled_up() -> None:
    views = TrainingViews(tiny_set(), ViewForm(frames=8, size=16), ActionVariation())
    one = views[0, 0]
    two = replace(one, points=np.repeat(one.points, 2, 0), score=np.repeat(one.score, 2, 0))
    batch = collate([one, two])
    assert batch["score"].shape == (2, 2, 8, 4)
    assert not batch["score"][0, 1].any()
    assert batch["score"][1, 1].any()


def test_parts_are_held_out_class_by_class_and_by_subject() -> None:
    clips = tiny_set(10, 0)
    stays, held = hold_out(clips, 0.25, "clip", 1)
    assert [(held.labels == k).sum() for k in range(3)] == [2, 2, 2]
    assert not {s.name for s in stays.samples} & {s.name for s in held.samples}
    assert len(hold_out(clips, 0.0, "clip", 1)[1]) == 0
    people = replace(clips, samples=tuple(replace(s, subject=str(i % 5)) for i, s in enumerate(clips.samples)))
    stays, held = hold_out(people, 0.4, "subject", 1)
    assert len({s.subject for s in held.samples}) == 2
    assert not {s.subject for s in stays.samples} & {s.subject for s in held.samples}


def test_a_recipe_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for wrong in ({"start_rgb": "x"}, {"form": "rgb+pose", "frames": 30}, {"form": "rgb", "limbs": True}):
        with pytest.raises(ConfigError):
            ActionRecipe(**wrong)
    with pytest.raises(ConfigError, match="names no clips"):
        read_sources(ActionRecipe(), tmp_path)
    write_action_npz(tmp_path / "set.npz", tiny_set())
    source = (ActionSource("npz", "set.npz"),)
    with pytest.raises(InputError, match="clips have no video: train0"):
        read_sources(ActionRecipe(form="rgb", sources=source), tmp_path)
    with pytest.raises(InputError, match="no part 'val'"):
        training_parts(ActionRecipe(validation_part="val"), read_sources(ActionRecipe(sources=source), tmp_path))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on keypoints and limbs, with its files and its set."""
    folder = tmp_path_factory.mktemp("action")
    write_action_npz(folder / "set.npz", tiny_set())
    recipe = tiny_recipe(
        validation_part="test", sources=(ActionSource("npz", "set.npz"),), data=str(folder), samples=48, limbs=True,
        engine={"epochs": 10, "learning_rate": 5e-3, "batch": 8}, export=ActionExport("net", licence="none"),
    )  # fmt: skip
    train_action(recipe, folder)
    return folder


def test_a_network_of_poses_learns(trained: Path) -> None:
    head, *rows = [row.split(",") for row in (trained / "metrics.csv").read_text().splitlines()]
    assert max(float(row[head.index("val_score")]) for row in rows) > 0.8


def test_all_files_of_a_network_say_the_same(trained: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network, card = load_action(trained / "best.ckpt")
    saved, _ = load_action(trained / "net.safetensors")
    assert card["labels"] == ["circle", "still", "up"]
    maps = torch.rand(3, 4 + 3, 8, 16, 16)
    with torch.no_grad():
        wanted = network(pose=maps)["pose"].fine.softmax(1)
        torch.testing.assert_close(saved(pose=maps)["pose"].fine.softmax(1), wanted)
    session = onnxruntime.InferenceSession(trained / "net.onnx")
    fine, coarse = session.run(["fine", "coarse"], {"pose": maps.numpy()})
    np.testing.assert_allclose(fine, wanted, atol=1e-5)
    np.testing.assert_allclose(coarse.sum(1), 1, atol=1e-5)
    about = json.loads(session.get_modelmeta().custom_metadata_map["posepipe"])
    assert (about["kind"], about["frames"], about["size"], about["name"]) == ("action", 8, 16, "net")
    assert len(about["safetensors_sha256"]) == 64


def test_a_network_of_keypoints_and_limbs_runs_in_the_pipeline(trained: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    clips = tiny_set().of_part("test")
    stage = OnnxActions(trained / "net.onnx", clips.skeleton)
    right = []
    for sample in clips.samples:
        xy, score = sample.xy[0, ::2][:8], sample.score[0, ::2][:8]
        boxes, index = np.concatenate([xy.min(1), xy.max(1)], 1), np.arange(8)
        stream = PoseStream(1, index, index / 8, xy, score, boxes, np.ones(8, bool), clips.skeleton)
        right.append(stage.classify([stream])[0].argmax() == sample.label)
    assert np.mean(right) > 0.8
    model = onnx.load(trained / "net.onnx")
    about = json.loads(model.metadata_props[0].value)
    # A limb that is not there; no skeleton; the maps of keypoints alone, for a network of more.
    fewer = about["skeleton_full"] | {"edges": about["skeleton_full"]["edges"][:2]}
    for change in ({"skeleton_full": fewer}, {"skeleton_full": None}, {"limbs": False}, {"keypoints": list("abcd")}):
        model.metadata_props[0].value = json.dumps(about | change)
        onnx.save(model, tmp_path / "wrong.onnx")
        with pytest.raises((WeightsError, UsageError), match=r"keypoints|skeleton_full"):
            OnnxActions(tmp_path / "wrong.onnx", clips.skeleton)


def test_probabilities_of_views_are_averaged(trained: Path) -> None:
    network, card = load_action(trained / "best.ckpt")
    clips = tiny_set().of_part("test")
    one = predict(network, card, clips, TestPlan(1))["pose"]
    np.testing.assert_allclose(one.fine.sum(1), 1, atol=1e-6)
    many = predict(network, card, clips, TestPlan(3, flip=True, scales=(1.0, 1.5)))["pose"]
    np.testing.assert_allclose(many.fine.sum(1), 1, atol=1e-6)
    assert not np.allclose(one.fine, many.fine, atol=1e-4)
    exported = predict_onnx(trained / "net.onnx", onnx_card(trained / "net.onnx"), clips, TestPlan(2, flip=True))
    here = predict(network, card, clips, TestPlan(2, flip=True))
    np.testing.assert_allclose(exported["pose"].fine, here["pose"].fine, atol=1e-5)
    both = average([one, many], (3, 1))
    np.testing.assert_allclose(both.fine, (3 * one.fine + many.fine) / 4)
    with pytest.raises(UsageError, match="other keypoints"):
        predict(network, card, clips.mapped(COCO17), TestPlan(1))
    with pytest.raises(UsageError, match="weights"):
        average([one, many], (1, 2, 3))


def test_the_command_prints_and_writes_what_networks_score(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(trained / name) for name in ("best.ckpt", "net.onnx")]
    given = ["--clips", "2", "--flip", "--weights", "0.6,0.4", "--json", str(trained / "s.json")]
    given += ["--csv", str(trained / "s.csv")]
    code = cli.main(
        ["eval", "action", *files, f"npz:{trained / 'set.npz'}", *given, "--confusion", str(trained / "c.png")]
    )
    assert code == 0
    out = capsys.readouterr().out
    assert "pose fine" in out
    assert "pose coarse" in out
    about = json.loads((trained / "s.json").read_text())
    assert about["scores"]["pose fine"]["clips"] == 12
    assert np.array(about["confusion"]).sum() == 12
    assert (trained / "c.png").read_bytes().startswith(b"\x89PNG")
    with (trained / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    right = sum(row["label"] == row["said"] for row in rows)
    assert 100 * right / 12 == pytest.approx(100 * about["scores"]["pose fine"]["top1"])


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["gone.ckpt", "npz:{set}"], 5, "gone.ckpt"),
        (["{pose}", "npz:{set}"], 5, "is no action network; got kind 'sppe'; expected a card of kind 'action'"),
        (["{bare}", "npz:{set}"], 5, "is no action network; got kind None"),
        (["{net}", "npz:gone.npz"], 3, "gone.npz"),
        (["{net}", "boats:{set}"], 2, "boats"),
        (["{net}", "npz"], 2, "FORM:PATH"),
        (["{net}"], 2, "one set is scored at a time"),
        (["{net}", "npz:{set}", "--part", "val"], 3, "no part 'val'"),
        (["{net}", "npz:{set}", "--weights", "a"], 2, "--weights"),
        (["{net}", "npz:{set}", "--clips", "0"], 2, "--clips"),
        (["{onnx}", "npz:{set}", "--scales", "1,2"], 2, "one size"),
        (["{net}", "npz:{set}", "--confusion", "c.txt"], 2, "c.txt"),
    ],
)
def test_mistakes_are_told_in_a_line(
    trained: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    without_card = onnx.load(trained / "net.onnx")
    del without_card.metadata_props[:]
    onnx.save(without_card, trained / "bare.onnx")
    places = {"set": trained / "set.npz", "net": trained / "best.ckpt", "onnx": trained / "net.onnx"}
    places |= {"pose": weights_path("sppe_small"), "bare": trained / "bare.onnx"}
    assert cli.main(["eval", "action", *(text.format(**places) for text in arguments)]) == code
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_without_validation_the_last_epoch_counts(tmp_path: Path) -> None:
    recipe = tiny_recipe(engine={"epochs": 2})
    clips = tiny_set(2, 0)
    best = fit_action(recipe, clips, clips.select([]), tmp_path)
    epochs = [torch.load(tmp_path / name, weights_only=True)["epoch"] for name in ("best.ckpt", "last.ckpt")]
    assert epochs == [1, 1]
    other = best.with_name("other.ckpt")
    torch.save({"state_dict": {"network.x": torch.zeros(1)}, "posepipe": "{}"}, other)
    with pytest.raises(WeightsError, match="kind"):
        load_action(other)
