"""``python -m posepipe.training RECIPE.toml RUN_DIR``: train by a recipe, or go on where a run stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from posepipe.errors import PosepipeError
from posepipe.training.recipes import train


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m posepipe.training", description=__doc__)
    parser.add_argument("recipe", type=Path, help="recipe.toml of a model")
    parser.add_argument("run_dir", type=Path, help="folder for checkpoints and metrics")
    parser.add_argument("--fresh", action="store_true", help="start over even if the folder holds a checkpoint")
    options = parser.parse_args(arguments)
    try:
        best = train(options.recipe, options.run_dir, resume=not options.fresh)
    except PosepipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"best checkpoint: {best}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
