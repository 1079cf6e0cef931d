"""Reading a person's keypoints from a crop: heatmap networks in ONNX files and torch checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import WeightsError
from posepipe.geometry import affine_points, crop_affine, invert_affine
from posepipe.skeleton import Skeleton
from posepipe.stages.engine import Engine
from posepipe.stages.pixels import cut_person
from posepipe.stages.pose_maps import MapReader, ReadingCard
from posepipe.types import Detections, Frame, Poses

__all__ = ["CHECKPOINTS", "HeatmapPose", "MapEngine", "OnnxPose", "open_pose"]

#: endings of the torch checkpoints that can be used
CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors")

# ImageNet statistics of RGB in 0..255: what networks without a card are taken to expect.
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)
# Keypoints of absurdly large boxes stay finite in float32.
_FARTHEST = 1e7


class MapEngine(Protocol):
    """What runs the network: :class:`Engine`, or :class:`~posepipe.stages.torch_engine.TorchEngine`."""

    path: Path
    description: str

    @property
    def card(self) -> Mapping[str, Any]:
        """What is written on the network's card."""
        ...

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Input shape without the batch axis."""
        ...

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Outputs of a batch; a row's depend on that row alone."""
        ...


def open_pose(
    path: str | Path, *, device: str = "auto", threads: int = 0, batch: int = 8, flip: bool = False
) -> HeatmapPose:
    """A pose estimator from a file of any kind that is known: ONNX, or a torch checkpoint.

    Parameters
    ----------
    path
        An .onnx file, or one of the checkpoints that `posepipe.models.pose_checkpoints` opens (`CHECKPOINTS`).
    device, threads, batch, flip
        As for `OnnxPose`.

    Raises
    ------
    MissingExtraError
        A checkpoint, and torch is not installed.
    WeightsError
        The file is missing or not such a network.
    """
    path = Path(path)
    if path.suffix.lower() in CHECKPOINTS:
        from posepipe.stages.torch_engine import TorchEngine

        return HeatmapPose(TorchEngine(path, device=device, threads=threads, batch=batch), batch=batch, flip=flip)
    return OnnxPose(path, device=device, threads=threads, batch=batch, flip=flip)


class HeatmapPose:
    """Keypoints by a network that gives a heatmap a keypoint.

    A network with a card is used as the card says (:class:`~posepipe.stages.pose_maps.ReadingCard`); it takes RGB in
    0..255. A network without one must take (N,3,H,W) and give (N,17,h,w) with H/h = W/w, and is assumed to be of the
    usual kind (SimpleBaseline, HRNet, FastPose): RGB normalised with ImageNet's mean and deviation, boxes padded by
    1.25, keypoints of COCO, maps with gaussians of peak 1 whose cells lie on the first of their pixels.

    Parameters
    ----------
    engine
        Runs the network.
    batch
        Crops in one call.
    flip
        Flip test: every crop is also looked at mirrored and the maps are averaged. Twice the time of the network.

    Attributes
    ----------
    weights
        The file.
    description
        What the network runs on.

    Raises
    ------
    WeightsError
        It is not such a network.
    """

    def __init__(self, engine: MapEngine, *, batch: int = 8, flip: bool = False) -> None:
        self._engine = engine
        self._batch = batch
        self._flip = flip
        self._normalise = not engine.card
        self._card = ReadingCard.of(engine.card, engine.path)
        self.skeleton: Skeleton = self._card.skeleton
        self.weights = engine.path
        self.description = engine.description + (", flip test" if flip else "")
        self._size = self._input_size()
        self._reader = MapReader(self._card, self._size, self._map_size())

    def _input_size(self) -> tuple[int, int]:
        shape = self._engine.shape
        if len(shape) != 3 or shape[0] != 3 or shape[1] is None or shape[2] is None:
            raise WeightsError(
                f"{self.weights} does not take person crops",
                got=f"input (N, {', '.join('?' if s is None else str(s) for s in shape)})",
                expected="(N, 3, height, width) of a fixed height and width",
            )
        return shape[1], shape[2]

    def _map_size(self) -> tuple[int, int]:
        """Run the network once on black crops, to see what comes out: (height, width) in cells."""
        maps = self._engine.run(np.zeros((1, 3, *self._size), np.float32))[0]
        height, width = self._size
        fits = maps.ndim == 4 and maps.shape[1] == len(self.skeleton) and min(maps.shape[2:]) >= 3
        if not fits or height * maps.shape[3] != width * maps.shape[2]:
            raise WeightsError(
                f"{self.weights} does not give heatmaps of the {len(self.skeleton)} keypoints of {self.skeleton.name}",
                got=f"first output {maps.shape} for an input of {self._size}",
                expected=f"(N, {len(self.skeleton)}, height / s, width / s)",
                hint="Networks that give coordinates cannot be used; SimCC ones need outputs simcc_x and simcc_y.",
            )
        return maps.shape[2], maps.shape[3]

    def estimate(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[Poses]:
        """Poses of the people of each frame, row for row with their detections; empty in, empty out."""
        boxes = np.concatenate([d.boxes for d in detections]) if detections else np.zeros((0, 4), np.float32)
        matrices = crop_affine(boxes, self._size, self._card.padding)
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
            maps = self._maps(images[start : start + self._batch], part)
            xy, score = self._reader.read(maps)
            placed = affine_points(invert_affine(part), xy)
            yield np.clip(placed, -_FARTHEST, _FARTHEST).astype(np.float32), score

    def _maps(self, images: list[NDArray[np.uint8]], matrices: NDArray[np.float64]) -> NDArray[np.floating]:
        """Maps (n,K,h,w) of people, averaged over the mirrored crops with a flip test."""
        crops = self._crops(images, matrices)
        if not self._flip:
            return self._engine.run(self._pixels(crops))[0]
        shift = self._reader.grid.mirror_shift
        moved = crops
        if abs(shift) > 1e-6:
            # Cut anew rather than rolled: what moves in at the edge is the picture, not the other edge.
            matrices = matrices.copy()
            matrices[:, 0, 2] += shift
            moved = self._crops(images, matrices)
        both = self._engine.run(self._pixels(np.concatenate([crops, moved[:, :, ::-1]])))[0]
        turned = self._reader.unmirror(both[len(crops) :])
        return np.asarray((both[: len(crops)].astype(np.float32) + turned) / 2, np.float32)

    def _crops(self, images: list[NDArray[np.uint8]], matrices: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.stack([cut_person(i, m, self._size) for i, m in zip(images, matrices, strict=True)])

    def _pixels(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops (n,h,w,3) uint8 -> network input (n,3,h,w) float32."""
        pixels: NDArray[np.float32] = crops.transpose(0, 3, 1, 2).astype(np.float32)
        if self._normalise:
            mean, std = np.array(_IMAGENET_MEAN, np.float32), np.array(_IMAGENET_STD, np.float32)
            pixels = (pixels - mean[:, None, None]) / std[:, None, None]
        return pixels


class OnnxPose(HeatmapPose):
    """A `HeatmapPose` from an ONNX file.

    Parameters
    ----------
    path
        The ONNX file.
    device, threads, batch
        As for :class:`Engine`; ``batch`` is the number of crops in one call.
    flip
        As for `HeatmapPose`.
    """

    def __init__(
        self, path: str | Path, *, device: str = "auto", threads: int = 0, batch: int = 8, flip: bool = False
    ) -> None:
        super().__init__(Engine(path, device=device, threads=threads, batch=batch), batch=batch, flip=flip)
