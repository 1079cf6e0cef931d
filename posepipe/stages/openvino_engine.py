"""Running networks of OpenVINO (.xml with its .bin), for pose networks that are published in that form alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import MissingExtraError, UsageError, WeightsError
from posepipe.stages.engine import first_line

__all__ = ["OpenVinoEngine"]


class OpenVinoEngine:
    """A network of one input in an OpenVINO file, with what `posepipe.stages.pose.HeatmapPose` asks of an engine.

    Parameters
    ----------
    path
        The .xml file; the .bin of the same name lies beside it.
    device
        ``auto`` and ``cpu`` are the same: OpenVINO runs on the CPU here.
    threads
        Threads of one call; 0 = as OpenVINO chooses.

    Attributes
    ----------
    path
        The file of numbers (.bin): what records and licences are about.
    description
        What the network runs on.
    card
        Empty: such files have none.
    shape
        Input shape without the batch axis; None where a size is free.

    Raises
    ------
    MissingExtraError
        openvino is not installed.
    UsageError
        Another device is asked for.
    WeightsError
        A file is missing or is no such network.
    """

    def __init__(self, path: str | Path, *, device: str = "auto", threads: int = 0) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError(f"the OpenVINO file {path}", "openvino") from error
        if device not in ("auto", "cpu"):
            raise UsageError("OpenVINO files run on the CPU", got=f"device {device!r}", hint="Use --device cpu")
        graph = Path(path)
        self.path = graph.with_suffix(".bin")
        for file in (graph, self.path):
            if not file.is_file():
                raise WeightsError(
                    f"there is no weights file {file}", hint="Check the path; .xml and .bin lie together"
                )
        self._graph = graph
        core = openvino.Core()
        try:
            network = core.read_model(graph, self.path)
            settings = {"INFERENCE_NUM_THREADS": threads} if threads else {}
            self._compiled: Any = core.compile_model(network, "CPU", settings)
            inputs = self._compiled.inputs
            sizes = [None if axis.is_dynamic else axis.get_length() for axis in inputs[0].partial_shape]
        # OpenVINO raises RuntimeError of many kinds, and others for files that are no XML.
        except Exception as error:
            raise WeightsError(
                f"{graph} cannot be opened as an OpenVINO network: {first_line(error)}", hint="Get both files anew."
            ) from error
        if len(inputs) != 1 or not sizes:
            raise WeightsError(f"{graph} does not take one batch of numbers", got=f"{len(inputs)} inputs")
        self.shape: tuple[int | None, ...] = tuple(sizes[1:])
        self.card: Mapping[str, Any] = {}
        where = f", {threads} thread{'s' * (threads > 1)}" if threads else ""
        self.description = f"OpenVINO {openvino.__version__.partition('-')[0]} CPU{where}"

    def run(self, batch: NDArray[Any]) -> list[NDArray[Any]]:
        """Every output of a batch (N, ...), N at least 1; rows go one by one, so that each depends on itself alone.

        Raises `WeightsError` where the network does not take an input of this shape.
        """
        rows = []
        for row in batch:
            try:
                found = self._compiled([np.ascontiguousarray(row[None], np.float32)])
            # As above.
            except Exception as error:
                raise WeightsError(
                    f"{self._graph} cannot be run on an input of shape {row.shape}: {first_line(error)}"
                ) from error
            rows.append([np.array(found[output]) for output in self._compiled.outputs])
        return [np.concatenate(same) for same in zip(*rows, strict=True)]
