"""Temperature, threshold and figures of an action network, on windows of prepare_action_small.py.

    python models/action_small/calibrate.py CHECKPOINT WINDOWS/train.npz val --fit
    python models/action_small/calibrate.py action_small.onnx WINDOWS/test.npz test never --temperature T --abstain A

With --fit: the temperature is the one of the least negative log-likelihood, the threshold the least one at which nine
in ten of the windows of which something is said are told right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from posepipe.datasets.action_views import TestViews
from posepipe.datasets.actions import ActionSet
from posepipe.datasets.actions_npz import read_action_npz
from posepipe.io.weights import read_card
from posepipe.models.pcan import fuse
from posepipe.report import table
from posepipe.streams.spans import UNKNOWN
from posepipe.training.action_batch import ClipMaker, collate_tests
from posepipe.training.action_card import card_form, card_skeleton, load_action

TEMPERATURES = np.geomspace(0.25, 4.0, 65)
THRESHOLDS = np.arange(0.30, 0.91, 0.01)
RIGHT = 0.9


def main() -> int:
    """Print figures of every part; with --fit the constants for the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="of a training, or an ONNX file")
    parser.add_argument("windows", type=Path)
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--abstain", type=float, default=0.5)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--most", type=int, help="at most so many windows of each label, spread evenly")
    parser.add_argument("--save", type=Path, help="also write probabilities and labels of every part (.npz)")
    arguments = parser.parse_args()
    clips = read_action_npz(arguments.windows)
    saved = {}
    for part in arguments.parts:
        own = few_of_each(clips.of_part(part), arguments.most)
        probs, labels = probabilities(arguments.checkpoint, own, arguments.workers), own.labels
        saved[f"{part}_probs"], saved[f"{part}_labels"] = probs, labels
        temperature, abstain = arguments.temperature, arguments.abstain
        if arguments.fit:
            temperature = fitted_temperature(probs, labels)
            abstain = fitted_threshold(heated(probs, temperature), labels, clips.classes.names)
            print(f"{part}: temperature {temperature:.3f}, abstain {abstain:.2f}")
        show(part, heated(probs, temperature), labels, clips.classes.names, abstain, own)
    if arguments.save:
        np.savez_compressed(arguments.save, **saved)
    return 0


def few_of_each(clips: ActionSet, most: int | None) -> ActionSet:
    """At most so many windows of each label."""
    keep = np.zeros(len(clips.labels), bool)
    for label in np.unique(clips.labels):
        own = np.flatnonzero(clips.labels == label)
        keep[own[np.linspace(0, len(own) - 1, min(len(own), most or len(own))).round().astype(int)]] = True
    return clips.select(keep)


def by_onnx(path: Path, clips: ActionSet, workers: int) -> NDArray[np.float64]:
    """As `probabilities`, of an ONNX file."""
    card = read_card(path).values
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    maker = ClipMaker(card_skeleton(card), card["sigma"], limbs=False, pose=True, rgb=False)
    views = TestViews(clips, card_form(card))
    loader = DataLoader(views, batch_size=16, collate_fn=collate_tests, num_workers=workers)
    said = [session.run(["fine"], {"pose": maker(batch, card["size"])["pose"].numpy()})[0] for batch in loader]
    return np.concatenate(said).astype(np.float64)


def probabilities(checkpoint: Path, clips: ActionSet, workers: int) -> NDArray[np.float64]:
    """(N,A) of all clips, one view of each."""
    if checkpoint.suffix == ".onnx":
        return by_onnx(checkpoint, clips, workers)
    network, card = load_action(checkpoint)
    form = card_form(card)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    maker = ClipMaker(card_skeleton(card), card["sigma"], limbs=card["limbs"], pose=form.pose, rgb=form.rgb).to(device)
    loader = DataLoader(TestViews(clips, form), batch_size=32, collate_fn=collate_tests, num_workers=workers)
    said = []
    with torch.inference_mode():
        for batch in loader:
            maps = maker({name: value.to(device) for name, value in batch.items()}, form.size)
            said.append(fuse(network(**maps))[0].double().cpu().numpy())
    return np.concatenate(said)


def heated(probs: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities at another temperature."""
    sharp = np.clip(probs, 1e-12, 1) ** (1 / temperature)
    return np.asarray(sharp / sharp.sum(1, keepdims=True))


def fitted_temperature(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature at which the labels are likeliest (Guo et al. 2017)."""
    rows = np.arange(len(labels))
    losses = [-np.log(heated(probs, t)[rows, labels]).mean() for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def fitted_threshold(probs: NDArray[np.float64], labels: NDArray[np.int64], names: tuple[str, ...]) -> float:
    """The least threshold at which what is said is right often enough."""
    for threshold in THRESHOLDS:
        said = answered(probs, names, threshold)
        if said.any() and (probs.argmax(1) == labels)[said].mean() >= RIGHT:
            return float(threshold)
    return float(THRESHOLDS[-1])


def answered(probs: NDArray[np.float64], names: tuple[str, ...], threshold: float) -> NDArray[np.bool_]:
    """(N,) bool: something is said."""
    unknown = names.index(UNKNOWN) if UNKNOWN in names else -1
    return np.asarray((probs.max(1) >= threshold) & (probs.argmax(1) != unknown))


def show(
    part: str,
    probs: NDArray[np.float64],
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    abstain: float,
    clips: ActionSet,
) -> None:
    """Print how often something is said, and how often it is right, by label."""
    said, best = answered(probs, names, abstain), probs.argmax(1)
    right = best == labels
    rows = []
    for place in np.unique(labels):
        own = labels == place
        taken = {n: int((own & said & (best == k)).sum()) for k, n in enumerate(names)}
        wrong = ", ".join(f"{n} {c}" for n, c in sorted(taken.items(), key=lambda i: -i[1]) if c and n != names[place])
        shares = f"{right[own].mean():.3f}", f"{1 - said[own].mean():.3f}"
        told = f"{right[own & said].mean():.3f}" if (own & said).any() else ""
        rows.append((names[place], str(own.sum()), *shares, told, wrong))
    print(table((part, "windows", "likeliest is right", "nothing said", "right of what is said", "taken for"), rows))
    print(
        f"{part}: {len(clips)} windows, likeliest right {right.mean():.3f}, nothing said {1 - said.mean():.3f}, ",
        end="",
    )
    print(f"right of what is said {right[said].mean():.3f}" if said.any() else "nothing is said", "\n")


if __name__ == "__main__":
    raise SystemExit(main())
