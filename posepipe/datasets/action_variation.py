"""How far training clips of people are varied. The settings alone: nothing heavy is imported to read a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["ActionVariation"]


def _range(default: Any, text: str, low: float = 0.0, high: float = 1.0) -> Any:
    return field(default=default, metadata={"help": text, "low": low, "high": high})


@dataclass(frozen=True)
class ActionVariation:
    """How far training clips are varied: drawn anew for every sample, the same in all its frames."""

    flip: float = _range(0.5, "chance of a mirror image")
    area: tuple[float, float] = _range((0.56, 1.0), "range of the share of the window's area that a crop keeps", 0.01)
    aspect: tuple[float, float] = _range((0.75, 1.3333), "range of the crop's width by height", 0.1, 10.0)
    zoom: tuple[float, float] = _range((1.0, 1.0), "range of the factor on the window's sides before that", 0.1, 10.0)
    shift: float = _range(0.0, "largest shift of the window, in parts of its sides")
    rotate: float = _range(0.0, "largest rotation of the picture, degrees", high=180.0)
    shear: float = _range(0.0, "largest shear, in parts")
    view: float = _range(0.0, "keypoints with depth: largest turn of the camera about them, degrees", high=180.0)
    sway: float = _range(0.0, "keypoints: how far a carried camera shakes, typically, in parts of the people's size")
    time: float = _range(1.0, "least share of the clip that is looked at", 0.01)
    shape: float = _range(0.0, "standard deviation of a keypoint's lasting shift, in parts of the window's sides")
    jitter: float = _range(0.0, "standard deviation of a keypoint's shift in a frame, in parts of the window's sides")
    drop: float = _range(0.0, "chance that a keypoint is missing in the clip")
    brightness: float = _range(0.0, "pictures: largest change of brightness, in parts")
    contrast: float = _range(0.0, "pictures: largest change of contrast, in parts")
    saturation: float = _range(0.0, "pictures: largest change of saturation, in parts")
    hue: float = _range(0.0, "pictures: largest change of hue, in parts of the colour circle", high=0.5)
    erase: float = _range(0.0, "pictures: chance of a rectangle that is covered")
    erase_area: tuple[float, float] = _range((0.02, 0.2), "range of the rectangle's share of the picture")
