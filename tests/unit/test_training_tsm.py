"""Training of the forgery network: losses by hand, data by name, a training that learns, goes on and is evaluated."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from forged import write_ffpp, write_list, write_video

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")
timm = pytest.importorskip("timm", reason="needs the train extra")

from posepipe.cli import main
from posepipe.datasets.action_colours import shift_colours
from posepipe.errors import ConfigError, InputError
from posepipe.models.tsm import POOLINGS, TSM_BACKBONES
from posepipe.training.plan import find_recipe, make_plan, train
from posepipe.training.tsm_data import face_store, forgery_sets
from posepipe.training.tsm_loss import focal_bce, forgery_loss, positive_weight
from posepipe.training.tsm_recipe import Colours, TsmRecipe

pytestmark = pytest.mark.filterwarnings("ignore")

TINY = {
    "kind": "tsm", "side": 32, "segments": 4, "span": 0.4, "clips": 4, "val_clips": 3, "samples": 120, "fold_div": 4,
    "frozen_norms": 0.0, "dropout": 0.0, "colours": {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
    "engine": {
        "epochs": 2, "batch": 8, "learning_rate": 2e-3, "warmup_steps": 1, "schedule": "constant", "ema_decay": 0.0,
        "workers": 0, "threads": 1, "device": "cpu", "validate_every": 2,
    },
}  # fmt: skip


def run(folder: Path, videos: Path, **settings: str) -> Path:
    overrides = {"videos": str(videos), "cache": str(folder.parent / "cache"), **settings}
    return train(make_plan(TINY, overrides), folder)


def test_losses_by_hand() -> None:
    logits = torch.tensor([math.log(9.0), math.log(9.0), 0.0])  # p = 0.9, 0.9, 0.5
    labels = torch.tensor([1.0, 0.0, 1.0])
    parts = [0.1**2 * -math.log(0.9), 0.9**2 * -math.log(0.1), 0.5**2 * -math.log(0.5)]
    assert float(focal_bce(logits, labels, 2.0)) == pytest.approx(sum(parts) / 3, rel=1e-5)
    plain = (-math.log(0.9) - math.log(0.1) - math.log(0.5)) / 3
    assert float(focal_bce(logits, labels, 0.0)) == pytest.approx(plain, rel=1e-5)
    assert float(forgery_loss("bce", logits, labels, gamma=2.0, weight=9.0)) == pytest.approx(plain, rel=1e-5)
    weighted = (-0.2 * math.log(0.9) - math.log(0.1) - 0.2 * math.log(0.5)) / 3
    assert float(forgery_loss("weighted", logits, labels, gamma=2.0, weight=0.2)) == pytest.approx(weighted, rel=1e-5)
    assert positive_weight(torch.tensor([1.0] * 150 + [0.0] * 30)) == pytest.approx(0.2)


def test_colours_vary_by_the_seed_and_alike_in_all_frames() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8).repeat(3, 0)
    one, other, again = (shift_colours(clip, Colours(), np.random.default_rng(seed)) for seed in (1, 2, 1))
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert (one != other).any()
    assert (one[0] == one[2]).all()
    assert (shift_colours(clip, Colours(0.0, 0.0, 0.0, 0.0), np.random.default_rng(1)) == clip).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A list of videos, and a finished training on it."""
    root = tmp_path_factory.mktemp("tsm")
    videos = write_list(root / "videos")
    return videos, run(root / "run", videos)


def test_a_training_learns_to_tell_flicker(trained: tuple[Path, Path]) -> None:
    _, best = trained
    rows = list(csv.DictReader((best.parent / "metrics.csv").open()))
    assert [bool(row["val_video_auc"]) for row in rows] == [False, True]
    assert float(rows[-1]["train_loss"]) < 0.35  # 0.69 knows nothing
    assert float(rows[-1]["val_clip_auc"]) > 0.9
    summary = (best.parent / "SUMMARY.md").read_text()
    assert "kept in best.ckpt" in summary
    assert "no face was found: the middle of the picture is taken in 8 videos" in summary
    card = json.loads(torch.load(best, weights_only=True)["posepipe"])
    assert (card["kind"], card["labels"], card["side"], card["trained_on"]) == (
        "tsm",
        ["real", "fake"],
        32,
        ["list.csv"],
    )


def test_a_training_goes_on_where_it_stopped(trained: tuple[Path, Path], tmp_path: Path) -> None:
    videos, _ = trained
    short = {"samples": "16", "engine.validate_every": "1"}
    whole = run(tmp_path / "whole", videos, **short)
    run(tmp_path / "parts", videos, **short, **{"engine.epochs": "1"})
    parts = run(tmp_path / "parts", videos, **short)
    last = [torch.load(p.parent / "last.ckpt", weights_only=True)["state_dict"] for p in (whole, parts)]
    assert all(torch.equal(last[1][name], value) for name, value in last[0].items())


