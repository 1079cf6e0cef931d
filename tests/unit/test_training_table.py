"""Recipes as dataclasses: what is read, what is refused, and the way to TOML and back."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posepipe.errors import ConfigError
from posepipe.training.recipe import DetectorRecipe, PoseRecipe
from posepipe.training.table import build, parse_text, setting, settings_of, tables, to_table, to_toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Inner:
    name: str = setting("a", "a name", choices=("a", "b"))
    pair: tuple[float, float] = setting((0.0, 1.0), "two numbers", low=0.0)


@dataclass(frozen=True)
class Outer:
    count: int = setting(1, "a count", low=0, high=9)
    rate: float = setting(0.5, "a rate")
    words: tuple[str, ...] = setting((), "some words")
    on: bool = setting(False, "a switch")
    inner: Inner = field(default_factory=Inner, metadata={"help": "a section"})
    many: tuple[Inner, ...] = tables("some sections")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"cuont": 3}, "unknown setting 'cuont'.*Near: count"),
        ({"inner": {"nam": "a"}}, "unknown setting 'inner.nam'.*Near: name"),
        ({"count": "3"}, "'count' has the wrong type; got '3'; expected int"),
        ({"count": True}, "'count' has the wrong type"),
        ({"on": 1}, "'on' has the wrong type"),
        ({"rate": float("nan")}, "not a finite number"),
        ({"count": 10}, "out of range; got 10; expected 0 to 9"),
        ({"words": "a"}, "'words' has the wrong type.*a list"),
        ({"words": ["a", 3]}, r"'words\[1\]' has the wrong type"),
        ({"inner": 3}, "'inner' has the wrong type.*a table"),
        ({"inner": {"pair": [1]}}, "'inner.pair' has 1 values; expected 2"),
        ({"inner": {"pair": [1, -1]}}, "out of range; got -1.0; expected 0.0 or more"),
        ({"inner": {"name": "c"}}, "no such choice; got 'c'; expected a, b"),
        ({"many": [{"pair": 3}]}, r"'many\[0\].pair' has the wrong type"),
    ],
)
def test_wrong_settings_are_refused_by_name(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Outer, table)


def test_whole_numbers_serve_as_fractions() -> None:
    made = build(Outer, {"rate": 2, "inner": {"pair": [1, 2]}, "many": [{}, {"name": "b"}]})
    assert made == Outer(rate=2.0, inner=Inner(pair=(1.0, 2.0)), many=(Inner(), Inner(name="b")))
    assert isinstance(made.rate, float)


def test_words_of_the_command_line_become_values() -> None:
    hints = {s.name: s.hint for s in settings_of(Outer)}
    assert parse_text("count", "3", hints["count"]) == 3
    assert parse_text("on", "TRUE", hints["on"]) is True
    assert parse_text("words", "a, b,", hints["words"]) == ["a", "b"]
    assert parse_text("inner.pair", "1,2.5", hints["inner.pair"]) == [1.0, 2.5]
    for name, text in (("count", "3.5"), ("rate", "fast"), ("on", "yes")):
        with pytest.raises(ConfigError, match=f"'{name}' has the wrong type"):
            parse_text(name, text, hints[name])


def test_every_setting_is_explained() -> None:
    for kind in (PoseRecipe, DetectorRecipe):
        found = list(settings_of(kind))
        assert len({s.name for s in found}) == len(found) > 20
        assert all(s.text and s.kind and s.default for s in found)
    assert {s.name for s in settings_of(Outer) if s.listed} == {"many[].name", "many[].pair"}


@given(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text("ab\"'\\\n\t\x00\x7fé", max_size=5), max_size=3),
)
def test_toml_reads_back(text: str, number: float, words: list[str]) -> None:
    table = {"a": text, "n": number, "i": 3, "on": True, "w": words, "t": {"x": {"y": 1}}}
    table["many"] = [{"k": text}, {"k": ""}]
    assert tomllib.loads(to_toml(table)) == table


def test_a_recipe_reads_back_from_its_table() -> None:
    recipe = build(PoseRecipe, {"sources": [{"path": "a", "without": ["b"]}], "engine": {"milestones": [3]}})
    assert build(PoseRecipe, tomllib.loads(to_toml(to_table(recipe)))) == recipe
