"""Parameters, multiply-adds and time of every pose network: ``python eval/families.py [--rounds N]``.

Processor time of one crop of 256x192, one thread, random weights, in ONNX Runtime and in torch; the least of the
rounds, in which all take turns, over that of `sppe_small` in ONNX Runtime. docs/models.md holds the table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import datetime, timezone

import onnxruntime
import torch

from posepipe.models.pose_networks import POSE_NETWORKS, PoseName, pose_network
from posepipe.models.sppe import multiply_adds
from posepipe.report import machine, table, versions
from posepipe.training.export import onnx_bytes

SIZE = (256, 192)


def runners(name: PoseName) -> tuple[float, float, Callable[[], object], Callable[[], object]]:
    """Parameters in millions, multiply-adds in units of 10^9, and one crop through ONNX Runtime and through torch."""
    network = pose_network(name, 17, SIZE).eval()
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    crop = torch.zeros(2, 3, *SIZE)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_bytes(network, crop, ["maps"]), options, providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: crop[:1].numpy()}

    @torch.inference_mode()
    def by_torch() -> object:
        return network(crop[:1])

    return parameters, multiply_adds(network, *SIZE) / 1e9, lambda: session.run(None, feed), by_torch


def processor_time(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    made = {name: runners(name) for name in POSE_NETWORKS}
    times = {name: [float("inf"), float("inf")] for name in made}
    for _ in range(rounds + 1):  # the first one warms up
        for name, (_, _, *calls) in made.items():
            times[name] = [min(best, processor_time(call)) for best, call in zip(times[name], calls, strict=True)]
    unit = times["sppe_small"][0]
    packages = ", ".join(f"{name} {version}" for name, version in versions(("torch", "onnxruntime")).items())
    print(f"{machine()}; {datetime.now(timezone.utc):%Y-%m-%d}; {packages}; sppe_small {1e3 * unit:.1f} ms")
    rows = [
        (name, f"{size:.2f} M", f"{adds:.2f} G", *(f"{seconds / unit:.2f}" for seconds in times[name]))
        for name, (size, adds, *_) in made.items()
    ]
    print(table(("network", "parameters", "multiply-adds", "ONNX Runtime", "torch"), rows))


if __name__ == "__main__":
    main()