@pytest.mark.parametrize(("loss", "precision"), [("focal", "32"), ("weighted", "bf16-mixed")])
def test_other_losses_train(trained: tuple[Path, Path], tmp_path: Path, loss: str, precision: str) -> None:
    settings = {
        "loss": loss,
        "engine.precision": precision,
        "soften": "0.4",
        "balanced": "false",
        "pooling": "mean",
        "engine.steps": "1",
        "engine.validate_every": "1",
    }
    assert run(tmp_path / "run", trained[0], **settings).is_file()


def test_people_are_held_out_with_all_their_videos(tmp_path: Path) -> None:
    rows = ["video,label,split,group"]
    for number in range(1, 4):
        for label in ("real", "fake"):
            write_video(tmp_path / f"{label}{number}.mp4", number, fake=label == "fake")
            rows.append(f"{label}{number}.mp4,{label},train,person {number}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    recipe = TsmRecipe(videos=str(tmp_path / "list.csv"), cache=str(tmp_path / "cache"), side=32, frozen_norms=0.0)
    listed, _ = forgery_sets(recipe, face_store(recipe), allow_leaks=False)
    assert recipe.hold_out == 0.1
    assert [len(listed[part]) for part in ("train", "val")] == [4, 2]
    assert len({video.group for video in listed["val"]}) == 1


def test_bad_videos_are_named_before_training(tmp_path: Path) -> None:
    path = write_list(tmp_path / "videos", per_class=1)
    text = path.read_text()

    def refused(content: str, message: str) -> None:
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            run(tmp_path / "run", path)
        assert not (tmp_path / "run").exists()

    refused(text + "gone.mp4,real,train\n", r"1 videos are missing: .*gone\.mp4")
    (path.parent / "text.mp4").write_text("no video")
    refused(text + "text.mp4,real,train\n", r"1 videos cannot be used: text\.mp4")
    refused(text.replace("real,val", "fake,val"), "part val of list.csv has no real video")
    refused(text.replace("fake,train", "real,train"), "part train of list.csv has no fake video")
    refused(
        text.replace("split", "split,group").replace("train", "train,x").replace("test", "test,x"), r"groups? of videos"
    )
    write_video(path.parent / "short.mp4", 1, fake=False)
    refused(text.replace("fake", "false"), "labels .* are not real and fake")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side": 100}, "multiple of 32"),
        ({"loss": "weighted"}, "the same thing twice"),
        ({"frozen_norms": 0.3}, "need weights to start from"),
        ({"compression": "c1"}, "no such choice"),
        ({"backbone": "resnet50"}, "no such choice"),
    ],
)
def test_wrong_recipes_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan({**TINY, **settings}, {})
    with pytest.raises(ConfigError, match="names no videos"):
        train(make_plan(TINY, {}), Path("nowhere"))


