"""``posepipe train``: a network by a recipe; flags for every setting follow from the recipes' fields."""

from __future__ import annotations

import argparse
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from posepipe.cli.parser import Commands, Parser
from posepipe.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from posepipe.training.table import Setting

__all__ = ["add"]

_NEEDED = ("torch", "torchvision", "lightning", "matplotlib", "onnx", "onnxscript", "safetensors")
_OWN = ("recipe", "run_dir", "fresh", "allow_leaks", "list", "command")


def add(commands: Commands) -> None:
    """Put the command on the command line."""
    train = commands.add_parser(
        "train",
        help="train a network by a recipe",
        description="Train a network by a recipe, or go on where a training in the run folder stopped.",
        allow_abbrev=False,
    )
    train.add_argument("recipe", nargs="?", metavar="RECIPE", help="a .toml file, or a name that --list shows")
    train.add_argument("--run-dir", type=Path, metavar="DIR", help="folder of the run (default: runs/RECIPE)")
    train.add_argument("--fresh", action="store_true", help="start over even if the folder holds a checkpoint")
    train.add_argument(
        "--allow-leaks", action="store_true", help="train though videos or pictures stand on both sides of the split"
    )
    train.add_argument("--list", action="store_true", help="the recipes in the package")
    train.fill = _add_settings
    train.set_defaults(command=_train)


def _add_settings(train: Parser) -> None:
    """A flag for every setting of every kind of recipe."""
    from posepipe.training.plan import KINDS
    from posepipe.training.table import settings_of

    group = train.add_argument_group("settings of the recipe", "named as in the file; lists are separated by commas")
    known: dict[str, Setting] = {}
    lists: set[str] = set()
    for kind in KINDS.values():
        settings = list(settings_of(kind.recipe))
        lists.update(s.name.partition("[]")[0] for s in settings if s.listed)
        known.update({s.name: s for s in settings if not s.listed and s.name not in known})

    def advise(flag: str) -> str | None:
        name = re.split(r"[.\[]", flag.lstrip("-"))[0]
        return f"Lists of tables such as [[{name}]] are set in the recipe file only." if name in lists else None

    train.advise = advise
    for setting in known.values():
        text = f"{setting.text} (default {setting.default})".replace("%", "%%")
        group.add_argument(
            f"--{setting.name}", dest=setting.name, default=argparse.SUPPRESS, metavar="VALUE", help=text
        )


def _train(arguments: argparse.Namespace) -> int:
    from posepipe.training.plan import find_recipe, make_plan, shipped_recipes, train

    if arguments.list:
        for name, about in shipped_recipes().items():
            print(f"{name:32} {about}")
        return 0
    if arguments.recipe is None:
        raise UsageError("posepipe train needs a RECIPE", hint="See: posepipe train --list")
    overrides = {name: value for name, value in vars(arguments).items() if name not in _OWN}
    plan = make_plan(find_recipe(arguments.recipe), overrides)
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError("posepipe train", "train")
    folder = arguments.run_dir or Path("runs") / Path(arguments.recipe).stem
    best = train(plan, folder, resume=not arguments.fresh, allow_leaks=arguments.allow_leaks)
    print(f"best checkpoint: {best}")
    return 0
