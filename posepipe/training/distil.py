"""Teachers: pose networks whose maps a student learns beside the labels (Hinton et al. 2015, on location maps).

A teacher sees the same augmented crop as the student, mirrored or not, so its maps need no mapping back; it never
learns. Any pose network file serves: a checkpoint of this project or a public one, an ONNX file with a card, or an
OpenVINO model of peak maps.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from posepipe.errors import MissingExtraError, WeightsError
from posepipe.heatmaps import CellGrid
from posepipe.models.blocks import IMAGENET, Normalise
from posepipe.models.openvino_graph import OpenVinoNetwork
from posepipe.models.pose_checkpoints import load_pose_checkpoint
from posepipe.models.sppe import PosteriorExport
from posepipe.training.recipe import DistilRecipe

__all__ = ["Teacher", "load_teacher"]

#: standard deviation, in cells, of the gaussians that public networks of peak maps learn
PEAK_SIGMA = 2.0
#: standard deviation, in cells, of the window in which a posterior's mass counts as one answer
_SIGMA = 2.0


class Teacher:
    """Maps and confidence of a pose network on crops.

    Parameters
    ----------
    run
        The network: float32 (N,3,H,W) RGB 0..255 to maps (N,K,h,w).
    size
        (height, width) of its input; None: any.
    posterior
        Whether its maps sum to 1; else they are peaks whose height is the confidence.
    cells
        Where its cells lie in the crop; see `posepipe.heatmaps.CellGrid`.

    Attributes
    ----------
    variant
        What its looks depend on beside its files.
    """

    variant = ""

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        size: tuple[int, int] | None,
        *,
        posterior: bool,
        cells: Literal["centre", "corner", "aligned"],
    ) -> None:
        self._run, self._size, self._posterior, self._cells = run, size, posterior, cells
        self._power = 1.0

    def sharpen_to(self, sigma: float) -> None:
        """Teach peak maps at a width of `sigma` cells.

        They are gaussians of 2 cells over a low but wide ground; summed over all cells the ground weighs as much as the
        peak. Raised to the power (2 / sigma)^2 the gaussian has that width, and the ground is gone.
        """
        if not self._posterior:
            self._power = (PEAK_SIGMA / sigma) ** 2

    def __deepcopy__(self, _memo: object) -> Teacher:
        # The moving average of the weights starts from a deep copy of the module under training; engines have none.
        return self

    def to(self, device: torch.device) -> None:
        """Move a network of this project to the student's device."""
        if isinstance(self._run, nn.Module):
            self._run.to(device)

    @torch.no_grad()
    def __call__(self, image: Tensor, maps: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """What the teacher sees, as it is taught.

        Parameters
        ----------
        image
            (N,3,H,W) float32 RGB 0..255.
        maps
            (h, w) of the student's maps, whose cells are centred on their pixels.

        Returns
        -------
        taught, confidence
            (N,K,h,w), each map summing to 1, and (N,K) in [0,1].
        """
        return self.teach(self.look(image, maps))

    @torch.no_grad()
    def look(self, image: Tensor, maps: tuple[int, int]) -> Tensor:
        """The teacher's own maps (N,K,h,w) of crops, on the student's cells; the greatest value is the confidence."""
        if self._size is not None and tuple(image.shape[2:]) != self._size:
            image = functional.interpolate(image, self._size, mode="bilinear", antialias=True)
        seen = self._run(image).float().clamp_min(0)
        confidence = _mass_about_peak(seen) if self._posterior else seen.amax((-2, -1)).clamp(0, 1)
        seen = self._on_students_cells(seen, (image.shape[2], image.shape[3]), maps)
        return seen * (confidence / seen.amax((-2, -1)).clamp_min(1e-9))[..., None, None]

    @torch.no_grad()
    def teach(self, seen: Tensor, zoom: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps to learn, and how sure the teacher is, of what `look` gave.

        Parameters
        ----------
        seen
            (N,K,h,w).
        zoom
            (N,) factor by which the maps were enlarged since, which their peaks must not be; None: 1.

        Returns
        -------
        As ``__call__``.
        """
        confidence = seen.amax((-2, -1))
        power = self._power if zoom is None else (self._power * zoom.square())[:, None, None, None]
        seen = (seen / confidence.clamp_min(1e-9)[..., None, None]) ** power
        return seen / seen.sum((-2, -1), keepdim=True).clamp_min(1e-9), confidence

    def _on_students_cells(self, seen: Tensor, crop: tuple[int, int], maps: tuple[int, int]) -> Tensor:
        """The teacher's maps read off where the student's cells lie (bilinear)."""
        height, width = seen.shape[2:]
        grid, own = (CellGrid.of(c, crop, size) for c, size in ((self._cells, (height, width)), ("centre", maps)))
        at = own.to_crop(np.stack(np.meshgrid(np.arange(maps[1]), np.arange(maps[0])), -1))
        cells = (at - grid.offset) / grid.scale
        if maps == (height, width) and np.allclose(cells, np.round(cells)):
            return seen
        places = torch.from_numpy(2 * cells / (np.array([width, height]) - 1) - 1).to(seen)
        places = places.expand(len(seen), -1, -1, -1)
        return functional.grid_sample(seen, places, mode="bilinear", padding_mode="border", align_corners=True)


class _Pair(Teacher):
    """Two teachers: of every joint the mean of what they teach, each weighted by how sure it is."""

    def __init__(self, first: Teacher, second: Teacher) -> None:
        # What they teach sums to 1 and has the student's width and cells already.
        super().__init__(first._run, None, posterior=True, cells="centre")
        self._both = (first, second)
        self.variant = f"at powers {first._power:g} and {second._power:g}"

    def to(self, device: torch.device) -> None:
        """Move both to the student's device."""
        for teacher in self._both:
            teacher.to(device)

    @torch.no_grad()
    def look(self, image: Tensor, maps: tuple[int, int]) -> Tensor:
        """The mean of both; its greatest value is the mean of how sure they are, each weighted by itself."""
        taught, sure = (torch.stack(parts) for parts in zip(*(t(image, maps) for t in self._both), strict=True))
        share = sure / sure.sum(0).clamp_min(1e-9)
        seen = (share[..., None, None] * taught).sum(0)
        return seen * ((share * sure).sum(0) / seen.amax((-2, -1)).clamp_min(1e-9))[..., None, None]


def _mass_about_peak(posterior: Tensor) -> Tensor:
    """The greatest share of a map (N,K,h,w) under a gaussian window of peak 1: (N,K) in [0,1].

    That is the expected similarity of the best answer, as `posepipe.heatmaps.decode_posterior` scores it.
    """
    reach = torch.arange(-6, 7, device=posterior.device)
    kernel = torch.exp(-(reach**2) / (2 * _SIGMA**2)).view(1, 1, -1, 1)
    flat = posterior.flatten(0, 1)[:, None]
    flat = functional.conv2d(flat, kernel, padding=(6, 0))
    flat = functional.conv2d(flat, kernel.transpose(2, 3), padding=(0, 6))
    return flat.amax((-3, -2, -1)).view(posterior.shape[:2]).clamp(0, 1)


def load_teacher(
    recipe: DistilRecipe, keypoints: int, size: tuple[int, int], threads: int, *, sigma: float = PEAK_SIGMA
) -> Teacher:
    """The teacher that a recipe names, or both of them as one.

    Parameters
    ----------
    recipe
        With a `teacher`.
    keypoints
        Maps that it must give, in the student's order.
    size
        (height, width) of the student's input.
    threads
        Of engines on the CPU.
    sigma
        Standard deviation of the student's targets, cells: peak maps are taught at this width.

    Raises
    ------
    WeightsError
        A file is missing, of an unknown kind, or gives other maps.
    MissingExtraError
        An .xml file without openvino.
    """
    teachers = [_load(path, keypoints, size, threads, sigma) for path in recipe.files]
    return teachers[0] if len(teachers) == 1 else _Pair(*teachers)


def _load(path: Path, keypoints: int, size: tuple[int, int], threads: int, sigma: float) -> Teacher:
    if not path.is_file():
        raise WeightsError(f"no such teacher: {path}", hint="Name a file in [distil] teacher or second")
    loaders = {".onnx": _onnx, ".xml": _openvino}
    teacher = loaders.get(path.suffix, _checkpoint)(path, threads)
    teacher.sharpen_to(sigma)
    taught, _ = teacher(torch.zeros(1, 3, *size), (size[0] // 4, size[1] // 4))
    if taught.shape[1] != keypoints:
        raise WeightsError(f"{path} gives {taught.shape[1]} maps", expected=f"{keypoints}")
    return teacher


def _checkpoint(path: Path, _threads: int) -> Teacher:
    """A network of a checkpoint, this project's or a public one."""
    network, card = load_pose_checkpoint(path)
    posterior = card["decode"] == "posterior"
    network.requires_grad_(False)
    run = PosteriorExport(network).eval() if posterior else network
    return Teacher(run, _vit_size(card), posterior=posterior, cells=card.get("cells", "centre"))


def _vit_size(card: dict[str, Any]) -> tuple[int, int] | None:
    """The input size of a network that takes only one."""
    fixed = str(card["network"]).startswith("vitpose")
    return (int(card["input_size"][0]), int(card["input_size"][1])) if fixed else None


def _onnx(path: Path, threads: int) -> Teacher:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads)
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        card: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map["posepipe"])
        size, posterior = (int(card["input_size"][0]), int(card["input_size"][1])), card["decode"] == "posterior"
    except Exception as error:  # onnxruntime raises classes of its own that it does not export
        raise WeightsError(f"{path} is no pose network with a card of posepipe: {error!r}") from error
    name = session.get_inputs()[0].name

    def run(image: Tensor) -> Tensor:
        maps: NDArray[np.float32] = session.run(None, {name: image.cpu().contiguous().numpy()})[0]
        return torch.from_numpy(maps).to(image.device)

    return Teacher(run, size, posterior=posterior, cells=card.get("cells", "centre"))


def _openvino(path: Path, threads: int) -> Teacher:
    """A model of PaddleDetection: OpenVINO runs it on a CPU, torch beside a student on a GPU."""
    graph = OpenVinoNetwork(path)
    if torch.cuda.is_available():
        return Teacher(nn.Sequential(Normalise(IMAGENET), graph).eval(), graph.size, posterior=False, cells="corner")
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(f"the teacher {path.name}", "bench") from error
    try:
        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": max(1, threads)})
    except Exception as error:  # openvino raises plain RuntimeError of many kinds
        raise WeightsError(f"cannot read the OpenVINO model {path}: {error}") from error
    normalise = Normalise(IMAGENET)

    def run(image: Tensor) -> Tensor:
        pixels = normalise(image.cpu())
        # The model is for one picture at a time.
        maps = np.concatenate([compiled([one[None].numpy()])[0] for one in pixels])
        return torch.from_numpy(maps).to(image.device)

    return Teacher(run, graph.size, posterior=False, cells="corner")
