"""Pictures of clips: they show what the keypoints say, however they are turned, and come out of packs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import number_of, write_clip
from tiny_actions import tiny_set

from posepipe.datasets.action_variation import ActionVariation
from posepipe.datasets.action_views import TestViews, TrainingViews, ViewForm
from posepipe.datasets.frame_pack import FramePack, write_frame_pack
from posepipe.errors import InputError

FORM = ViewForm(pose=True, rgb=True, frames=8, rgb_frames=8, size=24, even=True)


class Dots:
    """A store whose frames, half as large as the video, are black but for a dot on the right hand of the person."""

    def __init__(self, clips: Any) -> None:
        self.of = {sample.video: sample for sample in clips.samples}

    def frames(self, video: Path, indices: Iterable[int]) -> Any:
        sample = self.of[video]
        rows, columns = np.mgrid[:180, :160]
        pictures = []
        for index in indices:
            # pixel indices of the picture at half the size
            x, y = (sample.xy[0, index, 3] + 0.5) / 2 - 0.5
            dot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)
            pictures.append(np.repeat((255 * dot)[..., None], 3, -1).astype(np.uint8))
        return np.stack(pictures)


def clips_with_video() -> Any:
    clips = tiny_set(2, 1)
    return replace(
        clips, samples=tuple(replace(s, video=Path(f"{s.name}.mp4"), size=(320, 360)) for s in clips.samples)
    )


def middle(picture: Any) -> Any:
    light = picture[..., 0].astype(float)
    rows, columns = np.mgrid[: light.shape[0], : light.shape[1]]
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pictures_and_keypoints_are_cropped_turned_and_mirrored_together(seed: int, flip: int) -> None:
    clips = clips_with_video()
    how = ActionVariation(flip=flip, rotate=20, shear=0.15, zoom=(1.2, 1.4), area=(0.9, 1.0), aspect=(0.9, 1.1))
    view = TrainingViews(clips, FORM, how, Dots(clips))[seed, seed]  # type: ignore[arg-type]
    assert view.rgb is not None
    assert view.rgb.shape == (8, 96, 96, 3)
    hand = 2 if flip else 3  # mirrored, the right hand is the left one
    for frame in (0, 7):
        place = (view.points[0, frame, hand] + 0.5) * 4 - 0.5
        np.testing.assert_allclose(middle(view.rgb[frame]), place, atol=1.0)


def test_test_views_show_the_same_window() -> None:
    clips = clips_with_video()
    for view in TestViews(clips, FORM, 2, Dots(clips), 0.8)[1]:  # type: ignore[arg-type]
        assert view.rgb is not None
        for frame in (0, 7):
            place = (view.points[0, frame, 3] + 0.5) * 4 - 0.5
            np.testing.assert_allclose(middle(view.rgb[frame]), place, atol=1.0)


def test_a_pack_gives_the_nearest_frame_that_it_holds(tmp_path: Path) -> None:
    pytest.importorskip("av")
    videos = [write_clip(tmp_path / f"{name}.mp4", 24, options={"crf": "12"}) for name in "ab"]
    write_frame_pack(tmp_path / "pack.npz", videos, 4, 96, quality=95)
    pack = FramePack(tmp_path / "pack.npz")
    shown = pack.frames(Path("elsewhere/b.mp4"), [0, 1, 9, 23, 23])
    assert [number_of(picture) for picture in shown] == [0, 0, 8, 23, 23]
    with pytest.raises(InputError, match=r"c\.mp4"):
        pack.frames(Path("c.mp4"), [0])
    (tmp_path / "bad.npz").write_bytes(b"x")
    with pytest.raises(InputError, match="bad"):
        FramePack(tmp_path / "bad.npz")
