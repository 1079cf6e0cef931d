"""Numbers of keypoints: what they are of a walker, what does not change as the person does, networks that take them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")

import tiny_actions
from tiny_actions import tiny_set

from posepipe import cli
from posepipe.datasets.action_skeletons import JHMDB15
from posepipe.datasets.actions import ActionClasses, ActionSample, ActionSet
from posepipe.datasets.actions_npz import write_action_npz
from posepipe.errors import UsageError
from posepipe.models.pcan import Pcan
from posepipe.models.rgbpose3d import POINTS_PATHWAY
from posepipe.skeleton import COCO17, named_skeleton
from posepipe.stages.action import OnnxActions
from posepipe.streams.windows import windows_of
from posepipe.training.action import train_action
from posepipe.training.action_card import card_skeleton, load_action, onnx_card
from posepipe.training.action_points import first_person, point_channels, point_features
from posepipe.training.action_recipe import ActionExport, ActionRecipe, ActionSource
from posepipe.training.action_test import TestPlan, predict, predict_onnx
from posepipe.training.recipe import EngineRecipe
from posepipe.types import PoseStream

pytestmark = pytest.mark.filterwarnings("ignore")

EDGES = torch.from_numpy(JHMDB15.edge_index.copy())
K, E = 15, 14


def parts(features):
    """The parts of (N,C,T,1,1) in their order."""
    sizes = [2 * K, 2 * K, 2 * K, K, 2 * E, K * (K - 1) // 2, 2]
    names = ("places", "fast", "slow", "score", "limbs", "apart", "middle")
    return dict(zip(names, torch.split(features[..., 0, 0], sizes, 1), strict=True))


def clip(people: int = 1):
    torch.manual_seed(0)
    body = torch.rand(2, people, 1, K, 2) * 20 + 10
    return body.expand(-1, -1, 8, -1, -1).clone(), torch.ones(2, people, 8, K)


def test_who_walks_is_the_same_body_elsewhere() -> None:
    points, score = clip()
    walked = points + torch.arange(8.0).view(1, 1, 8, 1, 1) * torch.tensor([2.0, 0.0])
    still, moving = (parts(point_features(first_person(p, score), EDGES, 40)) for p in (points, walked))
    for name in ("places", "limbs", "apart", "score"):
        torch.testing.assert_close(still[name], moving[name], atol=1e-5, rtol=0)
    assert not still["fast"].any()
    # four times (spread) four times (of a frame) two of forty cells
    torch.testing.assert_close(moving["fast"][:, ::2, :-1], torch.full((2, K, 7), 4 * 4 * 2 / 40))
    assert not moving["fast"][..., -1].any()
    torch.testing.assert_close(moving["slow"][:, ::2, 0], torch.full((2, K), 4 * 4 * 2 / 40))


def test_missing_keypoints_say_nothing() -> None:
    points, score = clip()
    score[:, :, :, 3] = 0
    elsewhere = points.clone()
    elsewhere[:, :, :, 3] = 1000
    one, other = (point_features(first_person(p, score), EDGES, 40) for p in (points, elsewhere))
    torch.testing.assert_close(one, other)
    assert not parts(one)["places"][:, 6:8].any()


def test_the_network_takes_them_and_nobody() -> None:
    channels = point_channels(K, E)
    network = Pcan(14, channels, rgb=None, pose=POINTS_PATHWAY).eval()
    assert sum(p.numel() for p in network.parameters()) < 1_000_000
    for people in (0, 1, 2):
        features = point_features(first_person(*clip(people)), EDGES, 40)
        assert features.shape == (2, channels, 8, 1, 1)
        assert network(pose=features)["pose"].fine.shape == (2, 14)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on numbers of keypoints, with its files and its set."""
    folder = tmp_path_factory.mktemp("points")
    write_action_npz(folder / "set.npz", tiny_set())
    recipe = ActionRecipe(
        network="points", frames=8, size=16, sampling="even", dropout=0.0, validation_part="test", samples=96,
        sources=(ActionSource("npz", "set.npz"),), data=str(folder), keypoint_score=0.2,
        engine=EngineRecipe(epochs=6, batch=16, workers=0, warmup_steps=2, ema_decay=0.0, device="cpu"),
        export=ActionExport("net", licence="none", window_s=1.0, temperature=2.0, abstain=0.4),
    )  # fmt: skip
    train_action(recipe, folder)
    return folder


