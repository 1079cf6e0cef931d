"""Tables of `eval/action.py`, from what its trainings left."""

from __future__ import annotations

import json
from pathlib import Path

from posepipe.report import table

__all__ = ["write_tables"]


def write_tables(out: Path) -> None:
    """Print what is there of the results of a folder."""
    results = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((out / "results").glob("*.json"))}
    rows = [
        (n, f"{r['right']['one']:.4f}", f"{r['right']['many']:.4f}", str(r["clips"]), f"{r['seconds']:.0f}")
        for n, r in results.items()
    ]
    print(table(("training", "one view", "many", "clips", "s"), rows))
