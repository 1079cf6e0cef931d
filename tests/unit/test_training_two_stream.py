"""Training and scoring of the streams on small clips, and mistakes that are told before it starts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")

from moving_clips import write_moving, write_moving_list

from posepipe.cli import main
from posepipe.errors import ConfigError, InputError, UsageError, WeightsError
from posepipe.evaluation.consensus import consensus
from posepipe.models.two_stream import StreamResNet, load_two_stream
from posepipe.training.plan import find_recipe, make_plan, train
from posepipe.training.recipe import EngineRecipe
from posepipe.training.two_stream import TwoStreamModule, stream_data, together, train_two_stream
from posepipe.training.two_stream_recipe import TwoStreamRecipe
from posepipe.training.two_stream_scores import score_streams

ENGINE = EngineRecipe(
    epochs=2, batch=8, learning_rate=1e-3, warmup_steps=2, ema_decay=0.0, workers=0, monitor="val_prec1", device="cpu"
)


def recipe(folder: Path, stream: str, **settings) -> TwoStreamRecipe:
    return TwoStreamRecipe(
        **{
            "stream": stream, "source": str(folder / "list.csv"), "side": 32, "size": 32, "segments": 2, "stack": 3,
            "flow": "farneback", "flow_bound": 5.0, "centred": True, "flip": 0.0, "test_samples": 3, "samples": 48,
            "engine": ENGINE, **settings,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both streams, trained on the clips of a list."""
    folder = tmp_path_factory.mktemp("clips")
    write_moving_list(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSEPIPE_CACHE", str(folder / "cache"))
        for stream in ("spatial", "temporal"):
            train_two_stream(recipe(folder, stream), folder / stream)
    return folder


@pytest.fixture
def cached(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSEPIPE_CACHE", str(trained / "cache"))
    return trained


def test_both_streams_learn_and_log(trained: Path) -> None:
    for stream in ("spatial", "temporal"):
        with (trained / stream / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {f"{part}_{name}" for part in ("train", "val") for name in ("loss", "prec1", "prec5")}
        assert columns | {"epoch", "learning_rate"} <= set(rows[0])
        assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
        assert float(rows[-1]["val_prec1"]) == 100.0, stream
        assert "no part val" in (trained / stream / "SUMMARY.md").read_text()


def test_without_a_part_val_the_last_epoch_counts(cached: Path) -> None:
    assert train_two_stream(recipe(cached, "spatial"), cached / "spatial").name == "last.ckpt"


def test_a_checkpoint_tells_what_it_is(trained: Path) -> None:
    network, card = load_two_stream(trained / "temporal/last.ckpt")
    assert card["classes"] == ["left", "right"]
    assert card["settings"]["stack"] == 3
    assert network.state_dict()["conv1.weight"].shape == (64, 6, 7, 7)


def test_scores_and_the_command(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    streams = [cached / f"{name}/last.ckpt" for name in ("spatial", "temporal")]
    scores = score_streams(streams)
    assert scores.spatial is not None
    assert scores.spatial.shape == (4, 3, 2)
    assert scores.labels.tolist() == [0, 1, 0, 1]
    words = [*map(str, streams), f"--json={cached / 'a.json'}", f"--csv={cached / 'a.csv'}"]
    assert main(["eval", "action", *words]) == 0
    shown = capsys.readouterr().out
    assert "4 videos, 2 classes" in shown
    assert len(shown.splitlines()) == 2 + 6 + 12
    figures = json.loads((cached / "a.json").read_text())["figures"]
    assert figures["fusion of mean, average"] == {"prec1": 100.0, "prec5": 100.0}
    with (cached / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["temporal"] for row in rows] == [row["label"] for row in rows] == ["left", "right"] * 2
    assert all(0.5 < float(row["average_score"]) <= 1 for row in rows)
    # The same list, by its name, and the streams in any order.
    named = [*map(str, reversed(streams)), f"csv:{cached / 'list.csv'}"]
    assert main(["eval", "action", *named]) == 0
    assert capsys.readouterr().out == shown


def test_plain_videos_are_named(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, table = str(cached / "temporal/last.ckpt"), f"--csv={cached / 'plain.csv'}"
    files = [str(cached / f"{way}_test1.mp4") for way in ("right", "left")]
    assert main(["eval", "action", network, *files, table]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["right_test1.mp4", "right"], ["left_test1.mp4", "left"]]
    with (cached / "plain.csv").open(newline="") as file:
        assert [(row["label"], row["temporal"]) for row in csv.DictReader(file)] == [("", "right"), ("", "left")]
    assert main(["eval", "action", network, str(cached / "gone.mp4")]) == 3
    assert "1 videos are missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["{spatial}", "{spatial}"], 2, "two checkpoints are of the spatial stream"),
        (["{spatial}", "--part", "val"], 3, "no videos in the part 'val'"),
        (["{spatial}", "--clips", "3", "--flip"], 2, "do not take --clips, --flip"),
        (["{spatial}", "ucf101:there:4"], 2, "splits 1, 2 and 3"),
        (["{spatial}", "ucf101:"], 2, "FORM:PATH"),
        (["{spatial}", "{spatial}.mp4", "--json", "a.json"], 2, "plain videos have none of"),
        (["{spatial}", "{bare}"], 5, "no checkpoint of `posepipe train`"),
        (["{bare}", "csv:list.csv"], 5, "no action network"),
        (["csv:list.csv"], 2, "no network is named"),
    ],
)
def test_mistakes_of_the_command_are_told(
    cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    torch.save(StreamResNet(2).state_dict(), tmp_path / "bare.pth")
    places = {"spatial": cached / "spatial/last.ckpt", "bare": tmp_path / "bare.pth"}
    assert main(["eval", "action", *(word.format(**places) for word in words)]) == code
    assert told in capsys.readouterr().err


def test_scoring_mistakes_are_told(cached: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no stream is given"):
        score_streams([])
    other = tmp_path / "other.csv"
    other.write_text(f"video,label,split\n{cached / 'left_test0.mp4'},up,test\n")
    with pytest.raises(WeightsError, match=r"does not know the class 'up' of other\.csv"):
        score_streams([cached / "spatial/last.ckpt"], source=str(other))


def test_other_lists_may_hold_fewer_classes(cached: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(f"video,label,split\n{cached / 'right_test0.mp4'},right,test\n")
    scores = score_streams([cached / "temporal/last.ckpt"], source=str(other))
    assert scores.labels.tolist() == [1]
    assert scores.temporal is not None
    assert scores.temporal.mean((0, 1)).argmax() == 1


def test_bad_videos_are_named_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    write_moving(tmp_path / "a.mp4", "left", 0)
    write_moving(tmp_path / "one.mp4", "left", 0, frames=1)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    path = tmp_path / "list.csv"
    for rows, message in (
        ("a.mp4,x,train\ngone.mp4,x,test", r"1 videos are missing: .*gone\.mp4"),
        ("a.mp4,x,train\na2.mp4,y,test", r"1 classes have no training video: y \(test only\)"),
        ("a.mp4,x,train\nbroken.mp4,x,test", r"1 videos cannot be used: broken\.mp4 \(cannot read broken\.mp4"),
        ("a.mp4,x,train\none.mp4,x,test", r"1 videos cannot be used: one\.mp4 \(.*one frame only"),
        ("a.mp4,x,train\na.mp4,x,test", r"stand in several parts: a\.mp4 \(train, test\)"),
        ("a.mp4,x,train", "no videos to validate on"),
    ):
        path.write_text("video,label,split\n" + rows + "\n")
        with pytest.raises(InputError, match=message):
            train_two_stream(recipe(tmp_path, "temporal"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_segments_are_summed_before_the_loss() -> None:
    module = TwoStreamModule(StreamResNet(2), TwoStreamRecipe(engine=ENGINE))
    logits = torch.tensor([[1.0, 0.0], [0.0, 3.0], [0.5, 0.0], [0.5, 0.0]])
    module.network.forward = lambda image: logits  # type: ignore[method-assign]
    image = torch.zeros(2, 2, 3, 8, 8, dtype=torch.uint8)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    loss = module.training_step({"image": image, "label": torch.tensor([1, 0])}, 0)
    summed = torch.tensor([[1.0, 3.0], [1.0, 0.0]])
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(summed, torch.tensor([1, 0])))


@pytest.mark.parametrize("how", ["mean", "max", "variance"])
def test_consensus_of_training_is_that_of_evaluation(how: str) -> None:
    scores = np.random.default_rng(0).normal(size=(4, 3, 7))
    np.testing.assert_allclose(together(torch.tensor(scores), how).numpy(), consensus(scores, how))
    flat = torch.zeros(2, 3, 4, requires_grad=True)
    together(flat, how).sum().backward()
    assert torch.isfinite(flat.grad).all()


def test_weights_to_start_from(tmp_path: Path, cached: Path) -> None:
    from posepipe.training import two_stream

    start = str(cached / "spatial/last.ckpt")
    same = two_stream._start(recipe(cached, "spatial", start=start), 2)
    np.testing.assert_array_equal(same.state_dict()["fc.weight"], load_two_stream(start)[0].state_dict()["fc.weight"])
    other = two_stream._start(recipe(cached, "spatial", start=start), 9)
    assert other.state_dict()["fc.weight"].shape == (9, 512)
    with pytest.raises(WeightsError, match="is not of the temporal stream with 18 layers"):
        two_stream._start(recipe(cached, "temporal", start=start), 2)


def test_recipes_are_checked() -> None:
    with pytest.raises(ConfigError, match="no such ResNet; got 17"):
        make_plan({"kind": "two_stream", "layers": 17}, {})
    with pytest.raises(ConfigError, match="views are larger than the frames; got 224; expected at most side 128"):
        make_plan({"kind": "two_stream", "side": 128}, {})
    assert TwoStreamRecipe(stream="temporal").channels == 20


def test_shipped_recipes_are_the_published_ones() -> None:
    (spatial,), (temporal,) = (make_plan(find_recipe(f"ucf101_{s}"), {}).phases for s in ("spatial", "temporal"))
    assert (spatial.engine.batch, spatial.engine.learning_rate, spatial.segments, spatial.channels) == (25, 5e-4, 3, 3)
    assert (temporal.engine.batch, temporal.engine.learning_rate, temporal.channels) == (32, 1e-2, 20)
    for one in (spatial, temporal):
        assert (one.layers, one.size, one.test_samples, one.engine.schedule) == (18, 224, 19, "plateau")
        assert (one.engine.plateau_patience, one.engine.plateau_monitor, one.engine.nesterov) == (1, "val_loss", False)


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["spatial", "temporal"])
def test_one_real_step_of_the_full_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    """The shipped recipe but for batch, length and list: 224 px, ResNet-18, plateau."""
    monkeypatch.setenv("POSEPIPE_CACHE", str(tmp_path / "cache"))
    write_moving_list(tmp_path, train=2, test=1)
    changes = {"source": str(tmp_path / "list.csv"), "hold_out": "0.5", "engine.batch": "2", "engine.steps": "1"}
    plan = make_plan(find_recipe(f"ucf101_{stream}"), {**changes, "engine.epochs": "1", "engine.workers": "0"})
    best = train(plan, tmp_path / "run")
    assert best.name == "best.ckpt"
    network, card = load_two_stream(best)
    assert network.state_dict()["conv1.weight"].shape[1] == (3 if stream == "spatial" else 20)
    assert stream_data(plan.phases[0]).listed.classes == tuple(card["classes"])
