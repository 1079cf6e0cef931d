"""Running torch networks: choosing the device, and keeping to a number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from posepipe.errors import MissingExtraError, UsageError

__all__ = ["inference", "torch_device"]


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
