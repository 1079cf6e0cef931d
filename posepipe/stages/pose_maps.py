"""Reading keypoints out of a network's maps, as its card says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from posepipe.errors import WeightsError
from posepipe.heatmaps import (
    CellGrid,
    decode_dark,
    decode_peaks,
    decode_posterior,
    decode_quarter,
    oks_kernel_sigmas,
)
from posepipe.skeleton import COCO17, Skeleton

__all__ = ["MapReader", "ReadingCard"]

_DECODES = ("posterior", "peaks", "dark", "quarter")
_CELLS = ("centre", "corner", "aligned")


@dataclass(frozen=True)
class ReadingCard:
    """What a card says of crops and maps, checked.

    Attributes
    ----------
    decode
        ``posterior``: maps that sum to 1. ``peaks``: maps whose maximum is the confidence. ``dark``, ``quarter``: the
        same, read as their makers read them.
    cells
        Where cells lie in the crop; see :class:`posepipe.heatmaps.CellGrid`.
    sigma
        Deviation in cells of the gaussians that the network was trained on; used by ``dark`` and ``posterior``, where 0
        is an unknown one.
    padding
        Factor on the person's box.
    skeleton
        Names of the keypoints.
    """

    decode: Literal["posterior", "peaks", "dark", "quarter"]
    cells: Literal["centre", "corner", "aligned"]
    sigma: float
    padding: float
    skeleton: Skeleton

    @classmethod
    def of(cls, card: Mapping[str, Any], path: Path) -> ReadingCard:
        """Check the card of the network in `path`; raises `WeightsError` for what this version does not know."""
        # Without a card it is a network of others, and those count from the corner.
        decode, cells = card.get("decode", "peaks"), card.get("cells", "centre" if card else "corner")
        name = card.get("skeleton", COCO17.name)
        if decode not in _DECODES or cells not in _CELLS or name != COCO17.name:
            raise WeightsError(
                f"the card of {path} asks for what this version does not know",
                got=f"decode {decode!r}, cells {cells!r}, skeleton {name!r}",
                expected=f"decode {', '.join(_DECODES)}; cells {', '.join(_CELLS)}; skeleton {COCO17.name}",
            )
        known = {key: card[key] for key in ("sigma", "padding") if key in card}
        for key, value in known.items():
            if type(value) not in (int, float) or not 0 < value < 1000:
                raise WeightsError(
                    f"the card of {path} has a bad {key}", got=repr(value)[:60], expected="a positive number"
                )
        numbers = {"sigma": 0.0 if decode == "posterior" else 2.0, "padding": 1.25} | known
        return cls(cast("Any", decode), cast("Any", cells), float(numbers["sigma"]), float(numbers["padding"]), COCO17)


class MapReader:
    """Turns maps of one size into places in the crop.

    Parameters
    ----------
    card
        How to read.
    crop_size, map_size
        (height, width) of the crop in px and of the maps in cells.

    Attributes
    ----------
    grid
        Where the cells lie in the crop.
    """

    def __init__(self, card: ReadingCard, crop_size: tuple[int, int], map_size: tuple[int, int]) -> None:
        self._card = card
        self.grid = CellGrid.of(card.cells, crop_size, map_size)
        stride = crop_size[0] / map_size[0]
        self._kernels = oks_kernel_sigmas(np.array(card.skeleton.sigmas), crop_size, stride, card.padding)

    def read(self, maps: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Crop indices (n,K,2) px and scores (n,K) of maps (n,K,h,w); one that is not finite is a missing joint."""
        maps = np.asarray(maps, np.float32)
        broken = np.asarray(~np.isfinite(maps).all((-2, -1)))
        if broken.any():
            maps = np.where(broken[..., None, None], np.float32(0), maps)
        if self._card.decode == "posterior":
            cells, score = decode_posterior(maps, self._kernels, self._card.sigma)
        elif self._card.decode == "dark":
            cells, score = decode_dark(maps, self._card.sigma)
        elif self._card.decode == "quarter":
            cells, score = decode_quarter(maps)
        else:
            cells, score = decode_peaks(maps)
        return self.grid.to_crop(cells), np.where(broken, np.float32(0), score)

    def unmirror(self, maps: NDArray[np.floating]) -> NDArray[np.floating]:
        """Maps (n,K,h,w) of mirrored crops -> as if of the crops themselves: cells turned round, left for right."""
        turned: NDArray[np.floating] = maps[:, self._card.skeleton.mirror, :, ::-1]
        return turned
