"""Running torch networks: choosing the device, keeping to a number of threads, and pose checkpoints as an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import MissingExtraError, UsageError, WeightsError

__all__ = ["TorchEngine", "inference", "torch_device"]


def torch_device(device: str, feature: str, extra: str) -> str:
    """``cpu`` or ``cuda``, whichever is meant and to be had.

    Parameters
    ----------
    device
        ``cpu``, ``cuda``, or ``auto`` for CUDA where torch has it.
    feature, extra
        What needs torch, and the extra that brings it.

    Raises
    ------
    MissingExtraError
        torch is not installed.
    UsageError
        ``device`` is unknown, or is ``cuda`` and torch sees none.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(feature, extra) from error
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError("unknown device", got=repr(device), expected="auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device cuda is not available: torch {torch.__version__} sees no CUDA",
            hint="Install a CUDA build of torch (https://pytorch.org/get-started), or use --device cpu",
        )
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def inference(threads: int) -> Iterator[None]:
    """Run torch without gradients and on ``threads`` threads (0 = as many as it is set to), then set it back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


class TorchEngine:
    """A pose network out of a torch checkpoint, with what `posepipe.stages.pose.HeatmapPose` asks of an engine.

    Parameters
    ----------
    path
        A checkpoint that `posepipe.models.pose_checkpoints.load_pose_checkpoint` opens.
    device
        ``cpu``, ``cuda``, or ``auto`` for CUDA where torch has it.
    threads
        Threads on the CPU; 0 = as torch is set.
    batch
        Crops in one call on CUDA. On the CPU they go one by one: torch's results depend on the size of a batch, and a
        person's must not depend on who else is in the picture.

    Attributes
    ----------
    path, description
        The file, and what the network runs on.
    card
        How crops are cut and maps are read.
    shape
        Input shape without the batch axis.

    Raises
    ------
    MissingExtraError
        torch is not installed.
    UsageError
        CUDA is asked for and torch sees none.
    WeightsError
        The file is not a checkpoint of a known pose network.
    """

    def __init__(self, path: str | Path, *, device: str = "auto", threads: int = 0, batch: int = 8) -> None:
        feature = f"the torch checkpoint {path}"
        on = torch_device(device, feature, "torch")
        import torch

        try:
            from posepipe.models.pose_checkpoints import load_pose_checkpoint
            from posepipe.models.sppe import PosteriorExport
        except ImportError as error:
            raise MissingExtraError(feature, "torch") from error
        self.path = Path(path)
        network, card = load_pose_checkpoint(self.path)
        size = card.get("input_size")
        if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n < 4096 for n in size):
            raise WeightsError(f"the card of {path} has no usable input_size", got=repr(size)[:60])
        if card.get("decode") == "posterior":
            network = PosteriorExport(network)
        self._network = network.eval().requires_grad_(False).to(on)
        self._threads, self._device = threads, on
        self._batch = batch if on == "cuda" else 1
        self.card: Mapping[str, Any] = card
        self.shape: tuple[int | None, ...] = (3, size[0], size[1])
        workers = threads or torch.get_num_threads()
        where = f", {workers} thread{'s' * (workers > 1)}" if on == "cpu" else ""
        self.description = f"torch {torch.__version__} {on}{where}, {card.get('network', 'pose network')}"

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Maps (N,K,h,w) float32 of crops (N,3,H,W), in a list, as :class:`Engine` gives its outputs.

        Raises `WeightsError` where the network does not take crops of this size.
        """
        parts = [self._call(batch[start : start + self._batch]) for start in range(0, len(batch), self._batch)]
        return [np.concatenate(parts)]

    def _call(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        import torch

        count = len(rows)
        if count < self._batch:
            rows = np.concatenate([rows, np.zeros((self._batch - count, *rows.shape[1:]), rows.dtype)])
        pixels = torch.from_numpy(np.ascontiguousarray(rows, np.float32)).to(self._device)
        try:
            with inference(self._threads):
                maps = self._network(pixels)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0][:200]
            raise WeightsError(f"{self.path} cannot be run on an input of shape {rows.shape}: {reason}") from error
        return np.asarray(maps[:count].float().cpu().numpy())