def test_recipes_know_every_backbone_and_pooling() -> None:
    for backbone in TSM_BACKBONES:
        for pooling in POOLINGS:
            recipe = make_plan({**TINY, "backbone": backbone, "pooling": pooling}, {}).phases[0]
            assert (recipe.backbone, recipe.pooling) == (backbone, pooling)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_eval_forgery_on_a_list(trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, best = trained
    words = ["eval", "forgery", str(best), str(videos), "--clips", "3", "--cache", str(tmp_path / "cache")]
    assert main([*words, "--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]) == 0
    shown = lines(capsys)
    assert "thresholds chosen on val" in shown[0]
    assert shown[-1].split()[:3] == ["videos", "1", "1"]
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [(row["split"], row["label"]) for row in rows] == [
        ("test", "real"), ("test", "fake"), ("val", "real"), ("val", "fake"),
    ]  # fmt: skip
    assert all(row["clips"] == "3" and "no face" in row["note"] for row in rows)
    by_label = {row["label"]: float(row["score"]) for row in rows if row["split"] == "test"}
    told = json.loads((tmp_path / "a.json").read_text())
    assert (told["schema"], told["part"], told["thresholds_from"]) == ("posepipe.eval.forgery", "test", "val")
    assert told["videos"]["auc"] == float(by_label["fake"] > by_label["real"])
    val = [float(row["score"]) for row in rows if row["split"] == "val"]
    assert told["videos"]["verdicts"]["threshold"] == pytest.approx(sum(val) / 2, abs=1e-4)


def test_eval_forgery_on_plain_videos(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, best = trained
    (tmp_path / "text.mp4").write_text("no video")
    words = ["eval", "forgery", str(best), str(videos.parent / "real1.mp4"), str(tmp_path / "text.mp4")]
    assert main([*words, "--cache", str(tmp_path / "cache"), "--csv", str(tmp_path / "a.csv")]) == 3
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [Path(row["video"]).name for row in rows] == ["real1.mp4"]
    assert 0 <= float(rows[0]["score"]) <= 1
    captured = capsys.readouterr()
    assert "text.mp4" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ffpp"], 2, "needs its splits"),
        (["ffpp", "--splits", "ffpp/splits", "--compression", "c1"], 2, "unknown compression"),
        (["ffpp", "--splits", "ffpp/splits"], 3, "12 videos are missing"),
        (["ffpp", "more.csv", "--splits", "ffpp/splits"], 2, "one labelled set at a time"),
        (["absent.csv"], 3, "cannot read the list"),
    ],
)
def test_eval_forgery_refuses(
    trained: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_ffpp(tmp_path / "ffpp", ("Deepfakes",))
    assert main(["eval", "forgery", str(trained[1]), *words]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [{"span": 0}, {"side": -4}, {"side": "x"}, {"face_every": 0}, {"labels": None}])
def test_a_checkpoint_whose_card_is_wrong_is_refused(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict
) -> None:
    content = torch.load(trained[1], weights_only=True)
    card = {**json.loads(content["posepipe"]), **wrong}
    torch.save({"state_dict": content["state_dict"], "posepipe": json.dumps(card)}, tmp_path / "wrong.ckpt")
    assert main(["eval", "forgery", str(tmp_path / "wrong.ckpt"), "video.mp4"]) == 5
    assert "does not say what its clips are" in capsys.readouterr().err


def test_eval_forgery_on_a_part_of_the_benchmark(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_ffpp(tmp_path / "ffpp", ("Deepfakes", "FaceSwap"))
    words = [str(root), "--splits", str(root / "splits"), "--partial", "--clips", "2", "--cache", str(tmp_path / "c")]
    assert main(["eval", "forgery", str(trained[1]), *words]) == 0
    shown = lines(capsys)
    assert shown[0].startswith("FaceForensics++ c23, part test")
    counts = [line.split()[:3] for line in shown[2:]]
    assert counts == [["clips", "4", "8"], ["videos", "2", "4"], ["Deepfakes", "2", "2"], ["FaceSwap", "2", "2"]]


def test_the_full_recipe_says_what_was_advised() -> None:
    recipe = make_plan(find_recipe("ffpp_tsm_small"), {}).phases[0]
    engine, colours = recipe.engine, recipe.colours
    assert (engine.optimizer, engine.learning_rate, engine.weight_decay) == ("adamw", 3e-4, 0.01)
    assert (engine.schedule, engine.warmup_epochs) == ("cosine", 3)
    assert engine.learning_rate * engine.final_share == pytest.approx(3e-5)
    assert (engine.precision, engine.accumulate, engine.batch) == ("16-mixed", 2, 32)
    assert (engine.validate_every, engine.patience, engine.min_delta) == (2, 10, 0.002)
    assert (recipe.side, recipe.segments, recipe.span, recipe.pooling, recipe.dropout) == (
        224,
        8,
        2.0,
        "attention",
        0.3,
    )
    assert (colours.brightness, colours.contrast, colours.saturation, colours.hue, recipe.flip) == (
        0.2,
        0.2,
        0.2,
        0.1,
        0.5,
    )
    assert recipe.balanced
    assert [int(recipe.frozen_norms * count) for count in (46, 77)] == [15, 25]  # a third


@pytest.mark.slow
def test_the_full_recipe_takes_a_real_step(tmp_path: Path) -> None:
    root = write_ffpp(tmp_path / "ffpp", ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"))
    torch.save(timm.create_model("mobilenetv4_conv_small").state_dict(), tmp_path / "timm.pth")
    settings = {
        "videos": str(root), "splits": str(root / "splits"), "start": str(tmp_path / "timm.pth"), "val_clips": "1",
        "cache": str(tmp_path / "cache"), "engine.batch": "2", "engine.steps": "1", "engine.validate_every": "1",
        "engine.workers": "0", "engine.threads": "1",
    }  # fmt: skip
    if not torch.cuda.is_available():  # its half precision is a GPU's
        settings |= {"engine.device": "cpu", "engine.precision": "32"}
    plan = make_plan(find_recipe("ffpp_tsm_small"), settings)
    recipe = plan.phases[0]
    assert (recipe.fold_div, recipe.segments, recipe.dropout, recipe.engine.learning_rate) == (4, 8, 0.3, 3e-4)
    best = train(plan, tmp_path / "run")
    state = torch.load(best, weights_only=True)["state_dict"]
    start = torch.load(tmp_path / "timm.pth", weights_only=True)
    assert torch.equal(state["network.backbone.bn1.running_mean"], start["bn1.running_mean"])  # frozen
    assert not torch.equal(state["network.backbone.norm_head.running_mean"], start["norm_head.running_mean"])
