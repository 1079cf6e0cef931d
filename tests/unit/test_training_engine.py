"""The training engine on a toy: a killed training that resumes ends with the same weights."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
engine = pytest.importorskip("posepipe.training.engine", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")

from posepipe.datasets.keypoints import SeededOrder
from posepipe.errors import ConfigError, WeightsError

pytestmark = pytest.mark.filterwarnings("ignore")


class Points:
    """y = 3 x0 - x1 with noise that follows from the sample's seed."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.float32]:
        index, seed = key
        x = np.random.default_rng(index).normal(size=2).astype(np.float32)
        noise = np.random.default_rng(seed).normal() * 0.1
        return x, np.float32(3 * x[0] - x[1] + noise)


class Line(engine.EngineModule):
    """A linear fit that can be told to break off."""

    def __init__(self, recipe: Any, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        super().__init__(torch.nn.Linear(2, 1), recipe)
        self.stop_at = stop_at

    def training_step(self, batch: Any, index: int) -> Any:
        if self.stop_at is not None and self.global_step >= self.stop_at:
            raise KeyboardInterrupt
        return ((self.network(batch[0])[:, 0] - batch[1]) ** 2).mean()

    def validation_step(self, batch: Any, _index: int) -> None:
        self.log("val_score", -((self.network(batch[0])[:, 0] - batch[1]) ** 2).mean())


def run(folder: Path, epochs: int = 6, stop_at: int | None = None, **settings: Any) -> Path:
    recipe = engine.EngineRecipe(
        epochs=epochs, batch=8, learning_rate=0.3, warmup_steps=5, ema_decay=0.9, workers=0, **settings
    )
    data = Points()
    train = torch.utils.data.DataLoader(data, batch_size=8, sampler=SeededOrder(len(data), 1, 32))
    fixed = [data[i, i] for i in range(16)]
    val = torch.utils.data.DataLoader(fixed, batch_size=16)
    return engine.fit(Line(recipe, stop_at), train, val, recipe, folder, settings={"set": "points"})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_training_learns_and_writes_its_files(tmp_path: Path) -> None:
    best = run(tmp_path / "a", epochs=12)
    weight = engine.averaged_weights(best)["weight"]
    torch.testing.assert_close(weight, torch.tensor([[3.0, -1.0]]), atol=0.3, rtol=0)
    table = rows(tmp_path / "a")
    assert [int(r["epoch"]) for r in table] == list(range(1, 13))
    assert int(table[-1]["samples"]) == 12 * 32
    assert float(table[-1]["val_score"]) > float(table[0]["val_score"])
    summary = (tmp_path / "a" / "SUMMARY.md").read_text()
    assert "| learning_rate | 0.3 |" in summary
    assert "| set | points |" in summary
    assert "Best epoch: 12" in summary
    run(tmp_path / "a", epochs=12)  # nothing is left to do, and nothing is lost
    assert (tmp_path / "a" / "SUMMARY.md").read_text() == summary


@pytest.mark.parametrize("stop_at", [9, 12])
def test_a_training_that_was_stopped_ends_the_same(tmp_path: Path, stop_at: int) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path / "parts", stop_at=stop_at)  # 4 steps an epoch: within the third epoch, and at its end
    assert len(rows(tmp_path / "parts")) == stop_at // 4
    resumed = run(tmp_path / "parts")
    for name in ("last.ckpt", "best.ckpt"):
        expected = torch.load(whole.parent / name, weights_only=True)
        got = torch.load(resumed.parent / name, weights_only=True)
        for key in ("state_dict", "current_model_state"):
            for tensor, value in expected[key].items():
                assert torch.equal(got[key][tensor], value), (name, key, tensor)
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in rows(tmp_path / "parts")]
    assert kept == [{k: v for k, v in row.items() if k != "seconds"} for row in rows(tmp_path / "whole")]


def test_no_half_written_checkpoint_is_left(tmp_path: Path) -> None:
    run(tmp_path, epochs=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["SUMMARY.md", "best.ckpt", "last.ckpt", "metrics.csv"]


def test_the_average_follows_a_short_training() -> None:
    update = engine.ramped_average(0.998)
    average = torch.zeros(1)
    for step in range(200):
        average = update(average, torch.ones(1), step)
    assert float(average) > 0.99
    assert float(update(torch.zeros(1), torch.ones(1), 10**6)) == pytest.approx(0.002)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(WeightsError, match="cannot read"):
        engine.averaged_weights(path)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot read"):
        engine.averaged_weights(path)
    torch.save({"state_dict": {"other": torch.zeros(1)}}, path)
    with pytest.raises(WeightsError, match="no tensors"):
        engine.averaged_weights(path)


def test_recipes_are_strict(tmp_path: Path) -> None:
    recipes = pytest.importorskip("posepipe.training.recipes")
    pose = pytest.importorskip("posepipe.training.pose")
    path = tmp_path / "recipe.toml"
    for text, message in (
        ('kind = "boat"', "unknown kind"),
        ('kind = "pose"\nspeed = 3\n[engine]\nepochs = 1', "speed"),
        ('kind = "pose"\n[engine]\nepochs = "many"', "epochs"),
        ('kind = "pose"\nheight = 250\n[engine]\nepochs = 1', "multiples of 32"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            recipes.train(path, tmp_path / "run")
    recipe = pose.PoseRecipe.from_table({"engine": {"epochs": 3}, "augmentation": {"scale": [0.8, 1.2]}})
    assert recipe.augmentation.scale == (0.8, 1.2)
