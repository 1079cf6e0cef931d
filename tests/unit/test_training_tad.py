"""Training of temporal detectors on stored features, on frames, and on poses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning")
torch = pytest.importorskip("torch")

from posepipe.config import data_root
from posepipe.errors import ConfigError, InputError
from posepipe.evaluation.localisation import activitynet_score
from posepipe.evaluation.localisation_files import read_predictions, read_truth
from posepipe.models.adatad import load_temporal_detector
from posepipe.training import run_folder
from posepipe.training.plan import find_recipe, make_plan, train
from posepipe.training.tad import TadModule, build_network
from posepipe.training.tad_data import SearchWindows, collate, read_set

KINECT = data_root() / "utkinect"
needs_kinect = pytest.mark.skipif(not KINECT.is_dir(), reason="UTKinect is not there; point POSEPIPE_DATA at the data")

ENGINE = {
    "epochs": 2,
    "batch": 2,
    "learning_rate": 3e-3,
    "warmup_steps": 0,
    "threads": 1,
    "workers": 0,
    "device": "cpu",
}
SMALL = {"window": 32, "width": 16, "heads": 2, "levels": 3, "stem": 0, "engine": ENGINE}


def feature_set(folder: Path, videos: int = 6) -> dict[str, object]:
    """Features in which actions of two classes stand out; (T,3), five steps a second."""
    rng = np.random.default_rng(0)
    parts: dict[str, dict[str, object]] = {"train": {}, "test": {}}
    (folder / "features").mkdir()
    for number in range(videos):
        data = rng.normal(0, 0.1, (60, 3)).astype(np.float32)
        segments, labels = [], []
        for label, start in ((number % 2, 8), (1 - number % 2, 36)):
            length = int(rng.integers(8, 14))
            data[start : start + length, label] += 2
            segments.append([start / 5, (start + length) / 5])
            labels.append("ab"[label])
        part = "test" if number >= videos - 2 else "train"
        about = {"segments": segments, "labels": labels, "duration": 12.0, "num_frame": 240}
        parts[part][f"v{number}"] = about
        np.save(folder / f"features/v{number}.npy", data)
    for name, table in parts.items():
        (folder / f"{name}.json").write_text(json.dumps(table))
    files = {"training": "train.json", "test": "test.json", "videos": "features", "data": str(folder)}
    return {"kind": "tad", "source": "features", **files, **SMALL}


def test_a_detector_learns_to_find_what_stands_out(tmp_path: Path):
    table = feature_set(tmp_path)
    table["engine"] = {**ENGINE, "epochs": 8, "ema_decay": 0.9}
    kept = train(make_plan({**table, "samples": 32}, {}), tmp_path / "run")
    assert kept == tmp_path / "run/last.ckpt"
    rows = run_folder.read_rows(tmp_path / "run")
    named = {"train_loss", "train_classification", "train_regression", "val_map", "val_map_0.3", "val_map_0.7"}
    assert named <= set(rows[-1])
    # not from the first epoch on: the number that losses are divided by settles only then
    assert float(rows[-1]["train_classification"]) < 0.7 * float(rows[1]["train_classification"])
    assert float(rows[-1]["val_map_0.3"]) > 75
    assert float(rows[-1]["val_map"]) > 20 + float(rows[0]["val_map"])
    found = read_predictions(tmp_path / "run/predictions.json")
    score = activitynet_score(read_truth(tmp_path / "test.json"), found, [0.3])
    assert 100 * score.mean[0] == pytest.approx(float(rows[-1]["val_map_0.3"]), abs=0.01)
    summary = (tmp_path / "run/SUMMARY.md").read_text()
    assert "those of the last epoch" in summary
    assert (tmp_path / "run/curves.png").stat().st_size > 1000
    assert load_temporal_detector(kept, heads=2).detector.form.classes == 2


def test_one_loss_by_hand(tmp_path: Path):
    plan = make_plan(feature_set(tmp_path), {})
    recipe = plan.phases[0]
    found = read_set(recipe)
    torch.manual_seed(0)
    module = TadModule(build_network(recipe, 2, found.channels), recipe, found.classes, found.tested).eval()
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore[method-assign]
    nothing = {
        "data": torch.zeros(1, 3, 32),
        "real": torch.ones(1, 32, dtype=torch.bool),
        "spans": [torch.zeros(0, 2)],
        "labels": [torch.zeros(0, dtype=torch.long)],
    }
    loss = module.training_step(nothing, 0)
    # 56 points, 2 classes, all at the prior of 1 %: 0.75 p^2 (-log(1 - p)), over 0.9 * 100 + 0.1 * 1
    chance = module.network(nothing["data"], nothing["real"]).logits.sigmoid()
    expected = (0.75 * chance**2 * -torch.log1p(-chance)).sum().item() / 90.1
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert logged["train_regression"] == 0
    assert float(module.normaliser) == pytest.approx(90.1)


def test_groups_of_the_optimiser(tmp_path: Path):
    recipe = make_plan(find_recipe("thumos14_adatad"), {}).phases[0]
    network = build_network(recipe, 20, 0)
    groups = TadModule(network, recipe, [str(n) for n in range(20)], []).parameter_groups()
    sizes = [sum(p.numel() for p in group["params"]) for group in groups]
    assert sum(sizes) == 27_702_568
    assert sizes[2] == 1_006_860
    assert [(group["weight_decay"], group.get("lr")) for group in groups] == [(0.05, None), (0.0, None), (0.05, 2e-4)]
    assert all(p.ndim == 3 for p in groups[0]["params"])
    assert not {id(p) for p in groups[0]["params"]} & {id(p) for p in groups[1]["params"]}


def test_windows_that_are_searched_are_merged(tmp_path: Path):
    recipe = make_plan(feature_set(tmp_path), {}).phases[0]
    found = read_set(recipe)
    windows = SearchWindows(found.tested, found.test_source, 32, 0.5)
    assert [place for place in windows.places if place[0] == 0] == [(0, 0), (0, 16), (0, 28)]
    module = TadModule(build_network(recipe, 2, 3), recipe, found.classes, found.tested)
    one = (np.array([[1.0, 2.0]]), np.array([0.5]), np.array([1]))
    two = (np.array([[1.0, 2.0], [5.0, 6.0]]), np.array([0.9, 0.3]), np.array([1, 0]))
    module._found = [(0, one), (0, two)]
    merged = module.predictions()
    assert merged.video.tolist() == ["v4"] * 3
    assert merged.label.tolist() == ["b", "a", "b"]
    assert merged.score.tolist() == pytest.approx([0.9, 0.3, round(0.5 * np.exp(-1 / 0.7), 4)])


def test_bad_data_is_named_before_anything_is_trained(tmp_path: Path):
    table = feature_set(tmp_path)
    annotations = json.loads((tmp_path / "train.json").read_text())

    def trained() -> None:
        train(make_plan(table, {}), tmp_path / "run")

    def write(**changes: object) -> None:
        (tmp_path / "train.json").write_text(json.dumps({**annotations, "v0": {**annotations["v0"], **changes}}))

    write(segments=[[1, 2], [10, 30]])
    with pytest.raises(InputError, match=r"v0: b 10\.0-30\.0 s ends after the video \(12\.0 s\)"):
        trained()
    write(duration=0)
    with pytest.raises(InputError, match="the frame rate of v0 is not known"):
        trained()
    write()
    asked = json.loads((tmp_path / "test.json").read_text())
    asked["v4"]["labels"][0] = "c"
    (tmp_path / "test.json").write_text(json.dumps(asked))
    with pytest.raises(InputError, match="class c occurs in the test part only"):
        trained()
    (tmp_path / "features/v1.npy").unlink()
    with pytest.raises(InputError, match=r"1 of 4 have no file in .*features: v1"):
        trained()
    assert not (tmp_path / "run").exists()


def test_missing_videos_are_named_before_anything_is_decoded(tmp_path: Path):
    table = {**feature_set(tmp_path), "source": "frames", "crop": 32, "resize": 32}
    for number in (0, 1, 3, 4, 5):
        (tmp_path / f"features/v{number}.mp4").touch()
    with pytest.raises(InputError, match=r"1 of 4 have no file in .*: v2"):
        train(make_plan(table, {}), tmp_path / "run")


def test_windows_of_real_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from clips import write_clip

    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    about = {"segments": [[0.5, 1.5]], "labels": ["a"], "duration": 2.0, "num_frame": 50}
    for number, part in enumerate(("train", "test")):
        write_clip(tmp_path / f"v{number}.mp4", 50)
        (tmp_path / f"{part}.json").write_text(json.dumps({f"v{number}": about}))
    files = {"training": "train.json", "test": "test.json", "videos": ".", "data": str(tmp_path)}
    recipe = make_plan({"kind": "tad", **files, "window": 16, "crop": 32, "resize": 40, "stride": 4}, {}).phases[0]
    found = read_set(recipe)
    assert found.training[0].steps == 13
    (tmp_path / "v1.mp4").write_bytes(b"nothing that is a video")
    with pytest.raises(InputError, match=r"1 of 1 videos cannot be used: v1\.mp4"):
        read_set(recipe)
    write_clip(tmp_path / "v1.mp4", 8)
    with pytest.raises(InputError, match=r"v1: a 0\.5-1\.5 s ends after the video \(0\.3 s\)"):
        read_set(recipe)
    assert found.training[0].spans.tolist() == [[3.0, 9.25]]
    data, real = found.source.at(0, np.arange(13.0), None)
    assert data.shape == (13, 32, 32, 3)
    assert real.all()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": "frames"}, "needs training and test and videos"),
        ({"source": "utkinect"}, "needs people"),
        ({"source": "utkinect", "people": [1], "width": 10, "heads": 4}, "multiple of the heads"),
        ({"source": "features", "export": {"name": "x"}}, "only detectors on poses"),
        ({"source": "frames", "window": 100}, "multiple of 16 steps"),
    ],
)
def test_recipes_that_cannot_be(changes: dict[str, object], told: str):
    with pytest.raises(ConfigError, match=told):
        make_plan({"kind": "tad", **changes}, {})


@pytest.mark.slow
@needs_kinect
def test_a_detector_on_poses_is_exported_and_runs_without_torch(tmp_path: Path):
    from posepipe.skeleton import COCO17
    from posepipe.stages.action_spans import OnnxSpans

    changes = {"run": "", "window": "64", "width": "16", "heads": "2", "levels": "3", "samples": "4", "people": "1"}
    changes |= {"test_people": "2", "engine.epochs": "1", "engine.batch": "2", "engine.threads": "1"}
    changes |= {"engine.workers": "0", "engine.device": "cpu", "export.name": "tiny"}
    del changes["run"]
    kept = train(make_plan(find_recipe("utkinect_tad"), changes), tmp_path)
    spans = OnnxSpans(tmp_path / "tiny.onnx", COCO17)
    assert len(spans.labels) == 10
    found = read_set(make_plan(find_recipe("utkinect_tad"), changes).phases[0])
    data, real = found.source.at(0, np.arange(64.0), None)
    features = np.concatenate([data, real[None]])[None].astype(np.float32)
    features[0, -1, 50:] = 0
    scores, ends = spans._engine.run(features)
    network = load_temporal_detector(kept, heads=2)
    with torch.no_grad():
        mask = torch.from_numpy(features[:, -1] > 0.5)
        out = network(torch.from_numpy(features[:, :-1]), mask)
    expected = (out.logits.sigmoid() * out.valid[..., None]).numpy()
    assert scores == pytest.approx(expected, abs=1e-5)
    assert (scores[0, ~out.valid[0].numpy()] == 0).all()
    from posepipe.models.actionformer import points_of

    assert ends == pytest.approx(out.spans(points_of(64, 3)).numpy(), abs=1e-3)


@pytest.mark.slow
def test_the_full_recipe_takes_a_real_step(tmp_path: Path):
    recipe = make_plan(find_recipe("thumos14_adatad"), {"window": "64", "crop": "64", "resize": "64"}).phases[0]
    network = build_network(recipe, 20, 0)
    module = TadModule(network, recipe, [str(n) for n in range(20)], [])
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    optimizer = torch.optim.AdamW(module.parameter_groups(), lr=1e-4)
    rng = np.random.default_rng(0)
    from posepipe.datasets.temporal import Window

    window = Window(
        rng.integers(0, 255, (64, 64, 64, 3), dtype=np.uint8),
        np.ones(64, bool),
        np.array([[10, 20], [30, 60]], np.float32),
        np.array([3, 7]),
    )
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for _ in range(2):  # the adapters' first gradients reach no further than their last layer, which starts at zero
        loss = module.training_step(collate([window]), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moved = {name for name, p in network.named_parameters() if not torch.equal(before[name], p)}
    assert torch.isfinite(loss)
    assert {n for n in moved if n.startswith("backbone.")} == {n for n in before if ".adapter." in n}
    # behind a factor of 1e-4 some gradients are too small to move a norm's 1.0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.detector.parameters())
    assert {n for n in before if n.startswith(("detector.embed", "detector.neck", "detector.classify"))} <= moved
