"""Pose networks with weights that follow from their names, for tests of what they compute (needs torch)."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def size_of(name):
    return (64, 48) if name.startswith("vitpose") else (64, 96)


def fill(network):
    """Weights that follow from their names alone, of a scale that keeps activations in reach."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            drawn = rng.standard_normal(tuple(value.shape), np.float32) if value.is_floating_point() else 0
            if value.ndim > 1:
                drawn *= (1.0 / max(1, value[0].numel())) ** 0.5
            elif name.endswith("running_var"):
                drawn = 1 + 0.1 * abs(drawn)
            elif name.endswith("weight"):
                drawn = 1 + 0.1 * drawn
            elif value.is_floating_point():
                drawn *= 0.1
            value.copy_(torch.as_tensor(drawn))
    return network.eval()


def pictures(count, size):
    rng = np.random.default_rng(7)
    return torch.from_numpy(rng.uniform(0, 255, (count, 3, *size)).astype(np.float32))
