"""Running a network: ONNX Runtime behind one small class that says what it really runs on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import UsageError, WeightsError
from posepipe.io.weights import read_card

__all__ = ["Engine", "first_line"]

_DTYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


def first_line(error: Exception) -> str:
    """What a library says of an error, cut to its first sentence: the rest is advice for its own users."""
    text = str(error).strip().partition("\n")[0].partition(". ")[0].replace("ERROR ❌️ ", "")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _providers(runtime: Any, device: str) -> list[Any]:
    """Execution providers to ask for, best first; raises :class:`UsageError` for a device that is not to be had."""
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError("unknown device", got=repr(device), expected="auto, cpu or cuda")
    on_cpu: list[Any] = ["CPUExecutionProvider"]
    if device == "cpu":
        return on_cpu
    if "CUDAExecutionProvider" not in runtime.get_available_providers():
        if device == "cuda":
            raise _no_cuda("this build of ONNX Runtime has no CUDA")
        return on_cpu
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    # TF32 rounds to ten bits, and a search among algorithms may end differently each time: both would move keypoints.
    return [("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}), *on_cpu]


def _no_cuda(why: str) -> UsageError:
    return UsageError(
        f"device cuda is not available: {why}",
        hint="Install it with: pip uninstall onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]', "
        "or use --device cpu",
    )


class Engine:
    """A network of one input in an ONNX file.

    Parameters
    ----------
    path
        The ONNX file.
    device
        ``cpu``, ``cuda``, or ``auto`` for CUDA where ONNX Runtime has it.
    threads
        Threads of one call on the CPU; 0 means all cores that the process may use.
    batch
        Most items in one call; larger batches are cut. A network whose batch size is fixed overrules it.

    Attributes
    ----------
    path
        The file.
    device
        ``cpu`` or ``cuda``: what is really used.
    description
        Engine, version, provider and threads, for people.
    metadata
        The file's own key-value texts.
    card
        What is written on its card; empty for a file without one, as others make them.
    shape
        Input shape without the batch axis; None where a size is free.
    outputs
        Names of the outputs, in the order that :meth:`run` gives them.

    Raises
    ------
    UsageError
        ``device`` is unknown, or is ``cuda`` and CUDA cannot be used.
    WeightsError
        The file is missing, is no ONNX network, or has more than one input.
    """

    def __init__(self, path: str | Path, *, device: str = "auto", threads: int = 0, batch: int = 8) -> None:
        import onnxruntime as runtime

        self.path = Path(path)
        if not self.path.is_file():
            raise WeightsError(f"there is no weights file {self.path}", hint="Check the path.")
        workers = threads or _cores()
        self._session = _open(runtime, self.path, _providers(runtime, device), workers)
        provider = self._session.get_providers()[0]
        self.device = "cuda" if provider == "CUDAExecutionProvider" else "cpu"
        if device == "cuda" and self.device != "cuda":
            raise _no_cuda("its libraries (CUDA, cuDNN) or the graphics card could not be used")
        where = f", {workers} thread{'s' * (workers > 1)}" if self.device == "cpu" else ""
        self.description = f"ONNX Runtime {runtime.__version__} {provider}{where}"

        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _DTYPES or not inputs[0].shape:
            got = [f"{i.name} {i.type} {i.shape}" for i in inputs]
            raise WeightsError(f"{self.path} does not take one batch of numbers", got=got)
        self._input, self._dtype = inputs[0].name, _DTYPES[inputs[0].type]
        sizes = [size if isinstance(size, int) else None for size in inputs[0].shape]
        self.shape: tuple[int | None, ...] = tuple(sizes[1:])
        self._fixed = sizes[0] is not None or self.device == "cuda"
        self._batch = sizes[0] or batch
        self.outputs: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.card: Mapping[str, Any] = read_card(self.path).values if "posepipe" in self.metadata else {}

    def number(self, name: str, default: float) -> float:
        """A positive number of the card; ``default`` where it has none, :class:`WeightsError` for another value."""
        value = self.card.get(name, default)
        if not isinstance(value, (int, float)) or not 0 < value < 1000:
            raise WeightsError(
                f"the card in {self.path} has a bad {name}", got=repr(value), expected="a positive number"
            )
        return float(value)

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Run the network.

        A row's result depends on that row alone: where the provider may choose another algorithm for another batch
        size (CUDA), and where the network fixes the size, the last part is filled up with zeros.

        Parameters
        ----------
        batch
            (N, ...) with N at least 1; cast to the type of the network's input.

        Returns
        -------
        Every output, (N, ...).

        Raises
        ------
        WeightsError
            The network does not accept an input of this shape.
        """
        parts = [self._call(batch[start : start + self._batch]) for start in range(0, len(batch), self._batch)]
        return parts[0] if len(parts) == 1 else [np.concatenate(same) for same in zip(*parts, strict=True)]

    def _call(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        count = len(rows)
        if self._fixed and count < self._batch:
            rows = np.concatenate([rows, np.zeros((self._batch - count, *rows.shape[1:]), rows.dtype)])
        feed = {self._input: np.ascontiguousarray(rows, self._dtype)}
        try:
            outputs = self._session.run(None, feed)
        # ONNX Runtime raises a dozen classes that share no base but Exception.
        except Exception as error:
            raise WeightsError(
                f"{self.path} cannot be run on an input of shape {rows.shape}: {first_line(error)}"
            ) from error
        return [np.asarray(output)[:count] for output in outputs]


def _open(runtime: Any, path: Path, providers: list[Any], threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; a copy on stderr would tear the progress bar
    # The networks take turns: threads of one that wait by spinning would take the cores from the other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(str(path), options, providers=providers)
    # As above: no base class but Exception.
    except Exception as error:
        raise WeightsError(
            f"{path} cannot be opened as an ONNX network: {first_line(error)}",
            hint="Export it anew, or check the download.",
        ) from error
