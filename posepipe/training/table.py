"""Recipes as dataclasses: strict reading of nested tables, flags and reference table from the fields, TOML out.

A field's metadata carries its help, range and choices, so a setting has one name, one default and one description.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from posepipe.errors import ConfigError, near_names

__all__ = ["Setting", "build", "parse_text", "reference", "setting", "settings_of", "tables", "to_table", "to_toml"]

T = TypeVar("T")
_REQUIRED = dataclasses.MISSING


def setting(
    default: Any, text: str, *, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """A field of a recipe: a default of type bool, int, float, str or tuple, and what the reader must know of it."""
    return field(default=default, metadata={"help": text, "low": low, "high": high, "choices": choices})


def tables(text: str) -> Any:
    """A list of sub-tables of a recipe (TOML: ``[[name]]``)."""
    return field(default=(), metadata={"help": text})


@dataclass(frozen=True)
class Setting:
    """One setting of a recipe as the command line and the manual show it: dotted name, type, default, help."""

    name: str
    kind: str
    default: str
    text: str
    hint: Any
    listed: bool


def settings_of(cls: type[Any], prefix: str = "", *, listed: bool = False) -> Iterator[Setting]:
    """Every setting of a recipe, sub-tables included; those of lists of tables are `listed` and have no flag."""
    hints = get_type_hints(cls)
    for f in dataclasses.fields(cls):
        hint, name = hints[f.name], prefix + f.name
        inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            many = inner is not hint
            yield from settings_of(inner, f"{name}[]." if many else f"{name}.", listed=listed or many)
            continue
        default = "required" if f.default is _REQUIRED else _toml_value(f.default)
        text = f.metadata["help"]
        if f.metadata.get("choices"):
            text += f" ({', '.join(f.metadata['choices'])})"
        yield Setting(name, _type_name(hint), default, text, hint, listed)


def reference(cls: type[Any]) -> str:
    """A Markdown table of every setting of a recipe: name, type, default, meaning."""
    rows = [f"| `{s.name}` | {s.kind} | `{s.default}` | {s.text} |" for s in settings_of(cls)]
    return "\n".join(["| setting | type | default | what it is |", "|---|---|---|---|", *rows])


def build(cls: type[T], table: Mapping[str, Any], where: str = "") -> T:
    """An instance of a dataclass of settings from a (nested) table.

    Raises
    ------
    ConfigError
        A setting is unknown (the near ones are named), absent though required, of the wrong type or out of range.
    """
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            near = near_names(key, fields) or sorted(fields)
            raise ConfigError(f"the recipe has an unknown setting {where + key!r}", hint=f"Near: {', '.join(near)}")
    values: dict[str, Any] = {}
    for name, f in fields.items():
        if name in table:
            values[name] = _convert(table[name], hints[name], where + name, f.metadata)
        elif f.default is _REQUIRED and f.default_factory is _REQUIRED:
            raise ConfigError(f"the recipe lacks the setting {where + name!r}", expected=_type_name(hints[name]))
    return cls(**values)


def _convert(value: Any, hint: Any, name: str, about: Mapping[str, Any]) -> Any:
    """`value` as the annotated type; raises `ConfigError`."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise _wrong_type(name, value, "a table")
        return build(hint, value, f"{name}.")
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong_type(name, value, "a list")
        items = get_args(hint)
        kinds = (items[0],) * len(value) if items[-1] is Ellipsis else items
        if len(kinds) != len(value):
            raise ConfigError(f"setting {name!r} has {len(value)} values", expected=f"{len(kinds)} values")
        return tuple(_convert(v, k, f"{name}[{i}]", about) for i, (v, k) in enumerate(zip(value, kinds, strict=True)))
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise _wrong_type(name, value, _type_name(hint))
    _check_value(value, name, about)
    return value


def _check_value(value: Any, name: str, about: Mapping[str, Any]) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"setting {name!r} is not a finite number", got=value)
    low, high, choices = about.get("low"), about.get("high"), about.get("choices")
    if not isinstance(value, str | bool) and ((low is not None and value < low) or (high is not None and value > high)):
        span = f"{low} or more" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
        raise ConfigError(f"setting {name!r} is out of range", got=value, expected=span)
    if choices and value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1)
        hint = f"Did you mean {near[0]}?" if near else None
        raise ConfigError(
            f"setting {name!r} has no such choice", got=repr(value), expected=", ".join(choices), hint=hint
        )


def _wrong_type(name: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(f"setting {name!r} has the wrong type", got=repr(value), expected=expected)


def _type_name(hint: Any) -> str:
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if items[-1] is Ellipsis:
            return f"list of {items[0].__name__}"
        return f"{len(items)} x {items[0].__name__}"
    return str(hint.__name__)


def parse_text(name: str, text: str, hint: Any) -> Any:
    """The value that a word of the command line stands for; lists are separated by commas. Raises `ConfigError`."""
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        return [parse_text(name, part.strip(), item) for part in text.split(",") if part.strip()]
    if hint is str:
        return text
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise _wrong_type(name, text, "true or false")
        return text.lower() == "true"
    try:
        return hint(text)
    except ValueError:
        raise _wrong_type(name, text, _type_name(hint)) from None


def to_table(recipe: Any) -> dict[str, Any]:
    """A recipe as nested tables and lists, as `build` reads them."""
    table: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return table


def to_toml(table: Mapping[str, Any], prefix: str = "") -> str:
    """A table of scalars, lists, tables and lists of tables as TOML text."""
    plain, nested = [], []
    for key, value in table.items():
        if isinstance(value, Mapping):
            nested.append(f"\n[{prefix}{key}]\n" + to_toml(value, f"{prefix}{key}."))
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            nested += [f"\n[[{prefix}{key}]]\n" + to_toml(item, f"{prefix}{key}.") for item in value]
        else:
            plain.append(f"{key} = {_toml_value(value)}\n")
    return "".join(plain + nested)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)
