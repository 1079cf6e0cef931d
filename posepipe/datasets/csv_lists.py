"""Own lists of videos and clips: CSV files with named columns."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from posepipe.errors import InputError

__all__ = ["list_rows"]


def list_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a list, by column, without spaces about them; cells that a row lacks are "".

    Raises
    ------
    InputError
        The file cannot be read, or lacks one of `columns`.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows = [{name: (value or "").strip() for name, value in row.items() if name} for row in reader]
            found = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read the list {path}: {error}", expected="a CSV file in UTF-8") from error
    lacking = [name for name in columns if name not in found]
    if lacking:
        raise InputError(f"the list {path} lacks the columns {', '.join(lacking)}", got=", ".join(found) or "none")
    return rows
