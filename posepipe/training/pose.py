"""Training of a pose network: module, start weights, data, run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from posepipe.config import cache_root
from posepipe.datasets.augmentation import Augmentation
from posepipe.datasets.crops import CropCache, load_crops
from posepipe.datasets.keypoints import KeypointSamples
from posepipe.datasets.order import MixedOrder
from posepipe.datasets.people import Person
from posepipe.errors import UsageError, WeightsError
from posepipe.heatmaps import decode_peaks, decode_posterior, oks_kernel_sigmas
from posepipe.models.blocks import Normalise
from posepipe.models.pose_checkpoints import load_pose_checkpoint, pose_card
from posepipe.models.pose_networks import pose_network
from posepipe.models.sppe import SppeSmall
from posepipe.skeleton import COCO17
from posepipe.training.distil import Teacher, load_teacher
from posepipe.training.engine import EngineModule, Run, TrainingData, fit, loading
from posepipe.training.frozen_stem import FrozenStem
from posepipe.training.lessons import load_lessons, recall
from posepipe.training.pose_loss import gaussian_loss, posterior_loss, teacher_loss
from posepipe.training.pose_sources import LabelledPeople, training_people
from posepipe.training.recipe import PoseRecipe, pose_file
from posepipe.training.starts import MOVENET_PACKAGE_SHA256, load_movenet, read_tfjs_package, verify_sha256
from posepipe.training.table import to_table

__all__ = ["PoseModule", "crop_size", "network_card", "start_network", "train_pose"]

STRIDE = 4
#: resolution of the crop cache for inputs of its shape that are no larger: recipes of several sizes read the same one
CACHE_SIZE = (256, 192)
#: least trust at which a joint counts in validation, and least number of such joints of a person that counts
CERTAIN, LEAST_JOINTS = 0.35, 5


class PoseModule(EngineModule):
    """A pose network under training; validates with the OKS of its decoded maps."""

    def __init__(self, network: nn.Module, recipe: PoseRecipe, teacher: Teacher | None = None) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), recipe.engine)
        self.pose_recipe = recipe
        self.teacher = teacher
        if isinstance(network, SppeSmall):
            network.freeze(recipe.frozen_layers)
        self._stem: FrozenStem | None = None
        self._oks: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trunk with its own learning rate."""
        trunk = {id(p) for name, p in self.network.named_parameters() if name.startswith("trunk.")}
        groups = []
        for group in super().parameter_groups():
            for inside in (True, False):
                params = [p for p in group["params"] if (id(p) in trunk) == inside]
                rate = self.recipe.learning_rate * (self.pose_recipe.trunk_rate if inside else 1.0)
                if params:
                    groups.append({"params": params, "weight_decay": group["weight_decay"], "lr": rate})
        return groups

    def on_fit_start(self) -> None:
        """Bring the teacher to the network's device."""
        if self.teacher is not None:
            self.teacher.to(self.device)

    def forward(self, image: Tensor) -> Tensor:
        """Maps of (N,3,H,W) float32 crops, RGB 0..255."""
        network = self.network
        if not isinstance(network, SppeSmall) or network.frozen_layers == 0 or image.is_cuda:
            whole: Tensor = network(image)
            return whole
        if self._stem is None:
            size = (self.pose_recipe.height, self.pose_recipe.width)
            self._stem = FrozenStem(network, size, max(1, self.recipe.threads))
        return network.finish(self._stem(image))

    def _loss(self, maps: Tensor, batch: dict[str, Tensor], absent: Tensor) -> Tensor:
        loss = posterior_loss if self.pose_recipe.target == "posterior" else gaussian_loss
        return loss(maps.float(), batch["cells"], batch["located"], absent, self.pose_recipe.sigma)

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        """Loss of a batch of `KeypointSamples`, and of the teacher's maps where there is one."""
        image = _pixels(batch)
        maps = self(image)
        if self.teacher is None:
            loss = self._loss(maps, batch, batch["absent"])
        else:
            recipe = self.pose_recipe.distil
            seen_before = "lesson" in batch
            taught, confidence = recall(self.teacher, batch) if seen_before else self.teacher(image, maps.shape[2:])
            # Where the teacher sees a joint that labels lack, nothing should say that it cannot be seen.
            label_loss = self._loss(maps, batch, batch["absent"] * (1 - confidence))
            weight = torch.where(batch["located"] > 0, recipe.labelled_weight, recipe.weight)
            weight = weight * batch["shown"] if seen_before else weight
            lesson = teacher_loss(maps.float(), self.pose_recipe.target, taught, confidence, weight)
            self.log("train_teacher", lesson, on_step=False, on_epoch=True, batch_size=len(maps), sync_dist=True)
            loss = label_loss + lesson
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(maps), sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        """Keep each person's OKS, and whether people labelled it."""
        maps = self(_pixels(batch)).float()
        self.log("val_loss", self._loss(maps, batch, batch["absent"]), batch_size=len(maps))
        xy = self._decode(maps)
        labelled = batch["located"].cpu().numpy() > CERTAIN
        distance = ((xy - batch["cells"].cpu().numpy()) ** 2).sum(-1)
        area = batch["area"].cpu().numpy()[:, None]
        similarity = np.exp(-distance / (8 * np.square(COCO17.sigmas) * area)) * labelled
        oks = similarity.sum(-1) / np.maximum(labelled.sum(-1), 1)
        use = labelled.sum(-1) >= LEAST_JOINTS
        self._oks.append((oks[use], batch["by_people"].cpu().numpy()[use]))

    def _decode(self, maps: Tensor) -> NDArray[np.float32]:
        """Joints (N,K,2) in cells."""
        if self.pose_recipe.target == "gaussian":
            return decode_peaks(maps.cpu().numpy())[0]
        posterior = maps.flatten(2).softmax(-1).view_as(maps).cpu().numpy()
        size = (self.pose_recipe.height, self.pose_recipe.width)
        kernels = oks_kernel_sigmas(np.array(COCO17.sigmas), size, STRIDE, self.pose_recipe.padding)
        return decode_posterior(posterior, kernels, self.pose_recipe.sigma)[0]

    def on_validation_epoch_end(self) -> None:
        """Log the mean OKS over people with at least 5 joints: labelled by people, by a network, and their mean.

        Where only one kind is there, its mean is the score.
        """
        oks, human = (np.concatenate(part) for part in zip(*self._oks, strict=True))
        self._oks.clear()
        means = {
            name: float(oks[human == kind].mean())
            for name, kind in (("val_human", True), ("val_teacher", False))
            if (human == kind).any()
        }
        for name, value in means.items():
            self.log(name, value)
        self.log("val_score", sum(means.values()) / max(1, len(means)))


