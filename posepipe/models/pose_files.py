"""Reading tensors out of weight files that others made, without running anything that is in them.

A .safetensors file holds tensors only, and an .onnx file of this project the network's own ones by their names. A .pth,
.pt or .ckpt file is a pickle, which may name any function to call: torch's restricted reader alone touches it.
Checkpoints of OpenMMLab carry a log book (``meta``, ``message_hub``) of classes that the restricted reader does not
know; those few packages' classes are replaced by empty ones, and every other name is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from posepipe.errors import MissingExtraError, WeightsError

__all__ = ["fill", "load_backbone", "read_tensors"]

# Packages whose classes occur beside the tensors; what they hold is not needed.
_LOG_BOOKS = ("mmengine.", "mmcv.", "mmpose.", "numpy.", "_codecs.")
# averaged weights before plain ones
_WRAPPERS = ("state_dict_ema", "state_dict", "model", "module")
_NAMED = 4


class _Nothing:
    """Stands for an object of the log book: takes whatever it is given and keeps none of it."""

    def __new__(cls, *_arguments: object, **_named: object) -> _Nothing:
        return super().__new__(cls)

    def __init__(self, *_arguments: object, **_named: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a weight file by name, and its card (``posepipe``: see :mod:`posepipe.training.export`) or ``{}``.

    Tensors are looked for at the top level and under ``state_dict_ema``, ``state_dict``, ``model`` and ``module``.

    Raises
    ------
    WeightsError
        The file is missing, damaged, asks for code to be run, or holds no tensors.
    MissingExtraError
        It is a .safetensors or an .onnx file, and the package that reads it is not installed.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}", hint="Check the path.")
    readers = {".safetensors": _safetensors, ".onnx": _onnx}
    tensors, card = readers.get(path.suffix.lower(), _pickle)(path)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors", expected="a state dictionary of a pose network")
    try:
        values = json.loads(card) if card else {}
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the card of {path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise WeightsError(f"the card of {path} is not an object", got=type(values).__name__)
    return tensors, values


def _safetensors(path: Path) -> tuple[dict[str, Tensor], str]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError("a .safetensors file", "torch") from error
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
            return tensors, (file.metadata() or {}).get("posepipe", "")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file: {error}", hint="Get it anew.") from error


def _onnx(path: Path) -> tuple[dict[str, Tensor], str]:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("the weights of an .onnx file", "train") from error
    try:
        model = onnx.load_model(path, load_external_data=False)
        # What the exporter made up, constants of operators, has names without a module.
        found = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if "." in t.name}
    except Exception as error:  # protobuf has a class of its own for damaged files
        raise WeightsError(f"{path} is not a whole ONNX file: {error}", hint="Get it anew.") from error
    tensors = {name: torch.from_numpy(values.copy()) for name, values in found.items()}
    return tensors, next((entry.value for entry in model.metadata_props if entry.key == "posepipe"), "")


def _pickle(path: Path) -> tuple[dict[str, Tensor], str]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        content = _without_log_book(path, error)
    # A damaged or foreign file fails in many ways, each of its own class.
    except Exception as error:
        raise _unreadable(path, error) from error
    card = content.get("posepipe", "") if isinstance(content, dict) else ""
    for name in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no state dictionary", got=type(content).__name__)
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return tensors, card if isinstance(card, str) else ""


def _without_log_book(path: Path, refusal: UnpicklingError) -> Any:
    """Read again with empty classes for the log book's; raises `WeightsError` where other names occur."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception as error:
        raise _unreadable(path, refusal) from error
    foreign = sorted(name for name in names if not name.startswith(_LOG_BOOKS))
    if foreign or not names:
        raise WeightsError(
            f"{path} holds more than weights, and was not opened further",
            got=", ".join(foreign[:_NAMED]) or None,
            hint="Where you trust it, save its state dictionary alone: torch.save(network.state_dict(), FILE)",
        ) from refusal
    try:
        with torch.serialization.safe_globals([(_Nothing, name) for name in names]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # as above
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> WeightsError:
    reason = str(error).strip().partition("\n")[0][:200]
    return WeightsError(f"{path} cannot be read as a checkpoint: {type(error).__name__}: {reason}", hint="Get it anew.")


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, *, absent: str | None = None) -> None:
    """Copy `tensors` into a network; every name and shape must fit.

    Parameters
    ----------
    network
        Filled in place.
    tensors
        By the network's own names. Counters of batches (``num_batches_tracked``) may be left out.
    path
        The file they came from, for messages.
    absent
        Names that hold this text may be left out.

    Raises
    ------
    WeightsError
        Names are missing or left over, or shapes differ: the message names them.
    """
    own = network.state_dict()
    missing = [
        n for n in own if n not in tensors and not n.endswith("num_batches_tracked") and not (absent and absent in n)
    ]
    stray = [n for n in tensors if n not in own]
    differing = [n for n in own if n in tensors and own[n].shape != tensors[n].shape]
    if missing or stray or differing:
        shapes = [f"{n} {tuple(tensors[n].shape)} instead of {tuple(own[n].shape)}" for n in differing]
        parts = [
            f"{what} {len(names)}: {', '.join(names[:_NAMED])}{' ...' if len(names) > _NAMED else ''}"
            for what, names in (("missing", missing), ("unexpected", stray), ("of another shape", shapes))
            if names
        ]
        raise WeightsError(f"{path} does not fit {type(network).__name__}", got="; ".join(parts))
    network.load_state_dict(dict(tensors), strict=False)


def load_backbone(trunk: nn.Module, path: Path, *, prefix: str = "", absent: str | None = None) -> None:
    """Fill a trunk from a file of torchvision's weights of the whole classifier, whose classifier is left out.

    Parameters
    ----------
    trunk
        Filled in place.
    path
        A state dictionary of torchvision.
    prefix
        What torchvision puts before the trunk's names.
    absent
        As for `fill`.

    Raises
    ------
    WeightsError
        The file cannot be read or is of another network.
    """
    tensors, _ = read_tensors(path)
    kept = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
    fill(trunk, {n: t for n, t in kept.items() if not n.startswith(("fc.", "classifier."))}, path, absent=absent)
