"""Real or manipulated, on seven videos of FaceForensics++ (see ``video_systems.py``): TSM and a linear model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from video_two_stream import ridge

from posepipe.config import cache_root, data_root
from posepipe.datasets.forgery import FORGERY_CLASSES, read_ffpp, read_forgery_list, read_pairs
from posepipe.datasets.video_clips import clip_frames, clip_starts
from posepipe.datasets.video_lists import LabelledVideo, VideoList
from posepipe.evaluation.forgery import auc, equal_error, forgery_figures
from posepipe.io.atomic import atomic_path
from posepipe.io.video import VideoWriter, open_video
from posepipe.stages.faces import FaceStore
from posepipe.stages.forgery import ForgeryRecogniser
from posepipe.training.plan import find_recipe, make_plan, train
from posepipe.training.run_folder import read_rows
from posepipe.training.tsm_recipe import TsmRecipe

PARTS = ("train", "val", "test")
Floats = NDArray[np.float64]
#: scores of the clips of a video
Scorer = Callable[[LabelledVideo], Floats]
_PENALTY = 10.0
SEEDS = (1, 2, 3)

_SAID = """The three training videos show two people, validation one, test one, and each part has methods of its own
(train Deepfakes and Face2Face, validation NeuralTextures, test FaceSwap): nobody can learn here what a manipulated face
looks like. The table shows that the machinery learns (the training part) and that it is measured as it should be: the
epoch was chosen by the clips of the part val, the thresholds too. A video AUC of one real and one manipulated video is
0 or 1. No weights of ImageNet are at hand, so training begins at random weights. The linear model is a ridge regression
on the same clips of faces (4 x 4 mean colours, detail in four octaves; mean and deviation over the frames). No choice
was made by the test part; of so few people, figures about chance are what is to be expected there, and how far three
seeds lie apart shows what one of them is worth."""

_LATER = """The same recipe on the same three training videos, each cut in time: it learns from the first 60 %, the
epoch and the thresholds come from the next 15 %, and the last quarter is the test. The people are known, the moments
are not: this is what a longer video of somebody who was seen before asks, and far less than the benchmark asks. The
linear model can do it too."""


def linear_model(listed: VideoList, store: FaceStore, recipe: TsmRecipe) -> Scorer:
    """Ridge regression on features of the same clips, pooled over their frames."""

    def features(video: LabelledVideo) -> Floats:
        pts = store.pts(video.path)
        starts = clip_starts(pts, recipe.span, recipe.val_clips)
        clips = [store.frames(video.path, clip_frames(pts, s, recipe.span, recipe.segments)) for s in starts]
        return np.stack([pooled_features(clip) for clip in clips])

    rows = [(features(video), video.label) for video in listed["train"]]
    x = np.concatenate([part for part, _ in rows])
    label = np.concatenate([np.full(len(part), label) for part, label in rows])
    return lambda video: ridge(x, label, features(video), 2, _PENALTY) @ (-1.0, 1.0)


def pooled_features(clip: NDArray[np.uint8]) -> Floats:
    """Mean and deviation over the frames of: 4 x 4 mean colours, and how strong each of four octaves of detail is."""
    rows = []
    for frame in clip:
        colours = cv2.resize(frame, (4, 4), interpolation=cv2.INTER_AREA).ravel() / 255
        level, detail = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32), []
        for _ in range(4):
            smaller = cv2.pyrDown(level)
            rest = level - cv2.pyrUp(smaller, dstsize=level.shape[::-1])
            detail.append(np.log(np.square(rest).mean() + 1e-3))
            level = smaller
        rows.append(np.concatenate([colours, detail]))
    table = np.array(rows, np.float64)
    return np.concatenate([table.mean(0), table.std(0)])


def rows_of(name: str, listed: VideoList, score_of: Scorer) -> list[list[str]]:
    """A row a part: AUC of clips and of videos, and verdicts on clips by the threshold of the part val."""
    scores = {part: [(score_of(video), video.label) for video in listed[part]] for part in PARTS}
    _, threshold = equal_error(*_clips(scores["val"]))
    found = []
    for part, rows in scores.items():
        score, label = _clips(rows)
        clips = forgery_figures(score, label, [part] * len(score), threshold)
        videos = auc(np.array([of.mean() for of, _ in rows]), np.array([number for _, number in rows]))
        shares = (clips.auc, videos, clips.eer, clips.verdicts.f1, clips.verdicts.balanced_accuracy)
        found.append([name, part, str(len(rows)), str(len(score)), *(f"{share:.3f}" for share in shares)])
    return found


def _clips(rows: Sequence[tuple[Floats, int]]) -> tuple[Floats, NDArray[np.int64]]:
    return np.concatenate([s for s, _ in rows]), np.concatenate([np.full(len(s), label) for s, label in rows])


def section(runs: Path) -> str:
    """Train ``tsm_fast`` by three seeds below a folder, or take what is there, and tell how it does, in Markdown."""
    title = "## Real or manipulated: TSM on MobileNetV4-Conv-Small (FaceForensics++)"
    people = _trained_table(runs, "tsm_fast", {})
    moments = _trained_table(runs, "tsm_later", {"videos": str(later_moments(runs / "moments"))})
    return "\n".join([title, "", _SAID, "", *people, "", "### Known people, later moments", "", _LATER, "", *moments])


def later_moments(folder: Path) -> Path:
    """Write a list of the training videos cut in time: the first 60 % to train, 15 % to validate, the rest to test."""
    recipe: TsmRecipe = make_plan(find_recipe("tsm_fast"), {}).phases[0]
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["video,label,split"]
    for video in _listed(recipe)["train"]:
        with open_video(video.path) as frames:
            pictures = [(frame.image, frame.pts) for frame in frames]
        cuts = [round(share * len(pictures)) for share in (0, 0.6, 0.75, 1)]
        for part, first, last in zip(PARTS, cuts, cuts[1:], strict=False):
            path = folder / f"{video.path.stem}_{part}.mp4"
            height, width = pictures[0][0].shape[:2]
            with VideoWriter(path, width, height) as writer:
                for image, pts in pictures[first:last]:
                    writer.write(image, pts - pictures[first][1])
            lines.append(f"{path.resolve()},{FORGERY_CLASSES[video.label]},{part}")
    with atomic_path(folder / "list.csv") as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return (folder / "list.csv").resolve()


def _trained_table(runs: Path, name: str, settings: dict[str, str]) -> list[str]:
    """When and how long each seed trained, and a table of all of them beside the linear model."""
    rows, told = [], []
    for seed in SEEDS:
        plan = make_plan(find_recipe("tsm_fast"), {**settings, "engine.seed": str(seed)})
        recipe: TsmRecipe = plan.phases[0]
        folder = runs / f"{name}_{seed}"
        recogniser = ForgeryRecogniser(
            train(plan, folder), cache_root() / "faces", clips=recipe.val_clips, device="cpu"
        )
        listed = _listed(recipe)
        rows += rows_of(f"TSM, seed {seed}", listed, scorer(recogniser))
        told.append(_trained(folder, recipe.engine.monitor))
    rows += rows_of("linear model", listed, linear_model(listed, recogniser.faces, recipe))
    rows.append(["chance, majority", "any", "", "", "0.500", "0.500", "0.500", "", "0.500"])
    head = ["model", "part", "videos", "clips", "clip AUC", "video AUC", "clip EER", "clip F1", "balanced accuracy"]
    return [f"Trained: {'; '.join(told)}. {datetime.now(timezone.utc).date()}.", "", *markdown(head, rows)]


def scorer(recogniser: ForgeryRecogniser) -> Scorer:
    """Scores of a video's clips by a trained network."""
    return lambda video: recogniser.score(video.path).score


def _listed(recipe: TsmRecipe) -> VideoList:
    root = data_root()
    if recipe.videos.endswith(".csv"):
        return read_forgery_list(Path(recipe.videos))
    return read_ffpp(root / recipe.videos, read_pairs(root / recipe.splits), partial=True)


def _trained(folder: Path, watched: str) -> str:
    """How long a training was, and which epoch it kept."""
    epochs = read_rows(folder)
    chosen = max((row for row in epochs if row[watched]), key=lambda row: float(row[watched]))["epoch"]
    seconds = sum(float(row["seconds"]) for row in epochs)
    return f"{len(epochs)} epochs of {epochs[0]['samples']} clips in {seconds:.0f} s, epoch {chosen} kept"


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a table."""
    return [f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows)]