def _pixels(batch: dict[str, Tensor]) -> Tensor:
    """A batch's pictures as networks take them: (N,3,H,W) float32 RGB 0..255, channels last in memory."""
    return batch["image"].permute(0, 3, 1, 2).float()


def start_network(recipe: PoseRecipe) -> nn.Module:
    """The recipe's network with its start weights.

    Raises
    ------
    UsageError
        There is no such network, or it cannot start from that.
    WeightsError
        The weights are missing, damaged or of another network.
    """
    torch.manual_seed(recipe.engine.seed)
    backbone = Path(recipe.backbone) if recipe.backbone else None
    network = pose_network(
        recipe.network, len(COCO17), (recipe.height, recipe.width), backbone_weights=None if recipe.start else backbone
    )
    if recipe.start == "movenet":
        if not isinstance(network, SppeSmall):
            raise UsageError("start = 'movenet' needs the network 'sppe_small'", got=recipe.network)
        package = Path(recipe.package)
        verify_sha256(package, MOVENET_PACKAGE_SHA256)
        load_movenet(network, read_tfjs_package(package))
    elif recipe.start:
        loaded, card = load_pose_checkpoint(pose_file(recipe.start))
        if card["network"] != recipe.network:
            raise UsageError(f"{recipe.start} holds another network", got=card["network"], expected=recipe.network)
        if card.get("skeleton") != COCO17.name:
            raise WeightsError(
                f"{recipe.start} is for other joints", expected=f"the {len(COCO17)} of COCO in their order"
            )
        return loaded.train()
    return network


