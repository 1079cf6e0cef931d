"""Opening checkpoints of action networks, this project's and the public ones, by what their tensors are called.

=============================  ===================================================================
mmaction2 RGBPoseConv3D, PCAN  ``backbone.rgb_path.*``, ``backbone.pose_path.*``, ``cls_head.*``
mmaction2 and pyskl SlowOnly   ``backbone.conv1.*``, ``backbone.layer1.*``, ``cls_head.fc_cls.*``
this project                   ``backbone.rgb.*``, ``backbone.pose.*``, ``heads.*``
=============================  ===================================================================

Files are read by :mod:`posepipe.models.pose_files`: nothing in them is run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from posepipe.errors import UsageError, WeightsError
from posepipe.models.pcan import Pcan, PcanParts
from posepipe.models.pose_files import fill, read_tensors
from posepipe.models.rgbpose3d import LIGHT_POSE_PATHWAY, POSE_PATHWAY, RGB_PATHWAY, PathwayForm

__all__ = ["MA52_COARSE", "load_pcan_checkpoint"]

#: body part (coarse class) of each of the 52 actions of MA-52, which PCAN was published for
MA52_COARSE: tuple[int, ...] = tuple(group for group, count in enumerate((5, 6, 13, 8, 6, 10, 4)) for _ in range(count))

_OPENMMLAB = (
    (r"^backbone\.featuredifference([23])\.", lambda m: f"backbone.gates.{int(m[1]) - 2}."),
    (r"^backbone\.rgb_path\.layer([23])_lateral\.", lambda m: f"backbone.to_rgb.{int(m[1]) - 2}."),
    (r"^backbone\.pose_path\.layer([12])_lateral\.", lambda m: f"backbone.to_pose.{int(m[1]) - 1}."),
    (r"^(backbone\.to_rgb\.\d\.)conv\.", r"\1"),
    (r"^backbone\.(rgb|pose)_path\.", r"backbone.\1."),
    (r"^(backbone\.(?:rgb|pose)\.)conv1\.", r"\1stem."),
    (r"^(backbone\.(?:rgb|pose)\.)layer(\d)\.", lambda m: f"{m[1]}stages.{int(m[2]) - 1}."),
    (r"\.bn\.", ".norm."),
    (r"\.rgb_cross_attn\.", ".rgb_attention."),
    (r"\.skt_cross_attn\.", ".pose_attention."),
    (r"_attention\.q_proj\.", "_attention.query."),
    (r"_attention\.k_proj\.", "_attention.key."),
    (r"_attention\.v_proj\.", "_attention.value."),
    (r"_attention\.fc\.", "_attention.out."),
    (r"^(backbone\.gates\.\d\.)conv1\.", r"\1rgb_in."),
    (r"^(backbone\.gates\.\d\.)conv2\.", r"\1pose_in."),
    (r"^(backbone\.gates\.\d\.)conv4\.", r"\1rgb_out."),
    (r"^(backbone\.gates\.\d\.)conv5\.", r"\1pose_out."),
    (r"^cls_head\.fc_(rgb|pose)_coarse\.", r"heads.\1.coarse."),
    (r"^cls_head\.fc_(rgb|pose)\.", r"heads.\1.fine."),
    (r"^cls_head\.fr_coarse_(rgb|pose)\.spatio_cl_net\.", r"heads.\1.coarse_prototypes."),
    (r"^cls_head\.fr_(rgb|pose)\.spatio_cl_net\.", r"heads.\1.fine_prototypes."),
    (r"\.cl_fc\.", ".embed."),
    (r"\.avg_f$", ".bank"),
)
# Saved by no released PCAN; of no use but for going on with its training.
_UNSAVED = "coarse_prototypes.bank"


def load_pcan_checkpoint(
    path: str | Path, *, coarse_of: Sequence[int] | None = None, time_strides: tuple[int, ...] | None = None
) -> tuple[Pcan, dict[str, Any]]:
    """Open a checkpoint of an action network, whichever of the known forms it has.

    Parameters
    ----------
    path
        A .pth, .pt, .ckpt or .safetensors file.
    coarse_of
        Coarse class of each fine one, for a public checkpoint with a coarse head; that of MA-52 by default where the
        counts are its 52 and 7.
    time_strides
        Step in frames of each stage of a pathway that stands alone, which no tensor tells ((1, 1, 2) in the public
        48-frame nets); the form's by default.

    Returns
    -------
    network
        In evaluation mode.
    card
        What the file says of itself.

    Raises
    ------
    WeightsError
        The file cannot be read, asks for code to be run, is of no known form, lacks a coarse map, or tensors are
        missing, left over or of the wrong shape: the message names them.
    MissingExtraError
        The package that reads it is not installed.
    """
    path = Path(path)
    tensors, card = read_tensors(path)
    for prefix in ("module.", "network."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    public = any(name.startswith("cls_head.") for name in tensors)
    try:
        if public:
            tensors = _renamed(tensors)
            tensors["coarse_of"] = _coarse_map(path, tensors, coarse_of)
        network = _network(tensors, time_strides)
    # What a foreign file lacks, or holds in an unheard-of shape, shows in one of these ways.
    except (KeyError, IndexError, ValueError, StopIteration, UsageError) as error:
        raise WeightsError(
            f"{path} is of no known action network ({error})",
            got=f"tensors {', '.join(sorted(tensors)[:4])} ...",
            expected="RGBPoseConv3D or SlowOnly of mmaction2, PCAN, or a network of posepipe",
        ) from error
    fill(network, tensors, path, absent=_UNSAVED if public else None)
    return network.eval(), card


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of OpenMMLab's naming by this project's names."""
    if "cls_head.fc_cls.weight" in tensors:
        stream = "rgb" if tensors["backbone.conv1.conv.weight"].shape[1] == 3 else "pose"
        tensors = {
            n.replace("cls_head.fc_cls", f"cls_head.fc_{stream}").replace("backbone.", f"backbone.{stream}_path."): v
            for n, v in tensors.items()
        }
    renamed = {}
    for name, value in tensors.items():
        for pattern, by in _OPENMMLAB:
            name = re.sub(pattern, by, name)
        # The released banks have a column a class.
        renamed[name] = value.T if name.endswith(".bank") else value
    return renamed


