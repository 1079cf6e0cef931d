"""What networks see of long recordings: stored features, or frames of videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.errors import InputError
from posepipe.io.npz import UNREADABLE_NPZ

if TYPE_CHECKING:
    from posepipe.datasets.video_frames import FrameStore

__all__ = ["FeatureFiles", "VideoWindows"]

#: least share of the picture that a random crop shows
_LEAST_AREA = 0.9
# Share of windows that are turned (degrees) and sheared, and of those that are blurred.
_BENT, _TURN, _SHEAR, _BLURRED = 0.5, 10.0, 0.1, 0.1
_HOW = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
# Strengths of the colour variation: brightness, contrast, saturation, hue (degrees).
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 0.2, 0.2, 0.2, 18.0


class FeatureFiles:
    """Features that another network made of videos: one .npy file (T,C) a video.

    Attributes
    ----------
    steps, channels
        T of each file, and C of all.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._arrays = [self._open(path) for path in paths]
        widths = {array.shape[1] for array in self._arrays}
        if len(widths) != 1:
            raise InputError("the feature files differ in their channels", got=sorted(widths))
        self.channels = widths.pop()
        self.steps = [len(array) for array in self._arrays]

    @staticmethod
    def _open(path: Path) -> NDArray[Any]:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except UNREADABLE_NPZ as error:
            raise InputError(f"cannot read features {path}: {error}") from error
        if not isinstance(array, np.ndarray):
            raise InputError(f"{path} holds no features", got="an archive", expected="one array of numbers (T,C)")
        if array.ndim != 2 or not len(array) or not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{path} holds no features", got=f"{array.dtype} {array.shape}", expected="numbers (T,C)")
        return array

    def at(
        self, index: int, places: NDArray[np.float64], rng: np.random.Generator | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Features (C,T), linear between steps; see :class:`~posepipe.datasets.temporal.WindowSource`."""
        array = self._arrays[index]
        before = np.floor(places).astype(np.int64).clip(0, len(array) - 1)
        after = (before + 1).clip(max=len(array) - 1)
        share = (places - before)[:, None]
        mixed = array[before] * (1 - share) + array[after] * share
        return np.ascontiguousarray(mixed.T, np.float32), places <= len(array) - 1


class VideoWindows:
    """Every n-th frame of videos, cropped square; varied alike over the whole window.

    Parameters
    ----------
    paths
        The videos.
    store
        Of their frames, at the size before the crop.
    stride
        Frames from step to step.
    side
        Of the crop, px.
    """

    def __init__(self, paths: Sequence[Path], store: FrameStore, stride: int, side: int) -> None:
        self._paths, self._store, self._stride, self._side = paths, store, stride, side

    def at(
        self, index: int, places: NDArray[np.float64], rng: np.random.Generator | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Frames (T,side,side,3); see :class:`~posepipe.datasets.temporal.WindowSource`."""
        path = self._paths[index]
        numbers = np.round(places).astype(np.int64) * self._stride
        last = self._store.count(path) - 1
        frames = self._store.frames(path, numbers.clip(0, last).tolist())
        matrix, size = self._view(frames.shape[1], frames.shape[2], rng), (self._side, self._side)
        views = [cv2.warpAffine(f, matrix, size, flags=_HOW, borderMode=cv2.BORDER_REFLECT) for f in frames]
        cut = np.asarray(views, np.uint8)
        if rng is not None:
            cut = _recoloured(cut, rng)
            if rng.random() < _BLURRED:
                cut = np.asarray([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in cut], np.uint8)
        return cut, numbers <= last

    def _view(self, height: int, width: int, rng: np.random.Generator | None) -> NDArray[np.float64]:
        """(2,3) map from the cut-out to the picture: its middle, or a crop of chance, turned, sheared and mirrored."""
        side, turn, shear, mirror = float(min(height, width)), 0.0, 0.0, 1.0
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        if rng is not None:
            side = side * float(np.sqrt(rng.uniform(_LEAST_AREA, 1.0)))
            room = np.array([width - side, height - side]) / 2
            middle = middle + rng.uniform(-1, 1, 2) * room
            mirror = -1.0 if rng.random() < 0.5 else 1.0
            if rng.random() < _BENT:
                turn, shear = np.deg2rad(rng.uniform(-_TURN, _TURN)), rng.uniform(-_SHEAR, _SHEAR)
        scale = side / self._side
        linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        linear = scale * linear @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([mirror, 1.0])
        centre = np.full(2, (self._side - 1) / 2)
        return np.concatenate([linear, (middle - linear @ centre)[:, None]], axis=1)


def _recoloured(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames with brightness, contrast, saturation and hue changed, all in the same way."""
    gain, spread, colour = (1 + rng.uniform(-most, most) for most in (_BRIGHTNESS, _CONTRAST, _SATURATION))
    turn = np.deg2rad(rng.uniform(-_HUE, _HUE))
    # Rows of the matrix sum to 1, so grey stays grey: saturation and a turn about the grey axis.
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    hue = np.cos(turn) * np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * grey
    matrix = (gain * spread * (colour * hue + (1 - colour) * grey)).astype(np.float32)
    lift = np.float32(gain * (1 - spread) * frames.mean(dtype=np.float64))
    return np.stack([np.clip(frame @ matrix.T + lift, 0, 255).astype(np.uint8) for frame in frames])