def network_card(network: nn.Module, recipe: PoseRecipe) -> dict[str, Any]:
    """What a reader of the network's maps must know; see `posepipe.models.pose_checkpoints.pose_card`."""
    decode = "posterior" if recipe.target == "posterior" else "dark"
    size = (recipe.height, recipe.width)
    card = pose_card(recipe.network, len(COCO17), size, decode=decode, sigma=recipe.sigma, padding=recipe.padding)
    normalise = getattr(network, "normalise", None)
    if isinstance(normalise, Normalise):
        card |= {"mean": normalise.mean.flatten().tolist(), "deviation": normalise.deviation.flatten().tolist()}
    return card


def crop_size(recipe: PoseRecipe) -> tuple[int, int]:
    """(height, width) px for which crops are cached: never smaller than the recipe's input, nor of another shape."""
    height, width = recipe.height, recipe.width
    shared = height * CACHE_SIZE[1] == width * CACHE_SIZE[0] and height <= CACHE_SIZE[0]
    return CACHE_SIZE if shared else (height, width)


def _crops(people: Sequence[Person], recipe: PoseRecipe) -> CropCache:
    return load_crops(people, crop_size(recipe), recipe.padding, cache_root() / "crops")


def _samples(crops: CropCache, recipe: PoseRecipe, augmentation: Augmentation | None) -> KeypointSamples:
    size = (recipe.height, recipe.width)
    return KeypointSamples(crops, size, stride=STRIDE, padding=recipe.padding, augmentation=augmentation)


def _training_data(known: LabelledPeople, recipe: PoseRecipe, teacher: Teacher | None) -> TrainingData:
    order = MixedOrder(
        len(known.people),
        recipe.engine.seed,
        recipe.samples or None,
        groups=[person.group for person in known.people],
        repeat=known.repeat,
    )
    crops = _crops(known.people, recipe)
    samples = _samples(crops, recipe, recipe.augmentation)
    if teacher is not None and recipe.distil.once:
        upright = _samples(crops, recipe, None)
        samples.lessons = load_lessons(teacher, recipe.distil.files, known.people, upright, cache_root() / "crops")
    return TrainingData(samples, order)


def train_pose(recipe: PoseRecipe, folder: Path, *, resume: bool = True, allow_leaks: bool = False) -> Path:
    """Train by a recipe; returns the best checkpoint.

    Parameters
    ----------
    recipe
        What to train on what.
    folder
        The run folder.
    resume
        Go on where a training in that folder stopped.
    allow_leaks
        Train even though pictures or videos stand on both sides of the split; said in SUMMARY.md and checkpoints.

    Raises
    ------
    PosepipeError
        Data, weights or settings are wrong; see `training_people`, `start_network`, `fit`.
    """
    network, teacher = start_network(recipe), None
    if recipe.distil.teacher:
        size = (recipe.height, recipe.width)
        teacher = load_teacher(recipe.distil, len(COCO17), size, recipe.engine.threads, sigma=recipe.sigma)
    known, held, notes = training_people(recipe, allow_leaks=allow_leaks)
    print(f"{len(known.people)} people to train on, {len(held.people)} to validate on", flush=True)
    data = _training_data(known, recipe, teacher)
    validation: DataLoader[Any] = DataLoader(
        _samples(_crops(held.people, recipe), recipe, None),  # type: ignore[arg-type]
        batch_size=32,
        **loading(recipe.engine),
    )
    run = Run(folder, {"kind": "pose", **to_table(recipe)}, resume, notes, network_card(network, recipe))
    return fit(PoseModule(network, recipe, teacher), data, validation, recipe.engine, run)
