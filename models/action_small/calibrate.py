"""Temperature, threshold and figures of an action network, on windows of prepare_action_small.py.

    python models/action_small/calibrate.py NETWORK WINDOWS/train.npz val --fit
    python models/action_small/calibrate.py action_small.onnx WINDOWS/test.npz test never

NETWORK is a checkpoint of a training, or an exported file, whose own temperature and threshold are taken. With --fit
the temperature is the one of the least negative log-likelihood, and the threshold the highest at which all but one in
fifty of the windows told right are still told: as much as possible of what is not known shall be `unknown`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posepipe.datasets.actions import ActionSet
from posepipe.datasets.actions_npz import read_action_npz
from posepipe.report import table
from posepipe.streams.spans import UNKNOWN
from posepipe.training.action_card import load_action, onnx_card
from posepipe.training.action_test import TestPlan, predict, predict_onnx

TEMPERATURES = np.geomspace(0.25, 4.0, 65)
KEPT = 0.98
_ONE_VIEW = TestPlan(clips=1, batch=32)


def main() -> int:
    """Print figures of every part; with --fit the constants for the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path)
    parser.add_argument("windows", type=Path)
    parser.add_argument("parts", nargs="+")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--most", type=int, help="at most so many windows of each label, spread evenly")
    arguments = parser.parse_args()
    clips = read_action_npz(arguments.windows)
    for part in arguments.parts:
        own = few_of_each(clips.of_part(part), arguments.most)
        probs, temperature, abstain = said_of(arguments.network, own)
        if arguments.fit:
            temperature = fitted_temperature(probs, own.labels)
            abstain = fitted_threshold(heated(probs, temperature), own.labels, own.classes.names)
        probs = heated(probs, temperature)
        print(
            f"{part}: temperature {temperature:.3f}, abstain {abstain:.2f}, log-loss {log_loss(probs, own.labels):.3f}"
        )
        show(part, probs, own, abstain)
    return 0


def few_of_each(clips: ActionSet, most: int | None) -> ActionSet:
    """At most so many windows of each label."""
    keep = np.zeros(len(clips.labels), bool)
    for label in np.unique(clips.labels):
        own = np.flatnonzero(clips.labels == label)
        keep[own[np.linspace(0, len(own) - 1, min(len(own), most or len(own))).round().astype(int)]] = True
    return clips.select(keep)


def said_of(path: Path, clips: ActionSet) -> tuple[NDArray[np.float64], float, float]:
    """(N,A) probabilities of all clips, one view of each, and the temperature and threshold of the card."""
    if path.suffix == ".onnx":
        card = onnx_card(path)
        said = predict_onnx(path, card, clips, _ONE_VIEW)
    else:
        network, card = load_action(path)
        said = predict(network, card, clips, _ONE_VIEW)
    return said["pose"].fine, float(card.get("temperature", 1.0)), float(card.get("abstain", 0.5))


def heated(probs: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities at another temperature."""
    sharp = np.clip(probs, 1e-12, 1) ** (1 / temperature)
    return np.asarray(sharp / sharp.sum(1, keepdims=True))


def log_loss(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of the labels."""
    return float(-np.log(probs[np.arange(len(labels)), labels]).mean())


def fitted_temperature(probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature at which the labels are likeliest (Guo et al. 2017)."""
    return float(min(TEMPERATURES, key=lambda t: log_loss(heated(probs, t), labels)))


def fitted_threshold(probs: NDArray[np.float64], labels: NDArray[np.int64], names: tuple[str, ...]) -> float:
    """The highest threshold, in hundredths, at which enough of what is told right is still told."""
    told = (probs.argmax(1) == labels) & answered(probs, names, 0.0)
    return float(np.floor(100 * np.quantile(probs[told].max(1), 1 - KEPT)) / 100)


def answered(probs: NDArray[np.float64], names: tuple[str, ...], threshold: float) -> NDArray[np.bool_]:
    """(N,) bool: something is said."""
    unknown = names.index(UNKNOWN) if UNKNOWN in names else -1
    return np.asarray((probs.max(1) >= threshold) & (probs.argmax(1) != unknown))


def show(part: str, probs: NDArray[np.float64], clips: ActionSet, abstain: float) -> None:
    """Print how often something is said, and how often it is right, by label."""
    labels, names = clips.labels, clips.classes.names
    said, best = answered(probs, names, abstain), probs.argmax(1)
    right = best == labels
    rows = []
    for place in np.unique(labels):
        own = labels == place
        taken = {n: int((own & said & (best == k)).sum()) for k, n in enumerate(names)}
        wrong = ", ".join(f"{n} {c}" for n, c in sorted(taken.items(), key=lambda i: -i[1]) if c and n != names[place])
        rows.append((names[place], *_shares(own, said, right), wrong))
    rows.append(("all", *_shares(np.ones(len(labels), bool), said, right), ""))
    print(
        table((part, "windows", "likeliest is right", "nothing said", "right of what is said", "taken for"), rows), "\n"
    )


def _shares(own: NDArray[np.bool_], said: NDArray[np.bool_], right: NDArray[np.bool_]) -> tuple[str, str, str, str]:
    told = f"{right[own & said].mean():.3f}" if (own & said).any() else ""
    return str(own.sum()), f"{right[own].mean():.3f}", f"{1 - said[own].mean():.3f}", told


if __name__ == "__main__":
    raise SystemExit(main())
