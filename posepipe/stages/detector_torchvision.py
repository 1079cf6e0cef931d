"""torchvision's COCO detectors, and its Keypoint R-CNN for both stages (extra ``posepipe[torch]``)."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import MissingExtraError, UsageError, WeightsError
from posepipe.io.zoo import fetched, problem_of, public_weights
from posepipe.skeleton import COCO17
from posepipe.stages.detector import people_boxes
from posepipe.stages.engine import first_line
from posepipe.stages.one_stage import OneStage
from posepipe.stages.torch_engine import inference, torch_device
from posepipe.types import Detections, Frame, Poses

__all__ = ["KeypointRcnn", "TorchvisionDetector", "open_torchvision"]

# Category 1 of COCO, the only one of Keypoint R-CNN.
_PERSON = 1
# Keypoint R-CNN scores keypoints by logits; from here on Detectron takes one as seen (its ``kp_thresh``).
_SEEN_LOGIT = 2.0


def open_torchvision(
    name: str, *, device: str = "auto", threads: int = 0, score: float = 0.4, max_people: int = 50
) -> TorchvisionDetector:
    """A detector by its name in ``torchvision.models.detection``; a :class:`KeypointRcnn` for that network.

    Parameters
    ----------
    name
        Such as ``fasterrcnn_mobilenet_v3_large_320_fpn``, or ``NAME:FILE`` with a file of its weights (a state
        dictionary). Without a file, torchvision's own weights are used, if they were fetched.
    device
        ``cpu``, ``cuda``, or ``auto`` for CUDA where torch has it.
    threads
        Threads on the CPU; 0 = as torch is set.
    score
        Least score of a person.
    max_people
        Most people in a frame.

    Raises
    ------
    MissingExtraError
        torch or torchvision is not installed.
    UsageError
        The name or the device is unknown.
    WeightsError
        The weights are missing, or do not fit the network.
    """
    feature = f"torchvision:{name}"
    on = torch_device(device, feature, "torch")
    try:
        import torchvision
    except ImportError as error:
        raise MissingExtraError(feature, "torch") from error
    name, _, file = name.partition(":")
    known = torchvision.models.list_models(module=torchvision.models.detection)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"torchvision has no detector {name!r}",
            expected=f"one of {', '.join(known)}",
            hint=f"Did you mean {near[0]!r}?" if near else None,
        )
    path = Path(file) if file else _default_weights(name)
    network = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    _load(network, name, path)
    network = network.eval().requires_grad_(False).to(on)
    description = f"torchvision {torchvision.__version__} {on}"
    kind = KeypointRcnn if name.startswith("keypointrcnn") else TorchvisionDetector
    return kind(network, path, description, threads, score, max_people)


class TorchvisionDetector:
    """People by a detection network of torchvision; made by :func:`open_torchvision`."""

    def __init__(
        self, network: Any, weights: Path, description: str, threads: int, score: float, max_people: int
    ) -> None:
        self._network, self._threads = network, threads
        self._least, self._most = score, max_people
        self.weights = weights
        self.description = description

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; empty where there are none."""
        return self._look(frame)[0]

    def _look(self, frame: Frame) -> tuple[Detections, dict[str, NDArray[Any]]]:
        """People of one frame, and the rows of all that the network says of them."""
        import torch

        device = next(self._network.parameters()).device
        with inference(self._threads):
            pixels = torch.from_numpy(frame.image.copy()).to(device).permute(2, 0, 1).float() / 255
            found = {key: value.float().cpu().numpy() for key, value in self._network([pixels])[0].items()}
        score = np.where(found["labels"] == _PERSON, found["scores"], 0)
        people, rows = people_boxes(
            found["boxes"], score, frame.image.shape[:2], least=self._least, overlap=1.0, most=self._most
        )
        return people, {key: value[rows] for key, value in found.items()}


class KeypointRcnn(TorchvisionDetector, OneStage):
    """People and their keypoints by Keypoint R-CNN: a detector that is a pose estimator too.

    Its keypoint scores are logits of unbounded range; here the logit of 2 that Detectron takes for seen reads 0.5.
    """

    def __init__(
        self, network: Any, weights: Path, description: str, threads: int, score: float, max_people: int
    ) -> None:
        TorchvisionDetector.__init__(self, network, weights, description, threads, score, max_people)
        OneStage.__init__(self)

    def detect(self, frame: Frame) -> Detections:
        """People of one frame, best score first; their keypoints are kept for ``estimate``."""
        return OneStage.detect(self, frame)

    def find(self, frame: Frame) -> Poses:
        """People of one frame with their keypoints, best box score first."""
        people, found = self._look(frame)
        if not len(people):
            return Poses.empty(COCO17)
        logit = np.clip(found["keypoints_scores"] - _SEEN_LOGIT, -30, 30)
        score = (1 / (1 + np.exp(-logit))).astype(np.float32)
        return Poses(found["keypoints"][..., :2], score, people.boxes, people.score, COCO17)


def _default_weights(name: str) -> Path:
    """The published weights of a network, as ``posepipe models fetch`` or torch itself has put them on this computer.

    Raises `WeightsError` where they are not there: nothing is downloaded while people work.
    """
    import torch

    entry = public_weights().get(name)
    if entry is None:
        raise WeightsError(
            f"no published weights of torchvision's {name} are known", hint=f"Give their path: torchvision:{name}:FILE"
        )
    of_torch = Path(torch.hub.get_dir()) / "checkpoints" / entry.urls[0].rsplit("/", 1)[-1]
    if not entry.path.is_file() and of_torch.is_file() and problem_of(entry, of_torch) is None:
        return of_torch
    return fetched(name)


def _load(network: Any, name: str, path: Path) -> None:
    """Load a state dictionary, or a training checkpoint with one under ``model``; only tensors are read."""
    import torch

    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}", hint=f"Give its path: torchvision:{name}:FILE")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state["model"] if isinstance(state.get("model"), dict) else state)
    # A damaged or foreign file fails in many ways, each of its own class.
    except Exception as error:
        raise WeightsError(f"{path} does not hold the weights of torchvision's {name}: {first_line(error)}") from error
