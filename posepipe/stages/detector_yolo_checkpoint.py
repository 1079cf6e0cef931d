"""Opening ultralytics checkpoints (.pt): the only place that imports ultralytics (AGPL-3.0).

ultralytics builds and loads the network and does nothing else; it is imported inside :func:`contained`.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.config import cache_root
from posepipe.errors import MissingExtraError, UsageError, WeightsError
from posepipe.stages.detector_yolo import YoloNetwork, keypoint_shape
from posepipe.stages.engine import first_line
from posepipe.stages.torch_engine import inference, torch_device

__all__ = ["contained", "open_checkpoint"]

_HEADS = ("Detect", "v10Detect", "Segment", "Pose")


def open_checkpoint(path: Path, device: str, threads: int) -> YoloNetwork:
    """Open a .pt file that exists, without running code from it.

    Raises
    ------
    MissingExtraError
        torch or ultralytics is not installed.
    UsageError
        CUDA is asked for and torch sees none, or the installed versions cannot read safely.
    WeightsError
        The file is not a detection, segmentation or pose network of ultralytics.
    """
    on = torch_device(device, "a YOLO .pt file", "yolo")
    import torch  # before ultralytics, which sets OMP_NUM_THREADS for it

    with contained():
        tasks, version = _ultralytics(torch)
        try:
            model, size = _read(tasks, path)
            head = model.model[-1]
            # As ultralytics' predict does: of a network that has both, the head whose boxes are merged here.
            model.end2end = False
            model = model.float().fuse(verbose=False).eval().requires_grad_(False).to(on)
            names = model.names if isinstance(model.names, dict) else dict(enumerate(model.names))
            network = YoloNetwork(
                path=path,
                run=_runner(torch, model, on, threads),
                names={int(index): str(name) for index, name in names.items()},
                size=(size, size),
                stride=max(32, int(model.stride.max())),
                free_size=True,
                suppressed=bool(getattr(head, "end2end", False)),
                keypoints=keypoint_shape(getattr(head, "kpt_shape", None)),
                description=f"ultralytics {version}, torch {torch.__version__} {on}",
            )
        # Whatever is wrong with a file that a user gives, the answer is the same.
        except Exception as error:
            raise WeightsError(
                f"{path} cannot be used safely as an ultralytics detector: {first_line(error)}",
                hint="Export it to ONNX where you trust it: yolo export format=onnx model=FILE.pt",
            ) from error
    return network


def _runner(torch: Any, model: Any, device: str, threads: int) -> Callable[[NDArray[np.float32]], NDArray[np.floating]]:
    def run(pixels: NDArray[np.float32]) -> NDArray[np.floating]:
        with inference(threads):
            output = model(torch.from_numpy(pixels).to(device))
            return np.asarray((output[0] if isinstance(output, (tuple, list)) else output).float().cpu().numpy())

    return run


def _ultralytics(torch: Any) -> tuple[Any, str]:
    """Ultralytics' module of networks and its version, if they and torch can read a file without running it."""
    try:
        tasks = importlib.import_module("ultralytics.nn.tasks")
        version = str(importlib.import_module("ultralytics").__version__)
    except ImportError as error:
        raise MissingExtraError("a YOLO .pt file", "yolo") from error
    restricted = "safe_only" in inspect.signature(tasks.torch_safe_load).parameters
    if not restricted or not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise UsageError(
            "these versions cannot read a .pt file without running code from it",
            got=f"ultralytics {version}, torch {torch.__version__}",
            hint="Update them: pip install -U ultralytics torch; or use the .onnx export of the network",
        )
    return tasks, version


def _read(tasks: Any, path: Path) -> tuple[Any, int]:
    """The network in a .pt file and the size of its pictures, without running code from the file.

    A .pt file is a pickle, which may name any function to call. Only torch's restricted reader is used, with the layer
    classes of torch and ultralytics allowed; ultralytics' ``YOLO(file)`` would run whatever is inside.
    """
    checkpoint, _ = tasks.torch_safe_load(str(path.resolve()), safe_only=True)
    model = checkpoint.get("ema") or checkpoint.get("model")
    if checkpoint.get("modelopt") or not isinstance(model, tasks.BaseModel):
        raise TypeError(f"it holds a {type(model).__name__}, not a network of ultralytics")
    if not type(model.model[-1]).__name__.startswith(_HEADS):
        raise TypeError(f"it ends in {type(model.model[-1]).__name__}, not in boxes")
    return model, int(np.max((checkpoint.get("train_args") or {}).get("imgsz", 640)))


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Keep what importing and calling ultralytics changes from the rest of the process.

    It sends usage statistics, looks for a network, installs packages and writes a settings file unless told not to;
    and its import turns off OpenCV's threads, sets environment variables, print options and warning filters, and
    replaces ``torch.save`` and ``PIL.Image.open``.
    """
    import torch
    from PIL import Image

    environment, folder = dict(os.environ), Path.cwd()
    threads, numpy_print = cv2.getNumThreads(), np.get_printoptions()
    torch_print, save, load, open_image = copy.copy(torch._tensor_str.PRINT_OPTS), torch.save, torch.load, Image.open
    cv2_functions = cv2.imread, cv2.imwrite, cv2.imshow
    levels = {name: logging.getLogger(name).level for name in ("coremltools", "sentry_sdk")}
    os.environ.update(
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="false",
        ULTRALYTICS_SAFE_LOAD="true",
        YOLO_CONFIG_DIR=str(cache_root() / "ultralytics"),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        cv2.setNumThreads(threads)
        np.set_printoptions(**numpy_print)
        torch._tensor_str.PRINT_OPTS = torch_print
        torch.save, torch.load, Image.open = save, load, open_image
        cv2.imread, cv2.imwrite, cv2.imshow = cv2_functions
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