def _coarse_map(path: Path, tensors: dict[str, Tensor], coarse_of: Sequence[int] | None) -> Tensor:
    coarse = next((v for n, v in tensors.items() if re.fullmatch(r"heads\.\w+\.coarse\.bias", n)), None)
    if coarse is None:
        return torch.zeros(0, dtype=torch.int64)
    fine = next(v for n, v in tensors.items() if re.fullmatch(r"heads\.\w+\.fine\.bias", n))
    if coarse_of is None and (len(fine), len(coarse)) == (len(MA52_COARSE), max(MA52_COARSE) + 1):
        coarse_of = MA52_COARSE
    if coarse_of is None or len(coarse_of) != len(fine) or set(coarse_of) != set(range(len(coarse))):
        raise WeightsError(
            f"{path} needs a map of its {len(fine)} classes to its {len(coarse)} coarse ones",
            got="none" if coarse_of is None else f"{len(coarse_of)} entries, {len(set(coarse_of))} coarse classes",
            hint="Give the coarse class of each class (coarse_of).",
        )
    return torch.tensor(list(coarse_of), dtype=torch.int64)


def _network(tensors: dict[str, Tensor], time_strides: tuple[int, ...] | None) -> Pcan:
    """An empty network that the tensors look to be of."""
    streams = [s for s in ("rgb", "pose") if f"backbone.{s}.stem.conv.weight" in tensors]
    steps = time_strides if len(streams) == 1 else None
    head = f"heads.{streams[0]}."
    parts = PcanParts(
        gates=any(n.startswith("backbone.gates.") for n in tensors),
        fine_prototypes=f"{head}fine_prototypes.embed.weight" in tensors,
        coarse_prototypes=f"{head}coarse_prototypes.embed.weight" in tensors,
    )
    with torch.random.fork_rng(devices=[]):
        return Pcan(
            tensors[f"{head}fine.weight"].shape[0],
            tensors["backbone.pose.stem.conv.weight"].shape[1] if "pose" in streams else 17,
            coarse_of=tensors["coarse_of"].tolist() or None,
            parts=parts,
            rgb=_form(tensors, "rgb", RGB_PATHWAY, steps) if "rgb" in streams else None,
            pose=_form(tensors, "pose", POSE_PATHWAY, steps) if "pose" in streams else None,
        )


def _form(
    tensors: dict[str, Tensor], stream: str, usual: PathwayForm, time_strides: tuple[int, ...] | None
) -> PathwayForm:
    """Size of a pathway; its steps, which no tensor tells, are the usual ones of a stem of that kernel."""
    stem = tensors[f"backbone.{stream}.stem.conv.weight"]
    like = LIGHT_POSE_PATHWAY if stem.shape[3] == LIGHT_POSE_PATHWAY.stem_kernel else usual
    blocks: dict[int, set[int]] = {}
    for name in tensors:
        if found := re.match(rf"backbone\.{stream}\.stages\.(\d+)\.(\d+)\.", name):
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    first = [tensors[f"backbone.{stream}.stages.{i}.0.conv1.conv.weight"] for i in range(len(blocks))]
    return PathwayForm(
        base=stem.shape[0],
        blocks=tuple(len(blocks[i]) for i in range(len(blocks))),
        inflate=tuple(weight.shape[2] == 3 for weight in first),
        strides=like.strides,
        time_strides=time_strides or like.time_strides,
        stem_kernel=stem.shape[3],
        stem_stride=like.stem_stride,
        pool_stride=like.pool_stride,
    )