def test_the_exported_network_says_what_the_trained_one_does(trained: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network, card = load_action(trained / "best.ckpt")
    session = onnxruntime.InferenceSession(trained / "net.onnx")
    assert [(i.name, i.shape) for i in session.get_inputs()] == [("keypoints", ["N", 8, 4, 3])]
    torch.manual_seed(1)
    keypoints = torch.rand(5, 8, 4, 3) * torch.tensor([16.0, 16.0, 1.0])
    keypoints[..., 2] *= torch.rand(5, 8, 4) > 0.3
    keypoints[0, ..., 2] = 0  # nobody
    keypoints[1, 3:, :, 2] = 0  # somebody who leaves
    edges = torch.from_numpy(card_skeleton(card).edge_index.copy())
    with torch.no_grad():
        said = network(pose=point_features(keypoints, edges, 16))["pose"]
    for rows in (slice(0, 5), slice(1, 2)):
        fine, coarse = session.run(["fine", "coarse"], {"keypoints": keypoints[rows].numpy()})
        np.testing.assert_allclose(fine, said.fine[rows].softmax(1), atol=1e-5)
        np.testing.assert_allclose(coarse, said.coarse[rows].softmax(1), atol=1e-5)
    elsewhere = keypoints.clone()
    elsewhere[..., :2] += 1e4 * (keypoints[..., 2:] == 0)
    np.testing.assert_array_equal(*(session.run(["fine"], {"keypoints": k.numpy()})[0] for k in (keypoints, elsewhere)))


def test_clips_are_scored_alike_by_both_files(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips, plan = tiny_set().of_part("test"), TestPlan(2, flip=True)
    here = predict(*load_action(trained / "best.ckpt"), clips, plan)["pose"]
    exported = predict_onnx(trained / "net.onnx", onnx_card(trained / "net.onnx"), clips, plan)["pose"]
    np.testing.assert_allclose(exported.fine, here.fine, atol=1e-5)
    assert (here.fine.argmax(1) == clips.labels).mean() > 0.9
    scores = []
    for name in ("best.ckpt", "net.onnx"):
        assert cli.main(["eval", "action", str(trained / name), f"npz:{trained / 'set.npz'}"]) == 0
        scores.append(capsys.readouterr().out)
    assert scores[0] == scores[1]


def in_other_classes(folder: Path, names: tuple[str, ...], told: dict[str, str]) -> str:
    """The clips of those classes that are `told` a name in a set of these names."""
    clips = tiny_set()
    own = [(s, clips.classes.names[s.label]) for s in clips.samples]
    samples = tuple(replace(s, label=names.index(told[name])) for s, name in own if name in told)
    write_action_npz(folder / "other.npz", replace(clips, classes=ActionClasses(names), samples=samples))
    return f"npz:{folder / 'other.npz'}"


def scored(folder: Path, *words: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    files = [str(folder / "scores.json"), str(folder / "said.csv")]
    assert cli.main(["eval", "action", *words, "--json", files[0], "--csv", files[1]]) == 0
    with Path(files[1]).open(newline="") as file:
        return json.loads(Path(files[0]).read_text()), list(csv.DictReader(file))


def test_classes_of_a_set_go_by_their_names(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = str(trained / "net.onnx")
    about, said = scored(tmp_path, network, f"npz:{trained / 'set.npz'}")
    assert about["scores"]["pose fine"]["top1"] > 0.6
    told = {"circle": "turn", "still": "still", "up": "up"}
    other = in_other_classes(tmp_path, ("up", "turn", "rare", "still"), told)
    names = [word for name in ("turn=circle", "still", "up") for word in ("--classes", name)]
    again, said_again = scored(tmp_path, network, other, *names)
    assert said_again == said
    assert {**again, "set": ""} == {**about, "set": ""}
    capsys.readouterr()
    assert cli.main(["eval", "action", network, other, "--classes", "turn", "--classes", "up"]) == 2
    assert "does not name 1 classes of the set: turn; expected some of circle, still, up" in capsys.readouterr().err
    few = in_other_classes(tmp_path, ("up", "still"), {"up": "up", "still": "still"})
    again, said_again = scored(tmp_path, network, few)
    assert said_again == [row for row in said if row["label"] != "circle"]
    assert again["labels"] == about["labels"]
    assert again["confusion"] == [[0, 0, 0], *about["confusion"][1:]]


def test_networks_that_name_the_classes_in_another_order_are_averaged(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    clips = f"npz:{trained / 'set.npz'}"
    for name, labels in (("turned", ["up", "circle", "still"]), ("foreign", ["up", "circle", "down"])):
        model = onnx.load(trained / "net.onnx")
        (about,) = [entry for entry in model.metadata_props if entry.key == "posepipe"]
        about.value = json.dumps({**json.loads(about.value), "labels": labels, "coarse_of": [0, 0, 1]})
        onnx.save(model, tmp_path / f"{name}.onnx")
    networks = [str(trained / "net.onnx"), *(str(tmp_path / f"{name}.onnx") for name in ("turned", "foreign"))]
    alone, said = scored(tmp_path, networks[1], clips)
    assert alone["scores"]["pose fine"]["top1"] < 0.4
    both, said_by_both = scored(tmp_path, *networks[:2], clips, "--weights", "0,1")
    assert said_by_both == said
    assert both["scores"]["pose fine"]["mean_class"] == alone["scores"]["pose fine"]["mean_class"]
    capsys.readouterr()
    assert cli.main(["eval", "action", networks[0], networks[2], clips]) == 2
    assert "names other classes than" in capsys.readouterr().err


def windows(seconds: float = 4.0) -> list[PoseStream]:
    """Windows of somebody with the tiny skeleton, whose hand goes round and is lost at times, 30 frames a second."""
    frames = round(30 * seconds)
    sample = tiny_actions.clip(0, 3, frames=frames)
    score = np.random.default_rng(0).uniform(0.1, 1, (frames, 4)).astype(np.float32)
    boxes = np.concatenate([sample.xy[0].min(1), sample.xy[0].max(1)], 1)
    stream = PoseStream(
        1, sample.frames, sample.frames / 30, sample.xy[0], score, boxes, np.ones(frames, bool), tiny_set().skeleton
    )
    return [window.stream for window in windows_of(stream, 8, 8.0, 2)]


def test_the_pipeline_sees_what_training_sees(trained: Path) -> None:
    """A window of the pipeline, kept as a clip of as many frames as the network takes, gives the same probabilities."""
    network, card = load_action(trained / "best.ckpt")
    stage = OnnxActions(trained / "net.onnx", card_skeleton(card))
    assert (stage.samples, stage.rate, stage.rules.abstain) == (8, 8.0, 0.4)
    seen = windows()
    samples = tuple(
        ActionSample(f"{number}", 0, window.xy[None], window.score[None], np.arange(8), part="test")
        for number, window in enumerate(seen)
    )
    clips = ActionSet("windows", card_skeleton(card), tiny_set().classes, samples)
    said = predict(network, card, clips, TestPlan(1))["pose"].fine
    warm = np.sqrt(said) / np.sqrt(said).sum(1, keepdims=True)
    assert np.ptp(warm, axis=0).max() > 0.01
    np.testing.assert_allclose(stage.classify(seen), warm, atol=1e-5)


def test_keypoints_of_other_skeletons_are_found_or_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match=r"net.onnx takes keypoints that skeleton 'coco17' has not: mid_hip"):
        OnnxActions(trained / "net.onnx", COCO17)
    more = named_skeleton("more", ("tail", *reversed(tiny_set().skeleton.keypoints)), ())
    (one, *_), stage = windows(), OnnxActions(trained / "net.onnx", tiny_set().skeleton)
    turned = PoseStream(
        1, one.frame_index, one.pts, *(np.concatenate([a[:, :1] * 0, a[:, ::-1]], 1) for a in (one.xy, one.score)),
        one.boxes, one.seen, more,
    )  # fmt: skip
    np.testing.assert_array_equal(OnnxActions(trained / "net.onnx", more).classify([turned]), stage.classify([one]))
