"""Heatmap volumes in files: ``heatmaps.npz``, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from posepipe.errors import InputError
from posepipe.io.atomic import atomic_path
from posepipe.io.npz import DAMAGED_NPZ
from posepipe.io.schema import dump, parse, skeleton_to_json
from posepipe.skeleton import Skeleton
from posepipe.types import HeatmapVolume
from posepipe.volumes.clips import HeatmapClips, HeatmapRecipe
from posepipe.volumes.sampling import TEST_SEED

__all__ = ["read_heatmaps", "write_heatmaps"]

_SCHEMA, _VERSION = "posepipe.heatmaps", 1


def write_heatmaps(path: str | Path, clips: HeatmapClips, recipe: HeatmapRecipe, skeleton: Skeleton) -> None:
    """Write clips and how they were made; the same clips give the same bytes. Raises ``OutputError``."""
    about = {
        "schema": _SCHEMA,
        "version": _VERSION,
        "skeleton": skeleton_to_json(skeleton),
        "recipe": {**asdict(recipe), "seed": TEST_SEED},
        "available": clips.available,
        "stride": clips.volumes[0].stride,
    }
    with atomic_path(path) as unfinished:
        np.savez_compressed(
            unfinished,
            about=np.array(dump(about)),
            channels=np.array(clips.channels),
            track_id=clips.track_id,
            data=clips.data,
            crop=clips.crop,
            frame_index=clips.frame_index,
            pts=clips.pts,
            flipped=clips.flipped,
        )


def read_heatmaps(path: str | Path) -> HeatmapClips:
    """Read clips back; nothing in the file is ever run.

    Raises
    ------
    InputError
        The file cannot be read or is not what :func:`write_heatmaps` writes.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = parse(str(file["about"][()]))
            if about.get("schema") != _SCHEMA or about.get("version") != _VERSION:
                raise ValueError("it holds no heatmaps of a version that is known here")
            data, crop, stride = file["data"], file["crop"], float(about["stride"])
            clips = HeatmapClips(
                volumes=tuple(HeatmapVolume(clip, crop, stride) for clip in data),
                frame_index=file["frame_index"].astype(np.int64),
                pts=file["pts"].astype(np.float64),
                flipped=file["flipped"].astype(bool),
                channels=tuple(str(name) for name in file["channels"]),
                track_id=file["track_id"].astype(np.int64),
                available=int(about["available"]),
            )
        drawn = (len(data), data.shape[2])
        if (clips.frame_index.shape, clips.pts.shape, clips.flipped.shape) != (drawn, drawn, drawn[:1]):
            raise ValueError("its frames do not fit its maps")
        if len(clips.channels) != data.shape[1] or drawn[0] == 0:
            raise ValueError("its channels do not fit its maps")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", hint="Check the path") from error
    except DAMAGED_NPZ as error:
        hint = "It was not written by posepipe, or was changed since"
        raise InputError(f"{path} holds no heatmaps: {error}", hint=hint) from error
    return clips
