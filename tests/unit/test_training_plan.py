"""From recipe and flags to a plan: phases, overrides, and mistakes that are told before anything heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from posepipe.cli import main
from posepipe.errors import ConfigError, UsageError
from posepipe.training.plan import KINDS, find_recipe, make_plan, shipped_recipes
from posepipe.training.recipe import DetectorRecipe, PoseRecipe
from posepipe.training.table import reference

MODELS = Path(__file__).resolve().parents[2] / "models"


def test_overrides_go_before_every_phase() -> None:
    table = {
        "kind": "pose", "sigma": 2.0, "engine": {"epochs": 9, "batch": 4},
        "phases": [{"height": 128, "engine": {"epochs": 1}}, {"engine": {"epochs": 2, "seed": 5}}],
    }  # fmt: skip
    plan = make_plan(table, {})
    assert [(p.height, p.engine.epochs, p.engine.batch, p.engine.seed) for p in plan.phases] == [
        (128, 1, 4, 1),
        (256, 2, 4, 5),
    ]
    plan = make_plan(table, {"engine.epochs": "7", "augmentation.scale": "0.8,1.2", "exclude": "a.json,b.json"})
    assert [p.engine.epochs for p in plan.phases] == [7, 7]
    (first, _) = plan.phases
    assert isinstance(first, PoseRecipe)
    assert first.augmentation.scale == (0.8, 1.2)
    assert first.exclude == ("a.json", "b.json")
    assert table["engine"] == {"epochs": 9, "batch": 4}


@pytest.mark.parametrize(
    ("table", "overrides", "message"),
    [
        ({}, {}, "unknown kind"),
        ({"kind": "boat"}, {}, "unknown kind of recipe; got 'boat'; expected action or pose or detector or tsm"),
        ({"kind": "pose", "speed": 3}, {}, "unknown setting 'speed'"),
        ({"kind": "pose", "engine": 3}, {"engine.epochs": "3"}, "'engine' has the wrong type"),
        ({"kind": "pose", "height": 250}, {}, "multiples of 32"),
        ({"kind": "detector", "size": 100}, {}, "multiple of 32"),
        ({"kind": "pose", "augmentation": {"scale": [1.2, 0.8]}}, {}, "the smaller factor first"),
        ({"kind": "pose", "phases": 3}, {}, "'phases' has the wrong type"),
        ({"kind": "pose", "engine": {"milestones": [3, 2]}}, {}, "milestones do not rise"),
        ({"kind": "pose"}, {"export.name": "a/b"}, "export.name is no file name; got 'a/b'"),
        ({"kind": "pose"}, {"export.name": ".."}, "export.name is no file name"),
        ({"kind": "pose"}, {"flip": "0.5"}, "no setting 'flip'. Near: augmentation.flip"),
        ({"kind": "pose"}, {"engine.epocs": "3"}, "no setting 'engine.epocs'. Near: engine.epochs"),
        ({"kind": "detector"}, {"sigma": "3"}, "no setting 'sigma'"),
        ({"kind": "pose"}, {"engine.epochs": "many"}, "'engine.epochs' has the wrong type"),
        ({"kind": "pose"}, {"engine.optimizer": "adamm"}, "Did you mean adam"),
    ],
)
def test_wrong_recipes_are_refused(table: dict, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(table, overrides)


def test_recipes_are_found_by_name_and_path(tmp_path: Path) -> None:
    assert find_recipe("quick")["kind"] == "pose"
    path = tmp_path / "r.toml"
    path.write_text('kind = "detector"')
    assert find_recipe(str(path)) == {"kind": "detector"}
    with pytest.raises(UsageError, match=r"no recipe 'quik'.*quick"):
        find_recipe("quik")
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.toml"):
        find_recipe(str(tmp_path / "absent.toml"))


def test_a_recipe_says_only_what_it_does_differently(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/lab.toml").write_text(
        'base = "sail_small"\nsigma = 2.0\n[engine]\nepochs = 3\n[[sources]]\npath = "clinic"\n'
    )
    (tmp_path / "mine.toml").write_text('base = "below/lab.toml"\n[engine]\nbatch = 8\n')
    lowest, mine = find_recipe("sail_small"), find_recipe(str(tmp_path / "mine.toml"))
    assert mine["engine"] == {**lowest["engine"], "epochs": 3, "batch": 8}
    assert (mine["sigma"], mine["network"]) == (2.0, "sppe_small")
    assert mine["sources"] == [{"path": "clinic"}]  # lists of tables are replaced
    assert "base" not in mine


@pytest.mark.parametrize(("base", "message"), [('"mine.toml"', "cannot have the base"), ("3", "cannot have the base 3"),
                                               ('"absent.toml"', r"cannot read .*absent\.toml")])  # fmt: skip
def test_wrong_bases_are_refused(base: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f"base = {base}\n")
    with pytest.raises(ConfigError, match=message):
        find_recipe(str(tmp_path / "mine.toml"))


def test_the_recipes_of_the_shipped_models_are_whole() -> None:
    pose = make_plan(find_recipe(str(MODELS / "sppe_small/recipe.toml")), {})
    assert all(isinstance(p, PoseRecipe) and len(p.sources) >= 5 for p in pose.phases)
    detector = make_plan(find_recipe(str(MODELS / "detector_small/recipe.toml")), {})
    assert isinstance(detector.phases[0], DetectorRecipe)
    slim = make_plan(find_recipe(str(MODELS / "detector_small/recipe_slim.toml")), {})
    assert [phase.whole for phase in slim.phases] == [False, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs a RECIPE"),
        (["quik"], "no recipe 'quik'"),
        (["quick", "--engine.epocs", "3"], "Did you mean --engine.epochs"),
        (["quick", "--epochs", "3"], "Did you mean --engine.epochs? See: posepipe train --help"),
        (["quick", "--sources.0.every", "2"], "[[sources]] are set in the recipe file only"),
        (["quick", "--engine.epochs", "x"], "'engine.epochs' has the wrong type"),
        (["quick", "--mosaic", "0.5"], "no setting 'mosaic'"),
    ],
)
def test_mistakes_on_the_command_line_are_usage_errors(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_recipes())
    assert all(len(line.split()) > 4 for line in lines)


def test_a_missing_extra_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("posepipe.cli.train.find_spec", lambda name: None)
    assert main(["train", "quick"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'posepipe[train]'" in error
    assert error.count("\n") == 1


def test_reading_a_recipe_needs_nothing_heavy() -> None:
    code = (
        "import sys; from posepipe.training.plan import find_recipe, make_plan; make_plan(find_recipe('quick'), {});"
        "print(sorted({'torch', 'cv2', 'lightning', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_manual_lists_every_setting() -> None:
    text = (MODELS.parent / "docs/training.md").read_text()
    for name, kind in KINDS.items():
        listed = text.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]
        assert listed == reference(kind.recipe), "docs/training.md is behind the recipes"
