"""How far training crops are varied. The settings alone: nothing heavy is imported to read a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from posepipe.errors import ConfigError

__all__ = ["Augmentation"]


def _range(default: Any, text: str, low: float = 0.0, high: float = 1.0) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class Augmentation:
    """How far training samples are varied; everything is drawn anew for every sample."""

    flip: float = _range(0.5, "chance of a mirror image")
    rotate: float = _range(0.6, "chance of a rotation")
    angle: float = _range(40.0, "largest rotation, degrees (its standard deviation is half of that)", high=180.0)
    scale: tuple[float, float] = _range((0.7, 1.35), "range of the factor on the crop's extent", 0.1, 10.0)
    shift: float = _range(0.05, "standard deviation of the centre's shift in parts of the crop's sides, at most three")
    half_body: float = _range(0.15, "chance of only the upper or the lower body (of 8 joints or more)")
    truncate: float = _range(0.05, "chance that the picture ends within the person")
    crowd: float = _range(0.1, "chance that another person of the set stands before this one")
    cutout: float = _range(0.4, "chance of covered rectangles")
    blur: float = _range(0.1, "chance of a low resolution")
    grey: float = _range(0.05, "chance of a picture without colour")
    colour: float = _range(0.25, "largest change of brightness, contrast and colour balance, in parts")

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ConfigError("augmentation.scale is a range", got=self.scale, expected="the smaller factor first")
