"""Training of the person detector: module, data, run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from posepipe.config import cache_root, data_root
from posepipe.datasets.box_samples import BoxSample, Views, read_rgb, stretch
from posepipe.datasets.boxes import BoxedImage, Opinion
from posepipe.datasets.order import MixedOrder
from posepipe.geometry import nms
from posepipe.models.detector import PersonDetector, anchor_points, cell_scores, decode_boxes
from posepipe.models.picodet_weights import load_picodet_package
from posepipe.models.pose_files import fill, read_tensors
from posepipe.training.detector_choice import (
    LEAST_SCORE,
    MOST_BOXES,
    SUPPRESS_IOU,
    precision_by_source,
    validation_score,
)
from posepipe.training.detector_data import SIZE, training_boxes
from posepipe.training.detector_export import detector_session, onnx_graph
from posepipe.training.detector_loss import detector_loss
from posepipe.training.engine import EngineModule, Run, TrainingData, averaged_weights, fit
from posepipe.training.recipe import DetectorRecipe
from posepipe.training.table import to_table

__all__ = ["DetectorModule", "Stretched", "collate", "train_detector"]


def collate(samples: Sequence[BoxSample]) -> dict[str, Tensor]:
    """A batch: ``image`` (N,S,S,3) uint8, ``boxes`` (N,M,4), ``kind`` (N,M): 1 person, -1 ignored, 0 padding."""
    most = max((len(sample.boxes) for sample in samples), default=0)
    boxes = np.zeros((len(samples), most, 4), np.float32)
    kind = np.zeros((len(samples), most), np.int64)
    for row, sample in enumerate(samples):
        boxes[row, : len(sample.boxes)] = sample.boxes
        kind[row, : len(sample.boxes)] = np.where(sample.ignore, -1, 1)
    image = np.stack([sample.image for sample in samples])
    return {"image": torch.from_numpy(image), "boxes": torch.from_numpy(boxes), "kind": torch.from_numpy(kind)}


class Stretched:
    """Validation pictures, stretched to the network's input: (index, (3,S,S) float32)."""

    def __init__(self, images: Sequence[BoxedImage]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, NDArray[np.float32], NDArray[np.floating]]:
        image = read_rgb(self.images[index].path)
        height, width = image.shape[:2]
        factor = np.array([width, height, width, height], np.float32) / SIZE
        return index, stretch(image, SIZE).transpose(2, 0, 1).astype(np.float32), factor


class _Early(nn.Module):
    def __init__(self, network: PersonDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.early(image)


def _early_session(network: PersonDetector, size: int, threads: int) -> onnxruntime.InferenceSession:
    """The frozen early layers on ONNX Runtime: several times as fast as torch on a CPU."""
    return detector_session(onnx_graph(_Early(network), size, ("p8",)), threads)


class DetectorModule(EngineModule):
    """A `PersonDetector` under training; the early layers stay as they are. Validates with average precision.

    The batches are small and the weights carry no batch norm, so nothing else is frozen.
    """

    network: PersonDetector

    def __init__(self, network: PersonDetector, recipe: DetectorRecipe, validation: Sequence[BoxedImage]) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), recipe.engine)
        self.validation = validation
        for part in (network.backbone.stem, network.backbone.stage4, network.backbone.stage8):
            part.requires_grad_(False)
        self.size = recipe.size
        # Made at the first step: the average of the weights starts from a deep copy of this module.
        self._early: onnxruntime.InferenceSession | None = None
        self._seen: dict[int, Opinion] = {}

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        """Loss of a batch of views."""
        image = batch["image"].permute(0, 3, 1, 2).float()
        if image.is_cuda:
            p8 = self.network.early(image)
        else:
            if self._early is None:
                self._early = _early_session(self.network, self.size, max(1, self.recipe.threads))
            p8 = torch.from_numpy(self._early.run(None, {"image": image.contiguous().numpy()})[0])
        outputs = self.network.finish(p8.contiguous(memory_format=torch.channels_last))
        points, strides = (part.to(self.device) for part in anchor_points(self.size, self.size))
        parts = detector_loss(outputs, points, strides, batch["boxes"], batch["kind"])
        for name, value in parts.items():
            self.log(f"train_{name}", value.detach(), on_step=False, on_epoch=True, batch_size=len(image))
        return parts["loss"]

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _index: int) -> None:
        """Keep the suppressed boxes of every picture, in its own pixels."""
        index, image, factor = batch
        answers = self.network(image.contiguous(memory_format=torch.channels_last))
        person, quality, sides = (part.float() for part in answers)
        points, strides = (part.to(self.device) for part in anchor_points(SIZE, SIZE))
        boxes, score = decode_boxes(sides, points, strides), cell_scores(person, quality)
        boxes = boxes.clamp(0, SIZE) * factor[:, None]
        for row, number in enumerate(index.tolist()):
            kept = torch.nonzero(score[row] > LEAST_SCORE)[:, 0]
            some, value = boxes[row, kept].cpu().numpy(), score[row, kept].cpu().numpy()
            best = nms(some, value, SUPPRESS_IOU)[:MOST_BOXES]
            self._seen[number] = Opinion(some[best], value[best])

    def on_validation_epoch_end(self) -> None:
        """Log the average precision on every set, and the figure that chooses."""
        figures = precision_by_source(self.validation, [self._seen[n] for n in range(len(self.validation))])
        self._seen.clear()
        for source, value in figures.items():
            self.log(f"val_{source}", value)
        self.log("val_score", validation_score(figures))


def train_detector(recipe: DetectorRecipe, folder: Path, *, resume: bool = True, allow_leaks: bool = False) -> Path:
    """Train by a recipe on the data folder; returns the best checkpoint."""
    torch.manual_seed(recipe.engine.seed)
    root = Path(recipe.data) if recipe.data else data_root()
    published = load_picodet_package(Path(recipe.package))
    training, held = training_boxes(root, published, cache_root() / "second_opinions")
    network = published
    if recipe.start != "picodet":
        network = PersonDetector()
        start = Path(recipe.start)
        fill(network, averaged_weights(start) if start.suffix == ".ckpt" else read_tensors(start)[0], start)
    views = Views(training, recipe.size, (recipe.zoom_out, recipe.zoom_in), recipe.mosaic)
    data = TrainingData(views, MixedOrder(len(views), recipe.engine.seed, recipe.samples), collate)
    validation: DataLoader[Any] = DataLoader(Stretched(held), batch_size=8)  # type: ignore[arg-type]
    print(f"{len(training)} pictures to train on, {len(held)} to validate on", flush=True)
    run = Run(folder, {"kind": "detector", **to_table(recipe)}, resume)
    return fit(DetectorModule(network, recipe, held), data, validation, recipe.engine, run)
