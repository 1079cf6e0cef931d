"""A slim detector that imitates the published one: its first weights, and its training.

The slim network differs in two places only, the layers before stride 4 and those of neck and head at stride 8. First
they learn to give what the published layers give for the published inputs, each for itself; then the whole network
learns the published one's answers. Pictures are enough: no label is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from posepipe.config import cache_root, data_root
from posepipe.datasets.box_samples import Views
from posepipe.datasets.boxes import BoxedImage
from posepipe.datasets.order import MixedOrder
from posepipe.models.detector import PersonDetector, anchor_points, cell_scores, decode_boxes
from posepipe.models.picodet_weights import load_picodet_package
from posepipe.models.pose_files import fill, read_tensors
from posepipe.training.detector import DetectorModule, Stretched, collate
from posepipe.training.detector_data import training_pictures, validation_boxes
from posepipe.training.detector_export import detector_session, onnx_graph
from posepipe.training.detector_loss import BOX_WEIGHT, SIDES_WEIGHT, generalised_iou
from posepipe.training.detector_narrow import slimmed
from posepipe.training.engine import Run, TrainingData, averaged_weights, fit
from posepipe.training.recipe import SlimDetectorRecipe
from posepipe.training.table import to_table

__all__ = ["SlimModule", "imitation_loss", "train_slim_detector"]

FEATURES_WEIGHT = 4.0
"""Weight of the features' squared error (relative to their variance) beside the score's 1."""

START_VIEWS = 48
"""Views on which the first weights are fitted."""

Logits = tuple[Tensor, Tensor, Tensor]


def imitation_loss(guess: Logits, wanted: Logits, points: Tensor, strides: Tensor) -> Tensor:
    """How far a network's answers are from another's: score, boxes and the distributions of their sides.

    Parameters
    ----------
    guess, wanted
        Person logits (N,A), quality logits (N,A) and side logits (N,A,4,BINS).
    points, strides
        Of the cells, from ``anchor_points``.

    Returns
    -------
    A scalar: sums over cells divided by the batch's sum of wanted scores; boxes count by the wanted score.
    """
    score = cell_scores(*wanted[:2])
    log_score = (functional.logsigmoid(guess[0]) + functional.logsigmoid(guess[1])) / 2
    log_rest = torch.log1p(-log_score.exp().clamp_max(1 - 1e-6))
    cross = -(score * log_score + (1 - score) * log_rest)
    entropy = -(torch.xlogy(score, score) + torch.xlogy(1 - score, 1 - score))
    boxes, aims = (decode_boxes(sides, points, strides).reshape(-1, 4) for sides in (guess[2], wanted[2]))
    box = (1 - generalised_iou(boxes, aims)).reshape(score.shape)
    sides = functional.kl_div(
        guess[2].log_softmax(-1), wanted[2].log_softmax(-1), reduction="none", log_target=True
    ).sum(-1).mean(-1)  # fmt: skip
    parts = cross - entropy + score * (BOX_WEIGHT * box + SIDES_WEIGHT * sides)
    return parts.sum() / score.sum().clamp_min(1.0)


def relative_error(guess: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error over the variance of what is wanted."""
    return functional.mse_loss(guess, wanted) / wanted.var().clamp_min(1e-9)


