"""Fit the classifier of an action network again, on windows that its training did not have; all before it stays fixed.

    python models/action_small/refit.py CHECKPOINT WINDOWS OUT.ckpt

Logistic regression from the weights that are there, with a penalty on how far they go. The penalty is the one with the
least log-loss on the part ``val`` of WINDOWS/train.npz after a fit on its part ``train``; the fit that counts is on
both. ONNX Runtime computes what the classifier sees, several times as fast on a CPU as torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from calibrate import few_of_each
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from posepipe.datasets.action_views import TestViews
from posepipe.datasets.actions import ActionSet
from posepipe.datasets.actions_npz import read_action_npz
from posepipe.io.atomic import atomic_path
from posepipe.models.pcan import Pcan
from posepipe.training.action_batch import ClipMaker, collate_tests
from posepipe.training.action_card import card_form, card_skeleton, load_action
from posepipe.training.engine import averaged_weights
from posepipe.training.export import onnx_bytes

PENALTIES = (1.0, 0.1, 0.01, 0.001)
MOST, SMOOTHING, STEPS = 110, 0.05, 300


def main() -> int:
    """Read features, choose the penalty, fit, write a checkpoint with the new classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("windows", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(1)
    network, card = load_action(arguments.checkpoint)
    clips = read_action_npz(arguments.windows / "train.npz")
    parts = {part: few_of_each(clips.of_part(part), MOST) for part in ("train", "val")}
    seen = {part: features(network, card, own) for part, own in parts.items()}
    labels = {part: torch.from_numpy(own.labels) for part, own in parts.items()}
    losses = {}
    for penalty in PENALTIES:
        weights = fitted(network, seen["train"], labels["train"], penalty)
        said = logits(network, seen["val"], *weights)
        losses[penalty] = functional.cross_entropy(said, labels["val"]).item()
        right = float((said.argmax(1) == labels["val"]).float().mean())
        print(f"penalty {penalty}: log-loss {losses[penalty]:.3f}, right {right:.3f}", flush=True)
    head = network.heads["pose"].fine
    before = logits(network, seen["val"], head.weight.detach(), head.bias.detach())
    right = float((before.argmax(1) == labels["val"]).float().mean())
    print(f"as it was: log-loss {functional.cross_entropy(before, labels['val']).item():.3f}, right {right:.3f}")
    best = min(losses, key=lambda penalty: losses[penalty])
    both = torch.cat([seen["train"], seen["val"]]), torch.cat([labels["train"], labels["val"]])
    weight, bias = fitted(network, *both, best)
    said = logits(network, both[0], weight, bias)
    print(f"penalty {best}, {len(both[1])} windows: right {float((said.argmax(1) == both[1]).float().mean()):.3f}")
    state = averaged_weights(arguments.checkpoint)
    state["heads.pose.fine.weight"], state["heads.pose.fine.bias"] = weight, bias
    content = torch.load(arguments.checkpoint, map_location="cpu", weights_only=True)
    with atomic_path(arguments.out) as unfinished:
        torch.save(
            {"state_dict": {f"network.{n}": v for n, v in state.items()}, "posepipe": content["posepipe"]}, unfinished
        )
    return 0


class _Pooled(nn.Module):
    """What the classifier sees."""

    def __init__(self, network: Pcan) -> None:
        super().__init__()
        self.backbone = network.backbone

    def forward(self, pose: Tensor) -> Tensor:
        pooled: Tensor = self.backbone(pose=pose)["pose"].mean((2, 3, 4))
        return pooled


def features(network: Pcan, card: dict[str, object], clips: ActionSet) -> Tensor:
    """(N, channels): what the classifier sees of every clip."""
    import onnxruntime

    form = card_form(card)
    maps = torch.zeros(2, len(clips.skeleton), form.frames, form.size, form.size)
    model = onnx_bytes(_Pooled(network).eval(), maps, ["features"], input_name="pose")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    maker = ClipMaker(card_skeleton(card), float(str(card["sigma"])), limbs=False, pose=True, rgb=False)
    found = []
    with torch.inference_mode():
        for batch in DataLoader(TestViews(clips, form), batch_size=16, collate_fn=collate_tests):
            (pooled,) = session.run(None, {"pose": maker(batch, form.size)["pose"].numpy()})
            found.append(torch.from_numpy(pooled))
            print(f"{sum(map(len, found))} of {len(clips)}", end="\r", flush=True)
    return torch.cat(found)


def logits(network: Pcan, seen: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(N,A) as the network makes them, with another classifier."""
    head = network.heads["pose"]
    said = functional.linear(seen, weight, bias)
    if head.fine_prototypes is not None and head.rectification:
        said = said + head.rectification * head.fine_prototypes.similarity(seen)
    return said.detach() if not weight.requires_grad else said


def fitted(network: Pcan, seen: Tensor, labels: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight and bias of the classifier."""
    head = network.heads["pose"].fine
    start = head.weight.detach().clone(), head.bias.detach().clone()
    now = [value.clone().requires_grad_() for value in start]
    optimizer = torch.optim.LBFGS(now, max_iter=STEPS, line_search_fn="strong_wolfe")
    counts = torch.bincount(labels, minlength=len(start[1])).clamp(min=1)
    balance = len(labels) / (len(start[1]) * counts.float())

    def closure() -> Tensor:
        optimizer.zero_grad()
        said = logits(network, seen, *now)
        loss = functional.cross_entropy(said, labels, weight=balance, label_smoothing=SMOOTHING)
        loss = loss + penalty * sum(((a - b) ** 2).sum() for a, b in zip(now, start, strict=True))
        loss.backward()
        return loss

    optimizer.step(closure)
    return now[0].detach(), now[1].detach()


if __name__ == "__main__":
    raise SystemExit(main())
