"""Reading a person's keypoints from a crop: heatmap networks in ONNX files, the embedded one and the user's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import WeightsError
from posepipe.geometry import affine_points, crop_affine, invert_affine
from posepipe.heatmaps import cells_to_crop, decode_peaks, decode_posterior, oks_kernel_sigmas
from posepipe.skeleton import COCO17, Skeleton
from posepipe.stages.engine import Engine
from posepipe.stages.pixels import cut_person
from posepipe.types import Detections, Frame, Poses

__all__ = ["OnnxPose"]

# ImageNet statistics of RGB in 0..255: what networks without a card are taken to expect.
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)
# Keypoints of absurdly large boxes stay finite in float32.
_FARTHEST = 1e7


class OnnxPose:
    """Keypoints by a network that gives a heatmap a keypoint.

    A network with a card is used as the card says: ``decode`` (``posterior``: maps that sum to 1; ``peaks``: maps whose
    maximum is the confidence), ``padding`` of the box, ``skeleton``; it takes RGB in 0..255.
    A network without one must take (N,3,H,W) and give (N,17,h,w) with H/h = W/w, and is assumed to be of the usual
    kind (SimpleBaseline, HRNet, FastPose): RGB normalised with ImageNet's mean and deviation, boxes padded by 1.25,
    keypoints of COCO, maps with gaussians of peak 1.

    Parameters
    ----------
    path
        The ONNX file.
    device, threads, batch
        As for :class:`Engine`; ``batch`` is the number of crops in one call.

    Attributes
    ----------
    weights
        The file.
    description
        What the network runs on.

    Raises
    ------
    WeightsError
        The file is missing or not such a network.
    """

    def __init__(self, path: str | Path, *, device: str = "auto", threads: int = 0, batch: int = 8) -> None:
        self._engine = Engine(path, device=device, threads=threads, batch=batch)
        self._batch = batch
        card = self._engine.card
        self._decode = card.get("decode", "peaks")
        self._padding = self._engine.number("padding", 1.25)
        self._normalise = not card
        self.skeleton: Skeleton = COCO17
        if self._decode not in ("posterior", "peaks") or card.get("skeleton", COCO17.name) != COCO17.name:
            raise WeightsError(
                f"the card of {path} asks for what this version does not know",
                got=f"decode {self._decode!r}, skeleton {card.get('skeleton')!r}",
                expected=f"decode 'posterior' or 'peaks', skeleton {COCO17.name!r}",
            )
        self.weights, self.description = self._engine.path, self._engine.description
        self._size = self._input_size()
        self._stride = self._map_stride()
        self._kernels = oks_kernel_sigmas(np.array(self.skeleton.sigmas), self._size, self._stride, self._padding)

    def _input_size(self) -> tuple[int, int]:
        shape = self._engine.shape
        if len(shape) != 3 or shape[0] != 3 or shape[1] is None or shape[2] is None:
            raise WeightsError(
                f"{self._engine.path} does not take person crops",
                got=f"input (N, {', '.join('?' if s is None else str(s) for s in shape)})",
                expected="(N, 3, height, width) of a fixed height and width",
            )
        return shape[1], shape[2]

    def _map_stride(self) -> float:
        """Run the network once on black crops, to see what comes out: px of the crop a cell of the map."""
        maps = self._engine.run(np.zeros((1, 3, *self._size), np.float32))[0]
        height, width = self._size
        fits = maps.ndim == 4 and maps.shape[1] == len(self.skeleton) and min(maps.shape[2:]) >= 3
        if not fits or height * maps.shape[3] != width * maps.shape[2]:
            raise WeightsError(
                f"{self._engine.path} does not give heatmaps of the {len(self.skeleton)} keypoints of "
                f"{self.skeleton.name}",
                got=f"first output {maps.shape} for an input of {self._size}",
                expected=f"(N, {len(self.skeleton)}, height / s, width / s)",
                hint="Networks that give coordinates or classified positions (SimCC) cannot be used.",
            )
        return height / float(maps.shape[2])

    def estimate(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[Poses]:
        """Poses of the people of each frame, row for row with their detections; empty in, empty out."""
        boxes = np.concatenate([d.boxes for d in detections]) if detections else np.zeros((0, 4), np.float32)
        matrices = crop_affine(boxes, self._size, self._padding)
        images = [f.image for f, d in zip(frames, detections, strict=True) for _ in range(len(d))]
        parts = list(self._read(images, matrices))
        xy = np.concatenate([p[0] for p in parts]) if parts else np.zeros((0, len(self.skeleton), 2), np.float32)
        score = np.concatenate([p[1] for p in parts]) if parts else np.zeros((0, len(self.skeleton)), np.float32)
        poses, start = [], 0
        for found in detections:
            rows = slice(start, start + len(found))
            poses.append(Poses(xy[rows], score[rows], found.boxes, found.score, self.skeleton))
            start += len(found)
        return poses

    def _read(
        self, images: list[NDArray[np.uint8]], matrices: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Keypoints (n,K,2) in the picture and scores (n,K), batch by batch: memory does not grow with people."""
        for start in range(0, len(images), self._batch):
            part = matrices[start : start + self._batch]
            crops = np.stack(
                [cut_person(i, m, self._size) for i, m in zip(images[start : start + self._batch], part, strict=True)]
            )
            maps = self._engine.run(self._pixels(crops))[0]
            xy, score = self._decode_maps(np.asarray(maps, np.float32))
            placed = affine_points(invert_affine(part), cells_to_crop(xy, self._stride))
            yield np.clip(placed, -_FARTHEST, _FARTHEST).astype(np.float32), score

    def _pixels(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops (n,h,w,3) uint8 -> network input (n,3,h,w) float32."""
        pixels: NDArray[np.float32] = crops.transpose(0, 3, 1, 2).astype(np.float32)
        if self._normalise:
            mean, std = np.array(_IMAGENET_MEAN, np.float32), np.array(_IMAGENET_STD, np.float32)
            pixels = (pixels - mean[:, None, None]) / std[:, None, None]
        return pixels

    def _decode_maps(self, maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cells and scores of maps; a map that is not finite is a missing keypoint."""
        broken = np.asarray(~np.isfinite(maps).all((-2, -1)))
        if broken.any():
            maps = np.where(broken[..., None, None], np.float32(0), maps)
        xy, score = decode_posterior(maps, self._kernels) if self._decode == "posterior" else decode_peaks(maps)
        return xy, np.where(broken, np.float32(0), score)
