"""What networks say of a set of clips: several views of each, mirrored and at several sizes, and several networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from posepipe.datasets.action_views import TestViews, ViewForm
from posepipe.datasets.actions import ActionSet
from posepipe.errors import UsageError
from posepipe.models.pcan import Pcan
from posepipe.skeleton import Skeleton
from posepipe.training.action_batch import Batch, ClipMaker, collate_tests
from posepipe.training.action_card import card_form, card_skeleton
from posepipe.training.action_points import first_person

if TYPE_CHECKING:
    from posepipe.datasets.frame_pack import FramePack
    from posepipe.datasets.video_frames import FrameStore

__all__ = ["Said", "TestPlan", "average", "fused", "predict", "predict_onnx"]

#: share of a clip that each of several evenly sampled views covers
VIEW_SHARE = 0.85

Probabilities = NDArray[np.float64]
# Probabilities of every stream at both levels, of a batch of clips.
_Speaker = Callable[[Batch, int], Mapping[str, tuple[Tensor, Tensor | None]]]


@dataclass(frozen=True)
class TestPlan:
    """How often each clip is looked at.

    Attributes
    ----------
    clips
        Views in time.
    flip
        Whether each is looked at mirrored too.
    scales
        Sizes of the view relative to that of training.
    batch
        Clips that are looked at together.
    """

    __test__ = False  # it is no test

    clips: int = 10
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    batch: int = 4


@dataclass(frozen=True, eq=False)
class Said:
    """What one stream, or several together, say of S clips: (S,F) and, where there are coarse classes, (S,C)."""

    fine: Probabilities
    coarse: Probabilities | None


def predict(
    network: Pcan,
    card: Mapping[str, Any],
    clips: ActionSet,
    plan: TestPlan,
    *,
    store: FrameStore | FramePack | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> dict[str, Said]:
    """What each stream of a network says of clips: the mean of the probabilities of all views.

    Parameters
    ----------
    network, card
        From `posepipe.training.action_card.load_action`.
    clips
        The clips, with the skeleton that the network takes.
    plan
        How often they are looked at.
    store
        Where pictures come from, for networks that take them.
    device, workers
        Of torch, and processes that prepare views.

    Raises
    ------
    UsageError
        The clips have another skeleton.
    """
    skeleton = _fitting(card, clips)
    maker = ClipMaker(card).to(device)
    network = network.to(device).eval()

    def say(given: Batch) -> dict[str, tuple[Tensor, Tensor | None]]:
        said = network(**given)
        return {n: (s.fine.softmax(1), None if s.coarse is None else s.coarse.softmax(1)) for n, s in said.items()}

    def speak(batch: Batch, size: int) -> dict[str, tuple[Tensor, Tensor | None]]:
        given = {name: value.to(device) for name, value in batch.items()}
        views = [say(maker(given, size))]
        if plan.flip:
            views.append(say(maker(_mirrored(given, skeleton, size), size)))
        return {name: _mean([view[name] for view in views]) for name in views[0]}

    return _all_views(speak, card, clips, plan, store, workers)


def predict_onnx(path: Path, card: Mapping[str, Any], clips: ActionSet, plan: TestPlan) -> dict[str, Said]:
    """The same of an exported network of poses alone; its size is fixed, so there is one scale.

    Raises `UsageError` for clips with another skeleton, or for other scales.
    """
    import onnxruntime

    if plan.scales != (1.0,):
        raise UsageError("an exported network looks at one size", got=f"scales {plan.scales}")
    skeleton = _fitting(card, clips)
    maker, points = ClipMaker(card), card["network"] == "points"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names, (given,) = [output.name for output in session.get_outputs()], session.get_inputs()

    def say(batch: Batch, size: int) -> tuple[Tensor, Tensor | None]:
        clips = first_person(batch["points"], batch["score"]) if points else maker(batch, size)["pose"]
        found = dict(zip(names, map(torch.from_numpy, session.run(names, {given.name: clips.numpy()})), strict=True))
        return found["fine"], found.get("coarse")

    def speak(batch: Batch, size: int) -> dict[str, tuple[Tensor, Tensor | None]]:
        views = [batch, _mirrored(batch, skeleton, size)] if plan.flip else [batch]
        return {"pose": _mean([say(view, size) for view in views])}

    return _all_views(speak, card, clips, plan, None, 0)


def fused(said: Mapping[str, Said]) -> Said:
    """The mean of the streams."""
    return average(list(said.values()))


def average(said: Sequence[Said], weights: Sequence[float] | None = None) -> Said:
    """The weighted mean of what several say; coarse classes where all have them.

    Raises `UsageError` where the weights do not fit.
    """
    share = np.array(weights if weights else [1.0] * len(said))
    if len(share) != len(said) or share.min() < 0 or share.sum() <= 0:
        raise UsageError("weights of networks do not fit", got=tuple(share), expected=f"{len(said)}, not all 0")
    share = share / share.sum()
    coarse = [one.coarse for one in said if one.coarse is not None]
    whole = len(coarse) == len(said)
    return Said(
        np.tensordot(share, np.stack([one.fine for one in said]), 1),
        np.tensordot(share, np.stack(coarse), 1) if whole else None,
    )


def _fitting(card: Mapping[str, Any], clips: ActionSet) -> Skeleton:
    skeleton = card_skeleton(card)
    if skeleton.keypoints != clips.skeleton.keypoints:
        raise UsageError(
            f"the clips of {clips.name} have other keypoints than the network takes",
            got=f"{len(clips.skeleton)} of {clips.skeleton.name!r}",
            expected=f"{len(skeleton)} of {skeleton.name!r}",
        )
    return skeleton


def _mirrored(batch: Batch, skeleton: Skeleton, size: int) -> Batch:
    """Views in the mirror: columns of pictures turned round, keypoints too, left and right swapped."""
    order = torch.from_numpy(skeleton.mirror.copy()).to(batch["score"].device)
    points = batch["points"][..., order, :].clone()
    points[..., 0] = size - 1 - points[..., 0]
    turned = {**batch, "points": points, "score": batch["score"][..., order]}
    if "rgb" in batch:
        turned["rgb"] = batch["rgb"].flip(-2)
    return turned


def _mean(views: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    coarse = [c for _, c in views if c is not None]
    return torch.stack([f for f, _ in views]).mean(0), torch.stack(coarse).mean(0) if coarse else None


def _all_views(
    speak: _Speaker,
    card: Mapping[str, Any],
    clips: ActionSet,
    plan: TestPlan,
    store: FrameStore | FramePack | None,
    workers: int,
) -> dict[str, Said]:
    """Probabilities by stream, averaged over views and sizes."""
    rounds: list[dict[str, Said]] = []
    for scale in plan.scales:
        form = card_form(card, scale)
        found: dict[str, list[tuple[Tensor, Tensor | None]]] = {}
        with torch.inference_mode():
            for batch in _batches(clips, form, plan, store, workers):
                for name, (fine, coarse) in speak(batch, form.size).items():
                    rows = (_over_clips(fine, plan.clips), None if coarse is None else _over_clips(coarse, plan.clips))
                    found.setdefault(name, []).append(rows)
        rounds.append({name: _joined(parts) for name, parts in found.items()})
    return {name: average([said[name] for said in rounds]) for name in rounds[0]}


def _batches(
    clips: ActionSet, form: ViewForm, plan: TestPlan, store: FrameStore | FramePack | None, workers: int
) -> Any:
    views = TestViews(clips, form, plan.clips, store, VIEW_SHARE)
    return DataLoader(views, batch_size=plan.batch, collate_fn=collate_tests, num_workers=workers)  # type: ignore[arg-type]


def _over_clips(probabilities: Tensor, clips: int) -> Tensor:
    return probabilities.float().cpu().reshape(-1, clips, probabilities.shape[1]).mean(1)


def _joined(parts: Sequence[tuple[Tensor, Tensor | None]]) -> Said:
    coarse = [c for _, c in parts if c is not None]
    fine = torch.cat([f for f, _ in parts]).double().numpy()
    return Said(fine, torch.cat(coarse).double().numpy() if coarse else None)
