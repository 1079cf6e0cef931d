"""Damaged label files: an error that names the file, or a set that holds; nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_sets import video_set

from posepipe.datasets.checks import check_set
from posepipe.datasets.formats import Form, load_set, write_set
from posepipe.errors import PosepipeError

JUNK = st.sampled_from(
    [None, True, -1, 1e300, float("nan"), float("inf"), 2**70, "", "x", "../a", [], [1], {}, {"a": 1}]
)
JSON_FORMS = (Form.COCO, Form.ALPHAPOSE, Form.OPENPOSE, Form.MMPOSE)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value of a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, child in inner for p in places(child, (*path, key)))]


def spoil(document: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    *parents, last = path
    holder = document
    for key in parents:
        holder = holder[key]
    holder[last] = junk
    return document


def label_file(folder: Path) -> Path:
    return sorted(p for p in folder.rglob("*") if p.is_file())[0]


def read_and_check(file: Path, form: Form) -> str:
    """The message of the error, empty where there was none."""
    try:
        people, found = load_set(file, form=form)
    except PosepipeError as error:
        return str(error)
    check_set(people, found).table()
    return ""


@pytest.mark.parametrize("form", JSON_FORMS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_value_of_another_kind(form: Form, data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_set(video_set(1, 2), folder / "a.json" if form is Form.COCO else folder / "a", form)
        file = label_file(folder)
        document = json.loads(file.read_text())
        path = data.draw(st.sampled_from(places(document)))
        file.write_text(json.dumps(spoil(document, path, data.draw(JUNK))))
        message = read_and_check(file, form)
        assert not message or file.stem in message or name in message


@pytest.mark.parametrize("form", [*JSON_FORMS, Form.DLC])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_file_that_is_cut_or_has_other_bytes(form: Form, data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        single = {Form.COCO: "a.json", Form.DLC: "a.csv"}
        write_set(video_set(1, 2), folder / single.get(form, "a"), form)
        file = label_file(folder)
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            del content[at:]
        else:
            content[at] = data.draw(st.integers(0, 255))
        file.write_bytes(bytes(content))
        message = read_and_check(file, form)
        assert not message or file.stem in message or name in message
