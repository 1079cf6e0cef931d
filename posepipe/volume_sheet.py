"""A contact sheet of a clip's heatmaps: a tile for each frame, maps coloured by channel, names below."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from posepipe.volumes.clips import HeatmapClips
from posepipe.volumes.window import Window

__all__ = ["heatmap_sheet", "sheet_frames"]

Picture = NDArray[np.uint8]

_TILE, _GAP, _COLUMNS = 168, 4, 8
_GREY, _PAPER, _INK = 72, 24, (232, 232, 232)
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.4
_LINE, _NAME_WIDTH = 16, 190


def sheet_frames(clips: HeatmapClips, clip: int = 0, tiles: int = 16) -> NDArray[np.int64]:
    """Places (N,) in a clip of the frames that its sheet shows: so many, evenly spread, or all where there are fewer.

    Raises ``IndexError`` for a clip that is not there.
    """
    count = clips.frame_index[clip].shape[0]
    return np.unique(np.linspace(0, count - 1, min(tiles, count)).round().astype(np.int64))


def heatmap_sheet(
    clips: HeatmapClips, pictures: Mapping[int, Picture] | None = None, clip: int = 0, tiles: int = 16
) -> Picture:
    """A picture of one clip.

    Parameters
    ----------
    clips
        The maps.
    pictures
        Frames by index, (H,W,3) uint8 RGB, to lay the maps over; grey where one is missing.
    clip
        Which clip.
    tiles
        How many of its frames are shown, at most.

    Returns
    -------
    (H,W,3) uint8 RGB.
    """
    volume, pictures = clips.volumes[clip], pictures or {}
    colours = _colours(len(volume.data))
    shown = []
    for place in sheet_frames(clips, clip, tiles).tolist():
        frame = int(clips.frame_index[clip, place])
        ground = np.full((_TILE, _TILE, 3), _GREY, np.float32)
        if frame in pictures:
            ground = _cropped(pictures[frame], volume.crop)
            ground = ground[:, ::-1] if clips.flipped[clip] else ground
        tile = _blend(ground, volume.data[:, place], colours)
        shown.append(_captioned(tile, f"{clips.pts[clip, place]:.2f} s, frame {frame}"))
    columns = min(_COLUMNS, len(shown))
    empty = np.full_like(shown[0], _PAPER)
    shown += [empty] * (-len(shown) % columns)
    rows = [np.hstack(shown[i : i + columns]) for i in range(0, len(shown), columns)]
    sheet = np.vstack(rows)
    return np.ascontiguousarray(np.vstack([sheet, _legend(clips.channels, colours, sheet.shape[1])]))


def _colours(count: int) -> NDArray[np.float32]:
    """(K,3) RGB, around the circle of hues."""
    hues = np.arange(count) / count
    return np.array([colorsys.hsv_to_rgb(hue, 0.85, 1.0) for hue in hues], np.float32).reshape(count, 3) * 255


def _cropped(picture: Picture, crop: NDArray[np.float32]) -> NDArray[np.float32]:
    """The crop as a tile in darkened grey, black outside the picture."""
    matrix = Window.of(crop).resized(_TILE, _TILE).affine()
    tile = cv2.warpAffine(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), matrix, (_TILE, _TILE), flags=cv2.INTER_LINEAR)
    return np.repeat(0.7 * tile[..., None].astype(np.float32), 3, 2)


def _blend(ground: NDArray[np.float32], maps: NDArray[np.float32], colours: NDArray[np.float32]) -> Picture:
    """Maps (K,h,w) over a tile: as opaque as the strongest of them, in the mean of their colours."""
    total = maps.sum(0)
    colour = np.einsum("khw,kc->hwc", maps, colours) / np.maximum(total, 1e-6)[..., None]
    layer = np.concatenate([colour * maps.max(0)[..., None], maps.max(0)[..., None]], 2)
    layer = cv2.resize(layer, (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(ground * (1 - layer[..., 3:]) + layer[..., :3], 0, 255), np.uint8)


def _captioned(tile: Picture, text: str) -> Picture:
    full = np.full((_TILE + _LINE + _GAP, _TILE + _GAP, 3), _PAPER, np.uint8)
    full[:_TILE, :_TILE] = tile
    cv2.putText(full, text, (2, _TILE + _LINE - 4), _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
    return full


def _legend(names: tuple[str, ...], colours: NDArray[np.float32], width: int) -> Picture:
    """The names of the channels in their colours, as many columns as fit."""
    columns = max(1, width // _NAME_WIDTH)
    rows = -(-len(names) // columns)
    legend = np.full((rows * _LINE + 2 * _GAP, width, 3), _PAPER, np.uint8)
    for k, name in enumerate(names):
        row, column = divmod(k, columns)
        text = name.encode("ascii", "replace").decode("ascii")
        place = (4 + column * _NAME_WIDTH, _GAP + row * _LINE + 12)
        cv2.putText(legend, text, place, _FONT, _SIZE, tuple(colours[k].tolist()), 1, cv2.LINE_AA)
    return legend