class Taps(nn.Module):
    """What the slim network learns from: features before and after the changed layers, and the answers."""

    NAMES = ("p8", "u16", "d16", "person", "quality", "sides")

    def __init__(self, network: PersonDetector) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N,3,H,W) -> features at stride 8, what comes down to them, what goes up from them; the logits."""
        neck = self.network.neck
        features = self.network.backbone.late(self.network.early(image))
        u16, c32 = neck.top_down(features)
        fine = neck.finest(features[0], u16)
        maps = neck.bottom_up(fine, u16, c32)
        return (features[0], u16, neck.down16(fine), *self.network.answers(maps))


class SlimModule(DetectorModule):
    """A slim `PersonDetector` that imitates the published one.

    Parameters
    ----------
    network
        Under training.
    teacher
        The published network.
    recipe, validation
        As `DetectorModule` takes them.
    """

    def __init__(
        self,
        network: PersonDetector,
        teacher: PersonDetector,
        recipe: SlimDetectorRecipe,
        validation: Sequence[BoxedImage],
    ) -> None:
        super().__init__(network, recipe, validation)
        self.whole, self.rest_rate = recipe.whole, recipe.rest_rate
        network.requires_grad_(recipe.whole)
        if not recipe.whole:
            for part in changed_layers(network):
                part.requires_grad_(True)
        # A list keeps it out of this module's own weights.
        self._teacher = [Taps(teacher).eval().requires_grad_(False)]
        self._session: onnxruntime.InferenceSession | None = None

    def _taps(self, image: Tensor) -> list[Tensor]:
        """The teacher's features and answers; by ONNX Runtime on a CPU, where torch takes several times as long."""
        if image.is_cuda:
            with torch.no_grad():
                return list(self._teacher[0].to(image.device)(image))
        if self._session is None:
            self._session = taps_session(self._teacher[0], self.size, max(1, self.recipe.threads))
        values = self._session.run(None, {"image": image.contiguous().numpy()})
        return [torch.from_numpy(value) for value in values]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The changed layers, and the others at a lower rate: trained at the same one they forget what they know."""
        changed = {id(p) for layer in changed_layers(self.network) for p in layer.parameters()}
        groups = []
        for group in super().parameter_groups():
            for rate, inside in ((1.0, True), (self.rest_rate, False)):
                params = [p for p in group["params"] if (id(p) in changed) == inside]
                if params:
                    groups.append(group | {"params": params, "lr": self.recipe.learning_rate * rate})
        return groups

    def training_step(self, batch: dict[str, Tensor], _index: int) -> Tensor:
        """Loss of a batch of views."""
        image = batch["image"].permute(0, 3, 1, 2).float()
        p8, u16, d16, *wanted = self._taps(image)
        network, neck = self.network, self.network.neck
        feature = network.early(image.contiguous(memory_format=torch.channels_last))
        if self.whole:
            below, c32 = neck.top_down(network.backbone.late(feature))
            fine = neck.finest(feature, below)
            guess = network.answers(neck.bottom_up(fine, below, c32))
        else:
            fine = neck.finest(*(part.contiguous(memory_format=torch.channels_last) for part in (p8, u16)))
            guess = network.heads[0](fine)
        cells = guess[0].shape[1]
        points, strides = (part[:cells].to(self.device) for part in anchor_points(self.size, self.size))
        answers = imitation_loss(guess, cast("Logits", tuple(part[:, :cells] for part in wanted)), points, strides)
        before, after = relative_error(feature, p8), relative_error(neck.down16(fine), d16)
        loss = answers + FEATURES_WEIGHT * (before + after)
        for name, value in (("answers", answers), ("before", before), ("after", after), ("loss", loss)):
            self.log(f"train_{name}", value.detach(), on_step=False, on_epoch=True, batch_size=len(image))
        return loss


def changed_layers(network: PersonDetector) -> list[nn.Module]:
    """The layers in which the slim network differs from the published one."""
    neck = network.neck
    return [
        network.backbone.stem, network.backbone.stage4, network.backbone.stage8,
        neck.lateral[0], neck.narrow, neck.up8, neck.down16, network.heads[0],
    ]  # fmt: skip


def taps_session(taps: Taps, size: int, threads: int) -> onnxruntime.InferenceSession:
    """A CPU session of the teacher."""
    return detector_session(onnx_graph(taps, size, Taps.NAMES), threads)


def train_slim_detector(
    recipe: SlimDetectorRecipe, folder: Path, *, resume: bool = True, allow_leaks: bool = False
) -> Path:
    """Train a slim detector by a recipe; returns the best checkpoint."""
    torch.manual_seed(recipe.engine.seed)
    root = Path(recipe.data) if recipe.data else data_root()
    teacher = PersonDetector()
    fill(teacher, read_tensors(Path(recipe.teacher))[0], Path(recipe.teacher))
    held = validation_boxes(root, load_picodet_package(Path(recipe.package)), cache_root() / "second_opinions")
    pictures = training_pictures(root)
    views = Views(pictures, recipe.size, (recipe.zoom_out, recipe.zoom_in), recipe.mosaic)
    data = TrainingData(views, MixedOrder(len(views), recipe.engine.seed, recipe.samples), collate)
    if recipe.start:
        start, network = Path(recipe.start), PersonDetector(slim=True)
        fill(network, averaged_weights(start) if start.suffix == ".ckpt" else read_tensors(start)[0], start)
    else:
        keys = list(MixedOrder(len(views), recipe.engine.seed, START_VIEWS))
        image = collate([views[key] for key in keys])["image"].permute(0, 3, 1, 2).float()
        network = slimmed(teacher, image)
    validation: DataLoader[Any] = DataLoader(Stretched(held), batch_size=8)  # type: ignore[arg-type]
    print(f"{len(pictures)} pictures to learn on, {len(held)} to validate on", flush=True)
    run = Run(folder, {"kind": "slim_detector", **to_table(recipe)}, resume)
    return fit(SlimModule(network, teacher, recipe, held), data, validation, recipe.engine, run)
