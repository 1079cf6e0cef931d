"""The frozen layers of the small network, run by ONNX Runtime: four times as fast as torch on a CPU."""

from __future__ import annotations

import onnxruntime
import torch
from torch import Tensor, nn

from posepipe.models.sppe import SppeSmall
from posepipe.training.export import onnx_bytes

__all__ = ["FrozenStem"]


class FrozenStem:
    """Outputs of the frozen layers.

    Parameters
    ----------
    network
        With ``frozen_layers`` above 0.
    size
        (height, width) of the input.
    threads
        Of ONNX Runtime.
    """

    def __init__(self, network: SppeSmall, size: tuple[int, int], threads: int) -> None:
        class Stem(nn.Module):
            def forward(self, image: Tensor) -> list[Tensor]:
                return network.encode(image / 127.5 - 1.0, 0, network.frozen_layers)

        example = torch.zeros(2, 3, *size)
        outputs = [f"tap{i}" for i in range(len(Stem()(example)))]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        model = onnx_bytes(Stem(), example, outputs)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Tensor) -> list[Tensor]:
        """What `SppeSmall.finish` takes, of (N,3,H,W) float32 crops."""
        taps = self.session.run(None, {"image": image.contiguous().numpy()})
        return [torch.from_numpy(tap).contiguous(memory_format=torch.channels_last) for tap in taps]
