"""Keypoints by networks that classify columns and rows (SimCC, Li et al. 2022): RTMPose and its kin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import WeightsError
from posepipe.geometry import affine_points, invert_affine
from posepipe.stages.engine import Engine
from posepipe.stages.pose import HeatmapPose

__all__ = ["SimccPose", "decode_simcc"]

# Keypoints of absurdly large boxes stay finite in float32.
_FARTHEST = 1e7


def decode_simcc(
    across: NDArray[np.floating], down: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Read the two answers of a SimCC network: the best column, the best row, and the lesser of their values.

    Parameters
    ----------
    across, down
        (N,K,W') and (N,K,H'): a value for every bin of x and of y.

    Returns
    -------
    xy, score
        (N,K,2) bins and (N,K) in [0,1]. A value that is not finite makes the keypoint a missing one.
    """
    across, down = np.asarray(across, np.float32), np.asarray(down, np.float32)
    sound = np.isfinite(across).all(-1) & np.isfinite(down).all(-1)
    across, down = (np.where(sound[..., None], values, np.float32(0)) for values in (across, down))
    xy = np.stack([across.argmax(-1), down.argmax(-1)], -1).astype(np.float64)
    score = np.clip(np.minimum(across.max(-1), down.max(-1)), 0, 1)
    return xy, np.where(sound, score, np.float32(0)).astype(np.float32)


class SimccPose(HeatmapPose):
    """Keypoints by a network with the outputs ``simcc_x`` (N,17,W') and ``simcc_y`` (N,17,H').

    Two answers take the place of each keypoint's map; crops, pixels and cells are as for a network without a card:
    boxes padded by 1.25, RGB normalised with ImageNet's mean and deviation, and bin m at m / (W'/W) px of the crop,
    as mmpose counts (its ``SimCCLabel`` with a split ratio of 2).

    Parameters
    ----------
    engine
        Runs the network.
    batch, flip
        As for :class:`~posepipe.stages.pose.HeatmapPose`.

    Raises
    ------
    WeightsError
        It is not such a network.
    """

    _onnx: Engine

    def __init__(self, engine: Engine, *, batch: int = 8, flip: bool = False) -> None:
        self._onnx = engine
        super().__init__(engine, batch=batch, flip=flip)

    def _map_size(self) -> tuple[int, int]:
        """Bins down and across."""
        across, down = self._answers(np.zeros((1, 3, *self._size), np.float32))
        count = len(self.skeleton)
        height, width = self._size
        if across.shape[:2] != (1, count) or down.shape[:2] != (1, count) or across.ndim != 3 or down.ndim != 3:
            raise WeightsError(
                f"{self.weights} does not classify the {count} keypoints of {self.skeleton.name}",
                got=f"simcc_x {across.shape}, simcc_y {down.shape}",
                expected=f"(1, {count}, bins)",
            )
        if across.shape[2] * height != down.shape[2] * width or min(across.shape[2], down.shape[2]) < 2:
            raise WeightsError(
                f"{self.weights} has bins of different width and height",
                got=f"{across.shape[2]} x {down.shape[2]} bins for {width} x {height} px",
            )
        return down.shape[2], across.shape[2]

    def _answers(self, pixels: NDArray[np.float32]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        outputs = dict(zip(self._onnx.outputs, self._onnx.run(pixels), strict=True))
        return outputs["simcc_x"], outputs["simcc_y"]

    def _read(
        self, images: list[NDArray[np.uint8]], matrices: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Keypoints (n,K,2) in the picture and scores (n,K), batch by batch: memory does not grow with people."""
        for start in range(0, len(images), self._batch):
            part = matrices[start : start + self._batch]
            across, down = self._look(images[start : start + self._batch], part)
            bins, score = decode_simcc(across, down)
            placed = affine_points(invert_affine(part), self._reader.grid.to_crop(bins))
            yield np.clip(placed, -_FARTHEST, _FARTHEST).astype(np.float32), score

    def _look(
        self, images: list[NDArray[np.uint8]], matrices: NDArray[np.float64]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Answers of people, averaged over the mirrored crops with a flip test."""
        across, down = self._answers(self._pixels(self._crops(images, matrices)))
        if not self._flip:
            return across, down
        moved = matrices.copy()
        moved[:, 0, 2] += self._reader.grid.mirror_shift
        mirrored = self._crops(images, moved)[:, :, ::-1]
        turned_across, turned_down = self._answers(self._pixels(mirrored))
        swap = self.skeleton.mirror
        return (across + turned_across[:, swap, ::-1]) / 2, (down + turned_down[:, swap]) / 2
