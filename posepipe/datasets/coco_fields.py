"""What the fields of a COCO file may hold: a value of another kind is named, with its row, and never taken over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from posepipe.errors import InputError

__all__ = ["LARGEST", "are_numbers", "refuse_other_kinds"]

#: no picture has such a place, px; what lies beyond (float32 ends at 3e38) would have no area
LARGEST = 1e15
_NUMBERS = {int, float}  # bool is none


def are_numbers(values: object, count: int | None = None) -> bool:
    """Whether something is a list of numbers, finite or not; of so many, where a count is given."""
    return isinstance(values, list) and count in (None, len(values)) and set(map(type, values)) <= _NUMBERS


def _number(value: object) -> bool:
    return type(value) in _NUMBERS


def _finite(value: Any) -> bool:
    return _number(value) and abs(value) < LARGEST  # which NaN is not


def _whole(value: Any, bits: int = 63) -> bool:
    return _number(value) and abs(value) < 2**bits and value == int(value)


def _size(value: Any) -> bool:
    return _whole(value, 31)


def _flag(value: object) -> bool:
    return isinstance(value, (bool, int, float)) and value in (0, 1)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _id(value: object) -> bool:
    return type(value) in (int, float, str)


_Field = tuple[Callable[[object], bool], str]
_ID: _Field = (_id, "a number or a text")
_SIZE: _Field = (_size, "a whole number")
_WHOLE: _Field = (_whole, "a whole number")
# By part of the file: what a row is called, the fields that it must have, and what those that are read may be.
_PARTS: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, _Field]]] = {
    "categories": ("category", ("id",), {"id": _ID}),
    "images": (
        "image",
        ("id", "file_name"),
        {"id": _ID, "file_name": (_text, "a text"), "width": _SIZE, "height": _SIZE}
        | {"video": (_text, "a text"), "frame": _WHOLE},
    ),
    "annotations": (
        "annotation",
        (),
        {"id": _ID, "image_id": _ID, "category_id": _ID, "iscrowd": (_flag, "0 or 1"), "area": (_number, "a number")}
        | {"num_keypoints": (_number, "a number"), "score": (_finite, "a number"), "track_id": _WHOLE}
        | {"area_is_estimate": (_flag, "true or false"), "keypoint_scores": (are_numbers, "a list of numbers")},
    ),
}


def refuse_other_kinds(path: Path, data: Mapping[str, Any]) -> None:
    """Look at every field that is read, but for boxes and keypoints; null stands for a field that is not there.

    Raises
    ------
    InputError
        A value is of another kind, or a field that must be there is not: the row and the field are named.
    """
    for part, (kind, needed, fields) in _PARTS.items():
        rows = data.get(part)
        if rows is not None and not isinstance(rows, list):
            raise InputError(f"{path}: {part}", got=repr(rows)[:60], expected="a list")
        for number, row in enumerate(rows or ()):
            if not isinstance(row, dict):
                raise InputError(f"{path}: {part}[{number}]", got=repr(row)[:60], expected="an object")
            for name, (fits, expected) in fields.items():
                value = row.get(name)
                if (value is None and name not in needed) or fits(value):
                    continue
                place = f"{kind} {row['id']}" if _id(row.get("id")) else f"{part}[{number}]"
                raise InputError(f"{path}: {name} of {place}", got=repr(value)[:60], expected=expected)
