"""The training engine on a toy: a killed training that resumes ends with the same weights."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("lightning", reason="needs the train extra")
engine = pytest.importorskip("posepipe.training.engine", reason="needs the train extra")

from posepipe.config import read_toml
from posepipe.datasets.order import MixedOrder
from posepipe.errors import ConfigError, OutputError, WeightsError
from posepipe.training import schedule
from posepipe.training.recipe import EngineRecipe
from posepipe.training.table import to_table

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
    """A linear fit, behind dropout, that can be told to break off; `flat` is a validation figure that never gains."""

    def __init__(self, recipe: EngineRecipe, stop_at: int | None = None, dropout: float = 0.0) -> None:
        torch.manual_seed(0)
        super().__init__(torch.nn.Linear(2, 1), recipe)
        self.stop_at, self.dropout = stop_at, dropout
        self.rates: list[float] = []

    def training_step(self, batch: Any, index: int) -> Any:
        if self.stop_at is not None and self.global_step >= self.stop_at:
            raise KeyboardInterrupt
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        x = torch.nn.functional.dropout(batch[0], self.dropout)
        loss = ((self.network(x)[:, 0] - batch[1]) ** 2).mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, _index: int) -> None:
        self.log("val_score", -((self.network(batch[0])[:, 0] - batch[1]) ** 2).mean())
        self.log("flat", 1.0)
        self.log("val_loss", ((self.network(batch[0])[:, 0] - batch[1]) ** 2).mean())


def line(
    folder: Path, *, stop_at: int | None = None, dropout: float = 0.0, resume: bool = True, **settings: Any
) -> Line:
    wanted = {"epochs": 6, "batch": 8, "learning_rate": 0.3, "warmup_steps": 5, "ema_decay": 0.9, "workers": 0}
    recipe = EngineRecipe(**{**wanted, **settings})
    data = Points()
    order = MixedOrder(len(data), 1, 32)
    val = torch.utils.data.DataLoader([data[i, i] for i in range(16)], batch_size=16)
    module = Line(recipe, stop_at, dropout)
    run = engine.Run(folder, {"engine": to_table(recipe)}, resume, ("noted",))
    engine.fit(module, engine.TrainingData(data, order), val, recipe, run)
    return module


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def figures(folder: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in rows(folder)]


def weights(path: Path) -> dict[str, Any]:
    kept = torch.load(path, weights_only=True)
    return {
        f"{part}.{name}": value for part in ("state_dict", "current_model_state") for name, value in kept[part].items()
    }


def same_weights(one: Path, other: Path) -> None:
    for name, value in weights(one).items():
        assert torch.equal(weights(other)[name], value), name


def test_training_learns_and_writes_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    line(folder, epochs=12)
    names = ["SUMMARY.md", "best.ckpt", "curves.png", "last.ckpt", "metrics.csv", "recipe.toml"]
    assert sorted(p.name for p in folder.iterdir()) == names
    weight = engine.averaged_weights(folder / "best.ckpt")["weight"]
    torch.testing.assert_close(weight, torch.tensor([[3.0, -1.0]]), atol=0.3, rtol=0)
    table = rows(folder)
    assert [int(r["epoch"]) for r in table] == list(range(1, 13))
    assert int(table[-1]["samples"]) == 12 * 32
    for row in table:
        assert 0 <= float(row["data_seconds"]) <= float(row["batch_seconds"]) <= float(row["seconds"]) + 0.1
    assert float(table[-1]["val_score"]) > float(table[0]["val_score"])
    summary = (folder / "SUMMARY.md").read_text()
    for part in ("| engine.learning_rate | 0.3 |", "Best epoch: 12", "**noted**", "Made with posepipe"):
        assert part in summary
    assert read_toml(folder / "recipe.toml")["engine"]["learning_rate"] == 0.3
    assert torch.load(folder / "best.ckpt", weights_only=True)["training"]["notes"] == ["noted"]
    line(folder, epochs=12)  # nothing is left to do, and nothing is lost
    assert (folder / "SUMMARY.md").read_text() == summary


@pytest.mark.parametrize("stop_at", [9, 12])
def test_a_training_that_was_stopped_ends_the_same(tmp_path: Path, stop_at: int) -> None:
    line(tmp_path / "whole", dropout=0.3, keep_best=2)
    with pytest.raises(KeyboardInterrupt, match="same command"):
        # 4 steps an epoch: within the third epoch, and at its end
        line(tmp_path / "begun", dropout=0.3, stop_at=stop_at, keep_best=2)
    assert len(rows(tmp_path / "begun")) == stop_at // 4
    (tmp_path / "begun").rename(tmp_path / "moved")
    line(tmp_path / "moved", dropout=0.3, keep_best=2)
    for name in ("last.ckpt", "best.ckpt"):
        same_weights(tmp_path / "whole" / name, tmp_path / "moved" / name)
    tops = [sorted(p.name for p in (tmp_path / which / "top").iterdir()) for which in ("whole", "moved")]
    assert tops[0] == tops[1]
    kept = [
        [{k: v for k, v in row.items() if "seconds" not in k} for row in rows(tmp_path / n)] for n in ("moved", "whole")
    ]
    assert kept[0] == kept[1]


def test_every_nth_epoch_is_kept_beside_the_best(tmp_path: Path) -> None:
    line(tmp_path, keep_best=2, keep_every=2)
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == [f"epoch=00{n}.ckpt" for n in (1, 3, 5)]
    assert len(list((tmp_path / "top").iterdir())) == 2


def test_validation_every_second_epoch(tmp_path: Path) -> None:
    line(tmp_path / "whole", validate_every=2, keep_best=2, patience=2, epochs=7)
    table = rows(tmp_path / "whole")
    assert [bool(r["val_score"]) for r in table] == [False, True, False, True, False, True, False]
    assert all(r["train_loss"] for r in table)
    assert len(list((tmp_path / "whole/top").iterdir())) == 2
    summary = (tmp_path / "whole/SUMMARY.md").read_text()
    best = max((r for r in table if r["val_score"]), key=lambda r: float(r["val_score"]))
    assert f"Best epoch: {best['epoch']} " in summary
    assert "best.ckpt" in summary
    with pytest.raises(KeyboardInterrupt):
        line(tmp_path / "parts", validate_every=2, keep_best=2, patience=2, epochs=7, stop_at=14)
    line(tmp_path / "parts", validate_every=2, keep_best=2, patience=2, epochs=7)
    same_weights(tmp_path / "whole/last.ckpt", tmp_path / "parts/last.ckpt")
    same_weights(tmp_path / "whole/best.ckpt", tmp_path / "parts/best.ckpt")
    assert figures(tmp_path / "whole") == figures(tmp_path / "parts")
    with pytest.raises(ConfigError, match="ends before its first validation"):
        line(tmp_path / "short", validate_every=9)


def test_patience_counts_validations(tmp_path: Path) -> None:
    line(tmp_path, validate_every=2, patience=2, monitor="flat", epochs=20)
    assert len(rows(tmp_path)) == 6  # the first validation is a gain, two more are none


def test_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    line(tmp_path, keep_best=3)
    scores = {int(r["epoch"]) - 1: float(r["val_score"]) for r in rows(tmp_path)}
    best = sorted(sorted(scores, key=lambda e: scores[e])[-3:])
    assert sorted(p.name for p in (tmp_path / "top").iterdir()) == [f"epoch={e:03d}.ckpt" for e in best]


def test_the_least_loss_is_the_best(tmp_path: Path) -> None:
    line(tmp_path, monitor="val_loss")
    least = min(rows(tmp_path), key=lambda row: float(row["val_loss"]))
    assert least["epoch"] != "1"
    assert f"Best epoch: {least['epoch']} (val_loss {least['val_loss']})" in (tmp_path / "SUMMARY.md").read_text()
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == int(least["epoch"]) - 1
    line(tmp_path / "stopped", monitor="val_loss", epochs=9, patience=8)
    assert len(rows(tmp_path / "stopped")) == 9  # falling losses are gains


def test_a_figure_that_nobody_logs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no figure 'val_oks' to monitor; expected one of flat.*val_score"):
        line(tmp_path, monitor="val_oks")


def test_a_machine_that_cannot_train_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no GPU"):
        engine.check_machine(EngineRecipe(device="cuda"), tmp_path)
    (tmp_path / "file").write_bytes(b"")
    for name in ("file", "file/run"):
        with pytest.raises(OutputError, match="cannot make the run folder"):
            engine.check_machine(EngineRecipe(), tmp_path / name)
    engine.check_machine(EngineRecipe(), tmp_path / "new/run")
    assert not (tmp_path / "new").exists()


def test_early_stopping_ends_a_training_for_good(tmp_path: Path) -> None:
    line(tmp_path, epochs=9, monitor="flat", patience=2)
    assert len(rows(tmp_path)) == 3
    module = line(tmp_path, epochs=9, monitor="flat", patience=2)
    assert len(rows(tmp_path)) == 3
    assert module.rates == []


def test_another_recipe_does_not_go_on_unseen(tmp_path: Path) -> None:
    line(tmp_path, epochs=1)
    with pytest.raises(ConfigError, match=r"engine\.learning_rate"):
        line(tmp_path, epochs=1, learning_rate=0.1)
    line(tmp_path, epochs=2, threads=1)  # longer, and elsewhere: the same training
    assert len(rows(tmp_path)) == 2
    line(tmp_path, epochs=1, learning_rate=0.1, resume=False)
    assert len(rows(tmp_path)) == 1


def test_a_step_budget_ends_a_training(tmp_path: Path) -> None:
    assert len(line(tmp_path / "one", steps=1).rates) == 1
    assert len(line(tmp_path / "more", steps=5).rates) == 8  # whole epochs of 4
    assert len(rows(tmp_path / "more")) == 2
    assert len(line(tmp_path / "sums", steps=1, accumulate=2).rates) == 2


def test_an_epoch_without_a_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an epoch of 32 samples holds no batch of 64"):
        line(tmp_path, batch=64)
    with pytest.raises(ConfigError, match="of 32 samples, 8 for each of 4 devices, holds no batch of 9"):
        line(tmp_path, batch=9, devices=4)


def test_accumulated_batches_make_the_step_of_a_large_one(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 1, "clip_norm": 0.0, "ema_decay": 0.0, "warmup_steps": 0}
    line(tmp_path / "large", batch=16, **settings)
    line(tmp_path / "small", batch=8, accumulate=2, **settings)
    large, small = (engine.averaged_weights(tmp_path / n / "last.ckpt")["weight"] for n in ("large", "small"))
    torch.testing.assert_close(small, large, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_optimisers_and_precisions_learn(tmp_path: Path, optimizer: str, precision: str) -> None:
    rate = 0.1 if optimizer == "sgd" else 0.3
    line(tmp_path, optimizer=optimizer, precision=precision, learning_rate=rate, epochs=8)
    table = rows(tmp_path)
    assert float(table[-1]["val_score"]) > float(table[0]["val_score"])


def test_step_schedule_is_torchs(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"schedule": "step", "milestones": (2, 4), "gamma": 0.1, "warmup_steps": 0, "epochs": 5}
    rates = line(tmp_path, **settings).rates
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], 0.1)
    expected = []
    for _ in range(5):
        expected += [optimizer.param_groups[0]["lr"]] * 4
        optimizer.step()
        reference.step()
    assert rates == pytest.approx(expected)


def test_plateau_schedule_rises_then_falls_where_nothing_gains(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"schedule": "plateau", "monitor": "flat", "plateau_patience": 1, "gamma": 0.5}
    rates = line(tmp_path, epochs=6, warmup_steps=4, **settings).rates
    assert rates[:4] == pytest.approx([0.075, 0.15, 0.225, 0.3])
    assert [rates[4 * e + 3] for e in range(6)] == pytest.approx([0.3, 0.3, 0.3, 0.15, 0.15, 0.075])


def test_a_plateau_may_watch_a_loss_beside_the_figure_that_chooses() -> None:
    recipe = EngineRecipe(optimizer="sgd", schedule="plateau", plateau_monitor="val_loss", warmup_steps=0)
    optimizer = schedule.make_optimizer(recipe, [{"params": [torch.zeros(1, requires_grad=True)]}])
    (falls,) = schedule.make_schedules(recipe, optimizer, 10, 5)
    assert (falls["monitor"], falls["scheduler"].mode) == ("val_loss", "min")
    (falls,) = schedule.make_schedules(dataclasses.replace(recipe, plateau_monitor=""), optimizer, 10, 5)
    assert (falls["monitor"], falls["scheduler"].mode) == ("val_score", "max")


def test_sgd_looks_ahead_unless_told_not_to() -> None:
    for settings, ahead in (({}, True), ({"nesterov": False}, False), ({"momentum": 0.0}, False)):
        groups = [{"params": [torch.zeros(1, requires_grad=True)]}]  # the optimiser fills them in
        optimizer = schedule.make_optimizer(EngineRecipe(optimizer="sgd", **settings), groups)
        assert optimizer.param_groups[0]["nesterov"] is ahead


def test_cosine_ends_at_its_last_share() -> None:
    recipe = EngineRecipe(warmup_steps=10, final_share=0.1)
    share = schedule.rate_share(recipe, 110, 10)
    assert [share(0), share(9), share(10)] == pytest.approx([0.1, 1.0, 1.0])
    assert share(60) == pytest.approx(0.55)
    assert share(110) == share(500) == pytest.approx(0.1)
    by_epochs = schedule.rate_share(EngineRecipe(warmup_epochs=2, warmup_share=0.1, final_share=1e-4), 100, 10)
    assert by_epochs(0) == pytest.approx(0.1 + 0.9 / 20)
    assert by_epochs(19) == by_epochs(20) == 1.0
    assert by_epochs(100) == pytest.approx(1e-4)
    stopped = schedule.rate_share(EngineRecipe(warmup_steps=0, cosine_epochs=20, final_share=0.0), 100, 10)
    assert stopped(100) == pytest.approx(0.5)
    constant = schedule.rate_share(EngineRecipe(schedule="constant", warmup_steps=2), 100, 10)
    assert [constant(0), constant(1), constant(99)] == [0.5, 1.0, 1.0]


def test_no_weight_decay_on_biases() -> None:
    decays = {tuple(p.shape): g["weight_decay"] for g in Line(EngineRecipe()).parameter_groups() for p in g["params"]}
    assert decays == {(1, 2): 0.01, (1,): 0.0}


def test_the_average_follows_a_short_training() -> None:
    update = schedule.ramped_average(0.998)
    average, late, counter = torch.zeros(1), torch.zeros(1), torch.tensor(3)
    for step in range(200):
        update([average], [torch.ones(1)], step)
    assert float(average) > 0.99
    update([late], [torch.ones(1)], 10**6)
    assert float(late) == pytest.approx(0.002)
    update([counter], [torch.tensor(9)], 5)
    assert int(counter) == 9


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


def test_a_fresh_start_forgets_the_old_training(tmp_path: Path) -> None:
    line(tmp_path, epochs=3, keep_best=2)
    with pytest.raises(KeyboardInterrupt):
        line(tmp_path, epochs=3, keep_best=2, resume=False, stop_at=2)
    assert not list(tmp_path.rglob("*.ckpt"))
    assert rows_or_none(tmp_path) == []


def rows_or_none(folder: Path) -> list[dict[str, str]]:
    return rows(folder) if (folder / "metrics.csv").is_file() else []


def test_data_is_loaded_as_the_machine_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert engine.loading(EngineRecipe()) == {"num_workers": 1, "persistent_workers": True, "pin_memory": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(engine.os, "cpu_count", lambda: 16)
    assert engine.loading(EngineRecipe())["num_workers"] == 8
    assert engine.loading(EngineRecipe(devices=4)) == {"num_workers": 4, "persistent_workers": True, "pin_memory": True}
    assert engine.loading(EngineRecipe(device="cpu", workers=0))["pin_memory"] is False
