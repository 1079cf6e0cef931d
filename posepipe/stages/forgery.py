"""Whole videos, real or manipulated: a trained TSM on the faces of the pipeline's own detector and pose network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from posepipe.datasets.video_clips import clip_frames, clip_starts
from posepipe.errors import UsageError, WeightsError
from posepipe.models.tsm import load_tsm
from posepipe.stages.faces import FaceStore
from posepipe.stages.torch_engine import inference, torch_device

__all__ = ["ClipScores", "ForgeryRecogniser"]

_AT_ONCE = 8


@dataclass(frozen=True)
class ClipScores:
    """What a video's clips look like.

    Attributes
    ----------
    start_s
        (n,) float64: when each clip begins, seconds.
    score
        (n,) float64 in [0,1]: how manipulated it seems.
    fault
        What was wrong with the video, such as that no face was found; empty where nothing was.
    """

    start_s: NDArray[np.float64]
    score: NDArray[np.float64]
    fault: str

    @property
    def video_score(self) -> float:
        """The mean over the clips."""
        return float(self.score.mean())


class ForgeryRecogniser:
    """Scores videos by a checkpoint of ``posepipe train`` (kind ``tsm``).

    Parameters
    ----------
    checkpoint
        The file.
    cache
        Folder in which the faces of videos are kept.
    clips
        Looked at in each video, evenly over it.
    device, threads
        As for the pose network.

    Attributes
    ----------
    labels
        Names of the two classes; a score speaks for the second.
    faces
        The videos' faces.

    Raises
    ------
    WeightsError
        The file is no such checkpoint.
    UsageError
        The device is not to be had.
    """

    def __init__(
        self, checkpoint: str | Path, cache: Path, *, clips: int = 10, device: str = "auto", threads: int = 0
    ) -> None:
        if clips < 1:
            raise UsageError("at least one clip of a video must be looked at", got=clips)
        self._device = torch_device(device, "scoring videos", "torch")
        self._network, card = load_tsm(checkpoint)
        self._network.to(self._device)
        try:
            self.labels = tuple(str(name) for name in card["labels"])
            self._span, side, every = float(card["span"]), int(card["side"]), int(card["face_every"])
            if not (0 < self._span < np.inf and 32 <= side <= 1024 and every >= 1):
                raise ValueError(f"span {self._span}, side {side}, face_every {every}")
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"the card of {checkpoint} does not say what its clips are: {error!r}") from error
        self.faces = FaceStore(side, cache, every=every)
        self._clips, self._threads = clips, threads

    def score(self, video: Path) -> ClipScores:
        """Look at a video; raises `InputError` where nothing of it can be decoded."""
        pts = self.faces.pts(video)
        starts = clip_starts(pts, self._span, self._clips)
        segments = int(self._network.form["segments"])
        scores = []
        for first in range(0, len(starts), _AT_ONCE):
            some = [clip_frames(pts, float(s), self._span, segments) for s in starts[first : first + _AT_ONCE]]
            clips = np.stack([self.faces.frames(video, chosen) for chosen in some]).transpose(0, 1, 4, 2, 3)
            with inference(self._threads):
                batch = torch.from_numpy(np.ascontiguousarray(clips)).to(self._device)
                scores.append(torch.sigmoid(self._network(batch.float())[:, 0]).double().cpu().numpy())
        return ClipScores(starts, np.concatenate(scores), self.faces.fault(video))
