"""Settings: one frozen dataclass, strict TOML, and flags derived from the fields.

A field's metadata carries its help text and range; the command line is built from them, so a setting has one name, one
default and one description.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from posepipe.errors import ConfigError, near_names

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - one of the two runs on any interpreter
    import tomli as tomllib

__all__ = ["Config", "cache_root", "data_root", "load_config", "read_toml", "validate"]

_MAX_TOML_BYTES = 1_000_000


def _setting(default: Any, text: str, *, low: float | None = None, high: float | None = None) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Config:
    """Settings of a run. Raises :class:`ConfigError` for a value of the wrong type or outside its range."""

    detector: str = _setting(
        "small", "small (built in), a name of `posepipe models list`, yolo:FILE, an ONNX file, or a file of boxes"
    )
    pose: str = _setting(
        "small",
        "small (built in), a name of `posepipe models list`, detector (keypoints of a one-stage detector), or a file "
        "(.onnx, .xml, .pth, .safetensors)",
    )
    flip_test: bool = _setting(False, "look at every person mirrored too and average: twice the pose network's time")
    tracker: str = _setting("posesort", "posesort, sort, bytetrack, ocsort, or none (new ids in every frame)")
    actions: str = _setting(
        "auto",
        "small or tad (built in), none, or an ONNX file of an action network; auto: small where the keypoints fit",
    )
    device: str = _setting("auto", "auto, cpu or cuda")
    batch: int = _setting(8, "person crops in one call of the pose network", low=1, high=1024)
    threads: int = _setting(0, "threads of the networks, 0 = all cores", low=0, high=1024)
    stride: int = _setting(1, "work on every n-th frame; the others are recorded as skipped", low=1, high=10_000)
    detector_stride: int = _setting(
        1, "detect on every n-th frame, tracks carry boxes between; 0 = when needed", low=0, high=1000
    )
    single_person: bool = _setting(False, "follow one person, who is detected at first and when lost")
    detector_score: float = _setting(0.4, "least score of a detected person", low=0.0, high=1.0)
    keypoint_score: float = _setting(0.3, "least score of a keypoint that is drawn", low=0.0, high=1.0)
    max_people: int = _setting(50, "most people kept in a frame, best score first", low=1, high=10_000)
    track_score: float = _setting(
        0.5,
        "least score of a new track (posesort; bytetrack asks 0.1 more, above 0.8 half of what is left to 1)",
        low=0.0,
        high=1.0,
    )
    track_iou: float = _setting(0.3, "least IoU between a track and its detection (sort, ocsort)", low=0.0, high=1.0)
    max_age: int = _setting(60, "frames that a track survives without a detection", low=0, high=100_000)
    min_hits: int = _setting(3, "detections in a row before a new track is shown (not bytetrack)", low=0, high=1000)
    max_pixels: int = _setting(8192 * 8192, "larger pictures are refused before they are decoded", low=1, high=2**40)

    def __post_init__(self) -> None:
        validate(self)


def validate(config: Any) -> None:
    """Check a dataclass's values against its annotations and ranges; raises :class:`ConfigError`."""
    hints = get_type_hints(type(config))
    for f in dataclasses.fields(config):
        value, hint = getattr(config, f.name), hints[f.name]
        allowed = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        plain = tuple(get_origin(t) or t for t in allowed)
        is_int_for_float = float in plain and type(value) is int
        if not (type(value) in plain or is_int_for_float):
            names = " or ".join(t.__name__ for t in plain)
            raise ConfigError(f"setting {f.name!r} has the wrong type", got=repr(value), expected=names)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"setting {f.name!r} is not a finite number", got=value)
        low, high = f.metadata.get("low"), f.metadata.get("high")
        if (low is not None and value < low) or (high is not None and value > high):
            raise ConfigError(f"setting {f.name!r} is out of range", got=value, expected=f"{low} to {high}")


def read_toml(path: str | Path) -> dict[str, Any]:
    """Parse a TOML file of at most 1 MB; raises :class:`ConfigError` naming the file."""
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_TOML_BYTES:
            raise ConfigError(f"{path} is too large for a configuration", expected="at most 1 MB")
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    return values


def load_config(path: str | Path | None = None, **overrides: Any) -> Config:
    """Settings from a TOML file with ``overrides`` on top.

    Raises
    ------
    ConfigError
        Unreadable file, unknown key (the near ones are named), wrong type or value out of range.
    """
    values = read_toml(path) if path is not None else {}
    known = {f.name for f in dataclasses.fields(Config)}
    for key in values:
        if key not in known:
            near = near_names(key, known)
            hint = (
                f"Near: {', '.join(near)}"
                if near
                else f"Known: {', '.join(sorted(known))}; all else is set by flags only"
            )
            raise ConfigError(f"{path} has an unknown setting {key!r}", hint=hint)
    try:
        config = Config(**values)
    except ConfigError as error:
        raise error.at(str(path)) from error
    return dataclasses.replace(config, **overrides)


def data_root() -> Path:
    """Folder of the measuring data: ``POSEPIPE_DATA``, else ``../shared/data`` beside the working folder."""
    return Path(os.environ.get("POSEPIPE_DATA") or "../shared/data")


def cache_root() -> Path:
    """Folder for what can be made again: ``POSEPIPE_CACHE``, else the user's cache folder."""
    setting = os.environ.get("POSEPIPE_CACHE")
    if setting:
        return Path(setting)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posepipe"
